//! Values of the language: bigint, float, nvarchar(max), datetime, bit, record, array, and null.
//!
//! Comparison is three-valued: what is null compares to nothing. Numbers compare as numbers whatever their
//! type, a text beside an instant is read as one, and other mixtures are errors of the event.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::codec::{Read, Reader, Writer};
use crate::error::CheckpointError;
use crate::time::{self, Ticks};

/// How deep records and arrays are looked into: JSON deeper than this is an error of the event.
pub const DEPTH_MAX: usize = 64;

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Absent, or unknown.
    Null,
    /// A whole number.
    Bigint(i64),
    /// A number.
    Float(f64),
    /// A truth value.
    Bit(bool),
    /// An instant.
    Datetime(Ticks),
    /// A text.
    Text(Arc<str>),
    /// Named values in order.
    Record(Arc<Record>),
    /// Values in order.
    Array(Arc<[Value]>),
}

/// Named values in order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Record {
    /// Names with their values.
    pub fields: Vec<(Arc<str>, Value)>,
}

impl Record {
    /// The value of a name: as written, else without regard to case.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let exact = self.fields.iter().find(|(field, _)| &**field == name);
        exact.or_else(|| self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name))).map(|(_, value)| value)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.into())
    }
}

impl Value {
    /// A record of these fields.
    pub fn record(fields: Vec<(Arc<str>, Value)>) -> Value {
        Value::Record(Arc::new(Record { fields }))
    }

    /// The value of JSON; nothing when it is nested deeper than [`DEPTH_MAX`].
    pub fn from_json(json: &serde_json::Value) -> Option<Value> {
        fn at(json: &serde_json::Value, depth: usize) -> Option<Value> {
            if depth > DEPTH_MAX {
                return None;
            }
            Some(match json {
                serde_json::Value::Null => Value::Null,
                serde_json::Value::Bool(value) => Value::Bit(*value),
                serde_json::Value::Number(number) => match number.as_i64() {
                    Some(number) => Value::Bigint(number),
                    None => Value::Float(number.as_f64()?),
                },
                serde_json::Value::String(text) => Value::Text(text.as_str().into()),
                serde_json::Value::Array(items) => {
                    Value::Array(items.iter().map(|item| at(item, depth + 1)).collect::<Option<_>>()?)
                }
                serde_json::Value::Object(fields) => Value::record(
                    fields
                        .iter()
                        .map(|(name, value)| Some((name.as_str().into(), at(value, depth + 1)?)))
                        .collect::<Option<_>>()?,
                ),
            })
        }
        at(json, 0)
    }

    /// This as JSON. Instants are texts; numbers that JSON does not have are null.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Value::Null => serde_json::Value::Null,
            Value::Bigint(number) => (*number).into(),
            Value::Float(number) => {
                serde_json::Number::from_f64(*number).map_or(serde_json::Value::Null, serde_json::Value::Number)
            }
            Value::Bit(value) => (*value).into(),
            Value::Datetime(ticks) => time::text(*ticks).into(),
            Value::Text(text) => text.to_string().into(),
            Value::Record(record) => record
                .fields
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_json()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            Value::Array(items) => items.iter().map(Value::to_json).collect(),
        }
    }

    /// The name of its type, as `GetType` says it; nothing for null.
    pub fn kind(&self) -> Option<&'static str> {
        Some(match self {
            Value::Null => return None,
            Value::Bigint(_) => "bigint",
            Value::Float(_) => "float",
            Value::Bit(_) => "bit",
            Value::Datetime(_) => "datetime",
            Value::Text(_) => "nvarchar(max)",
            Value::Record(_) => "record",
            Value::Array(_) => "array",
        })
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// As a number, when it is one.
    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            Value::Bigint(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            Value::Bit(value) => Some(f64::from(u8::from(*value))),
            _ => None,
        }
    }

    /// A member of a record, null when this is no record or has no such member.
    pub(crate) fn member(&self, name: &str) -> &Value {
        match self {
            Value::Record(record) => record.get(name).unwrap_or(&Value::Null),
            _ => &Value::Null,
        }
    }

    /// About how many bytes of memory this takes.
    pub(crate) fn memory(&self) -> usize {
        size_of::<Value>()
            + match self {
                Value::Text(text) => 16 + text.len(),
                Value::Record(record) => {
                    40 + record.fields.iter().map(|(name, value)| 32 + name.len() + value.memory()).sum::<usize>()
                }
                Value::Array(items) => 16 + items.iter().map(Value::memory).sum::<usize>(),
                _ => 0,
            }
    }

    /// How two values that are not null compare; an error names a mixture that does not.
    pub(crate) fn compare(&self, other: &Value) -> Result<Option<Ordering>, String> {
        let mixture = || {
            let name = |value: &Value| value.kind().unwrap_or("null");
            Err(format!("{} and {} do not compare", name(self), name(other)))
        };
        Ok(match (self, other) {
            (Value::Null, _) | (_, Value::Null) => None,
            (Value::Bigint(left), Value::Bigint(right)) => Some(left.cmp(right)),
            (Value::Text(left), Value::Text(right)) => Some(left.cmp(right)),
            (Value::Datetime(left), Value::Datetime(right)) => Some(left.cmp(right)),
            (Value::Bit(left), Value::Bit(right)) => Some(left.cmp(right)),
            (Value::Datetime(left), Value::Text(right)) => match time::parse(right) {
                Some(right) => Some(left.cmp(&right)),
                None => return mixture(),
            },
            (Value::Text(left), Value::Datetime(right)) => match time::parse(left) {
                Some(left) => Some(left.cmp(right)),
                None => return mixture(),
            },
            (Value::Array(left), Value::Array(right)) => {
                Some(if left == right { Ordering::Equal } else { Ordering::Less })
            }
            (Value::Record(left), Value::Record(right)) => {
                Some(if left == right { Ordering::Equal } else { Ordering::Less })
            }
            (Value::Bigint(left), Value::Float(right)) => whole_with(*left, *right),
            (Value::Float(left), Value::Bigint(right)) => whole_with(*right, *left).map(Ordering::reverse),
            _ => match (self.number(), other.number()) {
                (Some(left), Some(right)) => left.partial_cmp(&right),
                _ => return mixture(),
            },
        })
    }

    /// A total order over all values, for `MIN`, `ORDER BY` and the like: null first, then by type.
    pub(crate) fn order(&self, other: &Value) -> Ordering {
        fn rank(value: &Value) -> u8 {
            match value {
                Value::Null => 0,
                Value::Bit(_) | Value::Bigint(_) | Value::Float(_) => 1,
                Value::Datetime(_) => 2,
                Value::Text(_) => 3,
                Value::Array(_) => 4,
                Value::Record(_) => 5,
            }
        }
        rank(self).cmp(&rank(other)).then_with(|| match (self, other) {
            (Value::Array(_) | Value::Record(_), _) => self.key().cmp(&other.key()),
            (Value::Float(left), Value::Float(right)) => left.total_cmp(right),
            _ => self.compare(other).ok().flatten().unwrap_or(Ordering::Equal),
        })
    }

    /// Bytes that are the same for equal values and for no others: keys of groups and of joins.
    pub(crate) fn key(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        self.write_key(&mut writer);
        writer.bytes
    }

    pub(crate) fn write_key(&self, writer: &mut Writer) {
        match self {
            // A number is the same number whatever its type.
            Value::Float(number) if number.fract() == 0.0 && number.abs() < 9.0e18 => {
                Value::Bigint(*number as i64).write(writer)
            }
            Value::Float(number) if number.is_nan() => Value::Float(f64::NAN).write(writer),
            Value::Array(items) => {
                writer.byte(7);
                writer.list(items.iter(), |writer, item| item.write_key(writer));
            }
            Value::Record(record) => {
                writer.byte(6);
                writer.list(record.fields.iter(), |writer, (name, value)| {
                    writer.slice(name.as_bytes());
                    value.write_key(writer);
                });
            }
            _ => self.write(writer),
        }
    }

    pub(crate) fn write(&self, writer: &mut Writer) {
        match self {
            Value::Null => writer.byte(0),
            Value::Bigint(number) => {
                writer.byte(1);
                writer.signed(*number);
            }
            Value::Float(number) => {
                writer.byte(2);
                writer.float(*number);
            }
            Value::Bit(value) => {
                writer.byte(3);
                writer.flag(*value);
            }
            Value::Datetime(ticks) => {
                writer.byte(4);
                writer.signed(*ticks);
            }
            Value::Text(text) => {
                writer.byte(5);
                writer.slice(text.as_bytes());
            }
            Value::Record(record) => {
                writer.byte(6);
                writer.list(record.fields.iter(), |writer, (name, value)| {
                    writer.slice(name.as_bytes());
                    value.write(writer);
                });
            }
            Value::Array(items) => {
                writer.byte(7);
                writer.list(items.iter(), |writer, item| item.write(writer));
            }
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Read<Value> {
        // What a job makes of values may be deeper than what came in, by the number of its steps.
        Value::read_at(reader, 0)
    }

    fn read_at(reader: &mut Reader<'_>, depth: usize) -> Read<Value> {
        if depth > 4 * DEPTH_MAX {
            return Err(CheckpointError::Damaged);
        }
        Ok(match reader.byte()? {
            0 => Value::Null,
            1 => Value::Bigint(reader.signed()?),
            2 => Value::Float(reader.float()?),
            3 => Value::Bit(reader.flag()?),
            4 => Value::Datetime(reader.signed()?),
            5 => Value::Text(reader.text()?.into()),
            6 => Value::record(reader.list(|reader| Ok((reader.text()?.into(), Value::read_at(reader, depth + 1)?)))?),
            7 => Value::Array(reader.list(|reader| Value::read_at(reader, depth + 1))?.into()),
            _ => return Err(CheckpointError::Damaged),
        })
    }
}

/// How a whole number compares with one that may have a fraction, exactly.
fn whole_with(whole: i64, float: f64) -> Option<Ordering> {
    if float.is_nan() {
        None
    } else if float >= 9_223_372_036_854_775_808.0 {
        Some(Ordering::Less)
    } else if float < -9_223_372_036_854_775_808.0 {
        Some(Ordering::Greater)
    } else {
        let floor = float.floor();
        Some(whole.cmp(&(floor as i64)).then(if float > floor { Ordering::Less } else { Ordering::Equal }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_exactly_and_have_one_key() {
        let large = Value::Bigint(9_007_199_254_740_993);
        let near = Value::Float(9_007_199_254_740_992.0);
        assert_eq!(large.compare(&near), Ok(Some(Ordering::Greater)));
        assert_eq!(Value::Bigint(1).key(), Value::Float(1.0).key());
        assert_ne!(Value::Bigint(1).key(), Value::from("1").key());
        assert_eq!(Value::Bigint(1).compare(&Value::Null), Ok(None));
        assert!(Value::Bigint(1).compare(&Value::from("1")).is_err());
    }

    #[test]
    fn json_comes_and_goes() {
        let json: serde_json::Value = serde_json::from_str(r#"{"a":[1,2.5,null,true],"b":{"c":"x"}}"#).expect("JSON");
        let value = Value::from_json(&json).expect("shallow");
        assert_eq!(value.to_json(), json);
        assert_eq!(*value.member("B").member("C"), Value::from("x"));
        let mut deep = serde_json::Value::Null;
        for _ in 0..=DEPTH_MAX {
            deep = serde_json::Value::Array(vec![deep]);
        }
        assert_eq!(Value::from_json(&deep), None);
    }
}
