//! DPS over HTTPS: the device API and the service API (specifications 2021-10-01).

mod attestation;
mod device;
pub(crate) mod enrollment;
pub(crate) mod service;

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use gantry_hub::device::IfMatch;
use gantry_provisioning::DpsError;

use crate::body::BodyError;
use crate::{Api, now};

pub(crate) fn routes() -> Router<Arc<Api>> {
    let individual = get(service::get_individual).put(service::put_individual).delete(service::delete_individual);
    let group = || get(service::get_group).put(service::put_group).delete(service::delete_group);
    let mut router = Router::new()
        .route("/{scope}/registrations/{id}/register", put(device::register))
        .route("/{scope}/registrations/{id}/operations/{operation}", get(device::operation))
        .route("/{scope}/registrations/{id}", post(device::look_up))
        .route("/enrollments", post(service::bulk_individual))
        .route("/enrollments/query", post(service::query_individual))
        .route("/enrollments/{id}", individual)
        .route("/enrollments/{id}/attestationmechanism", post(service::keys_of_individual))
        .route("/registrations/{id}", get(service::get_registration).delete(service::delete_registration))
        .route("/registrations/{id}/query", post(service::query_registrations));
    // SDKs write the group's path in both spellings.
    for base in ["/enrollmentGroups", "/enrollmentgroups"] {
        router = router
            .route(base, post(service::bulk_group))
            .route(&format!("{base}/query"), post(service::query_group))
            .route(&format!("{base}/{{id}}"), group())
            .route(&format!("{base}/{{id}}/attestationmechanism"), post(service::keys_of_group));
    }
    router
}

/// A DPS error as HTTP.
pub(crate) struct DpsFailure(DpsError);

impl<E: Into<DpsError>> From<E> for DpsFailure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl From<BodyError> for DpsError {
    fn from(error: BodyError) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl IntoResponse for DpsFailure {
    fn into_response(self) -> Response {
        if let DpsError::Failed(reason) = &self.0 {
            tracing::error!(%reason, "provisioning operation failed");
        }
        let tracking_id = uuid::Uuid::new_v4().simple().to_string();
        let code = self.0.code();
        let status = u16::try_from(code / 1000).ok().and_then(|s| StatusCode::from_u16(s).ok());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.0.document(&tracking_id, now()))).into_response();
        response.headers_mut().insert("x-ms-error-code", HeaderValue::from(code));
        if let DpsError::Throttled { retry_after } = self.0 {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after.as_secs() + 1));
        }
        response
    }
}

fn if_match(headers: &HeaderMap) -> IfMatch {
    IfMatch::parse(headers.get(header::IF_MATCH).and_then(|value| value.to_str().ok()))
}

fn with_header(mut response: Response, name: HeaderName, value: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
    response
}
