//! Secrets that are drawn, not chosen: shown once, kept as SHA-256.
//!
//! A plain hash is enough because nothing shorter than the 256 bits themselves can be guessed.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// A secret text of 43 characters (base64url). Wiped when dropped, never printed.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// From random bytes drawn by the caller.
    pub fn from_random(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// The text, for whom it is.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A secret text that was not drawn here, or is made of one. Wiped when dropped, never printed.
#[derive(Clone)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text, for whom it is.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}

/// SHA-256 of a drawn secret. Compared in constant time.
#[derive(Clone, Copy, Eq, Hash)]
#[expect(clippy::derived_hash_with_manual_eq, reason = "equal in constant time is still equal")]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// Of a presented text.
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(…)")
    }
}

impl Serialize for SecretHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for SecretHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = || serde::de::Error::custom("not 32 bytes in base64");
        let bytes = BASE64.decode(String::deserialize(deserializer)?).map_err(|_| wrong())?;
        bytes.try_into().map(Self).map_err(|_| wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_by_its_hash_and_never_printed() {
        let secret = Secret::from_random([7; 32]);
        assert_eq!(secret.text().len(), 43);
        assert_eq!(SecretHash::of(secret.text()), secret.hash());
        assert_ne!(SecretHash::of(&format!("{} ", secret.text())), secret.hash());
        let text = SecretText::new(secret.text());
        assert_eq!(format!("{secret:?} {text:?} {:?}", secret.hash()), "Secret(…) SecretText(…) SecretHash(…)");
    }

    #[test]
    fn a_hash_is_read_as_it_was_written() {
        let hash = SecretHash::of("a");
        let json = serde_json::to_string(&hash).unwrap();
        assert_eq!(serde_json::from_str::<SecretHash>(&json).unwrap(), hash);
        for wrong in ["\"\"", "\"AAAA\"", "\"!\"", "7"] {
            assert!(serde_json::from_str::<SecretHash>(wrong).is_err(), "{wrong}");
        }
    }
}
