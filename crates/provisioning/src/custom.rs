//! Custom allocation: a webhook of the operator chooses the hub.
//!
//! It gets the enrollment without its keys, what is known of the device, and the hubs it may choose among; it answers
//! `{"iotHubHostName", "initialTwin"?, "payload"?}`.

use gantry_hub::ports::PortFuture;
use serde_json::{Map, Value, json};

use crate::allocation::CustomError;
use crate::attest::Registrant;
use crate::attestation::Evidence;
use crate::document::certificate_document;
use crate::enrollment::{EnrollmentKey, InitialTwin};
use crate::enrollment_document::Keys;
use crate::link::LinkedHub;
use crate::registration::Registration;

/// Largest payload a webhook may hand to a device, in bytes of JSON.
const PAYLOAD_BYTES_MAX: usize = 32 * 1024;

/// Asks webhooks, once each, within 30 s and a bounded answer.
pub trait Webhooks: Send + Sync {
    /// Posts a JSON body; the JSON of the answer if its status is 200.
    fn ask<'a>(&'a self, url: &'a str, body: &'a Value) -> PortFuture<'a, Value, CustomError>;
}

/// What a webhook decided.
#[derive(Debug, PartialEq)]
pub(crate) struct Decision {
    pub(crate) host_name: String,
    pub(crate) initial_twin: Option<InitialTwin>,
    pub(crate) payload: Option<Value>,
}

/// The question.
pub(crate) fn question(
    registrant: &Registrant,
    known: Option<&Registration>,
    payload: Option<&Value>,
    candidates: &[LinkedHub],
) -> Value {
    let mut context = Map::from_iter([("registrationId".to_owned(), Value::from(registrant.id.as_str()))]);
    if let Some(hub) = known.and_then(|known| known.assigned_hub.as_deref()) {
        context.insert("currentIotHubHostName".into(), hub.into());
    }
    if let Some(device) = known.and_then(|known| known.device_id.as_ref()) {
        context.insert("currentDeviceId".into(), device.as_str().into());
    }
    let evidence = registrant.credential.evidence();
    match &evidence {
        Evidence::X509 { leaf, .. } => {
            let info = certificate_document(leaf);
            context.insert("x509".into(), json!({ "clientCertificates": { "primary": { "info": info } } }));
        }
        other => {
            context.insert(other.kind().to_owned(), json!({}));
        }
    }
    if let Some(payload) = payload {
        context.insert("payload".into(), payload.clone());
    }
    let name = match registrant.enrollment.key {
        EnrollmentKey::Individual(_) => "individualEnrollment",
        EnrollmentKey::Group(_) => "enrollmentGroup",
    };
    let hubs: Vec<_> = candidates.iter().map(|hub| hub.host_name.as_str()).collect();
    json!({
        name: registrant.enrollment.document(Keys::Hidden),
        "deviceRuntimeContext": context,
        "linkedHubs": hubs,
    })
}

/// Reads the answer.
pub(crate) fn decision(answer: &Value) -> Result<Decision, CustomError> {
    let name = answer.get("iotHubHostName").and_then(Value::as_str).filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| CustomError::NotSpecified("iotHubHostName is missing".into()))?;
    let initial_twin = match answer.get("initialTwin") {
        None | Some(Value::Null) => None,
        Some(twin) => {
            Some(InitialTwin::parse(twin).map_err(|error| CustomError::Failed(format!("initialTwin: {error}")))?)
        }
    };
    let payload = answer.get("payload").filter(|payload| !payload.is_null()).cloned();
    if payload.as_ref().is_some_and(|payload| payload.to_string().len() > PAYLOAD_BYTES_MAX) {
        return Err(CustomError::Failed(format!("the payload exceeds {PAYLOAD_BYTES_MAX} bytes")));
    }
    Ok(Decision { host_name: name.to_owned(), initial_twin, payload })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_a_hub_and_may_bring_a_twin_and_words() {
        let answer = json!({
            "iotHubHostName": "b.example",
            "initialTwin": { "tags": { "hall": 3 }, "properties": { "desired": { "rate": 5 } } },
            "payload": { "welcome": true },
        });
        let decision = decision(&answer).unwrap();
        assert_eq!(decision.host_name, "b.example");
        assert_eq!(decision.initial_twin.unwrap().desired["rate"], 5);
        assert_eq!(decision.payload.unwrap()["welcome"], true);
    }

    #[test]
    fn answers_that_lie_are_refused_by_name() {
        for wrong in [json!({}), json!({ "iotHubHostName": "" }), json!([]), json!({ "iotHubHostName": 5 })] {
            assert!(matches!(decision(&wrong), Err(CustomError::NotSpecified(_))), "{wrong}");
        }
        let long = "x".repeat(PAYLOAD_BYTES_MAX);
        for wrong in [
            json!({ "iotHubHostName": "b", "initialTwin": 5 }),
            json!({ "iotHubHostName": "b", "initialTwin": { "tags": [] } }),
            json!({ "iotHubHostName": "b", "initialTwin": { "properties": 5 } }),
            json!({ "iotHubHostName": "b", "initialTwin": { "tags": { "a": null } } }),
            json!({ "iotHubHostName": "b", "initialTwin": { "properties": { "desired": { "a#": 1 } } } }),
            json!({ "iotHubHostName": "b", "payload": long }),
        ] {
            let refused = decision(&wrong);
            assert!(matches!(refused, Err(CustomError::Failed(_))), "{wrong}: {refused:?}");
        }
    }
}
