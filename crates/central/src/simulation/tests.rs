//! Simulated devices of models: of every kind of schema, and of the published models of devices.

use std::collections::BTreeMap;
use std::io::Read;

use gantry_dtdl::{DtdlError, Dtmi, Model, Options, Parser};

use super::*;
use crate::ids::DeviceTemplateId;
use crate::templates::TemplateWrite;

const NOW: i64 = 1_780_315_200_000;
const MINUTE: i64 = 60_000;
const KINDS: &str = include_str!("kinds.json");
/// The published models, a JSON line each: `input` is an array of interfaces.
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../dtdl/tests/corpus/plug-and-play-models.jsonl.gz");

fn at(minute: i64) -> Timestamp {
    Timestamp::from_millis(NOW + minute * MINUTE)
}

fn kinds() -> Value {
    serde_json::from_str(KINDS).unwrap()
}

fn template(model: Value) -> DeviceTemplate {
    let types = vec!["ModelDefinition".to_owned(), "DeviceModel".to_owned()];
    let write = TemplateWrite { types, capability_model: model, ..TemplateWrite::default() };
    let id = DeviceTemplateId::parse("dtmi:test:template;1").unwrap();
    DeviceTemplate::new(&id, write, &mut |_: &[Dtmi]| None).unwrap()
}

fn device(seed: u64) -> Simulated {
    Simulated::of(&template(kinds()), seed).unwrap()
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// A model as the language reads it, to say whether values are those of their schemas.
struct Judge {
    model: Model,
    root: String,
}

impl Judge {
    fn new(texts: &[String], root: &str, resolve: &mut dyn FnMut(&[Dtmi]) -> Option<Vec<String>>) -> Self {
        let options =
            Options { tolerate_solecisms_in_parse: true, tolerate_solecisms_in_resolve: true, ..Options::default() };
        let mut resolver = |ids: &[Dtmi]| resolve(ids);
        let model = Parser::new(options).parse_with(texts, &mut resolver).unwrap();
        Self { model, root: root.to_owned() }
    }

    #[track_caller]
    fn accepts(&self, component: Option<&str>, name: &str, value: &Value) {
        let mut interface = self.model.interface(&self.root).unwrap();
        if let Some(component) = component {
            interface = interface.content(component).unwrap().component().unwrap();
        }
        let wrong = interface.content(name).unwrap().validate(value);
        assert!(wrong.is_empty(), "{} {component:?} {name} {value}: {wrong:?}", self.root);
    }

    /// Looks at everything a device says in some days, and gives how often each value was seen.
    fn watch(&self, device: &Simulated, minutes: impl Iterator<Item = i64>) -> BTreeMap<String, usize> {
        let mut seen = BTreeMap::new();
        let mut state = State::default();
        let mut count = |component: Option<&str>, name: &str| {
            let key = component.map_or_else(|| name.to_owned(), |component| format!("{component}.{name}"));
            *seen.entry(key).or_default() += 1;
        };
        for minute in minutes {
            for message in device.telemetry(at(minute)) {
                for (name, value) in &message.body {
                    self.accepts(message.component.as_deref(), name, value);
                    count(message.component.as_deref(), name);
                }
            }
            for (component, name, value) in told(device, device.report(&mut state, at(minute)).unwrap_or_default()) {
                self.accepts(component.as_deref(), &name, &value);
                count(component.as_deref(), &name);
            }
        }
        seen
    }
}

/// The values of a patch: component, name, and the value itself of an acknowledgement.
fn told(device: &Simulated, patch: Map<String, Value>) -> Vec<(Option<String>, String, Value)> {
    let mut all = vec![];
    for (name, value) in patch {
        match device.capabilities.part(Some(&name)) {
            Some(part) => {
                assert_eq!(value["__t"], "c");
                for (inner, value) in object(value).into_iter().filter(|(inner, _)| inner != "__t") {
                    let value = plain(part, &inner, value);
                    all.push((Some(name.clone()), inner, value));
                }
            }
            None => {
                let value = plain(&device.capabilities.root, &name, value);
                all.push((None, name, value));
            }
        }
    }
    all
}

fn plain(part: &Part, name: &str, value: Value) -> Value {
    if part.property(name).unwrap().is_writable { value["value"].clone() } else { value }
}

#[test]
fn every_kind_of_schema_has_values_that_are_its_own() {
    let judge = Judge::new(&[KINDS.to_owned()], "dtmi:test:kinds;1", &mut |_| None);
    let capabilities = template(kinds()).capabilities().unwrap();
    for seed in 0..8 {
        let seen = judge.watch(&device(seed), (0..600).map(|step| step * 11));
        for part in capabilities.parts() {
            let names = part.telemetry.iter().map(|one| &one.name);
            let all = names.chain(part.properties.iter().filter(|one| !one.is_cloud).map(|one| &one.name));
            for name in all {
                let key = part.name.as_ref().map_or_else(|| name.clone(), |of| format!("{of}.{name}"));
                assert!(seen.contains_key(&key), "{key} is never there with seed {seed}");
            }
        }
        assert!(!seen.contains_key("note"), "cloud properties are none of a device");
    }
}

#[test]
fn devices_of_the_published_models_say_what_their_models_say() {
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(CORPUS).unwrap()).read_to_string(&mut text).unwrap();
    let documents: Vec<Value> =
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["input"].clone()).collect();
    let interfaces = documents.iter().flat_map(|all| all.as_array().unwrap());
    let by_id: BTreeMap<&str, &Value> = interfaces.map(|one| (one["@id"].as_str().unwrap(), one)).collect();
    let (mut devices, mut values) = (0, 0);
    for document in &documents {
        let root = Dtmi::parse(document[0]["@id"].as_str().unwrap()).unwrap();
        let mut resolve = |ids: &[Dtmi]| {
            let known: Vec<_> = ids.iter().filter_map(|id| Some(by_id.get(id.as_str())?.to_string())).collect();
            (!known.is_empty()).then_some(known)
        };
        let (_, template) = match DeviceTemplate::automatic(&root, &document[0], &mut resolve) {
            Ok(made) => made,
            // Some refer to others that the sample has not.
            Err(TemplateError::Model(DtdlError::Unresolved(ids)))
                if ids.iter().all(|id| !by_id.contains_key(id.as_str())) =>
            {
                continue;
            }
            Err(error) => panic!("{root}: {error:?}"),
        };
        let judge = Judge::new(&[document[0].to_string()], root.as_str(), &mut resolve);
        let device = Simulated::of(&template, devices).unwrap();
        devices += 1;
        values += judge.watch(&device, (0..6).map(|step| step * 377)).values().sum::<usize>();
    }
    assert!(devices >= 558 && values > 20_000, "{devices} {values}");
}

#[test]
fn a_seed_gives_the_same_and_another_another() {
    assert_eq!(device(1).telemetry(at(7)), device(1).telemetry(at(7)));
    assert_ne!(device(1).telemetry(at(7)), device(2).telemetry(at(7)));
    assert_ne!(device(1).telemetry(at(7)), device(1).telemetry(at(8)));
    let report = |seed| device(seed).report(&mut State::default(), at(7));
    assert_eq!(report(1), report(1));
    assert_ne!(report(1), report(2));
}

#[test]
fn a_device_goes_on_where_it_was_when_its_state_is_read_again() {
    let device = device(3);
    let (mut live, mut restored) = (State::default(), State::default());
    for minute in (0..3_000).step_by(37) {
        if minute % 5 == 0 {
            device.command(&mut live, at(minute), None, "calibrate", &json!({ "depth": 1 }));
            device.command(&mut restored, at(minute), None, "calibrate", &json!({ "depth": 1 }));
        }
        let text = serde_json::to_string(&restored).unwrap();
        restored = serde_json::from_str(&text).unwrap();
        assert_eq!(device.report(&mut live, at(minute)), device.report(&mut restored, at(minute)), "{minute}");
        assert_eq!(live, restored);
    }
    assert!(serde_json::from_str::<State>(r#"{"reportedAt":1,"written":{},"running":[],"more":1}"#).is_err());
}

#[test]
fn everything_is_reported_once_and_then_what_changed() {
    let device = device(4);
    let mut state = State::default();
    let first = device.report(&mut state, at(0)).unwrap();
    assert_eq!(first["threshold"], json!({ "value": 21.5, "ac": 203, "av": 0, "ad": "set by the device" }));
    assert_eq!(first["part"]["__t"], "c");
    assert_eq!(first["part"]["setting"]["value"], json!("eco"));
    assert!(first.contains_key("serialNumber"));
    assert_eq!(device.report(&mut state, at(0)), None);
    let later: Vec<_> = (1..2_880).filter_map(|minute| device.report(&mut state, at(minute))).collect();
    assert!((5..200).contains(&later.len()), "{}", later.len());
    assert!(later.iter().all(|patch| !patch.contains_key("threshold") && !patch.contains_key("serialNumber")));
    assert!(later.iter().any(|patch| patch.contains_key("load")));
}

#[test]
fn initial_values_are_desired_of_new_devices() {
    let capabilities = template(kinds()).capabilities().unwrap();
    let desired = Value::Object(initial_desired(&capabilities).unwrap());
    assert_eq!(desired, json!({ "threshold": 21.5, "part": { "__t": "c", "setting": "eco" } }));
    let bare = json!({ "@id": "dtmi:test:bare;1", "@type": "Interface", "contents": [] });
    assert_eq!(initial_desired(&template(bare).capabilities().unwrap()), None);
}

#[track_caller]
fn desired(state: &mut State, desired: Value, expected: Value) {
    let answer = device(5).desired(state, &object(desired)).map_or(Value::Null, Value::Object);
    assert_eq!(answer, expected);
}

#[test]
fn writable_properties_are_acknowledged() {
    let mut state = State::default();
    device(5).report(&mut state, at(0));
    desired(
        &mut state,
        json!({ "threshold": 25, "part": { "__t": "c", "setting": "full" }, "$version": 7 }),
        json!({ "threshold": { "value": 25, "ac": 200, "av": 7, "ad": "completed" },
            "part": { "__t": "c", "setting": { "value": "full", "ac": 200, "av": 7, "ad": "completed" } } }),
    );
    desired(
        &mut state,
        json!({ "part": { "__t": "c", "setting": "eco", "$version": 8 } }),
        json!({ "part": { "__t": "c", "setting": { "value": "eco", "ac": 200, "av": 8, "ad": "completed" } } }),
    );
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let mut state = State::default();
    let refused =
        |ad: &str, version: i64| json!({ "threshold": { "value": 21.5, "ac": 400, "av": version, "ad": ad } });
    let text = json!({ "threshold": "hot", "$version": 2 });
    desired(&mut state, text, refused("the value is not a number", 2));
    desired(&mut state, json!({ "threshold": 40.5, "$version": 3 }), refused("the value is above 40", 3));
    assert_eq!(state, State::default());
    desired(
        &mut state,
        json!({ "part": { "setting": "off" }, "$version": 4 }),
        json!({ "part": { "__t": "c", "setting": { "value": "eco", "ac": 400, "av": 4,
            "ad": "the value is none of the values of the enumeration" } } }),
    );
}

#[test]
fn what_is_not_the_devices_is_not_answered() {
    let mut state = State::default();
    for section in [
        json!({ "$version": 3 }),
        json!({ "threshold": null, "$version": 3 }),
        json!({ "unheardOf": 1, "$version": 3 }),
        json!({ "serialNumber": "mine", "$version": 3 }),
        json!({ "note": "cloud", "$version": 3 }),
        json!({ "part": 5, "$version": 3 }),
    ] {
        desired(&mut state, section, Value::Null);
    }
}

#[test]
fn objects_are_written_in_parts() {
    let mut state = State::default();
    desired(
        &mut state,
        json!({ "window": { "open": "08:00:00Z", "days": { "monday": true } }, "$version": 1 }),
        json!({ "window": { "value": { "open": "08:00:00Z", "days": { "monday": true } }, "ac": 200, "av": 1,
            "ad": "completed" } }),
    );
    desired(
        &mut state,
        json!({ "window": { "days": { "monday": null, "friday": true } }, "$version": 2 }),
        json!({ "window": { "value": { "days": { "monday": null, "friday": true } }, "ac": 200, "av": 2,
            "ad": "completed" } }),
    );
    assert_eq!(state.written["window"]["open"], "08:00:00Z");
    assert_eq!(state.written["window"]["days"].get("monday"), None);
    let answer = device(5).desired(&mut state, &object(json!({ "window": { "close": 5 }, "$version": 3 }))).unwrap();
    assert_eq!(answer["window"]["ac"], 400);
    assert_eq!(answer["window"]["ad"], "`/close` is not a time of RFC 3339");
    assert_eq!(answer["window"]["value"]["open"], "08:00:00Z");
}

#[test]
fn what_was_written_before_the_first_report_stays() {
    let mut state = State::default();
    device(5).desired(&mut state, &object(json!({ "threshold": 30, "$version": 1 })));
    assert!(!device(5).report(&mut state, at(0)).unwrap().contains_key("threshold"));
}

#[track_caller]
fn command(component: Option<&str>, name: &str, request: Value, status: u16) -> Value {
    let answer = device(6).command(&mut State::default(), at(0), component, name, &request);
    assert_eq!(answer.status, status, "{answer:?}");
    answer.payload
}

#[test]
fn commands_are_answered_with_what_they_give() {
    let place = command(None, "locate", Value::Null, 200);
    assert!(place["lat"].is_f64() && place["lon"].is_f64());
    assert_eq!(command(Some("part"), "reset", Value::Null, 200), Value::Null);
    assert!(command(None, "reset", Value::Null, 404)["error"].as_str().unwrap().contains("`reset`"));
    command(Some("gone"), "reset", Value::Null, 404);
    assert!(command(None, "calibrate", json!({ "depth": "x" }), 400)["error"].as_str().unwrap().contains("`/depth`"));
    command(None, "calibrate", Value::Null, 400);
}

#[test]
fn a_long_running_command_reports_its_result_later() {
    let device = device(6);
    let mut state = State::default();
    device.report(&mut state, at(0));
    let answer = device.command(&mut state, at(0), None, "calibrate", &json!({ "depth": 2 }));
    assert_eq!(answer, Answer { status: 202, payload: Value::Null });
    let soon = Timestamp::from_millis(NOW + RUNNING.0 - 1);
    assert!(device.report(&mut state, soon).is_none_or(|patch| !patch.contains_key("calibrate")));
    let patch = device.report(&mut state, at(1)).unwrap();
    let result = patch["calibrate"]["value"].as_str().unwrap();
    assert!(["good", "bad"].contains(&result), "{result}");
    assert!(device.report(&mut state, at(2)).is_none_or(|patch| !patch.contains_key("calibrate")));
    device.command(&mut state, at(2), Some("part"), "move", &Value::Null);
    assert_eq!(device.report(&mut state, at(3)).unwrap()["part"]["move"], json!({ "value": {} }));
}

#[test]
fn so_many_commands_run_at_a_time_and_no_more() {
    let mut state = State::default();
    let mut start = || device(6).command(&mut state, at(0), Some("part"), "move", &Value::Null).status;
    assert!((0..RUNNING_MAX).all(|_| start() == 202));
    assert_eq!(start(), 429);
}

#[test]
fn a_device_is_where_it_is_put() {
    let device = device(7).placed(Place { lat: 48.2, lon: 16.37 });
    let first = device.report(&mut State::default(), at(0)).unwrap();
    assert_eq!((&first["site"]["lat"], &first["site"]["lon"]), (&json!(48.2), &json!(16.37)));
    let body = &device.telemetry(at(0))[0].body;
    assert!((body["geopoint"]["lat"].as_f64().unwrap() - 48.2).abs() < 0.01);
    assert!((body["point"]["coordinates"][0].as_f64().unwrap() - 16.37).abs() < 0.01);
}

#[test]
fn events_are_rare() {
    let device = device(8);
    let count = (0..2_000).filter(|minute| device.telemetry(at(*minute))[0].body.contains_key("alarm")).count();
    assert!((40..160).contains(&count), "{count}");
}
