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
//! shared out so that all signals of all partitions together keep at most [`POINTS_TOTAL_MAX`], or what
//! [`keeping`](Pipeline::keeping) says.

use std::collections::HashMap;
use std::sync::Arc;

use gantry_detection::Detector;
use gantry_detection::health::{Assessment, Health, most_urgent};
use gantry_detection::maintenance::HYSTERESIS;
use gantry_hub::event::{MessageSource, StoredEvent};
use gantry_hub::reports::is_device_deleted;
use gantry_identity::Timestamp;

use crate::points::{Point, Points};
use crate::signals::Sample;

/// Signals one partition follows.
pub const SIGNALS_MAX: usize = 16_000;
/// Signals one device may have followed, so that none can take the partition's.
pub const DEVICE_SIGNALS_MAX: usize = 64;
/// Points one signal keeps.
pub const POINTS_MAX: usize = 10_000;
/// Points all signals of all partitions keep together, at 32 bytes each.
pub const POINTS_TOTAL_MAX: usize = 500_000;
const VERSION: u8 = 1;

/// A point with where it belongs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged<'p> {
    /// Device id.
    pub device: &'p Arc<str>,
    /// Signal name.
    pub signal: &'p Arc<str>,
    /// The point.
    pub point: &'p Point,
}

#[derive(Debug)]
struct Signal {
    name: Arc<str>,
    detector: Detector,
    health: Health,
    last: Option<Point>,
    points: Points,
}

#[derive(Debug)]
struct Device {
    id: Arc<str>,
    signals: Vec<Signal>,
    /// Whether something was judged since the device was last [taken](Pipeline::take_touched).
    is_touched: bool,
    /// Rules that found it urgent and were told.
    urgent: Vec<String>,
}

impl Device {
    fn new(id: &str) -> Self {
        Self { id: id.into(), signals: vec![], is_touched: false, urgent: vec![] }
    }

    /// The place of a signal; signals mostly come in the order they first came in.
    fn find(&self, name: &str, likely: usize) -> Option<usize> {
        let is_it = |signal: &Signal| &*signal.name == name;
        if self.signals.get(likely).is_some_and(is_it) { Some(likely) } else { self.signals.iter().position(is_it) }
    }

    /// The most urgent signal at the time of the last values.
    fn assess(&self) -> Option<(usize, Assessment)> {
        let now = self.signals.iter().map(|signal| signal.health.last_ms()).max()?;
        most_urgent(self.signals.iter().map(|signal| signal.health.assess(now)))
    }
}

impl Signal {
    fn new(name: &str, detector: Detector, health: Health) -> Self {
        Self { name: name.into(), detector, health, last: None, points: Points::default() }
    }

    /// Judges a value, if it is one a sensor can mean.
    fn judge(&mut self, at: Timestamp, value: f64) -> Option<&Point> {
        let observed = self.detector.observe(at.as_millis(), value).ok()?;
        self.health.observe(&observed);
        let band = observed.band.map(|band| (band.low, band.expected, band.high));
        let point = self.last.insert(Point { at, value, score: observed.score, band, reason: observed.reason });
        self.points.push(point);
        Some(point)
    }
}

/// All signals of one partition.
#[derive(Debug)]
pub struct Pipeline {
    devices: HashMap<Arc<str>, Device>,
    signals: usize,
    points: usize,
    points_total_max: usize,
    next: u64,
    not_analysed: u64,
    touched: Vec<Arc<str>>,
    sample: Sample,
}

impl Default for Pipeline {
    fn default() -> Self {
        Self {
            devices: HashMap::new(),
            signals: 0,
            points: 0,
            points_total_max: POINTS_TOTAL_MAX,
            next: 0,
            not_analysed: 0,
            touched: vec![],
            sample: Sample::default(),
        }
    }
}

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("checkpoint is damaged or of another version")]
pub struct RestoreError;

impl Pipeline {
    /// Keeps so many points at most, together with all other pipelines; see [`among`](Self::among).
    #[must_use]
    pub fn keeping(self, points_total_max: usize) -> Self {
        Self { points_total_max, ..self }
    }

    /// Keeps the share of one among so many pipelines of the points there may be.
    #[must_use]
    pub fn among(self, pipelines: usize) -> Self {
        Self { points_total_max: self.points_total_max / pipelines.max(1), ..self }
    }

    /// Sequence number of the next event to apply.
    pub fn next_sequence_number(&self) -> u64 {
        self.next
    }

    /// Values that were not analysed because of [`SIGNALS_MAX`] or because they are no numbers a sensor can mean.
    pub fn not_analysed(&self) -> u64 {
        self.not_analysed
    }

    /// Applies one event, tells of every point it makes, and says whether there was one; events before
    /// [`next_sequence_number`](Self::next_sequence_number) are passed over.
    pub fn apply(&mut self, event: &StoredEvent, mut tell: impl FnMut(Judged<'_>)) -> bool {
        if event.sequence_number < self.next {
            return false;
        }
        self.next = event.sequence_number + 1;
        let id = event.identity.device.as_str();
        if is_device_deleted(event) {
            self.remove(id);
        }
        let Self { devices, signals, points, points_total_max, not_analysed, touched, sample, .. } = self;
        if event.source != MessageSource::Telemetry || !sample.read(event) {
            return false;
        }
        if !devices.contains_key(id) && *signals < SIGNALS_MAX {
            let device = Device::new(id);
            devices.insert(Arc::clone(&device.id), device);
        }
        let Some(device) = devices.get_mut(id) else {
            *not_analysed += sample.values().count() as u64;
            return false;
        };
        if !device.is_touched {
            device.is_touched = true;
            touched.push(Arc::clone(&device.id));
        }
        let mut is_judged = false;
        for (likely, (name, value)) in sample.values().enumerate() {
            let index = match device.find(name, likely) {
                Some(index) => index,
                None if *signals >= SIGNALS_MAX || device.signals.len() >= DEVICE_SIGNALS_MAX => {
                    *not_analysed += 1;
                    continue;
                }
                None => {
                    device.signals.push(Signal::new(name, Detector::new(), Health::new(sample.at().as_millis())));
                    *signals += 1;
                    device.signals.len() - 1
                }
            };
            let signal = &mut device.signals[index];
            if signal.judge(sample.at(), value).is_none() {
                *not_analysed += 1;
                continue;
            }
            is_judged = true;
            *points += 1;
            // Signals that say little keep what they had when there were fewer; new points make room then.
            let points_max = (*points_total_max / *signals).min(POINTS_MAX);
            while (signal.points.len() > points_max || *points > *points_total_max) && signal.points.pop() {
                *points -= 1;
            }
            if let Some(point) = &signal.last {
                tell(Judged { device: &device.id, signal: &signal.name, point });
            }
        }
        is_judged
    }

    /// The most urgent signal of a device, with its name, at the time of its last values.
    pub fn assess(&self, device: &str) -> Option<(Arc<str>, Assessment)> {
        let device = self.devices.get(device)?;
        let (index, assessment) = device.assess()?;
        Some((Arc::clone(&device.signals[index].name), assessment))
    }

    /// Devices of which something was judged since the last call.
    pub fn take_touched(&mut self) -> Vec<Arc<str>> {
        let touched = std::mem::take(&mut self.touched);
        for id in &touched {
            if let Some(device) = self.devices.get_mut(id) {
                device.is_touched = false;
            }
        }
        touched
    }

    /// The assessment of a device whose urgency rises to `urgency_min` now: once for a rule, until it has fallen again.
    pub fn becomes_urgent(&mut self, device: &str, rule_id: &str, urgency_min: f64) -> Option<(Arc<str>, Assessment)> {
        let device = self.devices.get_mut(device)?;
        let (_, assessment) = device.assess()?;
        let told = device.urgent.iter().position(|rule| rule == rule_id);
        match told {
            Some(at) if assessment.urgency < urgency_min - HYSTERESIS => {
                device.urgent.swap_remove(at);
                None
            }
            None if assessment.urgency >= urgency_min => {
                device.urgent.push(rule_id.to_owned());
                Some((Arc::clone(&device.id), assessment))
            }
            _ => None,
        }
    }

    /// The device was serviced: what was found before no longer counts.
    pub fn serviced(&mut self, device: &str) -> bool {
        let Some(device) = self.devices.get_mut(device) else { return false };
        for signal in &mut device.signals {
            signal.health.serviced(signal.health.last_ms());
        }
        if !device.is_touched {
            device.is_touched = true;
            self.touched.push(Arc::clone(&device.id));
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
        Some(signal.points.last(limit))
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
            let device = pipeline.devices.entry(id).or_insert_with_key(|id| Device::new(id));
            device.signals.push(Signal::new(name, detector, health));
            pipeline.signals += 1;
        }
        // Who reads the state wants to know of all.
        for device in pipeline.devices.values_mut() {
            device.is_touched = true;
            pipeline.touched.push(Arc::clone(&device.id));
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

    fn apply(pipeline: &mut Pipeline, event: &StoredEvent) -> Vec<Point> {
        let mut judged = vec![];
        pipeline.apply(event, |one| judged.push(one.point.clone()));
        judged
    }

    fn wave(n: u64) -> StoredEvent {
        let value = 80.0 + (n % 12) as f64 + if n == 900 { -60.0 } else { 0.0 };
        event("m", n, &format!(r#"{{"temperature": {value}, "timestamp": {}}}"#, 1_700_000_000_000 + n * 300_000))
    }

    #[test]
    fn a_restored_pipeline_goes_on_as_if_nothing_had_happened() {
        let (mut straight, mut first) = (Pipeline::default(), Pipeline::default());
        for n in 0..700 {
            apply(&mut straight, &wave(n));
            apply(&mut first, &wave(n));
        }
        let mut second = Pipeline::from_bytes(&first.to_bytes()).unwrap();
        for n in 650..1000 {
            let judged = apply(&mut second, &wave(n));
            if n < 700 {
                assert!(judged.is_empty(), "event {n} must not count twice");
            } else {
                assert_eq!(judged, apply(&mut straight, &wave(n)));
            }
        }
        assert_eq!(second.to_bytes(), straight.to_bytes());
    }

    #[test]
    fn an_outlier_is_an_anomaly_with_a_reason_and_service_forgets_it() {
        let mut pipeline = Pipeline::default();
        let points: Vec<_> = (0..1000).flat_map(|n| apply(&mut pipeline, &wave(n))).collect();
        let anomalies: Vec<_> = points.iter().filter(|point| point.is_anomaly()).collect();
        assert!(anomalies.iter().any(|point| point.value < 40.0 && point.reason.is_some()), "{anomalies:?}");
        let before = pipeline.assess("m").unwrap().1.urgency;
        assert!(pipeline.serviced("m"));
        assert!(pipeline.assess("m").unwrap().1.urgency < before);
    }

    #[test]
    fn signals_and_points_are_bounded() {
        let mut pipeline = Pipeline::default();
        for n in 0..200 {
            apply(&mut pipeline, &event("greedy", n, &format!(r#"{{"s{n}": 1}}"#)));
        }
        assert_eq!(pipeline.signals("greedy").len(), DEVICE_SIGNALS_MAX);
        assert_eq!(pipeline.not_analysed(), 200 - DEVICE_SIGNALS_MAX as u64);
        for n in 200..POINTS_MAX as u64 + 300 {
            apply(&mut pipeline, &event("talker", n, r#"{"t": 1}"#));
        }
        let share = POINTS_MAX.min(POINTS_TOTAL_MAX / (DEVICE_SIGNALS_MAX + 1));
        assert_eq!(pipeline.series("talker", "t", usize::MAX).unwrap().len(), share);
        assert_eq!(pipeline.points, share + DEVICE_SIGNALS_MAX);
    }

    #[test]
    fn service_right_after_a_restart_counts_from_the_last_value() {
        let mut before = Pipeline::default();
        (0..300).for_each(|n| drop(apply(&mut before, &wave(n))));
        let mut after = Pipeline::from_bytes(&before.to_bytes()).unwrap();
        assert!(after.serviced("m"));
        assert!(after.assess("m").unwrap().1.urgency < 0.01);
    }

    #[test]
    fn a_damaged_checkpoint_is_refused() {
        let mut pipeline = Pipeline::default();
        apply(&mut pipeline, &wave(0));
        let bytes = pipeline.to_bytes();
        for len in 0..bytes.len() {
            assert!(Pipeline::from_bytes(&bytes[..len]).is_err(), "cut at {len}");
        }
    }
}
