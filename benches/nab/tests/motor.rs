//! The product's main job on the real series: the failing motor is found and comes first.

use std::path::{Path, PathBuf};

use gantry_bench_nab::corpus::{self, Series};
use gantry_bench_nab::motors::{Motor, motors};
use gantry_bench_nab::score;
use gantry_detection::health::Health;
use gantry_detection::maintenance::List;
use gantry_detection::{ALERT_SCORE, Detector, Observation};

const NAME: &str = "realKnownCause/machine_temperature_system_failure.csv";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/motor")
}

fn series() -> Series {
    let source = folder().join("machine_temperature_system_failure.csv");
    corpus::read_one(&source, &folder().join("labels.json"), NAME).expect("the series is in the repository")
}

fn observe(times_ms: &[i64], values: &[f64]) -> Vec<Observation> {
    let mut detector = Detector::new();
    let rows = times_ms.iter().zip(values);
    rows.map(|(&time_ms, &value)| detector.observe(time_ms, value).expect("a finite value")).collect()
}

fn alerts(observed: &[Observation]) -> Vec<(usize, Observation)> {
    let skip = score::probation(observed.len());
    let rows = observed.iter().copied().enumerate().skip(skip);
    rows.filter(|(_, one)| one.score >= ALERT_SCORE).collect()
}

#[test]
fn labelled_windows_are_found_early_with_few_false_alarms() {
    let series = series();
    let alerts = alerts(&observe(&series.times_ms, &series.values));
    let mut found = 0;
    for (number, &(first, last)) in series.windows.iter().enumerate() {
        let window = format!(
            "window {} from {} to {}",
            number + 1,
            corpus::format_time(series.times_ms[first]),
            corpus::format_time(series.times_ms[last])
        );
        match alerts.iter().find(|(row, _)| (first..=last).contains(row)) {
            Some((_, one)) => {
                found += 1;
                let words = one.reason.expect("an alert has a reason").in_words(None);
                println!("{window}: {} {words}", corpus::format_time(one.time_ms));
            }
            None => println!("{window}: not found"),
        }
    }
    let outside = |row: &usize| !series.windows.iter().any(|window| (window.0..=window.1).contains(row));
    let false_alarms = alerts.iter().filter(|(row, _)| outside(row)).count();
    println!("{false_alarms} false alarms in {} values", series.values.len());

    assert_eq!(found, 4);
    assert!(false_alarms <= 2);
    // The catastrophic failure, labelled 2014-02-08 14:30, is announced before it.
    let failure = corpus::parse_time("2014-02-08 14:30:00").unwrap();
    let (first, _) = series.windows[3];
    let announced = alerts.iter().find(|(row, _)| *row >= first).expect("an alert").1.time_ms;
    assert!(announced < failure);
}

#[test]
fn motors_without_failures_raise_few_alerts() {
    for motor in &motors(&series())[1..] {
        let alerts = alerts(&observe(&motor.times_ms, &motor.values));
        for (_, one) in &alerts {
            println!("{} {} {:.3}: {}", motor.name, corpus::format_time(one.time_ms), one.score, one.reason.unwrap());
        }
        assert!(alerts.len() <= 8, "{}: {} alerts", motor.name, alerts.len());
    }
}

#[test]
fn the_failing_motor_is_first_at_the_end_and_most_of_the_time() {
    let series = series();
    let motors = motors(&series);
    let begin = motors.iter().map(|motor| motor.times_ms[0]).min().unwrap();
    let end = *series.times_ms.last().unwrap();
    let observed: Vec<Vec<Observation>> = motors.iter().map(|motor| observe(&motor.times_ms, &motor.values)).collect();

    let mut health: Vec<Health> = motors.iter().map(|_| Health::new(begin)).collect();
    let mut at = [0; 3];
    let mut list = List::new();
    let first_anomaly = series.times_ms[series.windows[0].1];
    let (mut hours, mut first_hours, mut changes) = (0, 0, 0);
    for now in (begin..=end).step_by(3_600_000).chain([end]) {
        for (index, motor) in motors.iter().enumerate() {
            while observed[index].get(at[index]).is_some_and(|one| one.time_ms <= now) {
                health[index].observe(&observed[index][at[index]]);
                at[index] += 1;
            }
            changes += usize::from(list.update(motor.name, health[index].assess(now)));
        }
        if now >= first_anomaly {
            hours += 1;
            first_hours += usize::from(list.places()[0].device_id == motors[0].name);
        }
        if std::env::var_os("MOTOR_TRACE").is_some() && (now - begin) % (24 * 3_600_000) == 0 {
            let urgencies: Vec<String> = health.iter().map(|one| format!("{:.2}", one.assess(now).urgency)).collect();
            println!("{} {}", corpus::format_time(now), urgencies.join(" "));
        }
    }

    println!("failing motor first in {first_hours} of {hours} hours, {changes} changes of place");
    for (place, one) in list.places().iter().enumerate() {
        println!("{}. {} {:.2} {}", place + 1, one.device_id, one.assessment.urgency, one.assessment.in_words(None));
    }
    assert_eq!(list.places()[0].device_id, motors[0].name);
    assert!(first_hours * 10 > hours * 8);
}

/// Every alert of the three motors, in words: a change of the detector shows in them, one for speed does not.
#[test]
fn the_alerts_are_those_of_the_golden_file() {
    let mut out = String::new();
    for motor in &motors(&series()) {
        for (_, one) in alerts(&observe(&motor.times_ms, &motor.values)) {
            let (at, reason) = (corpus::format_time(one.time_ms), one.reason.expect("an alert has a reason"));
            out += &format!("{} {at} {:.3}: {reason}\n", motor.name, one.score);
        }
    }
    let golden = gantry_golden::folder(env!("CARGO_MANIFEST_DIR"));
    gantry_golden::check(&golden.join("alerts.expected.txt"), out.as_bytes());
}

/// The committed files are what the generator makes.
#[test]
fn the_files_of_the_demonstration_are_up_to_date() {
    for Motor { name, times_ms, values } in &motors(&series())[1..] {
        let path = folder().join(format!("{name}.csv"));
        let found = corpus::read_one(&path, &folder().join("labels.json"), name).expect("the file is there");
        assert_eq!(&found.times_ms, times_ms);
        assert!(found.values.iter().zip(values).all(|(found, made)| (found - made).abs() <= 0.000_051));
    }
}
