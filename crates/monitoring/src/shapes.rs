//! What is shown of points, events and places, as `docs/platform-api.md` has it.

use std::sync::Arc;

use gantry_detection::Direction;
use gantry_hub::event::StoredEvent;
use gantry_identity::Timestamp;
use serde_json::{Value, json};

use crate::live::Live;
use crate::monitoring::{Forecast, LevelChange, MaintenanceItem, ToLimit};
use crate::pipeline::Judged;
use crate::points::Point;

impl MaintenanceItem {
    /// As `docs/platform-api.md` shows it.
    pub fn document(&self) -> Value {
        json!({
            "place": self.place,
            "deviceId": self.device,
            "urgency": round(self.urgency),
            "reason": self.reason,
            "signal": self.signal,
            "lastServiced": self.last_serviced.map(|at| at.to_string()),
        })
    }
}

impl Point {
    /// As `docs/platform-api.md` shows it.
    pub fn document(&self) -> Value {
        json!({
            "time": self.at.to_string(),
            "value": self.value,
            "score": round(self.score),
            "low": self.band.map(|b| b.0),
            "expected": self.band.map(|b| b.1),
            "high": self.band.map(|b| b.2),
            "anomaly": self.is_anomaly(),
            "reason": self.words(),
        })
    }
}

impl Forecast {
    /// As `docs/platform-api.md` shows it.
    pub fn document(&self) -> Value {
        json!({
            "time": self.at.to_string(),
            "low": self.band.low,
            "expected": self.band.expected,
            "high": self.band.high,
        })
    }
}

impl ToLimit {
    /// As `docs/platform-api.md` shows it.
    pub fn document(&self) -> Value {
        let time = |ms: Option<i64>| ms.map(|ms| Timestamp::from_millis(ms).to_string());
        let remaining = self.remaining;
        let words = remaining.map_or_else(|| "too little is known yet".to_owned(), |remaining| remaining.to_string());
        json!({
            "ruleId": self.rule_id,
            "limit": self.limit,
            "direction": match self.direction { Direction::Above => "above", Direction::Below => "below" },
            "earliest": time(remaining.and_then(|remaining| remaining.earliest_ms)),
            "likely": time(remaining.and_then(|remaining| remaining.likely_ms)),
            "latest": time(remaining.and_then(|remaining| remaining.latest_ms)),
            "until": time(remaining.map(|remaining| remaining.until_ms)),
            "words": words,
        })
    }
}

impl LevelChange {
    /// As `docs/platform-api.md` shows it.
    pub fn document(&self) -> Value {
        json!({ "time": self.at.to_string(), "from": self.from, "to": self.to })
    }
}

/// A number for people: four digits.
pub(crate) fn number(value: f64) -> String {
    gantry_detection::in_digits(value)
}

/// An instant for people: date and minute, UTC.
pub(crate) fn minute(at: Timestamp) -> String {
    at.to_string().chars().take(16).map(|c| if c == 'T' { ' ' } else { c }).collect()
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

pub(crate) fn point_event(judged: Judged<'_>) -> Live {
    let mut data = judged.point.document();
    data["deviceId"] = (&**judged.device).into();
    data["signal"] = (&**judged.signal).into();
    Live { name: "point", device: Some(Arc::clone(judged.device)), data: data.to_string().into() }
}

pub(crate) fn monitored(event: &StoredEvent) -> Live {
    let body = serde_json::from_slice::<Value>(&event.body)
        .unwrap_or_else(|_| String::from_utf8_lossy(&event.body).into_owned().into());
    let properties: serde_json::Map<_, _> =
        event.properties.iter().map(|(name, value)| (name.clone(), value.as_deref().into())).collect();
    let data = json!({
        "deviceId": event.identity.device.as_str(),
        "moduleId": event.identity.module.as_ref().map(|m| m.as_str()),
        "partition": event.partition,
        "sequenceNumber": event.sequence_number,
        "enqueuedTime": event.enqueued_at.to_string(),
        "source": event.source.as_str(),
        "messageId": event.system.message_id.as_deref(),
        "contentType": event.system.content_type.as_deref(),
        "properties": properties,
        "body": body,
    });
    let device = Some(Arc::from(event.identity.device.as_str()));
    Live { name: "message", device, data: data.to_string().into() }
}
