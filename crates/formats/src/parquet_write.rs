//! Parquet, written: one row group for each piece, Snappy, values as types that others read.
//!
//! Datetimes are microseconds since 1970 (with what is finer cut off), timespans and dynamic values are texts,
//! decimals and guids too; null is null.

use std::sync::Arc;

use gantry_kql::value::{DateTime, Type, Value};
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type as Field;

use crate::FormatError;

fn fault(error: parquet::errors::ParquetError) -> FormatError {
    FormatError(format!("the Parquet file cannot be written: {error}"))
}

fn field(name: &str, ty: Type) -> Result<Field, FormatError> {
    let (physical, logical) = match ty {
        Type::Bool => (Physical::BOOLEAN, None),
        Type::Int => (Physical::INT32, None),
        Type::Long => (Physical::INT64, None),
        Type::Real => (Physical::DOUBLE, None),
        Type::DateTime => {
            let micros = LogicalType::timestamp(true, TimeUnit::MICROS);
            (Physical::INT64, Some(micros))
        }
        Type::Dynamic | Type::Unknown => (Physical::BYTE_ARRAY, Some(LogicalType::Json)),
        Type::String | Type::Decimal | Type::TimeSpan | Type::Guid => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
    };
    let builder = Field::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL);
    builder.with_logical_type(logical).build().map_err(fault)
}

/// A file of columns; `value` gives the value of a row in a column.
///
/// # Errors
/// When the library refuses the columns.
pub fn write_parquet(
    columns: &[(String, Type)],
    rows: usize,
    mut value: impl FnMut(usize, usize) -> Value,
) -> Result<Vec<u8>, FormatError> {
    let fields = columns.iter().map(|(name, ty)| field(name, *ty).map(Arc::new)).collect::<Result<_, _>>()?;
    let schema = Field::group_type_builder("rows").with_fields(fields).build().map_err(fault)?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties)).map_err(fault)?;
    let mut group = writer.next_row_group().map_err(fault)?;
    let mut at = 0;
    while let Some(mut column) = group.next_column().map_err(fault)? {
        let values: Vec<Value> = (0..rows).map(|row| value(row, at)).collect();
        let is_text = columns[at].1 == Type::String;
        let levels: Vec<i16> = values.iter().map(|value| i16::from(is_text || *value != Value::Null)).collect();
        let there = values.iter().filter(|value| is_text || **value != Value::Null);
        match column.untyped() {
            ColumnWriter::BoolColumnWriter(writer) => {
                let data: Vec<bool> = there.map(|value| matches!(value, Value::Bool(true))).collect();
                writer.write_batch(&data, Some(&levels), None).map_err(fault)?;
            }
            ColumnWriter::Int32ColumnWriter(writer) => {
                let number = |value: &Value| if let Value::Int(number) = value { *number } else { 0 };
                let data: Vec<i32> = there.map(number).collect();
                writer.write_batch(&data, Some(&levels), None).map_err(fault)?;
            }
            ColumnWriter::Int64ColumnWriter(writer) => {
                let number = |value: &Value| match value {
                    Value::Long(number) => *number,
                    Value::DateTime(DateTime(ticks)) => DateTime(*ticks).unix_ticks().div_euclid(10),
                    _ => 0,
                };
                let data: Vec<i64> = there.map(number).collect();
                writer.write_batch(&data, Some(&levels), None).map_err(fault)?;
            }
            ColumnWriter::DoubleColumnWriter(writer) => {
                let number = |value: &Value| if let Value::Real(number) = value { *number } else { f64::NAN };
                let data: Vec<f64> = there.map(number).collect();
                writer.write_batch(&data, Some(&levels), None).map_err(fault)?;
            }
            ColumnWriter::ByteArrayColumnWriter(writer) => {
                let text = |value: &Value| match value {
                    Value::Dynamic(value) => value.to_json(),
                    other => other.to_string(),
                };
                let data: Vec<ByteArray> = there.map(|value| ByteArray::from(text(value).into_bytes())).collect();
                writer.write_batch(&data, Some(&levels), None).map_err(fault)?;
            }
            _ => return Err(FormatError("a column of a type that is not written".into())),
        }
        column.close().map_err(fault)?;
        at += 1;
    }
    group.close().map_err(fault)?;
    writer.into_inner().map_err(fault)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ReadError, read_avro, read_parquet};
    use gantry_kql::value::Dynamic;

    fn sample() -> Vec<u8> {
        let columns = [("a", Type::Long), ("s", Type::String), ("t", Type::DateTime), ("y", Type::Dynamic)];
        let columns: Vec<_> = columns.iter().map(|(name, ty)| ((*name).to_owned(), *ty)).collect();
        write_parquet(&columns, 3, |row, column| match (row, column) {
            (2, 0 | 2) => Value::Null,
            (row, 0) => Value::Long(row as i64),
            (row, 1) => Value::String("x".repeat(row)),
            (_, 2) => Value::DateTime(DateTime::parse("2024-01-02T03:04:05.123456").unwrap()),
            _ => Value::Dynamic(Dynamic::parse_json(r#"{"k":[1,null]}"#).unwrap()),
        })
        .unwrap()
    }

    fn read(bytes: &[u8]) -> Result<Vec<String>, String> {
        let mut records = Vec::new();
        let mut sink = |record: Dynamic| -> Result<(), ()> {
            records.push(record.to_json());
            Ok(())
        };
        match read_parquet(bytes, &mut sink) {
            Ok(()) => Ok(records),
            Err(ReadError::File(error)) => Err(error.to_string()),
            Err(ReadError::Sink(())) => unreachable!("it takes everything"),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let records = read(&sample()).unwrap();
        assert_eq!(records[0], r#"{"a":0,"s":"","t":"2024-01-02T03:04:05.1234560Z","y":{"k":[1,null]}}"#);
        assert_eq!(records[2], r#"{"a":null,"s":"xx","t":null,"y":{"k":[1,null]}}"#);
    }

    #[test]
    fn files_that_lie_are_refused_and_end_nothing_else() {
        let whole = sample();
        for at in 0..whole.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut broken = whole.clone();
                broken[at] ^= flip;
                let _ = read(&broken);
            }
            assert!(read(&whole[..at]).is_err());
        }
        assert!(read(b"PAR1PAR1").is_err() && read(b"").is_err());
        let mut sink = |_: Dynamic| -> Result<(), ()> { Ok(()) };
        for bytes in [&b"Obj\x01"[..], b"", b"Obj\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"] {
            assert!(read_avro(bytes, &mut sink).is_err());
        }
    }
}
