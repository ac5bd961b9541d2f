//! Cloud-to-device messages.
//!
//! A message waits in its device's queue, is locked by the connection it was handed to,
//! and is completed, or given back when that connection ends. The queue itself is in the
//! store; locks live here and die with the process, which gives every message back.
//!
//! Left out: feedback, abandon and reject (no MQTT device can), dead-letter records.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use gantry_identity::{Identity, Timestamp};
use parking_lot::Mutex;

use crate::limits;
use crate::ports::Enqueued;

/// Which outcomes the sender wants to hear of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Ack {
    /// None.
    #[default]
    None,
    /// Completion.
    Positive,
    /// Expiry or dead-letter.
    Negative,
    /// All.
    Full,
}

impl Ack {
    /// The word of `iothub-ack`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Positive => "positive",
            Self::Negative => "negative",
            Self::Full => "full",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::None, Self::Positive, Self::Negative, Self::Full].into_iter().find(|ack| ack.as_str() == word)
    }
}

/// A message to a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct C2dMessage {
    /// Message id.
    pub message_id: Option<String>,
    /// Correlation id.
    pub correlation_id: Option<String>,
    /// User id.
    pub user_id: Option<String>,
    /// Content type.
    pub content_type: Option<String>,
    /// Content encoding.
    pub content_encoding: Option<String>,
    /// When it is no longer worth delivering; filled in when the sender gave none.
    pub expires_at: Option<Timestamp>,
    /// Feedback wanted.
    pub ack: Ack,
    /// Application properties.
    pub properties: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl C2dMessage {
    /// Size as the service counts it.
    pub fn size(&self) -> usize {
        let system =
            [&self.message_id, &self.correlation_id, &self.user_id, &self.content_type, &self.content_encoding];
        let system: usize = system.into_iter().flatten().map(String::len).sum();
        self.body.len() + system + self.properties.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>()
    }

    /// Sets the expiry the service would: an hour when absent, two days at most.
    pub fn bound_expiry(&mut self, now: Timestamp) {
        let latest = now.plus(limits::C2D_TTL_MAX);
        self.expires_at = Some(self.expires_at.unwrap_or(now.plus(limits::C2D_TTL_DEFAULT)).min(latest));
    }
}

/// Which messages are in a connection's hands.
#[derive(Debug, Default)]
pub(crate) struct Locks(Mutex<HashMap<Identity, HashSet<u64>>>);

impl Locks {
    /// Locks the oldest free, unexpired message; also returns the expired ones.
    pub(crate) fn lock_next(&self, identity: &Identity, queue: Vec<Enqueued>, now: Timestamp) -> Next {
        let mut locks = self.0.lock();
        let held = locks.entry(identity.clone()).or_default();
        let (mut message, mut expired) = (None, vec![]);
        for enqueued in queue.into_iter().filter(|e| !held.contains(&e.sequence_number)) {
            if enqueued.message.expires_at.is_some_and(|at| at <= now) {
                expired.push(enqueued.sequence_number);
            } else {
                held.insert(enqueued.sequence_number);
                message = Some(enqueued);
                break;
            }
        }
        if held.is_empty() {
            locks.remove(identity);
        }
        Next { message, expired }
    }

    /// Forgets one lock.
    pub(crate) fn release(&self, identity: &Identity, sequence_number: u64) {
        let mut locks = self.0.lock();
        if let Some(held) = locks.get_mut(identity) {
            held.remove(&sequence_number);
            if held.is_empty() {
                locks.remove(identity);
            }
        }
    }

    /// Forgets every lock of an identity: its connection ended.
    pub(crate) fn release_all(&self, identity: &Identity) {
        self.0.lock().remove(identity);
    }
}

/// What [`Locks::lock_next`] found.
pub(crate) struct Next {
    pub(crate) message: Option<Enqueued>,
    pub(crate) expired: Vec<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_identity::DeviceId;

    fn enqueued(sequence_number: u64, expires_ms: i64) -> Enqueued {
        let message = C2dMessage { expires_at: Some(Timestamp::from_millis(expires_ms)), ..Default::default() };
        Enqueued { sequence_number, delivery_count: 0, message }
    }

    #[test]
    fn a_locked_message_is_not_handed_out_again() {
        let locks = Locks::default();
        let id = Identity::device(DeviceId::parse("d").unwrap());
        let now = Timestamp::from_millis(100);
        let queue = || vec![enqueued(1, 50), enqueued(2, 200), enqueued(3, 200)];
        let first = locks.lock_next(&id, queue(), now);
        assert_eq!((first.message.unwrap().sequence_number, first.expired), (2, vec![1]));
        assert_eq!(locks.lock_next(&id, queue(), now).message.unwrap().sequence_number, 3);
        assert!(locks.lock_next(&id, queue(), now).message.is_none());
        locks.release(&id, 2);
        assert_eq!(locks.lock_next(&id, queue(), now).message.unwrap().sequence_number, 2);
        locks.release_all(&id);
        assert_eq!(locks.lock_next(&id, queue(), now).message.unwrap().sequence_number, 2);
    }

    #[test]
    fn expiry_is_an_hour_by_default_and_two_days_at_most() {
        let now = Timestamp::from_millis(0);
        let mut message = C2dMessage::default();
        message.bound_expiry(now);
        assert_eq!(message.expires_at, Some(Timestamp::from_millis(3_600_000)));
        message.expires_at = Some(Timestamp::from_millis(i64::MAX));
        message.bound_expiry(now);
        assert_eq!(message.expires_at, Some(Timestamp::from_millis(172_800_000)));
    }
}
