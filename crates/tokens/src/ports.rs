//! What the token server needs from outside.

use futures::future::BoxFuture;
use gantry_identity::{Key, Timestamp};

use crate::denied::Denied;
use crate::proof::By;
use crate::subject::Subject;

/// A policy of a hub with the key to sign with now.
#[derive(Clone, Debug)]
pub struct PolicyKey {
    /// Name as tokens carry it in `skn`.
    pub policy: String,
    /// The key.
    pub key: Key,
}

/// Where the key to sign with comes from: a hub in this process, or a connection string.
pub trait Signing: Send + Sync {
    /// The key at this moment; it changes when keys are rolled.
    fn current(&self) -> Option<PolicyKey>;
}

/// What a webhook is told of a request it shall judge. Credentials are passed on as they came.
#[derive(Debug)]
pub struct Facts<'a> {
    /// What the token is asked for.
    pub subject: &'a Subject,
    /// Address of the peer.
    pub peer: &'a str,
    /// `Authorization` header.
    pub authorization: Option<&'a str>,
    /// API key header.
    pub api_key: Option<&'a str>,
    /// Leaf certificate, DER. The peer holds its key; nothing else was checked.
    pub certificate: Option<&'a [u8]>,
}

/// An operator's own judgement.
pub trait Webhook: Send + Sync {
    /// Whether the token may be made. Bounded in time and size by whoever implements it.
    ///
    /// # Errors
    /// When there was no judgement; the text is for the log.
    fn judge<'a>(&'a self, facts: &'a Facts<'a>) -> BoxFuture<'a, Result<bool, String>>;
}

/// Where the keys of an OAuth 2 authorization server come from: a URL or a file.
pub trait KeySource: Send + Sync {
    /// The JSON Web Key Set, as it stands (RFC 7517). Bounded in time and size by whoever implements it.
    ///
    /// # Errors
    /// When it cannot be had; the text is for the log.
    fn fetch(&self) -> BoxFuture<'_, Result<Vec<u8>, String>>;

    /// Called when the keys in use could not be renewed.
    fn failed(&self, reason: &str);
}

/// What became of a request.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// A token was made.
    Issued {
        /// How the device proved itself.
        by: &'a By,
        /// When the token expires.
        expires_at: Timestamp,
        /// Name of the policy, or `registration`.
        key_name: &'a str,
    },
    /// None was.
    Refused(&'a Denied),
}

/// A request and what became of it. Holds no secret.
#[derive(Debug)]
pub struct Event<'a> {
    /// When.
    pub at: Timestamp,
    /// Address of the peer.
    pub peer: &'a str,
    /// What was asked for, cut to a bounded length; as sent when it could not be read.
    pub resource: &'a str,
    /// What became of it.
    pub outcome: Outcome<'a>,
}

/// Takes every answer of the token server.
pub trait Audit: Send + Sync {
    /// Notes one.
    fn note(&self, event: &Event<'_>);
}
