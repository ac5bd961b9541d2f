//! Choices and questions about values.

use gantry_kql::value::{Bag, Dynamic, Type, Value};

use super::Implementation::{Fallible, Lax};
use super::{Call, Family};
use crate::column::Cell;
use crate::error::{Error, Result};

pub(super) const FUNCTIONS: Family = &[
    ("iff", Lax(iff)),
    ("case", Lax(case)),
    ("coalesce", Lax(coalesce)),
    ("isnull", Lax(|cells, _| Value::Bool(cells[0].is_null()))),
    ("isnotnull", Lax(|cells, _| Value::Bool(!cells[0].is_null()))),
    ("isempty", Lax(|cells, _| Value::Bool(is_empty(cells[0])))),
    ("isnotempty", Lax(|cells, _| Value::Bool(!is_empty(cells[0])))),
    ("not", Lax(|cells, _| super::or_null(cells[0].bool(), |value| Value::Bool(!value)))),
    ("max_of", Lax(|cells, call| extreme(cells, call, std::cmp::Ordering::Greater))),
    ("min_of", Lax(|cells, call| extreme(cells, call, std::cmp::Ordering::Less))),
    ("assert", Fallible(assert)),
    ("current_principal", Lax(|_, call| Value::String(call.context.principal().to_owned()))),
    ("current_principal_details", Lax(principal_details)),
    ("current_principal_is_member_of", Lax(is_member)),
];

fn principal_details(_: &[Cell], call: &Call) -> Value {
    let principal = call.context.principal();
    let (kind, name) = principal.split_once('=').unwrap_or(("", principal));
    let entries = [("UserPrincipalName", name), ("FullyQualifiedName", principal), ("Type", kind)];
    let entries = entries.map(|(name, value)| (name.to_owned(), Dynamic::String(value.to_owned())));
    Value::Dynamic(Dynamic::Bag(Bag::from_entries(entries.to_vec())))
}

/// Whoever asks is a member of what has their own name: there are no groups.
fn is_member(cells: &[Cell], call: &Call) -> Value {
    let principal = call.context.principal();
    let is_it = |cell: &Cell| match cell {
        Cell::String(text) => *text == principal,
        other => other
            .array()
            .is_some_and(|items| items.iter().any(|item| matches!(item, Dynamic::String(text) if text == principal))),
    };
    Value::Bool(cells.iter().any(is_it))
}

fn iff(cells: &[Cell], call: &Call) -> Value {
    let chosen = if cells[0].bool() == Some(true) { cells[1] } else { cells[2] };
    as_type(chosen, call.ty)
}

/// Pairs of condition and value, then the value for everything else.
fn case(cells: &[Cell], call: &Call) -> Value {
    let (pairs, rest) = cells.as_chunks::<2>();
    let chosen = pairs.iter().find(|[condition, _]| condition.bool() == Some(true)).map(|[_, value]| *value);
    as_type(chosen.or(rest.first().copied()).unwrap_or(Cell::Null), call.ty)
}

fn coalesce(cells: &[Cell], call: &Call) -> Value {
    let chosen = cells.iter().find(|cell| !is_empty(**cell)).or(cells.last());
    as_type(chosen.copied().unwrap_or(Cell::Null), call.ty)
}

fn is_empty(cell: Cell) -> bool {
    match cell {
        Cell::Null => true,
        Cell::String(text) => text.is_empty(),
        _ => false,
    }
}

fn extreme(cells: &[Cell], call: &Call, wanted: std::cmp::Ordering) -> Value {
    let there = cells.iter().filter(|cell| !cell.is_null()).copied();
    let best = there.reduce(|best, cell| if cell.compare(best) == Some(wanted) { cell } else { best });
    best.map_or(Value::absent(call.ty), |cell| as_type(cell, call.ty))
}

/// The value in the type of the result: branches may be of several.
fn as_type(cell: Cell, ty: Type) -> Value {
    match (cell, ty) {
        (Cell::Null, ty) => Value::absent(ty),
        (cell, Type::Dynamic | Type::Unknown) => Value::Dynamic(cell.to_dynamic()),
        (cell, ty) if cell.to_value().ty() == Some(ty) => cell.to_value(),
        (cell, ty) => cell.cast(ty),
    }
}

fn assert(cells: &[Cell], _: &Call) -> Result<Value> {
    match cells[0].bool() {
        Some(true) => Ok(Value::Bool(true)),
        _ => Err(Error::Evaluation(format!("assert() has failed with message: '{}'", cells[1].text()))),
    }
}
