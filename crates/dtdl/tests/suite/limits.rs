//! Bounds, and texts that are meant to do harm: refused by name, in little time and memory.

use crate::cases::cases;
use gantry_dtdl::{DtdlError, ELEMENTS_MAX, ERRORS_MAX, Options, Parser, TEXT_BYTES_MAX};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::OnceLock;

fn interface(version: u32, name: &str, more: Value) -> Value {
    let mut of = json!({
        "@context": format!("dtmi:dtdl:context;{version}"),
        "@id": format!("dtmi:x:{name};1"),
        "@type": "Interface"
    });
    of.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    of
}

/// The names of the errors in documents; none if there are none.
fn errors(documents: &Value) -> Vec<&'static str> {
    match Parser::default().parse(&[documents.to_string()]) {
        Ok(_) => vec![],
        Err(DtdlError::Parsing(errors)) => errors.iter().map(|error| error.name.as_str()).collect(),
        Err(other) => panic!("{other}"),
    }
}

#[track_caller]
fn check(documents: &Value, name: &str) {
    let found = errors(documents);
    assert!(found.contains(&name), "{name} is not among {:?}", found.iter().take(5).collect::<Vec<_>>());
}

fn telemetry(count: usize) -> Vec<Value> {
    (0..count).map(|n| json!({ "@type": "Telemetry", "name": format!("t{n}"), "schema": "double" })).collect()
}

#[test]
fn an_interface_of_v2_has_three_hundred_contents_and_not_one_more() {
    assert_eq!(errors(&interface(2, "i", json!({ "contents": telemetry(300) }))), [""; 0]);
    check(&interface(2, "i", json!({ "contents": telemetry(301) })), "objectCountAboveMax");
    let half = interface(2, "base", json!({ "contents": telemetry(300) }));
    let own = json!([{ "@type": "Telemetry", "name": "own", "schema": "double" }]);
    let more = interface(2, "i", json!({ "extends": "dtmi:x:base;1", "contents": own }));
    check(&json!([half, more]), "objectCountAboveMax");
}

#[test]
fn a_template_of_ten_thousand_capabilities_is_a_model_of_v3_and_not_of_v2() {
    assert_eq!(errors(&interface(3, "i", json!({ "contents": telemetry(10_000) }))), [""; 0]);
    check(&interface(2, "i", json!({ "contents": telemetry(10_000) })), "objectCountAboveMax");
}

/// Interfaces that extend one another in a chain of so many.
fn chain(version: u32, length: usize) -> Value {
    let of = |n: usize| {
        let more = if n == length { json!({}) } else { json!({ "extends": format!("dtmi:x:i{};1", n + 1) }) };
        interface(version, &format!("i{n}"), more)
    };
    (0..=length).map(of).collect()
}

#[test]
fn extends_are_ten_deep_and_twelve_in_v4() {
    for (version, max) in [(2, 10), (3, 10), (4, 12)] {
        assert_eq!(errors(&chain(version, max)), [""; 0], "v{version}");
        check(&chain(version, max + 1), "excessiveDepthNarrow");
    }
}

/// A property whose schema is nested so deep.
fn nested(version: u32, depth: usize) -> Value {
    let mut schema = json!("double");
    for _ in 0..depth {
        schema = json!({ "@type": "Object", "fields": [{ "name": "f", "schema": schema }] });
    }
    interface(version, "i", json!({ "contents": [{ "@type": "Property", "name": "p", "schema": schema }] }))
}

#[test]
fn schemas_are_five_deep_and_eight_in_v4() {
    for (version, max) in [(2, 5), (3, 5), (4, 8)] {
        assert_eq!(errors(&nested(version, max)), [""; 0], "v{version}");
        check(&nested(version, max + 1), "excessiveDepthWide");
    }
}

#[test]
fn interfaces_that_extend_each_other_are_refused() {
    let a = interface(3, "a", json!({ "extends": "dtmi:x:b;1" }));
    let b = interface(3, "b", json!({ "extends": "dtmi:x:a;1" }));
    check(&json!([a, b]), "recursiveStructureNarrow");
    check(&interface(2, "a", json!({ "extends": "dtmi:x:a;1" })), "recursiveStructureNarrow");
}

/// Layers of interfaces, each of which extends all of the layer above.
#[test]
fn interfaces_woven_into_each_other_are_refused_without_walking_every_way() {
    let (layers, width) = (9, 40);
    let mut all = Vec::new();
    for layer in 0..layers {
        let above: Vec<String> =
            if layer == 0 { vec![] } else { (0..width).map(|n| format!("dtmi:x:l{}n{n};1", layer - 1)).collect() };
        all.extend((0..width).map(|n| interface(3, &format!("l{layer}n{n}"), json!({ "extends": above }))));
    }
    check(&all.into(), "excessiveCount");
}

/// Schemas with many fields, each of which has the next schema, the last the first again if so.
fn woven(version: u32, schemas: usize, fields: usize, around: bool) -> Value {
    let id = |n: usize| format!("dtmi:x:s{n};1");
    let of = |n: usize| {
        let next = match n + 1 {
            next if next < schemas => json!(id(next)),
            _ if around => json!(id(0)),
            _ => json!("double"),
        };
        let fields: Vec<Value> = (0..fields).map(|f| json!({ "name": format!("f{f}"), "schema": next })).collect();
        json!({ "@id": id(n), "@type": "Object", "fields": fields })
    };
    interface(version, "i", json!({ "schemas": (0..schemas).map(of).collect::<Vec<_>>() }))
}

#[test]
fn schemas_woven_into_each_other_are_judged_without_walking_every_way() {
    assert_eq!(errors(&woven(4, 8, 1000, false)), [""; 0]);
    check(&woven(4, 9, 1000, false), "excessiveDepthWide");
    check(&woven(4, 20, 1000, false), "excessiveDepthWide");
    assert_eq!(errors(&woven(4, 3, 1000, true)), [""; 0]);
    check(&woven(3, 3, 1000, true), "recursiveStructureWide");
}

#[test]
fn an_element_that_is_defined_again_inside_of_itself_is_defined_twice() {
    let schema = json!({ "@id": "dtmi:x:t;1", "@type": "Object", "fields": [] });
    let contents = json!([{ "@id": "dtmi:x:t;1", "@type": "Telemetry", "name": "t", "schema": schema }]);
    check(&interface(3, "i", json!({ "contents": contents })), "duplicateDefinition");
    let inside = interface(3, "i", json!({}));
    let contents = json!([{ "@type": "Component", "name": "c", "schema": inside }]);
    check(&interface(3, "i", json!({ "contents": contents })), "duplicateDefinition");
}

#[test]
fn a_chain_of_components_is_refused_however_long() {
    let of = |n: usize| {
        let component =
            json!([{ "@type": "Component", "name": "c", "schema": format!("dtmi:x:i{};1", (n + 1) % 5000) }]);
        interface(4, &format!("i{n}"), json!({ "contents": component }))
    };
    check(&(0..5000).map(of).collect(), "excludedType");
}

#[test]
fn siblings_that_must_differ_are_compared_once() {
    let context = json!(["dtmi:dtdl:context;4", "dtmi:dtdl:extension:mqtt;4"]);
    let fields = |index: fn(usize) -> usize| -> Vec<Value> {
        let of = |n| json!({ "@type": ["Field", "Indexed"], "name": format!("f{n}"), "schema": "double", "index": index(n) });
        (0..8_000).map(of).collect()
    };
    let with = |fields: Vec<Value>| {
        let schemas = json!([{ "@id": "dtmi:x:s;1", "@type": "Object", "fields": fields }]);
        interface(4, "i", json!({ "@context": context, "schemas": schemas }))
    };
    assert_eq!(errors(&with(fields(|n| n + 1))), [""; 0]);
    check(&with(fields(|_| 1)), "nonUniquePropertyValue");
}

#[test]
fn no_more_errors_are_kept_than_anyone_reads() {
    let wrong: Vec<Value> = (0..=ERRORS_MAX).map(|_| json!(1)).collect();
    assert_eq!(errors(&interface(3, "i", json!({ "contents": wrong }))).len(), ERRORS_MAX);
}

#[test]
fn texts_and_elements_are_taken_up_to_their_bounds() {
    let text = interface(3, "i", json!({ "contents": telemetry(3) })).to_string();
    let parse = |text_bytes_max: usize, elements_max: usize| {
        let options = Options { text_bytes_max, elements_max, ..Options::default() };
        Parser::new(options).parse(&[&text]).map(|_| ())
    };
    assert_eq!(parse(text.len(), ELEMENTS_MAX), Ok(()));
    let max = text.len() - 1;
    assert_eq!(parse(max, ELEMENTS_MAX), Err(DtdlError::TooLarge { what: "texts", max }));
    // The interface, three telemetries, and the schema under its two identifiers.
    assert_eq!(parse(TEXT_BYTES_MAX, 6), Ok(()));
    assert_eq!(parse(TEXT_BYTES_MAX, 5), Err(DtdlError::TooLarge { what: "elements", max: 5 }));
}

#[test]
fn what_is_no_document_is_refused_as_such() {
    for text in ["", "{", "nul", "{\"a\":1}}", &"[".repeat(100_000), "\u{0}", "{\"@id\":\"\\ud800\"}"] {
        assert!(matches!(Parser::default().parse(&[text]), Err(DtdlError::NotJson { document: 0, .. })), "{text:.20}");
    }
}

#[test]
fn a_byte_order_mark_is_no_harm() {
    let text = format!("\u{feff}{}", interface(2, "i", json!({})));
    assert!(Parser::default().parse(&[text]).is_ok());
}

/// Some documents of the corpora, as texts.
fn samples() -> &'static [String] {
    static SAMPLES: OnceLock<Vec<String>> = OnceLock::new();
    SAMPLES.get_or_init(|| cases("generated").iter().step_by(7).flat_map(|case| case.texts()).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_has_an_outcome(text in "\\PC{0,200}") {
        let _ = Parser::default().parse(&[text]);
    }

    #[test]
    fn documents_changed_at_random_have_an_outcome(
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..8),
    ) {
        let mut bytes = which.get(samples()).clone().into_bytes();
        for (place, byte, kind) in edits {
            let place = place.index(bytes.len().max(1)).min(bytes.len().saturating_sub(1));
            match kind {
                0 if !bytes.is_empty() => bytes[place] = byte,
                1 => bytes.insert(place, byte),
                2 if !bytes.is_empty() => { bytes.remove(place); }
                _ => bytes.truncate(place),
            }
        }
        let _ = Parser::default().parse(&[String::from_utf8_lossy(&bytes)]);
    }

    #[test]
    fn documents_with_parts_of_others_have_an_outcome(
        (a, b) in any::<(prop::sample::Index, prop::sample::Index)>(),
        (from, to) in any::<(prop::sample::Index, prop::sample::Index)>(),
    ) {
        let mut into: Value = serde_json::from_str(a.get(samples()).as_str()).unwrap();
        let other: Value = serde_json::from_str(b.get(samples()).as_str()).unwrap();
        let parts = pointers(&other);
        let part = other.pointer(from.get(&parts).as_str()).unwrap().clone();
        let places = pointers(&into);
        *into.pointer_mut(to.get(&places).as_str()).unwrap() = part;
        let model = Parser::default().parse(&[into.to_string()]);
        if let Ok(model) = model {
            for node in model.nodes() {
                let _ = node.validate(&other);
            }
        }
    }
}

/// The places of all values in a value, as JSON pointers.
fn pointers(value: &Value) -> Vec<String> {
    let mut all = vec![String::new()];
    let children: Vec<(String, &Value)> = match value {
        Value::Array(items) => items.iter().enumerate().map(|(n, item)| (n.to_string(), item)).collect(),
        Value::Object(members) => {
            members.iter().map(|(name, of)| (name.replace('~', "~0").replace('/', "~1"), of)).collect()
        }
        _ => vec![],
    };
    for (step, child) in children {
        all.extend(pointers(child).into_iter().map(|rest| format!("/{step}{rest}")));
    }
    all
}
