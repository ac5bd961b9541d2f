//! How deep schemas are nested in schemas, and whether one contains itself.

use super::Found;
use crate::error::{ErrorName as E, ParsingError};
use crate::metamodel::table::{limits, schemas_may_contain_themselves};
use crate::metamodel::{Class, Prop};
use crate::model::{Key, Model};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The properties that go one level deeper, and those that do not.
const DEEPER: [Prop; 2] = [Prop::ElementSchema, Prop::Schema];
const LEVEL: [Prop; 3] = [Prop::Fields, Prop::MapKey, Prop::MapValue];

/// Walks down from schemas, each but once for each depth.
struct Descent<'a> {
    model: &'a Model,
    depth_max: u32,
    /// An element at a depth, with the way down that is too long, if there is one.
    known: HashMap<(Key, u32), Result<(), Vec<Key>>>,
    recursive: BTreeSet<Key>,
}

impl Descent<'_> {
    fn down(&mut self, key: Key, depth: u32) -> Result<(), Vec<Key>> {
        if let Some(known) = self.known.get(&(key, depth)) {
            return known.clone();
        }
        let result = self.look(key, depth);
        self.known.insert((key, depth), result.clone());
        result
    }

    fn look(&mut self, key: Key, depth: u32) -> Result<(), Vec<Key>> {
        let model = self.model;
        let Some(element) = model.get(key) else { return Ok(()) };
        let next = LEVEL.iter().map(|prop| (*prop, depth)).chain(DEEPER.iter().map(|prop| (*prop, depth + 1)));
        for (prop, next_depth) in next {
            for child in element.links(prop) {
                if next_depth > self.depth_max {
                    return Err(vec![key]);
                }
                match self.down(*child, next_depth) {
                    Ok(()) => {}
                    Err(way) if way.contains(&key) => {
                        self.recursive.insert(key);
                        return Ok(());
                    }
                    Err(mut way) => {
                        way.push(key);
                        return Err(way);
                    }
                }
            }
        }
        Ok(())
    }
}

pub(super) fn check(model: &Model, found: &mut Found) {
    let mut descents: BTreeMap<(u32, bool), Descent<'_>> = BTreeMap::new();
    for (key, element) in model.all().filter(|(_, element)| element.class.is(Class::ComplexSchema)) {
        let depth_max = element.limits.pick(&limits::SCHEMA_DEPTH);
        let self_allowed = schemas_may_contain_themselves(element.limits);
        let descent = descents.entry((depth_max, self_allowed)).or_insert_with(|| Descent {
            model,
            depth_max,
            known: HashMap::new(),
            recursive: BTreeSet::new(),
        });
        if let Err(way) = descent.down(key, 0) {
            let error = ParsingError::new(E::ExcessiveDepthWide).on(model.id(key));
            found.add(match way.first() {
                Some(first) => error.and(model.id(*first)),
                None => error,
            });
        }
    }
    for ((_, self_allowed), descent) in descents {
        if !self_allowed {
            for key in descent.recursive {
                found.add(ParsingError::new(E::RecursiveStructureWide).on(model.id(key)));
            }
        }
    }
}
