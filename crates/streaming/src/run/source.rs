//! Inputs: the time of every event, and how far time has come.
//!
//! An event is late or out of order by its own time, its arrival, and the newest time before it in its
//! partition; nothing else, and no clock, decides. It then waits until time has passed it in all partitions,
//! so that rows leave in the order of `(time, partition, place in the partition)` however they arrived.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::held::{Held, Share};
use super::node::Faults;
use crate::codec::{Read, Reader, Writer};
use crate::error::{CheckpointError, Failure};
use crate::expr::Env;
use crate::functions::dates::instant;
use crate::job::{Beyond, Settings};
use crate::plan::Source;
use crate::row::Row;
use crate::time::{self, MINUTE, Ticks};

/// How far ahead of its arrival the time of an event may be.
const EARLY_MAX: Ticks = 5 * MINUTE;
/// Bytes of a waiting event beside its row, and of the key of a sub-stream.
const EVENT_BYTES: usize = 64;
const KEY_BYTES: usize = 120;

/// What became of events that were not taken as they came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Late, and given the oldest time that is not.
    pub late_adjusted: u64,
    /// Late, and dropped.
    pub late_dropped: u64,
    /// Out of order, and given the oldest time that is not.
    pub out_of_order_adjusted: u64,
    /// Out of order, and dropped.
    pub out_of_order_dropped: u64,
    /// More than 5 minutes ahead of their arrival, and dropped.
    pub early_dropped: u64,
    /// Without a time where TIMESTAMP BY looks for it, and dropped.
    pub without_time: u64,
    /// Whose body is no record, and dropped.
    pub malformed: u64,
}

impl Counts {
    /// The events that were dropped, by why.
    pub fn dropped(&self) -> [(&'static str, u64); 5] {
        [
            ("late", self.late_dropped),
            ("out of order", self.out_of_order_dropped),
            ("early", self.early_dropped),
            ("without time", self.without_time),
            ("no record", self.malformed),
        ]
    }

    pub(crate) fn all_mut(&mut self) -> [&mut u64; 7] {
        [
            &mut self.late_adjusted,
            &mut self.late_dropped,
            &mut self.out_of_order_adjusted,
            &mut self.out_of_order_dropped,
            &mut self.early_dropped,
            &mut self.without_time,
            &mut self.malformed,
        ]
    }
}

/// A source: its partitions, and the events that wait for time to pass them.
pub(crate) struct SourceState {
    partitions: Vec<Partition>,
    waiting: BTreeMap<(Ticks, u32, u64), Row>,
}

struct Partition {
    arrival: Ticks,
    /// No event with an older time will come.
    watermark: Ticks,
    newest: Ticks,
    /// Newest times of sub-streams, as long as they can make an event be out of order.
    keys: HashMap<Vec<u8>, Ticks>,
    by_newest: BTreeSet<(Ticks, Vec<u8>)>,
    /// Events so far.
    count: u64,
}

impl SourceState {
    pub(crate) fn new(partitions: u32) -> SourceState {
        let partition = || Partition {
            arrival: Ticks::MIN,
            watermark: Ticks::MIN,
            newest: Ticks::MIN,
            keys: HashMap::new(),
            by_newest: BTreeSet::new(),
            count: 0,
        };
        SourceState { partitions: (0..partitions).map(|_| partition()).collect(), waiting: BTreeMap::new() }
    }

    /// How far time has come in all partitions.
    pub(crate) fn watermark(&self) -> Ticks {
        let all = self.partitions.iter().map(|partition| partition.watermark);
        all.min().unwrap_or(Ticks::MAX)
    }

    /// The time of the first event that waits.
    pub(crate) fn due(&self) -> Option<Ticks> {
        self.waiting.first_key_value().map(|((at, _, _), _)| *at)
    }

    /// The next event of an instant.
    pub(crate) fn take(&mut self, at: Ticks, held: &mut Held) -> Option<Row> {
        let first = self.waiting.first_entry().filter(|first| first.key().0 == at)?;
        let row = first.remove();
        held.give(Share::event(EVENT_BYTES + row.memory()));
        Some(row)
    }

    /// Nothing has come, and nothing will that arrived before this instant.
    pub(crate) fn advance(
        &mut self,
        source: &Source,
        settings: &Settings,
        partition: u32,
        now: Ticks,
        held: &mut Held,
    ) {
        let Some(partition) = self.partitions.get_mut(partition as usize) else {
            return;
        };
        partition.arrival = partition.arrival.max(now);
        let late = match &source.timestamp {
            Some(_) => time::from_duration(settings.late.within),
            // Without a time of their own events cannot be late.
            None => 0,
        };
        partition.watermark = partition.watermark.max(now.saturating_sub(late));
        let tolerance = time::from_duration(settings.out_of_order.within);
        partition.forget(tolerance, held);
    }

    /// Time ends: no event will come.
    pub(crate) fn finish(&mut self) {
        for partition in &mut self.partitions {
            partition.watermark = Ticks::MAX;
        }
    }

    /// Takes an event, whose row has the time of its arrival.
    pub(crate) fn push(
        &mut self,
        source: &Source,
        settings: &Settings,
        number: u32,
        mut row: Row,
        (held, faults, counts): (&mut Held, &mut Faults, &mut Counts),
    ) -> Result<(), Failure> {
        let Some(partition) = self.partitions.get_mut(number as usize) else {
            return Ok(());
        };
        // Arrivals of a partition are in order; a clock that was set back does not change that.
        partition.arrival = partition.arrival.max(row.timestamp);
        let arrival = partition.arrival;
        row.timestamp = arrival;
        if source.timestamp.is_none() {
            partition.watermark = partition.watermark.max(arrival);
            return self.wait(number, row, held);
        }
        let Some(at) = partition.time(source, settings, &mut row, held, faults, counts)? else {
            return Ok(());
        };
        row.timestamp = at.max(partition.watermark);
        self.wait(number, row, held)?;
        let partition = &mut self.partitions[number as usize];
        let late = time::from_duration(settings.late.within);
        let tolerance = time::from_duration(settings.out_of_order.within);
        // What arrives later is at most this old, whatever its sub-stream.
        partition.watermark = partition.watermark.max(arrival.saturating_sub(late));
        if source.over.is_none() {
            partition.watermark = partition.watermark.max(partition.newest.saturating_sub(tolerance));
        }
        partition.forget(tolerance, held);
        Ok(())
    }

    fn wait(&mut self, partition: u32, row: Row, held: &mut Held) -> Result<(), Failure> {
        held.take(Share::event(EVENT_BYTES + row.memory()))?;
        let count = &mut self.partitions[partition as usize].count;
        *count += 1;
        self.waiting.insert((row.timestamp, partition, *count), row);
        Ok(())
    }

    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.list(self.partitions.iter(), |writer, partition| {
            writer.signed(partition.arrival);
            writer.signed(partition.watermark);
            writer.signed(partition.newest);
            writer.unsigned(partition.count);
            writer.list(partition.by_newest.iter(), |writer, (newest, key)| {
                writer.signed(*newest);
                writer.slice(key);
            });
        });
        writer.list(self.waiting.iter(), |writer, ((at, partition, count), row)| {
            writer.signed(*at);
            writer.unsigned(u64::from(*partition));
            writer.unsigned(*count);
            row.write(writer);
        });
    }

    pub(crate) fn read(&mut self, reader: &mut Reader<'_>) -> Read<()> {
        let partitions = reader.list(|reader| {
            let mut partition = Partition {
                arrival: reader.signed()?,
                watermark: reader.signed()?,
                newest: reader.signed()?,
                count: reader.unsigned()?,
                keys: HashMap::new(),
                by_newest: BTreeSet::new(),
            };
            for (newest, key) in reader.list(|reader| Ok((reader.signed()?, reader.slice()?.to_vec())))? {
                partition.keys.insert(key.clone(), newest);
                partition.by_newest.insert((newest, key));
            }
            Ok(partition)
        })?;
        self.partitions = super::aggregate::exactly(partitions, self.partitions.len())?;
        let waiting = reader.list(|reader| {
            let at = reader.ticks()?;
            let partition = u32::try_from(reader.unsigned()?).map_err(|_| CheckpointError::Damaged)?;
            Ok(((at, partition, reader.unsigned()?), Row::read(reader)?))
        })?;
        self.waiting = waiting.into_iter().collect();
        Ok(())
    }
}

impl Partition {
    /// The time of an event by its own word, as the policies leave it; nothing when it is dropped.
    fn time(
        &mut self,
        source: &Source,
        settings: &Settings,
        row: &mut Row,
        held: &mut Held,
        faults: &mut Faults,
        counts: &mut Counts,
    ) -> Result<Option<Ticks>, Failure> {
        let arrival = self.arrival;
        let env = Env { slots: std::slice::from_ref(row), timestamp: arrival, ..Env::default() };
        let Some(expression) = &source.timestamp else {
            return Ok(Some(arrival));
        };
        let own = expression.evaluate(&env).and_then(|own| instant(&own));
        let own = match faults.check(own, arrival)? {
            Some(Some(own)) => own,
            Some(None) => {
                counts.without_time += 1;
                return Ok(None);
            }
            None => return Ok(None),
        };
        let key = match &source.over {
            Some(over) => match faults.check(over.evaluate(&env), arrival)? {
                Some(key) => Some(key.key()),
                None => return Ok(None),
            },
            None => None,
        };
        if own > arrival.saturating_add(EARLY_MAX) {
            counts.early_dropped += 1;
            return Ok(None);
        }
        let mut at = own;
        let oldest = arrival.saturating_sub(time::from_duration(settings.late.within));
        if at < oldest {
            if settings.late.beyond == Beyond::Drop {
                counts.late_dropped += 1;
                return Ok(None);
            }
            counts.late_adjusted += 1;
            at = oldest;
        }
        let newest = match &key {
            Some(key) => self.keys.get(key).copied().unwrap_or(Ticks::MIN),
            None => self.newest,
        };
        let oldest = newest.saturating_sub(time::from_duration(settings.out_of_order.within));
        if at < oldest {
            if settings.out_of_order.beyond == Beyond::Drop {
                counts.out_of_order_dropped += 1;
                return Ok(None);
            }
            counts.out_of_order_adjusted += 1;
            at = oldest;
        }
        self.newest = self.newest.max(at);
        if let Some(key) = key
            && at > newest
        {
            if !self.by_newest.remove(&(newest, key.clone())) {
                held.take(Share::group(KEY_BYTES + 2 * key.len()))?;
            }
            self.by_newest.insert((at, key.clone()));
            self.keys.insert(key, at);
        }
        Ok(Some(at))
    }

    /// Forgets sub-streams that can make no event be out of order any more, because it would be late.
    fn forget(&mut self, tolerance: Ticks, held: &mut Held) {
        while self.by_newest.first().is_some_and(|(newest, _)| newest.saturating_sub(tolerance) <= self.watermark) {
            if let Some((_, key)) = self.by_newest.pop_first() {
                held.give(Share::group(KEY_BYTES + 2 * key.len()));
                self.keys.remove(&key);
            }
        }
    }
}
