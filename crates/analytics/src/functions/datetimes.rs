//! Datetimes and timespans.

use gantry_kql::value::{DateTime, Dynamic, Type, Value};
use jiff::tz::TimeZone;

use super::Implementation::{Lax, Strict};
use super::{Call, Family, or_null, text};
use crate::calendar::{self, DAY, HOUR, MINUTE, SECOND, Unit};
use crate::column::{Cell, ticks_value};

pub(super) const FUNCTIONS: Family = &[
    ("now", Lax(|cells, call| instant(call.context.now.checked_add(offset(cells))))),
    ("ago", Strict(|cells, call| instant(cells[0].timespan().and_then(|span| call.context.now.checked_sub(span))))),
    ("startofday", Strict(|cells, _| start_of(cells, Unit::Day))),
    ("startofweek", Strict(|cells, _| start_of(cells, Unit::Week))),
    ("startofmonth", Strict(|cells, _| start_of(cells, Unit::Month))),
    ("startofyear", Strict(|cells, _| start_of(cells, Unit::Year))),
    ("endofday", Strict(|cells, _| end_of(cells, Unit::Day))),
    ("endofweek", Strict(|cells, _| end_of(cells, Unit::Week))),
    ("endofmonth", Strict(|cells, _| end_of(cells, Unit::Month))),
    ("endofyear", Strict(|cells, _| end_of(cells, Unit::Year))),
    ("dayofweek", Strict(|cells, _| part(cells, |t| calendar::day_of_week(t) * DAY, Type::TimeSpan))),
    ("dayofmonth", Strict(|cells, _| int(cells, |t| i64::from(DateTime(t).parts().day)))),
    ("dayofyear", Strict(|cells, _| int(cells, calendar::day_of_year))),
    ("hourofday", Strict(|cells, _| int(cells, |t| t.rem_euclid(DAY) / HOUR))),
    ("week_of_year", Strict(|cells, _| int(cells, calendar::iso_week))),
    ("monthofyear", Strict(|cells, _| int(cells, |t| i64::from(DateTime(t).parts().month)))),
    ("getmonth", Strict(|cells, _| int(cells, |t| i64::from(DateTime(t).parts().month)))),
    ("getyear", Strict(|cells, _| int(cells, |t| i64::from(DateTime(t).parts().year)))),
    ("datetime_part", Strict(datetime_part)),
    ("datetime_add", Strict(datetime_add)),
    ("datetime_diff", Strict(datetime_diff)),
    ("make_datetime", Strict(make_datetime)),
    ("make_timespan", Strict(make_timespan)),
    ("format_datetime", Strict(|cells, _| format(cells, calendar::format_datetime))),
    ("format_timespan", Strict(|cells, _| format(cells, calendar::format_timespan))),
    ("unixtime_seconds_todatetime", Strict(|cells, _| unixtime(cells, SECOND as f64))),
    ("unixtime_milliseconds_todatetime", Strict(|cells, _| unixtime(cells, 10_000.0))),
    ("unixtime_microseconds_todatetime", Strict(|cells, _| unixtime(cells, 10.0))),
    ("unixtime_nanoseconds_todatetime", Strict(|cells, _| unixtime(cells, 0.01))),
    ("datetime_utc_to_local", Strict(|cells, _| zoned(cells, true))),
    ("datetime_local_to_utc", Strict(|cells, _| zoned(cells, false))),
    ("datetime_list_timezones", Lax(|_, _| zones())),
];

fn instant(ticks: Option<i64>) -> Value {
    or_null(ticks.and_then(DateTime::from_ticks), Value::DateTime)
}

fn offset(cells: &[Cell]) -> i64 {
    cells.first().and_then(|cell| cell.timespan()).unwrap_or(0)
}

fn moved(cells: &[Cell]) -> i64 {
    cells.get(1).and_then(|cell| cell.long()).unwrap_or(0)
}

fn start_of(cells: &[Cell], unit: Unit) -> Value {
    instant(cells[0].datetime().and_then(|ticks| calendar::start_of(unit, ticks, moved(cells))))
}

fn end_of(cells: &[Cell], unit: Unit) -> Value {
    instant(cells[0].datetime().and_then(|ticks| calendar::end_of(unit, ticks, moved(cells))))
}

fn part(cells: &[Cell], f: impl Fn(i64) -> i64, ty: Type) -> Value {
    or_null(cells[0].datetime(), |ticks| ticks_value(ty, f(ticks)))
}

fn int(cells: &[Cell], f: impl Fn(i64) -> i64) -> Value {
    or_null(cells[0].datetime(), |ticks| Value::Int(f(ticks) as i32))
}

fn datetime_part(cells: &[Cell], _: &Call) -> Value {
    let Some(ticks) = cells[1].datetime() else { return Value::Null };
    let (parts, of_day) = (DateTime(ticks).parts(), ticks.rem_euclid(DAY));
    let found = match cells[0].text().to_ascii_lowercase().as_str() {
        "year" => i64::from(parts.year),
        "quarter" => i64::from(parts.month + 2) / 3,
        "month" => i64::from(parts.month),
        "week_of_year" | "weekofyear" => calendar::iso_week(ticks),
        "day" => i64::from(parts.day),
        "dayofyear" => calendar::day_of_year(ticks),
        "hour" => of_day / HOUR,
        "minute" => of_day / MINUTE % 60,
        "second" => of_day / SECOND % 60,
        "millisecond" => of_day / 10_000 % 1_000,
        "microsecond" => of_day / 10 % 1_000_000,
        "nanosecond" => of_day % SECOND * 100,
        _ => return Value::Null,
    };
    Value::Long(found)
}

fn datetime_add(cells: &[Cell], _: &Call) -> Value {
    let unit = Unit::parse(&cells[0].text());
    let added = unit.zip(cells[1].long()).zip(cells[2].datetime());
    instant(added.and_then(|((unit, amount), ticks)| calendar::add(unit, amount, ticks)))
}

fn datetime_diff(cells: &[Cell], _: &Call) -> Value {
    let between = Unit::parse(&cells[0].text()).zip(cells[1].datetime()).zip(cells[2].datetime());
    or_null(between, |((unit, left), right)| Value::Long(calendar::diff(unit, left, right)))
}

/// Year, month, day and optionally hour, minute and second with a fraction.
fn make_datetime(cells: &[Cell], _: &Call) -> Value {
    if let [only] = cells {
        return instant(only.datetime());
    }
    let whole = |at: usize| match cells.get(at) {
        Some(cell) => cell.long(),
        None => Some(0),
    };
    let date = whole(0).zip(whole(1)).zip(whole(2));
    let date = date.and_then(|((year, month), day)| calendar::at_date(year, month, day));
    let seconds = cells.get(5).map_or(Some(0.0), |cell| cell.real());
    let clock = whole(3).zip(whole(4)).zip(seconds).filter(|((hour, minute), second)| {
        (0..24).contains(hour) && (0..60).contains(minute) && (0.0..60.0).contains(second)
    });
    let clock =
        clock.map(|((hour, minute), second)| hour * HOUR + minute * MINUTE + (second * SECOND as f64).round() as i64);
    instant(date.zip(clock).map(|(date, clock)| date + clock))
}

/// `[days,] hours, minutes [, seconds]`.
fn make_timespan(cells: &[Cell], _: &Call) -> Value {
    let parts: Option<Vec<f64>> = cells.iter().map(|cell| cell.real()).collect();
    let (days, hours, minutes, seconds) = match parts.as_deref() {
        Some([hours, minutes]) => (0.0, *hours, *minutes, 0.0),
        Some([hours, minutes, seconds]) => (0.0, *hours, *minutes, *seconds),
        Some([days, hours, minutes, seconds]) => (*days, *hours, *minutes, *seconds),
        _ => return Value::Null,
    };
    let fits = (0.0..10_675_199.0).contains(&days)
        && (0.0..24.0).contains(&hours)
        && (0.0..60.0).contains(&minutes)
        && (0.0..60.0).contains(&seconds);
    if !fits {
        return Value::Null;
    }
    let whole = days.trunc() as i64 * DAY + hours.trunc() as i64 * HOUR + minutes.trunc() as i64 * MINUTE;
    ticks_value(Type::TimeSpan, whole + (seconds * SECOND as f64).round() as i64)
}

fn format(cells: &[Cell], f: fn(i64, &str) -> Option<String>) -> Value {
    let (Cell::DateTime(ticks) | Cell::TimeSpan(ticks)) = cells[0] else { return text("") };
    text(f(ticks, &cells[1].text()).unwrap_or_default())
}

fn unixtime(cells: &[Cell], ticks: f64) -> Value {
    let since = match cells[0] {
        Cell::Int(_) | Cell::Long(_) if ticks >= 1.0 => {
            cells[0].long().and_then(|count| count.checked_mul(ticks as i64))
        }
        Cell::Int(_) | Cell::Long(_) => cells[0].long().map(|count| count.div_euclid((1.0 / ticks).round() as i64)),
        cell => {
            cell.real().map(|count| count * ticks).filter(|since| since.abs() < 9e18).map(|since| since.round() as i64)
        }
    };
    instant(since.and_then(|since| since.checked_add(calendar::UNIX_EPOCH)))
}

/// From UTC to the clock of a zone, or back. A local time that is skipped is taken as later, one that is twice as the first.
fn zoned(cells: &[Cell], to_local: bool) -> Value {
    let (Some(ticks), name) = (cells[0].datetime(), cells[1].text()) else { return Value::Null };
    let Ok(zone) = TimeZone::get(&name) else { return Value::Null };
    let since = ticks - calendar::UNIX_EPOCH;
    let Ok(stamp) = jiff::Timestamp::from_second(since.div_euclid(SECOND)) else { return Value::Null };
    let seconds = if to_local {
        i64::from(zone.to_offset(stamp).seconds())
    } else {
        let local = TimeZone::UTC.to_datetime(stamp);
        let Ok(at) = zone.to_ambiguous_timestamp(local).compatible() else { return Value::Null };
        at.as_second() - stamp.as_second()
    };
    instant(ticks.checked_add(seconds * SECOND))
}

fn zones() -> Value {
    let names = jiff::tz::db().available().map(|name| Dynamic::String(name.to_string())).collect();
    Value::Dynamic(Dynamic::Array(names))
}
