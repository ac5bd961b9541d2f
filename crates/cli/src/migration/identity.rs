//! Identities of a hub as files and bulk calls have them: a document with the identity, its twin and what it reported.

use serde_json::{Map, Value, json};

use super::kind::{Kind, take};
use super::plan::Inventory;

/// What a scope begins with.
const SCOPE: &str = "ms-azure-iot-edge://";

/// An identity with its twin, as an entry of a bulk call, and what the device reported.
pub(super) fn document(identity: &Value, twin: &Value) -> Value {
    let mut all = Map::new();
    all.insert("id".to_owned(), identity["deviceId"].clone());
    let names = ["moduleId", "managedBy", "status", "statusReason", "capabilities", "deviceScope", "parentScopes"];
    for name in names {
        let value = &identity[name];
        let is_empty = value == "" || value.as_array().is_some_and(Vec::is_empty);
        if !value.is_null() && !is_empty {
            all.insert(name.to_owned(), value.clone());
        }
    }
    if !is_system(identity["moduleId"].as_str().unwrap_or_default()) {
        all.insert("authentication".to_owned(), authentication(&identity["authentication"]));
    }
    let section = |value: &Value| {
        let mut section = if value.is_object() { value.clone() } else { json!({}) };
        take(&mut section, &["$metadata", "$version"]);
        section
    };
    all.insert("tags".to_owned(), section(&twin["tags"]));
    let (desired, reported) = (&twin["properties"]["desired"], section(&twin["properties"]["reported"]));
    let mut properties = json!({ "desired": section(desired) });
    if reported != json!({}) {
        properties["reported"] = reported;
    }
    all.insert("properties".to_owned(), properties);
    Value::Object(all)
}

/// The members that the type has.
fn authentication(shown: &Value) -> Value {
    let mut all = json!({ "type": shown["type"] });
    for name in ["symmetricKey", "x509Thumbprint"] {
        let mut value = shown[name].clone();
        if let Value::Object(members) = &mut value {
            members.retain(|_, value| !value.is_null());
            if !members.is_empty() {
                all[name] = value;
            }
        }
    }
    all
}

pub(super) fn configuration(shown: &Value) -> Value {
    let mut all = Map::new();
    for name in ["id", "schemaVersion", "labels", "targetCondition", "priority"] {
        all.insert(name.to_owned(), shown[name].clone());
    }
    let mut content = shown["content"].clone();
    if let Value::Object(parts) = &mut content {
        parts.retain(|_, part| !part.is_null() && *part != json!({}));
    }
    if content != json!({}) {
        all.insert("content".to_owned(), content);
    }
    let queries = &shown["metrics"]["queries"];
    all.insert(
        "metrics".to_owned(),
        json!({ "queries": if queries.is_object() { queries.clone() } else { json!({}) } }),
    );
    Value::Object(all)
}

/// Whether a hub makes a module by itself.
pub(super) fn is_system(module: &str) -> bool {
    module.starts_with('$')
}

/// The device that a scope is of.
pub(super) fn owner(scope: &str) -> Option<&str> {
    Some(scope.strip_prefix(SCOPE)?.rsplit_once('-')?.0)
}

fn is_edge(thing: &Value) -> bool {
    thing["capabilities"]["iotEdge"] == json!(true)
}

/// The scope of what a device is below.
pub(super) fn scope_above(thing: &Value) -> Option<&str> {
    let of_leaf = || thing["deviceScope"].as_str().filter(|_| !is_edge(thing));
    thing["parentScopes"][0].as_str().or_else(of_leaf)
}

/// What of an identity has to be the same: scopes by the devices they are of, keys if both sides have them.
pub(super) fn compared(thing: &mut Value) {
    let above = scope_above(thing).map(|scope| owner(scope).unwrap_or(scope).to_owned());
    take(thing, &["deviceScope", "parentScopes"]);
    if let Some(above) = above {
        thing["below"] = above.into();
    }
    if thing["capabilities"] == json!({ "iotEdge": false }) {
        take(thing, &["capabilities"]);
    }
    if let Some(properties) = thing.get_mut("properties") {
        take(properties, &["reported"]);
    }
}

/// How a thing is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum How {
    Create,
    /// In place of what is there.
    Replace,
}

/// The entry of a bulk call. A scope of the source that is another one here is replaced.
pub(super) fn entry(thing: &Value, how: How, here: &Inventory) -> Value {
    let mut entry = thing.clone();
    if let Some(properties) = entry.get_mut("properties") {
        take(properties, &["reported"]);
    }
    let mode = if is_system(thing["moduleId"].as_str().unwrap_or_default()) {
        // Nothing but its twin is anybody's to write.
        take(&mut entry, &["managedBy", "status", "statusReason", "capabilities"]);
        "updateTwin"
    } else if how == How::Create {
        "create"
    } else {
        // The twin is replaced by a call of its own.
        take(&mut entry, &["tags", "properties"]);
        "update"
    };
    entry["importMode"] = mode.into();
    let is_keyless = entry["authentication"]["type"] == "sas" && entry["authentication"]["symmetricKey"].is_null();
    if is_keyless {
        take(&mut entry, &["authentication"]);
    }
    let scope_here =
        |scope: &str| here.get(Kind::Identities, owner(scope)?)?["deviceScope"].as_str().map(str::to_owned);
    if let Some(above) = scope_above(thing).and_then(scope_here) {
        entry["parentScopes"] = json!([above]);
        if !is_edge(thing) {
            entry["deviceScope"] = above.into();
        }
    }
    if is_edge(thing) && how == How::Replace {
        // Its own scope is made once and stays.
        take(&mut entry, &["deviceScope"]);
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::super::kind::take_secrets;
    use super::*;

    fn edge(id: &str, made: &str, above: Option<&str>) -> Value {
        let mut thing =
            json!({"id": id, "capabilities": {"iotEdge": true}, "deviceScope": format!("{SCOPE}{id}-{made}")});
        if let Some(above) = above {
            thing["parentScopes"] = json!([above]);
        }
        thing
    }

    fn inventory(things: &[Value]) -> Inventory {
        let mut all = Inventory::default();
        for thing in things {
            all.add(Kind::Identities, thing.clone()).unwrap();
        }
        all
    }

    #[test]
    fn an_identity_is_read_with_its_twin() {
        let identity = json!({
            "deviceId": "d", "generationId": "1", "etag": "e", "connectionState": "Connected", "status": "disabled",
            "statusReason": null, "capabilities": {"iotEdge": false}, "parentScopes": [], "managedBy": "",
            "authentication": {"type": "selfSigned", "symmetricKey": {"primaryKey": null, "secondaryKey": null},
                               "x509Thumbprint": {"primaryThumbprint": "AA", "secondaryThumbprint": null}},
        });
        let twin = json!({"deviceId": "d", "tags": {"a": 1}, "properties": {
            "desired": {"x": 1, "$metadata": {}, "$version": 3}, "reported": {"$metadata": {}, "$version": 1}}});
        let expected = json!({
            "id": "d", "status": "disabled", "capabilities": {"iotEdge": false}, "tags": {"a": 1},
            "authentication": {"type": "selfSigned", "x509Thumbprint": {"primaryThumbprint": "AA"}},
            "properties": {"desired": {"x": 1}},
        });
        assert_eq!(document(&identity, &twin), expected);
    }

    #[test]
    fn a_configuration_is_read_without_what_it_did() {
        let shown = json!({"id": "c", "schemaVersion": "1.0", "labels": {}, "targetCondition": "*", "priority": 3,
            "content": {"deviceContent": {"properties.desired.a": 1}, "modulesContent": null, "moduleContent": {}},
            "metrics": {"queries": {"q": "select 1"}, "results": {"q": 5}}, "systemMetrics": {}, "etag": "x"});
        let expected = json!({"id": "c", "schemaVersion": "1.0", "labels": {}, "targetCondition": "*", "priority": 3,
            "content": {"deviceContent": {"properties.desired.a": 1}}, "metrics": {"queries": {"q": "select 1"}}});
        assert_eq!(configuration(&shown), expected);
    }

    #[test]
    fn scopes_are_compared_by_whose_they_are() {
        let of = |mut thing: Value| {
            compared(&mut thing);
            thing
        };
        let one = edge("low", "1", Some("ms-azure-iot-edge://top-1"));
        let other = edge("low", "2", Some("ms-azure-iot-edge://top-22"));
        assert_eq!(of(one.clone()), of(other));
        assert_ne!(of(one), of(edge("low", "1", Some("ms-azure-iot-edge://else-1"))));
        let leaf = json!({"id": "l", "capabilities": {"iotEdge": false}, "deviceScope": "ms-azure-iot-edge://a-b-1"});
        assert_eq!(of(leaf), json!({"id": "l", "below": "a-b"}));
        assert_eq!(owner("ms-azure-iot-edge://nothing"), None);
    }

    #[test]
    fn an_entry_has_the_scope_of_the_device_that_is_here() {
        let here = inventory(&[edge("top", "777", None)]);
        let leaf = json!({"id": "l", "deviceScope": "ms-azure-iot-edge://top-1",
                          "parentScopes": ["ms-azure-iot-edge://top-1"],
                          "properties": {"desired": {}, "reported": {"a": 1}}});
        let written = entry(&leaf, How::Create, &here);
        assert_eq!(written["deviceScope"], "ms-azure-iot-edge://top-777");
        assert_eq!(written["parentScopes"], json!(["ms-azure-iot-edge://top-777"]));
        assert_eq!((&written["importMode"], &written["properties"]), (&json!("create"), &json!({"desired": {}})));
        // Where nothing is yet, scopes are those of the source.
        assert_eq!(entry(&leaf, How::Create, &Inventory::default())["deviceScope"], leaf["deviceScope"]);
        let replaced = entry(&edge("top", "1", None), How::Replace, &here);
        assert_eq!((replaced.get("deviceScope"), &replaced["importMode"]), (None, &json!("update")));
    }

    #[test]
    fn of_system_modules_the_twin_alone_is_written() {
        let shown = json!({"deviceId": "d", "moduleId": "$edgeAgent", "managedBy": "iotEdge",
                           "authentication": {"type": "sas", "symmetricKey": {"primaryKey": "k"}}});
        let thing = document(&shown, &json!({"properties": {"desired": {"a": 1}}}));
        let written = entry(&thing, How::Create, &Inventory::default());
        let expected = json!({"id": "d", "moduleId": "$edgeAgent", "importMode": "updateTwin", "tags": {},
                              "properties": {"desired": {"a": 1}}});
        assert_eq!(written, expected);
    }

    #[test]
    fn without_keys_the_hub_draws_them() {
        let mut thing = json!({"id": "d", "authentication": {"type": "sas", "symmetricKey": {"primaryKey": "k"}}});
        assert_eq!(entry(&thing, How::Create, &Inventory::default())["authentication"], thing["authentication"]);
        take_secrets(&mut thing);
        assert_eq!(entry(&thing, How::Create, &Inventory::default()).get("authentication"), None);
    }
}
