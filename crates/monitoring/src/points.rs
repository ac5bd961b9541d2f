//! The last points of a signal, packed: there are hundreds of thousands of them.

use std::collections::VecDeque;

use gantry_detection::Reason;
use gantry_identity::Timestamp;

use crate::ANOMALY_SCORE;

/// One judged value.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// When it was measured.
    pub at: Timestamp,
    /// The value.
    pub value: f64,
    /// How unusual, in [0, 1].
    pub score: f64,
    /// Expected band: low, expected, high.
    pub band: Option<(f64, f64, f64)>,
    /// Why, for anomalies and what follows them.
    pub reason: Option<Reason>,
}

impl Point {
    /// Whether it begins something unusual.
    pub fn is_anomaly(&self) -> bool {
        self.score >= ANOMALY_SCORE
    }
}

/// A point without its reason, which few have.
#[derive(Clone, Copy, Debug)]
struct Kept {
    at: Timestamp,
    value: f64,
    score: f64,
    /// Not a number where there is none.
    band: [f64; 3],
}

/// Points in the order they came.
#[derive(Debug, Default)]
pub(crate) struct Points {
    kept: VecDeque<Kept>,
    /// How many have gone.
    gone: u64,
    /// Reasons with the number of their point, counted from the first there ever was.
    reasons: VecDeque<(u64, Reason)>,
}

impl Points {
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(crate) fn push(&mut self, point: &Point) {
        if let Some(reason) = point.reason {
            self.reasons.push_back((self.gone + self.kept.len() as u64, reason));
        }
        let band = point.band.map_or([f64::NAN; 3], |(low, expected, high)| [low, expected, high]);
        self.kept.push_back(Kept { at: point.at, value: point.value, score: point.score, band });
    }

    /// Forgets the oldest; says whether there was one.
    pub(crate) fn pop(&mut self) -> bool {
        if self.kept.pop_front().is_none() {
            return false;
        }
        self.gone += 1;
        while self.reasons.front().is_some_and(|(number, _)| *number < self.gone) {
            self.reasons.pop_front();
        }
        true
    }

    /// The last `limit`, oldest first.
    pub(crate) fn last(&self, limit: usize) -> Vec<Point> {
        let skip = self.kept.len().saturating_sub(limit);
        let first = self.gone + skip as u64;
        let mut reasons = self.reasons.iter().skip_while(|(number, _)| *number < first).peekable();
        let point = |(number, kept): (u64, &Kept)| {
            let [low, expected, high] = kept.band;
            let reason = reasons.next_if(|(of, _)| *of == number).map(|(_, reason)| *reason);
            let band = (!low.is_nan()).then_some((low, expected, high));
            Point { at: kept.at, value: kept.value, score: kept.score, band, reason }
        };
        (first..).zip(self.kept.iter().skip(skip)).map(point).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_detection::Kind;

    fn point(n: i64) -> Point {
        let kind = Kind::Repeated { value: n as f64, times: 20 };
        Point {
            at: Timestamp::from_millis(n),
            value: n as f64,
            score: 0.1,
            band: (n % 2 == 0).then_some((0.0, 1.0, 2.0)),
            reason: (n % 3 == 0).then_some(Reason { kind, since_ms: 0, at_ms: n }),
        }
    }

    #[test]
    fn points_keep_their_bands_and_reasons_while_older_ones_go() {
        let mut points = Points::default();
        for n in 0..50 {
            points.push(&point(n));
            while points.len() > 20 {
                assert!(points.pop());
            }
        }
        assert_eq!(points.last(100), (30..50).map(point).collect::<Vec<_>>());
        assert_eq!(points.last(7), (43..50).map(point).collect::<Vec<_>>());
        while points.pop() {}
        assert_eq!((points.len(), points.reasons.len()), (0, 0));
        points.push(&point(51));
        assert_eq!(points.last(1), [point(51)]);
    }
}
