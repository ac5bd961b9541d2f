//! Whatever text comes in, the answer is a value or an error with a place inside of it.

use gantry_central::access::tokens::PresentedToken;
use gantry_central::exports::filter::ExportFilter;
use gantry_central::groups::DeviceFilter;
use gantry_central::language::SyntaxError;
use gantry_central::lists::{DEVICE_FIELDS, Filter, OrderBy};
use gantry_central::question;
use proptest::prelude::*;

fn check<T>(text: &str, read: Result<T, SyntaxError>) -> Result<(), TestCaseError> {
    if let Err(error) = read {
        let chars = text.chars().count();
        prop_assert!((1..=chars + 1).contains(&error.at), "{text:?}: {error}");
        prop_assert!(!error.what.is_empty());
    }
    Ok(())
}

fn read_all(text: &str) -> Result<(), TestCaseError> {
    check(text, DeviceFilter::parse(text))?;
    check(text, ExportFilter::parse(text))?;
    check(text, Filter::parse(text, DEVICE_FIELDS))?;
    check(text, OrderBy::parse(text, DEVICE_FIELDS))?;
    check(text, question::parse(text))?;
    let _ = PresentedToken::parse(text);
    let _ = PresentedToken::parse(&format!("SharedAccessSignature {text}"));
    Ok(())
}

/// Words of the languages in any order, which go further into the parsers than any text does.
fn words() -> impl Strategy<Value = String> {
    let words = [
        "SELECT",
        "*",
        "FROM",
        "devices",
        "WHERE",
        "AND",
        "OR",
        "(",
        ")",
        "[",
        "]",
        ",",
        "=",
        "!=",
        ">=",
        "a",
        "c.p",
        "$id",
        "$ts",
        "'x'",
        "\"y\"",
        "1",
        "-2.5",
        "null",
        "true",
        "CONTAINS",
        "indexof",
        "eq",
        "ge",
        "desc",
        "TOP",
        "AVG",
        "AS",
        "dtmi:a:b;1",
        "WITHIN_WINDOW",
        "P1D",
        "GROUP",
        "BY",
        "WINDOW",
        "PT5M",
        "ORDER",
        "IN",
        "id",
        "displayName",
        "sr=a",
        "&",
        "sig=AA",
        "se=1",
        "skn=%2",
        "ä",
        "'",
    ];
    prop::collection::vec(prop::sample::select(words.to_vec()), 0..40).prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn any_text_is_answered(text in ".{0,200}") {
        read_all(&text)?;
    }

    #[test]
    fn any_words_are_answered(text in words()) {
        read_all(&text)?;
        read_all(&format!("SELECT * FROM devices WHERE {text}"))?;
        read_all(&format!("SELECT a FROM dtmi:a;1 {text}"))?;
        read_all(&format!("SELECT * FROM dtmi:a;1 AS A WHERE {text}"))?;
        read_all(&format!("id eq 'x' and {text}"))?;
    }
}
