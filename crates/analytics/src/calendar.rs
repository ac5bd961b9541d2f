//! The calendar over ticks: 100-nanosecond steps since 0001-01-01, always UTC.
//!
//! Everything here takes and gives ticks and answers `None` where the result leaves the calendar (years 1 to 9999).

use gantry_kql::value::{DateTime, Parts};

/// Ticks of a second.
pub const SECOND: i64 = 10_000_000;
/// Ticks of a minute.
pub const MINUTE: i64 = 60 * SECOND;
/// Ticks of an hour.
pub const HOUR: i64 = 60 * MINUTE;
/// Ticks of a day.
pub const DAY: i64 = 24 * HOUR;
/// First tick after 9999-12-31.
pub const END: i64 = 3_652_059 * DAY;
/// 1970-01-01.
pub const UNIX_EPOCH: i64 = 719_162 * DAY;

/// Units of differences and additions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words of the calendar")]
pub enum Unit {
    Year,
    Quarter,
    Month,
    Week,
    Day,
    Hour,
    Minute,
    Second,
    Millisecond,
    Microsecond,
    Nanosecond,
}

impl Unit {
    /// Reads a unit as the reference spells it, one or many, in any case.
    pub fn parse(text: &str) -> Option<Unit> {
        let text = text.to_ascii_lowercase();
        Some(match text.strip_suffix('s').filter(|one| !one.is_empty()).unwrap_or(&text) {
            "year" => Unit::Year,
            "quarter" => Unit::Quarter,
            "month" => Unit::Month,
            "week" => Unit::Week,
            "day" => Unit::Day,
            "hour" => Unit::Hour,
            "minute" => Unit::Minute,
            "second" => Unit::Second,
            "millisecond" => Unit::Millisecond,
            "microsecond" => Unit::Microsecond,
            "nanosecond" => Unit::Nanosecond,
            _ => return None,
        })
    }

    /// Ticks of a unit of one length; none of months, nanoseconds are none either.
    fn ticks(self) -> Option<i64> {
        Some(match self {
            Unit::Week => 7 * DAY,
            Unit::Day => DAY,
            Unit::Hour => HOUR,
            Unit::Minute => MINUTE,
            Unit::Second => SECOND,
            Unit::Millisecond => SECOND / 1_000,
            Unit::Microsecond => 10,
            Unit::Year | Unit::Quarter | Unit::Month | Unit::Nanosecond => return None,
        })
    }

    fn months(self) -> Option<i64> {
        Some(match self {
            Unit::Year => 12,
            Unit::Quarter => 3,
            Unit::Month => 1,
            _ => return None,
        })
    }
}

/// First tick of a date; nothing for a date that is none.
pub fn at_date(year: i64, month: i64, day: i64) -> Option<i64> {
    let date = DateTime::from_date(year.try_into().ok()?, month.try_into().ok()?, day.try_into().ok()?)?;
    Some(date.0)
}

/// Days of a month.
pub fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Day of the year, from 1.
pub fn day_of_year(ticks: i64) -> i64 {
    let Parts { year, .. } = DateTime(ticks).parts();
    (ticks - at_date(i64::from(year), 1, 1).unwrap_or(0)).div_euclid(DAY) + 1
}

/// Day of the week, 0 for Sunday.
pub fn day_of_week(ticks: i64) -> i64 {
    (ticks.div_euclid(DAY) + 1).rem_euclid(7)
}

/// Week of the year by ISO 8601.
pub fn iso_week(ticks: i64) -> i64 {
    // The week belongs to the year of its Thursday.
    let monday_based = (day_of_week(ticks) + 6) % 7;
    let thursday = ticks.div_euclid(DAY) * DAY + (3 - monday_based) * DAY;
    (day_of_year(thursday) - 1) / 7 + 1
}

/// Beginning of the unit that a tick lies in, moved by whole units.
pub fn start_of(unit: Unit, ticks: i64, offset: i64) -> Option<i64> {
    let Parts { year, month, .. } = DateTime(ticks).parts();
    let (year, month) = (i64::from(year), i64::from(month));
    let start = match unit {
        Unit::Year => at_date(year.checked_add(offset)?, 1, 1)?,
        Unit::Quarter | Unit::Month => {
            let months = unit.months()?;
            let first = (year * 12 + month - 1).div_euclid(months).checked_add(offset)?.checked_mul(months)?;
            at_date(first.div_euclid(12), first.rem_euclid(12) + 1, 1)?
        }
        Unit::Week => {
            let sunday = (ticks.div_euclid(DAY) - day_of_week(ticks)) * DAY;
            sunday.checked_add(offset.checked_mul(7 * DAY)?)?
        }
        unit => {
            let size = unit.ticks()?;
            (ticks.div_euclid(size) * size).checked_add(offset.checked_mul(size)?)?
        }
    };
    (0..END).contains(&start).then_some(start)
}

/// Last tick of the unit that a tick lies in, moved by whole units.
pub fn end_of(unit: Unit, ticks: i64, offset: i64) -> Option<i64> {
    match start_of(unit, ticks, offset.checked_add(1)?) {
        Some(next) => Some(next - 1),
        // The last year, month or day of the calendar ends with it.
        None => start_of(unit, ticks, offset).map(|_| END - 1),
    }
}

/// Adds units; a day that the month does not have becomes its last.
pub fn add(unit: Unit, amount: i64, ticks: i64) -> Option<i64> {
    let sum = if let Some(months) = unit.months() {
        let Parts { year, month, day, .. } = DateTime(ticks).parts();
        let whole = (i64::from(year) * 12 + i64::from(month) - 1).checked_add(amount.checked_mul(months)?)?;
        let (year, month) = (whole.div_euclid(12), whole.rem_euclid(12) + 1);
        if !(1..=9_999).contains(&year) {
            return None;
        }
        at_date(year, month, i64::from(day).min(days_of_month(year, month)))? + ticks.rem_euclid(DAY)
    } else if unit == Unit::Nanosecond {
        ticks.checked_add(amount / 100)?
    } else {
        ticks.checked_add(amount.checked_mul(unit.ticks()?)?)?
    };
    (0..END).contains(&sum).then_some(sum)
}

/// Boundaries of a unit between two ticks: `left − right`, negative when `left` is earlier.
pub fn diff(unit: Unit, left: i64, right: i64) -> i64 {
    let place = |ticks: i64| {
        let Parts { year, month, .. } = DateTime(ticks).parts();
        match unit {
            Unit::Year | Unit::Quarter | Unit::Month => {
                (i64::from(year) * 12 + i64::from(month) - 1).div_euclid(unit.months().unwrap_or(1))
            }
            Unit::Week => (ticks.div_euclid(DAY) + 1).div_euclid(7),
            unit => ticks.div_euclid(unit.ticks().unwrap_or(1)),
        }
    };
    if unit == Unit::Nanosecond {
        return left.saturating_sub(right).saturating_mul(100);
    }
    place(left) - place(right)
}

/// Prints by a format of the reference: `d dd f… F… h hh H HH m mm M MM s ss y yy yyyy tt`, with delimiters between.
/// Nothing for a format with anything else.
pub fn format_datetime(ticks: i64, format: &str) -> Option<String> {
    let Parts { year, month, day, .. } = DateTime(ticks).parts();
    let of_day = ticks.rem_euclid(DAY);
    let (hour, minute, second) = (of_day / HOUR, of_day / MINUTE % 60, of_day / SECOND % 60);
    let fraction = of_day % SECOND;
    let mut out = String::with_capacity(format.len() + 8);
    for (letter, count) in runs(format) {
        match (letter, count) {
            ('d', 1 | 2) => pad(&mut out, i64::from(day), count),
            ('M', 1 | 2) => pad(&mut out, i64::from(month), count),
            ('y', 1 | 2) => pad(&mut out, i64::from(year) % 100, count),
            ('y', 4) => pad(&mut out, i64::from(year), 4),
            ('h', 1 | 2) => pad(&mut out, if hour % 12 == 0 { 12 } else { hour % 12 }, count),
            ('H', 1 | 2) => pad(&mut out, hour, count),
            ('m', 1 | 2) => pad(&mut out, minute, count),
            ('s', 1 | 2) => pad(&mut out, second, count),
            ('t', 2) => out.push_str(if hour < 12 { "AM" } else { "PM" }),
            ('f' | 'F', 1..=7) => push_fraction(&mut out, fraction, count, letter == 'F'),
            (' ' | '/' | '-' | ':' | ',' | '.' | '_' | '[' | ']', count) => {
                (0..count).for_each(|_| out.push(letter));
            }
            ('T' | 'Z', 1) => out.push(letter),
            _ => return None,
        }
    }
    Some(out)
}

/// Prints a timespan by a format of the reference: `d… f… F… h hh H HH m mm s ss`, with delimiters between.
pub fn format_timespan(ticks: i64, format: &str) -> Option<String> {
    let size = ticks.unsigned_abs() as i64;
    let (days, hour, minute, second) = (size / DAY, size / HOUR % 24, size / MINUTE % 60, size / SECOND % 60);
    let mut out = String::with_capacity(format.len() + 8);
    for (letter, count) in runs(format) {
        match (letter, count) {
            ('d', 1..=8) => pad(&mut out, days, count),
            ('h' | 'H', 1 | 2) => pad(&mut out, hour, count),
            ('m', 1 | 2) => pad(&mut out, minute, count),
            ('s', 1 | 2) => pad(&mut out, second, count),
            ('f' | 'F', 1..=7) => push_fraction(&mut out, size % SECOND, count, letter == 'F'),
            (' ' | '/' | '-' | ':' | ',' | '.' | '_' | '[' | ']', count) => {
                (0..count).for_each(|_| out.push(letter));
            }
            _ => return None,
        }
    }
    Some(if ticks < 0 { format!("-{out}") } else { out })
}

/// Runs of one letter.
fn runs(format: &str) -> impl Iterator<Item = (char, usize)> {
    let mut rest = format.chars().peekable();
    std::iter::from_fn(move || {
        let letter = rest.next()?;
        let mut count = 1;
        while rest.next_if_eq(&letter).is_some() {
            count += 1;
        }
        Some((letter, count))
    })
}

fn pad(out: &mut String, number: i64, width: usize) {
    use std::fmt::Write;
    write!(out, "{number:0width$}").expect("writing to a string");
}

/// Fractions of a second: `f` prints zeros, `F` leaves them out at the end.
fn push_fraction(out: &mut String, fraction: i64, count: usize, trimmed: bool) {
    let digits = format!("{fraction:07}");
    let digits = &digits[..count];
    out.push_str(if trimmed { digits.trim_end_matches('0') } else { digits });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(year: i64, month: i64, day: i64) -> i64 {
        at_date(year, month, day).unwrap()
    }

    #[test]
    fn weeks_begin_on_sunday_and_iso_weeks_on_monday() {
        assert_eq!(day_of_week(day(2017, 1, 1)), 0);
        assert_eq!(start_of(Unit::Week, day(2017, 1, 4), 0), Some(day(2017, 1, 1)));
        assert_eq!(iso_week(day(2021, 1, 3)), 53);
        assert_eq!(iso_week(day(2020, 12, 31)), 53);
        assert_eq!(iso_week(day(2021, 1, 4)), 1);
    }

    #[test]
    fn adding_months_keeps_to_the_month() {
        assert_eq!(add(Unit::Month, 1, day(2024, 1, 31)), Some(day(2024, 2, 29)));
        assert_eq!(add(Unit::Year, -1, day(2024, 2, 29)), Some(day(2023, 2, 28)));
        assert_eq!(add(Unit::Year, 9_000, day(2024, 1, 1)), None);
        assert_eq!(add(Unit::Day, i64::MAX, 0), None);
    }

    #[test]
    fn differences_count_boundaries() {
        let (before, after) = (day(2017, 1, 1) - 1, day(2017, 1, 1));
        assert_eq!(diff(Unit::Year, after, before), 1);
        assert_eq!(diff(Unit::Month, before, after), -1);
        assert_eq!(diff(Unit::Second, after, before), 1);
        assert_eq!(diff(Unit::Week, day(2017, 1, 8), day(2017, 1, 7)), 1);
        assert_eq!(diff(Unit::Nanosecond, after, before), 100);
    }

    #[test]
    fn ends_are_the_last_tick() {
        assert_eq!(end_of(Unit::Month, day(2024, 2, 10), 0), Some(day(2024, 3, 1) - 1));
        assert_eq!(end_of(Unit::Year, END - 1, 0), Some(END - 1));
        assert_eq!(start_of(Unit::Quarter, day(2024, 5, 10), -1), Some(day(2024, 1, 1)));
    }

    #[test]
    fn formats() {
        let at = day(2017, 1, 29) + 9 * HOUR + 5 * SECOND + 1_230_000;
        assert_eq!(format_datetime(at, "y-M-d h:m:s tt").as_deref(), Some("17-1-29 9:0:5 AM"));
        assert_eq!(
            format_datetime(at, "yyyy-MM-dd [HH:mm:ss.fffffff]").as_deref(),
            Some("2017-01-29 [09:00:05.1230000]")
        );
        assert_eq!(format_datetime(at, "s.FFFFFFF").as_deref(), Some("5.123"));
        assert_eq!(format_datetime(at, "QQ"), None);
        assert_eq!(format_timespan(-(DAY + 2 * HOUR), "dd.hh:mm:ss").as_deref(), Some("-01.02:00:00"));
    }
}
