//! Queues that routes send to: events of the log, kept for services until they take them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gantry_identity::{Identity, Timestamp};

use crate::error::HubError;
use crate::events::event::{MessageSource, StoredEvent, SystemProperties};
use crate::hub::Hub;
use crate::ports::StoreError;
use crate::queues::service_queue::{QueueRules, ServiceQueue};

/// Messages a queue of routes holds. When it is full, routes wait: nothing goes.
pub const ROUTED_QUEUE_LEN_MAX: usize = 100_000;

/// Rules of queues of routes: as Service Bus has them by default, but what nobody can take is kept until it ends.
pub(super) const ROUTED_RULES: QueueRules =
    QueueRules { ttl: Duration::from_secs(14 * 86_400), lock: Duration::from_secs(60), delivery_count_max: u32::MAX };

/// An event in a queue. It has left the log, and its place there is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutedEvent {
    /// What produced it.
    pub source: MessageSource,
    /// Who sent it.
    pub identity: Identity,
    /// Generation of the identity.
    pub generation_id: String,
    /// How it proved itself, as JSON text.
    pub auth_method: String,
    /// Model id announced at connect.
    pub model_id: Option<String>,
    /// When the hub took it.
    pub enqueued_at: Timestamp,
    /// System properties; of them a queue keeps those that services see.
    pub system: SystemProperties<'static>,
    /// Application properties, and what routes added for the queue; one without a value is null.
    pub properties: Vec<(String, Option<String>)>,
    /// The body.
    pub body: Bytes,
}

impl From<StoredEvent> for RoutedEvent {
    fn from(event: StoredEvent) -> Self {
        Self {
            source: event.source,
            identity: event.identity,
            generation_id: event.generation_id,
            auth_method: event.auth_method,
            model_id: event.model_id,
            enqueued_at: event.enqueued_at,
            system: event.system,
            properties: event.properties,
            body: event.body,
        }
    }
}

impl Hub {
    /// Appends what routes send to a queue.
    ///
    /// # Errors
    /// [`HubError::Failed`] when the queue is full or the store fails; nothing is taken then.
    pub async fn push_routed(
        &self,
        now: Timestamp,
        queue: ServiceQueue,
        events: Arc<Vec<RoutedEvent>>,
    ) -> Result<(), HubError> {
        let expires_at = now.plus(ROUTED_RULES.ttl);
        match self.store.routed_push(queue, events, now, expires_at, ROUTED_QUEUE_LEN_MAX).await {
            Ok(()) => self.queues.services.tell(queue),
            Err(StoreError::Full) => {
                return Err(HubError::Failed(format!("the queue holds {ROUTED_QUEUE_LEN_MAX} messages already")));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Empties a queue that is no more.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn drop_routed(&self, queue: ServiceQueue) -> Result<(), HubError> {
        Ok(self.store.service_purge(queue).await?)
    }
}
