//! Errors in the reference's shape:
//! `{"error":{"code":"NotFound","message":"...","requestId":"...","time":"Fri, 24 Sep 2021 21:54:00 GMT"}}`.

use std::time::SystemTime;

use axum::Json;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use gantry_api::Refused;
use gantry_central::CentralError;
use gantry_central::access::caller::Denied;
use gantry_central::access::roles::RoleError;
use gantry_central::access::tokens::TokenError;
use gantry_central::access::users::UserError;
use gantry_central::dashboards::DashboardError;
use gantry_central::devices::{CommandError, PropertyError};
use gantry_central::enrollments::EnrollmentError;
use gantry_central::exports::ExportError;
use gantry_central::exports::destinations::DestinationError;
use gantry_central::file_uploads::FileUploadsError;
use gantry_central::groups::GroupError;
use gantry_central::ids::IdError;
use gantry_central::jobs::JobError;
use gantry_central::language::SyntaxError;
use gantry_central::manifests::ManifestError;
use gantry_central::organizations::OrganizationError;
use gantry_central::templates::TemplateError;
use gantry_hub::HubError;
use gantry_hub::ports::StoreError;
use gantry_provisioning::DpsError;
use serde_json::json;

/// Why a call was not answered with what it asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Failure {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let code = match status {
            StatusCode::BAD_REQUEST => "BadRequest",
            StatusCode::UNAUTHORIZED => "Unauthorized",
            StatusCode::FORBIDDEN => "Forbidden",
            StatusCode::NOT_FOUND => "NotFound",
            StatusCode::REQUEST_TIMEOUT => "RequestTimeout",
            StatusCode::CONFLICT => "Conflict",
            StatusCode::PRECONDITION_FAILED => "PreconditionFailed",
            StatusCode::PAYLOAD_TOO_LARGE => "PayloadTooLarge",
            StatusCode::UNPROCESSABLE_ENTITY => "InvalidBody",
            StatusCode::TOO_MANY_REQUESTS => "TooManyRequests",
            StatusCode::NOT_IMPLEMENTED => "NotImplemented",
            StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailable",
            StatusCode::GATEWAY_TIMEOUT => "Timeout",
            _ => "InternalServerError",
        };
        Self { status, code, message: message.into() }
    }

    /// The request cannot be understood.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// There is no such thing, or the caller does not see it.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// It is understood and cannot be done.
    pub fn unfit(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, message)
    }

    /// Whether something is there already, or not in a state for it.
    pub fn is_conflict(&self) -> bool {
        self.status == StatusCode::CONFLICT
    }

    /// Whether it was changed since the caller read it.
    pub fn is_changed(&self) -> bool {
        self.status == StatusCode::PRECONDITION_FAILED
    }

    /// Whether there is no such thing.
    pub fn is_not_found(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }

    /// It is not in a state for that.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    /// Nobody knows who calls; why is in the log only.
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "bring the text of an API token in `Authorization`, or sign in")
    }

    /// It was changed since the caller read it.
    pub fn changed(what: &str) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, format!("`{what}` was changed meanwhile"))
    }

    /// The reference has it; Gantry does not yet.
    pub fn not_implemented(what: &str) -> Self {
        let message = format!("{what} is not implemented; see docs/compatibility.md");
        Self::new(StatusCode::NOT_IMPLEMENTED, message)
    }

    /// A fault of ours, which the log tells about.
    pub fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "operation of the application failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the operation failed; the log says why")
    }

    fn store(error: &StoreError) -> Self {
        match error {
            StoreError::Conflict => Self::new(StatusCode::TOO_MANY_REQUESTS, "others write the same; try again"),
            StoreError::NoSpace => Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
            error => Self::internal(error),
        }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let status = match refused {
            Refused::Unauthorized => return Self::unauthorized(),
            Refused::Forbidden(_) => StatusCode::FORBIDDEN,
            Refused::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Refused::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Refused::Unavailable => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, refused.to_string())
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Permission(_) => Self::new(StatusCode::FORBIDDEN, denied.to_string()),
            // To them it is not there.
            Denied::Unseen => Self::not_found("there is no such thing"),
        }
    }
}

impl From<IdError> for Failure {
    fn from(error: IdError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<SyntaxError> for Failure {
    fn from(error: SyntaxError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<PropertyError> for Failure {
    fn from(error: PropertyError) -> Self {
        let status = match error {
            PropertyError::UnknownComponent(_) => StatusCode::NOT_FOUND,
            PropertyError::NotObject(_) => StatusCode::BAD_REQUEST,
            PropertyError::Unknown(_) | PropertyError::ReadOnly(_) | PropertyError::Unfit(..) => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
        };
        Self::new(status, error.to_string())
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        let status = match error {
            CommandError::UnknownComponent(_) | CommandError::Unknown(_) => StatusCode::NOT_FOUND,
            CommandError::Request(_) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, error.to_string())
    }
}

impl From<CentralError> for Failure {
    fn from(error: CentralError) -> Self {
        let message = error.to_string();
        let status = match &error {
            CentralError::Organization(error) => match error {
                OrganizationError::Unknown(_) => StatusCode::NOT_FOUND,
                OrganizationError::InUse { .. } | OrganizationError::TooMany => StatusCode::CONFLICT,
                OrganizationError::Cycle(_) | OrganizationError::TooDeep => StatusCode::UNPROCESSABLE_ENTITY,
            },
            CentralError::Role(error) => match error {
                RoleError::Unknown(_) => StatusCode::NOT_FOUND,
                RoleError::BuiltIn(_) | RoleError::InUse(_) | RoleError::TooMany => StatusCode::CONFLICT,
                RoleError::TooMuch => StatusCode::FORBIDDEN,
                _ => StatusCode::UNPROCESSABLE_ENTITY,
            },
            CentralError::User(error) => match error {
                UserError::Unknown(_) => StatusCode::NOT_FOUND,
                UserError::TooMuch(_) | UserError::NotThere(_) => StatusCode::FORBIDDEN,
                UserError::TooMany
                | UserError::TooManyGroups
                | UserError::Known(_)
                | UserError::LastAdministrator(_) => StatusCode::CONFLICT,
                _ => StatusCode::UNPROCESSABLE_ENTITY,
            },
            CentralError::Token(error) => match error {
                TokenError::Unknown(_) => StatusCode::NOT_FOUND,
                TokenError::Exists(_) => StatusCode::CONFLICT,
                _ => StatusCode::UNPROCESSABLE_ENTITY,
            },
            CentralError::Template(error) => match error {
                TemplateError::Unknown(_) => StatusCode::NOT_FOUND,
                TemplateError::InUse(_) | TemplateError::Breaking(_) | TemplateError::Full => StatusCode::CONFLICT,
                _ => StatusCode::UNPROCESSABLE_ENTITY,
            },
            CentralError::Group(error) => match error {
                GroupError::Unknown(_) => StatusCode::NOT_FOUND,
                GroupError::TooMany => StatusCode::CONFLICT,
                _ => StatusCode::UNPROCESSABLE_ENTITY,
            },
            CentralError::Dashboard(error) => match error {
                DashboardError::Unknown(_) => StatusCode::NOT_FOUND,
                DashboardError::TooMany => StatusCode::CONFLICT,
                _ => StatusCode::UNPROCESSABLE_ENTITY,
            },
            CentralError::Manifest(error) => match error {
                ManifestError::Unknown(_) => StatusCode::NOT_FOUND,
                ManifestError::TooMany | ManifestError::InUse { .. } => StatusCode::CONFLICT,
                _ => StatusCode::UNPROCESSABLE_ENTITY,
            },
            CentralError::Destination(error) => match error {
                DestinationError::Unknown(_) => StatusCode::NOT_FOUND,
                DestinationError::TooMany | DestinationError::InUse { .. } => StatusCode::CONFLICT,
                _ => StatusCode::UNPROCESSABLE_ENTITY,
            },
            CentralError::Export(error) => match error {
                ExportError::Unknown(_) => StatusCode::NOT_FOUND,
                ExportError::TooMany => StatusCode::CONFLICT,
                _ => StatusCode::UNPROCESSABLE_ENTITY,
            },
            CentralError::Enrollment(error) => match error {
                EnrollmentError::Unknown(_) => StatusCode::NOT_FOUND,
                EnrollmentError::TooMany => StatusCode::CONFLICT,
            },
            CentralError::FileUploads(error) => match error {
                FileUploadsError::Unknown => StatusCode::NOT_FOUND,
                _ => StatusCode::UNPROCESSABLE_ENTITY,
            },
            CentralError::Job(error) => match error {
                JobError::Unknown(_) | JobError::UnknownScheduled(_) => StatusCode::NOT_FOUND,
                JobError::Exists(_)
                | JobError::Busy
                | JobError::Active(_)
                | JobError::Status { .. }
                | JobError::Full
                | JobError::TooManyScheduled => StatusCode::CONFLICT,
                _ => StatusCode::UNPROCESSABLE_ENTITY,
            },
            CentralError::Denied(denied) => return (*denied).into(),
            CentralError::Changed(_) => StatusCode::PRECONDITION_FAILED,
            CentralError::Store(error) => return Self::store(error),
        };
        Self::new(status, message)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::store(&error)
    }
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        let message = error.to_string();
        let status = match &error {
            HubError::NotFound(_) => StatusCode::NOT_FOUND,
            HubError::NotOnline(_) | HubError::TakenOver(_) => StatusCode::NOT_FOUND,
            HubError::AlreadyExists(_) => StatusCode::CONFLICT,
            HubError::PreconditionFailed(_) => StatusCode::PRECONDITION_FAILED,
            HubError::Disabled(_) => StatusCode::FORBIDDEN,
            HubError::Twin(_) => StatusCode::UNPROCESSABLE_ENTITY,
            HubError::Invalid(_) | HubError::Id(_) | HubError::Keys(_) | HubError::Query(_) | HubError::Scope(_) => {
                StatusCode::BAD_REQUEST
            }
            HubError::MessageTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            HubError::QueueFull(_) | HubError::TooManyMethods(_) | HubError::TooManyModules(_) => StatusCode::CONFLICT,
            HubError::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
            HubError::Throttled(_) | HubError::Contended(_) | HubError::QuotaExceeded(_) => {
                StatusCode::TOO_MANY_REQUESTS
            }
            HubError::NoSpace => StatusCode::SERVICE_UNAVAILABLE,
            error => return Self::internal(error),
        };
        Self::new(status, message)
    }
}

impl From<DpsError> for Failure {
    fn from(error: DpsError) -> Self {
        let message = error.to_string();
        let status = match &error {
            DpsError::NotFound(..) => StatusCode::NOT_FOUND,
            DpsError::Conflict(_) => StatusCode::CONFLICT,
            DpsError::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            DpsError::Invalid(_) | DpsError::Malformed(_) => StatusCode::BAD_REQUEST,
            DpsError::NotImplemented(what) => return Self::not_implemented(what),
            error => return Self::internal(error),
        };
        Self::new(status, message)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let id = uuid::Uuid::new_v4().to_string();
        let time = httpdate::fmt_http_date(SystemTime::now());
        let body = json!({
            "error": { "code": self.code, "message": self.message, "requestId": id, "time": time },
        });
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert("x-ms-error-code", HeaderValue::from_static(self.code));
        if let Ok(id) = HeaderValue::from_str(&id) {
            headers.insert("x-ms-request-id", id);
        }
        response
    }
}
