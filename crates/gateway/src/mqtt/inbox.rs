//! Cloud-to-device messages in one connection's hands: which packet id carries which message.

use std::collections::HashMap;

use gantry_hub::LockToken;

/// Messages published and not yet acknowledged.
const IN_HAND_MAX: usize = 8;
/// C# keeps server packet ids below this.
const PACKET_ID_END: u16 = 0x8000;

#[derive(Debug, Default)]
pub(super) struct Inbox {
    in_hand: HashMap<u16, LockToken>,
    last: u16,
}

impl Inbox {
    /// Whether a peer that takes `window` messages at a time can have another.
    pub(super) fn has_room(&self, window: usize) -> bool {
        self.in_hand.len() < window.min(IN_HAND_MAX)
    }

    /// A free packet id for a message.
    pub(super) fn take(&mut self, token: LockToken) -> u16 {
        loop {
            self.last = if self.last + 1 >= PACKET_ID_END { 1 } else { self.last + 1 };
            if let std::collections::hash_map::Entry::Vacant(slot) = self.in_hand.entry(self.last) {
                slot.insert(token);
                return self.last;
            }
        }
    }

    /// The message a PUBACK completes; `None` for an unknown id, which is tolerated.
    pub(super) fn complete(&mut self, packet_id: u16) -> Option<LockToken> {
        self.in_hand.remove(&packet_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_ids_are_reused_only_when_free_and_stay_low() {
        let mut inbox = Inbox { last: PACKET_ID_END - 2, ..Inbox::default() };
        let token = LockToken::from_u128;
        assert_eq!((inbox.take(token(1)), inbox.take(token(2))), (PACKET_ID_END - 1, 1));
        assert_eq!(inbox.complete(1), Some(token(2)));
        assert_eq!(inbox.complete(1), None);
        for n in 0..7 {
            assert!(inbox.has_room(usize::MAX));
            inbox.take(token(n));
        }
        assert!(!inbox.has_room(usize::MAX));
        assert!(!Inbox::default().has_room(0));
    }
}
