//! The recent past in memory: committed blocks from which live readers are served without the disk.
//!
//! Bounded in bytes over all partitions; the oldest blocks leave first, whoever still reads them. Their
//! memory goes back to the writer when no reader holds it.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::block::{Block, HEADER_BYTES, Header};
use crate::segment::Standing;

/// What readers see of one partition.
struct Part {
    standing: Standing,
    blocks: VecDeque<(Block, Bytes)>,
}

/// Recent blocks of all partitions, and where each partition stands.
pub(crate) struct Tail {
    parts: Vec<Part>,
    /// Partition and memory of each block, oldest first.
    order: VecDeque<(u16, usize)>,
    bytes: usize,
    bytes_max: usize,
}

impl Tail {
    pub(crate) fn new(standings: &[Standing], bytes_max: usize) -> Self {
        let part = |standing: &Standing| Part { standing: *standing, blocks: VecDeque::new() };
        Self { parts: standings.iter().map(part).collect(), order: VecDeque::new(), bytes: 0, bytes_max }
    }

    pub(crate) fn standing(&self, partition: usize) -> Standing {
        self.parts[partition].standing
    }

    /// Adds a committed block, given as it lies in the file, and pushes memory that fell free to `free`.
    pub(crate) fn add(&mut self, header: &Header, buffer: Vec<u8>, free: &mut Vec<Vec<u8>>) {
        // A small block would pin a large buffer: copy it out instead.
        let (whole, memory) = if buffer.len() * 2 < buffer.capacity() {
            let copy = Bytes::copy_from_slice(&buffer[..header.block_bytes()]);
            free.push(buffer);
            let memory = copy.len();
            (copy, memory)
        } else {
            let memory = buffer.capacity();
            (Bytes::from(buffer), memory)
        };
        let memory = memory + size_of::<(Block, Bytes)>();
        let block = Block::new(header, whole.slice(HEADER_BYTES..header.block_bytes()));
        let part = &mut self.parts[usize::from(header.partition)];
        part.standing =
            Standing { next_sequence_number: header.next_sequence_number(), last_time_ms: header.last_time_ms() };
        part.blocks.push_back((block, whole));
        self.order.push_back((header.partition, memory));
        self.bytes += memory;
        while self.bytes > self.bytes_max {
            let Some((partition, memory)) = self.order.pop_front() else {
                break;
            };
            self.bytes -= memory;
            if let Some((block, whole)) = self.parts[usize::from(partition)].blocks.pop_front() {
                drop(block);
                reclaim(whole, free);
            }
        }
    }

    /// Blocks with the event `sequence_number` and after, up to about `bytes_max`; `None` when it is not (or no longer) here.
    pub(crate) fn read(&self, partition: usize, sequence_number: u64, bytes_max: usize) -> Option<Vec<Block>> {
        let blocks = &self.parts[partition].blocks;
        let first = blocks.front()?;
        if first.0.first_sequence_number > sequence_number {
            return None;
        }
        let from = blocks.partition_point(|(block, _)| block.next_sequence_number() <= sequence_number);
        let mut bytes = 0;
        let mut out = Vec::new();
        for (block, _) in blocks.range(from..) {
            out.push(block.clone());
            bytes += block.payload.len();
            if bytes >= bytes_max {
                break;
            }
        }
        (!out.is_empty()).then_some(out)
    }
}

/// Takes the memory back when nobody else holds it.
fn reclaim(mut whole: Bytes, free: &mut Vec<Vec<u8>>) {
    if whole.is_unique() {
        whole.truncate(0);
        free.push(Vec::from(whole));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{LogId, OpenBlock, Place};

    fn block(partition: u16, first: u64) -> (Header, Vec<u8>) {
        let mut open = OpenBlock::new(partition, first, Vec::new());
        open.push(first, 1000, |out| out.resize(out.len() + 400, 7)).unwrap();
        let place =
            Place { segment: 1, commit: 1, commit_start: 0, position: 0, first_sequence_number: first, last: true };
        open.close(&place, LogId::new(1))
    }

    #[test]
    fn the_oldest_leave_first_and_their_memory_returns() {
        let mut tail = Tail::new(&[Standing::default(); 2], 2500);
        let mut free = Vec::new();
        for n in 0..10 {
            let (header, buffer) = block((n % 2) as u16, n / 2);
            tail.add(&header, buffer, &mut free);
        }
        assert!(tail.bytes <= 2500);
        assert!(free.len() >= 6, "{}", free.len());
        assert!(tail.read(0, 0, 1 << 20).is_none(), "evicted");
        let blocks = tail.read(0, 4, 1 << 20).unwrap();
        assert_eq!(blocks[0].first_sequence_number, 4);
        assert!(tail.read(0, 5, 1 << 20).is_none(), "not yet written");
        assert_eq!(tail.standing(1), Standing { next_sequence_number: 5, last_time_ms: 4 });
    }

    #[test]
    fn memory_a_reader_holds_is_not_taken_back() {
        let mut tail = Tail::new(&[Standing::default()], 1200);
        let mut free = Vec::new();
        let (header, buffer) = block(0, 0);
        tail.add(&header, buffer, &mut free);
        let held = tail.read(0, 0, 1).unwrap();
        for n in 1..5 {
            let (header, buffer) = block(0, n);
            tail.add(&header, buffer, &mut free);
        }
        assert!(held[0].payload[8..].iter().all(|byte| *byte == 7));
        assert_eq!(held[0].payload.len(), 408);
    }
}
