//! The published specifications, walked: every operation has a route and an authorization case.

use axum::http::StatusCode;
use serde_json::Value;

use crate::authorization::{OPERATIONS, api};
use crate::service::call;

/// The files as published, and how many operations each has.
const SPECIFICATIONS: [(&str, usize); 2] = [
    (include_str!("../specs/iothub-service-2021-04-12.json"), 42),
    (include_str!("../specs/iothub-digitaltwin-2020-09-30.json"), 4),
];
/// What a client calls beside them.
const OTHERS: [(&str, &str); 1] = [("POST", "/devices/keys/regenerate")];

/// Method and path template of every operation.
fn operations() -> Vec<(String, String)> {
    let mut all: Vec<_> = OTHERS.iter().map(|(method, path)| ((*method).to_owned(), (*path).to_owned())).collect();
    for (text, count) in SPECIFICATIONS {
        let specification: Value = serde_json::from_str(text).unwrap();
        let before = all.len();
        for (path, methods) in specification["paths"].as_object().unwrap() {
            all.extend(methods.as_object().unwrap().keys().map(|method| (method.to_ascii_uppercase(), path.clone())));
        }
        assert_eq!(all.len() - before, count, "operations of {}", specification["info"]["version"]);
    }
    all.sort();
    all.dedup();
    all
}

/// Whether a path is one of a template's.
fn fits(path: &str, template: &str) -> bool {
    let (path, template): (Vec<_>, Vec<_>) = (path.split('/').collect(), template.split('/').collect());
    let same = |(part, wanted): (&&str, &&str)| wanted.starts_with('{') || part == wanted;
    path.len() == template.len() && path.iter().zip(&template).all(same)
}

#[test]
fn every_operation_has_an_authorization_case() {
    for (method, template) in operations() {
        let case = OPERATIONS.iter().find(|(m, path, ..)| *m == method && fits(path, &template));
        assert!(case.is_some(), "{method} {template} has no authorization case");
    }
}

#[tokio::test]
async fn every_operation_has_a_route() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder);
    for (method, template) in operations() {
        let path: Vec<_> = template.split('/').map(|part| if part.starts_with('{') { "x1" } else { part }).collect();
        let answer = call(&api, &method, &path.join("/"), Value::Null).await;
        let is_named = answer.header("iothub-errorcode").is_some();
        let missing = [StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED].contains(&answer.status)
            || answer.status == StatusCode::NOT_FOUND && !is_named;
        assert!(
            !missing || is_named && answer.status == StatusCode::METHOD_NOT_ALLOWED,
            "{method} {template}: {answer:?}"
        );
    }
    let answer = call(&api, "GET", "/no/such/path", Value::Null).await;
    assert_eq!((answer.status, answer.header("iothub-errorcode")), (StatusCode::NOT_FOUND, None), "the check can fail");
}
