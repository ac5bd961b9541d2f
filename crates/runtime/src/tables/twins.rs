//! Twins as tables: those of devices and modules, and devices alone.

use std::sync::Arc;

use gantry_analytics::pushdown::Need;
use gantry_analytics::{Chunk, Context, Error, Flow, Result, Source, small_table};
use gantry_hub::Hub;
use gantry_hub::ports::{Record, Store};
use gantry_kql::bound::Column;
use gantry_kql::value::{Dynamic, Type, Value};

use super::Waiter;

const COLUMNS: [(&str, Type); 10] = [
    ("DeviceId", Type::String),
    ("ModuleId", Type::String),
    ("Status", Type::String),
    ("ConnectionState", Type::String),
    ("LastActivityTime", Type::DateTime),
    ("CloudToDeviceMessageCount", Type::Long),
    ("Tags", Type::Dynamic),
    ("Desired", Type::Dynamic),
    ("Reported", Type::Dynamic),
    ("Version", Type::Long),
];
const MODULE: &str = "ModuleId";
/// Records read at once.
const PAGE: usize = 500;

/// Every twin, a row each; or every device, without the column of modules.
pub struct TwinTable {
    modules: bool,
    waiter: Waiter,
    hub: Arc<Hub>,
    store: Arc<dyn Store>,
}

impl TwinTable {
    /// Those of a hub, in its store.
    pub(super) fn new(modules: bool, waiter: Waiter, hub: Arc<Hub>, store: Arc<dyn Store>) -> Self {
        Self { modules, waiter, hub, store }
    }

    /// The columns of the table among all.
    fn schema(&self) -> Vec<(&'static str, Type)> {
        COLUMNS.into_iter().filter(|(name, _)| self.modules || *name != MODULE).collect()
    }
}

impl Source for TwinTable {
    fn about(&self) -> &'static str {
        if self.modules { "Twins of devices and modules." } else { "Devices, with their twins." }
    }

    fn key(&self) -> &'static [&'static str] {
        if self.modules { &["DeviceId", MODULE] } else { &["DeviceId"] }
    }

    fn columns(&self) -> Result<Vec<Column>> {
        Ok(self.schema().into_iter().map(|(name, ty)| Column::new(name, ty)).collect())
    }

    fn scan(
        &self,
        _: &[Column],
        _: &Need,
        context: &Context,
        sink: &mut dyn FnMut(Chunk) -> Result<Flow>,
    ) -> Result<Flow> {
        let schema = self.schema();
        let kinds: &[bool] = if self.modules { &[false, true] } else { &[false] };
        for modules in kinds.iter().copied() {
            let mut after = None;
            loop {
                context.check()?;
                let page = self
                    .waiter
                    .wait(self.store.records(modules, after.as_ref(), PAGE))
                    .map_err(|error| Error::Table { table: "Twins".into(), reason: error.to_string() })?;
                let Some(last) = page.last() else { break };
                after = Some(last.device.identity.clone());
                let row = |record: &Record| {
                    let mut row = row(record, self.hub.is_connected(&record.device.identity));
                    if !self.modules {
                        row.remove(1);
                    }
                    row
                };
                for chunk in small_table(&schema, page.iter().map(row).collect()).chunks {
                    if sink(chunk)? == Flow::Enough {
                        return Ok(Flow::Enough);
                    }
                }
            }
        }
        Ok(Flow::More)
    }
}

fn row(record: &Record, connected: bool) -> Vec<Value> {
    let text = |text: &str| Value::String(text.to_owned());
    let section = |object: &serde_json::Map<String, serde_json::Value>| {
        let text = serde_json::to_string(object).unwrap_or_default();
        Value::Dynamic(Dynamic::parse_json(&text).unwrap_or(Dynamic::Null))
    };
    let identity = &record.device.identity;
    let twin = &record.twin;
    vec![
        text(identity.device.as_str()),
        text(identity.module.as_ref().map(|module| module.as_str()).unwrap_or_default()),
        text(record.device.status.as_str()),
        text(if connected { "Connected" } else { "Disconnected" }),
        super::monitoring::datetime(record.presence.last_activity_at),
        Value::Long(i64::from(record.presence.c2d_count)),
        section(&twin.tags),
        section(&twin.desired.values),
        section(&twin.reported.values),
        Value::Long(twin.version as i64),
    ]
}
