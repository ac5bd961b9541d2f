//! Errors in ARM's shape: `{"error":{"code","message"}}`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use gantry_api::Refused;
use gantry_hub::HubError;
use gantry_hub::consumer_groups::ConsumerGroupError;
use gantry_hub::import_export::JobError;
use gantry_hub::ports::StoreError;
use gantry_hub::routing::RoutingError;
use gantry_provisioning::DpsError;
use serde_json::json;

/// Longest text of a caller's that is repeated to it, in characters.
const SAID_BACK_MAX: usize = 256;

/// Why a call was not answered with what it asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    status: StatusCode,
    code: &'static str,
    message: String,
}

fn cut(text: &str) -> String {
    text.chars().take(SAID_BACK_MAX).collect()
}

impl Failure {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// The query names no version.
    pub fn no_version() -> Self {
        let message = "The api-version query parameter (?api-version=) is required for all requests.";
        Self::new(StatusCode::BAD_REQUEST, "MissingApiVersionParameter", message)
    }

    /// It names one that the operation does not have.
    pub fn unknown_version(asked: &str, known: &[&str]) -> Self {
        let message =
            format!("The api-version '{}' is invalid. The supported versions are '{}'.", cut(asked), known.join(","));
        Self::new(StatusCode::BAD_REQUEST, "InvalidApiVersionParameter", message)
    }

    /// The request cannot be understood.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// There is no such thing.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    /// Not the subscription of this platform.
    pub fn no_subscription(id: &str) -> Self {
        let message = format!("The subscription '{}' could not be found.", cut(id));
        Self::new(StatusCode::NOT_FOUND, "SubscriptionNotFound", message)
    }

    /// Not its resource group.
    pub fn no_group(name: &str) -> Self {
        let message = format!("Resource group '{}' could not be found.", cut(name));
        Self::new(StatusCode::NOT_FOUND, "ResourceGroupNotFound", message)
    }

    /// Not one of its resources.
    pub fn no_resource(kind: &str, name: &str, group: &str) -> Self {
        let message = format!("The Resource '{kind}/{}' under resource group '{group}' was not found.", cut(name));
        Self::new(StatusCode::NOT_FOUND, "ResourceNotFound", message)
    }

    /// A resource stays where it is.
    pub fn location(asked: &str) -> Self {
        let message = format!("the resource is at `{}` and cannot be at `{}`", crate::LOCATION, cut(asked));
        Self::new(StatusCode::CONFLICT, "InvalidResourceLocation", message)
    }

    /// It is not in a state for that.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "Conflict", message)
    }

    /// It is not as the caller expects.
    pub fn precondition(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "PreconditionFailed", message)
    }

    /// The reference has it; Gantry does not.
    pub fn not_implemented(what: &str) -> Self {
        let message = format!("{what} is not implemented; see docs/compatibility.md");
        Self::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", message)
    }

    /// A property that cannot be changed here.
    pub fn unchangeable(property: &str) -> Self {
        let message = format!(
            "`{}` is not as it is here and cannot be changed by this API: the configuration decides it, or there is no \
             such thing; see docs/compatibility.md",
            cut(property)
        );
        Self::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", message)
    }

    fn busy(message: String) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message)
    }

    fn unavailable(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "operation of the control plane failed");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", "the operation failed; the log says why")
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let (status, code) = match refused {
            Refused::Unauthorized => (StatusCode::UNAUTHORIZED, "AuthenticationFailed"),
            Refused::Forbidden(_) => (StatusCode::FORBIDDEN, "AuthorizationFailed"),
            Refused::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge"),
            Refused::BodyTooSlow => (StatusCode::REQUEST_TIMEOUT, "RequestTimeout"),
            Refused::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
        };
        Self::new(status, code, refused.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict => Self::busy("others write the same; try again".into()),
            error => Self::unavailable(&error),
        }
    }
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        let message = error.to_string();
        match error {
            HubError::NoSuchCertificate(_) | HubError::NotFound(_) => Self::not_found(message),
            HubError::CertificateChanged(_) | HubError::RoutingChanged | HubError::PreconditionFailed(_) => {
                Self::precondition(message)
            }
            HubError::FaultsOff => Self::new(StatusCode::FORBIDDEN, "FaultsOff", message),
            HubError::Routing(RoutingError::NotImplemented(_)) => {
                Self::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", message)
            }
            HubError::NotImplemented(what) => Self::not_implemented(what),
            HubError::Throttled(_) | HubError::Contended(_) => Self::busy(message),
            HubError::NoSpace | HubError::Failed(_) => Self::unavailable(&message),
            _ => Self::invalid(message),
        }
    }
}

impl From<DpsError> for Failure {
    fn from(error: DpsError) -> Self {
        let message = error.to_string();
        match error {
            DpsError::NotFound(..) => Self::not_found(message),
            DpsError::Conflict(_) => Self::conflict(message),
            DpsError::PreconditionFailed => Self::precondition(message),
            DpsError::Throttled { .. } => Self::busy(message),
            DpsError::NotImplemented(what) => Self::not_implemented(what),
            DpsError::Failed(_) => Self::unavailable(&message),
            DpsError::Unauthorized(_) | DpsError::Forbidden(_) | DpsError::Invalid(_) | DpsError::Malformed(_) => {
                Self::invalid(message)
            }
        }
    }
}

impl From<ConsumerGroupError> for Failure {
    fn from(error: ConsumerGroupError) -> Self {
        let message = error.to_string();
        match error {
            ConsumerGroupError::Unknown(_) => Self::not_found(message),
            ConsumerGroupError::Fixed(_) | ConsumerGroupError::TooMany => Self::conflict(message),
            ConsumerGroupError::Name(_) => Self::invalid(message),
            ConsumerGroupError::Store(error) => error.into(),
        }
    }
}

impl From<JobError> for Failure {
    fn from(error: JobError) -> Self {
        let message = error.to_string();
        match error {
            JobError::Busy => Self::new(StatusCode::FORBIDDEN, "JobQuotaExceeded", message),
            JobError::Unknown(_) => Self::not_found(message),
            JobError::Container(_) | JobError::Invalid(_) => Self::invalid(message),
            JobError::IdentityBased => Self::not_implemented(&message),
            JobError::Store(error) => error.into(),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": { "code": self.code, "message": self.message } }))).into_response()
    }
}
