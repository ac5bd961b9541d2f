//! Roles: named sets of permissions, the six published ones and those that an application makes.
//!
//! The published ones have the ids that clients know by heart. What they may do follows "Manage users and roles": it says
//! it in sentences, not in tables, so where a sentence leaves room the smaller set is taken. A role is one of the
//! application or one of organizations for ever; the latter has no permission over the application as a whole.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

use super::permissions::{Level, Permission, PermissionSet};
use crate::ids::{DisplayName, IdError, RoleId};
use crate::kept::Kept;

/// Custom roles an application has (IoT Central quotas and limits).
pub const CUSTOM_ROLES_MAX: usize = 50;

/// Where a role is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RoleKind {
    /// At the root: "App" roles.
    Application,
    /// In an organization: "Org" roles.
    Organization,
}

/// A role that an application made.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CustomRole {
    /// What it is called.
    pub display_name: DisplayName,
    /// Where it is given.
    pub kind: RoleKind,
    /// What it allows.
    pub permissions: PermissionSet,
}

/// Custom roles by id.
pub type CustomRoles = BTreeMap<RoleId, Arc<Kept<CustomRole>>>;

/// A published role.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct BuiltIn {
    /// Its id.
    pub id: &'static str,
    /// What it is called.
    pub display_name: &'static str,
    /// Where it is given.
    pub kind: RoleKind,
    /// What it allows.
    pub permissions: PermissionSet,
}

/// Id of the role that may do everything; somebody always has it.
pub const ADMINISTRATOR: &str = "ca310b8d-2f4a-44e0-a36e-957c202cd8d4";
/// Id of the role that builds the application.
pub const BUILDER: &str = "344138e9-8de4-4497-8c54-5237e96d6aaf";
/// Id of the role that runs it.
pub const OPERATOR: &str = "ae2c9854-393b-4f97-8c42-479d70ce626e";
/// Id of the role that may do everything in an organization.
pub const ORG_ADMINISTRATOR: &str = "c495eb57-eb18-489e-9802-62c474e5645c";
/// Id of the role that runs the devices of an organization.
pub const ORG_OPERATOR: &str = "b4935647-30e4-4ed3-9074-dcac66c2f8ef";
/// Id of the role that looks at an organization.
pub const ORG_VIEWER: &str = "84cc62c1-dabe-49d3-b16e-8b291232b285";

static BUILT_IN: LazyLock<[BuiltIn; 6]> = LazyLock::new(|| {
    let role = |id, display_name, kind, permissions| BuiltIn { id, display_name, kind, permissions };
    let (application, organization) = (RoleKind::Application, RoleKind::Organization);
    [
        role(ADMINISTRATOR, "Administrator", application, PermissionSet::all()),
        role(BUILDER, "Builder", application, builder()),
        role(OPERATOR, "Operator", application, operator() | PermissionSet::of(&[Permission::RulesView])),
        role(ORG_ADMINISTRATOR, "Org Administrator", organization, of_organizations()),
        role(ORG_OPERATOR, "Org Operator", organization, operator()),
        role(ORG_VIEWER, "Org Viewer", organization, viewer()),
    ]
});

/// Every part of the application, but for changes of its administration and of exports.
fn builder() -> PermissionSet {
    use Permission as P;
    PermissionSet::of_areas(&[
        "deviceTemplates",
        "devices",
        "deviceGroups",
        "connectivity",
        "deploymentManifests",
        "jobs",
        "rules",
        "dashboards",
        "personalDashboards",
        "branding",
        "helpLinks",
    ]) | PermissionSet::of(&[P::SettingsView, P::UploadView, P::UsersView, P::OrganizationsView, P::ExportsView])
}

/// Adds and deletes devices and groups, runs commands and jobs; changes no template and administers nothing.
fn operator() -> PermissionSet {
    PermissionSet::of_areas(&["devices", "deviceGroups", "jobs", "dashboards", "personalDashboards"])
        | PermissionSet::of(&[
            Permission::ConnectivityManage,
            Permission::ManifestsManage,
            Permission::OrganizationsView,
        ])
}

/// Everything that is of organizations.
fn of_organizations() -> PermissionSet {
    let all = Permission::ALL.iter().copied().filter(|one| one.level() != Level::Application);
    PermissionSet::of(&all.collect::<Vec<_>>())
}

/// Looks at devices and their data, groups, templates and dashboards.
fn viewer() -> PermissionSet {
    use Permission as P;
    PermissionSet::of(&[P::DevicesView, P::GroupsView, P::DashboardsView, P::OrganizationsView])
}

/// The published roles.
#[must_use]
pub fn built_in() -> &'static [BuiltIn] {
    &*BUILT_IN
}

/// Where a role is given and what it allows.
#[must_use]
pub fn find(custom: &CustomRoles, id: &RoleId) -> Option<(RoleKind, PermissionSet)> {
    let published = BUILT_IN.iter().find(|role| role.id == id.as_str());
    published
        .map(|role| (role.kind, role.permissions))
        .or_else(|| custom.get(id).map(|kept| (kept.value.kind, kept.value.permissions)))
}

/// Why a custom role was not written.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum RoleError {
    /// There is none with this id.
    #[error("there is no role `{0}`")]
    Unknown(RoleId),
    /// The name is none.
    #[error(transparent)]
    Name(#[from] IdError),
    /// The published roles stay as they are.
    #[error("role `{0}` is published and cannot be changed")]
    BuiltIn(RoleId),
    /// There are as many as there may be.
    #[error("there are {CUSTOM_ROLES_MAX} custom roles, which is the most")]
    TooMany,
    /// A role of organizations would allow something over the application.
    #[error("a role of organizations cannot allow `{}`", .0.word())]
    Level(Permission),
    /// It would move between the root and organizations.
    #[error("role `{0}` stays one of the application, or of organizations")]
    Kind(RoleId),
    /// It would allow more than the one who writes it may do.
    #[error("the role allows more than the caller may do")]
    TooMuch,
    /// Somebody has it.
    #[error("role `{0}` is given to somebody")]
    InUse(RoleId),
}

/// Checks that a custom role may be written under an id.
///
/// # Errors
/// [`RoleError`].
pub fn check_put(all: &CustomRoles, id: &RoleId, new: &CustomRole) -> Result<(), RoleError> {
    check_custom(id)?;
    match all.get(id) {
        None if all.len() >= CUSTOM_ROLES_MAX => return Err(RoleError::TooMany),
        Some(kept) if kept.value.kind != new.kind => return Err(RoleError::Kind(id.clone())),
        _ => {}
    }
    let too_high = new.permissions.iter().find(|one| one.level() == Level::Application);
    match too_high {
        Some(permission) if new.kind == RoleKind::Organization => Err(RoleError::Level(permission)),
        _ => Ok(()),
    }
}

/// Checks that a role is not one of the published.
///
/// # Errors
/// [`RoleError::BuiltIn`].
pub fn check_custom(id: &RoleId) -> Result<(), RoleError> {
    if BUILT_IN.iter().any(|role| role.id == id.as_str()) {
        return Err(RoleError::BuiltIn(id.clone()));
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::kept::tests::kept;

    pub(crate) fn role_id(text: &str) -> RoleId {
        RoleId::parse(text).unwrap()
    }

    pub(crate) fn custom(kind: RoleKind, permissions: &[Permission]) -> CustomRole {
        let display_name = DisplayName::parse("Custom").unwrap();
        CustomRole { display_name, kind, permissions: PermissionSet::of(permissions) }
    }

    #[track_caller]
    fn check(role: &str, allowed: &[Permission], denied: &[Permission]) {
        let (_, set) = find(&CustomRoles::new(), &role_id(role)).unwrap();
        allowed.iter().for_each(|one| assert!(set.contains(*one), "{role} may {one:?}"));
        denied.iter().for_each(|one| assert!(!set.contains(*one), "{role} may not {one:?}"));
    }

    #[test]
    fn the_published_roles_do_what_the_reference_says() {
        use Permission as P;
        check(ADMINISTRATOR, P::ALL, &[]);
        check(
            BUILDER,
            &[P::TemplatesManage, P::RulesCreate, P::DashboardsDelete, P::ExportsView],
            &[P::ExportsUpdate, P::UsersAdd, P::RolesUpdate, P::TokensView, P::BillingManage, P::SettingsUpdate],
        );
        check(
            OPERATOR,
            &[P::DevicesCreate, P::DevicesDelete, P::GroupsCreate, P::JobsExecute, P::TemplatesView],
            &[P::TemplatesManage, P::SettingsView, P::UsersView, P::RulesUpdate, P::ExportsView],
        );
        check(
            ORG_ADMINISTRATOR,
            &[P::UsersAdd, P::OrganizationsCreate, P::DevicesDelete],
            &[P::BillingManage, P::BrandingUpdate, P::TokensView, P::ConnectivityReadGlobal, P::TemplatesManage],
        );
        check(
            ORG_OPERATOR,
            &[P::DevicesCreate, P::DevicesExecute, P::DashboardsCreate, P::GroupsCreate],
            &[P::UsersAdd, P::OrganizationsCreate, P::RulesView],
        );
        check(
            ORG_VIEWER,
            &[P::DevicesView, P::DashboardsView, P::GroupsView, P::TemplatesView],
            &[P::DevicesUpdate, P::DevicesExecute, P::DashboardsUpdate],
        );
    }

    #[test]
    fn roles_of_organizations_have_nothing_over_the_application() {
        let of_organizations = built_in().iter().filter(|role| role.kind == RoleKind::Organization);
        for role in of_organizations {
            assert!(role.permissions.iter().all(|one| one.level() != Level::Application), "{}", role.display_name);
        }
        let wrong = custom(RoleKind::Organization, &[Permission::BillingManage]);
        let told = check_put(&CustomRoles::new(), &role_id("r1"), &wrong);
        assert_eq!(told, Err(RoleError::Level(Permission::BillingManage)));
    }

    #[test]
    fn a_custom_role_keeps_its_kind_and_there_are_fifty() {
        let role = || custom(RoleKind::Application, &[Permission::RulesView]);
        let mut all: CustomRoles = (1..CUSTOM_ROLES_MAX).map(|n| (role_id(&format!("r{n}")), kept(role()))).collect();
        assert_eq!(check_put(&all, &role_id("new"), &role()), Ok(()));
        all.insert(role_id("r0"), kept(role()));
        assert_eq!(check_put(&all, &role_id("new"), &role()), Err(RoleError::TooMany));
        assert_eq!(check_put(&all, &role_id("r0"), &role()), Ok(()));
        let other = custom(RoleKind::Organization, &[]);
        assert_eq!(check_put(&all, &role_id("r0"), &other), Err(RoleError::Kind(role_id("r0"))));
        let published = role_id(ADMINISTRATOR);
        assert_eq!(check_put(&all, &published, &role()), Err(RoleError::BuiltIn(published)));
    }
}
