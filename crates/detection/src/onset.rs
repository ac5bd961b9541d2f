//! When something unusual begins, and since when it has lasted.
//!
//! An episode begins with a rare value and ends after `CALM_VALUES` ordinary ones. A score marks onsets: a value that
//! is rare beyond doubt, or the second rare one of an episode, since one value in a thousand is rare without a cause.
//! With an alert the bar rises to its rarity; it stays while what was found lasts, and sinks back over `REST` values.
//! What is no onset, or stays below the bar, is damped under the alert level.

use crate::detector::{ALERT_DECADES, REASON_DECADES};

/// Rarity, in decades, that needs no second value: one in six thousand.
const SURE_DECADES: f64 = 3.8;
/// Ordinary values until the bar that an alert raised is back down.
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
    /// Whether the last alert is not long ago.
    pub(crate) fn alerted(&self) -> bool {
        self.bar > 0.0
    }

    /// Judges a value by its rarity in decades.
    pub(crate) fn judge(&mut self, decades: f64, time_ms: i64) -> Judged {
        let is_rare = decades >= REASON_DECADES;
        let confirmed = decades >= SURE_DECADES || self.since_ms.is_some();
        let onset = confirmed && decades > self.bar * ONSET_MARGIN;
        if onset && decades >= ALERT_DECADES {
            self.bar = decades;
            self.bar_fall = decades / REST;
        } else if !is_rare {
            self.bar = (self.bar - self.bar_fall).max(0.0);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::ALERT_SCORE;

    /// Which of values of these rarities alert.
    #[track_caller]
    fn check(decades: &[f64], alerts: &[usize]) {
        let mut onset = Onset::default();
        let scores = decades.iter().enumerate().map(|(at, one)| onset.judge(*one, at as i64).score);
        let found: Vec<usize> =
            scores.enumerate().filter(|(_, score)| *score >= ALERT_SCORE).map(|(at, _)| at).collect();
        assert_eq!(found, alerts);
    }

    fn calm(values: u32) -> Vec<f64> {
        vec![0.5; values as usize]
    }

    #[test]
    fn a_small_effect_waits_for_its_second_value_and_a_large_one_does_not() {
        check(&[0.5, SURE_DECADES, 0.5], &[1]);
        check(&[0.5, SURE_DECADES - 0.01, 0.5], &[]);
        check(&[0.5, 3.6, 3.6], &[2]);
        check(&[REASON_DECADES, ALERT_DECADES], &[1]);
        check(&[REASON_DECADES - 0.01, ALERT_DECADES], &[]);
        check(&[3.0, 3.0, 3.0, ALERT_DECADES - 0.01], &[]);
    }

    #[test]
    fn the_second_value_comes_before_the_episode_ends() {
        check(&[&[3.6][..], &calm(CALM_VALUES - 1), &[3.6]].concat(), &[CALM_VALUES as usize]);
        check(&[&[3.6][..], &calm(CALM_VALUES), &[3.6]].concat(), &[]);
    }

    #[test]
    fn what_lasts_alerts_once_and_what_grows_again() {
        check(&[4.0; 2000], &[0]);
        check(&[4.0, 4.0 * ONSET_MARGIN, 4.0 * ONSET_MARGIN + 0.01, 4.9], &[0, 2]);
        let rest = REST as u32;
        check(&[&[4.0][..], &calm(rest + 1), &[4.0]].concat(), &[0, rest as usize + 2]);
        check(&[&[4.0][..], &calm(rest / 10), &[4.0]].concat(), &[0]);
    }

    #[test]
    fn what_is_no_alert_raises_no_bar() {
        check(&[3.4, 3.4, 3.4, 3.5], &[3]);
        let mut onset = Onset::default();
        assert!([3.4, 3.4].iter().all(|one| onset.judge(*one, 0).surprise < ALERT_SCORE) && !onset.alerted());
        assert!(onset.judge(3.5, 0).score >= ALERT_SCORE && onset.alerted());
    }
}
