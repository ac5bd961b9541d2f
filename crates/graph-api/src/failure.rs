//! Errors in the reference's shape: `{"error":{"code","message"}}`, and the code in a header.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use gantry_api::Refused;
use gantry_graph::GraphError;
use gantry_hub::ports::StoreError;
use serde_json::json;

/// The header that has the code of an error.
const ERROR_CODE: HeaderName = HeaderName::from_static("x-ms-error-code");
/// Longest text of a caller's that is repeated to it, in characters.
const SAID_BACK_MAX: usize = 256;

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

    /// The query names no version.
    pub fn no_version() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "MissingApiVersion", "the query has no `api-version`")
    }

    /// It names one that the operation does not have.
    pub fn unknown_version(asked: &str, known: &[&str]) -> Self {
        let asked: String = asked.chars().take(SAID_BACK_MAX).collect();
        let message = format!("api-version `{asked}` is not known; there are {}", known.join(", "));
        Self::new(StatusCode::BAD_REQUEST, "InvalidApiVersion", message)
    }

    /// The request cannot be understood.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidArgument", message)
    }

    /// It cannot be done now.
    pub fn unavailable(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "operation of the digital-twin graph failed");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", "the operation failed; the log says why")
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let (status, code) = match refused {
            Refused::Unauthorized => (StatusCode::UNAUTHORIZED, "AuthenticationFailed"),
            Refused::Forbidden(_) => (StatusCode::FORBIDDEN, "AuthorizationFailed"),
            Refused::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "RequestBodyTooLarge"),
            Refused::BodyTooSlow => (StatusCode::REQUEST_TIMEOUT, "RequestTimeout"),
            Refused::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
        };
        Self::new(status, code, refused.to_string())
    }
}

impl From<GraphError> for Failure {
    fn from(error: GraphError) -> Self {
        let status = match &error {
            GraphError::Store(StoreError::Conflict) => StatusCode::TOO_MANY_REQUESTS,
            GraphError::Store(error) => return Self::unavailable(error),
            GraphError::ModelNotFound(_)
            | GraphError::DigitalTwinNotFound(_)
            | GraphError::TargetTwinNotFound(_)
            | GraphError::RelationshipNotFound { .. }
            | GraphError::ComponentNotFound { .. }
            | GraphError::EventRouteNotFound(_)
            | GraphError::JobNotFound { .. } => StatusCode::NOT_FOUND,
            GraphError::ModelAlreadyExists(_)
            | GraphError::ModelReferencesNotDeleted { .. }
            | GraphError::ModelReferencesNotDecommissioned { .. } => StatusCode::CONFLICT,
            GraphError::PreconditionFailed(_) => StatusCode::PRECONDITION_FAILED,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.code(), error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": { "code": self.code, "message": self.message } }));
        let mut response = (self.status, body).into_response();
        response.headers_mut().insert(ERROR_CODE, HeaderValue::from_static(self.code));
        response
    }
}
