//! Why a token was not made.

use std::time::Duration;

use gantry_identity::CertificateError;

use crate::subject::SubjectError;

/// Why a request got no token. The texts are for logs; heads decide what a peer may read of them.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum Denied {
    /// What was asked for cannot be read.
    #[error("{0}")]
    Subject(#[from] SubjectError),
    /// The life asked for is out of range.
    #[error("{0}")]
    Life(String),
    /// The host or scope is none this server signs for.
    #[error("`{0}` is neither a host name nor an id scope this server makes tokens for")]
    Place(String),
    /// Nobody proved anything.
    #[error("not proven: {0}")]
    Unproven(#[from] Unproven),
    /// Proven to be somebody else.
    #[error("proven by {by}, which does not cover `{subject}`")]
    NotOwn {
        /// How, and as whom.
        by: String,
        /// What was asked for.
        subject: String,
    },
    /// Too many requests.
    #[error("too many requests {of}")]
    Throttled {
        /// Of whom.
        of: &'static str,
        /// When to come again.
        retry_after: Duration,
    },
    /// A judgement could not be had.
    #[error("{0}")]
    Unavailable(String),
}

/// Why a proof is none.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum Unproven {
    /// No credential that is configured was presented.
    #[error("no credential this server takes was presented")]
    Missing,
    /// The API key is unknown.
    #[error("API key is unknown")]
    ApiKey,
    /// The certificate is not good.
    #[error("{0}")]
    Certificate(#[from] CertificateError),
    /// The JSON Web Token is not good.
    #[error("JSON Web Token: {0}")]
    Jwt(String),
    /// The webhook said no.
    #[error("refused by the webhook")]
    Webhook,
    /// A forwarded identity came from somebody who is not the operator's proxy.
    #[error("forwarded identity not from the proxy: {0}")]
    Proxy(String),
}

impl Denied {
    /// One word for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Subject(_) | Self::Life(_) | Self::Place(_) => "malformed",
            Self::Unproven(_) => "unproven",
            Self::NotOwn { .. } => "not_own",
            Self::Throttled { .. } => "throttled",
            Self::Unavailable(_) => "unavailable",
        }
    }
}
