//! Scheduled jobs over the REST API.

use std::sync::Arc;
use std::time::Duration;

use gantry_api::{Api, WallClock};
use gantry_hub::connection::{Delivery, MethodResponse};
use serde_json::{Value, json};
use tokio::task::AbortHandle;

use crate::authorization::api;
use crate::service::{KEY, call, call_with, connect, ok};

/// Runs the hub's jobs until it is dropped.
pub(crate) struct Runner(AbortHandle);

impl Runner {
    pub(crate) fn new(api: &Api) -> Self {
        let hub = Arc::clone(&api.hub);
        Self(tokio::spawn(async move { hub.run_jobs(&WallClock).await.unwrap() }).abort_handle())
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn devices(api: &Api, count: usize) {
    let keys = json!({ "symmetricKey": {"primaryKey": KEY, "secondaryKey": KEY} });
    let entry = |n: usize| json!({ "id": format!("d{n:03}"), "importMode": "create", "authentication": keys, "tags": {"n": n} });
    let all: Vec<Value> = (0..count).map(entry).collect();
    for chunk in all.chunks(100) {
        ok(call(api, "POST", "/devices", chunk.to_vec().into()).await);
    }
}

/// Waits until a job is in a state that satisfies `is`.
async fn wait_for(api: &Api, id: &str, is: impl Fn(&Value) -> bool) -> Value {
    let wait = async {
        loop {
            let job = ok(call(api, "GET", &format!("/jobs/v2/{id}"), Value::Null).await);
            if is(&job) {
                return job;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("the job comes to that state")
}

pub(crate) async fn ended(api: &Api, id: &str) -> Value {
    wait_for(api, id, |job| ["completed", "failed", "cancelled"].contains(&job["status"].as_str().unwrap())).await
}

pub(crate) async fn outcomes(api: &Api, condition: &str) -> Vec<Value> {
    let query = json!({ "query": format!("SELECT * FROM devices.jobs WHERE {condition}") });
    let answer = call_with(api, "POST", "/devices/query", &query, &[("x-ms-max-item-count", "1000")]).await;
    assert_eq!(answer.header("x-ms-item-type"), Some("DeviceJob"));
    ok(answer).as_array().unwrap().clone()
}

#[tokio::test]
async fn a_job_changes_the_twins_its_condition_matches() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let _runner = Runner::new(&api);
    devices(&api, 120).await;
    let request = json!({ "jobId": "twins", "type": "scheduleUpdateTwin", "queryCondition": "tags.n < 100",
                          "updateTwin": {"etag": "*", "tags": {"done": true}, "properties": {"desired": {"rate": 7}}},
                          "maxExecutionTimeInSeconds": 300 });
    let made = ok(call(&api, "PUT", "/jobs/v2/twins", request.clone()).await);
    assert_eq!(
        (&made["jobId"], &made["type"], &made["status"]),
        (&json!("twins"), &json!("scheduleUpdateTwin"), &json!("queued"))
    );
    assert_eq!(call(&api, "PUT", "/jobs/v2/twins", request).await.error(), (409, "JobAlreadyExists"));
    let job = ended(&api, "twins").await;
    assert_eq!(job["status"], "completed");
    let counts =
        json!({"deviceCount": 100, "failedCount": 0, "succeededCount": 100, "runningCount": 0, "pendingCount": 0});
    assert_eq!(job["deviceJobStatistics"], counts);
    let done = json!({ "query": "SELECT COUNT() AS n FROM devices WHERE tags.done AND properties.desired.rate = 7" });
    assert_eq!(ok(call(&api, "POST", "/devices/query", done).await), json!([{"n": 100}]));
    assert_eq!(outcomes(&api, "devices.jobs.jobId = 'twins' AND devices.jobs.status = 'completed'").await.len(), 100);
    let one = outcomes(&api, "deviceId = 'd005'").await;
    assert_eq!((one.len(), &one[0]["jobId"], &one[0]["jobType"]), (1, &json!("twins"), &json!("scheduleUpdateTwin")));
    assert_eq!(
        call(&api, "POST", "/jobs/v2/twins/cancel", Value::Null).await.error(),
        (405, "OperationNotAllowedInCurrentState")
    );
}

#[tokio::test]
async fn a_job_calls_methods_and_says_how_each_device_fared() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let _runner = Runner::new(&api);
    devices(&api, 2).await;
    let mut mailbox = connect(&api.hub, "d000").await;
    tokio::spawn(async move {
        while let Delivery::Method { request_id, name, payload } = mailbox.next().await {
            let payload = format!(r#"{{"name":"{name}","got":{}}}"#, String::from_utf8_lossy(&payload));
            mailbox.answer(request_id, MethodResponse { status: 201, payload: payload.into() });
        }
    });
    let request = json!({ "type": "scheduleDeviceMethod", "queryCondition": "deviceId IN ['d000', 'd001']",
        "cloudToDeviceMethod": {"methodName": "lock", "payload": {"a": 1}, "responseTimeoutInSeconds": 5} });
    ok(call(&api, "PUT", "/jobs/v2/lock", request).await);
    let job = ended(&api, "lock").await;
    assert_eq!((&job["status"], &job["cloudToDeviceMethod"]["methodName"]), (&json!("completed"), &json!("lock")));
    assert_eq!(
        (&job["deviceJobStatistics"]["succeededCount"], &job["deviceJobStatistics"]["failedCount"]),
        (&json!(1), &json!(1))
    );
    let all = outcomes(&api, "jobId = 'lock'").await;
    assert_eq!(
        all[0]["outcome"]["deviceMethodResponse"],
        json!({"status": 201, "payload": {"name": "lock", "got": {"a": 1}}})
    );
    assert_eq!((&all[1]["status"], &all[1]["error"]["code"]), (&json!("failed"), &json!("DeviceNotOnline")));
}

#[tokio::test]
async fn a_job_waits_for_its_time_and_can_be_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let _runner = Runner::new(&api);
    devices(&api, 1).await;
    let twin = json!({ "tags": {"late": true} });
    let request = json!({ "type": "scheduleUpdateTwin", "queryCondition": "*", "updateTwin": twin,
                          "startTime": "2090-01-01T00:00:00Z" });
    let made = ok(call(&api, "PUT", "/jobs/v2/later", request).await);
    assert_eq!((&made["status"], &made["startTime"]), (&json!("queued"), &json!("2090-01-01T00:00:00.0000000Z")));
    let asked = ok(call(&api, "GET", "/jobs/v2/later", Value::Null).await);
    assert_eq!((&asked["status"], &asked["startTime"]), (&json!("scheduled"), &made["startTime"]));
    // One that comes after it runs at once.
    let request =
        json!({ "type": "scheduleUpdateTwin", "queryCondition": "*", "updateTwin": {"tags": {"soon": true}} });
    ok(call(&api, "PUT", "/jobs/v2/soon", request).await);
    ended(&api, "soon").await;
    let cancelled = ok(call(&api, "POST", "/jobs/v2/later/cancel", Value::Null).await);
    assert_eq!(cancelled["status"], "cancelled");
    assert_eq!(ok(call(&api, "GET", "/twins/d000", Value::Null).await)["tags"], json!({"n": 0, "soon": true}));
    assert_eq!(call(&api, "POST", "/jobs/v2/none/cancel", Value::Null).await.error(), (404, "JobNotFound"));
}

#[tokio::test]
async fn cancelling_stops_devices_that_were_not_reached() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let _runner = Runner::new(&api);
    devices(&api, 200).await;
    // Nobody connects, so every device in its turn waits.
    let request = json!({ "type": "scheduleDeviceMethod", "queryCondition": "*",
        "cloudToDeviceMethod": {"methodName": "x", "connectTimeoutInSeconds": 300} });
    ok(call(&api, "PUT", "/jobs/v2/stuck", request).await);
    let job = wait_for(&api, "stuck", |job| job["deviceJobStatistics"]["runningCount"] == 64).await;
    assert_eq!(job["deviceJobStatistics"]["pendingCount"], 136, "as many at once as is allowed");
    ok(call(&api, "POST", "/jobs/v2/stuck/cancel", Value::Null).await);
    let job = ended(&api, "stuck").await;
    assert_eq!((&job["status"], &job["deviceJobStatistics"]["runningCount"]), (&json!("cancelled"), &json!(0)));
    assert_eq!(outcomes(&api, "jobId = 'stuck' AND status = 'canceled'").await.len(), 200);
}

#[tokio::test]
async fn a_job_that_takes_too_long_gives_up() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let _runner = Runner::new(&api);
    devices(&api, 3).await;
    let request = json!({ "type": "scheduleDeviceMethod", "queryCondition": "*", "maxExecutionTimeInSeconds": 1,
        "cloudToDeviceMethod": {"methodName": "x", "connectTimeoutInSeconds": 300} });
    ok(call(&api, "PUT", "/jobs/v2/slow", request).await);
    let job = ended(&api, "slow").await;
    assert_eq!((&job["status"], &job["deviceJobStatistics"]["failedCount"]), (&json!("failed"), &json!(3)));
    assert_eq!(outcomes(&api, "jobId = 'slow'").await[0]["error"]["code"], "JobTimedOut");
}

#[tokio::test]
async fn a_job_that_was_interrupted_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    {
        let api = api(&folder);
        devices(&api, 150).await;
        let request = json!({ "type": "scheduleDeviceMethod", "queryCondition": "*",
            "cloudToDeviceMethod": {"methodName": "x", "connectTimeoutInSeconds": 300} });
        ok(call(&api, "PUT", "/jobs/v2/stuck", request).await);
        let request = json!({ "type": "scheduleUpdateTwin", "queryCondition": "*", "updateTwin": {"tags": {"done": true}},
                              "startTime": "2026-01-01T00:00:00Z" });
        let runner = Runner::new(&api);
        wait_for(&api, "stuck", |job| job["deviceJobStatistics"]["runningCount"] == 64).await;
        drop(runner);
        ok(call(&api, "PUT", "/jobs/v2/queued", request).await);
    }
    let api = api(&folder);
    let _runner = Runner::new(&api);
    assert_eq!(ended(&api, "queued").await["deviceJobStatistics"]["succeededCount"], 150);
    let stuck = wait_for(&api, "stuck", |job| job["deviceJobStatistics"]["runningCount"] == 64).await;
    assert_eq!((&stuck["status"], &stuck["deviceJobStatistics"]["deviceCount"]), (&json!("running"), &json!(150)));
}

#[tokio::test]
async fn a_job_clears_what_it_says_is_null_on_devices_and_modules() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    devices(&api, 2).await;
    ok(call(&api, "PUT", "/devices/d000/modules/m", json!({})).await);
    ok(call(&api, "PATCH", "/twins/d000/modules/m", json!({ "tags": {"n": 7}, "properties": {"desired": {"a": 1}} }))
        .await);
    let _runner = Runner::new(&api);
    let twin = json!({ "tags": null, "properties": {"desired": {"b": 2}}, "etag": "*" });
    for (id, condition) in [("devices", "*"), ("modules", "FROM devices.modules WHERE tags.n = 7")] {
        let request = json!({ "type": "scheduleUpdateTwin", "queryCondition": condition, "updateTwin": twin });
        ok(call(&api, "PUT", &format!("/jobs/v2/{id}"), request).await);
        assert_eq!(ended(&api, id).await["deviceJobStatistics"]["failedCount"], 0);
    }
    for (path, desired) in
        [("d000", json!({"b": 2})), ("d001", json!({"b": 2})), ("d000/modules/m", json!({"a": 1, "b": 2}))]
    {
        let twin = ok(call(&api, "GET", &format!("/twins/{path}"), Value::Null).await);
        assert_eq!(twin["tags"], json!({}), "{path}");
        let found = twin["properties"]["desired"].as_object().unwrap();
        let found: Value = found
            .iter()
            .filter(|(key, _)| !key.starts_with('$'))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect::<serde_json::Map<_, _>>()
            .into();
        assert_eq!(found, desired, "{path}");
    }
}

#[tokio::test]
async fn jobs_are_listed_newest_first_page_by_page() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    for number in 0..5 {
        let request = json!({ "type": "scheduleUpdateTwin", "queryCondition": "*", "updateTwin": {"tags": {}} });
        ok(call(&api, "PUT", &format!("/jobs/v2/job{number}"), request).await);
    }
    let (mut ids, mut token) = (vec![], None);
    loop {
        let mut headers = vec![("x-ms-max-item-count", "2")];
        headers.extend(token.as_deref().map(|token| ("x-ms-continuation", token)));
        let answer = call_with(&api, "GET", "/jobs/v2/query?jobType=ScheduleUpdateTwin", &Value::Null, &headers).await;
        assert_eq!(answer.header("x-ms-item-type"), Some("JobResponse"));
        token = answer.header("x-ms-continuation").map(str::to_owned);
        ids.extend(ok(answer).as_array().unwrap().iter().map(|job| job["jobId"].as_str().unwrap().to_owned()));
        if token.is_none() {
            break;
        }
    }
    ids.sort();
    assert_eq!(ids, ["job0", "job1", "job2", "job3", "job4"]);
    let none = call(&api, "GET", "/jobs/v2/query?jobStatus=completed", Value::Null).await;
    assert_eq!(ok(none), json!([]));
    assert_eq!(call(&api, "GET", "/jobs/v2/query?jobStatus=lost", Value::Null).await.error(), (400, "ArgumentInvalid"));
}

#[tokio::test]
async fn what_cannot_be_run_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let twin = json!({ "tags": {} });
    for request in [
        json!({ "type": "scheduleUpdateTwin", "updateTwin": twin }),
        json!({ "type": "scheduleUpdateTwin", "updateTwin": twin, "queryCondition": "tags.a =" }),
        json!({ "type": "scheduleUpdateTwin", "queryCondition": "*" }),
        json!({ "type": "scheduleDeviceMethod", "queryCondition": "*" }),
        json!({ "type": "export", "queryCondition": "*" }),
        json!({ "type": "scheduleUpdateTwin", "updateTwin": twin, "queryCondition": "*", "startTime": "soon" }),
        json!({ "jobId": "other", "type": "scheduleUpdateTwin", "updateTwin": twin, "queryCondition": "*" }),
        json!({ "type": "scheduleUpdateTwin", "updateTwin": {"tags": {}, "etag": "AAAAAAAAAAE="}, "queryCondition": "*" }),
        json!({ "type": "scheduleUpdateTwin", "updateTwin": {"tags": {"a": [null]}}, "queryCondition": "*" }),
        json!({ "type": "scheduleUpdateTwin", "updateTwin": {"tags": {"a#": 1}}, "queryCondition": "*" }),
        json!({ "type": "scheduleUpdateTwin", "updateTwin": twin, "cloudToDeviceMethod": {"methodName": "m"}, "queryCondition": "*" }),
    ] {
        let answer = call(&api, "PUT", "/jobs/v2/j", request.clone()).await;
        assert_eq!(answer.error(), (400, "ArgumentInvalid"), "{request}");
    }
    let good = json!({ "type": "scheduleUpdateTwin", "updateTwin": twin, "queryCondition": "*" });
    for number in 0..100 {
        ok(call(&api, "PUT", &format!("/jobs/v2/j{number}"), good.clone()).await);
    }
    let answer = call(&api, "PUT", "/jobs/v2/j100", good).await;
    assert_eq!(answer.error(), (429, "ThrottlingMaxActiveJobCountExceeded"));
}
