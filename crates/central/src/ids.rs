//! Names of the application's objects: ids, names for people, etags.
//!
//! Ids are checked once where they come in. Alphabets and lengths are those of the path parameters of
//! `iotcentral-2022-10-31-preview`; an empty id, which those patterns let through, is none. Ids of API tokens, exports
//! and destinations have no published pattern and get that of device groups. What is stored of an id is its text.

use std::fmt;
use std::sync::Arc;

use gantry_dtdl::{Dtmi, INTERFACE_ID_LEN_MAX};
use gantry_hub::device::IfMatch;
use serde::{Deserialize, Serialize};

/// Characters of a name for people; ours, the reference publishes none.
pub const DISPLAY_NAME_CHARS_MAX: usize = 256;
/// Characters of a description; ours.
pub const DESCRIPTION_CHARS_MAX: usize = 4096;

/// Why a text is not an id or a name.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum IdError {
    /// Nothing, or nothing but spaces.
    #[error("the {what} is empty")]
    Empty {
        /// Of what.
        what: &'static str,
    },
    /// Too long.
    #[error("the {what} is longer than {max} characters")]
    TooLong {
        /// Of what.
        what: &'static str,
        /// The most it may have.
        max: usize,
    },
    /// Other characters than those allowed.
    #[error("the {what} may have {allowed} only")]
    Pattern {
        /// Of what.
        what: &'static str,
        /// What it may have.
        allowed: &'static str,
    },
}

macro_rules! id {
    ($name:ident, $doc:literal, $what:literal, $max:literal, $allowed:literal, $matches:expr) => {
        #[doc = $doc]
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The most characters it has.
            pub const LEN_MAX: usize = $max;

            /// Checks length and alphabet.
            ///
            /// # Errors
            /// [`IdError`] says what is wrong.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                let matches: fn(&str) -> bool = $matches;
                if text.is_empty() {
                    return Err(IdError::Empty { what: $what });
                }
                if text.chars().count() > $max {
                    return Err(IdError::TooLong { what: $what, max: $max });
                }
                if !matches(text) {
                    return Err(IdError::Pattern { what: $what, allowed: $allowed });
                }
                Ok(Self(text.into()))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

fn is_word(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

fn is_entry(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b':' | b';'))
}

fn is_organization(text: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.len() >= 2
        && bytes.first() != Some(&b'-')
        && bytes.last().is_some_and(|b| is_plain(*b))
        && bytes.iter().all(|b| is_plain(*b) || *b == b'-')
}

id!(DeviceGroupId, "A device group.", "id of a device group", 255, "letters, digits, `_` and `-`", is_word);
id!(JobId, "A job or scheduled job.", "id of a job", 255, "letters, digits, `_` and `-`", is_word);
id!(UserId, "A user of the application.", "id of a user", 48, "letters, digits, `_` and `-`", is_word);
id!(TokenId, "An API token.", "id of an API token", 255, "letters, digits, `_` and `-`", is_word);
id!(RelationshipId, "A relationship of devices.", "id of a relationship", 255, "letters, digits, `_` and `-`", is_word);
id!(ExportId, "An export of data.", "id of an export", 255, "letters, digits, `_` and `-`", is_word);
id!(DestinationId, "A destination of exports.", "id of a destination", 255, "letters, digits, `_` and `-`", is_word);
id!(RoleId, "A role.", "id of a role", 255, "letters, digits, `_` and `-`", is_word);
id!(
    EnrollmentGroupId,
    "An enrollment group of the application.",
    "id of an enrollment group",
    255,
    "letters, digits and `-`",
    |text| is_word(text) && !text.contains('_')
);
id!(DashboardId, "A dashboard.", "id of a dashboard", 128, "letters, digits, `:` and `;`", is_entry);
id!(
    DeploymentManifestId,
    "A deployment manifest of IoT Edge.",
    "id of a deployment manifest",
    255,
    "letters, digits, `:` and `;`",
    is_entry
);
id!(
    OrganizationId,
    "An organization: 2 to 48 characters, neither beginning nor ending with `-`.",
    "id of an organization",
    48,
    "2 or more lower case letters, digits and `-` between them",
    is_organization
);

/// A device template: a DTMI that a person could have written. One without a version is good, as the published
/// examples have them.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeviceTemplateId(Dtmi);

impl DeviceTemplateId {
    /// Checks that it is a DTMI of at most [`INTERFACE_ID_LEN_MAX`] bytes without system segments and fragment.
    ///
    /// # Errors
    /// [`IdError`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        const WHAT: &str = "id of a device template";
        if text.is_empty() {
            return Err(IdError::Empty { what: WHAT });
        }
        if text.len() > INTERFACE_ID_LEN_MAX {
            return Err(IdError::TooLong { what: WHAT, max: INTERFACE_ID_LEN_MAX });
        }
        let id = Dtmi::parse(text).ok().filter(|id| !id.is_reserved() && id.fragment().is_none());
        id.map(Self).ok_or(IdError::Pattern { what: WHAT, allowed: "the form `dtmi:segment:segment;version`" })
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl TryFrom<String> for DeviceTemplateId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse(&text)
    }
}

impl From<DeviceTemplateId> for String {
    fn from(id: DeviceTemplateId) -> Self {
        id.0.as_str().to_owned()
    }
}

impl fmt::Display for DeviceTemplateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for DeviceTemplateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// The id of an object of which an application has one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Single;

impl fmt::Display for Single {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("default")
    }
}

impl TryFrom<String> for Single {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        let wrong = IdError::Pattern { what: "id of the only one", allowed: "`default`" };
        if text == Self.to_string() { Ok(Self) } else { Err(wrong) }
    }
}

/// A name for people.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DisplayName(Arc<str>);

impl DisplayName {
    /// Checks that there is something to see and that it is not too long.
    ///
    /// # Errors
    /// [`IdError`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        const WHAT: &str = "display name";
        if text.trim().is_empty() {
            return Err(IdError::Empty { what: WHAT });
        }
        if text.chars().count() > DISPLAY_NAME_CHARS_MAX {
            return Err(IdError::TooLong { what: WHAT, max: DISPLAY_NAME_CHARS_MAX });
        }
        if text.chars().any(char::is_control) {
            return Err(IdError::Pattern { what: WHAT, allowed: "characters that are no control characters" });
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for DisplayName {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse(&text)
    }
}

impl From<DisplayName> for String {
    fn from(name: DisplayName) -> Self {
        name.0.to_string()
    }
}

/// Checks the length of a description.
///
/// # Errors
/// [`IdError::TooLong`].
pub fn check_description(text: &str) -> Result<(), IdError> {
    if text.chars().count() > DESCRIPTION_CHARS_MAX {
        return Err(IdError::TooLong { what: "description", max: DESCRIPTION_CHARS_MAX });
    }
    Ok(())
}

/// The state of an object, as bodies and headers name it.
///
/// The first is drawn at random by the caller, so that an object deleted and made anew has none that its predecessor
/// had; each write takes the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ETag(u64);

impl ETag {
    /// Of a new object.
    #[must_use]
    pub fn first(drawn: u64) -> Self {
        Self(drawn)
    }

    /// After a write.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// As text, without quotes.
    #[must_use]
    pub fn text(self) -> String {
        format!("{:016x}", self.0)
    }

    /// Whether a request that expects something may write.
    #[must_use]
    pub fn agrees(self, if_match: &IfMatch) -> bool {
        if_match.admits(&self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<T>(parse: fn(&str) -> Result<T, IdError>, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(parse(text).is_ok(), "{text:?} is one");
        }
        for text in bad {
            assert!(parse(text).is_err(), "{text:?} is none");
        }
    }

    #[test]
    fn ids_have_the_published_alphabets() {
        check(DeviceGroupId::parse, &["a", "A_b-9"], &["", "a b", "a.b", "ä", "a:b"]);
        check(JobId::parse, &["job-1"], &["", "job/1"]);
        check(UserId::parse, &["user-001_x"], &["", "a@b"]);
        check(EnrollmentGroupId::parse, &["group-1"], &["", "group_1"]);
        check(DashboardId::parse, &["dtmi:a:b;1", "x9"], &["", "a-b", "a_b"]);
        check(DeploymentManifestId::parse, &["a:b;1"], &["", "a-b"]);
        check(OrganizationId::parse, &["ab", "a-b", "9z", "a--b"], &["", "a", "-ab", "ab-", "Ab", "a_b", "ä1"]);
        check(
            DeviceTemplateId::parse,
            &["dtmi:contoso:testDeviceTemplate;1", "dtmi:modelDefinition:dtdlv2"],
            &["", "x", "dtmi:a b;1", "dtmi:a:_b;1", "dtmi:a:b;1#c"],
        );
    }

    #[test]
    fn ids_have_the_published_lengths() {
        let of = |n: usize| "a".repeat(n);
        check(DeviceGroupId::parse, &[&of(255)], &[&of(256)]);
        check(EnrollmentGroupId::parse, &[&of(255)], &[&of(256)]);
        check(DashboardId::parse, &[&of(128)], &[&of(129)]);
        check(UserId::parse, &[&of(48)], &[&of(49)]);
        check(OrganizationId::parse, &[&of(48)], &[&of(49)]);
        let template = |n: usize| format!("dtmi:{};1", of(n - 7));
        check(DeviceTemplateId::parse, &[&template(128)], &[&template(129)]);
        assert_eq!(UserId::parse(&of(49)), Err(IdError::TooLong { what: "id of a user", max: 48 }));
    }

    #[test]
    fn names_for_people_are_seen_and_bounded() {
        let long = "ä".repeat(DISPLAY_NAME_CHARS_MAX);
        check(DisplayName::parse, &["Pumpe 3", "泵", &long], &["", "  ", "a\nb", &format!("{long}a")]);
        assert!(check_description(&"x".repeat(DESCRIPTION_CHARS_MAX)).is_ok());
        assert!(check_description(&"x".repeat(DESCRIPTION_CHARS_MAX + 1)).is_err());
    }

    #[test]
    fn a_write_changes_the_etag_and_an_old_one_does_not_agree() {
        let old = ETag::first(u64::MAX);
        let new = old.next();
        let expects = IfMatch::parse(Some(&format!("\"{}\"", old.text())));
        assert!(old.agrees(&expects) && !new.agrees(&expects));
        assert!(new.agrees(&IfMatch::Any) && new.agrees(&IfMatch::Absent));
    }

    #[test]
    fn what_is_stored_of_an_id_is_its_text_and_checked_when_read() {
        let id = OrganizationId::parse("north").unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"north\"");
        assert!(serde_json::from_str::<OrganizationId>("\"North\"").is_err());
    }
}
