//! Twins over the REST API: every writer follows the same rules, and devices hear of every change alike.

use gantry_api::Api;
use gantry_hub::connection::{Delivery, Mailbox, Subscriptions};
use gantry_hub::device::AuthenticationWrite;
use gantry_identity::{DeviceId, Timestamp};
use gantry_provisioning::{Beginning, InitialTwin, LinkedHub, Placement};
use serde_json::{Value, json};

use crate::authorization::api;
use crate::service::{KEY, call, call_with, connect, ok};

const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);
const TWINS: [&str; 2] = ["/twins/d", "/twins/d/modules/m"];

/// Device `d` with module `m`, both of which have [`KEY`].
async fn device(api: &Api) {
    let keys = json!({ "authentication": {"symmetricKey": {"primaryKey": KEY, "secondaryKey": KEY}} });
    ok(call(api, "PUT", "/devices/d", keys.clone()).await);
    ok(call(api, "PUT", "/devices/d/modules/m", keys).await);
}

async fn twin(api: &Api, path: &str) -> (Value, Value) {
    let mut twin = ok(call(api, "GET", path, Value::Null).await);
    let mut desired = twin["properties"]["desired"].take();
    desired.as_object_mut().unwrap().retain(|key, _| !key.starts_with('$'));
    (twin["tags"].take(), desired)
}

/// The next change a device is told of, without its version.
async fn told(mailbox: &mut Mailbox) -> Value {
    loop {
        if let Delivery::Desired { version, mut patch } = mailbox.next().await {
            assert_eq!(patch.as_object_mut().unwrap().remove("$version"), Some(version.into()));
            return patch;
        }
    }
}

#[tokio::test]
async fn null_for_a_section_clears_it_and_is_refused_in_a_replacement() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    device(&api).await;
    for path in TWINS {
        let full = json!({ "tags": {"a": 1, "o": {"p": 1}}, "properties": {"desired": {"b": {"c": 1}}} });
        ok(call(&api, "PUT", path, full.clone()).await);
        let before = twin(&api, path).await;
        for wrong in [
            json!({ "tags": null }),
            json!({ "properties": {"desired": null} }),
            json!({ "tags": {"a": null} }),
            json!({ "tags": {"o": {"p": null}}, "properties": {"desired": {"x": 1}} }),
            json!({ "tags": {}, "properties": {"desired": {"b": null}} }),
            json!({ "tags": {}, "properties": {"desired": {"b": [{"x": null}]}} }),
        ] {
            let answer = call(&api, "PUT", path, wrong.clone()).await;
            assert_eq!(answer.error(), (400, "ArgumentInvalid"), "{wrong}");
            assert_eq!(twin(&api, path).await, before, "nothing is lost by {wrong}");
        }
        let answer = ok(call(&api, "PATCH", path, json!({ "tags": null })).await);
        assert_eq!(answer["tags"], json!({}));
        assert_eq!(twin(&api, path).await, (json!({}), json!({"b": {"c": 1}})));
        ok(call(&api, "PUT", path, full).await);
        ok(call(&api, "PATCH", path, json!({ "properties": {"desired": null} })).await);
        assert_eq!(twin(&api, path).await, (json!({"a": 1, "o": {"p": 1}}), json!({})));
        ok(call(&api, "PATCH", path, json!({ "tags": {"a": null} })).await);
        assert_eq!(twin(&api, path).await.0, json!({"o": {"p": 1}}));
    }
    let entry = json!({ "id": "d", "importMode": "updateTwin", "tags": null });
    ok(call(&api, "PATCH", "/twins/d", json!({ "tags": {"a": 1} })).await);
    ok(call(&api, "POST", "/devices", json!([entry])).await);
    assert_eq!(twin(&api, "/twins/d").await.0, json!({}));
}

#[tokio::test]
async fn a_device_is_told_what_went_whichever_way_it_went() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    device(&api).await;
    let mut mailbox = connect(&api.hub, "d").await;
    mailbox.subscribe(Subscriptions::DESIRED);
    let start = json!({ "properties": {"desired": {"a": 1, "b": 2, "o": {"p": 1, "q": {"r": 1}}}} });
    let gone = json!({ "a": 5, "b": null, "o": {"p": 1, "q": null} });
    let new = json!({ "a": 5, "o": {"p": 1} });

    ok(call(&api, "PUT", "/twins/d", start.clone()).await);
    told(&mut mailbox).await;
    ok(call(&api, "PUT", "/twins/d", json!({ "properties": {"desired": new} })).await);
    assert_eq!(told(&mut mailbox).await, gone);

    // What a registration brings takes the place of what was there.
    ok(call(&api, "PUT", "/twins/d", start.clone()).await);
    told(&mut mailbox).await;
    let desired = new.as_object().unwrap().clone();
    let placement = Placement {
        device_id: DeviceId::parse("d").unwrap(),
        authentication: AuthenticationWrite::Unchanged,
        iot_edge: false,
        beginning: Beginning::Initial(Some(InitialTwin { desired, ..InitialTwin::default() })),
        overwrite: true,
    };
    LinkedHub::own(api.hub.clone(), 1).link.place(NOW, &placement).await.unwrap();
    assert_eq!(told(&mut mailbox).await, gone);

    for patch in [
        json!([{"op": "replace", "path": "/o", "value": {"p": 1}}]),
        json!([{"op": "remove", "path": "/o/q"}, {"op": "add", "path": "/o/p", "value": 1}]),
    ] {
        ok(call(&api, "PUT", "/twins/d", start.clone()).await);
        told(&mut mailbox).await;
        assert_eq!(call(&api, "PATCH", "/digitaltwins/d", patch.clone()).await.status, 202);
        assert_eq!(told(&mut mailbox).await, json!({"o": {"p": 1, "q": null}}), "{patch}");
    }

    let all_gone = json!({ "a": null, "b": null, "o": null });
    for (method, path, body) in [
        ("PATCH", "/twins/d", json!({ "properties": {"desired": null} })),
        ("PUT", "/twins/d", json!({ "properties": {"desired": {}} })),
        ("POST", "/devices", json!([{ "id": "d", "importMode": "updateTwin", "properties": {"desired": null} }])),
        (
            "POST",
            "/devices",
            json!([{ "id": "d", "importMode": "updateTwin", "properties": {"desired": {"a": null, "b": null, "o": null}} }]),
        ),
    ] {
        ok(call(&api, "PUT", "/twins/d", start.clone()).await);
        told(&mut mailbox).await;
        ok(call(&api, method, path, body.clone()).await);
        assert_eq!(told(&mut mailbox).await, all_gone, "{body}");
        assert_eq!(twin(&api, "/twins/d").await.1, json!({}));
    }

    let configuration =
        json!({ "targetCondition": "*", "content": {"deviceContent": {"properties.desired.c": {"x": {"y": 1}}}} });
    assert_eq!(call(&api, "PUT", "/configurations/c", configuration).await.status, 201);
    api.hub.manage(NOW).await.unwrap();
    assert_eq!(told(&mut mailbox).await, json!({"c": {"x": {"y": 1}}}));
    ok(call_with(&api, "DELETE", "/configurations/c", &Value::Null, &[("if-match", "*")]).await);
    api.hub.manage(NOW).await.unwrap();
    assert_eq!(told(&mut mailbox).await, json!({"c": null}));
}

#[tokio::test]
async fn a_module_is_told_what_a_new_deployment_takes_away() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    ok(call(&api, "PUT", "/devices/d", json!({ "capabilities": {"iotEdge": true} })).await);
    let deployment = |desired: Value| {
        json!({ "modulesContent": {"$edgeAgent": {"properties.desired": {"modules": {"m": {"image": "x"}}}},
                                   "m": {"properties.desired": desired}} })
    };
    let path = "/devices/d/applyConfigurationContent";
    ok(call(&api, "POST", path, deployment(json!({ "a": 1, "o": {"p": 1, "q": 2} }))).await);
    let keys =
        json!({ "authentication": {"symmetricKey": {"primaryKey": KEY, "secondaryKey": KEY}}, "managedBy": "IotEdge" });
    ok(call_with(&api, "PUT", "/devices/d/modules/m", &keys, &[("if-match", "*")]).await);
    let mut mailbox = connect(&api.hub, "d/m").await;
    mailbox.subscribe(Subscriptions::DESIRED);
    ok(call(&api, "POST", path, deployment(json!({ "o": {"p": 1} }))).await);
    assert_eq!(told(&mut mailbox).await, json!({"a": null, "o": {"p": 1, "q": null}}));
}

#[tokio::test]
async fn twins_of_modules_have_tags() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    device(&api).await;
    let path = "/twins/d/modules/m";
    let tags = json!({ "place": "roof", "deep": {"x": 1} });
    assert_eq!(ok(call(&api, "PATCH", path, json!({ "tags": tags })).await)["tags"], tags);
    let query = |text: &'static str| {
        let api = &api;
        async move { ok(call(api, "POST", "/devices/query", json!({ "query": text })).await) }
    };
    let rows = query("SELECT * FROM devices.modules WHERE tags.place = 'roof' AND tags.deep.x = 1").await;
    assert_eq!((&rows[0]["moduleId"], &rows[0]["tags"]), (&json!("m"), &tags));
    assert_eq!(
        query("SELECT tags.deep.x AS x FROM devices.modules WHERE is_defined(tags.place)").await,
        json!([{"x": 1}])
    );
    assert_eq!(query("SELECT * FROM devices WHERE tags.place = 'roof'").await, json!([]));
    assert_eq!(
        query("SELECT tags.place AS p, COUNT() AS n FROM devices.modules GROUP BY tags.place").await,
        json!([{"p": "roof", "n": 1}])
    );
    let configuration = json!({ "targetCondition": "FROM devices.modules WHERE tags.place = 'roof'",
                                "content": {"moduleContent": {"properties.desired.rate": 5}} });
    assert_eq!(call(&api, "PUT", "/configurations/c", configuration).await.status, 201);
    api.hub.manage(NOW).await.unwrap();
    assert_eq!(twin(&api, path).await.1, json!({"rate": 5}));
    let entry = json!({ "id": "d", "moduleId": "n", "importMode": "create", "tags": {"bulk": 1} });
    ok(call(&api, "POST", "/devices", json!([entry])).await);
    assert_eq!(twin(&api, "/twins/d/modules/n").await.0, json!({"bulk": 1}));
    let module = gantry_identity::Identity::parse("d/m").unwrap();
    assert_eq!(api.hub.device_twin(&module).await.unwrap().get("tags"), None, "the module does not see them");
    assert_eq!(twin(&api, "/twins/d").await.0, json!({}), "the device has tags of its own");
}

#[tokio::test]
async fn queries_know_every_property_of_twins_and_identities() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let made = json!({ "status": "enabled", "statusReason": "new", "capabilities": {"iotEdge": true} });
    ok(call(&api, "PUT", "/devices/d", made).await);
    let never = "0001-01-01T00:00:00Z";
    let count = |condition: String| {
        let api = &api;
        async move {
            let text = format!("SELECT * FROM devices WHERE {condition}");
            ok(call(api, "POST", "/devices/query", json!({ "query": text })).await).as_array().unwrap().len()
        }
    };
    assert_eq!(count(format!("statusUpdatedTime = '{never}' AND statusUpdateTime = '{never}'")).await, 1);
    ok(call_with(
        &api,
        "PUT",
        "/devices/d",
        &json!({ "status": "disabled", "capabilities": {"iotEdge": true} }),
        &[("if-match", "*")],
    )
    .await);
    let identity = ok(call(&api, "GET", "/devices/d", Value::Null).await);
    let twin = ok(call(&api, "GET", "/twins/d", Value::Null).await);
    let at = identity["statusUpdatedTime"].as_str().unwrap();
    assert!(at > never, "{at}");
    assert_eq!(twin["statusUpdateTime"], at);
    let scope = identity["deviceScope"].as_str().unwrap();
    for condition in [
        format!("statusUpdatedTime = '{at}'"),
        format!("statusUpdateTime = '{at}'"),
        "statusUpdatedTime > '2020-01-01T00:00:00Z' AND status = 'disabled'".into(),
        format!("connectionStateUpdatedTime = '{never}'"),
        format!("lastActivityTime = '{never}'"),
        "cloudToDeviceMessageCount = 0".into(),
        "authenticationType = 'sas'".into(),
        "is_null(x509Thumbprint.primaryThumbprint) OR NOT is_defined(x509Thumbprint.primaryThumbprint)".into(),
        "version = 2".into(),
        format!("etag = '{}'", twin["etag"].as_str().unwrap()),
        format!("deviceEtag = '{}'", identity["etag"].as_str().unwrap()),
        "capabilities.iotEdge = true".into(),
        format!("deviceScope = '{scope}'"),
        "modelId = ''".into(),
        "NOT is_defined(statusReason)".into(),
        "connectionState = 'Disconnected'".into(),
    ] {
        assert_eq!(count(condition.clone()).await, 1, "{condition}");
    }
    let text = "SELECT deviceId, statusUpdatedTime, connectionStateUpdatedTime FROM devices";
    let rows = ok(call(&api, "POST", "/devices/query", json!({ "query": text })).await);
    assert_eq!(rows, json!([{"deviceId": "d", "statusUpdatedTime": at, "connectionStateUpdatedTime": never}]));
}
