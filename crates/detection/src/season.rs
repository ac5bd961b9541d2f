//! What a signal usually is at each time of day, learned one visit at a time.
//!
//! The day has 96 slots of 15 minutes, in UTC. The mean of one visit to a slot
//! is folded in when the signal moves on to another slot, so a fast and a slow
//! sampling rate teach the same profile. A slot is usable from the day after its
//! first visit.

/// Slots of a day.
pub(crate) const SLOTS: usize = 96;
const DAY_MS: i64 = 86_400_000;
const SLOT_MS: i64 = DAY_MS / SLOTS as i64;
/// Share of a new visit in a slot's mean, once it has been visited often.
const NEWEST_SHARE: f64 = 0.1;

/// Means by time of day.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Season {
    pub(crate) means: [f64; SLOTS],
    /// Completed visits, saturating.
    pub(crate) visits: [u8; SLOTS],
    /// Number of the slot being visited, counted from 1970.
    pub(crate) open_slot: i64,
    pub(crate) open_sum: f64,
    pub(crate) open_count: f64,
    /// Mean over the day, as far as it is known; follows from `means` and is not encoded.
    pub(crate) level: f64,
    /// Slots that have been visited; follows from `visits` and is not encoded.
    known: u8,
}

/// What the time of day adds to a signal, if it has a rhythm.
#[derive(Clone, Debug, PartialEq)]
pub struct Rhythm(pub(crate) Option<Season>);

impl Rhythm {
    /// Whether there is none.
    pub fn is_flat(&self) -> bool {
        self.0.is_none()
    }

    /// What is added at a time.
    pub fn at(&self, time_ms: i64) -> f64 {
        let season = self.0.as_ref();
        season.and_then(|season| Some(season.expected(time_ms)? - season.level)).unwrap_or(0.0)
    }
}

impl Season {
    pub(crate) fn new() -> Self {
        Season {
            means: [0.0; SLOTS],
            visits: [0; SLOTS],
            open_slot: 0,
            open_sum: 0.0,
            open_count: 0.0,
            level: 0.0,
            known: 0,
        }
    }

    /// The usual value at this time of day, if an earlier day has shown one.
    pub(crate) fn expected(&self, time_ms: i64) -> Option<f64> {
        let slot = slot_of_day(time_ms.div_euclid(SLOT_MS));
        (self.visits[slot] > 0).then(|| self.means[slot])
    }

    /// Takes in one value.
    pub(crate) fn learn(&mut self, time_ms: i64, value: f64) {
        let slot = time_ms.div_euclid(SLOT_MS);
        if slot != self.open_slot && self.open_count > 0.0 {
            self.close();
        }
        self.open_slot = slot;
        self.open_sum += value;
        self.open_count += 1.0;
    }

    fn close(&mut self) {
        let slot = slot_of_day(self.open_slot);
        let mean = self.open_sum / self.open_count;
        self.known += u8::from(self.visits[slot] == 0);
        self.visits[slot] = self.visits[slot].saturating_add(1);
        let share = (1.0 / f64::from(self.visits[slot])).max(NEWEST_SHARE);
        self.means[slot] += (mean - self.means[slot]) * share;
        self.open_sum = 0.0;
        self.open_count = 0.0;
        self.take_level();
    }

    /// Works out what is not encoded.
    pub(crate) fn refresh(&mut self) {
        self.known = self.visits.iter().map(|visits| u8::from(*visits > 0)).sum();
        self.take_level();
    }

    /// Slots without a visit hold 0. In eight lanes, which the compiler can add side by side.
    fn take_level(&mut self) {
        let mut lanes = [0.0; 8];
        for chunk in self.means.as_chunks::<8>().0 {
            for (lane, mean) in lanes.iter_mut().zip(chunk) {
                *lane += mean;
            }
        }
        self.level = lanes.iter().sum::<f64>() / f64::from(self.known.max(1));
    }
}

fn slot_of_day(slot: i64) -> usize {
    slot.rem_euclid(SLOTS as i64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_known_from_its_second_day() {
        let mut season = Season::new();
        season.learn(0, 5.0);
        season.learn(60_000, 7.0);
        assert_eq!(season.expected(0), None);
        season.learn(SLOT_MS, 1.0);
        assert_eq!(season.expected(DAY_MS + 1), Some(6.0));
        assert_eq!(season.expected(DAY_MS + SLOT_MS), None);
    }

    #[test]
    fn times_before_1970_have_a_time_of_day_too() {
        let mut season = Season::new();
        season.learn(-DAY_MS, 5.0);
        season.learn(-DAY_MS + SLOT_MS, 5.0);
        assert_eq!(season.expected(0), Some(5.0));
    }
}
