//! Attestation: which enrollment a device belongs to, and its proof.
//!
//! The individual enrollment of a registration id decides when there is one, whatever it says. Otherwise a token is
//! tried under the key derived from each group's, and a certificate belongs to the group with the nearest authority up
//! its chain. Revocation lists are not consulted, as in the reference service.
//!
//! A disabled enrollment still admits: the registration then says `disabled`, as the reference does.

use gantry_hub::Presented;
use gantry_identity::{
    Authority, Certificate, CertificateChain, CertificateError, Claims, KeyPair, Refusal, SharedAccessSignature,
    Timestamp, TpmKeys,
};

use crate::attestation::{Attestation, Credential, TpmAttestation, X509};
use crate::challenge::Use;
use crate::enrollment::{Enrollment, EnrollmentKey};
use crate::ports::EnrollmentKind;
use crate::registration::RegistrationId;
use crate::service::{DpsError, Service};

/// Groups of an instance: 100 by certificate and 100 by symmetric key (DPS limits), so each may be looked at.
const GROUPS_MAX: usize = 200;

/// A device that proved itself to an enrollment.
#[derive(Clone, Debug)]
pub struct Registrant {
    /// Its registration id, as sent.
    pub id: RegistrationId,
    /// The enrollment that admitted it.
    pub enrollment: Enrollment,
    /// What it proved to hold.
    pub credential: Credential,
    /// When its proof expires.
    pub expires_at: Timestamp,
}

impl Service {
    /// Checks what a device presents against its individual enrollment, or else the groups. It may register then.
    ///
    /// # Errors
    /// [`DpsError::Unauthorized`] with the reason for the log, or a store failure.
    pub async fn authenticate_device(
        &self,
        now: Timestamp,
        scope: &str,
        id: &RegistrationId,
        presented: Presented<'_>,
    ) -> Result<Registrant, DpsError> {
        self.authenticate(now, scope, id, presented, Use::Register).await
    }

    /// The same for a device that only asks about its registration: the proof it registered with is good again.
    ///
    /// # Errors
    /// As [`authenticate_device`](Self::authenticate_device).
    pub async fn recognize_device(
        &self,
        now: Timestamp,
        scope: &str,
        id: &RegistrationId,
        presented: Presented<'_>,
    ) -> Result<Registrant, DpsError> {
        self.authenticate(now, scope, id, presented, Use::Follow).await
    }

    async fn authenticate(
        &self,
        now: Timestamp,
        scope: &str,
        id: &RegistrationId,
        presented: Presented<'_>,
        how: Use,
    ) -> Result<Registrant, DpsError> {
        if scope != self.config.id_scope.as_str() {
            return Err(DpsError::Unauthorized(Refusal::UnknownIdentity(format!("id scope {scope}"))));
        }
        match (presented.token, presented.certificate) {
            (Some(token), _) => self.authenticate_by_token(now, scope, id, token, how).await,
            (None, Some(chain)) => self.authenticate_by_certificate(now, id, chain).await,
            (None, None) => Err(DpsError::Unauthorized(Refusal::Missing)),
        }
    }

    async fn authenticate_by_token(
        &self,
        now: Timestamp,
        scope: &str,
        id: &RegistrationId,
        token: &str,
        how: Use,
    ) -> Result<Registrant, DpsError> {
        let refuse = DpsError::Unauthorized;
        let sas = SharedAccessSignature::parse(token).map_err(|e| refuse(e.into()))?;
        let individual = self.store.enrollment(&EnrollmentKey::Individual(id.clone())).await?;
        let (enrollment, keys, claims) = match individual {
            Some(enrollment) => match &enrollment.attestation {
                Attestation::SymmetricKey(keys) => {
                    let (keys, claims) = (keys.clone(), sas.verify(keys, now).map_err(refuse)?);
                    (enrollment, keys, claims)
                }
                Attestation::Tpm(tpm) => {
                    let redeemed = self.nonces.redeem(now, scope, id, &tpm.endorsement, &sas, how);
                    let (tpm_keys, expires_at) = redeemed.map_err(refuse)?;
                    let credential = self.tpm_credential(tpm, &tpm_keys)?;
                    return Ok(Registrant { id: id.clone(), enrollment, credential, expires_at });
                }
                Attestation::X509(_) => return Err(wrong_kind(id, "a token")),
            },
            None => self.find_group_by_token(now, id, &sas).await?,
        };
        claims.require(scope, &format!("registrations/{id}")).map_err(refuse)?;
        let credential = Credential::SymmetricKeys(keys);
        Ok(Registrant { id: id.clone(), enrollment, credential, expires_at: claims.expires_at })
    }

    /// The key for the hub, as the TPM takes it.
    fn tpm_credential(&self, tpm: &TpmAttestation, keys: &TpmKeys) -> Result<Credential, DpsError> {
        use base64::Engine as _;
        let wrapped = base64::engine::general_purpose::STANDARD.encode(self.wrap(keys, &tpm.key)?);
        Ok(Credential::Tpm { key: tpm.key.clone(), wrapped })
    }

    async fn find_group_by_token(
        &self,
        now: Timestamp,
        id: &RegistrationId,
        sas: &SharedAccessSignature,
    ) -> Result<(Enrollment, KeyPair, Claims), DpsError> {
        let mut refusal = Refusal::UnknownIdentity(format!("registration {id}"));
        for group in self.store.enrollments(EnrollmentKind::Group, None, GROUPS_MAX).await? {
            let Attestation::SymmetricKey(keys) = &group.attestation else { continue };
            let folded = id.folded();
            for text in [id.as_str(), folded.as_str()] {
                let derived = keys.derive(text);
                match sas.verify(&derived, now) {
                    Ok(claims) => return Ok((group, derived, claims)),
                    Err(Refusal::Signature) => {
                        if !matches!(refusal, Refusal::Expired(_)) {
                            refusal = Refusal::Signature;
                        }
                    }
                    Err(other) => refusal = other,
                }
            }
        }
        Err(DpsError::Unauthorized(refusal))
    }

    async fn authenticate_by_certificate(
        &self,
        now: Timestamp,
        id: &RegistrationId,
        chain: &CertificateChain,
    ) -> Result<Registrant, DpsError> {
        let refuse = |error: CertificateError| DpsError::Unauthorized(error.into());
        let name = chain.common_name().map_err(refuse)?.unwrap_or_default();
        if !name.eq_ignore_ascii_case(id.as_str()) {
            return Err(refuse(CertificateError::CommonName { presented: name, needed: id.to_string() }));
        }
        let leaf = Box::new(chain.leaf_certificate().map_err(refuse)?.info());
        let individual = self.store.enrollment(&EnrollmentKey::Individual(id.clone())).await?;
        let (enrollment, signer) = match individual {
            Some(enrollment) => {
                let Attestation::X509(x509) = &enrollment.attestation else {
                    return Err(wrong_kind(id, "a certificate"));
                };
                let signer = self.check_individual(x509, chain, now).map_err(refuse)?;
                (enrollment, signer)
            }
            None => {
                let (group, signer) = self.find_group_by_chain(chain, now).await?;
                (group, Some(signer))
            }
        };
        let signer = signer.and_then(|authority| Certificate::parse(authority.der()).ok());
        let signer = signer.map(|certificate| Box::new(certificate.info()));
        let expires_at = leaf.not_after;
        Ok(Registrant { id: id.clone(), enrollment, credential: Credential::Certificate { leaf, signer }, expires_at })
    }

    /// The authority the leaf leads to; `None` when the enrollment names the leaf itself.
    fn check_individual(
        &self,
        x509: &X509,
        chain: &CertificateChain,
        now: Timestamp,
    ) -> Result<Option<Authority>, CertificateError> {
        if let X509::Client(leaves) = x509 {
            return chain.check_leaf(leaves.iter(), now).map(|()| None);
        }
        let mut authorities = self.authorities_of(x509);
        let found = chain.find_authority(&authorities.iter().collect::<Vec<_>>(), now)?;
        Ok(Some(authorities.swap_remove(found)))
    }

    async fn find_group_by_chain(
        &self,
        chain: &CertificateChain,
        now: Timestamp,
    ) -> Result<(Enrollment, Authority), DpsError> {
        let mut candidates = vec![];
        for group in self.store.enrollments(EnrollmentKind::Group, None, GROUPS_MAX).await? {
            if let Attestation::X509(x509) = &group.attestation {
                let authorities = self.authorities_of(x509);
                candidates.extend(authorities.into_iter().map(|authority| (group.clone(), authority)));
            }
        }
        let authorities: Vec<_> = candidates.iter().map(|(_, authority)| authority).collect();
        let found = chain.find_authority(&authorities, now).map_err(|error| DpsError::Unauthorized(error.into()))?;
        Ok(candidates.swap_remove(found))
    }

    /// The authorities an enrollment trusts at this moment: its own, or those verified under the names it gives.
    fn authorities_of(&self, x509: &X509) -> Vec<Authority> {
        match x509 {
            X509::Client(_) => vec![],
            X509::Signing(slots) => slots.iter().filter_map(|one| Authority::parse(one.der()).ok()).collect(),
            X509::References(names) => {
                let known = self.authorities.list();
                let of_name = |name: &String| known.iter().find(|entry| entry.is_verified && entry.name == *name);
                names.iter().filter_map(of_name).map(|entry| entry.authority.clone()).collect()
            }
        }
    }
}

fn wrong_kind(id: &RegistrationId, presented: &'static str) -> DpsError {
    DpsError::Unauthorized(Refusal::Kind { identity: id.to_string(), presented })
}
