//! The audit log on disk: files of lines of JSON in `audit/` of the data folder, one after the other.
//!
//! ```text
//! audit/00000000000000000001.jsonl      named by the number of its first record
//!   {"v":1,"from":{"number":0,"mac":"…"}}                        head of the record before the file
//!   {"number":1,"entry":{"at":…,"actor":{…},…},"mac":"…"}        directory/src/audit
//! ```
//!
//! Records are appended by one thread: what gathered meanwhile is written together and synced once, before anybody who
//! waits for it hears of it. A line that a crash tore was never told of and is cut off at the next start. How far the log
//! goes is kept in `state.db` as well (collection `audit`, at most [`ANCHOR_PERIOD`] behind), as is where it begins, so
//! that files which are cut or gone show. A log that is not as it was written stays as it is; a new file goes on after
//! it, and [`verify`](AuditLog::verify) says where.
//!
//! Bounds: [`FILE_BYTES_MAX`] a file and what the configuration says for all; the oldest file goes. [`WAITING_MAX`]
//! records wait to be written.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use gantry_directory::audit::{
    self, AUDIT_PAGE_MAX, Actor, ActorKind, AuditEntry, AuditLog, AuditOutcome, AuditRecord, AuditText, Broken,
    ChangedMembers, Head, Verified,
};
use gantry_hub::ports::{Changes, Documents, PortFuture, StoreError};
use gantry_identity::Key;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};

const VERSION: u32 = 1;
const COLLECTION: &str = "audit";
const ANCHOR: &str = "anchor";
/// Largest file, bytes, but for its last records.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// Records that wait to be written; more wait before they are taken.
const WAITING_MAX: usize = 4_096;
/// Records written together.
const BATCH_MAX: usize = 512;
/// How often `state.db` hears how far the log goes.
const ANCHOR_PERIOD: Duration = Duration::from_secs(1);
/// Longest line that is read, bytes: a record has bounded texts.
const LINE_BYTES_MAX: usize = 256 << 10;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Beginning {
    v: u32,
    from: Head,
}

/// What `state.db` knows of the log.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Anchor {
    v: u32,
    /// The head before the first record that is kept.
    base: Head,
    head: Head,
}

impl Anchor {
    const EMPTY: Self = Self { v: VERSION, base: Head::EMPTY, head: Head::EMPTY };
}

struct Waiting {
    entry: AuditEntry,
    done: oneshot::Sender<()>,
}

/// What reading needs.
struct Shared {
    folder: PathBuf,
    key: Key,
    /// As of the last record that is durable.
    anchor: Mutex<Anchor>,
}

/// The log.
pub struct FileLog {
    shared: Arc<Shared>,
    waiting: Mutex<Option<mpsc::Sender<Waiting>>>,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl FileLog {
    /// Opens the log in a folder; `bytes_max` is what all files may take.
    ///
    /// # Errors
    /// When the folder or the store cannot be used.
    pub async fn open(folder: &Path, key: Key, bytes_max: u64, documents: Arc<dyn Documents>) -> anyhow::Result<Self> {
        crate::first_start::open_folder(folder)?;
        let anchor = read_anchor(&*documents).await.context("reading how far the audit log goes")?;
        let shared = Shared { folder: folder.to_owned(), key, anchor: Mutex::new(anchor) };
        let (file, head) = resume(&shared, anchor).with_context(|| format!("opening {}", folder.display()))?;
        shared.anchor.lock().head = head;
        let shared = Arc::new(shared);
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let writer = Writer {
            shared: Arc::clone(&shared),
            documents,
            runtime: Handle::current(),
            files_max: usize::try_from((bytes_max / FILE_BYTES_MAX).max(2)).unwrap_or(usize::MAX),
            file,
            lost: 0,
            is_anchored: false,
        };
        let thread = std::thread::Builder::new().name("audit".into()).spawn(move || writer.run(receiver))?;
        Ok(Self { shared, waiting: Mutex::new(Some(sender)), writer: Mutex::new(Some(thread)) })
    }

    /// Writes what waits, and ends.
    pub async fn close(&self) {
        drop(self.waiting.lock().take());
        let writer = self.writer.lock().take();
        if let Some(writer) = writer {
            let _ = tokio::task::spawn_blocking(move || writer.join()).await;
        }
    }
}

impl AuditLog for FileLog {
    fn append(&self, entry: AuditEntry) -> PortFuture<'_, (), String> {
        let sender = self.waiting.lock().clone();
        Box::pin(async move {
            let (done, written) = oneshot::channel();
            let sender = sender.ok_or("the log is closed")?;
            sender.send(Waiting { entry, done }).await.map_err(|_| "the log is closed")?;
            written.await.map_err(|_| "it could not be written".to_owned())
        })
    }

    fn read(&self, before: Option<u64>, limit: usize) -> PortFuture<'_, Vec<AuditRecord>, String> {
        let (shared, limit) = (Arc::clone(&self.shared), limit.min(AUDIT_PAGE_MAX));
        let read = move || read_page(&shared.folder, before.unwrap_or(u64::MAX), limit);
        Box::pin(async move { blocking(read).await })
    }

    fn verify(&self, anchor: Option<Head>) -> PortFuture<'_, Verified, String> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { blocking(move || verify(&shared, anchor)).await })
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> anyhow::Result<T> + Send + 'static) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?;
    done.map_err(|error| format!("{error:#}"))
}

async fn read_anchor(documents: &dyn Documents) -> anyhow::Result<Anchor> {
    let all = documents.all(COLLECTION).await?;
    let found = all.documents.iter().find(|(id, _)| id == ANCHOR);
    let anchor: Anchor = found.map_or(Ok(Anchor::EMPTY), |(_, text)| serde_json::from_str(text))?;
    anyhow::ensure!(anchor.v == VERSION, "version {} is not known", anchor.v);
    Ok(anchor)
}

async fn write_anchor(documents: &dyn Documents, anchor: Anchor) -> anyhow::Result<()> {
    let text = serde_json::to_string(&anchor)?;
    loop {
        let version = documents.all(COLLECTION).await?.version;
        let edits = vec![(ANCHOR.to_owned(), Some(text.clone()))];
        match documents.put(vec![Changes { collection: COLLECTION, version, documents: edits }]).await {
            Err(StoreError::Conflict) => {}
            other => return Ok(other?),
        }
    }
}

/// The file that is written to.
struct Open {
    file: File,
    bytes: u64,
}

/// Files of the log, the oldest first, each with the number of its first record.
fn files(folder: &Path) -> anyhow::Result<Vec<(u64, PathBuf)>> {
    let mut all = vec![];
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jsonl")?.parse().ok());
        if let Some(number) = number {
            all.push((number, path));
        }
    }
    all.sort();
    Ok(all)
}

fn path_of(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:020}.jsonl"))
}

/// Makes the file that goes on after a head.
fn begin(folder: &Path, from: Head) -> anyhow::Result<Open> {
    let line = format!("{}\n", serde_json::to_string(&Beginning { v: VERSION, from })?);
    let path = path_of(folder, from.number + 1);
    // One that is there has no record: it was begun and not written to, or is not what it was and gives way.
    if path.exists() {
        fs::rename(&path, path.with_extension("damaged"))?;
    }
    let mut file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(line.as_bytes())?;
    file.sync_all()?;
    File::open(folder)?.sync_all()?;
    Ok(Open { file, bytes: line.len() as u64 })
}

/// What a file holds, as far as it can be read.
struct Read {
    from: Head,
    records: Vec<AuditRecord>,
    /// Up to where the lines are whole, bytes.
    whole: u64,
    /// What is wrong behind the last record that can be read.
    wrong: Option<String>,
}

fn read_file(path: &Path) -> anyhow::Result<Result<Read, String>> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    let mut next = |line: &mut Vec<u8>| {
        line.clear();
        let mut bounded = std::io::Read::take(&mut reader, LINE_BYTES_MAX as u64);
        bounded.read_until(b'\n', line)
    };
    let mut whole = next(&mut line)? as u64;
    let beginning: Beginning = match serde_json::from_slice(&line) {
        Ok(beginning) => beginning,
        Err(error) => return Ok(Err(format!("its first line: {error}"))),
    };
    if beginning.v != VERSION || line.last() != Some(&b'\n') {
        return Ok(Err("its first line is none of a log of version 1".into()));
    }
    let mut read = Read { from: beginning.from, records: vec![], whole, wrong: None };
    loop {
        let length = next(&mut line)?;
        if length == 0 {
            return Ok(Ok(read));
        }
        match serde_json::from_slice::<AuditRecord>(&line) {
            Ok(record) if line.last() == Some(&b'\n') => read.records.push(record),
            Ok(_) => read.wrong = Some("its last line is not whole".into()),
            Err(error) => {
                let after = read.records.last().map_or(read.from.number, |record| record.number);
                read.wrong = Some(format!("the line after record {after}: {error}"));
            }
        }
        if read.wrong.is_some() {
            return Ok(Ok(read));
        }
        whole += length as u64;
        read.whole = whole;
    }
}

/// Goes on where the log ended: in its last file if that is as it was written, in a new one otherwise.
fn resume(shared: &Shared, anchor: Anchor) -> anyhow::Result<(Open, Head)> {
    let folder = &shared.folder;
    let all = files(folder)?;
    // What retention had given up when the process ended.
    let leftover = all.iter().zip(all.iter().skip(1)).filter(|(_, (next, _))| *next <= anchor.base.number + 1);
    for ((_, path), _) in leftover {
        fs::remove_file(path)?;
    }
    let Some((_, path)) = all.last() else {
        if anchor.head != Head::EMPTY {
            warn!(last = anchor.head.number, "the files of the audit log are gone; it goes on in a new one");
        }
        return Ok((begin(folder, anchor.head)?, anchor.head));
    };
    let read = read_file(path)?;
    let checked = read.as_ref().map_err(Clone::clone).and_then(|read| {
        let head = audit::verify(&shared.key, &read.from, &read.records).map_err(|broken| broken.to_string())?;
        // What is torn was never told of; what was told of is whole.
        let is_there = head.number >= anchor.head.number;
        let contains = anchored(&shared.key, read, anchor.head);
        match (is_there, contains) {
            (true, true) => Ok(head),
            _ => Err(format!("it ends with record {}, and {} was written", head.number, anchor.head.number)),
        }
    });
    match checked {
        Ok(head) => {
            let whole = read.map_or(0, |read| read.whole);
            let file = OpenOptions::new().append(true).open(path)?;
            if file.metadata()?.len() > whole {
                file.set_len(whole)?;
                file.sync_all()?;
            }
            Ok((Open { file, bytes: whole }, head))
        }
        Err(reason) => {
            error!(file = %path.display(), %reason, "the audit log is not as it was written; it goes on in a new file");
            Ok((begin(folder, anchor.head)?, anchor.head))
        }
    }
}

/// Whether a file whose records are chained holds a head, or follows it.
fn anchored(key: &Key, read: &Read, anchor: Head) -> bool {
    anchor.number < read.from.number || audit::verify_to(key, &read.from, &anchor, &read.records).is_ok()
}

struct Writer {
    shared: Arc<Shared>,
    documents: Arc<dyn Documents>,
    runtime: Handle,
    files_max: usize,
    file: Open,
    /// Records that could not be written.
    lost: u64,
    is_anchored: bool,
}

impl Writer {
    fn run(mut self, mut receiver: mpsc::Receiver<Waiting>) {
        let mut due = Instant::now() + ANCHOR_PERIOD;
        loop {
            let wait = due.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let first = match self.is_anchored {
                true => receiver.blocking_recv().map(Some),
                false => self.runtime.block_on(async {
                    match tokio::time::timeout(wait, receiver.recv()).await {
                        Ok(received) => received.map(Some),
                        Err(_) => Some(None),
                    }
                }),
            };
            let Some(first) = first else { break };
            if let Some(first) = first {
                let mut batch = vec![first];
                while let Ok(next) = receiver.try_recv() {
                    batch.push(next);
                    if batch.len() >= BATCH_MAX {
                        break;
                    }
                }
                self.write(batch);
                if std::mem::replace(&mut self.is_anchored, false) {
                    due = Instant::now() + ANCHOR_PERIOD;
                }
            }
            if Instant::now() >= due && !self.is_anchored {
                self.anchor();
                due = Instant::now() + ANCHOR_PERIOD;
            }
        }
        if !self.is_anchored {
            self.anchor();
        }
    }

    /// Tells `state.db` how far the log goes.
    fn anchor(&mut self) {
        let anchor = *self.shared.anchor.lock();
        match self.runtime.block_on(write_anchor(&*self.documents, anchor)) {
            Ok(()) => self.is_anchored = true,
            Err(error) => warn!(%error, "state.db does not know how far the audit log goes"),
        }
    }

    fn write(&mut self, batch: Vec<Waiting>) {
        let mut head = self.shared.anchor.lock().head;
        let mut bytes = Vec::new();
        let mut put = |entry: AuditEntry| {
            let record = audit::append(&self.shared.key, &head, entry);
            head = record.head();
            serde_json::to_writer(&mut bytes, &record).expect("a record has nothing that JSON has not");
            bytes.push(b'\n');
        };
        let (entries, done): (Vec<_>, Vec<_>) = batch.into_iter().map(|one| (one.entry, one.done)).unzip();
        if self.lost > 0
            && let Some(first) = entries.first()
        {
            put(lost(first, self.lost));
        }
        let count = entries.len() as u64;
        entries.into_iter().for_each(&mut put);
        match self.append(&bytes) {
            Ok(()) => {
                self.shared.anchor.lock().head = head;
                self.lost = 0;
                for done in done {
                    // Whoever waited may have gone.
                    let _ = done.send(());
                }
                if self.file.bytes >= FILE_BYTES_MAX
                    && let Err(error) = self.rotate(head)
                {
                    warn!(%error, "the audit log goes on in a file that is full");
                }
            }
            Err(error) => {
                self.lost += count;
                metrics::counter!("gantry_audit_lost_total").increment(count);
                error!(%error, count, "records of the audit log are lost");
            }
        }
    }

    /// Appends lines whole, or leaves the file as it was.
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let written = self.file.file.write_all(bytes).and_then(|()| self.file.file.sync_data());
        match &written {
            Ok(()) => self.file.bytes += bytes.len() as u64,
            Err(_) => drop(self.file.file.set_len(self.file.bytes)),
        }
        written
    }

    /// Begins a new file, and gives up the oldest ones when there are too many.
    fn rotate(&mut self, head: Head) -> anyhow::Result<()> {
        self.file = begin(&self.shared.folder, head)?;
        let mut all: VecDeque<_> = files(&self.shared.folder)?.into();
        let mut gone = vec![];
        while all.len() > self.files_max {
            gone.extend(all.pop_front());
        }
        if gone.is_empty() {
            return Ok(());
        }
        let (_, first) = all.front().context("no file")?;
        let base = read_file(first)?.map_err(anyhow::Error::msg)?.from;
        self.shared.anchor.lock().base = base;
        // Known before they go: what is missing without that shows.
        self.is_anchored = false;
        self.anchor();
        anyhow::ensure!(self.is_anchored, "state.db was not written");
        gone.into_iter().try_for_each(|(_, path)| Ok(fs::remove_file(path)?))
    }
}

/// What is told of records that could not be written.
fn lost(at: &AuditEntry, count: u64) -> AuditEntry {
    AuditEntry {
        at: at.at,
        actor: Actor { kind: ActorKind::Platform, id: "".into(), name: "".into() },
        from: "".into(),
        operation: "Audit_Lost".into(),
        target: AuditText::new(&format!("{count} records")),
        outcome: AuditOutcome::Failed("they could not be written".into()),
        changed: ChangedMembers::default(),
    }
}

/// Records before a number, newest first.
fn read_page(folder: &Path, before: u64, limit: usize) -> anyhow::Result<Vec<AuditRecord>> {
    let mut page = vec![];
    for (first, path) in files(folder)?.into_iter().rev().filter(|(first, _)| *first < before) {
        let read = match read_file(&path)? {
            Ok(read) => read,
            Err(reason) => anyhow::bail!("{}: {reason}", path_name(&path_of(folder, first))),
        };
        let older = read.records.into_iter().rev().filter(|record| record.number < before);
        page.extend(older.take(limit.saturating_sub(page.len())));
        if page.len() >= limit {
            break;
        }
    }
    Ok(page)
}

fn path_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Checks every file, each against the one before, the first against where the log begins, the last against how far it
/// goes.
fn verify(shared: &Shared, also: Option<Head>) -> anyhow::Result<Verified> {
    let known = *shared.anchor.lock();
    let (mut head, mut seen) = (known.base, also.is_none_or(|also| also == known.base));
    let first = known.base.number + 1;
    let broken =
        |head, file: &str, reason: String| Ok(Verified { first, head, broken: Some((file.to_owned(), reason)) });
    for (_, path) in files(&shared.folder)?.iter().filter(|(number, _)| *number > known.base.number) {
        let name = path_name(path);
        let read = match read_file(path)? {
            Ok(read) => read,
            Err(reason) => return broken(head, &name, reason),
        };
        if read.from != head {
            let reason = match read.from.number == head.number {
                true => format!("it does not follow record {}", head.number),
                false => Broken::Number { expected: head.number + 1, found: read.from.number + 1 }.to_string(),
            };
            return broken(head, &name, reason);
        }
        for record in &read.records {
            match audit::verify(&shared.key, &head, [record]) {
                Ok(next) => head = next,
                Err(wrong) => return broken(head, &name, wrong.to_string()),
            }
            if let Some(also) = also.filter(|also| also.number == head.number) {
                if also != head {
                    return broken(head, &name, Broken::Anchor(also.number).to_string());
                }
                seen = true;
            }
        }
        // What is being written just now is behind how far the log goes.
        if let Some(wrong) = read.wrong.filter(|_| head.number < known.head.number) {
            return broken(head, &name, wrong);
        }
        if head.number == known.head.number && head != known.head {
            return broken(head, &name, Broken::Anchor(head.number).to_string());
        }
    }
    let last = known.head.number.max(also.filter(|_| !seen).map_or(0, |also| also.number));
    if head.number < last {
        return broken(head, "", Broken::Cut { last: head.number, anchor: last }.to_string());
    }
    match also.filter(|_| !seen) {
        Some(also) => broken(head, "", format!("record {} is not kept any more", also.number)),
        None => Ok(Verified { first, head, broken: None }),
    }
}

#[cfg(test)]
mod tests;
