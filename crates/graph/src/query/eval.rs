//! Conditions over bound twins and relationships. What is not there is undefined, and so is what is said about it.

use std::cmp::Ordering;

use serde_json::Value;

use super::ast::{Check, Comparison, Expr, Operand, Reference, Slot, TextTest};
use crate::models::Definitions;
use crate::relationship::Relationship;
use crate::twin::Twin;

/// What a row has so far.
pub(crate) struct Bound<'a> {
    pub(crate) models: &'a Definitions,
    pub(crate) nodes: Vec<Option<&'a Twin>>,
    pub(crate) links: Vec<Option<&'a Relationship>>,
}

impl<'a> Bound<'a> {
    /// The whole thing in a place.
    pub(crate) fn document(&self, slot: Slot) -> Option<&'a Value> {
        match slot {
            Slot::Node(number) => self.nodes.get(number).copied().flatten().map(|twin| &twin.document),
            Slot::Link(number) => self.links.get(number).copied().flatten().map(|link| &link.document),
        }
    }

    pub(crate) fn value(&self, reference: &Reference) -> Option<&'a Value> {
        let document = self.document(reference.slot)?;
        reference.path.iter().try_fold(document, |value, step| value.get(step))
    }

    fn operand<'b>(&'b self, operand: &'b Operand) -> Option<&'b Value> {
        match operand {
            Operand::Reference(reference) => self.value(reference),
            Operand::Literal(value) => Some(value),
        }
    }

    /// Whether a condition is true.
    pub(crate) fn holds(&self, expr: &Expr) -> bool {
        self.evaluate(expr) == Some(true)
    }

    /// True, false or undefined.
    fn evaluate(&self, expr: &Expr) -> Option<bool> {
        match expr {
            Expr::And(all) => {
                let mut result = Some(true);
                for one in all {
                    match self.evaluate(one) {
                        Some(false) => return Some(false),
                        Some(true) => {}
                        None => result = None,
                    }
                }
                result
            }
            Expr::Or(all) => {
                let mut result = Some(false);
                for one in all {
                    match self.evaluate(one) {
                        Some(true) => return Some(true),
                        Some(false) => {}
                        None => result = None,
                    }
                }
                result
            }
            Expr::Not(inner) => self.evaluate(inner).map(|flag| !flag),
            Expr::Compare(comparison, left, right) => compare(*comparison, self.operand(left)?, self.operand(right)?),
            Expr::In(operand, values) => {
                let value = self.operand(operand)?;
                Some(values.iter().any(|one| is_equal(value, one)))
            }
            Expr::Check(check, operand) => Some(checks(*check, self.operand(operand))),
            Expr::Text(test, left, right) => {
                let (left, right) = (self.operand(left)?.as_str()?, self.operand(right)?.as_str()?);
                Some(match test {
                    TextTest::StartsWith => left.starts_with(right),
                    TextTest::EndsWith => left.ends_with(right),
                    TextTest::Contains => left.contains(right),
                })
            }
            Expr::ArrayContains(array, value) => {
                let (items, value) = (self.operand(array)?.as_array()?, self.operand(value)?);
                Some(items.iter().any(|item| is_equal(item, value)))
            }
            Expr::OfModel { slot, model, exact } => self.is_of_model(*slot, model, *exact),
            Expr::Is(operand) => self.operand(operand)?.as_bool(),
        }
    }

    fn is_of_model(&self, slot: Slot, model: &str, exact: bool) -> Option<bool> {
        let Slot::Node(number) = slot else { return None };
        let twin = self.nodes.get(number).copied().flatten()?;
        if *twin.model == *model {
            return Some(true);
        }
        Some(!exact && self.models.get(&twin.model).is_some_and(|of| of.is(model)))
    }
}

fn checks(check: Check, value: Option<&Value>) -> bool {
    match (check, value) {
        (Check::Defined, value) => value.is_some(),
        (Check::Null, Some(value)) => value.is_null(),
        (Check::Primitive, Some(value)) => !value.is_array() && !value.is_object(),
        (Check::Bool, Some(value)) => value.is_boolean(),
        (Check::Number, Some(value)) => value.is_number(),
        (Check::Text, Some(value)) => value.is_string(),
        (Check::Object, Some(value)) => value.is_object(),
        (_, None) => false,
    }
}

fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => Some(left.cmp(&right)),
            _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
        },
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

fn is_equal(left: &Value, right: &Value) -> bool {
    order(left, right).map_or_else(|| left == right, Ordering::is_eq)
}

fn compare(comparison: Comparison, left: &Value, right: &Value) -> Option<bool> {
    Some(match comparison {
        Comparison::Equal => is_equal(left, right),
        Comparison::NotEqual => !is_equal(left, right),
        Comparison::Less => order(left, right)?.is_lt(),
        Comparison::LessOrEqual => order(left, right)?.is_le(),
        Comparison::Greater => order(left, right)?.is_gt(),
        Comparison::GreaterOrEqual => order(left, right)?.is_ge(),
    })
}
