//! Registrations: what the service knows of a device that asked.

use std::fmt;

use gantry_identity::{DeviceId, Timestamp};

use serde_json::Value;

use crate::attestation::Evidence;
use crate::enrollment::GroupId;

/// Why a text is not a registration id or group id.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
#[error("id must have 1 to 128 letters, digits, `-`, `.`, `_` or `:` and end with a letter, digit or `-`")]
pub struct IdError;

/// A registration id: compared without case, kept as sent, because the key of a group
/// device is derived from the text the device holds.
#[derive(Clone, Debug)]
pub struct RegistrationId(String);

impl RegistrationId {
    /// Checks length and alphabet.
    ///
    /// # Errors
    /// [`IdError`].
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
        let ends_well = text.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '-');
        if text.len() > 128 || !ends_well || !text.chars().all(allowed) {
            return Err(IdError);
        }
        Ok(Self(text.to_owned()))
    }

    /// As the device sent it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form to compare and store by.
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl PartialEq for RegistrationId {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for RegistrationId {}

impl std::hash::Hash for RegistrationId {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.folded().hash(state);
    }
}

impl fmt::Display for RegistrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id scope of one DPS instance: given once, never changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdScope(String);

impl IdScope {
    /// Wraps a scope read from configuration.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IdScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a registration stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RegistrationStatus {
    /// Being worked on.
    Assigning,
    /// The device has a hub.
    Assigned,
    /// It could not be given one.
    Failed,
    /// Its enrollment is switched off.
    Disabled,
}

impl RegistrationStatus {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Assigning => "assigning",
            Self::Assigned => "assigned",
            Self::Failed => "failed",
            Self::Disabled => "disabled",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Assigning, Self::Assigned, Self::Failed, Self::Disabled].into_iter().find(|s| s.as_str() == word)
    }
}

/// How an assignment came about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Substatus {
    /// First time.
    InitialAssignment,
    /// Same hub again, twin kept.
    ReprovisionedToInitialAssignment,
    /// Another hub, twin carried over.
    DeviceDataMigrated,
    /// Another hub or the same, twin as at first.
    DeviceDataReset,
}

impl Substatus {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InitialAssignment => "initialAssignment",
            Self::ReprovisionedToInitialAssignment => "reprovisionedToInitialAssignment",
            Self::DeviceDataMigrated => "deviceDataMigrated",
            Self::DeviceDataReset => "deviceDataReset",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        let all = [
            Self::InitialAssignment,
            Self::ReprovisionedToInitialAssignment,
            Self::DeviceDataMigrated,
            Self::DeviceDataReset,
        ];
        all.into_iter().find(|s| s.as_str() == word)
    }
}

/// What the service knows of a device that asked.
#[derive(Clone, PartialEq, Debug)]
pub struct Registration {
    /// Registration id as the device sent it.
    pub id: RegistrationId,
    /// Group it came by; absent for an individual enrollment.
    pub group: Option<GroupId>,
    /// Where it stands.
    pub status: RegistrationStatus,
    /// How it came there.
    pub substatus: Option<Substatus>,
    /// Hub it belongs to.
    pub assigned_hub: Option<String>,
    /// Its id there.
    pub device_id: Option<DeviceId>,
    /// Six-digit code and words, when it failed.
    pub error: Option<(u32, String)>,
    /// How it proved itself.
    pub evidence: Evidence,
    /// What a webhook of custom allocation has to say to the device.
    pub payload: Option<Value>,
    /// When it first asked.
    pub created_at: Timestamp,
    /// When this last changed.
    pub updated_at: Timestamp,
    /// Counter behind the ETag.
    pub etag: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registration_ids_have_an_alphabet_a_length_and_an_end() {
        for good in ["a", "sn-007-888-abc-mac-a1", "A.b_c:d-", &"x".repeat(128)] {
            assert!(RegistrationId::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a/b", "a.", "a_", "é", &"x".repeat(129)] {
            assert!(RegistrationId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn case_is_kept_but_not_compared() {
        let (upper, lower) = (RegistrationId::parse("Motor-1").unwrap(), RegistrationId::parse("motor-1").unwrap());
        assert_eq!(upper, lower);
        assert_eq!(upper.as_str(), "Motor-1");
    }
}
