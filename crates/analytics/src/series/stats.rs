//! Numbers that describe a series.

use super::Series;

/// What `series_stats` tells, over the elements that are there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stats {
    /// Smallest element and where it is first.
    pub min: (f64, usize),
    /// Largest element and where it is first.
    pub max: (f64, usize),
    /// Mean.
    pub avg: f64,
    /// Variance of a sample (divided by n − 1; zero for one element).
    pub variance: f64,
    /// Sum.
    pub sum: f64,
    /// How many elements are there.
    pub len: usize,
}

impl Stats {
    /// Standard deviation of a sample.
    pub fn stdev(&self) -> f64 {
        self.variance.sqrt()
    }
}

/// Describes a series; nothing when no element is there.
pub fn stats(series: Series) -> Option<Stats> {
    let there = || series.iter().enumerate().filter_map(|(at, value)| value.map(|value| (value, at)));
    let first = there().next()?;
    let (mut min, mut max, mut sum, mut len) = (first, first, 0.0, 0_usize);
    for (value, at) in there() {
        if value < min.0 {
            min = (value, at);
        }
        if value > max.0 {
            max = (value, at);
        }
        sum += value;
        len += 1;
    }
    let avg = sum / len as f64;
    let squares: f64 = there().map(|(value, _)| (value - avg) * (value - avg)).sum();
    let variance = if len > 1 { squares / (len - 1) as f64 } else { 0.0 };
    Some(Stats { min, max, avg, variance, sum, len })
}

/// Sum of products, over the places where both are there.
pub fn dot(left: Series, right: Series) -> f64 {
    left.iter().zip(right).filter_map(|(left, right)| Some((*left)? * (*right)?)).sum()
}

/// Square root of the sum of squares.
pub fn magnitude(series: Series) -> f64 {
    dot(series, series).sqrt()
}

/// Cosine of the angle between two vectors of one length.
pub fn cosine_similarity(left: Series, right: Series) -> Option<f64> {
    (left.len() == right.len()).then(|| dot(left, right) / (magnitude(left) * magnitude(right)))
}

/// Pearson's correlation of two series of one length.
pub fn pearson(left: Series, right: Series) -> Option<f64> {
    if left.len() != right.len() {
        return None;
    }
    let pairs: Vec<(f64, f64)> = left.iter().zip(right).map(|(l, r)| Some(((*l)?, (*r)?))).collect::<Option<_>>()?;
    let n = pairs.len() as f64;
    let (sum_l, sum_r) = pairs.iter().fold((0.0, 0.0), |(l, r), pair| (l + pair.0, r + pair.1));
    let (mean_l, mean_r) = (sum_l / n, sum_r / n);
    let (mut cross, mut squares_l, mut squares_r) = (0.0, 0.0, 0.0);
    for (l, r) in pairs {
        cross += (l - mean_l) * (r - mean_r);
        squares_l += (l - mean_l) * (l - mean_l);
        squares_r += (r - mean_r) * (r - mean_r);
    }
    Some(cross / (squares_l * squares_r).sqrt())
}

/// Quantile of sorted values, with a line between neighbours. `q` is from 0 to 1.
pub fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = q.clamp(0.0, 1.0) * last as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(last);
    Some(sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_extremes_is_named() {
        let told = stats(&[Some(2.0), None, Some(1.0), Some(1.0), Some(2.0)]).unwrap();
        assert_eq!((told.min, told.max, told.len, told.sum), ((1.0, 2), (2.0, 0), 4, 6.0));
        assert!((told.variance - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(stats(&[None]), None);
        assert_eq!(stats(&[Some(5.0)]).unwrap().variance, 0.0);
    }

    #[test]
    fn correlation_is_one_for_a_multiple_and_nothing_for_other_lengths() {
        let (x, y) = ([1.0, 2.0, 3.0].map(Some), [2.0, 4.0, 6.0].map(Some));
        assert!((pearson(&x, &y).unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(pearson(&x, &y[..2]), None);
        assert!((cosine_similarity(&x, &y).unwrap() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(&[1.0, 2.0, 3.0, 4.0], 0.5), Some(2.5));
        assert_eq!(quantile(&[1.0], 0.9), Some(1.0));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
