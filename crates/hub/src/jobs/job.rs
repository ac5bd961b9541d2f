//! Scheduled jobs: what a job is, which ones can be, and how one device fared.
//!
//! A job changes the twins, or calls a method, of every device or module its condition
//! matches when it starts. Source: "schedule jobs on multiple devices", registry REST
//! reference; `docs/compatibility.md`.

use std::time::Duration;

use bytes::Bytes;
use gantry_identity::{Identity, Timestamp};
use gantry_query::{Query, Source};
use serde_json::{Value, json};

use crate::configurations::configuration::{Target, parse_target};
use crate::connections::connection::MethodResponse;
use crate::connections::methods::MethodCall;
use crate::error::HubError;
use crate::twins::twin::TwinWrite;

/// How long a job may run when nobody says.
pub const EXECUTION_DEFAULT: Duration = Duration::from_secs(60 * 60);
/// How long what became of a job is kept (IoT Hub quotas: job history 30 days).
pub const HISTORY: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Jobs that are not finished yet, of one hub.
pub const UNFINISHED_MAX: usize = 100;
/// Longest job id (registry REST reference).
const ID_LEN_MAX: usize = 64;

/// Why a job was refused.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum JobError {
    /// Not there.
    #[error("job `{0}` does not exist")]
    NotFound(String),
    /// The id is taken.
    #[error("job `{0}` exists already")]
    AlreadyExists(String),
    /// The job has ended.
    #[error("job `{0}` has ended already")]
    Ended(String),
    /// As many unfinished jobs as there may be.
    #[error("{UNFINISHED_MAX} jobs are unfinished already")]
    TooMany,
    /// Something in it cannot be used.
    #[error("{0}")]
    Invalid(String),
}

/// What a job does to each device.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// Merges into the twin.
    UpdateTwin {
        /// The merge.
        write: TwinWrite,
        /// The twin as it was sent, for showing it.
        shown: Value,
    },
    /// Calls a method.
    CallMethod {
        /// The method.
        call: MethodCall,
        /// How long the device may take to answer.
        response: Duration,
        /// How long it may take to connect.
        connect: Duration,
    },
}

impl Work {
    /// The job type's word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::UpdateTwin { .. } => "scheduleUpdateTwin",
            Self::CallMethod { .. } => "scheduleDeviceMethod",
        }
    }
}

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobStatus {
    /// Waits for its time.
    Scheduled,
    /// Waits for its turn.
    Queued,
    /// Works.
    Running,
    /// Worked through all devices.
    Completed,
    /// Gave up.
    Failed,
    /// Was told to stop.
    Cancelled,
}

const STATUSES: [(JobStatus, &str); 6] = [
    (JobStatus::Scheduled, "scheduled"),
    (JobStatus::Queued, "queued"),
    (JobStatus::Running, "running"),
    (JobStatus::Completed, "completed"),
    (JobStatus::Failed, "failed"),
    (JobStatus::Cancelled, "cancelled"),
];

impl JobStatus {
    /// The word.
    pub fn as_str(self) -> &'static str {
        STATUSES.iter().find(|(status, _)| *status == self).map_or("", |(_, word)| word)
    }

    /// The status of a word, without regard to case; `canceled` and `pending` are other spellings.
    pub fn parse(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "canceled" => Some(Self::Cancelled),
            "pending" | "enqueued" => Some(Self::Queued),
            word => STATUSES.iter().find(|(_, known)| *known == word).map(|(status, _)| *status),
        }
    }

    /// Whether nothing more will happen.
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// How many devices fared how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Devices the condition matched.
    pub devices: u64,
    /// Done.
    pub succeeded: u64,
    /// Not done, and not tried again.
    pub failed: u64,
}

/// A job.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its name.
    pub id: String,
    /// Which devices, as it was sent.
    pub condition: String,
    /// What it does.
    pub work: Work,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it may begin.
    pub start_at: Timestamp,
    /// How long it may run.
    pub execution_max: Duration,
    /// When it began.
    pub began_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Where it is.
    pub status: JobStatus,
    /// Why it failed.
    pub failure: Option<String>,
    /// Whether all its devices are known.
    pub is_listed: bool,
    /// How its devices fared.
    pub statistics: Statistics,
}

impl Job {
    /// Checks a request and makes a job of it.
    ///
    /// # Errors
    /// [`JobError::Invalid`] says what cannot be used.
    pub fn new(
        id: &str,
        condition: &str,
        work: Work,
        now: Timestamp,
        start_at: Option<Timestamp>,
        execution_max: Option<Duration>,
    ) -> Result<Self, JobError> {
        let is_id = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
        if id.is_empty() || id.len() > ID_LEN_MAX || !id.bytes().all(is_id) {
            return Err(JobError::Invalid(format!("a job id has 1 to {ID_LEN_MAX} letters, digits and -_.:")));
        }
        query_of(condition)?;
        let start_at = start_at.filter(|at| *at > now).unwrap_or(now);
        let execution_max = execution_max.filter(|max| !max.is_zero()).unwrap_or(EXECUTION_DEFAULT);
        Ok(Self {
            id: id.to_owned(),
            condition: condition.to_owned(),
            work,
            created_at: now,
            start_at,
            execution_max,
            began_at: None,
            ended_at: None,
            status: if start_at > now { JobStatus::Scheduled } else { JobStatus::Queued },
            failure: None,
            is_listed: false,
            statistics: Statistics::default(),
        })
    }

    /// Whom it is for.
    pub(crate) fn query(&self) -> Result<Query, JobError> {
        query_of(&self.condition)
    }

    /// When it has to give up.
    pub fn deadline(&self) -> Timestamp {
        self.began_at.unwrap_or(self.start_at).plus(self.execution_max)
    }
}

fn query_of(condition: &str) -> Result<Query, JobError> {
    let bad = |why: String| JobError::Invalid(format!("queryCondition: {why}"));
    match parse_target(condition).map_err(bad)? {
        Target::Nobody => Err(JobError::Invalid("queryCondition is missing; `*` means all devices".into())),
        Target::Query(query) if query.source() == Source::Jobs => Err(bad("jobs are no devices".into())),
        Target::Query(query) => Ok(query),
    }
}

/// How a job fared on one device.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Not tried yet.
    Pending,
    /// The twin was changed, or the device answered.
    Succeeded(Option<MethodResponse>),
    /// It was not.
    Failed {
        /// Name of the error.
        code: String,
        /// In words.
        description: String,
    },
    /// The job was cancelled before.
    Cancelled,
}

impl Outcome {
    /// The outcome of a piece of work.
    pub(crate) fn of(result: Result<Option<MethodResponse>, HubError>) -> Self {
        match result {
            Ok(response) => Self::Succeeded(response),
            Err(error) => {
                let code = match &error {
                    HubError::NotFound(_) => "DeviceNotFound",
                    HubError::NotOnline(_) => "DeviceNotOnline",
                    HubError::TakenOver(_) => "ConnectionForcefullyClosedOnNewConnection",
                    HubError::Timeout(_) => "GatewayTimeout",
                    HubError::Disabled(_) => "DeviceDisabled",
                    HubError::TooManyMethods(_) => "DeviceMaximumInflightMethodExceeded",
                    HubError::Contended(_) => "ThrottlingException",
                    HubError::NoSpace | HubError::Failed(_) => "ServerError",
                    _ => "ArgumentInvalid",
                };
                Self::Failed { code: code.to_owned(), description: error.to_string() }
            }
        }
    }

    /// The word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Succeeded(_) => "completed",
            Self::Failed { .. } => "failed",
            Self::Cancelled => "canceled",
        }
    }
}

/// A job on one device.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceJob {
    /// Which job.
    pub job_id: String,
    /// The job type's word.
    pub kind: String,
    /// Which device or module.
    pub identity: Identity,
    /// How it fared.
    pub outcome: Outcome,
    /// When the device was listed for the job.
    pub created_at: Timestamp,
    /// When work on it began.
    pub began_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

impl DeviceJob {
    /// The document of `devices.jobs` (query language reference).
    pub fn document(&self) -> Value {
        let time = |at: Option<Timestamp>| at.unwrap_or(Timestamp::NEVER).to_string();
        let mut all = json!({
            "deviceId": self.identity.device.as_str(),
            "jobId": self.job_id,
            "jobType": self.kind,
            "status": self.outcome.word(),
            "startTimeUtc": time(self.began_at),
            "endTimeUtc": time(self.ended_at),
            "createdDateTimeUtc": self.created_at.to_string(),
            "lastUpdatedDateTimeUtc": time(self.ended_at.or(self.began_at).or(Some(self.created_at))),
        });
        if let Some(module) = &self.identity.module {
            all["moduleId"] = module.as_str().into();
        }
        match &self.outcome {
            Outcome::Succeeded(Some(response)) => {
                all["outcome"] = json!({ "deviceMethodResponse": response.document() });
            }
            Outcome::Succeeded(None) => all["outcome"] = json!({}),
            Outcome::Failed { code, description } => {
                all["error"] = json!({ "code": code, "description": description });
            }
            Outcome::Pending | Outcome::Cancelled => {}
        }
        all
    }
}

/// A method response as it is kept.
pub fn response(status: i32, payload: Bytes) -> MethodResponse {
    MethodResponse { status, payload }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    fn make(id: &str, condition: &str) -> Result<Job, JobError> {
        let work = Work::UpdateTwin { write: TwinWrite::default(), shown: Value::Null };
        Job::new(id, condition, work, NOW, None, None)
    }

    #[test]
    fn ids_and_conditions_are_checked() {
        assert!(make("job-1", "*").is_ok());
        assert!(make("job-1", "deviceId IN ['a','b']").is_ok());
        assert!(make("job-1", "FROM devices.modules WHERE moduleId = 'm'").is_ok());
        for (id, condition) in [
            ("", "*"),
            (&"x".repeat(65)[..], "*"),
            ("a b", "*"),
            ("j", ""),
            ("j", "tags.a ="),
            ("j", "FROM devices.jobs"),
        ] {
            assert!(matches!(make(id, condition), Err(JobError::Invalid(_))), "{id} {condition}");
        }
    }

    #[test]
    fn a_job_for_later_is_scheduled() {
        let work = Work::UpdateTwin { write: TwinWrite::default(), shown: Value::Null };
        let later = NOW.plus(Duration::from_secs(60));
        let job = Job::new("j", "*", work, NOW, Some(later), Some(Duration::from_secs(10))).unwrap();
        assert_eq!((job.status, job.deadline()), (JobStatus::Scheduled, NOW.plus(Duration::from_secs(70))));
        assert_eq!(make("j", "*").unwrap().status, JobStatus::Queued);
    }

    #[test]
    fn statuses_are_found_in_every_spelling() {
        for (word, status) in [("Running", JobStatus::Running), ("canceled", JobStatus::Cancelled)] {
            assert_eq!(JobStatus::parse(word), Some(status));
        }
        assert_eq!(JobStatus::parse("lost"), None);
    }
}
