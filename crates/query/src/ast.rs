//! The parsed query and the parsed expression.

use serde_json::Value;

use crate::parse::QueryError;
use crate::path::Path;
use crate::run::Run;
use crate::statement;

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
    /// The key in the result: the alias, or the attribute's last name.
    pub(crate) name: String,
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

/// What an expression may name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Reference {
    /// A place in the document a query runs over.
    Document(Path),
    /// An application property of a message.
    Property(String),
    /// A system property of a message, without its `$`.
    System(String),
    /// A place in a message's JSON body.
    Body(Path),
    /// A place in the twin of a message's device.
    Twin(Path),
}

/// Chains are flat, so that a long text makes a wide tree and not a deep one.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Expr {
    Constant(Value),
    Undefined,
    Reference(Reference),
    Not(Box<Expr>),
    All(Vec<Expr>),
    Any(Vec<Expr>),
    Compare(Comparison, Box<Expr>, Box<Expr>),
    Arithmetic(Box<Expr>, Vec<(Operator, Expr)>),
    Negative(Box<Expr>),
    In { needle: Box<Expr>, list: Vec<Expr>, negated: bool },
    Call(Function, Vec<Expr>),
}

impl Expr {
    /// Hands over whatever it names, in order.
    pub(crate) fn for_each_reference<'e>(&'e self, visit: &mut impl FnMut(&'e Reference)) {
        match self {
            Self::Constant(_) | Self::Undefined => {}
            Self::Reference(reference) => visit(reference),
            Self::Not(inner) | Self::Negative(inner) => inner.for_each_reference(visit),
            Self::All(parts) | Self::Any(parts) | Self::Call(_, parts) => {
                parts.iter().for_each(|part| part.for_each_reference(visit));
            }
            Self::Compare(_, left, right) => {
                left.for_each_reference(visit);
                right.for_each_reference(visit);
            }
            Self::Arithmetic(first, rest) => {
                first.for_each_reference(visit);
                rest.iter().for_each(|(_, part)| part.for_each_reference(visit));
            }
            Self::In { needle, list, .. } => {
                needle.for_each_reference(visit);
                list.iter().for_each(|part| part.for_each_reference(visit));
            }
        }
    }
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
    IsArray,
    IsBool,
    IsNull,
    IsNumber,
    IsObject,
    IsPrimitive,
    IsString,
    StartsWith,
    EndsWith,
    Contains,
    ArrayContains,
    Length,
    Lower,
    Upper,
    Substring,
    IndexOf,
    Concat,
    AsNumber,
    Abs,
    Exp,
    Power,
    Square,
    Ceiling,
    Floor,
    Sign,
    Sqrt,
}

impl Query {
    /// Parses a query.
    ///
    /// # Errors
    /// [`QueryError`] says what was found where, and what was expected.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        statement::parse(text)
    }

    /// What it reads.
    pub fn source(&self) -> Source {
        self.source
    }

    /// Whether it returns whole documents (`SELECT *`).
    pub fn is_whole(&self) -> bool {
        self.select == Select::Whole
    }

    /// Whether it sums documents up instead of listing them.
    pub fn is_aggregate(&self) -> bool {
        let Select::Items(items) = &self.select else { return false };
        !self.group_by.is_empty() || items.iter().any(|item| matches!(item.what, What::Aggregate(..)))
    }

    /// Whether all it asks is how many documents match: then [`Run::count`] replaces offering them.
    pub fn is_count(&self) -> bool {
        let Select::Items(items) = &self.select else { return false };
        self.group_by.is_empty()
            && items.iter().all(|item| matches!(item.what, What::Aggregate(Aggregate::Count, None)))
    }

    /// `TOP n`: most items over all pages.
    pub fn top(&self) -> Option<usize> {
        self.top
    }

    /// Begins a page of at most `page` items.
    pub fn start(&self, page: usize) -> Run<'_> {
        Run::new(self, page)
    }
}
