//! Numbers over time.

use super::draw::Draw;
use super::habits::{Course, Habit};
use super::shapes::Track;

pub(super) const MINUTE: i64 = 60_000;
pub(super) const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// How long something slow takes: weather, load, wear.
const DRIFT: i64 = 9 * HOUR;
/// How long an episode lasts.
const EPISODE: i64 = 2 * HOUR;
/// How likely one is in each such time.
const EPISODE_CHANCE: f64 = 0.25;
/// How likely it goes up.
const UP_CHANCE: f64 = 0.65;
/// The days a battery lasts.
const BATTERY_DAYS: (f64, f64) = (3.0, 9.0);
/// When counters began, 2024-01-01.
const ORIGIN: i64 = 1_704_067_200_000;

/// A number at a moment, in milliseconds since the epoch, on a device's track.
pub(super) fn number(habit: &Habit, draw: Draw, at: i64, track: &Track) -> f64 {
    let mid = f64::midpoint(habit.low, habit.high);
    let value = match habit.course {
        Course::Daily(hour) => daily(habit, draw, at, track, f64::from(hour)),
        Course::Daylight => {
            let sun = (std::f64::consts::PI * (track.hour(at) - 6.0) / 12.0).sin().max(0.0);
            let clouds = 0.75 + 0.25 * draw.of("clouds").smooth(at, HOUR);
            let floor = habit.min.max(0.0).min(habit.low);
            floor + (habit.high - floor) * sun * clouds
        }
        Course::Counter => counter(habit, draw, at),
        Course::Battery => {
            let days = draw.of("days").between(BATTERY_DAYS.0, BATTERY_DAYS.1);
            let spent = (at as f64 / (days * DAY as f64) + draw.of("charge").unit()).rem_euclid(1.0);
            habit.high - (habit.high - habit.low) * spent
        }
        Course::Still => habit.low + (habit.high - habit.low) * draw.unit(),
        Course::Latitude => track.at(at).lat,
        Course::Longitude => track.at(at).lon,
    };
    rounded(if value.is_finite() { value } else { mid }, habit)
}

fn daily(habit: &Habit, draw: Draw, at: i64, track: &Track, peak: f64) -> f64 {
    let (mid, width) = (f64::midpoint(habit.low, habit.high), habit.high - habit.low);
    let since_peak = track.hour(at) - peak + draw.of("late").between(-1.0, 1.0);
    let day = (std::f64::consts::TAU * since_peak / 24.0).cos();
    let drift = draw.of("drift").smooth(at, DRIFT);
    let noise = draw.of("noise").at(at).between(-1.0, 1.0);
    let usual = mid + width / 2.0 * (0.45 * day + 0.4 * drift + 0.1 * noise);
    usual + episode(draw.of("episode"), at) * width
}

/// Something out of the ordinary: rises and falls within its time. In parts of the usual width.
fn episode(draw: Draw, at: i64) -> f64 {
    let stretch = draw.stretch(at, EPISODE, 2 * EPISODE);
    let of = draw.at(stretch.number);
    let part = at.saturating_sub(stretch.since) as f64 / EPISODE as f64;
    if of.of("chance").unit() >= EPISODE_CHANCE || part >= 1.0 {
        return 0.0;
    }
    let sign = if of.of("sign").unit() < UP_CHANCE { 1.0 } else { -1.0 };
    sign * of.of("size").between(0.4, 1.0) * (std::f64::consts::PI * part).sin()
}

fn counter(habit: &Habit, draw: Draw, at: i64) -> f64 {
    let rate = draw.of("rate").between(habit.low.abs(), habit.high.abs());
    let hours = at.saturating_sub(ORIGIN).max(0) as f64 / HOUR as f64;
    // More by day than by night, and never backwards: the wave is flatter than the slope.
    let wave = (std::f64::consts::TAU * hours / 24.0).sin() * 24.0 / std::f64::consts::TAU * 0.6;
    let floor = habit.min.max(0.0).min(habit.max);
    let grown = rate * (hours - wave);
    floor + if habit.max > floor { grown.rem_euclid(habit.max - floor) } else { 0.0 }
}

/// With the decimals of the habit, and within it; without them where no such number is within.
fn rounded(value: f64, habit: &Habit) -> f64 {
    let value = value.clamp(habit.min, habit.max);
    let scale = 10_f64.powi(i32::from(habit.decimals));
    let is_within = |one: &f64| (habit.min..=habit.max).contains(one);
    let near = [(value * scale).round(), (value * scale).floor(), (value * scale).ceil()].map(|one| one / scale);
    near.into_iter().find(is_within).unwrap_or(value)
}

/// The whole number nearest to one, within bounds of its own and of its schema.
pub(super) fn whole(value: f64, habit: &Habit, low: i64, high: i64) -> i64 {
    let least = (habit.min.ceil() as i64).clamp(low, high);
    let most = (habit.max.floor() as i64).clamp(low, high);
    (value.round() as i64).max(least).min(most.max(least))
}

#[cfg(test)]
mod tests {
    use super::super::additions::Bounds;
    use super::super::habits::Facts;
    use super::super::shapes::{Place, Track};
    use super::*;

    const NOON: i64 = 1_780_315_200_000;

    fn track() -> Track {
        Track::new(Place { lat: 0.0, lon: 0.0 }, Draw::new(1))
    }

    fn over(days: i64, facts: Facts<'_>, seed: u64) -> Vec<f64> {
        let habit = Habit::of(&facts);
        let times = (0..days * 24 * 60).map(|minute| NOON + minute * MINUTE);
        times.map(|at| number(&habit, Draw::new(seed), at, &track())).collect()
    }

    fn facts(name: &'static str) -> Facts<'static> {
        Facts { name, ..Facts::default() }
    }

    #[test]
    fn a_number_stays_where_it_is_usual_and_now_and_then_does_not() {
        let temperature = Facts { unit: Some("degreeCelsius"), ..facts("t") };
        let values: Vec<f64> = (0..20).flat_map(|seed| over(2, temperature, seed)).collect();
        let usual = values.iter().filter(|one| (18.0..=27.0).contains(*one)).count() as f64 / values.len() as f64;
        assert!((0.85..0.999).contains(&usual), "{usual}");
        assert!(values.iter().all(|one| (9.0..=36.0).contains(one)));
        assert!(values.iter().any(|one| *one > 29.0) && values.iter().any(|one| *one < 16.0));
    }

    #[test]
    fn steps_are_small_and_days_have_a_rhythm() {
        let values = over(20, Facts { unit: Some("degreeCelsius"), ..facts("t") }, 3);
        let largest = values.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f64::max);
        assert!(largest < 1.8, "{largest}");
        // Noon is the first value, so 3 in the afternoon is 180 minutes on.
        let mean_at = |minute: usize| values.iter().skip(minute).step_by(1_440).sum::<f64>() / 20.0;
        assert!(mean_at(180) > mean_at(900) + 2.0, "{} {}", mean_at(180), mean_at(900));
    }

    #[test]
    fn bounds_and_decimals_are_kept() {
        for (min, max, decimals) in [(0.0, 1.0, 0), (-3.0, 3.0, 1), (0.11, 0.14, 1), (5.0, 5.0, 2), (1e6, 1e7, 3)] {
            let bounds = Bounds { min: Some(min), max: Some(max), decimals: Some(decimals), ..Bounds::default() };
            for name in ["x", "total", "battery", "solar"] {
                let values = over(2, Facts { bounds, ..facts(name) }, 5);
                assert!(values.iter().all(|one| (min..=max).contains(one)), "{name} {min} {max}");
            }
        }
        let bounds = Bounds { decimals: Some(1), ..Bounds::default() };
        let values = over(1, Facts { bounds, ..facts("x") }, 5);
        assert!(values.iter().all(|one| (one * 10.0 - (one * 10.0).round()).abs() < 1e-9));
    }

    #[test]
    fn counters_grow_and_batteries_empty() {
        let energy = Facts { semantic_type: Some("Energy"), unit: Some("kilowattHour"), ..facts("e") };
        let values = over(3, energy, 1);
        assert!(values.windows(2).all(|pair| pair[0] <= pair[1]));
        assert!((5.0..150.0).contains(&(values[values.len() - 1] - values[0])));
        let battery = over(10, Facts { unit: Some("percent"), ..facts("battery") }, 1);
        let fills = battery.windows(2).filter(|pair| pair[1] > pair[0] + 10.0).count();
        assert!((1..=4).contains(&fills), "{fills}");
    }

    #[test]
    fn the_sun_is_down_at_night() {
        let values = over(1, Facts { unit: Some("lux"), semantic_type: Some("Illuminance"), ..facts("l") }, 1);
        let at = |hour: usize| values[hour * 60];
        assert!(at(0) > 300.0, "{}", at(0));
        assert!(at(12) < 1.0, "{}", at(12));
    }

    #[test]
    fn whole_numbers_keep_to_their_schema() {
        let habit = |min, max| {
            let bounds = Bounds { min: Some(min), max: Some(max), ..Bounds::default() };
            Habit::of(&Facts { bounds, ..facts("x") })
        };
        assert_eq!(whole(2.7, &habit(0.5, 2.9), -10, 10), 2);
        assert_eq!(whole(7e9, &habit(3e9, 8e9), i64::from(i32::MIN), i64::from(i32::MAX)), i64::from(i32::MAX));
        assert_eq!(whole(0.4, &habit(0.2, 0.4), -10, 10), 1, "there is none, so the next");
    }
}
