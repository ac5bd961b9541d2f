//! Cloud-to-device messages as services send them to `/messages/devicebound`.

use std::borrow::Cow;

use gantry_amqp::{ErrorCondition, Message, MessageId, Value, condition};
use gantry_hub::c2d::{Ack, C2dMessage};
use gantry_identity::{Identity, Timestamp};

use super::address::readings;

/// Application property that asks for feedback.
const ACK: &str = "iothub-ack";

/// Reads an encoded message: for whom, which may have two readings, and what.
pub(super) fn read(message: &Message) -> Result<(Vec<Identity>, C2dMessage), ErrorCondition> {
    let properties = message.properties.clone().unwrap_or_default();
    let recipients = recipients(properties.to.as_deref().unwrap_or_default());
    if recipients.is_empty() {
        let text = "property `to` must be /devices/{id}/messages/devicebound or name a module in the same way";
        return Err(argument(text));
    }
    let body = message.body.to_bytes().ok_or_else(|| argument("the body must be data, text or binary"))?;
    let mut c2d = C2dMessage {
        message_id: properties.message_id.as_ref().map(MessageId::to_string),
        correlation_id: properties.correlation_id.as_ref().map(MessageId::to_string),
        user_id: properties.user_id.map(|id| String::from_utf8_lossy(&id).into_owned()),
        content_type: properties.content_type.map(|name| name.to_string()),
        content_encoding: properties.content_encoding.map(|name| name.to_string()),
        expires_at: properties.absolute_expiry_time.map(Timestamp::from_millis),
        ack: Ack::None,
        properties: Vec::with_capacity(message.application_properties.len()),
        body,
    };
    for (name, value) in &message.application_properties {
        let (Some(name), Some(value)) = (name.as_str(), text(value)) else {
            return Err(argument(PROPERTY_TYPES));
        };
        if name.eq_ignore_ascii_case(ACK) {
            let ack = value.map_or(Some(Ack::None), |word| Ack::parse(&word.to_ascii_lowercase()));
            c2d.ack = ack.ok_or_else(|| argument("`iothub-ack` must be none, positive, negative or full"))?;
        } else {
            c2d.properties.push((name.to_owned(), value.map(Cow::into_owned)));
        }
    }
    Ok((recipients, c2d))
}

/// `/devices/{id}/messages/devicebound` or `/devices/{id}/modules/{id}/messages/devicebound`; ids may be
/// percent-encoded.
fn recipients(to: &str) -> Vec<Identity> {
    let segments: Vec<&str> = to.split('/').filter(|segment| !segment.is_empty()).collect();
    let (words, device, module) = match *segments.as_slice() {
        [devices, device, messages, bound] => ([devices, "modules", messages, bound], device, None),
        [devices, device, modules, module, messages, bound] => {
            ([devices, modules, messages, bound], device, Some(module))
        }
        _ => return vec![],
    };
    let expected = ["devices", "modules", "messages", "devicebound"];
    match words.iter().zip(expected).all(|(word, expected)| word.eq_ignore_ascii_case(expected)) {
        true => readings(device, module),
        false => vec![],
    }
}

/// What [`text`] takes.
pub(super) const PROPERTY_TYPES: &str =
    "application properties must be null, text, numbers, truth values, times or UUIDs";

/// A simple value as devices get it: as text, or null. `None` when it is not simple.
pub(super) fn text(value: &Value) -> Option<Option<Cow<'_, str>>> {
    let text = match value {
        Value::Null => return Some(None),
        Value::String(_) | Value::Symbol(_) => return Some(value.as_str().map(Cow::Borrowed)),
        Value::Boolean(flag) => flag.to_string(),
        Value::Ulong(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Char(letter) => letter.to_string(),
        Value::Uuid(id) => id.to_string(),
        Value::Timestamp(at) => Timestamp::from_millis(*at).to_string(),
        other => other.as_i64()?.to_string(),
    };
    Some(Some(text.into()))
}

fn argument(text: &str) -> ErrorCondition {
    ErrorCondition::new(condition::ARGUMENT_ERROR, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use gantry_amqp::{Body, Properties};

    #[track_caller]
    fn check(to: &str, expected: &[&str]) {
        let found: Vec<_> = recipients(to).iter().map(Identity::to_string).collect();
        assert_eq!(found, expected, "{to}");
    }

    #[test]
    fn recipients_are_read_in_every_form() {
        check("/devices/d1/messages/devicebound", &["d1"]);
        check("/devices/d1/messages/deviceBound", &["d1"]);
        check("devices/a%2Cb/messages/devicebound", &["a,b", "a%2Cb"]);
        check("devices/a%2Fb/messages/devicebound", &["a%2Fb"]);
        check("/devices/d1/modules/m1/messages/devicebound", &["d1/m1"]);
        for wrong in ["", "/", "devices", "/devices/d1", "/devices/d1/messages", "/devices//messages/devicebound"] {
            check(wrong, &[]);
        }
        check("/devices/a b/messages/devicebound", &[]);
        check("/devices/d1/twins/m1/messages/devicebound", &[]);
    }

    #[test]
    fn a_message_keeps_its_properties() {
        let message = Message {
            properties: Some(Properties {
                to: Some("/devices/d1/messages/devicebound".into()),
                message_id: Some(MessageId::Ulong(7)),
                absolute_expiry_time: Some(5),
                ..Properties::default()
            }),
            application_properties: vec![
                ("iothub-ack".into(), "Full".into()),
                ("level".into(), Value::Int(3)),
                ("on".into(), true.into()),
                ("null".into(), Value::Null),
                ("empty".into(), "".into()),
            ],
            body: Body::Data(vec![Bytes::from_static(b"a"), Bytes::from_static(b"b")]),
            ..Message::default()
        };
        let (recipients, c2d) = read(&message).unwrap();
        assert_eq!(recipients, [Identity::parse("d1").unwrap()]);
        assert_eq!(c2d.message_id.as_deref(), Some("7"));
        assert_eq!((c2d.ack, c2d.expires_at), (Ack::Full, Some(Timestamp::from_millis(5))));
        let properties: Vec<_> = c2d.properties.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        assert_eq!(properties, [("level", Some("3")), ("on", Some("true")), ("null", None), ("empty", Some(""))]);
        assert_eq!(&c2d.body[..], b"ab");
    }

    #[test]
    fn what_cannot_be_delivered_is_refused() {
        let to = |to: &str| Some(Properties { to: Some(to.into()), ..Properties::default() });
        let good = || Message { properties: to("/devices/d/messages/devicebound"), ..Message::default() };
        assert!(read(&good()).is_ok());
        assert!(read(&Message::default()).is_err());
        assert!(read(&Message { properties: to("/devices/d"), ..Message::default() }).is_err());
        assert!(read(&Message { body: Body::Sequence(vec![]), ..good() }).is_err());
        assert!(read(&Message { body: Body::Value(Value::Map(vec![])), ..good() }).is_err());
        assert!(read(&Message { application_properties: vec![("iothub-ack".into(), "x".into())], ..good() }).is_err());
        assert!(read(&Message { application_properties: vec![("a".into(), Value::List(vec![]))], ..good() }).is_err());
    }
}
