//! Faults a device asks for in a message of its own, as the official SDKs' suites do.
//!
//! A message with the application property `AzIoTHub_FaultOperationType` makes a hub that
//! allows it break something after a delay, for a while: the connection, its links, or the
//! device's right to send. The message itself is stored like any other.

use std::collections::HashMap;
use std::time::Duration;

use gantry_identity::{Identity, Timestamp};
use parking_lot::Mutex;

use crate::error::HubError;
use crate::events::event::Telemetry;
use crate::hub::Hub;
use crate::throttle::Operation;

const KIND: &str = "AzIoTHub_FaultOperationType";
const DELAY: &str = "AzIoTHub_FaultOperationDelayInSecs";
const DURATION: &str = "AzIoTHub_FaultOperationDurationInSecs";
/// Longest delay and duration taken.
const SECONDS_MAX: u64 = 3600;
/// Devices whose sending is refused at once.
const REFUSED_MAX: usize = 10_000;

/// What is to break. Links are those of AMQP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The TCP connection, without a word.
    KillTcp,
    /// The MQTT connection, in order.
    ShutDownMqtt,
    /// The AMQP connection, in order.
    ShutDownAmqp,
    /// The AMQP connection, with an error.
    KillAmqpConnection,
    /// The session.
    KillAmqpSession,
    /// The link to `$cbs`.
    KillAmqpCbsRequests,
    /// The link from `$cbs`.
    KillAmqpCbsResponses,
    /// The telemetry link.
    KillAmqpTelemetry,
    /// The cloud-to-device link.
    KillAmqpC2d,
    /// The link of twin requests.
    KillAmqpTwinRequests,
    /// The link of twin responses.
    KillAmqpTwinResponses,
    /// The link of method responses.
    KillAmqpMethodRequests,
    /// The link of methods.
    KillAmqpMethodResponses,
    /// What the device sends is throttled.
    Throttling,
    /// What the device sends is over the daily quota.
    Quota,
    /// What the device sends is not authorized.
    Auth,
}

impl FaultKind {
    /// Reads the word, without case.
    fn parse(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "killtcp" => Self::KillTcp,
            "shutdownmqtt" => Self::ShutDownMqtt,
            "shutdownamqp" => Self::ShutDownAmqp,
            "killamqpconnection" => Self::KillAmqpConnection,
            "killamqpsession" => Self::KillAmqpSession,
            "killamqpcbslinkreq" => Self::KillAmqpCbsRequests,
            "killamqpcbslinkresp" => Self::KillAmqpCbsResponses,
            "killamqpd2clink" => Self::KillAmqpTelemetry,
            "killamqpc2dlink" => Self::KillAmqpC2d,
            "killamqptwinlinkreq" => Self::KillAmqpTwinRequests,
            "killamqptwinlinkresp" => Self::KillAmqpTwinResponses,
            "killamqpmethodreqlink" => Self::KillAmqpMethodRequests,
            "killamqpmethodresplink" => Self::KillAmqpMethodResponses,
            "invokethrottling" => Self::Throttling,
            "invokemaxmessagequota" => Self::Quota,
            "invokeautherror" => Self::Auth,
            _ => return None,
        })
    }

    /// Whether the device's right to send is what breaks.
    pub fn refuses_sending(self) -> bool {
        matches!(self, Self::Throttling | Self::Quota | Self::Auth)
    }
}

/// A fault to carry out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What breaks.
    pub kind: FaultKind,
    /// When.
    pub delay: Duration,
    /// For how long; for those that refuse sending(FaultKind::refuses_sending).
    pub duration: Duration,
}

/// Devices whose sending is refused for a while.
#[derive(Debug, Default)]
pub(super) struct Refused(Mutex<HashMap<Identity, (FaultKind, Timestamp)>>);

impl Fault {
    /// The fault a message asks for.
    fn of(message: &Telemetry<'_>) -> Option<Self> {
        let property = |wanted: &str| {
            let found = message.properties.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.and_then(|(_, value)| value.as_deref())
        };
        let seconds = |name: &str, default: u64| {
            let given = property(name).and_then(|text| text.trim().parse().ok());
            Duration::from_secs(given.unwrap_or(default).min(SECONDS_MAX))
        };
        Some(Self {
            kind: FaultKind::parse(property(KIND)?)?,
            delay: seconds(DELAY, 1),
            duration: seconds(DURATION, 5),
        })
    }
}

impl Hub {
    /// The first fault that messages ask for, on a hub that allows it.
    pub fn fault_in(&self, messages: &[Telemetry<'_>]) -> Option<Fault> {
        if !self.config.allow_faults {
            return None;
        }
        messages.iter().find_map(Fault::of)
    }

    /// Lets what a device sends be refused from now on, for as long as the fault says.
    pub fn refuse_sending(&self, now: Timestamp, identity: &Identity, fault: Fault) {
        let mut refused = self.faults.refused.0.lock();
        refused.retain(|_, (_, until)| *until > now);
        if refused.len() < REFUSED_MAX {
            refused.insert(identity.clone(), (fault.kind, now.plus(fault.duration)));
        }
    }

    /// Whether what a device sends is refused just now.
    pub(crate) fn check_sending(&self, now: Timestamp, identity: &Identity) -> Result<(), HubError> {
        if !self.config.allow_faults {
            return Ok(());
        }
        let fault = self.faults.refused.0.lock().get(identity).copied();
        match fault.filter(|(_, until)| *until > now) {
            None => Ok(()),
            Some((FaultKind::Quota, _)) => Err(HubError::QuotaExceeded(0)),
            Some((FaultKind::Auth, _)) => Err(HubError::Unauthorized(gantry_identity::Refusal::Signature)),
            Some(_) => Err(HubError::Throttled(Operation::Telemetry)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(properties: &[(&str, &str)]) -> Option<Fault> {
        let properties = properties.iter().map(|(k, v)| ((*k).into(), Some((*v).into()))).collect();
        Fault::of(&Telemetry { properties, ..Telemetry::default() })
    }

    #[test]
    fn faults_are_read_as_the_suites_write_them() {
        let all = [
            ("AzIoTHub_FaultOperationType", "KillAmqpD2CLink"),
            ("AzIoTHub_FaultOperationCloseReason", "boom"),
            ("AzIoTHub_FaultOperationDelayInSecs", "2"),
            ("AzIoTHub_FaultOperationDurationInSecs", "20"),
        ];
        let expected = Fault {
            kind: FaultKind::KillAmqpTelemetry,
            delay: Duration::from_secs(2),
            duration: Duration::from_secs(20),
        };
        assert_eq!(fault(&all), Some(expected));
        let bare = fault(&all[..1]).unwrap();
        assert_eq!((bare.delay, bare.duration), (Duration::from_secs(1), Duration::from_secs(5)));
        assert_eq!(fault(&[("AzIoTHub_FaultOperationType", "Explode")]), None);
        assert_eq!(fault(&[("other", "KillTcp")]), None);
        let long = fault(&[all[0], ("AzIoTHub_FaultOperationDelayInSecs", "99999999")]).unwrap();
        assert_eq!(long.delay, Duration::from_secs(3600));
        assert_eq!(FaultKind::parse("killtcp"), Some(FaultKind::KillTcp));
    }
}
