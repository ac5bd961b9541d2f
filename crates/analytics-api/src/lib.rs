//! Ways into the tables for programs that people already use: Kusto REST, the PostgreSQL wire
//! protocol.
//!
//! A head reads a request, hands its text to the [`Warehouse`](gantry_analytics::Warehouse) and writes the answer in
//! the client's own form. It knows no table and no operator.

pub mod kusto;
pub mod postgres;

use std::sync::Arc;

use gantry_analytics::Warehouse;
use gantry_api::{Api, Routes};

/// Every route of these heads.
pub fn routes(api: &Arc<Api>, warehouse: Arc<Warehouse>) -> Routes {
    gantry_api::guarded::<kusto::Failure>(api, kusto::routes(warehouse))
}
