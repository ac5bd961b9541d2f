//! Queues: cloud-to-device messages, one queue for each device, and the queues services read.
//!
//! Messages are in the store. Here are the locks on them, who waits for news, and what time asks for.

pub mod c2d;
mod device_queue;
pub mod feedback;
pub(crate) mod locks;
mod routed;
pub mod service_queue;

use gantry_identity::{Identity, Timestamp};

use crate::error::HubError;
use crate::hub::Hub;
use crate::ports::FeedbackBatch;
use crate::queues::feedback::{FEEDBACK_BATCH_AGE_MAX, FEEDBACK_BATCH_LEN_MAX, Receipt};
use crate::queues::locks::{LockToken, Locks};
use crate::queues::service_queue::{SERVICE_QUEUE_LEN_MAX, ServiceQueue, ServiceQueues};

/// What a hub remembers of its queues while it runs.
#[derive(Default)]
pub(crate) struct Queues {
    /// On messages of devices.
    pub(crate) locks: Locks<Identity, Receipt>,
    services: ServiceQueues,
}

impl Hub {
    /// Resolves when enough outcomes gathered that [`tend`](Self::tend) should not wait for its time.
    pub async fn tending_due(&self) {
        self.queues.services.enough().await;
    }

    /// Does what time asks for: expired messages leave their queues, locks that ended free their messages, outcomes
    /// become messages for services. Call it about once a second, and when [`tending_due`](Self::tending_due) says so.
    ///
    /// # Errors
    /// When the store fails; the next call goes on.
    pub async fn tend(&self, now: Timestamp) -> Result<(), HubError> {
        self.end_c2d_locks(now);
        self.streams.expire(now);
        self.queues.services.end_locks(now);
        self.expire_c2d(now).await?;
        self.store.service_expire(now).await?;
        self.queues.services.batch_begins();
        let earliest = now.as_millis() - i64::try_from(FEEDBACK_BATCH_AGE_MAX.as_millis()).unwrap_or(i64::MAX);
        let batch = FeedbackBatch {
            len_max: FEEDBACK_BATCH_LEN_MAX,
            due_at: Timestamp::from_millis(earliest),
            enqueued_at: now,
            expires_at: now.plus(self.config.messaging.feedback.ttl),
            queue_len_max: SERVICE_QUEUE_LEN_MAX,
        };
        if self.store.feedback_batch(batch).await? > 0 {
            self.queues.services.tell(ServiceQueue::Feedback);
        }
        Ok(())
    }

    pub(crate) fn draw_token(&self) -> LockToken {
        let mut bytes = [0; 16];
        self.entropy.fill(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }
}
