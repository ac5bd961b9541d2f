//! Turns of REST operations on a hub that acts like an edition.

use std::sync::Arc;

use axum::body::HttpBody as _;
use axum::extract::{Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use gantry_hub::throttle::Operation;

use crate::error::ApiError;
use crate::{Api, now};

/// Bytes of a method's payload that count as one.
const METHOD_METER: u64 = 4096;

/// Lets a request wait its turn, or refuses it.
pub(crate) async fn take_turn(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    if let Some((status, retry_after)) = api.hub.rest_fault(now()) {
        let mut response = ApiError::rehearsed(status).into_response();
        if let Some(secs) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, secs.into());
        }
        return response;
    }
    if api.hub.is_throttled()
        && let Some((operation, cost)) = operation(&request)
    {
        match api.hub.admit(now(), operation, cost) {
            Ok(wait) => tokio::time::sleep(wait).await,
            Err(error) => return ApiError::from(error).into_response(),
        }
    }
    next.run(request).await
}

/// Lets further operations of one request wait their turn: a bulk call is as many as it has entries.
pub(crate) async fn take_more(api: &Api, operation: Operation, count: usize) -> Result<(), ApiError> {
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    tokio::time::sleep(api.hub.admit(now(), operation, count)?).await;
    Ok(())
}

/// What a request is, and how many of it. Telemetry is told apart in the hub.
fn operation(request: &Request) -> Option<(Operation, u64)> {
    let method = request.method();
    let segments: Vec<&str> = request.uri().path().split('/').filter(|segment| !segment.is_empty()).collect();
    let is_read = method == Method::GET;
    let operation = match segments.as_slice() {
        ["devices", "query", ..] => Operation::Query,
        ["devices", _, "messages", "devicebound"] if is_read => Operation::ReceiveC2d,
        ["devices", _, "messages", ..] => return None,
        ["devices", _, "files", "notifications", ..] => return None,
        ["devices", _, "files", ..] => Operation::FileUpload,
        ["devices", _, "applyConfigurationContent"] | ["configurations", ..] => Operation::Configuration,
        ["devices", ..] => Operation::Identity,
        ["twins" | "digitaltwins", .., "methods"] | ["digitaltwins", .., "commands", _] => {
            let bytes = request.body().size_hint().lower();
            return Some((Operation::Method, bytes.div_ceil(METHOD_METER).max(1)));
        }
        ["twins", .., "streams", _] => Operation::Stream,
        ["twins" | "digitaltwins", ..] if is_read => Operation::TwinRead,
        ["twins" | "digitaltwins", ..] => Operation::TwinWrite,
        ["jobs", ..] => Operation::Job,
        _ => return None,
    };
    Some((operation, 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    #[test]
    fn requests_are_told_apart() {
        for (method, path, expected) in [
            ("GET", "/devices/d", Some(Operation::Identity)),
            ("POST", "/devices", Some(Operation::Identity)),
            ("POST", "/devices/query", Some(Operation::Query)),
            ("GET", "/devices/d/messages/devicebound", Some(Operation::ReceiveC2d)),
            ("POST", "/devices/d/messages/events", None),
            ("POST", "/devices/d/files", Some(Operation::FileUpload)),
            ("POST", "/devices/d/files/notifications", None),
            ("GET", "/twins/d/modules/m", Some(Operation::TwinRead)),
            ("PATCH", "/twins/d", Some(Operation::TwinWrite)),
            ("POST", "/twins/d/modules/m/methods", Some(Operation::Method)),
            ("POST", "/digitaltwins/d/components/c/commands/stop", Some(Operation::Method)),
            ("POST", "/twins/d/streams/ssh", Some(Operation::Stream)),
            ("POST", "/twins/d/modules/m/streams/ssh", Some(Operation::Stream)),
            ("PUT", "/jobs/v2/j", Some(Operation::Job)),
            ("GET", "/configurations", Some(Operation::Configuration)),
            ("GET", "/statistics/devices", None),
        ] {
            let request = Request::builder().method(method).uri(path).body(Body::from("{}")).unwrap();
            assert_eq!(operation(&request).map(|(one, _)| one), expected, "{method} {path}");
        }
        let large =
            Request::builder().method("POST").uri("/twins/d/methods").body(Body::from("x".repeat(9000))).unwrap();
        assert_eq!(operation(&large), Some((Operation::Method, 3)));
    }
}
