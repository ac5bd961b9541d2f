//! Enrollments as JSON: what operators read and webhooks get.
//!
//! Certificates are shown as `info` only; keys, and the query of a webhook's address, to those only who may write them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gantry_identity::Certificate;
use serde_json::{Map, Value, json};

use crate::attestation::{Attestation, Slots, X509};
use crate::document::certificate_document;
use crate::enrollment::{Enrollment, EnrollmentKey};

/// Whether keys are part of an answer: reading rights alone do not show them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// They are.
    Shown,
    /// They are not.
    Hidden,
}

impl Enrollment {
    /// The enrollment as the service API shows it.
    pub fn document(&self, keys: Keys) -> Value {
        let settings = &self.settings;
        let mut all = Map::new();
        let mut put = |key: &str, value: Value| all.insert(key.to_owned(), value);
        match &self.key {
            EnrollmentKey::Individual(id) => {
                put("registrationId", id.as_str().into());
                if let Some(device_id) = &settings.device_id {
                    put("deviceId", device_id.as_str().into());
                }
            }
            EnrollmentKey::Group(id) => {
                put("enrollmentGroupId", id.as_str().into());
            }
        }
        put("attestation", self.attestation.document(keys));
        put("capabilities", json!({ "iotEdge": settings.iot_edge }));
        if let Some(name) = &settings.iot_hub_host_name {
            put("iotHubHostName", name.as_str().into());
        }
        if !settings.iot_hubs.is_empty() {
            put("iotHubs", json!(settings.iot_hubs));
        }
        if let Some(twin) = &settings.initial_twin {
            put("initialTwin", json!({ "tags": twin.tags, "properties": { "desired": twin.desired } }));
        }
        if let Some(information) = &settings.optional_device_information {
            put("optionalDeviceInformation", Value::Object(information.clone()));
        }
        // The tag in a body holds its own quotes.
        put("etag", format!("\"{}\"", self.etag_text()).into());
        put("provisioningStatus", settings.status.as_str().into());
        if let Some(policy) = settings.reprovision {
            put(
                "reprovisionPolicy",
                json!({
                    "updateHubAssignment": policy.update_hub_assignment,
                    "migrateDeviceData": policy.migrate_device_data,
                }),
            );
        }
        if let Some(policy) = settings.allocation {
            put("allocationPolicy", policy.as_str().into());
        }
        if let Some(custom) = &settings.custom {
            let address = if keys == Keys::Shown { custom.url.as_str() } else { without_query(&custom.url) };
            put("customAllocationDefinition", json!({ "webhookUrl": address, "apiVersion": custom.api_version }));
        }
        put("createdDateTimeUtc", self.created_at.to_string().into());
        put("lastUpdatedDateTimeUtc", self.updated_at.to_string().into());
        Value::Object(all)
    }
}

impl Attestation {
    /// The attestation mechanism.
    pub fn document(&self, keys: Keys) -> Value {
        let mut all = Map::from_iter([("type".to_owned(), Value::from(self.kind()))]);
        match self {
            Attestation::SymmetricKey(_) if keys == Keys::Hidden => {}
            Attestation::SymmetricKey(pair) => {
                let keys =
                    json!({ "primaryKey": pair.primary.to_base64(), "secondaryKey": pair.secondary.to_base64() });
                all.insert("symmetricKey".to_owned(), keys);
            }
            Attestation::Tpm(tpm) => {
                let mut keys = json!({ "endorsementKey": STANDARD.encode(tpm.endorsement.to_bytes()) });
                if let Some(storage_root) = &tpm.storage_root {
                    keys["storageRootKey"] = STANDARD.encode(storage_root.to_bytes()).into();
                }
                all.insert("tpm".to_owned(), keys);
            }
            Attestation::X509(x509) => {
                let info = |one: &Certificate| json!({ "info": certificate_document(&one.info()) });
                let (name, slots) = match x509 {
                    X509::Client(slots) => ("clientCertificates", slots_document(slots, info)),
                    X509::Signing(slots) => ("signingCertificates", slots_document(slots, info)),
                    X509::References(names) => ("caReferences", slots_document(names, |name| name.as_str().into())),
                };
                all.insert("x509".to_owned(), json!({ name: slots }));
            }
        }
        Value::Object(all)
    }
}

fn without_query(url: &str) -> &str {
    url.split_once('?').map_or(url, |(address, _)| address)
}

fn slots_document<T>(slots: &Slots<T>, one: impl Fn(&T) -> Value) -> Value {
    let named = [("primary", &slots.primary), ("secondary", &slots.secondary)];
    let there = named.into_iter().filter_map(|(name, slot)| Some((name.to_owned(), one(slot.as_ref()?))));
    Value::Object(there.collect())
}
