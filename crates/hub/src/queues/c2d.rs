//! Cloud-to-device messages.
//!
//! A message waits in its device's queue, is locked by whoever it was handed to, and is
//! completed, rejected or abandoned; a lock that ends by itself gives the message back. The
//! queue is in the store (`device_queue.rs` has the operations), the locks are in `locks.rs`,
//! and what the sender hears is in `feedback.rs`.
//!
//! Left out: dead-letter records. A dead-lettered message is gone but for its feedback.

use std::time::Duration;

use bytes::Bytes;
use gantry_identity::Timestamp;

use crate::events::event::properties_size;
use crate::limits;

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

    /// Whether the sender wants to hear of an outcome.
    pub fn wants(self, success: bool) -> bool {
        match self {
            Self::None => false,
            Self::Positive => success,
            Self::Negative => !success,
            Self::Full => true,
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
    /// Application properties; one without a value is null, which is not empty.
    pub properties: Vec<(String, Option<String>)>,
    /// The body.
    pub body: Bytes,
}

impl C2dMessage {
    /// Size as the service counts it.
    pub fn size(&self) -> usize {
        let system =
            [&self.message_id, &self.correlation_id, &self.user_id, &self.content_type, &self.content_encoding];
        let system: usize = system.into_iter().flatten().map(String::len).sum();
        self.body.len() + system + properties_size(&self.properties)
    }

    /// Sets the expiry the service would: `ttl` from now when absent, two days at most.
    pub fn bound_expiry(&mut self, now: Timestamp, ttl: Duration) {
        let latest = now.plus(limits::C2D_TTL_MAX);
        self.expires_at = Some(self.expires_at.unwrap_or(now.plus(ttl)).min(latest));
    }
}

/// What becomes of a message in somebody's hands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settle {
    /// It is done.
    Complete,
    /// It is refused for good.
    Reject,
    /// It goes back to its queue; too many times, and it is dead-lettered.
    Abandon,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry_is_an_hour_by_default_and_two_days_at_most() {
        let now = Timestamp::from_millis(0);
        let mut message = C2dMessage::default();
        message.bound_expiry(now, limits::C2D_TTL_DEFAULT);
        assert_eq!(message.expires_at, Some(Timestamp::from_millis(3_600_000)));
        message.expires_at = Some(Timestamp::from_millis(i64::MAX));
        message.bound_expiry(now, limits::C2D_TTL_DEFAULT);
        assert_eq!(message.expires_at, Some(Timestamp::from_millis(172_800_000)));
    }
}
