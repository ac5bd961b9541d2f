//! The digital twin of a Plug and Play device: another view of its twin.
//!
//! A component is a property with the marker `"__t": "c"`. A property the device acknowledged
//! is reported as `{value, ac, av, ad}` and shown as its value, with the rest in `$metadata`.
//! A patch (RFC 6902) of properties and components is a merge into desired. Source: "digital
//! twins" of Plug and Play, digital twin REST reference 2020-09-30.

use std::collections::BTreeSet;

use gantry_identity::{Identity, Timestamp};
use serde_json::{Value, json};

use crate::error::HubError;
use crate::hub::Hub;
use crate::ports::Record;
use crate::registry::WRITE_ATTEMPTS;
use crate::registry::device::IfMatch;
use crate::twins::twin::{METADATA, Object, Section, Twin, TwinWrite};
use crate::twins::write::{has_null, told};

const MARKER: &str = "__t";
const COMPONENT: &str = "c";
/// Most operations of one patch.
const OPERATIONS_MAX: usize = 100;

/// Why a patch was refused.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum DigitalTwinError {
    /// Not a JSON patch of add, replace and remove.
    #[error("{0}")]
    Patch(String),
    /// A value that cannot be where it should go.
    #[error("{0}")]
    Value(String),
    /// A path that names no property or component.
    #[error("path `{0}` names no property or component")]
    Path(String),
}

/// One operation of a patch.
#[derive(Clone, Debug, PartialEq)]
struct Operation {
    path: Vec<String>,
    /// `None` removes.
    value: Option<Value>,
}

/// A parsed patch.
#[derive(Clone, Debug, PartialEq)]
pub struct Patch(Vec<Operation>);

impl Patch {
    /// Reads a JSON patch.
    ///
    /// # Errors
    /// [`DigitalTwinError`] says what cannot be used.
    pub fn parse(patch: &Value) -> Result<Self, DigitalTwinError> {
        let bad = |why: &str| DigitalTwinError::Patch(why.to_owned());
        let operations = patch.as_array().ok_or_else(|| bad("the body must be an array of operations"))?;
        if operations.is_empty() || operations.len() > OPERATIONS_MAX {
            return Err(DigitalTwinError::Patch(format!("a patch has 1 to {OPERATIONS_MAX} operations")));
        }
        let parse = |operation: &Value| {
            let text = |name: &str| operation.get(name).and_then(Value::as_str);
            let path = parse_path(text("path").ok_or_else(|| bad("an operation has no path"))?)?;
            let value = match text("op") {
                Some("add" | "replace") => {
                    let missing = || DigitalTwinError::Value("an operation has no value".to_owned());
                    let value = operation.get("value").ok_or_else(missing)?;
                    if has_null(value) {
                        return Err(DigitalTwinError::Value(
                            "a twin holds no null; remove takes a property out".into(),
                        ));
                    }
                    Some(value.clone())
                }
                Some("remove") => None,
                _ => return Err(bad("op must be add, replace or remove")),
            };
            Ok(Operation { path, value })
        };
        operations.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// The merge into desired that does what the patch says: of what it replaces, what is gone is named with null.
    fn desired(&self, twin: &Twin) -> Result<Object, DigitalTwinError> {
        let mut values = twin.desired.values.clone();
        let mut parts = BTreeSet::new();
        for Operation { path, value } in &self.0 {
            let Some((name, rest)) = path.split_first() else { continue };
            match value {
                Some(Value::Object(value)) if rest.is_empty() && value.contains_key(METADATA) => {
                    let mut component = value.clone();
                    component.remove(METADATA);
                    component.insert(MARKER.to_owned(), COMPONENT.into());
                    values.insert(name.clone(), component.into());
                }
                Some(value) if rest.is_empty() && is_component(twin, name) => {
                    let why = format!("component `{name}` needs an object with $metadata, not {value}");
                    return Err(DigitalTwinError::Value(why));
                }
                value => put(&mut values, path, value.as_ref().unwrap_or(&Value::Null)),
            }
            if !rest.is_empty() && (is_component(twin, name) || !has_property(twin, name)) {
                parts.insert(name);
            }
        }
        let mut merge = Object::new();
        for Operation { path, .. } in &self.0 {
            let told = find(&values, path).map_or(Value::Null, |new| told(find(&twin.desired.values, path), new));
            put(&mut merge, path, &told);
        }
        for name in parts {
            // A device knows a part of a component by the marker beside it.
            if let Some(Value::Object(part)) = merge.get_mut(name) {
                part.insert(MARKER.to_owned(), COMPONENT.into());
            }
        }
        Ok(merge)
    }
}

fn find<'t>(values: &'t Object, path: &[String]) -> Option<&'t Value> {
    let (name, rest) = path.split_first()?;
    rest.iter().try_fold(values.get(name)?, |value, name| value.get(name)).filter(|value| !value.is_null())
}

/// Puts a value, or null, at a place; objects on the way there are made.
fn put(values: &mut Object, path: &[String], value: &Value) {
    let Some((name, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        values.insert(name.clone(), value.clone());
        return;
    }
    let node = values.entry(name.clone()).or_insert_with(|| json!({}));
    if !node.is_object() {
        *node = json!({});
    }
    if let Value::Object(inner) = node {
        put(inner, rest, value);
    }
}

fn parse_path(text: &str) -> Result<Vec<String>, DigitalTwinError> {
    let bad = || DigitalTwinError::Path(text.to_owned());
    let names: Vec<String> = text
        .strip_prefix('/')
        .ok_or_else(bad)?
        .split('/')
        .map(|name| name.replace("~1", "/").replace("~0", "~"))
        .collect();
    let is_name = |name: &String| !name.is_empty() && !name.starts_with('$') && name != MARKER;
    if names.len() <= crate::limits::TWIN_DEPTH_MAX && names.iter().all(is_name) { Ok(names) } else { Err(bad()) }
}

fn has_property(twin: &Twin, name: &str) -> bool {
    twin.desired.values.contains_key(name) || twin.reported.values.contains_key(name)
}

fn is_component(twin: &Twin, name: &str) -> bool {
    [&twin.desired, &twin.reported].iter().any(|section| section.values.get(name).is_some_and(is_marked))
}

fn is_marked(value: &Value) -> bool {
    value.get(MARKER).and_then(Value::as_str) == Some(COMPONENT)
}

/// The digital twin of a device.
pub fn view(record: &Record) -> Value {
    let twin = &record.twin;
    let mut all = Object::new();
    all.insert("$dtId".to_owned(), record.device.identity.device.as_str().into());
    let mut metadata = Object::new();
    metadata.insert("$model".to_owned(), twin.model_id.as_deref().unwrap_or_default().into());
    let (desired, reported) = (Part::of(&twin.desired), Part::of(&twin.reported));
    for name in names(&desired, &reported) {
        if is_component(twin, name) {
            let mut inner = Object::new();
            let mut inner_metadata = Object::new();
            let (desired, reported) = (desired.inner(name), reported.inner(name));
            for name in names(&desired, &reported) {
                show(name, &desired, &reported, &mut inner, &mut inner_metadata);
            }
            inner.insert(METADATA.to_owned(), inner_metadata.into());
            all.insert(name.clone(), inner.into());
        } else {
            show(name, &desired, &reported, &mut all, &mut metadata);
        }
    }
    all.insert(METADATA.to_owned(), metadata.into());
    Value::Object(all)
}

/// Values with their metadata: a section or a component in it.
#[derive(Clone, Copy, Default)]
struct Part<'t> {
    values: Option<&'t Object>,
    metadata: Option<&'t Object>,
}

impl<'t> Part<'t> {
    fn of(section: &'t Section) -> Self {
        Self { values: Some(&section.values), metadata: Some(&section.metadata) }
    }

    fn inner(&self, name: &str) -> Self {
        let of = |part: Option<&'t Object>| part.and_then(|part| part.get(name)).and_then(Value::as_object);
        Self { values: of(self.values), metadata: of(self.metadata) }
    }

    fn value(&self, name: &str) -> Option<&'t Value> {
        self.values?.get(name)
    }

    fn mark(&self, name: &str, mark: &str) -> Option<&'t Value> {
        self.metadata?.get(name)?.get(mark)
    }
}

fn names<'t>(desired: &Part<'t>, reported: &Part<'t>) -> Vec<&'t String> {
    let of = |part: &Part<'t>| part.values.into_iter().flat_map(Object::keys);
    let mut names: Vec<&String> = of(reported).collect();
    let more: Vec<&String> = of(desired).filter(|name| reported.value(name).is_none()).collect();
    names.extend(more);
    names.retain(|name| *name != MARKER);
    names
}

fn show(name: &str, desired: &Part<'_>, reported: &Part<'_>, values: &mut Object, metadata: &mut Object) {
    let mut about = Object::new();
    let mut note = |key: &str, value: Option<&Value>| {
        if let Some(value) = value {
            about.insert(key.to_owned(), value.clone());
        }
    };
    let wanted = desired.value(name);
    note("desiredValue", wanted);
    note("desiredVersion", desired.mark(name, "$lastUpdatedVersion"));
    let said = reported.value(name);
    // An acknowledgement: the value with status code and version.
    let acknowledged = said.filter(|said| said.get("value").is_some() && said.get("ac").is_some());
    note("ackVersion", acknowledged.and_then(|said| said.get("av")));
    note("ackCode", acknowledged.and_then(|said| said.get("ac")));
    note("ackDescription", acknowledged.and_then(|said| said.get("ad")));
    note("lastUpdateTime", reported.mark(name, "$lastUpdated").or(desired.mark(name, "$lastUpdated")));
    if let Some(value) = acknowledged.and_then(|said| said.get("value")).or(said).or(wanted) {
        values.insert(name.to_owned(), value.clone());
    }
    metadata.insert(name.to_owned(), about.into());
}

impl Hub {
    /// Applies a patch to the digital twin of a device: merges it into its desired properties.
    ///
    /// # Errors
    /// [`HubError::DigitalTwin`], [`HubError::NotFound`], [`HubError::PreconditionFailed`] or [`HubError::Twin`].
    pub async fn patch_digital_twin(
        &self,
        now: Timestamp,
        identity: &Identity,
        patch: &Patch,
        if_match: &IfMatch,
    ) -> Result<Record, HubError> {
        for _ in 0..WRITE_ATTEMPTS {
            let record = self.record(identity).await?;
            let etag = record.twin.etag_text();
            if !if_match.admits(&etag) {
                return Err(HubError::PreconditionFailed(identity.clone()));
            }
            let write = TwinWrite::desired(patch.desired(&record.twin)?);
            // What a path means follows the twin, so the twin must still be the one that was read.
            match self.write_twin(now, identity, &write, &IfMatch::tag(etag)).await {
                Err(HubError::PreconditionFailed(_)) => {}
                other => return other,
            }
        }
        Err(HubError::Contended(identity.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn twin(desired: Value, reported: Value) -> Twin {
        let now = Timestamp::from_millis(1_767_225_600_000);
        let mut twin = Twin::new();
        let object = |value: Value| value.as_object().unwrap().clone();
        twin.write(&TwinWrite::desired(object(desired)), now).unwrap();
        twin.report(&object(reported), now).unwrap();
        twin
    }

    #[track_caller]
    fn check(twin: &Twin, patch: Value, expected: Value) {
        let merge = Patch::parse(&patch).unwrap().desired(twin).unwrap();
        assert_eq!(Value::Object(merge), expected, "{patch}");
    }

    #[test]
    fn a_patch_is_a_merge_into_desired() {
        let twin = twin(json!({ "c": {"__t": "c", "a": 1, "b": 2}, "plain": {"x": 1} }), json!({ "r": {"__t": "c"} }));
        check(&twin, json!([{"op": "add", "path": "/rate", "value": 5}]), json!({"rate": 5}));
        check(&twin, json!([{"op": "remove", "path": "/rate"}]), json!({"rate": null}));
        check(&twin, json!([{"op": "replace", "path": "/c/a", "value": 9}]), json!({"c": {"__t": "c", "a": 9}}));
        check(&twin, json!([{"op": "add", "path": "/r/a", "value": 9}]), json!({"r": {"__t": "c", "a": 9}}));
        check(&twin, json!([{"op": "add", "path": "/new/a", "value": 9}]), json!({"new": {"__t": "c", "a": 9}}));
        check(&twin, json!([{"op": "add", "path": "/plain/y", "value": 2}]), json!({"plain": {"y": 2}}));
        check(
            &twin,
            json!([{"op": "replace", "path": "/c", "value": {"a": 3, "$metadata": {}}}]),
            json!({"c": {"__t": "c", "b": null, "a": 3}}),
        );
        check(
            &twin,
            json!([{"op": "add", "path": "/c/a", "value": 1}, {"op": "remove", "path": "/c/b"}]),
            json!({"c": {"__t": "c", "a": 1, "b": null}}),
        );
        check(
            &twin,
            json!([{"op": "add", "path": "/deep/a/b", "value": 1}, {"op": "add", "path": "/deep/a/c", "value": 2}]),
            json!({"deep": {"__t": "c", "a": {"b": 1, "c": 2}}}),
        );
        check(
            &twin,
            json!([{"op": "add", "path": "/rate", "value": 5}, {"op": "remove", "path": "/rate"}]),
            json!({"rate": null}),
        );
    }

    #[test]
    fn what_a_replaced_value_had_is_told_as_gone_at_every_level() {
        let twin = twin(
            json!({ "c": {"__t": "c", "o": {"x": 1, "y": 2}, "b": 2}, "plain": {"x": {"y": 1, "z": 2}, "w": 1} }),
            json!({}),
        );
        let replace = |path: &str, value: Value| json!([{"op": "replace", "path": path, "value": value}]);
        check(
            &twin,
            replace("/plain", json!({"x": {"y": 5}})),
            json!({"plain": {"x": {"y": 5, "z": null}, "w": null}}),
        );
        check(&twin, replace("/plain/x", json!({"n": 1})), json!({"plain": {"x": {"n": 1, "y": null, "z": null}}}));
        check(&twin, replace("/c/o", json!({"y": 3})), json!({"c": {"__t": "c", "o": {"x": null, "y": 3}}}));
        check(
            &twin,
            replace("/c", json!({"o": {"x": 1}, "$metadata": {}})),
            json!({"c": {"__t": "c", "o": {"x": 1, "y": null}, "b": null}}),
        );
    }

    #[test]
    fn what_is_no_patch_is_named() {
        let error = |patch: Value| Patch::parse(&patch).unwrap_err();
        assert!(matches!(error(json!({})), DigitalTwinError::Patch(_)));
        assert!(matches!(error(json!([])), DigitalTwinError::Patch(_)));
        assert!(matches!(error(json!([{"op": "move", "path": "/a"}])), DigitalTwinError::Patch(_)));
        assert!(matches!(error(json!([{"op": "add", "path": "/a"}])), DigitalTwinError::Value(_)));
        for value in [json!(null), json!({"b": null}), json!([null])] {
            let patch = json!([{"op": "add", "path": "/a", "value": value}]);
            assert!(matches!(error(patch), DigitalTwinError::Value(_)), "{value}");
        }
        for path in ["a", "/", "/$metadata/a", "/a//b", "/c/__t", &"/a".repeat(11)] {
            assert_eq!(error(json!([{"op": "remove", "path": path}])), DigitalTwinError::Path(path.into()));
        }
        let twin = twin(json!({ "c": {"__t": "c"} }), json!({}));
        let patch = Patch::parse(&json!([{"op": "add", "path": "/c", "value": 1}])).unwrap();
        assert!(matches!(patch.desired(&twin), Err(DigitalTwinError::Value(_))));
    }
}
