//! Rows on their way into chunks: values are read into the types of their columns.

use gantry_kql::bound::Column as SchemaColumn;
use gantry_kql::value::{DateTime, Decimal, Dynamic, Guid, TimeSpan, Type, Value, parse_bool, parse_long, parse_real};

use super::mapping::{Mapped, Part, Transform};
use super::{Fault, Settings};
use crate::chunk::{CHUNK_ROWS, Chunk};
use crate::column::{Builder, Cell};

/// Bytes of one value; the reference's limit.
const VALUE_BYTES_MAX: usize = 1 << 20;
/// Rows of one piece of data.
const ROWS_MAX: u64 = 100_000_000;

/// Rows on their way into chunks.
pub(super) struct Rows<'a> {
    columns: &'a [SchemaColumn],
    builders: Vec<Builder>,
    chunks: Vec<Chunk>,
    total: u64,
    location: &'a str,
    /// For each column what it is made of; by place and name without.
    mapping: Option<Vec<Option<&'a Mapped>>>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(columns: &'a [SchemaColumn], settings: &'a Settings) -> Result<Rows<'a>, Fault> {
        let mapping = match &settings.mapping {
            None => None,
            Some(mapping) => {
                let mut of_columns = vec![None; columns.len()];
                for mapped in mapping {
                    let Some(at) = columns.iter().position(|column| *column.name == *mapped.column) else {
                        let message =
                            format!("the mapping names column `{}`, which the table does not have", mapped.column);
                        return Err(Fault::new("BadRequest_MappingReferenceWasNotFound", message));
                    };
                    of_columns[at] = Some(mapped);
                }
                Some(of_columns)
            }
        };
        let builders = fresh(columns);
        Ok(Rows { columns, builders, chunks: Vec::new(), total: 0, location: &settings.location, mapping })
    }

    /// Adds a row of texts, in the order of the columns.
    pub(super) fn push_texts<'t>(&mut self, line: u64, text: impl Fn(usize) -> Option<&'t str>) -> Result<(), Fault> {
        for (at, builder) in self.builders.iter_mut().enumerate() {
            let ty = self.columns[at].ty;
            let Some(mapping) = &self.mapping else {
                match text(at) {
                    Some(text) => push_text(builder, ty, text),
                    None => builder.push_absent(),
                }
                continue;
            };
            match mapping[at] {
                None => builder.push_absent(),
                Some(mapped) => match (&mapped.transform, &mapped.part) {
                    (Some(Transform::SourceLocation), _) => push_text(builder, ty, self.location),
                    (Some(Transform::SourceLineNumber), _) => push_cell(builder, ty, Cell::Long(line as i64)),
                    (_, Part::Constant(text)) => push_text(builder, ty, text),
                    (Some(Transform::FromUnix(ticks)), Part::Ordinal(ordinal)) => {
                        let value = text(*ordinal).and_then(parse_real).map(Cell::Real);
                        push_cell(builder, ty, unix(value.unwrap_or(Cell::Null), text(*ordinal), *ticks));
                    }
                    (_, Part::Ordinal(ordinal)) => match text(*ordinal) {
                        Some(text) => push_text(builder, ty, text),
                        None => builder.push_absent(),
                    },
                    (_, Part::Path(_)) => match text(at) {
                        Some(text) => push_text(builder, ty, text),
                        None => builder.push_absent(),
                    },
                },
            }
        }
        self.end_row()
    }

    /// Adds a row of a record: members by the names of columns, or by the paths of the mapping.
    pub(super) fn push_record(&mut self, line: u64, record: &Dynamic) -> Result<(), Fault> {
        for (at, builder) in self.builders.iter_mut().enumerate() {
            let column = &self.columns[at];
            let Some(mapping) = &self.mapping else {
                let value = record.member(&column.name).unwrap_or(&Dynamic::Null);
                push_value(builder, column.ty, value);
                continue;
            };
            let Some(mapped) = mapping[at] else {
                builder.push_absent();
                continue;
            };
            let found = match &mapped.part {
                Part::Path(path) => path.find(record),
                Part::Ordinal(ordinal) => match record {
                    Dynamic::Bag(bag) => bag.iter().nth(*ordinal).map(|(_, value)| value),
                    _ => None,
                },
                Part::Constant(_) => None,
            };
            match (&mapped.transform, &mapped.part) {
                (Some(Transform::SourceLocation), _) => push_text(builder, column.ty, self.location),
                (Some(Transform::SourceLineNumber), _) => push_cell(builder, column.ty, Cell::Long(line as i64)),
                (_, Part::Constant(text)) => push_text(builder, column.ty, text),
                (Some(Transform::FromUnix(ticks)), _) => {
                    let value = found.map_or(Cell::Null, Cell::from);
                    let text = if let Cell::String(text) = value { Some(text) } else { None };
                    push_cell(builder, column.ty, unix(value, text, *ticks));
                }
                (Some(Transform::BagArrayToDictionary), _) => {
                    let value = found.map_or(Dynamic::Null, dictionary);
                    push_value(builder, column.ty, &value);
                }
                (Some(Transform::DropMapped), Part::Path(path)) => {
                    let mut value = found.cloned().unwrap_or(Dynamic::Null);
                    for other in mapping.iter().flatten() {
                        if let (Part::Path(other), false) = (&other.part, std::ptr::eq(*other, mapped)) {
                            path.drop_below(other, &mut value);
                        }
                    }
                    push_value(builder, column.ty, &value);
                }
                _ => push_value(builder, column.ty, found.unwrap_or(&Dynamic::Null)),
            }
        }
        self.end_row()
    }

    /// The columns.
    pub(super) fn columns(&self) -> &'a [SchemaColumn] {
        self.columns
    }

    /// The path of a column's mapping, when it is a plain name.
    pub(super) fn field_of(&self, column: usize) -> Option<Option<&str>> {
        let mapping = self.mapping.as_ref()?;
        Some(mapping[column].and_then(|mapped| match &mapped.part {
            Part::Path(path) => path.only_name(),
            _ => None,
        }))
    }

    fn end_row(&mut self) -> Result<(), Fault> {
        self.total += 1;
        if self.total > ROWS_MAX {
            return Err(Fault::new("BadRequest_TooManyRows", format!("more than {ROWS_MAX} rows")));
        }
        if self.total.is_multiple_of(CHUNK_ROWS as u64) {
            self.end_chunk();
        }
        Ok(())
    }

    fn end_chunk(&mut self) {
        let full = std::mem::replace(&mut self.builders, fresh(self.columns));
        let rows = full.first().map_or(0, Builder::len);
        if rows > 0 {
            self.chunks.push(Chunk::of(full.into_iter().map(Builder::finish).collect(), rows));
        }
    }

    pub(super) fn finish(mut self) -> Vec<Chunk> {
        self.end_chunk();
        self.chunks
    }
}

fn fresh(columns: &[SchemaColumn]) -> Vec<Builder> {
    columns.iter().map(|column| Builder::new(column.ty, 0)).collect()
}

/// A text no longer than values may be.
fn cut(text: &str) -> &str {
    if text.len() <= VALUE_BYTES_MAX {
        return text;
    }
    let end = (0..=VALUE_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}

/// Adds a text as a value of a type.
pub(super) fn push_text(builder: &mut Builder, ty: Type, text: &str) {
    let trimmed = text.trim();
    match ty {
        Type::String => builder.push_cell(Cell::String(cut(text))),
        _ if trimmed.is_empty() => builder.push_absent(),
        Type::Dynamic | Type::Unknown if text.len() > VALUE_BYTES_MAX => builder.push_absent(),
        Type::Dynamic | Type::Unknown => {
            let value = Dynamic::parse_json(text).unwrap_or_else(|| Dynamic::String(text.to_owned()));
            builder.push(Value::Dynamic(value));
        }
        _ => match text_value(ty, trimmed) {
            Some(value) => builder.push(value),
            None => builder.push_absent(),
        },
    }
}

fn text_value(ty: Type, text: &str) -> Option<Value> {
    Some(match ty {
        Type::Bool => Value::Bool(parse_bool(text)?),
        Type::Int => Value::Int(i32::try_from(parse_long(text)?).ok()?),
        Type::Long => Value::Long(parse_long(text)?),
        Type::Real => Value::Real(parse_real(text)?),
        Type::Decimal => Value::Decimal(Decimal::parse(text)?),
        Type::DateTime => Value::DateTime(DateTime::parse(text)?),
        Type::TimeSpan => Value::TimeSpan(TimeSpan::parse(text)?),
        Type::Guid => Value::Guid(Guid::parse(text)?),
        Type::String | Type::Dynamic | Type::Unknown => return None,
    })
}

/// Adds a value of a record as a value of a type.
fn push_value(builder: &mut Builder, ty: Type, value: &Dynamic) {
    match (ty, value) {
        (_, Dynamic::Null) => builder.push_absent(),
        (Type::Dynamic | Type::Unknown, value) => {
            if crate::column::dynamic_size(value) > VALUE_BYTES_MAX * 4 {
                builder.push_absent();
            } else {
                builder.push(Value::Dynamic(value.clone()));
            }
        }
        (_, Dynamic::String(text)) => push_text(builder, ty, text),
        (Type::String, value) => builder.push_cell(Cell::String(cut(&value.to_string()))),
        (_, value) => push_cell(builder, ty, Cell::from(value)),
    }
}

/// Adds a value of another type: whole numbers that stand in reals count, fractions are not cut.
fn push_cell(builder: &mut Builder, ty: Type, cell: Cell) {
    let cell = match (ty, cell) {
        (Type::Int | Type::Long, Cell::Real(value)) if value.fract() == 0.0 && value.abs() < 9.0e15 => {
            Cell::Long(value as i64)
        }
        (Type::Bool, Cell::Long(value)) => Cell::Bool(value != 0),
        (Type::String, Cell::Null) => Cell::Null,
        (Type::String, cell) => {
            let text = cell.text().into_owned();
            return builder.push_cell(Cell::String(cut(&text)));
        }
        (_, cell) => cell,
    };
    builder.push_cell(cell);
}

/// An instant of a number of units since 1970.
fn unix<'a>(value: Cell<'a>, text: Option<&str>, nanoseconds: i64) -> Cell<'a> {
    let whole = match value {
        Cell::Long(value) => Some(value),
        _ => text.and_then(parse_long),
    };
    let ticks = match (whole, value) {
        (Some(whole), _) => i128::from(whole).checked_mul(i128::from(nanoseconds)).map(|ns| ns / 100),
        (None, Cell::Real(real)) if real.is_finite() => Some((real * nanoseconds as f64 / 100.0) as i128),
        _ => None,
    };
    let instant = ticks.and_then(|ticks| i64::try_from(ticks).ok()).and_then(DateTime::from_unix_ticks);
    instant.map_or(Cell::Null, |instant| Cell::DateTime(instant.0))
}

/// `[{"a":1},{"b":2}]`, or `[{"Key":"a","Value":1}]`, as `{"a":1,...}`.
fn dictionary(value: &Dynamic) -> Dynamic {
    let Dynamic::Array(items) = value else { return value.clone() };
    let mut entries = Vec::new();
    for item in items {
        let Dynamic::Bag(bag) = item else { continue };
        match (bag.len(), bag.get("Key").or(bag.get("key")), bag.get("Value").or(bag.get("value"))) {
            (2, Some(Dynamic::String(key)), Some(value)) => entries.push((key.clone(), value.clone())),
            _ => entries.extend(bag.iter().map(|(name, value)| (name.to_owned(), value.clone()))),
        }
    }
    Dynamic::Bag(gantry_kql::value::Bag::from_entries(entries))
}
