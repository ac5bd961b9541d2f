//! Values that are not elements: strings, numbers, flags, durations, identifiers.
//!
//! A value stands as it is or in a value object, `{"@value": 3, "@type": "xsd:integer"}`. Whatever
//! is wrong is noted and reading goes on, so that a document's errors come all at once.

use super::Walk;
use crate::context::ActiveContext;
use crate::document::{Node, Value};
use crate::dtmi::Dtmi;
use crate::error::{ErrorName as E, ParsingError};
use crate::metamodel::Pattern;
use crate::metamodel::vocabulary::matches;
use crate::model::Literal;

/// Which property of which element a value is of, and where it stands.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) id: &'a Dtmi,
    pub(crate) property: &'a str,
    pub(crate) context: &'a ActiveContext,
}

impl At<'_> {
    fn error(&self, name: E) -> ParsingError {
        ParsingError::new(name).on(self.id).property(self.property)
    }
}

/// What a string must be besides a string.
#[derive(Clone, Copy)]
pub(crate) struct TextRule {
    pub(crate) length: u32,
    pub(crate) pattern: Option<Pattern>,
}

/// What an identifier must be besides one.
#[derive(Clone, Copy)]
pub(crate) struct IdRule {
    pub(crate) length: u32,
    /// How what is none is called.
    pub(crate) otherwise: E,
}

/// A kind of value with the names of what can be wrong with it.
struct Kind {
    types: [&'static str; 2],
    multiple: E,
    below_min: E,
    not: E,
    no_value: E,
    type_not: E,
    value_not: E,
    fits: fn(&Value<'_>) -> bool,
}

const TEXT: Kind = Kind {
    types: ["xsd:string", "http://www.w3.org/2001/XMLSchema#string"],
    multiple: E::StringMultipleValues,
    below_min: E::StringCountBelowMin,
    not: E::StringNotString,
    no_value: E::StringObjectNoValue,
    type_not: E::StringTypeNotString,
    value_not: E::StringValueNotString,
    fits: |value| matches!(value, Value::Text(_)),
};

const DURATION: Kind = Kind {
    types: ["xsd:duration", "http://www.w3.org/2001/XMLSchema#duration"],
    multiple: E::DurationMultipleValues,
    below_min: E::DurationCountBelowMin,
    not: E::DurationNotString,
    no_value: E::DurationObjectNoValue,
    type_not: E::DurationTypeNotDuration,
    value_not: E::DurationValueNotString,
    fits: |value| matches!(value, Value::Text(_)),
};

const INTEGER: Kind = Kind {
    types: ["xsd:integer", "http://www.w3.org/2001/XMLSchema#integer"],
    multiple: E::IntegerMultipleValues,
    below_min: E::IntegerCountBelowMin,
    not: E::IntegerNotInteger,
    no_value: E::IntegerObjectNoValue,
    type_not: E::IntegerTypeNotInteger,
    value_not: E::IntegerValueNotInteger,
    fits: |value| integer(value).is_some(),
};

const NUMERIC: Kind = Kind {
    types: ["xsd:decimal", "http://www.w3.org/2001/XMLSchema#decimal"],
    multiple: E::NumericMultipleValues,
    below_min: E::NumericCountBelowMin,
    not: E::NumericNotNumeric,
    no_value: E::NumericObjectNoValue,
    type_not: E::NumericTypeNotNumeric,
    value_not: E::NumericValueNotNumeric,
    fits: |value| matches!(value, Value::Number(_)),
};

const BOOLEAN: Kind = Kind {
    types: ["xsd:boolean", "http://www.w3.org/2001/XMLSchema#boolean"],
    multiple: E::BooleanMultipleValues,
    below_min: E::BooleanCountBelowMin,
    not: E::BooleanNotBoolean,
    no_value: E::BooleanObjectNoValue,
    type_not: E::BooleanTypeNotBoolean,
    value_not: E::BooleanValueNotBoolean,
    fits: |value| matches!(value, Value::Bool(_)),
};

/// A number that is an integer of 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "compared with what it was before")]
fn integer(value: &Value<'_>) -> Option<i32> {
    let Value::Number(number) = value else { return None };
    let whole = *number as i32;
    (f64::from(whole) == *number).then_some(whole)
}

impl Walk<'_> {
    pub(crate) fn text(&mut self, at: At<'_>, values: &[Value<'_>], min: u32, rule: TextRule) -> Option<String> {
        let value = self.one(at, values, &TEXT, min)?;
        let Value::Text(text) = value else { return None };
        self.check_text(at, text, rule);
        Some((*text).to_owned())
    }

    fn check_text(&mut self, at: At<'_>, text: &str, rule: TextRule) {
        if length(text) > rule.length as usize {
            self.errors.add(at.error(E::StringTooLong).value(text));
        }
        if rule.pattern.is_some_and(|pattern| !matches(pattern, text)) {
            self.errors.add(at.error(E::StringInvalid).value(text));
        }
    }

    pub(crate) fn duration(&mut self, at: At<'_>, values: &[Value<'_>], min: u32) -> Option<String> {
        let Value::Text(text) = self.one(at, values, &DURATION, min)? else { return None };
        if !is_duration(text) {
            self.errors.add(at.error(E::DurationInvalid).value(*text));
            return None;
        }
        Some((*text).to_owned())
    }

    pub(crate) fn flag(&mut self, at: At<'_>, values: &[Value<'_>], min: u32) -> Option<bool> {
        match self.one(at, values, &BOOLEAN, min)? {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    pub(crate) fn number(&mut self, at: At<'_>, values: &[Value<'_>], min: u32) -> Option<f64> {
        match self.one(at, values, &NUMERIC, min)? {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    pub(crate) fn integer(
        &mut self,
        at: At<'_>,
        values: &[Value<'_>],
        min: u32,
        (low, high): (Option<i32>, Option<i32>),
    ) -> Option<i32> {
        let number = integer(self.one(at, values, &INTEGER, min)?)?;
        let name = match (low, high) {
            (Some(low), Some(high)) if low == high => (number != low).then_some(E::ValueNotExact),
            (Some(low), high) if number < low => {
                Some(if high.is_some() { E::ValueBelowRange } else { E::ValueBelowMin })
            }
            (low, Some(high)) if number > high => {
                Some(if low.is_some() { E::ValueAboveRange } else { E::ValueAboveMax })
            }
            _ => None,
        };
        if let Some(name) = name {
            self.errors.add(at.error(name).value(number.to_string()));
        }
        Some(number)
    }

    /// The one value that a list may have, out of its value object.
    fn one<'v, 'd>(&mut self, at: At<'_>, values: &'v [Value<'d>], kind: &Kind, min: u32) -> Option<&'v Value<'d>> {
        match values {
            [] => {
                if min > 0 {
                    self.errors.add(at.error(kind.below_min));
                }
                None
            }
            [Value::Node(node)] => self.in_value_object(at, node, kind, kind.no_value, true),
            [value] if (kind.fits)(value) => Some(value),
            [_] => {
                self.errors.add(at.error(kind.not));
                None
            }
            _ => {
                self.errors.add(at.error(kind.multiple));
                None
            }
        }
    }

    /// The value in a value object, if it is of this kind. `required` says that it has to be.
    fn in_value_object<'v, 'd>(
        &mut self,
        at: At<'_>,
        node: &'v Node<'d>,
        kind: &Kind,
        no_value: E,
        required: bool,
    ) -> Option<&'v Value<'d>> {
        self.check_value_object(at, node);
        let Some(value) = node.value.as_deref() else {
            self.errors.add(at.error(no_value));
            return None;
        };
        let declared = match node.types.as_deref() {
            None => false,
            Some([name]) if kind.types.contains(name) => true,
            Some([_]) => {
                if required {
                    self.errors.add(at.error(kind.type_not));
                }
                return None;
            }
            Some(_) => {
                self.errors.add(at.error(E::LiteralTypeNotSingular));
                return None;
            }
        };
        if (kind.fits)(value) {
            return Some(value);
        }
        if required || declared {
            self.errors.add(at.error(kind.value_not));
        }
        None
    }

    fn check_value_object(&mut self, at: At<'_>, node: &Node<'_>) {
        if node.context.is_some() {
            self.errors.add(at.error(E::ValueObjectContext));
        }
        if node.id.is_some() {
            self.errors.add(at.error(E::ValueObjectId));
        }
        if node.has_graph {
            self.errors.add(at.error(E::ValueObjectGraph));
        }
        if at.context.restricts_keywords() {
            if node.language.is_some() {
                self.errors.add(at.error(E::ValueObjectLanguage));
            }
            for keyword in &node.keywords {
                self.errors.add(at.error(E::ValueObjectKeyword).value(*keyword));
            }
        }
        for property in &node.properties {
            self.errors.add(at.error(E::ValueObjectInvalidProp).value(property.name));
        }
    }

    /// A string, number or flag, whichever it is.
    pub(crate) fn literal(&mut self, at: At<'_>, values: &[Value<'_>]) -> Option<Literal> {
        match values {
            [] => {
                self.errors.add(at.error(E::LiteralCountBelowMin));
                None
            }
            [value] => {
                let found = match value {
                    Value::Node(node) => [TEXT, INTEGER, NUMERIC, BOOLEAN]
                        .iter()
                        .find_map(|kind| self.in_value_object(at, node, kind, E::LiteralObjectNoValue, false)),
                    value => Some(value),
                };
                let literal = found.and_then(as_literal);
                if literal.is_none() {
                    self.errors.add(at.error(E::LiteralNotValid));
                }
                literal
            }
            _ => {
                self.errors.add(at.error(E::LiteralMultipleValues));
                None
            }
        }
    }

    /// An identifier of something that need not be there.
    pub(crate) fn identifier(&mut self, at: At<'_>, values: &[Value<'_>], min: u32, rule: IdRule) -> Option<Dtmi> {
        match values {
            [] => {
                if min > 0 {
                    self.errors.add(at.error(E::IdentifierCountBelowMin));
                }
                None
            }
            [Value::Text(text)] => {
                let Some(id) = at.context.resolve(text) else {
                    self.errors.add(at.error(rule.otherwise).value(*text));
                    return None;
                };
                if length(id) > rule.length as usize {
                    self.errors.add(at.error(E::IdentifierTooLong).value(id));
                }
                Some(Dtmi::trusted(id))
            }
            [_] => {
                self.errors.add(at.error(E::IdentifierNotString));
                None
            }
            _ => {
                self.errors.add(at.error(E::IdentifierMultipleValues));
                None
            }
        }
    }
}

/// A plain value as a literal.
pub(crate) fn as_literal(value: &Value<'_>) -> Option<Literal> {
    match value {
        Value::Text(text) => Some(Literal::Text((*text).into())),
        Value::Bool(flag) => Some(Literal::Flag(*flag)),
        Value::Number(number) => Some(integer(value).map_or(Literal::Decimal(*number), Literal::Int)),
        Value::Null | Value::Node(_) => None,
    }
}

/// The length of a text as the reference counts it: in units of UTF-16.
pub(crate) fn length(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// Whether a text is a duration of ISO 8601 (`P1DT2H30.5S`): years, months and days or weeks, then
/// `T` with hours, minutes and seconds. Only the last number may have a fraction.
pub(crate) fn is_duration(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('P') else { return false };
    let (date, time) = match rest.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (rest, None),
    };
    if rest.is_empty() || time == Some("") {
        return false;
    }
    let units = if date.contains('W') { "WD" } else { "YMD" };
    let last_of_date = time.is_none();
    parts(date, units, last_of_date) && time.is_none_or(|time| parts(time, "HMS", true))
}

/// Numbers with units in their order; the last number of the text may have a fraction.
fn parts(text: &str, units: &str, last: bool) -> bool {
    let mut rest = text;
    let mut units = units;
    while !rest.is_empty() {
        let Some(end) = rest.find(|c: char| c.is_ascii_alphabetic()) else { return false };
        let (number, tail) = rest.split_at(end);
        let mut tail = tail.chars();
        let Some(place) = tail.next().and_then(|unit| units.find(unit)) else { return false };
        rest = tail.as_str();
        units = &units[place + 1..];
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let fits = match number.split_once('.') {
            Some((whole, fraction)) => last && rest.is_empty() && digits(whole) && digits(fraction),
            None => digits(number),
        };
        if !fits {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::is_duration;

    #[test]
    fn durations_are_those_of_iso_8601() {
        for (text, fits) in [
            ("P1Y2M3DT4H5M6S", true),
            ("P1W", true),
            ("P1W2D", true),
            ("PT0.5S", true),
            ("P1.5D", true),
            ("PT1.5M", true),
            ("P1.5DT1H", false),
            ("PT1.5H3M", false),
            ("P", false),
            ("PT", false),
            ("P1DT", false),
            ("1D", false),
            ("P1M1Y", false),
            ("P1Y1W", false),
            ("PT1D", false),
            ("P1", false),
            ("P-1D", false),
            ("PT1.S", false),
            ("PT1é", false),
        ] {
            assert_eq!(is_duration(text), fits, "{text}");
        }
    }
}
