//! A model as an application reads it.

use gantry_dtdl::{Capability, Class, Model, Parser, SchemaKind, Value};
use serde_json::json;

const CONTROLLER: &str = r#"[{
    "@context": ["dtmi:iotcentral:context;2", "dtmi:dtdl:context;2"],
    "@id": "dtmi:com:example:Controller;1",
    "@type": "Interface",
    "extends": "dtmi:com:example:Named;1",
    "displayName": { "en": "Controller", "de": "Regler" },
    "contents": [
        { "@type": ["Telemetry", "Temperature"], "name": "temperature", "schema": "double", "unit": "degreeCelsius" },
        { "@type": ["Property", "Initialized", "State"], "name": "mode", "writable": true, "initialValue": 1,
          "schema": { "@type": "Enum", "valueSchema": "integer",
                      "enumValues": [{ "name": "off", "enumValue": 0 }, { "name": "on", "displayName": "On", "enumValue": 1 }] } },
        { "@type": ["Property", "Cloud", "Location"], "name": "place", "schema": "geopoint" },
        { "@type": "Command", "name": "reboot",
          "request": { "name": "delay", "schema": "integer" }, "response": { "name": "at", "schema": "dateTime" } },
        { "@type": "Component", "name": "sensor", "schema": "dtmi:com:example:Sensor;1" },
        { "@type": "Relationship", "name": "feeds", "target": "dtmi:com:example:Other;1", "maxMultiplicity": 3,
          "properties": [{ "@type": "Property", "name": "since", "schema": "date" }] }
    ]
}, {
    "@context": "dtmi:dtdl:context;2",
    "@id": "dtmi:com:example:Named;1",
    "@type": "Interface",
    "contents": { "@type": "Property", "name": "serial", "schema": "string" }
}, {
    "@context": "dtmi:dtdl:context;2",
    "@id": "dtmi:com:example:Sensor;1",
    "@type": "Interface",
    "contents": { "@type": "Telemetry", "name": "samples",
                  "schema": { "@type": "Array", "elementSchema": {
                      "@type": "Map", "mapKey": { "name": "k", "schema": "string" }, "mapValue": { "name": "v", "schema": "float" } } } }
}]"#;

fn controller() -> Model {
    Parser::default().parse(&[CONTROLLER]).unwrap()
}

#[test]
fn contents_are_its_own_and_then_those_it_inherits() {
    let model = controller();
    let interface = model.interface("dtmi:com:example:Controller;1").unwrap();
    let names: Vec<_> = interface.contents().filter_map(|content| content.name()).collect();
    assert_eq!(names, ["temperature", "mode", "place", "reboot", "sensor", "feeds", "serial"]);
    let inherited = interface.content("serial").unwrap();
    assert_eq!(inherited.defined_in().unwrap().as_str(), "dtmi:com:example:Named;1");
    let properties = interface.capabilities(Capability::Property).filter_map(|content| content.name());
    assert_eq!(properties.collect::<Vec<_>>(), ["mode", "place", "serial"]);
    assert_eq!(interface.ancestors().count(), 1);
    assert_eq!(model.interfaces().count(), 3);
}

#[test]
fn texts_are_in_the_language_asked_for_or_the_nearest() {
    let model = controller();
    let interface = model.interface("dtmi:com:example:Controller;1").unwrap();
    for (language, name) in [("de", "Regler"), ("de-AT", "Regler"), ("en", "Controller"), ("fr", "Controller")] {
        assert_eq!(interface.display_name(language), Some(name), "{language}");
    }
    assert_eq!(interface.content("temperature").unwrap().display_name("de"), Some("temperature"));
    assert_eq!(interface.description("de"), None);
}

#[test]
fn a_value_has_its_schema_its_unit_and_what_it_means() {
    let model = controller();
    let interface = model.interface("dtmi:com:example:Controller;1").unwrap();
    let temperature = interface.content("temperature").unwrap();
    assert!(matches!(temperature.schema().unwrap().kind(), SchemaKind::Primitive(Class::Double)));
    assert_eq!(temperature.semantic_type(), Some("Temperature"));
    let unit = temperature.unit().unwrap();
    assert_eq!((unit.term(), unit.symbol()), ("degreeCelsius", Some("°C")));
    assert!(!temperature.is_writable());

    let mode = interface.content("mode").unwrap();
    assert!(mode.is_writable() && mode.has_type("State") && mode.has_type("Initialized"));
    assert_eq!(mode.unknown_properties().collect::<Vec<_>>(), [("initialValue", &json!(1))]);
    let values: Vec<_> = mode
        .schema()
        .unwrap()
        .values()
        .map(|(node, value)| match value {
            Value::Int(number) => (node.display_name("en").unwrap(), number),
            _ => panic!("not a number"),
        })
        .collect();
    assert_eq!(values, [("off", 0), ("On", 1)]);

    let fields: Vec<_> = interface.content("place").unwrap().schema().unwrap().fields().collect();
    assert_eq!(fields.iter().filter_map(|field| field.name()).collect::<Vec<_>>(), ["lon", "lat", "alt"]);
}

#[test]
fn commands_components_and_relationships_have_their_parts() {
    let model = controller();
    let interface = model.interface("dtmi:com:example:Controller;1").unwrap();
    let command = interface.content("reboot").unwrap().command().unwrap();
    let (request, response) = (command.request().unwrap(), command.response().unwrap());
    assert_eq!((request.name(), response.name()), (Some("delay"), Some("at")));
    assert!(matches!(response.schema().unwrap().kind(), SchemaKind::Primitive(Class::DateTime)));
    assert!(interface.content("mode").unwrap().command().is_none());

    let sensor = interface.content("sensor").unwrap();
    assert!(sensor.schema().is_none());
    let samples = sensor.component().unwrap().content("samples").unwrap().schema().unwrap();
    let SchemaKind::Array(Some(item)) = samples.kind() else { panic!("no array") };
    let SchemaKind::Map(Some(value)) = item.kind() else { panic!("no map") };
    assert!(matches!(value.schema().unwrap().kind(), SchemaKind::Primitive(Class::Float)));

    let feeds = interface.content("feeds").unwrap();
    assert_eq!(feeds.target().unwrap().as_str(), "dtmi:com:example:Other;1");
    assert_eq!(feeds.max_multiplicity(), Some(3));
    assert_eq!(feeds.properties().filter_map(|property| property.name()).collect::<Vec<_>>(), ["since"]);
}

#[test]
fn values_are_judged_where_they_are_wrong() {
    let model = controller();
    let interface = model.interface("dtmi:com:example:Controller;1").unwrap();
    let place = interface.content("place").unwrap();
    assert_eq!(place.validate(&json!({ "lat": 1.5, "lon": 2 })), []);
    let wrong = place.validate(&json!({ "lat": "north", "height": 3 }));
    let shown: Vec<_> = wrong.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["`/lat` is not a number", "`/height` is not a field of the schema"]);
    let samples = interface.content("sensor").unwrap().component().unwrap().content("samples").unwrap();
    assert_eq!(samples.validate(&json!([{ "a": 1 }, { "b/c": null }]))[0].path, "/1/b~1c");
    assert_eq!(interface.content("mode").unwrap().validate(&json!(2)).len(), 1);
}

#[test]
fn fields_that_are_required_must_be_there() {
    let text = r#"{
        "@context": ["dtmi:dtdl:context;4", "dtmi:dtdl:extension:requirement;1"],
        "@id": "dtmi:x:i;1",
        "@type": "Interface",
        "contents": { "@type": "Property", "name": "p", "schema": { "@type": "Object", "fields": [
            { "@type": ["Field", "Required"], "name": "a", "schema": "string" },
            { "name": "b", "schema": "string" }
        ] } }
    }"#;
    let model = Parser::default().parse(&[text]).unwrap();
    let property = model.interface("dtmi:x:i;1").unwrap().content("p").unwrap();
    assert_eq!(property.validate(&json!({ "a": "" })), []);
    let wrong = property.validate(&json!({ "b": "" }));
    assert_eq!((wrong[0].path.as_str(), wrong[0].what), ("/a", "is required and missing"));
}

#[test]
fn models_that_contain_themselves_judge_values_as_deep_as_they_are() {
    let text = r#"{
        "@context": "dtmi:dtdl:context;4",
        "@id": "dtmi:x:i;1",
        "@type": "Interface",
        "schemas": { "@id": "dtmi:x:tree;1", "@type": "Object", "fields": [
            { "name": "left", "schema": "dtmi:x:tree;1" }, { "name": "value", "schema": "short" }
        ] }
    }"#;
    let model = Parser::default().parse(&[text]).unwrap();
    let tree = model.node("dtmi:x:tree;1").unwrap();
    assert_eq!(tree.validate(&json!({ "left": { "left": { "value": 1 } } })), []);
    assert_eq!(tree.validate(&json!({ "left": { "left": { "value": "1" } } }))[0].path, "/left/left/value");
    let mut deep = json!({ "value": 1 });
    for _ in 0..=gantry_dtdl::NESTING_MAX {
        deep = json!({ "left": deep });
    }
    assert_eq!(tree.validate(&deep)[0].what, "is nested too deep");
}
