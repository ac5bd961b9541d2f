//! Which rules come true for an event, and what their alerts say.

use std::sync::Arc;

use gantry_detection::Direction;
use gantry_detection::health::Assessment;
use gantry_hub::event::StoredEvent;
use gantry_hub::rows::Origin;

use crate::ANOMALY_SCORE;
use crate::alerts::Kind;
use crate::pipeline::{Judged, Limit, Near, Nearing};
use crate::rules::{Rule, When};
use crate::shapes::{minute, number};

/// Bytes of a row that the reason of an alert says.
const ROW_WORDS_MAX: usize = 400;
/// A rule that came true for an event.
pub(super) struct Raised<'a> {
    pub rule: &'a Rule,
    pub kind: Kind,
    /// The device, or what else tells occurrences apart.
    pub subject: Arc<str>,
    pub is_device: bool,
    pub title: String,
    pub reason: String,
}

/// Urgency rules that are on, with their thresholds.
pub(super) fn urgency_rules(rules: &[Rule]) -> impl Iterator<Item = (&Rule, f64)> {
    rules.iter().filter(|rule| rule.enabled).filter_map(|rule| match rule.when {
        When::Urgency { urgency_min } => Some((rule, urgency_min)),
        _ => None,
    })
}

/// Limit rules that are on, with what they watch.
pub(super) fn limit_rules(rules: &[Rule]) -> impl Iterator<Item = (&Rule, Limit<'_>)> {
    rules.iter().filter(|rule| rule.enabled).filter_map(|rule| {
        let (signal, limit, direction) = rule.when.limit()?;
        Some((rule, Limit { signal, limit, direction, within_ms: rule.when.within_ms() }))
    })
}

pub(super) fn at_limit<'a>(rule: &'a Rule, limit: &Limit<'_>, nearing: Nearing) -> Raised<'a> {
    let Nearing { device, near, value, at, remaining } = nearing;
    let Limit { signal, limit, direction, .. } = *limit;
    let side = match direction {
        Direction::Above => "rise",
        Direction::Below => "fall",
    };
    let (title, reason) = match near {
        Near::Reached => (
            format!("{signal} of {device} reached {}", number(limit)),
            format!("{signal} at {}: {}, the limit is {}", minute(at), number(value), number(limit)),
        ),
        Near::Expected => (
            format!("{signal} of {device} will reach {}", number(limit)),
            format!(
                "{signal} at {}: {}, expected to {side} to {} {}",
                minute(at),
                number(value),
                number(limit),
                remaining.map_or_else(|| "soon".to_owned(), |remaining| remaining.to_string())
            ),
        ),
    };
    Raised { rule, kind: Kind::Limit, subject: device, is_device: true, title, reason }
}

/// The anomaly rules that a point meets.
pub(super) fn anomalies<'a>(rules: &'a [Rule], judged: Judged<'_>, raised: &mut Vec<Raised<'a>>) {
    let Judged { device, signal, point } = judged;
    for rule in rules.iter().filter(|rule| rule.enabled) {
        let When::Anomaly { signal: of, score_min } = &rule.when else { continue };
        if of.as_deref().is_some_and(|name| name != &**signal) || point.score < score_min.unwrap_or(ANOMALY_SCORE) {
            continue;
        }
        let reason = point.words().unwrap_or_else(|| "unusual value".to_owned());
        raised.push(Raised {
            rule,
            kind: Kind::Anomaly,
            subject: Arc::clone(device),
            is_device: true,
            title: format!("{signal} of {device} is unusual"),
            reason: format!("{signal} at {}: {reason}", minute(point.at)),
        });
    }
}

pub(super) fn urgent<'a>(rule: &'a Rule, device: &Arc<str>, assessment: &Assessment) -> Raised<'a> {
    Raised {
        rule,
        kind: Kind::Maintenance,
        subject: Arc::clone(device),
        is_device: true,
        title: format!("{device} needs maintenance"),
        reason: assessment.in_words(None),
    }
}

/// The rules that a row of a streaming job meets.
pub(super) fn rows<'a>(rules: &'a [Rule], origin: Origin<'_>, event: &StoredEvent, raised: &mut Vec<Raised<'a>>) {
    for rule in rules.iter().filter(|rule| rule.enabled) {
        let When::Row { output, job } = &rule.when else { continue };
        if output != origin.output || job.as_deref().is_some_and(|job| job != origin.job) {
            continue;
        }
        let subject = origin.device.unwrap_or(origin.output);
        raised.push(Raised {
            rule,
            kind: Kind::Row,
            subject: subject.into(),
            is_device: origin.device.is_some(),
            title: match origin.device {
                Some(device) => format!("{output} of {device}"),
                None => output.clone(),
            },
            reason: format!("{output} at {}: {}", minute(event.enqueued_at), in_words(&event.body)),
        });
    }
}

/// The columns of a row, as many as a sentence holds.
fn in_words(row: &[u8]) -> String {
    let columns: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(row).unwrap_or_default();
    let mut words = String::new();
    for (name, value) in &columns {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let next = format!("{}{name} {value}", if words.is_empty() { "" } else { ", " });
        if words.len() + next.len() > ROW_WORDS_MAX {
            words.push_str(", …");
            break;
        }
        words.push_str(&next);
    }
    words
}
