//! `+ - * / %` and the sign.
//!
//! Whole numbers wrap, as the reference's do; dividing one by zero gives null. `%` is never negative. Datetimes and
//! timespans are ticks: what leaves the calendar is null.

use std::sync::Arc;

use gantry_kql::bound::Binary;
use gantry_kql::value::{DateTime, Decimal, Type, Value};

use super::{Datum, rowwise};
use crate::column::{Cell, Column, Data, ticks_value};

/// One side of an operation: a value for all rows or one for each.
enum Side<'a, T> {
    One(T),
    Many(&'a [T], Option<&'a [bool]>),
}

impl<T: Copy> Side<'_, T> {
    fn get(&self, row: usize) -> T {
        match self {
            Side::One(value) => *value,
            Side::Many(values, _) => values[row],
        }
    }

    fn nulls(&self) -> Option<&[bool]> {
        match self {
            Side::One(_) => None,
            Side::Many(_, nulls) => *nulls,
        }
    }
}

/// Works out an operation. `ty` is the type of the result, which the binder knows.
pub fn arithmetic(op: Binary, left: Datum, right: Datum, ty: Type, rows: usize) -> Datum {
    if let (Some(a), Some(b)) = (reals(&left), reals(&right))
        && ty == Type::Real
    {
        return match op {
            Binary::Add => zip(&a, &b, rows, |a, b| a + b),
            Binary::Subtract => zip(&a, &b, rows, |a, b| a - b),
            Binary::Multiply => zip(&a, &b, rows, |a, b| a * b),
            Binary::Divide => zip(&a, &b, rows, |a, b| a / b),
            _ => zip(&a, &b, rows, f64::rem_euclid),
        };
    }
    if let (Some(a), Some(b)) = (longs(&left), longs(&right))
        && ty == Type::Long
        && !matches!(op, Binary::Divide | Binary::Modulo)
    {
        return match op {
            Binary::Add => zip_long(&a, &b, rows, i64::wrapping_add),
            Binary::Subtract => zip_long(&a, &b, rows, i64::wrapping_sub),
            _ => zip_long(&a, &b, rows, i64::wrapping_mul),
        };
    }
    rowwise(&[left, right], ty, rows, |cells| one(op, cells[0], cells[1], ty))
}

fn reals(datum: &Datum) -> Option<Side<'_, f64>> {
    match datum {
        Datum::One(Value::Real(value)) => Some(Side::One(*value)),
        Datum::Many(column) => match column.data() {
            Data::Real(values) => Some(Side::Many(values, column.nulls())),
            _ => None,
        },
        Datum::One(_) => None,
    }
}

fn longs(datum: &Datum) -> Option<Side<'_, i64>> {
    match datum {
        Datum::One(Value::Long(value)) => Some(Side::One(*value)),
        Datum::Many(column) if column.ty() == Type::Long => match column.data() {
            Data::Long(values) => Some(Side::Many(values, column.nulls())),
            _ => None,
        },
        _ => None,
    }
}

fn zip(a: &Side<f64>, b: &Side<f64>, rows: usize, f: impl Fn(f64, f64) -> f64) -> Datum {
    if let (Side::One(a), Side::One(b)) = (a, b) {
        return Datum::One(Value::Real(f(*a, *b)));
    }
    let values = (0..rows).map(|row| f(a.get(row), b.get(row))).collect();
    Datum::Many(Arc::new(Column::new(Type::Real, Data::Real(values), either(a.nulls(), b.nulls()))))
}

fn zip_long(a: &Side<i64>, b: &Side<i64>, rows: usize, f: impl Fn(i64, i64) -> i64) -> Datum {
    if let (Side::One(a), Side::One(b)) = (a, b) {
        return Datum::One(Value::Long(f(*a, *b)));
    }
    let values = (0..rows).map(|row| f(a.get(row), b.get(row))).collect();
    Datum::Many(Arc::new(Column::new(Type::Long, Data::Long(values), either(a.nulls(), b.nulls()))))
}

/// Null where either side is.
pub(super) fn either(a: Option<&[bool]>, b: Option<&[bool]>) -> Option<Vec<bool>> {
    match (a, b) {
        (None, None) => None,
        (Some(one), None) | (None, Some(one)) => Some(one.to_vec()),
        (Some(a), Some(b)) => Some(a.iter().zip(b).map(|(a, b)| a | b).collect()),
    }
}

/// One row of an operation.
pub fn one(op: Binary, left: Cell, right: Cell, ty: Type) -> Value {
    let worked = match (left, right) {
        (Cell::Null, _) | (_, Cell::Null) => None,
        (Cell::DateTime(_) | Cell::TimeSpan(_), _) | (_, Cell::DateTime(_) | Cell::TimeSpan(_)) => {
            return ticks(op, left, right, ty);
        }
        _ if ty == Type::TimeSpan || ty == Type::DateTime => return ticks(op, left, right, ty),
        _ if ty == Type::Decimal => decimals(op, left, right).map(Value::Decimal),
        _ if ty == Type::Real => left.real().zip(right.real()).map(|(a, b)| Value::Real(float(op, a, b))),
        (Cell::Real(_), _) | (_, Cell::Real(_)) => {
            left.real().zip(right.real()).map(|(a, b)| Value::Real(float(op, a, b)))
        }
        _ => left.long().zip(right.long()).and_then(|(a, b)| whole(op, a, b)).map(Value::Long),
    };
    worked.unwrap_or(Value::Null)
}

fn float(op: Binary, a: f64, b: f64) -> f64 {
    match op {
        Binary::Add => a + b,
        Binary::Subtract => a - b,
        Binary::Multiply => a * b,
        Binary::Divide => a / b,
        _ => a.rem_euclid(b),
    }
}

fn whole(op: Binary, a: i64, b: i64) -> Option<i64> {
    match op {
        Binary::Add => Some(a.wrapping_add(b)),
        Binary::Subtract => Some(a.wrapping_sub(b)),
        Binary::Multiply => Some(a.wrapping_mul(b)),
        Binary::Divide => (b != 0).then(|| a.wrapping_div(b)),
        _ => (b != 0).then(|| a.wrapping_rem_euclid(b)),
    }
}

/// Operations in which ticks take part: the type of the result says what is meant.
fn ticks(op: Binary, left: Cell, right: Cell, ty: Type) -> Value {
    let raw = |cell: Cell| match cell {
        Cell::DateTime(ticks) | Cell::TimeSpan(ticks) => Some(ticks),
        _ => None,
    };
    let worked = match (raw(left), raw(right)) {
        (Some(a), Some(b)) => match op {
            Binary::Add => a.checked_add(b),
            Binary::Subtract => a.checked_sub(b),
            Binary::Divide if ty == Type::Real => return Value::Real(a as f64 / b as f64),
            Binary::Divide => (b != 0).then(|| a.wrapping_div(b)),
            Binary::Modulo => (b != 0).then(|| a.wrapping_rem_euclid(b)),
            _ => None,
        },
        (Some(a), None) => right.number().and_then(|b| scale(op, a as f64, b)),
        (None, Some(b)) if op == Binary::Multiply => left.number().and_then(|a| scale(op, b as f64, a)),
        (None, Some(b)) if op == Binary::Divide => left.number().and_then(|a| scale(op, a, b as f64)),
        _ => None,
    };
    match (worked, ty) {
        (Some(ticks), Type::DateTime) => DateTime::from_ticks(ticks).map_or(Value::Null, Value::DateTime),
        (Some(ticks), ty) => ticks_value(ty, ticks),
        (None, _) => Value::Null,
    }
}

fn scale(op: Binary, ticks: f64, by: f64) -> Option<i64> {
    let scaled = match op {
        Binary::Multiply => ticks * by,
        Binary::Divide => ticks / by,
        Binary::Modulo => ticks.rem_euclid(by),
        Binary::Add => ticks + by,
        _ => ticks - by,
    };
    (scaled.is_finite() && scaled.abs() < 9.2e18).then(|| scaled.round() as i64)
}

/// Decimals keep up to 28 digits behind the point in a quotient.
const QUOTIENT_SCALE: u32 = 28;

fn decimals(op: Binary, left: Cell, right: Cell) -> Option<Decimal> {
    let (a, b) = (left.decimal()?, right.decimal()?);
    let scale = a.scale.max(b.scale);
    let level = |d: Decimal| d.mantissa.checked_mul(10_i128.checked_pow(u32::from(scale - d.scale))?);
    let sum = match op {
        Binary::Add => Decimal { mantissa: level(a)?.checked_add(level(b)?)?, scale },
        Binary::Subtract => Decimal { mantissa: level(a)?.checked_sub(level(b)?)?, scale },
        Binary::Multiply => {
            let (a, b) = (a.normalized(), b.normalized());
            Decimal { mantissa: a.mantissa.checked_mul(b.mantissa)?, scale: a.scale.checked_add(b.scale)? }
        }
        Binary::Divide => {
            let (x, y) = (level(a)?, level(b)?);
            if y == 0 {
                return None;
            }
            // As many digits behind the point as fit.
            let digits = (0..=QUOTIENT_SCALE)
                .rev()
                .find(|digits| 10_i128.checked_pow(*digits).and_then(|power| x.checked_mul(power)).is_some())?;
            Decimal { mantissa: x * 10_i128.pow(digits) / y, scale: digits as u8 }.normalized()
        }
        _ => {
            let (x, y) = (level(a)?, level(b)?);
            if y == 0 {
                return None;
            }
            Decimal { mantissa: x.rem_euclid(y), scale }
        }
    };
    Some(sum)
}

/// The value with the other sign.
pub fn negate(of: Datum, ty: Type, rows: usize) -> Datum {
    rowwise(&[of], ty, rows, |cells| match cells[0] {
        Cell::Int(value) if ty == Type::Int => Value::Int(value.wrapping_neg()),
        Cell::Int(value) => Value::Long(-i64::from(value)),
        Cell::Long(value) => Value::Long(value.wrapping_neg()),
        Cell::Real(value) => Value::Real(-value),
        Cell::Decimal(value) => {
            value.mantissa.checked_neg().map_or(Value::Null, |mantissa| Value::Decimal(Decimal { mantissa, ..value }))
        }
        Cell::TimeSpan(ticks) => ticks_value(Type::TimeSpan, ticks.wrapping_neg()),
        _ => Value::Null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Cell<'static> {
        Cell::Decimal(Decimal::parse(text).unwrap())
    }

    #[test]
    fn whole_numbers_divide_toward_zero_and_never_by_it() {
        assert_eq!(one(Binary::Divide, Cell::Long(7), Cell::Long(2), Type::Long), Value::Long(3));
        assert_eq!(one(Binary::Divide, Cell::Long(7), Cell::Long(0), Type::Long), Value::Null);
        assert_eq!(one(Binary::Modulo, Cell::Long(-14), Cell::Long(12), Type::Long), Value::Long(10));
        assert_eq!(one(Binary::Modulo, Cell::Long(14), Cell::Long(-12), Type::Long), Value::Long(2));
        assert_eq!(one(Binary::Modulo, Cell::Long(i64::MIN), Cell::Long(-1), Type::Long), Value::Long(0));
        assert_eq!(one(Binary::Divide, Cell::Long(i64::MIN), Cell::Long(-1), Type::Long), Value::Long(i64::MIN));
    }

    #[test]
    fn decimals_keep_their_digits() {
        let text = |op, a, b| one(op, decimal(a), decimal(b), Type::Decimal).to_string();
        assert_eq!(text(Binary::Add, "0.1", "0.2"), "0.3");
        assert_eq!(text(Binary::Multiply, "1.5", "1.5"), "2.25");
        assert_eq!(text(Binary::Divide, "1", "3"), "0.3333333333333333333333333333");
        assert_eq!(one(Binary::Divide, decimal("1"), decimal("0"), Type::Decimal), Value::Null);
    }

    #[test]
    fn ticks_stay_within_the_calendar() {
        let last = Cell::DateTime(DateTime::MAX.0);
        assert_eq!(one(Binary::Add, last, Cell::TimeSpan(1), Type::DateTime), Value::Null);
        assert_eq!(one(Binary::Subtract, last, last, Type::TimeSpan), Value::TimeSpan(gantry_kql::value::TimeSpan(0)));
        assert_eq!(one(Binary::Divide, Cell::TimeSpan(30), Cell::TimeSpan(20), Type::Real), Value::Real(1.5));
        assert_eq!(
            one(Binary::Multiply, Cell::Long(3), Cell::TimeSpan(20), Type::TimeSpan),
            Value::TimeSpan(gantry_kql::value::TimeSpan(60))
        );
    }
}
