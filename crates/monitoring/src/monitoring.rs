//! What came in, what it means, what is to be stored and done.
//!
//! Each partition has a lock of its own, held while a batch of its events is judged; the rules are a snapshot. What
//! few events change (alerts, the list, security events, documents to store) is behind one more lock, which is taken
//! after a partition's and never before it. Changes that must last are collected as documents; the runner has
//! them stored ([`Monitoring::store`]).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use gantry_detection::changes::{Change, changes};
use gantry_detection::health::Assessment;
use gantry_detection::maintenance::List;
use gantry_detection::{Band, Direction, Remaining};
use gantry_hub::event::StoredEvent;
use gantry_hub::ports::{Audit, Changes, Documents, Observer, RefusedAccess, StoreError};
use gantry_hub::reports::is_device_deleted;
use gantry_hub::rows::Origin;
use gantry_identity::{Identity, Timestamp};
use parking_lot::{Mutex, RwLock};
use serde_json::json;

use crate::alerts::{self, Alert, AlertState, Due, Kind, Occurrence};
use crate::live::{Channel, Live};
use crate::pipeline::{Limit, Pipeline};
use crate::points::Point;
use crate::rules::{RULES_MAX, Rule, RuleError, When};
use crate::security::{self, SecurityEvent};
use crate::shapes::{monitored, point_event};
use gantry_hub::delivery::DeliveryError;
use raised::{Raised, anomalies, at_limit, limit_rules, rows, urgency_rules, urgent};

/// Collections of the application in the store.
pub const ALERTS: &str = "alerts";
/// Rules by id.
pub const RULES: &str = "rules";
/// Security events, one document.
pub const SECURITY: &str = "security";
/// When each device was last serviced.
pub const SERVICED: &str = "serviced";

/// How far each partition's events are told in stored alerts.
pub const PROGRESS: &str = "alert-progress";
/// What the platform made once, the first rules among it.
const SETTINGS: &str = "settings";
const COLLECTIONS: [&str; 6] = [ALERTS, RULES, SECURITY, SERVICED, PROGRESS, SETTINGS];
/// Times a write is tried when somebody else is quicker.
const STORE_ATTEMPTS: usize = 8;

/// The part of a change of level that its echo in the rhythm of the day may have.
const ECHO: f64 = 0.15;

/// From this urgency a device is watched.
const WATCH_URGENCY: f64 = 0.4;
/// From this urgency its health is poor.
const POOR_URGENCY: f64 = 0.55;

/// One place of the maintenance list.
#[derive(Clone, Debug, PartialEq)]
pub struct MaintenanceItem {
    /// From 1.
    pub place: usize,
    /// Device id.
    pub device: String,
    /// In [0, 1].
    pub urgency: f64,
    /// Why, in words.
    pub reason: String,
    /// The signal that says so.
    pub signal: Option<String>,
    /// When it was last serviced, as far as is known.
    pub last_serviced: Option<Timestamp>,
}

/// A device on the fleet page.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceHealth {
    /// `good`, `watch`, `poor`, or `unknown` without telemetry.
    pub health: &'static str,
    /// In [0, 1].
    pub urgency: f64,
    /// Why, in words.
    pub reason: String,
    /// The signal that says so, with its last point.
    pub last: Option<(Arc<str>, Option<Point>)>,
    /// Unclosed alerts.
    pub open_alerts: usize,
}

/// Where a signal is expected at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// When.
    pub at: Timestamp,
    /// The value that is expected, and the edges that hold nine of ten.
    pub band: Band,
}

/// When a signal reaches the limit of a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct ToLimit {
    /// The rule.
    pub rule_id: String,
    /// Its limit.
    pub limit: f64,
    /// Which way it is passed.
    pub direction: Direction,
    /// Nothing while too little is known of the signal.
    pub remaining: Option<Remaining>,
}

/// A signal's level changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LevelChange {
    /// The first value of the new level.
    pub at: Timestamp,
    /// The level before, without the rhythm of the day.
    pub from: f64,
    /// The level from then on.
    pub to: f64,
}

/// A signal with its last point.
pub type SignalSummary = (Arc<str>, Option<Point>);

/// One partition.
struct Partition {
    pipeline: Pipeline,
    /// Events before this number have been told in alerts: a replay does not tell them again.
    told: u64,
}

/// Documents to store by collection and id: their texts, or `None` for those that are deleted.
type Changed = BTreeMap<(&'static str, String), Option<String>>;

/// What all partitions share.
#[derive(Default)]
struct Shared {
    list: List,
    /// Why each device has its place, in words, and the signal that says so.
    reasons: HashMap<String, (String, Option<String>)>,
    list_changed: bool,
    serviced: BTreeMap<String, Timestamp>,
    alerts: alerts::Book,
    security: security::Book,
    changed_alerts: HashSet<String>,
    changes: Changed,
    /// The version at which each collection was read or written last.
    versions: BTreeMap<&'static str, u64>,
    /// The number after the last event of each partition that changed something here.
    progress: Vec<u64>,
    security_changed: bool,
}

/// Judges telemetry and refused access.
pub struct Monitoring {
    partitions: Vec<Mutex<Partition>>,
    rules: RwLock<Arc<[Rule]>>,
    shared: Mutex<Shared>,
    live: Channel,
    monitor: Channel,
}

impl Monitoring {
    /// Everything as it was stored, with the pipelines of all partitions.
    ///
    /// # Errors
    /// When documents cannot be read.
    pub async fn restore(documents: &dyn Documents, pipelines: Vec<Pipeline>) -> Result<Self, StoreError> {
        let mut shared = Shared { progress: vec![0; pipelines.len()], ..Shared::default() };
        let mut stored = Stored::read(documents).await?;
        let mut rules: Vec<Rule> = stored.parse(RULES)?;
        if rules.is_empty() && stored.take(SETTINGS).iter().all(|(id, _)| id != "rules-made") {
            rules = Rule::defaults();
            shared.changes.extend(rules.iter().map(|rule| ((RULES, rule.id.clone()), Some(text(rule)))));
            shared.changes.insert((SETTINGS, "rules-made".into()), Some("true".into()));
        }
        shared.alerts = alerts::Book::restore(stored.parse(ALERTS)?);
        let events: Vec<Vec<SecurityEvent>> = stored.parse(SECURITY)?;
        shared.security = security::Book::restore(events.into_iter().next().unwrap_or_default());
        for (device, at) in stored.take(SERVICED) {
            shared.serviced.extend(Timestamp::parse(at.trim_matches('"')).map(|at| (device, at)));
        }
        for (partition, next) in stored.take(PROGRESS) {
            let index = partition.parse::<usize>().ok().filter(|index| *index < shared.progress.len());
            if let (Some(index), Ok(next)) = (index, next.parse()) {
                shared.progress[index] = next;
            }
        }
        shared.versions = stored.versions;
        let count = pipelines.len();
        let partition = |(pipeline, told): (Pipeline, &u64)| {
            let mut pipeline = pipeline.among(count);
            // Who was urgent when this was stored was told then.
            let devices: Vec<_> = pipeline.devices().cloned().collect();
            for device in devices {
                for (rule, urgency_min) in urgency_rules(&rules) {
                    pipeline.becomes_urgent(&device, &rule.id, urgency_min);
                }
                for (rule, limit) in limit_rules(&rules) {
                    pipeline.nears(&device, &rule.id, &limit);
                }
            }
            Mutex::new(Partition { pipeline, told: *told })
        };
        let partitions = pipelines.into_iter().zip(&shared.progress).map(partition).collect();
        Ok(Self {
            partitions,
            rules: RwLock::new(rules.into()),
            shared: Mutex::new(shared),
            live: Channel::default(),
            monitor: Channel::default(),
        })
    }

    /// Changes for open pages.
    pub fn live(&self) -> &Channel {
        &self.live
    }

    /// Every event as it is stored, for `gantry monitor`.
    pub fn monitor(&self) -> &Channel {
        &self.monitor
    }

    /// Where a partition's pipeline stands.
    pub fn next_sequence_number(&self, partition: u16) -> u64 {
        let partition = self.partitions.get(usize::from(partition));
        partition.map_or(0, |partition| partition.lock().pipeline.next_sequence_number())
    }

    /// Takes events of one partition, in order.
    pub fn observe(&self, now: Timestamp, partition: u16, events: &[StoredEvent]) {
        let index = usize::from(partition);
        let Some(partition) = self.partitions.get(index) else { return };
        let rules = Arc::clone(&self.rules.read());
        let mut partition = partition.lock();
        let Partition { pipeline, told } = &mut *partition;
        for event in events {
            self.monitor.publish(|| monitored(event));
            let is_told = event.sequence_number < *told;
            let mut raised = vec![];
            let is_judged = pipeline.apply(event, |one| {
                self.live.publish(|| point_event(one));
                if !is_told && one.point.is_anomaly() {
                    anomalies(&rules, one, &mut raised);
                }
            });
            if is_judged {
                let device = event.identity.device.as_str();
                for (rule, urgency_min) in urgency_rules(&rules) {
                    let urgency = pipeline.becomes_urgent(device, &rule.id, urgency_min);
                    if let Some((device, assessment)) = urgency
                        && !is_told
                    {
                        raised.push(urgent(rule, &device, &assessment));
                    }
                }
                for (rule, limit) in limit_rules(&rules) {
                    if let Some(nearing) = pipeline.nears(device, &rule.id, &limit)
                        && !is_told
                    {
                        raised.push(at_limit(rule, &limit, nearing));
                    }
                }
            }
            if !is_told && let Some(origin) = Origin::of(event) {
                rows(&rules, origin, event, &mut raised);
            }
            let is_deleted = !is_told && is_device_deleted(event);
            if raised.is_empty() && !is_deleted {
                continue;
            }
            // All that an event changes is stored together, or none of it.
            let mut shared = self.shared.lock();
            if is_deleted {
                shared.forget(event.identity.device.as_str());
            }
            for Raised { rule, kind, subject, is_device, title, reason } in raised {
                let occurrence = Occurrence {
                    rule_id: &rule.id,
                    subject: &subject,
                    device_id: is_device.then_some(&*subject),
                    kind,
                    severity: rule.severity,
                    title,
                    reason,
                    actions: &rule.actions,
                };
                self.raise(&mut shared, &occurrence, now);
            }
            shared.progress[index] = event.sequence_number + 1;
        }
    }

    fn raise(&self, shared: &mut Shared, occurrence: &Occurrence<'_>, now: Timestamp) {
        let alert = shared.alerts.raise(occurrence, now).clone();
        self.changed(shared, &alert);
        for id in shared.alerts.trim() {
            shared.changed_alerts.remove(&id);
            shared.changes.insert((ALERTS, id), None);
        }
    }

    fn changed(&self, shared: &mut Shared, alert: &Alert) {
        shared.changed_alerts.insert(alert.id.clone());
        self.live.publish(|| Live {
            name: "alert",
            device: alert.device_id.as_deref().map(Arc::from),
            data: alert.document().to_string().into(),
        });
    }

    /// Gives every device of which something was judged its place on the list.
    fn arrange(&self) {
        for partition in &self.partitions {
            let mut partition = partition.lock();
            let touched = partition.pipeline.take_touched();
            if touched.is_empty() {
                continue;
            }
            let mut shared = self.shared.lock();
            for device in touched {
                if let Some((signal, assessment)) = partition.pipeline.assess(&device) {
                    shared.place(&device, &signal, assessment);
                }
            }
        }
    }

    /// The maintenance list, most urgent first.
    pub fn maintenance(&self) -> Vec<MaintenanceItem> {
        self.arrange();
        self.shared.lock().items()
    }

    /// Publishes the maintenance list when it changed since the last call.
    pub fn publish_maintenance(&self) {
        self.arrange();
        let mut shared = self.shared.lock();
        if std::mem::take(&mut shared.list_changed) {
            self.live.publish(|| {
                let items: Vec<_> = shared.items().iter().map(MaintenanceItem::document).collect();
                Live { name: "maintenance", device: None, data: json!({ "items": items }).to_string().into() }
            });
        }
    }

    /// Notes that a device was serviced; false when it is unknown.
    pub fn serviced(&self, now: Timestamp, device: &str) -> bool {
        if !self.partitions.iter().any(|partition| partition.lock().pipeline.serviced(device)) {
            return false;
        }
        let mut shared = self.shared.lock();
        shared.serviced.insert(device.to_owned(), now);
        shared.list_changed = true;
        shared.changes.insert((SERVICED, device.to_owned()), Some(format!("\"{now}\"")));
        true
    }

    /// Forgets a device that is not registered. Deletions are heard of in [`observe`](Self::observe).
    pub fn remove(&self, device: &str) {
        self.partitions.iter().for_each(|partition| partition.lock().pipeline.remove(device));
        self.shared.lock().forget(device);
    }

    /// What the fleet page shows of a device.
    pub fn health(&self, device: &str) -> DeviceHealth {
        let open_alerts = self.shared.lock().alerts.open_of(device);
        let look = |partition: &Mutex<Partition>| {
            let pipeline = &partition.lock().pipeline;
            let (signal, assessment) = pipeline.assess(device)?;
            let last = pipeline.signals(device).into_iter().find(|(name, _)| *name == signal);
            Some((last, assessment))
        };
        let Some((last, assessment)) = self.partitions.iter().find_map(look) else {
            let reason = "no telemetry yet".to_owned();
            return DeviceHealth { health: "unknown", urgency: 0.0, reason, last: None, open_alerts };
        };
        DeviceHealth {
            health: match assessment.urgency {
                urgency if urgency >= POOR_URGENCY => "poor",
                urgency if urgency >= WATCH_URGENCY => "watch",
                _ => "good",
            },
            urgency: assessment.urgency,
            reason: assessment.in_words(None),
            last,
            open_alerts,
        }
    }

    /// Signals of a device.
    pub fn signals(&self, device: &str) -> Vec<SignalSummary> {
        self.partitions.iter().flat_map(|partition| partition.lock().pipeline.signals(device)).collect()
    }

    /// The last points of a signal, oldest first; `None` when it is unknown.
    pub fn series(&self, device: &str, signal: &str, limit: usize) -> Option<Vec<Point>> {
        self.partitions.iter().find_map(|partition| partition.lock().pipeline.series(device, signal, limit))
    }

    /// Where a signal is expected, at so many times until `ahead_ms` after its last value, or as far as there is a
    /// forecast; `None` when it is unknown.
    pub fn forecast(&self, device: &str, signal: &str, ahead_ms: i64, points: u32) -> Option<Vec<Forecast>> {
        let look = |partition: &Mutex<Partition>| partition.lock().pipeline.forecast(device, signal, ahead_ms, points);
        let found = self.partitions.iter().find_map(look)?;
        Some(found.into_iter().map(|(at, band)| Forecast { at, band }).collect())
    }

    /// When a signal reaches the limits of the rules that are on.
    pub fn limits(&self, device: &str, signal: &str) -> Vec<ToLimit> {
        let rules = Arc::clone(&self.rules.read());
        let limits = limit_rules(&rules).filter(|(_, limit)| limit.signal == signal);
        let remaining = |limit: &Limit<'_>| {
            let look = |partition: &Mutex<Partition>| {
                partition.lock().pipeline.remaining(device, signal, limit.limit, limit.direction)
            };
            self.partitions.iter().find_map(look)
        };
        let told = |(rule, limit): (&Rule, Limit<'_>)| ToLimit {
            rule_id: rule.id.clone(),
            limit: limit.limit,
            direction: limit.direction,
            remaining: remaining(&limit),
        };
        limits.map(told).collect()
    }

    /// When the level of a signal changed, in values in order of time. Takes a while for many values.
    pub fn changes(&self, device: &str, signal: &str, values: &[(Timestamp, f64)]) -> Vec<LevelChange> {
        // No partition waits for the search.
        let look = |partition: &Mutex<Partition>| partition.lock().pipeline.rhythm(device, signal);
        let rhythm = self.partitions.iter().find_map(look);
        let plain: Vec<f64> = values
            .iter()
            .map(|(at, value)| value - rhythm.as_ref().map_or(0.0, |rhythm| rhythm.at(at.as_millis())))
            .collect();
        let found = changes(&plain);
        let size = |change: &Change| (change.to - change.from).abs();
        let largest = found.iter().map(size).fold(0.0, f64::max);
        // A profile of the day that has begun to follow a new level has an echo of the change at some times of the day.
        let echo = if rhythm.is_some_and(|rhythm| !rhythm.is_flat()) { ECHO * largest } else { 0.0 };
        let told = found.into_iter().filter(|change| size(change) >= echo);
        told.map(|change| LevelChange { at: values[change.at].0, from: change.from, to: change.to }).collect()
    }

    /// Alerts, newest first.
    pub fn alerts(&self, state: Option<AlertState>, limit: usize) -> Vec<Alert> {
        let shared = self.shared.lock();
        let wanted = |alert: &&Alert| state.is_none_or(|state| alert.state == state);
        shared.alerts.newest().filter(wanted).take(limit).cloned().collect()
    }

    /// Acknowledges or closes an alert.
    pub fn set_alert_state(&self, now: Timestamp, id: &str, to: AlertState) -> Option<Alert> {
        let mut shared = self.shared.lock();
        let alert = shared.alerts.set_state(id, to, now)?.clone();
        self.changed(&mut shared, &alert);
        Some(alert)
    }

    /// Security events, newest first.
    pub fn security(&self) -> Vec<SecurityEvent> {
        self.shared.lock().security.newest().cloned().collect()
    }

    /// The rules.
    pub fn rules(&self) -> Vec<Rule> {
        self.rules.read().to_vec()
    }

    /// Creates or replaces a rule.
    ///
    /// # Errors
    /// Names what is wrong.
    pub fn put_rule(&self, rule: Rule) -> Result<(), RuleError> {
        rule.check()?;
        let mut rules = self.rules.write();
        let mut all: Vec<Rule> = rules.iter().filter(|other| other.id != rule.id).cloned().collect();
        if all.len() >= RULES_MAX {
            return Err(RuleError::Invalid("a platform may have 200 rules"));
        }
        self.shared.lock().changes.insert((RULES, rule.id.clone()), Some(text(&rule)));
        all.push(rule);
        all.sort_by(|a, b| a.id.cmp(&b.id));
        *rules = all.into();
        Ok(())
    }

    /// Deletes a rule; says whether it was there.
    pub fn delete_rule(&self, id: &str) -> bool {
        let mut rules = self.rules.write();
        let all: Vec<Rule> = rules.iter().filter(|rule| rule.id != id).cloned().collect();
        let found = all.len() < rules.len();
        if found {
            self.shared.lock().changes.insert((RULES, id.to_owned()), None);
            *rules = all.into();
        }
        found
    }

    /// Tasks to carry out now; each is handed out once until [`finish`](Self::finish).
    pub fn take_due(&self, now: Timestamp) -> Vec<Due> {
        self.shared.lock().alerts.take_due(now)
    }

    /// Takes the outcome of a task.
    pub fn finish(&self, now: Timestamp, due: &Due, outcome: Result<(), DeliveryError>, jitter: f64) {
        let mut shared = self.shared.lock();
        if let Some(alert) = shared.alerts.finish(due, outcome, now, jitter).cloned() {
            self.changed(&mut shared, &alert);
        }
    }

    /// Stores the documents that changed, with how far each partition's events are told in them. One call at a time.
    ///
    /// The application has one writer: who took its checkpoints last. When somebody else wrote since, documents that
    /// changed here go over theirs and the others stay.
    ///
    /// # Errors
    /// When the store fails; what changed is stored the next time.
    pub async fn store(&self, documents: &dyn Documents) -> Result<(), StoreError> {
        let (changes, versions) = self.take_changes();
        if changes.is_empty() {
            return Ok(());
        }
        let outcome = put(documents, &changes, versions).await;
        let mut shared = self.shared.lock();
        match outcome {
            Ok(versions) => {
                shared.versions.extend(versions);
                Ok(())
            }
            Err(error) => {
                for (document, text) in changes {
                    // What changed again meanwhile is newer.
                    shared.changes.entry(document).or_insert(text);
                }
                Err(error)
            }
        }
    }

    fn take_changes(&self) -> (Changed, BTreeMap<&'static str, u64>) {
        let mut shared = self.shared.lock();
        let mut changes = std::mem::take(&mut shared.changes);
        let changed = std::mem::take(&mut shared.changed_alerts);
        let alerts = shared.alerts.newest().filter(|alert| changed.contains(&alert.id));
        changes.extend(alerts.map(|alert| ((ALERTS, alert.id.clone()), Some(text(alert)))));
        if !changes.is_empty() {
            let progress = shared.progress.iter().enumerate();
            changes.extend(progress.map(|(n, next)| ((PROGRESS, n.to_string()), Some(next.to_string()))));
        }
        if std::mem::take(&mut shared.security_changed) {
            changes.insert((SECURITY, "events".into()), Some(text(shared.security.events())));
        }
        (changes, shared.versions.clone())
    }

    /// The state of one partition's pipeline, to keep beside its cursor.
    pub fn checkpoint(&self, partition: u16) -> Option<Vec<u8>> {
        self.partitions.get(usize::from(partition)).map(|partition| partition.lock().pipeline.to_bytes())
    }
}

impl Shared {
    /// Forgets what is kept of a device beside its signals.
    fn forget(&mut self, device: &str) {
        self.list_changed |= self.list.remove(device);
        self.reasons.remove(device);
        if self.serviced.remove(device).is_some() {
            self.changes.insert((SERVICED, device.to_owned()), None);
        }
    }

    /// Gives a device its place.
    fn place(&mut self, device: &str, signal: &str, assessment: Assessment) {
        let moved = self.list.update(device, assessment);
        let told = (assessment.in_words(None), Some(signal.to_owned()));
        let reason_changed = self.reasons.get(device) != Some(&told);
        if reason_changed {
            self.reasons.insert(device.to_owned(), told);
        }
        self.list_changed |= moved || reason_changed;
    }

    fn items(&self) -> Vec<MaintenanceItem> {
        let item = |(index, place): (usize, &gantry_detection::maintenance::Place)| {
            let (reason, signal) = self.reasons.get(&place.device_id).cloned().unwrap_or_default();
            MaintenanceItem {
                place: index + 1,
                device: place.device_id.clone(),
                urgency: place.assessment.urgency,
                reason,
                signal,
                last_serviced: self.serviced.get(&place.device_id).copied(),
            }
        };
        self.list.places().iter().enumerate().map(item).collect()
    }
}

impl Audit for Monitoring {
    fn refused(&self, refused: RefusedAccess) {
        self.note_refusal(&refused);
    }
}

impl Monitoring {
    /// Takes refused access; says whether it is a new event, worth a line in the log.
    pub fn note_refusal(&self, refused: &RefusedAccess) -> bool {
        let rules = Arc::clone(&self.rules.read());
        let mut shared = self.shared.lock();
        let noted = shared.security.note(refused);
        shared.security_changed = true;
        self.live.publish(|| Live { name: "security", device: None, data: text(&noted.event).into() });
        for rule in rules.iter().filter(|rule| rule.enabled) {
            let When::Security { count_min } = rule.when else { continue };
            let event = &noted.event;
            // One address that tries many names is one alert; one name from many addresses another.
            let (subject, count) = if noted.by_peer >= count_min {
                (&event.peer, noted.by_peer)
            } else if noted.by_claimed >= count_min {
                (&event.claimed, noted.by_claimed)
            } else {
                continue;
            };
            self.raise(
                &mut shared,
                &Occurrence {
                    rule_id: &rule.id,
                    subject,
                    device_id: None,
                    kind: Kind::Security,
                    severity: rule.severity,
                    title: format!("access refused repeatedly: {subject}"),
                    reason: format!(
                        "{count} refusals within a minute, the last of `{}` from {} at {}: {}",
                        event.claimed, event.peer, event.operation, event.reason
                    ),
                    actions: &rule.actions,
                },
                refused.at,
            );
        }
        noted.is_new
    }

    /// Devices that have sent telemetry.
    pub fn devices(&self) -> Vec<Arc<str>> {
        let devices = |partition: &Mutex<Partition>| partition.lock().pipeline.devices().cloned().collect::<Vec<_>>();
        self.partitions.iter().flat_map(devices).collect()
    }

    /// Values that were not analysed since the start.
    pub fn not_analysed(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.lock().pipeline.not_analysed()).sum()
    }
}

impl Observer for Monitoring {
    /// Tells open pages that a device came or went.
    fn connection(&self, identity: &Identity, is_connected: bool) {
        if identity.module.is_some() {
            return;
        }
        let device = identity.device.as_str();
        self.live.publish(|| Live {
            name: "connection",
            device: Some(device.into()),
            data: json!({ "deviceId": device, "connected": is_connected }).to_string().into(),
        });
    }
}

fn text<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("documents of the application are plain data")
}

/// What is stored of the application.
struct Stored {
    documents: BTreeMap<&'static str, Vec<(String, String)>>,
    versions: BTreeMap<&'static str, u64>,
}

impl Stored {
    async fn read(from: &dyn Documents) -> Result<Self, StoreError> {
        let (mut documents, mut versions) = (BTreeMap::new(), BTreeMap::new());
        for collection in COLLECTIONS {
            let all = from.all(collection).await?;
            documents.insert(collection, all.documents);
            versions.insert(collection, all.version);
        }
        Ok(Self { documents, versions })
    }

    fn take(&mut self, collection: &str) -> Vec<(String, String)> {
        self.documents.remove(collection).unwrap_or_default()
    }

    fn parse<T: serde::de::DeserializeOwned>(&mut self, collection: &'static str) -> Result<Vec<T>, StoreError> {
        let parse = |(id, text): (String, String)| {
            serde_json::from_str(&text).map_err(|e| StoreError::Failed(format!("document {collection}/{id}: {e}")))
        };
        self.take(collection).into_iter().map(parse).collect()
    }
}

/// Writes changes over what is stored; the versions from then on.
async fn put(
    documents: &dyn Documents,
    changed: &Changed,
    mut versions: BTreeMap<&'static str, u64>,
) -> Result<BTreeMap<&'static str, u64>, StoreError> {
    let is_changed = |collection: &str| changed.keys().any(|(other, _)| *other == collection);
    versions.retain(|collection, _| is_changed(collection));
    for _ in 0..STORE_ATTEMPTS {
        let changes = versions.iter().map(|(collection, version)| {
            let of_it = changed.iter().filter(|((other, _), _)| other == collection);
            let documents = of_it.map(|((_, id), text)| (id.clone(), text.clone())).collect();
            Changes { collection, version: *version, documents }
        });
        match documents.put(changes.collect()).await {
            Ok(()) => {
                versions.values_mut().for_each(|version| *version += 1);
                return Ok(versions);
            }
            Err(StoreError::Conflict) => {
                for (collection, version) in &mut versions {
                    *version = documents.all(collection).await?.version;
                }
            }
            Err(error) => return Err(error),
        }
    }
    Err(StoreError::Conflict)
}

mod raised;
#[cfg(test)]
mod tests;
