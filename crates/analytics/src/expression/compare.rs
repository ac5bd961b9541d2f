//! `== != < <= > >=`.
//!
//! A comparison with null is null, but a value that is there is different from null: `x == null` is false and
//! `x != null` is true unless `x` is null too.

use std::cmp::Ordering;
use std::sync::Arc;

use gantry_kql::bound::Binary;
use gantry_kql::value::Value;

use super::{Datum, rowwise};
use crate::column::{Cell, Column, Data};
use gantry_kql::value::Type;

/// Compares row by row.
pub fn compare(op: Binary, left: Datum, right: Datum, rows: usize) -> Datum {
    if let Datum::Many(column) = &left
        && let Datum::One(value) = &right
        && let Some(flags) = against(op, column, value)
    {
        return Datum::Many(Arc::new(Column::from(flags)));
    }
    rowwise(&[left, right], Type::Bool, rows, |cells| one(op, cells[0], cells[1]))
}

/// The common case in one loop: a column without nulls against one value of its type.
fn against(op: Binary, column: &Column, value: &Value) -> Option<Vec<bool>> {
    if column.nulls().is_some() {
        return None;
    }
    match (column.data(), value) {
        (Data::Real(values), Value::Real(with)) => Some(match op {
            Binary::Equal => values.iter().map(|value| value == with).collect(),
            Binary::NotEqual => values.iter().map(|value| value != with).collect(),
            Binary::Less => values.iter().map(|value| value < with).collect(),
            Binary::LessOrEqual => values.iter().map(|value| value <= with).collect(),
            Binary::Greater => values.iter().map(|value| value > with).collect(),
            _ => values.iter().map(|value| value >= with).collect(),
        }),
        (Data::Long(values), value) => {
            let with = match (column.ty(), value) {
                (Type::Long, Value::Long(with)) => *with,
                (Type::DateTime, Value::DateTime(with)) => with.0,
                (Type::TimeSpan, Value::TimeSpan(with)) => with.0,
                _ => return None,
            };
            Some(match op {
                Binary::Equal => values.iter().map(|value| *value == with).collect(),
                Binary::NotEqual => values.iter().map(|value| *value != with).collect(),
                Binary::Less => values.iter().map(|value| *value < with).collect(),
                Binary::LessOrEqual => values.iter().map(|value| *value <= with).collect(),
                Binary::Greater => values.iter().map(|value| *value > with).collect(),
                _ => values.iter().map(|value| *value >= with).collect(),
            })
        }
        (Data::String(texts), Value::String(with)) => {
            let with = with.as_str();
            Some(texts.map(|text| holds(op, text.cmp(with))))
        }
        _ => None,
    }
}

/// One row of a comparison.
pub fn one(op: Binary, left: Cell, right: Cell) -> Value {
    let known = match op {
        Binary::Equal | Binary::NotEqual => match (left.is_null(), right.is_null()) {
            (true, true) => None,
            (true, false) | (false, true) => Some(op == Binary::NotEqual),
            (false, false) => left.equals(right).map(|equal| equal == (op == Binary::Equal)),
        },
        op => match left.compare(right) {
            Some(order) => Some(holds(op, order)),
            // NaN is there and in no order.
            None if is_nan(left) || is_nan(right) => Some(false),
            None => None,
        },
    };
    known.map_or(Value::Null, Value::Bool)
}

fn is_nan(cell: Cell) -> bool {
    matches!(cell, Cell::Real(value) if value.is_nan())
}

fn holds(op: Binary, order: Ordering) -> bool {
    match op {
        Binary::Equal => order.is_eq(),
        Binary::NotEqual => order.is_ne(),
        Binary::Less => order.is_lt(),
        Binary::LessOrEqual => order.is_le(),
        Binary::Greater => order.is_gt(),
        _ => order.is_ge(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_different_from_what_is_there_and_unknown_otherwise() {
        let (null, one_) = (Cell::Null, Cell::Long(1));
        assert_eq!(one(Binary::Equal, one_, null), Value::Bool(false));
        assert_eq!(one(Binary::NotEqual, one_, null), Value::Bool(true));
        assert_eq!(one(Binary::Equal, null, null), Value::Null);
        assert_eq!(one(Binary::NotEqual, null, null), Value::Null);
        assert_eq!(one(Binary::Less, one_, null), Value::Null);
        assert_eq!(one(Binary::Less, Cell::Real(f64::NAN), one_), Value::Bool(false));
    }
}
