//! Which messages are in somebody's hands.
//!
//! A lock is named by a token, ends with its holder (a connection) or at an instant, and dies
//! with the process, which gives every message back. Nothing here touches a queue.
//!
//! A message is read from the store before it is locked. So that one that was settled in
//! between is not handed out again, every end of a lock raises the epoch of its shard, and
//! [`Locks::lock`] refuses a read of an earlier one.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};

use gantry_identity::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use uuid::Uuid;

const SHARDS: usize = 16;

/// Names a lock: 16 bytes on AMQP, their hyphenated text elsewhere.
pub type LockToken = Uuid;

/// When a lock ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// At an instant.
    Instant(Timestamp),
    /// With the connection that holds it.
    HolderEnds,
}

/// A lock to take.
#[derive(Clone, Debug)]
pub(crate) struct Wanted<R> {
    pub(crate) token: LockToken,
    pub(crate) sequence_number: u64,
    /// The connection, if one holds it.
    pub(crate) holder: Option<u64>,
    pub(crate) until: Until,
    /// What settling will need to know.
    pub(crate) receipt: R,
}

/// What is held, as a reader saw it.
pub(crate) struct Seen {
    epoch: u64,
    pub(crate) sequence_numbers: Vec<u64>,
}

struct Shard<K, R> {
    epoch: u64,
    /// No lock ends by itself before this.
    next_end: Option<Timestamp>,
    held: HashMap<K, Vec<Wanted<R>>>,
}

/// Locks by queue `K`, with a receipt `R` each.
pub(crate) struct Locks<K, R> {
    shards: [Mutex<Shard<K, R>>; SHARDS],
    hasher: RandomState,
}

impl<K, R> Default for Locks<K, R> {
    fn default() -> Self {
        let shard = || Mutex::new(Shard { epoch: 0, next_end: None, held: HashMap::new() });
        Self { shards: std::array::from_fn(|_| shard()), hasher: RandomState::new() }
    }
}

impl<R> Wanted<R> {
    fn is_over(&self, now: Timestamp) -> bool {
        matches!(self.until, Until::Instant(at) if at <= now)
    }
}

impl<K: Hash + Eq + Clone, R: Clone> Locks<K, R> {
    fn shard(&self, key: &K) -> MutexGuard<'_, Shard<K, R>> {
        let hash = self.hasher.hash_one(key);
        self.shards[usize::try_from(hash % SHARDS as u64).expect("below 16")].lock()
    }

    /// What is held of a queue.
    pub(crate) fn held(&self, key: &K, now: Timestamp) -> Seen {
        let mut shard = self.shard(key);
        shard.retain(key, |lock| !lock.is_over(now));
        let locks = shard.held.get(key).map(Vec::as_slice).unwrap_or_default();
        Seen { epoch: shard.epoch, sequence_numbers: locks.iter().map(|lock| lock.sequence_number).collect() }
    }

    /// Locks a message read after `seen`. `false` when it was locked or settled meanwhile: look again.
    pub(crate) fn lock(&self, key: &K, seen: &Seen, wanted: Wanted<R>) -> bool {
        let mut shard = self.shard(key);
        let locks = shard.held.get(key).map(Vec::as_slice).unwrap_or_default();
        if shard.epoch != seen.epoch || locks.iter().any(|lock| lock.sequence_number == wanted.sequence_number) {
            return false;
        }
        if let Until::Instant(at) = wanted.until {
            shard.next_end = Some(shard.next_end.map_or(at, |known| known.min(at)));
        }
        shard.held.entry(key.clone()).or_default().push(wanted);
        true
    }

    /// The receipt of a lock that has not ended.
    pub(crate) fn find(&self, key: &K, token: LockToken, now: Timestamp) -> Option<R> {
        let shard = self.shard(key);
        let lock = shard.held.get(key)?.iter().find(|lock| lock.token == token)?;
        (!lock.is_over(now)).then(|| lock.receipt.clone())
    }

    /// Ends one lock; whether there was one.
    pub(crate) fn release(&self, key: &K, token: LockToken) -> bool {
        self.shard(key).retain(key, |lock| lock.token != token)
    }

    /// Ends the locks connections hold, but not those of requests; whether there were any.
    pub(crate) fn release_connections(&self, key: &K) -> bool {
        self.shard(key).retain(key, |lock| lock.holder.is_none())
    }

    /// Ends the locks one connection holds; whether there were any.
    pub(crate) fn release_holder(&self, key: &K, holder: u64) -> bool {
        self.shard(key).retain(key, |lock| lock.holder != Some(holder))
    }

    /// Ends every lock of a queue.
    pub(crate) fn release_all(&self, key: &K) {
        self.shard(key).retain(key, |_| false);
    }

    /// Ends the locks that are due, and names their queues. Looks at a shard only when one may be due.
    pub(crate) fn end_due(&self, now: Timestamp) -> Vec<K> {
        let mut ended = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock();
            if shard.next_end.is_none_or(|at| at > now) {
                continue;
            }
            let due = |locks: &[Wanted<R>]| locks.iter().any(|lock| lock.is_over(now));
            let keys: Vec<K> = shard.held.iter().filter(|(_, locks)| due(locks)).map(|(key, _)| key.clone()).collect();
            for key in &keys {
                shard.retain(key, |lock| !lock.is_over(now));
            }
            let ends = shard.held.values().flatten().filter_map(|lock| match lock.until {
                Until::Instant(at) => Some(at),
                Until::HolderEnds => None,
            });
            shard.next_end = ends.min();
            ended.extend(keys);
        }
        ended
    }
}

impl<K: Hash + Eq, R> Shard<K, R> {
    fn retain(&mut self, key: &K, keep: impl FnMut(&Wanted<R>) -> bool) -> bool {
        let Some(locks) = self.held.get_mut(key) else { return false };
        let before = locks.len();
        locks.retain(keep);
        let ended = locks.len() < before;
        if locks.is_empty() {
            self.held.remove(key);
        }
        self.epoch += u64::from(ended);
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Numbers = Locks<&'static str, u64>;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn wanted(number: u64, holder: Option<u64>, until: Until) -> Wanted<u64> {
        Wanted { token: Uuid::from_u128(number.into()), sequence_number: number, holder, until, receipt: number }
    }

    fn take(locks: &Numbers, number: u64, holder: Option<u64>, until: Until) -> bool {
        let seen = locks.held(&"q", at(0));
        locks.lock(&"q", &seen, wanted(number, holder, until))
    }

    fn held(locks: &Numbers, now: i64) -> Vec<u64> {
        locks.held(&"q", at(now)).sequence_numbers
    }

    #[test]
    fn a_message_is_locked_once_until_its_lock_ends() {
        let locks = Numbers::default();
        assert!(take(&locks, 1, None, Until::Instant(at(60))));
        assert!(!take(&locks, 1, None, Until::Instant(at(60))));
        assert_eq!(locks.find(&"q", Uuid::from_u128(1), at(59)), Some(1));
        assert_eq!(locks.find(&"q", Uuid::from_u128(1), at(60)), None, "one past the limit");
        assert_eq!(locks.find(&"other", Uuid::from_u128(1), at(0)), None);
        assert_eq!((held(&locks, 59), held(&locks, 60)), (vec![1], vec![]));
        assert!(take(&locks, 1, None, Until::Instant(at(120))));
    }

    #[test]
    fn a_read_before_a_release_locks_nothing() {
        let locks = Numbers::default();
        let before = locks.held(&"q", at(0));
        assert!(take(&locks, 1, None, Until::HolderEnds));
        assert!(locks.release(&"q", Uuid::from_u128(1)));
        assert!(!locks.lock(&"q", &before, wanted(1, None, Until::HolderEnds)), "it may be gone by now");
        assert!(take(&locks, 1, None, Until::HolderEnds));
    }

    #[test]
    fn a_holder_gives_back_its_own() {
        let locks = Numbers::default();
        for (number, holder) in [(1, Some(7)), (2, Some(8)), (3, None)] {
            assert!(take(&locks, number, holder, Until::HolderEnds));
        }
        assert!(locks.release_holder(&"q", 7) && !locks.release_holder(&"q", 7));
        assert_eq!(held(&locks, 0), [2, 3]);
        assert!(locks.release_connections(&"q"));
        assert_eq!(held(&locks, 0), [3]);
        locks.release_all(&"q");
        assert!(held(&locks, 0).is_empty());
    }

    #[test]
    fn locks_end_when_due_and_say_where() {
        let locks = Numbers::default();
        assert!(take(&locks, 1, None, Until::Instant(at(10))));
        assert!(take(&locks, 2, None, Until::Instant(at(20))));
        assert!(take(&locks, 3, None, Until::HolderEnds));
        assert!(locks.end_due(at(9)).is_empty());
        assert_eq!(locks.end_due(at(10)), ["q"]);
        assert_eq!(held(&locks, 10), [2, 3]);
        assert_eq!(locks.end_due(at(1_000)), ["q"]);
        assert!(locks.end_due(at(9_000)).is_empty());
        assert_eq!(held(&locks, 9_000), [3]);
    }
}
