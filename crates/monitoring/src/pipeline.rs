//! One partition's signals: a detector, a health and the last points of each; and what the signals of a device say of
//! each other.
//!
//! State is saved with the sequence number it stands at and restored with it, so that no
//! event counts twice and a replay gives the same state.
//!
//! Checkpoint, version 2, little-endian: `u8` version, `u64` next sequence number, `u32`
//! number of signals, then for each: device id, signal name, detector, health, each as
//! `u32` length and bytes; then `u32` number of machines and for each: device id and
//! machine, alike. Version 1 has no machines and ends with the signals; it is read, too.
//!
//! Bounds: [`DEVICE_SIGNALS_MAX`] signals a device and [`SIGNALS_MAX`] a partition (4 KiB each
//! at most), further ones are counted and not analysed; points are in memory only and
//! shared out so that all signals of all partitions together keep at most [`POINTS_TOTAL_MAX`], or what
//! [`keeping`](Pipeline::keeping) says.

use std::collections::HashMap;
use std::sync::Arc;

use gantry_detection::health::{Assessment, Health, most_urgent};
use gantry_detection::machine::{self, Machine, Odd};
use gantry_detection::maintenance::HYSTERESIS;
use gantry_detection::{Band, Detector, Direction, Observation, Remaining, Rhythm};
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
const VERSION: u8 = 2;
const VERSION_BEFORE: u8 = 1;

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
    /// Whether its last value changed the forecast.
    is_foreseen_anew: bool,
}

#[derive(Debug)]
struct Device {
    id: Arc<str>,
    signals: Vec<Signal>,
    /// The first signals together, if there are several.
    machine: Option<Machine>,
    /// Whether something was judged since the device was last [taken](Pipeline::take_touched).
    is_touched: bool,
    /// Rules that found it urgent and were told.
    urgent: Vec<String>,
    /// Rules that found a signal at its limit, or near it, and were told.
    limits: Vec<(String, Near)>,
}

/// How near a limit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Near {
    /// It is expected to be reached in time.
    Expected,
    /// It is reached.
    Reached,
}

/// A limit that a signal comes near to.
#[derive(Clone, Debug, PartialEq)]
pub struct Nearing {
    /// Device id.
    pub device: Arc<str>,
    /// How near.
    pub near: Near,
    /// The last value.
    pub value: f64,
    /// When it was measured.
    pub at: Timestamp,
    /// When the limit is reached; nothing while too little is known.
    pub remaining: Option<Remaining>,
}

impl Device {
    fn new(id: &str) -> Self {
        Self { id: id.into(), signals: vec![], machine: None, is_touched: false, urgent: vec![], limits: vec![] }
    }

    /// Looks at the values of a message together, once all signals have new ones: the one that fits least.
    fn together(&mut self, values: &[(usize, f64)], at: Timestamp) -> Option<Odd> {
        let signals = self.signals.len().min(machine::SIGNALS_MAX);
        if signals < 2 {
            return None;
        }
        // A signal more, and they are learned anew.
        let machine = match &mut self.machine {
            Some(machine) if machine.signals() == signals => machine,
            none => none.insert(Machine::new(signals).ok()?),
        };
        values.iter().for_each(|(signal, value)| machine.note(*signal, *value));
        machine.judge(at.as_millis())
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
        Self { name: name.into(), detector, health, last: None, points: Points::default(), is_foreseen_anew: true }
    }

    /// Judges a value, if it is one a sensor can mean, alone and, where it is odd, beside the other signals.
    fn judge(&mut self, at: Timestamp, value: f64, odd: Option<(&Odd, &Arc<str>)>) -> Option<&Point> {
        let foreseen_ms = self.detector.foreseen_ms();
        let mut observed = self.detector.observe(at.as_millis(), value).ok()?;
        self.is_foreseen_anew = self.detector.foreseen_ms() != foreseen_ms;
        let odd = odd.filter(|(odd, _)| odd.outdoes(&observed));
        if let Some((odd, _)) = odd {
            observed = odd.over(observed);
        }
        self.health.observe(&observed);
        let band = observed.band.map(|band| (band.low, band.expected, band.high));
        let Observation { score, reason, .. } = observed;
        let beside = odd.map(|(_, beside)| Arc::clone(beside));
        let point = self.last.insert(Point { at, value, score, band, reason, beside });
        self.points.push(point);
        Some(point)
    }

    /// The last value, which came with another message, turns out to begin something odd beside the other signals.
    fn turns_odd(&mut self, odd: &Odd, beside: &Arc<str>) -> Option<&Point> {
        let last = self.last.as_mut().filter(|last| odd.score >= crate::ANOMALY_SCORE && odd.score > last.score)?;
        (last.score, last.reason, last.beside) = (odd.score, odd.reason, Some(Arc::clone(beside)));
        let (time_ms, value) = (last.at.as_millis(), last.value);
        let Odd { score, surprise, reason, .. } = *odd;
        self.health.observe(&Observation { time_ms, value, score, surprise, band: None, departure: 0.0, reason });
        self.points.replace_last(last);
        Some(last)
    }

    /// When it reaches a limit, as far as that can be told.
    fn remaining(&self, limit: f64, direction: Direction) -> Option<Remaining> {
        self.detector.remaining(limit, direction)
    }
}

/// A limit that a rule watches.
#[derive(Clone, Copy, Debug)]
pub struct Limit<'r> {
    /// The signal.
    pub signal: &'r str,
    /// Its limit.
    pub limit: f64,
    /// Which way it is passed.
    pub direction: Direction,
    /// How long before it is told.
    pub within_ms: Option<i64>,
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
    /// The signals of the sample, by their place in the device.
    values: Vec<(usize, f64)>,
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
            values: vec![],
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
        let Self { devices, signals, points, points_total_max, not_analysed, touched, sample, values, .. } = self;
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
        values.clear();
        device.signals.iter_mut().for_each(|signal| signal.is_foreseen_anew = false);
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
            values.push((index, value));
        }
        let odd = device.together(values, sample.at());
        let odd = odd.map(|odd| (odd, Arc::clone(&device.signals[odd.beside].name)));
        let mut is_judged = false;
        for &(index, value) in &*values {
            let signal = &mut device.signals[index];
            let odd = odd.as_ref().filter(|(odd, _)| odd.signal == index).map(|(odd, beside)| (odd, beside));
            if signal.judge(sample.at(), value, odd).is_none() {
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
        if let Some((odd, beside)) = odd.filter(|(odd, _)| values.iter().all(|(index, _)| *index != odd.signal)) {
            let Signal { name, .. } = &device.signals[odd.signal];
            let name = Arc::clone(name);
            if let Some(point) = device.signals[odd.signal].turns_odd(&odd, &beside) {
                tell(Judged { device: &device.id, signal: &name, point });
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

    /// Whether a signal reaches a limit now, or is expected to within so many hours: told once for a rule and each
    /// [`Near`], until the limit is far again.
    pub fn nears(&mut self, device: &str, rule_id: &str, limit: &Limit<'_>) -> Option<Nearing> {
        let device = self.devices.get_mut(device)?;
        let signal = device.signals.iter().find(|signal| *signal.name == *limit.signal)?;
        let (value, at) = (signal.detector.last(), Timestamp::from_millis(signal.detector.last_ms()));
        let is_reached = limit.direction.reached(value, limit.limit);
        // Forecasts cost more than a comparison and change seldom.
        if !is_reached && !signal.is_foreseen_anew {
            return None;
        }
        let told = device.limits.iter().position(|(rule, _)| rule == rule_id);
        if is_reached && told.is_some_and(|told| device.limits[told].1 == Near::Reached) {
            return None;
        }
        let remaining = signal.remaining(limit.limit, limit.direction);
        let is_expected = || {
            let likely = remaining.and_then(|remaining| remaining.likely_ms);
            likely.zip(limit.within_ms).is_some_and(|(likely, within)| likely <= at.as_millis().saturating_add(within))
        };
        let near = if is_reached {
            Near::Reached
        } else if is_expected() {
            Near::Expected
        } else {
            // A value that is back for a moment is not far.
            if let Some(told) = told.filter(|_| remaining.is_some()) {
                device.limits.swap_remove(told);
            }
            return None;
        };
        match told {
            Some(told) if near <= device.limits[told].1 => return None,
            Some(told) => device.limits[told].1 = near,
            None => device.limits.push((rule_id.to_owned(), near)),
        }
        Some(Nearing { device: Arc::clone(&device.id), near, value, at, remaining })
    }

    /// Where a signal is expected, at so many times until `ahead_ms` after its last value, or as far as there is a
    /// forecast.
    pub fn forecast(&self, device: &str, signal: &str, ahead_ms: i64, points: u32) -> Option<Vec<(Timestamp, Band)>> {
        let detector = &self.signal(device, signal)?.detector;
        let reach = detector.reach_ms().min(ahead_ms.max(0));
        let time = |point: u32| {
            detector.last_ms().saturating_add((reach as f64 * f64::from(point) / f64::from(points.max(1))) as i64)
        };
        let at = |time_ms| Some((Timestamp::from_millis(time_ms), detector.forecast(time_ms)?));
        Some((1..=points).map(time).filter_map(at).collect())
    }

    /// When a signal reaches a limit; nothing while too little is known.
    pub fn remaining(&self, device: &str, signal: &str, limit: f64, direction: Direction) -> Option<Remaining> {
        self.signal(device, signal)?.remaining(limit, direction)
    }

    /// The rhythm of a signal's day.
    pub fn rhythm(&self, device: &str, signal: &str) -> Option<Rhythm> {
        Some(self.signal(device, signal)?.detector.day())
    }

    fn signal(&self, device: &str, signal: &str) -> Option<&Signal> {
        self.devices.get(device)?.signals.iter().find(|other| &*other.name == signal)
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
        Some(self.signal(device, signal)?.points.last(limit))
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
        let put = |out: &mut Vec<u8>, bytes: &[u8]| {
            out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
            out.extend_from_slice(bytes);
        };
        for (id, device) in &self.devices {
            for signal in &device.signals {
                put(&mut out, id.as_bytes());
                put(&mut out, signal.name.as_bytes());
                put(&mut out, &signal.detector.to_bytes());
                put(&mut out, &signal.health.to_bytes());
            }
        }
        let machines = || self.devices.iter().filter_map(|(id, device)| Some((id, device.machine.as_ref()?)));
        out.extend_from_slice(&u32::try_from(machines().count()).unwrap_or(u32::MAX).to_le_bytes());
        for (id, machine) in machines() {
            put(&mut out, id.as_bytes());
            put(&mut out, &machine.to_bytes());
        }
        out
    }

    /// State from [`to_bytes`](Self::to_bytes).
    ///
    /// # Errors
    /// [`RestoreError`]; begin anew then.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RestoreError> {
        let mut fields = Fields(bytes);
        let version = fields.take(1)?[0];
        if version != VERSION && version != VERSION_BEFORE {
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
        let machines = if version == VERSION { fields.u32()? } else { 0 };
        for _ in 0..machines {
            let device = pipeline.devices.get_mut(fields.text()?).ok_or(RestoreError)?;
            let machine = Machine::from_bytes(fields.bytes()?).map_err(|_| RestoreError)?;
            // What it says of signals is said of those of the device.
            if machine.signals() > device.signals.len() {
                return Err(RestoreError);
            }
            device.machine = Some(machine);
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

    /// Load and temperature, which follows it; together in a message or one after the other.
    fn motor(n: u64, apart: bool, wrong: bool) -> Vec<StoredEvent> {
        let load = 50.0 + 20.0 * (n as f64 / 9.0).sin() + (n * 7919 % 13) as f64 / 10.0;
        let temperature = 40.0 + 0.5 * load + (n * 104_729 % 17) as f64 / 20.0 + if wrong { 12.0 } else { 0.0 };
        let time = 1_700_000_000_000 + n * 60_000;
        if apart {
            let one = format!(r#"{{"temperature": {temperature}, "timestamp": {time}}}"#);
            let other = format!(r#"{{"load": {load}, "timestamp": {time}}}"#);
            return vec![event("m", 2 * n, &one), event("m", 2 * n + 1, &other)];
        }
        let both = format!(r#"{{"load": {load}, "temperature": {temperature}, "timestamp": {time}}}"#);
        vec![event("m", 2 * n, &both)]
    }

    #[test]
    fn a_signal_that_leaves_the_others_is_an_anomaly_that_names_them() {
        for apart in [false, true] {
            let mut pipeline = Pipeline::default();
            // Where the load is low, the temperature of a high load is an ordinary one.
            let from = (1500..).find(|n| (*n as f64 / 9.0).sin() < -0.9).unwrap();
            for n in 0..from {
                motor(n, apart, false).iter().for_each(|event| drop(apply(&mut pipeline, event)));
            }
            let mut told = vec![];
            for event in motor(from, apart, true) {
                pipeline.apply(&event, |one| told.push((one.signal.to_string(), one.point.clone())));
            }
            if apart {
                // The step to it is unusual, too, and may have been told first.
                assert!(told.iter().any(|(_, point)| point.is_anomaly()), "{told:?}");
                continue;
            }
            let is_odd = |point: &Point| point.is_anomaly() && point.beside.is_some();
            let (signal, point) = told.iter().find(|(_, point)| is_odd(point)).expect("an odd one");
            // Of two, each is odd beside the other.
            let other = if signal == "load" { "temperature" } else { "load" };
            assert_eq!(point.beside.as_deref(), Some(other));
            let words = point.words().unwrap();
            assert!(words.contains(&format!("does not go with {other}, which suggests")), "{words}");
            let kept = &pipeline.series("m", signal, 1).unwrap()[0];
            assert_eq!((&kept.reason, &kept.beside, kept.is_anomaly()), (&point.reason, &point.beside, true));
            assert_eq!(pipeline.series("m", signal, usize::MAX).unwrap().len() as u64, from + 1);
            assert!(pipeline.assess("m").unwrap().1.urgency > 0.0);
        }
    }

    #[test]
    fn a_restored_pipeline_knows_what_signals_say_of_each_other() {
        let mut straight = Pipeline::default();
        let mut restored = None;
        for n in 0..400 {
            for event in motor(n, n % 3 == 0, n == 390) {
                let judged = apply(&mut straight, &event);
                if let Some(restored) = &mut restored {
                    assert_eq!(apply(restored, &event), judged, "{n}");
                }
            }
            if n == 250 {
                restored = Some(Pipeline::from_bytes(&straight.to_bytes()).unwrap());
            }
        }
        assert_eq!(restored.unwrap().to_bytes(), straight.to_bytes());
    }

    #[test]
    fn a_limit_is_told_when_it_is_foreseen_and_when_it_is_reached_and_then_no_more() {
        let rise = |n: u64| {
            let value = 20.0 + 0.05 * n as f64 + (n * 7919 % 13) as f64 / 10.0;
            event("m", n, &format!(r#"{{"wear": {value}, "timestamp": {}}}"#, 1_700_000_000_000 + n * 300_000))
        };
        let limit =
            Limit { signal: "wear", limit: 100.0, direction: Direction::Above, within_ms: Some(24 * 3_600_000) };
        let mut pipeline = Pipeline::default();
        let mut told = vec![];
        for n in 0..1800 {
            apply(&mut pipeline, &rise(n));
            told.extend(pipeline.nears("m", "r", &limit).map(|nearing| (n, nearing.near)));
            if n == 1500 {
                // Who reads the state has been told, too.
                let mut restored = Pipeline::from_bytes(&pipeline.to_bytes()).unwrap();
                assert!(restored.nears("m", "r", &limit).is_some());
                assert_eq!(restored.nears("m", "r", &limit), None);
            }
        }
        // 288 values are a day, and 1,600 make 100.
        let [(foreseen, Near::Expected), (reached, Near::Reached)] = told[..] else { panic!("{told:?}") };
        assert!((1250..1500).contains(&foreseen) && (1560..1600).contains(&reached), "{told:?}");
        let far = pipeline.forecast("m", "wear", i64::MAX, 10).unwrap();
        assert!(far.len() == 10 && far[9].1.expected > 110.0, "{far:?}");
        assert!(pipeline.forecast("m", "wear", 0, 10).unwrap().is_empty());
        assert_eq!(pipeline.forecast("m", "none", i64::MAX, 10), None);
        let nobody = Limit { signal: "none", ..limit };
        assert_eq!(pipeline.nears("m", "r", &nobody), None);
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
