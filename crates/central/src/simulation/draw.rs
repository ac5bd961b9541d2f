//! Numbers that look drawn and are not: the same seed, path and time give the same ones.

/// Where numbers come from: a seed, and by what path it was reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Draw(u64);

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        Self(mixed(seed))
    }

    /// The one under a name.
    pub(super) fn of(self, name: &str) -> Self {
        // FNV-1a, then mixed: names differ in few bits.
        let sum = name.bytes().fold(self.0, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Self(mixed(sum ^ 0xcbf2_9ce4_8422_2325))
    }

    /// The one at a place in a row.
    pub(super) fn at(self, place: i64) -> Self {
        Self(mixed(self.0 ^ mixed(place.cast_unsigned())))
    }

    /// A seed that leads on from here.
    pub(super) fn seed(self) -> u64 {
        self.0
    }

    /// From 0 to below 1.
    pub(super) fn unit(self) -> f64 {
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// From `low` to below `high`.
    pub(super) fn between(self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// A whole number from `low` to `high`, both possible.
    pub(super) fn whole(self, low: i64, high: i64) -> i64 {
        self.between(low as f64, high as f64 + 1.0) as i64
    }

    /// One of some.
    pub(super) fn pick<T>(self, of: &[T]) -> Option<&T> {
        of.get((self.unit() * of.len() as f64) as usize)
    }

    /// One of some, the earlier the likelier.
    pub(super) fn favour<T>(self, of: &[T]) -> Option<&T> {
        of.get((self.unit().powi(2) * of.len() as f64) as usize)
    }

    /// From -1 to 1 without jumps: drawn every `period` milliseconds and joined.
    pub(super) fn smooth(self, millis: i64, period: i64) -> f64 {
        let (slot, part) = (millis.div_euclid(period), millis.rem_euclid(period) as f64 / period as f64);
        let knot = |slot: i64| self.at(slot).between(-1.0, 1.0);
        let eased = part * part * (3.0 - 2.0 * part);
        knot(slot) + (knot(slot.saturating_add(1)) - knot(slot)) * eased
    }

    /// The number of the stretch of time a moment is in; stretches are from `shortest` to `longest` milliseconds long.
    pub(super) fn stretch(self, millis: i64, shortest: i64, longest: i64) -> Stretch {
        let length = self.of("length").whole(shortest, longest);
        let shifted = millis.saturating_add(self.of("shift").whole(0, length));
        let number = shifted.div_euclid(length);
        Stretch { number, since: millis.saturating_sub(shifted.rem_euclid(length)) }
    }
}

/// A stretch of time in which something stays as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stretch {
    /// Which.
    pub(super) number: i64,
    /// When it began, in milliseconds since the epoch.
    pub(super) since: i64,
}

/// The finisher of splitmix64.
fn mixed(of: u64) -> u64 {
    let of = of.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let of = (of ^ (of >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let of = (of ^ (of >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    of ^ (of >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_path_gives_the_same_and_another_another() {
        let draw = Draw::new(7);
        assert_eq!(draw.of("a").at(3), Draw::new(7).of("a").at(3));
        let different = [draw.of("a"), draw.of("b"), draw.of("ab"), draw.of("ba"), draw.at(0), Draw::new(8).of("a")];
        for (number, one) in different.iter().enumerate() {
            assert!(!different[number + 1..].contains(one), "{number}");
        }
    }

    #[test]
    fn numbers_are_spread_over_their_range() {
        let draws: Vec<f64> = (0..10_000).map(|place| Draw::new(1).at(place).unit()).collect();
        assert!(draws.iter().all(|one| (0.0..1.0).contains(one)));
        let mean = draws.iter().sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
        let counts = (0..6).map(|face| (0..6_000).filter(|n| Draw::new(2).at(*n).whole(1, 6) == face + 1).count());
        assert!(counts.into_iter().all(|count| (850..1150).contains(&count)));
    }

    #[test]
    fn what_is_smooth_has_no_jumps() {
        let draw = Draw::new(3);
        let steps = (-5_000..5_000).map(|at| (draw.smooth(at + 1, 100) - draw.smooth(at, 100)).abs());
        assert!(steps.fold(0.0, f64::max) < 0.04);
        assert!((-1.0..=1.0).contains(&draw.smooth(i64::MAX, 100)));
        assert!((-1.0..=1.0).contains(&draw.smooth(i64::MIN, 100)));
    }

    #[test]
    fn a_stretch_lasts_and_ends() {
        let draw = Draw::new(4);
        let of = |millis| draw.stretch(millis, 50, 80);
        let numbers: Vec<i64> = (0..1_000).map(|millis| of(millis).number).collect();
        let changes = numbers.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!((12..=20).contains(&changes), "{changes}");
        assert!((0..1_000).all(|millis| of(of(millis).since) == of(millis)));
    }

    #[test]
    fn nothing_is_picked_from_nothing() {
        assert_eq!(Draw::new(5).pick::<u8>(&[]), None);
        assert_eq!(Draw::new(5).favour(&[1]), Some(&1));
    }
}
