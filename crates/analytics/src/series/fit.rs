//! Least squares: one line, two lines with the best split, a polynomial.

use super::Series;
use super::stats::stats;

/// What `series_fit_line` tells. Points are numbered from 1, as at the reference: its `interception` is the value
/// one step before the first point.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Share of the variance that the line explains, from 0 to 1.
    pub rsquare: f64,
    /// Change from point to point.
    pub slope: f64,
    /// Variance of the series (n − 1).
    pub variance: f64,
    /// Variance of what is left (n − 1).
    pub rvariance: f64,
    /// Value at place 0, one before the first point.
    pub interception: f64,
    /// The line itself, one value a point.
    pub fit: Vec<f64>,
}

/// Fits a line through the elements that are there; nothing when there is none.
pub fn fit_line(series: Series) -> Option<Line> {
    let told = stats(series)?;
    let mean_place = series.iter().enumerate().filter(|(_, v)| v.is_some()).map(|(at, _)| at as f64 + 1.0).sum::<f64>()
        / told.len as f64;
    let (mut cross, mut squares) = (0.0, 0.0);
    for (at, value) in series.iter().enumerate() {
        let Some(value) = value else { continue };
        let off = at as f64 + 1.0 - mean_place;
        cross += off * (value - told.avg);
        squares += off * off;
    }
    let slope = if squares > 0.0 { cross / squares } else { 0.0 };
    let interception = told.avg - slope * mean_place;
    let fit: Vec<f64> = (1..=series.len()).map(|place| interception + slope * place as f64).collect();
    let residual: f64 =
        series.iter().zip(&fit).filter_map(|(value, fit)| value.map(|value| (value - fit) * (value - fit))).sum();
    let degrees = (told.len.max(2) - 1) as f64;
    let rvariance = residual / degrees;
    let rsquare = if told.variance > 0.0 { (1.0 - rvariance / told.variance).max(0.0) } else { 0.0 };
    Some(Line { rsquare, slope, variance: told.variance, rvariance, interception, fit })
}

/// What `series_fit_2lines` tells.
#[derive(Debug, Clone, PartialEq)]
pub struct TwoLines {
    /// Share of the variance that both lines explain together.
    pub rsquare: f64,
    /// Where the second line begins.
    pub split: usize,
    /// Variance of the series.
    pub variance: f64,
    /// Variance of what is left.
    pub rvariance: f64,
    /// Both lines, one value a point.
    pub fit: Vec<f64>,
    /// The line after the split.
    pub right: Line,
    /// The line before the split.
    pub left: Line,
}

/// Splits a series in two where two lines leave least; nothing for fewer than two points.
///
/// Sums of both sides are carried along, so that trying every split costs no more than one pass.
pub fn fit_2lines(series: Series) -> Option<TwoLines> {
    let told = stats(series)?;
    let mut whole = Sums::default();
    series.iter().enumerate().for_each(|(at, value)| whole.add(at, *value));
    let mut left = Sums::default();
    let mut best: Option<(f64, usize)> = None;
    for split in 1..series.len() {
        left.add(split - 1, series[split - 1]);
        let right = whole.without(&left);
        if left.n == 0.0 || right.n == 0.0 {
            continue;
        }
        let rest = left.residual() + right.residual();
        if best.is_none_or(|(least, _)| rest < least - 1e-9 * least.abs()) {
            best = Some((rest, split));
        }
    }
    let (_, split) = best?;
    let (left, right) = (fit_line(&series[..split])?, fit_line(&series[split..])?);
    let fit: Vec<f64> = left.fit.iter().chain(&right.fit).copied().collect();
    let residual: f64 =
        series.iter().zip(&fit).filter_map(|(value, fit)| value.map(|value| (value - fit) * (value - fit))).sum();
    let rvariance = residual / (told.len.max(2) - 1) as f64;
    let rsquare = if told.variance > 0.0 { (1.0 - rvariance / told.variance).max(0.0) } else { 0.0 };
    Some(TwoLines { rsquare, split, variance: told.variance, rvariance, fit, right, left })
}

/// Sums from which the residual of a line follows.
#[derive(Debug, Default, Clone, Copy)]
struct Sums {
    n: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
    yy: f64,
}

impl Sums {
    fn add(&mut self, at: usize, value: Option<f64>) {
        let Some(y) = value else { return };
        let x = at as f64;
        self.n += 1.0;
        self.x += x;
        self.y += y;
        self.xx += x * x;
        self.xy += x * y;
        self.yy += y * y;
    }

    fn without(&self, other: &Sums) -> Sums {
        Sums {
            n: self.n - other.n,
            x: self.x - other.x,
            y: self.y - other.y,
            xx: self.xx - other.xx,
            xy: self.xy - other.xy,
            yy: self.yy - other.yy,
        }
    }

    fn residual(&self) -> f64 {
        let squares = self.xx - self.x * self.x / self.n;
        let cross = self.xy - self.x * self.y / self.n;
        let total = self.yy - self.y * self.y / self.n;
        if squares > 0.0 { (total - cross * cross / squares).max(0.0) } else { total.max(0.0) }
    }
}

/// rsquare, coefficients from the lowest power, variance, residual variance, fitted values.
pub type Polynomial = (f64, Vec<f64>, f64, f64, Vec<f64>);

/// Fits a polynomial of a degree; gives rsquare, coefficients from the lowest power, variance, residual variance and
/// the fitted values. Places run from 0, or are those of `x`. Nothing when the system has no single solution.
pub fn fit_polynomial(y: &[f64], x: Option<&[f64]>, degree: usize) -> Option<Polynomial> {
    let places: Vec<f64> = match x {
        Some(x) if x.len() == y.len() => x.to_vec(),
        Some(_) => return None,
        None => (0..y.len()).map(|at| at as f64).collect(),
    };
    let size = degree + 1;
    if y.len() < size {
        return None;
    }
    // Places are centred and scaled while solving: powers of raw places would lose the small coefficients.
    let (low, high) = places.iter().fold((f64::MAX, f64::MIN), |(low, high), &p| (low.min(p), high.max(p)));
    let (middle, half) = ((low + high) / 2.0, ((high - low) / 2.0).max(f64::MIN_POSITIVE));
    let scaled: Vec<f64> = places.iter().map(|place| (place - middle) / half).collect();
    let mut rows = vec![vec![0.0; size + 1]; size];
    for (place, value) in scaled.iter().zip(y) {
        let powers: Vec<f64> = std::iter::successors(Some(1.0), |power| Some(power * place)).take(size).collect();
        for (row, power) in rows.iter_mut().zip(&powers) {
            for (cell, other) in row.iter_mut().zip(&powers) {
                *cell += power * other;
            }
            row[size] += power * value;
        }
    }
    let solved = solve(rows)?;
    let fit: Vec<f64> =
        scaled.iter().map(|place| solved.iter().rev().fold(0.0, |sum, factor| sum * place + factor)).collect();
    let coefficients = expand(&solved, middle, half);
    let series: Vec<Option<f64>> = y.iter().copied().map(Some).collect();
    let told = stats(&series)?;
    let residual: f64 = y.iter().zip(&fit).map(|(value, fit)| (value - fit) * (value - fit)).sum();
    let rvariance = residual / (y.len().max(2) - 1) as f64;
    let rsquare = if told.variance > 0.0 { (1.0 - rvariance / told.variance).max(0.0) } else { 0.0 };
    Some((rsquare, coefficients, told.variance, rvariance, fit))
}

/// Gauss with the largest pivot.
fn solve(mut rows: Vec<Vec<f64>>) -> Option<Vec<f64>> {
    let size = rows.len();
    for at in 0..size {
        let pivot = (at..size).max_by(|a, b| rows[*a][at].abs().total_cmp(&rows[*b][at].abs()))?;
        rows.swap(at, pivot);
        if rows[at][at].abs() < 1e-12 {
            return None;
        }
        let (above, below) = rows.split_at_mut(at + 1);
        let pivot = &above[at];
        for row in below {
            let factor = row[at] / pivot[at];
            row.iter_mut().zip(pivot).skip(at).for_each(|(cell, above)| *cell -= factor * above);
        }
    }
    let mut solved = vec![0.0; size];
    for at in (0..size).rev() {
        let known: f64 = (at + 1..size).map(|column| rows[at][column] * solved[column]).sum();
        solved[at] = (rows[at][size] - known) / rows[at][at];
    }
    Some(solved)
}

/// A polynomial in `(p − middle) / half` as one in `p`.
fn expand(scaled: &[f64], middle: f64, half: f64) -> Vec<f64> {
    let mut out: Vec<f64> = vec![0.0; scaled.len()];
    for factor in scaled.iter().rev() {
        // out = out · (p − middle)/half + factor
        let mut next = vec![0.0; scaled.len()];
        for (power, value) in out.iter().enumerate() {
            next[power] -= value * middle / half;
            if power + 1 < next.len() {
                next[power + 1] += value / half;
            }
        }
        next[0] += factor;
        out = next;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_with_points_numbered_from_one() {
        let line = fit_line(&[3.0, 5.0, 7.0].map(Some)).unwrap();
        assert!((line.slope - 2.0).abs() < 1e-12 && (line.interception - 1.0).abs() < 1e-12);
        assert!((line.rsquare - 1.0).abs() < 1e-12);
        assert_eq!(fit_line(&[]), None);
        assert_eq!(fit_line(&[Some(4.0)]).unwrap().slope, 0.0);
    }

    #[test]
    fn two_lines_meet_where_the_slope_changes() {
        let y: Vec<_> = (0..20).map(|at| Some(if at < 12 { at as f64 } else { 100.0 - at as f64 })).collect();
        let both = fit_2lines(&y).unwrap();
        assert_eq!(both.split, 12);
        assert!((both.left.slope - 1.0).abs() < 1e-9 && (both.right.slope + 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_parabola_gives_its_coefficients() {
        let y: Vec<f64> = (0..50).map(|at| 2.0 - 3.0 * at as f64 + 0.5 * (at * at) as f64).collect();
        let (rsquare, factors, ..) = fit_polynomial(&y, None, 2).unwrap();
        assert!(rsquare > 0.999_999);
        for (found, right) in factors.iter().zip([2.0, -3.0, 0.5]) {
            assert!((found - right).abs() < 1e-6, "{factors:?}");
        }
    }
}
