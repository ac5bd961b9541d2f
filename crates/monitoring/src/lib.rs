//! Monitoring: signals, maintenance list, rules, alerts, security events.
//!
//! [`Monitoring`] takes events from the log and refused access from the heads, keeps what the
//! page shows and says which actions are due. It decides and remembers; it sends nothing,
//! reads no clock and owns no thread: the server's runner calls it, stores what it changed
//! and carries out its actions.
//!
//! Alerts, rules and security events serialize as `docs/platform-api.md` shows them: that
//! page is both their REST shape and their document shape.

pub mod actions;
pub mod alerts;
pub mod dashboards;
pub mod live;
mod monitoring;
pub mod pipeline;
pub mod points;
pub mod ports;
pub mod rules;
pub mod security;
mod shapes;
pub mod signals;

pub use monitoring::{DeviceHealth, Forecast, LevelChange, MaintenanceItem, Monitoring, SignalSummary, ToLimit};

/// Score from which a point is an anomaly: the detector's own alerting threshold.
pub const ANOMALY_SCORE: f64 = gantry_detection::ALERT_SCORE;

use gantry_identity::Timestamp;
use serde::{Deserialize, Deserializer, Serializer};

/// Instants as ISO 8601 in documents.
pub(crate) mod iso {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(at)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        Timestamp::parse(&text).ok_or_else(|| serde::de::Error::custom("not an ISO 8601 instant"))
    }
}
