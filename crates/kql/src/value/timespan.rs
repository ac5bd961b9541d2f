//! Timespans: ticks of 100 ns.

use std::fmt;

/// Ticks in a second.
pub const TICKS_PER_SECOND: i64 = 10_000_000;
/// Ticks in a minute.
pub const TICKS_PER_MINUTE: i64 = 60 * TICKS_PER_SECOND;
/// Ticks in an hour.
pub const TICKS_PER_HOUR: i64 = 60 * TICKS_PER_MINUTE;
/// Ticks in a day.
pub const TICKS_PER_DAY: i64 = 24 * TICKS_PER_HOUR;

/// A timespan: ticks of 100 ns, with sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimeSpan(pub i64);

impl TimeSpan {
    /// The ticks of one unit of a timespan literal: `d`, `day`, `days`, `h`, `hr`... `None` for
    /// a word that is no unit. There are no weeks.
    pub fn unit(name: &str) -> Option<i64> {
        Some(match name {
            "d" | "day" | "days" => TICKS_PER_DAY,
            "h" | "hr" | "hrs" | "hour" | "hours" => TICKS_PER_HOUR,
            "m" | "min" | "minute" | "minutes" => TICKS_PER_MINUTE,
            "s" | "sec" | "second" | "seconds" => TICKS_PER_SECOND,
            "ms" | "milli" | "millis" | "millisec" | "millisecond" | "milliseconds" => 10_000,
            "micro" | "micros" | "microsec" | "microsecond" | "microseconds" => 10,
            "nano" | "nanos" | "nanosec" | "nanosecond" | "nanoseconds" => 0,
            "tick" | "ticks" => 1,
            _ => return None,
        })
    }

    /// `count` units, as in `1.5h`: rounded to ticks, `None` when there are too many.
    pub fn of(count: &str, unit: &str) -> Option<Self> {
        let ticks = Self::unit(unit)?;
        let per_unit = if ticks == 0 { 0.01 } else { ticks as f64 };
        // Whole counts are exact; a double is enough for fractions of a unit.
        if ticks != 0
            && let Ok(count) = count.parse::<i64>()
        {
            return count.checked_mul(ticks).map(Self);
        }
        Self::from_real(count.parse::<f64>().ok()? * per_unit)
    }

    fn from_real(ticks: f64) -> Option<Self> {
        (ticks.is_finite() && ticks.abs() < i64::MAX as f64).then(|| Self(ticks.round() as i64))
    }

    /// What `timespan(...)` and `totimespan` read: `[-][d.]hh:mm[:ss[.fffffff]]`, a count with a
    /// unit (`15 seconds`, `1.5h`), or a bare count of days.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest.trim_start()),
            None => (false, text),
        };
        let span = if text.contains(':') { Self::parse_clock(text)? } else { Self::parse_count(text)? };
        Some(Self(if negative { span.0.checked_neg()? } else { span.0 }))
    }

    fn parse_count(text: &str) -> Option<Self> {
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (count, unit) = text.split_at(digits);
        if count.is_empty() {
            return None;
        }
        match unit.trim_start() {
            "" => Self::of(count, "d"),
            unit => Self::of(count, unit),
        }
    }

    fn parse_clock(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let number = |text: &str, max: i64| -> Option<i64> {
            (!text.is_empty() && text.len() <= 8 && text.bytes().all(|byte| byte.is_ascii_digit()))
                .then(|| text.parse::<i64>().ok().filter(|number| *number <= max))?
        };
        let (days_and_hours, minutes, seconds) = match parts[..] {
            [days, hours, minutes, seconds] => {
                return Self::parse_clock(&format!("{days}.{hours}:{minutes}:{seconds}"));
            }
            [hours, minutes] => (hours, minutes, "0"),
            [hours, minutes, seconds] => (hours, minutes, seconds),
            _ => return None,
        };
        let (days, hours) = match days_and_hours.split_once('.') {
            Some((days, hours)) => (number(days, 10_675_199)?, number(hours, 23)?),
            None => (0, number(days_and_hours, 23)?),
        };
        let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
        let ticks = number(seconds, 59)? * TICKS_PER_SECOND + fraction_ticks(fraction)?;
        let clock = hours * TICKS_PER_HOUR + number(minutes, 59)? * TICKS_PER_MINUTE + ticks;
        (days * TICKS_PER_DAY).checked_add(clock).map(Self)
    }
}

/// The ticks of a fraction's digits; those after the seventh are cut off.
pub(super) fn fraction_ticks(digits: &str) -> Option<i64> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut ticks = 0;
    for at in 0..7 {
        ticks = ticks * 10 + i64::from(digits.as_bytes().get(at).map_or(0, |digit| digit - b'0'));
    }
    Some(ticks)
}

/// `[-][d.]hh:mm:ss[.fffffff]`.
impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ticks = self.0.unsigned_abs();
        let part = |unit: i64, count: u64| ticks / unit.unsigned_abs() % count;
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let days = ticks / TICKS_PER_DAY.unsigned_abs();
        if days > 0 {
            write!(f, "{days}.")?;
        }
        let (hours, minutes) = (part(TICKS_PER_HOUR, 24), part(TICKS_PER_MINUTE, 60));
        write!(f, "{hours:02}:{minutes:02}:{:02}", part(TICKS_PER_SECOND, 60))?;
        match ticks % TICKS_PER_SECOND.unsigned_abs() {
            0 => Ok(()),
            fraction => write!(f, ".{fraction:07}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, printed: &str) {
        assert_eq!(TimeSpan::parse(text).map(|span| span.to_string()).as_deref(), Some(printed), "{text}");
    }

    #[test]
    fn every_form_of_a_timespan_is_read() {
        check("2", "2.00:00:00");
        check("1.5", "1.12:00:00");
        check("15 seconds", "00:00:15");
        check("0.12:34:56.7", "12:34:56.7000000");
        check("-1.02:03:04", "-1.02:03:04");
        check("1:02:03:04.5", "1.02:03:04.5000000");
        check("00:05", "00:05:00");
        check("1.5h", "01:30:00");
        check("100ms", "00:00:00.1000000");
        check("10microsecond", "00:00:00.0000100");
        check("1tick", "00:00:00.0000001");
        check("200nanoseconds", "00:00:00.0000002");
    }

    #[test]
    fn what_is_no_timespan_is_refused() {
        for wrong in ["", "-", "x", "1w", "25:00", "1:60:00", "00:00:61", "1:2:3:4:5", "99999999999999999999d", "1e3"] {
            assert_eq!(TimeSpan::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_smallest_timespan_prints() {
        assert_eq!(TimeSpan(i64::MIN).to_string(), "-10675199.02:48:05.4775808");
    }
}
