//! Alerts, security events and rules.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use gantry_monitoring::alerts::{Alert, AlertState};
use gantry_monitoring::rules::Rule;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::PlatformError;
use super::parse;
use crate::fields;
use crate::query::Query;
use crate::{Api, now};

/// Alerts in one answer.
const LIST_MAX: usize = 500;

#[derive(Deserialize)]
pub(super) struct AlertsQuery {
    state: Option<AlertState>,
}

pub(super) async fn list(State(api): State<Arc<Api>>, Query(query): Query<AlertsQuery>) -> Json<Value> {
    let alerts: Vec<_> = api.monitoring.alerts(query.state, LIST_MAX).iter().map(Alert::document).collect();
    Json(json!({ "alerts": alerts }))
}

pub(super) async fn acknowledge(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, PlatformError> {
    set(&api, &id, AlertState::Acknowledged)
}

pub(super) async fn close(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<Json<Value>, PlatformError> {
    set(&api, &id, AlertState::Closed)
}

fn set(api: &Api, id: &str, state: AlertState) -> Result<Json<Value>, PlatformError> {
    let alert = api.monitoring.set_alert_state(now(), id, state);
    alert.map(|alert| Json(alert.document())).ok_or_else(|| PlatformError::not_found(format!("alert `{id}`")))
}

pub(super) async fn security(State(api): State<Arc<Api>>) -> Json<Value> {
    Json(json!({ "events": api.monitoring.security() }))
}

pub(super) async fn rules(State(api): State<Arc<Api>>) -> Json<Value> {
    Json(json!({ "rules": api.monitoring.rules() }))
}

pub(super) async fn put_rule(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Rule>, PlatformError> {
    let rule: Rule = parse(&body, &fields::RULE)?;
    let rule = Rule { id, ..rule };
    api.monitoring.put_rule(rule.clone())?;
    Ok(Json(rule))
}

pub(super) async fn delete_rule(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
) -> Result<StatusCode, PlatformError> {
    if api.monitoring.delete_rule(&id) {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(PlatformError::not_found(format!("rule `{id}`")))
}
