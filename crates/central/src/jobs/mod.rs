//! Jobs: one change on every device of a group, now or again and again.
//!
//! What a job does and how it is divided is here, how far it is in [`run`], when it is repeated in [`schedule`] and
//! [`scheduled`], how each device fared in [`devices`], and all of them as they are kept in [`all`]. Nothing here
//! touches a device: whoever runs a job asks which devices are next and says how each did. Source: jobs and scheduled
//! jobs of `iotcentral-2022-10-31-preview`, "Manage devices in bulk".

pub mod all;
pub mod devices;
pub mod run;
pub mod schedule;
pub mod scheduled;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::ids::{
    DeploymentManifestId, DeviceGroupId, DeviceTemplateId, DisplayName, IdError, JobId, OrganizationId,
    check_description,
};

/// Jobs that run at once (IoT Central quotas and limits).
pub const RUNNING_MAX: usize = 5;
/// Changes of one job; ours.
pub const DATA_MAX: usize = 100;
/// Characters of a target or path; ours.
const TEXT_CHARS_MAX: usize = 512;

/// What a job is.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// The time of a scheduled job that made it.
    pub scheduled: Option<Occurrence>,
    /// What it is called.
    pub display_name: Option<DisplayName>,
    /// What it is for.
    pub description: Option<String>,
    /// On which devices.
    pub group: DeviceGroupId,
    /// How devices are divided; all at once without.
    pub batch: Option<Share>,
    /// When it is given up.
    pub cancellation_threshold: Option<Threshold>,
    /// What is changed.
    pub data: Vec<JobData>,
    /// The organization it belongs to.
    pub organization: Option<OrganizationId>,
}

/// A time of a scheduled job.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Occurrence {
    /// Which scheduled job.
    pub job: JobId,
    /// Which time, from 0.
    pub number: u32,
}

/// A part of the devices.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Share {
    /// So many.
    Number(u64),
    /// So many of a hundred.
    Percentage(u8),
}

/// How many failures are too many: more than this.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Threshold {
    /// How many.
    pub share: Share,
    /// Whether that is of each batch or of the whole job.
    pub is_per_batch: bool,
}

/// One change.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum JobData {
    /// A writable property.
    Property(CapabilityValue),
    /// A cloud property.
    CloudProperty(CapabilityValue),
    /// A command.
    Command(CapabilityValue),
    /// Another template.
    DeviceTemplateMigration {
        /// Which.
        template: DeviceTemplateId,
    },
    /// Another deployment manifest.
    DeviceManifestMigration {
        /// Which.
        manifest: DeploymentManifestId,
    },
}

/// A value for a capability.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CapabilityValue {
    /// The template that has the capability.
    pub target: String,
    /// Its name, with its component before a dot.
    pub path: String,
    /// The value, if any; null is one.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "there")]
    pub value: Option<Value>,
}

/// A value that is there, be it null.
fn there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl CapabilityValue {
    /// The component and the name.
    #[must_use]
    pub fn name(&self) -> (Option<&str>, &str) {
        match self.path.split_once('.') {
            Some((component, name)) => (Some(component), name),
            None => (None, &self.path),
        }
    }
}

/// Why something about a job was not done.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum JobError {
    /// A description is none.
    #[error(transparent)]
    Name(#[from] IdError),
    /// Nothing is changed, or too much.
    #[error("`data` has 1 to {DATA_MAX} changes")]
    Data,
    /// A member is not what it must be.
    #[error("`{field}` is not {what}")]
    Invalid {
        /// Which.
        field: &'static str,
        /// What it must be.
        what: &'static str,
    },
    /// Changes of several kinds in a scheduled job.
    #[error("all `data` of a scheduled job is of one type")]
    Kinds,
    /// There is none with this id.
    #[error("there is no job `{0}`")]
    Unknown(JobId),
    /// There is no scheduled one with this id.
    #[error("there is no scheduled job `{0}`")]
    UnknownScheduled(JobId),
    /// There is one with this id; a job is never changed.
    #[error("there is a job `{0}` already")]
    Exists(JobId),
    /// There is no such group.
    #[error("there is no device group `{0}`")]
    UnknownGroup(DeviceGroupId),
    /// The group has devices that are not seen from the job's organization.
    #[error("device group `{0}` is not in the organization of the job")]
    GroupElsewhere(DeviceGroupId),
    /// There is no such organization.
    #[error("there is no organization `{0}`")]
    UnknownOrganization(OrganizationId),
    /// There is no such template.
    #[error("there is no device template `{0}`")]
    UnknownTemplate(DeviceTemplateId),
    /// There is no such manifest.
    #[error("there is no deployment manifest `{0}`")]
    UnknownManifest(DeploymentManifestId),
    /// The group is too large.
    #[error("a job is on {max} devices at most, and there are {0}", max = devices::DEVICES_MAX)]
    TooManyDevices(usize),
    /// Too much is kept of jobs that have not ended.
    #[error("{} jobs on {} devices together are kept, and no more of them have ended", all::JOBS_MAX, all::DEVICES_MAX)]
    Full,
    /// There are as many scheduled ones as there may be.
    #[error("there are {} scheduled jobs, which is the most", scheduled::SCHEDULED_MAX)]
    TooManyScheduled,
    /// A schedule has no time left.
    #[error("`schedule` has no time that is not over")]
    Over,
    /// A scheduled job cannot change while one that it made runs.
    #[error("job `{0}` of the scheduled job has not ended")]
    Active(JobId),
    /// Too many jobs run.
    #[error("{RUNNING_MAX} jobs run, which is the most")]
    Busy,
    /// It is not in a state for that.
    #[error("a job that is {} cannot be {what}", .status.word())]
    Status {
        /// How it is.
        status: run::Status,
        /// What was to be done.
        what: &'static str,
    },
}

impl Job {
    /// Checks ranges.
    ///
    /// # Errors
    /// [`JobError`] names what is wrong.
    pub fn check(&self) -> Result<(), JobError> {
        self.description.as_deref().map_or(Ok(()), check_description)?;
        if !(1..=DATA_MAX).contains(&self.data.len()) {
            return Err(JobError::Data);
        }
        self.data.iter().try_for_each(JobData::check)?;
        self.batch.map_or(Ok(()), |share| share.check("batch"))?;
        self.cancellation_threshold.map_or(Ok(()), |threshold| threshold.share.check("cancellationThreshold"))
    }

    /// Checks what a scheduled job must be beside.
    ///
    /// # Errors
    /// [`JobError::Kinds`] among others.
    pub fn check_scheduled(&self) -> Result<(), JobError> {
        self.check()?;
        let kind = self.data.first().map(std::mem::discriminant);
        let is_one = self.data.iter().all(|one| Some(std::mem::discriminant(one)) == kind);
        if is_one { Ok(()) } else { Err(JobError::Kinds) }
    }
}

impl JobData {
    fn check(&self) -> Result<(), JobError> {
        let is_text = |text: &str| !text.is_empty() && text.chars().count() <= TEXT_CHARS_MAX;
        let (value, needs_value) = match self {
            Self::Property(value) | Self::CloudProperty(value) => (value, true),
            Self::Command(value) => (value, false),
            Self::DeviceTemplateMigration { .. } | Self::DeviceManifestMigration { .. } => return Ok(()),
        };
        let (component, name) = value.name();
        let is_name = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !is_text(&value.target) {
            return Err(JobError::Invalid { field: "target", what: "the id of a model" });
        }
        if !is_text(&value.path) || !is_name(name) || !component.is_none_or(is_name) {
            return Err(JobError::Invalid {
                field: "path",
                what: "a name, or a component and a name with a dot between",
            });
        }
        if needs_value && value.value.is_none() {
            return Err(JobError::Invalid { field: "value", what: "there" });
        }
        Ok(())
    }
}

impl Share {
    fn check(self, field: &'static str) -> Result<(), JobError> {
        match self {
            Self::Number(number) if number > 0 => Ok(()),
            Self::Percentage(1..=100) => Ok(()),
            Self::Number(_) => Err(JobError::Invalid { field, what: "a number of devices above 0" }),
            Self::Percentage(_) => Err(JobError::Invalid { field, what: "a percentage of 1 to 100" }),
        }
    }

    /// How many devices that is of some, one at least.
    #[must_use]
    pub fn of(self, devices: u64) -> u64 {
        match self {
            Self::Number(number) => number,
            Self::Percentage(percent) => devices.saturating_mul(u64::from(percent)).div_ceil(100),
        }
        .max(1)
    }

    /// Whether some of all are more than this. A percentage is not rounded.
    #[must_use]
    pub fn is_exceeded(self, some: u64, all: u64) -> bool {
        match self {
            Self::Number(number) => some > number,
            Self::Percentage(percent) => some.saturating_mul(100) > all.saturating_mul(u64::from(percent)),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    pub(crate) fn job() -> Job {
        Job {
            scheduled: None,
            display_name: None,
            description: None,
            group: DeviceGroupId::parse("475cad48-b7ff-4a09-b51e-1a9021385453").unwrap(),
            batch: None,
            cancellation_threshold: None,
            data: vec![JobData::Property(value_of("componentName.propertyName"))],
            organization: None,
        }
    }

    fn value_of(path: &str) -> CapabilityValue {
        let target = "urn:1dgygpt7t:modelDefinition:02uwtefvdy".to_owned();
        CapabilityValue { target, path: path.to_owned(), value: Some(json!("updated value")) }
    }

    #[test]
    fn a_job_is_read_as_it_was_stored() {
        let value = |value| CapabilityValue { value, ..value_of("c.p") };
        let data = vec![
            JobData::Property(value(Some(json!({ "a": 1 })))),
            JobData::CloudProperty(value(Some(Value::Null))),
            JobData::Command(value(None)),
            JobData::DeviceTemplateMigration { template: DeviceTemplateId::parse("dtmi:a:b;1").unwrap() },
            JobData::DeviceManifestMigration { manifest: DeploymentManifestId::parse("m1").unwrap() },
        ];
        let full = Job {
            scheduled: Some(Occurrence { job: JobId::parse("s").unwrap(), number: 3 }),
            batch: Some(Share::Percentage(10)),
            cancellation_threshold: Some(Threshold { share: Share::Number(3), is_per_batch: true }),
            data,
            ..job()
        };
        let text = serde_json::to_string(&full).unwrap();
        assert_eq!(serde_json::from_str::<Job>(&text).unwrap(), full, "{text}");
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Job), expected: Result<(), &str>) {
        let mut job = job();
        change(&mut job);
        let told = job.check().map_err(|error| error.to_string());
        match (told, expected) {
            (Ok(()), Ok(())) => {}
            (Err(told), Err(part)) => assert!(told.contains(part), "{told}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn ranges_of_a_job_are_checked() {
        check(|_| {}, Ok(()));
        check(|job| job.data.clear(), Err("1 to 100 changes"));
        check(|job| job.data = vec![job.data[0].clone(); DATA_MAX], Ok(()));
        check(|job| job.data = vec![job.data[0].clone(); DATA_MAX + 1], Err("1 to 100 changes"));
        check(|job| job.batch = Some(Share::Number(0)), Err("`batch`"));
        check(|job| job.batch = Some(Share::Percentage(100)), Ok(()));
        check(|job| job.batch = Some(Share::Percentage(101)), Err("`batch`"));
        let threshold = |share| Some(Threshold { share, is_per_batch: false });
        check(|job| job.cancellation_threshold = threshold(Share::Percentage(0)), Err("`cancellationThreshold`"));
        for (path, is_good) in [("p", true), ("c.p", true), ("", false), ("c.", false), (".p", false), ("a.b.c", false)]
        {
            check(
                |job| job.data = vec![JobData::Property(value_of(path))],
                if is_good { Ok(()) } else { Err("`path`") },
            );
        }
        let without = CapabilityValue { value: None, ..value_of("p") };
        check(|job| job.data = vec![JobData::Property(without.clone())], Err("`value`"));
        check(|job| job.data = vec![JobData::Command(without.clone())], Ok(()));
        let manifest = DeploymentManifestId::parse("manifestId1").unwrap();
        check(|job| job.data = vec![JobData::DeviceManifestMigration { manifest }], Ok(()));
    }

    #[test]
    fn a_scheduled_job_makes_changes_of_one_kind() {
        let mut two = job();
        two.data.push(JobData::Property(value_of("other")));
        assert_eq!(two.check_scheduled(), Ok(()));
        two.data.push(JobData::Command(value_of("c")));
        assert_eq!(two.check(), Ok(()));
        assert_eq!(two.check_scheduled(), Err(JobError::Kinds));
    }

    #[test]
    fn shares_are_of_devices() {
        assert_eq!(Share::Percentage(10).of(101), 11);
        assert_eq!(Share::Percentage(1).of(0), 1);
        assert_eq!(Share::Number(7).of(3), 7);
        assert!(!Share::Percentage(7).is_exceeded(70, 1_000) && Share::Percentage(7).is_exceeded(71, 1_000));
        assert!(!Share::Number(3).is_exceeded(3, 9) && Share::Number(3).is_exceeded(4, 9));
        assert_eq!(Share::Percentage(100).of(u64::MAX), u64::MAX.div_ceil(100));
    }
}
