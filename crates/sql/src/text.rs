//! Texts of values, as PostgreSQL writes and reads them (`DateStyle` ISO, `IntervalStyle` postgres, UTC).

use gantry_kql::value::{
    DateTime, Decimal, Dynamic, Guid, TICKS_PER_DAY, TICKS_PER_HOUR, TICKS_PER_MINUTE, TICKS_PER_SECOND, TimeSpan,
    Type, Value, print_real,
};

use crate::error::{Error, Result, state};
use crate::types::{Base, SqlType};

/// Ticks of a microsecond: PostgreSQL keeps no more.
const TICKS_PER_MICRO: i64 = 10;

/// The text of a value that is not null.
pub fn print(value: &Value, ty: SqlType) -> String {
    if ty.array {
        return print_array(value, ty);
    }
    match (ty.base, value) {
        (Base::Bool, Value::Bool(value)) => if *value { "t" } else { "f" }.to_owned(),
        (Base::Json | Base::Jsonb, value) => json(&value.clone().into_dynamic()),
        (Base::Int2Vector | Base::OidVector, Value::Dynamic(Dynamic::Array(items))) => {
            items.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        }
        (Base::Date, Value::DateTime(value)) => date(*value),
        (Base::Timestamp, Value::DateTime(value)) => timestamp(*value),
        (Base::TimestampTz, Value::DateTime(value)) => format!("{}+00", timestamp(*value)),
        (Base::Time, Value::TimeSpan(value)) => clock(value.0),
        (Base::Interval, Value::TimeSpan(value)) => interval(value.0),
        (Base::Float4, Value::Real(value)) => real(f64::from(*value as f32), |_| (*value as f32).to_string()),
        (_, Value::Real(value)) => real(*value, |value| value.to_string()),
        (_, value) => value.to_string(),
    }
}

fn print_array(value: &Value, ty: SqlType) -> String {
    let Value::Dynamic(Dynamic::Array(items)) = value else { return value.to_string() };
    let element = SqlType::of(ty.base);
    let items: Vec<String> = items
        .iter()
        .map(|item| match typed(item, element) {
            Value::Null => "NULL".to_owned(),
            value => quote_element(&print(&value, element)),
        })
        .collect();
    format!("{{{}}}", items.join(","))
}

fn quote_element(text: &str) -> String {
    let plain = !text.is_empty()
        && !text.eq_ignore_ascii_case("null")
        && !text.contains(['{', '}', ',', '"', '\\', ' ', '\t', '\n', '\r']);
    if plain { text.to_owned() } else { format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")) }
}

/// An element of an array as a value of its type.
pub fn typed(item: &Dynamic, ty: SqlType) -> Value {
    match (item, ty.engine()) {
        (Dynamic::Null, _) => Value::Null,
        (Dynamic::Bool(value), Type::Bool) => Value::Bool(*value),
        (Dynamic::Long(value), Type::Int) => i32::try_from(*value).map_or(Value::Null, Value::Int),
        (Dynamic::Long(value), Type::Long) => Value::Long(*value),
        (Dynamic::Long(value), Type::Real) => Value::Real(*value as f64),
        (Dynamic::Long(value), Type::Decimal) => Value::Decimal(Decimal::from(*value)),
        (Dynamic::Real(value), Type::Real) => Value::Real(*value),
        (Dynamic::Decimal(value), Type::Decimal) => Value::Decimal(*value),
        (Dynamic::Decimal(value), Type::Real) => Value::Real(value.to_real()),
        (Dynamic::DateTime(value), Type::DateTime) => Value::DateTime(*value),
        (Dynamic::TimeSpan(value), Type::TimeSpan) => Value::TimeSpan(*value),
        (Dynamic::Guid(value), Type::Guid) => Value::Guid(*value),
        (Dynamic::String(value), Type::String) => Value::String(value.clone()),
        // What went through JSON on its way is a text.
        (Dynamic::String(value), _) => read(value, ty).unwrap_or(Value::Null),
        (item, Type::Dynamic) => Value::Dynamic(item.clone()),
        (item, Type::String) => Value::String(item.to_string()),
        _ => Value::Null,
    }
}

fn real(value: f64, digits: impl Fn(f64) -> String) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.into();
    }
    let size = value.abs();
    if value != 0.0 && !(1e-4..1e15).contains(&size) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(rest) => ('-', rest),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    digits(value)
}

fn fraction(ticks: i64) -> String {
    let micros = ticks / TICKS_PER_MICRO;
    if micros == 0 {
        return String::new();
    }
    format!(".{micros:06}").trim_end_matches('0').to_owned()
}

fn date(value: DateTime) -> String {
    let parts = value.parts();
    format!("{:04}-{:02}-{:02}", parts.year, parts.month, parts.day)
}

fn clock(ticks: i64) -> String {
    let (hours, minutes, seconds) = (
        ticks / TICKS_PER_HOUR,
        ticks % TICKS_PER_HOUR / TICKS_PER_MINUTE,
        ticks % TICKS_PER_MINUTE / TICKS_PER_SECOND,
    );
    format!("{hours:02}:{minutes:02}:{seconds:02}{}", fraction(ticks % TICKS_PER_SECOND))
}

fn timestamp(value: DateTime) -> String {
    format!("{} {}", date(value), clock(value.parts().ticks))
}

fn interval(ticks: i64) -> String {
    let (days, rest) = (ticks / TICKS_PER_DAY, ticks % TICKS_PER_DAY);
    let mut text = String::new();
    if days != 0 {
        text = format!("{days} day{}", if days == 1 { "" } else { "s" });
    }
    if rest != 0 || days == 0 {
        if !text.is_empty() {
            text.push(' ');
        }
        if rest < 0 {
            text.push('-');
        } else if days < 0 {
            text.push('+');
        }
        text.push_str(&clock(rest.abs()));
    }
    text
}

/// JSON as jsonb prints it, with a space behind `:` and `,`.
pub fn json(value: &Dynamic) -> String {
    let mut out = String::new();
    write_json(value, &mut out);
    out
}

fn write_json(value: &Dynamic, out: &mut String) {
    match value {
        Dynamic::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                write_json(item, out);
            }
            out.push(']');
        }
        Dynamic::Bag(bag) => {
            out.push('{');
            for (at, (name, value)) in bag.iter().enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                out.push_str(&Dynamic::String(name.to_owned()).to_json());
                out.push_str(": ");
                write_json(value, out);
            }
            out.push('}');
        }
        Dynamic::Decimal(value) => out.push_str(&value.to_string()),
        Dynamic::DateTime(value) => {
            out.push_str(&Dynamic::String(format!("{}T{}+00:00", date(*value), clock(value.parts().ticks))).to_json());
        }
        Dynamic::TimeSpan(value) => out.push_str(&Dynamic::String(interval(value.0)).to_json()),
        Dynamic::Real(value) if value.is_finite() => out.push_str(print_real(*value).trim_end_matches(".0")),
        other => out.push_str(&other.to_json()),
    }
}

/// The value that a text stands for.
///
/// # Errors
/// When it is none of the type.
pub fn read(text: &str, ty: SqlType) -> Result<Value> {
    let wrong = |state| Error::new(state, format!("invalid input syntax for type {}: \"{text}\"", ty.long_name()));
    let invalid = || wrong(state::INVALID_TEXT_REPRESENTATION);
    if ty.array {
        return read_array(text, SqlType::of(ty.base));
    }
    let trimmed = text.trim();
    Ok(match ty.base {
        Base::Bool => Value::Bool(read_bool(trimmed).ok_or_else(invalid)?),
        Base::Int2 | Base::Int4 | Base::Int8 | Base::Oid => {
            let value: i128 = trimmed.parse().map_err(|_| invalid())?;
            let range = match ty.base {
                Base::Int2 => i128::from(i16::MIN)..=i128::from(i16::MAX),
                Base::Int4 => i128::from(i32::MIN)..=i128::from(i32::MAX),
                Base::Oid => 0..=i128::from(u32::MAX),
                _ => i128::from(i64::MIN)..=i128::from(i64::MAX),
            };
            if !range.contains(&value) {
                return Err(Error::new(
                    state::NUMERIC_VALUE_OUT_OF_RANGE,
                    format!("value \"{text}\" is out of range for type {}", ty.long_name()),
                ));
            }
            if ty.engine() == Type::Int { Value::Int(value as i32) } else { Value::Long(value as i64) }
        }
        Base::Float4 | Base::Float8 => Value::Real(read_real(trimmed).ok_or_else(invalid)?),
        Base::Numeric => Value::Decimal(Decimal::parse(trimmed).ok_or_else(invalid)?),
        Base::Date | Base::Timestamp | Base::TimestampTz => {
            let value = read_instant(trimmed, ty.base).ok_or_else(|| wrong(state::INVALID_DATETIME_FORMAT))?;
            Value::DateTime(value)
        }
        Base::Time => match read_clock(trimmed) {
            Some(ticks) if (0..=TICKS_PER_DAY).contains(&ticks) => Value::TimeSpan(TimeSpan(ticks)),
            _ => return Err(wrong(state::INVALID_DATETIME_FORMAT)),
        },
        Base::Interval => {
            let span = Interval::read(trimmed).ok_or_else(|| wrong(state::INVALID_DATETIME_FORMAT))?;
            Value::TimeSpan(TimeSpan(span.ticks().ok_or_else(|| wrong(state::DATETIME_FIELD_OVERFLOW))?))
        }
        Base::Uuid => {
            let digits = trimmed.trim_start_matches('{').trim_end_matches('}');
            Value::Guid(Guid::parse(digits).ok_or_else(invalid)?)
        }
        Base::Json | Base::Jsonb => match Dynamic::parse_json(text) {
            Some(Dynamic::Null) | None if trimmed != "null" => return Err(wrong(state::INVALID_TEXT_REPRESENTATION)),
            Some(value) => Value::Dynamic(value),
            None => Value::Null,
        },
        Base::Int2Vector | Base::OidVector => {
            let items = trimmed.split_whitespace().map(|item| item.parse().map(Dynamic::Long).map_err(|_| invalid()));
            Value::Dynamic(Dynamic::Array(items.collect::<Result<_>>()?))
        }
        Base::Regclass | Base::Regtype | Base::Regproc | Base::Regnamespace => {
            Value::Long(trimmed.parse::<u32>().map(i64::from).map_err(|_| invalid())?)
        }
        Base::Char => Value::String(text.chars().take(1).collect()),
        Base::Text
        | Base::Varchar
        | Base::Bpchar
        | Base::Name
        | Base::Bytea
        | Base::NodeTree
        | Base::Unknown
        | Base::Void => Value::String(text.to_owned()),
    })
}

fn read_bool(text: &str) -> Option<bool> {
    let text = text.to_ascii_lowercase();
    match text.as_str() {
        "" => None,
        "1" | "on" => Some(true),
        "0" | "off" | "of" => Some(false),
        text if "true".starts_with(text) || "yes".starts_with(text) => Some(true),
        text if "false".starts_with(text) || "no".starts_with(text) => Some(false),
        _ => None,
    }
}

fn read_real(text: &str) -> Option<f64> {
    match text.to_ascii_lowercase().as_str() {
        "nan" => Some(f64::NAN),
        "infinity" | "inf" | "+infinity" => Some(f64::INFINITY),
        "-infinity" | "-inf" => Some(f64::NEG_INFINITY),
        text if text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) => text.parse().ok(),
        _ => None,
    }
}

fn read_instant(text: &str, base: Base) -> Option<DateTime> {
    let value = match text.to_ascii_lowercase().as_str() {
        "epoch" => DateTime::from_unix_ticks(0)?,
        "infinity" => DateTime::MAX,
        "-infinity" => DateTime::MIN,
        _ => {
            if !text.starts_with(|c: char| c.is_ascii_digit()) || !text.contains('-') {
                return None;
            }
            // An offset of hours alone, as PostgreSQL itself prints it.
            let text = match text.rfind(['+', '-']) {
                Some(at) if at > 10 && text.len() - at == 3 => format!("{text}:00"),
                _ => text.to_owned(),
            };
            let utc = text.strip_suffix(" UTC").map_or_else(|| text.clone(), |rest| format!("{rest}Z"));
            if base == Base::TimestampTz {
                DateTime::parse(&utc)?
            } else {
                // Without a time zone the offset says nothing.
                let bare = match utc.rfind(['+', '-', 'Z']) {
                    Some(at) if at > 10 => &utc[..at],
                    _ => &utc,
                };
                DateTime::parse(bare)?
            }
        }
    };
    if base == Base::Date { DateTime::from_ticks(value.0 - value.parts().ticks) } else { Some(value) }
}

fn read_clock(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let hours: i64 = parts.next()?.parse().ok()?;
    let minutes: i64 = parts.next()?.parse().ok()?;
    let seconds: f64 = parts.next().map_or(Some(0.0), |seconds| seconds.parse().ok())?;
    if parts.next().is_some() || !(0..60).contains(&minutes) || !(0.0..=60.0).contains(&seconds) {
        return None;
    }
    let ticks = (seconds * TICKS_PER_SECOND as f64).round() as i64;
    hours.checked_mul(TICKS_PER_HOUR)?.checked_add(minutes * TICKS_PER_MINUTE + ticks)
}

/// An interval: months are of no fixed length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interval {
    /// Months, years among them.
    pub months: i64,
    /// Everything else.
    pub rest: i64,
}

impl Interval {
    /// Reads `1 day 02:03:04`, `3 months`, `-5 min`, `1.5 hours`, `P1DT2H`.
    pub fn read(text: &str) -> Option<Interval> {
        let text = text.trim().trim_start_matches('@').trim().to_ascii_lowercase();
        if let Some(iso) = text.strip_prefix('p') {
            return Interval::read_iso(iso);
        }
        let mut span = Interval::default();
        let mut words = text.split_whitespace().peekable();
        words.peek()?;
        let mut ago = false;
        while let Some(word) = words.next() {
            if word == "ago" {
                ago = true;
                continue;
            }
            if word.contains(':') {
                let (sign, clock) = match word.strip_prefix('-') {
                    Some(rest) => (-1, rest),
                    None => (1, word.trim_start_matches('+')),
                };
                span.rest = span.rest.checked_add(sign * read_clock(clock)?)?;
                continue;
            }
            let digits = word.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(word.len());
            let (number, unit) = word.split_at(digits);
            let unit = if unit.is_empty() { words.next().unwrap_or("second") } else { unit };
            span.add(number.parse().ok()?, unit)?;
        }
        Some(if ago { Interval { months: -span.months, rest: -span.rest } } else { span })
    }

    fn read_iso(text: &str) -> Option<Interval> {
        let mut span = Interval::default();
        let (mut time, mut number) = (false, String::new());
        for c in text.chars() {
            match c {
                't' => time = true,
                c if c.is_ascii_digit() || "+-.".contains(c) => number.push(c),
                c => {
                    let unit = match (c, time) {
                        ('y', false) => "year",
                        ('m', false) => "month",
                        ('w', false) => "week",
                        ('d', false) => "day",
                        ('h', true) => "hour",
                        ('m', true) => "minute",
                        ('s', true) => "second",
                        _ => return None,
                    };
                    span.add(std::mem::take(&mut number).parse().ok()?, unit)?;
                }
            }
        }
        number.is_empty().then_some(span)
    }

    fn add(&mut self, count: f64, unit: &str) -> Option<()> {
        let months = match unit {
            "year" | "years" | "y" | "yr" | "yrs" => 12.0,
            "mon" | "mons" | "month" | "months" => 1.0,
            "decade" | "decades" => 120.0,
            "century" | "centuries" => 1_200.0,
            _ => 0.0,
        };
        if !count.is_finite() || count.abs() > 1e12 {
            return None;
        }
        if months > 0.0 {
            let months = count * months;
            self.months += months.trunc() as i64;
            self.rest = self.rest.checked_add((months.fract() * 30.0 * TICKS_PER_DAY as f64).round() as i64)?;
            return Some(());
        }
        let ticks = unit_ticks(unit)? as f64 * count;
        if ticks.abs() > 9e18 {
            return None;
        }
        self.rest = self.rest.checked_add(ticks.round() as i64)?;
        Some(())
    }

    /// Ticks, a month being thirty days, as PostgreSQL has it where it compares.
    pub fn ticks(self) -> Option<i64> {
        self.months.checked_mul(30 * TICKS_PER_DAY)?.checked_add(self.rest)
    }
}

/// Ticks of a unit of fixed length.
pub fn unit_ticks(unit: &str) -> Option<i64> {
    Some(match unit {
        "week" | "weeks" | "w" => 7 * TICKS_PER_DAY,
        "day" | "days" | "d" => TICKS_PER_DAY,
        "hour" | "hours" | "h" | "hr" | "hrs" => TICKS_PER_HOUR,
        "minute" | "minutes" | "min" | "mins" | "m" => TICKS_PER_MINUTE,
        "second" | "seconds" | "sec" | "secs" | "s" => TICKS_PER_SECOND,
        "millisecond" | "milliseconds" | "ms" | "msec" | "msecs" => TICKS_PER_SECOND / 1_000,
        "microsecond" | "microseconds" | "us" | "usec" | "usecs" => TICKS_PER_MICRO,
        _ => return None,
    })
}

fn read_array(text: &str, element: SqlType) -> Result<Value> {
    let wrong = || Error::new(state::INVALID_TEXT_REPRESENTATION, format!("malformed array literal: \"{text}\""));
    let inner = text.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).ok_or_else(wrong)?;
    let mut items = Vec::new();
    let mut chars = inner.chars().peekable();
    if inner.trim().is_empty() {
        return Ok(Value::Dynamic(Dynamic::Array(items)));
    }
    loop {
        let (mut item, mut quoted) = (String::new(), false);
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.next_if_eq(&'"').is_some() {
            quoted = true;
            loop {
                match chars.next().ok_or_else(wrong)? {
                    '"' => break,
                    '\\' => item.push(chars.next().ok_or_else(wrong)?),
                    c => item.push(c),
                }
            }
        }
        while let Some(c) = chars.next_if(|c| *c != ',') {
            match c {
                '{' | '}' => return Err(Error::unsupported("an array of arrays")),
                c if quoted && !c.is_whitespace() => return Err(wrong()),
                c if !quoted => item.push(c),
                _ => {}
            }
        }
        let item = if quoted { item.as_str() } else { item.trim() };
        items.push(if !quoted && item.eq_ignore_ascii_case("null") {
            Dynamic::Null
        } else {
            read(item, element)?.into_dynamic()
        });
        if chars.next().is_none() {
            break;
        }
    }
    Ok(Value::Dynamic(Dynamic::Array(items)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, ty: SqlType, printed: &str) {
        let value = read(text, ty).unwrap();
        assert_eq!(print(&value, ty), printed, "{text}");
        assert_eq!(read(printed, ty).unwrap(), value, "{printed} reads back");
    }

    #[test]
    fn values_read_back_from_their_texts() {
        check("yes", SqlType::BOOL, "t");
        check(" 12", SqlType::INT8, "12");
        check("1e3", SqlType::FLOAT8, "1000");
        check("1e20", SqlType::FLOAT8, "1e+20");
        check("0.00001", SqlType::FLOAT8, "1e-05");
        check("1.50", SqlType::NUMERIC, "1.50");
        check("2024-02-03T04:05:06.5Z", SqlType::TIMESTAMPTZ, "2024-02-03 04:05:06.5+00");
        check("2024-02-03 04:05:06+02", SqlType::TIMESTAMPTZ, "2024-02-03 02:05:06+00");
        check("2024-02-03 04:05:06+02", SqlType::TIMESTAMP, "2024-02-03 04:05:06");
        check("2024-02-03", SqlType::DATE, "2024-02-03");
        check("04:05", SqlType::TIME, "04:05:00");
        check("1 day 2 hours -3 min", SqlType::INTERVAL, "1 day 01:57:00");
        check("-90 minutes", SqlType::INTERVAL, "-01:30:00");
        check("P1DT2H", SqlType::INTERVAL, "1 day 02:00:00");
        check("{1,NULL,3}", SqlType::array_of(Base::Int4), "{1,NULL,3}");
        check(r#"{a,"b c","NULL"}"#, SqlType::array_of(Base::Text), r#"{a,"b c","NULL"}"#);
        check(r#"{"a":[1,2.5,null],"b":"x"}"#, SqlType::JSONB, r#"{"a": [1, 2.5, null], "b": "x"}"#);
    }

    #[test]
    fn what_is_no_value_is_refused_with_its_state() {
        for (text, ty, state) in [
            ("x", SqlType::INT4, "22P02"),
            ("3000000000", SqlType::INT4, "22003"),
            ("2024-13-01", SqlType::TIMESTAMPTZ, "22007"),
            ("1 fortnight", SqlType::INTERVAL, "22007"),
            ("{1", SqlType::array_of(Base::Int4), "22P02"),
            ("{", SqlType::JSONB, "22P02"),
        ] {
            assert_eq!(read(text, ty).unwrap_err().state, state, "{text}");
        }
    }
}
