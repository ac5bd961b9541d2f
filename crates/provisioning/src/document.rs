//! The JSON documents devices get: the same over MQTT, AMQP and HTTPS.
//!
//! Source: DPS device API 2021-10-01; fields the SDKs need are in `docs/compatibility.md`.

use gantry_identity::{CertificateInfo, Refusal, Timestamp};
use serde_json::{Map, Value, json};

use crate::assign::Operation;
use crate::attestation::Evidence;
use crate::registration::{Registration, RegistrationStatus};
use crate::service::{DpsError, Unknown};

impl Operation {
    /// The answer to a register or status request: while it is being worked on, only that.
    pub fn document(&self) -> Value {
        if !self.is_done() {
            return json!({ "operationId": self.id, "status": self.registration.status.as_str() });
        }
        json!({
            "operationId": self.id,
            "status": self.registration.status.as_str(),
            "registrationState": self.registration.document(),
        })
    }
}

impl Registration {
    /// The registration state.
    pub fn document(&self) -> Value {
        let mut all = Map::new();
        let mut put = |key: &str, value: Value| all.insert(key.to_owned(), value);
        put("registrationId", self.id.as_str().into());
        put("createdDateTimeUtc", self.created_at.to_string().into());
        if self.status == RegistrationStatus::Assigned {
            if let Some(hub) = &self.assigned_hub {
                put("assignedHub", hub.as_str().into());
            }
            if let Some(device_id) = &self.device_id {
                put("deviceId", device_id.as_str().into());
            }
        }
        put("status", self.status.as_str().into());
        if let Some(substatus) = self.substatus {
            put("substatus", substatus.as_str().into());
        }
        if let Some((code, message)) = &self.error {
            put("errorCode", (*code).into());
            put("errorMessage", message.as_str().into());
        }
        put("lastUpdatedDateTimeUtc", self.updated_at.to_string().into());
        put("etag", format!("{:016x}", self.etag).into());
        if let Some(payload) = &self.payload {
            put("payload", payload.clone());
        }
        let group = self.group.as_ref().map(|g| g.as_str());
        match &self.evidence {
            Evidence::SymmetricKey => put("symmetricKey", json!({ "enrollmentGroupId": group })),
            Evidence::Tpm { authentication_key } => put("tpm", json!({ "authenticationKey": authentication_key })),
            Evidence::X509 { leaf, signer } => {
                let mut x509 = Map::from_iter([("certificateInfo".to_owned(), certificate_document(leaf))]);
                if let Some(group) = group {
                    x509.insert("enrollmentGroupId".to_owned(), group.into());
                }
                if let Some(signer) = signer {
                    x509.insert("signingCertificateInfo".to_owned(), certificate_document(signer));
                }
                put("x509", Value::Object(x509))
            }
        };
        Value::Object(all)
    }
}

/// What is public of a certificate (`X509CertificateInfo`).
pub fn certificate_document(info: &CertificateInfo) -> Value {
    json!({
        "subjectName": info.subject,
        "sha1Thumbprint": info.sha1_thumbprint,
        "sha256Thumbprint": info.sha256_thumbprint,
        "issuerName": info.issuer,
        "notBeforeUtc": info.not_before.to_string(),
        "notAfterUtc": info.not_after.to_string(),
        "serialNumber": info.serial_number,
        "version": info.version,
    })
}

impl DpsError {
    /// Six-digit code; its first three digits are the HTTP status. Numbers beyond the published
    /// ones are ours, see `docs/compatibility.md`.
    pub fn code(&self) -> u32 {
        match self {
            Self::Unauthorized(_) => 401_002,
            Self::Forbidden(_) => 403_002,
            Self::NotFound(Unknown::Enrollment, _) => 404_201,
            Self::NotFound(Unknown::Registration, _) => 404_202,
            Self::NotFound(Unknown::Operation, _) => 404_203,
            Self::NotFound(Unknown::Group, _) => 404_204,
            Self::NotFound(Unknown::Hub, _) => 404_205,
            Self::Throttled { .. } => 429_001,
            Self::Conflict(_) => 409_201,
            Self::PreconditionFailed => 412_001,
            Self::Invalid(_) => 400_004,
            Self::Malformed(_) => 400_012,
            Self::NotImplemented(_) => 501_001,
            Self::Failed(_) => 500_001,
        }
    }

    /// The body of the refusal that challenges the TPM of a device.
    pub fn challenge_document(blob: &[u8], tracking_id: &str, now: Timestamp) -> Value {
        use base64::Engine as _;
        let mut document = Self::Unauthorized(Refusal::Missing).document(tracking_id, now);
        document["authenticationKey"] = base64::engine::general_purpose::STANDARD.encode(blob).into();
        // The name under which the TPM signs; the C client asks for it.
        document["keyName"] = "registration".into();
        document
    }

    /// The body of an error answer.
    pub fn document(&self, tracking_id: &str, now: Timestamp) -> Value {
        json!({
            "errorCode": self.code(),
            "trackingId": tracking_id,
            "message": match self {
                Self::Unauthorized(_) => "Unauthorized".to_owned(),
                Self::Failed(_) => "Internal error".to_owned(),
                other => other.to_string(),
            },
            "info": {},
            "timestampUtc": now.to_string(),
        })
    }
}
