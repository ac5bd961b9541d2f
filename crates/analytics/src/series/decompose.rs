//! Taking a series apart: season, trend and what is left; anomalies and forecasts from the parts.
//!
//! The seasonal part is the median of the points of one phase, the trend is fitted to what remains, the baseline is
//! their sum. The last `test_points` take no part in learning (the reference's `series_decompose`).

use super::fit::fit_line;
use super::outliers::{Fences, outliers};
use super::periods::periods_detect;
use super::{Series, fill_linear};

/// Where the season comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Seasonality {
    /// Found in the series, if its score is at least this.
    Detect {
        /// Least score, from 0 to 1.
        threshold: f64,
    },
    /// This many points.
    Period(usize),
    /// None.
    None,
}

/// How the trend is fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trend {
    /// The mean.
    Average,
    /// A line.
    Line,
    /// None.
    None,
}

/// The parts of a series, each as long as the series.
#[derive(Debug, Clone, PartialEq)]
pub struct Decomposition {
    /// Season and trend together: what was to be expected.
    pub baseline: Vec<f64>,
    /// The season.
    pub seasonal: Vec<f64>,
    /// The trend.
    pub trend: Vec<f64>,
    /// What is left.
    pub residual: Vec<f64>,
}

/// Takes a series apart. Missing elements are filled by lines first.
pub fn decompose(series: Series, seasonality: Seasonality, trend: Trend, test_points: usize) -> Decomposition {
    let y: Vec<f64> = fill_linear(series, true, 0.0).into_iter().flatten().collect();
    let learned = y.len().saturating_sub(test_points);
    let seasonal = season(&y, learned, seasonality);
    let calm: Vec<Option<f64>> =
        y[..learned].iter().zip(&seasonal).map(|(value, season)| Some(value - season)).collect();
    let trend = match trend {
        Trend::None => vec![0.0; y.len()],
        Trend::Average => vec![calm.iter().flatten().sum::<f64>() / learned.max(1) as f64; y.len()],
        Trend::Line => fit_line(&calm).map_or_else(
            || vec![0.0; y.len()],
            |line| (1..=y.len()).map(|place| line.interception + line.slope * place as f64).collect(),
        ),
    };
    let baseline: Vec<f64> = seasonal.iter().zip(&trend).map(|(season, trend)| season + trend).collect();
    let residual = y.iter().zip(&baseline).map(|(value, baseline)| value - baseline).collect();
    Decomposition { baseline, seasonal, trend, residual }
}

/// The seasonal part alone, with medians as they are.
pub fn seasonal(series: Series, seasonality: Seasonality) -> Vec<f64> {
    let y: Vec<f64> = fill_linear(series, true, 0.0).into_iter().flatten().collect();
    let Some(period) = period(&y, y.len(), seasonality) else { return vec![0.0; y.len()] };
    let phases = medians(&y, y.len(), period);
    (0..y.len()).map(|at| phases[at % period]).collect()
}

/// What `series_decompose_anomalies` tells.
#[derive(Debug, Clone, PartialEq)]
pub struct Anomalies {
    /// 1 above, −1 below, 0 inside.
    pub flag: Vec<i8>,
    /// Score of each point in ranges beyond the fence.
    pub score: Vec<f64>,
    /// What was to be expected.
    pub baseline: Vec<f64>,
}

/// Scores what is left of a series and flags what is beyond a threshold.
pub fn anomalies(
    series: Series,
    threshold: f64,
    seasonality: Seasonality,
    trend: Trend,
    test_points: usize,
    fences: Fences,
) -> Anomalies {
    let parts = decompose(series, seasonality, trend, test_points);
    let residual: Vec<Option<f64>> = parts.residual.iter().copied().map(Some).collect();
    let score = outliers(&residual, fences, test_points);
    let flag = score.iter().map(|score| i8::from(*score > threshold) - i8::from(*score < -threshold)).collect();
    Anomalies { flag, score, baseline: parts.baseline }
}

/// The baseline over the whole series, learned without its last `points`.
pub fn forecast(series: Series, points: usize, seasonality: Seasonality, trend: Trend) -> Vec<f64> {
    decompose(series, seasonality, trend, points).baseline
}

/// The seasonal part around zero.
fn season(y: &[f64], learned: usize, seasonality: Seasonality) -> Vec<f64> {
    let Some(period) = period(y, learned, seasonality) else { return vec![0.0; y.len()] };
    // A line is taken out first: otherwise the medians of a rising series would carry part of the rise.
    let known: Vec<Option<f64>> = y[..learned].iter().copied().map(Some).collect();
    let slope = fit_line(&known).map_or(0.0, |line| line.slope);
    let level: Vec<f64> = y.iter().enumerate().map(|(at, value)| value - slope * at as f64).collect();
    let mut phases = medians(&level, learned, period);
    let mean = phases.iter().sum::<f64>() / period as f64;
    phases.iter_mut().for_each(|phase| *phase -= mean);
    (0..y.len()).map(|at| phases[at % period]).collect()
}

fn period(y: &[f64], learned: usize, seasonality: Seasonality) -> Option<usize> {
    let period = match seasonality {
        Seasonality::None => return None,
        Seasonality::Period(period) => period,
        Seasonality::Detect { threshold } => {
            let found = periods_detect(&y[..learned], 4.0, learned as f64 / 2.0, 1);
            let (period, score) = *found.first()?;
            (score >= threshold).then_some(period as usize)?
        }
    };
    (period >= 2 && period <= learned).then_some(period)
}

/// Median of the points of each phase.
fn medians(y: &[f64], learned: usize, period: usize) -> Vec<f64> {
    (0..period)
        .map(|phase| {
            let mut points: Vec<f64> = y[..learned].iter().skip(phase).step_by(period).copied().collect();
            points.sort_unstable_by(f64::total_cmp);
            match points.len() {
                0 => 0.0,
                odd if odd % 2 == 1 => points[odd / 2],
                even => (points[even / 2 - 1] + points[even / 2]) / 2.0,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rising_days(days: usize) -> Vec<Option<f64>> {
        (0..days * 24).map(|hour| Some(hour as f64 * 0.1 + if hour % 24 < 12 { 5.0 } else { -5.0 })).collect()
    }

    const DETECT: Seasonality = Seasonality::Detect { threshold: 0.6 };

    #[test]
    fn season_and_line_explain_everything_of_a_made_series() {
        let parts = decompose(&rising_days(14), Seasonality::Period(24), Trend::Line, 0);
        assert!(parts.residual.iter().all(|left| left.abs() < 0.8), "{:?}", parts.residual);
    }

    #[test]
    fn a_spike_is_flagged_with_its_sign_and_nothing_else_is() {
        let mut y = rising_days(14);
        y[100] = Some(90.0);
        y[200] = Some(-90.0);
        let told = anomalies(&y, 1.5, DETECT, Trend::Line, 0, Fences::CUSTOM);
        assert_eq!((told.flag[100], told.flag[200]), (1, -1));
        assert!(told.flag.iter().map(|flag| i32::from(flag.abs())).sum::<i32>() <= 4, "{:?}", told.flag);
    }

    #[test]
    fn a_forecast_goes_on_with_line_and_season() {
        let whole = rising_days(14);
        let mut known = whole.clone();
        known[312..].fill(Some(0.0));
        let told = forecast(&known, 24, Seasonality::Period(24), Trend::Line);
        for at in 312..336 {
            assert!((told[at] - whole[at].unwrap()).abs() < 1.5, "{at}: {} {:?}", told[at], whole[at]);
        }
    }

    #[test]
    fn nothing_to_learn_from_is_no_panic() {
        for series in [vec![], vec![None; 5], vec![Some(1.0)]] {
            for test_points in [0, 1, 10] {
                decompose(&series, DETECT, Trend::Line, test_points);
                decompose(&series, Seasonality::Period(3), Trend::Average, test_points);
            }
        }
    }
}
