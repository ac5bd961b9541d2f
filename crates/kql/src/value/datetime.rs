//! Datetimes: ticks of 100 ns since 0001-01-01, always UTC.

use super::timespan::{TICKS_PER_DAY, TICKS_PER_HOUR, TICKS_PER_MINUTE, TICKS_PER_SECOND, fraction_ticks};
use std::fmt;

/// An instant: ticks of 100 ns since 0001-01-01T00:00:00Z of the Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DateTime(pub i64);

/// Ticks from 0001-01-01 to 1970-01-01.
const UNIX_EPOCH: i64 = 719_162 * TICKS_PER_DAY;

/// An instant taken apart by the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// 1 to 9999.
    pub year: i32,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
    /// Ticks since midnight.
    pub ticks: i64,
}

impl DateTime {
    /// The first instant.
    pub const MIN: Self = Self(0);
    /// The last tick of 9999.
    pub const MAX: Self = Self(3_652_059 * TICKS_PER_DAY - 1);

    /// The instant of so many ticks, if it is within the years 1 to 9999.
    pub fn from_ticks(ticks: i64) -> Option<Self> {
        (Self::MIN.0..=Self::MAX.0).contains(&ticks).then_some(Self(ticks))
    }

    /// The instant of so many ticks since 1970-01-01.
    pub fn from_unix_ticks(ticks: i64) -> Option<Self> {
        Self::from_ticks(ticks.checked_add(UNIX_EPOCH)?)
    }

    /// Ticks since 1970-01-01.
    pub fn unix_ticks(self) -> i64 {
        self.0 - UNIX_EPOCH
    }

    /// Midnight of a day of the calendar.
    pub fn from_date(year: i32, month: u32, day: u32) -> Option<Self> {
        if !(1..=9999).contains(&year) || !(1..=12).contains(&month) || day == 0 || day > days_in(year, month) {
            return None;
        }
        Some(Self(day_number(year, month, day) * TICKS_PER_DAY))
    }

    /// Year, month, day and the time of day.
    pub fn parts(self) -> Parts {
        let days = self.0.div_euclid(TICKS_PER_DAY);
        let ticks = self.0.rem_euclid(TICKS_PER_DAY);
        // Years are counted from March, so that the leap day is the last of its year.
        let shifted = days + 306;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Parts { year: year as i32, month: month as u32, day: day as u32, ticks }
    }

    /// What `datetime(...)` and `todatetime` read: ISO 8601 with or without time, fraction and
    /// offset (`2014-05-25T08:20:03.123456Z`, `2014-5-25 08:20`, `2014`), RFC 822 and RFC 850
    /// (`Sat, 8 Nov 14 15:05:02 GMT`, `Saturday, 08-Nov-14 15:05:02 UTC`), and
    /// three numbers (`12/31/2018`, `12-31-2018 10:00`, `2025, 6, 14`). The result is in UTC.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.len() > 64 || !text.is_ascii() {
            return None;
        }
        parse_iso(text).or_else(|| parse_numbers(text)).or_else(|| parse_rfc(text))
    }
}

/// Days from 0001-01-01.
fn day_number(year: i32, month: u32, day: u32) -> i64 {
    let year = i64::from(year) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let from_march = i64::from((month + 9) % 12);
    let day_of_year = (153 * from_march + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 306
}

fn days_in(year: i32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

fn number(text: &str, digits: std::ops::RangeInclusive<usize>) -> Option<u32> {
    (digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

fn parse_iso(text: &str) -> Option<DateTime> {
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], text[at + 1..].trim_start()),
        None => (text.strip_suffix(['Z', 'z']).unwrap_or(text), ""),
    };
    let mut parts = date.split('-');
    let first = parts.next()?;
    let (year, month, day) = match (parts.next(), parts.next(), parts.next()) {
        (None, ..) if first.len() == 8 => {
            number(first, 8..=8)?;
            (number(&first[..4], 4..=4)?, number(&first[4..6], 2..=2)?, number(&first[6..], 2..=2)?)
        }
        (None, ..) => (number(first, 4..=4)?, 1, 1),
        (Some(month), None, _) => (number(first, 4..=4)?, number(month, 1..=2)?, 1),
        (Some(month), Some(day), None) => (number(first, 4..=4)?, number(month, 1..=2)?, number(day, 1..=2)?),
        _ => return None,
    };
    let date = DateTime::from_date(i32::try_from(year).ok()?, month, day)?;
    let ticks = if time.is_empty() { 0 } else { parse_time(time)? };
    DateTime::from_ticks(date.0.checked_add(ticks)?)
}

/// Three numbers with slashes, dashes, commas or blanks between them, and a time: the year first
/// or last, the month before the day.
fn parse_numbers(text: &str) -> Option<DateTime> {
    let (date, time) = match text.find(':') {
        Some(colon) => text.split_at(text[..colon].rfind([' ', 'T'])?),
        None => (text, ""),
    };
    let mut parts = date.split(['/', '-', ',', ' ']).filter(|part| !part.is_empty());
    let (first, second, third) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let (year, month, day) = if first.len() == 4 { (first, second, third) } else { (third, first, second) };
    let year = i32::try_from(number(year, 4..=4)?).ok()?;
    let date = DateTime::from_date(year, number(month, 1..=2)?, number(day, 1..=2)?)?;
    let ticks = if time.is_empty() { 0 } else { parse_time(time.trim_start_matches([' ', 'T']))? };
    DateTime::from_ticks(date.0.checked_add(ticks)?)
}

/// `hh:mm[:ss[.fffffff]]`, AM or PM, and an offset: ticks to add to midnight UTC.
fn parse_time(text: &str) -> Option<i64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != ':' && c != '.').unwrap_or(text.len());
    let (clock, rest) = text.split_at(end);
    let mut parts = clock.split(':');
    let mut hours = number(parts.next()?, 1..=2)?;
    let minutes = match parts.next() {
        Some(minutes) => number(minutes, 1..=2)?,
        None => 0,
    };
    let (seconds, fraction) = match parts.next() {
        Some(seconds) => seconds.split_once('.').unwrap_or((seconds, "")),
        None => ("0", ""),
    };
    let seconds = number(seconds, 1..=2)?;
    if parts.next().is_some() || minutes > 59 || seconds > 59 {
        return None;
    }
    let mut rest = rest.trim();
    for (half, from_noon) in [("AM", 0), ("PM", 12)] {
        if rest.get(..2).is_some_and(|word| word.eq_ignore_ascii_case(half)) {
            if !(1..=12).contains(&hours) {
                return None;
            }
            hours = hours % 12 + from_noon;
            rest = rest[2..].trim_start();
        }
    }
    if hours > 24 || hours == 24 && (minutes, seconds) != (0, 0) {
        return None;
    }
    let clock = i64::from(hours) * TICKS_PER_HOUR + i64::from(minutes) * TICKS_PER_MINUTE;
    Some(clock + i64::from(seconds) * TICKS_PER_SECOND + fraction_ticks(fraction)? - parse_offset(rest)?)
}

/// `Z`, `UTC`, `GMT`, `+02:00`, `-0800` or nothing.
fn parse_offset(text: &str) -> Option<i64> {
    if text.is_empty() || ["Z", "UTC", "GMT", "UT"].iter().any(|zone| text.eq_ignore_ascii_case(zone)) {
        return Some(0);
    }
    let (sign, rest) = match text.as_bytes()[0] {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => return None,
    };
    let (hours, minutes) = match rest.split_once(':') {
        Some((hours, minutes)) => (hours, minutes),
        None if rest.len() == 4 => rest.split_at(2),
        None => (rest, "0"),
    };
    let (hours, minutes) = (number(hours, 1..=2)?, number(minutes, 1..=2)?);
    if hours > 14 || minutes > 59 {
        return None;
    }
    Some(sign * (i64::from(hours) * TICKS_PER_HOUR + i64::from(minutes) * TICKS_PER_MINUTE))
}

/// `[Sat,] 8 Nov 14 15:05[:02] [GMT]`, with blanks or dashes in the date.
fn parse_rfc(text: &str) -> Option<DateTime> {
    const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let text = match text.split_once(',') {
        Some((weekday, rest)) if weekday.bytes().all(|byte| byte.is_ascii_alphabetic()) => rest,
        Some(_) => return None,
        None => text,
    };
    let mut words = text.split_whitespace();
    let first = words.next()?;
    let (day, month, year) = match first.split_once('-') {
        Some((day, rest)) => {
            let (month, year) = rest.split_once('-')?;
            (day, month, year)
        }
        None => (first, words.next()?, words.next()?),
    };
    let named = month.to_ascii_lowercase();
    let month = MONTHS.iter().position(|month| named.get(..3) == Some(*month))? as u32 + 1;
    let year = match (number(year, 2..=4)?, year.len()) {
        (year @ 0..=49, 2) => 2000 + year,
        (year, 2) => 1900 + year,
        (year, _) => year,
    };
    let date = DateTime::from_date(i32::try_from(year).ok()?, month, number(day, 1..=2)?)?;
    let time = words.collect::<Vec<_>>().join(" ");
    let ticks = if time.is_empty() { 0 } else { parse_time(&time)? };
    DateTime::from_ticks(date.0.checked_add(ticks)?)
}

/// `2024-01-01T00:00:00.1234567Z`: seven digits, or none when they are zero.
impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { year, month, day, ticks } = self.parts();
        let (hour, minute) = (ticks / TICKS_PER_HOUR, ticks / TICKS_PER_MINUTE % 60);
        let second = ticks / TICKS_PER_SECOND % 60;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        match ticks % TICKS_PER_SECOND {
            0 => f.write_str("Z"),
            fraction => write!(f, ".{fraction:07}Z"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, printed: &str) {
        assert_eq!(DateTime::parse(text).map(|at| at.to_string()).as_deref(), Some(printed), "{text}");
    }

    #[test]
    fn every_form_of_a_datetime_is_read() {
        check("2014-05-25T08:20:03.123456Z", "2014-05-25T08:20:03.1234560Z");
        check("2014-05-25T08:20:03.123456", "2014-05-25T08:20:03.1234560Z");
        check("2014-05-25T08:20", "2014-05-25T08:20:00Z");
        check("2014-11-08 15:55:55", "2014-11-08T15:55:55Z");
        check("2014-11-08", "2014-11-08T00:00:00Z");
        check("2017-1-1", "2017-01-01T00:00:00Z");
        check("20140525", "2014-05-25T00:00:00Z");
        check("2017", "2017-01-01T00:00:00Z");
        check("2014-05-25T08:20:03+02:00", "2014-05-25T06:20:03Z");
        check("Sat, 8 Nov 14 15:05:02 GMT", "2014-11-08T15:05:02Z");
        check("8 Nov 14 15:05", "2014-11-08T15:05:00Z");
        check("Saturday, 08-Nov-14 15:05:02 UTC", "2014-11-08T15:05:02Z");
        check("08-Nov-14 15:05:02", "2014-11-08T15:05:02Z");
        check("12/31/2018 1:05 PM", "2018-12-31T13:05:00Z");
        check("12-02-2022", "2022-12-02T00:00:00Z");
        check("10-01-2018 10:00", "2018-10-01T10:00:00Z");
        check("2017 - 08 - 01", "2017-08-01T00:00:00Z");
        check("2025, 6, 14", "2025-06-14T00:00:00Z");
        check("9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:59.9999999Z");
        assert_eq!(DateTime::parse("0001-01-01"), Some(DateTime::MIN));
        assert_eq!(DateTime::parse("1970-01-01").unwrap().unix_ticks(), 0);
    }

    #[test]
    fn what_is_no_datetime_is_refused() {
        for wrong in [
            "",
            "x",
            "2014-13-01",
            "2014-02-29",
            "0000-01-01",
            "2014-05-25T25:00",
            "2014-05-25T08:60",
            "0001-01-01T00:00+01:00",
            "2014-05-25T08:20:03.12x",
            "5 Foo 14",
            "2014-05-25-01",
            "é014-05-25",
        ] {
            assert_eq!(DateTime::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_day_survives_the_calendar() {
        let last = DateTime::MAX.0 / TICKS_PER_DAY;
        for day in (0..=last).step_by(13).chain([last]) {
            let at = DateTime(day * TICKS_PER_DAY);
            let Parts { year, month, day, ticks } = at.parts();
            assert_eq!((DateTime::from_date(year, month, day), ticks), (Some(at), 0));
        }
    }
}
