//! The state of detectors, machines and healths as they were written once: the newest is read, and written again byte
//! for byte; those before are read, and go on.
//!
//! What a detector makes of values may differ in the last bit from one mathematical library to the next, so the state
//! is not made anew here, unless the files are.

use std::fmt::Write as _;

use gantry_detection::health::Health;
use gantry_detection::machine::Machine;
use gantry_detection::{ALERT_SCORE, Detector};

/// A day of values every five minutes that begin to fall at the end.
fn feed(detector: &mut Detector, health: &mut Health) {
    for n in 0..900_i64 {
        let value = if n < 850 { 80.0 + (n % 9) as f64 } else { 20.0 + (n % 3) as f64 };
        let observed = detector.observe(1_700_000_000_000 + n * 300_000, value).unwrap();
        health.observe(&observed);
    }
}

#[test]
fn the_state_of_format_1_is_read_and_goes_on() {
    let golden = gantry_golden::folder(env!("CARGO_MANIFEST_DIR"));
    let mut detector = Detector::from_bytes(&gantry_golden::read(&golden.join("detector.v1.bin"))).unwrap();
    let health = Health::from_bytes(&gantry_golden::read(&golden.join("health.v1.bin"))).unwrap();
    assert_eq!(health.to_bytes(), gantry_golden::read(&golden.join("health.v1.bin")));
    let mut out = String::new();
    writeln!(out, "values {}, last at {}", detector.count(), health.last_ms()).unwrap();
    let assessment = health.assess(health.last_ms());
    writeln!(out, "urgency {:.3}: {}", assessment.urgency, assessment.in_words(None)).unwrap();
    gantry_golden::check(&golden.join("v1.expected.txt"), out.as_bytes());
    let mut now = health.last_ms();
    let band = detector.band(now).unwrap();
    assert!((70.0..90.0).contains(&band.expected) && band.low <= band.expected, "{band:?}");
    assert_eq!(detector.reach_ms(), 0);
    for n in 0..300_i64 {
        now += 300_000;
        detector.observe(now, 20.0 + (n % 3) as f64).unwrap();
    }
    assert!(detector.reach_ms() > 0, "it has learned to forecast");
    assert!(detector.observe(now + 300_000, 400.0).unwrap().score >= ALERT_SCORE);
}

#[test]
fn a_detector_of_format_2_is_read_and_goes_on_at_once() {
    let golden = gantry_golden::folder(env!("CARGO_MANIFEST_DIR"));
    let before = gantry_golden::read(&golden.join("detector.v2.bin"));
    let mut detector = Detector::from_bytes(&before).unwrap();
    assert_eq!(detector.count(), 900);
    assert_ne!(detector.to_bytes(), before);
    let mut now = 1_700_000_000_000 + 899 * 300_000;
    assert_eq!(detector.last_ms(), now);
    assert!(detector.reach_ms() > 0, "it forecasts");
    for n in 0..60_i64 {
        now += 300_000;
        let observed = detector.observe(now, 20.0 + (n % 3) as f64).unwrap();
        assert!(observed.score < ALERT_SCORE, "{n}: what it has learned is no news, {observed:?}");
    }
    assert!(detector.observe(now + 300_000, 400.0).unwrap().score >= ALERT_SCORE);
    for length in [before.len() - 1, 1] {
        assert!(Detector::from_bytes(&before[..length]).is_err());
    }
}

#[test]
fn the_newest_states_are_read_and_written_as_they_were() {
    let golden = gantry_golden::folder(env!("CARGO_MANIFEST_DIR"));
    let (detector, machine) = (golden.join("detector.v3.bin"), golden.join("machine.v1.bin"));
    if gantry_golden::blesses() && !detector.exists() {
        let mut one = Detector::new();
        feed(&mut one, &mut Health::new(0));
        gantry_golden::check(&detector, &one.to_bytes());
    }
    if gantry_golden::blesses() && !machine.exists() {
        let mut one = Machine::new(3).unwrap();
        for n in 0..900_i64 {
            let load = (n % 9) as f64;
            [load, 3.0 * load + (n % 5) as f64, (n % 7) as f64].iter().enumerate().for_each(|(s, v)| one.note(s, *v));
            one.judge(1_700_000_000_000 + n * 300_000);
        }
        gantry_golden::check(&machine, &one.to_bytes());
    }
    let read = Detector::from_bytes(&gantry_golden::read(&detector)).unwrap();
    assert_eq!(read.to_bytes(), gantry_golden::read(&detector));
    assert_eq!(read.count(), 900);
    let read = Machine::from_bytes(&gantry_golden::read(&machine)).unwrap();
    assert_eq!(read.to_bytes(), gantry_golden::read(&machine));
    assert_eq!(read.signals(), 3);
}
