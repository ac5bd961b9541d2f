//! Events the hub makes itself: twin changes, lifecycle, connection state (message routing, non-telemetry events).
//!
//! They are made only when a route listens to their source, or somebody who follows the log ([`Hub::hear`]), and of
//! every deletion, because whoever follows the log keeps something about devices and must hear that one is gone. A report of a write is stored in
//! the transaction of that write and relayed to the log after it, so neither is lost without
//! the other; reports of connections go straight to the log, as connections are not stored.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use gantry_identity::{Identity, Timestamp};
use serde_json::{Map, Value, json};

use crate::device::Status;
use crate::events::event::{Event, MessageSource, StoredEvent, SystemProperties, Telemetry};
use crate::hub::Hub;
use crate::ports::Record;
use crate::routing::{Added, Decision, Destinations, Message, Table};
use crate::twins::twin::{Change, Object};

/// Property that names the operation an event reports.
const OPERATION: &str = "opType";
const DEVICE_DELETED: &str = "deleteDeviceIdentity";
/// Nothing of the reference, whose events do not tell of it.
const DEVICE_ENABLED: &str = "enableDeviceIdentity";
const DEVICE_DISABLED: &str = "disableDeviceIdentity";

/// What an event of the hub's own says happened (`opType`).
pub fn operation_of(event: &StoredEvent) -> Option<&str> {
    event.properties.iter().find(|(name, _)| name == OPERATION).and_then(|(_, value)| value.as_deref())
}

/// Whether an event says that its device was deleted, and its modules with it.
pub fn is_device_deleted(event: &StoredEvent) -> bool {
    event.source == MessageSource::Lifecycle && operation_of(event) == Some(DEVICE_DELETED)
}

/// How many were made, which tells apart those of the same millisecond.
#[derive(Default)]
pub(crate) struct ReportsMade(AtomicU64);

impl ReportsMade {
    fn count(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// Sources of which somebody who follows the log wants to hear, though no route listens; a bit each.
#[derive(Default)]
pub(crate) struct Heard(AtomicU8);

impl Heard {
    fn has(&self, source: MessageSource) -> bool {
        self.0.load(Ordering::Relaxed) & 1 << source as u8 != 0
    }
}

/// An event of the hub's own, with where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What it reports.
    pub source: MessageSource,
    /// About whom.
    pub identity: Identity,
    /// When it happened.
    pub at: Timestamp,
    /// Which endpoints it goes to.
    pub destinations: Destinations,
    /// What is added to it on the way there.
    pub added: Vec<Added>,
    generation_id: String,
    model_id: Option<String>,
    system: SystemProperties<'static>,
    properties: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Report {
    /// Calls `with` with the event as the log takes it.
    pub fn as_event<T>(&self, with: impl FnOnce(&Event<'_>) -> T) -> T {
        let message = self.message();
        with(&Event {
            source: self.source,
            identity: &self.identity,
            generation_id: &self.generation_id,
            auth_method: "",
            model_id: self.model_id.as_deref(),
            enqueued_at: self.at,
            message: &message,
            destinations: self.destinations,
            added: self.added.as_slice().into(),
        })
    }

    fn message(&self) -> Telemetry<'_> {
        let properties = self.properties.iter().map(|(name, value)| ((*name).into(), Some(value.as_str().into())));
        Telemetry { system: self.system.clone(), properties: properties.collect(), body: &self.body }
    }
}

/// What happened to a twin.
#[derive(Clone, Copy)]
pub(crate) enum TwinChange<'a> {
    /// A service, or what acts for it, wrote.
    Written(&'a Change),
    /// The device reported.
    Reported(&'a Object),
}

impl TwinChange<'_> {
    /// Whether nothing was written of it, as when the identity alone changes.
    fn is_empty(self) -> bool {
        matches!(self, Self::Written(Change { is_replacement: false, tags: None, desired: None, .. }))
    }

    fn is_replacement(self) -> bool {
        matches!(self, Self::Written(Change { is_replacement: true, .. }))
    }
}

struct Facts<'a> {
    source: MessageSource,
    at: Timestamp,
    operation: &'static str,
    schema: &'static str,
    content_type: &'static str,
    record: &'a Record,
    body: &'a Value,
}

impl Hub {
    /// Puts events of these sources into the log from now on, and of no others, though no route listens to them. They
    /// go to the endpoints of routes as before.
    pub fn hear(&self, sources: &[MessageSource]) {
        let bits = sources.iter().fold(0, |bits, source| bits | 1 << *source as u8);
        self.heard.0.store(bits, Ordering::Relaxed);
    }

    fn wants(&self, table: &Table, source: MessageSource) -> bool {
        table.listens_to(source) || self.heard.has(source)
    }

    /// Reports of a change of a twin, given the record after it.
    pub(crate) fn report_twin_change(&self, now: Timestamp, after: &Record, change: TwinChange<'_>) -> Vec<Report> {
        let mut reports = vec![];
        if change.is_empty() {
            return reports;
        }
        let table = self.routes.table();
        let is_followed = matches!(change, TwinChange::Reported(_)) && self.reported.load(Ordering::Relaxed);
        if is_followed || self.wants(&table, MessageSource::TwinChange) {
            let facts = Facts {
                source: MessageSource::TwinChange,
                at: now,
                operation: if change.is_replacement() { "replaceTwin" } else { "updateTwin" },
                schema: "twinChangeNotification",
                content_type: "application/json",
                record: after,
                body: &twin_change_body(after, change),
            };
            match is_followed {
                true => reports.push(self.made(&table, &facts)),
                false => reports.extend(self.routed(&table, &facts)),
            }
        }
        let patch = json_patch(change);
        if after.twin.model_id.is_some() && !patch.is_empty() && self.wants(&table, MessageSource::DigitalTwinChange) {
            let facts = Facts {
                source: MessageSource::DigitalTwinChange,
                at: now,
                operation: "updateDigitalTwin",
                schema: "digitalTwinChangeNotification",
                content_type: "application/json-patch+json",
                record: after,
                body: &Value::Array(patch),
            };
            reports.extend(self.routed(&table, &facts));
        }
        reports
    }

    /// Reports that identities were made, when a route listens, or deleted.
    pub(crate) fn report_lifecycle(&self, now: Timestamp, records: &[Record], is_made: bool) -> Vec<Report> {
        let table = self.routes.table();
        if is_made && !self.wants(&table, MessageSource::Lifecycle) {
            return vec![];
        }
        let one = |record: &Record| {
            let is_module = record.device.identity.module.is_some();
            let facts = Facts {
                source: MessageSource::Lifecycle,
                at: now,
                operation: match (is_module, is_made) {
                    (false, true) => "createDeviceIdentity",
                    (false, false) => DEVICE_DELETED,
                    (true, true) => "createModuleIdentity",
                    (true, false) => "deleteModuleIdentity",
                },
                schema: if is_module { "moduleLifecycleNotification" } else { "deviceLifecycleNotification" },
                content_type: "application/json",
                record,
                body: &lifecycle_body(record),
            };
            self.made(&table, &facts)
        };
        records.iter().map(one).filter(|report| !is_made || self.is_wanted(report)).collect()
    }

    /// A report that a device of which the status is another may connect from now on, or not any more, for who hears of
    /// such; routes never do.
    pub(crate) fn report_status_if(&self, is_other: bool, now: Timestamp, after: &Record) -> Vec<Report> {
        let is_device = after.device.identity.module.is_none();
        if !is_other || !is_device || !self.heard.has(MessageSource::Lifecycle) {
            return vec![];
        }
        let facts = Facts {
            source: MessageSource::Lifecycle,
            at: now,
            operation: if after.device.status == Status::Enabled { DEVICE_ENABLED } else { DEVICE_DISABLED },
            schema: "deviceLifecycleNotification",
            content_type: "application/json",
            record: after,
            body: &lifecycle_body(after),
        };
        let report = self.made(&self.routes.table(), &facts);
        vec![Report { destinations: Destinations::NONE, added: vec![], ..report }]
    }

    /// Puts into the log that a connection came or went. Nobody waits for it.
    pub(crate) fn report_connection(&self, now: Timestamp, identity: &Identity, is_connected: bool) {
        let table = self.routes.table();
        if !self.wants(&table, MessageSource::ConnectionState) {
            return;
        }
        let Some(record) = self.store.known(identity) else { return };
        let is_module = identity.module.is_some();
        // 256 bits that grow: the time, then what tells apart reports of one millisecond.
        let number = format!("{:032X}{:032X}", now.as_millis().max(0), self.reports_made.count());
        let facts = Facts {
            source: MessageSource::ConnectionState,
            at: now,
            operation: match (is_module, is_connected) {
                (false, true) => "deviceConnected",
                (false, false) => "deviceDisconnected",
                (true, true) => "moduleConnected",
                (true, false) => "moduleDisconnected",
            },
            schema: "deviceConnectionStateNotification",
            content_type: "application/json",
            record: &record,
            body: &json!({ "sequenceNumber": number }),
        };
        if let Some(report) = self.routed(&table, &facts) {
            drop(report.as_event(|event| self.log.append(std::slice::from_ref(event))));
        }
    }

    /// The report, when a route takes it or somebody hears of its source.
    fn routed(&self, table: &Table, facts: &Facts<'_>) -> Option<Report> {
        Some(self.made(table, facts)).filter(|report| self.is_wanted(report))
    }

    fn is_wanted(&self, report: &Report) -> bool {
        report.destinations != Destinations::NONE || self.heard.has(report.source)
    }

    fn made(&self, table: &Table, facts: &Facts<'_>) -> Report {
        let identity = &facts.record.device.identity;
        let mut properties = vec![("hubName", self.name().to_owned()), ("deviceId", identity.device.to_string())];
        properties.extend(identity.module.as_ref().map(|module| ("moduleId", module.to_string())));
        properties.push(("operationTimestamp", facts.at.to_string()));
        properties.push((OPERATION, facts.operation.to_owned()));
        properties.push(("iothub-message-schema", facts.schema.to_owned()));
        let system = SystemProperties {
            content_type: Some(facts.content_type.into()),
            content_encoding: Some("utf-8".into()),
            correlation_id: Some(format!("{:016x}", self.random_id()).into()),
            user_id: Some(self.name().to_owned().into()),
            ..SystemProperties::default()
        };
        let mut report = Report {
            source: facts.source,
            identity: identity.clone(),
            at: facts.at,
            destinations: Destinations::NONE,
            added: vec![],
            generation_id: facts.record.device.generation_id.clone(),
            model_id: facts.record.twin.model_id.clone(),
            system,
            properties,
            body: facts.body.to_string().into_bytes(),
        };
        let twin = table.uses_twin().then(|| facts.record.twin_document(self.is_connected(identity)));
        let Decision { destinations, added } = {
            let message = report.message();
            let model_id = report.model_id.as_deref();
            table.decide(&Message::new(facts.source, identity, facts.at, model_id, &message, twin.as_ref()))
        };
        (report.destinations, report.added) = (destinations, added);
        report
    }
}

/// The sections that changed, with the metadata of what changed in them.
fn twin_change_body(after: &Record, change: TwinChange<'_>) -> Value {
    let twin = &after.twin;
    let mut body = Map::from_iter([("version".to_owned(), json!(twin.version))]);
    match change {
        TwinChange::Written(Change { is_replacement: true, .. }) => {
            body.insert("tags".into(), Value::Object(twin.tags.clone()));
            let (desired, reported) = (twin.desired.with_metadata(), twin.reported.with_metadata());
            body.insert("properties".into(), json!({ "desired": desired, "reported": reported }));
        }
        TwinChange::Written(change) => {
            if let Some(tags) = &change.tags {
                body.insert("tags".into(), Value::Object(tags.clone()));
            }
            if let Some(desired) = &change.desired {
                body.insert("properties".into(), json!({ "desired": section(desired, &twin.desired) }));
            }
        }
        TwinChange::Reported(patch) => {
            body.insert("properties".into(), json!({ "reported": section(patch, &twin.reported) }));
        }
    }
    Value::Object(body)
}

fn section(patch: &Object, section: &crate::twins::twin::Section) -> Value {
    let changed = |key: &String| !key.starts_with('$') && patch.contains_key(key);
    let mut all: Object = patch.iter().filter(|(key, _)| !key.starts_with('$')).map(owned).collect();
    // Stamps of the section itself begin with `$`.
    let metadata: Object =
        section.metadata.iter().filter(|(key, _)| key.starts_with('$') || changed(key)).map(owned).collect();
    all.insert("$metadata".into(), Value::Object(metadata));
    all.insert("$version".into(), section.version.into());
    Value::Object(all)
}

fn owned((key, value): (&String, &Value)) -> (String, Value) {
    (key.clone(), value.clone())
}

fn lifecycle_body(record: &Record) -> Value {
    let (identity, twin) = (&record.device.identity, &record.twin);
    let mut body = Map::from_iter([("deviceId".to_owned(), json!(identity.device.as_str()))]);
    if let Some(module) = &identity.module {
        body.insert("moduleId".into(), json!(module.as_str()));
    }
    body.insert("etag".into(), twin.etag_text().into());
    body.insert("version".into(), twin.version.into());
    body.insert("tags".into(), Value::Object(twin.tags.clone()));
    let (desired, reported) = (twin.desired.with_metadata(), twin.reported.with_metadata());
    body.insert("properties".into(), json!({ "desired": desired, "reported": reported }));
    Value::Object(body)
}

/// Changed properties as operations on the digital twin: a component's are below its name.
fn json_patch(change: TwinChange<'_>) -> Vec<Value> {
    let patch = match change {
        TwinChange::Written(Change { desired: Some(patch), .. }) | TwinChange::Reported(patch) => patch,
        TwinChange::Written(_) => return vec![],
    };
    let mut operations = vec![];
    // In a JSON pointer (RFC 6901) `~` and `/` of a name are escaped.
    let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
    for (key, value) in patch.iter().filter(|(key, _)| !key.starts_with('$')) {
        let key = escaped(key);
        match value.as_object().filter(|object| object.get("__t") == Some(&json!("c"))) {
            Some(component) => {
                let inner = component.iter().filter(|(name, _)| *name != "__t" && !name.starts_with('$'));
                operations.extend(inner.map(|(name, value)| operation(&format!("/{key}/{}", escaped(name)), value)));
            }
            None => operations.push(operation(&format!("/{key}"), value)),
        }
    }
    operations
}

fn operation(path: &str, value: &Value) -> Value {
    match value {
        Value::Null => json!({ "op": "remove", "path": path }),
        value => json!({ "op": "replace", "path": path, "value": value }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_of_a_component_goes_below_its_name() {
        let patch = json!({ "speed": 5, "gone": null, "a/b~c": 1, "pump": { "__t": "c", "flow": 2, "old": null }, "$version": 3 });
        let Value::Object(patch) = patch else { panic!() };
        let operations = Value::Array(json_patch(TwinChange::Reported(&patch)));
        let expected = json!([
            { "op": "replace", "path": "/speed", "value": 5 },
            { "op": "remove", "path": "/gone" },
            { "op": "replace", "path": "/a~1b~0c", "value": 1 },
            { "op": "replace", "path": "/pump/flow", "value": 2 },
            { "op": "remove", "path": "/pump/old" },
        ]);
        assert_eq!(operations, expected);
    }
}
