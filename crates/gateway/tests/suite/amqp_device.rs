//! Devices and modules over AMQP: links, tokens, and what comes over them.

use std::time::Duration;

use bytes::Bytes;
use gantry_amqp::connection::{AttachOptions, ClientSasl, LinkId};
use gantry_amqp::message::{FORMAT_BATCH, encode_data};
use gantry_amqp::{
    Body, DeliveryState, ErrorCondition, Event, Message, MessageId, Properties, ReceiverSettleMode, Role, Source,
    Symbol, Target, Value, condition, encode,
};
use gantry_hub::MethodCall;
use gantry_hub::c2d::{Ack, C2dMessage, Settle};
use gantry_hub::connection::MethodResponse;
use gantry_hub::device::{DeviceWrite, IfMatch, Status};
use gantry_hub::feedback::FileNotification;
use gantry_hub::service_queue::ServiceQueue;
use gantry_hub::twin::TwinWrite;
use gantry_identity::Identity;
use serde_json::json;
use uuid::Uuid;

use super::amqp_world::{Client, World, device_token, own_token, plain, policy_token};

const D2C_BYTES_MAX: usize = 256 * 1024;

fn event(body: &str) -> Message {
    Message { body: Body::Data(vec![Bytes::copy_from_slice(body.as_bytes())]), ..Message::default() }
}

fn encoded(message: &Message) -> Bytes {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes.into()
}

fn symbol(name: &'static str, value: impl Into<Value>) -> (Value, Value) {
    (Value::Symbol(Symbol::from_static(name)), value.into())
}

#[track_caller]
fn rejected(state: DeliveryState) -> ErrorCondition {
    match state {
        DeliveryState::Rejected(Some(error)) => error,
        other => panic!("rejection expected, found {other:?}"),
    }
}

async fn telemetry_link(client: &mut Client, identity: &Identity) -> LinkId {
    client.send_to(&format!("/{}/messages/events", identity.resource())).await.unwrap()
}

async fn c2d_link(client: &mut Client, identity: &Identity, credit: u32, mode: ReceiverSettleMode) -> LinkId {
    let options = AttachOptions { credit, rcv_settle_mode: mode, ..AttachOptions::default() };
    client.receive_with(&format!("/{}/messages/deviceBound", identity.resource()), None, options).await.unwrap()
}

/// A sender and a receiver of one node, paired as clients pair them.
async fn pair(client: &mut Client, identity: &Identity, node: &str) -> (LinkId, LinkId) {
    let address = format!("/{}/{node}", identity.resource());
    let options = |credit| AttachOptions {
        credit,
        properties: vec![symbol("com.microsoft:channel-correlation-id", format!("{node}:1"))],
        ..AttachOptions::default()
    };
    let (there, here) = (Source::at("here"), Target::at(address.as_str()));
    let sender = client.attach(Role::Sender, there, here, options(0)).await.unwrap();
    let receiver =
        client.attach(Role::Receiver, Source::at(address.as_str()), Target::at("here"), options(10)).await.unwrap();
    (sender, receiver)
}

async fn send_c2d(world: &World, identity: &Identity, message_id: &str) {
    let message = C2dMessage {
        message_id: Some(message_id.into()),
        correlation_id: Some("c".into()),
        ack: Ack::Full,
        properties: vec![
            ("level".into(), Some("5".into())),
            ("null".into(), None),
            ("empty".into(), Some(String::new())),
        ],
        body: Bytes::from_static(b"hello"),
        ..C2dMessage::default()
    };
    world.hub.send_c2d(gantry_gateway::now(), identity, message).await.unwrap();
}

/// Waits until no message is left in a queue.
async fn drained(world: &World, identity: &Identity) {
    tokio::time::timeout(Duration::from_secs(10), async {
        while world.hub.record(identity).await.unwrap().presence.c2d_count > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the queue empties");
}

#[tokio::test]
async fn telemetry_is_stored_with_all_it_says() {
    let world = World::real();
    let id = world.register("d1").await;
    let mut client = world.device(&id).await;
    let link = telemetry_link(&mut client, &id).await;
    let message = Message {
        message_annotations: vec![symbol("dt-subject", "thermostat"), symbol("iothub-interface-id", "i")],
        properties: Some(Properties {
            message_id: Some(MessageId::Uuid(Uuid::from_u128(1))),
            correlation_id: Some(MessageId::String("c".into())),
            user_id: Some(Bytes::from_static(b"u")),
            content_type: Some("application/json".into()),
            content_encoding: Some("utf-8".into()),
            absolute_expiry_time: Some(1_795_478_400_000),
            ..Properties::default()
        }),
        application_properties: vec![
            ("level".into(), Value::Int(5)),
            ("null".into(), Value::Null),
            ("empty".into(), "".into()),
            ("iothub-creation-time-utc".into(), "2026-01-01T00:00:00Z".into()),
            ("iothub-connection-device-id".into(), "somebody else".into()),
        ],
        ..event("{}")
    };
    assert_eq!(client.send(link, &message).await, DeliveryState::Accepted);
    let logged = world.log.events.lock().unwrap()[0].clone();
    assert_eq!((logged.identity, logged.body), (id, b"{}".to_vec()));
    assert!(logged.auth_method.contains(r#""scope":"device","type":"sas""#), "{}", logged.auth_method);
    let fields: Vec<_> = logged.fields.iter().map(|field| field.as_deref()).collect();
    let uuid = Uuid::from_u128(1).to_string();
    let expected = [
        Some(uuid.as_str()),
        Some("c"),
        Some("u"),
        Some("application/json"),
        Some("utf-8"),
        Some("2026-11-24T00:00:00.0000000Z"),
        Some("2026-01-01T00:00:00Z"),
        Some("thermostat"),
        Some("i"),
        None,
    ];
    assert_eq!(fields, expected);
    let properties = [("level", Some("5")), ("null", None), ("empty", Some(""))];
    let properties = properties.map(|(name, value)| (name.to_owned(), value.map(str::to_owned)));
    assert_eq!(logged.properties, properties, "what the hub stamps cannot be set");
}

/// Ids of the four types, and the texts everybody else gets to see.
fn ids() -> [(MessageId, &'static str); 5] {
    [
        (MessageId::Ulong(u64::MAX), "18446744073709551615"),
        (MessageId::Uuid(Uuid::from_u128(0xabc)), "00000000-0000-0000-0000-000000000abc"),
        (MessageId::Binary(Bytes::from_static(b"\x00\xff\xa1")), "00FFA1"),
        (MessageId::Binary(Bytes::new()), ""),
        (MessageId::String("ü/1".into()), "ü/1"),
    ]
}

#[tokio::test]
async fn ids_of_every_type_are_stored_as_text() {
    let world = World::real();
    for name in ["d1", "d1/m1"] {
        let id = world.register(name).await;
        let mut client = world.device(&id).await;
        let link = telemetry_link(&mut client, &id).await;
        for (message_id, text) in ids() {
            let [message_id, correlation_id] = [Some(message_id.clone()), Some(message_id)];
            let properties = Some(Properties { message_id, correlation_id, ..Properties::default() });
            assert_eq!(client.send(link, &Message { properties, ..event("{}") }).await, DeliveryState::Accepted);
            let fields = world.log.events.lock().unwrap().last().unwrap().fields.clone();
            assert_eq!((fields[0].as_deref(), fields[1].as_deref()), (Some(text), Some(text)));
        }
    }
}

#[tokio::test]
async fn ids_of_every_type_reach_devices_and_come_back_in_feedback() {
    let world = World::real();
    let mut service = world.owner().await;
    let link = service.send_to("/messages/devicebound").await.unwrap();
    for name in ["d1", "d1/m1"] {
        let id = world.register(name).await;
        for (message_id, text) in ids() {
            let message = Message {
                properties: Some(Properties {
                    to: Some(format!("/{}/messages/devicebound", id.resource())),
                    message_id: Some(message_id.clone()),
                    correlation_id: Some(message_id),
                    ..Properties::default()
                }),
                ..event("hello")
            };
            assert_eq!(service.send(link, &message).await, DeliveryState::Accepted);
            // As MQTT and HTTPS take it from the queue.
            let now = gantry_gateway::now();
            let locked = world.hub.receive_c2d(now, &id, None).await.unwrap().unwrap();
            let queued = &locked.message.message;
            assert_eq!((queued.message_id.as_deref(), queued.correlation_id.as_deref()), (Some(text), Some(text)));
            world.hub.release_c2d(&id, locked.token);
            let mut device = world.device(&id).await;
            let queue = c2d_link(&mut device, &id, 1, ReceiverSettleMode::First).await;
            let (delivery, _, message) = device.delivery(queue).await;
            let properties = message.properties.unwrap();
            let expected = Some(MessageId::String(text.into()));
            assert_eq!((&properties.message_id, &properties.correlation_id), (&expected, &expected));
            device.amqp.settle(queue, delivery, DeliveryState::Accepted);
            device.flush().await;
            drained(&world, &id).await;
        }
    }
}

#[tokio::test]
async fn ids_of_other_types_are_refused_and_the_links_go_on() {
    let world = World::real();
    let id = world.register("d1").await;
    let mut device = world.device(&id).await;
    let events = telemetry_link(&mut device, &id).await;
    let mut service = world.owner().await;
    let queue = service.send_to("/messages/devicebound").await.unwrap();
    for wrong in
        [Value::Int(42), Value::Uint(42), Value::Long(42), Value::Boolean(true), "s".into(), Value::List(vec![])]
    {
        // message-id, user-id, to, subject, reply-to, correlation-id
        for at in [0, 5] {
            let wrong = match &wrong {
                Value::String(text) => Value::Symbol(Symbol::from(text.clone())),
                other => other.clone(),
            };
            let mut fields = vec![Value::Null; 6];
            fields[2] = "/devices/d1/messages/devicebound".into();
            fields[at] = wrong;
            let mut bytes = Vec::new();
            encode::descriptor(&mut bytes, 0x73);
            encode::value(&mut bytes, &Value::List(fields));
            encode_data(&mut bytes, b"hello");
            for (client, link) in [(&mut device, events), (&mut service, queue)] {
                let refused = rejected(client.send_bytes(link, 0, &bytes).await);
                assert_eq!(refused.condition, condition::DECODE_ERROR);
            }
        }
    }
    assert_eq!(device.send(events, &event("{}")).await, DeliveryState::Accepted);
    assert_eq!(world.log.bodies(), ["{}"]);
    assert_eq!(world.hub.record(&id).await.unwrap().presence.c2d_count, 0);
}

#[tokio::test]
async fn nothing_is_accepted_before_it_is_durable() {
    let world = World::real();
    let id = world.register("d1").await;
    let mut client = world.device(&id).await;
    let link = telemetry_link(&mut client, &id).await;
    world.log.open.send_replace(false);
    let message = event("late");
    let sent = client.send(link, &message);
    let mut sent = std::pin::pin!(sent);
    tokio::select! {
        biased;
        state = &mut sent => panic!("accepted too early: {state:?}"),
        () = async { while world.log.events.lock().unwrap().is_empty() { tokio::task::yield_now().await; } } => {}
    }
    world.log.open.send_replace(true);
    assert_eq!(sent.await, DeliveryState::Accepted);
}

#[tokio::test]
async fn a_full_log_stops_reading_and_loses_nothing() {
    let world = World::real();
    let id = world.register("d1").await;
    let mut client = world.device(&id).await;
    let link = telemetry_link(&mut client, &id).await;
    assert_eq!(client.send(link, &event("0")).await, DeliveryState::Accepted);
    world.log.room.send_replace(false);
    // More than the pipe between us holds: the rest waits on our side.
    let body = "x".repeat(100_000);
    let mut more = std::pin::pin!(async {
        for _ in 0..5 {
            assert_eq!(client.send(link, &event(&body)).await, DeliveryState::Accepted);
        }
    });
    let none = tokio::time::timeout(Duration::from_millis(200), &mut more).await;
    assert!(none.is_err(), "the log was full");
    assert!(world.log.events.lock().unwrap().len() <= 2);
    world.log.room.send_replace(true);
    more.await;
    assert_eq!(world.log.events.lock().unwrap().len(), 6);
}

#[tokio::test]
async fn sizes_are_bounded_at_the_limit() {
    let world = World::real();
    let id = world.register("d1").await;
    let mut client = world.device(&id).await;
    let link = telemetry_link(&mut client, &id).await;
    assert_eq!(client.send(link, &event(&"x".repeat(D2C_BYTES_MAX))).await, DeliveryState::Accepted);
    let error = rejected(client.send(link, &event(&"x".repeat(D2C_BYTES_MAX + 1))).await);
    assert_eq!(error.condition, condition::MESSAGE_SIZE_EXCEEDED);
    assert_eq!(world.log.events.lock().unwrap().len(), 1);
    // Past any excuse the link goes.
    let bytes = encoded(&event(&"x".repeat(2 * D2C_BYTES_MAX)));
    let outgoing = gantry_amqp::connection::Outgoing { tag: b"t", settled: true, format: 0 };
    client.amqp.send(link, outgoing, &bytes).unwrap();
    assert_eq!(client.detached(link).await.condition, condition::MESSAGE_SIZE_EXCEEDED);
}

#[tokio::test]
async fn a_batch_is_unpacked_and_taken_whole_or_not_at_all() {
    let world = World::real();
    let id = world.register("d1").await;
    let mut client = world.device(&id).await;
    let link = telemetry_link(&mut client, &id).await;
    let batch = |bodies: &[&str]| {
        let sections = bodies.iter().map(|body| encoded(&event(body))).collect();
        encoded(&Message { body: Body::Data(sections), ..Message::default() })
    };
    let state = client.send_bytes(link, FORMAT_BATCH, &batch(&["a", "b", "c"])).await;
    assert_eq!(state, DeliveryState::Accepted);
    let large = "x".repeat(D2C_BYTES_MAX + 1);
    let error = rejected(client.send_bytes(link, FORMAT_BATCH, &batch(&["d", &large])).await);
    assert_eq!(error.condition, condition::MESSAGE_SIZE_EXCEEDED);
    let rubbish = Message { body: Body::Data(vec![Bytes::from_static(b"rubbish")]), ..Message::default() };
    let error = rejected(client.send_bytes(link, FORMAT_BATCH, &encoded(&rubbish)).await);
    assert_eq!(error.condition, condition::DECODE_ERROR);
    assert_eq!(world.log.bodies(), ["a", "b", "c"]);
}

#[tokio::test]
async fn many_devices_share_a_connection_and_none_speaks_for_another() {
    let world = World::real();
    let mut client = world.client(ClientSasl::Anonymous).await;
    let mut links = Vec::new();
    for name in ["d1", "d2", "d1/m1"] {
        let id = world.register(name).await;
        client.come_in(&id).await;
        client.begin_session();
        links.push((telemetry_link(&mut client, &id).await, name));
    }
    let stranger = world.register("d3").await;
    let refused = client.send_to(&format!("/{}/messages/events", stranger.resource())).await.unwrap_err();
    assert_eq!(refused.condition, condition::UNAUTHORIZED_ACCESS);
    for (link, name) in links {
        assert_eq!(client.send(link, &event(name)).await, DeliveryState::Accepted);
    }
    let events = world.log.events.lock().unwrap();
    assert!(events.iter().all(|event| event.identity.to_string().as_bytes() == event.body));
    assert_eq!(events.len(), 3);
}

#[tokio::test]
async fn every_way_in_is_open_to_those_who_prove_themselves() {
    let world = World::real();
    let (device, module) = (world.register("d1").await, world.register("d1/m1").await);
    let owner = policy_token("device", "localhost/devices", 3600);
    let narrow = policy_token("device", "localhost/devices/d1", 3600);
    for (user, token, identity) in [
        ("d1@sas.gantry", device_token(&device, 3600), &device),
        ("d1@sas.localhost", device_token(&device, 3600), &device),
        ("d1/m1@sas.gantry", device_token(&module, 3600), &module),
        ("device@sas.root.gantry", owner.clone(), &device),
        ("device@sas.root.gantry", owner, &module),
        ("device@sas.root.gantry", narrow, &device),
    ] {
        let mut client = world.client(plain(user, &token)).await;
        let link = telemetry_link(&mut client, identity).await;
        assert_eq!(client.send(link, &event(user)).await, DeliveryState::Accepted, "{user}");
    }
    let events = world.log.events.lock().unwrap();
    assert!(events[3].auth_method.contains(r#""scope":"hub""#), "{}", events[3].auth_method);
}

/// Some clients percent-encode ids in addresses and resources, others write them as they are, and an id may hold an
/// escape itself.
#[tokio::test]
async fn an_id_with_an_escape_is_itself_however_it_is_written() {
    let world = World::real();
    let encode = gantry_identity::encode_component;
    // The last two are each other's reading.
    let names = ["a%2Fb", "100%", "per%25cent", "q!*'()$,x", "dev/m%2Fx", "a%41b", "aAb"];
    for name in names {
        world.register(name.split('/').next().unwrap()).await;
        if name.contains('/') {
            world.register(name).await;
        }
    }
    for name in names {
        let id = Identity::parse(name).unwrap();
        let encoded = match &id.module {
            None => format!("devices/{}", encode(id.device.as_str())),
            Some(module) => format!("devices/{}/modules/{}", encode(id.device.as_str()), encode(module.as_str())),
        };
        let plain_resource = id.resource();
        for (resource, path) in [
            (&plain_resource, &plain_resource),
            (&plain_resource, &encoded),
            (&encoded, &encoded),
            (&encoded, &plain_resource),
        ] {
            let mut client = world.client(ClientSasl::None).await;
            let audience = format!("localhost/{resource}");
            let answer = client.put_token(&audience, &own_token(&audience, 3600)).await;
            assert_eq!(answer.application_property("status-code"), Some(&Value::Int(200)), "{resource}");
            let events = client.send_to(&format!("amqps://localhost:5671/{path}/messages/events")).await.unwrap();
            assert_eq!(client.send(events, &event(name)).await, DeliveryState::Accepted);
            let logged = world.log.events.lock().unwrap().last().unwrap().clone();
            assert_eq!((&logged.identity, &logged.body[..]), (&id, name.as_bytes()), "{resource} {path}");
            let link = client.receive_from(&format!("/{path}/messages/devicebound"), 1).await.unwrap();
            send_c2d(&world, &id, "m").await;
            assert_eq!(client.message(link).await.body, Body::Data(vec![Bytes::from_static(b"hello")]));
        }
        let user = |name: &str| plain(&format!("{name}@sas.gantry"), &device_token(&id, 3600));
        let mut client = world.client(user(name)).await;
        telemetry_link(&mut client, &id).await;
    }
}

#[tokio::test]
async fn a_policy_connects_who_is_registered_of_two_readings() {
    let world = World::real();
    for name in ["n@m", "n%40m", "a%41b"] {
        world.register(name).await;
    }
    let mut client = world.owner().await;
    // An address is encoded, unless there is nobody of that name.
    for (written, expected) in [("n%40m", "n@m"), ("n%2540m", "n%40m"), ("a%41b", "a%41b"), ("a%2541b", "a%41b")] {
        let link = client.send_to(&format!("/devices/{written}/messages/events")).await.unwrap();
        assert_eq!(client.send(link, &event("x")).await, DeliveryState::Accepted);
        let sender = world.log.events.lock().unwrap().last().unwrap().identity.to_string();
        assert_eq!(sender, expected, "{written}");
    }
    let error = client.send_to("/devices/x%40y/messages/events").await.unwrap_err();
    assert_eq!(error.condition, "amqp:unauthorized-access");
    // A policy's token for one device is for no other reading of its name.
    let mut client = world.client(ClientSasl::None).await;
    let audience = "localhost/devices/n%40m";
    client.put_token(audience, &policy_token("device", audience, 3600)).await;
    let link = client.send_to("/devices/n%40m/messages/events").await.unwrap();
    assert_eq!(client.send(link, &event("y")).await, DeliveryState::Accepted);
    let sender = world.log.events.lock().unwrap().last().unwrap().identity.to_string();
    assert_eq!(sender, "n%40m");
}

#[tokio::test]
async fn a_service_names_recipients_with_escapes_in_both_ways() {
    let world = World::real();
    let mut client = world.owner().await;
    let link = client.send_to("/messages/devicebound").await.unwrap();
    let to = |to: &str| Message {
        properties: Some(Properties {
            to: Some(format!("/devices/{to}/messages/devicebound")),
            ..Properties::default()
        }),
        ..event("hello")
    };
    for (name, encoded) in
        [("a%2Fb", "a%252Fb"), ("a%41b", "a%2541b"), ("100%", "100%25"), ("d/m%25", "d/modules/m%2525")]
    {
        world.register(name.split('/').next().unwrap()).await;
        let id = if name.contains('/') { world.register(name).await } else { Identity::parse(name).unwrap() };
        let written = id.resource().replacen("devices/", "", 1);
        for spelling in [encoded, &written] {
            assert_eq!(client.send(link, &to(spelling)).await, DeliveryState::Accepted, "{spelling}");
        }
        assert_eq!(world.hub.record(&id).await.unwrap().presence.c2d_count, 2, "{name}");
    }
    assert_eq!(rejected(client.send(link, &to("x%41y")).await).condition, condition::NOT_FOUND);
}

#[tokio::test]
async fn those_who_do_not_stay_out() {
    let world = World::real();
    let (device, module) = (world.register("d1").await, world.register("d1/m1").await);
    for (user, token) in [
        ("d1@sas.gantry", device_token(&module, 3600)),
        ("d1@sas.gantry", "rubbish".to_owned()),
        ("nobody@sas.gantry", device_token(&device, 3600)),
        ("no body@sas.gantry", device_token(&device, 3600)),
        ("@sas.gantry", device_token(&device, 3600)),
        ("d1/m1/x@sas.gantry", device_token(&device, 3600)),
        ("d1@sas.other", device_token(&device, 3600)),
        ("d1", device_token(&device, 3600)),
    ] {
        let mut client = world.client(plain(user, &token)).await;
        assert!(client.amqp.is_closed(), "{user}");
        client.flush().await;
    }
    let mut client = world.client(ClientSasl::None).await;
    for (identity, token, status) in [
        (&device, device_token(&module, 3600), 200),
        (&device, device_token(&Identity::parse("nobody").unwrap(), 3600), 404),
        (&device, own_token("localhost/devices/no%20body", 3600), 404),
        (&device, own_token("localhost/devices//modules/", 3600), 401),
        (&device, policy_token("service", "localhost", 3600), 200),
        (&device, "rubbish".to_owned(), 401),
    ] {
        let answer = client.put_token(&identity.resource(), &token).await;
        assert_eq!(answer.application_property("status-code"), Some(&Value::Int(status)), "{token}");
    }
    // A module's token, and that of a policy without DeviceConnect, do not make it a device.
    let refused = client.send_to("/devices/d1/messages/events").await.unwrap_err();
    assert_eq!(refused.condition, condition::UNAUTHORIZED_ACCESS);
    let mut client = world.device(&device).await;
    for wrong in ["/devices/d1/messages/devicebound", "/devices/d1/nothing"] {
        assert!(client.send_to(wrong).await.is_err(), "{wrong}");
    }
    let refused = client.receive_from("/devices/d1/messages/events", 1).await.unwrap_err();
    assert_eq!(refused.condition, condition::NOT_ALLOWED, "only modules have inputs");
    let refused = client.send_to("/devices/d1/modules/m1/messages/events").await.unwrap_err();
    assert_eq!(refused.condition, condition::UNAUTHORIZED_ACCESS);
    let refused = client.send_to("/messages/devicebound").await.unwrap_err();
    assert_eq!(refused.condition, condition::UNAUTHORIZED_ACCESS, "a device is no service");
}

#[tokio::test]
async fn a_token_ends_its_links_unless_it_is_renewed() {
    let world = World::real();
    let (renewed, lapsing) = (world.register("d1").await, world.register("d2").await);
    let mut client = world.client(ClientSasl::None).await;
    for id in [&renewed, &lapsing] {
        client.put_token(&id.resource(), &device_token(id, 2)).await;
    }
    let stays = telemetry_link(&mut client, &renewed).await;
    let goes = telemetry_link(&mut client, &lapsing).await;
    client.put_token(&renewed.resource(), &device_token(&renewed, 3600)).await;
    assert_eq!(client.detached(goes).await.condition, condition::UNAUTHORIZED_ACCESS);
    assert_eq!(client.send(stays, &event("still here")).await, DeliveryState::Accepted);
    assert!(!world.hub.is_connected(&lapsing) && world.hub.is_connected(&renewed));
}

#[tokio::test]
async fn a_connection_ends_with_its_only_token() {
    let world = World::real();
    let id = world.register("d1").await;
    for by_cbs in [true, false] {
        let sasl = if by_cbs { ClientSasl::None } else { plain("d1@sas.gantry", &device_token(&id, 2)) };
        let mut client = world.client(sasl).await;
        if by_cbs {
            client.put_token(&id.resource(), &device_token(&id, 2)).await;
        }
        telemetry_link(&mut client, &id).await;
        let error = client.wait(|event| match event {
            Event::Closed { error } => error.clone(),
            _ => None,
        });
        assert_eq!(error.await.condition, condition::UNAUTHORIZED_ACCESS);
    }
}

#[tokio::test]
async fn a_policys_renewed_token_keeps_its_devices() {
    let world = World::real();
    let id = world.register("d1").await;
    let mut client = world.client(ClientSasl::None).await;
    client.put_token("localhost", &policy_token("device", "localhost", 2)).await;
    let link = telemetry_link(&mut client, &id).await;
    client.put_token("localhost", &policy_token("device", "localhost", 3600)).await;
    let other = world.register("d2").await;
    client.put_token(&other.resource(), &device_token(&other, 2)).await;
    let goes = telemetry_link(&mut client, &other).await;
    client.detached(goes).await;
    assert_eq!(client.send(link, &event("still here")).await, DeliveryState::Accepted);
}

#[tokio::test]
async fn the_newer_connection_of_an_identity_takes_over() {
    let world = World::real();
    let id = world.register("d1").await;
    let mut older = world.device(&id).await;
    let telemetry = telemetry_link(&mut older, &id).await;
    let c2d = c2d_link(&mut older, &id, 10, ReceiverSettleMode::First).await;
    let mut newer = world.device(&id).await;
    let link = telemetry_link(&mut newer, &id).await;
    assert_eq!(older.detached(telemetry).await.condition, condition::LINK_STOLEN);
    assert_eq!(older.detached(c2d).await.condition, condition::LINK_STOLEN);
    assert_eq!(newer.send(link, &event("x")).await, DeliveryState::Accepted);
    newer.amqp.detach_in_peace(link);
    newer.flush().await;
    newer.come_in(&id).await;
    assert!(!world.hub.is_connected(&id), "an identity leaves with its last link");
}

#[tokio::test]
async fn a_disabled_device_is_cut_and_kept_out() {
    let world = World::real();
    for delete in [false, true] {
        let id = world.register(if delete { "d2" } else { "d1" }).await;
        let mut client = world.device(&id).await;
        let link = telemetry_link(&mut client, &id).await;
        if delete {
            world.hub.delete_device(gantry_gateway::now(), &id, &IfMatch::Any).await.unwrap();
        } else {
            let write = DeviceWrite { status: Status::Disabled, ..DeviceWrite::default() };
            world.hub.put_device(gantry_gateway::now(), &id, write, &IfMatch::Any).await.unwrap();
        }
        assert_eq!(client.detached(link).await.condition, condition::UNAUTHORIZED_ACCESS);
        let refused = client.send_to(&format!("/{}/messages/events", id.resource())).await.unwrap_err();
        assert_eq!(refused.condition, condition::UNAUTHORIZED_ACCESS, "the token it put is good no more");
    }
}

#[tokio::test]
async fn a_c2d_message_comes_with_all_it_says_and_is_settled_second() {
    let world = World::real();
    let id = world.register("d1").await;
    send_c2d(&world, &id, "m1").await;
    let mut client = world.device(&id).await;
    let link = c2d_link(&mut client, &id, 10, ReceiverSettleMode::Second).await;
    let (delivery, tag, message) = client.delivery(link).await;
    assert_eq!(tag.len(), 16);
    let token = Uuid::from_slice(&tag).unwrap().to_string();
    assert_eq!(message.message_annotation("x-opt-lock-token"), Some(&token.into()));
    assert!(matches!(message.message_annotation("iothub-enqueuedtime"), Some(Value::Timestamp(_))));
    assert_eq!(message.message_annotation("iothub-deliverycount"), Some(&Value::Ubyte(0)));
    assert!(matches!(message.message_annotation("x-opt-sequence-number"), Some(Value::Ulong(_))));
    assert_eq!(message.application_property("iothub-ack"), Some(&"full".into()));
    assert_eq!(message.application_property("level"), Some(&"5".into()));
    assert_eq!(message.application_property("null"), Some(&Value::Null));
    assert_eq!(message.application_property("empty"), Some(&"".into()));
    let properties = message.properties.unwrap();
    assert_eq!(properties.to.as_deref(), Some("/devices/d1/messages/devicebound"));
    assert_eq!(properties.message_id, Some(MessageId::String("m1".into())));
    assert!(properties.absolute_expiry_time.is_some());
    assert_eq!(message.body, Body::Data(vec![Bytes::from_static(b"hello")]));
    client.amqp.dispose(link, delivery, DeliveryState::Accepted);
    let said = client.confirmed(delivery).await;
    assert_eq!((said.settled, said.state), (true, Some(DeliveryState::Accepted)));
    assert_eq!(world.hub.record(&id).await.unwrap().presence.c2d_count, 0);
    world.hub.send_c2d(gantry_gateway::now(), &id, C2dMessage::default()).await.unwrap();
    client.delivery(link).await;
}

#[tokio::test]
async fn every_outcome_of_a_device_settles_its_message() {
    let modified =
        || DeliveryState::Modified { delivery_failed: true, undeliverable_here: false, annotations: Vec::new() };
    let world = World::real();
    let id = world.register("d1").await;
    let mut client = world.device(&id).await;
    let link = c2d_link(&mut client, &id, 20, ReceiverSettleMode::First).await;
    send_c2d(&world, &id, "m1").await;
    for count in 0..10 {
        let (delivery, _, message) = client.delivery(link).await;
        assert_eq!(message.message_annotation("iothub-deliverycount"), Some(&Value::Ubyte(count)));
        let state = if count % 2 == 0 { DeliveryState::Released } else { modified() };
        client.amqp.settle(link, delivery, state);
    }
    client.flush().await;
    drained(&world, &id).await;
    for (message_id, state) in [("m2", DeliveryState::Accepted), ("m3", DeliveryState::Rejected(None))] {
        send_c2d(&world, &id, message_id).await;
        let (delivery, _, _) = client.delivery(link).await;
        client.amqp.settle(link, delivery, state);
        client.flush().await;
        drained(&world, &id).await;
    }
    let later = gantry_gateway::now().plus(Duration::from_secs(20));
    world.hub.tend(later).await.unwrap();
    let batch = world.hub.receive_service(later, ServiceQueue::Feedback).await.unwrap().unwrap();
    let records: serde_json::Value = serde_json::from_slice(&batch.message.body).unwrap();
    let codes: Vec<_> = records.as_array().unwrap().iter().map(|record| record["statusCode"].clone()).collect();
    assert_eq!(codes, ["DeliveryCountExceeded", "Success", "Rejected"]);
}

#[tokio::test]
async fn a_late_outcome_is_told_that_the_lock_is_lost() {
    let world = World::real();
    let id = world.register("d1").await;
    send_c2d(&world, &id, "m1").await;
    let mut client = world.device(&id).await;
    let link = c2d_link(&mut client, &id, 10, ReceiverSettleMode::Second).await;
    let (first, _, _) = client.delivery(link).await;
    // The lock ends, and the message comes again.
    world.hub.tend(gantry_gateway::now().plus(Duration::from_secs(61))).await.unwrap();
    let (second, _, message) = client.delivery(link).await;
    assert_eq!(message.message_annotation("iothub-deliverycount"), Some(&Value::Ubyte(0)));
    client.amqp.dispose(link, first, DeliveryState::Accepted);
    let Some(DeliveryState::Rejected(Some(error))) = client.confirmed(first).await.state else { panic!() };
    assert_eq!(error.condition, Symbol::from_static("com.microsoft:message-lock-lost"));
    client.amqp.dispose(link, second, DeliveryState::Accepted);
    assert_eq!(client.confirmed(second).await.state, Some(DeliveryState::Accepted));
}

#[tokio::test]
async fn what_a_link_held_goes_back_uncounted_and_credit_is_kept() {
    let world = World::real();
    let id = world.register("d1").await;
    for n in 0..5 {
        send_c2d(&world, &id, &format!("m{n}")).await;
    }
    let mut client = world.device(&id).await;
    let link = c2d_link(&mut client, &id, 2, ReceiverSettleMode::Second).await;
    client.delivery(link).await;
    client.delivery(link).await;
    client.amqp.detach_in_peace(link);
    let link = c2d_link(&mut client, &id, 10, ReceiverSettleMode::Second).await;
    for n in 0..5 {
        let (_, _, message) = client.delivery(link).await;
        assert_eq!(message.properties.unwrap().message_id, Some(MessageId::String(format!("m{n}"))));
        assert_eq!(message.header.unwrap().delivery_count, 0);
    }
    // A connection that breaks gives back too.
    drop(client);
    let taken = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            if let Some(locked) = world.hub.receive_c2d(gantry_gateway::now(), &id, None).await.unwrap() {
                return locked;
            }
            tokio::task::yield_now().await;
        }
    });
    let locked = taken.await.unwrap();
    world.hub.settle_c2d(gantry_gateway::now(), &id, locked.token, Settle::Complete).await.unwrap();
}

#[tokio::test]
async fn draining_ends_when_the_queue_is_empty() {
    let world = World::real();
    let id = world.register("d1").await;
    send_c2d(&world, &id, "m1").await;
    let mut client = world.device(&id).await;
    let link = c2d_link(&mut client, &id, 10, ReceiverSettleMode::First).await;
    client.delivery(link).await;
    client.amqp.drain(link);
    client.wait(|event| matches!(event, Event::Drained { link: id } if *id == link).then_some(())).await;
}

#[tokio::test]
async fn a_method_is_called_and_answered() {
    let world = World::real();
    for (name, as_uuid) in [("d1", false), ("d1/m1", true)] {
        let id = world.register(name).await;
        let mut client = world.device(&id).await;
        let (answers, calls) = pair(&mut client, &id, "methods/devicebound").await;
        let call = MethodCall::new("stop", Bytes::from_static(b"{\"now\":true}")).unwrap();
        let device = async {
            let (_, _, message) = client.delivery(calls).await;
            assert_eq!(message.application_property("IoThub-methodname"), Some(&"stop".into()));
            assert_eq!(message.body.to_bytes().unwrap(), "{\"now\":true}");
            let Some(MessageId::String(id)) = message.properties.unwrap().correlation_id else { panic!() };
            let id = Uuid::parse_str(&id).expect("some clients make a GUID of it");
            let correlation_id = if as_uuid { MessageId::Uuid(id) } else { MessageId::String(id.to_string()) };
            let answer = Message {
                properties: Some(Properties { correlation_id: Some(correlation_id), ..Properties::default() }),
                application_properties: vec![("IoThub-status".into(), Value::Int(418))],
                ..event("\"teapot\"")
            };
            assert_eq!(client.send(answers, &answer).await, DeliveryState::Accepted);
        };
        let (response, ()) = tokio::join!(world.hub.invoke(&id, &call), device);
        let expected = MethodResponse { status: 418, payload: Bytes::from_static(b"\"teapot\"") };
        assert_eq!(response.unwrap(), expected);
        let nonsense = rejected(client.send(answers, &event("?")).await);
        assert_eq!(nonsense.condition, condition::ARGUMENT_ERROR);
        client.amqp.detach_in_peace(calls);
        client.come_in(&id).await;
        assert!(world.hub.invoke(&id, &call).await.is_err(), "one link is not enough");
    }
}

fn twin_request(operation: &'static str, resource: Option<&'static str>, body: &str, id: MessageId) -> Message {
    let mut message_annotations = vec![symbol("operation", operation)];
    message_annotations.extend(resource.map(|resource| symbol("resource", resource)));
    Message {
        message_annotations,
        properties: Some(Properties { correlation_id: Some(id), ..Properties::default() }),
        ..event(body)
    }
}

#[tokio::test]
async fn a_twin_is_read_reported_and_heard_of() {
    let world = World::real();
    let id = world.register("d1").await;
    let mut client = world.device(&id).await;
    let (requests, answers) = pair(&mut client, &id, "twin").await;
    let number = MessageId::Uuid(Uuid::from_u128(9));
    client.send(requests, &twin_request("GET", None, " ", number.clone())).await;
    let (_, _, answer) = client.delivery(answers).await;
    assert_eq!(answer.message_annotation("status"), Some(&Value::Int(200)));
    assert_eq!(answer.properties.unwrap().correlation_id, Some(number.clone()), "with its type");
    let twin: serde_json::Value = serde_json::from_slice(&answer.body.to_bytes().unwrap()).unwrap();
    assert_eq!(twin, json!({"desired": {"$version": 1}, "reported": {"$version": 1}}));

    let report = twin_request("PATCH", Some("/properties/reported"), r#"{"a":1}"#, number.clone());
    client.send(requests, &report).await;
    let (_, _, answer) = client.delivery(answers).await;
    assert_eq!(answer.message_annotation("status"), Some(&Value::Int(200)));
    assert_eq!(answer.message_annotation("version"), Some(&Value::Long(2)));

    let wrong = twin_request("PATCH", Some("/properties/reported"), "[1]", number.clone());
    client.send(requests, &wrong).await;
    let (_, _, answer) = client.delivery(answers).await;
    assert_eq!(answer.message_annotation("status"), Some(&Value::Int(400)));
    let body: serde_json::Value = serde_json::from_slice(&answer.body.to_bytes().unwrap()).unwrap();
    assert_eq!(body["errorCode"], 400_004);
    client.send(requests, &twin_request("FETCH", None, "", number.clone())).await;
    let (_, _, answer) = client.delivery(answers).await;
    assert_eq!(answer.message_annotation("status"), Some(&Value::Int(400)));

    let change = |value: i64| TwinWrite::merging(None, Some(json!({ "speed": value }))).unwrap();
    // Before PUT nothing is told; what comes first is the answer to PUT.
    world.hub.write_twin(gantry_gateway::now(), &id, &change(1), &IfMatch::Absent).await.unwrap();
    let notify = "/notifications/twin/properties/desired";
    client.send(requests, &twin_request("PUT", Some(notify), " ", number.clone())).await;
    let (_, _, answer) = client.delivery(answers).await;
    assert_eq!(answer.message_annotation("status"), Some(&Value::Int(200)));
    world.hub.write_twin(gantry_gateway::now(), &id, &change(2), &IfMatch::Absent).await.unwrap();
    let (_, _, told) = client.delivery(answers).await;
    assert_eq!(told.message_annotation("resource"), Some(&"/properties/desired".into()));
    assert_eq!(told.message_annotation("version"), Some(&Value::Int(3)));
    assert!(told.properties.is_none_or(|properties| properties.correlation_id.is_none()));
    let patch: serde_json::Value = serde_json::from_slice(&told.body.to_bytes().unwrap()).unwrap();
    assert_eq!(patch, json!({"speed": 2, "$version": 3}));
    client.send(requests, &twin_request("DELETE", Some(notify), " ", number.clone())).await;
    client.delivery(answers).await;
    world.hub.write_twin(gantry_gateway::now(), &id, &change(3), &IfMatch::Absent).await.unwrap();
    client.send(requests, &twin_request("GET", None, " ", number.clone())).await;
    let (_, _, answer) = client.delivery(answers).await;
    assert_eq!(answer.properties.unwrap().correlation_id, Some(number), "no change was told in between");
}

#[tokio::test]
async fn answers_go_to_the_link_a_request_is_paired_with() {
    let world = World::real();
    let mut client = world.client(ClientSasl::None).await;
    let mut links = Vec::new();
    for name in ["d1", "d2"] {
        let id = world.register(name).await;
        client.come_in(&id).await;
        client.begin_session();
        links.push((pair(&mut client, &id, "twin").await, name));
        let report = json!({ "name": name }).as_object().cloned().unwrap();
        world.hub.report(gantry_gateway::now(), &id, &report).await.unwrap();
    }
    for ((requests, answers), name) in links {
        client.send(requests, &twin_request("GET", None, " ", MessageId::Ulong(1))).await;
        let (_, _, answer) = client.delivery(answers).await;
        let twin: serde_json::Value = serde_json::from_slice(&answer.body.to_bytes().unwrap()).unwrap();
        assert_eq!(twin["reported"]["name"], name);
    }
}

#[tokio::test]
async fn a_model_id_is_noted_from_whichever_link_names_it() {
    let world = World::real();
    let id = world.register("d1").await;
    let mut client = world.device(&id).await;
    c2d_link(&mut client, &id, 1, ReceiverSettleMode::First).await;
    let properties = vec![symbol("com.microsoft:model-id", "dtmi:a:b;1")];
    let options = AttachOptions { properties, ..AttachOptions::default() };
    let target = Target::at("/devices/d1/messages/events");
    let link = client.attach(Role::Sender, Source::at("x"), target, options).await.unwrap();
    assert_eq!(client.send(link, &event("x")).await, DeliveryState::Accepted);
    assert_eq!(world.log.events.lock().unwrap()[0].model_id.as_deref(), Some("dtmi:a:b;1"));
    tokio::time::timeout(Duration::from_secs(10), async {
        while world.hub.record(&id).await.unwrap().twin.model_id.as_deref() != Some("dtmi:a:b;1") {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the twin has it too");
}

#[tokio::test]
async fn services_take_feedback_and_file_notifications() {
    let world = World::real();
    let id = world.register("d1").await;
    let mut owner = world.owner().await;
    let second = AttachOptions { credit: 1, rcv_settle_mode: ReceiverSettleMode::Second, ..AttachOptions::default() };
    let feedback = owner.receive_with("/messages/serviceBound/feedback", None, second.clone()).await.unwrap();
    send_c2d(&world, &id, "m1").await;
    let locked = world.hub.receive_c2d(gantry_gateway::now(), &id, None).await.unwrap().unwrap();
    world.hub.settle_c2d(gantry_gateway::now(), &id, locked.token, Settle::Complete).await.unwrap();
    world.hub.tend(gantry_gateway::now().plus(Duration::from_secs(16))).await.unwrap();
    let (delivery, tag, message) = owner.delivery(feedback).await;
    assert_eq!(tag.len(), 16);
    assert!(matches!(message.message_annotation("iothub-enqueuedtime"), Some(Value::Timestamp(_))));
    let properties = message.properties.unwrap();
    assert_eq!(properties.content_type.unwrap(), "application/vnd.microsoft.iothub.feedback.json");
    assert!(properties.user_id.is_some());
    let records: serde_json::Value = serde_json::from_slice(&message.body.to_bytes().unwrap()).unwrap();
    assert_eq!(records[0]["originalMessageId"], "m1");
    owner.amqp.dispose(feedback, delivery, DeliveryState::Accepted);
    assert_eq!(owner.confirmed(delivery).await.state, Some(DeliveryState::Accepted));
    owner.amqp.drain(feedback);
    owner.wait(|event| matches!(event, Event::Drained { link } if *link == feedback).then_some(())).await;

    for address in ["/messages/serviceBound/filenotifications", "/messages/servicebound/fileuploadnotifications"] {
        let files = owner.receive_with(address, None, second.clone()).await.unwrap();
        let file = FileNotification {
            identity: id.clone(),
            blob_uri: "https://localhost/c/d1/a".into(),
            blob_name: "d1/a".into(),
            last_updated_at: gantry_gateway::now(),
            size_bytes: 3,
        };
        world.hub.notify_file_uploaded(gantry_gateway::now(), &file).await.unwrap();
        let (delivery, _, _) = owner.delivery(files).await;
        owner.amqp.dispose(files, delivery, DeliveryState::Released);
        owner.confirmed(delivery).await;
        // One for the delivery that we did not settle ourselves, and one for the next.
        owner.amqp.grant_credit(files, 2);
        let (delivery, _, message) = owner.delivery(files).await;
        assert_eq!(message.header.as_ref().unwrap().delivery_count, 1);
        let properties = message.properties.unwrap();
        assert_eq!(properties.content_type.unwrap(), "application/vnd.microsoft.iothub.filenotification.json");
        owner.amqp.dispose(files, delivery, DeliveryState::Accepted);
        owner.confirmed(delivery).await;
        owner.amqp.detach_in_peace(files);
    }
}

#[tokio::test]
async fn a_device_reads_no_feedback() {
    let world = World::real();
    let id = world.register("d1").await;
    let mut client = world.device(&id).await;
    let refused = client.receive_from("/messages/serviceBound/feedback", 1).await.unwrap_err();
    assert_eq!(refused.condition, condition::UNAUTHORIZED_ACCESS);
}

/// A message that asks for a fault at once.
fn fault(kind: &str) -> Message {
    let property = |name: &str, value: &str| (name.into(), value.into());
    Message {
        application_properties: vec![
            property("AzIoTHub_FaultOperationType", kind),
            property("AzIoTHub_FaultOperationCloseReason", "byTest"),
            property("AzIoTHub_FaultOperationDelayInSecs", "0"),
            property("AzIoTHub_FaultOperationDurationInSecs", "1"),
        ],
        ..event("fault")
    }
}

#[tokio::test]
async fn a_device_breaks_the_link_it_asks_to_be_broken_and_no_other() {
    for kind in [
        "KillAmqpD2CLink",
        "KillAmqpC2DLink",
        "KillAmqpTwinLinkReq",
        "KillAmqpTwinLinkResp",
        "KillAmqpMethodReqLink",
        "KillAmqpMethodRespLink",
    ] {
        let world = World::real();
        let id = world.register("d1").await;
        let mut client = world.device(&id).await;
        let telemetry = telemetry_link(&mut client, &id).await;
        let c2d = c2d_link(&mut client, &id, 1, ReceiverSettleMode::First).await;
        let (twin_requests, twin_responses) = pair(&mut client, &id, "twin").await;
        let (method_answers, method_calls) = pair(&mut client, &id, "methods/deviceBound").await;
        assert_eq!(client.send(telemetry, &fault(kind)).await, DeliveryState::Accepted);
        let expected = match kind {
            "KillAmqpD2CLink" => telemetry,
            "KillAmqpC2DLink" => c2d,
            "KillAmqpTwinLinkReq" => twin_requests,
            "KillAmqpTwinLinkResp" => twin_responses,
            "KillAmqpMethodReqLink" => method_answers,
            _ => method_calls,
        };
        assert_eq!(client.detached(expected).await.condition, condition::DETACH_FORCED, "{kind}");
        assert!(world.hub.is_connected(&id), "{kind}: the connection and its other links stay");
    }
}

#[tokio::test]
async fn a_device_that_asks_for_throttling_is_throttled_for_a_while() {
    for (kind, expected) in [
        ("InvokeThrottling", "com.microsoft:device-container-throttled"),
        ("InvokeMaxMessageQuota", "com.microsoft:quota-exceeded"),
        ("InvokeAuthError", "amqp:unauthorized-access"),
    ] {
        let world = World::real();
        let id = world.register("d1").await;
        let mut client = world.device(&id).await;
        let link = telemetry_link(&mut client, &id).await;
        assert_eq!(client.send(link, &fault(kind)).await, DeliveryState::Accepted);
        let state = loop {
            // The fault is due at once, and carried out as soon as the connection gets to it.
            match client.send(link, &event("x")).await {
                DeliveryState::Accepted => {}
                state => break state,
            }
        };
        assert_eq!(rejected(state).condition.as_str(), expected);
        tokio::time::timeout(Duration::from_secs(10), async {
            while client.send(link, &event("y")).await != DeliveryState::Accepted {}
        })
        .await
        .expect("the spell ends");
    }
}

#[tokio::test]
async fn twin_operations_have_the_turns_and_the_gaps_of_an_edition() {
    let world = World::like("B1");
    let id = world.register("d1").await;
    let mut client = world.device(&id).await;
    let (requests, answers) = pair(&mut client, &id, "twin").await;
    client.send(requests, &twin_request("GET", None, " ", MessageId::Ulong(1))).await;
    let (_, _, answer) = client.delivery(answers).await;
    assert_eq!(answer.message_annotation("status"), Some(&Value::Int(403)), "a basic edition has no twins");
    let link = telemetry_link(&mut client, &id).await;
    assert_eq!(client.send(link, &event("x")).await, DeliveryState::Accepted);
}
