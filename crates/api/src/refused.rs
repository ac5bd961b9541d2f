//! Why a call was not let through to a handler, for crates that answer in a shape of their own.

use axum::http::StatusCode;

use crate::body::BodyError;
use crate::platform::error::PlatformError;

/// Why a call was not let through.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nobody knows who calls.
    #[error("sign in first, or bring a token")]
    Unauthorized,
    /// Who calls may not do that; says what it needs.
    #[error("{0}")]
    Forbidden(String),
    /// The body is too large, or broke off.
    #[error("the request body is too large, or broke off")]
    BodyTooLarge,
    /// The body did not arrive in time.
    #[error("the request body did not arrive in time")]
    BodyTooSlow,
    /// Who calls could not be found out.
    #[error("the operation failed; the log says why")]
    Unavailable,
}

impl From<PlatformError> for Refused {
    fn from(error: PlatformError) -> Self {
        match error.status() {
            StatusCode::FORBIDDEN => Self::Forbidden(error.message().to_owned()),
            StatusCode::UNAUTHORIZED => Self::Unauthorized,
            _ => Self::Unavailable,
        }
    }
}

impl From<BodyError> for Refused {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => Self::BodyTooLarge,
            BodyError::TooSlow => Self::BodyTooSlow,
        }
    }
}
