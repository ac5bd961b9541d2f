//! Interfaces that extend others: depth, cycles, and the contents they hand down.
//!
//! An interface remembers the interfaces above it, not their contents, so handing down costs a
//! model little. That names are unique over all of them is checked here.

use super::Found;
use crate::error::{ErrorName as E, ParsingError};
use crate::metamodel::table::limits;
use crate::metamodel::{Class, Prop};
use crate::model::{Element, Key, Model};
use std::collections::{BTreeSet, HashMap, HashSet};

/// How many contents may be handed down in one model, counted once for each interface below.
pub const INHERITED_MAX: usize = 1_000_000;

/// The interfaces above an interface, or why there are none: a way that is too long.
type Above = Result<Vec<Key>, Vec<Key>>;

/// Walks up from interfaces, each but once for each depth.
struct Climb<'a> {
    model: &'a Model,
    depth_max: u32,
    known: HashMap<(Key, u32), Above>,
    recursive: BTreeSet<Key>,
}

impl Climb<'_> {
    fn above(&mut self, key: Key, depth: u32) -> Above {
        if let Some(known) = self.known.get(&(key, depth)) {
            return known.clone();
        }
        let above = self.look(key, depth);
        self.known.insert((key, depth), above.clone());
        above
    }

    fn look(&mut self, key: Key, depth: u32) -> Above {
        let parents: &[Key] = self.model.get(key).map_or(&[], |element| element.links(Prop::Extends));
        if depth == self.depth_max
            && let Some(first) = parents.first()
        {
            return Err(vec![*first]);
        }
        let mut above: Vec<Key> = Vec::new();
        let mut there: HashSet<Key> = HashSet::new();
        for parent in parents {
            match self.above(*parent, depth + 1) {
                Ok(others) => above.extend(std::iter::once(*parent).chain(others).filter(|key| there.insert(*key))),
                Err(way) if way.contains(&key) => {
                    self.recursive.insert(key);
                    return Ok(above);
                }
                Err(mut way) => {
                    way.push(key);
                    return Err(way);
                }
            }
        }
        Ok(above)
    }
}

/// Gives every interface those above it.
pub(super) fn hand_down(model: &mut Model, found: &mut Found) {
    let interfaces: Vec<(Key, u32)> = model
        .all()
        .filter(|(_, element)| element.class == Class::Interface && !element.links(Prop::Extends).is_empty())
        .map(|(key, element)| (key, element.limits.pick(&limits::EXTENDS_DEPTH)))
        .collect();
    let mut handed_down = Vec::new();
    let mut total = 0;
    for depth_max in [10, 12] {
        let known = HashMap::new();
        let mut climb = Climb { model, depth_max, known, recursive: BTreeSet::new() };
        for (key, _) in interfaces.iter().filter(|(_, max)| *max == depth_max) {
            match climb.above(*key, 0) {
                Ok(above) if total < INHERITED_MAX => {
                    total += check_names(model, *key, &above, found);
                    handed_down.push((*key, above));
                }
                Ok(_) => {}
                Err(way) => {
                    let error = ParsingError::new(E::ExcessiveDepthNarrow).on(model.id(*key)).property("'extends'");
                    found.add(match way.first() {
                        Some(first) => error.and(model.id(*first)),
                        None => error,
                    });
                }
            }
        }
        for key in climb.recursive {
            found.add(ParsingError::new(E::RecursiveStructureNarrow).on(model.id(key)).property("'extends'"));
        }
    }
    if total >= INHERITED_MAX {
        found.add(ParsingError::new(E::ExcessiveCount).property("'contents'"));
    }
    for (key, above) in handed_down {
        if let Some(element) = model.get_mut(key) {
            element.rare_mut().above = above;
        }
    }
}

/// Whether the contents of interfaces above have names that are free; how many there are.
fn check_names(model: &Model, key: Key, above: &[Key], found: &mut Found) -> usize {
    let contents = |key: Key| model.get(key).map_or(&[][..], |element| element.links(Prop::Contents));
    let name_of = |key: Key| model.get(key).and_then(Element::name);
    let mut names: HashMap<&str, Key> =
        contents(key).iter().filter_map(|content| Some((name_of(*content)?, *content))).collect();
    let mut count = 0;
    for ancestor in above {
        for content in contents(*ancestor) {
            count += 1;
            let Some(name) = name_of(*content) else { continue };
            let other = *names.entry(name).or_insert(*content);
            if other != *content {
                let error = ParsingError::new(E::NonUniqueImportedPropertyValue).on(model.id(key));
                found.add(error.and(model.id(*ancestor)).property(Prop::Contents.name()).value(name));
            }
        }
    }
    count
}
