//! The record of an event in a queue of routes: the `body` of a row of `service_messages`, JSON text.
//!
//! ```text
//! deviceId, moduleId (or null), generationId, authMethod, modelId (or null)
//! source              as in `iothub-message-source`
//! enqueuedAt          when the hub took the event, in milliseconds
//! messageId, correlationId, userId, contentType, contentEncoding, subject    (each or null)
//! properties          pairs of name and value; a null one is empty here
//! nulls               places of the properties that are null; absent in the oldest records
//! body                Base64
//! ```

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gantry_hub::event::{MessageSource, SystemProperties, nulls, with_nulls};
use gantry_hub::service_queue::RoutedEvent;
use gantry_identity::Timestamp;
use serde::{Deserialize, Serialize};

use crate::shapes;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape<'a> {
    device_id: Cow<'a, str>,
    module_id: Option<Cow<'a, str>>,
    generation_id: Cow<'a, str>,
    auth_method: Cow<'a, str>,
    model_id: Option<Cow<'a, str>>,
    source: Cow<'a, str>,
    enqueued_at: i64,
    message_id: Option<Cow<'a, str>>,
    correlation_id: Option<Cow<'a, str>>,
    user_id: Option<Cow<'a, str>>,
    content_type: Option<Cow<'a, str>>,
    content_encoding: Option<Cow<'a, str>>,
    #[serde(default)]
    subject: Option<Cow<'a, str>>,
    properties: Vec<(String, String)>,
    #[serde(default)]
    nulls: Vec<usize>,
    body: Cow<'a, str>,
}

/// The record of an event.
pub(crate) fn encode(event: &RoutedEvent) -> Vec<u8> {
    let system = &event.system;
    let shape = Shape {
        device_id: event.identity.device.as_str().into(),
        module_id: event.identity.module.as_ref().map(|module| module.as_str().into()),
        generation_id: event.generation_id.as_str().into(),
        auth_method: event.auth_method.as_str().into(),
        model_id: event.model_id.as_deref().map(Cow::Borrowed),
        source: event.source.as_str().into(),
        enqueued_at: event.enqueued_at.as_millis(),
        message_id: borrowed(&system.message_id),
        correlation_id: borrowed(&system.correlation_id),
        user_id: borrowed(&system.user_id),
        content_type: borrowed(&system.content_type),
        content_encoding: borrowed(&system.content_encoding),
        subject: borrowed(&system.subject),
        properties: shapes::texts(&event.properties),
        nulls: nulls(&event.properties),
        body: STANDARD.encode(&event.body).into(),
    };
    serde_json::to_vec(&shape).expect("texts and numbers are JSON")
}

fn borrowed<'a>(text: &'a Option<Cow<'static, str>>) -> Option<Cow<'a, str>> {
    text.as_deref().map(Cow::Borrowed)
}

/// Reads a record; `None` when it is not one.
pub(crate) fn decode(bytes: &[u8]) -> Option<RoutedEvent> {
    let shape: Shape<'_> = serde_json::from_slice(bytes).ok()?;
    let owned = |text: Option<Cow<'_, str>>| text.map(|text| Cow::Owned(text.into_owned()));
    Some(RoutedEvent {
        source: MessageSource::parse(&shape.source)?,
        identity: shapes::identity(&shape.device_id, shape.module_id.as_deref().unwrap_or_default()).ok()?,
        generation_id: shape.generation_id.into_owned(),
        auth_method: shape.auth_method.into_owned(),
        model_id: shape.model_id.map(Cow::into_owned),
        enqueued_at: Timestamp::from_millis(shape.enqueued_at),
        system: SystemProperties {
            message_id: owned(shape.message_id),
            correlation_id: owned(shape.correlation_id),
            user_id: owned(shape.user_id),
            content_type: owned(shape.content_type),
            content_encoding: owned(shape.content_encoding),
            subject: owned(shape.subject),
            ..SystemProperties::default()
        },
        properties: with_nulls(shape.properties, &shape.nulls),
        body: STANDARD.decode(&*shape.body).ok()?.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_earlier_versions_are_read() {
        let text = r#"{"authMethod":"","body":"e30=","contentEncoding":null,"contentType":"a/b","correlationId":null,
            "deviceId":"motor","enqueuedAt":5,"generationId":"1","messageId":"m","modelId":null,"moduleId":null,
            "properties":[["a","1"],["b",""]],"source":"deviceLifecycleEvents","userId":null}"#;
        let event = decode(text.as_bytes()).unwrap();
        assert_eq!((event.source, event.identity.to_string()), (MessageSource::Lifecycle, "motor".to_owned()));
        assert_eq!(event.properties, [("a".into(), Some("1".into())), ("b".into(), Some(String::new()))]);
        assert_eq!((&event.body[..], event.enqueued_at.as_millis()), (&b"{}"[..], 5));
        assert_eq!(decode(&encode(&event)), Some(event));
    }

    #[test]
    fn what_is_no_record_is_none() {
        for text in ["", "{}", r#"{"body":"e30="}"#, "\u{0}"] {
            assert_eq!(decode(text.as_bytes()), None, "{text}");
        }
    }
}
