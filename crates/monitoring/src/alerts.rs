//! Alerts: open, acknowledged, closed.
//!
//! The same condition on the same device raises the count of its unclosed alert; it does
//! not open another, and its actions are not repeated.

use std::collections::{BTreeMap, HashSet};

use gantry_identity::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::actions::{Action, State, Task};
use crate::rules::Severity;
use gantry_hub::delivery::DeliveryError;

/// Alerts kept; the oldest closed ones go first.
pub const ALERTS_MAX: usize = 2_000;

/// What an alert is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// An unusual value.
    Anomaly,
    /// A device that needs a person.
    Maintenance,
    /// Refused access.
    Security,
    /// A row of a streaming job.
    Row,
    /// A signal that reaches a limit.
    Limit,
}

/// Where an alert stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AlertState {
    /// Nobody has seen it.
    Open,
    /// Somebody has.
    Acknowledged,
    /// Done with.
    Closed,
}

/// One alert.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// Rises with time.
    pub id: String,
    /// The rule that opened it.
    pub rule_id: String,
    /// What tells alerts of one rule apart: the device, or who was refused.
    pub subject: String,
    /// The device it is about.
    pub device_id: Option<String>,
    /// What it is about.
    pub kind: Kind,
    /// How bad.
    pub severity: Severity,
    /// Where it stands.
    pub state: AlertState,
    /// In a few words.
    pub title: String,
    /// Why, in a sentence.
    pub reason: String,
    /// When it opened.
    #[serde(with = "crate::iso")]
    pub opened_at: Timestamp,
    /// When it last changed.
    #[serde(with = "crate::iso")]
    pub updated_at: Timestamp,
    /// How often the condition came true.
    pub count: u64,
    /// What was done.
    pub actions: Vec<Task>,
}

/// A condition that came true.
#[derive(Clone, Debug)]
pub struct Occurrence<'a> {
    /// The rule.
    pub rule_id: &'a str,
    /// What tells occurrences of one rule apart: device, or who was refused.
    pub subject: &'a str,
    /// The device, if it is about one.
    pub device_id: Option<&'a str>,
    /// What it is about.
    pub kind: Kind,
    /// How bad.
    pub severity: Severity,
    /// In a few words.
    pub title: String,
    /// Why.
    pub reason: String,
    /// What to do.
    pub actions: &'a [Action],
}

/// A task that is due.
#[derive(Clone, Debug)]
pub struct Due {
    /// The alert.
    pub alert: Alert,
    /// Which of its actions.
    pub index: usize,
}

/// All alerts.
#[derive(Debug, Default)]
pub struct Book {
    alerts: BTreeMap<String, Alert>,
    subjects: BTreeMap<(String, String), String>,
    running: HashSet<(String, usize)>,
    next: u64,
}

impl Book {
    /// From stored alerts.
    pub fn restore(alerts: Vec<Alert>) -> Self {
        let mut book = Self::default();
        for alert in alerts {
            book.next = book.next.max(alert.id.parse::<u64>().unwrap_or(0) + 1);
            if alert.state != AlertState::Closed {
                book.subjects.insert((alert.rule_id.clone(), alert.subject.clone()), alert.id.clone());
            }
            book.alerts.insert(alert.id.clone(), alert);
        }
        book
    }

    /// Opens an alert, or raises the count of the unclosed one.
    pub fn raise(&mut self, occurrence: &Occurrence<'_>, now: Timestamp) -> &Alert {
        let subject = (occurrence.rule_id.to_owned(), occurrence.subject.to_owned());
        let id = match self.subjects.get(&subject) {
            Some(id) => id.clone(),
            None => {
                // Ids are as long as a u64 is, so that they sort by age.
                let id = format!("{:020}", self.next);
                self.next += 1;
                self.subjects.insert(subject, id.clone());
                id
            }
        };
        let alert = self.alerts.entry(id.clone()).or_insert_with(|| Alert {
            id,
            rule_id: occurrence.rule_id.to_owned(),
            subject: occurrence.subject.to_owned(),
            device_id: occurrence.device_id.map(str::to_owned),
            kind: occurrence.kind,
            severity: occurrence.severity,
            state: AlertState::Open,
            title: occurrence.title.clone(),
            reason: occurrence.reason.clone(),
            opened_at: now,
            updated_at: now,
            count: 0,
            actions: occurrence.actions.iter().map(|action| Task::new(action.clone(), now)).collect(),
        });
        alert.count += 1;
        alert.updated_at = now;
        alert.reason.clone_from(&occurrence.reason);
        alert
    }

    /// Moves an alert on; `None` when there is none with this id.
    pub fn set_state(&mut self, id: &str, state: AlertState, now: Timestamp) -> Option<&Alert> {
        let alert = self.alerts.get_mut(id)?;
        if alert.state != AlertState::Closed {
            alert.state = state;
            alert.updated_at = now;
        }
        if alert.state == AlertState::Closed {
            self.subjects.retain(|_, open| open != id);
        }
        self.alerts.get(id)
    }

    /// Tasks that are due and not under way; each is marked as under way.
    pub fn take_due(&mut self, now: Timestamp) -> Vec<Due> {
        let mut due = vec![];
        for alert in self.alerts.values() {
            for (index, task) in alert.actions.iter().enumerate() {
                let key = (alert.id.clone(), index);
                if task.state == State::Pending && task.due_at <= now && !self.running.contains(&key) {
                    self.running.insert(key);
                    due.push(Due { alert: alert.clone(), index });
                }
            }
        }
        due
    }

    /// Takes the outcome of a task.
    pub fn finish(
        &mut self,
        due: &Due,
        outcome: Result<(), DeliveryError>,
        now: Timestamp,
        jitter: f64,
    ) -> Option<&Alert> {
        self.running.remove(&(due.alert.id.clone(), due.index));
        let alert = self.alerts.get_mut(&due.alert.id)?;
        alert.actions.get_mut(due.index)?.finish(outcome, now, jitter);
        alert.updated_at = now;
        Some(alert)
    }

    /// Newest first.
    pub fn newest(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.values().rev()
    }

    /// Unclosed alerts of a device.
    pub fn open_of(&self, device: &str) -> usize {
        self.alerts.values().filter(|a| a.state != AlertState::Closed && a.device_id.as_deref() == Some(device)).count()
    }

    /// Drops the oldest alerts beyond the bound: closed ones first, then those of refused access, then others. An
    /// alert with something left to do stays. Returns their ids.
    pub fn trim(&mut self) -> Vec<String> {
        let rank = |alert: &Alert| match (alert.state, alert.kind) {
            (AlertState::Closed, _) => 0,
            (_, Kind::Security) => 1,
            _ => 2,
        };
        let excess = self.alerts.len().saturating_sub(ALERTS_MAX);
        if excess == 0 {
            return vec![];
        }
        let busy = |alert: &Alert| alert.actions.iter().any(|task| task.state == State::Pending);
        let mut idle: Vec<_> = self.alerts.values().filter(|a| !busy(a)).map(|a| (rank(a), a.id.clone())).collect();
        idle.sort();
        let dropped: Vec<_> = idle.into_iter().take(excess).map(|(_, id)| id).collect();
        for id in &dropped {
            self.alerts.remove(id);
            self.subjects.retain(|_, open| open != id);
        }
        dropped
    }
}

impl Alert {
    /// As `docs/platform-api.md` shows it. What an action does stays with the rule: its URL may hold a key.
    pub fn document(&self) -> Value {
        let actions = self.actions.iter().map(|task| {
            json!({
                "kind": task.action.kind(),
                "state": task.state,
                "attempts": task.attempts,
                "error": task.error,
            })
        });
        json!({
            "id": self.id,
            "ruleId": self.rule_id,
            "deviceId": self.device_id,
            "kind": self.kind,
            "severity": self.severity,
            "state": self.state,
            "title": self.title,
            "reason": self.reason,
            "openedAt": self.opened_at.to_string(),
            "updatedAt": self.updated_at.to_string(),
            "count": self.count,
            "actions": actions.collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1000);

    fn occurrence<'a>(device: &'a str, actions: &'a [Action]) -> Occurrence<'a> {
        Occurrence {
            rule_id: "anomaly",
            subject: device,
            device_id: Some(device),
            kind: Kind::Anomaly,
            severity: Severity::Warning,
            title: "unusual".into(),
            reason: "because".into(),
            actions,
        }
    }

    #[test]
    fn a_repeat_raises_the_count_until_the_alert_is_closed() {
        let mut book = Book::default();
        let first = book.raise(&occurrence("a", &[]), NOW).id.clone();
        assert_eq!(book.raise(&occurrence("a", &[]), NOW).count, 2);
        assert_ne!(book.raise(&occurrence("b", &[]), NOW).id, first);
        assert_eq!(book.set_state(&first, AlertState::Acknowledged, NOW).unwrap().state, AlertState::Acknowledged);
        assert_eq!(book.raise(&occurrence("a", &[]), NOW).count, 3);
        book.set_state(&first, AlertState::Closed, NOW);
        assert_ne!(book.raise(&occurrence("a", &[]), NOW).id, first);
        assert_eq!(book.open_of("a"), 1);
    }

    #[test]
    fn a_closed_alert_does_not_open_again() {
        let mut book = Book::default();
        let id = book.raise(&occurrence("a", &[]), NOW).id.clone();
        book.set_state(&id, AlertState::Closed, NOW);
        assert_eq!(book.set_state(&id, AlertState::Open, NOW).unwrap().state, AlertState::Closed);
        assert!(book.set_state("nothing", AlertState::Closed, NOW).is_none());
    }

    #[test]
    fn a_task_is_handed_out_once_and_again_when_its_retry_is_due() {
        let mut book = Book::default();
        let actions = [Action::Webhook { url: "http://localhost".into() }];
        book.raise(&occurrence("a", &actions), NOW);
        let due = book.take_due(NOW);
        assert_eq!((due.len(), book.take_due(NOW).len()), (1, 0));
        book.finish(&due[0], Err(DeliveryError::Again("no".into())), NOW, 0.0);
        assert!(book.take_due(NOW).is_empty());
        let again = book.take_due(Timestamp::from_millis(3000));
        book.finish(&again[0], Ok(()), NOW, 0.0);
        assert!(book.take_due(Timestamp::from_millis(1_000_000)).is_empty());
    }

    #[test]
    fn alerts_survive_a_restart_with_their_pending_tasks() {
        let mut book = Book::default();
        let actions = [Action::Email { to: "a@b".into() }];
        let alert = book.raise(&occurrence("a", &actions), NOW).clone();
        let text = serde_json::to_string(&alert).unwrap();
        let mut restored = Book::restore(vec![serde_json::from_str(&text).unwrap()]);
        assert_eq!(restored.take_due(NOW).len(), 1);
        assert_eq!(restored.raise(&occurrence("a", &actions), NOW).id, alert.id);
        assert!(restored.raise(&occurrence("b", &[]), NOW).id > alert.id);
    }

    #[test]
    fn an_alert_with_something_left_to_do_outlives_a_flood_of_others() {
        let mut book = Book::default();
        let actions = [Action::Webhook { url: "http://localhost/?key=secret".into() }];
        let kept = book.raise(&occurrence("motor", &actions), NOW).clone();
        for n in 0..ALERTS_MAX + 100 {
            book.raise(&occurrence(&format!("d{n}"), &[]), NOW);
            book.trim();
        }
        assert_eq!(book.newest().count(), ALERTS_MAX);
        assert!(book.newest().any(|alert| alert.id == kept.id));
        assert!(!kept.document().to_string().contains("secret"), "a receiver does not learn of other receivers");
    }

    #[test]
    fn the_oldest_closed_alerts_make_room() {
        let mut book = Book::default();
        for n in 0..ALERTS_MAX + 5 {
            let id = book.raise(&occurrence(&format!("d{n}"), &[]), NOW).id.clone();
            if (10..13).contains(&n) {
                book.set_state(&id, AlertState::Closed, NOW);
            }
        }
        let dropped = book.trim();
        assert_eq!(dropped.len(), 5);
        assert_eq!(dropped[..3], [10, 11, 12].map(|n| format!("{n:020}")));
    }
}
