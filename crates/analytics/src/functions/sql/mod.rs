//! Functions of SQL alone: what PostgreSQL says of null, of errors, of texts that count from one.
//!
//! `gantry_sql::functions` names them. Texts come as strings or, where they may be null, as dynamic values: cells are
//! the same.

mod arrays;
mod numbers;
mod texts;
mod times;

use gantry_kql::bound::Binary;
use gantry_kql::value::{Type, Value};

use super::Call;
use super::Implementation::{Columns, Fallible, Lax, Random, Strict};
use crate::column::{Builder, Cell};
use crate::error::{Error, Result};
use crate::expression::{Datum, compare};
use gantry_sql::types::SqlType;

pub(super) const TABLES: &[super::Family] =
    &[FUNCTIONS, numbers::FUNCTIONS, texts::FUNCTIONS, times::FUNCTIONS, arrays::FUNCTIONS];

const FUNCTIONS: super::Family = &[
    ("sql.eq", Columns(|arguments, rows, _| compared(Binary::Equal, arguments, rows))),
    ("sql.ne", Columns(|arguments, rows, _| compared(Binary::NotEqual, arguments, rows))),
    ("sql.lt", Columns(|arguments, rows, _| compared(Binary::Less, arguments, rows))),
    ("sql.le", Columns(|arguments, rows, _| compared(Binary::LessOrEqual, arguments, rows))),
    ("sql.gt", Columns(|arguments, rows, _| compared(Binary::Greater, arguments, rows))),
    ("sql.ge", Columns(|arguments, rows, _| compared(Binary::GreaterOrEqual, arguments, rows))),
    ("sql.single", Fallible(single)),
    ("sql.true", Strict(|_, _| Value::Bool(true))),
    ("sql.false", Strict(|_, _| Value::Bool(false))),
    ("sql.null", Lax(|_, _| Value::Null)),
    ("sql.zero", Lax(|_, _| Value::Long(0))),
    ("sql.utf8", Strict(|_, _| Value::String("UTF8".into()))),
    ("sql.greatest", Lax(|cells, call| extreme(cells, call, std::cmp::Ordering::Greater))),
    ("sql.least", Lax(|cells, call| extreme(cells, call, std::cmp::Ordering::Less))),
    ("sql.read", Fallible(read)),
    ("sql.to_text", Fallible(to_text)),
    ("sql.from_json", Fallible(from_json)),
    ("sql.cast_array", Fallible(cast_array)),
    (
        "sql.uuid",
        Random(|_, call| {
            let bits = (u128::from(call.context.random()) << 64) | u128::from(call.context.random());
            // Version 4, variant 1.
            let bits = bits & !(0xf << 76) | (4 << 76);
            crate::column::guid_value(bits & !(0b11 << 62) | (0b10 << 62))
        }),
    ),
    ("sql.random", Random(|_, call| Value::Real((call.context.random() >> 11) as f64 / (1_u64 << 53) as f64))),
];

/// An error as PostgreSQL names it.
fn wrong(state: &'static str, message: impl Into<String>) -> Error {
    Error::Sql { state, message: message.into() }
}

impl From<gantry_sql::Error> for Error {
    fn from(error: gantry_sql::Error) -> Error {
        Error::Sql { state: error.state, message: error.message }
    }
}

/// A comparison that is null when a side is.
fn compared(op: Binary, arguments: &[Datum], rows: usize) -> Result<Datum> {
    let [left, right] = arguments else { return Err(Error::Evaluation("a comparison has two sides".into())) };
    let plain = |datum: &Datum| match datum {
        Datum::One(value) => *value != Value::Null,
        Datum::Many(column) => column.nulls().is_none() && column.ty() != Type::Dynamic,
    };
    let found = compare(op, left.clone(), right.clone(), rows);
    if plain(left) && plain(right) {
        return Ok(found);
    }
    if let (Datum::One(left), Datum::One(right)) = (left, right) {
        let null = Cell::from(left).is_null() || Cell::from(right).is_null();
        return Ok(if null { Datum::One(Value::Null) } else { found });
    }
    let mut builder = Builder::new(Type::Bool, rows);
    for row in 0..rows {
        if left.cell(row).is_null() || right.cell(row).is_null() {
            builder.push_absent();
        } else {
            builder.push_cell(found.cell(row));
        }
    }
    Ok(Datum::Many(std::sync::Arc::new(builder.finish())))
}

/// The value of the only row.
fn single(cells: &[Cell], call: &Call) -> Result<Value> {
    match cells[0].long() {
        Some(0) => Ok(Value::absent(call.ty)),
        Some(1) => Ok(cells[1].to_value()),
        _ => Err(wrong("21000", "more than one row returned by a subquery used as an expression")),
    }
}

fn extreme(cells: &[Cell], call: &Call, wanted: std::cmp::Ordering) -> Value {
    let there = cells.iter().filter(|cell| !cell.is_null()).copied();
    let best = there.reduce(|best, cell| if cell.compare(best) == Some(wanted) { cell } else { best });
    best.map_or(Value::absent(call.ty), |cell| cell.to_value())
}

fn type_of(cell: Cell) -> SqlType {
    SqlType::from_name(&cell.text()).unwrap_or(SqlType::TEXT)
}

/// A text as a value of a type.
fn read(cells: &[Cell], _: &Call) -> Result<Value> {
    match cells[0] {
        Cell::Null => Ok(Value::Null),
        cell => Ok(gantry_sql::text::read(&cell.text(), type_of(cells[1]))?),
    }
}

/// A value of a type as text.
fn to_text(cells: &[Cell], call: &Call) -> Result<Value> {
    let ty = type_of(cells[1]);
    if cells[0].is_null() {
        return Ok(Value::absent(call.ty));
    }
    let value = cells[0].to_value();
    // A cast spells out what the protocol abbreviates.
    if let (Value::Bool(value), false) = (&value, ty.array) {
        return Ok(Value::String(value.to_string()));
    }
    Ok(Value::String(gantry_sql::text::print(&value, ty)))
}

/// A value of JSON as a number or a bool.
fn from_json(cells: &[Cell], _: &Call) -> Result<Value> {
    let ty = type_of(cells[1]);
    match cells[0] {
        Cell::Null => Ok(Value::Null),
        Cell::Dynamic(value) => Err(wrong("22023", format!("cannot cast jsonb {} to type {ty}", value.type_name()))),
        Cell::Bool(value) if ty == SqlType::BOOL => Ok(Value::Bool(value)),
        cell @ (Cell::Long(_) | Cell::Real(_) | Cell::Int(_) | Cell::Decimal(_)) if ty.is_number() => {
            numbers::to_number_of(cell, ty)
        }
        _ => Err(wrong("22023", format!("cannot cast such jsonb to type {ty}"))),
    }
}

/// An array as one of another type.
fn cast_array(cells: &[Cell], _: &Call) -> Result<Value> {
    use gantry_kql::value::Dynamic;
    let ty = type_of(cells[1]);
    let element = ty.element().unwrap_or(SqlType::TEXT);
    let Some(items) = cells[0].array() else { return Ok(Value::Null) };
    let cast = |item: &Dynamic| -> Result<Dynamic> {
        if *item == Dynamic::Null {
            return Ok(Dynamic::Null);
        }
        let text = Cell::from(item).text().into_owned();
        Ok(gantry_sql::text::read(&text, element)?.into_dynamic())
    };
    Ok(Value::Dynamic(Dynamic::Array(items.iter().map(cast).collect::<Result<_>>()?)))
}

/// Rows at most that one array of a series may have.
fn too_many(call: &Call) -> Error {
    Error::TooManyRows { operator: "generate_series", limit: call.context.limits.expanded_max }
}

/// The implementation of a strict function that may fail.
fn unless_null(cells: &[Cell], call: &Call, f: impl FnOnce(&[Cell], &Call) -> Result<Value>) -> Result<Value> {
    if cells.iter().any(|cell| cell.is_null()) { Ok(Value::absent(call.ty)) } else { f(cells, call) }
}

/// Short for a strict function that may fail.
macro_rules! fallible {
    ($f:expr) => {
        Implementation::Fallible(|cells, call| super::unless_null(cells, call, $f))
    };
}
use fallible;
