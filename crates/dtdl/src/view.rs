//! A model as an application reads it: interfaces, what they offer, and schemas.
//!
//! Everything here borrows from the model and is as cheap as a reference. [`Node`] is any element
//! with all it has; [`Interface`], [`Content`], [`Command`], [`Data`], [`Schema`] and [`Unit`] are
//! elements whose kind is known, with the questions one asks of them.

use crate::dtmi::Dtmi;
use crate::instance::{self, Violation};
use crate::metamodel::standard;
use crate::metamodel::vocabulary::{TypeKind, vocabulary};
use crate::metamodel::{Class, Prop};
use crate::model::{Element, Key, Literal, Model};
use crate::parse::DEFAULT_LANGUAGE;

impl Model {
    /// Any element by its identifier.
    #[must_use]
    pub fn node(&self, id: &str) -> Option<Node<'_>> {
        let found = standard::canonical(id);
        Node::at(self, self.find(&found)?)
    }

    /// All elements, standard ones among them.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        self.all().map(|(key, element)| Node { model: self, key, element })
    }

    /// An interface by its identifier.
    #[must_use]
    pub fn interface(&self, id: &str) -> Option<Interface<'_>> {
        Interface::of(self.node(id)?)
    }

    /// All interfaces, in the order in which their identifiers were first seen.
    pub fn interfaces(&self) -> impl Iterator<Item = Interface<'_>> {
        self.nodes().filter_map(Interface::of)
    }
}

/// Any element of a model.
#[derive(Clone, Copy)]
pub struct Node<'m> {
    model: &'m Model,
    key: Key,
    element: &'m Element,
}

/// A value of a property.
#[derive(Clone, Copy)]
pub enum Value<'m> {
    /// A string.
    Text(&'m str),
    /// Texts by language, as pairs of language and text.
    Texts(&'m [(Box<str>, Box<str>)]),
    /// True or false.
    Flag(bool),
    /// An integer.
    Int(i32),
    /// A number.
    Decimal(f64),
    /// An identifier of something that need not be in the model.
    Id(&'m Dtmi),
    /// An element, such as a unit.
    Element(Node<'m>),
}

impl<'m> Node<'m> {
    fn at(model: &'m Model, key: Key) -> Option<Self> {
        Some(Self { model, key, element: model.get(key)? })
    }

    fn value_of(&self, literal: &'m Literal) -> Option<Value<'m>> {
        Some(match literal {
            Literal::Text(text) => Value::Text(text),
            Literal::Lang(texts) => Value::Texts(texts),
            Literal::Flag(flag) => Value::Flag(*flag),
            Literal::Int(number) => Value::Int(*number),
            Literal::Decimal(number) => Value::Decimal(*number),
            Literal::Id(id) => Value::Id(id),
            Literal::Element(key) => Value::Element(Node::at(self.model, *key)?),
        })
    }

    /// The identifier.
    #[must_use]
    pub fn id(&self) -> &'m Dtmi {
        self.model.id(self.key)
    }

    /// The class of the metamodel.
    #[must_use]
    pub fn class(&self) -> Class {
        self.element.class
    }

    /// The DTDL version the element is written in, 2 to 4.
    #[must_use]
    pub fn version(&self) -> u8 {
        self.element.version
    }

    /// The interface the element is defined in; none for standard elements and interfaces at the top.
    #[must_use]
    pub fn defined_in(&self) -> Option<&'m Dtmi> {
        self.element.defined_in.map(|key| self.model.id(key))
    }

    /// The element this one is defined in; none at the top of a document.
    #[must_use]
    pub fn child_of(&self) -> Option<&'m Dtmi> {
        self.element.child_of.map(|key| self.model.id(key))
    }

    /// The value of a property of the metamodel that holds no elements.
    #[must_use]
    pub fn value(&self, prop: Prop) -> Option<Value<'m>> {
        self.value_of(self.element.literal(prop)?)
    }

    /// The elements a property has; the contents of an interface with inherited ones.
    pub fn elements(&self, prop: Prop) -> impl Iterator<Item = Node<'m>> + use<'m> {
        let model = self.model;
        let inherited = (prop == Prop::Contents).then(|| model.inherited(self.key)).into_iter().flatten();
        self.element.links(prop).iter().copied().chain(inherited).filter_map(move |key| Node::at(model, key))
    }

    /// The types of extensions beside the class, as full identifiers.
    pub fn extension_types(&self) -> impl Iterator<Item = &'static str> + use<'m> {
        self.element.types.iter().map(|of| vocabulary().get(*of).uri)
    }

    /// The properties of extensions with full identifiers.
    pub fn extension_properties(&self) -> impl Iterator<Item = (&'static str, Value<'m>)> + use<'m> {
        let node = *self;
        self.element
            .extras()
            .iter()
            .filter_map(move |(prop, literal)| Some((vocabulary().prop_uri(*prop), node.value_of(literal)?)))
    }

    /// The value of an extension's property, by its term (`ttl`) or full identifier.
    #[must_use]
    pub fn extension_property(&self, name: &str) -> Option<Value<'m>> {
        self.extension_properties()
            .find(|(uri, _)| *uri == name || vocabulary().term(uri) == name)
            .map(|(_, value)| value)
    }

    /// Whether the element has a type, by its term (`Historized`) or full identifier; types of
    /// unknown extensions count as written.
    #[must_use]
    pub fn has_type(&self, name: &str) -> bool {
        let known = self.element.types.iter().map(|of| vocabulary().get(*of));
        known.into_iter().any(|of| of.term == name || of.uri == name) || self.unknown_types().any(|of| of == name)
    }

    /// Types of unknown extensions, as written.
    pub fn unknown_types(&self) -> impl Iterator<Item = &'m str> + use<'m> {
        self.element.rare.iter().flat_map(|rare| &rare.unknown_types).map(|name| &**name)
    }

    /// Properties of unknown extensions, as written.
    pub fn unknown_properties(&self) -> impl Iterator<Item = (&'m str, &'m serde_json::Value)> + use<'m> {
        self.element.rare.iter().flat_map(|rare| &rare.unknown_properties).map(|(name, value)| (&**name, value))
    }

    /// The programming name.
    #[must_use]
    pub fn name(&self) -> Option<&'m str> {
        self.element.name()
    }

    fn texts(&self, prop: Prop) -> &'m [(Box<str>, Box<str>)] {
        match self.element.literal(prop) {
            Some(Literal::Lang(texts)) => texts,
            _ => &[],
        }
    }

    fn text_in(&self, prop: Prop, language: &str) -> Option<&'m str> {
        let texts = self.texts(prop);
        let of = |code: &str| texts.iter().find(|(of, _)| **of == *code).map(|(_, text)| &**text);
        let broad = language.split('-').next().unwrap_or(language);
        of(language).or_else(|| of(broad)).or_else(|| of(DEFAULT_LANGUAGE)).or(texts.first().map(|(_, text)| &**text))
    }

    /// The name for people in a language (`de`, `en-US`), in the nearest there is without it, and
    /// the programming name when there is none.
    #[must_use]
    pub fn display_name(&self, language: &str) -> Option<&'m str> {
        self.text_in(Prop::DisplayName, language).or_else(|| self.name())
    }

    /// The description in a language or the nearest there is.
    #[must_use]
    pub fn description(&self, language: &str) -> Option<&'m str> {
        self.text_in(Prop::Description, language)
    }

    /// A comment of the author.
    #[must_use]
    pub fn comment(&self) -> Option<&'m str> {
        self.element.literal(Prop::Comment)?.as_text()
    }

    fn flag(&self, prop: Prop) -> bool {
        matches!(self.element.literal(prop), Some(Literal::Flag(true)))
    }

    fn linked(&self, prop: Prop) -> Option<Node<'m>> {
        Node::at(self.model, self.element.link(prop)?)
    }

    /// The schema of a telemetry, property, field or payload; a component has none but an interface.
    #[must_use]
    pub fn schema(&self) -> Option<Schema<'m>> {
        self.linked(Prop::Schema).filter(|node| node.class() != Class::Interface).map(Schema)
    }

    /// The unit of a value.
    #[must_use]
    pub fn unit(&self) -> Option<Unit<'m>> {
        self.extension_properties().find_map(|(uri, value)| match value {
            Value::Element(node) if vocabulary().term(uri) == "unit" => Some(Unit(node)),
            _ => None,
        })
    }

    /// What a value means, as a term: `Temperature`, `State`.
    #[must_use]
    pub fn semantic_type(&self) -> Option<&'static str> {
        let types = self.element.types.iter().map(|of| vocabulary().get(*of));
        types.into_iter().find(|of| of.kind == TypeKind::Semantic).map(|of| of.term)
    }

    /// What is wrong with a value of this element, a schema or what has one; nothing if it is one.
    #[must_use]
    pub fn validate(&self, value: &serde_json::Value) -> Vec<Violation> {
        instance::violations(self.model, self.key, value)
    }
}

macro_rules! is_a_node {
    ($($name:ident),+) => {
        $(impl<'m> std::ops::Deref for $name<'m> {
            type Target = Node<'m>;

            fn deref(&self) -> &Node<'m> {
                &self.0
            }
        })+
    };
}

is_a_node!(Interface, Content, Data, Schema, Unit);

/// An interface: what a device or component offers.
#[derive(Clone, Copy)]
pub struct Interface<'m>(Node<'m>);

impl<'m> Interface<'m> {
    fn of(node: Node<'m>) -> Option<Self> {
        (node.class() == Class::Interface).then_some(Self(node))
    }

    /// Everything it offers, its own first, then what it inherits.
    pub fn contents(&self) -> impl Iterator<Item = Content<'m>> + use<'m> {
        self.0.elements(Prop::Contents).map(Content)
    }

    /// What it offers under a name.
    #[must_use]
    pub fn content(&self, name: &str) -> Option<Content<'m>> {
        self.contents().find(|content| content.name() == Some(name))
    }

    /// What it offers of a kind.
    pub fn capabilities(&self, of: Capability) -> impl Iterator<Item = Content<'m>> + use<'m> {
        self.contents().filter(move |content| content.capability() == Some(of))
    }

    /// The interfaces it names as those it extends.
    pub fn extends(&self) -> impl Iterator<Item = Interface<'m>> + use<'m> {
        self.0.elements(Prop::Extends).map(Interface)
    }

    /// All interfaces above it, the nearest first.
    pub fn ancestors(&self) -> impl Iterator<Item = Interface<'m>> + use<'m> {
        let model = self.0.model;
        model.above(self.0.key).iter().filter_map(move |key| Node::at(model, *key)).map(Interface)
    }

    /// Schemas that its contents share.
    pub fn schemas(&self) -> impl Iterator<Item = Schema<'m>> + use<'m> {
        self.0.elements(Prop::Schemas).map(Schema)
    }
}

/// The kinds of contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Capability {
    /// Values a device sends.
    Telemetry,
    /// A value a device has.
    Property,
    /// Something a device does when asked.
    Command,
    /// A link to other twins.
    Relationship,
    /// An interface inside.
    Component,
}

/// One of the contents of an interface.
#[derive(Clone, Copy)]
pub struct Content<'m>(Node<'m>);

impl<'m> Content<'m> {
    /// Which kind it is; every content of a model is of one.
    #[must_use]
    pub fn capability(&self) -> Option<Capability> {
        Some(match self.0.class() {
            Class::Telemetry => Capability::Telemetry,
            Class::Property => Capability::Property,
            Class::Command => Capability::Command,
            Class::Relationship => Capability::Relationship,
            Class::Component => Capability::Component,
            _ => return None,
        })
    }

    /// Whether a property or relationship can be written.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.0.flag(Prop::Writable)
    }

    /// The interface of a component.
    #[must_use]
    pub fn component(&self) -> Option<Interface<'m>> {
        Interface::of(self.0.linked(Prop::Schema)?)
    }

    /// The payloads of a command.
    #[must_use]
    pub fn command(&self) -> Option<Command<'m>> {
        (self.0.class() == Class::Command).then_some(Command(self.0))
    }

    /// The interface a relationship points to; none for any.
    #[must_use]
    pub fn target(&self) -> Option<&'m Dtmi> {
        match self.0.element.literal(Prop::Target)? {
            Literal::Id(id) => Some(id),
            _ => None,
        }
    }

    /// How many targets a relationship has at most; none for any number.
    #[must_use]
    pub fn max_multiplicity(&self) -> Option<i32> {
        match self.0.element.literal(Prop::MaxMultiplicity)? {
            Literal::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The properties of a relationship.
    pub fn properties(&self) -> impl Iterator<Item = Content<'m>> + use<'m> {
        self.0.elements(Prop::Properties).map(Content)
    }
}

/// What a command takes and gives.
#[derive(Clone, Copy)]
pub struct Command<'m>(Node<'m>);

impl<'m> Command<'m> {
    /// What it takes.
    #[must_use]
    pub fn request(&self) -> Option<Data<'m>> {
        self.0.linked(Prop::Request).map(Data)
    }

    /// What it gives.
    #[must_use]
    pub fn response(&self) -> Option<Data<'m>> {
        self.0.linked(Prop::Response).map(Data)
    }
}

/// A named value inside of something else: a field, a payload, the values of a map.
#[derive(Clone, Copy)]
pub struct Data<'m>(Node<'m>);

impl<'m> Data<'m> {
    /// Whether a payload may be null.
    #[must_use]
    pub fn is_nullable(&self) -> bool {
        self.0.flag(Prop::Nullable)
    }
}

/// A schema: what values look like.
#[derive(Clone, Copy)]
pub struct Schema<'m>(Node<'m>);

/// A schema taken apart.
#[derive(Clone, Copy)]
pub enum SchemaKind<'m> {
    /// One of the primitive schemas.
    Primitive(Class),
    /// A list of values.
    Array(Option<Schema<'m>>),
    /// One of some values; [`Schema::values`] lists them.
    Enum,
    /// Values under names that are not known before: what is under each.
    Map(Option<Data<'m>>),
    /// Values under known names; [`Schema::fields`] lists them.
    Object,
}

impl<'m> Schema<'m> {
    /// Which kind it is.
    #[must_use]
    pub fn kind(&self) -> SchemaKind<'m> {
        match self.0.class() {
            Class::Array => SchemaKind::Array(self.0.linked(Prop::ElementSchema).map(Schema)),
            Class::Enum => SchemaKind::Enum,
            Class::Map => SchemaKind::Map(self.0.linked(Prop::MapValue).map(Data)),
            Class::Object => SchemaKind::Object,
            class => SchemaKind::Primitive(class),
        }
    }

    /// The fields of an object.
    pub fn fields(&self) -> impl Iterator<Item = Data<'m>> + use<'m> {
        self.0.elements(Prop::Fields).map(Data)
    }

    /// The values of an enumeration: each element with what stands for it on the wire.
    pub fn values(&self) -> impl Iterator<Item = (Node<'m>, Value<'m>)> + use<'m> {
        self.0.elements(Prop::EnumValues).filter_map(|node| Some((node, node.value(Prop::EnumValue)?)))
    }
}

/// A unit of measure.
#[derive(Clone, Copy)]
pub struct Unit<'m>(Node<'m>);

impl<'m> Unit<'m> {
    /// The term: `degreeCelsius`.
    #[must_use]
    pub fn term(&self) -> &'m str {
        vocabulary().term(self.0.id().as_str())
    }

    /// The symbol: `°C`.
    #[must_use]
    pub fn symbol(&self) -> Option<&'static str> {
        standard::symbol(self.term())
    }
}
