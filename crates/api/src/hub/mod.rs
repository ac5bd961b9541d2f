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

use axum::http::{HeaderMap, Method as M, header};
use gantry_hub::device::IfMatch;
use gantry_hub::throttle::Operation as T;
use gantry_identity::{DeviceId, Identity, ModuleId, Rights};

use crate::Api;
use crate::error::ApiError;
use crate::fields;
use crate::operation::{Access, Body, Head, Operation, Parameter};
use crate::routes::Routes;

const READ: Rights = Rights::REGISTRY_READ;
const WRITE: Rights = Rights::REGISTRY_WRITE;
const READWRITE: Rights = Rights::REGISTRY_READ_WRITE;
const NOT_COUNTED: Option<T> = None;
const CONNECT: Rights = Rights::SERVICE_CONNECT;

const TOP: &[Parameter] = &[Parameter { name: "top", about: "The most of them that are wanted." }];
const JOBS: &[Parameter] = &[
    Parameter { name: "jobType", about: "`scheduleUpdateTwin` or `scheduleDeviceMethod`." },
    Parameter { name: "jobStatus", about: "A status." },
    Parameter { name: "pageSize", about: "The most on a page; `x-ms-max-item-count` is a header for it." },
    Parameter { name: "continuationToken", about: "Where to go on; `x-ms-continuation` is a header for it." },
];
const TIMEOUTS: &[Parameter] = &[
    Parameter { name: "connectTimeoutInSeconds", about: "How long to wait for the device, 0 to 300." },
    Parameter { name: "responseTimeoutInSeconds", about: "How long to wait for its answer, 5 to 300." },
];

fn row(
    method: M,
    path: &str,
    id: &'static str,
    needed: Rights,
    class: impl Into<Option<T>>,
    about: &'static str,
) -> Operation {
    Operation::new(Head::Service, method, path, id, Access::Hub(needed), about).throttled(class)
}

pub(crate) fn routes() -> Routes<Arc<Api>> {
    identities()
        .merge(twins())
        .merge(jobs())
        .merge(configurations())
        .merge(digital_twins())
        .merge(service_queues::routes())
}

fn identities() -> Routes<Arc<Api>> {
    Routes::new()
        .on(
            row(
                M::GET,
                "/devices",
                "Devices_GetDevices",
                READ,
                T::Identity,
                "Identities in order of id; `maxCount` is another name for `top`.",
            )
            .query(TOP),
            devices::list,
        )
        .on(
            row(
                M::POST,
                "/devices",
                "BulkRegistry_UpdateRegistry",
                WRITE,
                T::Identity,
                "Creates, changes and deletes up to 100 identities, one by one; says which failed.",
            )
            .reads(Body::Array(&fields::BULK_ENTRY)),
            bulk::registry,
        )
        .on(
            row(
                M::POST,
                "/devices/query",
                "Query_GetTwins",
                CONNECT,
                T::Query,
                "A page of what a query gives; `x-ms-max-item-count` and `x-ms-continuation` are headers.",
            )
            .takes(&fields::QUERY)
            .asks(),
            query::query,
        )
        .on(
            row(
                M::POST,
                "/devices/keys/regenerate",
                "BulkRegistry_RegenerateKeys",
                WRITE,
                T::Identity,
                "Draws new keys for up to 100 devices and modules.",
            )
            .takes(&fields::REGENERATE_KEYS),
            bulk::regenerate_keys,
        )
        .on(row(M::GET, "/devices/{id}", "Devices_GetIdentity", READ, T::Identity, "One device."), devices::get)
        .on(
            row(
                M::PUT,
                "/devices/{id}",
                "Devices_CreateOrUpdateIdentity",
                WRITE,
                T::Identity,
                "Creates a device, or with `If-Match` changes it.",
            )
            .takes(&fields::IDENTITY),
            devices::put,
        )
        .on(
            row(
                M::DELETE,
                "/devices/{id}",
                "Devices_DeleteIdentity",
                WRITE,
                T::Identity,
                "Deletes a device with its modules; `If-Match` is optional.",
            ),
            devices::delete,
        )
        .on(
            row(
                M::GET,
                "/devices/{id}/modules",
                "Modules_GetModulesOnDevice",
                READ,
                T::Identity,
                "The modules of a device.",
            ),
            devices::list_modules,
        )
        .on(
            row(M::GET, "/devices/{id}/modules/{mid}", "Modules_GetIdentity", READ, T::Identity, "One module."),
            devices::get_module,
        )
        .on(
            row(
                M::PUT,
                "/devices/{id}/modules/{mid}",
                "Modules_CreateOrUpdateIdentity",
                WRITE,
                T::Identity,
                "Creates a module, or with `If-Match` changes it.",
            )
            .takes(&fields::IDENTITY),
            devices::put_module,
        )
        .on(
            row(
                M::DELETE,
                "/devices/{id}/modules/{mid}",
                "Modules_DeleteIdentity",
                WRITE,
                T::Identity,
                "Deletes a module; `If-Match` is optional.",
            ),
            devices::delete_module,
        )
        .on(
            row(
                M::DELETE,
                "/devices/{id}/commands",
                "CloudToDeviceMessages_PurgeCloudToDeviceMessageQueue",
                CONNECT,
                T::Identity,
                "Deletes what waits for a device.",
            ),
            devices::purge,
        )
        .on(
            row(
                M::GET,
                "/statistics/devices",
                "Statistics_GetDeviceStatistics",
                READ,
                NOT_COUNTED,
                "How many devices there are, enabled and disabled.",
            ),
            devices::statistics,
        )
        .on(
            row(
                M::GET,
                "/statistics/service",
                "Statistics_GetServiceStatistics",
                CONNECT,
                NOT_COUNTED,
                "How many devices are connected.",
            ),
            devices::service_statistics,
        )
        .on(row(M::GET, "/twins/{id}", "Devices_GetTwin", CONNECT, T::TwinRead, "The twin of a device."), twins::get)
}

fn twins() -> Routes<Arc<Api>> {
    Routes::new()
        .on(
            row(
                M::PATCH,
                "/twins/{id}",
                "Devices_UpdateTwin",
                CONNECT,
                T::TwinWrite,
                "Merges tags and desired properties into a twin; null removes.",
            )
            .takes(&fields::TWIN),
            twins::patch,
        )
        .on(
            row(
                M::PUT,
                "/twins/{id}",
                "Devices_ReplaceTwin",
                CONNECT,
                T::TwinWrite,
                "Replaces tags and desired properties of a twin.",
            )
            .takes(&fields::TWIN),
            twins::put,
        )
        .on(
            row(M::GET, "/twins/{id}/modules/{mid}", "Modules_GetTwin", CONNECT, T::TwinRead, "The twin of a module."),
            twins::get_module,
        )
        .on(
            row(
                M::PATCH,
                "/twins/{id}/modules/{mid}",
                "Modules_UpdateTwin",
                CONNECT,
                T::TwinWrite,
                "Merges tags and desired properties into a module's twin; null removes.",
            )
            .takes(&fields::TWIN),
            twins::patch_module,
        )
        .on(
            row(
                M::PUT,
                "/twins/{id}/modules/{mid}",
                "Modules_ReplaceTwin",
                CONNECT,
                T::TwinWrite,
                "Replaces tags and desired properties of a module's twin.",
            )
            .takes(&fields::TWIN),
            twins::put_module,
        )
        .on(
            row(
                M::POST,
                "/twins/{id}/methods",
                "Devices_InvokeMethod",
                CONNECT,
                T::Method,
                "Invokes a direct method and waits for the answer.",
            )
            .takes(&fields::METHOD),
            methods::invoke,
        )
        .on(
            row(
                M::POST,
                "/twins/{id}/modules/{mid}/methods",
                "Modules_InvokeMethod",
                CONNECT,
                T::Method,
                "Invokes a direct method of a module and waits for the answer.",
            )
            .takes(&fields::METHOD),
            methods::invoke_module,
        )
        // The name of a stream may hold a slash.
        .on(
            row(
                M::POST,
                "/twins/{id}/streams/{*name}",
                "Devices_CreateStream",
                CONNECT,
                T::Stream,
                "Opens a stream to a device; headers of the answer say where to come with which token.",
            ),
            streams::create,
        )
        .on(
            row(
                M::POST,
                "/twins/{id}/modules/{mid}/streams/{*name}",
                "Modules_CreateStream",
                CONNECT,
                T::Stream,
                "Opens a stream to a module.",
            ),
            streams::create_for_module,
        )
}

fn jobs() -> Routes<Arc<Api>> {
    Routes::new()
        .on(
            row(M::GET, "/jobs/v2/query", "Jobs_QueryScheduledJobs", CONNECT, T::Job, "A page of scheduled jobs.")
                .query(JOBS),
            jobs::query,
        )
        .on(row(M::GET, "/jobs/v2/{id}", "Jobs_GetScheduledJob", CONNECT, T::Job, "One scheduled job."), jobs::get)
        .on(
            row(
                M::PUT,
                "/jobs/v2/{id}",
                "Jobs_CreateScheduledJob",
                CONNECT,
                T::Job,
                "Schedules twin updates or direct methods on the devices of a condition.",
            )
            .takes(&fields::JOB),
            jobs::create,
        )
        .on(
            row(
                M::POST,
                "/jobs/v2/{id}/cancel",
                "Jobs_CancelScheduledJob",
                CONNECT,
                T::Job,
                "Cancels a scheduled job.",
            ),
            jobs::cancel,
        )
        .on(
            row(
                M::POST,
                "/jobs/create",
                "Jobs_CreateImportExportJob",
                READWRITE,
                T::Job,
                "Imports or exports every identity, from or to a blob container. An export shows keys.",
            )
            .takes(&fields::IMPORT_EXPORT),
            import_export::create,
        )
        .on(
            row(M::GET, "/jobs", "Jobs_GetImportExportJobs", READ, T::Job, "Import and export jobs."),
            import_export::list,
        )
        .on(
            row(M::GET, "/jobs/{id}", "Jobs_GetImportExportJob", READ, T::Job, "One import or export job."),
            import_export::get,
        )
        .on(
            row(
                M::DELETE,
                "/jobs/{id}",
                "Jobs_CancelImportExportJob",
                WRITE,
                T::Job,
                "Cancels an import or export job.",
            ),
            import_export::cancel,
        )
}

fn configurations() -> Routes<Arc<Api>> {
    Routes::new()
        .on(
            row(
                M::POST,
                "/devices/{id}/applyConfigurationContent",
                "Configuration_ApplyOnEdgeDevice",
                WRITE,
                T::Configuration,
                "Writes a deployment's content on one edge device.",
            )
            .takes(&fields::CONTENT),
            configurations::apply,
        )
        .on(
            row(
                M::GET,
                "/configurations",
                "Configuration_GetConfigurations",
                READ,
                T::Configuration,
                "Configurations and deployments, with their metrics.",
            )
            .query(TOP),
            configurations::list,
        )
        .on(
            row(
                M::POST,
                "/configurations/testQueries",
                "Configuration_TestQueries",
                READ,
                T::Configuration,
                "Says what is wrong with a target condition and queries of metrics.",
            )
            .takes(&fields::TEST_QUERIES)
            .asks(),
            configurations::test_queries,
        )
        .on(
            row(M::GET, "/configurations/{id}", "Configuration_Get", READ, T::Configuration, "One configuration."),
            configurations::get,
        )
        .on(
            row(
                M::PUT,
                "/configurations/{id}",
                "Configuration_CreateOrUpdate",
                WRITE,
                T::Configuration,
                "Creates a configuration, or with `If-Match` changes it.",
            )
            .takes(&fields::CONFIGURATION),
            configurations::put,
        )
        .on(
            row(
                M::DELETE,
                "/configurations/{id}",
                "Configuration_Delete",
                WRITE,
                T::Configuration,
                "Deletes a configuration; `If-Match` is optional.",
            ),
            configurations::delete,
        )
}

fn digital_twins() -> Routes<Arc<Api>> {
    Routes::new()
        .on(
            row(
                M::GET,
                "/digitaltwins/{id}",
                "DigitalTwin_GetDigitalTwin",
                CONNECT,
                T::TwinRead,
                "The digital twin of a device with a model.",
            ),
            digital_twins::get,
        )
        .on(
            row(
                M::PATCH,
                "/digitaltwins/{id}",
                "DigitalTwin_UpdateDigitalTwin",
                CONNECT,
                T::TwinWrite,
                "Changes a digital twin by a JSON Patch.",
            )
            .reads(Body::Json("A JSON Patch.")),
            digital_twins::patch,
        )
        .on(
            row(
                M::POST,
                "/digitaltwins/{id}/commands/{name}",
                "DigitalTwin_InvokeRootLevelCommand",
                CONNECT,
                T::Method,
                "Invokes a command of the root component.",
            )
            .query(TIMEOUTS)
            .reads(Body::Json("The command's request.")),
            digital_twins::root_command,
        )
        .on(
            row(
                M::POST,
                "/digitaltwins/{id}/components/{component}/commands/{name}",
                "DigitalTwin_InvokeComponentCommand",
                CONNECT,
                T::Method,
                "Invokes a command of a component.",
            )
            .query(TIMEOUTS)
            .reads(Body::Json("The command's request.")),
            digital_twins::component_command,
        )
}

pub(crate) fn device(id: &str) -> Result<Identity, ApiError> {
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
