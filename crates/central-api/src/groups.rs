//! Device groups.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use gantry_central::CentralError;
use gantry_central::access::permissions::Permission;
use gantry_central::groups::{DeviceFilter, DeviceGroup, GroupError};
use gantry_central::ids::{DeviceGroupId, DisplayName};
use gantry_central::kept::Kept;
use gantry_hub::device::IfMatch;
use serde_json::{Value, json};

use crate::call::Call;
use crate::kind::Kind;
use crate::{Failure, body, devices, list};

fn show(id: &str, kept: &Kept<DeviceGroup>) -> Value {
    let one = &kept.value;
    let mut shown = json!({
        "id": id,
        "displayName": one.display_name.as_str(),
        "filter": one.filter.text(),
        "etag": format!("\"{}\"", kept.etag.text()),
    });
    if let Some(description) = &one.description {
        shown["description"] = description.as_str().into();
    }
    body::put_organization(&mut shown, one.organization.as_ref());
    shown
}

fn read(body: &Value) -> Result<DeviceGroup, Failure> {
    Ok(DeviceGroup {
        display_name: DisplayName::parse(body::needed(body, "displayName")?)?,
        description: body::text(body, "description")?.map(str::to_owned),
        filter: DeviceFilter::parse(body::needed(body, "filter")?)
            .map_err(GroupError::from)
            .map_err(CentralError::from)?,
        organization: body::organization(body)?,
    })
}

pub(crate) async fn list(call: Call) -> Result<Response, Failure> {
    let groups = call.who.state.groups.iter();
    let seen = groups.filter(|(_, kept)| call.sees(Permission::GroupsView, kept.value.organization.as_ref()));
    list::answer(&call, seen.map(|(id, kept)| (id.to_string(), kept)), |id, kept| show(id, kept))
}

/// The group of the path, of which the caller may do something.
fn known(call: &Call, one: Permission) -> Result<(DeviceGroupId, &Kept<DeviceGroup>), Failure> {
    let id = call.id("deviceGroupId", DeviceGroupId::parse)?;
    let unknown = || Failure::from(CentralError::from(GroupError::Unknown(id.clone())));
    let kept = call.who.state.groups.get(&id).ok_or_else(unknown)?;
    call.may_see(one, kept.value.organization.as_ref(), unknown)?;
    Ok((id, kept))
}

pub(crate) async fn get(call: Call) -> Result<Json<Value>, Failure> {
    let (id, kept) = known(&call, Permission::GroupsView)?;
    Ok(Json(show(id.as_str(), kept)))
}

/// Device groups, as a kind.
pub(crate) struct DeviceGroups;

impl Kind for DeviceGroups {
    type Id = DeviceGroupId;
    type Object = DeviceGroup;
    const WHOLE: &'static [&'static str] = &[];

    fn known(call: &Call) -> Result<(DeviceGroupId, &Kept<DeviceGroup>), Failure> {
        known(call, Permission::GroupsUpdate)
    }

    fn show(id: &str, kept: &Kept<DeviceGroup>) -> Value {
        show(id, kept)
    }

    async fn write(call: &Call, body: &Value, if_match: &IfMatch) -> Result<Json<Value>, Failure> {
        write(call, body, if_match).await
    }
}

async fn write(call: &Call, body: &Value, if_match: &IfMatch) -> Result<Json<Value>, Failure> {
    let id = call.id("deviceGroupId", DeviceGroupId::parse)?;
    let new = read(body)?;
    let kept = call.central().put_group(call.write(if_match), &id, &new, &call.who.roles).await?;
    Ok(Json(show(id.as_str(), &kept)))
}

pub(crate) async fn remove(call: Call) -> Result<Response, Failure> {
    let id = call.id("deviceGroupId", DeviceGroupId::parse)?;
    call.central().delete_group(&id, &call.if_match(&Value::Null)?, &call.who.roles).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Its members now. A group of an organization has only what its members see.
pub(crate) async fn devices(call: Call) -> Result<Response, Failure> {
    let (_, kept) = known(&call, Permission::GroupsView)?;
    let (filter, organization) = (kept.value.filter.clone(), kept.value.organization.clone());
    devices::page(&call, Some((&filter, organization.as_ref()))).await
}
