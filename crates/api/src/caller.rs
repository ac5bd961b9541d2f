//! Who calls, proven before a handler runs, and what they may do on the platform.
//!
//! Permissions are what rows of the table of routes ask for and what people and programs have. A user has the
//! permissions of their role ([`Permissions::of_role`]). A token of a hub's policy has
//! those that follow from the policy's rights: programs that may call devices operate the platform, those with every
//! right of the hub administer it.

use std::fmt;
use std::ops::BitOr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use gantry_directory::{Person, PlatformRole};
use gantry_hub::{Principal, Session};
use gantry_identity::Rights;

/// A set of permissions on the platform.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Permissions(u32);

impl Permissions {
    /// None at all: being signed in is enough.
    pub const NONE: Self = Self(0);
    /// See devices: health, signals, twins, and their events as they come.
    pub const DEVICES_READ: Self = Self(1);
    /// Operate devices: invoke methods, change twins, note maintenance.
    pub const DEVICES_OPERATE: Self = Self(1 << 1);
    /// See alerts.
    pub const ALERTS_READ: Self = Self(1 << 2);
    /// Acknowledge and close alerts.
    pub const ALERTS_MANAGE: Self = Self(1 << 3);
    /// See rules.
    pub const RULES_READ: Self = Self(1 << 4);
    /// Write rules, which send to where they say and change devices.
    pub const RULES_MANAGE: Self = Self(1 << 5);
    /// See who was refused.
    pub const SECURITY_READ: Self = Self(1 << 6);
    /// See how endpoints fare, and try routes out.
    pub const ROUTING_READ: Self = Self(1 << 7);
    /// See and change where events go.
    pub const ROUTING_MANAGE: Self = Self(1 << 8);
    /// Enrollments, registrations and linked hubs, with the keys of new devices.
    pub const PROVISIONING_MANAGE: Self = Self(1 << 9);
    /// Authorities whose devices are let in.
    pub const CERTIFICATES_MANAGE: Self = Self(1 << 10);
    /// Shared access policies, with their keys.
    pub const POLICIES_MANAGE: Self = Self(1 << 11);
    /// Plan faults.
    pub const FAULTS_MANAGE: Self = Self(1 << 12);

    /// Make and change dashboards.
    pub const DASHBOARDS_MANAGE: Self = Self(1 << 13);

    /// People who sign in: make, change and delete them.
    pub const USERS_MANAGE: Self = Self(1 << 14);
    /// Read the audit log.
    pub const AUDIT_READ: Self = Self(1 << 15);

    const NAMES: [(Self, &'static str); 16] = [
        (Self::DEVICES_READ, "DevicesRead"),
        (Self::DEVICES_OPERATE, "DevicesOperate"),
        (Self::ALERTS_READ, "AlertsRead"),
        (Self::ALERTS_MANAGE, "AlertsManage"),
        (Self::RULES_READ, "RulesRead"),
        (Self::RULES_MANAGE, "RulesManage"),
        (Self::SECURITY_READ, "SecurityRead"),
        (Self::ROUTING_READ, "RoutingRead"),
        (Self::ROUTING_MANAGE, "RoutingManage"),
        (Self::PROVISIONING_MANAGE, "ProvisioningManage"),
        (Self::CERTIFICATES_MANAGE, "CertificatesManage"),
        (Self::POLICIES_MANAGE, "PoliciesManage"),
        (Self::FAULTS_MANAGE, "FaultsManage"),
        (Self::DASHBOARDS_MANAGE, "DashboardsManage"),
        (Self::USERS_MANAGE, "UsersManage"),
        (Self::AUDIT_READ, "AuditRead"),
    ];

    /// Every permission there is.
    pub const ALL: Self = Self((1 << Self::NAMES.len()) - 1);

    /// What operating a platform takes.
    pub const OPERATOR: Self = Self(
        Self::DEVICES_READ.0
            | Self::DEVICES_OPERATE.0
            | Self::ALERTS_READ.0
            | Self::ALERTS_MANAGE.0
            | Self::RULES_READ.0
            | Self::RULES_MANAGE.0
            | Self::SECURITY_READ.0
            | Self::ROUTING_READ.0
            | Self::DASHBOARDS_MANAGE.0,
    );

    /// What looking at a platform takes.
    pub const VIEWER: Self =
        Self(Self::DEVICES_READ.0 | Self::ALERTS_READ.0 | Self::RULES_READ.0 | Self::ROUTING_READ.0);

    /// Those of a person's role.
    pub const fn of_role(role: PlatformRole) -> Self {
        match role {
            PlatformRole::Member => Self::NONE,
            PlatformRole::Viewer => Self::VIEWER,
            PlatformRole::Operator => Self::OPERATOR,
            PlatformRole::Administrator => Self::ALL,
        }
    }

    /// What follows from the rights of a policy of the hub.
    pub const fn of_rights(rights: Rights) -> Self {
        if rights.contains(Rights::HUB_OWNER) {
            Self::ALL
        } else if rights.contains(Rights::SERVICE_CONNECT) {
            Self::OPERATOR
        } else {
            Self::NONE
        }
    }

    /// Whether every permission of `needed` is there.
    pub const fn contains(self, needed: Self) -> bool {
        self.0 & needed.0 == needed.0
    }

    /// The names of those that are there.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.iter().filter(move |(permission, _)| self.contains(*permission)).map(|(_, name)| *name)
    }
}

impl BitOr for Permissions {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permissions({self})")
    }
}

/// Somebody who proved who they are.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who.
    pub who: Who,
    /// What they may do on the platform.
    pub permissions: Permissions,
}

/// Who somebody is.
#[derive(Clone, Debug)]
pub enum Who {
    /// A person, signed in to the page.
    User(Arc<Person>),
    /// A program with a key of this policy.
    Policy(Arc<str>),
    /// A device or module.
    Device(Arc<Session>),
}

impl Caller {
    pub(crate) fn person(person: Arc<Person>) -> Self {
        Self { permissions: Permissions::of_role(person.role), who: Who::User(person) }
    }

    pub(crate) fn device(session: Session) -> Self {
        Self { who: Who::Device(Arc::new(session)), permissions: Permissions::NONE }
    }

    /// Their address, when they are a person who has one.
    pub fn email(&self) -> Option<&str> {
        match &self.who {
            Who::User(person) => person.email.as_deref(),
            Who::Policy(_) | Who::Device(_) => None,
        }
    }

    /// Who, with the kind of it: `user=admin`, `policy=service`, `device=motor-1`.
    pub fn principal(&self) -> String {
        let kind = match self.who {
            Who::User(_) => "user",
            Who::Policy(_) => "policy",
            Who::Device(_) => "device",
        };
        format!("{kind}={}", self.name())
    }

    /// The name they are known by.
    pub fn name(&self) -> &str {
        match &self.who {
            Who::User(person) => person.id.as_str(),
            Who::Policy(name) => name,
            Who::Device(session) => session.identity.device.as_str(),
        }
    }
}

impl From<&Principal> for Caller {
    fn from(principal: &Principal) -> Self {
        let permissions = Permissions::of_rights(principal.rights);
        Self { who: Who::Policy(principal.policy.as_str().into()), permissions }
    }
}

/// The caller of an operation whose row asks for one; others have none, and the mistake shows at the first call.
impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        parts.extensions.get::<Self>().cloned().ok_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// The session of a device that calls.
pub(crate) struct DeviceSession(pub(crate) Arc<Session>);

impl<S: Send + Sync> FromRequestParts<S> for DeviceSession {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, StatusCode> {
        match Caller::from_request_parts(parts, state).await?.who {
            Who::Device(session) => Ok(Self(session)),
            Who::User(_) | Who::Policy(_) => Err(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_permission_has_a_bit_and_a_name_of_its_own() {
        let all = Permissions::NAMES.iter().fold(Permissions::NONE, |all, (one, name)| {
            assert!(!all.contains(*one), "{name}");
            all | *one
        });
        assert_eq!(all, Permissions::ALL);
        assert_eq!(Permissions::ALL.names().count(), Permissions::NAMES.len());
    }

    #[test]
    fn permissions_follow_from_the_rights_of_a_policy() {
        let check = |rights, expected| assert_eq!(Permissions::of_rights(rights), expected, "{rights}");
        check(Rights::NONE, Permissions::NONE);
        check(Rights::REGISTRY_READ | Rights::REGISTRY_WRITE | Rights::DEVICE_CONNECT, Permissions::NONE);
        check(Rights::SERVICE_CONNECT, Permissions::OPERATOR);
        check(Rights::SERVICE_CONNECT | Rights::REGISTRY_READ | Rights::REGISTRY_WRITE, Permissions::OPERATOR);
        check(Rights::HUB_OWNER, Permissions::ALL);
    }

    #[test]
    fn operating_shows_no_key_and_changes_nothing_that_is_trusted() {
        for one in [
            Permissions::POLICIES_MANAGE,
            Permissions::CERTIFICATES_MANAGE,
            Permissions::PROVISIONING_MANAGE,
            Permissions::ROUTING_MANAGE,
            Permissions::FAULTS_MANAGE,
            Permissions::USERS_MANAGE,
            Permissions::AUDIT_READ,
        ] {
            assert!(!Permissions::OPERATOR.contains(one), "{one}");
        }
    }

    #[test]
    fn each_role_may_what_those_before_it_may() {
        let roles = [PlatformRole::Member, PlatformRole::Viewer, PlatformRole::Operator, PlatformRole::Administrator];
        for pair in roles.windows(2) {
            let (less, more) = (Permissions::of_role(pair[0]), Permissions::of_role(pair[1]));
            assert!(more.contains(less) && more != less, "{pair:?}");
        }
        assert_eq!(Permissions::of_role(PlatformRole::Administrator), Permissions::ALL);
        assert!(Permissions::VIEWER.names().all(|name| name.ends_with("Read")));
    }
}
