//! MQTT 3.1.1 at the hub: topics with property bags, and no word for a refusal but the end of the connection.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use gantry_hub::c2d::Settle;
use gantry_hub::connection::{CloseReason, Delivery, Mailbox, MethodResponse, Subscriptions};
use gantry_hub::event::{Telemetry, names};
use gantry_hub::ports::Enqueued;
use gantry_hub::{Hub, HubError, Session};
use gantry_mqtt::{ConnectReturnCode, Packet, Publish, QoS, Subscribe, decode};
use tracing::{debug, warn};

use super::connection::{Answers, Batch, Connection, Stream, Version, bounded};
use super::login::{OwnedWill, Terms};
use super::topics::{Inbound, Topics, method_name_in_topic, stream_offer};
use super::wire::{End, PACKET_BYTES_MAX, Wire};
use super::{bag, silence_max};
use crate::now;
use crate::twin::twin_failure;

/// Longest topic (MQTT 3.1.1, section 1.5.3).
const TOPIC_BYTES_MAX: usize = 65_535;

pub(super) struct V4<'a> {
    topics: Topics,
    persistent: bool,
    will: Option<&'a OwnedWill>,
}

/// Serves an authenticated device until its connection ends.
pub(super) async fn run<S: Stream>(
    wire: &mut Wire<S>,
    hub: Arc<Hub>,
    session: Box<Session>,
    terms: Box<Terms>,
) -> Result<(), End> {
    let (version, mailbox) = Box::pin(begin(wire, &hub, &session, &terms)).await?;
    Connection::new(version, wire, &hub, session, mailbox).run(silence_max(terms.keep_alive_secs)).await
}

/// Opens the mailbox of a device and answers its CONNECT.
async fn begin<'a, S: Stream>(
    wire: &mut Wire<S>,
    hub: &Hub,
    session: &Session,
    terms: &'a Terms,
) -> Result<(V4<'a>, Mailbox), End> {
    let topics = Topics::of(&session.identity);
    if let Some(will) = &terms.will
        && topics.telemetry_bag(&will.topic).is_none()
    {
        let reason = "will topic is not the telemetry topic";
        return Err(super::refuse(wire, ConnectReturnCode::NotAuthorized, reason).await);
    }
    let persistent = !terms.clean_session;
    let mailbox = match hub.connect(now(), session, persistent).await {
        Ok(mailbox) => mailbox,
        Err(error) => {
            return Err(super::refuse(wire, ConnectReturnCode::ServerUnavailable, &error.to_string()).await);
        }
    };
    let session_present = persistent && mailbox.subscriptions().contains(Subscriptions::C2D);
    wire.connack(session_present, ConnectReturnCode::Accepted);
    debug!(device = %session.identity, persistent, "device connected");
    Ok((V4 { topics, persistent, will: terms.will.as_ref() }, mailbox))
}

impl Version for V4<'_> {
    type Stop = End;
    /// There is no negative acknowledgement.
    type Refusal = Infallible;

    const HAS_FAULTS: bool = true;

    async fn handle_packets<'p, S: Stream>(
        connection: &mut Connection<'_, S, Self>,
        input: &'p [u8],
        at: &mut usize,
        batch: &mut Batch<'p, Self>,
    ) -> Result<(), End> {
        loop {
            let decoded = decode(&input[*at..], PACKET_BYTES_MAX)
                .map_err(|error| End::Protocol(format!("malformed packet: {error}")))?;
            let Some(decoded) = decoded else { return Ok(()) };
            *at += decoded.len;
            if let Packet::Publish(publish) = &decoded.packet
                && let Some(bag) = connection.version.topics.telemetry_bag(publish.topic)
            {
                add(batch, publish, bag)?;
                continue;
            }
            connection.submit(std::mem::take(batch))?;
            connection.handle(decoded.packet).await?;
        }
    }

    fn not_taken(_: &mut Batch<'_, Self>, error: &HubError) -> Result<(), End> {
        Err(End::Protocol(error.to_string()))
    }

    fn answer<S: Stream>(
        connection: &mut Connection<'_, S, Self>,
        answers: Answers<Self>,
        failed: Option<&HubError>,
    ) -> Result<(), End> {
        if let Some(error) = failed {
            warn!(device = %connection.session.identity, %error, "telemetry not stored, closing");
            // The device keeps the messages and comes back.
            return Err(End::Protocol(format!("telemetry not stored: {error}")));
        }
        for (packet_id, _) in answers.publishes {
            gantry_mqtt::encode_puback(connection.wire.output(), packet_id);
        }
        Ok(())
    }

    fn deliver<S: Stream>(connection: &mut Connection<'_, S, Self>, delivery: Delivery) {
        let wire = &mut *connection.wire;
        match delivery {
            Delivery::Method { request_id, name, payload } => {
                let name = method_name_in_topic(&name);
                wire.publish(&format!("$iothub/methods/POST/{name}/?$rid={request_id:x}"), 0, &payload);
            }
            Delivery::Stream { request_id, offer } => wire.publish(&stream_offer(request_id, &offer), 0, &[]),
            Delivery::Desired { version, patch } => {
                let topic = format!("$iothub/twin/PATCH/properties/desired/?$version={version}");
                wire.publish(&topic, 0, patch.to_string().as_bytes());
            }
            Delivery::C2dAvailable | Delivery::Close(_) => {}
        }
    }

    fn send_message<S: Stream>(connection: &mut Connection<'_, S, Self>, packet_id: u16, message: &Enqueued) -> bool {
        let bag = bag::write(connection.session.identity.device.as_str(), &message.message);
        let topic = connection.version.topics.c2d(&bag);
        // Properties, percent-encoded, may be longer than a topic can be.
        let fits = topic.len() <= TOPIC_BYTES_MAX;
        if fits {
            connection.wire.publish(&topic, packet_id, &message.message.body);
        }
        fits
    }

    fn will(&self) -> Option<Telemetry<'_>> {
        let will = self.will?;
        let mut message = Telemetry { body: &will.message, ..Telemetry::default() };
        bag::read(self.topics.telemetry_bag(&will.topic).unwrap_or_default(), &mut message).ok()?;
        message.properties.push((names::MESSAGE_TYPE.into(), Some("Will".into())));
        if will.retain {
            message.properties.push((names::MQTT_RETAIN.into(), Some("true".into())));
        }
        Some(message)
    }

    fn failed(what: &'static str, error: &HubError) -> End {
        End::Protocol(format!("{what}: {error}"))
    }

    fn closed(reason: CloseReason) -> End {
        End::Protocol(format!("closed by the hub: {reason:?}"))
    }

    fn expired() -> End {
        End::Protocol("token expired".into())
    }

    fn silent() -> End {
        End::Protocol("keep-alive exceeded".into())
    }

    async fn end<S: Stream>(_: &mut Connection<'_, S, Self>, stop: End) -> End {
        stop
    }
}

impl<S: Stream> Connection<'_, S, V4<'_>> {
    async fn handle(&mut self, packet: Packet<'_>) -> Result<(), End> {
        match packet {
            Packet::Publish(publish) => self.handle_publish(&publish).await,
            Packet::Puback(packet_id) => self.settled(packet_id, Settle::Complete).await,
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
        let inbound = self.version.topics.inbound(publish.topic);
        let inbound = inbound.ok_or_else(|| End::Protocol(format!("publish to topic `{}`", bounded(publish.topic))))?;
        match inbound {
            // Telemetry went into the batch before it could come here.
            Inbound::Telemetry { .. } => {}
            Inbound::TwinGet { rid } => match self.read_twin().await {
                Ok(twin) => self.answer_twin(&format!("200/?$rid={rid}"), &twin.to_string()),
                Err(error) => self.answer_twin_error(rid, &error),
            },
            Inbound::TwinReport { rid } => match self.report(publish.payload, None).await {
                Ok(version) => self.answer_twin(&format!("204/?$rid={rid}&$version={version}"), ""),
                Err(error) => self.answer_twin_error(rid, &error),
            },
            Inbound::Answer { status, rid } => {
                let payload = Bytes::copy_from_slice(publish.payload);
                self.mailbox.answer(rid, MethodResponse { status, payload });
            }
        }
        if publish.qos == QoS::AtLeastOnce {
            gantry_mqtt::encode_puback(self.wire.output(), publish.packet_id);
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

    async fn handle_subscribe(&mut self, subscribe: &Subscribe<'_>) -> Result<(), End> {
        let mut wanted = self.mailbox.subscriptions();
        let mut codes = Vec::with_capacity(subscribe.filters.len());
        for (filter, qos) in &subscribe.filters {
            match self.version.topics.subscription(filter) {
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
        self.subscribe(wanted, self.version.persistent).await?;
        gantry_mqtt::encode_suback(self.wire.output(), subscribe.packet_id, &codes);
        self.deliver_messages().await
    }

    async fn handle_unsubscribe(&mut self, unsubscribe: &Subscribe<'_>) -> Result<(), End> {
        let mut wanted = self.mailbox.subscriptions();
        let filters = unsubscribe.filters.iter();
        for subscription in filters.filter_map(|(filter, _)| self.version.topics.subscription(filter)) {
            wanted = wanted.without(subscription);
        }
        self.subscribe(wanted, self.version.persistent).await?;
        gantry_mqtt::encode_unsuback(self.wire.output(), unsubscribe.packet_id);
        Ok(())
    }
}

fn add<'p>(batch: &mut Batch<'p, V4<'_>>, publish: &Publish<'p>, bag: &'p str) -> Result<(), End> {
    if publish.qos == QoS::ExactlyOnce {
        return Err(End::Protocol("QoS 2 publish".into()));
    }
    let mut message = Telemetry { body: publish.payload, ..Telemetry::default() };
    bag::read(bag, &mut message).map_err(|error| End::Protocol(error.to_string()))?;
    if publish.retain {
        message.properties.push((names::MQTT_RETAIN.into(), Some("true".into())));
    }
    batch.messages.push(message);
    if publish.qos == QoS::AtLeastOnce {
        batch.answers.publishes.push((publish.packet_id, None));
    }
    Ok(())
}
