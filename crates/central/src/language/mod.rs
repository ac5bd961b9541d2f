//! The small languages of the application: what they have in common.
//!
//! Filters of device groups, filters of lists and questions about telemetry share their words, literals, comparisons
//! and the way conditions are put together; each of them says in a place of its own which words it has. Texts come from
//! outside: their length, the number of tests and their nesting are bounded, and an error says where it is.

pub mod compare;
pub(crate) mod condition;
mod lexer;

use std::fmt;

pub use self::condition::Condition;
pub(crate) use self::lexer::{Reader, Token};

/// What is wrong with a text, and where.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
#[error("{what} at character {at}")]
pub struct SyntaxError {
    /// Where, in characters from 1; one past the last when something is missing at the end.
    pub at: usize,
    /// What.
    pub what: String,
}

impl SyntaxError {
    pub(crate) fn new(at: usize, what: impl Into<String>) -> Self {
        Self { at, what: what.into() }
    }
}

/// A value in a text.
#[derive(Clone, PartialEq, Debug)]
pub enum Literal {
    /// Nothing.
    Null,
    /// True or false.
    Boolean(bool),
    /// An integer of 64 bits.
    Integer(i64),
    /// Any other number.
    Number(f64),
    /// A text.
    Text(String),
}

impl Literal {
    /// A value as a literal; none for lists and objects.
    pub(crate) fn of(value: &serde_json::Value) -> Option<Self> {
        use serde_json::Value;
        Some(match value {
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::Boolean(*flag),
            Value::Number(number) => match number.as_i64() {
                Some(integer) => Self::Integer(integer),
                None => Self::Number(number.as_f64()?),
            },
            Value::String(text) => Self::Text(text.clone()),
            Value::Array(_) | Value::Object(_) => return None,
        })
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Boolean(flag) => write!(f, "{flag}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}
