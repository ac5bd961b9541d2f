//! Turns of REST operations on a hub that acts like an edition.

use std::sync::Arc;

use axum::body::HttpBody as _;
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use gantry_hub::throttle::Operation;

use crate::error::ApiError;
use crate::operation::Row;
use crate::{Api, now};

/// Bytes of a method's payload that count as one.
const METHOD_METER: u64 = 4096;

/// Lets a request wait its turn, or refuses it.
pub(crate) async fn take_turn(State((api, row)): State<(Arc<Api>, Row)>, request: Request, next: Next) -> Response {
    if let Some((status, retry_after)) = api.hub.rest_fault(now()) {
        let mut response = ApiError::planned_fault(status).into_response();
        if let Some(secs) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, secs.into());
        }
        return response;
    }
    if api.hub.is_throttled()
        && let Some(class) = row.throttle.filter(|class| !is_counted_by_hub(*class))
    {
        match api.hub.admit(now(), class, cost(class, &request)) {
            Ok(wait) => tokio::time::sleep(wait).await,
            Err(error) => return ApiError::from(error).into_response(),
        }
    }
    next.run(request).await
}

/// Lets further operations of one request wait their turn: a bulk call is as many as it has entries.
pub(crate) async fn take_more(api: &Api, row: &Row, count: usize) -> Result<(), ApiError> {
    if let Some(class) = row.throttle {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        tokio::time::sleep(api.hub.admit(now(), class, count)?).await;
    }
    Ok(())
}

/// Messages are counted where they are taken, whatever they come over.
fn is_counted_by_hub(class: Operation) -> bool {
    matches!(class, Operation::Telemetry | Operation::SendC2d)
}

/// How many of its class a request is.
fn cost(class: Operation, request: &Request) -> u64 {
    match class {
        Operation::Method => request.body().size_hint().lower().div_ceil(METHOD_METER).max(1),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    #[test]
    fn a_method_counts_by_the_size_of_its_payload() {
        for (bytes, expected) in [(0, 1), (2, 1), (4096, 1), (4097, 2), (9000, 3)] {
            let request = Request::new(Body::from("x".repeat(bytes)));
            assert_eq!(cost(Operation::Method, &request), expected, "{bytes}");
            assert_eq!(cost(Operation::TwinWrite, &request), 1, "{bytes}");
        }
    }
}
