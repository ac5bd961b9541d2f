//! The types of an object: one class of the metamodel, and types of extensions beside it.

use super::literals::length;
use super::{Place, Walk};
use crate::context::ActiveContext;
use crate::document::Node;
use crate::dtmi::Dtmi;
use crate::error::{ErrorName as E, ParsingError};
use crate::metamodel::table::limits;
use crate::metamodel::vocabulary::{TypeId, TypeKind, vocabulary};
use crate::metamodel::{Class, Holds};

/// What the types of an object are.
pub(crate) struct Types {
    pub(crate) class: Class,
    /// Types of extensions that the class and version allow.
    pub(crate) fitting: Vec<TypeId>,
    /// All types of extensions. Those that do not fit are errors, but their properties are read.
    pub(crate) given: Vec<TypeId>,
    pub(crate) unknown: Vec<Box<str>>,
}

/// How long the identifier of an interface may be.
fn interface_id_len_max(context: &ActiveContext) -> usize {
    context.edition().pick(&limits::INTERFACE_ID_LEN) as usize
}

/// What one type string turned out to be.
enum Found {
    Class(Class),
    Type(TypeId),
    Unknown,
    /// An error, which has been noted.
    Wrong,
}

impl Walk<'_> {
    /// The types of an object; none if it is no element its place can have.
    pub(crate) fn types(
        &mut self,
        context: &ActiveContext,
        id: &Dtmi,
        node: &Node<'_>,
        place: Option<&Place<'_>>,
    ) -> Option<Types> {
        let expected = place.map_or(Class::Entity, |place| match place.row.holds {
            Holds::One(class) | Holds::Many(class) => class,
            _ => Class::Entity,
        });
        let inferred = [expected.name()];
        let given = match node.types.as_deref() {
            Some(types) => types,
            None if place.is_some_and(|place| place.row.inferred) => &inferred,
            None => {
                self.bad_type(id, place, None);
                return None;
            }
        };
        let (mut classes, mut types, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
        let mut wrong = false;
        for name in given {
            match self.type_string(context, id, name, expected, place) {
                Found::Class(class) if !classes.contains(&class) => classes.push(class),
                Found::Type(of) if !types.contains(&of) => types.push(of),
                Found::Unknown => unknown.push((*name).into()),
                Found::Wrong => wrong = true,
                Found::Class(_) | Found::Type(_) => {}
            }
        }
        if wrong {
            return None;
        }
        let [class] = classes.as_slice() else {
            self.not_one_class(id, &classes, place);
            return None;
        };
        if *class == Class::Interface && length(id.as_str()) > interface_id_len_max(context) {
            self.errors.add(ParsingError::new(E::IdTooLongForType).value(id.as_str()));
        }
        Some(Types { class: *class, fitting: self.fitting(context, id, *class, &types), given: types, unknown })
    }

    fn bad_type(&mut self, id: &Dtmi, place: Option<&Place<'_>>, name: Option<&str>) {
        let mut error = self.error_at(E::BadType, place).and(id);
        error.value = name.map(str::to_owned);
        self.errors.add(error);
    }

    fn not_one_class(&mut self, id: &Dtmi, classes: &[Class], place: Option<&Place<'_>>) {
        if classes.is_empty() {
            self.bad_type(id, place, None);
        } else {
            let names: Vec<_> = classes.iter().map(|class| class.name()).collect();
            self.errors.add(ParsingError::new(E::MultipleMaterialTypes).on(id).value(names.join(" and ")));
        }
    }

    fn type_string(
        &mut self,
        context: &ActiveContext,
        id: &Dtmi,
        name: &str,
        expected: Class,
        place: Option<&Place<'_>>,
    ) -> Found {
        let fits = |class: &Class| {
            class.is(expected) && !class.is_abstract() && (!class.is_elemental() || expected == Class::Entity)
        };
        if let Some(class) = Class::named(name, context.version()).filter(fits) {
            return Found::Class(class);
        }
        if Class::is_class_name(name) {
            self.bad_type(id, place, Some(name));
            return Found::Wrong;
        }
        let Some(uri) = context.resolve(name) else { return self.unresolved_type(context, id, name) };
        let Some(of) = vocabulary().type_id(uri) else {
            if context.is_complete {
                return self.wrong_type(E::TypeIrrelevantDtmiOrTerm, id, name);
            }
            return Found::Unknown;
        };
        match vocabulary().get(of).kind {
            TypeKind::Abstract => {
                self.errors.add(ParsingError::new(E::AbstractSupplementalType).on(id));
                Found::Wrong
            }
            TypeKind::Unit => {
                self.bad_type(id, place, Some(name));
                Found::Wrong
            }
            TypeKind::Semantic | TypeKind::Adjunct => Found::Type(of),
        }
    }

    fn wrong_type(&mut self, error: E, id: &Dtmi, name: &str) -> Found {
        self.errors.add(ParsingError::new(error).on(id).value(name));
        Found::Wrong
    }

    /// A type that is neither term nor valid identifier. DTDL v2 takes anything for a type of an
    /// extension, later versions only while an unknown extension is active.
    fn unresolved_type(&mut self, context: &ActiveContext, id: &Dtmi, name: &str) -> Found {
        if name.starts_with("dtmi:") {
            self.wrong_type(E::TypeInvalidDtmi, id, name)
        } else if context.version() == 2 {
            Found::Unknown
        } else if name.contains(':') {
            self.wrong_type(E::TypeNotDtmiNorTerm, id, name)
        } else if context.is_complete {
            self.wrong_type(E::TypeUndefinedTerm, id, name)
        } else {
            Found::Unknown
        }
    }

    /// The types of extensions that the class and version allow; the others are noted.
    fn fitting(&mut self, context: &ActiveContext, id: &Dtmi, class: Class, types: &[TypeId]) -> Vec<TypeId> {
        let mut fitting = Vec::new();
        for &of in types {
            let row = vocabulary().get(of);
            let beside = row.also_with.iter().any(|other| types.contains(other));
            if !beside && !row.is_on(class) {
                self.errors.add(ParsingError::new(E::InvalidCotype).on(id));
                continue;
            }
            if !beside && !row.is_in(context.version()) {
                self.errors.add(ParsingError::new(E::InvalidCotypeVersion).on(id));
                continue;
            }
            self.check_conflicts(id, &fitting, of);
            fitting.push(of);
            for _ in row.needs.iter().filter(|needed| !types.contains(needed)) {
                self.errors.add(ParsingError::new(E::MissingCocotype).on(id));
            }
        }
        fitting
    }

    /// Two types must not define the same property.
    fn check_conflicts(&mut self, id: &Dtmi, before: &[TypeId], of: TypeId) {
        let props = &vocabulary().get(of).props;
        let conflict = props
            .iter()
            .find(|prop| before.iter().any(|other| vocabulary().get(*other).props.iter().any(|p| p.id == prop.id)));
        if let Some(prop) = conflict {
            let term = vocabulary().term(vocabulary().prop_uri(prop.id));
            self.errors.add(ParsingError::new(E::ConflictingSupplementalTypes).on(id).property(term));
        }
    }
}
