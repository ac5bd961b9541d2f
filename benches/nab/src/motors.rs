//! The three motors of the demonstration, made from one labelled series.
//!
//! - failing: the machine temperature as it is;
//! - healthy: the same with the labelled windows cut out and joined smoothly;
//! - shifted: the healthy one begun halfway through, cooler by a few degrees and
//!   with a smaller swing, so that it is neither a copy nor a failure.
//!
//! All three end at the same instant, so that they can run side by side.

use crate::corpus::Series;

/// Rows cut on both sides of a labelled window: the machine enters and leaves a failure slowly.
const MARGIN_ROWS: usize = 144;
/// Rows over which a join fades from the level before it to the level after it.
const JOIN_ROWS: usize = 288;
/// Swing and offset of the shifted motor, relative to the healthy one.
const SHIFTED_SWING: f64 = 0.9;
const SHIFTED_OFFSET: f64 = -3.0;

/// One motor's temperature.
#[derive(Clone, Debug, PartialEq)]
pub struct Motor {
    /// File name without `.csv`.
    pub name: &'static str,
    /// Milliseconds since 1970.
    pub times_ms: Vec<i64>,
    /// Temperature, in the unit of the source (which does not name it).
    pub values: Vec<f64>,
}

/// The three motors made from `series`.
pub fn motors(series: &Series) -> [Motor; 3] {
    let (values, joins) = cut(&series.values, &series.windows);
    let healthy = join(values, &joins);
    let shifted = shift(&healthy);
    let times_ms = series.times_ms[series.times_ms.len() - healthy.len()..].to_vec();
    [
        Motor { name: "motor-failing", times_ms: series.times_ms.clone(), values: series.values.clone() },
        Motor { name: "motor-healthy", times_ms: times_ms.clone(), values: healthy },
        Motor { name: "motor-shifted", times_ms, values: shifted },
    ]
}

/// The values outside the windows and their margins, and the rows at which parts meet.
fn cut(values: &[f64], windows: &[(usize, usize)]) -> (Vec<f64>, Vec<usize>) {
    let mut kept = Vec::with_capacity(values.len());
    let mut joins = Vec::new();
    let mut from = 0;
    for &(first, last) in windows {
        let until = first.saturating_sub(MARGIN_ROWS).max(from);
        kept.extend_from_slice(&values[from..until]);
        joins.push(kept.len());
        from = (last + 1 + MARGIN_ROWS).min(values.len());
    }
    kept.extend_from_slice(&values[from..]);
    (kept, joins)
}

/// Removes the step at each join: the values after it start at the level before it and fade to their own.
fn join(mut values: Vec<f64>, joins: &[usize]) -> Vec<f64> {
    const LEVEL_ROWS: usize = 12;
    for &at in joins {
        let before = mean(&values[at.saturating_sub(LEVEL_ROWS)..at]);
        let after = mean(&values[at..(at + LEVEL_ROWS).min(values.len())]);
        let (Some(before), Some(after)) = (before, after) else {
            continue;
        };
        for (row, value) in values[at..].iter_mut().take(JOIN_ROWS).enumerate() {
            *value += (before - after) * (1.0 - row as f64 / JOIN_ROWS as f64);
        }
    }
    values
}

fn shift(healthy: &[f64]) -> Vec<f64> {
    let level = mean(healthy).unwrap_or(0.0);
    let half = healthy.len() / 2;
    let (first, second) = healthy.split_at(half);
    let turned = [second, first].concat();
    let smooth = join(turned, &[healthy.len() - half]);
    smooth.into_iter().map(|value| level + (value - level) * SHIFTED_SWING + SHIFTED_OFFSET).collect()
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_healthy_motor_has_no_row_of_a_window_and_no_step_at_a_join() {
        let mut values = vec![90.0; 3000];
        values[1000..1100].fill(10.0);
        values[1100..].fill(70.0);
        let series = Series {
            name: "test".to_owned(),
            times_ms: (0..3000).map(|row| row * 300_000).collect(),
            values,
            windows: vec![(1000, 1099)],
        };
        let [failing, healthy, shifted] = motors(&series);
        assert_eq!(failing.values, series.values);
        assert_eq!(healthy.values.len(), 3000 - 100 - 2 * MARGIN_ROWS);
        let steps = |values: &[f64]| values.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f64::max);
        assert!(steps(&healthy.values) < 0.1 && steps(&shifted.values) < 0.1);
        assert_eq!(healthy.times_ms.last(), series.times_ms.last());
        assert_eq!(shifted.values.len(), shifted.times_ms.len());
    }
}
