//! The signals of one machine together: values that are usual each for itself and unusual beside each other.
//!
//! Means and covariances of the signals are learned as values come, so that for each signal the others say what it
//! should be. How far the signal that fits least is from that is ranked against the machine's own past, as the detector
//! of one signal ranks its deviations, and so speaks the same language: a score, an alert from `ALERT_SCORE`. A signal
//! of which the others say little is passed over: it has a detector of its own.
//!
//! Values need not come together. A round ends when every signal has a new value; when some stay away for long, with
//! their last ones.

use crate::detector::{FLOOR_MIN, FLOOR_SHARE, Observation, SAYS_MORE, VALUE_MAGNITUDE_MAX, WARM_UP};
use crate::onset::Onset;
use crate::reason::{Kind, Reason};
use crate::tail::{Deviation, Tail};

/// Signals that are looked at together: the first ones of a machine.
pub const SIGNALS_MAX: usize = 12;
/// Memory of means and covariances, in rounds.
const MEMORY: f64 = 2000.0;
/// Rounds after which it is worked out anew what the signals say of each other.
const REFRESH: u64 = 16;
/// Each signal keeps this share of its variance to itself, so that signals that move exactly together can be told apart.
const OWN_SHARE: f64 = 1e-3;
/// A value moves means and covariances like one so many deviations away at most: one wild value must not undo them.
const DEVIATIONS_MAX: f64 = 6.0;
/// Farther away than so many deviations a value is not looked at, so that all numbers stay finite.
const FAR: f64 = 1e6;
/// Messages for each signal after which a round ends without those that stay away.
const PATIENCE: u32 = 10;

/// The signals of one machine: 0.4 KiB for two, 1.8 KiB for twelve.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    pub(crate) count: u64,
    /// The last value of each signal; which have ever come, and which in this round.
    pub(crate) values: Vec<f64>,
    pub(crate) known: u16,
    pub(crate) come: u16,
    /// Messages in this round.
    pub(crate) messages: u32,
    pub(crate) means: Vec<f64>,
    /// Covariances, the lower triangle row by row.
    pub(crate) covariances: Vec<f64>,
    /// Inverse of the correlations, as of the last refresh, laid out alike.
    pub(crate) inverse: Vec<f64>,
    pub(crate) tail: Tail,
    pub(crate) onset: Onset,
}

/// The signal that fits the others least.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Odd {
    /// Which.
    pub signal: usize,
    /// The one of the others that says most about it.
    pub beside: usize,
    /// In [0, 1]; from `ALERT_SCORE` on it begins not to fit.
    pub score: f64,
    /// As the score, but it stays high while it does not fit.
    pub surprise: f64,
    /// Why it is odd, if it is.
    pub reason: Option<Reason>,
}

impl Odd {
    /// Whether the machine says more of the signal's value than the signal does alone.
    pub fn outdoes(&self, alone: &Observation) -> bool {
        self.reason.is_some() && self.surprise > alone.surprise
    }

    /// What is known of the value then.
    pub fn over(&self, alone: Observation) -> Observation {
        Observation {
            score: self.score.max(alone.score),
            surprise: self.surprise.max(alone.surprise),
            reason: self.reason.or(alone.reason),
            ..alone
        }
    }
}

/// A machine has from two to [`SIGNALS_MAX`] signals.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("a machine of {signals} signals: from 2 to {SIGNALS_MAX} can be looked at together")]
pub struct SignalsError {
    /// How many were asked for.
    pub signals: usize,
}

impl Machine {
    /// A machine whose signals nobody has seen.
    ///
    /// # Errors
    /// When there are too few signals or too many.
    pub fn new(signals: usize) -> Result<Self, SignalsError> {
        if !(2..=SIGNALS_MAX).contains(&signals) {
            return Err(SignalsError { signals });
        }
        let pairs = signals * (signals + 1) / 2;
        Ok(Machine {
            count: 0,
            values: vec![0.0; signals],
            known: 0,
            come: 0,
            messages: 0,
            means: vec![0.0; signals],
            covariances: vec![0.0; pairs],
            inverse: vec![0.0; pairs],
            tail: Tail::new(),
            onset: Onset::default(),
        })
    }

    /// How many signals it has.
    pub fn signals(&self) -> usize {
        self.values.len()
    }

    /// Takes the value of a signal; one that there is not, and a value no sensor means, is passed over.
    pub fn note(&mut self, signal: usize, value: f64) {
        if let Some(last) = self.values.get_mut(signal)
            && value.abs() <= VALUE_MAGNITUDE_MAX
        {
            *last = value;
            self.known |= 1 << signal;
            self.come |= 1 << signal;
        }
    }

    /// A message has been noted. When it ends a round, judges the values by those before, learns them, and says which
    /// fits least.
    pub fn judge(&mut self, time_ms: i64) -> Option<Odd> {
        let signals = self.signals();
        let all = ((1_u32 << signals) - 1) as u16;
        self.messages = self.messages.saturating_add(1);
        let is_over = self.come == all || self.messages >= PATIENCE * signals as u32;
        if !is_over || self.known != all {
            return None;
        }
        (self.come, self.messages) = (0, 0);
        let judged = if self.count >= WARM_UP { self.compare(time_ms) } else { None };
        self.learn();
        judged
    }

    fn compare(&mut self, time_ms: i64) -> Option<Odd> {
        let signals = self.signals();
        let mut off = [0.0; SIGNALS_MAX];
        for (index, off) in off.iter_mut().enumerate().take(signals) {
            let away = (self.values[index] - self.means[index]) / self.scale(index);
            *off = away.clamp(-FAR, FAR);
        }
        // With P the inverse, a signal is off from what the others say by (P x)_i / P_ii, usually by the root of
        // 1 / P_ii, which is 1 when they say nothing.
        let mut oddest: Option<(usize, f64, f64)> = None;
        for index in 0..signals {
            let own = self.inverse[place(index, index)];
            if own * SAYS_MORE * SAYS_MORE < 1.0 {
                continue;
            }
            let pulled: f64 = (0..signals).map(|other| self.inverse[place(index, other)] * off[other]).sum();
            let odd = pulled.abs() / own.sqrt();
            if oddest.is_none_or(|(_, _, most)| odd > most) {
                oddest = Some((index, pulled / own, odd));
            }
        }
        let (signal, away, odd) = oddest?;
        let deviation = Deviation::new(odd, 1.0, FLOOR_MIN);
        let decades = self.tail.rarity(deviation, FLOOR_MIN).decades().max(0.0);
        self.tail.learn(deviation, FLOOR_MIN);
        let judged = self.onset.judge(decades, time_ms);
        let says = |other: &usize| self.inverse[place(signal, *other)].abs();
        let beside = (0..signals).filter(|other| *other != signal).max_by(|a, b| says(a).total_cmp(&says(b)))?;
        let value = self.values[signal];
        let expected = value - away * self.scale(signal);
        let kind = Kind::Apart { value, expected: expected.clamp(-VALUE_MAGNITUDE_MAX, VALUE_MAGNITUDE_MAX) };
        let reason = judged.since_ms.map(|since_ms| Reason { kind, since_ms, at_ms: time_ms });
        Some(Odd { signal, beside, score: judged.score, surprise: judged.surprise, reason })
    }

    fn scale(&self, signal: usize) -> f64 {
        let floor = FLOOR_SHARE * self.means[signal].abs() + FLOOR_MIN;
        self.covariances[place(signal, signal)].sqrt().max(floor)
    }

    fn learn(&mut self) {
        self.count = self.count.saturating_add(1);
        let share = (1.0 / self.count as f64).max(1.0 / MEMORY);
        let mut off = [0.0; SIGNALS_MAX];
        for (index, off) in off.iter_mut().enumerate().take(self.signals()) {
            *off = self.values[index] - self.means[index];
            if self.count > WARM_UP {
                let most = DEVIATIONS_MAX * self.scale(index);
                *off = off.clamp(-most, most);
            }
        }
        for row in 0..self.signals() {
            for column in 0..=row {
                let covariance = &mut self.covariances[place(row, column)];
                *covariance = (1.0 - share) * (*covariance + share * off[row] * off[column]);
            }
        }
        for (mean, off) in self.means.iter_mut().zip(off) {
            *mean += share * off;
        }
        if self.count >= WARM_UP && self.count.is_multiple_of(REFRESH) || self.count == WARM_UP {
            self.refresh();
        }
    }

    /// Inverts the correlations, by Gauss and Jordan; what each signal keeps to itself makes the pivots positive.
    fn refresh(&mut self) {
        let signals = self.signals();
        let mut left = [[0.0; SIGNALS_MAX]; SIGNALS_MAX];
        let mut right = [[0.0; SIGNALS_MAX]; SIGNALS_MAX];
        for (row, (left, right)) in left.iter_mut().zip(&mut right).enumerate().take(signals) {
            for (column, correlation) in left.iter_mut().enumerate().take(signals) {
                let shared = self.covariances[place(row, column)] / self.scale(row) / self.scale(column);
                *correlation = if row == column { 1.0 } else { shared.clamp(-1.0, 1.0) * (1.0 - OWN_SHARE) };
            }
            right[row] = 1.0;
        }
        for pivot in 0..signals {
            let by = left[pivot][pivot].max(OWN_SHARE / 10.0);
            for matrix in [&mut left, &mut right] {
                matrix[pivot].iter_mut().for_each(|one| *one /= by);
            }
            for row in (0..signals).filter(|row| *row != pivot) {
                let times = left[row][pivot];
                for column in 0..signals {
                    left[row][column] -= times * left[pivot][column];
                    right[row][column] -= times * right[pivot][column];
                }
            }
        }
        for (row, right) in right.iter().enumerate().take(signals) {
            for (column, shared) in right.iter().enumerate().take(row + 1) {
                self.inverse[place(row, column)] = *shared;
            }
        }
    }
}

/// Where what two signals share is kept.
fn place(one: usize, other: usize) -> usize {
    let (row, column) = (one.max(other), one.min(other));
    row * (row + 1) / 2 + column
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ALERT_SCORE, Detector};

    fn noise(index: u64) -> f64 {
        let mixed = (index + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 29)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    /// Load, and a current and a temperature that follow it.
    fn values(index: u64) -> [f64; 3] {
        let load = 50.0 + 30.0 * (index as f64 / 40.0).sin() + 2.0 * noise(index);
        [load, 0.2 * load + 0.1 * noise(index + 1_000_000), 40.0 + 0.5 * load + noise(index + 2_000_000)]
    }

    fn observe(machine: &mut Machine, index: u64, values: &[f64]) -> Option<Odd> {
        values.iter().enumerate().for_each(|(signal, value)| machine.note(signal, *value));
        machine.judge(index as i64 * 60_000)
    }

    fn fed(count: u64) -> (Machine, usize) {
        let mut machine = Machine::new(3).unwrap();
        let judged = (0..count).filter_map(|index| observe(&mut machine, index, &values(index)));
        let alerts = judged.filter(|odd| odd.score >= ALERT_SCORE).count();
        (machine, alerts)
    }

    #[test]
    fn a_signal_that_leaves_the_others_is_named_though_its_value_is_usual() {
        let (machine, alerts) = fed(8000);
        assert!(alerts <= 8, "{alerts}");
        for (wrong, to) in [(0, 75.0), (1, 5.0), (2, 52.0), (2, 78.0)] {
            let mut now = values(8000);
            let others_say = now[wrong];
            if (others_say - to).abs() < 4.0 {
                continue;
            }
            now[wrong] = to;
            let odd = observe(&mut machine.clone(), 8000, &now).unwrap();
            assert!(odd.score >= ALERT_SCORE && odd.signal == wrong && odd.beside != wrong, "{odd:?}");
            let Some(Reason { kind: Kind::Apart { value, expected }, .. }) = odd.reason else { panic!("{odd:?}") };
            assert!(value == to && (expected - others_say).abs() < 4.0, "{odd:?}, {others_say}");
        }
    }

    #[test]
    fn two_that_move_against_each_other_are_found_though_each_alone_is_as_ever() {
        let mut machine = Machine::new(2).unwrap();
        let mut alone = [Detector::new(), Detector::new()];
        let mut found = None;
        for index in 0..6000_u64 {
            let load = 50.0 + 10.0 * (index as f64 / 9.0).sin() + 10.0 * (index as f64 / 31.0).cos();
            // From here on the second rises when the first falls.
            let side = if index < 5000 { 1.0 } else { -1.0 };
            let now = [load + noise(index), 100.0 + side * (load - 50.0) + noise(index + 1_000_000)];
            for (detector, value) in alone.iter_mut().zip(now) {
                let observed = detector.observe(index as i64 * 60_000, value).unwrap();
                // Noise is found now and then, but not when the fault begins.
                assert!(!(5000..5100).contains(&index) || observed.score < ALERT_SCORE, "{index}: {observed:?}");
            }
            if observe(&mut machine, index, &now).is_some_and(|odd| odd.score >= ALERT_SCORE) && index >= 5000 {
                found.get_or_insert(index);
            }
        }
        assert!(found.is_some_and(|index| index < 5020), "{found:?}");
    }

    #[test]
    fn one_fault_is_one_alert_and_a_wild_value_does_not_undo_what_is_known() {
        let (mut machine, _) = fed(5000);
        let mut alerts = 0;
        for index in 5000..5200 {
            let mut now = values(index);
            now[2] += 30.0;
            alerts += usize::from(observe(&mut machine, index, &now).unwrap().score >= ALERT_SCORE);
        }
        assert!((1..=4).contains(&alerts), "{alerts}");
        let (mut machine, _) = fed(5000);
        observe(&mut machine, 5000, &[1e100, -1e100, 1e100]);
        let mut now = values(5001);
        now[2] += 30.0;
        assert!(observe(&mut machine, 5001, &now).unwrap().surprise >= ALERT_SCORE);
    }

    #[test]
    fn signals_that_say_nothing_of_each_other_are_left_to_their_detectors() {
        let mut machine = Machine::new(3).unwrap();
        for index in 0..4000 {
            let now = [noise(index), 5.0, noise(index + 1_000_000)];
            assert_eq!(observe(&mut machine, index, &now), None);
        }
        assert_eq!(observe(&mut machine, 4000, &[400.0, 6.0, -400.0]), None);
    }

    #[test]
    fn signals_of_different_messages_and_rates_come_together() {
        let mut machine = Machine::new(3).unwrap();
        let mut rounds = 0;
        let mut judge = |machine: &mut Machine, index: u64, signals: &[usize]| {
            signals.iter().for_each(|&signal| machine.note(signal, values(index)[signal]));
            rounds += usize::from(machine.judge(index as i64).is_some());
            rounds
        };
        for index in 0..WARM_UP {
            for signal in 0..3 {
                judge(&mut machine, index, &[signal]);
            }
        }
        assert_eq!(machine.count, WARM_UP);
        // One of them comes every third time.
        let mut after = 0;
        for index in 0..90 {
            after = judge(&mut machine, index, if index % 3 == 0 { &[0, 1, 2] } else { &[0, 1] });
        }
        assert_eq!(after, 30);
        // And then no more: its last value stands.
        for index in 0..300 {
            after = judge(&mut machine, index, &[0, 1]);
        }
        assert_eq!(after, 40);
        // A signal that never came keeps the others from being judged.
        let mut machine = Machine::new(3).unwrap();
        assert!((0..500).all(|index| {
            machine.note(0, 1.0);
            machine.note(1, 2.0);
            machine.judge(index).is_none()
        }));
    }

    #[test]
    fn equal_constant_and_huge_signals_do_no_harm() {
        let mut machine = Machine::new(4).unwrap();
        for index in 0..1000 {
            let value = 1e100 * noise(index);
            if let Some(odd) = observe(&mut machine, index, &[value, value, 5.0, -value]) {
                assert!((0.0..=1.0).contains(&odd.score) && odd.signal != 2, "{odd:?}");
            }
        }
        let apart = observe(&mut machine, 1000, &[9e99, -9e99, 5.0, -9e99]).unwrap();
        assert!(apart.score >= ALERT_SCORE, "{apart:?}");
        machine.note(7, 1.0);
        machine.note(0, f64::NAN);
        machine.note(0, f64::INFINITY);
        assert_eq!((machine.come, machine.values[0]), (0, 9e99));
        assert_eq!(Machine::new(1), Err(SignalsError { signals: 1 }));
        assert_eq!(Machine::new(13), Err(SignalsError { signals: 13 }));
    }
}
