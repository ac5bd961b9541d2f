//! The state of detectors and health as bytes, for a checkpoint.
//!
//! All numbers are little-endian, floats are their IEEE 754 bits, so that a
//! restored state continues exactly:
//!
//! ```text
//! byte 0          version: of a detector 3, of a health and a machine 1
//! then            the fields of the state in the order `fields` names them, before
//!                 those of a machine the number of its signals as a u8: u8, u32, u64, i64, f32, f64;
//!                 an optional value is a u8 (0 or 1) and the value (0 if absent)
//! ```
//!
//! A detector takes 3,707 bytes, a health 111, a machine 204 for each of two
//! signals and less of more: all that is kept of a signal is less than 4 KiB. There is no checksum: the storage that keeps the
//! bytes has one.
//!
//! A detector of version 2 has the same fields and goes on at once. It looked at the mean of fifty values beside what
//! earlier days had at their time, where it is twelve now. What single values were off by is taken for what they are,
//! until that has been learned: it is more, so nothing is found rare that is not.
//!
//! A detector of version 1 (3,286 bytes) is read too: level, scales, means, the
//! profile of the day and the present episode go on. How rare its deviations were
//! is learned anew, because they were counted in other buckets and from other
//! sides: for its first 80 values such a detector finds nothing rare. It learns to
//! forecast from then on.

use crate::detector::{BAND_OPEN, Band, Detector, SEASON_TAIL, VALUE_MAGNITUDE_MAX};
use crate::forecast::{Check, EDGE_RANGE, Forecaster, is_power};
use crate::health::Health;
use crate::machine::Machine;
use crate::onset::Onset;
use crate::reason::{Kind, Reason};
use crate::season::Season;
use crate::tail::{Tail, WEIGHT_MAX};

/// Version of a detector that `to_bytes` writes.
pub const VERSION: u8 = 3;
/// The versions of a detector before, and the bytes the histograms of the first took.
const VERSION_2: u8 = 2;
const VERSION_1: u8 = 1;
const TAILS_BEFORE: usize = 8 * (64 * 4 + 3 * 8);
/// Versions of a health and of a machine.
const HEALTH_VERSION: u8 = 1;
const MACHINE_VERSION: u8 = 1;

/// No number of a state is larger: values are bounded, and sums hold few of them.
const NUMBER_MAX: f64 = 1e110;

/// Why bytes are not a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Written by a newer program, or not a state at all.
    #[error("state version {found} is not known, {VERSION} is the newest")]
    Version {
        /// The first byte.
        found: u8,
    },
    /// Cut off, or something follows.
    #[error("state of {found} bytes has the wrong length")]
    Length {
        /// Bytes given.
        found: usize,
    },
    /// A number that no state holds, such as a NaN.
    #[error("state holds an impossible number before byte {at}")]
    Number {
        /// Where.
        at: usize,
    },
}

/// Visits every field in order: one walk writes and the same walk reads.
trait Walk {
    fn bytes<const N: usize>(&mut self, bytes: &mut [u8; N]);
    /// Notes that the field just visited is (not) possible.
    fn check(&mut self, possible: bool);

    fn u8(&mut self, field: &mut u8) {
        let mut bytes = [*field];
        self.bytes(&mut bytes);
        *field = bytes[0];
    }
    fn u16(&mut self, field: &mut u16) {
        let mut bytes = field.to_le_bytes();
        self.bytes(&mut bytes);
        *field = u16::from_le_bytes(bytes);
    }
    fn u32(&mut self, field: &mut u32) {
        let mut bytes = field.to_le_bytes();
        self.bytes(&mut bytes);
        *field = u32::from_le_bytes(bytes);
    }
    fn u64(&mut self, field: &mut u64) {
        let mut bytes = field.to_le_bytes();
        self.bytes(&mut bytes);
        *field = u64::from_le_bytes(bytes);
    }
    fn i64(&mut self, field: &mut i64) {
        let mut bytes = field.to_le_bytes();
        self.bytes(&mut bytes);
        *field = i64::from_le_bytes(bytes);
    }
    fn f32(&mut self, field: &mut f32) {
        let mut bytes = field.to_le_bytes();
        self.bytes(&mut bytes);
        *field = f32::from_le_bytes(bytes);
        self.check(field.is_finite());
    }
    fn f64(&mut self, field: &mut f64) {
        self.bounded(field, NUMBER_MAX);
    }
    fn bounded(&mut self, field: &mut f64, size_max: f64) {
        let mut bytes = field.to_le_bytes();
        self.bytes(&mut bytes);
        *field = f64::from_le_bytes(bytes);
        self.check(field.abs() <= size_max);
    }
    fn optional_i64(&mut self, field: &mut Option<i64>) {
        let mut present = u8::from(field.is_some());
        let mut value = field.unwrap_or(0);
        self.u8(&mut present);
        self.check(present <= 1);
        self.i64(&mut value);
        *field = (present == 1).then_some(value);
    }
}

struct Writer(Vec<u8>);

impl Walk for Writer {
    fn bytes<const N: usize>(&mut self, bytes: &mut [u8; N]) {
        self.0.extend_from_slice(bytes);
    }
    fn check(&mut self, possible: bool) {
        debug_assert!(possible, "a state of ours holds an impossible number");
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    length: usize,
    error: Option<DecodeError>,
}

impl Walk for Reader<'_> {
    fn bytes<const N: usize>(&mut self, bytes: &mut [u8; N]) {
        match self.rest.split_first_chunk::<N>() {
            Some((found, rest)) => {
                *bytes = *found;
                self.rest = rest;
            }
            None => {
                self.error.get_or_insert(DecodeError::Length { found: self.length });
            }
        }
    }
    fn check(&mut self, possible: bool) {
        if !possible {
            let at = self.length - self.rest.len();
            self.error.get_or_insert(DecodeError::Number { at });
        }
    }
}

fn write(version: u8, fields: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer(vec![version]);
    fields(&mut writer);
    writer.0
}

fn read<T>(bytes: &[u8], mut state: T, fields: impl FnOnce(&mut T, &mut Reader<'_>)) -> Result<T, DecodeError> {
    let Some((_, rest)) = bytes.split_first() else {
        return Err(DecodeError::Length { found: 0 });
    };
    let mut reader = Reader { rest, length: bytes.len(), error: None };
    fields(&mut state, &mut reader);
    match reader.error {
        Some(error) => Err(error),
        None if !reader.rest.is_empty() => Err(DecodeError::Length { found: bytes.len() }),
        None => Ok(state),
    }
}

impl Detector {
    /// The whole state, in the newest format.
    pub fn to_bytes(&self) -> Vec<u8> {
        write(VERSION, |writer| self.clone().fields(writer))
    }

    /// The detector that `to_bytes` wrote; it continues exactly if it was written in the newest format.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut detector = match bytes.first() {
            Some(&VERSION) | None => read(bytes, Detector::new(), |state, reader| state.fields(reader)),
            Some(&VERSION_2) => read(bytes, Detector::new(), |state, reader| state.fields(reader)),
            Some(&VERSION_1) => read(bytes, Detector::new(), |state, reader| state.fields_1(reader)),
            Some(&found) => Err(DecodeError::Version { found }),
        }?;
        detector.season.refresh();
        match bytes.first() {
            Some(&VERSION_1) => detector.unrest = detector.step_scale,
            Some(&VERSION_2) => detector.tails[SEASON_TAIL] = detector.off_season.clone(),
            _ => {}
        }
        Ok(detector)
    }

    fn fields(&mut self, walk: &mut impl Walk) {
        self.fields_first(walk);
        walk.f64(&mut self.season_mean);
        walk.f64(&mut self.lead);
        walk.f64(&mut self.unrest);
        walk.check(self.unrest >= 0.0);
        self.widths.iter_mut().for_each(|width| walk.f64(width));
        walk.check(self.widths.iter().all(|width| (0.0..=BAND_OPEN).contains(width)));
        self.fields_then(walk);
        let (first, last) = self.tails.split_at_mut(SEASON_TAIL);
        first.iter_mut().chain([&mut self.off_season]).chain(last).for_each(|one| tail(one, walk));
        forecaster(&mut self.forecaster, walk);
    }

    /// The fields of version 1.
    fn fields_1(&mut self, reader: &mut Reader<'_>) {
        self.fields_first(reader);
        // The mean of 12 seasonal deviations that nothing asks for any more, then the one of 50.
        reader.f64(&mut 0.0);
        reader.f64(&mut self.season_mean);
        self.fields_then(reader);
        reader.bytes(&mut [0; TAILS_BEFORE]);
    }

    fn fields_first(&mut self, walk: &mut impl Walk) {
        walk.u64(&mut self.count);
        walk.i64(&mut self.last_ms);
        for field in
            [&mut self.interval_ms, &mut self.last, &mut self.level, &mut self.level_scale, &mut self.step_scale]
        {
            walk.f64(field);
        }
        self.means.iter_mut().for_each(|mean| walk.f64(mean));
        walk.u64(&mut self.season_count);
        walk.f64(&mut self.season_scale);
    }

    fn fields_then(&mut self, walk: &mut impl Walk) {
        onset(&mut self.onset, walk);
        walk.u32(&mut self.run);
        walk.u32(&mut self.longest_run);
        walk.u64(&mut self.changes);
        season(&mut self.season, walk);
    }
}

fn season(season: &mut Season, walk: &mut impl Walk) {
    season.means.iter_mut().for_each(|mean| walk.f64(mean));
    season.visits.iter_mut().for_each(|visits| walk.u8(visits));
    walk.i64(&mut season.open_slot);
    walk.f64(&mut season.open_sum);
    walk.f64(&mut season.open_count);
}

fn onset(onset: &mut Onset, walk: &mut impl Walk) {
    walk.f64(&mut onset.bar);
    walk.f64(&mut onset.bar_fall);
    walk.optional_i64(&mut onset.since_ms);
    walk.u32(&mut onset.calm);
}

fn tail(tail: &mut Tail, walk: &mut impl Walk) {
    for bin in &mut tail.bins {
        walk.f32(bin);
        // The memory holds 2,000 deviations of the largest weight.
        walk.check((0.0..=1e4 * WEIGHT_MAX as f32).contains(bin));
    }
    walk.f64(&mut tail.total);
    walk.check(tail.total >= 0.0);
    walk.f64(&mut tail.weight);
    walk.check((1.0..=WEIGHT_MAX).contains(&tail.weight));
    walk.f64(&mut tail.largest);
    walk.check(tail.largest >= 0.0);
}

fn forecaster(forecaster: &mut Forecaster, walk: &mut impl Walk) {
    let mut power = forecaster.power.map_or(0, |power| power.wrapping_add(64) as u8);
    walk.u8(&mut power);
    forecaster.power = (power > 0).then(|| (power as i8).wrapping_sub(64));
    walk.check(forecaster.power.is_none_or(is_power));
    walk.u32(&mut forecaster.buckets);
    walk.i64(&mut forecaster.wake_ms);
    walk.i64(&mut forecaster.ends_ms);
    walk.bounded(&mut forecaster.sum, 1e109);
    walk.u32(&mut forecaster.count);
    walk.bounded(&mut forecaster.last, 1e104);
    // No larger ones come of the memory there is and the values there may be.
    for (sum, size_max) in forecaster.sums.iter_mut().zip([100.0, 1e6, 1e11, 1e103, 1e108]) {
        walk.bounded(sum, size_max);
    }
    walk.check(forecaster.sums[0] >= 0.0);
    walk.i64(&mut forecaster.origin_ms);
    for check in &mut forecaster.checks {
        let Check { due_ms, forecasts, errors, edges, checked } = check;
        walk.optional_i64(due_ms);
        forecasts.iter_mut().for_each(|forecast| walk.bounded(forecast, 1e105));
        errors.iter_mut().for_each(|error| walk.bounded(error, 1e106));
        for edge in edges {
            walk.f64(edge);
            walk.check(EDGE_RANGE.contains(edge));
        }
        walk.u32(checked);
    }
}

impl Health {
    /// The whole state, format 1.
    pub fn to_bytes(&self) -> Vec<u8> {
        write(HEALTH_VERSION, |writer| self.clone().fields(writer))
    }

    /// The health that `to_bytes` wrote; it continues exactly.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        if let Some(&found) = bytes.first().filter(|version| **version != HEALTH_VERSION) {
            return Err(DecodeError::Version { found });
        }
        read(bytes, Health::new(0), |state, reader| state.fields(reader))
    }

    fn fields(&mut self, walk: &mut impl Walk) {
        walk.i64(&mut self.serviced_ms);
        walk.i64(&mut self.last_ms);
        walk.f64(&mut self.burden);
        walk.f64(&mut self.sustained);
        walk.f64(&mut self.departure);
        walk.u32(&mut self.anomalies);
        walk.optional_i64(&mut self.episode_ms);
        walk.f64(&mut self.episode_severity);
        optional_reason(&mut self.latest, walk);
    }
}

impl Machine {
    /// The whole state, format 1.
    pub fn to_bytes(&self) -> Vec<u8> {
        write(MACHINE_VERSION, |writer| {
            writer.u8(&mut (self.signals() as u8));
            self.clone().fields(writer);
        })
    }

    /// The machine that `to_bytes` wrote; it continues exactly.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        if let Some(&found) = bytes.first().filter(|version| **version != MACHINE_VERSION) {
            return Err(DecodeError::Version { found });
        }
        let signals = bytes.get(1).ok_or(DecodeError::Length { found: bytes.len() })?;
        let machine = Machine::new(usize::from(*signals)).map_err(|_| DecodeError::Number { at: 2 })?;
        read(bytes, machine, |state, reader| {
            reader.u8(&mut 0);
            state.fields(reader);
        })
    }

    fn fields(&mut self, walk: &mut impl Walk) {
        walk.u64(&mut self.count);
        walk.u16(&mut self.known);
        walk.u16(&mut self.come);
        walk.u32(&mut self.messages);
        self.values.iter_mut().for_each(|value| walk.bounded(value, VALUE_MAGNITUDE_MAX));
        self.means.iter_mut().for_each(|mean| walk.bounded(mean, VALUE_MAGNITUDE_MAX));
        // Squares are larger than any other number.
        self.covariances.iter_mut().for_each(|shared| walk.bounded(shared, 1e202));
        self.inverse.iter_mut().for_each(|shared| walk.f64(shared));
        tail(&mut self.tail, walk);
        onset(&mut self.onset, walk);
    }
}

fn optional_reason(field: &mut Option<Reason>, walk: &mut impl Walk) {
    let (mut tag, mut numbers) = field.map_or((0, [0.0; 4]), |reason| kind_to_numbers(reason.kind));
    let (mut since_ms, mut at_ms) = field.map_or((0, 0), |reason| (reason.since_ms, reason.at_ms));
    walk.u8(&mut tag);
    numbers.iter_mut().for_each(|number| walk.f64(number));
    walk.i64(&mut since_ms);
    walk.i64(&mut at_ms);
    let kind = kind_from_numbers(tag, numbers);
    walk.check(tag == 0 || kind.is_some());
    *field = kind.map(|kind| Reason { kind, since_ms, at_ms });
}

fn kind_to_numbers(kind: Kind) -> (u8, [f64; 4]) {
    match kind {
        Kind::OutsideBand { value, band } => (1, [value, band.low, band.expected, band.high]),
        Kind::Jump { from, to, usual } => (2, [from, to, usual, 0.0]),
        Kind::LevelShift { level, usual, values } => (3, [level, usual, f64::from(values), 0.0]),
        Kind::Drift { per_hour, hours } => (4, [per_hour, hours, 0.0, 0.0]),
        Kind::TimeOfDay { value, expected } => (5, [value, expected, 0.0, 0.0]),
        Kind::Repeated { value, times } => (6, [value, f64::from(times), 0.0, 0.0]),
        Kind::Restless { step, usual, values } => (8, [step, usual, f64::from(values), 0.0]),
        Kind::Apart { value, expected } => (7, [value, expected, 0.0, 0.0]),
    }
}

fn kind_from_numbers(tag: u8, [a, b, c, d]: [f64; 4]) -> Option<Kind> {
    Some(match tag {
        1 => Kind::OutsideBand { value: a, band: Band { low: b, expected: c, high: d } },
        2 => Kind::Jump { from: a, to: b, usual: c },
        3 => Kind::LevelShift { level: a, usual: b, values: c as u32 },
        4 => Kind::Drift { per_hour: a, hours: b },
        5 => Kind::TimeOfDay { value: a, expected: b },
        6 => Kind::Repeated { value: a, times: b as u32 },
        8 => Kind::Restless { step: a, usual: b, values: c as u32 },
        7 => Kind::Apart { value: a, expected: b },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A time step, and a value that repeats often enough to be stuck at times.
    fn values() -> impl Strategy<Value = Vec<(i64, f64)>> {
        let value = prop_oneof![-1e3..1e3, Just(5.0), -1e100..1e100, (-3i32..3).prop_map(f64::from)];
        prop::collection::vec((-10_000i64..3_600_000, value), 1..600)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_restored_detector_and_health_continue_exactly(values in values(), cut in 0usize..600) {
            let cut = cut % values.len();
            let (mut detector, mut health) = (Detector::new(), Health::new(0));
            let mut restored = None;
            let mut now = 1_400_000_000_000;
            for (index, (step, value)) in values.into_iter().enumerate() {
                now += step;
                if index == cut {
                    restored = Some((
                        Detector::from_bytes(&detector.to_bytes()).unwrap(),
                        Health::from_bytes(&health.to_bytes()).unwrap(),
                    ));
                }
                let observed = detector.observe(now, value).unwrap();
                health.observe(&observed);
                prop_assert!((0.0..=1.0).contains(&observed.score));
                prop_assert!((0.0..=1.0).contains(&observed.surprise));
                if let Some((detector, health)) = &mut restored {
                    prop_assert_eq!(detector.observe(now, value).unwrap(), observed);
                    health.observe(&observed);
                }
            }
            prop_assert_eq!(restored.unwrap(), (detector, health));
        }

        #[test]
        fn no_bytes_make_decoding_or_the_decoded_panic(
            at in prop::collection::vec((0usize..3_800, any::<u8>()), 0..40),
            value in -1e9..1e9f64,
        ) {
            let mut bytes = Detector::new().to_bytes();
            for (at, byte) in at {
                let length = bytes.len();
                bytes[at % length] = byte;
            }
            if let Ok(mut detector) = Detector::from_bytes(&bytes) {
                for step in 0..100 {
                    let signed: f64 = if step % 3 == 0 { -value } else { value };
                    detector.observe(step * 60_000, signed).unwrap();
                }
                Detector::from_bytes(&detector.to_bytes()).unwrap();
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_restored_machine_continues_exactly(
            signals in 2usize..=12,
            messages in prop::collection::vec((0usize..12, prop_oneof![-1e3..1e3, Just(5.0), -1e100..1e100]), 1..600),
            cut in 0usize..600,
        ) {
            let mut machine = Machine::new(signals).unwrap();
            let mut restored: Option<Machine> = None;
            for (index, (shift, value)) in messages.iter().enumerate() {
                if index == cut % messages.len() {
                    restored = Some(Machine::from_bytes(&machine.to_bytes()).unwrap());
                }
                let note = |machine: &mut Machine| {
                    for signal in 0..signals {
                        machine.note((signal + shift) % 13, value * (1.0 + signal as f64));
                    }
                    machine.judge(index as i64 * 1000)
                };
                let judged = note(&mut machine);
                if let Some(restored) = &mut restored {
                    prop_assert_eq!(note(restored), judged);
                }
            }
            prop_assert_eq!(restored.unwrap(), machine);
        }

        #[test]
        fn no_bytes_make_a_machine_panic(
            at in prop::collection::vec((0usize..2_000, any::<u8>()), 0..40),
            value in -1e9..1e9f64,
        ) {
            let mut bytes = Machine::new(5).unwrap().to_bytes();
            for (at, byte) in at {
                let length = bytes.len();
                bytes[at % length] = byte;
            }
            if let Ok(mut machine) = Machine::from_bytes(&bytes) {
                for step in 0..300 {
                    (0..machine.signals()).for_each(|signal| machine.note(signal, value * (step % (signal as i64 + 3)) as f64));
                    machine.judge(step);
                }
            }
        }
    }

    #[test]
    fn counters_at_their_end_stay_there() {
        let mut bytes = Detector::new().to_bytes();
        bytes[1..9].fill(0xff);
        let mut detector = Detector::from_bytes(&bytes).unwrap();
        detector.observe(0, 1.0).unwrap();
        assert_eq!(detector.count(), u64::MAX);
    }

    #[test]
    fn the_documented_sizes_hold() {
        assert_eq!(Detector::new().to_bytes().len(), 3_707);
        assert_eq!(Health::new(0).to_bytes().len(), 111);
        for (signals, size) in [(2, 407), (3, 471), (12, 1_767)] {
            let machine = Machine::new(signals).unwrap().to_bytes().len();
            assert_eq!(machine, size);
            // All that is kept of a signal.
            assert!(3_707 + 111 + machine / signals <= 4_096);
        }
        assert!(size_of::<Detector>() <= 3_800);
        assert!(size_of::<Detector>() + size_of::<Health>() <= 4_096);
    }

    #[test]
    fn damaged_bytes_are_refused_with_the_cause() {
        let bytes = Detector::new().to_bytes();
        assert_eq!(Detector::from_bytes(&[]), Err(DecodeError::Length { found: 0 }));
        let cut = &bytes[..bytes.len() - 1];
        assert_eq!(Detector::from_bytes(cut), Err(DecodeError::Length { found: cut.len() }));
        let mut long = bytes.clone();
        long.push(0);
        assert_eq!(Detector::from_bytes(&long), Err(DecodeError::Length { found: long.len() }));
        let mut newer = bytes.clone();
        newer[0] = 4;
        assert_eq!(Detector::from_bytes(&newer), Err(DecodeError::Version { found: 4 }));
        // The first has other fields.
        for version in 1..VERSION {
            newer[0] = version;
            assert_eq!(Detector::from_bytes(&newer).is_ok(), version == 2, "{version}");
        }
        let mut nan = bytes;
        nan[17..25].copy_from_slice(&f64::NAN.to_le_bytes());
        assert_eq!(Detector::from_bytes(&nan), Err(DecodeError::Number { at: 25 }));
    }
}
