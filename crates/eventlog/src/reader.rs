//! Readers: each follows one partition at its own pace.
//!
//! A live reader is served from the tail in memory; a lagging one reads the files in chunks, through
//! `spawn_blocking`, so that a slow disk holds up no other task. Only committed events are visible, every
//! block's checksum is verified on the way from the disk, and what was lost is reported once, after which
//! the reader goes on behind it. A reader holds no lock and no file between calls.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::block::{self, BLOCK_ALIGN, Block};
use crate::index::{Found, Location};
use crate::log::Inner;

/// Where a reader begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartPosition {
    /// The first retained event.
    Earliest,
    /// The next event to be committed.
    Latest,
    /// A sequence number. One that lies ahead is waited for.
    Sequence {
        /// The number.
        n: u64,
        /// Whether event `n` itself is read.
        inclusive: bool,
    },
    /// The first event with an enqueued time after `ms`.
    EnqueuedTime {
        /// Milliseconds since 1970.
        ms: u64,
    },
}

/// An event as it was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its number in the partition: from 0, rising by one.
    pub sequence_number: u64,
    /// When it was appended, ms since 1970; never before that of the event before it.
    pub enqueued_time_ms: u64,
    /// What the appender encoded. Keeps the block it lies in (about 256 KiB) in memory.
    pub bytes: Bytes,
}

/// Why a reader has nothing to give. After `Expired` and `Damaged` the next call goes on at `to`.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Retention dropped the events `from` to `to` (exclusive) before they were read.
    #[error("events {from} to {to} are no longer retained")]
    Expired {
        /// First event missed.
        from: u64,
        /// First event after the gap.
        to: u64,
    },
    /// The events `from` to `to` (exclusive) cannot be read: the disk changed them.
    #[error("events {from} to {to} are damaged")]
    Damaged {
        /// First event lost.
        from: u64,
        /// First event after the gap.
        to: u64,
    },
    /// The disk failed; the next call tries again.
    #[error("reading the event log")]
    Io(#[from] io::Error),
    /// The log is closed, and everything in it was read.
    #[error("the event log is closed")]
    Closed,
}

/// Reads one partition in order.
pub struct Reader {
    inner: Arc<Inner>,
    partition: usize,
    next: u64,
    after_time_ms: Option<u64>,
    blocks: VecDeque<Block>,
    /// Offset in the first block, and the number of the event there.
    offset: usize,
    at: u64,
    hint: Option<Hint>,
}

/// Where the last read of a file stopped.
#[derive(Debug, Clone, Copy)]
struct Hint {
    segment: u64,
    position: usize,
}

enum Refill {
    Filled,
    AtEnd,
    Behind,
}

impl Reader {
    pub(crate) fn new(inner: Arc<Inner>, partition: u16, start: StartPosition) -> Self {
        let partition = usize::from(partition);
        let (next, after_time_ms) = match start {
            StartPosition::Earliest => (inner.index.read().begin(partition), None),
            StartPosition::Latest => (inner.tail.lock().standing(partition).next_sequence_number, None),
            StartPosition::Sequence { n, inclusive } => (n.saturating_add(u64::from(!inclusive)), None),
            StartPosition::EnqueuedTime { ms } => (inner.index.read().locate_time(partition, ms), Some(ms)),
        };
        Self { inner, partition, next, after_time_ms, blocks: VecDeque::new(), offset: 0, at: 0, hint: None }
    }

    /// Sequence number of the event to be read next.
    pub fn next_sequence_number(&self) -> u64 {
        self.next
    }

    /// Waits for at least one event and returns up to `events_max` of about `bytes_max` bytes in all.
    ///
    /// May be cancelled without losing events. Needs a tokio runtime.
    pub async fn next_batch(&mut self, events_max: usize, bytes_max: usize) -> Result<Vec<Event>, ReadError> {
        let inner = self.inner.clone();
        loop {
            let events = self.drain(events_max, bytes_max);
            if !events.is_empty() {
                return Ok(events);
            }
            let mut news = std::pin::pin!(inner.news[self.partition].notified());
            news.as_mut().enable();
            let closed = inner.is_closed();
            let waits = match self.refill(bytes_max) {
                Refill::Filled => false,
                Refill::AtEnd => true,
                Refill::Behind => {
                    let fetch = self.fetch();
                    let fetched =
                        tokio::task::spawn_blocking(move || fetch.run()).await.map_err(io::Error::other)??;
                    !self.accept(fetched)?
                }
            };
            if waits {
                if closed {
                    return Err(ReadError::Closed);
                }
                news.await;
            }
        }
    }

    /// As `next_batch`, but returns an empty batch when nothing is there. Reads files in place when it lags.
    pub fn try_next_batch(&mut self, events_max: usize, bytes_max: usize) -> Result<Vec<Event>, ReadError> {
        loop {
            let events = self.drain(events_max, bytes_max);
            if !events.is_empty() {
                return Ok(events);
            }
            match self.refill(bytes_max) {
                Refill::Filled => {}
                Refill::AtEnd => return Ok(Vec::new()),
                Refill::Behind => {
                    let fetched = self.fetch().run()?;
                    if !self.accept(fetched)? {
                        return Ok(Vec::new());
                    }
                }
            }
        }
    }

    /// Takes events from the blocks at hand.
    fn drain(&mut self, events_max: usize, bytes_max: usize) -> Vec<Event> {
        let mut events = Vec::new();
        let mut bytes = 0;
        while let Some(block) = self.blocks.front() {
            let Some((time_ms, range)) = block.event_at(self.offset) else {
                self.next = self.next.max(block.next_sequence_number());
                self.blocks.pop_front();
                self.start_block();
                continue;
            };
            let wanted = self.at >= self.next && self.after_time_ms.is_none_or(|after| time_ms > after);
            if wanted {
                if events.len() >= events_max.max(1) || (bytes > 0 && bytes + range.len() > bytes_max) {
                    break;
                }
                self.after_time_ms = None;
                bytes += range.len();
                events.push(event(block, self.at, time_ms, range.clone()));
            }
            self.offset = range.end;
            self.at += 1;
            self.next = self.next.max(self.at);
        }
        events
    }

    fn start_block(&mut self) {
        self.offset = 0;
        self.at = self.blocks.front().map_or(0, |block| block.first_sequence_number);
    }

    fn refill(&mut self, bytes_max: usize) -> Refill {
        if !self.blocks.is_empty() {
            return Refill::Filled;
        }
        let tail = self.inner.tail.lock();
        if self.next >= tail.standing(self.partition).next_sequence_number {
            return Refill::AtEnd;
        }
        let Some(blocks) = tail.read(self.partition, self.next, bytes_max) else {
            return Refill::Behind;
        };
        drop(tail);
        self.blocks.extend(blocks);
        self.start_block();
        Refill::Filled
    }

    fn fetch(&self) -> Fetch {
        Fetch { inner: self.inner.clone(), partition: self.partition, next: self.next, hint: self.hint }
    }

    /// Takes in what was read; false when there is nothing yet.
    fn accept(&mut self, fetched: Fetched) -> Result<bool, ReadError> {
        let from = self.next;
        match fetched {
            Fetched::Nothing => Ok(false),
            Fetched::Expired(to) => {
                self.next = to;
                Err(ReadError::Expired { from, to })
            }
            Fetched::Damaged(to) => {
                self.next = to;
                Err(ReadError::Damaged { from, to })
            }
            Fetched::Blocks(blocks, hint) => {
                self.hint = Some(hint);
                self.blocks = blocks;
                self.start_block();
                if self.at > from {
                    self.next = self.at;
                    return Err(ReadError::Damaged { from, to: self.at });
                }
                Ok(true)
            }
        }
    }
}

fn event(block: &Block, sequence_number: u64, enqueued_time_ms: u64, range: Range<usize>) -> Event {
    Event { sequence_number, enqueued_time_ms, bytes: block.payload.slice(range) }
}

/// A read of the files, free of the reader so that it can run elsewhere.
struct Fetch {
    inner: Arc<Inner>,
    partition: usize,
    next: u64,
    hint: Option<Hint>,
}

enum Fetched {
    Blocks(VecDeque<Block>, Hint),
    Expired(u64),
    Damaged(u64),
    Nothing,
}

impl Fetch {
    fn run(&self) -> io::Result<Fetched> {
        loop {
            let found = self.inner.index.read().locate(self.partition, self.next);
            let location = match found {
                Found::Ahead => return Ok(Fetched::Nothing),
                Found::Expired(begin) => return Ok(Fetched::Expired(begin)),
                Found::At(location) => location,
            };
            let blocks = self.read_from(&location)?;
            // A file dropped meanwhile may have been written over: what was found bad there says nothing.
            let bad = blocks.as_ref().is_none_or(|(blocks, _)| blocks[0].first_sequence_number > self.next);
            if bad && !self.inner.index.read().contains(location.segment) {
                continue;
            }
            return Ok(match blocks {
                Some((blocks, hint)) => Fetched::Blocks(blocks, hint),
                None => Fetched::Damaged(location.next_sequence_number),
            });
        }
    }

    /// The wanted block, or the next intact one of the partition in this segment, and those behind it in the chunk.
    fn read_from(&self, location: &Location) -> io::Result<Option<(VecDeque<Block>, Hint)>> {
        let hint = self.hint.filter(|hint| hint.segment == location.segment).map_or(0, |hint| hint.position);
        let mut position = hint.max(location.position);
        let mut length = self.inner.config.read_bytes;
        while position + block::HEADER_BYTES <= location.end {
            let wanted = length.min(location.end - position);
            let mut chunk = vec![0; wanted];
            let count = location.file.read_at(&mut chunk, position as u64)?;
            chunk.truncate(count);
            let walked = self.walk(Bytes::from(chunk), position, location.segment);
            let mut stopped = position + walked.stopped;
            if !walked.blocks.is_empty() {
                return Ok(Some((walked.blocks, Hint { segment: location.segment, position: stopped })));
            }
            if count < wanted {
                // Someone cut the file.
                return Ok(None);
            }
            if stopped + walked.needs > location.end {
                stopped += BLOCK_ALIGN;
            }
            // A block that did not fit the chunk is read whole next.
            length = self.inner.config.read_bytes.max(walked.needs);
            position = stopped;
        }
        Ok(None)
    }

    /// Goes through the blocks of a chunk that begins at `position` of the segment.
    fn walk(&self, chunk: Bytes, position: usize, segment: u64) -> Walked {
        let log = self.inner.log;
        let mut blocks = VecDeque::new();
        let mut at = 0;
        while at + block::HEADER_BYTES <= chunk.len() {
            let Some(header) = block::Header::decode(&chunk[at..], log, segment) else {
                at += BLOCK_ALIGN;
                continue;
            };
            let wanted = usize::from(header.partition) == self.partition && header.next_sequence_number() > self.next;
            if wanted {
                let Some(end) = Some(at + header.block_bytes()).filter(|end| *end <= chunk.len()) else {
                    return Walked { blocks, stopped: at, needs: header.block_bytes() };
                };
                let payload = chunk.slice(at + block::HEADER_BYTES..end);
                let intact = log.crc(&payload) == header.payload_crc;
                // A gap between blocks is reported before what follows it.
                let follows = blocks
                    .back()
                    .is_none_or(|last: &Block| last.next_sequence_number() == header.first_sequence_number);
                if intact && !follows {
                    return Walked { blocks, stopped: at, needs: 0 };
                }
                if intact {
                    blocks.push_back(Block::new(&header, payload));
                }
            }
            at = header.next_position(position + at) - position;
        }
        Walked { blocks, stopped: at, needs: 0 }
    }
}

/// What a chunk gave.
struct Walked {
    blocks: VecDeque<Block>,
    /// Where to read on, from the start of the chunk.
    stopped: usize,
    /// Bytes needed from there for the next block, when the chunk held only part of it.
    needs: usize,
}
