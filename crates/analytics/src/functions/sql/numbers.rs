//! Arithmetic that tells when it cannot go on, and the functions of numbers.

use gantry_kql::bound::Binary;
use gantry_kql::value::{Decimal, Type, Value};

use super::{fallible, wrong};
use crate::column::{Cell, ticks_value};
use crate::error::{Error, Result};
use crate::expression::arithmetic_one;
use crate::functions::Implementation::{self, Strict};
use crate::functions::{Call, Family};
use gantry_sql::types::{Base, SqlType};

pub(super) const FUNCTIONS: Family = &[
    ("sql.add", fallible!(|cells, call| arithmetic(cells, call, Binary::Add))),
    ("sql.subtract", fallible!(|cells, call| arithmetic(cells, call, Binary::Subtract))),
    ("sql.multiply", fallible!(|cells, call| arithmetic(cells, call, Binary::Multiply))),
    ("sql.divide", fallible!(|cells, call| arithmetic(cells, call, Binary::Divide))),
    ("sql.modulo", fallible!(|cells, call| arithmetic(cells, call, Binary::Modulo))),
    ("sql.divide_span", fallible!(divide_span)),
    ("sql.to_number", fallible!(|cells, _| to_number_of(cells[0], super::type_of(cells[1])))),
    ("sql.bit_and", Strict(|cells, call| bits(cells, call, |a, b| Some(a & b)))),
    ("sql.bit_or", Strict(|cells, call| bits(cells, call, |a, b| Some(a | b)))),
    ("sql.bit_xor", Strict(|cells, call| bits(cells, call, |a, b| Some(a ^ b)))),
    ("sql.shift_left", Strict(|cells, call| bits(cells, call, |a, b| Some(a.wrapping_shl(b as u32))))),
    ("sql.shift_right", Strict(|cells, call| bits(cells, call, |a, b| Some(a.wrapping_shr(b as u32))))),
    ("sql.abs", fallible!(abs)),
    ("sql.sign", Strict(sign)),
    ("sql.ceil", Strict(|cells, _| real(cells, f64::ceil))),
    ("sql.floor", Strict(|cells, _| real(cells, f64::floor))),
    ("sql.round", Strict(|cells, _| real(cells, f64::round_ties_even))),
    ("sql.trunc", Strict(|cells, _| real(cells, f64::trunc))),
    ("sql.ceil_numeric", Strict(|cells, _| decimal(rounded(cells[0], 0, Round::Up)))),
    ("sql.floor_numeric", Strict(|cells, _| decimal(rounded(cells[0], 0, Round::Down)))),
    ("sql.round_numeric", Strict(|cells, _| decimal(rounded(cells[0], digits(cells), Round::HalfAway)))),
    ("sql.trunc_numeric", Strict(|cells, _| decimal(rounded(cells[0], digits(cells), Round::Zero)))),
    (
        "sql.sqrt",
        fallible!(|cells, _| domain(
            cells,
            f64::sqrt,
            |x| x >= 0.0,
            "2201F",
            "cannot take square root of a negative number"
        )),
    ),
    ("sql.cbrt", Strict(|cells, _| real(cells, f64::cbrt))),
    ("sql.exp", Strict(|cells, _| real(cells, f64::exp))),
    (
        "sql.ln",
        fallible!(|cells, _| domain(
            cells,
            f64::ln,
            |x| x > 0.0,
            "2201E",
            "cannot take logarithm of a number that is not positive"
        )),
    ),
    (
        "sql.log10",
        fallible!(|cells, _| domain(
            cells,
            f64::log10,
            |x| x > 0.0,
            "2201E",
            "cannot take logarithm of a number that is not positive"
        )),
    ),
    ("sql.log", Strict(|cells, _| two(cells, |base, x| x.ln() / base.ln()))),
    ("sql.power", Strict(|cells, _| two(cells, f64::powf))),
    ("sql.sin", Strict(|cells, _| real(cells, f64::sin))),
    ("sql.cos", Strict(|cells, _| real(cells, f64::cos))),
    ("sql.tan", Strict(|cells, _| real(cells, f64::tan))),
    ("sql.asin", Strict(|cells, _| real(cells, f64::asin))),
    ("sql.acos", Strict(|cells, _| real(cells, f64::acos))),
    ("sql.atan", Strict(|cells, _| real(cells, f64::atan))),
    ("sql.atan2", Strict(|cells, _| two(cells, f64::atan2))),
    ("sql.degrees", Strict(|cells, _| real(cells, f64::to_degrees))),
    ("sql.radians", Strict(|cells, _| real(cells, f64::to_radians))),
];

fn out_of_range(ty: &str) -> Error {
    wrong("22003", format!("{ty} out of range"))
}

fn arithmetic(cells: &[Cell], call: &Call, op: Binary) -> Result<Value> {
    let by_zero = matches!(op, Binary::Divide | Binary::Modulo) && cells[1].real() == Some(0.0);
    if by_zero {
        return Err(wrong("22012", "division by zero"));
    }
    match call.ty {
        Type::Int | Type::Long => {
            let (Some(a), Some(b)) = (cells[0].long(), cells[1].long()) else { return Ok(Value::Null) };
            let made = match op {
                Binary::Add => a.checked_add(b),
                Binary::Subtract => a.checked_sub(b),
                Binary::Multiply => a.checked_mul(b),
                Binary::Divide => a.checked_div(b),
                _ => Some(a.wrapping_rem(b)),
            };
            if call.ty == Type::Long {
                return made.map(Value::Long).ok_or_else(|| out_of_range("bigint"));
            }
            let small = cells.len() > 2;
            let (name, fits) = if small {
                ("smallint", made.is_some_and(|value| i16::try_from(value).is_ok()))
            } else {
                ("integer", made.is_some_and(|value| i32::try_from(value).is_ok()))
            };
            if !fits {
                return Err(out_of_range(name));
            }
            Ok(made.and_then(|value| i32::try_from(value).ok()).map_or(Value::Null, Value::Int))
        }
        Type::Decimal => {
            let (Some(a), Some(b)) = (cells[0].decimal(), cells[1].decimal()) else { return Ok(Value::Null) };
            let made = match op {
                Binary::Divide => quotient(a, b),
                Binary::Modulo => remainder(a, b),
                Binary::Multiply if a.scale + b.scale <= 38 && a.mantissa.checked_mul(b.mantissa).is_some() => {
                    // All digits of both, zeros too.
                    Some(Decimal { mantissa: a.mantissa * b.mantissa, scale: a.scale + b.scale })
                }
                op => match arithmetic_one(op, Cell::Decimal(a), Cell::Decimal(b), Type::Decimal) {
                    Value::Decimal(value) => Some(value),
                    _ => None,
                },
            };
            made.map(Value::Decimal).ok_or_else(|| wrong("22003", "value overflows numeric format"))
        }
        _ => {
            let (Some(a), Some(b)) = (cells[0].real(), cells[1].real()) else { return Ok(Value::Null) };
            Ok(Value::Real(match op {
                Binary::Add => a + b,
                Binary::Subtract => a - b,
                Binary::Multiply => a * b,
                Binary::Divide => a / b,
                _ => a % b,
            }))
        }
    }
}

/// As many digits as PostgreSQL gives a quotient: sixteen that count, and no fewer than either side has.
fn quotient(a: Decimal, b: Decimal) -> Option<Decimal> {
    // Weights count groups of four digits; the first digits say whether the quotient has one less.
    let weight = |of: Decimal| -> (i32, i32) {
        let digits = of.mantissa.unsigned_abs();
        if digits == 0 {
            return (0, 0);
        }
        let power = digits.ilog10() as i32 - i32::from(of.scale);
        let group = power.div_euclid(4);
        let shift = group * 4 + i32::from(of.scale);
        let first = if shift >= 0 {
            digits / 10_u128.checked_pow(shift as u32).unwrap_or(u128::MAX)
        } else {
            digits.saturating_mul(10_u128.pow(shift.unsigned_abs()))
        };
        (group, first as i32)
    };
    let ((wa, fa), (wb, fb)) = (weight(a), weight(b));
    let mut groups = wa - wb;
    if fa <= fb {
        groups -= 1;
    }
    let scale = (16 - groups * 4).max(i32::from(a.scale)).max(i32::from(b.scale)).clamp(0, 38);
    // mantissa_a / 10^sa / (mantissa_b / 10^sb), with `scale` digits and one to round by.
    let mut scale = scale as u32;
    loop {
        let shift = i64::from(scale) + i64::from(b.scale) - i64::from(a.scale);
        let scaled = if shift >= 0 {
            10_i128.checked_pow(shift as u32).and_then(|power| a.mantissa.checked_mul(power))
        } else {
            10_i128.checked_pow(shift.unsigned_abs() as u32).map(|power| a.mantissa / power)
        };
        match scaled {
            Some(scaled) => {
                let (whole, rest) = (scaled / b.mantissa, scaled % b.mantissa);
                let up = rest.unsigned_abs().checked_mul(2).is_none_or(|twice| twice >= b.mantissa.unsigned_abs());
                let sign = if (scaled < 0) == (b.mantissa < 0) { 1 } else { -1 };
                return Some(Decimal { mantissa: if up { whole + sign } else { whole }, scale: scale as u8 });
            }
            // Fewer digits where 38 are not enough.
            None if scale > 0 => scale -= 1,
            None => return None,
        }
    }
}

fn remainder(a: Decimal, b: Decimal) -> Option<Decimal> {
    let scale = a.scale.max(b.scale);
    let at = |of: Decimal| of.mantissa.checked_mul(10_i128.checked_pow(u32::from(scale - of.scale))?);
    Some(Decimal { mantissa: at(a)?.checked_rem(at(b)?)?, scale })
}

fn divide_span(cells: &[Cell], _: &Call) -> Result<Value> {
    let (Some(ticks), Some(by)) = (cells[0].timespan(), cells[1].real()) else { return Ok(Value::Null) };
    if by == 0.0 {
        return Err(wrong("22012", "division by zero"));
    }
    Ok(ticks_value(Type::TimeSpan, (ticks as f64 / by).round() as i64))
}

/// A number as one of another type.
pub(super) fn to_number_of(cell: Cell, ty: SqlType) -> Result<Value> {
    let whole = || -> Option<i64> {
        match cell {
            Cell::Real(value) => {
                let rounded = value.round_ties_even();
                (rounded.abs() < 9.3e18).then_some(rounded as i64)
            }
            Cell::Decimal(value) => {
                let rounded = rounded(Cell::Decimal(value), 0, Round::HalfAway)?;
                i64::try_from(rounded.mantissa).ok()
            }
            cell => cell.long(),
        }
    };
    let name = ty.long_name();
    let failed = || out_of_range(&name);
    Ok(match ty.base {
        Base::Int2 => Value::Int(i32::from(whole().and_then(|value| i16::try_from(value).ok()).ok_or_else(failed)?)),
        Base::Int4 => Value::Int(whole().and_then(|value| i32::try_from(value).ok()).ok_or_else(failed)?),
        Base::Int8 => Value::Long(whole().ok_or_else(failed)?),
        Base::Numeric => {
            let made = match cell {
                // The shortest digits that are the number.
                Cell::Real(value) => Decimal::parse(&value.to_string()),
                cell => cell.decimal(),
            };
            Value::Decimal(made.ok_or_else(failed)?)
        }
        Base::Float4 => Value::Real(f64::from(cell.real().unwrap_or(f64::NAN) as f32)),
        Base::Float8 => Value::Real(cell.real().unwrap_or(f64::NAN)),
        _ => Value::Long(whole().filter(|value| (0..=i64::from(u32::MAX)).contains(value)).ok_or_else(failed)?),
    })
}

fn bits(cells: &[Cell], call: &Call, f: impl Fn(i64, i64) -> Option<i64>) -> Value {
    let made = cells[0].long().zip(cells[1].long()).and_then(|(a, b)| f(a, b));
    made.map_or(Value::Null, |value| Cell::Long(value).cast(call.ty))
}

fn abs(cells: &[Cell], _: &Call) -> Result<Value> {
    Ok(match cells[0] {
        Cell::Int(value) => Value::Int(value.checked_abs().ok_or_else(|| out_of_range("integer"))?),
        Cell::Long(value) => Value::Long(value.checked_abs().ok_or_else(|| out_of_range("bigint"))?),
        Cell::Decimal(value) => Value::Decimal(Decimal { mantissa: value.mantissa.abs(), ..value }),
        cell => cell.real().map_or(Value::Null, |value| Value::Real(value.abs())),
    })
}

fn sign(cells: &[Cell], call: &Call) -> Value {
    let sign = match cells[0] {
        Cell::Decimal(value) => value.mantissa.signum() as f64,
        cell => cell.real().map_or(0.0, |value| if value == 0.0 { 0.0 } else { value.signum() }),
    };
    Cell::Long(sign as i64).cast(call.ty)
}

fn real(cells: &[Cell], f: impl Fn(f64) -> f64) -> Value {
    cells[0].real().map_or(Value::Null, |value| Value::Real(f(value)))
}

fn two(cells: &[Cell], f: impl Fn(f64, f64) -> f64) -> Value {
    cells[0].real().zip(cells[1].real()).map_or(Value::Null, |(a, b)| Value::Real(f(a, b)))
}

fn domain(
    cells: &[Cell],
    f: impl Fn(f64) -> f64,
    within: impl Fn(f64) -> bool,
    state: &'static str,
    message: &str,
) -> Result<Value> {
    match cells[0].real() {
        Some(value) if within(value) || value.is_nan() => Ok(Value::Real(f(value))),
        Some(_) => Err(wrong(state, message)),
        None => Ok(Value::Null),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    HalfAway,
    Zero,
    Up,
    Down,
}

fn digits(cells: &[Cell]) -> i64 {
    cells.get(1).and_then(|cell| cell.long()).unwrap_or(0)
}

fn decimal(value: Option<Decimal>) -> Value {
    value.map_or(Value::Null, Value::Decimal)
}

/// A number with so many digits behind the point; before it, when negative.
fn rounded(cell: Cell, digits: i64, how: Round) -> Option<Decimal> {
    let value = cell.decimal()?;
    let drop = i64::from(value.scale) - digits;
    if drop <= 0 {
        let scale = u8::try_from(digits.min(38)).ok()?;
        let power = 10_i128.checked_pow(u32::from(scale - value.scale))?;
        return match value.mantissa.checked_mul(power) {
            Some(mantissa) => Some(Decimal { mantissa, scale }),
            None => Some(value),
        };
    }
    let Some(power) = u32::try_from(drop).ok().and_then(|drop| 10_i128.checked_pow(drop)) else {
        return Some(Decimal::from(0));
    };
    let (mut whole, rest) = (value.mantissa / power, value.mantissa % power);
    let away = match how {
        Round::HalfAway => rest.unsigned_abs() * 2 >= power.unsigned_abs(),
        Round::Zero => false,
        Round::Up => rest > 0,
        Round::Down => rest < 0,
    };
    if away {
        whole += if value.mantissa < 0 { -1 } else { 1 };
    }
    if digits < 0 {
        let mantissa = whole.checked_mul(10_i128.checked_pow(digits.unsigned_abs() as u32)?)?;
        return Some(Decimal { mantissa, scale: 0 });
    }
    Some(Decimal { mantissa: whole, scale: digits as u8 })
}
