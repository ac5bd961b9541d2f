//! What can be chosen about a log, checked once before anything touches the disk.

use std::path::PathBuf;
use std::time::Duration;

use crate::block;
use crate::segment;

/// Most partitions a log can have.
pub const PARTITIONS_MAX: u16 = 32;

/// Smallest and largest allowed `segment_bytes`. Positions inside a segment are 32 bits on disk.
const SEGMENT_BYTES_MIN: u64 = 64 << 10;
const SEGMENT_BYTES_MAX: u64 = 2 << 30;

/// How a log is laid out and bounded.
///
/// `Config::new` gives the defaults; the partition count is fixed when the folder is created.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder of the log; created when missing. One process at a time.
    pub folder: PathBuf,
    /// Number of partitions, 1 to [`PARTITIONS_MAX`]. Must equal what the folder was created with.
    pub partitions: u16,
    /// Size of a segment file. A multiple of 4096; default 64 MiB.
    pub segment_bytes: u64,
    /// Largest single event. Default 1 MiB.
    pub event_bytes_max: usize,
    /// `has_room` is false and `ready` waits while more than this is waiting to be written. Default 16 MiB.
    pub pending_bytes_max: usize,
    /// Memory for recently committed events, from which live readers are served. Default 32 MiB.
    pub tail_bytes_max: usize,
    /// How long the writer waits for company before it commits. Default zero: commit when idle, gather while a commit runs.
    pub linger: Duration,
    /// Distance between entries of the index, for each partition. Default 256 KiB.
    pub index_interval_bytes: u32,
    /// How much a lagging reader reads at once. Default 256 KiB.
    pub read_bytes: usize,
    /// Retired segment files kept to be written again. Default 2.
    pub spare_segments_max: usize,
    /// Segments whose youngest event is older than this are dropped by `apply_retention`. `None` keeps them.
    pub retention: Option<Duration>,
    /// Oldest segments are dropped by `apply_retention` while the segments exceed this. `None` keeps them.
    pub retention_bytes: Option<u64>,
}

impl Config {
    /// The defaults for a log in `folder` with `partitions` partitions.
    pub fn new(folder: impl Into<PathBuf>, partitions: u16) -> Self {
        Self {
            folder: folder.into(),
            partitions,
            segment_bytes: 64 << 20,
            event_bytes_max: 1 << 20,
            pending_bytes_max: 16 << 20,
            tail_bytes_max: 32 << 20,
            linger: Duration::ZERO,
            index_interval_bytes: 256 << 10,
            read_bytes: 256 << 10,
            spare_segments_max: 2,
            retention: None,
            retention_bytes: None,
        }
    }

    /// Bytes of blocks one segment can hold, and so the largest commit.
    pub(crate) fn segment_capacity(&self) -> usize {
        self.segment_bytes as usize - segment::HEADER_BYTES
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let refuse = |what: &'static str| Err(ConfigError(what));
        if self.partitions == 0 || self.partitions > PARTITIONS_MAX {
            return refuse("partitions must be 1 to 32");
        }
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes)
            || !self.segment_bytes.is_multiple_of(4096)
        {
            return refuse("segment_bytes must be a multiple of 4096 from 64 KiB to 2 GiB");
        }
        let capacity = self.segment_capacity();
        if self.event_bytes_max == 0 || self.event_bytes_max > capacity / 2 {
            return refuse("event_bytes_max must be at least 1 and at most half a segment");
        }
        if self.pending_bytes_max == 0 || self.pending_bytes_max > capacity / 2 {
            return refuse("pending_bytes_max must be at least 1 and at most half a segment");
        }
        if self.read_bytes < block::HEADER_BYTES {
            return refuse("read_bytes must be at least 64");
        }
        Ok(())
    }
}

/// A configuration the log cannot work with.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(&'static str);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(change: impl FnOnce(&mut Config), good: bool) {
        let mut config = Config::new("unused", 4);
        change(&mut config);
        assert_eq!(config.check().is_ok(), good, "{config:?}");
    }

    #[test]
    fn bounds_are_checked_at_the_limit_and_one_past_it() {
        check(|_| (), true);
        check(|c| c.partitions = 0, false);
        check(|c| c.partitions = 32, true);
        check(|c| c.partitions = 33, false);
        check(|c| c.segment_bytes = (64 << 20) + 1, false);
        check(|c| c.segment_bytes = 4 << 30, false);
        check(|c| c.pending_bytes_max = c.segment_capacity() / 2 + 1, false);
        check(|c| c.event_bytes_max = c.segment_capacity() / 2 + 1, false);
        check(|c| c.read_bytes = 63, false);
    }
}
