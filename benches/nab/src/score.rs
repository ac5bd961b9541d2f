//! Scoring of anomaly detectors as the Numenta Anomaly Benchmark does it.
//!
//! A detector gives every row a score in [0, 1]; a threshold turns scores into
//! detections. The first detection inside a labelled window earns up to the
//! weight of a true positive, more the earlier it comes; a window without one
//! costs the weight of a false negative; each detected row outside costs up to
//! the weight of a false positive, less when it closely follows a window. Rows
//! of the probation are not scored. One threshold holds for all series.
//!
//! Source: Lavin and Ahmad, "Evaluating Real-time Anomaly Detection Algorithms",
//! ICMLA 2015, with the constants of the benchmark's version 1.1.

/// Share of a series that is probation.
pub const PROBATION_SHARE: f64 = 0.15;
/// A series counts as at most this many rows when its probation is measured.
pub const PROBATION_ROWS_MAX: f64 = 5000.0;
/// From this many window lengths past a window a false positive costs its full weight.
const FAR_PAST_WINDOW: f64 = 3.0;

/// What a detection, a false alarm and a miss weigh.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Profile {
    /// The benchmark's name for the profile.
    pub name: &'static str,
    /// Earned by a detection at the first row of a window.
    pub true_positive: f64,
    /// Cost of a detected row far from any window.
    pub false_positive: f64,
    /// Cost of a window without a detection.
    pub false_negative: f64,
}

/// The three published profiles.
pub const PROFILES: [Profile; 3] = [
    Profile { name: "standard", true_positive: 1.0, false_positive: 0.11, false_negative: 1.0 },
    Profile { name: "reward_low_FP_rate", true_positive: 1.0, false_positive: 0.22, false_negative: 1.0 },
    Profile { name: "reward_low_FN_rate", true_positive: 1.0, false_positive: 0.11, false_negative: 2.0 },
];

/// One detector's scores on one series, with the labels to judge them by.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    /// One score a row.
    pub scores: &'a [f64],
    /// First and last row of each labelled window, in order, not overlapping.
    pub windows: &'a [(usize, usize)],
}

/// What a threshold makes of one or more series.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Weighted sum, before normalisation.
    pub raw: f64,
    /// Windows with at least one detection.
    pub windows_found: usize,
    /// Windows that were scored (not wholly inside the probation).
    pub windows: usize,
    /// Detected rows outside windows.
    pub false_alarms: usize,
}

impl Outcome {
    /// The raw sum on the scale where no detection is 0 and a perfect one 100.
    ///
    /// `None` when there is no window to find: the scale is then undefined.
    pub fn normalised(&self, profile: &Profile) -> Option<f64> {
        if self.windows == 0 {
            return None;
        }
        let windows = self.windows as f64;
        let null = -profile.false_negative * windows;
        let perfect = profile.true_positive * windows;
        Some(100.0 * (self.raw - null) / (perfect - null))
    }

    /// Adds another series' outcome.
    pub fn add(&mut self, other: &Outcome) {
        self.raw += other.raw;
        self.windows_found += other.windows_found;
        self.windows += other.windows;
        self.false_alarms += other.false_alarms;
    }
}

/// Rows at the start of a series of `rows` that are not scored.
pub fn probation(rows: usize) -> usize {
    let share = (PROBATION_SHARE * rows as f64).floor();
    share.min(PROBATION_SHARE * PROBATION_ROWS_MAX) as usize
}

/// What a detection at each row is worth, and the window it lies in.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Worth {
    /// In [-1, 1], before the profile's weight.
    value: f64,
    window: Option<usize>,
}

fn worths(rows: usize, windows: &[(usize, usize)]) -> Vec<Worth> {
    let mut next = 0;
    (0..rows)
        .map(|row| {
            while next < windows.len() && windows[next].1 < row {
                next += 1;
            }
            match windows.get(next) {
                Some(&(first, last)) if first <= row => {
                    let length = (last - first + 1) as f64;
                    let position = -((last - row + 1) as f64) / length;
                    Worth { value: sigmoid(position) / sigmoid(-1.0), window: Some(next) }
                }
                _ => Worth { value: past(row, next.checked_sub(1).map(|i| windows[i])), window: None },
            }
        })
        .collect()
}

/// Worth of a detection `row` outside windows, given the window before it.
fn past(row: usize, previous: Option<(usize, usize)>) -> f64 {
    let Some((first, last)) = previous else {
        return -1.0;
    };
    let position = (row - last) as f64 / (last - first) as f64;
    if position >= FAR_PAST_WINDOW { -1.0 } else { sigmoid(position) }
}

/// The benchmark's scaled sigmoid: about 1 at -1, 0 at 0, about -1 at 1.
fn sigmoid(position: f64) -> f64 {
    2.0 / (1.0 + (5.0 * position).exp()) - 1.0
}

/// Scores one series at `threshold`; a row is detected when its score reaches it.
pub fn score(series: Judged<'_>, threshold: f64, profile: &Profile) -> Outcome {
    let skip = probation(series.scores.len());
    let mut best: Vec<Option<f64>> = vec![None; series.windows.len()];
    let mut outcome = Outcome::default();
    for (row, worth) in worths(series.scores.len(), series.windows).iter().enumerate().skip(skip) {
        if series.scores[row] < threshold {
            continue;
        }
        match worth.window {
            Some(window) => {
                let value = worth.value * profile.true_positive;
                best[window] = Some(best[window].map_or(value, |seen| seen.max(value)));
            }
            None => {
                outcome.raw += worth.value * profile.false_positive;
                outcome.false_alarms += 1;
            }
        }
    }
    for (&(_, last), best) in series.windows.iter().zip(best) {
        if last < skip {
            continue;
        }
        outcome.windows += 1;
        outcome.windows_found += usize::from(best.is_some());
        outcome.raw += best.unwrap_or(-profile.false_negative);
    }
    outcome
}

/// The threshold that gives the best total over all series, and that total.
///
/// Every distinct score is tried, and one above all of them (no detection).
pub fn best_threshold(all: &[Judged<'_>], profile: &Profile) -> (f64, f64) {
    let mut rows = Vec::new();
    let mut raw = 0.0;
    let mut offset = 0;
    for series in all {
        let skip = probation(series.scores.len());
        for (row, worth) in worths(series.scores.len(), series.windows).into_iter().enumerate().skip(skip) {
            rows.push((series.scores[row], worth.value, worth.window.map(|window| offset + window)));
        }
        raw -= profile.false_negative * series.windows.iter().filter(|w| w.1 >= skip).count() as f64;
        offset += series.windows.len();
    }
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));

    let mut held = vec![-profile.false_negative; offset];
    let mut best = (f64::INFINITY, raw);
    let mut at = 0;
    while at < rows.len() {
        let threshold = rows[at].0;
        while at < rows.len() && rows[at].0 == threshold {
            let (_, value, window) = rows[at];
            at += 1;
            match window {
                Some(window) => {
                    let gain = (value * profile.true_positive - held[window]).max(0.0);
                    held[window] += gain;
                    raw += gain;
                }
                None => raw += value * profile.false_positive,
            }
        }
        if raw > best.1 {
            best = (threshold, raw);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDARD: Profile = PROFILES[0];

    #[track_caller]
    fn check(detected: &[usize], raw: f64) {
        let mut scores = vec![0.0; 100];
        for &row in detected {
            scores[row] = 1.0;
        }
        let series = Judged { scores: &scores, windows: &[(40, 49)] };
        let outcome = score(series, 0.5, &STANDARD);
        assert!((outcome.raw - raw).abs() < 1e-9, "{detected:?}: {} instead of {raw}", outcome.raw);
    }

    #[test]
    fn the_first_row_of_a_window_earns_the_whole_weight() {
        check(&[40], 1.0);
        check(&[40, 45, 49], 1.0);
    }

    #[test]
    fn a_later_row_earns_less() {
        // Row 45 is at -(49 - 45 + 1) / 10 = -0.5: 2 / (1 + e^-2.5) - 1 = 0.848283640.
        check(&[45], 0.848_283_639_957_51 / 0.986_614_298_151_43);
        // The last row is at -0.1: 2 / (1 + e^-0.5) - 1 = 0.244918662.
        check(&[49], 0.244_918_662_403_71 / 0.986_614_298_151_43);
    }

    #[test]
    fn a_missed_window_costs_the_weight_of_a_false_negative() {
        check(&[], -1.0);
    }

    #[test]
    fn false_alarms_cost_less_just_after_a_window() {
        check(&[20], -1.0 - 0.11);
        // Row 50 is one ninth of a window past: 2 / (1 + e^(5/9)) - 1 = -0.270847.
        check(&[50], -1.0 - 0.11 * 0.270847118517);
        // Three window lengths past and beyond, the whole weight.
        check(&[76], -1.0 - 0.11);
        check(&[75], -1.0 - 0.11 * 0.999998933681);
    }

    #[test]
    fn probation_rows_are_not_scored() {
        check(&[14], -1.0);
        check(&[15], -1.11);
        assert_eq!(probation(4032), 604);
        assert_eq!(probation(22_695), 750);
        assert_eq!(probation(0), 0);
    }

    #[test]
    fn null_is_zero_and_perfect_a_hundred_in_each_profile() {
        let mut perfect = vec![0.0; 100];
        perfect[40] = 1.0;
        perfect[70] = 1.0;
        let windows = [(40, 49), (70, 79)];
        for profile in &PROFILES {
            let null = Judged { scores: &[0.0; 100], windows: &windows };
            assert_eq!(score(null, 0.5, profile).normalised(profile), Some(0.0));
            let perfect = Judged { scores: &perfect, windows: &windows };
            assert_eq!(score(perfect, 0.5, profile).normalised(profile), Some(100.0));
        }
    }

    #[test]
    fn a_window_inside_the_probation_is_not_counted() {
        let outcome = score(Judged { scores: &[0.0; 100], windows: &[(2, 9)] }, 0.5, &STANDARD);
        assert_eq!(outcome, Outcome::default());
        assert_eq!(outcome.normalised(&STANDARD), None);
    }

    #[test]
    fn the_sweep_finds_the_best_threshold_and_agrees_with_the_score_there() {
        let mut first: Vec<f64> = (0..100).map(|row| f64::from(row * 37 % 101) / 250.0).collect();
        first[42] = 0.9;
        first[60] = 0.8;
        let second = vec![0.3; 100];
        let all = [Judged { scores: &first, windows: &[(40, 49)] }, Judged { scores: &second, windows: &[(80, 99)] }];
        for profile in &PROFILES {
            let total = |threshold| all.iter().map(|one| score(*one, threshold, profile).raw).sum::<f64>();
            let (threshold, raw) = best_threshold(&all, profile);
            assert!((total(threshold) - raw).abs() < 1e-9);
            for tried in first.iter().chain(&second).chain(&[2.0]) {
                assert!(total(*tried) <= raw + 1e-9, "{tried} is better than {threshold}");
            }
        }
    }

    #[test]
    fn no_detection_is_best_when_scores_say_nothing() {
        let series = [Judged { scores: &[0.0; 1000], windows: &[(900, 905)] }];
        assert_eq!(best_threshold(&series, &STANDARD), (f64::INFINITY, -1.0));
    }
}
