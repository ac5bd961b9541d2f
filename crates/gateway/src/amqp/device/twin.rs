//! The twin: requests over one link, answers and changes of desired properties over another.
//!
//! Requests of a device are carried out one after the other, so that its reports keep their order.

use std::collections::VecDeque;

use bytes::Bytes;
use gantry_amqp::condition as amqp;
use gantry_amqp::connection::LinkId;
use gantry_amqp::{Body, DeliveryState, ErrorCondition, Message, MessageId, Properties, Symbol, Value};
use gantry_hub::connection::Subscriptions;
use gantry_hub::throttle;
use gantry_hub::{Hub, HubError};
use gantry_identity::{Identity, Timestamp};

use super::super::connection::{Done, Head};
use super::{Channel, DeviceDone, hub_of};
use crate::take_turn;
use crate::twin::{reported_patch, twin_failure};

/// Requests of one device that wait for earlier ones.
const QUEUE_LEN_MAX: usize = 100;

const REPORTED: &str = "/properties/reported";
const DESIRED_NOTIFICATIONS: &str = "/notifications/twin/properties/desired";

/// Requests of one device.
#[derive(Default)]
pub(super) struct TwinQueue {
    waiting: VecDeque<Request>,
    busy: bool,
}

struct Request {
    link: LinkId,
    correlation_id: Option<MessageId>,
    operation: Operation,
}

enum Operation {
    Get,
    Report(Bytes),
    /// Changes of desired properties are wanted, or no longer.
    Notify(bool),
    /// Why it cannot be carried out.
    Wrong(String),
}

/// A request was carried out.
pub(in super::super) struct Answered {
    identity: Identity,
    request: Request,
    result: Result<Success, HubError>,
}

enum Success {
    Twin(String),
    Reported(u64),
    Noted,
}

impl Head {
    pub(super) fn twin_request(&mut self, link: LinkId, identity: Identity, message: &Message) -> DeliveryState {
        let Some(device) = self.devices.connected.get_mut(&identity) else { return DeliveryState::Released };
        if device.twin.waiting.len() >= QUEUE_LEN_MAX {
            let text = "too many twin requests wait";
            return DeliveryState::Rejected(Some(ErrorCondition::new(amqp::RESOURCE_LIMIT_EXCEEDED, text)));
        }
        let properties = message.properties.as_ref();
        let correlation_id = properties.and_then(|properties| properties.correlation_id.clone());
        device.twin.waiting.push_back(Request { link, correlation_id, operation: operation(message) });
        self.next_twin_request(&identity);
        DeliveryState::Accepted
    }

    fn next_twin_request(&mut self, identity: &Identity) {
        let Some(device) = self.devices.connected.get_mut(identity) else { return };
        if device.twin.busy {
            return;
        }
        let Some(request) = device.twin.waiting.pop_front() else { return };
        device.twin.busy = true;
        if let Operation::Notify(wanted) = request.operation {
            let (held, desired) = (device.mailbox.subscriptions(), Subscriptions::DESIRED);
            device.mailbox.subscribe(if wanted { held.with(desired) } else { held.without(desired) });
        }
        let (hub, now, identity) = (hub_of(self), self.context.now, identity.clone());
        self.work.push(Box::pin(async move {
            let result = carry_out(&hub, now(), &identity, &request.operation).await;
            Ok(Done::Device(DeviceDone::Twin(Answered { identity, request, result })))
        }));
    }

    pub(super) fn twin_answered(&mut self, answered: Answered) {
        let Answered { identity, request, result } = answered;
        let Some(device) = self.devices.connected.get_mut(&identity) else { return };
        device.twin.busy = false;
        let (status, version, body) = match result {
            Ok(Success::Twin(twin)) => (200, None, twin),
            Ok(Success::Reported(version)) => (200, Some(version), String::new()),
            Ok(Success::Noted) => (200, None, String::new()),
            Err(error) => {
                let (status, body) = twin_failure(&error, &device.session, (self.context.now)());
                (status, None, body)
            }
        };
        let mut message_annotations = vec![annotation("status", Value::Int(status.into()))];
        if let Some(version) = version {
            message_annotations.push(annotation("version", Value::Long(i64::try_from(version).unwrap_or(i64::MAX))));
        }
        let answer = Message {
            message_annotations,
            properties: Some(Properties { correlation_id: request.correlation_id, ..Properties::default() }),
            body: Body::Data(vec![body.into()]),
            ..Message::default()
        };
        if let Some(link) = self.outgoing_link(&identity, Channel::Twin, Some(request.link)) {
            self.send_outgoing(link, &answer);
        }
        self.next_twin_request(&identity);
    }

    pub(super) fn desired_changed(&mut self, identity: &Identity, version: u64, patch: &serde_json::Value) {
        let Some(link) = self.outgoing_link(identity, Channel::Twin, None) else { return };
        // One client reads 32 bits.
        let version = i32::try_from(version).map_or(Value::Ulong(version), Value::Int);
        let change = Message {
            message_annotations: vec![
                annotation("resource", "/properties/desired".into()),
                annotation("version", version),
            ],
            body: Body::Data(vec![patch.to_string().into()]),
            ..Message::default()
        };
        self.send_outgoing(link, &change);
    }
}

fn annotation(name: &'static str, value: Value) -> (Value, Value) {
    (Value::Symbol(Symbol::from_static(name)), value)
}

fn operation(message: &Message) -> Operation {
    let annotation = |name| message.message_annotation(name).and_then(Value::as_str);
    let resource = annotation("resource").unwrap_or_default();
    let wrong = Operation::Wrong;
    match annotation("operation").unwrap_or_default().to_ascii_uppercase().as_str() {
        "GET" if resource.is_empty() => Operation::Get,
        "PATCH" if resource.eq_ignore_ascii_case(REPORTED) => match message.body.to_bytes() {
            Some(body) => Operation::Report(body),
            None => wrong("the body must be data".into()),
        },
        "PUT" if resource.eq_ignore_ascii_case(DESIRED_NOTIFICATIONS) => Operation::Notify(true),
        "DELETE" if resource.eq_ignore_ascii_case(DESIRED_NOTIFICATIONS) => Operation::Notify(false),
        other => {
            let shown: String = format!("{other} {resource}").chars().take(100).collect();
            wrong(format!("twin operation `{shown}` is unknown"))
        }
    }
}

async fn carry_out(hub: &Hub, now: Timestamp, identity: &Identity, operation: &Operation) -> Result<Success, HubError> {
    match operation {
        Operation::Get => take_turn(hub, throttle::Operation::TwinRead).await?,
        Operation::Report(_) => take_turn(hub, throttle::Operation::TwinWrite).await?,
        Operation::Notify(_) | Operation::Wrong(_) => {}
    }
    match operation {
        Operation::Get => Ok(Success::Twin(hub.device_twin(identity).await?.to_string())),
        Operation::Report(body) => Ok(Success::Reported(hub.report(now, identity, &reported_patch(body)?).await?)),
        Operation::Notify(_) => Ok(Success::Noted),
        Operation::Wrong(what) => Err(HubError::Invalid(what.clone())),
    }
}
