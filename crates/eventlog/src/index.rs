//! Where events are: for each segment and partition, which sequence numbers and times it holds, and the
//! position of a block about every `index_interval_bytes`.
//!
//! The index lives in memory. A sealed segment's part is also written beside it, so that opening a log
//! does not read its events. That file is a convenience: when missing or damaged, the segment is scanned.
//!
//! Index file `<segment id>.idx`, version 1, little-endian:
//!
//! ```text
//!  0   4  magic "GIDX"
//!  4   1  format version, 1
//!  5   1  zero
//!  6   2  number of partitions
//!  8   8  segment id
//! 16   8  position up to which the segment is indexed
//! 24   8  number of the last commit indexed
//! 32   .  for each partition
//!           0  8  sequence number of the first event    8  8  that of the event after the last
//!          16  8  enqueued time of the last event      24  4  number of entries
//!          28  .  entries: 8 sequence number, 8 enqueued time, 4 position
//!  .   4  CRC-32 of all before, continued from that of the log id
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use crate::block::{self, LogId, u16_at, u32_at, u64_at};
use crate::disk::DiskFile;
use crate::segment::Standing;

const MAGIC: [u8; 4] = *b"GIDX";
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 32;
const PART_BYTES: usize = 28;
const ENTRY_BYTES: usize = 20;

/// The first event of some block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    sequence_number: u64,
    time_ms: u64,
    position: u32,
}

/// What one segment holds of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) first_sequence_number: u64,
    pub(crate) next_sequence_number: u64,
    pub(crate) last_time_ms: u64,
    entries: Vec<Entry>,
}

impl Part {
    fn new(standing: Standing) -> Self {
        Self {
            first_sequence_number: standing.next_sequence_number,
            next_sequence_number: standing.next_sequence_number,
            last_time_ms: standing.last_time_ms,
            entries: Vec::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// The index of one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentIndex {
    pub(crate) parts: Vec<Part>,
    /// Position after the last block, padding included.
    pub(crate) end: u64,
    pub(crate) last_commit: u64,
}

impl SegmentIndex {
    pub(crate) fn new(standings: &[Standing], end: u64, last_commit: u64) -> Self {
        Self { parts: standings.iter().copied().map(Part::new).collect(), end, last_commit }
    }

    /// Takes in the block at `position`, which follows all others of its partition.
    pub(crate) fn add(&mut self, header: &block::Header, position: usize, interval_bytes: u32) {
        let Some(part) = self.parts.get_mut(usize::from(header.partition)) else {
            return;
        };
        let position = position as u32;
        match part.entries.last() {
            Some(entry) if position - entry.position < interval_bytes => {}
            last => {
                if last.is_none() {
                    part.first_sequence_number = header.first_sequence_number;
                }
                part.entries.push(Entry {
                    sequence_number: header.first_sequence_number,
                    time_ms: header.first_time_ms,
                    position,
                });
            }
        }
        part.next_sequence_number = header.next_sequence_number();
        part.last_time_ms = part.last_time_ms.max(header.last_time_ms());
        self.end = header.next_position(position as usize) as u64;
        self.last_commit = header.commit;
    }

    /// Where every partition stands after this segment.
    pub(crate) fn standings(&self) -> Vec<Standing> {
        let standing =
            |part: &Part| Standing { next_sequence_number: part.next_sequence_number, last_time_ms: part.last_time_ms };
        self.parts.iter().map(standing).collect()
    }

    /// Enqueued time of the youngest event, `None` when there is none.
    pub(crate) fn last_time_ms(&self) -> Option<u64> {
        self.parts.iter().filter(|part| !part.is_empty()).map(|part| part.last_time_ms).max()
    }

    pub(crate) fn encode(&self, segment: u64, log: LogId) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[VERSION, 0]);
        out.extend_from_slice(&(self.parts.len() as u16).to_le_bytes());
        out.extend_from_slice(&segment.to_le_bytes());
        out.extend_from_slice(&self.end.to_le_bytes());
        out.extend_from_slice(&self.last_commit.to_le_bytes());
        for part in &self.parts {
            out.extend_from_slice(&part.first_sequence_number.to_le_bytes());
            out.extend_from_slice(&part.next_sequence_number.to_le_bytes());
            out.extend_from_slice(&part.last_time_ms.to_le_bytes());
            out.extend_from_slice(&(part.entries.len() as u32).to_le_bytes());
            for entry in &part.entries {
                out.extend_from_slice(&entry.sequence_number.to_le_bytes());
                out.extend_from_slice(&entry.time_ms.to_le_bytes());
                out.extend_from_slice(&entry.position.to_le_bytes());
            }
        }
        let crc = log.crc(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// The index of segment `segment`, or `None` when the bytes are not an intact one.
    pub(crate) fn decode(bytes: &[u8], segment: u64, log: LogId, partitions: u16) -> Option<Self> {
        let (bytes, crc) = bytes.split_last_chunk::<4>()?;
        if u32::from_le_bytes(*crc) != log.crc(bytes) {
            return None;
        }
        let (head, mut rest) = bytes.split_at_checked(HEADER_BYTES)?;
        if head[0..4] != MAGIC || head[4] != VERSION || u16_at(head, 6) != partitions || u64_at(head, 8) != segment {
            return None;
        }
        let mut parts = Vec::with_capacity(usize::from(partitions));
        for _ in 0..partitions {
            let (part, after) = rest.split_at_checked(PART_BYTES)?;
            let (entries, after) = after.split_at_checked((u32_at(part, 24) as usize).checked_mul(ENTRY_BYTES)?)?;
            rest = after;
            parts.push(Part {
                first_sequence_number: u64_at(part, 0),
                next_sequence_number: u64_at(part, 8),
                last_time_ms: u64_at(part, 16),
                entries: entries.chunks_exact(ENTRY_BYTES).map(decode_entry).collect(),
            });
        }
        rest.is_empty().then(|| Self { parts, end: u64_at(head, 16), last_commit: u64_at(head, 24) })
    }
}

fn decode_entry(bytes: &[u8]) -> Entry {
    Entry { sequence_number: u64_at(bytes, 0), time_ms: u64_at(bytes, 8), position: u32_at(bytes, 16) }
}

/// One segment: its file and its index.
pub(crate) struct Segment {
    pub(crate) id: u64,
    pub(crate) file: Arc<dyn DiskFile>,
    /// Size of the file, what it counts for in `retention_bytes`.
    pub(crate) file_bytes: u64,
    pub(crate) index: SegmentIndex,
}

/// Where to read on.
#[derive(Clone)]
pub(crate) struct Location {
    pub(crate) segment: u64,
    pub(crate) file: Arc<dyn DiskFile>,
    /// A block of the partition starts here, at or before the wanted event.
    pub(crate) position: usize,
    /// Committed blocks end here.
    pub(crate) end: usize,
    /// The partition's next sequence number after this segment.
    pub(crate) next_sequence_number: u64,
}

pub(crate) enum Found {
    At(Location),
    /// Dropped by retention: the first retained event is this one.
    Expired(u64),
    /// Not yet written.
    Ahead,
}

/// All segments, oldest first; the last one is being written. Never empty.
pub(crate) struct Index {
    pub(crate) segments: VecDeque<Segment>,
}

impl Index {
    /// Sequence number of the first retained event, or of the next event when none is retained.
    pub(crate) fn begin(&self, partition: usize) -> u64 {
        let first = self.segments.iter().find(|segment| !segment.index.parts[partition].is_empty());
        match first {
            Some(segment) => segment.index.parts[partition].first_sequence_number,
            None => self.newest().index.parts[partition].next_sequence_number,
        }
    }

    pub(crate) fn newest(&self) -> &Segment {
        self.segments.back().expect("a log has at least one segment")
    }

    pub(crate) fn newest_mut(&mut self) -> &mut Segment {
        self.segments.back_mut().expect("a log has at least one segment")
    }

    /// Finds the block to start reading from for `sequence_number`.
    pub(crate) fn locate(&self, partition: usize, sequence_number: u64) -> Found {
        let begin = self.begin(partition);
        if sequence_number < begin {
            return Found::Expired(begin);
        }
        let part = |segment: &Segment| segment.index.parts[partition].next_sequence_number;
        let mut at = self.segments.partition_point(|segment| part(segment) <= sequence_number);
        // A damaged segment may end beyond its last indexed block; what it lost is found missing there.
        while let Some(segment) = self.segments.get(at) {
            let part = &segment.index.parts[partition];
            if part.is_empty() {
                at += 1;
                continue;
            }
            let before = part.entries.partition_point(|entry| entry.sequence_number <= sequence_number);
            return Found::At(Location {
                segment: segment.id,
                file: segment.file.clone(),
                position: part.entries[before.saturating_sub(1)].position as usize,
                end: segment.index.end as usize,
                next_sequence_number: part.next_sequence_number,
            });
        }
        Found::Ahead
    }

    /// A sequence number at or before the first event enqueued after `time_ms`; the next one when there is none.
    pub(crate) fn locate_time(&self, partition: usize, time_ms: u64) -> u64 {
        for segment in &self.segments {
            let part = &segment.index.parts[partition];
            if part.is_empty() || part.last_time_ms <= time_ms {
                continue;
            }
            let before = part.entries.partition_point(|entry| entry.time_ms <= time_ms);
            return part.entries[before.saturating_sub(1)].sequence_number;
        }
        self.newest().index.parts[partition].next_sequence_number
    }

    pub(crate) fn contains(&self, id: u64) -> bool {
        self.segments.iter().any(|segment| segment.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_header(partition: u16, first: u64, count: u32, time: u64) -> block::Header {
        block::Header {
            last: true,
            partition,
            segment: 1,
            commit: first,
            first_sequence_number: first,
            first_time_ms: time,
            count,
            payload_bytes: 400,
            commit_start: 0,
            time_span_ms: 5,
            payload_crc: 0,
        }
    }

    fn sample() -> SegmentIndex {
        let mut index = SegmentIndex::new(&[Standing::default(); 2], 4096, 0);
        for n in 0..10 {
            let position = index.end as usize;
            index.add(&block_header((n % 2) as u16, n / 2 * 3, 3, n * 10), position, 1024);
        }
        index
    }

    #[test]
    fn entries_are_sparse_and_ends_are_exact() {
        let index = sample();
        assert_eq!(index.parts[0].entries.len(), 5, "blocks of a partition lie 1024 apart");
        assert_eq!(index.parts[0].next_sequence_number, 15);
        assert_eq!(index.parts[1].last_time_ms, 95);
        assert_eq!(index.end, 4096 + 10 * 512);
        let mut sparse = SegmentIndex::new(&[Standing::default(); 2], 4096, 0);
        for n in 0..10 {
            sparse.add(&block_header(0, n, 1, n), 4096 + n as usize * 512, 1025);
        }
        assert_eq!(sparse.parts[0].entries.len(), 4);
    }

    #[test]
    fn an_index_file_decodes_to_what_was_encoded_and_notices_damage() {
        let log = LogId::new(3);
        let index = sample();
        let bytes = index.encode(9, log);
        assert_eq!(SegmentIndex::decode(&bytes, 9, log, 2), Some(index));
        assert_eq!(SegmentIndex::decode(&bytes, 8, log, 2), None);
        assert_eq!(SegmentIndex::decode(&bytes, 9, log, 3), None);
        for at in 0..bytes.len() {
            assert_eq!(SegmentIndex::decode(&bytes[..at], 9, log, 2), None, "cut at {at}");
            let mut bad = bytes.clone();
            bad[at] ^= 4;
            assert_eq!(SegmentIndex::decode(&bad, 9, log, 2), None, "byte {at}");
        }
    }
}
