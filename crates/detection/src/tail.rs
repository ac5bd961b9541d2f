//! How rare a deviation is among those a signal has shown before.
//!
//! A `Tail` is a histogram, on a logarithmic axis, of one kind of deviation of
//! one signal. Old deviations fade with an exponential memory. It answers in
//! decades: 3 means that about one deviation in a thousand was as large. Since
//! each signal is measured against itself, decades compare across signals.
//!
//! Past the largest deviation known the histogram is silent. There the answer
//! grows with the ratio to that largest one, which is forgotten far more slowly
//! than the histogram.

/// Buckets of the histogram.
pub(crate) const BINS: usize = 64;
/// Width of a bucket: this many to a doubling.
const BINS_PER_OCTAVE: f64 = 3.0;
/// log2 of the scaled deviation at the histogram's left edge.
const FIRST_OCTAVE: f64 = -5.0;
/// Deviations the histogram remembers, in observations.
const MEMORY: f64 = 2000.0;
/// What remains of the largest deviation after one observation.
const LARGEST_KEPT: f64 = 0.99995;
/// Decades for each doubling past the largest deviation.
const DECADES_PER_OCTAVE: f64 = 3.0;
/// Doublings past the largest deviation that still count.
const OCTAVES_MAX: f64 = 6.0;
/// Weights grow instead of every bucket shrinking; past this they are scaled back.
pub(crate) const WEIGHT_MAX: f64 = 1e9;

/// The deviations of one kind that a signal has shown.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tail {
    /// Weighted counts; the newest deviation weighs `weight`.
    pub(crate) bins: [f32; BINS],
    /// Sum of `bins`.
    pub(crate) total: f64,
    /// Weight of the next deviation.
    pub(crate) weight: f64,
    /// Largest deviation, in the signal's unit, slowly forgotten.
    pub(crate) largest: f64,
}

impl Tail {
    pub(crate) fn new() -> Self {
        Tail { bins: [0.0; BINS], total: 0.0, weight: 1.0, largest: 0.0 }
    }

    /// Rarity of `deviation` in decades; `scale` is the usual deviation, `floor` the smallest that matters.
    pub(crate) fn rarity(&self, deviation: f64, scale: f64, floor: f64) -> f64 {
        let count = self.total / self.weight;
        if count < 1.0 || deviation <= floor {
            return 0.0;
        }
        let (bin, part) = place(deviation / (scale + floor));
        let above = sum(&self.bins[bin + 1..]) + self.bins[bin] * (1.0 - part as f32);
        let above = f64::from(above) / self.weight;
        let largest = self.largest.max(floor);
        if deviation > largest {
            let octaves = (deviation / largest).log2().min(OCTAVES_MAX);
            (count + 1.0).log10() + DECADES_PER_OCTAVE * octaves
        } else {
            ((count + 1.0) / (above + 1.0)).log10()
        }
    }

    /// The deviation, in units of the scale, that `share` of the deviations do not exceed.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let wanted = share * self.total;
        let mut below = 0.0;
        let mut at = BINS as f64;
        for (bin, &held) in self.bins.iter().enumerate() {
            let held = f64::from(held);
            if held > 0.0 && below + held >= wanted {
                at = bin as f64 + ((wanted - below) / held).clamp(0.0, 1.0);
                break;
            }
            below += held;
        }
        (at / BINS_PER_OCTAVE + FIRST_OCTAVE).exp2()
    }

    /// Adds `deviation` to the history.
    pub(crate) fn learn(&mut self, deviation: f64, scale: f64, floor: f64) {
        let (bin, _) = place(deviation / (scale + floor));
        self.bins[bin] += self.weight as f32;
        self.total += self.weight;
        self.weight /= 1.0 - 1.0 / MEMORY;
        self.largest = deviation.max(self.largest * LARGEST_KEPT);
        if self.weight > WEIGHT_MAX {
            for bin in &mut self.bins {
                *bin /= self.weight as f32;
            }
            self.total /= self.weight;
            self.weight = 1.0;
        }
    }
}

/// Sum in eight lanes, which the compiler can add side by side; one chain costs four times as much.
fn sum(bins: &[f32]) -> f32 {
    let (chunks, rest) = bins.as_chunks::<8>();
    let mut lanes = [0.0; 8];
    for chunk in chunks {
        for (lane, bin) in lanes.iter_mut().zip(chunk) {
            *lane += bin;
        }
    }
    lanes.iter().chain(rest).sum()
}

/// Bucket of a scaled deviation, and how far into the bucket it lies.
fn place(scaled: f64) -> (usize, f64) {
    let at = (scaled.max(f64::MIN_POSITIVE).log2() - FIRST_OCTAVE) * BINS_PER_OCTAVE;
    let at = at.clamp(0.0, BINS as f64 - 1.001);
    (at as usize, at.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thousand() -> Tail {
        let mut tail = Tail::new();
        for step in 0..1000 {
            tail.learn(f64::from(step % 100), 50.0, 1e-9);
        }
        tail
    }

    #[test]
    fn common_deviations_have_few_decades_and_rare_ones_many() {
        let tail = thousand();
        assert!(tail.rarity(10.0, 50.0, 1e-9) < 0.2);
        assert!(tail.rarity(90.0, 50.0, 1e-9) < 2.0);
        assert!(tail.rarity(200.0, 50.0, 1e-9) > 5.0);
    }

    #[test]
    fn a_larger_deviation_is_never_less_rare() {
        let tail = thousand();
        let rarities: Vec<f64> = (0..400).map(|step| tail.rarity(f64::from(step), 50.0, 1e-9)).collect();
        assert!(rarities.windows(2).all(|pair| pair[0] <= pair[1] + 1e-9));
    }

    #[test]
    fn scaling_the_weights_back_changes_no_answer() {
        let mut tail = thousand();
        let before = tail.rarity(60.0, 50.0, 1e-9);
        while tail.weight > 2.0 {
            tail.learn(60.0, 50.0, 1e-9);
        }
        for step in 0..20_000 {
            tail.learn(f64::from(step % 100), 50.0, 1e-9);
        }
        assert!((tail.rarity(60.0, 50.0, 1e-9) - before).abs() < 0.05);
    }

    #[test]
    fn an_empty_history_finds_nothing_rare() {
        assert_eq!(Tail::new().rarity(1e9, 1.0, 1e-9), 0.0);
    }

    #[test]
    fn the_quantile_bounds_its_share() {
        let tail = thousand();
        for share in [0.5, 0.85, 0.95] {
            let value = tail.quantile(share) * 50.0;
            assert!((value - 100.0 * share).abs() < 8.0, "{share}: {value}");
        }
    }
}
