//! Identities and twins: compare-and-swap, all or none, bounds, lists.

use std::sync::Arc;

use gantry_hub::c2d::C2dMessage;
use gantry_hub::device::{Device, Status};
use gantry_hub::limits::MODULES_MAX;
use gantry_hub::ports::{Counts, Presence, Record, Search, StoreError};
use gantry_identity::Timestamp;

use crate::Engine;
use crate::fixtures::{WRITERS, at, at_once, count_done, id, is_conflict, record};

fn names(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| record.device.identity.to_string()).collect()
}

/// As it says.
pub async fn a_record_is_read_as_it_was_written_and_survives_a_restart(engine: Box<dyn Engine>) {
    let written = record("d1");
    engine.store().insert(vec![written.clone()], vec![]).await.unwrap();
    let engine = engine.restart().await.unwrap();
    assert_eq!(engine.store().record(&id("d1")).await.unwrap(), Some(written.clone()));
    assert_eq!(engine.store().known(&id("d1")), Some(written));
    assert_eq!(engine.store().record(&id("d2")).await.unwrap(), None);
}

/// As it says.
pub async fn a_write_against_an_old_revision_is_a_conflict(engine: Box<dyn Engine>) {
    let store = engine.store();
    let first = record("d1");
    store.insert(vec![first.clone()], vec![]).await.unwrap();
    assert!(is_conflict(&store.insert(vec![first.clone()], vec![]).await));
    store.update(first.clone(), vec![]).await.unwrap();
    assert!(is_conflict(&store.update(first.clone(), vec![]).await));
    assert!(is_conflict(&store.delete(&id("d1"), 1, vec![]).await));
    assert_eq!(store.record(&id("d1")).await.unwrap().unwrap().revision, 2, "each write raises it by one");
    store.delete(&id("d1"), 2, vec![]).await.unwrap();
    assert_eq!(store.record(&id("d1")).await.unwrap(), None);
    assert!(is_conflict(&store.update(first, vec![]).await));
    assert!(is_conflict(&store.delete(&id("d1"), 2, vec![]).await));
}

/// As it says.
pub async fn what_is_made_together_is_made_whole_or_not_at_all(engine: Box<dyn Engine>) {
    let store = engine.store();
    let alone = store.insert(vec![record("d/m")], vec![]).await;
    assert!(matches!(alone, Err(StoreError::Missing)), "{alone:?}");
    store.insert(vec![record("d"), record("d/m1"), record("d/m2")], vec![]).await.unwrap();
    for again in [vec![record("d"), record("d/m3")], vec![record("e"), record("d/m2")]] {
        assert!(is_conflict(&store.insert(again, vec![]).await));
    }
    assert_eq!(names(&store.records(false, None, 10).await.unwrap()), ["d"]);
    assert_eq!(names(&store.records(true, None, 10).await.unwrap()), ["d/m1", "d/m2"]);
}

/// As it says.
pub async fn devices_and_modules_are_listed_apart_and_deleted_together(engine: Box<dyn Engine>) {
    let store = engine.store();
    for name in ["b", "a", "a/m2", "a/m1", "c", "B", "a0"] {
        store.insert(vec![record(name)], vec![]).await.unwrap();
    }
    assert_eq!(names(&store.records(false, None, 10).await.unwrap()), ["B", "a", "a0", "b", "c"]);
    assert_eq!(names(&store.records(false, Some(&id("a")), 1).await.unwrap()), ["a0"]);
    assert_eq!(names(&store.records(true, None, 10).await.unwrap()), ["a/m1", "a/m2"]);
    assert_eq!(names(&store.records(true, Some(&id("a/m1")), 10).await.unwrap()), ["a/m2"]);
    assert_eq!(names(&store.modules_of(&id("a").device, 10).await.unwrap()), ["a/m1", "a/m2"]);
    assert_eq!(names(&store.modules_of(&id("a").device, 1).await.unwrap()), ["a/m1"]);
    assert!(store.modules_of(&id("b").device, 10).await.unwrap().is_empty());
    assert_eq!(store.counts().await.unwrap(), Counts { enabled: 5, disabled: 0 });
    store.delete(&id("a/m1"), 1, vec![]).await.unwrap();
    assert_eq!(names(&store.modules_of(&id("a").device, 10).await.unwrap()), ["a/m2"]);
    store.delete(&id("a"), 1, vec![]).await.unwrap();
    assert!(store.records(true, None, 10).await.unwrap().is_empty());
}

/// As it says.
pub async fn who_has_the_name_of_one_that_is_gone_begins_anew(engine: Box<dyn Engine>) {
    let store = engine.store();
    for name in ["d", "d/m"] {
        store.insert(vec![record(name)], vec![]).await.unwrap();
        store.save_subscriptions(&id(name), 3).await.unwrap();
        let message = C2dMessage { expires_at: Some(at(100)), ..C2dMessage::default() };
        store.c2d_push(&id(name), message, "7".into(), at(0), 9).await.unwrap();
        let presence = store.record(&id(name)).await.unwrap().unwrap().presence;
        assert_eq!((presence.subscriptions, presence.c2d_count), (3, 1), "{name}");
    }
    store.delete(&id("d"), 1, vec![]).await.unwrap();
    store.insert(vec![record("d"), record("d/m")], vec![]).await.unwrap();
    for name in ["d", "d/m"] {
        assert_eq!(store.record(&id(name)).await.unwrap().unwrap().presence, Presence::default(), "{name}");
        assert_eq!(store.c2d_first(&id(name), at(0), vec![]).await.unwrap(), None, "{name}");
    }
}

/// As it says.
pub async fn subscriptions_survive_presence(engine: Box<dyn Engine>) {
    let store = engine.store();
    store.insert(vec![record("d")], vec![]).await.unwrap();
    store.save_subscriptions(&id("d"), 3).await.unwrap();
    let noted = Presence { updated_at: at(9), last_activity_at: at(9), subscriptions: 0, c2d_count: 0 };
    store.note_presence(&id("d"), noted);
    // What is noted is not waited for, but is there before a later write.
    store.c2d_settle(&id("d"), vec![]).await.unwrap();
    let presence = store.record(&id("d")).await.unwrap().unwrap().presence;
    assert_eq!((presence.subscriptions, presence.updated_at), (3, at(9)));
}

/// As it says.
pub async fn counts_follow_every_write(engine: Box<dyn Engine>) {
    let store = engine.store();
    for number in 0..6 {
        let mut one = record(&format!("d{number}"));
        one.device.status = if number < 2 { Status::Disabled } else { Status::Enabled };
        store.insert(vec![one, record(&format!("d{number}/m"))], vec![]).await.unwrap();
    }
    assert_eq!(store.counts().await.unwrap(), Counts { enabled: 4, disabled: 2 });
    let Record { device, .. } = record("d0");
    store
        .update(Record { device: Device { status: Status::Enabled, ..device }, ..record("d0") }, vec![])
        .await
        .unwrap();
    assert_eq!(store.counts().await.unwrap(), Counts { enabled: 5, disabled: 1 });
    store.delete(&id("d0"), 2, vec![]).await.unwrap();
    store.delete(&id("d1"), 1, vec![]).await.unwrap();
    assert_eq!(store.counts().await.unwrap(), Counts { enabled: 4, disabled: 0 });
    let all = store.count(Search { modules: false, constraints: vec![] }).await.unwrap();
    assert!(all.is_none_or(|all| all == 4), "{all:?}");
}

/// As it says.
pub async fn configurations_know_whom_they_target(engine: Box<dyn Engine>) {
    let store = engine.store();
    for (name, status) in
        [("b", Some(true)), ("a", Some(false)), ("a/$edgeAgent", Some(true)), ("c", None), ("c/$edgeAgent", Some(true))]
    {
        store.insert(vec![record(name)], vec![]).await.unwrap();
        let mut targeted = record(name);
        targeted.twin.managed.configurations.extend(status.map(|is_applied| ("base".to_owned(), is_applied)));
        store.update(targeted, vec![]).await.unwrap();
    }
    let held = async |after: Option<&str>, limit| {
        let after = after.map(id);
        let held = store.managed_by("base", after.as_ref(), limit).await.unwrap();
        held.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(held(None, 10).await, ["a", "a/$edgeAgent", "b", "c/$edgeAgent"]);
    assert_eq!(held(Some("a"), 2).await, ["a/$edgeAgent", "b"]);
    // A device and its agent are one.
    assert_eq!(store.managed_counts("base").await.unwrap(), (3, 2));
    assert_eq!(store.managed_counts("none").await.unwrap(), (0, 0));
    assert_eq!(store.managed_by_any().await.unwrap(), ["base"]);
    store.update(Record { revision: 2, ..record("b") }, vec![]).await.unwrap();
    store.delete(&id("a"), 2, vec![]).await.unwrap();
    assert_eq!(held(None, 10).await, ["c/$edgeAgent"]);
}

/// As it says.
pub async fn of_many_writers_of_a_record_each_writes_on_what_another_wrote(engine: Box<dyn Engine>) {
    let store = engine.store();
    store.insert(vec![record("d")], vec![]).await.unwrap();
    let written = at_once(|_| {
        let store = Arc::clone(&store);
        async move {
            loop {
                let mut one = store.record(&id("d")).await.unwrap().unwrap();
                one.device.etag += 1;
                match store.update(one, vec![]).await {
                    Err(StoreError::Conflict) => {}
                    outcome => return outcome.unwrap(),
                }
            }
        }
    });
    written.await;
    let after = store.record(&id("d")).await.unwrap().unwrap();
    assert_eq!((after.device.etag, after.revision), (3 + WRITERS as u64, 1 + WRITERS as u64));
}

/// As it says.
pub async fn of_many_that_make_or_delete_one_device_one_succeeds(engine: Box<dyn Engine>) {
    let store = engine.store();
    for round in 1..=3 {
        let made = at_once(|_| {
            let store = Arc::clone(&store);
            async move { store.insert(vec![record("d"), record("d/m")], vec![]).await }
        });
        assert_eq!(count_done(&made.await, |error| matches!(error, StoreError::Conflict)), 1, "round {round}");
        let gone = at_once(|number| {
            let store = Arc::clone(&store);
            async move {
                if number % 2 == 0 {
                    store.delete(&id("d"), 1, vec![]).await
                } else {
                    store.update(record("d"), vec![]).await
                }
            }
        });
        assert_eq!(count_done(&gone.await, |error| matches!(error, StoreError::Conflict)), 1, "round {round}");
        if let Some(left) = store.record(&id("d")).await.unwrap() {
            store.delete(&id("d"), left.revision, vec![]).await.unwrap();
        }
        assert_eq!(store.counts().await.unwrap(), Counts::default());
    }
}

/// As it says.
pub async fn a_device_has_fifty_modules_however_many_come_at_once(engine: Box<dyn Engine>) {
    let store = engine.store();
    store.insert(vec![record("d")], vec![]).await.unwrap();
    let made = at_once(|writer| {
        let store = Arc::clone(&store);
        async move {
            let mut outcomes = vec![];
            for number in 0..3 {
                outcomes.push(store.insert(vec![record(&format!("d/m{writer}-{number}"))], vec![]).await);
            }
            outcomes
        }
    });
    let outcomes: Vec<_> = made.await.into_iter().flatten().collect();
    assert_eq!(count_done(&outcomes, |error| matches!(error, StoreError::Full)), MODULES_MAX);
    let modules = store.modules_of(&id("d").device, 1_000).await.unwrap();
    assert_eq!(modules.len(), MODULES_MAX);
    // Room that is made can be taken.
    store.delete(&modules[0].device.identity, 1, vec![]).await.unwrap();
    store.insert(vec![record("d/another")], vec![]).await.unwrap();
    assert!(modules.iter().all(|module| module.presence.updated_at == Timestamp::NEVER));
}
