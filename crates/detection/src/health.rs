//! How urgently a signal's device needs a person, and why.
//!
//! Four causes are followed: anomalies since the last service, how long the
//! signal has been unusual, how far its level has moved away, and how long ago
//! the last service was. Each is a number in [0, 1]; together they give the
//! urgency, as independent reasons to go and look would. Nothing here reads a
//! clock; times come with the observations and from the caller.

use std::fmt;

use crate::detector::{ALERT_SCORE, Observation};
use crate::reason::Reason;

const HOUR_MS: f64 = 3_600_000.0;
const DAY_MS: f64 = 24.0 * HOUR_MS;
/// Age at which a past anomaly counts half: long, since time alone mends no machine.
const ANOMALY_HALF_LIFE_MS: f64 = 60.0 * DAY_MS;
/// Age at which past surprise counts half.
const SUSTAINED_HALF_LIFE_MS: f64 = 12.0 * HOUR_MS;
/// Age at which a past departure of the level counts half.
const DEPARTURE_HALF_LIFE_MS: f64 = 24.0 * HOUR_MS;
/// Surprise below this is everyday.
const SURPRISE_FROM: f64 = 0.4;
/// Departures of the level, in half widths of the band, that begin to count and count in full.
const DEPARTURE_FROM: f64 = 0.4;
const DEPARTURE_FULL: f64 = 1.4;
/// Time from a service until the next is due.
const SERVICE_INTERVAL_MS: f64 = 180.0 * DAY_MS;
/// Score from which the onset of an anomaly weighs in full.
const SEVERE_SCORE: f64 = 0.75;
/// Burden of the onset of a severe anomaly.
const ONSET_BURDEN: f64 = 0.5;
/// Surprise whose hours add up, since a failure lasts and a blip does not. It is reached by what
/// exceeds all the deviations a signal remembers: log10(2,001) decades make a surprise of 0.4875.
const LASTING_SURPRISE: f64 = 0.485;
/// Hours of it that make a burden of 1.
const BURDEN_HOURS: f64 = 36.0;
/// An observation speaks for at most this long before it.
const OBSERVATION_MAX_MS: f64 = HOUR_MS;

/// What each cause alone can make of the urgency.
const ANOMALIES_WEIGHT: f64 = 0.7;
const SUSTAINED_WEIGHT: f64 = 0.5;
const DEPARTURE_WEIGHT: f64 = 0.25;
const SERVICE_WEIGHT: f64 = 0.15;
/// Causes below this are not worth a word.
const CAUSE_MIN: f64 = 0.05;

/// The health of one signal of one device.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    pub(crate) serviced_ms: i64,
    pub(crate) last_ms: i64,
    /// Severities of onsets and hours of lasting surprise since the last service, fading.
    pub(crate) burden: f64,
    /// Recent mean surprise.
    pub(crate) sustained: f64,
    /// Recent mean departure of the level, signed.
    pub(crate) departure: f64,
    /// Episodes with an alert since the last service.
    pub(crate) anomalies: u32,
    /// Begin of the last episode counted, and the burden it has added.
    pub(crate) episode_ms: Option<i64>,
    pub(crate) episode_severity: f64,
    /// Reason of the last alert.
    pub(crate) latest: Option<Reason>,
}

/// How urgent, and the main cause.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Assessment {
    /// In [0, 1].
    pub urgency: f64,
    /// The cause that contributes most.
    pub cause: Cause,
}

/// Why a device has its urgency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cause {
    /// Nothing of note.
    AsExpected,
    /// Anomalies since the last service.
    Anomalies {
        /// How many.
        count: u32,
        /// Reason of the latest.
        latest: Reason,
    },
    /// Unusual for most of the last hours.
    Unusual {
        /// Mean surprise, in [0, 1].
        surprise: f64,
    },
    /// The level has moved.
    LevelMoved {
        /// In half widths of the expected band; negative is down.
        departure: f64,
    },
    /// The last service is long ago.
    ServiceDue {
        /// Days since.
        days: f64,
    },
}

impl Health {
    /// A signal without history, its device last serviced at `serviced_ms` (milliseconds since 1970).
    pub fn new(serviced_ms: i64) -> Self {
        Health {
            serviced_ms,
            last_ms: serviced_ms,
            burden: 0.0,
            sustained: 0.0,
            departure: 0.0,
            anomalies: 0,
            episode_ms: None,
            episode_severity: 0.0,
            latest: None,
        }
    }

    /// Takes in the detector's latest observation.
    pub fn observe(&mut self, observed: &Observation) {
        let elapsed = observed.time_ms.saturating_sub(self.last_ms).max(0) as f64;
        self.last_ms = self.last_ms.max(observed.time_ms);
        self.burden *= kept(elapsed, ANOMALY_HALF_LIFE_MS);
        let blend = |mean: f64, new: f64, half_life: f64| new + (mean - new) * kept(elapsed, half_life);
        let surprise = ((observed.surprise - SURPRISE_FROM) / (1.0 - SURPRISE_FROM)).max(0.0);
        self.sustained = blend(self.sustained, surprise, SUSTAINED_HALF_LIFE_MS);
        if observed.surprise >= LASTING_SURPRISE {
            self.burden += elapsed.min(OBSERVATION_MAX_MS) / (BURDEN_HOURS * HOUR_MS);
        }
        let departure = observed.departure.clamp(-10.0, 10.0);
        self.departure = blend(self.departure, departure, DEPARTURE_HALF_LIFE_MS);
        if let Some(reason) = observed.reason.filter(|_| observed.score >= ALERT_SCORE) {
            self.count_anomaly(observed.score, reason);
        }
    }

    /// Time of the latest observation or service.
    pub fn last_ms(&self) -> i64 {
        self.last_ms
    }

    /// The device was serviced: what was found before no longer counts.
    pub fn serviced(&mut self, now_ms: i64) {
        *self = Health { last_ms: now_ms.max(self.last_ms), ..Health::new(now_ms) };
    }

    /// Urgency and cause at `now_ms`.
    pub fn assess(&self, now_ms: i64) -> Assessment {
        let elapsed = now_ms.saturating_sub(self.last_ms).max(0) as f64;
        let since_service = now_ms.saturating_sub(self.serviced_ms).max(0) as f64;
        let burden = self.burden * kept(elapsed, ANOMALY_HALF_LIFE_MS);
        let moved = (self.departure.abs() - DEPARTURE_FROM) / (DEPARTURE_FULL - DEPARTURE_FROM);

        let mut causes = [
            (SUSTAINED_WEIGHT * self.sustained.min(1.0), Cause::Unusual { surprise: self.sustained }),
            (DEPARTURE_WEIGHT * moved.clamp(0.0, 1.0), Cause::LevelMoved { departure: self.departure }),
            (
                SERVICE_WEIGHT * (since_service / SERVICE_INTERVAL_MS).min(1.0),
                Cause::ServiceDue { days: since_service / DAY_MS },
            ),
            (0.0, Cause::AsExpected),
        ];
        if let Some(latest) = self.latest {
            let weight = ANOMALIES_WEIGHT * (1.0 - (-burden).exp());
            causes[3] = (weight, Cause::Anomalies { count: self.anomalies, latest });
        }
        let calm: f64 = causes.iter().map(|(weight, _)| 1.0 - weight).product();
        let main = causes.iter().max_by(|a, b| a.0.total_cmp(&b.0)).filter(|cause| cause.0 >= CAUSE_MIN);
        Assessment { urgency: 1.0 - calm, cause: main.map_or(Cause::AsExpected, |cause| cause.1) }
    }

    /// One episode counts once, with its worst score.
    fn count_anomaly(&mut self, score: f64, reason: Reason) {
        let severity = ((score - ALERT_SCORE) / (SEVERE_SCORE - ALERT_SCORE)).min(1.0).powi(2) * ONSET_BURDEN;
        if self.episode_ms != Some(reason.since_ms) {
            self.episode_ms = Some(reason.since_ms);
            self.episode_severity = 0.0;
            self.anomalies = self.anomalies.saturating_add(1);
        }
        if self.latest.is_none() || severity > self.episode_severity {
            self.burden += severity - self.episode_severity;
            self.episode_severity = severity;
            self.latest = Some(reason);
        }
    }
}

/// The most urgent of the assessments of a device's signals, with its index.
pub fn most_urgent(signals: impl IntoIterator<Item = Assessment>) -> Option<(usize, Assessment)> {
    let mut most: Option<(usize, Assessment)> = None;
    for (index, one) in signals.into_iter().enumerate() {
        if most.is_none_or(|(_, most)| one.urgency > most.urgency) {
            most = Some((index, one));
        }
    }
    most
}

impl Assessment {
    /// The cause as a sentence fragment, with `unit` after the signal's values.
    pub fn in_words(&self, unit: Option<&str>) -> String {
        match self.cause {
            Cause::AsExpected => "runs as expected".to_owned(),
            Cause::Anomalies { count, latest } => {
                let plural = if count == 1 { "anomaly" } else { "anomalies" };
                format!("{count} {plural} since the last service, the latest: {}", latest.in_words(unit))
            }
            Cause::Unusual { surprise } => {
                format!("unusual for most of the last hours (mean surprise {surprise:.2})")
            }
            Cause::LevelMoved { departure } => {
                let side = if departure < 0.0 { "below" } else { "above" };
                format!("level moved {side} its usual place, by {:.1} half widths of the band", departure.abs())
            }
            Cause::ServiceDue { days } => format!("last service {days:.0} days ago"),
        }
    }
}

impl fmt::Display for Assessment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.in_words(None))
    }
}

/// What is left after `elapsed_ms` of something that halves every `half_life_ms`.
fn kept(elapsed_ms: f64, half_life_ms: f64) -> f64 {
    // Values of one message, and of a burst, have one time.
    if elapsed_ms == 0.0 { 1.0 } else { (-elapsed_ms / half_life_ms).exp2() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Kind;

    const DAY: i64 = DAY_MS as i64;

    fn observation(time_ms: i64, score: f64, since_ms: i64) -> Observation {
        let kind = Kind::Jump { from: 80.0, to: 40.0, usual: 2.0 };
        Observation {
            time_ms,
            value: 40.0,
            score,
            surprise: score,
            band: None,
            departure: 0.0,
            reason: (score > 0.0).then_some(Reason { kind, since_ms, at_ms: time_ms }),
        }
    }

    #[test]
    fn a_quiet_signal_is_not_urgent() {
        let mut health = Health::new(0);
        for hour in 0..48 {
            health.observe(&observation(hour * 3_600_000, 0.0, 0));
        }
        let assessed = health.assess(2 * DAY);
        assert!(assessed.urgency < 0.01, "{assessed:?}");
        assert_eq!(assessed.to_string(), "runs as expected");
    }

    #[test]
    fn an_anomaly_is_urgent_counts_once_an_episode_and_fades() {
        let mut health = Health::new(0);
        health.observe(&observation(DAY, 0.8, DAY));
        health.observe(&observation(DAY + 1, 0.7, DAY));
        let then = health.assess(DAY + 1);
        assert!(then.urgency > 0.3, "{then:?}");
        assert_eq!(
            then.to_string(),
            "1 anomaly since the last service, the latest: jumped from 80 to 40, usual steps are up to 2"
        );
        assert!(health.assess(31 * DAY).urgency < then.urgency);
        health.observe(&observation(DAY + 2, 0.8, DAY + 2));
        assert!(health.assess(DAY + 2).urgency > then.urgency);
        assert!(health.assess(2 * DAY).to_string().starts_with("2 anomalies"));
    }

    #[test]
    fn a_service_resets() {
        let mut health = Health::new(0);
        health.observe(&observation(DAY, 0.9, DAY));
        health.serviced(2 * DAY);
        assert_eq!(health.assess(2 * DAY), Assessment { urgency: 0.0, cause: Cause::AsExpected });
    }

    #[test]
    fn time_since_service_and_a_moved_level_count() {
        let due = Health::new(0).assess(180 * DAY);
        assert!((due.urgency - SERVICE_WEIGHT).abs() < 1e-9);
        assert_eq!(due.to_string(), "last service 180 days ago");

        let mut health = Health::new(0);
        for hour in 0..96 {
            let moved = Observation { departure: -2.0, ..observation(hour * 3_600_000, 0.0, 0) };
            health.observe(&moved);
        }
        let moved = health.assess(4 * DAY);
        assert!(moved.urgency > 0.2, "{moved:?}");
        assert!(moved.to_string().starts_with("level moved below its usual place, by 1.9"));
    }

    #[test]
    fn the_worst_signal_speaks_for_the_device() {
        let of = |urgency| Assessment { urgency, cause: Cause::AsExpected };
        assert_eq!(most_urgent([of(0.1), of(0.7), of(0.7)]), Some((1, of(0.7))));
        assert_eq!(most_urgent([]), None);
    }

    #[test]
    fn time_going_backwards_changes_nothing_by_itself() {
        let mut health = Health::new(0);
        health.observe(&observation(DAY, 0.9, DAY));
        let before = health.assess(DAY).urgency;
        health.observe(&observation(0, 0.0, 0));
        assert!((health.assess(DAY).urgency - before).abs() < 1e-9);
    }
}
