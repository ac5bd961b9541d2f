//! Documents that others refer to, asked of a resolver.

use gantry_dtdl::{DtdlError, Dtmi, Options, Parser};
use std::collections::HashMap;

/// An interface that extends others.
fn interface(name: &str, extends: &[&str]) -> String {
    let ids: Vec<String> = extends.iter().map(|name| format!("dtmi:x:{name};1")).collect();
    serde_json::json!({
        "@context": "dtmi:dtdl:context;3",
        "@id": format!("dtmi:x:{name};1"),
        "@type": "Interface",
        "extends": ids,
        "contents": [{ "@type": "Property", "name": format!("{name}Value"), "schema": "string" }]
    })
    .to_string()
}

/// A repository as a map from paths to documents.
fn repository(documents: &[(&str, String)]) -> HashMap<String, String> {
    let path = |name: &str| Dtmi::parse(&format!("dtmi:x:{name};1")).unwrap().repository_path().unwrap();
    documents.iter().map(|(name, text)| (path(name), text.clone())).collect()
}

#[test]
fn what_is_missing_is_asked_for_until_nothing_is() {
    let files = repository(&[("B", interface("B", &["C"])), ("C", interface("C", &[]))]);
    let mut asked: Vec<String> = Vec::new();
    let mut resolver = |ids: &[Dtmi]| {
        asked.extend(ids.iter().map(Dtmi::to_string));
        ids.iter().map(|id| files.get(&id.repository_path()?).cloned()).collect()
    };
    let model = Parser::default().parse_with(&[interface("A", &["B"])], &mut resolver).unwrap();
    assert_eq!(asked, ["dtmi:x:B;1", "dtmi:x:C;1"]);
    let names: Vec<_> = model.interface("dtmi:x:A;1").unwrap().contents().filter_map(|c| c.name()).collect();
    assert_eq!(names, ["AValue", "BValue", "CValue"]);
}

#[test]
fn what_a_resolver_does_not_give_is_named() {
    let a = [interface("A", &["B"])];
    let unresolved = Err(DtdlError::Unresolved(vec![Dtmi::parse("dtmi:x:B;1").unwrap()]));
    let parser = Parser::default();
    assert_eq!(parser.parse(&a).map(|_| ()), unresolved);
    assert_eq!(parser.parse_with(&a, &mut |_: &[Dtmi]| None).map(|_| ()), unresolved);
    let mut other = |_: &[Dtmi]| Some(vec![interface("C", &[])]);
    assert_eq!(parser.parse_with(&a, &mut other).map(|_| ()), unresolved);
}

#[test]
fn an_endless_repository_is_left_in_time() {
    let options = Options { resolver_calls_max: 3, ..Options::default() };
    let mut calls = 0;
    let mut endless = |ids: &[Dtmi]| {
        calls += 1;
        let of = ids[0].as_str().trim_start_matches("dtmi:x:").trim_end_matches(";1").to_owned();
        Some(vec![interface(&of, &[&format!("{of}a")])])
    };
    let error = Parser::new(options).parse_with(&[interface("a", &["aa"])], &mut endless).unwrap_err();
    assert_eq!(error, DtdlError::TooLarge { what: "calls of the resolver", max: 3 });
    assert_eq!(calls, 3);
}

#[test]
fn a_document_from_a_resolver_is_judged_like_any_other() {
    let mut wrong = |_: &[Dtmi]| Some(vec![interface("B", &[]).replace("string", "text")]);
    let error = Parser::default().parse_with(&[interface("A", &["B"])], &mut wrong).unwrap_err();
    assert_eq!(error.parsing_errors()[0].name.as_str(), "badDtmiOrTerm");
}
