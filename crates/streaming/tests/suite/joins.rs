//! Joins of streams within a bound of time, and with reference data.

use crate::common::{Trial, at, json, settings};
use gantry_streaming::{Failure, Input, Job, Running, Settings};

#[track_caller]
fn check(text: &str, settings: &Settings, events: &[(&str, &str, &str)], expected: &[&str]) {
    let mut trial = Trial::new(text, settings);
    // Both inputs are read to the same time.
    for (input, arrival, body) in events {
        for other in ["input", "other"] {
            if trial.running.advance(other, 0, at(arrival), &mut trial.out).is_err() {
                assert_ne!(other, "input");
            }
        }
        trial.push(input, 0, arrival, body);
    }
    let rows = trial.finish();
    assert_eq!(rows, expected, "{text}\nfaults: {:?}", trial.running.faults());
}

#[test]
fn a_row_meets_those_within_the_bound() {
    let text = "SELECT a.k, a.x, b.y INTO output FROM input a JOIN other b
                ON DATEDIFF(second, a, b) BETWEEN 0 AND 5 AND a.k = b.k";
    check(
        text,
        &settings(),
        &[
            ("input", "12:00:00", r#"{"k":"p","x":1}"#),
            ("other", "12:00:00", r#"{"k":"p","y":1}"#),
            ("other", "12:00:05.9", r#"{"k":"p","y":2}"#),
            ("other", "12:00:05.95", r#"{"k":"q","y":3}"#),
            ("other", "12:00:06", r#"{"k":"p","y":4}"#),
            // Before the left row.
            ("input", "12:00:07", r#"{"k":"p","x":2}"#),
        ],
        &[
            r#"12:00:00 {"k":"p","x":1,"y":1}"#,
            // Boundaries of seconds are counted.
            r#"12:00:05.9 {"k":"p","x":1,"y":2}"#,
        ],
    );
}

#[test]
fn the_bound_may_look_back_and_be_written_the_other_way() {
    for on in ["DATEDIFF(second, a, b) BETWEEN -3 AND 0", "DATEDIFF(second, b, a) BETWEEN 0 AND 3"] {
        check(
            &format!("SELECT x, y INTO output FROM input a JOIN other b ON {on}").replace("x, y", "a.x, b.y"),
            &settings(),
            &[
                ("other", "12:00:00", r#"{"y":1}"#),
                ("other", "12:00:01", r#"{"y":2}"#),
                ("input", "12:00:04", r#"{"x":1}"#),
                ("other", "12:00:05", r#"{"y":3}"#),
            ],
            &[r#"12:00:04 {"x":1,"y":2}"#],
        );
    }
}

#[test]
fn a_left_row_that_meets_nothing_is_given_when_nothing_can_follow() {
    let text = "SELECT System.Timestamp() AS t, a.x, b.y INTO output FROM input a LEFT OUTER JOIN other b
                ON a.k = b.k AND DATEDIFF(minute, a, b) BETWEEN 0 AND 1";
    check(
        text,
        &settings(),
        &[
            ("input", "12:00:30", r#"{"k":1,"x":1}"#),
            ("input", "12:00:31", r#"{"k":2,"x":2}"#),
            ("input", "12:00:32", r#"{"x":3}"#),
            ("other", "12:01:10", r#"{"k":1,"y":1}"#),
            ("other", "12:03:00", r#"{"k":2,"y":2}"#),
        ],
        &[
            r#"12:01:10 {"t":"2024-01-01T12:01:10.0000000Z","x":1,"y":1}"#,
            r#"12:01:59.9999999 {"t":"2024-01-01T12:01:59.9999999Z","x":3,"y":null}"#,
            r#"12:01:59.9999999 {"t":"2024-01-01T12:01:59.9999999Z","x":2,"y":null}"#,
        ],
    );
}

#[test]
fn a_stream_joins_itself_and_three_join() {
    check(
        "SELECT a.x AS a, b.x AS b INTO output FROM input a JOIN input b
         ON DATEDIFF(second, a, b) BETWEEN 1 AND 10 WHERE a.x < b.x",
        &settings(),
        &[
            ("input", "12:00:00", r#"{"x":1}"#),
            ("input", "12:00:05", r#"{"x":2}"#),
            ("input", "12:00:08", r#"{"x":0}"#),
        ],
        &[r#"12:00:05 {"a":1,"b":2}"#],
    );
    check(
        "SELECT a.x AS a, b.x AS b, c.y AS c, DATEDIFF(second, a, c) AS s INTO output
         FROM input a JOIN input b ON DATEDIFF(second, a, b) BETWEEN 1 AND 10 AND a.x + 1 = b.x
         JOIN other c ON DATEDIFF(second, a, c) BETWEEN 0 AND 20 AND c.y > b.x",
        &settings(),
        &[
            ("input", "12:00:00", r#"{"x":1}"#),
            ("other", "12:00:01", r#"{"y":9}"#),
            ("input", "12:00:05", r#"{"x":2}"#),
            ("other", "12:00:20", r#"{"y":3}"#),
            ("other", "12:00:21", r#"{"y":4}"#),
        ],
        &[r#"12:00:05 {"a":1,"b":2,"c":9,"s":1}"#, r#"12:00:20 {"a":1,"b":2,"c":3,"s":20}"#],
    );
}

#[test]
fn reference_data_has_no_time() {
    let mut settings = settings();
    let rows = [r#"{"id":"a","site":"north"}"#, r#"{"id":"b","site":"south"}"#, r#"{"id":"b","site":"west"}"#];
    settings.inputs = vec![Input::stream("input", 1), Input::reference("devices", rows.map(json).to_vec())];
    let events = [
        ("input", "12:00:00", r#"{"d":"a"}"#),
        ("input", "12:00:01", r#"{"d":"b"}"#),
        ("input", "12:00:02", r#"{"d":"c"}"#),
    ];
    check(
        "SELECT i.d, r.site INTO output FROM input i JOIN devices r ON i.d = r.id",
        &settings,
        &events,
        &[
            r#"12:00:00 {"d":"a","site":"north"}"#,
            r#"12:00:01 {"d":"b","site":"south"}"#,
            r#"12:00:01 {"d":"b","site":"west"}"#,
        ],
    );
    check(
        "SELECT i.d, r.site INTO output FROM input i LEFT JOIN devices r ON i.d = r.id AND r.site <> 'south'",
        &settings,
        &events,
        &[
            r#"12:00:00 {"d":"a","site":"north"}"#,
            r#"12:00:01 {"d":"b","site":"west"}"#,
            r#"12:00:02 {"d":"c","site":null}"#,
        ],
    );
    check(
        "SELECT * INTO output FROM input i JOIN devices r ON r.id = i.d WHERE i.d = 'a'",
        &settings,
        &events,
        &[r#"12:00:00 {"d":"a","id":"a","site":"north"}"#],
    );
}

#[test]
fn reference_data_changes_while_a_job_lasts() {
    let mut settings = settings();
    settings.inputs = vec![Input::stream("input", 1), Input::reference("devices", Vec::new())];
    let text = "SELECT i.d, r.site INTO output FROM input i LEFT JOIN devices r ON i.d = r.id";
    let mut trial = Trial::new(text, &settings);
    trial.push("input", 0, "12:00:00", r#"{"d":"a"}"#);
    // The instant of the newest event is not over.
    trial.running.refer("devices", &[json(r#"{"id":"a","site":"north"}"#)]).unwrap();
    trial.push("input", 0, "12:00:01", r#"{"d":"a"}"#);
    let saved = trial.running.save();
    // Rows are none of what tells a job from another, and are not saved.
    settings.inputs[1] = Input::reference("devices", vec![json(r#"{"id":"a","site":"south"}"#)]);
    let job = Job::parse(text, &settings).unwrap();
    trial.running = Running::restore(&job, &saved).unwrap();
    let rows = trial.finish();
    assert_eq!(rows, [r#"12:00:00 {"d":"a","site":"north"}"#, r#"12:00:01 {"d":"a","site":"south"}"#]);
    for unknown in ["input", "elsewhere"] {
        assert_eq!(trial.running.refer(unknown, &[]), Err(Failure::UnknownInput(unknown.into())));
    }
}
