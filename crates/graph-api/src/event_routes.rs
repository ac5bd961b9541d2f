//! Event routes.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use gantry_graph::{EventRoute, GraphError};
use serde_json::{Value, json};

use crate::Failure;
use crate::call::Call;
use crate::pages::{after, page};

fn shown(id: &str, route: &EventRoute) -> Value {
    json!({ "id": id, "endpointName": route.endpoint_name, "filter": route.filter })
}

pub(crate) async fn list(call: Call) -> Result<Response, Failure> {
    let after = after(&call)?;
    let all = call.graph().routes();
    let rest = all.iter().filter(|(id, _)| after.as_ref().is_none_or(|after| id > after));
    page(&call, "/eventroutes", &[], rest.map(|(id, route)| (id.clone(), shown(id, route))))
}

pub(crate) async fn get(call: Call) -> Result<Response, Failure> {
    let route = call.graph().event_route(call.id())?;
    Ok(Json(shown(call.id(), &route)).into_response())
}

pub(crate) async fn put(call: Call) -> Result<Response, Failure> {
    let body = call.fields()?;
    let text = |name: &str| match body.get(name) {
        Some(Value::String(text)) => Ok(text.clone()),
        _ => Err(Failure::invalid(format!("`{name}` is missing, or not a string"))),
    };
    let route = EventRoute { endpoint_name: text("endpointName")?, filter: text("filter")? };
    if !call.service.tell.has_endpoint(&route.endpoint_name) {
        let name: String = route.endpoint_name.chars().take(128).collect();
        let words = format!("the hub has no endpoint `{name}`; it has those of its routing, and `events`");
        return Err(GraphError::EventRouteEndpointInvalid(words).into());
    }
    call.graph().put_route(call.id(), &route).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(crate) async fn delete(call: Call) -> Result<Response, Failure> {
    call.graph().delete_route(call.id()).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
