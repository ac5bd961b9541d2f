//! Properties that types of extensions add to an element.

use super::literals::{At, IdRule, TextRule};
use super::properties::Subject;
use super::{Constraint, Needs, PropRef, Reference, Walk};
use crate::document::{Property, Value};
use crate::dtmi::Dtmi;
use crate::error::{ErrorName as E, ParsingError, Stop};
use crate::metamodel::extensions::{Kind, PropertyRow};
use crate::metamodel::vocabulary::{ExtensionProp, ExtraProp, TypeId, vocabulary};
use crate::model::{Element, Literal};

impl Walk<'_> {
    /// Reads a property if one of the element's types has it; false if none does.
    pub(crate) fn supplemental(
        &mut self,
        of: &Subject<'_>,
        property: &Property<'_>,
        element: &mut Element,
        given: &mut Vec<ExtraProp>,
    ) -> Result<bool, Stop> {
        let Some(prop) = of.context.resolve(property.name).and_then(|uri| vocabulary().prop(uri)) else {
            return Ok(false);
        };
        let Some(row) = of.types.iter().find_map(|id| vocabulary().prop_in(*id, prop)) else {
            return Ok(false);
        };
        let uri = vocabulary().prop_uri(prop);
        if given.contains(&prop) {
            self.twice(of.id, vocabulary().term(uri));
            return Ok(true);
        }
        given.push(prop);
        if matches!(row.row.kind, Kind::Unit(_) | Kind::Element(_)) {
            self.extra_element(of, property, row, element)?;
            return Ok(true);
        }
        let at = At { id: of.id, property: uri, context: of.context };
        if let Some(literal) = self.extra_literal(at, property.values.as_slice(), &row.row) {
            element.rare_mut().extras.push((prop, literal));
        }
        Ok(true)
    }

    fn extra_literal(&mut self, at: At<'_>, values: &[Value<'_>], row: &PropertyRow) -> Option<Literal> {
        let min = u32::from(!row.optional);
        match row.kind {
            Kind::Text => {
                let rule = TextRule { length: row.length, pattern: row.pattern };
                self.text(at, values, min, rule).map(|text| Literal::Text(text.into()))
            }
            Kind::Int => self.integer(at, values, min, (row.min, None)).map(Literal::Int),
            Kind::Decimal => self.number(at, values, min).map(Literal::Decimal),
            Kind::Duration => self.duration(at, values, min).map(|text| Literal::Text(text.into())),
            Kind::Identifier => {
                let rule = IdRule { length: u32::MAX, otherwise: E::IdentifierNotUri };
                self.identifier(at, values, min, rule).map(Literal::Id)
            }
            Kind::Unit(_) | Kind::Element(_) => None,
        }
    }

    /// A property whose value is an element, such as a unit: always a reference.
    fn extra_element(
        &mut self,
        of: &Subject<'_>,
        property: &Property<'_>,
        row: &'static ExtensionProp,
        element: &mut Element,
    ) -> Result<(), Stop> {
        let term = vocabulary().term(vocabulary().prop_uri(row.id));
        let error = |name: E| ParsingError::new(name).on(of.id).property(term);
        let mut found = false;
        for value in &property.values {
            if found {
                self.errors.add(error(E::ObjectMultipleValues));
                return Ok(());
            }
            let text = match value {
                Value::Text(text) => *text,
                Value::Node(node) => {
                    let lenient = self.lenient && of.context.version() == 2;
                    match (node.members, node.id, row.row.kind) {
                        (1, Some(id), Kind::Unit(_)) if lenient => id,
                        (1, Some(id), Kind::Unit(_)) => {
                            self.errors.add(error(E::IdReference).value(id));
                            continue;
                        }
                        _ => {
                            self.errors.add(error(E::RefObjectNotAllowed));
                            continue;
                        }
                    }
                }
                _ => {
                    self.errors.add(error(E::RefNotStringOrObject));
                    continue;
                }
            };
            let Some(uri) = of.context.resolve(text) else {
                self.errors.add(error(E::BadDtmiOrTerm).value(text));
                continue;
            };
            self.refer_extra(of, row, uri, element)?;
            found = true;
        }
        if !found && !row.row.optional {
            self.errors.add(error(E::ObjectCountBelowMin));
        }
        Ok(())
    }

    fn refer_extra(
        &mut self,
        of: &Subject<'_>,
        row: &'static ExtensionProp,
        uri: &str,
        element: &mut Element,
    ) -> Result<(), Stop> {
        let to = self.key_of(&Dtmi::trusted(uri))?;
        let prop = PropRef::Extra(row.id);
        self.references.push(Reference { from: of.key, prop, to, row: None, by_term: false, child_of: row.child_of });
        if let Some(need) = row.needs {
            self.constraints.push(Constraint { parent: of.key, prop, element: to, needs: Needs::One(need) });
        }
        element.rare_mut().extras.push((row.id, Literal::Element(to)));
        Ok(())
    }

    /// Types require some of their properties; without them there is nothing to go on with.
    pub(crate) fn check_missing_extras(
        &mut self,
        id: &Dtmi,
        types: &[TypeId],
        given: &[ExtraProp],
    ) -> Result<(), Stop> {
        for prop in types.iter().flat_map(|of| &vocabulary().get(*of).props) {
            if prop.row.optional || given.contains(&prop.id) {
                continue;
            }
            let name = match prop.row.kind {
                Kind::Identifier => E::MissingSupplementalIdentifierProperty,
                Kind::Unit(_) | Kind::Element(_) => E::MissingSupplementalObjectProperty,
                _ => E::MissingSupplementalLiteralProperty,
            };
            let term = vocabulary().term(vocabulary().prop_uri(prop.id));
            return self.errors.stop(ParsingError::new(name).on(id).property(term));
        }
        Ok(())
    }
}
