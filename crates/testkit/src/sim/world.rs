//! The world of one simulation: what is there, and what is checked of it.

use std::collections::BTreeMap;

use futures::FutureExt as _;
use gantry_hub::connection::{CloseReason, Delivery, Mailbox};
use gantry_hub::ports::{Checkpoints as _, Queues as _};
use gantry_hub::{HubError, LockToken, Session};
use gantry_identity::{DeviceId, Identity, KeyPair, Timestamp};

use super::Options;
use super::events::History;
use super::model::Model;
use super::platform::{Disks, PARTITIONS, Platform};
use super::random::Random;

/// When simulations begin.
const BEGINNING: i64 = 1_767_225_600_000;

/// A device that is connected.
pub(super) struct Connection {
    pub(super) mailbox: Mailbox,
    pub(super) session: Session,
    pub(super) number: u64,
    /// Version of the desired properties it heard of last, and must have heard of.
    heard: u64,
    pub(super) expected: u64,
}

/// A message in somebody's hands.
#[derive(Clone, Debug)]
pub(super) struct Lock {
    pub(super) id: String,
    pub(super) token: LockToken,
    pub(super) deliveries: u32,
    pub(super) until: Option<i64>,
    /// The connection that holds it.
    pub(super) holder: Option<u64>,
}

impl Lock {
    pub(super) fn is_over(&self, now: i64) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// A reader's place, kept in a checkpoint.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    pub(super) epoch: u64,
    /// Saved for sure.
    pub(super) saved: u64,
    /// Tried since, without success.
    pub(super) tried: Option<u64>,
}

pub(super) struct World {
    pub(super) random: Random,
    pub(super) options: Options,
    pub(super) now: i64,
    pub(super) disks: Disks,
    pub(super) platform: Option<Platform>,
    pub(super) model: Model,
    pub(super) history: History,
    pub(super) connections: BTreeMap<usize, Connection>,
    pub(super) locks: BTreeMap<usize, Vec<Lock>>,
    pub(super) places: [Place; PARTITIONS as usize],
    /// Keys of devices that were deleted.
    pub(super) old_keys: BTreeMap<usize, KeyPair>,
    pub(super) is_full: bool,
    /// Whether the log's syncs fail.
    pub(super) is_failing: bool,
    /// What the write-ahead log of `state.db` was some steps ago, for a disk that forgets.
    pub(super) old_wal: Option<Vec<u8>>,
    counter: u64,
}

pub(super) fn identity(device: usize) -> Identity {
    Identity::device(DeviceId::parse(&format!("d{device}")).expect("an id"))
}

/// What is in a mailbox. tokio would hold back what is there from a task that took much already.
fn heard(mailbox: &mut Mailbox) -> Option<Delivery> {
    tokio::task::coop::unconstrained(mailbox.next()).now_or_never()
}

fn place_name(partition: u16) -> String {
    format!("follower/{partition}")
}

impl World {
    pub(super) async fn new(seed: u64, options: &Options) -> Result<Self, String> {
        let mut world = Self {
            random: Random::new(seed),
            options: options.clone(),
            now: BEGINNING,
            disks: Disks::new(),
            platform: None,
            model: Model::default(),
            history: History::default(),
            connections: BTreeMap::new(),
            locks: BTreeMap::new(),
            places: Default::default(),
            old_keys: BTreeMap::new(),
            is_full: false,
            is_failing: false,
            old_wal: None,
            counter: 0,
        };
        world.history.latest = BEGINNING;
        world.start().await?;
        Ok(world)
    }

    pub(super) fn platform(&self) -> &Platform {
        self.platform.as_ref().expect("it runs between steps")
    }

    pub(super) fn at(&self) -> Timestamp {
        Timestamp::from_millis(self.now)
    }

    /// A number that was not given before.
    pub(super) fn number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// Whether a write may fail.
    pub(super) fn may_fail(&self) -> bool {
        self.is_full
    }

    /// Where things stand, in a few numbers.
    pub(super) fn summary(&self) -> String {
        let events: Vec<_> = (0..PARTITIONS).map(|partition| self.history.len(partition)).collect();
        let of = |device: &super::model::Device| (device.writes, device.reported_version, device.queue.len());
        let devices: Vec<_> = self.model.devices.iter().map(|(number, device)| (*number, of(device))).collect();
        format!("events {events:?}, devices {devices:?}, told {}", self.model.told.len())
    }

    /// Starts the platform on what is on the disks, and looks at the followers' places.
    pub(super) async fn start(&mut self) -> Result<(), String> {
        let platform = Platform::start(&self.disks, self.options.sabotage, &mut self.random)?;
        for partition in 0..PARTITIONS {
            let name = place_name(partition);
            let failed = |error: gantry_hub::ports::CheckpointError| format!("checkpoint {name}: {error}");
            let epoch = platform.events.take(&name).await.map_err(failed)?;
            let kept = platform.events.get(&name).await.map_err(failed)?;
            let kept = kept.map_or(0, |bytes| bytes.try_into().map_or(u64::MAX, u64::from_le_bytes));
            let Place { saved, tried, .. } = self.places[usize::from(partition)];
            if kept != saved && Some(kept) != tried {
                return Err(format!("checkpoint {name} holds {kept}, not {saved} or {tried:?}"));
            }
            self.places[usize::from(partition)] = Place { epoch, saved: kept, tried: None };
        }
        self.platform = Some(platform);
        self.set_full(self.is_full).await
    }

    /// Saves the place of a follower.
    pub(super) async fn save_place(&mut self, partition: u16, place: u64) -> Result<(), String> {
        let name = place_name(partition);
        let epoch = self.places[usize::from(partition)].epoch;
        let saved = self.platform().events.put(&name, epoch, place.to_le_bytes().to_vec()).await;
        let (is_full, is_failing) = (self.is_full, self.is_failing);
        let known = &mut self.places[usize::from(partition)];
        match saved {
            Ok(()) => (known.saved, known.tried) = (place, None),
            Err(_) if is_full || is_failing => known.tried = Some(place),
            Err(error) => return Err(format!("saving {name}: {error}")),
        }
        Ok(())
    }

    /// Ends the process, whatever it is doing.
    pub(super) fn stop(&mut self) {
        // Connections hold the hub.
        self.connections.clear();
        self.locks.clear();
        if let Some(platform) = self.platform.take() {
            platform.stop();
        }
    }

    pub(super) async fn set_full(&mut self, is_full: bool) -> Result<(), String> {
        self.is_full = is_full;
        self.disks.set_full(is_full);
        let limited = self.platform().database.limit_pages(is_full).await;
        limited.map_err(|error| format!("limiting state.db: {error}"))
    }

    /// Waits until what nobody waits for is written too.
    pub(super) async fn settle_writes(&self) -> Result<(), String> {
        let written = self.platform().database.put_changes(vec![]).await;
        written.map_err(|error| format!("writing nothing: {error}"))
    }

    pub(super) fn connect(&mut self, device: usize, mailbox: Mailbox, session: Session) -> Option<Connection> {
        let (number, heard) = (self.number(), self.model.devices[&device].desired_version);
        self.connections.insert(device, Connection { mailbox, session, number, heard, expected: heard })
    }

    /// The hub ended a connection, and must have said so.
    pub(super) fn closed(&mut self, connection: Connection, expected: CloseReason) -> Result<(), String> {
        let Connection { mut mailbox, .. } = connection;
        loop {
            match heard(&mut mailbox) {
                Some(Delivery::Close(reason)) if reason == expected => break,
                Some(Delivery::Close(reason)) => return Err(format!("closed with {reason:?}, not {expected:?}")),
                Some(_) => {}
                None => return Err(format!("a connection was not told {expected:?}")),
            }
        }
        self.platform().hub.disconnect(self.at(), mailbox);
        Ok(())
    }

    /// Everything that must hold, now.
    pub(super) async fn check(&mut self) -> Result<(), String> {
        self.check_state().await?;
        let platform = self.platform.as_ref().expect("it runs between steps");
        self.history.catch_up(&platform.events, false).await?;
        self.check_mailboxes()
    }

    /// Compares the registry and the queues with the model.
    pub(super) async fn check_state(&mut self) -> Result<(), String> {
        let Self { platform, model, options, .. } = self;
        let Platform { hub, database, .. } = platform.as_ref().expect("it runs between steps");
        for number in 0..options.devices {
            let identity = identity(number);
            let stored = match hub.record(&identity).await {
                Ok(record) => {
                    let queue = database.c2d_list(&identity).await.map_err(|error| error.to_string())?;
                    Some((record, queue))
                }
                Err(HubError::NotFound(_)) => None,
                Err(error) => return Err(format!("reading d{number}: {error}")),
            };
            model.check_device(number, stored.as_ref())?;
        }
        let counts = hub.counts().await.map_err(|error| error.to_string())?;
        if (counts.enabled, counts.disabled) != model.counts() {
            return Err(format!("{counts:?} are counted, not {:?}", model.counts()));
        }
        Ok(())
    }

    fn check_mailboxes(&mut self) -> Result<(), String> {
        for (device, connection) in &mut self.connections {
            while let Some(delivery) = heard(&mut connection.mailbox) {
                match delivery {
                    Delivery::Desired { version, .. } if version > connection.heard => connection.heard = version,
                    Delivery::C2dAvailable => {}
                    other => return Err(format!("d{device} heard {other:?} after version {}", connection.heard)),
                }
            }
            if connection.heard != connection.expected {
                return Err(format!("d{device} heard of version {}, not of {}", connection.heard, connection.expected));
            }
        }
        Ok(())
    }

    /// Compares what is found after a crash with what may be: the first of the models that fits is it.
    pub(super) async fn adopt(&mut self, candidates: Vec<Model>) -> Result<(), String> {
        let mut why = String::new();
        for candidate in candidates {
            self.model = candidate;
            match self.check_state().await {
                Ok(()) => {
                    why.clear();
                    break;
                }
                Err(differs) if why.is_empty() => why = differs,
                Err(differs) => why = format!("{why}; or {differs}"),
            }
        }
        if !why.is_empty() {
            return Err(format!("after the crash: {why}"));
        }
        self.history.crash();
        let platform = self.platform.as_ref().expect("it was started");
        self.history.catch_up(&platform.events, true).await
    }
}
