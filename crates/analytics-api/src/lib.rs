//! Ways into the tables for programs that people already use: Kusto REST.
//!
//! A head reads a request, hands its text to the [`Warehouse`](gantry_analytics::Warehouse) and writes the answer in
//! the client's own form. It knows no table and no operator.

pub mod kusto;

use std::sync::Arc;

use gantry_analytics::Warehouse;
use gantry_api::{Api, Routes};

/// Every route of these heads.
pub fn routes(api: &Arc<Api>, warehouse: Arc<Warehouse>, queues: Arc<kusto::Queues>) -> Routes {
    gantry_api::guarded::<kusto::Failure>(api, kusto::routes(warehouse, queues))
}
