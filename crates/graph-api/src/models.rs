//! Models.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use gantry_api::now;
use gantry_graph::{GraphError, Model, limits};
use serde_json::{Value, json};

use crate::Failure;
use crate::call::Call;
use crate::pages::{after, page};

fn shown(model: &Model, with_definition: bool) -> Value {
    let mut shown = json!({
        "id": &*model.id,
        "displayName": model.texts("displayName"),
        "description": model.texts("description"),
        "uploadTime": model.uploaded_at.to_string(),
        "decommissioned": model.decommissioned,
    });
    if with_definition {
        shown["model"] = model.definition.clone();
    }
    shown
}

pub(crate) async fn add(call: Call) -> Result<Response, Failure> {
    let Value::Array(definitions) = call.json()? else {
        return Err(Failure::invalid("the body is an array of models"));
    };
    if definitions.is_empty() {
        return Err(Failure::invalid("the body has no model"));
    }
    if definitions.len() > limits::MODELS_PER_CALL_MAX {
        let words = format!("a call adds at most {} models", limits::MODELS_PER_CALL_MAX);
        return Err(GraphError::LimitExceeded(words).into());
    }
    let added = call.graph().add_models(now(), definitions).await?;
    let state = call.graph().read();
    let shown: Vec<Value> =
        added.iter().filter_map(|id| state.models().get(id)).map(|model| shown(model, false)).collect();
    drop(state);
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

pub(crate) async fn list(call: Call) -> Result<Response, Failure> {
    let with_definition = call.flag("includeModelDefinition")?;
    let of = call.values("dependenciesFor");
    let after = after(&call)?;
    let models = call.graph().models(&of, after.as_deref())?;
    let items = models.iter().map(|model| (model.id.to_string(), shown(model, with_definition)));
    let mut rest: Vec<(&str, String)> = of.into_iter().map(|id| ("dependenciesFor", id)).collect();
    if with_definition {
        rest.push(("includeModelDefinition", "true".into()));
    }
    page(&call, "/models", &rest, items)
}

pub(crate) async fn get(call: Call) -> Result<Response, Failure> {
    let with_definition = call.flag("includeModelDefinition")?;
    let model = call.graph().model(call.id())?;
    Ok(Json(shown(&model, with_definition)).into_response())
}

pub(crate) async fn update(call: Call) -> Result<Response, Failure> {
    let patch = call.json()?;
    call.graph().update_model(call.id(), &patch).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(crate) async fn delete(call: Call) -> Result<Response, Failure> {
    call.graph().delete_model(call.id()).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
