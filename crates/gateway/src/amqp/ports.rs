//! What the AMQP heads need from outside.

use std::fmt;

use gantry_hub::HubError;
use gantry_hub::c2d::C2dMessage;
use gantry_hub::event::StoredEvent;
use gantry_hub::ports::PortFuture;
use gantry_identity::{Identity, Refusal, Rights, Timestamp};

/// What a checked token allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What it covers, as `host` or `host/path`; the host is one of ours.
    pub resource: String,
    /// The policy that signed it.
    pub policy: String,
    /// What that policy may do.
    pub rights: Rights,
    /// When it ends, and with it every link it carries.
    pub expires_at: Timestamp,
}

/// Who may come in.
pub trait Authorizer: Send + Sync {
    /// Checks a shared access signature of a policy: signature, expiry and host.
    ///
    /// # Errors
    /// Why not, for the log.
    fn check(&self, now: Timestamp, token: &str) -> Result<Grant, Refusal>;

    /// Takes a security event. Must not block.
    fn on_refused(&self, now: Timestamp, claimed: &str, peer: &str, operation: &'static str, reason: &Refusal);
}

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartPosition {
    /// The first retained event.
    Earliest,
    /// The next event to be appended.
    Latest,
    /// A sequence number, which is also an offset.
    Sequence {
        /// The number.
        number: u64,
        /// Whether that event itself is read.
        inclusive: bool,
    },
    /// The first event enqueued after this instant.
    EnqueuedAfter(Timestamp),
}

/// What is in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionProperties {
    /// Sequence number of the first retained event, or of the next one when there is none.
    pub begin_sequence_number: u64,
    /// Number and time of the newest event; absent while there never was one.
    pub last_enqueued: Option<(u64, Timestamp)>,
    /// Whether no event is retained.
    pub is_empty: bool,
}

/// Why a stream cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The process is stopping.
    #[error("the event stream is closed")]
    Closed,
    /// The log failed.
    #[error("reading the event stream: {0}")]
    Failed(String),
}

/// The hub's events: the built-in endpoint, and endpoints of routes that are streams of this platform. They share
/// partitions and numbers; each has the events that were routed to it.
pub trait EventStream: Send + Sync {
    /// Names of the endpoints that can be read, the built-in one first.
    fn entities(&self) -> Vec<String>;
    /// Number of partitions; they are named `0` to one less.
    fn partitions(&self) -> u16;

    /// When the stream was created.
    fn created_at(&self) -> Timestamp;

    /// What is in a partition; `None` when there is no such partition.
    fn partition_properties(&self, partition: u16) -> Option<PartitionProperties>;

    /// A reader with a cursor of its own; `None` when there is no such partition or endpoint.
    fn reader(&self, entity: &str, partition: u16, start: StartPosition) -> Option<Box<dyn EventReader>>;
}

/// Reads one partition in order.
pub trait EventReader: Send {
    /// Waits for at least one event and gives up to `events_max` of about `bytes_max` bytes in all. Events that
    /// retention dropped before they were read are passed over. When the future is dropped, no event is lost.
    ///
    /// # Errors
    /// [`StreamError`].
    fn next_batch(&mut self, events_max: usize, bytes_max: usize) -> PortFuture<'_, Vec<StoredEvent>, StreamError>;
}

impl fmt::Debug for dyn EventReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventReader")
    }
}

/// Where cloud-to-device messages go.
pub trait C2dSender: Send + Sync {
    /// Queues a message for a device or module. When it resolves, the message is durable.
    ///
    /// # Errors
    /// [`HubError`]; nothing was queued then.
    fn send(&self, now: Timestamp, to: Identity, message: C2dMessage) -> PortFuture<'_, (), HubError>;
}
