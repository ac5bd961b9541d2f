//! Faults that an operator plans.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use gantry_hub::faults::FaultPlan;
use serde_json::{Value, json};

use super::error::PlatformError;
use super::parse;
use crate::{Api, fields, now};

fn document(api: &Api) -> Value {
    let (plan, until) = api.hub.fault_plan(now()).unzip();
    // `rehearsal` is the name that `faults` had first.
    json!({ "faults": plan, "rehearsal": plan, "until": until.map(|until| until.to_string()) })
}

pub(super) async fn get(State(api): State<Arc<Api>>) -> Json<Value> {
    Json(document(&api))
}

pub(super) async fn put(State(api): State<Arc<Api>>, body: Bytes) -> Result<Json<Value>, PlatformError> {
    let plan: FaultPlan = parse(&body, &fields::FAULTS)?;
    api.hub.begin_faults(now(), plan)?;
    Ok(Json(document(&api)))
}

pub(super) async fn delete(State(api): State<Arc<Api>>) -> StatusCode {
    api.hub.end_faults();
    StatusCode::NO_CONTENT
}
