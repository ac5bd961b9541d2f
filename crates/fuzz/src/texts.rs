//! Texts that clients and services send: tokens, queries, JSON, twins.

use gantry_hub::twin::{Object, Twin, TwinWrite};
use gantry_identity::{Key, KeyPair, SharedAccessSignature, Timestamp};
use gantry_query::{Condition, Lookup, Operand, Query};
use serde_json::Value;
use std::borrow::Cow;
use std::sync::LazyLock;

const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// A shared access signature, verified under keys and held against a place.
pub fn shared_access_signature(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(signature) = SharedAccessSignature::parse(&text) else { return };
    let _ = (signature.resource(), signature.policy());
    let keys = KeyPair { primary: Key::from_bytes([1; 32]), secondary: Key::from_bytes([2; 32]) };
    if let Ok(claims) = signature.verify(&keys, NOW) {
        let _ = claims.require("localhost", "devices/motor");
        let _ = claims.require_host(&["localhost".to_owned()]);
    }
}

/// What a condition is asked about.
struct Everything;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    serde_json::json!({
        "deviceId": "motor", "a": 1, "b": {"c": ["x", null, 2.5], "d": true}, "tags": {"site": "north", "n": -7},
        "properties": {"reported": {"t": 1e300}}, "text": "Zürich", "empty": [], "nothing": null,
    })
});

impl Lookup for Everything {
    fn property(&self, name: &str) -> Operand<'_> {
        DOCUMENT.get(name).into()
    }

    fn system(&self, name: &str) -> Option<Cow<'_, str>> {
        name.len().is_multiple_of(2).then_some("5".into())
    }

    fn body(&self) -> Option<&Value> {
        Some(&DOCUMENT)
    }

    fn twin(&self) -> Option<&Value> {
        Some(&DOCUMENT)
    }
}

/// A document in DTDL, and what its properties say of a value.
pub fn dtdl(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(model) = gantry_dtdl::Parser::default().parse(&[&*text]) else { return };
    for interface in model.interfaces() {
        for content in interface.contents() {
            let _ = (content.name(), content.capability(), content.validate(&DOCUMENT).len());
        }
    }
}

/// A query of the digital-twin graph, and a token of one.
pub fn graph_query(bytes: &[u8]) {
    use gantry_graph::State;
    use gantry_graph::query::page;
    let text = String::from_utf8_lossy(bytes);
    let state = State::default();
    let _ = page(&state, "", Some(&text), 10);
    for text in [text.to_string(), format!("SELECT * FROM DIGITALTWINS WHERE {text}")] {
        let _ = page(&state, &text, None, 10);
    }
}

/// A query and a condition of a route, each over a document.
pub fn query(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for text in [text.to_string(), format!("SELECT * FROM devices WHERE {text}")] {
        let Ok(query) = Query::parse(&text) else { continue };
        let _ = query.matches(&*DOCUMENT);
        let mut run = query.start(10);
        for _ in 0..3 {
            let _ = run.offer(&*DOCUMENT);
        }
        let _ = run.finish();
    }
    if let Ok(condition) = Condition::parse(&text) {
        let _ = (condition.uses(), condition.matches(&Everything));
    }
}

/// A body of JSON.
///
/// # Panics
/// When it is read as something else than it says.
pub fn json(bytes: &[u8]) {
    let Ok(value) = gantry_hub::json::parse(bytes) else { return };
    assert_eq!(serde_json::from_slice::<Value>(bytes).ok().as_ref(), Some(&value));
}

/// Merge patches and replacements of a twin, one a line.
///
/// # Panics
/// When a device that is told what changed has another twin than the service, a version does not rise, or a write that
/// was refused changed something.
pub fn twin(bytes: &[u8]) {
    let (mut twin, mut device) = (Twin::new(), Object::new());
    for line in bytes.split(|byte| *byte == b'\n') {
        let Ok(value) = gantry_hub::json::parse(line) else { continue };
        let before = twin.clone();
        if let Value::Object(patch) = &value {
            let reported = twin.report(patch, NOW);
            assert!(if reported.is_ok() { twin.reported.version > before.reported.version } else { twin == before });
        }
        for make in [TwinWrite::merging, TwinWrite::replacing] {
            let Ok(write) = make(Some(value.clone()), Some(value.clone())) else { continue };
            let before = twin.clone();
            let Ok(change) = twin.write(&write, NOW) else {
                assert_eq!(twin, before);
                continue;
            };
            assert!(twin.version > before.version && twin.desired.version > before.desired.version);
            merge(&mut device, &change.desired.unwrap_or_default());
            assert_eq!(device, twin.desired.values);
        }
    }
}

/// RFC 7396, as a device does it.
fn merge(values: &mut Object, patch: &Object) {
    for (key, new) in patch.iter().filter(|(key, _)| !key.starts_with('$')) {
        match new {
            Value::Null => drop(values.remove(key)),
            Value::Object(inner) => {
                let old = values.entry(key.clone()).or_insert_with(|| Value::Object(Object::new()));
                if !old.is_object() {
                    *old = Value::Object(Object::new());
                }
                merge(old.as_object_mut().expect("it is one now"), inner);
            }
            new => drop(values.insert(key.clone(), new.clone())),
        }
    }
}

/// A KQL text or command: read and bound, or refused with a place within the text.
pub fn kql(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let within = |faults: &[gantry_kql::Diagnostic]| {
        assert!(!faults.is_empty(), "a refusal says why");
        for fault in faults {
            assert!(
                fault.span.end() as usize <= text.len() && fault.position(text).line >= 1,
                "a place within the text"
            );
        }
    };
    let bound = gantry_kql::parse(text)
        .and_then(|script| gantry_kql::bind(&script, &gantry_kql::EmptyCatalog, &std::collections::HashMap::new()));
    if let Err(faults) = bound {
        within(&faults);
    }
    if let Err(faults) = gantry_kql::command::parse(text) {
        within(&faults);
    }
}

/// Statements of SQL: split, and bound against tables of the catalogue.
pub fn sql(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    // Callers give it the stack its recursion needs, as those that run statements do.
    std::thread::scope(|scope| {
        let work = || {
            for statement in gantry_sql::statement::split(&text).unwrap_or_default() {
                if let gantry_sql::statement::Statement::Query(query) = statement {
                    let bound =
                        gantry_sql::bind_query(&query, &gantry_kql::EmptyCatalog, &[], &gantry_sql::Environment::NONE);
                    if let Err(error) = bound {
                        let _ = error.position(&text);
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().stack_size(64 << 20);
        let ended = thread.spawn_scoped(scope, work).expect("a thread").join();
        ended.expect("no statement panics");
    });
}

/// A query over streams, and events as lines of JSON behind a byte of zero. Saved and restored between any two of
/// them it gives the same rows.
pub fn stream(bytes: &[u8]) {
    use gantry_streaming::{Event, Input, Job, Limits, Running, Settings};
    let text = String::from_utf8_lossy(bytes);
    let (query, events) = text.split_once('\0').unwrap_or((&text, ""));
    let mut settings = Settings::new(vec![
        Input::stream("input", 2),
        Input::stream("other", 1),
        Input::reference("reference", vec![gantry_streaming::Value::record(vec![("id".into(), "a".into())])]),
    ]);
    settings.limits = Limits { events: 1_000, groups: 1_000, bytes: 1 << 20 };
    let Ok(job) = Job::parse(query, &settings) else { return };
    let start = gantry_streaming::time::parse("2024-01-01").expect("a date");
    let (mut straight, mut restored) = (Running::new(&job), Running::new(&job));
    let (mut rows, mut rows_restored) = (Vec::new(), Vec::new());
    for (number, line) in events.lines().take(64).enumerate() {
        let Some(body) = serde_json::from_str(line).ok().and_then(|json| gantry_streaming::Value::from_json(&json))
        else {
            continue;
        };
        let event = Event {
            input: if number % 5 == 4 { "other" } else { "input" },
            partition: u32::from(number % 5 == 3),
            sequence: number as u64,
            arrival: start + number as i64 * 7_000_000,
            body,
            system: Vec::new(),
            user: None,
        };
        let pushed = straight.push(event.clone(), &mut rows);
        assert_eq!(pushed, restored.push(event, &mut rows_restored));
        if pushed.is_err() {
            return;
        }
        let saved = restored.save();
        restored = Running::restore(&job, &saved).expect("what was saved is restored");
    }
    assert_eq!(straight.finish(&mut rows), restored.finish(&mut rows_restored));
    // Rows are compared as texts: what is not a number does not equal itself.
    assert_eq!(format!("{rows:?}"), format!("{rows_restored:?}"));
}
