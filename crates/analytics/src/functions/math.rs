//! Mathematics.

use std::f64::consts;

use gantry_kql::value::{Decimal, Type, Value};

use super::Implementation::{Columns, Lax, Random, Strict};
use super::{Call, Family, or_null};
use crate::column::{Cell, Column, Data, ticks_value};
use crate::error::Result;
use crate::expression::{Datum, rowwise};

macro_rules! real {
    ($f:expr) => {
        Strict(|cells, _| or_null(cells[0].real(), |x: f64| Value::Real($f(x))))
    };
}

pub(super) const FUNCTIONS: Family = &[
    ("abs", Strict(abs)),
    ("sign", Strict(|cells, _| or_null(cells[0].real(), |x| Value::Long(i64::from(x > 0.0) - i64::from(x < 0.0))))),
    ("bin", Columns(bin)),
    ("floor", Columns(bin)),
    ("bin_at", Strict(bin_at)),
    ("bin_auto", Strict(bin_auto)),
    ("ceiling", Strict(ceiling)),
    ("round", Strict(round)),
    ("sqrt", real!(f64::sqrt)),
    ("exp", real!(f64::exp)),
    ("exp2", real!(f64::exp2)),
    ("exp10", real!(|x: f64| 10_f64.powf(x))),
    ("log", real!(f64::ln)),
    ("log2", real!(f64::log2)),
    ("log10", real!(f64::log10)),
    ("sin", real!(f64::sin)),
    ("cos", real!(f64::cos)),
    ("tan", real!(f64::tan)),
    ("cot", real!(|x: f64| x.tan().recip())),
    ("asin", real!(f64::asin)),
    ("acos", real!(f64::acos)),
    ("atan", real!(f64::atan)),
    ("atan2", Strict(|cells, _| or_null(cells[0].real().zip(cells[1].real()), |(y, x)| Value::Real(y.atan2(x))))),
    ("degrees", real!(f64::to_degrees)),
    ("radians", real!(f64::to_radians)),
    ("pow", Strict(|cells, _| or_null(cells[0].real().zip(cells[1].real()), |(x, y)| Value::Real(x.powf(y))))),
    ("pi", Lax(|_, _| Value::Real(consts::PI))),
    ("gamma", real!(libm::tgamma)),
    ("loggamma", real!(libm::lgamma)),
    ("erf", real!(libm::erf)),
    ("erfc", real!(libm::erfc)),
    ("beta_cdf", Strict(|cells, _| beta(cells, beta_cdf))),
    ("beta_pdf", Strict(|cells, _| beta(cells, beta_pdf))),
    ("beta_inv", Strict(|cells, _| beta(cells, beta_inv))),
    ("isnan", Strict(|cells, _| Value::Bool(cells[0].real().is_some_and(f64::is_nan)))),
    ("isinf", Strict(|cells, _| Value::Bool(cells[0].real().is_some_and(f64::is_infinite)))),
    ("isfinite", Strict(|cells, _| Value::Bool(cells[0].real().is_some_and(f64::is_finite)))),
    ("rand", Random(rand)),
    ("new_guid", Random(new_guid)),
    ("around", Strict(around)),
    ("welch_test", Strict(welch_test)),
];

fn abs(cells: &[Cell], call: &Call) -> Value {
    match cells[0] {
        Cell::TimeSpan(ticks) => ticks_value(Type::TimeSpan, ticks.wrapping_abs()),
        Cell::Decimal(value) => Value::Decimal(Decimal { mantissa: value.mantissa.wrapping_abs(), ..value }),
        Cell::Real(value) => Value::Real(value.abs()),
        cell if call.ty == Type::Real => or_null(cell.real(), |x| Value::Real(x.abs())),
        cell => or_null(cell.long(), |x| Value::Long(x.wrapping_abs())),
    }
}

fn ceiling(cells: &[Cell], call: &Call) -> Value {
    match cells[0] {
        cell @ (Cell::Int(_) | Cell::Long(_)) if call.ty != Type::Real => cell.to_value(),
        Cell::TimeSpan(ticks) => ticks_value(Type::TimeSpan, ticks),
        cell => or_null(cell.real(), |x| Value::Real(x.ceil())),
    }
}

/// Half is rounded away from zero. A negative precision rounds before the point.
fn round(cells: &[Cell], call: &Call) -> Value {
    let digits = cells.get(1).and_then(|cell| cell.long()).unwrap_or(0).clamp(-300, 300) as i32;
    let rounded = cells[0].real().map(|x| {
        let power = 10_f64.powi(digits.abs());
        let (up, down) = if digits >= 0 { (power, 1.0 / power) } else { (1.0 / power, power) };
        let scaled = x * up;
        if !scaled.is_finite() {
            return x;
        }
        // The nearest short decimal: 2.675 · 100 is 267.49999…, which its writer did not mean.
        let half = (scaled.abs() + 0.5).floor();
        let nudged =
            if (scaled.abs() + 0.5 - half - 1.0).abs() < 1e-9 * scaled.abs().max(1.0) { half + 1.0 } else { half };
        let back = nudged.copysign(x);
        if digits >= 0 { back / power } else { back * down }
    });
    match call.ty {
        Type::Long | Type::Int => or_null(rounded, |x| Value::Long(x as i64)),
        _ => or_null(rounded, Value::Real),
    }
}

/// `bin(value, size)`: the multiple of the size at or below the value. Null for a size that is not positive.
fn bin(arguments: &[Datum], rows: usize, call: &Call) -> Result<Datum> {
    if let (Datum::Many(column), Some(Datum::One(size))) = (&arguments[0], arguments.get(1))
        && let (Data::Long(values), Some(size)) = (column.data(), Cell::from(size).long())
    {
        let ticks = column.ty() == call.ty && matches!(call.ty, Type::DateTime | Type::TimeSpan | Type::Long);
        if ticks && size > 0 && !matches!(arguments[1], Datum::One(Value::Real(_))) {
            let floored = values.iter().map(|value| value.wrapping_sub(value.rem_euclid(size))).collect();
            let column = Column::new(call.ty, Data::Long(floored), column.nulls().map(<[bool]>::to_vec));
            return Ok(Datum::Many(std::sync::Arc::new(column)));
        }
    }
    Ok(rowwise(arguments, call.ty, rows, |cells| {
        bin_one(cells[0], cells.get(1).copied().unwrap_or(Cell::Long(1)), call.ty)
    }))
}

/// One value of `bin`.
pub fn bin_one(value: Cell, size: Cell, ty: Type) -> Value {
    match ty {
        Type::DateTime | Type::TimeSpan => {
            let (Cell::DateTime(ticks) | Cell::TimeSpan(ticks)) = value else { return Value::Null };
            let size = match size {
                Cell::TimeSpan(size) => size,
                other => other.long().unwrap_or(0),
            };
            if size <= 0 { Value::Null } else { ticks_value(ty, ticks.wrapping_sub(ticks.rem_euclid(size))) }
        }
        Type::Real => match (value.real(), size.real()) {
            (Some(value), Some(size)) if size > 0.0 => Value::Real((value / size).floor() * size),
            _ => Value::Null,
        },
        Type::Decimal => match (value.decimal(), size.decimal()) {
            (Some(value), Some(size)) if size.mantissa > 0 => {
                let rest = crate::expression::arithmetic_one(
                    gantry_kql::bound::Binary::Modulo,
                    Cell::Decimal(value),
                    Cell::Decimal(size),
                    Type::Decimal,
                );
                crate::expression::arithmetic_one(
                    gantry_kql::bound::Binary::Subtract,
                    Cell::Decimal(value),
                    Cell::from(&rest),
                    Type::Decimal,
                )
            }
            _ => Value::Null,
        },
        _ => match (value.long(), size.long()) {
            (Some(value), Some(size)) if size > 0 => {
                let floored = value.wrapping_sub(value.rem_euclid(size));
                if ty == Type::Int { Value::Int(floored as i32) } else { Value::Long(floored) }
            }
            _ => Value::Null,
        },
    }
}

/// `bin_at(value, size, fixed)`: bins of which one begins at a fixed point.
fn bin_at(cells: &[Cell], call: &Call) -> Value {
    bin_at_one(cells[0], cells[1], cells[2], call.ty)
}

/// Bins of the size and alignment that `set query_bin_auto_size` and `query_bin_auto_at` say.
fn bin_auto(cells: &[Cell], call: &Call) -> Value {
    let option = |name: &str| call.context.option(name).cloned();
    let Some(size) = option("query_bin_auto_size") else { return Value::Null };
    match option("query_bin_auto_at") {
        Some(at) => bin_at_one(cells[0], Cell::from(&size), Cell::from(&at), call.ty),
        None => bin_one(cells[0], Cell::from(&size), call.ty),
    }
}

/// One value of `bin_at`.
pub fn bin_at_one(value: Cell, size: Cell, fixed: Cell, ty: Type) -> Value {
    let ticks = |cell: Cell| match cell {
        Cell::DateTime(ticks) | Cell::TimeSpan(ticks) | Cell::Long(ticks) => Some(ticks),
        Cell::Int(value) => Some(i64::from(value)),
        _ => None,
    };
    match ty {
        Type::Real => match (value.real(), size.real(), fixed.real()) {
            (Some(value), Some(size), Some(fixed)) if size > 0.0 => {
                Value::Real(((value - fixed) / size).floor() * size + fixed)
            }
            _ => Value::Null,
        },
        _ => match (ticks(value), ticks(size), ticks(fixed)) {
            (Some(value), Some(size), Some(fixed)) if size > 0 => {
                let floored = value.checked_sub(fixed).map(|off| value.wrapping_sub(off.rem_euclid(size)));
                or_null(floored, |floored| ticks_value(ty, floored))
            }
            _ => Value::Null,
        },
    }
}

/// Whether a value is within a distance of a centre.
fn around(cells: &[Cell], _: &Call) -> Value {
    let near = match (cells[0], cells[1], cells[2]) {
        (Cell::DateTime(a), Cell::DateTime(b), Cell::TimeSpan(d)) => Some(a.abs_diff(b) <= d.unsigned_abs()),
        (Cell::TimeSpan(a), Cell::TimeSpan(b), Cell::TimeSpan(d)) => Some(a.abs_diff(b) <= d.unsigned_abs()),
        (a, b, d) => match (a.real(), b.real(), d.real()) {
            (Some(a), Some(b), Some(d)) => Some((a - b).abs() <= d),
            _ => None,
        },
    };
    or_null(near, Value::Bool)
}

fn rand(cells: &[Cell], call: &Call) -> Value {
    let unit = (call.context.random() >> 11) as f64 / (1_u64 << 53) as f64;
    match cells.first().and_then(|cell| cell.long()) {
        Some(below) if below > 1 => Value::Real((unit * below as f64).floor()),
        _ => Value::Real(unit),
    }
}

fn new_guid(_: &[Cell], call: &Call) -> Value {
    let bits = (u128::from(call.context.random()) << 64) | u128::from(call.context.random());
    let version_4 = bits & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    crate::column::guid_value(version_4)
}

fn beta(cells: &[Cell], f: fn(f64, f64, f64) -> Option<f64>) -> Value {
    let [Some(x), Some(a), Some(b)] = [cells[0].real(), cells[1].real(), cells[2].real()] else { return Value::Null };
    if a <= 0.0 || b <= 0.0 {
        return Value::Real(f64::NAN);
    }
    or_null(f(x, a, b), Value::Real)
}

fn beta_cdf(x: f64, a: f64, b: f64) -> Option<f64> {
    if x <= 0.0 {
        return Some(0.0);
    }
    if x >= 1.0 {
        return Some(1.0);
    }
    let front = (libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp();
    // The continued fraction converges fast below the mean; above it the other tail is worked out.
    Some(if x < (a + 1.0) / (a + b + 2.0) {
        front * beta_fraction(x, a, b) / a
    } else {
        1.0 - front * beta_fraction(1.0 - x, b, a) / b
    })
}

/// The continued fraction of the incomplete beta function (Lentz's method; DLMF 8.17.22).
fn beta_fraction(x: f64, a: f64, b: f64) -> f64 {
    let tiny = 1e-300;
    let guard = |value: f64| if value.abs() < tiny { tiny } else { value };
    let (mut c, mut d) = (1.0, guard(1.0 - (a + b) * x / (a + 1.0)).recip());
    let mut h = d;
    for m in 1..300 {
        let m = f64::from(m);
        for factor in [
            m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0)),
        ] {
            d = guard(1.0 + factor * d).recip();
            c = guard(1.0 + factor / c);
            h *= c * d;
        }
        if (c * d - 1.0).abs() < 1e-15 {
            break;
        }
    }
    h
}

fn beta_pdf(x: f64, a: f64, b: f64) -> Option<f64> {
    if !(0.0..=1.0).contains(&x) {
        return Some(0.0);
    }
    let log = libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b) + (a - 1.0) * x.ln() + (b - 1.0) * (1.0 - x).ln();
    Some(log.exp())
}

fn beta_inv(p: f64, a: f64, b: f64) -> Option<f64> {
    if !(0.0..=1.0).contains(&p) {
        return None;
    }
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..100 {
        let middle = (low + high) / 2.0;
        if beta_cdf(middle, a, b)? < p { low = middle } else { high = middle }
    }
    Some((low + high) / 2.0)
}

/// Welch's t-test of two samples by mean, variance and count: the two-sided probability.
fn welch_test(cells: &[Cell], _: &Call) -> Value {
    let numbers: Option<Vec<f64>> = cells.iter().map(|cell| cell.real()).collect();
    let Some([mean_a, var_a, n_a, mean_b, var_b, n_b]) = numbers.and_then(|n| <[f64; 6]>::try_from(n).ok()) else {
        return Value::Null;
    };
    let (se_a, se_b) = (var_a / n_a, var_b / n_b);
    let t = (mean_a - mean_b) / (se_a + se_b).sqrt();
    let degrees = (se_a + se_b).powi(2) / (se_a * se_a / (n_a - 1.0) + se_b * se_b / (n_b - 1.0));
    or_null(beta_cdf(degrees / (degrees + t * t), degrees / 2.0, 0.5).filter(|p| p.is_finite()), Value::Real)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_go_down_and_refuse_sizes_that_are_not_positive() {
        assert_eq!(bin_one(Cell::Real(4.5), Cell::Real(1.0), Type::Real), Value::Real(4.0));
        assert_eq!(bin_one(Cell::Long(-7), Cell::Long(5), Type::Long), Value::Long(-10));
        assert_eq!(bin_one(Cell::Long(7), Cell::Long(0), Type::Long), Value::Null);
        // Below the lowest there is nothing: the bits wrap around, as those of the reference do.
        let wrapped = i64::MIN.wrapping_sub(i64::MIN.rem_euclid(7));
        assert_eq!(bin_one(Cell::Long(i64::MIN), Cell::Long(7), Type::Long), Value::Long(wrapped));
        assert_eq!(bin_at_one(Cell::Real(6.5), Cell::Real(2.5), Cell::Real(7.0), Type::Real), Value::Real(4.5));
    }

    #[test]
    fn the_beta_distribution_and_its_inverse_agree() {
        for p in [0.01, 0.25, 0.5, 0.9] {
            let x = beta_inv(p, 10.0, 20.0).unwrap();
            assert!((beta_cdf(x, 10.0, 20.0).unwrap() - p).abs() < 1e-12);
        }
        assert!((beta_cdf(0.5, 2.0, 3.0).unwrap() - 0.6875).abs() < 1e-12);
    }
}
