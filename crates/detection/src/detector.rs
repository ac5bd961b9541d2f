//! The detector of one numeric signal of one device.
//!
//! A value is looked at from seven sides (`Side`): its step from the value
//! before, its distance from the level of the last days, the same for means of
//! the last 12, 100 and 400 values, how far the last 12 are off from what earlier
//! days had at their time, and how restless the signal has become.
//! Each side remembers how large its deviations have been (`Tail`) and says how
//! rare the present one is, in decades: 3 is one in a thousand. The rarest side
//! decides, the others add a little. So nothing is tuned to a signal, and scores
//! compare across signals. What earlier days had is asked only while it says more
//! than the level does, and a level that the values leave behind, as those of a
//! meter do, is not asked at all.
//!
//! The score marks onsets (`Onset`). `Observation::surprise` is the same measure
//! without damping.
//!
//! Filters count values, not time: a signal may be sampled at any rate, miss
//! samples or change its rate. Only the time of day, gaps and the words use time.
//!
//! Promises: the same values give the same observations, also across
//! `to_bytes` and `from_bytes`; constant memory; no value panics.

use crate::forecast::{self, Direction, Forecaster, Remaining};
use crate::onset::{Judged, Onset};
use crate::reason::{Kind, Reason};
use crate::season::{Rhythm, Season};
use crate::tail::{Deviation, Rarity, Tail};

/// Score from which a value is worth an alert.
pub const ALERT_SCORE: f64 = 0.5;
/// Rarity, in decades, at which the score is `ALERT_SCORE`: one value in three thousand.
pub(crate) const ALERT_DECADES: f64 = 3.47;
/// Rarity from which a value has a reason and an episode begins.
pub(crate) const REASON_DECADES: f64 = 3.0;
/// Values larger than this in magnitude are refused: no sensor means them, and sums stay finite.
pub const VALUE_MAGNITUDE_MAX: f64 = 1e100;

/// Values before any score above 0.
pub(crate) const WARM_UP: u64 = 100;
/// Values before deviations are remembered: the first scales are still wild.
const SETTLE: u64 = 20;
/// Values with a known time of day before seasonal deviations are remembered.
const SEASON_SETTLE: u64 = 100;
/// Memory of level and scales, in values.
const MEMORY: f64 = 2000.0;
/// Decades a side must exceed before it supports the rarest one, and its weight then.
const SUPPORT_FROM: f64 = 2.5;
const SUPPORT_WEIGHT: f64 = 0.1;
/// A little less than 10 to the power of `SUPPORT_FROM`.
const SUPPORT_FROM_ONE_IN: f64 = 316.0;
/// Changes smaller than this share of the level are numerical noise.
pub(crate) const FLOOR_SHARE: f64 = 1e-6;
pub(crate) const FLOOR_MIN: f64 = 1e-12;
/// Something says more of a value than its level does when it is off by this share of what the level is off by.
pub(crate) const SAYS_MORE: f64 = 0.7;
/// A value this many usual deviations off moves a mean as far as one further off does: means are there to see what
/// lasts, and the value itself has a side of its own.
const PULL_MAX: f64 = 10.0;
/// An interval this many times the usual one is a gap: the step across it says nothing.
const GAP: f64 = 10.0;
/// The level is left behind by a signal whose mean deviation from it is nearly all to one side.
const LEFT_BEHIND: f64 = 0.9;
/// Values before that is known.
const LEFT_BEHIND_FROM: u64 = 200;
/// The band holds, up to the largest deviation known, twice (`BAND_WIDTH`) the deviation that `BAND_CORE` of the values
/// keep to, and at least `BAND_SHARE` of the values. The core is there because an anomaly is learned too: it
/// must last longer than 15 % of the memory before it counts as usual.
const BAND_CORE: f64 = 0.85;
const BAND_WIDTH: f64 = 2.0;
const BAND_SHARE: f64 = 0.95;
/// Values after which the width of the band is taken anew from what has been learned.
const BAND_EVERY: u64 = 16;
/// The width while nothing has been learned: as wide as the largest deviation allows.
pub(crate) const BAND_OPEN: f64 = 1e9;
/// Repetitions from which a value may be stuck, if the signal has varied this often.
const STUCK_RUN_MIN: u32 = 12;
const STUCK_CHANGES_MIN: u64 = 100;
/// A run counts as stuck from this many times the longest run before.
const STUCK_RATIO: f64 = 4.0;

/// Lengths of the means of the value, in values.
const MEAN_LENGTHS: [f64; 3] = [12.0, 100.0, 400.0];
/// Length of the mean step that says how restless a signal is.
const UNREST_LENGTH: f64 = 100.0;

/// The sides a value is looked at from; the order is part of the encoding.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Step,
    Value,
    Mean12,
    Mean100,
    Mean400,
    Season,
    Unrest,
}

const SIDES: usize = 7;
/// Where the tail of the season is: that of single values is written before it.
pub(crate) const SEASON_TAIL: usize = Side::Season as usize;
const ALL: [Side; SIDES] =
    [Side::Step, Side::Value, Side::Mean12, Side::Mean100, Side::Mean400, Side::Season, Side::Unrest];

impl Side {
    fn of_steps(self) -> bool {
        matches!(self, Side::Step | Side::Unrest)
    }
}

/// Where values are expected, in the signal's unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Band {
    /// Lower edge.
    pub low: f64,
    /// Middle: the level of the last days, or that of this time of day.
    pub expected: f64,
    /// Upper edge.
    pub high: f64,
}

/// What the detector makes of one value, from the values before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// When it was measured, milliseconds since 1970.
    pub time_ms: i64,
    /// The value.
    pub value: f64,
    /// In [0, 1]; from `ALERT_SCORE` the value begins something unusual. 0 for an ordinary value, which is off by less
    /// than one in a hundred are.
    pub score: f64,
    /// In [0, 1]; as the score, but it stays high while the unusual lasts.
    pub surprise: f64,
    /// Where the value was expected, once enough values are known.
    pub band: Option<Band>,
    /// How far the mean of the last 100 values has left the level of the last
    /// days, in half widths of the band; negative is below.
    pub departure: f64,
    /// Why the value is unusual, if it is.
    pub reason: Option<Reason>,
}

/// Why a value was refused; the detector is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum ObserveError {
    /// Not a number, or infinite.
    #[error("value `{value}` is not a finite number")]
    NotFinite {
        /// The value.
        value: f64,
    },
    /// Larger than any sensor means.
    #[error("value `{value}` exceeds {VALUE_MAGNITUDE_MAX:e} in magnitude")]
    TooLarge {
        /// The value.
        value: f64,
    },
}

/// Streaming detector of one signal; about 3.7 KiB.
#[derive(Clone, Debug, PartialEq)]
pub struct Detector {
    pub(crate) count: u64,
    pub(crate) last_ms: i64,
    /// Usual time between values.
    pub(crate) interval_ms: f64,
    pub(crate) last: f64,
    pub(crate) level: f64,
    /// Mean deviation of values from the level.
    pub(crate) level_scale: f64,
    /// Mean step.
    pub(crate) step_scale: f64,
    pub(crate) means: [f64; 3],
    pub(crate) season_count: u64,
    pub(crate) season_scale: f64,
    pub(crate) season_mean: f64,
    /// Mean signed deviation from the level.
    pub(crate) lead: f64,
    /// Mean size of the last steps.
    pub(crate) unrest: f64,
    /// Half widths of the band around the level and around the time of day, in scales.
    pub(crate) widths: [f64; 2],
    pub(crate) onset: Onset,
    /// How often the last value has come in a row, and the longest earlier run.
    pub(crate) run: u32,
    pub(crate) longest_run: u32,
    pub(crate) changes: u64,
    pub(crate) season: Season,
    pub(crate) tails: [Tail; SIDES],
    /// Deviations of the value alone from what earlier days had at its time: the band is made of them.
    pub(crate) off_season: Tail,
    pub(crate) forecaster: Forecaster,
}

/// A value seen from all sides; `None` where a side has nothing to compare with.
struct View {
    floor: f64,
    /// The step leads back to the level after an alert.
    returns: bool,
    deviations: [Option<Deviation>; SIDES],
    scales: [f64; SIDES],
    expected: Option<f64>,
    means: [f64; 3],
    season_mean: f64,
    unrest: f64,
    run: u32,
}

impl Default for Detector {
    fn default() -> Self {
        Self::new()
    }
}

impl Detector {
    /// A detector that has seen nothing.
    pub fn new() -> Self {
        Detector {
            count: 0,
            last_ms: 0,
            interval_ms: 0.0,
            last: 0.0,
            level: 0.0,
            level_scale: 0.0,
            step_scale: 0.0,
            means: [0.0; 3],
            season_count: 0,
            season_scale: 0.0,
            season_mean: 0.0,
            lead: 0.0,
            unrest: 0.0,
            widths: [BAND_OPEN; 2],
            onset: Onset::default(),
            run: 0,
            longest_run: 0,
            changes: 0,
            season: Season::new(),
            tails: std::array::from_fn(|_| Tail::new()),
            off_season: Tail::new(),
            forecaster: Forecaster::new(),
        }
    }

    /// Judges a value by those before it, then learns it.
    ///
    /// A value older than the one before is judged and learned like any other;
    /// it does not count as a gap.
    pub fn observe(&mut self, time_ms: i64, value: f64) -> Result<Observation, ObserveError> {
        if !value.is_finite() {
            return Err(ObserveError::NotFinite { value });
        }
        if value.abs() > VALUE_MAGNITUDE_MAX {
            return Err(ObserveError::TooLarge { value });
        }
        if self.count == 0 {
            self.start(time_ms, value);
            return Ok(Observation {
                time_ms,
                value,
                score: 0.0,
                surprise: 0.0,
                band: None,
                departure: 0.0,
                reason: None,
            });
        }
        let view = self.view(time_ms, value);
        let rarities = self.rarities(&view);
        let stuck = self.stuck_rarity(view.run);
        let warm = self.count >= WARM_UP;
        let decades = if warm { combine(&rarities).max(stuck) } else { 0.0 };

        let band = self.band(time_ms);
        let departure = self.departure(band);
        let Judged { score, surprise, since_ms } = self.onset.judge(decades, time_ms);
        let reason = since_ms.map(|since_ms| Reason {
            kind: self.kind(&view, &rarities, stuck, value),
            since_ms,
            at_ms: time_ms,
        });
        self.learn(&view, time_ms, value);
        Ok(Observation { time_ms, value, score, surprise, band, departure, reason })
    }

    /// Where a value at `time_ms` would be expected, once enough values are known.
    pub fn band(&self, time_ms: i64) -> Option<Band> {
        if self.count < WARM_UP {
            return None;
        }
        let (tail, expected, scale, width) = match self.season.expected(time_ms) {
            Some(expected) if self.has_rhythm() => (&self.off_season, expected, self.season_scale, self.widths[1]),
            _ => (&self.tails[Side::Value as usize], self.level, self.level_scale, self.widths[0]),
        };
        let half = self.usual(tail, scale, width);
        Some(Band { low: expected - half, expected, high: expected + half })
    }

    /// Where a value at `time_ms`, after the last one, is expected: nine of ten such forecasts hold. `None` while too
    /// little is known, for the past, and from [`reach_ms`](Self::reach_ms) after the last value on.
    pub fn forecast(&self, time_ms: i64) -> Option<Band> {
        let band = self.forecaster.at(self.last_ms, time_ms)?;
        let rhythm = self.rhythm(self.season.expected(time_ms));
        Some(Band { low: band.low + rhythm, expected: band.expected + rhythm, high: band.high + rhythm })
    }

    /// How far after the last value forecasts reach; 0 while there are none.
    pub fn reach_ms(&self) -> i64 {
        self.forecaster.reach_ms()
    }

    /// Time of the newest value.
    pub fn last_ms(&self) -> i64 {
        self.last_ms
    }

    /// The last value.
    pub fn last(&self) -> f64 {
        self.last
    }

    /// Until when forecasts stay what they are, but for the last value; another time with each new one.
    pub fn foreseen_ms(&self) -> i64 {
        self.forecaster.ends_ms
    }

    /// The rhythm of the signal's day.
    pub fn day(&self) -> Rhythm {
        Rhythm(self.has_rhythm().then(|| self.season.clone()))
    }

    /// When the signal reaches `limit`; `None` while too little is known.
    pub fn remaining(&self, limit: f64, direction: Direction) -> Option<Remaining> {
        let at = |time_ms| self.forecast(time_ms);
        forecast::remaining(self.last_ms, self.last, self.reach_ms(), limit, direction, at)
    }

    /// Values learned so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    fn start(&mut self, time_ms: i64, value: f64) {
        self.count = 1;
        self.last_ms = time_ms;
        self.last = value;
        self.level = value;
        self.means = [value; 3];
        self.run = 1;
        self.season.learn(time_ms, value);
    }

    /// A large usual deviation of those in `tail`, in the signal's unit.
    fn usual(&self, tail: &Tail, scale: f64, width: f64) -> f64 {
        (width * (scale + self.floor())).min(tail.largest.max(self.floor()))
    }

    /// Whether the time of day says clearly more than the level does.
    fn has_rhythm(&self) -> bool {
        self.season_count > SEASON_SETTLE && self.season_scale < SAYS_MORE * self.level_scale
    }

    /// What the time of day adds, where earlier days had `expected` at it.
    fn rhythm(&self, expected: Option<f64>) -> f64 {
        expected.filter(|_| self.has_rhythm()).map_or(0.0, |expected| expected - self.season.level)
    }

    fn floor(&self) -> f64 {
        FLOOR_SHARE * self.level.abs() + FLOOR_MIN
    }

    fn view(&self, time_ms: i64, value: f64) -> View {
        let expected = self.season.expected(time_ms);
        let off_season = expected.map_or(0.0, |expected| value - expected);
        let means = self.moved_means(value);
        let season_mean = self.moved_season_mean(off_season);
        let elapsed = time_ms.saturating_sub(self.last_ms) as f64;
        let gap = self.interval_ms > 0.0 && elapsed > GAP * self.interval_ms;
        let step = value - self.last;
        let unrest_share = 2.0 / (UNREST_LENGTH.min(self.count as f64) + 1.0);
        let unrest = if gap { self.unrest } else { self.unrest + (step.abs() - self.unrest) * unrest_share };
        let is_left = self.count > LEFT_BEHIND_FROM && self.lead.abs() > LEFT_BEHIND * self.level_scale;
        let from_level = |value: f64| (!is_left).then_some(value - self.level);
        let is_told = self.season_scale < self.level_scale;
        let sizes = [
            (!gap).then_some(step),
            from_level(value),
            from_level(means[0]),
            from_level(means[1]),
            from_level(means[2]),
            expected.filter(|_| is_told).map(|_| season_mean),
            Some(unrest),
        ];
        let scales = [
            self.step_scale,
            self.level_scale,
            self.level_scale,
            self.level_scale,
            self.level_scale,
            self.season_scale,
            self.step_scale,
        ];
        let floor = self.floor();
        View {
            floor,
            returns: !is_left && self.onset.alerted() && self.returns(value),
            deviations: std::array::from_fn(|side| {
                sizes[side].map(|size| Deviation::new(size.abs(), scales[side], floor))
            }),
            scales,
            expected,
            means,
            season_mean,
            unrest,
            run: if value == self.last { self.run.saturating_add(1) } else { 1 },
        }
    }

    /// The means after a value, which pulls them no further than `PULL_MAX` says.
    fn moved_means(&self, value: f64) -> [f64; 3] {
        let pull = if self.count > WARM_UP { PULL_MAX * self.level_scale } else { f64::INFINITY };
        let value = value.max(self.level - pull).min(self.level + pull);
        std::array::from_fn(|at| self.means[at] + (value - self.means[at]) * 2.0 / (MEAN_LENGTHS[at] + 1.0))
    }

    fn moved_season_mean(&self, off_season: f64) -> f64 {
        let pull = if self.season_count > SEASON_SETTLE { PULL_MAX * self.season_scale } else { f64::INFINITY };
        self.season_mean + (off_season.max(-pull).min(pull) - self.season_mean) * 2.0 / (MEAN_LENGTHS[0] + 1.0)
    }

    /// Whether a value is nearer to the level than the last, and not far on the other side of it.
    fn returns(&self, value: f64) -> bool {
        let (off, was_off) = (value - self.level, self.last - self.level);
        off.abs() < was_off.abs() && (off * was_off > 0.0 || off.abs() <= self.level_scale)
    }

    /// Rarities in decades; 0 for those below the largest that are too small to count.
    fn rarities(&self, view: &View) -> [f64; SIDES] {
        let (mut all, mut most) = ([Rarity::ORDINARY; SIDES], 1.0);
        for (at, (one, tail)) in all.iter_mut().zip(&self.tails).enumerate() {
            let returns = view.returns && ALL[at].of_steps();
            if let Some(deviation) = view.deviations[at].filter(|_| !returns) {
                *one = tail.rarity(deviation, view.floor);
            }
            if let Rarity::OneIn(many) = *one
                && many > most
            {
                most = many;
            }
        }
        all.map(|rarity| match rarity {
            Rarity::OneIn(many) if many < most && many < SUPPORT_FROM_ONE_IN => 0.0,
            rarity => rarity.decades(),
        })
    }

    /// Rarity of `run` equal values in a row, 0 while it is not a stuck sensor.
    fn stuck_rarity(&self, run: u32) -> f64 {
        if run < STUCK_RUN_MIN || self.changes < STUCK_CHANGES_MIN {
            return 0.0;
        }
        let ratio = f64::from(run) / f64::from(self.longest_run.max(1));
        if ratio < STUCK_RATIO { 0.0 } else { ALERT_DECADES + (ratio / STUCK_RATIO).log2() }
    }

    fn departure(&self, band: Option<Band>) -> f64 {
        let Some(band) = band else { return 0.0 };
        let half = (band.high - band.expected).max(self.floor());
        (self.means[1] - self.level) / half
    }

    fn kind(&self, view: &View, rarities: &[f64; SIDES], stuck: f64, value: f64) -> Kind {
        let mut side = Side::Step;
        for other in ALL {
            if rarities[other as usize] > rarities[side as usize] {
                side = other;
            }
        }
        if stuck > rarities[side as usize] {
            return Kind::Repeated { value, times: view.run };
        }
        // A value past all but a thousandth of those known is outside, however wide the band.
        let deviation = view.deviations[side as usize].map_or(0.0, |deviation| deviation.size);
        let tail = &self.tails[side as usize];
        let usual = self.usual(tail, view.scales[side as usize], width(tail)).min(deviation);
        let expected = view.expected.unwrap_or(self.level);
        let shift = |mean: usize| Kind::LevelShift {
            level: view.means[mean],
            usual: self.level,
            values: MEAN_LENGTHS[mean] as u32,
        };
        // Left, and not by this value alone.
        let was_leaving = 2.0 * (self.means[1] - self.level).abs() > (view.means[1] - self.level).abs();
        let level_left = was_leaving && rarities[Side::Mean100 as usize] >= REASON_DECADES;
        let of_level = matches!(side, Side::Value | Side::Mean12 | Side::Mean100 | Side::Mean400 | Side::Season);
        if let Some(drift) = self.drift(view).filter(|_| of_level && level_left) {
            return drift;
        }
        match side {
            Side::Step => Kind::Jump { from: self.last, to: value, usual },
            Side::Value => Kind::OutsideBand {
                value,
                band: Band { low: self.level - usual, expected: self.level, high: self.level + usual },
            },
            Side::Mean12 => shift(0),
            Side::Mean100 => shift(1),
            Side::Mean400 => shift(2),
            Side::Season => Kind::TimeOfDay { value: expected + view.season_mean, expected },
            Side::Unrest => Kind::Restless { step: view.unrest, usual: self.step_scale, values: UNREST_LENGTH as u32 },
        }
    }

    /// A steady change: the shorter the mean, the further it has gone, all in one direction.
    fn drift(&self, view: &View) -> Option<Kind> {
        let [short, middle, long] = view.means;
        let steps = [short - middle, middle - long, long - self.level];
        let one_way = steps.iter().all(|step| *step > 0.0) || steps.iter().all(|step| *step < 0.0);
        if !one_way || self.interval_ms <= 0.0 {
            return None;
        }
        // An exponential mean of length n lags (n - 1) / 2 values behind.
        let hours = |values: f64| values * self.interval_ms / 3_600_000.0;
        let per_hour = (short - long) / hours((MEAN_LENGTHS[2] - MEAN_LENGTHS[0]) / 2.0);
        let longest = hours(MEAN_LENGTHS[2]);
        let hours = ((short - self.level) / per_hour).min(longest);
        Some(Kind::Drift { per_hour, hours })
    }

    fn learn(&mut self, view: &View, time_ms: i64, value: f64) {
        let in_season = view.expected.is_some();
        self.season_count = self.season_count.saturating_add(u64::from(in_season));
        let season_settled = self.season_count > SEASON_SETTLE;
        for side in ALL {
            let settled = if side == Side::Season { season_settled } else { self.count >= SETTLE };
            if let Some(deviation) = view.deviations[side as usize].filter(|_| settled) {
                self.tails[side as usize].learn(deviation, view.floor);
            }
        }
        if let Some(expected) = view.expected.filter(|_| season_settled) {
            let deviation = Deviation::new((value - expected).abs(), self.season_scale, view.floor);
            self.off_season.learn(deviation, view.floor);
        }

        if time_ms >= self.last_ms {
            let plain = value - self.rhythm(view.expected);
            self.forecaster.observe(time_ms, plain, self.interval_ms, self.count);
        }
        self.count = self.count.saturating_add(1);
        let share = (1.0 / self.count as f64).max(1.0 / MEMORY);
        self.level_scale += ((value - self.level).abs() - self.level_scale) * share;
        self.lead += (value - self.level - self.lead) * share;
        self.level += (value - self.level) * share;
        self.step_scale += ((value - self.last).abs() - self.step_scale) * share;
        if let Some(expected) = view.expected {
            let share = (1.0 / self.season_count as f64).max(1.0 / MEMORY);
            self.season_scale += ((value - expected).abs() - self.season_scale) * share;
        }
        self.means = view.means;
        self.season_mean = view.season_mean;
        self.unrest = view.unrest;
        self.season.learn(time_ms, value);

        if view.run == 1 {
            self.longest_run = self.longest_run.max(self.run);
            self.changes = self.changes.saturating_add(1);
        }
        self.run = view.run;
        self.last = value;
        let elapsed = time_ms.saturating_sub(self.last_ms);
        if elapsed > 0 {
            let share = (1.0 / self.count as f64).max(0.01);
            // A gap is one sample missing or many; it must not become the usual interval at once.
            let elapsed =
                if self.interval_ms > 0.0 { (elapsed as f64).min(GAP * self.interval_ms) } else { elapsed as f64 };
            self.interval_ms += (elapsed - self.interval_ms) * if self.interval_ms > 0.0 { share } else { 1.0 };
            self.last_ms = time_ms;
        }
        if self.count.is_multiple_of(BAND_EVERY) {
            self.widths = [width(&self.tails[Side::Value as usize]), width(&self.off_season)];
        }
    }
}

/// A large usual deviation of those in `tail`, in scales.
fn width(tail: &Tail) -> f64 {
    let [core, share] = tail.quantiles([BAND_CORE, BAND_SHARE]);
    (core * BAND_WIDTH).max(share)
}

/// The rarest side, supported by the other rare ones.
fn combine(rarities: &[f64; SIDES]) -> f64 {
    let rarest = rarities.iter().copied().fold(0.0, f64::max);
    let support: f64 = rarities.iter().map(|rarity| (rarity - SUPPORT_FROM).max(0.0)).sum();
    rarest + SUPPORT_WEIGHT * support
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;
    const START: i64 = 1_400_000_000_000;

    /// Noise of a fixed sequence, in [-1, 1].
    fn noise(index: u64) -> f64 {
        let mixed = (index + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    /// Feeds `count` values of `signal`, five minutes apart; returns the detector and the alerts.
    fn feed(count: u64, signal: impl Fn(u64) -> f64) -> (Detector, Vec<(u64, Observation)>) {
        let mut detector = Detector::new();
        let mut alerts = Vec::new();
        for index in 0..count {
            let observed = detector.observe(START + 5 * MINUTE * index as i64, signal(index)).unwrap();
            if observed.score >= ALERT_SCORE {
                alerts.push((index, observed));
            }
        }
        (detector, alerts)
    }

    fn noisy(index: u64) -> f64 {
        80.0 + noise(index)
    }

    /// The reason of the first alert from the first of `rows` on, which must come by the last.
    #[track_caller]
    fn reason_within(rows: std::ops::RangeInclusive<u64>, signal: impl Fn(u64) -> f64) -> Kind {
        let (_, alerts) = feed(rows.end() + 1, signal);
        let (_, observed) = alerts.iter().find(|(at, _)| rows.contains(at)).expect("an alert");
        observed.reason.expect("a reason").kind
    }

    #[test]
    fn plain_noise_raises_few_alerts_and_weak_ones() {
        let (detector, alerts) = feed(20_000, noisy);
        // The alert level is one value in three thousand on each of seven sides.
        assert!(alerts.len() <= 20_000 / 800, "{}", alerts.len());
        assert!(alerts.iter().all(|(_, one)| one.score < 0.6));
        let band = detector.band(START).unwrap();
        assert!(band.low < 79.1 && band.high > 80.9 && band.high - band.low < 5.0, "{band:?}");
    }

    #[test]
    fn a_spike_a_shift_and_a_drift_are_named() {
        let spike = |index| if index == 1000 { 95.0 } else { noisy(index) };
        let kind = reason_within(1000..=1000, spike);
        assert!(matches!(kind, Kind::Jump { .. } | Kind::OutsideBand { .. }), "{kind:?}");

        let shift = |index| noisy(index) - if index < 1000 { 0.0 } else { 5.0 };
        reason_within(1000..=1002, shift);

        let drift = |index: u64| noisy(index) + 0.005 * index.saturating_sub(1500) as f64;
        let (_, alerts) = feed(2000, drift);
        let drifting = alerts.iter().find(|(at, one)| {
            *at > 1500 && matches!(one.reason, Some(Reason { kind: Kind::Drift { per_hour, .. }, .. }) if (0.03..0.12).contains(&per_hour))
        });
        assert!(drifting.is_some(), "{alerts:?}");
    }

    #[test]
    fn a_missing_daily_peak_is_unusual_for_the_time_of_day() {
        let daily = |index: u64| {
            let slot = index % 288;
            noisy(index) + if (100..200).contains(&slot) && index / 288 != 10 { 40.0 } else { 0.0 }
        };
        let (_, alerts) = feed(288 * 12, daily);
        let later = alerts.iter().filter(|(at, _)| *at >= 288 * 3);
        let (at, worst) = later.max_by(|a, b| a.1.score.total_cmp(&b.1.score)).expect("an alert");
        assert!((2980..3080).contains(at), "{at}");
        assert!(matches!(worst.reason.unwrap().kind, Kind::TimeOfDay { .. }), "{worst:?}");
    }

    #[test]
    fn a_stuck_sensor_is_named() {
        let stuck = |index: u64| noisy(index.min(700));
        let (_, alerts) = feed(900, stuck);
        let repeated = alerts
            .iter()
            .any(|(at, one)| *at <= 713 && matches!(one.reason, Some(Reason { kind: Kind::Repeated { .. }, .. })));
        assert!(repeated, "{alerts:?}");
    }

    #[test]
    fn a_constant_signal_is_calm_until_it_changes() {
        let constant = |index| if index < 5000 { 20.0 } else { 20.5 };
        let kind = reason_within(5000..=5000, constant);
        assert!(matches!(kind, Kind::Jump { .. } | Kind::OutsideBand { .. }), "{kind:?}");
        let (_, alerts) = feed(5000, |index| if index % 2 == 0 { 20.0 } else { 20.0 + 1e-9 });
        assert!(alerts.is_empty());
    }

    #[test]
    fn values_that_are_none_are_refused_and_leave_no_trace() {
        let (mut detector, _) = feed(200, noisy);
        let before = detector.clone();
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.1e100] {
            let error = detector.observe(START, value).unwrap_err();
            assert!(error.to_string().contains(&format!("{value}")), "{error}");
        }
        assert_eq!(detector, before);
    }

    #[test]
    fn huge_and_tiny_values_keep_everything_finite() {
        for scale in [1e100, 1e30, 1e-10] {
            let (detector, alerts) = feed(3000, |index| scale * noise(index) * 0.9);
            assert!(alerts.len() <= 5, "{scale}: {alerts:?}");
            let band = detector.band(START).unwrap();
            assert!(band.low.is_finite() && band.high.is_finite() && band.low < band.high);
        }
    }

    #[test]
    fn a_gap_a_late_value_and_another_rate_are_no_anomalies_by_themselves() {
        let mut detector = Detector::new();
        let mut now = START;
        for index in 0..6000u64 {
            now += match index {
                2000 => 9_000 * MINUTE,
                2500 => -20 * MINUTE,
                3000.. => 1_000,
                _ => 5 * MINUTE,
            };
            let observed = detector.observe(now, noisy(index)).unwrap();
            let changed = [2000..2020, 2500..2520, 3000..3050].iter().any(|rows| rows.contains(&index));
            assert!(!changed || observed.score < ALERT_SCORE, "{index}: {observed:?}");
        }
        for time_ms in [i64::MAX, i64::MIN, 0] {
            detector.observe(time_ms, 80.0).unwrap();
        }
    }

    #[test]
    fn the_way_back_is_no_second_alert_and_past_the_level_it_is_one() {
        let wave = |index: u64| 80.0 + 5.0 * (index as f64 * std::f64::consts::TAU / 400.0).sin() + 0.05 * noise(index);
        // From 1050 on it falls deeper than it ever does, and at 1100 it leaves in one step.
        let after = |back: f64| {
            let (_, alerts) = feed(1110, |index| match index {
                1050..1100 => wave(index) - 0.1 * (index - 1050) as f64,
                1100.. => wave(index) + back,
                _ => wave(index),
            });
            alerts.iter().map(|(at, _)| *at).filter(|at| *at >= 1050).collect::<Vec<_>>()
        };
        assert!(after(0.0).len() == 1 && after(0.0)[0] < 1100, "{:?}", after(0.0));
        assert!(after(20.0).contains(&1100), "{:?}", after(20.0));
    }

    #[test]
    fn one_far_value_pulls_a_mean_no_further_than_a_near_one() {
        let means = |far: f64| feed(1001, |index| if index == 1000 { far } else { noisy(index) }).0.means;
        assert_eq!(means(1e6), means(1e9));
        assert!(means(1e6)[0] < 82.0, "{:?}", means(1e6));
    }

    #[test]
    fn an_episode_keeps_its_begin_and_is_damped_after_its_onset() {
        let (mut detector, _) = feed(1000, noisy);
        let begin = START + 5 * MINUTE * 1000;
        let first = detector.observe(begin, 95.0).unwrap();
        let next = detector.observe(begin + 5 * MINUTE, 95.0).unwrap();
        assert!(first.score >= ALERT_SCORE && next.score < ALERT_SCORE);
        assert!(next.surprise >= ALERT_SCORE);
        assert_eq!(next.reason.unwrap().since_ms, begin);
    }
}
