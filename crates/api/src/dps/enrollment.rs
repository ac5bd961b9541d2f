//! Enrollments as operators write them.

use axum::body::Bytes;
use gantry_identity::DeviceId;
use gantry_provisioning::{
    AllocationPolicy, CustomAllocation, DpsError, EnrollmentWrite, InitialTwin, ProvisioningStatus, ReprovisionPolicy,
};
use serde::Deserialize;
use serde_json::Value;

use super::attestation::AttestationBody;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct EnrollmentBody {
    pub(super) registration_id: Option<String>,
    pub(super) enrollment_group_id: Option<String>,
    pub(super) etag: Option<String>,
    device_id: Option<String>,
    attestation: Option<AttestationBody>,
    capabilities: Option<Value>,
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
        serde_json::from_slice(body).map_err(|error| invalid(format!("malformed body: {error}")))
    }

    /// The enrollment as the service takes it.
    pub(crate) fn write(self) -> Result<EnrollmentWrite, DpsError> {
        let body = self;
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
            iot_edge: body.capabilities.is_some_and(|c| c.get("iotEdge") == Some(&Value::Bool(true))),
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
            return Ok(None);
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
