//! What is written to a twin: the one place where such a write is read and checked.
//!
//! Every writer (PATCH, PUT, bulk call, import, job, configuration, digital twin, rule,
//! enrollment, report of a device) comes through here, and [`Twin::write`] or
//! [`Twin::report`] turns what it wrote into a [`Change`].
//! Source: device twins guide; `docs/compatibility.md`.
//!
//! [`Twin::write`]: crate::twins::twin::Twin::write
//! [`Twin::report`]: crate::twins::twin::Twin::report

use serde_json::Value;

use crate::limits;
use crate::twins::twin::{METADATA, Object, VERSION};

pub(crate) const TAGS: &str = "tags";
pub(crate) const DESIRED: &str = "properties.desired";
pub(crate) const REPORTED: &str = "properties.reported";

/// Why a write to a twin was refused.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum TwinError {
    /// Not a JSON object where one is needed.
    #[error("`{0}` must be a JSON object")]
    NotObject(String),
    /// Key too long, empty, or with a character that is not allowed.
    #[error("key `{0}` is not allowed in a twin")]
    Key(String),
    /// A null where nothing can be removed: in an array or in a replacement.
    #[error("null is not allowed at `{0}`")]
    Null(String),
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

/// What happens to a section.
#[derive(Clone, Debug, PartialEq)]
pub enum SectionWrite {
    /// A merge patch (RFC 7396): null removes.
    Merge(Object),
    /// Everything goes: null for the whole section in a merge.
    Clear,
    /// What is not named goes; null has no place in it.
    Replace(Object),
}

impl SectionWrite {
    /// Whether it may be carried out, whatever is there. `$metadata` and `$version` at the root of properties are
    /// what a service was shown and sends back; they are not written. Tags have none.
    pub(crate) fn check(&self, at: &str) -> Result<(), TwinError> {
        let (section, check) = match self {
            Self::Merge(patch) => (patch, Check { nulls: true }),
            Self::Clear => return Ok(()),
            Self::Replace(values) => (values, Check { nulls: false }),
        };
        if at == TAGS { check.object(section.iter(), at, 1) } else { check.object(without_shown(section), at, 1) }
    }
}

/// A write to the service-owned sections. Absent sections stay as they are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TwinWrite {
    /// What happens to the tags.
    pub tags: Option<SectionWrite>,
    /// What happens to the desired properties.
    pub desired: Option<SectionWrite>,
}

impl TwinWrite {
    /// A merge, as JSON says it: null removes, at any level but in arrays.
    ///
    /// # Errors
    /// [`TwinError`] names the place.
    pub fn merging(tags: Option<Value>, desired: Option<Value>) -> Result<Self, TwinError> {
        let read = |value: Option<Value>, at: &str| match value {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(SectionWrite::Clear)),
            Some(Value::Object(patch)) => Ok(Some(SectionWrite::Merge(patch))),
            Some(_) => Err(TwinError::NotObject(at.to_owned())),
        };
        Self { tags: read(tags, TAGS)?, desired: read(desired, DESIRED)? }.checked()
    }

    /// A replacement of the sections that are given.
    ///
    /// # Errors
    /// [`TwinError`] names the place, that of a null too.
    pub fn replacing(tags: Option<Value>, desired: Option<Value>) -> Result<Self, TwinError> {
        let read = |value: Option<Value>, at: &str| match value {
            None => Ok(None),
            Some(Value::Null) => Err(TwinError::Null(at.to_owned())),
            Some(Value::Object(values)) => Ok(Some(SectionWrite::Replace(values))),
            Some(_) => Err(TwinError::NotObject(at.to_owned())),
        };
        Self { tags: read(tags, TAGS)?, desired: read(desired, DESIRED)? }.checked()
    }

    /// A merge into the desired properties alone.
    pub(crate) fn desired(patch: Object) -> Self {
        Self { tags: None, desired: Some(SectionWrite::Merge(patch)) }
    }

    /// Whether nothing is written.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it replaces, as a PUT does.
    pub(crate) fn is_replacement(&self) -> bool {
        [&self.tags, &self.desired].into_iter().any(|section| matches!(section, Some(SectionWrite::Replace(_))))
    }

    fn checked(self) -> Result<Self, TwinError> {
        for (section, at) in [(&self.tags, TAGS), (&self.desired, DESIRED)] {
            section.iter().try_for_each(|section| section.check(at))?;
        }
        Ok(self)
    }
}

/// What a write did, as the merge patch that makes of the sections before what they are now: a replacement names
/// with null, at every level, what is gone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// Of the tags, when they were written.
    pub tags: Option<Object>,
    /// Of the desired properties, when they were written.
    pub desired: Option<Object>,
    /// Whether it was a replacement.
    pub is_replacement: bool,
}

/// `new` with null for what is only in `old`: what a device is told of a replacement.
pub(crate) fn telling(old: &Object, new: &Object) -> Object {
    let mut all: Object = new.iter().map(|(key, value)| (key.clone(), told(old.get(key), value))).collect();
    all.extend(old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), Value::Null)));
    all
}

/// As [`telling`], of a value that takes the place of another.
pub(crate) fn told(old: Option<&Value>, new: &Value) -> Value {
    match (old, new) {
        (Some(Value::Object(old)), Value::Object(new)) => telling(old, new).into(),
        _ => new.clone(),
    }
}

/// What a device reports: a merge in which nothing begins with `$`, not the version either.
pub(crate) fn check_report(patch: &Object) -> Result<(), TwinError> {
    Check { nulls: true }.object(patch.iter(), REPORTED, 1)
}

/// Without what a service is shown at the root of a section.
pub(crate) fn without_shown(section: &Object) -> impl Iterator<Item = (&String, &Value)> {
    section.iter().filter(|(key, _)| !matches!(key.as_str(), METADATA | VERSION))
}

#[derive(Clone, Copy)]
struct Check {
    /// Whether null may stand for a removal.
    nulls: bool,
}

impl Check {
    fn object<'a>(
        self,
        members: impl Iterator<Item = (&'a String, &'a Value)>,
        at: &str,
        depth: usize,
    ) -> Result<(), TwinError> {
        for (key, value) in members {
            let bad = |c: char| c.is_control() || matches!(c, '.' | ' ' | '$' | '#');
            if key.is_empty() || key.len() > limits::TWIN_KEY_BYTES_MAX || key.contains(bad) {
                return Err(TwinError::Key(format!("{at}.{key}")));
            }
            self.value(value, &format!("{at}.{key}"), depth)?;
        }
        Ok(())
    }

    fn value(self, value: &Value, at: &str, depth: usize) -> Result<(), TwinError> {
        match value {
            Value::Null if !self.nulls => Err(TwinError::Null(at.into())),
            Value::Object(inner) if depth >= limits::TWIN_DEPTH_MAX && !inner.is_empty() => {
                Err(TwinError::TooDeep(at.into()))
            }
            Value::Object(inner) => self.object(inner.iter(), at, depth + 1),
            Value::Array(_) if depth >= limits::TWIN_DEPTH_MAX => Err(TwinError::TooDeep(at.into())),
            // An array is one value: there is nothing in it to remove.
            Value::Array(items) => items.iter().try_for_each(|item| Self { nulls: false }.value(item, at, depth + 1)),
            Value::String(text) if text.len() > limits::TWIN_STRING_BYTES_MAX => {
                Err(TwinError::StringTooLong(at.into()))
            }
            Value::Number(n) if !n.is_f64() && !n.as_i64().is_some_and(|i| limits::TWIN_INTEGER.contains(&i)) => {
                Err(TwinError::Integer(at.into()))
            }
            _ => Ok(()),
        }
    }
}

/// Whether there is a null in a value, at any level.
pub(crate) fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(inner) => inner.values().any(has_null),
        _ => false,
    }
}

pub(crate) fn check_size(object: &Object, section: &'static str, max: usize) -> Result<(), TwinError> {
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
    use serde_json::json;

    type Reader = fn(Option<Value>, Option<Value>) -> Result<TwinWrite, TwinError>;
    const READERS: [Reader; 2] = [TwinWrite::merging, TwinWrite::replacing];

    fn key(name: &str) -> TwinError {
        TwinError::Key(name.into())
    }

    #[test]
    fn keys_are_refused_at_every_level_and_in_arrays() {
        for bad in
            ["", "a b", " ", "a.b", "$b", "a$", "#", "a#", "m2(<#a", "\u{0}", "a\tb", "\u{85}", &"x".repeat(1025)]
        {
            for (place, at) in [
                (json!({ bad: 1 }), format!("tags.{bad}")),
                (json!({ "o": {bad: {"x": 1}} }), format!("tags.o.{bad}")),
                (json!({ "o": [[{bad: 1}]] }), format!("tags.o.{bad}")),
            ] {
                for read in READERS {
                    assert_eq!(read(Some(place.clone()), None), Err(key(&at)), "{place}");
                }
                assert!(matches!(check_report(place.as_object().unwrap()), Err(TwinError::Key(_))), "{place}");
            }
        }
        for good in ["m2(<a-b_c:/%&", "ä", "a@b", &"x".repeat(1024)] {
            assert!(TwinWrite::replacing(Some(json!({ good: 1 })), None).is_ok(), "{good}");
        }
    }

    #[test]
    fn null_has_no_place_in_an_array() {
        for bad in
            [json!([null]), json!([1, null]), json!([[null]]), json!([{"b": null}]), json!({"d": [{"x": {"y": null}}]})]
        {
            for read in READERS {
                assert!(matches!(read(None, Some(json!({"a": bad}))), Err(TwinError::Null(_))), "{bad}");
            }
            assert!(matches!(check_report(json!({"a": bad}).as_object().unwrap()), Err(TwinError::Null(_))), "{bad}");
        }
        assert!(TwinWrite::replacing(None, Some(json!({"a": [1, [2], {"x": [3]}]}))).is_ok());
    }

    #[test]
    fn null_removes_in_a_merge_and_is_refused_in_a_replacement() {
        let merged = TwinWrite::merging(Some(Value::Null), Some(json!({"a": {"b": null}}))).unwrap();
        assert_eq!(merged.tags, Some(SectionWrite::Clear));
        assert!(!merged.is_replacement() && !merged.is_empty());
        for (tags, at) in
            [(json!(null), "tags"), (json!({"a": null}), "tags.a"), (json!({"a": {"b": null}}), "tags.a.b")]
        {
            assert_eq!(TwinWrite::replacing(Some(tags), None), Err(TwinError::Null(at.into())));
        }
    }

    #[test]
    fn a_section_is_an_object() {
        for value in [json!(1), json!("x"), json!([]), json!(true)] {
            for read in READERS {
                assert_eq!(read(None, Some(value.clone())), Err(TwinError::NotObject("properties.desired".into())));
            }
        }
    }

    #[test]
    fn a_service_may_send_back_what_it_was_shown_and_a_device_not() {
        let shown = json!({ "a": 1, "$version": 7, "$metadata": {"$lastUpdated": "2020-01-01T00:00:00Z"} });
        for read in READERS {
            assert!(read(None, Some(shown.clone())).is_ok());
            assert_eq!(read(None, Some(json!({"$other": 1}))), Err(key("properties.desired.$other")));
            assert_eq!(read(None, Some(json!({"a": {"$version": 1}}))), Err(key("properties.desired.a.$version")));
        }
        for name in ["$version", "$metadata", "$x"] {
            let patch = json!({ "a": 1, name: 1 });
            assert_eq!(check_report(patch.as_object().unwrap()), Err(key(&format!("properties.reported.{name}"))));
        }
    }

    #[test]
    fn values_and_depth_have_limits() {
        let refused = |value: Value, error: TwinError| assert_eq!(TwinWrite::merging(None, Some(value)), Err(error));
        refused(json!({"x": "y".repeat(4097)}), TwinError::StringTooLong("properties.desired.x".into()));
        refused(json!({"x": 4_503_599_627_370_496_i64}), TwinError::Integer("properties.desired.x".into()));
        let nested = |depth| (0..depth).fold(json!(1), |inner, _| json!({ "a": inner }));
        assert!(TwinWrite::merging(None, Some(nested(10))).is_ok());
        assert!(matches!(TwinWrite::merging(None, Some(nested(11))), Err(TwinError::TooDeep(_))));
    }
}
