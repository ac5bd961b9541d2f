//! The keys our own directory signs with (ES256), and how one follows another.
//!
//! A new key is published [`PUBLISHED_BEFORE`] it signs, so that whoever keeps our set has it by then; the old one
//! stays published for [`KEPT_AFTER`], longer than any token lives. The first key signs at once.
//!
//! On disk: a list of `{pkcs8, activeFrom}`, oldest first; the id of a key is its thumbprint (RFC 7638).

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use gantry_identity::Timestamp;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::token::PublicKeys;

/// How long before its first signature a key is published.
pub const PUBLISHED_BEFORE: Duration = Duration::from_secs(86_400);
/// How long after its last signature a key is published.
pub const KEPT_AFTER: Duration = Duration::from_secs(86_400);
/// How long a key signs.
pub const ROTATED_AFTER: Duration = Duration::from_secs(30 * 86_400);
/// Keys at one time.
pub const SIGNING_KEYS_MAX: usize = 8;

/// Why a key is not taken.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
pub enum SigningKeyError {
    /// Not what it must be.
    #[error("signing key is not an ECDSA key over P-256 in PKCS #8")]
    Form,
    /// There are as many as may be.
    #[error("there are {SIGNING_KEYS_MAX} signing keys, which is the most")]
    TooMany,
    /// There is none that signs now.
    #[error("no signing key is in use")]
    None,
}

#[derive(Clone)]
struct SigningKey {
    pkcs8: Zeroizing<Vec<u8>>,
    active_from: Timestamp,
    id: String,
    key: EncodingKey,
    jwk: Value,
}

impl SigningKey {
    fn new(pkcs8: Zeroizing<Vec<u8>>, active_from: Timestamp) -> Result<Self, SigningKeyError> {
        let wrong = |_| SigningKeyError::Form;
        let key = EncodingKey::from_ec_der(&pkcs8);
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).map_err(wrong)?;
        let id = jwk.thumbprint(ThumbprintHash::SHA256).map_err(wrong)?;
        jwk.common.key_id = Some(id.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        let jwk = serde_json::to_value(jwk).map_err(|_| SigningKeyError::Form)?;
        Ok(Self { pkcs8, active_from, id, key, jwk })
    }
}

/// Keys, oldest first.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(try_from = "Vec<Stored>", into = "Vec<Stored>")]
pub struct SigningKeys(Vec<SigningKey>);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Stored {
    pkcs8: String,
    #[serde(with = "crate::millis")]
    active_from: Timestamp,
}

impl TryFrom<Vec<Stored>> for SigningKeys {
    type Error = SigningKeyError;

    fn try_from(stored: Vec<Stored>) -> Result<Self, SigningKeyError> {
        if stored.len() > SIGNING_KEYS_MAX {
            return Err(SigningKeyError::TooMany);
        }
        let read = |one: Stored| {
            let pkcs8 = BASE64.decode(one.pkcs8).map_err(|_| SigningKeyError::Form)?;
            SigningKey::new(Zeroizing::new(pkcs8), one.active_from)
        };
        stored.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }
}

impl From<SigningKeys> for Vec<Stored> {
    fn from(keys: SigningKeys) -> Self {
        let write =
            |key: SigningKey| Stored { pkcs8: BASE64.encode(key.pkcs8.as_slice()), active_from: key.active_from };
        keys.0.into_iter().map(write).collect()
    }
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.0.iter().map(|key| (&key.id, key.active_from));
        f.debug_map().entries(ids).finish()
    }
}

impl SigningKeys {
    /// Whether a new key is to be drawn and given to [`Self::add`].
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.0.last().is_none_or(|key| now >= key.active_from.plus(ROTATED_AFTER - PUBLISHED_BEFORE))
    }

    /// Takes a new key (PKCS #8, ECDSA over P-256, as every tool makes it), and gives its id.
    ///
    /// # Errors
    /// [`SigningKeyError`].
    pub fn add(&mut self, pkcs8: Zeroizing<Vec<u8>>, now: Timestamp) -> Result<&str, SigningKeyError> {
        if self.0.len() >= SIGNING_KEYS_MAX {
            return Err(SigningKeyError::TooMany);
        }
        let active_from = if self.current(now).is_none() { now } else { now.plus(PUBLISHED_BEFORE) };
        self.0.push(SigningKey::new(pkcs8, active_from)?);
        self.0.last().map(|key| key.id.as_str()).ok_or(SigningKeyError::None)
    }

    /// Forgets keys whose successor has signed for longer than their tokens live; how many.
    pub fn retire(&mut self, now: Timestamp) -> usize {
        let before = self.0.len();
        while self.0.get(1).is_some_and(|next| now >= next.active_from.plus(KEPT_AFTER)) {
            self.0.remove(0);
        }
        before - self.0.len()
    }

    /// Forgets a key that is not secret any more; its tokens are worth nothing from now on. Whether there was one.
    pub fn revoke(&mut self, id: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|key| key.id != id);
        self.0.len() < before
    }

    /// Whether one of them signs now.
    pub fn can_sign(&self, now: Timestamp) -> bool {
        self.current(now).is_some()
    }

    /// Their ids, oldest first, each with when it begins to sign.
    pub fn ids(&self) -> impl Iterator<Item = (&str, Timestamp)> {
        self.0.iter().map(|key| (key.id.as_str(), key.active_from))
    }

    fn current(&self, now: Timestamp) -> Option<&SigningKey> {
        self.0.iter().rev().find(|key| key.active_from <= now)
    }

    pub(super) fn sign(&self, claims: &Value, now: Timestamp) -> Result<String, SigningKeyError> {
        let key = self.current(now).ok_or(SigningKeyError::None)?;
        let header = Header { kid: Some(key.id.clone()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, &key.key).map_err(|_| SigningKeyError::Form)
    }

    /// The set to publish at `jwks_uri`.
    pub fn document(&self) -> Value {
        json!({ "keys": self.0.iter().map(|key| &key.jwk).collect::<Vec<_>>() })
    }

    /// The public keys, for our own heads; none before the first key.
    pub fn public_keys(&self) -> Option<PublicKeys> {
        PublicKeys::parse(self.document().to_string().as_bytes()).ok()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn drawn() -> Zeroizing<Vec<u8>> {
        Zeroizing::new(rcgen::KeyPair::generate().unwrap().serialize_der())
    }

    fn at(days: u64) -> Timestamp {
        Timestamp::from_millis(0).plus(Duration::from_secs(days * 86_400))
    }

    #[test]
    fn one_key_follows_another_without_a_gap() {
        let mut keys = SigningKeys::default();
        assert!(keys.is_due(at(0)) && keys.sign(&json!({}), at(0)).is_err() && keys.public_keys().is_none());
        let first = keys.add(drawn(), at(0)).unwrap().to_owned();
        let current = |keys: &SigningKeys, days| keys.current(at(days)).unwrap().id.clone();
        assert_eq!(current(&keys, 0), first);
        assert!(!keys.is_due(at(28)) && keys.is_due(at(29)));
        let second = keys.add(drawn(), at(29)).unwrap().to_owned();
        assert!(!keys.is_due(at(29)), "one is waiting");
        assert_eq!(keys.document()["keys"].as_array().unwrap().len(), 2, "published before it signs");
        assert_eq!((current(&keys, 29), current(&keys, 30)), (first.clone(), second.clone()));
        assert_eq!((keys.retire(at(30)), keys.retire(at(31))), (0, 1));
        assert!(keys.revoke(&second) && !keys.revoke(&first));
        assert!(keys.sign(&json!({}), at(31)).is_err() && !keys.can_sign(at(31)));
        assert!(keys.add(drawn(), at(31)).is_ok() && keys.sign(&json!({}), at(31)).is_ok(), "the next signs at once");
    }

    #[test]
    fn the_published_set_has_no_private_part() {
        let mut keys = SigningKeys::default();
        keys.add(drawn(), at(0)).unwrap();
        let key = &keys.document()["keys"][0];
        let names: Vec<_> = key.as_object().unwrap().keys().map(String::as_str).collect();
        assert!(!names.contains(&"d"), "{names:?}");
        assert_eq!((&key["use"], &key["alg"], &key["crv"]), (&json!("sig"), &json!("ES256"), &json!("P-256")));
        assert!(!format!("{keys:?}").contains(&BASE64.encode(&keys.0[0].pkcs8)[..20]));
    }

    #[test]
    fn keys_are_read_as_they_were_written_and_bounded() {
        let mut keys = SigningKeys::default();
        for _ in 0..SIGNING_KEYS_MAX {
            keys.add(drawn(), at(0)).unwrap();
        }
        assert_eq!(keys.add(drawn(), at(0)), Err(SigningKeyError::TooMany));
        let json = serde_json::to_string(&keys).unwrap();
        let read: SigningKeys = serde_json::from_str(&json).unwrap();
        assert_eq!(read.document(), keys.document());
        for wrong in ["[{\"pkcs8\":\"AAAA\",\"activeFrom\":0}]", "[{\"pkcs8\":\"!\",\"activeFrom\":0}]", "[{}]", "{}"] {
            assert!(serde_json::from_str::<SigningKeys>(wrong).is_err(), "{wrong}");
        }
        assert_eq!(SigningKeys::default().add(Zeroizing::new(vec![1, 2]), at(0)), Err(SigningKeyError::Form));
    }
}
