//! Signed JSON Web Tokens (RFC 7515, 7519): the three parts, the header, the signature. What the claims must say is
//! for the callers.
//!
//! Taken are RS256, PS256 and ES256, with a key of the issuer's set that the header names. Nothing in the header says
//! where a key comes from, and the family of the key must be that of the algorithm: a public key is never a secret.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::claims::Claims;
use super::keys::{PublicKey, PublicKeys};

/// Longest token, bytes. A token of the reference with 200 groups, the most it puts into one, has about 12,000.
pub const TOKEN_LEN_MAX: usize = 16 * 1024;
/// Characters of a foreign text that a message shows.
const SHOWN_MAX: usize = 128;

/// Why a token is not one that an issuer signed. For the log.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum JwtError {
    /// Too long.
    #[error("token is longer than {TOKEN_LEN_MAX} bytes")]
    TooLong,
    /// A part is not what it must be.
    #[error("token's {part} is not {what}")]
    Malformed {
        /// Which part.
        part: &'static str,
        /// What it must be.
        what: &'static str,
    },
    /// Five parts: a JWE.
    #[error("token is encrypted")]
    Encrypted,
    /// A token in a token, or compressed.
    #[error("token is nested or packed: header has `{0}`")]
    Nested(&'static str),
    /// The header demands extensions.
    #[error("token's header has `crit`, and no extension is known")]
    Critical,
    /// The header brings a key, or says where to fetch it.
    #[error("token's header brings its own key in `{0}`")]
    OwnKey(&'static str),
    /// `none`, a shared secret, or an algorithm we do not take.
    #[error("algorithm `{0}` is none of RS256, PS256 and ES256")]
    Algorithm(String),
    /// The header names no key.
    #[error("token names no key (`kid`)")]
    KeyIdMissing,
    /// The issuer has no such key; it may be newer than the set.
    #[error("key `{0}` is not in the issuer's set")]
    KeyUnknown(String),
    /// The key is for other algorithms.
    #[error("key `{0}` is not for the token's algorithm")]
    KeyMismatch(String),
    /// Somebody else signed it, or it was changed.
    #[error("signature is wrong")]
    Signature,
}

/// A token nobody has verified: only its issuer may be looked at, to choose the keys.
#[derive(Debug)]
pub(crate) struct Unverified<'a> {
    algorithm: Algorithm,
    key_id: String,
    signed: &'a str,
    signature: &'a str,
    claims: Claims,
}

impl<'a> Unverified<'a> {
    pub(crate) fn parse(token: &'a str) -> Result<Self, JwtError> {
        if token.len() > TOKEN_LEN_MAX {
            return Err(JwtError::TooLong);
        }
        let parts: Vec<&str> = token.splitn(6, '.').collect();
        let (header, payload, signature) = match parts[..] {
            [header, payload, signature] => (header, payload, signature),
            [_, _, _, _, _] => return Err(JwtError::Encrypted),
            _ => return Err(JwtError::Malformed { part: "text", what: "three parts" }),
        };
        let header = object(header, "header")?;
        let algorithm = check_header(&header)?;
        let key_id = match header.get("kid") {
            None => return Err(JwtError::KeyIdMissing),
            Some(Value::String(id)) if !id.is_empty() => id.clone(),
            Some(_) => return Err(JwtError::Malformed { part: "`kid`", what: "a text" }),
        };
        let claims = Claims(object(payload, "payload")?);
        let signed = token.get(..token.len() - signature.len() - 1).unwrap_or_default();
        Ok(Self { algorithm, key_id, signed, signature, claims })
    }

    /// Who says they issued it.
    pub(crate) fn issuer(&self) -> Option<&str> {
        self.claims.0.get("iss").and_then(Value::as_str)
    }

    /// The claims, once a key of the set proves them.
    pub(crate) fn verify(self, keys: &PublicKeys) -> Result<Claims, JwtError> {
        let named: Vec<_> = keys.with_id(&self.key_id).collect();
        if named.is_empty() {
            return Err(JwtError::KeyUnknown(shown(&self.key_id)));
        }
        let fitting: Vec<_> = named.into_iter().filter(|key| self.fits(key)).collect();
        if fitting.is_empty() {
            return Err(JwtError::KeyMismatch(shown(&self.key_id)));
        }
        let verifies = |key: &&PublicKey| {
            jsonwebtoken::crypto::verify(self.signature, self.signed.as_bytes(), &key.key, self.algorithm)
                .unwrap_or(false)
        };
        if fitting.iter().any(verifies) { Ok(self.claims) } else { Err(JwtError::Signature) }
    }

    fn fits(&self, key: &PublicKey) -> bool {
        let same_algorithm = key.algorithm.as_deref().is_none_or(|name| name.parse() == Ok(self.algorithm));
        same_algorithm && key.key.family() == self.algorithm.family()
    }
}

fn object(part: &str, name: &'static str) -> Result<Map<String, Value>, JwtError> {
    let malformed = |what| JwtError::Malformed { part: name, what };
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed("base64url"))?;
    serde_json::from_slice(&bytes).map_err(|_| malformed("a JSON object"))
}

fn check_header(header: &Map<String, Value>) -> Result<Algorithm, JwtError> {
    let has = |name: &&&'static str| header.contains_key(**name);
    if header.contains_key("crit") {
        return Err(JwtError::Critical);
    }
    if let Some(name) = ["cty", "enc", "zip"].iter().find(has) {
        return Err(JwtError::Nested(name));
    }
    if let Some(name) = ["jwk", "jku", "x5u"].iter().find(has) {
        return Err(JwtError::OwnKey(name));
    }
    match header.get("alg").and_then(Value::as_str) {
        Some("RS256") => Ok(Algorithm::RS256),
        Some("PS256") => Ok(Algorithm::PS256),
        Some("ES256") => Ok(Algorithm::ES256),
        other => Err(JwtError::Algorithm(shown(other.unwrap_or_default()))),
    }
}

/// A foreign text as messages show it: bounded, on one line.
pub(crate) fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SHOWN_MAX).collect()
}
