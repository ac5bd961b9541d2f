//! Consumer groups of the hub's stream.

use axum::Json;
use gantry_api::now;
use gantry_hub::consumer_groups::ConsumerGroup;
use gantry_hub::routing::BUILT_IN;
use serde_json::{Value, json};

use super::{KIND, rfc1123};
use crate::Failure;
use crate::call::Call;

type Answer = Result<Json<Value>, Failure>;

fn check(call: &Call) -> Result<(), Failure> {
    call.check_name(KIND)?;
    let endpoint = call.piece("eventHubEndpointName");
    let unknown = || Failure::not_found("a hub has the endpoint `events` and no other of the kind");
    if endpoint.eq_ignore_ascii_case(BUILT_IN) { Ok(()) } else { Err(unknown()) }
}

fn document(call: &Call, group: &ConsumerGroup) -> Value {
    json!({
        "id": format!("{}/eventHubEndpoints/{BUILT_IN}/ConsumerGroups/{}", call.id(KIND), group.name),
        "name": group.name,
        "type": format!("{}/EventHubEndpoints/ConsumerGroups", KIND.name()),
        "etag": null,
        "properties": { "name": group.name, "created": group.created_at.map(rfc1123) },
    })
}

pub(crate) async fn list(call: Call) -> Answer {
    check(&call)?;
    let groups: Vec<_> = call.hub().consumer_groups().iter().map(|group| document(&call, group)).collect();
    Ok(Json(json!({ "value": groups })))
}

pub(crate) async fn get(call: Call) -> Answer {
    check(&call)?;
    let found = call.hub().consumer_group(call.piece("name"));
    let group = found.ok_or_else(|| Failure::not_found("the stream has no consumer group of this name"))?;
    Ok(Json(document(&call, &group)))
}

pub(crate) async fn put(call: Call) -> Answer {
    check(&call)?;
    let (name, body) = (call.piece("name"), call.body()?);
    let in_body = body.get("properties").and_then(|properties| properties.get("name"));
    match in_body.and_then(Value::as_str) {
        Some(same) if same.eq_ignore_ascii_case(name) => {}
        _ => return Err(Failure::invalid("`properties.name` is the name in the path")),
    }
    call.check_is_new(call.hub().consumer_group(name).is_some())?;
    let group = call.hub().create_consumer_group(now(), name).await?;
    Ok(Json(document(&call, &group)))
}

pub(crate) async fn delete(call: Call) -> Result<(), Failure> {
    check(&call)?;
    Ok(call.hub().delete_consumer_group(call.piece("name")).await?)
}
