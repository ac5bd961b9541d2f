//! Who reads which partition in which consumer group, over all connections: owner levels and the limit of five.
//!
//! A receiver with an owner level (epoch) is alone: it ends those with none or with the same or a lower level, and
//! nobody with none or a lower one gets in beside it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use gantry_amqp::connection::LinkId;
use tokio::sync::mpsc::UnboundedSender;

/// Most receivers without owner level in one group of one partition (Event Hubs quotas).
pub(super) const RECEIVERS_MAX: usize = 5;

/// Why a receiver does not get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReceiverRefusal {
    /// Somebody has this owner level, which is higher.
    Owned(i64),
    /// [`RECEIVERS_MAX`] are there already.
    TooMany,
}

type Key = (String, u16);

#[derive(Debug)]
struct Entry {
    id: u64,
    owner_level: Option<i64>,
    link: LinkId,
    /// One message at most, ever; the connection detaches the link.
    evict: UnboundedSender<LinkId>,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<Key, Vec<Entry>>,
    next_id: u64,
}

/// The receivers of one stream.
#[derive(Clone, Debug, Default)]
pub struct Receivers(Arc<Mutex<State>>);

/// A place among the receivers; dropping it gives the place up.
#[derive(Debug)]
pub(super) struct Lease {
    receivers: Receivers,
    key: Key,
    id: u64,
}

impl Receivers {
    /// Takes a place for a link. Links that have to go are sent to their connections.
    pub(super) fn enter(
        &self,
        group: &str,
        partition: u16,
        owner_level: Option<i64>,
        link: LinkId,
        evict: UnboundedSender<LinkId>,
    ) -> Result<Lease, ReceiverRefusal> {
        let key = (group.to_ascii_lowercase(), partition);
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let id = state.next_id;
        state.next_id += 1;
        let entries = state.entries.entry(key.clone()).or_default();
        let highest = entries.iter().filter_map(|entry| entry.owner_level).max();
        match (owner_level, highest) {
            (None, Some(level)) => return Err(ReceiverRefusal::Owned(level)),
            (Some(ours), Some(level)) if ours < level => return Err(ReceiverRefusal::Owned(level)),
            (None, None) if entries.len() >= RECEIVERS_MAX => return Err(ReceiverRefusal::TooMany),
            (None, None) => {}
            (Some(_), _) => {
                for entry in entries.drain(..) {
                    // A connection that is gone has given its place up already, or is about to.
                    let _ = entry.evict.send(entry.link);
                }
            }
        }
        entries.push(Entry { id, owner_level, link, evict });
        Ok(Lease { receivers: self.clone(), key, id })
    }

    /// How many places are taken.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entries.values().map(Vec::len).sum()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.receivers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entries) = state.entries.get_mut(&self.key) {
            entries.retain(|entry| entry.id != self.id);
            if entries.is_empty() {
                state.entries.remove(&self.key);
            }
        }
    }
}
