//! Enrollments as operators write them.

use axum::body::Bytes;
use gantry_hub::json;
use gantry_hub::twin::Object;
use gantry_identity::DeviceId;
use gantry_provisioning::{
    AllocationPolicy, CustomAllocation, DpsError, EnrollmentKey, EnrollmentWrite, InitialTwin, ProvisioningStatus,
    ReprovisionPolicy,
};
use serde::Deserialize;
use serde_json::Value;

use super::attestation::AttestationBody;
use crate::fields;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct EnrollmentBody {
    pub(super) registration_id: Option<String>,
    pub(super) enrollment_group_id: Option<String>,
    pub(super) etag: Option<String>,
    device_id: Option<String>,
    attestation: Option<AttestationBody>,
    capabilities: Option<CapabilitiesBody>,
    optional_device_information: Option<Object>,
    iot_hub_host_name: Option<String>,
    iot_hubs: Option<Vec<String>>,
    initial_twin: Option<Value>,
    provisioning_status: Option<String>,
    reprovision_policy: Option<ReprovisionBody>,
    allocation_policy: Option<String>,
    custom_allocation_definition: Option<CustomBody>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct CapabilitiesBody {
    iot_edge: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct CustomBody {
    webhook_url: String,
    api_version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ReprovisionBody {
    update_hub_assignment: bool,
    migrate_device_data: bool,
}

impl Default for ReprovisionBody {
    fn default() -> Self {
        Self { update_hub_assignment: true, migrate_device_data: true }
    }
}

impl EnrollmentBody {
    /// Reads a body.
    pub(crate) fn read(body: &Bytes) -> Result<Self, DpsError> {
        Self::of(json::parse(body).map_err(|error| DpsError::Malformed(error.to_string()))?)
    }

    /// Reads JSON.
    pub(super) fn of(body: Value) -> Result<Self, DpsError> {
        let body = fields::ENROLLMENT.read(body).map_err(invalid)?;
        json::read_value(body).map_err(|error| DpsError::Malformed(error.to_string()))
    }

    /// The enrollment of a key as the service takes it.
    pub(crate) fn write(self, key: &EnrollmentKey) -> Result<EnrollmentWrite, DpsError> {
        let body = self;
        let same = |given: Option<&String>, id: &str| given.is_none_or(|given| given.eq_ignore_ascii_case(id));
        let (registration, group) = (body.registration_id.as_ref(), body.enrollment_group_id.as_ref());
        match key {
            EnrollmentKey::Individual(id) if !same(registration, id.as_str()) || group.is_some() => {
                return Err(invalid("registrationId differs from the id in the path, or enrollmentGroupId is there"));
            }
            EnrollmentKey::Group(id) if !same(group, id.as_str()) || registration.is_some() => {
                return Err(invalid("enrollmentGroupId differs from the id in the path, or registrationId is there"));
            }
            EnrollmentKey::Group(_) if body.device_id.is_some() || body.optional_device_information.is_some() => {
                return Err(invalid("deviceId and optionalDeviceInformation belong to individual enrollments"));
            }
            EnrollmentKey::Individual(_) | EnrollmentKey::Group(_) => {}
        }
        let attestation = body.attestation.map(AttestationBody::write).transpose()?.unwrap_or_default();
        let policy = |word: &str| {
            let expected = "allocationPolicy must be hashed, geoLatency, static or custom";
            AllocationPolicy::parse(word).ok_or_else(|| invalid(expected))
        };
        let allocation = body.allocation_policy.as_deref().map(policy).transpose()?;
        let status = match body.provisioning_status.as_deref().map(str::to_ascii_lowercase).as_deref() {
            None | Some("enabled") => ProvisioningStatus::Enabled,
            Some("disabled") => ProvisioningStatus::Disabled,
            Some(_) => return Err(invalid("provisioningStatus must be enabled or disabled")),
        };
        let device_id = body.device_id.filter(|id| !id.is_empty());
        Ok(EnrollmentWrite {
            attestation,
            device_id: device_id
                .map(|id| DeviceId::parse(&id).map_err(|error| invalid(format!("deviceId: {error}"))))
                .transpose()?,
            iot_hub_host_name: body.iot_hub_host_name.filter(|name| !name.is_empty()),
            iot_hubs: body.iot_hubs.unwrap_or_default(),
            initial_twin: body
                .initial_twin
                .filter(|twin| !twin.is_null())
                .map(|twin| InitialTwin::parse(&twin).map_err(|error| invalid(format!("initialTwin: {error}"))))
                .transpose()?,
            optional_device_information: body.optional_device_information,
            iot_edge: body.capabilities.is_some_and(|c| c.iot_edge),
            status,
            reprovision: body.reprovision_policy.map(|r| ReprovisionPolicy {
                update_hub_assignment: r.update_hub_assignment,
                migrate_device_data: r.migrate_device_data,
            }),
            allocation,
            custom: body.custom_allocation_definition.map(CustomBody::write).transpose()?.flatten(),
        })
    }
}

impl CustomBody {
    fn write(self) -> Result<Option<CustomAllocation>, DpsError> {
        if self.webhook_url.is_empty() {
            let is_empty = self.api_version.is_empty();
            return if is_empty { Ok(None) } else { Err(invalid("customAllocationDefinition.webhookUrl is missing")) };
        }
        let url = url::Url::parse(&self.webhook_url).ok().filter(|url| matches!(url.scheme(), "https" | "http"));
        if url.is_none_or(|url| url.host().is_none()) {
            return Err(invalid("customAllocationDefinition.webhookUrl must be an http or https address"));
        }
        Ok(Some(CustomAllocation { url: self.webhook_url, api_version: self.api_version }))
    }
}

fn invalid(words: impl Into<String>) -> DpsError {
    DpsError::Invalid(words.into())
}
