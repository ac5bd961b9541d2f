//! SQLite: one writer thread with grouped transactions, a pool of readers.
//!
//! File `state.db` in the data folder, WAL mode, `synchronous = FULL`. Schema version in
//! `PRAGMA user_version`: how many of [`MIGRATIONS`] the file has seen. Tables of the first one:
//!
//! - `identities`: one row a device or module. `identity` and `twin` are JSON as in
//!   `shapes.rs`; `revision` is compared and raised by every write.
//! - `presence`: what connections write, best effort.
//! - `c2d`: queued cloud-to-device messages in order of `sequence`.
//! - `enrollments`, `registrations`: DPS, JSON as in `shapes.rs`, keyed by folded id.
//! - `managed_by`: which configurations target which identities (`managed_store.rs`).
//! - `jobs`, `job_devices`: scheduled jobs and how they fare (`job_store.rs`).
//! - `auto_indexes`, `totals`: indexes made for queries, and counts kept by triggers (`auto_index.rs`).
//! - `departures`, `hub_links`: devices to remove from hubs they left, and hubs elsewhere (`dps_links.rs`).
//! - `documents`, `collections`: JSON by collection and id, for settings and the application (`documents.rs`).

use std::path::Path;
use std::sync::Arc;

use crate::auto_index::AutoIndexes;
use crate::record_cache::RecordCache;
use gantry_hub::ports::StoreError;
use gantry_identity::DeviceId;
use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::oneshot;
use tracing::{error, info};

/// Write jobs that may wait; further callers wait for room.
const QUEUE_LEN_MAX: usize = 4096;
/// Jobs that share one commit.
const GROUP_LEN_MAX: usize = 512;
/// Idle read connections kept.
const READERS_MAX: usize = 8;

/// Steps from an empty file to the current schema, in order. A step that was released is never edited:
/// what changes is a further step.
const MIGRATIONS: &[&str] = &[
    FIRST_TABLES,
    crate::queues::TABLES,
    crate::blob_catalogue::TABLES,
    crate::file_uploads::TABLES,
    crate::outbox::TABLES,
    crate::managed_store::TABLES,
    crate::job_store::TABLES,
    crate::auto_index::TABLES,
    crate::dps_links::TABLES,
    crate::documents::TABLES,
];

const FIRST_TABLES: &str = "
CREATE TABLE identities(
  device_id TEXT NOT NULL, module_id TEXT NOT NULL, revision INTEGER NOT NULL, enabled INTEGER NOT NULL,
  identity TEXT NOT NULL, twin TEXT NOT NULL, PRIMARY KEY(device_id, module_id)) WITHOUT ROWID;
CREATE INDEX identities_by_status ON identities(module_id, enabled);
CREATE TABLE presence(
  device_id TEXT NOT NULL, module_id TEXT NOT NULL, updated_at INTEGER NOT NULL, last_activity_at INTEGER NOT NULL,
  subscriptions INTEGER NOT NULL, PRIMARY KEY(device_id, module_id)) WITHOUT ROWID;
CREATE TABLE c2d(
  sequence INTEGER PRIMARY KEY AUTOINCREMENT, device_id TEXT NOT NULL, module_id TEXT NOT NULL,
  expires_at INTEGER NOT NULL, delivery_count INTEGER NOT NULL, message TEXT NOT NULL, body BLOB NOT NULL);
CREATE INDEX c2d_by_device ON c2d(device_id, module_id, sequence);
CREATE TABLE enrollments(
  kind INTEGER NOT NULL, id TEXT NOT NULL, document TEXT NOT NULL, PRIMARY KEY(kind, id)) WITHOUT ROWID;
CREATE TABLE registrations(id TEXT NOT NULL PRIMARY KEY, group_id TEXT, document TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX registrations_by_group ON registrations(group_id, id);
CREATE TABLE documents(
  collection TEXT NOT NULL, id TEXT NOT NULL, document TEXT NOT NULL, PRIMARY KEY(collection, id)) WITHOUT ROWID;
";

type Finish = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
type Job = Box<dyn FnOnce(Result<&Connection, StoreError>) -> Ran + Send>;

/// A job that ran in the transaction, or was told why it may not.
struct Ran {
    /// Tells the caller, given the outcome of the commit.
    finish: Finish,
    /// The disk refused a write, so the job may have written in part.
    broken: Option<StoreError>,
}

/// The state of the platform in one SQLite file.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

struct Inner {
    records: Arc<RecordCache>,
    reports: tokio::sync::Notify,
    auto_indexes: AutoIndexes,
    writer: tokio::sync::mpsc::Sender<Job>,
    readers: Mutex<Vec<Connection>>,
    path: std::path::PathBuf,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Database {
    /// Opens or creates `state.db` in `folder`.
    ///
    /// # Errors
    /// When the file cannot be opened, or was written by a newer version.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join("state.db");
        let connection = Connection::open(&path).map_err(fail)?;
        connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000;")
            .map_err(fail)?;
        migrate(&connection)?;
        let auto_indexes = AutoIndexes::load(&connection)?;
        let (writer, jobs) = tokio::sync::mpsc::channel(QUEUE_LEN_MAX);
        let thread = std::thread::Builder::new()
            .name("state-writer".into())
            .spawn(move || run_writer(&connection, jobs))
            .map_err(|e| StoreError::Failed(e.to_string()))?;
        let records = Arc::default();
        let reports = tokio::sync::Notify::new();
        let (readers, thread) = (Mutex::default(), Mutex::new(Some(thread)));
        let inner = Inner { records, reports, auto_indexes, writer, readers, path, thread };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Runs `job` in the writer's next transaction and resolves when it is durable.
    ///
    /// A job checks first and writes after, so that one that fails has written nothing.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.write_to(None, job).await
    }

    /// As [`write`](Self::write), for a job that writes to the record of `device` or one of its modules.
    pub(crate) async fn write_record<T: Send + 'static>(
        &self,
        device: &DeviceId,
        job: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.write_to(Some(device.clone()), job).await
    }

    async fn write_to<T: Send + 'static>(
        &self,
        device: Option<DeviceId>,
        job: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let records = Arc::clone(&self.inner.records);
        let job: Job = Box::new(move |transaction| {
            let result = transaction.and_then(job);
            let broken = broken_by(&result);
            let finish = Box::new(move |committed: Result<(), StoreError>| {
                device.iter().for_each(|device| records.invalidate(device));
                let _ = reply.send(committed.and(result));
            });
            Ran { finish, broken }
        });
        let closed = || StoreError::Failed("store is closed".into());
        self.inner.writer.send(job).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Told when a write left reports in the outbox.
    pub(crate) fn reports(&self) -> &tokio::sync::Notify {
        &self.inner.reports
    }

    /// Indexes over paths that queries ask for.
    pub(crate) fn auto_indexes(&self) -> &AutoIndexes {
        &self.inner.auto_indexes
    }

    /// Records read lately.
    pub(crate) fn records_read(&self) -> &RecordCache {
        &self.inner.records
    }

    /// Runs `job`, which writes to the record of `device`, some time soon; drops it when the queue is full.
    pub(crate) fn write_record_later(
        &self,
        device: &DeviceId,
        job: impl FnOnce(&Connection) -> Result<(), StoreError> + Send + 'static,
    ) {
        let (device, records) = (device.clone(), Arc::clone(&self.inner.records));
        let job: Job = Box::new(move |transaction| {
            let result = transaction.and_then(job);
            let broken = broken_by(&result);
            let finish = Box::new(move |committed: Result<(), StoreError>| {
                records.invalidate(&device);
                if let Err(error) = committed.and(result) {
                    tracing::debug!(%error, "best-effort write failed");
                }
            });
            Ran { finish, broken }
        });
        let _ = self.inner.writer.try_send(job);
    }

    /// Runs a short read on the calling thread: point look-ups take microseconds.
    pub(crate) fn read<T>(&self, job: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let connection = match self.inner.readers.lock().pop() {
            Some(connection) => connection,
            None => self.open_reader()?,
        };
        let result = job(&connection).map_err(fail);
        let mut readers = self.inner.readers.lock();
        if readers.len() < READERS_MAX {
            readers.push(connection);
        }
        result
    }

    /// Runs a long read on a thread of its own.
    pub(crate) async fn scan<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let database = self.clone();
        tokio::task::spawn_blocking(move || database.read(job)).await.map_err(|e| StoreError::Failed(e.to_string()))?
    }

    /// Lets the file grow no more, as a full disk does, or again.
    ///
    /// # Errors
    /// When the store is closed.
    #[doc(hidden)]
    pub async fn limit_pages(&self, is_full: bool) -> Result<(), StoreError> {
        // One page is fewer than there are, which SQLite takes for as many as there are.
        let pages = if is_full { 1 } else { u32::MAX - 1 };
        let limit = move |connection: &Connection| {
            connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).map_err(fail)
        };
        self.write(limit).await
    }

    fn open_reader(&self) -> Result<Connection, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.inner.path, flags).map_err(fail)?;
        connection.set_prepared_statement_cache_capacity(64);
        connection.busy_timeout(std::time::Duration::from_secs(5)).map_err(fail)?;
        Ok(connection)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Closing the channel ends the writer after what is queued.
        let (closed, _) = tokio::sync::mpsc::channel(1);
        drop(std::mem::replace(&mut self.writer, closed));
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

/// Brings the schema up to date, one transaction a step.
fn migrate(connection: &Connection) -> Result<(), StoreError> {
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(fail)?;
    let known = MIGRATIONS.len();
    let steps = usize::try_from(version).ok().and_then(|seen| MIGRATIONS.get(seen..)).ok_or_else(|| {
        StoreError::Failed(format!("state.db has schema {version}; this version knows those up to {known}"))
    })?;
    for (step, number) in steps.iter().zip(version + 1..) {
        connection.execute_batch(&format!("BEGIN; {step} PRAGMA user_version = {number}; COMMIT;")).map_err(fail)?;
    }
    Ok(())
}

fn run_writer(connection: &Connection, mut jobs: tokio::sync::mpsc::Receiver<Job>) {
    connection.set_prepared_statement_cache_capacity(64);
    let mut failing = false;
    while let Some(first) = jobs.blocking_recv() {
        let mut group = vec![first];
        while group.len() < GROUP_LEN_MAX
            && let Ok(job) = jobs.try_recv()
        {
            group.push(job);
        }
        let committed = commit_group(connection, group);
        report(committed.err(), &mut failing);
    }
}

/// Logs a failure once, and the recovery from it: callers say what each lost.
fn report(failure: Option<StoreError>, failing: &mut bool) {
    match failure {
        Some(error) if !std::mem::replace(failing, true) => error!(%error, "state is not being written"),
        None if std::mem::take(failing) => info!("state is being written again"),
        _ => {}
    }
}

/// Runs the jobs in one transaction, all or nothing, and tells each the outcome.
fn commit_group(connection: &Connection, group: Vec<Job>) -> Result<(), StoreError> {
    let mut outcome = connection.execute_batch("BEGIN IMMEDIATE").map_err(fail);
    let mut finishes = Vec::with_capacity(group.len());
    for job in group {
        // Once the transaction is gone nothing may run: it would commit by itself.
        let ran = job(outcome.clone().map(|()| connection));
        finishes.push(ran.finish);
        if let Some(error) = ran.broken {
            outcome = outcome.and(Err(error));
        }
    }
    let committed = outcome.and_then(|()| connection.execute_batch("COMMIT").map_err(fail));
    // After some failures SQLite has rolled back already.
    if committed.is_err()
        && !connection.is_autocommit()
        && let Err(error) = connection.execute_batch("ROLLBACK")
    {
        error!(%error, "state transaction could not be rolled back");
    }
    for finish in finishes {
        finish(committed.clone());
    }
    committed
}

/// Whether a job was stopped by the disk rather than by what it found.
fn broken_by<T>(result: &Result<T, StoreError>) -> Option<StoreError> {
    match result {
        Err(error @ (StoreError::NoSpace | StoreError::Failed(_))) => Some(error.clone()),
        _ => None,
    }
}

pub(crate) fn fail(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::NoSpace,
        Some(ErrorCode::ConstraintViolation) => StoreError::Conflict,
        _ => StoreError::Failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> (tempfile::TempDir, Database) {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path()).unwrap();
        (folder, database)
    }

    async fn put(database: &Database, id: &'static str, bytes: usize) -> Result<(), StoreError> {
        let insert = move |connection: &Connection| {
            let document = "x".repeat(bytes);
            let sql = "INSERT INTO documents(collection, id, document) VALUES('c', ?1, ?2)";
            connection.execute(sql, [id, &document]).map(drop).map_err(fail)
        };
        database.write(insert).await
    }

    fn ids(database: &Database) -> Vec<String> {
        let read = |connection: &Connection| {
            let mut statement = connection.prepare("SELECT id FROM documents ORDER BY id")?;
            statement.query_map([], |row| row.get(0))?.collect()
        };
        database.read(read).unwrap()
    }

    #[tokio::test]
    async fn a_full_disk_is_said_and_leaves_nothing_behind_and_passes() {
        let (_folder, database) = open();
        put(&database, "before", 10).await.unwrap();
        database.limit_pages(true).await.unwrap();
        let outcomes = put_three(&database).await;
        // Those that shared a transaction with the one that did not fit share its fate; none is half there.
        assert!(matches!(outcomes[1], Err(StoreError::NoSpace)), "{outcomes:?}");
        let kept: Vec<_> = ["a", "big", "c"].into_iter().zip(&outcomes).filter(|(_, o)| o.is_ok()).collect();
        let expected: Vec<_> = kept.iter().map(|(id, _)| (*id).to_owned()).collect();
        let stored: Vec<_> = ids(&database).into_iter().filter(|id| id != "before").collect();
        assert_eq!(stored, expected);
        database.limit_pages(false).await.unwrap();
        put(&database, "after", 100_000).await.unwrap();
        assert!(ids(&database).contains(&"after".to_owned()));
    }

    async fn put_three(database: &Database) -> [Result<(), StoreError>; 3] {
        let (a, big, c) = tokio::join!(put(database, "a", 10), put(database, "big", 1_000_000), put(database, "c", 10));
        [a, big, c]
    }

    #[test]
    fn a_step_that_was_released_is_never_edited() {
        let golden = gantry_golden::folder(env!("CARGO_MANIFEST_DIR")).join("state/migrations.sql");
        let steps = (1..).zip(MIGRATIONS).map(|(number, step)| format!("-- {number}{step}\n"));
        gantry_golden::check(&golden, steps.collect::<String>().as_bytes());
    }

    #[tokio::test]
    async fn documents_written_before_there_were_versions_are_at_version_0() {
        use gantry_hub::ports::{Changes, Collection, Documents as _};
        let folder = tempfile::tempdir().unwrap();
        let before = MIGRATIONS.iter().position(|step| *step == crate::documents::TABLES).unwrap();
        let connection = Connection::open(folder.path().join("state.db")).unwrap();
        connection.execute_batch(&MIGRATIONS[..before].concat()).unwrap();
        connection.pragma_update(None, "user_version", before as i64).unwrap();
        connection.execute("INSERT INTO documents(collection, id, document) VALUES ('a', '1', 'x')", []).unwrap();
        drop(connection);
        let database = Database::open(folder.path()).unwrap();
        let documents = vec![("1".to_owned(), "x".to_owned())];
        assert_eq!(database.all("a").await.unwrap(), Collection { version: 0, documents: documents.clone() });
        let change = Changes { collection: "a", version: 0, documents: vec![] };
        database.put(vec![change]).await.unwrap();
        assert_eq!(database.all("a").await.unwrap(), Collection { version: 1, documents });
    }

    #[tokio::test]
    async fn when_no_transaction_can_begin_every_caller_hears_why() {
        let (folder, database) = open();
        database.write(|connection| connection.busy_timeout(std::time::Duration::ZERO).map_err(fail)).await.unwrap();
        let blocker = Connection::open(folder.path().join("state.db")).unwrap();
        blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
        let error = put(&database, "a", 10).await.unwrap_err();
        assert!(matches!(&error, StoreError::Failed(words) if words.contains("locked")), "{error}");
        blocker.execute_batch("ROLLBACK").unwrap();
        put(&database, "a", 10).await.unwrap();
    }
}
