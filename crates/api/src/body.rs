//! Request bodies: read whole, within a size and a time, before anything else looks at the request.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::refused::Refused;

/// Largest request body in bytes: a whole twin with room for JSON's spelling of it.
pub(crate) const BODY_BYTES_MAX: usize = 512 * 1024;
/// How long a client may take to send its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the request body is larger than may be, or broke off")]
    TooLarge,
    #[error("the request body did not arrive within {} seconds", BODY_TIMEOUT.as_secs())]
    TooSlow,
}

/// Reads the body, or answers in the API's own shape of error.
pub(crate) async fn read_whole<E: From<BodyError> + IntoResponse>(request: Request, next: Next) -> Response {
    read(request, next, BODY_BYTES_MAX, |error| E::from(error).into_response()).await
}

/// The same for a crate with a shape of error of its own.
pub(crate) async fn read_whole_as<E: From<Refused> + IntoResponse>(
    State(bytes_max): State<usize>,
    request: Request,
    next: Next,
) -> Response {
    read(request, next, bytes_max, |error| E::from(Refused::from(error)).into_response()).await
}

async fn read(request: Request, next: Next, bytes_max: usize, refuse: impl FnOnce(BodyError) -> Response) -> Response {
    let (parts, body) = request.into_parts();
    let error = match tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, bytes_max)).await {
        Ok(Ok(bytes)) => return next.run(Request::from_parts(parts, Body::from(bytes))).await,
        Ok(Err(_)) => BodyError::TooLarge,
        Err(_) => BodyError::TooSlow,
    };
    refuse(error)
}
