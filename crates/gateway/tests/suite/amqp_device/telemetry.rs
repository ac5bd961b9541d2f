//! Telemetry: what is stored of it, bounds, batches, many devices on one connection.

use super::*;

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
