//! Permissions: what there is to be allowed in an application, and what each one brings with it.
//!
//! Names and dependencies are those of "Manage users and roles in your IoT Central application" (custom role options,
//! 2022 to 2024). "Full control" is no permission of its own but all of its table. Some concern the application as a
//! whole, some what is in organizations, and two, without which nobody in an organization sees what a device is or who
//! may do what, are the application's but given with a role of an organization too.

use std::fmt;
use std::ops::BitOr;

use serde::{Deserialize, Serialize};

/// What a permission is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// The application as a whole; roles of organizations do not have it.
    Application,
    /// What is in an organization.
    Organization,
    /// The application as a whole, for roles of organizations too.
    Shared,
}

macro_rules! permissions {
    ($($name:ident, $word:literal, $level:ident, [$($needs:ident),*], $doc:literal;)*) => {
        /// One thing to be allowed.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        #[repr(u8)]
        pub enum Permission {
            $(#[doc = $doc] $name,)*
        }

        impl Permission {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its word in stored roles: area and action.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// What it is about.
            #[must_use]
            pub fn level(self) -> Level {
                match self { $(Self::$name => Level::$level,)* }
            }

            fn needs(self) -> &'static [Self] {
                match self { $(Self::$name => &[$(Self::$needs),*],)* }
            }
        }
    };
}

permissions! {
    TemplatesView, "deviceTemplates.view", Shared, [], "See device templates.";
    TemplatesManage, "deviceTemplates.manage", Application, [TemplatesView, DevicesView], "Write and delete device templates.";
    DevicesView, "devices.view", Organization, [TemplatesView, GroupsView], "See devices, their properties and telemetry.";
    DevicesUpdate, "devices.update", Organization, [DevicesView], "Write devices and their properties.";
    DevicesCreate, "devices.create", Organization, [DevicesView], "Create devices.";
    DevicesDelete, "devices.delete", Organization, [DevicesView], "Delete devices.";
    DevicesExecute, "devices.executeCommands", Organization, [DevicesUpdate, DevicesView], "Call commands.";
    DevicesRaw, "devices.viewRawData", Organization, [DevicesView], "See raw data.";
    FilesView, "devices.viewFiles", Organization, [DevicesView], "See files that devices uploaded.";
    FilesDelete, "devices.deleteFiles", Organization, [DevicesView], "Delete files that devices uploaded.";
    GroupsView, "deviceGroups.view", Organization, [TemplatesView, DevicesView], "See device groups.";
    GroupsUpdate, "deviceGroups.update", Organization, [GroupsView], "Write device groups.";
    GroupsCreate, "deviceGroups.create", Organization, [GroupsView, GroupsUpdate], "Create device groups.";
    GroupsDelete, "deviceGroups.delete", Organization, [GroupsView], "Delete device groups.";
    ConnectivityRead, "connectivity.readInstance", Organization, [DevicesView], "See how a device proves itself.";
    ConnectivityManage, "connectivity.manageInstance", Organization, [ConnectivityRead], "Write how a device proves itself.";
    ConnectivityReadGlobal, "connectivity.readGlobal", Application, [], "See enrollment groups.";
    ConnectivityManageGlobal, "connectivity.manageGlobal", Application, [ConnectivityReadGlobal], "Write enrollment groups.";
    ManifestsRead, "deploymentManifests.readInstance", Organization, [DevicesView], "See the manifest of a device.";
    ManifestsManage, "deploymentManifests.manageInstance", Organization, [ManifestsRead], "Apply a manifest to a device.";
    ManifestsReadGlobal, "deploymentManifests.readGlobal", Application, [], "See deployment manifests.";
    ManifestsManageGlobal, "deploymentManifests.manageGlobal", Application, [ManifestsReadGlobal], "Write deployment manifests.";
    JobsView, "jobs.view", Organization, [TemplatesView, DevicesView, GroupsView], "See jobs.";
    JobsUpdate, "jobs.update", Organization, [JobsView], "Write jobs.";
    JobsCreate, "jobs.create", Organization, [JobsView, JobsUpdate], "Create jobs.";
    JobsDelete, "jobs.delete", Organization, [JobsView], "Delete jobs.";
    JobsExecute, "jobs.execute", Organization, [JobsView, DevicesUpdate, DevicesExecute], "Run, stop and continue jobs.";
    RulesView, "rules.view", Application, [TemplatesView], "See rules.";
    RulesUpdate, "rules.update", Application, [RulesView], "Write rules.";
    RulesCreate, "rules.create", Application, [RulesView, RulesUpdate], "Create rules.";
    RulesDelete, "rules.delete", Application, [RulesView], "Delete rules.";
    SettingsView, "application.view", Application, [], "See settings of the application.";
    SettingsUpdate, "application.update", Application, [SettingsView], "Write settings of the application.";
    SettingsCopy, "application.copy", Application, [
        SettingsView, TemplatesView, DevicesView, GroupsView, DashboardsView, ExportsView, BrandingView, HelpView, RolesView, RulesView
    ], "Copy the application.";
    SettingsDelete, "application.delete", Application, [SettingsView], "Delete the application.";
    TemplateExportView, "templateExport.view", Application, [], "See exports of the application as a template.";
    TemplateExportExport, "templateExport.export", Application, [
        TemplateExportView, TemplatesView, DevicesView, GroupsView, DashboardsView, ExportsView, BrandingView, HelpView, RolesView, RulesView
    ], "Export the application as a template.";
    UploadView, "fileUpload.view", Application, [], "See where devices upload files to.";
    UploadManage, "fileUpload.manage", Application, [UploadView], "Write where devices upload files to.";
    BillingManage, "billing.manage", Application, [], "Manage the bill.";
    AuditView, "auditLog.view", Application, [], "See the audit log, all of it.";
    RolesView, "roles.view", Shared, [], "See roles.";
    RolesUpdate, "roles.update", Application, [RolesView], "Write custom roles.";
    RolesCreate, "roles.create", Application, [RolesView, RolesUpdate], "Create custom roles.";
    RolesDelete, "roles.delete", Application, [RolesView], "Delete custom roles.";
    UsersView, "users.view", Organization, [RolesView], "See users.";
    UsersAdd, "users.add", Organization, [UsersView], "Add users and give them roles.";
    UsersDelete, "users.delete", Organization, [UsersView], "Delete users.";
    OrganizationsView, "organizations.view", Organization, [], "See organizations.";
    OrganizationsUpdate, "organizations.update", Organization, [OrganizationsView], "Write organizations.";
    OrganizationsCreate, "organizations.create", Organization, [OrganizationsView, OrganizationsUpdate], "Create organizations.";
    OrganizationsDelete, "organizations.delete", Organization, [OrganizationsView], "Delete organizations.";
    DashboardsView, "dashboards.view", Organization, [], "See dashboards of the application or organization.";
    DashboardsUpdate, "dashboards.update", Organization, [DashboardsView], "Write those dashboards.";
    DashboardsCreate, "dashboards.create", Organization, [DashboardsView, DashboardsUpdate], "Create such dashboards.";
    DashboardsDelete, "dashboards.delete", Organization, [DashboardsView], "Delete those dashboards.";
    PersonalView, "personalDashboards.view", Organization, [], "See one's own dashboards.";
    PersonalUpdate, "personalDashboards.update", Organization, [PersonalView], "Write one's own dashboards.";
    PersonalCreate, "personalDashboards.create", Organization, [PersonalView, PersonalUpdate], "Create dashboards of one's own.";
    PersonalDelete, "personalDashboards.delete", Organization, [PersonalView], "Delete one's own dashboards.";
    BrandingView, "branding.view", Application, [], "See logo and colours as settings.";
    BrandingUpdate, "branding.update", Application, [BrandingView], "Write logo and colours.";
    HelpView, "helpLinks.view", Application, [], "See links to help as settings.";
    HelpUpdate, "helpLinks.update", Application, [HelpView], "Write links to help.";
    ExportsView, "dataExport.view", Application, [], "See exports of data.";
    ExportsUpdate, "dataExport.update", Application, [ExportsView], "Write exports of data.";
    ExportsCreate, "dataExport.create", Application, [ExportsView, ExportsUpdate], "Create exports of data.";
    ExportsDelete, "dataExport.delete", Application, [ExportsView], "Delete exports of data.";
    TokensView, "apiTokens.view", Application, [RolesView], "See API tokens, without their secrets.";
    TokensCreate, "apiTokens.create", Application, [TokensView], "Create API tokens.";
    TokensDelete, "apiTokens.delete", Application, [TokensView], "Delete API tokens.";
}

impl Permission {
    /// The permission of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|one| one.word() == word)
    }
}

/// A set of permissions; every one in it comes with all that it needs. Stored as the list of its words.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct PermissionSet(u128);

const _: () = assert!(Permission::ALL.len() <= 128, "a set has a bit for each");

/// A word that is no permission.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
#[error("`{0}` is no permission")]
pub struct UnknownPermission(pub String);

impl PermissionSet {
    /// Nothing.
    pub const NONE: Self = Self(0);

    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self::of(Permission::ALL)
    }

    /// These, with all that they need.
    #[must_use]
    pub fn of(permissions: &[Permission]) -> Self {
        let mut set = Self::NONE;
        let mut left = permissions.to_vec();
        while let Some(one) = left.pop() {
            if !set.contains(one) {
                set.0 |= 1 << one as u8;
                left.extend(one.needs());
            }
        }
        set
    }

    /// Those of areas, the parts of words before the dot.
    #[must_use]
    pub fn of_areas(areas: &[&str]) -> Self {
        let of_one = |one: &Permission| one.word().split('.').next().is_some_and(|area| areas.contains(&area));
        Self::of(&Permission::ALL.iter().copied().filter(of_one).collect::<Vec<_>>())
    }

    /// Whether it has one.
    #[must_use]
    pub fn contains(self, one: Permission) -> bool {
        self.0 & (1 << one as u8) != 0
    }

    /// Whether it has all of another.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its permissions.
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.iter().copied().filter(move |one| self.contains(*one))
    }
}

impl BitOr for PermissionSet {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl TryFrom<Vec<String>> for PermissionSet {
    type Error = UnknownPermission;
    fn try_from(words: Vec<String>) -> Result<Self, UnknownPermission> {
        let one = |word: &String| Permission::parse(word).ok_or_else(|| UnknownPermission(word.clone()));
        Ok(Self::of(&words.iter().map(one).collect::<Result<Vec<_>, _>>()?))
    }
}

impl From<PermissionSet> for Vec<String> {
    fn from(set: PermissionSet) -> Self {
        set.iter().map(|one| one.word().to_owned()).collect()
    }
}

impl fmt::Debug for PermissionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Permission::word)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique_and_read_back() {
        for one in Permission::ALL {
            assert_eq!(Permission::parse(one.word()), Some(*one));
        }
        assert_eq!(Permission::parse("devices.fly"), None);
    }

    #[test]
    fn a_permission_comes_with_what_it_needs() {
        let set = PermissionSet::of(&[Permission::JobsExecute]);
        for needed in ["jobs.view", "devices.executeCommands", "devices.update", "devices.view", "deviceTemplates.view"]
        {
            assert!(set.contains(Permission::parse(needed).unwrap()), "{needed}");
        }
        assert!(!set.contains(Permission::JobsCreate) && !set.contains(Permission::DevicesDelete));
    }

    #[test]
    fn what_is_of_organizations_needs_nothing_of_the_application() {
        for one in Permission::ALL.iter().filter(|one| one.level() == Level::Organization) {
            let needs = PermissionSet::of(&[*one]);
            assert!(needs.iter().all(|need| need.level() != Level::Application), "{one:?}");
        }
    }

    #[test]
    fn a_set_is_stored_as_words() {
        let set = PermissionSet::of(&[Permission::RulesView]);
        let text = serde_json::to_string(&set).unwrap();
        assert_eq!(text, r#"["deviceTemplates.view","rules.view"]"#);
        assert_eq!(serde_json::from_str::<PermissionSet>(&text).unwrap(), set);
        assert!(serde_json::from_str::<PermissionSet>(r#"["x"]"#).is_err());
    }
}
