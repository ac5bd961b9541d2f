//! Scheduled jobs: a job, and the times at which it is made.
//!
//! Times that passed while it was not there, was off or nobody looked are not made up for, but for the last of those
//! since somebody looked. Each time makes one job, whose [`Occurrence`](super::Occurrence) says which, so a time that
//! was made and not marked is not made twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use gantry_identity::Timestamp;
use serde::{Deserialize, Serialize};

use super::schedule::Schedule;
use super::{Job, JobError};
use crate::ids::JobId;
use crate::kept::Kept;

/// Scheduled jobs an application has; ours.
pub const SCHEDULED_MAX: usize = 500;

/// A scheduled job.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduledJob {
    /// What is made each time.
    pub job: Job,
    /// When.
    pub schedule: Schedule,
    /// Whether it is made.
    pub enabled: bool,
    /// How many of its times were made or are not made up for.
    done: u32,
}

/// Scheduled jobs by id.
pub type ScheduledJobs = BTreeMap<JobId, Arc<Kept<ScheduledJob>>>;

impl ScheduledJob {
    /// One as it is written now, in place of the one there is.
    ///
    /// # Errors
    /// [`JobError::Over`] among others.
    pub fn new(
        job: Job,
        schedule: Schedule,
        enabled: bool,
        before: Option<&Self>,
        now: Timestamp,
    ) -> Result<Self, JobError> {
        job.check_scheduled()?;
        schedule.check()?;
        let same = before.filter(|before| before.schedule == schedule);
        let done = match same {
            Some(before) if before.enabled => before.done,
            _ => schedule.passed(now),
        };
        let new = Self { job, schedule, enabled, done };
        if same.is_none() && new.is_completed() { Err(JobError::Over) } else { Ok(new) }
    }

    /// Whether none of its times is left.
    #[must_use]
    pub fn is_completed(&self) -> bool {
        self.schedule.occurrence(self.done).is_none()
    }

    /// When it is made next, if it is on.
    #[must_use]
    pub fn next(&self) -> Option<Timestamp> {
        if self.enabled { self.schedule.occurrence(self.done) } else { None }
    }

    /// The number of the time that is to be made now, if any: the last that passed.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> Option<u32> {
        let last = self.schedule.passed(now).checked_sub(1)?;
        (self.enabled && last >= self.done).then_some(last)
    }

    /// The same after a time was made.
    pub(crate) fn after(&self, number: u32) -> Self {
        Self { done: self.done.max(number.saturating_add(1)), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::schedule::{End, Recurrence};
    use super::super::tests::job;
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn daily() -> Schedule {
        let start = at("2026-01-01T10:00:00Z");
        Schedule { start, recurrence: Some(Recurrence::Daily), end: Some(End::Occurrences(4)) }
    }

    fn new(
        schedule: Schedule,
        enabled: bool,
        before: Option<&ScheduledJob>,
        now: &str,
    ) -> Result<ScheduledJob, JobError> {
        ScheduledJob::new(job(), schedule, enabled, before, at(now))
    }

    #[test]
    fn each_time_is_due_once_and_missed_ones_are_not_made_up_for() {
        let one = new(daily(), true, None, "2026-01-01T09:00:00Z").unwrap();
        assert_eq!(one.due(at("2026-01-01T09:59:59Z")), None);
        assert_eq!(one.next(), Some(at("2026-01-01T10:00:00Z")));
        assert_eq!(one.due(at("2026-01-01T10:00:00Z")), Some(0));
        let one = one.after(0);
        assert_eq!(one.due(at("2026-01-02T09:00:00Z")), None);
        assert_eq!(one.due(at("2026-01-03T12:00:00Z")), Some(2), "the last of two");
        let one = one.after(2);
        assert_eq!((one.next(), one.is_completed()), (Some(at("2026-01-04T10:00:00Z")), false));
        let one = one.after(3);
        assert_eq!((one.next(), one.is_completed(), one.due(at("2030-01-01T00:00:00Z"))), (None, true, None));
        assert_eq!(one.after(1), one);
    }

    #[test]
    fn what_passed_before_it_was_written_or_while_it_was_off_is_over() {
        let late = new(daily(), true, None, "2026-01-02T12:00:00Z").unwrap();
        assert_eq!(late.due(at("2026-01-02T12:00:00Z")), None);
        assert_eq!(late.next(), Some(at("2026-01-03T10:00:00Z")));
        let off = new(daily(), false, Some(&late), "2026-01-02T12:00:00Z").unwrap();
        assert_eq!((off.next(), off.due(at("2026-01-03T12:00:00Z"))), (None, None));
        let on = new(daily(), true, Some(&off), "2026-01-03T12:00:00Z").unwrap();
        assert_eq!(on.due(at("2026-01-03T12:00:00Z")), None);
        let kept = new(daily(), true, Some(&late), "2026-01-03T12:00:00Z").unwrap();
        assert_eq!(kept.due(at("2026-01-03T12:00:00Z")), Some(2), "one that is due stays so when nothing else changes");
    }

    #[test]
    fn a_schedule_without_a_time_left_is_refused_but_may_stay() {
        let past = "2026-02-01T00:00:00Z";
        assert_eq!(new(daily(), true, None, past), Err(JobError::Over));
        let once = Schedule { recurrence: None, end: None, ..daily() };
        let before = new(once, true, None, "2026-01-01T09:00:00Z").unwrap().after(0);
        assert!(new(once, true, Some(&before), past).unwrap().is_completed());
        assert_eq!(new(daily(), true, Some(&before), past), Err(JobError::Over));
        let wrong = Schedule { end: Some(End::Occurrences(0)), ..daily() };
        assert!(matches!(new(wrong, true, None, past), Err(JobError::Invalid { .. })));
    }

    #[test]
    fn it_is_read_as_it_was_stored() {
        let one = new(daily(), true, None, "2026-01-02T12:00:00Z").unwrap();
        let text = serde_json::to_string(&one).unwrap();
        assert_eq!(serde_json::from_str::<ScheduledJob>(&text).unwrap(), one, "{text}");
    }
}
