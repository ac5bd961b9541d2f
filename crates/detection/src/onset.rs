//! When something unusual begins, and since when it has lasted.
//!
//! A score marks onsets. After a rare value the bar rises to its rarity and sinks back over `REST` values; what stays
//! below the bar is damped under the alert level. An episode begins with a rare value and ends after `CALM_VALUES`
//! ordinary ones.

use crate::detector::{ALERT_DECADES, REASON_DECADES};

/// Values until the bar that a rare value raised is back down.
const REST: f64 = 300.0;
/// A new onset must exceed the bar by this factor.
const ONSET_MARGIN: f64 = 1.2;
/// What is left of the score of a value below the bar.
const DAMPED: f64 = 0.4;
/// Ordinary values that end an episode.
const CALM_VALUES: u32 = 50;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Onset {
    /// The bar a new onset must exceed, in decades, and what it loses with each value.
    pub(crate) bar: f64,
    pub(crate) bar_fall: f64,
    /// Begin of the present episode.
    pub(crate) since_ms: Option<i64>,
    pub(crate) calm: u32,
}

/// What is made of how rare a value is.
pub(crate) struct Judged {
    pub(crate) score: f64,
    /// The same without damping.
    pub(crate) surprise: f64,
    /// Begin of the episode, if the value is worth a reason.
    pub(crate) since_ms: Option<i64>,
}

impl Onset {
    /// Judges a value by its rarity in decades.
    pub(crate) fn judge(&mut self, decades: f64, time_ms: i64) -> Judged {
        let onset = decades > self.bar * ONSET_MARGIN;
        self.bar = (self.bar - self.bar_fall).max(0.0);
        if onset {
            self.bar = decades;
            self.bar_fall = decades / REST;
        }
        let is_rare = decades >= REASON_DECADES;
        if is_rare {
            self.calm = 0;
            self.since_ms.get_or_insert(time_ms);
        } else if self.since_ms.is_some() {
            self.calm = self.calm.saturating_add(1);
            if self.calm >= CALM_VALUES {
                self.since_ms = None;
            }
        }
        let surprise = decades / (decades + ALERT_DECADES);
        let score = if onset { surprise } else { surprise * DAMPED };
        Judged { score, surprise, since_ms: self.since_ms.filter(|_| is_rare) }
    }
}
