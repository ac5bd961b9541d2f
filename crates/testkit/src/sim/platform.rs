//! The hub under simulation and what is under it, which loses power.
//!
//! Events are on a disk in memory ([`MemoryDisk`]): of what was not synced, any sector may survive a crash. `state.db`
//! is SQLite on a real file system, whose syncs cannot be taken away, so it is copied as it is at the crash; of its
//! write-ahead log, the sectors that the last write changed survive or not.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use gantry_hub::event::Event;
use gantry_hub::ports::{Append, Audit, EventSink, RefusedAccess};
use gantry_hub::service_queue::Messaging;
use gantry_hub::{DisabledTokens, Hub, HubConfig, Ports};
use gantry_identity::{Key, KeyPair, Policies};
use gantry_storage::{Database, Events, LogConfig, MemoryDisk};
use parking_lot::Mutex;

use super::Sabotage;
use super::random::{Random, Seeded};

/// Partitions of the log.
pub(super) const PARTITIONS: u16 = 2;
/// Name the hub answers to.
pub(super) const HOST: &str = "localhost";
/// What is synced is synced in sectors.
const SECTOR: usize = 512;
/// How long outcomes wait for services: longer than any jump of the clock.
const FEEDBACK_TTL: std::time::Duration = std::time::Duration::from_secs(10 * 365 * 86_400);

/// A running platform.
pub(super) struct Platform {
    pub(super) hub: Arc<Hub>,
    pub(super) database: Arc<Database>,
    pub(super) events: Arc<Events>,
}

/// What outlives a process: the disk in memory, and the folder of `state.db`.
pub(super) struct Disks {
    pub(super) log: MemoryDisk,
    root: tempfile::TempDir,
    lives: usize,
}

/// A folder in memory, where there is one: `state.db` is synced at every write.
fn memory_folder() -> tempfile::TempDir {
    let shared = Path::new("/dev/shm");
    let made = if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() };
    made.expect("a temporary folder can be made")
}

/// An empty `state.db`, made once: its tables take longer than a simulation.
fn fresh_database() -> &'static [u8] {
    static FRESH: OnceLock<Vec<u8>> = OnceLock::new();
    FRESH.get_or_init(|| {
        let folder = memory_folder();
        drop(Database::open(folder.path()).expect("an empty folder can be used"));
        std::fs::read(folder.path().join("state.db")).expect("it was closed, so that all is in it")
    })
}

impl Disks {
    pub(super) fn new() -> Self {
        let disks = Self { log: MemoryDisk::default(), root: memory_folder(), lives: 0 };
        std::fs::create_dir(disks.folder()).expect("the folder is ours");
        std::fs::write(disks.folder().join("state.db"), fresh_database()).expect("there is room");
        disks
    }

    /// The folder of the present life.
    fn folder(&self) -> PathBuf {
        self.root.path().join(self.lives.to_string())
    }

    /// The write-ahead log as it is.
    pub(super) fn wal(&self) -> Vec<u8> {
        std::fs::read(self.folder().join("state.db-wal")).unwrap_or_default()
    }

    /// The power fails. Of the write-ahead log, what is the same as in `synced` is there; of the rest, `kept` decides.
    /// What still runs writes to the disks of before.
    pub(super) fn lose_power(&mut self, synced: Option<Vec<u8>>, mut kept: impl FnMut() -> bool) {
        let (old, mut wal) = (self.folder(), self.wal());
        if let Some(mut synced) = synced {
            synced.resize(wal.len(), 0);
            for (now, before) in wal.chunks_mut(SECTOR).zip(synced.chunks(SECTOR)) {
                if now != before && !kept() {
                    now.copy_from_slice(before);
                }
            }
        }
        self.lives += 1;
        std::fs::create_dir(self.folder()).expect("the folder is ours");
        std::fs::copy(old.join("state.db"), self.folder().join("state.db")).expect("it is there");
        std::fs::write(self.folder().join("state.db-wal"), wal).expect("there is room");
        let is_full = self.log.faults.full.load(Ordering::SeqCst);
        self.log = self.log.after_power_loss(kept);
        self.set_full(is_full);
    }

    /// Whether the disk is full, for what is written to the log from now on.
    pub(super) fn set_full(&self, is_full: bool) {
        self.log.faults.full.store(is_full, Ordering::SeqCst);
    }

    /// Whether the log's syncs fail: what is written then is written when the power fails.
    pub(super) fn set_failing(&self, is_failing: bool) {
        self.log.faults.sync.store(is_failing, Ordering::SeqCst);
    }
}

/// Nobody hears of refused access.
struct Silent;

impl Audit for Silent {
    fn refused(&self, _: RefusedAccess) {}
}

/// A log that may not keep its word.
struct Sink {
    events: Arc<Events>,
    sabotage: Sabotage,
    random: Mutex<Random>,
}

impl EventSink for Sink {
    fn append(&self, events: &[Event<'_>]) -> Append {
        match self.sabotage {
            Sabotage::LoseEvent if self.random.lock().percent(5) => self.events.append(&events[1..]),
            Sabotage::SwapEvents if events.len() > 1 && self.random.lock().percent(20) => {
                let (first, rest) = events.split_at(1);
                let appended = self.events.append(rest);
                drop(appended);
                self.events.append(first)
            }
            _ => self.events.append(events),
        }
    }

    fn ready(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.events.ready()
    }
}

fn log_config() -> LogConfig {
    let mut config = LogConfig::new("log", PARTITIONS);
    config.segment_bytes = 64 << 10;
    (config.pending_bytes_max, config.event_bytes_max) = (28 << 10, 28 << 10);
    (config.index_interval_bytes, config.read_bytes, config.tail_bytes_max) = (2048, 4096, 64 << 10);
    config
}

fn hub_config() -> HubConfig {
    let keys = || KeyPair { primary: Key::from_bytes([1; 32]), secondary: Key::from_bytes([2; 32]) };
    let mut messaging = Messaging::default();
    messaging.feedback.ttl = FEEDBACK_TTL;
    HubConfig {
        name: "hub".into(),
        host_names: vec![HOST.into()],
        policies: Policies::hub_defaults(keys),
        disabled: DisabledTokens::default(),
        edition: None,
        allow_faults: false,
        consumer_groups: vec![],
        messaging,
    }
}

impl Platform {
    /// Starts on what is on the disks.
    pub(super) async fn start(disks: &Disks, sabotage: Sabotage, random: &mut Random) -> Result<Self, String> {
        let database = Database::open(&disks.folder()).map_err(|error| format!("state.db: {error}"))?;
        disks.log.faults.lies.store(sabotage == Sabotage::LyingSync, Ordering::SeqCst);
        let events = Events::open_on(Arc::new(disks.log.clone()), log_config());
        let (database, events) = (Arc::new(database), Arc::new(events.map_err(|error| format!("log: {error}"))?));
        let sink = Sink { events: Arc::clone(&events), sabotage, random: Mutex::new(random.fork()) };
        let ports = Ports {
            store: Arc::<Database>::clone(&database),
            documents: Arc::<Database>::clone(&database),
            log: Arc::new(sink),
            entropy: Arc::new(Seeded(Mutex::new(random.fork()))),
            audit: Arc::new(Silent),
            observer: Arc::new(()),
        };
        let hub = Hub::new(hub_config(), ports).await.map_err(|error| format!("hub: {error}"))?;
        Ok(Self { hub: Arc::new(hub), database, events })
    }

    /// Ends what still runs, and waits until it did.
    pub(super) fn stop(self) {
        let Self { hub, database, events } = self;
        drop((hub, events, database));
    }
}
