//! `=~`, `has`, `contains`, `startswith`, `endswith`, `matches regex` and their opposites.

use std::sync::Arc;

use gantry_kql::bound::Binary;
use gantry_kql::value::{Dynamic, Type, Value};

use super::{Datum, rowwise};
use crate::column::{Column, Data};
use crate::context::{Context, Regex};
use crate::error::Result;
use crate::text::{Match, Needle};

/// A test of texts, with its needle prepared when it is the same for all rows.
#[derive(Debug)]
pub struct TextTest {
    what: What,
    cased: bool,
    negated: bool,
    prepared: Option<Prepared>,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Text(Match),
    Regex,
}

#[derive(Debug)]
enum Prepared {
    Needle(Box<Needle>),
    Regex(Arc<Regex>),
}

impl Prepared {
    fn matches(&self, text: &str) -> bool {
        match self {
            Prepared::Needle(needle) => needle.matches(text),
            Prepared::Regex(regex) => regex.is_match(text),
        }
    }
}

impl TextTest {
    /// Prepares a test.
    pub fn new(op: Binary, needle: Option<&Value>, context: &Context) -> Result<TextTest> {
        let (what, cased, negated) = meaning(op);
        let mut test = TextTest { what, cased, negated, prepared: None };
        if let Some(needle) = needle {
            let needle = crate::column::Cell::from(needle).text().into_owned();
            test.prepared = Some(test.prepare(&needle, context)?);
        }
        Ok(test)
    }

    fn prepare(&self, needle: &str, context: &Context) -> Result<Prepared> {
        Ok(match self.what {
            What::Text(kind) => Prepared::Needle(Box::new(Needle::new(kind, self.cased, needle))),
            What::Regex => Prepared::Regex(context.regex(needle)?),
        })
    }

    /// Tests every row.
    pub fn eval(&self, left: Datum, right: Datum, rows: usize, context: &Context) -> Result<Datum> {
        if let Some(prepared) = &self.prepared {
            // Bodies first: asked for its values, a column of JSON reads them all.
            if let (Datum::Many(column), Prepared::Needle(needle)) = (&left, prepared)
                && let Some(texts) = column.texts()
            {
                if let Some(rows) = needle.candidates(texts) {
                    let mut flags = vec![self.negated; texts.len()];
                    for row in rows {
                        let is_found = needle.matches(&text_of_json(texts.get(row as usize)));
                        flags[row as usize] = is_found != self.negated;
                    }
                    return Ok(Datum::Many(Arc::new(Column::from(flags))));
                }
                // Most bodies are told from what is looked for without being read.
                let flags = texts.map(|json| {
                    let is_found = needle.may_match_json(json) && needle.matches(&text_of_json(json));
                    is_found != self.negated
                });
                return Ok(Datum::Many(Arc::new(Column::from(flags))));
            }
            if let Datum::Many(column) = &left
                && let Data::String(texts) = column.data()
            {
                let flags = texts.map(|text| prepared.matches(text) != self.negated);
                return Ok(Datum::Many(Arc::new(Column::from(flags))));
            }
            return Ok(rowwise(&[left], Type::Bool, rows, |cells| {
                Value::Bool(prepared.matches(&cells[0].text()) != self.negated)
            }));
        }
        let mut failed = None;
        let tested = rowwise(&[left, right], Type::Bool, rows, |cells| match self.prepare(&cells[1].text(), context) {
            Ok(prepared) => Value::Bool(prepared.matches(&cells[0].text()) != self.negated),
            Err(error) => {
                failed = Some(error);
                Value::Null
            }
        });
        failed.map_or(Ok(tested), Err)
    }
}

/// The text of a value that came as JSON.
fn text_of_json(json: &str) -> String {
    let value = Dynamic::parse_json(json).unwrap_or(Dynamic::Null);
    crate::column::Cell::from(&value).text().into_owned()
}

/// What an operator tests, whether case counts, whether it is the opposite.
fn meaning(op: Binary) -> (What, bool, bool) {
    use Binary as B;
    let (kind, cased, negated) = match op {
        B::EqualNoCase => (Match::Equals, false, false),
        B::NotEqualNoCase => (Match::Equals, false, true),
        B::Has => (Match::Has, false, false),
        B::NotHas => (Match::Has, false, true),
        B::HasCs => (Match::Has, true, false),
        B::NotHasCs => (Match::Has, true, true),
        B::HasPrefix => (Match::HasPrefix, false, false),
        B::NotHasPrefix => (Match::HasPrefix, false, true),
        B::HasPrefixCs => (Match::HasPrefix, true, false),
        B::NotHasPrefixCs => (Match::HasPrefix, true, true),
        B::HasSuffix => (Match::HasSuffix, false, false),
        B::NotHasSuffix => (Match::HasSuffix, false, true),
        B::HasSuffixCs => (Match::HasSuffix, true, false),
        B::NotHasSuffixCs => (Match::HasSuffix, true, true),
        B::Contains => (Match::Contains, false, false),
        B::NotContains => (Match::Contains, false, true),
        B::ContainsCs => (Match::Contains, true, false),
        B::NotContainsCs => (Match::Contains, true, true),
        B::StartsWith => (Match::StartsWith, false, false),
        B::NotStartsWith => (Match::StartsWith, false, true),
        B::StartsWithCs => (Match::StartsWith, true, false),
        B::NotStartsWithCs => (Match::StartsWith, true, true),
        B::EndsWith => (Match::EndsWith, false, false),
        B::NotEndsWith => (Match::EndsWith, false, true),
        B::EndsWithCs => (Match::EndsWith, true, false),
        B::NotEndsWithCs => (Match::EndsWith, true, true),
        _ => return (What::Regex, true, false),
    };
    (What::Text(kind), cased, negated)
}
