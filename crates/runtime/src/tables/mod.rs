//! The tables of a hub: its events, its twins, and what monitoring knows.
//!
//! Nothing is kept twice. Tables of events read the event log when a query asks for them, so a message is visible as
//! soon as it is acknowledged, none is lost and none is there twice; the others read what the hub and monitoring have.

mod events;
mod monitoring;
mod places;
mod twins;

use std::sync::Arc;
use std::time::Duration;

use gantry_analytics::{Source, Warehouse};
use gantry_hub::Hub;
use gantry_hub::event::MessageSource;
use gantry_hub::ports::{EventSource, Store};
use gantry_monitoring::Monitoring;
use tracing::warn;

use crate::config::ExternalData;

use events::EventTable;
use places::Places;

/// The name of the database.
pub const DATABASE: &str = "telemetry";

/// The tables of one hub.
pub fn warehouse(
    events: &Arc<dyn EventSource>,
    hub: &Arc<Hub>,
    store: &Arc<dyn Store>,
    monitoring: &Arc<Monitoring>,
    external: &ExternalData,
) -> Warehouse {
    let waiter = Waiter(tokio::runtime::Handle::current());
    let of_log = |about, takes: fn(MessageSource) -> bool| -> Arc<dyn Source> {
        Arc::new(EventTable::new(waiter.clone(), Arc::clone(events), about, takes))
    };
    let telemetry = of_log("Messages of devices and modules; a column for each name in their bodies.", |source| {
        source == MessageSource::Telemetry
    });
    let reports = of_log("What the hub reports: changes of twins, devices made and deleted, connections.", |source| {
        source != MessageSource::Telemetry
    });
    let mut tables = vec![("Telemetry".to_owned(), telemetry), ("DeviceEvents".to_owned(), reports)];
    tables.push((
        "Twins".to_owned(),
        Arc::new(twins::TwinTable::new(waiter.clone(), Arc::clone(hub), Arc::clone(store))),
    ));
    tables.extend(monitoring::tables(monitoring));
    Warehouse::new(DATABASE, tables).with_outside(Arc::new(Places::new(waiter, external)))
}

/// How often continuous exports are looked at.
const EXPORT_PERIOD: Duration = Duration::from_secs(10);

/// Runs the continuous exports when they are due.
pub async fn export(warehouse: Arc<Warehouse>) {
    let mut timer = tokio::time::interval(EXPORT_PERIOD);
    loop {
        timer.tick().await;
        let warehouse = Arc::clone(&warehouse);
        let now = gantry_analytics::calendar::UNIX_EPOCH + gantry_gateway::now().as_millis() * 10_000;
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
