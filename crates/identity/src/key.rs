//! Symmetric keys.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Shortest key in bytes (identity registry and DPS reference).
pub const KEY_LEN_MIN: usize = 16;
/// Longest key in bytes.
pub const KEY_LEN_MAX: usize = 64;

/// Why a text is not a key. The text itself is never part of the message.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
pub enum KeyError {
    /// Not base64.
    #[error("key is not base64")]
    Base64,
    /// Decoded length outside 16 to 64 bytes.
    #[error("key has {0} bytes; 16 to 64 are allowed")]
    Length(usize),
}

/// A symmetric key. Wiped when dropped, compared in constant time, never printed.
#[derive(Clone)]
pub struct Key(Zeroizing<Vec<u8>>);

impl Key {
    /// Decodes base64 text.
    ///
    /// # Errors
    /// [`KeyError`] when the text is not base64 or its length is out of range.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        let bytes = BASE64.decode(text).map_err(|_| KeyError::Base64)?;
        if !(KEY_LEN_MIN..=KEY_LEN_MAX).contains(&bytes.len()) {
            return Err(KeyError::Length(bytes.len()));
        }
        Ok(Self(Zeroizing::new(bytes)))
    }

    /// A key from random bytes drawn by the caller.
    pub fn from_bytes<const N: usize>(bytes: [u8; N]) -> Self {
        const { assert!(N >= KEY_LEN_MIN && N <= KEY_LEN_MAX) };
        Self(Zeroizing::new(bytes.to_vec()))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The base64 text, for connection strings and registry answers.
    pub fn to_base64(&self) -> String {
        BASE64.encode(&*self.0)
    }

    /// The key whose bytes are this one's base64 text. Event Hubs and Service Bus clients sign with it; IoT Hub
    /// clients decode the text first. The same connection string key reaches the event stream through the former.
    pub fn as_text(&self) -> Self {
        Self(Zeroizing::new(self.to_base64().into_bytes()))
    }

    /// HMAC-SHA256 over `text`.
    pub fn sign(&self, text: &[u8]) -> [u8; 32] {
        self.sign_parts(&[text])
    }

    pub(crate) fn sign_parts(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// The key of one device under a group key: `HMAC-SHA256(group key, registration id)`
    /// (DPS symmetric key attestation, group enrollment).
    pub fn derive(&self, registration_id: &str) -> Self {
        Self::from_bytes(self.sign(registration_id.as_bytes()))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// A primary and a secondary key, so that one can be rolled while the other works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    /// The key in everyday use.
    pub primary: Key,
    /// The key that takes over during a roll.
    pub secondary: Key,
}

impl KeyPair {
    /// Both device keys derived from a group's pair.
    pub fn derive(&self, registration_id: &str) -> Self {
        Self { primary: self.primary.derive(registration_id), secondary: self.secondary.derive(registration_id) }
    }

    /// Both keys as Event Hubs clients use them; see [`Key::as_text`].
    pub fn as_text(&self) -> Self {
        Self { primary: self.primary.as_text(), secondary: self.secondary.as_text() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_hubs_clients_sign_with_the_text_of_a_key() {
        let key = Key::from_base64("MDEyMzQ1Njc4OWFiY2RlZg==").unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(b"MDEyMzQ1Njc4OWFiY2RlZg==").unwrap();
        mac.update(b"text");
        assert_eq!(key.as_text().sign(b"text")[..], mac.finalize().into_bytes()[..]);
        assert_ne!(key.as_text(), key);
    }

    #[test]
    fn derives_the_published_group_vector() {
        let group = Key::from_base64(
            "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==",
        )
        .unwrap();
        assert_eq!(
            group.derive("sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6").to_base64(),
            "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc="
        );
    }

    #[test]
    fn length_is_16_to_64_bytes() {
        let of = |n: usize| Key::from_base64(&BASE64.encode(vec![7; n])).map(|_| ());
        assert_eq!(of(15), Err(KeyError::Length(15)));
        assert_eq!(of(16), Ok(()));
        assert_eq!(of(64), Ok(()));
        assert_eq!(of(65), Err(KeyError::Length(65)));
        assert_eq!(Key::from_base64("no base64!").unwrap_err(), KeyError::Base64);
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Key::from_bytes([1; 32])), "Key(…)");
    }
}
