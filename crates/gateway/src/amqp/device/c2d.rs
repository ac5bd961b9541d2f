//! Links over which a device takes cloud-to-device messages.
//!
//! A message is locked and sent under its lock token, 16 bytes, as delivery tag. What the device says about it settles
//! it in the hub first; then the device, if it waits for that, hears that it is settled.

use std::collections::HashMap;

use gantry_amqp::connection::{DeliveryId, LinkId, Outgoing};
use gantry_amqp::performative::Attach;
use gantry_amqp::{Body, DeliveryState, Header, Message, MessageId, Properties, SenderSettleMode, Symbol, Value};
use gantry_hub::HubError;
use gantry_hub::c2d::{Ack, Settle};
use gantry_hub::connection::Holder;
use gantry_hub::ports::Enqueued;
use gantry_hub::service_queue::Locked;
use gantry_hub::{LockToken, event::names};
use gantry_identity::Identity;
use tracing::debug;

use super::super::condition;
use super::super::connection::{Done, Head};
use super::{DeviceDone, DeviceRole, hub_of};

/// A link to a queue.
#[derive(Debug, Default)]
pub(in super::super) struct C2dLink {
    in_hand: HashMap<DeliveryId, LockToken>,
    /// The next message is being looked for.
    busy: bool,
    /// A message may have come since.
    again: bool,
    /// The device wants messages settled as they are sent.
    settled: bool,
    /// The device wants to know when there is nothing more.
    pub(super) draining: bool,
}

/// The next message of a queue, if there is one.
pub(in super::super) struct Fetched {
    link: LinkId,
    holder: Holder,
    result: Result<Option<Locked<Enqueued>>, HubError>,
}

/// A message was settled in the hub.
pub(in super::super) struct Settled {
    link: LinkId,
    delivery_id: DeliveryId,
    /// The device forgot it already.
    settled: bool,
    result: Result<(), HubError>,
}

impl C2dLink {
    pub(super) fn of(attach: &Attach) -> Self {
        Self { settled: attach.snd_settle_mode == SenderSettleMode::Settled, ..Self::default() }
    }

    pub(super) fn into_tokens(self) -> impl Iterator<Item = LockToken> {
        self.in_hand.into_values()
    }
}

impl Head {
    fn c2d_link(&mut self, id: LinkId) -> Option<&mut C2dLink> {
        match &mut self.device_link_mut(id)?.role {
            DeviceRole::C2d(c2d) => Some(c2d),
            _ => None,
        }
    }

    pub(super) fn pump_c2d_of(&mut self, identity: &Identity) {
        let Some(device) = self.devices.connected.get(identity) else { return };
        for id in device.links.clone() {
            self.pump_c2d(id);
        }
    }

    /// Looks for the next message when the device has credit for it.
    pub(super) fn pump_c2d(&mut self, id: LinkId) {
        let has_credit = self.amqp.sendable(id) > 0;
        let Some(c2d) = self.c2d_link(id) else { return };
        if c2d.busy {
            c2d.again = true;
            return;
        }
        if !has_credit {
            if std::mem::take(&mut c2d.draining) {
                self.amqp.drained(id);
            }
            return;
        }
        let Some(identity) = self.device_link(id).map(|link| link.identity.clone()) else { return };
        let Some(device) = self.devices.connected.get(&identity) else { return };
        let (hub, now, holder) = (hub_of(self), self.context.now, device.mailbox.holder().clone());
        if let Some(c2d) = self.c2d_link(id) {
            (c2d.busy, c2d.again) = (true, false);
        }
        self.work.push(Box::pin(async move {
            let result = hub.next_c2d(now(), &holder, false).await;
            Ok(Done::Device(DeviceDone::Fetched(Box::new(Fetched { link: id, holder, result }))))
        }));
    }

    pub(super) fn c2d_fetched(&mut self, fetched: Fetched) {
        let Fetched { link: id, holder, result } = fetched;
        let has_credit = self.amqp.sendable(id) > 0;
        let locked = result.unwrap_or_else(|error| {
            tracing::warn!(identity = %holder.identity(), %error, "queue not readable");
            None
        });
        let Some(c2d) = self.c2d_link(id) else {
            self.give_back(&holder, locked);
            return;
        };
        c2d.busy = false;
        let (again, draining, settled) = (c2d.again, c2d.draining, c2d.settled);
        match locked {
            Some(locked) if has_credit => {
                self.send_c2d(id, holder.identity(), locked, settled);
                self.pump_c2d(id);
            }
            Some(locked) => self.give_back(&holder, Some(locked)),
            None if again => self.pump_c2d(id),
            None if draining => {
                if let Some(c2d) = self.c2d_link(id) {
                    c2d.draining = false;
                }
                self.amqp.drained(id);
            }
            None => {}
        }
    }

    fn give_back(&self, holder: &Holder, locked: Option<Locked<Enqueued>>) {
        if let Some(locked) = locked {
            self.context.hub.release_c2d(holder.identity(), locked.token);
        }
    }

    fn send_c2d(&mut self, id: LinkId, identity: &Identity, locked: Locked<Enqueued>, settled: bool) {
        let message = write(identity, locked.token, &locked.message);
        let delivery = Outgoing { tag: locked.token.as_bytes(), settled, format: 0 };
        let sent = self.amqp.send_with(id, delivery, |out| message.encode(out));
        match sent {
            Ok(delivery_id) if settled => {
                self.settle_c2d(id, delivery_id, identity.clone(), locked.token, Settle::Complete, true);
            }
            Ok(delivery_id) => {
                if let Some(c2d) = self.c2d_link(id) {
                    c2d.in_hand.insert(delivery_id, locked.token);
                }
            }
            Err(_) => self.context.hub.release_c2d(identity, locked.token),
        }
    }

    /// A device said something about a message.
    pub(in super::super) fn c2d_disposed(
        &mut self,
        id: LinkId,
        delivery_id: DeliveryId,
        state: Option<&DeliveryState>,
        settled: bool,
    ) {
        let Some(identity) = self.device_link(id).map(|link| link.identity.clone()) else { return };
        let Some(c2d) = self.c2d_link(id) else { return };
        let settle = match outcome(state, settled) {
            Said::Settle(settle) => settle,
            Said::GiveBack => {
                if let Some(token) = c2d.in_hand.remove(&delivery_id) {
                    self.context.hub.release_c2d(&identity, token);
                }
                return;
            }
            Said::Nothing => return,
        };
        let Some(token) = c2d.in_hand.remove(&delivery_id) else { return };
        self.settle_c2d(id, delivery_id, identity, token, settle, settled);
    }

    fn settle_c2d(
        &mut self,
        link: LinkId,
        delivery_id: DeliveryId,
        identity: Identity,
        token: LockToken,
        settle: Settle,
        settled: bool,
    ) {
        let (hub, now) = (hub_of(self), self.context.now);
        self.work.push(Box::pin(async move {
            let result = hub.settle_c2d(now(), &identity, token, settle).await;
            Ok(Done::Device(DeviceDone::Settled(Settled { link, delivery_id, settled, result })))
        }));
    }

    pub(super) fn c2d_settled(&mut self, done: Settled) {
        let Settled { link, delivery_id, settled, result } = done;
        if let Err(error) = &result {
            debug!(peer = %self.peer.address, %error, "message not settled");
        }
        if !settled {
            self.amqp.settle_sent(link, delivery_id, settled_state(result));
        }
        self.pump_c2d(link);
    }
}

/// What a receiver said about a delivery.
pub(in super::super) enum Said {
    /// What becomes of it.
    Settle(Settle),
    /// It forgot the delivery without an outcome.
    GiveBack,
    /// Nothing final.
    Nothing,
}

/// Reads a disposition.
pub(in super::super) fn outcome(state: Option<&DeliveryState>, settled: bool) -> Said {
    match state {
        Some(DeliveryState::Accepted) => Said::Settle(Settle::Complete),
        Some(DeliveryState::Rejected(_)) => Said::Settle(Settle::Reject),
        Some(DeliveryState::Released | DeliveryState::Modified { .. }) => Said::Settle(Settle::Abandon),
        _ if settled => Said::GiveBack,
        _ => Said::Nothing,
    }
}

/// What a receiver that waits is told.
pub(in super::super) fn settled_state(result: Result<(), HubError>) -> DeliveryState {
    match result {
        Ok(()) => DeliveryState::Accepted,
        Err(error) => DeliveryState::Rejected(Some(condition::of_hub(&error))),
    }
}

/// A message as a device gets it.
fn write(identity: &Identity, token: LockToken, enqueued: &Enqueued) -> Message {
    let message = &enqueued.message;
    let annotation = |name: &'static str, value| (Value::Symbol(Symbol::from_static(name)), value);
    let text = |text: &Option<String>| text.clone().map(MessageId::String);
    // A symbol is ASCII; the sender may have written anything.
    let symbol = |text: &Option<String>| {
        text.as_deref().filter(|text| text.is_ascii()).map(|text| Symbol::from(text.to_owned()))
    };
    let mut application_properties: Vec<(Value, Value)> = message
        .properties
        .iter()
        .map(|(name, value)| (name.as_str().into(), value.as_deref().map_or(Value::Null, Value::from)))
        .collect();
    if message.ack != Ack::None {
        application_properties.push(("iothub-ack".into(), message.ack.as_str().into()));
    }
    Message {
        header: Some(Header { delivery_count: enqueued.delivery_count, ..Header::default() }),
        message_annotations: vec![
            annotation("x-opt-lock-token", token.to_string().into()),
            annotation("x-opt-sequence-number", Value::Ulong(enqueued.sequence_number)),
            annotation(names::ENQUEUED_TIME, Value::Timestamp(enqueued.enqueued_at.as_millis())),
            annotation("iothub-deliverycount", Value::Ubyte(u8::try_from(enqueued.delivery_count).unwrap_or(u8::MAX))),
        ],
        properties: Some(Properties {
            message_id: text(&message.message_id),
            user_id: message.user_id.clone().map(Into::into),
            to: Some(format!("/{}/messages/devicebound", identity.resource())),
            correlation_id: text(&message.correlation_id),
            content_type: symbol(&message.content_type),
            content_encoding: symbol(&message.content_encoding),
            absolute_expiry_time: message.expires_at.map(|at| at.as_millis()),
            ..Properties::default()
        }),
        application_properties,
        body: Body::Data(vec![message.body.clone()]),
        ..Message::default()
    }
}
