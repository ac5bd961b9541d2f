//! The twin: a device's state document, with its rules of change.
//!
//! A section (tags, desired, reported) is a JSON object. Desired and reported carry a
//! version that rises by one for each accepted write, and metadata that mirrors the tree
//! with the time of each value's last change. Everything here is a function of its
//! arguments; nothing reads a clock. Source: device twins guide; `docs/compatibility.md`.

use gantry_identity::Timestamp;
use serde_json::{Map, Value, json};

use crate::limits;
use crate::management::Managed;

/// A JSON object.
pub type Object = Map<String, Value>;

/// Key of the metadata tree in documents and of the time in each of its nodes.
pub const METADATA: &str = "$metadata";
/// Key of a section's version.
pub const VERSION: &str = "$version";
const LAST_UPDATED: &str = "$lastUpdated";
const LAST_UPDATED_VERSION: &str = "$lastUpdatedVersion";

/// Why a write to a twin was refused.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum TwinError {
    /// Not a JSON object where one is needed.
    #[error("`{0}` must be a JSON object")]
    NotObject(String),
    /// Key too long, empty, or with a character that is not allowed.
    #[error("key `{0}` is not allowed in a twin")]
    Key(String),
    /// String value too long.
    #[error("value of `{0}` is longer than {max} bytes", max = limits::TWIN_STRING_BYTES_MAX)]
    StringTooLong(String),
    /// Integer out of range.
    #[error("integer at `{0}` is out of range")]
    Integer(String),
    /// Nested too deep.
    #[error("`{0}` is nested deeper than {max} levels", max = limits::TWIN_DEPTH_MAX)]
    TooDeep(String),
    /// Section over its size.
    #[error("section `{section}` has {bytes} bytes; {max} are allowed")]
    TooLarge {
        /// Name of the section.
        section: &'static str,
        /// Its size after the write.
        bytes: usize,
        /// The limit.
        max: usize,
    },
}

/// A versioned section: desired or reported.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// The properties.
    pub values: Object,
    /// Tree of `$lastUpdated` (and `$lastUpdatedVersion` in desired).
    pub metadata: Object,
    /// Rises by one for each accepted write.
    pub version: u64,
}

impl Section {
    fn new() -> Self {
        let mut metadata = Object::new();
        metadata.insert(LAST_UPDATED.into(), Timestamp::NEVER.to_string().into());
        Self { values: Object::new(), metadata, version: 1 }
    }

    /// The section as the service shows it: values, `$metadata` and `$version`.
    pub fn with_metadata(&self) -> Value {
        let mut all = self.values.clone();
        all.insert(METADATA.into(), Value::Object(self.metadata.clone()));
        all.insert(VERSION.into(), self.version.into());
        Value::Object(all)
    }

    /// The section as the device sees it: values and `$version`.
    pub fn for_device(&self) -> Value {
        let mut all = self.values.clone();
        all.insert(VERSION.into(), self.version.into());
        Value::Object(all)
    }

    fn write(&mut self, patch: &Object, merge: bool, stamp_version: bool, now: Timestamp) {
        self.version += 1;
        let stamp = Stamp { at: now.to_string(), version: stamp_version.then_some(self.version) };
        if !merge {
            self.values.clear();
            self.metadata.clear();
        }
        merge_object(&mut self.values, &mut self.metadata, patch, &stamp);
        stamp.mark(&mut self.metadata);
    }
}

struct Stamp {
    at: String,
    version: Option<u64>,
}

impl Stamp {
    fn mark(&self, node: &mut Object) {
        node.insert(LAST_UPDATED.into(), self.at.clone().into());
        if let Some(version) = self.version {
            node.insert(LAST_UPDATED_VERSION.into(), version.into());
        }
    }
}

/// JSON merge patch (RFC 7396) on values and metadata at once. Keys that begin with `$` are skipped.
fn merge_object(values: &mut Object, metadata: &mut Object, patch: &Object, stamp: &Stamp) {
    for (key, new) in patch.iter().filter(|(key, _)| !key.starts_with('$')) {
        if new.is_null() {
            values.remove(key);
            metadata.remove(key);
            continue;
        }
        let node = metadata.entry(key.clone()).or_insert_with(|| json!({}));
        if !node.is_object() {
            *node = json!({});
        }
        let node = node.as_object_mut().expect("made an object above");
        stamp.mark(node);
        let Value::Object(new) = new else {
            node.retain(|k, _| k.starts_with('$'));
            values.insert(key.clone(), new.clone());
            continue;
        };
        let old = values.entry(key.clone()).or_insert_with(|| json!({}));
        if !old.is_object() {
            *old = json!({});
        }
        merge_object(old.as_object_mut().expect("made an object above"), node, new, stamp);
    }
}

/// A write to the service-owned sections. Absent sections stay as they are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TwinWrite {
    /// New tags or a patch of them.
    pub tags: Option<Object>,
    /// New desired properties or a patch of them.
    pub desired: Option<Object>,
}

/// The state document of one device or module.
#[derive(Clone, Debug, PartialEq)]
pub struct Twin {
    /// Free properties of the service, unseen by the device.
    pub tags: Object,
    /// What the service wants.
    pub desired: Section,
    /// What the device says.
    pub reported: Section,
    /// Rises with each write to tags or desired.
    pub version: u64,
    /// Counter behind the ETag: rises with each write to tags or desired.
    pub etag: u64,
    /// Plug and Play model id the device announced last.
    pub model_id: Option<String>,
    /// What automatic management did here.
    pub managed: Managed,
}

impl Twin {
    /// The twin of a device just created.
    pub fn new() -> Self {
        Self {
            tags: Object::new(),
            desired: Section::new(),
            reported: Section::new(),
            version: 2,
            etag: 1,
            model_id: None,
            managed: Managed::default(),
        }
    }

    /// The ETag as bodies carry it: base64 of an 8-byte counter.
    pub fn etag_text(&self) -> String {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(self.etag.to_be_bytes())
    }

    /// Merges a patch into tags and desired; returns the document to push to the device, if desired changed.
    ///
    /// # Errors
    /// [`TwinError`]; the twin is unchanged then.
    pub fn patch(&mut self, write: &TwinWrite, now: Timestamp) -> Result<Option<Value>, TwinError> {
        self.write(write, true, now)
    }

    /// Replaces the sections that are present.
    ///
    /// # Errors
    /// [`TwinError`]; the twin is unchanged then.
    pub fn replace(&mut self, write: &TwinWrite, now: Timestamp) -> Result<Option<Value>, TwinError> {
        self.write(write, false, now)
    }

    fn write(&mut self, write: &TwinWrite, merge: bool, now: Timestamp) -> Result<Option<Value>, TwinError> {
        let mut next = self.clone();
        if let Some(tags) = &write.tags {
            check(tags, "tags")?;
            if !merge {
                next.tags.clear();
            }
            merge_object(&mut next.tags, &mut Object::new(), tags, &Stamp { at: String::new(), version: None });
            check_size(&next.tags, "tags", limits::TWIN_TAGS_BYTES_MAX)?;
        }
        let mut push = None;
        if let Some(desired) = &write.desired {
            check(desired, "properties.desired")?;
            next.desired.write(desired, merge, true, now);
            check_size(&next.desired.values, "properties.desired", limits::TWIN_PROPERTIES_BYTES_MAX)?;
            let mut body: Object = desired.iter().filter(|(k, _)| !k.starts_with('$')).map(clone_entry).collect();
            body.insert(VERSION.into(), next.desired.version.into());
            push = Some(Value::Object(body));
        }
        next.version += 1;
        next.etag += 1;
        *self = next;
        Ok(push)
    }

    /// Merges what the device reported; returns the new reported version.
    ///
    /// # Errors
    /// [`TwinError`]; the twin is unchanged then.
    pub fn report(&mut self, patch: &Object, now: Timestamp) -> Result<u64, TwinError> {
        check(patch, "properties.reported")?;
        let mut next = self.reported.clone();
        next.write(patch, true, false, now);
        check_size(&next.values, "properties.reported", limits::TWIN_PROPERTIES_BYTES_MAX)?;
        self.reported = next;
        Ok(self.reported.version)
    }

    /// What the device gets when it asks for its twin: both property sections, no tags, no metadata.
    pub fn for_device(&self) -> Value {
        json!({ "desired": self.desired.for_device(), "reported": self.reported.for_device() })
    }
}

impl Default for Twin {
    fn default() -> Self {
        Self::new()
    }
}

fn clone_entry((key, value): (&String, &Value)) -> (String, Value) {
    (key.clone(), value.clone())
}

fn check(patch: &Object, at: &str) -> Result<(), TwinError> {
    check_depth(patch, at, 1)
}

fn check_depth(object: &Object, at: &str, depth: usize) -> Result<(), TwinError> {
    for (key, value) in object.iter().filter(|(key, _)| depth > 1 || !matches!(key.as_str(), METADATA | VERSION)) {
        let bad = |c: char| c.is_control() || matches!(c, '.' | ' ' | '$');
        if key.is_empty() || key.len() > limits::TWIN_KEY_BYTES_MAX || key.contains(bad) {
            return Err(TwinError::Key(format!("{at}.{key}")));
        }
        check_value(value, &format!("{at}.{key}"), depth)?;
    }
    Ok(())
}

fn check_value(value: &Value, at: &str, depth: usize) -> Result<(), TwinError> {
    match value {
        Value::Object(inner) if depth >= limits::TWIN_DEPTH_MAX && !inner.is_empty() => {
            Err(TwinError::TooDeep(at.into()))
        }
        Value::Object(inner) => check_depth(inner, at, depth + 1),
        Value::Array(_) if depth >= limits::TWIN_DEPTH_MAX => Err(TwinError::TooDeep(at.into())),
        Value::Array(items) => items.iter().try_for_each(|item| check_value(item, at, depth + 1)),
        Value::String(text) if text.len() > limits::TWIN_STRING_BYTES_MAX => Err(TwinError::StringTooLong(at.into())),
        Value::Number(n) if !n.is_f64() && !n.as_i64().is_some_and(|i| limits::TWIN_INTEGER.contains(&i)) => {
            Err(TwinError::Integer(at.into()))
        }
        _ => Ok(()),
    }
}

fn check_size(object: &Object, section: &'static str, max: usize) -> Result<(), TwinError> {
    let bytes = object.iter().map(|(k, v)| k.len() + size(v)).sum();
    if bytes > max { Err(TwinError::TooLarge { section, bytes, max }) } else { Ok(()) }
}

/// Size as the reference counts it: strings in UTF-8 without control characters, numbers 8, booleans 4.
fn size(value: &Value) -> usize {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 4,
        Value::Number(_) => 8,
        Value::String(text) => text.chars().filter(|c| !c.is_control()).map(char::len_utf8).sum(),
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(inner) => inner.iter().map(|(k, v)| k.len() + size(v)).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    fn object(value: Value) -> Object {
        let Value::Object(object) = value else { panic!("{value} is not an object") };
        object
    }

    fn desired(value: Value) -> TwinWrite {
        TwinWrite { desired: Some(object(value)), tags: None }
    }

    #[test]
    fn a_new_twin_looks_as_the_reference_shows_it() {
        let twin = Twin::new();
        assert_eq!((twin.version, twin.etag_text().as_str()), (2, "AAAAAAAAAAE="));
        assert_eq!(
            twin.desired.with_metadata(),
            json!({"$metadata": {"$lastUpdated": "0001-01-01T00:00:00Z"}, "$version": 1})
        );
    }

    #[test]
    fn a_patch_merges_and_null_removes() {
        let mut twin = Twin::new();
        twin.patch(&desired(json!({"a": {"b": 1, "c": 2}, "d": 3})), NOW).unwrap();
        let push = twin.patch(&desired(json!({"a": {"b": null}, "d": null})), NOW).unwrap();
        assert_eq!(Value::Object(twin.desired.values.clone()), json!({"a": {"c": 2}}));
        assert_eq!(push, Some(json!({"a": {"b": null}, "d": null, "$version": 3})));
        assert_eq!(twin.desired.metadata["a"]["c"]["$lastUpdatedVersion"], 2);
        assert_eq!(twin.desired.metadata["a"]["$lastUpdatedVersion"], 3);
        assert!(!twin.desired.metadata.contains_key("d"));
    }

    #[test]
    fn a_replacement_drops_what_it_does_not_name() {
        let mut twin = Twin::new();
        twin.patch(&desired(json!({"a": 1})), NOW).unwrap();
        let push = twin.replace(&desired(json!({"b": 2, "$version": 77})), NOW).unwrap();
        assert_eq!(twin.for_device()["desired"], json!({"b": 2, "$version": 3}));
        assert_eq!(push, Some(json!({"b": 2, "$version": 3})));
    }

    #[test]
    fn an_object_takes_the_place_of_a_value_and_the_reverse() {
        let mut twin = Twin::new();
        twin.report(&object(json!({"a": 1})), NOW).unwrap();
        twin.report(&object(json!({"a": {"b": 1}})), NOW).unwrap();
        assert_eq!(twin.report(&object(json!({"a": "x"})), NOW), Ok(4));
        assert_eq!(Value::Object(twin.reported.values), json!({"a": "x"}));
        assert_eq!(twin.reported.metadata["a"], json!({"$lastUpdated": NOW.to_string()}));
    }

    #[test]
    fn tags_leave_desired_alone_but_raise_the_version() {
        let mut twin = Twin::new();
        let write = TwinWrite { tags: Some(object(json!({"site": "north"}))), desired: None };
        assert_eq!(twin.patch(&write, NOW), Ok(None));
        assert_eq!((twin.version, twin.etag, twin.desired.version), (3, 2, 1));
    }

    #[track_caller]
    fn refuse(patch: Value, error: TwinError) {
        let mut twin = Twin::new();
        assert_eq!(twin.patch(&desired(patch), NOW), Err(error));
        assert_eq!(twin, Twin::new(), "a refused write changes nothing");
    }

    #[test]
    fn keys_values_and_depth_have_limits() {
        refuse(json!({"a b": 1}), TwinError::Key("properties.desired.a b".into()));
        refuse(json!({"a": {"$b": 1}}), TwinError::Key("properties.desired.a.$b".into()));
        refuse(json!({"x": "y".repeat(4097)}), TwinError::StringTooLong("properties.desired.x".into()));
        refuse(json!({"x": 4_503_599_627_370_496_i64}), TwinError::Integer("properties.desired.x".into()));
        let nested = |depth| (0..depth).fold(json!(1), |inner, _| json!({ "a": inner }));
        assert!(Twin::new().patch(&desired(nested(10)), NOW).is_ok());
        assert!(matches!(Twin::new().patch(&desired(nested(11)), NOW), Err(TwinError::TooDeep(_))));
    }

    #[test]
    fn a_section_has_a_size() {
        let of = |n: usize| {
            let all: Object = (0..n).map(|i| (format!("k{i:03}"), Value::String("v".repeat(1020)))).collect();
            Twin::new().report(&all, NOW)
        };
        assert_eq!(of(32), Ok(2));
        assert!(matches!(of(33), Err(TwinError::TooLarge { bytes: 33_792, max: 32_768, .. })));
    }

    proptest::proptest! {
        #[test]
        fn merging_twice_is_merging_once(a in tree(), b in tree()) {
            let mut once = Twin::new();
            once.report(&a, NOW).unwrap();
            once.report(&b, NOW).unwrap();
            let mut twice = once.clone();
            twice.report(&b, NOW).unwrap();
            proptest::prop_assert_eq!(once.reported.values, twice.reported.values);
        }
    }

    fn tree() -> impl proptest::strategy::Strategy<Value = Object> {
        use proptest::prelude::*;
        let leaf =
            prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), any::<i32>().prop_map(Value::from)];
        let value = leaf.prop_recursive(3, 12, 3, |inner| {
            proptest::collection::btree_map("[a-c]", inner, 0..3).prop_map(|m| Value::Object(m.into_iter().collect()))
        });
        proptest::collection::btree_map("[a-c]", value, 0..3).prop_map(|m| m.into_iter().collect())
    }
}
