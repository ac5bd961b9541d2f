//! Faults an operator plans, to see how a fleet and its back end take them: lost and repeated
//! messages, slow acknowledgements, refused calls, clocks that differ, certificates that ran out.
//!
//! Off unless the hub allows faults. A plan ends by itself. Shares are exact and in turn
//! (a quarter is every fourth), so that a run can be repeated.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gantry_identity::{Identity, Timestamp};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::error::HubError;
use crate::hub::Hub;

/// Longest plan in seconds.
const DURATION_SECS_MAX: u64 = 86_400;
/// Longest delay of an acknowledgement in milliseconds.
const DELAY_MS_MAX: u64 = 60_000;
/// Largest skew of the clock in seconds: a year.
const SKEW_SECS_MAX: i64 = 31_536_000;
/// Devices a plan may be limited to.
const DEVICES_MAX: usize = 1_000;

/// What goes wrong, and for how long.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FaultPlan {
    /// Seconds until everything is well again, 1 to 86,400.
    pub duration_secs: u64,
    /// Devices it is for; all when empty. REST faults and the clock of services are for everybody.
    #[serde(default)]
    pub devices: Vec<String>,
    /// What happens to telemetry.
    #[serde(default)]
    pub telemetry: Option<TelemetryFaults>,
    /// What happens to REST calls.
    #[serde(default)]
    pub rest: Option<RestFault>,
    /// Seconds the hub's clock is ahead when it looks at tokens and certificates; negative is behind.
    #[serde(default)]
    pub clock_skew_secs: i64,
    /// Whether certificates of devices count as expired.
    #[serde(default)]
    pub certificates_expired: bool,
}

/// What happens to telemetry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct TelemetryFaults {
    /// Milliseconds an acknowledgement is held back.
    pub delay_ms: u64,
    /// Share of sends that are lost on the way: not stored, not acknowledged, the connection ends (0 to 1).
    pub drop_share: f64,
    /// Share of sends that are stored twice (0 to 1).
    pub duplicate_share: f64,
}

/// What happens to REST calls.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestFault {
    /// 429, 500 or 503.
    pub status: u16,
    /// Share of calls that are refused (0 to 1).
    #[serde(default = "all")]
    pub share: f64,
    /// Seconds in `Retry-After`.
    #[serde(default)]
    pub retry_after_secs: Option<u32>,
}

fn all() -> f64 {
    1.0
}

/// The plan under way.
#[derive(Debug, Default)]
pub(super) struct Planned {
    current: RwLock<Option<(FaultPlan, Timestamp)>>,
    dropped: Turns,
    duplicated: Turns,
    refused: Turns,
}

/// Counts, so that a share is met exactly and in turn.
#[derive(Debug, Default)]
struct Turns(AtomicU64);

impl Turns {
    fn is_hit(&self, share: f64) -> bool {
        let n = self.0.fetch_add(1, Ordering::Relaxed) as f64;
        ((n + 1.0) * share).floor() > (n * share).floor()
    }
}

/// What happens to a send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SendFault {
    pub(crate) delay: Duration,
    pub(crate) is_doubled: bool,
}

impl FaultPlan {
    fn check(&self) -> Result<(), HubError> {
        let wrong = |words: &str| Err(HubError::Invalid(words.to_owned()));
        let is_share = |share: f64| (0.0..=1.0).contains(&share);
        if !(1..=DURATION_SECS_MAX).contains(&self.duration_secs) {
            return wrong("durationSecs is from 1 to 86400");
        }
        if self.devices.len() > DEVICES_MAX {
            return wrong("devices names at most 1000 devices");
        }
        if self.clock_skew_secs.abs() > SKEW_SECS_MAX {
            return wrong("clockSkewSecs is at most a year either way");
        }
        if let Some(telemetry) = self.telemetry {
            if telemetry.delay_ms > DELAY_MS_MAX {
                return wrong("telemetry.delayMs is at most 60000");
            }
            if !is_share(telemetry.drop_share) || !is_share(telemetry.duplicate_share) {
                return wrong("a share is from 0 to 1");
            }
        }
        match self.rest {
            Some(RestFault { status, .. }) if ![429, 500, 503].contains(&status) => {
                wrong("rest.status is 429, 500 or 503")
            }
            Some(RestFault { share, .. }) if !is_share(share) => wrong("a share is from 0 to 1"),
            _ => Ok(()),
        }
    }

    fn is_for(&self, identity: &Identity) -> bool {
        self.devices.is_empty() || self.devices.iter().any(|device| device == identity.device.as_str())
    }
}

impl Hub {
    /// Begins a plan in place of the one under way.
    ///
    /// # Errors
    /// [`HubError::FaultsOff`], or what is wrong with it.
    pub fn begin_faults(&self, now: Timestamp, plan: FaultPlan) -> Result<(), HubError> {
        if !self.config.allow_faults {
            return Err(HubError::FaultsOff);
        }
        plan.check()?;
        let until = now.plus(Duration::from_secs(plan.duration_secs));
        *self.faults.planned.current.write() = Some((plan, until));
        Ok(())
    }

    /// Ends the plan.
    pub fn end_faults(&self) {
        *self.faults.planned.current.write() = None;
    }

    /// The plan under way, and when it ends.
    pub fn fault_plan(&self, now: Timestamp) -> Option<(FaultPlan, Timestamp)> {
        if !self.config.allow_faults {
            return None;
        }
        self.faults.planned.current.read().clone().filter(|(_, until)| *until > now)
    }

    /// Calls `with` with the plan under way.
    fn planned<T>(&self, now: Timestamp, with: impl FnOnce(&FaultPlan) -> T) -> Option<T> {
        if !self.config.allow_faults {
            return None;
        }
        let current = self.faults.planned.current.read();
        current.as_ref().filter(|(_, until)| *until > now).map(|(plan, _)| with(plan))
    }

    /// What the hub takes for the time when it looks at credentials; of a device, or of a service.
    pub(crate) fn skewed(&self, now: Timestamp, identity: Option<&Identity>) -> Timestamp {
        let skew = self.planned(now, |plan| match identity {
            Some(identity) if !plan.is_for(identity) => 0,
            _ => plan.clock_skew_secs,
        });
        Timestamp::from_millis(now.as_millis().saturating_add(skew.unwrap_or(0).saturating_mul(1000)))
    }

    /// Whether a device's certificate counts as expired.
    pub(crate) fn certificate_is_out(&self, now: Timestamp, identity: &Identity) -> bool {
        self.planned(now, |plan| plan.certificates_expired && plan.is_for(identity)).unwrap_or(false)
    }

    /// What happens to a send of a device.
    pub(crate) fn send_fault(&self, now: Timestamp, identity: &Identity) -> Result<SendFault, HubError> {
        let faults = self.planned(now, |plan| plan.telemetry.filter(|_| plan.is_for(identity)));
        let Some(faults) = faults.flatten() else { return Ok(SendFault::default()) };
        if self.faults.planned.dropped.is_hit(faults.drop_share) {
            return Err(HubError::Failed("lost by a planned fault".into()));
        }
        let delay = Duration::from_millis(faults.delay_ms);
        Ok(SendFault { delay, is_doubled: self.faults.planned.duplicated.is_hit(faults.duplicate_share) })
    }

    /// Status and `Retry-After` seconds with which a REST call is refused.
    pub fn rest_fault(&self, now: Timestamp) -> Option<(u16, Option<u32>)> {
        let fault = self.planned(now, |plan| plan.rest)??;
        self.faults.planned.refused.is_hit(fault.share).then_some((fault.status, fault.retry_after_secs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_met_exactly_and_in_turn() {
        let hits = |share: f64| {
            let turns = Turns::default();
            (0..12).map(|_| if turns.is_hit(share) { 'x' } else { '.' }).collect::<String>()
        };
        assert_eq!(hits(0.25), "...x...x...x");
        assert_eq!(hits(1.0), "xxxxxxxxxxxx");
        assert_eq!(hits(0.0), "............");
        assert_eq!(hits(0.5), ".x.x.x.x.x.x");
    }

    #[test]
    fn what_cannot_be_planned_is_named() {
        let check = |json: &str| serde_json::from_str::<FaultPlan>(json).unwrap().check().map_err(|e| e.to_string());
        assert_eq!(check(r#"{"durationSecs":5,"telemetry":{"dropShare":0.5},"rest":{"status":503}}"#), Ok(()));
        for (json, words) in [
            (r#"{"durationSecs":0}"#, "durationSecs"),
            (r#"{"durationSecs":5,"rest":{"status":418}}"#, "status"),
            (r#"{"durationSecs":5,"rest":{"status":429,"share":2}}"#, "share"),
            (r#"{"durationSecs":5,"telemetry":{"duplicateShare":-1}}"#, "share"),
            (r#"{"durationSecs":5,"telemetry":{"delayMs":60001}}"#, "delayMs"),
            (r#"{"durationSecs":5,"clockSkewSecs":99999999}"#, "clockSkewSecs"),
        ] {
            assert!(check(json).unwrap_err().contains(words), "{json}");
        }
        assert!(serde_json::from_str::<FaultPlan>(r#"{"durationSecs":5,"mischief":1}"#).is_err());
    }
}
