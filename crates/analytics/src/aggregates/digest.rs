//! Percentiles: exactly by nearest rank while there are few values, by a t-digest (Dunning, Ertl, 2019) beyond.
//!
//! Exact values keep their type: whole numbers and ticks come back as they were put in. As bytes (`tdigest()` gives it
//! away as an array) a digest is a list of means and weights.

use gantry_kql::value::{Decimal, Dynamic, Type, Value};

use crate::column::{Cell, ticks_value};

/// Values that are kept exactly.
const EXACT_MAX: usize = 1 << 16;
/// About how many centroids remain of more.
const COMPRESSION: f64 = 500.0;

/// Values of a group, or what is left of them.
#[derive(Debug, Clone, Default)]
pub struct Digest {
    /// Values and weights not yet merged, in any order.
    loose: Vec<(f64, f64)>,
    /// The same values as whole numbers, while all are whole and exact.
    whole: Vec<i64>,
    /// Centroids in order, once values were given up.
    centroids: Vec<(f64, f64)>,
    min: f64,
    max: f64,
}

impl Digest {
    /// Adds a value with a weight.
    pub fn add(&mut self, cell: Cell, weight: f64) {
        let (value, whole) = match cell {
            Cell::DateTime(ticks) | Cell::TimeSpan(ticks) | Cell::Long(ticks) => (ticks as f64, Some(ticks)),
            Cell::Int(value) => (f64::from(value), Some(i64::from(value))),
            cell => match cell.real() {
                Some(value) if !value.is_nan() => (value, None),
                _ => return,
            },
        };
        if weight <= 0.0 {
            return;
        }
        if self.is_empty() {
            (self.min, self.max) = (value, value);
        }
        (self.min, self.max) = (self.min.min(value), self.max.max(value));
        if let Some(whole) = whole.filter(|_| self.whole.len() == self.loose.len() && self.centroids.is_empty()) {
            self.whole.push(whole);
        }
        self.loose.push((value, weight));
        if self.loose.len() >= EXACT_MAX {
            self.compress();
        }
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.loose.is_empty() && self.centroids.is_empty()
    }

    /// Takes in another one.
    pub fn merge(&mut self, other: &Digest) {
        if other.is_empty() {
            return;
        }
        if self.is_empty() {
            *self = other.clone();
            return;
        }
        let exact = |digest: &Digest| digest.centroids.is_empty() && digest.whole.len() == digest.loose.len();
        if exact(self) && exact(other) {
            self.whole.extend(&other.whole);
        } else {
            self.whole.clear();
        }
        self.loose.extend(&other.loose);
        self.loose.extend(&other.centroids);
        (self.min, self.max) = (self.min.min(other.min), self.max.max(other.max));
        if self.loose.len() >= EXACT_MAX || !other.centroids.is_empty() {
            self.compress();
        }
    }

    /// Merges neighbours so that centroids are small at the ends and large in the middle.
    fn compress(&mut self) {
        self.whole.clear();
        let mut all = std::mem::take(&mut self.centroids);
        all.append(&mut self.loose);
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        let total: f64 = all.iter().map(|one| one.1).sum();
        let scale = |q: f64| COMPRESSION / std::f64::consts::TAU * (2.0 * q - 1.0).clamp(-1.0, 1.0).asin();
        let (mut done, mut merged): (f64, Vec<(f64, f64)>) = (0.0, Vec::new());
        let mut limit = scale(0.0) + 1.0;
        for (value, weight) in all {
            let q = (done + merged.last().map_or(0.0, |last| last.1) + weight) / total;
            match merged.last_mut() {
                Some(last) if scale(q) <= limit => {
                    last.1 += weight;
                    last.0 += (value - last.0) * weight / last.1;
                }
                Some(last) => {
                    done += last.1;
                    limit = scale(done / total) + 1.0;
                    merged.push((value, weight));
                }
                None => merged.push((value, weight)),
            }
        }
        self.centroids = merged;
    }

    /// Percentiles of a type, each from 0 to 100; null of nothing.
    pub fn percentiles(&mut self, percents: &[f64], ty: Type) -> Vec<Value> {
        if self.is_empty() {
            return vec![Value::Null; percents.len()];
        }
        if self.centroids.is_empty() && self.whole.len() == self.loose.len() {
            let mut pairs: Vec<(i64, f64)> =
                self.whole.iter().copied().zip(self.loose.iter().map(|one| one.1)).collect();
            pairs.sort_unstable_by_key(|pair| pair.0);
            return percents.iter().map(|percent| whole_value(ty, nearest(&pairs, *percent))).collect();
        }
        if self.centroids.is_empty() {
            self.loose.sort_by(|a, b| a.0.total_cmp(&b.0));
            return percents.iter().map(|percent| real_value(ty, nearest(&self.loose, *percent))).collect();
        }
        self.compress();
        percents.iter().map(|percent| real_value(ty, self.estimate(*percent))).collect()
    }

    fn estimate(&self, percent: f64) -> f64 {
        let total: f64 = self.centroids.iter().map(|one| one.1).sum();
        let wanted = percent / 100.0 * total;
        let mut before = 0.0;
        for (at, (mean, weight)) in self.centroids.iter().enumerate() {
            if before + weight >= wanted {
                let low = if at == 0 { self.min } else { (self.centroids[at - 1].0 + mean) / 2.0 };
                let high = self.centroids.get(at + 1).map_or(self.max, |next| (next.0 + mean) / 2.0);
                return low + (high - low) * ((wanted - before) / weight).clamp(0.0, 1.0);
            }
            before += weight;
        }
        self.max
    }

    /// Share of the weight at or below a value, from 0 to 100.
    pub fn rank(&mut self, value: f64) -> Option<f64> {
        let all: Vec<(f64, f64)> = self.centroids.iter().chain(&self.loose).copied().collect();
        let total: f64 = all.iter().map(|one| one.1).sum();
        (total > 0.0).then(|| all.iter().filter(|one| one.0 <= value).map(|one| one.1).sum::<f64>() / total * 100.0)
    }

    /// About how many values are at or below one.
    pub fn count_below(&self, value: f64) -> f64 {
        self.centroids.iter().chain(&self.loose).filter(|one| one.0 <= value).map(|one| one.1).sum()
    }

    /// The digest as a value that can be stored: least, greatest, then means and weights by turns.
    pub fn into_dynamic(mut self) -> Dynamic {
        if self.loose.len() + self.centroids.len() > 2 * COMPRESSION as usize {
            self.compress();
        }
        let pairs =
            self.centroids.iter().chain(&self.loose).flat_map(|one| [Dynamic::Real(one.0), Dynamic::Real(one.1)]);
        Dynamic::Array([Dynamic::Real(self.min), Dynamic::Real(self.max)].into_iter().chain(pairs).collect())
    }

    /// Reads a digest.
    pub fn from_cell(cell: Cell) -> Option<Digest> {
        let numbers: Vec<f64> = cell.array()?.iter().map(|item| Cell::from(item).number()).collect::<Option<_>>()?;
        let (ends, pairs) = numbers.split_first_chunk::<2>()?;
        let loose = pairs.as_chunks::<2>().0.iter().map(|[mean, weight]| (*mean, *weight)).collect();
        Some(Digest { loose, min: ends[0], max: ends[1], ..Digest::default() })
    }

    /// About how many bytes it holds.
    pub fn size(&self) -> usize {
        16 * (self.loose.capacity() + self.centroids.capacity()) + 8 * self.whole.capacity()
    }
}

/// The smallest value with at least that share of the weight at or below it.
fn nearest<T: Copy>(sorted: &[(T, f64)], percent: f64) -> T {
    let total: f64 = sorted.iter().map(|pair| pair.1).sum();
    let wanted = (percent / 100.0 * total) * (1.0 - 1e-12);
    let mut sum = 0.0;
    for (value, weight) in sorted {
        sum += weight;
        if sum >= wanted {
            return *value;
        }
    }
    sorted[sorted.len() - 1].0
}

fn whole_value(ty: Type, value: i64) -> Value {
    match ty {
        Type::Int => Value::Int(value as i32),
        Type::Real => Value::Real(value as f64),
        ty => ticks_value(ty, value),
    }
}

fn real_value(ty: Type, value: f64) -> Value {
    match ty {
        Type::Real | Type::Dynamic | Type::Unknown => Value::Real(value),
        Type::Decimal => Decimal::parse(&value.to_string()).map_or(Value::Null, Value::Decimal),
        ty => whole_value(ty, value.round() as i64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl IntoIterator<Item = i64>) -> Digest {
        let mut digest = Digest::default();
        values.into_iter().for_each(|value| digest.add(Cell::Long(value), 1.0));
        digest
    }

    #[test]
    fn few_values_give_the_nearest_rank() {
        let mut digest = of([15, 20, 35, 40, 50]);
        let right = [15, 20, 20, 35, 50].map(Value::Long);
        assert_eq!(digest.percentiles(&[5.0, 30.0, 40.0, 50.0, 100.0], Type::Long), right);
        assert_eq!(Digest::default().percentiles(&[50.0], Type::Long), [Value::Null]);
        assert_eq!(of([7]).percentiles(&[0.0], Type::DateTime).len(), 1);
    }

    #[test]
    fn many_values_are_close_and_merging_keeps_them_so() {
        let mut left = of(0..500_000);
        left.merge(&of(500_000..1_000_000));
        for percent in [1.0, 50.0, 95.0, 99.9] {
            let Value::Real(found) = left.percentiles(&[percent], Type::Real)[0] else { panic!("a real") };
            assert!((found / 10_000.0 - percent).abs() < 0.1, "{percent}: {found}");
        }
    }
}
