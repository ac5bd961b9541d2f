//! Frames out of order and bytes that mean nothing, from devices that have come in.

use std::time::Duration;

use bytes::Bytes;
use gantry_amqp::connection::{AttachOptions, ClientSasl};
use gantry_amqp::performative::{Begin, Detach, Disposition, Flow, Open, Performative, Transfer};
use gantry_amqp::{Body, DeliveryState, Event, Message, Role, condition};
use gantry_gateway::Peer;
use gantry_gateway::amqp::serve;
use gantry_identity::Identity;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::amqp_world::{Client, World};

/// The channel of the only session of a client.
const CHANNEL: u16 = 0;

fn event(body: &'static str) -> Message {
    Message { body: Body::Data(vec![Bytes::from_static(body.as_bytes())]), ..Message::default() }
}

fn transfer(handle: u32) -> Performative {
    Performative::Transfer(Transfer {
        handle,
        delivery_id: Some(0),
        delivery_tag: Some(Bytes::from_static(b"t")),
        message_format: Some(0),
        settled: Some(false),
        more: false,
        aborted: false,
    })
}

fn flow(handle: u32) -> Performative {
    Performative::Flow(Flow {
        next_incoming_id: Some(0),
        incoming_window: 1,
        next_outgoing_id: 0,
        outgoing_window: 1,
        handle: Some(handle),
        delivery_count: Some(0),
        link_credit: Some(u32::MAX),
        available: None,
        drain: true,
        echo: true,
    })
}

fn begin() -> Performative {
    Performative::Begin(Begin {
        remote_channel: None,
        next_outgoing_id: 0,
        incoming_window: 1,
        outgoing_window: 1,
        handle_max: 1,
        offered_capabilities: Vec::new(),
        desired_capabilities: Vec::new(),
        properties: Vec::new(),
    })
}

fn open() -> Performative {
    Performative::Open(Open {
        container_id: "again".into(),
        hostname: None,
        max_frame_size: 512,
        channel_max: 0,
        idle_timeout: None,
        offered_capabilities: Vec::new(),
        desired_capabilities: Vec::new(),
        properties: Vec::new(),
    })
}

/// A device with a link of each direction; their handles on the client's side are 0 and 1 or so, 99 is none.
async fn device(world: &World) -> (Client, Identity, [gantry_amqp::connection::LinkId; 2]) {
    let id = Identity::parse("d1").unwrap();
    if world.hub.record(&id).await.is_err() {
        world.register("d1").await;
    }
    let mut client = world.device(&id).await;
    let events = client.send_to("/devices/d1/messages/events").await.unwrap();
    let bound = client.receive_from("/devices/d1/messages/devicebound", 5).await.unwrap();
    (client, id, [events, bound])
}

async fn gone(world: &World, id: &Identity) {
    tokio::time::timeout(Duration::from_secs(10), async {
        while world.hub.is_connected(id) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the device leaves");
}

#[tokio::test]
async fn frames_for_links_that_are_not_there_end_the_session_and_its_devices() {
    let world = World::real();
    for wrong in [transfer(99), flow(99)] {
        let (mut client, id, [events, _]) = device(&world).await;
        client.raw(CHANNEL, &wrong).await;
        let error = client.wait(|event| match event {
            Event::Detached { link, error } if *link == events => Some(error.clone()),
            _ => None,
        });
        assert_eq!(error.await.unwrap().condition, condition::UNATTACHED_HANDLE);
        gone(&world, &id).await;
    }
}

#[tokio::test]
async fn frames_out_of_order_end_the_connection_and_its_devices() {
    let world = World::real();
    // Not begun, begun twice, opened twice, and a transfer against the direction of its link.
    for (channel, wrong) in [(7, flow(0)), (CHANNEL, begin()), (CHANNEL, open()), (7, begin_for_nobody())] {
        let (mut client, id, _) = device(&world).await;
        client.raw(channel, &wrong).await;
        let error = client.closed().await;
        assert!([condition::NOT_ALLOWED, condition::FRAMING_ERROR].contains(&error.condition), "{error:?}");
        gone(&world, &id).await;
    }
}

fn begin_for_nobody() -> Performative {
    let Performative::Begin(begin) = begin() else { unreachable!() };
    Performative::Begin(Begin { remote_channel: Some(500), ..begin })
}

#[tokio::test]
async fn a_message_that_means_nothing_is_rejected_and_the_link_goes_on() {
    let world = World::real();
    let (mut client, _, [events, _]) = device(&world).await;
    for rubbish in [&b"\x00\x53\x75"[..], b"rubbish", &[0; 300], b"\x00\x53\x77\x56\x01"] {
        let state = client.send_bytes(events, 0, rubbish).await;
        assert!(matches!(state, DeliveryState::Rejected(Some(_))), "{rubbish:?}: {state:?}");
    }
    assert_eq!(client.send(events, &event("good")).await, DeliveryState::Accepted);
    assert_eq!(world.log.bodies(), ["good"]);
}

#[tokio::test]
async fn outcomes_of_nothing_are_passed_over() {
    let world = World::real();
    let (mut client, _, [events, _]) = device(&world).await;
    for (first, last, settled) in [(0, Some(u32::MAX), true), (77, None, false), (5, Some(1), true)] {
        for role in [Role::Sender, Role::Receiver] {
            let said = Disposition { role, first, last, settled, state: Some(DeliveryState::Accepted) };
            client.raw(CHANNEL, &Performative::Disposition(said)).await;
        }
    }
    let nobody = Detach { handle: 200, closed: true, error: None };
    client.raw(CHANNEL, &Performative::Detach(nobody)).await;
    assert_eq!(client.send(events, &event("good")).await, DeliveryState::Accepted);
}

#[tokio::test]
async fn a_link_given_up_while_its_device_comes_in_leaves_nothing_behind() {
    let world = World::real();
    let id = world.register("d1").await;
    let mut client = world.device(&id).await;
    let session = client.amqp.begin_session().unwrap();
    for n in 0..20 {
        let (source, target) = (gantry_amqp::Source::at("x"), gantry_amqp::Target::at("/devices/d1/messages/events"));
        let name = format!("given up {n}");
        let link = client.amqp.attach(session, &name, Role::Sender, source, target, AttachOptions::default());
        // Attach and detach leave in one write.
        client.amqp.detach_in_peace(link.unwrap());
    }
    client.flush().await;
    client.come_in(&id).await;
    gone(&world, &id).await;
    let events = client.send_to("/devices/d1/messages/events").await.unwrap();
    assert_eq!(client.send(events, &event("good")).await, DeliveryState::Accepted);
}

/// Everything one good device says, changed at random: no server panics, and all come to an end.
#[tokio::test]
async fn damaged_conversations_end_and_harm_nobody() {
    let world = World::real();
    let (mut client, id, [events, _]) = device(&world).await;
    client.send(events, &event("good")).await;
    let said = std::mem::take(&mut client.sent);
    drop(client);
    gone(&world, &id).await;
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    for _ in 0..300 {
        let mut bytes = said.clone();
        for _ in 0..=random(4) {
            let at = random(bytes.len());
            match random(3) {
                0 => bytes[at] = random(256) as u8,
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, random(256) as u8),
            }
        }
        let (ours, theirs) = tokio::io::duplex(256 * 1024);
        let peer = Peer { address: "test".into(), certificate: None, place: None };
        let server = tokio::spawn(serve(theirs, world.context.clone(), peer));
        let (mut reader, mut writer) = tokio::io::split(ours);
        writer.write_all(&bytes).await.unwrap();
        writer.shutdown().await.unwrap();
        let rest = tokio::time::timeout(Duration::from_secs(10), async {
            let mut answer = Vec::new();
            let _ = reader.read_to_end(&mut answer).await;
        });
        rest.await.expect("the server hangs up");
        let _ = server.await.expect("no panic");
    }
    gone(&world, &id).await;
    let mut client = world.client(ClientSasl::None).await;
    client.come_in(&id).await;
    let events = client.send_to("/devices/d1/messages/events").await.unwrap();
    assert_eq!(client.send(events, &event("still here")).await, DeliveryState::Accepted);
}
