//! The application as a resource of IoT Central.

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use gantry_central::applications;
use serde_json::{Map, Value, json};

use crate::call::{Call, Kind};
use crate::kept::read_tags;
use crate::{Failure, LOCATION, changes};

const KIND: Kind = Kind::Application;

fn document(call: &Call) -> Value {
    let mut document = call.resource(KIND);
    let name = call.hub().name();
    document["sku"] = json!({ "name": "ST2" });
    document["identity"] = json!({ "type": "None" });
    document["properties"] = json!({
        "applicationId": call.management.facts.application,
        "displayName": name,
        "subdomain": name,
        "state": "created",
    });
    document
}

pub(crate) async fn list(call: Call) -> Json<Value> {
    Json(json!({ "value": [document(&call)] }))
}

pub(crate) async fn get(call: Call) -> Result<Json<Value>, Failure> {
    call.check_name(KIND)?;
    Ok(Json(document(&call)))
}

pub(crate) async fn put(call: Call) -> Result<Response, Failure> {
    call.check_name_to_write(KIND)?;
    call.check_is_new(true)?;
    write(&call, &call.body()?).await
}

pub(crate) async fn patch(call: Call) -> Result<Response, Failure> {
    call.check_name(KIND)?;
    write(&call, &call.body()?).await
}

async fn write(call: &Call, body: &Map<String, Value>) -> Result<Response, Failure> {
    changes::check_resource(body, &document(call), &["sku", "properties", "identity"])?;
    if let Some(tags) = body.get("tags").filter(|tags| !tags.is_null()) {
        call.management.kept.put_tags(KIND, read_tags(tags)?).await?;
    }
    Ok(Json(document(call)).into_response())
}

/// Templates of applications.
pub(crate) async fn templates(_: Call) -> Json<Value> {
    let locations = json!([{ "id": LOCATION, "displayName": "This platform" }]);
    let template = |one: &applications::Application| {
        json!({
            "manifestId": one.manifest_id,
            "manifestVersion": one.manifest_version,
            "name": one.name,
            "title": one.title,
            "order": one.order,
            "description": one.description,
            "industry": one.industry,
            "locations": locations,
        })
    };
    Json(json!({ "value": applications::all().iter().map(template).collect::<Vec<_>>() }))
}
