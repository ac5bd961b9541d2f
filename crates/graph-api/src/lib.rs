//! The digital-twin graph over HTTP: the data plane of Azure Digital Twins, and the model repository.
//!
//! A handler reads a [`Call`](call::Call), asks the [`Graph`] or its jobs, writes what the published document shows, and
//! hands what is to be told to [`Tell`]. Rules are the graph's; who may call is decided by the row.

mod call;
mod event_routes;
mod failure;
mod jobs;
mod models;
mod pages;
mod query;
mod relationships;
mod repository;
mod twins;
mod versions;

use std::collections::HashMap;
use std::sync::Arc;

use axum::middleware::from_fn_with_state;
use gantry_api::{Api, Routes, graph};
use gantry_graph::{Graph, Jobs, Notification, Tell};

pub use self::failure::Failure;
pub use self::repository::{Repository, routes as repository};

/// A graph, as its API needs it.
pub struct Service {
    /// The hub and what is around it: who calls.
    pub api: Arc<Api>,
    /// What there is.
    pub graph: Arc<Graph>,
    /// Imports and deletions.
    pub jobs: Arc<Jobs>,
    /// Who takes events to endpoints.
    pub tell: Arc<dyn Tell>,
}

impl Service {
    /// Tells what a write changed. The write stands in any case.
    async fn told(&self, events: Vec<Notification>) {
        if !events.is_empty()
            && self.graph.has_routes()
            && let Err(error) = self.tell.tell(events).await
        {
            tracing::warn!(%error, "events of the digital-twin graph are not told");
        }
    }
}

/// Every route of the graph.
///
/// # Panics
/// When a handler has no row.
pub fn routes(service: Arc<Service>) -> Routes {
    let api = Arc::clone(&service.api);
    let mut rows: HashMap<_, _> = graph::operations().map(|row| (row.id.clone(), row)).collect();
    let mut routes = Routes::new();
    macro_rules! on {
        ($($name:literal => $handler:expr,)*) => {
            $(let row = rows.remove(concat!("Graph_", $name)).expect("a row of the table");
            routes = routes.on(row, $handler);)*
        };
    }
    on! {
        "DigitalTwinModels_Add" => models::add,
        "DigitalTwinModels_List" => models::list,
        "DigitalTwinModels_GetById" => models::get,
        "DigitalTwinModels_Update" => models::update,
        "DigitalTwinModels_Delete" => models::delete,
        "Query_QueryTwins" => query::run,
        "DigitalTwins_GetById" => twins::get,
        "DigitalTwins_Add" => twins::put,
        "DigitalTwins_Delete" => twins::delete,
        "DigitalTwins_Update" => twins::update,
        "DigitalTwins_GetRelationshipById" => relationships::get,
        "DigitalTwins_AddRelationship" => relationships::put,
        "DigitalTwins_DeleteRelationship" => relationships::delete,
        "DigitalTwins_UpdateRelationship" => relationships::update,
        "DigitalTwins_ListRelationships" => relationships::list,
        "DigitalTwins_ListIncomingRelationships" => relationships::list_incoming,
        "DigitalTwins_SendTelemetry" => twins::telemetry,
        "DigitalTwins_SendComponentTelemetry" => twins::telemetry,
        "DigitalTwins_GetComponent" => twins::component,
        "DigitalTwins_UpdateComponent" => twins::update,
        "EventRoutes_List" => event_routes::list,
        "EventRoutes_GetById" => event_routes::get,
        "EventRoutes_Add" => event_routes::put,
        "EventRoutes_Delete" => event_routes::delete,
        "ImportJobs_List" => jobs::list_imports,
        "ImportJobs_Add" => jobs::put_import,
        "ImportJobs_GetById" => jobs::get_import,
        "ImportJobs_Delete" => jobs::delete_import,
        "ImportJobs_Cancel" => jobs::cancel_import,
        "DeleteJobs_Add" => jobs::add_deletion,
        "DeleteJobs_List" => jobs::list_deletions,
        "DeleteJobs_GetById" => jobs::get_deletion,
    }
    assert!(rows.is_empty(), "rows without handlers: {:?}", rows.keys());
    let routes = gantry_api::guarded::<Failure>(&api, routes.with_state(service));
    routes.layered(|row, one| one.route_layer(from_fn_with_state(Arc::clone(row), versions::check)))
}
