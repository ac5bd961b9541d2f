//! What a caller of a method says and what the device says, over every way there is to call one.

use gantry_api::Api;
use gantry_hub::connection::{Delivery, Mailbox, MethodResponse};
use serde_json::{Value, json};

use crate::authorization::api;
use crate::jobs::{Runner, ended, outcomes};
use crate::service::{Answer, KEY, call, call_text, connect, ok};

const CALL: &str = r#"{"methodName":"reboot"PAYLOAD}"#;
const JOB: &str = r#"{"type":"scheduleDeviceMethod","queryCondition":"deviceId = 'd'","cloudToDeviceMethod":{"methodName":"reboot"PAYLOAD}}"#;

/// A hub with a connected device and a connected module.
async fn world(folder: &tempfile::TempDir) -> (Api, Mailbox, Mailbox) {
    let api = api(folder);
    let keys = json!({ "symmetricKey": {"primaryKey": KEY, "secondaryKey": KEY} });
    ok(call(&api, "PUT", "/devices/d", json!({ "authentication": keys })).await);
    let module = json!({ "moduleId": "m", "deviceId": "d", "authentication": keys });
    ok(call(&api, "PUT", "/devices/d/modules/m", module).await);
    let (device, module) = (connect(&api.hub, "d").await, connect(&api.hub, "d/m").await);
    (api, device, module)
}

/// Calls, and answers as the device would; gives the caller's answer and what the device got.
async fn calls(api: &Api, mailbox: &mut Mailbox, path: &str, body: &str, answer: &'static [u8]) -> (Answer, String) {
    let device = async {
        let Delivery::Method { request_id, payload, .. } = mailbox.next().await else { panic!() };
        mailbox.answer(request_id, MethodResponse { status: 200, payload: answer.into() });
        String::from_utf8(payload.to_vec()).unwrap()
    };
    tokio::join!(call_text(api, "POST", path, body, &[]), device)
}

#[tokio::test]
async fn a_payload_that_is_left_out_is_not_null() {
    let folder = tempfile::tempdir().unwrap();
    let (api, mut device, mut module) = world(&folder).await;
    let _runner = Runner::new(&api);
    let payloads = ["", "null", "{}", "[]", r#""""#, "0", "false", r#"{"a": [1.0, null]}"#];
    for (number, payload) in payloads.into_iter().enumerate() {
        let member = if payload.is_empty() { String::new() } else { format!(r#","payload":{payload}"#) };
        let body = CALL.replace("PAYLOAD", &member);
        for path in ["/twins/d/methods", "/platform/v1/devices/d/methods"] {
            let (answer, got) = calls(&api, &mut device, path, &body, b"").await;
            assert_eq!(got, payload, "{path}");
            assert_eq!(ok(answer), json!({"status": 200, "payload": null}), "{path}");
        }
        assert_eq!(calls(&api, &mut module, "/twins/d/modules/m/methods", &body, b"").await.1, payload);
        for path in ["/digitaltwins/d/commands/reboot", "/digitaltwins/d/components/c/commands/reboot"] {
            assert_eq!(calls(&api, &mut device, path, payload, b"").await.1, payload, "{path}");
        }

        let id = format!("job{number}");
        let job = JOB.replace("PAYLOAD", &member);
        let made = ok(call_text(&api, "PUT", &format!("/jobs/v2/{id}"), &job, &[]).await);
        let shown = made["cloudToDeviceMethod"].get("payload").cloned();
        assert_eq!(shown, (!payload.is_empty()).then(|| serde_json::from_str(payload).unwrap()));
        let Delivery::Method { request_id, payload: got, .. } = device.next().await else { panic!() };
        device.answer(request_id, MethodResponse { status: 200, payload: "".into() });
        assert_eq!(got, payload, "job");
        ended(&api, &id).await;
    }
}

#[tokio::test]
async fn what_a_device_answers_is_handed_on_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (api, mut device, mut module) = world(&folder).await;
    let _runner = Runner::new(&api);
    let call_body = CALL.replace("PAYLOAD", "");
    let answers: [(&[u8], &str, Value); 5] = [
        (br#"{"n":1.0}"#, r#"{"n":1.0}"#, json!({"n": 1.0})),
        (b"done", "done", json!("done")),
        (b"{'file': 'x'}", "{'file': 'x'}", json!("{'file': 'x'}")),
        (b"a\xffb", "a\u{fffd}b", json!("a\u{fffd}b")),
        (b" ", "null", Value::Null),
    ];
    for (number, (answer, text, value)) in answers.into_iter().enumerate() {
        let whole = format!(r#"{{"status":200,"payload":{text}}}"#);
        let expected = serde_json::from_str(&whole).unwrap_or(Value::from(whole));
        let (got, _) = calls(&api, &mut device, "/twins/d/methods", &call_body, answer).await;
        assert!(got.header("content-type").unwrap().starts_with("application/json"));
        assert_eq!(ok(got), expected);
        let (got, _) = calls(&api, &mut module, "/twins/d/modules/m/methods", &call_body, answer).await;
        assert_eq!(ok(got), expected);

        let (got, _) = calls(&api, &mut device, "/platform/v1/devices/d/methods", &call_body, answer).await;
        assert_eq!(ok(got), json!({"status": 200, "payload": value}));
        let (got, _) = calls(&api, &mut device, "/digitaltwins/d/commands/reboot", "1", answer).await;
        assert_eq!(got.header("x-ms-command-statuscode"), Some("200"));
        assert_eq!(ok(got), value);

        let id = format!("job{number}");
        ok(call_text(&api, "PUT", &format!("/jobs/v2/{id}"), &JOB.replace("PAYLOAD", ""), &[]).await);
        let Delivery::Method { request_id, .. } = device.next().await else { panic!() };
        device.answer(request_id, MethodResponse { status: 200, payload: answer.into() });
        ended(&api, &id).await;
        let outcome = &outcomes(&api, &format!("jobId = '{id}'")).await[0]["outcome"];
        assert_eq!(outcome["deviceMethodResponse"], json!({"status": 200, "payload": value}));
    }
}
