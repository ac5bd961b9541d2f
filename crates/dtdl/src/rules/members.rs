//! The elements a property has: how many, differing in what must differ, and of those allowed.

use super::Found;
use crate::error::{ErrorName as E, ParsingError};
use crate::metamodel::vocabulary::vocabulary;
use crate::metamodel::{Holds, Row, rows};
use crate::model::{Element, Key, Literal, Model};
use std::collections::HashSet;

pub(super) fn check(model: &Model, key: Key, element: &Element, found: &mut Found) {
    let rows = rows(element.class, element.version).filter(|row| matches!(row.holds, Holds::One(_) | Holds::Many(_)));
    for row in rows {
        check_unique(model, key, element, row, found);
        check_count(model, key, element, row, found);
        check_allowed(model, key, element, row, found);
    }
}

fn check_unique(model: &Model, key: Key, element: &Element, row: &Row, found: &mut Found) {
    for prop in row.unique {
        let mut seen: HashSet<(u8, String)> = HashSet::new();
        for member in element.links(row.prop) {
            let Some(value) = model.get(*member).and_then(|member| member.literal(*prop)) else { continue };
            if !seen.insert((kind(value), value.shown())) {
                let error = ParsingError::new(E::NonUniquePropertyValue).on(model.id(key));
                found.add(error.property(row.prop.name()).value(value.shown()));
            }
        }
    }
}

/// A string and a number that look the same are not.
fn kind(literal: &Literal) -> u8 {
    match literal {
        Literal::Text(_) => 0,
        Literal::Int(_) => 1,
        _ => 2,
    }
}

fn check_count(model: &Model, key: Key, element: &Element, row: &Row, found: &mut Found) {
    let max = element.limits.pick(&row.max) as usize;
    let too_many = if row.keyed {
        model.contents(key).nth(max).is_some()
    } else {
        let members = element.links(row.prop);
        members.len() > max && members.iter().collect::<HashSet<_>>().len() > max
    };
    if too_many {
        found.add(ParsingError::new(E::ObjectCountAboveMax).on(model.id(key)).property(row.prop.name()));
    }
}

fn check_allowed(model: &Model, key: Key, element: &Element, row: &Row, found: &mut Found) {
    if row.one_of.is_empty() {
        return;
    }
    for member in element.links(row.prop) {
        let term = vocabulary().term(model.id(*member).as_str());
        if !row.one_of.contains(&term) {
            let error = ParsingError::new(E::IncorrectPropertyValue).on(model.id(key));
            found.add(error.property(row.prop.name()).value(term));
        }
    }
}
