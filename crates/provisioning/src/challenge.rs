//! The challenge of TPM attestation: a key that only the enrolled TPM can open, and a token that it signs with it.
//!
//! Each challenge has a nonce, the key to sign with. A nonce lets its device register once; after that it opens only
//! questions about that registration, until it expires. Nonces live in memory, bounded in number for one device and
//! in all.

use std::collections::HashMap;
use std::time::Duration;

use gantry_identity::{Key, KeyPair, Refusal, SharedAccessSignature, Timestamp, TpmKeys, TpmPublic, WrapEntropy};
use parking_lot::Mutex;

use crate::attestation::Attestation;
use crate::enrollment::EnrollmentKey;
use crate::registration::RegistrationId;
use crate::request::TpmRequest;
use crate::service::{DpsError, Service};

/// Devices with an open challenge.
const DEVICES_MAX: usize = 10_000;
/// Nonces of one device: somebody else who knows its public keys can ask too, and must not push its own out at once.
const NONCES_PER_DEVICE_MAX: usize = 8;
/// How long a device should wait when too many challenges are open.
const WAIT: Duration = Duration::from_secs(60);
/// How long a nonce can be used.
const NONCE_LIFE: Duration = Duration::from_secs(600);

/// What a device asks for with its proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// To register, which uses a nonce up.
    Register,
    /// To ask about its registration.
    Follow,
}

struct Nonce {
    key: Key,
    keys: TpmKeys,
    expires_at: Timestamp,
    is_used: bool,
}

/// Nonces by folded registration id.
#[derive(Default)]
pub(crate) struct Nonces(Mutex<HashMap<String, Vec<Nonce>>>);

impl Nonces {
    /// Keeps a nonce; the oldest of its device goes when there are too many. `false` when too many devices have some.
    fn put(&self, now: Timestamp, id: &RegistrationId, nonce: Nonce) -> bool {
        let mut all = self.0.lock();
        if all.len() >= DEVICES_MAX {
            all.retain(|_, nonces| nonces.iter().any(|nonce| now < nonce.expires_at));
        }
        if all.len() >= DEVICES_MAX && !all.contains_key(&id.folded()) {
            return false;
        }
        let nonces = all.entry(id.folded()).or_default();
        nonces.retain(|nonce| now < nonce.expires_at);
        if nonces.len() >= NONCES_PER_DEVICE_MAX {
            nonces.remove(0);
        }
        nonces.push(nonce);
        true
    }

    /// The keys of the TPM that signed a token, and when its proof ends.
    pub(crate) fn redeem(
        &self,
        now: Timestamp,
        scope: &str,
        id: &RegistrationId,
        endorsement: &TpmPublic,
        sas: &SharedAccessSignature,
        how: Use,
    ) -> Result<(TpmKeys, Timestamp), Refusal> {
        let mut all = self.0.lock();
        let mut refusal = Refusal::Missing;
        // A nonce for another EK is of an enrollment that was replaced.
        let open = |nonce: &&mut Nonce| now < nonce.expires_at && nonce.keys.endorsement == *endorsement;
        for nonce in all.get_mut(&id.folded()).into_iter().flatten().filter(open) {
            let pair = KeyPair { primary: nonce.key.clone(), secondary: nonce.key.clone() };
            let claims = match sas.verify(&pair, now) {
                Ok(claims) => claims,
                Err(error) => {
                    refusal = error;
                    continue;
                }
            };
            claims.require(scope, &format!("registrations/{id}"))?;
            if how == Use::Register && std::mem::replace(&mut nonce.is_used, true) {
                return Err(Refusal::Replayed);
            }
            return Ok((nonce.keys.clone(), claims.expires_at.min(nonce.expires_at)));
        }
        Err(refusal)
    }
}

impl Service {
    /// Challenges a device that showed the public keys of its TPM: what only that TPM can open.
    ///
    /// # Errors
    /// [`DpsError::Invalid`] for keys that cannot be used, [`DpsError::Unauthorized`] for those that are not enrolled,
    /// [`DpsError::Throttled`] when too many challenges are open.
    pub async fn challenge(
        &self,
        now: Timestamp,
        scope: &str,
        id: &RegistrationId,
        shown: &TpmRequest,
    ) -> Result<Vec<u8>, DpsError> {
        if scope != self.config.id_scope.as_str() {
            return Err(DpsError::Unauthorized(Refusal::UnknownIdentity(format!("id scope {scope}"))));
        }
        let key = |name: &str, bytes: &[u8]| {
            TpmPublic::parse(bytes).map_err(|error| DpsError::Invalid(format!("{name}: {error}")))
        };
        let endorsement = key("endorsementKey", &shown.endorsement_key)?;
        let storage_root = key("storageRootKey", &shown.storage_root_key)?;
        let unknown = |what: &str| DpsError::Unauthorized(Refusal::UnknownIdentity(format!("{what} of {id}")));
        let enrollment = self.store.enrollment(&EnrollmentKey::Individual(id.clone())).await?;
        let attestation = enrollment.map(|enrollment| enrollment.attestation);
        let Some(Attestation::Tpm(enrolled)) = attestation else { return Err(unknown("TPM")) };
        if enrolled.endorsement != endorsement {
            return Err(unknown("endorsement key"));
        }
        if enrolled.storage_root.is_some_and(|enrolled| enrolled != storage_root) {
            return Err(unknown("storage root key"));
        }
        let keys = TpmKeys { endorsement, storage_root };
        let mut bytes = [0; 32];
        self.entropy.fill(&mut bytes);
        let nonce = Key::from_bytes(bytes);
        let blob = self.wrap(&keys, &nonce)?;
        let nonce = Nonce { key: nonce, keys, expires_at: now.plus(NONCE_LIFE), is_used: false };
        if !self.nonces.put(now, id, nonce) {
            return Err(DpsError::Throttled { retry_after: WAIT });
        }
        Ok(blob)
    }

    /// Wraps a key for a TPM.
    pub(crate) fn wrap(&self, keys: &TpmKeys, key: &Key) -> Result<Vec<u8>, DpsError> {
        let entropy = WrapEntropy::draw(|bytes| self.entropy.fill(bytes));
        keys.wrap(key, &entropy).map_err(|error| DpsError::Failed(error.to_string()))
    }
}
