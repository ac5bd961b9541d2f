//! Frames of sessions and their links: begin, attach, flow, transfer, disposition, detach, end.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};

use super::Connection;
use super::config::PARTIAL_BYTES_MAX;
use super::event::{AttachRequest, Delivery, DeliveryId, Error, Event, LinkId};
use super::link::{Link, LinkState, Partial};
use crate::condition;
use crate::decode::Reader;
use crate::performative::{Attach, Begin, Detach, Disposition, ErrorCondition, Flow, Performative, Role, Transfer};

/// Transfers a peer may send in a session before we renew its window.
pub(crate) const INCOMING_WINDOW: u32 = 4_096;

/// What we announce as ours; the peer's window is what limits us.
const OUTGOING_WINDOW: u32 = 65_535;

/// A session of one connection, by our channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(pub(crate) u16);

#[derive(Debug, Default)]
pub(crate) struct Session {
    pub(crate) remote_channel: Option<u16>,
    /// We ended it; the peer has not answered.
    pub(crate) ending: bool,
    next_incoming_id: u32,
    incoming_left: u32,
    pub(crate) next_outgoing_id: u32,
    /// Transfers the peer takes before it renews our window.
    pub(crate) remote_window: u32,
    pub(crate) remote_handle_max: u32,
    /// Deliveries so far. The wire has the low 32 bits.
    pub(crate) next_delivery: u64,
    /// Deliveries the peer has not settled.
    pub(crate) unsettled: BTreeMap<u64, LinkId>,
    /// Transfers that wait for the peer's window, oldest first.
    pub(crate) blocked: VecDeque<(LinkId, Vec<u8>)>,
    pub(crate) local_handles: Vec<Option<LinkId>>,
    remote_handles: Vec<Option<LinkId>>,
}

impl Session {
    pub(crate) fn begin(&self, handle_max: u32) -> Begin {
        Begin {
            remote_channel: self.remote_channel,
            next_outgoing_id: self.next_outgoing_id,
            incoming_window: INCOMING_WINDOW,
            outgoing_window: OUTGOING_WINDOW,
            handle_max,
            offered_capabilities: Vec::new(),
            desired_capabilities: Vec::new(),
            properties: Vec::new(),
        }
    }

    fn peer_began(&mut self, channel: u16, begin: &Begin) {
        self.remote_channel = Some(channel);
        self.next_incoming_id = begin.next_outgoing_id;
        self.incoming_left = INCOMING_WINDOW;
        self.remote_window = begin.incoming_window;
        self.remote_handle_max = begin.handle_max;
    }

    fn linked(&self, remote_handle: u32) -> Option<LinkId> {
        self.remote_handles.get(remote_handle as usize).copied().flatten()
    }

    /// The lowest free handle on our side.
    pub(crate) fn free_handle(&mut self) -> u32 {
        let free = self.local_handles.iter().position(Option::is_none).unwrap_or_else(|| {
            self.local_handles.push(None);
            self.local_handles.len() - 1
        });
        u32::try_from(free).expect("handles are bounded by the links of a connection")
    }

    /// A flow of this session, about a link when there is one.
    pub(crate) fn flow(&mut self, link: Option<&Link>) -> Flow {
        self.incoming_left = INCOMING_WINDOW;
        Flow {
            next_incoming_id: Some(self.next_incoming_id),
            incoming_window: INCOMING_WINDOW,
            next_outgoing_id: self.next_outgoing_id,
            outgoing_window: OUTGOING_WINDOW,
            handle: link.map(|link| link.local_handle),
            delivery_count: link.map(|link| link.delivery_count),
            link_credit: link.map(|link| link.credit),
            available: link.map(|_| 0),
            drain: false,
            echo: false,
        }
    }

    /// The full number of a delivery whose low 32 bits came over the wire.
    fn delivery(&self, wire: u32) -> Option<u64> {
        let behind = (self.next_delivery as u32).wrapping_sub(wire);
        self.next_delivery.checked_sub(behind.into())
    }
}

impl Connection {
    pub(super) fn session_frame(
        &mut self,
        channel: u16,
        performative: Performative,
        rest: &Reader<'_>,
    ) -> Result<(), Error> {
        if let Performative::Begin(begin) = performative {
            return self.peer_began(channel, &begin);
        }
        let ours = match self.channels.get(usize::from(channel)) {
            Some(Some(ours)) => *ours,
            // One client sends detach and disposition after it has ended the session.
            Some(None) => return Ok(()),
            None => return Err(Error::Channel(channel)),
        };
        if matches!(performative, Performative::End(_)) {
            let Performative::End(error) = performative else {
                return Ok(());
            };
            self.peer_ended(ours, error);
            return Ok(());
        }
        let session = self.sessions.get(usize::from(ours)).and_then(Option::as_ref);
        if session.is_none_or(|session| session.ending) {
            return Ok(());
        }
        match performative {
            Performative::Attach(attach) => self.peer_attached(ours, attach),
            Performative::Flow(flow) => self.peer_flowed(ours, &flow),
            Performative::Transfer(transfer) => self.peer_transferred(ours, transfer, rest.rest()),
            Performative::Disposition(disposition) => self.peer_disposed(ours, &disposition),
            Performative::Detach(detach) => self.peer_detached(ours, detach),
            _ => Err(Error::NotAllowed("performative on a session")),
        }
    }

    fn peer_began(&mut self, channel: u16, begin: &Begin) -> Result<(), Error> {
        if channel > self.config.channel_max {
            return Err(Error::TooManySessions);
        }
        let slot = usize::from(channel);
        if self.channels.get(slot).copied().flatten().is_some() {
            return Err(Error::NotAllowed("begin on a channel in use"));
        }
        if self.channels.len() <= slot {
            self.channels.resize(slot + 1, None);
        }
        let ours = match begin.remote_channel {
            Some(ours) => {
                let asked = self.sessions.get_mut(usize::from(ours)).and_then(Option::as_mut);
                let asked = asked.filter(|session| session.remote_channel.is_none());
                asked.ok_or(Error::Channel(ours))?.peer_began(channel, begin);
                ours
            }
            None => {
                let ours = self.free_channel(channel)?;
                let mut session = Box::<Session>::default();
                session.peer_began(channel, begin);
                let answer = session.begin(self.config.handle_max);
                self.sessions[usize::from(ours)] = Some(session);
                self.put(ours, &Performative::Begin(answer));
                ours
            }
        };
        self.channels[slot] = Some(ours);
        Ok(())
    }

    /// A free channel on our side: the wanted one, or the lowest.
    pub(super) fn free_channel(&mut self, wanted: u16) -> Result<u16, Error> {
        let max = self.peer_channel_max.min(self.config.channel_max);
        let free = |channel: &u16| self.sessions.get(usize::from(*channel)).is_none_or(Option::is_none);
        let channel =
            if wanted <= max && free(&wanted) { wanted } else { (0..=max).find(free).ok_or(Error::TooManySessions)? };
        if self.sessions.len() <= usize::from(channel) {
            self.sessions.resize_with(usize::from(channel) + 1, || None);
        }
        Ok(channel)
    }

    fn peer_ended(&mut self, channel: u16, error: Option<ErrorCondition>) {
        let Some(session) = self.sessions[usize::from(channel)].take() else {
            return;
        };
        if let Some(remote) = session.remote_channel {
            self.channels[usize::from(remote)] = None;
        }
        if !session.ending {
            self.drop_links(&session, error.as_ref());
            self.put(channel, &Performative::End(None));
        }
    }

    /// Ends a session because the peer broke one of its rules.
    pub(super) fn end_session(&mut self, channel: u16, error: ErrorCondition) {
        let Some(mut session) = self.sessions[usize::from(channel)].take() else {
            return;
        };
        self.drop_links(&session, Some(&error));
        self.put(channel, &Performative::End(Some(error)));
        let remote_channel = session.remote_channel;
        *session = Session { remote_channel, ending: true, ..Session::default() };
        self.sessions[usize::from(channel)] = Some(session);
    }

    fn drop_links(&mut self, session: &Session, error: Option<&ErrorCondition>) {
        for link in session.local_handles.iter().copied().flatten() {
            let Some(removed) = self.links.remove(link) else {
                continue;
            };
            self.forget_partial(removed.partial.as_ref());
            if removed.state != LinkState::Detaching {
                self.events.push_back(Event::Detached { link, error: error.cloned() });
            }
        }
    }

    fn peer_attached(&mut self, channel: u16, attach: Attach) -> Result<(), Error> {
        if attach.handle > self.config.handle_max {
            return Err(Error::Handle);
        }
        let Some(session) = self.sessions[usize::from(channel)].as_mut() else {
            return Ok(());
        };
        if session.linked(attach.handle).is_some() {
            let text = format!("handle {} is already attached", attach.handle);
            self.end_session(channel, ErrorCondition::new(condition::HANDLE_IN_USE, text));
            return Ok(());
        }
        let role = attach.role.opposite();
        let links = &self.links;
        let asked = session.local_handles.iter().copied().flatten().find(|id| {
            links
                .get(*id)
                .is_some_and(|link| link.remote_handle.is_none() && link.role == role && link.name == attach.name)
        });
        let slot = attach.handle as usize;
        if session.remote_handles.len() <= slot {
            session.remote_handles.resize(slot + 1, None);
        }
        if let Some(id) = asked {
            session.remote_handles[slot] = Some(id);
            self.peer_answered_attach(id, attach);
            return Ok(());
        }
        if self.links.len() >= self.config.links_max {
            let text = format!("at most {} links on a connection", self.config.links_max);
            let error = ErrorCondition::new(condition::RESOURCE_LIMIT_EXCEEDED, text);
            self.end_session(channel, error);
            return Ok(());
        }
        let local_handle = session.free_handle();
        let mut link = Link::new(channel, attach.name.clone(), role, local_handle);
        link.remote_handle = Some(attach.handle);
        link.delivery_count = match role {
            Role::Sender => 0,
            Role::Receiver => attach.initial_delivery_count.unwrap_or(0),
        };
        let link = self.links.insert(link);
        session.remote_handles[slot] = Some(link);
        session.local_handles[local_handle as usize] = Some(link);
        let request = AttachRequest { link, session: SessionId(channel), attach };
        self.events.push_back(Event::AttachRequested(Box::new(request)));
        Ok(())
    }

    fn peer_answered_attach(&mut self, id: LinkId, attach: Attach) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        link.remote_handle = Some(attach.handle);
        if link.state == LinkState::Detaching {
            return;
        }
        link.state = LinkState::Attached;
        if link.role == Role::Receiver {
            link.delivery_count = attach.initial_delivery_count.unwrap_or(0);
        }
        self.events.push_back(Event::Attached { link: id, attach: Box::new(attach) });
        self.put_link_flow(id);
    }

    fn peer_flowed(&mut self, channel: u16, flow: &Flow) -> Result<(), Error> {
        let Some(session) = self.sessions[usize::from(channel)].as_mut() else {
            return Ok(());
        };
        // 2.5.6: what the peer can take, less what is on its way.
        let seen = flow.next_incoming_id.unwrap_or(0);
        let in_flight = session.next_outgoing_id.wrapping_sub(seen);
        let was_blocked = !session.blocked.is_empty() || session.remote_window == 0;
        session.remote_window = flow.incoming_window.saturating_sub(in_flight);
        self.unblock(channel, was_blocked);
        match flow.handle {
            Some(handle) => self.peer_flowed_link(channel, handle, flow),
            None if flow.echo => self.put_session_flow(channel),
            None => {}
        }
        Ok(())
    }

    /// Sends transfers that waited for the window, and tells links when they may go on.
    fn unblock(&mut self, channel: u16, was_blocked: bool) {
        let Some(session) = self.sessions[usize::from(channel)].as_mut() else {
            return;
        };
        while session.remote_window > 0
            && let Some((_, frame)) = session.blocked.pop_front()
        {
            self.output.extend_from_slice(&frame);
            session.remote_window -= 1;
            session.next_outgoing_id = session.next_outgoing_id.wrapping_add(1);
        }
        if !was_blocked || session.remote_window == 0 {
            return;
        }
        let links: Vec<LinkId> = session.local_handles.iter().copied().flatten().collect();
        for link in links {
            self.report_credit(link);
        }
    }

    fn peer_flowed_link(&mut self, channel: u16, handle: u32, flow: &Flow) {
        let session = self.sessions[usize::from(channel)].as_ref();
        let Some(id) = session.and_then(|session| session.linked(handle)) else {
            let text = format!("flow for handle {handle}, which is not attached");
            self.end_session(channel, ErrorCondition::new(condition::UNATTACHED_HANDLE, text));
            return;
        };
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        if link.role == Role::Sender {
            // 2.6.7: credit counts from the receiver's view of the delivery count.
            let seen = flow.delivery_count.unwrap_or(0);
            let in_flight = link.delivery_count.wrapping_sub(seen);
            link.credit = flow.link_credit.unwrap_or(0).saturating_sub(in_flight);
            link.drain = flow.drain;
        } else if flow.drain
            && let (Some(count), Some(credit)) = (flow.delivery_count, flow.link_credit)
        {
            link.delivery_count = count;
            link.credit = credit;
            self.events.push_back(Event::Drained { link: id });
        }
        if link.state != LinkState::Attached {
            return;
        }
        let sender = link.role == Role::Sender;
        if flow.echo {
            self.put_link_flow(id);
        }
        if sender {
            self.report_credit(id);
        }
    }

    pub(super) fn report_credit(&mut self, id: LinkId) {
        let Some(link) = self.links.get(id) else {
            return;
        };
        if link.role != Role::Sender || link.state != LinkState::Attached {
            return;
        }
        let (credit, drain) = (self.sendable(id), link.drain);
        if credit > 0 || drain {
            self.events.push_back(Event::Credit { link: id, credit, drain });
        }
    }

    fn peer_transferred(&mut self, channel: u16, transfer: Transfer, payload: Bytes) -> Result<(), Error> {
        let Some(session) = self.sessions[usize::from(channel)].as_mut() else {
            return Ok(());
        };
        session.next_incoming_id = session.next_incoming_id.wrapping_add(1);
        session.incoming_left = session.incoming_left.saturating_sub(1);
        let renew = session.incoming_left < INCOMING_WINDOW / 2;
        let Some(id) = session.linked(transfer.handle) else {
            let text = format!("transfer on handle {}, which is not attached", transfer.handle);
            self.end_session(channel, ErrorCondition::new(condition::UNATTACHED_HANDLE, text));
            return Ok(());
        };
        if renew {
            self.put_session_flow(channel);
        }
        let Some(link) = self.links.get_mut(id) else {
            return Ok(());
        };
        if link.state == LinkState::Detaching {
            return Ok(());
        }
        if link.role == Role::Sender {
            return Err(Error::NotAllowed("transfer against the direction of its link"));
        }
        if link.state != LinkState::Attached {
            return Err(Error::NotAllowed("transfer before its link was attached"));
        }
        match link.partial.take() {
            Some(partial) => self.continue_partial(id, partial, &transfer, &payload),
            None => self.first_transfer(id, transfer, payload),
        }
        Ok(())
    }

    fn first_transfer(&mut self, id: LinkId, transfer: Transfer, payload: Bytes) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        if transfer.aborted {
            return;
        }
        let Some(delivery_id) = transfer.delivery_id else {
            let text = "first transfer of a delivery without delivery-id";
            self.detach(id, ErrorCondition::new(condition::INVALID_FIELD, text));
            return;
        };
        if link.credit == 0 {
            let text = "more deliveries than credit";
            self.break_link(id, ErrorCondition::new(condition::TRANSFER_LIMIT_EXCEEDED, text));
            return;
        }
        let partial = Partial {
            delivery_id,
            tag: transfer.delivery_tag.unwrap_or_default(),
            format: transfer.message_format.unwrap_or(0),
            settled: transfer.settled.unwrap_or(false),
            bytes: BytesMut::new(),
        };
        if payload.len() as u64 > self.config.message_size_max {
            self.oversize(id);
        } else if transfer.more {
            self.keep_partial(id, partial, &payload);
        } else {
            self.deliver(id, partial, payload);
        }
    }

    fn continue_partial(&mut self, id: LinkId, mut partial: Partial, transfer: &Transfer, payload: &[u8]) {
        self.forget_partial(Some(&partial));
        if transfer.delivery_id.is_some_and(|delivery| delivery != partial.delivery_id) {
            let text = "a delivery began before the previous one ended";
            self.break_link(id, ErrorCondition::new(condition::NOT_ALLOWED, text));
            return;
        }
        if transfer.aborted {
            // 2.6.14: an aborted delivery is settled and used its credit.
            self.used_credit(id);
            self.top_up(id);
            return;
        }
        partial.settled |= transfer.settled.unwrap_or(false);
        if (partial.bytes.len() + payload.len()) as u64 > self.config.message_size_max {
            self.oversize(id);
        } else if transfer.more {
            self.keep_partial(id, partial, payload);
        } else {
            partial.bytes.extend_from_slice(payload);
            let message = std::mem::take(&mut partial.bytes).freeze();
            self.deliver(id, partial, message);
        }
    }

    fn keep_partial(&mut self, id: LinkId, mut partial: Partial, payload: &[u8]) {
        let bytes = partial.bytes.len() + payload.len();
        if self.partial_bytes + bytes > PARTIAL_BYTES_MAX {
            let text = "too many unfinished messages on this connection";
            self.break_link(id, ErrorCondition::new(condition::RESOURCE_LIMIT_EXCEEDED, text));
            return;
        }
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        partial.bytes.extend_from_slice(payload);
        self.partial_bytes += bytes;
        link.partial = Some(partial);
    }

    pub(super) fn forget_partial(&mut self, partial: Option<&Partial>) {
        self.partial_bytes -= partial.map_or(0, |partial| partial.bytes.len());
    }

    fn oversize(&mut self, id: LinkId) {
        let text = format!("messages are limited to {} bytes", self.config.message_size_max);
        self.break_link(id, ErrorCondition::new(condition::MESSAGE_SIZE_EXCEEDED, text));
    }

    fn deliver(&mut self, id: LinkId, partial: Partial, message: Bytes) {
        let Partial { delivery_id, tag, format, settled, .. } = partial;
        self.used_credit(id);
        if settled {
            self.top_up(id);
        } else if let Some(link) = self.links.get_mut(id) {
            link.unsettled += 1;
        }
        let delivery_id = DeliveryId(delivery_id);
        let delivery = Delivery { link: id, delivery_id, tag, settled, format, message };
        self.events.push_back(Event::Message(delivery));
    }

    fn used_credit(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        link.credit = link.credit.saturating_sub(1);
        link.delivery_count = link.delivery_count.wrapping_add(1);
    }

    fn peer_disposed(&mut self, channel: u16, disposition: &Disposition) -> Result<(), Error> {
        // The sender's dispositions are about deliveries we settled at once.
        if disposition.role == Role::Sender {
            return Ok(());
        }
        let Some(session) = self.sessions[usize::from(channel)].as_mut() else {
            return Ok(());
        };
        let last = disposition.last.unwrap_or(disposition.first);
        let Some(first) = session.delivery(disposition.first) else {
            return Ok(());
        };
        let last = first + u64::from(last.wrapping_sub(disposition.first));
        let touched: Vec<(u64, LinkId)> =
            session.unsettled.range(first..=last).map(|(delivery, link)| (*delivery, *link)).collect();
        for (delivery, link) in touched {
            if disposition.settled {
                session.unsettled.remove(&delivery);
                if let Some(link) = self.links.get_mut(link) {
                    link.unsettled -= 1;
                }
            }
            self.events.push_back(Event::Disposition {
                link,
                delivery_id: DeliveryId(delivery as u32),
                state: disposition.state.clone(),
                settled: disposition.settled,
            });
        }
        Ok(())
    }

    fn peer_detached(&mut self, channel: u16, detach: Detach) -> Result<(), Error> {
        let Some(session) = self.sessions[usize::from(channel)].as_mut() else {
            return Ok(());
        };
        let Some(id) = session.linked(detach.handle) else {
            return Ok(());
        };
        session.remote_handles[detach.handle as usize] = None;
        let Some(link) = self.links.get(id) else {
            return Ok(());
        };
        let (state, local_handle) = (link.state, link.local_handle);
        if state == LinkState::Requested {
            // The peer gave up before the owner answered; both frames are owed all the same.
            self.answer_abandoned_attach(id);
        }
        if state != LinkState::Detaching {
            let answer = Detach { handle: local_handle, closed: detach.closed, error: None };
            self.put(channel, &Performative::Detach(answer));
            self.events.push_back(Event::Detached { link: id, error: detach.error });
        }
        self.remove_link(id);
        Ok(())
    }

    /// Forgets a link and everything that waits on it.
    fn remove_link(&mut self, id: LinkId) {
        let Some(link) = self.links.remove(id) else {
            return;
        };
        self.forget_partial(link.partial.as_ref());
        let Some(session) = self.sessions[usize::from(link.channel)].as_mut() else {
            return;
        };
        session.local_handles[link.local_handle as usize] = None;
        session.blocked.retain(|(owner, _)| *owner != id);
        if link.unsettled > 0 {
            session.unsettled.retain(|_, owner| *owner != id);
        }
    }
}
