//! Every promise, kept by every engine.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gantry_hub::event::StoredEvent;
use gantry_hub::ports::{Checkpoints, Documents, EventSink, EventSource, LogError, PortFuture, Store, StoreError};
use gantry_identity::Timestamp;
use gantry_provisioning::Store as ProvisioningStore;
use gantry_storage::{Database, Events, LogConfig};
use gantry_storage_suite::{Engine, Memory, MemoryLog};

/// Two partitions are enough to tell them apart.
const PARTITIONS: u16 = 2;

/// Memory. It outlives the process that is said to end.
struct InMemory {
    store: Memory,
    log: MemoryLog,
}

impl Engine for InMemory {
    fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.store.clone())
    }

    fn documents(&self) -> Arc<dyn Documents> {
        Arc::new(self.store.clone())
    }

    fn provisioning(&self) -> Arc<dyn ProvisioningStore> {
        Arc::new(self.store.clone())
    }

    fn sink(&self) -> Arc<dyn EventSink> {
        Arc::new(self.log.clone())
    }

    fn source(&self) -> Arc<dyn EventSource> {
        Arc::new(self.log.clone())
    }

    fn checkpoints(&self) -> Arc<dyn Checkpoints> {
        Arc::new(self.log.clone())
    }

    fn relay(&self) -> PortFuture<'_, bool, StoreError> {
        Box::pin(self.store.relay(&self.log))
    }

    fn close_log(&self) -> PortFuture<'_, (), LogError> {
        self.log.close();
        Box::pin(std::future::ready(Ok(())))
    }

    fn expire(&self) -> PortFuture<'_, (), LogError> {
        self.log.expire(0, 17);
        Box::pin(std::future::ready(Ok(())))
    }

    fn damage(&self, mark: &[u8]) {
        let holds = |event: &StoredEvent| event.body.windows(mark.len()).any(|part| part == mark);
        self.log.damage(holds);
    }

    fn restart(self: Box<Self>) -> PortFuture<'static, Box<dyn Engine>, String> {
        Box::pin(async move { Ok(self as Box<dyn Engine>) })
    }
}

/// SQLite and the event log in a temporary folder.
struct OnDisk {
    database: Arc<Database>,
    events: Arc<Events>,
    folder: tempfile::TempDir,
}

impl OnDisk {
    /// Small segments, and nothing of the log kept in memory: readers read what is on the disk.
    fn open(folder: tempfile::TempDir) -> Self {
        let mut config = LogConfig::new(folder.path().join("events"), PARTITIONS);
        config.segment_bytes = 128 << 10;
        config.event_bytes_max = 16 << 10;
        config.pending_bytes_max = 32 << 10;
        config.tail_bytes_max = 0;
        config.retention = Some(Duration::from_secs(60));
        let database = Arc::new(Database::open(folder.path()).unwrap());
        let events = Arc::new(Events::open(config).unwrap());
        Self { database, events, folder }
    }
}

impl Engine for OnDisk {
    fn store(&self) -> Arc<dyn Store> {
        Arc::<Database>::clone(&self.database)
    }

    fn documents(&self) -> Arc<dyn Documents> {
        Arc::<Database>::clone(&self.database)
    }

    fn provisioning(&self) -> Arc<dyn ProvisioningStore> {
        Arc::<Database>::clone(&self.database)
    }

    fn sink(&self) -> Arc<dyn EventSink> {
        Arc::<Events>::clone(&self.events)
    }

    fn source(&self) -> Arc<dyn EventSource> {
        Arc::<Events>::clone(&self.events)
    }

    fn checkpoints(&self) -> Arc<dyn Checkpoints> {
        Arc::<Events>::clone(&self.events)
    }

    fn relay(&self) -> PortFuture<'_, bool, StoreError> {
        Box::pin(self.database.relay(&self.events))
    }

    fn close_log(&self) -> PortFuture<'_, (), LogError> {
        Box::pin(self.events.close())
    }

    fn expire(&self) -> PortFuture<'_, (), LogError> {
        Box::pin(async {
            self.events.retain(Timestamp::from_millis(2_000_000)).await;
            Ok(())
        })
    }

    fn damage(&self, mark: &[u8]) {
        let files = std::fs::read_dir(self.folder.path().join("events")).unwrap().map(|file| file.unwrap().path());
        let damaged = files.filter(|file| file.is_file() && damage(file, mark)).count();
        assert_eq!(damaged, 1);
    }

    fn restart(self: Box<Self>) -> PortFuture<'static, Box<dyn Engine>, String> {
        Box::pin(async move {
            let Self { database, events, folder } = *self;
            events.close().await.map_err(|error| error.to_string())?;
            drop(Arc::into_inner(events).ok_or("the log is in use")?);
            drop(Arc::into_inner(database).ok_or("the database is in use")?);
            Ok(Box::new(Self::open(folder)) as Box<dyn Engine>)
        })
    }
}

/// Changes a bit where a file holds a mark; says whether it does.
fn damage(file: &Path, mark: &[u8]) -> bool {
    let mut bytes = std::fs::read(file).unwrap();
    let Some(place) = bytes.windows(mark.len()).position(|part| part == mark) else { return false };
    bytes[place] ^= 1;
    // In place: the log has the file open.
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    file.write_all_at(&bytes[place..=place], place as u64).unwrap();
    true
}

macro_rules! run {
    ($module:ident: $($promise:ident),+) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $promise() {
                    gantry_storage_suite::$module::$promise(super::engine()).await;
                }
            )+
        }
    };
}

mod memory {
    use super::*;

    fn engine() -> Box<dyn Engine> {
        Box::new(InMemory { store: Memory::new(), log: MemoryLog::new(PARTITIONS) })
    }

    gantry_storage_suite::promises!(run);
}

mod disk {
    use super::*;

    fn engine() -> Box<dyn Engine> {
        Box::new(OnDisk::open(tempfile::tempdir().unwrap()))
    }

    gantry_storage_suite::promises!(run);
}

/// A promise that nobody names would be kept by nobody.
#[test]
fn every_promise_is_named() {
    let sources = [
        include_str!("../src/checkpoints.rs"),
        include_str!("../src/documents.rs"),
        include_str!("../src/jobs.rs"),
        include_str!("../src/log.rs"),
        include_str!("../src/outbox.rs"),
        include_str!("../src/provisioning.rs"),
        include_str!("../src/queues.rs"),
        include_str!("../src/records.rs"),
        include_str!("../src/search.rs"),
        include_str!("../src/settings.rs"),
    ];
    let named = include_str!("../src/lib.rs");
    let promises = sources.iter().flat_map(|source| source.split("pub async fn ").skip(1));
    let promises: Vec<_> = promises.filter_map(|rest| rest.split_once("(engine: ")).map(|(name, _)| name).collect();
    assert!(promises.len() > 40, "{}", promises.len());
    for name in promises.iter().filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_')) {
        assert!(named.contains(&format!("            {name}")), "{name} is not named in promises!");
    }
}
