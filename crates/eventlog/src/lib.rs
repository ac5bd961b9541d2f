//! The event log: partitions, segments, group commit, retention and readers; knows bytes, not devices.
//!
//! Events go in through [`Log::begin`] and are durable when their [`Commit`] resolves; one `fdatasync`
//! commits everything that gathered while the one before it ran, over all partitions. Readers follow a
//! partition from any [`StartPosition`], each at its own pace, and see durable events only.
//!
//! Promises: sequence numbers rise by one from 0 in each partition, and a failed commit uses none; what was
//! acknowledged survives a crash; what the disk damages is reported and never returned as an event.
//! Left out on purpose: consumer groups (a name for a checkpoint, kept by the caller), replication, clocks.
//!
//! ```
//! # let folder = tempfile::tempdir().unwrap();
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! use gantry_eventlog::{Config, Log, StartPosition};
//!
//! let (log, _recovery) = Log::open(Config::new(folder.path(), 4)).unwrap();
//! let mut reader = log.reader(2, StartPosition::Latest).unwrap();
//! log.ready().await;
//! // In a block: a batch holds a lock and must not live across an await.
//! let commit = {
//!     let mut batch = log.begin();
//!     batch.push(2, 1_700_000_000_000, |out| out.extend_from_slice(b"21.5")).unwrap();
//!     batch.finish()
//! };
//! commit.await.unwrap();
//! let events = reader.next_batch(100, 1 << 20).await.unwrap();
//! assert_eq!(&events[0].bytes[..], b"21.5");
//! log.close().await.unwrap();
//! # });
//! ```
//!
//! Files: `block.rs`, `segment.rs`, `index.rs` and `checkpoint.rs` each specify what they write.

mod block;
mod checkpoint;
mod config;
mod disk;
mod index;
mod log;
mod memory_disk;
mod pending;
mod reader;
mod recovery;
mod segment;
mod tail;
mod writer;

pub use checkpoint::{CHECKPOINT_BYTES_MAX, CHECKPOINT_NAME_BYTES_MAX, CheckpointError, Checkpoints};
pub use config::{Config, ConfigError, PARTITIONS_MAX};
pub use disk::{Disk, DiskFile, RealDisk};
pub use log::{Dropped, Log, PartitionProperties};
pub use memory_disk::{Faults, MemoryDisk};
pub use pending::{AppendError, Batch, Commit};
pub use reader::{Event, ReadError, Reader, StartPosition};
pub use recovery::{Damage, OpenError, Recovery};
