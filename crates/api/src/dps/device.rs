//! What devices call: register, poll, look up.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use gantry_hub::Presented;
use gantry_provisioning::{DpsError, RETRY_AFTER_SECS, Registering, Registrant, RegistrationId, Service, TpmRequest};
use serde::Deserialize;
use serde_json::Value;

use super::{DpsFailure, with_header};
use crate::auth::{PeerAddress, PeerCertificate, device_token};
use crate::query::Query;
use crate::{Api, now};

type Peer = Extension<PeerAddress>;
type Certificate = Option<Extension<PeerCertificate>>;

/// Who asks, and the proof.
struct Asker<'a> {
    headers: &'a HeaderMap,
    peer: &'a PeerAddress,
    certificate: Option<&'a PeerCertificate>,
}

impl Asker<'_> {
    fn presented(&self) -> Presented<'_> {
        Presented { token: device_token(self.headers), certificate: self.certificate.map(|c| &c.0) }
    }

    /// Lets a device register.
    async fn authenticate(&self, service: &Service, scope: &str, id: &str) -> Result<Registrant, DpsError> {
        let parsed = registration_id(id)?;
        let result = service.authenticate_device(now(), scope, &parsed, self.presented()).await;
        self.audited(service, id, "https dps register", result)
    }

    /// Lets a device ask about its registration.
    async fn recognize(&self, service: &Service, scope: &str, id: &str) -> Result<Registrant, DpsError> {
        let parsed = registration_id(id)?;
        let result = service.recognize_device(now(), scope, &parsed, self.presented()).await;
        self.audited(service, id, "https dps status", result)
    }

    /// Challenges the TPM of a device that shows its keys and no other proof.
    async fn challenge(
        &self,
        service: &Service,
        scope: &str,
        id: &str,
        body: &[u8],
    ) -> Result<Option<Response>, DpsError> {
        if device_token(self.headers).is_some() {
            return Ok(None);
        }
        let Some(shown) = TpmRequest::read(body)? else { return Ok(None) };
        let parsed = registration_id(id)?;
        let result = service.challenge(now(), scope, &parsed, &shown).await;
        let blob = self.audited(service, id, "https dps challenge", result)?;
        let tracking_id = uuid::Uuid::new_v4().simple().to_string();
        let document = DpsError::challenge_document(&blob, &tracking_id, now());
        Ok(Some((StatusCode::UNAUTHORIZED, Json(document)).into_response()))
    }

    fn audited<T>(
        &self,
        service: &Service,
        id: &str,
        operation: &'static str,
        result: Result<T, DpsError>,
    ) -> Result<T, DpsError> {
        match &result {
            Ok(_) => self.peer.is_known(),
            Err(DpsError::Unauthorized(refusal)) => {
                service.report_refusal(now(), id, &self.peer.0, operation, refusal);
            }
            Err(_) => {}
        }
        result
    }
}

fn registration_id(id: &str) -> Result<RegistrationId, DpsError> {
    RegistrationId::parse(id).map_err(|error| DpsError::Invalid(error.to_string()))
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
    let service = api.instances.of(&scope);
    let asker = Asker { headers: &headers, peer: &peer, certificate: certificate.as_deref() };
    if let Some(challenge) = asker.challenge(service, &scope, &id, &body).await? {
        return Ok(challenge);
    }
    let registrant = asker.authenticate(service, &scope, &id).await?;
    let force = query.force_registration.is_some_and(|word| word.eq_ignore_ascii_case("true"));
    let asked = Registering { force, ..Registering::read(&body, &registrant.id)? };
    let operation = service.register(now(), &registrant, asked).await?;
    let answer = (StatusCode::ACCEPTED, Json(operation.document())).into_response();
    let answer = with_header(answer, header::RETRY_AFTER, &RETRY_AFTER_SECS.to_string());
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
    let service = api.instances.of(&scope);
    let asker = Asker { headers: &headers, peer: &peer, certificate: certificate.as_deref() };
    let registrant = asker.recognize(service, &scope, &id).await?;
    let operation = service.operation(now(), &registrant, &operation).await?;
    if operation.is_done() {
        return Ok(Json(operation.document()).into_response());
    }
    let answer = (StatusCode::ACCEPTED, Json(operation.document())).into_response();
    Ok(with_header(answer, header::RETRY_AFTER, &RETRY_AFTER_SECS.to_string()))
}

pub(super) async fn look_up(
    State(api): State<Arc<Api>>,
    Extension(peer): Peer,
    certificate: Certificate,
    headers: HeaderMap,
    Path((scope, id)): Path<(String, String)>,
    body: Bytes,
) -> Result<Json<Value>, DpsFailure> {
    let service = api.instances.of(&scope);
    let asker = Asker { headers: &headers, peer: &peer, certificate: certificate.as_deref() };
    let registrant = asker.recognize(service, &scope, &id).await?;
    match Registering::read(&body, &registrant.id) {
        // Only a registration may ask for a certificate (DPS device API).
        Err(DpsError::NotImplemented(what)) => {
            return Err(DpsError::Invalid(format!("{what} needs a registration")).into());
        }
        checked => drop(checked?),
    }
    Ok(Json(service.registration(&registrant.id).await?.document()))
}
