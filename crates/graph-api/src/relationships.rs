//! Relationships.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use gantry_graph::GraphError;
use serde_json::{Value, json};

use crate::Failure;
use crate::call::Call;
use crate::pages::{after, page};
use crate::twins::with_etag;

fn id(call: &Call) -> &str {
    call.piece("relationshipId")
}

pub(crate) async fn get(call: Call) -> Result<Response, Failure> {
    let found = call.graph().read().relationship(call.id(), id(&call))?.clone();
    Ok(with_etag(Json(&found.document).into_response(), found.etag()))
}

pub(crate) async fn put(call: Call) -> Result<Response, Failure> {
    let (body, is_new, if_match) = (call.object()?, call.is_new()?, call.if_match()?);
    let write = call.write(&if_match, is_new);
    let (made, events) = call.graph().put_relationship(write, call.id(), id(&call), &body).await?;
    call.service.told(events).await;
    Ok(with_etag(Json(&made.document).into_response(), made.etag()))
}

pub(crate) async fn update(call: Call) -> Result<Response, Failure> {
    let (patch, if_match) = (call.patch()?, call.if_match()?);
    let write = call.write(&if_match, false);
    let (made, events) = call.graph().update_relationship(write, call.id(), id(&call), &patch).await?;
    call.service.told(events).await;
    Ok(with_etag(StatusCode::NO_CONTENT.into_response(), made.etag()))
}

pub(crate) async fn delete(call: Call) -> Result<Response, Failure> {
    let if_match = call.if_match()?;
    let events = call.graph().delete_relationship(call.write(&if_match, false), call.id(), id(&call)).await?;
    call.service.told(events).await;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(crate) async fn list(call: Call) -> Result<Response, Failure> {
    let (after, name) = (after(&call)?, call.value("relationshipName").map(str::to_owned));
    let state = call.graph().read();
    state.twin(call.id())?;
    let all = state.leaving(call.id(), after.as_deref());
    let wanted = all.filter(|one| name.as_ref().is_none_or(|name| **name == *one.name));
    let items = wanted.map(|one| (one.id.to_string(), one.document.clone()));
    let rest: Vec<(&str, String)> = name.clone().map(|name| ("relationshipName", name)).into_iter().collect();
    page(&call, &format!("/digitaltwins/{}/relationships", call.id()), &rest, items)
}

pub(crate) async fn list_incoming(call: Call) -> Result<Response, Failure> {
    let after = after(&call)?;
    let after = match &after {
        Some(key) => Some(key.split_once(' ').ok_or(GraphError::BadContinuation)?),
        None => None,
    };
    let state = call.graph().read();
    state.twin(call.id())?;
    let items = state.coming(call.id(), after).map(|one| {
        let (source, id) = (&*one.source, &*one.id);
        let shown: Value = json!({
            "$relationshipId": id,
            "$sourceId": source,
            "$relationshipName": &*one.name,
            "$relationshipLink": format!("/digitaltwins/{source}/relationships/{id}"),
        });
        (format!("{source} {id}"), shown)
    });
    page(&call, &format!("/digitaltwins/{}/incomingrelationships", call.id()), &[], items)
}
