//! Bodies of every operation: what cannot be read whole is refused, and names are read without case.

use axum::http::{Method, StatusCode};
use gantry_api::{Access, Head};
use serde_json::{Value, json};

use crate::authorization::api;
use crate::paths::{method, operations};
use crate::provisioning::operator;
use crate::service::{Answer, call, call_text, call_with, ok};

/// Operations whose body is an array, or means nothing to the hub.
fn takes_an_array(path: &str) -> bool {
    let raw = ["/commands/", "/messages/", "/digitaltwins/", "/registrations/X1/query"];
    path == "/devices" || raw.iter().any(|part| path.contains(part))
}

#[tokio::test]
async fn no_operation_takes_an_array_for_an_object() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    ok(call(&api, "PUT", "/devices/X1", json!({ "deviceId": "X1" })).await);
    ok(call(&api, "PUT", "/devices/X1/modules/X1", json!({ "deviceId": "X1", "moduleId": "X1" })).await);
    let before = ok(call(&api, "GET", "/twins/X1", Value::Null).await);
    let mut tried = 0;
    for (row, path) in operations(&api) {
        let method = method(&row);
        let writes = matches!(method, Method::PUT | Method::POST | Method::PATCH);
        // Without a body.
        let bare = ["/serviced", "/acknowledge", "/close", "/cancel", "/roll", "/generateVerificationCode"];
        if !writes || takes_an_array(&path) || bare.iter().any(|end| path.ends_with(end)) {
            continue;
        }
        for body in [json!([]), json!([{}]), json!(["primaryKey", []]), json!([{ "pos": 1 }])] {
            let answer = match path.split('/').nth(1) {
                Some("0ne" | "registrations" | "enrollments" | "enrollmentGroups") => {
                    operator(&api, method.as_str(), &path, &body).await
                }
                _ => call_with(&api, method.as_str(), &path, &body, &[("if-match", "*")]).await,
            };
            assert!(answer.status.is_client_error(), "{method} {path} {body}: {answer:?}");
            tried += 1;
        }
    }
    assert!(tried > 100, "{tried}");
    assert_eq!(ok(call(&api, "GET", "/twins/X1", Value::Null).await)["properties"], before["properties"]);
    let listed = ok(call(&api, "GET", "/devices?top=10", Value::Null).await);
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
}

/// The words of a refusal.
fn words(answer: &Answer) -> String {
    let (hub, dps, own) = (&answer.body["Message"], &answer.body["message"], &answer.body["error"]["message"]);
    [hub, dps, own].iter().filter_map(|words| words.as_str()).collect()
}

#[tokio::test]
async fn every_body_has_the_fields_of_its_row_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    ok(call(&api, "PUT", "/devices/X1", json!({ "deviceId": "X1" })).await);
    let mut tried = 0;
    for (row, path) in operations(&api) {
        let Some(fields) = row.fields() else { continue };
        // Programs have no account: session.rs sends these.
        if row.access == Access::Person {
            continue;
        }
        let method = method(&row);
        let send = async |body: &Value| match row.head {
            Head::DpsService => operator(&api, method.as_str(), &path, body).await,
            _ => call(&api, method.as_str(), &path, body.clone()).await,
        };
        let refused = send(&json!({ "colour": 1 })).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}: {refused:?}", row.id);
        assert!(words(&refused).contains("`colour`"), "{}: {refused:?}", row.id);
        for field in fields {
            let answer = send(&json!({ field: null })).await;
            let words = words(&answer);
            assert!(!words.contains("is not a field") && !words.contains("unknown field"), "{} {words}", row.id);
            tried += 1;
        }
    }
    assert!(tried > 200, "{tried}");
}

#[tokio::test]
async fn a_query_that_cannot_be_read_is_refused_in_the_shape_of_its_head() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    ok(call(&api, "PUT", "/devices/X1", json!({ "deviceId": "X1" })).await);
    let mut refusals = 0;
    for (row, path) in operations(&api) {
        // What goes on and on has no body to look at.
        if row.head == Head::DpsDevice || ["Live_Get", "Monitor_Get"].contains(&&*row.id) {
            continue;
        }
        let parameters =
            row.query.iter().flat_map(|one| ["soon", "-1", ""].map(|text| format!("?{}={text}", one.name)));
        for query in parameters {
            let answer = call(&api, method(&row).as_str(), &format!("{path}{query}"), json!({})).await;
            if answer.status == StatusCode::BAD_REQUEST {
                assert!(!words(&answer).is_empty(), "{} {query}: {answer:?}", row.id);
                refusals += 1;
            }
        }
    }
    assert!(refusals > 10, "{refusals}");
    for (path, status) in [
        ("/digitaltwins/X1/commands/x?connectTimeoutInSeconds=soon", 400),
        ("/platform/v1/devices/X1/series", 400),
        ("/platform/v1/devices/X1/series?signal=a&signal=b", 400),
        ("/platform/v1/devices/X1/forecast", 400),
        ("/platform/v1/devices/X1/forecast?signal=a", 404),
        ("/platform/v1/devices/X1/forecast?signal=a&points=-1", 400),
        ("/platform/v1/devices/X1/forecast?signal=a&seconds=1.5", 400),
        ("/platform/v1/alerts?state=loud", 400),
        ("/platform/v1/provisioning/enrollments?limit=many", 400),
    ] {
        let how = if path.contains("commands") { "POST" } else { "GET" };
        let answer = call(&api, how, path, Value::Null).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert!(!words(&answer).is_empty(), "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused_by_every_body() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    ok(call(&api, "PUT", "/devices/d", json!({ "deviceId": "d" })).await);
    for (method, path, body) in [
        ("PATCH", "/twins/d", r#"{"tags":{"a":18446744073709551616}}"#),
        ("PATCH", "/twins/d", r#"{"properties":{"desired":{"a":[-9223372036854775809]}}}"#),
        ("PATCH", "/platform/v1/devices/d/twin", r#"{"tags":{"a":18446744073709551616}}"#),
        ("PATCH", "/twins/d", r#"{"tags":{"a":1},"tags":{"b":1}}"#),
        ("PUT", "/devices/d", r#"{"deviceId":"d","status":"enabled","status":"disabled"}"#),
        ("PATCH", "/twins/d", r#"{"tags":{"$version":1}}"#),
        ("PUT", "/twins/d", r#"{"tags":{"$metadata":{}}}"#),
        (
            "POST",
            "/devices/d/applyConfigurationContent",
            r#"{"modulesContent":{"m":{"properties.desired":{"a":{"b":null}}}}}"#,
        ),
        (
            "PUT",
            "/jobs/v2/j",
            r#"{"type":"scheduleUpdateTwin","queryCondition":"*","updateTwin":{"etag":"*","tags":{"a":18446744073709551616}}}"#,
        ),
        ("POST", "/devices/query", r#"{"query":"SELECT * FROM devices","pageSize":5}"#),
    ] {
        let answer = call_text(&api, method, path, body, &[("if-match", "*")]).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{method} {path} {body}: {answer:?}");
    }
    assert_eq!(ok(call(&api, "GET", "/twins/d", Value::Null).await)["tags"], json!({}));
}

#[tokio::test]
async fn names_of_every_body_are_read_without_case() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    ok(call(&api, "PUT", "/devices/d", json!({ "DeviceID": "d" })).await);
    for (method, path, body) in [
        ("POST", "/devices/query", json!({ "Query": "SELECT * FROM devices" })),
        ("POST", "/configurations/testQueries", json!({ "TargetCondition": "deviceId='x'" })),
        ("POST", "/devices/keys/regenerate", json!({ "PolicyKey": "primaryKey", "Devices": [{ "ID": "d" }] })),
        (
            "PUT",
            "/jobs/v2/j",
            json!({ "Type": "scheduleUpdateTwin", "QueryCondition": "deviceId='x'", "UpdateTwin": { "ETag": "*", "Tags": {} } }),
        ),
        (
            "PUT",
            "/jobs/v2/k",
            json!({ "Type": "scheduleDeviceMethod", "QueryCondition": "deviceId='x'", "CloudToDeviceMethod": { "MethodName": "m", "ResponseTimeoutInSeconds": 5 } }),
        ),
    ] {
        ok(call(&api, method, path, body).await);
    }
    for (path, body) in [
        ("/enrollments/query", json!({ "Query": "" })),
        (
            "/enrollments",
            json!({ "Mode": "create", "Enrollments": [{ "RegistrationId": "r", "Attestation": { "Type": "symmetricKey" } }] }),
        ),
    ] {
        ok(operator(&api, "POST", path, &body).await);
    }
    let answer = call(&api, "POST", "/twins/d/methods", json!({ "MethodName": "m", "Payload": 1 })).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "the method is understood, the device is not there: {answer:?}");
}
