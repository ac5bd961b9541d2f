//! Alerts, security events and rules.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use gantry_monitoring::actions::Action;
use gantry_monitoring::alerts::{Alert, AlertState};
use gantry_monitoring::rules::Rule;
use serde::Deserialize;
use serde_json::{Value, json};
use url::{Origin, Url};

use super::error::PlatformError;
use super::parse;
use crate::caller::{Caller, Permissions};
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

/// The rules; who may not write them sees of a webhook only which host it is at, for whoever knows the rest may call it.
pub(super) async fn rules(State(api): State<Arc<Api>>, caller: Caller) -> Json<Value> {
    let mut rules = api.monitoring.rules();
    if !caller.permissions.contains(Permissions::RULES_MANAGE) {
        for action in rules.iter_mut().flat_map(|rule| &mut rule.actions) {
            if let Action::Webhook { url } = action {
                *url = origin(url);
            }
        }
    }
    Json(json!({ "rules": rules }))
}

/// Scheme, host and port of a URL; the rest is hidden.
fn origin(url: &str) -> String {
    let origin = Url::parse(url).map(|url| url.origin()).ok().filter(Origin::is_tuple);
    origin.map_or_else(|| "****".to_owned(), |origin| format!("{}/****", origin.ascii_serialization()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_webhook_only_its_origin_is_open() {
        for (url, shown) in [
            ("https://hooks.example/services/secret?key=secret#secret", "https://hooks.example/****"),
            ("http://user:secret@hooks.example:8080/", "http://hooks.example:8080/****"),
            ("https://hooks.example", "https://hooks.example/****"),
            ("https://[::1]:9/secret", "https://[::1]:9/****"),
            ("https://", "****"),
            ("secret:secret", "****"),
        ] {
            assert_eq!(origin(url), shown, "{url}");
        }
    }
}
