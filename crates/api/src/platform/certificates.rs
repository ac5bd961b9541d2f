//! Certificate authorities the hub and the provisioning service trust, as the management APIs of the reference
//! services shape them. The two lists are apart and have the same routes.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode};
use gantry_hub::authorities::{Authorities, Entry};
use gantry_hub::device::IfMatch;
use gantry_identity::Authority;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::PlatformError;
use super::{parse, row};
use crate::caller::Permissions;
use crate::fields;
use crate::hub::if_match;
use crate::routes::Routes;
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

/// Whose list a route is about.
pub(super) trait Trusting: Send + 'static {
    /// Where its routes begin.
    const BASE: &'static str;
    /// What the names of its operations begin with.
    const GROUP: &'static str;
    /// What is in it.
    const ABOUT: &'static str;
    fn authorities(api: &Api) -> &Authorities;
}

pub(super) struct AtHub;

impl Trusting for AtHub {
    const BASE: &'static str = "";
    const GROUP: &'static str = "Certificates";
    const ABOUT: &'static str = "`{\"value\":[Certificate]}`: authorities whose devices may connect.";

    fn authorities(api: &Api) -> &Authorities {
        api.hub.authorities()
    }
}

pub(super) struct AtProvisioning;

impl Trusting for AtProvisioning {
    const BASE: &'static str = "/provisioning";
    const GROUP: &'static str = "DpsCertificates";
    const ABOUT: &'static str = "`{\"value\":[Certificate]}`: authorities that enrollments name in `caReferences`.";

    fn authorities(api: &Api) -> &Authorities {
        api.provisioning.authorities()
    }
}

pub(super) fn routes<T: Trusting>() -> Routes<Arc<Api>> {
    let row = |method, path: &str, verb, about| {
        let (path, id) = (format!("{}/certificates{path}", T::BASE), format!("{}_{verb}", T::GROUP));
        row(method, &path, id, Permissions::CERTIFICATES_MANAGE, about)
    };
    Routes::new()
        .on(row(Method::GET, "", "List", T::ABOUT), list::<T>)
        .on(row(Method::GET, "/{name}", "Get", "The certificate."), show::<T>)
        .on(
            row(
                Method::PUT,
                "/{name}",
                "CreateOrUpdate",
                "The certificate, base64 or PEM; not verified unless said. `If-Match` is optional.",
            )
            .takes(&fields::AUTHORITY),
            put::<T>,
        )
        .on(row(Method::DELETE, "/{name}", "Delete", "204; `If-Match` is optional."), delete::<T>)
        .on(
            row(
                Method::POST,
                "/{name}/generateVerificationCode",
                "GenerateVerificationCode",
                "The certificate, with `verificationCode`.",
            ),
            draw_code::<T>,
        )
        .on(
            row(
                Method::POST,
                "/{name}/verify",
                "Verify",
                "Takes a certificate signed by the authority, with the code as common name.",
            )
            .takes(&fields::PROOF),
            verify::<T>,
        )
}

async fn list<T: Trusting>(State(api): State<Arc<Api>>) -> Json<Value> {
    Json(json!({ "value": T::authorities(&api).list().iter().map(document).collect::<Vec<_>>() }))
}

async fn show<T: Trusting>(State(api): State<Arc<Api>>, Path(name): Path<String>) -> Answer {
    Ok(Json(document(&T::authorities(&api).get(&name)?)))
}

async fn put<T: Trusting>(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let upload: Upload = parse(&body, &fields::AUTHORITY)?;
    let authority =
        Authority::parse(upload.certificate.as_bytes()).map_err(|error| PlatformError::invalid(error.to_string()))?;
    let entry = T::authorities(&api).put(now(), &name, authority, upload.is_verified, &if_match(&headers)).await?;
    Ok(Json(document(&entry)))
}

async fn draw_code<T: Trusting>(State(api): State<Arc<Api>>, Path(name): Path<String>, headers: HeaderMap) -> Answer {
    Ok(Json(document(&T::authorities(&api).draw_code(now(), &name, &if_match(&headers)).await?)))
}

async fn verify<T: Trusting>(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let (proof, tag): (Proof, IfMatch) = (parse(&body, &fields::PROOF)?, if_match(&headers));
    let entry = T::authorities(&api).verify(now(), &name, proof.certificate.as_bytes(), &tag).await?;
    Ok(Json(document(&entry)))
}

async fn delete<T: Trusting>(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, PlatformError> {
    T::authorities(&api).delete(&name, &if_match(&headers)).await?;
    Ok(StatusCode::NO_CONTENT)
}
