//! Values of an enumeration: all of the type the enumeration says.

use super::Found;
use crate::error::{ErrorName as E, ParsingError};
use crate::metamodel::{Class, Prop};
use crate::model::{Element, Key, Literal, Model};

pub(super) fn check(model: &Model, key: Key, element: &Element, found: &mut Found) {
    let schema = element.link(Prop::ValueSchema).and_then(|key| model.get(key)).map(|schema| schema.class);
    for value in element.links(Prop::EnumValues) {
        let Some(literal) = model.get(*value).and_then(|value| value.literal(Prop::EnumValue)) else { continue };
        let fits = match schema {
            Some(Class::Integer) => matches!(literal, Literal::Int(_)),
            Some(Class::String) => matches!(literal, Literal::Text(_)),
            _ => true,
        };
        if !fits {
            let error = ParsingError::new(E::NonConformantDatatype).on(model.id(*value)).and(model.id(key));
            found.add(error.property(Prop::EnumValue.name()).value(literal.shown()));
        }
    }
}
