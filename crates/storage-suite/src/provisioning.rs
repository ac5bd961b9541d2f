//! Enrollments and registrations: compare-and-swap, lists, and what a device left behind.

use std::sync::Arc;

use gantry_hub::ports::StoreError;
use gantry_identity::{DeviceId, Key, KeyPair};
use gantry_provisioning::{
    Attestation, Departure, Enrollment, EnrollmentKey, EnrollmentKind, EnrollmentWrite, Evidence, GroupId, HubLink,
    Registration, RegistrationId, RegistrationStatus, Store,
};

use crate::Engine;
use crate::fixtures::{WRITERS, at, at_once, count_done, is_conflict};

fn registration_id(text: &str) -> RegistrationId {
    RegistrationId::parse(text).unwrap()
}

fn individual(id: &str) -> EnrollmentKey {
    EnrollmentKey::Individual(registration_id(id))
}

fn group(id: &str) -> EnrollmentKey {
    EnrollmentKey::Group(GroupId::parse(id).unwrap())
}

fn enrollment(key: EnrollmentKey, etag: u64) -> Enrollment {
    let keys = KeyPair { primary: Key::from_bytes([1; 32]), secondary: Key::from_bytes([2; 32]) };
    Enrollment {
        key,
        attestation: Attestation::SymmetricKey(keys),
        settings: EnrollmentWrite { iot_hubs: vec!["a".into()], ..EnrollmentWrite::default() },
        etag,
        created_at: at(1),
        updated_at: at(2),
    }
}

/// A registration of a device with the same id.
fn registration(id: &str, of: Option<&str>, hub: Option<&str>, etag: u64) -> Registration {
    Registration {
        id: registration_id(id),
        group: of.map(|of| GroupId::parse(of).unwrap()),
        status: if hub.is_some() { RegistrationStatus::Assigned } else { RegistrationStatus::Failed },
        substatus: None,
        assigned_hub: hub.map(str::to_owned),
        device_id: hub.map(|_| DeviceId::parse(id).unwrap()),
        error: hub.is_none().then(|| (400_207, "in words".into())),
        evidence: Evidence::SymmetricKey,
        payload: Some(serde_json::json!({"a": 1})),
        created_at: at(1),
        updated_at: at(2),
        etag,
    }
}

fn departure(id: &str, hub: &str) -> Departure {
    Departure { id: registration_id(id), hub: hub.into(), device_id: DeviceId::parse(id).unwrap() }
}

async fn left(store: &dyn Store) -> Vec<String> {
    let mut left: Vec<_> =
        store.departures(100).await.unwrap().into_iter().map(|one| format!("{} from {}", one.id, one.hub)).collect();
    left.sort();
    left
}

/// As it says.
pub async fn an_enrollment_is_written_at_its_etag(engine: Box<dyn Engine>) {
    let store = engine.provisioning();
    for key in [individual("Motor"), group("Motor")] {
        store.put_enrollment(enrollment(key.clone(), 7), None).await.unwrap();
        assert!(is_conflict(&store.put_enrollment(enrollment(key.clone(), 8), None).await));
        assert!(is_conflict(&store.put_enrollment(enrollment(key.clone(), 8), Some(6)).await));
        store.put_enrollment(enrollment(key.clone(), 8), Some(7)).await.unwrap();
        assert!(is_conflict(&store.delete_enrollment(&key, 7).await));
    }
    for number in 0..4 {
        store.put_enrollment(enrollment(individual(&format!("d{number}")), 1), None).await.unwrap();
    }
    drop(store);
    let engine = engine.restart().await.unwrap();
    let store = engine.provisioning();
    assert_eq!(store.enrollment(&individual("mOTOR")).await.unwrap(), Some(enrollment(individual("Motor"), 8)));
    let page = async |kind, after, limit| {
        let page = store.enrollments(kind, after, limit).await.unwrap();
        page.into_iter().map(|one| one.key.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(page(EnrollmentKind::Individual, Some("D0"), 2).await, ["d1", "d2"]);
    assert_eq!(page(EnrollmentKind::Individual, Some("d2"), 9).await, ["d3", "Motor"]);
    assert_eq!(page(EnrollmentKind::Group, None, 9).await, ["Motor"]);
    store.delete_enrollment(&individual("motor"), 8).await.unwrap();
    assert_eq!(store.enrollment(&individual("Motor")).await.unwrap(), None);
    assert!(store.enrollment(&group("motor")).await.unwrap().is_some());
    assert!(is_conflict(&store.delete_enrollment(&individual("motor"), 8).await));
}

/// As it says.
pub async fn a_registration_is_written_at_its_etag_and_the_second_writer_loses(engine: Box<dyn Engine>) {
    let store = engine.provisioning();
    let put = async |registration: Registration, expected| store.put_registration(registration, expected, vec![]).await;
    assert!(is_conflict(&put(registration("Motor", None, Some("a"), 5), Some(4)).await), "it is not there");
    put(registration("Motor", None, Some("a"), 5), None).await.unwrap();
    assert!(is_conflict(&put(registration("motor", None, Some("b"), 9), None).await));
    assert_eq!(
        store.registration(&registration_id("MOTOR")).await.unwrap(),
        Some(registration("Motor", None, Some("a"), 5))
    );
    put(registration("Motor", None, None, 6), Some(5)).await.unwrap();
    let lost =
        store.put_registration(registration("Motor", None, Some("b"), 6), Some(5), vec![departure("Motor", "a")]);
    assert!(is_conflict(&lost.await));
    assert_eq!(left(&*store).await, [""; 0], "who loses leaves nothing");
    assert!(store.delete_registration(&registration_id("motor")).await.unwrap());
    assert!(!store.delete_registration(&registration_id("motor")).await.unwrap());
    assert!(is_conflict(&put(registration("Motor", None, Some("b"), 7), Some(6)).await), "it is gone");
}

/// As it says.
pub async fn registrations_of_a_group_are_listed_in_order(engine: Box<dyn Engine>) {
    let store = engine.provisioning();
    for (id, of) in [("b", Some("G")), ("A", Some("g")), ("c", Some("G")), ("x", Some("other")), ("y", None)] {
        store.put_registration(registration(id, of, Some("a"), 1), None, vec![]).await.unwrap();
    }
    let page = async |after, limit| {
        let page = store.registrations(&GroupId::parse("g").unwrap(), after, limit).await.unwrap();
        page.into_iter().map(|one| one.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(page(None, 2).await, ["A", "b"]);
    assert_eq!(page(Some("B"), 2).await, ["c"]);
}

/// As it says.
pub async fn what_a_device_left_is_known_until_it_is_gone_there(engine: Box<dyn Engine>) {
    let store = engine.provisioning();
    store.put_registration(registration("m", None, Some("a"), 1), None, vec![]).await.unwrap();
    let moved = vec![departure("m", "A"), departure("m", "B")];
    store.put_registration(registration("m", None, Some("b"), 2), Some(1), moved).await.unwrap();
    store.put_registration(registration("n", None, Some("c"), 1), None, vec![departure("n", "a")]).await.unwrap();
    drop(store);
    let engine = engine.restart().await.unwrap();
    let store = engine.provisioning();
    assert_eq!(left(&*store).await, ["m from a", "n from a"], "it is at b");
    store.put_registration(registration("m", None, Some("A"), 3), Some(2), vec![departure("m", "b")]).await.unwrap();
    assert_eq!(left(&*store).await, ["m from b", "n from a"], "it came back to a");
    // Others each time, so that none is left out for ever.
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 2 {
        let some = store.departures(1).await.unwrap();
        assert_eq!(some.len(), 1);
        seen.insert(some[0].hub.clone());
    }
    store.end_departure(&departure("m", "b")).await.unwrap();
    store.end_departure(&departure("n", "a")).await.unwrap();
    assert_eq!(left(&*store).await, [""; 0]);
    let link = |weight| HubLink { connection_string: "x".into(), authority: None, weight, takes_part: true };
    store.put_hub_link("Hub.example".into(), link(1)).await.unwrap();
    store.put_hub_link("hub.EXAMPLE".into(), link(2)).await.unwrap();
    assert_eq!(store.hub_links().await.unwrap(), [link(2)]);
    store.delete_hub_link("HUB.example").await.unwrap();
    assert!(store.hub_links().await.unwrap().is_empty());
}

/// As it says.
pub async fn of_many_that_assign_one_device_one_succeeds(engine: Box<dyn Engine>) {
    let store = engine.provisioning();
    for round in 0..3 {
        let expected = (round > 0).then_some(round);
        let assigned = at_once(|writer| {
            let store = Arc::clone(&store);
            let hub = format!("h{writer}");
            let mut assigned = registration("m", None, Some(&hub), round + 1);
            assigned.updated_at = at(i64::try_from(writer).unwrap());
            async move { store.put_registration(assigned, expected, vec![departure("m", &format!("left-{writer}"))]).await }
        });
        let assigned = assigned.await;
        assert_eq!(count_done(&assigned, |error| matches!(error, StoreError::Conflict)), 1);
        assert_eq!(assigned.len(), WRITERS);
        let winner = assigned.iter().position(Result::is_ok).unwrap();
        let stored = store.registration(&registration_id("m")).await.unwrap().unwrap();
        assert_eq!(stored.assigned_hub, Some(format!("h{winner}")));
        assert_eq!(left(&*store).await, [format!("m from left-{winner}")]);
        store.end_departure(&departure("m", &format!("left-{winner}"))).await.unwrap();
    }
}
