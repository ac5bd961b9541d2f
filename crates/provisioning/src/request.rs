//! What a device says when it asks: the same body over MQTT, AMQP and HTTPS.

use gantry_hub::json::check_integers;
use serde_json::{Map, Value};

use crate::assign::Registering;
use crate::registration::RegistrationId;
use crate::service::DpsError;

/// Largest body of a device's request in bytes (DPS limits: message size 96 KB).
pub const DEVICE_BODY_BYTES_MAX: usize = 96 * 1024;

/// Seconds until a device should ask again.
pub const RETRY_AFTER_SECS: i32 = 2;

impl Registering {
    /// Reads a request's body. It may be blank; otherwise it is JSON and names no other registration id than `id`.
    ///
    /// # Errors
    /// [`DpsError::Malformed`] or [`DpsError::Invalid`], or [`DpsError::NotImplemented`] for what Gantry does not do.
    pub fn read(body: &[u8], id: &RegistrationId) -> Result<Self, DpsError> {
        if body.len() > DEVICE_BODY_BYTES_MAX {
            return Err(DpsError::Invalid(format!("the body exceeds {DEVICE_BODY_BYTES_MAX} bytes")));
        }
        if body.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        let malformed = |error: serde_json::Error| DpsError::Malformed(error.to_string());
        check_integers(body).map_err(malformed)?;
        let mut body: Map<String, Value> = serde_json::from_slice(body).map_err(malformed)?;
        let mut take = |field: &str| body.get_mut(field).map(Value::take).filter(|value| !value.is_null());
        match take("registrationId") {
            Some(Value::String(given)) if given.eq_ignore_ascii_case(id.as_str()) => {}
            None => {}
            Some(Value::String(_)) => {
                return Err(DpsError::Invalid("registrationId differs from the one that asks".into()));
            }
            Some(_) => return Err(DpsError::Malformed("registrationId is not text".into())),
        }
        if take("csr").is_some() {
            return Err(DpsError::NotImplemented("certificate issuance (csr)"));
        }
        let payload = take("payload");
        if payload.as_ref().is_some_and(|payload| !payload.is_object()) {
            return Err(DpsError::Malformed("payload is not an object".into()));
        }
        Ok(Self { payload, force: false })
    }
}

/// The public keys a device shows of its TPM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmRequest {
    /// Endorsement key, `TPM2B_PUBLIC`.
    pub endorsement_key: Vec<u8>,
    /// Storage root key, `TPM2B_PUBLIC`.
    pub storage_root_key: Vec<u8>,
}

impl TpmRequest {
    /// Reads `tpm` of a request's body; `None` when there is none.
    ///
    /// # Errors
    /// [`DpsError::Invalid`] for a key that is missing or no base64.
    pub fn read(body: &[u8]) -> Result<Option<Self>, DpsError> {
        use base64::Engine as _;
        if body.len() > DEVICE_BODY_BYTES_MAX {
            return Ok(None);
        }
        let Ok(body) = serde_json::from_slice::<Value>(body) else { return Ok(None) };
        let Some(tpm) = body.get("tpm").filter(|tpm| !tpm.is_null()) else { return Ok(None) };
        let key = |name: &str| {
            let text = tpm.get(name).and_then(Value::as_str).unwrap_or_default();
            let decoded = base64::engine::general_purpose::STANDARD.decode(text).ok();
            let given = decoded.filter(|bytes| !bytes.is_empty());
            given.ok_or_else(|| DpsError::Invalid(format!("tpm.{name} must be a TPM2B_PUBLIC in base64")))
        };
        Ok(Some(Self { endorsement_key: key("endorsementKey")?, storage_root_key: key("storageRootKey")? }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8]) -> Result<Registering, DpsError> {
        Registering::read(body, &RegistrationId::parse("Pump-1").unwrap())
    }

    #[test]
    fn a_body_is_blank_or_json_that_names_the_device() {
        for body in ["", " ", "{}", r#"{"registrationId":"pump-1"}"#, r#"{"registrationId":null,"payload":null}"#] {
            assert_eq!(read(body.as_bytes()).unwrap(), Registering::default(), "{body}");
        }
        let with_payload = read(br#"{"registrationId":"Pump-1","payload":{"model":"x"}}"#).unwrap();
        assert_eq!(with_payload.payload, Some(serde_json::json!({"model": "x"})));
        let other = read(br#"{"registrationId":"other"}"#);
        assert!(matches!(other, Err(DpsError::Invalid(_))), "{other:?}");
    }

    #[test]
    fn a_body_that_is_no_json_or_of_other_types_is_malformed() {
        for body in ["{", "\u{0}", "[]", "\"text\"", "7", "null", "{}{}", r#"{"registrationId":7}"#] {
            assert!(matches!(read(body.as_bytes()), Err(DpsError::Malformed(_))), "{body}");
        }
        for payload in ["7", "\"text\"", "[]", "[{}]", "true"] {
            let body = format!(r#"{{"registrationId":"pump-1","payload":{payload}}}"#);
            let refused = read(body.as_bytes()).unwrap_err();
            assert_eq!(refused.code(), 400_012, "{body}");
            assert!(refused.to_string().contains("payload"), "{refused}");
        }
    }

    #[test]
    fn the_largest_body_is_96_kib() {
        let blank = |bytes: usize| vec![b' '; bytes];
        assert!(read(&blank(DEVICE_BODY_BYTES_MAX)).is_ok());
        assert!(matches!(read(&blank(DEVICE_BODY_BYTES_MAX + 1)), Err(DpsError::Invalid(_))));
    }

    #[test]
    fn issuance_is_refused_by_name() {
        let refused = read(br#"{"csr":"MIIB"}"#).unwrap_err();
        assert!(matches!(refused, DpsError::NotImplemented("certificate issuance (csr)")));
    }
}
