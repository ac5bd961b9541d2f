//! Acting like an edition of the reference service: its throttles, its daily quota, what it lacks.
//!
//! A hub without an edition is unlimited. With one, each kind of operation has a rate; what
//! comes faster first waits its turn, as long as the backlog is short, and is refused beyond
//! it ("IoT Hub quotas and throttling": traffic shaping). The daily quota counts messages in
//! 4 KB steps (0.5 KB for the free edition) and begins anew at midnight UTC.

use std::str::FromStr;
use std::time::Duration;

use gantry_identity::Timestamp;
use parking_lot::Mutex;

use crate::error::HubError;
use crate::hub::Hub;

/// How long an operation may wait its turn before it is refused.
const BACKLOG_MAX: Duration = Duration::from_secs(30);
/// How much of a second's rate may come at once.
const BURST: Duration = Duration::from_secs(1);
const DAY_MS: i64 = 86_400_000;

/// An edition and how many units of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edition {
    tier: Tier,
    size: u8,
    units: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tier {
    Free,
    Basic,
    Standard,
}

/// Why a text is no edition.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
#[error("`{0}` is no edition: F1, B1 to B3 or S1 to S3, with 1 to 200 units (1 to 10 of size 3), as `S1x2`")]
pub struct EditionError(String);

impl FromStr for Edition {
    type Err = EditionError;

    fn from_str(text: &str) -> Result<Self, EditionError> {
        let wrong = || EditionError(text.chars().take(32).collect());
        let upper = text.trim().to_ascii_uppercase();
        let (name, units) = upper.split_once('X').unwrap_or((&upper, "1"));
        let units: u16 = units.trim().parse().map_err(|_| wrong())?;
        let (tier, size, units_max) = match name.trim() {
            "F1" => (Tier::Free, 1, 1),
            "B1" => (Tier::Basic, 1, 200),
            "B2" => (Tier::Basic, 2, 200),
            "B3" => (Tier::Basic, 3, 10),
            "S1" => (Tier::Standard, 1, 200),
            "S2" => (Tier::Standard, 2, 200),
            "S3" => (Tier::Standard, 3, 10),
            _ => return Err(wrong()),
        };
        if (1..=units_max).contains(&units) { Ok(Self { tier, size, units }) } else { Err(wrong()) }
    }
}

/// What is throttled, each with a rate of its own ("IoT Hub quotas and throttling", operation throttles).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Registry reads and writes.
    Identity,
    /// New device connections.
    Connect,
    /// Device-to-cloud messages.
    Telemetry,
    /// Cloud-to-device messages sent.
    SendC2d,
    /// Cloud-to-device messages fetched over HTTPS.
    ReceiveC2d,
    /// File uploads begun.
    FileUpload,
    /// Direct methods, in 4 KB steps.
    Method,
    /// Queries.
    Query,
    /// Twin reads.
    TwinRead,
    /// Twin writes.
    TwinWrite,
    /// Operations on jobs.
    Job,
    /// Operations on configurations.
    Configuration,
    /// Device streams begun.
    Stream,
}

/// Every operation, in the order of their limiters.
const OPERATIONS: [Operation; 13] = [
    Operation::Identity,
    Operation::Connect,
    Operation::Telemetry,
    Operation::SendC2d,
    Operation::ReceiveC2d,
    Operation::FileUpload,
    Operation::Method,
    Operation::Query,
    Operation::TwinRead,
    Operation::TwinWrite,
    Operation::Job,
    Operation::Configuration,
    Operation::Stream,
];

impl Edition {
    /// Its name without units, such as `S1`.
    pub fn name(self) -> String {
        let letter = match self.tier {
            Tier::Free => 'F',
            Tier::Basic => 'B',
            Tier::Standard => 'S',
        };
        format!("{letter}{}", self.size)
    }

    /// `Free`, `Basic` or `Standard`.
    pub fn tier(self) -> &'static str {
        match self.tier {
            Tier::Free => "Free",
            Tier::Basic => "Basic",
            Tier::Standard => "Standard",
        }
    }

    /// How many units.
    pub fn units(self) -> u16 {
        self.units
    }

    /// Operations a second.
    fn rate(self, operation: Operation) -> f64 {
        let units = f64::from(self.units);
        let of_size = |first: f64, second: f64, third: f64| match self.size {
            1 => first,
            2 => second,
            _ => third,
        };
        let minute = 1.0 / 60.0;
        match operation {
            Operation::Identity | Operation::SendC2d | Operation::FileUpload | Operation::Job => {
                of_size(100.0, 100.0, 5_000.0) * minute * units
            }
            Operation::Connect | Operation::Telemetry => match self.size {
                1 => (12.0 * units).max(100.0),
                2 => 120.0 * units,
                _ => 6_000.0 * units,
            },
            Operation::ReceiveC2d => of_size(1_000.0, 1_000.0, 50_000.0) * minute * units,
            // 160 KB, 480 KB and 24 MB a second.
            Operation::Method => of_size(40.0, 120.0, 6_144.0) * units,
            Operation::Query => of_size(20.0, 20.0, 1_000.0) * minute * units,
            Operation::TwinRead => match self.size {
                1 => 100.0,
                2 => (10.0 * units).max(100.0),
                _ => 500.0 * units,
            },
            Operation::TwinWrite => match self.size {
                1 => 50.0,
                2 => (5.0 * units).max(50.0),
                _ => 250.0 * units,
            },
            Operation::Configuration => 20.0 * minute * units,
            Operation::Stream => 5.0,
        }
    }

    /// Messages a day.
    fn quota(self) -> u64 {
        let of_unit = match (self.tier, self.size) {
            (Tier::Free, _) => 8_000,
            (_, 1) => 400_000,
            (_, 2) => 6_000_000,
            _ => 300_000_000,
        };
        of_unit * u64::from(self.units)
    }

    /// Bytes that count as one message.
    fn meter(self) -> usize {
        if self.tier == Tier::Free { 512 } else { 4096 }
    }

    /// Whether the edition has an operation at all (basic editions only receive).
    fn offers(self, operation: Operation) -> bool {
        let basic = [Operation::Identity, Operation::Connect, Operation::Telemetry, Operation::FileUpload];
        self.tier != Tier::Basic || basic.contains(&operation)
    }
}

/// One rate: when the next operation has its turn, in microseconds (generic cell rate algorithm).
#[derive(Debug, Default)]
struct Limiter(Mutex<i64>);

impl Limiter {
    /// How long `cost` operations wait, or nothing when the backlog is too long.
    fn admit(&self, now: Timestamp, cost: f64, rate: f64) -> Option<Duration> {
        let now_us = now.as_millis().saturating_mul(1000);
        let mut next = self.0.lock();
        let turn = (*next).max(now_us);
        let wait_us = turn.saturating_sub(now_us).saturating_sub(us(BURST)).max(0);
        if wait_us > us(BACKLOG_MAX) {
            return None;
        }
        *next = turn.saturating_add((cost / rate * 1_000_000.0) as i64);
        Some(Duration::from_micros(wait_us.unsigned_abs()))
    }
}

fn us(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// The limiters of a hub that acts like an edition.
#[derive(Debug)]
pub(crate) struct Throttles {
    edition: Edition,
    limiters: [Limiter; OPERATIONS.len()],
    /// Day since the epoch, and messages counted in it.
    counted: Mutex<(i64, u64)>,
}

impl Throttles {
    pub(crate) fn new(edition: Edition) -> Self {
        Self { edition, limiters: Default::default(), counted: Mutex::default() }
    }

    fn admit(&self, now: Timestamp, operation: Operation, cost: u64) -> Result<Duration, HubError> {
        if !self.edition.offers(operation) {
            return Err(HubError::NotInEdition(operation));
        }
        let limiter = OPERATIONS.iter().position(|one| *one == operation).and_then(|at| self.limiters.get(at));
        let rate = self.edition.rate(operation);
        limiter.and_then(|limiter| limiter.admit(now, cost as f64, rate)).ok_or(HubError::Throttled(operation))
    }

    /// Counts messages against the day's quota.
    fn count(&self, now: Timestamp, sizes: impl Iterator<Item = usize>) -> Result<(), HubError> {
        let day = now.as_millis().div_euclid(DAY_MS);
        let meter = self.edition.meter();
        let messages: u64 = sizes.map(|bytes| bytes.div_ceil(meter).max(1) as u64).sum();
        let mut counted = self.counted.lock();
        if counted.0 != day {
            *counted = (day, 0);
        }
        if counted.1 + messages > self.edition.quota() {
            return Err(HubError::QuotaExceeded(self.edition.quota()));
        }
        counted.1 += messages;
        Ok(())
    }
}

impl Hub {
    /// How long an operation has to wait its turn: nothing unless the hub acts like an edition.
    ///
    /// # Errors
    /// [`HubError::Throttled`] when the backlog is too long, [`HubError::NotInEdition`].
    pub fn admit(&self, now: Timestamp, operation: Operation, cost: u64) -> Result<Duration, HubError> {
        match &self.throttles {
            Some(throttles) => throttles.admit(now, operation, cost),
            None => Ok(Duration::ZERO),
        }
    }

    /// Whether operations are throttled at all.
    pub fn is_throttled(&self) -> bool {
        self.throttles.is_some()
    }

    /// Counts messages of these sizes in bytes against the daily quota.
    ///
    /// # Errors
    /// [`HubError::QuotaExceeded`] until the next day begins (UTC).
    pub fn count_messages(&self, now: Timestamp, sizes: impl Iterator<Item = usize>) -> Result<(), HubError> {
        match &self.throttles {
            Some(throttles) => throttles.count(now, sizes),
            None => Ok(()),
        }
    }

    /// Messages counted today, and how many are allowed; none when the hub is unlimited.
    pub fn message_quota(&self, now: Timestamp) -> Option<(u64, u64)> {
        let throttles = self.throttles.as_ref()?;
        let (day, used) = *throttles.counted.lock();
        let is_today = day == now.as_millis().div_euclid(DAY_MS);
        Some((if is_today { used } else { 0 }, throttles.edition.quota()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edition(text: &str) -> Edition {
        text.parse().unwrap()
    }

    #[test]
    fn editions_are_read_and_bounded() {
        assert_eq!(edition("s1x2"), Edition { tier: Tier::Standard, size: 1, units: 2 });
        assert_eq!(edition("F1"), Edition { tier: Tier::Free, size: 1, units: 1 });
        assert_eq!(edition("S3 x 10").units(), 10);
        assert_eq!((edition("b2").name().as_str(), edition("b2").tier()), ("B2", "Basic"));
        assert_eq!((edition("F1").name().as_str(), edition("F1").tier()), ("F1", "Free"));
        for wrong in ["", "S4", "S3x11", "S1x201", "S1x0", "F1x2", "S1x", "x", "S1x2x3"] {
            assert!(Edition::from_str(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rates_are_those_of_the_table() {
        let rate = |text: &str, operation| (edition(text).rate(operation) * 100.0).round() / 100.0;
        for (text, operation, expected) in [
            ("S1", Operation::Telemetry, 100.0),
            ("S1x10", Operation::Telemetry, 120.0),
            ("S2x2", Operation::Telemetry, 240.0),
            ("S3", Operation::Connect, 6000.0),
            ("S1x2", Operation::Identity, 3.33),
            ("S3", Operation::Identity, 83.33),
            ("S2x200", Operation::TwinRead, 2000.0),
            ("S1x200", Operation::TwinRead, 100.0),
            ("S1", Operation::TwinWrite, 50.0),
            ("S1", Operation::Query, 0.33),
        ] {
            assert!((rate(text, operation) - expected).abs() < 0.01, "{text} {operation:?}: {}", rate(text, operation));
        }
    }

    #[test]
    fn a_burst_passes_then_turns_are_given_then_the_backlog_is_full() {
        let throttles = Throttles::new(edition("S1"));
        let now = Timestamp::from_millis(1_000_000);
        let waits: Vec<_> = (0..10_000).map_while(|_| throttles.admit(now, Operation::Telemetry, 1).ok()).collect();
        // 100 a second: one second's worth at once, then 30 seconds' worth in turn.
        assert!((3100..=3102).contains(&waits.len()), "{}", waits.len());
        assert_eq!(waits[99], Duration::ZERO);
        assert_eq!(waits[200].as_millis(), 1000);
        assert!(matches!(throttles.admit(now, Operation::Telemetry, 1), Err(HubError::Throttled(_))));
        let later = now.plus(Duration::from_secs(60));
        assert_eq!(throttles.admit(later, Operation::Telemetry, 1).unwrap(), Duration::ZERO);
        assert_eq!(throttles.admit(now, Operation::TwinRead, 1).unwrap(), Duration::ZERO, "each has its own rate");
    }

    #[test]
    fn the_quota_counts_in_steps_and_begins_anew_each_day() {
        let throttles = Throttles::new(edition("F1"));
        let now = Timestamp::from_millis(DAY_MS * 20_000 + 5);
        // 600 bytes are two messages of half a kilobyte.
        for _ in 0..4_000 {
            throttles.count(now, std::iter::once(600)).unwrap();
        }
        assert!(matches!(throttles.count(now, std::iter::once(0)), Err(HubError::QuotaExceeded(8_000))));
        let tomorrow = now.plus(Duration::from_secs(86_400));
        throttles.count(tomorrow, std::iter::once(1)).unwrap();
        let standard = Throttles::new(edition("S1"));
        standard.count(now, [400, 4096, 5000, 255 * 1024].into_iter()).unwrap();
        assert_eq!(standard.counted.lock().1, 1 + 1 + 2 + 64);
    }

    #[test]
    fn basic_editions_lack_what_goes_to_devices() {
        let throttles = Throttles::new(edition("B1"));
        let now = Timestamp::from_millis(0);
        for lacking in [Operation::SendC2d, Operation::Method, Operation::TwinRead, Operation::Job, Operation::Query] {
            assert!(matches!(throttles.admit(now, lacking, 1), Err(HubError::NotInEdition(_))), "{lacking:?}");
        }
        assert!(throttles.admit(now, Operation::Telemetry, 1).is_ok());
    }
}
