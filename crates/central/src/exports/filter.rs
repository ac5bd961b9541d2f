//! Filters of exports: which messages or events are sent.
//!
//! ```text
//! SELECT * FROM devices [WHERE condition]
//! SELECT * FROM template [AS A] {, template [AS B]} [WHERE condition]
//! ```
//!
//! The first form tests what every device has, as filters of device groups do ([`groups`](crate::groups)), and their
//! properties. The second sends only messages of devices of one of the templates, and tests telemetry and properties of
//! those: `name`, `component.name`, or with the alias of its template before, `A.name`, `A.component.name`; a name
//! without an alias is of any of them. The other side of a comparison is a literal or another such name.
//! What a name is, telemetry or property, the export's source says. Source: "How to use the IoT Central REST API to
//! manage data exports" and the examples of the preview.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::groups::{FILTER_CHARS_MAX, Fact};
use crate::ids::DeviceTemplateId;
use crate::language::compare::Comparison;
use crate::language::{Condition, Literal, Reader, SyntaxError, Token, condition};

/// Tests of one (IoT Central quotas and limits).
pub const TESTS_MAX: usize = 10;
/// Templates of one; ours.
pub const TEMPLATES_MAX: usize = 10;
/// Words that cannot be aliases.
const KEYWORDS: [&str; 7] = ["WHERE", "AS", "AND", "OR", "FROM", "SELECT", "CONTAINS"];

/// A filter. Stored as its text.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExportFilter {
    text: Arc<str>,
    from: From,
    condition: Option<Condition<Test>>,
}

/// Of which devices.
#[derive(Clone, PartialEq, Debug)]
pub enum From {
    /// All.
    Devices,
    /// Those of templates, with their aliases.
    Templates(Vec<(DeviceTemplateId, Option<String>)>),
}

/// What a test looks at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Name {
    /// Something every device has.
    Fact(Fact),
    /// Telemetry or a property.
    Value {
        /// The template that has it, by its place after `FROM`; any without.
        template: Option<usize>,
        /// Its component; the device itself without.
        component: Option<String>,
        /// Its name.
        name: String,
    },
}

/// The other side of a comparison.
#[derive(Clone, PartialEq, Debug)]
pub enum Operand {
    /// A value in the text.
    Literal(Literal),
    /// Another value of the same device.
    Name(Name),
}

/// A test of one value.
#[derive(Clone, PartialEq, Debug)]
pub enum Test {
    /// A comparison.
    Compare(Name, Comparison, Operand),
    /// Whether a text has another in it; kept in lower case.
    Contains(Name, String),
}

impl ExportFilter {
    /// Reads a filter.
    ///
    /// # Errors
    /// [`SyntaxError`] says what is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let mut reader = Reader::new(text, FILTER_CHARS_MAX)?;
        reader.want_word("SELECT")?;
        reader.want_mark('*')?;
        reader.want_word("FROM")?;
        let from = if reader.take_word("devices") { From::Devices } else { templates(&mut reader)? };
        let condition = if reader.take_word("WHERE") { Some(read_tests(&mut reader, &from)?) } else { None };
        reader.want_end()?;
        Ok(Self { text: text.into(), from, condition })
    }

    /// The text it was read from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Of which devices.
    #[must_use]
    pub fn from(&self) -> &From {
        &self.from
    }

    /// Its condition; none when everything passes.
    #[must_use]
    pub fn condition(&self) -> Option<&Condition<Test>> {
        self.condition.as_ref()
    }

    /// Whether something passes, when `value` says what it has; null when it has none. Whether its device is one of
    /// [`Self::from`] is not asked here.
    pub fn holds(&self, value: impl Fn(&Name) -> Value) -> bool {
        let test = |test: &Test| match test {
            Test::Compare(name, comparison, Operand::Literal(literal)) => comparison.holds(&value(name), literal),
            Test::Compare(name, comparison, Operand::Name(other)) => {
                Literal::of(&value(other)).is_some_and(|literal| comparison.holds(&value(name), &literal))
            }
            Test::Contains(name, text) => {
                value(name).as_str().is_some_and(|value| value.to_lowercase().contains(text.as_str()))
            }
        };
        self.condition.as_ref().is_none_or(|condition| condition.holds(&mut { test }))
    }
}

impl TryFrom<String> for ExportFilter {
    type Error = SyntaxError;
    fn try_from(text: String) -> Result<Self, SyntaxError> {
        Self::parse(&text)
    }
}

impl std::convert::From<ExportFilter> for String {
    fn from(filter: ExportFilter) -> Self {
        filter.text.to_string()
    }
}

fn templates(reader: &mut Reader) -> Result<From, SyntaxError> {
    let mut all: Vec<(DeviceTemplateId, Option<String>)> = vec![];
    loop {
        let at = reader.at();
        if all.len() >= TEMPLATES_MAX {
            return Err(SyntaxError::new(at, format!("there are more than {TEMPLATES_MAX} templates")));
        }
        let id = match reader.peek() {
            Some(Token::Dtmi(id)) => DeviceTemplateId::parse(id).ok(),
            _ => None,
        };
        let Some(id) = id else { return reader.wants("`devices` or the id of a device template") };
        if all.iter().any(|(other, _)| *other == id) {
            return Err(SyntaxError::new(at, format!("`{id}` is there twice")));
        }
        reader.take();
        let alias = if reader.take_word("AS") { Some(alias(reader, &all)?) } else { None };
        all.push((id, alias));
        if !reader.take_mark(',') {
            return Ok(From::Templates(all));
        }
    }
}

fn alias(reader: &mut Reader, all: &[(DeviceTemplateId, Option<String>)]) -> Result<String, SyntaxError> {
    let at = reader.at();
    if KEYWORDS.iter().any(|keyword| reader.is_word(keyword)) {
        return reader.wants("an alias");
    }
    let alias = reader.want_name()?;
    if !is_name(&alias) {
        return Err(SyntaxError::new(at, "an alias has letters, digits and `_` only"));
    }
    if all.iter().any(|(_, other)| other.as_ref() == Some(&alias)) {
        return Err(SyntaxError::new(at, format!("`{alias}` is the alias of two templates")));
    }
    Ok(alias)
}

fn read_tests(reader: &mut Reader, from: &From) -> Result<Condition<Test>, SyntaxError> {
    let mut left = TESTS_MAX;
    condition::parse(reader, &mut |reader| {
        left = left
            .checked_sub(1)
            .ok_or_else(|| SyntaxError::new(reader.at(), format!("there are more than {TESTS_MAX} tests")))?;
        test(reader, from)
    })
}

fn test(reader: &mut Reader, from: &From) -> Result<Test, SyntaxError> {
    if reader.is_word("CONTAINS") && reader.peek_second() == Some(&Token::Mark('(')) {
        reader.take();
        reader.want_mark('(')?;
        let name = name(reader, from)?;
        reader.want_mark(',')?;
        let at = reader.at();
        let Literal::Text(text) = reader.want_literal()? else {
            return Err(SyntaxError::new(at, "a text is wanted"));
        };
        reader.want_mark(')')?;
        return Ok(Test::Contains(name, text.to_lowercase()));
    }
    let one = name(reader, from)?;
    let Some(Token::Comparison(comparison)) = reader.peek().cloned() else { return reader.wants("a comparison") };
    reader.take();
    Ok(Test::Compare(one, comparison, operand(reader, from)?))
}

fn operand(reader: &mut Reader, from: &From) -> Result<Operand, SyntaxError> {
    let is_literal = ["true", "false", "null"].into_iter().any(|word| reader.is_word(word));
    match reader.peek() {
        Some(Token::Word(_)) if !is_literal => name(reader, from).map(Operand::Name),
        _ => reader.want_literal().map(Operand::Literal),
    }
}

fn name(reader: &mut Reader, from: &From) -> Result<Name, SyntaxError> {
    let at = reader.at();
    let word = reader.want_name()?;
    if word.starts_with('$') {
        let fact = Fact::parse(&word).map(Name::Fact);
        return fact.ok_or_else(|| SyntaxError::new(at, format!("`{word}` is nothing that devices have")));
    }
    let (template, rest) = match (word.split_once('.'), from) {
        (Some((alias, rest)), From::Templates(all)) => {
            match all.iter().position(|(_, of)| of.as_deref() == Some(alias)) {
                Some(at) => (Some(at), rest),
                None => (None, word.as_str()),
            }
        }
        _ => (None, word.as_str()),
    };
    let (component, name) = match rest.split_once('.') {
        Some((component, name)) => (Some(component), name),
        None => (None, rest),
    };
    if !component.is_none_or(is_name) || !is_name(name) {
        return Err(SyntaxError::new(at, format!("`{word}` is no name of telemetry or a property")));
    }
    Ok(Name::Value { template, component: component.map(str::to_owned), name: name.to_owned() })
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ExportFilter {
        ExportFilter::parse(text).unwrap()
    }

    fn value(template: Option<usize>, component: Option<&str>, name: &str) -> Name {
        Name::Value { template, component: component.map(str::to_owned), name: name.to_owned() }
    }

    #[test]
    fn the_published_examples_are_filters() {
        for text in [
            r#"SELECT * FROM devices WHERE $displayName != "abc" AND $id = "a""#,
            r#"SELECT * FROM devices WHERE $id == "a""#,
            r#"SELECT * FROM devices WHERE CONTAINS($displayName, "a")"#,
            "SELECT * FROM dtmi:azurertos:devkit:gsgmxchip;1 WHERE accelerometerX > 0",
            "SELECT * FROM dtmi:azurertos:devkit:gsgmxchip;1 AS A, dtmi:contoso:Thermostat;1 \
             WHERE A.temperature > targetTemperature",
        ] {
            let filter = parse(text);
            assert_eq!(filter.text(), text);
            let stored = serde_json::to_string(&filter).unwrap();
            assert_eq!(serde_json::from_str::<ExportFilter>(&stored).unwrap(), filter);
        }
    }

    #[test]
    fn a_name_is_of_its_template() {
        let filter = parse("SELECT * FROM dtmi:a:b;1 AS A, dtmi:c:d;1 as B WHERE B.c.x >= A.y AND z = 1 OR t.x = 'a'");
        let From::Templates(all) = filter.from() else { panic!("{filter:?}") };
        let aliases: Vec<_> = all.iter().map(|(id, alias)| (id.as_str(), alias.as_deref())).collect();
        assert_eq!(aliases, [("dtmi:a:b;1", Some("A")), ("dtmi:c:d;1", Some("B"))]);
        let tests: Vec<_> = filter.condition().unwrap().tests().into_iter().cloned().collect();
        let compare = Test::Compare;
        assert_eq!(
            tests,
            [
                compare(
                    value(Some(1), Some("c"), "x"),
                    Comparison::GreaterOrEqual,
                    Operand::Name(value(Some(0), None, "y")),
                ),
                compare(value(None, None, "z"), Comparison::Equal, Operand::Literal(Literal::Integer(1))),
                compare(
                    value(None, Some("t"), "x"),
                    Comparison::Equal,
                    Operand::Literal(Literal::Text("a".to_owned())),
                ),
            ]
        );
        assert_eq!(parse("select * from devices").condition(), None);
        let flag = parse("SELECT * FROM devices WHERE A.x = true");
        let expected =
            compare(value(None, Some("A"), "x"), Comparison::Equal, Operand::Literal(Literal::Boolean(true)));
        assert_eq!(flag.condition().unwrap().tests(), [&expected]);
    }

    #[test]
    fn tests_decide() {
        let device = |name: &Name| match name {
            Name::Fact(Fact::DisplayName) => "Sensor One".into(),
            Name::Value { name, .. } => match name.as_str() {
                "temperature" => 21.5.into(),
                "target" => 20.into(),
                "list" => serde_json::json!([1]),
                _ => Value::Null,
            },
            Name::Fact(_) => Value::Null,
        };
        let check = |condition: &str, holds: bool| {
            let filter = parse(&format!("SELECT * FROM dtmi:a:b;1 AS A WHERE {condition}"));
            assert_eq!(filter.holds(device), holds, "{condition}");
        };
        check("A.temperature > target", true);
        check("temperature < A.target", false);
        check("temperature != list", false);
        check("temperature > missing", false);
        check("missing = other", true);
        check("temperature >= 21.5 AND CONTAINS($displayName, 'one')", true);
        check("CONTAINS(temperature, '2')", false);
        assert!(parse("SELECT * FROM devices").holds(device));
    }

    #[track_caller]
    fn wrong(text: &str, at: usize, what: &str) {
        let error = ExportFilter::parse(text).unwrap_err();
        assert_eq!(error.at, at, "{text}: {error}");
        assert!(error.what.contains(what), "{text}: {error}");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        wrong("", 1, "`SELECT`");
        wrong("SELECT a FROM devices", 8, "`*`");
        wrong("SELECT * FROM modules", 15, "`devices` or the id");
        wrong("SELECT * FROM dtmi:a:_b;1", 15, "`devices` or the id");
        wrong("SELECT * FROM dtmi:a:b;1,", 26, "`devices` or the id");
        wrong("SELECT * FROM dtmi:a:b;1, dtmi:a:b;1", 27, "twice");
        wrong("SELECT * FROM dtmi:a:b;1 AS", 28, "a name");
        wrong("SELECT * FROM dtmi:a:b;1 AS WHERE", 29, "an alias");
        wrong("SELECT * FROM dtmi:a:b;1 AS a.b", 29, "an alias");
        wrong("SELECT * FROM dtmi:a:b;1 AS A, dtmi:a:c;1 AS A", 46, "two templates");
        wrong("SELECT * FROM devices AS D", 23, "the end");
        wrong("SELECT * FROM devices WHERE $nope = 1", 29, "`$nope`");
        wrong("SELECT * FROM devices WHERE a.b.c = 1", 29, "no name");
        wrong("SELECT * FROM dtmi:a:b;1 AS A WHERE A.b.c.d = 1", 37, "no name");
        wrong("SELECT * FROM devices WHERE a", 30, "a comparison");
        wrong("SELECT * FROM devices WHERE a =", 32, "a value");
        wrong("SELECT * FROM devices WHERE a = ,", 33, "a value");
        wrong("SELECT * FROM devices WHERE CONTAINS(a, 1)", 41, "a text");
        wrong("SELECT * FROM devices WHERE a = 1 b", 35, "the end");
    }

    #[test]
    fn filters_are_bounded() {
        let tests = |count: usize| format!("SELECT * FROM devices WHERE {}", vec!["a = 1"; count].join(" AND "));
        assert!(ExportFilter::parse(&tests(TESTS_MAX)).is_ok());
        assert!(ExportFilter::parse(&tests(TESTS_MAX + 1)).unwrap_err().what.contains("10 tests"));
        let templates = |count: usize| {
            let all: Vec<_> = (0..count).map(|n| format!("dtmi:a:b{n};1")).collect();
            format!("SELECT * FROM {}", all.join(", "))
        };
        assert!(ExportFilter::parse(&templates(TEMPLATES_MAX)).is_ok());
        assert!(ExportFilter::parse(&templates(TEMPLATES_MAX + 1)).unwrap_err().what.contains("10 templates"));
        let long = format!("SELECT * FROM devices WHERE a = '{}'", "x".repeat(FILTER_CHARS_MAX));
        assert!(ExportFilter::parse(&long).unwrap_err().what.contains("longer"));
    }
}
