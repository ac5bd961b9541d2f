//! The service: who asks, which enrollment decides, which hub gets the device.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use gantry_hub::Principal;
use gantry_hub::authorities::Authorities;
use gantry_hub::device::IfMatch;
use gantry_hub::ports::{Audit, Entropy, RefusedAccess, StoreError};
use gantry_identity::{Policies, Refusal, Rights, SharedAccessSignature, Timestamp};

use parking_lot::RwLock;

use crate::assign::UnderWay;
use crate::attestation::{Attestation, AttestationWrite, X509};
use crate::challenge::Nonces;
use crate::custom::Webhooks;
use crate::enrollment::{AllocationPolicy, CustomAllocation, Enrollment, EnrollmentKey, EnrollmentWrite};
use crate::hubs::Linker;
use crate::limits::{Counters, Limits};
use crate::link::LinkedHub;
use crate::ports::{EnrollmentKind, Store};
use crate::registration::{IdScope, Registration, RegistrationId};

/// Collection of the certificate authorities of an instance.
pub const DPS_COLLECTION: &str = "dps-authorities";

/// Why the service refused an operation.
#[derive(Debug, thiserror::Error)]
pub enum DpsError {
    /// Credentials were refused. The peer is not told why.
    #[error("access refused")]
    Unauthorized(#[source] Refusal),
    /// Whoever asks is known and may not.
    #[error("access refused: no role allows this")]
    Forbidden(#[source] Refusal),
    /// What there is none of, and its id.
    #[error("{0} `{1}` is unknown")]
    NotFound(Unknown, String),
    /// Too much came in the current window, or is under way.
    #[error("too many requests, come back later")]
    Throttled {
        /// How long to wait.
        retry_after: Duration,
    },
    /// It exists already and no `If-Match` was given.
    #[error("{0} exists already")]
    Conflict(String),
    /// The caller's ETag is not the current one.
    #[error("etag does not match")]
    PreconditionFailed,
    /// An argument cannot be used; says which.
    #[error("{0}")]
    Invalid(String),
    /// A body is no JSON, or of other types than it should be; says where.
    // The reference's words, which programs look for.
    #[error("Deserialization error: {0}")]
    Malformed(String),
    /// The reference has it; Gantry does not yet.
    #[error("not implemented: {0}")]
    NotImplemented(&'static str),
    /// The store or the hub failed.
    #[error("{0}")]
    Failed(String),
}

/// What an id names none of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Individual enrollment.
    Enrollment,
    /// Enrollment group.
    Group,
    /// Registration.
    Registration,
    /// Operation.
    Operation,
    /// Linked hub.
    Hub,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enrollment => "enrollment",
            Self::Group => "enrollment group",
            Self::Registration => "registration",
            Self::Operation => "operation",
            Self::Hub => "linked hub",
        })
    }
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
    /// How a hub is chosen where an enrollment does not say.
    pub allocation: AllocationPolicy,
    /// How often it may be asked.
    pub limits: Limits,
}

/// What an instance needs from outside.
pub struct Ports {
    /// Enrollments, registrations and links.
    pub store: Arc<dyn Store>,
    /// Ways to hubs elsewhere.
    pub linker: Arc<dyn Linker>,
    /// Webhooks of custom allocation.
    pub webhooks: Arc<dyn Webhooks>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Security events.
    pub audit: Arc<dyn Audit>,
}

/// One DPS instance.
pub struct Service {
    pub(crate) config: ServiceConfig,
    pub(crate) store: Arc<dyn Store>,
    /// The hubs of this process.
    pub(crate) own: Vec<LinkedHub>,
    pub(crate) links: RwLock<Arc<Vec<LinkedHub>>>,
    pub(crate) latencies: RwLock<Arc<HashMap<String, Duration>>>,
    pub(crate) linker: Arc<dyn Linker>,
    pub(crate) webhooks: Arc<dyn Webhooks>,
    pub(crate) authorities: Authorities,
    pub(crate) under_way: UnderWay,
    pub(crate) counters: Counters,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) nonces: Nonces,
    audit: Arc<dyn Audit>,
}

impl Service {
    /// An instance over its ports, linked to the hubs of this process.
    pub fn new(config: ServiceConfig, ports: Ports, own: Vec<LinkedHub>, authorities: Authorities) -> Self {
        Self {
            config,
            store: ports.store,
            links: RwLock::new(Arc::new(own.clone())),
            own,
            latencies: RwLock::default(),
            linker: ports.linker,
            webhooks: ports.webhooks,
            authorities,
            under_way: UnderWay::default(),
            counters: Counters::default(),
            entropy: ports.entropy,
            nonces: Nonces::default(),
            audit: ports.audit,
        }
    }

    /// Counts a call of the service API.
    ///
    /// # Errors
    /// [`DpsError::Throttled`].
    pub fn count_operation(&self, now: Timestamp) -> Result<(), DpsError> {
        self.counters.operation(self.config.limits, now, self.random())
    }

    /// The certificate authorities enrollments can refer to.
    pub fn authorities(&self) -> &Authorities {
        &self.authorities
    }

    /// The id scope.
    pub fn id_scope(&self) -> &IdScope {
        &self.config.id_scope
    }

    /// The name devices call it by.
    pub fn host_name(&self) -> &str {
        self.config.host_names.first().map_or("", String::as_str)
    }

    /// How a hub is chosen where an enrollment does not say.
    pub fn allocation(&self) -> AllocationPolicy {
        self.config.allocation
    }

    /// The shared access policies.
    pub fn policies(&self) -> &Policies {
        &self.config.policies
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

    /// Who an operator is, by a token of a policy that has `needed`.
    ///
    /// # Errors
    /// The reason, for the log.
    pub fn authenticate_service(
        &self,
        now: Timestamp,
        token: Option<&str>,
        needed: Rights,
    ) -> Result<Principal, Refusal> {
        let sas = SharedAccessSignature::parse(token.ok_or(Refusal::Missing)?)?;
        let name = sas.policy().unwrap_or_default();
        let policy = self.config.policies.find(name).ok_or_else(|| Refusal::UnknownPolicy(name.to_owned()))?;
        let claims = sas.verify(&policy.keys, now)?;
        claims.require_host(&self.config.host_names)?;
        if !policy.rights.contains(needed) {
            return Err(Refusal::Right { policy: policy.name.clone(), right: needed.to_string() });
        }
        Ok(Principal { policy: policy.name.clone(), rights: policy.rights, expires_at: claims.expires_at })
    }

    /// One enrollment.
    ///
    /// # Errors
    /// [`DpsError::NotFound`].
    pub async fn enrollment(&self, key: &EnrollmentKey) -> Result<Enrollment, DpsError> {
        self.store.enrollment(key).await?.ok_or_else(|| unknown(key))
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
        if write.allocation == Some(AllocationPolicy::Custom) && write.custom.is_none() {
            return Err(DpsError::Invalid("customAllocationDefinition.webhookUrl is missing".into()));
        }
        let stored = self.store.enrollment(&key).await?;
        let stored = match (stored, if_match) {
            (Some(_), IfMatch::Absent) => return Err(DpsError::Conflict(format!("enrollment `{}`", key.as_str()))),
            (None, IfMatch::Tags(_)) => return Err(unknown(&key)),
            (Some(stored), _) if !if_match.admits(&stored.etag_text()) => return Err(DpsError::PreconditionFailed),
            (stored, _) => stored,
        };
        let written = stored.as_ref().map(|s| &s.attestation);
        let attestation = write.attestation.clone().over(written, &key, &*self.entropy)?;
        self.check_references(&attestation)?;
        let write = EnrollmentWrite { custom: kept_address(write.custom, stored.as_ref()), ..write };
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
        self.store.registration(id).await?.ok_or_else(|| DpsError::NotFound(Unknown::Registration, id.to_string()))
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
        Err(DpsError::NotFound(Unknown::Registration, id.to_string()))
    }

    fn check_references(&self, attestation: &Attestation) -> Result<(), DpsError> {
        let Attestation::X509(X509::References(names)) = attestation else { return Ok(()) };
        let known = self.authorities.list();
        match names.iter().find(|name| !known.iter().any(|entry| entry.is_verified && entry.name == **name)) {
            Some(name) => Err(DpsError::Invalid(format!("caReferences: `{name}` is not a verified certificate"))),
            None => Ok(()),
        }
    }

    pub(crate) fn random(&self) -> u64 {
        let mut bytes = [0; 8];
        self.entropy.fill(&mut bytes);
        u64::from_be_bytes(bytes)
    }
}

fn unknown(key: &EnrollmentKey) -> DpsError {
    let kind = match key {
        EnrollmentKey::Individual(_) => Unknown::Enrollment,
        EnrollmentKey::Group(_) => Unknown::Group,
    };
    DpsError::NotFound(kind, key.as_str().to_owned())
}

/// A webhook's address as it is shown, without its query, is the stored one when it is written back.
fn kept_address(write: Option<CustomAllocation>, stored: Option<&Enrollment>) -> Option<CustomAllocation> {
    let write = write?;
    let stored = stored.and_then(|stored| stored.settings.custom.as_ref());
    let kept = stored.filter(|stored| stored.url.split_once('?').is_some_and(|(shown, _)| shown == write.url));
    Some(CustomAllocation { url: kept.map_or_else(|| write.url.clone(), |stored| stored.url.clone()), ..write })
}
