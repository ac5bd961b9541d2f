//! The application over HTTP: the REST API of IoT Central.
//!
//! A handler reads a [`Call`](call::Call), asks [`Central`](gantry_central::Central), the hub or provisioning, and writes
//! what the published documents show. Rules are theirs; who may call is decided here ([`guard`]), once by the row of the
//! operation and once more where the thing is that it is about.

mod applications;
mod body;
mod call;
mod dashboards;
mod destinations;
mod devices;
mod enrollment_groups;
mod exports;
mod failure;
mod file_uploads;
mod groups;
mod guard;
mod jobs;
mod kind;
mod list;
mod manifests;
mod organizations;
mod people;
mod ports;
mod questions;
mod templates;
mod work;

use std::collections::HashMap;
use std::sync::Arc;

use axum::middleware::from_fn_with_state;
use gantry_api::{Api, Routes, central};
use gantry_central::Central;
use gantry_central::exports::health::Health;
use tokio::sync::Notify;

pub use self::devices::adopt::one as adopt;
use self::devices::history::Runs;
pub use self::failure::Failure;
pub use self::ports::{Rows, Tables, Transforms, Uploads};
pub use self::work::run as work;

/// An application, as its API needs it.
pub struct Application {
    /// Its id: the first part of its host name, and what its tokens are for.
    pub id: String,
    /// What it has.
    pub central: Arc<Central>,
    /// The hub and what is around it.
    pub api: Arc<Api>,
    /// The tables.
    pub tables: Arc<dyn Tables>,
    /// What exports need.
    pub exporting: Exporting,
    /// Where devices upload files.
    pub uploads: Arc<dyn Uploads>,
    /// Told when there is something to do for [`work`].
    pub work: Notify,
}

/// What exports need of whoever sends.
pub struct Exporting {
    /// How they fare.
    pub health: Arc<Health>,
    /// Reads their transforms.
    pub transforms: Arc<dyn Transforms>,
}

/// What handlers work with.
struct Shared {
    application: Arc<Application>,
    runs: Runs,
}

/// Every route of the API.
pub fn routes(application: Arc<Application>) -> Routes {
    let shared = Arc::new(Shared { application, runs: Runs::default() });
    let mut rows: HashMap<_, _> = central::operations().map(|row| (row.id.clone(), row)).collect();
    let mut routes = Routes::new()
        .on(central::templates(), applications::list)
        .on(central::begin(), applications::begin)
        .on(central::import_devices(), devices::csv::import)
        .on(central::export_devices(), devices::csv::export);
    macro_rules! on {
        ($($name:literal => $handler:path,)*) => {
            $(let row = rows.remove(concat!("Application_", $name)).expect("a row of the table");
            routes = routes.on(row, $handler);)*
        };
    }
    on! {
        "ApiTokens_List" => people::list_tokens,
        "ApiTokens_Get" => people::get_token,
        "ApiTokens_Create" => people::create_token,
        "ApiTokens_Remove" => people::remove_token,
        "Roles_List" => people::list_roles,
        "Roles_Get" => people::get_role,
        "Users_List" => people::list_users,
        "Users_Get" => people::get_user,
        "Users_Create" => people::put_user,
        "Users_Update" => people::patch_user,
        "Users_Remove" => people::remove_user,
        "Organizations_List" => organizations::list,
        "Organizations_Get" => organizations::get,
        "Organizations_Create" => organizations::put,
        "Organizations_Update" => organizations::patch,
        "Organizations_Remove" => organizations::remove,
        "DeviceTemplates_List" => templates::list,
        "DeviceTemplates_Get" => templates::get,
        "DeviceTemplates_Create" => kind::put::<templates::DeviceTemplates>,
        "DeviceTemplates_Update" => kind::patch::<templates::DeviceTemplates>,
        "DeviceTemplates_Remove" => templates::remove,
        "DeviceGroups_List" => groups::list,
        "DeviceGroups_Get" => groups::get,
        "DeviceGroups_Create" => kind::put::<groups::DeviceGroups>,
        "DeviceGroups_Update" => kind::patch::<groups::DeviceGroups>,
        "DeviceGroups_Remove" => groups::remove,
        "DeviceGroups_GetDevices" => groups::devices,
        "Query_Run" => questions::run,
        "Dashboards_List" => dashboards::list,
        "Dashboards_Get" => dashboards::get,
        "Dashboards_Create" => kind::put::<dashboards::Dashboards>,
        "Dashboards_Update" => kind::patch::<dashboards::Dashboards>,
        "Dashboards_Remove" => dashboards::remove,
        "Destinations_List" => destinations::list,
        "Destinations_Get" => destinations::get,
        "Destinations_Create" => kind::put::<destinations::Destinations>,
        "Destinations_Update" => kind::patch::<destinations::Destinations>,
        "Destinations_Remove" => destinations::remove,
        "Destinations_ListExports" => destinations::exports,
        "Exports_List" => exports::list,
        "Exports_Get" => exports::get,
        "Exports_Create" => kind::put::<exports::Exports>,
        "Exports_Update" => kind::patch::<exports::Exports>,
        "Exports_Remove" => exports::remove,
        "Exports_ListDestinations" => exports::destinations,
        "FileUploads_Get" => file_uploads::get,
        "FileUploads_Create" => kind::put::<file_uploads::Uploads>,
        "FileUploads_Update" => kind::patch::<file_uploads::Uploads>,
        "FileUploads_Remove" => file_uploads::remove,
        "DeploymentManifests_List" => manifests::list,
        "DeploymentManifests_Get" => manifests::get,
        "DeploymentManifests_Create" => kind::put::<manifests::Manifests>,
        "DeploymentManifests_Update" => kind::patch::<manifests::Manifests>,
        "DeploymentManifests_Remove" => manifests::remove,
        "Devices_ApplyManifest" => manifests::apply,
        "Jobs_List" => jobs::list,
        "Jobs_Get" => jobs::get,
        "Jobs_Create" => jobs::put,
        "Jobs_GetDevices" => jobs::devices,
        "Jobs_Rerun" => jobs::rerun,
        "Jobs_Stop" => jobs::stop,
        "Jobs_Resume" => jobs::resume,
        "ScheduledJobs_List" => jobs::list_scheduled,
        "ScheduledJobs_Get" => jobs::get_scheduled,
        "ScheduledJobs_Create" => kind::put::<jobs::ScheduledJobs>,
        "ScheduledJobs_Update" => kind::patch::<jobs::ScheduledJobs>,
        "ScheduledJobs_Remove" => jobs::remove_scheduled,
        "ScheduledJobs_ListJobs" => jobs::jobs_of_scheduled,
        "EnrollmentGroups_List" => enrollment_groups::list,
        "EnrollmentGroups_Get" => enrollment_groups::get,
        "EnrollmentGroups_Create" => enrollment_groups::put,
        "EnrollmentGroups_Update" => enrollment_groups::patch,
        "EnrollmentGroups_Remove" => enrollment_groups::remove,
        "EnrollmentGroups_GetX509" => enrollment_groups::certificate,
        "EnrollmentGroups_CreateX509" => enrollment_groups::put_certificate,
        "EnrollmentGroups_RemoveX509" => enrollment_groups::remove_certificate,
        "EnrollmentGroups_GenerateVerificationCodeX509" => enrollment_groups::verified,
        "EnrollmentGroups_VerifyX509" => enrollment_groups::verified,
        "Devices_List" => devices::list,
        "Devices_Get" => devices::get,
        "Devices_Create" => devices::put,
        "Devices_Update" => devices::patch,
        "Devices_Remove" => devices::remove,
        "Devices_GetCredentials" => devices::credentials::get,
        "Devices_GetAttestation" => devices::attestation::get,
        "Devices_CreateAttestation" => devices::attestation::put,
        "Devices_UpdateAttestation" => devices::attestation::put,
        "Devices_RemoveAttestation" => devices::attestation::remove,
        "Devices_ListComponents" => devices::components,
        "Devices_ListModules" => devices::modules,
        "Devices_ListModuleComponents" => devices::components,
        "Devices_ListRelationships" => devices::relationships::list,
        "Devices_GetRelationship" => devices::relationships::get,
        "Devices_CreateRelationship" => devices::relationships::put,
        "Devices_UpdateRelationship" => devices::relationships::patch,
        "Devices_RemoveRelationship" => devices::relationships::remove,
        "Devices_GetProperties" => devices::properties::get,
        "Devices_ReplaceProperties" => devices::properties::replace,
        "Devices_UpdateProperties" => devices::properties::update,
        "Devices_GetComponentProperties" => devices::properties::get,
        "Devices_ReplaceComponentProperties" => devices::properties::replace,
        "Devices_UpdateComponentProperties" => devices::properties::update,
        "Devices_GetModuleProperties" => devices::properties::get,
        "Devices_ReplaceModuleProperties" => devices::properties::replace,
        "Devices_UpdateModuleProperties" => devices::properties::update,
        "Devices_GetModuleComponentProperties" => devices::properties::get,
        "Devices_ReplaceModuleComponentProperties" => devices::properties::replace,
        "Devices_UpdateModuleComponentProperties" => devices::properties::update,
        "Devices_RunCommand" => devices::commands::run,
        "Devices_RunComponentCommand" => devices::commands::run,
        "Devices_RunModuleCommand" => devices::commands::run,
        "Devices_RunModuleComponentCommand" => devices::commands::run,
        "Devices_GetCommandHistory" => devices::commands::history,
        "Devices_GetComponentCommandHistory" => devices::commands::history,
        "Devices_GetModuleCommandHistory" => devices::commands::history,
        "Devices_GetModuleComponentCommandHistory" => devices::commands::history,
        "Devices_GetTelemetryValue" => devices::telemetry::get,
        "Devices_GetComponentTelemetryValue" => devices::telemetry::get,
        "Devices_GetModuleTelemetryValue" => devices::telemetry::get,
        "Devices_GetModuleComponentTelemetryValue" => devices::telemetry::get,
    }
    assert!(rows.is_empty(), "operations without a handler: {:?}", rows.keys());
    // A body may be large: it is read of who may call.
    let routes = gantry_api::with_body::<Failure, _>(routes)
        .layered(|row, one| one.route_layer(from_fn_with_state((Arc::clone(&shared), Arc::clone(row)), guard::admit)));
    let api = Arc::clone(&shared.application.api);
    gantry_api::audited(&api, routes).with_state(shared)
}
