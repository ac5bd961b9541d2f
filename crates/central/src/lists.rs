//! Options of lists: which objects, in what order.
//!
//! `filter` is a subset of OData: `field op literal` with `eq`, `ne`, `gt`, `ge`, `lt`, `le`, and `indexof(field, 'x') op
//! number`, put together with `and`, `or` and parentheses; literals are texts in single quotes, numbers, `true`, `false`
//! and `null`. `indexof` counts characters from 0, is -1 when the text is not there, and does not look at case.
//! `orderby` is `field [asc|desc]`, several with commas between. Which fields there are is said by each list
//! ([`DEVICE_FIELDS`], [`NAMED_FIELDS`]). Source: the previews of 2022 and their documentation.

use std::cmp::Ordering;

use serde_json::{Value, json};

use crate::language::compare::{self, Comparison};
use crate::language::{Condition, Literal, Reader, SyntaxError, Token, condition};

/// Fields of lists of devices.
pub const DEVICE_FIELDS: &[&str] =
    &["id", "displayName", "enabled", "provisioned", "simulated", "template", "organizations", "scopes"];
/// Fields of lists of templates, dashboards and what else has a name.
pub const NAMED_FIELDS: &[&str] = &["@id", "id", "displayName"];
/// Objects of a page when the request does not say (REST API of IoT Central).
pub const PAGE_DEFAULT: usize = 25;
/// Most objects of a page (REST API of IoT Central).
pub const PAGE_MAX: usize = 100;
/// Characters of either option; ours.
const CHARS_MAX: usize = 4_096;
/// Tests of a filter; ours.
pub const TESTS_MAX: usize = 50;
/// Fields to sort by; ours.
pub const KEYS_MAX: usize = 8;

/// What a test looks at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operand {
    /// A field.
    Field(String),
    /// Where a text, kept in lower case, is in a field.
    IndexOf(String, String),
}

/// A test of one object.
#[derive(Clone, PartialEq, Debug)]
pub struct Test {
    /// What it looks at.
    pub operand: Operand,
    /// How it compares.
    pub comparison: Comparison,
    /// With what.
    pub literal: Literal,
}

/// Which objects.
#[derive(Clone, PartialEq, Debug)]
pub struct Filter(Condition<Test>);

impl Filter {
    /// Reads the option, for a list with these fields.
    ///
    /// # Errors
    /// [`SyntaxError`] says what is wrong, and where.
    pub fn parse(text: &str, fields: &[&str]) -> Result<Self, SyntaxError> {
        let mut reader = Reader::new(text, CHARS_MAX)?;
        let mut left = TESTS_MAX;
        let condition = condition::parse(&mut reader, &mut |reader| {
            left = left
                .checked_sub(1)
                .ok_or_else(|| SyntaxError::new(reader.at(), format!("there are more than {TESTS_MAX} tests")))?;
            test(reader, fields)
        })?;
        reader.want_end()?;
        Ok(Self(condition))
    }

    /// Whether it looks at no other fields than these.
    #[must_use]
    pub fn is_within(&self, fields: &[&str]) -> bool {
        let of = |test: &&Test| match &test.operand {
            Operand::Field(name) | Operand::IndexOf(name, _) => fields.contains(&name.as_str()),
        };
        self.0.tests().iter().all(of)
    }

    /// Its condition.
    #[must_use]
    pub fn condition(&self) -> &Condition<Test> {
        &self.0
    }

    /// Whether an object is in the list, when `field` says what it has.
    pub fn holds(&self, field: impl Fn(&str) -> Value) -> bool {
        self.0.holds(&mut |test| {
            let value = match &test.operand {
                Operand::Field(name) => field(name),
                Operand::IndexOf(name, text) => json!(index_of(field(name).as_str().unwrap_or_default(), text)),
            };
            test.comparison.holds(&value, &test.literal)
        })
    }
}

fn index_of(value: &str, text: &str) -> i64 {
    let value = value.to_lowercase();
    let place = value.find(text).and_then(|at| value.get(..at)).map(|before| before.chars().count());
    place.and_then(|place| i64::try_from(place).ok()).unwrap_or(-1)
}

fn test(reader: &mut Reader, fields: &[&str]) -> Result<Test, SyntaxError> {
    let operand = if reader.is_word("indexof") && reader.peek_second() == Some(&Token::Mark('(')) {
        reader.take();
        reader.want_mark('(')?;
        let name = field(reader, fields)?;
        reader.want_mark(',')?;
        let at = reader.at();
        let Literal::Text(text) = reader.want_literal()? else {
            return Err(SyntaxError::new(at, "a text is wanted"));
        };
        reader.want_mark(')')?;
        Operand::IndexOf(name, text.to_lowercase())
    } else {
        Operand::Field(field(reader, fields)?)
    };
    let words = [
        ("eq", Comparison::Equal),
        ("ne", Comparison::NotEqual),
        ("gt", Comparison::Greater),
        ("ge", Comparison::GreaterOrEqual),
        ("lt", Comparison::Less),
        ("le", Comparison::LessOrEqual),
    ];
    let Some((_, comparison)) = words.into_iter().find(|(word, _)| reader.take_word(word)) else {
        return reader.wants("one of `eq`, `ne`, `gt`, `ge`, `lt`, `le`");
    };
    Ok(Test { operand, comparison, literal: reader.want_literal()? })
}

fn field(reader: &mut Reader, fields: &[&str]) -> Result<String, SyntaxError> {
    let at = reader.at();
    let name = reader.want_name()?;
    if fields.contains(&name.as_str()) {
        return Ok(name);
    }
    Err(SyntaxError::new(at, format!("`{name}` is no field of this list; there are {}", fields.join(", "))))
}

/// In what order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OrderBy(Vec<(String, bool)>);

impl OrderBy {
    /// Reads the option, for a list with these fields.
    ///
    /// # Errors
    /// [`SyntaxError`] says what is wrong, and where.
    pub fn parse(text: &str, fields: &[&str]) -> Result<Self, SyntaxError> {
        let mut reader = Reader::new(text, CHARS_MAX)?;
        let mut keys = vec![];
        loop {
            if keys.len() >= KEYS_MAX {
                return Err(SyntaxError::new(reader.at(), format!("a list is sorted by {KEYS_MAX} fields at most")));
            }
            let name = field(&mut reader, fields)?;
            let is_descending = reader.take_word("desc");
            if !is_descending {
                reader.take_word("asc");
            }
            keys.push((name, is_descending));
            if !reader.take_mark(',') {
                break;
            }
        }
        reader.want_end()?;
        Ok(Self(keys))
    }

    /// Fields with whether they descend, the first the most important.
    pub fn keys(&self) -> impl Iterator<Item = (&str, bool)> {
        self.0.iter().map(|(name, is_descending)| (name.as_str(), *is_descending))
    }

    /// What an object is sorted by, when it says what it has.
    pub fn values(&self, of: impl Fn(&str) -> Value) -> Vec<Value> {
        self.keys().map(|(name, _)| of(name)).collect()
    }

    /// Which of two objects is first, by their [`values`](Self::values).
    #[must_use]
    pub fn compare(&self, one: &[Value], other: &[Value]) -> Ordering {
        let pairs = self.keys().zip(one.iter().zip(other));
        let orders = pairs.map(|((_, is_descending), (one, other))| {
            let order = compare::in_list(one, other);
            if is_descending { order.reverse() } else { order }
        });
        orders.fold(Ordering::Equal, Ordering::then)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str) -> Value {
        let all = json!({ "id": "d1", "displayName": "Ämter Pump", "enabled": true, "simulated": false });
        all.get(name).cloned().unwrap_or_default()
    }

    #[track_caller]
    fn check(text: &str, holds: bool) {
        assert_eq!(Filter::parse(text, DEVICE_FIELDS).unwrap().holds(device), holds, "{text}");
    }

    #[test]
    fn filters_decide() {
        check("id eq 'd1'", true);
        check("id eq 'D1'", false);
        check("enabled eq true and simulated eq false", true);
        check("enabled eq false or id ne 'x'", true);
        check("template eq null", true);
        check("template ne null", false);
        check("indexof(displayName, 'pump') ge 0", true);
        check("indexof(displayName, 'pump') eq 6", true);
        check("indexof(displayName, 'fan') eq -1", true);
        check("indexof(template, 'x') ge 0", false);
        check("(id eq 'x' or id eq 'd1') and enabled eq true", true);
        check("id gt 'd0' and id le 'd1' and id lt 'd2' and id ge 'd1'", true);
    }

    #[test]
    fn wrong_filters_are_named_with_their_place() {
        for (text, at) in [
            ("", 1),
            ("id", 3),
            ("id = 'd1'", 4),
            ("id eq", 6),
            ("id eq d1", 7),
            ("name eq 'x'", 1),
            ("id eq 'x' id eq 'y'", 11),
            ("indexof(id) ge 0", 11),
            ("indexof(id, 1) ge 0", 13),
            ("id eq 'x", 7),
            ("(id eq 'x'", 11),
        ] {
            let error = Filter::parse(text, DEVICE_FIELDS).unwrap_err();
            assert_eq!(error.at, at, "{text}: {error}");
        }
        let of = |tests: usize| vec!["id eq 'x'"; tests].join(" or ");
        assert!(Filter::parse(&of(TESTS_MAX), DEVICE_FIELDS).is_ok());
        assert!(Filter::parse(&of(TESTS_MAX + 1), DEVICE_FIELDS).is_err());
    }

    #[test]
    fn lists_are_sorted_by_several_fields() {
        let order = OrderBy::parse("displayName desc, @id", NAMED_FIELDS).unwrap();
        let mut all = [("a", 1), ("b", 2), ("b", 1)];
        let of = |one: &(&'static str, i32)| {
            let (name, id) = *one;
            move |field: &str| if field == "@id" { json!(id) } else { json!(name) }
        };
        all.sort_by(|one, other| order.compare(&order.values(of(one)), &order.values(of(other))));
        assert_eq!(all, [("b", 1), ("b", 2), ("a", 1)]);
        for wrong in ["", "displayName up", "name", "displayName,", "displayName asc desc"] {
            assert!(OrderBy::parse(wrong, NAMED_FIELDS).is_err(), "{wrong}");
        }
        let many = ["id"; KEYS_MAX + 1].join(",");
        assert!(OrderBy::parse(&many, NAMED_FIELDS).is_err());
    }
}
