//! The service: who asks, which enrollment decides, which hub gets the device.

use std::sync::Arc;

use gantry_hub::authorities::Authorities;
use gantry_hub::device::IfMatch;
use gantry_hub::ports::{Audit, Entropy, RefusedAccess, StoreError};
use gantry_identity::{Key, KeyPair, Policies, Refusal, Rights, SharedAccessSignature, Timestamp};

use crate::attestation::{Attestation, AttestationWrite, X509};
use crate::enrollment::{Enrollment, EnrollmentKey, EnrollmentWrite};
use crate::ports::{EnrollmentKind, LinkedHub, Store};
use crate::registration::{IdScope, Registration, RegistrationId};

/// Collection of the certificate authorities of an instance.
pub const DPS_COLLECTION: &str = "dps-authorities";

/// Why the service refused an operation.
#[derive(Debug, thiserror::Error)]
pub enum DpsError {
    /// Credentials were refused. The peer is not told why.
    #[error("access refused")]
    Unauthorized(#[source] Refusal),
    /// Unknown enrollment, registration or operation.
    #[error("{0} is unknown")]
    NotFound(String),
    /// It exists already and no `If-Match` was given.
    #[error("{0} exists already")]
    Conflict(String),
    /// The caller's ETag is not the current one.
    #[error("etag does not match")]
    PreconditionFailed,
    /// An argument cannot be used; says which.
    #[error("{0}")]
    Invalid(String),
    /// The reference has it; Gantry does not yet.
    #[error("not implemented: {0}")]
    NotImplemented(&'static str),
    /// The store or the hub failed.
    #[error("{0}")]
    Failed(String),
}

impl From<StoreError> for DpsError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict => Self::PreconditionFailed,
            other => Self::Failed(other.to_string()),
        }
    }
}

/// What one instance is called and who may use it.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// Tells instances on one address apart.
    pub id_scope: IdScope,
    /// Names the instance answers to.
    pub host_names: Vec<String>,
    /// Shared access policies.
    pub policies: Policies,
}

/// One DPS instance.
pub struct Service {
    pub(crate) config: ServiceConfig,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) hubs: Vec<LinkedHub>,
    pub(crate) authorities: Authorities,
    entropy: Arc<dyn Entropy>,
    audit: Arc<dyn Audit>,
}

impl Service {
    /// An instance over its ports.
    pub fn new(
        config: ServiceConfig,
        store: Arc<dyn Store>,
        hubs: Vec<LinkedHub>,
        entropy: Arc<dyn Entropy>,
        audit: Arc<dyn Audit>,
        authorities: Authorities,
    ) -> Self {
        Self { config, store, hubs, authorities, entropy, audit }
    }

    /// The certificate authorities enrollments can refer to.
    pub fn authorities(&self) -> &Authorities {
        &self.authorities
    }

    /// The id scope.
    pub fn id_scope(&self) -> &IdScope {
        &self.config.id_scope
    }

    /// The shared access policies.
    pub fn policies(&self) -> &Policies {
        &self.config.policies
    }

    /// Host names of the linked hubs.
    pub fn linked_hubs(&self) -> impl Iterator<Item = &str> {
        self.hubs.iter().map(|hub| hub.host_name.as_str())
    }

    /// Reports refused access as a security event.
    pub fn report_refusal(&self, now: Timestamp, claimed: &str, peer: &str, operation: &'static str, reason: &Refusal) {
        let claimed = claimed.chars().take(256).collect();
        self.audit.refused(RefusedAccess {
            at: now,
            claimed,
            peer: peer.to_owned(),
            operation,
            reason: reason.clone(),
        });
    }

    /// Checks an operator's token and that its policy has `needed`.
    ///
    /// # Errors
    /// The reason, for the log.
    pub fn authenticate_service(&self, now: Timestamp, token: Option<&str>, needed: Rights) -> Result<(), Refusal> {
        let sas = SharedAccessSignature::parse(token.ok_or(Refusal::Missing)?)?;
        let name = sas.policy().unwrap_or_default();
        let policy = self.config.policies.find(name).ok_or_else(|| Refusal::UnknownPolicy(name.to_owned()))?;
        let claims = sas.verify(&policy.keys, now)?;
        let covered = self.config.host_names.iter().map(|host| claims.require(host, ""));
        covered.reduce(Result::or).unwrap_or(Err(Refusal::Missing))?;
        if policy.rights.contains(needed) {
            return Ok(());
        }
        Err(Refusal::Right { policy: policy.name.clone(), right: needed.to_string() })
    }

    /// One enrollment.
    ///
    /// # Errors
    /// [`DpsError::NotFound`].
    pub async fn enrollment(&self, key: &EnrollmentKey) -> Result<Enrollment, DpsError> {
        self.store.enrollment(key).await?.ok_or_else(|| DpsError::NotFound(format!("enrollment `{}`", key.as_str())))
    }

    /// Enrollments of a kind after `after`, in order of id.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn enrollments(
        &self,
        kind: EnrollmentKind,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Enrollment>, DpsError> {
        Ok(self.store.enrollments(kind, after, limit.clamp(1, 1000)).await?)
    }

    /// Creates an enrollment (no `If-Match`) or replaces it.
    ///
    /// # Errors
    /// [`DpsError::Conflict`], [`DpsError::NotFound`] or [`DpsError::PreconditionFailed`].
    pub async fn put_enrollment(
        &self,
        now: Timestamp,
        key: EnrollmentKey,
        write: EnrollmentWrite,
        if_match: &IfMatch,
    ) -> Result<Enrollment, DpsError> {
        let stored = self.store.enrollment(&key).await?;
        let stored = match (stored, if_match) {
            (Some(_), IfMatch::Absent) => return Err(DpsError::Conflict(format!("enrollment `{}`", key.as_str()))),
            (None, IfMatch::Tag(_)) => return Err(DpsError::NotFound(format!("enrollment `{}`", key.as_str()))),
            (Some(stored), _) if !if_match.admits(&stored.etag_text()) => return Err(DpsError::PreconditionFailed),
            (stored, _) => stored,
        };
        let written = stored.as_ref().map(|s| &s.attestation);
        let attestation = write.attestation.clone().over(written, &key, || self.draw_keys())?;
        self.check_references(&attestation)?;
        let enrollment = Enrollment {
            key,
            attestation,
            settings: EnrollmentWrite { attestation: AttestationWrite::Unchanged, ..write },
            etag: stored.as_ref().map_or_else(|| self.random(), |s| s.etag.wrapping_add(1)),
            created_at: stored.as_ref().map_or(now, |s| s.created_at),
            updated_at: now,
        };
        self.store.put_enrollment(enrollment.clone(), stored.map(|s| s.etag)).await?;
        Ok(enrollment)
    }

    /// Deletes an enrollment.
    ///
    /// # Errors
    /// [`DpsError::NotFound`] or [`DpsError::PreconditionFailed`].
    pub async fn delete_enrollment(&self, key: &EnrollmentKey, if_match: &IfMatch) -> Result<(), DpsError> {
        let stored = self.enrollment(key).await?;
        if !if_match.admits(&stored.etag_text()) {
            return Err(DpsError::PreconditionFailed);
        }
        Ok(self.store.delete_enrollment(key, stored.etag).await?)
    }

    /// One registration.
    ///
    /// # Errors
    /// [`DpsError::NotFound`].
    pub async fn registration(&self, id: &RegistrationId) -> Result<Registration, DpsError> {
        self.store.registration(id).await?.ok_or_else(|| DpsError::NotFound(format!("registration `{id}`")))
    }

    /// Registrations that came by a group, in order of id.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn registrations(
        &self,
        group: &crate::enrollment::GroupId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Registration>, DpsError> {
        Ok(self.store.registrations(group, after, limit.clamp(1, 1000)).await?)
    }

    /// Deletes a registration; the device at the hub stays.
    ///
    /// # Errors
    /// [`DpsError::NotFound`].
    pub async fn delete_registration(&self, id: &RegistrationId) -> Result<(), DpsError> {
        if self.store.delete_registration(id).await? {
            return Ok(());
        }
        Err(DpsError::NotFound(format!("registration `{id}`")))
    }

    fn check_references(&self, attestation: &Attestation) -> Result<(), DpsError> {
        let Attestation::X509(X509::References(names)) = attestation else { return Ok(()) };
        let known = self.authorities.list();
        match names.iter().find(|name| !known.iter().any(|entry| entry.is_verified && entry.name == **name)) {
            Some(name) => Err(DpsError::Invalid(format!("caReferences: `{name}` is not a verified certificate"))),
            None => Ok(()),
        }
    }

    fn draw_keys(&self) -> KeyPair {
        let draw = || {
            // Drawn keys have the most bytes that keys may have (DPS symmetric key attestation).
            let mut bytes = [0; 64];
            self.entropy.fill(&mut bytes);
            Key::from_bytes(bytes)
        };
        KeyPair { primary: draw(), secondary: draw() }
    }

    pub(crate) fn random(&self) -> u64 {
        let mut bytes = [0; 8];
        self.entropy.fill(&mut bytes);
        u64::from_be_bytes(bytes)
    }
}
