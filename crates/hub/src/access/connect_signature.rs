//! Devices that sign the context of their connection instead of a token (MQTT 5).

use gantry_identity::{ConnectSignature, Identity, Timestamp};

use crate::access::{Proof, Session};
use crate::error::HubError;
use crate::hub::Hub;

impl Hub {
    /// Checks what a device of MQTT 5 signed: with its own key, or with the key of a policy that may connect devices.
    /// Without a host in `signed`, any name of the hub may have been signed.
    ///
    /// # Errors
    /// [`HubError::Unauthorized`] with the reason for the log, or a store failure.
    pub async fn authenticate_signed(
        &self,
        now: Timestamp,
        identity: &Identity,
        signed: ConnectSignature<'_>,
    ) -> Result<Session, HubError> {
        let record = self.store.record(identity).await?;
        let now = self.skewed(now, Some(identity));
        let checked = self.signing_keys(identity, signed.policy, record.as_ref()).and_then(|(keys, scope)| {
            let expires_at = Some(self.verify_signed(now, &keys, signed)?);
            Ok(Proof { scope, kind: "sas", expires_at })
        });
        self.admit_proof(identity, record, checked).await
    }

    fn verify_signed(
        &self,
        now: Timestamp,
        keys: &gantry_identity::KeyPair,
        signed: ConnectSignature<'_>,
    ) -> Result<Timestamp, gantry_identity::Refusal> {
        if !signed.host.is_empty() {
            return signed.verify(keys, now);
        }
        let mut last = Err(gantry_identity::Refusal::Signature);
        for host in &self.config.host_names {
            last = ConnectSignature { host, ..signed }.verify(keys, now);
            if last.is_ok() {
                break;
            }
        }
        last
    }
}
