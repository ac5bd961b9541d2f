//! Errors of the platform API: `{"error":{"code","message"}}`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use gantry_hub::HubError;
use gantry_monitoring::rules::RuleError;
use serde_json::json;

use crate::body::BodyError;

/// An error answer of the platform API.
#[derive(Debug)]
pub(crate) struct PlatformError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl PlatformError {
    pub(crate) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "sign in first")
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message)
    }

    pub(crate) fn too_many() -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", "too many attempts; wait a minute")
    }

    pub(crate) fn not_found(what: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", what)
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "Conflict", message)
    }

    pub(crate) fn changed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "PreconditionFailed", message)
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Invalid", message)
    }

    pub(crate) fn unavailable() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "Unavailable", "the operation failed; the log says why")
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }
}

impl From<HubError> for PlatformError {
    fn from(error: HubError) -> Self {
        let message = error.to_string();
        let (status, code) = match error {
            HubError::NoSuchCertificate(_) => (StatusCode::NOT_FOUND, "NotFound"),
            HubError::CertificateChanged(_) | HubError::RoutingChanged => {
                (StatusCode::PRECONDITION_FAILED, "PreconditionFailed")
            }
            HubError::NotFound(_) => (StatusCode::NOT_FOUND, "NotFound"),
            HubError::FaultsOff => (StatusCode::FORBIDDEN, "FaultsOff"),
            HubError::NotOnline(_) => (StatusCode::CONFLICT, "DeviceNotOnline"),
            HubError::Timeout(_) => (StatusCode::GATEWAY_TIMEOUT, "Timeout"),
            HubError::Disabled(_) => (StatusCode::CONFLICT, "DeviceDisabled"),
            HubError::Throttled(_) | HubError::Contended(_) | HubError::TooManyMethods(_) => {
                (StatusCode::TOO_MANY_REQUESTS, "Busy")
            }
            HubError::NoSpace | HubError::Failed(_) => {
                tracing::error!(error = %message, "operation failed");
                (StatusCode::SERVICE_UNAVAILABLE, "Unavailable")
            }
            _ => (StatusCode::BAD_REQUEST, "Invalid"),
        };
        Self::new(status, code, message)
    }
}

impl From<BodyError> for PlatformError {
    fn from(error: BodyError) -> Self {
        let (status, code) = match error {
            BodyError::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "TooLarge"),
            BodyError::TooSlow => (StatusCode::REQUEST_TIMEOUT, "Timeout"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<RuleError> for PlatformError {
    fn from(error: RuleError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl IntoResponse for PlatformError {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": { "code": self.code, "message": self.message } }))).into_response()
    }
}
