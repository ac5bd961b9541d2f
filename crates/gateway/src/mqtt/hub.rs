//! One device's MQTT connection to the hub.
//!
//! One task serves one connection. Publishes that arrive together go into the log together
//! and are acknowledged together once durable, in order. Reading stops while too many are
//! in flight or the log has no room: the device feels back-pressure, nothing is dropped.

use std::collections::VecDeque;
use std::time::Duration;

use gantry_hub::c2d::Settle;
use gantry_hub::connection::{Delivery, Mailbox, MethodResponse, Subscriptions};
use gantry_hub::event::{Telemetry, names};
use gantry_hub::faults::{Fault, FaultKind};
use gantry_hub::ports::Append;
use gantry_hub::service_queue::Locked;
use gantry_hub::throttle::Operation;
use gantry_hub::{Hub, HubError, LockToken, Session};
use gantry_mqtt::{ConnectReturnCode, Packet, Publish, QoS, Subscribe, decode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::inbox::Inbox;
use super::login::{HubLogin, OwnedWill};
use super::topics::{Inbound, Topics, method_name_in_topic, stream_offer};
use super::wire::{End, PACKET_BYTES_MAX, Wire};
use super::{bag, silence_max};
use crate::twin::{reported_patch, twin_failure};
use crate::{Gateway, acknowledged, now, take_turn};

/// Batches of publishes waiting for the log; Java keeps up to 65,000 messages in flight.
pub(super) const BATCHES_IN_FLIGHT_MAX: usize = 64;

/// Longest topic (MQTT 3.1.1, section 1.5.3).
const TOPIC_BYTES_MAX: usize = 65_535;

struct Pending {
    append: Append,
    packet_ids: Vec<u16>,
    /// What a message of it asks to break.
    fault: Option<Fault>,
}

struct Connection<'a, S> {
    wire: &'a mut Wire<S>,
    hub: &'a Hub,
    session: Session,
    topics: Topics,
    mailbox: Mailbox,
    persistent: bool,
    pending: VecDeque<Pending>,
    inbox: Inbox,
    heard_at: Instant,
    /// Whether the device said DISCONNECT, so that its will is void.
    in_order: bool,
    /// A fault the device asked for, and when it happens.
    fault: Option<(Fault, Instant)>,
}

/// Serves an authenticated device until its connection ends.
pub(super) async fn run<S: AsyncRead + AsyncWrite + Unpin + Send>(
    wire: &mut Wire<S>,
    gateway: &Gateway,
    session: Session,
    login: &HubLogin,
) -> Result<(), End> {
    let hub = &gateway.hub;
    let topics = Topics::of(&session.identity);
    if let Some(will) = &login.will
        && topics.telemetry_bag(&will.topic).is_none()
    {
        return super::refuse(wire, ConnectReturnCode::NotAuthorized, "will topic is not the telemetry topic").await;
    }
    let persistent = !login.clean_session;
    let mailbox = match Box::pin(hub.connect(now(), &session, persistent)).await {
        Ok(mailbox) => mailbox,
        Err(error) => return super::refuse(wire, ConnectReturnCode::ServerUnavailable, &error.to_string()).await,
    };
    let session_present = persistent && mailbox.subscriptions().contains(Subscriptions::C2D);
    wire.connack(session_present, ConnectReturnCode::Accepted);
    debug!(device = %session.identity, persistent, "device connected");
    let mut connection = Connection {
        wire,
        hub,
        session,
        topics,
        mailbox,
        persistent,
        pending: VecDeque::new(),
        inbox: Inbox::default(),
        heard_at: Instant::now(),
        in_order: false,
        fault: None,
    };
    let end = connection.serve(silence_max(login.keep_alive_secs)).await;
    if !connection.in_order
        && let Some(will) = &login.will
    {
        Box::pin(connection.publish_will(will)).await;
    }
    hub.disconnect(now(), connection.mailbox);
    end
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<'_, S> {
    async fn serve(&mut self, silence_max: Duration) -> Result<(), End> {
        Box::pin(self.deliver_c2d()).await?;
        let expires_in = self.session.expires_at.map_or(Duration::MAX, |at| at.since(now()));
        let expires_at = Instant::now().checked_add(expires_in);
        let timer = tokio::time::sleep_until(self.next_deadline(silence_max, expires_at));
        tokio::pin!(timer);
        loop {
            self.wire.flush().await?;
            if let Some((_, due)) = self.fault
                && due < timer.deadline()
            {
                timer.as_mut().reset(due);
            }
            let may_read = self.pending.len() < BATCHES_IN_FLIGHT_MAX;
            tokio::select! {
                filled = read(self.wire, self.hub), if may_read => {
                    filled?;
                    self.heard_at = Instant::now();
                    Box::pin(self.handle_input()).await?;
                }
                result = committed(&mut self.pending), if !self.pending.is_empty() => self.acknowledge(result)?,
                delivery = self.mailbox.next() => Box::pin(self.deliver(delivery)).await?,
                () = &mut timer => {
                    let at = Instant::now();
                    if self.fault.is_some_and(|(_, due)| due <= at) {
                        self.break_something()?;
                    }
                    if expires_at.is_some_and(|expiry| expiry <= at) {
                        return Err(End::Protocol("token expired".into()));
                    }
                    if self.heard_at + silence_max <= at {
                        return Err(End::Protocol("keep-alive exceeded".into()));
                    }
                    let next = self.next_deadline(silence_max, expires_at);
                    timer.as_mut().reset(next);
                }
            }
        }
    }

    fn next_deadline(&self, silence_max: Duration, expires_at: Option<Instant>) -> Instant {
        let silent = self.heard_at + silence_max;
        let ending = expires_at.map_or(silent, |expiry| expiry.min(silent));
        self.fault.map_or(ending, |(_, due)| due.min(ending))
    }

    /// Carries out the fault the device asked for.
    fn break_something(&mut self) -> Result<(), End> {
        let Some((fault, _)) = self.fault.take() else { return Ok(()) };
        debug!(device = %self.session.identity, ?fault, "fault asked for");
        if fault.kind.refuses_sending() {
            self.hub.refuse_sending(now(), &self.session.identity, fault);
        }
        match fault.kind {
            // MQTT has no word for any of them but the end of the connection.
            FaultKind::KillTcp | FaultKind::ShutDownMqtt => Err(End::Protocol("fault asked for".into())),
            kind if kind.refuses_sending() => Err(End::Protocol("fault asked for".into())),
            _ => Ok(()),
        }
    }

    /// Handles every whole packet that has arrived.
    async fn handle_input(&mut self) -> Result<(), End> {
        let input = self.wire.take_input();
        let mut at = 0;
        let mut batch = Batch::default();
        loop {
            let decoded = decode(&input[at..], PACKET_BYTES_MAX)
                .map_err(|error| End::Protocol(format!("malformed packet: {error}")))?;
            let Some(decoded) = decoded else { break };
            at += decoded.len;
            if let Packet::Publish(publish) = &decoded.packet
                && let Some(bag) = self.topics.telemetry_bag(publish.topic)
            {
                batch.add(publish, bag)?;
                continue;
            }
            self.submit(std::mem::take(&mut batch))?;
            self.handle(decoded.packet).await?;
        }
        self.submit(batch)?;
        self.wire.put_back(input, at);
        Ok(())
    }

    /// Hands gathered telemetry to the log.
    fn submit(&mut self, batch: Batch<'_>) -> Result<(), End> {
        if batch.messages.is_empty() {
            return Ok(());
        }
        metrics::counter!("gantry_telemetry_messages_total").increment(batch.messages.len() as u64);
        let taken = self.hub.telemetry(now(), &self.session, &batch.messages);
        let taken = taken.map_err(|error| End::Protocol(error.to_string()))?;
        let fault = self.hub.fault_in(&batch.messages);
        self.pending.push_back(Pending { append: acknowledged(taken), packet_ids: batch.packet_ids, fault });
        Ok(())
    }

    fn acknowledge(&mut self, (batch, result): Committed) -> Result<(), End> {
        if let Err(error) = result {
            // MQTT 3.1.1 has no negative acknowledgement; the device keeps the messages and comes back.
            warn!(device = %self.session.identity, %error, "telemetry not stored, closing");
            return Err(End::Protocol(format!("telemetry not stored: {error}")));
        }
        for packet_id in batch.packet_ids {
            gantry_mqtt::encode_puback(self.wire.output(), packet_id);
        }
        // Not before: a device that never heard of the message would send it, and with it the fault, for ever.
        if let Some(fault) = batch.fault {
            self.fault = Some((fault, Instant::now() + fault.delay));
        }
        Ok(())
    }

    async fn handle(&mut self, packet: Packet<'_>) -> Result<(), End> {
        match packet {
            Packet::Publish(publish) => self.handle_publish(&publish).await,
            Packet::Puback(packet_id) => self.handle_puback(packet_id).await,
            Packet::Subscribe(subscribe) => self.handle_subscribe(&subscribe).await,
            Packet::Unsubscribe(unsubscribe) => self.handle_unsubscribe(&unsubscribe).await,
            Packet::Pingreq => {
                gantry_mqtt::encode_pingresp(self.wire.output());
                Ok(())
            }
            Packet::Disconnect => {
                self.in_order = true;
                Err(End::Closed)
            }
            Packet::Connect(_) => Err(End::Protocol("second CONNECT".into())),
            _ => Err(End::Protocol("packet a client may not send".into())),
        }
    }

    async fn handle_publish(&mut self, publish: &Publish<'_>) -> Result<(), End> {
        if publish.qos == QoS::ExactlyOnce {
            return Err(End::Protocol("QoS 2 publish".into()));
        }
        let inbound = self
            .topics
            .inbound(publish.topic)
            .ok_or_else(|| End::Protocol(format!("publish to topic `{}`", bounded(publish.topic))))?;
        match inbound {
            // Telemetry went into the batch before it could come here.
            Inbound::Telemetry { .. } => {}
            Inbound::TwinGet { rid } => self.answer_twin_get(rid).await?,
            Inbound::TwinReport { rid } => self.answer_report(rid, publish.payload).await?,
            Inbound::Answer { status, rid } => {
                let payload = bytes::Bytes::copy_from_slice(publish.payload);
                self.mailbox.answer(rid, MethodResponse { status, payload });
            }
        }
        if publish.qos == QoS::AtLeastOnce {
            gantry_mqtt::encode_puback(self.wire.output(), publish.packet_id);
        }
        Ok(())
    }

    async fn answer_twin_get(&mut self, rid: &str) -> Result<(), End> {
        if let Err(error) = take_turn(self.hub, Operation::TwinRead).await {
            self.answer_twin_error(rid, &error);
            return Ok(());
        }
        match self.hub.device_twin(&self.session.identity).await {
            Ok(twin) => self.answer_twin(&format!("200/?$rid={rid}"), &twin.to_string()),
            Err(error) => self.answer_twin_error(rid, &error),
        }
        Ok(())
    }

    async fn answer_report(&mut self, rid: &str, payload: &[u8]) -> Result<(), End> {
        let patch = match reported_patch(payload) {
            Ok(patch) => patch,
            Err(error) => {
                self.answer_twin_error(rid, &error);
                return Ok(());
            }
        };
        if let Err(error) = take_turn(self.hub, Operation::TwinWrite).await {
            self.answer_twin_error(rid, &error);
            return Ok(());
        }
        match self.hub.report(now(), &self.session.identity, &patch).await {
            Ok(version) => self.answer_twin(&format!("204/?$rid={rid}&$version={version}"), ""),
            Err(error) => self.answer_twin_error(rid, &error),
        }
        Ok(())
    }

    fn answer_twin(&mut self, status_and_parameters: &str, payload: &str) {
        if self.mailbox.subscriptions().contains(Subscriptions::TWIN_RESPONSES) {
            // QoS 0 whatever was granted: Java is written on that assumption.
            self.wire.publish(&format!("$iothub/twin/res/{status_and_parameters}"), 0, payload.as_bytes());
        }
    }

    fn answer_twin_error(&mut self, rid: &str, error: &HubError) {
        let (status, body) = twin_failure(error, &self.session, now());
        self.answer_twin(&format!("{status}/?$rid={rid}"), &body);
    }

    async fn handle_puback(&mut self, packet_id: u16) -> Result<(), End> {
        let Some(token) = self.inbox.complete(packet_id) else { return Ok(()) };
        match self.hub.settle_c2d(now(), &self.session.identity, token, Settle::Complete).await {
            // Purged meanwhile.
            Ok(()) | Err(HubError::LockLost) => self.deliver_c2d().await,
            Err(error) => Err(End::Protocol(format!("message not completed: {error}"))),
        }
    }

    async fn handle_subscribe(&mut self, subscribe: &Subscribe<'_>) -> Result<(), End> {
        let mut wanted = self.mailbox.subscriptions();
        let mut codes = Vec::with_capacity(subscribe.filters.len());
        for (filter, qos) in &subscribe.filters {
            match self.topics.subscription(filter) {
                Some(subscription) => {
                    wanted = wanted.with(subscription);
                    codes.push((*qos).min(QoS::AtLeastOnce) as u8);
                }
                None => {
                    debug!(device = %self.session.identity, filter = bounded(filter), "filter refused");
                    codes.push(0x80);
                }
            }
        }
        self.subscribe(wanted).await?;
        gantry_mqtt::encode_suback(self.wire.output(), subscribe.packet_id, &codes);
        self.deliver_c2d().await
    }

    async fn handle_unsubscribe(&mut self, unsubscribe: &Subscribe<'_>) -> Result<(), End> {
        let mut wanted = self.mailbox.subscriptions();
        for subscription in unsubscribe.filters.iter().filter_map(|(filter, _)| self.topics.subscription(filter)) {
            wanted = wanted.without(subscription);
        }
        self.subscribe(wanted).await?;
        gantry_mqtt::encode_unsuback(self.wire.output(), unsubscribe.packet_id);
        Ok(())
    }

    async fn subscribe(&mut self, wanted: Subscriptions) -> Result<(), End> {
        let subscribed = self.hub.subscribe(&self.mailbox, wanted, self.persistent).await;
        subscribed.map_err(|error| End::Protocol(format!("subscription not kept: {error}")))
    }

    async fn deliver(&mut self, delivery: Delivery) -> Result<(), End> {
        match delivery {
            Delivery::Method { request_id, name, payload } => {
                let name = method_name_in_topic(&name);
                self.wire.publish(&format!("$iothub/methods/POST/{name}/?$rid={request_id:x}"), 0, &payload);
            }
            Delivery::Stream { request_id, offer } => self.wire.publish(&stream_offer(request_id, &offer), 0, &[]),
            Delivery::Desired { version, patch } => {
                let topic = format!("$iothub/twin/PATCH/properties/desired/?$version={version}");
                self.wire.publish(&topic, 0, patch.to_string().as_bytes());
            }
            Delivery::C2dAvailable => self.deliver_c2d().await?,
            Delivery::Close(reason) => return Err(End::Protocol(format!("closed by the hub: {reason:?}"))),
        }
        Ok(())
    }

    async fn deliver_c2d(&mut self) -> Result<(), End> {
        while self.inbox.has_room() && self.mailbox.subscriptions().contains(Subscriptions::C2D) {
            // MQTT has no word for giving a message back: it is held until PUBACK or the end of the connection.
            let next = self.hub.next_c2d(now(), self.mailbox.holder(), true).await;
            let next = next.map_err(|error| End::Protocol(format!("queue not readable: {error}")))?;
            let Some(Locked { token, message: enqueued, .. }) = next else { break };
            let topic = self.topics.c2d(&bag::write(self.session.identity.device.as_str(), &enqueued.message));
            if topic.len() > TOPIC_BYTES_MAX {
                self.reject_c2d(token).await?;
                continue;
            }
            let packet_id = self.inbox.take(token);
            self.wire.publish(&topic, packet_id, &enqueued.message.body);
        }
        Ok(())
    }

    /// Refuses a message whose properties, percent-encoded, are longer than a topic can be.
    async fn reject_c2d(&mut self, token: LockToken) -> Result<(), End> {
        match self.hub.settle_c2d(now(), &self.session.identity, token, Settle::Reject).await {
            Ok(()) | Err(HubError::LockLost) => Ok(()),
            Err(error) => Err(End::Protocol(format!("message not rejected: {error}"))),
        }
    }

    /// The will becomes an ordinary message when the connection ends without DISCONNECT.
    async fn publish_will(&mut self, will: &OwnedWill) {
        let mut message = Telemetry { body: &will.message, ..Telemetry::default() };
        let bag = self.topics.telemetry_bag(&will.topic).unwrap_or_default();
        if bag::read(bag, &mut message).is_err() {
            return;
        }
        message.properties.push((names::MESSAGE_TYPE.into(), Some("Will".into())));
        if will.retain {
            message.properties.push((names::MQTT_RETAIN.into(), Some("true".into())));
        }
        let stored = match self.hub.telemetry(now(), &self.session, &[message]) {
            Ok(taken) => taken.append.await.map_err(HubError::from),
            Err(error) => Err(error),
        };
        if let Err(error) = stored {
            warn!(device = %self.session.identity, %error, "will not stored");
        }
    }
}

/// Telemetry that arrived together.
#[derive(Default)]
struct Batch<'a> {
    messages: Vec<Telemetry<'a>>,
    packet_ids: Vec<u16>,
}

impl<'a> Batch<'a> {
    fn add(&mut self, publish: &Publish<'a>, bag: &'a str) -> Result<(), End> {
        if publish.qos == QoS::ExactlyOnce {
            return Err(End::Protocol("QoS 2 publish".into()));
        }
        let mut message = Telemetry { body: publish.payload, ..Telemetry::default() };
        bag::read(bag, &mut message).map_err(|error| End::Protocol(error.to_string()))?;
        if publish.retain {
            message.properties.push((names::MQTT_RETAIN.into(), Some("true".into())));
        }
        self.messages.push(message);
        if publish.qos == QoS::AtLeastOnce {
            self.packet_ids.push(publish.packet_id);
        }
        Ok(())
    }
}

pub(super) async fn read<S: AsyncRead + AsyncWrite + Unpin>(wire: &mut Wire<S>, hub: &Hub) -> Result<(), End> {
    hub.ready().await;
    wire.fill().await
}

/// A batch, and whether it is stored.
type Committed = (Pending, Result<(), HubError>);

/// The oldest batch, once durable. Cancelling loses nothing.
async fn committed(pending: &mut VecDeque<Pending>) -> Committed {
    let Some(front) = pending.front_mut() else { return std::future::pending().await };
    let result = (&mut front.append).await.map_err(HubError::from);
    match pending.pop_front() {
        Some(batch) => (batch, result),
        None => std::future::pending().await,
    }
}

pub(super) fn bounded(text: &str) -> String {
    text.chars().take(128).collect()
}
