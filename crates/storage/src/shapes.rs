//! JSON shapes of records in `state.db`, version 1.
//!
//! They belong to the disk: a change here is a new version with a golden record, and old
//! ones stay readable. Keys are base64; instants are milliseconds since the epoch. Fields
//! with their default value may be absent.

use std::collections::BTreeMap;

use gantry_hub::c2d::{Ack, C2dMessage};
use gantry_hub::device::{Authentication, Device, Status};
use gantry_hub::event::{nulls, with_nulls};
use gantry_hub::management::Managed;
use gantry_hub::ports::StoreError;
use gantry_hub::twin::{Object, Section, Twin};
use gantry_identity::{DeviceId, Identity, Key, KeyPair, ModuleId, Timestamp};
use gantry_provisioning::{
    AllocationPolicy, AttestationWrite, CustomAllocation, Enrollment, EnrollmentKey, EnrollmentWrite, GroupId,
    InitialTwin, ProvisioningStatus, Registration, RegistrationId, RegistrationStatus, ReprovisionPolicy, Substatus,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::attestation_shape::{AttestationShape, EvidenceShape};

pub(crate) fn corrupt(what: &str) -> StoreError {
    StoreError::Failed(format!("state.db holds an unreadable {what}"))
}

#[derive(Serialize, Deserialize)]
pub(crate) struct KeysShape {
    primary: String,
    secondary: String,
}

impl From<&KeyPair> for KeysShape {
    fn from(keys: &KeyPair) -> Self {
        Self { primary: keys.primary.to_base64(), secondary: keys.secondary.to_base64() }
    }
}

impl KeysShape {
    pub(crate) fn read(&self) -> Result<KeyPair, StoreError> {
        let key = |text| Key::from_base64(text).map_err(|_| corrupt("key"));
        Ok(KeyPair { primary: key(&self.primary)?, secondary: key(&self.secondary)? })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
enum AuthenticationShape {
    Sas { keys: KeysShape },
    SelfSigned { primary: Option<String>, secondary: Option<String> },
    CertificateAuthority,
    None,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct DeviceShape {
    generation_id: String,
    etag: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status_reason: Option<String>,
    status_updated_at: i64,
    authentication: AuthenticationShape,
    #[serde(default)]
    iot_edge: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device_scope: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parent_scopes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    managed_by: Option<String>,
}

impl From<&Device> for DeviceShape {
    fn from(device: &Device) -> Self {
        let authentication = match &device.authentication {
            Authentication::Sas(keys) => AuthenticationShape::Sas { keys: keys.into() },
            Authentication::SelfSigned { primary, secondary } => {
                AuthenticationShape::SelfSigned { primary: primary.clone(), secondary: secondary.clone() }
            }
            Authentication::CertificateAuthority => AuthenticationShape::CertificateAuthority,
            Authentication::None => AuthenticationShape::None,
        };
        Self {
            generation_id: device.generation_id.clone(),
            etag: device.etag,
            status_reason: device.status_reason.clone(),
            status_updated_at: device.status_updated_at.as_millis(),
            authentication,
            iot_edge: device.iot_edge,
            device_scope: device.device_scope.clone(),
            parent_scopes: device.parent_scopes.clone(),
            managed_by: device.managed_by.clone(),
        }
    }
}

impl DeviceShape {
    pub(crate) fn read(self, device_id: &str, module_id: &str, enabled: bool) -> Result<Device, StoreError> {
        let authentication = match self.authentication {
            AuthenticationShape::Sas { keys } => Authentication::Sas(keys.read()?),
            AuthenticationShape::SelfSigned { primary, secondary } => Authentication::SelfSigned { primary, secondary },
            AuthenticationShape::CertificateAuthority => Authentication::CertificateAuthority,
            AuthenticationShape::None => Authentication::None,
        };
        Ok(Device {
            identity: identity(device_id, module_id)?,
            generation_id: self.generation_id,
            etag: self.etag,
            status: if enabled { Status::Enabled } else { Status::Disabled },
            status_reason: self.status_reason,
            status_updated_at: Timestamp::from_millis(self.status_updated_at),
            authentication,
            iot_edge: self.iot_edge,
            device_scope: self.device_scope,
            parent_scopes: self.parent_scopes,
            managed_by: self.managed_by,
        })
    }
}

pub(crate) fn identity(device_id: &str, module_id: &str) -> Result<Identity, StoreError> {
    let device = DeviceId::parse(device_id).map_err(|_| corrupt("device id"))?;
    let module = match module_id {
        "" => None,
        id => Some(ModuleId::parse(id).map_err(|_| corrupt("module id"))?),
    };
    Ok(Identity { device, module })
}

#[derive(Serialize, Deserialize)]
struct SectionShape {
    values: Object,
    metadata: Object,
    version: u64,
}

impl From<&Section> for SectionShape {
    fn from(section: &Section) -> Self {
        Self { values: section.values.clone(), metadata: section.metadata.clone(), version: section.version }
    }
}

impl From<SectionShape> for Section {
    fn from(shape: SectionShape) -> Self {
        Self { values: shape.values, metadata: shape.metadata, version: shape.version }
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct TwinShape {
    tags: Object,
    desired: SectionShape,
    reported: SectionShape,
    version: u64,
    etag: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    managed: Option<ManagedShape>,
}

#[derive(Serialize, Deserialize)]
struct ManagedShape {
    configurations: BTreeMap<String, bool>,
    places: Vec<String>,
}

impl From<&Twin> for TwinShape {
    fn from(twin: &Twin) -> Self {
        Self {
            tags: twin.tags.clone(),
            desired: (&twin.desired).into(),
            reported: (&twin.reported).into(),
            version: twin.version,
            etag: twin.etag,
            model_id: twin.model_id.clone(),
            managed: (twin.managed != Managed::default()).then(|| ManagedShape {
                configurations: twin.managed.configurations.clone(),
                places: twin.managed.places.clone(),
            }),
        }
    }
}

impl From<TwinShape> for Twin {
    fn from(shape: TwinShape) -> Self {
        Self {
            tags: shape.tags,
            desired: shape.desired.into(),
            reported: shape.reported.into(),
            version: shape.version,
            etag: shape.etag,
            model_id: shape.model_id,
            managed: shape.managed.map_or_else(Managed::default, |managed| Managed {
                configurations: managed.configurations,
                places: managed.places,
            }),
        }
    }
}

/// A queued message without expiry and body, which have columns.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
pub(crate) struct C2dShape {
    message_id: Option<String>,
    correlation_id: Option<String>,
    user_id: Option<String>,
    content_type: Option<String>,
    content_encoding: Option<String>,
    ack: String,
    /// A null one is empty here, and named by its place in `nulls`.
    properties: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    nulls: Vec<usize>,
    pub(crate) generation_id: String,
}

pub(crate) fn texts(properties: &[(String, Option<String>)]) -> Vec<(String, String)> {
    properties.iter().map(|(name, value)| (name.clone(), value.clone().unwrap_or_default())).collect()
}

impl C2dShape {
    pub(crate) fn new(message: &C2dMessage, generation_id: String) -> Self {
        Self {
            generation_id,
            message_id: message.message_id.clone(),
            correlation_id: message.correlation_id.clone(),
            user_id: message.user_id.clone(),
            content_type: message.content_type.clone(),
            content_encoding: message.content_encoding.clone(),
            ack: message.ack.as_str().to_owned(),
            properties: texts(&message.properties),
            nulls: nulls(&message.properties),
        }
    }

    pub(crate) fn read(self, expires_at: i64, body: Vec<u8>) -> C2dMessage {
        C2dMessage {
            message_id: self.message_id,
            correlation_id: self.correlation_id,
            user_id: self.user_id,
            content_type: self.content_type,
            content_encoding: self.content_encoding,
            expires_at: Some(Timestamp::from_millis(expires_at)),
            ack: Ack::parse(&self.ack).unwrap_or_default(),
            properties: with_nulls(self.properties, &self.nulls),
            body: body.into(),
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct EnrollmentShape {
    id: String,
    etag: u64,
    created_at: i64,
    updated_at: i64,
    #[serde(flatten)]
    attestation: AttestationShape,
    device_id: Option<String>,
    iot_hub_host_name: Option<String>,
    iot_hubs: Vec<String>,
    initial_twin: Option<InitialTwinShape>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    optional_device_information: Option<Object>,
    iot_edge: bool,
    disabled: bool,
    reprovision: Option<(bool, bool)>,
    allocation: Option<String>,
    /// Address and version of the webhook.
    #[serde(default)]
    custom: Option<(String, String)>,
}

#[derive(Serialize, Deserialize)]
struct InitialTwinShape {
    tags: Object,
    desired: Object,
}

impl From<&Enrollment> for EnrollmentShape {
    fn from(enrollment: &Enrollment) -> Self {
        let settings = &enrollment.settings;
        Self {
            id: enrollment.key.as_str().to_owned(),
            etag: enrollment.etag,
            created_at: enrollment.created_at.as_millis(),
            updated_at: enrollment.updated_at.as_millis(),
            attestation: (&enrollment.attestation).into(),
            device_id: settings.device_id.as_ref().map(ToString::to_string),
            iot_hub_host_name: settings.iot_hub_host_name.clone(),
            iot_hubs: settings.iot_hubs.clone(),
            initial_twin: settings
                .initial_twin
                .as_ref()
                .map(|t| InitialTwinShape { tags: t.tags.clone(), desired: t.desired.clone() }),
            optional_device_information: settings.optional_device_information.clone(),
            iot_edge: settings.iot_edge,
            disabled: settings.status == ProvisioningStatus::Disabled,
            reprovision: settings.reprovision.map(|r| (r.update_hub_assignment, r.migrate_device_data)),
            allocation: settings.allocation.map(|a| a.as_str().to_owned()),
            custom: settings.custom.as_ref().map(|c| (c.url.clone(), c.api_version.clone())),
        }
    }
}

impl EnrollmentShape {
    pub(crate) fn read(self, is_group: bool) -> Result<Enrollment, StoreError> {
        let bad = |_| corrupt("enrollment id");
        let key = if is_group {
            EnrollmentKey::Group(GroupId::parse(&self.id).map_err(bad)?)
        } else {
            EnrollmentKey::Individual(RegistrationId::parse(&self.id).map_err(bad)?)
        };
        let settings = EnrollmentWrite {
            attestation: AttestationWrite::Unchanged,
            device_id: self.device_id.map(|id| DeviceId::parse(&id).map_err(|_| corrupt("device id"))).transpose()?,
            iot_hub_host_name: self.iot_hub_host_name,
            iot_hubs: self.iot_hubs,
            initial_twin: self.initial_twin.map(|t| InitialTwin { tags: t.tags, desired: t.desired }),
            optional_device_information: self.optional_device_information,
            iot_edge: self.iot_edge,
            status: if self.disabled { ProvisioningStatus::Disabled } else { ProvisioningStatus::Enabled },
            reprovision: self.reprovision.map(|(update_hub_assignment, migrate_device_data)| ReprovisionPolicy {
                update_hub_assignment,
                migrate_device_data,
            }),
            allocation: self.allocation.as_deref().and_then(AllocationPolicy::parse),
            custom: self.custom.map(|(url, api_version)| CustomAllocation { url, api_version }),
        };
        Ok(Enrollment {
            key,
            attestation: self.attestation.read()?,
            settings,
            etag: self.etag,
            created_at: Timestamp::from_millis(self.created_at),
            updated_at: Timestamp::from_millis(self.updated_at),
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct RegistrationShape {
    id: String,
    group: Option<String>,
    status: String,
    substatus: Option<String>,
    assigned_hub: Option<String>,
    device_id: Option<String>,
    error: Option<(u32, String)>,
    #[serde(flatten)]
    evidence: EvidenceShape,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload: Option<Value>,
    created_at: i64,
    updated_at: i64,
    etag: u64,
}

impl From<&Registration> for RegistrationShape {
    fn from(registration: &Registration) -> Self {
        Self {
            id: registration.id.as_str().to_owned(),
            group: registration.group.as_ref().map(|g| g.as_str().to_owned()),
            status: registration.status.as_str().to_owned(),
            substatus: registration.substatus.map(|s| s.as_str().to_owned()),
            assigned_hub: registration.assigned_hub.clone(),
            device_id: registration.device_id.as_ref().map(ToString::to_string),
            error: registration.error.clone(),
            evidence: (&registration.evidence).into(),
            payload: registration.payload.clone(),
            created_at: registration.created_at.as_millis(),
            updated_at: registration.updated_at.as_millis(),
            etag: registration.etag,
        }
    }
}

impl RegistrationShape {
    pub(crate) fn read(self) -> Result<Registration, StoreError> {
        let bad = |_| corrupt("registration id");
        Ok(Registration {
            id: RegistrationId::parse(&self.id).map_err(bad)?,
            group: self.group.map(|g| GroupId::parse(&g).map_err(bad)).transpose()?,
            status: RegistrationStatus::parse(&self.status).ok_or_else(|| corrupt("registration status"))?,
            substatus: self.substatus.as_deref().and_then(Substatus::parse),
            assigned_hub: self.assigned_hub,
            device_id: self.device_id.map(|id| DeviceId::parse(&id).map_err(|_| corrupt("device id"))).transpose()?,
            error: self.error,
            evidence: self.evidence.read(),
            payload: self.payload,
            created_at: Timestamp::from_millis(self.created_at),
            updated_at: Timestamp::from_millis(self.updated_at),
            etag: self.etag,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queued_message_keeps_nulls_and_older_versions_read_it() {
        let properties = vec![("a".into(), None), ("b".into(), Some(String::new())), ("c".into(), Some("x".into()))];
        let message = C2dMessage { properties, ..C2dMessage::default() };
        let written = serde_json::to_value(C2dShape::new(&message, "7".into())).unwrap();
        assert_eq!(written["properties"], serde_json::json!([["a", ""], ["b", ""], ["c", "x"]]));
        let read: C2dShape = serde_json::from_value(written).unwrap();
        assert_eq!(read.read(0, vec![]).properties, message.properties);
        let old: C2dShape = serde_json::from_str(r#"{"properties":[["a",""]],"generation_id":"7"}"#).unwrap();
        assert_eq!(old.read(0, vec![]).properties, [("a".to_owned(), Some(String::new()))]);
    }
}
