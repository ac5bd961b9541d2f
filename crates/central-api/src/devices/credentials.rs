//! What a device needs to register: the id scope, and keys or certificates.
//!
//! A device with an attestation of its own has that one's; others are of the default group of enrollments, whose keys
//! theirs are derived from (IoT Central: `SAS-IoT-Devices`).

use axum::Json;
use gantry_api::now;
use gantry_central::access::permissions::Permission;
use gantry_hub::device::IfMatch;
use gantry_identity::{DeviceId, Key, KeyPair};
use gantry_provisioning::{Attestation, DpsError, Enrollment, EnrollmentKey, EnrollmentWrite, GroupId, Keys};
use serde_json::{Value, json};

use super::attestation::{self, own};
use super::known;
use crate::Failure;
use crate::call::Call;

/// The group that devices are of which have no attestation of their own.
pub const DEFAULT_GROUP: &str = "SAS-IoT-Devices";

/// The default group; made with keys of its own when it is first asked for.
async fn default_group(call: &Call) -> Result<Enrollment, Failure> {
    let provisioning = &call.application().api.provisioning;
    let group = GroupId::parse(DEFAULT_GROUP).map_err(|error| Failure::internal(&error))?;
    let key = EnrollmentKey::Group(group);
    match provisioning.enrollment(&key).await {
        Err(DpsError::NotFound(..)) => {}
        other => return Ok(other?),
    }
    match provisioning.put_enrollment(now(), key.clone(), EnrollmentWrite::default(), &IfMatch::Absent).await {
        // Somebody else made it, before or while this was written.
        Err(DpsError::Conflict(_) | DpsError::PreconditionFailed) => Ok(provisioning.enrollment(&key).await?),
        other => Ok(other?),
    }
}

/// The keys of a device in the default group; none when an operator gave that another attestation.
pub(crate) async fn derived(call: &Call, id: &DeviceId) -> Result<Option<KeyPair>, Failure> {
    let group = default_group(call).await?;
    let Attestation::SymmetricKey(keys) = &group.attestation else { return Ok(None) };
    let of = |key: &Key| key.derive(id.as_str());
    Ok(Some(KeyPair { primary: of(&keys.primary), secondary: of(&keys.secondary) }))
}

pub(crate) async fn get(call: Call) -> Result<Json<Value>, Failure> {
    let known = known(&call, Permission::ConnectivityRead).await?;
    let id = &known.identity().device;
    let mut shown = json!({ "idScope": call.application().api.provisioning.id_scope().as_str() });
    match own(&call, id).await? {
        Some(enrollment) => {
            let document = attestation::show(&enrollment.attestation, Keys::Shown);
            for name in ["symmetricKey", "x509", "tpm"] {
                if let Some(value) = document.get(name) {
                    shown[name] = value.clone();
                }
            }
        }
        None => {
            if let Some(keys) = derived(&call, id).await? {
                shown["symmetricKey"] =
                    json!({ "primaryKey": keys.primary.to_base64(), "secondaryKey": keys.secondary.to_base64() });
            }
        }
    }
    Ok(Json(shown))
}
