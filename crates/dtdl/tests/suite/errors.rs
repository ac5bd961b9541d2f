//! The names of errors, with the elements, properties and values they are about.
//!
//! The reference's own suite asks this: whatever is found must be among what is expected, by name
//! and element, and agree in every field the expectation has. A corpus lists errors of several
//! builds of the reference, so not all that is listed is found by one.

use crate::cases::{Case, cases, report};
use gantry_dtdl::{DtdlError, ParsingError};
use serde_json::Value;

#[track_caller]
fn check(corpus: &str) {
    let cases = cases(corpus);
    let with_errors: Vec<&Case> = cases.iter().filter(|case| !case.expected("parsingErrors").is_empty()).collect();
    let wrong: Vec<String> = with_errors.iter().filter_map(|case| difference(case)).collect();
    report("cases with errors", with_errors.len(), &wrong);
}

fn difference(case: &Case) -> Option<String> {
    let Err(DtdlError::Parsing(errors)) = case.parse() else { return Some(format!("{}: no errors", case.id())) };
    errors.iter().find_map(|error| {
        let why = mismatch(error, case.expected("parsingErrors"))?;
        Some(format!("{}: {error}: {why}", case.id()))
    })
}

/// Why an error is not the one expected.
fn mismatch(error: &ParsingError, expected: &[Value]) -> Option<String> {
    let primary = error.primary_id.as_ref().map(|id| id.as_str());
    let same = |of: &&Value| {
        of["ValidationID"] == error.validation_id() && of.get("PrimaryID").is_none_or(|id| id.as_str() == primary)
    };
    let Some(of) = expected.iter().find(same) else {
        return Some(format!("not expected, but {}", Value::from(expected)));
    };
    let fields = [
        ("SecondaryID", error.secondary_id.as_ref().map(|id| id.as_str())),
        ("Property", error.property.as_deref()),
        ("Value", error.value.as_deref()),
    ];
    fields.into_iter().find_map(|(name, own)| {
        let one = |of: &Value| match of {
            Value::Null => own.is_none(),
            Value::String(text) => own == Some(text),
            other => own == Some(&other.to_string()),
        };
        let fits = of.get(name).is_none_or(|of| of.as_array().map_or_else(|| one(of), |any| any.iter().any(one)));
        (!fits).then(|| format!("{name} should be {} and is {own:?}", of[name]))
    })
}

#[test]
fn generated_documents_have_the_reference_s_errors() {
    check("generated");
}

#[test]
fn tolerated_errors_have_the_reference_s_errors() {
    check("solecisms");
}

#[test]
fn examples_of_the_documentation_have_the_reference_s_errors() {
    check("doc-examples");
}
