//! Events in the event log: the hub's sink, and readers for everyone else.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use gantry_eventlog::{
    AppendError, Checkpoints, Config as LogConfig, Disk, Log, OpenError, ReadError, Reader, RealDisk, StartPosition,
};
use gantry_hub::event::{Event, partition_of};
use gantry_hub::ports::{
    Append, Batch, EventCursor, EventSink, EventSource, LogError, PartitionState, PortFuture, Start,
};
use gantry_identity::{DeviceId, Timestamp};
use tracing::{info, warn};

use crate::event_record;

/// Device-to-cloud events in partitions. Readers and writers share it as the hub's ports; the rest is for its owner.
pub struct Events {
    log: Log,
    created_at: Timestamp,
}

/// A reader's place in one partition.
struct Cursor {
    partition: u16,
    reader: Reader,
}

impl Events {
    /// Opens the log of a folder, making it when it is missing. Blocks on the disk.
    ///
    /// # Errors
    /// When it cannot be opened; says what is in the way.
    pub fn open(config: LogConfig) -> Result<Self, OpenError> {
        Self::open_on(Arc::new(RealDisk), config)
    }

    /// As [`open`](Self::open), on a given disk.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_on(disk: Arc<dyn Disk>, config: LogConfig) -> Result<Self, OpenError> {
        let (log, recovery) = Log::open_on(disk, config)?;
        info!(?recovery, "event log open");
        let created_at = created_at(log.folder());
        Ok(Self { log, created_at })
    }

    /// Drops events past retention.
    pub async fn retain(&self, now: Timestamp) {
        let (log, now) = (self.log.clone(), u64::try_from(now.as_millis()).unwrap_or(0));
        let dropped = tokio::task::spawn_blocking(move || log.apply_retention(now)).await;
        if let Ok(dropped) = dropped
            && dropped.segments > 0
        {
            info!(segments = dropped.segments, bytes = dropped.bytes, "retention dropped events");
        }
    }

    /// Writes what waits, and takes no more. Readers may read on to the end.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn close(&self) -> Result<(), LogError> {
        self.log.close().await.map_err(|error| log_error(&error))
    }

    pub(crate) fn checkpoints(&self) -> &Arc<Checkpoints> {
        self.log.checkpoints()
    }

    /// Appends records encoded earlier, each of a device and an instant in milliseconds. Resolves when they are durable.
    pub(crate) fn append_records<'a>(&self, records: impl Iterator<Item = (&'a DeviceId, u64, &'a [u8])>) -> Append {
        let partitions = self.log.partitions();
        let mut batch = self.log.begin();
        let mut refused = None;
        for (device, at, record) in records {
            if let Err(error) = batch.push(partition_of(device, partitions), at, |out| out.extend_from_slice(record)) {
                refused = Some(error);
                break;
            }
        }
        finish(batch.finish(), refused)
    }
}

/// Durable when all were taken and the log says so.
fn finish(commit: gantry_eventlog::Commit, refused: Option<AppendError>) -> Append {
    Box::pin(async move {
        let result = commit.await;
        match refused {
            Some(error) => Err(log_error(&error)),
            None => result.map_err(|error| log_error(&error)),
        }
    })
}

fn timestamp(ms: u64) -> Timestamp {
    Timestamp::from_millis(i64::try_from(ms).unwrap_or(i64::MAX))
}

impl Cursor {
    fn decode(&self, events: &[gantry_eventlog::Event]) -> Batch {
        let mut batch = Batch::default();
        for event in events {
            let at = i64::try_from(event.enqueued_time_ms).unwrap_or(i64::MAX);
            match event_record::decode(self.partition, event.sequence_number, at, &event.bytes) {
                Some(event) => batch.events.push(event),
                None => {
                    warn!(partition = self.partition, sequence_number = event.sequence_number, "unreadable event");
                    batch.missed += 1;
                }
            }
        }
        batch
    }
}

impl EventCursor for Cursor {
    fn position(&self) -> u64 {
        self.reader.next_sequence_number()
    }

    fn next(&mut self, events_max: usize, bytes_max: usize) -> PortFuture<'_, Option<Batch>, LogError> {
        Box::pin(async move {
            match self.reader.next_batch(events_max, bytes_max).await {
                Ok(events) => Ok(Some(self.decode(&events))),
                Err(ReadError::Closed) => Ok(None),
                Err(ReadError::Expired { from, to } | ReadError::Damaged { from, to }) => {
                    warn!(partition = self.partition, from, to, "events are gone or damaged");
                    Ok(Some(Batch { events: vec![], missed: to.saturating_sub(from) }))
                }
                Err(ReadError::Io(error)) => Err(LogError::Failed(error.to_string())),
            }
        })
    }
}

impl EventSource for Events {
    fn partitions(&self) -> u16 {
        self.log.partitions()
    }

    fn created_at(&self) -> Timestamp {
        self.created_at
    }

    fn partition(&self, partition: u16) -> PortFuture<'_, Option<PartitionState>, LogError> {
        let state = self.log.partition_properties(partition).map(|properties| PartitionState {
            begin: properties.begin_sequence_number,
            last: properties.last_enqueued_sequence_number.zip(properties.last_enqueued_time_ms.map(timestamp)),
            is_empty: properties.is_empty,
        });
        Box::pin(std::future::ready(Ok(state)))
    }

    fn read(&self, partition: u16, start: Start) -> PortFuture<'_, Option<Box<dyn EventCursor>>, LogError> {
        let start = match start {
            Start::Earliest => StartPosition::Earliest,
            Start::Latest => StartPosition::Latest,
            Start::At(n) => StartPosition::Sequence { n, inclusive: true },
            Start::After(at) => StartPosition::EnqueuedTime { ms: u64::try_from(at.as_millis()).unwrap_or(0) },
        };
        let reader = self.log.reader(partition, start);
        let cursor = reader.map(|reader| Box::new(Cursor { partition, reader }) as Box<dyn EventCursor>);
        Box::pin(std::future::ready(Ok(cursor)))
    }
}

/// When the log's folder was made; file systems that do not keep that say when it last changed.
fn created_at(folder: &Path) -> Timestamp {
    let created = std::fs::metadata(folder).and_then(|found| found.created().or_else(|_| found.modified()));
    let since = created.ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(0))
}

impl EventSink for Events {
    fn append(&self, events: &[Event<'_>]) -> Append {
        let partitions = self.log.partitions();
        let mut batch = self.log.begin();
        let mut refused = None;
        for event in events {
            let at = u64::try_from(event.enqueued_at.as_millis()).unwrap_or(0);
            let partition = partition_of(&event.identity.device, partitions);
            if let Err(error) = batch.push(partition, at, |out| event_record::encode(event, out)) {
                refused = Some(error);
                break;
            }
        }
        finish(batch.finish(), refused)
    }

    fn ready(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        if self.log.has_room() {
            return Box::pin(std::future::ready(()));
        }
        Box::pin(self.log.ready())
    }
}

fn log_error(error: &AppendError) -> LogError {
    match error {
        AppendError::Full => LogError::NoSpace,
        other => LogError::Failed(other.to_string()),
    }
}
