//! One object of a document: its context, identifier, types and properties, in this order.

use super::properties::Subject;
use super::{Constraint, Needs, Place, PropRef, Reference, Walk};
use crate::context::ActiveContext;
use crate::document::{Node, Property, Value};
use crate::dtmi::Dtmi;
use crate::error::{ErrorName as E, ParsingError, Stop};
use crate::metamodel::table::limits;
use crate::metamodel::vocabulary::{Rule, TypeId, vocabulary};
use crate::metamodel::{Class, Edition, Holds, Prop, Row};
use crate::model::{Element, Key};

/// What an element is named by when it has no identifier of its own.
enum Segment {
    Name(String),
    Missing,
    NotPlain,
}

impl Walk<'_> {
    /// Walks an object; false if it is no element that its parent can have.
    pub(crate) fn element(
        &mut self,
        outer: &ActiveContext,
        node: &Node<'_>,
        place: Option<&Place<'_>>,
    ) -> Result<bool, Stop> {
        let context = outer.child(node.context.as_deref(), self.options, &mut self.errors)?;
        let lenient = self.lenient && outer.version() < 3;
        if let (1, Some(id)) = (node.members, node.id) {
            return self.id_object(&context, id, place, lenient);
        }
        self.check_object(&context, node, place);
        let id = self.id_of(&context, node, place, lenient)?;
        let key = self.key_of(&id)?;
        if self.is_defined(key, node, place, lenient) {
            return Ok(false);
        }
        let Some(types) = self.types(&context, &id, node, place) else { return Ok(false) };
        let class = types.class;
        let mut element = Element::new(class, context.version(), limits_of(outer, &context));
        element.child_of = place.map(|place| place.parent);
        element.defined_in = place.and_then(|place| place.defined_in);
        element.types = types.fitting;
        if !types.unknown.is_empty() {
            element.rare_mut().unknown_types = types.unknown;
        }
        let subject = Subject { context: &context, key, id: &id, types: &types.given };
        self.open.push(key);
        self.properties(&subject, node, &mut element)?;
        self.open.pop();
        if class == Class::Interface && node.size > context.edition().pick(&limits::INTERFACE_BYTES) as usize {
            self.errors.add(ParsingError::new(E::PartitionTooLarge).on(&id).value("Interface"));
        }
        self.model.put(key, element);
        if let Some(place) = place {
            self.refer(place, key, false, None);
        }
        Ok(true)
    }

    /// An object with nothing but an identifier: a reference, where that is tolerated.
    fn id_object(
        &mut self,
        context: &ActiveContext,
        id: &str,
        place: Option<&Place<'_>>,
        lenient: bool,
    ) -> Result<bool, Stop> {
        if lenient
            && let Some(place) = place
            && self.id_string(context, id, place)?
        {
            return Ok(true);
        }
        let name = if lenient { E::IdRefBadDtmiOrTerm } else { E::IdReference };
        let error = self.error_at(name, place).value(id);
        self.errors.add(error);
        Ok(false)
    }

    /// A reference as the value of a property; false if the text is none.
    pub(crate) fn id_string(&mut self, context: &ActiveContext, text: &str, place: &Place<'_>) -> Result<bool, Stop> {
        let Some(id) = context.resolve(text) else { return Ok(false) };
        let key = self.key_of(&Dtmi::trusted(id))?;
        self.refer(place, key, !text.starts_with("dtmi:"), Some(place.row));
        Ok(true)
    }

    /// Notes that the parent has an element, and which rules of the parent's types are on it.
    fn refer(&mut self, place: &Place<'_>, to: Key, by_term: bool, row: Option<&'static Row>) {
        let prop = PropRef::Own(place.row.prop);
        self.references.push(Reference { from: place.parent, prop, to, row, by_term, child_of: None });
        for rule in rules_on(place.types, place.row.prop) {
            self.constraints.push(Constraint { parent: place.parent, prop, element: to, needs: Needs::Rule(rule) });
        }
    }

    /// An error of the property that an object is a value of.
    pub(crate) fn error_at(&self, name: E, place: Option<&Place<'_>>) -> ParsingError {
        let error = ParsingError::new(name);
        match place {
            Some(place) => error.on(self.model.id(place.parent)).property(place.row.prop.name()),
            None => error,
        }
    }

    fn check_object(&mut self, context: &ActiveContext, node: &Node<'_>, place: Option<&Place<'_>>) {
        let mut found = Vec::new();
        if node.has_graph {
            found.push(self.error_at(E::GraphDisallowed, place));
        }
        if context.restricts_keywords() {
            for (given, keyword) in [(node.language.is_some(), "@language"), (node.value.is_some(), "@value")] {
                if given {
                    found.push(self.error_at(E::KeywordDisallowed, place).value(keyword));
                }
            }
            for keyword in &node.keywords {
                found.push(self.error_at(E::KeywordDisallowed, place).value(*keyword));
            }
        }
        if let Some(place) = place
            && !place.row.allows_version(place.version, context.version())
        {
            let error = self.error_at(E::DisallowedVersionDefinition, Some(place));
            found.push(error.value(context.version().to_string()));
        }
        for error in found {
            self.errors.add(error);
        }
    }

    /// The identifier an object has, or gets from its place.
    fn id_of(
        &mut self,
        context: &ActiveContext,
        node: &Node<'_>,
        place: Option<&Place<'_>>,
        lenient: bool,
    ) -> Result<Dtmi, Stop> {
        if let Some(id) = node.id {
            return self.own_id(context, id, lenient);
        }
        let Some(place) = place else {
            return self.errors.stop(ParsingError::new(E::MissingTopLevelId));
        };
        if place.row.needs_id {
            let error = self.error_at(E::MissingRequiredId, Some(place));
            return self.errors.stop(error);
        }
        let name = if place.row.named {
            match segment(node) {
                Segment::Name(name) => Some(name),
                Segment::Missing => {
                    let error = self.error_at(E::MissingDtmiSegPropertyValue, Some(place));
                    return self.errors.stop(error.value(Prop::Name.name()));
                }
                Segment::NotPlain => {
                    let error = self.error_at(E::DtmiSegPropertyNotStringOrNumber, Some(place));
                    return self.errors.stop(error.value(Prop::Name.name()));
                }
            }
        } else {
            None
        };
        Ok(self.model.id(place.parent).child(place.row.prop.name(), name.as_deref()))
    }

    fn own_id(&mut self, context: &ActiveContext, id: &str, lenient: bool) -> Result<Dtmi, Stop> {
        let name = if id.is_empty() {
            return self.errors.stop(ParsingError::new(E::IdNotString));
        } else if id.len() > context.edition().pick(&limits::ID_LEN) as usize {
            E::IdTooLong
        } else if !context.is_id(id) {
            E::InvalidId
        } else if !lenient && context.is_reserved(id) {
            E::ReservedId
        } else {
            return Ok(Dtmi::trusted(id));
        };
        self.errors.stop(ParsingError::new(name).value(id))
    }

    /// Whether there is an element with this identifier, or one around that is not finished; what
    /// is wrong then is noted.
    fn is_defined(&mut self, key: Key, node: &Node<'_>, place: Option<&Place<'_>>, lenient: bool) -> bool {
        if self.model.get(key).is_none() && !self.open.contains(&key) {
            return false;
        }
        let id = self.model.id(key);
        if !id.is_reserved() {
            let error = ParsingError::new(E::DuplicateDefinition).on(id);
            self.errors.add(error);
        } else if let Some(place) = place
            && !lenient
            && place.row.named
        {
            let error = self.error_at(E::NonUniquePropertyValue, Some(place));
            let name = named(node).and_then(|property| property.values.first());
            self.errors.add(match name {
                Some(Value::Text(text)) => error.value(*text),
                _ => error,
            });
        }
        true
    }

    /// The elements that a property of the metamodel has.
    pub(crate) fn elements(
        &mut self,
        context: &ActiveContext,
        property: &Property<'_>,
        place: &Place<'_>,
    ) -> Result<(), Stop> {
        let plural = matches!(place.row.holds, Holds::Many(_));
        let mut count = 0;
        for value in &property.values {
            if !plural && count > 0 {
                let error = self.error_at(E::ObjectMultipleValues, Some(place));
                self.errors.add(error);
                return Ok(());
            }
            let found = match value {
                Value::Text(text) => {
                    let found = self.id_string(context, text, place)?;
                    if !found {
                        let error = self.error_at(E::BadDtmiOrTerm, Some(place)).value(*text);
                        self.errors.add(error);
                    }
                    found
                }
                Value::Node(node) => self.element(context, node, Some(place))?,
                _ => {
                    let error = self.error_at(E::RefNotStringOrObject, Some(place));
                    self.errors.add(error);
                    false
                }
            };
            count += u32::from(found);
        }
        if count < context.edition().pick(&place.row.min) {
            let error = self.error_at(E::ObjectCountBelowMin, Some(place));
            self.errors.add(error);
        }
        Ok(())
    }
}

/// The limits an element is under: those of the object around, if that is of the same version.
fn limits_of(outer: &ActiveContext, context: &ActiveContext) -> Edition {
    let own = Edition::of(context.version().into()).unwrap_or(context.edition());
    if outer.version() == own.version() { outer.edition() } else { own }
}

/// The rules that types have on the values of a property.
fn rules_on(types: &[TypeId], prop: Prop) -> impl Iterator<Item = &'static Rule> {
    types.iter().flat_map(|id| vocabulary().lineage(*id)).flat_map(|of| &of.rules).filter(move |rule| match rule {
        Rule::Holds(on, _) | Rule::Among(on, _) => *on == prop,
        Rule::Overrides { .. } => prop == Prop::Schema,
        Rule::FieldOf { .. } | Rule::Annotates { .. } => false,
    })
}

/// The property that gives an object its name.
fn named<'n, 'd>(node: &'n Node<'d>) -> Option<&'n Property<'d>> {
    node.properties.iter().find(|property| property.name == "name" || vocabulary().term(property.name) == "name")
}

/// The name of an object as a segment of an identifier.
fn segment(node: &Node<'_>) -> Segment {
    let Some(property) = named(node) else { return Segment::Missing };
    let [value] = property.values.as_slice() else { return Segment::NotPlain };
    let value = match value {
        Value::Node(node) => match node.value.as_deref() {
            Some(value) => value,
            None => return Segment::NotPlain,
        },
        value => value,
    };
    match value {
        Value::Text(text) => Segment::Name((*text).to_owned()),
        Value::Number(number) => Segment::Name(number.to_string().replace('.', "_")),
        _ => Segment::NotPlain,
    }
}
