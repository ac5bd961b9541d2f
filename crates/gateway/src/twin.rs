//! What twin requests of devices have in common over MQTT and AMQP.

use gantry_hub::json::check_integers;
use gantry_hub::twin::{Object, TwinError};
use gantry_hub::{HubError, Session};
use gantry_identity::Timestamp;
use serde_json::{Value, json};

/// Reads the patch of a report.
pub(crate) fn reported_patch(payload: &[u8]) -> Result<Object, HubError> {
    // Of two members with one name the last counts, as at the reference: firmware writes its JSON by hand.
    match serde_json::from_slice(payload).and_then(|patch| check_integers(payload).map(|()| patch)) {
        Ok(Value::Object(patch)) => Ok(patch),
        Ok(_) => Err(HubError::Invalid("reported properties must be a JSON object".into())),
        Err(error) => Err(HubError::Invalid(format!("malformed JSON: {error}"))),
    }
}

/// Status and number of a failed request.
pub(crate) fn twin_code(error: &HubError) -> (u16, u32) {
    match error {
        HubError::NotFound(_) => (404, 404_001),
        HubError::PreconditionFailed(_) => (412, 412_001),
        HubError::Twin(TwinError::TooLarge { .. }) => (413, 413_001),
        HubError::Twin(_) | HubError::Invalid(_) => (400, 400_004),
        HubError::Throttled(_) | HubError::Contended(_) => (429, 429_001),
        HubError::NotInEdition(_) => (403, 403_010),
        HubError::NoSpace => (503, 503_001),
        _ => (500, 500_001),
    }
}

/// Status and JSON body of a failed request.
pub(crate) fn twin_failure(error: &HubError, session: &Session, now: Timestamp) -> (u16, String) {
    let (status, code) = twin_code(error);
    let message = match error {
        // What failed inside is for the log.
        HubError::Failed(_) => "internal error".to_owned(),
        other => other.to_string(),
    };
    let body = json!({
        "errorCode": code,
        "message": message,
        "trackingId": format!("{:x}-{}", now.as_millis(), session.generation_id),
        "timestampUtc": now.to_string(),
    });
    (status, body.to_string())
}
