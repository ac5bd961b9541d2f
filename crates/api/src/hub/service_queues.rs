//! Outcomes of cloud-to-device messages, and uploaded files, for services that poll.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use gantry_hub::c2d::Settle;
use gantry_hub::service_queue::ServiceQueue;
use gantry_identity::Rights;

use crate::device::lock;
use crate::error::ApiError;
use crate::operation::{Access, Head, Operation};
use crate::routes::Routes;
use crate::{Api, now};

/// Receives from a queue, and settles a message by its lock.
pub(super) fn routes() -> Routes<Arc<Api>> {
    of_queue("feedback", "CloudToDeviceMessages", "FeedbackNotification", ServiceQueue::Feedback)
        .merge(of_queue("filenotifications", "FileNotifications", "Notification", ServiceQueue::FileNotifications))
        // The name that one SDK has for it.
        .merge(of_queue("fileuploadnotifications", "FileUpload", "Notification", ServiceQueue::FileNotifications))
}

fn of_queue(word: &str, group: &str, what: &str, queue: ServiceQueue) -> Routes<Arc<Api>> {
    let row = |method: Method, rest: &str, verb: &str, about| {
        let (path, id) = (format!("/messages/serviceBound/{word}{rest}"), format!("{group}_{verb}{what}"));
        // Messages that are taken are no change of the hub.
        Operation::new(Head::Service, method, &path, id, Access::Hub(Rights::SERVICE_CONNECT), about).asks()
    };
    let next = "The next message, locked under the token in `ETag`; 204 when there is none.";
    let complete = row(Method::DELETE, "/{lock}", "Complete", "Completes a locked message, or rejects it.");
    Routes::new()
        .on(row(Method::GET, "", "Receive", next), move |State(api): State<Arc<Api>>| async move {
            receive(&api, queue).await
        })
        .on(
            complete.query(lock::REJECT),
            move |State(api): State<Arc<Api>>, uri: Uri, Path(lock): Path<String>| async move {
                settle(&api, queue, &lock, lock::deleted(&uri)).await
            },
        )
        .on(
            row(Method::POST, "/{lock}/abandon", "Abandon", "Gives a locked message back."),
            move |State(api): State<Arc<Api>>, Path(lock): Path<String>| async move {
                settle(&api, queue, &lock, Settle::Abandon).await
            },
        )
}

async fn settle(api: &Api, queue: ServiceQueue, lock: &str, settle: Settle) -> Result<StatusCode, ApiError> {
    api.hub.settle_service(now(), queue, lock::token(lock)?, settle).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn receive(api: &Api, queue: ServiceQueue) -> Result<Response, ApiError> {
    let Some(locked) = api.hub.receive_service(now(), queue).await? else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let message = locked.message;
    let mut response = Response::new(Body::from(message.content.body().clone()));
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
