//! A queue or topic of this platform as an endpoint. Its messages wait in the hub; services take them over AMQP.

use std::pin::Pin;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gantry_endpoints::Sink;
use gantry_hub::Hub;
use gantry_hub::event::{StoredEvent, nulls};
use gantry_hub::service_queue::ServiceQueue;
use gantry_identity::Timestamp;
use gantry_monitoring::actions::DeliveryError;
use serde_json::json;

/// Messages kept before no more are taken.
const KEPT_MAX: usize = 256;

/// Puts events into a queue.
pub(super) struct Queue {
    hub: Arc<Hub>,
    /// The queue, or one for each subscription of a topic.
    queues: Vec<ServiceQueue>,
    kept: Vec<bytes::Bytes>,
}

impl Queue {
    pub(super) fn new(hub: Arc<Hub>, queues: Vec<ServiceQueue>) -> Self {
        Self { hub, queues, kept: vec![] }
    }
}

impl Sink for Queue {
    fn push(&mut self, _: Timestamp, event: StoredEvent) {
        self.kept.push(document(&event).into());
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
                let pushed = self.hub.push_routed(now, *queue, self.kept.clone()).await;
                pushed.map_err(|error| DeliveryError::Again(error.to_string()))?;
            }
            self.kept.clear();
            Ok(())
        })
    }
}

/// An event as the AMQP head reads it (`gateway/src/amqp/routed.rs`).
fn document(event: &StoredEvent) -> String {
    let system = &event.system;
    let texts = event.properties.iter().map(|(name, value)| (name, value.as_deref().unwrap_or_default()));
    let properties: Vec<_> = texts.collect();
    json!({
        "deviceId": event.identity.device.as_str(),
        "moduleId": event.identity.module.as_ref().map(|module| module.as_str()),
        "generationId": event.generation_id,
        "authMethod": event.auth_method,
        "modelId": event.model_id,
        "source": event.source.as_str(),
        "enqueuedAt": event.enqueued_at.as_millis(),
        "messageId": system.message_id,
        "correlationId": system.correlation_id,
        "userId": system.user_id,
        "contentType": system.content_type,
        "contentEncoding": system.content_encoding,
        "subject": system.subject,
        "properties": properties,
        "nulls": nulls(&event.properties),
        "body": STANDARD.encode(&event.body),
    })
    .to_string()
}
