//! Scheduled jobs.

use gantry_central::ScheduledWrite;
use gantry_central::jobs::schedule::{Recurrence, Schedule};
use gantry_central::jobs::{Job, JobData, JobError};

use super::jobs::{devices, job, job_id};
use super::*;

pub(super) fn daily() -> ScheduledWrite {
    let start = Timestamp::from_millis(NOW.as_millis() + 1_000);
    ScheduledWrite {
        job: job(),
        schedule: Schedule { start, recurrence: Some(Recurrence::Daily), end: None },
        enabled: true,
    }
}

const LATER: Timestamp = Timestamp::from_millis(NOW.as_millis() + 2_000);

#[tokio::test]
async fn a_scheduled_job_makes_one_job_each_time() {
    let documents = Arc::new(Memory::new());
    let central = filled(&documents).await;
    let id = job_id("nightly");
    let due = |central: &Central, now| central.state().scheduled[&id].value.due(now);
    assert_eq!((due(&central, NOW), due(&central, LATER)), (None, Some(0)));
    let run = async |central: &Central, new: &str| {
        let write = Write { now: LATER, ..WRITE };
        central.run_scheduled_job(write, &id, 0, &job_id(new), &devices(2)).await
    };
    let etag = central.state().scheduled[&id].etag;
    run(&central, "first").await.unwrap();
    assert_eq!(due(&central, LATER), None);
    assert_eq!(central.state().scheduled[&id].etag, etag);
    run(&central, "again").await.unwrap();
    let after = load(&documents, false).await;
    assert_eq!(after.jobs().iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>(), ["first"]);
    let made = after.jobs().get(&job_id("first")).unwrap().value.job.scheduled.clone().unwrap();
    assert_eq!((made.job, made.number), (id.clone(), 0));
    assert_eq!(due(&after, LATER), None);
}

#[tokio::test]
async fn a_scheduled_job_that_finds_no_room_stays_due() {
    let central = filled(&Arc::new(Memory::new())).await;
    let id = job_id("nightly");
    for n in 0..5 {
        central.put_job(WRITE, &job_id(&format!("j{n}")), &job(), &devices(1), &administrator()).await.unwrap();
    }
    let write = Write { now: LATER, ..WRITE };
    let told = central.run_scheduled_job(write, &id, 0, &job_id("first"), &devices(1)).await;
    assert!(matches!(told, Err(CentralError::Job(JobError::Busy))));
    assert_eq!(central.state().scheduled[&id].value.due(LATER), Some(0));
}

#[tokio::test]
async fn a_scheduled_job_changes_only_while_none_of_its_jobs_runs() {
    let central = filled(&Arc::new(Memory::new())).await;
    let (id, by) = (job_id("nightly"), administrator());
    let write = Write { now: LATER, ..WRITE };
    central.run_scheduled_job(write, &id, 0, &job_id("first"), &devices(1)).await.unwrap();
    let off = ScheduledWrite { enabled: false, ..daily() };
    let told = central.put_scheduled_job(write, &id, &off, &by).await;
    assert!(matches!(told, Err(CentralError::Job(JobError::Active(job))) if job == job_id("first")));
    central.fail_job(LATER, &job_id("first")).await.unwrap();
    central.put_scheduled_job(write, &id, &off, &by).await.unwrap();
    assert!(!central.state().scheduled[&id].value.enabled);
    let group = DeviceGroupId::parse("pumps").unwrap();
    let used = central.delete_group(&group, &IfMatch::Any, &by).await;
    assert!(matches!(used, Err(CentralError::Group(GroupError::InUse { job, .. })) if job == id));
    central.delete_scheduled_job(&id, &IfMatch::Any, &by).await.unwrap();
    central.delete_group(&group, &IfMatch::Any, &by).await.unwrap();
    let gone = central.delete_scheduled_job(&id, &IfMatch::Any, &by).await;
    assert!(matches!(gone, Err(CentralError::Job(JobError::UnknownScheduled(_)))));
}

#[tokio::test]
async fn a_scheduled_job_is_written_where_the_caller_runs_jobs() {
    let (central, by) = with_organizations().await;
    let group_id = DeviceGroupId::parse("west-group").unwrap();
    central.put_group(WRITE, &group_id, &group(Some("west")), &by).await.unwrap();
    let id = job_id("own");
    let of = |organization: Option<&str>| {
        let organization = organization.map(organization_id);
        ScheduledWrite { job: Job { organization, group: group_id.clone(), ..job() }, ..daily() }
    };
    let put = async |organization: Option<&str>, by: &[RoleAssignment]| {
        central.put_scheduled_job(WRITE, &id, &of(organization), by).await
    };
    assert_eq!(denied(put(None, &by).await), Some(Denied::Unseen));
    put(Some("west"), &by).await.unwrap();
    assert_eq!(denied(put(Some("eu"), &by).await), Some(Denied::Unseen), "moved out of sight");
    let viewer = [given(ORG_VIEWER, Some("us"))];
    assert_eq!(denied(put(Some("west"), &viewer).await), Some(Denied::Permission(Permission::JobsExecute)));
    let delete = async |by: &[RoleAssignment]| central.delete_scheduled_job(&id, &IfMatch::Any, by).await;
    assert_eq!(denied(delete(&viewer).await), Some(Denied::Permission(Permission::JobsDelete)));
    assert_eq!(denied(delete(&[given(ORG_ADMINISTRATOR, Some("eu"))]).await), Some(Denied::Unseen));
    delete(&by).await.unwrap();
}

#[tokio::test]
async fn a_manifest_that_a_scheduled_job_brings_stays() {
    let central = filled(&Arc::new(Memory::new())).await;
    let (manifest, by) = (manifest_id("edge"), administrator());
    let data = vec![JobData::DeviceManifestMigration { manifest: manifest.clone() }];
    let brings = ScheduledWrite { job: Job { data, ..job() }, ..daily() };
    central.put_scheduled_job(WRITE, &job_id("brings"), &brings, &by).await.unwrap();
    let used = central.delete_manifest(&manifest, &IfMatch::Any, &by).await;
    assert!(matches!(used, Err(CentralError::Manifest(ManifestError::InUse { what: "scheduled jobs", .. }))));
    let mixed = vec![brings.job.data[0].clone(), job().data[0].clone()];
    let mixed = ScheduledWrite { job: Job { data: mixed, ..job() }, ..daily() };
    let told = central.put_scheduled_job(WRITE, &job_id("mixed"), &mixed, &by).await;
    assert!(matches!(told, Err(CentralError::Job(JobError::Kinds))));
}
