//! Programs of our own directory, and their secrets.

use std::time::Duration;

use gantry_identity::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use crate::ids::Guid;
use crate::secret::{Secret, SecretHash};

/// Secrets of one program, so that one can be rolled while another works.
pub const CLIENT_SECRETS_MAX: usize = 10;
/// The longest a secret may live (two years, as the reference's portal offers at most).
pub const CLIENT_SECRET_LIFE_MAX: Duration = Duration::from_secs(730 * 86_400);
/// Longest text that is looked at, bytes.
const SECRET_LEN_MAX: usize = 256;
/// First characters that are shown to recognise a secret by.
const HINT_LEN: usize = 3;
/// Version of the stored shape.
const VERSION: u8 = 1;

/// A program that may get tokens: `{version: 1, appId, objectId, displayName, enabled, roles, secrets}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServicePrincipal {
    #[serde(deserialize_with = "version_one")]
    version: u8,
    /// What it calls itself: `client_id`.
    pub app_id: Guid,
    /// What roles are assigned to.
    pub object_id: Guid,
    /// For people.
    pub display_name: String,
    /// Whether it may get tokens.
    pub enabled: bool,
    /// Application roles its tokens have.
    pub roles: Vec<String>,
    secrets: Vec<ClientSecret>,
}

/// One secret, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientSecret {
    /// Its own id.
    pub key_id: Guid,
    /// For people.
    pub display_name: String,
    /// First three characters of the text.
    pub hint: String,
    hash: SecretHash,
    /// Since when.
    #[serde(with = "crate::millis")]
    pub created_at: Timestamp,
    /// Until when.
    #[serde(with = "crate::millis")]
    pub expires_at: Timestamp,
}

impl ClientSecret {
    /// Whether a text with this hash is it.
    pub fn is(&self, hash: &SecretHash) -> bool {
        self.hash == *hash
    }
}

fn version_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    match u8::deserialize(deserializer)? {
        VERSION => Ok(VERSION),
        other => Err(serde::de::Error::custom(format!("version {other} of a service principal is not known"))),
    }
}

/// Why a secret is not added.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
pub enum SecretNotAdded {
    /// There are as many as may be.
    #[error("a service principal has at most {CLIENT_SECRETS_MAX} secrets")]
    TooMany,
    /// It would live too long, or not at all.
    #[error("a secret lives at least one second and at most 730 days")]
    Life,
}

/// What a presented secret is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SecretCheck {
    Good,
    Expired,
    Wrong,
}

impl ServicePrincipal {
    /// A new one, without secrets.
    pub fn new(app_id: Guid, object_id: Guid, display_name: &str) -> Self {
        let display_name = display_name.to_owned();
        Self { version: VERSION, app_id, object_id, display_name, enabled: true, roles: vec![], secrets: vec![] }
    }

    /// Adds a secret drawn for it; its text is shown this once.
    ///
    /// # Errors
    /// [`SecretNotAdded`].
    pub fn add_secret(
        &mut self,
        key_id: Guid,
        display_name: &str,
        secret: &Secret,
        life: Duration,
        now: Timestamp,
    ) -> Result<(), SecretNotAdded> {
        if self.secrets.len() >= CLIENT_SECRETS_MAX {
            return Err(SecretNotAdded::TooMany);
        }
        if life < Duration::from_secs(1) || life > CLIENT_SECRET_LIFE_MAX {
            return Err(SecretNotAdded::Life);
        }
        self.secrets.push(ClientSecret {
            key_id,
            display_name: display_name.to_owned(),
            hint: secret.text().chars().take(HINT_LEN).collect(),
            hash: secret.hash(),
            created_at: now,
            expires_at: now.plus(life),
        });
        Ok(())
    }

    /// Removes a secret; whether there was one.
    pub fn remove_secret(&mut self, key_id: Guid) -> bool {
        let before = self.secrets.len();
        self.secrets.retain(|secret| secret.key_id != key_id);
        self.secrets.len() < before
    }

    /// Its secrets, without their texts.
    pub fn secrets(&self) -> &[ClientSecret] {
        &self.secrets
    }

    pub(super) fn check_secret(&self, text: &str, now: Timestamp) -> SecretCheck {
        if text.len() > SECRET_LEN_MAX {
            return SecretCheck::Wrong;
        }
        let hash = SecretHash::of(text);
        match self.secrets.iter().find(|secret| secret.hash == hash) {
            None => SecretCheck::Wrong,
            Some(secret) if now >= secret.expires_at => SecretCheck::Expired,
            Some(_) => SecretCheck::Good,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(0);

    fn guid(n: u8) -> Guid {
        Guid::from_random([n; 16])
    }

    #[test]
    fn secrets_are_kept_as_hashes_and_have_bounds() {
        let mut one = ServicePrincipal::new(guid(1), guid(2), "line 7");
        let day = Duration::from_secs(86_400);
        let secret = Secret::from_random([9; 32]);
        assert_eq!(one.add_secret(guid(3), "a", &secret, Duration::ZERO, NOW), Err(SecretNotAdded::Life));
        let long = CLIENT_SECRET_LIFE_MAX + Duration::from_secs(1);
        assert_eq!(one.add_secret(guid(3), "a", &secret, long, NOW), Err(SecretNotAdded::Life));
        for n in 0..CLIENT_SECRETS_MAX {
            let secret = Secret::from_random([u8::try_from(n).unwrap(); 32]);
            one.add_secret(guid(u8::try_from(n).unwrap()), "a", &secret, day, NOW).unwrap();
        }
        assert_eq!(one.add_secret(guid(99), "a", &secret, day, NOW), Err(SecretNotAdded::TooMany));
        let text = Secret::from_random([3; 32]);
        assert_eq!(one.secrets()[3].hint, text.text()[..3]);
        assert_eq!(one.check_secret(text.text(), NOW), SecretCheck::Good);
        assert_eq!(one.check_secret(text.text(), NOW.plus(day)), SecretCheck::Expired);
        assert_eq!(one.check_secret(&"x".repeat(SECRET_LEN_MAX + 1), NOW), SecretCheck::Wrong);
        let json = serde_json::to_string(&one).unwrap();
        assert!(!json.contains(text.text()));
        assert_eq!(serde_json::from_str::<ServicePrincipal>(&json).unwrap(), one);
        assert!(serde_json::from_str::<ServicePrincipal>(&json.replace("\"version\":1", "\"version\":2")).is_err());
        assert!(one.remove_secret(guid(3)) && !one.remove_secret(guid(3)));
        assert_eq!(one.check_secret(text.text(), NOW), SecretCheck::Wrong);
    }
}
