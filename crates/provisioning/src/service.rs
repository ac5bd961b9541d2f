//! The service: who asks, which enrollment decides, which hub gets the device.

use std::sync::Arc;

use gantry_hub::device::{AuthenticationWrite, DeviceWrite, IfMatch, Status};
use gantry_hub::ports::{Audit, RefusedAccess, StoreError};
use gantry_hub::twin::{Twin, TwinWrite};
use gantry_hub::{HubError, ports::Entropy};
use gantry_identity::{
    Claims, DeviceId, Identity, Key, KeyPair, Policies, Refusal, Rights, SharedAccessSignature, Timestamp,
};

use crate::enrollment::{
    AllocationPolicy, Attestation, Enrollment, EnrollmentKey, EnrollmentWrite, ProvisioningStatus,
};
use crate::ports::{EnrollmentKind, LinkedHub, Store};
use crate::registration::{IdScope, Registration, RegistrationId, RegistrationStatus, Substatus};

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

/// The answer to a register or status request.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// Names the operation: opaque, safe in topics and paths.
    pub id: String,
    /// Where the registration stands.
    pub registration: Registration,
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
    config: ServiceConfig,
    store: Arc<dyn Store>,
    hubs: Vec<LinkedHub>,
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
    ) -> Self {
        Self { config, store, hubs, entropy, audit }
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

    /// Registers a device: creates it at its hub, or finds it there.
    ///
    /// # Errors
    /// When the store fails. A registration that fails for its own reasons is an answer, not an error.
    pub async fn register(&self, now: Timestamp, registrant: &Registrant) -> Result<Operation, DpsError> {
        let known = self.store.registration(&registrant.id).await?;
        let mut registration = Registration {
            id: registrant.id.clone(),
            group: match &registrant.enrollment.key {
                EnrollmentKey::Group(group) => Some(group.clone()),
                EnrollmentKey::Individual(_) => None,
            },
            status: RegistrationStatus::Assigned,
            substatus: None,
            assigned_hub: None,
            device_id: None,
            error: None,
            created_at: known.as_ref().map_or(now, |k| k.created_at),
            updated_at: now,
            etag: known.as_ref().map_or_else(|| self.random(), |k| k.etag.wrapping_add(1)),
        };
        if registrant.enrollment.settings.status == ProvisioningStatus::Disabled {
            registration.status = RegistrationStatus::Disabled;
        } else if let Err((code, words)) = self.assign(now, registrant, known.as_ref(), &mut registration).await {
            registration.status = RegistrationStatus::Failed;
            registration.error = Some((code, words));
        }
        self.store.put_registration(registration.clone()).await?;
        Ok(Operation { id: self.operation_id(&registration), registration })
    }

    async fn assign(
        &self,
        now: Timestamp,
        registrant: &Registrant,
        known: Option<&Registration>,
        registration: &mut Registration,
    ) -> Result<(), (u32, String)> {
        let settings = &registrant.enrollment.settings;
        let linked = self.choose_hub(settings, &registrant.id)?;
        let device_id = match &settings.device_id {
            Some(id) => id.clone(),
            None => DeviceId::parse(registrant.id.as_str()).map_err(|e| (400_209, e.to_string()))?,
        };
        let reset =
            known.is_some() && settings.reprovision.is_some_and(|r| r.update_hub_assignment && !r.migrate_device_data);
        let first = place(now, &linked, &device_id, registrant.keys.clone(), settings, reset)
            .await
            .map_err(|e| (500_001, e.to_string()))?;
        registration.substatus = Some(match (first, reset) {
            (true, _) => Substatus::InitialAssignment,
            (false, true) => Substatus::DeviceDataReset,
            (false, false) => Substatus::ReprovisionedToInitialAssignment,
        });
        registration.assigned_hub = Some(linked.host_name.clone());
        registration.device_id = Some(device_id);
        Ok(())
    }

    fn choose_hub(&self, settings: &EnrollmentWrite, id: &RegistrationId) -> Result<LinkedHub, (u32, String)> {
        let named = |name: &str| self.hubs.iter().find(|h| h.host_name.eq_ignore_ascii_case(name)).cloned();
        let missing = |name: &str| (404_204, format!("hub `{name}` is not linked"));
        if settings.allocation == Some(AllocationPolicy::Static) {
            let name = settings.iot_hub_host_name.as_deref().or(settings.iot_hubs.first().map(String::as_str));
            let name = name.ok_or((400_208, "static allocation without a hub".to_owned()))?;
            return named(name).ok_or_else(|| missing(name));
        }
        let names = if settings.iot_hubs.is_empty() { &settings.iot_hub_host_name } else { &None };
        if let Some(name) = names {
            return named(name).ok_or_else(|| missing(name));
        }
        let mut candidates = vec![];
        for name in &settings.iot_hubs {
            candidates.push(named(name).ok_or_else(|| missing(name))?);
        }
        let candidates = if candidates.is_empty() { self.hubs.clone() } else { candidates };
        let hash = id.folded().bytes().fold(17_usize, |h, b| h.wrapping_mul(31).wrapping_add(usize::from(b)));
        candidates.get(hash % candidates.len().max(1)).cloned().ok_or((404_204, "no hub is linked".to_owned()))
    }

    /// Where an earlier operation stands.
    ///
    /// # Errors
    /// [`DpsError::NotFound`] when the id names no operation of this device.
    pub async fn operation(&self, registrant: &Registrant, operation_id: &str) -> Result<Operation, DpsError> {
        let unknown = || DpsError::NotFound(format!("operation {}", bounded(operation_id)));
        let registration = self.store.registration(&registrant.id).await?.ok_or_else(unknown)?;
        let current = self.operation_id(&registration);
        if current != operation_id {
            return Err(unknown());
        }
        Ok(Operation { id: current, registration })
    }

    fn operation_id(&self, registration: &Registration) -> String {
        // The etag is random at first and rises by one, so an id is not guessable and names one attempt.
        format!("5.{:016x}.{:x}", registration.etag, registration.created_at.as_millis())
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
        let kept = stored.as_ref().map(|s| {
            let Attestation::SymmetricKey(keys) = &s.attestation;
            keys.clone()
        });
        let keys = write.keys.clone().or(kept).unwrap_or_else(|| self.draw_keys());
        let enrollment = Enrollment {
            key,
            attestation: Attestation::SymmetricKey(keys),
            settings: EnrollmentWrite { keys: None, ..write },
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

    fn draw_keys(&self) -> KeyPair {
        let draw = || {
            let mut bytes = [0; 32];
            self.entropy.fill(&mut bytes);
            Key::from_bytes(bytes)
        };
        KeyPair { primary: draw(), secondary: draw() }
    }

    fn random(&self) -> u64 {
        let mut bytes = [0; 8];
        self.entropy.fill(&mut bytes);
        u64::from_be_bytes(bytes)
    }
}

/// Creates the device at the hub, or gives the one there the right keys; says whether it was new.
async fn place(
    now: Timestamp,
    linked: &LinkedHub,
    device_id: &DeviceId,
    keys: KeyPair,
    settings: &EnrollmentWrite,
    reset: bool,
) -> Result<bool, HubError> {
    let identity = Identity::device(device_id.clone());
    let write = DeviceWrite {
        authentication: AuthenticationWrite::Sas(Some(keys.clone())),
        iot_edge: settings.iot_edge,
        ..DeviceWrite::default()
    };
    let initial = settings.initial_twin.clone().unwrap_or_default();
    let initial = TwinWrite { tags: Some(initial.tags), desired: Some(initial.desired) };
    let mut twin = Twin::new();
    if settings.initial_twin.is_some() {
        twin.replace(&initial, now)?;
    }
    match linked.hub.create(now, &identity, write.clone(), twin).await {
        Ok(_) => return Ok(true),
        Err(HubError::AlreadyExists(_)) => {}
        Err(error) => return Err(error),
    }
    let record = linked.hub.record(&identity).await?;
    let same_keys = record.device.authentication == gantry_hub::device::Authentication::Sas(keys);
    if !same_keys {
        // A device an operator switched off at the hub stays off.
        let write = DeviceWrite { status: record.device.status, status_reason: record.device.status_reason, ..write };
        linked.hub.put_device(now, &identity, write, &IfMatch::Any).await?;
    }
    if reset && record.device.status == Status::Enabled {
        linked.hub.replace_twin(now, &identity, &initial, &IfMatch::Any).await?;
    }
    Ok(false)
}

fn bounded(text: &str) -> String {
    text.chars().take(64).collect()
}
