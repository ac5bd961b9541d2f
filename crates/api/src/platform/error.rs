//! Errors of the platform API: `{"error":{"code","message"}}`.

use std::time::Duration;

use axum::Json;
use axum::http::{StatusCode, header};
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
    /// Seconds to wait.
    retry_after: Option<u64>,
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

    /// Come again after so long.
    pub(crate) fn wait(wait: Duration) -> Self {
        let secs = wait.as_secs().max(1);
        let message = format!("too many attempts; wait {secs} seconds");
        Self { retry_after: Some(secs), ..Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message) }
    }

    /// What was presented signs nobody in; why is in the log.
    pub(crate) fn not_signed_in(message: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", message)
    }

    /// The password is right, and there is a second factor.
    pub(crate) fn code_missing() -> Self {
        let message = "type the code of your authenticator, or a recovery code";
        Self::new(StatusCode::UNAUTHORIZED, "CodeMissing", message)
    }

    /// Who is signed in did not prove once more who they are.
    pub(crate) fn not_proven(message: String) -> Self {
        Self::new(StatusCode::FORBIDDEN, "NotProven", message)
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
        Self { status, code, message: message.into(), retry_after: None }
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
        let body = Json(json!({ "error": { "code": self.code, "message": self.message } }));
        let mut response = (self.status, body).into_response();
        if let Some(secs) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, secs.into());
        }
        response
    }
}
