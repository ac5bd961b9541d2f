//! The hub's service REST API (specification 2021-04-12).

pub(crate) mod bodies;
pub(crate) mod bulk;
mod configurations;
mod devices;
mod digital_twins;
pub(crate) mod files;
pub(crate) mod import_export;
pub(crate) mod jobs;
pub(crate) mod methods;
mod query;
mod service_queues;
mod streams;
mod twins;

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, header};
use axum::routing::{any, delete, get, post};
use gantry_hub::device::IfMatch;
use gantry_identity::{DeviceId, Identity, ModuleId};

use crate::Api;
use crate::error::ApiError;

pub(crate) fn routes() -> Router<Arc<Api>> {
    let device = get(devices::get).put(devices::put).delete(devices::delete);
    let module = get(devices::get_module).put(devices::put_module).delete(devices::delete_module);
    let twin = get(twins::get).patch(twins::patch).put(twins::put);
    let module_twin = get(twins::get_module).patch(twins::patch_module).put(twins::put_module);
    let configuration = get(configurations::get).put(configurations::put).delete(configurations::delete);
    Router::new()
        .route("/devices", get(devices::list).post(bulk::registry))
        .route("/devices/", get(devices::list))
        .route("/devices/query", post(query::query))
        .route("/devices/{id}", device)
        .route("/devices/{id}/modules", get(devices::list_modules))
        .route("/devices/{id}/modules/{mid}", module)
        .route("/devices/{id}/commands", delete(devices::purge))
        .route("/devices/{id}/files", post(files::begin))
        .route("/devices/{id}/files/", post(files::begin))
        .route("/devices/{id}/files/notifications", post(files::complete))
        .route("/devices/{id}/files/notifications/", post(files::complete))
        .route("/devices/{id}/files/notifications/{correlation_id}", post(files::complete_by_path))
        .route("/devices/{id}/applyConfigurationContent", post(configurations::apply))
        .route("/devices/keys/regenerate", post(bulk::regenerate_keys))
        .route("/statistics/devices", get(devices::statistics))
        .route("/statistics/service", get(devices::service_statistics))
        .route("/twins/{id}", twin)
        .route("/twins/{id}/streams/{name}", post(streams::create))
        .route("/twins/{id}/modules/{mid}/streams/{name}", post(streams::create_for_module))
        .route("/twins/{id}/modules/{mid}", module_twin)
        .route("/twins/{id}/methods", post(methods::invoke))
        .route("/twins/{id}/modules/{mid}/methods", post(methods::invoke_module))
        .route("/jobs/v2/query", get(jobs::query))
        .route("/jobs/v2/{id}", get(jobs::get).put(jobs::create))
        .route("/jobs/v2/{id}/cancel", post(jobs::cancel))
        .route("/configurations", get(configurations::list))
        .route("/configurations/", get(configurations::list))
        .route("/configurations/testQueries", post(configurations::test_queries))
        .route("/configurations/{id}", configuration)
        .route("/jobs/create", post(import_export::create))
        .route("/jobs", get(import_export::list))
        .route("/jobs/", get(import_export::list))
        .route("/jobs/{id}", get(import_export::get).delete(import_export::cancel))
        .route("/messages/{*rest}", any(service_queues::call))
        .route("/digitaltwins/{id}", get(digital_twins::get).patch(digital_twins::patch))
        .route("/digitaltwins/{id}/commands/{name}", post(digital_twins::root_command))
        .route("/digitaltwins/{id}/components/{component}/commands/{name}", post(digital_twins::component_command))
}

fn device(id: &str) -> Result<Identity, ApiError> {
    DeviceId::parse(id).map(Identity::device).map_err(|error| ApiError::invalid(format!("device id: {error}")))
}

fn module(id: &str, module: &str) -> Result<Identity, ApiError> {
    let module = ModuleId::parse(module).map_err(|error| ApiError::invalid(format!("module id: {error}")))?;
    Ok(Identity { module: Some(module), ..device(id)? })
}

pub(crate) fn if_match(headers: &HeaderMap) -> IfMatch {
    IfMatch::parse(headers.get(header::IF_MATCH).and_then(|value| value.to_str().ok()))
}
