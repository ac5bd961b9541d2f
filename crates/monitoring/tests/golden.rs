//! The checkpoint of a pipeline as it was written once: the newest is read, and written again byte for byte; those
//! before are read, and go on. What a checkpoint holds of a detector has a version of its own.

use std::fmt::Write as _;

use gantry_hub::event::{MessageSource, StoredEvent, SystemProperties};
use gantry_identity::{Identity, Timestamp};
use gantry_monitoring::pipeline::Pipeline;

fn event(n: u64) -> StoredEvent {
    let value = if n < 400 { 80.0 + (n % 9) as f64 } else { 20.0 + (n % 3) as f64 };
    let body = format!(r#"{{"temperature": {value}, "hum": 1.5, "timestamp": {}}}"#, 1_700_000_000_000 + n * 300_000);
    StoredEvent {
        partition: 0,
        sequence_number: n,
        enqueued_at: Timestamp::from_millis(5_000),
        source: MessageSource::Telemetry,
        identity: Identity::parse("motor").unwrap(),
        generation_id: "1".into(),
        auth_method: "{}".into(),
        model_id: None,
        system: SystemProperties::default(),
        properties: vec![],
        destinations: gantry_hub::routing::Destinations::BUILT_IN,
        added: vec![],
        body: body.into_bytes().into(),
    }
}

#[test]
fn a_pipeline_of_format_1_is_read_and_goes_on() {
    goes_on("pipeline.v1");
}

#[test]
fn a_pipeline_with_detectors_of_format_2_is_read_and_goes_on() {
    goes_on("pipeline.v2");
}

#[track_caller]
fn goes_on(name: &str) {
    let golden = gantry_golden::folder(env!("CARGO_MANIFEST_DIR"));
    let mut pipeline = Pipeline::from_bytes(&gantry_golden::read(&golden.join(format!("{name}.bin")))).unwrap();
    told(&mut pipeline, &golden.join(format!("{name}.expected.txt")));
    (450..900).for_each(|n| assert!(pipeline.apply(&event(n), |_| ())));
    assert!(!pipeline.forecast("motor", "temperature", i64::MAX, 5).unwrap().is_empty(), "it forecasts");
    let again = Pipeline::from_bytes(&pipeline.to_bytes()).unwrap();
    assert_eq!(again.to_bytes(), pipeline.to_bytes());
}

#[test]
fn the_newest_pipeline_is_read_and_written_as_it_was() {
    let golden = gantry_golden::folder(env!("CARGO_MANIFEST_DIR"));
    let path = golden.join("pipeline.v2-detector.v3.bin");
    // As detectors are: see their golden file.
    if gantry_golden::blesses() && !path.exists() {
        let mut pipeline = Pipeline::default();
        (0..450).for_each(|n| assert!(pipeline.apply(&event(n), |_| ())));
        gantry_golden::check(&path, &pipeline.to_bytes());
    }
    let bytes = gantry_golden::read(&path);
    let mut pipeline = Pipeline::from_bytes(&bytes).unwrap();
    assert!(pipeline.to_bytes() == bytes, "written again, it is another");
    told(&mut pipeline, &golden.join("pipeline.v2-detector.v3.expected.txt"));
}

/// What a pipeline says of itself is what the file says.
fn told(pipeline: &mut Pipeline, expected: &std::path::Path) {
    let mut out = format!("next {}\n", pipeline.next_sequence_number());
    for device in pipeline.devices().cloned().collect::<Vec<_>>() {
        let signals: Vec<_> = pipeline.signals(&device).into_iter().map(|(name, _)| name).collect();
        let (worst, assessment) = pipeline.assess(&device).unwrap();
        writeln!(out, "{device} {signals:?}, worst {worst} {:.3}", assessment.urgency).unwrap();
    }
    writeln!(out, "touched {:?}", pipeline.take_touched()).unwrap();
    gantry_golden::check(expected, out.as_bytes());
}
