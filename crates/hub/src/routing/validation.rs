//! Webhooks that proved they want events ("Webhook event delivery", endpoint validation).
//!
//! A webhook is sent a code once. It proves itself by answering with the code, or somebody opens the link with the
//! code in it within [`LINK_LIFE`]. What is proved is kept until no endpoint has the address any more.

use std::collections::HashMap;
use std::time::Duration;

use gantry_identity::{Key, Timestamp};
use parking_lot::Mutex;

use crate::connections::streams::{hex, unhex};
use crate::error::HubError;
use crate::hub::Hub;

/// How long a link may be opened (endpoint validation: ten minutes).
pub const LINK_LIFE: Duration = Duration::from_secs(600);
/// Collection of the addresses that proved themselves.
pub(super) const COLLECTION: &str = "webhooks";
/// Addresses that wait at once. Endpoints are fewer; this bounds those of routing that changed meanwhile.
const WAITING_MAX: usize = 64;

/// How far a webhook is.
#[derive(Clone, PartialEq, Eq)]
pub enum Validation {
    /// It proved that it wants events.
    Proved,
    /// It took the code and did not answer with it: the link has to be opened.
    LinkSent,
    /// It is to be sent this code, a secret.
    Code(String),
}

struct Waiting {
    // A key, because keys compare in constant time and are wiped.
    code: Key,
    text: String,
    expires_at: Timestamp,
    is_sent: bool,
}

/// Webhooks that are asked to prove themselves.
#[derive(Default)]
pub(crate) struct Validations {
    waiting: Mutex<HashMap<String, Waiting>>,
}

impl Validations {
    fn state(&self, now: Timestamp, url: &str, draw: impl FnOnce() -> [u8; 32]) -> Validation {
        let mut waiting = self.waiting.lock();
        waiting.retain(|_, one| one.expires_at > now);
        if waiting.len() >= WAITING_MAX && !waiting.contains_key(url) {
            return Validation::LinkSent;
        }
        let one = waiting.entry(url.to_owned()).or_insert_with(|| {
            let bytes = draw();
            let (code, text) = (Key::from_bytes(bytes), hex(&bytes));
            Waiting { code, text, expires_at: now.plus(LINK_LIFE), is_sent: false }
        });
        if one.is_sent { Validation::LinkSent } else { Validation::Code(one.text.clone()) }
    }

    fn sent(&self, url: &str) {
        if let Some(one) = self.waiting.lock().get_mut(url) {
            one.is_sent = true;
        }
    }

    /// The address a code was sent to.
    fn of_code(&self, now: Timestamp, code: &str) -> Option<String> {
        let code = Key::from_bytes(unhex(code)?);
        let waiting = self.waiting.lock();
        let mut found = waiting.iter().filter(|(_, one)| one.expires_at > now && one.code == code);
        found.next().map(|(url, _)| url.clone())
    }

    fn proved(&self, url: &str) {
        self.waiting.lock().remove(url);
    }

    /// Forgets addresses no endpoint has.
    pub(crate) fn retain(&self, in_use: impl Fn(&str) -> bool) {
        self.waiting.lock().retain(|url, _| in_use(url));
    }
}

impl Hub {
    /// How far a webhook is. A code stays the same for [`LINK_LIFE`].
    pub fn webhook_validation(&self, now: Timestamp, url: &str) -> Validation {
        if self.routes.has_proved(url) {
            return Validation::Proved;
        }
        let draw = || {
            let mut bytes = [0; 32];
            self.entropy.fill(&mut bytes);
            bytes
        };
        self.routes.validations.state(now, url, draw)
    }

    /// Notes that a webhook took its code without answering with it.
    pub fn webhook_link_sent(&self, url: &str) {
        self.routes.validations.sent(url);
    }

    /// Notes that a webhook answered with its code.
    ///
    /// # Errors
    /// When that cannot be kept.
    pub async fn webhook_proved(&self, url: &str) -> Result<(), HubError> {
        self.routes.keep_proof(url).await?;
        self.routes.validations.proved(url);
        Ok(())
    }

    /// Somebody opened the link with this code: whether it was a good one.
    ///
    /// # Errors
    /// When that cannot be kept.
    pub async fn open_webhook_link(&self, now: Timestamp, code: &str) -> Result<bool, HubError> {
        let Some(url) = self.routes.validations.of_code(now, code) else { return Ok(false) };
        self.webhook_proved(&url).await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(0);

    #[test]
    fn a_code_is_sent_once_and_opens_until_it_expires() {
        let all = Validations::default();
        let code = hex(&[1; 32]);
        assert!(all.state(NOW, "u", || [1; 32]) == Validation::Code(code.clone()));
        assert!(all.state(NOW, "u", || [2; 32]) == Validation::Code(code.clone()));
        all.sent("u");
        assert!(all.state(NOW, "u", || [2; 32]) == Validation::LinkSent);
        assert_eq!(all.of_code(NOW, &hex(&[2; 32])), None);
        assert_eq!(all.of_code(NOW, "x"), None);
        assert_eq!(all.of_code(NOW, &code).as_deref(), Some("u"));
        let late = NOW.plus(LINK_LIFE);
        assert_eq!(all.of_code(late, &code), None);
        assert!(all.state(late, "u", || [2; 32]) == Validation::Code(hex(&[2; 32])));
    }

    #[test]
    fn a_code_is_forgotten_with_its_address_and_once_it_is_proved() {
        let all = Validations::default();
        for forget in [|all: &Validations| all.proved("u"), |all: &Validations| all.retain(|_| false)] {
            all.state(NOW, "u", || [1; 32]);
            forget(&all);
            assert_eq!(all.of_code(NOW, &hex(&[1; 32])), None);
            assert!(all.state(NOW, "u", || [2; 32]) == Validation::Code(hex(&[2; 32])));
            all.retain(|url| url == "u");
            assert_eq!(all.of_code(NOW, &hex(&[2; 32])).as_deref(), Some("u"));
            all.retain(|_| false);
        }
    }

    #[test]
    fn so_many_wait_at_once() {
        let all = Validations::default();
        for n in 0..WAITING_MAX {
            assert!(matches!(all.state(NOW, &n.to_string(), || [1; 32]), Validation::Code(_)));
        }
        assert!(all.state(NOW, "more", || [1; 32]) == Validation::LinkSent);
        assert!(matches!(all.state(NOW, "0", || [1; 32]), Validation::Code(_)));
    }
}
