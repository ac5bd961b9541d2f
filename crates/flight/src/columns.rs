//! Columns of the engine as arrays of Arrow.
//!
//! | KQL | Arrow |
//! |---|---|
//! | `long`, `int`, `real`, `bool` | Int64, Int32, Float64, Boolean |
//! | `string` | Utf8, never null |
//! | `datetime` | Timestamp of nanoseconds in UTC, or of microseconds where a client asks for those |
//! | `timespan` | Duration of nanoseconds |
//! | `decimal` | Utf8: every value has a scale of its own |
//! | `guid` | FixedSizeBinary(16), `arrow.uuid` |
//! | `dynamic` | Utf8 with JSON, `arrow.json` |
//!
//! SQL has besides: `date` as Date32, `time` as Time64, `timestamp` as Timestamp without a zone; its other types are
//! those of KQL that hold their values, arrays are `dynamic`.
//!
//! A value that the type cannot hold is an error and never another value.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::builder::{FixedSizeBinaryBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, DurationNanosecondArray, Float64Array, Int32Array, Int64Array, RecordBatch,
    RecordBatchOptions, Time64NanosecondArray, TimestampMicrosecondArray, TimestampNanosecondArray,
};
use arrow_buffer::NullBuffer;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use gantry_analytics::Chunk;
use gantry_analytics::calendar::UNIX_EPOCH;
use gantry_analytics::column::{Builder, Cell, Column, Data};
use gantry_kql::bound;
use gantry_kql::value::{DateTime, Dynamic, TICKS_PER_DAY, Type};

/// Bytes of one batch, about.
const BATCH_BYTES: usize = 4 << 20;

/// What the fraction of a second is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unit {
    /// Years 1677 to 2262, exactly.
    #[default]
    Nanoseconds,
    /// All years, to the microsecond.
    Microseconds,
}

fn extended(field: Field, name: &str) -> Field {
    let metadata = [("ARROW:extension:name", name), ("ARROW:extension:metadata", "")];
    field.with_metadata(HashMap::from(metadata.map(|(name, value)| (name.to_owned(), value.to_owned()))))
}

/// Which of the ways to tell a type is meant: KQL has one only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// The one of KQL.
    #[default]
    Plain,
    /// An instant of which the day counts.
    Day,
    /// An instant without a zone.
    Local,
    /// A span since midnight.
    Clock,
}

/// A column of a result, as it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its name; other languages than KQL may have it several times.
    pub name: String,
    /// The type of its values. They may be dynamic values in the engine that hold such.
    pub ty: Type,
    /// It may be null.
    pub nullable: bool,
    /// How it is told.
    pub form: Form,
}

impl From<&bound::Column> for Output {
    fn from(column: &bound::Column) -> Output {
        Output { name: column.name.to_string(), ty: column.ty, nullable: column.ty != Type::String, form: Form::Plain }
    }
}

/// A column as a field.
fn field(column: &Output, unit: Unit) -> Field {
    let plain = |ty| Field::new(&column.name, ty, column.nullable);
    match column.ty {
        Type::Bool => plain(DataType::Boolean),
        Type::Int => plain(DataType::Int32),
        Type::Long => plain(DataType::Int64),
        Type::Real => plain(DataType::Float64),
        Type::DateTime if column.form == Form::Day => plain(DataType::Date32),
        Type::DateTime => {
            let unit = if unit == Unit::Nanoseconds { TimeUnit::Nanosecond } else { TimeUnit::Microsecond };
            plain(DataType::Timestamp(unit, (column.form != Form::Local).then(|| "UTC".into())))
        }
        Type::TimeSpan if column.form == Form::Clock => plain(DataType::Time64(TimeUnit::Nanosecond)),
        Type::TimeSpan => plain(DataType::Duration(TimeUnit::Nanosecond)),
        Type::Guid => extended(plain(DataType::FixedSizeBinary(16)), "arrow.uuid"),
        Type::Dynamic | Type::Unknown => extended(plain(DataType::Utf8), "arrow.json"),
        Type::Decimal | Type::String => plain(DataType::Utf8),
    }
}

/// Columns of KQL.
pub fn outputs(columns: &[bound::Column]) -> Vec<Output> {
    columns.iter().map(Output::from).collect()
}

/// The columns of a result as a schema.
pub fn schema(outputs: &[Output], unit: Unit) -> SchemaRef {
    Arc::new(Schema::new(outputs.iter().map(|output| field(output, unit)).collect::<Vec<_>>()))
}

/// How rows become batches.
#[derive(Debug, Clone)]
pub struct Shape {
    /// The columns.
    pub outputs: Vec<Output>,
    /// What times are counted in.
    pub unit: Unit,
    /// Both as a schema.
    pub schema: SchemaRef,
}

impl Shape {
    /// Of these columns.
    pub fn new(outputs: Vec<Output>, unit: Unit) -> Shape {
        let schema = schema(&outputs, unit);
        Shape { outputs, unit, schema }
    }

    /// Rows as batches of a bounded size.
    ///
    /// # Errors
    /// When a value is beyond its type; names the column.
    pub fn batches(&self, chunk: &Chunk) -> Result<Vec<RecordBatch>, ArrowError> {
        let rows = (chunk.rows * BATCH_BYTES / chunk.size().max(1)).clamp(1, chunk.rows.max(1));
        let from = (0..chunk.rows).step_by(rows);
        from.map(|from| self.batch(&chunk.slice(from, rows.min(chunk.rows - from)))).collect()
    }

    fn batch(&self, chunk: &Chunk) -> Result<RecordBatch, ArrowError> {
        let one = |(output, column): (&Output, &Arc<Column>)| {
            if column.ty() == output.ty {
                return array(output, column, self.unit);
            }
            if output.ty == Type::String {
                return Ok(texts(column));
            }
            let mut cast = Builder::new(output.ty, column.len());
            (0..column.len()).for_each(|row| cast.push(column.cell(row).cast(output.ty)));
            array(output, &cast.finish(), self.unit)
        };
        let arrays = self.outputs.iter().zip(&chunk.columns).map(one).collect::<Result<_, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(chunk.rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)
    }
}

/// Values as texts, which may be null.
fn texts(column: &Column) -> ArrayRef {
    let mut builder = StringBuilder::new();
    for row in 0..column.len() {
        match column.cell(row) {
            Cell::Null => builder.append_null(),
            value => builder.append_value(value.text()),
        }
    }
    Arc::new(builder.finish())
}

fn array(output: &Output, column: &Column, unit: Unit) -> Result<ArrayRef, ArrowError> {
    let name = output.name.as_str();
    let nulls = || column.nulls().map(|nulls| NullBuffer::from_iter(nulls.iter().map(|null| !null)));
    let is_null = |row: usize| column.nulls().is_some_and(|nulls| nulls[row]);
    // A null's own ticks mean nothing.
    let scaled = |values: &[i64], scale: &dyn Fn(i64) -> Option<i64>| -> Result<Vec<i64>, ArrowError> {
        let one = |(row, ticks): (usize, &i64)| {
            if is_null(row) { Ok(0) } else { scale(*ticks).ok_or_else(|| beyond(name, column, row)) }
        };
        values.iter().enumerate().map(one).collect()
    };
    Ok(match (column.ty(), column.data()) {
        (_, Data::Bool(values)) => Arc::new(BooleanArray::new(values.clone().into(), nulls())),
        (_, Data::Int(values)) => Arc::new(Int32Array::new(values.clone().into(), nulls())),
        (_, Data::Real(values)) => Arc::new(Float64Array::new(values.clone().into(), nulls())),
        (Type::DateTime, Data::Long(values)) => {
            let since = |ticks: i64| ticks.checked_sub(UNIX_EPOCH);
            let zone = (output.form != Form::Local).then(|| "UTC".into());
            if output.form == Form::Day {
                let day = |ticks: i64| i32::try_from(since(ticks)?.div_euclid(TICKS_PER_DAY)).ok();
                let days = scaled(values, &|ticks| day(ticks).map(i64::from))?;
                let days: Vec<i32> = days.iter().map(|day| *day as i32).collect();
                Arc::new(Date32Array::new(days.into(), nulls()))
            } else if unit == Unit::Nanoseconds {
                let values = scaled(values, &|ticks| since(ticks)?.checked_mul(100))?;
                Arc::new(TimestampNanosecondArray::new(values.into(), nulls()).with_timezone_opt::<Arc<str>>(zone))
            } else {
                let values = scaled(values, &|ticks| Some(since(ticks)?.div_euclid(10)))?;
                Arc::new(TimestampMicrosecondArray::new(values.into(), nulls()).with_timezone_opt::<Arc<str>>(zone))
            }
        }
        (Type::TimeSpan, Data::Long(values)) => {
            let values = scaled(values, &|ticks| ticks.checked_mul(100))?;
            if output.form == Form::Clock {
                Arc::new(Time64NanosecondArray::new(values.into(), nulls()))
            } else {
                Arc::new(DurationNanosecondArray::new(values.into(), nulls()))
            }
        }
        (_, Data::Long(values)) => Arc::new(Int64Array::new(values.clone().into(), nulls())),
        (_, Data::Guid(values)) => {
            let mut builder = FixedSizeBinaryBuilder::with_capacity(values.len(), 16);
            for (row, value) in values.iter().enumerate() {
                if is_null(row) { builder.append_null() } else { builder.append_value(value.to_be_bytes())? }
            }
            Arc::new(builder.finish())
        }
        (_, Data::String(values)) => {
            let mut builder = StringBuilder::new();
            values.iter().for_each(|text| builder.append_value(text));
            Arc::new(builder.finish())
        }
        (_, Data::Decimal(_)) => texts(column),
        (_, Data::Dynamic(values)) => {
            let mut builder = StringBuilder::new();
            for value in values {
                match value {
                    Dynamic::Null => builder.append_null(),
                    value => builder.append_value(value.to_json()),
                }
            }
            Arc::new(builder.finish())
        }
    })
}

/// That a value is beyond its type.
fn beyond(name: &str, column: &Column, row: usize) -> ArrowError {
    let text = column.cell(row).text().into_owned();
    let hint = if column.ty() == Type::DateTime && DateTime::parse(&text).is_some() {
        ": nanoseconds reach from 1677 to 2262; ask with the header `x-timestamp-unit: us`"
    } else {
        ": nanoseconds reach 292 years"
    };
    ArrowError::InvalidArgumentError(format!("column `{name}` holds {text}{hint}"))
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray as _;
    use arrow_array::types::{Int64Type, TimestampMicrosecondType, TimestampNanosecondType};
    use arrow_array::{Array as _, Int64Array as Longs};
    use gantry_analytics::small_table;
    use gantry_kql::value::{Decimal, Guid, TimeSpan, Value};

    use super::*;

    const COLUMNS: [(&str, Type); 10] = [
        ("b", Type::Bool),
        ("i", Type::Int),
        ("l", Type::Long),
        ("r", Type::Real),
        ("s", Type::String),
        ("t", Type::DateTime),
        ("span", Type::TimeSpan),
        ("d", Type::Decimal),
        ("g", Type::Guid),
        ("y", Type::Dynamic),
    ];

    fn made(columns: &[(&str, Type)], rows: Vec<Vec<Value>>, unit: Unit) -> Result<Vec<RecordBatch>, ArrowError> {
        let table = small_table(columns, rows);
        Shape::new(outputs(&table.schema.columns), unit).batches(&table.chunks[0])
    }

    #[test]
    fn every_type_has_its_array_and_null_stays_null() {
        let instant = DateTime::parse("2024-01-02T03:04:05.1234567Z").unwrap();
        let rows = vec![
            vec![
                Value::Bool(true),
                Value::Int(7),
                Value::Long(i64::MAX),
                Value::Real(1.5),
                Value::String("x".into()),
                Value::DateTime(instant),
                Value::TimeSpan(TimeSpan(TICKS_PER_DAY)),
                Value::Decimal(Decimal::parse("1.10").unwrap()),
                Value::Guid(Guid::parse("74be27de-1e4e-49d9-b579-fe0b331d3642").unwrap()),
                Value::Dynamic(Dynamic::String("a".into())),
            ],
            COLUMNS.iter().map(|(_, ty)| Value::absent(*ty)).collect(),
        ];
        let [batch] = &made(&COLUMNS, rows, Unit::Nanoseconds).unwrap()[..] else { panic!("one batch") };
        assert_eq!(batch.num_rows(), 2);
        assert_eq!(batch.column(2).as_primitive::<Int64Type>(), &Longs::from(vec![Some(i64::MAX), None]));
        assert_eq!(batch.column(5).as_primitive::<TimestampNanosecondType>().value(0), 1_704_164_645_123_456_700);
        assert_eq!(batch.column(7).as_string::<i32>().value(0), "1.10");
        assert_eq!(batch.column(8).as_fixed_size_binary().value(0)[..2], [0x74, 0xbe]);
        assert_eq!(batch.column(9).as_string::<i32>().value(0), "\"a\"");
        for (column, (_, ty)) in batch.columns().iter().zip(COLUMNS) {
            assert_eq!(column.is_null(1), ty != Type::String, "{ty}");
        }
    }

    #[test]
    fn what_nanoseconds_cannot_hold_is_an_error_that_says_what_can() {
        let rows = || vec![vec![Value::DateTime(DateTime::MAX)], vec![Value::DateTime(DateTime::MIN)]];
        let columns = [("when", Type::DateTime)];
        let error = made(&columns, rows(), Unit::Nanoseconds).unwrap_err().to_string();
        assert!(error.contains("`when`") && error.contains("x-timestamp-unit"), "{error}");
        let batch = &made(&columns, rows(), Unit::Microseconds).unwrap()[0];
        let values = batch.column(0).as_primitive::<TimestampMicrosecondType>().values().to_vec();
        assert_eq!(values, [253_402_300_799_999_999, -62_135_596_800_000_000]);
        let spans = vec![vec![Value::TimeSpan(TimeSpan(i64::MAX))]];
        assert!(made(&[("s", Type::TimeSpan)], spans, Unit::Microseconds).is_err());
    }

    #[test]
    fn values_that_the_engine_holds_as_dynamic_have_the_type_they_are_told_with() {
        let rows = vec![vec![Value::Dynamic(Dynamic::String("a".into()))], vec![Value::Null]];
        let chunk = small_table(&[("t", Type::Dynamic)], rows).chunks.remove(0);
        let output = |ty| vec![Output { name: "t".into(), ty, nullable: true, form: Form::Plain }];
        let batch = Shape::new(output(Type::String), Unit::default()).batches(&chunk).unwrap().remove(0);
        assert_eq!(batch.column(0).as_string::<i32>().iter().collect::<Vec<_>>(), [Some("a"), None]);
        let chunk = small_table(&[("n", Type::Int)], vec![vec![Value::Int(7)]]).chunks.remove(0);
        let batch = Shape::new(output(Type::Long), Unit::default()).batches(&chunk).unwrap().remove(0);
        assert_eq!(batch.column(0).as_primitive::<Int64Type>().value(0), 7);
    }

    #[test]
    fn a_large_chunk_becomes_several_batches() {
        let rows = (0..64).map(|_| vec![Value::String("x".repeat(256 << 10))]).collect();
        let made = made(&[("body", Type::String)], rows, Unit::Nanoseconds).unwrap();
        assert!(made.len() >= 4 && made.iter().map(RecordBatch::num_rows).sum::<usize>() == 64, "{}", made.len());
    }
}
