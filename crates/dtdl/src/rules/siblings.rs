//! Rules of types about other elements of the same parent: fields of a result, annotations of a
//! value, overrides of a property, numbers that must differ.

use super::Found;
use crate::error::{ERRORS_MAX, ErrorName as E, ParsingError};
use crate::metamodel::vocabulary::{ExtraProp, Rule, TypeId, vocabulary};
use crate::metamodel::{Class, Prop, rows};
use crate::model::{Element, Key, Literal, Model};
use crate::parse::{Constraint, Needs};
use std::collections::{HashMap, HashSet};

/// Which elements have an element, and in which property.
type Parents = HashMap<Key, Vec<(Key, Prop)>>;

pub(super) fn check(model: &Model, constraints: &[Constraint], found: &mut Found) {
    let parents = parents(model);
    let mut families = Families { model, known: HashMap::new() };
    let mut overridden = HashSet::new();
    for (key, element) in model.all().filter(|(_, element)| !element.types.is_empty()) {
        for &(parent, prop) in parents.get(&key).map_or(&[][..], Vec::as_slice) {
            if found.is_full() {
                return;
            }
            let children = families.of(parent, prop);
            let mut member = Member { model, key, element, parent, prop, children, overridden: &mut overridden };
            for of in &element.types {
                for rule in vocabulary().lineage(*of).flat_map(|of| &of.rules) {
                    member.check(*of, rule, found);
                }
                member.check_unique(*of, found);
            }
        }
    }
    for constraint in constraints {
        if let Needs::Rule(Rule::Overrides { by, overrides, .. }) = constraint.needs {
            for &(parent, prop) in parents.get(&constraint.parent).map_or(&[][..], Vec::as_slice) {
                check_schema_of_override(model, constraint, (*by, *overrides), families.of(parent, prop), found);
            }
        }
    }
}

/// The parents of all elements that have types, each once.
fn parents(model: &Model) -> Parents {
    let mut parents = Parents::new();
    for (key, element) in model.all() {
        let inherited = model.inherited(key).map(|content| (Prop::Contents, content));
        for (prop, child) in element.linked().chain(inherited) {
            if model.get(child).is_some_and(|child| !child.types.is_empty()) {
                let of = parents.entry(child).or_default();
                if of.last() != Some(&(key, prop)) {
                    of.push((key, prop));
                }
            }
        }
    }
    parents
}

/// The children of parents, each parent looked at once.
struct Families<'a> {
    model: &'a Model,
    known: HashMap<(Key, Prop), Children<'a>>,
}

/// The children in one property, by what rules look for.
#[derive(Default)]
struct Children<'a> {
    by_name: HashMap<&'a str, Key>,
    by_type: HashMap<TypeId, Vec<Key>>,
    by_value: HashMap<(ExtraProp, String), Vec<Key>>,
}

impl<'a> Families<'a> {
    fn of(&mut self, parent: Key, prop: Prop) -> &Children<'a> {
        let model = self.model;
        self.known.entry((parent, prop)).or_insert_with(|| Children::of(model, parent, prop))
    }
}

impl<'a> Children<'a> {
    fn of(model: &'a Model, parent: Key, prop: Prop) -> Self {
        let inherited = (prop == Prop::Contents).then(|| model.inherited(parent)).into_iter().flatten();
        let own = model.get(parent).map_or(&[][..], |element| element.links(prop));
        let mut children = Self::default();
        let mut seen = HashSet::new();
        for key in own.iter().copied().chain(inherited).filter(|key| seen.insert(*key)) {
            let Some(element) = model.get(key) else { continue };
            if let Some(name) = element.name() {
                children.by_name.entry(name).or_insert(key);
            }
            for of in &element.types {
                children.by_type.entry(*of).or_default().push(key);
            }
            for (prop, value) in element.extras() {
                children.by_value.entry((*prop, value.shown())).or_default().push(key);
            }
        }
        children
    }

    fn with_type(&self, of: TypeId) -> &[Key] {
        self.by_type.get(&of).map_or(&[], Vec::as_slice)
    }
}

fn text(element: &Element, prop: ExtraProp) -> Option<&str> {
    element.extra(prop)?.as_text()
}

/// An override: its parent, the property it is in, what it annotates and overrides.
type Override = (Key, Prop, String, String);

/// An element among the children of one of its parents.
struct Member<'a> {
    model: &'a Model,
    key: Key,
    element: &'a Element,
    parent: Key,
    prop: Prop,
    children: &'a Children<'a>,
    overridden: &'a mut HashSet<Override>,
}

impl Member<'_> {
    fn error(&self, name: E) -> ParsingError {
        ParsingError::new(name).on(self.model.id(self.key))
    }

    fn check(&mut self, of: TypeId, rule: &Rule, found: &mut Found) {
        match rule {
            Rule::FieldOf { parents, beside } if self.prop == Prop::Fields => {
                self.check_field(of, parents, *beside, found);
            }
            Rule::Annotates { by, of: classes, never } => self.check_annotation(*by, classes, Some(*never), found),
            Rule::Overrides { by, overrides, of: classes } => {
                self.check_override(*by, *overrides, found);
                self.check_annotation(*by, classes, None, found);
            }
            _ => {}
        }
    }

    fn check_field(&self, of: TypeId, parents: &[TypeId], beside: Option<TypeId>, found: &mut Found) {
        let has = |key: Key, of: TypeId| self.model.get(key).is_some_and(|element| element.types.contains(&of));
        let place = self.prop.name();
        if !parents.iter().any(|of| has(self.parent, *of)) {
            found.add(self.error(E::ParentMissingCotype).property(place));
        }
        for other in self.others(self.children.with_type(of)).take(ERRORS_MAX) {
            let (mut first, mut second) = (self.model.id(self.key), self.model.id(other));
            if second < first {
                std::mem::swap(&mut first, &mut second);
            }
            found.add(ParsingError::new(E::SiblingDuplicatesCotype).on(first).and(second).property(place));
        }
        if beside.is_some_and(|of| self.others(self.children.with_type(of)).next().is_none()) {
            found.add(self.error(E::SiblingMissingCotype).property(place));
        }
    }

    fn others(&self, of: &[Key]) -> impl Iterator<Item = Key> {
        of.iter().copied().filter(|other| *other != self.key)
    }

    /// What an annotation annotates is of one of the classes and has not the type.
    fn check_annotation(&self, by: ExtraProp, classes: &[Class], never: Option<TypeId>, found: &mut Found) {
        let Some((name, target)) = self.annotated(by) else { return };
        let Some(element) = self.model.get(target) else { return };
        let error = |error: E| {
            let term = vocabulary().term(vocabulary().prop_uri(by));
            self.error(error).property(term).and(self.model.id(target)).value(name)
        };
        if !classes.iter().any(|class| element.class.is(*class)) {
            found.add(error(E::NotSiblingRequiredType));
        }
        if never.is_some_and(|never| element.types.iter().any(|of| vocabulary().is(*of, never))) {
            found.add(error(E::DisallowedType));
        }
    }

    fn annotated(&self, by: ExtraProp) -> Option<(&str, Key)> {
        let name = text(self.element, by)?;
        Some((name, *self.children.by_name.get(name)?))
    }

    /// A property of a type of the sibling is overridden, and but once.
    fn check_override(&mut self, by: ExtraProp, overrides: ExtraProp, found: &mut Found) {
        let Some(Literal::Id(path)) = self.element.extra(overrides) else { return };
        let Some((name, target)) = self.annotated(by) else { return };
        let (name, target_id) = (name.to_owned(), self.model.id(target));
        let uri = vocabulary().prop_uri(overrides);
        let path_term = vocabulary().term(path.as_str());
        if !self.overridden.insert((self.parent, self.prop, name.clone(), path.to_string())) {
            let error = ParsingError::new(E::MultipleReference).on(self.model.id(self.parent));
            let value = format!("'{name}' and '{path_term}'");
            found.add(error.property(self.prop.name()).and(&crate::Dtmi::trusted(uri)).value(value));
        }
        let Some(element) = self.model.get(target) else { return };
        if owner_of(element, path.as_str()).is_none() {
            let own = rows(element.class, element.version).any(|row| row.prop.name() == path_term);
            let known = own || path_term == "languageMajorVersion";
            let error = if known { E::MatchingPropertyNotSupplemental } else { E::NoMatchingSupplementalProperty };
            let term = vocabulary().term(vocabulary().prop_uri(by));
            found.add(self.error(error).property(term).and(target_id).value(name));
        }
    }

    /// Siblings differ in some properties of their types.
    fn check_unique(&self, of: TypeId, found: &mut Found) {
        for prop in vocabulary().get(of).props.iter().filter(|prop| prop.row.unique) {
            let Some(value) = self.element.extra(prop.id) else { continue };
            let same = self.children.by_value.get(&(prop.id, value.shown())).map_or(&[][..], Vec::as_slice);
            for _ in self.others(same).take(ERRORS_MAX) {
                let error = ParsingError::new(E::NonUniquePropertyValue).on(self.model.id(self.parent));
                found.add(error.property(self.prop.name()).value(value.shown()));
            }
        }
    }
}

/// The type of an element that has a property itself.
fn owner_of(element: &Element, uri: &str) -> Option<TypeId> {
    let prop = vocabulary().prop(uri)?;
    element.types.iter().copied().find(|of| vocabulary().get(*of).props.iter().any(|p| p.id == prop))
}

/// The schema of an override is where the property it overrides has its values from.
fn check_schema_of_override(
    model: &Model,
    constraint: &Constraint,
    (by, overrides): (ExtraProp, ExtraProp),
    children: &Children<'_>,
    found: &mut Found,
) {
    let Some(element) = model.get(constraint.parent) else { return };
    let (Some(name), Some(Literal::Id(path))) = (text(element, by), element.extra(overrides)) else { return };
    let Some(target) = children.by_name.get(name).and_then(|key| model.get(*key)) else { return };
    let Some(of) = owner_of(target, path.as_str()) else { return };
    let row = vocabulary().prop(path.as_str()).and_then(|prop| vocabulary().prop_in(of, prop));
    let actual = model.id(constraint.element).as_str();
    if row.and_then(|row| row.child_of) != Some(actual) {
        let error = ParsingError::new(E::SiblingPropertyMismatch).on(model.id(constraint.parent));
        found.add(error.property(constraint.prop.name()).value(vocabulary().term(actual)));
    }
}
