use super::*;
use crate::actions::Action;
use crate::signals::tests::event;
use futures::FutureExt as _;
use gantry_identity::Refusal;
use gantry_storage_suite::Memory;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn restore(documents: &Memory, pipeline: Pipeline) -> Monitoring {
    Monitoring::restore(documents, vec![pipeline]).now_or_never().unwrap().unwrap()
}

fn fresh(documents: &Memory) -> Monitoring {
    restore(documents, Pipeline::default())
}

fn store(monitoring: &Monitoring, documents: &Memory) {
    monitoring.store(documents).now_or_never().unwrap().unwrap();
}

fn feed(monitoring: &Monitoring, device: &str, from: u64, count: u64, value: impl Fn(u64) -> f64) {
    for n in from..from + count {
        let time = 1_700_000_000_000 + n * 300_000;
        let body = format!(r#"{{"temperature": {}, "timestamp": {time}}}"#, value(n));
        monitoring.observe(NOW, 0, &[event(device, n, &body)]);
    }
}

/// The hub's own event that a device was deleted.
fn deletion(device: &str, sequence_number: u64) -> StoredEvent {
    StoredEvent {
        source: gantry_hub::event::MessageSource::Lifecycle,
        properties: vec![("opType".into(), Some("deleteDeviceIdentity".into()))],
        destinations: gantry_hub::routing::Destinations::NONE,
        ..event(device, sequence_number, "{}")
    }
}

#[test]
fn a_device_that_was_deleted_is_forgotten_whoever_deleted_it() {
    let documents = Memory::default();
    let monitoring = fresh(&documents);
    for device in ["gone", "stays"] {
        feed(&monitoring, device, if device == "gone" { 0 } else { 100 }, 100, |n| 80.0 + (n % 9) as f64);
        assert!(monitoring.serviced(NOW, device));
    }
    // A module of it going is none of this, nor is a device that says so itself.
    let mut of_module = deletion("stays/m", 200);
    of_module.properties[0].1 = Some("deleteModuleIdentity".into());
    let mut liar = deletion("stays", 201);
    liar.source = gantry_hub::event::MessageSource::Telemetry;
    monitoring.observe(NOW, 0, &[of_module, liar, deletion("gone", 202)]);
    let listed: Vec<_> = monitoring.maintenance().into_iter().map(|item| item.device).collect();
    assert_eq!(listed, ["stays"]);
    assert_eq!(monitoring.devices().len(), 1);
    store(&monitoring, &documents);
    let serviced = documents.all(SERVICED).now_or_never().unwrap().unwrap();
    let serviced: Vec<_> = serviced.documents.into_iter().map(|(device, _)| device).collect();
    assert_eq!(serviced, ["stays"]);
    // Whoever has its name next begins anew.
    feed(&monitoring, "gone", 203, 1, |_| 80.0);
    assert_eq!(monitoring.series("gone", "temperature", 10).unwrap().len(), 1);
}

#[test]
fn a_failing_device_comes_first_with_a_reason_and_opens_one_alert() {
    let monitoring = fresh(&Memory::default());
    feed(&monitoring, "a-good", 0, 800, |n| 80.0 + (n % 9) as f64);
    feed(&monitoring, "b-bad", 800, 800, |n| 80.0 + (n % 9) as f64);
    feed(&monitoring, "b-bad", 1600, 60, |n| 20.0 + (n % 3) as f64);
    let list = monitoring.maintenance();
    assert_eq!(list[0].device, "b-bad");
    assert!(list[0].urgency > list[1].urgency && !list[0].reason.is_empty(), "{list:?}");
    let alerts = monitoring.alerts(Some(AlertState::Open), 10);
    assert!(alerts.iter().any(|a| a.device_id.as_deref() == Some("b-bad") && a.kind == Kind::Anomaly));
    assert_eq!(alerts.iter().filter(|a| a.rule_id == "anomaly" && a.device_id.as_deref() == Some("b-bad")).count(), 1);
    assert_ne!(monitoring.health("b-bad").health, "unknown");
    assert_eq!(monitoring.health("nobody").health, "unknown");
}

#[test]
fn repeated_refusals_become_one_alert() {
    let monitoring = fresh(&Memory::default());
    for n in 0..8 {
        monitoring.refused(RefusedAccess {
            at: NOW,
            claimed: "intruder".into(),
            peer: format!("127.0.0.1:{n}"),
            operation: "mqtt connect",
            reason: Refusal::Signature,
        });
    }
    assert_eq!(monitoring.security()[0].count, 8);
    let alerts = monitoring.alerts(None, 10);
    assert_eq!((alerts.len(), alerts[0].kind, alerts[0].count), (1, Kind::Security, 4));
}

#[test]
fn everything_that_must_last_is_a_change_and_is_restored() {
    let documents = Memory::default();
    let monitoring = fresh(&documents);
    let rule = Rule {
        id: "hot".into(),
        actions: vec![Action::Webhook { url: "http://localhost/".into() }],
        ..Rule::defaults().remove(0)
    };
    monitoring.put_rule(rule).unwrap();
    monitoring.delete_rule("anomaly");
    feed(&monitoring, "m", 0, 800, |n| 80.0 + (n % 9) as f64);
    feed(&monitoring, "m", 800, 5, |_| 0.0);
    assert!(monitoring.serviced(NOW, "m"));
    store(&monitoring, &documents);
    assert!(monitoring.take_changes().0.is_empty());
    let pipeline = Pipeline::from_bytes(&monitoring.checkpoint(0).unwrap()).unwrap();
    let again = restore(&documents, pipeline);
    assert_eq!(again.rules(), monitoring.rules());
    assert_eq!(again.alerts(None, 10), monitoring.alerts(None, 10));
    assert_eq!(again.maintenance().len(), 1);
    assert_eq!(again.maintenance()[0].last_serviced, Some(NOW));
    assert_eq!(again.take_due(NOW).len(), 1);
}

#[test]
fn neither_a_restart_nor_a_replay_tells_anything_twice() {
    let documents = Memory::default();
    let monitoring = fresh(&documents);
    monitoring.put_rule(Rule { when: When::Urgency { urgency_min: 0.2 }, ..Rule::defaults().remove(1) }).unwrap();
    feed(&monitoring, "m", 0, 800, |n| 80.0 + (n % 9) as f64);
    let early = monitoring.checkpoint(0).unwrap();
    feed(&monitoring, "m", 800, 400, |n| if n % 50 < 25 { 0.0 } else { 200.0 });
    let urgent = monitoring.alerts(None, 10).into_iter().find(|a| a.rule_id == "urgent").expect("urgent by now");
    monitoring.set_alert_state(NOW, &urgent.id, AlertState::Closed);
    store(&monitoring, &documents);
    let late = monitoring.checkpoint(0).unwrap();
    for checkpoint in [late, early] {
        let again = restore(&documents, Pipeline::from_bytes(&checkpoint).unwrap());
        feed(&again, "m", again.next_sequence_number(0), 1200 - again.next_sequence_number(0), |n| {
            if n % 50 < 25 { 0.0 } else { 200.0 }
        });
        assert_eq!(again.alerts(None, 10), monitoring.alerts(None, 10));
    }
}

#[test]
fn points_are_live_for_those_who_listen() {
    let monitoring = fresh(&Memory::default());
    let mut live = monitoring.live().subscribe();
    feed(&monitoring, "m", 0, 1, |_| 20.5);
    let first = live.try_recv().unwrap();
    assert_eq!(first.name, "point");
    assert!(first.data.contains("\"deviceId\":\"m\"") && first.data.contains("20.5"), "{}", first.data);
}

#[test]
fn a_limit_opens_one_alert_before_it_is_reached_and_a_restart_does_not_tell_it_again() {
    let documents = Memory::default();
    let monitoring = fresh(&documents);
    let when = When::Limit { signal: "temperature".into(), above: Some(100.0), below: None, within_hours: Some(24.0) };
    let rule = Rule { id: "hot".into(), when, ..Rule::defaults().remove(0) };
    monitoring.put_rule(rule).unwrap();
    let rise = |n: u64| 20.0 + 0.05 * n as f64 + (n * 7919 % 13) as f64 / 10.0;
    feed(&monitoring, "m", 0, 1500, rise);
    let alert = |of: &Monitoring| of.alerts(None, 100).into_iter().find(|alert| alert.rule_id == "hot");
    let foreseen = alert(&monitoring).unwrap();
    assert_eq!((foreseen.kind, foreseen.count), (Kind::Limit, 1));
    assert!(foreseen.reason.contains("expected to rise to 100 in about "), "{}", foreseen.reason);
    let limits = monitoring.limits("m", "temperature");
    let document = limits[0].document();
    assert_eq!(
        (limits.len(), document["ruleId"].as_str(), document["direction"].as_str()),
        (1, Some("hot"), Some("above"))
    );
    assert!(document["earliest"].as_str() < document["likely"].as_str(), "{document}");
    assert!(monitoring.limits("m", "other").is_empty());
    // As of a device nobody has heard of: too little is known.
    assert_eq!(monitoring.limits("nobody", "temperature")[0].document()["words"], "too little is known yet");

    store(&monitoring, &documents);
    let again = restore(&documents, Pipeline::from_bytes(&monitoring.checkpoint(0).unwrap()).unwrap());
    feed(&again, "m", 1500, 30, rise);
    assert_eq!(alert(&again).unwrap().count, 1);
    feed(&again, "m", 1530, 200, rise);
    let reached = alert(&again).unwrap();
    assert_eq!(reached.count, 2);
    assert!(reached.reason.ends_with("the limit is 100"), "{}", reached.reason);
}

#[test]
fn changes_of_level_are_found_beside_the_rhythm_of_the_day() {
    let monitoring = fresh(&Memory::default());
    let value = |n: u64| {
        let day = (n as f64 / 288.0 * std::f64::consts::TAU).sin();
        50.0 + 10.0 * day + (n * 7919 % 13) as f64 / 10.0 + if n < 3000 { 0.0 } else { 25.0 }
    };
    feed(&monitoring, "m", 0, 3600, value);
    let points = monitoring.series("m", "temperature", 1500).unwrap();
    let values: Vec<_> = points.iter().map(|point| (point.at, point.value)).collect();
    let found = monitoring.changes("m", "temperature", &values);
    assert_eq!(found.len(), 1, "{found:?}");
    let at = (found[0].at.as_millis() - 1_700_000_000_000) / 300_000;
    assert!((2995..3005).contains(&at) && (found[0].to - found[0].from - 25.0).abs() < 5.0, "{found:?}");
}
