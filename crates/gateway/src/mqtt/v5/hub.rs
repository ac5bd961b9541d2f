//! MQTT 5 at the hub: every publish of QoS 1 has its own answer, and a connection that ends is told why.

use gantry_hub::c2d::Settle;
use gantry_hub::connection::{CloseReason, Delivery, Subscriptions};
use gantry_hub::event::{Telemetry, names};
use gantry_hub::ports::Enqueued;
use gantry_hub::{HubError, Session};
use gantry_mqtt::QoS;
use gantry_mqtt::v5::{
    Acknowledgement, Connack, Ending, Packet, Properties, Publish, Reason, Suback, Subscribe, Unsubscribe, decode,
};
use tracing::{debug, warn};

use super::failure::{Failure, Stop, status};
use super::login::{Login, Proof};
use super::message::{command, telemetry};
use super::outgoing::{Limits, Outgoing};
use super::topics::{self, Filters, Inbound};
use super::{KEEP_ALIVE_SECS_MAX, PACKET_BYTES_MAX, RECEIVE_MAXIMUM, TOPIC_ALIAS_MAXIMUM};
use crate::mqtt::connection::{self, Answers, Batch, Stream, Version, bounded};
use crate::mqtt::silence_max;
use crate::mqtt::topics::method_name_in_topic;
use crate::mqtt::wire::{End, Wire};
use crate::{Gateway, Peer, now};

pub(super) struct V5<'a> {
    gateway: &'a Gateway,
    peer: &'a Peer,
    login: Login,
    limits: Limits,
    filters: Filters,
    aliases: [Option<Inbound>; TOPIC_ALIAS_MAXIMUM as usize],
    /// QoS 1 publishes taken and not answered.
    unanswered: usize,
}

/// Serves an authenticated client until its connection ends.
pub(super) async fn run<S: Stream>(
    wire: &mut Wire<S>,
    gateway: &Gateway,
    peer: &Peer,
    session: Session,
    login: Login,
) -> Result<(), End> {
    let (hub, limits) = (&*gateway.hub, Limits::of(&login));
    let mailbox = match Box::pin(hub.connect(now(), &session, !login.clean_start)).await {
        Ok(mailbox) => mailbox,
        Err(error) => {
            let failure = Failure::new(Reason::SERVER_UNAVAILABLE, None, error.to_string());
            return super::refuse(&mut Outgoing::new(wire, limits), &failure).await;
        }
    };
    let kept = mailbox.subscriptions();
    debug!(device = %session.identity, version = 5, "device connected");
    let keep_alive = match login.keep_alive_secs {
        0 => KEEP_ALIVE_SECS_MAX,
        secs => secs.min(KEEP_ALIVE_SECS_MAX),
    };
    let version = V5 {
        gateway,
        peer,
        login,
        limits,
        filters: Filters::kept(kept),
        aliases: [None; TOPIC_ALIAS_MAXIMUM as usize],
        unanswered: 0,
    };
    let mut connection = connection::Connection::new(version, wire, hub, Box::new(session), mailbox);
    connection.accept(kept != Subscriptions::default());
    connection.run(silence_max(keep_alive)).await
}

impl Version for V5<'_> {
    type Stop = Stop;
    type Refusal = Failure;

    const HAS_FAULTS: bool = false;

    async fn begin<S: Stream>(connection: &mut connection::Connection<'_, S, Self>) -> Result<(), Stop> {
        if connection.version.login.session_expiry_secs == 0 {
            let kept = connection.mailbox.subscriptions();
            connection.forget_session(kept).await?;
        }
        Ok(())
    }

    async fn handle_packets<'p, S: Stream>(
        connection: &mut connection::Connection<'_, S, Self>,
        input: &'p [u8],
        at: &mut usize,
        batch: &mut Batch<'p, Self>,
    ) -> Result<(), Stop> {
        while let Some(decoded) = decode(&input[*at..], PACKET_BYTES_MAX).map_err(Failure::of_decoding)? {
            *at += decoded.len;
            match decoded.packet {
                Packet::Publish(publish) => {
                    let inbound = connection.check_publish(&publish)?;
                    if inbound == Inbound::Telemetry {
                        add(batch, &publish)?;
                    } else if publish.qos == QoS::AtLeastOnce {
                        batch.answers.publishes.push((publish.packet_id, Some(refusal(inbound, publish.topic))));
                    } else {
                        connection.submit(std::mem::take(batch))?;
                        connection.handle_request(inbound, &publish).await?;
                    }
                }
                packet => {
                    connection.submit(std::mem::take(batch))?;
                    connection.handle(packet).await?;
                }
            }
        }
        Ok(())
    }

    fn not_taken(batch: &mut Batch<'_, Self>, error: &HubError) -> Result<(), Stop> {
        let failure = Failure::from(error);
        if batch.answers.has_unacknowledged {
            return Err(failure.into());
        }
        for (_, refused) in &mut batch.answers.publishes {
            refused.get_or_insert_with(|| failure.clone());
        }
        Ok(())
    }

    fn answer<S: Stream>(
        connection: &mut connection::Connection<'_, S, Self>,
        answers: Answers<Self>,
        failed: Option<&HubError>,
    ) -> Result<(), Stop> {
        if let Some(error) = failed {
            warn!(device = %connection.session.identity, %error, "telemetry not stored");
        }
        let failed = failed.map(Failure::from);
        for (packet_id, refused) in answers.publishes {
            connection.version.unanswered = connection.version.unanswered.saturating_sub(1);
            connection.outgoing().puback(packet_id, refused.as_ref().or(failed.as_ref()));
        }
        match failed {
            // There is no other way to say that a QoS 0 publish failed.
            Some(failure) if answers.has_unacknowledged => Err(failure.into()),
            _ => Ok(()),
        }
    }

    fn deliver<S: Stream>(connection: &mut connection::Connection<'_, S, Self>, delivery: Delivery) {
        match delivery {
            Delivery::Method { request_id, name, payload } => {
                let topic = topics::method(&method_name_in_topic(&name));
                let correlation = request_id.to_be_bytes();
                let properties = Properties { correlation_data: Some(&correlation), ..Default::default() };
                if !connection.version.filters.hear_method(&topic)
                    || !connection.outgoing().publish(&topic, 0, properties, &payload)
                {
                    connection.mailbox.decline(request_id);
                }
            }
            // The preview of version 5 has no streams; a session kept by 3.1.1 may hear of them.
            Delivery::Stream { request_id, .. } => connection.mailbox.decline(request_id),
            Delivery::Desired { version, patch } => {
                let version = version.to_string();
                let properties = Properties { user: vec![("version", &version)], ..Default::default() };
                if !connection.outgoing().publish(topics::DESIRED, 0, properties, patch.to_string().as_bytes()) {
                    let device = &connection.session.identity;
                    debug!(%device, version, "desired properties are larger than the client takes");
                }
            }
            Delivery::C2dAvailable | Delivery::Close(_) => {}
        }
    }

    fn window(&self) -> usize {
        usize::from(self.login.receive_maximum)
    }

    fn acknowledges(&self) -> bool {
        self.filters.commands == QoS::AtLeastOnce
    }

    fn send_message<S: Stream>(
        connection: &mut connection::Connection<'_, S, Self>,
        packet_id: u16,
        message: &Enqueued,
    ) -> bool {
        command(message).is_some_and(|user| {
            let user = user.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
            let content_type = message.message.content_type.as_deref();
            let properties = Properties { content_type, user, ..Default::default() };
            connection.outgoing().publish(topics::COMMANDS, packet_id, properties, &message.message.body)
        })
    }

    fn will(&self) -> Option<Telemetry<'_>> {
        let decoded = decode(self.login.will.as_ref()?, usize::MAX).ok()??;
        let Packet::Publish(publish) = decoded.packet else { return None };
        let mut message = telemetry(&publish.properties, publish.payload).ok()?;
        message.properties.push((names::MESSAGE_TYPE.into(), Some("Will".into())));
        Some(message)
    }

    fn failed(_: &'static str, error: &HubError) -> Stop {
        Failure::from(error).into()
    }

    fn closed(reason: CloseReason) -> Stop {
        Failure::of_close(reason).into()
    }

    fn expired() -> Stop {
        Failure::new(Reason::NOT_AUTHORIZED, None, "the proof expired").into()
    }

    fn silent() -> Stop {
        Failure::new(Reason::KEEP_ALIVE_TIMEOUT, None, "keep-alive exceeded").into()
    }

    async fn end<S: Stream>(connection: &mut connection::Connection<'_, S, Self>, stop: Stop) -> End {
        match stop {
            Stop::End(end) => end,
            Stop::Failed(failure) => {
                connection.outgoing().disconnect(&failure);
                // Why the connection ends is what the log is told, even when the client did not read it.
                let _ = connection.wire.flush().await;
                End::Protocol(failure.log_text().to_owned())
            }
        }
    }
}

impl<S: Stream> connection::Connection<'_, S, V5<'_>> {
    pub(super) fn outgoing(&mut self) -> Outgoing<'_, S> {
        Outgoing::new(self.wire, self.version.limits)
    }

    fn accept(&mut self, session_present: bool) {
        let limited = |secs: u16| secs == 0 || secs > KEEP_ALIVE_SECS_MAX;
        let expires = !matches!(self.version.login.session_expiry_secs, 0 | u32::MAX);
        let properties = Properties {
            // Sessions are kept for as long as the device is registered.
            session_expiry_secs: expires.then_some(u32::MAX),
            receive_maximum: Some(RECEIVE_MAXIMUM),
            maximum_qos: Some(1),
            retain_available: Some(false),
            maximum_packet_size: u32::try_from(PACKET_BYTES_MAX).ok(),
            topic_alias_maximum: Some(TOPIC_ALIAS_MAXIMUM),
            subscription_identifiers_available: Some(false),
            shared_subscriptions_available: Some(false),
            server_keep_alive_secs: limited(self.version.login.keep_alive_secs).then_some(KEEP_ALIVE_SECS_MAX),
            authentication_method: Some(self.version.login.proof.method()),
            ..Default::default()
        };
        self.outgoing().send(&Packet::Connack(Connack { session_present, reason: Reason::SUCCESS, properties }));
    }

    /// Lets the session end with this connection, whatever an earlier one kept.
    async fn forget_session(&mut self, subscribed: Subscriptions) -> Result<(), Stop> {
        self.version.login.session_expiry_secs = 0;
        if subscribed != Subscriptions::default() {
            self.subscribe(Subscriptions::default(), true).await?;
            self.mailbox.subscribe(subscribed);
        }
        Ok(())
    }

    /// What a publish is, once its QoS, flags, alias and place in the window are allowed.
    fn check_publish(&mut self, publish: &Publish<'_>) -> Result<Inbound, Stop> {
        if publish.qos == QoS::ExactlyOnce {
            return Err(Failure::new(Reason::QOS_NOT_SUPPORTED, None, "QoS 2 publish").into());
        }
        if publish.retain {
            return Err(Failure::new(Reason::RETAIN_NOT_SUPPORTED, None, "publish with RETAIN").into());
        }
        if publish.qos == QoS::AtLeastOnce {
            self.version.unanswered += 1;
            if self.version.unanswered > usize::from(RECEIVE_MAXIMUM) {
                let text = format!("more than {RECEIVE_MAXIMUM} publishes are unacknowledged");
                return Err(Failure::new(Reason::RECEIVE_MAXIMUM_EXCEEDED, None, text).into());
            }
        }
        let Some(alias) = publish.properties.topic_alias else { return Ok(Inbound::of(publish.topic)) };
        let invalid = || Failure::new(Reason::TOPIC_ALIAS_INVALID, None, format!("topic alias {alias}"));
        let slot =
            usize::from(alias).checked_sub(1).and_then(|at| self.version.aliases.get_mut(at)).ok_or_else(invalid)?;
        if !publish.topic.is_empty() {
            *slot = Some(Inbound::of(publish.topic));
        }
        Ok(slot.ok_or_else(invalid)?)
    }

    async fn handle(&mut self, packet: Packet<'_>) -> Result<(), Stop> {
        match packet {
            Packet::Puback(ack) => self.handle_puback(&ack).await,
            Packet::Subscribe(subscribe) => self.handle_subscribe(&subscribe).await,
            Packet::Unsubscribe(unsubscribe) => self.handle_unsubscribe(&unsubscribe).await,
            Packet::Auth(auth) => self.reauthenticate(&auth).await,
            Packet::Disconnect(ending) => self.handle_disconnect(&ending).await,
            Packet::Pingreq => {
                self.outgoing().send(&Packet::Pingresp);
                Ok(())
            }
            Packet::Connect(_) => Err(Failure::protocol("second CONNECT").into()),
            _ => Err(Failure::protocol("packet a client may not send").into()),
        }
    }

    async fn handle_disconnect(&mut self, ending: &Ending<'_>) -> Result<(), Stop> {
        match ending.properties.session_expiry_secs {
            Some(secs) if secs != 0 && self.version.login.session_expiry_secs == 0 => {
                return Err(Failure::protocol("the session ends with the connection").into());
            }
            Some(0) => {
                let subscribed = self.mailbox.subscriptions();
                self.forget_session(subscribed).await?;
            }
            _ => {}
        }
        self.in_order = ending.reason == Reason::SUCCESS;
        Err(End::Closed.into())
    }

    /// The client settles a command: done, or with a status whether it comes again.
    async fn handle_puback(&mut self, ack: &Acknowledgement<'_>) -> Result<(), Stop> {
        let settle = match ack.properties.user_property("status") {
            _ if !ack.reason.is_failure() => Settle::Complete,
            Some(code) if !status::is_retryable(code) => Settle::Reject,
            _ => Settle::Abandon,
        };
        self.settled(ack.packet_id, settle).await
    }

    async fn handle_subscribe(&mut self, subscribe: &Subscribe<'_>) -> Result<(), Stop> {
        let with_identifier = subscribe.properties.subscription_identifier.is_some();
        let mut reasons = Vec::with_capacity(subscribe.filters.len());
        for wanted in &subscribe.filters {
            let reason = match with_identifier {
                true => Reason::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
                false => self.version.filters.add(wanted.filter, wanted.qos),
            };
            if reason.is_failure() {
                debug!(device = %self.session.identity, filter = bounded(wanted.filter), "filter refused");
            }
            reasons.push(reason.0);
        }
        self.subscribe_to_filters().await?;
        let (packet_id, properties) = (subscribe.packet_id, Properties::default());
        self.outgoing().send(&Packet::Suback(Suback { packet_id, properties, reasons: &reasons }));
        self.deliver_messages().await
    }

    async fn handle_unsubscribe(&mut self, unsubscribe: &Unsubscribe<'_>) -> Result<(), Stop> {
        let reasons: Vec<u8> = unsubscribe.filters.iter().map(|filter| self.version.filters.remove(filter).0).collect();
        self.subscribe_to_filters().await?;
        let (packet_id, properties) = (unsubscribe.packet_id, Properties::default());
        self.outgoing().send(&Packet::Unsuback(Suback { packet_id, properties, reasons: &reasons }));
        Ok(())
    }

    async fn subscribe_to_filters(&mut self) -> Result<(), Stop> {
        let keeps = self.version.login.session_expiry_secs != 0;
        self.subscribe(self.version.filters.subscriptions(), keeps).await
    }

    /// Takes a newer proof of the same kind (AUTH, reason 0x19).
    async fn reauthenticate(&mut self, auth: &Ending<'_>) -> Result<(), Stop> {
        if auth.reason != Reason::REAUTHENTICATE {
            return Err(Failure::protocol("AUTH of a client asks for re-authentication only").into());
        }
        if auth.properties.authentication_method != Some(self.version.login.proof.method()) {
            let text = "`Authentication Method` is not the one of CONNECT";
            return Err(Failure::new(Reason::BAD_AUTHENTICATION_METHOD, None, text).into());
        }
        let mut login = self.version.login.clone();
        if let Proof::Signed(signed) = &mut login.proof {
            let policy = signed.policy.take();
            *signed = super::login::Signed::read(&auth.properties)?;
            // The policy is the one of CONNECT, said again or not.
            if signed.policy.as_ref().is_some_and(|named| policy.as_ref() != Some(named)) {
                return Err(Failure::not_authorized().into());
            }
            signed.policy = policy;
        }
        let session = super::authenticate(self.version.gateway, self.version.peer, &login).await?;
        self.session.expires_at = session.expires_at;
        self.note_expiry();
        self.version.login = login;
        let method = self.version.login.proof.method();
        self.outgoing().auth(method);
        Ok(())
    }
}

/// Why a QoS 1 publish that is no message is refused.
fn refusal(inbound: Inbound, topic: &str) -> Failure {
    if inbound == Inbound::Unknown {
        let text = format!("Unsupported topic: `{}`", bounded(topic));
        return Failure::new(Reason::IMPLEMENTATION_SPECIFIC, Some(status::NOT_FOUND), text);
    }
    Failure::bad_request("requests and responses are published with QoS 0")
}

fn add<'p>(batch: &mut Batch<'p, V5<'_>>, publish: &Publish<'p>) -> Result<(), Failure> {
    let message = telemetry(&publish.properties, publish.payload);
    if publish.qos == QoS::AtMostOnce {
        batch.messages.push(message?);
        batch.answers.has_unacknowledged = true;
        return Ok(());
    }
    batch.answers.publishes.push((publish.packet_id, message.as_ref().err().cloned()));
    batch.messages.extend(message);
    Ok(())
}
