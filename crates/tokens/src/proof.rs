//! How a device proves itself to the token server.
//!
//! What is presented decides which proof is looked at, in this order: API key, JSON Web Token,
//! forwarded identity, certificate; each only when it is configured. A credential that was
//! presented and is wrong ends the matter: no weaker proof is tried after it. A webhook is asked
//! when nothing else was presented that this server judges itself.

use std::fmt;
use std::sync::Arc;

use gantry_identity::{CertificateChain, Timestamp};

use crate::api_key::ApiKeys;
use crate::certificate::{DeviceCertificates, TrustedProxy};
use crate::denied::{Denied, Unproven};
use crate::jwt::JwtRules;
use crate::pattern::Pattern;
use crate::ports::{Facts, Webhook};
use crate::subject::Subject;

/// What came with a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Presented<'a> {
    /// `Authorization` header.
    pub authorization: Option<&'a str>,
    /// API key header.
    pub api_key: Option<&'a str>,
    /// The header in which a proxy names a device.
    pub forwarded: Option<&'a str>,
    /// Certificates of the connection; it holds the leaf's key.
    pub certificate: Option<&'a CertificateChain>,
}

/// How somebody proved who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// An API key, by its name.
    ApiKey(String),
    /// A JSON Web Token, by the device it names.
    Jwt(String),
    /// A proxy, by its name.
    Proxy(String),
    /// A certificate, by its first name.
    Certificate(String),
    /// The webhook's word.
    Webhook,
}

impl By {
    /// One word for metrics and logs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ApiKey(_) => "api_key",
            Self::Jwt(_) => "jwt",
            Self::Proxy(_) => "proxy",
            Self::Certificate(_) => "certificate",
            Self::Webhook => "webhook",
        }
    }

    /// As whom; empty when the proof names nobody.
    pub fn name(&self) -> &str {
        match self {
            Self::ApiKey(name) | Self::Jwt(name) | Self::Proxy(name) | Self::Certificate(name) => name,
            Self::Webhook => "",
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.kind(), self.name())
    }
}

/// The proofs a server takes.
#[derive(Default)]
pub struct Proofs {
    /// API keys.
    pub api_keys: ApiKeys,
    /// JSON Web Tokens.
    pub jwt: Option<JwtRules>,
    /// A proxy that names devices.
    pub proxy: Option<TrustedProxy>,
    /// Certificates of devices.
    pub certificates: Option<DeviceCertificates>,
    /// An operator's own judgement.
    pub webhook: Option<Arc<dyn Webhook>>,
}

impl Proofs {
    /// Whether nothing is configured, so that nobody could get a token.
    pub fn is_empty(&self) -> bool {
        let Self { api_keys, jwt, proxy, certificates, webhook } = self;
        api_keys.is_empty() && jwt.is_none() && proxy.is_none() && certificates.is_none() && webhook.is_none()
    }

    /// Who is asking, when that covers what is asked for.
    pub(crate) async fn check(
        &self,
        presented: Presented<'_>,
        subject: &Subject,
        peer: &str,
        now: Timestamp,
    ) -> Result<By, Denied> {
        match self.own(presented, subject, now).await? {
            Some((by, true)) => Ok(by),
            Some((by, false)) => Err(Denied::NotOwn { by: by.to_string(), subject: subject.to_string() }),
            None => self.ask_webhook(presented, subject, peer).await,
        }
    }

    /// What this server judges itself, and whether that covers the subject; `None` when nothing of it was presented.
    async fn own(
        &self,
        presented: Presented<'_>,
        subject: &Subject,
        now: Timestamp,
    ) -> Result<Option<(By, bool)>, Denied> {
        let covered = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.covers(subject));
        let Presented { authorization, api_key, forwarded, certificate } = presented;
        if let Some(text) = api_key.filter(|_| !self.api_keys.is_empty()) {
            let key = self.api_keys.find(text).ok_or(Unproven::ApiKey)?;
            return Ok(Some((By::ApiKey(key.name.clone()), covered(&key.identities))));
        }
        if let (Some(rules), Some(token)) = (&self.jwt, authorization.and_then(bearer)) {
            let (device, covers) = rules.check(token, now).await?;
            return Ok(Some((By::Jwt(device), covered(&covers))));
        }
        if let (Some(proxy), Some(device)) = (&self.proxy, forwarded) {
            let (name, covers) = proxy.check(certificate, device, now)?;
            return Ok(Some((By::Proxy(name), covered(&covers))));
        }
        if let (Some(rules), Some(chain)) = (&self.certificates, certificate) {
            let covers = rules.check(chain, now)?;
            let name = chain.names().into_iter().next().unwrap_or_default();
            return Ok(Some((By::Certificate(name), covered(&covers))));
        }
        Ok(None)
    }

    async fn ask_webhook(&self, presented: Presented<'_>, subject: &Subject, peer: &str) -> Result<By, Denied> {
        let webhook = self.webhook.as_ref().ok_or(Unproven::Missing)?;
        let facts = Facts {
            subject,
            peer,
            authorization: presented.authorization,
            api_key: presented.api_key,
            certificate: presented.certificate.map(CertificateChain::leaf_der),
        };
        match webhook.judge(&facts).await {
            Ok(true) => Ok(By::Webhook),
            Ok(false) => Err(Unproven::Webhook.into()),
            Err(reason) => Err(Denied::Unavailable(format!("the webhook: {reason}"))),
        }
    }
}

/// The token of a `Bearer` header; the scheme is compared without case (RFC 9110, 11.1).
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}
