//! Rows into a Parquet file.

use std::io::Write;
use std::sync::Arc;

use gantry_analytics::column::{Column, Data};
use gantry_analytics::store::{Rows, Span};
use gantry_kql::value::{Type, Value};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnPath, Type as Schema};

use crate::schema::{Unit, column};

/// Rows whose statistics stand together: what a question about one device has to read at least.
const GROUP_ROWS: usize = 16 * 1024;
/// Values looked at to find out whether a column says the same again and again.
const SAMPLE: usize = 2_048;
/// Bytes of a text that stands among the smallest and largest values.
const SPAN_BYTES_MAX: usize = 64;

/// Writes rows; answers the values that are in them.
pub fn write(rows: &Rows, file: impl Write + Send) -> Result<Vec<Span>> {
    let columns: Vec<Vec<&Column>> = (0..rows.columns.len())
        .map(|at| rows.chunks.iter().filter(|chunk| chunk.rows > 0).map(|chunk| &*chunk.columns[at]).collect())
        .collect();
    let mut properties = WriterProperties::builder()
        .set_created_by("gantry".into())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_offset_index_disabled(true)
        .set_statistics_enabled(EnabledStatistics::Chunk);
    let mut fields = Vec::new();
    let mut units = Vec::new();
    for ((id, ty), (name, parts)) in rows.columns.iter().zip(rows.names.iter().zip(&columns)) {
        let unit = unit_of(*ty, parts);
        let required = parts.iter().all(|part| !has_nulls(part));
        fields.push(column(*id, name, *ty, unit, required)?);
        units.push(unit);
        let path = ColumnPath::new(vec![(*name).to_owned()]);
        properties = properties.set_column_dictionary_enabled(path.clone(), repeats(parts));
        let encoding = match ty {
            Type::Long | Type::TimeSpan | Type::DateTime | Type::Int => Encoding::DELTA_BINARY_PACKED,
            Type::Real => Encoding::BYTE_STREAM_SPLIT,
            _ => Encoding::PLAIN,
        };
        properties = properties.set_column_encoding(path.clone(), encoding);
        if matches!(ty, Type::Dynamic | Type::Unknown) {
            properties = properties.set_column_statistics_enabled(path, EnabledStatistics::None);
        }
    }
    let schema = Arc::new(Schema::group_type_builder("table").with_fields(fields).build()?);
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties.build()))?;
    let total: usize = rows.chunks.iter().map(|chunk| chunk.rows).sum();
    let mut from = 0;
    while from < total {
        let count = GROUP_ROWS.min(total - from);
        let mut group = writer.next_row_group()?;
        for (parts, unit) in columns.iter().zip(&units) {
            let Some(mut column) = group.next_column()? else { break };
            for (part, first, rows) in pieces(parts, from, count) {
                put(column.untyped(), part, first, rows, *unit)?;
            }
            column.close()?;
        }
        group.close()?;
        from += count;
    }
    writer.close()?;
    Ok(rows.columns.iter().zip(&columns).filter_map(|((id, _), parts)| span(*id, parts)).collect())
}

/// The parts of columns that make up a run of rows: the part, its first row, how many.
fn pieces<'a>(parts: &[&'a Column], from: usize, count: usize) -> Vec<(&'a Column, usize, usize)> {
    let mut pieces = Vec::new();
    let (mut begin, end) = (0, from + count);
    for part in parts {
        let (first, last) = (from.max(begin), end.min(begin + part.len()));
        if first < last {
            pieces.push((*part, first - begin, last - first));
        }
        begin += part.len();
    }
    pieces
}

fn has_nulls(column: &Column) -> bool {
    match column.ty() {
        Type::String => false,
        Type::Dynamic | Type::Unknown => column.texts().is_none() && (0..column.len()).any(|row| column.is_null(row)),
        _ => column.nulls().is_some(),
    }
}

fn unit_of(ty: Type, parts: &[&Column]) -> Unit {
    if ty != Type::DateTime {
        return Unit::Ticks;
    }
    let ticks = parts.iter().flat_map(|part| match part.data() {
        Data::Long(values) => (0..values.len()).filter(|row| !part.is_null(*row)).map(|row| values[row]).collect(),
        _ => Vec::new(),
    });
    Unit::for_ticks(ticks.collect::<Vec<i64>>().into_iter())
}

/// Whether a column says the same again and again.
fn repeats(parts: &[&Column]) -> bool {
    let Some(part) = parts.iter().max_by_key(|part| part.len()) else { return false };
    let rows = part.len().min(SAMPLE);
    let step = (part.len() / rows.max(1)).max(1);
    let sample = (0..rows).map(|at| at * step);
    let distinct = match (part.texts(), part.ty()) {
        (Some(texts), _) => sample.map(|row| texts.get(row)).collect::<std::collections::HashSet<_>>().len(),
        (None, Type::Bool) => return false,
        (None, Type::Long | Type::Int | Type::Real | Type::String) => {
            sample.map(|row| part.cell(row).text()).collect::<std::collections::HashSet<_>>().len()
        }
        // Instants and the like are told by their differences; dynamic values are not looked into.
        (None, _) => return false,
    };
    distinct * 4 < rows
}

/// Writes a run of rows of a column.
fn put(writer: &mut ColumnWriter, column: &Column, from: usize, count: usize, unit: Unit) -> Result<()> {
    let rows = from..from + count;
    let levels: Vec<i16> = match writer_level(writer) {
        0 => Vec::new(),
        _ => rows.clone().map(|row| i16::from(!column.is_null(row))).collect(),
    };
    let levels = (!levels.is_empty()).then_some(levels.as_slice());
    let present = |row: &usize| levels.is_none_or(|levels| levels[row - from] == 1);
    match (writer, column.ty()) {
        (ColumnWriter::BoolColumnWriter(writer), _) => {
            let Data::Bool(values) = column.data() else { return Err(unexpected(column)) };
            let values: Vec<bool> = rows.filter(present).map(|row| values[row]).collect();
            writer.write_batch(&values, levels, None)?;
        }
        (ColumnWriter::Int32ColumnWriter(writer), _) => {
            let Data::Int(values) = column.data() else { return Err(unexpected(column)) };
            let values: Vec<i32> = rows.filter(present).map(|row| values[row]).collect();
            writer.write_batch(&values, levels, None)?;
        }
        (ColumnWriter::Int64ColumnWriter(writer), ty) => {
            let Data::Long(values) = column.data() else { return Err(unexpected(column)) };
            let stored = |row: usize| match ty {
                Type::DateTime => unit.stored(values[row]).unwrap_or_default(),
                _ => values[row],
            };
            let values: Vec<i64> = rows.filter(present).map(stored).collect();
            writer.write_batch(&values, levels, None)?;
        }
        (ColumnWriter::DoubleColumnWriter(writer), _) => {
            let Data::Real(values) = column.data() else { return Err(unexpected(column)) };
            let values: Vec<f64> = rows.filter(present).map(|row| values[row]).collect();
            writer.write_batch(&values, levels, None)?;
        }
        (ColumnWriter::FixedLenByteArrayColumnWriter(writer), _) => {
            let Data::Guid(values) = column.data() else { return Err(unexpected(column)) };
            let bytes = |row: usize| FixedLenByteArray::from(values[row].to_be_bytes().to_vec());
            let values: Vec<FixedLenByteArray> = rows.filter(present).map(bytes).collect();
            writer.write_batch(&values, levels, None)?;
        }
        (ColumnWriter::ByteArrayColumnWriter(writer), _) => {
            let bytes = |row: usize| match column.texts() {
                Some(texts) => Some(ByteArray::from(texts.get(row))),
                None => match column.data() {
                    Data::String(values) => Some(ByteArray::from(values.get(row))),
                    Data::Dynamic(values) => Some(ByteArray::from(values[row].to_json().into_bytes())),
                    Data::Decimal(values) => Some(ByteArray::from(values[row].to_string().into_bytes())),
                    _ => None,
                },
            };
            let values: Option<Vec<ByteArray>> = rows.filter(present).map(bytes).collect();
            let values = values.ok_or_else(|| unexpected(column))?;
            writer.write_batch(&values, levels, None)?;
        }
        _ => return Err(unexpected(column)),
    }
    Ok(())
}

fn writer_level(writer: &ColumnWriter) -> i16 {
    match writer {
        ColumnWriter::BoolColumnWriter(writer) => writer.get_descriptor().max_def_level(),
        ColumnWriter::Int32ColumnWriter(writer) => writer.get_descriptor().max_def_level(),
        ColumnWriter::Int64ColumnWriter(writer) => writer.get_descriptor().max_def_level(),
        ColumnWriter::DoubleColumnWriter(writer) => writer.get_descriptor().max_def_level(),
        ColumnWriter::FixedLenByteArrayColumnWriter(writer) => writer.get_descriptor().max_def_level(),
        ColumnWriter::ByteArrayColumnWriter(writer) => writer.get_descriptor().max_def_level(),
        _ => 0,
    }
}

fn unexpected(column: &Column) -> ParquetError {
    ParquetError::General(format!("a column of {} was written as another type", column.ty()))
}

/// The smallest and the largest value of a column.
fn span(id: u64, parts: &[&Column]) -> Option<Span> {
    let ty = parts.first()?.ty();
    let (low, high) = match ty {
        Type::Long | Type::TimeSpan | Type::DateTime => {
            let values = parts.iter().flat_map(|part| {
                let Data::Long(values) = part.data() else { return Vec::new() };
                (0..values.len()).filter(|row| !part.is_null(*row)).map(|row| values[row]).collect()
            });
            let (low, high) = ends(values, i64::cmp)?;
            let value = |ticks: i64| match ty {
                Type::DateTime => Value::DateTime(gantry_kql::value::DateTime(ticks)),
                Type::TimeSpan => Value::TimeSpan(gantry_kql::value::TimeSpan(ticks)),
                _ => Value::Long(ticks),
            };
            (value(low), value(high))
        }
        Type::Real => {
            let values = parts.iter().flat_map(|part| {
                let Data::Real(values) = part.data() else { return Vec::new() };
                let counts = |row: &usize| !part.is_null(*row) && !values[*row].is_nan();
                (0..values.len()).filter(counts).map(|row| values[row]).collect()
            });
            let (low, high) = ends(values, f64::total_cmp)?;
            (Value::Real(low), Value::Real(high))
        }
        Type::String => {
            let texts = || {
                parts.iter().filter_map(|part| match part.data() {
                    Data::String(texts) => Some(texts),
                    _ => None,
                })
            };
            let low = texts().flat_map(|texts| texts.iter()).min()?;
            let high = texts().flat_map(|texts| texts.iter()).max()?;
            if low.len() > SPAN_BYTES_MAX || high.len() > SPAN_BYTES_MAX {
                return None;
            }
            (Value::String(low.to_owned()), Value::String(high.to_owned()))
        }
        _ => return None,
    };
    Some(Span { column: id, low, high })
}

fn ends<T: Copy>(values: impl Iterator<Item = T>, order: fn(&T, &T) -> std::cmp::Ordering) -> Option<(T, T)> {
    values.fold(None, |ends, value| match ends {
        None => Some((value, value)),
        Some((low, high)) => Some((
            if order(&value, &low).is_lt() { value } else { low },
            if order(&value, &high).is_gt() { value } else { high },
        )),
    })
}
