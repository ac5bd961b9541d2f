//! The detectors that are compared: ours and the references.

use std::collections::VecDeque;

use gantry_detection::Detector;

use crate::corpus::Series;

/// A way to give every row of a series a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contestant {
    /// The product's detector, with its one configuration.
    Gantry,
    /// Tail probability of a normal distribution fitted to the last 1,000 values.
    WindowedGaussian,
    /// Never detects; scores 0 by definition.
    Null,
    /// Knows the labels; scores 100 by definition.
    Perfect,
}

impl Contestant {
    /// All of them, in the order they are printed.
    pub const ALL: [Contestant; 4] =
        [Contestant::Gantry, Contestant::WindowedGaussian, Contestant::Null, Contestant::Perfect];

    /// Name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Contestant::Gantry => "gantry",
            Contestant::WindowedGaussian => "windowed gaussian",
            Contestant::Null => "null",
            Contestant::Perfect => "perfect",
        }
    }

    /// One score a row. All but `Perfect` see the values one at a time and never the labels.
    pub fn scores(self, series: &Series) -> Vec<f64> {
        match self {
            Contestant::Gantry => gantry(series),
            Contestant::WindowedGaussian => windowed_gaussian(&series.values),
            Contestant::Null => vec![0.0; series.values.len()],
            Contestant::Perfect => {
                let mut scores = vec![0.0; series.values.len()];
                for &(first, last) in &series.windows {
                    scores[first..=last].fill(1.0);
                }
                scores
            }
        }
    }
}

fn gantry(series: &Series) -> Vec<f64> {
    let mut detector = Detector::new();
    let rows = series.times_ms.iter().zip(&series.values);
    // A refused value (not finite) is no observation; its row gets no score.
    rows.map(|(&time_ms, &value)| detector.observe(time_ms, value).map_or(0.0, |one| one.score)).collect()
}

fn windowed_gaussian(values: &[f64]) -> Vec<f64> {
    const WINDOW: usize = 1000;
    let mut window = VecDeque::with_capacity(WINDOW);
    let mut scores = Vec::with_capacity(values.len());
    for &value in values {
        scores.push(gaussian_score(&window, value));
        if window.len() == WINDOW {
            window.pop_front();
        }
        window.push_back(value);
    }
    scores
}

/// One minus the two-sided tail probability, by Chernoff's bound so that far values stay apart.
fn gaussian_score(window: &VecDeque<f64>, value: f64) -> f64 {
    if window.is_empty() {
        return 0.0;
    }
    let count = window.len() as f64;
    let mean = window.iter().sum::<f64>() / count;
    let variance = window.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / count;
    let squared = (value - mean).powi(2) / variance.max(1e-12);
    // The exponent of the tail, squeezed into [0, 1): the sweep only uses the order.
    squared / (squared + 10.0)
}
