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

use axum::http::{HeaderMap, header};
use gantry_hub::device::IfMatch;
use gantry_identity::{DeviceId, Identity, ModuleId};

use crate::Api;
use crate::error::ApiError;
use crate::routes::Routes;

pub(crate) fn routes() -> Routes<Arc<Api>> {
    Routes::new()
        .get("/devices", devices::list)
        .post("/devices", bulk::registry)
        .post("/devices/query", query::query)
        .post("/devices/keys/regenerate", bulk::regenerate_keys)
        .get("/devices/{id}", devices::get)
        .put("/devices/{id}", devices::put)
        .delete("/devices/{id}", devices::delete)
        .get("/devices/{id}/modules", devices::list_modules)
        .get("/devices/{id}/modules/{mid}", devices::get_module)
        .put("/devices/{id}/modules/{mid}", devices::put_module)
        .delete("/devices/{id}/modules/{mid}", devices::delete_module)
        .delete("/devices/{id}/commands", devices::purge)
        .post("/devices/{id}/files", files::begin)
        .post("/devices/{id}/files/notifications", files::complete)
        .post("/devices/{id}/files/notifications/{correlation_id}", files::complete_by_path)
        .post("/devices/{id}/applyConfigurationContent", configurations::apply)
        .get("/statistics/devices", devices::statistics)
        .get("/statistics/service", devices::service_statistics)
        .get("/twins/{id}", twins::get)
        .patch("/twins/{id}", twins::patch)
        .put("/twins/{id}", twins::put)
        .get("/twins/{id}/modules/{mid}", twins::get_module)
        .patch("/twins/{id}/modules/{mid}", twins::patch_module)
        .put("/twins/{id}/modules/{mid}", twins::put_module)
        .post("/twins/{id}/methods", methods::invoke)
        .post("/twins/{id}/modules/{mid}/methods", methods::invoke_module)
        // The name of a stream may hold a slash.
        .post("/twins/{id}/streams/{*name}", streams::create)
        .post("/twins/{id}/modules/{mid}/streams/{*name}", streams::create_for_module)
        .get("/jobs/v2/query", jobs::query)
        .get("/jobs/v2/{id}", jobs::get)
        .put("/jobs/v2/{id}", jobs::create)
        .post("/jobs/v2/{id}/cancel", jobs::cancel)
        .post("/jobs/create", import_export::create)
        .get("/jobs", import_export::list)
        .get("/jobs/{id}", import_export::get)
        .delete("/jobs/{id}", import_export::cancel)
        .get("/configurations", configurations::list)
        .post("/configurations/testQueries", configurations::test_queries)
        .get("/configurations/{id}", configurations::get)
        .put("/configurations/{id}", configurations::put)
        .delete("/configurations/{id}", configurations::delete)
        .any("/messages/{*rest}", service_queues::call)
        .get("/digitaltwins/{id}", digital_twins::get)
        .patch("/digitaltwins/{id}", digital_twins::patch)
        .post("/digitaltwins/{id}/commands/{name}", digital_twins::root_command)
        .post("/digitaltwins/{id}/components/{component}/commands/{name}", digital_twins::component_command)
}

fn device(id: &str) -> Result<Identity, ApiError> {
    DeviceId::parse(id).map(Identity::device).map_err(|error| ApiError::invalid(format!("device id: {error}")))
}

fn module(id: &str, module: &str) -> Result<Identity, ApiError> {
    let module = ModuleId::parse(module).map_err(|error| ApiError::invalid(format!("module id: {error}")))?;
    Ok(Identity { module: Some(module), ..device(id)? })
}

/// The condition of a request; several lines are one list.
pub(crate) fn if_match(headers: &HeaderMap) -> IfMatch {
    let lines: Vec<_> = headers.get_all(header::IF_MATCH).iter().filter_map(|line| line.to_str().ok()).collect();
    IfMatch::parse(Some(&lines.join(",")))
}
