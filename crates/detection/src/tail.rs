//! How rare a deviation is among those a signal has shown before.
//!
//! A `Tail` is a histogram, on a logarithmic axis, of one kind of deviation of
//! one signal. Old deviations fade with an exponential memory. It answers in
//! decades: 3 means that about one deviation in a thousand was as large. Since
//! each signal is measured against itself, decades compare across signals.
//!
//! Past the largest deviation known the histogram is silent. There the answer
//! grows with the ratio to that largest one, which is forgotten far more slowly
//! than the histogram, and which one value raises only by a little: a single
//! deviation, however large, does not hide the next one.

/// Buckets of the histogram.
pub(crate) const BINS: usize = 64;
/// Each doubling has four buckets of equal width: the exponent and the first two bits of the fraction of a float name
/// the bucket, and no logarithm is needed.
const FRACTION_BITS: u32 = 52;
const BUCKET_BITS: u32 = FRACTION_BITS - 2;
/// Scaled deviation at the histogram's left edge.
const FIRST: f64 = 1.0 / 32.0;
/// Deviations the histogram remembers, in observations.
const MEMORY: f64 = 2000.0;
/// How much more the next deviation weighs.
const WEIGHT_GROWTH: f64 = 1.0 / (1.0 - 1.0 / MEMORY);
/// What remains of the largest deviation after one observation.
const LARGEST_KEPT: f64 = 0.99995;
/// How much one value may raise the largest deviation, once there are `KNOWN`.
const LARGEST_GROWTH: f64 = 1.5;
/// Deviations that a history needs before it finds anything rare.
const KNOWN: f64 = 80.0;
/// Decades for each doubling past the largest deviation.
const DECADES_PER_OCTAVE: f64 = 3.0;
/// Doublings past the largest deviation that still count.
const OCTAVES_MAX: f64 = 6.0;
/// What one deviation in this many exceeds is ordinary: most are, and need not be counted to the end.
const ORDINARY: f64 = 100.0;
/// Weights grow instead of every bucket shrinking; past this they are scaled back.
pub(crate) const WEIGHT_MAX: f64 = 1e9;

/// One deviation, with its place in a histogram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deviation {
    /// In the signal's unit.
    pub(crate) size: f64,
    /// Bucket, and how far into it.
    bin: usize,
    part: f64,
}

impl Deviation {
    /// A deviation where `scale` is usual, and `floor` the smallest that matters.
    pub(crate) fn new(size: f64, scale: f64, floor: f64) -> Self {
        let (bin, part) = place(size / (scale + floor));
        Self { size, bin, part }
    }
}

/// How rare a deviation is. Logarithms cost more than all the rest, and few are looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rarity {
    /// One in so many was as large.
    OneIn(f64),
    /// None was; in decades.
    Decades(f64),
}

impl Rarity {
    /// Of what is not rare at all.
    pub(crate) const ORDINARY: Rarity = Rarity::OneIn(1.0);

    /// In decades.
    pub(crate) fn decades(self) -> f64 {
        match self {
            Self::OneIn(many) if many <= 1.0 => 0.0,
            Self::OneIn(many) => many.log10(),
            Self::Decades(decades) => decades,
        }
    }
}

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

    /// Rarity of a deviation; `floor` is the smallest one that matters. An ordinary one has none.
    #[inline]
    pub(crate) fn rarity(&self, deviation: Deviation, floor: f64) -> Rarity {
        if self.total < KNOWN * self.weight || deviation.size <= floor {
            return Rarity::ORDINARY;
        }
        let largest = self.largest.max(floor);
        if deviation.size > largest {
            let octaves = (deviation.size / largest).log2().min(OCTAVES_MAX);
            return Rarity::Decades((self.count() + 1.0).log10() + DECADES_PER_OCTAVE * octaves);
        }
        let Deviation { bin, part, .. } = deviation;
        let larger = &self.bins[bin + 1..];
        // The nearest larger ones are usually enough to see that it is ordinary.
        let (near, far) = larger.split_first_chunk().map_or((0.0, larger), |(near, far)| (across(near), far));
        if f64::from(near) * ORDINARY > self.total {
            return Rarity::ORDINARY;
        }
        let above = f64::from(near + sum(far) + self.bins[bin] * (1.0 - part as f32)) / self.weight;
        let one_in = (self.count() + 1.0) / (above + 1.0);
        if one_in < ORDINARY { Rarity::ORDINARY } else { Rarity::OneIn(one_in) }
    }

    /// Deviations remembered.
    fn count(&self) -> f64 {
        self.total / self.weight
    }

    /// The deviations, in scales, that each of the shares, which rise, do not exceed.
    pub(crate) fn quantiles<const N: usize>(&self, shares: [f64; N]) -> [f64; N] {
        let mut found = [edge(BINS); N];
        let (mut below, mut next) = (0.0, 0);
        for (bin, &held) in self.bins.iter().enumerate() {
            let held = f64::from(held);
            while let Some(share) = shares.get(next) {
                let wanted = share * self.total;
                if held <= 0.0 || below + held < wanted {
                    break;
                }
                let part = ((wanted - below) / held).clamp(0.0, 1.0);
                found[next] = edge(bin) + (edge(bin + 1) - edge(bin)) * part;
                next += 1;
            }
            if next == N {
                break;
            }
            below += held;
        }
        found
    }

    /// Adds a deviation to the history.
    pub(crate) fn learn(&mut self, deviation: Deviation, floor: f64) {
        let Deviation { bin, size, .. } = deviation;
        // Comparisons, because `max` and `min` of floats ask twice whether they are numbers.
        let known = self.total >= KNOWN * self.weight && self.largest > floor;
        let most = if known { self.largest * LARGEST_GROWTH } else { f64::INFINITY };
        let size = if size > most { most } else { size };
        self.bins[bin] += self.weight as f32;
        self.total += self.weight;
        self.weight *= WEIGHT_GROWTH;
        let kept = self.largest * LARGEST_KEPT;
        self.largest = if size > kept { size } else { kept };
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
    across(&lanes) + rest.iter().sum::<f32>()
}

/// Sum of eight, in three steps instead of seven.
fn across([a, b, c, d, e, f, g, h]: &[f32; 8]) -> f32 {
    ((a + e) + (b + f)) + ((c + g) + (d + h))
}

/// Bucket of a scaled deviation, and how far into the bucket it lies.
fn place(scaled: f64) -> (usize, f64) {
    // Positive floats are ordered as their bits are.
    let scaled = if scaled > FIRST { scaled } else { FIRST };
    let past = scaled.to_bits() - FIRST.to_bits();
    let part = (past & ((1 << BUCKET_BITS) - 1)) as f64 / (1u64 << BUCKET_BITS) as f64;
    let bin = (past >> BUCKET_BITS) as usize;
    if bin < BINS { (bin, part) } else { (BINS - 1, 0.999) }
}

/// Left edge of a bucket.
fn edge(bin: usize) -> f64 {
    f64::from_bits(FIRST.to_bits() + ((bin as u64) << BUCKET_BITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(size: f64) -> Deviation {
        Deviation::new(size, 50.0, 1e-9)
    }

    fn thousand() -> Tail {
        let mut tail = Tail::new();
        for step in 0..1000 {
            tail.learn(of(f64::from(step % 100)), 1e-9);
        }
        tail
    }

    #[test]
    fn common_deviations_have_few_decades_and_rare_ones_many() {
        let tail = thousand();
        assert!(tail.rarity(of(10.0), 1e-9).decades() < 0.2);
        assert!(tail.rarity(of(90.0), 1e-9).decades() < 2.0);
        assert!(tail.rarity(of(200.0), 1e-9).decades() > 5.0);
    }

    #[test]
    fn a_larger_deviation_is_never_less_rare() {
        let tail = thousand();
        let rarities: Vec<f64> = (0..400).map(|step| tail.rarity(of(f64::from(step)), 1e-9).decades()).collect();
        assert!(rarities.windows(2).all(|pair| pair[0] <= pair[1] + 1e-9));
    }

    #[test]
    fn what_one_in_a_hundred_exceeds_is_ordinary_and_the_rest_is_counted_to_the_end() {
        let mut tail = thousand();
        (10..20).for_each(|step| tail.learn(of(f64::from(10 * step)), 1e-9));
        let (mut ordinary, mut counted) = (0, 0);
        for step in 1..1900 {
            let deviation = of(f64::from(step) / 10.0);
            let above: f32 = tail.bins[deviation.bin + 1..].iter().sum();
            let above = above + tail.bins[deviation.bin] * (1.0 - deviation.part as f32);
            let one_in = (tail.count() + 1.0) / (f64::from(above) / tail.weight + 1.0);
            match tail.rarity(deviation, 1e-9) {
                Rarity::OneIn(1.0) => {
                    assert!(one_in < ORDINARY, "{step}: {one_in}");
                    ordinary += 1;
                }
                Rarity::OneIn(many) => {
                    assert!((many / one_in - 1.0).abs() < 1e-3, "{step}: {many}, {one_in}");
                    counted += 1;
                }
                Rarity::Decades(_) => unreachable!("none is larger than the largest"),
            }
        }
        assert!(ordinary > 900 && counted > 500, "{ordinary}, {counted}");
    }

    #[test]
    fn scaling_the_weights_back_changes_no_answer() {
        let mut tail = thousand();
        let before = tail.rarity(of(60.0), 1e-9).decades();
        while tail.weight > 2.0 {
            tail.learn(of(60.0), 1e-9);
        }
        for step in 0..20_000 {
            tail.learn(of(f64::from(step % 100)), 1e-9);
        }
        assert!((tail.rarity(of(60.0), 1e-9).decades() - before).abs() < 0.05);
    }

    #[test]
    fn buckets_join_and_each_holds_what_lies_between_its_edges() {
        for bin in 0..BINS {
            assert_eq!(place(edge(bin)), (bin, 0.0));
            let (at, part) = place(0.75 * edge(bin) + 0.25 * edge(bin + 1));
            assert_eq!(at, bin);
            assert!((part - 0.25).abs() < 1e-9);
        }
        assert_eq!(edge(4), 2.0 * FIRST);
        assert_eq!(place(0.0), (0, 0.0));
        assert_eq!(place(1e300).0, BINS - 1);
    }

    #[test]
    fn one_huge_deviation_does_not_hide_the_next() {
        let mut tail = thousand();
        tail.learn(of(1e6), 1e-9);
        assert!(tail.rarity(of(500.0), 1e-9).decades() > 5.0);
    }

    #[test]
    fn an_empty_history_finds_nothing_rare() {
        assert_eq!(Tail::new().rarity(Deviation::new(1e9, 1.0, 1e-9), 1e-9).decades(), 0.0);
    }

    #[test]
    fn the_quantile_bounds_its_share() {
        let tail = thousand();
        for share in [0.5, 0.85, 0.95] {
            let [scales] = tail.quantiles([share]);
            let value = scales * 50.0;
            assert!((value - 100.0 * share).abs() < 8.0, "{share}: {value}");
        }
    }

    #[test]
    fn shares_together_are_shares_alone() {
        let tail = thousand();
        let [low, high] = tail.quantiles([0.85, 0.95]);
        assert_eq!(([low], [high]), (tail.quantiles([0.85]), tail.quantiles([0.95])));
        assert_eq!(tail.quantiles([0.5, 0.5])[0], tail.quantiles([0.5])[0]);
    }
}
