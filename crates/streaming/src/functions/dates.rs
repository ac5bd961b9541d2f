//! Functions of instants. A text where an instant is expected is read as one.

use super::{Function, function, kind, whole};
use crate::expr::{DatePart, Evaluated};
use crate::time::{self, HOUR, MILLISECOND, MINUTE, SECOND, Ticks, Unit};
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[function("datetimefromparts", 3, 7, |args| {
    let mut parts = [0i64; 7];
    for (part, arg) in parts.iter_mut().zip(args) {
        match whole(arg)? {
            Some(number) => *part = number,
            None => return Ok(Value::Null),
        }
    }
    let [year, month, day, hour, minute, second, millisecond] = parts;
    let clock = (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..60).contains(&second)
        && (0..1000).contains(&millisecond);
    let rest = hour.wrapping_mul(HOUR);
    let of_day = clock.then(|| rest + minute * MINUTE + second * SECOND + millisecond * MILLISECOND);
    of_day
        .and_then(|of_day| time::instant(year, month, day, of_day))
        .map(Value::Datetime)
        .ok_or_else(|| "there is no such date".to_owned())
})];

/// An instant; nothing when it is null.
pub(crate) fn instant(arg: &Value) -> Result<Option<Ticks>, String> {
    match arg {
        Value::Null => Ok(None),
        Value::Datetime(ticks) => Ok(Some(*ticks)),
        Value::Text(text) => match time::parse(text) {
            Some(ticks) => Ok(Some(ticks)),
            None => {
                let shown: String = text.chars().take(64).collect();
                Err(format!("'{shown}' is no datetime"))
            }
        },
        other => Err(format!("a {} is no datetime", kind(other))),
    }
}

/// What is done with a unit.
pub(crate) fn run(part: DatePart, unit: Unit, args: &[Value]) -> Evaluated {
    let last = match args.last() {
        Some(last) => instant(last)?,
        None => None,
    };
    let Some(last) = last else {
        return Ok(Value::Null);
    };
    Ok(match part {
        DatePart::Add => match whole(&args[0])? {
            None => Value::Null,
            Some(count) => Value::Datetime(time::add(unit, count, last).ok_or("a datetime past the years 1 to 9999")?),
        },
        DatePart::Difference => match instant(&args[0])? {
            None => Value::Null,
            Some(first) => Value::Bigint(time::difference(unit, first, last).ok_or("a bigint overflows")?),
        },
        DatePart::Number => Value::Bigint(time::part(unit, last)),
        DatePart::Name => Value::Text(time::part_name(unit, last).into()),
    })
}
