//! Late, out of order, early and quiet: what the time of an event is, and how far time comes.

use std::time::Duration;

use crate::common::{Trial, at, check_with, json, settings, tolerance};
use gantry_streaming::{Beyond, Event, Failure, Input, Settings};

const ROWS: &str = "SELECT System.Timestamp() AS t, e, ts INTO output FROM input TIMESTAMP BY ts";

fn body(event: u32, clock: &str) -> String {
    format!(r#"{{"e":{event},"ts":"2024-01-01T{clock}Z"}}"#)
}

/// Pushes events, each with its arrival and its own time, and gives what came out as `event at time`.
fn run(text: &str, settings: &Settings, events: &[(&str, &str)]) -> (Vec<String>, Trial) {
    let mut trial = Trial::new(text, settings);
    for (number, (arrival, own)) in events.iter().enumerate() {
        trial.push("input", 0, arrival, &body(number as u32 + 1, own));
    }
    trial.running.finish(&mut trial.out).expect("finished");
    let rows = trial
        .out
        .iter()
        .map(|row| {
            let event = row.row.get("e").expect("a column").to_json();
            format!("{event} {}", crate::common::clock(row.timestamp))
        })
        .collect();
    (rows, trial)
}

#[test]
fn a_late_event_gets_the_oldest_time_that_is_not_or_is_dropped() {
    let mut settings = settings();
    settings.late = tolerance(5, Beyond::Adjust);
    let events = [("12:00:10", "12:00:05"), ("12:00:11", "12:00:05")];
    let (rows, trial) = run(ROWS, &settings, &events);
    assert_eq!(rows, ["1 12:00:05", "2 12:00:06"]);
    assert_eq!(trial.running.counts().late_adjusted, 1);
    // The payload says what the device said.
    let own = trial.out[1].row.get("ts").expect("a column").to_json();
    assert_eq!(own, "2024-01-01T12:00:05Z");
    settings.late = tolerance(5, Beyond::Drop);
    let (rows, trial) = run(ROWS, &settings, &events);
    assert_eq!(rows, ["1 12:00:05"]);
    assert_eq!(trial.running.counts().late_dropped, 1);
}

#[test]
fn events_within_the_tolerance_are_sorted() {
    let mut settings = settings();
    settings.out_of_order = tolerance(5, Beyond::Adjust);
    let events =
        [("12:00:10", "12:00:10"), ("12:00:11", "12:00:05"), ("12:00:12", "12:00:07"), ("12:00:13", "12:00:04")];
    let (rows, trial) = run(ROWS, &settings, &events);
    assert_eq!(rows, ["2 12:00:05", "4 12:00:05", "3 12:00:07", "1 12:00:10"]);
    assert_eq!(trial.running.counts().out_of_order_adjusted, 1);
    settings.out_of_order = tolerance(5, Beyond::Drop);
    let (rows, trial) = run(ROWS, &settings, &events);
    assert_eq!(rows, ["2 12:00:05", "3 12:00:07", "1 12:00:10"]);
    assert_eq!(trial.running.counts().out_of_order_dropped, 1);
}

#[test]
fn an_event_more_than_five_minutes_ahead_is_dropped() {
    let (rows, trial) = run(ROWS, &settings(), &[("12:00:00", "12:05:00"), ("12:00:00", "12:05:00.0000001")]);
    assert_eq!(rows, ["1 12:05:00"]);
    assert_eq!(trial.running.counts().early_dropped, 1);
}

#[test]
fn without_timestamp_by_there_is_no_policy() {
    let mut settings = settings();
    settings.late = tolerance(0, Beyond::Drop);
    settings.out_of_order = tolerance(0, Beyond::Drop);
    let text = "SELECT e INTO output FROM input";
    let (rows, _) = run(text, &settings, &[("12:00:10", "11:00:00"), ("12:00:09", "11:00:00")]);
    // Arrivals of a partition are in order.
    assert_eq!(rows, ["1 12:00:10", "2 12:00:10"]);
}

#[test]
fn an_event_without_a_time_is_dropped_and_counted() {
    let mut trial = Trial::new(ROWS, &settings());
    trial.push("input", 0, "12:00:00", r#"{"e":1}"#);
    trial.push("input", 0, "12:00:00", r#"{"e":2,"ts":"noon"}"#);
    trial.push("input", 0, "12:00:00", r#"{"e":3,"ts":12}"#);
    trial.push("input", 0, "12:00:00", r#""no record""#);
    assert_eq!(trial.finish(), [""; 0]);
    assert_eq!(trial.running.counts().without_time, 1);
    assert_eq!(trial.running.counts().malformed, 1);
    assert_eq!(trial.running.faults(), (2, Some("a bigint is no datetime")));
}

#[test]
fn sub_streams_do_not_disturb_each_other() {
    let mut settings = settings();
    settings.late = tolerance(600, Beyond::Drop);
    settings.out_of_order = tolerance(0, Beyond::Drop);
    let text = "SELECT d, COUNT(*) AS n INTO output FROM input TIMESTAMP BY ts OVER d
                GROUP BY d, TumblingWindow(minute, 1)";
    let events = [
        ("12:05:00", r#"{"d":"fast","ts":"2024-01-01T12:05:00Z"}"#),
        // Minutes behind the other, but in its own order.
        ("12:05:01", r#"{"d":"slow","ts":"2024-01-01T12:00:10Z"}"#),
        ("12:05:02", r#"{"d":"slow","ts":"2024-01-01T12:00:20Z"}"#),
        // Out of its own order.
        ("12:05:03", r#"{"d":"slow","ts":"2024-01-01T12:00:15Z"}"#),
        ("12:05:04", r#"{"d":"fast","ts":"2024-01-01T12:04:59Z"}"#),
    ];
    check_with(text, &settings, &events, &[r#"12:01:00 {"d":"slow","n":2}"#, r#"12:05:00 {"d":"fast","n":1}"#]);
}

#[test]
fn a_quiet_input_still_advances() {
    let mut settings = settings();
    settings.late = tolerance(5, Beyond::Adjust);
    let text = "SELECT COUNT(*) AS n INTO output FROM input TIMESTAMP BY ts GROUP BY TumblingWindow(second, 10)";
    let mut trial = Trial::new(text, &settings);
    trial.push("input", 0, "12:00:05", &body(1, "12:00:05"));
    trial.running.advance("input", 0, at("12:00:15"), &mut trial.out).expect("advanced");
    // An event that arrives now may have the time 12:00:10.
    assert_eq!(trial.rows(), [""; 0]);
    trial.running.advance("input", 0, at("12:00:15.1"), &mut trial.out).expect("advanced");
    assert_eq!(trial.rows(), [r#"12:00:10 {"n":1}"#]);
    // Time does not go back.
    trial.running.advance("input", 0, at("12:00:01"), &mut trial.out).expect("advanced");
    assert_eq!(trial.running.watermark(), at("12:00:10.1"));
}

#[test]
fn time_is_that_of_the_slowest_partition() {
    let mut settings = settings();
    settings.inputs = vec![Input::stream("input", 2)];
    let text = "SELECT COUNT(*) AS n INTO output FROM input GROUP BY TumblingWindow(minute, 1)";
    let mut trial = Trial::new(text, &settings);
    trial.push("input", 0, "12:00:30", "{}");
    trial.push("input", 0, "12:05:30", "{}");
    assert_eq!(trial.rows(), [""; 0]);
    trial.push("input", 1, "12:00:40", "{}");
    assert_eq!(trial.rows(), [""; 0]);
    trial.push("input", 1, "12:01:40", "{}");
    assert_eq!(trial.rows(), [r#"12:01:00 {"n":2}"#]);
    assert_eq!(
        trial.try_push("input", 2, "12:00:00", "{}"),
        Err(Failure::UnknownPartition { input: "input".to_owned(), partition: 2, count: 2 })
    );
    assert_eq!(trial.try_push("elsewhere", 0, "12:00:00", "{}"), Err(Failure::UnknownInput("elsewhere".to_owned())));
}

#[test]
fn tolerances_have_the_reference_s_bounds() {
    let mut settings = settings();
    settings.out_of_order.within = Duration::from_secs(600);
    assert!(gantry_streaming::Job::parse(ROWS, &settings).is_err());
    settings.out_of_order.within = Duration::from_secs(599);
    settings.late.within = Duration::from_secs(20 * 86_400);
    assert!(gantry_streaming::Job::parse(ROWS, &settings).is_ok());
    settings.late.within += Duration::from_secs(1);
    assert!(gantry_streaming::Job::parse(ROWS, &settings).is_err());
}

#[test]
fn columns_of_the_platform_replace_those_a_device_sends() {
    let text = "SELECT IoTHub.ConnectionDeviceId AS d, GetMetadataPropertyValue(input, '[User].[site]') AS s,
                       GetMetadataPropertyValue(i2, 'IoTHub.MessageId') AS m, x
                INTO output FROM input i2";
    let text = text.replace("(input,", "(i2,");
    let mut trial = Trial::new(&text, &settings());
    let event = Event {
        input: "INPUT",
        partition: 0,
        sequence: 7,
        arrival: at("12:00:00"),
        body: json(r#"[{"iothub":{"ConnectionDeviceId":"forged"},"x":1},{"x":2}]"#),
        system: vec![("IoTHub".into(), json(r#"{"ConnectionDeviceId":"dev1","MessageId":"m1"}"#))],
        user: Some(json(r#"{"site":"north"}"#).into()),
    };
    trial.running.push(event, &mut trial.out).expect("pushed");
    assert_eq!(
        trial.finish(),
        [r#"12:00:00 {"d":"dev1","s":"north","m":"m1","x":1}"#, r#"12:00:00 {"d":"dev1","s":"north","m":"m1","x":2}"#,]
    );
}
