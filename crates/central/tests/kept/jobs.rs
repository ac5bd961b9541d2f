//! Jobs: made, run, stopped, continued, done again, read after a crash.

use gantry_central::ids::{DeploymentManifestId, JobId};
use gantry_central::jobs::all::{HISTORY, JOBS_MAX};
use gantry_central::jobs::devices::{DEVICES_MAX, Outcome, PAGE_DEVICES};
use gantry_central::jobs::run::Status;
use gantry_central::jobs::{CapabilityValue, Job, JobData, JobError, Share, Threshold};
use gantry_identity::DeviceId;

use super::*;

pub(super) fn job_id(text: &str) -> JobId {
    JobId::parse(text).unwrap()
}

pub(super) fn devices(count: usize) -> Vec<DeviceId> {
    (0..count).map(|n| DeviceId::parse(&format!("device-{n}")).unwrap()).collect()
}

pub(super) fn job() -> Job {
    let value = CapabilityValue {
        target: "dtmi:contoso:pumpTemplate;1".to_owned(),
        path: "settings.level".to_owned(),
        value: Some(json!(null)),
    };
    Job {
        scheduled: None,
        display_name: DisplayName::parse("Levels").ok(),
        description: None,
        group: DeviceGroupId::parse("pumps").unwrap(),
        batch: None,
        cancellation_threshold: None,
        data: vec![JobData::Property(value)],
        organization: None,
    }
}

fn status(central: &Central, id: &str) -> Status {
    central.jobs().get(&job_id(id)).unwrap().value.run.status()
}

fn is_job<T: std::fmt::Debug>(told: Result<T, CentralError>, expected: &JobError) -> bool {
    matches!(&told, Err(CentralError::Job(error)) if error == expected)
}

async fn put(central: &Central, id: &str, job: &Job, count: usize) -> Result<(), CentralError> {
    central.put_job(WRITE, &job_id(id), job, &devices(count), &administrator()).await.map(|_| ())
}

/// Runs a job to its end, one device at a time or many; devices at multiples of `fails` fail.
async fn play(central: &Central, id: &str, at_once: usize, fails: u64) {
    let id = job_id(id);
    loop {
        let handed = central.hand_out_devices(&id).await.unwrap();
        if handed.is_empty() {
            return;
        }
        for some in handed.chunks(at_once) {
            let fared: Vec<_> = some.iter().map(|one| (one.at, (one.at + 1) % fails != 0)).collect();
            assert_eq!(central.settle_devices(NOW, &id, &fared).await.unwrap(), some.len());
        }
    }
}

#[tokio::test]
async fn a_job_is_done_on_every_device_and_its_failures_again() {
    let documents = Arc::new(Memory::new());
    let central = filled(&documents).await;
    let divided = Job { batch: Some(Share::Number(300)), ..job() };
    put(&central, "j1", &divided, 1_000).await.unwrap();
    play(&central, "j1", 7, 14).await;
    let jobs = central.jobs();
    let run = &jobs.get(&job_id("j1")).unwrap().value.run;
    assert_eq!((run.status(), run.progress().completed, run.progress().failed), (Status::Complete, 929, 71));
    let failed: Vec<u64> =
        jobs.devices(&job_id("j1"), 0).filter(|(.., how)| *how == Outcome::Failed).map(|(at, ..)| at).collect();
    assert_eq!(failed, (1..=71).map(|n| n * 14 - 1).collect::<Vec<_>>());
    let page: Vec<_> = jobs.devices(&job_id("j1"), 998).collect();
    assert_eq!(page, [(998, "device-998", Outcome::Completed), (999, "device-999", Outcome::Completed)]);
    assert_eq!(jobs.devices(&job_id("j1"), 1_000).count(), 0);
    let again = central.rerun_job(WRITE, &job_id("j1"), &job_id("j2"), &administrator()).await.unwrap();
    assert_eq!((again.value.run.progress().total, &again.value.job), (71, &divided));
    assert_eq!(central.hand_out_devices(&job_id("j2")).await.unwrap()[0].device.as_str(), "device-13");
    let after = load(&documents, false).await.jobs();
    for id in ["j1", "j2"] {
        assert_eq!(after.get(&job_id(id)), central.jobs().get(&job_id(id)));
        let all = |jobs: &gantry_central::jobs::all::Jobs| {
            jobs.devices(&job_id(id), 0).map(|(_, device, how)| (device.to_owned(), how)).collect::<Vec<_>>()
        };
        assert_eq!(all(&after), all(&central.jobs()));
    }
}

#[tokio::test]
async fn one_device_writes_its_page_alone() {
    let documents = Arc::new(Memory::new());
    let central = filled(&documents).await;
    put(&central, "big", &job(), 10_000).await.unwrap();
    assert_eq!(central.hand_out_devices(&job_id("big")).await.unwrap().len(), 10_000);
    let pages = async || documents.all("centralJobDevices").await.unwrap().documents;
    let before = pages().await;
    assert_eq!(before.len(), 10_000 / PAGE_DEVICES);
    central.settle_devices(NOW, &job_id("big"), &[(4_321, false)]).await.unwrap();
    let after = pages().await;
    let changed: Vec<_> = before.iter().zip(&after).filter(|(one, other)| one != other).collect();
    let [(_, (id, text))] = changed[..] else { panic!("{changed:?}") };
    assert_eq!(id, &format!("big/{:04}", 4_321 / PAGE_DEVICES));
    assert!(text.len() < 8 * 1_024, "{} bytes", text.len());
    let record = &documents.all("centralJobs").await.unwrap().documents[0].1;
    assert!(record.len() < 1_024, "{record}");
}

#[tokio::test]
async fn what_was_handed_out_before_a_crash_is_handed_out_again() {
    let documents = Arc::new(Memory::new());
    let central = filled(&documents).await;
    let id = job_id("j1");
    put(&central, "j1", &Job { batch: Some(Share::Number(3)), ..job() }, 5).await.unwrap();
    central.hand_out_devices(&id).await.unwrap();
    central.settle_devices(NOW, &id, &[(1, true)]).await.unwrap();
    drop(central);
    let central = load(&documents, false).await;
    assert_eq!(central.hand_out_devices(&id).await.unwrap(), [], "the batch has not fared");
    let left: Vec<u64> = central.jobs().outstanding(&id).iter().map(|one| one.at).collect();
    assert_eq!(left, [0, 2]);
    let counted = central.settle_devices(NOW, &id, &[(0, true), (0, false), (1, true), (3, true), (9, true)]).await;
    assert_eq!(counted.unwrap(), 1, "twice, before, not handed out, not there");
    central.settle_devices(NOW, &id, &[(2, true)]).await.unwrap();
    play(&central, "j1", 1, 100).await;
    assert_eq!(status(&central, "j1"), Status::Complete);
}

#[tokio::test]
async fn a_job_is_stopped_and_continued_and_a_threshold_cancels_it() {
    let central = filled(&Arc::new(Memory::new())).await;
    let (id, by) = (job_id("j1"), administrator());
    let threshold = Some(Threshold { share: Share::Number(1), is_per_batch: false });
    let batch = Some(Share::Number(2));
    put(&central, "j1", &Job { batch, cancellation_threshold: threshold, ..job() }, 8).await.unwrap();
    assert_eq!(central.hand_out_devices(&id).await.unwrap().len(), 2);
    central.stop_job(&id, &by).await.unwrap();
    let stopped = JobError::Status { status: Status::Stopped, what: "stopped" };
    assert!(is_job(central.stop_job(&id, &by).await, &stopped));
    central.settle_devices(NOW, &id, &[(0, true), (1, false)]).await.unwrap();
    assert_eq!(central.hand_out_devices(&id).await.unwrap(), []);
    central.resume_job(NOW, &id, &by).await.unwrap();
    assert_eq!(central.hand_out_devices(&id).await.unwrap().len(), 2);
    central.settle_devices(NOW, &id, &[(2, false)]).await.unwrap();
    assert_eq!(status(&central, "j1"), Status::Cancelled);
    assert_eq!(central.settle_devices(NOW, &id, &[(3, true)]).await.unwrap(), 1);
    let ended = JobError::Status { status: Status::Cancelled, what: "started" };
    assert!(is_job(central.resume_job(NOW, &id, &by).await, &ended));
    put(&central, "j2", &job(), 1).await.unwrap();
    central.fail_job(NOW, &job_id("j2")).await.unwrap();
    assert_eq!(status(&central, "j2"), Status::Failed);
}

#[tokio::test]
async fn five_run_at_once() {
    let central = filled(&Arc::new(Memory::new())).await;
    let by = administrator();
    for n in 0..5 {
        put(&central, &format!("j{n}"), &job(), 2).await.unwrap();
    }
    assert!(is_job(put(&central, "j5", &job(), 2).await, &JobError::Busy));
    central.stop_job(&job_id("j0"), &by).await.unwrap();
    put(&central, "j5", &job(), 2).await.unwrap();
    assert!(is_job(central.resume_job(NOW, &job_id("j0"), &by).await, &JobError::Busy));
    play(&central, "j1", 2, 1).await;
    central.resume_job(NOW, &job_id("j0"), &by).await.unwrap();
    let rerun = central.rerun_job(WRITE, &job_id("j1"), &job_id("j9"), &by).await;
    assert!(is_job(rerun, &JobError::Busy));
    let running = JobError::Status { status: Status::Running, what: "deleted" };
    assert!(is_job(central.delete_job(&job_id("j2"), &by).await, &running));
    central.delete_job(&job_id("j1"), &by).await.unwrap();
    assert!(is_job(central.delete_job(&job_id("j1"), &by).await, &JobError::Unknown(job_id("j1"))));
}

#[tokio::test]
async fn a_job_names_what_is_there() {
    let central = filled(&Arc::new(Memory::new())).await;
    put(&central, "j1", &job(), 0).await.unwrap();
    assert_eq!(status(&central, "j1"), Status::Complete);
    assert!(is_job(put(&central, "j1", &job(), 0).await, &JobError::Exists(job_id("j1"))));
    let none = DeviceGroupId::parse("none").unwrap();
    let told = put(&central, "j2", &Job { group: none.clone(), ..job() }, 1).await;
    assert!(is_job(told, &JobError::UnknownGroup(none)));
    let none = organization_id("none");
    let told = put(&central, "j2", &Job { organization: Some(none.clone()), ..job() }, 1).await;
    assert!(is_job(told, &JobError::UnknownOrganization(none)));
    let with = |data| Job { data: vec![data], ..job() };
    let template = DeviceTemplateId::parse("dtmi:a:none;1").unwrap();
    let told = put(&central, "j2", &with(JobData::DeviceTemplateMigration { template: template.clone() }), 1).await;
    assert!(is_job(told, &JobError::UnknownTemplate(template)));
    let manifest = DeploymentManifestId::parse("none").unwrap();
    let told = put(&central, "j2", &with(JobData::DeviceManifestMigration { manifest: manifest.clone() }), 1).await;
    assert!(is_job(told, &JobError::UnknownManifest(manifest)));
    put(&central, "j2", &with(JobData::DeviceManifestMigration { manifest: manifest_id("edge") }), 1).await.unwrap();
    let many = put(&central, "j3", &job(), DEVICES_MAX + 1).await;
    assert!(is_job(many, &JobError::TooManyDevices(DEVICES_MAX + 1)));
}

#[tokio::test]
async fn a_job_is_of_an_organization_and_its_group_is_in_it() {
    let (central, by) = with_organizations().await;
    for (id, organization) in [("west-group", Some("west")), ("eu-group", Some("eu"))] {
        let id = DeviceGroupId::parse(id).unwrap();
        central.put_group(WRITE, &id, &group(organization), &administrator()).await.unwrap();
    }
    let of = |organization: Option<&str>, group: &str| Job {
        organization: organization.map(organization_id),
        group: DeviceGroupId::parse(group).unwrap(),
        ..job()
    };
    let put = async |id: &str, job: &Job, by: &[RoleAssignment]| {
        central.put_job(WRITE, &job_id(id), job, &devices(1), by).await
    };
    assert_eq!(denied(put("a", &of(None, "west-group"), &by).await), Some(Denied::Unseen), "at the root");
    assert_eq!(denied(put("a", &of(Some("us"), "eu-group"), &by).await), Some(Denied::Unseen), "group elsewhere");
    assert_eq!(denied(put("a", &of(Some("us"), "pumps"), &by).await), Some(Denied::Unseen), "group of the root");
    let elsewhere = JobError::GroupElsewhere(DeviceGroupId::parse("west-group").unwrap());
    assert!(is_job(put("a", &of(Some("east"), "west-group"), &by).await, &elsewhere));
    put("a", &of(Some("us"), "west-group"), &by).await.unwrap();
    let viewer = [given(ORG_VIEWER, Some("us"))];
    let execute = Some(Denied::Permission(Permission::JobsExecute));
    assert_eq!(denied(put("b", &of(Some("us"), "west-group"), &viewer).await), execute);
    let id = job_id("a");
    let other = [given(ORG_ADMINISTRATOR, Some("west"))];
    assert_eq!(denied(central.stop_job(&id, &other).await), Some(Denied::Unseen));
    assert_eq!(denied(central.resume_job(NOW, &id, &other).await), Some(Denied::Unseen));
    assert_eq!(denied(central.rerun_job(WRITE, &id, &job_id("c"), &other).await), Some(Denied::Unseen));
    assert_eq!(denied(central.delete_job(&id, &other).await), Some(Denied::Unseen));
    assert_eq!(denied(central.stop_job(&id, &viewer).await), execute);
    let used = central.delete_organization(&organization_id("us"), &IfMatch::Any, &administrator()).await;
    assert!(matches!(used, Err(CentralError::Organization(OrganizationError::InUse { .. }))));
    put("w", &of(Some("west"), "west-group"), &by).await.unwrap();
    let (west, group) = (organization_id("west"), DeviceGroupId::parse("west-group").unwrap());
    central.delete_group(&group, &IfMatch::Any, &by).await.unwrap();
    let used = central.delete_organization(&west, &IfMatch::Any, &by).await;
    let what = "jobs that have not ended";
    assert!(
        matches!(used, Err(CentralError::Organization(OrganizationError::InUse { what: told, .. })) if told == what)
    );
    central.fail_job(NOW, &job_id("w")).await.unwrap();
    central.delete_organization(&west, &IfMatch::Any, &by).await.unwrap();
}

#[tokio::test]
async fn jobs_that_ended_are_forgotten_after_a_month_or_for_room() {
    let documents = Arc::new(Memory::new());
    let central = filled(&documents).await;
    put(&central, "old", &job(), 1).await.unwrap();
    play(&central, "old", 1, 2).await;
    put(&central, "stays", &job(), 1).await.unwrap();
    let month = NOW.plus(HISTORY);
    central.forget_jobs(Timestamp::from_millis(month.as_millis() - 1)).await.unwrap();
    assert_eq!(central.jobs().iter().count(), 2);
    central.forget_jobs(month).await.unwrap();
    let ids: Vec<_> = central.jobs().iter().map(|(id, _)| id.to_string()).collect();
    assert_eq!(ids, ["stays"]);
    assert_eq!(documents.all("centralJobDevices").await.unwrap().documents.len(), 1);
    for n in 1..JOBS_MAX {
        put(&central, &format!("e{n:04}"), &job(), 0).await.unwrap();
    }
    put(&central, "last", &job(), 0).await.unwrap();
    let jobs = central.jobs();
    assert_eq!(jobs.iter().count(), JOBS_MAX);
    assert!(jobs.get(&job_id("e0001")).is_none() && jobs.get(&job_id("stays")).is_some());
}

#[tokio::test]
async fn documents_of_jobs_that_do_not_fit_are_named() {
    let check = async |id: &str, text: Option<&str>, part: &str| {
        let documents = Arc::new(Memory::new());
        let central = filled(&documents).await;
        put(&central, "j1", &job(), PAGE_DEVICES + 1).await.unwrap();
        let all = vec![(id.to_owned(), text.map(str::to_owned))];
        let version = documents.all("centralJobDevices").await.unwrap().version;
        let change = gantry_hub::ports::Changes { collection: "centralJobDevices", version, documents: all };
        documents.put(vec![change]).await.unwrap();
        let told = Central::load(documents, Arc::new(Fleet(false))).await.err().unwrap().to_string();
        assert!(told.contains(part), "{told}");
    };
    check("j1/0000", None, "`j1/0001` of centralJobDevices: a page before it").await;
    check("j1/0001", None, "`j1` of centralJobs: its pages").await;
    let page = Some(r#"{"v":1,"devices":"a","states":"p"}"#);
    check("j2/0000", page, "no such job").await;
    check("j1", page, "the id is none").await;
    check("j1/0001", Some("{}"), "`j1/0001` of centralJobDevices").await;
}
