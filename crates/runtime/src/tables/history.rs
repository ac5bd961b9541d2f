//! Values of signals that were sent before this process began, out of the table of telemetry.

use std::sync::Arc;

use gantry_analytics::pushdown::{Need, Range};
use gantry_analytics::{Cancel, Chunk, Context, Flow, Limits, Source};
use gantry_api::{History, Measured};
use gantry_hub::event::names;
use gantry_identity::Timestamp;
use gantry_kql::bound::Column;
use gantry_kql::value::{Dynamic, TICKS_PER_MINUTE, Value};
use gantry_monitoring::signals::Sample;

use super::events::EventTable;
use super::monitoring::{ticks, timestamp};

/// How far back is looked first; twice as far each time that too little is found.
const FIRST_TICKS: i64 = 10 * TICKS_PER_MINUTE;
/// How often it is looked farther back (113 days, then), before everything is.
const TIMES: u32 = 15;
/// How long a page waits.
const SECONDS_MAX: u64 = 5;

/// The table of telemetry, for charts.
pub(super) struct OfTelemetry(pub Arc<EventTable>);

/// What is asked of it.
struct Wanted<'a> {
    columns: Vec<Column>,
    device: &'a str,
    signal: &'a str,
    before: Option<Timestamp>,
    context: Context,
}

impl History for OfTelemetry {
    fn values(
        &self,
        device: &str,
        signal: &str,
        before: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<Measured>, String> {
        let now = ticks(gantry_gateway::now());
        let limits = Limits { seconds_max: SECONDS_MAX, ..Limits::default() };
        let context = Context::new(now, limits, Cancel::default(), 0);
        let columns = self.0.columns().map_err(|error| error.to_string())?;
        let wanted = Wanted { columns, device, signal, before, context };
        let mut found = Vec::new();
        let mut high = None;
        for low in (0..TIMES).map(|time| Some(now - (FIRST_TICKS << time))).chain([None]) {
            self.between(&wanted, low, high, &mut found).map_err(|error| error.to_string())?;
            if found.len() >= limit {
                break;
            }
            high = low.map(|low| low - 1);
        }
        found.sort_by_key(|measured| measured.at);
        Ok(found.split_off(found.len().saturating_sub(limit)))
    }
}

impl OfTelemetry {
    /// Adds what was taken between two instants, both included.
    fn between(
        &self,
        wanted: &Wanted,
        low: Option<i64>,
        high: Option<i64>,
        found: &mut Vec<Measured>,
    ) -> gantry_analytics::Result<()> {
        let place = |name: &str| wanted.columns.iter().position(|column| *column.name == *name).unwrap_or(0);
        let [enqueued, device, properties, body] = ["EnqueuedTime", "DeviceId", "Properties", "Body"].map(place);
        let looked_at = |at| [enqueued, device, properties, body].contains(&at);
        let instant = |ticks: Option<i64>| ticks.map(|ticks| Value::DateTime(gantry_kql::value::DateTime(ticks)));
        let of_device = Some(Value::String(wanted.device.into()));
        let need = Need {
            columns: Some((0..wanted.columns.len()).map(looked_at).collect()),
            ranges: vec![
                Range { column: device, low: of_device.clone(), high: of_device },
                Range { column: enqueued, low: instant(low), high: instant(high) },
            ],
        };
        let mut sample = Sample::default();
        let mut take = |chunk: Chunk| {
            wanted.context.check()?;
            for row in 0..chunk.rows {
                // Ranges are hints.
                let Some(at) = chunk.columns[enqueued].cell(row).datetime() else { continue };
                let is_between = low.is_none_or(|low| at >= low) && high.is_none_or(|high| at <= high);
                if !is_between || chunk.columns[device].cell(row).text() != wanted.device {
                    continue;
                }
                let made = made(&chunk, properties, row);
                let body = chunk.columns[body].cell(row).text();
                if !sample.read_message(body.as_bytes(), made.as_deref(), timestamp(at)) {
                    continue;
                }
                let value = sample.values().find(|(name, _)| *name == wanted.signal).map(|(_, value)| value);
                if let Some(value) = value
                    && wanted.before.is_none_or(|before| sample.at() < before)
                {
                    found.push(Measured { at: sample.at(), value });
                }
            }
            Ok(Flow::More)
        };
        self.0.scan(&wanted.columns, &need, &wanted.context, &mut take).map(drop)
    }
}

/// When a message was made, as its properties say.
fn made(chunk: &Chunk, properties: usize, row: usize) -> Option<String> {
    match chunk.columns[properties].value(row) {
        Value::Dynamic(Dynamic::Bag(bag)) => match bag.get(names::CREATION_TIME) {
            Some(Dynamic::String(text)) => Some(text.to_string()),
            _ => None,
        },
        _ => None,
    }
}
