//! Digital twins of Plug and Play devices (specification 2020-09-30).

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gantry_hub::digital_twin::{Patch, view};
use gantry_hub::{HubError, MethodCall, MethodTimeouts};
use gantry_identity::Identity;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::bodies;
use super::methods::answered;
use super::{device, if_match};
use crate::error::ApiError;
use crate::query::Query;
use crate::{Api, WallClock, now};

type Answer = Result<Response, ApiError>;

pub(super) async fn get(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer {
    let record = api.hub.record(&device(&id)?).await?;
    Ok(bodies::with_etag(view(&record), &record.twin.etag_text()))
}

pub(super) async fn patch(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(id): Path<String>,
    bytes: Bytes,
) -> Answer {
    let identity = device(&id)?;
    let patch = Patch::parse(&bodies::parse::<Value>(&bytes)?).map_err(HubError::from)?;
    let record = api.hub.patch_digital_twin(now(), &identity, &patch, &if_match(&headers)).await?;
    let id = percent_encoding::utf8_percent_encode(&id, percent_encoding::NON_ALPHANUMERIC);
    let location = format!("https://{}/digitaltwins/{id}", api.hub.host_name());
    let mut response = StatusCode::ACCEPTED.into_response();
    for (name, value) in [(header::ETAG, format!("\"{}\"", record.twin.etag_text())), (header::LOCATION, location)] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Timeouts {
    connect_timeout_in_seconds: Option<u64>,
    response_timeout_in_seconds: Option<u64>,
}

pub(super) async fn root_command(
    State(api): State<Arc<Api>>,
    Path((id, command)): Path<(String, String)>,
    Query(timeouts): Query<Timeouts>,
    bytes: Bytes,
) -> Answer {
    invoke(&api, &device(&id)?, &command, &timeouts, bytes).await.map_err(ApiError::for_method)
}

pub(super) async fn component_command(
    State(api): State<Arc<Api>>,
    Path((id, component, command)): Path<(String, String, String)>,
    Query(timeouts): Query<Timeouts>,
    bytes: Bytes,
) -> Answer {
    let name = format!("{component}*{command}");
    invoke(&api, &device(&id)?, &name, &timeouts, bytes).await.map_err(ApiError::for_method)
}

async fn invoke(api: &Api, identity: &Identity, name: &str, timeouts: &Timeouts, payload: Bytes) -> Answer {
    // A command without a request has no payload, which is not `null`.
    if !payload.is_empty() {
        serde_json::from_slice::<IgnoredAny>(&payload).map_err(bodies::malformed)?;
    }
    let timeouts =
        MethodTimeouts::from_secs(timeouts.connect_timeout_in_seconds, timeouts.response_timeout_in_seconds)?;
    let call = MethodCall::new(name, payload)?;
    let answer = api.hub.call_method(&WallClock, identity, &call, timeouts).await?;
    let mut response = bodies::json_text(answered(&answer.payload).to_vec());
    response.headers_mut().insert("x-ms-command-statuscode", HeaderValue::from(answer.status));
    if let Ok(id) = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()) {
        response.headers_mut().insert("x-ms-request-id", id);
    }
    Ok(response)
}
