//! The platform API: what the page and the command line use (`docs/platform-api.md`).

mod alerts;
mod certificates;
mod devices;
pub(crate) mod error;
mod faults;
mod hubs;
mod live;
mod policies;
mod provisioning;
mod routing;
pub(crate) mod session;

use std::sync::Arc;

use axum::body::Bytes;
use serde::de::DeserializeOwned;

use crate::Api;
use crate::routes::Routes;
use error::PlatformError;

/// Reads a JSON body.
fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, PlatformError> {
    gantry_hub::json::read(body).map_err(|error| PlatformError::invalid(format!("malformed body: {error}")))
}

pub(crate) fn routes() -> Routes<Arc<Api>> {
    let routes = Routes::new()
        .get("/session", session::show)
        .post("/session", session::sign_in)
        .delete("/session", session::sign_out)
        .get("/fleet", devices::fleet)
        .get("/maintenance", devices::maintenance)
        .post("/maintenance/{id}/serviced", devices::serviced)
        .get("/devices/{id}/signals", devices::signals)
        .get("/devices/{id}/series", devices::series)
        .get("/devices/{id}/twin", devices::twin)
        .patch("/devices/{id}/twin", devices::patch_twin)
        .post("/devices/{id}/methods", devices::invoke)
        .get("/alerts", alerts::list)
        .post("/alerts/{id}/acknowledge", alerts::acknowledge)
        .post("/alerts/{id}/close", alerts::close)
        .get("/security", alerts::security)
        .get("/rules", alerts::rules)
        .put("/rules/{id}", alerts::put_rule)
        .delete("/rules/{id}", alerts::delete_rule)
        .merge(certificates::routes::<certificates::AtHub>())
        .nest(
            "/provisioning",
            certificates::routes::<certificates::AtProvisioning>().merge(hubs::routes()).merge(provisioning::routes()),
        )
        .get("/policies", policies::list)
        .post("/policies/{name}/roll", policies::roll)
        .get("/routing", routing::get)
        .put("/routing", routing::put)
        .get("/routing/validate/{code}", routing::validate)
        .get("/routing/health", routing::health)
        .post("/routing/testnew", routing::test_new)
        .post("/routing/testall", routing::test_all)
        .get("/faults", faults::get)
        .put("/faults", faults::put)
        .delete("/faults", faults::delete)
        .get("/live", live::live)
        .get("/monitor", live::monitor);
    Routes::new().nest("/platform/v1", routes)
}
