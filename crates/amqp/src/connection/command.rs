//! What the owner of a connection can do with its links.
//!
//! Commands on a link that ended meanwhile do nothing: its `Detached` event is under way.

use super::event::{AttachRequest, DeliveryId, Event, LinkId};
use super::link::{Link, LinkState};
use super::session::{Session, SessionId};
use super::{Connection, Phase};
use crate::frame::{self, Kind};
use crate::performative::{
    Attach, DeliveryState, Detach, Disposition, ErrorCondition, Performative, ReceiverSettleMode, Role,
    SenderSettleMode, Transfer,
};
use crate::terminus::{Source, Target};
use crate::value::{Map, Symbol};

/// Longest delivery tag (2.8.7).
pub const DELIVERY_TAG_LEN_MAX: usize = 32;

/// How to accept a link.
#[derive(Clone, Debug, Default)]
pub struct Accept {
    /// Where we receive: deliveries the peer may have under way. Given back as they are settled,
    /// and at once for those the peer settled itself.
    pub credit: u32,
    /// The receiver's settle mode of the answer.
    pub rcv_settle_mode: ReceiverSettleMode,
    /// Largest message, in bytes, we announce.
    pub max_message_size: Option<u64>,
    /// Extensions we announce.
    pub offered_capabilities: Vec<Symbol>,
    /// Link properties of the answer.
    pub properties: Map,
}

/// A delivery to send.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Our name for it, 32 bytes at most.
    pub tag: &'a [u8],
    /// Whether we forget it at once.
    pub settled: bool,
    /// How the message is encoded; 0 is part 3.
    pub format: u32,
}

/// Why a delivery cannot be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The link is not attached, or it receives.
    #[error("link is not attached for sending")]
    NotAttached,
    /// The peer granted no credit, or its window is full. `Event::Credit` says when that changes.
    #[error("no credit")]
    NoCredit,
}

impl Connection {
    /// Accepts a link the peer asked for.
    pub fn accept_attach(&mut self, request: AttachRequest, accept: Accept) {
        let AttachRequest { link: id, mut attach, .. } = request;
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        link.state = LinkState::Attached;
        attach.rcv_settle_mode = accept.rcv_settle_mode;
        attach.max_message_size = accept.max_message_size;
        attach.offered_capabilities = accept.offered_capabilities;
        attach.properties = accept.properties;
        let role = link.role;
        self.put_attach_answer(id, attach);
        match role {
            Role::Receiver => self.grant_credit(id, accept.credit),
            // The peer may have granted credit before we answered.
            Role::Sender => self.report_credit(id),
        }
    }

    /// Refuses a link the peer asked for. The answer carries source and target nevertheless: one
    /// client takes their absence for a broken server and never looks at the error.
    pub fn refuse_attach(&mut self, request: AttachRequest, error: ErrorCondition) {
        let AttachRequest { link: id, mut attach, .. } = request;
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        link.state = LinkState::Attached;
        attach.source.get_or_insert_default();
        attach.target.get_or_insert_default();
        attach.properties = Map::new();
        attach.offered_capabilities = Vec::new();
        self.put_attach_answer(id, attach);
        self.detach(id, error);
    }

    /// Answers an attach whose detach came before the owner decided.
    pub(super) fn answer_abandoned_attach(&mut self, id: LinkId) {
        let Some(link) = self.links.get(id) else {
            return;
        };
        let attach = Attach {
            name: link.name.clone(),
            handle: link.local_handle,
            role: link.role.opposite(),
            snd_settle_mode: SenderSettleMode::Mixed,
            rcv_settle_mode: ReceiverSettleMode::First,
            source: None,
            target: None,
            initial_delivery_count: None,
            max_message_size: None,
            offered_capabilities: Vec::new(),
            desired_capabilities: Vec::new(),
            properties: Map::new(),
        };
        self.put_attach_answer(id, attach);
    }

    fn put_attach_answer(&mut self, id: LinkId, mut attach: Attach) {
        let Some(link) = self.links.get(id) else {
            return;
        };
        attach.handle = link.local_handle;
        attach.role = link.role;
        attach.initial_delivery_count = (link.role == Role::Sender).then_some(0);
        attach.desired_capabilities = Vec::new();
        let channel = link.channel;
        self.put(channel, &Performative::Attach(attach));
    }

    /// Begins a session of our own. `None` when the connection is not open or has no channel left.
    pub fn begin_session(&mut self) -> Option<SessionId> {
        if self.phase != Phase::Opened {
            return None;
        }
        let channel = self.free_channel(0).ok()?;
        let session = Box::<Session>::default();
        let begin = session.begin(self.config.handle_max);
        self.sessions[usize::from(channel)] = Some(session);
        self.put(channel, &Performative::Begin(begin));
        Some(SessionId(channel))
    }

    /// Asks for a link of our own; `Event::Attached` or `Event::Detached` follows. `credit` is what
    /// the peer may send when we are the receiver. `None` when the session is gone.
    pub fn attach(
        &mut self,
        session: SessionId,
        name: &str,
        role: Role,
        source: Source,
        target: Target,
        options: AttachOptions,
    ) -> Option<LinkId> {
        let owner = self.sessions.get_mut(usize::from(session.0))?.as_mut()?;
        let local_handle = owner.free_handle();
        let mut link = Link::new(session.0, name.to_owned(), role, local_handle);
        link.state = LinkState::Asked;
        link.window = options.credit;
        link.credit = options.credit;
        let id = self.links.insert(link);
        owner.local_handles[local_handle as usize] = Some(id);
        let attach = Attach {
            name: name.to_owned(),
            handle: local_handle,
            role,
            snd_settle_mode: SenderSettleMode::Mixed,
            rcv_settle_mode: options.rcv_settle_mode,
            source: Some(source),
            target: Some(target),
            initial_delivery_count: (role == Role::Sender).then_some(0),
            max_message_size: Some(self.config.message_size_max),
            offered_capabilities: Vec::new(),
            desired_capabilities: options.desired_capabilities,
            properties: options.properties,
        };
        self.put(session.0, &Performative::Attach(attach));
        Some(id)
    }

    /// Ends a link. The peer gets the reason; no event follows.
    pub fn detach(&mut self, id: LinkId, error: ErrorCondition) {
        self.put_detach(id, Some(error));
    }

    /// Ends a link of ours in peace.
    pub fn detach_in_peace(&mut self, id: LinkId) {
        self.put_detach(id, None);
    }

    /// Ends a link because the peer broke a rule; the owner learns of it.
    pub(super) fn break_link(&mut self, id: LinkId, error: ErrorCondition) {
        self.events.push_back(Event::Detached { link: id, error: Some(error.clone()) });
        self.put_detach(id, Some(error));
    }

    fn put_detach(&mut self, id: LinkId, error: Option<ErrorCondition>) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        if link.state == LinkState::Detaching {
            return;
        }
        link.state = LinkState::Detaching;
        let (channel, handle) = (link.channel, link.local_handle);
        let partial = link.partial.take();
        let had_unsettled = std::mem::take(&mut link.unsettled) > 0;
        self.forget_partial(partial.as_ref());
        if let Some(session) = self.sessions[usize::from(channel)].as_mut() {
            session.blocked.retain(|(owner, _)| *owner != id);
            if had_unsettled {
                session.unsettled.retain(|_, owner| *owner != id);
            }
        }
        self.put(channel, &Performative::Detach(Detach { handle, closed: true, error }));
    }

    /// Whether a link is there, be it requested or attached.
    #[must_use]
    pub fn has_link(&self, id: LinkId) -> bool {
        self.links.get(id).is_some()
    }

    /// How many deliveries a sending link can take now.
    #[must_use]
    pub fn sendable(&self, id: LinkId) -> u32 {
        let Some(link) = self.links.get(id) else {
            return 0;
        };
        if link.role != Role::Sender || link.state != LinkState::Attached {
            return 0;
        }
        let session = self.sessions.get(usize::from(link.channel)).and_then(Option::as_ref);
        if session.is_none_or(|session| session.remote_window == 0 || !session.blocked.is_empty()) {
            return 0;
        }
        link.credit.min(self.config.unsettled_max.saturating_sub(link.unsettled))
    }

    /// Sends a delivery whose encoded message `write` appends to the output. The message is split
    /// when it is larger than the peer's frames.
    ///
    /// # Errors
    /// When the link cannot send now; nothing was written.
    ///
    /// # Panics
    /// When the tag is longer than [`DELIVERY_TAG_LEN_MAX`].
    #[inline]
    pub fn send_with(
        &mut self,
        id: LinkId,
        delivery: Outgoing<'_>,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<DeliveryId, SendError> {
        assert!(delivery.tag.len() <= DELIVERY_TAG_LEN_MAX, "a delivery tag has 32 bytes at most");
        if self.sendable(id) == 0 {
            let attached =
                self.links.get(id).is_some_and(|link| link.role == Role::Sender && link.state == LinkState::Attached);
            return Err(if attached { SendError::NoCredit } else { SendError::NotAttached });
        }
        let link = self.links.get_mut(id).ok_or(SendError::NotAttached)?;
        let (channel, handle) = (link.channel, link.local_handle);
        let session = self.sessions[usize::from(channel)].as_mut().ok_or(SendError::NotAttached)?;
        let number = session.next_delivery;
        session.next_delivery += 1;
        link.credit -= 1;
        link.delivery_count = link.delivery_count.wrapping_add(1);
        if !delivery.settled {
            link.unsettled += 1;
            session.unsettled.insert(number, id);
        }
        let first = Some((number as u32, delivery.tag, delivery.format));
        let at = frame::begin(&mut self.output, Kind::Amqp, channel);
        Transfer::encode_parts(&mut self.output, handle, first, delivery.settled, false);
        let payload_at = self.output.len();
        write(&mut self.output);
        if self.output.len() - at <= self.peer_frame_size_max {
            frame::finish(&mut self.output, at);
            session.remote_window -= 1;
            session.next_outgoing_id = session.next_outgoing_id.wrapping_add(1);
        } else {
            let payload = self.output.split_off(payload_at);
            self.output.truncate(at);
            self.send_split(id, first, delivery.settled, &payload);
        }
        Ok(DeliveryId(number as u32))
    }

    /// Sends an encoded message; see [`Connection::send_with`].
    ///
    /// # Errors
    /// When the link cannot send now.
    pub fn send(&mut self, id: LinkId, delivery: Outgoing<'_>, message: &[u8]) -> Result<DeliveryId, SendError> {
        self.send_with(id, delivery, |out| out.extend_from_slice(message))
    }

    #[cold]
    fn send_split(&mut self, id: LinkId, mut first: Option<(u32, &[u8], u32)>, settled: bool, mut payload: &[u8]) {
        let Some(link) = self.links.get(id) else {
            return;
        };
        let (channel, handle) = (link.channel, link.local_handle);
        let Some(session) = self.sessions[usize::from(channel)].as_mut() else {
            return;
        };
        loop {
            let mut transfer = Vec::with_capacity(self.peer_frame_size_max.min(payload.len() + 64));
            let at = frame::begin(&mut transfer, Kind::Amqp, channel);
            Transfer::encode_parts(&mut transfer, handle, first.take(), settled, true);
            let room = self.peer_frame_size_max - transfer.len();
            let (now, later) = payload.split_at(room.min(payload.len()));
            if later.is_empty() {
                // `more` is the sixth field from the end of the list, one byte each.
                let more = transfer.len() - 6;
                transfer[more] = 0x42;
            }
            transfer.extend_from_slice(now);
            frame::finish(&mut transfer, at);
            if session.remote_window > 0 {
                self.output.extend_from_slice(&transfer);
                session.remote_window -= 1;
                session.next_outgoing_id = session.next_outgoing_id.wrapping_add(1);
            } else {
                session.blocked.push_back((id, transfer));
            }
            payload = later;
            if payload.is_empty() {
                return;
            }
        }
    }

    /// Says that nothing more can be sent now, when the peer asked for its credit to be used up.
    pub fn drained(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        if !link.drain || link.role != Role::Sender || link.state != LinkState::Attached {
            return;
        }
        link.delivery_count = link.delivery_count.wrapping_add(link.credit);
        link.credit = 0;
        link.drain = false;
        let channel = link.channel;
        let Some(session) = self.sessions[usize::from(channel)].as_mut() else {
            return;
        };
        let mut flow = session.flow(Some(link));
        flow.drain = true;
        self.put(channel, &Performative::Flow(flow));
    }

    /// Sets how many deliveries a receiving link may have under way, and tells the peer.
    pub fn grant_credit(&mut self, id: LinkId, window: u32) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        if link.role != Role::Receiver || link.state != LinkState::Attached {
            return;
        }
        link.window = window;
        link.credit = window.saturating_sub(link.unsettled);
        self.put_link_flow(id);
    }

    /// Asks the peer to send what it has at once and to give up the rest of the credit. `Event::Drained` follows.
    pub fn drain(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(id) else { return };
        if link.role != Role::Receiver || link.state != LinkState::Attached {
            return;
        }
        // Credit is not given back while the peer uses it up.
        link.window = 0;
        let channel = link.channel;
        let Some(session) = self.sessions[usize::from(channel)].as_mut() else { return };
        let mut flow = session.flow(Some(link));
        flow.drain = true;
        self.put(channel, &Performative::Flow(flow));
    }

    /// Gives credit back when half of the window is used.
    pub(super) fn top_up(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        if link.state != LinkState::Attached
            || link.window == 0
            || link.credit.saturating_add(link.unsettled) > link.window / 2
        {
            return;
        }
        link.credit = link.window.saturating_sub(link.unsettled);
        self.put_link_flow(id);
    }

    /// Settles a delivery the peer sent, with its outcome.
    pub fn settle(&mut self, id: LinkId, delivery: DeliveryId, state: DeliveryState) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        if link.state != LinkState::Attached {
            return;
        }
        link.unsettled = link.unsettled.saturating_sub(1);
        let channel = link.channel;
        self.put_disposition(channel, Role::Receiver, delivery, state, true);
        self.top_up(id);
    }

    /// Names the outcome of a delivery the peer sent, and leaves settling it to the peer (receiver settle mode
    /// `second`).
    pub fn dispose(&mut self, id: LinkId, delivery: DeliveryId, state: DeliveryState) {
        let Some(link) = self.links.get(id) else {
            return;
        };
        let channel = link.channel;
        self.put_disposition(channel, Role::Receiver, delivery, state, false);
    }

    /// Settles a delivery of ours whose disposition came unsettled.
    pub fn settle_sent(&mut self, id: LinkId, delivery: DeliveryId, state: DeliveryState) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        let channel = link.channel;
        let Some(session) = self.sessions[usize::from(channel)].as_mut() else {
            return;
        };
        let behind = (session.next_delivery as u32).wrapping_sub(delivery.0);
        let number = session.next_delivery.wrapping_sub(behind.into());
        if session.unsettled.remove(&number).is_some() {
            link.unsettled = link.unsettled.saturating_sub(1);
        }
        self.put_disposition(channel, Role::Sender, delivery, state, true);
    }

    fn put_disposition(&mut self, channel: u16, role: Role, delivery: DeliveryId, state: DeliveryState, settled: bool) {
        let disposition = Disposition { role, first: delivery.0, last: Some(delivery.0), settled, state: Some(state) };
        self.put(channel, &Performative::Disposition(disposition));
    }

    pub(super) fn put_link_flow(&mut self, id: LinkId) {
        let Some(link) = self.links.get(id) else {
            return;
        };
        let channel = link.channel;
        let Some(session) = self.sessions[usize::from(channel)].as_mut() else {
            return;
        };
        let flow = session.flow(Some(link));
        self.put(channel, &Performative::Flow(flow));
    }

    pub(super) fn put_session_flow(&mut self, channel: u16) {
        let Some(session) = self.sessions[usize::from(channel)].as_mut() else {
            return;
        };
        let flow = session.flow(None);
        self.put(channel, &Performative::Flow(flow));
    }
}

/// What a link of our own asks for.
#[derive(Clone, Debug, Default)]
pub struct AttachOptions {
    /// Where we receive: deliveries the peer may have under way.
    pub credit: u32,
    /// Settlement by the receiver.
    pub rcv_settle_mode: ReceiverSettleMode,
    /// Extensions we would use.
    pub desired_capabilities: Vec<Symbol>,
    /// Link properties.
    pub properties: Map,
}
