//! DPS over HTTPS: the device API and the service API (specifications 2021-10-01).

mod attestation;
pub use attestation::read_attestation;
mod device;
pub(crate) mod enrollment;
pub(crate) mod service;

use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, Method as M, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gantry_identity::Rights;
use gantry_provisioning::DpsError;

use crate::body::BodyError;
use crate::fields;
use crate::operation::{Access, Body, Head, Operation, Parameter};
use crate::routes::Routes;
use crate::{Api, now};

/// What a device's registration is proven by.
const REGISTRATION: Access =
    Access::Proof("the device of the registration: a token, a certificate, or a TPM that is challenged");
const FORCE: &[Parameter] = &[Parameter { name: "forceRegistration", about: "`true`: assigns again." }];

fn row(method: M, path: &str, id: &'static str, needed: Rights, about: &'static str) -> Operation {
    Operation::new(Head::DpsService, method, path, id, Access::Provisioning(needed), about)
}

fn device_row(method: M, path: &str, id: &'static str, about: &'static str) -> Operation {
    Operation::new(Head::DpsDevice, method, path, id, REGISTRATION, about)
}

pub(crate) fn routes() -> Routes<Arc<Api>> {
    Routes::new()
        .on(
            device_row(
                M::PUT,
                "/{scope}/registrations/{id}/register",
                "RuntimeRegistration_RegisterDevice",
                "Registers a device; 202 with an operation to ask about.",
            )
            .query(FORCE)
            .reads(Body::Json("`registrationId`, `payload`, `tpm`; may be left out.")),
            device::register,
        )
        .on(
            device_row(
                M::GET,
                "/{scope}/registrations/{id}/operations/{operation}",
                "RuntimeRegistration_OperationStatusLookup",
                "How far a registration is.",
            ),
            device::operation,
        )
        .on(
            device_row(
                M::POST,
                "/{scope}/registrations/{id}",
                "RuntimeRegistration_DeviceRegistrationStatusLookup",
                "The registration of a device.",
            )
            .reads(Body::Json("`registrationId`, `payload`, `tpm`; may be left out.")),
            device::look_up,
        )
        .on(
            row(
                M::POST,
                "/enrollments",
                "IndividualEnrollment_RunBulkOperation",
                Rights::ENROLLMENT_WRITE,
                "Writes or deletes up to 10 enrollments, one by one; says which failed.",
            )
            .takes(&fields::BULK_ENROLLMENTS),
            service::bulk_individual,
        )
        .on(
            row(
                M::POST,
                "/enrollments/query",
                "IndividualEnrollment_Query",
                Rights::ENROLLMENT_READ,
                "A page of enrollments; `x-ms-max-item-count` and `x-ms-continuation` are headers.",
            )
            .takes(&fields::QUERY)
            .asks(),
            service::query_individual,
        )
        .on(
            row(
                M::GET,
                "/enrollments/{id}",
                "IndividualEnrollment_Get",
                Rights::ENROLLMENT_READ,
                "One enrollment, without its keys.",
            ),
            service::get_individual,
        )
        .on(
            row(
                M::PUT,
                "/enrollments/{id}",
                "IndividualEnrollment_CreateOrUpdate",
                Rights::ENROLLMENT_WRITE,
                "Creates an enrollment, or with `If-Match` changes it.",
            )
            .takes(&fields::ENROLLMENT),
            service::put_individual,
        )
        .on(
            row(
                M::DELETE,
                "/enrollments/{id}",
                "IndividualEnrollment_Delete",
                Rights::ENROLLMENT_WRITE,
                "Deletes an enrollment; `If-Match` is optional.",
            ),
            service::delete_individual,
        )
        .on(
            row(
                M::POST,
                "/enrollments/{id}/attestationmechanism",
                "IndividualEnrollment_GetAttestationMechanism",
                Rights::ENROLLMENT_WRITE,
                "How its device proves itself, with keys.",
            ),
            service::keys_of_individual,
        )
        .on(
            row(
                M::POST,
                "/enrollmentGroups",
                "EnrollmentGroup_RunBulkOperation",
                Rights::ENROLLMENT_WRITE,
                "Writes or deletes up to 10 groups, one by one; says which failed.",
            )
            .takes(&fields::BULK_ENROLLMENTS),
            service::bulk_group,
        )
        .on(
            row(
                M::POST,
                "/enrollmentGroups/query",
                "EnrollmentGroup_Query",
                Rights::ENROLLMENT_READ,
                "A page of groups; `x-ms-max-item-count` and `x-ms-continuation` are headers.",
            )
            .takes(&fields::QUERY)
            .asks(),
            service::query_group,
        )
        .on(
            row(
                M::GET,
                "/enrollmentGroups/{id}",
                "EnrollmentGroup_Get",
                Rights::ENROLLMENT_READ,
                "One group, without its keys.",
            ),
            service::get_group,
        )
        .on(
            row(
                M::PUT,
                "/enrollmentGroups/{id}",
                "EnrollmentGroup_CreateOrUpdate",
                Rights::ENROLLMENT_WRITE,
                "Creates a group, or with `If-Match` changes it.",
            )
            .takes(&fields::ENROLLMENT),
            service::put_group,
        )
        .on(
            row(
                M::DELETE,
                "/enrollmentGroups/{id}",
                "EnrollmentGroup_Delete",
                Rights::ENROLLMENT_WRITE,
                "Deletes a group; `If-Match` is optional.",
            ),
            service::delete_group,
        )
        .on(
            row(
                M::POST,
                "/enrollmentGroups/{id}/attestationmechanism",
                "EnrollmentGroup_GetAttestationMechanism",
                Rights::ENROLLMENT_WRITE,
                "How its devices prove themselves, with keys.",
            ),
            service::keys_of_group,
        )
        .on(
            row(
                M::GET,
                "/registrations/{id}",
                "DeviceRegistrationState_Get",
                Rights::REGISTRATION_STATUS_READ,
                "One registration.",
            ),
            service::get_registration,
        )
        .on(
            row(
                M::DELETE,
                "/registrations/{id}",
                "DeviceRegistrationState_Delete",
                Rights::REGISTRATION_STATUS_WRITE,
                "Deletes a registration; the device at the hub stays.",
            ),
            service::delete_registration,
        )
        .on(
            row(
                M::POST,
                "/registrations/{id}/query",
                "DeviceRegistrationState_Query",
                Rights::REGISTRATION_STATUS_READ,
                "A page of the registrations of a group.",
            )
            .asks(),
            service::query_registrations,
        )
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
