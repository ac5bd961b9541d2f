//! Periods by autocorrelation.
//!
//! The reference publishes no formula. The score here is the autocorrelation at the lag of the period, weighted by
//! `√(n / (n − lag))` between the biased estimate (which punishes long periods) and the unbiased one (which lets the
//! noise of few pairs count in full). A lag that is no peak is no period and scores zero. The documented example
//! (60 points: 14 scores 0.84, 10 scores 0) comes out as printed.

use rustfft::FftPlanner;
use rustfft::num_complex::Complex;

/// The least score of a period found on its own, against noise.
const SCORE_MIN: f64 = 0.1;

/// Looks for up to `count` periods between `min` and `max` points, the likeliest first; pads with zeros.
pub fn periods_detect(y: &[f64], min: f64, max: f64, count: usize) -> Vec<(f64, f64)> {
    let scores = scores(y);
    let from = min.max(2.0).ceil() as usize;
    let to = max.min((y.len() / 2) as f64).floor() as usize;
    let mut found: Vec<(f64, f64)> = Vec::new();
    if from <= to {
        found = (from..=to)
            .filter(|&lag| is_peak(&scores, lag) && scores[lag] >= SCORE_MIN.max(noise(y.len())))
            .map(|lag| (lag as f64, scores[lag]))
            .collect();
    }
    found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.total_cmp(&b.0)));
    let mut kept: Vec<(f64, f64)> = Vec::new();
    for candidate in found {
        // A multiple of a period repeats too, and says nothing new.
        if kept.len() < count && !kept.iter().any(|better| is_multiple(candidate.0, better.0)) {
            kept.push(candidate);
        }
    }
    kept.resize(count, (0.0, 0.0));
    kept
}

/// Scores given periods; each is looked for within one point.
pub fn periods_validate(y: &[f64], periods: &[f64]) -> Vec<f64> {
    let scores = scores(y);
    let limit = y.len() / 2;
    periods
        .iter()
        .map(|period| {
            let lag = period.round();
            if !(2.0..=limit as f64).contains(&lag) {
                return 0.0;
            }
            let lag = lag as usize;
            if is_peak(&scores, lag) && scores[lag] >= SCORE_MIN { scores[lag].clamp(0.0, 1.0) } else { 0.0 }
        })
        .collect()
}

/// Whether a lag's score is above those before and after, and positive.
fn is_peak(scores: &[f64], lag: usize) -> bool {
    let at = |lag: usize| scores.get(lag).copied().unwrap_or(f64::MIN);
    at(lag) > 0.0 && at(lag) >= at(lag.saturating_sub(1)) && at(lag) > at(lag + 1)
}

fn is_multiple(period: f64, of: f64) -> bool {
    let times = (period / of).round();
    times >= 2.0 && (period - times * of).abs() <= 0.02 * period + 0.5
}

/// What correlation of noise reaches by chance.
fn noise(len: usize) -> f64 {
    2.0 / (len.max(1) as f64).sqrt()
}

/// Score of every lag up to one beyond half of the series, in `n log n`.
fn scores(y: &[f64]) -> Vec<f64> {
    let len = y.len();
    if len < 4 {
        return vec![0.0; len];
    }
    let mean = y.iter().sum::<f64>() / len as f64;
    let size = (2 * len).next_power_of_two();
    let mut planner = FftPlanner::new();
    let mut buffer: Vec<Complex<f64>> = y.iter().map(|value| Complex::new(value - mean, 0.0)).collect();
    buffer.resize(size, Complex::new(0.0, 0.0));
    planner.plan_fft_forward(size).process(&mut buffer);
    for value in &mut buffer {
        *value = Complex::new(value.norm_sqr(), 0.0);
    }
    planner.plan_fft_inverse(size).process(&mut buffer);
    let power = buffer[0].re;
    let lags = len / 2 + 2;
    if power <= f64::EPSILON * size as f64 {
        return vec![0.0; lags];
    }
    (0..lags.min(len))
        .map(|lag| buffer[lag].re / power * (len as f64 / (len - lag) as f64).sqrt())
        .map(|score| score.min(1.0))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(len: usize, period: f64) -> Vec<f64> {
        (0..len).map(|at| 10.0 + (std::f64::consts::TAU * at as f64 / period).sin()).collect()
    }

    #[test]
    fn the_period_of_a_wave_is_found_and_its_multiples_are_not() {
        let found = periods_detect(&wave(400, 24.0), 4.0, 200.0, 3);
        assert_eq!(found[0].0, 24.0);
        assert!(found[0].1 > 0.9);
        assert_eq!(found[1], (0.0, 0.0));
    }

    #[test]
    fn two_periods_are_told_apart() {
        let y: Vec<f64> =
            wave(2_000, 24.0).iter().zip(wave(2_000, 168.0)).map(|(day, week)| day + 2.0 * week).collect();
        let found = periods_detect(&y, 4.0, 1_000.0, 2);
        assert!(found.iter().any(|(period, _)| (period - 168.0).abs() <= 1.0), "{found:?}");
    }

    #[test]
    fn nothing_repeats_in_a_constant_or_in_a_few_points() {
        assert_eq!(periods_detect(&[5.0; 100], 4.0, 50.0, 1), [(0.0, 0.0)]);
        assert_eq!(periods_detect(&[1.0, 2.0], 4.0, 50.0, 1), [(0.0, 0.0)]);
        assert_eq!(periods_validate(&[], &[4.0]), [0.0]);
    }

    #[test]
    fn a_lag_that_is_no_peak_scores_nothing() {
        let scores = periods_validate(&wave(240, 24.0), &[24.0, 10.0, 1e9, -3.0]);
        assert!(scores[0] > 0.8);
        assert_eq!(scores[1..], [0.0, 0.0, 0.0]);
    }
}
