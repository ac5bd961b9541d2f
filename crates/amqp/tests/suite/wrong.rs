//! Peers that do not keep to the rules.

use gantry_amqp::connection::{Accept, Config, Connection, Error, Outgoing};
use gantry_amqp::decode::{DecodeError, Reader};
use gantry_amqp::frame::{self, AMQP_HEADER, Kind};
use gantry_amqp::performative::{Attach, Begin, Detach, Flow, Open, Performative, Transfer};
use gantry_amqp::{Event, ReceiverSettleMode, Role, SenderSettleMode, Source, Target, Value, condition, encode};

use super::pair::{Pair, pattern};

fn frame(channel: u16, performative: &Performative, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::put(&mut out, Kind::Amqp, channel, |out| {
        performative.encode(out);
        out.extend_from_slice(payload);
    });
    out
}

fn begin() -> Performative {
    Performative::Begin(Begin {
        remote_channel: None,
        next_outgoing_id: 0,
        incoming_window: 100,
        outgoing_window: 100,
        handle_max: 10,
        offered_capabilities: vec![],
        desired_capabilities: vec![],
        properties: vec![],
    })
}

fn attach(handle: u32, role: Role) -> Performative {
    Performative::Attach(Attach {
        name: format!("link-{handle}"),
        handle,
        role,
        snd_settle_mode: SenderSettleMode::Mixed,
        rcv_settle_mode: ReceiverSettleMode::First,
        source: Some(Source::at("node")),
        target: Some(Target::at("node")),
        initial_delivery_count: Some(0),
        max_message_size: None,
        offered_capabilities: vec![],
        desired_capabilities: vec![],
        properties: vec![],
    })
}

fn transfer(handle: u32, more: bool) -> Performative {
    let delivery_tag = Some(bytes::Bytes::from_static(b"t"));
    let (delivery_id, settled) = (Some(0), Some(true));
    Performative::Transfer(Transfer { handle, delivery_id, delivery_tag, settled, more, ..Transfer::default() })
}

/// A server that was opened without SASL.
fn opened() -> Connection {
    let mut server = Connection::server(Config::server("s"), 0);
    let open = Performative::Open(Open {
        container_id: "raw".into(),
        hostname: None,
        max_frame_size: 65_536,
        channel_max: 10,
        idle_timeout: None,
        offered_capabilities: vec![],
        desired_capabilities: vec![],
        properties: vec![],
    });
    server.receive(0, &AMQP_HEADER).unwrap();
    server.receive(0, &frame(0, &open, &[])).unwrap();
    assert!(matches!(server.next_event(), Some(Event::Opened(_))));
    let _ = server.take_output(0);
    server
}

/// An opened server with one accepted link from the peer.
fn linked(role: Role) -> Connection {
    let mut server = opened();
    server.receive(0, &frame(3, &begin(), &[])).unwrap();
    server.receive(0, &frame(3, &attach(5, role), &[])).unwrap();
    match server.next_event() {
        Some(Event::AttachRequested(request)) => {
            server.accept_attach(*request, Accept { credit: 2, ..Accept::default() });
        }
        other => panic!("attach expected, found {other:?}"),
    }
    let _ = server.take_output(0);
    server
}

/// What the server sent, decoded.
fn answers(server: &mut Connection) -> Vec<Performative> {
    let mut output = bytes::BytesMut::from(&server.take_output(0)[..]);
    let mut answers = Vec::new();
    while let Some(frame) = frame::take(&mut output, u32::MAX).unwrap() {
        answers.push(Performative::decode(&mut Reader::new(&frame.body)).unwrap());
    }
    answers
}

/// The connection ends with an error that is on the wire too.
#[track_caller]
fn check_closed(mut server: Connection, bytes: &[u8], expected: &Error, wire: &str) {
    assert_eq!(server.receive(0, bytes).as_ref(), Err(expected));
    assert!(server.is_closed());
    match answers(&mut server).pop() {
        Some(Performative::Close(Some(error))) => {
            assert_eq!(error.condition, wire);
            assert!(!error.description.is_empty());
        }
        other => panic!("close expected, found {other:?}"),
    }
    server.receive(0, b"more bytes are ignored").unwrap();
}

/// The session ends with an error; the connection lives on.
#[track_caller]
fn check_session_ended(mut server: Connection, bytes: &[u8], wire: &str) {
    server.receive(0, bytes).unwrap();
    match answers(&mut server).pop() {
        Some(Performative::End(Some(error))) => assert_eq!(error.condition, wire),
        other => panic!("end expected, found {other:?}"),
    }
    // Frames that were under way are ignored, and the channel is free after the peer's end.
    server.receive(0, &frame(3, &attach(7, Role::Sender), &[])).unwrap();
    server.receive(0, &frame(3, &Performative::End(None), &[])).unwrap();
    server.receive(0, &frame(3, &begin(), &[])).unwrap();
    assert!(matches!(answers(&mut server).as_slice(), [Performative::Begin(_)]));
}

#[test]
fn other_protocols_are_refused() {
    for header in [*b"GET / HT", *b"AMQP\x00\x00\x09\x01", *b"AMQP\x02\x01\x00\x00"] {
        let mut server = Connection::server(Config::server("s"), 0);
        assert_eq!(server.receive(0, &header), Err(Error::ProtocolHeader(header)));
        assert_eq!(server.take_output(0)[..], frame::SASL_HEADER);
        assert!(server.is_closed());
    }
}

#[test]
fn performatives_out_of_order_close_the_connection() {
    let mut server = Connection::server(Config::server("s"), 0);
    server.receive(0, &AMQP_HEADER).unwrap();
    let _ = server.take_output(0);
    let error = Error::NotAllowed("frame before open");
    check_closed(server, &frame(0, &begin(), &[]), &error, "amqp:not-allowed");

    let open = frame(0, &Performative::Close(None), &[]);
    let mut server = opened();
    server.receive(0, &open).unwrap();
    assert!(matches!(answers(&mut server).as_slice(), [Performative::Close(None)]));

    let mut server = opened();
    server.receive(0, &frame(1, &begin(), &[])).unwrap();
    let error = Error::NotAllowed("begin on a channel in use");
    check_closed(server, &frame(1, &begin(), &[]), &error, "amqp:not-allowed");
}

#[test]
fn frames_for_no_session_close_the_connection() {
    let frame = frame(9, &attach(0, Role::Sender), &[]);
    check_closed(opened(), &frame, &Error::Channel(9), "amqp:not-allowed");
}

#[test]
fn channels_and_handles_stop_at_what_was_announced() {
    let late = frame(1_024, &begin(), &[]);
    check_closed(opened(), &late, &Error::TooManySessions, "amqp:resource-limit-exceeded");
    let high = frame(3, &attach(256, Role::Sender), &[]);
    check_closed(linked(Role::Sender), &high, &Error::Handle, "amqp:connection:framing-error");
    // The peer announced channel-max 10 itself, so we have no channel for an eleventh session.
    let mut server = opened();
    for channel in 0..=10 {
        server.receive(0, &frame(channel, &begin(), &[])).unwrap();
    }
    let _ = server.take_output(0);
    let one_more = frame(11, &begin(), &[]);
    check_closed(server, &one_more, &Error::TooManySessions, "amqp:resource-limit-exceeded");
}

#[test]
fn frames_stop_at_what_was_announced() {
    let error = frame::FrameError::TooLarge { size: 65_537, limit: 65_536 };
    let header = [0, 1, 0, 1, 2, 0, 0, 0];
    check_closed(opened(), &header, &Error::Framing(error), "amqp:connection:framing-error");
    for malformed in [[0, 0, 0, 7, 2, 0, 0, 0], [0, 0, 0, 8, 1, 0, 0, 0], [0, 0, 0, 8, 3, 0, 0, 0]] {
        let error = Error::Framing(frame::FrameError::Malformed);
        check_closed(opened(), &malformed, &error, "amqp:connection:framing-error");
    }
}

#[test]
fn unknown_handles_end_the_session() {
    let wire = "amqp:session:unattached-handle";
    check_session_ended(linked(Role::Sender), &frame(3, &transfer(6, false), b"m"), wire);
    let flow = Performative::Flow(Flow { handle: Some(6), ..Flow::default() });
    check_session_ended(linked(Role::Sender), &frame(3, &flow, &[]), wire);
    let again = frame(3, &attach(5, Role::Sender), &[]);
    check_session_ended(linked(Role::Sender), &again, "amqp:session:handle-in-use");
}

#[test]
fn a_detach_nobody_expects_is_ignored() {
    let mut server = linked(Role::Sender);
    let detach = Performative::Detach(Detach { handle: 9, closed: true, error: None });
    server.receive(0, &frame(3, &detach, &[])).unwrap();
    assert!(server.next_event().is_none() && server.output_len() == 0);
}

#[test]
fn transfers_against_the_direction_close_the_connection() {
    let error = Error::NotAllowed("transfer against the direction of its link");
    let bytes = frame(3, &transfer(5, false), b"m");
    check_closed(linked(Role::Receiver), &bytes, &error, "amqp:not-allowed");
}

#[test]
fn deliveries_past_the_credit_detach_the_link() {
    let mut server = linked(Role::Sender);
    let mut unsettled = Transfer { handle: 5, delivery_id: Some(0), ..Transfer::default() };
    for id in 0..3 {
        unsettled.delivery_id = Some(id);
        server.receive(0, &frame(3, &Performative::Transfer(unsettled.clone()), b"m")).unwrap();
    }
    let events: Vec<_> = std::iter::from_fn(|| server.next_event()).collect();
    match events.as_slice() {
        [Event::Message(_), Event::Message(_), Event::Detached { error: Some(error), .. }] => {
            assert_eq!(error.condition, condition::TRANSFER_LIMIT_EXCEEDED);
        }
        other => panic!("two messages and a detach expected, found {other:?}"),
    }
}

#[test]
fn messages_over_the_limit_detach_the_link() {
    let mut pair = Pair::open();
    let (up, _) = pair.link(Role::Sender, 10);
    let limit = Config::server("s").message_size_max as usize;
    let outgoing = Outgoing { tag: b"t", settled: true, format: 0 };
    pair.client.send(up, outgoing, &pattern(limit)).unwrap();
    pair.run();
    assert!(matches!(pair.at_server.remove(0), Event::Message(_)));
    pair.client.send(up, outgoing, &pattern(limit + 1)).unwrap();
    pair.run();
    for events in [&mut pair.at_server, &mut pair.at_client] {
        let detached = events.iter().find_map(|event| match event {
            Event::Detached { error: Some(error), .. } => Some(error.condition.clone()),
            _ => None,
        });
        assert_eq!(detached, Some(condition::MESSAGE_SIZE_EXCEEDED));
    }
}

#[test]
fn unfinished_messages_are_bounded_for_the_whole_connection() {
    let mut server = opened();
    server.receive(0, &frame(3, &begin(), &[])).unwrap();
    let payload = pattern(60_000);
    let mut refused = 0;
    for handle in 0..80 {
        server.receive(0, &frame(3, &attach(handle, Role::Sender), &[])).unwrap();
        let Some(Event::AttachRequested(request)) = server.next_event() else {
            panic!("attach expected");
        };
        server.accept_attach(*request, Accept { credit: 2, ..Accept::default() });
        server.receive(0, &frame(3, &transfer(handle, true), &payload)).unwrap();
        while let Some(event) = server.next_event() {
            match event {
                Event::Detached { error: Some(error), .. } => {
                    assert_eq!(error.condition, condition::RESOURCE_LIMIT_EXCEEDED);
                    refused += 1;
                }
                other => panic!("detach expected, found {other:?}"),
            }
        }
    }
    // 69 links of 60,000 bytes fit into 4 MiB.
    assert_eq!(refused, 80 - 69);
}

#[test]
fn aborted_deliveries_leave_nothing_and_give_credit_back() {
    let mut server = linked(Role::Sender);
    server.receive(0, &frame(3, &transfer(5, true), b"part")).unwrap();
    let aborted = Transfer { handle: 5, aborted: true, ..Transfer::default() };
    server.receive(0, &frame(3, &Performative::Transfer(aborted), &[])).unwrap();
    assert!(server.next_event().is_none());
    server.receive(0, &frame(3, &transfer(5, false), b"whole")).unwrap();
    match server.next_event() {
        Some(Event::Message(delivery)) => assert_eq!(&delivery.message[..], b"whole"),
        other => panic!("message expected, found {other:?}"),
    }
    assert!(answers(&mut server).iter().any(|p| matches!(p, Performative::Flow(_))));
}

#[test]
fn deep_nesting_is_refused() {
    let mut deep = Value::Null;
    for _ in 0..40 {
        deep = Value::List(vec![deep]);
    }
    let mut bytes = Vec::new();
    frame::put(&mut bytes, Kind::Amqp, 0, |out| {
        encode::descriptor(out, 0x10);
        encode::value(out, &Value::List(vec!["c".into(), Value::Null, Value::Null, deep]));
    });
    let mut server = Connection::server(Config::server("s"), 0);
    server.receive(0, &AMQP_HEADER).unwrap();
    assert!(matches!(server.receive(0, &bytes), Err(Error::Decode(_))));

    let bombs: [&[u8]; 2] = [&[0; 100_000], &[0xE0, 4, 255, 0, 0, 0x40]];
    for bomb in bombs {
        let bytes = bytes::Bytes::copy_from_slice(bomb);
        assert!(Reader::new(&bytes).value().is_err());
    }
}

#[test]
fn a_compound_smaller_than_its_own_count_is_refused() {
    for constructor in [0xC0, 0xC1, 0xE0] {
        let bytes = bytes::Bytes::from(vec![0xC0, 4, 1, constructor, 0, 1]);
        assert_eq!(Reader::new(&bytes).value(), Err(DecodeError::Compound));
    }
    for constructor in [0xD0, 0xD1, 0xF0] {
        let bytes = bytes::Bytes::from(vec![0xC0, 10, 1, constructor, 0, 0, 0, 3, 0, 0, 0, 1]);
        assert_eq!(Reader::new(&bytes).value(), Err(DecodeError::Compound));
    }
}

#[test]
fn a_billion_empty_elements_cost_nothing() {
    let bytes = bytes::Bytes::from_static(&[0xF0, 0, 0, 0, 5, 0x40, 0, 0, 0, 0x40]);
    assert_eq!(Reader::new(&bytes).value(), Err(DecodeError::TooMany));
}

#[test]
fn a_descriptor_of_many_elements_counts_for_each_of_them() {
    // 60,000 nulls under one symbol of 60,000 bytes: 3.6 GB, if they were made.
    let mut bytes = vec![0xF0, 0, 0, 0, 0, 0, 0, 0xEA, 0x60, 0x00, 0xB3, 0, 0, 0xEA, 0x60];
    bytes.extend(std::iter::repeat_n(b'a', 60_000));
    bytes.push(0x40);
    let size = u32::try_from(bytes.len() - 5).unwrap();
    bytes[1..5].copy_from_slice(&size.to_be_bytes());
    assert_eq!(Reader::new(&bytes.into()).value(), Err(DecodeError::TooMany));
    // A list as descriptor, which nobody sends.
    let bytes = bytes::Bytes::from_static(&[0xE0, 5, 1, 0x00, 0x45, 0x40, 0]);
    assert_eq!(Reader::new(&bytes).value(), Err(DecodeError::Domain("descriptor")));
}

#[test]
fn every_performative_has_all_its_fields() {
    let mut server = linked(Role::Sender);
    server.receive(0, &frame(3, &transfer(5, false), b"m")).unwrap();
    server.receive(0, &frame(4, &begin(), &[])).unwrap();
    server.receive(0, &frame(4, &attach(0, Role::Receiver), &[])).unwrap();
    while let Some(event) = server.next_event() {
        if let Event::AttachRequested(request) = event {
            let error = gantry_amqp::ErrorCondition::new(condition::NOT_FOUND, "gone");
            server.refuse_attach(*request, error);
        }
    }
    server.close(0, None);
    let mut output = bytes::BytesMut::from(&server.take_output(0)[..]);
    let mut seen = Vec::new();
    while let Some(frame) = frame::take(&mut output, u32::MAX).unwrap() {
        let mut reader = Reader::new(&frame.body);
        let Value::Described(described) = reader.value().unwrap() else { panic!("described") };
        let (Value::Ulong(code), Value::List(fields)) = (&described.descriptor, &described.value) else {
            panic!("composite expected");
        };
        seen.push((*code, fields.len()));
    }
    for expected in [(0x11, 8), (0x12, 14), (0x13, 11), (0x16, 3), (0x18, 1)] {
        assert!(seen.contains(&expected), "{expected:?} in {seen:?}");
    }
}
