//! What must be in the registry and its queues, as simple as can be said.

use std::collections::{BTreeMap, BTreeSet};

use gantry_hub::c2d::Ack;
use gantry_hub::device::{Authentication, Status};
use gantry_hub::ports::{Enqueued, Record};
use gantry_hub::twin::{Object, Twin};
use gantry_identity::KeyPair;
use serde_json::Value;

/// Outcomes that a sender is told of, by message id.
pub(super) type Outcomes = BTreeMap<String, &'static str>;

/// A message in a queue.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Queued {
    pub(super) id: String,
    pub(super) expires_at: i64,
    pub(super) deliveries: u32,
    pub(super) ack: Ack,
}

/// A registered device.
#[derive(Clone, Debug, Default)]
pub(super) struct Device {
    /// Unknown until it is read: the hub draws it.
    pub(super) generation: Option<String>,
    pub(super) keys: Option<KeyPair>,
    pub(super) is_disabled: bool,
    pub(super) tags: Object,
    pub(super) desired: Object,
    pub(super) reported: Object,
    /// Writes by services, of which the twin's version and ETag count.
    pub(super) writes: u64,
    pub(super) desired_version: u64,
    pub(super) reported_version: u64,
    pub(super) queue: Vec<Queued>,
}

/// Everything that must last, but events.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) devices: BTreeMap<usize, Device>,
    /// What became of messages whose sender wants to know.
    pub(super) outcomes: Outcomes,
    /// Outcomes a service was told, and in which message of its queue.
    pub(super) told: BTreeMap<String, u64>,
    /// Messages of the service queue that are done.
    pub(super) done: BTreeSet<u64>,
    /// Generations that were deleted.
    pub(super) deleted: BTreeSet<String>,
}

/// A merge patch of one level.
pub(super) fn merge(section: &mut Object, patch: &Object) {
    for (key, value) in patch {
        match value {
            Value::Null => drop(section.remove(key)),
            value => drop(section.insert(key.clone(), value.clone())),
        }
    }
}

impl Device {
    pub(super) fn new() -> Self {
        Self { desired_version: 1, reported_version: 1, ..Self::default() }
    }

    /// The twin's ETag.
    pub(super) fn etag(&self) -> String {
        Twin { etag: 1 + self.writes, ..Twin::new() }.etag_text()
    }

    /// What a service wrote.
    pub(super) fn write(&mut self, tags: Option<&Object>, desired: Option<&Object>) {
        if let Some(patch) = tags {
            merge(&mut self.tags, patch);
        }
        if let Some(patch) = desired {
            merge(&mut self.desired, patch);
            self.desired_version += 1;
        }
        self.writes += 1;
    }

    /// What the device reported.
    pub(super) fn report(&mut self, patch: &Object) {
        merge(&mut self.reported, patch);
        self.reported_version += 1;
    }

    /// Compares with what is stored, and learns what the hub drew.
    fn check(&mut self, record: &Record, queue: &[Enqueued]) -> Result<(), String> {
        let (device, twin) = (&record.device, &record.twin);
        let differs = |what: &str, stored: &dyn std::fmt::Debug, expected: &dyn std::fmt::Debug| {
            Err(format!("{what} of {} is {stored:?}, not {expected:?}", device.identity))
        };
        let generation = self.generation.get_or_insert_with(|| device.generation_id.clone());
        if *generation != device.generation_id {
            return differs("generation", &device.generation_id, generation);
        }
        let Authentication::Sas(keys) = &device.authentication else {
            return differs("authentication", device, &"sas");
        };
        if self.keys.get_or_insert_with(|| keys.clone()) != keys {
            return differs("keys", &"others", &"those it got");
        }
        if (device.status == Status::Disabled) != self.is_disabled {
            return differs("status", &device.status, &self.is_disabled);
        }
        for (what, stored, expected) in [
            ("tags", &twin.tags, &self.tags),
            ("desired", &twin.desired.values, &self.desired),
            ("reported", &twin.reported.values, &self.reported),
        ] {
            if stored != expected {
                return differs(what, stored, expected);
            }
        }
        let versions = (twin.version, twin.etag, twin.desired.version, twin.reported.version);
        let expected = (2 + self.writes, 1 + self.writes, self.desired_version, self.reported_version);
        if versions != expected {
            return differs("versions", &versions, &expected);
        }
        let of = |queued: &Enqueued| Queued {
            id: queued.message.message_id.clone().unwrap_or_default(),
            expires_at: queued.expires_at().as_millis(),
            deliveries: queued.delivery_count,
            ack: queued.message.ack,
        };
        let stored: Vec<_> = queue.iter().map(of).collect();
        if stored != self.queue {
            return differs("queue", &stored, &self.queue);
        }
        if queue.iter().any(|queued| Some(&queued.generation_id) != self.generation.as_ref()) {
            return differs("a queued message", &queue, &"of its generation");
        }
        if record.presence.c2d_count as usize != self.queue.len() {
            return differs("count of messages", &record.presence.c2d_count, &self.queue.len());
        }
        Ok(())
    }
}

impl Model {
    /// A message left a queue; its sender hears of it when it wants to.
    pub(super) fn settle(&mut self, device: usize, id: &str, outcome: &'static str) {
        let Some(device) = self.devices.get_mut(&device) else { return };
        let Some(at) = device.queue.iter().position(|queued| queued.id == id) else { return };
        let queued = device.queue.remove(at);
        if queued.ack.wants(outcome == "Success") {
            self.outcomes.insert(queued.id, outcome);
        }
    }

    /// Compares a device with what is stored of it.
    pub(super) fn check_device(
        &mut self,
        number: usize,
        stored: Option<&(Record, Vec<Enqueued>)>,
    ) -> Result<(), String> {
        match (self.devices.get_mut(&number), stored) {
            (None, None) => Ok(()),
            (Some(device), Some((record, queue))) => device.check(record, queue),
            (None, Some(_)) => Err(format!("d{number} is registered, though it was deleted or never made")),
            (Some(_), None) => Err(format!("d{number} is gone")),
        }
    }

    /// Enabled and disabled devices.
    pub(super) fn counts(&self) -> (u64, u64) {
        let disabled = self.devices.values().filter(|device| device.is_disabled).count();
        ((self.devices.len() - disabled) as u64, disabled as u64)
    }

    /// Takes what a service was told in one message of its queue.
    pub(super) fn tell(&mut self, message: u64, records: &[(String, String)]) -> Result<(), String> {
        if !self.done.insert(message) {
            return Err(format!("message {message} of the feedback queue was handed out again after it was completed"));
        }
        for (id, outcome) in records {
            match self.outcomes.get(id) {
                Some(expected) if expected == outcome => {}
                expected => return Err(format!("outcome of {id} is {outcome}, not {expected:?}")),
            }
            if let Some(earlier) = self.told.insert(id.clone(), message) {
                return Err(format!("outcome of {id} was told in messages {earlier} and {message}"));
            }
        }
        Ok(())
    }
}
