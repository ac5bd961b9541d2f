//! The application as one object: what came in, what it means, what is to be stored and done.
//!
//! One lock guards everything; each call is short. Changes that must last are collected as
//! documents; the runner takes and stores them ([`Central::take_changes`]).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use gantry_detection::health::Assessment;
use gantry_detection::maintenance::List;
use gantry_hub::event::StoredEvent;
use gantry_hub::ports::{Audit, Change, Documents, Observer, RefusedAccess, StoreError};
use gantry_hub::reports::is_device_deleted;
use gantry_identity::{Identity, Timestamp};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::ANOMALY_SCORE;
use crate::actions::DeliveryError;
use crate::alerts::{self, Alert, AlertState, Due, Kind, Occurrence};
use crate::live::{Channel, Live};
use crate::pipeline::{Judged, Pipeline, Point};
use crate::rules::{RULES_MAX, Rule, RuleError, When};
use crate::security::{self, SecurityEvent};

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

/// A signal with its last point.
pub type SignalSummary = (Arc<str>, Option<Point>);

#[derive(Default)]
struct State {
    pipelines: Vec<Pipeline>,
    /// Events before these numbers have been told in alerts: a replay does not tell them again.
    told: Vec<u64>,
    list: List,
    urgent: HashSet<(String, String)>,
    reasons: HashMap<String, (String, Option<String>)>,
    list_changed: bool,
    serviced: BTreeMap<String, Timestamp>,
    rules: Vec<Rule>,
    alerts: alerts::Book,
    security: security::Book,
    changed_alerts: HashSet<String>,
    changes: Vec<Change>,
    security_changed: bool,
}

/// The application.
pub struct Central {
    state: Mutex<State>,
    live: Channel,
    monitor: Channel,
}

impl Central {
    /// The application as it was stored, with the pipelines of all partitions.
    ///
    /// # Errors
    /// When documents cannot be read.
    pub fn restore(documents: &dyn Documents, pipelines: Vec<Pipeline>) -> Result<Self, StoreError> {
        let mut state = State { pipelines, ..State::default() };
        let rules: Vec<Rule> = read(documents, RULES)?;
        if rules.is_empty() && documents.all("settings")?.iter().all(|(id, _)| id != "rules-made") {
            state.rules = Rule::defaults();
            state.changes.extend(state.rules.iter().map(|rule| (RULES, rule.id.clone(), Some(text(rule)))));
            state.changes.push(("settings", "rules-made".into(), Some("true".into())));
        } else {
            state.rules = rules;
        }
        state.alerts = alerts::Book::restore(read(documents, ALERTS)?);
        let events: Vec<Vec<SecurityEvent>> = read(documents, SECURITY)?;
        state.security = security::Book::restore(events.into_iter().next().unwrap_or_default());
        for (device, at) in documents.all(SERVICED)? {
            state.serviced.extend(Timestamp::parse(at.trim_matches('"')).map(|at| (device, at)));
        }
        for index in 0..state.pipelines.len() {
            let devices: Vec<_> = state.pipelines[index].devices().cloned().collect();
            for device in devices {
                if let Some(assessment) = state.place(index, &device) {
                    state.remember_urgent(&device, &assessment);
                }
            }
        }
        state.told = vec![0; state.pipelines.len()];
        for (partition, next) in documents.all(PROGRESS)? {
            let index = partition.parse::<usize>().ok().filter(|index| *index < state.told.len());
            if let (Some(index), Ok(next)) = (index, next.parse()) {
                state.told[index] = next;
            }
        }
        Ok(Self { state: Mutex::new(state), live: Channel::default(), monitor: Channel::default() })
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
        self.state.lock().pipelines.get(usize::from(partition)).map_or(0, Pipeline::next_sequence_number)
    }

    /// Takes events of one partition, in order.
    pub fn observe(&self, now: Timestamp, partition: u16, events: &[StoredEvent]) {
        let mut state = self.state.lock();
        let index = usize::from(partition);
        for event in events {
            self.monitor.publish(|| monitored(event));
            let Some(pipeline) = state.pipelines.get_mut(index) else { return };
            let judged = pipeline.apply(event);
            let is_told = state.told.get(index).is_some_and(|next| event.sequence_number < *next);
            if is_device_deleted(event) && !is_told {
                state.forget(event.identity.device.as_str());
            }
            for one in &judged {
                self.live.publish(|| point_event(one));
                if one.point.is_anomaly() && !is_told {
                    self.anomaly(&mut state, one, now);
                }
            }
            if let Some(one) = judged.first() {
                let assessment = state.place(index, &one.device);
                match assessment {
                    Some(assessment) if is_told => state.remember_urgent(&one.device, &assessment),
                    Some(assessment) => self.urgency(&mut state, &one.device, &assessment, now),
                    None => {}
                }
            }
        }
    }

    fn anomaly(&self, state: &mut State, judged: &Judged, now: Timestamp) {
        let point = &judged.point;
        let rules: Vec<_> = state.rules.iter().filter(|rule| rule.enabled).cloned().collect();
        for rule in &rules {
            let When::Anomaly { signal, score_min } = &rule.when else { continue };
            let wanted = signal.as_deref().is_none_or(|name| name == &*judged.signal);
            if !wanted || point.score < score_min.unwrap_or(ANOMALY_SCORE) {
                continue;
            }
            let reason = point.reason.as_deref().unwrap_or("unusual value");
            self.raise(
                state,
                &Occurrence {
                    rule_id: &rule.id,
                    subject: &judged.device,
                    device_id: Some(&judged.device),
                    kind: Kind::Anomaly,
                    severity: rule.severity,
                    title: format!("{} of {} is unusual", judged.signal, judged.device),
                    reason: format!("{} at {}: {reason}", judged.signal, minute(point.at)),
                    actions: &rule.actions,
                },
                now,
            );
        }
    }

    /// Raises an alert when a device's urgency rises to a rule's, once until it has fallen again.
    fn urgency(&self, state: &mut State, device: &str, assessment: &Assessment, now: Timestamp) {
        let rules: Vec<_> = state.rules.iter().filter(|rule| rule.enabled).cloned().collect();
        for rule in &rules {
            let When::Urgency { urgency_min } = rule.when else { continue };
            if !state.becomes_urgent(&rule.id, device, assessment.urgency, urgency_min) {
                continue;
            }
            self.raise(
                state,
                &Occurrence {
                    rule_id: &rule.id,
                    subject: device,
                    device_id: Some(device),
                    kind: Kind::Maintenance,
                    severity: rule.severity,
                    title: format!("{device} needs maintenance"),
                    reason: assessment.in_words(None),
                    actions: &rule.actions,
                },
                now,
            );
        }
    }

    fn raise(&self, state: &mut State, occurrence: &Occurrence<'_>, now: Timestamp) {
        let alert = state.alerts.raise(occurrence, now).clone();
        self.changed(state, &alert);
        for id in state.alerts.trim() {
            state.changed_alerts.remove(&id);
            state.changes.push((ALERTS, id, None));
        }
    }

    fn changed(&self, state: &mut State, alert: &Alert) {
        state.changed_alerts.insert(alert.id.clone());
        self.live.publish(|| Live {
            name: "alert",
            device: alert.device_id.as_deref().map(Arc::from),
            data: alert.document().to_string().into(),
        });
    }

    /// The maintenance list, most urgent first.
    pub fn maintenance(&self) -> Vec<MaintenanceItem> {
        self.state.lock().items()
    }

    /// Publishes the maintenance list when it changed since the last call.
    pub fn publish_maintenance(&self) {
        let mut state = self.state.lock();
        if std::mem::take(&mut state.list_changed) {
            let items = state.items();
            self.live.publish(|| Live {
                name: "maintenance",
                device: None,
                data: json!({ "items": items.iter().map(MaintenanceItem::document).collect::<Vec<_>>() })
                    .to_string()
                    .into(),
            });
        }
    }

    /// Notes that a device was serviced; false when it is unknown.
    pub fn serviced(&self, now: Timestamp, device: &str) -> bool {
        let mut state = self.state.lock();
        let Some(index) = state.pipelines.iter_mut().position(|pipeline| pipeline.serviced(device)) else {
            return false;
        };
        state.serviced.insert(device.to_owned(), now);
        state.changes.push((SERVICED, device.to_owned(), Some(format!("\"{now}\""))));
        state.place(index, device);
        true
    }

    /// Forgets a device that is not registered. Deletions are heard of in [`observe`](Self::observe).
    pub fn remove(&self, device: &str) {
        let mut state = self.state.lock();
        state.pipelines.iter_mut().for_each(|pipeline| pipeline.remove(device));
        state.forget(device);
    }

    /// What the fleet page shows of a device.
    pub fn health(&self, device: &str) -> DeviceHealth {
        let state = self.state.lock();
        let open_alerts = state.alerts.open_of(device);
        let found = state.pipelines.iter().find_map(|p| p.assess(device).map(|(signal, a)| (p, signal, a)));
        let Some((pipeline, signal, assessment)) = found else {
            let reason = "no telemetry yet".to_owned();
            return DeviceHealth { health: "unknown", urgency: 0.0, reason, last: None, open_alerts };
        };
        let last = pipeline.signals(device).into_iter().find(|(name, _)| *name == signal);
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
        let state = self.state.lock();
        state.pipelines.iter().flat_map(|pipeline| pipeline.signals(device)).collect()
    }

    /// The last points of a signal, oldest first; `None` when it is unknown.
    pub fn series(&self, device: &str, signal: &str, limit: usize) -> Option<Vec<Point>> {
        self.state.lock().pipelines.iter().find_map(|pipeline| pipeline.series(device, signal, limit))
    }

    /// Alerts, newest first.
    pub fn alerts(&self, state: Option<AlertState>, limit: usize) -> Vec<Alert> {
        let book = self.state.lock();
        let wanted = |alert: &&Alert| state.is_none_or(|state| alert.state == state);
        book.alerts.newest().filter(wanted).take(limit).cloned().collect()
    }

    /// Acknowledges or closes an alert.
    pub fn set_alert_state(&self, now: Timestamp, id: &str, to: AlertState) -> Option<Alert> {
        let mut state = self.state.lock();
        let alert = state.alerts.set_state(id, to, now)?.clone();
        self.changed(&mut state, &alert);
        Some(alert)
    }

    /// Security events, newest first.
    pub fn security(&self) -> Vec<SecurityEvent> {
        self.state.lock().security.newest().cloned().collect()
    }

    /// The rules.
    pub fn rules(&self) -> Vec<Rule> {
        self.state.lock().rules.clone()
    }

    /// Creates or replaces a rule.
    ///
    /// # Errors
    /// Names what is wrong.
    pub fn put_rule(&self, rule: Rule) -> Result<(), RuleError> {
        rule.check()?;
        let mut state = self.state.lock();
        let others = state.rules.iter().filter(|other| other.id != rule.id).count();
        if others >= RULES_MAX {
            return Err(RuleError::Invalid("a platform may have 200 rules"));
        }
        state.rules.retain(|other| other.id != rule.id);
        state.changes.push((RULES, rule.id.clone(), Some(text(&rule))));
        state.rules.push(rule);
        state.rules.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(())
    }

    /// Deletes a rule; says whether it was there.
    pub fn delete_rule(&self, id: &str) -> bool {
        let mut state = self.state.lock();
        let before = state.rules.len();
        state.rules.retain(|rule| rule.id != id);
        let found = state.rules.len() < before;
        if found {
            state.changes.push((RULES, id.to_owned(), None));
        }
        found
    }

    /// Tasks to carry out now; each is handed out once until [`finish`](Self::finish).
    pub fn take_due(&self, now: Timestamp) -> Vec<Due> {
        self.state.lock().alerts.take_due(now)
    }

    /// Takes the outcome of a task.
    pub fn finish(&self, now: Timestamp, due: &Due, outcome: Result<(), DeliveryError>, jitter: f64) {
        let mut state = self.state.lock();
        if let Some(alert) = state.alerts.finish(due, outcome, now, jitter).cloned() {
            self.changed(&mut state, &alert);
        }
    }

    /// Documents that changed since the last call, with how far each partition's events are told in them.
    pub fn take_changes(&self) -> Vec<Change> {
        let mut state = self.state.lock();
        let mut changes = std::mem::take(&mut state.changes);
        let changed = std::mem::take(&mut state.changed_alerts);
        changes.extend(
            state.alerts.newest().filter(|a| changed.contains(&a.id)).map(|a| (ALERTS, a.id.clone(), Some(text(a)))),
        );
        if !changes.is_empty() {
            let progress = state.pipelines.iter().enumerate();
            let progress = progress.map(|(n, p)| (PROGRESS, n.to_string(), Some(p.next_sequence_number().to_string())));
            changes.extend(progress);
        }
        if std::mem::take(&mut state.security_changed) {
            changes.push((SECURITY, "events".into(), Some(text(state.security.events()))));
        }
        changes
    }

    /// Puts changes back that could not be stored, before newer ones.
    pub fn return_changes(&self, mut changes: Vec<Change>) {
        let mut state = self.state.lock();
        changes.append(&mut state.changes);
        state.changes = changes;
    }

    /// The state of one partition's pipeline, to keep beside its cursor.
    pub fn checkpoint(&self, partition: u16) -> Option<Vec<u8>> {
        self.state.lock().pipelines.get(usize::from(partition)).map(Pipeline::to_bytes)
    }
}

impl State {
    /// Forgets what is kept of a device beside its signals.
    fn forget(&mut self, device: &str) {
        self.list_changed |= self.list.remove(device);
        self.reasons.remove(device);
        self.urgent.retain(|(_, urgent)| urgent != device);
        if self.serviced.remove(device).is_some() {
            self.changes.push((SERVICED, device.to_owned(), None));
        }
    }

    /// Whether a device's urgency rises to a rule's now: once, until it has fallen again.
    fn becomes_urgent(&mut self, rule_id: &str, device: &str, urgency: f64, urgency_min: f64) -> bool {
        let key = (rule_id.to_owned(), device.to_owned());
        if urgency < urgency_min - gantry_detection::maintenance::HYSTERESIS {
            self.urgent.remove(&key);
        }
        urgency >= urgency_min && self.urgent.insert(key)
    }

    /// Notes an urgency that was told before, at a restart or in a replay.
    fn remember_urgent(&mut self, device: &str, assessment: &Assessment) {
        let rules: Vec<_> = self.rules.iter().map(|rule| (rule.id.clone(), rule.when.clone())).collect();
        for (id, when) in rules {
            if let When::Urgency { urgency_min } = when {
                self.becomes_urgent(&id, device, assessment.urgency, urgency_min);
            }
        }
    }

    /// Gives a device its place.
    fn place(&mut self, index: usize, device: &str) -> Option<Assessment> {
        let (signal, assessment) = self.pipelines.get(index)?.assess(device)?;
        let reason = assessment.in_words(None);
        let moved = self.list.update(device, assessment);
        let told = (reason, Some(signal.to_string()));
        let reason_changed = self.reasons.get(device) != Some(&told);
        if reason_changed {
            self.reasons.insert(device.to_owned(), told);
        }
        self.list_changed |= moved || reason_changed;
        Some(assessment)
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

impl Audit for Central {
    fn refused(&self, refused: RefusedAccess) {
        self.note_refusal(&refused);
    }
}

impl Central {
    /// Takes refused access; says whether it is a new event, worth a line in the log.
    pub fn note_refusal(&self, refused: &RefusedAccess) -> bool {
        let mut state = self.state.lock();
        let noted = state.security.note(refused);
        state.security_changed = true;
        self.live.publish(|| Live { name: "security", device: None, data: text(&noted.event).into() });
        let rules: Vec<_> = state.rules.iter().filter(|rule| rule.enabled).cloned().collect();
        for rule in &rules {
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
                &mut state,
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
        self.state.lock().pipelines.iter().flat_map(Pipeline::devices).cloned().collect()
    }

    /// Values that were not analysed since the start.
    pub fn not_analysed(&self) -> u64 {
        self.state.lock().pipelines.iter().map(Pipeline::not_analysed).sum()
    }
}

impl Observer for Central {
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

impl MaintenanceItem {
    /// As `docs/platform-api.md` shows it.
    pub fn document(&self) -> Value {
        json!({
            "place": self.place,
            "deviceId": self.device,
            "urgency": round(self.urgency),
            "reason": self.reason,
            "signal": self.signal,
            "lastServiced": self.last_serviced.map(|at| at.to_string()),
        })
    }
}

impl Point {
    /// As `docs/platform-api.md` shows it.
    pub fn document(&self) -> Value {
        json!({
            "time": self.at.to_string(),
            "value": self.value,
            "score": round(self.score),
            "low": self.band.map(|b| b.0),
            "expected": self.band.map(|b| b.1),
            "high": self.band.map(|b| b.2),
            "anomaly": self.is_anomaly(),
            "reason": self.reason.as_deref(),
        })
    }
}

/// An instant for people: date and minute, UTC.
fn minute(at: Timestamp) -> String {
    at.to_string().chars().take(16).map(|c| if c == 'T' { ' ' } else { c }).collect()
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn point_event(judged: &Judged) -> Live {
    let mut data = judged.point.document();
    data["deviceId"] = (*judged.device).into();
    data["signal"] = (*judged.signal).into();
    Live { name: "point", device: Some(Arc::clone(&judged.device)), data: data.to_string().into() }
}

fn monitored(event: &StoredEvent) -> Live {
    let body = serde_json::from_slice::<Value>(&event.body)
        .unwrap_or_else(|_| String::from_utf8_lossy(&event.body).into_owned().into());
    let properties: serde_json::Map<_, _> =
        event.properties.iter().map(|(name, value)| (name.clone(), value.as_deref().into())).collect();
    let data = json!({
        "deviceId": event.identity.device.as_str(),
        "moduleId": event.identity.module.as_ref().map(|m| m.as_str()),
        "partition": event.partition,
        "sequenceNumber": event.sequence_number,
        "enqueuedTime": event.enqueued_at.to_string(),
        "source": event.source.as_str(),
        "messageId": event.system.message_id.as_deref(),
        "contentType": event.system.content_type.as_deref(),
        "properties": properties,
        "body": body,
    });
    let device = Some(Arc::from(event.identity.device.as_str()));
    Live { name: "message", device, data: data.to_string().into() }
}

fn text<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("documents of the application are plain data")
}

fn read<T: serde::de::DeserializeOwned>(
    documents: &dyn Documents,
    collection: &'static str,
) -> Result<Vec<T>, StoreError> {
    let parse = |(id, text): (String, String)| {
        serde_json::from_str(&text).map_err(|e| StoreError::Failed(format!("document {collection}/{id}: {e}")))
    };
    documents.all(collection)?.into_iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::Action;
    use crate::signals::tests::event;
    use gantry_hub::ports::PortFuture;
    use gantry_identity::Refusal;

    #[derive(Default)]
    struct Memory(Mutex<BTreeMap<(&'static str, String), String>>);

    impl Documents for Memory {
        fn all(&self, collection: &'static str) -> Result<Vec<(String, String)>, StoreError> {
            let all = self.0.lock();
            Ok(all.iter().filter(|((c, _), _)| *c == collection).map(|((_, id), t)| (id.clone(), t.clone())).collect())
        }

        fn put(&self, changes: Vec<Change>) -> PortFuture<'_, (), StoreError> {
            self.store(changes);
            Box::pin(std::future::ready(Ok(())))
        }
    }

    impl Memory {
        fn store(&self, changes: Vec<Change>) {
            let mut all = self.0.lock();
            for (collection, id, text) in changes {
                match text {
                    Some(text) => all.insert((collection, id), text),
                    None => all.remove(&(collection, id)),
                };
            }
        }
    }

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn fresh(documents: &Memory) -> Central {
        Central::restore(documents, vec![Pipeline::default()]).unwrap()
    }

    fn feed(central: &Central, device: &str, from: u64, count: u64, value: impl Fn(u64) -> f64) {
        for n in from..from + count {
            let time = 1_700_000_000_000 + n * 300_000;
            let body = format!(r#"{{"temperature": {}, "timestamp": {time}}}"#, value(n));
            central.observe(NOW, 0, &[event(device, n, &body)]);
        }
    }

    /// The hub's own event that a device was deleted.
    fn deletion(device: &str, sequence_number: u64) -> StoredEvent {
        StoredEvent {
            source: gantry_hub::event::MessageSource::Lifecycle,
            properties: vec![("opType".into(), Some("deleteDeviceIdentity".into()))],
            destinations: gantry_hub::routing::Destinations::NONE,
            ..event(device, sequence_number, "{}")
        }
    }

    #[test]
    fn a_device_that_was_deleted_is_forgotten_whoever_deleted_it() {
        let documents = Memory::default();
        let central = fresh(&documents);
        for device in ["gone", "stays"] {
            feed(&central, device, if device == "gone" { 0 } else { 100 }, 100, |n| 80.0 + (n % 9) as f64);
            assert!(central.serviced(NOW, device));
        }
        // A module of it going is none of this, nor is a device that says so itself.
        let mut of_module = deletion("stays/m", 200);
        of_module.properties[0].1 = Some("deleteModuleIdentity".into());
        let mut liar = deletion("stays", 201);
        liar.source = gantry_hub::event::MessageSource::Telemetry;
        central.observe(NOW, 0, &[of_module, liar, deletion("gone", 202)]);
        let listed: Vec<_> = central.maintenance().into_iter().map(|item| item.device).collect();
        assert_eq!(listed, ["stays"]);
        assert_eq!(central.devices().len(), 1);
        documents.store(central.take_changes());
        let serviced: Vec<_> = documents.all(SERVICED).unwrap().into_iter().map(|(device, _)| device).collect();
        assert_eq!(serviced, ["stays"]);
        // Whoever has its name next begins anew.
        feed(&central, "gone", 203, 1, |_| 80.0);
        assert_eq!(central.series("gone", "temperature", 10).unwrap().len(), 1);
    }

    #[test]
    fn a_failing_device_comes_first_with_a_reason_and_opens_one_alert() {
        let central = fresh(&Memory::default());
        feed(&central, "a-good", 0, 800, |n| 80.0 + (n % 9) as f64);
        feed(&central, "b-bad", 800, 800, |n| 80.0 + (n % 9) as f64);
        feed(&central, "b-bad", 1600, 60, |n| 20.0 + (n % 3) as f64);
        let list = central.maintenance();
        assert_eq!(list[0].device, "b-bad");
        assert!(list[0].urgency > list[1].urgency && !list[0].reason.is_empty(), "{list:?}");
        let alerts = central.alerts(Some(AlertState::Open), 10);
        assert!(alerts.iter().any(|a| a.device_id.as_deref() == Some("b-bad") && a.kind == Kind::Anomaly));
        assert_eq!(
            alerts.iter().filter(|a| a.rule_id == "anomaly" && a.device_id.as_deref() == Some("b-bad")).count(),
            1
        );
        assert_ne!(central.health("b-bad").health, "unknown");
        assert_eq!(central.health("nobody").health, "unknown");
    }

    #[test]
    fn repeated_refusals_become_one_alert() {
        let central = fresh(&Memory::default());
        for n in 0..8 {
            central.refused(RefusedAccess {
                at: NOW,
                claimed: "intruder".into(),
                peer: format!("127.0.0.1:{n}"),
                operation: "mqtt connect",
                reason: Refusal::Signature,
            });
        }
        assert_eq!(central.security()[0].count, 8);
        let alerts = central.alerts(None, 10);
        assert_eq!((alerts.len(), alerts[0].kind, alerts[0].count), (1, Kind::Security, 4));
    }

    #[test]
    fn everything_that_must_last_is_a_change_and_is_restored() {
        let documents = Memory::default();
        let central = fresh(&documents);
        let rule = Rule {
            id: "hot".into(),
            actions: vec![Action::Webhook { url: "http://localhost/".into() }],
            ..Rule::defaults().remove(0)
        };
        central.put_rule(rule).unwrap();
        central.delete_rule("anomaly");
        feed(&central, "m", 0, 800, |n| 80.0 + (n % 9) as f64);
        feed(&central, "m", 800, 5, |_| 0.0);
        assert!(central.serviced(NOW, "m"));
        documents.store(central.take_changes());
        assert!(central.take_changes().is_empty());
        let pipeline = Pipeline::from_bytes(&central.checkpoint(0).unwrap()).unwrap();
        let again = Central::restore(&documents, vec![pipeline]).unwrap();
        assert_eq!(again.rules(), central.rules());
        assert_eq!(again.alerts(None, 10), central.alerts(None, 10));
        assert_eq!(again.maintenance().len(), 1);
        assert_eq!(again.maintenance()[0].last_serviced, Some(NOW));
        assert_eq!(again.take_due(NOW).len(), 1);
    }

    #[test]
    fn neither_a_restart_nor_a_replay_tells_anything_twice() {
        let documents = Memory::default();
        let central = fresh(&documents);
        central.put_rule(Rule { when: When::Urgency { urgency_min: 0.2 }, ..Rule::defaults().remove(1) }).unwrap();
        feed(&central, "m", 0, 800, |n| 80.0 + (n % 9) as f64);
        let early = central.checkpoint(0).unwrap();
        feed(&central, "m", 800, 400, |n| if n % 50 < 25 { 0.0 } else { 200.0 });
        let urgent = central.alerts(None, 10).into_iter().find(|a| a.rule_id == "urgent").expect("urgent by now");
        central.set_alert_state(NOW, &urgent.id, AlertState::Closed);
        documents.store(central.take_changes());
        let late = central.checkpoint(0).unwrap();
        for checkpoint in [late, early] {
            let again = Central::restore(&documents, vec![Pipeline::from_bytes(&checkpoint).unwrap()]).unwrap();
            feed(&again, "m", again.next_sequence_number(0), 1200 - again.next_sequence_number(0), |n| {
                if n % 50 < 25 { 0.0 } else { 200.0 }
            });
            assert_eq!(again.alerts(None, 10), central.alerts(None, 10));
        }
    }

    #[test]
    fn points_are_live_for_those_who_listen() {
        let central = fresh(&Memory::default());
        let mut live = central.live().subscribe();
        feed(&central, "m", 0, 1, |_| 20.5);
        let first = live.try_recv().unwrap();
        assert_eq!(first.name, "point");
        assert!(first.data.contains("\"deviceId\":\"m\"") && first.data.contains("20.5"), "{}", first.data);
    }
}
