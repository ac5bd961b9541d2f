//! Shared access policies: a name, two keys and the rights they give.

use std::fmt;
use std::ops::BitOr;

use crate::key::KeyPair;

/// A set of rights. Hub rights and DPS rights are kept apart by the instance that holds the policy.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Rights(u16);

impl Rights {
    /// No right at all.
    pub const NONE: Self = Self(0);
    /// Read identities.
    pub const REGISTRY_READ: Self = Self(1);
    /// Create, change and delete identities.
    pub const REGISTRY_WRITE: Self = Self(1 << 1);
    /// Both.
    pub const REGISTRY_READ_WRITE: Self = Self(0b11);
    /// Service-facing endpoints: twins, methods, c2d, queries, the event stream.
    pub const SERVICE_CONNECT: Self = Self(1 << 2);
    /// Device-facing endpoints.
    pub const DEVICE_CONNECT: Self = Self(1 << 3);
    /// Every right of a hub.
    pub const HUB_OWNER: Self = Self(0b1111);
    /// DPS: service configuration.
    pub const SERVICE_CONFIG: Self = Self(1 << 4);
    /// DPS: read enrollments.
    pub const ENROLLMENT_READ: Self = Self(1 << 5);
    /// DPS: change enrollments.
    pub const ENROLLMENT_WRITE: Self = Self(1 << 6);
    /// DPS: read registration states.
    pub const REGISTRATION_STATUS_READ: Self = Self(1 << 7);
    /// DPS: delete registration states.
    pub const REGISTRATION_STATUS_WRITE: Self = Self(1 << 8);

    const NAMES: [(Self, &'static str); 9] = [
        (Self::REGISTRY_READ, "RegistryRead"),
        (Self::REGISTRY_WRITE, "RegistryWrite"),
        (Self::SERVICE_CONNECT, "ServiceConnect"),
        (Self::DEVICE_CONNECT, "DeviceConnect"),
        (Self::SERVICE_CONFIG, "ServiceConfig"),
        (Self::ENROLLMENT_READ, "EnrollmentRead"),
        (Self::ENROLLMENT_WRITE, "EnrollmentWrite"),
        (Self::REGISTRATION_STATUS_READ, "RegistrationStatusRead"),
        (Self::REGISTRATION_STATUS_WRITE, "RegistrationStatusWrite"),
    ];

    /// Whether every right of `needed` is held.
    pub const fn contains(self, needed: Self) -> bool {
        self.0 & needed.0 == needed.0
    }

    /// Parses a comma list of the published names, without case.
    pub fn parse(text: &str) -> Option<Self> {
        text.split(',').map(str::trim).filter(|name| !name.is_empty()).try_fold(Self::NONE, |all, name| {
            Self::NAMES.iter().find(|(_, n)| n.eq_ignore_ascii_case(name)).map(|(right, _)| all | *right)
        })
    }
}

impl BitOr for Rights {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Self::NAMES.iter().filter(|(r, _)| self.contains(*r)).map(|(_, n)| *n).collect();
        f.write_str(&names.join(", "))
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rights({self})")
    }
}

/// One shared access policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Name as tokens carry it in `skn`.
    pub name: String,
    /// Its two keys.
    pub keys: KeyPair,
    /// What its keys may do.
    pub rights: Rights,
}

/// The policies of one hub or DPS instance.
#[derive(Clone, Debug, Default)]
pub struct Policies(Vec<Policy>);

impl Policies {
    /// Most policies one instance holds (hub security reference).
    pub const COUNT_MAX: usize = 16;

    /// The five policies a new hub has, with keys drawn by the caller.
    pub fn hub_defaults(mut keys: impl FnMut() -> KeyPair) -> Self {
        let all = Rights::REGISTRY_READ | Rights::REGISTRY_WRITE | Rights::SERVICE_CONNECT | Rights::DEVICE_CONNECT;
        let mut policy = |name: &str, rights| Policy { name: name.into(), keys: keys(), rights };
        Self(vec![
            policy("iothubowner", all),
            policy("service", Rights::SERVICE_CONNECT),
            policy("device", Rights::DEVICE_CONNECT),
            policy("registryRead", Rights::REGISTRY_READ),
            policy("registryReadWrite", Rights::REGISTRY_READ | Rights::REGISTRY_WRITE),
        ])
    }

    /// The one policy a new DPS instance has.
    pub fn provisioning_defaults(mut keys: impl FnMut() -> KeyPair) -> Self {
        Self(vec![Policy {
            name: "provisioningserviceowner".into(),
            keys: keys(),
            rights: Rights::SERVICE_CONFIG
                | Rights::ENROLLMENT_READ
                | Rights::ENROLLMENT_WRITE
                | Rights::REGISTRATION_STATUS_READ
                | Rights::REGISTRATION_STATUS_WRITE,
        }])
    }

    /// From a list read from storage.
    pub fn from_list(list: Vec<Policy>) -> Self {
        Self(list)
    }

    /// The policy named `name`, compared without case as the reference service does.
    pub fn find(&self, name: &str) -> Option<&Policy> {
        self.0.iter().find(|p| p.name.eq_ignore_ascii_case(name))
    }

    /// All policies.
    pub fn iter(&self) -> impl Iterator<Item = &Policy> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_parse_what_they_print() {
        let rights = Rights::REGISTRY_READ | Rights::DEVICE_CONNECT;
        assert_eq!(Rights::parse(&rights.to_string()), Some(rights));
        assert_eq!(Rights::parse("Everything"), None);
    }

    #[test]
    fn contains_needs_every_right() {
        assert!(!Rights::REGISTRY_READ.contains(Rights::REGISTRY_READ | Rights::REGISTRY_WRITE));
        assert!((Rights::REGISTRY_READ | Rights::REGISTRY_WRITE).contains(Rights::REGISTRY_READ));
    }
}
