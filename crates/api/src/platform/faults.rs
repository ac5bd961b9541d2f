//! Rehearsed faults.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use gantry_hub::rehearsal::Rehearsal;
use serde_json::{Value, json};

use super::error::PlatformError;
use super::parse;
use crate::{Api, fields, now};

fn document(api: &Api) -> Value {
    match api.hub.rehearsal(now()) {
        Some((rehearsal, until)) => json!({ "rehearsal": rehearsal, "until": until.to_string() }),
        None => json!({ "rehearsal": null, "until": null }),
    }
}

pub(super) async fn get(State(api): State<Arc<Api>>) -> Json<Value> {
    Json(document(&api))
}

pub(super) async fn put(State(api): State<Arc<Api>>, body: Bytes) -> Result<Json<Value>, PlatformError> {
    let rehearsal: Rehearsal = parse(&body, &fields::REHEARSAL)?;
    api.hub.rehearse(now(), rehearsal)?;
    Ok(Json(document(&api)))
}

pub(super) async fn delete(State(api): State<Arc<Api>>) -> StatusCode {
    api.hub.end_rehearsal();
    StatusCode::NO_CONTENT
}
