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

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_identity::Signer;

    const RESOURCE: &str = "0ne1/registrations/pump";

    /// Public keys that differ by their policy.
    fn public(policy: u8) -> TpmPublic {
        let mut area = vec![0, 1, 0, 0xb, 0, 3, 0, 2, 0, 32];
        area.extend([policy; 32]);
        area.extend([0, 6, 0, 128, 0, 0x43, 0, 0x10, 8, 0, 0, 0, 0, 0, 1, 0]);
        area.extend([0xc1; 256]);
        let len = u16::try_from(area.len()).unwrap();
        TpmPublic::parse(&[&len.to_be_bytes()[..], &area].concat()).unwrap()
    }

    fn id(text: &str) -> RegistrationId {
        RegistrationId::parse(text).unwrap()
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    fn key(first: u8) -> Key {
        Key::from_bytes([first; 32])
    }

    fn put(nonces: &Nonces, now: Timestamp, device: &str, first: u8) -> bool {
        let keys = TpmKeys { endorsement: public(1), storage_root: public(2) };
        let nonce = Nonce { key: key(first), keys, expires_at: now.plus(NONCE_LIFE), is_used: false };
        nonces.put(now, &id(device), nonce)
    }

    /// Redeems a token over `resource`, signed with the key of `first`.
    fn redeem(nonces: &Nonces, now: Timestamp, first: u8, resource: &str, how: Use) -> Result<Timestamp, Refusal> {
        let signer = Signer { resource: resource.into(), key: key(first), policy: Some("registration".into()) };
        let sas = SharedAccessSignature::parse(&signer.token(at(100_000))).unwrap();
        nonces.redeem(now, "0ne1", &id("pump"), &public(1), &sas, how).map(|(_, expires_at)| expires_at)
    }

    #[test]
    fn a_nonce_registers_once_and_then_only_asks() {
        let nonces = Nonces::default();
        assert!(put(&nonces, at(0), "pump", 7));
        let ends = Ok(at(600));
        assert_eq!(redeem(&nonces, at(1), 7, RESOURCE, Use::Register), ends);
        assert_eq!(redeem(&nonces, at(2), 7, RESOURCE, Use::Register), Err(Refusal::Replayed));
        assert_eq!(redeem(&nonces, at(3), 7, RESOURCE, Use::Follow), ends);
        assert_eq!(redeem(&nonces, at(600), 7, RESOURCE, Use::Follow), Err(Refusal::Missing));
    }

    #[test]
    fn a_token_of_another_key_resource_or_tpm_uses_nothing_up() {
        let nonces = Nonces::default();
        assert_eq!(redeem(&nonces, at(0), 7, RESOURCE, Use::Register), Err(Refusal::Missing));
        assert!(put(&nonces, at(0), "pump", 7));
        assert_eq!(redeem(&nonces, at(0), 8, RESOURCE, Use::Register), Err(Refusal::Signature));
        let elsewhere = redeem(&nonces, at(0), 7, "0ne1/registrations/other", Use::Register);
        assert!(matches!(elsewhere, Err(Refusal::Resource { .. })), "{elsewhere:?}");
        let signer = Signer { resource: RESOURCE.into(), key: key(7), policy: None };
        let sas = SharedAccessSignature::parse(&signer.token(at(100_000))).unwrap();
        let replaced = nonces.redeem(at(0), "0ne1", &id("pump"), &public(3), &sas, Use::Register);
        assert_eq!(replaced.map(|_| ()), Err(Refusal::Missing));
        assert!(redeem(&nonces, at(0), 7, RESOURCE, Use::Register).is_ok());
    }

    #[test]
    fn nonces_are_bounded_for_a_device_and_in_all() {
        let nonces = Nonces::default();
        for first in 0..=8 {
            assert!(put(&nonces, at(0), "pump", first));
        }
        assert_eq!(redeem(&nonces, at(1), 0, RESOURCE, Use::Register), Err(Refusal::Signature));
        assert!(redeem(&nonces, at(1), 1, RESOURCE, Use::Register).is_ok());
        for device in 1..DEVICES_MAX {
            assert!(put(&nonces, at(1), &format!("d{device}"), 0));
        }
        assert!(!put(&nonces, at(2), "one-more", 0));
        assert!(put(&nonces, at(2), "pump", 9));
        assert!(put(&nonces, at(700), "one-more", 0));
    }
}
