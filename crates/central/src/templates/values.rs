//! Whether values are what a template says they look like.

use std::fmt;

use serde_json::Value;

use super::capabilities::{Field, Schema};

/// Why a value is not of a schema: where, and what is wanted there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unfit {
    path: String,
    wanted: String,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not {}", self.path, self.wanted)
    }
}

impl Schema {
    /// Checks a value.
    ///
    /// # Errors
    /// [`Unfit`], whose text begins with the place within the value: `.inner.x is not a number`.
    pub fn check(&self, value: &Value) -> Result<(), Unfit> {
        check(self, value, "")
    }
}

fn unfit(path: &str, wanted: impl Into<String>) -> Result<(), Unfit> {
    Err(Unfit { path: path.to_owned(), wanted: wanted.into() })
}

fn check(schema: &Schema, value: &Value, path: &str) -> Result<(), Unfit> {
    match schema {
        Schema::Word(word) => check_word(word, value, path),
        Schema::Geopoint => check_numbers(value, path, &["lat", "lon"], &["alt"]),
        Schema::Vector => check_numbers(value, path, &["x", "y", "z"], &[]),
        Schema::Enum(values) if values.iter().any(|one| one.value == *value) => Ok(()),
        Schema::Enum(values) => {
            let listed: Vec<_> = values.iter().map(|one| one.value.to_string()).collect();
            unfit(path, format!("one of {}", listed.join(", ")))
        }
        Schema::Object(fields) => check_object(fields, value, path),
        Schema::Map(of) => match value {
            Value::Object(members) => {
                members.iter().try_for_each(|(name, value)| check(of, value, &format!("{path}.{name}")))
            }
            _ => unfit(path, "an object"),
        },
        Schema::Array(of) => match value {
            Value::Array(items) => {
                items.iter().enumerate().try_for_each(|(at, value)| check(of, value, &format!("{path}[{at}]")))
            }
            _ => unfit(path, "an array"),
        },
        Schema::Deeper => Ok(()),
    }
}

fn check_object(fields: &[Field], value: &Value, path: &str) -> Result<(), Unfit> {
    let Value::Object(members) = value else { return unfit(path, "an object") };
    for (name, value) in members {
        let path = format!("{path}.{name}");
        match fields.iter().find(|field| field.name == *name) {
            Some(field) => check(&field.schema, value, &path)?,
            None => return unfit(&path, "a field"),
        }
    }
    Ok(())
}

fn check_numbers(value: &Value, path: &str, wanted: &[&str], also: &[&str]) -> Result<(), Unfit> {
    let words = || format!("an object of numbers {}", wanted.join(", "));
    let Value::Object(members) = value else { return unfit(path, words()) };
    let is_good = wanted.iter().all(|name| members.contains_key(*name))
        && members.iter().all(|(name, value)| {
            value.is_number() && (wanted.contains(&name.as_str()) || also.contains(&name.as_str()))
        });
    if is_good { Ok(()) } else { unfit(path, words()) }
}

fn check_word(word: &str, value: &Value, path: &str) -> Result<(), Unfit> {
    let text = |is_one: fn(&str) -> bool| value.as_str().is_some_and(is_one);
    let whole = |value: &Value| match value.as_i64() {
        Some(number) => Some(number),
        // `3.0` is a whole number to the senders of JSON that know only one kind.
        #[expect(clippy::cast_possible_truncation, reason = "compared with what it was")]
        None => {
            value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 9e15).map(|number| number as i64)
        }
    };
    let (is_good, wanted) = match word {
        "boolean" => (value.is_boolean(), "a boolean"),
        "integer" => (whole(value).is_some_and(|number| i32::try_from(number).is_ok()), "an integer of 32 bits"),
        "long" => (whole(value).is_some(), "an integer of 64 bits"),
        "double" | "float" => (value.is_number(), "a number"),
        "string" => (value.is_string(), "a string"),
        "date" => (text(is_date), "a date as `2026-11-30`"),
        "dateTime" => (text(is_date_time), "a time as `2026-11-30T09:30:00Z`"),
        "time" => (text(is_time), "a time of day as `09:30:00`"),
        "duration" => (text(is_duration), "a duration as `PT1H30M`"),
        // Shapes on the earth, as GeoJSON has them.
        "point" | "multiPoint" | "lineString" | "multiLineString" | "polygon" | "multiPolygon" => {
            let of = value.get("type").and_then(Value::as_str);
            let is_shape = of.is_some_and(|of| of.eq_ignore_ascii_case(word)) && value.get("coordinates").is_some();
            (is_shape, "a shape in GeoJSON")
        }
        _ => (true, "a value"),
    };
    if is_good { Ok(()) } else { unfit(path, wanted) }
}

fn is_digits(text: &str, count: usize) -> bool {
    text.len() == count && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_date(text: &str) -> bool {
    let format = time::macros::format_description!("[year]-[month]-[day]");
    time::Date::parse(text, format).is_ok()
}

fn is_time(text: &str) -> bool {
    let text = text.trim_end_matches('Z');
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let mut parts = whole.split(':');
    let in_range = |part: Option<&str>, below: u8| {
        part.is_some_and(|part| is_digits(part, 2) && part.parse::<u8>().is_ok_and(|number| number < below))
    };
    in_range(parts.next(), 24)
        && in_range(parts.next(), 60)
        && in_range(parts.next(), 60)
        && parts.next().is_none()
        && !fraction.is_empty()
        && fraction.bytes().all(|b| b.is_ascii_digit())
}

fn is_date_time(text: &str) -> bool {
    time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).is_ok()
}

/// ISO 8601: at least one part, each a number and its letter, in order, hours and below after `T`.
fn is_duration(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('-').unwrap_or(text).strip_prefix('P') else { return false };
    let (days, clock) = rest.split_once('T').map_or((rest, None), |(days, clock)| (days, Some(clock)));
    let count = |text: &str, letters: &str| -> Option<usize> {
        let (mut rest, mut letters, mut found) = (text, letters, 0);
        while !rest.is_empty() {
            let at = rest.find(|c: char| c.is_ascii_alphabetic())?;
            let (number, tail) = rest.split_at(at);
            number.parse::<f64>().ok().filter(|_| number.bytes().all(|b| b.is_ascii_digit() || b == b'.'))?;
            let letter = tail.chars().next()?;
            letters = letters.split_once(letter)?.1;
            rest = tail.get(1..)?;
            found += 1;
        }
        Some(found)
    };
    match (count(days, "YMWD"), clock.map(|clock| count(clock, "HMS"))) {
        (Some(days), None) => days > 0,
        (Some(_), Some(Some(clock))) => clock > 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::capabilities::EnumValue;
    use super::*;

    #[track_caller]
    fn check(schema: &Schema, good: &[Value], bad: &[Value]) {
        for value in good {
            assert_eq!(schema.check(value), Ok(()), "{value}");
        }
        for value in bad {
            assert!(schema.check(value).is_err(), "{schema:?} takes {value}");
        }
    }

    #[test]
    fn values_are_of_their_words() {
        check(&Schema::Word("boolean"), &[json!(true)], &[json!(1), json!("true"), json!(null)]);
        check(
            &Schema::Word("integer"),
            &[json!(1), json!(2_147_483_647), json!(3.0)],
            &[json!(2_147_483_648_i64), json!(0.5)],
        );
        check(&Schema::Word("long"), &[json!(i64::MAX)], &[json!("1"), json!(1.5)]);
        check(&Schema::Word("double"), &[json!(1), json!(1.5)], &[json!("1.5")]);
        check(&Schema::Word("date"), &[json!("2026-02-28")], &[json!("2026-02-30"), json!("28.2.2026")]);
        check(
            &Schema::Word("dateTime"),
            &[json!("2026-02-28T01:02:03Z"), json!("2026-02-28T01:02:03.5+02:00")],
            &[json!("2026-02-28")],
        );
        check(
            &Schema::Word("time"),
            &[json!("23:59:59"), json!("01:02:03.25Z")],
            &[json!("24:00:00"), json!("1:2:3"), json!("01:02:03.")],
        );
        check(
            &Schema::Word("duration"),
            &[json!("PT1H30M"), json!("P1DT0.5S"), json!("P2W")],
            &[json!("P"), json!("PT"), json!("1H"), json!("PT1M1H"), json!("PTe5S")],
        );
        check(
            &Schema::Word("point"),
            &[json!({"type": "Point", "coordinates": [1, 2]})],
            &[json!([1, 2]), json!({"type": "Polygon", "coordinates": []})],
        );
    }

    #[test]
    fn values_are_of_their_shapes() {
        check(
            &Schema::Geopoint,
            &[json!({"lat": 1, "lon": 2}), json!({"lat": 1, "lon": 2, "alt": 3})],
            &[json!({"lat": 1}), json!({"lat": 1, "lon": 2, "x": 1})],
        );
        check(&Schema::Vector, &[json!({"x": 1, "y": 2, "z": 3})], &[json!({"x": 1, "y": 2}), json!([1, 2, 3])]);
        let one = |value: Value| EnumValue { name: "a".into(), display_name: "A".into(), value };
        check(&Schema::Enum(vec![one(json!(1)), one(json!(2))]), &[json!(2)], &[json!(3), json!("1")]);
        let numbers = Schema::Array(Box::new(Schema::Word("double")));
        check(&numbers, &[json!([]), json!([1, 2.5])], &[json!([1, "x"]), json!({})]);
        let field = Field { name: "x".into(), display_name: "X".into(), schema: numbers };
        let object = Schema::Map(Box::new(Schema::Object(vec![field])));
        check(&object, &[json!({"a": {"x": [1]}, "b": {}})], &[json!({"a": {"y": 1}}), json!([])]);
        let told = object.check(&json!({"a": {"x": [1, true]}})).unwrap_err().to_string();
        assert_eq!(told, ".a.x[1] is not a number");
    }
}
