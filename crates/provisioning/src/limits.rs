//! How often an instance may be asked ("DPS quotas and throttling"): off unless configured.

use std::collections::HashMap;
use std::time::Duration;

use gantry_identity::Timestamp;
use parking_lot::Mutex;

use crate::service::DpsError;

const MINUTE: Duration = Duration::from_secs(60);
/// The window in which one device's polls are counted.
const POLLS: Duration = Duration::from_secs(10);
/// Devices whose polls are counted at once; beyond it, the oldest window is forgotten as a whole.
const POLLERS_MAX: usize = 100_000;
/// Refused callers are asked to come back within this long after the window, so that they do not come at once.
const SPREAD: Duration = Duration::from_secs(30);

/// What may come in a window; absent is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Calls of the service API a minute.
    pub operations_per_minute: Option<u32>,
    /// Registrations a minute.
    pub registrations_per_minute: Option<u32>,
    /// Polls of one device in ten seconds.
    pub polls_per_ten_seconds: Option<u32>,
}

impl Limits {
    /// Those of the reference service.
    pub const REFERENCE: Self = Self {
        operations_per_minute: Some(1000),
        registrations_per_minute: Some(1000),
        polls_per_ten_seconds: Some(5),
    };
}

/// Number of the current window and what came in it.
type Window = (i64, u32);

/// What came in the current windows.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    operations: Mutex<Window>,
    registrations: Mutex<Window>,
    polls: Mutex<HashMap<String, Window>>,
}

/// Counts one; says how long the window still lasts when it is full.
fn count(window: &mut Window, now: Timestamp, length: Duration, max: u32) -> Result<(), Duration> {
    let length_ms = i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
    let number = now.as_millis().div_euclid(length_ms);
    if window.0 != number {
        *window = (number, 0);
    }
    if window.1 >= max {
        let rest_ms = length_ms - now.as_millis().rem_euclid(length_ms);
        return Err(Duration::from_millis(rest_ms.unsigned_abs()));
    }
    window.1 += 1;
    Ok(())
}

/// Later by a part of [`SPREAD`] that `drawn` chooses.
fn spread(rest: Duration, drawn: u64) -> DpsError {
    let more = Duration::from_millis(drawn % u64::try_from(SPREAD.as_millis()).unwrap_or(1));
    DpsError::Throttled { retry_after: rest + more }
}

impl Counters {
    pub(crate) fn operation(&self, limits: Limits, now: Timestamp, drawn: u64) -> Result<(), DpsError> {
        let Some(max) = limits.operations_per_minute else { return Ok(()) };
        count(&mut self.operations.lock(), now, MINUTE, max).map_err(|rest| spread(rest, drawn))
    }

    pub(crate) fn registration(&self, limits: Limits, now: Timestamp, drawn: u64) -> Result<(), DpsError> {
        let Some(max) = limits.registrations_per_minute else { return Ok(()) };
        count(&mut self.registrations.lock(), now, MINUTE, max).map_err(|rest| spread(rest, drawn))
    }

    pub(crate) fn poll(&self, limits: Limits, now: Timestamp, device: String) -> Result<(), DpsError> {
        let Some(max) = limits.polls_per_ten_seconds else { return Ok(()) };
        let mut polls = self.polls.lock();
        if polls.len() >= POLLERS_MAX {
            polls.clear();
        }
        let window = polls.entry(device).or_default();
        count(window, now, POLLS, max).map_err(|rest| DpsError::Throttled { retry_after: rest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_fills_and_a_new_one_begins() {
        let counters = Counters::default();
        let limits = Limits { registrations_per_minute: Some(2), ..Limits::default() };
        let now = Timestamp::from_millis(60_000 * 1000 + 20_000);
        counters.registration(limits, now, 7).unwrap();
        counters.registration(limits, now, 7).unwrap();
        let Err(DpsError::Throttled { retry_after }) = counters.registration(limits, now, 7) else { panic!() };
        assert_eq!(retry_after, Duration::from_millis(40_007));
        counters.registration(limits, now.plus(Duration::from_secs(40)), 7).unwrap();
    }

    #[test]
    fn each_device_polls_for_itself() {
        let counters = Counters::default();
        let now = Timestamp::from_millis(0);
        for _ in 0..5 {
            counters.poll(Limits::REFERENCE, now, "a".into()).unwrap();
        }
        assert!(counters.poll(Limits::REFERENCE, now, "a".into()).is_err());
        counters.poll(Limits::REFERENCE, now, "b".into()).unwrap();
        counters.poll(Limits::REFERENCE, now.plus(POLLS), "a".into()).unwrap();
    }

    #[test]
    fn nothing_is_counted_by_default() {
        let counters = Counters::default();
        for _ in 0..5000 {
            counters.operation(Limits::default(), Timestamp::from_millis(0), 0).unwrap();
        }
    }
}
