//! Instants and durations: ticks of 100 ns since 0001-01-01T00:00Z, and the calendar over them.
//!
//! Windows are aligned to tick zero, which is why the calendar starts there and not in 1970.

/// An instant, or a duration, in units of 100 ns; instants count from 0001-01-01T00:00Z.
pub type Ticks = i64;

pub(crate) const MICROSECOND: Ticks = 10;
pub(crate) const MILLISECOND: Ticks = 10_000;
pub(crate) const SECOND: Ticks = 10_000_000;
pub(crate) const MINUTE: Ticks = 60 * SECOND;
pub(crate) const HOUR: Ticks = 60 * MINUTE;
pub(crate) const DAY: Ticks = 24 * HOUR;

/// First instant of the year 10000: past the last that has a text.
pub(crate) const END: Ticks = 3_652_059 * DAY;
const DAYS_TO_1970: i64 = 719_162;

/// Ticks of an instant given in microseconds since 1970, held within the years 1 to 9999.
pub fn from_unix_micros(micros: i64) -> Ticks {
    micros.saturating_mul(10).saturating_add(DAYS_TO_1970 * DAY).clamp(0, END - 1)
}

/// Microseconds since 1970 of an instant.
pub fn to_unix_micros(ticks: Ticks) -> i64 {
    ticks.saturating_sub(DAYS_TO_1970 * DAY).div_euclid(10)
}

/// Ticks of a duration, at most some 29,000 years.
pub fn from_duration(duration: std::time::Duration) -> Ticks {
    Ticks::try_from(duration.as_nanos() / 100).unwrap_or(Ticks::MAX)
}

/// A unit of time, as in `DATEADD(minute, …)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Year,
    Quarter,
    Month,
    DayOfYear,
    Day,
    Week,
    WeekDay,
    IsoWeek,
    Hour,
    Minute,
    Second,
    Millisecond,
    Microsecond,
    Nanosecond,
    Offset,
}

impl Unit {
    /// The unit of a name or one of its abbreviations.
    pub(crate) fn parse(name: &str) -> Option<Unit> {
        Some(match name.to_ascii_lowercase().as_str() {
            "year" | "yy" | "yyyy" => Unit::Year,
            "quarter" | "qq" | "q" => Unit::Quarter,
            "month" | "mm" | "m" => Unit::Month,
            "dayofyear" | "dy" | "y" => Unit::DayOfYear,
            "day" | "dd" | "d" => Unit::Day,
            "week" | "wk" | "ww" => Unit::Week,
            "weekday" | "dw" => Unit::WeekDay,
            "iso_week" | "isowk" | "isoww" => Unit::IsoWeek,
            "hour" | "hh" => Unit::Hour,
            "minute" | "mi" | "n" => Unit::Minute,
            "second" | "ss" | "s" => Unit::Second,
            "millisecond" | "ms" => Unit::Millisecond,
            "microsecond" | "mcs" => Unit::Microsecond,
            "nanosecond" | "ns" => Unit::Nanosecond,
            "tzoffset" | "tz" => Unit::Offset,
            _ => return None,
        })
    }

    /// How long one is, for the units that windows and limits are given in.
    pub(crate) fn fixed(self) -> Option<Ticks> {
        Some(match self {
            Unit::Day => DAY,
            Unit::Hour => HOUR,
            Unit::Minute => MINUTE,
            Unit::Second => SECOND,
            Unit::Millisecond => MILLISECOND,
            Unit::Microsecond => MICROSECOND,
            _ => return None,
        })
    }
}

/// A date and the time of its day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Civil {
    pub year: i64,
    pub month: i64,
    pub day: i64,
    /// Ticks since midnight.
    pub rest: Ticks,
}

/// Days since 0001-01-01 of a date of the proleptic Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let of_era = shifted - era * 400;
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    // 306 days lie between the 1st of March of year 0, where eras begin, and the 1st of January of year 1.
    era * 146_097 + day_of_era - 306
}

pub(crate) fn civil(ticks: Ticks) -> Civil {
    let day_number = ticks.div_euclid(DAY);
    let z = day_number + 306;
    let era = z.div_euclid(146_097);
    let of_era = z - era * 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Civil { year, month, day, rest: ticks.rem_euclid(DAY) }
}

fn month_length(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// The instant of a date and ticks of its day; nothing when there is no such date from year 1 to 9999.
pub(crate) fn instant(year: i64, month: i64, day: i64, rest: Ticks) -> Option<Ticks> {
    let valid = (1..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=month_length(year, month)).contains(&day)
        && (0..DAY).contains(&rest);
    valid.then(|| days(year, month, day) * DAY + rest)
}

/// An instant if it lies within the years 1 to 9999.
pub(crate) fn within_calendar(ticks: Option<Ticks>) -> Option<Ticks> {
    ticks.filter(|ticks| (0..END).contains(ticks))
}

/// The text of an instant: `2024-01-31T12:30:00.0000000Z`.
pub fn text(ticks: Ticks) -> String {
    let Civil { year, month, day, rest } = civil(ticks);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:07}Z",
        rest / HOUR,
        rest / MINUTE % 60,
        rest / SECOND % 60,
        rest % SECOND
    )
}

/// Reads an instant of ISO 8601: a date, or a date and a time with `T` or a space, fractions of any length
/// (cut after 100 ns), `Z` or an offset; without either it is UTC.
pub fn parse(text: &str) -> Option<Ticks> {
    let text = text.trim();
    let (date, rest) = text.split_at_checked(10)?;
    let bytes = date.as_bytes();
    if bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let number = |text: &str| -> Option<i64> {
        (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
    };
    let start = instant(number(date.get(..4)?)?, number(date.get(5..7)?)?, number(date.get(8..10)?)?, 0)?;
    if rest.is_empty() {
        return Some(start);
    }
    let clock = rest.strip_prefix(['T', 't', ' '])?;
    let zone_at = clock.find(['Z', 'z', '+', '-']).unwrap_or(clock.len());
    let (clock, zone) = clock.split_at(zone_at);
    let offset = match zone {
        "" | "Z" | "z" => 0,
        _ => {
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            let digits = &zone[1..];
            let (hours, minutes) = match digits.split_once(':') {
                Some((hours, minutes)) => (hours, minutes),
                None if digits.len() == 4 && digits.is_ascii() => digits.split_at(2),
                None => (digits, "0"),
            };
            let (hours, minutes) = (number(hours)?, number(minutes)?);
            if hours > 14 || minutes > 59 {
                return None;
            }
            sign * (hours * HOUR + minutes * MINUTE)
        }
    };
    let mut parts = clock.trim_end().splitn(3, ':');
    let hour = number(parts.next()?)?;
    let minute = number(parts.next()?)?;
    let (second, fraction) = match parts.next() {
        None => (0, 0),
        Some(seconds) => match seconds.split_once(['.', ',']) {
            None => (number(seconds)?, 0),
            Some((whole, fraction)) => {
                number(fraction)?;
                let digits: String = fraction.chars().chain("0000000".chars()).take(7).collect();
                (number(whole)?, number(&digits)?)
            }
        },
    };
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let of_day = hour * HOUR + minute * MINUTE + second * SECOND + fraction;
    within_calendar(Some(start + of_day - offset))
}

/// `count` units later; the last day of the month when the day does not exist there.
pub(crate) fn add(unit: Unit, count: i64, to: Ticks) -> Option<Ticks> {
    let months = match unit {
        Unit::Year => 12,
        Unit::Quarter => 3,
        Unit::Month => 1,
        _ => 0,
    };
    if months > 0 {
        let from = civil(to);
        let total = count.checked_mul(months)?.checked_add(from.year * 12 + from.month - 1)?;
        let (year, month) = (total.div_euclid(12), total.rem_euclid(12) + 1);
        if !(1..=9999).contains(&year) {
            return None;
        }
        return instant(year, month, from.day.min(month_length(year, month)), from.rest);
    }
    let length = match unit {
        Unit::Week => 7 * DAY,
        Unit::DayOfYear | Unit::WeekDay => DAY,
        Unit::Nanosecond => return within_calendar(to.checked_add(count / 100)),
        _ => unit.fixed()?,
    };
    within_calendar(count.checked_mul(length).and_then(|by| to.checked_add(by)))
}

/// How many boundaries of the unit lie between two instants.
pub(crate) fn difference(unit: Unit, from: Ticks, to: Ticks) -> Option<i64> {
    let months = |ticks| {
        let date = civil(ticks);
        date.year * 12 + date.month - 1
    };
    Some(match unit {
        Unit::Year => months(to).div_euclid(12) - months(from).div_euclid(12),
        Unit::Quarter => months(to).div_euclid(3) - months(from).div_euclid(3),
        Unit::Month => months(to) - months(from),
        // Weeks begin on Sundays; day zero was a Monday.
        Unit::Week => (to + DAY).div_euclid(7 * DAY) - (from + DAY).div_euclid(7 * DAY),
        Unit::DayOfYear | Unit::WeekDay => to.div_euclid(DAY) - from.div_euclid(DAY),
        Unit::Nanosecond => to.checked_sub(from)?.checked_mul(100)?,
        Unit::IsoWeek => to.div_euclid(7 * DAY) - from.div_euclid(7 * DAY),
        Unit::Offset => return None,
        _ => {
            let length = unit.fixed()?;
            to.div_euclid(length) - from.div_euclid(length)
        }
    })
}

/// A part of an instant as a number.
pub(crate) fn part(unit: Unit, of: Ticks) -> i64 {
    let date = civil(of);
    let day_of_year = days(date.year, date.month, date.day) - days(date.year, 1, 1);
    match unit {
        Unit::Year => date.year,
        Unit::Quarter => (date.month - 1) / 3 + 1,
        Unit::Month => date.month,
        Unit::DayOfYear => day_of_year + 1,
        Unit::Day => date.day,
        Unit::WeekDay => week_day(of) + 1,
        Unit::Week => {
            let first = week_day(days(date.year, 1, 1) * DAY);
            (day_of_year + first) / 7 + 1
        }
        Unit::IsoWeek => {
            // The week belongs to the year of its Thursday.
            let thursday = of.div_euclid(7 * DAY) * 7 + 3;
            let year = civil(thursday * DAY).year;
            (thursday - days(year, 1, 1)) / 7 + 1
        }
        Unit::Hour => date.rest / HOUR,
        Unit::Minute => date.rest / MINUTE % 60,
        Unit::Second => date.rest / SECOND % 60,
        Unit::Millisecond => date.rest % SECOND / MILLISECOND,
        Unit::Microsecond => date.rest % SECOND / MICROSECOND,
        Unit::Nanosecond => date.rest % SECOND * 100,
        Unit::Offset => 0,
    }
}

/// Day of the week from Sunday, which is 0.
pub(crate) fn week_day(of: Ticks) -> i64 {
    (of.div_euclid(DAY) + 1).rem_euclid(7)
}

/// A part of an instant in words, where it has one.
pub(crate) fn part_name(unit: Unit, of: Ticks) -> String {
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
    match unit {
        Unit::Month => MONTHS[civil(of).month as usize - 1].to_owned(),
        Unit::WeekDay => DAYS[week_day(of) as usize].to_owned(),
        Unit::Offset => "+00:00".to_owned(),
        _ => part(unit, of).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(written: &str, read: &str) {
        assert_eq!(parse(written).map(text).as_deref(), Some(read), "{written}");
    }

    #[test]
    fn instants_are_read_and_written() {
        check("2024-02-29", "2024-02-29T00:00:00.0000000Z");
        check("2024-02-29T12:30", "2024-02-29T12:30:00.0000000Z");
        check("2024-02-29 12:30:01.5", "2024-02-29T12:30:01.5000000Z");
        check("2024-02-29T12:30:01.123456789Z", "2024-02-29T12:30:01.1234567Z");
        check("2024-02-29T12:30:00+02:00", "2024-02-29T10:30:00.0000000Z");
        check("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.0000000Z");
        check("9999-12-31T23:59:59Z", "9999-12-31T23:59:59.0000000Z");
        for wrong in [
            "",
            "yesterday",
            "2023-02-29",
            "2024-13-01",
            "2024-01-01T24:00:00",
            "2024-01-01T10",
            "2024-01-01T10:00:00+99:00",
            "2024-01-01X10:00",
            "ü024-01-01",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_day_of_the_calendar_is_itself() {
        for day in (0..3_652_059).step_by(17) {
            let date = civil(day * DAY);
            assert_eq!(instant(date.year, date.month, date.day, 0), Some(day * DAY));
        }
    }

    #[test]
    fn differences_count_boundaries() {
        let at = |text| parse(text).expect("an instant");
        let before = at("2023-12-31T23:59:59");
        let after = at("2024-01-01T00:00:00");
        for unit in [Unit::Year, Unit::Quarter, Unit::Month, Unit::Day, Unit::Hour, Unit::Minute, Unit::Second] {
            assert_eq!(difference(unit, before, after), Some(1), "{unit:?}");
        }
        assert_eq!(difference(Unit::Week, before, after), Some(0));
        assert_eq!(add(Unit::Month, 1, at("2024-01-31")), Some(at("2024-02-29")));
        assert_eq!(part(Unit::IsoWeek, at("2021-01-03")), 53);
        assert_eq!(part(Unit::Week, at("2024-01-07")), 2);
        assert_eq!(part_name(Unit::WeekDay, at("2024-01-07")), "Sunday");
    }

    #[test]
    fn unix_time_is_converted() {
        let at = parse("2024-01-01T00:00:00.000001Z").expect("an instant");
        assert_eq!(to_unix_micros(at), 1_704_067_200_000_001);
        assert_eq!(from_unix_micros(1_704_067_200_000_001), at);
    }
}
