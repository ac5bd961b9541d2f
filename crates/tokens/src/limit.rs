//! How many tokens may be asked for: by one address, for one identity, and in all.
//!
//! Each bound is a bucket that fills evenly (the generic cell rate algorithm): one instant is kept
//! for each name, and names whose bucket is full again are forgotten.

use std::collections::HashMap;
use std::time::Duration;

use gantry_identity::Timestamp;
use parking_lot::Mutex;

use crate::denied::Denied;

/// Names followed at once under each bound. When as many have asked within their window, others are told to wait.
const NAMES_MAX: usize = 200_000;
/// How often a full table is looked through.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

/// So many in a window, all at once or spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many; none when zero.
    pub count: u32,
    /// In what time.
    pub window: Duration,
}

/// The bounds in use.
#[derive(Debug)]
pub struct Limits {
    address: Mutex<Buckets>,
    subject: Mutex<Buckets>,
    all: Mutex<Buckets>,
}

impl Limits {
    /// Bounds for one address, for one identity and for everybody together.
    pub fn new(address: Rate, subject: Rate, all: Rate) -> Self {
        let bound = |rate| Mutex::new(Buckets::new(rate));
        Self { address: bound(address), subject: bound(subject), all: bound(all) }
    }

    /// Before anything is looked at: `peer` with its port.
    pub(crate) fn admit_address(&self, peer: &str, now: Timestamp) -> Result<(), Denied> {
        let address = peer.rsplit_once(':').map_or(peer, |(address, _)| address);
        self.address
            .lock()
            .take(address, now)
            .map_err(|retry_after| Denied::Throttled { of: "from this address", retry_after })
    }

    /// After the proof.
    pub(crate) fn admit_subject(&self, subject: &str, now: Timestamp) -> Result<(), Denied> {
        let mine = self.subject.lock().take(subject, now);
        mine.map_err(|retry_after| Denied::Throttled { of: "for this identity", retry_after })?;
        self.all.lock().take("", now).map_err(|retry_after| Denied::Throttled { of: "in all", retry_after })
    }
}

#[derive(Debug)]
struct Buckets {
    /// Between two tokens at an even pace.
    interval_micros: i64,
    window_micros: i64,
    /// When each bucket is full again, microseconds since the epoch.
    full_at: HashMap<String, i64>,
    swept_at: i64,
}

impl Buckets {
    fn new(rate: Rate) -> Self {
        let window_micros = i64::try_from(rate.window.as_micros()).unwrap_or(i64::MAX);
        let interval_micros = window_micros.checked_div(i64::from(rate.count)).unwrap_or(0);
        Self { interval_micros, window_micros, full_at: HashMap::new(), swept_at: i64::MIN }
    }

    /// Takes one, or says when to come again.
    fn take(&mut self, name: &str, now: Timestamp) -> Result<(), Duration> {
        if self.interval_micros == 0 {
            return Ok(());
        }
        let now = now.as_millis().saturating_mul(1000);
        let full_at = self.full_at.get(name).copied().unwrap_or(now).max(now).saturating_add(self.interval_micros);
        let over = full_at.saturating_sub(now).saturating_sub(self.window_micros);
        if over > 0 {
            return Err(Duration::from_micros(over.unsigned_abs()));
        }
        if let Some(kept) = self.full_at.get_mut(name) {
            *kept = full_at;
            return Ok(());
        }
        if self.full_at.len() >= NAMES_MAX {
            self.sweep(now)?;
        }
        self.full_at.insert(name.to_owned(), full_at);
        Ok(())
    }

    fn sweep(&mut self, now: i64) -> Result<(), Duration> {
        let pause = i64::try_from(SWEEP_PAUSE.as_micros()).unwrap_or(i64::MAX);
        if now.saturating_sub(self.swept_at) >= pause {
            self.swept_at = now;
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        if self.full_at.len() < NAMES_MAX { Ok(()) } else { Err(SWEEP_PAUSE) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + ms)
    }

    #[test]
    fn a_bucket_holds_its_count_and_fills_evenly() {
        let mut buckets = Buckets::new(Rate { count: 4, window: Duration::from_secs(60) });
        for _ in 0..4 {
            assert_eq!(buckets.take("a", at(0)), Ok(()));
        }
        assert_eq!(buckets.take("a", at(0)), Err(Duration::from_secs(15)));
        assert_eq!(buckets.take("b", at(0)), Ok(()));
        assert_eq!(buckets.take("a", at(14_999)), Err(Duration::from_millis(1)));
        assert_eq!(buckets.take("a", at(15_000)), Ok(()));
        assert_eq!(buckets.take("a", at(15_000)), Err(Duration::from_secs(15)));
    }

    #[test]
    fn zero_is_no_bound() {
        let mut buckets = Buckets::new(Rate { count: 0, window: Duration::from_secs(60) });
        for _ in 0..1000 {
            assert_eq!(buckets.take("a", at(0)), Ok(()));
        }
        assert!(buckets.full_at.is_empty());
    }

    #[test]
    fn a_full_table_forgets_those_who_may_ask_again() {
        let mut buckets = Buckets::new(Rate { count: 1, window: Duration::from_secs(10) });
        for n in 0..NAMES_MAX {
            assert_eq!(buckets.take(&n.to_string(), at(0)), Ok(()));
        }
        assert_eq!(buckets.take("one more", at(5000)), Err(SWEEP_PAUSE));
        assert_eq!(buckets.take("one more", at(10_000)), Ok(()));
        assert_eq!(buckets.full_at.len(), 1);
    }

    #[test]
    fn addresses_count_without_their_ports() {
        let rate = |count| Rate { count, window: Duration::from_secs(1) };
        let limits = Limits::new(rate(2), rate(0), rate(0));
        assert!(limits.admit_address("10.0.0.1:5000", at(0)).is_ok());
        assert!(limits.admit_address("10.0.0.1:5001", at(0)).is_ok());
        assert!(limits.admit_address("10.0.0.1:5002", at(0)).is_err());
        assert!(limits.admit_address("[::1]:5002", at(0)).is_ok());
    }
}
