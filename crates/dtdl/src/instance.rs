//! Values against schemas: whether what a device sends is what its model says.
//!
//! Numbers are of the width of their schema, times are RFC 3339, durations ISO 8601, shapes
//! GeoJSON. An object has no members that its schema has not, and may lack those it has, unless
//! they are `Required`.

use crate::json::NESTING_MAX;
use crate::metamodel::vocabulary::vocabulary;
use crate::metamodel::{Class, Prop};
use crate::model::{Element, Key, Literal, Model};
use crate::parse::literals::is_duration;
use serde_json::Value;

/// How many violations are listed for one value.
pub const VIOLATIONS_MAX: usize = 100;

/// Why a value is not one of a schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` {what}")]
pub struct Violation {
    /// Where in the value, as a JSON pointer; empty for the value itself.
    pub path: String,
    /// What is wrong there.
    pub what: &'static str,
}

/// Whether a value is one of an element's: of a schema, or of what has one.
pub(crate) fn is_valid(model: &Model, key: Key, value: &Value) -> bool {
    violations(model, key, value).is_empty()
}

/// What is wrong with a value; nothing if nothing is listed.
pub(crate) fn violations(model: &Model, key: Key, value: &Value) -> Vec<Violation> {
    let mut check = Check { model, found: vec![], path: vec![] };
    check.element(key, value);
    check.found
}

struct Check<'m> {
    model: &'m Model,
    found: Vec<Violation>,
    path: Vec<String>,
}

impl<'m> Check<'m> {
    fn wrong(&mut self, what: &'static str) {
        if self.found.len() < VIOLATIONS_MAX {
            let path =
                self.path.iter().map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1"))).collect();
            self.found.push(Violation { path, what });
        }
    }

    fn within(&mut self, step: String, key: Key, value: &Value) {
        if self.path.len() == NESTING_MAX {
            return self.wrong("is nested too deep");
        }
        self.path.push(step);
        self.element(key, value);
        self.path.pop();
    }

    fn element(&mut self, key: Key, value: &Value) {
        let model = self.model;
        let Some(element) = model.get(key) else { return self.wrong("has no schema") };
        match element.class {
            Class::Array => self.array(element, value),
            Class::Map => self.map(element, value),
            Class::Object => self.object(element, value),
            Class::Enum => self.enumeration(element, value),
            class if class.is(Class::PrimitiveSchema) => {
                if let Some(what) = primitive(class, value) {
                    self.wrong(what);
                }
            }
            _ => match element.link(Prop::Schema) {
                Some(schema) if model.get(schema).is_some_and(|of| of.class.is(Class::Schema)) => {
                    self.element(schema, value);
                }
                _ => self.wrong("has no schema"),
            },
        }
    }

    fn array(&mut self, element: &Element, value: &Value) {
        let (Value::Array(items), Some(schema)) = (value, element.link(Prop::ElementSchema)) else {
            return self.wrong("is not an array");
        };
        for (number, item) in items.iter().enumerate() {
            self.within(number.to_string(), schema, item);
        }
    }

    fn map(&mut self, element: &Element, value: &Value) {
        let (Value::Object(members), Some(schema)) = (value, element.link(Prop::MapValue)) else {
            return self.wrong("is not an object");
        };
        for (name, member) in members {
            self.within(name.clone(), schema, member);
        }
    }

    fn object(&mut self, element: &'m Element, value: &Value) {
        let Value::Object(members) = value else { return self.wrong("is not an object") };
        let model = self.model;
        let fields = element.links(Prop::Fields);
        let named = |name: &str| fields.iter().find(|key| model.get(**key).and_then(Element::name) == Some(name));
        for (name, member) in members {
            match named(name) {
                Some(field) => self.within(name.clone(), *field, member),
                None => {
                    self.path.push(name.clone());
                    self.wrong("is not a field of the schema");
                    self.path.pop();
                }
            }
        }
        for field in fields.iter().filter_map(|key| model.get(*key)).filter(|field| is_required(field)) {
            let name = field.name().unwrap_or_default();
            if !members.contains_key(name) {
                self.path.push(name.to_owned());
                self.wrong("is required and missing");
                self.path.pop();
            }
        }
    }

    fn enumeration(&mut self, element: &Element, value: &Value) {
        let model = self.model;
        let mut values = element.links(Prop::EnumValues).iter().filter_map(|key| model.get(*key));
        let known = values.any(|of| match (of.literal(Prop::EnumValue), value) {
            (Some(Literal::Text(text)), Value::String(value)) => **text == **value,
            (Some(Literal::Int(number)), value) => value.as_i64() == Some(i64::from(*number)),
            _ => false,
        });
        if !known {
            self.wrong("is none of the values of the enumeration");
        }
    }
}

/// Whether a field is `Required`, an extension of DTDL v3 and v4.
fn is_required(field: &Element) -> bool {
    field.types.iter().any(|of| vocabulary().get(*of).uri.starts_with("dtmi:dtdl:extension:requirement:"))
}

/// What is wrong with a value of a primitive schema.
fn primitive(class: Class, value: &Value) -> Option<&'static str> {
    let text = |fits: fn(&str) -> bool, what| value.as_str().is_none_or(|text| !fits(text)).then_some(what);
    let within =
        |low: i64, high: i64, what| value.as_i64().is_none_or(|number| !(low..=high).contains(&number)).then_some(what);
    match class {
        Class::Boolean => (!value.is_boolean()).then_some("is not a boolean"),
        Class::String => (!value.is_string()).then_some("is not a string"),
        Class::Byte => within(i8::MIN.into(), i8::MAX.into(), "is not an integer of 8 bits"),
        Class::Short => within(i16::MIN.into(), i16::MAX.into(), "is not an integer of 16 bits"),
        Class::Integer => within(i32::MIN.into(), i32::MAX.into(), "is not an integer of 32 bits"),
        Class::Long => within(i64::MIN, i64::MAX, "is not an integer of 64 bits"),
        Class::UnsignedByte => within(0, u8::MAX.into(), "is not an unsigned integer of 8 bits"),
        Class::UnsignedShort => within(0, u16::MAX.into(), "is not an unsigned integer of 16 bits"),
        Class::UnsignedInteger => within(0, u32::MAX.into(), "is not an unsigned integer of 32 bits"),
        Class::UnsignedLong => (!value.is_u64()).then_some("is not an unsigned integer of 64 bits"),
        Class::Double => value.as_f64().is_none_or(|n| !n.is_finite()).then_some("is not a number"),
        #[expect(clippy::cast_possible_truncation, reason = "whether it fits is what is asked")]
        Class::Float => {
            value.as_f64().is_none_or(|n| !(n as f32).is_finite()).then_some("is not a number of single precision")
        }
        Class::Date => text(is_date, "is not a date of RFC 3339"),
        Class::Time => text(is_time, "is not a time of RFC 3339"),
        Class::DateTime => text(is_date_time, "is not a date and time of RFC 3339"),
        Class::Duration => text(is_duration, "is not a duration of ISO 8601"),
        Class::Decimal => text(is_decimal, "is not a decimal number in a string"),
        Class::Bytes => text(is_base64, "is not a string in base64"),
        Class::Uuid => text(is_uuid, "is not a UUID"),
        _ => Some("has no schema"),
    }
}

/// The digits of a fixed width as a number.
fn digits(text: &str, width: usize) -> Option<u32> {
    (text.len() == width && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// `2024-02-29`.
fn is_date(text: &str) -> bool {
    let mut parts = text.split('-');
    let date = [4, 2, 2].map(|width| parts.next().and_then(|part| digits(part, width)));
    let ([Some(year), Some(month), Some(day)], None) = (date, parts.next()) else { return false };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return false,
    };
    year > 0 && (1..=days).contains(&day)
}

/// `23:59:59.5Z` or with an offset of 14 hours at most.
fn is_time(text: &str) -> bool {
    let (clock, zone) = match text.find(['Z', '+', '-']) {
        Some(place) => text.split_at(place),
        None => return false,
    };
    let (clock, fraction) = match clock.split_once('.') {
        Some((clock, fraction)) => (clock, fraction),
        None => (clock, "0"),
    };
    let mut parts = clock.split(':').map(|part| digits(part, 2));
    let (Some(Some(hour)), Some(Some(minute)), Some(Some(second)), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let fraction = !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit());
    hour < 24 && minute < 60 && second < 60 && fraction && is_zone(zone)
}

fn is_zone(text: &str) -> bool {
    if text == "Z" {
        return true;
    }
    let Some((hour, minute)) = text.get(1..).and_then(|offset| offset.split_once(':')) else { return false };
    match (digits(hour, 2), digits(minute, 2)) {
        (Some(hour), Some(minute)) => minute < 60 && hour * 60 + minute <= 14 * 60,
        _ => false,
    }
}

fn is_date_time(text: &str) -> bool {
    text.split_once('T').is_some_and(|(date, time)| is_date(date) && is_time(time))
}

/// `-12.50`.
fn is_decimal(text: &str) -> bool {
    let number = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    !whole.is_empty() && digits(whole) && (whole == "0" || !whole.starts_with('0')) && digits(fraction)
}

fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    text.len().is_multiple_of(4)
        && text.len() - body.len() <= 2
        && body.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
}

fn is_uuid(text: &str) -> bool {
    let widths = [8, 4, 4, 4, 12];
    let parts: Vec<&str> = text.split('-').collect();
    parts.len() == widths.len()
        && parts
            .iter()
            .zip(widths)
            .all(|(part, width)| part.len() == width && part.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(class: Class, value: Value, valid: bool) {
        assert_eq!(primitive(class, &value).is_none(), valid, "{class:?} {value}");
    }

    #[test]
    fn integers_are_of_their_width_and_written_as_such() {
        check(Class::Integer, json!(i32::MAX), true);
        check(Class::Integer, json!(i64::from(i32::MAX) + 1), false);
        check(Class::Integer, json!(1.0), false);
        check(Class::Integer, json!("1"), false);
        check(Class::Long, json!(i64::MIN), true);
        check(Class::Long, json!(u64::MAX), false);
        check(Class::UnsignedLong, json!(u64::MAX), true);
        check(Class::UnsignedLong, json!(-1), false);
        check(Class::Byte, json!(-128), true);
        check(Class::Byte, json!(128), false);
        check(Class::UnsignedByte, json!(255), true);
        check(Class::UnsignedByte, json!(256), false);
    }

    #[test]
    fn numbers_are_finite_in_their_precision() {
        check(Class::Double, json!(1e300), true);
        check(Class::Float, json!(1e300), false);
        check(Class::Float, json!(1), true);
        check(Class::Double, json!("NaN"), false);
    }

    #[test]
    fn times_are_of_rfc_3339() {
        check(Class::Date, json!("2024-02-29"), true);
        check(Class::Date, json!("2023-02-29"), false);
        check(Class::Date, json!("2023-2-1"), false);
        check(Class::Time, json!("23:59:59Z"), true);
        check(Class::Time, json!("23:59:59.123+02:00"), true);
        check(Class::Time, json!("23:59:59"), false);
        check(Class::Time, json!("24:00:00Z"), false);
        check(Class::Time, json!("23:59:59+14:01"), false);
        check(Class::DateTime, json!("2024-02-29T00:00:00Z"), true);
        check(Class::DateTime, json!("2024-02-29 00:00:00Z"), false);
    }

    #[test]
    fn strings_of_other_kinds_have_their_form() {
        check(Class::Decimal, json!("-12.50"), true);
        check(Class::Decimal, json!("012"), false);
        check(Class::Decimal, json!(12), false);
        check(Class::Bytes, json!("AAE="), true);
        check(Class::Bytes, json!("AAE"), false);
        check(Class::Bytes, json!("A==="), false);
        check(Class::Uuid, json!("123e4567-e89b-12d3-a456-426614174000"), true);
        check(Class::Uuid, json!("123e4567e89b12d3a456426614174000"), false);
    }
}
