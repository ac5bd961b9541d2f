//! The queue of one device: messages sent, handed out under a lock, settled, expired.

use std::collections::HashMap;
use std::time::Duration;

use gantry_identity::{Identity, Timestamp};

use crate::connections::connection::{Delivery, Holder, Subscriptions};
use crate::error::HubError;
use crate::hub::Hub;
use crate::limits;
use crate::ports::{Enqueued, Feedback, QueueChange, Settlement, StoreError};
use crate::queues::c2d::{C2dMessage, Settle};
use crate::queues::feedback::{Outcome, Receipt};
use crate::queues::locks::{LockToken, Until, Wanted};
use crate::queues::service_queue::Locked;
use crate::registry::device::Status;
use crate::throttle::Operation;

/// Expired messages looked at together.
const EXPIRY_PAGE: usize = 256;

impl Hub {
    /// Queues a message for a device and tells its connection.
    ///
    /// # Errors
    /// [`HubError::NotFound`], [`HubError::Disabled`], [`HubError::QueueFull`] or [`HubError::MessageTooLarge`].
    pub async fn send_c2d(&self, now: Timestamp, identity: &Identity, mut message: C2dMessage) -> Result<(), HubError> {
        let bytes = message.size();
        if bytes > limits::C2D_BYTES_MAX {
            return Err(HubError::MessageTooLarge { bytes, max: limits::C2D_BYTES_MAX });
        }
        // Services wait for their turn by being refused: nobody holds a link up for them.
        self.admit(now, Operation::SendC2d, 1)?;
        if message.expires_at.is_some_and(|at| at <= now) {
            return Err(HubError::Invalid("message expires before it is sent".into()));
        }
        let device = self.record(identity).await?.device;
        if device.status == Status::Disabled {
            return Err(HubError::Disabled(identity.clone()));
        }
        message.bound_expiry(now, self.config.messaging.c2d.ttl);
        let generation_id = device.generation_id;
        match self.store.c2d_push(identity, message, generation_id, now, limits::C2D_QUEUE_LEN_MAX).await {
            Ok(_) => {
                self.tell_c2d(identity);
                Ok(())
            }
            Err(StoreError::Full) => Err(HubError::QueueFull(identity.clone())),
            Err(error) => Err(error.into()),
        }
    }

    fn tell_c2d(&self, identity: &Identity) {
        self.connections.deliver(identity, Subscriptions::C2D, Delivery::C2dAvailable);
    }

    /// Locks the oldest free message for a connection. With `for_ever` the lock ends with the connection only.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn next_c2d(
        &self,
        now: Timestamp,
        holder: &Holder,
        for_ever: bool,
    ) -> Result<Option<Locked<Enqueued>>, HubError> {
        let until = if for_ever { Until::HolderEnds } else { Until::Instant(now.plus(self.config.messaging.c2d.lock)) };
        self.lock_next_c2d(now, &holder.identity, Some(holder.number), until).await
    }

    /// Locks the oldest free message for a request without a connection, for the usual time or `lock`.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn receive_c2d(
        &self,
        now: Timestamp,
        identity: &Identity,
        lock: Option<Duration>,
    ) -> Result<Option<Locked<Enqueued>>, HubError> {
        let until = now.plus(lock.unwrap_or(self.config.messaging.c2d.lock));
        self.lock_next_c2d(now, identity, None, Until::Instant(until)).await
    }

    async fn lock_next_c2d(
        &self,
        now: Timestamp,
        identity: &Identity,
        holder: Option<u64>,
        until: Until,
    ) -> Result<Option<Locked<Enqueued>>, HubError> {
        loop {
            let seen = self.queues.locks.held(identity, now);
            let Some(message) = self.store.c2d_first(identity, now, seen.sequence_numbers.clone()).await? else {
                return Ok(None);
            };
            let (token, sequence_number) = (self.draw_token(), message.sequence_number);
            let wanted = Wanted { token, sequence_number, holder, until, receipt: Receipt::of(&message) };
            if self.queues.locks.lock(identity, &seen, wanted) {
                let until = match until {
                    Until::Instant(at) => Some(at),
                    Until::HolderEnds => None,
                };
                return Ok(Some(Locked { token, until, message }));
            }
        }
    }

    /// Settles a message somebody holds; what became of it is durable together with the feedback.
    ///
    /// # Errors
    /// [`HubError::LockLost`], or a store failure; the message stays locked then.
    pub async fn settle_c2d(
        &self,
        now: Timestamp,
        identity: &Identity,
        token: LockToken,
        settle: Settle,
    ) -> Result<(), HubError> {
        let receipt = self.queues.locks.find(identity, token, now).ok_or(HubError::LockLost)?;
        let count = receipt.delivery_count + 1;
        let outcome = match settle {
            Settle::Complete => Some(Outcome::Success),
            Settle::Reject => Some(Outcome::Rejected),
            Settle::Abandon if count >= self.config.messaging.c2d.delivery_count_max => {
                Some(Outcome::DeliveryCountExceeded)
            }
            Settle::Abandon => None,
        };
        let settlement = match outcome {
            Some(outcome) => removal(now, identity, &receipt, outcome),
            None => {
                let sequence_number = receipt.sequence_number;
                Settlement { sequence_number, change: QueueChange::Count(count), feedback: None }
            }
        };
        let was_there = self.settle(identity, vec![settlement]).await? == 1;
        self.queues.locks.release(identity, token);
        if settle == Settle::Abandon {
            self.tell_c2d(identity);
        }
        if was_there { Ok(()) } else { Err(HubError::LockLost) }
    }

    /// Writes what became of messages; says how many were still there.
    async fn settle(&self, identity: &Identity, settlements: Vec<Settlement>) -> Result<usize, HubError> {
        let feedback = settlements.iter().filter(|settlement| settlement.feedback.is_some()).count();
        let count = self.store.c2d_settle(identity, settlements).await?;
        self.queues.services.gathered(feedback);
        Ok(count)
    }

    /// Gives a message back without counting a delivery.
    pub fn release_c2d(&self, identity: &Identity, token: LockToken) {
        if self.queues.locks.release(identity, token) {
            self.tell_c2d(identity);
        }
    }

    /// Drops everything in a device's queue; says how many messages there were.
    ///
    /// # Errors
    /// [`HubError::NotFound`].
    pub async fn purge_c2d(&self, now: Timestamp, identity: &Identity) -> Result<usize, HubError> {
        self.record(identity).await?;
        let queue = self.store.c2d_list(identity).await?;
        let purged = |enqueued: &Enqueued| removal(now, identity, &Receipt::of(enqueued), Outcome::Purged);
        let count = self.settle(identity, queue.iter().map(purged).collect()).await?;
        self.queues.locks.release_all(identity);
        Ok(count)
    }

    pub(crate) fn end_c2d_locks(&self, now: Timestamp) {
        for identity in self.queues.locks.end_due(now) {
            self.tell_c2d(&identity);
        }
    }

    /// Takes expired messages out of their queues, but for those in somebody's hands.
    pub(crate) async fn expire_c2d(&self, now: Timestamp) -> Result<(), HubError> {
        let mut after = None;
        loop {
            let page = self.store.c2d_expired(now, after, EXPIRY_PAGE).await?;
            let is_last = page.len() < EXPIRY_PAGE;
            after = page.last().map(|(_, expired)| (expired.expires_at(), expired.sequence_number));
            let mut by_identity: HashMap<Identity, Vec<Settlement>> = HashMap::new();
            for (identity, expired) in page {
                if !self.queues.locks.held(&identity, now).sequence_numbers.contains(&expired.sequence_number) {
                    let settlement = removal(now, &identity, &Receipt::of(&expired), Outcome::Expired);
                    by_identity.entry(identity).or_default().push(settlement);
                }
            }
            // Together, so that they share commits.
            let writes = by_identity.iter().map(|(identity, settlements)| self.settle(identity, settlements.clone()));
            futures::future::try_join_all(writes).await?;
            if is_last {
                return Ok(());
            }
        }
    }
}

fn removal(now: Timestamp, identity: &Identity, receipt: &Receipt, outcome: Outcome) -> Settlement {
    let feedback = receipt.feedback(now, identity, outcome).map(|document| Feedback { at: now, document });
    Settlement { sequence_number: receipt.sequence_number, change: QueueChange::Remove, feedback }
}
