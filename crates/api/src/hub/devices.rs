//! Identities and totals.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use gantry_identity::Identity;
use serde_json::{Value, json};

use super::bodies::{self, DeviceBody};
use super::{device, if_match, module};
use crate::error::ApiError;
use crate::fields;
use crate::query::Query;
use crate::{Api, now};

type Answer = Result<Response, ApiError>;

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Vec<Value>>, ApiError> {
    let top = match query.get("top").or_else(|| query.get("maxCount")) {
        None => 1000,
        Some(text) => text.parse().map_err(|_| ApiError::invalid("top must be a number from 1 to 1000"))?,
    };
    let records = api.hub.devices(top).await?;
    Ok(Json(records.iter().map(|r| bodies::device(r, api.hub.is_connected(&r.device.identity))).collect()))
}

pub(super) async fn get(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer {
    get_one(&api, &device(&id)?).await
}

pub(super) async fn get_module(State(api): State<Arc<Api>>, Path((id, mid)): Path<(String, String)>) -> Answer {
    get_one(&api, &module(&id, &mid)?).await
}

async fn get_one(api: &Api, identity: &Identity) -> Answer {
    let record = api.hub.record(identity).await?;
    let body = bodies::device(&record, api.hub.is_connected(identity));
    Ok(bodies::with_etag(body, &record.device.etag_text()))
}

pub(super) async fn put(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer {
    put_one(&api, &headers, &device(&id)?, &body).await
}

pub(super) async fn put_module(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path((id, mid)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    put_one(&api, &headers, &module(&id, &mid)?, &body).await
}

async fn put_one(api: &Api, headers: &HeaderMap, identity: &Identity, body: &Bytes) -> Answer {
    let write = bodies::parse_fields::<DeviceBody>(body, &fields::IDENTITY)?.write(identity)?;
    let record = api.hub.put_device(now(), identity, write, &if_match(headers)).await?;
    let body = bodies::device(&record, api.hub.is_connected(identity));
    Ok(bodies::with_etag(body, &record.device.etag_text()))
}

pub(super) async fn delete(State(api): State<Arc<Api>>, headers: HeaderMap, Path(id): Path<String>) -> Answer {
    delete_one(&api, &headers, &device(&id)?).await
}

pub(super) async fn delete_module(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path((id, mid)): Path<(String, String)>,
) -> Answer {
    delete_one(&api, &headers, &module(&id, &mid)?).await
}

async fn delete_one(api: &Api, headers: &HeaderMap, identity: &Identity) -> Answer {
    api.hub.delete_device(now(), identity, &if_match(headers)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn list_modules(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
) -> Result<Json<Vec<Value>>, ApiError> {
    let records = api.hub.modules(&device(&id)?).await?;
    Ok(Json(records.iter().map(|r| bodies::device(r, api.hub.is_connected(&r.device.identity))).collect()))
}

pub(super) async fn purge(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let identity = device(&id)?;
    let purged = api.hub.purge_c2d(now(), &identity).await?;
    Ok(Json(json!({ "totalMessagesPurged": purged, "deviceId": id, "moduleId": null })))
}

pub(super) async fn statistics(State(api): State<Arc<Api>>) -> Result<Json<Value>, ApiError> {
    let counts = api.hub.counts().await?;
    Ok(Json(json!({
        "totalDeviceCount": counts.enabled + counts.disabled,
        "enabledDeviceCount": counts.enabled,
        "disabledDeviceCount": counts.disabled,
    })))
}

pub(super) async fn service_statistics(State(api): State<Arc<Api>>) -> Result<Json<Value>, ApiError> {
    Ok(Json(json!({ "connectedDeviceCount": api.hub.connected_count() })))
}
