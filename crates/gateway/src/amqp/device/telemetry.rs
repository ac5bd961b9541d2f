//! Telemetry links: what arrives together goes into the log together, and is accepted once durable.

use std::borrow::Cow;

use gantry_amqp::connection::{Delivery, DeliveryId, LinkId};
use gantry_amqp::message::FORMAT_BATCH;
use gantry_amqp::{Body, DeliveryState, ErrorCondition, Message, MessageId, Value, condition as amqp};
use gantry_hub::HubError;
use gantry_hub::event::{Telemetry, names};
use gantry_hub::faults::Fault;
use gantry_hub::limits;
use gantry_identity::{Identity, Timestamp};
use tracing::warn;

use super::super::c2d::{PROPERTY_TYPES, text};
use super::super::condition;
use super::super::connection::{Done, Head};
use super::DeviceDone;
use crate::acknowledged;

/// Messages in one transfer of the batch format.
const BATCH_LEN_MAX: usize = 4_096;

/// Messages of one identity that arrived together.
#[derive(Default)]
pub(in super::super) struct Gathered {
    identity: Option<Identity>,
    messages: Vec<Message>,
    deliveries: Vec<Accepted>,
}

/// A delivery to accept.
#[derive(Debug)]
struct Accepted {
    link: LinkId,
    delivery_id: DeliveryId,
    settled: bool,
}

/// What the log made of them.
pub(in super::super) struct Stored {
    identity: Identity,
    deliveries: Vec<Accepted>,
    result: Result<(), HubError>,
    /// What the device asked to be broken.
    fault: Option<Fault>,
}

impl Head {
    /// Takes a delivery of telemetry; it is stored with those that follow it at once.
    pub(in super::super) fn gather(&mut self, identity: Identity, delivery: &Delivery) {
        let messages = match read(delivery) {
            Ok(messages) => messages,
            Err(error) => return self.settle(delivery, DeliveryState::Rejected(Some(error))),
        };
        if self.devices.gathered.identity.as_ref() != Some(&identity) {
            self.store_gathered();
        }
        let gathered = &mut self.devices.gathered;
        gathered.identity = Some(identity);
        gathered.messages.extend(messages);
        let Delivery { link, delivery_id, settled, .. } = *delivery;
        gathered.deliveries.push(Accepted { link, delivery_id, settled });
    }

    /// Hands what was gathered to the log.
    pub(in super::super) fn store_gathered(&mut self) {
        let Gathered { identity, messages, deliveries } = std::mem::take(&mut self.devices.gathered);
        let Some(identity) = identity else { return };
        let Some(session) = self.devices.session(&identity) else { return };
        metrics::counter!("gantry_telemetry_messages_total").increment(messages.len() as u64);
        let telemetry: Vec<Telemetry<'_>> = messages.iter().map(telemetry).collect();
        let append = self.context.hub.telemetry((self.context.now)(), session, &telemetry);
        let fault = self.context.hub.fault_in(&telemetry);
        self.stores_in_flight += 1;
        self.work.push(Box::pin(async move {
            let result = match append {
                Ok(taken) => acknowledged(taken).await.map_err(HubError::from),
                Err(error) => Err(error),
            };
            Ok(Done::Device(DeviceDone::Stored(Stored { identity, deliveries, result, fault })))
        }));
    }

    pub(super) fn stored(&mut self, stored: Stored) {
        let Stored { identity, deliveries, result, fault } = stored;
        self.stores_in_flight -= 1;
        if let Err(error) = &result {
            warn!(%identity, %error, "telemetry not stored");
        }
        for Accepted { link, delivery_id, settled } in deliveries {
            if settled {
                continue;
            }
            let state = match &result {
                Ok(()) => DeliveryState::Accepted,
                Err(error) => DeliveryState::Rejected(Some(condition::of_hub(error))),
            };
            self.amqp.settle(link, delivery_id, state);
        }
        if let Some(fault) = fault {
            self.plan_fault(identity, fault);
        }
    }
}

/// The messages of a delivery: one, or those of a batch. All are good, or none is taken.
fn read(delivery: &Delivery) -> Result<Vec<Message>, ErrorCondition> {
    let malformed = |error: gantry_amqp::DecodeError| ErrorCondition::new(amqp::DECODE_ERROR, error.to_string());
    let message = Message::decode(&delivery.message).map_err(malformed)?;
    let mut messages = if delivery.format == FORMAT_BATCH {
        let Body::Data(sections) = message.body else {
            return Err(argument("the body of a batch must be data sections"));
        };
        if sections.len() > BATCH_LEN_MAX {
            return Err(argument("a batch holds at most 4096 messages"));
        }
        sections.iter().map(Message::decode).collect::<Result<Vec<_>, _>>().map_err(malformed)?
    } else {
        vec![message]
    };
    for message in &mut messages {
        let body = message.body.to_bytes().ok_or_else(|| argument("the body must be data, text or binary"))?;
        message.body = Body::Data(vec![body]);
        let is_simple = |(name, value): &(Value, Value)| name.as_str().is_some() && text(value).is_some();
        if !message.application_properties.iter().all(is_simple) {
            return Err(argument(PROPERTY_TYPES));
        }
        let bytes = telemetry(message).size();
        if bytes > limits::D2C_BYTES_MAX {
            let error = HubError::MessageTooLarge { bytes, max: limits::D2C_BYTES_MAX };
            return Err(condition::of_hub(&error));
        }
    }
    Ok(messages)
}

fn argument(text: &str) -> ErrorCondition {
    ErrorCondition::new(amqp::ARGUMENT_ERROR, text)
}

/// A message as the hub takes it.
fn telemetry(message: &Message) -> Telemetry<'_> {
    let mut telemetry = Telemetry { body: body(&message.body), ..Telemetry::default() };
    let system = &mut telemetry.system;
    if let Some(properties) = &message.properties {
        system.message_id = properties.message_id.as_ref().map(id);
        system.correlation_id = properties.correlation_id.as_ref().map(id);
        system.user_id = properties.user_id.as_ref().map(|id| String::from_utf8_lossy(id));
        system.content_type = properties.content_type.as_ref().map(|name| Cow::Borrowed(name.as_str()));
        system.content_encoding = properties.content_encoding.as_ref().map(|name| Cow::Borrowed(name.as_str()));
        let at = |ms: Option<i64>| ms.map(|ms| Cow::Owned(Timestamp::from_millis(ms).to_string()));
        system.expiry = at(properties.absolute_expiry_time);
        system.creation_time = at(properties.creation_time);
    }
    let annotation = |name| message.message_annotation(name).and_then(Value::as_str).map(Cow::Borrowed);
    system.subject = annotation(names::SUBJECT);
    system.interface_id = annotation(names::INTERFACE_ID);
    for (name, value) in &message.application_properties {
        // Others were refused.
        let (Some(name), Some(value)) = (name.as_str(), text(value)) else { continue };
        match name {
            names::OUTPUT_NAME => telemetry.system.output_name = value,
            names::CREATION_TIME => telemetry.system.creation_time = value,
            name if names::is_stamped(name) => {}
            name => telemetry.properties.push((Cow::Borrowed(name), value)),
        }
    }
    telemetry
}

/// The body, which [`read`] made one section.
fn body(body: &Body) -> &[u8] {
    match body {
        Body::Data(sections) => sections.first().map(|section| &**section).unwrap_or_default(),
        _ => &[],
    }
}

fn id(id: &MessageId) -> Cow<'_, str> {
    match id {
        MessageId::String(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}
