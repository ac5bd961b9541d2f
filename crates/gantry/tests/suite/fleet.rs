//! `gantry simulate fleet` against a real platform: devices spread over hubs, and come back without a storm.

use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use gantry_identity::Key;
use gantry_testkit::{PATIENCE, Platform};
use serde_json::Value;

use super::{GANTRY, key};

const HUBS: &str = r#"
    [hub]
    name = "line-1"
    [[hubs]]
    name = "line-2"
    host_names = ["line-2.example"]
    [[hubs]]
    name = "line-3"
    host_names = ["line-3.example"]
    [[hubs]]
    name = "line-4"
    host_names = ["line-4.example"]
"#;
/// What equal chances stay below in all but one of 100,000 runs, for four hubs.
const CHI_SQUARE_MAX: f64 = 25.9;

fn command(platform: &Platform, arguments: &[&str]) -> Command {
    let mut command = Command::new(GANTRY);
    command.arg("--data").arg(platform.data()).arg("--json").args(arguments);
    command.env("GANTRY_GROUP_KEY", key(9).to_base64());
    command
}

fn gantry(platform: &Platform, arguments: &[&str]) -> Output {
    command(platform, arguments).output().expect("gantry runs")
}

/// A platform with four hubs and a group.
fn platform() -> Platform {
    let platform = Platform::start_with_config(GANTRY, HUBS).expect("the platform starts");
    let group: Key = key(9);
    let made = gantry(&platform, &["enrollment", "create-group", "fleet", "--key", &group.to_base64()]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    platform
}

fn fleet(platform: &Platform, arguments: &str) -> (bool, Value, String) {
    outcome(&gantry(platform, &fleet_arguments(arguments)))
}

fn fleet_arguments(arguments: &str) -> Vec<&str> {
    ["simulate", "fleet"].into_iter().chain(arguments.split(' ')).collect()
}

/// Whether it went well, what it reports, and what it complains of.
fn outcome(done: &Output) -> (bool, Value, String) {
    let error = String::from_utf8_lossy(&done.stderr).into_owned();
    let report = serde_json::from_slice(&done.stdout);
    (done.status.success(), report.unwrap_or_else(|_| panic!("no report: {error}")), error)
}

fn number(value: &Value, pointer: &str) -> f64 {
    value.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {pointer} in {value}"))
}

fn assert_even(report: &Value, devices: f64) {
    assert_eq!(report["hubs"].as_array().map(Vec::len), Some(4), "{report}");
    assert!(number(report, "/chiSquare") < CHI_SQUARE_MAX, "{report}");
    for phase in report["phases"].as_array().expect("phases") {
        assert!((number(phase, "/back") - devices).abs() < 0.5, "{phase}");
    }
}

#[test]
fn a_fleet_spreads_over_hubs_and_comes_back_without_a_storm() {
    let platform = platform();
    let plan = "--devices 1000 --connections-per-second 50 --speed 8 --hubs 4";
    let (well, report, error) = fleet(&platform, plan);
    assert!(well, "{error}\n{report}");
    assert_even(&report, 1000.0);
    // Devices that have a hub look it up and do not register again.
    assert!(number(&report, "/phases/0/requests") >= 2000.0, "{report}");
    assert!((number(&report, "/phases/1/requests") - 1000.0).abs() < 0.5, "{report}");

    // Against the rules, the same fleet is a storm, and the command says so.
    let (well, report, error) = fleet(&platform, &format!("{plan} --registered --at-once"));
    assert!(!well && error.contains("storm factor"), "{error}\n{report}");
    assert_even(&report, 1000.0);
    assert!(number(&report, "/phases/0/stormFactor") > 3.0, "{report}");
}

#[test]
fn a_fleet_outlasts_connections_that_are_dropped() {
    let mut platform = platform();
    let plan = "--devices 400 --connections-per-second 20 --speed 8 --hubs 4";
    let (well, report, error) = fleet(&platform, plan);
    assert!(well, "{error}\n{report}");
    platform.kill().expect("killed");
    // Whoever comes now is hung up on, until many were.
    let hang_up = TcpListener::bind(("127.0.0.1", platform.https_port())).expect("the port is free");
    hang_up.set_nonblocking(true).expect("a listener");
    let plan = format!("{plan} --registered");
    let mut waiting = command(&platform, &fleet_arguments(&plan));
    let waiting = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("gantry runs");
    let (mut dropped, deadline) = (0, Instant::now() + PATIENCE);
    while dropped < 200 {
        assert!(Instant::now() < deadline, "only {dropped} devices came");
        match hang_up.accept() {
            Ok(_) => dropped += 1,
            Err(_) => std::thread::park_timeout(Duration::from_millis(5)),
        }
    }
    drop(hang_up);
    platform.restart().expect("the platform starts again");
    let (well, report, error) = outcome(&waiting.wait_with_output().expect("the fleet ends"));
    assert!(well, "{error}\n{report}");
    assert_even(&report, 400.0);
    assert!(number(&report, "/phases/0/unreachable") >= 200.0, "{report}");
}
