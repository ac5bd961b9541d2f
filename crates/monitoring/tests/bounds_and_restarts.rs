//! What must hold over restarts, replays and floods: nothing is told or done twice, nothing urgent is pushed out.

use futures::FutureExt as _;
use gantry_hub::event::{MessageSource, StoredEvent, SystemProperties};
use gantry_hub::ports::{Audit as _, RefusedAccess};
use gantry_identity::{Identity, Refusal, Timestamp};
use gantry_monitoring::Monitoring;
use gantry_monitoring::actions::{Action, State};
use gantry_monitoring::alerts::{AlertState, Kind};
use gantry_monitoring::pipeline::Pipeline;
use gantry_monitoring::rules::{Rule, Severity, When};
use gantry_storage_suite::Memory;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn event(device: &str, n: u64, body: &str) -> StoredEvent {
    StoredEvent {
        partition: 0,
        sequence_number: n,
        enqueued_at: Timestamp::from_millis(5_000),
        source: MessageSource::Telemetry,
        identity: Identity::parse(device).unwrap(),
        generation_id: "1".into(),
        auth_method: "{}".into(),
        model_id: None,
        system: SystemProperties::default(),
        properties: vec![],
        destinations: gantry_hub::routing::Destinations::BUILT_IN,
        added: vec![],
        body: body.as_bytes().to_vec().into(),
    }
}

fn wave(n: u64) -> StoredEvent {
    let value = if n < 800 { 80.0 + (n % 9) as f64 } else { 20.0 + (n % 3) as f64 };
    event("m", n, &format!(r#"{{"t": {value}, "timestamp": {}}}"#, 1_700_000_000_000 + n * 300_000))
}

fn refused(monitoring: &Monitoring, claimed: &str, peer: &str) {
    monitoring.refused(RefusedAccess {
        at: NOW,
        claimed: claimed.into(),
        peer: peer.into(),
        operation: "mqtt connect",
        reason: Refusal::Signature,
    });
}

fn rule(when: When) -> Rule {
    Rule {
        id: "r".into(),
        enabled: true,
        when,
        severity: Severity::Critical,
        actions: vec![Action::Method { name: "reduceLoad".into(), payload: Some(serde_json::Value::Null) }],
    }
}

fn fresh(documents: &Memory) -> Monitoring {
    Monitoring::restore(documents, vec![Pipeline::default()]).now_or_never().unwrap().unwrap()
}

fn restart(monitoring: &Monitoring, documents: &Memory, checkpoint: &[u8]) -> Monitoring {
    monitoring.store(documents).now_or_never().unwrap().unwrap();
    let pipeline = Pipeline::from_bytes(checkpoint).unwrap();
    Monitoring::restore(documents, vec![pipeline]).now_or_never().unwrap().unwrap()
}

fn of_rule(monitoring: &Monitoring) -> Vec<(AlertState, u64)> {
    monitoring.alerts(None, 100).iter().filter(|a| a.rule_id == "r").map(|a| (a.state, a.count)).collect()
}

#[test]
fn a_restart_does_not_reopen_a_closed_urgency_alert_and_act_again() {
    let documents = Memory::default();
    let monitoring = fresh(&documents);
    monitoring.put_rule(rule(When::Urgency { urgency_min: 0.3 })).unwrap();
    for n in 0..900 {
        monitoring.observe(NOW, 0, &[wave(n)]);
    }
    let alert = monitoring.alerts(None, 100).into_iter().find(|a| a.rule_id == "r").unwrap();
    for due in monitoring.take_due(NOW) {
        monitoring.finish(NOW, &due, Ok(()), 0.0);
    }
    monitoring.set_alert_state(NOW, &alert.id, AlertState::Closed);
    monitoring.observe(NOW, 0, &[wave(900)]);
    assert_eq!(of_rule(&monitoring).len(), 1, "without a restart nothing opens");
    let again = restart(&monitoring, &documents, &monitoring.checkpoint(0).unwrap());
    again.observe(NOW, 0, &[wave(901)]);
    assert_eq!(of_rule(&again).len(), 1);
    assert_eq!(again.take_due(NOW).len(), 0, "the method is not invoked again");
}

#[test]
fn a_replay_after_kill_does_not_count_or_act_twice() {
    let documents = Memory::default();
    let monitoring = fresh(&documents);
    monitoring.put_rule(rule(When::Anomaly { signal: None, score_min: None })).unwrap();
    for n in 0..790 {
        monitoring.observe(NOW, 0, &[wave(n)]);
    }
    let before = of_rule(&monitoring);
    let checkpoint = monitoring.checkpoint(0).unwrap();
    for n in 790..810 {
        monitoring.observe(NOW, 0, &[wave(n)]);
    }
    let counted = of_rule(&monitoring);
    assert_ne!(before, counted, "the test needs an anomaly after the checkpoint");
    for due in monitoring.take_due(NOW) {
        monitoring.finish(NOW, &due, Ok(()), 0.0);
    }
    let id = monitoring.alerts(None, 100).into_iter().find(|a| a.rule_id == "r").unwrap().id;
    monitoring.set_alert_state(NOW, &id, AlertState::Closed);
    let again = restart(&monitoring, &documents, &checkpoint);
    for n in 790..810 {
        again.observe(NOW, 0, &[wave(n)]);
    }
    assert_eq!(of_rule(&again).len(), 1, "{:?}", of_rule(&again));
    assert_eq!(again.take_due(NOW).len(), 0);
}

#[test]
fn a_security_alert_keeps_its_subject_over_a_restart() {
    let documents = Memory::default();
    let monitoring = fresh(&documents);
    for n in 0..6 {
        refused(&monitoring, "a", &format!("10.0.0.1:{n}"));
        refused(&monitoring, "b", &format!("10.0.0.2:{n}"));
    }
    let security = |c: &Monitoring| c.alerts(None, 100).iter().filter(|a| a.kind == Kind::Security).count();
    assert_eq!(security(&monitoring), 2);
    let again = restart(&monitoring, &documents, &monitoring.checkpoint(0).unwrap());
    for n in 0..6 {
        refused(&again, "a", &format!("10.0.0.1:{n}"));
    }
    assert_eq!(security(&again), 2);
}

#[test]
fn what_another_wrote_meanwhile_is_not_undone() {
    let documents = Memory::default();
    let (first, second) = (fresh(&documents), fresh(&documents));
    first.put_rule(rule(When::Urgency { urgency_min: 0.3 })).unwrap();
    second.put_rule(Rule { id: "s".into(), ..rule(When::Urgency { urgency_min: 0.4 }) }).unwrap();
    second.delete_rule("anomaly");
    for monitoring in [&first, &second, &first] {
        monitoring.store(&documents).now_or_never().unwrap().unwrap();
    }
    let rules: Vec<_> = fresh(&documents).rules().into_iter().map(|rule| rule.id).collect();
    assert!(["r", "s"].iter().all(|id| rules.iter().any(|rule| rule == id)), "{rules:?}");
    assert!(rules.iter().all(|rule| rule != "anomaly"), "{rules:?}");
}

#[test]
fn one_device_cannot_take_all_signals() {
    let monitoring = fresh(&Memory::default());
    for n in 0..250 {
        let body: Vec<_> = (0..64).map(|s| format!("\"s{}\":1", n * 64 + s)).collect();
        monitoring.observe(NOW, 0, &[event("greedy", n, &format!("{{{}}}", body.join(",")))]);
    }
    monitoring.observe(NOW, 0, &[event("modest", 250, r#"{"t":1}"#)]);
    assert!(monitoring.signals("greedy").len() <= 64, "greedy has {}", monitoring.signals("greedy").len());
    assert_eq!(monitoring.signals("modest").len(), 1);
}

#[test]
fn strangers_cannot_push_out_open_alerts_with_pending_actions() {
    let monitoring = fresh(&Memory::default());
    monitoring.put_rule(rule(When::Anomaly { signal: None, score_min: None })).unwrap();
    for n in 0..810 {
        monitoring.observe(NOW, 0, &[wave(n)]);
    }
    assert!(monitoring.alerts(None, 10_000).iter().any(|a| a.rule_id == "r" && a.actions[0].state == State::Pending));
    for n in 0..2_100 {
        for _ in 0..5 {
            refused(&monitoring, &format!("x{n}"), "10.0.0.1:1");
        }
    }
    assert_eq!(of_rule(&monitoring).len(), 1);
}

#[test]
fn service_after_a_restart_counts_from_now() {
    let documents = Memory::default();
    let monitoring = fresh(&documents);
    for n in 0..200 {
        monitoring.observe(NOW, 0, &[wave(n)]);
    }
    let again = restart(&monitoring, &documents, &monitoring.checkpoint(0).unwrap());
    assert!(again.serviced(NOW, "m"));
    again.observe(NOW, 0, &[wave(200)]);
    let health = again.health("m");
    assert!(health.urgency < 0.01, "{} {}", health.urgency, health.reason);
}

#[test]
fn an_alert_does_not_show_one_receiver_the_address_of_another() {
    let monitoring = fresh(&Memory::default());
    let mut rule = rule(When::Anomaly { signal: None, score_min: None });
    rule.actions =
        vec![Action::Webhook { url: "https://a/?key=SECRET".into() }, Action::Webhook { url: "https://b/".into() }];
    monitoring.put_rule(rule).unwrap();
    for n in 0..810 {
        monitoring.observe(NOW, 0, &[wave(n)]);
    }
    let due = monitoring.take_due(NOW);
    let body = due[1].alert.document().to_string();
    assert!(!body.contains("SECRET"), "{body}");
}

#[test]
fn points_of_all_signals_stay_within_their_bound() {
    const KEPT_MAX: usize = 50_000;
    let mut pipeline = Pipeline::default().keeping(KEPT_MAX);
    let mut n = 0;
    let mut push = |pipeline: &mut Pipeline, device: String| {
        pipeline.apply(&event(&device, n, r#"{"t":1}"#), |_| ());
        n += 1;
    };
    for d in 0..100 {
        for _ in 0..1_000 {
            push(&mut pipeline, format!("d{d}"));
        }
    }
    for d in 100..300 {
        for _ in 0..300 {
            push(&mut pipeline, format!("d{d}"));
        }
    }
    let kept: usize = (0..300).map(|d| pipeline.series(&format!("d{d}"), "t", usize::MAX).unwrap().len()).sum();
    assert!((KEPT_MAX / 2..=KEPT_MAX).contains(&kept), "{kept} points are kept");
}
