//! Outcomes of cloud-to-device messages, and uploaded files, for services that poll.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use gantry_hub::service_queue::ServiceQueue;
use gantry_identity::Rights;

use crate::auth::{self, PeerAddress};
use crate::device::lock::{self, Settlement};
use crate::error::ApiError;
use crate::{Api, now};

/// `GET /messages/serviceBound/feedback`, and what settles a message by its lock.
pub(super) async fn call(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<PeerAddress>,
    method: Method,
    uri: Uri,
    Path(rest): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    auth::hub(&api, &headers, &peer, Rights::SERVICE_CONNECT)?;
    let segments: Vec<&str> = rest.split('/').filter(|segment| !segment.is_empty()).collect();
    let is = |segment: &str, word: &str| segment.eq_ignore_ascii_case(word);
    let (queue, rest) = match segments.as_slice() {
        [bound, name, rest @ ..] if is(bound, "servicebound") && is(name, "feedback") => (ServiceQueue::Feedback, rest),
        [bound, name, rest @ ..]
            if is(bound, "servicebound") && (is(name, "filenotifications") || is(name, "fileuploadnotifications")) =>
        {
            (ServiceQueue::FileNotifications, rest)
        }
        _ => return Err(ApiError::no_such_path(uri.path())),
    };
    if rest.is_empty() {
        return match method {
            Method::GET => receive(&api, queue).await,
            _ => Err(ApiError::method_not_allowed(&method)),
        };
    }
    let Settlement { token, settle } = Settlement::read(&method, &uri, rest)?;
    api.hub.settle_service(now(), queue, token, settle).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn receive(api: &Api, queue: ServiceQueue) -> Result<Response, ApiError> {
    let Some(locked) = api.hub.receive_service(now(), queue).await? else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let message = locked.message;
    let mut response = Response::new(Body::from(message.body));
    let headers = response.headers_mut();
    headers.insert(header::ETAG, lock::etag(locked.token));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(queue.content_type()));
    let facts = [
        ("iothub-sequencenumber", message.sequence_number.to_string()),
        ("iothub-enqueuedtime", message.enqueued_at.to_string()),
        ("iothub-deliverycount", message.delivery_count.to_string()),
        ("iothub-expiry", message.expires_at.to_string()),
    ];
    for (name, text) in facts {
        headers.insert(HeaderName::from_static(name), lock::value(&text));
    }
    Ok(response)
}
