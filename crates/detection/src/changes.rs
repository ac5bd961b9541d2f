//! Where the level of a finished series changed.
//!
//! The series is cut into pieces of constant level so that the squared errors and a price for each cut are least; the
//! cuts are exact (optimal partitioning, with the pruning of Killick, Fearnhead and Eckley, 2012). What a cut costs comes
//! from the series itself: from the usual step between neighbours, and between the means of longer stretches, which a few
//! changes of level hardly touch. So a signal that wanders is not cut to pieces.

/// The level changed at a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// Index of the first value of the new level.
    pub at: usize,
    /// Mean of the piece before.
    pub from: f64,
    /// Mean of the piece that begins.
    pub to: f64,
}

/// Values that a piece has at least.
const PIECE_MIN: usize = 5;
/// Stretches of the series whose means are compared.
const STRETCHES: usize = 64;
/// Price of a cut, in variances and for each natural logarithm of the length. A second change of level and place costs
/// two; the third is for noise that is not quite independent.
const PRICE: f64 = 3.0;
/// Median size of a normal step, in deviations of the values: 0.6745 times the root of two.
const STEP_OF_DEVIATION: f64 = 0.9539;

/// The changes of level in `values`, in order. Values that are not finite are passed over.
pub fn changes(values: &[f64]) -> Vec<Change> {
    let kept: Vec<(usize, f64)> =
        values.iter().copied().enumerate().filter(|(_, value)| value.is_finite() && value.abs() < 1e100).collect();
    if kept.len() < 2 * PIECE_MIN {
        return Vec::new();
    }
    let sums = Sums::new(kept.iter().map(|(_, value)| *value));
    let values: Vec<f64> = kept.iter().map(|(_, value)| *value).collect();
    let stretch = (values.len() / STRETCHES).max(1);
    let means: Vec<f64> = values.chunks_exact(stretch).map(|part| part.iter().sum::<f64>() / stretch as f64).collect();
    let variance = noise(&values).powi(2).max(noise(&means).powi(2) * stretch as f64).max(sums.smallest);
    let price = PRICE * (kept.len() as f64).ln() * variance;
    let mut begins = cuts(&sums, kept.len(), price);
    begins.insert(0, 0);
    let ends = begins[1..].iter().copied().chain([kept.len()]);
    let pieces: Vec<(usize, f64)> = begins.iter().zip(ends).map(|(&from, to)| (from, sums.mean(from, to))).collect();
    pieces.windows(2).map(|pair| Change { at: kept[pair[1].0].0, from: pair[0].1, to: pair[1].1 }).collect()
}

/// Deviation of the noise, by the median step; by the mean one if most steps are 0.
fn noise(values: &[f64]) -> f64 {
    let mut steps: Vec<f64> = values.windows(2).map(|pair| (pair[1] - pair[0]).abs()).collect();
    let middle = steps.len() / 2;
    let (_, median, _) = steps.select_nth_unstable_by(middle, f64::total_cmp);
    let median = *median;
    if median > 0.0 { median / STEP_OF_DEVIATION } else { steps.iter().sum::<f64>() / steps.len() as f64 }
}

/// First index of every piece but the first.
fn cuts(sums: &Sums, count: usize, price: f64) -> Vec<usize> {
    // best[end]: least cost of the first `end` values; from[end]: where their last piece begins.
    let mut best = vec![f64::INFINITY; count + 1];
    let mut from = vec![0; count + 1];
    best[0] = -price;
    let mut candidates: Vec<usize> = vec![0];
    for end in PIECE_MIN..=count {
        for &begin in &candidates {
            let cost = best[begin] + sums.error(begin, end) + price;
            if cost < best[end] {
                best[end] = cost;
                from[end] = begin;
            }
        }
        // A begin that is worse than the best by the price never becomes the better one.
        let bound = best[end];
        candidates.retain(|&begin| best[begin] + sums.error(begin, end) <= bound);
        let next = end + 1 - PIECE_MIN;
        if best[next].is_finite() && next > 0 {
            candidates.push(next);
        }
    }
    let mut found = Vec::new();
    let mut end = count;
    while from[end] > 0 {
        end = from[end];
        found.push(end);
    }
    found.reverse();
    found
}

/// Running sums, so that the squared error of any piece is at hand; taken around the first value.
struct Sums {
    around: f64,
    sums: Vec<(f64, f64)>,
    /// Squares below this are numerical noise.
    smallest: f64,
}

impl Sums {
    fn new(values: impl Iterator<Item = f64>) -> Self {
        let mut sums = vec![(0.0, 0.0)];
        let (mut around, mut largest) = (None, 0.0_f64);
        for value in values {
            let value = value - *around.get_or_insert(value);
            largest = largest.max(value.abs());
            let (sum, squares) = sums[sums.len() - 1];
            sums.push((sum + value, squares + value * value));
        }
        let around = around.unwrap_or(0.0);
        Sums { around, sums, smallest: (1e-9 * largest.max(around.abs())).powi(2).max(f64::MIN_POSITIVE) }
    }

    fn mean(&self, from: usize, to: usize) -> f64 {
        self.around + (self.sums[to].0 - self.sums[from].0) / (to - from) as f64
    }

    fn error(&self, from: usize, to: usize) -> f64 {
        let sum = self.sums[to].0 - self.sums[from].0;
        (self.sums[to].1 - self.sums[from].1 - sum * sum / (to - from) as f64).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(index: usize) -> f64 {
        let mixed = (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    #[test]
    fn each_change_of_level_is_found_where_it_is() {
        let levels = [10.0, 14.0, 13.0, -5.0];
        let values: Vec<f64> = (0..2000).map(|index| levels[index / 500] + noise(index)).collect();
        let found = changes(&values);
        assert_eq!(found.len(), 3, "{found:?}");
        for (change, (number, pair)) in found.iter().zip(levels.windows(2).enumerate()) {
            assert!(change.at.abs_diff(500 * (number + 1)) <= 3, "{change:?}");
            assert!((change.from - pair[0]).abs() < 0.2 && (change.to - pair[1]).abs() < 0.2, "{change:?}");
        }
    }

    #[test]
    fn noise_and_constants_have_no_change() {
        for count in [0, 1, 9, 10, 300, 5000] {
            let noisy: Vec<f64> = (0..count).map(noise).collect();
            assert_eq!(changes(&noisy), [], "{count}");
            assert_eq!(changes(&vec![7.5; count]), [], "{count}");
        }
    }

    #[test]
    fn a_signal_that_wanders_is_not_cut_to_pieces_and_a_jump_in_it_is_found() {
        let mut level = 0.0;
        let mut values: Vec<f64> = (0..2000)
            .map(|index| {
                level = 0.98 * level + noise(index);
                level
            })
            .collect();
        let wandering = changes(&values).len();
        assert!(wandering <= 12, "{wandering}");
        values[1200..].iter_mut().for_each(|value| *value += 40.0);
        let found = changes(&values);
        assert!(found.iter().any(|change| change.at.abs_diff(1200) <= 3) && found.len() <= 12, "{found:?}");
    }

    #[test]
    fn a_step_between_constants_is_a_change_and_one_odd_value_is_none() {
        let mut values = vec![1.0; 200];
        values[100..].fill(2.0);
        assert_eq!(changes(&values), [Change { at: 100, from: 1.0, to: 2.0 }]);
        let mut spike: Vec<f64> = (0..200).map(noise).collect();
        spike[100] = 4.0;
        assert_eq!(changes(&spike), []);
    }

    #[test]
    fn what_is_not_finite_is_passed_over_and_indices_stay_those_of_the_input() {
        let mut values: Vec<f64> = (0..400).map(|index| noise(index) + if index < 200 { 0.0 } else { 9.0 }).collect();
        for index in [0, 5, 100, 199, 399] {
            values[index] = [f64::NAN, f64::INFINITY, 1e308][index % 3];
        }
        let found = changes(&values);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].at, 200);
        assert_eq!(changes(&[f64::NAN; 50]), []);
    }
}
