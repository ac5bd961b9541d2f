//! Telemetry in, cloud-to-device messages out.

use gantry_identity::{Identity, Timestamp};

use crate::c2d::C2dMessage;
use crate::connection::{Delivery, Subscriptions};
use crate::device::Status;
use crate::error::HubError;
use crate::event::{Event, MessageSource, Telemetry};
use crate::hub::{Hub, Session};
use crate::limits;
use crate::ports::{Append, Enqueued, StoreError};

impl Hub {
    /// Stamps messages with what the hub knows of their sender and appends them to the log, in order.
    /// The future resolves when all of them are durable; only then may the head acknowledge.
    ///
    /// # Errors
    /// [`HubError::MessageTooLarge`]; nothing is taken then.
    pub fn telemetry(&self, now: Timestamp, session: &Session, messages: &[Telemetry<'_>]) -> Result<Append, HubError> {
        if let Some(bytes) = messages.iter().map(Telemetry::size).find(|size| *size > limits::D2C_BYTES_MAX) {
            return Err(HubError::MessageTooLarge { bytes, max: limits::D2C_BYTES_MAX });
        }
        let events: Vec<Event<'_>> = messages
            .iter()
            .map(|message| Event {
                source: MessageSource::Telemetry,
                identity: &session.identity,
                generation_id: &session.generation_id,
                auth_method: &session.auth_method,
                model_id: session.model_id.as_deref(),
                enqueued_at: now,
                message,
            })
            .collect();
        self.connections.touch(now, &session.identity);
        Ok(self.log.append(&events))
    }

    /// Queues a message for a device and tells its connection.
    ///
    /// # Errors
    /// [`HubError::NotFound`], [`HubError::Disabled`], [`HubError::QueueFull`] or [`HubError::MessageTooLarge`].
    pub async fn send_c2d(&self, now: Timestamp, identity: &Identity, mut message: C2dMessage) -> Result<(), HubError> {
        let bytes = message.size();
        if bytes > limits::C2D_BYTES_MAX {
            return Err(HubError::MessageTooLarge { bytes, max: limits::C2D_BYTES_MAX });
        }
        if message.expires_at.is_some_and(|at| at <= now) {
            return Err(HubError::Invalid("message expires before it is sent".into()));
        }
        if self.record(identity).await?.device.status == Status::Disabled {
            return Err(HubError::Disabled(identity.clone()));
        }
        message.bound_expiry(now);
        match self.store.c2d_push(identity, message, now, limits::C2D_QUEUE_LEN_MAX).await {
            Ok(_) => {
                self.connections.deliver(identity, Subscriptions::C2D, Delivery::C2dAvailable);
                Ok(())
            }
            Err(StoreError::Full) => Err(HubError::QueueFull(identity.clone())),
            Err(error) => Err(error.into()),
        }
    }

    /// Locks the oldest message that is free, until it is completed or the connection ends.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn next_c2d(&self, now: Timestamp, identity: &Identity) -> Result<Option<Enqueued>, HubError> {
        let queue = self.store.c2d_list(identity).await?;
        let next = self.locks.lock_next(identity, queue, now);
        if !next.expired.is_empty() {
            self.store.c2d_remove(identity, next.expired).await?;
        }
        Ok(next.message)
    }

    /// Takes a message out of the queue for good.
    ///
    /// # Errors
    /// When the store fails; the message is then still in the queue.
    pub async fn complete_c2d(&self, identity: &Identity, sequence_number: u64) -> Result<(), HubError> {
        self.store.c2d_remove(identity, vec![sequence_number]).await?;
        self.locks.release(identity, sequence_number);
        Ok(())
    }

    /// Drops everything in a device's queue; says how many messages there were.
    ///
    /// # Errors
    /// [`HubError::NotFound`].
    pub async fn purge_c2d(&self, identity: &Identity) -> Result<usize, HubError> {
        self.record(identity).await?;
        let all = self.store.c2d_list(identity).await?.iter().map(|e| e.sequence_number).collect();
        Ok(self.store.c2d_remove(identity, all).await?)
    }
}
