//! One partition's signals: a detector, a health and the last points of each.
//!
//! State is saved with the sequence number it stands at and restored with it, so that no
//! event counts twice and a replay gives the same state.
//!
//! Checkpoint, version 1, little-endian: `u8` version, `u64` next sequence number, `u32`
//! number of signals, then for each: device id, signal name, detector, health, each as
//! `u32` length and bytes.
//!
//! Bounds: [`DEVICE_SIGNALS_MAX`] signals a device and [`SIGNALS_MAX`] a partition (about
//! 3.5 KiB each), further ones are counted and not analysed; points are in memory only and
//! shared out so that all signals together keep at most [`POINTS_TOTAL_MAX`].

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use gantry_detection::Detector;
use gantry_detection::health::{Assessment, Health, most_urgent};
use gantry_hub::event::{MessageSource, StoredEvent};
use gantry_hub::reports::is_device_deleted;
use gantry_identity::Timestamp;

use crate::ANOMALY_SCORE;
use crate::signals;

/// Signals one partition follows.
pub const SIGNALS_MAX: usize = 16_000;
/// Signals one device may have followed, so that none can take the partition's.
pub const DEVICE_SIGNALS_MAX: usize = 64;
/// Points one signal keeps.
pub const POINTS_MAX: usize = 10_000;
/// Points all signals of a partition keep together.
pub const POINTS_TOTAL_MAX: usize = 1_000_000;
const VERSION: u8 = 1;

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
    /// Why, in words, for anomalies and what follows them.
    pub reason: Option<Arc<str>>,
}

impl Point {
    /// Whether it begins something unusual.
    pub fn is_anomaly(&self) -> bool {
        self.score >= ANOMALY_SCORE
    }
}

/// A point with where it belongs.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Device id.
    pub device: Arc<str>,
    /// Signal name.
    pub signal: Arc<str>,
    /// The point.
    pub point: Point,
}

#[derive(Debug)]
struct Signal {
    name: Arc<str>,
    detector: Detector,
    health: Health,
    last: Option<Point>,
    points: VecDeque<Point>,
}

#[derive(Debug, Default)]
struct Device {
    signals: Vec<Signal>,
}

impl Signal {
    fn new(name: &str, detector: Detector, health: Health) -> Self {
        Self { name: name.into(), detector, health, last: None, points: VecDeque::new() }
    }

    /// Keeps a point and at most `points_max` in all; says by how many there are more.
    fn keep(&mut self, point: &Point, points_max: usize) -> usize {
        self.last = Some(point.clone());
        let before = self.points.len();
        self.points.push_back(point.clone());
        if before >= points_max {
            self.points.pop_front();
        }
        self.points.len() - before
    }
}

/// All signals of one partition.
#[derive(Debug, Default)]
pub struct Pipeline {
    devices: HashMap<Arc<str>, Device>,
    signals: usize,
    points: usize,
    next: u64,
    not_analysed: u64,
}

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("checkpoint is damaged or of another version")]
pub struct RestoreError;

impl Pipeline {
    /// Sequence number of the next event to apply.
    pub fn next_sequence_number(&self) -> u64 {
        self.next
    }

    /// Values that were not analysed because of [`SIGNALS_MAX`] or because they are no numbers a sensor can mean.
    pub fn not_analysed(&self) -> u64 {
        self.not_analysed
    }

    /// Applies one event; events before [`next_sequence_number`](Self::next_sequence_number) are passed over.
    pub fn apply(&mut self, event: &StoredEvent) -> Vec<Judged> {
        if event.sequence_number < self.next {
            return vec![];
        }
        self.next = event.sequence_number + 1;
        if is_device_deleted(event) {
            self.remove(event.identity.device.as_str());
        }
        if event.source != MessageSource::Telemetry {
            return vec![];
        }
        let Some(sample) = signals::read(event) else { return vec![] };
        let id = event.identity.device.as_str();
        let device = match self.devices.get_key_value(id) {
            Some((key, _)) => Arc::clone(key),
            None => Arc::from(id),
        };
        let mut judged = Vec::with_capacity(sample.values.len());
        for (name, value) in sample.values {
            match self.judge(&device, &name, sample.at, value) {
                Some(one) => judged.push(one),
                None => self.not_analysed += 1,
            }
        }
        judged
    }

    fn judge(&mut self, device: &Arc<str>, name: &str, at: Timestamp, value: f64) -> Option<Judged> {
        let points_max = (POINTS_TOTAL_MAX / (self.signals + 1)).min(POINTS_MAX);
        let is_full = self.signals >= SIGNALS_MAX;
        let signals = match self.devices.get_mut(device) {
            Some(found) => &mut found.signals,
            None if is_full => return None,
            None => &mut self.devices.entry(Arc::clone(device)).or_default().signals,
        };
        let index = match signals.iter().position(|signal| &*signal.name == name) {
            Some(index) => index,
            None if is_full || signals.len() >= DEVICE_SIGNALS_MAX => return None,
            None => {
                signals.push(Signal::new(name, Detector::new(), Health::new(at.as_millis())));
                self.signals += 1;
                signals.len() - 1
            }
        };
        let signal = &mut signals[index];
        let observed = signal.detector.observe(at.as_millis(), value).ok()?;
        signal.health.observe(&observed);
        let point = Point {
            at,
            value,
            score: observed.score,
            band: observed.band.map(|band| (band.low, band.expected, band.high)),
            reason: observed.reason.map(|reason| reason.in_words(None).into()),
        };
        self.points += signal.keep(&point, points_max);
        // Signals that say little keep what they had when there were fewer; new points make room then.
        while self.points > POINTS_TOTAL_MAX && signal.points.pop_front().is_some() {
            self.points -= 1;
        }
        Some(Judged { device: Arc::clone(device), signal: Arc::clone(&signal.name), point })
    }

    /// The most urgent signal of a device, with its name, at the time of its last values.
    pub fn assess(&self, device: &str) -> Option<(Arc<str>, Assessment)> {
        let device = self.devices.get(device)?;
        let now = device.signals.iter().map(|signal| signal.health.last_ms()).max()?;
        let at = |signal: &Signal| signal.health.assess(now);
        let (index, assessment) = most_urgent(device.signals.iter().map(at))?;
        Some((Arc::clone(&device.signals[index].name), assessment))
    }

    /// The device was serviced: what was found before no longer counts.
    pub fn serviced(&mut self, device: &str) -> bool {
        let Some(device) = self.devices.get_mut(device) else { return false };
        for signal in &mut device.signals {
            signal.health.serviced(signal.health.last_ms());
        }
        true
    }

    /// Device ids.
    pub fn devices(&self) -> impl Iterator<Item = &Arc<str>> {
        self.devices.keys()
    }

    /// Signals of a device with their last point.
    pub fn signals(&self, device: &str) -> Vec<(Arc<str>, Option<Point>)> {
        let signals = self.devices.get(device).map_or(&[][..], |d| &d.signals);
        signals.iter().map(|s| (Arc::clone(&s.name), s.last.clone())).collect()
    }

    /// The last `limit` points of a signal, oldest first.
    pub fn series(&self, device: &str, signal: &str, limit: usize) -> Option<Vec<Point>> {
        let signal = self.devices.get(device)?.signals.iter().find(|s| &*s.name == signal)?;
        let skip = signal.points.len().saturating_sub(limit);
        Some(signal.points.iter().skip(skip).cloned().collect())
    }

    /// Forgets a device.
    pub fn remove(&mut self, device: &str) {
        if let Some(device) = self.devices.remove(device) {
            self.signals -= device.signals.len();
            self.points -= device.signals.iter().map(|signal| signal.points.len()).sum::<usize>();
        }
    }

    /// State to keep beside the cursor.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.next.to_le_bytes());
        out.extend_from_slice(&u32::try_from(self.signals).unwrap_or(u32::MAX).to_le_bytes());
        let mut put = |bytes: &[u8]| {
            out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
            out.extend_from_slice(bytes);
        };
        for (id, device) in &self.devices {
            for signal in &device.signals {
                put(id.as_bytes());
                put(signal.name.as_bytes());
                put(&signal.detector.to_bytes());
                put(&signal.health.to_bytes());
            }
        }
        out
    }

    /// State from [`to_bytes`](Self::to_bytes).
    ///
    /// # Errors
    /// [`RestoreError`]; begin anew then.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RestoreError> {
        let mut fields = Fields(bytes);
        if fields.take(1)? != [VERSION] {
            return Err(RestoreError);
        }
        let next = u64::from_le_bytes(fields.take(8)?.try_into().map_err(|_| RestoreError)?);
        let count = fields.u32()?;
        let mut pipeline = Self { next, ..Self::default() };
        for _ in 0..count {
            let id: Arc<str> = fields.text()?.into();
            let name = fields.text()?;
            let detector = Detector::from_bytes(fields.bytes()?).map_err(|_| RestoreError)?;
            let health = Health::from_bytes(fields.bytes()?).map_err(|_| RestoreError)?;
            pipeline.devices.entry(id).or_default().signals.push(Signal::new(name, detector, health));
            pipeline.signals += 1;
        }
        if fields.0.is_empty() { Ok(pipeline) } else { Err(RestoreError) }
    }
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], RestoreError> {
        let (head, tail) = self.0.split_at_checked(len).ok_or(RestoreError)?;
        self.0 = tail;
        Ok(head)
    }

    fn u32(&mut self) -> Result<u32, RestoreError> {
        Ok(u32::from_le_bytes(self.take(4)?.try_into().map_err(|_| RestoreError)?))
    }

    fn bytes(&mut self) -> Result<&'a [u8], RestoreError> {
        let len = usize::try_from(self.u32()?).map_err(|_| RestoreError)?;
        self.take(len)
    }

    fn text(&mut self) -> Result<&'a str, RestoreError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| RestoreError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signals::tests::event;

    fn wave(n: u64) -> StoredEvent {
        let value = 80.0 + (n % 12) as f64 + if n == 900 { -60.0 } else { 0.0 };
        event("m", n, &format!(r#"{{"temperature": {value}, "timestamp": {}}}"#, 1_700_000_000_000 + n * 300_000))
    }

    #[test]
    fn a_restored_pipeline_goes_on_as_if_nothing_had_happened() {
        let (mut straight, mut first) = (Pipeline::default(), Pipeline::default());
        for n in 0..700 {
            straight.apply(&wave(n));
            first.apply(&wave(n));
        }
        let mut second = Pipeline::from_bytes(&first.to_bytes()).unwrap();
        for n in 650..1000 {
            let judged = second.apply(&wave(n));
            if n < 700 {
                assert!(judged.is_empty(), "event {n} must not count twice");
            } else {
                assert_eq!(judged, straight.apply(&wave(n)));
            }
        }
        assert_eq!(second.to_bytes(), straight.to_bytes());
    }

    #[test]
    fn an_outlier_is_an_anomaly_with_a_reason_and_service_forgets_it() {
        let mut pipeline = Pipeline::default();
        let points: Vec<_> = (0..1000).flat_map(|n| pipeline.apply(&wave(n))).collect();
        let anomalies: Vec<_> = points.iter().filter(|j| j.point.is_anomaly()).collect();
        assert!(anomalies.iter().any(|j| j.point.value < 40.0 && j.point.reason.is_some()), "{anomalies:?}");
        let before = pipeline.assess("m").unwrap().1.urgency;
        assert!(pipeline.serviced("m"));
        assert!(pipeline.assess("m").unwrap().1.urgency < before);
    }

    #[test]
    fn signals_and_points_are_bounded() {
        let mut pipeline = Pipeline::default();
        for n in 0..200 {
            pipeline.apply(&event("greedy", n, &format!(r#"{{"s{n}": 1}}"#)));
        }
        assert_eq!(pipeline.signals("greedy").len(), DEVICE_SIGNALS_MAX);
        assert_eq!(pipeline.not_analysed(), 200 - DEVICE_SIGNALS_MAX as u64);
        for n in 200..POINTS_MAX as u64 + 300 {
            pipeline.apply(&event("talker", n, r#"{"t": 1}"#));
        }
        assert_eq!(pipeline.series("talker", "t", usize::MAX).unwrap().len(), POINTS_MAX);
        assert_eq!(pipeline.points, POINTS_MAX + DEVICE_SIGNALS_MAX);
    }

    #[test]
    fn service_right_after_a_restart_counts_from_the_last_value() {
        let mut before = Pipeline::default();
        (0..300).for_each(|n| drop(before.apply(&wave(n))));
        let mut after = Pipeline::from_bytes(&before.to_bytes()).unwrap();
        assert!(after.serviced("m"));
        assert!(after.assess("m").unwrap().1.urgency < 0.01);
    }

    #[test]
    fn a_damaged_checkpoint_is_refused() {
        let mut pipeline = Pipeline::default();
        pipeline.apply(&wave(0));
        let bytes = pipeline.to_bytes();
        for len in 0..bytes.len() {
            assert!(Pipeline::from_bytes(&bytes[..len]).is_err(), "cut at {len}");
        }
    }
}
