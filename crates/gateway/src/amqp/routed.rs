//! What routes sent to a queue, as services take it: a message with its lock, peeked and settled as at Service Bus.

use bytes::Bytes;
use gantry_amqp::{Body, Header, Message, MessageId, Properties, Symbol, Value};
use gantry_hub::LockToken;
use gantry_hub::event::names;
use gantry_hub::service_queue::{Content, RoutedEvent, ServiceMessage};
use gantry_identity::Timestamp;

/// The message. What cannot be read any more comes as its bytes.
pub(super) fn write(token: LockToken, message: &ServiceMessage, until: Option<Timestamp>) -> Message {
    let annotation = |name: &'static str, value| (Value::Symbol(Symbol::from_static(name)), value);
    let mut annotations = vec![
        annotation("x-opt-lock-token", Value::Uuid(token)),
        annotation("x-opt-sequence-number", Value::Long(message.sequence_number.cast_signed())),
        annotation("x-opt-enqueued-time", Value::Timestamp(message.enqueued_at.as_millis())),
    ];
    annotations.extend(until.map(|at| annotation("x-opt-locked-until", Value::Timestamp(at.as_millis()))));
    let mut written = Message {
        header: Some(Header { delivery_count: message.delivery_count, ..Header::default() }),
        message_annotations: annotations,
        body: Body::Data(vec![message.content.body().clone()]),
        ..Message::default()
    };
    if let Content::Event(event) = &message.content {
        let at = Value::Timestamp(event.enqueued_at.as_millis());
        written.message_annotations.push(annotation(names::ENQUEUED_TIME, at));
        written.properties = Some(properties(event));
        written.application_properties = application_properties(event);
    }
    written
}

fn properties(event: &RoutedEvent) -> Properties {
    let system = &event.system;
    let owned = |text: &Option<_>| text.as_deref().map(str::to_owned);
    Properties {
        message_id: owned(&system.message_id).map(MessageId::String),
        correlation_id: owned(&system.correlation_id).map(MessageId::String),
        user_id: owned(&system.user_id).map(Bytes::from),
        content_type: owned(&system.content_type).map(Symbol::from),
        content_encoding: owned(&system.content_encoding).map(Symbol::from),
        ..Properties::default()
    }
}

/// Those of the message, then what the hub knows of it: Service Bus carries these as application properties, because
/// its clients show no annotations.
fn application_properties(event: &RoutedEvent) -> Vec<(Value, Value)> {
    let has_proof = !event.auth_method.is_empty();
    let texts = [
        (names::CONNECTION_DEVICE_ID, Some(event.identity.device.as_str())),
        (names::CONNECTION_MODULE_ID, event.identity.module.as_ref().map(|module| module.as_str())),
        (names::AUTH_GENERATION_ID, Some(event.generation_id.as_str()).filter(|_| has_proof)),
        (names::AUTH_METHOD, Some(event.auth_method.as_str()).filter(|_| has_proof)),
        (names::MESSAGE_SOURCE, Some(event.source.as_str())),
        (names::DATASCHEMA, event.model_id.as_deref()),
        (names::SUBJECT, event.system.subject.as_deref()),
    ];
    let text = |text: &str| Value::from(text.to_owned());
    let own = texts.into_iter().filter_map(|(name, value)| Some((Value::from(name), text(value?))));
    let properties = event.properties.iter();
    let properties = properties.map(|(name, value)| (text(name), value.as_deref().map_or(Value::Null, text)));
    properties.chain(own).collect()
}
