//! Anomalies of one series: spikes and dips by the tail of its own density, change points by a martingale.
//!
//! A spike is judged by how likely a value at least as far out is, under a density estimated from the recent
//! history: a Gaussian kernel on every value, wider where values are sparse, so that a long tail that was
//! seen before does not alarm for ever. The score is that probability.
//!
//! A change point is judged by betting against exchangeability: every value is ranked among those before it
//! (its probability, as above, from both sides), and a bet that pays when probabilities are small is
//! multiplied up. A single outlier pays little, because one payment is bounded; a level that stays away pays
//! again and again. The score is the logarithm of what was won; it grows with the deviation.

use std::collections::VecDeque;

use crate::codec::{Read, Reader, Writer};
use crate::error::CheckpointError;
use crate::plan::Spikes;
use crate::time::Ticks;
use crate::value::Value;

/// Fewest values that say something about others.
const LEARNT: usize = 12;
/// A probability below this is paid as if it were this, so that one value alone is no change.
const PAID: f64 = 0.01;

/// Recent values of a series: in order of time, and sorted.
#[derive(Debug, Default)]
pub(crate) struct History {
    recent: VecDeque<(Ticks, f64)>,
    sorted: Vec<f64>,
}

fn result(anomaly: bool, score: f64) -> Value {
    Value::record(vec![("IsAnomaly".into(), Value::Bigint(anomaly.into())), ("Score".into(), Value::Float(score))])
}

impl History {
    pub(crate) fn memory(&self) -> usize {
        self.recent.len() * 24
    }

    /// Forgets values that are not after an instant.
    pub(crate) fn forget(&mut self, since: Ticks) {
        while self.recent.front().is_some_and(|(at, _)| *at <= since) {
            self.drop_oldest();
        }
    }

    pub(crate) fn learn(&mut self, at: Ticks, value: f64, size: usize) {
        if !value.is_finite() {
            return;
        }
        while self.recent.len() >= size {
            self.drop_oldest();
        }
        self.recent.push_back((at, value));
        let place = self.sorted.partition_point(|other| *other < value);
        self.sorted.insert(place, value);
    }

    fn drop_oldest(&mut self) {
        if let Some((_, value)) = self.recent.pop_front() {
            let place = self.sorted.partition_point(|other| *other < value);
            if place < self.sorted.len() {
                self.sorted.remove(place);
            }
        }
    }

    /// Whether there is enough to judge by.
    fn has_learnt(&self, size: usize) -> bool {
        self.recent.len() >= size.min(LEARNT.max(size / 2))
    }

    pub(crate) fn judge(&self, value: f64, confidence: f64, size: usize, mode: Spikes) -> Value {
        if !self.has_learnt(size) || !value.is_finite() {
            return result(false, 1.0);
        }
        let (below, above) = self.tails(value);
        let score = match mode {
            Spikes::Up => above,
            Spikes::Down => below,
            Spikes::Both => (2.0 * below.min(above)).min(1.0),
        };
        result(score < 1.0 - confidence / 100.0, score)
    }

    /// The probabilities of values at most, and at least, this.
    fn tails(&self, value: f64) -> (f64, f64) {
        let sorted = &self.sorted;
        let count = sorted.len();
        if count == 0 {
            return (1.0, 1.0);
        }
        let mean = sorted.iter().sum::<f64>() / count as f64;
        let variance = sorted.iter().map(|other| (other - mean).powi(2)).sum::<f64>() / count as f64;
        let range = sorted[(count * 3 / 4).min(count - 1)] - sorted[count / 4];
        let spread = match (variance.sqrt(), range / 1.349) {
            (deviation, robust) if robust > 0.0 => deviation.min(robust),
            (deviation, _) => deviation,
        };
        // A series that never moved is not certain to the last digit.
        let least = 1e-9 * (1.0 + mean.abs());
        let width = (0.9 * spread * (count as f64).powf(-0.2)).max(least);
        let near = (count as f64).sqrt() as usize / 2 + 1;
        let gap = |place: usize| {
            let high = sorted[(place + near).min(count - 1)];
            let low = sorted[place.saturating_sub(near)];
            (high - low).max(least)
        };
        let usual = ((0..count).map(|place| gap(place).ln()).sum::<f64>() / count as f64).exp();
        let (mut below, mut above) = (0.0, 0.0);
        for (place, other) in sorted.iter().enumerate() {
            let local = width * (gap(place) / usual).sqrt().clamp(0.5, 3.0);
            let distance = (value - other) / local;
            below += 0.5 * libm::erfc(-distance * std::f64::consts::FRAC_1_SQRT_2);
            above += 0.5 * libm::erfc(distance * std::f64::consts::FRAC_1_SQRT_2);
        }
        (below / count as f64, above / count as f64)
    }

    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.list(self.recent.iter(), |writer, (at, value)| {
            writer.signed(*at);
            writer.float(*value);
        });
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Read<History> {
        let recent = reader.list(|reader| Ok((reader.ticks()?, reader.float()?)))?;
        let mut sorted: Vec<f64> = recent.iter().map(|(_, value)| *value).collect();
        if sorted.iter().any(|value| !value.is_finite()) {
            return Err(CheckpointError::Damaged);
        }
        sorted.sort_by(f64::total_cmp);
        Ok(History { recent: recent.into(), sorted })
    }
}

/// What was won by betting that a series has changed.
#[derive(Debug, Default)]
pub(crate) struct Change {
    history: History,
    /// Logarithm of the capital.
    won: f64,
}

impl Change {
    pub(crate) fn memory(&self) -> usize {
        self.history.memory() + 8
    }

    /// Judges a value at an instant, with a history of what came after `since`.
    pub(crate) fn judge(&mut self, (at, since): (Ticks, Ticks), value: f64, confidence: f64, size: usize) -> Value {
        self.history.forget(since);
        if !value.is_finite() {
            return result(false, self.won);
        }
        if !self.history.has_learnt(size) {
            self.history.learn(at, value, size);
            return result(false, 0.0);
        }
        let (below, above) = self.history.tails(value);
        let probability = (2.0 * below.min(above)).clamp(PAID, 1.0 - 1e-4);
        // The average of all bets e * p^(e - 1), e from 0 to 1.
        let log = probability.ln();
        let paid = (1.0 - probability + probability * log) / (probability * log * log);
        // The capital starts again with every value: a change may begin at any of them.
        self.won = (self.won.exp() + 1.0).ln() + paid.ln();
        // False alarms are this far apart at least, in values.
        let level = (size as f64 / (1.0 - confidence / 100.0).max(1e-6)).ln();
        let score = self.won;
        let changed = score > level;
        if changed {
            *self = Change::default();
        }
        self.history.learn(at, value, size);
        result(changed, score)
    }

    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.float(self.won);
        self.history.write(writer);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Read<Change> {
        Ok(Change { won: reader.float()?, history: History::read(reader)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise that is the same every time, from -1 to 1.
    fn noise(index: u64) -> f64 {
        let mut state = index.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678;
        let mut sum = 0.0;
        for _ in 0..6 {
            state ^= state >> 30;
            state = state.wrapping_mul(0xbf58_476d_1ce4_e5b9);
            state ^= state >> 27;
            sum += (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5;
        }
        sum / 1.5
    }

    fn flagged(value: &Value) -> bool {
        *value.member("IsAnomaly") == Value::Bigint(1)
    }

    #[track_caller]
    fn spikes(mode: Spikes, series: impl Fn(u64) -> f64) -> Vec<u64> {
        let mut history = History::default();
        let mut found = Vec::new();
        for index in 0..400u64 {
            let value = series(index);
            if flagged(&history.judge(value, 99.9, 120, mode)) {
                found.push(index);
            }
            history.learn(index as Ticks, value, 120);
        }
        found
    }

    #[test]
    fn a_spike_is_found_and_noise_is_not() {
        let spike = |index| if index == 300 { 20.0 } else { noise(index) };
        assert_eq!(spikes(Spikes::Up, spike), [300]);
        assert_eq!(spikes(Spikes::Both, spike), [300]);
        assert_eq!(spikes(Spikes::Down, spike), [0; 0]);
        assert_eq!(spikes(Spikes::Down, |index| -spike(index)), [300]);
        assert_eq!(spikes(Spikes::Both, |_| 5.0), [0; 0]);
    }

    #[test]
    fn a_shift_of_level_is_found_once() {
        let mut change = Change::default();
        let mut found = Vec::new();
        for index in 0..600u64 {
            let mut value = noise(index) + if index >= 300 { 6.0 } else { 0.0 };
            if index == 150 {
                value = 20.0;
            }
            if flagged(&change.judge((index as Ticks, -1), value, 95.0, 120)) {
                found.push(index);
            }
        }
        assert_eq!(found.len(), 1, "{found:?}");
        assert!((300..320).contains(&found[0]), "{found:?}");
    }
}
