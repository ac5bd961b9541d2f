//! What each link is for, who may have it, and the messages that come over it.

use std::collections::VecDeque;

use gantry_amqp::connection::{Accept, AttachRequest, Delivery, DeliveryId, LinkId, SessionId};
use gantry_amqp::{DeliveryState, ErrorCondition, Message, ReceiverSettleMode, Role, Value, condition as amqp};
use gantry_hub::HubError;
use gantry_hub::c2d::C2dMessage;
use gantry_hub::service_queue::ServiceQueue;
use gantry_identity::{Identity, Rights, Timestamp};
use tracing::debug;

use super::address::Address;
use super::connection::{Done, Head};
use super::device::DeviceLink;
use super::grants::{Grants, Scope};
use super::partition::Partition;
use super::service_queue::ServiceLink;
use super::{c2d, condition};

/// Requests and messages a client may have under way on one link.
const CREDIT: u32 = 100;

/// Answers that may wait for a client to grant credit, on one link.
pub(super) const ANSWERS_MAX: usize = 100;

/// Largest message we announce, in bytes.
pub(super) const MESSAGE_SIZE_MAX: u64 = 256 * 1024;

/// Data actions of the hub's nodes, for tokens of a directory.
const C2D_SEND: &str = "Microsoft.Devices/IotHubs/cloudToDeviceMessages/send/action";
const C2D_FEEDBACK: &str = "Microsoft.Devices/IotHubs/cloudToDeviceMessages/feedback/action";
const FILE_NOTIFICATIONS: &str = "Microsoft.Devices/IotHubs/fileUpload/notifications/action";
/// What no role allows.
const NO_ROLE: &str = "";

/// Which node requests go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Cbs,
    Management,
}

/// A link and what it needs to stay.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) session: SessionId,
    /// What a token must be for; none for `$cbs`.
    needed: Option<Scope>,
    pub(super) kind: LinkKind,
}

#[derive(Debug)]
pub(super) enum LinkKind {
    /// The client sends requests.
    Requests(Node),
    /// The client takes answers.
    Answers(Answers),
    /// The client reads a partition.
    Partition(Box<Partition>),
    /// The client sends cloud-to-device messages.
    C2d(C2dQueue),
    /// The client takes feedback or file notifications.
    Service(ServiceLink),
    /// It is told where the stream is.
    Redirected,
    /// A link of a device.
    Device(Box<DeviceLink>),
    /// A device sends requests to the provisioning service.
    Registration,
    /// It takes the answers.
    RegistrationAnswers(VecDeque<Vec<u8>>),
}

/// Where answers of a node go.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) node: Node,
    /// Names a request may call this link by in `reply-to`.
    pub(super) names: [Option<String>; 3],
    pub(super) waiting: VecDeque<Vec<u8>>,
}

impl Answers {
    /// Keeps an answer until there is credit. `false` when too many wait.
    pub(super) fn push(&mut self, answer: Vec<u8>) -> bool {
        let room = self.waiting.len() < ANSWERS_MAX;
        if room {
            self.waiting.push_back(answer);
        }
        room
    }
}

/// Messages of one link, queued one after the other to keep their order. Bounded by the link's credit.
#[derive(Debug, Default)]
pub(super) struct C2dQueue {
    waiting: VecDeque<(DeliveryId, bool, Vec<Identity>, C2dMessage)>,
    busy: bool,
}

/// A cloud-to-device message was queued or refused.
#[derive(Debug)]
pub(super) struct Sent {
    link: LinkId,
    delivery_id: DeliveryId,
    settled: bool,
    result: Result<(), HubError>,
}

impl Link {
    /// A link of an identity that is in.
    pub(super) fn of_device(session: SessionId, link: DeviceLink) -> Self {
        Self { session, needed: None, kind: LinkKind::Device(Box::new(link)) }
    }

    /// A link of a device at the provisioning service.
    pub(super) fn of_registration(session: SessionId, kind: LinkKind) -> Self {
        Self { session, needed: None, kind }
    }

    /// Whether a token still covers it.
    pub(super) fn is_authorized(&self, grants: &Grants, now: Timestamp) -> bool {
        self.needed.as_ref().is_none_or(|scope| grants.require(now, scope, Rights::SERVICE_CONNECT).is_ok())
    }
}

fn management(entity: &str) -> Scope {
    Scope::Entity(format!("{entity}/$management"))
}

impl Head {
    pub(super) fn attach_requested(&mut self, request: AttachRequest) {
        let address = match request.attach.role {
            Role::Receiver => request.attach.source.as_ref().and_then(|source| source.address.clone()),
            Role::Sender => request.attach.target.as_ref().and_then(|target| target.address.clone()),
        };
        let address = address.unwrap_or_default();
        let parsed = Address::parse(&address);
        if let Address::Device(readings, node) = parsed {
            return self.attach_device(request, readings, node);
        }
        if let Address::Registration(scope, id) = &parsed {
            return self.attach_registration(request, scope, id);
        }
        if let Some(scope) = self.scope(&parsed)
            && let Err(refusal) = self.grants.require((self.context.now)(), &scope, Rights::SERVICE_CONNECT)
        {
            debug!(peer = %self.peer.address, %address, %refusal, "link refused");
            let claimed = self.grants.claimed().to_owned();
            self.refused(&claimed, "amqp attach", &refusal);
            self.amqp.refuse_attach(request, condition::unauthorized());
            return;
        }
        match (parsed, request.attach.role) {
            (Address::Cbs, role) => self.attach_requests(request, Node::Cbs, role),
            (Address::Management, role) => self.attach_requests(request, Node::Management, role),
            (Address::Partition { entity, group, partition }, Role::Receiver) => {
                self.attach_partition(request, &entity, &group, &partition);
            }
            (Address::HubEvents(rest), _) => {
                let (link, error) = (request.link, self.redirect(&rest));
                self.accept(request, LinkKind::Redirected);
                // Sent apart from the attach: Azure IoT Explorer waits for the link first and looks for the redirect
                // then, and would never see one that came with it.
                self.work.push(Box::pin(std::future::ready(Ok(Done::Redirected(link, error)))));
            }
            (Address::DeviceBound, Role::Sender) => self.accept(request, LinkKind::C2d(C2dQueue::default())),
            (Address::Feedback, Role::Receiver) => self.attach_queue(request, ServiceQueue::Feedback),
            (Address::FileNotifications, Role::Receiver) => self.attach_queue(request, ServiceQueue::FileNotifications),
            (Address::Queue(name, subscription), Role::Receiver) => {
                match self.context.hub.routed_queue(&name, subscription.as_deref()) {
                    Some(queue) => self.attach_queue(request, queue),
                    None => self.amqp.refuse_attach(request, condition::not_found(&address)),
                }
            }
            (Address::Unknown, _) => self.amqp.refuse_attach(request, condition::not_found(&address)),
            (_, _) => {
                let text = "this node has no link in that direction";
                self.amqp.refuse_attach(request, ErrorCondition::new(amqp::NOT_ALLOWED, text));
            }
        }
    }

    /// Whether a token covers the properties of an endpoint.
    pub(super) fn may_manage(&self, entity: &str) -> bool {
        self.grants.require((self.context.now)(), &management(entity), Rights::SERVICE_CONNECT).is_ok()
    }

    /// What a token must be for, for an address.
    fn scope(&self, address: &Address) -> Option<Scope> {
        match address {
            Address::Cbs => None,
            // The address does not say of which endpoint: of one that a token covers.
            Address::Management => {
                let streams = self.context.streams();
                let covered = streams.iter().map(|(entity, _)| entity).find(|entity| self.may_manage(entity));
                Some(management(covered.unwrap_or(&self.context.entity)))
            }
            Address::Partition { entity, group, partition } => {
                Some(Scope::Entity(format!("{entity}/ConsumerGroups/{group}/Partitions/{partition}")))
            }
            Address::Queue(name, None) => Some(Scope::Entity(name.clone())),
            Address::Queue(name, Some(subscription)) => {
                Some(Scope::Entity(format!("{name}/Subscriptions/{subscription}")))
            }
            Address::DeviceBound => Some(Scope::Hub(C2D_SEND)),
            Address::Feedback => Some(Scope::Hub(C2D_FEEDBACK)),
            Address::FileNotifications => Some(Scope::Hub(FILE_NOTIFICATIONS)),
            // Where the stream is: whoever has a token for it of a directory asks there.
            Address::HubEvents(_) => Some(Scope::Hub(NO_ROLE)),
            // Devices have tokens of their own.
            Address::Device(..) | Address::Registration(..) => None,
            // Nobody learns what exists without a token.
            Address::Unknown => Some(Scope::Hub(NO_ROLE)),
        }
    }

    fn attach_requests(&mut self, request: AttachRequest, node: Node, role: Role) {
        let kind = match role {
            Role::Sender => LinkKind::Requests(node),
            Role::Receiver => {
                let attach = &request.attach;
                let target = attach.target.as_ref().and_then(|target| target.address.clone());
                let source = attach.source.as_ref().and_then(|source| source.address.clone());
                let names = [target, Some(attach.name.clone()), source];
                LinkKind::Answers(Answers { node, names, waiting: VecDeque::new() })
            }
        };
        self.accept(request, kind);
    }

    fn attach_queue(&mut self, request: AttachRequest, queue: ServiceQueue) {
        self.accept(request, LinkKind::Service(ServiceLink::new(queue)));
    }

    pub(super) fn accept(&mut self, request: AttachRequest, kind: LinkKind) {
        let address = match request.attach.role {
            Role::Receiver => request.attach.source.as_ref().and_then(|source| source.address.as_deref()),
            Role::Sender => request.attach.target.as_ref().and_then(|target| target.address.as_deref()),
        };
        let needed = self.scope(&Address::parse(address.unwrap_or_default()));
        let (link, session) = (request.link, request.session);
        // Partitions and answers are sent settled, so there the receiver settles first whatever it asked for.
        let rcv_settle_mode = match &kind {
            LinkKind::Service(_) => request.attach.rcv_settle_mode,
            _ => ReceiverSettleMode::First,
        };
        let max_message_size = Some(MESSAGE_SIZE_MAX);
        let accept = Accept { credit: CREDIT, rcv_settle_mode, max_message_size, ..Accept::default() };
        self.links.insert(link, Link { session, needed, kind });
        self.amqp.accept_attach(request, accept);
    }

    /// The stream is at another address: where, in words and in facts.
    fn redirect(&self, rest: &str) -> ErrorCondition {
        let context = &self.context;
        let (host, port) = (&context.stream_host, context.stream_port);
        let address = format!("amqps://{host}:{port}/{}/{rest}", context.entity);
        let text = |name: &'static str, value: &str| (Value::Symbol(name.into()), Value::from(value));
        ErrorCondition {
            condition: amqp::LINK_REDIRECT,
            description: format!("The link is redirected to '{address}'."),
            info: vec![
                text("hostname", host),
                text("network-host", host),
                (Value::Symbol("port".into()), Value::Int(port.into())),
                text("address", &address),
            ],
        }
    }

    /// Forgets a link: its reader stops, its place among the receivers is free, what it held goes back.
    pub(super) fn remove(&mut self, id: LinkId) {
        match self.links.remove(&id).map(|link| link.kind) {
            Some(LinkKind::Device(link)) => self.device_link_removed(id, *link),
            Some(LinkKind::Service(link)) => self.service_link_removed(link),
            _ => {}
        }
    }

    /// The client of a link is told where to go.
    pub(super) fn redirected(&mut self, link: LinkId, error: ErrorCondition) {
        if self.links.remove(&link).is_some() {
            self.amqp.detach(link, error);
        }
    }

    /// Another receiver has the owner level now.
    pub(super) fn stolen(&mut self, link: LinkId) {
        if self.links.remove(&link).is_some() {
            let text = "New receiver with a higher or equal owner level (epoch) took this partition over.";
            self.amqp.detach(link, ErrorCondition::new(amqp::LINK_STOLEN, text));
        }
    }

    pub(super) fn credit(&mut self, link: LinkId, drain: bool) {
        let is_device = matches!(self.links.get(&link).map(|link| &link.kind), Some(LinkKind::Device(_)));
        if is_device && self.device_credit(link, drain) {
            return;
        }
        match self.links.get_mut(&link).map(|link| &mut link.kind) {
            Some(LinkKind::Answers(_)) => self.flush_answers(link),
            Some(LinkKind::RegistrationAnswers(_)) => self.flush_registration_answers(link),
            Some(LinkKind::Partition(partition)) => {
                partition.draining |= drain;
                self.pump(link);
                return;
            }
            Some(LinkKind::Service(_)) => return self.service_credit(link, drain),
            _ => {}
        }
        if drain {
            self.amqp.drained(link);
        }
    }

    pub(super) fn message(&mut self, delivery: &Delivery) {
        if let Some(LinkKind::Device(link)) = self.links.get(&delivery.link).map(|link| &link.kind)
            && link.is_telemetry()
        {
            let identity = link.identity.clone();
            return self.gather(identity, delivery);
        }
        let message = match Message::decode(&delivery.message) {
            Ok(message) => message,
            Err(error) => {
                let error = ErrorCondition::new(amqp::DECODE_ERROR, error.to_string());
                return self.settle(delivery, DeliveryState::Rejected(Some(error)));
            }
        };
        match self.links.get(&delivery.link).map(|link| &link.kind) {
            Some(LinkKind::Requests(node)) => {
                let node = *node;
                self.settle(delivery, DeliveryState::Accepted);
                self.request(delivery.link, node, &message);
            }
            Some(LinkKind::C2d(_)) => self.c2d(delivery, &message),
            Some(LinkKind::Registration) => self.registration_request(delivery, message),
            Some(LinkKind::Device(_)) => {
                let state = self.device_message(delivery.link, &message);
                self.settle(delivery, state);
            }
            _ => {}
        }
    }

    pub(super) fn settle(&mut self, delivery: &Delivery, state: DeliveryState) {
        if !delivery.settled {
            self.amqp.settle(delivery.link, delivery.delivery_id, state);
        }
    }

    fn c2d(&mut self, delivery: &Delivery, message: &Message) {
        match c2d::read(message) {
            Err(error) => self.settle(delivery, DeliveryState::Rejected(Some(error))),
            Ok((recipients, message)) => {
                if let Some(LinkKind::C2d(queue)) = self.links.get_mut(&delivery.link).map(|link| &mut link.kind) {
                    queue.waiting.push_back((delivery.delivery_id, delivery.settled, recipients, message));
                }
                self.send_next_c2d(delivery.link);
            }
        }
    }

    fn send_next_c2d(&mut self, link: LinkId) {
        let Some(LinkKind::C2d(queue)) = self.links.get_mut(&link).map(|link| &mut link.kind) else { return };
        if queue.busy {
            return;
        }
        let Some((delivery_id, settled, recipients, message)) = queue.waiting.pop_front() else { return };
        queue.busy = true;
        let context = self.context.clone();
        self.work.push(Box::pin(async move {
            let mut result = Ok(());
            for recipient in recipients {
                result = context.c2d.send((context.now)(), recipient, message.clone()).await;
                if !matches!(result, Err(HubError::NotFound(_))) {
                    break;
                }
            }
            Ok(Done::Sent(Sent { link, delivery_id, settled, result }))
        }));
    }

    pub(super) fn sent(&mut self, sent: &Sent) {
        let state = match &sent.result {
            Ok(()) => DeliveryState::Accepted,
            Err(error) => {
                debug!(peer = %self.peer.address, %error, "c2d message refused");
                DeliveryState::Rejected(Some(condition::of_hub(error)))
            }
        };
        if !sent.settled {
            self.amqp.settle(sent.link, sent.delivery_id, state);
        }
        if let Some(LinkKind::C2d(queue)) = self.links.get_mut(&sent.link).map(|link| &mut link.kind) {
            queue.busy = false;
        }
        self.send_next_c2d(sent.link);
    }
}
