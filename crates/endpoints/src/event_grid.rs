//! A web address that takes events in the Event Grid schema ("Azure IoT Hub as an Event Grid source").
//!
//! The address must first prove that it wants them: it is sent a validation event and answers
//! with the code in it, or somebody opens the link in it ("Webhook event delivery", endpoint
//! validation). The hub keeps what is proved.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gantry_hub::Hub;
use gantry_hub::delivery::DeliveryError;
use gantry_hub::event::{MessageSource, StoredEvent, names};
use gantry_hub::routing::Validation;
use gantry_identity::Timestamp;
use serde_json::{Map, Value, json};

use crate::{Sink, unanswered};

/// Events posted together.
const BATCH_LEN_MAX: usize = 32;
/// Events kept before no more are taken.
const KEPT_MAX: usize = 256;

/// Posts events.
pub struct EventGrid {
    client: reqwest::Client,
    url: String,
    hub: Arc<Hub>,
    /// Where links begin: the address of the HTTPS port.
    base: String,
    kept: VecDeque<StoredEvent>,
}

impl EventGrid {
    /// A sender to `url` for a hub's events; `base` is how the hub's HTTPS port is reached.
    pub fn new(client: reqwest::Client, url: String, hub: Arc<Hub>, base: String) -> Self {
        Self { client, url, hub, base, kept: VecDeque::new() }
    }

    fn topic(&self) -> String {
        format!("/hubs/{}", self.hub.name())
    }

    async fn validate(&self, now: Timestamp) -> Result<(), DeliveryError> {
        let code = match self.hub.webhook_validation(now, &self.url) {
            Validation::Proved => return Ok(()),
            Validation::LinkSent => return Err(unopened()),
            Validation::Code(code) => code,
        };
        let link = format!("{}/platform/v1/routing/validate/{code}", self.base);
        let event = json!([{
            "id": uuid::Uuid::new_v4().to_string(),
            "topic": self.topic(),
            "subject": "",
            "data": { "validationCode": code, "validationUrl": link },
            "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
            "eventTime": now.to_string(),
            "metadataVersion": "1",
            "dataVersion": "2",
        }]);
        let answer = self.post("SubscriptionValidation", &event).await?;
        let answer: Value = answer.json().await.unwrap_or_default();
        if answer["validationResponse"] == code {
            return self.hub.webhook_proved(&self.url).await.map_err(|error| DeliveryError::Again(error.to_string()));
        }
        self.hub.webhook_link_sent(&self.url);
        Err(unopened())
    }

    async fn post(&self, kind: &str, events: &Value) -> Result<reqwest::Response, DeliveryError> {
        let request = self.client.post(&self.url).header("aeg-event-type", kind).json(events);
        let response = request.send().await.map_err(unanswered)?;
        let status = response.status();
        match status.as_u16() {
            200..=204 => Ok(response),
            400 | 413 => Err(DeliveryError::Never(format!("receiver answered {status}"))),
            _ => Err(DeliveryError::Again(format!("receiver answered {status}"))),
        }
    }

    async fn send(&mut self, now: Timestamp) -> Result<(), DeliveryError> {
        self.validate(now).await.map_err(|error| DeliveryError::Again(error.to_string()))?;
        while !self.kept.is_empty() {
            let batch: Vec<_> = self
                .kept
                .iter()
                .take(BATCH_LEN_MAX)
                .map(|event| document(event, self.hub.name(), &self.topic()))
                .collect();
            let len = batch.len();
            match self.post("Notification", &Value::Array(batch)).await {
                Ok(_) => drop(self.kept.drain(..len)),
                Err(DeliveryError::Never(words)) => {
                    self.kept.drain(..len);
                    return Err(DeliveryError::Never(words));
                }
                Err(again) => return Err(again),
            }
        }
        Ok(())
    }
}

impl Sink for EventGrid {
    fn push(&mut self, _: Timestamp, event: StoredEvent) {
        self.kept.push_back(event);
    }

    fn has_room(&self) -> bool {
        self.kept.len() < KEPT_MAX
    }

    fn is_due(&self, _: Timestamp) -> bool {
        !self.kept.is_empty()
    }

    fn flush(&mut self, now: Timestamp) -> Pin<Box<dyn Future<Output = Result<(), DeliveryError>> + Send + '_>> {
        Box::pin(self.send(now))
    }
}

fn unopened() -> DeliveryError {
    DeliveryError::Again("the receiver did not answer the validation event; open the link in it".into())
}

/// An event in the schema. Its id is its place in the stream, so a receiver can tell a repetition.
fn document(event: &StoredEvent, hub: &str, topic: &str) -> Value {
    let device = event.identity.device.as_str();
    let subject = match &event.identity.module {
        Some(module) => format!("devices/{device}/modules/{module}"),
        None => format!("devices/{device}"),
    };
    let (kind, data) = data(event, hub);
    json!({
        "id": format!("{}-{}", event.partition, event.sequence_number),
        "topic": topic,
        "subject": subject,
        "eventType": format!("Microsoft.Devices.{kind}"),
        "eventTime": event.enqueued_at.to_string(),
        "data": data,
        "dataVersion": "",
        "metadataVersion": "1",
    })
}

fn data(event: &StoredEvent, hub: &str) -> (&'static str, Value) {
    let operation = event.properties.iter().find(|(name, _)| name == "opType");
    let operation = operation.and_then(|(_, value)| value.as_deref()).unwrap_or_default();
    let body = || serde_json::from_slice::<Value>(&event.body).unwrap_or_default();
    let about = |name: &str, value: Value| {
        let module = event.identity.module.as_ref().map(|module| module.as_str());
        let mut all = Map::from_iter([(name.to_owned(), value)]);
        all.insert("hubName".into(), hub.into());
        all.insert("deviceId".into(), event.identity.device.as_str().into());
        all.extend(module.map(|module| ("moduleId".to_owned(), module.into())));
        Value::Object(all)
    };
    match event.source {
        MessageSource::Telemetry => ("DeviceTelemetry", telemetry(event)),
        MessageSource::Lifecycle if operation.starts_with("create") => ("DeviceCreated", about("twin", body())),
        MessageSource::Lifecycle => ("DeviceDeleted", about("twin", body())),
        MessageSource::ConnectionState if operation.ends_with("Disconnected") => {
            ("DeviceDisconnected", about("deviceConnectionStateEventInfo", body()))
        }
        MessageSource::ConnectionState => ("DeviceConnected", about("deviceConnectionStateEventInfo", body())),
        // The reference sends these to other endpoints only; the names are ours.
        MessageSource::TwinChange => ("DeviceTwinChanged", about("twin", body())),
        MessageSource::DigitalTwinChange => ("DigitalTwinChanged", about("patch", body())),
        MessageSource::StreamingJob => ("StreamingJobRow", telemetry(event)),
    }
}

fn telemetry(event: &StoredEvent) -> Value {
    let system = &event.system;
    let is_json = system.content_type.as_deref().is_some_and(|kind| kind.starts_with("application/json"));
    let body = match serde_json::from_slice::<Value>(&event.body) {
        Ok(body) if is_json => body,
        _ => Value::String(STANDARD.encode(&event.body)),
    };
    let mut facts = Map::new();
    let mut put = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            facts.insert(name.to_owned(), value.into());
        }
    };
    put("iothub-content-type", system.content_type.as_deref());
    put("iothub-content-encoding", system.content_encoding.as_deref());
    put("iothub-message-id", system.message_id.as_deref());
    put("iothub-correlation-id", system.correlation_id.as_deref());
    put(names::CONNECTION_DEVICE_ID, Some(event.identity.device.as_str()));
    put(names::CONNECTION_MODULE_ID, event.identity.module.as_ref().map(|module| module.as_str()));
    put(names::AUTH_METHOD, Some(&event.auth_method));
    put(names::AUTH_GENERATION_ID, Some(&event.generation_id));
    put(names::ENQUEUED_TIME, Some(&event.enqueued_at.to_string()));
    put(names::MESSAGE_SOURCE, Some(event.source.as_str()));
    put(names::SUBJECT, system.subject.as_deref());
    let properties: Map<String, Value> =
        event.properties.iter().map(|(name, value)| (name.clone(), value.as_deref().into())).collect();
    json!({ "body": body, "properties": properties, "systemProperties": facts })
}
