//! The JSON documents devices get: the same over MQTT, AMQP and HTTPS.
//!
//! Source: DPS device API 2021-10-01; fields the SDKs need are in `docs/compatibility.md`.

use gantry_identity::Timestamp;
use serde_json::{Map, Value, json};

use crate::assign::Operation;
use crate::registration::{Registration, RegistrationStatus};
use crate::service::DpsError;

impl Operation {
    /// The answer to a register request: still being worked on, ask again.
    pub fn accepted_document(&self) -> Value {
        json!({ "operationId": self.id, "status": RegistrationStatus::Assigning.as_str() })
    }

    /// The answer to a status request.
    pub fn document(&self) -> Value {
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
        if let Some(hub) = &self.assigned_hub {
            put("assignedHub", hub.as_str().into());
        }
        if let Some(device_id) = &self.device_id {
            put("deviceId", device_id.as_str().into());
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
        let group = self.group.as_ref().map(|g| g.as_str());
        put("symmetricKey", json!({ "enrollmentGroupId": group }));
        Value::Object(all)
    }
}

impl DpsError {
    /// Six-digit code; its first three digits are the HTTP status. Numbers beyond the published
    /// ones are ours, see `docs/compatibility.md`.
    pub fn code(&self) -> u32 {
        match self {
            Self::Unauthorized(_) => 401_002,
            Self::NotFound(_) => 404_201,
            Self::Conflict(_) => 409_201,
            Self::PreconditionFailed => 412_001,
            Self::Invalid(_) => 400_004,
            Self::NotImplemented(_) => 501_001,
            Self::Failed(_) => 500_001,
        }
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
