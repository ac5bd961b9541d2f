//! Users: people, service principals and groups of a directory, with their roles.
//!
//! A role of the application is given at the root, one of organizations in an organization. An application always has
//! an administrator; nobody gives a role that allows more than they may do themselves, and nobody takes one where they
//! delete no users, be it by deleting the user or by writing it without the role.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::caller::{Caller, Place};
use super::permissions::Permission;
use super::roles::{self, ADMINISTRATOR, CustomRoles, RoleKind};
use super::tokens::Tokens;
use crate::ids::{OrganizationId, RoleId, UserId};
use crate::kept::Kept;
use crate::organizations::Organizations;

/// Roles given in an application, to users and tokens together (IoT Central quotas and limits).
pub const ROLE_ASSIGNMENTS_MAX: usize = 200;
/// Groups of a directory that are users ("Manage users and roles").
pub const GROUPS_MAX: usize = 20;
/// Characters of an address (RFC 5321).
const EMAIL_LEN_MAX: usize = 254;

/// A role, and where it is given.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleAssignment {
    /// Which.
    pub role: RoleId,
    /// In which organization; at the root without one.
    #[serde(default)]
    pub organization: Option<OrganizationId>,
}

impl RoleAssignment {
    /// Whether a role of a kind is given where this says.
    #[must_use]
    pub fn fits(&self, kind: RoleKind) -> bool {
        match kind {
            RoleKind::Application => self.organization.is_none(),
            RoleKind::Organization => self.organization.is_some(),
        }
    }
}

/// Who a user is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Identity {
    /// A person.
    Email {
        /// Their address, compared without case.
        email: String,
    },
    /// A program.
    ServicePrincipal {
        /// Its directory.
        tenant_id: String,
        /// Its id there.
        object_id: String,
    },
    /// Everybody in a group.
    AdGroup {
        /// Its directory.
        tenant_id: String,
        /// Its id there.
        object_id: String,
    },
}

impl Identity {
    /// Whether both are the same person, program or group.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Email { email }, Self::Email { email: other }) => email.eq_ignore_ascii_case(other),
            (
                Self::ServicePrincipal { tenant_id, object_id },
                Self::ServicePrincipal { tenant_id: tenant, object_id: object },
            )
            | (Self::AdGroup { tenant_id, object_id }, Self::AdGroup { tenant_id: tenant, object_id: object }) => {
                tenant_id.eq_ignore_ascii_case(tenant) && object_id.eq_ignore_ascii_case(object)
            }
            _ => false,
        }
    }

    fn check(&self) -> Result<(), UserError> {
        match self {
            Self::Email { email } => {
                let parts = email.split_once('@');
                let is_address = parts.is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
                let is_plain = !email.contains(|c: char| c.is_whitespace() || c.is_control());
                let is_good = is_address && is_plain && email.len() <= EMAIL_LEN_MAX;
                if is_good { Ok(()) } else { Err(UserError::Invalid { field: "email", what: "an address" }) }
            }
            Self::ServicePrincipal { tenant_id, object_id } | Self::AdGroup { tenant_id, object_id } => {
                check_guid("tenantId", tenant_id).and_then(|()| check_guid("objectId", object_id))
            }
        }
    }
}

fn check_guid(field: &'static str, text: &str) -> Result<(), UserError> {
    let lengths = [8, 4, 4, 4, 12];
    let parts: Vec<&str> = text.split('-').collect();
    let is_part = |(part, length): (&&str, usize)| part.len() == length && part.bytes().all(|b| b.is_ascii_hexdigit());
    if parts.len() == lengths.len() && parts.iter().zip(lengths).all(is_part) {
        return Ok(());
    }
    Err(UserError::Invalid { field, what: "a GUID" })
}

/// A user.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// Who it is.
    pub identity: Identity,
    /// What they may do.
    pub roles: Vec<RoleAssignment>,
}

impl User {
    /// Whether they may do everything.
    #[must_use]
    pub fn is_administrator(&self) -> bool {
        self.roles.iter().any(|one| one.role.as_str() == ADMINISTRATOR && one.organization.is_none())
    }
}

/// Users by id.
pub type Users = BTreeMap<UserId, Arc<Kept<User>>>;

/// Why a user, or the roles of a token, were not written.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum UserError {
    /// There is none with this id.
    #[error("there is no user `{0}`")]
    Unknown(UserId),
    /// A member is not what it must be.
    #[error("`{field}` is not {what}")]
    Invalid {
        /// Which.
        field: &'static str,
        /// What it must be.
        what: &'static str,
    },
    /// No role.
    #[error("`roles` has one role at least")]
    NoRole,
    /// The same twice.
    #[error("role `{0}` is given twice in one place")]
    Repeated(RoleId),
    /// There is no such role.
    #[error("there is no role `{0}`")]
    UnknownRole(RoleId),
    /// There is no such organization.
    #[error("there is no organization `{0}`")]
    UnknownOrganization(OrganizationId),
    /// A role of the application in an organization, or the other way round.
    #[error("role `{0}` is not given there: roles of the application at the root, others in an organization")]
    Kind(RoleId),
    /// The caller may not do all that the role allows.
    #[error("role `{0}` allows more than the caller may do")]
    TooMuch(RoleId),
    /// The caller deletes no users where the role is given.
    #[error("role `{0}` is given where the caller may delete no users")]
    NotThere(RoleId),
    /// As many roles are given as may be.
    #[error("{ROLE_ASSIGNMENTS_MAX} roles are given, which is the most")]
    TooMany,
    /// As many groups are users as may be.
    #[error("{GROUPS_MAX} groups are users, which is the most")]
    TooManyGroups,
    /// They are a user already.
    #[error("they are user `{0}` already")]
    Known(UserId),
    /// The first user would not administer the application.
    #[error("the first user of an application is its administrator")]
    NoAdministrator,
    /// Nobody could administer the application.
    #[error("user `{0}` is the last administrator")]
    LastAdministrator(UserId),
}

/// What decides about users and tokens.
#[derive(Clone, Copy)]
pub struct People<'a> {
    /// Organizations.
    pub organizations: &'a Organizations,
    /// Custom roles.
    pub roles: &'a CustomRoles,
    /// Users.
    pub users: &'a Users,
    /// Tokens.
    pub tokens: &'a Tokens,
}

impl People<'_> {
    /// Checks roles that somebody gives to somebody who had `before` of them.
    ///
    /// # Errors
    /// [`UserError`].
    pub fn check_roles(self, new: &[RoleAssignment], before: &[RoleAssignment], by: &Caller) -> Result<(), UserError> {
        if new.is_empty() {
            return Err(UserError::NoRole);
        }
        for (at, one) in new.iter().enumerate() {
            if new.iter().take(at).any(|other| other == one) {
                return Err(UserError::Repeated(one.role.clone()));
            }
            self.check_role(one)?;
            if !before.contains(one) && !by.may_give(self.organizations, self.roles, one) {
                return Err(UserError::TooMuch(one.role.clone()));
            }
        }
        self.check_taken(before.iter().filter(|one| !new.contains(one)), by)?;
        if self.assignments() - before.len().min(self.assignments()) + new.len() > ROLE_ASSIGNMENTS_MAX {
            return Err(UserError::TooMany);
        }
        Ok(())
    }

    /// Checks that somebody may take roles away.
    fn check_taken<'r>(
        self,
        mut roles: impl Iterator<Item = &'r RoleAssignment>,
        by: &Caller,
    ) -> Result<(), UserError> {
        let may = |one: &RoleAssignment| {
            let place = Place::In(one.organization.as_ref());
            by.may(self.organizations, Permission::UsersDelete, place).is_ok()
        };
        roles.find(|one| !may(one)).map_or(Ok(()), |one| Err(UserError::NotThere(one.role.clone())))
    }

    fn check_role(self, one: &RoleAssignment) -> Result<(), UserError> {
        let (kind, _) = roles::find(self.roles, &one.role).ok_or_else(|| UserError::UnknownRole(one.role.clone()))?;
        if !one.fits(kind) {
            return Err(UserError::Kind(one.role.clone()));
        }
        match &one.organization {
            Some(id) if !self.organizations.contains_key(id) => Err(UserError::UnknownOrganization(id.clone())),
            _ => Ok(()),
        }
    }

    /// How many roles are given.
    fn assignments(self) -> usize {
        let users = self.users.values().map(|kept| kept.value.roles.len());
        users.chain(self.tokens.values().map(|kept| kept.value.roles.len())).sum()
    }

    /// Checks that a user may be written under an id by somebody.
    ///
    /// # Errors
    /// [`UserError`].
    pub fn check_put(self, id: &UserId, new: &User, by: &Caller) -> Result<(), UserError> {
        new.identity.check()?;
        let before = self.users.get(id).map(|kept| &kept.value);
        self.check_roles(&new.roles, before.map_or(&[], |user| &user.roles), by)?;
        let mut others = self.users.iter().filter(|(other, _)| *other != id);
        if let Some((other, _)) = others.clone().find(|(_, kept)| kept.value.identity.is_same(&new.identity)) {
            return Err(UserError::Known(other.clone()));
        }
        let is_group = |identity: &Identity| matches!(identity, Identity::AdGroup { .. });
        if is_group(&new.identity)
            && others.by_ref().filter(|(_, kept)| is_group(&kept.value.identity)).count() >= GROUPS_MAX
        {
            return Err(UserError::TooManyGroups);
        }
        if new.is_administrator() { Ok(()) } else { self.check_administrators(id) }
    }

    /// Checks that a user may be deleted by somebody.
    ///
    /// # Errors
    /// [`UserError::Unknown`], [`UserError::NotThere`] and [`UserError::LastAdministrator`].
    pub fn check_delete(self, id: &UserId, by: &Caller) -> Result<(), UserError> {
        let user = self.users.get(id).ok_or_else(|| UserError::Unknown(id.clone()))?;
        self.check_taken(user.value.roles.iter(), by)?;
        self.check_administrators(id)
    }

    /// Checks that somebody administers the application without a user.
    fn check_administrators(self, without: &UserId) -> Result<(), UserError> {
        let is_one = |(_, kept): &(&UserId, &Arc<Kept<User>>)| kept.value.is_administrator();
        let (mut of_it, mut others) = (false, false);
        for (id, _) in self.users.iter().filter(is_one) {
            *(if id == without { &mut of_it } else { &mut others }) = true;
        }
        if of_it && !others { Err(UserError::LastAdministrator(without.clone())) } else { Ok(()) }
    }

    /// Whether somebody has a role.
    #[must_use]
    pub fn have_role(self, id: &RoleId) -> bool {
        self.given().any(|one| one.role == *id)
    }

    /// Whether somebody has a role in an organization.
    #[must_use]
    pub fn are_in(self, id: &OrganizationId) -> bool {
        self.given().any(|one| one.organization.as_ref() == Some(id))
    }

    fn given(&self) -> impl Iterator<Item = &RoleAssignment> {
        let users = self.users.values().flat_map(|kept| &kept.value.roles);
        users.chain(self.tokens.values().flat_map(|kept| &kept.value.roles))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::roles::tests::role_id;
    use crate::access::roles::{BUILDER, ORG_ADMINISTRATOR, ORG_VIEWER};
    use crate::kept::tests::kept;
    use crate::organizations::tests::{id, tree};

    const GUID: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";

    fn given(role: &str, organization: Option<&str>) -> RoleAssignment {
        RoleAssignment { role: role_id(role), organization: organization.map(id) }
    }

    fn person(name: &str, roles: &[RoleAssignment]) -> User {
        User { identity: Identity::Email { email: format!("{name}@contoso.com") }, roles: roles.to_vec() }
    }

    fn user_id(text: &str) -> UserId {
        UserId::parse(text).unwrap()
    }

    #[track_caller]
    fn check(users: &Users, name: &str, new: &User, by: &[RoleAssignment], expected: Result<(), UserError>) {
        let organizations = tree(&[("us", None), ("eu", None)]);
        let (roles, tokens) = (CustomRoles::new(), Tokens::new());
        let people = People { organizations: &organizations, roles: &roles, users, tokens: &tokens };
        assert_eq!(people.check_put(&user_id(name), new, &Caller::of(by, &roles)), expected, "{new:?}");
    }

    fn administrator() -> Vec<RoleAssignment> {
        vec![given(ADMINISTRATOR, None)]
    }

    fn one_administrator() -> Users {
        Users::from([(user_id("root"), kept(person("root", &administrator())))])
    }

    #[test]
    fn roles_are_given_where_they_belong() {
        let users = one_administrator();
        let put = |roles: &[RoleAssignment], expected| {
            check(&users, "new", &person("new", roles), &administrator(), expected);
        };
        put(&[given(BUILDER, None)], Ok(()));
        put(&[given(ORG_VIEWER, Some("us")), given(ORG_VIEWER, Some("eu"))], Ok(()));
        put(&[], Err(UserError::NoRole));
        put(&[given(BUILDER, None), given(BUILDER, None)], Err(UserError::Repeated(role_id(BUILDER))));
        put(&[given("none", None)], Err(UserError::UnknownRole(role_id("none"))));
        put(&[given(ORG_VIEWER, Some("xx"))], Err(UserError::UnknownOrganization(id("xx"))));
        put(&[given(ORG_VIEWER, None)], Err(UserError::Kind(role_id(ORG_VIEWER))));
        put(&[given(BUILDER, Some("us"))], Err(UserError::Kind(role_id(BUILDER))));
    }

    #[test]
    fn nobody_gives_more_than_they_have_but_leaves_what_is_there() {
        let mut users = one_administrator();
        let by = [given(ORG_ADMINISTRATOR, Some("us"))];
        let too_much = |role: &str| Err(UserError::TooMuch(role_id(role)));
        check(&users, "new", &person("new", &[given(ORG_VIEWER, Some("us"))]), &by, Ok(()));
        check(&users, "new", &person("new", &[given(ORG_VIEWER, Some("eu"))]), &by, too_much(ORG_VIEWER));
        check(&users, "new", &person("new", &administrator()), &by, too_much(ADMINISTRATOR));
        let two = [given(ORG_VIEWER, Some("eu")), given(ORG_VIEWER, Some("us"))];
        users.insert(user_id("new"), kept(person("new", &two[..1])));
        check(&users, "new", &person("new", &two), &by, Ok(()));
    }

    #[test]
    fn who_a_user_is_must_be_said_well_and_once() {
        let users = one_administrator();
        let put = |identity: Identity, expected| {
            check(&users, "new", &User { identity, roles: vec![given(BUILDER, None)] }, &administrator(), expected);
        };
        let email = |email: &str| Identity::Email { email: email.to_owned() };
        put(email("a@b.c"), Ok(()));
        for wrong in ["", "a", "@b", "a@", "a b@c", &format!("{}@b", "a".repeat(253))] {
            put(email(wrong), Err(UserError::Invalid { field: "email", what: "an address" }));
        }
        put(email("ROOT@contoso.com"), Err(UserError::Known(user_id("root"))));
        let principal = |object_id: &str| Identity::ServicePrincipal {
            tenant_id: GUID.to_owned(),
            object_id: object_id.to_owned(),
        };
        put(principal(GUID), Ok(()));
        for wrong in ["", "x", "72f988bf-86f1-41af-91ab-2d7cd011db4", "72f988bf-86f1-41af-91ab-2d7cd011db4g"] {
            put(principal(wrong), Err(UserError::Invalid { field: "objectId", what: "a GUID" }));
        }
    }

    #[test]
    fn the_last_administrator_stays() {
        let mut users = one_administrator();
        let demoted = person("root", &[given(BUILDER, None)]);
        let last = Err(UserError::LastAdministrator(user_id("root")));
        check(&users, "root", &demoted, &administrator(), last.clone());
        let delete = |users: &Users, name: &str| {
            let (organizations, roles, tokens) = (tree(&[]), CustomRoles::new(), Tokens::new());
            let people = People { organizations: &organizations, roles: &roles, users, tokens: &tokens };
            people.check_delete(&user_id(name), &Caller::of(&administrator(), &roles))
        };
        assert_eq!(delete(&users, "root"), last);
        assert_eq!(delete(&users, "none"), Err(UserError::Unknown(user_id("none"))));
        users.insert(user_id("b"), kept(person("b", &[given(BUILDER, None)])));
        assert_eq!(delete(&users, "b"), Ok(()));
        users.insert(user_id("second"), kept(person("second", &administrator())));
        assert_eq!(delete(&users, "root"), Ok(()));
        check(&users, "root", &demoted, &administrator(), Ok(()));
    }

    #[test]
    fn roles_in_other_organizations_are_not_taken() {
        let mut users = one_administrator();
        let both = [given(ORG_VIEWER, Some("us")), given(ORG_VIEWER, Some("eu"))];
        users.insert(user_id("both"), kept(person("both", &both)));
        let by = [given(ORG_ADMINISTRATOR, Some("us"))];
        let elsewhere = Err(UserError::NotThere(role_id(ORG_VIEWER)));
        check(&users, "both", &person("both", &both[1..]), &by, Ok(()));
        check(&users, "both", &person("both", &both[..1]), &by, elsewhere.clone());
        let organizations = tree(&[("us", None), ("eu", None)]);
        let (roles, tokens) = (CustomRoles::new(), Tokens::new());
        let people = People { organizations: &organizations, roles: &roles, users: &users, tokens: &tokens };
        let delete = |by: &[RoleAssignment]| people.check_delete(&user_id("both"), &Caller::of(by, &roles));
        assert_eq!(delete(&by), elsewhere);
        assert_eq!(delete(&administrator()), Ok(()));
        assert_eq!(delete(&[by[0].clone(), given(ORG_ADMINISTRATOR, Some("eu"))]), Ok(()));
    }

    #[test]
    fn two_hundred_roles_and_twenty_groups_at_most() {
        let many = |count: usize| -> Users {
            let one = |n: usize| (user_id(&format!("u{n}")), kept(person(&format!("u{n}"), &administrator())));
            (0..count).map(one).collect()
        };
        let new = person("new", &administrator());
        check(&many(ROLE_ASSIGNMENTS_MAX - 1), "new", &new, &administrator(), Ok(()));
        check(&many(ROLE_ASSIGNMENTS_MAX), "new", &new, &administrator(), Err(UserError::TooMany));
        check(&many(ROLE_ASSIGNMENTS_MAX), "u0", &new, &administrator(), Ok(()));
        let group = |n: usize| User {
            identity: Identity::AdGroup { tenant_id: GUID.to_owned(), object_id: format!("{}{n:02}", &GUID[..34]) },
            roles: administrator(),
        };
        let groups =
            |count: usize| -> Users { (0..count).map(|n| (user_id(&format!("g{n}")), kept(group(n)))).collect() };
        check(&groups(GROUPS_MAX - 1), "new", &group(99), &administrator(), Ok(()));
        check(&groups(GROUPS_MAX), "new", &group(99), &administrator(), Err(UserError::TooManyGroups));
    }
}
