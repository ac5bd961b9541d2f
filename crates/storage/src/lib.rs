//! The domain's ports over SQLite and the event log.
//!
//! [`Database`] keeps state: one writer thread groups transactions, so that many durable
//! writes share one fdatasync, and readers have connections of their own. [`Events`] puts
//! device-to-cloud messages into the event log and reads them back. Shapes on disk are
//! specified at the head of the file that writes them.

mod attestation_shape;
mod auto_index;
mod blob_catalogue;
mod checkpoints;
mod database;
mod documents;
mod dps_links;
mod dps_store;
mod event_record;
mod events;
mod file_uploads;
mod glance;
mod hub_store;
mod job_store;
mod managed_store;
mod outbox;
mod queue_record;
mod queues;
mod record_cache;
mod search;
mod shapes;

pub use database::Database;
#[doc(hidden)]
pub use event_record::survive_event_record;
pub use events::Events;
pub use gantry_eventlog::{Config as LogConfig, Disk, Faults, MemoryDisk, OpenError};
