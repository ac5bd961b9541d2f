//! The public keys of an issuer: a JSON Web Key Set (RFC 7517).
//!
//! Keys of kinds we do not know, for encryption or with shared secrets are passed over, as RFC 7517 wants.

use std::sync::Arc;

use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{AlgorithmFamily, DecodingKey};
use serde::Deserialize;

/// Keys looked at in one set.
pub const KEYS_MAX: usize = 64;
/// Largest set, bytes.
pub const KEY_SET_BYTES_MAX: usize = 256 * 1024;

/// One public key.
#[derive(Clone, Debug)]
pub struct PublicKey {
    /// Its id, `kid`.
    pub id: Option<String>,
    /// The algorithm it is for, `alg`, when the set says so.
    pub algorithm: Option<String>,
    /// The key.
    pub key: DecodingKey,
}

/// A set of public keys; one at least.
#[derive(Clone, Debug)]
pub struct PublicKeys(Arc<[PublicKey]>);

/// Why bytes are no set that can be used.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum KeySetError {
    /// Too large.
    #[error("key set is larger than {KEY_SET_BYTES_MAX} bytes")]
    TooLarge,
    /// No JSON, or no list of keys.
    #[error("key set: {0}")]
    Malformed(String),
    /// Nothing in it is a public key for signatures.
    #[error("key set holds no key that can be used")]
    Empty,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

impl PublicKeys {
    /// Reads a key set document.
    ///
    /// # Errors
    /// [`KeySetError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, KeySetError> {
        if bytes.len() > KEY_SET_BYTES_MAX {
            return Err(KeySetError::TooLarge);
        }
        let set: Set = serde_json::from_slice(bytes).map_err(|error| KeySetError::Malformed(error.to_string()))?;
        let keys: Vec<_> = set.keys.into_iter().take(KEYS_MAX).filter_map(public_key).collect();
        if keys.is_empty() { Err(KeySetError::Empty) } else { Ok(Self(keys.into())) }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &PublicKey> {
        self.0.iter()
    }

    /// Those with an id.
    pub fn with_id<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a PublicKey> {
        self.iter().filter(move |key| key.id.as_deref() == Some(id))
    }
}

fn public_key(value: serde_json::Value) -> Option<PublicKey> {
    let algorithm = value.get("alg").and_then(serde_json::Value::as_str).map(str::to_owned);
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    let signs = jwk.common.public_key_use.as_ref().is_none_or(|of| *of == PublicKeyUse::Signature);
    let is_public = key.family() != AlgorithmFamily::Hmac;
    (signs && is_public).then(|| PublicKey { id: jwk.common.key_id, algorithm, key })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::token::tests::Signer;

    #[track_caller]
    fn check(set: &Value, expected: Result<usize, KeySetError>) {
        let read = PublicKeys::parse(set.to_string().as_bytes());
        assert_eq!(read.map(|keys| keys.iter().count()), expected, "{set}");
    }

    #[test]
    fn public_keys_for_signatures_are_taken() {
        let (rsa, ec) = (Signer::rsa("a").jwk(), Signer::ec("b").jwk());
        let with = |key: &Value, name: &str, value: &str| {
            let mut key = key.clone();
            key[name] = value.into();
            key
        };
        check(&json!({ "keys": [rsa, ec] }), Ok(2));
        check(&json!({ "keys": [rsa, with(&ec, "use", "enc"), { "kty": "future" }] }), Ok(1));
        check(&json!({ "keys": [with(&rsa, "use", "enc")] }), Err(KeySetError::Empty));
        check(&json!({ "keys": [{ "kty": "oct", "k": "c2VjcmV0", "kid": "1" }] }), Err(KeySetError::Empty));
        check(&json!({ "keys": vec![ec; KEYS_MAX + 1] }), Ok(KEYS_MAX));
    }

    #[test]
    fn what_is_no_set_is_refused() {
        check(&json!({ "keys": [] }), Err(KeySetError::Empty));
        for set in [json!([]), json!({}), json!({ "keys": 1 })] {
            assert!(matches!(PublicKeys::parse(set.to_string().as_bytes()), Err(KeySetError::Malformed(_))), "{set}");
        }
        check(&json!({ "keys": "x".repeat(KEY_SET_BYTES_MAX) }), Err(KeySetError::TooLarge));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, n in "[A-Za-z0-9_=-]{0,90}", e in "[A-Za-z0-9_=-]{0,9}") {
            let _ = PublicKeys::parse(&bytes);
            for key in [
                json!({ "kty": "RSA", "kid": "a", "n": n, "e": e }),
                json!({ "kty": "EC", "kid": "a", "crv": "P-256", "x": n, "y": n }),
            ] {
                let Ok(keys) = PublicKeys::parse(json!({ "keys": [key] }).to_string().as_bytes()) else { continue };
                let token = Signer::ec("a").sign(&json!({}));
                let _ = crate::token::jws::Unverified::parse(&token).unwrap().verify(&keys);
            }
        }
    }
}
