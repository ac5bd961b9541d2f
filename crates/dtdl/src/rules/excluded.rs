//! Elements that must not occur below others: no component in a component, and in DTDL v2 no array
//! in a property.

use super::Found;
use crate::error::{ErrorName as E, ParsingError};
use crate::metamodel::table::{EXCLUDED, Excluded};
use crate::metamodel::{Class, Prop};
use crate::model::{Element, Key, Model};
use std::collections::HashSet;

/// Looks below elements, below each but once while nothing is found.
pub(super) struct Search<'a> {
    model: &'a Model,
    /// For each rule, the elements with nothing below that must not be there.
    clear: Vec<HashSet<Key>>,
}

impl<'a> Search<'a> {
    pub(super) fn new(model: &'a Model) -> Self {
        Self { model, clear: EXCLUDED.iter().map(|_| HashSet::new()).collect() }
    }

    pub(super) fn check(&mut self, key: Key, element: &Element, found: &mut Found) {
        for (rule, clear) in EXCLUDED.iter().zip(&mut self.clear) {
            if rule.root != element.class || element.version > rule.until || found.is_full() {
                continue;
            }
            if let Some(below) = find(self.model, rule, key, clear) {
                let error = ParsingError::new(E::ExcludedType).on(self.model.id(key)).and(self.model.id(below));
                found.add(error.property(rule.property));
            }
        }
    }
}

/// The first element below that must not be there.
fn find(model: &Model, rule: &Excluded, root: Key, clear: &mut HashSet<Key>) -> Option<Key> {
    let mut seen: HashSet<Key> = HashSet::new();
    let mut open = vec![root];
    while let Some(key) = open.pop() {
        let Some(element) = model.get(key) else { continue };
        let mut below: Vec<(Prop, Key)> = Vec::new();
        if element.class == Class::Interface {
            below.extend(model.contents(key).map(|content| (Prop::Contents, content)));
        }
        below.extend(element.linked().filter(|(prop, _)| *prop != Prop::Contents));
        for (prop, child) in below {
            let leads = rule.through.contains(&prop);
            if leads && model.get(child).is_some_and(|child| child.class == rule.class) {
                return Some(child);
            }
            if (leads || !rule.narrow) && !clear.contains(&child) && seen.insert(child) {
                open.push(child);
            }
        }
    }
    clear.extend(seen);
    None
}
