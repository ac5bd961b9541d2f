//! The event log as a table.
//!
//! Which columns bodies have is found out by reading: each query reads on from where the last one had got, and notes
//! the names it sees. A query then sees the log up to there.

use std::sync::{Arc, Mutex, PoisonError};

use gantry_analytics::telemetry::{Event, Rows, Seen};
use gantry_analytics::{Chunk, Context, Error, Flow, Result, Source, calendar};
use gantry_hub::event::{MessageSource, StoredEvent};
use gantry_hub::ports::{EventSource, LogError, Start};
use gantry_identity::Timestamp;
use gantry_kql::bound::Column;

use super::Waiter;

/// Events read at once.
const BATCH_EVENTS: usize = 4_096;
/// Bytes read at once, about.
const BATCH_BYTES: usize = 1 << 20;

/// Events of some kinds, as rows.
pub struct EventTable {
    waiter: Waiter,
    events: Arc<dyn EventSource>,
    about: &'static str,
    takes: fn(MessageSource) -> bool,
    seen: Mutex<State>,
}

#[derive(Default)]
struct State {
    seen: Seen,
    /// The next event of each partition that was not looked at.
    next: Vec<u64>,
}

impl EventTable {
    /// The events that a function takes.
    pub(super) fn new(
        waiter: Waiter,
        events: Arc<dyn EventSource>,
        about: &'static str,
        takes: fn(MessageSource) -> bool,
    ) -> Self {
        Self { waiter, events, about, takes, seen: Mutex::default() }
    }

    /// Calls for each event of a partition from a number up to another, excluded.
    fn each(
        &self,
        partition: u16,
        from: u64,
        to: u64,
        f: &mut dyn FnMut(&StoredEvent) -> Result<Flow>,
    ) -> Result<Flow> {
        if from >= to {
            return Ok(Flow::More);
        }
        let cursor =
            self.waiter.wait(self.events.read(partition, Start::At(from))).map_err(|error| unreadable(&error))?;
        let Some(mut cursor) = cursor else { return Ok(Flow::More) };
        while cursor.position() < to {
            let batch = self.waiter.wait(cursor.next(BATCH_EVENTS, BATCH_BYTES)).map_err(|error| unreadable(&error))?;
            let Some(batch) = batch else { return Ok(Flow::More) };
            for event in batch.events.iter().filter(|event| event.sequence_number < to) {
                if (self.takes)(event.source) && f(event)? == Flow::Enough {
                    return Ok(Flow::Enough);
                }
            }
        }
        Ok(Flow::More)
    }

    /// The number behind the last event of a partition, and of the first.
    fn ends(&self, partition: u16) -> Result<(u64, u64)> {
        let state = self.waiter.wait(self.events.partition(partition)).map_err(|error| unreadable(&error))?;
        Ok(state.map_or((0, 0), |state| (state.begin, state.last.map_or(state.begin, |(number, _)| number + 1))))
    }
}

fn unreadable(error: &LogError) -> Error {
    Error::Table { table: "of events".into(), reason: error.to_string() }
}

/// Ticks of an instant.
fn ticks(at: Timestamp) -> i64 {
    calendar::UNIX_EPOCH.saturating_add(at.as_millis().saturating_mul(10_000))
}

fn row<'a>(event: &'a StoredEvent, device: &'a str, module: &'a str) -> Event<'a> {
    Event {
        enqueued: ticks(event.enqueued_at),
        device,
        module,
        source: event.source.as_str(),
        partition: event.partition,
        sequence_number: event.sequence_number,
        message_id: event.system.message_id.as_deref().unwrap_or_default(),
        correlation_id: event.system.correlation_id.as_deref().unwrap_or_default(),
        content_type: event.system.content_type.as_deref().unwrap_or_default(),
        model_id: event.model_id.as_deref().unwrap_or_default(),
        properties: &event.properties,
        body: &event.body,
    }
}

impl Source for EventTable {
    fn about(&self) -> &'static str {
        self.about
    }

    fn key(&self) -> &'static [&'static str] {
        &["Partition", "SequenceNumber"]
    }

    fn rises_by(&self) -> Option<&'static str> {
        Some("SequenceNumber")
    }

    fn columns(&self) -> Result<Vec<Column>> {
        let mut state = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let State { seen, next } = &mut *state;
        next.resize(usize::from(self.events.partitions()), 0);
        for partition in 0..self.events.partitions() {
            let (begin, end) = self.ends(partition)?;
            let from = next[usize::from(partition)].max(begin);
            self.each(partition, from, end, &mut |event| {
                seen.note(&event.body);
                Ok(Flow::More)
            })?;
            next[usize::from(partition)] = end;
        }
        Ok(seen.columns())
    }

    fn scan(&self, columns: &[Column], context: &Context, sink: &mut dyn FnMut(Chunk) -> Result<Flow>) -> Result<Flow> {
        let next = self.seen.lock().unwrap_or_else(PoisonError::into_inner).next.clone();
        let mut rows = Rows::new(columns);
        for (partition, end) in (0..self.events.partitions()).zip(next) {
            let (begin, _) = self.ends(partition)?;
            let flow = self.each(partition, begin, end, &mut |event| {
                let module = event.identity.module.as_ref().map(|module| module.as_str()).unwrap_or_default();
                rows.push(&row(event, event.identity.device.as_str(), module));
                if !rows.is_full() {
                    return Ok(Flow::More);
                }
                context.check()?;
                rows.take().map_or(Ok(Flow::More), &mut *sink)
            })?;
            if flow == Flow::Enough {
                return Ok(Flow::Enough);
            }
        }
        rows.take().map_or(Ok(Flow::More), sink)
    }
}
