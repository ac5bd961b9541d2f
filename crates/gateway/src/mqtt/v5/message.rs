//! Messages and their properties: telemetry in, commands out.

use std::borrow::Cow;

use gantry_hub::event::{Telemetry, names};
use gantry_hub::limits;
use gantry_hub::ports::Enqueued;
use gantry_identity::Timestamp;
use gantry_mqtt::v5::Properties;

use super::failure::Failure;

/// Precedes the names of application properties.
const APPLICATION: char = '@';

/// Reads the properties of a telemetry message.
pub(super) fn telemetry<'a>(properties: &Properties<'a>, payload: &'a [u8]) -> Result<Telemetry<'a>, Failure> {
    let mut message = Telemetry { body: payload, ..Telemetry::default() };
    message.system.content_type = properties.content_type.map(Cow::from);
    for &(name, value) in &properties.user {
        let system = &mut message.system;
        let slot = match name {
            "content-encoding" => &mut system.content_encoding,
            "message-id" => &mut system.message_id,
            "user-id" => &mut system.user_id,
            "correlation-id" => &mut system.correlation_id,
            "creation-time" => {
                let at = value.parse().map(Timestamp::from_millis);
                let at = at.map_err(|_| Failure::bad_request("`creation-time` is not a time in milliseconds"))?;
                system.creation_time = Some(at.to_string().into());
                continue;
            }
            _ => {
                let application = name.strip_prefix(APPLICATION);
                let name = application.ok_or_else(|| Failure::bad_request(format!("Unknown property `{name}`")))?;
                // The hub stamps these; a sender cannot.
                if !names::is_stamped(name) {
                    message.properties.retain(|(known, _)| known != name);
                    message.properties.push((name.into(), Some(value.into())));
                }
                continue;
            }
        };
        *slot = Some(value.into());
    }
    let bytes = message.size();
    if bytes > limits::D2C_BYTES_MAX {
        let max = limits::D2C_BYTES_MAX;
        return Err(Failure::bad_request(format!("message of {bytes} bytes is larger than the {max} allowed")));
    }
    Ok(message)
}

/// Refuses properties a request may not have.
pub(super) fn only(properties: &Properties<'_>, known: &[&str]) -> Result<(), Failure> {
    match properties.user.iter().find(|(name, _)| !known.contains(name)) {
        Some((name, _)) => Err(Failure::bad_request(format!("Unknown property `{name}`"))),
        None => Ok(()),
    }
}

/// User properties of a command; `None` when one of them cannot be written in MQTT.
pub(super) fn command(enqueued: &Enqueued) -> Option<Vec<(Cow<'_, str>, Cow<'_, str>)>> {
    let message = &enqueued.message;
    let mut properties: Vec<(Cow<'_, str>, Cow<'_, str>)> = vec![
        ("sequence-no".into(), enqueued.sequence_number.to_string().into()),
        ("enqueued-time".into(), enqueued.enqueued_at.as_millis().to_string().into()),
        ("delivery-count".into(), enqueued.delivery_count.to_string().into()),
    ];
    let system = [
        ("message-id", &message.message_id),
        ("user-id", &message.user_id),
        ("correlation-id", &message.correlation_id),
        ("content-encoding", &message.content_encoding),
    ];
    for (name, value) in system {
        if let Some(value) = value {
            properties.push((name.into(), value.into()));
        }
    }
    for (name, value) in &message.properties {
        // A user property cannot be null.
        properties.push((format!("{APPLICATION}{name}").into(), value.as_deref().unwrap_or_default().into()));
    }
    let fits = |text: &str| u16::try_from(text.len()).is_ok() && !text.contains('\0');
    let content_type = message.content_type.as_deref().is_none_or(fits);
    (content_type && properties.iter().all(|(name, value)| fits(name) && fits(value))).then_some(properties)
}

#[cfg(test)]
mod tests {
    use gantry_hub::c2d::C2dMessage;

    use super::*;

    #[test]
    fn properties_of_telemetry_are_told_apart() {
        let user = vec![
            ("message-id", "m"),
            ("content-encoding", "utf-8"),
            ("creation-time", "0"),
            ("@a b", "1"),
            ("@a b", "2"),
            ("@iothub-connection-device-id", "forged"),
        ];
        let message = telemetry(&Properties { content_type: Some("text"), user, ..Default::default() }, b"x").unwrap();
        assert_eq!(message.system.content_type.as_deref(), Some("text"));
        assert_eq!(message.system.message_id.as_deref(), Some("m"));
        assert_eq!(message.system.creation_time.as_deref(), Some("1970-01-01T00:00:00.0000000Z"));
        assert_eq!(message.properties, [("a b".into(), Some("2".into()))]);
    }

    #[test]
    fn unknown_properties_and_long_messages_are_refused() {
        let refuse = |name, value, words: &str| {
            let failure = telemetry(&Properties { user: vec![(name, value)], ..Default::default() }, b"").unwrap_err();
            assert!(failure.text.contains(words), "{}", failure.text);
        };
        refuse("test", "1", "Unknown property `test`");
        refuse("Message-Id", "1", "Unknown property `Message-Id`");
        refuse("creation-time", "today", "`creation-time`");
        assert!(telemetry(&Properties::default(), &vec![0; limits::D2C_BYTES_MAX]).is_ok());
        assert!(telemetry(&Properties::default(), &vec![0; limits::D2C_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn what_cannot_be_written_is_no_command() {
        let with = |name: String| Enqueued {
            sequence_number: 7,
            delivery_count: 1,
            enqueued_at: Timestamp::from_millis(5),
            generation_id: String::new(),
            message: C2dMessage { properties: vec![(name, Some("v".into()))], ..Default::default() },
        };
        let good = with("n".into());
        let properties = command(&good).unwrap();
        assert_eq!(properties.last(), Some(&("@n".into(), "v".into())));
        assert_eq!(properties[0], ("sequence-no".into(), "7".into()));
        assert!(command(&with("n".repeat(65_535))).is_none());
    }
}
