//! The event log, as those who read it see it.

use gantry_identity::Timestamp;

use super::{LogError, PortFuture};
use crate::events::event::StoredEvent;

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The oldest event kept.
    Earliest,
    /// The next event to come.
    Latest,
    /// This sequence number, or the first kept after it.
    At(u64),
    /// The first event enqueued after this instant.
    After(Timestamp),
}

/// What a partition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionState {
    /// Sequence number of the oldest event kept, or of the next one when there is none.
    pub begin: u64,
    /// Number and time of the newest event; absent while there never was one.
    pub last: Option<(u64, Timestamp)>,
    /// Whether nothing is kept.
    pub is_empty: bool,
}

/// Events read, and how many could not be.
#[derive(Debug, Default)]
pub struct Batch {
    /// In order.
    pub events: Vec<StoredEvent>,
    /// Events lost to retention or damage before these.
    pub missed: u64,
}

/// The events of all partitions. Whoever reads has a cursor of their own and holds up nobody.
pub trait EventSource: Send + Sync {
    /// Number of partitions; they are counted from 0.
    fn partitions(&self) -> u16;
    /// When the log came to be.
    fn created_at(&self) -> Timestamp;
    /// What a partition holds; `None` when it does not exist.
    fn partition(&self, partition: u16) -> PortFuture<'_, Option<PartitionState>, LogError>;
    /// A cursor, which stands where it begins when this resolves; `None` when the partition does not exist.
    fn read(&self, partition: u16, start: Start) -> PortFuture<'_, Option<Box<dyn EventCursor>>, LogError>;
}

/// A reader's place in one partition.
pub trait EventCursor: Send {
    /// Sequence number of the next event: a reader that begins [`Start::At`] it goes on here.
    fn position(&self) -> u64;
    /// Waits for at least one event, and gives up to `events_max` of about `bytes_max` bytes in all; no event when
    /// some are missed. `None` when the log is closed. When the future is dropped, no event is lost.
    ///
    /// # Errors
    /// When the log cannot be read; the next call tries again.
    fn next(&mut self, events_max: usize, bytes_max: usize) -> PortFuture<'_, Option<Batch>, LogError>;
}

impl std::fmt::Debug for dyn EventCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EventCursor at {}", self.position())
    }
}
