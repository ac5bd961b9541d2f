//! Instants and intervals.

use gantry_kql::value::{DateTime, Type, Value};
use jiff::tz::TimeZone;

use super::{fallible, wrong};
use crate::calendar::{self, DAY, HOUR, MINUTE, SECOND, Unit};
use crate::column::{Cell, ticks_value};
use crate::error::{Error, Result};
use crate::functions::Implementation::{self, Strict};
use crate::functions::{Call, Family, or_null, text};

pub(super) const FUNCTIONS: Family = &[
    ("sql.date_trunc", fallible!(date_trunc)),
    ("sql.date_trunc_span", fallible!(date_trunc_span)),
    ("sql.date_part", fallible!(date_part)),
    ("sql.date_bin", fallible!(|cells, _| bin(cells[0], cells[1], cells[2].datetime()))),
    // TimescaleDB counts from a Monday.
    (
        "sql.time_bucket",
        fallible!(|cells, _| bin(
            cells[0],
            cells[1],
            cells.get(2).map_or(calendar::at_date(2000, 1, 3), |at| at.datetime())
        )),
    ),
    ("sql.to_timestamp", fallible!(to_timestamp)),
    ("sql.to_char", fallible!(to_char)),
    (
        "sql.age",
        Strict(|cells, _| {
            or_null(cells[0].datetime().zip(cells[1].datetime()), |(a, b)| ticks_value(Type::TimeSpan, a - b))
        }),
    ),
    ("sql.make_date", fallible!(make_date)),
    ("sql.add_months", fallible!(add_months)),
    (
        "sql.time_of_day",
        Strict(|cells, _| or_null(cells[0].datetime(), |ticks| ticks_value(Type::TimeSpan, ticks.rem_euclid(DAY)))),
    ),
    ("sql.to_utc", fallible!(|cells, _| zoned(cells, false))),
    ("sql.from_utc", fallible!(|cells, _| zoned(cells, true))),
];

fn out_of_range() -> Error {
    wrong("22008", "timestamp out of range")
}

fn instant(ticks: Option<i64>) -> Result<Value> {
    ticks.and_then(DateTime::from_ticks).map(Value::DateTime).ok_or_else(out_of_range)
}

fn date_trunc(cells: &[Cell], _: &Call) -> Result<Value> {
    let Some(zone) = cells.get(2) else { return start_of(cells) };
    let local = zoned(&[*zone, cells[1]], true)?;
    let start = start_of(&[cells[0], Cell::from(&local)])?;
    zoned(&[*zone, Cell::from(&start)], false)
}

/// The start of the unit that an instant is in.
fn start_of(cells: &[Cell]) -> Result<Value> {
    let (unit, Some(ticks)) = (cells[0].text().to_lowercase(), cells[1].datetime()) else { return Ok(Value::Null) };
    let whole = |size: i64| Some(ticks.div_euclid(size) * size);
    let year = i64::from(DateTime(ticks).parts().year);
    instant(match unit.as_str() {
        "microsecond" | "microseconds" => whole(10),
        "millisecond" | "milliseconds" => whole(SECOND / 1_000),
        "second" | "seconds" => whole(SECOND),
        "minute" | "minutes" => whole(MINUTE),
        "hour" | "hours" => whole(HOUR),
        "day" | "days" => whole(DAY),
        // Weeks begin on Monday.
        "week" | "weeks" => {
            let monday = (calendar::day_of_week(ticks) + 6) % 7;
            Some((ticks.div_euclid(DAY) - monday) * DAY)
        }
        "month" | "months" => calendar::start_of(Unit::Month, ticks, 0),
        "quarter" => calendar::start_of(Unit::Quarter, ticks, 0),
        "year" | "years" => calendar::start_of(Unit::Year, ticks, 0),
        "decade" => calendar::at_date(year - year % 10, 1, 1),
        "century" => calendar::at_date((year - 1) / 100 * 100 + 1, 1, 1),
        "millennium" => calendar::at_date((year - 1) / 1_000 * 1_000 + 1, 1, 1),
        other => return Err(wrong("22023", format!("unit \"{other}\" not recognized"))),
    })
}

fn date_trunc_span(cells: &[Cell], _: &Call) -> Result<Value> {
    let (unit, Some(ticks)) = (cells[0].text().to_lowercase(), cells[1].timespan()) else { return Ok(Value::Null) };
    let size =
        gantry_sql::text::unit_ticks(&unit).ok_or_else(|| wrong("22023", format!("unit \"{unit}\" not recognized")))?;
    Ok(ticks_value(Type::TimeSpan, ticks / size * size))
}

fn date_part(cells: &[Cell], _: &Call) -> Result<Value> {
    let field = cells[0].text().to_lowercase();
    let unknown = || wrong("22023", format!("unit \"{field}\" not recognized"));
    let part = match cells[1] {
        Cell::TimeSpan(ticks) => match field.as_str() {
            "epoch" => ticks as f64 / SECOND as f64,
            "day" | "days" => (ticks / DAY) as f64,
            "hour" | "hours" => (ticks % DAY / HOUR) as f64,
            "minute" | "minutes" => (ticks % HOUR / MINUTE) as f64,
            "second" | "seconds" => (ticks % MINUTE) as f64 / SECOND as f64,
            "millisecond" | "milliseconds" | "msec" => (ticks % MINUTE) as f64 / 10_000.0,
            "microsecond" | "microseconds" | "usec" => ((ticks % MINUTE) / 10) as f64,
            "year" | "years" | "month" | "months" | "quarter" | "decade" | "century" => 0.0,
            _ => return Err(unknown()),
        },
        cell => {
            let Some(ticks) = cell.datetime() else { return Ok(Value::Null) };
            let parts = DateTime(ticks).parts();
            let (year, month) = (i64::from(parts.year), i64::from(parts.month));
            let whole = match field.as_str() {
                "epoch" => return Ok(Value::Real((ticks - calendar::UNIX_EPOCH) as f64 / SECOND as f64)),
                "second" | "seconds" => return Ok(Value::Real((ticks.rem_euclid(MINUTE)) as f64 / SECOND as f64)),
                "millisecond" | "milliseconds" | "msec" => {
                    return Ok(Value::Real(ticks.rem_euclid(MINUTE) as f64 / 10_000.0));
                }
                "microsecond" | "microseconds" | "usec" => ticks.rem_euclid(MINUTE) / 10,
                "minute" | "minutes" => ticks.rem_euclid(HOUR) / MINUTE,
                "hour" | "hours" => ticks.rem_euclid(DAY) / HOUR,
                "day" | "days" => i64::from(parts.day),
                "dow" => calendar::day_of_week(ticks),
                "isodow" => (calendar::day_of_week(ticks) + 6) % 7 + 1,
                "doy" => calendar::day_of_year(ticks),
                "week" | "weeks" => calendar::iso_week(ticks),
                "month" | "months" => month,
                "quarter" => (month - 1) / 3 + 1,
                "year" | "years" => year,
                "isoyear" => {
                    let monday_based = (calendar::day_of_week(ticks) + 6) % 7;
                    i64::from(DateTime(ticks + (3 - monday_based) * DAY).parts().year)
                }
                "decade" => year / 10,
                "century" => (year - 1) / 100 + 1,
                "millennium" | "millenium" => (year - 1) / 1_000 + 1,
                "timezone" | "timezone_hour" | "timezone_minute" => 0,
                _ => return Err(unknown()),
            };
            whole as f64
        }
    };
    Ok(Value::Real(part))
}

fn bin(span: Cell, at: Cell, origin: Option<i64>) -> Result<Value> {
    let (Some(span), Some(at), Some(origin)) = (span.timespan(), at.datetime(), origin) else {
        return Ok(Value::Null);
    };
    if span <= 0 {
        return Err(wrong("22008", "stride must be greater than zero"));
    }
    instant((at - origin).div_euclid(span).checked_mul(span).and_then(|since| since.checked_add(origin)))
}

fn to_timestamp(cells: &[Cell], _: &Call) -> Result<Value> {
    let Some(seconds) = cells[0].real() else { return Ok(Value::Null) };
    if !seconds.is_finite() || seconds.abs() > 1e12 {
        return Err(out_of_range());
    }
    let micros = (seconds * 1e6).round() as i64;
    instant(micros.checked_mul(10).and_then(|ticks| ticks.checked_add(calendar::UNIX_EPOCH)))
}

fn make_date(cells: &[Cell], _: &Call) -> Result<Value> {
    let (Some(year), Some(month), Some(day)) = (cells[0].long(), cells[1].long(), cells[2].long()) else {
        return Ok(Value::Null);
    };
    let ticks = calendar::at_date(year, month, day);
    ticks
        .map(|ticks| Value::DateTime(DateTime(ticks)))
        .ok_or_else(|| wrong("22008", format!("date field value out of range: {year}-{month:02}-{day:02}")))
}

fn add_months(cells: &[Cell], _: &Call) -> Result<Value> {
    let (Some(ticks), Some(months)) = (cells[0].datetime(), cells[1].long()) else { return Ok(Value::Null) };
    instant(calendar::add(Unit::Month, months, ticks))
}

/// An instant as a clock of a zone shows it, and back.
fn zoned(cells: &[Cell], to_local: bool) -> Result<Value> {
    let (name, Some(ticks)) = (cells[0].text(), cells[1].datetime()) else { return Ok(Value::Null) };
    let zone = TimeZone::get(&name).map_err(|_| wrong("22023", format!("time zone \"{name}\" not recognized")))?;
    let since = ticks - calendar::UNIX_EPOCH;
    let Ok(stamp) = jiff::Timestamp::from_second(since.div_euclid(SECOND)) else { return Err(out_of_range()) };
    let seconds = if to_local {
        i64::from(zone.to_offset(stamp).seconds())
    } else {
        let local = TimeZone::UTC.to_datetime(stamp);
        let at = zone.to_ambiguous_timestamp(local).compatible().map_err(|_| out_of_range())?;
        at.as_second() - stamp.as_second()
    };
    instant(ticks.checked_add(seconds * SECOND))
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// An instant by a template.
fn to_char(cells: &[Cell], _: &Call) -> Result<Value> {
    let (Some(ticks), template) = (cells[0].datetime(), cells[1].text()) else { return Ok(Value::Null) };
    let parts = DateTime(ticks).parts();
    let hour = ticks.rem_euclid(DAY) / HOUR;
    let minute = ticks.rem_euclid(HOUR) / MINUTE;
    let second = ticks.rem_euclid(MINUTE) / SECOND;
    let micros = ticks.rem_euclid(SECOND) / 10;
    let month = MONTHS[parts.month as usize - 1];
    let day = DAYS[calendar::day_of_week(ticks) as usize];
    let twelve = if hour % 12 == 0 { 12 } else { hour % 12 };
    let half = if hour < 12 { "AM" } else { "PM" };
    let patterns: [(&str, String); 33] = [
        ("YYYY", format!("{:04}", parts.year)),
        ("YY", format!("{:02}", parts.year % 100)),
        ("IYYY", format!("{:04}", parts.year)),
        ("MONTH", format!("{:<9}", month.to_uppercase())),
        ("Month", format!("{month:<9}")),
        ("month", format!("{:<9}", month.to_lowercase())),
        ("MON", month[..3].to_uppercase()),
        ("Mon", month[..3].to_owned()),
        ("mon", month[..3].to_lowercase()),
        ("MM", format!("{:02}", parts.month)),
        ("MI", format!("{minute:02}")),
        ("MS", format!("{:03}", micros / 1_000)),
        ("DAY", format!("{:<9}", day.to_uppercase())),
        ("Day", format!("{day:<9}")),
        ("day", format!("{:<9}", day.to_lowercase())),
        ("DDD", format!("{:03}", calendar::day_of_year(ticks))),
        ("DD", format!("{:02}", parts.day)),
        ("DY", day[..3].to_uppercase()),
        ("Dy", day[..3].to_owned()),
        ("dy", day[..3].to_lowercase()),
        ("D", (calendar::day_of_week(ticks) + 1).to_string()),
        ("HH24", format!("{hour:02}")),
        ("HH12", format!("{twelve:02}")),
        ("HH", format!("{twelve:02}")),
        ("SS", format!("{second:02}")),
        ("US", format!("{micros:06}")),
        ("AM", half.to_owned()),
        ("PM", half.to_owned()),
        ("am", half.to_lowercase()),
        ("pm", half.to_lowercase()),
        ("Q", ((parts.month - 1) / 3 + 1).to_string()),
        ("IW", format!("{:02}", calendar::iso_week(ticks))),
        ("TZ", "UTC".to_owned()),
    ];
    let mut made = String::new();
    let mut rest: &str = &template;
    while let Some(c) = rest.chars().next() {
        if c == '"' {
            let inner = rest[1..].split('"').next().unwrap_or_default();
            made.push_str(inner);
            rest = rest.get(inner.len() + 2..).unwrap_or_default();
            continue;
        }
        let (fill, from) = match rest.strip_prefix("FM") {
            Some(from) => (false, from),
            None => (true, rest),
        };
        let longest = patterns.iter().filter(|(name, _)| from.starts_with(name)).max_by_key(|(name, _)| name.len());
        match longest {
            Some((name, value)) => {
                made.push_str(if fill { value } else { value.trim_end().trim_start_matches('0') });
                rest = &from[name.len()..];
            }
            None => {
                made.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    Ok(text(made))
}
