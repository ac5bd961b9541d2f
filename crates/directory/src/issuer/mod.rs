//! Our own directory: programs with secrets, the tokens they get, the keys these are signed with, and the documents
//! by which clients find all of it.
//!
//! Paths are the reference's: `/{tenant}/oauth2/token`, `/{tenant}/oauth2/v2.0/token`,
//! `/{tenant}/[v2.0/].well-known/openid-configuration`, `/{tenant}/discovery/[v2.0/]keys`.

mod client;
mod grant;
mod signing;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};

pub use client::{CLIENT_SECRET_LIFE_MAX, CLIENT_SECRETS_MAX, ClientSecret, SecretNotAdded, ServicePrincipal};
pub use grant::{Endpoint, GrantError, Granted, TOKEN_LIFE_SECS, TokenRequest};
pub use signing::{KEPT_AFTER, PUBLISHED_BEFORE, ROTATED_AFTER, SIGNING_KEYS_MAX, SigningKeyError, SigningKeys};

use crate::ids::Guid;
use crate::token::{PublicKeys, TrustedIssuer};

/// What our directory is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnDirectory {
    base: String,
    /// Its one tenant.
    pub tenant_id: Guid,
}

impl OwnDirectory {
    /// A directory at an origin (`https://login.example`).
    pub fn new(origin: &str, tenant_id: Guid) -> Self {
        Self { base: origin.trim_end_matches('/').to_owned(), tenant_id }
    }

    /// What it calls itself in tokens of a version.
    pub fn issuer(&self, version: Endpoint) -> String {
        let Self { base, tenant_id } = self;
        match version {
            Endpoint::V1 => format!("{base}/{tenant_id}/"),
            Endpoint::V2 => format!("{base}/{tenant_id}/v2.0"),
        }
    }

    /// As one whose tokens our heads take.
    pub fn trusted(&self, keys: PublicKeys) -> TrustedIssuer {
        let names = vec![self.issuer(Endpoint::V1), self.issuer(Endpoint::V2)];
        TrustedIssuer { names, tenant_id: self.tenant_id, keys }
    }

    /// The OpenID discovery document (OpenID Connect Discovery, 3), with what client libraries of the reference read.
    pub fn discovery_document(&self, version: Endpoint) -> Value {
        let home = format!("{}/{}", self.base, self.tenant_id);
        let (oauth2, keys) = match version {
            Endpoint::V1 => ("oauth2", "discovery/keys"),
            Endpoint::V2 => ("oauth2/v2.0", "discovery/v2.0/keys"),
        };
        json!({
            "issuer": self.issuer(version),
            "authorization_endpoint": format!("{home}/{oauth2}/authorize"),
            "token_endpoint": format!("{home}/{oauth2}/token"),
            "jwks_uri": format!("{home}/{keys}"),
            "response_types_supported": ["token"],
            "grant_types_supported": ["client_credentials"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
            "scopes_supported": [],
            "tenant_region_scope": null,
        })
    }
}
