//! Direct methods: the time-outs of a call are kept here, because the hub has no clock.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use gantry_hub::connection::MethodResponse;
use gantry_hub::{Hub, HubError, MethodCall, limits};
use gantry_identity::Identity;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::bodies;
use super::{device, module};
use crate::Api;
use crate::auth::ServiceConnect;
use crate::error::ApiError;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct MethodBody {
    method_name: String,
    payload: Option<Box<RawValue>>,
    response_timeout_in_seconds: Option<u64>,
    connect_timeout_in_seconds: Option<u64>,
}

impl MethodBody {
    /// The method and its time-outs.
    ///
    /// # Errors
    /// When a time-out, the name or the payload is out of bounds.
    pub(crate) fn call(self) -> Result<(MethodCall, MethodTimeouts), ApiError> {
        let response = self.response_timeout_in_seconds.filter(|secs| *secs != 0);
        if response.is_some_and(|secs| !limits::METHOD_TIMEOUT_SECS.contains(&secs)) {
            return Err(ApiError::invalid("responseTimeoutInSeconds must be 5 to 300"));
        }
        let connect = self.connect_timeout_in_seconds.unwrap_or(0);
        if connect > *limits::METHOD_TIMEOUT_SECS.end() {
            return Err(ApiError::invalid("connectTimeoutInSeconds must be 0 to 300"));
        }
        let payload = self.payload.as_ref().map_or("null", |raw| raw.get());
        let call = MethodCall::new(&self.method_name, Bytes::copy_from_slice(payload.as_bytes()))?;
        let timeouts = MethodTimeouts {
            connect: Duration::from_secs(connect),
            response: response.map_or(limits::METHOD_TIMEOUT_DEFAULT, Duration::from_secs),
        };
        Ok((call, timeouts))
    }
}

/// How long a call may take.
#[derive(Clone, Copy, Debug)]
pub struct MethodTimeouts {
    /// For the device to connect; zero asks whether it is there now.
    pub connect: Duration,
    /// For the device to answer.
    pub response: Duration,
}

pub(super) async fn invoke(
    State(api): State<Arc<Api>>,
    _: ServiceConnect,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    invoke_on(&api, &device(&id)?, &body).await.map_err(ApiError::for_method)
}

pub(super) async fn invoke_module(
    State(api): State<Arc<Api>>,
    _: ServiceConnect,
    Path((id, mid)): Path<(String, String)>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    invoke_on(&api, &module(&id, &mid)?, &body).await.map_err(ApiError::for_method)
}

async fn invoke_on(api: &Api, identity: &Identity, body: &Bytes) -> Result<Json<Value>, ApiError> {
    let body: MethodBody = bodies::parse(body)?;
    let (call, timeouts) = body.call()?;
    let answer = call_method(&api.hub, identity, &call, timeouts).await?;
    // An empty answer is null; anything else must be JSON.
    let payload = if answer.payload.trim_ascii().is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&answer.payload)
            .map_err(|_| ApiError::invalid("the device answered with something that is not JSON"))?
    };
    Ok(Json(json!({ "status": answer.status, "payload": payload })))
}

/// Calls a method within its time-outs.
///
/// # Errors
/// [`HubError::NotOnline`] when the device does not connect, [`HubError::TakenOver`] when another connection of it takes
/// over meanwhile, [`HubError::Timeout`] when it does not answer in time.
pub async fn call_method(
    hub: &Hub,
    identity: &Identity,
    call: &MethodCall,
    timeouts: MethodTimeouts,
) -> Result<MethodResponse, HubError> {
    hub.check_callable(identity).await?;
    if !timeouts.connect.is_zero()
        && tokio::time::timeout(timeouts.connect, hub.method_listener(identity)).await.is_err()
    {
        return Err(HubError::NotOnline(identity.clone()));
    }
    match tokio::time::timeout(timeouts.response, hub.invoke(identity, call)).await {
        Ok(answer) => answer,
        Err(_) => Err(HubError::Timeout(identity.clone())),
    }
}
