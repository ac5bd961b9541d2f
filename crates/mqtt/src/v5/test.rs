//! Round trips, hostile bytes, and what each packet may not be.

use proptest::collection::vec;
use proptest::num::u8::ANY;
use proptest::prelude::{BoxedStrategy, Just, Strategy as _, prop_oneof};

use super::*;
use crate::v5::encode;

const LEN_MAX: usize = 1 << 20;

#[track_caller]
fn round_trip(packet: Packet<'_>) {
    let mut bytes = vec![];
    encode(&mut bytes, &packet);
    let len = bytes.len();
    assert_eq!(decode(&bytes, LEN_MAX), Ok(Some(Decoded { packet, len })));
    for cut in 0..len {
        assert_eq!(decode(&bytes[..cut], LEN_MAX), Ok(None), "cut at {cut}");
    }
}

fn properties() -> Properties<'static> {
    Properties { reason_string: Some("why"), user: vec![("status", "0100"), ("status", "0501")], ..Default::default() }
}

#[test]
fn every_packet_survives_a_round_trip() {
    let will_properties = Properties { will_delay_secs: Some(7), content_type: Some("text"), ..Default::default() };
    let will = Will { properties: will_properties, topic: "w", payload: b"gone", qos: QoS::AtLeastOnce, retain: true };
    round_trip(Packet::Connect(Connect {
        clean_start: true,
        keep_alive_secs: 60,
        properties: Properties {
            session_expiry_secs: Some(u32::MAX),
            receive_maximum: Some(9),
            maximum_packet_size: Some(1000),
            authentication_method: Some("SAS"),
            authentication_data: Some(&[0, 255]),
            request_problem_information: Some(false),
            user: vec![("api-version", "2020-10-01-preview")],
            ..Default::default()
        },
        client_id: "d1",
        will: Some(Box::new(will)),
        user_name: None,
        password: Some(b"secret"),
    }));
    round_trip(Packet::Connack(Connack {
        session_present: true,
        reason: Reason::SUCCESS,
        properties: Properties {
            maximum_qos: Some(1),
            retain_available: Some(false),
            topic_alias_maximum: Some(10),
            server_keep_alive_secs: Some(1140),
            subscription_identifiers_available: Some(false),
            shared_subscriptions_available: Some(false),
            ..properties()
        },
    }));
    let publish_properties = Properties {
        topic_alias: Some(3),
        correlation_data: Some(&[1, 250]),
        subscription_identifier: Some(300),
        ..Default::default()
    };
    round_trip(Packet::Publish(Publish {
        dup: true,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: "",
        packet_id: 5,
        properties: publish_properties,
        payload: b"hello",
    }));
    for reason in [Reason::SUCCESS, Reason::QUOTA_EXCEEDED] {
        round_trip(Packet::Puback(Acknowledgement { packet_id: 7, reason, properties: Properties::default() }));
        round_trip(Packet::Pubrel(Acknowledgement { packet_id: 7, reason, properties: properties() }));
        round_trip(Packet::Disconnect(Ending { reason, properties: Properties::default() }));
        round_trip(Packet::Auth(Ending { reason, properties: properties() }));
    }
    let filter = SubscribeFilter {
        filter: "a/+",
        qos: QoS::AtLeastOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: 2,
    };
    round_trip(Packet::Subscribe(Subscribe { packet_id: 1, properties: Properties::default(), filters: vec![filter] }));
    round_trip(Packet::Suback(Suback { packet_id: 1, properties: properties(), reasons: &[1, 0x97] }));
    round_trip(Packet::Unsubscribe(Unsubscribe {
        packet_id: 2,
        properties: Properties::default(),
        filters: vec!["a"],
    }));
    round_trip(Packet::Unsuback(Suback { packet_id: 2, properties: Properties::default(), reasons: &[0x11] }));
    round_trip(Packet::Pingreq);
    round_trip(Packet::Pingresp);
}

#[track_caller]
fn refuse(bytes: &[u8], error: DecodeError) {
    assert_eq!(decode(bytes, LEN_MAX), Err(error), "{bytes:02x?}");
}

#[test]
fn properties_are_checked_against_their_packet() {
    // PUBLISH to `t` with these properties.
    let publish = |properties: &[u8]| {
        let len = u8::try_from(4 + properties.len()).unwrap();
        [&[0x30, len, 0, 1, b't', properties.len() as u8], properties].concat()
    };
    refuse(&publish(&[0x11, 0, 0, 0, 1]), DecodeError::Property(0x11));
    refuse(&publish(&[0x7f, 0]), DecodeError::Property(0x7f));
    refuse(&publish(&[0x01, 1, 0x01, 1]), DecodeError::RepeatedProperty(0x01));
    refuse(&publish(&[0x0b, 0]), DecodeError::PropertyValue(0x0b));
    refuse(&publish(&[0x02, 0, 0, 1]), DecodeError::Truncated);
    refuse(&publish(&[0x03, 0, 1, 0xff]), DecodeError::Text);
    refuse(&publish(&[0x03, 0, 9, b'x']), DecodeError::Truncated);
    // The properties are longer than their packet, and their length than four bytes.
    refuse(&[0x30, 4, 0, 1, b't', 9], DecodeError::Truncated);
    refuse(&[0x30, 8, 0, 1, b't', 0xff, 0xff, 0xff, 0xff, 1], DecodeError::RemainingLength);
    // DISCONNECT knows no topic alias, CONNACK no flag but 0 and 1.
    refuse(&[0xe0, 5, 0, 3, 0x23, 0, 1], DecodeError::Property(0x23));
    refuse(&[0x20, 5, 0, 0, 2, 0x25, 2], DecodeError::PropertyValue(0x25));
}

#[test]
fn malformed_packets_are_named() {
    let connect = |flags: u8, rest: &[u8]| {
        [&[0x10, 10 + rest.len() as u8, 0, 4, b'M', b'Q', b'T', b'T', 5, flags, 0, 60], rest].concat()
    };
    refuse(&connect(1, &[0, 0, 0]), DecodeError::ConnectFlags);
    refuse(&connect(0x08, &[0, 0, 0]), DecodeError::ConnectFlags);
    refuse(&connect(0x1c, &[0, 0, 0]), DecodeError::QoS);
    refuse(&connect(0, &[3, 0x21, 0, 0, 0, 0]), DecodeError::PropertyValue(0x21));
    refuse(&connect(0, &[4, 0x16, 0, 1, 9, 0, 0]), DecodeError::Property(0x16));
    refuse(&[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 0, 0, 60, 0, 0, 0], DecodeError::Version);
    refuse(&[0x30, 3, 0, 0, 0], DecodeError::Topic);
    refuse(&[0x30, 4, 0, 1, b'+', 0], DecodeError::Topic);
    refuse(&[0x32, 6, 0, 1, b't', 0, 0, 0], DecodeError::PacketId);
    refuse(&[0x36, 6, 0, 1, b't', 0, 1, 0], DecodeError::QoS);
    refuse(&[0x82, 3, 0, 1, 0], DecodeError::NoFilter);
    refuse(&[0x82, 7, 0, 1, 0, 0, 1, b'a', 0x40], DecodeError::SubscriptionOptions);
    refuse(&[0x82, 7, 0, 1, 0, 0, 1, b'a', 0x30], DecodeError::SubscriptionOptions);
    refuse(&[0x82, 7, 0, 1, 0, 0, 1, b'a', 0x03], DecodeError::QoS);
    refuse(&[0xa2, 3, 0, 1, 0], DecodeError::NoFilter);
    refuse(&[0xc0, 1, 0], DecodeError::TrailingBytes);
    refuse(&[0xe0, 4, 0, 0, 1, 2], DecodeError::TrailingBytes);
    refuse(&[0x00, 0], DecodeError::Type(0));
    refuse(&[0xf1, 0], DecodeError::Flags);
    refuse(&[0x30, 0xff, 0xff, 0xff, 0x7f], DecodeError::TooLarge(268_435_460));
}

#[test]
fn user_properties_are_bounded() {
    let with = |count: usize| Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "t",
        packet_id: 0,
        properties: Properties { user: vec![("", ""); count], ..Default::default() },
        payload: b"",
    };
    round_trip(Packet::Publish(with(crate::v5::USER_PROPERTIES_MAX)));
    let mut bytes = vec![];
    encode(&mut bytes, &Packet::Publish(with(crate::v5::USER_PROPERTIES_MAX + 1)));
    refuse(&bytes, DecodeError::TooManyProperties);
}

/// Pieces that packets are made of, right and almost right.
fn piece() -> BoxedStrategy<Vec<u8>> {
    let text = |bytes: Vec<u8>| [&[0, bytes.len() as u8][..], &bytes].concat();
    let with_length = |bytes: Vec<u8>| [&[bytes.len() as u8][..], &bytes].concat();
    prop_oneof![
        vec(ANY, 0..40).prop_map(text),
        "[a-z$/+#]{0,20}".prop_map(move |words| text(words.into_bytes())),
        Just(b"\x00\x04MQTT\x05".to_vec()),
        vec(ANY, 0..4),
        vec((0_u8..0x2c, vec(ANY, 0..6)), 0..6).prop_map(move |items| with_length(
            items.into_iter().flat_map(|(id, rest)| [vec![id], rest].concat()).collect()
        )),
    ]
    .boxed()
}

/// A fixed header with the right length, and a body of such pieces.
fn likely_packet() -> BoxedStrategy<Vec<u8>> {
    let packet = |(first, pieces): (u8, Vec<Vec<u8>>)| {
        let body = pieces.concat();
        [&[first, (body.len() & 0x7f) as u8 | 0x80, (body.len() >> 7) as u8][..], &body].concat()
    };
    (ANY, vec(piece(), 0..6)).prop_map(packet).boxed()
}

// `PROPTEST_CASES=2000000 cargo test --release -p gantry-mqtt` looks for a minute.
proptest::proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in vec(ANY, 0..300)) {
        if let Ok(Some(decoded)) = decode(&bytes, LEN_MAX) {
            assert!(decoded.len <= bytes.len());
        }
    }

    #[test]
    fn what_decodes_says_the_same_again(bytes in likely_packet(), more in vec(ANY, 0..8)) {
        let whole = [&bytes[..], &more].concat();
        if let Ok(Some(decoded)) = decode(&whole, LEN_MAX) {
            let mut again = vec![];
            encode(&mut again, &decoded.packet);
            let len = again.len();
            assert_eq!(decode(&again, LEN_MAX), Ok(Some(Decoded { packet: decoded.packet, len })));
        }
    }
}
