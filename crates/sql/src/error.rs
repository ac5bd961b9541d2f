//! What is wrong with a statement, as PostgreSQL says it: a state of five characters, a message, a place.

use std::fmt;

/// A state of the standard (or of PostgreSQL).
pub mod state {
    #![expect(missing_docs, reason = "the names are those of the PostgreSQL documentation, appendix A")]
    pub const FEATURE_NOT_SUPPORTED: &str = "0A000";
    pub const CARDINALITY_VIOLATION: &str = "21000";
    pub const NUMERIC_VALUE_OUT_OF_RANGE: &str = "22003";
    pub const INVALID_DATETIME_FORMAT: &str = "22007";
    pub const DATETIME_FIELD_OVERFLOW: &str = "22008";
    pub const DIVISION_BY_ZERO: &str = "22012";
    pub const INVALID_PARAMETER_VALUE: &str = "22023";
    pub const INVALID_TEXT_REPRESENTATION: &str = "22P02";
    pub const INVALID_REGULAR_EXPRESSION: &str = "2201B";
    pub const READ_ONLY_SQL_TRANSACTION: &str = "25006";
    pub const STATEMENT_TOO_COMPLEX: &str = "54001";
    pub const SYNTAX_ERROR: &str = "42601";
    pub const UNDEFINED_COLUMN: &str = "42703";
    pub const UNDEFINED_TABLE: &str = "42P01";
    pub const UNDEFINED_FUNCTION: &str = "42883";
    pub const UNDEFINED_OBJECT: &str = "42704";
    pub const UNDEFINED_PARAMETER: &str = "42P02";
    pub const AMBIGUOUS_COLUMN: &str = "42702";
    pub const DUPLICATE_ALIAS: &str = "42712";
    pub const GROUPING_ERROR: &str = "42803";
    pub const DATATYPE_MISMATCH: &str = "42804";
    pub const WINDOWING_ERROR: &str = "42P20";
    pub const INVALID_COLUMN_REFERENCE: &str = "42P10";
    pub const INDETERMINATE_DATATYPE: &str = "42P18";
}

/// A fault of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The state: `42703`...
    pub state: &'static str,
    /// What is wrong.
    pub message: String,
    /// Line and column of the text, both from 1, when they are known.
    pub at: Option<(u64, u64)>,
}

impl Error {
    /// A fault whose place nobody knows yet.
    pub fn new(state: &'static str, message: impl Into<String>) -> Error {
        Error { state, message: message.into(), at: None }
    }

    /// What this does not do.
    pub fn unsupported(what: impl fmt::Display) -> Error {
        Error::new(state::FEATURE_NOT_SUPPORTED, format!("{what} is not supported"))
    }

    /// With a place, unless it has one.
    #[must_use]
    pub fn or_at(mut self, span: sqlparser::tokenizer::Span) -> Error {
        if self.at.is_none() && span.start.line > 0 {
            self.at = Some((span.start.line, span.start.column));
        }
        self
    }

    /// The character of the text it is at, from 1.
    pub fn position(&self, text: &str) -> Option<usize> {
        let (line, column) = self.at?;
        let before: usize =
            text.split_inclusive('\n').take(line.checked_sub(1)? as usize).map(|line| line.chars().count()).sum();
        Some(before + column as usize)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.state, self.message)
    }
}

impl std::error::Error for Error {}

/// What most functions here return.
pub type Result<T> = std::result::Result<T, Error>;
