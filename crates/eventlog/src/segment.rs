//! Segment files: their names, their header, and how one comes to be.
//!
//! All partitions share one sequence of segments, so that one fdatasync commits events of many
//! partitions. A segment `<id, 20 digits>.seg` is its header and then blocks (see `block.rs`) up to an
//! end that only the next segment's header knows; while it is the newest, the end is found by scanning.
//!
//! Header, version 1, 4096 bytes, little-endian, durable before the file has its name:
//!
//! ```text
//!    0   4  magic "GSEG"
//!    4   1  format version, 1
//!    5   1  zero
//!    6   2  number of partitions
//!    8   8  segment id, rising by one
//!   16   8  log id
//!   24   8  end of the previous segment: blocks there past this position were never acknowledged
//!   32   8  number of the last commit before this segment
//!   40   8  zero
//!   48   .  for each partition
//!             0  8  sequence number of its next event
//!             8  8  enqueued time of its last event, ms; 0 before the first
//!         .  zeros
//! 4092   4  CRC-32 of bytes 0 to 4091, continued from that of the log id
//! ```
//!
//! The table keeps numbers rising when retention has dropped every event of a partition.
//!
//! The folder's `meta` file, 32 bytes, written once:
//!
//! ```text
//!  0   4  magic "GLOG"      4   1  version, 1     5   1  zero    6   2  number of partitions
//!  8   8  log id           16  12  zeros         28   4  CRC-32 of bytes 0 to 27
//! ```

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use crate::block::{LogId, u16_at, u32_at, u64_at};
use crate::disk::{Disk, DiskFile};

/// Bytes before the first block.
pub(crate) const HEADER_BYTES: usize = 4096;

const TABLE_AT: usize = 48;
const TABLE_ENTRY_BYTES: usize = 16;
const CRC_AT: usize = HEADER_BYTES - 4;
const MAGIC: [u8; 4] = *b"GSEG";
const VERSION: u8 = 1;

const META_BYTES: usize = 32;
const META_MAGIC: [u8; 4] = *b"GLOG";

/// File name of a segment.
pub(crate) fn file_name(id: u64) -> String {
    format!("{id:020}.seg")
}

/// File name of a segment's index.
pub(crate) fn index_name(id: u64) -> String {
    format!("{id:020}.idx")
}

/// File name of a retired segment.
pub(crate) fn spare_name(id: u64) -> String {
    format!("{id:020}.spare")
}

/// The id in a file name with the given extension.
pub(crate) fn parse_name(name: &str, extension: &str) -> Option<u64> {
    let digits = name.strip_suffix(extension)?.strip_suffix('.')?;
    (digits.len() == 20).then(|| digits.parse().ok())?
}

/// Where a partition stands at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Standing {
    pub(crate) next_sequence_number: u64,
    pub(crate) last_time_ms: u64,
}

/// The first 4096 bytes of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) id: u64,
    pub(crate) previous_end: u64,
    pub(crate) last_commit: u64,
    pub(crate) standings: Vec<Standing>,
}

impl Header {
    pub(crate) fn encode(&self, log: LogId) -> Vec<u8> {
        let mut out = vec![0; HEADER_BYTES];
        out[0..4].copy_from_slice(&MAGIC);
        out[4] = VERSION;
        out[6..8].copy_from_slice(&(self.standings.len() as u16).to_le_bytes());
        out[8..16].copy_from_slice(&self.id.to_le_bytes());
        out[16..24].copy_from_slice(&log.id.to_le_bytes());
        out[24..32].copy_from_slice(&self.previous_end.to_le_bytes());
        out[32..40].copy_from_slice(&self.last_commit.to_le_bytes());
        for (standing, entry) in self.standings.iter().zip(out[TABLE_AT..].chunks_exact_mut(TABLE_ENTRY_BYTES)) {
            entry[0..8].copy_from_slice(&standing.next_sequence_number.to_le_bytes());
            entry[8..16].copy_from_slice(&standing.last_time_ms.to_le_bytes());
        }
        let crc = log.crc(&out[..CRC_AT]);
        out[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The header of segment `id`, or `None` when the bytes are not an intact one of this log.
    pub(crate) fn decode(bytes: &[u8], log: LogId, id: u64, partitions: u16) -> Option<Self> {
        let bytes = bytes.get(..HEADER_BYTES)?;
        let intact = bytes[0..4] == MAGIC
            && bytes[4] == VERSION
            && u16_at(bytes, 6) == partitions
            && u64_at(bytes, 8) == id
            && u64_at(bytes, 16) == log.id
            && u32_at(bytes, CRC_AT) == log.crc(&bytes[..CRC_AT]);
        if !intact {
            return None;
        }
        let standings = bytes[TABLE_AT..]
            .chunks_exact(TABLE_ENTRY_BYTES)
            .take(usize::from(partitions))
            .map(|entry| Standing { next_sequence_number: u64_at(entry, 0), last_time_ms: u64_at(entry, 8) })
            .collect();
        Some(Self { id, previous_end: u64_at(bytes, 24), last_commit: u64_at(bytes, 32), standings })
    }
}

/// Makes the file of a new segment, from a spare one if given, durable under its name.
///
/// On failure nothing of the new segment remains; the spare may be gone.
pub(crate) fn create(
    disk: &dyn Disk,
    folder: &Path,
    spare: Option<&str>,
    segment_bytes: u64,
    header: &Header,
    log: LogId,
) -> io::Result<Arc<dyn DiskFile>> {
    let temporary = match spare {
        Some(name) => folder.join(name),
        None => folder.join(format!("{}.tmp", file_name(header.id))),
    };
    let prepare = || {
        let file = if spare.is_some() { disk.open(&temporary)? } else { disk.create(&temporary)? };
        file.allocate(segment_bytes)?;
        file.write_at(&mut [IoSlice::new(&header.encode(log))], 0)?;
        file.sync()?;
        disk.rename(&temporary, &folder.join(file_name(header.id)))?;
        io::Result::Ok(file)
    };
    match prepare() {
        Ok(file) => match disk.sync_folder(folder) {
            Ok(()) => Ok(file),
            Err(error) => {
                let _ = disk.remove(&folder.join(file_name(header.id)));
                Err(error)
            }
        },
        Err(error) => {
            let _ = disk.remove(&temporary);
            Err(error)
        }
    }
}

/// What the folder was created with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) log: LogId,
    pub(crate) partitions: u16,
}

impl Meta {
    pub(crate) fn encode(self) -> [u8; META_BYTES] {
        let mut out = [0; META_BYTES];
        out[0..4].copy_from_slice(&META_MAGIC);
        out[4] = VERSION;
        out[6..8].copy_from_slice(&self.partitions.to_le_bytes());
        out[8..16].copy_from_slice(&self.log.id.to_le_bytes());
        let crc = crc32fast::hash(&out[..28]);
        out[28..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let intact = bytes.len() == META_BYTES
            && bytes[0..4] == META_MAGIC
            && bytes[4] == VERSION
            && u32_at(bytes, 28) == crc32fast::hash(&bytes[..28]);
        intact.then(|| Self { log: LogId::new(u64_at(bytes, 8)), partitions: u16_at(bytes, 6) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_decodes_to_what_was_encoded_and_notices_damage() {
        let log = LogId::new(11);
        let standings = (0..32).map(|n| Standing { next_sequence_number: n, last_time_ms: n * 10 }).collect();
        let header = Header { id: 5, previous_end: 8192, last_commit: 77, standings };
        let bytes = header.encode(log);
        assert_eq!(Header::decode(&bytes, log, 5, 32), Some(header));
        assert_eq!(Header::decode(&bytes, log, 6, 32), None);
        assert_eq!(Header::decode(&bytes, log, 5, 31), None);
        assert_eq!(Header::decode(&bytes[..4095], log, 5, 32), None);
        for at in (0..HEADER_BYTES).step_by(37) {
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            assert_eq!(Header::decode(&bad, log, 5, 32), None, "byte {at}");
        }
    }

    #[test]
    fn meta_survives_a_round_trip_and_no_other_bytes_pass() {
        let meta = Meta { log: LogId::new(u64::MAX - 3), partitions: 4 };
        let bytes = meta.encode();
        assert_eq!(Meta::decode(&bytes), Some(meta));
        for at in 0..META_BYTES {
            let mut bad = bytes;
            bad[at] ^= 1;
            assert_eq!(Meta::decode(&bad), None, "byte {at}");
        }
        assert_eq!(Meta::decode(&[]), None);
    }

    #[test]
    fn names_parse_back_and_foreign_names_do_not() {
        assert_eq!(parse_name(&file_name(42), "seg"), Some(42));
        assert_eq!(parse_name("42.seg", "seg"), None);
        assert_eq!(parse_name(&index_name(42), "seg"), None);
        assert_eq!(parse_name(&format!("{}.tmp", file_name(1)), "seg"), None);
    }
}
