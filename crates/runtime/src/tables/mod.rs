//! The tables of a hub: its events, its twins, and what monitoring knows.
//!
//! Tables of events are files with the event log as their newest part: a message is visible as soon as it is
//! acknowledged, none is lost and none is there twice. The others read what the hub and monitoring have.

pub mod cold;
mod events;
mod graph;
mod history;
mod monitoring;
mod places;
mod twins;

use std::sync::Arc;
use std::time::Duration;

use gantry_analytics::store::{TableStore, maintenance};
use gantry_analytics::{Cancel, Context, Error, Limits, Result, Source, Warehouse};
use gantry_api::History;
use gantry_graph::Graph;
use gantry_hub::Hub;
use gantry_hub::event::MessageSource;
use gantry_hub::ports::{EventSource, Store};
use gantry_kql::value::TICKS_PER_DAY;
use gantry_monitoring::Monitoring;
use gantry_tables::Folder;
use tracing::{info, warn};

use crate::config::Config;

use events::{EventTable, ORDER};
use places::Places;

pub use self::monitoring::{ticks as ticks_of, timestamp as timestamp_of};

/// The name of the database.
pub const DATABASE: &str = "telemetry";

/// How often the log is looked at for rows to be sealed.
const SEAL_PERIOD: Duration = Duration::from_secs(1);
/// How often old rows go and small extents are merged.
const UPKEEP_PERIOD: Duration = Duration::from_secs(60);
/// How often it is looked for files that are not hot any more.
const COOL_PERIOD: Duration = Duration::from_secs(2);
/// How long one round of moves may take.
const COOL_SECONDS_MAX: u64 = 24 * 3600;
/// How long it is waited after the cold storage did not answer again and again, at most.
const COOL_PAUSE_MAX: Duration = Duration::from_secs(300);
/// How long rows of events are kept when no policy says otherwise.
const EVENTS_KEPT_TICKS: i64 = 30 * TICKS_PER_DAY;

/// The tables of one hub.
pub struct HubTables {
    /// What is asked.
    pub warehouse: Arc<Warehouse>,
    /// What charts show of the time before this process began.
    pub history: Arc<dyn History>,
    events: Vec<Arc<EventTable>>,
    folder: Arc<Folder>,
    hub: String,
}

impl HubTables {
    /// Opens them.
    pub fn new(
        events: &Arc<dyn EventSource>,
        hub: &Arc<Hub>,
        store: &Arc<dyn Store>,
        monitoring: &Arc<Monitoring>,
        graph: &Arc<Graph>,
        folder: Arc<Folder>,
        config: &Config,
    ) -> Self {
        let kept: Arc<dyn TableStore> = Arc::<Folder>::clone(&folder);
        let waiter = Waiter(tokio::runtime::Handle::current());
        let of_log = |name, about, takes: fn(MessageSource) -> bool| {
            let ports = (Arc::clone(events), Arc::clone(&kept));
            Arc::new(EventTable::new(name, about, waiter.clone(), ports, takes, config.tables.seal_rows.get()))
        };
        let about = "Messages of devices and modules; a column for each name in their bodies.";
        let telemetry = of_log("Telemetry", about, |source| source == MessageSource::Telemetry);
        let about = "What the hub reports: changes of twins, devices made and deleted, connections.";
        let reports = of_log("DeviceEvents", about, |source| source != MessageSource::Telemetry);
        let of_log = vec![Arc::clone(&telemetry), reports];
        let mut tables: Vec<(String, Arc<dyn Source>)> = Vec::new();
        for table in &of_log {
            tables.push((table.name().to_owned(), Arc::<EventTable>::clone(table)));
        }
        for (name, modules) in [("Twins", true), ("Devices", false)] {
            let twins = twins::TwinTable::new(modules, waiter.clone(), Arc::clone(hub), Arc::clone(store));
            tables.push((name.to_owned(), Arc::new(twins)));
        }
        tables.push(("DigitalTwins".into(), Arc::new(graph::TwinsOfGraph(Arc::clone(graph)))));
        tables.push(("DigitalTwinRelationships".into(), Arc::new(graph::RelationshipsOfGraph(Arc::clone(graph)))));
        tables.extend(monitoring::tables(monitoring));
        let outside = Arc::new(Places::new(waiter, &config.external_data));
        let warehouse = Warehouse::new(DATABASE, tables).with_store(kept).with_outside(outside);
        let warehouse = warehouse.with_models(Arc::new(config.models()));
        let history = Arc::new(history::OfTelemetry(telemetry));
        Self { warehouse: Arc::new(warehouse), history, events: of_log, folder, hub: config.hub.name.clone() }
    }

    /// The upkeep, until the task is dropped: rows are sealed, merged, and go when they are old.
    pub fn upkeep(&self) -> impl Future<Output = ()> + Send + 'static {
        let (warehouse, events) = (Arc::clone(&self.warehouse), self.events.clone());
        async move {
            let (mut seal, mut tend) = (tokio::time::interval(SEAL_PERIOD), tokio::time::interval(UPKEEP_PERIOD));
            let mut failing = false;
            loop {
                let tending = tokio::select! {
                    _ = seal.tick() => false,
                    _ = tend.tick() => true,
                };
                let (warehouse, events) = (Arc::clone(&warehouse), events.clone());
                // Reading, sorting and writing of files is no work for the threads of connections.
                let work = move || {
                    let sealed = self::seal(&events)?;
                    if sealed || tending { self::tend(&warehouse, &events) } else { Ok(()) }
                };
                let done = tokio::task::spawn_blocking(work).await;
                match done.unwrap_or_else(|error| Err(Error::Evaluation(error.to_string()))) {
                    Err(error) if !std::mem::replace(&mut failing, true) => warn!(%error, "tables are not tended"),
                    Err(_) => {}
                    Ok(()) => failing = false,
                }
            }
        }
    }
}

impl HubTables {
    /// Moves what is not hot to the cold storage, until the task is dropped. Apart from the upkeep: rows are sealed while
    /// the storage does not answer.
    pub fn cooling(&self) -> impl Future<Output = ()> + Send + 'static {
        let (folder, hub) = (Arc::clone(&self.folder), self.hub.clone());
        async move {
            let stop = StopOnDrop(Cancel::default());
            let mut failures = 0_u32;
            while folder.cold_place().is_some() {
                let limits = Limits { seconds_max: COOL_SECONDS_MAX, ..Limits::default() };
                let context = Context::new(monitoring::ticks(gantry_gateway::now()), limits, stop.0.clone(), 0);
                let work = {
                    let folder = Arc::clone(&folder);
                    move || folder.cool(DATABASE, &context)
                };
                let done = tokio::task::spawn_blocking(work).await;
                match done.unwrap_or_else(|error| Err(Error::Evaluation(error.to_string()))) {
                    Ok(moved) => {
                        if failures > 0 {
                            info!("the cold storage of tables does what it is asked again");
                        }
                        failures = 0;
                        gauge_places(&folder, &hub);
                        // There may be more.
                        if moved > 0 {
                            continue;
                        }
                    }
                    Err(error) => {
                        metrics::counter!("gantry_tables_cold_failures_total", "hub" => hub.clone()).increment(1);
                        if failures == 0 {
                            warn!(%error, "files of tables stay where they are");
                        }
                        failures = failures.saturating_add(1);
                    }
                }
                let pause = COOL_PERIOD * 2_u32.saturating_pow(failures.min(16).saturating_sub(1));
                tokio::time::sleep(pause.min(COOL_PAUSE_MAX)).await;
            }
        }
    }
}

/// Stops the work of a task that is dropped.
struct StopOnDrop(Cancel);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

fn gauge_places(folder: &Folder, hub: &str) {
    let (mut hot, mut cold) = (0, 0);
    for extent in folder.snapshot().extents.values().flat_map(|extents| extents.iter()) {
        *if extent.cold.is_some() { &mut cold } else { &mut hot } += extent.bytes;
    }
    for (place, bytes) in [("hot", hot), ("cold", cold)] {
        metrics::gauge!("gantry_tables_bytes", "hub" => hub.to_owned(), "place" => place).set(bytes as f64);
    }
}

/// Seals what is due, and says whether anything was.
fn seal(events: &[Arc<EventTable>]) -> Result<bool> {
    events.iter().try_fold(false, |any, table| Ok(table.seal()? | any))
}

fn tend(warehouse: &Warehouse, events: &[Arc<EventTable>]) -> Result<()> {
    let store = &**warehouse.store();
    let of_events = |name: &str| events.iter().any(|table| table.name() == name);
    let now = monitoring::ticks(gantry_gateway::now());
    maintenance::expire(store, now, &|name| of_events(name).then_some(EVENTS_KEPT_TICKS))?;
    let names: Vec<String> = store.snapshot().definitions.all_kept().map(|(name, _)| name.clone()).collect();
    for name in names {
        let context = Context::new(now, Limits::default(), Cancel::default(), 0);
        let order: &[usize] = if of_events(&name) { &ORDER } else { &[] };
        while maintenance::merge(store, &name, order, &context)? {}
    }
    Ok(())
}

/// How often continuous exports are looked at.
const EXPORT_PERIOD: Duration = Duration::from_secs(10);

/// Runs the continuous exports when they are due.
pub async fn export(warehouse: Arc<Warehouse>) {
    let mut timer = tokio::time::interval(EXPORT_PERIOD);
    loop {
        timer.tick().await;
        let warehouse = Arc::clone(&warehouse);
        let now = monitoring::ticks(gantry_gateway::now());
        if let Err(error) = tokio::task::spawn_blocking(move || warehouse.export_due(now)).await {
            warn!(%error, "continuous exports were not run");
        }
    }
}

/// Waits for futures of this process on the threads of queries, which drive none themselves.
#[derive(Clone)]
struct Waiter(tokio::runtime::Handle);

impl Waiter {
    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.0.block_on(future)
    }
}
