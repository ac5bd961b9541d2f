//! Cloud-to-device messages and their outcomes.

use super::*;

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
    let records: serde_json::Value = serde_json::from_slice(batch.message.content.body()).unwrap();
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
