//! Documents to elements: one walk over each document, then linking, then the rules.
//!
//! `element` walks one object, `types`, `properties`, `literals`, `language` and `supplemental`
//! its parts, all of them by the tables of `metamodel`; `link` joins elements that refer to each
//! other and asks the resolver for those nobody has. Errors are collected; only what makes the
//! rest meaningless (a bad context or identifier) ends the walk, as in the reference.

mod element;
mod language;
mod link;
pub(crate) mod literals;
mod properties;
mod supplemental;
mod types;

pub use language::DEFAULT_LANGUAGE;

use crate::context::ActiveContext;
use crate::document::{self, Node, Value};
use crate::dtmi::Dtmi;
use crate::error::{DtdlError, ErrorName, Errors, ParsingError, Stop};
use crate::json::Json;
use crate::metamodel::vocabulary::{ExtraProp, Need, Rule, TypeId};
use crate::metamodel::{Prop, Row};
use crate::model::{Key, Model};
use crate::options::Options;
use crate::resolver::Resolver;
use crate::rules;

/// Reads documents under the same options, as often as wanted.
#[derive(Debug, Clone, Default)]
pub struct Parser {
    options: Options,
}

impl Parser {
    /// A parser with these options.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options }
    }

    /// The model of these texts; each is a document: an interface or an array of them.
    ///
    /// # Errors
    /// [`DtdlError::Unresolved`] names what is referred to and not in the texts, the other
    /// variants say what is wrong with them.
    pub fn parse<T: AsRef<str>>(&self, texts: &[T]) -> Result<Model, DtdlError> {
        self.parse_with(texts, &mut |_: &[Dtmi]| None::<Vec<String>>)
    }

    /// The same; what is not in the texts is asked of the resolver.
    ///
    /// # Errors
    /// As [`Parser::parse`], after the resolver has given what it has.
    pub fn parse_with<T: AsRef<str>>(&self, texts: &[T], resolver: &mut dyn Resolver) -> Result<Model, DtdlError> {
        let mut walk = Walk::new(&self.options);
        match walk.run(texts, resolver) {
            Ok(()) => {
                walk.model.finish();
                Ok(walk.model)
            }
            Err(Stop) => Err(walk.refusal()),
        }
    }
}

/// A property, of the metamodel or of an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum PropRef {
    Own(Prop),
    Extra(ExtraProp),
}

/// An element that another refers to, by name or by defining it.
pub(crate) struct Reference {
    pub(crate) from: Key,
    pub(crate) prop: PropRef,
    pub(crate) to: Key,
    /// The row of the property, if the element is referred to and must therefore be checked.
    pub(crate) row: Option<&'static Row>,
    /// Whether the reference is a term.
    pub(crate) by_term: bool,
    /// The element that the other must be defined in.
    pub(crate) child_of: Option<&'static str>,
}

/// A rule of a type on the value of a property.
#[derive(Debug)]
pub(crate) struct Constraint {
    pub(crate) parent: Key,
    pub(crate) prop: PropRef,
    pub(crate) element: Key,
    pub(crate) needs: Needs,
}

/// What a value must be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Needs {
    One(Need),
    Rule(&'static Rule),
}

/// Where an object stands that is walked.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) parent: Key,
    /// The version the parent is written in.
    pub(crate) version: u8,
    /// The types of the parent, whose rules its values obey.
    pub(crate) types: &'a [TypeId],
    pub(crate) row: &'static Row,
    /// The interface around.
    pub(crate) defined_in: Option<Key>,
}

/// The state of one parse.
pub(crate) struct Walk<'a> {
    pub(crate) options: &'a Options,
    pub(crate) model: Model,
    pub(crate) errors: Errors,
    pub(crate) references: Vec<Reference>,
    pub(crate) constraints: Vec<Constraint>,
    /// Whether widespread errors of DTDL v2 pass in the text at hand.
    pub(crate) lenient: bool,
    /// The elements that are being walked, outermost first.
    pub(crate) open: Vec<Key>,
    /// Why there is no model, if not for parsing errors.
    refused: Option<DtdlError>,
    text_bytes: usize,
}

impl<'a> Walk<'a> {
    fn new(options: &'a Options) -> Self {
        Self {
            options,
            model: Model::default(),
            errors: Errors::default(),
            references: vec![],
            constraints: vec![],
            lenient: false,
            open: vec![],
            refused: None,
            text_bytes: 0,
        }
    }

    fn run<T: AsRef<str>>(&mut self, texts: &[T], resolver: &mut dyn Resolver) -> Result<(), Stop> {
        self.lenient = self.options.tolerate_solecisms_in_parse;
        self.texts(texts)?;
        self.resolve(resolver)?;
        self.errors.within(None);
        self.link();
        self.errors.checkpoint()?;
        rules::check(self);
        self.errors.checkpoint()
    }

    fn refusal(self) -> DtdlError {
        self.refused.unwrap_or_else(|| DtdlError::Parsing(self.errors.into_list()))
    }

    /// Ends the parse for a reason that is no parsing error.
    pub(crate) fn refuse<T>(&mut self, error: DtdlError) -> Result<T, Stop> {
        self.refused = Some(error);
        Err(Stop)
    }

    fn texts<T: AsRef<str>>(&mut self, texts: &[T]) -> Result<(), Stop> {
        for (number, text) in texts.iter().enumerate() {
            self.errors.within(Some(number));
            self.text_of(number, text.as_ref())?;
            self.errors.checkpoint()?;
        }
        Ok(())
    }

    fn text_of(&mut self, document: usize, text: &str) -> Result<(), Stop> {
        self.text_bytes = self.text_bytes.saturating_add(text.len());
        if self.text_bytes > self.options.text_bytes_max {
            return self.refuse(DtdlError::TooLarge { what: "texts", max: self.options.text_bytes_max });
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let json = match Json::parse(text) {
            Ok(json) => json,
            Err(error) => return self.refuse(DtdlError::NotJson { document, message: error.to_string() }),
        };
        let values = match document::values(&json) {
            Ok(values) => values,
            Err(error) => return self.errors.stop(*error),
        };
        for value in &values {
            match value {
                Value::Node(node) => self.root(node)?,
                _ => return self.errors.stop(ParsingError::new(ErrorName::NotJsonObject)),
            }
        }
        Ok(())
    }

    /// An object at the top of a document.
    fn root(&mut self, node: &Node<'_>) -> Result<(), Stop> {
        let outer = ActiveContext::empty();
        let context = outer.child(node.context.as_deref(), self.options, &mut self.errors)?;
        if node.has_graph {
            return self.errors.stop(ParsingError::new(ErrorName::TopLevelGraphDisallowed));
        }
        let Some(id) = node.id else {
            return self.errors.stop(ParsingError::new(ErrorName::MissingTopLevelId));
        };
        let interface = format!("dtmi:dtdl:class:Interface;{}", context.version());
        if !node.types.as_ref().is_some_and(|types| types.iter().any(|name| *name == "Interface" || *name == interface))
        {
            return self.errors.stop(ParsingError::new(ErrorName::TypeNotRootable).value(id));
        }
        if context.restricts_keywords() {
            let keyword = [(node.language.is_some(), "@language"), (node.value.is_some(), "@value")]
                .into_iter()
                .find_map(|(given, keyword)| given.then_some(keyword))
                .or(node.keywords.first().copied());
            if let Some(keyword) = keyword {
                return self.errors.stop(ParsingError::new(ErrorName::TopLevelKeywordDisallowed).value(keyword));
            }
        }
        self.element(&context, node, None).map(|_| ())
    }

    /// A place for an element that is defined or referred to, within the bound on them.
    pub(crate) fn key_of(&mut self, id: &Dtmi) -> Result<Key, Stop> {
        let key = self.model.key(id);
        if self.model.identifiers() > self.options.elements_max {
            return self.refuse(DtdlError::TooLarge { what: "elements", max: self.options.elements_max });
        }
        Ok(key)
    }
}
