//! A queue or topic of this platform as an endpoint. Its messages wait in the hub; services take them over AMQP.

use std::pin::Pin;
use std::sync::Arc;

use gantry_endpoints::Sink;
use gantry_hub::Hub;
use gantry_hub::delivery::DeliveryError;
use gantry_hub::event::StoredEvent;
use gantry_hub::service_queue::{RoutedEvent, ServiceQueue};
use gantry_identity::Timestamp;

/// Messages kept before no more are taken.
const KEPT_MAX: usize = 256;

/// Puts events into a queue.
pub(super) struct Queue {
    hub: Arc<Hub>,
    /// The queue, or one for each subscription of a topic.
    queues: Vec<ServiceQueue>,
    kept: Arc<Vec<RoutedEvent>>,
}

impl Queue {
    pub(super) fn new(hub: Arc<Hub>, queues: Vec<ServiceQueue>) -> Self {
        Self { hub, queues, kept: Arc::default() }
    }
}

impl Sink for Queue {
    fn push(&mut self, _: Timestamp, event: StoredEvent) {
        // Shared only while a flush is under way.
        Arc::make_mut(&mut self.kept).push(event.into());
    }

    fn has_room(&self) -> bool {
        self.kept.len() < KEPT_MAX
    }

    fn is_due(&self, _: Timestamp) -> bool {
        !self.kept.is_empty()
    }

    fn flush(&mut self, now: Timestamp) -> Pin<Box<dyn Future<Output = Result<(), DeliveryError>> + Send + '_>> {
        Box::pin(async move {
            for queue in &self.queues {
                self.hub.push_routed(now, *queue, Arc::clone(&self.kept)).await?;
            }
            self.kept = Arc::default();
            Ok(())
        })
    }
}
