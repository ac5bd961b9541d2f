//! What roles mean in the words of the heads: rights of policies, permissions of shared access signatures.
//!
//! A right of a policy opens many operations; it is held by whoever may do everything it opens, so a role that allows
//! less (Twin Contributor) holds no right: for such a principal a head asks for the action of the operation itself.

use gantry_identity::Rights;

use super::{RoleAssignments, actions as a};
use crate::token::Principal;

/// Rights of a hub, each with all the data actions it takes. DeviceConnect is for devices, and no role gives it.
pub const HUB_RIGHTS: [(Rights, &[&str]); 3] = [
    (Rights::REGISTRY_READ, &[a::HUB_DEVICES_READ]),
    (Rights::REGISTRY_WRITE, &[a::HUB_DEVICES_WRITE, a::HUB_DEVICES_DELETE]),
    (
        Rights::SERVICE_CONNECT,
        &[
            a::HUB_TWINS_READ,
            a::HUB_TWINS_WRITE,
            a::HUB_JOBS_READ,
            a::HUB_JOBS_WRITE,
            a::HUB_JOBS_DELETE,
            a::HUB_C2D_SEND,
            a::HUB_C2D_FEEDBACK,
            a::HUB_C2D_PURGE,
            a::HUB_METHODS_INVOKE,
            a::HUB_FILE_NOTIFICATIONS,
            a::HUB_STATISTICS_READ,
            a::HUB_CONFIGURATIONS_READ,
            a::HUB_CONFIGURATIONS_WRITE,
            a::HUB_CONFIGURATIONS_DELETE,
            a::HUB_CONFIGURATIONS_APPLY,
            a::HUB_CONFIGURATIONS_TEST,
        ],
    ),
];

/// Rights of a provisioning service, each with all the data actions it takes. ServiceConfig is no data.
pub const PROVISIONING_RIGHTS: [(Rights, &[&str]); 4] = [
    (Rights::ENROLLMENT_READ, &[a::DPS_ENROLLMENTS_READ, a::DPS_GROUPS_READ]),
    (
        Rights::ENROLLMENT_WRITE,
        &[a::DPS_ENROLLMENTS_WRITE, a::DPS_ENROLLMENTS_DELETE, a::DPS_GROUPS_WRITE, a::DPS_GROUPS_DELETE],
    ),
    (Rights::REGISTRATION_STATUS_READ, &[a::DPS_REGISTRATIONS_READ]),
    (Rights::REGISTRATION_STATUS_WRITE, &[a::DPS_REGISTRATIONS_DELETE]),
];

/// Permissions of a signature over blobs (`sp`), each with the data actions of which one is enough ("Authorize with
/// Microsoft Entra ID": permissions for calling blob operations).
pub const BLOB_PERMISSIONS: [(char, &[&str]); 5] = [
    ('r', &[a::BLOBS_READ]),
    ('c', &[a::BLOBS_WRITE, a::BLOBS_ADD]),
    ('w', &[a::BLOBS_WRITE]),
    ('d', &[a::BLOBS_DELETE]),
    ('l', &[a::BLOBS_READ]),
];

impl RoleAssignments {
    /// The rights a principal holds at a hub.
    pub fn hub_rights(&self, principal: &Principal, hub: &str) -> Rights {
        self.rights(&HUB_RIGHTS, principal, hub)
    }

    /// The rights a principal holds at a provisioning service.
    pub fn provisioning_rights(&self, principal: &Principal, service: &str) -> Rights {
        self.rights(&PROVISIONING_RIGHTS, principal, service)
    }

    /// The permissions a principal holds at a container or account, as `sp` writes them.
    pub fn blob_permissions(&self, principal: &Principal, resource: &str) -> String {
        let roles: Vec<_> = self.roles(principal, resource).collect();
        let may = |action: &&str| roles.iter().any(|role| role.allows_data_action(action));
        let held = BLOB_PERMISSIONS.iter().filter(|(_, actions)| actions.iter().any(may));
        held.map(|(letter, _)| *letter).collect()
    }

    fn rights(&self, table: &[(Rights, &[&str])], principal: &Principal, resource: &str) -> Rights {
        let roles: Vec<_> = self.roles(principal, resource).collect();
        let may = |action: &&str| roles.iter().any(|role| role.allows_data_action(action));
        let held = table.iter().filter(|(_, actions)| actions.iter().all(may));
        held.fold(Rights::NONE, |all, (right, _)| all | *right)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{HUB, given, principal};
    use super::*;

    #[track_caller]
    fn check(roles: &[&str], hub: Rights, provisioning: Rights, blobs: &str) {
        let list = (0..).zip(roles).map(|(n, role)| given(n, 7, role, "/"));
        let all = RoleAssignments::from_list(list).unwrap();
        let one = principal(7, &[]);
        assert_eq!(all.hub_rights(&one, HUB), hub, "{roles:?}");
        assert_eq!(all.provisioning_rights(&one, HUB), provisioning, "{roles:?}");
        assert_eq!(all.blob_permissions(&one, HUB), blobs, "{roles:?}");
    }

    #[test]
    fn each_role_holds_the_rights_it_covers() {
        const NONE: Rights = Rights::NONE;
        let service = Rights::SERVICE_CONNECT | Rights::REGISTRY_READ_WRITE;
        check(&[], NONE, NONE, "");
        check(&["Owner"], NONE, NONE, "");
        check(&["IoT Hub Data Contributor"], service, NONE, "");
        check(&["IoT Hub Data Reader"], Rights::REGISTRY_READ, NONE, "");
        check(&["IoT Hub Registry Contributor"], Rights::REGISTRY_READ_WRITE, NONE, "");
        check(&["IoT Hub Twin Contributor"], NONE, NONE, "");
        let read = Rights::ENROLLMENT_READ | Rights::REGISTRATION_STATUS_READ;
        check(&["Device Provisioning Service Data Reader"], NONE, read, "");
        let write = Rights::ENROLLMENT_WRITE | Rights::REGISTRATION_STATUS_WRITE;
        check(&["Device Provisioning Service Data Contributor"], NONE, read | write, "");
        check(&["Storage Blob Data Reader"], NONE, NONE, "rl");
        check(&["Storage Blob Data Contributor"], NONE, NONE, "rcwdl");
        check(&["Storage Blob Data Owner"], NONE, NONE, "rcwdl");
        check(&["Storage Queue Data Contributor"], NONE, NONE, "");
    }
}
