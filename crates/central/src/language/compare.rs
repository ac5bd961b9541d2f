//! Comparing values of devices with literals.
//!
//! What is not there is null. Values of different types are not equal and have no order; numbers are compared as
//! numbers, texts by their characters, case included.

use std::cmp::Ordering;

use serde_json::Value;

use super::Literal;

/// A comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comparison {
    /// The same.
    Equal,
    /// Not the same.
    NotEqual,
    /// Before.
    Less,
    /// Before or the same.
    LessOrEqual,
    /// After.
    Greater,
    /// After or the same.
    GreaterOrEqual,
}

impl Comparison {
    /// Whether a value stands so to a literal.
    #[must_use]
    pub fn holds(self, value: &Value, literal: &Literal) -> bool {
        let order = order(value, literal);
        match self {
            Self::Equal => order == Some(Ordering::Equal),
            Self::NotEqual => order != Some(Ordering::Equal),
            _ if *literal == Literal::Null => false,
            Self::Less => order == Some(Ordering::Less),
            Self::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Self::Greater => order == Some(Ordering::Greater),
            Self::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        }
    }
}

fn order(value: &Value, literal: &Literal) -> Option<Ordering> {
    match (value, literal) {
        (Value::Null, Literal::Null) => Some(Ordering::Equal),
        (Value::Bool(one), Literal::Boolean(other)) => Some(one.cmp(other)),
        (Value::String(one), Literal::Text(other)) => Some(one.as_str().cmp(other)),
        (Value::Number(one), Literal::Integer(other)) => match one.as_i64() {
            Some(one) => Some(one.cmp(other)),
            None => one.as_f64()?.partial_cmp(&(*other as f64)),
        },
        (Value::Number(one), Literal::Number(other)) => one.as_f64()?.partial_cmp(other),
        _ => None,
    }
}

/// The order of two values in a list: null first, then false, true, numbers, texts; others last and as they were.
#[must_use]
pub fn in_list(one: &Value, other: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) | Value::Object(_) => 4,
    };
    match (one, other) {
        (Value::Bool(one), Value::Bool(other)) => one.cmp(other),
        (Value::String(one), Value::String(other)) => one.cmp(other),
        (Value::Number(one), Value::Number(other)) => match (one.as_i64(), other.as_i64()) {
            (Some(one), Some(other)) => one.cmp(&other),
            _ => one.as_f64().unwrap_or(0.0).total_cmp(&other.as_f64().unwrap_or(0.0)),
        },
        _ => rank(one).cmp(&rank(other)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(value: Value, comparison: Comparison, literal: Literal, holds: bool) {
        assert_eq!(comparison.holds(&value, &literal), holds, "{value} {comparison:?} {literal}");
    }

    #[test]
    fn values_are_compared_within_their_type() {
        use Comparison as C;
        let text = |text: &str| Literal::Text(text.to_owned());
        check(json!(5), C::Equal, Literal::Integer(5), true);
        check(json!(5.0), C::Equal, Literal::Integer(5), true);
        check(json!(5), C::Less, Literal::Number(5.5), true);
        check(json!(9_007_199_254_740_993_i64), C::Equal, Literal::Integer(9_007_199_254_740_992), false);
        check(json!("a"), C::Equal, text("A"), false);
        check(json!("b"), C::Greater, text("a"), true);
        check(json!("5"), C::Equal, Literal::Integer(5), false);
        check(json!("5"), C::NotEqual, Literal::Integer(5), true);
        check(json!("5"), C::LessOrEqual, Literal::Integer(6), false);
        check(json!(true), C::Equal, Literal::Boolean(true), true);
    }

    #[test]
    fn what_is_not_there_is_null_and_has_no_order() {
        use Comparison as C;
        check(Value::Null, C::Equal, Literal::Null, true);
        check(Value::Null, C::NotEqual, Literal::Integer(1), true);
        check(Value::Null, C::Less, Literal::Integer(1), false);
        check(Value::Null, C::LessOrEqual, Literal::Null, false);
        check(json!(1), C::NotEqual, Literal::Null, true);
        check(json!(1), C::Greater, Literal::Null, false);
    }

    #[test]
    fn lists_have_nulls_first() {
        let mut all = [json!("b"), json!(2.5), json!("a"), Value::Null, json!(2), json!(true)];
        all.sort_by(in_list);
        assert_eq!(all, [Value::Null, json!(true), json!(2), json!(2.5), json!("a"), json!("b")]);
    }
}
