//! Message routing, in the shapes of the reference's management API.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use gantry_hub::device::IfMatch;
use gantry_hub::routing::{Route, Routing, Source, TestMessage};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::PlatformError;
use super::parse;
use crate::fields;
use crate::hub::if_match;
use crate::{Api, now};

#[derive(Deserialize)]
struct Settings {
    properties: Routing,
    /// As `GET` gave it; the header counts when there is one.
    #[serde(default)]
    etag: Option<String>,
}

#[derive(Deserialize)]
struct TestNew {
    #[serde(default)]
    message: TestMessage,
    route: Route,
    twin: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TestAll {
    #[serde(default)]
    message: TestMessage,
    #[serde(default = "telemetry")]
    routing_source: Source,
    twin: Option<Value>,
}

fn telemetry() -> Source {
    Source::DeviceMessages
}

fn answer(routing: Routing, etag: &str) -> Response {
    let body = json!({ "etag": etag, "properties": routing.without_secrets() });
    let mut response = Json(body).into_response();
    if let Ok(value) = HeaderValue::from_str(&format!("\"{etag}\"")) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}

pub(super) async fn get(State(api): State<Arc<Api>>) -> Response {
    let (routing, etag) = api.hub.routing();
    answer(routing, &etag)
}

pub(super) async fn put(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, PlatformError> {
    let settings: Settings = parse(&body, &fields::ROUTING)?;
    let if_match = match (if_match(&headers), settings.etag) {
        (IfMatch::Absent, Some(etag)) => IfMatch::tag(etag),
        (given, _) => given,
    };
    let etag = api.hub.put_routing(now(), settings.properties.clone(), &if_match).await?;
    Ok(answer(settings.properties, &etag))
}

/// The link in a validation event. Whoever was sent it need not be anybody here: the code is the proof.
pub(super) async fn validate(
    State(api): State<Arc<Api>>,
    Path(code): Path<String>,
) -> Result<&'static str, PlatformError> {
    if api.hub.open_webhook_link(now(), &code).await? {
        Ok("the webhook is validated; events follow\n")
    } else {
        Err(PlatformError::not_found("no webhook waits for this link, or no longer"))
    }
}

pub(super) async fn health(State(api): State<Arc<Api>>) -> Json<Value> {
    Json(json!({ "value": api.hub.endpoint_health(now()) }))
}

pub(super) async fn test_new(State(_): State<Arc<Api>>, body: Bytes) -> Result<Json<Value>, PlatformError> {
    let input: TestNew = parse(&body, &fields::TEST_ROUTE)?;
    Ok(Json(input.message.try_route(&input.route, input.twin.as_ref()).document()))
}

pub(super) async fn test_all(State(api): State<Arc<Api>>, body: Bytes) -> Result<Json<Value>, PlatformError> {
    let input: TestAll = parse(&body, &fields::TEST_ROUTES)?;
    let matched = api.hub.try_routes(input.routing_source, &input.message, input.twin.as_ref());
    let routes: Vec<_> = matched.into_iter().map(|(route, _)| json!({ "properties": route })).collect();
    Ok(Json(json!({ "routes": routes })))
}
