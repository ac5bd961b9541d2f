//! Blocks: the unit of integrity, holding consecutive events of one partition.
//!
//! Format, version 1. Integers are little-endian. A block starts at a multiple of 64 bytes of its
//! segment file, and the first block of a commit at a multiple of 512, so that a sector with
//! acknowledged events is never written again. Gaps are zero and belong to nobody.
//!
//! ```text
//!  0   4  magic "GBLK"
//!  4   1  format version, 1
//!  5   1  flags; bit 0: last block of its commit
//!  6   2  partition
//!  8   8  segment id: a block left over from the file's earlier life has another
//! 16   8  commit number, rising over the life of the log
//! 24   8  sequence number of the first event
//! 32   8  enqueued time of the first event, ms since 1970
//! 40   4  number of events
//! 44   4  payload length in bytes
//! 48   4  position in the segment where this commit begins
//! 52   4  enqueued time of the last event, ms after that of the first
//! 56   4  CRC-32 of the payload
//! 60   4  CRC-32 of bytes 0 to 59
//! 64   .  payload: for each event
//!           0  4  length of the event in bytes
//!           4  4  enqueued time, ms after that of the first event
//!           8  .  the event
//! ```
//!
//! Both CRCs (ISO-HDLC, as in zip) are continued from the CRC of the 8-byte log id. The id is drawn at
//! random, so a device cannot send bytes that pass for a block when a damaged file is searched.
//! The header has a CRC of its own so that a reader can step over other partitions' blocks safely
//! without reading them.

use bytes::Bytes;

/// Bytes before the payload.
pub(crate) const HEADER_BYTES: usize = 64;
/// Blocks start at multiples of this.
pub(crate) const BLOCK_ALIGN: usize = 64;
/// Commits start at multiples of this: the smallest sector in use.
pub(crate) const COMMIT_ALIGN: usize = 512;
/// Bytes before each event.
pub(crate) const EVENT_HEADER_BYTES: usize = 8;
/// A block takes no further event once it is this long.
pub(crate) const BLOCK_BYTES_TARGET: usize = 256 << 10;

const MAGIC: [u8; 4] = *b"GBLK";
const VERSION: u8 = 1;
const FLAG_LAST: u8 = 1;

/// What makes this log's checksums its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogId {
    pub(crate) id: u64,
    seed: u32,
}

impl LogId {
    pub(crate) fn new(id: u64) -> Self {
        Self { id, seed: crc32fast::hash(&id.to_le_bytes()) }
    }

    /// CRC-32 of the log id followed by `bytes`.
    pub(crate) fn crc(self, bytes: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.seed);
        hasher.update(bytes);
        hasher.finalize()
    }
}

/// Rounds `position` up to a multiple of `align`, a power of two.
pub(crate) const fn align(position: usize, align: usize) -> usize {
    (position + align - 1) & !(align - 1)
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// The first 64 bytes of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) last: bool,
    pub(crate) partition: u16,
    pub(crate) segment: u64,
    pub(crate) commit: u64,
    pub(crate) first_sequence_number: u64,
    pub(crate) first_time_ms: u64,
    pub(crate) count: u32,
    pub(crate) payload_bytes: u32,
    pub(crate) commit_start: u32,
    pub(crate) time_span_ms: u32,
    pub(crate) payload_crc: u32,
}

impl Header {
    pub(crate) fn encode(&self, log: LogId) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[0..4].copy_from_slice(&MAGIC);
        out[4] = VERSION;
        out[5] = if self.last { FLAG_LAST } else { 0 };
        out[6..8].copy_from_slice(&self.partition.to_le_bytes());
        out[8..16].copy_from_slice(&self.segment.to_le_bytes());
        out[16..24].copy_from_slice(&self.commit.to_le_bytes());
        out[24..32].copy_from_slice(&self.first_sequence_number.to_le_bytes());
        out[32..40].copy_from_slice(&self.first_time_ms.to_le_bytes());
        out[40..44].copy_from_slice(&self.count.to_le_bytes());
        out[44..48].copy_from_slice(&self.payload_bytes.to_le_bytes());
        out[48..52].copy_from_slice(&self.commit_start.to_le_bytes());
        out[52..56].copy_from_slice(&self.time_span_ms.to_le_bytes());
        out[56..60].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = log.crc(&out[..60]);
        out[60..64].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The header at the start of `bytes`, if it is one of this log, segment and format.
    pub(crate) fn decode(bytes: &[u8], log: LogId, segment: u64) -> Option<Self> {
        let bytes = bytes.get(..HEADER_BYTES)?;
        if bytes[0..4] != MAGIC || bytes[4] != VERSION || u64_at(bytes, 8) != segment {
            return None;
        }
        if u32_at(bytes, 60) != log.crc(&bytes[..60]) {
            return None;
        }
        Some(Self {
            last: bytes[5] & FLAG_LAST != 0,
            partition: u16_at(bytes, 6),
            segment,
            commit: u64_at(bytes, 16),
            first_sequence_number: u64_at(bytes, 24),
            first_time_ms: u64_at(bytes, 32),
            count: u32_at(bytes, 40),
            payload_bytes: u32_at(bytes, 44),
            commit_start: u32_at(bytes, 48),
            time_span_ms: u32_at(bytes, 52),
            payload_crc: u32_at(bytes, 56),
        })
    }

    /// Whether damaged bytes look like the header of a commit after `last_commit`, and not like what the
    /// file held in its earlier life.
    pub(crate) fn is_remnant(bytes: &[u8], segment: u64, last_commit: u64) -> bool {
        bytes.len() >= HEADER_BYTES
            && (u64_at(bytes, 8) == segment || (bytes[0..4] == MAGIC && u64_at(bytes, 16) > last_commit))
    }

    /// Bytes of header and payload, without padding.
    pub(crate) fn block_bytes(&self) -> usize {
        HEADER_BYTES + self.payload_bytes as usize
    }

    /// Where the next block begins if this one is at `position`.
    pub(crate) fn next_position(&self, position: usize) -> usize {
        align(position + self.block_bytes(), if self.last { COMMIT_ALIGN } else { BLOCK_ALIGN })
    }

    pub(crate) fn next_sequence_number(&self) -> u64 {
        self.first_sequence_number.saturating_add(u64::from(self.count))
    }

    pub(crate) fn last_time_ms(&self) -> u64 {
        self.first_time_ms.saturating_add(u64::from(self.time_span_ms))
    }
}

/// A block that still takes events.
#[derive(Debug)]
pub(crate) struct OpenBlock {
    pub(crate) partition: u16,
    pub(crate) count: u32,
    first_time_ms: u64,
    last_time_ms: u64,
    /// Header space, then complete events up to `complete`. Anything after that is a leftover of an
    /// encoder that did not return.
    buffer: Vec<u8>,
    complete: usize,
}

/// Why an event did not go into a block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PushRefused {
    TooLarge {
        bytes: usize,
    },
    /// The encoder removed bytes that were not its own: the block is lost.
    Shrunk,
}

impl OpenBlock {
    /// An empty block that begins with an event of `time_ms`, using the memory of `buffer`.
    pub(crate) fn new(partition: u16, time_ms: u64, mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.resize(HEADER_BYTES, 0);
        Self { partition, count: 0, first_time_ms: time_ms, last_time_ms: time_ms, buffer, complete: HEADER_BYTES }
    }

    /// Whether an event of `time_ms`, not before the last one, may follow in this block.
    pub(crate) fn accepts(&self, time_ms: u64) -> bool {
        self.complete < BLOCK_BYTES_TARGET && time_ms - self.first_time_ms <= u64::from(u32::MAX)
    }

    /// Appends what `encode` appends to the vector; returns the bytes it took in the block.
    pub(crate) fn push(
        &mut self,
        time_ms: u64,
        event_bytes_max: usize,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Result<usize, PushRefused> {
        let start = self.complete;
        self.buffer.truncate(start);
        self.buffer.extend_from_slice(&[0; EVENT_HEADER_BYTES]);
        encode(&mut self.buffer);
        let Some(bytes) = self.buffer.len().checked_sub(start + EVENT_HEADER_BYTES) else {
            return Err(PushRefused::Shrunk);
        };
        if bytes > event_bytes_max {
            self.buffer.truncate(start);
            return Err(PushRefused::TooLarge { bytes });
        }
        let delta_ms = (time_ms - self.first_time_ms) as u32;
        self.buffer[start..start + 4].copy_from_slice(&(bytes as u32).to_le_bytes());
        self.buffer[start + 4..start + 8].copy_from_slice(&delta_ms.to_le_bytes());
        self.complete = self.buffer.len();
        self.last_time_ms = time_ms;
        self.count += 1;
        Ok(EVENT_HEADER_BYTES + bytes)
    }

    /// Bytes this block will take in the file when another follows it.
    pub(crate) fn file_bytes(&self) -> usize {
        align(self.complete, BLOCK_ALIGN)
    }

    /// Writes the header and the padding: the block as it goes to the file.
    pub(crate) fn close(mut self, place: &Place, log: LogId) -> (Header, Vec<u8>) {
        self.buffer.truncate(self.complete);
        let payload = &self.buffer[HEADER_BYTES..];
        let header = Header {
            last: place.last,
            partition: self.partition,
            segment: place.segment,
            commit: place.commit,
            first_sequence_number: place.first_sequence_number,
            first_time_ms: self.first_time_ms,
            count: self.count,
            payload_bytes: payload.len() as u32,
            commit_start: place.commit_start,
            time_span_ms: (self.last_time_ms - self.first_time_ms) as u32,
            payload_crc: log.crc(payload),
        };
        self.buffer[..HEADER_BYTES].copy_from_slice(&header.encode(log));
        let position = place.position as usize;
        self.buffer.resize(header.next_position(position) - position, 0);
        (header, self.buffer)
    }

    /// The memory, for the next block.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }
}

/// Where a block goes, known at commit only.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) commit: u64,
    pub(crate) commit_start: u32,
    pub(crate) position: u32,
    pub(crate) first_sequence_number: u64,
    pub(crate) last: bool,
}

/// A committed block in memory, checked.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) first_sequence_number: u64,
    pub(crate) count: u32,
    pub(crate) first_time_ms: u64,
    pub(crate) payload: Bytes,
}

impl Block {
    pub(crate) fn new(header: &Header, payload: Bytes) -> Self {
        Self {
            first_sequence_number: header.first_sequence_number,
            count: header.count,
            first_time_ms: header.first_time_ms,
            payload,
        }
    }

    pub(crate) fn next_sequence_number(&self) -> u64 {
        self.first_sequence_number.saturating_add(u64::from(self.count))
    }

    /// Enqueued time and place of the event at `offset` of the payload; `None` past the last or when it does not fit.
    pub(crate) fn event_at(&self, offset: usize) -> Option<(u64, std::ops::Range<usize>)> {
        let start = offset.checked_add(EVENT_HEADER_BYTES)?;
        let head = self.payload.get(offset..start)?;
        let end = start.checked_add(u32_at(head, 0) as usize)?;
        if end > self.payload.len() {
            return None;
        }
        Some((self.first_time_ms.saturating_add(u64::from(u32_at(head, 4))), start..end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: LogId = LogId { id: 7, seed: 0x1234_5678 };

    fn place() -> Place {
        Place { segment: 3, commit: 9, commit_start: 4096, position: 4096, first_sequence_number: 100, last: true }
    }

    fn sample() -> (Header, Vec<u8>) {
        let mut block = OpenBlock::new(2, 1000, Vec::new());
        block.push(1000, 100, |out| out.extend_from_slice(b"one")).unwrap();
        block.push(1005, 100, |_| ()).unwrap();
        block.push(1007, 100, |out| out.extend_from_slice(b"three")).unwrap();
        block.close(&place(), LOG)
    }

    #[test]
    fn a_closed_block_decodes_to_what_was_pushed() {
        let (header, bytes) = sample();
        assert_eq!(bytes.len() % COMMIT_ALIGN, 0);
        let decoded = Header::decode(&bytes, LOG, 3).unwrap();
        assert_eq!(decoded, header);
        assert_eq!((decoded.count, decoded.last_time_ms()), (3, 1007));
        let payload = Bytes::copy_from_slice(&bytes[HEADER_BYTES..decoded.block_bytes()]);
        assert_eq!(LOG.crc(&payload), decoded.payload_crc);
        let block = Block::new(&decoded, payload.clone());
        let mut events = Vec::new();
        let mut offset = 0;
        while let Some((time, range)) = block.event_at(offset) {
            offset = range.end;
            events.push((time, payload.slice(range)));
        }
        let expected: [(u64, &[u8]); 3] = [(1000, b"one"), (1005, b""), (1007, b"three")];
        assert!(events.iter().zip(expected).all(|(a, b)| a.0 == b.0 && a.1 == b.1));
        assert_eq!(events.len(), 3);
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        let (_, bytes) = sample();
        for bit in 0..HEADER_BYTES * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&bad, LOG, 3), None, "bit {bit}");
        }
    }

    #[test]
    fn a_block_of_another_segment_or_log_is_not_ours() {
        let (_, bytes) = sample();
        assert_eq!(Header::decode(&bytes, LOG, 4), None);
        assert_eq!(Header::decode(&bytes, LogId::new(7), 3), None);
    }

    #[test]
    fn an_event_one_byte_past_the_limit_leaves_no_trace() {
        let mut block = OpenBlock::new(0, 5, Vec::new());
        block.push(5, 4, |out| out.extend_from_slice(b"1234")).unwrap();
        let refused = block.push(5, 4, |out| out.extend_from_slice(b"12345"));
        assert_eq!(refused, Err(PushRefused::TooLarge { bytes: 5 }));
        let (header, _) = block.close(&place(), LOG);
        assert_eq!((header.count, header.payload_bytes), (1, 12));
    }

    #[test]
    fn an_encoder_that_panics_leaves_no_trace() {
        let mut block = OpenBlock::new(0, 5, Vec::new());
        block.push(5, 9, |out| out.push(1)).unwrap();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            block.push(6, 9, |out| {
                out.push(2);
                panic!("encoder");
            })
        }));
        assert!(panicked.is_err());
        let (header, _) = block.close(&place(), LOG);
        assert_eq!((header.count, header.payload_bytes), (1, 9));
    }

    #[test]
    fn an_encoder_that_removes_others_bytes_is_caught() {
        let mut block = OpenBlock::new(0, 5, Vec::new());
        assert_eq!(block.push(5, 9, Vec::clear), Err(PushRefused::Shrunk));
    }
}
