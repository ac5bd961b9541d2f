//! Digital twins over the REST API.

use gantry_hub::connection::{Delivery, MethodResponse};
use gantry_identity::{DeviceId, Identity, Timestamp};
use serde_json::{Value, json};

use crate::authorization::api;
use crate::service::{KEY, call, call_with, connect, ok};

#[tokio::test]
async fn a_patch_becomes_desired_and_an_acknowledgement_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    ok(call(&api, "PUT", "/devices/d", json!({})).await);
    let patch = json!([{"op": "add", "path": "/targetTemperature", "value": 21},
                       {"op": "add", "path": "/thermostat1/targetTemperature", "value": 42}]);
    let answer = call(&api, "PATCH", "/digitaltwins/d", patch).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.header("location"), Some("https://localhost/digitaltwins/d"));
    let etag = answer.header("etag").unwrap().to_owned();
    let desired = ok(call(&api, "GET", "/twins/d", Value::Null).await)["properties"]["desired"].clone();
    assert_eq!(desired["thermostat1"], json!({"__t": "c", "targetTemperature": 42}));

    let reported = json!({ "targetTemperature": {"value": 21, "ac": 200, "av": 2, "ad": "done"}, "serial": "x1",
                           "thermostat1": {"__t": "c", "maxTemp": 50} });
    let identity = Identity::device(DeviceId::parse("d").unwrap());
    let now = Timestamp::from_millis(1_767_225_600_000);
    api.hub.report(now, &identity, reported.as_object().unwrap()).await.unwrap();
    let answer = call(&api, "GET", "/digitaltwins/d", Value::Null).await;
    assert_eq!(answer.header("etag"), Some(etag.as_str()), "reporting does not change the etag");
    let twin = ok(answer);
    assert_eq!((&twin["$dtId"], &twin["targetTemperature"], &twin["serial"]), (&json!("d"), &json!(21), &json!("x1")));
    let about = &twin["$metadata"]["targetTemperature"];
    let expected = json!({ "desiredValue": 21, "desiredVersion": 2, "ackVersion": 2, "ackCode": 200,
                           "ackDescription": "done", "lastUpdateTime": "2026-01-01T00:00:00.0000000Z" });
    assert_eq!(about, &expected);
    assert_eq!((&twin["thermostat1"]["maxTemp"], twin["thermostat1"].get("__t")), (&json!(50), None));
    assert_eq!(twin["thermostat1"]["$metadata"]["targetTemperature"]["desiredValue"], 42);

    let patch = json!([{"op": "remove", "path": "/targetTemperature"}]);
    let stale = call_with(&api, "PATCH", "/digitaltwins/d", &patch, &[("if-match", "\"AAAAAAAAAAE=\"")]).await;
    assert_eq!(stale.error(), (412, "PreconditionFailed"));
    assert_eq!(call_with(&api, "PATCH", "/digitaltwins/d", &patch, &[("if-match", &etag)]).await.status, 202);
    let bad = call(&api, "PATCH", "/digitaltwins/d", json!([{"op": "add", "path": "/$model", "value": 1}])).await;
    assert_eq!(bad.error(), (400, "InvalidDigitalTwinPatchPath"));
    let bad = call(&api, "PATCH", "/digitaltwins/d", json!([{"op": "test", "path": "/a", "value": 1}])).await;
    assert_eq!(bad.error(), (400, "InvalidDigitalTwinJsonPatch"));
    assert_eq!(call(&api, "GET", "/digitaltwins/none", Value::Null).await.error(), (404, "DeviceNotFound"));
}

#[tokio::test]
async fn commands_are_methods_of_the_device_or_of_a_component() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let keys = json!({ "symmetricKey": {"primaryKey": KEY, "secondaryKey": KEY} });
    ok(call(&api, "PUT", "/devices/d", json!({ "authentication": keys })).await);
    let path = "/digitaltwins/d/commands/reboot?responseTimeoutInSeconds=5";
    assert_eq!(call(&api, "POST", path, json!(1)).await.error(), (404, "DeviceNotOnline"));
    let mut mailbox = connect(&api.hub, "d").await;
    tokio::spawn(async move {
        while let Delivery::Method { request_id, name, payload } = mailbox.next().await {
            let payload = if payload.is_empty() { "null".into() } else { String::from_utf8_lossy(&payload) };
            let payload = format!(r#"["{name}",{payload}]"#);
            mailbox.answer(request_id, MethodResponse { status: 203, payload: payload.into() });
        }
    });
    let answer = call(&api, "POST", path, json!({"delay": 3})).await;
    assert_eq!(answer.header("x-ms-command-statuscode"), Some("203"));
    assert!(answer.header("x-ms-request-id").is_some());
    assert_eq!(ok(answer), json!(["reboot", {"delay": 3}]));
    let path = "/digitaltwins/d/components/thermostat1/commands/getMaxMinReport";
    assert_eq!(ok(call(&api, "POST", path, Value::Null).await), json!(["thermostat1*getMaxMinReport", null]));
    let path = "/digitaltwins/d/commands/reboot?responseTimeoutInSeconds=1";
    assert_eq!(call(&api, "POST", path, json!(1)).await.error(), (400, "ArgumentInvalid"));
}
