//! Twins, their components and their telemetry.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use gantry_api::now;
use gantry_identity::Timestamp;

use crate::Failure;
use crate::call::Call;

/// An answer with the etag of what it is about.
pub(crate) fn with_etag(response: Response, etag: &str) -> Response {
    let mut response = response;
    if let Ok(etag) = HeaderValue::from_str(etag) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}

pub(crate) async fn get(call: Call) -> Result<Response, Failure> {
    let twin = call.graph().read().twin(call.id())?.clone();
    Ok(with_etag(Json(&twin.document).into_response(), twin.etag()))
}

pub(crate) async fn put(call: Call) -> Result<Response, Failure> {
    let (body, is_new) = (call.object()?, call.is_new()?);
    let if_match = call.if_match()?;
    let (twin, events) = call.graph().put_twin(call.write(&if_match, is_new), call.id(), &body).await?;
    call.service.told(events).await;
    Ok(with_etag(Json(&twin.document).into_response(), twin.etag()))
}

/// Changes a twin, or the component that the path names.
pub(crate) async fn update(call: Call) -> Result<Response, Failure> {
    let (patch, if_match) = (call.patch()?, call.if_match()?);
    let write = call.write(&if_match, false);
    let (twin, events) = call.graph().update_twin(write, call.id(), call.component(), &patch).await?;
    call.service.told(events).await;
    Ok(with_etag(StatusCode::NO_CONTENT.into_response(), twin.etag()))
}

pub(crate) async fn delete(call: Call) -> Result<Response, Failure> {
    let if_match = call.if_match()?;
    let events = call.graph().delete_twin(call.write(&if_match, false), call.id()).await?;
    call.service.told(events).await;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(crate) async fn component(call: Call) -> Result<Response, Failure> {
    let (component, etag) = {
        let state = call.graph().read();
        let twin = state.twin(call.id())?;
        (twin.component(state.models(), call.component().unwrap_or_default())?.clone(), twin.etag().to_owned())
    };
    Ok(with_etag(Json(component).into_response(), &etag))
}

pub(crate) async fn telemetry(call: Call) -> Result<Response, Failure> {
    let message_id =
        call.header("message-id")?.ok_or_else(|| Failure::invalid("the header `Message-Id` is missing"))?;
    let wrong = || Failure::invalid("`Telemetry-Source-Time` is an instant of RFC 3339");
    let source_time = call.header("telemetry-source-time")?;
    let source_time = source_time.map(|text| Timestamp::parse(text).ok_or_else(wrong)).transpose()?;
    let body = call.json()?;
    let event = call.graph().telemetry(now(), (call.id(), call.component()), message_id, source_time, body)?;
    if call.graph().has_routes() {
        call.service.tell.tell(vec![event]).await.map_err(|error| Failure::unavailable(&error))?;
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}
