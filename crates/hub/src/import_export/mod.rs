//! Import and export of every identity, to and from files in a container of blobs
//! ("Import and export IoT Hub device identities in bulk").
//!
//! Jobs run in the background, one at a time. What a job works with is bounded: a page of records, a
//! batch of entries, a part of a file. Jobs are kept as documents; one that ran when the process ended is
//! failed at the next start, because signatures are never stored, so nothing could go on with it.

mod export;
mod import;
mod job;
mod lines;
mod ports;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

pub use job::{Job, JobError, Kind, Request, Status};
pub use ports::{ConfigurationEntry, Container, Containers, LineError, Lines, Pieces, Purpose};

use crate::hub::Hub;
use crate::owned::{Changed, Edits, Owned};
use crate::ports::{Clock, Collection, Documents, StoreError};
use job::{HISTORY_LEN_MAX, HISTORY_LIFE};

const COLLECTION: &str = "import_export_jobs";
/// Pause after an outcome could not be kept.
const KEEP_PAUSE: Duration = Duration::from_secs(5);
/// Longest address or blob name of a request in bytes.
const TEXT_LEN_MAX: usize = 8 * 1024;
const BLOB_NAME: &str = "devices.txt";
const CONFIGURATIONS_BLOB_NAME: &str = "configurations.txt";

/// What jobs need from outside; the traits say what for.
#[derive(Clone)]
#[allow(missing_docs)]
pub struct Outside {
    pub documents: Arc<dyn Documents>,
    pub containers: Arc<dyn Containers>,
    pub lines: Arc<dyn Lines>,
    pub clock: Arc<dyn Clock>,
}

/// Jobs by time and id.
type Jobs = BTreeMap<(i64, String), Job>;

/// Import and export jobs of a hub.
#[derive(Clone)]
pub struct ImportExport {
    inner: Arc<Inner>,
}

struct Inner {
    hub: Arc<Hub>,
    containers: Arc<dyn Containers>,
    lines: Arc<dyn Lines>,
    clock: Arc<dyn Clock>,
    jobs: Owned<Jobs>,
    active: Mutex<Option<(String, Arc<Progress>)>>,
    /// One is made at a time.
    creating: tokio::sync::Mutex<()>,
}

/// What a running job and its watchers share.
#[derive(Default)]
struct Progress {
    done: AtomicU64,
    total: AtomicU64,
    cancelled: AtomicBool,
}

impl Progress {
    fn expect(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
    }

    fn add(&self, done: u64) {
        self.done.fetch_add(done, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// 0 to 99: 100 is for jobs that are complete.
    fn percent(&self) -> u8 {
        let (done, total) = (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed).max(1));
        u8::try_from((done.saturating_mul(100) / total).min(99)).unwrap_or(99)
    }
}

/// Names of a job's files.
struct Files {
    devices: String,
    /// None when the job leaves configurations alone.
    configurations: Option<String>,
}

/// Where a job reads and writes.
enum Work {
    Import { input: Arc<dyn Container>, files: Files, errors: Arc<dyn Container> },
    Export { output: Arc<dyn Container>, files: Files, exclude_keys: bool },
}

impl ImportExport {
    /// Reads the jobs of earlier starts.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn load(hub: Arc<Hub>, outside: Outside) -> Result<Self, StoreError> {
        let Outside { documents, containers, lines, clock } = outside;
        let read = |(id, text): (String, String)| {
            let unreadable = || StoreError::Failed(format!("import or export job `{id}` cannot be read"));
            Job::read(&text).map(|job| (job.key(), job)).ok_or_else(unreadable)
        };
        let read_all =
            move |stored: Vec<Collection>| stored.into_iter().flat_map(|all| all.documents).map(read).collect();
        let jobs = Owned::load(documents, vec![COLLECTION], read_all).await?;
        let (active, creating) = Default::default();
        Ok(Self { inner: Arc::new(Inner { hub, containers, lines, clock, jobs, active, creating }) })
    }

    /// Fails the jobs that ran when the process ended, and forgets those that are too old. To be called at start.
    ///
    /// # Errors
    /// When they cannot be written.
    pub async fn settle(&self) -> Result<(), StoreError> {
        let now = self.inner.clock.now();
        let life = i64::try_from(HISTORY_LIFE.as_millis()).unwrap_or(i64::MAX);
        let oldest = (now.as_millis().saturating_sub(life), String::new());
        let settle = |all: &Jobs| {
            let mut next = all.clone();
            let kept = next.split_off(&oldest);
            let mut edits: Edits = std::mem::replace(&mut next, kept).into_keys().map(|(_, id)| (id, None)).collect();
            for job in next.values_mut().filter(|job| job.status == Status::Running) {
                job.end(now, Status::Failed, Some("the hub was restarted while the job ran; start it again".into()));
                edits.push((job.id.clone(), Some(job.text())));
            }
            Ok(Changed { edits: vec![edits], next, said: () })
        };
        self.inner.jobs.change(settle).await
    }

    /// Begins a job.
    ///
    /// # Errors
    /// [`JobError`]; nothing is begun then.
    pub async fn create(&self, request: Request) -> Result<Job, JobError> {
        let _one = self.inner.creating.lock().await;
        if self.inner.active().is_some() {
            return Err(JobError::Busy);
        }
        let (job, work) = self.inner.prepare(request).await?;
        let add = |all: &Jobs| {
            let mut next = all.clone();
            let mut edits = vec![(job.id.clone(), Some(job.text()))];
            // The oldest go when there are too many.
            while next.len() >= HISTORY_LEN_MAX {
                edits.extend(next.pop_first().map(|((_, id), _)| (id, None)));
            }
            next.insert(job.key(), job.clone());
            Ok::<_, StoreError>(Changed { edits: vec![edits], next, said: () })
        };
        self.inner.jobs.change(add).await?;
        let progress = Arc::new(Progress::default());
        *self.inner.active() = Some((job.id.clone(), Arc::clone(&progress)));
        tokio::spawn(run(Arc::clone(&self.inner), job.clone(), work, progress));
        Ok(job)
    }

    /// All jobs that are remembered, the newest first.
    pub fn list(&self) -> Vec<Job> {
        self.inner.jobs.current().values().rev().map(|job| self.inner.shown(job)).collect()
    }

    /// One job.
    ///
    /// # Errors
    /// [`JobError::Unknown`].
    pub fn get(&self, id: &str) -> Result<Job, JobError> {
        let jobs = self.inner.jobs.current();
        let found = jobs.values().find(|job| job.id == id);
        found.map(|job| self.inner.shown(job)).ok_or_else(|| JobError::Unknown(id.to_owned()))
    }

    /// Stops a job that runs, soon; a job that ended stays as it is.
    ///
    /// # Errors
    /// [`JobError::Unknown`].
    pub fn cancel(&self, id: &str) -> Result<(), JobError> {
        self.get(id)?;
        if let Some((active, progress)) = &*self.inner.active()
            && active == id
        {
            progress.cancelled.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Inner {
    fn active(&self) -> MutexGuard<'_, Option<(String, Arc<Progress>)>> {
        self.active.lock()
    }

    /// A job as it is now.
    fn shown(&self, job: &Job) -> Job {
        let mut job = job.clone();
        if let Some((id, progress)) = &*self.active()
            && *id == job.id
        {
            job.progress = progress.percent();
        }
        job
    }

    /// The job of a request, and its work. Looks whether its containers and files are there.
    async fn prepare(&self, request: Request) -> Result<(Job, Work), JobError> {
        if request.is_identity_based {
            return Err(JobError::IdentityBased);
        }
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let texts = [&request.input_uri, &request.output_uri];
        let names = [&request.input_blob_name, &request.output_blob_name, &request.configurations_blob_name];
        if texts.into_iter().chain(names).flatten().any(|text| text.len() > TEXT_LEN_MAX) {
            return Err(JobError::Invalid("an address or name is too long"));
        }
        let output_uri = given(&request.output_uri);
        let output_uri = output_uri.ok_or(JobError::Invalid("outputBlobContainerUri is missing"))?;
        let open = async |uri: &str, purpose| self.containers.open(uri, purpose).await.map_err(JobError::Container);
        let output = open(&output_uri, Purpose::Write).await?;
        let input_uri = given(&request.input_uri);
        let configurations = request
            .include_configurations
            .then(|| given(&request.configurations_blob_name).unwrap_or_else(|| CONFIGURATIONS_BLOB_NAME.into()));
        let files = |name: &Option<String>| Files {
            devices: given(name).unwrap_or_else(|| BLOB_NAME.into()),
            configurations: configurations.clone(),
        };
        let work = match request.kind {
            Kind::Export => {
                let files = files(&request.output_blob_name);
                Work::Export { output, files, exclude_keys: request.exclude_keys }
            }
            Kind::Import => {
                let uri = input_uri.as_deref();
                let uri = uri.ok_or(JobError::Invalid("inputBlobContainerUri is missing"))?;
                let input = open(uri, Purpose::Read).await?;
                let files = files(&request.input_blob_name);
                for name in [Some(&files.devices), files.configurations.as_ref()].into_iter().flatten() {
                    let found = input.length(name).await;
                    found.map_err(|error| JobError::Container(format!("`{name}`: {error}")))?;
                }
                Work::Import { input, files, errors: output }
            }
        };
        let unsigned = |uri: &str| uri.split('?').next().unwrap_or_default().to_owned();
        let job = Job {
            id: self.hub.draw_token().to_string(),
            kind: request.kind,
            status: Status::Running,
            progress: 0,
            started_at: self.clock.now(),
            ended_at: None,
            input_uri: input_uri.as_deref().map(unsigned),
            input_blob_name: request.input_blob_name,
            output_uri: unsigned(&output_uri),
            output_blob_name: request.output_blob_name,
            exclude_keys: request.exclude_keys,
            configurations_blob_name: configurations,
            failure_reason: None,
        };
        Ok((job, work))
    }
}

async fn run(inner: Arc<Inner>, mut job: Job, work: Work, progress: Arc<Progress>) {
    // On a task of its own, so that a panic fails the job instead of blocking all further ones.
    let (worker, watched, at) = (Arc::clone(&inner), Arc::clone(&progress), job.started_at);
    let task = tokio::spawn(async move {
        match work {
            Work::Export { output, files, exclude_keys } => {
                export::run(&worker, &*output, &files, exclude_keys, watched, at).await.map(|()| None)
            }
            Work::Import { input, files, errors } => import::run(&worker, &*input, &files, &*errors, &watched).await,
        }
    });
    let outcome = task.await.unwrap_or_else(|_| Err("internal error".into()));
    let now = inner.clock.now();
    match outcome {
        _ if progress.is_cancelled() => job.end(now, Status::Cancelled, None),
        Ok(remark) => job.end(now, Status::Completed, remark),
        Err(reason) => {
            tracing::warn!(job = %job.id, %reason, "import or export failed");
            job.end(now, Status::Failed, Some(reason));
        }
    }
    let end = |all: &Jobs| {
        let mut next = all.clone();
        next.insert(job.key(), job.clone());
        Ok::<_, StoreError>(Changed { edits: vec![vec![(job.id.clone(), Some(job.text()))]], next, said: () })
    };
    // Until the outcome is kept the job counts as running: no other could be made either.
    while let Err(error) = inner.jobs.change(end).await {
        tracing::error!(%error, job = %job.id, "the outcome of a job is not kept yet");
        inner.clock.sleep(KEEP_PAUSE).await;
    }
    *inner.active() = None;
}
