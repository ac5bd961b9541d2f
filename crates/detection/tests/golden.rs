//! The state of a detector and of a health as they were written once: read, and written again byte for byte.
//!
//! What a detector makes of values may differ in the last bit from one mathematical library to the next, so the state
//! is not made anew here, unless the files are.

use std::fmt::Write as _;

use gantry_detection::Detector;
use gantry_detection::health::Health;

/// A day of values every five minutes that begin to fall at the end.
fn feed(detector: &mut Detector, health: &mut Health) {
    for n in 0..900_i64 {
        let value = if n < 850 { 80.0 + (n % 9) as f64 } else { 20.0 + (n % 3) as f64 };
        let observed = detector.observe(1_700_000_000_000 + n * 300_000, value).unwrap();
        health.observe(&observed);
    }
}

#[test]
fn the_state_of_format_1_is_read_and_written_as_it_was() {
    let golden = gantry_golden::folder(env!("CARGO_MANIFEST_DIR"));
    if gantry_golden::blesses() && !golden.exists() {
        let (mut detector, mut health) = (Detector::new(), Health::new(0));
        feed(&mut detector, &mut health);
        gantry_golden::check(&golden.join("detector.v1.bin"), &detector.to_bytes());
        gantry_golden::check(&golden.join("health.v1.bin"), &health.to_bytes());
    }
    let detector = Detector::from_bytes(&gantry_golden::read(&golden.join("detector.v1.bin"))).unwrap();
    let health = Health::from_bytes(&gantry_golden::read(&golden.join("health.v1.bin"))).unwrap();
    assert_eq!(detector.to_bytes(), gantry_golden::read(&golden.join("detector.v1.bin")));
    assert_eq!(health.to_bytes(), gantry_golden::read(&golden.join("health.v1.bin")));
    let mut out = String::new();
    writeln!(out, "values {}, last at {}", detector.count(), health.last_ms()).unwrap();
    let assessment = health.assess(health.last_ms());
    writeln!(out, "urgency {:.3}: {}", assessment.urgency, assessment.in_words(None)).unwrap();
    gantry_golden::check(&golden.join("v1.expected.txt"), out.as_bytes());
}
