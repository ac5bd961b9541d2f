//! Jobs, and the documents they are kept as.

use std::time::Duration;

use gantry_identity::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ports::StoreError;

/// Jobs remembered.
pub(super) const HISTORY_LEN_MAX: usize = 200;
/// How long they are remembered. Source: IoT Hub quotas, job history.
pub(super) const HISTORY_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Why a call about jobs was refused.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// One runs.
    #[error("another import or export job is running; only one may")]
    Busy,
    /// No job has this id.
    #[error("job `{0}` is not there")]
    Unknown(String),
    /// A container or file cannot be used.
    #[error("{0}")]
    Container(String),
    /// The request cannot be carried out.
    #[error("{0}")]
    Invalid(&'static str),
    /// The platform has no identity of its own to come to a container with.
    #[error("identityBased storage authentication")]
    IdentityBased,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// From files into the registry.
    Import,
    /// From the registry into files.
    Export,
}

/// How far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Under way.
    Running,
    /// Done, but perhaps for single lines.
    Completed,
    /// Ended before it was done.
    Failed,
    /// Ended because somebody asked for it.
    Cancelled,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Import, Self::Export];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Import => "import",
            Self::Export => "export",
        }
    }
}

impl Status {
    const ALL: [Self; 4] = [Self::Running, Self::Completed, Self::Failed, Self::Cancelled];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What a caller asks for. Addresses have their signatures.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which way.
    pub kind: Kind,
    /// Whether the platform is to come to the containers as itself.
    pub is_identity_based: bool,
    /// Container to read.
    pub input_uri: Option<String>,
    /// File of identities to read.
    pub input_blob_name: Option<String>,
    /// Container to write: an export, or what is wrong with lines of an import.
    pub output_uri: Option<String>,
    /// File of identities to write.
    pub output_blob_name: Option<String>,
    /// Whether keys stay out of an export.
    pub exclude_keys: bool,
    /// Whether configurations go along.
    pub include_configurations: bool,
    /// File of configurations.
    pub configurations_blob_name: Option<String>,
}

/// A job. Its addresses are without signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// Which way.
    pub kind: Kind,
    /// How far.
    pub status: Status,
    /// In percent.
    pub progress: u8,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Container read.
    pub input_uri: Option<String>,
    /// File of identities read, if one was named.
    pub input_blob_name: Option<String>,
    /// Container written.
    pub output_uri: String,
    /// File of identities written, if one was named.
    pub output_blob_name: Option<String>,
    /// Whether keys stay out of an export.
    pub exclude_keys: bool,
    /// File of configurations, when they go along.
    pub configurations_blob_name: Option<String>,
    /// Why it failed, or how many lines did.
    pub failure_reason: Option<String>,
}

impl Job {
    /// Orders jobs by time.
    pub(super) fn key(&self) -> (i64, String) {
        (self.started_at.as_millis(), self.id.clone())
    }

    pub(super) fn end(&mut self, now: Timestamp, status: Status, reason: Option<String>) {
        self.status = status;
        self.failure_reason = reason;
        self.ended_at = Some(now);
        if status == Status::Completed {
            self.progress = 100;
        }
    }

    /// The document of a job.
    pub(super) fn text(&self) -> String {
        let document = Document {
            job_id: self.id.clone(),
            r#type: self.kind.as_str().to_owned(),
            status: self.status.as_str().to_owned(),
            progress: self.progress,
            start_time_utc: self.started_at.to_string(),
            end_time_utc: self.ended_at.map(|at| at.to_string()),
            input_blob_container_uri: self.input_uri.clone(),
            input_blob_name: self.input_blob_name.clone(),
            output_blob_container_uri: self.output_uri.clone(),
            output_blob_name: self.output_blob_name.clone(),
            exclude_keys_in_export: self.exclude_keys,
            include_configurations: self.configurations_blob_name.is_some(),
            configurations_blob_name: self.configurations_blob_name.clone(),
            storage_authentication_type: "keyBased".to_owned(),
            failure_reason: self.failure_reason.clone(),
            created_at_millis: self.started_at.as_millis(),
        };
        serde_json::to_string(&document).expect("texts and numbers are JSON")
    }

    /// Reads a document; `None` when it is none.
    pub(super) fn read(text: &str) -> Option<Self> {
        let document: Document = serde_json::from_str(text).ok()?;
        let ended_at = document.end_time_utc.map(|text| Timestamp::parse(&text).ok_or(())).transpose().ok()?;
        Some(Self {
            id: document.job_id,
            kind: Kind::ALL.into_iter().find(|kind| kind.as_str() == document.r#type)?,
            status: Status::ALL.into_iter().find(|status| status.as_str() == document.status)?,
            progress: document.progress,
            started_at: Timestamp::from_millis(document.created_at_millis),
            ended_at,
            input_uri: document.input_blob_container_uri,
            input_blob_name: document.input_blob_name,
            output_uri: document.output_blob_container_uri,
            output_blob_name: document.output_blob_name,
            exclude_keys: document.exclude_keys_in_export,
            configurations_blob_name: document.configurations_blob_name,
            failure_reason: document.failure_reason,
        })
    }
}

/// A job as it is kept.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    job_id: String,
    r#type: String,
    status: String,
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
    /// When it began, to the millisecond; orders the jobs.
    created_at_millis: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_read_and_written_as_it_was() {
        let golden = gantry_golden::folder(env!("CARGO_MANIFEST_DIR"));
        let path = golden.join("import_export_job.v1.json");
        let text = String::from_utf8(gantry_golden::read(&path)).unwrap();
        let job = Job::read(&text).unwrap();
        gantry_golden::check(&path, format!("{}\n", job.text()).as_bytes());
        gantry_golden::check(&golden.join("import_export_job.v1.expected.txt"), format!("{job:#?}\n").as_bytes());
    }
}
