//! Deployment manifests, and what they put on edge devices.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use gantry_api::now;
use gantry_central::CentralError;
use gantry_central::access::caller::Place;
use gantry_central::access::permissions::Permission;
use gantry_central::ids::{DeploymentManifestId, DisplayName};
use gantry_central::kept::Kept;
use gantry_central::manifests::{DeploymentManifest, ManifestData, ManifestError};
use gantry_hub::device::IfMatch;
use serde_json::{Value, json};

use crate::call::Call;
use crate::kind::Kind;
use crate::{Failure, body, devices, list};

pub(crate) fn show(id: &str, kept: &Kept<DeploymentManifest>) -> Value {
    let one = &kept.value;
    let name = one.display_name.as_ref().map_or(id, DisplayName::as_str);
    let etag = format!("\"{}\"", kept.etag.text());
    let mut shown = json!({ "id": id, "displayName": name, "data": one.data.value(), "etag": etag });
    body::put_organization(&mut shown, one.organization.as_ref());
    shown
}

/// `data` of a body.
fn data(body: &Value) -> Result<ManifestData, Failure> {
    let data = body.get("data").ok_or_else(|| Failure::invalid("`data` is missing"))?;
    Ok(ManifestData::read(data).map_err(CentralError::from)?)
}

pub(crate) fn sees(call: &Call, one: &DeploymentManifest) -> bool {
    call.who.caller.sees(&call.who.state.organizations, one.organization.as_ref())
}

pub(crate) async fn list(call: Call) -> Result<Response, Failure> {
    call.may(Permission::ManifestsReadGlobal, Place::Application)?;
    let seen = call.who.state.manifests.iter().filter(|(_, kept)| sees(&call, &kept.value));
    list::answer(&call, seen.map(|(id, kept)| (id.to_string(), kept)), |id, kept| show(id, kept))
}

fn known(call: &Call) -> Result<(DeploymentManifestId, &Kept<DeploymentManifest>), Failure> {
    let id = call.id("deploymentManifestId", DeploymentManifestId::parse)?;
    match call.who.state.manifests.get(&id).filter(|kept| sees(call, &kept.value)) {
        Some(kept) => Ok((id, kept)),
        None => Err(CentralError::from(ManifestError::Unknown(id)).into()),
    }
}

pub(crate) async fn get(call: Call) -> Result<Json<Value>, Failure> {
    call.may(Permission::ManifestsReadGlobal, Place::Application)?;
    let (id, kept) = known(&call)?;
    Ok(Json(show(id.as_str(), kept)))
}

/// Deployment manifests, as a kind.
pub(crate) struct Manifests;

impl Kind for Manifests {
    type Id = DeploymentManifestId;
    type Object = DeploymentManifest;
    const WHOLE: &'static [&'static str] = &["data"];

    fn known(call: &Call) -> Result<(DeploymentManifestId, &Kept<DeploymentManifest>), Failure> {
        known(call)
    }

    fn show(id: &str, kept: &Kept<DeploymentManifest>) -> Value {
        show(id, kept)
    }

    async fn write(call: &Call, body: &Value, if_match: &IfMatch) -> Result<Json<Value>, Failure> {
        write(call, body, if_match).await
    }
}

async fn write(call: &Call, body: &Value, if_match: &IfMatch) -> Result<Json<Value>, Failure> {
    let id = call.id("deploymentManifestId", DeploymentManifestId::parse)?;
    let new = DeploymentManifest {
        display_name: body::parsed(body, "displayName", DisplayName::parse)?,
        data: data(body)?,
        organization: body::organization(body)?,
    };
    let kept = call.central().put_manifest(call.write(if_match), &id, &new, &call.who.roles).await?;
    Ok(Json(show(id.as_str(), &kept)))
}

pub(crate) async fn remove(call: Call) -> Result<Response, Failure> {
    let (id, _) = known(&call)?;
    call.central().delete_manifest(&id, &call.if_match(&Value::Null)?, &call.who.roles).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Puts what a body has on an edge device.
pub(crate) async fn apply(call: Call) -> Result<Json<Value>, Failure> {
    let known = devices::known(&call, Permission::ManifestsManage).await?;
    let data = data(&call.body()?)?;
    if !known.record.device.iot_edge {
        return Err(Failure::conflict("the device is no IoT Edge device"));
    }
    let hub = &call.application().api.hub;
    let identity = &known.record.device.identity;
    hub.apply_content(now(), identity, data.value()).await?;
    let etag = hub.record(identity).await?.twin.etag_text();
    Ok(Json(json!({ "data": data.value(), "etag": format!("\"{etag}\"") })))
}
