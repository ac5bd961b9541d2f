//! A model: the elements of documents, resolved.
//!
//! Elements are kept once, in the order their identifiers were first seen, and refer to each other
//! by place. An application keeps thousands of models, so an element has only what its document
//! said: properties are short lists, not maps, and rare things are in a box that is mostly not
//! there. `view` is how an application reads a model; this file is how it is kept.

use crate::dtmi::Dtmi;
use crate::metamodel::vocabulary::{ExtraProp, TypeId};
use crate::metamodel::{Class, Edition, Prop};
use std::collections::HashMap;
use std::num::NonZeroU32;

/// The place of an element in its model, counted from 1 so that none of it takes no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(NonZeroU32);

impl Key {
    fn nth(index: usize) -> Self {
        let number = u32::try_from(index + 1).ok().and_then(NonZeroU32::new);
        Self(number.expect("the bound on elements is far below"))
    }

    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// Everything that documents define, and the standard elements they refer to.
#[derive(Debug, Clone, Default)]
pub struct Model {
    ids: Vec<Dtmi>,
    /// Identifiers to places while the model grows.
    growing: HashMap<Dtmi, Key>,
    /// The places in the order of their identifiers, when it is done.
    sorted: Box<[Key]>,
    elements: Vec<Option<Box<Element>>>,
    count: usize,
}

/// An element as it is kept.
#[derive(Debug, Clone)]
pub(crate) struct Element {
    pub(crate) class: Class,
    /// The version it is written in.
    pub(crate) version: u8,
    /// The limits it is under.
    pub(crate) limits: Edition,
    /// The element it is defined in.
    pub(crate) child_of: Option<Key>,
    /// The interface it is defined in.
    pub(crate) defined_in: Option<Key>,
    props: Vec<(Prop, Slot)>,
    pub(crate) types: Vec<TypeId>,
    pub(crate) rare: Option<Box<Rare>>,
}

/// What few elements have.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rare {
    /// Properties of extensions.
    pub(crate) extras: Vec<(ExtraProp, Literal)>,
    /// Types nobody knows, as written.
    pub(crate) unknown_types: Vec<Box<str>>,
    /// Properties nobody knows, as written.
    pub(crate) unknown_properties: Vec<(Box<str>, serde_json::Value)>,
    /// The interfaces above an interface, nearest first.
    pub(crate) above: Vec<Key>,
}

/// What a property has. Most have one element or a literal, so only lists take more room.
#[derive(Debug, Clone)]
enum Slot {
    Literal(Literal),
    One(Key),
    #[expect(clippy::box_collection, reason = "a third of the room in every slot that is no list")]
    Many(Box<Vec<Key>>),
}

/// The value of a property that is not an element.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Literal {
    Text(Box<str>),
    Lang(Box<[(Box<str>, Box<str>)]>),
    Flag(bool),
    Int(i32),
    Decimal(f64),
    /// An identifier that need not be an element's.
    Id(Dtmi),
    /// An element, as the value of an extension's property.
    Element(Key),
}

impl Literal {
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value as the reference writes it in errors.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Text(text) => text.to_string(),
            Self::Flag(true) => "True".to_owned(),
            Self::Flag(false) => "False".to_owned(),
            Self::Int(number) => number.to_string(),
            Self::Decimal(number) => number.to_string(),
            Self::Id(id) => id.to_string(),
            Self::Lang(_) | Self::Element(_) => String::new(),
        }
    }
}

impl Slot {
    fn keys(&self) -> &[Key] {
        match self {
            Self::Literal(_) => &[],
            Self::One(key) => std::slice::from_ref(key),
            Self::Many(keys) => keys,
        }
    }
}

impl Element {
    pub(crate) fn new(class: Class, version: u8, limits: Edition) -> Self {
        Self { class, version, limits, child_of: None, defined_in: None, props: vec![], types: vec![], rare: None }
    }

    pub(crate) fn literal(&self, prop: Prop) -> Option<&Literal> {
        self.props.iter().find_map(|(of, slot)| match slot {
            Slot::Literal(literal) if *of == prop => Some(literal),
            _ => None,
        })
    }

    pub(crate) fn set(&mut self, prop: Prop, literal: Literal) {
        self.props.push((prop, Slot::Literal(literal)));
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.literal(Prop::Name)?.as_text()
    }

    /// The elements a property has.
    pub(crate) fn links(&self, prop: Prop) -> &[Key] {
        self.props.iter().find(|(of, _)| *of == prop).map_or(&[], |(_, slot)| slot.keys())
    }

    pub(crate) fn link(&self, prop: Prop) -> Option<Key> {
        self.links(prop).first().copied()
    }

    /// All elements that properties have, with the property.
    pub(crate) fn linked(&self) -> impl Iterator<Item = (Prop, Key)> {
        self.props.iter().flat_map(|(prop, slot)| slot.keys().iter().map(|key| (*prop, *key)))
    }

    /// Gives a property one more element.
    pub(crate) fn add_link(&mut self, prop: Prop, key: Key) {
        match self.props.iter_mut().find(|(of, _)| *of == prop) {
            None => self.props.push((prop, Slot::One(key))),
            Some((_, slot)) => match slot {
                Slot::One(first) => *slot = Slot::Many(Box::new(vec![*first, key])),
                Slot::Many(keys) => keys.push(key),
                Slot::Literal(_) => {}
            },
        }
    }

    pub(crate) fn extra(&self, prop: ExtraProp) -> Option<&Literal> {
        self.rare.as_ref()?.extras.iter().find(|(of, _)| *of == prop).map(|(_, literal)| literal)
    }

    pub(crate) fn extras(&self) -> &[(ExtraProp, Literal)] {
        self.rare.as_ref().map_or(&[], |rare| &rare.extras)
    }

    pub(crate) fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Gives back what growing lists have reserved.
    fn shrink(&mut self) {
        self.props.shrink_to_fit();
        for (_, slot) in &mut self.props {
            if let Slot::Many(keys) = slot {
                keys.shrink_to_fit();
            }
        }
        self.types.shrink_to_fit();
    }
}

impl Model {
    /// The place of an identifier, a new one if it has none.
    pub(crate) fn key(&mut self, id: &Dtmi) -> Key {
        if let Some(key) = self.growing.get(id) {
            return *key;
        }
        let key = Key::nth(self.ids.len());
        self.ids.push(id.clone());
        self.elements.push(None);
        self.growing.insert(id.clone(), key);
        key
    }

    /// The place of an identifier.
    pub(crate) fn find(&self, id: &str) -> Option<Key> {
        if let Some(key) = self.growing.get(id) {
            return Some(*key);
        }
        let place = self.sorted.binary_search_by(|key| self.id(*key).as_str().cmp(id)).ok()?;
        self.sorted.get(place).copied()
    }

    pub(crate) fn id(&self, key: Key) -> &Dtmi {
        &self.ids[key.index()]
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Element> {
        self.elements.get(key.index())?.as_deref()
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Element> {
        self.elements.get_mut(key.index())?.as_deref_mut()
    }

    pub(crate) fn put(&mut self, key: Key, element: Element) {
        let place = &mut self.elements[key.index()];
        self.count += usize::from(place.is_none());
        *place = Some(Box::new(element));
    }

    /// How many elements there are, standard ones among them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many identifiers there are, of elements or of what is referred to.
    pub(crate) fn identifiers(&self) -> usize {
        self.ids.len()
    }

    /// The places of all elements.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Key, &Element)> {
        self.elements.iter().enumerate().filter_map(|(index, element)| Some((Key::nth(index), element.as_deref()?)))
    }

    /// The interfaces above an interface.
    pub(crate) fn above(&self, interface: Key) -> &[Key] {
        self.get(interface).and_then(|element| element.rare.as_ref()).map_or(&[], |rare| &rare.above)
    }

    /// The contents an interface gets from those above it.
    pub(crate) fn inherited(&self, interface: Key) -> impl Iterator<Item = Key> {
        self.above(interface).iter().flat_map(|key| self.own_contents(*key)).copied()
    }

    /// The contents of an interface, its own first.
    pub(crate) fn contents(&self, interface: Key) -> impl Iterator<Item = Key> {
        self.own_contents(interface).iter().copied().chain(self.inherited(interface))
    }

    fn own_contents(&self, interface: Key) -> &[Key] {
        self.get(interface).map_or(&[], |element| element.links(Prop::Contents))
    }

    /// Gives back what only growing needs.
    pub(crate) fn finish(&mut self) {
        let mut sorted: Vec<Key> = self.growing.drain().map(|(_, key)| key).collect();
        sorted.sort_unstable_by(|a, b| self.id(*a).cmp(self.id(*b)));
        self.sorted = sorted.into();
        self.growing = HashMap::new();
        for element in self.elements.iter_mut().flatten() {
            element.shrink();
        }
        self.elements.shrink_to_fit();
        self.ids.shrink_to_fit();
    }
}
