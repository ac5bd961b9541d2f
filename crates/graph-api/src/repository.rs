//! The model repository: files of models under the layout of the public device models repository.
//!
//! `dtmi/com/example/thermostat-1.json` is an interface, `.expanded.json` an array of it with what it is built on,
//! `metadata.json` says that there are expanded files. Nothing else has an address here.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use gantry_api::{Routes, graph};
use gantry_hub::ports::PortFuture;
use serde_json::json;

/// Models by their path.
pub trait Repository: Send + Sync {
    /// The text of a file, as `dtmi/com/example/thermostat-1.json`; nothing when there is none. An error says in words why
    /// it cannot be read.
    fn file<'a>(&'a self, path: &'a str) -> PortFuture<'a, Option<String>, String>;
}

/// The routes of a repository.
pub fn routes(repository: Arc<dyn Repository>) -> Routes {
    Routes::new().on(graph::model_file(), file).on(graph::metadata(), metadata).with_state(repository)
}

async fn metadata() -> Response {
    Json(json!({ "features": { "expanded": true, "index": false } })).into_response()
}

async fn file(State(repository): State<Arc<dyn Repository>>, Path(path): Path<String>) -> Response {
    match repository.file(&format!("dtmi/{path}")).await {
        Ok(Some(text)) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => {
            tracing::warn!(%error, "a file of the model repository cannot be read");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}
