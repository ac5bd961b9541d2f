//! The tree of a text, as it is written.

use crate::lex::At;

/// A name with its place.
#[derive(Debug, Clone)]
pub(crate) struct Name {
    pub text: String,
    pub at: At,
}

/// A whole text.
#[derive(Debug, Default)]
pub(crate) struct Script {
    pub steps: Vec<Step>,
    pub statements: Vec<Statement>,
}

/// `name AS (query)`.
#[derive(Debug)]
pub(crate) struct Step {
    pub name: Name,
    pub query: Query,
}

/// `SELECT … INTO output …`.
#[derive(Debug)]
pub(crate) struct Statement {
    pub output: Name,
    pub query: Query,
}

/// Selects joined by `UNION`.
#[derive(Debug)]
pub(crate) struct Query {
    pub selects: Vec<Select>,
}

/// One `SELECT`.
#[derive(Debug)]
pub(crate) struct Select {
    pub at: At,
    pub items: Vec<Item>,
    pub into: Option<Name>,
    pub from: Relation,
    pub joined: Vec<Joined>,
    pub filter: Option<Expr>,
    pub group: Vec<Expr>,
    pub having: Option<Expr>,
}

/// What is selected.
#[derive(Debug)]
pub(crate) enum Item {
    All(At),
    AllOf(Name),
    One(Expr, Option<Name>),
}

/// Something rows come from.
#[derive(Debug)]
pub(crate) struct Relation {
    pub name: Name,
    pub alias: Option<Name>,
    pub timestamp: Option<Expr>,
    pub over: Option<Expr>,
    pub partition: Option<Expr>,
}

impl Relation {
    /// What the query calls it.
    pub(crate) fn called(&self) -> &Name {
        self.alias.as_ref().unwrap_or(&self.name)
    }
}

/// What is joined to the rows so far.
#[derive(Debug)]
pub(crate) enum Joined {
    Join { outer: bool, relation: Relation, on: Expr },
    Apply { outer: bool, properties: bool, argument: Expr, alias: Name },
}

/// An expression.
#[derive(Debug, Clone)]
pub(crate) struct Expr {
    pub kind: Kind,
    pub at: At,
    /// Levels of nesting, this one included: bounded, so that recursion over it is safe.
    pub depth: u16,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Null,
    Whole(i64),
    Number(f64),
    Text(String),
    Path(Vec<Name>),
    Member(Box<Expr>, Name),
    Call(Box<Call>),
    Negate(Box<Expr>),
    Not(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Binary(Binary, Box<Expr>, Box<Expr>),
    IsNull(Box<Expr>, bool),
    Between(Box<[Expr; 3]>, bool),
    In(Box<Expr>, Vec<Expr>, bool),
    Like(Box<Expr>, Box<Expr>, Option<char>, bool),
    Case { operand: Option<Box<Expr>>, whens: Vec<(Expr, Expr)>, otherwise: Option<Box<Expr>> },
    Cast(Box<Expr>, Type, bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What values are cast to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Bigint,
    Float,
    Text,
    Datetime,
    Bit,
    Record,
    Array,
}

/// A call, with what may follow it.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// The name with its dots, as written.
    pub name: String,
    pub args: Vec<Expr>,
    pub star: bool,
    pub distinct: bool,
    pub filter: Option<Expr>,
    pub over: Option<Over>,
}

/// `OVER (PARTITION BY … ORDER BY … LIMIT DURATION(…) WHEN …)`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Over {
    pub partition: Vec<Expr>,
    pub order: Vec<(Expr, bool)>,
    pub limit: Option<Expr>,
    pub when: Option<Expr>,
}
