//! What types require of the values of a property: a temperature is a number, a state an
//! enumeration, a limit a value of the schema.

use super::{Found, satisfies};
use crate::error::{ErrorName as E, ParsingError};
use crate::metamodel::Prop;
use crate::metamodel::vocabulary::{Rule, vocabulary};
use crate::model::{Literal, Model};
use crate::parse::{Constraint, Needs};

pub(super) fn check(model: &Model, constraints: &[Constraint], found: &mut Found) {
    for constraint in constraints {
        let Some(element) = model.get(constraint.element) else { continue };
        let id = model.id(constraint.element);
        let name = match constraint.needs {
            Needs::One(need) => (!satisfies(element, need)).then_some(E::NotRequiredType),
            Needs::Rule(Rule::Holds(_, any)) => {
                (!any.iter().any(|need| satisfies(element, *need))).then_some(E::NotRequiredType)
            }
            Needs::Rule(Rule::Among(_, ids)) => (!ids.contains(&id.as_str())).then_some(E::NotRequiredValue),
            Needs::Rule(_) => None,
        };
        if let Some(name) = name {
            let error = ParsingError::new(name).on(model.id(constraint.parent)).property(constraint.prop.name());
            found.add(error.and(id));
        }
    }
}

/// Properties that hold a value of the element's schema.
pub(super) fn check_values(model: &Model, found: &mut Found) {
    for (key, element) in model.all() {
        for (prop, literal) in element.extras() {
            let row = element.types.iter().find_map(|id| vocabulary().prop_in(*id, *prop));
            let (Some(row), Some(schema)) = (row, element.link(Prop::Schema)) else { continue };
            let Literal::Decimal(number) = literal else { continue };
            if !row.row.of_schema || crate::instance::is_valid(model, schema, &as_json(*number)) {
                continue;
            }
            let term = vocabulary().term(vocabulary().prop_uri(*prop));
            found.add(ParsingError::new(E::NonConformantPropertyValue).on(model.id(key)).property(term));
        }
    }
}

/// A number as it would be written: without a fraction if it has none.
#[expect(clippy::cast_possible_truncation, reason = "compared with what it was before")]
fn as_json(number: f64) -> serde_json::Value {
    let whole = number as i64;
    #[expect(clippy::cast_precision_loss, reason = "a whole number that differs is not taken")]
    let same = whole as f64 == number && number.abs() < 9e15;
    if same { whole.into() } else { number.into() }
}
