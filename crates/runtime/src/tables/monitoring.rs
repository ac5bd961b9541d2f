//! What monitoring knows, as tables: the maintenance list, alerts, points of signals and their forecasts, refused access.

use std::sync::Arc;

use gantry_analytics::pushdown::Need;
use gantry_analytics::{Chunk, Context, Flow, Result, Source, calendar, small_table};
use gantry_identity::Timestamp;
use gantry_kql::bound::Column;
use gantry_kql::value::{DateTime, Type, Value};
use gantry_monitoring::Monitoring;

/// Points of a signal, at most.
const POINTS_MAX: usize = 100_000;
/// Times for which each signal is forecast.
const FORECAST_POINTS: u32 = 48;
/// Alerts, at most.
const ALERTS_MAX: usize = 100_000;

type Make = fn(&Monitoring) -> Vec<Vec<Value>>;

/// A table that is made when it is asked for.
struct Listed {
    monitoring: Arc<Monitoring>,
    about: &'static str,
    columns: &'static [(&'static str, Type)],
    key: &'static [&'static str],
    make: Make,
}

impl Source for Listed {
    fn about(&self) -> &'static str {
        self.about
    }

    fn key(&self) -> &'static [&'static str] {
        self.key
    }

    fn columns(&self) -> Result<Vec<Column>> {
        Ok(self.columns.iter().map(|(name, ty)| Column::new(*name, *ty)).collect())
    }

    fn scan(&self, _: &[Column], _: &Need, _: &Context, sink: &mut dyn FnMut(Chunk) -> Result<Flow>) -> Result<Flow> {
        for chunk in small_table(self.columns, (self.make)(&self.monitoring)).chunks {
            if chunk.rows > 0 && sink(chunk)? == Flow::Enough {
                return Ok(Flow::Enough);
            }
        }
        Ok(Flow::More)
    }
}

/// Every table.
pub fn tables(monitoring: &Arc<Monitoring>) -> Vec<(String, Arc<dyn Source>)> {
    let table = |name: &str, about, columns, key, make| -> (String, Arc<dyn Source>) {
        (name.to_owned(), Arc::new(Listed { monitoring: Arc::clone(monitoring), about, columns, key, make }))
    };
    vec![
        table(
            "MaintenanceList",
            "What needs maintenance first.",
            MAINTENANCE,
            &["DeviceId"] as &[&str],
            maintenance as Make,
        ),
        table("Alerts", "Alerts, open and closed.", ALERTS, &["AlertId"], alerts as Make),
        table(
            "Signals",
            "The last points of every signal, as they were judged.",
            SIGNALS,
            SIGNALS_KEY,
            signals as Make,
        ),
        table(
            "Forecasts",
            "Where every signal is expected, as far ahead as that can be told: nine of ten values lie between Low and High.",
            FORECASTS,
            SIGNALS_KEY,
            forecasts as Make,
        ),
        table("SecurityEvents", "Who was refused.", SECURITY, SECURITY_KEY, security as Make),
    ]
}

/// Ticks of an instant.
pub fn ticks(at: Timestamp) -> i64 {
    calendar::UNIX_EPOCH.saturating_add(at.as_millis().saturating_mul(10_000))
}

/// The instant of ticks.
pub fn timestamp(ticks: i64) -> Timestamp {
    Timestamp::from_millis(ticks.saturating_sub(calendar::UNIX_EPOCH) / 10_000)
}

/// An instant, null when it never was.
pub fn datetime(at: Timestamp) -> Value {
    let ticks = at.as_millis().checked_mul(10_000).and_then(|since| since.checked_add(calendar::UNIX_EPOCH));
    match ticks.and_then(DateTime::from_ticks) {
        Some(instant) if at != Timestamp::NEVER => Value::DateTime(instant),
        _ => Value::Null,
    }
}

fn text(text: impl Into<String>) -> Value {
    Value::String(text.into())
}

const MAINTENANCE: &[(&str, Type)] = &[
    ("Place", Type::Long),
    ("DeviceId", Type::String),
    ("Urgency", Type::Real),
    ("Reason", Type::String),
    ("Signal", Type::String),
    ("LastServiced", Type::DateTime),
];

fn maintenance(monitoring: &Monitoring) -> Vec<Vec<Value>> {
    let row = |item: gantry_monitoring::MaintenanceItem| {
        vec![
            Value::Long(item.place as i64),
            text(item.device),
            Value::Real(item.urgency),
            text(item.reason),
            text(item.signal.unwrap_or_default()),
            item.last_serviced.map_or(Value::Null, datetime),
        ]
    };
    monitoring.maintenance().into_iter().map(row).collect()
}

const ALERTS: &[(&str, Type)] = &[
    ("AlertId", Type::String),
    ("RuleId", Type::String),
    ("DeviceId", Type::String),
    ("Severity", Type::String),
    ("State", Type::String),
    ("Title", Type::String),
    ("Reason", Type::String),
    ("OpenedAt", Type::DateTime),
];

fn alerts(monitoring: &Monitoring) -> Vec<Vec<Value>> {
    // Severities and states are told in the words of the API.
    let word = |value: serde_json::Result<serde_json::Value>| {
        text(value.ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default())
    };
    let row = |alert: gantry_monitoring::alerts::Alert| {
        vec![
            text(alert.id),
            text(alert.rule_id),
            text(alert.device_id.unwrap_or_default()),
            word(serde_json::to_value(alert.severity)),
            word(serde_json::to_value(alert.state)),
            text(alert.title),
            text(alert.reason),
            datetime(alert.opened_at),
        ]
    };
    monitoring.alerts(None, ALERTS_MAX).into_iter().map(row).collect()
}

const SIGNALS_KEY: &[&str] = &["DeviceId", "Signal", "Timestamp"];

const SIGNALS: &[(&str, Type)] = &[
    ("Timestamp", Type::DateTime),
    ("DeviceId", Type::String),
    ("Signal", Type::String),
    ("Value", Type::Real),
    ("Score", Type::Real),
    ("IsAnomaly", Type::Bool),
    ("Reason", Type::String),
];

fn signals(monitoring: &Monitoring) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    for device in monitoring.devices() {
        for (signal, _) in monitoring.signals(&device) {
            for point in monitoring.series(&device, &signal, POINTS_MAX).unwrap_or_default() {
                rows.push(vec![
                    datetime(point.at),
                    text(&*device),
                    text(&*signal),
                    Value::Real(point.value),
                    Value::Real(point.score),
                    Value::Bool(point.is_anomaly()),
                    text(point.words().unwrap_or_default()),
                ]);
            }
        }
    }
    rows
}

const FORECASTS: &[(&str, Type)] = &[
    ("Timestamp", Type::DateTime),
    ("DeviceId", Type::String),
    ("Signal", Type::String),
    ("Low", Type::Real),
    ("Expected", Type::Real),
    ("High", Type::Real),
];

fn forecasts(monitoring: &Monitoring) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    for device in monitoring.devices() {
        for (signal, _) in monitoring.signals(&device) {
            for one in monitoring.forecast(&device, &signal, i64::MAX, FORECAST_POINTS).unwrap_or_default() {
                rows.push(vec![
                    datetime(one.at),
                    text(&*device),
                    text(&*signal),
                    Value::Real(one.band.low),
                    Value::Real(one.band.expected),
                    Value::Real(one.band.high),
                ]);
            }
        }
    }
    rows
}

const SECURITY_KEY: &[&str] = &["Timestamp", "Claimed", "Peer", "Operation", "Reason"];

const SECURITY: &[(&str, Type)] = &[
    ("Timestamp", Type::DateTime),
    ("Claimed", Type::String),
    ("Peer", Type::String),
    ("Operation", Type::String),
    ("Reason", Type::String),
    ("Count", Type::Long),
];

fn security(monitoring: &Monitoring) -> Vec<Vec<Value>> {
    let row = |event: gantry_monitoring::security::SecurityEvent| {
        vec![
            datetime(event.at),
            text(event.claimed),
            text(event.peer),
            text(event.operation),
            text(event.reason),
            Value::Long(event.count as i64),
        ]
    };
    monitoring.security().into_iter().map(row).collect()
}
