//! Rules over a whole model, each in a file of its own.
//!
//! They run when all elements are joined. What a rule costs is bounded by the elements and the
//! depth that DTDL allows, never by how elements are woven: whatever could be walked more than
//! once is remembered.

mod constraints;
mod counts;
mod depth;
mod enums;
mod excluded;
mod inheritance;
mod members;
mod siblings;

pub use inheritance::INHERITED_MAX;

use crate::error::{ERRORS_MAX, ErrorName as E, ParsingError};
use crate::metamodel::Class;
use crate::metamodel::vocabulary::{Need, vocabulary};
use crate::model::{Element, Key, Model};
use crate::parse::Walk;

/// Checks everything; what is wrong is noted in the walk.
pub(crate) fn check(walk: &mut Walk<'_>) {
    let mut found = Found::default();
    constraints::check(&walk.model, &walk.constraints, &mut found);
    inheritance::hand_down(&mut walk.model, &mut found);
    let model = &walk.model;
    let mut excluded = excluded::Search::new(model);
    for (key, element) in model.all() {
        excluding_types(model, key, element, &mut found);
        members::check(model, key, element, &mut found);
        excluded.check(key, element, &mut found);
        if element.class == Class::Enum {
            enums::check(model, key, element, &mut found);
        }
    }
    depth::check(model, &mut found);
    counts::check(model, &mut found);
    siblings::check(model, &walk.constraints, &mut found);
    if found.0.is_empty() {
        // Only a model without errors is finite in every direction.
        constraints::check_values(model, &mut found);
    }
    for error in found.0 {
        walk.errors.add(error);
    }
}

/// What rules have found.
#[derive(Default)]
pub(crate) struct Found(Vec<ParsingError>);

impl Found {
    fn add(&mut self, error: ParsingError) {
        // Errors beyond the bound are dropped when they are taken over; here they only must not
        // fill the memory.
        if !self.is_full() {
            self.0.push(error);
        }
    }

    /// Whether there is no use in looking further.
    fn is_full(&self) -> bool {
        self.0.len() >= ERRORS_MAX
    }
}

/// Whether an element is what is needed.
fn satisfies(element: &Element, need: Need) -> bool {
    match need {
        Need::Class(class) => element.class.is(class),
        Need::Type(of) => element.types.iter().any(|id| vocabulary().is(*id, of)),
    }
}

/// Types that exclude others of the same element.
fn excluding_types(model: &Model, key: Key, element: &Element, found: &mut Found) {
    for of in &element.types {
        for _ in vocabulary().get(*of).excludes.iter().filter(|other| element.types.contains(other)) {
            found.add(ParsingError::new(E::DisallowedCocotype).on(model.id(key)));
        }
    }
}
