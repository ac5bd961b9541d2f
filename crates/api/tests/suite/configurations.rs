//! Automatic device management over the REST API.

use gantry_api::Api;
use gantry_identity::Timestamp;
use serde_json::{Value, json};

use crate::authorization::api;
use crate::service::{call, call_with, ok};

const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

async fn device(api: &Api, id: &str, tags: Value) {
    ok(call(api, "PUT", &format!("/devices/{id}"), json!({})).await);
    ok(call(api, "PATCH", &format!("/twins/{id}"), json!({ "tags": tags })).await);
}

async fn configure(api: &Api, id: &str, priority: i32, target: &str, settings: Value) {
    let body = json!({ "id": id, "priority": priority, "targetCondition": target,
                       "content": {"deviceContent": settings} });
    assert_eq!(call(api, "PUT", &format!("/configurations/{id}"), body).await.status, 201);
}

async fn settle(api: &Api) {
    api.hub.manage(NOW).await.unwrap();
}

async fn twin(api: &Api, path: &str) -> Value {
    ok(call(api, "GET", &format!("/twins/{path}"), Value::Null).await)
}

async fn desired(api: &Api, id: &str) -> Value {
    let mut desired = twin(api, id).await["properties"]["desired"].take();
    desired.as_object_mut().unwrap().retain(|key, _| !key.starts_with('$'));
    desired
}

async fn count(api: &Api, query: &str) -> usize {
    ok(call(api, "POST", "/devices/query", json!({ "query": query })).await).as_array().unwrap().len()
}

#[tokio::test]
async fn a_configuration_reaches_its_targets_and_leaves_them_again() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    device(&api, "n1", json!({"site": "north"})).await;
    device(&api, "s1", json!({"site": "south"})).await;
    configure(&api, "cold", 1, "tags.site = 'north'", json!({"properties.desired.mode": {"heat": 9}})).await;
    settle(&api).await;
    assert_eq!(desired(&api, "n1").await, json!({"mode": {"heat": 9}}));
    assert_eq!(desired(&api, "s1").await, json!({}));
    assert_eq!(twin(&api, "n1").await["configurations"], json!({"cold": {"status": "Applied"}}));

    let shown = ok(call(&api, "GET", "/configurations/cold", Value::Null).await);
    assert_eq!(shown["systemMetrics"]["results"], json!({"targetedCount": 1, "appliedCount": 1}));
    for query in shown["systemMetrics"]["queries"].as_object().unwrap().values() {
        assert_eq!(count(&api, query.as_str().unwrap()).await, 1, "{query}");
    }

    // A change of a twin is enough.
    ok(call(&api, "PATCH", "/twins/s1", json!({"tags": {"site": "north"}})).await);
    ok(call(&api, "PATCH", "/twins/n1", json!({"tags": {"site": null}})).await);
    settle(&api).await;
    assert_eq!(desired(&api, "s1").await, json!({"mode": {"heat": 9}}));
    assert_eq!(desired(&api, "n1").await, json!({}));
    assert_eq!(twin(&api, "n1").await.get("configurations"), None);
    // So is a new device.
    ok(call(&api, "POST", "/devices", json!([{"id": "n2", "importMode": "create", "tags": {"site": "north"}}])).await);
    settle(&api).await;
    assert_eq!(desired(&api, "n2").await, json!({"mode": {"heat": 9}}));

    assert_eq!(
        call_with(&api, "DELETE", "/configurations/cold", &Value::Null, &[("if-match", "\"*\"")]).await.status,
        204
    );
    settle(&api).await;
    assert_eq!((desired(&api, "s1").await, desired(&api, "n2").await), (json!({}), json!({})));
    assert_eq!(count(&api, "SELECT deviceId FROM devices WHERE configurations.[[cold]].status = 'Applied'").await, 0);
}

#[tokio::test]
async fn priorities_decide_and_removal_restores_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    device(&api, "d", json!({"site": "north"})).await;
    ok(call(&api, "PATCH", "/twins/d", json!({"properties": {"desired": {"own": 1, "rate": 0}}})).await);
    configure(&api, "low", 1, "*", json!({"properties.desired.rate": 1, "properties.desired.low": true})).await;
    configure(&api, "high", 10, "tags.site = 'north'", json!({"properties.desired.rate": 10})).await;
    settle(&api).await;
    assert_eq!(desired(&api, "d").await, json!({"own": 1, "rate": 10, "low": true}));
    let etag = ok(call(&api, "GET", "/configurations/high", Value::Null).await)["etag"].as_str().unwrap().to_owned();
    let weaker = json!({ "id": "high", "priority": 0, "targetCondition": "tags.site = 'north'" });
    ok(call_with(&api, "PUT", "/configurations/high", &weaker, &[("if-match", &etag)]).await);
    settle(&api).await;
    assert_eq!(desired(&api, "d").await["rate"], 1);
    assert_eq!(twin(&api, "d").await["configurations"]["high"]["status"], "Targeted");
    ok(call(&api, "DELETE", "/configurations/low", Value::Null).await);
    settle(&api).await;
    assert_eq!(desired(&api, "d").await, json!({"own": 1, "rate": 10}));
}

#[tokio::test]
async fn what_a_writer_overwrites_is_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    device(&api, "d", json!({})).await;
    configure(&api, "c", 1, "*", json!({"properties.desired.rate": 5})).await;
    settle(&api).await;
    ok(call(&api, "PATCH", "/twins/d", json!({"properties": {"desired": {"rate": 6, "own": 1}}})).await);
    settle(&api).await;
    assert_eq!(desired(&api, "d").await, json!({"rate": 5, "own": 1}));
    let before = twin(&api, "d").await["properties"]["desired"]["$version"].clone();
    api.hub.want_management();
    settle(&api).await;
    assert_eq!(twin(&api, "d").await["properties"]["desired"]["$version"], before, "nothing to do is nothing done");
}

#[tokio::test]
async fn configurations_and_what_they_did_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    {
        let api = api(&folder);
        device(&api, "d", json!({})).await;
        configure(&api, "c", 1, "*", json!({"properties.desired.rate": 5})).await;
        // Stopped before anything was brought in line.
    }
    let api = api(&folder);
    settle(&api).await;
    assert_eq!(desired(&api, "d").await, json!({"rate": 5}));
    ok(call(&api, "DELETE", "/configurations/c", Value::Null).await);
    // Stopped again, before the deletion took effect.
    drop(api);
    let api = crate::authorization::api(&folder);
    settle(&api).await;
    assert_eq!(desired(&api, "d").await, json!({}));
}

#[tokio::test]
async fn modules_are_managed_by_their_own_content() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    device(&api, "d", json!({})).await;
    ok(call(&api, "PUT", "/devices/d/modules/m", json!({})).await);
    let body = json!({ "id": "mods", "targetCondition": "FROM devices.modules WHERE moduleId = 'm'",
                       "content": {"moduleContent": {"properties.desired.rate": 3}} });
    ok(call(&api, "PUT", "/configurations/mods", body).await);
    settle(&api).await;
    assert_eq!(twin(&api, "d/modules/m").await["properties"]["desired"]["rate"], 3);
    assert_eq!(desired(&api, "d").await, json!({}));
    let shown = ok(call(&api, "GET", "/configurations/mods", Value::Null).await);
    assert_eq!(shown["systemMetrics"]["results"], json!({"targetedCount": 1, "appliedCount": 1}));
    for query in shown["systemMetrics"]["queries"].as_object().unwrap().values() {
        assert_eq!(count(&api, query.as_str().unwrap()).await, 1, "{query}");
    }
}

#[tokio::test]
async fn an_edge_deployment_makes_modules_and_layers_stack_on_it() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    ok(call(&api, "PUT", "/devices/gw", json!({ "capabilities": {"iotEdge": true} })).await);
    device(&api, "plain", json!({})).await;
    let base = json!({ "id": "base", "priority": 1, "targetCondition": "*", "content": {"modulesContent": {
        "$edgeAgent": {"properties.desired": {"schemaVersion": "1.1", "modules": {"filter": {"version": "1"}}}},
        "$edgeHub": {"properties.desired": {"routes": {"up": "FROM /* INTO $upstream"}}},
        "filter": {"properties.desired": {"rate": 1}} }} });
    let layer = json!({ "id": "layer", "priority": 2, "targetCondition": "*", "content": {"modulesContent": {
        "$edgeAgent": {"properties.desired.modules.extra": {"version": "2"}},
        "filter": {"properties.desired.rate": 2} }} });
    ok(call(&api, "PUT", "/configurations/base", base).await);
    ok(call(&api, "PUT", "/configurations/layer", layer).await);
    settle(&api).await;
    let agent = twin(&api, "gw/modules/$edgeAgent").await;
    let modules = json!({"filter": {"version": "1"}, "extra": {"version": "2"}});
    assert_eq!(agent["properties"]["desired"]["modules"], modules);
    assert_eq!(agent["configurations"], json!({"base": {"status": "Applied"}, "layer": {"status": "Applied"}}));
    assert_eq!(twin(&api, "gw/modules/filter").await["properties"]["desired"]["rate"], 2);
    let made = ok(call(&api, "GET", "/devices/gw/modules/extra", Value::Null).await);
    assert_eq!(made["managedBy"], "IotEdge");
    let shown = ok(call(&api, "GET", "/configurations/base", Value::Null).await);
    let results =
        json!({"targetedCount": 1, "appliedCount": 1, "reportedSuccessfulCount": 0, "reportedFailedCount": 0});
    assert_eq!(shown["systemMetrics"]["results"], results);
    assert_eq!(twin(&api, "plain").await.get("configurations"), None, "not an edge device");

    // Another deployment replaces it, with the modules.
    let stronger = json!({ "id": "stronger", "priority": 9, "targetCondition": "*", "content": {"modulesContent": {
        "$edgeAgent": {"properties.desired": {"schemaVersion": "1.1", "modules": {}}} }} });
    ok(call(&api, "PUT", "/configurations/stronger", stronger).await);
    settle(&api).await;
    assert_eq!(call(&api, "GET", "/devices/gw/modules/extra", Value::Null).await.error(), (404, "ModuleNotFound"));
    let status = &twin(&api, "gw").await["configurations"];
    assert_eq!((&status["stronger"]["status"], &status["base"]["status"]), (&json!("Applied"), &json!("Targeted")));
    // Without any deployment what is there stays.
    for id in ["stronger", "base", "layer"] {
        ok(call(&api, "DELETE", &format!("/configurations/{id}"), Value::Null).await);
    }
    settle(&api).await;
    let agent = twin(&api, "gw/modules/$edgeAgent").await;
    assert_eq!((&agent["properties"]["desired"]["schemaVersion"], agent.get("configurations")), (&json!("1.1"), None));
}

#[tokio::test]
async fn content_is_put_on_one_device_once() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    ok(call(&api, "PUT", "/devices/gw", json!({ "capabilities": {"iotEdge": true} })).await);
    let content = json!({ "modulesContent": {"$edgeAgent": {"properties.desired": {"modules": {"m": {}}}},
                                             "m": {"properties.desired": {"rate": 1}}} });
    let path = "/devices/gw/applyConfigurationContent";
    assert_eq!(call(&api, "POST", path, content.clone()).await.status, 204);
    assert_eq!(twin(&api, "gw/modules/m").await["properties"]["desired"]["rate"], 1);
    let device_content = json!({ "deviceContent": {"properties.desired.a.b": 1} });
    assert_eq!(call(&api, "POST", path, device_content).await.status, 204);
    assert_eq!(desired(&api, "gw").await, json!({"a": {"b": 1}}));
    device(&api, "plain", json!({})).await;
    let answer = call(&api, "POST", "/devices/plain/applyConfigurationContent", content).await;
    assert_eq!(answer.error(), (400, "InvalidConfigurationContent"));
    let answer = call(&api, "POST", "/devices/none/applyConfigurationContent", json!({})).await;
    assert_eq!(answer.error(), (400, "InvalidConfigurationContent"));
}

#[tokio::test]
async fn what_cannot_be_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let content = json!({ "deviceContent": {"properties.desired.a": 1} });
    let put = |id: &'static str, body: Value| {
        let api = &api;
        async move { call(api, "PUT", &format!("/configurations/{id}"), body).await }
    };
    assert_eq!(put("BAD", json!({"content": content})).await.error(), (400, "ArgumentInvalid"));
    assert_eq!(put("c", json!({"content": {}})).await.error(), (400, "InvalidConfigurationContent"));
    let bad = json!({"content": content, "targetCondition": "tags.x ="});
    assert_eq!(put("c", bad).await.error(), (400, "InvalidConfigurationTargetCondition"));
    let bad = json!({"content": content, "metrics": {"queries": {"m": "SELECT"}}});
    assert_eq!(put("c", bad).await.error(), (400, "InvalidConfigurationCustomMetricsQuery"));
    let bad = json!({"content": content, "schemaVersion": "9"});
    assert_eq!(put("c", bad).await.error(), (400, "InvalidSchemaVersion"));
    let good = json!({"content": content, "metrics": {"queries": {"all": "SELECT deviceId FROM devices"}}});
    assert_eq!(put("c", good.clone()).await.status, 201);
    assert_eq!(put("c", good).await.error(), (409, "ConfigurationAlreadyExists"));
    let changed = json!({"content": {"deviceContent": {"properties.desired.a": 2}}});
    let answer = call_with(&api, "PUT", "/configurations/c", &changed, &[("if-match", "*")]).await;
    assert_eq!(answer.error(), (400, "CannotModifyImmutableConfigurationContent"));
    let answer = call_with(&api, "PUT", "/configurations/c", &json!({}), &[("if-match", "stale")]).await;
    assert_eq!(answer.error(), (412, "PreconditionFailed"));
    assert_eq!(call(&api, "GET", "/configurations/none", Value::Null).await.error(), (404, "ConfigurationNotFound"));
    let tested = call(
        &api,
        "POST",
        "/configurations/testQueries",
        json!({
        "targetCondition": "tags.x =", "customMetricQueries": {"good": "SELECT * FROM devices", "bad": "SELECT"} }),
    );
    let tested = ok(tested.await);
    assert!(tested["targetConditionError"].is_string(), "{tested}");
    assert_eq!(tested["customMetricQueryErrors"].as_object().unwrap().keys().collect::<Vec<_>>(), ["bad"]);
    for number in 0..99 {
        ok(call(&api, "PUT", &format!("/configurations/n{number}"), json!({"content": content})).await);
    }
    assert_eq!(put("one-more", json!({"content": content})).await.error(), (413, "ConfigurationCountLimitExceeded"));
    assert_eq!(ok(call(&api, "GET", "/configurations/?top=7", Value::Null).await).as_array().unwrap().len(), 7);
}
