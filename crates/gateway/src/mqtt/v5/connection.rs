//! One client's connection of version 5 to the hub.
//!
//! As in version 3.1.1 ([`hub`](super::super::hub)), one task serves one connection, and telemetry that arrives
//! together goes into the log together. Publishes are answered in the order they came, refused ones among them.

use std::collections::VecDeque;
use std::time::Duration;

use gantry_hub::HubError;
use gantry_hub::Session;
use gantry_hub::c2d::Settle;
use gantry_hub::connection::{Delivery, Mailbox, Subscriptions};
use gantry_hub::event::{Telemetry, names};
use gantry_hub::ports::Append;
use gantry_hub::service_queue::Locked;
use gantry_mqtt::QoS;
use gantry_mqtt::v5::{
    Acknowledgement, Connack, Ending, Packet, Properties, Publish, Reason, Suback, Subscribe, Unsubscribe, decode,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::failure::{Failure, Stop, status};
use super::login::{Login, Proof};
use super::message::{command, telemetry};
use super::outgoing::Outgoing;
use super::topics::{self, Filters, Inbound};
use super::{KEEP_ALIVE_SECS_MAX, PACKET_BYTES_MAX, RECEIVE_MAXIMUM, TOPIC_ALIAS_MAXIMUM};
use crate::mqtt::hub::{BATCHES_IN_FLIGHT_MAX, bounded, read};
use crate::mqtt::inbox::Inbox;
use crate::mqtt::silence_max;
use crate::mqtt::topics::method_name_in_topic;
use crate::mqtt::wire::End;
use crate::{Gateway, Peer, acknowledged, now};

/// Publishes that are answered together.
struct Pending {
    append: Append,
    /// Packet ids, and why one was refused.
    answers: Vec<(u16, Option<Failure>)>,
    has_unacknowledged: bool,
}

pub(super) struct Connection<'a, S> {
    pub(super) outgoing: Outgoing<'a, S>,
    pub(super) gateway: &'a Gateway,
    pub(super) peer: &'a Peer,
    pub(super) session: Session,
    pub(super) login: Login,
    pub(super) mailbox: Mailbox,
    filters: Filters,
    aliases: [Option<Inbound>; TOPIC_ALIAS_MAXIMUM as usize],
    pending: VecDeque<Pending>,
    /// QoS 1 publishes taken and not answered.
    unanswered: usize,
    inbox: Inbox,
    heard_at: Instant,
    /// Whether the client left in order, so that its will is void.
    in_order: bool,
}

/// Serves an authenticated client until its connection ends.
pub(super) async fn run<S: AsyncRead + AsyncWrite + Unpin + Send>(
    mut outgoing: Outgoing<'_, S>,
    gateway: &Gateway,
    peer: &Peer,
    session: Session,
    login: Login,
) -> Result<(), End> {
    let hub = &gateway.hub;
    let mailbox = match Box::pin(hub.connect(now(), &session, !login.clean_start)).await {
        Ok(mailbox) => mailbox,
        Err(error) => {
            let failure = Failure::new(Reason::SERVER_UNAVAILABLE, None, error.to_string());
            return super::refuse(&mut outgoing, &failure).await;
        }
    };
    let kept = mailbox.subscriptions();
    debug!(device = %session.identity, version = 5, "device connected");
    let mut connection = Connection {
        outgoing,
        gateway,
        peer,
        session,
        login,
        mailbox,
        filters: Filters::kept(kept),
        aliases: [None; TOPIC_ALIAS_MAXIMUM as usize],
        pending: VecDeque::new(),
        unanswered: 0,
        inbox: Inbox::default(),
        heard_at: Instant::now(),
        in_order: false,
    };
    connection.accept(kept != Subscriptions::default());
    let stop = connection.serve(kept).await;
    let end = connection.end(stop).await;
    if !connection.in_order {
        Box::pin(connection.publish_will()).await;
    }
    hub.disconnect(now(), connection.mailbox);
    end
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<'_, S> {
    fn accept(&mut self, session_present: bool) {
        let limited = |secs: u16| secs == 0 || secs > KEEP_ALIVE_SECS_MAX;
        let expires = !matches!(self.login.session_expiry_secs, 0 | u32::MAX);
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
            server_keep_alive_secs: limited(self.login.keep_alive_secs).then_some(KEEP_ALIVE_SECS_MAX),
            authentication_method: Some(self.login.proof.method()),
            ..Default::default()
        };
        self.outgoing.send(&Packet::Connack(Connack { session_present, reason: Reason::SUCCESS, properties }));
    }

    async fn serve(&mut self, kept: Subscriptions) -> Result<(), Stop> {
        if self.login.session_expiry_secs == 0 {
            self.forget_session(kept).await?;
        }
        Box::pin(self.deliver_commands()).await?;
        let keep_alive = match self.login.keep_alive_secs {
            0 => KEEP_ALIVE_SECS_MAX,
            secs => secs.min(KEEP_ALIVE_SECS_MAX),
        };
        let silence = silence_max(keep_alive);
        let timer = tokio::time::sleep_until(self.next_deadline(silence));
        tokio::pin!(timer);
        loop {
            self.outgoing.flush().await?;
            let may_read = self.pending.len() < BATCHES_IN_FLIGHT_MAX;
            tokio::select! {
                filled = read(self.outgoing.wire, &self.gateway.hub), if may_read => {
                    filled?;
                    self.heard_at = Instant::now();
                    Box::pin(self.handle_input()).await?;
                    // A new proof may end earlier than the old one.
                    let next = self.next_deadline(silence);
                    if next < timer.deadline() {
                        timer.as_mut().reset(next);
                    }
                }
                result = committed(&mut self.pending), if !self.pending.is_empty() => self.answer(result)?,
                delivery = self.mailbox.next() => Box::pin(self.deliver(delivery)).await?,
                () = &mut timer => {
                    if self.session.expires_at.is_some_and(|at| at <= now()) {
                        return Err(Failure::new(Reason::NOT_AUTHORIZED, None, "the proof expired").into());
                    }
                    if self.heard_at + silence <= Instant::now() {
                        return Err(Failure::new(Reason::KEEP_ALIVE_TIMEOUT, None, "keep-alive exceeded").into());
                    }
                    let next = self.next_deadline(silence);
                    timer.as_mut().reset(next);
                }
            }
        }
    }

    /// When to look whether the client fell silent or its proof expired.
    fn next_deadline(&self, silence: Duration) -> Instant {
        let silent = self.heard_at + silence;
        let Some(expires_at) = self.session.expires_at else { return silent };
        Instant::now().checked_add(expires_at.since(now())).map_or(silent, |expiry| expiry.min(silent))
    }

    /// Tells the client why its connection ends, if it is the server's doing.
    async fn end(&mut self, stop: Result<(), Stop>) -> Result<(), End> {
        match stop {
            Ok(()) => Ok(()),
            Err(Stop::End(end)) => Err(end),
            Err(Stop::Failed(failure)) => {
                self.outgoing.disconnect(&failure);
                // Why the connection ends is what the log is told, even when the client did not read it.
                let _ = self.outgoing.flush().await;
                Err(End::Protocol(failure.log_text().to_owned()))
            }
        }
    }

    /// Lets the session end with this connection, whatever an earlier one kept.
    async fn forget_session(&mut self, subscribed: Subscriptions) -> Result<(), Stop> {
        self.login.session_expiry_secs = 0;
        if subscribed != Subscriptions::default() {
            let forgotten = self.gateway.hub.subscribe(&self.mailbox, Subscriptions::default(), true).await;
            forgotten.map_err(|error| Failure::from(&error))?;
            self.mailbox.subscribe(subscribed);
        }
        Ok(())
    }

    /// Handles every whole packet that has arrived.
    async fn handle_input(&mut self) -> Result<(), Stop> {
        let input = self.outgoing.wire.take_input();
        let (mut at, mut batch) = (0, Batch::default());
        let handled = self.handle_packets(&input, &mut at, &mut batch).await;
        // What came before a packet that ends the connection still counts.
        let submitted = self.submit(batch);
        self.outgoing.wire.put_back(input, at);
        handled.and(submitted)
    }

    async fn handle_packets<'p>(&mut self, input: &'p [u8], at: &mut usize, batch: &mut Batch<'p>) -> Result<(), Stop> {
        while let Some(decoded) = decode(&input[*at..], PACKET_BYTES_MAX).map_err(Failure::of_decoding)? {
            *at += decoded.len;
            match decoded.packet {
                Packet::Publish(publish) => {
                    let inbound = self.check_publish(&publish)?;
                    if inbound == Inbound::Telemetry {
                        batch.add(&publish)?;
                    } else if publish.qos == QoS::AtLeastOnce {
                        batch.answers.push((publish.packet_id, Some(refusal(inbound, publish.topic))));
                    } else {
                        self.submit(std::mem::take(batch))?;
                        self.handle_request(inbound, &publish).await?;
                    }
                }
                packet => {
                    self.submit(std::mem::take(batch))?;
                    self.handle(packet).await?;
                }
            }
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
            self.unanswered += 1;
            if self.unanswered > usize::from(RECEIVE_MAXIMUM) {
                let text = format!("more than {RECEIVE_MAXIMUM} publishes are unacknowledged");
                return Err(Failure::new(Reason::RECEIVE_MAXIMUM_EXCEEDED, None, text).into());
            }
        }
        let Some(alias) = publish.properties.topic_alias else { return Ok(Inbound::of(publish.topic)) };
        let invalid = || Failure::new(Reason::TOPIC_ALIAS_INVALID, None, format!("topic alias {alias}"));
        let slot = usize::from(alias).checked_sub(1).and_then(|at| self.aliases.get_mut(at)).ok_or_else(invalid)?;
        if !publish.topic.is_empty() {
            *slot = Some(Inbound::of(publish.topic));
        }
        Ok(slot.ok_or_else(invalid)?)
    }

    /// Hands gathered telemetry to the log, and queues the answers behind it.
    fn submit(&mut self, mut batch: Batch<'_>) -> Result<(), Stop> {
        if batch.messages.is_empty() && batch.answers.is_empty() {
            return Ok(());
        }
        let mut append: Append = Box::pin(std::future::ready(Ok(())));
        if !batch.messages.is_empty() {
            metrics::counter!("gantry_telemetry_messages_total").increment(batch.messages.len() as u64);
            match self.gateway.hub.telemetry(now(), &self.session, &batch.messages) {
                Ok(taken) => append = acknowledged(taken),
                Err(error) => batch.fail(&Failure::from(&error))?,
            }
        }
        let Batch { answers, has_unacknowledged, .. } = batch;
        self.pending.push_back(Pending { append, answers, has_unacknowledged });
        Ok(())
    }

    fn answer(&mut self, result: (Option<Pending>, Result<(), HubError>)) -> Result<(), Stop> {
        let (Some(pending), result) = result else { return Ok(()) };
        let failed = result.err().map(|error| {
            warn!(device = %self.session.identity, %error, "telemetry not stored");
            Failure::from(&error)
        });
        for (packet_id, refused) in pending.answers {
            self.unanswered = self.unanswered.saturating_sub(1);
            self.outgoing.puback(packet_id, refused.as_ref().or(failed.as_ref()));
        }
        match failed {
            // There is no other way to say that a QoS 0 publish failed.
            Some(failure) if pending.has_unacknowledged => Err(failure.into()),
            _ => Ok(()),
        }
    }

    async fn handle(&mut self, packet: Packet<'_>) -> Result<(), Stop> {
        match packet {
            Packet::Puback(ack) => self.handle_puback(&ack).await,
            Packet::Subscribe(subscribe) => self.handle_subscribe(&subscribe).await,
            Packet::Unsubscribe(unsubscribe) => self.handle_unsubscribe(&unsubscribe).await,
            Packet::Auth(auth) => self.reauthenticate(&auth).await,
            Packet::Disconnect(ending) => self.handle_disconnect(&ending).await,
            Packet::Pingreq => {
                self.outgoing.send(&Packet::Pingresp);
                Ok(())
            }
            Packet::Connect(_) => Err(Failure::protocol("second CONNECT").into()),
            _ => Err(Failure::protocol("packet a client may not send").into()),
        }
    }

    async fn handle_disconnect(&mut self, ending: &Ending<'_>) -> Result<(), Stop> {
        match ending.properties.session_expiry_secs {
            Some(secs) if secs != 0 && self.login.session_expiry_secs == 0 => {
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
        let Some(token) = self.inbox.complete(ack.packet_id) else { return Ok(()) };
        let settle = match ack.properties.user_property("status") {
            _ if !ack.reason.is_failure() => Settle::Complete,
            Some(code) if !status::is_retryable(code) => Settle::Reject,
            _ => Settle::Abandon,
        };
        match self.gateway.hub.settle_c2d(now(), &self.session.identity, token, settle).await {
            // Purged meanwhile.
            Ok(()) | Err(HubError::LockLost) => self.deliver_commands().await,
            Err(error) => Err(Failure::from(&error).into()),
        }
    }

    async fn handle_subscribe(&mut self, subscribe: &Subscribe<'_>) -> Result<(), Stop> {
        let with_identifier = subscribe.properties.subscription_identifier.is_some();
        let mut reasons = Vec::with_capacity(subscribe.filters.len());
        for wanted in &subscribe.filters {
            let reason = match with_identifier {
                true => Reason::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
                false => self.filters.add(wanted.filter, wanted.qos),
            };
            if reason.is_failure() {
                debug!(device = %self.session.identity, filter = bounded(wanted.filter), "filter refused");
            }
            reasons.push(reason.0);
        }
        self.subscribe().await?;
        let (packet_id, properties) = (subscribe.packet_id, Properties::default());
        self.outgoing.send(&Packet::Suback(Suback { packet_id, properties, reasons: &reasons }));
        self.deliver_commands().await
    }

    async fn handle_unsubscribe(&mut self, unsubscribe: &Unsubscribe<'_>) -> Result<(), Stop> {
        let reasons: Vec<u8> = unsubscribe.filters.iter().map(|filter| self.filters.remove(filter).0).collect();
        self.subscribe().await?;
        let (packet_id, properties) = (unsubscribe.packet_id, Properties::default());
        self.outgoing.send(&Packet::Unsuback(Suback { packet_id, properties, reasons: &reasons }));
        Ok(())
    }

    async fn subscribe(&mut self) -> Result<(), Stop> {
        let keeps = self.login.session_expiry_secs != 0;
        let subscribed = self.gateway.hub.subscribe(&self.mailbox, self.filters.subscriptions(), keeps).await;
        Ok(subscribed.map_err(|error| Failure::from(&error))?)
    }

    async fn deliver(&mut self, delivery: Delivery) -> Result<(), Stop> {
        match delivery {
            Delivery::Method { request_id, name, payload } => {
                let topic = topics::method(&method_name_in_topic(&name));
                let correlation = request_id.to_be_bytes();
                let properties = Properties { correlation_data: Some(&correlation), ..Default::default() };
                if !self.filters.hear_method(&topic) || !self.outgoing.publish(&topic, 0, properties, &payload) {
                    self.mailbox.decline(request_id);
                }
                Ok(())
            }
            // The preview of version 5 has no streams; a session kept by 3.1.1 may hear of them.
            Delivery::Stream { request_id, .. } => {
                self.mailbox.decline(request_id);
                Ok(())
            }
            Delivery::Desired { version, patch } => {
                let version = version.to_string();
                let properties = Properties { user: vec![("version", &version)], ..Default::default() };
                if !self.outgoing.publish(topics::DESIRED, 0, properties, patch.to_string().as_bytes()) {
                    debug!(device = %self.session.identity, version, "desired properties are larger than the client takes");
                }
                Ok(())
            }
            Delivery::C2dAvailable => self.deliver_commands().await,
            Delivery::Close(reason) => Err(Failure::of_close(reason).into()),
        }
    }

    /// Sends commands while the client wants and takes them.
    async fn deliver_commands(&mut self) -> Result<(), Stop> {
        let window = usize::from(self.login.receive_maximum);
        while self.inbox.has_room_within(window) && self.mailbox.subscriptions().contains(Subscriptions::C2D) {
            let next = self.gateway.hub.next_c2d(now(), self.mailbox.holder(), true).await;
            let Some(locked) = next.map_err(|error| Failure::from(&error))? else { break };
            let Locked { token, message: enqueued, .. } = locked;
            let is_acknowledged = self.filters.commands == QoS::AtLeastOnce;
            let packet_id = if is_acknowledged { self.inbox.take(token) } else { 0 };
            let sent = command(&enqueued).is_some_and(|user| {
                let user = user.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
                let content_type = enqueued.message.content_type.as_deref();
                let properties = Properties { content_type, user, ..Default::default() };
                self.outgoing.publish(topics::COMMANDS, packet_id, properties, &enqueued.message.body)
            });
            if sent && is_acknowledged {
                continue;
            }
            // Sent without acknowledgement it is done; a command the client cannot take is not sent again.
            self.inbox.complete(packet_id);
            let settle = if sent { Settle::Complete } else { Settle::Reject };
            self.outgoing.flush().await?;
            match self.gateway.hub.settle_c2d(now(), &self.session.identity, token, settle).await {
                Ok(()) | Err(HubError::LockLost) => {}
                Err(error) => return Err(Failure::from(&error).into()),
            }
        }
        Ok(())
    }

    /// The will becomes an ordinary message when the connection ends without DISCONNECT.
    async fn publish_will(&mut self) {
        let Some(will) = &self.login.will else { return };
        let Ok(Some(decoded)) = decode(will, usize::MAX) else { return };
        let Packet::Publish(publish) = decoded.packet else { return };
        let Ok(mut message) = telemetry(&publish.properties, publish.payload) else { return };
        message.properties.push((names::MESSAGE_TYPE.into(), Some("Will".into())));
        let stored = match self.gateway.hub.telemetry(now(), &self.session, &[message]) {
            Ok(taken) => taken.append.await.map_err(HubError::from),
            Err(error) => Err(error),
        };
        if let Err(error) = stored {
            warn!(device = %self.session.identity, %error, "will not stored");
        }
    }

    /// Takes a newer proof of the same kind (AUTH, reason 0x19).
    async fn reauthenticate(&mut self, auth: &Ending<'_>) -> Result<(), Stop> {
        if auth.reason != Reason::REAUTHENTICATE {
            return Err(Failure::protocol("AUTH of a client asks for re-authentication only").into());
        }
        if auth.properties.authentication_method != Some(self.login.proof.method()) {
            let text = "`Authentication Method` is not the one of CONNECT";
            return Err(Failure::new(Reason::BAD_AUTHENTICATION_METHOD, None, text).into());
        }
        let mut login = self.login.clone();
        if let Proof::Signed(signed) = &mut login.proof {
            let policy = signed.policy.take();
            *signed = super::login::Signed::read(&auth.properties)?;
            // The policy is the one of CONNECT, said again or not.
            if signed.policy.as_ref().is_some_and(|named| policy.as_ref() != Some(named)) {
                return Err(Failure::not_authorized().into());
            }
            signed.policy = policy;
        }
        let session = super::authenticate(self.gateway, self.peer, &login).await?;
        self.session.expires_at = session.expires_at;
        self.login = login;
        self.outgoing.auth(self.login.proof.method());
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

/// Telemetry that arrived together, and answers to publishes.
#[derive(Default)]
struct Batch<'a> {
    messages: Vec<Telemetry<'a>>,
    answers: Vec<(u16, Option<Failure>)>,
    has_unacknowledged: bool,
}

impl<'a> Batch<'a> {
    fn add(&mut self, publish: &Publish<'a>) -> Result<(), Failure> {
        let message = telemetry(&publish.properties, publish.payload);
        if publish.qos == QoS::AtMostOnce {
            self.messages.push(message?);
            self.has_unacknowledged = true;
            return Ok(());
        }
        self.answers.push((publish.packet_id, message.as_ref().err().cloned()));
        self.messages.extend(message);
        Ok(())
    }

    /// None of the messages was taken.
    fn fail(&mut self, failure: &Failure) -> Result<(), Failure> {
        if self.has_unacknowledged {
            return Err(failure.clone());
        }
        for (_, refused) in &mut self.answers {
            refused.get_or_insert_with(|| failure.clone());
        }
        Ok(())
    }
}

/// The oldest batch, once durable. Cancelling loses nothing.
async fn committed(pending: &mut VecDeque<Pending>) -> (Option<Pending>, Result<(), HubError>) {
    let Some(front) = pending.front_mut() else { return std::future::pending().await };
    let result = (&mut front.append).await.map_err(HubError::from);
    (pending.pop_front(), result)
}
