//! Devices that move between hubs which fail on the way.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use gantry_hub::Presented;
use gantry_hub::authorities::Authorities;
use gantry_hub::device::IfMatch;
use gantry_hub::ports::{Audit, PortFuture, RefusedAccess};
use gantry_hub::twin::{Object, Twin};
use gantry_identity::{DeviceId, Key, KeyPair, Policies, Signer, Timestamp};
use gantry_provisioning::{
    AllocationPolicy, AttestationWrite, Beginning, DPS_COLLECTION, EnrollmentKey, EnrollmentWrite, HubLink, IdScope,
    Isolated, Limits, Link, LinkError, LinkedHub, Linker, Operation, Placed, Placement, Ports, Registering, Registrant,
    RegistrationId, RegistrationStatus, ReprovisionPolicy, Service, ServiceConfig, Substatus, Way,
};
use gantry_storage::Database;

use super::authorization::Nothing;

/// A hub in memory that can be told to fail.
#[derive(Default)]
struct Memory {
    devices: Mutex<BTreeMap<String, Twin>>,
    is_silent: AtomicBool,
    /// Held against those who want to place a device.
    gate: tokio::sync::RwLock<()>,
}

impl Memory {
    fn answer(&self) -> Result<(), LinkError> {
        if self.is_silent.load(Ordering::Relaxed) { Err(LinkError("no answer".into())) } else { Ok(()) }
    }

    fn has(&self, device: &str) -> bool {
        self.devices.lock().unwrap().contains_key(device)
    }
}

impl Link for Memory {
    fn place<'a>(&'a self, _: Timestamp, placement: &'a Placement) -> PortFuture<'a, Placed, LinkError> {
        Box::pin(async move {
            let _open = self.gate.read().await;
            self.answer()?;
            let twin = match &placement.beginning {
                Beginning::Carried(twin) => (**twin).clone(),
                Beginning::Initial(_) => Twin::new(),
            };
            let known = self.devices.lock().unwrap().insert(placement.device_id.to_string(), twin);
            Ok(if known.is_some() { Placed::Known } else { Placed::New })
        })
    }

    fn twin<'a>(&'a self, _: Timestamp, device: &'a DeviceId) -> PortFuture<'a, Option<Twin>, LinkError> {
        Box::pin(async move {
            self.answer()?;
            Ok(self.devices.lock().unwrap().get(device.as_str()).cloned())
        })
    }

    fn remove<'a>(&'a self, _: Timestamp, device: &'a DeviceId) -> PortFuture<'a, (), LinkError> {
        Box::pin(async move {
            self.answer()?;
            self.devices.lock().unwrap().remove(device.as_str());
            Ok(())
        })
    }

    fn probe(&self) -> PortFuture<'_, Duration, LinkError> {
        Box::pin(async { Ok(Duration::ZERO) })
    }
}

/// Every connection string leads to a hub named `b`.
struct ToB;

impl Linker for ToB {
    fn link(&self, _: &HubLink) -> Result<Way, String> {
        Ok(("b".to_owned(), Arc::<Memory>::default()))
    }
}

struct Unheard;

impl Audit for Unheard {
    fn refused(&self, _: RefusedAccess) {}
}

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

fn key() -> KeyPair {
    KeyPair { primary: Key::from_bytes([5; 32]), secondary: Key::from_bytes([6; 32]) }
}

fn service(folder: &tempfile::TempDir, hubs: &[(&str, &Arc<Memory>)]) -> Arc<Service> {
    let database = Arc::new(Database::open(folder.path()).unwrap());
    let config = ServiceConfig {
        id_scope: IdScope::new("0ne"),
        host_names: vec!["localhost".into()],
        policies: Policies::provisioning_defaults(key),
        allocation: AllocationPolicy::Hashed,
        limits: Limits::default(),
    };
    let documents = Arc::<Database>::clone(&database);
    let authorities = Authorities::load(documents, Arc::new(Nothing), DPS_COLLECTION);
    let authorities = authorities.now_or_never().unwrap().unwrap();
    let ports = Ports {
        store: database,
        linker: Arc::new(ToB),
        webhooks: Arc::new(Isolated),
        entropy: Arc::new(Nothing),
        audit: Arc::new(Unheard),
    };
    let linked = hubs.iter().map(|(name, hub)| LinkedHub {
        host_name: (*name).to_owned(),
        aliases: vec![],
        weight: 1,
        takes_part: true,
        link: Arc::<Memory>::clone(hub) as _,
    });
    Arc::new(Service::new(config, ports, linked.collect(), authorities))
}

async fn enroll(service: &Service, hub: &str, reprovision: Option<ReprovisionPolicy>) {
    let write = EnrollmentWrite {
        attestation: AttestationWrite::SymmetricKey(Some(key())),
        iot_hubs: vec![hub.into()],
        reprovision,
        ..EnrollmentWrite::default()
    };
    let id = EnrollmentKey::Individual(RegistrationId::parse("motor").unwrap());
    service.put_enrollment(NOW, id, write, &IfMatch::Any).await.unwrap();
}

/// The device, proven.
async fn registrant(service: &Service) -> Registrant {
    let signer = Signer { resource: "0ne/registrations/motor".into(), key: key().primary, policy: None };
    let token = signer.token(Timestamp::from_millis(4_000_000_000_000));
    let id = RegistrationId::parse("motor").unwrap();
    let presented = Presented { token: Some(&token), certificate: None };
    service.authenticate_device(NOW, "0ne", &id, presented).await.unwrap()
}

/// Waits for the outcome of a registration.
async fn outcome(service: &Service, registrant: &Registrant, begun: &Operation) -> Operation {
    loop {
        let operation = service.operation(NOW, registrant, &begun.id).await.unwrap();
        if operation.is_done() {
            return operation;
        }
        tokio::task::yield_now().await;
    }
}

/// Registers and waits for the outcome.
async fn register(service: &Arc<Service>, asked: Registering) -> Operation {
    let registrant = registrant(service).await;
    let begun = service.register(NOW, &registrant, asked).await.unwrap();
    assert!(!begun.is_done());
    outcome(service, &registrant, &begun).await
}

#[tokio::test]
async fn of_two_assignments_at_once_the_second_is_decided_again_and_leaves_nothing_behind() {
    for is_known in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (Arc::<Memory>::default(), Arc::<Memory>::default());
        // Two processes over one store.
        let first = service(&folder, &[("a", &a), ("b", &b)]);
        let second = service(&folder, &[("a", &a), ("b", &b)]);
        enroll(&first, "a", None).await;
        if is_known {
            register(&first, Registering::default()).await;
            first.delete_registration(&RegistrationId::parse("motor").unwrap()).await.unwrap();
            a.devices.lock().unwrap().clear();
        }
        let slow = registrant(&first).await;
        let gate = a.gate.write().await;
        let begun = first.register(NOW, &slow, Registering::default()).await.unwrap();
        enroll(&second, "b", None).await;
        let assigned = register(&second, Registering::default()).await.registration;
        assert_eq!(assigned.assigned_hub.as_deref(), Some("b"));
        drop(gate);
        let decided = outcome(&first, &slow, &begun).await.registration;
        // Without a policy a device stays where it was first assigned.
        assert_eq!(decided.assigned_hub.as_deref(), Some("b"));
        assert_eq!(decided.substatus, Some(Substatus::ReprovisionedToInitialAssignment));
        first.finish_departures(NOW).await.unwrap();
        assert!(!a.has("motor") && b.has("motor"));
    }
}

#[tokio::test]
async fn a_registration_deleted_while_its_device_registers_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let a = Arc::<Memory>::default();
    let service = service(&folder, &[("a", &a)]);
    enroll(&service, "a", None).await;
    register(&service, Registering::default()).await;
    let device = registrant(&service).await;
    let gate = a.gate.write().await;
    let begun = service.register(NOW, &device, Registering::default()).await.unwrap();
    service.delete_registration(&RegistrationId::parse("motor").unwrap()).await.unwrap();
    drop(gate);
    let made = outcome(&service, &device, &begun).await.registration;
    assert_eq!((made.status, made.assigned_hub.as_deref()), (RegistrationStatus::Assigned, Some("a")));
    assert!(a.has("motor"));
}

#[tokio::test]
async fn a_device_is_removed_from_the_hub_it_left_once_that_hub_answers_even_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (Arc::<Memory>::default(), Arc::<Memory>::default());
    let first = service(&folder, &[("a", &a), ("b", &b)]);
    let reset = ReprovisionPolicy { update_hub_assignment: true, migrate_device_data: false };
    enroll(&first, "a", Some(reset)).await;
    register(&first, Registering::default()).await;
    assert!(a.has("motor"));

    a.is_silent.store(true, Ordering::Relaxed);
    enroll(&first, "b", Some(reset)).await;
    let moved = register(&first, Registering::default()).await.registration;
    assert_eq!((moved.status, moved.substatus), (RegistrationStatus::Assigned, Some(Substatus::DeviceDataReset)));
    assert!(a.has("motor") && b.has("motor"), "the old hub does not answer, the new one has it");
    drop(first);

    let second = service(&folder, &[("a", &a), ("b", &b)]);
    second.finish_departures(NOW).await.unwrap();
    assert!(a.has("motor"));
    a.is_silent.store(false, Ordering::Relaxed);
    second.finish_departures(NOW).await.unwrap();
    assert!(!a.has("motor") && b.has("motor"));
}

#[tokio::test]
async fn one_that_came_back_meanwhile_is_not_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (Arc::<Memory>::default(), Arc::<Memory>::default());
    let service = service(&folder, &[("a", &a), ("b", &b)]);
    let reset = ReprovisionPolicy { update_hub_assignment: true, migrate_device_data: false };
    enroll(&service, "a", Some(reset)).await;
    register(&service, Registering::default()).await;
    a.is_silent.store(true, Ordering::Relaxed);
    enroll(&service, "b", Some(reset)).await;
    register(&service, Registering::default()).await;
    a.is_silent.store(false, Ordering::Relaxed);
    enroll(&service, "a", Some(reset)).await;
    register(&service, Registering::default()).await;
    service.finish_departures(NOW).await.unwrap();
    assert!(a.has("motor") && !b.has("motor"));
}

#[tokio::test]
async fn a_twin_that_cannot_be_fetched_keeps_its_device_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (Arc::<Memory>::default(), Arc::<Memory>::default());
    let service = service(&folder, &[("a", &a), ("b", &b)]);
    enroll(&service, "a", Some(ReprovisionPolicy::default())).await;
    register(&service, Registering::default()).await;
    let mut reported = Object::new();
    reported.insert("hours".into(), 12.into());
    a.devices.lock().unwrap().get_mut("motor").unwrap().report(&reported, NOW).unwrap();

    a.is_silent.store(true, Ordering::Relaxed);
    enroll(&service, "b", Some(ReprovisionPolicy::default())).await;
    let failed = register(&service, Registering::default()).await.registration;
    assert_eq!(failed.status, RegistrationStatus::Failed);
    assert!(a.has("motor") && !b.has("motor"), "nothing is half done");

    a.is_silent.store(false, Ordering::Relaxed);
    let moved = register(&service, Registering::default()).await.registration;
    assert_eq!(moved.substatus, Some(Substatus::DeviceDataMigrated));
    assert!(!a.has("motor"));
    assert_eq!(b.devices.lock().unwrap()["motor"].reported.values["hours"], 12);
}

#[tokio::test]
async fn without_a_policy_a_device_stays_unless_it_insists() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (Arc::<Memory>::default(), Arc::<Memory>::default());
    let service = service(&folder, &[("a", &a), ("b", &b)]);
    enroll(&service, "a", None).await;
    register(&service, Registering::default()).await;
    enroll(&service, "b", None).await;
    let stayed = register(&service, Registering::default()).await.registration;
    assert_eq!(stayed.substatus, Some(Substatus::ReprovisionedToInitialAssignment));
    assert!(a.has("motor") && !b.has("motor"));
    let insists = Registering { force: true, ..Registering::default() };
    assert_eq!(register(&service, insists).await.registration.substatus, Some(Substatus::DeviceDataMigrated));
    assert!(!a.has("motor") && b.has("motor"));
}

#[tokio::test]
async fn a_linked_hub_that_becomes_one_of_this_process_keeps_nobody_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (Arc::<Memory>::default(), Arc::<Memory>::default());
    let first = service(&folder, &[("a", &a)]);
    let link = HubLink { connection_string: "x".into(), authority: None, weight: 1, takes_part: true };
    first.link_hub(link).await.unwrap();
    drop(first);
    let second = service(&folder, &[("a", &a)]);
    second.restore_links().await.unwrap();
    let seen = |service: &Service| service.hub_views().iter().map(|hub| hub.is_own).collect::<Vec<_>>();
    assert_eq!(seen(&second), [true, false]);
    drop(second);
    let third = service(&folder, &[("a", &a), ("b", &b)]);
    third.restore_links().await.unwrap();
    assert_eq!(seen(&third), [true, true]);
}
