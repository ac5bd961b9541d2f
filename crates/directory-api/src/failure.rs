//! Errors of the platform's operations: `{"error":{"code","message"}}`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use gantry_api::Refused;
use gantry_hub::ports::StoreError;
use serde_json::json;

use crate::kept::DirectoryError;

/// Why a call was not answered with what it asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Failure {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// The request cannot be understood.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Invalid", message)
    }
}

impl From<DirectoryError> for Failure {
    fn from(error: DirectoryError) -> Self {
        let message = error.to_string();
        match error {
            DirectoryError::Unknown(..) => Self::new(StatusCode::NOT_FOUND, "NotFound", message),
            DirectoryError::Secret(_) | DirectoryError::TooMany | DirectoryError::Assignment(_) => {
                Self::new(StatusCode::CONFLICT, "Conflict", message)
            }
            DirectoryError::Invalid(_) => Self::invalid(message),
            DirectoryError::Store(StoreError::Conflict) => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "Busy", "others write the same; try again")
            }
            DirectoryError::Store(_) | DirectoryError::Key(_) => {
                tracing::error!(error = %message, "operation of the directory failed");
                let message = "the operation failed; the log says why";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "Unavailable", message)
            }
        }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let (status, code) = match refused {
            Refused::Unauthorized => (StatusCode::UNAUTHORIZED, "Unauthorized"),
            Refused::Forbidden(_) => (StatusCode::FORBIDDEN, "Forbidden"),
            Refused::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "TooLarge"),
            Refused::BodyTooSlow => (StatusCode::REQUEST_TIMEOUT, "Timeout"),
            Refused::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "Unavailable"),
        };
        Self::new(status, code, refused.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": { "code": self.code, "message": self.message } }))).into_response()
    }
}
