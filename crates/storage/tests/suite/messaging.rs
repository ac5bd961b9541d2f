//! Cloud-to-device messages and what services hear of them: the hub over its store.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use futures::FutureExt as _;
use gantry_hub::c2d::{Ack, C2dMessage, Settle};
use gantry_hub::connection::{Delivery, Mailbox, Subscriptions};
use gantry_hub::device::{DeviceWrite, IfMatch};
use gantry_hub::event::Event;
use gantry_hub::feedback::FileNotification;
use gantry_hub::ports::{Append, Audit, Entropy, EventSink, RefusedAccess};
use gantry_hub::service_queue::{Messaging, ServiceQueue};
use gantry_hub::{DisabledTokens, Hub, HubConfig, HubError, Ports, Session};
use gantry_identity::{Identity, Key, KeyPair, Policies, Timestamp};
use gantry_storage::Database;
use serde_json::Value;

/// Counts up, so that every lock has a token of its own.
#[derive(Default)]
struct Counter(AtomicU8);

impl Entropy for Counter {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(self.0.fetch_add(1, Ordering::Relaxed));
    }
}

struct Nothing;

impl EventSink for Nothing {
    fn append(&self, _: &[Event<'_>]) -> Append {
        Box::pin(std::future::ready(Ok(())))
    }

    fn ready(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
}

impl Audit for Nothing {
    fn refused(&self, _: RefusedAccess) {}
}

struct World {
    hub: Hub,
    folder: tempfile::TempDir,
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(1_795_000_000_000 + secs * 1000)
}

fn id(text: &str) -> Identity {
    Identity::parse(text).unwrap()
}

fn hub(folder: &tempfile::TempDir) -> Hub {
    let keys = || KeyPair { primary: Key::from_bytes([1; 32]), secondary: Key::from_bytes([2; 32]) };
    let config = HubConfig {
        name: "hub".into(),
        host_names: vec!["localhost".into()],
        policies: Policies::hub_defaults(keys),
        disabled: DisabledTokens::default(),
        edition: None,
        allow_faults: false,
        consumer_groups: vec![],
        messaging: Messaging::default(),
    };
    let database = Arc::new(Database::open(folder.path()).unwrap());
    let ports = Ports {
        store: Arc::<Database>::clone(&database),
        documents: database,
        log: Arc::new(Nothing),
        entropy: Arc::<Counter>::default(),
        audit: Arc::new(Nothing),
        observer: Arc::new(()),
    };
    // SQLite answers at once.
    Hub::new(config, ports).now_or_never().unwrap().unwrap()
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let world = Self { hub: hub(&folder), folder };
        for name in ["d", "e", "d/m"] {
            world.hub.put_device(at(0), &id(name), DeviceWrite::default(), &IfMatch::Absent).await.unwrap();
        }
        world
    }

    /// The process ends and begins again.
    fn restart(self) -> Self {
        let Self { hub: old, folder } = self;
        drop(old);
        Self { hub: hub(&folder), folder }
    }

    async fn send(&self, to: &str, message_id: &str, ack: Ack) {
        let message = C2dMessage { message_id: Some(message_id.into()), ack, ..C2dMessage::default() };
        self.hub.send_c2d(at(0), &id(to), message).await.unwrap();
    }

    /// Takes the next message and settles it; says which it was.
    async fn take(&self, now: i64, of: &str, settle: Settle) -> Option<(String, u32)> {
        let locked = self.hub.receive_c2d(at(now), &id(of), None).await.unwrap()?;
        self.hub.settle_c2d(at(now), &id(of), locked.token, settle).await.unwrap();
        Some((locked.message.message.message_id.unwrap(), locked.message.delivery_count))
    }

    async fn connect(&self, name: &str) -> Mailbox {
        let session = Session {
            identity: id(name),
            generation_id: String::new(),
            auth_method: String::new(),
            model_id: None,
            expires_at: None,
            subscriptions: Subscriptions::default(),
        };
        let mailbox = self.hub.connect(at(0), &session, false).await.unwrap();
        mailbox.subscribe(Subscriptions::C2D);
        mailbox
    }

    /// Outcomes a service reads, as message id and status code.
    async fn feedback(&self, now: i64) -> Vec<(String, String)> {
        self.hub.tend(at(now)).await.unwrap();
        let mut all = Vec::new();
        while let Some(batch) = self.hub.receive_service(at(now), ServiceQueue::Feedback).await.unwrap() {
            let records: Vec<Value> = serde_json::from_slice(batch.message.content.body()).unwrap();
            let text = |record: &Value, name: &str| record[name].as_str().unwrap().to_owned();
            all.extend(records.iter().map(|r| (text(r, "originalMessageId"), text(r, "statusCode"))));
            self.hub.settle_service(at(now), ServiceQueue::Feedback, batch.token, Settle::Complete).await.unwrap();
        }
        all
    }
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(id, code)| ((*id).to_owned(), (*code).to_owned())).collect()
}

#[tokio::test]
async fn every_outcome_is_told_to_those_who_asked() {
    let world = World::new().await;
    for ack in [Ack::None, Ack::Positive, Ack::Negative, Ack::Full] {
        world.send("d", &format!("complete-{}", ack.as_str()), ack).await;
        world.send("e", &format!("reject-{}", ack.as_str()), ack).await;
        world.send("d/m", &format!("purge-{}", ack.as_str()), ack).await;
    }
    for _ in 0..4 {
        world.take(1, "d", Settle::Complete).await.unwrap();
        world.take(1, "e", Settle::Reject).await.unwrap();
    }
    assert_eq!(world.hub.purge_c2d(at(1), &id("d/m")).await.unwrap(), 4);
    assert_eq!(world.take(1, "d", Settle::Complete).await, None);
    let mut told = world.feedback(17).await;
    told.sort();
    let expected = pairs(&[
        ("complete-full", "Success"),
        ("complete-positive", "Success"),
        ("purge-full", "Purged"),
        ("purge-negative", "Purged"),
        ("reject-full", "Rejected"),
        ("reject-negative", "Rejected"),
    ]);
    assert_eq!(told, expected);
    assert!(world.feedback(100).await.is_empty(), "once only");
}

#[tokio::test]
async fn a_record_says_who_and_when() {
    let world = World::new().await;
    world.send("d/m", "m1", Ack::Full).await;
    world.take(5, "d/m", Settle::Complete).await.unwrap();
    world.hub.tend(at(20)).await.unwrap();
    let batch = world.hub.receive_service(at(20), ServiceQueue::Feedback).await.unwrap().unwrap();
    let record = &serde_json::from_slice::<Value>(batch.message.content.body()).unwrap()[0];
    let generation = world.hub.record(&id("d/m")).await.unwrap().device.generation_id;
    assert_eq!(record["deviceId"], "d");
    assert_eq!(record["deviceGenerationId"], generation);
    assert_eq!(record["enqueuedTimeUtc"], at(5).to_string());
    assert_eq!(batch.message.enqueued_at, at(20));
}

#[tokio::test]
async fn only_an_abandon_counts_and_the_tenth_is_the_last() {
    let world = World::new().await;
    world.send("d", "m", Ack::Full).await;
    let locked = world.hub.receive_c2d(at(0), &id("d"), None).await.unwrap().unwrap();
    assert!(world.hub.receive_c2d(at(59), &id("d"), None).await.unwrap().is_none());
    let lost = world.hub.settle_c2d(at(60), &id("d"), locked.token, Settle::Complete).await;
    assert!(matches!(lost, Err(HubError::LockLost)), "{lost:?}");
    for count in 0..10 {
        assert_eq!(world.take(61, "d", Settle::Abandon).await, Some(("m".to_owned(), count)));
    }
    assert_eq!(world.take(61, "d", Settle::Abandon).await, None);
    assert_eq!(world.feedback(80).await, pairs(&[("m", "DeliveryCountExceeded")]));
}

#[tokio::test]
async fn messages_expire_for_devices_that_never_come_back() {
    let world = World::new().await;
    for n in 0..40 {
        world.send("d", &format!("m{n}"), Ack::Negative).await;
        world.send("e", &format!("n{n}"), Ack::Negative).await;
    }
    let held = world.hub.receive_c2d(at(3599), &id("d"), None).await.unwrap().unwrap();
    assert!(world.feedback(3599).await.is_empty());
    assert!(world.hub.receive_c2d(at(3600), &id("d"), None).await.unwrap().is_none(), "one past the limit");
    world.hub.tend(at(3600)).await.unwrap();
    let told = world.feedback(3616).await;
    assert_eq!(told.len(), 79, "all but the one in hand");
    assert!(told.iter().all(|(_, code)| code == "Expired"));
    world.hub.settle_c2d(at(3617), &id("d"), held.token, Settle::Reject).await.unwrap();
    assert_eq!(world.feedback(3640).await, pairs(&[("m0", "Rejected")]));
}

#[tokio::test]
async fn outcomes_gather_to_sixty_four_or_for_fifteen_seconds() {
    let world = World::new().await;
    for n in 0..65 {
        let device = if n < 40 { "d" } else { "e" };
        world.send(device, &format!("m{n}"), Ack::Full).await;
        world.take(n / 40, device, Settle::Complete).await.unwrap();
    }
    // Enough for one: it is due at once.
    world.hub.tending_due().await;
    assert_eq!(world.feedback(2).await.len(), 64);
    assert!(world.feedback(15).await.is_empty());
    assert_eq!(world.feedback(16).await.len(), 1);
}

#[tokio::test]
async fn what_was_in_hand_is_there_after_a_restart_and_outcomes_are_too() {
    let world = World::new().await;
    world.send("d", "done", Ack::Full).await;
    world.send("d", "in hand", Ack::Full).await;
    world.take(1, "d", Settle::Complete).await.unwrap();
    world.hub.receive_c2d(at(1), &id("d"), None).await.unwrap().unwrap();
    let world = world.restart();
    assert_eq!(world.take(2, "d", Settle::Complete).await, Some(("in hand".to_owned(), 0)));
    assert_eq!(world.feedback(20).await, pairs(&[("done", "Success"), ("in hand", "Success")]));
}

#[tokio::test]
async fn a_connection_gives_back_what_it_holds_and_keeps_it_as_long_as_it_wants() {
    let world = World::new().await;
    world.send("d", "m", Ack::Full).await;
    let mailbox = world.connect("d").await;
    let locked = world.hub.next_c2d(at(0), mailbox.holder(), true).await.unwrap().unwrap();
    world.hub.tend(at(3000)).await.unwrap();
    assert!(world.hub.next_c2d(at(3000), mailbox.holder(), true).await.unwrap().is_none());
    let newer = world.connect("d").await;
    let again = world.hub.next_c2d(at(3000), newer.holder(), true).await.unwrap().unwrap();
    assert_eq!(again.message.delivery_count, 0);
    let lost = world.hub.settle_c2d(at(3000), &id("d"), locked.token, Settle::Complete).await;
    assert!(matches!(lost, Err(HubError::LockLost)), "{lost:?}");
    // The older one goes; what the newer holds stays.
    world.hub.disconnect(at(3000), mailbox);
    world.hub.settle_c2d(at(3001), &id("d"), again.token, Settle::Complete).await.unwrap();
}

#[tokio::test]
async fn a_connection_hears_of_messages_that_become_free() {
    let world = World::new().await;
    world.send("d", "m", Ack::None).await;
    let mut mailbox = world.connect("d").await;
    let locked = world.hub.receive_c2d(at(0), &id("d"), None).await.unwrap().unwrap();
    world.hub.settle_c2d(at(0), &id("d"), locked.token, Settle::Abandon).await.unwrap();
    assert!(matches!(mailbox.next().await, Delivery::C2dAvailable));
    let locked = world.hub.receive_c2d(at(0), &id("d"), None).await.unwrap().unwrap();
    world.hub.release_c2d(&id("d"), locked.token);
    assert!(matches!(mailbox.next().await, Delivery::C2dAvailable));
    let locked = world.hub.receive_c2d(at(0), &id("d"), None).await.unwrap().unwrap();
    assert_eq!(locked.message.delivery_count, 1);
    world.hub.tend(at(60)).await.unwrap();
    assert!(matches!(mailbox.next().await, Delivery::C2dAvailable));
}

#[tokio::test]
async fn a_purge_takes_messages_out_of_hands_too() {
    let world = World::new().await;
    world.send("d", "m", Ack::Full).await;
    let locked = world.hub.receive_c2d(at(0), &id("d"), None).await.unwrap().unwrap();
    assert_eq!(world.hub.purge_c2d(at(1), &id("d")).await.unwrap(), 1);
    let lost = world.hub.settle_c2d(at(1), &id("d"), locked.token, Settle::Complete).await;
    assert!(matches!(lost, Err(HubError::LockLost)), "{lost:?}");
    assert_eq!(world.feedback(20).await, pairs(&[("m", "Purged")]));
}

#[tokio::test]
async fn the_fifty_first_is_refused_until_one_is_done() {
    let world = World::new().await;
    for n in 0..50 {
        world.send("d", &n.to_string(), Ack::None).await;
    }
    let more = || C2dMessage::default();
    let full = world.hub.send_c2d(at(0), &id("d"), more()).await;
    assert!(matches!(full, Err(HubError::QueueFull(_))), "{full:?}");
    world.take(0, "d", Settle::Complete).await.unwrap();
    world.hub.send_c2d(at(0), &id("d"), more()).await.unwrap();
}

fn upload() -> FileNotification {
    FileNotification {
        identity: id("d"),
        blob_uri: "https://localhost/c/d/a.txt".into(),
        blob_name: "d/a.txt".into(),
        last_updated_at: at(0),
        size_bytes: 5,
    }
}

#[tokio::test]
async fn a_service_queue_has_locks_counts_and_an_end() {
    let world = World::new().await;
    let queue = ServiceQueue::FileNotifications;
    world.hub.notify_file_uploaded(at(0), &upload()).await.unwrap();
    let first = world.hub.receive_service(at(0), queue).await.unwrap().unwrap();
    let body: Value = serde_json::from_slice(first.message.content.body()).unwrap();
    assert_eq!((&body["deviceId"], &body["blobSizeInBytes"]), (&"d".into(), &5.into()));
    assert!(world.hub.receive_service(at(59), queue).await.unwrap().is_none());
    let late = world.hub.settle_service(at(60), queue, first.token, Settle::Complete).await;
    assert!(matches!(late, Err(HubError::LockLost)), "{late:?}");
    for count in 0..10 {
        let locked = world.hub.receive_service(at(60), queue).await.unwrap().unwrap();
        assert_eq!(locked.message.delivery_count, count);
        world.hub.settle_service(at(60), queue, locked.token, Settle::Abandon).await.unwrap();
    }
    assert!(world.hub.receive_service(at(60), queue).await.unwrap().is_none());
    world.hub.notify_file_uploaded(at(100), &upload()).await.unwrap();
    assert!(world.hub.receive_service(at(3700), queue).await.unwrap().is_none(), "expired");
}

#[tokio::test]
async fn a_waiting_reader_gets_the_next_notification() {
    let world = World::new().await;
    let queue = ServiceQueue::FileNotifications;
    let waiting = world.hub.next_service(|| at(0), queue);
    let upload = upload();
    let (received, notified) = tokio::join!(waiting, world.hub.notify_file_uploaded(at(0), &upload));
    notified.unwrap();
    world.hub.release_service(queue, received.unwrap().token);
    assert!(world.hub.receive_service(at(0), queue).await.unwrap().is_some());
}
