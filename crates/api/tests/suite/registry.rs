//! Identities: bulk calls, edge scopes, system modules, keys, ETags.

use gantry_hub::connection::{CloseReason, Delivery};
use gantry_hub::ports::Store as _;
use serde_json::{Value, json};

use crate::authorization::api;
use crate::service::{KEY, call, call_with, connect, ok, try_connect};

fn entry(id: &str, mode: &str) -> Value {
    json!({ "id": id, "importMode": mode })
}

#[tokio::test]
async fn a_bulk_call_carries_out_every_mode() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let made = call(
        &api,
        "POST",
        "/devices",
        json!([
            { "id": "a", "importMode": "create", "status": "disabled", "statusReason": "stock",
              "tags": {"site": "north"}, "properties": {"desired": {"rate": 1}} },
            { "id": "a", "moduleId": "m", "importMode": "Create" },
            { "id": "b", "importMode": "createOrUpdate" },
            { "id": "c" },
        ]),
    )
    .await;
    assert_eq!(ok(made), json!({ "isSuccessful": true, "errors": [], "warnings": [] }));
    let twin = ok(call(&api, "GET", "/twins/a", Value::Null).await);
    assert_eq!((&twin["tags"]["site"], &twin["properties"]["desired"]["rate"]), (&json!("north"), &json!(1)));
    assert_eq!(twin["status"], "disabled");
    assert_eq!(ok(call(&api, "GET", "/devices/a/modules", Value::Null).await).as_array().unwrap().len(), 1);

    let b = ok(call(&api, "GET", "/devices/b", Value::Null).await)["etag"].clone();
    let twin_etag = twin["etag"].clone();
    let changed = call(
        &api,
        "POST",
        "/devices",
        json!([
            { "id": "a", "importMode": "updateTwinIfMatchETag", "twinETag": twin_etag, "tags": {"floor": 2} },
            { "id": "b", "eTag": b, "importMode": "UpdateIfMatchETag", "status": "disabled" },
            entry("c", "Delete"),
        ]),
    )
    .await;
    ok(changed);
    assert_eq!(ok(call(&api, "GET", "/twins/a", Value::Null).await)["tags"], json!({"site": "north", "floor": 2}));
    assert_eq!(ok(call(&api, "GET", "/devices/b", Value::Null).await)["status"], "disabled");
    assert_eq!(call(&api, "GET", "/devices/c", Value::Null).await.error(), (404, "DeviceNotFound"));
    ok(call(&api, "POST", "/devices", json!([{ "id": "b", "eTag": "stale", "importMode": "delete" }])).await);
}

#[tokio::test]
async fn entries_that_fail_are_listed_and_the_others_are_done() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    ok(call(&api, "PUT", "/devices/old", json!({})).await);
    let answer = call(
        &api,
        "POST",
        "/devices",
        json!([
            entry("new", "create"),
            entry("old", "create"),
            entry("none", "update"),
            { "id": "old2", "moduleId": "m", "importMode": "create" },
        ]),
    )
    .await;
    assert_eq!(answer.error(), (400, "BulkRegistryOperationFailure"));
    assert_eq!(answer.body["isSuccessful"], false);
    let errors: Vec<_> =
        answer.body["errors"].as_array().unwrap().iter().map(|e| (&e["deviceId"], &e["errorCode"])).collect();
    let expected = [("old", "DeviceAlreadyExists"), ("none", "DeviceNotFound"), ("old2", "DeviceNotFound")];
    let expected: Vec<_> = expected.iter().map(|(id, name)| (json!(id), json!(name))).collect();
    assert_eq!(errors, expected.iter().map(|(id, name)| (id, name)).collect::<Vec<_>>());
    ok(call(&api, "GET", "/devices/new", Value::Null).await);
    let stale = json!([{ "id": "new", "eTag": "stale", "importMode": "deleteIfMatchETag" }]);
    let answer = call(&api, "POST", "/devices", stale).await;
    assert_eq!(answer.body["errors"][0]["errorCode"], "PreconditionFailed");
    assert_eq!(answer.body["errors"][0]["operation"], "deleteIfMatchETag");
}

#[tokio::test]
async fn a_bulk_call_has_1_to_100_entries_each_named_once() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let many = |len: usize| (0..len).map(|n| entry(&format!("d{n}"), "create")).collect::<Vec<_>>();
    ok(call(&api, "POST", "/devices", many(100).into()).await);
    assert_eq!(call(&api, "POST", "/devices", many(101).into()).await.error(), (413, "TooManyDevices"));
    assert_eq!(call(&api, "POST", "/devices", json!([])).await.error(), (400, "ArgumentInvalid"));
    let twice = json!([entry("x", "create"), entry("x", "update")]);
    assert_eq!(call(&api, "POST", "/devices", twice).await.error(), (400, "DeviceDefinedMultipleTimes"));
    assert_eq!(call(&api, "GET", "/devices/x", Value::Null).await.error(), (404, "DeviceNotFound"));
    assert_eq!(call(&api, "POST", "/devices", json!([entry("x", "destroy")])).await.error(), (400, "ArgumentInvalid"));
}

#[tokio::test]
async fn an_edge_device_has_a_scope_and_system_modules() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let edge = json!({ "capabilities": {"iotEdge": true} });
    let gateway = ok(call(&api, "PUT", "/devices/gw", edge.clone()).await);
    let scope = gateway["deviceScope"].as_str().unwrap().to_owned();
    assert!(scope.starts_with("ms-azure-iot-edge://gw-"), "{scope}");
    let modules = ok(call(&api, "GET", "/devices/gw/modules", Value::Null).await);
    let names: Vec<_> = modules.as_array().unwrap().iter().map(|m| (&m["moduleId"], &m["managedBy"])).collect();
    assert_eq!(names, [(&json!("$edgeAgent"), &json!("IotEdge")), (&json!("$edgeHub"), &json!("IotEdge"))]);
    for method in ["PUT", "DELETE"] {
        let answer = call_with(&api, method, "/devices/gw/modules/$edgeHub", &json!({}), &[("if-match", "*")]).await;
        assert_eq!(answer.error(), (401, "SystemModuleModifyUnauthorizedAccess"), "{method}");
    }

    let leaf = ok(call(&api, "PUT", "/devices/leaf", json!({ "deviceScope": scope })).await);
    assert_eq!((&leaf["deviceScope"], &leaf["parentScopes"]), (&json!(scope), &json!([scope])));
    let child = json!({ "capabilities": {"iotEdge": true}, "parentScopes": [scope] });
    let child = ok(call(&api, "PUT", "/devices/child", child).await);
    assert_eq!(child["parentScopes"], json!([scope]));
    assert_ne!(child["deviceScope"], json!(scope));

    let bad = |body: Value| {
        let api = &api;
        async move { call_with(api, "PUT", "/devices/leaf", &body, &[("if-match", "*")]).await }
    };
    for body in [
        json!({ "deviceScope": "ms-azure-iot-edge://nobody-1" }),
        json!({ "deviceScope": format!("{scope}9") }),
        json!({ "deviceScope": "elsewhere" }),
        json!({ "parentScopes": [scope, scope] }),
        json!({ "parentScopes": [scope], "deviceScope": child["deviceScope"] }),
    ] {
        assert_eq!(bad(body.clone()).await.error(), (400, "InvalidDeviceScope"), "{body}");
    }
    let moved = json!({ "capabilities": {"iotEdge": true}, "deviceScope": child["deviceScope"] });
    let moved = call_with(&api, "PUT", "/devices/gw", &moved, &[("if-match", "*")]).await;
    assert_eq!(moved.error(), (400, "InvalidDeviceScope"), "an edge device keeps its own scope");
    let same = json!({ "capabilities": {"iotEdge": true}, "deviceScope": scope });
    ok(call_with(&api, "PUT", "/devices/gw", &same, &[("if-match", "*")]).await);
    let plain = ok(call_with(&api, "PUT", "/devices/gw", &json!({}), &[("if-match", "*")]).await);
    assert_eq!(plain.get("deviceScope"), None);
    assert_eq!(ok(call(&api, "GET", "/devices/gw/modules", Value::Null).await), json!([]));
}

#[tokio::test]
async fn a_device_has_up_to_50_modules() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    ok(call(&api, "PUT", "/devices/d", json!({})).await);
    for number in 0..50 {
        ok(call(&api, "PUT", &format!("/devices/d/modules/m{number}"), json!({})).await);
    }
    let answer = call(&api, "PUT", "/devices/d/modules/m50", json!({})).await;
    assert_eq!(answer.error(), (413, "TooManyModulesOnDevice"));
    let orphan = call(&api, "PUT", "/devices/none/modules/m", json!({})).await;
    assert_eq!(orphan.error(), (404, "DeviceNotFound"));
}

#[tokio::test]
async fn etags_that_do_not_match_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let first = ok(call(&api, "PUT", "/devices/d", json!({})).await)["etag"].as_str().unwrap().to_owned();
    assert_eq!(call(&api, "PUT", "/devices/d", json!({})).await.error(), (409, "DeviceAlreadyExists"));
    let quoted = format!("\"{first}\"");
    let second = call_with(&api, "PUT", "/devices/d", &json!({"status": "disabled"}), &[("if-match", &quoted)]).await;
    let second = ok(second)["etag"].as_str().unwrap().to_owned();
    assert_ne!(first, second);
    for method in ["PUT", "DELETE"] {
        let answer = call_with(&api, method, "/devices/d", &json!({}), &[("if-match", &quoted)]).await;
        assert_eq!(answer.error(), (412, "PreconditionFailed"), "{method}");
    }
    for method in ["PATCH", "PUT"] {
        let answer =
            call_with(&api, method, "/twins/d", &json!({"tags": {"a": 1}}), &[("if-match", "\"AAAAAAAAAAk=\"")]).await;
        assert_eq!(answer.error(), (412, "PreconditionFailed"), "{method}");
    }
    assert_eq!(ok(call(&api, "GET", "/twins/d", Value::Null).await)["tags"], json!({}));
    let missing = call_with(&api, "PUT", "/devices/none", &json!({}), &[("if-match", &quoted)]).await;
    assert_eq!(missing.error(), (404, "DeviceNotFound"));
    let weak = format!("W/\"{second}\"");
    assert_eq!(call_with(&api, "DELETE", "/devices/d", &Value::Null, &[("if-match", &weak)]).await.status, 204);
}

#[tokio::test]
async fn of_writers_with_one_etag_one_wins() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    ok(call(&api, "PUT", "/devices/d", json!({})).await);
    let etag = ok(call(&api, "GET", "/twins/d", Value::Null).await)["etag"].as_str().unwrap().to_owned();
    let writes = (0..20).map(|n| {
        let (api, etag) = (api.clone(), etag.clone());
        async move {
            call_with(&api, "PATCH", "/twins/d", &json!({"tags": {"writer": n}}), &[("if-match", &etag)]).await.status
        }
    });
    let statuses = futures::future::join_all(writes).await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 412).count(), 19, "{statuses:?}");
}

#[tokio::test]
async fn keys_are_drawn_anew_for_those_that_have_them() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let keys = json!({ "symmetricKey": { "primaryKey": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
                                         "secondaryKey": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=" } });
    ok(call(&api, "PUT", "/devices/d", json!({ "authentication": keys })).await);
    ok(call(&api, "PUT", "/devices/x", json!({ "authentication": {"type": "certificateAuthority"} })).await);
    let both = json!({ "policyKey": "primaryKey", "devices": [{"id": "d"}, {"id": "x"}] });
    let answer = call(&api, "POST", "/devices/keys/regenerate", both).await;
    assert_eq!(answer.status, 207);
    assert_eq!(answer.body["rotatedKeys"][0]["id"], "d");
    assert_eq!(answer.body["errors"][0]["id"], "x");
    let now = ok(call(&api, "GET", "/devices/d", Value::Null).await)["authentication"]["symmetricKey"].clone();
    assert_ne!(now["primaryKey"], keys["symmetricKey"]["primaryKey"]);
    assert_eq!(now["secondaryKey"], keys["symmetricKey"]["secondaryKey"]);
    let one = json!({ "policyKey": "both", "devices": [{"id": "d"}] });
    assert_eq!(call(&api, "POST", "/devices/keys/regenerate", one).await.status, 200);
    let none = json!({ "policyKey": "both", "devices": [{"id": "none"}] });
    assert_eq!(call(&api, "POST", "/devices/keys/regenerate", none).await.status, 400);
    let word = json!({ "policyKey": "third", "devices": [{"id": "d"}] });
    assert_eq!(call(&api, "POST", "/devices/keys/regenerate", word).await.error(), (400, "InvalidPolicyKey"));
}

#[tokio::test]
async fn a_module_cannot_outlive_its_device() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    ok(call(&api, "PUT", "/devices/d", json!({})).await);
    ok(call(&api, "PUT", "/devices/d/modules/m", json!({})).await);
    assert_eq!(call_with(&api, "DELETE", "/devices/d", &Value::Null, &[("if-match", "*")]).await.status, 204);
    assert_eq!(call(&api, "GET", "/devices/d/modules/m", Value::Null).await.error(), (404, "ModuleNotFound"));
    let database = gantry_storage::Database::open(folder.path()).unwrap();
    assert!(database.records(true, None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn disabling_new_keys_and_deleting_cut_a_device_and_its_modules() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let keys = json!({ "symmetricKey": {"primaryKey": KEY, "secondaryKey": KEY} });
    let other = "HB0bGhkYFxYVFBMSERAPDg0MCwoJCAcGBQQDAgEAHx8=";
    let other = json!({ "symmetricKey": {"primaryKey": other, "secondaryKey": other} });
    ok(call(&api, "PUT", "/devices/d", json!({ "authentication": keys })).await);
    ok(call(&api, "PUT", "/devices/d/modules/m", json!({ "authentication": keys })).await);
    for change in [json!({ "status": "disabled", "authentication": keys }), json!({ "authentication": other })] {
        ok(call_with(&api, "PUT", "/devices/d", &json!({ "authentication": keys }), &[("if-match", "*")]).await);
        let (mut device, mut module) = (connect(&api.hub, "d").await, connect(&api.hub, "d/m").await);
        let shown = ok(call(&api, "GET", "/devices/d", Value::Null).await);
        assert_eq!(shown["connectionState"], "Connected");
        assert_ne!(shown["lastActivityTime"], "0001-01-01T00:00:00");
        ok(call_with(&api, "PUT", "/devices/d", &change, &[("if-match", "*")]).await);
        for mailbox in [&mut device, &mut module] {
            assert!(matches!(mailbox.next().await, Delivery::Close(CloseReason::CredentialsChanged)), "{change}");
        }
        assert!(try_connect(&api.hub, "d").await.is_err(), "{change}");
        assert_eq!(try_connect(&api.hub, "d/m").await.is_err(), change["status"] == "disabled");
        assert_eq!(ok(call(&api, "GET", "/devices/d", Value::Null).await)["connectionState"], "Disconnected");
    }
    ok(call_with(&api, "PUT", "/devices/d", &json!({ "authentication": keys }), &[("if-match", "*")]).await);
    let (mut device, mut module) = (connect(&api.hub, "d").await, connect(&api.hub, "d/m").await);
    assert_eq!(call_with(&api, "DELETE", "/devices/d", &Value::Null, &[("if-match", "*")]).await.status, 204);
    for mailbox in [&mut device, &mut module] {
        assert!(matches!(mailbox.next().await, Delivery::Close(CloseReason::CredentialsChanged)));
    }
}
