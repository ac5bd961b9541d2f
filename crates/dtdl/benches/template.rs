//! A device template of 300 capabilities, the most DTDL v2 allows, from text to model.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gantry_dtdl::Parser;
use serde_json::{Value, json};

/// Telemetry with units, properties with objects, commands with both payloads, a third of each.
fn capability(number: usize) -> Value {
    match number % 3 {
        0 => json!({
            "@type": ["Telemetry", "Temperature"],
            "name": format!("t{number}"),
            "displayName": { "en": format!("Temperature {number}"), "de": format!("Temperatur {number}") },
            "description": "a value",
            "schema": "double",
            "unit": "degreeCelsius"
        }),
        1 => json!({
            "@type": "Property",
            "name": format!("p{number}"),
            "displayName": format!("Property {number}"),
            "writable": true,
            "schema": { "@type": "Object", "fields": [
                { "name": "a", "schema": "string" }, { "name": "b", "schema": "integer" }
            ] }
        }),
        _ => json!({
            "@type": "Command",
            "name": format!("c{number}"),
            "request": { "name": "r", "schema": "string" },
            "response": { "name": "q", "schema": { "@type": "Enum", "valueSchema": "integer", "enumValues": [
                { "name": "a", "enumValue": 1 }, { "name": "b", "enumValue": 2 }
            ] } }
        }),
    }
}

fn template(c: &mut Criterion) {
    let text = json!({
        "@context": "dtmi:dtdl:context;2",
        "@id": "dtmi:com:example:Template;1",
        "@type": "Interface",
        "contents": (0..300).map(capability).collect::<Vec<_>>()
    })
    .to_string();
    let parser = Parser::default();
    let mut group = c.benchmark_group("template");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("300 capabilities", |b| {
        b.iter(|| parser.parse(&[black_box(&text)]).expect("a template"));
    });
    group.finish();
}

criterion_group!(benches, template);
criterion_main!(benches);
