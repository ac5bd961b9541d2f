//! Fleet, maintenance list, signals, twins and methods for the page.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use gantry_hub::device::IfMatch;
use gantry_hub::limits;
use gantry_hub::ports::Record;
use gantry_identity::{DeviceId, Identity};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::PlatformError;
use crate::fields;
use crate::hub::bodies::{self, TwinBody};
use crate::hub::methods::MethodBody;
use crate::query::Query;
use crate::{Api, Measured, WallClock, now};

/// Points of one forecast.
const FORECAST_POINTS_MAX: u32 = 1000;

type Answer = Result<Json<Value>, PlatformError>;

fn device(id: &str) -> Result<Identity, PlatformError> {
    DeviceId::parse(id).map(Identity::device).map_err(|error| PlatformError::invalid(error.to_string()))
}

pub(super) async fn fleet(State(api): State<Arc<Api>>) -> Answer {
    let records = api.hub.devices(limits::DEVICE_LIST_MAX).await?;
    let places: HashMap<_, _> =
        api.monitoring.maintenance().into_iter().map(|item| (item.device, item.place)).collect();
    let mut devices: Vec<_> =
        records.iter().map(|record| (place(&places, record), fleet_device(&api, record))).collect();
    // Devices without telemetry have no place and come last; the registry is in order of id.
    devices.sort_by_key(|(place, _)| *place);
    Ok(Json(json!({ "devices": devices.into_iter().map(|(_, device)| device).collect::<Vec<_>>() })))
}

fn place(places: &HashMap<String, usize>, record: &Record) -> usize {
    places.get(record.device.identity.device.as_str()).copied().unwrap_or(usize::MAX)
}

fn fleet_device(api: &Api, record: &Record) -> Value {
    let identity = &record.device.identity;
    let health = api.monitoring.health(identity.device.as_str());
    let signal = health.last.as_ref().map(|(name, _)| name.as_ref());
    let last =
        health.last.as_ref().and_then(|(_, point)| point.as_ref()).map(gantry_monitoring::points::Point::document);
    json!({
        "deviceId": identity.device.as_str(),
        "connected": api.hub.is_connected(identity),
        "status": record.device.status.as_str(),
        "health": health.health,
        "urgency": (health.urgency * 1000.0).round() / 1000.0,
        "reason": health.reason,
        "signal": signal,
        "last": last,
        "openAlerts": health.open_alerts,
        "lastActivityTime": record.presence.last_activity_at.to_string(),
    })
}

pub(super) async fn maintenance(State(api): State<Arc<Api>>) -> Json<Value> {
    let items: Vec<_> = api.monitoring.maintenance().iter().map(gantry_monitoring::MaintenanceItem::document).collect();
    Json(json!({ "items": items, "updatedAt": now().to_string() }))
}

pub(super) async fn serviced(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<StatusCode, PlatformError> {
    if api.monitoring.serviced(now(), &id) {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(PlatformError::not_found(format!("device `{id}` has sent no telemetry")))
}

pub(super) async fn signals(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer {
    api.hub.record(&device(&id)?).await?;
    let signals: Vec<_> = api
        .monitoring
        .signals(&id)
        .iter()
        .map(|(name, last)| {
            let last = last.as_ref().map(gantry_monitoring::points::Point::document);
            json!({ "name": name.as_ref(), "unit": null, "last": last })
        })
        .collect();
    Ok(Json(json!({ "signals": signals })))
}

#[derive(Deserialize)]
pub(super) struct SeriesQuery {
    signal: String,
    limit: Option<usize>,
}

pub(super) async fn series(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    Query(query): Query<SeriesQuery>,
) -> Answer {
    let limit = query.limit.unwrap_or(2000).min(gantry_monitoring::pipeline::POINTS_MAX);
    let judged = api
        .monitoring
        .series(&id, &query.signal, limit)
        .ok_or_else(|| PlatformError::not_found(format!("signal `{}` of device `{id}`", query.signal)))?;
    let mut earlier = vec![];
    if judged.len() < limit {
        let (history, device, signal) = (Arc::clone(&api.history), id.clone(), query.signal.clone());
        let (before, limit) = (judged.first().map(|point| point.at), limit - judged.len());
        let read = tokio::task::spawn_blocking(move || history.values(&device, &signal, before, limit));
        match read.await.unwrap_or_else(|failed| Err(failed.to_string())) {
            Ok(values) => earlier = values,
            Err(error) => {
                tracing::error!(%error, device = id, "what a device sent earlier cannot be read");
                // What is in memory is the newest, and what somebody watches.
                if judged.is_empty() {
                    return Err(PlatformError::unavailable());
                }
            }
        }
    }
    let values: Vec<_> = earlier.iter().map(|measured| (measured.at, measured.value)).collect();
    let values = [values, judged.iter().map(|point| (point.at, point.value)).collect()].concat();
    let mut points: Vec<_> = earlier.iter().map(unjudged).collect();
    points.extend(judged.iter().map(gantry_monitoring::points::Point::document));
    let (monitoring, device, signal) = (Arc::clone(&api.monitoring), id.clone(), query.signal.clone());
    let changes = tokio::task::spawn_blocking(move || monitoring.changes(&device, &signal, &values)).await;
    let changes: Vec<_> = changes.unwrap_or_default().iter().map(gantry_monitoring::LevelChange::document).collect();
    Ok(Json(json!({ "deviceId": id, "signal": query.signal, "points": points, "changes": changes })))
}

#[derive(Deserialize)]
pub(super) struct ForecastQuery {
    signal: String,
    seconds: Option<u64>,
    points: Option<u32>,
}

pub(super) async fn forecast(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    Query(query): Query<ForecastQuery>,
) -> Answer {
    let ahead_ms =
        query.seconds.map_or(i64::MAX, |seconds| i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX));
    let points = query.points.unwrap_or(100).clamp(1, FORECAST_POINTS_MAX);
    let found = api
        .monitoring
        .forecast(&id, &query.signal, ahead_ms, points)
        .ok_or_else(|| PlatformError::not_found(format!("signal `{}` of device `{id}`", query.signal)))?;
    let points: Vec<_> = found.iter().map(gantry_monitoring::Forecast::document).collect();
    let limits: Vec<_> =
        api.monitoring.limits(&id, &query.signal).iter().map(gantry_monitoring::ToLimit::document).collect();
    Ok(Json(json!({ "deviceId": id, "signal": query.signal, "points": points, "limits": limits })))
}

/// A point of which is known only what was sent.
fn unjudged(measured: &Measured) -> Value {
    let nothing = Value::Null;
    json!({
        "time": measured.at.to_string(), "value": measured.value, "score": nothing,
        "low": nothing, "expected": nothing, "high": nothing, "anomaly": false, "reason": nothing,
    })
}

fn twin_answer(api: &Api, record: &Record) -> Json<Value> {
    Json(record.twin_document(api.hub.is_connected(&record.device.identity)))
}

pub(super) async fn twin(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer {
    Ok(twin_answer(&api, &api.hub.record(&device(&id)?).await?))
}

pub(super) async fn patch_twin(State(api): State<Arc<Api>>, Path(id): Path<String>, body: Bytes) -> Answer {
    let id = device(&id)?;
    let twin = bodies::parse_fields::<TwinBody>(&body, &fields::TWIN).and_then(|twin| twin.of(&id)?.merge());
    let write = twin.map_err(|error| PlatformError::invalid(error.words()))?;
    let record = api.hub.write_twin(now(), &id, &write, &IfMatch::Absent).await?;
    Ok(twin_answer(&api, &record))
}

pub(super) async fn invoke(State(api): State<Arc<Api>>, Path(id): Path<String>, body: Bytes) -> Answer {
    let method = MethodBody::read(&body).and_then(MethodBody::call);
    let (call, timeouts) = method.map_err(|error| PlatformError::invalid(error.words()))?;
    let answer = api.hub.call_method(&WallClock, &device(&id)?, &call, timeouts).await?;
    Ok(Json(answer.document()))
}
