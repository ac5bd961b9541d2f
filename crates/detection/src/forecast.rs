//! Where a signal will be, with bands its own past forecasts have earned, and when it reaches a limit.
//!
//! Three simple answers compete (`Forecaster::answers`): the signal stays as it is now, as it has been, or goes on as
//! it has been going; the rhythm of the day is added to each when the signal has one. At four distances a forecast of
//! each is kept until its time has come. The answer that has been nearest at a distance is the one given there, how far
//! it was off says how wide the band is, and each edge is moved until one value in twenty lies beyond it. So no model
//! of noise is assumed, and what cannot be foreseen has a wide band.
//!
//! Values are gathered in buckets, which are as long as the usual interval at first and four times as long whenever
//! enough of them are known, up to an hour. So a forecast reaches about as far ahead as the signal has been known,
//! 256 buckets at most, whatever its rate, and a value costs next to nothing unless it begins a bucket.

use std::fmt;

use crate::detector::Band;

/// Buckets are so long times a power of four; a slot of the day, so that the two agree.
const UNIT_MS: i64 = 900_000;
/// Powers of four of the shortest and the longest bucket: 0.9 s and 64 h.
const POWER_MIN: i8 = -5;
const POWER_MAX: i8 = 4;
/// Up to this length buckets grow by themselves: an hour.
const POWER_GROWN: i8 = 1;
/// Buckets until they grow: the farthest distance has been checked five times then.
const BUCKETS_UNTIL_GROWTH: u32 = 330;
/// Memory of level and line, in buckets.
const MEMORY: f64 = 64.0;
/// Values before the interval is known well enough to choose the length of a bucket.
const INTERVALS_KNOWN: u64 = 16;
/// Distances at which forecasts are checked, in buckets: the check falls somewhere in the last bucket.
const DISTANCES: [f64; 4] = [1.0, 4.0, 16.0, 64.0];
/// A forecast reaches this many times as far as the longest distance checked.
const REACH: f64 = 4.0;
/// Checks before a distance counts, and of the shortest before anything is forecast.
const CHECKS_MIN: u32 = 5;
const CHECKS_FIRST: u32 = 20;
/// Share of a new error in the mean, at least.
const NEWEST_SHARE: f64 = 0.04;
/// Share of values beyond each edge.
const BEYOND: f64 = 0.05;
/// Where an edge begins, in mean errors: there, if errors are normal.
const EDGE_NORMAL: f64 = 2.06;
/// An edge moves by this share when it is missed, and so much less when it is kept that the two balance.
const EDGE_STEP: f64 = 0.15;
pub(crate) const EDGE_RANGE: std::ops::RangeInclusive<f64> = 0.05..=20.0;
/// No forecast is larger, so that errors stay finite.
const FORECAST_MAX: f64 = 1e104;
/// Times looked at on the way to a limit.
const STEPS: i64 = 1024;

pub(crate) const ANSWERS: usize = 3;
/// Which of the answers is the level.
const LEVEL: usize = 1;
/// What is clearly nearer than the level is off by less than this share of what the level is off.
const CLEARLY: f64 = 0.8;

/// The forecaster of one signal: 416 bytes. It is given values without the rhythm of the day.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Forecaster {
    /// Length of a bucket, as a power of four of `UNIT_MS`; nothing while the interval is unknown.
    pub(crate) power: Option<i8>,
    /// Buckets since they have this length.
    pub(crate) buckets: u32,
    /// When the open bucket ends or a check is due, whichever is first.
    pub(crate) wake_ms: i64,
    /// The open bucket: when it ends, sum and count of its values.
    pub(crate) ends_ms: i64,
    pub(crate) sum: f64,
    pub(crate) count: u32,
    /// The last value.
    pub(crate) last: f64,
    /// Weighted sums over buckets: of 1, of the distance to the origin in buckets, of its square, of the means of the
    /// buckets, and of the products.
    pub(crate) sums: [f64; 5],
    /// Middle of the last bucket.
    pub(crate) origin_ms: i64,
    pub(crate) checks: [Check; DISTANCES.len()],
}

/// Forecasts that wait for their time, and how far the ones before were off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Check {
    pub(crate) due_ms: Option<i64>,
    pub(crate) forecasts: [f64; ANSWERS],
    /// Mean error of each answer.
    pub(crate) errors: [f64; ANSWERS],
    /// Lower and upper edge of the band, in mean errors of the best answer.
    pub(crate) edges: [f64; 2],
    pub(crate) checked: u32,
}

impl Check {
    const NEW: Check =
        Check { due_ms: None, forecasts: [0.0; ANSWERS], errors: [0.0; ANSWERS], edges: [EDGE_NORMAL; 2], checked: 0 };

    /// The answer that has been nearest. The level stands until another is clearly nearer: few checks favour one by luck.
    fn best(&self) -> usize {
        let clearly = self.errors[LEVEL] * CLEARLY;
        let nearer = |best: usize, other: usize| if self.errors[other] < self.errors[best] { other } else { best };
        let other = (0..ANSWERS).filter(|answer| *answer != LEVEL).reduce(nearer).unwrap_or(LEVEL);
        if self.errors[other] < clearly { other } else { LEVEL }
    }

    fn learn(&mut self, value: f64) {
        let best = self.best();
        if self.checked >= CHECKS_MIN {
            let off = value - self.forecasts[best];
            for (edge, side) in self.edges.iter_mut().zip([-1.0, 1.0]) {
                let beyond = f64::from(u8::from(off * side > *edge * self.errors[best]));
                *edge *= (EDGE_STEP * (beyond - BEYOND)).exp();
                *edge = edge.clamp(*EDGE_RANGE.start(), *EDGE_RANGE.end());
            }
        }
        self.checked = self.checked.saturating_add(1);
        let share = (1.0 / f64::from(self.checked)).max(NEWEST_SHARE);
        for (error, forecast) in self.errors.iter_mut().zip(self.forecasts) {
            *error += ((value - forecast).abs() - *error) * share;
        }
    }
}

/// Which way a limit is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// By rising to it.
    Above,
    /// By falling to it.
    Below,
}

impl Direction {
    /// Whether `value` has reached `limit`.
    pub fn reached(self, value: f64, limit: f64) -> bool {
        match self {
            Direction::Above => value >= limit,
            Direction::Below => value <= limit,
        }
    }
}

/// When a signal reaches a limit, milliseconds since 1970; nothing where it does not until `until_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// The time of the last value.
    pub now_ms: i64,
    /// When the edge of the band that is nearer to the limit reaches it.
    pub earliest_ms: Option<i64>,
    /// When the expected value does.
    pub likely_ms: Option<i64>,
    /// When the other edge does.
    pub latest_ms: Option<i64>,
    /// How far the forecast reaches.
    pub until_ms: i64,
}

impl Forecaster {
    pub(crate) fn new() -> Self {
        Forecaster {
            power: None,
            buckets: 0,
            wake_ms: i64::MIN,
            ends_ms: i64::MIN,
            sum: 0.0,
            count: 0,
            last: 0.0,
            sums: [0.0; 5],
            origin_ms: 0,
            checks: [Check::NEW; DISTANCES.len()],
        }
    }

    /// Learns a value. `interval_ms` is the usual one, of so many `values`.
    #[inline]
    pub(crate) fn observe(&mut self, time_ms: i64, value: f64, interval_ms: f64, values: u64) {
        if time_ms >= self.wake_ms {
            self.wake(time_ms, value, interval_ms, values);
        }
        self.sum += value;
        self.count = self.count.saturating_add(1);
        self.last = value;
    }

    /// Where a value is expected at `time_ms`, without the rhythm of the day, when the last came at `now_ms`. `None`
    /// while too little is known, for the past and beyond reach.
    pub(crate) fn at(&self, now_ms: i64, time_ms: i64) -> Option<Band> {
        let ahead = time_ms.checked_sub(now_ms).filter(|ahead| *ahead > 0 && *ahead <= self.reach_ms())?;
        let steps = ahead as f64 / self.bucket_ms()? as f64;
        let answers = self.answers(time_ms);
        let (near, far, share) = self.around(steps);
        let of = |check: &Check| {
            let best = check.best();
            (answers[best], check.edges.map(|edge| edge * check.errors[best]))
        };
        let ((near, near_edges), (far, far_edges)) = (of(&self.checks[near]), of(&self.checks[far]));
        let expected = near + (far - near) * share.min(1.0);
        // Farther is not more certain, whatever a few lucky checks say. Beyond the last distance the band goes on to open
        // as it did up to there.
        let edge = |side: usize| near_edges[side] + (far_edges[side] - near_edges[side]).max(0.0) * share;
        Some(Band { low: expected - edge(0), expected, high: expected + edge(1) })
    }

    /// How far ahead of the last value a forecast reaches; 0 while there is none.
    pub(crate) fn reach_ms(&self) -> i64 {
        if self.checks[0].checked < CHECKS_FIRST {
            return 0;
        }
        let distance = DISTANCES[self.farthest()];
        self.bucket_ms().map_or(0, |bucket| bucket.saturating_mul((distance * REACH) as i64))
    }

    /// The farthest distance that has been checked.
    fn farthest(&self) -> usize {
        self.checks.iter().rposition(|check| check.checked >= CHECKS_MIN).unwrap_or(0)
    }

    /// The checked distances around one, or the last two, and how far it lies from the first to the second.
    fn around(&self, steps: f64) -> (usize, usize, f64) {
        // Checks fall anywhere in the last bucket of their distance.
        let middle = |index: usize| DISTANCES[index] - 0.5;
        let last = self.farthest();
        let far = (0..last).find(|&index| steps <= middle(index)).unwrap_or(last);
        match far.checked_sub(1) {
            Some(near) => (near, far, (steps - middle(near)) / (middle(far) - middle(near))),
            None => (far, far, 1.0),
        }
    }

    fn bucket_ms(&self) -> Option<i64> {
        self.power.map(bucket_ms)
    }

    /// What each answer says of a time.
    fn answers(&self, time_ms: i64) -> [f64; ANSWERS] {
        let [weight, xs, squares, values, products] = self.sums;
        if weight <= 0.0 {
            return [self.last; ANSWERS];
        }
        let level = values / weight;
        let spread = weight * squares - xs * xs;
        // Two buckets make a line, but not one to go by.
        let rise = if weight > 2.5 && spread > 1e-9 * weight * weight {
            (weight * products - xs * values) / spread
        } else {
            0.0
        };
        let x = self.bucket_ms().map_or(0.0, |bucket| time_ms.saturating_sub(self.origin_ms) as f64 / bucket as f64);
        [self.last, level, level + rise * (x - xs / weight)].map(|answer| answer.clamp(-FORECAST_MAX, FORECAST_MAX))
    }

    /// A bucket ends, or a check is due.
    fn wake(&mut self, time_ms: i64, value: f64, interval_ms: f64, values: u64) {
        let Some(power) = self.power else {
            if values >= INTERVALS_KNOWN && interval_ms > 0.0 {
                let fits = |power: &i8| bucket_ms(*power) as f64 >= interval_ms;
                self.open((POWER_MIN..POWER_MAX).find(fits).unwrap_or(POWER_MAX), time_ms);
                self.plan();
            }
            return;
        };
        for (check, distance) in self.checks.iter_mut().zip(DISTANCES) {
            if let Some(due) = check.due_ms.filter(|due| *due <= time_ms) {
                check.due_ms = None;
                // After a gap the forecast was for another time.
                if time_ms.saturating_sub(due) as f64 <= bucket_ms(power) as f64 * (distance / 4.0).max(1.0) {
                    check.learn(value);
                }
            }
        }
        if time_ms >= self.ends_ms {
            self.close(power, time_ms);
        }
        self.plan();
    }

    fn plan(&mut self) {
        self.wake_ms = self.checks.iter().filter_map(|check| check.due_ms).fold(self.ends_ms, i64::min);
    }

    fn open(&mut self, power: i8, time_ms: i64) {
        let bucket = bucket_ms(power);
        self.power = Some(power);
        self.ends_ms = time_ms.div_euclid(bucket).saturating_mul(bucket).saturating_add(bucket);
        (self.sum, self.count) = (0.0, 0);
    }

    /// Learns the bucket that ended, lets buckets grow, begins one and asks for its forecasts.
    fn close(&mut self, power: i8, time_ms: i64) {
        let bucket = bucket_ms(power);
        if self.count > 0 {
            self.learn(self.ends_ms.saturating_sub(bucket / 2), bucket);
        }
        let mut power = power;
        if self.buckets >= BUCKETS_UNTIL_GROWTH && power < POWER_GROWN {
            power += 1;
            self.grow();
        }
        self.open(power, time_ms);
        self.ask(time_ms, bucket_ms(power));
    }

    fn learn(&mut self, middle_ms: i64, bucket: i64) {
        let passed = middle_ms.saturating_sub(self.origin_ms) as f64 / bucket as f64;
        if self.sums[0] <= 0.0 || passed > MEMORY {
            // What was before so long a gap says nothing of how it goes on.
            self.sums = [0.0; 5];
        } else {
            let [weight, xs, squares, values, products] = self.sums;
            let moved = [
                weight,
                xs - passed * weight,
                squares - 2.0 * passed * xs + passed * passed * weight,
                values,
                products - passed * values,
            ];
            self.sums = moved.map(|sum| sum * (1.0 - 1.0 / MEMORY));
        }
        self.sums[0] += 1.0;
        self.sums[3] += self.sum / f64::from(self.count);
        self.origin_ms = middle_ms;
        self.buckets = self.buckets.saturating_add(1);
    }

    /// Four buckets become one, and so every distance the one before it.
    fn grow(&mut self) {
        let [weight, xs, squares, values, products] = self.sums;
        self.sums = [weight / 4.0, xs / 16.0, squares / 64.0, values / 4.0, products / 16.0];
        self.checks.rotate_left(1);
        let known = self.checks[DISTANCES.len() - 2];
        self.checks[DISTANCES.len() - 1] = Check { due_ms: None, checked: 0, ..known };
        self.buckets = 0;
    }

    /// Makes a forecast for each distance that waits for none.
    fn ask(&mut self, time_ms: i64, bucket: i64) {
        // Anywhere in the last bucket, or a cycle as long as a bucket would always be met in the same phase.
        let part = (f64::from(self.buckets) * 0.618_033_988_75).fract();
        for (index, distance) in DISTANCES.into_iter().enumerate() {
            if self.checks[index].due_ms.is_none() {
                let due = time_ms.saturating_add(((distance - 1.0 + part) * bucket as f64) as i64);
                self.checks[index].forecasts = self.answers(due);
                self.checks[index].due_ms = Some(due.max(time_ms.saturating_add(1)));
            }
        }
    }
}

fn bucket_ms(power: i8) -> i64 {
    let times = 1 << (2 * u32::from(power.unsigned_abs().min(8)));
    if power < 0 { UNIT_MS / times } else { UNIT_MS * times }
}

/// Whether a power names a length that buckets have.
pub(crate) fn is_power(power: i8) -> bool {
    (POWER_MIN..=POWER_MAX).contains(&power)
}

/// When a signal reaches a limit, by its forecast at each time.
pub(crate) fn remaining(
    now_ms: i64,
    last: f64,
    reach_ms: i64,
    limit: f64,
    direction: Direction,
    at: impl Fn(i64) -> Option<Band>,
) -> Option<Remaining> {
    if reach_ms <= 0 || !limit.is_finite() {
        return None;
    }
    let until_ms = now_ms.saturating_add(reach_ms);
    let mut remaining = Remaining { now_ms, earliest_ms: None, likely_ms: None, latest_ms: None, until_ms };
    if direction.reached(last, limit) {
        let now = Some(now_ms);
        return Some(Remaining { earliest_ms: now, likely_ms: now, latest_ms: now, ..remaining });
    }
    for step in 1..=STEPS {
        let time_ms = now_ms.saturating_add((reach_ms as f64 * step as f64 / STEPS as f64) as i64);
        let Some(band) = at(time_ms) else { continue };
        let (near, far) = match direction {
            Direction::Above => (band.high, band.low),
            Direction::Below => (band.low, band.high),
        };
        let times = [&mut remaining.earliest_ms, &mut remaining.likely_ms, &mut remaining.latest_ms];
        for (time, value) in times.into_iter().zip([near, band.expected, far]) {
            if time.is_none() && direction.reached(value, limit) {
                *time = Some(time_ms);
            }
        }
        if remaining.latest_ms.is_some() {
            break;
        }
    }
    Some(remaining)
}

impl fmt::Display for Remaining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let after = |time_ms: i64| Length(time_ms.saturating_sub(self.now_ms));
        let until = after(self.until_ms);
        match (self.earliest_ms, self.likely_ms, self.latest_ms) {
            (_, Some(likely), _) if likely <= self.now_ms => f.write_str("reached"),
            (None, None, _) => write!(f, "not within {until}"),
            (Some(earliest), None, _) => {
                write!(f, "not expected within {until}, possible from {} on", after(earliest))
            }
            (earliest, Some(likely), latest) => {
                write!(f, "in about {}, ", after(likely))?;
                match latest {
                    Some(latest) => {
                        write!(f, "between {} and {}", after(earliest.unwrap_or(likely)), after(latest))
                    }
                    None => write!(f, "{} at the earliest", after(earliest.unwrap_or(likely))),
                }
            }
        }
    }
}

/// A length of time in its largest fitting unit.
struct Length(i64);

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(f64, &str); 4] = [(86_400_000.0, "d"), (3_600_000.0, "h"), (60_000.0, "min"), (1000.0, "s")];
        let length = self.0.max(0) as f64;
        let (unit, name) = UNITS.into_iter().find(|(unit, _)| length >= *unit).unwrap_or((1000.0, "s"));
        let many = length / unit;
        let digits = if many < 9.95 { 10.0 } else { 1.0 };
        write!(f, "{} {name}", (many * digits).round() / digits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Detector;
    use std::f64::consts::TAU;

    const MINUTE: i64 = 60_000;
    const START: i64 = 1_400_000_000_000;
    const DAY: usize = 288;

    /// Numbers that look random, in [0, 1).
    struct Random(u64);

    impl Random {
        fn uniform(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
        }

        fn normal(&mut self) -> f64 {
            (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
        }
    }

    const KINDS: [&str; 9] = ["white", "skewed", "heavy", "walk", "returning", "trend", "daily", "steps", "counts"];

    /// So many values of a kind of signal.
    fn made(kind: &str, seed: u64, count: usize) -> Vec<f64> {
        let mut random = Random(seed);
        let mut level = 0.0;
        let day = |index: usize| (index as f64 / DAY as f64 * TAU).sin();
        let value = |index: usize| {
            let noise = random.normal();
            match kind {
                "white" => 80.0 + noise,
                "skewed" => -(1.0 - random.uniform()).ln(),
                "heavy" => 10.0 + noise / (0.1 + random.uniform()),
                "walk" => {
                    level += noise;
                    level
                }
                "returning" => {
                    level = 0.98 * level + noise;
                    50.0 + level
                }
                "trend" => 20.0 + 0.01 * index as f64 + noise,
                "daily" => 50.0 + 20.0 * day(index) + noise,
                "steps" => (20.0 + 3.0 * day(index) + noise / 2.0).round(),
                _ => (5.0 + 4.0 * day(index) + noise.abs() * 3.0).floor().max(0.0),
            }
        };
        (0..count).map(value).collect()
    }

    fn at(index: usize) -> i64 {
        START + 5 * MINUTE * index as i64
    }

    /// Shares of the values of a signal below and above the bands forecast for them, over all distances.
    fn beyond(values: &[f64], from: usize) -> [f64; 2] {
        let mut detector = Detector::new();
        let (mut asked, mut low, mut high) = (0, 0, 0);
        for (index, &value) in values.iter().enumerate() {
            detector.observe(at(index), value).unwrap();
            if index < from || index % 17 > 0 {
                continue;
            }
            for ahead in [1, 5, 30, 150, 700, 2000] {
                let Some(band) = detector.forecast(at(index + ahead)) else { continue };
                let Some(value) = values.get(index + ahead) else { continue };
                asked += 1;
                low += usize::from(*value < band.low);
                high += usize::from(*value > band.high);
            }
        }
        [low, high].map(|many| f64::from(u32::try_from(many).unwrap()) / f64::from(u32::try_from(asked).unwrap()))
    }

    /// Chance that is the same every time: one signal in hundreds is unlucky, and no test hangs on that.
    const SEEDS: std::ops::Range<u64> = 1..4;

    #[test]
    fn nine_of_ten_values_lie_in_the_band_whatever_the_signal_is() {
        for (kind, seed) in KINDS.iter().flat_map(|kind| SEEDS.map(move |seed| (kind, seed))) {
            // Seven weeks, of which the first three are for learning.
            let [low, high] = beyond(&made(kind, seed, 50 * DAY), 22 * DAY);
            assert!((0.01..0.25).contains(&(low + high)), "{kind} {seed}: {low} below, {high} above");
            assert!(low.max(high) < 0.2, "{kind} {seed}: {low} below, {high} above");
        }
    }

    #[test]
    fn the_forecast_follows_trend_and_rhythm() {
        let kinds = [("trend", 0.5), ("daily", 1.5), ("white", 0.5)];
        for ((kind, off), seed) in kinds.iter().flat_map(|kind| SEEDS.map(move |seed| (kind, seed))) {
            let mut detector = Detector::new();
            for (index, value) in made(kind, seed, 30 * DAY).into_iter().enumerate() {
                detector.observe(at(index), value).unwrap();
            }
            for index in (30 * DAY..33 * DAY).step_by(11) {
                let truth = match *kind {
                    "trend" => 20.0 + 0.01 * index as f64,
                    "daily" => 50.0 + 20.0 * (index as f64 / DAY as f64 * TAU).sin(),
                    _ => 80.0,
                };
                let band = detector.forecast(at(index)).unwrap();
                assert!((band.expected - truth).abs() < *off, "{kind} {seed}: {band:?}, {truth} is true");
                assert!(band.high - band.low < 12.0, "{kind} {seed}: {band:?}");
            }
        }
    }

    fn fed(values: &[f64], step_ms: i64) -> Detector {
        let mut detector = Detector::new();
        for (index, value) in values.iter().enumerate() {
            detector.observe(START + step_ms * index as i64, *value).unwrap();
        }
        detector
    }

    #[test]
    fn the_band_is_wider_farther_ahead_when_a_signal_wanders() {
        let detector = fed(&made("walk", 7, 60 * DAY), 5 * MINUTE);
        let width =
            |ahead: usize| detector.forecast(at(60 * DAY - 1 + ahead)).map(|band| band.high - band.low).unwrap();
        assert!(width(1) < width(50) && width(50) < width(500) && width(500) < width(3000));
        assert_eq!(detector.forecast(at(60 * DAY - 1)), None);
        assert_eq!(detector.forecast(detector.last_ms() + detector.reach_ms() + 1), None);
    }

    #[test]
    fn a_forecast_reaches_as_far_as_the_signal_is_known_whatever_its_rate() {
        for step_ms in [100, 1_000, 60_000, 300_000, 3_600_000, 86_400_000] {
            for count in [400, 4_000, 20_000] {
                let detector = fed(&made("white", 3, count), step_ms);
                let known = step_ms as f64 * count as f64;
                // Up to eleven days, or 256 values of a slow signal.
                let grown = (256.0 * 3_600_000.0_f64).max(256.0 * step_ms as f64);
                let reach = detector.reach_ms() as f64;
                assert!(reach >= 0.04 * known.min(grown) && reach < 4.0 * known, "{step_ms}, {count}: {reach}");
            }
        }
        assert_eq!(fed(&made("white", 3, 30), 1000).reach_ms(), 0);
    }

    #[test]
    fn the_time_to_a_limit_lies_between_its_bounds() {
        let values = made("trend", 5, 30 * DAY);
        let detector = fed(&values, 5 * MINUTE);
        // 20 + 0.01 × 9,000 = 110, 360 values ahead.
        let remaining = detector.remaining(110.0, Direction::Above).unwrap();
        let likely = remaining.likely_ms.unwrap();
        assert!((likely - at(9_000)).abs() < 5 * MINUTE * 100, "{remaining:?}");
        assert!(remaining.earliest_ms.unwrap() < likely && remaining.latest_ms.unwrap() > likely, "{remaining:?}");
        assert!(
            remaining.to_string().starts_with("in about 1.") && remaining.to_string().contains(" and "),
            "{remaining}"
        );
        let reached = detector.remaining(60.0, Direction::Above).unwrap();
        assert_eq!((reached.earliest_ms, reached.latest_ms), (Some(detector.last_ms()), Some(detector.last_ms())));
        assert_eq!(reached.to_string(), "reached");
        let never = detector.remaining(60.0, Direction::Below).unwrap();
        assert_eq!((never.earliest_ms, never.likely_ms), (None, None));
        assert_eq!(never.to_string(), "not within 11 d");
        let falling = fed(&values.iter().map(|value| -value).collect::<Vec<_>>(), 5 * MINUTE);
        let mirrored = falling.remaining(-110.0, Direction::Below).unwrap();
        assert!((mirrored.likely_ms.unwrap() - at(9_000)).abs() < 5 * MINUTE * 100, "{mirrored:?}");
        assert_eq!(detector.remaining(f64::NAN, Direction::Above), None);
        assert_eq!(Detector::new().remaining(5.0, Direction::Above), None);
    }

    #[test]
    fn a_gap_and_odd_times_do_no_harm() {
        let mut detector = fed(&made("white", 3, 4000), 5 * MINUTE);
        let after = at(4000) + 400 * 86_400_000;
        for (index, value) in made("white", 4, 2000).into_iter().enumerate() {
            detector.observe(after + 5 * MINUTE * index as i64, value + 100.0).unwrap();
        }
        let band = detector.forecast(detector.last_ms() + 3_600_000).unwrap();
        assert!((band.expected - 180.0).abs() < 2.0 && band.high - band.low < 12.0, "{band:?}");
        for time_ms in [i64::MIN, -5, 0, 0, 7, i64::MAX - 1, i64::MAX, i64::MAX] {
            for value in [1e100, -1e100, 0.0] {
                detector.observe(time_ms, value).unwrap();
            }
        }
        assert_eq!(detector.forecast(i64::MAX), None);
    }
}
