//! Errors of the blob service: status, code and words ("Blob service error codes").

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gantry_blobs::blob::BlockListError;
use gantry_blobs::{BlobError, Denied, NameError};

use super::xml;
use crate::now;

/// An error answer.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// Length of the blob a range missed.
    length: Option<u64>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), length: None }
    }

    pub(super) fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(super) fn header(name: &str) -> Self {
        Self::bad("InvalidHeaderValue", format!("The value of the header {name} is not in the correct format."))
    }

    pub(super) fn not_implemented(what: &str) -> Self {
        let message = format!("{what} is not implemented; see docs/compatibility.md");
        Self::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", message)
    }

    pub(super) fn internal(why: &str) -> Self {
        tracing::error!(error = why, "blob operation failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "The server encountered an internal error.")
    }

    pub(super) fn answer(self, is_head: bool) -> Response {
        let id = uuid::Uuid::new_v4().to_string();
        let message = format!("{}\nRequestId:{id}\nTime:{}", self.message, now());
        let mut response = match (is_head || self.status == StatusCode::NOT_MODIFIED, xml::error(self.code, &message)) {
            (false, Ok(body)) => (self.status, [(header::CONTENT_TYPE, "application/xml")], body).into_response(),
            _ => self.status.into_response(),
        };
        let headers = response.headers_mut();
        headers.insert("x-ms-error-code", HeaderValue::from_static(self.code));
        if let Ok(id) = HeaderValue::from_str(&id) {
            headers.insert("x-ms-request-id", id);
        }
        if let Some(Ok(range)) = self.length.map(|length| HeaderValue::from_str(&format!("bytes */{length}"))) {
            headers.insert(header::CONTENT_RANGE, range);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("SharedKey"));
        }
        response
    }
}

impl From<BlobError> for Failure {
    fn from(error: BlobError) -> Self {
        use StatusCode as Status;
        let words = error.to_string();
        match error {
            BlobError::Name(NameError::BlobLength | NameError::BlobSegments | NameError::BlobCharacters) => {
                Self::bad("InvalidUri", words)
            }
            BlobError::Name(NameError::ContainerLength) => Self::bad("OutOfRangeInput", words),
            BlobError::Name(_) => Self::bad("InvalidResourceName", words),
            BlobError::NoContainer => Self::new(Status::NOT_FOUND, "ContainerNotFound", words),
            BlobError::ContainerExists => Self::new(Status::CONFLICT, "ContainerAlreadyExists", words),
            BlobError::NoBlob => Self::new(Status::NOT_FOUND, "BlobNotFound", words),
            BlobError::BlobExists => Self::new(Status::CONFLICT, "BlobAlreadyExists", words),
            BlobError::ConditionNotMet => Self::new(Status::PRECONDITION_FAILED, "ConditionNotMet", words),
            BlobError::ManyConditions => Self::bad("MultipleConditionHeadersNotSupported", words),
            BlobError::Unsatisfiable => Self::bad("UnsatisfiableCondition", words),
            BlobError::NotModified => Self::new(Status::NOT_MODIFIED, "ConditionNotMet", words),
            BlobError::BlockList(BlockListError::NoBlock) => Self::bad("InvalidBlockList", words),
            BlobError::BlockList(BlockListError::TooMany) => Self::bad("BlockListTooLong", words),
            BlobError::TooManyBlocks => Self::new(Status::CONFLICT, "BlockCountExceedsLimit", words),
            BlobError::TooLarge(_) => Self::new(Status::PAYLOAD_TOO_LARGE, "RequestBodyTooLarge", words),
            BlobError::Incomplete => Self::bad("IncompleteBody", words),
            BlobError::Md5Mismatch => Self::bad("Md5Mismatch", words),
            BlobError::RangeOutside { length } => {
                Self { length: Some(length), ..Self::new(Status::RANGE_NOT_SATISFIABLE, "InvalidRange", words) }
            }
            BlobError::NoSpace => Self::new(Status::SERVICE_UNAVAILABLE, "ServerBusy", words),
            BlobError::Failed(why) => Self::internal(&why),
        }
    }
}

impl From<&Denied> for Failure {
    fn from(denied: &Denied) -> Self {
        let refused = |code, words: &str| Self::new(StatusCode::FORBIDDEN, code, words);
        match denied {
            Denied::Missing => Self::new(
                StatusCode::UNAUTHORIZED,
                "NoAuthenticationInformation",
                "Server failed to authenticate the request: no credential was presented.",
            ),
            Denied::Permission(_) => refused("AuthorizationPermissionMismatch", "The permission is not granted."),
            Denied::Resource => refused("AuthorizationResourceTypeMismatch", "The signature is for other resources."),
            Denied::Service => refused("AuthorizationServiceMismatch", "The signature is for other services."),
            Denied::Address => refused("AuthorizationSourceIPMismatch", "The signature is for other addresses."),
            Denied::Malformed(_)
            | Denied::Unsupported(_)
            | Denied::Signature
            | Denied::Account
            | Denied::Time { .. } => refused(
                "AuthenticationFailed",
                "Server failed to authenticate the request. Make sure the credential, its signature and its time are right.",
            ),
        }
    }
}
