//! The parsed query.

use serde_json::Value;

use crate::parse::{QueryError, parse};
use crate::run::Run;

/// What a query reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// Twins of devices.
    Devices,
    /// Twins of modules.
    Modules,
    /// Per-device outcomes of jobs.
    Jobs,
}

/// A parsed query.
#[derive(Clone, PartialEq, Debug)]
pub struct Query {
    pub(crate) source: Source,
    pub(crate) top: Option<usize>,
    pub(crate) select: Select,
    pub(crate) condition: Option<Expr>,
    pub(crate) group_by: Vec<Path>,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Select {
    Whole,
    Items(Vec<Item>),
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Item {
    pub(crate) what: What,
    pub(crate) alias: Option<String>,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum What {
    Attribute(Path),
    Aggregate(Aggregate, Option<Path>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Aggregate {
    Count,
    Avg,
    Sum,
    Min,
    Max,
}

/// Names from the document's root.
pub(crate) type Path = Vec<String>;

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Expr {
    Constant(Value),
    Undefined,
    Attribute(Path),
    Not(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Compare(Comparison, Box<Expr>, Box<Expr>),
    Arithmetic(Operator, Box<Expr>, Box<Expr>),
    In { needle: Box<Expr>, list: Vec<Expr>, negated: bool },
    Call(Function, Vec<Expr>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Function {
    IsDefined,
    StartsWith,
    EndsWith,
    Contains,
    ArrayContains,
}

impl Query {
    /// Parses a query.
    ///
    /// # Errors
    /// [`QueryError`] says what was found where, and what was expected.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        parse(text)
    }

    /// What it reads.
    pub fn source(&self) -> Source {
        self.source
    }

    /// Whether it returns whole documents (`SELECT *`).
    pub fn is_whole(&self) -> bool {
        self.select == Select::Whole
    }

    /// `TOP n`.
    pub fn top(&self) -> Option<usize> {
        self.top
    }

    /// Begins a page of at most `page` items.
    pub fn start(&self, page: usize) -> Run<'_> {
        Run::new(self, page)
    }
}
