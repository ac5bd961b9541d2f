//! Properties of a device: which of them somebody other than the device gave it.
//!
//! The API shows values beside `$metadata`. A value that is desired is in the metadata; a cloud property is one that
//! the template marks `Cloud`; everything else the device reported, and will report again.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

const METADATA: &str = "$metadata";

/// Cloud properties of a template, as `room`, or `thermostat1.room` within a component.
pub(super) type Cloud = BTreeSet<String>;

/// The cloud properties of a capability model: its own, those it extends, and those of its components.
pub(super) fn cloud_of(model: &Value) -> Cloud {
    let mut found = Cloud::new();
    interface(model, "", 0, &mut found);
    found
}

/// Interfaces within interfaces; DTDL allows fewer.
const LEVELS_MAX: usize = 20;

fn interface(model: &Value, prefix: &str, level: usize, found: &mut Cloud) {
    if level > LEVELS_MAX {
        return;
    }
    for base in several(&model["extends"]) {
        interface(base, prefix, level + 1, found);
    }
    for content in several(&model["contents"]) {
        let Some(name) = content["name"].as_str() else { continue };
        if is_a(content, "Component") {
            interface(&content["schema"], &format!("{prefix}{name}."), level + 1, found);
        } else if is_a(content, "Property") && is_a(content, "Cloud") {
            found.insert(format!("{prefix}{name}"));
        }
    }
}

/// One value where DTDL takes one or an array.
fn several(value: &Value) -> &[Value] {
    match value {
        Value::Array(all) => all,
        one => std::slice::from_ref(one),
    }
}

fn is_a(content: &Value, kind: &str) -> bool {
    let is = |one: &Value| one.as_str().is_some_and(|text| text.rsplit([';', '/']).any(|word| word == kind));
    several(&content["@type"]).iter().any(is)
}

/// Splits what the API shows of a device into `properties`, as they are written, and `reported`.
pub(super) fn split(id: &str, shown: &Value, cloud: &Cloud) -> Value {
    let (mut given, mut reported) = (Map::new(), Map::new());
    part(shown, "", cloud, &mut given, &mut reported);
    let mut document = json!({ "id": id, "properties": given });
    if !reported.is_empty() {
        document["reported"] = reported.into();
    }
    document
}

fn part(shown: &Value, prefix: &str, cloud: &Cloud, given: &mut Map<String, Value>, reported: &mut Map<String, Value>) {
    let Value::Object(all) = shown else { return };
    let about = all.get(METADATA).and_then(Value::as_object);
    for (name, value) in all.iter().filter(|(name, _)| *name != METADATA) {
        let path = format!("{prefix}{name}");
        let is_component = prefix.is_empty() && value.get(METADATA).is_some_and(Value::is_object);
        if is_component {
            let (mut inner, mut said) = (Map::new(), Map::new());
            part(value, &format!("{path}."), cloud, &mut inner, &mut said);
            put(given, name, inner);
            put(reported, name, said);
        } else if cloud.contains(&path) {
            given.insert(name.clone(), value.clone());
        } else {
            reported.insert(name.clone(), value.clone());
        }
    }
    for (name, about) in about.into_iter().flatten() {
        if let Some(desired) = about.get("desiredValue") {
            given.insert(name.clone(), desired.clone());
        }
    }
}

fn put(all: &mut Map<String, Value>, name: &str, inner: Map<String, Value>) {
    if !inner.is_empty() {
        all.insert(name.to_owned(), inner.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Value {
        json!({
            "extends": [{"contents": {"@type": ["Property", "Cloud"], "name": "owner", "schema": "string"}}],
            "contents": [
                {"@type": "Property", "name": "serial", "schema": "string"},
                {"@type": ["Property", "SemanticType/Cloud"], "name": "room", "schema": "string"},
                {"@type": ["Telemetry", "Cloud"], "name": "no", "schema": "string"},
                {"@type": "Component", "name": "part", "schema": {"contents": [
                    {"@type": ["Property", "Cloud"], "name": "room", "schema": "string"}]}},
                {"@type": "Component", "name": "elsewhere", "schema": "dtmi:a:b;1"},
            ],
        })
    }

    #[test]
    fn cloud_properties_are_found_where_models_have_them() {
        let found: Vec<_> = cloud_of(&model()).into_iter().collect();
        assert_eq!(found, ["owner", "part.room", "room"]);
        assert!(cloud_of(&Value::Null).is_empty());
    }

    #[test]
    fn what_is_given_is_told_from_what_is_reported() {
        let shown = json!({
            "serial": "s1", "room": "A4", "target": 19,
            "$metadata": {"serial": {"lastUpdateTime": "t"}, "target": {"desiredValue": 20},
                          "never": {"desiredValue": [1]}},
            "part": {"room": "B", "limit": 3, "temperature": 9, "$metadata": {"limit": {"desiredValue": 4}}},
            "empty": {"$metadata": {}},
        });
        let expected = json!({
            "id": "d",
            "properties": {"room": "A4", "target": 20, "never": [1], "part": {"room": "B", "limit": 4}},
            "reported": {"serial": "s1", "target": 19, "part": {"limit": 3, "temperature": 9}},
        });
        assert_eq!(split("d", &shown, &cloud_of(&model())), expected);
        assert_eq!(split("d", &json!({"$metadata": {}}), &Cloud::new()), json!({"id": "d", "properties": {}}));
    }
}
