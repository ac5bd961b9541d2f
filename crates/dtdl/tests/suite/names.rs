//! Every name of an error is that of something a document can have.

use crate::cases::cases;
use gantry_dtdl::{DtdlError, Dtmi, ErrorName, Options, Parser};
use serde_json::{Value, json};
use std::collections::HashSet;

/// Names that the tables leave no way to: no flag is required, no number has an upper bound alone,
/// and identifiers are bounded before anyone asks for their length.
const OUT_OF_REACH: &[ErrorName] =
    &[ErrorName::BooleanCountBelowMin, ErrorName::ValueAboveMax, ErrorName::IdentifierTooLong];

fn options() -> Options {
    Options { max_dtdl_version: 4, ..Options::default() }
}

/// The names of the errors in a text.
fn names(options: Options, text: &str) -> Vec<&'static str> {
    match Parser::new(options).parse(&[text]) {
        Ok(_) => vec![],
        Err(DtdlError::Parsing(errors)) => errors.iter().map(|error| error.name.as_str()).collect(),
        Err(other) => panic!("{other}: {text}"),
    }
}

/// An interface of v4 with all extensions active.
fn interface(more: Value) -> Value {
    let mut of = json!({
        "@context": [
            "dtmi:dtdl:context;4", "dtmi:dtdl:extension:quantitativeTypes;2", "dtmi:dtdl:extension:annotation;2",
            "dtmi:dtdl:extension:overriding;2", "dtmi:dtdl:extension:mqtt;4", "dtmi:iotoperations:context;4"
        ],
        "@id": "dtmi:x:i;1",
        "@type": "Interface"
    });
    of.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    of
}

fn with_content(content: Value) -> String {
    interface(json!({ "contents": [content] })).to_string()
}

fn command(ttl: Value) -> String {
    with_content(json!({ "@type": ["Command", "Idempotent", "Cacheable"], "name": "c", "ttl": ttl }))
}

fn scaled(factor: Value) -> String {
    with_content(
        json!({ "@type": ["Telemetry", "ScaledStatically"], "name": "t", "schema": "double", "scaleFactor": factor }),
    )
}

fn indexed(index: Value) -> String {
    with_content(json!({ "@type": ["Telemetry", "Indexed"], "name": "t", "schema": "double", "index": index }))
}

fn overriding(more: Value) -> String {
    let mut of = json!({ "@type": ["Property", "ValueAnnotation", "Override"], "name": "o", "schema": "string", "annotates": "a" });
    of.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    with_content(of)
}

fn with_context(context: &Value) -> String {
    json!({ "@context": context, "@id": "dtmi:x:i;1", "@type": "Interface" }).to_string()
}

/// What the corpora have no case of.
fn by_hand() -> Vec<(&'static str, String)> {
    let v3 = json!({ "@context": "dtmi:dtdl:context;3", "@id": "dtmi:x:new;1", "@type": "Interface" });
    let v2 = json!({
        "@context": "dtmi:dtdl:context;2", "@id": "dtmi:x:old;1", "@type": "Interface", "extends": "dtmi:x:new;1"
    });
    let named = |id: &str, extends: Value| {
        let contents = json!([{ "@type": "Telemetry", "name": "t", "schema": "double" }]);
        interface(json!({ "@id": id, "extends": extends, "contents": contents }))
    };
    let clash = json!([named("dtmi:x:a;1", json!([])), named("dtmi:x:b;1", json!("dtmi:x:a;1"))]);
    let large = interface(json!({ "contents": (0..20_000).map(|n| {
        json!({ "@type": "Telemetry", "name": format!("telemetry{n}"), "schema": "double" })
    }).collect::<Vec<_>>() }));
    vec![
        ("abstractSupplementalType", with_content(json!({ "@type": ["Telemetry", "SemanticType"], "name": "t" }))),
        ("disallowedVersionReference", json!([v3, v2]).to_string()),
        ("duplicateTermInContextObject", r#"{"@context":{"a":"b","a":"b"}}"#.to_owned()),
        ("termDefinitionNotStringOrObject", with_context(&json!({ "a": 1 }))),
        ("termDefinitionMissingIdProperty", with_context(&json!({ "a": {} }))),
        ("termDefinitionIdPropertyNotString", with_context(&json!({ "a": { "@id": 1 } }))),
        ("emptyContext", with_context(&json!([]))),
        ("localContextNotLast", with_context(&json!(["dtmi:dtdl:context;2", {}, "dtmi:x:y;1"]))),
        ("unrecognizedContextVersion", with_context(&json!("dtmi:dtdl:context;5"))),
        ("disallowedLimitContext", with_context(&json!(["dtmi:dtdl:context;4#limitless", "dtmi:dtdl:limits:onvif;1"]))),
        ("durationCountBelowMin", command(json!([]))),
        ("durationInvalid", command(json!("15 s"))),
        ("durationMultipleValues", command(json!(["PT1S", "PT2S"]))),
        ("durationNotString", command(json!(15))),
        ("durationObjectNoValue", command(json!({ "@type": "xsd:duration" }))),
        ("durationTypeNotDuration", command(json!({ "@value": "PT1S", "@type": "xsd:string" }))),
        ("durationValueNotString", command(json!({ "@value": 15 }))),
        ("numericCountBelowMin", scaled(json!([]))),
        ("numericMultipleValues", scaled(json!([1, 2]))),
        ("numericObjectNoValue", scaled(json!({ "@type": "xsd:decimal" }))),
        ("numericTypeNotNumeric", scaled(json!({ "@value": 1, "@type": "xsd:string" }))),
        ("numericValueNotNumeric", scaled(json!({ "@value": "1" }))),
        ("integerCountBelowMin", indexed(json!([]))),
        ("integerMultipleValues", indexed(json!([1, 2]))),
        ("integerTypeNotInteger", indexed(json!({ "@value": 1, "@type": "xsd:string" }))),
        ("integerValueNotInteger", indexed(json!({ "@value": 1.5 }))),
        ("identifierCountBelowMin", overriding(json!({ "overrides": [] }))),
        ("identifierNotUri", overriding(json!({ "overrides": "nothing" }))),
        ("missingSupplementalIdentifierProperty", overriding(json!({}))),
        ("idTooLong", interface(json!({ "@id": format!("dtmi:{};1", "a".repeat(2048)) })).to_string()),
        ("graphNotObject", r#"{"@graph":1}"#.to_owned()),
        ("repeatedGraphProperty", r#"{"@graph":{},"@graph":{}}"#.to_owned()),
        ("repeatedContextProperty", r#"{"@context":"a","@context":"a"}"#.to_owned()),
        ("repeatedIdProperty", r#"{"@id":"a","@id":"a"}"#.to_owned()),
        ("repeatedTypeProperty", r#"{"@type":"a","@type":"a"}"#.to_owned()),
        ("repeatedValueProperty", r#"{"@value":1,"@value":1}"#.to_owned()),
        ("repeatedLanguageProperty", r#"{"@language":"a","@language":"a"}"#.to_owned()),
        ("repeatedKeyword", r#"{"@set":1,"@set":1}"#.to_owned()),
        (
            "langStringCodeNotUnique",
            interface(json!({ "displayName": 0 })).to_string().replace(":0", r#":{"en":"a","en":"b"}"#),
        ),
        (
            "langStringElementValueNotString",
            interface(json!({ "displayName": [{ "@value": 1, "@language": "en" }] })).to_string(),
        ),
        (
            "literalMultipleValues",
            interface(json!({ "schemas": [{ "@id": "dtmi:x:e;1", "@type": "Enum", "valueSchema": "integer",
                "enumValues": [{ "name": "a", "enumValue": [1, 2] }] }] }))
            .to_string(),
        ),
        ("nonUniqueImportedPropertyValue", clash.to_string()),
        ("partitionTooLarge", large.to_string()),
    ]
}

#[test]
fn documents_have_the_error_they_were_made_for() {
    for (name, text) in by_hand() {
        let found = names(options(), &text);
        assert!(found.contains(&name), "{name}: {:?}", found.iter().take(5).collect::<Vec<_>>());
    }
}

#[test]
fn versions_and_limits_are_those_the_caller_accepts() {
    let v4 = with_context(&json!("dtmi:dtdl:context;4"));
    assert_eq!(names(Options { max_dtdl_version: 3, ..options() }, &v4), ["disallowedContextVersion"]);
    assert_eq!(names(options(), &v4), [""; 0]);
    let onvif = with_context(&json!(["dtmi:dtdl:context;4#limitless", "dtmi:dtdl:limits:onvif;1"]));
    let accepting = |id: &str| Options { acceptable_limits: vec![Dtmi::parse(id).unwrap()], ..options() };
    assert_eq!(names(accepting("dtmi:dtdl:limits:onvif;1"), &onvif), [""; 0]);
    assert_eq!(names(accepting("dtmi:dtdl:limits:onvif"), &onvif), [""; 0]);
    assert_eq!(names(accepting("dtmi:dtdl:limits:aio;1"), &onvif), ["disallowedLimitContext"]);
}

#[test]
fn every_name_is_that_of_an_error_some_document_has() {
    let mut seen: HashSet<&str> = OUT_OF_REACH.iter().map(|name| name.as_str()).collect();
    for corpus in ["specification", "generated", "solecisms", "doc-examples"] {
        for case in cases(corpus) {
            if let Err(error) = case.parse() {
                seen.extend(error.parsing_errors().iter().map(|error| error.name.as_str()));
            }
        }
    }
    seen.extend(by_hand().into_iter().map(|(name, _)| name));
    seen.insert(ErrorName::DisallowedContextVersion.as_str());
    let unseen: Vec<_> = ErrorName::ALL.iter().map(|name| name.as_str()).filter(|name| !seen.contains(name)).collect();
    assert_eq!(unseen, [""; 0]);
}
