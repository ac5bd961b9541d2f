//! Shared access policies of the hub: their keys, and rolling them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use gantry_hub::policies::PolicyError;
use gantry_identity::Policy;
use serde_json::{Value, json};

use super::error::PlatformError;
use crate::Api;

/// In the shape of the management reference.
fn document(policy: &Policy) -> Value {
    json!({
        "keyName": policy.name,
        "rights": policy.rights.to_string(),
        "primaryKey": policy.keys.primary.to_base64(),
        "secondaryKey": policy.keys.secondary.to_base64(),
    })
}

pub(super) async fn list(State(api): State<Arc<Api>>) -> Json<Value> {
    Json(json!({ "value": api.hub.policies().iter().map(document).collect::<Vec<_>>() }))
}

pub(super) async fn roll(State(api): State<Arc<Api>>, Path(name): Path<String>) -> Result<Json<Value>, PlatformError> {
    match api.hub.roll_policy(&name).await {
        Ok(policy) => Ok(Json(document(&policy))),
        Err(error @ PolicyError::Unknown(_)) => Err(PlatformError::not_found(error.to_string())),
        Err(PolicyError::Store(error)) => Err(gantry_hub::HubError::from(error).into()),
    }
}
