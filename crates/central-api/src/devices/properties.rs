//! Properties of devices, modules and their components.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use gantry_api::now;
use gantry_central::access::permissions::Permission;
use gantry_central::devices::{read_properties, write_properties};
use gantry_hub::HubError;
use gantry_hub::device::IfMatch;
use serde_json::Value;

use super::{WRITE_ATTEMPTS, hub, known};
use crate::Failure;
use crate::call::Call;

pub(crate) async fn get(call: Call) -> Result<Json<Value>, Failure> {
    let known = known(&call, Permission::DevicesView).await?;
    let component = call.piece_or_none("componentName");
    let is_unmodeled = match call.asked(&["unmodeled"]) {
        None => false,
        Some(text) => text.parse().map_err(|_| Failure::invalid("`unmodeled` is true or false"))?,
    };
    let capabilities = known.capabilities.as_deref();
    Ok(Json(read_properties(&known.record, &known.profile, capabilities, component, is_unmodeled)?))
}

pub(crate) async fn replace(call: Call) -> Result<Response, Failure> {
    write(&call, true).await
}

pub(crate) async fn update(call: Call) -> Result<Response, Failure> {
    write(&call, false).await
}

/// What a body means follows the twin, so the twin must still be the one that was read.
async fn write(call: &Call, is_replacement: bool) -> Result<Response, Failure> {
    let (body, component) = (call.json()?, call.piece_or_none("componentName"));
    // Properties have no etag to be expected.
    if call.headers.contains_key(axum::http::header::IF_MATCH) {
        return Err(Failure::invalid("If-Match is not taken here"));
    }
    for _ in 0..WRITE_ATTEMPTS {
        let known = known(call, Permission::DevicesUpdate).await?;
        let capabilities = known.capabilities.as_deref();
        let write = write_properties(&known.record, &known.profile, capabilities, component, &body, is_replacement)?;
        let answer = (StatusCode::ACCEPTED, Json(write.said.clone())).into_response();
        let Some(twin) = write.twin() else { return Ok(answer) };
        let if_match = IfMatch::tag(known.record.twin.etag_text());
        match hub(call).write_twin(now(), known.identity(), &twin, &if_match).await {
            Ok(_) => return Ok(answer),
            Err(HubError::PreconditionFailed(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(HubError::Contended(call.piece("deviceId").to_owned()).into())
}
