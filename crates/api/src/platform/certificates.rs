//! Certificate authorities the hub trusts, as the management API of the reference service shapes them.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use gantry_hub::authorities::Entry;
use gantry_hub::device::IfMatch;
use gantry_identity::Authority;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::PlatformError;
use super::session::Owner;
use crate::hub::if_match;
use crate::{Api, now};

type Answer = Result<Json<Value>, PlatformError>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Upload {
    certificate: String,
    #[serde(default)]
    is_verified: bool,
}

#[derive(Deserialize)]
struct Proof {
    certificate: String,
}

fn parse<'a, T: Deserialize<'a>>(body: &'a Bytes) -> Result<T, PlatformError> {
    serde_json::from_slice(body).map_err(|error| PlatformError::invalid(format!("malformed body: {error}")))
}

fn document(entry: &Entry) -> Value {
    use base64::Engine as _;
    json!({
        "name": entry.name,
        "etag": entry.etag_text(),
        "properties": {
            "subject": entry.authority.subject(),
            "thumbprint": entry.authority.thumbprint(),
            "expiry": entry.authority.not_after().to_string(),
            "isVerified": entry.is_verified,
            "verificationCode": entry.code,
            "created": entry.created_at.to_string(),
            "updated": entry.updated_at.to_string(),
            "certificate": base64::engine::general_purpose::STANDARD.encode(entry.authority.der()),
        },
    })
}

pub(super) async fn list(State(api): State<Arc<Api>>, _: Owner) -> Json<Value> {
    Json(json!({ "value": api.hub.authorities().iter().map(document).collect::<Vec<_>>() }))
}

pub(super) async fn get(State(api): State<Arc<Api>>, _: Owner, Path(name): Path<String>) -> Answer {
    Ok(Json(document(&api.hub.authority(&name)?)))
}

pub(super) async fn put(
    State(api): State<Arc<Api>>,
    _: Owner,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let upload: Upload = parse(&body)?;
    let authority =
        Authority::parse(upload.certificate.as_bytes()).map_err(|error| PlatformError::invalid(error.to_string()))?;
    let entry = api.hub.put_authority(now(), &name, authority, upload.is_verified, &if_match(&headers)).await?;
    Ok(Json(document(&entry)))
}

pub(super) async fn draw_code(
    State(api): State<Arc<Api>>,
    _: Owner,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Answer {
    Ok(Json(document(&api.hub.draw_authority_code(now(), &name, &if_match(&headers)).await?)))
}

pub(super) async fn verify(
    State(api): State<Arc<Api>>,
    _: Owner,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let (proof, tag): (Proof, IfMatch) = (parse(&body)?, if_match(&headers));
    let entry = api.hub.verify_authority(now(), &name, proof.certificate.as_bytes(), &tag).await?;
    Ok(Json(document(&entry)))
}

pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    _: Owner,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, PlatformError> {
    api.hub.delete_authority(&name, &if_match(&headers)).await?;
    Ok(StatusCode::NO_CONTENT)
}
