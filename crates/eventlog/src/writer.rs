//! The writer: a thread of its own that commits whatever waits.
//!
//! One commit is: give sequence numbers, write all blocks with one `pwritev`, one `fdatasync`, enter them
//! in the index and the tail, complete the round, wake the readers. While a commit runs, new events gather
//! for the next, so commits grow with load and an idle log commits at once.
//!
//! When writing or syncing fails, nothing is assumed about what reached the disk: the segment ends where it
//! last was durable, is cut there as well as may be, and the next commit goes to a fresh segment whose header
//! states that end. So numbers of a failed commit are given out again without ever meaning two events.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tracing::{error, info, warn};

use crate::block::{BLOCK_ALIGN, COMMIT_ALIGN, Header, OpenBlock, Place, align};
use crate::disk::{Disk, DiskFile};
use crate::index::{Segment, SegmentIndex};
use crate::log::Inner;
use crate::pending::{AppendError, FirstNumbers};
use crate::segment::{self, Standing};

pub(crate) struct Writer {
    inner: Arc<Inner>,
    segment: u64,
    file: Arc<dyn DiskFile>,
    /// Where the next commit goes.
    end: usize,
    /// A write to the segment failed: nothing may follow in it.
    suspect: bool,
    commit: u64,
    standings: Vec<Standing>,
    failing: bool,
}

/// A commit laid out for the file.
struct Layout {
    blocks: Vec<(Header, Vec<u8>)>,
    first_numbers: FirstNumbers,
    standings: Vec<Standing>,
}

impl Writer {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        let (segment, file, end, commit, standings) = {
            let index = inner.index.read();
            let newest = index.newest();
            let end = newest.index.end as usize;
            (newest.id, newest.file.clone(), end, newest.index.last_commit, newest.index.standings())
        };
        Self { inner, segment, file, end, suspect: false, commit, standings, failing: false }
    }

    /// Commits until the log is closed and nothing waits.
    pub(crate) fn run(mut self) {
        let inner = self.inner.clone();
        let mut free = Vec::new();
        while let Some(mut work) = inner.pending.take(inner.config.linger, &mut free) {
            let outcome = if work.encoder_failed {
                free.extend(std::mem::take(&mut work.blocks).into_iter().map(OpenBlock::into_buffer));
                Err(AppendError::Encoder)
            } else {
                self.commit(std::mem::take(&mut work.blocks), &mut free)
            };
            self.report(outcome.as_ref().err());
            work.round.complete(outcome);
            inner.wake_readers();
        }
        self.write_index_file(self.segment);
    }

    fn commit(&mut self, blocks: Vec<OpenBlock>, free: &mut Vec<Vec<u8>>) -> Result<FirstNumbers, AppendError> {
        // Numbers of failed commits are not used again, so that a leftover is never taken for a successor.
        self.commit += 1;
        let bytes: usize = blocks.iter().map(OpenBlock::file_bytes).sum();
        if self.suspect || self.end + align(bytes, COMMIT_ALIGN) > self.inner.config.segment_bytes as usize {
            self.rotate()?;
        }
        let layout = self.lay_out(blocks);
        if let Err(error) = self.write(&layout) {
            self.abandon_segment();
            free.extend(layout.blocks.into_iter().map(|(_, buffer)| buffer));
            return Err(error.into());
        }
        let first_numbers = layout.first_numbers.clone();
        self.publish(layout, free);
        Ok(first_numbers)
    }

    fn lay_out(&self, blocks: Vec<OpenBlock>) -> Layout {
        let mut standings = self.standings.clone();
        let first_numbers = standings.iter().map(|standing| standing.next_sequence_number).collect();
        let last = blocks.len().saturating_sub(1);
        let mut position = self.end;
        let close = |(at, block): (usize, OpenBlock)| {
            let standing = &mut standings[usize::from(block.partition)];
            let place = Place {
                segment: self.segment,
                commit: self.commit,
                commit_start: self.end as u32,
                position: position as u32,
                first_sequence_number: standing.next_sequence_number,
                last: at == last,
            };
            let (header, buffer) = block.close(&place, self.inner.log);
            position += buffer.len();
            *standing =
                Standing { next_sequence_number: header.next_sequence_number(), last_time_ms: header.last_time_ms() };
            (header, buffer)
        };
        let blocks = blocks.into_iter().enumerate().map(close).collect();
        Layout { blocks, first_numbers, standings }
    }

    fn write(&self, layout: &Layout) -> io::Result<()> {
        let mut slices: Vec<_> = layout.blocks.iter().map(|(_, buffer)| IoSlice::new(buffer)).collect();
        self.file.write_at(&mut slices, self.end as u64)?;
        let begun = Instant::now();
        self.file.sync()?;
        metrics::histogram!("gantry_eventlog_sync_seconds").record(begun.elapsed().as_secs_f64());
        Ok(())
    }

    /// Makes a durable commit visible: index first, then the tail, from which readers learn of it.
    fn publish(&mut self, layout: Layout, free: &mut Vec<Vec<u8>>) {
        let mut events = 0;
        let mut bytes = 0;
        {
            let mut index = self.inner.index.write();
            let index = &mut index.newest_mut().index;
            for (header, buffer) in &layout.blocks {
                debug_assert_eq!(self.end % BLOCK_ALIGN, 0);
                index.add(header, self.end, self.inner.config.index_interval_bytes);
                self.end += buffer.len();
                events += u64::from(header.count);
                bytes += u64::from(header.payload_bytes);
            }
        }
        {
            let mut tail = self.inner.tail.lock();
            for (header, buffer) in layout.blocks {
                tail.add(&header, buffer, free);
            }
        }
        self.standings = layout.standings;
        metrics::counter!("gantry_eventlog_commits_total").increment(1);
        metrics::counter!("gantry_eventlog_events_total").increment(events);
        metrics::counter!("gantry_eventlog_bytes_total").increment(bytes);
    }

    /// Ends the segment where it last was durable.
    fn abandon_segment(&mut self) {
        self.suspect = true;
        // Best effort: it frees the space and removes pages the kernel may hold as if they were written.
        // What counts is the next segment's header.
        if let Err(error) = self.file.set_size(self.end as u64) {
            warn!(segment = self.segment, %error, "cutting a segment after a failed commit");
        }
    }

    /// Begins a fresh segment. On failure the present one stays, and may still take smaller commits.
    fn rotate(&mut self) -> io::Result<()> {
        let inner = &self.inner;
        let header = segment::Header {
            id: self.segment + 1,
            previous_end: self.end as u64,
            last_commit: self.commit - 1,
            standings: self.standings.clone(),
        };
        let file = create_segment(inner, &header)?;
        let previous = self.segment;
        let file_bytes = inner.config.segment_bytes;
        {
            let mut index = inner.index.write();
            if self.suspect {
                index.newest_mut().file_bytes = self.end as u64;
            }
            index.segments.push_back(Segment {
                id: header.id,
                file: file.clone(),
                file_bytes,
                index: SegmentIndex::new(&header.standings, segment::HEADER_BYTES as u64, header.last_commit),
            });
        }
        self.segment = header.id;
        self.file = file;
        self.end = segment::HEADER_BYTES;
        self.suspect = false;
        self.write_index_file(previous);
        Ok(())
    }

    /// Writes a segment's index beside it. Not synced: when torn, opening the log scans instead.
    fn write_index_file(&self, id: u64) {
        let encoded = {
            let index = self.inner.index.read();
            index.segments.iter().find(|segment| segment.id == id).map(|it| it.index.encode(id, self.inner.log))
        };
        let Some(encoded) = encoded else { return };
        if let Err(error) = write_index(&*self.inner.disk, &self.inner.config.folder, id, &encoded) {
            warn!(segment = id, %error, "writing the index of a segment");
        }
    }

    /// Logs a failure once, and the recovery from it.
    fn report(&mut self, failure: Option<&AppendError>) {
        match failure {
            Some(failure) => {
                metrics::counter!("gantry_eventlog_commits_failed_total").increment(1);
                if !std::mem::replace(&mut self.failing, true) {
                    let source = std::error::Error::source(failure).map(ToString::to_string);
                    error!(%failure, source, "events are not being committed");
                }
            }
            None if std::mem::take(&mut self.failing) => info!("events are being committed again"),
            None => {}
        }
    }
}

impl Drop for Writer {
    /// Also when it panics: appenders and readers learn that the log is closed.
    fn drop(&mut self) {
        self.inner.pending.abandon();
        self.inner.set_closed();
    }
}

fn create_segment(inner: &Inner, header: &segment::Header) -> io::Result<Arc<dyn DiskFile>> {
    let disk: &dyn Disk = &*inner.disk;
    let config = &inner.config;
    let create =
        |spare: Option<&str>| segment::create(disk, &config.folder, spare, config.segment_bytes, header, inner.log);
    let spare = inner.spares.lock().pop();
    if let Some(spare) = spare {
        match create(Some(&spare)) {
            Ok(file) => return Ok(file),
            Err(error) => warn!(spare, %error, "writing a segment over a spare one"),
        }
    }
    create(None)
}

/// Writes the index file of a segment by way of a temporary one.
pub(crate) fn write_index(disk: &dyn Disk, folder: &Path, id: u64, encoded: &[u8]) -> io::Result<()> {
    let name = segment::index_name(id);
    let temporary = folder.join(format!("{name}.tmp"));
    let written = disk
        .create(&temporary)
        .and_then(|file| file.write_at(&mut [IoSlice::new(encoded)], 0))
        .and_then(|()| disk.rename(&temporary, &folder.join(name)));
    if written.is_err() {
        let _ = disk.remove(&temporary);
    }
    written
}
