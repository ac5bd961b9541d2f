//! Jobs: importing a file into the graph, and deleting everything.
//!
//! One import and one deletion run at a time, as at the reference. What cannot be written of an import is told in its log
//! and the rest goes on; such a job fails in the end. A job that was under way when the platform ended has failed: it is
//! not known how far it came, and nothing is rolled back. Signatures of addresses are used and never kept.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use gantry_hub::import_export::Pieces;
use gantry_hub::ports::{Clock, Entropy, PortFuture};
use gantry_identity::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::GraphError;
use crate::events::Tell;
use crate::graph::{Decided, Graph, Item};
use crate::ids::{cut, is_name};
use crate::import::{Importer, Step};
use crate::limits;
use crate::state::{Change, State};

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    /// Imports a file.
    Import,
    /// Deletes everything.
    Delete,
}

impl JobKind {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Import => "import",
            Self::Delete => "delete",
        }
    }
}

/// How a job fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It waits.
    NotStarted,
    /// It runs.
    Running,
    /// It did not do all of it.
    Failed,
    /// It is done.
    Succeeded,
    /// It was told to stop.
    Cancelling,
    /// It stopped.
    Cancelled,
}

impl Status {
    /// The reference's word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotStarted => "notstarted",
            Self::Running => "running",
            Self::Failed => "failed",
            Self::Succeeded => "succeeded",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing further comes.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Failed | Self::Succeeded | Self::Cancelled)
    }
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// What it does.
    pub kind: JobKind,
    /// Its id, unique among those of its kind.
    pub id: String,
    /// How it fares.
    pub status: Status,
    /// When it was made, in ms since the epoch.
    pub created_at: i64,
    /// When it did something last.
    pub last_action_at: i64,
    /// When it ended.
    pub finished_at: Option<i64>,
    /// Address of the file, without its signature; of an import.
    pub input: String,
    /// Address of the log, without its signature; of an import.
    pub output: String,
    /// What went wrong: a code and words.
    pub error: Option<(String, String)>,
}

impl Job {
    fn new(kind: JobKind, id: &str, now: Timestamp) -> Self {
        let at = now.as_millis();
        let (id, input, output) = (id.to_owned(), String::new(), String::new());
        let status = Status::NotStarted;
        Self { kind, id, status, created_at: at, last_action_at: at, finished_at: None, input, output, error: None }
    }

    /// When it is forgotten.
    #[must_use]
    pub fn purge_at(&self) -> Option<Timestamp> {
        let finished = Timestamp::from_millis(self.finished_at?);
        Some(finished.plus(Duration::from_secs(limits::JOB_DAYS * 24 * 3600)))
    }
}

/// Files that imports read and write, by addresses with a signature.
pub trait Files: Send + Sync {
    /// Whether both addresses can be used. Errors are words for the caller.
    fn check<'a>(&'a self, input: &'a str, output: &'a str) -> PortFuture<'a, (), String>;
    /// Opens a file.
    fn read<'a>(&'a self, uri: &'a str) -> PortFuture<'a, Pieces, String>;
    /// Writes a file in place of what is there.
    fn write<'a>(&'a self, now: Timestamp, uri: &'a str, text: Vec<u8>) -> PortFuture<'a, (), String>;
}

/// Jobs of a graph.
pub struct Jobs {
    graph: Arc<Graph>,
    files: Arc<dyn Files>,
    tell: Arc<dyn Tell>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// An address without what follows `?`.
fn without_signature(uri: &str) -> String {
    uri.split('?').next().unwrap_or_default().to_owned()
}

impl Jobs {
    /// Jobs of a graph, of which none runs yet.
    #[must_use]
    pub fn new(
        graph: Arc<Graph>,
        files: Arc<dyn Files>,
        tell: Arc<dyn Tell>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self { graph, files, tell, clock, entropy }
    }

    /// Ends jobs that were under way when the platform ended.
    ///
    /// # Errors
    /// When that cannot be written.
    pub async fn settle(&self) -> Result<(), GraphError> {
        for kind in [JobKind::Import, JobKind::Delete] {
            for job in self.graph.jobs(kind).into_iter().filter(|job| !job.status.is_final()) {
                let words = "the platform was stopped while the job ran".to_owned();
                self.end(job, Status::Failed, Some(("JobInterrupted".into(), words))).await?;
            }
        }
        Ok(())
    }

    /// Jobs of a kind.
    #[must_use]
    pub fn list(&self, kind: JobKind) -> Vec<Job> {
        let now = self.clock.now();
        self.graph.jobs(kind).into_iter().filter(|job| job.purge_at().is_none_or(|at| at > now)).collect()
    }

    /// A job.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&self, kind: JobKind, id: &str) -> Result<Job, GraphError> {
        let found = self.list(kind).into_iter().find(|job| job.id == id);
        found.ok_or_else(|| GraphError::JobNotFound { kind: kind.name(), id: cut(id) })
    }

    async fn create(&self, job: Job) -> Result<Job, GraphError> {
        let (kind, now) = (job.kind, self.clock.now());
        if !is_name(&job.id) {
            let words = format!("the id of a job has 1 to {} letters, digits and -_.", limits::NAME_LEN_MAX);
            return Err(GraphError::ValidationFailed(words));
        }
        let decide = |state: &State| {
            let mut of_kind: Vec<&Job> =
                state.jobs.iter().filter(|((of, _), _)| *of == kind).map(|(_, job)| job).collect();
            let is_gone = |job: &Job| job.purge_at().is_some_and(|at| at <= now);
            if let Some(other) = of_kind.iter().find(|other| other.id == job.id && !is_gone(other)) {
                return Err(GraphError::ValidationFailed(format!("{} job `{}` exists already", kind.name(), other.id)));
            }
            if let Some(other) = of_kind.iter().find(|other| !other.status.is_final()) {
                let words = format!("{} job `{}` is under way, and one may be", kind.name(), other.id);
                return Err(GraphError::JobLimitReached(words));
            }
            let mut changes = vec![];
            of_kind.sort_by_key(|job| job.finished_at);
            let too_many = (of_kind.len() + 1).saturating_sub(limits::JOBS_MAX);
            for (number, old) in of_kind.iter().enumerate() {
                if number < too_many || is_gone(old) {
                    changes.push(Change::Job(kind, old.id.clone(), None));
                }
            }
            changes.push(Change::Job(kind, job.id.clone(), Some(job.clone())));
            Ok(Decided { changes, events: vec![], said: job.clone() })
        };
        Ok(self.graph.write(decide).await?.0)
    }

    /// Makes an import; [`run_import`](Self::run_import) carries it out.
    ///
    /// # Errors
    /// When one runs, the id is taken, or an address cannot be used.
    pub async fn create_import(&self, id: &str, input: &str, output: &str) -> Result<Job, GraphError> {
        self.files.check(input, output).await.map_err(GraphError::ValidationFailed)?;
        let mut job = Job::new(JobKind::Import, id, self.clock.now());
        (job.input, job.output) = (without_signature(input), without_signature(output));
        self.create(job).await
    }

    /// Makes a deletion; [`run_deletion`](Self::run_deletion) carries it out.
    ///
    /// # Errors
    /// When one runs, or the id is taken.
    pub async fn create_deletion(&self, id: &str) -> Result<Job, GraphError> {
        self.create(Job::new(JobKind::Delete, id, self.clock.now())).await
    }

    /// Tells an import to stop.
    ///
    /// # Errors
    /// When there is none, or it has ended.
    pub async fn cancel(&self, id: &str) -> Result<Job, GraphError> {
        self.get(JobKind::Import, id)?;
        let decide = |state: &State| {
            let key = (JobKind::Import, id.to_owned());
            let job = state.jobs.get(&key).ok_or(GraphError::JobNotFound { kind: "import", id: cut(id) })?;
            if job.status.is_final() {
                let words = format!("import job `{id}` has ended: {}", job.status.name());
                return Err(GraphError::ValidationFailed(words));
            }
            let job = Job { status: Status::Cancelling, ..job.clone() };
            let changes = vec![Change::Job(JobKind::Import, job.id.clone(), Some(job.clone()))];
            Ok(Decided { changes, events: vec![], said: job })
        };
        Ok(self.graph.write(decide).await?.0)
    }

    /// Forgets an import that has ended.
    ///
    /// # Errors
    /// When there is none, or it runs.
    pub async fn delete(&self, id: &str) -> Result<(), GraphError> {
        let job = self.get(JobKind::Import, id)?;
        if !job.status.is_final() {
            let words = format!("import job `{id}` is under way; cancel it first");
            return Err(GraphError::ValidationFailed(words));
        }
        let decide = |_: &State| {
            let changes = vec![Change::Job(JobKind::Import, id.to_owned(), None)];
            Ok(Decided { changes, events: vec![], said: () })
        };
        self.graph.write(decide).await?;
        Ok(())
    }

    async fn put(&self, job: &Job) -> Result<(), GraphError> {
        let decide = |state: &State| {
            let mut job = job.clone();
            let there = state.jobs.get(&(job.kind, job.id.clone()));
            let is_told = there.is_some_and(|there| there.status == Status::Cancelling);
            if is_told && !job.status.is_final() {
                job.status = Status::Cancelling;
            }
            let changes = vec![Change::Job(job.kind, job.id.clone(), Some(job))];
            Ok(Decided { changes, events: vec![], said: () })
        };
        self.graph.write(decide).await?;
        Ok(())
    }

    async fn end(&self, mut job: Job, status: Status, error: Option<(String, String)>) -> Result<(), GraphError> {
        let now = self.clock.now().as_millis();
        (job.status, job.error, job.last_action_at, job.finished_at) = (status, error, now, Some(now));
        self.put(&job).await
    }

    fn is_cancelled(&self, id: &str) -> bool {
        self.get(JobKind::Import, id).is_ok_and(|job| job.status == Status::Cancelling)
    }

    fn drawn(&self) -> u128 {
        let mut bytes = [0; 16];
        self.entropy.fill(&mut bytes);
        u128::from_le_bytes(bytes)
    }

    /// Carries an import out that was made with these addresses.
    ///
    /// # Errors
    /// When how it fares cannot be written.
    pub async fn run_import(&self, mut job: Job, input: &str, output: &str) -> Result<(), GraphError> {
        job.status = Status::Running;
        self.put(&job).await?;
        let (models, items, keys) = (vec![], vec![], HashSet::new());
        let mut run = Import { jobs: self, id: job.id.clone(), log: Log::default(), models, items, keys };
        run.log(json!({"status": "Started"}), "Info");
        let outcome = run.carry_out(input).await;
        let (status, error) = match outcome {
            Err(error) => (Status::Failed, Some((error.code().to_owned(), error.to_string()))),
            Ok(true) => (Status::Cancelled, None),
            Ok(false) if run.log.failed > 0 => {
                let words = format!("{} of {} were not imported; the output says why", run.log.failed, run.log.taken);
                (Status::Failed, Some(("ImportJobPartialFailure".to_owned(), words)))
            }
            Ok(false) => (Status::Succeeded, None),
        };
        let message = error.as_ref().map(|(_, words)| words.clone());
        let imported = run.log.taken.saturating_sub(run.log.failed);
        run.log(json!({"status": status.name(), "imported": imported, "error": message}), "Info");
        let text = std::mem::take(&mut run.log.text);
        let written = self.files.write(self.clock.now(), output, text).await;
        let (status, error) = match written {
            Ok(()) => (status, error),
            Err(why) => (Status::Failed, error.or(Some(("OutputFailed".into(), why)))),
        };
        self.end(job, status, error).await
    }

    /// Carries a deletion out within so many minutes.
    ///
    /// # Errors
    /// When how it fares cannot be written.
    pub async fn run_deletion(&self, mut job: Job, minutes: u64) -> Result<(), GraphError> {
        job.status = Status::Running;
        self.put(&job).await?;
        let until = self.clock.now().plus(Duration::from_secs(minutes.saturating_mul(60)));
        let (status, error) = loop {
            match self.graph.delete_some(limits::BATCH_ITEMS).await {
                Ok(0) => break (Status::Succeeded, None),
                Ok(_) if self.clock.now() >= until => {
                    let words = "the time was over before all was deleted";
                    break (Status::Failed, Some(("TimeoutError".to_owned(), words.to_owned())));
                }
                Ok(_) => {}
                Err(error) => break (Status::Failed, Some((error.code().to_owned(), error.to_string()))),
            }
        };
        self.end(job, status, error).await
    }
}

/// What is told of an import, in lines of JSON.
#[derive(Default)]
struct Log {
    text: Vec<u8>,
    taken: u64,
    failed: u64,
    is_cut: bool,
}

struct Import<'a> {
    jobs: &'a Jobs,
    id: String,
    log: Log,
    models: Vec<Value>,
    items: Vec<(u64, Item)>,
    keys: HashSet<String>,
}

impl Import<'_> {
    fn log(&mut self, details: Value, kind: &str) {
        let timestamp = self.jobs.clock.now().to_string();
        let (id, of) = (&self.id, "Import");
        let line = json!({"timestamp": timestamp, "jobId": id, "jobType": of, "logType": kind, "details": details});
        let line = format!("{line}\n");
        if self.log.text.len() + line.len() <= limits::LOG_BYTES_MAX {
            self.log.text.extend_from_slice(line.as_bytes());
        } else if !std::mem::replace(&mut self.log.is_cut, true) {
            let words = "further lines are not told; the last one counts them";
            self.log.text.extend_from_slice(format!("{}\n", json!({"jobId": self.id, "details": words})).as_bytes());
        }
    }

    fn failed(&mut self, line: u64, code: &str, words: &str) {
        self.log.failed += 1;
        self.log(json!({"line": line, "code": code, "message": words}), "Error");
    }

    /// Whether it was cancelled.
    async fn carry_out(&mut self, input: &str) -> Result<bool, GraphError> {
        let mut pieces = self.jobs.files.read(input).await.map_err(GraphError::ValidationFailed)?;
        let mut importer = Importer::default();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(GraphError::ValidationFailed)?;
            for line in importer.feed(&piece).map_err(GraphError::ValidationFailed)? {
                if self.take(&mut importer, &line).await? {
                    return Ok(true);
                }
            }
        }
        let rest = importer.rest();
        if self.take(&mut importer, &rest).await? {
            return Ok(true);
        }
        self.flush().await?;
        Ok(false)
    }

    async fn take(&mut self, importer: &mut Importer, line: &[u8]) -> Result<bool, GraphError> {
        let step = importer.line(line);
        let number = importer.lines();
        match step {
            Ok(Step::Nothing) => return Ok(false),
            Ok(Step::Section(_)) => return self.flush().await,
            Ok(Step::Model(model)) if self.models.len() < limits::MODELS_MAX => {
                self.log.taken += 1;
                self.models.push(model);
                return Ok(false);
            }
            Ok(Step::Model(_)) => {
                let words = format!("an import has at most {} models", limits::MODELS_MAX);
                return Err(GraphError::LimitExceeded(words));
            }
            Ok(Step::Twin(body)) => self.add(number, Item::Twin(body)).await?,
            Ok(Step::Relationship(body)) => self.add(number, Item::Relationship(body)).await?,
            Err(why) => {
                self.log.taken += 1;
                self.failed(number, "ValidationFailed", &why);
            }
        }
        Ok(self.items.is_empty() && self.jobs.is_cancelled(&self.id))
    }

    async fn add(&mut self, line: u64, item: Item) -> Result<(), GraphError> {
        self.log.taken += 1;
        let key = match &item {
            Item::Twin(body) => format!("t {}", body.get("$dtId").unwrap_or(&Value::Null)),
            Item::Relationship(body) => {
                let source = body.get("$dtId").or(body.get("$sourceId")).unwrap_or(&Value::Null);
                format!("r {source} {}", body.get("$relationshipId").unwrap_or(&Value::Null))
            }
            Item::Patch(id, _) => format!("t {id}"),
        };
        if !self.keys.insert(key.clone()) {
            self.flush().await?;
            self.keys.insert(key);
        }
        self.items.push((line, item));
        if self.items.len() >= limits::BATCH_ITEMS {
            self.flush().await?;
        }
        Ok(())
    }

    /// Writes what has gathered; whether the import was cancelled.
    async fn flush(&mut self) -> Result<bool, GraphError> {
        self.keys.clear();
        let models = std::mem::take(&mut self.models);
        if !models.is_empty() {
            let (len, now) = (models.len(), self.jobs.clock.now());
            self.jobs.graph.add_models(now, models).await?;
            self.log(json!({"models": len}), "Info");
        }
        let (lines, items): (Vec<u64>, Vec<Item>) = std::mem::take(&mut self.items).into_iter().unzip();
        if !items.is_empty() {
            let (now, drawn) = (self.jobs.clock.now(), self.jobs.drawn());
            let (outcomes, events) = self.jobs.graph.put_many(now, drawn, &items).await?;
            for (line, outcome) in lines.into_iter().zip(outcomes) {
                if let Err(error) = outcome {
                    self.failed(line, error.code(), &error.to_string());
                }
            }
            if self.jobs.graph.has_routes()
                && let Err(why) = self.jobs.tell.tell(events).await
            {
                self.log(json!({"message": format!("events were not told: {why}")}), "Warning");
            }
        }
        Ok(self.jobs.is_cancelled(&self.id))
    }
}

#[cfg(test)]
#[path = "jobs_tests.rs"]
mod tests;
