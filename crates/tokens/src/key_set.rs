//! The public keys of an OAuth 2 authorization server, kept and renewed.
//!
//! A set is fetched when a token needs it, again after [`KeySetRules::max_age`], and when a token
//! names a key that is not in it, but never twice within [`KeySetRules::pause`]: a stranger who
//! makes up key ids cannot make us call. One fetch runs at a time; whoever has a usable key goes on
//! with it meanwhile, and when the server is down, until [`KeySetRules::stale_max`].

use std::sync::Arc;
use std::time::Duration;

use gantry_directory::PublicKeys;
use gantry_identity::Timestamp;
use parking_lot::RwLock;

use crate::ports::KeySource;

/// When keys are fetched.
#[derive(Clone, Copy, Debug)]
pub struct KeySetRules {
    /// Age at which they are fetched again.
    pub max_age: Duration,
    /// Least time between two attempts.
    pub pause: Duration,
    /// Age until which they are used when they cannot be fetched.
    pub stale_max: Duration,
}

impl Default for KeySetRules {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        Self { max_age: minutes(10), pause: Duration::from_secs(30), stale_max: minutes(24 * 60) }
    }
}

/// The keys, and where they come from.
pub struct KeySet {
    source: Arc<dyn KeySource>,
    rules: KeySetRules,
    state: RwLock<State>,
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    keys: Option<PublicKeys>,
    fetched_at: Option<Timestamp>,
    tried_at: Option<Timestamp>,
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeySet").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl KeySet {
    /// Keys of a source; nothing is fetched yet.
    pub fn new(source: Arc<dyn KeySource>, rules: KeySetRules) -> Self {
        Self { source, rules, state: RwLock::default(), fetching: tokio::sync::Mutex::default() }
    }

    /// The keys that may have signed a token that names `id`; none when no key has that id. `None` when there are no
    /// keys because they cannot be had.
    pub(crate) async fn candidates(&self, id: Option<&str>, now: Timestamp) -> Option<PublicKeys> {
        let held = self.held(now);
        let has_key = held.as_ref().is_some_and(|keys| contains(keys, id));
        if self.is_due(has_key, now) {
            let guard = match has_key {
                true => self.fetching.try_lock().ok(),
                false => Some(self.fetching.lock().await),
            };
            // Whoever waited finds what the one before them fetched.
            if guard.is_some() && self.is_due(has_key, now) {
                self.renew(now).await;
            }
        }
        self.held(now)
    }

    fn held(&self, now: Timestamp) -> Option<PublicKeys> {
        let state = self.state.read();
        let age = now.since(state.fetched_at?);
        state.keys.clone().filter(|_| age <= self.rules.stale_max)
    }

    fn is_due(&self, has_key: bool, now: Timestamp) -> bool {
        let state = self.state.read();
        let rested = state.tried_at.is_none_or(|at| now.since(at) >= self.rules.pause);
        let is_old = state.fetched_at.is_none_or(|at| now.since(at) >= self.rules.max_age);
        rested && (is_old || !has_key)
    }

    async fn renew(&self, now: Timestamp) {
        self.state.write().tried_at = Some(now);
        let parsed = match self.source.fetch().await {
            Ok(bytes) => PublicKeys::parse(&bytes).map_err(|error| error.to_string()),
            Err(reason) => Err(reason),
        };
        match parsed {
            Ok(keys) => {
                let mut state = self.state.write();
                state.keys = Some(keys);
                state.fetched_at = Some(now);
            }
            Err(reason) => self.source.failed(&reason),
        }
    }
}

fn contains(keys: &PublicKeys, id: Option<&str>) -> bool {
    keys.iter().any(|key| id.is_none() || key.id.as_deref() == id)
}
