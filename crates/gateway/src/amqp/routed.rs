//! What routes sent to a queue, as services take it: a message with its lock, peeked and settled as at Service Bus.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use gantry_amqp::{Body, Header, Message, MessageId, Properties, Symbol, Value};
use gantry_hub::LockToken;
use gantry_hub::event::{names, with_nulls};
use gantry_hub::service_queue::ServiceMessage;
use gantry_identity::Timestamp;
use serde::Deserialize;

/// An event as the queue keeps it.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Kept {
    device_id: String,
    module_id: Option<String>,
    generation_id: String,
    auth_method: String,
    model_id: Option<String>,
    source: String,
    enqueued_at: i64,
    message_id: Option<String>,
    correlation_id: Option<String>,
    user_id: Option<String>,
    content_type: Option<String>,
    content_encoding: Option<String>,
    subject: Option<String>,
    properties: Vec<(String, String)>,
    nulls: Vec<usize>,
    body: String,
}

/// The message. What cannot be read any more comes as its bytes.
pub(super) fn write(token: LockToken, message: &ServiceMessage, until: Option<Timestamp>) -> Message {
    let kept: Kept = serde_json::from_slice(&message.body).unwrap_or_default();
    let body = STANDARD.decode(&kept.body).map_or_else(|_| message.body.clone(), Bytes::from);
    let annotation = |name: &'static str, value| (Value::Symbol(Symbol::from_static(name)), value);
    let mut annotations = vec![
        annotation("x-opt-lock-token", Value::Uuid(token)),
        annotation("x-opt-sequence-number", Value::Long(message.sequence_number.cast_signed())),
        annotation("x-opt-enqueued-time", Value::Timestamp(message.enqueued_at.as_millis())),
        annotation(names::ENQUEUED_TIME, Value::Timestamp(kept.enqueued_at)),
    ];
    annotations.extend(until.map(|at| annotation("x-opt-locked-until", Value::Timestamp(at.as_millis()))));
    let texts = [
        (names::CONNECTION_DEVICE_ID, Some(kept.device_id)),
        (names::CONNECTION_MODULE_ID, kept.module_id),
        (names::AUTH_GENERATION_ID, Some(kept.generation_id).filter(|_| !kept.auth_method.is_empty())),
        (names::AUTH_METHOD, Some(kept.auth_method).filter(|text| !text.is_empty())),
        (names::MESSAGE_SOURCE, Some(kept.source)),
        (names::DATASCHEMA, kept.model_id),
        (names::SUBJECT, kept.subject),
    ];
    // Service Bus carries these as application properties: its clients show no annotations.
    let own = texts.into_iter().filter_map(|(name, text)| Some((Value::from(name), Value::from(text?))));
    let properties = with_nulls(kept.properties, &kept.nulls).into_iter();
    let properties = properties.map(|(name, value)| (Value::from(name), value.map_or(Value::Null, Value::from)));
    Message {
        header: Some(Header { delivery_count: message.delivery_count, ..Header::default() }),
        message_annotations: annotations,
        properties: Some(Properties {
            message_id: kept.message_id.map(MessageId::String),
            correlation_id: kept.correlation_id.map(MessageId::String),
            user_id: kept.user_id.map(Bytes::from),
            content_type: kept.content_type.map(Symbol::from),
            content_encoding: kept.content_encoding.map(Symbol::from),
            ..Properties::default()
        }),
        application_properties: properties.chain(own).collect(),
        body: Body::Data(vec![body]),
        ..Message::default()
    }
}
