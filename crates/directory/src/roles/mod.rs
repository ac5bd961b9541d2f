//! Who may do what, where: role assignments as the reference's (`{id, principal, role, scope}`), and the decision.
//!
//! A principal has the roles assigned to its own id and to its groups' ids, at the resource or anywhere above it.
//! There is no assignment that denies; what no role allows is refused.
//!
//! A decision walks the names of the resource once, looks only at scopes that are on this path, and in them for the
//! ids of the principal: its cost does not grow with the number of assignments.

pub mod actions;
mod built_in;
mod rights;
mod scope;

use std::collections::BTreeMap;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

pub use built_in::{BUILT_IN_ROLES, RoleDefinition};
pub use rights::{BLOB_PERMISSIONS, HUB_RIGHTS, PROVISIONING_RIGHTS};
pub use scope::{SCOPE_LEN_MAX, Scope, ScopeError};

use crate::ids::Guid;
use crate::token::Principal;

/// Assignments there may be (the reference's limit for a subscription).
pub const ROLE_ASSIGNMENTS_MAX: usize = 4000;

/// A role given to somebody somewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoleAssignment {
    /// Its own id.
    pub id: Guid,
    /// Directory of the principal. An issuer of one says nothing about principals of another, whatever ids it writes.
    pub tenant_id: Guid,
    /// Object id of a person, a program or a group there.
    pub principal_id: Guid,
    /// A built-in role.
    pub role_definition_id: Guid,
    /// Where.
    pub scope: Scope,
}

/// Why an assignment is not added.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum NotAssigned {
    /// There is no such role.
    #[error("there is no role `{0}`")]
    UnknownRole(Guid),
    /// The id is taken.
    #[error("role assignment `{0}` exists")]
    IdTaken(Guid),
    /// They have it there already.
    #[error("role assignment `{0}` gives the same role to the same principal there")]
    Exists(Guid),
    /// As many as may be.
    #[error("there are {ROLE_ASSIGNMENTS_MAX} role assignments, which is the most")]
    TooMany,
}

/// Roles as bits, by their place in [`BUILT_IN_ROLES`].
type Roles = u32;
const _: () = assert!(BUILT_IN_ROLES.len() <= Roles::BITS as usize);

#[derive(Clone, Debug)]
struct Given {
    scope: Scope,
    /// By directory and object id.
    to: HashMap<(Guid, Guid), Roles>,
}

/// Every assignment, ready for decisions.
#[derive(Clone, Debug, Default)]
pub struct RoleAssignments {
    all: BTreeMap<Guid, RoleAssignment>,
    /// By hash of the scope.
    given: HashMap<u64, Vec<Given>>,
}

impl RoleAssignments {
    /// Those that are kept.
    ///
    /// # Errors
    /// [`NotAssigned`] for the first that cannot be.
    pub fn from_list(list: impl IntoIterator<Item = RoleAssignment>) -> Result<Self, NotAssigned> {
        let mut all = Self::default();
        list.into_iter().try_for_each(|one| all.add(one))?;
        Ok(all)
    }

    /// Adds one.
    ///
    /// # Errors
    /// [`NotAssigned`].
    pub fn add(&mut self, one: RoleAssignment) -> Result<(), NotAssigned> {
        let role = role_bit(one.role_definition_id).ok_or(NotAssigned::UnknownRole(one.role_definition_id))?;
        if self.all.contains_key(&one.id) {
            return Err(NotAssigned::IdTaken(one.id));
        }
        if self.all.len() >= ROLE_ASSIGNMENTS_MAX {
            return Err(NotAssigned::TooMany);
        }
        let given = self.given.entry(one.scope.hash()).or_default();
        let at = given.iter().position(|other| other.scope == one.scope).unwrap_or_else(|| {
            given.push(Given { scope: one.scope.clone(), to: HashMap::new() });
            given.len() - 1
        });
        let Some(given) = given.get_mut(at) else { return Ok(()) };
        let roles = given.to.entry((one.tenant_id, one.principal_id)).or_default();
        if *roles & role != 0 {
            let is_same = |other: &&RoleAssignment| RoleAssignment { id: one.id, ..(*other).clone() } == one;
            return Err(NotAssigned::Exists(self.all.values().find(is_same).map_or(one.id, |other| other.id)));
        }
        *roles |= role;
        self.all.insert(one.id, one);
        Ok(())
    }

    /// Removes one, and gives it.
    pub fn remove(&mut self, id: Guid) -> Option<RoleAssignment> {
        let one = self.all.remove(&id)?;
        let role = role_bit(one.role_definition_id)?;
        let hash = one.scope.hash();
        let given = self.given.get_mut(&hash)?;
        for place in given.iter_mut().filter(|place| place.scope == one.scope) {
            if let Some(roles) = place.to.get_mut(&(one.tenant_id, one.principal_id)) {
                *roles &= !role;
            }
            place.to.retain(|_, roles| *roles != 0);
        }
        given.retain(|place| !place.to.is_empty());
        if given.is_empty() {
            self.given.remove(&hash);
        }
        Some(one)
    }

    /// All of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = &RoleAssignment> {
        self.all.values()
    }

    /// Whether a principal may do something with the data in a resource
    /// (`may(p, "Microsoft.Devices/IotHubs/twins/read", "/subscriptions/../IotHubs/hub1")`).
    pub fn may(&self, principal: &Principal, data_action: &str, resource: &str) -> bool {
        self.roles(principal, resource).any(|role| role.allows_data_action(data_action))
    }

    /// Whether a principal may do something with a resource itself (Azure Resource Manager).
    pub fn may_manage(&self, principal: &Principal, action: &str, resource: &str) -> bool {
        self.roles(principal, resource).any(|role| role.allows_action(action))
    }

    /// The roles a principal has at a resource.
    pub fn roles(&self, principal: &Principal, resource: &str) -> impl Iterator<Item = &'static RoleDefinition> {
        let mut held: Roles = 0;
        for hash in scope::hashes_over(resource) {
            for place in self.given.get(&hash).into_iter().flatten().filter(|place| place.scope.covers(resource)) {
                let of = |id: &Guid| place.to.get(&(principal.tenant_id, *id)).copied().unwrap_or_default();
                held |= of(&principal.object_id);
                held |= principal.groups.iter().fold(0, |roles, id| roles | of(id));
            }
        }
        BUILT_IN_ROLES.iter().enumerate().filter(move |(at, _)| held & (1 << at) != 0).map(|(_, role)| role)
    }
}

fn role_bit(id: Guid) -> Option<Roles> {
    BUILT_IN_ROLES.iter().position(|role| role.id == id).map(|at| 1 << at)
}

#[cfg(test)]
pub(crate) mod tests {
    use gantry_identity::Timestamp;

    use super::*;
    use crate::token::PrincipalKind;

    pub(crate) const HUB: &str = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Devices/IotHubs/hub1";
    const READ: &str = "Microsoft.Devices/IotHubs/twins/read";

    pub(crate) fn guid(n: u32) -> Guid {
        Guid::from_u128(u128::from(n))
    }

    pub(crate) fn principal(n: u32, groups: &[u32]) -> Principal {
        Principal {
            tenant_id: guid(0),
            object_id: guid(n),
            kind: PrincipalKind::User,
            name: String::new(),
            app_id: None,
            groups: groups.iter().copied().map(guid).collect(),
            groups_elsewhere: false,
            roles: vec![],
            scopes: vec![],
            expires_at: Timestamp::from_millis(0),
        }
    }

    pub(crate) fn given(id: u32, to: u32, role: &str, scope: &str) -> RoleAssignment {
        let role_definition_id = RoleDefinition::named(role).unwrap().id;
        let scope = Scope::parse(scope).unwrap();
        RoleAssignment { id: guid(id), tenant_id: guid(0), principal_id: guid(to), role_definition_id, scope }
    }

    #[test]
    fn a_role_counts_for_its_principal_below_its_scope() {
        for scope in ["/", "/subscriptions/S", HUB] {
            let all = RoleAssignments::from_list([given(1, 7, "IoT Hub Data Reader", scope)]).unwrap();
            assert!(all.may(&principal(7, &[]), READ, HUB), "{scope}");
            assert!(all.may(&principal(8, &[6, 7]), &READ.to_uppercase(), &HUB.to_uppercase()), "by a group");
            assert!(!all.may(&principal(8, &[]), READ, HUB), "another principal");
            assert!(!all.may(&principal(7, &[]), "Microsoft.Devices/IotHubs/twins/write", HUB));
        }
        let all = RoleAssignments::from_list([given(1, 7, "IoT Hub Data Reader", HUB)]).unwrap();
        for other in ["", "/", "/subscriptions/s", &format!("{HUB}0"), &HUB[..HUB.len() - 1]] {
            assert!(!all.may(&principal(7, &[]), READ, other), "{other}");
        }
        assert!(!RoleAssignments::default().may(&principal(7, &[]), READ, HUB), "nothing is allowed by itself");
    }

    #[test]
    fn an_id_of_another_directory_is_somebody_else() {
        let all = RoleAssignments::from_list([given(1, 7, "IoT Hub Data Reader", HUB)]).unwrap();
        let elsewhere = |groups| Principal { tenant_id: guid(1), ..principal(7, groups) };
        assert!(!all.may(&elsewhere(&[]), READ, HUB) && !all.may(&elsewhere(&[7]), READ, HUB));
        assert!(!all.may_manage(&elsewhere(&[7]), READ, HUB));
    }

    #[test]
    fn the_roles_of_arm_open_no_data() {
        let all = RoleAssignments::from_list([given(1, 7, "Owner", "/")]).unwrap();
        assert!(!all.may(&principal(7, &[]), READ, HUB));
        assert!(all.may_manage(&principal(7, &[]), "Microsoft.Devices/IotHubs/delete", HUB));
        let all = RoleAssignments::from_list([given(1, 7, "IoT Hub Data Contributor", "/")]).unwrap();
        assert!(!all.may_manage(&principal(7, &[]), "Microsoft.Devices/IotHubs/delete", HUB));
    }

    #[test]
    fn what_is_removed_counts_no_more() {
        let reader = given(1, 7, "IoT Hub Data Reader", HUB);
        let twins = given(2, 7, "IoT Hub Twin Contributor", HUB);
        let mut all = RoleAssignments::from_list([reader.clone(), twins]).unwrap();
        assert_eq!(all.remove(guid(1)), Some(reader));
        assert_eq!(all.remove(guid(1)), None);
        assert!(all.may(&principal(7, &[]), READ, HUB), "the other stays");
        all.remove(guid(2));
        assert!(!all.may(&principal(7, &[]), READ, HUB) && all.given.is_empty());
    }

    #[test]
    fn assignments_are_refused_by_name() {
        let one = given(1, 7, "Reader", HUB);
        let mut all = RoleAssignments::from_list([one.clone()]).unwrap();
        assert_eq!(all.add(one.clone()), Err(NotAssigned::IdTaken(guid(1))));
        let again = RoleAssignment { id: guid(2), scope: Scope::parse(&HUB.to_uppercase()).unwrap(), ..one.clone() };
        assert_eq!(all.add(again), Err(NotAssigned::Exists(guid(1))));
        let unknown = RoleAssignment { id: guid(2), role_definition_id: guid(9), ..one };
        assert_eq!(all.add(unknown), Err(NotAssigned::UnknownRole(guid(9))));
        for n in 0..u32::try_from(ROLE_ASSIGNMENTS_MAX).unwrap() - 1 {
            all.add(given(10 + n, n, "Owner", "/")).unwrap();
        }
        assert_eq!(all.add(given(2, 9999, "Owner", "/")), Err(NotAssigned::TooMany));
    }

    #[test]
    fn an_assignment_is_read_as_it_was_written() {
        let json = serde_json::to_value(given(1, 7, "Reader", HUB)).unwrap();
        assert_eq!(json["roleDefinitionId"], "acdd72a7-3385-48ef-bd42-f606fba81ae7");
        assert_eq!(serde_json::from_value::<RoleAssignment>(json.clone()).unwrap(), given(1, 7, "Reader", HUB));
        for (name, value) in [("scope", "x"), ("principalId", "x"), ("condition", "x")] {
            let mut json = json.clone();
            json[name] = value.into();
            assert!(serde_json::from_value::<RoleAssignment>(json).is_err(), "{name}");
        }
    }

    proptest::proptest! {
        /// Against the plain reading: look at every assignment.
        #[test]
        fn decisions_are_those_of_a_naive_model(
            list in proptest::collection::vec((0..4_u32, 0..BUILT_IN_ROLES.len(), "(/[aAb]){0,3}"), 0..12),
            who in 0..4_u32,
            group in 0..4_u32,
            resource in "(/[ab]){0,4}",
        ) {
            let mut all = RoleAssignments::default();
            for (n, (to, role, scope)) in list.iter().enumerate() {
                let scope = if scope.is_empty() { "/" } else { scope };
                let _ = all.add(given(u32::try_from(n).unwrap(), *to, BUILT_IN_ROLES[*role].name, scope));
            }
            let principal = principal(who, &[group]);
            let naive = all.iter().any(|one| {
                let is_theirs = [guid(who), guid(group)].contains(&one.principal_id);
                let role = RoleDefinition::find(one.role_definition_id).unwrap();
                is_theirs && one.scope.covers(&resource) && role.allows_data_action(READ)
            });
            proptest::prop_assert_eq!(all.may(&principal, READ, &resource), naive);
        }
    }
}
