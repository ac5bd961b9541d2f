//! Two ends that keep to the rules.

use gantry_amqp::connection::{Accept, ClientSasl, Config, Connection, Error, Outgoing, SaslRequest, SendError};
use gantry_amqp::decode::Reader;
use gantry_amqp::frame::{self, AMQP_HEADER, SASL_HEADER};
use gantry_amqp::sasl::{self, Outcome, Plain, SaslFrame};
use gantry_amqp::{DeliveryState, ErrorCondition, Event, Role, Value, condition};

use super::pair::{Pair, messages, pattern};

const SETTLED: Outgoing<'_> = Outgoing { tag: b"t", settled: true, format: 0 };
const UNSETTLED: Outgoing<'_> = Outgoing { tag: b"t", settled: false, format: 0 };

#[test]
fn sasl_may_be_left_out() {
    let mut client = Connection::client(Config::client("c", "h"), ClientSasl::None, 0);
    let mut server = Connection::server(Config::server("s"), 0);
    let hello = client.take_output(0);
    assert_eq!(hello[..8], AMQP_HEADER);
    server.receive(0, &hello).unwrap();
    assert!(matches!(server.next_event(), Some(Event::Opened(_))));
    assert_eq!(server.take_output(0)[..8], AMQP_HEADER);
}

#[test]
fn mechanisms_are_offered_in_their_order() {
    let mut config = Config::server("s");
    config.mechanisms.insert(0, sasl::EXTERNAL);
    let mut server = Connection::server(config, 0);
    server.receive(0, &SASL_HEADER).unwrap();
    let mut output = bytes::BytesMut::from(&server.take_output(0)[..]);
    assert_eq!(output.split_to(8)[..], SASL_HEADER);
    let frame = frame::take(&mut output, 512).unwrap().unwrap();
    let offered = SaslFrame::decode(&mut Reader::new(&frame.body)).unwrap();
    let expected = vec![sasl::EXTERNAL, sasl::MSSBCBS, sasl::PLAIN, sasl::ANONYMOUS, sasl::TPM];
    assert_eq!(offered, SaslFrame::Mechanisms(expected));
}

fn plain(outcome: Outcome) -> (Connection, Connection, Result<(), Error>) {
    let credentials = Plain { user: "u".into(), password: "p".into() };
    let mut client = Connection::client(Config::client("c", "h"), ClientSasl::Plain(credentials.clone()), 0);
    let mut server = Connection::server(Config::server("s"), 0);
    for _ in 0..2 {
        server.receive(0, &client.take_output(0)).unwrap();
        client.receive(0, &server.take_output(0)).unwrap();
    }
    match server.next_event() {
        Some(Event::Sasl(SaslRequest::Plain(asked))) => assert_eq!(asked, credentials),
        other => panic!("credentials expected, found {other:?}"),
    }
    server.sasl_outcome(outcome).unwrap();
    let result = client.receive(0, &server.take_output(0));
    (client, server, result)
}

/// Sends one SASL frame to the server and decodes what it answers.
fn sasl_turn(server: &mut Connection, frame: &SaslFrame) -> Option<SaslFrame> {
    let mut bytes = Vec::new();
    frame::put(&mut bytes, frame::Kind::Sasl, 0, |out| frame.encode(out));
    server.receive(0, &bytes).unwrap();
    let mut output = bytes::BytesMut::from(&server.take_output(0)[..]);
    let answer = frame::take(&mut output, 512).unwrap()?;
    Some(SaslFrame::decode(&mut Reader::new(&answer.body)).unwrap())
}

#[test]
fn a_mechanism_may_challenge_as_often_as_its_owner_likes() {
    let mut server = Connection::server(Config::server("s"), 0);
    server.receive(0, &SASL_HEADER).unwrap();
    let _ = server.take_output(0);
    let init = SaslFrame::Init { mechanism: sasl::TPM, initial_response: "keys".into(), hostname: None };
    assert_eq!(sasl_turn(&mut server, &init), None);
    assert!(matches!(server.next_event(), Some(Event::Sasl(SaslRequest::Tpm(keys))) if keys == "keys"));
    for turn in 0..3 {
        server.sasl_challenge("what?".into()).unwrap();
        let mut output = bytes::BytesMut::from(&server.take_output(0)[..]);
        let challenge = frame::take(&mut output, 512).unwrap().unwrap();
        let challenge = SaslFrame::decode(&mut Reader::new(&challenge.body)).unwrap();
        assert_eq!(challenge, SaslFrame::Challenge("what?".into()), "{turn}");
        assert_eq!(sasl_turn(&mut server, &SaslFrame::Response("that".into())), None);
        assert!(matches!(server.next_event(), Some(Event::Sasl(SaslRequest::Response(that))) if that == "that"));
    }
    server.sasl_outcome(Outcome::Ok).unwrap();
    assert!(!server.is_closed());
}

#[test]
fn an_answer_without_a_challenge_is_out_of_order() {
    let mut server = Connection::server(Config::server("s"), 0);
    server.receive(0, &SASL_HEADER).unwrap();
    let mut bytes = Vec::new();
    frame::put(&mut bytes, frame::Kind::Sasl, 0, |out| SaslFrame::Response("that".into()).encode(out));
    assert!(matches!(server.receive(0, &bytes), Err(Error::NotAllowed(_))));
}

#[test]
fn plain_credentials_are_for_the_owner_to_check() {
    let (mut client, mut server, result) = plain(Outcome::Ok);
    result.unwrap();
    server.receive(0, &client.take_output(0)).unwrap();
    assert!(matches!(server.next_event(), Some(Event::Opened(_))));
}

#[test]
fn refused_credentials_end_both() {
    let (_, mut server, result) = plain(Outcome::Auth);
    assert_eq!(result, Err(Error::SaslRefused(1)));
    assert!(server.is_closed());
    assert!(matches!(server.next_event(), Some(Event::Closed { error: None })));
}

#[test]
fn messages_of_any_size_arrive_whole_in_both_directions() {
    for frame_size in [512, 4096, 65_536] {
        let mut config = Config::client("c", "h");
        config.max_frame_size = frame_size;
        let mut server = Config::server("s");
        server.max_frame_size = frame_size;
        let mut pair = Pair::open_with(config, server);
        let (up, _) = pair.link(Role::Sender, 100);
        let (_, down) = pair.link(Role::Receiver, 100);
        for len in [0, 1, 400, 470, 471, 472, 473, 474, 475, 512, 70_000, 256 * 1024] {
            let body = pattern(len);
            pair.client.send(up, SETTLED, &body).unwrap();
            pair.server.send(down, SETTLED, &body).unwrap();
            pair.run();
            for events in [&mut pair.at_server, &mut pair.at_client] {
                let arrived = messages(events);
                assert_eq!(arrived.len(), 1);
                assert_eq!(arrived[0].message, body, "{len} bytes in frames of {frame_size}");
                assert_eq!(&arrived[0].tag[..], b"t");
            }
        }
    }
}

#[test]
fn credit_bounds_the_sender_and_settled_deliveries_give_it_back() {
    let mut pair = Pair::open();
    let (up, _) = pair.link(Role::Sender, 4);
    for _ in 0..4 {
        pair.client.send(up, SETTLED, b"m").unwrap();
    }
    assert_eq!(pair.client.send(up, SETTLED, b"m"), Err(SendError::NoCredit));
    pair.run();
    assert_eq!(messages(&mut pair.at_server).len(), 4);
    // The server gave two back after the second message, and two more after the fourth.
    assert_eq!(pair.client.sendable(up), 4);
}

#[test]
fn unsettled_deliveries_hold_credit_until_the_owner_settles_them() {
    let mut pair = Pair::open();
    let (up, theirs) = pair.link(Role::Sender, 4);
    for _ in 0..4 {
        pair.client.send(up, UNSETTLED, b"m").unwrap();
    }
    pair.run();
    let arrived = messages(&mut pair.at_server);
    assert_eq!(pair.client.sendable(up), 0);
    let error = ErrorCondition::new(condition::NOT_FOUND, "no such device");
    pair.server.settle(theirs, arrived[0].delivery_id, DeliveryState::Accepted);
    pair.server.settle(theirs, arrived[1].delivery_id, DeliveryState::Rejected(Some(error.clone())));
    pair.at_client.clear();
    pair.run();
    assert_eq!(pair.client.sendable(up), 2);
    let states: Vec<_> = pair
        .at_client
        .drain(..)
        .filter_map(|event| match event {
            Event::Disposition { state, settled: true, .. } => state,
            _ => None,
        })
        .collect();
    assert_eq!(states, [DeliveryState::Accepted, DeliveryState::Rejected(Some(error))]);
}

#[test]
fn a_settled_disposition_ends_a_delivery_of_ours() {
    let mut pair = Pair::open();
    let (ours, down) = pair.link(Role::Receiver, 10);
    let sent = pair.server.send(down, UNSETTLED, b"m").unwrap();
    pair.run();
    pair.at_server.clear();
    let arrived = messages(&mut pair.at_client);
    pair.client.settle(ours, arrived[0].delivery_id, DeliveryState::Released);
    pair.run();
    match pair.at_server.as_slice() {
        [Event::Disposition { link, delivery_id, state: Some(DeliveryState::Released), settled: true }] => {
            assert_eq!((*link, *delivery_id), (down, sent));
        }
        other => panic!("one disposition expected, found {other:?}"),
    }
}

#[test]
fn the_peers_window_holds_transfers_back_and_a_flow_frees_them() {
    // The client renews the session window of 4096 only when it has read what is on its way.
    let mut pair = Pair::open();
    let (_, down) = pair.link(Role::Receiver, 10_000);
    let mut sent = 0;
    let mut received = 0;
    while sent < 10_000 {
        while pair.server.send(down, SETTLED, b"m").is_ok() {
            sent += 1;
        }
        assert!(sent - received <= 4_096);
        pair.run();
        received += messages(&mut pair.at_client).len();
    }
    assert_eq!(received, sent);
}

#[test]
fn a_message_wider_than_the_window_arrives_in_parts() {
    let mut config = Config::client("c", "h");
    config.max_frame_size = 512;
    config.message_size_max = 4 * 1024 * 1024;
    let mut pair = Pair::open_with(config, Config::server("s"));
    let (_, down) = pair.link(Role::Receiver, 10);
    let body = pattern(3 * 1024 * 1024);
    pair.server.send(down, SETTLED, &body).unwrap();
    assert_eq!(pair.server.sendable(down), 0, "transfers wait for the window");
    pair.run();
    assert_eq!(messages(&mut pair.at_client)[0].message, body);
    assert_eq!(pair.server.sendable(down), 9);
}

#[test]
fn a_refused_attach_tells_why() {
    let mut pair = Pair::open();
    let session = pair.session();
    let (link, request) = pair.ask(session, Role::Receiver, 1);
    let info = vec![(Value::from("port"), Value::Int(5671))];
    let error = ErrorCondition { info, ..ErrorCondition::new(condition::LINK_REDIRECT, "there") };
    pair.server.refuse_attach(request, error.clone());
    pair.run();
    match pair.at_client.as_slice() {
        [Event::Attached { attach, .. }, Event::Detached { link: ended, error: Some(told) }] => {
            assert!(attach.source.is_some() && attach.target.is_some());
            assert_eq!((*ended, told), (link, &error));
        }
        other => panic!("attach and detach expected, found {other:?}"),
    }
    // Both handles are free again.
    let (_, request) = pair.ask(session, Role::Receiver, 1);
    assert_eq!(request.attach.handle, 0);
}

#[test]
fn an_attach_given_up_before_the_answer_leaves_nothing_behind() {
    let mut pair = Pair::open();
    let session = pair.session();
    let (link, request) = pair.ask(session, Role::Receiver, 1);
    pair.client.detach_in_peace(link);
    pair.run();
    assert!(matches!(pair.at_server.as_slice(), [Event::Detached { error: None, .. }]));
    pair.at_server.clear();
    pair.server.accept_attach(request, Accept::default());
    assert_eq!(pair.server.output_len(), 0);
    pair.ask(session, Role::Receiver, 1);
}

#[test]
fn a_detached_link_is_forgotten_by_both() {
    let mut pair = Pair::open();
    let (ours, theirs) = pair.link(Role::Receiver, 5);
    pair.server.send(theirs, UNSETTLED, b"m").unwrap();
    pair.server.detach(theirs, ErrorCondition::new(condition::LINK_STOLEN, "a higher epoch came"));
    pair.run();
    assert!(pair.at_server.is_empty());
    let stolen = pair.at_client.iter().any(|event| {
        matches!(event, Event::Detached { link, error: Some(error) }
            if *link == ours && error.condition == condition::LINK_STOLEN)
    });
    assert!(stolen);
    assert_eq!(pair.server.send(theirs, SETTLED, b"m"), Err(SendError::NotAttached));
}

#[test]
fn draining_uses_up_the_credit() {
    let mut pair = Pair::open();
    let (ours, down) = pair.link(Role::Receiver, 7);
    pair.client.drain(ours);
    pair.run();
    assert!(matches!(pair.at_server.as_slice(), [Event::Credit { credit: 7, drain: true, .. }]));
    pair.server.send(down, SETTLED, b"m").unwrap();
    pair.server.drained(down);
    assert_eq!(pair.server.sendable(down), 0);
    pair.run();
    assert!(matches!(pair.at_client.as_slice(), [Event::Message(_), Event::Drained { link }] if *link == ours));
    pair.client.grant_credit(ours, 3);
    pair.run();
    assert_eq!(pair.server.sendable(down), 3);
}

#[test]
fn silence_is_answered_by_keep_alives_until_the_peer_is_given_up() {
    let mut config = Config::client("c", "h");
    config.idle_timeout_ms = 10_000;
    let mut pair = Pair::open_with(config, Config::server("s"));
    assert_eq!(pair.server.next_deadline(), Some(5_000));
    pair.server.tick(4_999).unwrap();
    assert_eq!(pair.server.output_len(), 0);
    pair.server.tick(5_000).unwrap();
    assert_eq!(pair.server.take_output(5_000)[..], [0, 0, 0, 8, 2, 0, 0, 0]);
    assert_eq!(pair.server.next_deadline(), Some(10_000));
    pair.server.tick(239_999).unwrap();
    let _ = pair.server.take_output(239_999);
    assert_eq!(pair.server.tick(240_000), Err(Error::IdleTimeout));
    assert!(pair.server.is_closed() && pair.server.output_len() > 0);
}

#[test]
fn a_handshake_that_stalls_is_given_up() {
    let mut server = Connection::server(Config::server("s"), 1_000);
    server.receive(2_000, &SASL_HEADER).unwrap();
    assert_eq!(server.next_deadline(), Some(31_000));
    assert_eq!(server.tick(31_000), Err(Error::HandshakeTimeout));
}

#[test]
fn close_is_answered_or_given_up() {
    let mut pair = Pair::open();
    pair.server.close(7, Some(ErrorCondition::new(condition::CONNECTION_FORCED, "stopping")));
    pair.run();
    assert!(pair.client.is_closed() && pair.server.is_closed());
    assert!(matches!(pair.at_client.as_slice(), [Event::Closed { error: Some(_) }]));

    let mut pair = Pair::open();
    pair.server.close(100, None);
    assert_eq!(pair.server.next_deadline(), Some(5_100));
    assert_eq!(pair.server.tick(5_100), Err(Error::CloseTimeout));
}
