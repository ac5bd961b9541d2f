//! The published specifications, walked: every operation has its row in the table of routes, under its published name.

use axum::http::StatusCode;
use gantry_api::{Operation, routes};
use serde_json::Value;

use crate::authorization::api;
use crate::service::call;

/// The files as published, and how many operations each has.
const SPECIFICATIONS: [(&str, usize); 4] = [
    (include_str!("../specs/iothub-service-2021-04-12.json"), 42),
    (include_str!("../specs/iothub-digitaltwin-2020-09-30.json"), 4),
    (include_str!("../specs/dps-service-2021-10-01.json"), 15),
    (include_str!("../specs/dps-device-2021-10-01.json"), 3),
];

/// Name, method and path template of every operation.
fn published() -> Vec<(String, String, String)> {
    let mut all = vec![];
    for (text, count) in SPECIFICATIONS {
        let specification: Value = serde_json::from_str(text).unwrap();
        let before = all.len();
        for (path, methods) in specification["paths"].as_object().unwrap() {
            all.extend(methods.as_object().unwrap().iter().map(|(method, operation)| {
                (operation["operationId"].as_str().unwrap().to_owned(), method.to_ascii_uppercase(), path.clone())
            }));
        }
        assert_eq!(all.len() - before, count, "operations of {}", specification["info"]["version"]);
    }
    all.sort();
    all.dedup();
    all
}

/// Whether two templates are the same but for the names of parameters.
fn is_same(one: &str, other: &str) -> bool {
    let pieces = |path: &str| {
        let piece = |piece: &str| if piece.starts_with('{') { "{}".to_owned() } else { piece.to_owned() };
        path.split('/').map(piece).collect::<Vec<_>>()
    };
    pieces(one) == pieces(other)
}

#[tokio::test]
async fn every_published_operation_has_its_row() {
    let folder = tempfile::tempdir().unwrap();
    let table = routes(api(&folder)).table();
    for (id, method, template) in published() {
        let is_it = |row: &Operation| {
            row.method.as_ref().is_some_and(|of| of.as_str() == method) && is_same(&row.path, &template)
        };
        let row = table.iter().find(|row| is_it(row));
        assert_eq!(row.map(|row| &*row.id), Some(id.as_str()), "{method} {template}");
    }
}

#[tokio::test]
async fn every_published_operation_has_a_route() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    let is_missing = |answer: &crate::service::Answer| {
        let name = answer.header("iothub-errorcode").unwrap_or_default();
        let of_router = ["GenericNotFound", "GenericMethodNotAllowed", "NotImplemented"].contains(&name);
        of_router || (answer.status == StatusCode::METHOD_NOT_ALLOWED && name.is_empty())
    };
    for (id, method, template) in published() {
        let path: Vec<_> = template.split('/').map(|part| if part.starts_with('{') { "x1" } else { part }).collect();
        let answer = call(&api, &method, &path.join("/"), Value::Null).await;
        assert!(!is_missing(&answer), "{id} {method} {template}: {answer:?}");
    }
    for (method, path) in [("GET", "/no/such/path"), ("PATCH", "/devices/x1")] {
        let answer = call(&api, method, path, Value::Null).await;
        assert!(is_missing(&answer), "the check can fail: {answer:?}");
    }
}
