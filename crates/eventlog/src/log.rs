//! The log itself: the handle that appenders, readers and operators share.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tracing::warn;

use crate::block::LogId;
use crate::checkpoint::Checkpoints;
use crate::config::Config;
use crate::disk::{Disk, RealDisk};
use crate::index::Index;
use crate::pending::{AppendError, Batch, Pending};
use crate::reader::{Reader, StartPosition};
use crate::recovery::{self, OpenError, Recovery};
use crate::tail::Tail;
use crate::writer::Writer;

/// What writer and readers share. Locks are held for microseconds, one at a time, and never over I/O.
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) log: LogId,
    pub(crate) pending: Pending,
    pub(crate) index: RwLock<Index>,
    pub(crate) tail: Mutex<Tail>,
    /// One for each partition.
    pub(crate) news: Vec<Notify>,
    pub(crate) spares: Mutex<Vec<String>>,
    closed: AtomicBool,
    _lock: Box<dyn Send + Sync>,
}

impl Inner {
    pub(crate) fn wake_readers(&self) {
        self.news.iter().for_each(Notify::notify_waiters);
    }

    pub(crate) fn set_closed(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake_readers();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// Where a partition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionProperties {
    /// Sequence number of the first retained event; of the next event when there is none.
    pub begin_sequence_number: u64,
    /// Sequence number of the last event ever appended, `None` before the first.
    pub last_enqueued_sequence_number: Option<u64>,
    /// Enqueued time of that event, ms since 1970.
    pub last_enqueued_time_ms: Option<u64>,
    /// Whether no event is retained.
    pub is_empty: bool,
}

/// What `apply_retention` did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Segments dropped.
    pub segments: usize,
    /// Bytes of their files.
    pub bytes: u64,
}

/// A partitioned, durable log of events. Clones share it; dropping the last one closes it.
/// The folder stays taken until the readers are dropped as well.
#[derive(Clone)]
pub struct Log {
    handle: Arc<Handle>,
}

struct Handle {
    inner: Arc<Inner>,
    thread: Mutex<Option<JoinHandle<()>>>,
    checkpoints: Arc<Checkpoints>,
}

impl Log {
    /// Opens the log in `config.folder`, creating it when missing, and starts its writer. Blocks on the disk.
    pub fn open(config: Config) -> Result<(Self, Recovery), OpenError> {
        Self::open_on(Arc::new(RealDisk), config)
    }

    /// As `open`, on a given disk.
    pub fn open_on(disk: Arc<dyn Disk>, config: Config) -> Result<(Self, Recovery), OpenError> {
        let opened = recovery::open(&*disk, &config)?;
        let standings = opened.index.newest().index.standings();
        let checkpoints = Arc::new(Checkpoints::open(disk.clone(), config.folder.join("checkpoints"))?);
        let inner = Arc::new(Inner {
            pending: Pending::new(&config, &standings),
            tail: Mutex::new(Tail::new(&standings, config.tail_bytes_max)),
            news: (0..config.partitions).map(|_| Notify::new()).collect(),
            index: RwLock::new(opened.index),
            log: opened.log,
            spares: Mutex::new(opened.spares),
            closed: AtomicBool::new(false),
            _lock: opened.lock,
            disk,
            config,
        });
        let writer = Writer::new(inner.clone());
        let thread = std::thread::Builder::new().name("eventlog-writer".into()).spawn(move || writer.run())?;
        let handle = Handle { inner, thread: Mutex::new(Some(thread)), checkpoints };
        Ok((Self { handle: Arc::new(handle) }, opened.recovery))
    }

    /// Begins a batch of events. Holds up other appenders until it is finished or dropped.
    pub fn begin(&self) -> Batch<'_> {
        self.handle.inner.pending.begin()
    }

    /// Whether less than `pending_bytes_max` is waiting to be written.
    pub fn has_room(&self) -> bool {
        self.handle.inner.pending.has_room()
    }

    /// Waits until there is room. Appenders that wait here before each batch are never refused as overloading.
    pub async fn ready(&self) {
        self.handle.inner.pending.ready().await;
    }

    /// Number of partitions.
    pub fn partitions(&self) -> u16 {
        self.handle.inner.config.partitions
    }

    /// Folder of the log.
    pub fn folder(&self) -> &PathBuf {
        &self.handle.inner.config.folder
    }

    /// A reader of a partition, `None` when the log has fewer partitions.
    pub fn reader(&self, partition: u16, start: StartPosition) -> Option<Reader> {
        (partition < self.partitions()).then(|| Reader::new(self.handle.inner.clone(), partition, start))
    }

    /// Where a partition stands, `None` when the log has fewer partitions.
    pub fn partition_properties(&self, partition: u16) -> Option<PartitionProperties> {
        if partition >= self.partitions() {
            return None;
        }
        let inner = &self.handle.inner;
        let begin = inner.index.read().begin(usize::from(partition));
        let standing = inner.tail.lock().standing(usize::from(partition));
        let last = standing.next_sequence_number.checked_sub(1);
        Some(PartitionProperties {
            begin_sequence_number: begin,
            last_enqueued_sequence_number: last,
            last_enqueued_time_ms: last.map(|_| standing.last_time_ms),
            is_empty: begin >= standing.next_sequence_number,
        })
    }

    /// Bytes of all segment files.
    pub fn size_bytes(&self) -> u64 {
        self.handle.inner.index.read().segments.iter().map(|segment| segment.file_bytes).sum()
    }

    /// Drops the oldest segments that are past retention. The newest segment always stays. Blocks on the disk.
    pub fn apply_retention(&self, now_ms: u64) -> Dropped {
        let inner = &self.handle.inner;
        let mut dropped = Dropped::default();
        while let Some((id, file, bytes)) = take_expired(inner, now_ms) {
            dropped.segments += 1;
            dropped.bytes += bytes;
            let keep = recovery::unread(&file)
                && bytes == inner.config.segment_bytes
                && inner.spares.lock().len() < inner.config.spare_segments_max;
            match recovery::retire(&*inner.disk, &inner.config.folder, id, keep) {
                Ok(spare) => inner.spares.lock().extend(spare),
                Err(error) => warn!(segment = id, %error, "removing a segment past retention"),
            }
        }
        if dropped.segments > 0
            && let Err(error) = inner.disk.sync_folder(&inner.config.folder)
        {
            warn!(%error, "syncing the folder of the event log");
        }
        dropped
    }

    /// The store of cursors and other state that belongs to readers.
    pub fn checkpoints(&self) -> &Arc<Checkpoints> {
        &self.handle.checkpoints
    }

    /// Commits what waits, refuses more, and ends the writer. Readers may read on to the end.
    pub async fn close(&self) -> Result<(), AppendError> {
        let outcome = self.handle.inner.pending.close().await;
        self.handle.join();
        outcome
    }
}

/// Takes the oldest segment out of the index if it is past retention.
fn take_expired(inner: &Inner, now_ms: u64) -> Option<(u64, Arc<dyn crate::disk::DiskFile>, u64)> {
    let mut index = inner.index.write();
    if index.segments.len() < 2 {
        return None;
    }
    let bytes: u64 = index.segments.iter().map(|segment| segment.file_bytes).sum();
    let too_many = inner.config.retention_bytes.is_some_and(|bytes_max| bytes > bytes_max);
    let oldest = index.segments.front()?;
    let age = |retention: Duration| {
        let horizon = now_ms.saturating_sub(u64::try_from(retention.as_millis()).unwrap_or(u64::MAX));
        oldest.index.last_time_ms().is_none_or(|last| last < horizon)
    };
    if !too_many && !inner.config.retention.is_some_and(age) {
        return None;
    }
    let segment = index.segments.pop_front()?;
    Some((segment.id, segment.file, segment.file_bytes))
}

impl Handle {
    fn join(&self) {
        let thread = self.thread.lock().take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the writer of the event log panicked");
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        drop(self.inner.pending.close());
        self.join();
    }
}
