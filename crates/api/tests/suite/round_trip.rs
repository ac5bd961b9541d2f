//! Nothing that is accepted vanishes: whatever a service writes is refused, or a read gives it back.
//!
//! Bodies are made of fields that are known, unknown, misplaced or wrong. What a body may carry
//! because clients send back what they were shown is in [`SHOWN`].

use std::cell::Cell;
use std::future::Future;

use gantry_api::Api;
use gantry_identity::Key;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};

use crate::authorization::{api, token};
use crate::provisioning::send_as;
use crate::service::{Answer, KEY, call, call_with, ok};

/// Fields the reference accepts and ignores.
const SHOWN: &[&str] = &[
    "etag",
    "generationId",
    "connectionState",
    "connectionStateUpdatedTime",
    "lastActivityTime",
    "cloudToDeviceMessageCount",
    "statusUpdatedTime",
    "version",
    "createdTimeUtc",
    "lastUpdatedTimeUtc",
    "systemMetrics",
    "results",
    "registrationState",
    "createdDateTimeUtc",
];

/// Words that are the same in any case.
const WORDS: &[&str] = &["status", "type", "provisioningStatus", "allocationPolicy"];

/// Runs a property over one API; every case has a number of its own.
fn for_all<S: Strategy, F: Future<Output = ()>>(strategy: S, property: impl Fn(Api, u32, S::Value) -> F) {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let api = runtime.block_on(async { api(&folder) });
    let number = Cell::new(0);
    let mut runner = TestRunner::new(Config { cases: 96, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&strategy, |value| {
        number.set(number.get() + 1);
        runtime.block_on(property(api.clone(), number.get(), value));
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// An object of some of these fields, each with one of its values.
fn body(fields: Vec<(&'static str, Vec<Value>)>) -> impl Strategy<Value = Value> {
    let fields: Vec<_> = fields
        .into_iter()
        .map(|(name, values)| {
            proptest::option::weighted(0.25, proptest::sample::select(values)).prop_map(move |value| (name, value))
        })
        .collect();
    fields.prop_map(|fields| {
        let there = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Value::Object(there.collect())
    })
}

/// What was written and is not read; nothing, empty or only shown is not written.
fn lost(written: &Value, read: &Value, at: &str) -> Vec<String> {
    let Value::Object(fields) = written else {
        let name = at.rsplit('.').next().unwrap_or_default();
        let same_word = WORDS.contains(&name)
            && matches!((written, read), (Value::String(a), Value::String(b)) if a.eq_ignore_ascii_case(b));
        let is_nothing = matches!(written, Value::Null) || *written == json!("") || *written == json!([]);
        return if written == read || same_word || is_nothing {
            vec![]
        } else {
            vec![format!("{at}: {written} is {read}")]
        };
    };
    let one =
        |(name, value): (&String, &Value)| lost(value, read.get(name).unwrap_or(&Value::Null), &format!("{at}.{name}"));
    fields.iter().filter(|(name, _)| !SHOWN.contains(&name.as_str())).flat_map(one).collect()
}

#[track_caller]
fn check(written: &Value, read: &Value) {
    assert_eq!(lost(written, read, ""), Vec::<String>::new(), "written {written}, read {read}");
}

/// Whether a write was done; what was not must have been refused for what it says.
#[track_caller]
fn done(answer: &Answer, written: &Value) -> bool {
    assert!(answer.status.is_success() || answer.status.as_u16() == 400, "{written}: {answer:?}");
    answer.status.is_success()
}

async fn get(api: &Api, path: &str) -> Value {
    ok(call(api, "GET", path, Value::Null).await)
}

/// A module takes what devices alone have where it says what is so anyway, and does not show it.
fn as_device(read: &mut Value) {
    if read.get("moduleId").is_some() {
        read["status"] = "enabled".into();
        read["capabilities"] = json!({ "iotEdge": false });
    }
}

fn identity_fields() -> Vec<(&'static str, Vec<Value>)> {
    let keys = json!({ "primaryKey": KEY, "secondaryKey": KEY });
    let thumbprint = json!({ "primaryThumbprint": "a".repeat(40), "secondaryThumbprint": "b".repeat(64) });
    vec![
        ("status", vec![json!("enabled"), json!("Disabled"), json!("off"), json!(5), json!(null)]),
        ("statusReason", vec![json!("stock"), json!(""), json!("x".repeat(129)), json!(7)]),
        (
            "capabilities",
            vec![
                json!({"iotEdge": true}),
                json!({"iotEdge": false}),
                json!({}),
                json!({"other": true}),
                json!({"iotEdge": "yes"}),
            ],
        ),
        ("deviceScope", vec![json!(""), json!("elsewhere")]),
        ("parentScopes", vec![json!([]), json!(["elsewhere"]), json!("x")]),
        ("managedBy", vec![json!("me"), json!(null), json!("")]),
        (
            "authentication",
            vec![
                json!({}),
                json!({ "type": "sas", "symmetricKey": {"primaryKey": "", "secondaryKey": ""} }),
                json!({ "symmetricKey": keys }),
                json!({ "type": "SAS", "symmetricKey": keys, "x509Thumbprint": {"primaryThumbprint": null} }),
                json!({ "type": "selfSigned", "x509Thumbprint": thumbprint }),
                json!({ "x509Thumbprint": thumbprint }),
                json!({ "x509Thumbprint": thumbprint, "symmetricKey": keys }),
                json!({ "type": "selfSigned", "symmetricKey": keys }),
                json!({ "type": "certificateAuthority" }),
                json!({ "type": "certificateAuthority", "x509Thumbprint": thumbprint }),
                json!({ "type": "none" }),
                json!({ "type": "sas", "secret": 1 }),
                json!({ "type": "tpm" }),
                json!({ "symmetricKey": {"primaryKey": KEY} }),
            ],
        ),
        ("etag", vec![json!("x"), json!("")]),
        ("generationId", vec![json!("1")]),
        ("connectionState", vec![json!("Connected")]),
        ("lastActivityTime", vec![json!("2020-01-01T00:00:00Z")]),
        ("cloudToDeviceMessageCount", vec![json!(9), json!("9")]),
        ("colour", vec![json!("red"), json!(null)]),
    ]
}

#[test]
fn identities_are_read_as_they_were_written() {
    let own = || vec![("deviceId", vec![json!("other"), json!("")]), ("moduleId", vec![json!("m"), json!("other")])];
    let fields = || identity_fields().into_iter().chain(own()).chain([("tags", vec![json!({"a": 1})])]).collect();
    for_all((body(fields()), body(fields()), any::<bool>()), |api, number, (first, second, is_module)| async move {
        let mut path = format!("/devices/d{number}");
        if is_module {
            ok(call(&api, "PUT", &path, json!({})).await);
            path.push_str("/modules/m");
        }
        for (written, etag) in [(first, None), (second, Some(("if-match", "*")))] {
            let answer = call_with(&api, "PUT", &path, &written, etag.as_slice()).await;
            if !done(&answer, &written) {
                ok(call_with(&api, "PUT", &path, &json!({}), etag.as_slice()).await);
                continue;
            }
            for mut read in [answer.body, get(&api, &path).await] {
                as_device(&mut read);
                check(&written, &read);
            }
        }
    });
}

/// Values of twins, good and bad.
fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        4 => any::<i32>().prop_map(Value::from),
        2 => "[a-z ]{0,4}".prop_map(Value::from),
        2 => any::<bool>().prop_map(Value::from),
        2 => Just(Value::Null),
        1 => Just(json!(1.5)),
        1 => Just(json!("x".repeat(4097))),
        1 => Just(json!(1_u64 << 60)),
    ];
    let key = proptest::sample::select(vec![
        "a", "b", "c", "a", "b", "c", "ok-key", "a b", "a#", "a.b", "$version", "$x", "",
    ]);
    leaf.prop_recursive(3, 16, 3, move |inner| {
        let object = proptest::collection::btree_map(key.clone(), inner.clone(), 0..3);
        let object = object.prop_map(|all| all.into_iter().map(|(key, value)| (key.to_owned(), value)).collect());
        prop_oneof![3 => object.prop_map(Value::Object), 1 => proptest::collection::vec(inner, 0..3).prop_map(Value::Array)]
    })
}

fn section() -> impl Strategy<Value = Option<Value>> {
    let object = proptest::collection::btree_map("[abc]", tree(), 0..3);
    let object = object.prop_map(|all| Value::Object(all.into_iter().collect()));
    proptest::option::weighted(0.7, prop_oneof![8 => object, 1 => Just(Value::Null), 1 => tree()])
}

fn twin_body() -> impl Strategy<Value = Value> {
    let more = body(vec![
        ("etag", vec![json!("x")]),
        ("version", vec![json!(1)]),
        ("moduleId", vec![json!("other")]),
        ("colour", vec![json!(1)]),
        ("desired", vec![json!({"a": 1})]),
    ]);
    (section(), section(), more).prop_map(|(tags, desired, mut body)| {
        tags.into_iter().for_each(|tags| body["tags"] = tags);
        desired.into_iter().for_each(|desired| body["properties"] = json!({ "desired": desired }));
        body
    })
}

/// JSON merge patch (RFC 7396); null for the whole clears.
fn merge(old: &Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut new = old.as_object().cloned().unwrap_or_default();
    for (key, value) in patch.iter().filter(|(key, _)| *key != "$version") {
        match value {
            Value::Null => drop(new.remove(key)),
            value => drop(new.insert(key.clone(), merge(old.get(key).unwrap_or(&Value::Null), value))),
        }
    }
    Value::Object(new)
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(all) => all.values().any(has_null),
        _ => false,
    }
}

/// Both sections, without what the hub adds.
fn sections(twin: &Value) -> [Value; 2] {
    let mut desired = twin["properties"]["desired"].clone();
    desired.as_object_mut().unwrap().retain(|key, _| !key.starts_with('$'));
    [twin["tags"].clone(), desired]
}

fn written_sections(body: &Value) -> [Option<Value>; 2] {
    [body.get("tags").cloned(), body.pointer("/properties/desired").cloned()]
}

fn expected(before: &[Value; 2], body: &Value, replaces: bool) -> [Value; 2] {
    let mut after = before.clone();
    for (section, written) in after.iter_mut().zip(written_sections(body)) {
        let Some(written) = written else { continue };
        let old = if replaces || written.is_null() { json!({}) } else { section.clone() };
        *section = if written.is_null() { json!({}) } else { merge(&old, &written) };
    }
    after
}

#[test]
fn twins_are_read_as_they_were_written() {
    let writes = proptest::collection::vec((twin_body(), 0..4_u8), 1..5);
    for_all((writes, any::<bool>()), |api, number, (writes, is_module)| async move {
        let (device, mut path) = (format!("/devices/d{number}"), format!("/twins/d{number}"));
        ok(call(&api, "PUT", &device, json!({})).await);
        let mut entry = json!({ "id": format!("d{number}"), "importMode": "updateTwin" });
        if is_module {
            ok(call(&api, "PUT", &format!("{device}/modules/m"), json!({})).await);
            path.push_str("/modules/m");
            entry["moduleId"] = "m".into();
        }
        let mut before = sections(&get(&api, &path).await);
        for (body, how) in writes {
            let answer = match how {
                0 | 1 => call(&api, if how == 0 { "PATCH" } else { "PUT" }, &path, body.clone()).await,
                _ => {
                    let mut entry = entry.as_object().unwrap().clone();
                    let mode = if how == 2 { "updateTwin" } else { "update" };
                    entry.insert("importMode".into(), mode.into());
                    entry.extend(body.as_object().unwrap().clone().into_iter().filter(|(key, _)| key != "moduleId"));
                    call(&api, "POST", "/devices", json!([entry])).await
                }
            };
            let after = sections(&get(&api, &path).await);
            if done(&answer, &body) {
                assert_eq!(after, expected(&before, &body, how == 1), "{how} {body}");
                assert!(how != 1 || !written_sections(&body).iter().flatten().any(has_null), "{body}");
            } else {
                assert_eq!(after, before, "a refused write changed something: {body}");
            }
            before = after;
        }
    });
}

#[test]
fn bulk_entries_are_read_as_they_were_written() {
    let modes = ["create", "update", "createOrUpdate", "CreateOrUpdateIfMatchETag", "updateIfMatchETag"];
    let fields = || {
        let more = [
            ("tags", vec![json!({"a": {"b": 1}}), json!({"a": [null]}), json!(null), json!(5)]),
            (
                "properties",
                vec![
                    json!({"desired": {"a": 1}}),
                    json!({"desired": {"a#": 1}}),
                    json!({"reported": {"a": 1}}),
                    json!({"wanted": {}}),
                ],
            ),
            ("deviceId", vec![json!("other")]),
        ];
        identity_fields().into_iter().filter(|(name, _)| *name != "etag").chain(more).collect()
    };
    let mode = proptest::sample::select(modes.to_vec());
    for_all(
        (body(fields()), mode, any::<bool>(), any::<bool>()),
        |api, number, (written, mode, is_module, is_there)| async move {
            let id = format!("d{number}");
            let (mut path, mut twin) = (format!("/devices/{id}"), format!("/twins/{id}"));
            let mut entry = json!({ "id": id, "importMode": mode });
            if is_module {
                ok(call(&api, "PUT", &path, json!({})).await);
                (path, twin) = (format!("{path}/modules/m"), format!("{twin}/modules/m"));
                entry["moduleId"] = "m".into();
            }
            if is_there {
                ok(call(&api, "PUT", &path, json!({})).await);
            }
            entry.as_object_mut().unwrap().extend(written.as_object().unwrap().clone());
            let answer = call(&api, "POST", "/devices", json!([entry])).await;
            if !done(&answer, &entry) {
                return;
            }
            let read_twin = get(&api, &twin).await;
            let mut read = get(&api, &path).await;
            as_device(&mut read);
            read["tags"] = read_twin["tags"].clone();
            let [_, desired] = sections(&read_twin);
            read["properties"] = json!({ "desired": desired });
            let mut written = written;
            if let Some(properties) = written.get_mut("properties").and_then(Value::as_object_mut) {
                properties.remove("reported");
            }
            check(&written, &read);
        },
    );
}

#[test]
fn configurations_are_read_as_they_were_written() {
    let content = |settings: Value| json!({ "deviceContent": settings });
    let fields = || {
        vec![
            ("id", vec![json!("other")]),
            ("schemaVersion", vec![json!("1.0"), json!("2.0"), json!("9")]),
            ("labels", vec![json!({"a": "b"}), json!(5)]),
            ("targetCondition", vec![json!("tags.a = 1"), json!("tags.a ="), json!("*")]),
            ("priority", vec![json!(5), json!("x")]),
            (
                "metrics",
                vec![
                    json!({"queries": {"m": "SELECT deviceId FROM devices"}, "results": {"m": 1}}),
                    json!({"queries": {"m": 5}}),
                    json!({"counts": {}}),
                ],
            ),
            ("systemMetrics", vec![json!({"results": {}})]),
            ("createdTimeUtc", vec![json!("2020-01-01T00:00:00Z")]),
            ("importMode", vec![json!("createOrUpdate")]),
            ("colour", vec![json!(1)]),
            ("etag", vec![json!("*")]),
        ]
    };
    let contents = vec![
        content(json!({"properties.desired.a": {"b": 1}, "properties.desired.c": null})),
        content(json!({"properties.desired.a": [null]})),
        content(json!({"properties.desired.a#": 1})),
        json!({ "deviceContent": {"properties.desired.a": 1}, "otherContent": {} }),
        json!({ "modulesContent": {"$edgeAgent": {"properties.desired": {"modules": {}}}} }),
        json!({}),
    ];
    for_all((body(fields()), proptest::sample::select(contents)), |api, number, (mut written, content)| async move {
        written["content"] = content;
        let path = format!("/configurations/c{number}");
        let answer = call(&api, "PUT", &path, written.clone()).await;
        if done(&answer, &written) {
            check(&written, &get(&api, &path).await);
            ok(call_with(&api, "DELETE", &path, &Value::Null, &[("if-match", "*")]).await);
        }
    });
}

#[test]
fn jobs_are_read_as_they_were_written() {
    let method =
        json!({ "methodName": "m", "payload": {"a": 1}, "responseTimeoutInSeconds": 20, "connectTimeoutInSeconds": 0 });
    let fields = vec![
        ("jobId", vec![json!("other")]),
        (
            "type",
            vec![
                json!("scheduleUpdateTwin"),
                json!("scheduleDeviceMethod"),
                json!("ScheduleUpdateTwin"),
                json!("other"),
            ],
        ),
        ("queryCondition", vec![json!("deviceId = 'x'"), json!("*"), json!("a =")]),
        ("maxExecutionTimeInSeconds", vec![json!(60), json!("x")]),
        ("colour", vec![json!(1)]),
        (
            "updateTwin",
            vec![
                json!({ "tags": {"a": 1}, "etag": "*" }),
                json!({ "tags": null, "properties": {"desired": {"a": null}} }),
                json!({ "tags": {"a": 1}, "etag": "AAAAAAAAAAE=" }),
                json!({ "tags": {"a": [null]} }),
                json!({ "properties": {"desired": {"a#": 1}} }),
                json!({ "colour": 1 }),
            ],
        ),
        ("cloudToDeviceMethod", vec![method, json!({ "methodName": "m", "colour": 1 }), json!(null)]),
    ];
    // Most bodies have what every job needs.
    let needed = body(vec![("queryCondition", vec![json!("*")])]);
    for_all((body(fields), needed), |api, number, (mut written, needed)| async move {
        if written.get("queryCondition").is_none() && needed == json!({}) {
            written["queryCondition"] = "*".into();
        }
        if written.get("type").is_none() {
            let is_method = written.get("cloudToDeviceMethod").is_some();
            written["type"] = if is_method { "scheduleDeviceMethod" } else { "scheduleUpdateTwin" }.into();
        }
        written["startTime"] = "2099-01-01T00:00:00.0000000Z".into();
        let path = format!("/jobs/v2/j{number}");
        let answer = call(&api, "PUT", &path, written.clone()).await;
        if !done(&answer, &written) {
            return;
        }
        let read = get(&api, &path).await;
        assert_eq!(read.get("updateTwin"), written.get("updateTwin"), "as it was sent");
        check(&written, &read);
        ok(call(&api, "POST", &format!("{path}/cancel"), Value::Null).await);
    });
}

#[test]
fn enrollments_are_read_as_they_were_written() {
    let keys = json!({ "primaryKey": KEY, "secondaryKey": KEY });
    let fields = vec![
        ("registrationId", vec![json!("other")]),
        ("enrollmentGroupId", vec![json!("other")]),
        ("deviceId", vec![json!("motor"), json!("a b")]),
        (
            "attestation",
            vec![
                json!({ "type": "symmetricKey", "symmetricKey": keys }),
                json!({ "type": "symmetricKey" }),
                json!({ "type": "x509", "symmetricKey": keys }),
                json!({ "type": "symmetricKey", "x509": {} }),
                json!({ "type": "symmetricKey", "colour": 1 }),
            ],
        ),
        ("capabilities", vec![json!({"iotEdge": true}), json!({"iotEdge": "yes"}), json!({"other": 1})]),
        ("iotHubHostName", vec![json!("localhost")]),
        ("iotHubs", vec![json!(["localhost"])]),
        (
            "initialTwin",
            vec![
                json!({ "tags": {"a": {"b": 1}}, "properties": {"desired": {"c": [1]}} }),
                json!({ "tags": null, "properties": {"desired": {}} }),
                json!({ "tags": {"a": null} }),
                json!({ "tags": {"$a": 1} }),
                json!({ "properties": {"desired": {"a": [null]}} }),
                json!({ "properties": {"reported": {"a": 1}} }),
                json!({ "desired": {"a": 1} }),
            ],
        ),
        ("provisioningStatus", vec![json!("Disabled"), json!("off")]),
        (
            "reprovisionPolicy",
            vec![json!({"updateHubAssignment": false, "migrateDeviceData": true}), json!({"other": 1})],
        ),
        ("allocationPolicy", vec![json!("static"), json!("nearest")]),
        (
            "customAllocationDefinition",
            vec![json!({"webhookUrl": "https://x.example/a", "apiVersion": "1"}), json!({"apiVersion": "1"})],
        ),
        ("optionalDeviceInformation", vec![json!({"colour": "red"}), json!(5)]),
        ("registrationState", vec![json!({"status": "assigned"})]),
        ("createdDateTimeUtc", vec![json!("2020-01-01T00:00:00Z")]),
        ("trustBundleId", vec![json!("x")]),
        ("colour", vec![json!(1)]),
    ];
    for_all((body(fields), any::<bool>(), any::<bool>()), |api, number, (mut written, is_group, is_bulk)| async move {
        let token = token("provisioningserviceowner", Key::from_bytes([1; 32]));
        let send = |method: &'static str, path: String, body: Value| {
            let (api, token) = (&api, &token);
            async move { send_as(api, method, &path, token, Some("*"), &body).await }
        };
        let (kind, name, list) = match is_group {
            true => ("enrollmentGroups", "enrollmentGroupId", "enrollmentGroups"),
            false => ("enrollments", "registrationId", "enrollments"),
        };
        if written.get("attestation").is_none() {
            written["attestation"] =
                json!({ "type": "symmetricKey", "symmetricKey": {"primaryKey": KEY, "secondaryKey": KEY} });
        }
        let path = format!("/{kind}/e{number}");
        let answer = if is_bulk {
            written[name] = format!("e{number}").into();
            let body = Map::from_iter([("mode".to_owned(), json!("create")), (list.to_owned(), json!([written]))]);
            send("POST", format!("/{kind}"), Value::Object(body)).await
        } else {
            send("PUT", path.clone(), written.clone()).await
        };
        if !done(&answer, &written) || answer.body["isSuccessful"] == false {
            return;
        }
        let mut read = ok(send("GET", path.clone(), Value::Null).await);
        read["attestation"] = ok(send("POST", format!("{path}/attestationmechanism"), Value::Null).await);
        check(&written, &read);
    });
}
