//! Digital filters.

use super::Series;

/// Finite impulse response: `y[i] = Σ f[j]·x[i−j]`, with `x` zero before its beginning.
///
/// `normalize` divides by the sum of the filter. `center` shifts the window by half of the filter's length, so that
/// a symmetric filter looks as far ahead as back. A missing element under a coefficient makes the sum missing.
pub fn fir(series: Series, filter: &[f64], normalize: bool, center: bool) -> Vec<Option<f64>> {
    let sum: f64 = filter.iter().sum();
    let scale = if normalize && sum != 0.0 { sum.recip() } else { 1.0 };
    let shift = if center { filter.len() / 2 } else { 0 };
    (0..series.len())
        .map(|at| {
            filter.iter().enumerate().try_fold(0.0, |total, (back, factor)| {
                match (at + shift).checked_sub(back).filter(|&place| place < series.len()) {
                    Some(place) => series[place].map(|value| total + factor * value),
                    None => Some(total),
                }
            })
        })
        .map(|total| total.map(|total| total * scale))
        .collect()
}

/// Infinite impulse response: `a[0]·y[i] = Σ b[j]·x[i−j] − Σ a[j]·y[i−j]`, with both zero before the beginning.
///
/// Nothing can be said when `a` is empty or `a[0]` is zero.
pub fn iir(series: Series, b: &[f64], a: &[f64]) -> Vec<Option<f64>> {
    let Some(&first) = a.first().filter(|first| **first != 0.0) else {
        return vec![None; series.len()];
    };
    let mut out: Vec<Option<f64>> = Vec::with_capacity(series.len());
    for at in 0..series.len() {
        let fed = b
            .iter()
            .enumerate()
            .take(at + 1)
            .try_fold(0.0, |sum, (back, factor)| series[at - back].map(|value| sum + factor * value));
        let fed = fed.and_then(|fed| {
            a.iter()
                .enumerate()
                .skip(1)
                .take(at)
                .try_fold(fed, |sum, (back, factor)| out[at - back].map(|value| sum - factor * value))
        });
        out.push(fed.map(|fed| fed / first));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: &[f64]) -> Vec<Option<f64>> {
        values.iter().copied().map(Some).collect()
    }

    #[test]
    fn a_moving_average_and_a_difference() {
        let x = series(&[0.0, 0.0, 3.0, 6.0]);
        assert_eq!(fir(&x, &[1.0, 1.0, 1.0], true, false), series(&[0.0, 0.0, 1.0, 3.0]));
        assert_eq!(fir(&x, &[1.0, 1.0, 1.0], true, true), series(&[0.0, 1.0, 3.0, 3.0]));
        assert_eq!(fir(&x, &[1.0, -1.0], false, false), series(&[0.0, 0.0, 3.0, 3.0]));
    }

    #[test]
    fn a_running_sum() {
        assert_eq!(iir(&series(&[1.0, 2.0, 3.0]), &[1.0], &[1.0, -1.0]), series(&[1.0, 3.0, 6.0]));
        assert_eq!(iir(&series(&[1.0]), &[1.0], &[]), [None]);
        assert_eq!(iir(&series(&[1.0]), &[1.0], &[0.0, 1.0]), [None]);
    }
}
