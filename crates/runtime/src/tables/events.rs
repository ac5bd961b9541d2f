//! The event log as a table.
//!
//! Most rows are in extents of the store, sorted by device and time; the newest are still in the log only. How far the
//! extents reach is committed together with them, so a row is in an extent or behind that place in the log, never in
//! both and never in neither. The rows behind are read when a query asks for them and kept until they are sealed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gantry_analytics::pushdown::{Need, Range};
use gantry_analytics::store::{Definitions, Extent, Rows, Snapshot, TableDefinition, TableStore};
use gantry_analytics::telemetry::{Conform, Event, Gather, Seen};
use gantry_analytics::{Chunk, Context, Error, Flow, Part, Result, Source, sorted_rows};
use gantry_hub::event::{MessageSource, StoredEvent};
use gantry_hub::ports::{EventSource, LogError, Start};
use gantry_kql::bound::Column;
use gantry_kql::value::Type;

use super::Waiter;
use super::monitoring::ticks;

/// Events read at once.
const BATCH_EVENTS: usize = 4_096;
/// Bytes read at once, about.
const BATCH_BYTES: usize = 1 << 20;
/// Bytes of bodies behind the extents that are sealed into a new one however few rows they are, about.
const SEAL_BYTES: usize = 16 << 20;
/// Fewer are sealed when it was so long ago that any were: before the log lets them go.
const SEAL_AFTER: Duration = Duration::from_secs(3600);
/// Columns that rows of an extent are sorted by: device, then time.
pub(super) const ORDER: [usize; 2] = [1, 0];

/// Events of some kinds, as rows.
pub struct EventTable {
    name: &'static str,
    about: &'static str,
    waiter: Waiter,
    events: Arc<dyn EventSource>,
    store: Arc<dyn TableStore>,
    takes: fn(MessageSource) -> bool,
    tail: Mutex<Option<Tail>>,
    sealed: Mutex<Instant>,
    seal_rows: usize,
}

/// The rows behind the extents.
struct Tail {
    gather: Gather,
    /// Rows as they were read, with the columns of their time.
    chunks: Vec<(Vec<Column>, Chunk)>,
    rows: usize,
    bytes: usize,
    /// The next event of each partition that was not looked at.
    next: Vec<u64>,
}

impl EventTable {
    /// The events that a function takes.
    pub(super) fn new(
        name: &'static str,
        about: &'static str,
        waiter: Waiter,
        (events, store): (Arc<dyn EventSource>, Arc<dyn TableStore>),
        takes: fn(MessageSource) -> bool,
        seal_rows: usize,
    ) -> Self {
        Self {
            name,
            about,
            waiter,
            events,
            store,
            takes,
            tail: Mutex::default(),
            sealed: Mutex::new(Instant::now()),
            seal_rows,
        }
    }

    /// The name of the table.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Seals the rows behind the extents when they are many, or have waited for long, and says so. Else nothing is
    /// read.
    ///
    /// # Errors
    /// When the log cannot be read or the store not written.
    pub(super) fn seal(&self) -> Result<bool> {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = self.store.snapshot();
        let next = cursors(&snapshot, self.name, self.events.partitions());
        let mut waiting = 0;
        for (partition, next) in (0..self.events.partitions()).zip(&next) {
            let (begin, end) = self.ends(partition)?;
            waiting += end.saturating_sub((*next).max(begin));
        }
        let mut last = self.sealed.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting >= self.seal_rows as u64 || (waiting > 0 && last.elapsed() >= SEAL_AFTER) {
            *last = Instant::now();
            let open = self.catch_up(&mut tail)?;
            self.seal_tail(open)?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Reads on to the end of the log.
    fn catch_up<'t>(&self, tail: &'t mut Option<Tail>) -> Result<&'t mut Tail> {
        let open = tail.get_or_insert_with(|| {
            let snapshot = self.store.snapshot();
            let known = snapshot.definitions.fed.get(self.name);
            let seen = known.map_or_else(Seen::default, |table| Seen::of(&table.schema()));
            let next = cursors(&snapshot, self.name, self.events.partitions());
            Tail { gather: Gather::new(seen), chunks: Vec::new(), rows: 0, bytes: 0, next }
        });
        for partition in 0..self.events.partitions() {
            let (begin, end) = self.ends(partition)?;
            loop {
                let from = open.next[usize::from(partition)].max(begin);
                if from >= end {
                    break;
                }
                self.read_some(open, partition, from, end)?;
                if open.rows >= self.seal_rows || open.bytes >= SEAL_BYTES {
                    self.seal_tail(open)?;
                }
            }
        }
        open.take();
        Ok(open)
    }

    /// Reads a batch of a partition.
    fn read_some(&self, tail: &mut Tail, partition: u16, from: u64, end: u64) -> Result<()> {
        let wrong = |error: LogError| Error::Table { table: self.name.into(), reason: error.to_string() };
        let cursor = self.waiter.wait(self.events.read(partition, Start::At(from))).map_err(wrong)?;
        let Some(mut cursor) = cursor else {
            tail.next[usize::from(partition)] = end;
            return Ok(());
        };
        while cursor.position() < end {
            let batch = self.waiter.wait(cursor.next(BATCH_EVENTS, BATCH_BYTES)).map_err(wrong)?;
            let Some(batch) = batch else {
                tail.next[usize::from(partition)] = end;
                return Ok(());
            };
            for event in batch.events.iter().filter(|event| event.sequence_number < end && (self.takes)(event.source)) {
                let module = event.identity.module.as_ref().map(|module| module.as_str()).unwrap_or_default();
                tail.gather.push(&row(event, event.identity.device.as_str(), module));
                tail.rows += 1;
                tail.bytes += event.body.len() + 128;
                if tail.gather.is_full() {
                    tail.chunks.extend(tail.gather.take());
                }
            }
            tail.next[usize::from(partition)] = cursor.position().min(end);
            if tail.rows >= self.seal_rows || tail.bytes >= SEAL_BYTES {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Writes the rows of the tail into an extent and forgets them.
    fn seal_tail(&self, open: &mut Tail) -> Result<()> {
        open.take();
        let columns = open.gather.seen().columns();
        let chunks: Vec<Chunk> = open
            .chunks
            .iter()
            .map(|(had, chunk)| Conform::new(had, &columns, &Need::all()).apply(chunk, &columns))
            .collect();
        let created = chunks.iter().filter_map(newest).max();
        let mut snapshot = self.store.snapshot();
        if snapshot.definitions.fed.get(self.name).is_none_or(|table| table.schema() != columns) {
            snapshot = self.store.change(&mut |snapshot| {
                define(&mut snapshot.definitions, self.name, self.about, &columns);
                Ok(())
            })?;
        }
        let table = &snapshot.definitions.fed[self.name];
        let extent = match created {
            None => None,
            Some(created) => {
                let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
                let sorted = sorted_rows(&columns, &chunks, &ORDER);
                let rows = Rows { columns: &table.ids(), names: &names, chunks: &[sorted], created, tags: Vec::new() };
                Some(self.store.write(&rows)?)
            }
        };
        let next = open.next.clone();
        self.store.change(&mut |snapshot| {
            if let Some(extent) = &extent {
                snapshot.add(table.id, Arc::clone(extent));
            }
            snapshot.cursors.insert(table.id, next.clone());
            Ok(())
        })?;
        (open.chunks, open.rows, open.bytes) = (Vec::new(), 0, 0);
        Ok(())
    }

    /// The oldest number of a partition, and the number behind the last.
    fn ends(&self, partition: u16) -> Result<(u64, u64)> {
        let wrong = |error: LogError| Error::Table { table: self.name.into(), reason: error.to_string() };
        let state = self.waiter.wait(self.events.partition(partition)).map_err(wrong)?;
        Ok(state.map_or((0, 0), |state| (state.begin, state.last.map_or(state.begin, |(number, _)| number + 1))))
    }

    /// Calls for the rows of an extent.
    fn scan_extent(
        &self,
        extent: &Extent,
        had: &[Column],
        columns: &[Column],
        need: &Need,
        context: &Context,
        sink: &mut dyn FnMut(Chunk) -> Result<Flow>,
    ) -> Result<Flow> {
        let conform = Conform::new(had, columns, need);
        let used: Vec<usize> = (0..had.len()).filter(|at| conform.uses(*at)).collect();
        let wanted: Vec<(u64, Type)> = used.iter().map(|at| extent.columns[*at]).collect();
        let ranges = need.ranges.iter().filter_map(|range| {
            let at = place(had, columns, range).filter(|at| had[*at].ty == columns[range.column].ty)?;
            Some(Range { column: used.iter().position(|used| *used == at)?, ..range.clone() })
        });
        let ranges: Vec<Range> = ranges.collect();
        self.store.read(extent, &wanted, &ranges, context, &mut |chunk| {
            // Columns that are not used are not looked at; anything may stand in their place.
            let found = |at: usize| used.iter().position(|used| *used == at).unwrap_or(0);
            let all = if used.is_empty() {
                Vec::new()
            } else {
                (0..had.len()).map(|at| Arc::clone(&chunk.columns[found(at)])).collect()
            };
            sink(conform.apply(&Chunk::new(all, chunk.rows), columns))
        })
    }
}

/// The columns of an extent.
fn had(extent: &Extent, table: &TableDefinition) -> Vec<Column> {
    let name = |id: u64| table.columns.iter().find(|column| column.id == id).map_or("", |column| &column.name);
    extent.columns.iter().map(|(id, ty)| Column::new(name(*id), *ty)).collect()
}

/// Which column of an extent a range is about.
fn place(had: &[Column], columns: &[Column], range: &Range) -> Option<usize> {
    had.iter().position(|column| column.name == columns[range.column].name)
}

/// Whether nothing of an extent is what a query looks for.
fn is_outside(extent: &Extent, had: &[Column], columns: &[Column], need: &Need) -> bool {
    let misses =
        |range: &Range| place(had, columns, range).is_some_and(|at| extent.misses(extent.columns[at].0, range));
    need.ranges.iter().any(misses)
}

impl Tail {
    /// Rows that are gathered so far become a chunk.
    fn take(&mut self) {
        self.chunks.extend(self.gather.take());
    }
}

/// Where a table goes on in the log.
fn cursors(snapshot: &Snapshot, name: &str, partitions: u16) -> Vec<u64> {
    let table = snapshot.definitions.fed.get(name);
    let mut next = table.and_then(|table| snapshot.cursors.get(&table.id).cloned()).unwrap_or_default();
    next.resize(usize::from(partitions), 0);
    next
}

/// Makes the definition of a table have these columns: new ones at the end, types as they are now.
fn define(definitions: &mut Definitions, name: &str, about: &str, columns: &[Column]) {
    let mut table = match definitions.fed.remove(name) {
        Some(table) => table,
        None => definitions.new_table(&[]),
    };
    about.clone_into(&mut table.docstring);
    for column in columns {
        match table.columns.iter_mut().find(|known| known.name == *column.name) {
            Some(known) => known.ty = column.ty,
            None => table.columns.push(definitions.new_column(column)),
        }
    }
    definitions.fed.insert(name.to_owned(), table);
}

/// When the newest row of a chunk came, in ticks.
fn newest(chunk: &Chunk) -> Option<i64> {
    match chunk.columns[0].data() {
        gantry_analytics::column::Data::Long(ticks) => ticks.iter().copied().max(),
        _ => None,
    }
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
        component: event.system.subject.as_deref().unwrap_or_default(),
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
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(self.catch_up(&mut tail)?.gather.seen().columns())
    }

    fn scan(
        &self,
        columns: &[Column],
        need: &Need,
        context: &Context,
        sink: &mut dyn FnMut(Chunk) -> Result<Flow>,
    ) -> Result<Flow> {
        for part in self.parts(columns, need, context)? {
            if part(sink)? == Flow::Enough {
                return Ok(Flow::Enough);
            }
        }
        Ok(Flow::More)
    }

    fn parts<'a>(&'a self, columns: &[Column], need: &'a Need, context: &'a Context) -> Result<Vec<Part<'a>>> {
        // Extents and the rows behind them, of one instant.
        let (snapshot, behind) = {
            let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
            let behind = self.catch_up(&mut tail)?.chunks.clone();
            (self.store.snapshot(), behind)
        };
        let columns: Arc<[Column]> = columns.into();
        let mut parts: Vec<Part> = Vec::new();
        if !behind.is_empty() {
            let columns = Arc::clone(&columns);
            parts.push(Box::new(move |sink| {
                for (had, chunk) in &behind {
                    context.check()?;
                    if sink(Conform::new(had, &columns, need).apply(chunk, &columns))? == Flow::Enough {
                        return Ok(Flow::Enough);
                    }
                }
                Ok(Flow::More)
            }));
        }
        let Some(table) = snapshot.definitions.fed.get(self.name) else { return Ok(parts) };
        for extent in snapshot.extents_of(table.id).iter().rev() {
            let had = had(extent, table);
            if is_outside(extent, &had, &columns, need) {
                continue;
            }
            let (extent, columns) = (Arc::clone(extent), Arc::clone(&columns));
            parts.push(Box::new(move |sink| self.scan_extent(&extent, &had, &columns, need, context, sink)));
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests;
