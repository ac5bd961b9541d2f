//! How a device of a fleet comes back after an outage: when it asks first, and when again.
//!
//! Pure: chance comes in as a number from 0 up to 1, so that every rule can be tested. There is one place that
//! decides on retries, and no layer below it retries by itself. Rules: "device reconnection" and "best practices
//! for large-scale deployments" of the reference service.

use std::time::Duration;

/// The earliest a device asks after an outage.
pub(super) const START_MIN: Duration = Duration::from_secs(1);
/// The shortest wait after a server error.
const BACK_OFF_MIN: Duration = Duration::from_secs(5);
/// Doublings of the back-off; later waits stay as long as the last.
const DOUBLINGS_MAX: u32 = 5;
/// Added to what the server asks for, at most, so that devices told the same do not come together.
const SPREAD: Duration = Duration::from_secs(5);
/// Failures after which a device gives up until somebody looks at it.
const FAILURES_MAX: u32 = 20;

/// What the returning fleet knows of itself and of the server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Devices that return.
    pub devices: u32,
    /// Connections a second the server takes.
    pub connections_per_second: f64,
    /// Share of these the return may use, above 0 and up to 1.
    pub load: f64,
}

impl Plan {
    /// The latest a device asks first: (1 / load) x T, T = devices / connections a second.
    pub(super) fn window(&self) -> Duration {
        let seconds = f64::from(self.devices) / self.connections_per_second / self.load;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX).max(START_MIN)
    }

    /// When a device asks first.
    pub(super) fn start(&self, chance: f64) -> Duration {
        START_MIN + (self.window() - START_MIN).mul_f64(chance)
    }
}

/// Why a request must be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// 429.
    Throttled { retry_after: Option<Duration> },
    /// 5xx.
    ServerError { retry_after: Option<Duration> },
    /// No answer: the connection failed.
    Unreachable,
}

/// How long to wait: what the server asked for, and the device's own part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wait {
    pub asked: Duration,
    pub own: Duration,
}

/// The retries of one device's return.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Retries {
    failures: u32,
    back_offs: u32,
    was_immediate: bool,
}

impl Retries {
    /// How long to wait before the next request; `None` when the device gives up.
    pub(super) fn next(&mut self, trouble: Trouble, chance: f64) -> Option<Wait> {
        self.failures += 1;
        if self.failures > FAILURES_MAX {
            return None;
        }
        match trouble {
            Trouble::Throttled { retry_after: Some(asked) } => Some(Wait { asked, own: SPREAD.mul_f64(chance) }),
            // A connection kept open may have been closed meanwhile: that is worth one try at once.
            Trouble::Unreachable if !self.was_immediate => {
                self.was_immediate = true;
                Some(Wait::default())
            }
            Trouble::ServerError { retry_after } => {
                let asked = retry_after.unwrap_or_default();
                Some(Wait { asked, own: self.back_off(chance) })
            }
            Trouble::Throttled { retry_after: None } | Trouble::Unreachable => {
                Some(Wait { asked: Duration::ZERO, own: self.back_off(chance) })
            }
        }
    }

    /// From 5, 10, 20 ... seconds up to twice that.
    fn back_off(&mut self, chance: f64) -> Duration {
        let step = BACK_OFF_MIN * 2_u32.pow(self.back_offs.min(DOUBLINGS_MAX));
        self.back_offs += 1;
        step + step.mul_f64(chance)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn trouble() -> impl Strategy<Value = Trouble> {
        let retry_after = || prop::option::of((0..120_u64).prop_map(Duration::from_secs));
        prop_oneof![
            retry_after().prop_map(|retry_after| Trouble::Throttled { retry_after }),
            retry_after().prop_map(|retry_after| Trouble::ServerError { retry_after }),
            Just(Trouble::Unreachable),
        ]
    }

    fn asked(trouble: Trouble) -> Duration {
        match trouble {
            Trouble::Throttled { retry_after } | Trouble::ServerError { retry_after } => {
                retry_after.unwrap_or_default()
            }
            Trouble::Unreachable => Duration::ZERO,
        }
    }

    proptest! {
        #[test]
        fn starts_keep_to_the_window_and_spread(
            devices in 1..1_000_000_u32, rate in 1.0..10_000.0, load in 0.05..1.0, chance in 0.0..1.0_f64,
        ) {
            let plan = Plan { devices, connections_per_second: rate, load };
            let start = plan.start(chance);
            prop_assert!(start >= START_MIN && start <= plan.window().max(START_MIN));
            let expected = (f64::from(devices) / rate / load).max(1.0);
            prop_assert!((plan.window().as_secs_f64() - expected).abs() < 1e-6 * expected);
            // A tenth of the chances is a tenth of the window.
            let tenth = plan.start(0.6).saturating_sub(plan.start(0.5)).as_secs_f64();
            prop_assert!((tenth - (expected - 1.0) / 10.0).abs() < 1e-6 * expected);
        }

        #[test]
        fn whatever_happens_one_retry_at_most_is_immediate_and_they_end(
            troubles in prop::collection::vec((trouble(), 0.0..1.0_f64), 1..60),
        ) {
            let mut retries = Retries::default();
            let mut immediate = 0;
            for (n, (trouble, chance)) in troubles.into_iter().enumerate() {
                let Some(wait) = retries.next(trouble, chance) else {
                    prop_assert_eq!(n, FAILURES_MAX as usize);
                    break;
                };
                prop_assert!(n < FAILURES_MAX as usize);
                prop_assert!(wait.asked == asked(trouble), "what the server asks for is honoured");
                let at_once = wait == Wait::default();
                // Being told to come back now is the server's wish.
                let told_now = trouble == Trouble::Throttled { retry_after: Some(Duration::ZERO) };
                immediate += u32::from(at_once && !told_now);
                let is_back_off = !at_once && !matches!(trouble, Trouble::Throttled { retry_after: Some(_) });
                prop_assert!(!is_back_off || wait.own >= BACK_OFF_MIN);
            }
            prop_assert!(immediate <= 1);
        }

        #[test]
        fn back_off_doubles_and_devices_part(chances in prop::collection::vec(0.0..1.0_f64, 6), other in 0.0..1.0_f64) {
            let error = Trouble::ServerError { retry_after: None };
            let (mut retries, mut least) = (Retries::default(), Duration::ZERO);
            for (n, chance) in chances.iter().enumerate() {
                let mut twin = retries;
                let wait = retries.next(error, *chance).unwrap().own;
                let step = BACK_OFF_MIN * 2_u32.pow(u32::try_from(n).unwrap());
                prop_assert!(wait >= step && wait <= step * 2 && wait >= least);
                least = step * 2;
                let apart = twin.next(error, other).unwrap().own.abs_diff(wait);
                prop_assert!(apart.as_secs_f64() + 1e-6 >= step.as_secs_f64() * (chance - other).abs());
            }
        }
    }

    #[test]
    fn the_immediate_retry_is_not_won_back() {
        let mut retries = Retries::default();
        assert_eq!(retries.next(Trouble::Unreachable, 0.5), Some(Wait::default()));
        assert!(retries.next(Trouble::Throttled { retry_after: Some(Duration::from_secs(3)) }, 0.0).is_some());
        assert!(retries.next(Trouble::Unreachable, 0.0).unwrap().own >= BACK_OFF_MIN);
    }
}
