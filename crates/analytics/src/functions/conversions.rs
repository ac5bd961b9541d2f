//! From one type to another. A value that cannot be converted becomes null.

use gantry_kql::value::{Dynamic, Type, Value};

use super::Implementation::{Lax, Strict};
use super::{Family, or_null, text};
use crate::column::Cell;

pub(super) const FUNCTIONS: Family = &[
    ("tostring", Lax(|cells, _| text(cells[0].text()))),
    ("tobool", Strict(|cells, _| cells[0].cast(Type::Bool))),
    ("toint", Strict(|cells, _| cells[0].cast(Type::Int))),
    ("tolong", Strict(|cells, _| cells[0].cast(Type::Long))),
    ("todouble", Strict(|cells, _| cells[0].cast(Type::Real))),
    ("toreal", Strict(|cells, _| cells[0].cast(Type::Real))),
    ("todecimal", Strict(|cells, _| cells[0].cast(Type::Decimal))),
    ("todatetime", Strict(|cells, _| cells[0].cast(Type::DateTime))),
    ("totimespan", Strict(|cells, _| cells[0].cast(Type::TimeSpan))),
    ("toguid", Strict(|cells, _| cells[0].cast(Type::Guid))),
    ("parse_json", Lax(|cells, _| parse_json(cells[0]))),
    ("todynamic", Lax(|cells, _| parse_json(cells[0]))),
    ("tohex", Strict(tohex)),
    ("gettype", Lax(|cells, _| text(type_name(cells[0])))),
    ("estimate_data_size", Lax(|cells, _| Value::Long(cells.iter().map(|cell| data_size(*cell)).sum()))),
    ("column_ifexists", Lax(|cells, _| cells[0].to_value())),
    ("treepath", Lax(|cells, _| Value::Dynamic(tree_paths(cells[0])))),
    ("dynamic_to_json", Lax(|cells, _| text(sorted_json(&cells[0].to_dynamic())))),
];

/// Text that is no JSON is kept as text.
pub(super) fn parse_json(cell: Cell) -> Value {
    match cell {
        Cell::String("") | Cell::Null => Value::Null,
        Cell::String(json) => Value::Dynamic(Dynamic::parse_json(json).unwrap_or_else(|| Dynamic::String(json.into()))),
        other => Value::Dynamic(other.to_dynamic()),
    }
}

/// Lower case hexadecimal of a long, padded with zeros to a length.
fn tohex(cells: &[Cell], _: &super::Call) -> Value {
    let width = cells.get(1).and_then(|cell| cell.long()).unwrap_or(0).clamp(0, 64) as usize;
    match cells[0] {
        Cell::Int(value) => text(format!("{value:0width$x}")),
        cell => or_null(cell.long(), |value| text(format!("{value:0width$x}"))),
    }
}

fn type_name(cell: Cell) -> &'static str {
    match cell {
        Cell::Null => "null",
        Cell::Bool(_) => "bool",
        Cell::Int(_) => "int",
        Cell::Long(_) => "long",
        Cell::Real(_) => "real",
        Cell::Decimal(_) => "decimal",
        Cell::String(_) => "string",
        Cell::DateTime(_) => "datetime",
        Cell::TimeSpan(_) => "timespan",
        Cell::Guid(_) => "guid",
        Cell::Dynamic(value) => value.type_name(),
    }
}

/// Bytes of a value in the reference's own encoding, about.
fn data_size(cell: Cell) -> i64 {
    match cell {
        Cell::Null => 0,
        Cell::Bool(_) => 1,
        Cell::Int(_) => 4,
        Cell::Guid(_) | Cell::Decimal(_) => 16,
        Cell::String(text) => text.len() as i64,
        Cell::Dynamic(value) => value.to_json().len() as i64,
        _ => 8,
    }
}

/// Every path into a value, as text.
fn tree_paths(cell: Cell) -> Dynamic {
    fn walk(value: &Dynamic, path: &str, out: &mut Vec<Dynamic>) {
        match value {
            Dynamic::Bag(bag) => {
                for (name, value) in bag.iter() {
                    let path = format!("{path}['{name}']");
                    out.push(Dynamic::String(path.clone()));
                    walk(value, &path, out);
                }
            }
            Dynamic::Array(items) => {
                for (at, value) in items.iter().enumerate() {
                    let path = format!("{path}[{at}]");
                    out.push(Dynamic::String(path.clone()));
                    walk(value, &path, out);
                }
            }
            _ => {}
        }
    }
    let mut out = Vec::new();
    walk(&cell.to_dynamic(), "", &mut out);
    Dynamic::Array(out)
}

/// JSON with the names of every bag in order.
fn sorted_json(value: &Dynamic) -> String {
    fn sorted(value: &Dynamic) -> Dynamic {
        match value {
            Dynamic::Array(items) => Dynamic::Array(items.iter().map(sorted).collect()),
            Dynamic::Bag(bag) => {
                let mut entries: Vec<_> = bag.iter().map(|(name, value)| (name.to_owned(), sorted(value))).collect();
                entries.sort_by(|a, b| a.0.cmp(&b.0));
                Dynamic::Bag(gantry_kql::value::Bag::from_entries(entries))
            }
            other => other.clone(),
        }
    }
    sorted(value).to_json()
}
