//! Opening a log: what is on the disk, what of it counts, and what was lost.
//!
//! Sealed segments are taken by their index files, or scanned when those are damaged; their end stands in
//! the next segment's header. The newest segment is scanned from where its index file, if any, stops.
//! A commit is written only after the one before it is durable. So in the newest segment:
//!
//! - the last commit, when any part of it is missing, was never acknowledged: it is cut, whole;
//! - damage before the last commit is damage to acknowledged events: it is reported and stepped over, and
//!   as many sequence numbers are skipped as the damaged bytes could have held, so that none is used twice.
//!
//! A last commit damaged after it was acknowledged cannot be told from a torn one; it is reported as cut.

use std::collections::{BTreeSet, VecDeque};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::path::Path;
use std::sync::Arc;

use tracing::warn;

use crate::block::{self, BLOCK_ALIGN, EVENT_HEADER_BYTES, LogId};
use crate::config::{Config, ConfigError};
use crate::disk::{self, Disk, DiskFile};
use crate::index::{Index, Segment, SegmentIndex};
use crate::segment::{self, Meta, Standing};
use crate::writer;

/// Largest index file believed.
const INDEX_FILE_BYTES_MAX: u64 = 256 << 20;
/// How much of a segment is read at once while it is scanned.
const SCAN_BYTES: usize = 1 << 20;
const META_NAME: &str = "meta";
const LOCK_NAME: &str = "LOCK";

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The configuration is wrong.
    #[error("configuration of the event log")]
    Config(#[from] ConfigError),
    /// Another process has the folder.
    #[error("the event log is in use by another process")]
    Locked,
    /// The `meta` file is damaged, or of a newer format.
    #[error("the file `meta` of the event log is damaged or of an unknown version")]
    Meta,
    /// The folder was created with another number of partitions.
    #[error("the event log has {found} partitions, not {asked}")]
    Partitions {
        /// What the folder has.
        found: u16,
        /// `Config::partitions`.
        asked: u16,
    },
    /// The disk failed.
    #[error("opening the event log")]
    Io(#[from] io::Error),
}

/// What opening found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Segments present.
    pub segments: usize,
    /// Segments read whole, for want of an intact index file.
    pub scanned: usize,
    /// The unacknowledged end that was cut.
    pub cut: Option<Damage>,
    /// Damage to acknowledged events in what was scanned. Readers report the sequence numbers lost.
    pub damage: Vec<Damage>,
}

/// A range of bytes of a segment file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The segment's id, as in its file name.
    pub segment: u64,
    /// Where the range begins in the file.
    pub position: u64,
    /// Its length. For a cut, an estimate: at least what evidently belonged to the torn commit.
    pub bytes: u64,
}

/// An opened folder.
pub(crate) struct Opened {
    pub(crate) log: LogId,
    pub(crate) index: Index,
    pub(crate) spares: Vec<String>,
    pub(crate) recovery: Recovery,
    pub(crate) lock: Box<dyn Send + Sync>,
}

pub(crate) fn open(disk: &dyn Disk, config: &Config) -> Result<Opened, OpenError> {
    config.check()?;
    let folder = &config.folder;
    disk.create_folder(folder)?;
    let lock = disk.lock(&folder.join(LOCK_NAME)).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked,
        _ => OpenError::Io(error),
    })?;
    let names = disk.list(folder)?;
    let log = open_meta(disk, config, &names)?;
    for name in names.iter().filter(|name| name.ends_with(".tmp")) {
        disk.remove(&folder.join(name))?;
    }
    let spares = keep_spares(disk, config, &names)?;
    let ids: BTreeSet<u64> = names.iter().filter_map(|name| segment::parse_name(name, "seg")).collect();
    let mut opener = Opener { disk, config, log, recovery: Recovery::default() };
    let index = opener.open_segments(&ids.into_iter().collect::<Vec<_>>())?;
    Ok(Opened { log, index, spares, recovery: opener.recovery, lock })
}

fn open_meta(disk: &dyn Disk, config: &Config, names: &[String]) -> Result<LogId, OpenError> {
    if names.iter().any(|name| name == META_NAME) {
        let file = disk.open(&config.folder.join(META_NAME))?;
        let bytes = disk::read_small(&*file, 4096)?;
        let meta = Meta::decode(&bytes).ok_or(OpenError::Meta)?;
        if meta.partitions != config.partitions {
            return Err(OpenError::Partitions { found: meta.partitions, asked: config.partitions });
        }
        return Ok(meta.log);
    }
    if names.iter().any(|name| segment::parse_name(name, "seg").is_some()) {
        // Segments without their meta: do not begin a second log over them.
        return Err(OpenError::Meta);
    }
    // The standard library's hasher keys are the randomness it offers.
    let log = LogId::new(std::hash::RandomState::new().build_hasher().finish());
    let meta = Meta { log, partitions: config.partitions };
    disk::replace(disk, &config.folder, META_NAME, &[&meta.encode()])?;
    Ok(log)
}

fn keep_spares(disk: &dyn Disk, config: &Config, names: &[String]) -> io::Result<Vec<String>> {
    let mut spares: Vec<_> =
        names.iter().filter(|name| segment::parse_name(name, "spare").is_some()).cloned().collect();
    while spares.len() > config.spare_segments_max {
        if let Some(name) = spares.pop() {
            disk.remove(&config.folder.join(name))?;
        }
    }
    Ok(spares)
}

struct Opener<'a> {
    disk: &'a dyn Disk,
    config: &'a Config,
    log: LogId,
    recovery: Recovery,
}

impl Opener<'_> {
    fn open_segments(&mut self, ids: &[u64]) -> Result<Index, OpenError> {
        let mut standings = vec![Standing::default(); usize::from(self.config.partitions)];
        let mut last_commit = 0;
        let mut segments = VecDeque::new();
        let mut files = Vec::new();
        for id in ids {
            let file = self.disk.open(&self.config.folder.join(segment::file_name(*id)))?;
            let mut bytes = vec![0; segment::HEADER_BYTES];
            let count = file.read_at(&mut bytes, 0)?;
            let header = segment::Header::decode(&bytes[..count], self.log, *id, self.config.partitions);
            if header.is_none() {
                self.damage(*id, 0, segment::HEADER_BYTES as u64);
            }
            files.push((*id, file, header));
        }
        for (at, (id, file, header)) in files.iter().enumerate() {
            if let Some(header) = header {
                standings.clone_from(&header.standings);
                last_commit = header.last_commit;
            }
            let base = SegmentIndex::new(&standings, segment::HEADER_BYTES as u64, last_commit);
            let file_bytes = file.size()?;
            let index = match files.get(at + 1) {
                Some((next, _, next_header)) => {
                    let known = next_header.as_ref().filter(|_| *next == id + 1).map(|header| header.previous_end);
                    self.open_sealed(*id, &**file, base, known, file_bytes)?
                }
                None => self.open_newest(*id, &**file, base, file_bytes)?,
            };
            standings = index.standings();
            last_commit = index.last_commit;
            segments.push_back(Segment { id: *id, file: file.clone(), file_bytes: file.size()?, index });
        }
        if segments.is_empty() {
            segments.push_back(self.first_segment(standings)?);
        }
        self.recovery.segments = segments.len();
        Ok(Index { segments })
    }

    fn first_segment(&self, standings: Vec<Standing>) -> io::Result<Segment> {
        let header = segment::Header { id: 1, previous_end: 0, last_commit: 0, standings };
        let bytes = self.config.segment_bytes;
        let file = segment::create(self.disk, &self.config.folder, None, bytes, &header, self.log)?;
        let index = SegmentIndex::new(&header.standings, segment::HEADER_BYTES as u64, 0);
        Ok(Segment { id: 1, file, file_bytes: bytes, index })
    }

    fn read_index(&self, id: u64) -> Option<SegmentIndex> {
        let file = self.disk.open(&self.config.folder.join(segment::index_name(id))).ok()?;
        let bytes = disk::read_small(&*file, INDEX_FILE_BYTES_MAX).ok()?;
        SegmentIndex::decode(&bytes, id, self.log, self.config.partitions)
    }

    fn open_sealed(
        &mut self,
        id: u64,
        file: &dyn DiskFile,
        base: SegmentIndex,
        known_end: Option<u64>,
        file_bytes: u64,
    ) -> Result<SegmentIndex, OpenError> {
        if let Some(index) = self.read_index(id)
            && known_end.is_none_or(|end| end == index.end)
        {
            return Ok(index);
        }
        self.recovery.scanned += 1;
        let limit = known_end.unwrap_or(file_bytes) as usize;
        let scan = scan(file, self.log, id, base.end as usize, limit, base.last_commit)?;
        let mut index = base;
        for (position, header) in &scan.blocks {
            index.add(header, *position, self.config.index_interval_bytes);
        }
        for (from, to) in &scan.gaps {
            self.damage(id, *from as u64, (*to - *from) as u64);
        }
        if let Some(end) = known_end {
            if scan.end < limit {
                self.damage(id, scan.end as u64, (limit - scan.end) as u64);
            }
            index.end = end;
        }
        if let Err(error) = writer::write_index(self.disk, &self.config.folder, id, &index.encode(id, self.log)) {
            warn!(segment = id, %error, "writing the index of a segment");
        }
        Ok(index)
    }

    fn open_newest(
        &mut self,
        id: u64,
        file: &dyn DiskFile,
        base: SegmentIndex,
        file_bytes: u64,
    ) -> Result<SegmentIndex, OpenError> {
        let mut index = self.read_index(id).filter(|index| index.end <= file_bytes).unwrap_or(base);
        let from = index.end as usize;
        self.recovery.scanned += usize::from(from == segment::HEADER_BYTES);
        let mut scan = scan(file, self.log, id, from, file_bytes as usize, index.last_commit)?;
        let evident_end = scan.evident_end;
        let last_commit_seen = scan.blocks.last().map_or(index.last_commit, |(_, header)| header.commit);
        let cut_at = scan.cut_torn_commit();
        for (position, header) in &scan.blocks {
            index.add(header, *position, self.config.index_interval_bytes);
        }
        index.end = cut_at as u64;
        // The number of a torn commit is not used again either.
        index.last_commit = last_commit_seen;
        for (from, to) in &scan.gaps {
            self.damage(id, *from as u64, (to - from) as u64);
            skip_lost_numbers(&mut index, &scan.blocks, *from, *to);
        }
        if evident_end > cut_at {
            self.recovery.cut =
                Some(Damage { segment: id, position: cut_at as u64, bytes: (evident_end - cut_at) as u64 });
        }
        // Remnants of the torn commit must not be met by a later scan; and what the last process wrote
        // without syncing must be durable before anyone reads it.
        if evident_end > cut_at || file_bytes < self.config.segment_bytes {
            file.set_size(cut_at as u64)?;
        }
        if let Err(error) = file.allocate(self.config.segment_bytes) {
            // A full disk must not keep the log from being read.
            warn!(segment = id, %error, "reserving space for the newest segment");
        }
        file.sync()?;
        Ok(index)
    }

    fn damage(&mut self, segment: u64, position: u64, bytes: u64) {
        warn!(segment, position, bytes, "the event log is damaged");
        self.recovery.damage.push(Damage { segment, position, bytes });
    }
}

/// Skips the numbers that damaged acknowledged bytes may have used, where no later block tells the next.
fn skip_lost_numbers(index: &mut SegmentIndex, blocks: &[(usize, block::Header)], from: usize, to: usize) {
    let lost_max = ((to - from) / EVENT_HEADER_BYTES) as u64 + 1;
    for (partition, part) in index.parts.iter_mut().enumerate() {
        let told = blocks.iter().any(|(at, header)| *at >= to && usize::from(header.partition) == partition);
        if !told {
            part.next_sequence_number += lost_max;
        }
    }
}

/// What lies in a segment.
#[derive(Debug, Default)]
struct Scan {
    blocks: Vec<(usize, block::Header)>,
    /// Damaged ranges between blocks.
    gaps: Vec<(usize, usize)>,
    /// Where the next block would begin.
    end: usize,
    /// End of anything that evidently was written for this segment.
    evident_end: usize,
}

impl Scan {
    /// Removes the last commit if any part of it is missing; returns where the next one goes.
    fn cut_torn_commit(&mut self) -> usize {
        let Some((_, last)) = self.blocks.last() else {
            return self.end;
        };
        let (commit, start) = (last.commit, last.commit_start as usize);
        let torn = !last.last
            || self.gaps.iter().any(|(_, to)| *to > start)
            || self.blocks.iter().find(|(_, header)| header.commit == commit).is_none_or(|(at, _)| *at != start);
        if !torn {
            return self.end;
        }
        self.blocks.retain(|(_, header)| header.commit != commit);
        for gap in &mut self.gaps {
            gap.1 = gap.1.min(start);
        }
        self.gaps.retain(|(from, to)| from < to);
        self.end = start;
        start
    }
}

/// Reads blocks from `from` to `limit`, stepping over what is damaged.
fn scan(
    file: &dyn DiskFile,
    log: LogId,
    segment: u64,
    from: usize,
    limit: usize,
    last_commit: u64,
) -> io::Result<Scan> {
    let mut window = Window { file, limit, bytes: Vec::new(), start: 0 };
    let mut out = Scan { end: from, evident_end: from, ..Scan::default() };
    let mut commit = last_commit;
    let mut position = from;
    while position + block::HEADER_BYTES <= limit {
        match window.block(position, log, segment)? {
            // Commit numbers rise; a lower one is left over from a commit that failed.
            Some((header, true)) if header.commit >= commit => {
                if position != out.end {
                    out.gaps.push((out.end, position));
                }
                commit = header.commit;
                out.end = header.next_position(position);
                out.evident_end = out.end;
                let next = out.end;
                out.blocks.push((position, header));
                position = next;
            }
            Some((header, false)) if header.commit >= commit => {
                out.evident_end = (position + header.block_bytes()).min(limit);
                position += BLOCK_ALIGN;
            }
            _ => position += BLOCK_ALIGN,
        }
    }
    if out.evident_end == out.end
        && block::Header::is_remnant(window.read(out.end, block::HEADER_BYTES)?, segment, commit)
    {
        out.evident_end = (out.end + block::HEADER_BYTES).min(limit);
    }
    Ok(out)
}

/// A moving part of a file.
struct Window<'a> {
    file: &'a dyn DiskFile,
    limit: usize,
    bytes: Vec<u8>,
    start: usize,
}

impl Window<'_> {
    /// The header at `position`, if there is one, and whether its payload is intact.
    fn block(&mut self, position: usize, log: LogId, segment: u64) -> io::Result<Option<(block::Header, bool)>> {
        let Some(header) = block::Header::decode(self.read(position, block::HEADER_BYTES)?, log, segment) else {
            return Ok(None);
        };
        if position + header.block_bytes() > self.limit {
            return Ok(Some((header, false)));
        }
        let bytes = self.read(position, header.block_bytes())?;
        let intact =
            bytes.get(block::HEADER_BYTES..header.block_bytes()).map(|it| log.crc(it)) == Some(header.payload_crc);
        Ok(Some((header, intact)))
    }

    /// `length` bytes at `position`, fewer at the end.
    fn read(&mut self, position: usize, length: usize) -> io::Result<&[u8]> {
        if position < self.start || position + length > self.start + self.bytes.len() {
            self.bytes.resize(length.max(SCAN_BYTES).min(self.limit.saturating_sub(position)), 0);
            let count = self.file.read_at(&mut self.bytes, position as u64)?;
            self.bytes.truncate(count);
            self.start = position;
        }
        let at = position - self.start;
        Ok(&self.bytes[at.min(self.bytes.len())..(at + length).min(self.bytes.len())])
    }
}

/// Removes a segment's files; the file becomes a spare one when there is use for it.
pub(crate) fn retire(disk: &dyn Disk, folder: &Path, id: u64, keep: bool) -> io::Result<Option<String>> {
    let path = folder.join(segment::file_name(id));
    let spare = segment::spare_name(id);
    if keep {
        disk.rename(&path, &folder.join(&spare))?;
    } else {
        disk.remove(&path)?;
    }
    match disk.remove(&folder.join(segment::index_name(id))) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    Ok(keep.then_some(spare))
}

/// Whether nobody but the index holds the file, so that it may be written again.
pub(crate) fn unread(file: &Arc<dyn DiskFile>) -> bool {
    Arc::strong_count(file) == 1
}
