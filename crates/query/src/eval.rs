//! Expressions over one document.

use std::cmp::Ordering;

use serde_json::Value;

use crate::ast::{Comparison, Expr, Function, Operator};

/// Fields of the service, found without regard to case.
const FIELDS: [&str; 18] = [
    "deviceId",
    "moduleId",
    "etag",
    "deviceEtag",
    "status",
    "statusReason",
    "statusUpdateTime",
    "connectionState",
    "lastActivityTime",
    "cloudToDeviceMessageCount",
    "authenticationType",
    "x509Thumbprint",
    "modelId",
    "version",
    "tags",
    "properties",
    "capabilities",
    "deviceScope",
];

/// The field of the service that `name` means, or `name` itself.
pub(crate) fn canonical(name: &str) -> &str {
    FIELDS.iter().find(|field| field.eq_ignore_ascii_case(name)).copied().unwrap_or(name)
}

/// The value at a path; `None` is undefined.
pub(crate) fn lookup<'a>(document: &'a Value, path: &[String]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    // `reported.x`, `desired.x` without `properties.` are written by older clients.
    let root = document.get(first).or_else(|| document.get(canonical(first))).or_else(|| {
        matches!(first.as_str(), "reported" | "desired").then(|| document.get("properties")?.get(first)).flatten()
    });
    rest.iter().try_fold(root?, |value, name| value.get(name))
}

/// Whether a document satisfies a condition: anything but true counts as false.
pub(crate) fn holds(condition: &Expr, document: &Value) -> bool {
    evaluate(condition, document) == Some(Value::Bool(true))
}

/// The value of an expression; `None` is undefined.
fn evaluate(expr: &Expr, document: &Value) -> Option<Value> {
    match expr {
        Expr::Constant(value) => Some(value.clone()),
        Expr::Undefined => None,
        Expr::Attribute(path) => lookup(document, path).cloned(),
        Expr::Not(inner) => Some((!holds(inner, document)).into()),
        Expr::And(left, right) => Some((holds(left, document) && holds(right, document)).into()),
        Expr::Or(left, right) => Some((holds(left, document) || holds(right, document)).into()),
        Expr::Compare(comparison, left, right) => {
            Some(compare(*comparison, evaluate(left, document), evaluate(right, document)).into())
        }
        Expr::Arithmetic(operator, left, right) => {
            calculate(*operator, &evaluate(left, document)?, &evaluate(right, document)?)
        }
        Expr::In { needle, list, negated } => {
            let needle = evaluate(needle, document)?;
            let found = list.iter().any(|item| evaluate(item, document).is_some_and(|v| equal(&needle, &v)));
            Some((found != *negated).into())
        }
        Expr::Call(function, arguments) => call(*function, arguments, document),
    }
}

fn compare(comparison: Comparison, left: Option<Value>, right: Option<Value>) -> bool {
    let (left, right) = match (left, right) {
        (Some(left), Some(right)) => (left, right),
        // `x = undefined` asks whether x is missing.
        (left, right) => {
            let both = left.is_none() && right.is_none();
            return matches!(comparison, Comparison::Equal) && both;
        }
    };
    match comparison {
        Comparison::Equal => equal(&left, &right),
        Comparison::NotEqual => !equal(&left, &right),
        ordering => order(&left, &right).is_some_and(|found| match ordering {
            Comparison::Less => found == Ordering::Less,
            Comparison::LessOrEqual => found != Ordering::Greater,
            Comparison::Greater => found == Ordering::Greater,
            _ => found != Ordering::Less,
        }),
    }
}

fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(_), Value::Number(_)) => order(left, right) == Some(Ordering::Equal),
        _ => left == right,
    }
}

/// Order of two primitives of one kind.
pub(crate) fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
        },
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

fn calculate(operator: Operator, left: &Value, right: &Value) -> Option<Value> {
    if let (Some(a), Some(b)) = (left.as_i64(), right.as_i64()) {
        let exact = match operator {
            Operator::Add => a.checked_add(b),
            Operator::Subtract => a.checked_sub(b),
            Operator::Multiply => a.checked_mul(b),
            Operator::Remainder => a.checked_rem(b),
            Operator::Divide => None,
        };
        if let Some(exact) = exact {
            return Some(exact.into());
        }
    }
    let (a, b) = (left.as_f64()?, right.as_f64()?);
    let value = match operator {
        Operator::Add => a + b,
        Operator::Subtract => a - b,
        Operator::Multiply => a * b,
        Operator::Divide => a / b,
        Operator::Remainder => a % b,
    };
    serde_json::Number::from_f64(value).map(Value::Number)
}

fn call(function: Function, arguments: &[Expr], document: &Value) -> Option<Value> {
    let first = arguments.first().and_then(|a| evaluate(a, document));
    if function == Function::IsDefined {
        return Some(first.is_some().into());
    }
    let (first, second) = (first?, evaluate(arguments.get(1)?, document)?);
    let found = match function {
        Function::ArrayContains => first.as_array()?.iter().any(|item| equal(item, &second)),
        Function::StartsWith => first.as_str()?.starts_with(second.as_str()?),
        Function::EndsWith => first.as_str()?.ends_with(second.as_str()?),
        Function::Contains => first.as_str()?.contains(second.as_str()?),
        Function::IsDefined => return None,
    };
    Some(found.into())
}
