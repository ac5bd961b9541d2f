//! Devices and modules on a connection: who they are, what they hold, when they must go.
//!
//! A connection carries any number of identities (clients pool hundreds). An identity comes in with its first link:
//! its token, or that of a policy, is checked then, and its mailbox opened, which ends an older connection of the same
//! identity. It goes with its last link, when its token expires, or when the hub says so.

mod c2d;
mod fault;
mod methods;
mod telemetry;
mod twin;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use gantry_amqp::connection::{Accept, AttachRequest, LinkId, Outgoing};
use gantry_amqp::message::lookup;
use gantry_amqp::sasl::Outcome;
use gantry_amqp::{Body, DeliveryState, ErrorCondition, Message, Role, Value, condition as amqp};
use gantry_hub::connection::{CloseReason, Deliveries, Delivery, Mailbox, Subscriptions};
use gantry_hub::faults::Fault;
use gantry_hub::throttle::Operation;
use gantry_hub::{Hub, HubError, Presented, Session};
use gantry_identity::{Identity, Refusal, Rights, Timestamp};
use tracing::debug;

use super::address::{DeviceNode, readings};
use super::connection::{Done, Head};
use super::links::{Link, LinkKind, MESSAGE_SIZE_MAX};
use super::management::Answer;
use super::ports::Grant;
use super::{condition, grants};
use crate::take_turn;

use c2d::C2dLink;
pub(super) use c2d::{Fetched, Said, outcome, settled_state};
pub(super) use telemetry::{Gathered, Stored};
use twin::TwinQueue;

/// Deliveries a device may have under way on one of its links.
const CREDIT: u32 = 1_000;

/// Tokens of identities of their own on one connection.
const TOKENS_MAX: usize = 4_096;

/// Messages that may wait for a device to grant credit, on one link.
const WAITING_MAX: usize = 100;

/// Longest model id taken (DTDL: 128 characters).
const MODEL_ID_LEN_MAX: usize = 256;

/// Link property that pairs a sender and a receiver.
const CORRELATION_ID: &str = "com.microsoft:channel-correlation-id";
/// Link property with the model a device implements.
const MODEL_ID: &str = "com.microsoft:model-id";

/// The identities of one connection.
#[derive(Default)]
pub(super) struct Devices {
    // Boxed: a map sets aside room for three at least.
    connected: HashMap<Identity, Box<Device>>,
    /// Links that wait for their identity to come in.
    connecting: HashMap<Identity, Vec<(AttachRequest, DeviceNode)>>,
    tokens: HashMap<Identity, OwnToken>,
    /// No identity and no token expires before this.
    next_expiry: Option<Timestamp>,
    pub(super) gathered: Gathered,
}

/// A token an identity signed itself; checked when it came, and again when it is used.
struct OwnToken {
    text: Box<str>,
    expires_at: Timestamp,
}

/// An identity that is in.
struct Device {
    session: Session,
    mailbox: Mailbox,
    /// It came in with the token of a policy.
    by_policy: bool,
    links: Vec<LinkId>,
    twin: TwinQueue,
}

/// A link of an identity.
#[derive(Debug)]
pub(super) struct DeviceLink {
    pub(super) identity: Identity,
    /// Pairs it with another link.
    correlation_id: Option<String>,
    role: DeviceRole,
}

#[derive(Debug)]
enum DeviceRole {
    /// The device sends telemetry.
    Telemetry,
    /// The device takes cloud-to-device messages.
    C2d(C2dLink),
    /// The device sends requests about its twin, or answers to methods.
    Incoming(Channel),
    /// The device takes answers about its twin, or calls of methods.
    Outgoing(Channel, VecDeque<Vec<u8>>),
    /// Inputs of a module: nothing is routed to them.
    Inputs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Channel {
    Twin,
    Methods,
}

/// Something about an identity that was waited for.
pub(super) enum DeviceDone {
    /// A token was checked, for `$cbs`.
    Token(TokenChecked),
    /// An identity came in, or was refused.
    Connected(Box<Connected>),
    /// Something for it came.
    Delivery(Identity, Deliveries, Delivery),
    /// Telemetry is durable, or is not.
    Stored(Stored),
    /// The next cloud-to-device message, or none.
    Fetched(Box<Fetched>),
    /// A cloud-to-device message was settled.
    Settled(c2d::Settled),
    /// A twin request was carried out.
    Twin(twin::Answered),
    /// A fault the device asked for is due.
    Fault(Identity, Fault),
    /// Nothing depends on it.
    Nothing,
}

/// The outcome of a check.
pub(super) struct TokenChecked {
    pub(super) identity: Identity,
    pub(super) token: String,
    pub(super) result: Result<Session, HubError>,
    /// Who asked: a request to `$cbs`, or SASL.
    pub(super) asked: Option<super::requests::Asked>,
}

/// The outcome of coming in.
pub(super) struct Connected {
    /// The reading its links wait under.
    asked: Identity,
    identity: Identity,
    by_policy: bool,
    result: Result<(Session, Mailbox), HubError>,
}

impl DeviceLink {
    pub(super) fn is_telemetry(&self) -> bool {
        matches!(self.role, DeviceRole::Telemetry)
    }
}

impl Devices {
    /// Whether no identity is in, and none could come in.
    pub(super) fn is_empty(&self) -> bool {
        self.connected.is_empty() && self.connecting.is_empty() && self.tokens.is_empty()
    }

    /// Gives back memory that passing phases needed.
    pub(super) fn shrink(&mut self) {
        self.connected.shrink_to_fit();
        self.connecting.shrink_to_fit();
        self.tokens.shrink_to_fit();
    }

    /// Whether telemetry may come.
    pub(super) fn is_connected(&self) -> bool {
        !self.connected.is_empty()
    }

    pub(super) fn next_expiry(&self) -> Option<Timestamp> {
        self.next_expiry
    }

    fn expects(&mut self, expires_at: Option<Timestamp>) {
        let earlier = [self.next_expiry, expires_at].into_iter().flatten().min();
        self.next_expiry = earlier;
    }

    fn session(&self, identity: &Identity) -> Option<&Session> {
        self.connected.get(identity).map(|device| &device.session)
    }
}

/// Whom a token names with its resource `host/devices/{id}[/modules/{id}]`: every reading, as some clients encode the
/// ids before they encode the resource.
pub(super) fn identities_of(resource: &str) -> Option<Vec<Identity>> {
    let mut segments = resource.split('/').skip(1);
    let (devices, device) = (segments.next()?, segments.next()?);
    if !devices.eq_ignore_ascii_case("devices") {
        return None;
    }
    let module = match (segments.next(), segments.next(), segments.next()) {
        (None, ..) => None,
        (Some("modules"), Some(module), None) => Some(module),
        _ => return None,
    };
    // The resource was decoded already, so that they are likeliest as they stand.
    let readings: Vec<_> = readings(device, module).into_iter().rev().collect();
    (!readings.is_empty()).then_some(readings)
}

/// Lets in whom a token or certificate proves, of all readings of a name.
async fn authenticate(
    hub: &Hub,
    now: fn() -> Timestamp,
    readings: &[Identity],
    presented: Presented<'_>,
) -> (Identity, Result<Session, HubError>) {
    let mut first_error = None;
    for identity in readings {
        match hub.authenticate_device(now(), identity, presented).await {
            Ok(session) => return (identity.clone(), Ok(session)),
            Err(error) => first_error = first_error.or(Some((identity.clone(), Err(error)))),
        }
    }
    first_error.expect("a name has a reading")
}

impl Head {
    fn token_checked(&mut self, checked: TokenChecked) {
        let TokenChecked { identity, token, result, asked } = checked;
        if let Err(error) = &result {
            debug!(peer = %self.peer.address, %identity, error = %chain(error), "token refused");
        }
        let Some(asked) = asked else {
            // SASL PLAIN: the token is the connection's.
            let outcome = match result {
                Ok(session) => {
                    self.grants.set_plain_device();
                    self.keep_own_token(&identity, &token, &session);
                    Outcome::Ok
                }
                Err(error) => self.plain_refused(&identity.to_string(), &error),
            };
            self.sasl_decided(outcome);
            return;
        };
        let answer = match result {
            Ok(session) if self.keep_own_token(&identity, &token, &session) => Answer::ok(Body::Empty),
            Ok(_) => Answer::failed(403, "amqp:resource-limit-exceeded", "too many tokens on one connection"),
            Err(error) => {
                if let HubError::Unauthorized(refusal) = &error {
                    self.refused(&identity.to_string(), "amqp cbs", refusal);
                }
                token_refused(&error)
            }
        };
        self.answer(asked, answer);
    }

    /// Checks a token an identity signed itself.
    pub(super) fn check_own_token(
        &mut self,
        readings: Vec<Identity>,
        token: String,
        asked: Option<super::requests::Asked>,
    ) {
        let (hub, now) = (Arc::clone(&self.context.hub), self.context.now);
        self.work.push(Box::pin(async move {
            let presented = Presented { token: Some(&token), certificate: None };
            let (identity, result) = authenticate(&hub, now, &readings, presented).await;
            Ok(Done::Device(DeviceDone::Token(TokenChecked { identity, token, result, asked })))
        }));
    }

    /// Keeps a token that was found good; an identity that is in stays so with it. `false` when there are too many.
    pub(super) fn keep_own_token(&mut self, identity: &Identity, token: &str, session: &Session) -> bool {
        let devices = &mut self.devices;
        if devices.tokens.len() >= TOKENS_MAX && !devices.tokens.contains_key(identity) {
            return false;
        }
        let expires_at = session.expires_at.unwrap_or(Timestamp::NEVER);
        devices.tokens.insert(identity.clone(), OwnToken { text: token.into(), expires_at });
        if let Some(device) = devices.connected.get_mut(identity) {
            device.session.expires_at = session.expires_at;
            device.by_policy = false;
        }
        devices.expects(session.expires_at);
        self.has_token();
        true
    }

    /// A policy's token was renewed: the identities that came in with it stay as long.
    pub(super) fn renew_by_policy(&mut self, grant: &Grant) {
        if !grant.rights.contains(Rights::DEVICE_CONNECT) {
            return;
        }
        for (identity, device) in &mut self.devices.connected {
            if device.by_policy && grants::covers(&grant.resource, &identity.resource()) {
                device.session.expires_at = Some(grant.expires_at);
            }
        }
        self.devices.expects(Some(grant.expires_at));
    }

    /// Somebody asks for a link of a device: of the one that is known here, if its name has two readings.
    pub(super) fn attach_device(&mut self, request: AttachRequest, mut readings: Vec<Identity>, node: DeviceNode) {
        let devices = &self.devices;
        let is_known =
            |identity: &&Identity| devices.connected.contains_key(*identity) || devices.tokens.contains_key(*identity);
        if let Some(known) = readings.iter().find(is_known).cloned() {
            readings = vec![known];
        }
        let Some(asked) = readings.first().cloned() else { return };
        if self.devices.connected.contains_key(&asked) {
            self.open_device_link(request, &asked, node);
            return;
        }
        let first = !self.devices.connecting.contains_key(&asked);
        let model_id = model_id(&request);
        self.devices.connecting.entry(asked.clone()).or_default().push((request, node));
        if first {
            self.connect_device(asked, readings, model_id);
        }
    }

    fn connect_device(&mut self, asked: Identity, readings: Vec<Identity>, model_id: Option<String>) {
        let (hub, now) = (Arc::clone(&self.context.hub), self.context.now);
        let own = self.devices.tokens.get(&asked).map(|token| token.text.to_string());
        let by_policy = own.is_none();
        let of_policy = || {
            let covering = |identity: &Identity| self.grants.device_token(now(), &identity.resource());
            readings.iter().find_map(covering).map(str::to_owned)
        };
        let token = own.or_else(of_policy);
        let by_policy = by_policy && token.is_some();
        let certificate = self.peer.certificate.clone();
        self.work.push(Box::pin(async move {
            let presented = Presented { token: token.as_deref(), certificate: certificate.as_ref() };
            let (identity, session) = authenticate(&hub, now, &readings, presented).await;
            let connect = async {
                let mut session = session?;
                take_turn(&hub, Operation::Connect).await?;
                session.model_id = model_id;
                // What a persistent MQTT session subscribed to is not touched.
                session.subscriptions = Subscriptions::default();
                let mailbox = hub.connect(now(), &session, false).await?;
                Ok((session, mailbox))
            };
            let result = connect.await;
            Ok(Done::Device(DeviceDone::Connected(Box::new(Connected { asked, identity, by_policy, result }))))
        }));
    }

    fn connected(&mut self, connected: Connected) {
        let Connected { asked, identity, by_policy, result } = connected;
        let waiting = self.devices.connecting.remove(&asked).unwrap_or_default();
        let (session, mut mailbox) = match result {
            Ok(pair) => pair,
            Err(error) => {
                debug!(peer = %self.peer.address, %identity, error = %chain(&error), "device refused");
                if let HubError::Unauthorized(refusal) = &error {
                    self.refused(&identity.to_string(), "amqp attach", refusal);
                }
                for (request, _) in waiting {
                    self.amqp.refuse_attach(request, condition::of_hub(&error));
                }
                return;
            }
        };
        debug!(peer = %self.peer.address, %identity, "device connected");
        self.has_token();
        self.devices.expects(session.expires_at);
        if let Some(deliveries) = mailbox.take_deliveries() {
            self.listen(identity.clone(), deliveries);
        }
        let device = Device { session, mailbox, by_policy, links: Vec::new(), twin: TwinQueue::default() };
        self.devices.connected.insert(identity.clone(), Box::new(device));
        for (request, node) in waiting {
            self.open_device_link(request, &identity, node);
        }
        self.leave_without_links(&identity);
    }

    fn listen(&mut self, identity: Identity, mut deliveries: Deliveries) {
        self.work.push(Box::pin(async move {
            let delivery = deliveries.next().await;
            Ok(Done::Device(DeviceDone::Delivery(identity, deliveries, delivery)))
        }));
    }

    fn open_device_link(&mut self, request: AttachRequest, identity: &Identity, node: DeviceNode) {
        if !self.amqp.has_link(request.link) {
            // The peer gave up while its identity was coming in.
            return;
        }
        let outgoing = |channel| DeviceRole::Outgoing(channel, VecDeque::new());
        let role = match (node, request.attach.role) {
            (DeviceNode::Events, Role::Sender) => DeviceRole::Telemetry,
            (DeviceNode::Events, Role::Receiver) if identity.module.is_some() => DeviceRole::Inputs,
            (DeviceNode::DeviceBound, Role::Receiver) => DeviceRole::C2d(C2dLink::of(&request.attach)),
            (DeviceNode::Methods, Role::Sender) => DeviceRole::Incoming(Channel::Methods),
            (DeviceNode::Methods, Role::Receiver) => outgoing(Channel::Methods),
            (DeviceNode::Twin, Role::Sender) => DeviceRole::Incoming(Channel::Twin),
            (DeviceNode::Twin, Role::Receiver) => outgoing(Channel::Twin),
            _ => {
                let text = "this node has no link in that direction";
                self.amqp.refuse_attach(request, ErrorCondition::new(amqp::NOT_ALLOWED, text));
                return;
            }
        };
        self.announce_model(&request, identity);
        let correlation_id = lookup(&request.attach.properties, CORRELATION_ID).and_then(Value::as_str);
        let kind = DeviceLink { identity: identity.clone(), correlation_id: correlation_id.map(str::to_owned), role };
        let accept = Accept {
            credit: CREDIT,
            rcv_settle_mode: request.attach.rcv_settle_mode,
            max_message_size: Some(MESSAGE_SIZE_MAX),
            ..Accept::default()
        };
        let id = request.link;
        self.links.insert(id, Link::of_device(request.session, kind));
        if let Some(device) = self.devices.connected.get_mut(identity) {
            device.links.push(id);
        }
        self.amqp.accept_attach(request, accept);
        self.subscribe(identity);
    }

    /// A later link may name the model when the first did not.
    fn announce_model(&mut self, request: &AttachRequest, identity: &Identity) {
        let Some(model_id) = model_id(request) else { return };
        let Some(device) = self.devices.connected.get_mut(identity) else { return };
        if device.session.model_id.as_ref() == Some(&model_id) {
            return;
        }
        device.session.model_id = Some(model_id.clone());
        let (hub, identity) = (Arc::clone(&self.context.hub), identity.clone());
        self.work.push(Box::pin(async move {
            if let Err(error) = hub.announce_model(&identity, &model_id).await {
                debug!(%identity, %error, "model id not noted");
            }
            Ok(Done::Device(DeviceDone::Nothing))
        }));
    }

    /// Hears what the links of an identity are for.
    fn subscribe(&mut self, identity: &Identity) {
        let Some(device) = self.devices.connected.get(identity) else { return };
        let mut wanted = device.mailbox.subscriptions();
        let links = device.links.iter().filter_map(|id| match &self.links.get(id)?.kind {
            LinkKind::Device(link) => Some(&link.role),
            _ => None,
        });
        let (mut c2d, mut calls, mut answers, mut twin) = (false, false, false, false);
        for role in links {
            c2d |= matches!(role, DeviceRole::C2d(_));
            calls |= matches!(role, DeviceRole::Outgoing(Channel::Methods, _));
            answers |= matches!(role, DeviceRole::Incoming(Channel::Methods));
            twin |= matches!(role, DeviceRole::Outgoing(Channel::Twin, _));
        }
        for (subscription, is_wanted) in [(Subscriptions::C2D, c2d), (Subscriptions::METHODS, calls && answers)] {
            wanted = if is_wanted { wanted.with(subscription) } else { wanted.without(subscription) };
        }
        if !twin {
            // Changes of desired properties were asked for over the link that is gone.
            wanted = wanted.without(Subscriptions::DESIRED);
        }
        if wanted != device.mailbox.subscriptions() {
            device.mailbox.subscribe(wanted);
        }
    }

    /// Something waited for about a device came about.
    pub(super) fn device_done(&mut self, done: DeviceDone) {
        match done {
            DeviceDone::Token(checked) => self.token_checked(checked),
            DeviceDone::Connected(connected) => self.connected(*connected),
            DeviceDone::Delivery(identity, deliveries, delivery) => self.delivery(identity, deliveries, delivery),
            DeviceDone::Stored(stored) => self.stored(stored),
            DeviceDone::Fetched(fetched) => self.c2d_fetched(*fetched),
            DeviceDone::Settled(settled) => self.c2d_settled(settled),
            DeviceDone::Twin(answered) => self.twin_answered(answered),
            DeviceDone::Fault(identity, fault) => self.break_something(&identity, fault),
            DeviceDone::Nothing => {}
        }
    }

    fn delivery(&mut self, identity: Identity, deliveries: Deliveries, delivery: Delivery) {
        if !self.devices.connected.contains_key(&identity) {
            return;
        }
        match delivery {
            Delivery::Close(reason) => {
                self.close_device(&identity, &closed_by(reason));
                return;
            }
            Delivery::Method { request_id, name, payload } => self.call_method(&identity, request_id, &name, payload),
            Delivery::Desired { version, patch } => self.desired_changed(&identity, version, &patch),
            Delivery::C2dAvailable => self.pump_c2d_of(&identity),
            // Over AMQP no device asks for offers of streams.
            Delivery::Stream { .. } => {}
        }
        self.listen(identity, deliveries);
    }

    /// A message came over a link of a device that is no telemetry link.
    pub(super) fn device_message(&mut self, id: LinkId, message: &Message) -> DeliveryState {
        match self.device_link(id).map(|link| (link.identity.clone(), &link.role)) {
            Some((identity, DeviceRole::Incoming(Channel::Twin))) => self.twin_request(id, identity, message),
            Some((identity, DeviceRole::Incoming(Channel::Methods))) => self.method_answer(&identity, message),
            _ => DeliveryState::Released,
        }
    }

    fn device_link(&self, id: LinkId) -> Option<&DeviceLink> {
        match &self.links.get(&id)?.kind {
            LinkKind::Device(link) => Some(link),
            _ => None,
        }
    }

    fn device_link_mut(&mut self, id: LinkId) -> Option<&mut DeviceLink> {
        match &mut self.links.get_mut(&id)?.kind {
            LinkKind::Device(link) => Some(link),
            _ => None,
        }
    }

    /// The link that takes what belongs to a channel of an identity: the one paired with `with`, or else any.
    fn outgoing_link(&self, identity: &Identity, channel: Channel, with: Option<LinkId>) -> Option<LinkId> {
        let with = with.and_then(|id| Some((self.links.get(&id)?.session, self.device_link(id)?)));
        let rank = |id: &LinkId| {
            let link = self.device_link(*id)?;
            if !matches!(&link.role, DeviceRole::Outgoing(known, _) if *known == channel) {
                return None;
            }
            let session = self.links.get(id)?.session;
            let strangers = with
                .as_ref()
                .is_some_and(|(paired, other)| *paired != session || other.correlation_id != link.correlation_id);
            Some((strangers, *id))
        };
        let links = &self.devices.connected.get(identity)?.links;
        links.iter().filter_map(rank).min().map(|(_, id)| id)
    }

    /// Sends a message over such a link, once it has credit.
    fn send_outgoing(&mut self, id: LinkId, message: &Message) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let Some(DeviceRole::Outgoing(_, waiting)) = self.device_link_mut(id).map(|link| &mut link.role) else {
            return;
        };
        if waiting.len() >= WAITING_MAX {
            let text = "too many messages wait for credit";
            self.remove(id);
            self.amqp.detach(id, ErrorCondition::new(amqp::RESOURCE_LIMIT_EXCEEDED, text));
            return;
        }
        waiting.push_back(bytes);
        self.flush_outgoing(id);
    }

    fn flush_outgoing(&mut self, id: LinkId) {
        while self.amqp.sendable(id) > 0 {
            let Some(DeviceRole::Outgoing(_, waiting)) = self.device_link_mut(id).map(|link| &mut link.role) else {
                return;
            };
            let Some(message) = waiting.pop_front() else { return };
            let delivery = Outgoing { tag: b"message", settled: true, format: 0 };
            if self.amqp.send(id, delivery, &message).is_err() {
                return;
            }
        }
    }

    /// A device granted credit. Whether the answer to `drain` is left to us.
    pub(super) fn device_credit(&mut self, id: LinkId, drain: bool) -> bool {
        match self.device_link_mut(id).map(|link| &mut link.role) {
            Some(DeviceRole::Outgoing(..)) => self.flush_outgoing(id),
            Some(DeviceRole::C2d(c2d)) => {
                c2d.draining |= drain;
                self.pump_c2d(id);
                return true;
            }
            _ => {}
        }
        false
    }

    /// A link of an identity is gone.
    pub(super) fn device_link_removed(&mut self, id: LinkId, link: DeviceLink) {
        let identity = link.identity;
        if let DeviceRole::C2d(c2d) = link.role {
            for token in c2d.into_tokens() {
                self.context.hub.release_c2d(&identity, token);
            }
        }
        if let Some(device) = self.devices.connected.get_mut(&identity) {
            device.links.retain(|other| *other != id);
        }
        self.subscribe(&identity);
        self.leave_without_links(&identity);
    }

    fn leave_without_links(&mut self, identity: &Identity) {
        if self.devices.connected.get(identity).is_some_and(|device| device.links.is_empty()) {
            self.disconnect_device(identity);
        }
    }

    fn disconnect_device(&mut self, identity: &Identity) {
        if let Some(device) = self.devices.connected.remove(identity) {
            debug!(peer = %self.peer.address, %identity, "device disconnected");
            self.context.hub.disconnect((self.context.now)(), device.mailbox);
        }
    }

    /// Ends every link of an identity.
    fn close_device(&mut self, identity: &Identity, error: &ErrorCondition) {
        let Some(device) = self.devices.connected.get(identity) else { return };
        debug!(peer = %self.peer.address, %identity, reason = %error.description, "device must go");
        for id in device.links.clone() {
            self.remove(id);
            self.amqp.detach(id, error.clone());
        }
        self.disconnect_device(identity);
    }

    /// Ends what has expired.
    pub(super) fn expire_devices(&mut self, now: Timestamp) {
        if self.devices.next_expiry.is_none_or(|at| at > now) {
            return;
        }
        let is_over = |session: &Session| session.expires_at.is_some_and(|at| at <= now);
        let expired = self.devices.connected.iter().filter(|(_, device)| is_over(&device.session));
        let expired: Vec<Identity> = expired.map(|(identity, _)| identity.clone()).collect();
        let had_any = !self.devices.is_empty();
        for identity in &expired {
            self.refused(&identity.to_string(), "amqp", &Refusal::Expired(now));
            self.close_device(identity, &condition::unauthorized());
        }
        let devices = &mut self.devices;
        devices.tokens.retain(|_, token| token.expires_at > now);
        let sessions = devices.connected.values().filter_map(|device| device.session.expires_at);
        devices.next_expiry = sessions.chain(devices.tokens.values().map(|token| token.expires_at)).min();
        if had_any && self.devices.is_empty() && (self.grants.is_plain() || self.grants.is_empty()) {
            let text = "the token of this connection expired";
            self.close(amqp::UNAUTHORIZED_ACCESS, text);
        }
    }

    /// The connection is over: everybody goes.
    pub(super) fn disconnect_devices(&mut self) {
        for (_, device) in std::mem::take(&mut self.devices.connected) {
            self.context.hub.disconnect((self.context.now)(), device.mailbox);
        }
        self.devices = Devices::default();
    }
}

fn token_refused(error: &HubError) -> Answer {
    match error {
        HubError::Unauthorized(Refusal::UnknownIdentity(_)) => {
            Answer::failed(404, "amqp:not-found", "The device or module is not registered.")
        }
        HubError::Unauthorized(_) => Answer::failed(401, "amqp:unauthorized-access", "Unauthorized access."),
        _ => Answer::failed(500, "amqp:internal-error", "internal error"),
    }
}

fn model_id(request: &AttachRequest) -> Option<String> {
    let text = lookup(&request.attach.properties, MODEL_ID)?.as_str()?;
    (!text.is_empty() && text.len() <= MODEL_ID_LEN_MAX).then(|| text.to_owned())
}

fn closed_by(reason: CloseReason) -> ErrorCondition {
    match reason {
        // 409002 LinkCreationConflict.
        CloseReason::TakenOver => {
            ErrorCondition::new(amqp::LINK_STOLEN, "a newer connection of the same identity took over")
        }
        CloseReason::CredentialsChanged => condition::unauthorized(),
        CloseReason::MailboxFull => {
            ErrorCondition::new(amqp::RESOURCE_LIMIT_EXCEEDED, "the device does not read what is for it")
        }
        CloseReason::ShuttingDown => ErrorCondition::new(amqp::DETACH_FORCED, "the service is stopping"),
    }
}

fn chain(error: &HubError) -> String {
    match error {
        HubError::Unauthorized(refusal) => format!("{error}: {refusal}"),
        other => other.to_string(),
    }
}

/// The hub, for futures that outlive a call.
fn hub_of(head: &Head) -> Arc<Hub> {
    Arc::clone(&head.context.hub)
}
