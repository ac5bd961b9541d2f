//! The properties of an object: those of its class, those of its types, and unknown ones.

use super::literals::{At, IdRule, TextRule};
use super::{Place, Walk};
use crate::context::ActiveContext;
use crate::document::{Node, Property};
use crate::dtmi::Dtmi;
use crate::error::{ErrorName as E, ParsingError, Stop};
use crate::metamodel::vocabulary::TypeId;
use crate::metamodel::{Class, Holds, Prop, Row, row_named, rows};
use crate::model::{Element, Key, Literal};

/// The object whose properties are read.
pub(crate) struct Subject<'a> {
    pub(crate) context: &'a ActiveContext,
    pub(crate) key: Key,
    pub(crate) id: &'a Dtmi,
    /// All its types of extensions, whether the class allows them or not.
    pub(crate) types: &'a [TypeId],
}

impl Walk<'_> {
    pub(crate) fn properties(&mut self, of: &Subject<'_>, node: &Node<'_>, element: &mut Element) -> Result<(), Stop> {
        let (class, version) = (element.class, element.version);
        let mut given: Vec<Prop> = Vec::new();
        let mut extras = Vec::new();
        for property in &node.properties {
            if let Some(row) = row_named(class, version, property.name) {
                if given.contains(&row.prop) {
                    self.twice(of.id, row.prop.name());
                } else {
                    given.push(row.prop);
                    self.property(of, row, property, element)?;
                }
            } else if !self.supplemental(of, property, element, &mut extras)? {
                self.unknown_property(of, node, property, element);
            }
        }
        self.check_missing(of, class, version, &given);
        self.check_missing_extras(of.id, of.types, &extras)
    }

    pub(crate) fn twice(&mut self, id: &Dtmi, name: &str) {
        self.errors.add(ParsingError::new(E::DuplicatePropertyName).on(id).property(name));
    }

    /// One property of the metamodel.
    fn property(
        &mut self,
        of: &Subject<'_>,
        row: &'static Row,
        property: &Property<'_>,
        element: &mut Element,
    ) -> Result<(), Stop> {
        let edition = of.context.edition();
        let at = At { id: of.id, property: row.prop.name(), context: of.context };
        let (values, min) = (property.values.as_slice(), edition.pick(&row.min));
        let length = edition.pick(&row.length);
        let literal = match row.holds {
            Holds::Text => {
                let rule = TextRule { length, pattern: row.pattern };
                self.text(at, values, min, rule).map(|text| Literal::Text(text.into()))
            }
            Holds::LangText => {
                let texts = self.lang_text(at, values, property.plural, length);
                (!texts.is_empty()).then(|| Literal::Lang(texts.into()))
            }
            Holds::Flag => self.flag(at, values, min).map(Literal::Flag),
            Holds::Int => self.integer(at, values, min, row.bounds(edition)).map(Literal::Int),
            Holds::Literal => self.literal(at, values),
            Holds::Identifier => {
                let rule = IdRule { length, otherwise: E::IdentifierNotDtmi };
                self.identifier(at, values, min, rule).map(Literal::Id)
            }
            Holds::One(_) | Holds::Many(_) => {
                let defined_in =
                    if element.class == Class::Interface { Some(of.key) } else { element.defined_in.or(Some(of.key)) };
                let types = element.types.clone();
                let place = Place { parent: of.key, version: of.context.version(), types: &types, row, defined_in };
                return self.elements(of.context, property, &place);
            }
        };
        if let Some(literal) = literal {
            element.set(row.prop, literal);
        }
        Ok(())
    }

    /// A property that neither the class nor the types have.
    fn unknown_property(&mut self, of: &Subject<'_>, node: &Node<'_>, property: &Property<'_>, element: &mut Element) {
        let error = ParsingError::new(E::NoTypeThatAllows).on(of.id).property(property.name);
        if let Some(name) = why_not(of.context, property.name) {
            self.errors.add(ParsingError { name, ..error });
            return;
        }
        let has_unknown_types = element.rare.as_ref().is_some_and(|rare| !rare.unknown_types.is_empty());
        if !has_unknown_types {
            let name = if node.types.is_some() { E::NoTypeThatAllows } else { E::InferredTypeDoesNotAllow };
            self.errors.add(ParsingError { name, ..error });
            return;
        }
        let value = property.json.to_value();
        element.rare_mut().unknown_properties.push((property.name.into(), value));
    }

    fn check_missing(&mut self, of: &Subject<'_>, class: Class, version: u8, given: &[Prop]) {
        let edition = of.context.edition();
        for row in rows(class, version) {
            let required = edition.pick(&row.min) > 0;
            if required && !given.contains(&row.prop) {
                let name = match row.holds {
                    Holds::One(_) | Holds::Many(_) => E::MissingObjectProperty,
                    _ => E::MissingLiteralProperty,
                };
                self.errors.add(ParsingError::new(name).on(of.id).property(row.prop.name()));
            }
        }
    }
}

/// Why a name cannot be a property of an unknown extension; none if it can. DTDL v2 takes anything,
/// later versions only while an unknown extension is active.
fn why_not(context: &ActiveContext, name: &str) -> Option<E> {
    if context.version() == 2 {
        return None;
    }
    if context.resolve(name).is_some() {
        return context.is_complete.then_some(E::PropertyIrrelevantDtmiOrTerm);
    }
    if name.starts_with("dtmi:") {
        return Some(E::PropertyInvalidDtmi);
    }
    if name.contains(':') {
        return Some(E::PropertyNotDtmiNorTerm);
    }
    context.is_complete.then_some(E::PropertyUndefinedTerm)
}
