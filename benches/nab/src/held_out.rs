//! The honest figure: each group of series is scored at a threshold that only the other groups have chosen.

use std::collections::BTreeMap;

use crate::corpus::Series;
use crate::score::{Judged, Outcome, Profile, best_threshold, score};

/// What came of one group that was left out.
#[derive(Clone, Debug)]
pub struct LeftOut {
    /// Folder of its series.
    pub group: String,
    /// The best threshold of all other groups.
    pub threshold: f64,
    /// The group at that threshold.
    pub outcome: Outcome,
}

/// The folder of a series.
pub fn group(series: &Series) -> &str {
    series.name.split_once('/').map_or("", |(group, _)| group)
}

/// Outcome of several series at one threshold.
pub fn total(judged: &[Judged<'_>], threshold: f64, profile: &Profile) -> Outcome {
    let mut total = Outcome::default();
    for one in judged {
        total.add(&score(*one, threshold, profile));
    }
    total
}

/// Every group, left out once.
pub fn leave_one_group_out(all: &[Series], judged: &[Judged<'_>], profile: &Profile) -> Vec<LeftOut> {
    let mut groups: BTreeMap<&str, Vec<Judged<'_>>> = BTreeMap::new();
    for (series, one) in all.iter().zip(judged) {
        groups.entry(group(series)).or_default().push(*one);
    }
    let left_out = |name: &str| {
        let others: Vec<Judged<'_>> =
            groups.iter().filter(|(other, _)| **other != name).flat_map(|(_, series)| series.iter().copied()).collect();
        let (threshold, _) = best_threshold(&others, profile);
        LeftOut { group: name.to_owned(), threshold, outcome: total(&groups[name], threshold, profile) }
    };
    groups.keys().map(|name| left_out(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::PROFILES;

    #[test]
    fn a_group_has_no_say_in_its_own_threshold() {
        let series = |name: &str| Series {
            name: name.to_owned(),
            times_ms: (0..1000).collect(),
            values: vec![0.0; 1000],
            windows: vec![(500, 599)],
        };
        let all = [series("a/1"), series("b/1"), series("b/2")];
        let scores = |peak: f64, noise: f64| {
            let mut scores = vec![noise; 1000];
            scores[500] = peak;
            scores
        };
        let scores = [scores(0.4, 0.3), scores(0.8, 0.6), scores(0.9, 0.6)];
        let judged: Vec<Judged<'_>> =
            all.iter().zip(&scores).map(|(one, scores)| Judged { scores, windows: &one.windows }).collect();
        let left_out = leave_one_group_out(&all, &judged, &PROFILES[0]);
        let seen: Vec<(&str, f64)> = left_out.iter().map(|one| (one.group.as_str(), one.threshold)).collect();
        assert_eq!(seen, [("a", 0.8), ("b", 0.4)]);
        assert_eq!(left_out[0].outcome.windows_found, 0);
        assert!(left_out[1].outcome.false_alarms > 1000);
    }
}
