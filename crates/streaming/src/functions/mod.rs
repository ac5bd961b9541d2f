//! Functions of one row: a table of names with what they take.

pub(crate) mod dates;
mod geo;
mod math;
pub(crate) mod records;
pub(crate) mod text;

use crate::ast::Type;
use crate::expr::Evaluated;
use crate::time;
use crate::value::Value;

/// Longest text that a function makes.
pub(crate) const TEXT_BYTES_MAX: usize = 1 << 20;

/// A function by its name.
pub(crate) struct Function {
    /// In lower case.
    pub name: &'static str,
    pub least: usize,
    pub most: usize,
    pub run: fn(&[Value]) -> Evaluated,
}

impl std::fmt::Debug for Function {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name)
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Function) -> bool {
        self.name == other.name
    }
}

const fn function(name: &'static str, least: usize, most: usize, run: fn(&[Value]) -> Evaluated) -> Function {
    Function { name, least, most, run }
}

/// The function of a name in lower case.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    [text::FUNCTIONS, math::FUNCTIONS, dates::FUNCTIONS, records::FUNCTIONS, geo::FUNCTIONS]
        .into_iter()
        .flatten()
        .find(|function| function.name == name)
}

fn kind(value: &Value) -> &'static str {
    value.kind().unwrap_or("null")
}

/// The texts of arguments; nothing when one is null.
fn texts<const N: usize>(args: &[Value]) -> Result<Option<[&str; N]>, String> {
    let mut found = [""; N];
    for (place, arg) in found.iter_mut().zip(args) {
        match arg {
            Value::Null => return Ok(None),
            Value::Text(text) => *place = text,
            other => return Err(format!("a {} is no text", kind(other))),
        }
    }
    Ok(Some(found))
}

/// A whole number; nothing when it is null.
fn whole(arg: &Value) -> Result<Option<i64>, String> {
    match arg {
        Value::Null => Ok(None),
        Value::Bigint(number) => Ok(Some(*number)),
        Value::Float(number) if number.fract() == 0.0 && number.abs() < 9.0e18 => Ok(Some(*number as i64)),
        other => Err(format!("a {} is no whole number", kind(other))),
    }
}

/// `CAST`.
pub(crate) fn cast(value: Value, to: Type) -> Evaluated {
    let refuse = |value: &Value, to: &str| {
        let shown = match value {
            Value::Text(text) => format!("'{}'", text.chars().take(64).collect::<String>()),
            other => format!("a {}", kind(other)),
        };
        Err(format!("{shown} is no {to}"))
    };
    Ok(match (to, value) {
        (_, Value::Null) => Value::Null,
        (Type::Bigint, Value::Float(number)) => {
            let number = number.trunc();
            if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number) {
                Value::Bigint(number as i64)
            } else {
                return Err("a float is too large for a bigint".to_owned());
            }
        }
        (Type::Bigint, Value::Bit(value)) => Value::Bigint(value.into()),
        (Type::Bigint, Value::Text(text)) => match text.trim().parse() {
            Ok(number) => Value::Bigint(number),
            Err(_) => return refuse(&Value::Text(text), "bigint"),
        },
        (Type::Float, Value::Bigint(number)) => Value::Float(number as f64),
        (Type::Float, Value::Bit(value)) => Value::Float(f64::from(u8::from(value))),
        (Type::Float, Value::Text(text)) => match text.trim().parse::<f64>() {
            Ok(number) if number.is_finite() => Value::Float(number),
            _ => return refuse(&Value::Text(text), "float"),
        },
        (Type::Bit, Value::Bigint(number)) => Value::Bit(number != 0),
        (Type::Bit, Value::Float(number)) => Value::Bit(number != 0.0),
        (Type::Bit, Value::Text(text)) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" => Value::Bit(true),
            "false" | "0" => Value::Bit(false),
            _ => return refuse(&Value::Text(text), "bit"),
        },
        (Type::Datetime, Value::Text(text)) => match time::parse(&text) {
            Some(ticks) => Value::Datetime(ticks),
            None => return refuse(&Value::Text(text), "datetime"),
        },
        (Type::Text, value) => match text::of(&value) {
            Some(text) => Value::Text(text.into()),
            None => value,
        },
        (to, value) => {
            let (same, name) = match to {
                Type::Bigint => (matches!(value, Value::Bigint(_)), "bigint"),
                Type::Float => (matches!(value, Value::Float(_)), "float"),
                Type::Bit => (matches!(value, Value::Bit(_)), "bit"),
                Type::Datetime => (matches!(value, Value::Datetime(_)), "datetime"),
                Type::Record => (matches!(value, Value::Record(_)), "record"),
                Type::Array => (matches!(value, Value::Array(_)), "array"),
                Type::Text => unreachable!("handled above"),
            };
            if !same {
                return refuse(&value, name);
            }
            value
        }
    })
}
