//! Elements that refer to each other, joined; those nobody has, asked for.

use super::{PropRef, Reference, Walk};
use crate::dtmi::Dtmi;
use crate::error::{DtdlError, ErrorName as E, ParsingError, Stop};
use crate::metamodel::standard::{self, Standard};
use crate::metamodel::vocabulary::{Vocabulary, vocabulary};
use crate::metamodel::{Class, Edition, Holds, Prop, row_of};
use crate::model::{Element, Key, Literal, Model};
use crate::resolver::Resolver;
use std::collections::{HashMap, HashSet};

impl PropRef {
    /// How errors name the property.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Own(prop) => prop.name(),
            Self::Extra(prop) => vocabulary().prop_uri(prop),
        }
    }
}

impl Walk<'_> {
    /// Finds what is referred to: in the texts, among the standard elements, with the resolver.
    pub(crate) fn resolve(&mut self, resolver: &mut dyn Resolver) -> Result<(), Stop> {
        let mut seen = 0;
        for call in 0.. {
            let missing = self.missing(seen)?;
            seen = self.references.len();
            self.errors.checkpoint()?;
            if missing.is_empty() {
                return Ok(());
            }
            let ids: Vec<Dtmi> = missing.iter().map(|key| self.model.id(*key).clone()).collect();
            if call == self.options.resolver_calls_max {
                let max = self.options.resolver_calls_max;
                return self.refuse(DtdlError::TooLarge { what: "calls of the resolver", max });
            }
            let Some(texts) = resolver.resolve(&ids) else { return self.refuse(DtdlError::Unresolved(ids)) };
            self.lenient = self.options.tolerate_solecisms_in_resolve;
            self.texts(&texts)?;
            let unresolved: Vec<Dtmi> = ids
                .into_iter()
                .filter(|id| self.model.find(id.as_str()).is_none_or(|key| self.model.get(key).is_none()))
                .collect();
            if !unresolved.is_empty() {
                return self.refuse(DtdlError::Unresolved(unresolved));
            }
        }
        Ok(())
    }

    /// What the references from this one on refer to and nobody has.
    fn missing(&mut self, from: usize) -> Result<Vec<Key>, Stop> {
        let mut missing = Vec::new();
        let mut seen = HashSet::new();
        for number in from..self.references.len() {
            let Reference { from, prop, to, by_term, .. } = self.references[number];
            if self.model.get(to).is_some() || self.take_in_standard(to)? {
                continue;
            }
            let id = self.model.id(to);
            let error = |name: E| ParsingError::new(name).on(self.model.id(from)).and(id).property(prop.name());
            if by_term {
                let error = error(E::BadType);
                self.errors.add(error);
            } else if Vocabulary::is_reserved(id.as_str()) {
                let error = error(E::UndefinedReservedId);
                self.errors.add(error);
            } else if seen.insert(to) {
                missing.push(to);
            }
        }
        Ok(missing)
    }

    /// Takes a standard element into the model with all it refers to; false if it is none.
    fn take_in_standard(&mut self, key: Key) -> Result<bool, Stop> {
        let id = Dtmi::trusted(standard::canonical(self.model.id(key).as_str()));
        let mut open = vec![id];
        let mut any = false;
        while let Some(id) = open.pop() {
            let key = self.key_of(&id)?;
            if self.model.get(key).is_some() {
                any = true;
                continue;
            }
            let Some(found) = standard::element(id.as_str()) else { return Ok(any) };
            any = true;
            open.extend(found.links.iter().flat_map(|(_, ids)| ids).map(|id| Dtmi::trusted(id.as_str())));
            let element = self.standard(&found);
            self.model.put(key, element);
        }
        Ok(any)
    }

    fn standard(&mut self, of: &Standard) -> Element {
        let edition = Edition::of(of.version.into()).unwrap_or(Edition::V2);
        let mut element = Element::new(of.class, of.version, edition);
        element.child_of = of.child_of.as_deref().map(|id| self.model.key(&Dtmi::trusted(id)));
        element.types = of.of_type.as_deref().and_then(|uri| vocabulary().type_id(uri)).into_iter().collect();
        if let Some(name) = of.name {
            element.set(Prop::Name, Literal::Text(name.into()));
        }
        if let Some(value) = &of.value {
            element.set(Prop::EnumValue, Literal::Text(value.as_str().into()));
        }
        for (prop, ids) in &of.links {
            for id in ids {
                element.add_link(*prop, self.model.key(&Dtmi::trusted(id.as_str())));
            }
        }
        element
    }

    /// Joins all references; what a property cannot have is noted.
    pub(crate) fn link(&mut self) {
        let mut names = Names::new();
        for number in 0..self.references.len() {
            let found = join(&mut self.model, &mut names, &self.references[number]);
            for error in found {
                self.errors.add(error);
            }
        }
        for number in 0..self.constraints.len() {
            self.constraints[number].element = resolved(&self.model, self.constraints[number].element);
        }
    }
}

/// The element a reference means: primitive schemas have several identifiers.
pub(crate) fn resolved(model: &Model, key: Key) -> Key {
    match standard::canonical(model.id(key).as_str()) {
        std::borrow::Cow::Owned(id) => model.find(&id).unwrap_or(key),
        std::borrow::Cow::Borrowed(_) => key,
    }
}

/// What elements have under a name, where they keep others by name.
type Names = HashMap<(Key, Box<str>), Key>;

/// Joins two elements; the errors say why not.
fn join(model: &mut Model, names: &mut Names, reference: &Reference) -> Vec<ParsingError> {
    let mut errors = Vec::new();
    let to = resolved(model, reference.to);
    let (Some(source), Some(target)) = (model.get(reference.from), model.get(to)) else { return errors };
    let pair = Pair { model, reference, source, target };
    errors.extend(pair.across_interfaces());
    if let Some(row) = reference.row {
        let (Holds::One(expected) | Holds::Many(expected)) = row.holds else { return errors };
        if !target.class.is(expected) {
            errors.push(pair.error(E::BadType).value(target.class.name()));
            return errors;
        }
        if !row.allows_version(source.version, target.version) {
            errors.push(pair.error(E::DisallowedVersionReference).value(target.version.to_string()));
        }
    }
    errors.extend(pair.wrong_parent());
    let PropRef::Own(prop) = reference.prop else { return errors };
    if row_of(source.class, source.version, prop).is_some_and(|row| row.keyed) {
        // What is kept by name has one: an element without is refused where it is walked.
        let Some(name) = target.name() else { return errors };
        if let Some(first) = names.insert((reference.from, name.into()), to) {
            if first != to {
                let error = ParsingError::new(E::NonUniquePropertyValue).on(model.id(reference.from));
                errors.push(error.property(prop.name()).value(name));
            }
            return errors;
        }
    }
    if let Some(source) = model.get_mut(reference.from) {
        source.add_link(prop, to);
    }
    errors
}

/// Two elements that are to be joined.
struct Pair<'a> {
    model: &'a Model,
    reference: &'a Reference,
    source: &'a Element,
    target: &'a Element,
}

impl Pair<'_> {
    fn error(&self, name: E) -> ParsingError {
        let error = ParsingError::new(name).on(self.model.id(self.reference.from));
        error.property(self.reference.prop.name()).and(self.model.id(self.reference.to))
    }

    /// Only interfaces are referred to from elsewhere; what is in one is its own.
    fn across_interfaces(&self) -> Option<ParsingError> {
        if self.target.class == Class::Interface {
            return None;
        }
        let own = match self.source.defined_in {
            Some(interface) if self.source.class != Class::Interface => interface,
            _ => self.reference.from,
        };
        let other = self.target.defined_in.filter(|other| *other != own)?;
        Some(self.error(E::CrossPartitionReference).value(self.model.id(other).as_str()))
    }

    /// A unit is one of the enumeration that its quantity has.
    fn wrong_parent(&self) -> Option<ParsingError> {
        let parent = self.reference.child_of?;
        let own = self.target.child_of.map(|key| self.model.id(key).as_str());
        let relation = || own.map_or("top-level element".to_owned(), |id| format!("child of {id}"));
        (own != Some(parent)).then(|| self.error(E::WrongParent).value(relation()))
    }
}
