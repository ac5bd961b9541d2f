//! Functions of numbers.

use super::{Function, function, kind, whole};
use crate::expr::Evaluated;
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    function("abs", 1, 1, |args| match &args[0] {
        Value::Bigint(number) => number.checked_abs().map(Value::Bigint).ok_or_else(|| "a bigint overflows".to_owned()),
        other => float(other, f64::abs),
    }),
    function("ceiling", 1, 1, |args| same(&args[0], f64::ceil)),
    function("floor", 1, 1, |args| same(&args[0], f64::floor)),
    function("exp", 1, 1, |args| float(&args[0], libm::exp)),
    function("log", 1, 1, |args| float(&args[0], libm::log)),
    function("log10", 1, 1, |args| float(&args[0], libm::log10)),
    function("sqrt", 1, 1, |args| float(&args[0], f64::sqrt)),
    function("sin", 1, 1, |args| float(&args[0], libm::sin)),
    function("cos", 1, 1, |args| float(&args[0], libm::cos)),
    function("tan", 1, 1, |args| float(&args[0], libm::tan)),
    function("square", 1, 1, |args| float(&args[0], |number| number * number)),
    function("sign", 1, 1, |args| match &args[0] {
        Value::Bigint(number) => Ok(Value::Bigint(number.signum())),
        other => float(other, |number| {
            if number > 0.0 {
                1.0
            } else if number < 0.0 {
                -1.0
            } else {
                0.0
            }
        }),
    }),
    function("power", 2, 2, |args| {
        let Some(exponent) = number(&args[1])? else {
            return Ok(Value::Null);
        };
        float(&args[0], |base| libm::pow(base, exponent))
    }),
    function("round", 1, 3, |args| {
        let digits = match args.get(1) {
            Some(digits) => match whole(digits)? {
                Some(digits) => digits.clamp(-18, 18),
                None => return Ok(Value::Null),
            },
            None => 0,
        };
        let cut = match args.get(2) {
            Some(cut) => whole(cut)?.unwrap_or(0) != 0,
            None => false,
        };
        if let (Value::Bigint(_), true) = (&args[0], digits >= 0) {
            return Ok(args[0].clone());
        }
        let scale = libm::pow(10.0, digits.abs() as f64);
        same(&args[0], |number| {
            let scaled = if digits < 0 { number / scale } else { number * scale };
            let rounded = if cut { scaled.trunc() } else { scaled.round() };
            if !scaled.is_finite() {
                number
            } else if digits < 0 {
                rounded * scale
            } else {
                rounded / scale
            }
        })
    }),
];

fn number(arg: &Value) -> Result<Option<f64>, String> {
    match arg {
        Value::Null => Ok(None),
        other => match other.number() {
            Some(number) => Ok(Some(number)),
            None => Err(format!("a {} is no number", kind(other))),
        },
    }
}

/// A function whose result is a float.
fn float(arg: &Value, change: impl Fn(f64) -> f64) -> Evaluated {
    let Some(argument) = number(arg)? else {
        return Ok(Value::Null);
    };
    let result = change(argument);
    if result.is_finite() { Ok(Value::Float(result)) } else { Err(format!("no result for {argument}")) }
}

/// A function whose result has the type of its argument.
fn same(arg: &Value, change: impl Fn(f64) -> f64) -> Evaluated {
    match (arg, float(arg, change)?) {
        (Value::Bigint(_), Value::Float(result)) => Ok(Value::Bigint(result as i64)),
        (_, result) => Ok(result),
    }
}
