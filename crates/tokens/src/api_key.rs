//! API keys: secrets of high entropy, stored as SHA-256, each with the identities it may ask for.
//!
//! A plain hash is enough because keys are drawn (`gantry token-server key`), not chosen: nothing
//! shorter than the keys themselves can be guessed.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use crate::pattern::Pattern;

/// Longest key looked at, bytes.
pub const API_KEY_LEN_MAX: usize = 256;

/// One key.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// Name for the audit log.
    pub name: String,
    /// SHA-256 of the key.
    pub hash: [u8; 32],
    /// What it may ask for.
    pub identities: Vec<Pattern>,
}

/// Why keys cannot be used together.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum ApiKeysError {
    /// Two keys have one hash.
    #[error("API keys `{0}` and `{1}` are the same key")]
    Same(String, String),
    /// A key covers nothing.
    #[error("API key `{0}` names no identities")]
    Nothing(String),
}

/// Every key, found by its hash.
#[derive(Clone, Debug, Default)]
pub struct ApiKeys(HashMap<[u8; 32], ApiKey>);

impl ApiKeys {
    /// Keys from configuration.
    ///
    /// # Errors
    /// [`ApiKeysError`] names the key.
    pub fn new(keys: impl IntoIterator<Item = ApiKey>) -> Result<Self, ApiKeysError> {
        let mut all: HashMap<[u8; 32], ApiKey> = HashMap::new();
        for key in keys {
            if key.identities.is_empty() {
                return Err(ApiKeysError::Nothing(key.name));
            }
            if let Some(other) = all.get(&key.hash) {
                return Err(ApiKeysError::Same(other.name.clone(), key.name));
            }
            all.insert(key.hash, key);
        }
        Ok(Self(all))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key a text is. What is compared are hashes, so time tells nothing of a key.
    pub(crate) fn find(&self, text: &str) -> Option<&ApiKey> {
        (text.len() <= API_KEY_LEN_MAX).then(|| self.0.get(&hash_api_key(text))).flatten()
    }
}

/// What is stored of a key.
pub fn hash_api_key(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, text: &str) -> ApiKey {
        ApiKey { name: name.into(), hash: hash_api_key(text), identities: vec![Pattern::parse("*").unwrap()] }
    }

    #[test]
    fn a_key_is_found_by_its_text_alone() {
        let keys = ApiKeys::new([key("a", "secret-a"), key("b", "secret-b")]).unwrap();
        assert_eq!(keys.find("secret-b").unwrap().name, "b");
        for wrong in ["", "secret-c", "secret-b ", &"x".repeat(API_KEY_LEN_MAX + 1)] {
            assert!(keys.find(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn the_same_key_twice_and_a_key_for_nothing_are_refused() {
        let same = ApiKeys::new([key("a", "s"), key("b", "s")]).unwrap_err();
        assert_eq!(same, ApiKeysError::Same("a".into(), "b".into()));
        let nothing = ApiKey { identities: vec![], ..key("c", "t") };
        assert_eq!(ApiKeys::new([nothing]).unwrap_err(), ApiKeysError::Nothing("c".into()));
    }
}
