//! How many interfaces are above an interface, and how many elements are in it.
//!
//! An element that is reached by two ways counts twice, as in the reference, so counts can grow
//! beyond any number; they stop at the largest there is.

use super::Found;
use crate::error::{ErrorName as E, ParsingError};
use crate::metamodel::table::limits;
use crate::metamodel::{Class, Prop};
use crate::model::{Key, Model};
use std::collections::{BTreeSet, HashMap, HashSet};

/// The properties whose elements are parts of an interface.
const PARTS: [Prop; 9] = [
    Prop::Contents,
    Prop::Fields,
    Prop::EnumValues,
    Prop::Request,
    Prop::Response,
    Prop::Properties,
    Prop::Schema,
    Prop::ElementSchema,
    Prop::MapValue,
];

/// How the reference names them in its errors.
const PARTS_NAMED: &str = "'contents' or 'fields' or 'enumValues' or 'request' or 'response' or 'properties' \
                           or 'schema' or 'elementSchema' or 'mapValue'";

pub(super) fn check(model: &Model, found: &mut Found) {
    let mut above = Count::of(&[Prop::Extends]);
    let mut inside = Count::of(&PARTS);
    for (key, element) in model.all().filter(|(_, element)| element.class == Class::Interface && element.version > 2) {
        let limits = element.limits;
        let too_many = |name: &str| ParsingError::new(E::ExcessiveCount).on(model.id(key)).property(name);
        if above.count(model, key) > limits.pick(&limits::EXTENDS_COUNT) {
            found.add(too_many("'extends'"));
        }
        if inside.count(model, key) > limits.pick(&limits::ELEMENTS_COUNT) {
            found.add(too_many(PARTS_NAMED));
        }
    }
    for (count, named) in [(above, "'extends'"), (inside, PARTS_NAMED)] {
        for key in count.recursive {
            let allowed = named == PARTS_NAMED && model.get(key).is_some_and(|element| element.version >= 4);
            if !allowed {
                found.add(ParsingError::new(E::RecursiveStructureNarrow).on(model.id(key)).property(named));
            }
        }
    }
}

/// Counts what is below elements through some properties, each element once.
struct Count {
    through: &'static [Prop],
    known: HashMap<Key, u32>,
    /// Elements that contain themselves.
    recursive: BTreeSet<Key>,
}

/// An element whose parts are being counted.
struct Open {
    key: Key,
    parts: Vec<Key>,
    next: usize,
    sum: u32,
}

impl Count {
    fn of(through: &'static [Prop]) -> Self {
        Self { through, known: HashMap::new(), recursive: BTreeSet::new() }
    }

    fn open(&self, model: &Model, key: Key) -> Open {
        let parts = model.get(key).map_or_else(Vec::new, |element| {
            let contents = self.through.contains(&Prop::Contents).then(|| model.contents(key)).into_iter().flatten();
            let others = self.through.iter().filter(|prop| **prop != Prop::Contents);
            contents.chain(others.flat_map(|prop| element.links(*prop)).copied()).collect()
        });
        Open { key, parts, next: 0, sum: 0 }
    }

    /// What is below an element. The stack is a list: elements can be chained without end.
    fn count(&mut self, model: &Model, key: Key) -> u32 {
        let mut stack = vec![self.open(model, key)];
        let mut open: HashSet<Key> = HashSet::from([key]);
        while let Some(top) = stack.last_mut() {
            let Some(part) = top.parts.get(top.next).copied() else {
                let Some(done) = stack.pop() else { break };
                open.remove(&done.key);
                self.known.insert(done.key, done.sum);
                if let Some(parent) = stack.last_mut() {
                    parent.sum = parent.sum.saturating_add(done.sum).saturating_add(1);
                }
                continue;
            };
            top.next += 1;
            if let Some(known) = self.known.get(&part) {
                top.sum = top.sum.saturating_add(*known).saturating_add(1);
            } else if !open.insert(part) {
                top.sum = top.sum.saturating_add(1);
                self.recursive.insert(part);
            } else {
                let next = self.open(model, part);
                stack.push(next);
            }
        }
        self.known.get(&key).copied().unwrap_or(0)
    }
}
