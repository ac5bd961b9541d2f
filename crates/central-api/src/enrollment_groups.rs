//! Enrollment groups: provisioning's, with a name for people.
//!
//! Whoever may write one vouches for its certificates, as at provisioning's own API, so each is verified at once.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use gantry_api::{now, read_attestation};
use gantry_central::access::caller::Place;
use gantry_central::access::permissions::Permission;
use gantry_central::enrollments::{EnrollmentError, EnrollmentGroup};
use gantry_central::ids::{DisplayName, EnrollmentGroupId};
use gantry_central::{CentralError, State};
use gantry_hub::device::IfMatch;
use gantry_provisioning::{
    Attestation, DpsError, Enrollment, EnrollmentKey, EnrollmentKind, EnrollmentWrite, GroupId, Keys,
    ProvisioningStatus, X509,
};
use serde_json::{Value, json};

use crate::call::Call;
use crate::devices::attestation;
use crate::{Failure, body, list};

/// Enrollments asked of the store at once.
const LOOKED_AT_ONCE: usize = 500;
/// Groups that are listed; ours.
const GROUPS_MAX: usize = 10_000;

fn key(id: &EnrollmentGroupId) -> Result<EnrollmentKey, Failure> {
    GroupId::parse(id.as_str()).map(EnrollmentKey::Group).map_err(|error| Failure::invalid(error.to_string()))
}

fn unknown(id: &EnrollmentGroupId) -> Failure {
    CentralError::from(EnrollmentError::Unknown(id.clone())).into()
}

fn show(call: &Call, state: &State, one: &Enrollment) -> Value {
    let id = one.key.as_str();
    let named = EnrollmentGroupId::parse(id).ok().and_then(|id| state.enrollments.get(&id).cloned());
    let name = named.as_ref().map_or(id, |kept| kept.value.display_name.as_str());
    // Keys to those only who may write them.
    let may_write = call.may(Permission::ConnectivityManageGlobal, Place::Application).is_ok();
    let mut attestation = attestation::show(&one.attestation, if may_write { Keys::Shown } else { Keys::Hidden });
    if let Some(slots) = attestation.pointer_mut("/x509/signingCertificates").and_then(Value::as_object_mut) {
        slots.values_mut().for_each(|slot| slot["verified"] = true.into());
    }
    json!({
        "id": id,
        "displayName": name,
        "enabled": one.settings.status == ProvisioningStatus::Enabled,
        "type": if one.settings.iot_edge { "iotEdge" } else { "iot" },
        "attestation": attestation,
        "etag": format!("\"{}\"", one.etag_text()),
        "idScope": call.application().api.provisioning.id_scope().as_str(),
    })
}

pub(crate) async fn list(call: Call) -> Result<Response, Failure> {
    call.may(Permission::ConnectivityReadGlobal, Place::Application)?;
    let provisioning = &call.application().api.provisioning;
    let (mut all, mut after): (Vec<Enrollment>, Option<String>) = (vec![], None);
    loop {
        let found = provisioning.enrollments(EnrollmentKind::Group, after.as_deref(), LOOKED_AT_ONCE).await?;
        let is_end = found.len() < LOOKED_AT_ONCE || all.len() >= GROUPS_MAX;
        after = found.last().map(|one| one.key.as_str().to_owned());
        all.extend(found);
        if is_end {
            break;
        }
    }
    all.sort_by(|one, other| one.key.as_str().cmp(other.key.as_str()));
    let state = call.central().state();
    list::answer(&call, all.iter().map(|one| (one.key.as_str().to_owned(), one)), |_, one| show(&call, &state, one))
}

/// The group of the path.
async fn known(call: &Call) -> Result<(EnrollmentGroupId, Enrollment), Failure> {
    let id = call.id("enrollmentGroupId", EnrollmentGroupId::parse)?;
    match call.application().api.provisioning.enrollment(&key(&id)?).await {
        Ok(one) => Ok((id, one)),
        Err(DpsError::NotFound(..)) => Err(unknown(&id)),
        Err(error) => Err(error.into()),
    }
}

pub(crate) async fn get(call: Call) -> Result<Json<Value>, Failure> {
    call.may(Permission::ConnectivityReadGlobal, Place::Application)?;
    let (_, one) = known(&call).await?;
    Ok(Json(show(&call, &call.central().state(), &one)))
}

pub(crate) async fn put(call: Call) -> Result<Json<Value>, Failure> {
    let body = call.body()?;
    let before = match known(&call).await {
        Ok((_, one)) => Some(one),
        Err(failure) if failure.is_not_found() => None,
        Err(failure) => return Err(failure),
    };
    write(&call, &body, before).await
}

pub(crate) async fn patch(mut call: Call) -> Result<Json<Value>, Failure> {
    let patch = call.body()?;
    loop {
        let (id, one) = known(&call).await?;
        call.expecting(&patch, &one.etag_text(), id.as_str())?;
        let mut body = body::patched(&show(&call, &call.central().state(), &one), &patch);
        body["etag"] = one.etag_text().into();
        // How devices prove themselves is written whole, or stays.
        body["attestation"] = patch.get("attestation").cloned().unwrap_or_default();
        match write(&call, &body, Some(one)).await {
            Err(failure) if call.again(&failure) => {}
            other => return other,
        }
    }
}

async fn write(call: &Call, body: &Value, before: Option<Enrollment>) -> Result<Json<Value>, Failure> {
    call.may(Permission::ConnectivityManageGlobal, Place::Application)?;
    let id = call.id("enrollmentGroupId", EnrollmentGroupId::parse)?;
    let new = EnrollmentGroup { display_name: DisplayName::parse(body::needed(body, "displayName")?)? };
    let iot_edge = match body::needed(body, "type")? {
        "iot" => false,
        "iotEdge" => true,
        _ => return Err(Failure::invalid("`type` is `iot` or `iotEdge`")),
    };
    let status = match body::flag(body, "enabled")? {
        Some(false) => ProvisioningStatus::Disabled,
        _ => ProvisioningStatus::Enabled,
    };
    let settings = before.as_ref().map(|one| one.settings.clone()).unwrap_or_default();
    let mut write = EnrollmentWrite { iot_edge, status, ..settings };
    match body.get("attestation").filter(|value| !value.is_null()) {
        Some(attestation) => {
            body::needed(attestation, "type")?;
            write.attestation = read_attestation(attestation.clone())?;
        }
        None if before.is_none() => return Err(Failure::invalid("`attestation` is missing")),
        None => {}
    }
    let if_match = match (call.if_match(body)?, &before) {
        (IfMatch::Absent, Some(_)) => IfMatch::Any,
        (other, _) => other,
    };
    let one = call.application().api.provisioning.put_enrollment(now(), key(&id)?, write, &if_match).await?;
    call.central().put_enrollment_group(call.write(&IfMatch::Absent), &id, &new).await?;
    Ok(Json(show(call, &call.central().state(), &one)))
}

pub(crate) async fn remove(call: Call) -> Result<Response, Failure> {
    call.may(Permission::ConnectivityManageGlobal, Place::Application)?;
    let (id, _) = known(&call).await?;
    let if_match = match call.if_match(&Value::Null)? {
        IfMatch::Absent => IfMatch::Any,
        other => other,
    };
    call.application().api.provisioning.delete_enrollment(&key(&id)?, &if_match).await?;
    call.central().delete_enrollment_group(&id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The slot of the path: `primary` or `secondary`.
fn entry(call: &Call) -> Result<&str, Failure> {
    match call.piece("entry") {
        slot @ ("primary" | "secondary") => Ok(slot),
        _ => Err(Failure::invalid("a certificate of a group is `primary` or `secondary`")),
    }
}

/// A certificate of a group as bodies show it.
fn show_certificate(call: &Call, one: &Enrollment) -> Result<Value, Failure> {
    let slot = entry(call)?;
    let shown = attestation::show(&one.attestation, Keys::Hidden);
    let found = shown.pointer(&format!("/x509/signingCertificates/{slot}"));
    let info = found.and_then(|found| found.get("info")).cloned();
    let info = info.ok_or_else(|| Failure::not_found(format!("the group has no {slot} certificate")))?;
    Ok(json!({ "verified": true, "info": info, "etag": format!("\"{}\"", one.etag_text()) }))
}

pub(crate) async fn certificate(call: Call) -> Result<Json<Value>, Failure> {
    call.may(Permission::ConnectivityReadGlobal, Place::Application)?;
    let (_, one) = known(&call).await?;
    Ok(Json(show_certificate(&call, &one)?))
}

/// The certificates of a group as its API writes them: those that are there by their thumbprints.
fn kept(one: &Enrollment) -> Value {
    let shown = match &one.attestation {
        Attestation::X509(X509::Signing(_)) => one.attestation.document(Keys::Hidden),
        _ => Value::Null,
    };
    shown.pointer("/x509/signingCertificates").cloned().unwrap_or_else(|| json!({}))
}

pub(crate) async fn put_certificate(call: Call) -> Result<Json<Value>, Failure> {
    call.may(Permission::ConnectivityManageGlobal, Place::Application)?;
    let ((id, one), body) = (known(&call).await?, call.body()?);
    let mut slots = kept(&one);
    slots[entry(&call)?] = json!({ "certificate": body::needed(&body, "certificate")? });
    let one = write_certificates(&call, &id, one, slots, &call.if_match(&body)?).await?;
    Ok(Json(show_certificate(&call, &one)?))
}

pub(crate) async fn remove_certificate(call: Call) -> Result<Response, Failure> {
    call.may(Permission::ConnectivityManageGlobal, Place::Application)?;
    let (id, one) = known(&call).await?;
    show_certificate(&call, &one)?;
    let mut slots = kept(&one);
    if let Some(slots) = slots.as_object_mut() {
        slots.remove(entry(&call)?);
    }
    if slots.as_object().is_some_and(serde_json::Map::is_empty) {
        return Err(Failure::conflict("the last certificate of a group stays; delete the group"));
    }
    write_certificates(&call, &id, one, slots, &call.if_match(&Value::Null)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn write_certificates(
    call: &Call,
    id: &EnrollmentGroupId,
    one: Enrollment,
    slots: Value,
    if_match: &IfMatch,
) -> Result<Enrollment, Failure> {
    if !if_match.admits(&one.etag_text()) {
        return Err(Failure::changed(id.as_str()));
    }
    let attestation = read_attestation(json!({ "type": "x509", "x509": { "signingCertificates": slots } }))?;
    let write = EnrollmentWrite { attestation, ..one.settings.clone() };
    let expected = IfMatch::tag(one.etag_text());
    Ok(call.application().api.provisioning.put_enrollment(now(), key(id)?, write, &expected).await?)
}

/// Nothing is left to prove.
pub(crate) async fn verified(call: Call) -> Result<Response, Failure> {
    call.may(Permission::ConnectivityManageGlobal, Place::Application)?;
    let (_, one) = known(&call).await?;
    show_certificate(&call, &one)?;
    Err(Failure::conflict("the certificate is verified: whoever writes it vouches for it"))
}
