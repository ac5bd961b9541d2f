//! Running a text over a few events, in as few words as possible.
#![allow(dead_code, reason = "every test file uses a part of this")]

use std::sync::Arc;
use std::time::Duration;

use gantry_streaming::time::{self, Ticks};
use gantry_streaming::{Event, Failure, Input, Job, Output, Running, Settings, Tolerance, Value};

/// The day of all tests.
const DAY: &str = "2024-01-01T";

/// `12:00:05` as an instant.
pub fn at(clock: &str) -> Ticks {
    time::parse(&format!("{DAY}{clock}Z")).expect("a time of day")
}

/// An instant as the shortest time of day.
pub fn clock(ticks: Ticks) -> String {
    let text = time::text(ticks);
    let text = text.strip_prefix(DAY).unwrap_or(&text).trim_end_matches('Z');
    match text.split_once('.') {
        Some((whole, "0000000")) => whole.to_owned(),
        _ => text.trim_end_matches('0').to_owned(),
    }
}

/// JSON as a value.
pub fn json(text: &str) -> Value {
    let json = serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    Value::from_json(&json).expect("shallow JSON")
}

/// One partition, and no tolerance of late events, so that windows end when the next event comes.
pub fn settings() -> Settings {
    let mut settings = Settings::new(vec![Input::stream("input", 1), Input::stream("other", 1)]);
    settings.late.within = Duration::from_secs(60);
    settings
}

pub fn tolerance(seconds: u64, beyond: gantry_streaming::Beyond) -> Tolerance {
    Tolerance { within: Duration::from_secs(seconds), beyond }
}

/// A job that takes events one by one.
pub struct Trial {
    pub running: Running,
    pub out: Vec<Output>,
    sequence: u64,
}

impl Trial {
    pub fn new(text: &str, settings: &Settings) -> Trial {
        let job = Job::parse(text, settings).unwrap_or_else(|error| panic!("{text}\n{error}"));
        Trial::of(&job)
    }

    pub fn of(job: &Arc<Job>) -> Trial {
        Trial { running: Running::new(job), out: Vec::new(), sequence: 0 }
    }

    pub fn try_push(&mut self, input: &str, partition: u32, arrival: &str, body: &str) -> Result<(), Failure> {
        self.sequence += 1;
        let event = Event {
            input,
            partition,
            sequence: self.sequence,
            arrival: at(arrival),
            body: json(body),
            system: Vec::new(),
            user: None,
        };
        self.running.push(event, &mut self.out)
    }

    pub fn push(&mut self, input: &str, partition: u32, arrival: &str, body: &str) {
        self.try_push(input, partition, arrival, body).expect("pushed");
    }

    /// Rows given since the last time, each as `12:05:00 {…}`.
    pub fn rows(&mut self) -> Vec<String> {
        self.out
            .drain(..)
            .map(|row| {
                let json = Value::Record(row.row).to_json();
                format!("{} {json}", clock(row.timestamp))
            })
            .collect()
    }

    pub fn finish(&mut self) -> Vec<String> {
        self.running.finish(&mut self.out).expect("finished");
        self.rows()
    }
}

/// Runs a text over events of one partition, each `(arrival, body)`, and compares the rows.
#[track_caller]
pub fn check(text: &str, events: &[(&str, &str)], expected: &[&str]) {
    check_with(text, &settings(), events, expected);
}

#[track_caller]
pub fn check_with(text: &str, settings: &Settings, events: &[(&str, &str)], expected: &[&str]) {
    let mut trial = Trial::new(text, settings);
    for (arrival, body) in events {
        trial.push("input", 0, arrival, body);
    }
    let rows = trial.finish();
    assert_eq!(rows, expected, "{text}\nfaults: {:?}", trial.running.faults());
}

/// Evaluates one expression over one event.
#[track_caller]
pub fn value(expression: &str, body: &str, expected: &str) {
    let text = format!("SELECT {expression} AS v INTO output FROM input i");
    let mut trial = Trial::new(&text, &settings());
    trial.push("input", 0, "12:00:00", body);
    let rows = trial.finish();
    let found = rows.first().and_then(|row| row.split_once(' ')).map(|(_, row)| row.to_owned());
    let expected = format!("{{\"v\":{expected}}}");
    assert_eq!(
        found.as_deref(),
        Some(expected.as_str()),
        "{expression} of {body}, faults: {:?}",
        trial.running.faults()
    );
}
