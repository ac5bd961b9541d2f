//! Parquet, read record by record.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use gantry_kql::value::{Bag, DateTime, Decimal, Dynamic, Guid, TICKS_PER_DAY, TimeSpan};
use parquet::basic::{LogicalType, TimeUnit};
use parquet::data_type::{ByteArray, Decimal as ParquetDecimal};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use parquet::schema::types::Type;

use crate::avro::unscaled;
use crate::{Budget, FormatError, ReadError, Sink, guarded};

/// Calls for the records of a file.
///
/// # Errors
/// When the file is broken, and what the sink says.
pub fn read_parquet<E>(bytes: &[u8], sink: Sink<E>) -> Result<(), ReadError<E>> {
    let fault = |error: parquet::errors::ParquetError| FormatError(format!("the Parquet file cannot be read: {error}"));
    let bytes = bytes::Bytes::copy_from_slice(bytes);
    let reader = guarded(|| SerializedFileReader::new(bytes))?.map_err(fault)?;
    let schema = reader.metadata().file_metadata().schema().clone();
    let kinds: Vec<Kind> = schema.get_fields().iter().map(|field| Kind::of(field)).collect();
    let mut rows = guarded(|| reader.get_row_iter(None))?.map_err(fault)?;
    let mut budget = Budget::default();
    while let Some(row) = guarded(|| rows.next())? {
        let record = record(row.map_err(fault)?, &kinds, 0)?;
        budget.take(&record)?;
        sink(record).map_err(ReadError::Sink)?;
    }
    Ok(())
}

/// What the library leaves to be told of a field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Nanoseconds,
    TimeNanoseconds,
    Uuid,
    Json,
}

impl Kind {
    fn of(field: &Type) -> Kind {
        match field.get_basic_info().logical_type_ref() {
            Some(LogicalType::Timestamp(time)) if matches!(time.unit, TimeUnit::NANOS) => Kind::Nanoseconds,
            Some(LogicalType::Time(time)) if matches!(time.unit, TimeUnit::NANOS) => Kind::TimeNanoseconds,
            Some(LogicalType::Uuid) => Kind::Uuid,
            Some(LogicalType::Json) => Kind::Json,
            _ => Kind::Plain,
        }
    }
}

fn record(row: Row, kinds: &[Kind], depth: usize) -> Result<Dynamic, FormatError> {
    let entries = row.into_columns().into_iter().enumerate().map(|(at, (name, field))| {
        let kind = kinds.get(at).copied().unwrap_or(Kind::Plain);
        Ok((name, value(field, kind, depth + 1)?))
    });
    Ok(Dynamic::Bag(Bag::from_entries(entries.collect::<Result<_, FormatError>>()?)))
}

fn instant(ticks: Option<i64>) -> Dynamic {
    ticks.and_then(DateTime::from_unix_ticks).map_or(Dynamic::Null, Dynamic::DateTime)
}

fn span(ticks: Option<i64>) -> Dynamic {
    ticks.map_or(Dynamic::Null, |ticks| Dynamic::TimeSpan(TimeSpan(ticks)))
}

fn value(field: Field, kind: Kind, depth: usize) -> Result<Dynamic, FormatError> {
    if depth > crate::DEPTH_MAX {
        return Err(FormatError(format!("records are nested deeper than {}", crate::DEPTH_MAX)));
    }
    Ok(match field {
        Field::Null => Dynamic::Null,
        Field::Bool(value) => Dynamic::Bool(value),
        Field::Byte(value) => Dynamic::Long(value.into()),
        Field::Short(value) => Dynamic::Long(value.into()),
        Field::Int(value) => Dynamic::Long(value.into()),
        Field::Long(value) if kind == Kind::Nanoseconds => instant(Some(value.div_euclid(100))),
        Field::Long(value) if kind == Kind::TimeNanoseconds => span(Some(value / 100)),
        Field::Long(value) => Dynamic::Long(value),
        Field::UByte(value) => Dynamic::Long(value.into()),
        Field::UShort(value) => Dynamic::Long(value.into()),
        Field::UInt(value) => Dynamic::Long(value.into()),
        Field::ULong(value) => i64::try_from(value).map_or_else(|_| Dynamic::Real(value as f64), Dynamic::Long),
        Field::Float16(value) => Dynamic::Real(value.to_f64()),
        Field::Float(value) => Dynamic::Real(value.into()),
        Field::Double(value) => Dynamic::Real(value),
        Field::Decimal(value) => decimal(&value),
        Field::Str(text) if kind == Kind::Json => Dynamic::parse_json(&text).unwrap_or(Dynamic::String(text)),
        Field::Str(text) => Dynamic::String(text),
        Field::Bytes(bytes) => of_bytes(&bytes, kind),
        Field::Date(days) => instant(i64::from(days).checked_mul(TICKS_PER_DAY)),
        Field::TimeMillis(value) => span(i64::from(value).checked_mul(10_000)),
        Field::TimeMicros(value) => span(value.checked_mul(10)),
        Field::TimestampMillis(value) => instant(value.checked_mul(10_000)),
        Field::TimestampMicros(value) => instant(value.checked_mul(10)),
        Field::Group(row) => record(row, &[], depth)?,
        Field::ListInternal(list) => {
            let items = list.elements().iter().map(|item| value(item.clone(), Kind::Plain, depth + 1));
            Dynamic::Array(items.collect::<Result<_, _>>()?)
        }
        Field::MapInternal(map) => {
            let entries = map.entries().iter().map(|(key, item)| {
                let key = value(key.clone(), Kind::Plain, depth + 1)?.to_string();
                Ok((key, value(item.clone(), Kind::Plain, depth + 1)?))
            });
            Dynamic::Bag(Bag::from_entries(entries.collect::<Result<_, FormatError>>()?))
        }
    })
}

fn of_bytes(bytes: &ByteArray, kind: Kind) -> Dynamic {
    let data = bytes.data();
    match (kind, <[u8; 16]>::try_from(data), std::str::from_utf8(data)) {
        (Kind::Uuid, Ok(id), _) => Dynamic::Guid(Guid(u128::from_be_bytes(id))),
        (Kind::Json, _, Ok(text)) => Dynamic::parse_json(text).unwrap_or_else(|| Dynamic::String(text.to_owned())),
        // Many writers leave out that bytes are a text.
        (_, _, Ok(text)) if !text.contains('\0') => Dynamic::String(text.to_owned()),
        _ => Dynamic::String(BASE64.encode(data)),
    }
}

fn decimal(value: &ParquetDecimal) -> Dynamic {
    let scale = usize::try_from(value.scale()).ok();
    let text = scale.and_then(|scale| unscaled(value.data(), scale));
    let read = text.as_deref().and_then(Decimal::parse);
    read.map_or_else(|| text.map_or(Dynamic::Null, Dynamic::String), Dynamic::Decimal)
}
