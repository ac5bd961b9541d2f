//! Texts made to hurt: every one ends with an answer, soon.

use std::time::{Duration, Instant};

use gantry_query::{Condition, GROUPS_MAX, Query, QueryError, TEXT_LEN_MAX};
use proptest::prelude::*;
use serde_json::json;

fn of(condition: &str) -> Result<Query, QueryError> {
    Query::parse(&format!("SELECT * FROM devices WHERE {condition}"))
}

#[test]
fn nesting_is_bounded() {
    for open in ["(", "NOT ", "-", "ABS(", "[ ", "a IN [", "a + ("] {
        assert_eq!(of(&format!("{}a = 1", open.repeat(65))), Err(QueryError::TooDeep), "{open}");
    }
    let deepest = format!("{}a = 1{}", "(".repeat(60), ")".repeat(60));
    assert!(of(&deepest).unwrap().matches(&json!({"a": 1})));
}

#[test]
fn lists_are_bounded() {
    assert!(of(&format!("a IN [{}1]", "1,".repeat(999))).is_ok());
    assert_eq!(of(&format!("a IN [{}1]", "1,".repeat(1000))), Err(QueryError::ListTooLong));
    let select = format!("SELECT {}a FROM devices", "a,".repeat(100));
    assert!(matches!(Query::parse(&select), Err(QueryError::Unsupported(_))));
}

#[test]
fn texts_are_bounded() {
    let pad = |len: usize| format!("SELECT * FROM devices{}", " ".repeat(len - 21));
    assert!(Query::parse(&pad(TEXT_LEN_MAX)).is_ok());
    assert_eq!(Query::parse(&pad(TEXT_LEN_MAX + 1)), Err(QueryError::TooLong));
    assert_eq!(Query::parse(&"é".repeat(TEXT_LEN_MAX + 1)), Err(QueryError::TooLong));
}

#[test]
fn long_chains_are_wide_and_not_deep() {
    for (part, joint) in [("a=1", " OR "), ("a=1", " AND "), ("1", "+"), ("1", "*"), ("1", "-")] {
        let parts = vec![part; (TEXT_LEN_MAX - 100) / (part.len() + joint.len())];
        // A small stack: recursion as deep as the text is long would not fit.
        let text = parts.join(joint);
        let query = of(&text).unwrap();
        let run = move || query.matches(&json!({ "a": 1 }));
        std::thread::Builder::new().stack_size(256 * 1024).spawn(run).unwrap().join().unwrap();
    }
}

#[test]
fn functions_cannot_make_texts_without_bound() {
    let long = "x".repeat(60_000);
    let query = of(&format!("IS_DEFINED(CONCAT({}a))", "a,".repeat(500))).unwrap();
    assert!(!query.matches(&json!({ "a": long })));
}

#[test]
fn groups_are_bounded_and_fast() {
    let query = Query::parse("SELECT deviceId, COUNT() FROM devices GROUP BY deviceId").unwrap();
    let mut run = query.start(100);
    let began = Instant::now();
    for number in 0..=GROUPS_MAX {
        run.offer(&json!({ "deviceId": number.to_string() }));
    }
    assert!(run.finish().is_err());
    assert!(began.elapsed() < Duration::from_secs(5), "forming groups takes time in proportion to documents");
}

proptest! {
    #[test]
    fn any_text_is_survived(text in "(SELECT|FROM|WHERE|NOT|IN|devices|[a-z$.*=<>(){}\\[\\]'\"0-9 ,-]|\\PC){0,40}") {
        let _ = Query::parse(&text);
        let _ = Condition::parse(&text);
        if let Ok(query) = of(&text) {
            let _ = query.matches(&json!({"a": 1, "b": {"c": ["x", null]}}));
        }
    }

    #[test]
    fn logic_obeys_its_laws(
        a in prop::sample::select(vec!["t", "f", "u"]),
        b in prop::sample::select(vec!["t", "f", "u"]),
    ) {
        // t and f are there, u is missing.
        let document = json!({ "t": true, "f": false });
        let holds = |text: String| of(&text).unwrap().matches(&document);
        let three = |text: &str| (holds(text.to_owned()), holds(format!("NOT ({text})")));
        prop_assert_eq!(three(&format!("NOT ({a} AND {b})")), three(&format!("(NOT {a}) OR (NOT {b})")));
        prop_assert_eq!(three(&format!("{a} AND {b}")), three(&format!("{b} AND {a}")));
        prop_assert_eq!(three(&format!("{a} OR {b}")), three(&format!("{b} OR {a}")));
        prop_assert_eq!(three(&format!("NOT NOT {a}")), three(a));
    }

    #[test]
    fn comparison_follows_the_numbers(a in -1000i64..1000, b in -1000i64..1000) {
        let document = json!({ "a": a, "b": b });
        for (sign, expected) in [("=", a == b), ("!=", a != b), ("<", a < b), ("<=", a <= b), (">", a > b), (">=", a >= b)] {
            prop_assert_eq!(of(&format!("a {sign} b")).unwrap().matches(&document), expected);
            prop_assert_eq!(of(&format!("a {sign} {b}")).unwrap().matches(&document), expected);
        }
        let sum = of(&format!("a + b = {}", a + b)).unwrap();
        prop_assert!(sum.matches(&document));
    }

    #[test]
    fn strings_survive_quoting(text in "\\PC{0,30}") {
        let quoted = format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
        let query = of(&format!("a = {quoted}")).unwrap();
        let document = json!({ "a": text });
        prop_assert!(query.matches(&document));
    }
}
