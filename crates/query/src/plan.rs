//! What a condition demands of single attributes, so that a store can look things up instead of trying everything.

use serde_json::Value;

use crate::ast::{Comparison, Expr, Function, Query, Reference};
use crate::path::Path;

/// What one attribute must be for a document to match.
#[derive(Clone, PartialEq, Debug)]
pub enum Test {
    /// One of these primitives.
    OneOf(Vec<Value>),
    /// At least this primitive; without it when exclusive.
    AtLeast {
        /// The bound.
        value: Value,
        /// Whether the bound itself does not match.
        exclusive: bool,
    },
    /// At most this primitive; without it when exclusive.
    AtMost {
        /// The bound.
        value: Value,
        /// Whether the bound itself does not match.
        exclusive: bool,
    },
    /// A text that begins so.
    Prefix(String),
    /// An array that holds this primitive.
    Holds(Value),
    /// Anything, as long as it is there.
    Defined,
}

/// A necessary condition on one attribute.
#[derive(Clone, PartialEq, Debug)]
pub struct Constraint {
    /// Where the attribute is.
    pub path: Path,
    /// What it must be.
    pub test: Test,
}

impl Query {
    /// What every match must satisfy; all of it at once.
    pub fn constraints(&self) -> Vec<Constraint> {
        self.parts().iter().filter_map(|part| constraint(part)).collect()
    }

    /// Whether whatever satisfies the [`constraints`](Self::constraints) matches.
    pub fn is_exact(&self) -> bool {
        self.parts().iter().all(|part| constraint(part).is_some())
    }

    /// Every place of the document that the condition looks at.
    pub fn looks_at(&self) -> Vec<&Path> {
        let mut places = vec![];
        if let Some(condition) = &self.condition {
            condition.for_each_reference(&mut |reference| {
                if let Reference::Document(path) = reference {
                    places.push(path);
                }
            });
        }
        places
    }

    /// The parts that all must be true.
    fn parts(&self) -> Vec<&Expr> {
        let mut all = vec![];
        let mut rest: Vec<&Expr> = self.condition.iter().collect();
        while let Some(expr) = rest.pop() {
            match expr {
                Expr::All(parts) => rest.extend(parts.iter().rev()),
                Expr::Constant(Value::Bool(true)) => {}
                other => all.push(other),
            }
        }
        all
    }
}

fn constraint(expr: &Expr) -> Option<Constraint> {
    match expr {
        Expr::Reference(Reference::Document(path)) => {
            Some(Constraint { path: path.clone(), test: Test::OneOf(vec![true.into()]) })
        }
        Expr::Compare(comparison, left, right) => match (&**left, &**right) {
            (Expr::Reference(Reference::Document(path)), Expr::Constant(value)) => compared(*comparison, path, value),
            (Expr::Constant(value), Expr::Reference(Reference::Document(path))) => {
                compared(turned(*comparison), path, value)
            }
            _ => None,
        },
        Expr::In { needle, list, negated: false } => {
            let Expr::Reference(Reference::Document(path)) = &**needle else { return None };
            let constant = |item: &Expr| match item {
                Expr::Constant(value) if is_primitive(value) => Some(value.clone()),
                _ => None,
            };
            let list = list.iter().map(constant).collect::<Option<Vec<_>>>()?;
            Some(Constraint { path: path.clone(), test: Test::OneOf(list) })
        }
        Expr::Call(function, arguments) => called(*function, arguments),
        _ => None,
    }
}

fn called(function: Function, arguments: &[Expr]) -> Option<Constraint> {
    let Some(Expr::Reference(Reference::Document(path))) = arguments.first() else { return None };
    let test = match (function, arguments.get(1)) {
        (Function::IsDefined, None) => Test::Defined,
        (Function::StartsWith, Some(Expr::Constant(Value::String(prefix)))) => Test::Prefix(prefix.clone()),
        (Function::ArrayContains, Some(Expr::Constant(value))) if is_primitive(value) => Test::Holds(value.clone()),
        _ => return None,
    };
    Some(Constraint { path: path.clone(), test })
}

fn compared(comparison: Comparison, path: &Path, value: &Value) -> Option<Constraint> {
    if !is_primitive(value) {
        return None;
    }
    let value = value.clone();
    let test = match comparison {
        Comparison::Equal => Test::OneOf(vec![value]),
        Comparison::NotEqual => return None,
        Comparison::Less => Test::AtMost { value, exclusive: true },
        Comparison::LessOrEqual => Test::AtMost { value, exclusive: false },
        Comparison::Greater => Test::AtLeast { value, exclusive: true },
        Comparison::GreaterOrEqual => Test::AtLeast { value, exclusive: false },
    };
    Some(Constraint { path: path.clone(), test })
}

/// The comparison with its sides changed.
fn turned(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::Less => Comparison::Greater,
        Comparison::LessOrEqual => Comparison::GreaterOrEqual,
        Comparison::Greater => Comparison::Less,
        Comparison::GreaterOrEqual => Comparison::LessOrEqual,
        same => same,
    }
}

/// Null is left out: what equals null is not found by looking a value up.
fn is_primitive(value: &Value) -> bool {
    matches!(value, Value::Bool(_) | Value::Number(_) | Value::String(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::Step;
    use serde_json::json;

    #[track_caller]
    fn check(condition: &str, expected: &[(&str, Test)], exact: bool) {
        let query = Query::parse(&format!("SELECT * FROM devices WHERE {condition}")).unwrap();
        let path = |text: &str| text.split('.').map(|name| Step::Name(name.into())).collect();
        let expected: Vec<_> =
            expected.iter().map(|(at, test)| Constraint { path: path(at), test: test.clone() }).collect();
        assert_eq!((query.constraints(), query.is_exact()), (expected, exact), "{condition}");
    }

    #[test]
    fn demands_on_single_attributes_are_found() {
        let one = |value: Value| Test::OneOf(vec![value]);
        check("tags.a = 'x'", &[("tags.a", one("x".into()))], true);
        check("5 < tags.a", &[("tags.a", Test::AtLeast { value: 5.into(), exclusive: true })], true);
        check("tags.a <= 5", &[("tags.a", Test::AtMost { value: 5.into(), exclusive: false })], true);
        check("capabilities.iotEdge", &[("capabilities.iotEdge", one(true.into()))], true);
        check("deviceId IN ['a', 'b']", &[("deviceId", Test::OneOf(vec![json!("a"), json!("b")]))], true);
        check("STARTSWITH(devices.deviceId, 'x')", &[("deviceId", Test::Prefix("x".into()))], true);
        check("array_contains(parentScopes, 's')", &[("parentScopes", Test::Holds("s".into()))], true);
        check("is_defined(tags.a)", &[("tags.a", Test::Defined)], true);
        check(
            "(tags.a = 1 AND status = 'enabled') AND tags.b != 2",
            &[("tags.a", one(1.into())), ("status", one("enabled".into()))],
            false,
        );
        check("tags.a = 1 OR tags.b = 2", &[], false);
        check("NOT tags.a = 1", &[], false);
        check("tags.a = tags.b", &[], false);
        check("tags.a = null", &[], false);
        check("true", &[], true);
        check("false", &[], false);
    }
}
