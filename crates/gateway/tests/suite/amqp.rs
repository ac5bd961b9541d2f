//! The event stream and cloud-to-device messages over AMQP.

use bytes::Bytes;
use gantry_amqp::connection::{AttachOptions, ClientSasl};
use gantry_amqp::frame;
use gantry_amqp::message::lookup;
use gantry_amqp::{Array, Body, DeliveryState, Event, Message, Properties, Symbol, Value, condition};
use gantry_hub::c2d::Ack;
use gantry_hub::routing::Destinations;
use gantry_identity::Refusal;

use super::amqp_world::{Client, FIRST_AT, World, plain};

const PARTITION: &str = "hub/ConsumerGroups/$Default/Partitions/0";

fn small() -> Bytes {
    Bytes::from_static(b"{}")
}

fn options(credit: u32) -> AttachOptions {
    AttachOptions { credit, ..AttachOptions::default() }
}

fn epoch(level: i64) -> AttachOptions {
    let properties = vec![(Value::Symbol(Symbol::from_static("com.microsoft:epoch")), Value::Long(level))];
    AttachOptions { properties, ..options(10) }
}

#[tokio::test]
async fn nothing_is_attached_without_a_token() {
    let world = World::new();
    let mut client = world.client(ClientSasl::None).await;
    for address in [PARTITION, "$management", "/messages/serviceBound/feedback", "/messages/events/$management", "x"] {
        let refusal = client.receive_from(address, 1).await.unwrap_err();
        assert_eq!(refusal.condition, condition::UNAUTHORIZED_ACCESS, "{address}");
    }
    let refusal = client.send_to("/messages/devicebound").await.unwrap_err();
    assert_eq!(refusal.condition, condition::UNAUTHORIZED_ACCESS);
    let refusals = world.gate.refusals();
    assert_eq!(refusals.len(), 6);
    assert!(refusals.iter().all(|(_, operation, why)| *operation == "amqp attach" && *why == Refusal::Missing));
}

#[tokio::test]
async fn a_token_covers_what_it_names_and_its_policy_allows() {
    let world = World::new();
    let mut client = world.client(ClientSasl::Anonymous).await;
    client.put_token("a", "localhost/hub/consumergroups/$default/partitions/1|service|3600000").await;
    client.put_token("b", "localhost/hub|device|3600000").await;
    assert!(client.receive_from(PARTITION, 1).await.is_err());
    assert!(client.receive_from("hub/ConsumerGroups/$Default/Partitions/1", 1).await.is_ok());
    assert!(matches!(world.gate.refusals()[0].2, Refusal::Right { .. }));
}

#[tokio::test]
async fn a_bad_token_is_refused_and_reported() {
    let world = World::new();
    let mut client = world.client(ClientSasl::Anonymous).await;
    let answer = client.put_token("sb://localhost/hub", "rubbish").await;
    assert_eq!(answer.application_property("status-code"), Some(&Value::Int(401)));
    assert_eq!(answer.application_property("error-condition"), None);
    assert_eq!(world.gate.refusals(), [("sb://localhost/hub".into(), "amqp cbs", Refusal::Signature)]);
    let answer = client.request("$cbs", vec![], Body::Empty, None).await;
    assert_eq!(answer.application_property("status-code"), Some(&Value::Int(400)));
}

#[tokio::test]
async fn plain_is_for_policies_of_this_hub() {
    let world = World::new();
    let token = "localhost|service|3600000";
    let mut client = world.client(plain("service@sas.root.gantry", token)).await;
    assert!(client.receive_from("$management", 1).await.is_ok());
    let mut client = world.client(plain("service@sas.root.localhost", token)).await;
    assert!(client.receive_from("$management", 1).await.is_ok());
    for (user, token) in [
        ("service@sas.root.other", token),
        ("owner@sas.root.gantry", token),
        ("motor-1@sas.gantry", token),
        ("service@sas.root.gantry", "rubbish"),
    ] {
        let client = world.client(plain(user, token)).await;
        assert!(client.amqp.is_closed(), "{user}");
    }
    assert_eq!(world.gate.refusals().len(), 4);
}

#[tokio::test]
async fn a_link_ends_with_its_token_and_lives_on_with_a_new_one() {
    let world = World::new();
    let mut client = world.client(ClientSasl::Anonymous).await;
    client.put_token("a", "localhost/hub|service|60000").await;
    let kept = client.receive_from(PARTITION, 10).await.unwrap();
    client.put_token("a", "localhost/hub|service|1").await;
    let error = client.detached(kept).await;
    assert_eq!(error.condition, condition::UNAUTHORIZED_ACCESS);
    client.put_token("a", "localhost/hub|service|60000").await;
    assert!(client.receive_from(PARTITION, 10).await.is_ok());
}

const SEND: (&str, &str) = ("Microsoft.Devices/IotHubs/cloudToDeviceMessages/send/action", "Hub");
const RECEIVE: (&str, &str) =
    ("Microsoft.EventHub/namespaces/messages/receive/action", "Stream(\"hub\", Some(\"$Default\"))");

fn status(answer: &Message) -> Option<&Value> {
    answer.application_property("status-code")
}

#[tokio::test]
async fn a_token_of_a_directory_opens_what_its_roles_allow() {
    let world = World::new();
    let mut client = world.client(ClientSasl::Anonymous).await;
    // As two clients write them: of Event Hubs, and of the hub with the word before it.
    assert_eq!(status(&client.put_token("sb://localhost/hub", "eyJ.Stream.60000").await), Some(&Value::Int(200)));
    assert!(client.receive_from(PARTITION, 1).await.is_err(), "no role");
    assert_eq!(world.gate.refusals()[0].1, "amqp attach");
    world.roles.set(vec![SEND, RECEIVE]);
    assert!(client.receive_from(PARTITION, 1).await.is_ok());
    assert!(client.receive_from("hub/ConsumerGroups/other/Partitions/0", 1).await.is_err());
    assert!(client.send_to("/messages/devicebound").await.is_err(), "a token of the stream is none of the hub");
    let audience = "https://iothubs.azure.net/.default";
    assert_eq!(status(&client.put_token(audience, "Bearer eyJ.Hub.60000").await), Some(&Value::Int(200)));
    assert!(client.send_to("/messages/devicebound").await.is_ok());
    for address in ["/messages/serviceBound/feedback", "/messages/events/$management", "queue", "x/y/z"] {
        assert!(client.receive_from(address, 1).await.is_err(), "{address}");
    }
    for wrong in ["eyJ.Storage.60000", "eyK.Hub.60000", "eyJ.Hub"] {
        assert_eq!(status(&client.put_token("sb://localhost/hub", wrong).await), Some(&Value::Int(401)), "{wrong}");
    }
}

#[tokio::test]
async fn a_link_ends_with_the_token_of_a_directory_and_with_the_role() {
    let world = World::new();
    world.roles.set(vec![SEND, RECEIVE]);
    let mut client = world.client(ClientSasl::Anonymous).await;
    client.put_token("sb://localhost/hub", "eyJ.Stream.60000").await;
    let kept = client.receive_from(PARTITION, 10).await.unwrap();
    // Renewed, it stays; shorter, it ends.
    client.put_token("sb://localhost/hub", "eyJ.Stream.70000").await;
    client.put_token("sb://localhost/hub", "eyJ.Stream.1").await;
    assert_eq!(client.detached(kept).await.condition, condition::UNAUTHORIZED_ACCESS);
    client.put_token("sb://localhost/hub", "eyJ.Stream.60000").await;
    let kept = client.receive_from(PARTITION, 10).await.unwrap();
    world.roles.set(vec![SEND]);
    assert_eq!(client.detached(kept).await.condition, condition::UNAUTHORIZED_ACCESS);
    assert!(client.receive_from(PARTITION, 10).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_token_is_closed() {
    let world = World::new();
    let mut client = world.client(ClientSasl::Anonymous).await;
    let opened = tokio::time::Instant::now();
    let error = client
        .wait_long(|event| match event {
            Event::Closed { error } => error.clone(),
            _ => None,
        })
        .await;
    assert_eq!(error.condition, condition::UNAUTHORIZED_ACCESS);
    assert_eq!(opened.elapsed().as_secs(), 60);
}

#[tokio::test]
async fn a_plain_connection_ends_with_its_token() {
    let world = World::new();
    let mut client = world.client(plain("service@sas.root.gantry", "localhost|service|50")).await;
    let error = client
        .wait(|event| match event {
            Event::Closed { error } => error.clone(),
            _ => None,
        })
        .await;
    assert_eq!(error.condition, condition::UNAUTHORIZED_ACCESS);
}

async fn manage(client: &mut Client, kind: &str, name: &str, partition: &str) -> Message {
    let properties = vec![
        ("operation".into(), "READ".into()),
        ("type".into(), kind.into()),
        ("name".into(), name.into()),
        ("partition".into(), partition.into()),
    ];
    client.request("$management", properties, Body::Empty, None).await
}

#[tokio::test]
async fn management_describes_stream_and_partitions() {
    let world = World::new();
    world.stream.append(0, 5, &small());
    let mut client = world.trusted().await;

    let Body::Value(Value::Map(hub)) = manage(&mut client, "com.microsoft:eventhub", "hub", "").await.body else {
        panic!("map expected");
    };
    assert_eq!(lookup(&hub, "partition_ids"), Some(&Value::Array(Array::of_strings(["0", "1"]))));
    assert_eq!(lookup(&hub, "created_at"), Some(&Value::Timestamp(FIRST_AT)));

    let Body::Value(Value::Map(full)) = manage(&mut client, "com.microsoft:partition", "hub", "0").await.body else {
        panic!("map expected");
    };
    assert_eq!(lookup(&full, "begin_sequence_number"), Some(&Value::Long(0)));
    assert_eq!(lookup(&full, "last_enqueued_sequence_number"), Some(&Value::Long(4)));
    assert_eq!(lookup(&full, "last_enqueued_offset"), Some(&"4".into()));
    assert_eq!(lookup(&full, "last_enqueued_time_utc"), Some(&Value::Timestamp(FIRST_AT + 4_000)));
    assert_eq!(lookup(&full, "is_partition_empty"), Some(&false.into()));

    let Body::Value(Value::Map(empty)) = manage(&mut client, "com.microsoft:partition", "hub", "1").await.body else {
        panic!("map expected");
    };
    assert_eq!(lookup(&empty, "last_enqueued_sequence_number"), Some(&Value::Long(-1)));
    assert_eq!(lookup(&empty, "is_partition_empty"), Some(&true.into()));
}

#[tokio::test]
async fn management_knows_nothing_else() {
    let world = World::new();
    let mut client = world.trusted().await;
    for (kind, name, partition) in [
        ("com.microsoft:eventhub", "other", ""),
        ("com.microsoft:partition", "hub", "2"),
        ("com.microsoft:partition", "hub", "00"),
    ] {
        let answer = manage(&mut client, kind, name, partition).await;
        assert_eq!(answer.application_property("status-code"), Some(&Value::Int(404)), "{kind} {name} {partition}");
        let text = answer.application_property("status-description").and_then(Value::as_str).unwrap();
        assert!(text.starts_with("The messaging entity '"));
        let condition = answer.application_property("error-condition").and_then(Value::as_str);
        assert_eq!(condition, Some("amqp:not-found"));
    }
    let answer = manage(&mut client, "com.microsoft:queue", "hub", "").await;
    assert_eq!(answer.application_property("status-code"), Some(&Value::Int(400)));
}

#[tokio::test]
async fn a_receiver_begins_where_its_filter_says() {
    let world = World::new();
    world.stream.append(0, 5, &small());
    let mut client = world.trusted().await;
    let after_two = format!("amqp.annotation.x-opt-enqueued-time > '{}'", FIRST_AT + 2_000);
    for (filter, first) in [
        (None, 0),
        (Some("amqp.annotation.x-opt-offset > '-1'"), 0),
        (Some("amqp.annotation.x-opt-offset > '2'"), 3),
        (Some("amqp.annotation.x-opt-sequence-number >= '2'"), 2),
        (Some(after_two.as_str()), 3),
        (Some("amqp.annotation.x-opt-offset > '@latest'"), 5),
    ] {
        let link = client.receive_with(PARTITION, filter, options(1)).await.unwrap();
        if first == 5 {
            world.stream.append(0, 1, &small());
        }
        assert_eq!(client.numbers(link, 1).await, [first], "{filter:?}");
        client.amqp.detach_in_peace(link);
    }
}

#[tokio::test]
async fn events_come_in_order_whole_and_as_they_are_appended() {
    let world = World::new();
    world.stream.append(0, 2_000, &Bytes::from(vec![b'x'; 300]));
    let mut client = world.trusted().await;
    let link =
        client.receive_from("amqps://localhost:5671/hub/consumergroups/ANALYTICS/partitions/0", 7).await.unwrap();
    assert_eq!(client.numbers(link, 2_000).await, (0..2_000).collect::<Vec<_>>());
    world.stream.append(0, 1, &Bytes::from(vec![b'y'; 200_000]));
    let big = client.message(link).await;
    assert_eq!(big.body.to_bytes().unwrap().len(), 200_000);
    assert_eq!(big.application_property("n"), Some(&"2000".into()));
    assert!(big.properties.is_none() && big.delivery_annotations.is_empty());
}

#[tokio::test]
async fn nothing_is_read_from_the_log_without_credit() {
    let world = World::new();
    world.stream.append(0, 100, &small());
    let mut client = world.trusted().await;
    let link = client.receive_from(PARTITION, 0).await.unwrap();
    assert_eq!(world.stream.read(), 0);
    client.amqp.grant_credit(link, 1);
    client.numbers(link, 1).await;
    client.amqp.grant_credit(link, 100);
    client.numbers(link, 99).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_not_read_for() {
    let world = World::new();
    world.stream.append(0, 20_000, &Bytes::from(vec![b'x'; 1_000]));
    let mut client = world.trusted().await;
    let link = client.receive_from(PARTITION, 0).await.unwrap();
    client.amqp.grant_credit(link, 1_000_000);
    client.flush().await;
    // Another client is served meanwhile.
    let mut other = world.trusted().await;
    let theirs = other.receive_from("hub/ConsumerGroups/$Default/Partitions/1", 10).await.unwrap();
    world.stream.append(1, 10, &small());
    assert_eq!(other.numbers(theirs, 10).await.len(), 10);
    // Half a megabyte of output and what fits into the pipe; nothing near 20,000 events.
    assert!(world.stream.read() < 2_500, "{} events were read ahead", world.stream.read());
    assert_eq!(client.numbers(link, 20_000).await, (0..20_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn runtime_metrics_are_sent_to_those_who_ask() {
    let world = World::new();
    world.stream.append(0, 3, &small());
    let mut client = world.trusted().await;
    let capability = Symbol::from_static("com.microsoft:enable-receiver-runtime-metric");
    let options = AttachOptions { desired_capabilities: vec![capability], ..options(1) };
    let link = client.receive_with(PARTITION, None, options).await.unwrap();
    let annotations = client.message(link).await.delivery_annotations;
    assert_eq!(lookup(&annotations, "last_enqueued_sequence_number"), Some(&Value::Long(2)));
    assert_eq!(lookup(&annotations, "last_enqueued_offset"), Some(&"2".into()));
}

#[tokio::test]
async fn what_is_not_there_is_refused_in_the_clients_words() {
    let world = World::new();
    let mut client = world.trusted().await;
    for (address, expected) in [
        ("other/ConsumerGroups/$Default/Partitions/0", condition::NOT_FOUND),
        ("hub/ConsumerGroups/nobody/Partitions/0", condition::NOT_FOUND),
        ("hub/ConsumerGroups/$Default/Partitions/2", condition::ARGUMENT_OUT_OF_RANGE),
        ("hub/ConsumerGroups/$Default/Partitions/x", condition::ARGUMENT_OUT_OF_RANGE),
        ("devices/motor-1/nothing", condition::NOT_FOUND),
        ("/messages/devicebound", condition::NOT_ALLOWED),
    ] {
        assert_eq!(client.receive_from(address, 1).await.unwrap_err().condition, expected, "{address}");
    }
    let filter = Some("amqp.annotation.x-opt-offset > 'x'");
    let error = client.receive_with(PARTITION, filter, options(1)).await.unwrap_err();
    assert_eq!(error.condition, condition::ARGUMENT_ERROR);
    assert_eq!(client.send_to(PARTITION).await.unwrap_err().condition, condition::NOT_ALLOWED);
    assert_eq!(world.context.receivers.count(), 0);
}

#[tokio::test]
async fn a_higher_owner_level_takes_the_partition_over() {
    let world = World::new();
    let (mut first, mut second) = (world.trusted().await, world.trusted().await);
    let bystander = first.receive_from("hub/ConsumerGroups/analytics/Partitions/0", 1).await.unwrap();
    let free = first.receive_from(PARTITION, 1).await.unwrap();
    let low = second.receive_with(PARTITION, None, epoch(1)).await.unwrap();
    assert_eq!(first.detached(free).await.condition, condition::LINK_STOLEN);
    for options in [epoch(0), options(1)] {
        let error = first.receive_with(PARTITION, None, options).await.unwrap_err();
        assert_eq!(error.condition, condition::LINK_STOLEN);
    }
    let equal = first.receive_with(PARTITION, None, epoch(1)).await.unwrap();
    assert_eq!(second.detached(low).await.condition, condition::LINK_STOLEN);
    world.stream.append(0, 1, &small());
    assert_eq!(first.numbers(equal, 1).await, [0]);
    assert_eq!(first.numbers(bystander, 1).await, [0]);
}

#[tokio::test]
async fn five_receivers_share_a_partition_and_places_are_given_up() {
    let world = World::new();
    let mut client = world.trusted().await;
    let mut links = Vec::new();
    for _ in 0..5 {
        links.push(client.receive_from(PARTITION, 1).await.unwrap());
    }
    let error = client.receive_from(PARTITION, 1).await.unwrap_err();
    assert_eq!(error.condition, condition::RESOURCE_LIMIT_EXCEEDED);
    client.amqp.detach_in_peace(links[0]);
    client.receive_from(PARTITION, 1).await.unwrap();
    // A client that is gone has no places.
    assert_eq!(world.context.receivers.count(), 5);
    drop(client.stream);
    client.server.await.unwrap().unwrap();
    assert_eq!(world.context.receivers.count(), 0);
}

#[tokio::test]
async fn a_drained_link_is_told_that_there_is_nothing_more() {
    let world = World::new();
    world.stream.append(0, 3, &small());
    let mut client = world.trusted().await;
    let link = client.receive_from(PARTITION, 0).await.unwrap();
    for (credit, expected) in [(10, vec![0, 1, 2]), (5, vec![]), (1, vec![3])] {
        if credit == 1 {
            world.stream.append(0, 2, &small());
        }
        client.amqp.grant_credit(link, credit);
        client.amqp.drain(link);
        client.wait(|event| matches!(event, Event::Drained { .. }).then_some(())).await;
        assert_eq!(client.numbers(link, expected.len()).await, expected);
    }
}

#[tokio::test]
async fn what_goes_elsewhere_is_passed_over() {
    let world = World::new();
    let mut client = world.trusted().await;
    let link = client.receive_from(PARTITION, 0).await.unwrap();
    for (before, after) in [(1, 3), (0, 600)] {
        world.stream.append(0, before, &small());
        world.stream.append_for(Destinations::NONE, 0, after, &small());
        client.amqp.grant_credit(link, 10);
        client.amqp.drain(link);
        // The newest event is for somebody else, and will never be sent here.
        client.wait(|event| matches!(event, Event::Drained { .. }).then_some(())).await;
    }
    world.stream.append(0, 1, &small());
    client.amqp.grant_credit(link, 10);
    assert_eq!(client.numbers(link, 2).await, [0, 604]);
}

#[tokio::test]
async fn a_receiver_that_gives_up_before_it_is_answered_has_no_place() {
    let world = World::new();
    world.stream.append(0, 1, &small());
    let mut client = world.trusted().await;
    world.stream.shut.send_replace(true);
    client.give_up(PARTITION, 1).await;
    world.stream.shut.send_replace(false);
    let link = client.receive_from(PARTITION, 1).await.unwrap();
    assert_eq!(client.numbers(link, 1).await, [0]);
    assert_eq!(world.context.receivers.count(), 1);
}

#[tokio::test]
async fn the_hubs_name_redirects_to_the_stream() {
    let world = World::new();
    let mut client = world.trusted().await;
    for (address, expected) in [
        ("/messages/events/ConsumerGroups/$Default/Partitions/1", "hub/ConsumerGroups/$Default/Partitions/1"),
        ("amqps://h/messages/events/$management", "hub/$management"),
    ] {
        // The token of `trusted` is for the whole host.
        let error = client.receive_from(address, 1).await.unwrap_err();
        assert_eq!(error.condition, condition::LINK_REDIRECT);
        let expected = format!("amqps://localhost:5671/{expected}");
        assert_eq!(lookup(&error.info, "address"), Some(&expected.into()));
        assert_eq!(lookup(&error.info, "hostname"), Some(&"localhost".into()));
        assert_eq!(lookup(&error.info, "network-host"), Some(&"localhost".into()));
        assert_eq!(lookup(&error.info, "port"), Some(&Value::Int(5671)));
    }
}

fn c2d(to: &str) -> Message {
    Message {
        properties: Some(Properties { to: Some(to.into()), ..Properties::default() }),
        application_properties: vec![("iothub-ack".into(), "full".into()), ("level".into(), "5".into())],
        body: Body::Data(vec![small()]),
        ..Message::default()
    }
}

#[tokio::test]
async fn c2d_messages_are_accepted_when_they_are_queued() {
    let world = World::new();
    let mut client = world.trusted().await;
    let link = client.send_to("/messages/deviceBound").await.unwrap();
    for n in 0..3 {
        let mut message = c2d("/devices/motor-1/messages/devicebound");
        message.body = Body::Data(vec![Bytes::from(vec![n])]);
        assert_eq!(client.send(link, &message).await, DeliveryState::Accepted);
    }
    let sent = world.outbox.sent.lock().unwrap();
    let bodies: Vec<_> = sent.iter().map(|message| message.body[0]).collect();
    assert_eq!((bodies, sent[0].ack), (vec![0, 1, 2], Ack::Full));
    assert_eq!(sent[0].properties, [("level".to_owned(), Some("5".to_owned()))]);
}

#[tokio::test]
async fn c2d_messages_nobody_can_have_are_rejected() {
    let world = World::new();
    let mut client = world.trusted().await;
    let link = client.send_to("amqps://h/messages/devicebound").await.unwrap();
    for (to, expected) in [
        ("/devices/nobody/messages/devicebound", condition::NOT_FOUND),
        ("/devices/motor-1", condition::ARGUMENT_ERROR),
    ] {
        match client.send(link, &c2d(to)).await {
            DeliveryState::Rejected(Some(error)) => assert_eq!(error.condition, expected, "{to}"),
            other => panic!("rejection expected, found {other:?}"),
        }
    }
    assert!(world.outbox.sent.lock().unwrap().is_empty());
}

#[tokio::test]
async fn feedback_links_are_accepted() {
    let world = World::new();
    let mut client = world.trusted().await;
    for address in ["/messages/serviceBound/feedback", "/messages/servicebound/filenotifications"] {
        assert!(client.receive_from(address, 10).await.is_ok(), "{address}");
    }
}

#[tokio::test]
async fn connections_close_when_the_service_stops() {
    let world = World::new();
    let mut client = world.trusted().await;
    client.receive_from(PARTITION, 10).await.unwrap();
    world.stop.send(true).unwrap();
    let error = client
        .wait(|event| match event {
            Event::Closed { error } => error.clone(),
            _ => None,
        })
        .await;
    assert_eq!(error.condition, condition::CONNECTION_FORCED);
    client.flush().await;
    client.server.await.unwrap().unwrap();
}

#[tokio::test]
async fn garbage_is_answered_and_hung_up_on() {
    let world = World::new();
    let (mut ours, theirs) = tokio::io::duplex(1024);
    let peer = gantry_gateway::Peer { address: "test".into(), certificate: None, place: None };
    let server = tokio::spawn(gantry_gateway::amqp::serve(theirs, world.context.clone(), peer));
    tokio::io::AsyncWriteExt::write_all(&mut ours, b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut ours, &mut answer).await.unwrap();
    assert_eq!(answer, frame::SASL_HEADER);
    server.await.unwrap().unwrap();
}
