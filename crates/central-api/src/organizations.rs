//! Organizations.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use gantry_central::access::permissions::Permission;
use gantry_central::ids::{DisplayName, OrganizationId};
use gantry_central::organizations::{Organization, OrganizationError};
use gantry_hub::device::IfMatch;
use serde_json::{Value, json};

use crate::call::Call;
use crate::{Failure, body, list};

fn show(id: &str, one: &Organization) -> Value {
    let name = one.display_name.as_ref().map_or(id, DisplayName::as_str);
    let mut shown = json!({ "id": id, "displayName": name });
    if let Some(parent) = &one.parent {
        shown["parent"] = parent.as_str().into();
    }
    shown
}

pub(crate) async fn list(call: Call) -> Result<Response, Failure> {
    let state = &call.who.state;
    let seen = state.organizations.iter().filter(|(id, _)| call.sees(Permission::OrganizationsView, Some(*id)));
    list::answer(&call, seen.map(|(id, kept)| (id.to_string(), kept)), |id, kept| show(id, &kept.value))
}

pub(crate) async fn get(call: Call) -> Result<Json<Value>, Failure> {
    let id = call.id("organizationId", OrganizationId::parse)?;
    call.may_in(Permission::OrganizationsView, Some(&id)).map_err(|_| unknown(&id))?;
    let kept = call.who.state.organizations.get(&id).ok_or_else(|| unknown(&id))?;
    Ok(Json(show(id.as_str(), &kept.value)))
}

fn unknown(id: &OrganizationId) -> Failure {
    gantry_central::CentralError::from(OrganizationError::Unknown(id.clone())).into()
}

pub(crate) async fn put(call: Call) -> Result<Json<Value>, Failure> {
    let body = call.body()?;
    let if_match = call.if_match(&Value::Null)?;
    write(&call, &body, &if_match).await
}

pub(crate) async fn patch(mut call: Call) -> Result<Json<Value>, Failure> {
    let (id, patch) = (call.id("organizationId", OrganizationId::parse)?, call.body()?);
    loop {
        // Who does not see it hears no more of it.
        call.may_in(Permission::OrganizationsView, Some(&id)).map_err(|_| unknown(&id))?;
        let kept = call.who.state.organizations.get(&id).ok_or_else(|| unknown(&id))?;
        let if_match = call.expecting(&Value::Null, &kept.etag.text(), id.as_str())?;
        let body = body::patched(&show(id.as_str(), &kept.value), &patch);
        match write(&call, &body, &if_match).await {
            Err(failure) if call.again(&failure) => {}
            other => return other,
        }
    }
}

async fn write(call: &Call, body: &Value, if_match: &IfMatch) -> Result<Json<Value>, Failure> {
    let id = call.id("organizationId", OrganizationId::parse)?;
    let new = Organization {
        display_name: body::parsed(body, "displayName", DisplayName::parse)?,
        parent: body::parsed(body, "parent", OrganizationId::parse)?,
    };
    let kept = call.central().put_organization(call.write(if_match), &id, &new, &call.who.roles).await?;
    Ok(Json(show(id.as_str(), &kept.value)))
}

pub(crate) async fn remove(call: Call) -> Result<Response, Failure> {
    let id = call.id("organizationId", OrganizationId::parse)?;
    call.central().delete_organization(&id, &call.if_match(&Value::Null)?, &call.who.roles).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
