//! The twin: a device's state document, with its rules of change.
//!
//! A section (tags, desired, reported) is a JSON object. Desired and reported carry a
//! version that rises by one for each accepted write, and metadata that mirrors the tree
//! with the time of each value's last change. Everything here is a function of its
//! arguments; nothing reads a clock. Source: device twins guide; `docs/compatibility.md`.

use gantry_identity::Timestamp;
use serde_json::{Map, Value, json};

use crate::configurations::management::Managed;
use crate::limits;
pub use crate::twins::write::{Change, SectionWrite, TwinError, TwinWrite};
use crate::twins::write::{DESIRED, REPORTED, TAGS, check_report, check_size, telling, without_shown};

/// A JSON object.
pub type Object = Map<String, Value>;

/// Key of the metadata tree in documents and of the time in each of its nodes.
pub const METADATA: &str = "$metadata";
/// Key of a section's version.
pub const VERSION: &str = "$version";
const LAST_UPDATED: &str = "$lastUpdated";
const LAST_UPDATED_VERSION: &str = "$lastUpdatedVersion";

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

    fn merge(&mut self, patch: &Object, stamp_version: bool, now: Timestamp) {
        let stamp = self.stamp(stamp_version, now);
        merge_object(&mut self.values, &mut self.metadata, patch, &stamp);
    }

    /// Counts a write, and gives the stamp of what it writes.
    fn stamp(&mut self, stamp_version: bool, now: Timestamp) -> Stamp {
        self.version += 1;
        let stamp = Stamp { at: now.to_string(), version: stamp_version.then_some(self.version) };
        stamp.mark(&mut self.metadata);
        stamp
    }

    /// Carries a write out; gives the merge patch that tells it.
    fn write(&mut self, write: &SectionWrite, now: Timestamp) -> Object {
        if !matches!(write, SectionWrite::Merge(_)) {
            self.metadata.clear();
        }
        let stamp = self.stamp(true, now);
        write_values(&mut self.values, &mut self.metadata, write, &stamp)
    }
}

fn write_values(values: &mut Object, metadata: &mut Object, write: &SectionWrite, stamp: &Stamp) -> Object {
    let written = match write {
        SectionWrite::Merge(patch) => {
            merge_object(values, metadata, patch, stamp);
            return without_shown(patch).map(|(key, value)| (key.clone(), value.clone())).collect();
        }
        SectionWrite::Clear => &Object::new(),
        SectionWrite::Replace(written) => written,
    };
    let old = std::mem::take(values);
    merge_object(values, metadata, written, stamp);
    telling(&old, values)
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

    /// Carries a write out; says what it changed.
    ///
    /// # Errors
    /// [`TwinError`]; the twin is unchanged then.
    pub fn write(&mut self, write: &TwinWrite, now: Timestamp) -> Result<Change, TwinError> {
        let mut next = self.clone();
        let mut change = Change { is_replacement: write.is_replacement(), ..Change::default() };
        if let Some(tags) = &write.tags {
            tags.check(TAGS)?;
            let unstamped = Stamp { at: String::new(), version: None };
            change.tags = Some(write_values(&mut next.tags, &mut Object::new(), tags, &unstamped));
            check_size(&next.tags, TAGS, limits::TWIN_TAGS_BYTES_MAX)?;
        }
        if let Some(desired) = &write.desired {
            desired.check(DESIRED)?;
            change.desired = Some(next.desired.write(desired, now));
            check_size(&next.desired.values, DESIRED, limits::TWIN_PROPERTIES_BYTES_MAX)?;
        }
        next.version += 1;
        next.etag += 1;
        *self = next;
        Ok(change)
    }

    /// What a connected device is told of a change, if it concerns the device.
    pub(crate) fn push(&self, change: &Change) -> Option<Value> {
        let mut body = change.desired.clone()?;
        body.insert(VERSION.into(), self.desired.version.into());
        Some(Value::Object(body))
    }

    /// Merges what the device reported; returns the new reported version.
    ///
    /// # Errors
    /// [`TwinError`]; the twin is unchanged then.
    pub fn report(&mut self, patch: &Object, now: Timestamp) -> Result<u64, TwinError> {
        check_report(patch)?;
        let mut next = self.reported.clone();
        next.merge(patch, false, now);
        check_size(&next.values, REPORTED, limits::TWIN_PROPERTIES_BYTES_MAX)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    fn object(value: Value) -> Object {
        let Value::Object(object) = value else { panic!("{value} is not an object") };
        object
    }

    fn patch(twin: &mut Twin, value: Value) -> Option<Value> {
        let change = twin.write(&TwinWrite::merging(None, Some(value)).unwrap(), NOW).unwrap();
        twin.push(&change)
    }

    fn replace(twin: &mut Twin, value: Value) -> Option<Value> {
        let change = twin.write(&TwinWrite::replacing(None, Some(value)).unwrap(), NOW).unwrap();
        twin.push(&change)
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
        patch(&mut twin, json!({"a": {"b": 1, "c": 2}, "d": 3}));
        let push = patch(&mut twin, json!({"a": {"b": null}, "d": null}));
        assert_eq!(Value::Object(twin.desired.values.clone()), json!({"a": {"c": 2}}));
        assert_eq!(push, Some(json!({"a": {"b": null}, "d": null, "$version": 3})));
        assert_eq!(twin.desired.metadata["a"]["c"]["$lastUpdatedVersion"], 2);
        assert_eq!(twin.desired.metadata["a"]["$lastUpdatedVersion"], 3);
        assert!(!twin.desired.metadata.contains_key("d"));
    }

    #[test]
    fn a_replacement_drops_what_it_does_not_name_and_says_so_at_every_level() {
        let mut twin = Twin::new();
        patch(&mut twin, json!({"a": 1, "b": 2, "o": {"p": 1, "q": {"r": 1, "s": 2}}, "l": {"x": 1}, "n": 1}));
        let push = replace(
            &mut twin,
            json!({"a": 1, "c": 3, "o": {"p": 5, "q": {"s": 2}}, "l": [{"x": 1}], "n": {"y": 1}, "$version": 77}),
        );
        assert_eq!(
            twin.for_device()["desired"],
            json!({"a": 1, "c": 3, "o": {"p": 5, "q": {"s": 2}}, "l": [{"x": 1}], "n": {"y": 1}, "$version": 3})
        );
        assert_eq!(
            push,
            Some(json!({"a": 1, "b": null, "c": 3, "o": {"p": 5, "q": {"r": null, "s": 2}}, "l": [{"x": 1}],
                        "n": {"y": 1}, "$version": 3}))
        );
        let mut metadata: Vec<_> = twin.desired.metadata.keys().filter(|key| !key.starts_with('$')).collect();
        metadata.sort();
        assert_eq!(metadata, ["a", "c", "l", "n", "o"], "metadata is that of what is there");
        let push = replace(&mut twin, json!({}));
        assert_eq!(push, Some(json!({"a": null, "c": null, "o": null, "l": null, "n": null, "$version": 4})));
    }

    #[test]
    fn null_for_a_section_clears_it() {
        let mut twin = Twin::new();
        patch(&mut twin, json!({"a": 1, "o": {"p": 1}}));
        twin.write(&TwinWrite::merging(Some(json!({"site": "north"})), None).unwrap(), NOW).unwrap();
        let change = twin.write(&TwinWrite::merging(Some(Value::Null), Some(Value::Null)).unwrap(), NOW).unwrap();
        assert_eq!(twin.push(&change), Some(json!({"a": null, "o": null, "$version": 3})));
        assert_eq!(change.tags.map(Value::Object), Some(json!({"site": null})));
        assert!(!change.is_replacement, "a merge that clears is still a merge");
        assert!(twin.tags.is_empty() && twin.desired.values.is_empty());
        let mut stamps: Vec<_> = twin.desired.metadata.keys().collect();
        stamps.sort();
        assert_eq!(stamps, ["$lastUpdated", "$lastUpdatedVersion"]);
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
        let write = TwinWrite::merging(Some(json!({"site": "north"})), None).unwrap();
        let change = twin.write(&write, NOW).unwrap();
        assert_eq!(twin.push(&change), None);
        assert_eq!((twin.version, twin.etag, twin.desired.version), (3, 2, 1));
    }

    #[test]
    fn a_refused_write_changes_nothing() {
        let full: Object = (0..40).map(|n| (format!("k{n}"), "v".repeat(1000).into())).collect();
        let section = |value: Value| Some(SectionWrite::Merge(object(value)));
        for write in [
            TwinWrite { tags: section(json!({"a": 1})), desired: section(json!({"b": [null]})) },
            TwinWrite {
                tags: section(json!({"a": 1})),
                desired: Some(SectionWrite::Replace(object(json!({"b": null})))),
            },
            TwinWrite { tags: section(json!({"a": 1})), desired: Some(SectionWrite::Replace(full)) },
        ] {
            let mut twin = Twin::new();
            assert!(twin.write(&write, NOW).is_err());
            assert_eq!(twin, Twin::new());
        }
        let mut twin = Twin::new();
        assert!(twin.report(&object(json!({"a": 1, "$version": 1})), NOW).is_err());
        assert_eq!(twin, Twin::new());
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

        #[test]
        fn what_is_told_makes_the_new_of_the_old(a in tree(), b in tree(), replaces: bool) {
            let mut twin = Twin::new();
            patch(&mut twin, a.into());
            let mut device = Twin { reported: Section::new(), ..twin.clone() };
            let write = if replaces { TwinWrite::replacing } else { TwinWrite::merging };
            let Ok(write) = write(None, Some(b.into())) else { return Ok(()) };
            let change = twin.write(&write, NOW).unwrap();
            device.write(&TwinWrite::desired(change.desired.unwrap()), NOW).unwrap();
            proptest::prop_assert_eq!(device.desired.values, twin.desired.values);
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
