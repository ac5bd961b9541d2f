//! What the hub needs from outside.
//!
//! Nothing here names an engine: every operation can be expressed as a compare-and-swap on
//! one row or an append to a stream, so SQLite and PostgreSQL, a local log and a replicated
//! one can stand behind it.

mod checkpoints;
pub mod directory;
mod documents;
mod event_source;
mod filter;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gantry_identity::{DeviceId, Identity, Refusal, Timestamp};
pub use gantry_query::{Constraint, Step, Test};

pub use self::checkpoints::{CheckpointError, Checkpoints};
pub use self::documents::{Changes, Collection, Documents};
pub use self::event_source::{Batch, EventCursor, EventSource, PartitionState, Start};
pub use self::filter::{Attribute, Filter, Glance, Part};
use crate::events::event::Event;
use crate::events::reports::Report;
use crate::jobs::job::{DeviceJob, Job, JobStatus, Outcome};
use crate::queues::c2d::C2dMessage;
use crate::queues::service_queue::{RoutedEvent, ServiceMessage, ServiceQueue};
use crate::registry::device::Device;
use crate::twins::twin::Twin;

/// What an operation of a port returns.
pub type PortFuture<'a, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// Why the store did not do something.
#[derive(Debug, thiserror::Error, Clone)]
pub enum StoreError {
    /// What was read changed since, or exists already.
    #[error("it changed since it was read")]
    Conflict,
    /// A bounded queue, or the place for modules of a device, is full.
    #[error("full")]
    Full,
    /// The device a module belongs to is not there.
    #[error("the device is not registered")]
    Missing,
    /// No space left.
    #[error("no space left on the disk")]
    NoSpace,
    /// Anything else.
    #[error("store failed: {0}")]
    Failed(String),
}

/// One identity with its twin.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The identity.
    pub device: Device,
    /// Its twin.
    pub twin: Twin,
    /// Rises with every write; the store compares it.
    pub revision: u64,
    /// What changes too often for the compare-and-swap.
    pub presence: Presence,
}

/// The parts of a record that connections write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    /// When the connection last came or went.
    pub updated_at: Timestamp,
    /// When the identity was last heard.
    pub last_activity_at: Timestamp,
    /// Subscriptions of a persistent session, as [`Subscriptions`](crate::connections::connection::Subscriptions) bits.
    pub subscriptions: u8,
    /// Pending cloud-to-device messages; written by the queue, not by connections.
    pub c2d_count: u32,
}

impl Default for Presence {
    fn default() -> Self {
        Self { updated_at: Timestamp::NEVER, last_activity_at: Timestamp::NEVER, subscriptions: 0, c2d_count: 0 }
    }
}

/// Totals of the registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Devices that may connect.
    pub enabled: u64,
    /// Devices that may not.
    pub disabled: u64,
}

/// A message waiting in a device's queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enqueued {
    /// Order in the queue, unique for the hub.
    pub sequence_number: u64,
    /// Times it was abandoned.
    pub delivery_count: u32,
    /// When the hub took it.
    pub enqueued_at: Timestamp,
    /// Generation of the identity it is for.
    pub generation_id: String,
    /// The message.
    pub message: C2dMessage,
}

impl Enqueued {
    /// When it is no longer worth delivering.
    pub fn expires_at(&self) -> Timestamp {
        self.message.expires_at.unwrap_or(Timestamp::NEVER)
    }
}

/// Which jobs to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Of this type.
    pub kind: Option<String>,
    /// In this state.
    pub status: Option<JobStatus>,
}

/// Which outcomes of jobs to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceJobFilter {
    /// Of this job.
    pub job: Option<String>,
    /// On this device or its modules.
    pub device: Option<String>,
}

/// A device, when work on it began and ended, and how it fared.
pub type Fared = (Identity, Timestamp, Timestamp, Outcome);

/// Scheduled jobs and how they fare on each device.
pub trait JobStore: Send + Sync {
    /// Keeps a new job; [`StoreError::Conflict`] when the id is taken.
    fn insert_job(&self, job: Job) -> PortFuture<'_, (), StoreError>;
    /// Writes what changed of a job; its statistics follow the outcomes and are not written.
    fn update_job(&self, job: Job) -> PortFuture<'_, (), StoreError>;
    /// Writes a job that ended; what is pending of it becomes `rest`, unless that is pending too.
    fn end_job(&self, job: Job, rest: Outcome) -> PortFuture<'_, (), StoreError>;
    /// One job.
    fn job<'a>(&'a self, id: &'a str) -> PortFuture<'a, Option<Job>, StoreError>;
    /// Jobs made before `before`, newest first.
    fn jobs(
        &self,
        filter: JobFilter,
        before: Option<(Timestamp, String)>,
        limit: usize,
    ) -> PortFuture<'_, Vec<Job>, StoreError>;
    /// Jobs that have not ended, in order of their start.
    fn unfinished_jobs(&self) -> PortFuture<'_, Vec<Job>, StoreError>;
    /// Forgets jobs that ended before an instant, a bounded part of them at once.
    fn forget_jobs(&self, before: Timestamp) -> PortFuture<'_, (), StoreError>;
    /// Lists devices for a job, as pending.
    fn list_devices<'a>(
        &'a self,
        id: &'a str,
        now: Timestamp,
        identities: Vec<Identity>,
    ) -> PortFuture<'a, (), StoreError>;
    /// The last device listed for a job, in order of id.
    fn last_device_of<'a>(&'a self, id: &'a str) -> PortFuture<'a, Option<Identity>, StoreError>;
    /// Devices of a job that are pending, after `after` in order of id.
    fn pending_devices<'a>(
        &'a self,
        id: &'a str,
        after: Option<&'a Identity>,
        limit: usize,
    ) -> PortFuture<'a, Vec<Identity>, StoreError>;
    /// Writes how devices fared, and counts it.
    fn put_outcomes<'a>(&'a self, id: &'a str, outcomes: Vec<Fared>) -> PortFuture<'a, (), StoreError>;
    /// Outcomes after a job and an identity, in that order.
    fn device_jobs(
        &self,
        filter: DeviceJobFilter,
        after: Option<(String, Identity)>,
        limit: usize,
    ) -> PortFuture<'_, Vec<DeviceJob>, StoreError>;
}

/// What to look records up by.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    /// Modules, or devices.
    pub modules: bool,
    /// What every match satisfies.
    pub constraints: Vec<Constraint>,
}

/// Records that a store which reads them whole looks at in one go.
const LOOKED_AT_ONCE: usize = 500;

/// Identities and twins, with the queues and jobs.
///
/// Writes of records take the events that report them and store both or neither.
pub trait Store: Queues + JobStore {
    /// One record.
    fn record<'a>(&'a self, identity: &'a Identity) -> PortFuture<'a, Option<Record>, StoreError>;
    /// One record as far as this process knows it without waiting: written by it, or read a moment ago. Routes that
    /// look at twins use it, which may be seconds behind (message enrichments, limitations).
    fn known(&self, identity: &Identity) -> Option<Record>;
    /// Records of devices (`modules` false) or modules after `after`, in order of id.
    fn records<'a>(
        &'a self,
        modules: bool,
        after: Option<&'a Identity>,
        limit: usize,
    ) -> PortFuture<'a, Vec<Record>, StoreError>;
    /// The modules of one device, in order of id, at most `limit`. What it costs does not depend on other devices.
    fn modules_of<'a>(&'a self, device: &'a DeviceId, limit: usize) -> PortFuture<'a, Vec<Record>, StoreError>;
    /// Records that may satisfy every constraint, after `after` in order of id: all that do, and perhaps others.
    fn find(&self, search: Search, after: Option<Identity>, limit: usize) -> PortFuture<'_, Vec<Record>, StoreError>;
    /// Records that the filter accepts among those that [`find`](Self::find) finds, at most `limit`, and after which
    /// more may follow. A store that can looks at the attributes without reading records whole.
    fn find_where(
        &self,
        search: Search,
        filter: Filter,
        after: Option<Identity>,
        limit: usize,
    ) -> PortFuture<'_, (Vec<Record>, Option<Identity>), StoreError> {
        Box::pin(async move {
            let found = self.find(search, after, LOOKED_AT_ONCE).await?;
            let more = found.len() >= LOOKED_AT_ONCE;
            let mut at = None;
            let mut accepted = vec![];
            for record in found {
                let identity = record.device.identity.clone();
                if filter.accepts(&Glance::at(&record, filter.attributes())) {
                    if accepted.len() >= limit {
                        return Ok((accepted, at));
                    }
                    accepted.push(record);
                }
                at = Some(identity);
            }
            Ok((accepted, at.filter(|_| more)))
        })
    }
    /// How many records the filter accepts among those that satisfy every constraint.
    fn count_where(&self, search: Search, filter: Filter) -> PortFuture<'_, u64, StoreError> {
        Box::pin(async move {
            let (mut count, mut after) = (0, None);
            loop {
                let (found, next) = self.find_where(search.clone(), filter.clone(), after, LOOKED_AT_ONCE).await?;
                count += found.len() as u64;
                after = next;
                if after.is_none() {
                    return Ok(count);
                }
            }
        })
    }
    /// How many records satisfy every constraint; `None` when the store cannot tell without looking at each.
    fn count(&self, search: Search) -> PortFuture<'_, Option<u64>, StoreError>;
    /// Creates a record, all or none of them: a device with its first modules, or one module of a device.
    /// [`StoreError::Conflict`] when one exists, [`StoreError::Missing`] for a module without its device,
    /// [`StoreError::Full`] when the device has [`MODULES_MAX`](crate::limits::MODULES_MAX) modules.
    fn insert<'a>(&'a self, records: Vec<Record>, reports: Vec<Report>) -> PortFuture<'a, (), StoreError>;
    /// Writes a record read at `record.revision`; [`StoreError::Conflict`] when it changed since.
    fn update<'a>(&'a self, record: Record, reports: Vec<Report>) -> PortFuture<'a, (), StoreError>;
    /// Deletes a record read at `revision`, a device's modules and its queue.
    fn delete<'a>(
        &'a self,
        identity: &'a Identity,
        revision: u64,
        reports: Vec<Report>,
    ) -> PortFuture<'a, (), StoreError>;
    /// Identities a configuration targets, after `after` in order of id.
    fn managed_by<'a>(
        &'a self,
        configuration: &'a str,
        after: Option<&'a Identity>,
        limit: usize,
    ) -> PortFuture<'a, Vec<Identity>, StoreError>;
    /// How many identities a configuration targets, and on how many it is in force.
    fn managed_counts<'a>(&'a self, configuration: &'a str) -> PortFuture<'a, (u64, u64), StoreError>;
    /// Every configuration that targets anything.
    fn managed_by_any(&self) -> PortFuture<'_, Vec<String>, StoreError>;
    /// Totals.
    fn counts(&self) -> PortFuture<'_, Counts, StoreError>;
    /// Notes a connection coming or going. Best effort: not awaited, not synced.
    fn note_presence(&self, identity: &Identity, presence: Presence);
    /// Keeps the subscriptions of a persistent session.
    fn save_subscriptions<'a>(&'a self, identity: &'a Identity, bits: u8) -> PortFuture<'a, (), StoreError>;
}

/// What is written of a message in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueChange {
    /// It leaves the queue.
    Remove,
    /// It stays, with this delivery count.
    Count(u32),
}

/// An outcome for the sender of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feedback {
    /// When it came about.
    pub at: Timestamp,
    /// JSON text of the record, as services get it.
    pub document: String,
}

/// What becomes of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Which.
    pub sequence_number: u64,
    /// What changes.
    pub change: QueueChange,
    /// Written in the same transaction, if the message was still there.
    pub feedback: Option<Feedback>,
}

/// How outcomes become messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedbackBatch {
    /// Outcomes in one message.
    pub len_max: usize,
    /// A batch that is not full waits until its first outcome is this old.
    pub due_at: Timestamp,
    /// When the messages come to be.
    pub enqueued_at: Timestamp,
    /// When they end.
    pub expires_at: Timestamp,
    /// Messages the queue holds; when more come, the oldest go.
    pub queue_len_max: usize,
}

/// Queues: one a device or module, and two for services.
pub trait Queues: Send + Sync {
    /// Appends to a queue of at most `len_max` unexpired messages; [`StoreError::Full`] otherwise.
    fn c2d_push<'a>(
        &'a self,
        identity: &'a Identity,
        message: C2dMessage,
        generation_id: String,
        now: Timestamp,
        len_max: usize,
    ) -> PortFuture<'a, u64, StoreError>;
    /// Appends to a queue of routes, all or none: [`StoreError::Full`] when it would be longer than `len_max`.
    fn routed_push(
        &self,
        queue: ServiceQueue,
        events: Arc<Vec<RoutedEvent>>,
        enqueued_at: Timestamp,
        expires_at: Timestamp,
        len_max: usize,
    ) -> PortFuture<'_, (), StoreError>;
    /// Empties a service queue.
    fn service_purge(&self, queue: ServiceQueue) -> PortFuture<'_, (), StoreError>;
    /// The oldest unexpired message that is none of `skip`.
    fn c2d_first<'a>(
        &'a self,
        identity: &'a Identity,
        now: Timestamp,
        skip: Vec<u64>,
    ) -> PortFuture<'a, Option<Enqueued>, StoreError>;
    /// The queue in order, oldest first, without bodies.
    fn c2d_list<'a>(&'a self, identity: &'a Identity) -> PortFuture<'a, Vec<Enqueued>, StoreError>;
    /// Writes what became of messages; says how many were still there.
    fn c2d_settle<'a>(
        &'a self,
        identity: &'a Identity,
        settlements: Vec<Settlement>,
    ) -> PortFuture<'a, usize, StoreError>;
    /// Expired messages of all queues in order of expiry and sequence number, without bodies, after `after`.
    fn c2d_expired(
        &self,
        now: Timestamp,
        after: Option<(Timestamp, u64)>,
        limit: usize,
    ) -> PortFuture<'_, Vec<(Identity, Enqueued)>, StoreError>;
    /// Makes messages of the outcomes that are due; says how many.
    fn feedback_batch(&self, batch: FeedbackBatch) -> PortFuture<'_, usize, StoreError>;
    /// Appends to a service queue, from which the oldest go when it is longer than `len_max`.
    fn service_push(
        &self,
        queue: ServiceQueue,
        body: Bytes,
        enqueued_at: Timestamp,
        expires_at: Timestamp,
        len_max: usize,
    ) -> PortFuture<'_, (), StoreError>;
    /// The oldest unexpired message that is none of `skip`.
    fn service_first(
        &self,
        queue: ServiceQueue,
        now: Timestamp,
        skip: Vec<u64>,
    ) -> PortFuture<'_, Option<ServiceMessage>, StoreError>;
    /// Writes what became of a message; whether it was still there.
    fn service_settle(
        &self,
        queue: ServiceQueue,
        sequence_number: u64,
        change: QueueChange,
    ) -> PortFuture<'_, bool, StoreError>;
    /// Drops expired messages.
    fn service_expire(&self, now: Timestamp) -> PortFuture<'_, (), StoreError>;
}

/// Why events were not taken, or cannot be read.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum LogError {
    /// No space left.
    #[error("no space left on the disk")]
    NoSpace,
    /// The log is closing or its disk failed.
    #[error("log failed: {0}")]
    Failed(String),
}

/// Resolves when events are durable.
pub type Append = Pin<Box<dyn Future<Output = Result<(), LogError>> + Send>>;

/// The event log, as the writer of events sees it.
pub trait EventSink: Send + Sync {
    /// Takes events in order; the future resolves when all are durable.
    fn append(&self, events: &[Event<'_>]) -> Append;
    /// Resolves when the log has room: devices feel back-pressure here.
    fn ready(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// A refused authentication or authorization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedAccess {
    /// When.
    pub at: Timestamp,
    /// Who it claimed to be; as presented, bounded.
    pub claimed: String,
    /// Address of the peer.
    pub peer: String,
    /// Protocol and step, such as `mqtt connect`.
    pub operation: &'static str,
    /// Why; never holds a secret.
    pub reason: Refusal,
}

/// Where refused access is reported.
pub trait Audit: Send + Sync {
    /// Takes one event; must not block.
    fn refused(&self, event: RefusedAccess);
}

/// Hears of what the hub does that is not stored.
pub trait Observer: Send + Sync {
    /// An identity came or went, in the order in which it happened; must not block.
    fn connection(&self, identity: &Identity, is_connected: bool);
    /// An identity announced the model it is of; must not block.
    fn model(&self, _identity: &Identity, _model_id: &str) {}
}

/// For a hub that nobody watches.
impl Observer for () {
    fn connection(&self, _: &Identity, _: bool) {}
}

/// The wall clock, for what takes a while. Whatever is done at once is told the time instead.
pub trait Clock: Send + Sync {
    /// The time.
    fn now(&self) -> Timestamp;
    /// Resolves after a while.
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// Where random bytes come from.
pub trait Entropy: Send + Sync {
    /// Fills the buffer.
    fn fill(&self, buffer: &mut [u8]);
}
