//! Device templates: the published example, wrong ones, and what may change.

use serde_json::{Value, json};

use super::*;
use crate::kept::tests::kept;

fn nobody(_: &[Dtmi]) -> Option<Vec<String>> {
    None
}

fn id() -> DeviceTemplateId {
    DeviceTemplateId::parse("dtmi:contoso:testDeviceTemplate;1").unwrap()
}

fn example() -> TemplateWrite {
    let body: Value = serde_json::from_str(include_str!("../../tests/examples/device_template.json")).unwrap();
    let types = body["@type"].as_array().unwrap().iter().map(|of| of.as_str().unwrap().to_owned()).collect();
    let display_name = body["displayName"].as_str().map(str::to_owned);
    TemplateWrite { types, display_name, capability_model: body["capabilityModel"].clone(), ..TemplateWrite::default() }
}

fn model(contents: Value) -> TemplateWrite {
    let capability_model = json!({ "@id": "dtmi:a:pump;1", "@type": "Interface", "contents": contents });
    TemplateWrite { types: example().types, capability_model, ..TemplateWrite::default() }
}

fn made(write: TemplateWrite) -> DeviceTemplate {
    DeviceTemplate::new(&id(), write, &mut nobody).unwrap()
}

fn refused(write: TemplateWrite) -> TemplateError {
    DeviceTemplate::new(&id(), write, &mut nobody).unwrap_err()
}

#[test]
fn the_published_example_is_a_template() {
    let template = made(example());
    assert_eq!(template.model_id(), "dtmi:contoso:testCapabilityModel;1");
    let all = template.capabilities().unwrap();
    let root = &all.root;
    assert_eq!(root.display_name, "Test Capability Model");
    assert_eq!(root.telemetry("humidity").unwrap().semantic_type.as_deref(), Some("Humidity"));
    assert_eq!(root.telemetry("testEvent").unwrap().semantic_type.as_deref(), Some("Event"));
    let status = root.property("status").unwrap();
    assert!(status.is_cloud && !status.is_writable);
    assert!(matches!(&status.schema, Schema::Enum(values) if values[1].value == json!(2)));
    let initialized = root.property("testProperty").unwrap();
    assert_eq!(initialized.initial_value, Some(json!("initialValue1")));
    assert!(initialized.is_writable && !initialized.is_cloud);
    let command = root.command("testCommand").unwrap();
    assert_eq!(command.response.as_ref().unwrap().schema, Schema::Geopoint);
    assert!(!command.is_durable);
    let settings = all.part(Some("settings")).unwrap();
    assert_eq!(settings.display_name, "Settings");
    assert_eq!(settings.property("threshold").unwrap().schema, Schema::Word("double"));
    assert_eq!(all.count(), 11);
}

#[test]
fn units_durable_commands_and_modules_are_seen() {
    let all = made(model(json!([
        { "@type": ["Telemetry", "Temperature"], "name": "t", "schema": "double", "unit": "degreeCelsius" },
        { "@type": ["Telemetry", "VelocityVector"], "name": "v", "schema": "vector" },
        { "@type": ["Telemetry", "Location"], "name": "l", "schema": "point" },
        { "@type": "Command", "name": "c", "durable": true },
        { "@type": ["Relationship", "EdgeModule"], "name": "m", "target": "dtmi:a:module;1" },
    ])))
    .capabilities()
    .unwrap();
    assert_eq!(all.root.telemetry("t").unwrap().unit.as_deref(), Some("degreeCelsius"));
    assert_eq!(all.root.telemetry("t").unwrap().semantic_type.as_deref(), Some("Temperature"));
    assert_eq!(all.root.telemetry("v").unwrap().schema, Schema::Vector);
    assert_eq!(all.root.telemetry("l").unwrap().schema, Schema::Word("point"));
    assert!(all.root.command("c").unwrap().is_durable);
    assert!(all.root.relationships[0].is_edge_module);
}

#[test]
fn a_module_brings_its_interface_in_the_link_to_it() {
    let module = json!({ "@id": "dtmi:a:module;1", "@type": "Interface", "contents": [
        { "@type": ["Telemetry", "Temperature"], "name": "t", "schema": "double" },
        { "@type": "Component", "name": "c", "schema": { "@id": "dtmi:a:part;1", "@type": "Interface" } }] });
    for target in [json!([module]), module.clone()] {
        let link = json!({ "@type": ["Relationship", "EdgeModule"], "name": "m", "target": target });
        let all = made(model(json!([link]))).capabilities().unwrap();
        let offers = all.module("m").unwrap();
        assert_eq!(offers.model_id, "dtmi:a:module;1");
        assert!(offers.root.telemetry("t").is_some() && offers.part(Some("c")).is_some());
        assert!(all.module("n").is_none());
    }
    let by_id = json!({ "@type": ["Relationship", "EdgeModule"], "name": "m", "target": ["dtmi:a:module;1"] });
    assert!(made(model(json!([by_id]))).capabilities().unwrap().module("m").is_none(), "nobody knows it");
    for wrong in [json!([1]), json!([module, module]), json!([{ "contents": [] }])] {
        let link = json!({ "@type": ["Relationship", "EdgeModule"], "name": "m", "target": wrong });
        assert!(matches!(refused(model(json!([link]))), TemplateError::Model(_)), "{wrong}");
    }
}

#[test]
fn what_is_stored_is_read_again_without_asking_anybody() {
    let mut write = model(json!([]));
    write.capability_model["extends"] = json!("dtmi:a:base;1");
    let base = json!({ "@context": "dtmi:dtdl:context;2", "@id": "dtmi:a:base;1", "@type": "Interface",
        "extends": "dtmi:a:first;1",
        "contents": [{ "@type": "Telemetry", "name": "t", "schema": "double" }] });
    assert!(matches!(refused(write.clone()), TemplateError::Model(DtdlError::Unresolved(_))));
    let first = json!({ "@context": "dtmi:dtdl:context;2", "@id": "dtmi:a:first;1", "@type": "Interface" });
    let mut answers = [base, first].into_iter();
    let mut resolver = |_: &[Dtmi]| answers.next().map(|text| vec![text.to_string()]);
    let template = DeviceTemplate::new(&id(), write, &mut resolver).unwrap();
    let again = Kept::<DeviceTemplate>::read(&kept(template.clone()).document()).unwrap();
    assert_eq!(*again.value.capabilities().unwrap(), *template.capabilities().unwrap());
    assert!(again.value.capabilities().unwrap().root.telemetry("t").is_some());
}

#[test]
fn wrong_templates_are_refused() {
    for types in [vec![], vec!["DeviceModel"], vec!["ModelDefinition"], vec!["ModelDefinition", "Model"]] {
        let types = types.into_iter().map(str::to_owned).collect();
        assert!(matches!(refused(TemplateWrite { types, ..example() }), TemplateError::Types));
    }
    for capability_model in [json!(null), json!([]), json!({}), json!({ "@id": 1 }), json!("x")] {
        assert!(matches!(refused(TemplateWrite { capability_model, ..example() }), TemplateError::NoModel));
    }
    assert!(matches!(refused(model(json!([{ "@type": "Telemetry", "name": "t" }]))), TemplateError::Model(_)));
    assert!(matches!(
        refused(TemplateWrite { display_name: Some(" ".into()), ..example() }),
        TemplateError::Name(IdError::Empty { .. })
    ));
    let same = DeviceTemplateId::parse("dtmi:contoso:testCapabilityModel;1").unwrap();
    assert!(matches!(DeviceTemplate::new(&same, example(), &mut nobody), Err(TemplateError::SameId(_))));
}

#[test]
fn a_template_has_three_hundred_capabilities_at_most() {
    let of = |count: usize| {
        model(Value::Array(
            (0..count).map(|n| json!({ "@type": "Telemetry", "name": format!("t{n}"), "schema": "double" })).collect(),
        ))
    };
    assert_eq!(made(of(CAPABILITIES_MAX)).capabilities().unwrap().count(), CAPABILITIES_MAX);
    // The language itself bounds the contents of an interface at the same number.
    let over = refused(of(CAPABILITIES_MAX + 1));
    assert!(matches!(over, TemplateError::Model(_) | TemplateError::TooMany(301)), "{over:?}");
    let mut split = of(CAPABILITIES_MAX);
    split.capability_model["contents"].as_array_mut().unwrap().truncate(250);
    split.capability_model["contents"].as_array_mut().unwrap().push(json!({ "@type": "Component", "name": "c",
        "schema": { "@id": "dtmi:a:c;1", "@type": "Interface", "contents":
            (0..51).map(|n| json!({ "@type": "Telemetry", "name": format!("t{n}"), "schema": "double" })).collect::<Vec<_>>() } }));
    assert!(matches!(refused(split), TemplateError::TooMany(301)));
}

#[test]
fn a_model_nested_without_end_is_refused() {
    let mut deep = json!({ "@type": "Telemetry", "name": "t", "schema": "double" });
    for _ in 0..500 {
        deep = json!({ "@type": "Object", "fields": [deep] });
    }
    assert!(matches!(refused(model(json!([deep]))), TemplateError::Model(_)));
    let mut cyclic = model(json!([]));
    cyclic.capability_model["extends"] = json!("dtmi:a:pump;1");
    assert!(matches!(refused(cyclic), TemplateError::Model(_)));
}

fn base() -> Value {
    json!([
        { "@type": "Telemetry", "name": "t", "schema": "double" },
        { "@type": "Property", "name": "p", "schema": "string", "writable": true },
        { "@type": ["Property", "Cloud"], "name": "note", "schema": "string" },
        { "@type": "Command", "name": "c", "request": { "name": "r", "schema": "integer" } },
        { "@type": "Telemetry", "name": "e", "schema": { "@type": "Enum", "valueSchema": "integer",
            "enumValues": [{ "name": "off", "enumValue": 0 }] } },
        { "@type": "Component", "name": "part", "schema": { "@id": "dtmi:a:part;1", "@type": "Interface",
            "contents": [{ "@type": "Telemetry", "name": "inner", "schema": "double" }] } },
    ])
}

#[track_caller]
fn check(change: impl FnOnce(&mut Value), expected: &[&str]) {
    let published = Templates::from([(id(), kept(made(model(base()))))]);
    let mut contents = base();
    change(&mut contents);
    let told = match check_put(&published, &id(), &made(model(contents))) {
        Ok(()) => vec![],
        Err(TemplateError::Breaking(changes)) => changes.iter().map(ToString::to_string).collect(),
        Err(other) => panic!("{other:?}"),
    };
    assert_eq!(told, expected);
}

#[test]
fn a_published_template_may_grow() {
    check(|_| {}, &[]);
    check(|all| all[0]["displayName"] = json!("Temperature"), &[]);
    check(|all| all.as_array_mut().unwrap().push(json!({ "@type": "Command", "name": "d" })), &[]);
    check(
        |all| all[4]["schema"]["enumValues"].as_array_mut().unwrap().push(json!({ "name": "on", "enumValue": 1 })),
        &[],
    );
    check(|all| drop(all.as_array_mut().unwrap().remove(2)), &[]);
    check(|all| all[2]["schema"] = json!("double"), &[]);
}

#[test]
fn what_devices_rely_on_stays_and_what_breaks_is_named() {
    check(|all| drop(all.as_array_mut().unwrap().remove(0)), &["`t` is no telemetry any more"]);
    check(|all| all[0]["schema"] = json!("string"), &["`t` gets another schema"]);
    check(|all| all[1]["writable"] = json!(false), &["`p` changes whether it can be written"]);
    check(|all| all[1]["@type"] = json!(["Property", "Cloud"]), &["`p` becomes a cloud property"]);
    check(|all| all[3]["request"]["schema"] = json!("double"), &["`c` gets another request"]);
    check(|all| all[3]["response"] = json!({ "name": "x", "schema": "double" }), &["`c` gets another response"]);
    check(|all| all[3]["durable"] = json!(true), &["`c` changes whether it is queued"]);
    check(|all| all[4]["schema"]["enumValues"][0]["enumValue"] = json!(5), &["`e` gets another schema"]);
    check(|all| all[5]["name"] = json!("other"), &["`part` is no component any more"]);
    check(|all| all[5]["schema"]["contents"][0]["schema"] = json!("string"), &["`part.inner` gets another schema"]);
}

#[test]
fn another_model_needs_another_template() {
    let published = Templates::from([(id(), kept(made(model(base()))))]);
    let mut other = model(base());
    other.capability_model["@id"] = json!("dtmi:a:pump;2");
    let error = check_put(&published, &id(), &made(other)).unwrap_err();
    assert!(error.to_string().contains("the id of the model changes"), "{error}");
}

#[test]
fn a_device_finds_the_template_of_its_model() {
    let all = Templates::from([(id(), kept(made(model(base()))))]);
    assert_eq!(for_model(&all, "dtmi:a:pump;1").map(|(id, _)| id.as_str()), Some(id().as_str()));
    assert!(for_model(&all, "dtmi:a:pump;2").is_none());
}

#[test]
fn a_model_becomes_a_template_by_itself() {
    let pump = Dtmi::parse("dtmi:com:example:Pump;1").unwrap();
    let document = json!([
        { "@context": "dtmi:dtdl:context;2", "@id": "dtmi:com:example:Part;1", "@type": "Interface",
          "contents": [{ "@type": "Telemetry", "name": "t", "schema": "double" }] },
        { "@context": "dtmi:dtdl:context;2", "@id": pump.as_str(), "@type": "Interface", "displayName": "Pump",
          "contents": [{ "@type": "Component", "name": "part", "schema": "dtmi:com:example:Part;1" }] },
    ]);
    let (id, template) = DeviceTemplate::automatic(&pump, &document, &mut nobody).unwrap();
    assert_eq!(id.as_str(), "dtmi:modelDefinition:com:example:Pump;1");
    assert_eq!(template.display_name.as_ref().unwrap().as_str(), "Pump");
    assert_eq!(template.model_id(), pump.as_str());
    assert!(template.capabilities().unwrap().part(Some("part")).unwrap().telemetry("t").is_some());
    let other = Dtmi::parse("dtmi:com:example:Fan;1").unwrap();
    assert!(matches!(DeviceTemplate::automatic(&other, &document, &mut nobody), Err(TemplateError::NoModel)));
}
