//! Data actions that roles of a directory must allow, by the name of the operation. Source: "Control access to IoT Hub
//! by using Microsoft Entra ID" and its neighbour of the provisioning service.
//!
//! What does several things at once takes all of their actions, so that no role reaches further by a bulk call. Opening
//! a device stream has no published action; it takes that of direct methods, which reach a device as well.

use gantry_hub::ports::directory::{Bearer, Resource};

use crate::caller::Permissions;

const DEVICES_READ: &str = "Microsoft.Devices/IotHubs/devices/read";
const DEVICES_WRITE: &str = "Microsoft.Devices/IotHubs/devices/write";
const DEVICES_DELETE: &str = "Microsoft.Devices/IotHubs/devices/delete";
const TWINS_READ: &str = "Microsoft.Devices/IotHubs/twins/read";
const TWINS_WRITE: &str = "Microsoft.Devices/IotHubs/twins/write";
const JOBS_READ: &str = "Microsoft.Devices/IotHubs/jobs/read";
const JOBS_WRITE: &str = "Microsoft.Devices/IotHubs/jobs/write";
const JOBS_DELETE: &str = "Microsoft.Devices/IotHubs/jobs/delete";
const METHODS: &str = "Microsoft.Devices/IotHubs/directMethods/invoke/action";
const C2D_SEND: &str = "Microsoft.Devices/IotHubs/cloudToDeviceMessages/send/action";
const C2D_FEEDBACK: &str = "Microsoft.Devices/IotHubs/cloudToDeviceMessages/feedback/action";
const C2D_PURGE: &str = "Microsoft.Devices/IotHubs/cloudToDeviceMessages/queue/purge/action";
const FILES: &str = "Microsoft.Devices/IotHubs/fileUpload/notifications/action";
const STATISTICS: &str = "Microsoft.Devices/IotHubs/statistics/read";
const CONFIGURATIONS_READ: &str = "Microsoft.Devices/IotHubs/configurations/read";
const CONFIGURATIONS_WRITE: &str = "Microsoft.Devices/IotHubs/configurations/write";
const CONFIGURATIONS_DELETE: &str = "Microsoft.Devices/IotHubs/configurations/delete";
const CONFIGURATIONS_APPLY: &str = "Microsoft.Devices/IotHubs/configurations/applyToEdgeDevice/action";
const CONFIGURATIONS_TEST: &str = "Microsoft.Devices/IotHubs/configurations/testQueries/action";
const ENROLLMENTS_READ: &str = "Microsoft.Devices/provisioningServices/enrollments/read";
const ENROLLMENTS_WRITE: &str = "Microsoft.Devices/provisioningServices/enrollments/write";
const ENROLLMENTS_DELETE: &str = "Microsoft.Devices/provisioningServices/enrollments/delete";
const GROUPS_READ: &str = "Microsoft.Devices/provisioningServices/enrollmentGroups/read";
const GROUPS_WRITE: &str = "Microsoft.Devices/provisioningServices/enrollmentGroups/write";
const GROUPS_DELETE: &str = "Microsoft.Devices/provisioningServices/enrollmentGroups/delete";
const REGISTRATIONS_READ: &str = "Microsoft.Devices/provisioningServices/registrationStates/read";
const REGISTRATIONS_DELETE: &str = "Microsoft.Devices/provisioningServices/registrationStates/delete";
const ATTESTATION: &str = "Microsoft.Devices/provisioningServices/attestationmechanism/details/action";

/// What an operation takes, all of it; nothing for operations that no role opens by an action of its own.
pub(crate) fn of(id: &str) -> &'static [&'static str] {
    match id {
        "Devices_GetDevices" | "Devices_GetIdentity" | "Modules_GetIdentity" | "Modules_GetModulesOnDevice" => {
            &[DEVICES_READ]
        }
        "Devices_CreateOrUpdateIdentity" | "Modules_CreateOrUpdateIdentity" | "BulkRegistry_RegenerateKeys" => {
            &[DEVICES_WRITE]
        }
        "Devices_DeleteIdentity" | "Modules_DeleteIdentity" => &[DEVICES_DELETE],
        // Its entries may write twins.
        "BulkRegistry_UpdateRegistry" => &[DEVICES_WRITE, DEVICES_DELETE, TWINS_WRITE],
        "Devices_GetTwin" | "Modules_GetTwin" | "DigitalTwin_GetDigitalTwin" | "Query_GetTwins" => &[TWINS_READ],
        "Devices_UpdateTwin"
        | "Devices_ReplaceTwin"
        | "Modules_UpdateTwin"
        | "Modules_ReplaceTwin"
        | "DigitalTwin_UpdateDigitalTwin" => &[TWINS_WRITE],
        "Devices_InvokeMethod"
        | "Modules_InvokeMethod"
        | "DigitalTwin_InvokeRootLevelCommand"
        | "DigitalTwin_InvokeComponentCommand"
        | "Devices_CreateStream"
        | "Modules_CreateStream" => &[METHODS],
        "Jobs_QueryScheduledJobs" | "Jobs_GetScheduledJob" | "Jobs_GetImportExportJobs" | "Jobs_GetImportExportJob" => {
            &[JOBS_READ]
        }
        "Jobs_CreateScheduledJob" => &[JOBS_WRITE, TWINS_WRITE, METHODS],
        "Jobs_CreateImportExportJob" => &[JOBS_WRITE, DEVICES_READ, DEVICES_WRITE, DEVICES_DELETE],
        "Jobs_CancelScheduledJob" | "Jobs_CancelImportExportJob" => &[JOBS_DELETE],
        "CloudToDeviceMessages_Send" => &[C2D_SEND],
        "CloudToDeviceMessages_PurgeCloudToDeviceMessageQueue" => &[C2D_PURGE],
        "CloudToDeviceMessages_ReceiveFeedbackNotification"
        | "CloudToDeviceMessages_CompleteFeedbackNotification"
        | "CloudToDeviceMessages_AbandonFeedbackNotification" => &[C2D_FEEDBACK],
        "FileNotifications_ReceiveNotification"
        | "FileNotifications_CompleteNotification"
        | "FileNotifications_AbandonNotification"
        | "FileUpload_ReceiveNotification"
        | "FileUpload_CompleteNotification"
        | "FileUpload_AbandonNotification" => &[FILES],
        "Statistics_GetDeviceStatistics" | "Statistics_GetServiceStatistics" => &[STATISTICS],
        "Configuration_GetConfigurations" | "Configuration_Get" => &[CONFIGURATIONS_READ],
        "Configuration_CreateOrUpdate" => &[CONFIGURATIONS_WRITE],
        "Configuration_Delete" => &[CONFIGURATIONS_DELETE],
        "Configuration_ApplyOnEdgeDevice" => &[CONFIGURATIONS_APPLY],
        "Configuration_TestQueries" => &[CONFIGURATIONS_TEST],
        "IndividualEnrollment_Get" | "IndividualEnrollment_Query" => &[ENROLLMENTS_READ],
        "IndividualEnrollment_CreateOrUpdate" => &[ENROLLMENTS_WRITE],
        "IndividualEnrollment_Delete" => &[ENROLLMENTS_DELETE],
        "IndividualEnrollment_RunBulkOperation" => &[ENROLLMENTS_WRITE, ENROLLMENTS_DELETE],
        "EnrollmentGroup_Get" | "EnrollmentGroup_Query" => &[GROUPS_READ],
        "EnrollmentGroup_CreateOrUpdate" => &[GROUPS_WRITE],
        "EnrollmentGroup_Delete" => &[GROUPS_DELETE],
        "EnrollmentGroup_RunBulkOperation" => &[GROUPS_WRITE, GROUPS_DELETE],
        "IndividualEnrollment_GetAttestationMechanism" | "EnrollmentGroup_GetAttestationMechanism" => &[ATTESTATION],
        "DeviceRegistrationState_Get" | "DeviceRegistrationState_Query" => &[REGISTRATIONS_READ],
        "DeviceRegistrationState_Delete" => &[REGISTRATIONS_DELETE],
        _ => &[],
    }
}

/// What of the platform each data action on the tables opens.
const OF_TABLES: [(&str, Permissions); 3] = [
    ("Microsoft.Kusto/clusters/databases/query/action", Permissions::DEVICES_READ),
    ("Microsoft.Kusto/clusters/databases/ingest/action", Permissions::RULES_MANAGE),
    ("Microsoft.Kusto/clusters/databases/administer/action", Permissions::POLICIES_MANAGE),
];

/// What of the platform each action on its resource group opens: what Reader, Contributor, and who may give roles, have.
const OF_GROUP: [(&str, Permissions); 3] = [
    ("Microsoft.Devices/IotHubs/read", Permissions::READER),
    ("Microsoft.Devices/IotHubs/write", Permissions::CONTRIBUTOR),
    ("Microsoft.Authorization/roleAssignments/write", Permissions::DIRECTORY_MANAGE),
];

/// What the tables' roles allow somebody.
pub(crate) fn on_tables(bearer: &dyn Bearer) -> Permissions {
    sum(&OF_TABLES, |action| bearer.may(action, Resource::Tables))
}

/// What the roles of the control plane allow somebody.
pub(crate) fn on_platform(bearer: &dyn Bearer) -> Permissions {
    let held = sum(&OF_GROUP, |action| bearer.may_manage(action, Resource::Group));
    let owns = Permissions::CONTRIBUTOR | Permissions::DIRECTORY_MANAGE;
    // Whoever may change everything and say who may do what sees keys as well: they could have them anyway.
    if held.contains(owns) { Permissions::ALL } else { held }
}

fn sum(table: &[(&str, Permissions)], may: impl Fn(&str) -> bool) -> Permissions {
    let held = table.iter().filter(|(action, _)| may(action)).map(|(_, permissions)| *permissions);
    held.fold(Permissions::NONE, |all, one| all | one)
}
