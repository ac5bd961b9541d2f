//! Counting distinct values: exactly while there are few, by HyperLogLog (Flajolet and others, 2007, with the bias
//! correction of linear counting) beyond.
//!
//! The reference counts exactly up to 1,000 values at accuracy 1 and 8,000 at accuracy 2, and publishes errors of
//! about 1.6, 0.8, 0.4, 0.28 and 0.2 % for accuracies 0 to 4. A sketch with `m` registers errs by `1.04 / √m`; the
//! sizes below keep those bounds. Values come as 64-bit hashes.
//!
//! A state as bytes (`hll()` gives it away): version 1, precision, then either the exact hashes (kind 0, eight bytes
//! each, little-endian) or the registers (kind 1, one byte each).

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

/// Registers are `2^precision`.
const PRECISIONS: [u8; 5] = [12, 14, 16, 17, 18];
/// Values that are counted exactly, by accuracy.
const EXACT: [usize; 5] = [1_000, 1_000, 8_000, 8_000, 8_000];

/// A set that knows about how many distinct values it has seen.
#[derive(Debug, Clone)]
pub struct Distinct {
    accuracy: usize,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    Exact(HashSet<u64, BuildHasherDefault<Already>>),
    Sketch(Vec<u8>),
}

/// Hashes that are hashes already.
#[derive(Debug, Default, Clone)]
pub struct Already(u64);

impl Hasher for Already {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Distinct {
    /// An empty set. Accuracies beyond 4 are taken as 4.
    pub fn new(accuracy: usize) -> Distinct {
        Distinct { accuracy: accuracy.min(4), state: State::Exact(HashSet::default()) }
    }

    /// Adds the hash of a value.
    pub fn add(&mut self, hash: u64) {
        match &mut self.state {
            State::Exact(seen) => {
                seen.insert(hash);
                if seen.len() > EXACT[self.accuracy] {
                    self.give_up_exactness();
                }
            }
            State::Sketch(registers) => note(registers, hash),
        }
    }

    /// Takes in another set of the same accuracy; of two accuracies the coarser one remains.
    pub fn merge(&mut self, other: &Distinct) {
        if other.accuracy < self.accuracy {
            let mine = std::mem::replace(self, other.clone());
            return self.merge(&mine);
        }
        match (&mut self.state, &other.state) {
            (_, State::Exact(seen)) => seen.iter().for_each(|hash| self.add(*hash)),
            (State::Exact(_), State::Sketch(_)) => {
                self.give_up_exactness();
                self.merge(other);
            }
            (State::Sketch(mine), State::Sketch(theirs)) => {
                // A finer sketch folds into a coarser one: the bits between move into the rank.
                let shift = theirs.len().ilog2() - mine.len().ilog2();
                for (at, rank) in theirs.iter().enumerate().filter(|(_, rank)| **rank > 0) {
                    let coarse = at >> shift;
                    let between = (at & ((1 << shift) - 1)) as u64;
                    let rank = if shift == 0 {
                        *rank
                    } else if between == 0 {
                        *rank + shift as u8
                    } else {
                        (between.leading_zeros() - (64 - shift)) as u8 + 1
                    };
                    mine[coarse] = mine[coarse].max(rank);
                }
            }
        }
    }

    /// How many distinct values it has seen, about.
    pub fn count(&self) -> i64 {
        match &self.state {
            State::Exact(seen) => seen.len() as i64,
            State::Sketch(registers) => estimate(registers),
        }
    }

    fn give_up_exactness(&mut self) {
        let mut registers = vec![0; 1 << PRECISIONS[self.accuracy]];
        if let State::Exact(seen) = &self.state {
            seen.iter().for_each(|hash| note(&mut registers, *hash));
        }
        self.state = State::Sketch(registers);
    }

    /// The state as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (kind, body): (u8, Vec<u8>) = match &self.state {
            State::Exact(seen) => {
                let mut hashes: Vec<u64> = seen.iter().copied().collect();
                hashes.sort_unstable();
                (0, hashes.into_iter().flat_map(u64::to_le_bytes).collect())
            }
            State::Sketch(registers) => (1, registers.clone()),
        };
        [vec![1, self.accuracy as u8, kind], body].concat()
    }

    /// Reads a state; nothing when the bytes are none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Distinct> {
        let ([1, accuracy, kind], body) = bytes.split_first_chunk::<3>()? else { return None };
        let accuracy = usize::from(*accuracy);
        let state = match kind {
            0 if body.len() % 8 == 0 && body.len() / 8 <= *EXACT.get(accuracy)? => State::Exact(
                body.chunks_exact(8).map(|hash| u64::from_le_bytes(hash.try_into().expect("eight bytes"))).collect(),
            ),
            1 if body.len() == 1 << PRECISIONS.get(accuracy)? && body.iter().all(|rank| *rank <= 65) => {
                State::Sketch(body.to_vec())
            }
            _ => return None,
        };
        Some(Distinct { accuracy, state })
    }
}

/// Notes a hash: the upper bits choose a register, which keeps the longest run of zeros of the lower bits.
fn note(registers: &mut [u8], hash: u64) {
    let precision = registers.len().ilog2();
    let at = (hash >> (64 - precision)) as usize;
    let rank = ((hash << precision) | (1 << (precision - 1))).leading_zeros() as u8 + 1;
    registers[at] = registers[at].max(rank);
}

fn estimate(registers: &[u8]) -> i64 {
    let m = registers.len() as f64;
    let (mut sum, mut empty) = (0.0, 0_usize);
    for rank in registers {
        sum += f64::from(-i32::from(*rank)).exp2();
        empty += usize::from(*rank == 0);
    }
    let raw = 0.7213 / (1.0 + 1.079 / m) * m * m / sum;
    let count = if raw <= 2.5 * m && empty > 0 { m * (m / empty as f64).ln() } else { raw };
    count.round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SplitMix64, as a good hash of small numbers.
    fn hash(number: u64) -> u64 {
        let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn of(numbers: std::ops::Range<u64>, accuracy: usize) -> Distinct {
        let mut set = Distinct::new(accuracy);
        numbers.for_each(|number| set.add(hash(number)));
        set
    }

    #[test]
    fn few_are_counted_exactly_and_many_within_the_published_error() {
        assert_eq!(of(0..1_000, 1).count(), 1_000);
        assert_eq!(of(0..8_000, 2).count(), 8_000);
        for (accuracy, error) in [(0, 0.016), (1, 0.008), (2, 0.004), (3, 0.0028), (4, 0.002)] {
            for size in [20_000, 300_000] {
                let found = of(0..size, accuracy).count() as f64;
                assert!((found / size as f64 - 1.0).abs() < 3.0 * error, "accuracy {accuracy}: {found} of {size}");
            }
        }
    }

    #[test]
    fn merging_counts_what_both_have_seen_once() {
        for (left, right) in [(1, 1), (1, 2), (2, 1), (4, 0)] {
            let mut both = of(0..60_000, left);
            both.merge(&of(30_000..90_000, right));
            let found = both.count() as f64;
            assert!((found / 90_000.0 - 1.0).abs() < 0.05, "{left} {right}: {found}");
        }
        let mut few = of(0..10, 1);
        few.merge(&of(5..15, 1));
        assert_eq!(few.count(), 15);
    }

    #[test]
    fn a_state_survives_as_bytes_and_others_are_refused() {
        for size in [0, 10, 5_000] {
            let set = of(0..size, 1);
            assert_eq!(Distinct::from_bytes(&set.to_bytes()).unwrap().count(), set.count());
        }
        for wrong in [&[][..], &[1], &[2, 1, 0], &[1, 9, 0], &[1, 1, 0, 1], &[1, 1, 1, 0, 0]] {
            assert!(Distinct::from_bytes(wrong).is_none(), "{wrong:?}");
        }
    }
}
