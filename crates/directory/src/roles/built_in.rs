//! The reference's built-in roles that mean something here, with their published ids and actions ("Azure built-in
//! roles", "Azure permissions").

use crate::ids::Guid;

/// A role: what it allows, less what it takes out. `*` stands for any text, `/` included; case does not matter.
#[derive(Debug, PartialEq, Eq)]
pub struct RoleDefinition {
    /// Published id.
    pub id: Guid,
    /// Published name.
    pub name: &'static str,
    /// Of resources (Azure Resource Manager).
    pub actions: &'static [&'static str],
    /// Taken out of `actions`.
    pub not_actions: &'static [&'static str],
    /// Of the data in them.
    pub data_actions: &'static [&'static str],
}

const fn data(id: u128, name: &'static str, data_actions: &'static [&'static str]) -> RoleDefinition {
    with_actions(id, name, &[], data_actions)
}

const fn with_actions(
    id: u128,
    name: &'static str,
    actions: &'static [&'static str],
    data_actions: &'static [&'static str],
) -> RoleDefinition {
    RoleDefinition { id: Guid::from_u128(id), name, actions, not_actions: &[], data_actions }
}

/// What Contributor may not do: decide who may do what.
const NOT_CONTRIBUTOR: [&str; 4] = [
    "Microsoft.Authorization/*/Delete",
    "Microsoft.Authorization/*/Write",
    "Microsoft.Authorization/elevateAccess/Action",
    "Microsoft.Resources/deploymentStacks/manageDenySetting/action",
];

/// Every role there is. At most 32, see [`super::RoleAssignments`].
pub static BUILT_IN_ROLES: [RoleDefinition; 22] = [
    with_actions(0x8e3af657_a8ff_443c_a75c_2fe8c4bcb635, "Owner", &["*"], &[]),
    RoleDefinition {
        id: Guid::from_u128(0xb24988ac_6180_42a0_ab88_20f7382dd24c),
        name: "Contributor",
        actions: &["*"],
        not_actions: &NOT_CONTRIBUTOR,
        data_actions: &[],
    },
    with_actions(0xacdd72a7_3385_48ef_bd42_f606fba81ae7, "Reader", &["*/read"], &[]),
    with_actions(
        0x18d7d88d_d35e_4fb5_a5c3_7773c20a72d9,
        "User Access Administrator",
        &["*/read", "Microsoft.Authorization/*"],
        &[],
    ),
    data(0x4fc6c259_987e_4a07_842e_c321cc9d413f, "IoT Hub Data Contributor", &["Microsoft.Devices/IotHubs/*"]),
    data(
        0xb447c946_2db7_41ec_983d_d8bf3b1c77e3,
        "IoT Hub Data Reader",
        &["Microsoft.Devices/IotHubs/*/read", "Microsoft.Devices/IotHubs/fileUpload/notifications/action"],
    ),
    data(
        0x4ea46cd5_c1b2_4a8e_910b_273211f9ce47,
        "IoT Hub Registry Contributor",
        &["Microsoft.Devices/IotHubs/devices/*"],
    ),
    data(0x494bdba2_168f_4f31_a0a1_191d2f7c028c, "IoT Hub Twin Contributor", &["Microsoft.Devices/IotHubs/twins/*"]),
    data(
        0xdfce44e4_17b7_4bd1_a6d1_04996ec95633,
        "Device Provisioning Service Data Contributor",
        &["Microsoft.Devices/provisioningServices/*"],
    ),
    data(
        0x10745317_c249_44a1_a5ce_3a4353c0bbd8,
        "Device Provisioning Service Data Reader",
        &["Microsoft.Devices/provisioningServices/*/read"],
    ),
    with_actions(
        0xf526a384_b230_433a_b45c_95f59c4a2dec,
        "Azure Event Hubs Data Owner",
        &["Microsoft.EventHub/*"],
        &["Microsoft.EventHub/*"],
    ),
    with_actions(
        0xa638d3c7_ab3a_418d_83e6_5f17a39d4fde,
        "Azure Event Hubs Data Receiver",
        &["Microsoft.EventHub/*/eventhubs/consumergroups/read"],
        &["Microsoft.EventHub/*/receive/action"],
    ),
    with_actions(
        0x2b629674_e913_4c01_ae53_ef4638d8f975,
        "Azure Event Hubs Data Sender",
        &["Microsoft.EventHub/*/eventhubs/read"],
        &["Microsoft.EventHub/*/send/action"],
    ),
    with_actions(
        0xb7e6dc6d_f1e8_4753_8033_0f276bb0955b,
        "Storage Blob Data Owner",
        &[
            "Microsoft.Storage/storageAccounts/blobServices/containers/*",
            "Microsoft.Storage/storageAccounts/blobServices/generateUserDelegationKey/action",
        ],
        &["Microsoft.Storage/storageAccounts/blobServices/containers/blobs/*"],
    ),
    with_actions(
        0xba92f5b4_2d11_453d_a403_e96b0029c9fe,
        "Storage Blob Data Contributor",
        &[
            "Microsoft.Storage/storageAccounts/blobServices/containers/delete",
            "Microsoft.Storage/storageAccounts/blobServices/containers/read",
            "Microsoft.Storage/storageAccounts/blobServices/containers/write",
            "Microsoft.Storage/storageAccounts/blobServices/generateUserDelegationKey/action",
        ],
        &[
            "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete",
            "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read",
            "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/move/action",
            "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write",
            "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action",
        ],
    ),
    with_actions(
        0x2a2b9908_6ea1_4ae2_8e65_a410df84e7d1,
        "Storage Blob Data Reader",
        &[
            "Microsoft.Storage/storageAccounts/blobServices/containers/read",
            "Microsoft.Storage/storageAccounts/blobServices/generateUserDelegationKey/action",
        ],
        &["Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"],
    ),
    with_actions(
        0x974c5e8b_45b9_4653_ba55_5f855dd0fb88,
        "Storage Queue Data Contributor",
        &[
            "Microsoft.Storage/storageAccounts/queueServices/queues/delete",
            "Microsoft.Storage/storageAccounts/queueServices/queues/read",
            "Microsoft.Storage/storageAccounts/queueServices/queues/write",
        ],
        &[
            "Microsoft.Storage/storageAccounts/queueServices/queues/messages/delete",
            "Microsoft.Storage/storageAccounts/queueServices/queues/messages/read",
            "Microsoft.Storage/storageAccounts/queueServices/queues/messages/write",
            "Microsoft.Storage/storageAccounts/queueServices/queues/messages/process/action",
        ],
    ),
    data(
        0x8a0f0c08_91a1_4084_bc3d_661d67233fed,
        "Storage Queue Data Message Processor",
        &[
            "Microsoft.Storage/storageAccounts/queueServices/queues/messages/read",
            "Microsoft.Storage/storageAccounts/queueServices/queues/messages/process/action",
        ],
    ),
    data(
        0xc6a89b2d_59bc_44d0_9896_0f6e12d7b80a,
        "Storage Queue Data Message Sender",
        &["Microsoft.Storage/storageAccounts/queueServices/queues/messages/add/action"],
    ),
    with_actions(
        0x19e7f393_937e_4f77_808e_94535e297925,
        "Storage Queue Data Reader",
        &["Microsoft.Storage/storageAccounts/queueServices/queues/read"],
        &["Microsoft.Storage/storageAccounts/queueServices/queues/messages/read"],
    ),
    // Data Explorer gives roles of its own to principals of a cluster, under these names; ids and actions are ours.
    data(
        0x6f1c6a2e_3f0d_4d57_9c3b_0c6a8a5b9e01,
        "AllDatabasesViewer",
        &["Microsoft.Kusto/clusters/databases/query/action"],
    ),
    data(0x6f1c6a2e_3f0d_4d57_9c3b_0c6a8a5b9e02, "AllDatabasesAdmin", &["Microsoft.Kusto/clusters/databases/*"]),
];

impl RoleDefinition {
    /// The role with an id.
    pub fn find(id: Guid) -> Option<&'static Self> {
        BUILT_IN_ROLES.iter().find(|role| role.id == id)
    }

    /// The role with a name, without case.
    pub fn named(name: &str) -> Option<&'static Self> {
        BUILT_IN_ROLES.iter().find(|role| role.name.eq_ignore_ascii_case(name))
    }

    /// Whether it allows something to be done with the data in a resource.
    pub fn allows_data_action(&self, action: &str) -> bool {
        self.data_actions.iter().any(|pattern| matches(pattern, action))
    }

    /// Whether it allows something to be done with a resource.
    pub fn allows_action(&self, action: &str) -> bool {
        let any = |patterns: &[&str]| patterns.iter().any(|pattern| matches(pattern, action));
        any(self.actions) && !any(self.not_actions)
    }
}

/// Whether an action is meant by a pattern, without case.
fn matches(pattern: &str, action: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = strip_start(action.as_bytes(), first.as_bytes()) else { return false };
    let Some(last) = pieces.next_back() else { return rest.is_empty() };
    for piece in pieces.filter(|piece| !piece.is_empty()) {
        let is_here = |part: &[u8]| part.eq_ignore_ascii_case(piece.as_bytes());
        let Some(at) = rest.windows(piece.len()).position(is_here) else { return false };
        rest = rest.get(at + piece.len()..).unwrap_or_default();
    }
    let start = rest.len().checked_sub(last.len());
    start.and_then(|start| rest.get(start..)).is_some_and(|end| end.eq_ignore_ascii_case(last.as_bytes()))
}

fn strip_start<'a>(text: &'a [u8], start: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = text.split_at_checked(start.len())?;
    head.eq_ignore_ascii_case(start).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_names_are_each_of_one_role() {
        for role in &BUILT_IN_ROLES {
            assert_eq!(RoleDefinition::find(role.id), Some(role));
            assert_eq!(RoleDefinition::named(&role.name.to_uppercase()), Some(role));
        }
        assert!(RoleDefinition::named("Janitor").is_none());
        let id = RoleDefinition::named("IoT Hub Data Contributor").unwrap().id;
        assert_eq!(id.to_string(), "4fc6c259-987e-4a07-842e-c321cc9d413f");
    }

    #[test]
    fn a_star_is_any_text() {
        for (pattern, action, expected) in [
            ("a/*", "A/b/c", true),
            ("a/*", "a/", true),
            ("a/*", "a", false),
            ("a/*/read", "a/b/c/READ", true),
            ("a/*/read", "a/read", false),
            ("a/*/x/*/read", "a/1/x/2/read", true),
            ("a/*/x/*/read", "a/1/y/2/read", false),
            ("a/b", "a/b", true),
            ("a/b", "a/bc", false),
            ("*/read", "x/write", false),
            ("*", "", true),
            ("ab*ba", "aba", false),
            ("a**b", "ab", true),
        ] {
            assert_eq!(matches(pattern, action), expected, "{pattern} {action}");
        }
    }

    #[track_caller]
    fn check(role: &str, data_action: &str, expected: bool) {
        assert_eq!(RoleDefinition::named(role).unwrap().allows_data_action(data_action), expected, "{role}");
    }

    #[test]
    fn roles_allow_what_is_published() {
        check("IoT Hub Data Reader", "Microsoft.Devices/IotHubs/twins/read", true);
        check("IoT Hub Data Reader", "Microsoft.Devices/IotHubs/twins/write", false);
        check("IoT Hub Twin Contributor", "Microsoft.Devices/IotHubs/twins/write", true);
        check("IoT Hub Twin Contributor", "Microsoft.Devices/IotHubs/devices/read", false);
        check("Azure Event Hubs Data Sender", "Microsoft.EventHub/namespaces/messages/send/action", true);
        check("Azure Event Hubs Data Sender", "Microsoft.EventHub/namespaces/messages/receive/action", false);
        for role in ["Owner", "Contributor", "Reader"] {
            check(role, "Microsoft.Devices/IotHubs/devices/read", false);
        }
        let allows = |role: &str, action: &str| RoleDefinition::named(role).unwrap().allows_action(action);
        assert!(allows("Owner", "Microsoft.Authorization/roleAssignments/write"));
        assert!(!allows("Contributor", "microsoft.authorization/roleAssignments/WRITE"));
        assert!(allows("Contributor", "Microsoft.Devices/IotHubs/write"));
        assert!(
            allows("Reader", "Microsoft.Devices/IotHubs/read") && !allows("Reader", "Microsoft.Devices/IotHubs/write")
        );
        assert!(!allows("IoT Hub Data Contributor", "Microsoft.Devices/IotHubs/read"));
        assert!(allows("User Access Administrator", "Microsoft.Authorization/roleAssignments/write"));
        assert!(!allows("User Access Administrator", "Microsoft.Devices/IotHubs/write"));
        check("AllDatabasesViewer", "Microsoft.Kusto/clusters/databases/query/action", true);
        check("AllDatabasesViewer", "Microsoft.Kusto/clusters/databases/ingest/action", false);
        check("AllDatabasesAdmin", "Microsoft.Kusto/clusters/databases/administer/action", true);
    }

    proptest::proptest! {
        #[test]
        fn any_action_is_judged(pattern in "[ab/*]{0,8}", action in "\\PC{0,12}") {
            let _ = matches(&pattern, &action);
            proptest::prop_assert!(matches("*", &action));
            proptest::prop_assert!(matches(&action.replace('*', ""), &action.replace('*', "")));
        }
    }
}
