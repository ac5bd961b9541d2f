//! Digital twin model identifiers: `dtmi:com:example:Thermostat;1`.
//!
//! Source: the DTMI specification of opendigitaltwins-dtdl and the identifier rules of each DTDL
//! version. A value of [`Dtmi`] has been checked once and is not checked again. What only a
//! document must obey (no system segments, no fragment, a version in DTDL v2) is asked of a text
//! with [`is_user_id`].

use std::fmt;
use std::sync::Arc;

/// The longest identifier of an interface, in bytes, without extended limits.
pub const INTERFACE_ID_LEN_MAX: usize = 128;

/// The longest identifier in a document, in bytes, without extended limits.
pub const ID_LEN_MAX: usize = 2048;

/// The longest identifier at all, those the parser makes itself among them.
pub const DTMI_LEN_MAX: usize = 4096;

/// A checked identifier. Compared by its text, case included.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dtmi(Arc<str>);

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DtmiError {
    /// Longer than [`DTMI_LEN_MAX`].
    #[error("identifier of {0} bytes is longer than {DTMI_LEN_MAX}")]
    TooLong(usize),
    /// Not of the form `dtmi:segment:segment;version`.
    #[error("`{0}` is not of the form `dtmi:segment:segment;version`")]
    Malformed(String),
}

impl Dtmi {
    /// Reads an identifier, system segments and fragments allowed.
    ///
    /// # Errors
    /// [`DtmiError`] says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, DtmiError> {
        if text.len() > DTMI_LEN_MAX {
            return Err(DtmiError::TooLong(text.len()));
        }
        let parts = Parts::of(text).ok_or_else(|| DtmiError::Malformed(text.to_owned()))?;
        if parts.is_well_formed() { Ok(Self(text.into())) } else { Err(DtmiError::Malformed(text.to_owned())) }
    }

    /// An identifier that the parser made from checked ones, or has checked already.
    pub(crate) fn trusted(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parts(&self) -> Parts<'_> {
        Parts::of(&self.0).unwrap_or(Parts { path: "", version: None, fragment: None })
    }

    /// The first number of the version, 0 without one.
    #[must_use]
    pub fn major_version(&self) -> u32 {
        self.parts().version.map_or(0, |v| number(v.split('.').next().unwrap_or("")))
    }

    /// The second number of the version, 0 without one.
    #[must_use]
    pub fn minor_version(&self) -> u32 {
        self.parts().version.and_then(|v| v.split_once('.')).map_or(0, |(_, minor)| number(minor))
    }

    /// The text without its version, fragment kept.
    #[must_use]
    pub fn versionless(&self) -> String {
        let parts = self.parts();
        let fragment = parts.fragment.map(|f| format!("#{f}")).unwrap_or_default();
        format!("dtmi:{}{fragment}", parts.path)
    }

    /// The segments between `dtmi:` and the version.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.parts().path.split(':')
    }

    /// What follows `#`; empty for a bare `#`.
    #[must_use]
    pub fn fragment(&self) -> Option<&str> {
        self.parts().fragment
    }

    /// Whether a segment or the fragment begins with `_`: made by a parser, not by a person.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.0.contains(":_") || self.fragment().is_some_and(|f| f.starts_with('_'))
    }

    /// Where a model repository keeps this interface: `dtmi/com/example/thermostat-1.json`.
    ///
    /// Source: the conventions of iot-plugandplay-models. None for an identifier that names no
    /// file there: without a version, with a fragment, or with system segments.
    #[must_use]
    pub fn repository_path(&self) -> Option<String> {
        let parts = self.parts();
        let version = parts.version?;
        if parts.fragment.is_some() || self.is_reserved() {
            return None;
        }
        Some(format!("dtmi/{}-{version}.json", parts.path.replace(':', "/")).to_lowercase())
    }

    /// The same with everything the interface refers to, as an array.
    #[must_use]
    pub fn repository_path_expanded(&self) -> Option<String> {
        self.repository_path().map(|path| path.replace(".json", ".expanded.json"))
    }

    /// The identifier of a part of this element that has none of its own: the property it is the
    /// value of and, where there can be several, its name.
    pub(crate) fn child(&self, property: &str, name: Option<&str>) -> Self {
        let (head, version) = match self.0.split_once(';') {
            Some((head, version)) => (head, Some(version)),
            None => (&*self.0, None),
        };
        let mut text = format!("{head}:_{property}");
        if let Some(name) = name {
            text.push_str(":__");
            text.push_str(name);
        }
        if let Some(version) = version {
            text.push(';');
            text.push_str(version);
        }
        Self(text.into())
    }
}

impl fmt::Display for Dtmi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Dtmi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Dtmi {
    type Err = DtmiError;

    fn from_str(text: &str) -> Result<Self, DtmiError> {
        Self::parse(text)
    }
}

impl std::borrow::Borrow<str> for Dtmi {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A text taken apart, not yet checked.
struct Parts<'a> {
    path: &'a str,
    version: Option<&'a str>,
    fragment: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix("dtmi:")?;
        let (rest, fragment) = match rest.split_once('#') {
            Some((rest, fragment)) => (rest, Some(fragment)),
            None => (rest, None),
        };
        let (path, version) = match rest.split_once(';') {
            Some((path, version)) => (path, Some(version)),
            None => (rest, None),
        };
        Some(Self { path, version, fragment })
    }

    fn is_well_formed(&self) -> bool {
        self.path.split(':').all(is_segment)
            && self.version.is_none_or(is_version)
            && self.fragment.is_none_or(|f| f.is_empty() || is_segment(f))
    }
}

/// Whether a document of this DTDL version may use the text as identifier or reference.
pub(crate) fn is_user_id(text: &str, dtdl_version: u8) -> bool {
    let Some(parts) = Parts::of(text) else { return false };
    let version_fits = match (dtdl_version, parts.version) {
        (2, None) => false,
        (2, Some(version)) => is_major(version),
        (_, version) => version.is_none_or(is_version),
    };
    parts.fragment.is_none() && version_fits && parts.path.split(':').all(|s| is_segment(s) && !s.starts_with('_'))
}

fn is_segment(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
        && bytes.first().is_some_and(|b| !b.is_ascii_digit())
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
}

fn is_version(text: &str) -> bool {
    match text.split_once('.') {
        Some((major, minor)) => is_major(major) && is_counting(minor, 6),
        None => is_major(text),
    }
}

fn is_major(text: &str) -> bool {
    is_counting(text, 9)
}

/// A number from 1 on, without leading zero, of so many digits at most.
fn is_counting(text: &str, digits_max: usize) -> bool {
    text.len() <= digits_max
        && text.bytes().all(|b| b.is_ascii_digit())
        && text.bytes().next().is_some_and(|b| b != b'0')
}

/// A number that [`is_counting`] has passed.
fn number(text: &str) -> u32 {
    text.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, valid: bool) {
        assert_eq!(Dtmi::parse(text).is_ok(), valid, "{text}");
    }

    #[test]
    fn segments_begin_with_a_letter_or_underscore_and_end_without_one() {
        check("dtmi:foo", true);
        check("dtmi:foo:bar_2;1", true);
        check("dtmi:_foo:__bar;1", true);
        check("dtmi:foo:1bar;1", false);
        check("dtmi:foo_;1", false);
        check("dtmi:_;1", false);
        check("dtmi:foo::bar;1", false);
        check("dtmi:;1", false);
        check("DTMI:foo;1", false);
        check("dtmi:föö;1", false);
    }

    #[test]
    fn a_version_is_one_or_two_numbers_from_one_on() {
        check("dtmi:foo;999999999", true);
        check("dtmi:foo;1000000000", false);
        check("dtmi:foo;01", false);
        check("dtmi:foo;0", false);
        check("dtmi:foo;", false);
        check("dtmi:foo;1.999999", true);
        check("dtmi:foo;1.1000000", false);
        check("dtmi:foo;1.0", false);
        check("dtmi:foo;1.", false);
        check("dtmi:foo;1.2.3", false);
    }

    #[test]
    fn the_longest_identifier_is_read_and_one_byte_more_is_not() {
        check(&format!("dtmi:{}", "a".repeat(DTMI_LEN_MAX - 5)), true);
        check(&format!("dtmi:{}", "a".repeat(DTMI_LEN_MAX - 4)), false);
    }

    #[test]
    fn the_path_in_a_repository_is_in_lower_case() {
        let path = |text: &str| Dtmi::parse(text).unwrap().repository_path();
        assert_eq!(path("dtmi:com:example:Thermostat;1").as_deref(), Some("dtmi/com/example/thermostat-1.json"));
        assert_eq!(path("dtmi:com:example:Thermostat;1.2").as_deref(), Some("dtmi/com/example/thermostat-1.2.json"));
        assert_eq!(path("dtmi:com:example:Thermostat"), None);
        assert_eq!(path("dtmi:com:_example:Thermostat;1"), None);
        assert_eq!(path("dtmi:com:example:Thermostat;1#a"), None);
        assert_eq!(
            Dtmi::parse("dtmi:com:example:A;1").unwrap().repository_path_expanded().as_deref(),
            Some("dtmi/com/example/a-1.expanded.json")
        );
    }

    #[test]
    fn documents_of_v2_need_a_version_of_one_number() {
        for (text, v2, v3) in [
            ("dtmi:foo;1", true, true),
            ("dtmi:foo;1.1", false, true),
            ("dtmi:foo", false, true),
            ("dtmi:_foo;1", false, false),
            ("dtmi:foo;1#a", false, false),
        ] {
            assert_eq!((is_user_id(text, 2), is_user_id(text, 3)), (v2, v3), "{text}");
        }
    }

    #[test]
    fn a_part_is_named_before_the_version() {
        let parent = Dtmi::parse("dtmi:x:i;1").unwrap();
        assert_eq!(parent.child("contents", Some("temp")).as_str(), "dtmi:x:i:_contents:__temp;1");
        assert_eq!(Dtmi::parse("dtmi:x:i").unwrap().child("schema", None).as_str(), "dtmi:x:i:_schema");
    }
}
