//! The appending side: events wait here, encoded, until the writer takes them all for one commit.
//!
//! Everything waiting shares one `Round`, and so one outcome: a commit is all or nothing. A `Batch` holds
//! the lock of the pending events while it encodes, so it must not live across an await (the compiler
//! sees to that). The memory waiting is bounded twice: `pending_bytes_max` is where well-behaved callers
//! pause, the capacity of a segment is where events are refused.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::block::{BLOCK_ALIGN, COMMIT_ALIGN, EVENT_HEADER_BYTES, HEADER_BYTES, OpenBlock, PushRefused};
use crate::config::Config;
use crate::segment::Standing;

/// Buffers kept for coming blocks.
const FREE_BUFFERS_MAX: usize = 64;
/// A buffer that grew past this is not kept.
const FREE_BUFFER_BYTES_MAX: usize = 1 << 20;

/// Why events were not appended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The log has fewer partitions.
    #[error("partition {partition} does not exist")]
    UnknownPartition {
        /// The partition asked for.
        partition: u16,
    },
    /// The event alone is too large; others are not affected.
    #[error("event of {bytes} bytes exceeds {bytes_max}")]
    TooLarge {
        /// Size of the event.
        bytes: usize,
        /// `Config::event_bytes_max`.
        bytes_max: usize,
    },
    /// More is waiting than fits a segment: the caller did not wait for `Log::ready`.
    #[error("too many bytes are waiting to be written")]
    Overloaded,
    /// The disk is full. No sequence number was consumed; appends succeed again when there is space.
    #[error("the disk is full")]
    Full,
    /// The disk failed. No sequence number was consumed; the next append tries a fresh segment.
    #[error("writing the event log")]
    Io(#[source] Arc<io::Error>),
    /// An encoder removed bytes it did not write, so the events with it are lost.
    #[error("an encoder damaged the pending events")]
    Encoder,
    /// The log is closed.
    #[error("the event log is closed")]
    Closed,
}

impl From<io::Error> for AppendError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Io(Arc::new(error)),
        }
    }
}

/// First sequence number the commit gave to each partition.
pub(crate) type FirstNumbers = Arc<[u64]>;
type Outcome = Result<FirstNumbers, AppendError>;

/// One commit that is still to come, and who waits for it.
#[derive(Default)]
pub(crate) struct Round {
    state: Mutex<RoundState>,
}

#[derive(Default)]
struct RoundState {
    outcome: Option<Outcome>,
    wakers: Vec<Waker>,
}

impl Round {
    pub(crate) fn complete(&self, outcome: Outcome) {
        let wakers = {
            let mut state = self.state.lock();
            state.outcome = Some(outcome);
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Tells those who wait that nobody will commit, unless they have their outcome.
    fn abandon(&self) {
        let decided = self.state.lock().outcome.is_some();
        if !decided {
            self.complete(Err(AppendError::Closed));
        }
    }
}

/// The outcome of a batch: resolves once its events are durable, or known not to be.
///
/// Dropping it changes nothing about the events.
#[must_use = "events are durable only when their commit has resolved"]
pub struct Commit {
    round: Option<Arc<Round>>,
    /// Where this future's waker lies in the round's list.
    slot: Option<usize>,
    /// Partition of the last event, and how many events of that partition precede it in the round.
    last: Option<(u16, u64)>,
}

impl Commit {
    /// Sequence number of the last event pushed, `None` for an empty batch; resolves when durable.
    pub async fn last_sequence_number(mut self) -> Result<Option<u64>, AppendError> {
        let outcome = std::future::poll_fn(|context| self.poll_outcome(context)).await?;
        Ok(outcome.zip(self.last).map(|(first, (partition, ordinal))| first[usize::from(partition)] + ordinal))
    }

    fn poll_outcome(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<FirstNumbers>, AppendError>> {
        let Some(round) = &self.round else {
            return Poll::Ready(Ok(None));
        };
        let mut state = round.state.lock();
        if let Some(outcome) = &state.outcome {
            return Poll::Ready(outcome.clone().map(Some));
        }
        match self.slot {
            Some(slot) => state.wakers[slot].clone_from(context.waker()),
            None => {
                self.slot = Some(state.wakers.len());
                state.wakers.push(context.waker().clone());
            }
        }
        Poll::Pending
    }
}

impl Future for Commit {
    type Output = Result<(), AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_outcome(context).map(|outcome| outcome.map(drop))
    }
}

struct Part {
    open: Option<OpenBlock>,
    /// Events waiting.
    count: u64,
    last_time_ms: u64,
}

struct State {
    parts: Vec<Part>,
    full: Vec<OpenBlock>,
    /// File space the waiting events need, at most.
    bytes: usize,
    round: Arc<Round>,
    free: Vec<Vec<u8>>,
    encoder_failed: bool,
    closed: bool,
    writer_waits: bool,
}

impl State {
    fn is_empty(&self) -> bool {
        self.bytes == 0 && !self.encoder_failed
    }
}

/// Everything waiting for the next commit.
pub(crate) struct Pending {
    state: Mutex<State>,
    work: Condvar,
    room: Notify,
    bytes_max: usize,
    capacity: usize,
    event_bytes_max: usize,
}

/// What one commit is made of. Blocks of a partition are in order.
pub(crate) struct Work {
    pub(crate) blocks: Vec<OpenBlock>,
    pub(crate) round: Arc<Round>,
    pub(crate) encoder_failed: bool,
}

impl Drop for Work {
    /// A writer that panics must not leave anyone waiting.
    fn drop(&mut self) {
        self.round.abandon();
    }
}

impl Pending {
    pub(crate) fn new(config: &Config, standings: &[Standing]) -> Self {
        let part = |standing: &Standing| Part { open: None, count: 0, last_time_ms: standing.last_time_ms };
        let state = State {
            parts: standings.iter().map(part).collect(),
            full: Vec::new(),
            bytes: 0,
            round: Arc::default(),
            free: Vec::new(),
            encoder_failed: false,
            closed: false,
            writer_waits: false,
        };
        Self {
            state: Mutex::new(state),
            work: Condvar::new(),
            room: Notify::new(),
            bytes_max: config.pending_bytes_max,
            capacity: config.segment_capacity() - COMMIT_ALIGN,
            event_bytes_max: config.event_bytes_max,
        }
    }

    pub(crate) fn begin(&self) -> Batch<'_> {
        Batch { state: self.state.lock(), pending: self, last: None }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.state.lock().bytes < self.bytes_max
    }

    pub(crate) async fn ready(&self) {
        loop {
            let mut room = std::pin::pin!(self.room.notified());
            room.as_mut().enable();
            if self.has_room() {
                return;
            }
            room.await;
        }
    }

    /// Refuses further events; what waits is still committed. The returned commit is that of the last round.
    pub(crate) fn close(&self) -> Commit {
        let mut state = self.state.lock();
        state.closed = true;
        self.work.notify_one();
        let round = (!state.is_empty()).then(|| state.round.clone());
        Commit { round, slot: None, last: None }
    }

    /// Refuses further events and gives up those that wait: there is no writer any more.
    pub(crate) fn abandon(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let round = std::mem::take(&mut state.round);
        drop(state);
        round.abandon();
    }

    /// Waits for events and takes all of them, adding `free` to the buffers; `None` once closed and empty.
    pub(crate) fn take(&self, linger: std::time::Duration, free: &mut Vec<Vec<u8>>) -> Option<Work> {
        let mut state = self.state.lock();
        for buffer in free.drain(..) {
            if state.free.len() < FREE_BUFFERS_MAX && buffer.capacity() <= FREE_BUFFER_BYTES_MAX {
                state.free.push(buffer);
            }
        }
        while state.is_empty() {
            if state.closed {
                return None;
            }
            state.writer_waits = true;
            self.work.wait(&mut state);
            state.writer_waits = false;
        }
        if !linger.is_zero() && !state.closed {
            let until = std::time::Instant::now() + linger;
            while !state.closed && state.bytes < self.bytes_max {
                if self.work.wait_until(&mut state, until).timed_out() {
                    break;
                }
            }
        }
        let mut blocks = std::mem::take(&mut state.full);
        for part in &mut state.parts {
            blocks.extend(part.open.take());
            part.count = 0;
        }
        state.bytes = 0;
        let encoder_failed = std::mem::take(&mut state.encoder_failed);
        let round = std::mem::take(&mut state.round);
        drop(state);
        self.room.notify_waiters();
        // A block that took no event has no place in the file.
        blocks.retain(|block| block.count > 0);
        Some(Work { blocks, round, encoder_failed })
    }
}

/// Events being handed to the log, to be committed together.
///
/// A batch dropped without `finish` appends what was pushed all the same, with nobody told.
pub struct Batch<'a> {
    state: MutexGuard<'a, State>,
    pending: &'a Pending,
    last: Option<(u16, u64)>,
}

impl Batch<'_> {
    /// Appends one event: whatever `encode` appends to the vector it is given, which holds other
    /// events already and must only grow.
    ///
    /// The enqueued time, ms since 1970, is raised to that of the partition's previous event when it lies before it.
    /// An error concerns this event only.
    pub fn push(
        &mut self,
        partition: u16,
        enqueued_time_ms: u64,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), AppendError> {
        let state = &mut *self.state;
        if state.closed {
            return Err(AppendError::Closed);
        }
        let Some(part) = state.parts.get_mut(usize::from(partition)) else {
            return Err(AppendError::UnknownPartition { partition });
        };
        let overhead = HEADER_BYTES + BLOCK_ALIGN + EVENT_HEADER_BYTES;
        if state.bytes + overhead + self.pending.event_bytes_max > self.pending.capacity {
            return Err(AppendError::Overloaded);
        }
        let time_ms = part.last_time_ms.max(enqueued_time_ms);
        if let Some(block) = part.open.take_if(|block| !block.accepts(time_ms)) {
            state.full.push(block);
        }
        let block = match &mut part.open {
            Some(block) => block,
            None => {
                state.bytes += HEADER_BYTES + BLOCK_ALIGN;
                part.open.insert(OpenBlock::new(partition, time_ms, state.free.pop().unwrap_or_default()))
            }
        };
        match block.push(time_ms, self.pending.event_bytes_max, encode) {
            Ok(bytes) => {
                state.bytes += bytes;
                part.last_time_ms = time_ms;
                self.last = Some((partition, part.count));
                part.count += 1;
                Ok(())
            }
            Err(PushRefused::TooLarge { bytes }) => {
                Err(AppendError::TooLarge { bytes, bytes_max: self.pending.event_bytes_max })
            }
            Err(PushRefused::Shrunk) => {
                part.open = None;
                state.encoder_failed = true;
                self.last.get_or_insert((partition, 0));
                Err(AppendError::Encoder)
            }
        }
    }

    /// Hands the events over. Without any pushed, the commit resolves at once.
    pub fn finish(self) -> Commit {
        Commit { round: self.last.map(|_| self.state.round.clone()), slot: None, last: self.last }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if self.state.writer_waits && !self.state.is_empty() {
            self.pending.work.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending() -> Pending {
        let mut config = Config::new("unused", 2);
        config.segment_bytes = 64 << 10;
        config.pending_bytes_max = 2000;
        config.event_bytes_max = 1000;
        config.check().unwrap();
        Pending::new(&config, &[Standing { next_sequence_number: 0, last_time_ms: 50 }; 2])
    }

    fn push(pending: &Pending, partition: u16, bytes: usize) -> Result<(), AppendError> {
        pending.begin().push(partition, 10, |out| out.resize(out.len() + bytes, 1))
    }

    #[test]
    fn refusals_name_the_reason_and_leave_nothing_behind() {
        let pending = pending();
        assert!(matches!(push(&pending, 2, 1), Err(AppendError::UnknownPartition { partition: 2 })));
        assert!(matches!(push(&pending, 0, 1001), Err(AppendError::TooLarge { bytes: 1001, bytes_max: 1000 })));
        push(&pending, 1, 1000).unwrap();
        let work = pending.take(std::time::Duration::ZERO, &mut Vec::new()).unwrap();
        assert_eq!(work.blocks.len(), 1);
        assert_eq!((work.blocks[0].partition, work.blocks[0].count), (1, 1));
    }

    #[test]
    fn room_ends_at_the_bound_and_events_are_refused_at_a_segment() {
        let pending = pending();
        assert!(pending.has_room());
        push(&pending, 0, 900).unwrap();
        assert!(pending.has_room());
        push(&pending, 0, 1000).unwrap();
        assert!(!pending.has_room());
        let mut taken = 2;
        let refused = loop {
            match push(&pending, 0, 1000) {
                Ok(()) => taken += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, AppendError::Overloaded));
        assert!(taken > 50);
        let work = pending.take(std::time::Duration::ZERO, &mut Vec::new()).unwrap();
        let bytes: usize = work.blocks.iter().map(OpenBlock::file_bytes).sum();
        assert!(bytes <= (60 << 10) - COMMIT_ALIGN, "{bytes}");
        assert!(pending.has_room());
    }

    #[tokio::test]
    async fn nobody_waits_for_a_writer_that_is_gone() {
        let pending = pending();
        let commit = |partition| {
            let mut batch = pending.begin();
            batch.push(partition, 1, |out| out.push(1)).unwrap();
            batch.finish()
        };
        let taken = commit(0);
        drop(pending.take(std::time::Duration::ZERO, &mut Vec::new()));
        assert!(matches!(taken.await, Err(AppendError::Closed)));
        let waiting = commit(1);
        pending.abandon();
        assert!(matches!(waiting.await, Err(AppendError::Closed)));
        assert!(matches!(push(&pending, 0, 1), Err(AppendError::Closed)));
    }

    #[test]
    fn a_closed_log_takes_nothing_more_but_gives_what_waits() {
        let pending = pending();
        push(&pending, 0, 1).unwrap();
        let _commit = pending.close();
        assert!(matches!(push(&pending, 0, 1), Err(AppendError::Closed)));
        assert!(pending.take(std::time::Duration::ZERO, &mut Vec::new()).is_some());
        assert!(pending.take(std::time::Duration::ZERO, &mut Vec::new()).is_none());
    }
}
