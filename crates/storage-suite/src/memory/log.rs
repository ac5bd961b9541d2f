//! The event log, and the checkpoints of those who follow it.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use gantry_hub::event::{Event, StoredEvent, partition_of};
use gantry_hub::ports::{
    Append, Batch, CheckpointError, Checkpoints, EventCursor, EventSink, EventSource, LogError, PartitionState,
    PortFuture, Start,
};
use gantry_identity::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;

/// Longest name of a checkpoint in bytes.
const NAME_LEN_MAX: usize = 80;

/// An event log in memory, with checkpoints. Clones share it.
#[derive(Clone)]
pub struct MemoryLog {
    inner: Arc<Inner>,
}

struct Inner {
    partitions: Mutex<Vec<Partition>>,
    checkpoints: Mutex<BTreeMap<String, Checkpoint>>,
    /// Whether the log is closed; sent again with every event.
    news: watch::Sender<bool>,
}

#[derive(Default)]
struct Partition {
    /// Events kept, by number; nothing in place of one that is damaged.
    events: BTreeMap<u64, Option<StoredEvent>>,
    /// The number of the next event.
    next: u64,
    last_at: Timestamp,
}

#[derive(Default)]
struct Checkpoint {
    epoch: u64,
    bytes: Option<Vec<u8>>,
}

impl Partition {
    fn begin(&self) -> u64 {
        self.events.keys().next().copied().unwrap_or(self.next)
    }

    fn append(&mut self, partition: u16, event: &Event<'_>) {
        self.last_at = self.last_at.max(event.enqueued_at);
        self.events.insert(self.next, Some(event.stored(partition, self.next, self.last_at)));
        self.next += 1;
    }
}

impl MemoryLog {
    /// An empty log.
    pub fn new(partitions: u16) -> Self {
        let all = (0..partitions).map(|_| Partition { last_at: Timestamp::NEVER, ..Partition::default() }).collect();
        let (partitions, checkpoints) = (Mutex::new(all), Mutex::default());
        Self { inner: Arc::new(Inner { partitions, checkpoints, news: watch::Sender::new(false) }) }
    }

    /// Takes no more events. Readers may read on to the end.
    pub fn close(&self) {
        self.inner.news.send_replace(true);
    }

    /// Takes events again.
    pub fn reopen(&self) {
        self.inner.news.send_replace(false);
    }

    /// Drops the events of a partition before a number, as retention does.
    pub fn expire(&self, partition: u16, before: u64) {
        self.inner.partitions.lock()[usize::from(partition)].events.retain(|number, _| *number >= before);
    }

    /// Makes events unreadable, as a failing disk does.
    pub fn damage(&self, is_damaged: impl Fn(&StoredEvent) -> bool) {
        for partition in self.inner.partitions.lock().iter_mut() {
            for event in partition.events.values_mut().filter(|event| event.as_ref().is_some_and(&is_damaged)) {
                *event = None;
            }
        }
    }

    fn checkpoint<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce(&mut Checkpoint) -> Result<T, CheckpointError> + Send + 'static,
    ) -> PortFuture<'_, T, CheckpointError> {
        let name = name.to_owned();
        Box::pin(async move {
            if name.is_empty() || name.len() > NAME_LEN_MAX {
                return Err(CheckpointError::Failed(format!("a name has 1 to {NAME_LEN_MAX} bytes")));
            }
            work(self.inner.checkpoints.lock().entry(name).or_default())
        })
    }
}

impl Checkpoint {
    fn held_by(&mut self, epoch: u64) -> Result<&mut Self, CheckpointError> {
        if epoch == self.epoch { Ok(self) } else { Err(CheckpointError::Taken) }
    }
}

impl EventSink for MemoryLog {
    fn append(&self, events: &[Event<'_>]) -> Append {
        let mut partitions = self.inner.partitions.lock();
        if *self.inner.news.borrow() {
            return Box::pin(std::future::ready(Err(LogError::Failed("the log is closed".into()))));
        }
        let count = u16::try_from(partitions.len()).expect("made from a u16");
        for event in events {
            let partition = partition_of(&event.identity.device, count);
            partitions[usize::from(partition)].append(partition, event);
        }
        drop(partitions);
        self.inner.news.send_modify(|_| {});
        Box::pin(std::future::ready(Ok(())))
    }

    fn ready(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
}

impl EventSource for MemoryLog {
    fn partitions(&self) -> u16 {
        u16::try_from(self.inner.partitions.lock().len()).expect("made from a u16")
    }

    fn created_at(&self) -> Timestamp {
        Timestamp::from_millis(0)
    }

    fn partition(&self, partition: u16) -> PortFuture<'_, Option<PartitionState>, LogError> {
        Box::pin(async move {
            let partitions = self.inner.partitions.lock();
            let Some(partition) = partitions.get(usize::from(partition)) else { return Ok(None) };
            let last = partition.next.checked_sub(1).map(|last| (last, partition.last_at));
            Ok(Some(PartitionState { begin: partition.begin(), last, is_empty: partition.events.is_empty() }))
        })
    }

    fn read(&self, partition: u16, start: Start) -> PortFuture<'_, Option<Box<dyn EventCursor>>, LogError> {
        Box::pin(async move {
            let partitions = self.inner.partitions.lock();
            let Some(of) = partitions.get(usize::from(partition)) else { return Ok(None) };
            let (position, after) = match start {
                Start::Earliest => (of.begin(), None),
                Start::Latest => (of.next, None),
                Start::At(number) => (number, None),
                Start::After(at) => (of.begin(), Some(at)),
            };
            let news = self.inner.news.subscribe();
            let mut cursor = Cursor { inner: Arc::clone(&self.inner), news, partition, position, after };
            cursor.pass_over(of);
            Ok(Some(Box::new(cursor) as Box<dyn EventCursor>))
        })
    }
}

struct Cursor {
    inner: Arc<Inner>,
    news: watch::Receiver<bool>,
    partition: u16,
    position: u64,
    /// Events up to this instant are passed over, until there was one after it.
    after: Option<Timestamp>,
}

impl Cursor {
    /// Moves on to the first event it is to give.
    fn pass_over(&mut self, partition: &Partition) {
        while let Some(after) = self.after
            && let Some(event) = partition.events.get(&self.position)
        {
            match event {
                Some(event) if event.enqueued_at > after => self.after = None,
                _ => self.position += 1,
            }
        }
    }

    /// What there is, without waiting.
    fn take(&mut self, events_max: usize, bytes_max: usize) -> Option<Batch> {
        let inner = Arc::clone(&self.inner);
        let partitions = inner.partitions.lock();
        let partition = &partitions[usize::from(self.partition)];
        self.pass_over(partition);
        let mut batch = Batch::default();
        let from = self.position;
        if self.position < partition.begin() {
            self.position = partition.begin();
        }
        while let Some(None) = partition.events.get(&self.position) {
            self.position += 1;
        }
        batch.missed = self.position - from;
        if batch.missed > 0 {
            return Some(batch);
        }
        let mut bytes = 0;
        while let Some(Some(event)) = partition.events.get(&self.position) {
            bytes += event.body.len();
            let is_full = batch.events.len() >= events_max.max(1) || bytes > bytes_max;
            if is_full && !batch.events.is_empty() {
                break;
            }
            batch.events.push(event.clone());
            self.position += 1;
        }
        (!batch.events.is_empty()).then_some(batch)
    }
}

impl EventCursor for Cursor {
    fn position(&self) -> u64 {
        self.position
    }

    fn next(&mut self, events_max: usize, bytes_max: usize) -> PortFuture<'_, Option<Batch>, LogError> {
        Box::pin(async move {
            loop {
                let is_closed = *self.news.borrow_and_update();
                if let Some(batch) = self.take(events_max, bytes_max) {
                    return Ok(Some(batch));
                }
                // The sender is gone only with the log, which this cursor holds.
                if is_closed || self.news.changed().await.is_err() {
                    return Ok(None);
                }
            }
        })
    }
}

impl Checkpoints for MemoryLog {
    fn take<'a>(&'a self, name: &'a str) -> PortFuture<'a, u64, CheckpointError> {
        self.checkpoint(name, |checkpoint| {
            checkpoint.epoch += 1;
            Ok(checkpoint.epoch)
        })
    }

    fn get<'a>(&'a self, name: &'a str) -> PortFuture<'a, Option<Vec<u8>>, CheckpointError> {
        self.checkpoint(name, |checkpoint| Ok(checkpoint.bytes.clone()))
    }

    fn put<'a>(&'a self, name: &'a str, epoch: u64, bytes: Vec<u8>) -> PortFuture<'a, (), CheckpointError> {
        self.checkpoint(name, move |checkpoint| {
            checkpoint.held_by(epoch)?.bytes = Some(bytes);
            Ok(())
        })
    }

    fn remove<'a>(&'a self, name: &'a str, epoch: u64) -> PortFuture<'a, (), CheckpointError> {
        self.checkpoint(name, move |checkpoint| {
            checkpoint.held_by(epoch)?.bytes = None;
            Ok(())
        })
    }
}
