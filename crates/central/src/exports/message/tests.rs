use gantry_hub::device::{Authentication, Device as Identified, Status};
use gantry_hub::event::SystemProperties;
use gantry_hub::ports::{Presence, Record};
use gantry_hub::routing::Destinations;
use gantry_hub::twin::{SectionWrite, Twin, TwinWrite};
use gantry_identity::{Identity, Timestamp};

use super::*;
use crate::exports::filter::ExportFilter;
use crate::ids::DisplayName;
use crate::kept::tests::kept;
use crate::templates::{TemplateWrite, Templates};

fn event(source: MessageSource, properties: &[(&str, &str)], body: &Value) -> StoredEvent {
    StoredEvent {
        partition: 0,
        sequence_number: 1,
        enqueued_at: Timestamp::from_millis(0),
        source,
        identity: Identity::parse("motor-1").unwrap(),
        generation_id: "7".into(),
        auth_method: String::new(),
        model_id: None,
        system: SystemProperties::default(),
        properties: properties.iter().map(|(name, value)| ((*name).into(), Some((*value).into()))).collect(),
        destinations: Destinations::NONE,
        added: vec![],
        body: body.to_string().into(),
    }
}

fn record() -> Record {
    let mut twin = Twin::new();
    let object = |value: Value| SectionWrite::Merge(value.as_object().unwrap().clone());
    let tags = object(json!({ TAG: {
        "displayName": "Motor one", "template": "dtmi:a:motor;1", "organization": "north", "simulated": true,
        "properties": {"room": "A4"},
    } }));
    let desired = object(json!({"target": 20}));
    twin.write(&TwinWrite { tags: Some(tags), desired: Some(desired) }, Timestamp::NEVER).unwrap();
    let reported = json!({"serial": "s1", "pump": {"__t": "c", "speed": {"value": 3, "ac": 200, "av": 1}}});
    twin.report(reported.as_object().unwrap(), Timestamp::NEVER).unwrap();
    let device = Identified {
        identity: Identity::parse("motor-1").unwrap(),
        generation_id: "7".into(),
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
    Record { device, twin, revision: 1, presence: Presence::default() }
}

fn templates() -> Templates {
    let contents = json!([
        {"@type": "Telemetry", "name": "temperature", "schema": "double"},
        {"@type": "Property", "name": "serial", "schema": "string"},
        {"@type": "Component", "name": "pump", "schema": {"@id": "dtmi:a:pump;1", "@type": "Interface", "contents": [
            {"@id": "dtmi:a:speed;1", "@type": "Property", "name": "speed", "schema": "integer", "writable": true}]}},
    ]);
    let write = TemplateWrite {
        types: vec!["ModelDefinition".into(), "DeviceModel".into()],
        context: None,
        display_name: Some("Motor".into()),
        description: None,
        capability_model: json!({
            "@id": "dtmi:a:model;1", "@type": "Interface", "@context": "dtmi:dtdl:context;2", "contents": contents}),
    };
    let id = crate::ids::DeviceTemplateId::parse("dtmi:a:motor;1").unwrap();
    let template = DeviceTemplate::new(&id, write, &mut |_: &[_]| None).unwrap();
    Templates::from([(id, kept(template))])
}

fn export(source: Source, filter: Option<&str>) -> Export {
    Export {
        display_name: DisplayName::parse("e").unwrap(),
        enabled: true,
        source,
        filter: filter.map(|text| ExportFilter::parse(text).unwrap()),
        enrichments: std::collections::BTreeMap::new(),
        destinations: vec![],
    }
}

/// Lets `look` at each message that an event is for an export; with its device, or when that is gone.
fn messages<T>(export: &Export, event: &StoredEvent, is_gone: bool, look: impl Fn(&Message<'_>) -> T) -> Vec<T> {
    let (record, templates) = (record(), templates());
    let device = Device::of(&record, &templates, true);
    let properties = device.properties();
    let template = &templates.values().next().unwrap().value;
    let capabilities = template.capabilities().unwrap();
    let about =
        About { device: &device, properties: &properties, template: Some(template), capabilities: Some(&capabilities) };
    let about = (!is_gone).then_some(about);
    let happened = read(export.source, event);
    happened.iter().map(|happened| look(&Message { application: "app", export, event, happened, about })).collect()
}

fn sent(source: Source, event: &StoredEvent) -> Vec<Value> {
    messages(&export(source, None), event, false, |message| message.document())
}

fn telemetry() -> StoredEvent {
    event(MessageSource::Telemetry, &[("batch", "b7")], &json!({"temperature": 21.5, "other": "x"}))
}

#[test]
fn telemetry_is_sent_in_the_published_format() {
    let expected = json!({
        "applicationId": "app", "messageSource": "telemetry", "deviceId": "motor-1", "schema": "default@v1",
        "templateId": "dtmi:a:motor;1", "enqueuedTime": "1970-01-01T00:00:00.0000000Z",
        "telemetry": {"temperature": 21.5, "other": "x"}, "messageProperties": {"batch": "b7"}, "enrichments": {},
    });
    assert_eq!(sent(Source::Telemetry, &telemetry()), [expected]);
    let of_component = StoredEvent {
        identity: Identity::parse("motor-1/m1").unwrap(),
        system: SystemProperties { subject: Some("pump".into()), ..SystemProperties::default() },
        ..telemetry()
    };
    let shown = sent(Source::Telemetry, &of_component).remove(0);
    assert_eq!(
        (&shown["component"], &shown["module"], &shown["deviceId"]),
        (&json!("pump"), &json!("m1"), &json!("motor-1"))
    );
    for body in ["", "[1]", "{", "1"] {
        let event = StoredEvent { body: body.into(), ..telemetry() };
        assert!(sent(Source::Telemetry, &event).is_empty(), "{body}");
    }
    assert!(
        sent(Source::Properties, &telemetry()).is_empty() && sent(Source::DeviceLifecycle, &telemetry()).is_empty()
    );
}

#[test]
fn changes_of_properties_are_sent_by_kind() {
    let body = json!({
        "version": 3,
        "tags": {TAG: {"properties": {"room": null, "info": {"owner": "Ida"}}}, "site": "x"},
        "properties": {
            "desired": {"target": 20, "$version": 2, "$metadata": {}},
            "reported": {"serial": "s1", "pump": {"__t": "c", "speed": {"value": 3, "ac": 200, "av": 1}}},
        },
    });
    let event = event(MessageSource::TwinChange, &[("opType", "replaceTwin")], &body);
    let shown = sent(Source::Properties, &event);
    let said: Vec<_> = shown.iter().map(|one| (one["messageType"].as_str().unwrap(), &one["properties"])).collect();
    assert_eq!(
        said,
        [
            (
                "cloudPropertyChange",
                &json!([{"name": "room", "value": null}, {"name": "info", "value": {"owner": "Ida"}}])
            ),
            ("devicePropertyDesiredChange", &json!([{"name": "target", "value": 20}])),
            (
                "devicePropertyReportedChange",
                &json!([{"name": "serial", "value": "s1"}, {"name": "speed", "value": 3, "component": "pump"}])
            ),
        ]
    );
    assert!(shown[0].get("messageProperties").is_none());
    assert!(sent(Source::DeviceLifecycle, &event).is_empty());
}

#[test]
fn what_becomes_of_devices_is_sent() {
    let of = |source, event_source, operation, body: &Value| {
        let event = event(event_source, &[("opType", operation)], body);
        let words = |one: Value| one["messageType"].as_str().unwrap().to_owned();
        sent(source, &event).into_iter().map(words).collect::<Vec<_>>()
    };
    let life = |operation| of(Source::DeviceLifecycle, MessageSource::Lifecycle, operation, &json!({}));
    for (operation, word) in [
        ("createDeviceIdentity", "registered"),
        ("deleteDeviceIdentity", "deleted"),
        ("enableDeviceIdentity", "enabled"),
        ("disableDeviceIdentity", "disabled"),
    ] {
        assert_eq!(life(operation), [word]);
    }
    assert!(life("createModuleIdentity").is_empty());
    let came = |operation| of(Source::DeviceConnectivity, MessageSource::ConnectionState, operation, &json!({}));
    assert_eq!(
        (came("deviceConnected"), came("deviceDisconnected")),
        (vec!["connected".into()], vec!["disconnected".into()])
    );
    assert!(came("moduleConnected").is_empty());
    let tags = json!({"tags": {TAG: {"displayName": "n", "template": null}}});
    let renamed = of(Source::DeviceLifecycle, MessageSource::TwinChange, "updateTwin", &tags);
    assert_eq!(renamed, ["displayNameChanged", "deviceTemplateChanged"]);
    let gone = event(MessageSource::Lifecycle, &[("opType", "deleteDeviceIdentity")], &json!({}));
    let shown = messages(&export(Source::DeviceLifecycle, None), &gone, true, |message| message.document()).remove(0);
    assert_eq!((&shown["deviceId"], shown.get("templateId")), (&json!("motor-1"), None));
}

#[test]
fn a_transform_reads_the_device_beside_the_message() {
    let shown = messages(&export(Source::Telemetry, None), &telemetry(), false, |message| message.input()).remove(0);
    let id = "dtmi:a:model:_contents:__temperature;1";
    assert_eq!(
        shown["telemetry"],
        json!([{"name": "temperature", "value": 21.5, "id": id}, {"name": "other", "value": "x"}])
    );
    let device = json!({
        "id": "motor-1", "name": "Motor one", "templateId": "dtmi:a:motor;1", "templateName": "Motor",
        "properties": {"reported": [
            {"name": "serial", "value": "s1", "id": "dtmi:a:model:_contents:__serial;1"},
            {"name": "speed", "value": 3, "component": "pump", "id": "dtmi:a:speed;1"}]},
        "cloudProperties": [{"name": "room", "value": "A4"}],
        "simulated": true, "approved": true, "blocked": false, "provisioned": true, "organizations": ["north"],
    });
    let sorted = |mut value: Value| {
        let by_name = |one: &Value| one["name"].as_str().unwrap().to_owned();
        value["properties"]["reported"].as_array_mut().unwrap().sort_by_key(by_name);
        value
    };
    assert_eq!(sorted(shown["device"].clone()), device);
    assert!(shown.get("schema").is_none() && shown.get("deviceId").is_none());
    let gone = messages(&export(Source::Telemetry, None), &telemetry(), true, |message| message.input()).remove(0);
    assert_eq!(gone["device"], json!({"id": "motor-1"}));
}

#[track_caller]
fn check(filter: &str, passes: bool) {
    let told = messages(&export(Source::Telemetry, Some(filter)), &telemetry(), false, |message| message.passes());
    assert_eq!(told, [passes], "{filter}");
}

#[test]
fn filters_test_the_message_and_its_device() {
    check("SELECT * FROM devices", true);
    check("SELECT * FROM devices WHERE $id = 'motor-1' AND $displayName != 'abc'", true);
    check("SELECT * FROM devices WHERE $simulated = false", false);
    check("SELECT * FROM devices WHERE $organizations = 'north' AND $provisioned = true AND $enabled = true", true);
    check("SELECT * FROM dtmi:a:motor;1", true);
    check("SELECT * FROM dtmi:a:other;1", false);
    check("SELECT * FROM dtmi:a:motor;1 WHERE temperature > 21 AND temperature > target", true);
    check("SELECT * FROM dtmi:a:motor;1 AS A, dtmi:a:b;1 AS B WHERE A.temperature > 21", true);
    check("SELECT * FROM dtmi:a:motor;1 AS A, dtmi:a:b;1 AS B WHERE B.temperature > 21", false);
    check("SELECT * FROM dtmi:a:motor;1 WHERE pump.speed = 3 AND serial = 's1' AND room = 'A4'", true);
    check("SELECT * FROM devices WHERE batch = 'b7'", true);
    check("SELECT * FROM devices WHERE batch = 'b8'", false);
    let by_id = export(Source::Telemetry, Some("SELECT * FROM devices WHERE $id = 'motor-1'"));
    assert_eq!(messages(&by_id, &telemetry(), true, |message| message.passes()), [true]);
    let by_name = export(Source::Telemetry, Some("SELECT * FROM devices WHERE $displayName = 'Motor one'"));
    assert_eq!(messages(&by_name, &telemetry(), true, |message| message.passes()), [false], "it is gone");
}

#[test]
fn enrichments_are_added_and_what_is_not_there_is_left_out() {
    let some = |text: &str| Some(text.to_owned());
    let mut one = export(Source::Telemetry, None);
    for (name, enrichment) in [
        ("site", Enrichment::new(None, None, Some("x".into()))),
        ("name", Enrichment::new(None, some("$displayName"), None)),
        ("kind", Enrichment::new(None, some("$templateDisplayName"), None)),
        ("where", Enrichment::new(None, some("$organizations"), None)),
        ("serial", Enrichment::new(some("dtmi:a:motor;1"), some("serial"), None)),
        ("speed", Enrichment::new(some("dtmi:a:pump;1"), some("pump.speed"), None)),
        ("none", Enrichment::new(some("dtmi:a:motor;1"), some("nothing"), None)),
        ("other", Enrichment::new(some("dtmi:a:other;1"), some("serial"), None)),
    ] {
        one.enrichments.insert(name.to_owned(), enrichment.unwrap());
    }
    let shown = messages(&one, &telemetry(), false, |message| message.document()).remove(0);
    let expected =
        json!({"site": "x", "name": "Motor one", "kind": "Motor", "where": ["north"], "serial": "s1", "speed": 3});
    assert_eq!(shown["enrichments"], expected);
    let gone = messages(&one, &telemetry(), true, |message| message.document()).remove(0);
    assert_eq!(gone["enrichments"], json!({"site": "x"}));
}
