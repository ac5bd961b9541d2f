//! Who gets in, for how long, and who does not.

use super::*;

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
