//! HTTP: REST for hub, DPS and the page.
//!
//! Paths tell services apart, so one router serves them all on one address. This crate
//! knows no storage: it calls `hub`, `provisioning` and `monitoring`, and translates words,
//! codes and errors into HTTP.

mod api_version;
mod auth;
pub mod blob;
mod body;
mod device;
mod dps;
mod error;
mod fields;
mod hub;
mod platform;
mod routes;
mod throttle;
pub mod tokens;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use gantry_hub::Hub;
use gantry_identity::Timestamp;
use gantry_monitoring::Monitoring;
use gantry_provisioning::{Instances, Service};

pub use auth::{OnKnown, PeerAddress, PeerCertificate};
pub use error::ApiError;
pub use hub::files::{Files, UploadTarget};
pub use hub::import_export::{Containers, ImportExport};
pub use hub::jobs::JobWorker;
pub use hub::methods::{MethodTimeouts, call_method};
pub use platform::session::Sessions;
pub use routes::{Route, Routes};

/// What the service side serves.
#[derive(Clone)]
pub struct Api {
    /// The hub.
    pub hub: Arc<Hub>,
    /// The provisioning service of the name.
    pub provisioning: Arc<Service>,
    /// It and those beside it.
    pub instances: Instances,
    /// The application.
    pub monitoring: Arc<Monitoring>,
    /// Where devices upload files; none when that is switched off.
    pub files: Option<Arc<Files>>,
    /// Import and export jobs.
    pub import_export: ImportExport,
    /// Who is signed in to the page.
    pub sessions: Arc<Sessions>,
}

/// Every route of the service side. Requests must carry a [`PeerAddress`] extension.
pub fn routes(api: Api) -> Routes {
    let state = Arc::new(api);
    let hub = device::routes().merge(hub::routes()).layered(|router| {
        router
            .route_layer(from_fn_with_state(Arc::clone(&state), throttle::take_turn))
            .route_layer(from_fn(body::read_whole::<ApiError>))
            .route_layer(from_fn(api_version::of_hub))
    });
    let provisioning = dps::routes().layered(|router| {
        router
            .route_layer(from_fn(body::read_whole::<dps::DpsFailure>))
            .route_layer(from_fn(api_version::of_provisioning))
    });
    let platform = platform::routes()
        .layered(|router| router.route_layer(from_fn(body::read_whole::<platform::error::PlatformError>)));
    // The bound is in `body`; extractors need none of their own.
    let all = hub.merge(provisioning).merge(platform).layered(|router| router.layer(DefaultBodyLimit::disable()));
    all.with_state(state)
}

/// The wall clock.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
