//! Device templates. What is written is published.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use gantry_central::CentralError;
use gantry_central::access::caller::Place;
use gantry_central::access::permissions::Permission;
use gantry_central::ids::DeviceTemplateId;
use gantry_central::kept::Kept;
use gantry_central::templates::{DeviceTemplate, TemplateError, TemplateWrite};
use gantry_hub::device::IfMatch;
use serde_json::{Value, json};

use crate::call::Call;
use crate::kind::Kind;
use crate::{Failure, body, devices, list};

fn show(id: &str, kept: &Kept<DeviceTemplate>) -> Value {
    let one = &kept.value;
    let mut shown = json!({
        "@id": id,
        "@type": one.types,
        "etag": format!("\"{}\"", kept.etag.text()),
        "capabilityModel": one.capability_model,
    });
    if let Some(context) = &one.context {
        shown["@context"] = context.clone();
    }
    if let Some(name) = &one.display_name {
        shown["displayName"] = name.as_str().into();
    }
    if let Some(description) = &one.description {
        shown["description"] = description.as_str().into();
    }
    shown
}

fn read(body: &Value) -> Result<TemplateWrite, Failure> {
    let types = match body.get("@type") {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(all)) => {
            let text = |one: &Value| one.as_str().map(str::to_owned);
            let all = all.iter().map(text).collect::<Option<_>>();
            all.ok_or_else(|| Failure::invalid("`@type` is an array of strings"))?
        }
        _ => return Err(Failure::invalid("`@type` is missing")),
    };
    let text = |name: &str| Ok::<_, Failure>(body::text(body, name)?.map(str::to_owned));
    let capability_model = body.get("capabilityModel").filter(|model| !model.is_null());
    Ok(TemplateWrite {
        types,
        context: body.get("@context").cloned(),
        display_name: text("displayName")?,
        description: text("description")?,
        capability_model: capability_model.ok_or_else(|| Failure::invalid("`capabilityModel` is missing"))?.clone(),
    })
}

pub(crate) async fn list(call: Call) -> Result<Response, Failure> {
    call.may(Permission::TemplatesView, Place::Application)?;
    let all = call.who.state.templates.iter().map(|(id, kept)| (id.to_string(), kept));
    list::answer(&call, all, |id, kept| show(id, kept))
}

fn known(call: &Call) -> Result<(DeviceTemplateId, &Kept<DeviceTemplate>), Failure> {
    let id = call.id("deviceTemplateId", DeviceTemplateId::parse)?;
    match call.who.state.templates.get(&id) {
        Some(kept) => Ok((id, kept)),
        None => Err(CentralError::from(TemplateError::Unknown(id)).into()),
    }
}

pub(crate) async fn get(call: Call) -> Result<Json<Value>, Failure> {
    call.may(Permission::TemplatesView, Place::Application)?;
    let (id, kept) = known(&call)?;
    Ok(Json(show(id.as_str(), kept)))
}

/// Device templates, as a kind.
pub(crate) struct DeviceTemplates;

impl Kind for DeviceTemplates {
    type Id = DeviceTemplateId;
    type Object = DeviceTemplate;
    const WHOLE: &'static [&'static str] = &["capabilityModel"];

    fn known(call: &Call) -> Result<(DeviceTemplateId, &Kept<DeviceTemplate>), Failure> {
        known(call)
    }

    fn show(id: &str, kept: &Kept<DeviceTemplate>) -> Value {
        show(id, kept)
    }

    async fn write(call: &Call, body: &Value, if_match: &IfMatch) -> Result<Json<Value>, Failure> {
        write(call, body, if_match).await
    }
}

async fn write(call: &Call, body: &Value, if_match: &IfMatch) -> Result<Json<Value>, Failure> {
    call.may(Permission::TemplatesManage, Place::Application)?;
    let id = call.id("deviceTemplateId", DeviceTemplateId::parse)?;
    let new = DeviceTemplate::new(&id, read(body)?, &mut |_: &[_]| None).map_err(CentralError::from)?;
    let kept = call.central().put_template(call.write(if_match), &id, &new).await?;
    devices::adopt::all_of_model(&call.shared, kept.value.model_id().to_owned());
    Ok(Json(show(id.as_str(), &kept)))
}

pub(crate) async fn remove(call: Call) -> Result<Response, Failure> {
    call.may(Permission::TemplatesManage, Place::Application)?;
    let (id, _) = known(&call)?;
    call.central().delete_template(&id, &call.if_match(&Value::Null)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
