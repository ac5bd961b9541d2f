//! What must be in the event log, and what was read of it.

use std::collections::{BTreeMap, BTreeSet};

use gantry_hub::event::{MessageSource, StoredEvent, partition_of};
use gantry_hub::ports::{EventSource as _, Start};
use gantry_hub::reports::is_device_deleted;
use gantry_storage::Events;

use super::platform::PARTITIONS;

/// Events read at once.
const READ_LEN_MAX: usize = 1000;

/// One event as it was read.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    at: i64,
    device: String,
    /// Its number, or what it reports.
    what: String,
}

/// The log, as it was sent and as it is read.
#[derive(Default)]
pub(super) struct History {
    /// Of each partition, all that was read so far.
    seen: [Vec<Seen>; PARTITIONS as usize],
    /// When telemetry was sent.
    sent_at: BTreeMap<u64, i64>,
    /// The latest time there was.
    pub(super) latest: i64,
    /// Acknowledged and not read yet.
    unseen: BTreeSet<u64>,
    /// Sent, and neither acknowledged nor given up: batches of which a crash leaves all or nothing.
    undecided: Vec<Vec<u64>>,
    /// Whether there was a crash since they were sent.
    has_crashed: bool,
    /// The number read last of each device.
    last: BTreeMap<String, u64>,
    /// Generations whose deletion was read.
    deletions: BTreeSet<String>,
}

impl History {
    /// Telemetry is about to be sent.
    pub(super) fn send(&mut self, numbers: &[u64], now: i64) {
        self.sent_at.extend(numbers.iter().map(|number| (*number, now)));
        self.undecided.push(numbers.to_vec());
    }

    /// It was acknowledged: what failed before it is not in the log, and never will be.
    pub(super) fn acknowledge(&mut self, numbers: &[u64]) {
        self.unseen.extend(numbers);
        self.undecided.clear();
    }

    /// Something else was appended, with the same consequence.
    pub(super) fn appended(&mut self) {
        self.undecided.clear();
    }

    pub(super) fn crash(&mut self) {
        self.has_crashed = true;
    }

    /// How many events of a partition there are.
    pub(super) fn len(&self, partition: u16) -> u64 {
        self.seen[usize::from(partition)].len() as u64
    }

    pub(super) fn deletions(&self) -> &BTreeSet<String> {
        &self.deletions
    }

    /// Reads what is new, and after a crash everything again.
    pub(super) async fn catch_up(&mut self, events: &Events, from_the_start: bool) -> Result<(), String> {
        for partition in 0..PARTITIONS {
            let from = if from_the_start { 0 } else { self.len(partition) };
            let read = read(events, partition, from).await?;
            for (number, event) in (from..).zip(read) {
                self.take(partition, number, &event)?;
            }
            let state = events.partition(partition).await.map_err(|error| error.to_string())?.expect("there is one");
            let last = self.seen[usize::from(partition)].last().map(|seen| (self.len(partition) - 1, seen.at));
            let stored = state.last.map(|(number, at)| (number, at.as_millis()));
            if (stored, state.begin, state.is_empty) != (last, 0, last.is_none()) {
                return Err(format!("partition {partition} says {state:?}, but {last:?} was read last"));
            }
        }
        if let Some(lost) = self.unseen.first() {
            return Err(format!("event {lost} was acknowledged and is not in the log"));
        }
        for batch in std::mem::take(&mut self.undecided) {
            let there = batch.iter().filter(|number| self.is_seen(**number)).count();
            if there != 0 && there != batch.len() {
                return Err(format!("of the batch {batch:?} a crash left {there}"));
            }
            if there == 0 && !self.has_crashed {
                self.undecided.push(batch);
            }
        }
        self.has_crashed = false;
        Ok(())
    }

    fn is_seen(&self, number: u64) -> bool {
        let what = number.to_string();
        self.seen.iter().flatten().any(|seen| seen.what == what)
    }

    fn take(&mut self, partition: u16, number: u64, event: &StoredEvent) -> Result<(), String> {
        let name = event.identity.device.to_string();
        if event.sequence_number != number || partition_of(&event.identity.device, PARTITIONS) != partition {
            return Err(format!(
                "event {} of {name} is number {number} of partition {partition}",
                event.sequence_number
            ));
        }
        let what = if is_device_deleted(event) {
            format!("deletion of {}", event.generation_id)
        } else {
            String::from_utf8_lossy(&event.body).trim_end().to_owned()
        };
        let seen = Seen { at: event.enqueued_at.as_millis(), device: name.clone(), what };
        let all = &mut self.seen[usize::from(partition)];
        if let Some(before) = all.get(usize::try_from(number).expect("few")) {
            let is_same = *before == seen;
            return if is_same { Ok(()) } else { Err(format!("event {number} was {before:?} and is {seen:?}")) };
        }
        let before = all.last().map_or(i64::MIN, |before| before.at);
        if event.source != MessageSource::Telemetry {
            self.deletions.insert(event.generation_id.clone());
            if seen.at < before {
                return Err(format!("the log went back in time at {seen:?}"));
            }
            all.push(seen);
            return Ok(());
        }
        let telemetry: u64 = seen.what.parse().map_err(|_| format!("an event that nobody sent: {seen:?}"))?;
        let is_new = self.unseen.remove(&telemetry);
        let is_undecided = self.undecided.iter().flatten().any(|undecided| *undecided == telemetry);
        let may_be_there = is_new || (is_undecided && self.has_crashed);
        if !may_be_there {
            return Err(format!("event {telemetry} is in the log twice, or was refused: {seen:?}"));
        }
        if self.last.insert(name, telemetry).is_some_and(|last| last >= telemetry) {
            return Err(format!("event {telemetry} comes after later ones of its device"));
        }
        // The log counts on from what it was given last, whether it could keep it or not.
        let earliest = before.max(self.sent_at[&telemetry]);
        if seen.at < earliest || seen.at > self.latest {
            return Err(format!(
                "event {telemetry} was sent at {}, after {before}: {seen:?}",
                self.sent_at[&telemetry]
            ));
        }
        all.push(seen);
        Ok(())
    }
}

/// The events of a partition from a number on, as far as there are any.
async fn read(events: &Events, partition: u16, from: u64) -> Result<Vec<StoredEvent>, String> {
    let failed = |error: gantry_hub::ports::LogError| format!("reading partition {partition}: {error}");
    let state = events.partition(partition).await.map_err(failed)?.expect("there is such a partition");
    let end = state.last.map_or(0, |(number, _)| number + 1);
    let mut cursor = events.read(partition, Start::At(from)).await.map_err(failed)?.expect("there is such a partition");
    let mut all = vec![];
    while cursor.position() < end {
        let batch = cursor.next(READ_LEN_MAX, usize::MAX).await.map_err(failed)?.ok_or("the log is closed")?;
        if batch.missed > 0 {
            return Err(format!(
                "{} events of partition {partition} are gone before {}",
                batch.missed,
                cursor.position()
            ));
        }
        all.extend(batch.events);
    }
    Ok(all)
}
