//! Queues of devices and services: order, expiry, bounds, and what is written together.

use std::sync::Arc;

use bytes::Bytes;
use gantry_hub::c2d::{Ack, C2dMessage};
use gantry_hub::event::{MessageSource, SystemProperties};
use gantry_hub::limits::C2D_QUEUE_LEN_MAX;
use gantry_hub::ports::{Feedback, FeedbackBatch, QueueChange, Settlement, Store, StoreError};
use gantry_hub::service_queue::{Content, RoutedEvent, ServiceQueue};
use gantry_identity::Timestamp;

use crate::Engine;
use crate::fixtures::{WRITERS, at, at_once, count_done, id};

const NEVER_DUE: Timestamp = Timestamp::NEVER;

fn message(name: &str, expires_at: i64) -> C2dMessage {
    C2dMessage {
        message_id: Some(name.into()),
        correlation_id: Some("c".into()),
        user_id: Some("u".into()),
        content_type: Some("text/plain".into()),
        content_encoding: Some("utf-8".into()),
        expires_at: Some(at(expires_at)),
        ack: Ack::Full,
        properties: vec![("a".into(), Some("1".into())), ("none".into(), None), ("empty".into(), Some(String::new()))],
        body: Bytes::from(format!("body of {name}")),
    }
}

async fn push(store: &dyn Store, to: &str, name: &str, expires_at: i64) -> u64 {
    store.c2d_push(&id(to), message(name, expires_at), "7".into(), at(1), 50).await.unwrap()
}

/// Name of the oldest message nobody holds.
async fn first(store: &dyn Store, of: &str, now: i64, held: &[u64]) -> Option<String> {
    let first = store.c2d_first(&id(of), at(now), held.to_vec()).await.unwrap();
    first.and_then(|first| first.message.message_id)
}

fn settlement(sequence_number: u64, change: QueueChange, feedback: Option<&str>) -> Settlement {
    let feedback = feedback.map(|document| Feedback { at: at(5), document: document.to_owned() });
    Settlement { sequence_number, change, feedback }
}

fn batch(len_max: usize, due_at: Timestamp) -> FeedbackBatch {
    FeedbackBatch { len_max, due_at, enqueued_at: at(20), expires_at: at(100), queue_len_max: 1_000 }
}

/// Bodies of a service queue, oldest first; takes them out.
async fn drain(store: &dyn Store, queue: ServiceQueue) -> Vec<String> {
    let mut bodies = vec![];
    while let Some(message) = store.service_first(queue, at(0), vec![]).await.unwrap() {
        assert!(store.service_settle(queue, message.sequence_number, QueueChange::Remove).await.unwrap());
        bodies.push(String::from_utf8(message.content.body().to_vec()).unwrap());
    }
    bodies
}

/// As it says.
pub async fn the_oldest_comes_first_that_nobody_holds(engine: Box<dyn Engine>) {
    let store = &*engine.store();
    let mut numbers = vec![];
    for (to, name, expires_at) in
        [("d", "1", 100), ("d", "2", 10), ("d/m", "of m", 100), ("d", "3", 100), ("e", "of e", 100)]
    {
        numbers.push(push(store, to, name, expires_at).await);
    }
    let read = store.c2d_first(&id("d"), at(0), vec![]).await.unwrap().unwrap();
    assert_eq!(read.message, message("1", 100), "whole");
    assert_eq!((read.sequence_number, read.delivery_count, read.enqueued_at), (numbers[0], 0, at(1)));
    assert_eq!(read.generation_id, "7");
    assert_eq!(first(store, "d", 9, &numbers[..1]).await.as_deref(), Some("2"));
    assert_eq!(first(store, "d", 10, &numbers[..1]).await.as_deref(), Some("3"), "the second has expired");
    assert_eq!(first(store, "d", 10, &numbers).await, None);
    assert_eq!(first(store, "d/m", 0, &[]).await.as_deref(), Some("of m"));
    assert_eq!(first(store, "none", 0, &[]).await, None);
    let listed = store.c2d_list(&id("d")).await.unwrap();
    assert_eq!(listed.iter().map(|one| one.sequence_number).collect::<Vec<_>>(), [numbers[0], numbers[1], numbers[3]]);
    assert!(listed.iter().all(|one| one.message.body.is_empty() && one.message.ack == Ack::Full));
}

/// As it says.
pub async fn a_queue_survives_a_restart_and_its_numbers_rise(engine: Box<dyn Engine>) {
    let (first_number, second) =
        (push(&*engine.store(), "d", "1", 100).await, push(&*engine.store(), "d", "2", 100).await);
    let gone = settlement(second, QueueChange::Remove, Some("{}"));
    let counted = settlement(first_number, QueueChange::Count(3), None);
    assert_eq!(engine.store().c2d_settle(&id("d"), vec![gone, counted]).await.unwrap(), 2);
    let engine = engine.restart().await.unwrap();
    let store = &*engine.store();
    let left = store.c2d_list(&id("d")).await.unwrap();
    assert_eq!(
        left.iter().map(|one| (one.sequence_number, one.delivery_count)).collect::<Vec<_>>(),
        [(first_number, 3)]
    );
    let third = push(store, "d", "3", 100).await;
    assert!(third > second && second > first_number, "a number is given once");
    assert_eq!(store.feedback_batch(batch(1, NEVER_DUE)).await.unwrap(), 1, "the outcome is there");
}

/// As it says.
pub async fn what_becomes_of_a_message_and_its_feedback_are_one(engine: Box<dyn Engine>) {
    let store = &*engine.store();
    let (one, two) = (push(store, "d", "1", 100).await, push(store, "d", "2", 100).await);
    let settlements = vec![
        settlement(one, QueueChange::Remove, Some("\"1\"")),
        settlement(one, QueueChange::Remove, Some("\"again\"")),
        settlement(two, QueueChange::Count(1), Some("\"counted\"")),
        settlement(99, QueueChange::Remove, Some("\"never there\"")),
    ];
    assert_eq!(store.c2d_settle(&id("e"), settlements.clone()).await.unwrap(), 0, "they are of another device");
    assert_eq!(store.c2d_settle(&id("d"), settlements).await.unwrap(), 2);
    assert_eq!(store.c2d_first(&id("d"), at(0), vec![]).await.unwrap().unwrap().delivery_count, 1);
    assert_eq!(store.feedback_batch(batch(64, at(4))).await.unwrap(), 0, "not due");
    assert_eq!(store.feedback_batch(batch(64, at(5))).await.unwrap(), 1);
    assert_eq!(drain(store, ServiceQueue::Feedback).await, ["[\"1\",\"counted\"]"]);
}

/// As it says.
pub async fn of_many_that_settle_a_message_one_does(engine: Box<dyn Engine>) {
    let store = engine.store();
    let number = push(&*store, "d", "1", 100).await;
    let settled = at_once(|writer| {
        let store = Arc::clone(&store);
        let settle = settlement(number, QueueChange::Remove, Some(&format!("{writer}")));
        async move { store.c2d_settle(&id("d"), vec![settle]).await.unwrap() }
    });
    let settled = settled.await;
    assert_eq!(settled.iter().sum::<usize>(), 1);
    let winner = settled.iter().position(|count| *count == 1).unwrap();
    assert_eq!(store.feedback_batch(batch(64, at(5))).await.unwrap(), 1);
    assert_eq!(drain(&*store, ServiceQueue::Feedback).await, [format!("[{winner}]")]);
}

/// As it says.
pub async fn a_queue_holds_fifty_however_many_come_at_once(engine: Box<dyn Engine>) {
    let store = engine.store();
    // What has expired takes no room; nor do messages of others.
    push(&*store, "d", "old", 1).await;
    push(&*store, "d/m", "of m", 100).await;
    let pushed = at_once(|_| {
        let store = Arc::clone(&store);
        async move {
            let mut outcomes = vec![];
            for _ in 0..3 {
                let device = id("d");
                let push = store.c2d_push(&device, message("x", 100), "7".into(), at(1), C2D_QUEUE_LEN_MAX);
                outcomes.push(push.await.map(drop));
            }
            outcomes
        }
    });
    let outcomes: Vec<_> = pushed.await.into_iter().flatten().collect();
    assert_eq!(count_done(&outcomes, |error| matches!(error, StoreError::Full)), C2D_QUEUE_LEN_MAX);
    let listed = store.c2d_list(&id("d")).await.unwrap();
    assert_eq!(listed.len(), C2D_QUEUE_LEN_MAX + 1);
    assert!(listed.is_sorted_by(|a, b| a.sequence_number < b.sequence_number));
    let room = settlement(listed[1].sequence_number, QueueChange::Remove, None);
    assert_eq!(store.c2d_settle(&id("d"), vec![room]).await.unwrap(), 1);
    let device = id("d");
    let push = |name| store.c2d_push(&device, message(name, 100), "7".into(), at(1), C2D_QUEUE_LEN_MAX);
    push("fits").await.unwrap();
    let full = push("does not").await;
    assert!(matches!(full, Err(StoreError::Full)), "{full:?}");
}

/// As it says.
pub async fn expired_messages_are_listed_in_the_order_in_which_they_expired(engine: Box<dyn Engine>) {
    let store = &*engine.store();
    for (to, name, expires_at) in [("d", "3", 30), ("e", "1", 10), ("d", "never", 99), ("d/m", "2", 30), ("d", "4", 30)]
    {
        push(store, to, name, expires_at).await;
    }
    let (mut found, mut after) = (vec![], None);
    loop {
        let page = store.c2d_expired(at(30), after, 2).await.unwrap();
        let Some((_, last)) = page.last() else { break };
        after = Some((last.expires_at(), last.sequence_number));
        assert!(page.iter().all(|(_, one)| one.message.body.is_empty()));
        found.extend(page.into_iter().map(|(of, one)| format!("{} of {of}", one.message.message_id.unwrap())));
    }
    assert_eq!(found, ["1 of e", "3 of d", "2 of d/m", "4 of d"]);
    assert!(store.c2d_expired(at(9), None, 10).await.unwrap().is_empty());
}

/// As it says.
pub async fn outcomes_become_messages_when_they_are_many_or_old(engine: Box<dyn Engine>) {
    let store = &*engine.store();
    for outcome in 0..5 {
        let number = push(store, "d", "m", 100).await;
        let settle = settlement(number, QueueChange::Remove, Some(&format!("{outcome}")));
        assert_eq!(store.c2d_settle(&id("d"), vec![settle]).await.unwrap(), 1);
    }
    assert_eq!(store.feedback_batch(batch(6, at(4))).await.unwrap(), 0);
    assert_eq!(store.feedback_batch(batch(2, at(4))).await.unwrap(), 2, "two are full, the last waits");
    let message = store.service_first(ServiceQueue::Feedback, at(20), vec![]).await.unwrap().unwrap();
    assert_eq!((message.enqueued_at, message.expires_at, message.delivery_count), (at(20), at(100), 0));
    assert_eq!(store.feedback_batch(batch(2, at(5))).await.unwrap(), 1);
    assert_eq!(store.feedback_batch(batch(2, at(5))).await.unwrap(), 0);
    assert_eq!(drain(store, ServiceQueue::Feedback).await, ["[0,1]", "[2,3]", "[4]"]);
}

/// As it says.
pub async fn a_service_queue_is_its_own_and_ends_messages_in_time(engine: Box<dyn Engine>) {
    let store = &*engine.store();
    let routed = |number, subscription| ServiceQueue::Routed { number, subscription };
    let queues = [
        ServiceQueue::Feedback,
        ServiceQueue::FileNotifications,
        routed(1, 0),
        routed(2, 0),
        routed(1, 7),
        routed(1, 8),
    ];
    for (number, queue) in queues.into_iter().enumerate() {
        store.service_push(queue, format!("{number}").into(), at(1), at(50), 10).await.unwrap();
        store.service_push(queue, format!("late {number}").into(), at(1), at(100), 10).await.unwrap();
    }
    let one = store.service_first(queues[4], at(0), vec![]).await.unwrap().unwrap();
    assert!(!store.service_settle(queues[5], one.sequence_number, QueueChange::Remove).await.unwrap());
    assert!(store.service_settle(queues[4], one.sequence_number, QueueChange::Count(2)).await.unwrap());
    let again = store.service_first(queues[4], at(0), vec![]).await.unwrap().unwrap();
    assert_eq!((again.delivery_count, &again.content), (2, &one.content));
    let next = store.service_first(queues[4], at(0), vec![one.sequence_number]).await.unwrap().unwrap();
    assert_eq!(next.content.body(), "late 4");
    let last = store.service_first(queues[4], at(50), vec![]).await.unwrap().unwrap();
    assert_eq!(last.content.body(), "late 4", "it ends at 50");
    store.service_purge(queues[3]).await.unwrap();
    store.service_expire(at(50)).await.unwrap();
    for (number, queue) in queues.into_iter().enumerate() {
        let left = if number == 3 { vec![] } else { vec![format!("late {number}")] };
        assert_eq!(drain(store, queue).await, left);
    }
}

/// An event with everything a queue keeps.
fn routed(body: &str) -> RoutedEvent {
    let text = |text: &'static str| Some(text.into());
    RoutedEvent {
        source: MessageSource::TwinChange,
        identity: gantry_identity::Identity::parse("motor/vision").unwrap(),
        generation_id: "7".into(),
        auth_method: "{}".into(),
        model_id: Some("dtmi:a;1".into()),
        enqueued_at: at(5),
        system: SystemProperties {
            message_id: text("m"),
            correlation_id: text("c"),
            user_id: text("u"),
            content_type: text("text/plain"),
            content_encoding: text("utf-8"),
            subject: text("thermostat"),
            ..SystemProperties::default()
        },
        properties: vec![("a".into(), Some("1".into())), ("none".into(), None), ("empty".into(), Some(String::new()))],
        body: Bytes::from(body.to_owned()),
    }
}

/// As it says.
pub async fn an_event_in_a_queue_is_what_it_was(engine: Box<dyn Engine>) {
    let store = engine.store();
    let queue = ServiceQueue::Routed { number: 3, subscription: 0 };
    let bare = RoutedEvent {
        identity: id("motor"),
        model_id: None,
        system: SystemProperties::default(),
        properties: vec![],
        ..routed("")
    };
    for event in [routed("{\"a\":1}"), bare] {
        store.routed_push(queue, Arc::new(vec![event.clone()]), at(1), at(100), 50).await.unwrap();
        let first = store.service_first(queue, at(1), vec![]).await.unwrap().unwrap();
        assert_eq!(first.content, Content::Event(Box::new(event)));
        assert!(store.service_settle(queue, first.sequence_number, QueueChange::Remove).await.unwrap());
    }
}

/// As it says.
pub async fn a_service_queue_takes_all_or_none(engine: Box<dyn Engine>) {
    let store = engine.store();
    let queue = ServiceQueue::Routed { number: 3, subscription: 0 };
    let pushed = at_once(|writer| {
        let store = Arc::clone(&store);
        let events = Arc::new((0..3).map(|n| routed(&format!("{writer}-{n}"))).collect());
        async move { store.routed_push(queue, events, at(1), at(100), 50).await }
    });
    assert_eq!(count_done(&pushed.await, |error| matches!(error, StoreError::Full)), 16);
    let bodies = drain(&*store, queue).await;
    assert_eq!(bodies.len(), 48);
    for three in bodies.chunks(3) {
        let (writer, _) = three[0].split_once('-').unwrap();
        assert_eq!(three, [0, 1, 2].map(|n| format!("{writer}-{n}")), "those of one call are together and in order");
    }
}

/// As it says.
pub async fn the_oldest_of_a_service_queue_go_when_it_is_full(engine: Box<dyn Engine>) {
    let store = engine.store();
    for number in 0..5 {
        let push = store.service_push(ServiceQueue::FileNotifications, format!("{number}").into(), at(1), at(100), 3);
        push.await.unwrap();
    }
    assert_eq!(drain(&*store, ServiceQueue::FileNotifications).await, ["2", "3", "4"]);
    let pushed = at_once(|writer| {
        let store = Arc::clone(&store);
        async move {
            let push =
                store.service_push(ServiceQueue::FileNotifications, format!("{writer}").into(), at(1), at(9), 10);
            push.await.unwrap();
        }
    });
    assert_eq!(pushed.await.len(), WRITERS);
    assert_eq!(drain(&*store, ServiceQueue::FileNotifications).await.len(), 10);
}
