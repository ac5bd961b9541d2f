//! Direct methods.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::Response;
use gantry_hub::connection::MethodResponse;
use gantry_hub::{MethodCall, MethodTimeouts};
use gantry_identity::Identity;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::bodies;
use super::{device, module};
use crate::error::ApiError;
use crate::{Api, WallClock};

/// A payload as its sender wrote it. One that is left out stays empty: `null` is a payload.
fn payload<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    Ok(Bytes::from(String::from(Box::<str>::from(Box::<RawValue>::deserialize(deserializer)?))))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct MethodBody {
    #[serde(alias = "MethodName")]
    method_name: String,
    #[serde(default, deserialize_with = "payload", alias = "Payload")]
    payload: Bytes,
    #[serde(alias = "ResponseTimeoutInSeconds")]
    response_timeout_in_seconds: Option<u64>,
    #[serde(alias = "ConnectTimeoutInSeconds")]
    connect_timeout_in_seconds: Option<u64>,
}

impl MethodBody {
    /// Reads a body. Its text is read at once, so that the payload stays what its sender wrote.
    ///
    /// # Errors
    /// When it is no object, or has fields that are not known.
    pub(crate) fn read(text: &[u8]) -> Result<Self, ApiError> {
        if text.trim_ascii_start().first() != Some(&b'{') {
            return Err(ApiError::invalid("malformed body: a JSON object is needed"));
        }
        serde_json::from_slice(text).map_err(bodies::malformed)
    }

    /// The method and its time-outs.
    ///
    /// # Errors
    /// When a time-out, the name or the payload is out of bounds.
    pub(crate) fn call(self) -> Result<(MethodCall, MethodTimeouts), ApiError> {
        let timeouts = MethodTimeouts::from_secs(self.connect_timeout_in_seconds, self.response_timeout_in_seconds)?;
        Ok((MethodCall::new(&self.method_name, self.payload)?, timeouts))
    }
}

pub(super) async fn invoke(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, ApiError> {
    invoke_on(&api, &device(&id)?, &body).await.map_err(ApiError::for_method)
}

pub(super) async fn invoke_module(
    State(api): State<Arc<Api>>,
    Path((id, mid)): Path<(String, String)>,
    body: Bytes,
) -> Result<Response, ApiError> {
    invoke_on(&api, &module(&id, &mid)?, &body).await.map_err(ApiError::for_method)
}

async fn invoke_on(api: &Api, identity: &Identity, body: &Bytes) -> Result<Response, ApiError> {
    let (call, timeouts) = MethodBody::read(body)?.call()?;
    let MethodResponse { status, payload } = api.hub.call_method(&WallClock, identity, &call, timeouts).await?;
    // The device's words stand in the answer as they came, JSON or not, for the device did what it was told.
    let payload = String::from_utf8_lossy(answered(&payload));
    Ok(bodies::json_text(format!("{{\"status\":{status},\"payload\":{payload}}}")))
}

/// What a device answered; nothing counts as `null`.
pub(super) fn answered(payload: &[u8]) -> &[u8] {
    if payload.trim_ascii().is_empty() { b"null" } else { payload }
}
