//! DPS over HTTPS: the device API and the service API (specifications 2021-10-01).

mod attestation;
mod device;
pub(crate) mod enrollment;
pub(crate) mod service;

use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gantry_provisioning::DpsError;

use crate::body::BodyError;
use crate::routes::Routes;
use crate::{Api, now};

pub(crate) fn routes() -> Routes<Arc<Api>> {
    Routes::new()
        .put("/{scope}/registrations/{id}/register", device::register)
        .get("/{scope}/registrations/{id}/operations/{operation}", device::operation)
        .post("/{scope}/registrations/{id}", device::look_up)
        .post("/enrollments", service::bulk_individual)
        .post("/enrollments/query", service::query_individual)
        .get("/enrollments/{id}", service::get_individual)
        .put("/enrollments/{id}", service::put_individual)
        .delete("/enrollments/{id}", service::delete_individual)
        .post("/enrollments/{id}/attestationmechanism", service::keys_of_individual)
        .post("/enrollmentGroups", service::bulk_group)
        .post("/enrollmentGroups/query", service::query_group)
        .get("/enrollmentGroups/{id}", service::get_group)
        .put("/enrollmentGroups/{id}", service::put_group)
        .delete("/enrollmentGroups/{id}", service::delete_group)
        .post("/enrollmentGroups/{id}/attestationmechanism", service::keys_of_group)
        .get("/registrations/{id}", service::get_registration)
        .delete("/registrations/{id}", service::delete_registration)
        .post("/registrations/{id}/query", service::query_registrations)
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

fn with_header(mut response: Response, name: HeaderName, value: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
    response
}
