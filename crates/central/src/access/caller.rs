//! Who calls, and whether they may: permissions in organizations to yes or no.
//!
//! A role at the root holds everywhere, a role in an organization holds there and below. Nothing is remembered here, so
//! whoever loses a role has lost it with the next call.

use super::permissions::{Level, Permission, PermissionSet};
use super::roles::{self, CustomRoles};
use super::users::RoleAssignment;
use crate::ids::OrganizationId;
use crate::organizations::{Ancestry, Organizations};

/// What somebody may do, and where.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Caller {
    grants: Vec<(Option<OrganizationId>, PermissionSet)>,
}

/// What is to be done something with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place<'a> {
    /// What is of the application as a whole: templates, roles, settings.
    Application,
    /// What is in an organization, or at the root without one: devices, groups, users, dashboards.
    In(Option<&'a OrganizationId>),
}

/// Why somebody may not.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// They see it and may not do this.
    #[error("permission `{}` is missing", .0.word())]
    Permission(Permission),
    /// They do not know of the organization; to them it is not there.
    #[error("it is in an organization the caller does not see")]
    Unseen,
}

impl Caller {
    /// Somebody with roles. One that is gone gives nothing, as does a role of the wrong kind for its place.
    #[must_use]
    pub fn of(assignments: &[RoleAssignment], custom: &CustomRoles) -> Self {
        let grant = |one: &RoleAssignment| {
            let (kind, set) = roles::find(custom, &one.role)?;
            one.fits(kind).then(|| (one.organization.clone(), set))
        };
        Self { grants: assignments.iter().filter_map(grant).collect() }
    }

    /// Decides.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn may(&self, all: &Organizations, one: Permission, place: Place<'_>) -> Result<(), Denied> {
        let has = |is_there: &dyn Fn(Option<&OrganizationId>) -> bool| {
            self.grants.iter().any(|(at, set)| {
                let holds = match one.level() {
                    Level::Application => at.is_none(),
                    Level::Shared => true,
                    Level::Organization => is_there(at.as_ref()),
                };
                holds && set.contains(one)
            })
        };
        let is_allowed = match place {
            Place::Application => has(&|at| at.is_none()),
            Place::In(of) => {
                let ancestry = Ancestry::of(all, of);
                if !self.grants.iter().any(|(at, _)| ancestry.is_seen(at.as_ref())) {
                    return Err(Denied::Unseen);
                }
                has(&|at| ancestry.is_seen(at))
            }
        };
        if is_allowed { Ok(()) } else { Err(Denied::Permission(one)) }
    }

    /// Whether they may do it anywhere.
    #[must_use]
    pub fn has(&self, one: Permission) -> bool {
        self.grants.iter().any(|(_, set)| set.contains(one))
    }

    /// Whether they know of what is in an organization.
    #[must_use]
    pub fn sees(&self, all: &Organizations, of: Option<&OrganizationId>) -> bool {
        let ancestry = Ancestry::of(all, of);
        self.grants.iter().any(|(at, _)| ancestry.is_seen(at.as_ref()))
    }

    /// All they may do in an organization.
    #[must_use]
    pub fn permissions_in(&self, all: &Organizations, of: Option<&OrganizationId>) -> PermissionSet {
        let ancestry = Ancestry::of(all, of);
        let there = self.grants.iter().filter(|(at, _)| ancestry.is_seen(at.as_ref()));
        there.fold(PermissionSet::NONE, |sum, (_, set)| sum | *set)
    }

    /// Whether they may give a role away: nobody gives more than they have.
    #[must_use]
    pub fn may_give(&self, all: &Organizations, custom: &CustomRoles, assignment: &RoleAssignment) -> bool {
        roles::find(custom, &assignment.role).is_some_and(|(_, set)| {
            let has = self.permissions_in(all, assignment.organization.as_ref());
            has.covers(set)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::roles::tests::role_id;
    use crate::access::roles::{ADMINISTRATOR, BUILDER, ORG_ADMINISTRATOR, ORG_OPERATOR, ORG_VIEWER};
    use crate::organizations::tests::{id, tree};

    fn all() -> Organizations {
        tree(&[("us", None), ("us-west", Some("us")), ("us-east", Some("us")), ("eu", None)])
    }

    fn assignment(role: &str, organization: Option<&str>) -> RoleAssignment {
        RoleAssignment { role: role_id(role), organization: organization.map(id) }
    }

    fn caller(roles: &[(&str, Option<&str>)]) -> Caller {
        let roles: Vec<_> = roles.iter().map(|(role, organization)| assignment(role, *organization)).collect();
        Caller::of(&roles, &CustomRoles::new())
    }

    #[track_caller]
    fn check(roles: &[(&str, Option<&str>)], one: Permission, of: Option<&str>, expected: Result<(), Denied>) {
        let of_id = of.map(id);
        assert_eq!(caller(roles).may(&all(), one, Place::In(of_id.as_ref())), expected, "{roles:?} {one:?} {of:?}");
    }

    #[test]
    fn a_role_holds_where_it_is_given_and_below() {
        let denied = Err(Denied::Permission(Permission::DevicesDelete));
        let one = Permission::DevicesDelete;
        check(&[(ADMINISTRATOR, None)], one, Some("us-west"), Ok(()));
        check(&[(ORG_OPERATOR, Some("us"))], one, Some("us"), Ok(()));
        check(&[(ORG_OPERATOR, Some("us"))], one, Some("us-west"), Ok(()));
        check(&[(ORG_OPERATOR, Some("us-west"))], one, Some("us-east"), Err(Denied::Unseen));
        check(&[(ORG_OPERATOR, Some("us-west"))], one, Some("us"), Err(Denied::Unseen));
        check(&[(ORG_OPERATOR, Some("us-west"))], one, None, Err(Denied::Unseen));
        check(&[(ORG_VIEWER, Some("us"))], one, Some("us-west"), denied);
        check(&[], one, None, Err(Denied::Unseen));
    }

    #[test]
    fn roles_in_several_organizations_do_not_mix() {
        let roles = [(ORG_VIEWER, Some("us")), (ORG_OPERATOR, Some("us-west"))];
        check(&roles, Permission::DevicesUpdate, Some("us-west"), Ok(()));
        let denied = Err(Denied::Permission(Permission::DevicesUpdate));
        check(&roles, Permission::DevicesUpdate, Some("us-east"), denied);
        check(&roles, Permission::DevicesView, Some("us-east"), Ok(()));
    }

    #[test]
    fn the_application_as_a_whole_is_the_roots() {
        let may = |roles: &[(&str, Option<&str>)], one| caller(roles).may(&all(), one, Place::Application).is_ok();
        assert!(may(&[(BUILDER, None)], Permission::TemplatesManage));
        assert!(!may(&[(ORG_ADMINISTRATOR, Some("us"))], Permission::TemplatesManage));
        assert!(may(&[(ORG_VIEWER, Some("us"))], Permission::TemplatesView));
        assert!(!may(&[(ORG_ADMINISTRATOR, Some("us"))], Permission::DevicesCreate));
        assert!(!may(&[], Permission::TemplatesView));
    }

    #[test]
    fn a_role_of_the_wrong_kind_or_one_that_is_gone_gives_nothing() {
        check(&[(ADMINISTRATOR, Some("us"))], Permission::DevicesView, Some("us"), Err(Denied::Unseen));
        check(&[(ORG_ADMINISTRATOR, None)], Permission::DevicesView, None, Err(Denied::Unseen));
        check(&[("gone", None)], Permission::DevicesView, None, Err(Denied::Unseen));
    }

    #[test]
    fn nobody_gives_more_than_they_have() {
        let give = |by: &[(&str, Option<&str>)], role: &str, organization: Option<&str>| {
            caller(by).may_give(&all(), &CustomRoles::new(), &assignment(role, organization))
        };
        assert!(give(&[(ADMINISTRATOR, None)], ADMINISTRATOR, None));
        assert!(give(&[(ORG_ADMINISTRATOR, Some("us"))], ORG_ADMINISTRATOR, Some("us-west")));
        assert!(give(&[(ORG_ADMINISTRATOR, Some("us"))], ORG_VIEWER, Some("us")));
        assert!(!give(&[(ORG_ADMINISTRATOR, Some("us-west"))], ORG_VIEWER, Some("us")));
        assert!(!give(&[(ORG_ADMINISTRATOR, Some("us"))], ADMINISTRATOR, None));
        assert!(!give(&[(BUILDER, None)], ADMINISTRATOR, None));
        assert!(!give(&[(ADMINISTRATOR, None)], "gone", None));
    }
}
