//! The last points of a signal, packed: there are hundreds of thousands of them.

use std::collections::VecDeque;
use std::sync::Arc;

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
    /// The signal it does not go with, when that is why.
    pub beside: Option<Arc<str>>,
}

impl Point {
    /// Whether it begins something unusual.
    pub fn is_anomaly(&self) -> bool {
        self.score >= ANOMALY_SCORE
    }

    /// Why, in words.
    pub fn words(&self) -> Option<String> {
        self.reason.map(|reason| reason.beside(self.beside.as_deref()).to_string())
    }
}

/// A point without its reason, which few have, in 32 bytes: time and value as they are, the rest to seven digits, which
/// is what a chart can show.
#[derive(Clone, Copy, Debug)]
struct Kept {
    at: Timestamp,
    value: f64,
    score: f32,
    /// How far the expected value lies from the value, and the edges of the band from the expected value; not a number
    /// where there is none. Distances, because values may be large and differ little.
    band: [f32; 3],
}

impl Kept {
    fn new(point: &Point) -> Self {
        let band = point.band.map_or([f32::NAN; 3], |(low, expected, high)| {
            [expected - point.value, low - expected, high - expected].map(|distance| distance as f32)
        });
        // Rounded down: what is below a bar stays below it.
        let score = point.score as f32;
        let score = if f64::from(score) > point.score { score.next_down() } else { score };
        Self { at: point.at, value: point.value, score, band }
    }

    fn band(&self) -> Option<(f64, f64, f64)> {
        let [expected, low, high] = self.band.map(f64::from);
        let expected = self.value + expected;
        (!expected.is_nan()).then_some((expected + low, expected, expected + high))
    }
}

/// Points in the order they came.
#[derive(Debug, Default)]
pub(crate) struct Points {
    kept: VecDeque<Kept>,
    /// How many have gone.
    gone: u64,
    /// Reasons with the number of their point, counted from the first there ever was.
    reasons: VecDeque<(u64, Reason, Option<Arc<str>>)>,
}

impl Points {
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(crate) fn push(&mut self, point: &Point) {
        if let Some(reason) = point.reason {
            self.reasons.push_back((self.gone + self.kept.len() as u64, reason, point.beside.clone()));
        }
        self.kept.push_back(Kept::new(point));
    }

    /// Puts another point in the place of the last, if there is one.
    pub(crate) fn replace_last(&mut self, point: &Point) {
        if self.kept.pop_back().is_some() {
            let number = self.gone + self.kept.len() as u64;
            if self.reasons.back().is_some_and(|(of, ..)| *of == number) {
                self.reasons.pop_back();
            }
            self.push(point);
        }
    }

    /// Forgets the oldest; says whether there was one.
    pub(crate) fn pop(&mut self) -> bool {
        if self.kept.pop_front().is_none() {
            return false;
        }
        self.gone += 1;
        while self.reasons.front().is_some_and(|(number, ..)| *number < self.gone) {
            self.reasons.pop_front();
        }
        true
    }

    /// The last `limit`, oldest first.
    pub(crate) fn last(&self, limit: usize) -> Vec<Point> {
        let skip = self.kept.len().saturating_sub(limit);
        let first = self.gone + skip as u64;
        let mut reasons = self.reasons.iter().skip_while(|(number, ..)| *number < first).peekable();
        let point = |(number, kept): (u64, &Kept)| {
            let found = reasons.next_if(|(of, ..)| *of == number);
            Point {
                at: kept.at,
                value: kept.value,
                score: kept.score.into(),
                band: kept.band(),
                reason: found.map(|(_, reason, _)| *reason),
                beside: found.and_then(|(.., beside)| beside.clone()),
            }
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
            score: 0.125,
            band: (n % 2 == 0).then_some((0.0, 1.0, 2.0)),
            reason: (n % 3 == 0).then_some(Reason { kind, since_ms: 0, at_ms: n }),
            beside: (n % 6 == 0).then(|| "load".into()),
        }
    }

    #[test]
    fn a_band_far_from_nought_keeps_its_width() {
        let value = 1e9 + 0.25;
        let band = Some((1e9 - 0.75, 1e9 + 0.5, 1e9 + 1.75));
        let mut points = Points::default();
        points.push(&Point { value, band, ..point(1) });
        let [Point { value: kept, band: kept_band, .. }] = points.last(1)[..] else { panic!("one") };
        assert_eq!((kept, kept_band), (value, band));
        assert_eq!(size_of::<Kept>(), 32);
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
        for n in [52, 54, 60, 61] {
            points.replace_last(&point(n));
            assert_eq!(points.last(9), [point(n)]);
        }
    }
}
