//! The state of links, and where they are kept.

use bytes::{Bytes, BytesMut};

use super::event::LinkId;
use crate::performative::Role;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkState {
    /// The peer asked; the owner has not answered.
    Requested,
    /// We asked; the peer has not answered.
    Asked,
    /// Both ends are attached.
    Attached,
    /// We detached; the peer has not answered.
    Detaching,
}

/// A message of which more transfers are due.
#[derive(Debug)]
pub(crate) struct Partial {
    pub(crate) delivery_id: u32,
    pub(crate) tag: Bytes,
    pub(crate) format: u32,
    pub(crate) settled: bool,
    pub(crate) bytes: BytesMut,
}

#[derive(Debug)]
pub(crate) struct Link {
    /// Our channel.
    pub(crate) channel: u16,
    pub(crate) name: String,
    /// Our end.
    pub(crate) role: Role,
    pub(crate) state: LinkState,
    pub(crate) local_handle: u32,
    pub(crate) remote_handle: Option<u32>,
    pub(crate) delivery_count: u32,
    /// Sender: what the peer granted. Receiver: what we granted and was not used.
    pub(crate) credit: u32,
    /// Sender: whether the peer wants its credit used up.
    pub(crate) drain: bool,
    /// Sender: deliveries the peer has not settled. Receiver: deliveries the owner has not settled.
    pub(crate) unsettled: u32,
    /// Receiver: credit plus unsettled deliveries are kept near this number.
    pub(crate) window: u32,
    pub(crate) partial: Option<Partial>,
}

impl Link {
    pub(crate) fn new(channel: u16, name: String, role: Role, local_handle: u32) -> Self {
        Self {
            channel,
            name,
            role,
            state: LinkState::Requested,
            local_handle,
            remote_handle: None,
            delivery_count: 0,
            credit: 0,
            drain: false,
            unsettled: 0,
            window: 0,
            partial: None,
        }
    }
}

/// Links by id. A slot is reused with a new generation, so that an old id finds nothing.
#[derive(Debug, Default)]
pub(crate) struct Links {
    slots: Vec<(u32, Option<Link>)>,
    free: Vec<u32>,
}

impl Links {
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn insert(&mut self, link: Link) -> LinkId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            u32::try_from(self.slots.len() - 1).expect("links are bounded by the config")
        });
        let (generation, slot) = &mut self.slots[index as usize];
        *slot = Some(link);
        LinkId { index, generation: *generation }
    }

    pub(crate) fn get(&self, id: LinkId) -> Option<&Link> {
        let (generation, slot) = self.slots.get(id.index as usize)?;
        if *generation == id.generation { slot.as_ref() } else { None }
    }

    pub(crate) fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        let (generation, slot) = self.slots.get_mut(id.index as usize)?;
        if *generation == id.generation { slot.as_mut() } else { None }
    }

    pub(crate) fn remove(&mut self, id: LinkId) -> Option<Link> {
        let (generation, slot) = self.slots.get_mut(id.index as usize)?;
        if *generation != id.generation {
            return None;
        }
        let link = slot.take()?;
        *generation = generation.wrapping_add(1);
        self.free.push(id.index);
        Some(link)
    }
}
