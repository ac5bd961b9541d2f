//! What devices call: register, poll, look up.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use gantry_provisioning::{DpsError, Registrant, RegistrationId};
use serde_json::Value;

use super::{DpsFailure, with_header};
use crate::auth::{PeerAddress, device_token};
use crate::{Api, now};

/// Seconds until a device should ask again.
const RETRY_AFTER_SECS: &str = "2";

type Peer = Extension<PeerAddress>;

async fn authenticate(
    api: &Api,
    headers: &HeaderMap,
    peer: &PeerAddress,
    scope: &str,
    id: &str,
) -> Result<Registrant, DpsError> {
    let parsed = RegistrationId::parse(id).map_err(|error| DpsError::Invalid(error.to_string()))?;
    let result = api.provisioning.authenticate_device(now(), scope, &parsed, device_token(headers)).await;
    if let Err(DpsError::Unauthorized(refusal)) = &result {
        api.provisioning.report_refusal(now(), id, &peer.0, "https dps register", refusal);
    }
    result
}

pub(super) async fn register(
    State(api): State<Arc<Api>>,
    Extension(peer): Peer,
    headers: HeaderMap,
    Path((scope, id)): Path<(String, String)>,
    body: Bytes,
) -> Result<Response, DpsFailure> {
    let registrant = authenticate(&api, &headers, &peer, &scope, &id).await?;
    check_body(&body, &id)?;
    let operation = api.provisioning.register(now(), &registrant).await?;
    let answer = (StatusCode::ACCEPTED, Json(operation.accepted_document())).into_response();
    let answer = with_header(answer, header::RETRY_AFTER, RETRY_AFTER_SECS);
    let location = format!("/{scope}/registrations/{id}/operations/{}", operation.id);
    Ok(with_header(answer, header::LOCATION, &location))
}

pub(super) async fn operation(
    State(api): State<Arc<Api>>,
    Extension(peer): Peer,
    headers: HeaderMap,
    Path((scope, id, operation)): Path<(String, String, String)>,
) -> Result<Json<Value>, DpsFailure> {
    let registrant = authenticate(&api, &headers, &peer, &scope, &id).await?;
    Ok(Json(api.provisioning.operation(&registrant, &operation).await?.document()))
}

pub(super) async fn look_up(
    State(api): State<Arc<Api>>,
    Extension(peer): Peer,
    headers: HeaderMap,
    Path((scope, id)): Path<(String, String)>,
    body: Bytes,
) -> Result<Json<Value>, DpsFailure> {
    let registrant = authenticate(&api, &headers, &peer, &scope, &id).await?;
    check_body(&body, &id)?;
    Ok(Json(api.provisioning.registration(&registrant.id).await?.document()))
}

fn check_body(body: &Bytes, id: &str) -> Result<(), DpsError> {
    if body.trim_ascii().is_empty() {
        return Ok(());
    }
    let body: Value =
        serde_json::from_slice(body).map_err(|error| DpsError::Invalid(format!("malformed body: {error}")))?;
    for (field, what) in [("csr", "certificate issuance (csr)"), ("tpm", "TPM attestation")] {
        if body.get(field).is_some_and(|value| !value.is_null()) {
            return Err(DpsError::NotImplemented(what));
        }
    }
    match body.get("registrationId").and_then(Value::as_str) {
        Some(given) if !given.eq_ignore_ascii_case(id) => {
            Err(DpsError::Invalid("registrationId in the body differs from the one in the path".into()))
        }
        _ => Ok(()),
    }
}
