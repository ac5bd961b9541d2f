//! What devices call: register, poll, look up.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use gantry_hub::Presented;
use gantry_provisioning::{DpsError, Registering, Registrant, RegistrationId};
use serde::Deserialize;
use serde_json::Value;

use super::{DpsFailure, with_header};
use crate::auth::{PeerAddress, PeerCertificate, device_token};
use crate::{Api, now};

/// Seconds until a device should ask again.
const RETRY_AFTER_SECS: &str = "2";

type Peer = Extension<PeerAddress>;
type Certificate = Option<Extension<PeerCertificate>>;

/// Who asks, and the proof.
struct Caller<'a> {
    headers: &'a HeaderMap,
    peer: &'a PeerAddress,
    certificate: Option<&'a PeerCertificate>,
}

impl Caller<'_> {
    async fn authenticate(&self, api: &Api, scope: &str, id: &str) -> Result<Registrant, DpsError> {
        let parsed = RegistrationId::parse(id).map_err(|error| DpsError::Invalid(error.to_string()))?;
        let presented = Presented { token: device_token(self.headers), certificate: self.certificate.map(|c| &c.0) };
        let result = api.provisioning.authenticate_device(now(), scope, &parsed, presented).await;
        if let Err(DpsError::Unauthorized(refusal)) = &result {
            api.provisioning.report_refusal(now(), id, &self.peer.0, "https dps register", refusal);
        }
        result
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RegisterQuery {
    #[serde(default)]
    force_registration: Option<String>,
}

pub(super) async fn register(
    State(api): State<Arc<Api>>,
    Extension(peer): Peer,
    certificate: Certificate,
    headers: HeaderMap,
    Path((scope, id)): Path<(String, String)>,
    Query(query): Query<RegisterQuery>,
    body: Bytes,
) -> Result<Response, DpsFailure> {
    let caller = Caller { headers: &headers, peer: &peer, certificate: certificate.as_deref() };
    let registrant = caller.authenticate(&api, &scope, &id).await?;
    let force = query.force_registration.is_some_and(|word| word.eq_ignore_ascii_case("true"));
    let asked = Registering { force, ..Registering::read(&body, &registrant.id)? };
    let operation = api.provisioning.register(now(), &registrant, asked).await?;
    let answer = (StatusCode::ACCEPTED, Json(operation.document())).into_response();
    let answer = with_header(answer, header::RETRY_AFTER, RETRY_AFTER_SECS);
    let location = format!("/{scope}/registrations/{id}/operations/{}", operation.id);
    Ok(with_header(answer, header::LOCATION, &location))
}

pub(super) async fn operation(
    State(api): State<Arc<Api>>,
    Extension(peer): Peer,
    certificate: Certificate,
    headers: HeaderMap,
    Path((scope, id, operation)): Path<(String, String, String)>,
) -> Result<Response, DpsFailure> {
    let caller = Caller { headers: &headers, peer: &peer, certificate: certificate.as_deref() };
    let registrant = caller.authenticate(&api, &scope, &id).await?;
    let operation = api.provisioning.operation(now(), &registrant, &operation).await?;
    if operation.is_done() {
        return Ok(Json(operation.document()).into_response());
    }
    let answer = (StatusCode::ACCEPTED, Json(operation.document())).into_response();
    Ok(with_header(answer, header::RETRY_AFTER, RETRY_AFTER_SECS))
}

pub(super) async fn look_up(
    State(api): State<Arc<Api>>,
    Extension(peer): Peer,
    certificate: Certificate,
    headers: HeaderMap,
    Path((scope, id)): Path<(String, String)>,
    body: Bytes,
) -> Result<Json<Value>, DpsFailure> {
    let caller = Caller { headers: &headers, peer: &peer, certificate: certificate.as_deref() };
    let registrant = caller.authenticate(&api, &scope, &id).await?;
    match Registering::read(&body, &registrant.id) {
        // Only a registration may ask for a certificate (DPS device API).
        Err(DpsError::NotImplemented(what)) => {
            return Err(DpsError::Invalid(format!("{what} needs a registration")).into());
        }
        checked => drop(checked?),
    }
    Ok(Json(api.provisioning.registration(&registrant.id).await?.document()))
}
