//! When a scheduled job runs: once, or every day, week or month from its start, until an end.
//!
//! Times are UTC. A month without the day of the start has it on its last day; the month after that has the day again.

use gantry_identity::Timestamp;
use serde::{Deserialize, Serialize};
use time::{Duration, Month, OffsetDateTime};

use super::JobError;
use crate::kept::millis;

/// Occurrences a schedule may be bounded by.
pub const OCCURRENCES_MAX: u32 = 999;

/// How often.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Recurrence {
    /// Every day.
    Daily,
    /// Every week.
    Weekly,
    /// Every month.
    Monthly,
}

/// Until when.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum End {
    /// Up to an instant, which is in it.
    Date(#[serde(with = "millis")] Timestamp),
    /// So often.
    Occurrences(u32),
}

/// When a job runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// The first time.
    #[serde(with = "millis")]
    pub start: Timestamp,
    /// How often; once without.
    pub recurrence: Option<Recurrence>,
    /// Until when; for ever without.
    pub end: Option<End>,
}

impl Schedule {
    /// Checks ranges.
    ///
    /// # Errors
    /// [`JobError::Invalid`].
    pub fn check(&self) -> Result<(), JobError> {
        if instant(self.start).is_none() {
            return Err(JobError::Invalid { field: "start", what: "an instant of the calendar" });
        }
        match self.end {
            Some(End::Occurrences(count)) if !(1..=OCCURRENCES_MAX).contains(&count) => {
                Err(JobError::Invalid { field: "occurrences", what: "1 to 999" })
            }
            Some(End::Date(date)) if date < self.start => {
                Err(JobError::Invalid { field: "date", what: "after the start" })
            }
            _ => Ok(()),
        }
    }

    /// The time with a number from 0; none past the end.
    #[must_use]
    pub fn occurrence(&self, number: u32) -> Option<Timestamp> {
        let is_past = match self.end {
            Some(End::Occurrences(count)) => number >= count,
            _ => false,
        };
        if is_past || (number > 0 && self.recurrence.is_none()) {
            return None;
        }
        let start = instant(self.start)?;
        let at = match self.recurrence {
            None => start,
            Some(Recurrence::Daily) => start.checked_add(Duration::days(i64::from(number)))?,
            Some(Recurrence::Weekly) => start.checked_add(Duration::weeks(i64::from(number)))?,
            Some(Recurrence::Monthly) => months_after(start, number)?,
        };
        let at = Timestamp::from_millis(i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()?);
        match self.end {
            Some(End::Date(date)) if at > date => None,
            _ => Some(at),
        }
    }

    /// How many times there are up to an instant, which is in it.
    #[must_use]
    pub fn passed(&self, now: Timestamp) -> u32 {
        let (mut from, mut to) = (0, u32::MAX);
        while from < to {
            let middle = from + (to - from) / 2;
            match self.occurrence(middle) {
                Some(at) if at <= now => from = middle + 1,
                _ => to = middle,
            }
        }
        from
    }

    /// The first time after an instant, with its number.
    #[must_use]
    pub fn next_after(&self, now: Timestamp) -> Option<(u32, Timestamp)> {
        let number = self.passed(now);
        self.occurrence(number).map(|at| (number, at))
    }
}

fn instant(at: Timestamp) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.as_millis()) * 1_000_000).ok()
}

fn months_after(start: OffsetDateTime, months: u32) -> Option<OffsetDateTime> {
    let all = i64::from(start.year()) * 12 + i64::from(u8::from(start.month())) - 1 + i64::from(months);
    let (year, month) = (i32::try_from(all.div_euclid(12)).ok()?, u8::try_from(all.rem_euclid(12) + 1).ok()?);
    let month = Month::try_from(month).ok()?;
    let day = start.day().min(month.length(year));
    let date = time::Date::from_calendar_date(year, month, day).ok()?;
    Some(start.replace_date(date))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn schedule(start: &str, recurrence: Option<Recurrence>, end: Option<End>) -> Schedule {
        Schedule { start: at(start), recurrence, end }
    }

    #[track_caller]
    fn check(schedule: Schedule, now: &str, expected: Option<(u32, &str)>) {
        let expected = expected.map(|(number, text)| (number, at(text)));
        assert_eq!(schedule.next_after(at(now)), expected, "{schedule:?} after {now}");
    }

    #[test]
    fn a_job_without_recurrence_runs_once() {
        let once = schedule("2026-01-31T10:00:00Z", None, None);
        check(once, "2026-01-31T09:59:59Z", Some((0, "2026-01-31T10:00:00Z")));
        check(once, "2026-01-31T10:00:00Z", None);
        check(once, "2030-01-01T00:00:00Z", None);
    }

    #[test]
    fn days_and_weeks_are_counted_from_the_start() {
        let daily = schedule("2026-01-31T10:00:00.500Z", Some(Recurrence::Daily), None);
        check(daily, "2026-01-01T00:00:00Z", Some((0, "2026-01-31T10:00:00.500Z")));
        check(daily, "2026-01-31T10:00:00.500Z", Some((1, "2026-02-01T10:00:00.500Z")));
        check(daily, "2026-02-01T10:00:00Z", Some((1, "2026-02-01T10:00:00.500Z")));
        let weekly = schedule("2026-01-31T10:00:00Z", Some(Recurrence::Weekly), None);
        check(weekly, "2026-02-07T10:00:00Z", Some((2, "2026-02-14T10:00:00Z")));
    }

    #[test]
    fn a_short_month_has_it_on_its_last_day() {
        let monthly = schedule("2026-01-31T10:00:00Z", Some(Recurrence::Monthly), None);
        check(monthly, "2026-01-31T10:00:00Z", Some((1, "2026-02-28T10:00:00Z")));
        check(monthly, "2026-02-28T10:00:00Z", Some((2, "2026-03-31T10:00:00Z")));
        check(monthly, "2028-02-01T00:00:00Z", Some((25, "2028-02-29T10:00:00Z")));
        check(monthly, "2126-01-31T10:00:00Z", Some((1_201, "2126-02-28T10:00:00Z")));
    }

    #[test]
    fn an_end_is_a_date_or_a_number() {
        let until = |end| schedule("2026-01-01T00:00:00Z", Some(Recurrence::Daily), Some(end));
        let date = End::Date(at("2026-01-03T00:00:00Z"));
        check(until(date), "2026-01-02T00:00:00Z", Some((2, "2026-01-03T00:00:00Z")));
        check(until(date), "2026-01-03T00:00:00Z", None);
        check(until(End::Occurrences(2)), "2026-01-01T00:00:00Z", Some((1, "2026-01-02T00:00:00Z")));
        check(until(End::Occurrences(2)), "2026-01-02T00:00:00Z", None);
        for (end, is_good) in [
            (End::Occurrences(0), false),
            (End::Occurrences(1), true),
            (End::Occurrences(OCCURRENCES_MAX), true),
            (End::Occurrences(OCCURRENCES_MAX + 1), false),
            (End::Date(at("2026-01-01T00:00:00Z")), true),
            (End::Date(at("2025-12-31T00:00:00Z")), false),
        ] {
            assert_eq!(until(end).check().is_ok(), is_good, "{end:?}");
        }
    }

    #[test]
    fn times_that_passed_are_counted() {
        let check = |schedule: Schedule, now: &str, expected: u32| {
            assert_eq!(schedule.passed(at(now)), expected, "{schedule:?} at {now}");
        };
        let once = schedule("2026-01-31T10:00:00Z", None, None);
        check(once, "2026-01-31T09:59:59Z", 0);
        check(once, "2026-01-31T10:00:00Z", 1);
        check(once, "2036-01-31T10:00:00Z", 1);
        let monthly = Schedule { recurrence: Some(Recurrence::Monthly), end: Some(End::Occurrences(3)), ..once };
        check(monthly, "2026-02-28T10:00:00Z", 2);
        check(monthly, "2036-02-28T10:00:00Z", 3);
        let daily = Schedule { recurrence: Some(Recurrence::Daily), ..once };
        check(daily, "2027-01-31T10:00:00Z", 366);
        let until = Schedule { end: Some(End::Date(at("2026-02-02T09:00:00Z"))), ..daily };
        check(until, "2027-01-31T10:00:00Z", 2);
    }

    #[test]
    fn a_schedule_is_read_as_it_was_stored() {
        let once = schedule("2026-01-31T10:00:00Z", None, None);
        let ends = [None, Some(End::Occurrences(3)), Some(End::Date(at("2026-02-02T09:00:00Z")))];
        for end in ends {
            let one = Schedule { recurrence: Some(Recurrence::Weekly), end, ..once };
            let text = serde_json::to_string(&one).unwrap();
            assert_eq!(serde_json::from_str::<Schedule>(&text).unwrap(), one, "{text}");
        }
    }

    #[test]
    fn the_end_of_the_calendar_is_an_end() {
        let last = schedule("9999-12-31T10:00:00Z", Some(Recurrence::Monthly), None);
        check(last, "9999-12-31T10:00:00Z", None);
        let beyond = Schedule { start: Timestamp::from_millis(i64::MAX), ..last };
        assert!(beyond.check().is_err());
        assert_eq!(beyond.next_after(Timestamp::from_millis(0)), None);
    }
}
