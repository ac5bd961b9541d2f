use gantry_hub::device::{Authentication, Device, Status};
use gantry_hub::ports::Presence;
use gantry_hub::twin::Twin;
use gantry_identity::{DeviceId, Identity, Timestamp};

use super::*;
use crate::ids::DeviceTemplateId;
use crate::templates::{DeviceTemplate, TemplateWrite};

const NOW: Timestamp = Timestamp::from_millis(1_764_500_000_000);

fn capabilities() -> std::sync::Arc<Capabilities> {
    let fan = json!({
        "@type": "Component", "name": "fan",
        "schema": {
            "@id": "dtmi:a:fan;1", "@type": "Interface",
            "contents": [
                { "@type": "Property", "name": "rate", "schema": "double", "writable": true },
                { "@type": ["Property", "Cloud"], "name": "owner", "schema": "string" },
            ],
        },
    });
    let model = json!({
        "@id": "dtmi:a:pump;1", "@type": "Interface",
        "contents": [
            { "@type": "Property", "name": "speed", "schema": "integer", "writable": true },
            { "@type": "Property", "name": "serial", "schema": "string" },
            { "@type": ["Property", "Cloud"], "name": "room", "schema": "string" },
            fan,
        ],
    });
    let types = ["ModelDefinition", "DeviceModel"].map(str::to_owned).to_vec();
    let write = TemplateWrite { types, capability_model: model, ..TemplateWrite::default() };
    let id = DeviceTemplateId::parse("dtmi:a:template;1").unwrap();
    DeviceTemplate::new(&id, write, &mut |_: &[_]| None).unwrap().capabilities().unwrap()
}

fn record(reported: Value) -> Record {
    let device = Device {
        identity: Identity::device(DeviceId::parse("d1").unwrap()),
        generation_id: String::new(),
        etag: 1,
        status: Status::Enabled,
        status_reason: None,
        status_updated_at: Timestamp::NEVER,
        authentication: Authentication::None,
        iot_edge: false,
        device_scope: None,
        parent_scopes: vec![],
        managed_by: None,
    };
    let mut twin = Twin::new();
    twin.report(reported.as_object().unwrap(), NOW).unwrap();
    Record { device, twin, revision: 1, presence: Presence::default() }
}

/// Writes, as the store would.
fn wrote(record: &mut Record, body: &Value, component: Option<&str>, is_replacement: bool) -> Value {
    let profile = Profile::of(&record.twin.tags);
    let write = write_properties(record, &profile, Some(&capabilities()), component, body, is_replacement).unwrap();
    if let Some(twin) = write.twin() {
        record.twin.write(&twin, NOW).unwrap();
    }
    write.said
}

fn read(record: &Record, component: Option<&str>, is_unmodeled: bool) -> Value {
    let profile = Profile::of(&record.twin.tags);
    read_properties(record, &profile, Some(&capabilities()), component, is_unmodeled).unwrap()
}

fn refused(body: &Value, component: Option<&str>) -> PropertyError {
    let (record, all) = (record(json!({})), capabilities());
    write_properties(&record, &Profile::default(), Some(&all), component, body, false).unwrap_err()
}

#[test]
fn a_write_says_what_is_desired_and_goes_where_the_template_says() {
    let mut record = record(json!({}));
    let said =
        wrote(&mut record, &json!({"speed": 5, "room": "A4", "fan": {"rate": 1.5, "owner": "Ida"}}), None, false);
    assert_eq!(
        said,
        json!({"fan": {"$metadata": {"rate": {"desiredValue": 1.5}}}, "$metadata": {"speed": {"desiredValue": 5}}})
    );
    assert_eq!(
        Value::Object(record.twin.desired.values.clone()),
        json!({"speed": 5, "fan": {"__t": "c", "rate": 1.5}})
    );
    assert_eq!(record.twin.tags[TAG], json!({"properties": {"room": "A4", "fan": {"owner": "Ida"}}}));
    let said = wrote(&mut record, &json!({"rate": 2}), Some("fan"), false);
    assert_eq!(said, json!({"$metadata": {"rate": {"desiredValue": 2}}}));
    wrote(&mut record, &json!({"speed": null, "room": null}), None, false);
    assert_eq!(Value::Object(record.twin.desired.values.clone()), json!({"fan": {"__t": "c", "rate": 2}}));
    assert_eq!(record.twin.tags[TAG], json!({"properties": {"fan": {"owner": "Ida"}}}));
}

#[test]
fn a_replacement_takes_away_what_it_leaves_out_where_it_is_written() {
    let mut record = record(json!({}));
    wrote(&mut record, &json!({"speed": 5, "room": "A4", "fan": {"rate": 1.5, "owner": "Ida"}}), None, false);
    wrote(&mut record, &json!({"owner": "Bo"}), Some("fan"), true);
    assert_eq!(Value::Object(record.twin.desired.values.clone()), json!({"speed": 5, "fan": {"__t": "c"}}));
    assert_eq!(record.twin.tags[TAG], json!({"properties": {"room": "A4", "fan": {"owner": "Bo"}}}));
    wrote(&mut record, &json!({"speed": 6}), None, true);
    assert_eq!(Value::Object(record.twin.desired.values.clone()), json!({"speed": 6, "fan": {"__t": "c"}}));
    assert_eq!(record.twin.tags[TAG], json!({"properties": {"fan": {}}}));
}

#[test]
fn what_was_read_may_be_written_back() {
    let mut record = record(json!({"serial": "s1", "fan": {"__t": "c"}}));
    wrote(&mut record, &json!({"speed": 5, "room": "A4", "fan": {"rate": 1.5}}), None, false);
    let (desired, tags) = (record.twin.desired.values.clone(), record.twin.tags.clone());
    let mut shown = read(&record, None, false);
    shown.as_object_mut().unwrap().remove("serial");
    wrote(&mut record, &shown, None, true);
    assert_eq!((record.twin.desired.values, record.twin.tags), (desired, tags));
}

#[test]
fn what_is_read_is_what_the_device_said_with_what_is_desired_beside_it() {
    let mut record = record(json!({
        "serial": "s1", "stray": 1, "speed": {"value": 4, "ac": 200, "av": 2}, "fan": {"__t": "c", "odd": 1},
    }));
    wrote(&mut record, &json!({"speed": 5, "room": "A4", "fan": {"rate": 1.5}}), None, false);
    let all = read(&record, None, false);
    assert_eq!((&all["serial"], &all["speed"], &all["room"]), (&json!("s1"), &json!(4), &json!("A4")));
    assert_eq!(all["$metadata"]["speed"]["desiredValue"], 5);
    assert_eq!(all["$metadata"]["speed"]["ackCode"], 200);
    assert!(all["$metadata"].get("$model").is_none() && all.get("$dtId").is_none());
    assert_eq!(all["fan"].get("rate"), None, "what is only desired is no value");
    assert_eq!(all["fan"]["$metadata"]["rate"]["desiredValue"], 1.5);
    assert!(all.get("stray").is_none() && all["fan"].get("odd").is_none());
    let all = read(&record, None, true);
    assert_eq!((&all["stray"], &all["fan"]["odd"]), (&json!(1), &json!(1)));
    assert_eq!(read(&record, Some("fan"), false)["$metadata"]["rate"]["desiredValue"], 1.5);
}

#[test]
fn wrong_writes_are_named() {
    let path = |text: &str| text.to_owned();
    assert_eq!(refused(&json!({"serial": "x"}), None), PropertyError::ReadOnly(path("serial")));
    assert_eq!(refused(&json!({"colour": 1}), None), PropertyError::Unknown(path("colour")));
    assert_eq!(refused(&json!({"fan": {"colour": 1}}), None), PropertyError::Unknown(path("fan.colour")));
    assert_eq!(refused(&json!({"fan": 1}), None), PropertyError::NotObject(path("fan")));
    assert_eq!(refused(&json!({}), Some("wing")), PropertyError::UnknownComponent(path("wing")));
    assert_eq!(refused(&json!(1), None), PropertyError::NotObject(path("the body")));
    let told = refused(&json!({"speed": 1.5}), None).to_string();
    assert_eq!(told, "`speed`: the value is not an integer of 32 bits");
}

#[test]
fn without_a_template_everything_may_be_desired() {
    let mut record = record(json!({"fan": {"__t": "c", "rate": 1}}));
    let none = Profile::default();
    let body = json!({"speed": "fast", "fan": {"rate": 2}});
    let write = write_properties(&record, &none, None, None, &body, false).unwrap();
    record.twin.write(&write.twin().unwrap(), NOW).unwrap();
    assert_eq!(
        Value::Object(record.twin.desired.values.clone()),
        json!({"speed": "fast", "fan": {"__t": "c", "rate": 2}})
    );
    assert_eq!(read_properties(&record, &none, None, Some("fan"), false).unwrap()["rate"], 1);
    for reserved in ["$version", "$x", "__t"] {
        let told = write_properties(&record, &none, None, None, &json!({ reserved: 1 }), false).unwrap_err();
        assert_eq!(told, PropertyError::Unknown(reserved.into()));
    }
    let told = read_properties(&record, &none, None, Some("wing"), false).unwrap_err();
    assert_eq!(told, PropertyError::UnknownComponent("wing".into()));
}
