//! Registration: which hub gets the device, and what it finds there.

use gantry_hub::HubError;
use gantry_hub::device::{DeviceWrite, IfMatch, Status};
use gantry_hub::twin::{Twin, TwinWrite};
use gantry_identity::{DeviceId, Identity, Timestamp};
use serde_json::Value;

use crate::attest::Registrant;
use crate::attestation::Credential;
use crate::enrollment::{AllocationPolicy, EnrollmentKey, EnrollmentWrite, ProvisioningStatus};
use crate::ports::LinkedHub;
use crate::registration::{Registration, RegistrationId, RegistrationStatus, Substatus};
use crate::service::{DpsError, Service};

/// What a device asks for when it registers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Registering {
    /// Its own words, for whoever decides which hub it gets.
    pub payload: Option<Value>,
    /// Whether a hub is chosen anew whatever the enrollment says.
    pub force: bool,
}

/// The answer to a register or status request.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// Names the operation: opaque, safe in topics and paths.
    pub id: String,
    /// Where the registration stands.
    pub registration: Registration,
}
impl Service {
    /// Registers a device: creates it at its hub, or finds it there.
    ///
    /// # Errors
    /// When the store fails. A registration that fails for its own reasons is an answer, not an error.
    pub async fn register(
        &self,
        now: Timestamp,
        registrant: &Registrant,
        _asked: Registering,
    ) -> Result<Operation, DpsError> {
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
            evidence: registrant.credential.evidence(),
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
        let first = place(now, &linked, &device_id, &registrant.credential, settings, reset)
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
}

/// Creates the device at the hub, or gives the one there the right keys; says whether it was new.
async fn place(
    now: Timestamp,
    linked: &LinkedHub,
    device_id: &DeviceId,
    credential: &Credential,
    settings: &EnrollmentWrite,
    reset: bool,
) -> Result<bool, HubError> {
    let identity = Identity::device(device_id.clone());
    let write =
        DeviceWrite { authentication: credential.hub_write(), iot_edge: settings.iot_edge, ..DeviceWrite::default() };
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
    if !credential.is(&record.device.authentication) {
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
