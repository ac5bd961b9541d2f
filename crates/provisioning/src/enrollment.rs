//! Enrollments: who may register, and what becomes of them.

use std::fmt;

use gantry_hub::twin::{Object, Twin, TwinError, TwinWrite};
use gantry_identity::{DeviceId, Timestamp};
use serde_json::Value;

use crate::attestation::{Attestation, AttestationWrite};
use crate::registration::{IdError, RegistrationId};

/// The id of an enrollment group: lower-case comparison, 1 to 128 letters, digits, `-`, `.`, `_`, `:`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct GroupId(String);

impl GroupId {
    /// Checks length and alphabet.
    ///
    /// # Errors
    /// [`IdError`] names what is wrong.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        RegistrationId::parse(text).map(|id| Self(id.as_str().to_owned()))
    }

    /// As the operator wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which enrollment: an individual one or a group.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum EnrollmentKey {
    /// One registration id.
    Individual(RegistrationId),
    /// A group.
    Group(GroupId),
}

impl EnrollmentKey {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Individual(id) => id.as_str(),
            Self::Group(id) => id.as_str(),
        }
    }
}

/// Whether an enrollment may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ProvisioningStatus {
    /// It may.
    #[default]
    Enabled,
    /// It may not, and blocks its devices.
    Disabled,
}

impl ProvisioningStatus {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
        }
    }
}

/// How a hub is chosen among those linked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AllocationPolicy {
    /// Evenly.
    #[default]
    Hashed,
    /// The nearest.
    GeoLatency,
    /// The one named.
    Static,
    /// The one a webhook names.
    Custom,
}

/// The webhook of custom allocation.
#[derive(Clone, PartialEq, Eq)]
pub struct CustomAllocation {
    /// Where to ask; its query may hold a key.
    pub url: String,
    /// Version of the documents it expects.
    pub api_version: String,
}

impl fmt::Debug for CustomAllocation {
    /// Without the address, which may hold a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CustomAllocation").field("api_version", &self.api_version).finish_non_exhaustive()
    }
}

impl AllocationPolicy {
    /// Reads the word, without case.
    pub fn parse(word: &str) -> Option<Self> {
        let all = [Self::Hashed, Self::GeoLatency, Self::Static, Self::Custom];
        all.into_iter().find(|policy| policy.as_str().eq_ignore_ascii_case(word))
    }

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hashed => "hashed",
            Self::GeoLatency => "geoLatency",
            Self::Static => "static",
            Self::Custom => "custom",
        }
    }
}

/// What happens when a known device registers again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReprovisionPolicy {
    /// Whether the hub is chosen anew.
    pub update_hub_assignment: bool,
    /// Whether its twin is kept.
    pub migrate_device_data: bool,
}

impl Default for ReprovisionPolicy {
    fn default() -> Self {
        Self { update_hub_assignment: true, migrate_device_data: true }
    }
}

/// The twin a new device starts with.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct InitialTwin {
    /// Tags.
    pub tags: Object,
    /// Desired properties.
    pub desired: Object,
}

/// Everything an operator may write of an enrollment.
#[derive(Clone, PartialEq, Debug)]
pub struct EnrollmentWrite {
    /// How devices prove themselves.
    pub attestation: AttestationWrite,
    /// Device id at the hub, for an individual enrollment; the registration id otherwise.
    pub device_id: Option<DeviceId>,
    /// The one hub of the static policy.
    pub iot_hub_host_name: Option<String>,
    /// Hubs to choose among; all linked ones when empty.
    pub iot_hubs: Vec<String>,
    /// Twin of a new device.
    pub initial_twin: Option<InitialTwin>,
    /// What the operator notes of the device of an individual enrollment; nothing reads it.
    pub optional_device_information: Option<Object>,
    /// Whether new devices are edge devices.
    pub iot_edge: bool,
    /// Whether it may be used.
    pub status: ProvisioningStatus,
    /// What happens when a device comes back.
    pub reprovision: Option<ReprovisionPolicy>,
    /// How a hub is chosen.
    pub allocation: Option<AllocationPolicy>,
    /// Whom to ask under the custom policy.
    pub custom: Option<CustomAllocation>,
}

impl InitialTwin {
    /// Reads `{tags, properties: {desired}}`. Null for a section is none; what a service was shown of it is dropped.
    ///
    /// # Errors
    /// [`TwinError`] when no twin can begin so.
    pub fn parse(document: &Value) -> Result<Self, TwinError> {
        if !document.is_object() {
            return Err(TwinError::NotObject("initialTwin".to_owned()));
        }
        let section = |at: &str| document.pointer(at).filter(|section| !section.is_null()).cloned();
        if section("/properties").is_some_and(|properties| !properties.is_object()) {
            return Err(TwinError::NotObject("properties".to_owned()));
        }
        let mut twin = Twin::new();
        twin.write(&TwinWrite::replacing(section("/tags"), section("/properties/desired"))?, Timestamp::NEVER)?;
        Ok(Self { tags: twin.tags, desired: twin.desired.values })
    }
}

impl Default for EnrollmentWrite {
    fn default() -> Self {
        Self {
            attestation: AttestationWrite::Unchanged,
            device_id: None,
            iot_hub_host_name: None,
            iot_hubs: vec![],
            initial_twin: None,
            optional_device_information: None,
            iot_edge: false,
            status: ProvisioningStatus::Enabled,
            reprovision: None,
            allocation: None,
            custom: None,
        }
    }
}

/// A stored enrollment.
#[derive(Clone, PartialEq, Debug)]
pub struct Enrollment {
    /// Which.
    pub key: EnrollmentKey,
    /// How devices prove themselves.
    pub attestation: Attestation,
    /// The rest of what was written; its attestation stands apart.
    pub settings: EnrollmentWrite,
    /// Counter behind the ETag.
    pub etag: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last written.
    pub updated_at: Timestamp,
}

impl Enrollment {
    /// The ETag without quotes.
    pub fn etag_text(&self) -> String {
        format!("{:016x}", self.etag)
    }
}
