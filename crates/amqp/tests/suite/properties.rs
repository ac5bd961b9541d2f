//! Laws: what is written is read back; what is read is never trusted.

use bytes::{Bytes, BytesMut};
use gantry_amqp::connection::{Accept, Config, Connection};
use gantry_amqp::decode::Reader;
use gantry_amqp::performative::Performative;
use gantry_amqp::value::Described;
use gantry_amqp::{Array, Body, Event, Message, MessageId, Properties, Symbol, Value, encode, frame};
use proptest::prelude::*;
use uuid::Uuid;

use super::golden::{CAPTURES, capture};

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Boolean),
        any::<u8>().prop_map(Value::Ubyte),
        any::<u16>().prop_map(Value::Ushort),
        prop_oneof![any::<u32>(), 0..300_u32].prop_map(Value::Uint),
        prop_oneof![any::<u64>(), 0..300_u64].prop_map(Value::Ulong),
        any::<i8>().prop_map(Value::Byte),
        any::<i16>().prop_map(Value::Short),
        prop_oneof![any::<i32>(), -200..200_i32].prop_map(Value::Int),
        prop_oneof![any::<i64>(), -200..200_i64].prop_map(Value::Long),
        any::<f32>().prop_filter("comparable", |f| !f.is_nan()).prop_map(Value::Float),
        any::<f64>().prop_filter("comparable", |f| !f.is_nan()).prop_map(Value::Double),
        any::<[u8; 4]>().prop_map(Value::Decimal32),
        any::<[u8; 8]>().prop_map(Value::Decimal64),
        any::<[u8; 16]>().prop_map(Value::Decimal128),
        any::<char>().prop_map(Value::Char),
        any::<i64>().prop_map(Value::Timestamp),
        any::<[u8; 16]>().prop_map(|bytes| Value::Uuid(Uuid::from_bytes(bytes))),
        binary(400).prop_map(Value::Binary),
        text().prop_map(Value::String),
        symbol().prop_map(Value::Symbol),
    ]
}

fn binary(max: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..max).prop_map(Bytes::from)
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(any::<char>(), 0..100).prop_map(String::from_iter)
}

fn symbol() -> impl Strategy<Value = Symbol> {
    prop::collection::vec(0_u8..128, 0..300).prop_map(|ascii| Symbol::from(String::from_utf8(ascii).unwrap()))
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 64, 8, |inner| {
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::List),
            prop::collection::vec(pair.clone(), 0..8).prop_map(Value::Map),
            pair.prop_map(|(descriptor, value)| { Value::Described(Box::new(Described { descriptor, value })) }),
            (inner.clone(), 0..5_usize).prop_filter_map("one plain descriptor", |(value, count)| {
                Array::new(vec![value; count]).map(Value::Array)
            }),
            (inner, symbol(), 1..5_usize).prop_filter_map("one plain descriptor", |(value, name, count)| {
                let described = Value::Described(Box::new(Described { descriptor: Value::Symbol(name), value }));
                Array::new(vec![described; count]).map(Value::Array)
            }),
        ]
    })
}

fn message_id() -> impl Strategy<Value = MessageId> {
    prop_oneof![
        any::<u64>().prop_map(MessageId::Ulong),
        any::<[u8; 16]>().prop_map(|bytes| MessageId::Uuid(Uuid::from_bytes(bytes))),
        binary(40).prop_map(MessageId::Binary),
        text().prop_map(MessageId::String),
    ]
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        Just(Body::Empty),
        prop::collection::vec(binary(400), 1..4).prop_map(Body::Data),
        prop::collection::vec(prop::collection::vec(value(), 0..3), 1..3).prop_map(Body::Sequence),
        value().prop_map(Body::Value),
    ]
}

prop_compose! {
    fn message()(
        annotations in prop::collection::vec((symbol().prop_map(Value::Symbol), value()), 0..4),
        application in prop::collection::vec((text().prop_map(Value::String), scalar()), 0..4),
        message_id in prop::option::of(message_id()),
        correlation_id in prop::option::of(message_id()),
        to in prop::option::of(text()),
        content_type in prop::option::of(symbol()),
        user_id in prop::option::of(binary(20)),
        absolute_expiry_time in prop::option::of(any::<i64>()),
        body in body(),
    ) -> Message {
        Message {
            message_annotations: annotations,
            properties: Some(Properties {
                message_id, correlation_id, to, content_type, user_id, absolute_expiry_time,
                ..Properties::default()
            }),
            application_properties: application,
            body,
            ..Message::default()
        }
    }
}

/// Feeds a server that grants everything and answers nothing; only its survival matters.
fn drive(server: &mut Connection, bytes: &[u8]) {
    let _ = server.receive(0, bytes);
    while let Some(event) = server.next_event() {
        if let Event::AttachRequested(request) = event {
            server.accept_attach(*request, Accept { credit: 10, ..Accept::default() });
        }
    }
}

proptest! {
    #[test]
    fn a_value_is_read_back(value in value()) {
        let mut out = Vec::new();
        encode::value(&mut out, &value);
        let bytes = Bytes::from(out);
        let mut reader = Reader::new(&bytes);
        prop_assert_eq!(reader.value().unwrap(), value);
        prop_assert!(reader.is_empty());
    }

    #[test]
    fn a_message_is_read_back(message in message()) {
        let mut out = Vec::new();
        message.encode(&mut out);
        prop_assert_eq!(Message::decode(&out.into()).unwrap(), message);
    }

    #[test]
    fn decoders_survive_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let bytes = Bytes::from(bytes);
        let _ = Reader::new(&bytes).value();
        let _ = Message::decode(&bytes);
        let _ = Performative::decode(&mut Reader::new(&bytes));
        let _ = frame::take(&mut BytesMut::from(&bytes[..]), 512);
    }

    #[test]
    fn a_server_survives_any_frame(
        kind in 0x10_u8..0x1A,
        fields in prop::collection::vec(value(), 0..14),
        channel in 0_u16..3,
    ) {
        let mut server = Connection::server(Config::server("s"), 0);
        let capture = capture(CAPTURES[0]);
        drive(&mut server, &capture[..capture.len() / 2]);
        let mut out = Vec::new();
        frame::put(&mut out, frame::Kind::Amqp, channel, |out| {
            encode::descriptor(out, kind);
            encode::value(out, &Value::List(fields));
        });
        drive(&mut server, &out);
    }

    #[test]
    fn a_server_survives_damaged_clients(
        name in 0..CAPTURES.len(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        piece in 1..4000_usize,
    ) {
        let mut bytes = capture(CAPTURES[name]);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let mut server = Connection::server(Config::server("s"), 0);
        for piece in bytes.chunks(piece) {
            drive(&mut server, piece);
        }
    }
}
