//! Provisioning for the page: enrollments, the key of a new device, registrations, and who may ask.

use gantry_api::Api;
use gantry_identity::Key;
use serde_json::{Value, json};

use crate::authorization::{api, token};
use crate::provisioning::{KEY, device, device_token, outcome, send_as};
use crate::service::Answer;

const BASE: &str = "/platform/v1/provisioning";

async fn call(api: &Api, method: &str, path: &str, etag: Option<&str>, body: &Value) -> Answer {
    let owner = token("iothubowner", Key::from_bytes([2; 32]));
    send_as(api, method, &format!("{BASE}{path}"), &owner, etag, body).await
}

fn group() -> Value {
    json!({
        "enrollmentGroupId": "motors",
        "attestation": { "type": "symmetricKey", "symmetricKey": { "primaryKey": KEY, "secondaryKey": KEY } },
        "allocationPolicy": "static",
        "iotHubs": ["localhost"],
        "initialTwin": { "tags": { "hall": "north" }, "properties": { "desired": { "load": 70 } } },
    })
}

#[tokio::test]
async fn a_group_is_made_shown_changed_and_deleted_without_its_keys() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let made = call(&api, "PUT", "/enrollmentGroups/motors", None, &group()).await;
    assert_eq!(made.status, 200, "{made:?}");
    assert_eq!(made.body["attestation"], json!({ "type": "symmetricKey" }), "keys are shown on request only");
    let again = call(&api, "PUT", "/enrollmentGroups/motors", None, &group()).await;
    assert_eq!((again.status.as_u16(), &again.body["error"]["code"]), (409, &json!("Conflict")), "{again:?}");
    // What was read may be written back, changed.
    let mut change = call(&api, "GET", "/enrollmentGroups/motors", None, &Value::Null).await.body;
    change["provisioningStatus"] = json!("disabled");
    let etag = change["etag"].as_str().unwrap().to_owned();
    let changed = call(&api, "PUT", "/enrollmentGroups/motors", Some(&etag), &change).await;
    assert_eq!((changed.status.as_u16(), &changed.body["provisioningStatus"]), (200, &json!("disabled")));
    assert_eq!(changed.body["initialTwin"]["tags"], json!({ "hall": "north" }));
    let late = call(&api, "PUT", "/enrollmentGroups/motors", Some(&etag), &change).await;
    assert_eq!((late.status.as_u16(), &late.body["error"]["code"]), (412, &json!("PreconditionFailed")), "{late:?}");
    let keys = call(&api, "POST", "/enrollmentGroups/motors/attestationmechanism", None, &Value::Null).await;
    assert_eq!(keys.body["symmetricKey"]["primaryKey"], KEY, "{keys:?}");
    assert_eq!(call(&api, "DELETE", "/enrollmentGroups/motors", None, &Value::Null).await.status, 204);
    let gone = call(&api, "GET", "/enrollmentGroups/motors", None, &Value::Null).await;
    assert_eq!((gone.status.as_u16(), &gone.body["error"]["code"]), (404, &json!("NotFound")), "{gone:?}");
}

#[tokio::test]
async fn lists_go_on_where_a_page_ended() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    for id in ["a", "b", "c"] {
        let body = json!({ "registrationId": id, "attestation": { "type": "symmetricKey" } });
        assert_eq!(call(&api, "PUT", &format!("/enrollments/{id}"), None, &body).await.status, 200);
    }
    let first = call(&api, "GET", "/enrollments?limit=2", None, &Value::Null).await.body;
    assert_eq!((first["value"].as_array().unwrap().len(), &first["next"]), (2, &json!("b")), "{first}");
    let rest = call(&api, "GET", "/enrollments?limit=2&after=b", None, &Value::Null).await.body;
    assert_eq!((&rest["value"][0]["registrationId"], &rest["next"]), (&json!("c"), &Value::Null), "{rest}");
    let none = call(&api, "GET", "/enrollmentGroups", None, &Value::Null).await.body;
    assert_eq!(none, json!({ "value": [], "next": null }));
}

#[tokio::test]
async fn a_device_registers_with_the_key_it_is_told_and_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    call(&api, "PUT", "/enrollmentGroups/motors", None, &group()).await;
    let new = json!({ "registrationId": "motor-1" });
    let told = call(&api, "POST", "/enrollmentGroups/motors/deviceKey", None, &new).await.body;
    assert_eq!((&told["provisioningHost"], &told["idScope"]), (&json!("localhost"), &json!("0ne")), "{told}");
    assert_ne!(told["primaryKey"], KEY, "the group's own key stays");
    let proof = device_token("0ne", "motor-1", told["primaryKey"].as_str().unwrap());
    let path = "/0ne/registrations/motor-1/register";
    let accepted = device(&api, "PUT", path, Some(&proof), r#"{"registrationId":"motor-1"}"#).await;
    outcome(&api, accepted.header("location").unwrap(), &proof).await;

    let list = call(&api, "GET", "/enrollmentGroups/motors/registrations", None, &Value::Null).await.body;
    assert_eq!(list["value"][0]["registrationId"], "motor-1", "{list}");
    assert_eq!(
        (&list["value"][0]["status"], &list["value"][0]["assignedHub"]),
        (&json!("assigned"), &json!("localhost"))
    );
    assert_eq!(call(&api, "GET", "/registrations/motor-1", None, &Value::Null).await.body["deviceId"], "motor-1");
    assert_eq!(call(&api, "DELETE", "/registrations/motor-1", None, &Value::Null).await.status, 204);
    let list = call(&api, "GET", "/enrollmentGroups/motors/registrations", None, &Value::Null).await.body;
    assert_eq!(list["value"], json!([]));
}

#[tokio::test]
async fn what_has_no_key_and_what_is_no_id_is_said_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let (pem, _) = crate::provisioning::certificate("root", true);
    let x509 = json!({ "type": "x509", "x509": { "signingCertificates": { "primary": { "certificate": pem } } } });
    let made = call(&api, "PUT", "/enrollmentGroups/by-root", None, &json!({ "attestation": x509 })).await;
    assert_eq!(made.status, 200, "{made:?}");
    let invalid = [
        (
            "/enrollmentGroups/by-root/deviceKey",
            json!({ "registrationId": "m" }),
            "devices of `by-root` have no key but x509",
        ),
        ("/enrollmentGroups/by-root/deviceKey", json!({ "registrationId": "no id" }), "registration id"),
        ("/enrollmentGroups/by-root/deviceKey", json!({}), "malformed body"),
    ];
    for (path, body, words) in invalid {
        let refused = call(&api, "POST", path, None, &body).await;
        assert_eq!(refused.status, 400, "{refused:?}");
        assert!(refused.body["error"]["message"].as_str().unwrap().contains(words), "{refused:?}");
    }
    let missing = call(&api, "POST", "/enrollments/none/deviceKey", None, &json!({})).await;
    assert_eq!(missing.status, 404, "{missing:?}");
}
