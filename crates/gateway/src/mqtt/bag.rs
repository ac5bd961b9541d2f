//! The property bag at the end of a topic: `key=value&…`, both sides percent-encoded.

use std::borrow::Cow;
use std::fmt::Write as _;

use gantry_hub::c2d::{Ack, C2dMessage};
use gantry_hub::event::{Telemetry, names};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Everything SDKs split on, and everything that is not plain, is encoded.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Why a bag cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum BagError {
    #[error("property bag is not UTF-8 after decoding")]
    Encoding,
}

fn decoded(text: &str) -> Result<Cow<'_, str>, BagError> {
    percent_decode_str(text).decode_utf8().map_err(|_| BagError::Encoding)
}

/// Reads the bag of a telemetry topic into `message`. A repeated name keeps its last value;
/// a stray `%` stays as it is; a name without `=` is null, and for a system property the same as none.
pub(super) fn read<'a>(bag: &'a str, message: &mut Telemetry<'a>) -> Result<(), BagError> {
    let bag = bag.strip_suffix('/').unwrap_or(bag);
    for pair in bag.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').map_or((pair, None), |(name, value)| (name, Some(value)));
        let (name, value) = (decoded(name)?, value.map(decoded).transpose()?);
        let system = &mut message.system;
        let slot = match name.as_ref() {
            "$.mid" => &mut system.message_id,
            "$.cid" => &mut system.correlation_id,
            "$.uid" => &mut system.user_id,
            "$.ct" => &mut system.content_type,
            "$.ce" => &mut system.content_encoding,
            "$.exp" => &mut system.expiry,
            "$.ctime" => &mut system.creation_time,
            "$.sub" | names::SUBJECT => &mut system.subject,
            "$.ifid" => &mut system.interface_id,
            "$.on" => &mut system.output_name,
            "$.to" => continue,
            name if names::is_stamped(name) => continue,
            _ => {
                message.properties.retain(|(known, _)| *known != name);
                message.properties.push((name, value));
                continue;
            }
        };
        *slot = value;
    }
    split_content_type(message);
    Ok(())
}

/// `application/json;charset=utf-8` names type and encoding at once.
fn split_content_type(message: &mut Telemetry<'_>) {
    let system = &mut message.system;
    let Some(full) = &system.content_type else { return };
    let Some((kind, charset)) = full.split_once(';') else { return };
    let Some(charset) = charset.trim().strip_prefix("charset=") else { return };
    if system.content_encoding.is_none() {
        system.content_encoding = Some(charset.to_owned().into());
        system.content_type = Some(kind.trim().to_owned().into());
    }
}

/// The bag of a cloud-to-device topic. Never empty, system properties first, dollar signs
/// encoded: C#, Java and C depend on each of these.
pub(super) fn write(device_id: &str, message: &C2dMessage) -> String {
    let encode = |text: &str| utf8_percent_encode(text, VALUE).to_string();
    let mut bag = format!("%24.to={}", encode(&format!("/devices/{device_id}/messages/deviceBound")));
    let system = [
        ("mid", &message.message_id),
        ("cid", &message.correlation_id),
        ("uid", &message.user_id),
        ("ct", &message.content_type),
        ("ce", &message.content_encoding),
    ];
    for (name, value) in system {
        if let Some(value) = value {
            let _ = write!(bag, "&%24.{name}={}", encode(value));
        }
    }
    if let Some(at) = message.expires_at {
        let _ = write!(bag, "&%24.exp={}", encode(&at.to_string()));
    }
    if message.ack != Ack::None {
        let _ = write!(bag, "&iothub-ack={}", message.ack.as_str());
    }
    for (name, value) in &message.properties {
        let _ = write!(bag, "&{}", encode(name));
        if let Some(value) = value {
            let _ = write!(bag, "={}", encode(value));
        }
    }
    bag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_and_application_properties_are_told_apart() {
        let mut message = Telemetry::default();
        read(
            "%24.mid=1&$.ct=application%2Fjson&alert=a%20b&dt-subject=comp&x=1+2&x=3&bare&%24.cid&empty=&100%=y/",
            &mut message,
        )
        .unwrap();
        assert_eq!(message.system.message_id.as_deref(), Some("1"));
        assert_eq!(message.system.content_type.as_deref(), Some("application/json"));
        assert_eq!(message.system.subject.as_deref(), Some("comp"));
        let properties: Vec<_> = message.properties.iter().map(|(k, v)| (k.as_ref(), v.as_deref())).collect();
        let expected =
            [("alert", Some("a b")), ("x", Some("3")), ("bare", None), ("empty", Some("")), ("100%", Some("y"))];
        assert_eq!(properties, expected);
        assert_eq!(message.system.correlation_id, None);
    }

    #[test]
    fn a_sender_cannot_forge_what_the_hub_stamps() {
        let mut message = Telemetry::default();
        read("iothub-connection-device-id=other&iothub-message-source=x", &mut message).unwrap();
        assert!(message.properties.is_empty());
    }

    #[test]
    fn a_charset_in_the_content_type_is_the_encoding() {
        let mut message = Telemetry::default();
        read("$.ct=application%2Fjson%3Bcharset%3Dutf-8", &mut message).unwrap();
        assert_eq!(message.system.content_type.as_deref(), Some("application/json"));
        assert_eq!(message.system.content_encoding.as_deref(), Some("utf-8"));
    }

    #[test]
    fn bytes_that_are_not_text_are_refused() {
        assert_eq!(read("a=%ff", &mut Telemetry::default()), Err(BagError::Encoding));
    }

    #[test]
    fn the_c2d_bag_is_as_the_sdks_need_it() {
        let message = C2dMessage {
            message_id: Some("a/b c".into()),
            expires_at: Some(gantry_identity::Timestamp::from_millis(0)),
            ack: Ack::Full,
            properties: vec![
                ("k&".into(), Some("v=+".into())),
                ("null".into(), None),
                ("empty".into(), Some(String::new())),
            ],
            ..Default::default()
        };
        assert_eq!(
            write("d1", &message),
            "%24.to=%2Fdevices%2Fd1%2Fmessages%2FdeviceBound&%24.mid=a%2Fb%20c\
             &%24.exp=1970-01-01T00%3A00%3A00.0000000Z&iothub-ack=full&k%26=v%3D%2B&null&empty="
        );
    }
}
