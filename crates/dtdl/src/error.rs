//! Why documents are not a model.
//!
//! Three outcomes beside a model, as the reference has them: texts that are not JSON or beyond our
//! bounds, parsing errors with their names, and references to elements that nobody has.

use crate::dtmi::Dtmi;
pub use crate::error_names::ErrorName;
use std::fmt;

/// How many parsing errors are kept; there is no use in more.
pub const ERRORS_MAX: usize = 1000;

/// What the reference's identifiers of errors begin with.
pub const VALIDATION_PREFIX: &str = "dtmi:dtdl:parsingError:";

/// One thing that is wrong. The fields are those of the reference's `ParsingError`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsingError {
    /// What is wrong.
    pub name: ErrorName,
    /// The element that is wrong.
    pub primary_id: Option<Dtmi>,
    /// Another element that has to do with it.
    pub secondary_id: Option<Dtmi>,
    /// The property that is wrong.
    pub property: Option<String>,
    /// The value that is wrong.
    pub value: Option<String>,
    /// In which of the texts the error was found, from 0; none if between elements.
    pub document: Option<usize>,
}

impl ParsingError {
    pub(crate) fn new(name: ErrorName) -> Self {
        Self { name, primary_id: None, secondary_id: None, property: None, value: None, document: None }
    }

    pub(crate) fn on(mut self, id: &Dtmi) -> Self {
        self.primary_id = Some(id.clone());
        self
    }

    pub(crate) fn and(mut self, id: &Dtmi) -> Self {
        self.secondary_id = Some(id.clone());
        self
    }

    pub(crate) fn property(mut self, property: impl Into<String>) -> Self {
        self.property = Some(property.into());
        self
    }

    pub(crate) fn value(mut self, value: impl Into<String>) -> Self {
        self.value = Some(value.into());
        self
    }

    /// The identifier the reference gives the error.
    #[must_use]
    pub fn validation_id(&self) -> String {
        format!("{VALIDATION_PREFIX}{}", self.name.as_str())
    }
}

impl fmt::Display for ParsingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name.text())?;
        if let Some(property) = &self.property {
            write!(f, ", property `{property}`")?;
        }
        if let Some(value) = &self.value {
            write!(f, ", value `{value}`")?;
        }
        if let Some(id) = &self.primary_id {
            write!(f, ", element `{id}`")?;
        }
        if let Some(id) = &self.secondary_id {
            write!(f, ", with `{id}`")?;
        }
        write!(f, " ({})", self.name.as_str())
    }
}

impl std::error::Error for ParsingError {}

/// Why there is no model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DtdlError {
    /// A text is not JSON, or nested too deep.
    #[error("text {document} is not a JSON document: {message}")]
    NotJson {
        /// Which of the texts, from 0.
        document: usize,
        /// What the reader says, with line and column.
        message: String,
    },
    /// The texts are more than this crate takes on.
    #[error("{what} are beyond the bound of {max}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        max: usize,
    },
    /// The documents break rules.
    #[error("{} of the model's rules {} broken: {}", .0.len(), if .0.len() == 1 { "is" } else { "are" }, Listed(.0))]
    Parsing(Vec<ParsingError>),
    /// Elements are referred to that no document has.
    #[error("not to be found: {}", Listed(.0))]
    Unresolved(Vec<Dtmi>),
}

impl DtdlError {
    /// The parsing errors, if that is what is wrong.
    #[must_use]
    pub fn parsing_errors(&self) -> &[ParsingError] {
        match self {
            Self::Parsing(errors) => errors,
            _ => &[],
        }
    }
}

/// The first few of a list, for a message.
struct Listed<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Listed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 5;
        for (number, item) in self.0.iter().take(SHOWN).enumerate() {
            write!(f, "{}{item}", if number == 0 { "" } else { "; " })?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

/// Parsing must not go on; what is wrong has been noted.
#[derive(Debug)]
pub(crate) struct Stop;

/// Errors found so far.
#[derive(Debug, Default)]
pub(crate) struct Errors {
    list: Vec<ParsingError>,
    document: Option<usize>,
}

impl Errors {
    pub(crate) fn within(&mut self, document: Option<usize>) {
        self.document = document;
    }

    pub(crate) fn add(&mut self, mut error: ParsingError) {
        error.document = self.document;
        if self.list.len() < ERRORS_MAX {
            self.list.push(error);
        }
    }

    /// Notes an error after which nothing further can be said.
    pub(crate) fn stop<T>(&mut self, error: ParsingError) -> Result<T, Stop> {
        self.add(error);
        Err(Stop)
    }

    /// Goes on only if nothing is wrong so far.
    pub(crate) fn checkpoint(&self) -> Result<(), Stop> {
        if self.list.is_empty() { Ok(()) } else { Err(Stop) }
    }

    pub(crate) fn into_list(self) -> Vec<ParsingError> {
        self.list
    }
}
