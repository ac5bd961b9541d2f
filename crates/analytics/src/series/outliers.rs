//! Tukey's fences.

use super::Series;
use super::stats::quantile;

/// Which quantiles carry the fences.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fences {
    /// Lower quantile, from 0 to 1.
    pub low: f64,
    /// Upper quantile, from 0 to 1.
    pub high: f64,
}

impl Fences {
    /// Tukey's own: the quartiles.
    pub const TUKEY: Fences = Fences { low: 0.25, high: 0.75 };
    /// `ctukey`, the reference's default: the outer tenths.
    pub const CUSTOM: Fences = Fences { low: 0.10, high: 0.90 };
}

/// How far each element is beyond the quantiles, in ranges between them: zero inside, positive above, negative below.
/// Beyond ±1.5 is a mild anomaly and beyond ±3 a strong one. A missing element has score zero.
///
/// `ignore` elements are missing too, for the quantiles; the last `test_points` are scored but not learned from.
pub fn outliers(series: Series, fences: Fences, test_points: usize) -> Vec<f64> {
    let learned = series.len().saturating_sub(test_points);
    let mut sorted: Vec<f64> = series[..learned].iter().flatten().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let (Some(low), Some(high)) = (quantile(&sorted, fences.low), quantile(&sorted, fences.high)) else {
        return vec![0.0; series.len()];
    };
    let range = high - low;
    let score = |value: f64| {
        let beyond = if value > high { value - high } else { (value - low).min(0.0) };
        // Where most values are equal the range is nothing, and whatever differs is as far as can be.
        if beyond == 0.0 { 0.0 } else { beyond / range.max(f64::MIN_POSITIVE) }
    };
    series.iter().map(|value| value.map_or(0.0, score)).map(|score| score.clamp(-1e6, 1e6)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spike_is_far_beyond_the_fence_and_the_rest_is_not() {
        let mut y: Vec<_> = (0..40).map(|at| Some(f64::from(at % 5))).collect();
        y[20] = Some(50.0);
        y[21] = Some(-50.0);
        let scores = outliers(&y, Fences::CUSTOM, 0);
        assert!(scores[20] > 3.0 && scores[21] < -3.0);
        assert!(scores.iter().enumerate().all(|(at, score)| at == 20 || at == 21 || score.abs() < 1.5));
        assert_eq!(outliers(&[None, None], Fences::TUKEY, 0), [0.0, 0.0]);
        assert!(outliers(&[Some(1.0), Some(1.0), Some(1.0), Some(2.0)], Fences::CUSTOM, 1)[3] > 3.0);
    }
}
