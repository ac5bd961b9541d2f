//! Where two documents differ: names of the places, never what is there, which may be secret.

use serde_json::{Map, Value};

/// Places that are named.
pub(super) const PLACES_MAX: usize = 20;

/// Whether two values mean the same: numbers by what they are worth, not by how they are written.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64() && (a.is_f64() || b.is_f64()),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        (one, other) => one == other,
    }
}

/// The places at which two values differ, as `schedule.end`; an array is one place.
pub(super) fn places(one: &Value, other: &Value) -> Vec<String> {
    let mut found = vec![];
    walk(one, other, "", &mut found);
    found
}

fn walk(one: &Value, other: &Value, at: &str, found: &mut Vec<String>) {
    if found.len() >= PLACES_MAX || same(one, other) {
        return;
    }
    let (Value::Object(a), Value::Object(b)) = (one, other) else {
        found.push(if at.is_empty() { "everything".to_owned() } else { at.to_owned() });
        return;
    };
    let others = b.keys().filter(|name| !a.contains_key(*name));
    for name in a.keys().chain(others) {
        let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
        let of = |all: &Map<String, Value>| all.get(name).cloned().unwrap_or_default();
        walk(&of(a), &of(b), &at, found);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_compared_by_their_worth() {
        assert!(same(&json!({"a": [1, 2.0]}), &json!({"a": [1.0, 2]})));
        assert!(!same(&json!(1), &json!("1")) && !same(&json!([1]), &json!([1, 1])));
        // Beyond what a double can tell apart, whole numbers are themselves.
        assert!(!same(&json!(9_007_199_254_740_993_u64), &json!(9_007_199_254_740_992_u64)));
    }

    #[test]
    fn places_are_named_and_values_are_not() {
        let one = json!({"a": {"key": "secret", "b": 1}, "c": [1], "d": 1, "same": 1});
        let other = json!({"a": {"key": "other", "b": 1}, "c": [2], "e": 1, "same": 1.0});
        let mut found = places(&one, &other);
        found.sort();
        assert_eq!(found, ["a.key", "c", "d", "e"]);
        assert_eq!(places(&json!(1), &json!(2)), ["everything"]);
        assert!(places(&one, &one).is_empty());
    }

    #[test]
    fn so_many_places_are_named_and_no_more() {
        let of = |value: i32| Value::Object((0..PLACES_MAX + 1).map(|n| (format!("m{n}"), json!(value))).collect());
        assert_eq!(places(&of(1), &of(2)).len(), PLACES_MAX);
    }
}
