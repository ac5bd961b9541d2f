//! The jobs: made, listed, cancelled, remembered. A job is the document `import_export_jobs/{id}`, in the
//! shape of the REST API.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use gantry_blobs::{Permission, Place};
use gantry_hub::Hub;
use gantry_hub::owned::{Changed, Edits, Owned};
use gantry_hub::ports::{Collection, Documents, StoreError};
use gantry_identity::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Containers, export, import};
use crate::now;

const COLLECTION: &str = "import_export_jobs";
/// Jobs remembered.
const HISTORY_LEN_MAX: usize = 200;
/// How long they are remembered. Source: IoT Hub quotas, job history.
const HISTORY_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Pause after an outcome could not be kept.
const KEEP_PAUSE: Duration = Duration::from_secs(5);
/// Longest address or blob name of a request in bytes.
const TEXT_LEN_MAX: usize = 8 * 1024;
const BLOB_NAME: &str = "devices.txt";
const CONFIGURATIONS_BLOB_NAME: &str = "configurations.txt";

/// Why a call about jobs was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobError {
    #[error("another import or export job is running; only one may")]
    Busy,
    #[error("job `{0}` is not there")]
    Unknown(String),
    #[error("{0}")]
    Container(String),
    #[error("{0}")]
    Invalid(&'static str),
    #[error("{0}")]
    NotImplemented(&'static str),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    #[serde(alias = "Import")]
    Import,
    #[serde(alias = "Export")]
    Export,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Running,
    Completed,
    Failed,
    Cancelled,
}

/// What a caller asks for.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Request {
    r#type: Kind,
    #[serde(default)]
    input_blob_container_uri: Option<String>,
    #[serde(default)]
    input_blob_name: Option<String>,
    #[serde(default)]
    output_blob_container_uri: Option<String>,
    #[serde(default)]
    output_blob_name: Option<String>,
    #[serde(default)]
    exclude_keys_in_export: Option<bool>,
    #[serde(default)]
    storage_authentication_type: Option<String>,
    #[serde(default)]
    include_configurations: Option<bool>,
    #[serde(default)]
    configurations_blob_name: Option<String>,
    /// The identity of `identityBased` authentication.
    #[serde(default)]
    identity: Option<serde_json::Value>,
}

/// A job as the REST API shows it (`JobProperties`) and as it is kept. Addresses are without signatures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Job {
    pub(super) job_id: String,
    r#type: Kind,
    status: Status,
    progress: u8,
    start_time_utc: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    end_time_utc: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    input_blob_container_uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    input_blob_name: Option<String>,
    output_blob_container_uri: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    output_blob_name: Option<String>,
    exclude_keys_in_export: bool,
    #[serde(default)]
    include_configurations: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    configurations_blob_name: Option<String>,
    storage_authentication_type: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    failure_reason: Option<String>,
    /// Orders the jobs.
    #[serde(rename = "createdAtMillis")]
    created_at: i64,
}

/// What a running job and its watchers share.
#[derive(Default)]
pub(super) struct Progress {
    done: AtomicU64,
    total: AtomicU64,
    cancelled: AtomicBool,
}

impl Progress {
    pub(super) fn expect(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
    }

    pub(super) fn add(&self, done: u64) {
        self.done.fetch_add(done, Ordering::Relaxed);
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// 0 to 99: 100 is for jobs that are complete.
    fn percent(&self) -> u8 {
        let (done, total) = (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed).max(1));
        u8::try_from((done.saturating_mul(100) / total).min(99)).unwrap_or(99)
    }
}

/// Jobs by time and id.
type Jobs = BTreeMap<(i64, String), Job>;

/// Import and export jobs of the hub.
#[derive(Clone)]
pub struct ImportExport {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) hub: Arc<Hub>,
    containers: Arc<dyn Containers>,
    jobs: Owned<Jobs>,
    active: std::sync::Mutex<Option<(String, Arc<Progress>)>>,
    /// One is made at a time.
    creating: tokio::sync::Mutex<()>,
}

/// Names of a job's blobs.
pub(super) struct Files {
    pub(super) devices: String,
    /// None when the job leaves configurations alone.
    pub(super) configurations: Option<String>,
}

/// Where a job reads and writes.
pub(super) enum Work {
    Import { input: Place, files: Files, errors: Place },
    Export { output: Place, files: Files, exclude_keys: bool },
}

impl ImportExport {
    /// Reads the jobs of earlier starts.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn load(
        hub: Arc<Hub>,
        documents: Arc<dyn Documents>,
        containers: Arc<dyn Containers>,
    ) -> Result<Self, StoreError> {
        let read = |(id, text): (String, String)| {
            let unreadable = |_| StoreError::Failed(format!("import or export job `{id}` cannot be read"));
            serde_json::from_str(&text).map(|job: Job| (job.key(), job)).map_err(unreadable)
        };
        let read_all =
            move |stored: Vec<Collection>| stored.into_iter().flat_map(|all| all.documents).map(read).collect();
        let jobs = Owned::load(documents, vec![COLLECTION], read_all).await?;
        let (active, creating) = Default::default();
        Ok(Self { inner: Arc::new(Inner { hub, containers, jobs, active, creating }) })
    }

    /// Fails the jobs that ran when the process ended, and forgets those that are too old. To be called at start.
    ///
    /// # Errors
    /// When they cannot be written.
    pub async fn settle(&self) -> Result<(), StoreError> {
        let oldest = (now().as_millis() - HISTORY_LIFE.as_millis() as i64, String::new());
        let settle = |all: &Jobs| {
            let mut next = all.clone();
            let kept = next.split_off(&oldest);
            let mut edits: Edits = std::mem::replace(&mut next, kept).into_keys().map(|(_, id)| (id, None)).collect();
            for job in next.values_mut().filter(|job| job.status == Status::Running) {
                job.end(Status::Failed, Some("the hub was restarted while the job ran; start it again".into()));
                edits.push((job.job_id.clone(), Some(job.text())));
            }
            Ok(Changed { edits: vec![edits], next, said: () })
        };
        self.inner.jobs.change(settle).await
    }

    pub(crate) async fn create(&self, request: Request) -> Result<Job, JobError> {
        let _one = self.inner.creating.lock().await;
        if self.inner.active().is_some() {
            return Err(JobError::Busy);
        }
        let (job, work) = self.prepare(request).await?;
        let add = |all: &Jobs| {
            let mut next = all.clone();
            let mut edits = vec![(job.job_id.clone(), Some(job.text()))];
            // The oldest go when there are too many.
            while next.len() >= HISTORY_LEN_MAX {
                edits.extend(next.pop_first().map(|((_, id), _)| (id, None)));
            }
            next.insert(job.key(), job.clone());
            Ok::<_, StoreError>(Changed { edits: vec![edits], next, said: () })
        };
        self.inner.jobs.change(add).await?;
        let progress = Arc::new(Progress::default());
        *self.inner.active() = Some((job.job_id.clone(), Arc::clone(&progress)));
        tokio::spawn(run(Arc::clone(&self.inner), job.clone(), work, progress));
        Ok(job)
    }

    async fn prepare(&self, request: Request) -> Result<(Job, Work), JobError> {
        let authentication = request.storage_authentication_type.as_deref().unwrap_or("keyBased");
        if !authentication.eq_ignore_ascii_case("keyBased") || request.identity.is_some() {
            return Err(JobError::NotImplemented("identityBased storage authentication"));
        }
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let texts = [&request.input_blob_container_uri, &request.output_blob_container_uri];
        let names = [&request.input_blob_name, &request.output_blob_name, &request.configurations_blob_name];
        if texts.into_iter().chain(names).flatten().any(|text| text.len() > TEXT_LEN_MAX) {
            return Err(JobError::Invalid("an address or name is too long"));
        }
        let output_uri = given(&request.output_blob_container_uri);
        let output_uri = output_uri.ok_or(JobError::Invalid("outputBlobContainerUri is missing"))?;
        let open = async |uri: &str, needed| self.inner.containers.open(uri, needed).await.map_err(JobError::Container);
        let output = open(&output_uri, &[Permission::Write]).await?;
        let input_uri = given(&request.input_blob_container_uri);
        let configurations = request
            .include_configurations
            .unwrap_or(false)
            .then(|| given(&request.configurations_blob_name).unwrap_or_else(|| CONFIGURATIONS_BLOB_NAME.into()));
        let files = |name: &Option<String>| Files {
            devices: given(name).unwrap_or_else(|| BLOB_NAME.into()),
            configurations: configurations.clone(),
        };
        let work = match request.r#type {
            Kind::Export => Work::Export {
                output,
                files: files(&request.output_blob_name),
                exclude_keys: request.exclude_keys_in_export.unwrap_or(false),
            },
            Kind::Import => {
                let uri = input_uri.as_deref();
                let uri = uri.ok_or(JobError::Invalid("inputBlobContainerUri is missing"))?;
                let input = open(uri, &[Permission::Read]).await?;
                let files = files(&request.input_blob_name);
                for name in [Some(&files.devices), files.configurations.as_ref()].into_iter().flatten() {
                    let found = input.stat(name).await;
                    found.map_err(|error| JobError::Container(format!("`{name}`: {error}")))?;
                }
                Work::Import { input, files, errors: output }
            }
        };
        let unsigned = |uri: &str| uri.split('?').next().unwrap_or_default().to_owned();
        let at = now();
        let job = Job {
            job_id: uuid::Uuid::new_v4().to_string(),
            r#type: request.r#type,
            status: Status::Running,
            progress: 0,
            start_time_utc: at.to_string(),
            end_time_utc: None,
            input_blob_container_uri: input_uri.as_deref().map(unsigned),
            input_blob_name: request.input_blob_name,
            output_blob_container_uri: unsigned(&output_uri),
            output_blob_name: request.output_blob_name,
            exclude_keys_in_export: request.exclude_keys_in_export.unwrap_or(false),
            include_configurations: configurations.is_some(),
            configurations_blob_name: configurations,
            storage_authentication_type: "keyBased".into(),
            failure_reason: None,
            created_at: at.as_millis(),
        };
        Ok((job, work))
    }

    pub(crate) fn list(&self) -> Vec<Job> {
        self.inner.jobs.current().values().rev().map(|job| self.inner.shown(job)).collect()
    }

    pub(crate) fn get(&self, id: &str) -> Result<Job, JobError> {
        let jobs = self.inner.jobs.current();
        let found = jobs.values().find(|job| job.job_id == id);
        found.map(|job| self.inner.shown(job)).ok_or_else(|| JobError::Unknown(id.to_owned()))
    }

    /// Stops a job that runs, soon; a job that ended stays as it is.
    pub(crate) async fn cancel(&self, id: &str) -> Result<(), JobError> {
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
    fn active(&self) -> std::sync::MutexGuard<'_, Option<(String, Arc<Progress>)>> {
        self.active.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A job as it is now.
    fn shown(&self, job: &Job) -> Job {
        let mut job = job.clone();
        if let Some((id, progress)) = &*self.active()
            && *id == job.job_id
        {
            job.progress = progress.percent();
        }
        job
    }
}

impl Job {
    fn key(&self) -> (i64, String) {
        (self.created_at, self.job_id.clone())
    }

    fn text(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers are JSON")
    }

    fn end(&mut self, status: Status, reason: Option<String>) {
        self.status = status;
        self.failure_reason = reason;
        self.end_time_utc = Some(now().to_string());
        if status == Status::Completed {
            self.progress = 100;
        }
    }
}

async fn run(inner: Arc<Inner>, mut job: Job, work: Work, progress: Arc<Progress>) {
    // On a task of its own, so that a panic fails the job instead of blocking all further ones.
    let (worker, watched) = (Arc::clone(&inner), Arc::clone(&progress));
    let at = Timestamp::from_millis(job.created_at);
    let task = tokio::spawn(async move {
        match work {
            Work::Export { output, files, exclude_keys } => {
                export::run(&worker.hub, &output, &files, exclude_keys, watched, at).await.map(|()| None)
            }
            Work::Import { input, files, errors } => import::run(&worker, &input, &files, errors, &watched).await,
        }
    });
    let outcome = task.await.unwrap_or_else(|_| Err("internal error".into()));
    match outcome {
        _ if progress.is_cancelled() => job.end(Status::Cancelled, None),
        Ok(remark) => job.end(Status::Completed, remark),
        Err(reason) => {
            tracing::warn!(job = %job.job_id, %reason, "import or export failed");
            job.end(Status::Failed, Some(reason));
        }
    }
    let end = |all: &Jobs| {
        let mut next = all.clone();
        next.insert(job.key(), job.clone());
        Ok::<_, StoreError>(Changed { edits: vec![vec![(job.job_id.clone(), Some(job.text()))]], next, said: () })
    };
    // Until the outcome is kept the job counts as running: no other could be made either.
    while let Err(error) = inner.jobs.change(end).await {
        tracing::error!(%error, job = %job.job_id, "the outcome of a job is not kept yet");
        tokio::time::sleep(KEEP_PAUSE).await;
    }
    *inner.active() = None;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_read_and_written_as_it_was() {
        let golden = gantry_golden::folder(env!("CARGO_MANIFEST_DIR"));
        let path = golden.join("import_export_job.v1.json");
        let job: Job = serde_json::from_slice(&gantry_golden::read(&path)).unwrap();
        gantry_golden::check(&path, format!("{}\n", job.text()).as_bytes());
        gantry_golden::check(&golden.join("import_export_job.v1.expected.txt"), format!("{job:#?}\n").as_bytes());
    }
}
