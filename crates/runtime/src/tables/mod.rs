//! The tables of a hub: its events, its twins, and what monitoring knows.
//!
//! Nothing is kept twice. Tables of events read the event log when a query asks for them, so a message is visible as
//! soon as it is acknowledged, none is lost and none is there twice; the others read what the hub and monitoring have.

mod events;
mod monitoring;
mod twins;

use std::sync::Arc;

use gantry_analytics::{Source, Warehouse};
use gantry_hub::Hub;
use gantry_hub::event::MessageSource;
use gantry_hub::ports::{EventSource, Store};
use gantry_monitoring::Monitoring;

use events::EventTable;

/// The name of the database.
pub const DATABASE: &str = "telemetry";

/// The tables of one hub.
pub fn warehouse(
    events: &Arc<dyn EventSource>,
    hub: &Arc<Hub>,
    store: &Arc<dyn Store>,
    monitoring: &Arc<Monitoring>,
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
    for (name, modules) in [("Twins", true), ("Devices", false)] {
        let twins = twins::TwinTable::new(modules, waiter.clone(), Arc::clone(hub), Arc::clone(store));
        tables.push((name.to_owned(), Arc::new(twins)));
    }
    tables.extend(monitoring::tables(monitoring));
    Warehouse::new(DATABASE, tables)
}

/// Waits for futures of this process on the threads of queries, which drive none themselves.
#[derive(Clone)]
struct Waiter(tokio::runtime::Handle);

impl Waiter {
    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.0.block_on(future)
    }
}
