//! How a device proves itself, when it has a way of its own: its individual enrollment.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use gantry_api::{now, read_attestation};
use gantry_central::access::permissions::Permission;
use gantry_hub::device::IfMatch;
use gantry_identity::DeviceId;
use gantry_provisioning::{
    Attestation, AttestationWrite, DpsError, Enrollment, EnrollmentKey, EnrollmentWrite, Keys, RegistrationId,
};
use serde_json::{Map, Value, json};

use super::known;
use crate::Failure;
use crate::call::Call;

fn key(id: &DeviceId) -> Result<EnrollmentKey, Failure> {
    let id = RegistrationId::parse(id.as_str());
    id.map(EnrollmentKey::Individual).map_err(|error| Failure::invalid(format!("this device cannot register: {error}")))
}

/// The enrollment under the id of a device, which may be that of another one: registration ids have no case.
async fn under(call: &Call, id: &DeviceId) -> Result<Option<Enrollment>, Failure> {
    let Ok(key) = key(id) else { return Ok(None) };
    match call.application().api.provisioning.enrollment(&key).await {
        Ok(enrollment) => Ok(Some(enrollment)),
        Err(DpsError::NotFound(..)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether an enrollment registers a device.
fn is_of(enrollment: &Enrollment, id: &DeviceId) -> bool {
    match &enrollment.settings.device_id {
        Some(of) => of == id,
        None => enrollment.key.as_str() == id.as_str(),
    }
}

/// The enrollment of a device.
pub(super) async fn own(call: &Call, id: &DeviceId) -> Result<Option<Enrollment>, Failure> {
    Ok(under(call, id).await?.filter(|enrollment| is_of(enrollment, id)))
}

/// An attestation as bodies show it: of certificates their SHA-1 thumbprints.
pub(crate) fn show(attestation: &Attestation, keys: Keys) -> Value {
    let mut shown = attestation.document(keys);
    if let Some(Value::Object(kinds)) = shown.get_mut("x509") {
        for slots in kinds.values_mut().filter_map(Value::as_object_mut) {
            slots.values_mut().for_each(only_thumbprint);
        }
    }
    if let Some(Value::Object(tpm)) = shown.get_mut("tpm") {
        tpm.retain(|name, _| name == "endorsementKey");
    }
    shown
}

fn only_thumbprint(slot: &mut Value) {
    let thumbprint = slot.pointer("/info/sha1Thumbprint").cloned().unwrap_or_default();
    let info = Map::from_iter([("sha1Thumbprint".to_owned(), thumbprint)]);
    *slot = json!({ "info": info });
}

pub(crate) async fn get(call: Call) -> Result<Json<Value>, Failure> {
    let known = known(&call, Permission::ConnectivityRead).await?;
    let id = &known.identity().device;
    let own = own(&call, id).await?;
    let own = own.ok_or_else(|| Failure::not_found(format!("device `{id}` has no attestation of its own")))?;
    // Keys to those only who may write them.
    let organization = known.profile.organization.as_ref();
    let may_write = call.sees(Permission::ConnectivityManage, organization);
    Ok(Json(show(&own.attestation, if may_write { Keys::Shown } else { Keys::Hidden })))
}

pub(crate) async fn put(call: Call) -> Result<Json<Value>, Failure> {
    let known = known(&call, Permission::ConnectivityManage).await?;
    let id = known.identity().device.clone();
    let body = call.body()?;
    crate::body::needed(&body, "type")?;
    let written = give(&call, &id, known.record.device.iot_edge, read_attestation(body)?).await?;
    Ok(Json(show(&written.attestation, Keys::Shown)))
}

/// Gives a device an attestation of its own, in place of the one it has.
pub(super) async fn give(
    call: &Call,
    id: &DeviceId,
    iot_edge: bool,
    attestation: AttestationWrite,
) -> Result<Enrollment, Failure> {
    let before = under(call, id).await?;
    if before.as_ref().is_some_and(|enrollment| !is_of(enrollment, id)) {
        return Err(Failure::conflict(format!("provisioning has another device under `{id}`")));
    }
    let expected = before.as_ref().map_or(IfMatch::Absent, |enrollment| IfMatch::tag(enrollment.etag_text()));
    let before = before.map(|enrollment| enrollment.settings);
    let settings = before.unwrap_or_else(|| EnrollmentWrite {
        device_id: Some(id.clone()),
        iot_edge,
        ..EnrollmentWrite::default()
    });
    let write = EnrollmentWrite { attestation, ..settings };
    Ok(call.application().api.provisioning.put_enrollment(now(), key(id)?, write, &expected).await?)
}

pub(crate) async fn remove(call: Call) -> Result<Response, Failure> {
    let known = known(&call, Permission::ConnectivityManage).await?;
    let id = &known.identity().device;
    let own = own(&call, id).await?;
    let own = own.ok_or_else(|| Failure::not_found(format!("device `{id}` has no attestation of its own")))?;
    call.application().api.provisioning.delete_enrollment(&own.key, &IfMatch::tag(own.etag_text())).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
