//! Handing something to an endpoint, whoever does it: routes, alerts, jobs.

use crate::error::HubError;

/// Why an attempt failed.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum DeliveryError {
    /// Worth another attempt.
    #[error("{0}")]
    Again(String),
    /// Will never work.
    #[error("{0}")]
    Never(String),
}

/// When the endpoint is a device.
impl From<HubError> for DeliveryError {
    fn from(error: HubError) -> Self {
        match error {
            HubError::NotFound(_) | HubError::Twin(_) | HubError::Invalid(_) => Self::Never(error.to_string()),
            _ => Self::Again(error.to_string()),
        }
    }
}
