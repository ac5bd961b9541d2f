//! The object model: every element with its class, properties and types, as the reference has it.
//!
//! Units are elements without parts here: what a unit is made of (kilo and metre, a ratio) is not
//! kept, only its kind and symbol. Everything else is compared.

use crate::cases::{Case, cases, report};
use gantry_dtdl::{Capability, Class, Dtmi, Model, Node, Prop, Value};
use serde_json::{Map, Value as Json, json};

/// The properties that the reference has by other names: contents by kind.
const KINDS: &[(&str, Capability)] = &[
    ("components", Capability::Component),
    ("properties", Capability::Property),
    ("telemetries", Capability::Telemetry),
    ("commands", Capability::Command),
    ("relationships", Capability::Relationship),
];

const PROPS: &[Prop] = &[
    Prop::Comment,
    Prop::Description,
    Prop::DisplayName,
    Prop::Name,
    Prop::Contents,
    Prop::Extends,
    Prop::Schemas,
    Prop::Schema,
    Prop::Writable,
    Prop::CommandType,
    Prop::Request,
    Prop::Response,
    Prop::Nullable,
    Prop::Target,
    Prop::MinMultiplicity,
    Prop::MaxMultiplicity,
    Prop::Properties,
    Prop::ElementSchema,
    Prop::ValueSchema,
    Prop::EnumValues,
    Prop::EnumValue,
    Prop::MapKey,
    Prop::MapValue,
    Prop::Fields,
];

fn shown(value: Value<'_>) -> Json {
    match value {
        Value::Text(text) => text.into(),
        Value::Texts(texts) => {
            texts.iter().map(|(code, text)| (code.to_string(), json!(text))).collect::<Map<_, _>>().into()
        }
        Value::Flag(flag) => flag.into(),
        Value::Int(number) => number.into(),
        Value::Decimal(number) if number.fract() == 0.0 => (number as i64).into(),
        Value::Decimal(number) => number.into(),
        Value::Id(id) => id.as_str().into(),
        Value::Element(node) => node.id().as_str().into(),
    }
}

fn by_name<'m>(nodes: impl Iterator<Item = Node<'m>>) -> Json {
    let of = |node: Node<'m>| (node.name().unwrap_or_default().to_owned(), json!(node.id().as_str()));
    nodes.map(of).collect::<Map<_, _>>().into()
}

/// A property as the reference's suite writes it down.
fn property(node: Node<'_>, name: &str, expected: &Json) -> Json {
    let interface = node.class() == Class::Interface;
    if let (true, Some((_, kind))) = (interface, KINDS.iter().find(|(of, _)| *of == name)) {
        let class = match kind {
            Capability::Component => Class::Component,
            Capability::Property => Class::Property,
            Capability::Telemetry => Class::Telemetry,
            Capability::Command => Class::Command,
            Capability::Relationship => Class::Relationship,
        };
        return by_name(node.elements(Prop::Contents).filter(|content| content.class() == class));
    }
    let Some(prop) = PROPS.iter().find(|prop| prop.name() == name) else {
        return match name {
            "languageMajorVersion" => node.version().into(),
            "definedIn" => node.defined_in().map(Dtmi::as_str).into(),
            "childOf" => node.child_of().map(Dtmi::as_str).into(),
            _ => format!("no property {name}").into(),
        };
    };
    if *prop == Prop::Contents {
        return by_name(node.elements(Prop::Contents));
    }
    if let Some(value) = node.value(*prop) {
        return shown(value);
    }
    let ids: Vec<Json> = node.elements(*prop).map(|node| node.id().as_str().into()).collect();
    match (expected, ids.as_slice()) {
        (Json::Array(_), ids) => ids.into(),
        // What an element does not say is false or nothing.
        (Json::Bool(false), []) => false.into(),
        (Json::Object(_), []) => json!({}),
        (_, [id]) => id.clone(),
        _ => Json::Null,
    }
}

/// The interfaces that extend one.
fn extended_by(model: &Model, id: &str) -> Json {
    let by = model.interfaces().filter(|of| of.extends().any(|parent| parent.id().as_str() == id));
    by.map(|of| json!(of.id().as_str())).collect::<Vec<_>>().into()
}

/// Seconds of a minute as a duration, where the reference's suite has them as a time of day.
fn as_duration(value: &Json) -> Json {
    match value.as_str().and_then(|text| text.strip_prefix("00:00:")) {
        Some(seconds) => format!("PT{seconds}S").into(),
        None => value.clone(),
    }
}

fn is_unit(id: &str) -> bool {
    id.contains(":unit:")
}

/// Lists in any order.
fn sorted(value: &Json) -> Json {
    let Json::Array(items) = value else { return value.clone() };
    let mut items = items.clone();
    items.sort_by_key(Json::to_string);
    items.into()
}

fn differences(case: &Case) -> Vec<String> {
    let model = match case.parse() {
        Ok(model) => model,
        Err(error) => return vec![format!("{}: {error}", case.id())],
    };
    let mut found = Vec::new();
    let has_units = model.nodes().any(|node| is_unit(node.id().as_str()));
    if let Some(count) = case.0["expect"]["elementCount"].as_u64()
        && !has_units
        && count != model.len() as u64
    {
        found.push(format!("{}: {} elements for {count}", case.id(), model.len()));
    }
    for of in case.expected("elements") {
        let id = of["id"].as_str().unwrap();
        let Some(node) = model.node(id) else {
            found.push(format!("{}: no element {id}", case.id()));
            continue;
        };
        let mut same = |what: &str, own: Json, expected: &Json| {
            if sorted(&own) != sorted(expected) {
                found.push(format!("{} {id} {what}: {own} for {expected}", case.id()));
            }
        };
        same("class", node.class().name().into(), &of["type"]);
        for (name, expected) in of["properties"].as_object().into_iter().flatten() {
            // The words about standard elements are the reference's own.
            let words = matches!(name.as_str(), "displayName" | "description") && id.starts_with("dtmi:dtdl:");
            match name.as_str() {
                "extendedBy" => same(name, extended_by(&model, id), expected),
                _ if words => {}
                _ => same(name, property(node, name, expected), expected),
            }
        }
        if is_unit(id) {
            continue;
        }
        let lists = [
            ("supplementalTypes", node.extension_types().collect::<Vec<_>>()),
            ("undefinedTypes", node.unknown_types().collect()),
        ];
        for (name, own) in lists {
            if let Some(expected) = of.get(name) {
                same(name, own.into(), expected);
            }
        }
        if let Some(expected) = of.get("supplementalProperties") {
            let own = node.extension_properties().map(|(uri, value)| (uri.to_owned(), shown(value)));
            let expected = expected.as_object().unwrap().iter().map(|(name, value)| (name.clone(), as_duration(value)));
            let expected: Json = expected.collect::<Map<_, _>>().into();
            same("supplementalProperties", own.collect::<Map<_, _>>().into(), &expected);
        }
        if let Some(expected) = of.get("undefinedProperties") {
            let own = node.unknown_properties().map(|(name, value)| (name.to_owned(), value.clone()));
            same("undefinedProperties", own.collect::<Map<_, _>>().into(), expected);
        }
    }
    found
}

#[test]
fn elements_are_as_the_reference_has_them() {
    let mut total = 0;
    let mut wrong = Vec::new();
    for case in cases("generated").iter().chain(&cases("solecisms")).filter(|case| case.valid()) {
        total += case.expected("elements").len();
        wrong.extend(differences(case));
    }
    assert!(total > 600, "{total} elements are expected");
    report("elements", total, &wrong);
}
