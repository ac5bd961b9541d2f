//! Ways into the tables for programs that people already use: Kusto REST, OData, the PostgreSQL wire
//! protocol.
//!
//! A head reads a request, hands its text to the [`Warehouse`](gantry_analytics::Warehouse) and writes the answer in
//! the client's own form. It knows no table and no operator.

pub mod kusto;
pub mod odata;
pub mod postgres;

use std::sync::Arc;

use gantry_analytics::Warehouse;
use gantry_api::{Api, Routes};

/// Every route of these heads.
pub fn routes(api: &Arc<Api>, warehouse: Arc<Warehouse>, queues: Arc<kusto::Queues>) -> Routes {
    let kusto = kusto::routes(Arc::clone(&warehouse), queues, api.directory.clone());
    let kusto = gantry_api::guarded::<kusto::Failure>(api, kusto);
    kusto.merge(gantry_api::guarded::<odata::Failure>(api, odata::routes(warehouse)))
}

/// The wall clock in ticks.
fn now() -> i64 {
    gantry_analytics::calendar::UNIX_EPOCH + gantry_api::now().as_millis() * 10_000
}
