//! Made series whose anomalies are known, because they were put in.
//!
//! Nine kinds of signal (`Shape`) and nine kinds of anomaly (`Fault`), nothing of them taken from a benchmark. They are
//! there to choose by: a constant of the detector that is better on these and on the other groups need not be tried on
//! the group that is scored. The seeds are fixed, so everybody makes the same series.
//!
//! Labels follow the benchmark: the windows of a series together cover a tenth of its rows, each around the row at
//! which its fault begins.

use crate::corpus::Series;

/// Rows of a series: two weeks at five minutes.
const ROWS: usize = 4032;
const STEP_MS: i64 = 300_000;
const ROWS_OF_DAY: f64 = 288.0;
/// 2020-01-06, a Monday.
const BEGIN_MS: i64 = 1_578_268_800_000;
/// Share of the rows that the windows of a series cover together.
const WINDOW_SHARE: f64 = 0.1;
/// Faults lie between these shares of the rows, one in each of equal parts.
const FAULTS_FROM: f64 = 0.3;
const FAULTS_TO: f64 = 0.95;

/// What a signal looks like while nothing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// A rhythm of the day, quieter at the weekend.
    Seasonal,
    /// A level that wanders.
    Drifting,
    /// A meter: grows, faster by day.
    Counter,
    /// A slow temperature, read in coarse steps.
    Quantised,
    /// Noise with heavy tails.
    Heavy,
    /// Events counted by interval, more by day, with bursts.
    Counts,
    /// A load that is on or off for irregular times.
    Switching,
    /// A cycle much shorter than a day.
    Cycle,
    /// At rest, with a short peak now and then.
    Peaks,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// One to five values far away.
    Spike,
    /// Another level, for good.
    Shift,
    /// Noisier for half a day.
    Unrest,
    /// The last value, for half a day.
    Stuck,
    /// A slow way off, and back at once.
    Drift,
    /// Nothing is measured: zero, or the lowest value.
    Dropout,
    /// The rhythm stops for a day.
    Flat,
    /// Peaks come four times as often for half a day.
    Dense,
    /// The pace changes for a day: a meter counts double, a cycle turns slower.
    Pace,
}

const SHAPES: [(Shape, &str, &[Fault]); 9] = {
    use Fault::{Dense, Drift, Dropout, Flat, Pace, Shift, Spike, Stuck, Unrest};
    [
        (Shape::Seasonal, "made-seasonal", &[Spike, Shift, Stuck, Flat, Drift, Dropout, Unrest]),
        (Shape::Drifting, "made-drifting", &[Spike, Shift, Unrest, Stuck, Dropout]),
        (Shape::Counter, "made-counter", &[Stuck, Pace, Spike, Shift]),
        (Shape::Quantised, "made-quantised", &[Spike, Shift, Drift, Stuck, Dropout]),
        (Shape::Heavy, "made-heavy", &[Spike, Shift, Unrest, Dropout, Drift]),
        (Shape::Counts, "made-counts", &[Spike, Shift, Flat, Dropout, Unrest]),
        (Shape::Switching, "made-switching", &[Spike, Shift, Stuck, Pace, Unrest]),
        (Shape::Cycle, "made-cycle", &[Spike, Shift, Unrest, Stuck, Pace, Flat]),
        (Shape::Peaks, "made-peaks", &[Dense, Spike, Shift, Unrest]),
    ]
};

/// So many made series of each shape, which is a group. Every eighth has no fault.
pub fn series(of_each: u64) -> Vec<Series> {
    let mut all = Vec::new();
    for (number, &(shape, group, faults)) in SHAPES.iter().enumerate() {
        for seed in 0..of_each {
            let mut random = Random::new(number as u64 * 1000 + seed);
            let count = if seed % 8 == 7 { 0 } else { 1 + seed as usize % 3 };
            let faults: Vec<(usize, Fault)> = (0..count)
                .map(|index| {
                    let part = (FAULTS_TO - FAULTS_FROM) / count as f64;
                    let share = FAULTS_FROM + part * (index as f64 + 0.15 + 0.7 * random.uniform());
                    ((share * ROWS as f64) as usize, faults[(seed as usize + index * 2) % faults.len()])
                })
                .collect();
            let name = format!("{group}/{seed}.csv");
            all.push(with_gaps(make(name, shape, &faults, &mut random), seed % 3 == 1, &mut random));
        }
    }
    all
}

fn make(name: String, shape: Shape, faults: &[(usize, Fault)], random: &mut Random) -> Series {
    let mut source = Source::new(shape, random);
    let mut values: Vec<f64> = Vec::with_capacity(ROWS);
    let size = 4.0 + 6.0 * random.uniform();
    let side: f64 = if random.uniform() < 0.5 { -1.0 } else { 1.0 };
    for row in 0..ROWS {
        let since = |wanted: Fault, rows: usize| {
            faults
                .iter()
                .find(|(at, fault)| *fault == wanted && (*at..*at + rows).contains(&row))
                .map(|(at, _)| row - at)
        };
        let half_day = ROWS_OF_DAY as usize / 2;
        source.pace = since(Fault::Pace, 2 * half_day).map_or(1.0, |_| 2.0);
        source.density = since(Fault::Dense, half_day).map_or(1.0, |_| 4.0);
        source.unrest = since(Fault::Unrest, half_day).map_or(1.0, |_| 0.75 * size);
        source.flat = since(Fault::Flat, 2 * half_day).is_some();
        let mut value = source.next(row, random);
        let scale = source.scale;
        if since(Fault::Spike, 1 + (size as usize) % 5).is_some() {
            value += side.max(source.lowest_side) * scale * size * 1.5;
        }
        if since(Fault::Shift, ROWS).is_some() {
            value += side.max(source.lowest_side) * scale * size;
        }
        if let Some(rows) = since(Fault::Drift, 2 * half_day) {
            value += side * scale * size * rows as f64 / half_day as f64;
        }
        if let Some(&last) = values.last().filter(|_| since(Fault::Stuck, half_day).is_some()) {
            value = last;
        }
        if since(Fault::Dropout, 12 * (1 + size as usize % 4)).is_some() {
            value = 0.0;
        }
        values.push(source.read(value));
    }
    let times_ms = (0..ROWS).map(|row| BEGIN_MS + STEP_MS * row as i64).collect();
    let half = (WINDOW_SHARE * ROWS as f64 / (2 * faults.len().max(1)) as f64) as usize;
    let windows = faults.iter().map(|(at, _)| (at - half, (at + half).min(ROWS - 1))).collect();
    Series { name, times_ms, values, windows }
}

/// Drops a tenth of the rows, and half a day before the first fault can be: what is missing is no anomaly.
fn with_gaps(mut series: Series, gaps: bool, random: &mut Random) -> Series {
    if !gaps {
        return series;
    }
    let silent = ROWS / 5..ROWS / 5 + ROWS_OF_DAY as usize / 2;
    let kept: Vec<usize> = (0..ROWS).filter(|row| !silent.contains(row) && random.uniform() >= 0.1).collect();
    let place = |row: usize| kept.partition_point(|&at| at < row).min(kept.len() - 1);
    for window in &mut series.windows {
        *window = (place(window.0), place(window.1));
    }
    series.times_ms = kept.iter().map(|&row| series.times_ms[row]).collect();
    series.values = kept.iter().map(|&row| series.values[row]).collect();
    series
}

/// The state of a signal between two rows.
struct Source {
    shape: Shape,
    base: f64,
    /// A usual deviation.
    scale: f64,
    swing: f64,
    period: f64,
    phase: f64,
    level: f64,
    until: usize,
    /// 1 where values cannot fall below the lowest, else -1.
    lowest_side: f64,
    pace: f64,
    density: f64,
    unrest: f64,
    flat: bool,
}

impl Source {
    fn new(shape: Shape, random: &mut Random) -> Self {
        let base = 10f64.powf(3.0 * random.uniform());
        let scale = base * (0.01 + 0.04 * random.uniform());
        let lowest_side = match shape {
            Shape::Counts | Shape::Peaks | Shape::Counter | Shape::Switching => 1.0,
            _ => -1.0,
        };
        Source {
            shape,
            base,
            scale,
            swing: scale * (3.0 + 7.0 * random.uniform()),
            period: 15.0 + 60.0 * random.uniform(),
            phase: random.uniform(),
            level: 0.0,
            until: 0,
            lowest_side,
            pace: 1.0,
            density: 1.0,
            unrest: 1.0,
            flat: false,
        }
    }

    fn day(&self, row: usize) -> f64 {
        if self.flat {
            return 0.0;
        }
        let day = row as f64 / ROWS_OF_DAY;
        let angle = std::f64::consts::TAU * (day + self.phase);
        let weekend = if day as usize % 7 >= 5 { 0.7 } else { 1.0 };
        weekend * (angle.sin() + 0.4 * (2.0 * angle).sin())
    }

    fn next(&mut self, row: usize, random: &mut Random) -> f64 {
        let noise = random.normal() * self.scale * self.unrest;
        match self.shape {
            Shape::Seasonal => self.base + self.swing * self.day(row) + noise,
            Shape::Drifting => {
                self.level += 0.15 * random.normal() * self.scale - 0.002 * self.level;
                self.base + self.level + noise
            }
            Shape::Counter => {
                let rate = self.scale * (1.0 + 0.5 * self.day(row)) * self.pace;
                self.level += (rate + 0.1 * noise).max(0.0);
                self.level
            }
            Shape::Quantised => {
                self.level += 0.1 * random.normal() * self.scale - 0.02 * self.level;
                self.base + 3.0 * self.level + 0.5 * self.swing * self.day(row)
            }
            Shape::Heavy => {
                let wide = random.normal() / (random.uniform() + 0.05).sqrt();
                self.base + wide * 0.5 * self.scale * self.unrest
            }
            Shape::Counts => {
                if row >= self.until && random.uniform() < 0.003 {
                    self.until = row + 2 + (6.0 * random.uniform()) as usize;
                    self.level = 1.0 + 3.0 * random.uniform();
                }
                let burst = if row < self.until { self.level } else { 0.0 };
                let expected = self.scale * (3.0 + 1.5 * self.day(row) + burst);
                (expected * (1.0 + 0.3 * self.unrest * random.normal())).max(0.0)
            }
            Shape::Switching => {
                if row >= self.until {
                    self.level = if self.level > 0.0 { 0.0 } else { self.swing };
                    self.until = row + ((10.0 + 50.0 * random.uniform()) / self.pace) as usize;
                }
                (0.2 * self.base + self.level + 0.3 * noise).max(0.0)
            }
            Shape::Cycle => {
                self.phase += 1.0 / (self.period * self.pace);
                let wave = if self.flat { 0.0 } else { (std::f64::consts::TAU * self.phase).sin() };
                self.base + self.swing * wave + 0.5 * noise
            }
            Shape::Peaks => {
                if random.uniform() < 0.01 * self.density {
                    self.until = row + 1 + (3.0 * random.uniform()) as usize;
                    self.level = self.swing * (1.0 + random.uniform());
                }
                let peak = if row < self.until { self.level } else { 0.0 };
                0.5 * self.scale + peak + 0.1 * noise.abs()
            }
        }
    }

    /// What the instrument shows.
    fn read(&self, value: f64) -> f64 {
        match self.shape {
            Shape::Quantised => (value / (0.5 * self.scale)).round() * 0.5 * self.scale,
            Shape::Counts => value.round(),
            _ => value,
        }
    }
}

/// Numbers of a fixed sequence (SplitMix64).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0xD134_2543_DE82_EF95).wrapping_add(1))
    }

    /// In [0, 1).
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Of mean 0 and deviation 1.
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_series_are_made_each_time_and_their_labels_fit() {
        let all = series(8);
        assert_eq!(all.len(), SHAPES.len() * 8);
        for (one, again) in all.iter().zip(series(8)) {
            assert_eq!((&one.name, &one.values), (&again.name, &again.values));
            assert_eq!(one.values.len(), one.times_ms.len());
            assert!(one.values.iter().all(|value| value.is_finite()));
            assert!(one.times_ms.windows(2).all(|pair| pair[0] < pair[1]));
            assert!(one.windows.windows(2).all(|pair| pair[0].1 < pair[1].0), "{}: {:?}", one.name, one.windows);
            assert!(one.windows.iter().all(|window| window.0 < window.1 && window.1 < one.values.len()));
        }
    }

    #[test]
    fn every_fault_of_a_shape_is_made() {
        for (_, group, faults) in SHAPES {
            let windows: usize =
                series(8).iter().filter(|one| one.name.starts_with(group)).map(|one| one.windows.len()).sum();
            assert!(windows >= faults.len(), "{group}");
        }
    }
}
