//! Expressions evaluated over whatever resolves their references.
//!
//! Logic has three values. What is missing, of another kind than its partner, or not a
//! primitive makes a comparison undefined; AND is false when one side is false, OR true when
//! one side is true, NOT of undefined is undefined. A condition holds only when it is true.

use std::cmp::Ordering;

use crate::ast::{Comparison, Expr, Operator, Reference};
use crate::functions;
use crate::operand::{Operand, equal, order};

/// Where references lead.
pub(crate) trait Scope {
    fn resolve<'a>(&'a self, reference: &'a Reference) -> Operand<'a>;
}

/// The value of an expression.
pub(crate) fn evaluate<'a>(expr: &'a Expr, scope: &'a impl Scope) -> Operand<'a> {
    match expr {
        Expr::Constant(value) => value.into(),
        Expr::Undefined => Operand::Undefined,
        Expr::Reference(reference) => scope.resolve(reference),
        Expr::Not(inner) => match evaluate(inner, scope) {
            Operand::Bool(value) => Operand::Bool(!value),
            _ => Operand::Undefined,
        },
        Expr::All(parts) => chain(parts, scope, false),
        Expr::Any(parts) => chain(parts, scope, true),
        Expr::Compare(comparison, left, right) => {
            compare(*comparison, &evaluate(left, scope), &evaluate(right, scope)).into()
        }
        Expr::Arithmetic(first, rest) => {
            let first = evaluate(first, scope);
            rest.iter().fold(first, |left, (operator, right)| calculate(*operator, &left, &evaluate(right, scope)))
        }
        Expr::Negative(inner) => calculate(Operator::Subtract, &Operand::Integer(0), &evaluate(inner, scope)),
        Expr::In { needle, list, negated } => {
            let needle = evaluate(needle, scope);
            if matches!(needle, Operand::Undefined | Operand::Json(_)) {
                return Operand::Undefined;
            }
            let found = list.iter().any(|item| equal(&needle, &evaluate(item, scope)) == Some(true));
            Operand::Bool(found != *negated)
        }
        Expr::Call(function, arguments) => functions::call(*function, arguments, scope),
    }
}

/// AND (`decisive` false) or OR (`decisive` true): one decisive part decides, however undefined others are.
fn chain<'a>(parts: &'a [Expr], scope: &'a impl Scope, decisive: bool) -> Operand<'a> {
    let mut all_known = true;
    for part in parts {
        match evaluate(part, scope) {
            Operand::Bool(value) if value == decisive => return Operand::Bool(decisive),
            Operand::Bool(_) => {}
            _ => all_known = false,
        }
    }
    if all_known { Operand::Bool(!decisive) } else { Operand::Undefined }
}

fn compare(comparison: Comparison, left: &Operand<'_>, right: &Operand<'_>) -> Option<bool> {
    match comparison {
        Comparison::Equal => equal(left, right),
        Comparison::NotEqual => equal(left, right).map(|equal| !equal),
        Comparison::Less => order(left, right).map(Ordering::is_lt),
        Comparison::LessOrEqual => order(left, right).map(Ordering::is_le),
        Comparison::Greater => order(left, right).map(Ordering::is_gt),
        Comparison::GreaterOrEqual => order(left, right).map(Ordering::is_ge),
    }
}

fn calculate(operator: Operator, left: &Operand<'_>, right: &Operand<'_>) -> Operand<'static> {
    if let (Operand::Integer(a), Operand::Integer(b)) = (left, right) {
        let exact = match operator {
            Operator::Add => a.checked_add(*b),
            Operator::Subtract => a.checked_sub(*b),
            Operator::Multiply => a.checked_mul(*b),
            Operator::Remainder => a.checked_rem(*b),
            Operator::Divide => None,
        };
        if let Some(exact) = exact {
            return Operand::Integer(exact);
        }
    }
    let (Some(a), Some(b)) = (left.as_number(), right.as_number()) else { return Operand::Undefined };
    Operand::number(match operator {
        Operator::Add => a + b,
        Operator::Subtract => a - b,
        Operator::Multiply => a * b,
        Operator::Divide => a / b,
        Operator::Remainder => a % b,
    })
}
