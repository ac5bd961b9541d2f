//! HTTP: REST for hub, DPS and the page.
//!
//! Paths tell services apart, so one router serves them all on one address. This crate
//! knows no storage: it calls `hub`, `provisioning` and `monitoring`, and translates words,
//! codes and errors into HTTP.

mod actions;
mod api_version;
mod audit;
mod auth;
pub mod blob;
mod body;
mod caller;
pub mod central;
mod device;
pub mod directory;
mod dps;
mod error;
mod fields;
pub mod graph;
mod history;
mod hub;
pub mod kusto;
pub mod management;
pub mod odata;
mod openapi;
mod operation;
mod platform;
pub mod process;
mod query;
mod reference;
mod refused;
mod routes;
mod sign_in;
mod streaming;
mod throttle;
pub mod tokens;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::DefaultBodyLimit;
use axum::http::Uri;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::IntoResponse;
use gantry_directory::audit::AuditLog;
use gantry_hub::Hub;
use gantry_hub::import_export::ImportExport;
use gantry_hub::ports::Clock;
use gantry_hub::ports::directory::Directory;
use gantry_identity::Timestamp;
use gantry_monitoring::Monitoring;
use gantry_monitoring::dashboards::Dashboards;
use gantry_provisioning::{Instances, Service};

pub use api_version::asked_version;
pub use audit::Witness;
pub use auth::{OnKnown, PeerAddress, PeerCertificate, admit_password, admit_program, admit_session};
pub use caller::{Caller, Permissions, Who};
pub use dps::read_attestation;
pub use error::ApiError;
pub use history::{History, Measured};
pub use hub::files::{Files, UploadTarget};
pub use hub::import_export::ServiceLines;
pub use operation::{Access, Head, Operation, Parameter, Row};
pub use reference::page;
pub use refused::Refused;
pub use routes::{Routes, Table};
pub use sign_in::{OpenIdProvider, ProviderLink, SignIn, SignInConfig};
pub use streaming::{JobState, StreamingJob, StreamingJobs};

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
    /// Where devices upload files.
    pub files: Arc<Files>,
    /// Import and export jobs.
    pub import_export: ImportExport,
    /// People who sign in to the page.
    pub sign_in: Arc<SignIn>,
    /// Where what is changed is recorded.
    pub audit: Arc<dyn AuditLog>,
    /// Dashboards.
    pub dashboards: Arc<Dashboards>,
    /// What devices sent long ago.
    pub history: Arc<dyn History>,
    /// Streaming jobs.
    pub streaming: Arc<dyn StreamingJobs>,
    /// Who takes tokens of directories; none when that is switched off.
    pub directory: Option<Arc<dyn Directory>>,
}

/// Every route of the service side. Requests must carry a [`PeerAddress`] extension.
pub fn routes(api: impl Into<Arc<Api>>) -> Routes {
    let state = api.into();
    // From the handler outwards: who calls, whether it is their turn, the body, the version.
    let hub = device::routes().merge(hub::routes());
    let hub = hub.layered(|row, one| {
        let of_row = (Arc::clone(&state), Arc::clone(row));
        one.route_layer(from_fn_with_state(of_row.clone(), auth::admit))
            .route_layer(from_fn_with_state(of_row, throttle::take_turn))
            .route_layer(from_fn(body::read_whole::<ApiError>))
            .route_layer(from_fn(api_version::of_hub))
    });
    let provisioning = dps::routes().layered(|row, one| {
        one.route_layer(from_fn_with_state((Arc::clone(&state), Arc::clone(row)), auth::admit))
            .route_layer(from_fn(body::read_whole::<dps::DpsFailure>))
            .route_layer(from_fn(api_version::of_provisioning))
    });
    let platform = platform::routes().layered(|row, one| {
        one.route_layer(from_fn_with_state((Arc::clone(&state), Arc::clone(row)), auth::admit))
            .route_layer(from_fn(body::read_whole::<platform::error::PlatformError>))
    });
    let all = audited(&state, hub.merge(provisioning).merge(platform));
    // The bound is in `body`; extractors need none of their own.
    let all = all.layered(|_, one| one.route_layer(DefaultBodyLimit::disable()));
    all.otherwise(|uri: Uri| async move { ApiError::no_such_path(uri.path()) }).with_state(state)
}

/// Records the calls of routes that change something, before anything else looks at them.
pub fn audited<S: Clone + Send + Sync + 'static>(api: &Arc<Api>, routes: Routes<S>) -> Routes<S> {
    routes.layered(|row, one| match audit::is_audited(row) {
        true => one.route_layer(from_fn_with_state((Arc::clone(api), Arc::clone(row)), audit::record)),
        false => one,
    })
}

/// Puts in front of the routes of another crate what stands before those here: who calls, as their rows say, and the
/// body, whole and within its bounds. `E` is the shape in which that crate refuses.
pub fn guarded<E: From<Refused> + IntoResponse + 'static>(api: &Arc<Api>, routes: Routes) -> Routes {
    let routes = routes.layered(|row, one| {
        let admit = from_fn_with_state((Arc::clone(api), Arc::clone(row)), auth::admit_as::<E>);
        let read = from_fn_with_state(row.body_bytes_max, body::read_whole_as::<E>);
        // What is larger than most is read only of who may call.
        let one = match row.body_bytes_max > body::BODY_BYTES_MAX {
            true => one.route_layer(read).route_layer(admit),
            false => one.route_layer(admit).route_layer(read),
        };
        one.route_layer(DefaultBodyLimit::disable())
    });
    audited(api, routes)
}

/// Reads the body whole and within its bounds before the routes of another crate. `E` is the shape in which that crate
/// refuses.
pub fn with_body<E: From<Refused> + IntoResponse + 'static, S: Clone + Send + Sync + 'static>(
    routes: Routes<S>,
) -> Routes<S> {
    routes.layered(|row, one| {
        let read = from_fn_with_state(row.body_bytes_max, body::read_whole_as::<E>);
        one.route_layer(read).route_layer(DefaultBodyLimit::disable())
    })
}

/// The wall clock.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The wall clock, for what the hub does over a while.
#[derive(Clone, Copy, Debug, Default)]
pub struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        now()
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(duration))
    }
}
