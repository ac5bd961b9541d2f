//! Scheduled jobs, the devices listed for them, and how those fared.

use std::sync::Arc;
use std::time::Duration;

use gantry_hub::MethodCall;
use gantry_hub::job::{DeviceJob, Job, JobStatus, Outcome, Statistics, Work, response};
use gantry_hub::ports::{DeviceJobFilter, JobFilter, Store, StoreError};
use gantry_hub::twin::TwinWrite;
use gantry_identity::{Identity, Timestamp};
use serde_json::json;

use crate::Engine;
use crate::fixtures::{WRITERS, at, at_once, count_done, id, is_conflict};

/// A twin update that is to start at an instant.
fn job(name: &str, created_at: i64, start_at: i64) -> Job {
    let twin = json!({ "tags": { "site": "lyon", "old": null } });
    let write = TwinWrite::merging(Some(twin["tags"].clone()), None).unwrap();
    let work = Work::UpdateTwin { write, shown: twin };
    Job::new(name, "tags.site = 'paris'", work, at(created_at), Some(at(start_at)), Some(Duration::from_secs(60)))
        .unwrap()
}

fn call(name: &str, created_at: i64) -> Job {
    let call = MethodCall::new("restart", "{\"in\":5}".into()).unwrap();
    let work = Work::CallMethod { call, response: Duration::from_secs(30), connect: Duration::from_secs(5) };
    Job::new(name, "*", work, at(created_at), None, None).unwrap()
}

fn ended(job: &Job, status: JobStatus, ended_at: i64) -> Job {
    Job { status, ended_at: Some(at(ended_at)), ..job.clone() }
}

fn failed(code: &str) -> Outcome {
    Outcome::Failed { code: code.into(), description: "in words".into() }
}

async fn pending(store: &dyn Store, job: &str, after: Option<&Identity>, limit: usize) -> Vec<String> {
    let pending = store.pending_devices(job, after, limit).await.unwrap();
    pending.iter().map(ToString::to_string).collect()
}

async fn statistics(store: &dyn Store, job: &str) -> (u64, u64, u64) {
    let Statistics { devices, succeeded, failed } = store.job(job).await.unwrap().unwrap().statistics;
    (devices, succeeded, failed)
}

fn ids(names: &[&str]) -> Vec<Identity> {
    names.iter().map(|name| id(name)).collect()
}

/// As it says.
pub async fn a_job_is_made_once(engine: Box<dyn Engine>) {
    let store = engine.store();
    let made = at_once(|_| {
        let store = Arc::clone(&store);
        async move { store.insert_job(job("j", 1, 2)).await }
    });
    assert_eq!(count_done(&made.await, |error| matches!(error, StoreError::Conflict)), 1);
    store.insert_job(call("c", 3)).await.unwrap();
    drop(store);
    let engine = engine.restart().await.unwrap();
    let store = engine.store();
    assert_eq!(store.job("j").await.unwrap(), Some(job("j", 1, 2)));
    assert_eq!(store.job("c").await.unwrap(), Some(call("c", 3)));
    assert_eq!(store.job("none").await.unwrap(), None);
    let running = Job { status: JobStatus::Running, began_at: Some(at(5)), is_listed: true, ..job("j", 1, 2) };
    store.update_job(running.clone()).await.unwrap();
    assert_eq!(store.job("j").await.unwrap(), Some(running));
    assert!(is_conflict(&store.insert_job(job("j", 7, 7)).await));
}

/// As it says.
pub async fn jobs_are_listed_newest_first_and_run_in_order_of_their_start(engine: Box<dyn Engine>) {
    let store = &*engine.store();
    for job in [job("b", 20, 50), job("a", 20, 90), job("old", 10, 70), job("done", 30, 30)] {
        store.insert_job(job).await.unwrap();
    }
    store.insert_job(call("call", 15)).await.unwrap();
    store.end_job(ended(&job("done", 30, 30), JobStatus::Completed, 40), Outcome::Pending).await.unwrap();
    let list = async |filter: JobFilter, before: Option<(i64, &str)>, limit| {
        let before = before.map(|(created_at, id)| (at(created_at), id.to_owned()));
        let jobs = store.jobs(filter, before, limit).await.unwrap();
        jobs.into_iter().map(|job| job.id).collect::<Vec<_>>()
    };
    let all = JobFilter::default;
    assert_eq!(list(all(), None, 10).await, ["done", "b", "a", "call", "old"]);
    assert_eq!(list(all(), Some((20, "b")), 2).await, ["a", "call"]);
    assert_eq!(list(JobFilter { kind: Some("scheduleDeviceMethod".into()), ..all() }, None, 10).await, ["call"]);
    assert_eq!(list(JobFilter { status: Some(JobStatus::Completed), ..all() }, None, 10).await, ["done"]);
    let unfinished: Vec<_> = store.unfinished_jobs().await.unwrap().into_iter().map(|job| job.id).collect();
    assert_eq!(unfinished, ["call", "b", "old", "a"]);
}

/// As it says.
pub async fn devices_are_listed_once_whoever_lists_them(engine: Box<dyn Engine>) {
    let store = engine.store();
    store.insert_job(job("j", 1, 1)).await.unwrap();
    let listed = at_once(|writer| {
        let store = Arc::clone(&store);
        // Each overlaps with the next.
        let devices = (writer..writer + 2).map(|n| id(&format!("d{n:02}"))).collect();
        async move { store.list_devices("j", at(2), devices).await }
    });
    assert_eq!(count_done(&listed.await, |_| false), WRITERS);
    let store = &*store;
    store.list_devices("j", at(3), ids(&["d05", "d05/m"])).await.unwrap();
    store.list_devices("none", at(3), ids(&["d05"])).await.unwrap();
    assert_eq!(statistics(store, "j").await, (WRITERS as u64 + 2, 0, 0));
    assert_eq!(store.last_device_of("j").await.unwrap(), Some(id("d32")));
    assert_eq!(store.last_device_of("none").await.unwrap(), None);
    assert_eq!(pending(store, "j", Some(&id("d04")), 3).await, ["d05", "d05/m", "d06"]);
    let mut all = pending(store, "j", None, 100).await;
    assert_eq!(all.len(), WRITERS + 2);
    assert!(all.is_sorted());
    all.dedup();
    assert_eq!(all.len(), WRITERS + 2);
}

/// As it says.
pub async fn an_outcome_counts_once(engine: Box<dyn Engine>) {
    let store = engine.store();
    store.insert_job(call("j", 1)).await.unwrap();
    let devices: Vec<_> = (0..10).map(|n| id(&format!("d{n}"))).collect();
    store.list_devices("j", at(2), devices.clone()).await.unwrap();
    let fared = at_once(|writer| {
        let store = Arc::clone(&store);
        let outcome = |n: usize| if n < 4 { failed("Late") } else { Outcome::Succeeded(None) };
        let mut outcomes: Vec<_> =
            devices.iter().enumerate().map(|(n, device)| (device.clone(), at(3), at(4), outcome(n))).collect();
        outcomes.rotate_left(writer % 10);
        outcomes.push((id("stranger"), at(3), at(4), Outcome::Succeeded(None)));
        async move { store.put_outcomes("j", outcomes).await }
    });
    assert_eq!(count_done(&fared.await, |_| false), WRITERS);
    assert_eq!(statistics(&*store, "j").await, (10, 6, 4));
    assert!(pending(&*store, "j", None, 10).await.is_empty());
}

/// As it says.
pub async fn what_is_pending_ends_with_the_job(engine: Box<dyn Engine>) {
    let store = &*engine.store();
    let outcome = async |job: &str, device: &str| {
        let filter = DeviceJobFilter { job: Some(job.into()), device: Some(device.into()) };
        let mut found = store.device_jobs(filter, None, 10).await.unwrap();
        assert_eq!(found.len(), 1, "{job} {device}");
        let DeviceJob { outcome, ended_at, .. } = found.remove(0);
        (outcome, ended_at)
    };
    for (name, rest, status) in [
        ("cancelled", Outcome::Cancelled, JobStatus::Cancelled),
        ("late", failed("JobTimedOut"), JobStatus::Failed),
        ("done", Outcome::Pending, JobStatus::Completed),
    ] {
        let job = job(name, 1, 1);
        store.insert_job(job.clone()).await.unwrap();
        store.list_devices(name, at(2), ids(&["a", "b"])).await.unwrap();
        store.put_outcomes(name, vec![(id("a"), at(3), at(4), Outcome::Succeeded(None))]).await.unwrap();
        store.end_job(ended(&job, status, 9), rest.clone()).await.unwrap();
        let read = store.job(name).await.unwrap().unwrap();
        assert_eq!((read.status, read.ended_at), (status, Some(at(9))));
        assert_eq!(outcome(name, "a").await, (Outcome::Succeeded(None), Some(at(4))), "{name}: what was done stays");
        let is_over = rest != Outcome::Pending;
        assert_eq!(outcome(name, "b").await, (rest, is_over.then(|| at(9))), "{name}");
        // Whoever comes late changes nothing.
        store.list_devices(name, at(10), ids(&["c"])).await.unwrap();
        if is_over {
            store.put_outcomes(name, vec![(id("b"), at(3), at(12), Outcome::Succeeded(None))]).await.unwrap();
        }
        assert_eq!(statistics(store, name).await, (2, 1, u64::from(name == "late")), "{name}");
    }
    assert_eq!(pending(store, "cancelled", None, 10).await, [""; 0]);
    assert_eq!(pending(store, "done", None, 10).await, ["b"], "a job that is done leaves nothing, or says so");
}

/// As it says.
pub async fn outcomes_are_found_by_job_and_device(engine: Box<dyn Engine>) {
    let store = &*engine.store();
    for name in ["j1", "j2"] {
        store.insert_job(call(name, 1)).await.unwrap();
        store.list_devices(name, at(2), ids(&["a", "a/m", "b"])).await.unwrap();
    }
    let answer = Outcome::Succeeded(Some(response(200, "{\"ok\":true}".into())));
    store
        .put_outcomes("j2", vec![(id("a"), at(3), at(4), answer.clone()), (id("b"), at(5), at(6), failed("X"))])
        .await
        .unwrap();
    let found = async |job: Option<&str>, device: Option<&str>, after: Option<(&str, &str)>, limit| {
        let filter = DeviceJobFilter { job: job.map(str::to_owned), device: device.map(str::to_owned) };
        let after = after.map(|(job, device)| (job.to_owned(), id(device)));
        let found = store.device_jobs(filter, after, limit).await.unwrap();
        found
            .into_iter()
            .map(|one| format!("{} {} {}", one.job_id, one.identity, one.outcome.word()))
            .collect::<Vec<_>>()
    };
    assert_eq!(found(None, None, None, 4).await, ["j1 a pending", "j1 a/m pending", "j1 b pending", "j2 a completed"]);
    assert_eq!(found(None, None, Some(("j1", "b")), 2).await, ["j2 a completed", "j2 a/m pending"]);
    assert_eq!(found(Some("j2"), None, Some(("j2", "a")), 9).await, ["j2 a/m pending", "j2 b failed"]);
    assert_eq!(
        found(None, Some("a"), None, 9).await,
        ["j1 a pending", "j1 a/m pending", "j2 a completed", "j2 a/m pending"]
    );
    assert_eq!(found(Some("j1"), Some("b"), None, 9).await, ["j1 b pending"]);
    let filter = DeviceJobFilter { job: Some("j2".into()), device: None };
    let whole = store.device_jobs(filter, None, 1).await.unwrap().remove(0);
    let expected = DeviceJob {
        job_id: "j2".into(),
        kind: "scheduleDeviceMethod".into(),
        identity: id("a"),
        outcome: answer,
        created_at: at(2),
        began_at: Some(at(3)),
        ended_at: Some(at(4)),
    };
    assert_eq!(whole, expected);
}

/// As it says.
pub async fn jobs_of_old_are_forgotten(engine: Box<dyn Engine>) {
    let store = &*engine.store();
    for number in 0..30 {
        let (name, ended_at) = (format!("j{number:02}"), if number < 25 { 10 } else { 20 });
        store.insert_job(job(&name, number, 1)).await.unwrap();
        store.list_devices(&name, at(2), ids(&["a"])).await.unwrap();
        if number < 29 {
            store
                .end_job(ended(&job(&name, number, 1), JobStatus::Completed, ended_at), Outcome::Pending)
                .await
                .unwrap();
        }
    }
    // A bounded part at once.
    for _ in 0..30 {
        store.forget_jobs(at(20)).await.unwrap();
    }
    let left: Vec<_> =
        store.jobs(JobFilter::default(), None, 99).await.unwrap().into_iter().map(|job| job.id).collect();
    assert_eq!(left, ["j29", "j28", "j27", "j26", "j25"]);
    let outcomes = store.device_jobs(DeviceJobFilter::default(), None, 99).await.unwrap();
    assert_eq!(outcomes.len(), 5);
    store.forget_jobs(Timestamp::from_millis(i64::MAX)).await.unwrap();
    assert_eq!(store.unfinished_jobs().await.unwrap().len(), 1, "what runs stays");
}
