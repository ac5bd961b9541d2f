//! Tokens that were verified, by hash, so that a call pays for a signature once and not each time.
//!
//! Bounded: when there is no room, those that ended go, and if that is not enough, all. An entry counts while the keys
//! are those it was verified with. Texts of tokens are not kept.

use std::sync::Arc;

use gantry_directory::Principal;
use gantry_hub::ports::directory::{Audience, Person};
use gantry_identity::Timestamp;
use hashbrown::HashMap;
use parking_lot::RwLock;

/// Tokens that are remembered.
pub const KNOWN_MAX: usize = 10_000;

/// A token's SHA-256, and for whom it was verified.
pub(crate) type Key = (Audience, [u8; 32]);

/// Whom a token is of.
pub(crate) struct Identified {
    pub(crate) principal: Principal,
    pub(crate) person: Person,
}

struct Entry {
    one: Arc<Identified>,
    generation: u64,
}

/// The tokens.
#[derive(Default)]
pub(crate) struct Known(RwLock<HashMap<Key, Entry>>);

impl Known {
    /// Whom a token is of, if it was verified with the keys of a generation and has not ended.
    pub(crate) fn get(&self, key: &Key, generation: u64, now: Timestamp) -> Option<Arc<Identified>> {
        let all = self.0.read();
        let entry = all.get(key).filter(|entry| entry.generation == generation)?;
        (now < entry.one.person.expires_at).then(|| Arc::clone(&entry.one))
    }

    /// Remembers a token.
    pub(crate) fn put(&self, key: Key, generation: u64, one: Arc<Identified>, now: Timestamp) {
        let mut all = self.0.write();
        if all.len() >= KNOWN_MAX {
            all.retain(|_, entry| entry.generation == generation && now < entry.one.person.expires_at);
        }
        if all.len() >= KNOWN_MAX {
            all.clear();
        }
        all.insert(key, Entry { one, generation });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_directory::{Guid, PrincipalKind};

    fn one(ends: i64) -> Arc<Identified> {
        let expires_at = Timestamp::from_millis(ends);
        let principal = Principal {
            tenant_id: Guid::from_u128(0),
            object_id: Guid::from_u128(1),
            kind: PrincipalKind::ServicePrincipal,
            name: String::new(),
            app_id: None,
            groups: vec![],
            groups_elsewhere: false,
            roles: vec![],
            scopes: vec![],
            expires_at,
        };
        Arc::new(Identified { person: crate::service::person(&principal), principal })
    }

    fn key(n: usize) -> Key {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&n.to_be_bytes());
        (Audience::Hub, hash)
    }

    #[test]
    fn a_token_is_known_until_it_ends_or_keys_change_and_for_its_audience_alone() {
        let (known, at) = (Known::default(), Timestamp::from_millis);
        known.put(key(1), 0, one(10), at(0));
        assert!(known.get(&key(1), 0, at(9)).is_some());
        assert!(known.get(&key(1), 0, at(10)).is_none());
        assert!(known.get(&key(1), 1, at(9)).is_none());
        assert!(known.get(&(Audience::Storage, key(1).1), 0, at(9)).is_none());
    }

    #[test]
    fn there_are_bounds() {
        let (known, at) = (Known::default(), Timestamp::from_millis);
        for n in 0..KNOWN_MAX {
            known.put(key(n), 0, one(if n == 7 { 100 } else { 10 }), at(0));
        }
        known.put(key(KNOWN_MAX), 0, one(100), at(50));
        assert!(known.get(&key(7), 0, at(50)).is_some(), "what has not ended stays");
        assert_eq!(known.0.read().len(), 2);
        for n in 0..3 * KNOWN_MAX {
            known.put(key(n), 0, one(100), at(50));
            assert!(known.0.read().len() <= KNOWN_MAX);
        }
    }
}
