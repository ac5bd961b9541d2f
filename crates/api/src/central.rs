//! Rows of what clients of the application ask: IoT Central's REST API. The handlers are those of the room that answers.
//!
//! An operation is there from the version on that first published it; see the groups of versions. Source: the published
//! OpenAPI documents 1.0, 2022-05-31, 2022-07-31 and the two previews of 2022.

use std::time::SystemTime;

use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use crate::fields::Fields;
use crate::operation::Body::{self, Json, Nothing, Object};
use crate::operation::{Access, Head, Operation, Parameter};

/// Every version.
const V1: &[&str] = &["1.0", "2022-05-31", "2022-06-30-preview", "2022-07-31", "2022-10-31-preview"];
const SINCE_MAY: &[&str] = &["2022-05-31", "2022-06-30-preview", "2022-07-31", "2022-10-31-preview"];
const SINCE_JULY: &[&str] = &["2022-06-30-preview", "2022-07-31", "2022-10-31-preview"];
const PREVIEWS: &[&str] = &["2022-06-30-preview", "2022-10-31-preview"];
const LAST: &[&str] = &["2022-10-31-preview"];

const GET: Method = Method::GET;
const PUT: Method = Method::PUT;
const PATCH: Method = Method::PATCH;
const DELETE: Method = Method::DELETE;
const POST: Method = Method::POST;

/// Largest body in bytes: a template with as many capabilities as there may be.
const BODY_BYTES_MAX: usize = 4 << 20;

/// Largest CSV file in bytes: that of two hundred thousand devices.
const CSV_BYTES_MAX: usize = 64 << 20;

const NOTHING: Fields = Fields::NOTHING;
const ROLES: (&str, &Fields) = ("roles", &Fields { taken: &["role", "organization"], ..NOTHING });
const KEYS: (&str, &Fields) = ("symmetricKey", &Fields { taken: &["primaryKey", "secondaryKey"], ..NOTHING });
const CERTIFICATE_INFO: Fields = Fields { taken: &["certificate"], shown: &["info"], ..NOTHING };
const SIGNING: Fields = Fields { taken: &["verified", "certificate", "etag"], shown: &["info"], ..NOTHING };

const API_TOKEN: Fields = Fields { taken: &["expiry"], inner: &[ROLES], shown: &["id", "token"] };
const ORGANIZATION: Fields = Fields { taken: &["displayName", "parent"], shown: &["id"], ..NOTHING };
const USER: Fields = Fields { taken: &["type", "email", "tenantId", "objectId"], inner: &[ROLES], shown: &["id"] };
const DEVICE_TEMPLATE: Fields = Fields {
    taken: &["@type", "@context", "etag", "displayName", "description", "capabilityModel"],
    shown: &["@id"],
    ..NOTHING
};
const DEVICE_GROUP: Fields =
    Fields { taken: &["displayName", "filter", "description", "etag", "organizations"], shown: &["id"], ..NOTHING };
const DEVICE: Fields = Fields {
    taken: &["etag", "displayName", "template", "enabled", "simulated", "organizations", "type", "deploymentManifest"],
    shown: &["id", "provisioned"],
    ..NOTHING
};
const COMMAND: Fields = Fields {
    taken: &["request", "connectionTimeout", "responseTimeout"],
    shown: &["id", "response", "responseCode"],
    ..NOTHING
};
const RELATIONSHIP: Fields = Fields { taken: &["source", "target"], shown: &["id"], ..NOTHING };
const ATTESTATION: Fields = Fields {
    taken: &["type"],
    inner: &[
        KEYS,
        (
            "x509",
            &Fields {
                inner: &[(
                    "clientCertificates",
                    &Fields { inner: &[("primary", &CERTIFICATE_INFO), ("secondary", &CERTIFICATE_INFO)], ..NOTHING },
                )],
                ..NOTHING
            },
        ),
        ("tpm", &Fields { taken: &["endorsementKey"], ..NOTHING }),
    ],
    ..NOTHING
};
const ENROLLMENT_GROUP: Fields = Fields {
    taken: &["displayName", "enabled", "type", "etag"],
    inner: &[(
        "attestation",
        &Fields {
            taken: &["type"],
            inner: &[
                KEYS,
                (
                    "x509",
                    &Fields {
                        inner: &[(
                            "signingCertificates",
                            &Fields { inner: &[("primary", &SIGNING), ("secondary", &SIGNING)], ..NOTHING },
                        )],
                        ..NOTHING
                    },
                ),
            ],
            ..NOTHING
        },
    )],
    shown: &["id", "idScope"],
};
const CERTIFICATE: Fields = SIGNING;
const VERIFICATION: Fields = Fields { taken: &["certificate"], ..NOTHING };
const FILE_UPLOAD: Fields = Fields {
    taken: &["account", "connectionString", "container", "sasTtl", "etag", "readAccess"],
    shown: &["state"],
    ..NOTHING
};
const JOB: Fields = Fields {
    taken: &["displayName", "description", "group", "batch", "cancellationThreshold", "data", "organizations"],
    shown: &["id", "scheduledJobId", "start", "end", "progress", "status"],
    ..NOTHING
};
const SCHEDULED_JOB: Fields = Fields {
    taken: &[
        "displayName",
        "description",
        "group",
        "batch",
        "cancellationThreshold",
        "data",
        "organizations",
        "schedule",
        "enabled",
        "etag",
    ],
    shown: &["id", "completed"],
    ..NOTHING
};
const DASHBOARD: Fields = Fields {
    taken: &["displayName", "tiles", "personal", "favorite", "etag", "organizations"],
    shown: &["id"],
    ..NOTHING
};
const MANIFEST: Fields = Fields { taken: &["displayName", "data", "etag", "organizations"], shown: &["id"], ..NOTHING };
const DESTINATION: Fields = Fields {
    taken: &[
        "displayName",
        "type",
        "authorization",
        "clusterUrl",
        "database",
        "table",
        "url",
        "queryCustomizations",
        "headerCustomizations",
    ],
    shown: &["id", "status", "errors", "lastExportTime"],
    ..NOTHING
};
const EXPORT: Fields = Fields {
    taken: &["displayName", "enabled", "source", "filter", "enrichments", "destinations"],
    shown: &["id", "status", "errors", "lastExportTime"],
    ..NOTHING
};
const QUERY: Fields = Fields { taken: &["query"], ..NOTHING };

const LIST: &[Parameter] = &[
    Parameter { name: "filter", about: "Which objects; also `$filter`." },
    Parameter { name: "orderby", about: "In what order; also `$orderby`." },
    Parameter { name: "maxpagesize", about: "Objects of a page, 1 to 100, 25 if nothing is said; also `$top`." },
];
const UNMODELED: &[Parameter] =
    &[Parameter { name: "unmodeled", about: "`true`: with properties that the template does not have." }];
const EXPAND: &[Parameter] =
    &[Parameter { name: "expand", about: "`deploymentManifest`: with the manifest of an edge device." }];

/// A refusal in the shape of the application's errors, for what no operation answers.
pub(crate) fn refusal(status: StatusCode, code: &'static str, message: &str) -> Response {
    let (id, time) = (uuid::Uuid::new_v4().to_string(), httpdate::fmt_http_date(SystemTime::now()));
    let error = json!({ "code": code, "message": message, "requestId": id, "time": time });
    (status, [("x-ms-error-code", code)], axum::Json(json!({ "error": error }))).into_response()
}

/// Nothing is at a path of the application.
pub fn no_such_path(path: &str) -> Response {
    refusal(StatusCode::NOT_FOUND, "NotFound", &format!("no operation at {path}"))
}

/// What names of operations begin with: some of the published ones are those of the hub's, too.
pub const NAMES: &str = "Application_";

/// An entry of the table.
type Entry = (&'static [&'static str], Method, &'static str, &'static str, &'static [&'static str], Body, &'static str);

const fn row(
    versions: &'static [&'static str],
    method: Method,
    path: &'static str,
    id: &'static str,
    permissions: &'static [&'static str],
    body: Body,
    about: &'static str,
) -> Entry {
    (versions, method, path, id, permissions, body, about)
}

#[rustfmt::skip]
const TABLE: &[Entry] = &[
    // API tokens
    row(V1, GET, "/apiTokens", "ApiTokens_List", &["apiTokens.view"], Nothing, "API tokens."),
    row(V1, GET, "/apiTokens/{tokenId}", "ApiTokens_Get", &["apiTokens.view"], Nothing, "Read an API token."),
    row(V1, PUT, "/apiTokens/{tokenId}", "ApiTokens_Create", &["apiTokens.create"], Object(&API_TOKEN), "Make an API token; the one answer that has its text."),
    row(V1, DELETE, "/apiTokens/{tokenId}", "ApiTokens_Remove", &["apiTokens.delete"], Nothing, "Delete an API token."),
    // device templates
    row(V1, GET, "/deviceTemplates", "DeviceTemplates_List", &["deviceTemplates.view"], Nothing, "Device templates."),
    row(V1, GET, "/deviceTemplates/{deviceTemplateId}", "DeviceTemplates_Get", &["deviceTemplates.view"], Nothing, "Read a device template."),
    row(V1, PUT, "/deviceTemplates/{deviceTemplateId}", "DeviceTemplates_Create", &["deviceTemplates.manage"], Object(&DEVICE_TEMPLATE), "Write and publish a device template."),
    row(V1, PATCH, "/deviceTemplates/{deviceTemplateId}", "DeviceTemplates_Update", &["deviceTemplates.manage"], Object(&DEVICE_TEMPLATE), "Change a device template."),
    row(V1, DELETE, "/deviceTemplates/{deviceTemplateId}", "DeviceTemplates_Remove", &["deviceTemplates.manage"], Nothing, "Delete a device template."),
    // devices
    row(V1, GET, "/devices", "Devices_List", &["devices.view"], Nothing, "Devices."),
    row(V1, GET, "/devices/{deviceId}", "Devices_Get", &["devices.view"], Nothing, "Read a device."),
    row(V1, PUT, "/devices/{deviceId}", "Devices_Create", &["devices.create", "devices.update"], Object(&DEVICE), "Make or replace a device."),
    row(V1, PATCH, "/devices/{deviceId}", "Devices_Update", &["devices.update"], Object(&DEVICE), "Change a device."),
    row(V1, DELETE, "/devices/{deviceId}", "Devices_Remove", &["devices.delete"], Nothing, "Delete a device."),
    row(V1, GET, "/devices/{deviceId}/attestation", "Devices_GetAttestation", &["connectivity.readInstance"], Nothing, "How a device proves itself to the provisioning service, when it has a way of its own."),
    row(V1, PUT, "/devices/{deviceId}/attestation", "Devices_CreateAttestation", &["connectivity.manageInstance"], Object(&ATTESTATION), "Set how a device proves itself."),
    row(V1, PATCH, "/devices/{deviceId}/attestation", "Devices_UpdateAttestation", &["connectivity.manageInstance"], Object(&ATTESTATION), "Change how a device proves itself."),
    row(V1, DELETE, "/devices/{deviceId}/attestation", "Devices_RemoveAttestation", &["connectivity.manageInstance"], Nothing, "Let a device prove itself as its enrollment group says."),
    row(V1, GET, "/devices/{deviceId}/commands/{commandName}", "Devices_GetCommandHistory", &["devices.view"], Nothing, "The last run of a command of a device."),
    row(V1, POST, "/devices/{deviceId}/commands/{commandName}", "Devices_RunCommand", &["devices.executeCommands"], Object(&COMMAND), "Run a command of a device."),
    row(V1, GET, "/devices/{deviceId}/components", "Devices_ListComponents", &["devices.view"], Nothing, "The components of a device, from its template."),
    row(V1, GET, "/devices/{deviceId}/components/{componentName}/commands/{commandName}", "Devices_GetComponentCommandHistory", &["devices.view"], Nothing, "The last run of a command of a component."),
    row(V1, POST, "/devices/{deviceId}/components/{componentName}/commands/{commandName}", "Devices_RunComponentCommand", &["devices.executeCommands"], Object(&COMMAND), "Run a command of a component."),
    row(V1, GET, "/devices/{deviceId}/components/{componentName}/properties", "Devices_GetComponentProperties", &["devices.view"], Nothing, "The properties of a component."),
    row(V1, PUT, "/devices/{deviceId}/components/{componentName}/properties", "Devices_ReplaceComponentProperties", &["devices.update"], Json("values by the names of properties; those of a component in an object of its name."), "Replace the writable properties of a component."),
    row(V1, PATCH, "/devices/{deviceId}/components/{componentName}/properties", "Devices_UpdateComponentProperties", &["devices.update"], Json("values by the names of properties; those of a component in an object of its name."), "Change writable properties of a component."),
    row(V1, GET, "/devices/{deviceId}/components/{componentName}/telemetry/{telemetryName}", "Devices_GetComponentTelemetryValue", &["devices.view"], Nothing, "The last value of telemetry of a component."),
    row(V1, GET, "/devices/{deviceId}/credentials", "Devices_GetCredentials", &["connectivity.readInstance"], Nothing, "What a device needs to register: id scope and keys."),
    row(V1, GET, "/devices/{deviceId}/modules", "Devices_ListModules", &["devices.view"], Nothing, "The modules of an edge device, from its template."),
    row(V1, GET, "/devices/{deviceId}/modules/{moduleName}/commands/{commandName}", "Devices_GetModuleCommandHistory", &["devices.view"], Nothing, "The last run of a command of a module."),
    row(V1, POST, "/devices/{deviceId}/modules/{moduleName}/commands/{commandName}", "Devices_RunModuleCommand", &["devices.executeCommands"], Object(&COMMAND), "Run a command of a module."),
    row(V1, GET, "/devices/{deviceId}/modules/{moduleName}/components", "Devices_ListModuleComponents", &["devices.view"], Nothing, "The components of a module."),
    row(V1, GET, "/devices/{deviceId}/modules/{moduleName}/components/{componentName}/commands/{commandName}", "Devices_GetModuleComponentCommandHistory", &["devices.view"], Nothing, "The last run of a command of a component of a module."),
    row(V1, POST, "/devices/{deviceId}/modules/{moduleName}/components/{componentName}/commands/{commandName}", "Devices_RunModuleComponentCommand", &["devices.executeCommands"], Object(&COMMAND), "Run a command of a component of a module."),
    row(V1, GET, "/devices/{deviceId}/modules/{moduleName}/components/{componentName}/properties", "Devices_GetModuleComponentProperties", &["devices.view"], Nothing, "The properties of a component of a module."),
    row(V1, PUT, "/devices/{deviceId}/modules/{moduleName}/components/{componentName}/properties", "Devices_ReplaceModuleComponentProperties", &["devices.update"], Json("values by the names of properties; those of a component in an object of its name."), "Replace the writable properties of a component of a module."),
    row(V1, PATCH, "/devices/{deviceId}/modules/{moduleName}/components/{componentName}/properties", "Devices_UpdateModuleComponentProperties", &["devices.update"], Json("values by the names of properties; those of a component in an object of its name."), "Change writable properties of a component of a module."),
    row(V1, GET, "/devices/{deviceId}/modules/{moduleName}/components/{componentName}/telemetry/{telemetryName}", "Devices_GetModuleComponentTelemetryValue", &["devices.view"], Nothing, "The last value of telemetry of a component of a module."),
    row(V1, GET, "/devices/{deviceId}/modules/{moduleName}/properties", "Devices_GetModuleProperties", &["devices.view"], Nothing, "The properties of a module."),
    row(V1, PUT, "/devices/{deviceId}/modules/{moduleName}/properties", "Devices_ReplaceModuleProperties", &["devices.update"], Json("values by the names of properties; those of a component in an object of its name."), "Replace the writable properties of a module."),
    row(V1, PATCH, "/devices/{deviceId}/modules/{moduleName}/properties", "Devices_UpdateModuleProperties", &["devices.update"], Json("values by the names of properties; those of a component in an object of its name."), "Change writable properties of a module."),
    row(V1, GET, "/devices/{deviceId}/modules/{moduleName}/telemetry/{telemetryName}", "Devices_GetModuleTelemetryValue", &["devices.view"], Nothing, "The last value of telemetry of a module."),
    row(V1, GET, "/devices/{deviceId}/properties", "Devices_GetProperties", &["devices.view"], Nothing, "The properties of a device."),
    row(V1, PUT, "/devices/{deviceId}/properties", "Devices_ReplaceProperties", &["devices.update"], Json("values by the names of properties; those of a component in an object of its name."), "Replace the writable properties of a device."),
    row(V1, PATCH, "/devices/{deviceId}/properties", "Devices_UpdateProperties", &["devices.update"], Json("values by the names of properties; those of a component in an object of its name."), "Change writable properties of a device."),
    row(V1, GET, "/devices/{deviceId}/telemetry/{telemetryName}", "Devices_GetTelemetryValue", &["devices.view"], Nothing, "The last value of telemetry of a device."),
    // roles
    row(V1, GET, "/roles", "Roles_List", &["roles.view"], Nothing, "Roles."),
    row(V1, GET, "/roles/{roleId}", "Roles_Get", &["roles.view"], Nothing, "Read a role."),
    // users
    row(V1, GET, "/users", "Users_List", &["users.view"], Nothing, "Users."),
    row(V1, GET, "/users/{userId}", "Users_Get", &["users.view"], Nothing, "Read a user."),
    row(V1, PUT, "/users/{userId}", "Users_Create", &["users.add"], Object(&USER), "Make or replace a user."),
    row(V1, PATCH, "/users/{userId}", "Users_Update", &["users.add"], Object(&USER), "Change a user."),
    row(V1, DELETE, "/users/{userId}", "Users_Remove", &["users.delete"], Nothing, "Delete a user."),
    // device groups
    row(SINCE_MAY, GET, "/deviceGroups", "DeviceGroups_List", &["deviceGroups.view"], Nothing, "Device groups."),
    row(SINCE_MAY, GET, "/deviceGroups/{deviceGroupId}", "DeviceGroups_Get", &["deviceGroups.view"], Nothing, "Read a device group."),
    row(SINCE_MAY, PUT, "/deviceGroups/{deviceGroupId}", "DeviceGroups_Create", &["deviceGroups.create", "deviceGroups.update"], Object(&DEVICE_GROUP), "Make or replace a device group."),
    row(SINCE_MAY, PATCH, "/deviceGroups/{deviceGroupId}", "DeviceGroups_Update", &["deviceGroups.update"], Object(&DEVICE_GROUP), "Change a device group."),
    row(SINCE_MAY, DELETE, "/deviceGroups/{deviceGroupId}", "DeviceGroups_Remove", &["deviceGroups.delete"], Nothing, "Delete a device group."),
    // file uploads
    row(SINCE_MAY, GET, "/fileUploads", "FileUploads_Get", &["fileUpload.view"], Nothing, "Where devices upload files to."),
    row(SINCE_MAY, PUT, "/fileUploads", "FileUploads_Create", &["fileUpload.manage"], Object(&FILE_UPLOAD), "Say where devices upload files to."),
    row(SINCE_MAY, PATCH, "/fileUploads", "FileUploads_Update", &["fileUpload.manage"], Object(&FILE_UPLOAD), "Change where devices upload files to."),
    row(SINCE_MAY, DELETE, "/fileUploads", "FileUploads_Remove", &["fileUpload.manage"], Nothing, "Let devices upload to the platform itself."),
    // organizations
    row(SINCE_MAY, GET, "/organizations", "Organizations_List", &["organizations.view"], Nothing, "Organizations."),
    row(SINCE_MAY, GET, "/organizations/{organizationId}", "Organizations_Get", &["organizations.view"], Nothing, "Read an organization."),
    row(SINCE_MAY, PUT, "/organizations/{organizationId}", "Organizations_Create", &["organizations.create", "organizations.update"], Object(&ORGANIZATION), "Make or replace an organization."),
    row(SINCE_MAY, PATCH, "/organizations/{organizationId}", "Organizations_Update", &["organizations.update"], Object(&ORGANIZATION), "Change an organization."),
    row(SINCE_MAY, DELETE, "/organizations/{organizationId}", "Organizations_Remove", &["organizations.delete"], Nothing, "Delete an organization."),
    // dashboards
    row(PREVIEWS, GET, "/dashboards", "Dashboards_List", &["dashboards.view", "personalDashboards.view"], Nothing, "Dashboards."),
    row(PREVIEWS, GET, "/dashboards/{dashboardId}", "Dashboards_Get", &["dashboards.view", "personalDashboards.view"], Nothing, "Read a dashboard."),
    row(PREVIEWS, PUT, "/dashboards/{dashboardId}", "Dashboards_Create", &["dashboards.create", "dashboards.update", "personalDashboards.create", "personalDashboards.update"], Object(&DASHBOARD), "Make or replace a dashboard."),
    row(PREVIEWS, PATCH, "/dashboards/{dashboardId}", "Dashboards_Update", &["dashboards.update", "personalDashboards.update"], Object(&DASHBOARD), "Change a dashboard."),
    row(PREVIEWS, DELETE, "/dashboards/{dashboardId}", "Dashboards_Remove", &["dashboards.delete", "personalDashboards.delete"], Nothing, "Delete a dashboard."),
    // destinations of exports
    row(PREVIEWS, GET, "/dataExport/destinations", "Destinations_List", &["dataExport.view"], Nothing, "Destinations of exports."),
    row(PREVIEWS, GET, "/dataExport/destinations/{destinationId}", "Destinations_Get", &["dataExport.view"], Nothing, "Read a destination of exports."),
    row(PREVIEWS, PUT, "/dataExport/destinations/{destinationId}", "Destinations_Create", &["dataExport.create", "dataExport.update"], Object(&DESTINATION), "Make or replace a destination of exports."),
    row(PREVIEWS, PATCH, "/dataExport/destinations/{destinationId}", "Destinations_Update", &["dataExport.update"], Object(&DESTINATION), "Change a destination of exports."),
    row(PREVIEWS, DELETE, "/dataExport/destinations/{destinationId}", "Destinations_Remove", &["dataExport.delete"], Nothing, "Delete a destination of exports."),
    row(PREVIEWS, GET, "/dataExport/destinations/{destinationId}/exports", "Destinations_ListExports", &["dataExport.view"], Nothing, "The exports that use a destination."),
    // data exports
    row(PREVIEWS, GET, "/dataExport/exports", "Exports_List", &["dataExport.view"], Nothing, "Data exports."),
    row(PREVIEWS, GET, "/dataExport/exports/{exportId}", "Exports_Get", &["dataExport.view"], Nothing, "Read a data export."),
    row(PREVIEWS, PUT, "/dataExport/exports/{exportId}", "Exports_Create", &["dataExport.create", "dataExport.update"], Object(&EXPORT), "Make or replace a data export."),
    row(PREVIEWS, PATCH, "/dataExport/exports/{exportId}", "Exports_Update", &["dataExport.update"], Object(&EXPORT), "Change a data export."),
    row(PREVIEWS, DELETE, "/dataExport/exports/{exportId}", "Exports_Remove", &["dataExport.delete"], Nothing, "Delete a data export."),
    row(PREVIEWS, GET, "/dataExport/exports/{exportId}/destinations", "Exports_ListDestinations", &["dataExport.view"], Nothing, "The destinations of an export."),
    // device groups
    row(SINCE_JULY, GET, "/deviceGroups/{deviceGroupId}/devices", "DeviceGroups_GetDevices", &["devices.view"], Nothing, "The devices in a group now."),
    // devices
    row(SINCE_JULY, GET, "/devices/{deviceId}/relationships", "Devices_ListRelationships", &["devices.view"], Nothing, "What a device is related to."),
    row(SINCE_JULY, GET, "/devices/{deviceId}/relationships/{relationshipId}", "Devices_GetRelationship", &["devices.view"], Nothing, "A relationship of a device."),
    row(SINCE_JULY, PUT, "/devices/{deviceId}/relationships/{relationshipId}", "Devices_CreateRelationship", &["devices.update"], Object(&RELATIONSHIP), "Relate a device to another below it."),
    row(SINCE_JULY, PATCH, "/devices/{deviceId}/relationships/{relationshipId}", "Devices_UpdateRelationship", &["devices.update"], Object(&RELATIONSHIP), "Change a relationship."),
    row(SINCE_JULY, DELETE, "/devices/{deviceId}/relationships/{relationshipId}", "Devices_RemoveRelationship", &["devices.update"], Nothing, "Remove a relationship."),
    // enrollment groups
    row(SINCE_JULY, GET, "/enrollmentGroups", "EnrollmentGroups_List", &["connectivity.readGlobal"], Nothing, "Enrollment groups."),
    row(SINCE_JULY, GET, "/enrollmentGroups/{enrollmentGroupId}", "EnrollmentGroups_Get", &["connectivity.readGlobal"], Nothing, "Read an enrollment group."),
    row(SINCE_JULY, PUT, "/enrollmentGroups/{enrollmentGroupId}", "EnrollmentGroups_Create", &["connectivity.manageGlobal"], Object(&ENROLLMENT_GROUP), "Make or replace an enrollment group."),
    row(SINCE_JULY, PATCH, "/enrollmentGroups/{enrollmentGroupId}", "EnrollmentGroups_Update", &["connectivity.manageGlobal"], Object(&ENROLLMENT_GROUP), "Change an enrollment group."),
    row(SINCE_JULY, DELETE, "/enrollmentGroups/{enrollmentGroupId}", "EnrollmentGroups_Remove", &["connectivity.manageGlobal"], Nothing, "Delete an enrollment group."),
    row(SINCE_JULY, GET, "/enrollmentGroups/{enrollmentGroupId}/certificates/{entry}", "EnrollmentGroups_GetX509", &["connectivity.readGlobal"], Nothing, "A certificate of a group."),
    row(SINCE_JULY, PUT, "/enrollmentGroups/{enrollmentGroupId}/certificates/{entry}", "EnrollmentGroups_CreateX509", &["connectivity.manageGlobal"], Object(&CERTIFICATE), "Set a certificate of a group."),
    row(SINCE_JULY, DELETE, "/enrollmentGroups/{enrollmentGroupId}/certificates/{entry}", "EnrollmentGroups_RemoveX509", &["connectivity.manageGlobal"], Nothing, "Remove a certificate of a group."),
    row(SINCE_JULY, POST, "/enrollmentGroups/{enrollmentGroupId}/certificates/{entry}/generateVerificationCode", "EnrollmentGroups_GenerateVerificationCodeX509", &["connectivity.manageGlobal"], Nothing, "A code that proves who holds the key of a certificate."),
    row(SINCE_JULY, POST, "/enrollmentGroups/{enrollmentGroupId}/certificates/{entry}/verify", "EnrollmentGroups_VerifyX509", &["connectivity.manageGlobal"], Object(&VERIFICATION), "Prove that, with a certificate that has the code as its name."),
    // jobs
    row(SINCE_JULY, GET, "/jobs", "Jobs_List", &["jobs.view"], Nothing, "Jobs."),
    row(SINCE_JULY, GET, "/jobs/{jobId}", "Jobs_Get", &["jobs.view"], Nothing, "Read a job."),
    row(SINCE_JULY, PUT, "/jobs/{jobId}", "Jobs_Create", &["jobs.create"], Object(&JOB), "Make or replace a job."),
    row(SINCE_JULY, GET, "/jobs/{jobId}/devices", "Jobs_GetDevices", &["jobs.view"], Nothing, "How each device of a job fared."),
    row(SINCE_JULY, PUT, "/jobs/{jobId}/rerun/{rerunId}", "Jobs_Rerun", &["jobs.execute"], Nothing, "Run a job again on devices where it failed."),
    row(SINCE_JULY, POST, "/jobs/{jobId}/resume", "Jobs_Resume", &["jobs.execute"], Nothing, "Go on with a stopped job."),
    row(SINCE_JULY, POST, "/jobs/{jobId}/stop", "Jobs_Stop", &["jobs.execute"], Nothing, "Stop a job."),
    // questions
    row(PREVIEWS, POST, "/query", "Query_Run", &["devices.view"], Object(&QUERY), "Ask about telemetry or properties of a template."),
    // scheduled jobs
    row(SINCE_JULY, GET, "/scheduledJobs", "ScheduledJobs_List", &["jobs.view"], Nothing, "Scheduled jobs."),
    row(SINCE_JULY, GET, "/scheduledJobs/{scheduledJobId}", "ScheduledJobs_Get", &["jobs.view"], Nothing, "Read a scheduled job."),
    row(SINCE_JULY, PUT, "/scheduledJobs/{scheduledJobId}", "ScheduledJobs_Create", &["jobs.create", "jobs.update"], Object(&SCHEDULED_JOB), "Make or replace a scheduled job."),
    row(SINCE_JULY, PATCH, "/scheduledJobs/{scheduledJobId}", "ScheduledJobs_Update", &["jobs.update"], Object(&SCHEDULED_JOB), "Change a scheduled job."),
    row(SINCE_JULY, DELETE, "/scheduledJobs/{scheduledJobId}", "ScheduledJobs_Remove", &["jobs.delete"], Nothing, "Delete a scheduled job."),
    row(SINCE_JULY, GET, "/scheduledJobs/{scheduledJobId}/jobs", "ScheduledJobs_ListJobs", &["jobs.view"], Nothing, "The runs of a scheduled job."),
    // deployment manifests
    row(LAST, GET, "/deploymentManifests", "DeploymentManifests_List", &["deploymentManifests.readGlobal"], Nothing, "Deployment manifests."),
    row(LAST, GET, "/deploymentManifests/{deploymentManifestId}", "DeploymentManifests_Get", &["deploymentManifests.readGlobal"], Nothing, "Read a deployment manifest."),
    row(LAST, PUT, "/deploymentManifests/{deploymentManifestId}", "DeploymentManifests_Create", &["deploymentManifests.manageGlobal"], Object(&MANIFEST), "Make or replace a deployment manifest."),
    row(LAST, PATCH, "/deploymentManifests/{deploymentManifestId}", "DeploymentManifests_Update", &["deploymentManifests.manageGlobal"], Object(&MANIFEST), "Change a deployment manifest."),
    row(LAST, DELETE, "/deploymentManifests/{deploymentManifestId}", "DeploymentManifests_Remove", &["deploymentManifests.manageGlobal"], Nothing, "Delete a deployment manifest."),
    // devices
    row(LAST, POST, "/devices/{deviceId}/applyDeploymentManifest", "Devices_ApplyManifest", &["deploymentManifests.manageInstance"], Object(&MANIFEST), "Deploy modules to an edge device."),
];

fn operation((versions, method, path, id, permissions, body, about): &Entry) -> Operation {
    let query = match *id {
        "Devices_List" | "Devices_Get" => EXPAND,
        _ if id.ends_with("Properties") && *method == GET => UNMODELED,
        _ => &[],
    };
    let is_list = id.contains("_List") || id.ends_with("_GetDevices");
    let query = if is_list { LIST } else { query };
    let row = Operation::new(
        Head::Application,
        method.clone(),
        path,
        format!("{NAMES}{id}"),
        Access::Application(permissions),
        about,
    );
    let row = row.query(query).of_versions(versions).reads(*body).up_to(BODY_BYTES_MAX);
    if *id == "Query_Run" { row.asks() } else { row }
}

fn own(
    method: Method,
    path: &str,
    id: &'static str,
    permissions: &'static [&'static str],
    about: &'static str,
) -> Operation {
    Operation::new(Head::Platform, method, path, id, Access::Application(permissions), about)
}

/// The application templates there are; an operation of ours, without a version.
pub fn templates() -> Operation {
    let about =
        "`{\"value\":[{id, name, title, description, industry, devices}]}`: what an application may begin with.";
    own(GET, "/application/templates", "Application_ListTemplates", &["application.view"], about)
}

/// An application begins with a template.
pub fn begin() -> Operation {
    let about = "Makes what an application template has: device templates, groups, organizations, dashboards and \
                 simulated devices. What is there under the same name stays. `{id, made, kept, notMade}`.";
    own(POST, "/application/templates/{applicationTemplateId}", "Application_Begin", &["application.update"], about)
}

/// Devices of a CSV file become devices of the application; an operation of ours.
pub fn import_devices() -> Operation {
    const QUERY: &[Parameter] = &[
        Parameter { name: "template", about: "The template that they get." },
        Parameter { name: "organization", about: "The organization they are in; the root without one." },
    ];
    let about = "Makes a device of each row of a CSV file: `IOTC_DEVICEID`, and perhaps `IOTC_DEVICENAME`, \
                 `IOTC_SASKEY_PRIMARY` and `_SECONDARY` or `IOTC_X509THUMBPRINT_PRIMARY` and `_SECONDARY`, and properties \
                 of the template. A file with an error makes nothing; devices that are there stay as they are. \
                 `{made, kept, keptDevices}`.";
    let row = own(POST, "/application/devices.csv", "Application_ImportDevices", &["devices.create"], about);
    row.query(QUERY).reads(Body::Bytes).up_to(CSV_BYTES_MAX)
}

/// The devices that the caller sees, as a CSV file; an operation of ours.
pub fn export_devices() -> Operation {
    const QUERY: &[Parameter] = &[
        Parameter {
            name: "template",
            about: "Only devices of this template, with a column for each of its properties.",
        },
        Parameter { name: "separator", about: "`comma`, or `semicolon` as spreadsheets of many countries want it." },
    ];
    let about = "The devices that the caller sees as a CSV file that can be imported: ids, names, what proves them, and \
                 the properties of a template.";
    own(GET, "/application/devices.csv", "Application_ExportDevices", &["connectivity.readInstance"], about)
        .query(QUERY)
}

/// Those that the reference published.
pub fn operations() -> impl Iterator<Item = Operation> {
    TABLE.iter().map(operation)
}

/// Those of ours.
pub fn own_operations() -> [Operation; 4] {
    [templates(), begin(), import_devices(), export_devices()]
}
