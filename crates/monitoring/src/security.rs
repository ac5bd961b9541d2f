//! Security events: refused access, merged and counted.

use std::collections::VecDeque;
use std::time::Duration;

use gantry_hub::ports::RefusedAccess;
use gantry_identity::Timestamp;
use serde::{Deserialize, Serialize};

/// Events kept; the oldest go first.
pub const EVENTS_MAX: usize = 500;
/// The same refusal within this time is one event.
pub const WINDOW: Duration = Duration::from_secs(60);
/// Refusals remembered to find repeated ones.
const RECENT_MAX: usize = 2_000;

/// Refused access, once or several times.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityEvent {
    /// When it last happened.
    #[serde(with = "crate::iso")]
    pub at: Timestamp,
    /// Who it claimed to be.
    pub claimed: String,
    /// Address, without port.
    pub peer: String,
    /// Protocol and step.
    pub operation: String,
    /// Why.
    pub reason: String,
    /// How often within the window.
    pub count: u64,
}

/// A refusal after it was merged.
#[derive(Debug, PartialEq, Eq)]
pub struct Noted {
    /// The event as it stands.
    pub event: SecurityEvent,
    /// Whether it is a new one, to be logged.
    pub is_new: bool,
    /// Refusals of this claimed id within the window.
    pub by_claimed: u32,
    /// Refusals from this address within the window.
    pub by_peer: u32,
}

/// The last events.
#[derive(Debug, Default)]
pub struct Book {
    events: VecDeque<SecurityEvent>,
    recent: VecDeque<(Timestamp, String, String)>,
}

impl Book {
    /// From stored events, oldest first.
    pub fn restore(events: Vec<SecurityEvent>) -> Self {
        Self { events: events.into(), recent: VecDeque::new() }
    }

    /// Takes a refusal.
    pub fn note(&mut self, refused: &RefusedAccess) -> Noted {
        let peer = host_of(&refused.peer).to_owned();
        let reason = refused.reason.to_string();
        while self.recent.front().is_some_and(|(at, ..)| refused.at.since(*at) > WINDOW)
            || self.recent.len() >= RECENT_MAX
        {
            self.recent.pop_front();
        }
        self.recent.push_back((refused.at, refused.claimed.clone(), peer.clone()));
        let count = |same: &dyn Fn(&(Timestamp, String, String)) -> bool| {
            u32::try_from(self.recent.iter().filter(|entry| same(entry)).count()).unwrap_or(u32::MAX)
        };
        let by_claimed = count(&|(_, claimed, _)| *claimed == refused.claimed);
        let by_peer = count(&|(_, _, from)| *from == peer);
        let same = self.events.iter().position(|event| {
            event.claimed == refused.claimed
                && event.peer == peer
                && event.reason == reason
                && event.operation == refused.operation
                && refused.at.since(event.at) <= WINDOW
        });
        let (event, is_new) = match same.and_then(|index| self.events.remove(index)) {
            Some(event) => (SecurityEvent { at: refused.at, count: event.count + 1, ..event }, false),
            None => {
                let operation = refused.operation.to_owned();
                (
                    SecurityEvent {
                        at: refused.at,
                        claimed: refused.claimed.clone(),
                        peer,
                        operation,
                        reason,
                        count: 1,
                    },
                    true,
                )
            }
        };
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event.clone());
        Noted { event, is_new, by_claimed, by_peer }
    }

    /// Newest first.
    pub fn newest(&self) -> impl Iterator<Item = &SecurityEvent> {
        self.events.iter().rev()
    }

    /// Oldest first, as it is stored.
    pub fn events(&self) -> &VecDeque<SecurityEvent> {
        &self.events
    }
}

/// `127.0.0.1:5000` and `[::1]:5000` without their port.
fn host_of(peer: &str) -> &str {
    match peer.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            host.trim_start_matches('[').trim_end_matches(']')
        }
        _ => peer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_identity::Refusal;

    fn refused(at_ms: i64, claimed: &str, peer: &str) -> RefusedAccess {
        RefusedAccess {
            at: Timestamp::from_millis(at_ms),
            claimed: claimed.into(),
            peer: peer.into(),
            operation: "mqtt connect",
            reason: Refusal::Signature,
        }
    }

    #[test]
    fn the_same_refusal_is_one_event_with_a_count() {
        let mut book = Book::default();
        assert!(book.note(&refused(0, "a", "127.0.0.1:1")).is_new);
        let again = book.note(&refused(10_000, "a", "127.0.0.1:2"));
        assert_eq!((again.is_new, again.event.count, again.by_claimed), (false, 2, 2));
        assert!(book.note(&refused(20_000, "b", "127.0.0.1:3")).is_new);
        let late = book.note(&refused(200_000, "a", "[::1]:4"));
        assert_eq!((late.is_new, late.by_claimed, late.event.peer.as_str()), (true, 1, "::1"));
        assert_eq!(book.newest().count(), 3);
    }

    #[test]
    fn events_are_bounded() {
        let mut book = Book::default();
        for n in 0..EVENTS_MAX + 10 {
            book.note(&refused(0, &format!("d{n}"), "127.0.0.1:1"));
        }
        assert_eq!(book.events().len(), EVENTS_MAX);
    }
}
