//! What promises are tried with.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gantry_hub::device::{Authentication, Device, Status};
use gantry_hub::event::{Event, MessageSource, SystemProperties, Telemetry};
use gantry_hub::ports::{Append, Audit, Entropy, EventCursor, EventSink, Presence, Record, RefusedAccess, StoreError};
use gantry_hub::routing::Destinations;
use gantry_hub::service_queue::Messaging;
use gantry_hub::twin::{Twin, TwinWrite};
use gantry_hub::{DisabledTokens, Hub, HubConfig, Ports};
use gantry_identity::{DeviceId, Identity, Key, KeyPair, Policies, Timestamp};
use serde_json::json;

use crate::Engine;

/// Writers that come at once.
pub const WRITERS: usize = 32;

/// An instant, in milliseconds.
pub fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

/// A device, or a module as `device/module`.
pub fn id(text: &str) -> Identity {
    Identity::parse(text).expect("ids of promises are good")
}

/// A record with something in each part of its twin.
pub fn record(name: &str) -> Record {
    let device = Device {
        identity: id(name),
        generation_id: "7".into(),
        etag: 3,
        status: Status::Enabled,
        status_reason: Some("new".into()),
        status_updated_at: Timestamp::NEVER,
        authentication: Authentication::Sas(keys()),
        iot_edge: false,
        device_scope: None,
        parent_scopes: vec![],
        managed_by: None,
    };
    let mut twin = Twin::new();
    let desired = TwinWrite::merging(Some(json!({"site": "lyon"})), Some(json!({"a": {"b": [1, 2.5, "x"]}})));
    twin.write(&desired.expect("an object"), at(5)).expect("a small twin");
    Record { device, twin, revision: 1, presence: Presence::default() }
}

fn keys() -> KeyPair {
    KeyPair { primary: Key::from_bytes([1; 32]), secondary: Key::from_bytes([2; 32]) }
}

/// Whether something was refused because somebody else was quicker.
pub fn is_conflict<T>(outcome: &Result<T, StoreError>) -> bool {
    matches!(outcome, Err(StoreError::Conflict))
}

/// Lets many do something at once, and waits for all.
///
/// # Panics
/// When one of them does.
pub async fn at_once<T: Send + 'static, F: Future<Output = T> + Send + 'static>(work: impl Fn(usize) -> F) -> Vec<T> {
    let tasks: Vec<_> = (0..WRITERS).map(|number| tokio::spawn(work(number))).collect();
    let mut all = Vec::with_capacity(tasks.len());
    for task in tasks {
        all.push(task.await.expect("no writer panics"));
    }
    all
}

/// How many went well; the others were refused as `is_refused` says.
///
/// # Panics
/// When one failed for another reason.
pub fn count_done<T>(outcomes: &[Result<T, StoreError>], is_refused: impl Fn(&StoreError) -> bool) -> usize {
    for error in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        assert!(is_refused(error), "{error}");
    }
    outcomes.iter().filter(|outcome| outcome.is_ok()).count()
}

/// Different bytes each time.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Entropy for Counter {
    fn fill(&self, buffer: &mut [u8]) {
        let number = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        buffer.iter_mut().rev().zip(number.to_le_bytes().iter().chain(std::iter::repeat(&7))).for_each(|(to, from)| {
            *to = *from;
        });
    }
}

/// Takes what nobody looks at.
pub struct Nobody;

impl Audit for Nobody {
    fn refused(&self, _: RefusedAccess) {}
}

impl EventSink for Nobody {
    fn append(&self, _: &[Event<'_>]) -> Append {
        Box::pin(std::future::ready(Ok(())))
    }

    fn ready(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
}

/// A hub over an engine.
///
/// # Panics
/// When it cannot read its settings.
pub async fn hub(engine: &dyn Engine) -> Arc<Hub> {
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
    let ports = Ports {
        store: engine.store(),
        documents: engine.documents(),
        log: engine.sink(),
        entropy: Arc::<Counter>::default(),
        audit: Arc::new(Nobody),
        observer: Arc::new(()),
    };
    Arc::new(Hub::new(config, ports).await.expect("an empty store has no settings"))
}

/// A device whose events go to a partition.
///
/// # Panics
/// When there is none.
pub fn device_in(partition: u16, partitions: u16) -> Identity {
    let is_there = |device: &DeviceId| gantry_hub::event::partition_of(device, partitions) == partition;
    let mut devices = (0..1_000).filter_map(|n| DeviceId::parse(&format!("motor-{n}")).ok()).filter(is_there);
    Identity::device(devices.next().expect("devices are spread"))
}

/// Appends one event of a device.
pub fn append(sink: &dyn EventSink, identity: &Identity, enqueued_at: Timestamp, body: &[u8]) -> Append {
    let message = Telemetry { system: SystemProperties::default(), properties: vec![], body };
    sink.append(&[Event {
        source: MessageSource::Telemetry,
        identity,
        generation_id: "1",
        auth_method: "{}",
        model_id: None,
        enqueued_at,
        message: &message,
        destinations: Destinations::BUILT_IN,
        added: vec![].into(),
    }])
}

/// Reads on until nothing is missing before `end`: the events, and how many were missed.
///
/// # Panics
/// When the log cannot be read, is closed, or the cursor stands elsewhere than it read to.
pub async fn read_to(cursor: &mut dyn EventCursor, end: u64) -> (Vec<gantry_hub::event::StoredEvent>, u64) {
    let (mut events, mut missed) = (vec![], 0);
    while cursor.position() < end {
        let before = cursor.position();
        let batch = cursor.next(7, 1 << 20).await.expect("the log can be read").expect("the log is open");
        assert_eq!(cursor.position() - before, batch.events.len() as u64 + batch.missed, "nothing is skipped");
        events.extend(batch.events);
        missed += batch.missed;
    }
    (events, missed)
}
