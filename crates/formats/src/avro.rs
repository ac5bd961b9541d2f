//! Avro: object container files.

use apache_avro::types::Value;
use apache_avro::{Reader, Schema};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use gantry_kql::value::{Bag, DateTime, Decimal, Dynamic, Guid, TICKS_PER_DAY, TimeSpan};

use crate::{Budget, FormatError, ReadError, Sink, guarded};

/// Calls for the records of a file.
///
/// # Errors
/// When the file is broken, and what the sink says.
pub fn read_avro<E>(bytes: &[u8], sink: Sink<E>) -> Result<(), ReadError<E>> {
    let fault = |error: apache_avro::Error| FormatError(format!("the Avro file cannot be read: {error}"));
    let mut reader = guarded(|| Reader::new(bytes))?.map_err(fault)?;
    let schema = reader.writer_schema().clone();
    let mut budget = Budget::default();
    while let Some(record) = guarded(|| reader.next())? {
        let record = dynamic(record.map_err(fault)?, &schema, 0)?;
        budget.take(&record)?;
        sink(record).map_err(ReadError::Sink)?;
    }
    Ok(())
}

fn instant(ticks: Option<i64>) -> Dynamic {
    ticks.and_then(DateTime::from_unix_ticks).map_or(Dynamic::Null, Dynamic::DateTime)
}

fn span(ticks: Option<i64>) -> Dynamic {
    ticks.map_or(Dynamic::Null, |ticks| Dynamic::TimeSpan(TimeSpan(ticks)))
}

fn dynamic(value: Value, schema: &Schema, depth: usize) -> Result<Dynamic, FormatError> {
    if depth > crate::DEPTH_MAX {
        return Err(FormatError(format!("records are nested deeper than {}", crate::DEPTH_MAX)));
    }
    Ok(match value {
        Value::Null => Dynamic::Null,
        Value::Boolean(value) => Dynamic::Bool(value),
        Value::Int(value) => Dynamic::Long(value.into()),
        Value::Long(value) => Dynamic::Long(value),
        Value::Float(value) => Dynamic::Real(value.into()),
        Value::Double(value) => Dynamic::Real(value),
        Value::Bytes(bytes) | Value::Fixed(_, bytes) => Dynamic::String(BASE64.encode(bytes)),
        Value::String(text) | Value::Enum(_, text) => Dynamic::String(text),
        Value::Union(_, inner) => dynamic(*inner, schema, depth + 1)?,
        Value::Array(items) => {
            let items = items.into_iter().map(|item| dynamic(item, schema, depth + 1));
            Dynamic::Array(items.collect::<Result<_, _>>()?)
        }
        Value::Map(entries) => {
            let mut entries: Vec<_> = entries.into_iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            bag(entries, schema, depth)?
        }
        Value::Record(entries) => bag(entries, schema, depth)?,
        Value::Date(days) => instant(i64::from(days).checked_mul(TICKS_PER_DAY)),
        Value::TimeMillis(value) => span(i64::from(value).checked_mul(10_000)),
        Value::TimeMicros(value) => span(value.checked_mul(10)),
        Value::TimestampMillis(value) | Value::LocalTimestampMillis(value) => instant(value.checked_mul(10_000)),
        Value::TimestampMicros(value) | Value::LocalTimestampMicros(value) => instant(value.checked_mul(10)),
        Value::TimestampNanos(value) | Value::LocalTimestampNanos(value) => instant(Some(value.div_euclid(100))),
        Value::Uuid(id) => Dynamic::Guid(Guid(id.as_u128())),
        Value::BigDecimal(value) => number(&value.to_string()),
        Value::Decimal(value) => {
            let bytes: Vec<u8> = Vec::try_from(&value).map_err(|error| FormatError(error.to_string()))?;
            number(&unscaled(&bytes, scale(schema)).unwrap_or_default())
        }
        Value::Duration(value) => {
            let (months, days): (u32, u32) = (value.months().into(), value.days().into());
            let millis: u32 = value.millis().into();
            let days = i64::from(months) * 30 + i64::from(days);
            span(days.checked_mul(TICKS_PER_DAY).and_then(|ticks| ticks.checked_add(i64::from(millis) * 10_000)))
        }
    })
}

fn bag(entries: Vec<(String, Value)>, schema: &Schema, depth: usize) -> Result<Dynamic, FormatError> {
    let entries = entries.into_iter().map(|(name, value)| {
        let of = match schema {
            Schema::Record(record) => record.fields.iter().find(|field| field.name == name).map(|field| &field.schema),
            Schema::Map(map) => Some(&*map.types),
            _ => None,
        };
        Ok((name, dynamic(value, of.unwrap_or(&Schema::Null), depth + 1)?))
    });
    Ok(Dynamic::Bag(Bag::from_entries(entries.collect::<Result<_, FormatError>>()?)))
}

/// How many digits of a decimal stand behind the point: the schema says it, the value does not.
fn scale(schema: &Schema) -> usize {
    match schema {
        Schema::Decimal(decimal) => decimal.scale,
        Schema::Union(union) => union.variants().iter().map(scale).max().unwrap_or(0),
        _ => 0,
    }
}

fn number(text: &str) -> Dynamic {
    Decimal::parse(text).map_or_else(|| Dynamic::String(text.to_owned()), Dynamic::Decimal)
}

/// A whole number of bytes, the highest first, with a sign; divided by a power of ten.
pub(crate) fn unscaled(bytes: &[u8], scale: usize) -> Option<String> {
    if bytes.len() > 16 || scale > 38 {
        return None;
    }
    let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let start: i128 = if negative { -1 } else { 0 };
    let value = bytes.iter().fold(start, |sum, byte| sum << 8 | i128::from(*byte));
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if negative { "-" } else { "" };
    Some(if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
}
