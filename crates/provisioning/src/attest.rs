//! Attestation: which enrollment a device belongs to, and its proof.

use gantry_identity::{Claims, KeyPair, Refusal, SharedAccessSignature, Timestamp};

use crate::enrollment::{Attestation, Enrollment, EnrollmentKey};
use crate::ports::EnrollmentKind;
use crate::registration::RegistrationId;
use crate::service::{DpsError, Service};

/// A device that proved itself to an enrollment.
#[derive(Clone, Debug)]
pub struct Registrant {
    /// Its registration id, as sent.
    pub id: RegistrationId,
    /// The enrollment that admitted it.
    pub enrollment: Enrollment,
    /// The keys it proved to hold one of: the enrollment's own, or those derived from its group's.
    pub keys: KeyPair,
    /// When its proof expires.
    pub expires_at: Timestamp,
}
impl Service {
    /// Checks a device's token against its individual enrollment, or else the groups.
    ///
    /// A disabled enrollment still admits: the registration then says `disabled`, as the reference does.
    ///
    /// # Errors
    /// [`DpsError::Unauthorized`] with the reason for the log, or a store failure.
    pub async fn authenticate_device(
        &self,
        now: Timestamp,
        scope: &str,
        id: &RegistrationId,
        token: Option<&str>,
    ) -> Result<Registrant, DpsError> {
        let refuse = DpsError::Unauthorized;
        if scope != self.config.id_scope.as_str() {
            return Err(refuse(Refusal::UnknownIdentity(format!("id scope {scope}"))));
        }
        let token = token.ok_or(refuse(Refusal::Missing))?;
        let sas = SharedAccessSignature::parse(token).map_err(|e| refuse(e.into()))?;
        let individual = self.store.enrollment(&EnrollmentKey::Individual(id.clone())).await?;
        let (enrollment, keys, claims) = match individual {
            Some(enrollment) => {
                let Attestation::SymmetricKey(keys) = &enrollment.attestation;
                let (keys, claims) = (keys.clone(), sas.verify(keys, now).map_err(refuse)?);
                (enrollment, keys, claims)
            }
            None => self.authenticate_by_group(now, id, &sas).await?,
        };
        claims.require(scope, &format!("registrations/{id}")).map_err(refuse)?;
        Ok(Registrant { id: id.clone(), enrollment, keys, expires_at: claims.expires_at })
    }

    async fn authenticate_by_group(
        &self,
        now: Timestamp,
        id: &RegistrationId,
        sas: &SharedAccessSignature,
    ) -> Result<(Enrollment, KeyPair, Claims), DpsError> {
        let mut refusal = Refusal::UnknownIdentity(format!("registration {id}"));
        // At most 100 symmetric key groups exist (DPS limits), so each is tried.
        for group in self.store.enrollments(EnrollmentKind::Group, None, 100).await? {
            let Attestation::SymmetricKey(keys) = &group.attestation;
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
}
