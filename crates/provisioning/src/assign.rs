//! Registration: which hub gets the device, and what it finds there.
//!
//! The work of one registration id is done by one task at a time; a request that comes meanwhile joins it. Elsewhere
//! somebody may work on it too: who stores first decides, and the other decides again on what was stored. A device
//! that moves is created at its new hub before the registration says so, and removed from the old one after: whatever
//! stops the process in between, the next attempt or [`Service::finish_departures`] ends it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use gantry_hub::ports::StoreError;
use gantry_identity::{DeviceId, Timestamp};
use parking_lot::Mutex;
use serde_json::Value;
use tracing::warn;

use crate::allocation::{self, AllocationError, CustomError};
use crate::attest::Registrant;
use crate::custom;
use crate::enrollment::{AllocationPolicy, EnrollmentKey, InitialTwin, ProvisioningStatus, ReprovisionPolicy};
use crate::link::{Beginning, LinkError, LinkedHub, Placed, Placement};
use crate::ports::Departure;
use crate::registration::{Registration, RegistrationStatus, Substatus};
use crate::service::{DpsError, Service, Unknown};

/// Registrations under way at once.
const UNDER_WAY_MAX: usize = 20_000;
/// Times a registration is decided on when somebody else writes it meanwhile.
const WRITE_ATTEMPTS: usize = 8;
/// Departures ended in one go.
const DEPARTURES_MAX: usize = 100;
/// How long a caller that finds too many under way should wait.
const BUSY: Duration = Duration::from_secs(5);

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

impl Operation {
    fn of(registration: Registration) -> Self {
        // The etag is random at first and rises by one, so an id is not guessable and names one attempt.
        let id = format!("5.{:016x}.{:x}", registration.etag, registration.created_at.as_millis());
        Self { id, registration }
    }

    /// Whether there is nothing left to wait for.
    pub fn is_done(&self) -> bool {
        self.registration.status != RegistrationStatus::Assigning
    }
}

/// Registrations being worked on, by folded id; nothing while only what was left behind is removed.
#[derive(Debug, Default)]
pub(crate) struct UnderWay(Mutex<HashMap<String, Option<Registration>>>);

/// Ends a registration's work when dropped, whatever happened to it.
struct Work {
    service: Arc<Service>,
    folded: String,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.service.under_way.0.lock().remove(&self.folded);
    }
}

/// Why a registration failed, as the device is told.
struct Failure {
    code: u32,
    words: String,
}

impl From<AllocationError> for Failure {
    fn from(error: AllocationError) -> Self {
        Self { code: error.code(), words: error.to_string() }
    }
}

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Self {
        Self { code: 500_001, words: error.to_string() }
    }
}

/// A hub for a device, and what came with the choice.
struct Choice {
    hub: LinkedHub,
    initial_twin: Option<InitialTwin>,
    payload: Option<Value>,
}

impl Service {
    /// Begins to register a device: a hub is chosen and the device created there, or found. [`Service::operation`]
    /// tells how it went.
    ///
    /// # Errors
    /// [`DpsError::Throttled`], or when the store fails. A registration that fails for its own reasons is an answer,
    /// not an error.
    pub async fn register(
        self: &Arc<Self>,
        now: Timestamp,
        registrant: &Registrant,
        asked: Registering,
    ) -> Result<Operation, DpsError> {
        self.counters.registration(self.config.limits, now, self.random())?;
        let known = self.store.registration(&registrant.id).await?;
        let registration = self.begin(now, registrant, known.as_ref());
        let folded = registrant.id.folded();
        {
            let mut under_way = self.under_way.0.lock();
            match under_way.get(&folded) {
                Some(Some(running)) => return Ok(Operation::of(running.clone())),
                None if under_way.len() < UNDER_WAY_MAX => {}
                _ => return Err(DpsError::Throttled { retry_after: BUSY }),
            }
            under_way.insert(folded.clone(), Some(registration.clone()));
        }
        let work = Work { service: Arc::clone(self), folded };
        let operation = Operation::of(registration.clone());
        let registrant = registrant.clone();
        tokio::spawn(async move {
            let service = Arc::clone(&work.service);
            service.work(now, &registrant, &asked, known, registration).await;
            drop(work);
        });
        Ok(operation)
    }

    fn begin(&self, now: Timestamp, registrant: &Registrant, known: Option<&Registration>) -> Registration {
        Registration {
            id: registrant.id.clone(),
            group: match &registrant.enrollment.key {
                EnrollmentKey::Group(group) => Some(group.clone()),
                EnrollmentKey::Individual(_) => None,
            },
            status: RegistrationStatus::Assigning,
            substatus: None,
            assigned_hub: None,
            device_id: None,
            error: None,
            evidence: registrant.credential.evidence(),
            payload: None,
            created_at: known.map_or(now, |k| k.created_at),
            updated_at: now,
            etag: known.map_or_else(|| self.random(), |k| k.etag.wrapping_add(1)),
        }
    }

    async fn work(
        &self,
        now: Timestamp,
        registrant: &Registrant,
        asked: &Registering,
        known: Option<Registration>,
        registration: Registration,
    ) {
        if let Err(error) = self.settle(now, registrant, asked, known, registration).await {
            warn!(id = %registrant.id, %error, "a registration was not stored");
        }
    }

    /// Decides on a registration and stores it; again, when somebody else wrote it meanwhile.
    async fn settle(
        &self,
        now: Timestamp,
        registrant: &Registrant,
        asked: &Registering,
        mut known: Option<Registration>,
        mut begun: Registration,
    ) -> Result<(), StoreError> {
        let mut departures: Vec<Departure> = vec![];
        for _ in 0..WRITE_ATTEMPTS {
            let decided = self.decide(now, registrant, asked, known.as_ref(), begun.clone()).await;
            let mut left = departures.clone();
            left.extend(known.as_ref().and_then(|known| Departure::between(known, &decided)));
            left.retain(|departure| !departure.is_to(&decided));
            let expected = known.as_ref().map(|known| known.etag);
            match self.store.put_registration(decided.clone(), expected, left.clone()).await {
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    for departure in &left {
                        self.depart(now, departure).await;
                    }
                    return Ok(());
                }
            }
            // Where this attempt put the device it stays only if the next one says so too.
            if decided.status == RegistrationStatus::Assigned {
                departures.extend(Departure::between(&decided, known.as_ref().unwrap_or(&begun)));
            }
            known = self.store.registration(&registrant.id).await?;
            // The operation keeps its name, unless another has it.
            if known.as_ref().is_some_and(|known| known.etag == begun.etag) {
                begun.etag = begun.etag.wrapping_add(1);
            }
        }
        Err(StoreError::Conflict)
    }

    /// Where a registration comes to stand.
    async fn decide(
        &self,
        now: Timestamp,
        registrant: &Registrant,
        asked: &Registering,
        known: Option<&Registration>,
        mut registration: Registration,
    ) -> Registration {
        let known = known.filter(|known| known.assigned_hub.is_some());
        if registrant.enrollment.settings.status == ProvisioningStatus::Disabled {
            registration.status = RegistrationStatus::Disabled;
        } else {
            match self.assign(now, registrant, asked, known, &mut registration).await {
                Ok(()) => registration.status = RegistrationStatus::Assigned,
                Err(Failure { code, words }) => {
                    registration.status = RegistrationStatus::Failed;
                    registration.error = Some((code, words));
                }
            }
        }
        if registration.assigned_hub.is_none()
            && let Some(known) = known
        {
            // The device is still where it was: a later success must know that, to move it.
            registration.assigned_hub.clone_from(&known.assigned_hub);
            registration.device_id.clone_from(&known.device_id);
        }
        registration
    }

    async fn assign(
        &self,
        now: Timestamp,
        registrant: &Registrant,
        asked: &Registering,
        known: Option<&Registration>,
        registration: &mut Registration,
    ) -> Result<(), Failure> {
        let settings = &registrant.enrollment.settings;
        let device_id = match &settings.device_id {
            Some(id) => id.clone(),
            None => DeviceId::parse(registrant.id.as_str())
                .map_err(|error| Failure { code: 400_202, words: error.to_string() })?,
        };
        let policy = reprovisioning(settings.reprovision, asked.force);
        let current = known.and_then(|known| known.assigned_hub.as_deref());
        let linked = self.linked();
        let stays = current.filter(|_| !policy.update_hub_assignment);
        let choice = match stays.map(|current| allocation::find(current, &linked)) {
            None => self.choose(registrant, asked, known, &linked).await?,
            Some(Ok(hub)) => Choice { hub, initial_twin: None, payload: known.and_then(|known| known.payload.clone()) },
            Some(Err(_)) => {
                // Unlinked since: the device was told to stay, and nobody here can look after it.
                registration.assigned_hub = current.map(str::to_owned);
                registration.device_id = known.and_then(|known| known.device_id.clone());
                registration.substatus = Some(Substatus::ReprovisionedToInitialAssignment);
                return Ok(());
            }
        };
        let moves = current.is_some_and(|current| !current.eq_ignore_ascii_case(&choice.hub.host_name));
        let resets = known.is_some() && policy.update_hub_assignment && !policy.migrate_device_data;
        let carried = match (moves && !resets, known) {
            (true, Some(known)) => self.twin_of(now, known, &linked).await?,
            _ => None,
        };
        let is_carried = carried.is_some();
        let placement = Placement {
            device_id: device_id.clone(),
            authentication: registrant.credential.hub_write(),
            iot_edge: settings.iot_edge,
            overwrite: resets || is_carried,
            beginning: match carried {
                Some(twin) => Beginning::Carried(Box::new(twin)),
                None => Beginning::Initial(choice.initial_twin.or_else(|| settings.initial_twin.clone())),
            },
        };
        let placed = choice.hub.link.place(now, &placement).await?;
        registration.substatus = Some(match placed {
            _ if is_carried => Substatus::DeviceDataMigrated,
            _ if moves => Substatus::DeviceDataReset,
            Placed::New => Substatus::InitialAssignment,
            Placed::Known if resets => Substatus::DeviceDataReset,
            Placed::Known => Substatus::ReprovisionedToInitialAssignment,
        });
        registration.assigned_hub = Some(choice.hub.host_name);
        registration.device_id = Some(device_id);
        registration.payload = choice.payload;
        Ok(())
    }

    /// The twin at the hub a device leaves. A hub that does not answer fails the registration: moving on would lose it.
    async fn twin_of(
        &self,
        now: Timestamp,
        known: &Registration,
        linked: &[LinkedHub],
    ) -> Result<Option<gantry_hub::twin::Twin>, Failure> {
        let (Some(hub), Some(device_id)) = (&known.assigned_hub, &known.device_id) else { return Ok(None) };
        match allocation::find(hub, linked) {
            Ok(hub) => Ok(hub.link.twin(now, device_id).await?),
            Err(_) => Ok(None),
        }
    }

    async fn choose(
        &self,
        registrant: &Registrant,
        asked: &Registering,
        known: Option<&Registration>,
        linked: &[LinkedHub],
    ) -> Result<Choice, Failure> {
        let settings = &registrant.enrollment.settings;
        let policy = settings.allocation.unwrap_or(self.config.allocation);
        if policy != AllocationPolicy::Custom {
            let latencies = Arc::clone(&self.latencies.read());
            let hub = allocation::choose(policy, settings, linked, &latencies, &registrant.id)?;
            return Ok(Choice { hub, initial_twin: None, payload: None });
        }
        let Some(webhook) = &settings.custom else {
            return Err(AllocationError::Custom(CustomError::Failed("no webhook is configured".into())).into());
        };
        let candidates = allocation::candidates(settings, linked)?;
        let question = custom::question(registrant, known, asked.payload.as_ref(), &candidates);
        let answer = self.webhooks.ask(&webhook.url, &question).await.map_err(AllocationError::Custom)?;
        let decision = custom::decision(&answer).map_err(AllocationError::Custom)?;
        let hub = allocation::find(&decision.host_name, &candidates)
            .map_err(|error| AllocationError::Custom(CustomError::NotSpecified(error.to_string())))?;
        Ok(Choice { hub, initial_twin: decision.initial_twin, payload: decision.payload })
    }

    /// Removes a device from the hub it left; `false` when that hub failed.
    async fn depart(&self, now: Timestamp, departure: &Departure) -> bool {
        let linked = self.linked();
        // An unlinked hub is out of reach, and so is what it keeps.
        if let Ok(hub) = allocation::find(&departure.hub, &linked)
            && let Err(error) = hub.link.remove(now, &departure.device_id).await
        {
            warn!(id = %departure.id, hub = departure.hub, %error, "not yet removed from the hub it left");
            return false;
        }
        if let Err(error) = self.store.end_departure(departure).await {
            warn!(id = %departure.id, %error, "a departure was not ended");
        }
        true
    }

    /// Removes devices from hubs they left where that did not happen at once. A hub that fails is left alone until the
    /// next time, so that it holds up no other.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn finish_departures(self: &Arc<Self>, now: Timestamp) -> Result<(), DpsError> {
        let mut failing = HashSet::new();
        for departure in self.store.departures(DEPARTURES_MAX).await? {
            if failing.contains(&departure.hub) {
                continue;
            }
            let folded = departure.id.folded();
            match self.under_way.0.lock().entry(folded.clone()) {
                Entry::Occupied(_) => continue,
                Entry::Vacant(free) => free.insert(None),
            };
            let work = Work { service: Arc::clone(self), folded };
            if !self.depart(now, &departure).await {
                failing.insert(departure.hub);
            }
            drop(work);
        }
        Ok(())
    }

    /// Where an earlier operation stands.
    ///
    /// # Errors
    /// [`DpsError::NotFound`] when the id names no operation of this device, [`DpsError::Throttled`].
    pub async fn operation(
        &self,
        now: Timestamp,
        registrant: &Registrant,
        operation_id: &str,
    ) -> Result<Operation, DpsError> {
        let folded = registrant.id.folded();
        self.counters.poll(self.config.limits, now, folded.clone())?;
        let running = self.under_way.0.lock().get(&folded).cloned().flatten();
        if let Some(operation) = running.map(Operation::of).filter(|operation| operation.id == operation_id) {
            return Ok(operation);
        }
        let stored = self.store.registration(&registrant.id).await?.map(Operation::of);
        stored
            .filter(|operation| operation.id == operation_id)
            .ok_or_else(|| DpsError::NotFound(Unknown::Operation, operation_id.chars().take(64).collect()))
    }
}

/// What an enrollment means for a device that comes again. Without a policy a device stays where it was first assigned
/// ("reprovisioning concepts", backwards compatibility).
fn reprovisioning(policy: Option<ReprovisionPolicy>, force: bool) -> ReprovisionPolicy {
    let stays = ReprovisionPolicy { update_hub_assignment: false, migrate_device_data: false };
    match policy {
        Some(policy) if force => ReprovisionPolicy { update_hub_assignment: true, ..policy },
        None if force => ReprovisionPolicy::default(),
        Some(policy) => policy,
        None => stays,
    }
}
