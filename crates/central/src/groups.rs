//! Device groups: saved filters over devices, whose members are whoever passes now.
//!
//! ```text
//! SELECT * FROM devices [WHERE condition]
//! ```
//!
//! A condition puts tests together with `AND`, `OR` and parentheses: `name op literal` with `=`, `==`, `!=`, `<>`, `<`,
//! `<=`, `>`, `>=`, and `CONTAINS(name, "text")`, without case as the page searches. A name is one of [`Fact`] (`$id`,
//! `$template`), a property, or `component.property`; cloud properties are named like others. Keywords are read without
//! case, names as they are. The filter says nothing of organizations; a group of one has only devices its members see.
//! Source: device groups of the 2022 specifications and their examples.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ids::{DeviceGroupId, DisplayName, OrganizationId};
use crate::kept::Kept;
use crate::language::compare::Comparison;
use crate::language::{Condition, Literal, Reader, SyntaxError, Token, condition};

/// Groups an application has (IoT Central quotas and limits).
pub const GROUPS_MAX: usize = 500;
/// Tests of one (IoT Central quotas and limits).
pub const TESTS_MAX: usize = 100;
/// Characters of a filter; ours.
pub const FILTER_CHARS_MAX: usize = 16_384;

/// A device group.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceGroup {
    /// What it is called.
    pub display_name: DisplayName,
    /// What it is for.
    pub description: Option<String>,
    /// Who is in it.
    pub filter: DeviceFilter,
    /// The organization it belongs to; the root without one.
    pub organization: Option<OrganizationId>,
}

/// All groups by id.
pub type DeviceGroups = BTreeMap<DeviceGroupId, Arc<Kept<DeviceGroup>>>;

/// Why a group was not written.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum GroupError {
    /// There is none with this id.
    #[error("there is no device group `{0}`")]
    Unknown(DeviceGroupId),
    /// The name or description is none.
    #[error(transparent)]
    Name(#[from] crate::ids::IdError),
    /// The filter is none.
    #[error("`filter` of a device group cannot be read: {0}")]
    Filter(#[from] SyntaxError),
    /// There is no such organization.
    #[error("there is no organization `{0}`")]
    UnknownOrganization(OrganizationId),
    /// A scheduled job is for it.
    #[error("scheduled job `{job}` is for device group `{id}`")]
    InUse {
        /// Which.
        id: DeviceGroupId,
        /// For what.
        job: crate::ids::JobId,
    },
    /// There are as many as there may be.
    #[error("there are {GROUPS_MAX} device groups, which is the most")]
    TooMany,
}

/// Checks that a group may be written under an id.
///
/// # Errors
/// [`GroupError`].
pub fn check_put(
    all: &DeviceGroups,
    organizations: &crate::organizations::Organizations,
    id: &DeviceGroupId,
    new: &DeviceGroup,
) -> Result<(), GroupError> {
    new.description.as_deref().map_or(Ok(()), crate::ids::check_description)?;
    if !all.contains_key(id) && all.len() >= GROUPS_MAX {
        return Err(GroupError::TooMany);
    }
    match &new.organization {
        Some(id) if !organizations.contains_key(id) => Err(GroupError::UnknownOrganization(id.clone())),
        _ => Ok(()),
    }
}

/// What is known of every device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fact {
    /// Its id.
    Id,
    /// What it is called.
    DisplayName,
    /// Its template.
    Template,
    /// Whether it is simulated.
    Simulated,
    /// Whether it was provisioned.
    Provisioned,
    /// Whether it may connect.
    Enabled,
    /// Its organization.
    Organizations,
}

impl Fact {
    const WORDS: [(Self, &'static str); 7] = [
        (Self::Id, "$id"),
        (Self::DisplayName, "$displayName"),
        (Self::Template, "$template"),
        (Self::Simulated, "$simulated"),
        (Self::Provisioned, "$provisioned"),
        (Self::Enabled, "$enabled"),
        (Self::Organizations, "$organizations"),
    ];

    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(_, of)| *of == word).map(|(fact, _)| *fact)
    }
}

/// What a test looks at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Name {
    /// Something every device has.
    Fact(Fact),
    /// A property.
    Property {
        /// Of this component; of the device itself without.
        component: Option<String>,
        /// Its name.
        name: String,
    },
}

/// A test of one value.
#[derive(Clone, PartialEq, Debug)]
pub enum Test {
    /// A comparison with a literal.
    Compare(Name, Comparison, Literal),
    /// Whether a text has another in it; kept in lower case.
    Contains(Name, String),
}

/// A device as filters see it.
#[derive(Clone, Copy, Debug)]
pub struct DeviceFacts<'a> {
    /// Its id.
    pub id: &'a str,
    /// What it is called.
    pub display_name: &'a str,
    /// Its template.
    pub template: Option<&'a str>,
    /// Whether it is simulated.
    pub is_simulated: bool,
    /// Whether it was provisioned.
    pub is_provisioned: bool,
    /// Whether it may connect.
    pub is_enabled: bool,
    /// Its organization.
    pub organization: Option<&'a str>,
    /// Its properties as they are read, components as objects.
    pub properties: &'a Map<String, Value>,
}

impl DeviceFacts<'_> {
    /// A value; null when it has none.
    #[must_use]
    pub fn value(&self, name: &Name) -> Value {
        match name {
            Name::Fact(Fact::Id) => self.id.into(),
            Name::Fact(Fact::DisplayName) => self.display_name.into(),
            Name::Fact(Fact::Template) => self.template.into(),
            Name::Fact(Fact::Simulated) => self.is_simulated.into(),
            Name::Fact(Fact::Provisioned) => self.is_provisioned.into(),
            Name::Fact(Fact::Enabled) => self.is_enabled.into(),
            Name::Fact(Fact::Organizations) => self.organization.into(),
            Name::Property { component: None, name } => self.properties.get(name).cloned().unwrap_or_default(),
            Name::Property { component: Some(component), name } => {
                let part = self.properties.get(component);
                part.and_then(|part| part.get(name)).cloned().unwrap_or_default()
            }
        }
    }
}

/// Who is in a group. Stored as its text.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeviceFilter {
    text: Arc<str>,
    condition: Option<Condition<Test>>,
}

impl DeviceFilter {
    /// Reads a filter.
    ///
    /// # Errors
    /// [`SyntaxError`] says what is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let mut reader = Reader::new(text, FILTER_CHARS_MAX)?;
        reader.want_word("SELECT")?;
        reader.want_mark('*')?;
        reader.want_word("FROM")?;
        reader.want_word("devices")?;
        let condition = if reader.take_word("WHERE") { Some(read_tests(&mut reader)?) } else { None };
        reader.want_end()?;
        Ok(Self { text: text.into(), condition })
    }

    /// The text it was read from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its condition; none when everything is in it.
    #[must_use]
    pub fn condition(&self) -> Option<&Condition<Test>> {
        self.condition.as_ref()
    }

    /// Whether a device is in it.
    #[must_use]
    pub fn holds(&self, device: &DeviceFacts<'_>) -> bool {
        let test = |test: &Test| match test {
            Test::Compare(name, comparison, literal) => comparison.holds(&device.value(name), literal),
            Test::Contains(name, text) => {
                device.value(name).as_str().is_some_and(|value| value.to_lowercase().contains(text.as_str()))
            }
        };
        self.condition.as_ref().is_none_or(|condition| condition.holds(&mut { test }))
    }

    /// Whether it looks at whether devices registered.
    #[must_use]
    pub fn looks_at_provisioned(&self) -> bool {
        let of = |test: &&Test| match test {
            Test::Compare(name, ..) | Test::Contains(name, _) => *name == Name::Fact(Fact::Provisioned),
        };
        self.condition.as_ref().is_some_and(|condition| condition.tests().iter().any(of))
    }

    /// The template that everything in it has, if the filter says one: where to look for members.
    #[must_use]
    pub fn template(&self) -> Option<&str> {
        self.condition.as_ref()?.required().into_iter().find_map(|test| match test {
            Test::Compare(Name::Fact(Fact::Template), Comparison::Equal, Literal::Text(id)) => Some(id.as_str()),
            _ => None,
        })
    }
}

impl TryFrom<String> for DeviceFilter {
    type Error = SyntaxError;
    fn try_from(text: String) -> Result<Self, SyntaxError> {
        Self::parse(&text)
    }
}

impl From<DeviceFilter> for String {
    fn from(filter: DeviceFilter) -> Self {
        filter.text.to_string()
    }
}

fn read_tests(reader: &mut Reader) -> Result<Condition<Test>, SyntaxError> {
    let mut left = TESTS_MAX;
    condition::parse(reader, &mut |reader| {
        left = left
            .checked_sub(1)
            .ok_or_else(|| SyntaxError::new(reader.at(), format!("there are more than {TESTS_MAX} tests")))?;
        test(reader)
    })
}

fn test(reader: &mut Reader) -> Result<Test, SyntaxError> {
    if reader.is_word("CONTAINS") && reader.peek_second() == Some(&Token::Mark('(')) {
        reader.take();
        reader.want_mark('(')?;
        let name = name(reader)?;
        reader.want_mark(',')?;
        let at = reader.at();
        let Literal::Text(text) = reader.want_literal()? else {
            return Err(SyntaxError::new(at, "a text is wanted"));
        };
        reader.want_mark(')')?;
        return Ok(Test::Contains(name, text.to_lowercase()));
    }
    let name = name(reader)?;
    let Some(Token::Comparison(comparison)) = reader.peek().cloned() else { return reader.wants("a comparison") };
    reader.take();
    Ok(Test::Compare(name, comparison, reader.want_literal()?))
}

fn name(reader: &mut Reader) -> Result<Name, SyntaxError> {
    let at = reader.at();
    let word = reader.want_name()?;
    if word.starts_with('$') {
        let fact = Fact::parse(&word).map(Name::Fact);
        return fact.ok_or_else(|| SyntaxError::new(at, format!("`{word}` is nothing that devices have")));
    }
    let (component, name) = match word.split_once('.') {
        Some((component, name)) => (Some(component), name),
        None => (None, word.as_str()),
    };
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !component.is_none_or(is_name) || !is_name(name) {
        return Err(SyntaxError::new(at, format!("`{word}` is no name of a property")));
    }
    Ok(Name::Property { component: component.map(str::to_owned), name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(condition: &str, holds: bool) {
        let properties = json!({ "room": "A1", "level": 7, "flag": true, "settings": { "threshold": 2.5 } });
        let device = DeviceFacts {
            id: "sensor-1",
            display_name: "Sensor One",
            template: Some("dtmi:a:b;1"),
            is_simulated: false,
            is_provisioned: true,
            is_enabled: true,
            organization: Some("north"),
            properties: properties.as_object().unwrap(),
        };
        let filter = DeviceFilter::parse(&format!("SELECT * FROM devices WHERE {condition}")).unwrap();
        assert_eq!(filter.holds(&device), holds, "{condition}");
    }

    #[test]
    fn the_published_examples_are_filters() {
        for text in [
            r#"SELECT * FROM devices WHERE $template = "dtmi:modelDefinition:dtdlv2" AND $provisioned = true"#,
            r#"SELECT * FROM devices WHERE $displayName != "abc" AND $id = "a""#,
            r#"SELECT * FROM devices WHERE $id == "a""#,
            r#"SELECT * FROM devices WHERE CONTAINS($displayName, "a")"#,
            "select * from devices",
        ] {
            assert_eq!(DeviceFilter::parse(text).unwrap().text(), text);
        }
    }

    #[test]
    fn facts_and_properties_decide() {
        check(r#"$template = "dtmi:a:b;1" AND $provisioned = true"#, true);
        check(r#"$id != "sensor-1""#, false);
        check("$simulated = true OR level > 6", true);
        check("level > 7", false);
        check("level >= 7 and level < 7.5", true);
        check("settings.threshold = 2.5", true);
        check(r#"room = "a1""#, false);
        check(r#"CONTAINS($displayName, "one") AND CONTAINS(room, "A")"#, true);
        check(r#"CONTAINS(level, "7")"#, false);
        check("missing = null AND room != null", true);
        check("missing > 1", false);
        check("settings.missing = null", true);
        check(r#"$organizations = "north""#, true);
        check(r#"flag = true AND (level = 1 OR room = "A1")"#, true);
        check(r#"flag = true AND level = 1 OR room = "A1""#, true);
        check(r#"flag = false AND (level = 7 OR room = "A1")"#, false);
    }

    #[track_caller]
    fn wrong(text: &str, at: usize, what: &str) {
        let error = DeviceFilter::parse(text).unwrap_err();
        assert_eq!(error.at, at, "{text}: {error}");
        assert!(error.what.contains(what), "{text}: {error}");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        wrong("", 1, "`SELECT`");
        wrong("SELECT id FROM devices", 8, "`*`");
        wrong("SELECT * FROM modules", 15, "`devices`");
        wrong("SELECT * FROM devices WHERE", 28, "a name");
        wrong("SELECT * FROM devices WHERE a", 30, "a comparison");
        wrong("SELECT * FROM devices WHERE a =", 32, "a value");
        wrong("SELECT * FROM devices WHERE a = b", 33, "a value");
        wrong("SELECT * FROM devices WHERE $nope = 1", 29, "`$nope`");
        wrong("SELECT * FROM devices WHERE a.b.c = 1", 29, "no name");
        wrong("SELECT * FROM devices WHERE (a = 1", 35, "`)`");
        wrong("SELECT * FROM devices WHERE a = 1 b = 2", 35, "the end");
        wrong("SELECT * FROM devices WHERE CONTAINS(a, 1)", 41, "a text");
    }

    #[test]
    fn filters_are_bounded() {
        let of = |tests: usize| format!("SELECT * FROM devices WHERE {}", vec!["a = 1"; tests].join(" OR "));
        assert!(DeviceFilter::parse(&of(TESTS_MAX)).is_ok());
        assert!(DeviceFilter::parse(&of(TESTS_MAX + 1)).unwrap_err().what.contains("100 tests"));
        let deep =
            |depth: usize| format!("SELECT * FROM devices WHERE {}a = 1{}", "(".repeat(depth), ")".repeat(depth));
        assert!(DeviceFilter::parse(&deep(20)).is_ok());
        assert!(DeviceFilter::parse(&deep(21)).unwrap_err().what.contains("20 parentheses"));
        let long = format!("SELECT * FROM devices WHERE a = '{}'", "x".repeat(FILTER_CHARS_MAX));
        assert!(DeviceFilter::parse(&long).unwrap_err().what.contains("longer"));
    }

    #[test]
    fn the_template_is_known_when_every_member_has_it() {
        let of = |condition: &str| {
            let filter = DeviceFilter::parse(&format!("SELECT * FROM devices WHERE {condition}")).unwrap();
            filter.template().map(str::to_owned)
        };
        assert_eq!(of(r#"a = 1 AND $template = "dtmi:a;1""#).as_deref(), Some("dtmi:a;1"));
        assert_eq!(of(r#"a = 1 OR $template = "dtmi:a;1""#), None);
        assert_eq!(of(r#"$template != "dtmi:a;1""#), None);
    }
}
