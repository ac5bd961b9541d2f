//! Devices and modules over AMQP: links, tokens, and what comes over them.

mod c2d;
mod requests;
mod telemetry;
mod ways_in;

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
