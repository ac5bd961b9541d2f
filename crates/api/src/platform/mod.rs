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

use axum::Router;
use axum::routing::{get, post, put};

use crate::Api;

pub(crate) fn routes() -> Router<Arc<Api>> {
    let routes = Router::new()
        .route("/session", get(session::show).post(session::sign_in).delete(session::sign_out))
        .route("/fleet", get(devices::fleet))
        .route("/maintenance", get(devices::maintenance))
        .route("/maintenance/{id}/serviced", post(devices::serviced))
        .route("/devices/{id}/signals", get(devices::signals))
        .route("/devices/{id}/series", get(devices::series))
        .route("/devices/{id}/twin", get(devices::twin).patch(devices::patch_twin))
        .route("/devices/{id}/methods", post(devices::invoke))
        .route("/alerts", get(alerts::list))
        .route("/alerts/{id}/acknowledge", post(alerts::acknowledge))
        .route("/alerts/{id}/close", post(alerts::close))
        .route("/security", get(alerts::security))
        .route("/rules", get(alerts::rules))
        .route("/rules/{id}", put(alerts::put_rule).delete(alerts::delete_rule))
        .merge(certificates::routes::<certificates::AtHub>())
        .nest(
            "/provisioning",
            certificates::routes::<certificates::AtProvisioning>().merge(hubs::routes()).merge(provisioning::routes()),
        )
        .route("/policies", get(policies::list))
        .route("/policies/{name}/roll", post(policies::roll))
        .route("/routing", get(routing::get).put(routing::put))
        .route("/routing/validate/{code}", get(routing::validate))
        .route("/routing/health", get(routing::health))
        .route("/routing/testnew", post(routing::test_new))
        .route("/routing/testall", post(routing::test_all))
        .route("/faults", get(faults::get).put(faults::put).delete(faults::delete))
        .route("/live", get(live::live))
        .route("/monitor", get(live::monitor));
    Router::new().nest("/platform/v1", routes)
}
