//! The hub behind the ports.

use gantry_hub::c2d::C2dMessage;
use gantry_hub::ports::PortFuture;
use gantry_hub::{Hub, HubError};
use gantry_identity::{Identity, Refusal, SharedAccessSignature, Timestamp};

use super::ports::{Authorizer, C2dSender, Grant};

impl Authorizer for Hub {
    fn check(&self, now: Timestamp, token: &str) -> Result<Grant, Refusal> {
        let signature = SharedAccessSignature::parse(token)?;
        // A device's own key opens nothing on the service side.
        let name = signature.policy().ok_or_else(|| Refusal::UnknownPolicy(String::new()))?;
        if self.refuses_policy_tokens() {
            return Err(Refusal::Kind { identity: name.to_owned(), presented: "a token (switched off)" });
        }
        let policies = self.policies();
        let policy = policies.find(name).ok_or_else(|| Refusal::UnknownPolicy(name.to_owned()))?;
        // IoT Hub clients sign with the key, Event Hubs clients with its base64 text.
        let claims = match signature.verify(&policy.keys, now) {
            Err(Refusal::Signature) => signature.verify(&policy.keys.as_text(), now)?,
            verdict => verdict?,
        };
        if !self.answers_to(&claims.resource) {
            return Err(Refusal::Resource { presented: claims.resource, needed: self.host_name().to_owned() });
        }
        Ok(Grant {
            resource: claims.resource,
            policy: policy.name.clone(),
            rights: policy.rights,
            expires_at: claims.expires_at,
        })
    }

    fn on_refused(&self, now: Timestamp, claimed: &str, peer: &str, operation: &'static str, reason: &Refusal) {
        self.report_refusal(now, claimed, peer, operation, reason);
    }
}

impl C2dSender for Hub {
    fn send(&self, now: Timestamp, to: Identity, message: C2dMessage) -> PortFuture<'_, (), HubError> {
        Box::pin(async move { self.send_c2d(now, &to, message).await })
    }
}
