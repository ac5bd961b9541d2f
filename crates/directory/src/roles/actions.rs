//! Data actions the heads ask for, as the reference publishes them ("Azure permissions for Internet of Things" and
//! its neighbours).

/// Read identities.
pub const HUB_DEVICES_READ: &str = "Microsoft.Devices/IotHubs/devices/read";
/// Create and change identities.
pub const HUB_DEVICES_WRITE: &str = "Microsoft.Devices/IotHubs/devices/write";
/// Delete identities.
pub const HUB_DEVICES_DELETE: &str = "Microsoft.Devices/IotHubs/devices/delete";
/// Read twins.
pub const HUB_TWINS_READ: &str = "Microsoft.Devices/IotHubs/twins/read";
/// Change twins.
pub const HUB_TWINS_WRITE: &str = "Microsoft.Devices/IotHubs/twins/write";
/// Read jobs.
pub const HUB_JOBS_READ: &str = "Microsoft.Devices/IotHubs/jobs/read";
/// Create and change jobs.
pub const HUB_JOBS_WRITE: &str = "Microsoft.Devices/IotHubs/jobs/write";
/// Cancel jobs.
pub const HUB_JOBS_DELETE: &str = "Microsoft.Devices/IotHubs/jobs/delete";
/// Send cloud-to-device messages.
pub const HUB_C2D_SEND: &str = "Microsoft.Devices/IotHubs/cloudToDeviceMessages/send/action";
/// Receive their feedback.
pub const HUB_C2D_FEEDBACK: &str = "Microsoft.Devices/IotHubs/cloudToDeviceMessages/feedback/action";
/// Purge a queue of them.
pub const HUB_C2D_PURGE: &str = "Microsoft.Devices/IotHubs/cloudToDeviceMessages/queue/purge/action";
/// Invoke direct methods.
pub const HUB_METHODS_INVOKE: &str = "Microsoft.Devices/IotHubs/directMethods/invoke/action";
/// Receive notifications of uploads.
pub const HUB_FILE_NOTIFICATIONS: &str = "Microsoft.Devices/IotHubs/fileUpload/notifications/action";
/// Read statistics.
pub const HUB_STATISTICS_READ: &str = "Microsoft.Devices/IotHubs/statistics/read";
/// Read configurations.
pub const HUB_CONFIGURATIONS_READ: &str = "Microsoft.Devices/IotHubs/configurations/read";
/// Create and change configurations.
pub const HUB_CONFIGURATIONS_WRITE: &str = "Microsoft.Devices/IotHubs/configurations/write";
/// Delete configurations.
pub const HUB_CONFIGURATIONS_DELETE: &str = "Microsoft.Devices/IotHubs/configurations/delete";
/// Apply a configuration to an edge device.
pub const HUB_CONFIGURATIONS_APPLY: &str = "Microsoft.Devices/IotHubs/configurations/applyToEdgeDevice/action";
/// Test the queries of a configuration.
pub const HUB_CONFIGURATIONS_TEST: &str = "Microsoft.Devices/IotHubs/configurations/testQueries/action";

/// Read individual enrollments.
pub const DPS_ENROLLMENTS_READ: &str = "Microsoft.Devices/provisioningServices/enrollments/read";
/// Create and change individual enrollments.
pub const DPS_ENROLLMENTS_WRITE: &str = "Microsoft.Devices/provisioningServices/enrollments/write";
/// Delete individual enrollments.
pub const DPS_ENROLLMENTS_DELETE: &str = "Microsoft.Devices/provisioningServices/enrollments/delete";
/// Read enrollment groups.
pub const DPS_GROUPS_READ: &str = "Microsoft.Devices/provisioningServices/enrollmentGroups/read";
/// Create and change enrollment groups.
pub const DPS_GROUPS_WRITE: &str = "Microsoft.Devices/provisioningServices/enrollmentGroups/write";
/// Delete enrollment groups.
pub const DPS_GROUPS_DELETE: &str = "Microsoft.Devices/provisioningServices/enrollmentGroups/delete";
/// Read registration states.
pub const DPS_REGISTRATIONS_READ: &str = "Microsoft.Devices/provisioningServices/registrationStates/read";
/// Delete registration states.
pub const DPS_REGISTRATIONS_DELETE: &str = "Microsoft.Devices/provisioningServices/registrationStates/delete";
/// Read keys of enrollments.
pub const DPS_ATTESTATION_DETAILS: &str = "Microsoft.Devices/provisioningServices/attestationmechanism/details/action";

/// Send events.
pub const EVENTS_SEND: &str = "Microsoft.EventHub/namespaces/messages/send/action";
/// Receive events.
pub const EVENTS_RECEIVE: &str = "Microsoft.EventHub/namespaces/messages/receive/action";

/// Read and list blobs.
pub const BLOBS_READ: &str = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read";
/// Write blobs.
pub const BLOBS_WRITE: &str = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write";
/// Create blobs.
pub const BLOBS_ADD: &str = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action";
/// Delete blobs.
pub const BLOBS_DELETE: &str = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete";

/// Peek at messages of a queue.
pub const QUEUE_MESSAGES_READ: &str = "Microsoft.Storage/storageAccounts/queueServices/queues/messages/read";
/// Put and change messages of a queue.
pub const QUEUE_MESSAGES_WRITE: &str = "Microsoft.Storage/storageAccounts/queueServices/queues/messages/write";
/// Put messages into a queue.
pub const QUEUE_MESSAGES_ADD: &str = "Microsoft.Storage/storageAccounts/queueServices/queues/messages/add/action";
/// Take and delete messages of a queue.
pub const QUEUE_MESSAGES_PROCESS: &str =
    "Microsoft.Storage/storageAccounts/queueServices/queues/messages/process/action";
/// Delete messages of a queue.
pub const QUEUE_MESSAGES_DELETE: &str = "Microsoft.Storage/storageAccounts/queueServices/queues/messages/delete";

/// Ask the tables. Of ours, as the two that follow: Data Explorer publishes none for its data.
pub const TABLES_QUERY: &str = "Microsoft.Kusto/clusters/databases/query/action";
/// Bring data into tables, and change them.
pub const TABLES_INGEST: &str = "Microsoft.Kusto/clusters/databases/ingest/action";
/// Say who may do what with tables.
pub const TABLES_ADMINISTER: &str = "Microsoft.Kusto/clusters/databases/administer/action";
