//! Whether documents are models, as the reference says.

use crate::cases::{Case, cases, report};
use gantry_dtdl::{DtdlError, Dtmi, Parser};
use std::collections::HashMap;

#[track_caller]
fn check(corpus: &str) {
    let cases = cases(corpus);
    let wrong: Vec<String> = cases.iter().filter_map(difference).collect();
    report("verdicts", cases.len(), &wrong);
}

/// How our verdict on a case differs; none if it does not.
fn difference(case: &Case) -> Option<String> {
    let unresolved = case.expected("unresolvedIdentifiers");
    let id = case.id();
    match case.parse() {
        Ok(_) if case.valid() => None,
        Ok(_) => Some(format!("{id}: taken")),
        Err(error) if case.valid() => Some(format!("{id}: refused, {error}")),
        Err(DtdlError::Parsing(_)) if unresolved.is_empty() || !case.expected("parsingErrors").is_empty() => None,
        Err(DtdlError::Unresolved(ids)) if !unresolved.is_empty() => {
            let mut ids: Vec<&str> = ids.iter().map(Dtmi::as_str).collect();
            let mut expected: Vec<&str> = unresolved.iter().map(|id| id.as_str().unwrap()).collect();
            ids.sort_unstable();
            expected.sort_unstable();
            (ids != expected).then(|| format!("{id}: unresolved {ids:?}"))
        }
        Err(DtdlError::Unresolved(_)) if case.0["expect"].is_null() => None,
        Err(error) => Some(format!("{id}: {error}")),
    }
}

#[test]
fn the_specification_says_what_we_say() {
    check("specification");
}

#[test]
fn generated_documents_have_the_reference_s_verdict() {
    check("generated");
}

#[test]
fn examples_of_the_documentation_have_the_reference_s_verdict() {
    check("doc-examples");
}

#[test]
fn tolerated_errors_have_the_reference_s_verdict() {
    check("solecisms");
}

#[test]
fn published_device_models_are_models() {
    let cases = cases("plug-and-play-models");
    let texts: HashMap<String, String> = cases
        .iter()
        .map(|case| (case.0["input"][0]["@id"].as_str().unwrap().to_owned(), case.0["input"].to_string()))
        .collect();
    let mut resolver = |ids: &[Dtmi]| {
        let known: Vec<String> = ids.iter().filter_map(|id| texts.get(id.as_str()).cloned()).collect();
        (!known.is_empty()).then_some(known)
    };
    let (mut valid, mut wrong) = (0, Vec::new());
    for case in &cases {
        match Parser::default().parse_with(&case.texts(), &mut resolver) {
            Ok(_) => valid += 1,
            // Some refer to others that the sample has not.
            Err(DtdlError::Unresolved(ids)) if ids.iter().all(|id| !texts.contains_key(id.as_str())) => {}
            Err(error) => wrong.push(format!("{}: {error}", case.id())),
        }
    }
    report("published models", cases.len(), &wrong);
    assert!(valid >= 558, "{valid} of {} are complete", cases.len());
}

#[test]
fn identifiers_are_read_as_the_reference_reads_them() {
    for case in cases("dtmis") {
        let text = case.0["idText"].as_str().unwrap();
        let read = Dtmi::parse(text);
        assert_eq!(read.is_ok(), case.valid(), "{text}");
        let (Ok(dtmi), expect) = (read, &case.0["expect"]) else { continue };
        assert_eq!(expect["MajorVersion"], dtmi.major_version(), "{text}");
        assert_eq!(expect["MinorVersion"], dtmi.minor_version(), "{text}");
        assert_eq!(expect["Versionless"], dtmi.versionless(), "{text}");
        assert_eq!(expect["IsReserved"], dtmi.is_reserved(), "{text}");
        let labels: Vec<&str> = dtmi.labels().collect();
        assert_eq!(expect["Labels"], serde_json::json!(labels), "{text}");
        let fragment = dtmi.fragment().map(|fragment| format!("#{fragment}")).unwrap_or_default();
        assert_eq!(expect["Fragment"], fragment, "{text}");
    }
}
