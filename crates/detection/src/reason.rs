//! Why a value is unusual, in words with numbers.

use std::fmt;

use time::OffsetDateTime;

use crate::detector::Band;

/// Why a value scored as it did, and since when the signal has been unusual.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reason {
    /// What is unusual.
    pub kind: Kind,
    /// When the unusual episode began, milliseconds since 1970.
    pub since_ms: i64,
    /// When this value was measured, milliseconds since 1970.
    pub at_ms: i64,
}

/// What is unusual about a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// The value lies far from the level of the last days.
    OutsideBand {
        /// The value.
        value: f64,
        /// Where it was expected.
        band: Band,
    },
    /// The step from the value before is larger than usual.
    Jump {
        /// The value before.
        from: f64,
        /// The value.
        to: f64,
        /// A large usual step.
        usual: f64,
    },
    /// The mean of recent values has left its usual place.
    LevelShift {
        /// The recent mean.
        level: f64,
        /// The mean it had before.
        usual: f64,
        /// About how many values the recent mean covers.
        values: u32,
    },
    /// The level moves steadily away from its usual place.
    Drift {
        /// Change of the level in an hour.
        per_hour: f64,
        /// For how long, hours.
        hours: f64,
    },
    /// The value is unusual at this time of day.
    TimeOfDay {
        /// The value, or the mean of the latest values.
        value: f64,
        /// What earlier days had at this time.
        expected: f64,
    },
    /// Steps between values have become larger than usual.
    Restless {
        /// Mean size of the last steps.
        step: f64,
        /// Usual mean size.
        usual: f64,
        /// How many steps the mean covers.
        values: u32,
    },
    /// The value does not go with those of the machine's other signals.
    Apart {
        /// The value.
        value: f64,
        /// What the others suggest.
        expected: f64,
    },
    /// A signal that usually varies repeats one value.
    Repeated {
        /// The value.
        value: f64,
        /// How many times in a row.
        times: u32,
    },
}

impl Reason {
    /// The reason as a sentence fragment, with `unit` after the values.
    pub fn in_words(&self, unit: Option<&str>) -> String {
        Words { reason: self, unit, beside: None }.to_string()
    }

    /// The reason with the name of the signal beside which a value is odd, if that is why and it is known.
    pub fn beside<'a>(&'a self, beside: Option<&'a str>) -> impl fmt::Display + use<'a> {
        Words { reason: self, unit: None, beside }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Words { reason: self, unit: None, beside: None }.fmt(f)
    }
}

struct Words<'a> {
    reason: &'a Reason,
    unit: Option<&'a str>,
    beside: Option<&'a str>,
}

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reason { kind, since_ms, at_ms } = *self.reason;
        let since = Since { since_ms, at_ms };
        let with = |value| Quantity { value, unit: self.unit };
        match kind {
            Kind::OutsideBand { value, band } => {
                let side = if value > band.high { "above" } else { "below" };
                let (low, high) = (Number(band.low), with(band.high));
                write!(f, "{} is {side} the expected {low} to {high}{since}", with(value))
            }
            Kind::Jump { from, to, usual } => {
                write!(f, "jumped from {} to {}, usual steps are up to {}", Number(from), with(to), with(usual))
            }
            Kind::LevelShift { level, usual, values } => write!(
                f,
                "level shifted from {} to {} over the last {values} values{since}",
                Number(usual),
                with(level)
            ),
            Kind::Drift { per_hour, hours } => {
                let direction = if per_hour < 0.0 { "down" } else { "up" };
                write!(f, "drifting {direction} {} per hour for {} h", with(per_hour.abs()), Number(hours))
            }
            Kind::TimeOfDay { value, expected } => {
                write!(f, "{} is unusual for this time of day, {} is expected{since}", with(value), with(expected))
            }
            Kind::Restless { step, usual, values } => write!(
                f,
                "restless: steps of {} on average over the last {values} values, {} is usual{since}",
                with(step),
                with(usual)
            ),
            Kind::Apart { value, expected } => {
                let (others, suggest) = match self.beside {
                    Some(name) => (name, "suggests"),
                    None => ("the other signals", "suggest"),
                };
                let (value, expected) = (with(value), with(expected));
                write!(f, "{value} does not go with {others}, which {suggest} {expected}{since}")
            }
            Kind::Repeated { value, times } => {
                write!(f, "value {} repeated {times} times{since}", with(value))
            }
        }
    }
}

/// A number for people: three significant digits or a few more, no trailing zeros.
pub fn in_digits(value: f64) -> String {
    Number(value).to_string()
}

/// Four significant digits at most, no trailing zeros.
struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.0.abs();
        if magnitude != 0.0 && !(1e-3..1e7).contains(&magnitude) {
            return write!(f, "{:.2e}", self.0);
        }
        let digits = match magnitude {
            m if m >= 100.0 => 0,
            m if m >= 1.0 => 1,
            m if m >= 0.1 => 2,
            _ => 4,
        };
        let text = format!("{:.digits$}", self.0);
        let text = if digits > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        f.write_str(if text == "-0" { "0" } else { text })
    }
}

struct Quantity<'a> {
    value: f64,
    unit: Option<&'a str>,
}

impl fmt::Display for Quantity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Number(self.value).fmt(f)?;
        self.unit.map_or(Ok(()), |unit| write!(f, " {unit}"))
    }
}

/// ` since 14:05`, with the date when that was another day; nothing when it began just now.
struct Since {
    since_ms: i64,
    at_ms: i64,
}

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.since_ms >= self.at_ms {
            return Ok(());
        }
        let seconds = |ms: i64| OffsetDateTime::from_unix_timestamp(ms.div_euclid(1000)).ok();
        let (Some(since), Some(at)) = (seconds(self.since_ms), seconds(self.at_ms)) else {
            return Ok(());
        };
        f.write_str(" since ")?;
        if since.date() != at.date() {
            write!(f, "{} ", since.date())?;
        }
        write!(f, "{:02}:{:02}", since.hour(), since.minute())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: i64 = 1_386_681_600_000; // 2013-12-10 13:20 UTC

    #[track_caller]
    fn check(kind: Kind, since_ms: i64, unit: Option<&str>, words: &str) {
        assert_eq!(Reason { kind, since_ms, at_ms: AT }.in_words(unit), words);
    }

    #[test]
    fn each_kind_reads_as_a_sentence() {
        let band = Band { low: 81.2, expected: 88.0, high: 95.42 };
        let low = Kind::OutsideBand { value: 77.31, band };
        check(low, AT - 3_600_000, None, "77.3 is below the expected 81.2 to 95.4 since 12:20");
        check(low, AT - 86_400_000, Some("°C"), "77.3 °C is below the expected 81.2 to 95.4 °C since 2013-12-09 13:20");
        let high = Kind::OutsideBand { value: 120.0, band };
        check(high, AT, None, "120 is above the expected 81.2 to 95.4");
        let jump = Kind::Jump { from: 80.0, to: 95.5, usual: 1.25 };
        check(jump, AT, None, "jumped from 80 to 95.5, usual steps are up to 1.2");
        let shift = Kind::LevelShift { level: 64.0, usual: 88.0, values: 100 };
        check(shift, AT, None, "level shifted from 88 to 64 over the last 100 values");
        check(Kind::Drift { per_hour: -3.1, hours: 6.0 }, AT, None, "drifting down 3.1 per hour for 6 h");
        let hour = Kind::TimeOfDay { value: 20.0, expected: 80.0 };
        check(hour, AT, None, "20 is unusual for this time of day, 80 is expected");
        check(Kind::Repeated { value: 0.0, times: 40 }, AT, None, "value 0 repeated 40 times");
        let restless = Kind::Restless { step: 4.25, usual: 1.5, values: 100 };
        check(restless, AT, None, "restless: steps of 4.2 on average over the last 100 values, 1.5 is usual");
        let apart = Kind::Apart { value: 52.0, expected: 78.06 };
        check(apart, AT, Some("°C"), "52 °C does not go with the other signals, which suggest 78.1 °C");
        let apart = Reason { kind: apart, since_ms: AT, at_ms: AT };
        assert_eq!(apart.beside(Some("load")).to_string(), "52 does not go with load, which suggests 78.1");
        assert_eq!(apart.beside(None).to_string(), apart.to_string());
    }

    #[test]
    fn numbers_of_any_size_stay_short() {
        let repeated = |value| Kind::Repeated { value, times: 12 };
        check(repeated(5.2e9), AT, None, "value 5.20e9 repeated 12 times");
        check(repeated(-0.000_012), AT, None, "value -1.20e-5 repeated 12 times");
        check(repeated(0.0421), AT, None, "value 0.0421 repeated 12 times");
    }

    #[test]
    fn a_time_beyond_the_calendar_is_left_out() {
        check(Kind::Repeated { value: 1.0, times: 12 }, i64::MIN, None, "value 1 repeated 12 times");
    }
}
