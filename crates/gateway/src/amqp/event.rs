//! A stored event as an Event Hubs delivery.
//!
//! Written straight into the connection's output, in the order of the standard's sections: delivery annotations
//! (when asked for), message annotations, properties (only when the event has any: readers decode `content_type` as
//! soon as the section is there), application properties, data.

use gantry_amqp::{encode, message};
use gantry_hub::event::{StoredEvent, SystemProperties, names};
use gantry_hub::ports::PartitionState;
use gantry_identity::Timestamp;

/// Offsets are sequence numbers written as text.
const OFFSET: &str = "x-opt-offset";
const SEQUENCE_NUMBER: &str = "x-opt-sequence-number";
const ENQUEUED_TIME: &str = "x-opt-enqueued-time";

/// What a receiver with runtime metrics learns beside each event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Metrics {
    /// What is in the partition.
    pub(super) partition: PartitionState,
    /// When that was looked up.
    pub(super) at: Timestamp,
}

/// Appends the encoded message.
pub(super) fn write(out: &mut Vec<u8>, event: &StoredEvent, metrics: Option<&Metrics>) {
    if let Some(metrics) = metrics {
        write_metrics(out, metrics);
    }
    message::encode_message_annotations(out, |out| write_annotations(out, event));
    write_properties(out, &event.system);
    write_application_properties(out, event);
    message::encode_data(out, &event.body);
}

fn write_metrics(out: &mut Vec<u8>, metrics: &Metrics) {
    let (number, at) = last_enqueued(&metrics.partition);
    message::encode_delivery_annotations(out, |out| {
        encode::symbol(out, "last_enqueued_sequence_number");
        encode::long(out, number);
        encode::symbol(out, "last_enqueued_offset");
        encode::string(out, &number.to_string());
        encode::symbol(out, "last_enqueued_time_utc");
        encode::timestamp(out, at.as_millis());
        encode::symbol(out, "runtime_info_retrieval_time_utc");
        encode::timestamp(out, metrics.at.as_millis());
        4
    });
}

/// Number and time of the newest event; `-1` and "never" while there was none.
pub(super) fn last_enqueued(partition: &PartitionState) -> (i64, Timestamp) {
    match partition.last {
        Some((number, at)) => (i64::try_from(number).unwrap_or(i64::MAX), at),
        None => (-1, Timestamp::NEVER),
    }
}

fn write_annotations(out: &mut Vec<u8>, event: &StoredEvent) -> usize {
    encode::symbol(out, SEQUENCE_NUMBER);
    encode::long(out, i64::try_from(event.sequence_number).unwrap_or(i64::MAX));
    encode::symbol(out, OFFSET);
    write_decimal(out, event.sequence_number);
    encode::symbol(out, ENQUEUED_TIME);
    encode::timestamp(out, event.enqueued_at.as_millis());
    encode::symbol(out, names::CONNECTION_DEVICE_ID);
    encode::string(out, event.identity.device.as_str());
    encode::symbol(out, names::ENQUEUED_TIME);
    encode::timestamp(out, event.enqueued_at.as_millis());
    encode::symbol(out, names::MESSAGE_SOURCE);
    encode::string(out, event.source.as_str());
    // Nobody signed in to make an event of the hub's own.
    let signed_in = |text| Some(text).filter(|_| !event.auth_method.is_empty());
    let optional = [
        (names::AUTH_GENERATION_ID, signed_in(event.generation_id.as_str())),
        (names::AUTH_METHOD, signed_in(event.auth_method.as_str())),
        (names::CONNECTION_MODULE_ID, event.identity.module.as_ref().map(|module| module.as_str())),
        (names::DATASCHEMA, event.model_id.as_deref()),
        (names::SUBJECT, event.system.subject.as_deref()),
        (names::INTERFACE_ID, event.system.interface_id.as_deref()),
    ];
    let mut count = 6;
    for (name, value) in optional {
        if let Some(value) = value {
            encode::symbol(out, name);
            encode::string(out, value);
            count += 1;
        }
    }
    count
}

fn write_properties(out: &mut Vec<u8>, system: &SystemProperties<'_>) {
    let expiry = system.expiry.as_deref().and_then(Timestamp::parse);
    let texts =
        [&system.message_id, &system.user_id, &system.correlation_id, &system.content_type, &system.content_encoding];
    if expiry.is_none() && texts.iter().all(|text| text.is_none()) {
        return;
    }
    let open = message::begin_properties(out);
    encode::string_or_null(out, system.message_id.as_deref());
    match &system.user_id {
        Some(user_id) => encode::binary(out, user_id.as_bytes()),
        None => encode::null(out),
    }
    encode::null(out); // to
    encode::null(out); // subject
    encode::null(out); // reply-to
    encode::string_or_null(out, system.correlation_id.as_deref());
    write_symbol(out, system.content_type.as_deref());
    write_symbol(out, system.content_encoding.as_deref());
    match expiry {
        Some(at) => encode::timestamp(out, at.as_millis()),
        None => encode::null(out),
    }
    encode::null(out); // creation-time: an application property instead
    encode::null(out); // group-id
    encode::null(out); // group-sequence
    encode::null(out); // reply-to-group-id
    encode::finish(out, open, 13);
}

/// A symbol is ASCII; devices may send anything, and one such event must not stop a reader.
fn write_symbol(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) if text.is_ascii() => encode::symbol(out, text),
        Some(text) => encode::symbol(out, &text.chars().filter(char::is_ascii).collect::<String>()),
        None => encode::null(out),
    }
}

fn write_application_properties(out: &mut Vec<u8>, event: &StoredEvent) {
    let creation_time = event.system.creation_time.as_deref();
    if event.properties.is_empty() && creation_time.is_none() {
        return;
    }
    message::encode_application_properties(out, |out| {
        for (name, value) in &event.properties {
            encode::string(out, name);
            encode::string_or_null(out, value.as_deref());
        }
        if let Some(creation_time) = creation_time {
            encode::string(out, names::CREATION_TIME);
            encode::string(out, creation_time);
        }
        event.properties.len() + usize::from(creation_time.is_some())
    });
}

/// A number as a decimal string, without an allocation for each event.
fn write_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    encode::string(out, std::str::from_utf8(&digits[at..]).unwrap_or("0"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use gantry_amqp::message::lookup;
    use gantry_amqp::{Body, Message, Value};
    use gantry_hub::event::MessageSource;
    use gantry_identity::Identity;

    fn event() -> StoredEvent {
        StoredEvent {
            partition: 1,
            sequence_number: 4_096,
            enqueued_at: Timestamp::from_millis(1_795_387_521_548),
            source: MessageSource::Telemetry,
            identity: Identity::parse("motor-1").unwrap(),
            generation_id: "g1".into(),
            auth_method: "{}".into(),
            model_id: None,
            system: SystemProperties::default(),
            properties: Vec::new(),
            destinations: gantry_hub::routing::Destinations::BUILT_IN,
            added: vec![],
            body: Bytes::from_static(b"{}"),
        }
    }

    fn read(event: &StoredEvent, metrics: Option<&Metrics>) -> Message {
        let mut out = Vec::new();
        write(&mut out, event, metrics);
        Message::decode(&out.into()).unwrap()
    }

    #[test]
    fn a_bare_event_has_annotations_and_data_only() {
        let message = read(&event(), None);
        let annotation = |name| message.message_annotation(name).cloned();
        assert_eq!(annotation(SEQUENCE_NUMBER), Some(Value::Long(4_096)));
        assert_eq!(annotation(OFFSET), Some("4096".into()));
        assert_eq!(annotation(ENQUEUED_TIME), Some(Value::Timestamp(1_795_387_521_548)));
        assert_eq!(annotation("iothub-connection-device-id"), Some("motor-1".into()));
        assert_eq!(annotation("iothub-enqueuedtime"), Some(Value::Timestamp(1_795_387_521_548)));
        assert_eq!(annotation("iothub-message-source"), Some("Telemetry".into()));
        assert_eq!(annotation("iothub-connection-module-id"), None);
        assert_eq!(message.properties, None);
        assert!(message.application_properties.is_empty() && message.delivery_annotations.is_empty());
        assert_eq!(message.body, Body::Data(vec![Bytes::from_static(b"{}")]));
    }

    #[test]
    fn everything_a_device_says_is_carried() {
        let system = SystemProperties {
            message_id: Some("m".into()),
            user_id: Some("u".into()),
            correlation_id: Some("c".into()),
            content_type: Some("application/json".into()),
            content_encoding: Some("utf-8\u{fc}".into()),
            expiry: Some("2026-11-24T00:00:00Z".into()),
            creation_time: Some("2026-11-23T00:00:00Z".into()),
            subject: Some("thermostat".into()),
            interface_id: Some("i".into()),
            output_name: None,
        };
        let mut event = event();
        event.identity = Identity::parse("motor-1/edge").unwrap();
        event.model_id = Some("dtmi:x;1".into());
        event.system = system;
        event.properties =
            vec![("level".into(), Some("5".into())), ("null".into(), None), ("empty".into(), Some("".into()))];
        let message = read(&event, None);
        let properties = message.properties.clone().unwrap();
        assert_eq!(properties.message_id, Some(gantry_amqp::MessageId::String("m".into())));
        assert_eq!(properties.user_id, Some(Bytes::from_static(b"u")));
        assert_eq!(properties.content_type.unwrap(), "application/json");
        assert_eq!(properties.content_encoding.unwrap(), "utf-8");
        assert_eq!(properties.absolute_expiry_time, Some(1_795_478_400_000));
        assert_eq!(message.message_annotation("dt-dataschema"), Some(&"dtmi:x;1".into()));
        assert_eq!(message.message_annotation("dt-subject"), Some(&"thermostat".into()));
        assert_eq!(message.message_annotation("iothub-connection-module-id"), Some(&"edge".into()));
        assert_eq!(message.application_property("level"), Some(&"5".into()));
        assert_eq!(message.application_property("null"), Some(&Value::Null));
        assert_eq!(message.application_property("empty"), Some(&"".into()));
        assert_eq!(message.application_property("iothub-creation-time-utc"), Some(&"2026-11-23T00:00:00Z".into()));
    }

    #[test]
    fn metrics_travel_as_delivery_annotations() {
        let at = Timestamp::from_millis(5);
        let partition = PartitionState { begin: 0, last: Some((9, at)), is_empty: false };
        let annotations = read(&event(), Some(&Metrics { partition, at })).delivery_annotations;
        assert_eq!(lookup(&annotations, "last_enqueued_sequence_number"), Some(&Value::Long(9)));
        assert_eq!(lookup(&annotations, "last_enqueued_offset"), Some(&"9".into()));
        assert_eq!(lookup(&annotations, "runtime_info_retrieval_time_utc"), Some(&Value::Timestamp(5)));
    }

    #[test]
    fn decimals_are_written_to_the_last_digit() {
        for number in [0, 9, 10, 12_345, u64::MAX] {
            let mut out = Vec::new();
            write_decimal(&mut out, number);
            assert_eq!(out[2..], *number.to_string().as_bytes());
        }
    }
}
