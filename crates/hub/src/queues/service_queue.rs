//! Queues that services read: outcomes of cloud-to-device messages, uploaded files, and what routes send to
//! queues of this platform.
//!
//! All readers of a hub share them: a message goes to one, which completes or rejects it (it
//! is gone either way), abandons it, or lets its lock end. Too many deliveries, or its time
//! to live, end it without a word.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use gantry_identity::Timestamp;
use tokio::sync::Notify;

use crate::error::HubError;
use crate::hub::Hub;
use crate::limits;
use crate::ports::QueueChange;
use crate::queues::c2d::Settle;
use crate::queues::feedback::{
    FEEDBACK_BATCH_LEN_MAX, FEEDBACK_CONTENT_TYPE, FILE_NOTIFICATION_CONTENT_TYPE, FileNotification,
};
use crate::queues::locks::{LockToken, Locks, Until, Wanted};
use crate::queues::routed::ROUTED_RULES;
pub use crate::queues::routed::{ROUTED_QUEUE_LEN_MAX, RoutedEvent};

/// Messages one of the queues holds. When more come, the oldest go: nobody reads them.
pub const SERVICE_QUEUE_LEN_MAX: usize = 10_000;

/// Which one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ServiceQueue {
    /// Outcomes of cloud-to-device messages.
    Feedback,
    /// Uploaded files.
    FileNotifications,
    /// What routes send to a queue of this platform, or to one subscription of a topic.
    Routed {
        /// Number of the endpoint.
        number: u8,
        /// The [subscription](subscription_id), or 0 for a queue.
        subscription: u32,
    },
}

/// What tells apart the subscriptions of a topic; names are compared without case (FNV-1a of 32 bits, never 0).
pub fn subscription_id(name: &str) -> u32 {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0193);
    name.bytes().fold(0x811c_9dc5, step).max(1)
}

/// The two queues of the hub, and one for each number an endpoint may have.
const QUEUES: usize = 18;

impl ServiceQueue {
    fn index(self) -> usize {
        match self {
            Self::Feedback => 0,
            Self::FileNotifications => 1,
            Self::Routed { number, .. } => 2 + usize::from(number % 16),
        }
    }

    /// Content type of its messages.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Feedback => FEEDBACK_CONTENT_TYPE,
            Self::FileNotifications => FILE_NOTIFICATION_CONTENT_TYPE,
            // The message says its own.
            Self::Routed { .. } => "application/octet-stream",
        }
    }
}

/// Rules of one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueRules {
    /// Life of a message that names no expiry of its own.
    pub ttl: Duration,
    /// How long a reader may take.
    pub lock: Duration,
    /// Deliveries before a message is dead-lettered.
    pub delivery_count_max: u32,
}

/// Rules of the device queues and of the two service queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Messaging {
    /// Cloud-to-device messages.
    pub c2d: QueueRules,
    /// Their outcomes.
    pub feedback: QueueRules,
    /// Uploaded files.
    pub file_notifications: QueueRules,
    /// Whether uploads are told at all.
    pub file_notifications_enabled: bool,
}

impl Default for Messaging {
    fn default() -> Self {
        let (ttl, lock) = (limits::C2D_TTL_DEFAULT, limits::C2D_LOCK_DEFAULT);
        let rules = QueueRules { ttl, lock, delivery_count_max: limits::C2D_DELIVERY_COUNT_MAX };
        Self { c2d: rules, feedback: rules, file_notifications: rules, file_notifications_enabled: true }
    }
}

/// A message in a service queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceMessage {
    /// Order in the queue.
    pub sequence_number: u64,
    /// When it came to be.
    pub enqueued_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Times it was abandoned.
    pub delivery_count: u32,
    /// What it holds.
    pub content: Content,
}

/// What a message in a service queue holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A text as services read it: JSON of the hub's own, or a record of an event that cannot be read any more.
    Text(Bytes),
    /// An event that routes sent.
    Event(Box<RoutedEvent>),
}

impl Content {
    /// The text, or the body of the event.
    pub fn body(&self) -> &Bytes {
        match self {
            Self::Text(text) => text,
            Self::Event(event) => &event.body,
        }
    }
}

/// A message and the lock on it.
#[derive(Clone, Debug)]
pub struct Locked<M> {
    /// Names the lock.
    pub token: LockToken,
    /// When the lock ends by itself; absent when it ends with the connection.
    pub until: Option<Timestamp>,
    /// The message.
    pub message: M,
}

/// Locks on messages of the service queues, and who waits for news.
#[derive(Default)]
pub(crate) struct ServiceQueues {
    locks: Locks<ServiceQueue, (u64, u32)>,
    news: [Notify; QUEUES],
    /// Outcomes written since the last batch was made; a hint only.
    gathered: AtomicUsize,
    gathered_enough: Notify,
}

impl ServiceQueues {
    fn news(&self, queue: ServiceQueue) -> &Notify {
        &self.news[queue.index()]
    }

    /// Wakes who waits for a message of a queue.
    pub(super) fn tell(&self, queue: ServiceQueue) {
        self.news(queue).notify_waiters();
    }

    /// Frees messages whose locks ended.
    pub(super) fn end_locks(&self, now: Timestamp) {
        for queue in self.locks.end_due(now) {
            self.tell(queue);
        }
    }

    /// Counts an outcome toward the next batch.
    pub(super) fn gathered(&self, count: usize) {
        if count > 0 && self.gathered.fetch_add(count, Ordering::Relaxed) + count >= FEEDBACK_BATCH_LEN_MAX {
            self.gathered_enough.notify_one();
        }
    }

    /// Resolves when outcomes for a batch gathered.
    pub(super) async fn enough(&self) {
        self.gathered_enough.notified().await;
    }

    /// A batch is made of what gathered.
    pub(super) fn batch_begins(&self) {
        self.gathered.store(0, Ordering::Relaxed);
    }
}

impl Hub {
    fn rules(&self, queue: ServiceQueue) -> &QueueRules {
        match queue {
            ServiceQueue::Feedback => &self.config.messaging.feedback,
            ServiceQueue::FileNotifications => &self.config.messaging.file_notifications,
            ServiceQueue::Routed { .. } => &ROUTED_RULES,
        }
    }

    /// Tells services of an uploaded file, unless that is switched off.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn notify_file_uploaded(&self, now: Timestamp, file: &FileNotification) -> Result<(), HubError> {
        if !self.config.messaging.file_notifications_enabled {
            return Ok(());
        }
        let queue = ServiceQueue::FileNotifications;
        let expires_at = now.plus(self.rules(queue).ttl);
        self.store.service_push(queue, file.document(now).into(), now, expires_at, SERVICE_QUEUE_LEN_MAX).await?;
        self.queues.services.tell(queue);
        Ok(())
    }

    /// Locks the oldest free message of a queue.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn receive_service(
        &self,
        now: Timestamp,
        queue: ServiceQueue,
    ) -> Result<Option<Locked<ServiceMessage>>, HubError> {
        loop {
            let seen = self.queues.services.locks.held(&queue, now);
            let Some(message) = self.store.service_first(queue, now, seen.sequence_numbers.clone()).await? else {
                return Ok(None);
            };
            let (token, until) = (self.draw_token(), now.plus(self.rules(queue).lock));
            let wanted = Wanted {
                token,
                sequence_number: message.sequence_number,
                holder: None,
                until: Until::Instant(until),
                receipt: (message.sequence_number, message.delivery_count),
            };
            if self.queues.services.locks.lock(&queue, &seen, wanted) {
                return Ok(Some(Locked { token, until: Some(until), message }));
            }
        }
    }

    /// Resolves with the next message of a queue, locked. `now` is read again for each attempt.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn next_service(
        &self,
        now: impl Fn() -> Timestamp,
        queue: ServiceQueue,
    ) -> Result<Locked<ServiceMessage>, HubError> {
        loop {
            let mut news = std::pin::pin!(self.queues.services.news(queue).notified());
            // Listen before looking, so that a message in between is not missed.
            news.as_mut().enable();
            if let Some(message) = self.receive_service(now(), queue).await? {
                return Ok(message);
            }
            news.await;
        }
    }

    /// Settles a message of a queue.
    ///
    /// # Errors
    /// [`HubError::LockLost`], or a store failure; the message stays locked then.
    pub async fn settle_service(
        &self,
        now: Timestamp,
        queue: ServiceQueue,
        token: LockToken,
        settle: Settle,
    ) -> Result<(), HubError> {
        let held = self.queues.services.locks.find(&queue, token, now);
        let (sequence_number, delivery_count) = held.ok_or(HubError::LockLost)?;
        let change = match settle {
            Settle::Complete | Settle::Reject => QueueChange::Remove,
            Settle::Abandon if delivery_count + 1 >= self.rules(queue).delivery_count_max => QueueChange::Remove,
            Settle::Abandon => QueueChange::Count(delivery_count + 1),
        };
        let was_there = self.store.service_settle(queue, sequence_number, change).await?;
        self.release_service(queue, token);
        if was_there { Ok(()) } else { Err(HubError::LockLost) }
    }

    /// Gives a message back without counting it.
    pub fn release_service(&self, queue: ServiceQueue, token: LockToken) {
        if self.queues.services.locks.release(&queue, token) {
            self.queues.services.tell(queue);
        }
    }
}
