//! Errors in the shape of the service: `{"error":{"code","message","@type","@message",…,"innererror"}}`.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use gantry_analytics::{Error, Rejected};
use gantry_api::Refused;
use serde_json::json;

/// Why a request got no result.
#[derive(Debug, Clone)]
pub struct Failure {
    status: StatusCode,
    code: &'static str,
    kind: &'static str,
    message: String,
    /// Code, type and message of what is wrong with the text.
    inner: Option<(&'static str, &'static str, String)>,
    permanent: bool,
}

impl Failure {
    /// A request that is none.
    pub fn bad_request(message: impl Into<String>) -> Failure {
        Failure {
            status: StatusCode::BAD_REQUEST,
            code: "General_BadRequest",
            kind: "Kusto.Data.Exceptions.KustoBadRequestException",
            message: message.into(),
            inner: None,
            permanent: true,
        }
    }

    /// More than is taken at once.
    pub fn too_large(message: impl Into<String>) -> Failure {
        Failure { status: StatusCode::PAYLOAD_TOO_LARGE, permanent: false, ..Failure::bad_request(message) }
    }

    /// Too many at once.
    pub fn busy() -> Failure {
        Failure {
            status: StatusCode::TOO_MANY_REQUESTS,
            code: "KustoThrottlingError",
            kind: "Kusto.Data.Exceptions.KustoRequestThrottledException",
            permanent: false,
            ..Failure::bad_request("too many queries run at once; try again")
        }
    }
}

impl From<Rejected> for Failure {
    fn from(rejected: Rejected) -> Failure {
        match rejected {
            Rejected::Text { code, .. } => {
                let kind = if code.starts_with("SYN") {
                    "Kusto.Data.Exceptions.SyntaxException"
                } else {
                    "Kusto.Data.Exceptions.SemanticException"
                };
                let told = rejected.to_string();
                Failure { inner: Some((code, kind, told.clone())), ..Failure::bad_request(told) }
            }
            Rejected::Database(_) | Rejected::NotFound { .. } => Failure {
                code: "BadRequest_EntityNotFound",
                kind: "Kusto.Data.Exceptions.EntityNotFoundException",
                ..Failure::bad_request(rejected.to_string())
            },
            Rejected::Exists { .. } => Failure {
                code: "BadRequest_EntityNameAlreadyExists",
                kind: "Kusto.Data.Exceptions.EntityNameAlreadyExistsException",
                ..Failure::bad_request(rejected.to_string())
            },
            Rejected::Wrong(message) => Failure::bad_request(message),
            Rejected::Forbidden(message) => Failure {
                status: StatusCode::FORBIDDEN,
                code: "Forbidden",
                kind: "Kusto.Data.Exceptions.KustoUnauthorizedException",
                ..Failure::bad_request(message)
            },
            Rejected::NotImplemented(_) => Failure {
                status: StatusCode::NOT_IMPLEMENTED,
                code: "General_NotImplemented",
                ..Failure::bad_request(rejected.to_string())
            },
            Rejected::Run(error) => error.into(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let message = format!("{error} ({})", error.code());
        match error {
            Error::Timeout(_) => Failure {
                status: StatusCode::GATEWAY_TIMEOUT,
                code: "Gateway_Timeout",
                kind: "Kusto.Data.Exceptions.KustoServiceTimeoutException",
                permanent: false,
                ..Failure::bad_request(message)
            },
            Error::NotImplemented(_) => Failure {
                status: StatusCode::NOT_IMPLEMENTED,
                code: "General_NotImplemented",
                ..Failure::bad_request(message)
            },
            Error::Forbidden { .. } => Failure {
                status: StatusCode::FORBIDDEN,
                code: "Forbidden",
                kind: "Kusto.Data.Exceptions.KustoUnauthorizedException",
                ..Failure::bad_request(message)
            },
            Error::Table { .. } => Failure {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                code: "Internal_ServiceError",
                kind: "Kusto.Data.Exceptions.KustoServiceException",
                permanent: false,
                ..Failure::bad_request(message)
            },
            _ => Failure::bad_request(message),
        }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Failure {
        // Clients that stream fall back to the queue when another way may help.
        let permanent = matches!(refused, Refused::Unauthorized | Refused::Forbidden(_));
        let (status, code) = match refused {
            Refused::Unauthorized => (StatusCode::UNAUTHORIZED, "Unauthorized"),
            Refused::Forbidden(_) => (StatusCode::FORBIDDEN, "Forbidden"),
            Refused::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "General_BadRequest"),
            Refused::BodyTooSlow => (StatusCode::REQUEST_TIMEOUT, "General_BadRequest"),
            Refused::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "Internal_ServiceError"),
        };
        Failure { status, code, permanent, ..Failure::bad_request(refused.to_string()) }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut error = json!({
            "code": self.code,
            "message": "Request is invalid and cannot be executed.",
            "@type": self.kind,
            "@message": format!("Request is invalid and cannot be processed: {}", self.message),
            "@permanent": self.permanent,
        });
        if self.inner.is_none() {
            error["message"] = json!(self.message);
            error["@message"] = json!(self.message);
        }
        if let Some((code, kind, message)) = &self.inner {
            error["innererror"] = json!({
                "code": code,
                "message": message,
                "@type": kind,
                "@message": message,
                "@permanent": true,
                "@errorCode": code,
                "@errorMessage": message,
            });
        }
        let body = json!({ "error": error }).to_string();
        (self.status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}
