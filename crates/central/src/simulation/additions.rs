//! What IoT Central's additions to a model say of its values: bounds and decimals of numbers, lengths of texts, and
//! commands that take longer than their call.
//!
//! `NumberValue` has `minValue`, `maxValue` and `decimalPlaces`, `StringValue` has `minLength` and `maxLength`; a command
//! of `commandType` `asynchronous` is a long-running one. The language knows none of these (but the last), so they are
//! read from the model as it was written. Interfaces that were fetched for a model are not looked at.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// Levels of a model looked at, as the parser allows.
const DEPTH_MAX: usize = gantry_dtdl::NESTING_MAX;
/// Levels of interfaces above an interface; the language allows ten.
const EXTENDS_MAX: usize = 16;

/// What a model says beyond its schemas.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Additions {
    interfaces: BTreeMap<String, Interface>,
}

#[derive(Clone, PartialEq, Debug, Default)]
struct Interface {
    extends: Vec<String>,
    bounds: BTreeMap<String, Bounds>,
    asynchronous: BTreeSet<String>,
}

/// What the values of a telemetry value or property keep to.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Bounds {
    /// The least number.
    pub min: Option<f64>,
    /// The greatest number.
    pub max: Option<f64>,
    /// Digits after the point.
    pub decimals: Option<u8>,
    /// The fewest characters of a text.
    pub length_min: Option<usize>,
    /// The most characters of a text.
    pub length_max: Option<usize>,
}

impl Additions {
    /// Reads them from a capability model as it was written. What is wrong in it is left out: the parser has told.
    #[must_use]
    pub fn of(capability_model: &Value) -> Self {
        let mut additions = Self::default();
        additions.walk(capability_model, DEPTH_MAX);
        additions
    }

    /// What is said of a telemetry value or property of an interface or of what it extends.
    #[must_use]
    pub fn bounds(&self, interface: &str, name: &str) -> Bounds {
        let found = self.find(interface, EXTENDS_MAX, &|one| one.bounds.get(name).copied());
        found.unwrap_or_default()
    }

    /// Whether a command takes longer than its call.
    #[must_use]
    pub fn is_asynchronous(&self, interface: &str, command: &str) -> bool {
        self.find(interface, EXTENDS_MAX, &|one| one.asynchronous.contains(command).then_some(())).is_some()
    }

    fn find<T>(&self, interface: &str, depth: usize, get: &dyn Fn(&Interface) -> Option<T>) -> Option<T> {
        let below = depth.checked_sub(1)?;
        let one = self.interfaces.get(interface)?;
        get(one).or_else(|| one.extends.iter().find_map(|above| self.find(above, below, get)))
    }

    fn walk(&mut self, value: &Value, depth: usize) {
        let Some(below) = depth.checked_sub(1) else { return };
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.walk(item, below)),
            Value::Object(members) => {
                if let (true, Some(id)) = (has_type(members, "Interface"), text(members, "@id")) {
                    self.interfaces.insert(id.to_owned(), interface(members));
                }
                members.values().for_each(|member| self.walk(member, below));
            }
            _ => {}
        }
    }
}

fn interface(members: &Map<String, Value>) -> Interface {
    let mut made = Interface::default();
    made.extends.extend(list(members.get("extends")).filter_map(|one| match one {
        Value::String(id) => Some(id.clone()),
        other => other.get("@id")?.as_str().map(str::to_owned),
    }));
    for content in list(members.get("contents")).filter_map(Value::as_object) {
        let Some(name) = text(content, "name") else { continue };
        if has_type(content, "Command") {
            if text(content, "commandType").is_some_and(is_asynchronous) {
                made.asynchronous.insert(name.to_owned());
            }
        } else if let Some(bounds) = bounds(content) {
            made.bounds.insert(name.to_owned(), bounds);
        }
    }
    made
}

/// A term, or the identifier of one.
fn is_asynchronous(text: &str) -> bool {
    text.split(';').next().and_then(|path| path.rsplit(':').next()) == Some("asynchronous")
}

fn bounds(content: &Map<String, Value>) -> Option<Bounds> {
    let number = |name: &str| content.get(name).and_then(Value::as_f64);
    let count = |name: &str| content.get(name).and_then(Value::as_u64);
    let length = |name: &str| count(name).and_then(|count| usize::try_from(count).ok());
    let bounds = Bounds {
        min: number("minValue"),
        max: number("maxValue"),
        decimals: count("decimalPlaces").and_then(|count| u8::try_from(count).ok()),
        length_min: length("minLength"),
        length_max: length("maxLength"),
    };
    (bounds != Bounds::default()).then_some(bounds)
}

/// The members of an array, or the one that stands without it.
fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    match value {
        Some(Value::Array(items)) => items.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    }
    .iter()
}

fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    members.get(name).and_then(Value::as_str)
}

fn has_type(members: &Map<String, Value>, name: &str) -> bool {
    list(members.get("@type")).any(|of| of == name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn model() -> Value {
        json!({ "@id": "dtmi:a:pump;1", "@type": "Interface",
            "extends": [{ "@id": "dtmi:a:base;1", "@type": ["Interface"], "extends": "dtmi:a:pump;1", "contents":
                { "@type": ["Telemetry", "NumberValue"], "name": "t", "minValue": -5, "decimalPlaces": 1 } }],
            "contents": [
                { "@type": ["Property", "StringValue"], "name": "tag", "minLength": 2, "maxLength": 4 },
                { "@type": "Command", "name": "move", "commandType": "asynchronous" },
                { "@type": "Command", "name": "turn", "commandType": "dtmi:dtdl:instance:CommandType:asynchronous;2" },
                { "@type": "Command", "name": "stop", "commandType": "synchronous" },
                { "@type": "Component", "name": "c", "schema": { "@id": "dtmi:a:c;1", "@type": "Interface", "contents": [
                    { "@type": ["Telemetry", "NumberValue"], "name": "t", "maxValue": 9.5, "minValue": "none" }] } },
            ] })
    }

    #[test]
    fn bounds_are_those_of_the_interface_or_of_what_it_extends() {
        let all = Additions::of(&model());
        assert_eq!(
            all.bounds("dtmi:a:pump;1", "t"),
            Bounds { min: Some(-5.0), decimals: Some(1), ..Bounds::default() }
        );
        let tag = Bounds { length_min: Some(2), length_max: Some(4), ..Bounds::default() };
        assert_eq!(all.bounds("dtmi:a:pump;1", "tag"), tag);
        assert_eq!(all.bounds("dtmi:a:c;1", "t"), Bounds { max: Some(9.5), ..Bounds::default() });
        assert_eq!(all.bounds("dtmi:a:c;1", "tag"), Bounds::default());
        assert_eq!(all.bounds("dtmi:a:none;1", "t"), Bounds::default());
    }

    #[test]
    fn long_running_commands_say_so() {
        let all = Additions::of(&model());
        let is = |name: &str| all.is_asynchronous("dtmi:a:pump;1", name);
        assert!(is("move") && is("turn") && !is("stop") && !is("none"));
        assert!(all.is_asynchronous("dtmi:a:base;1", "move"), "a ring of interfaces ends");
    }

    #[test]
    fn what_is_nested_too_deep_is_not_looked_at() {
        let nested = |levels: usize| (0..levels).fold(model(), |inner, _| json!([inner]));
        assert_ne!(Additions::of(&nested(DEPTH_MAX - 1)), Additions::default());
        assert_eq!(Additions::of(&nested(DEPTH_MAX)), Additions::default());
    }
}
