//! Errors in OData's shape: `{"error":{"code","message","target","details"}}`.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gantry_analytics::{Error, Rejected};
use gantry_api::Refused;
use serde_json::json;

/// Why a request got no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Failure {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Failure {
        Failure { status, code, message: message.into() }
    }

    /// A request that cannot be understood.
    pub fn bad_request(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// There is no such thing.
    pub fn not_found(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    /// A part of the protocol that is not here.
    pub fn not_implemented(what: &str) -> Failure {
        Failure::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", format!("{what} is not implemented"))
    }

    /// Nothing that the client takes.
    pub fn not_acceptable() -> Failure {
        let message = "results come as application/json, and metadata as application/xml too";
        Failure::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message)
    }

    /// Nothing here can be changed.
    pub fn read_only() -> Failure {
        Failure::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "the service is read-only: GET and HEAD")
    }

    /// Too many at once.
    pub fn busy() -> Failure {
        Failure::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", "too many queries run at once; try again")
    }

    /// A fault of ours, which the log tells about.
    pub fn internal() -> Failure {
        let message = "the query ended without an answer; the log says why";
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", message)
    }

    /// What is wrong.
    #[cfg(test)]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The status it is answered with.
    #[cfg(test)]
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }
}

impl From<Rejected> for Failure {
    fn from(rejected: Rejected) -> Failure {
        match rejected {
            Rejected::Text { message, .. } => Failure::bad_request(message),
            Rejected::Database(name) => Failure::not_found(format!("there is no database `{name}`")),
            Rejected::NotFound { .. } => Failure::not_found(rejected.to_string()),
            Rejected::Exists { .. } | Rejected::Wrong(_) => Failure::bad_request(rejected.to_string()),
            Rejected::Forbidden(message) => Failure::new(StatusCode::FORBIDDEN, "Forbidden", message),
            Rejected::NotImplemented(what) => Failure::not_implemented(&what),
            Rejected::Run(error) => error.into(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let message = error.to_string();
        match error {
            Error::Timeout(_) => Failure::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message),
            Error::Forbidden { .. } => Failure::new(StatusCode::FORBIDDEN, "Forbidden", message),
            Error::NotImplemented(_) => Failure::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", message),
            Error::Table { .. } => {
                tracing::warn!(%error, "a table could not be read");
                Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", message)
            }
            _ => Failure::bad_request(message),
        }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Failure {
        let (status, code) = match refused {
            Refused::Unauthorized => (StatusCode::UNAUTHORIZED, "Unauthorized"),
            Refused::Forbidden(_) => (StatusCode::FORBIDDEN, "Forbidden"),
            Refused::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "PayloadTooLarge"),
            Refused::BodyTooSlow => (StatusCode::REQUEST_TIMEOUT, "RequestTimeout"),
            Refused::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
        };
        Failure::new(status, code, refused.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = json!({ "error": { "code": self.code, "message": self.message, "details": [] } }).to_string();
        let mut response = (self.status, [(header::CONTENT_TYPE, super::JSON)], body).into_response();
        super::version(response.headers_mut());
        let more = match self.status {
            // Excel asks for a name and a password then.
            StatusCode::UNAUTHORIZED => Some((header::WWW_AUTHENTICATE, r#"Basic realm="gantry", charset="UTF-8""#)),
            StatusCode::METHOD_NOT_ALLOWED => Some((header::ALLOW, "GET, HEAD")),
            _ => None,
        };
        if let Some((name, value)) = more {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}
