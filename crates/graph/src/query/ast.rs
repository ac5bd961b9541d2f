//! Queries as trees: a pattern of twins and relationships, a condition, and what is shown of what fits.

use serde_json::Value;

/// A query, parsed.
#[derive(Clone, Debug)]
pub struct Query {
    pub(crate) text: String,
    pub(crate) select: Select,
    pub(crate) top: Option<u64>,
    /// Names of the twins of the pattern; none for one that nothing refers to. Empty for `FROM RELATIONSHIPS`.
    pub(crate) nodes: Vec<Option<String>>,
    /// Names of relationships that something refers to.
    pub(crate) links: Vec<String>,
    pub(crate) edges: Vec<Edge>,
    /// Whether a relationship is walked once in a row only.
    pub(crate) is_match: bool,
    /// Conditions that all must be true.
    pub(crate) conditions: Vec<Expr>,
}

#[derive(Clone, Debug)]
pub(crate) enum Select {
    All,
    Count,
    Columns(Vec<Column>),
}

#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) value: Reference,
}

/// Which of the bound things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// A twin of the pattern.
    Node(usize),
    /// A named relationship.
    Link(usize),
}

/// A place in a bound thing.
#[derive(Clone, Debug)]
pub(crate) struct Reference {
    pub(crate) slot: Slot,
    pub(crate) path: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the left to the right.
    Forward,
    Backward,
    Either,
}

/// Relationships between two twins of the pattern.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    pub(crate) left: usize,
    pub(crate) right: usize,
    pub(crate) direction: Direction,
    /// Names a relationship may have; empty: any.
    pub(crate) names: Vec<String>,
    /// Hops at least and at most.
    pub(crate) hops: (usize, usize),
    /// Where the relationship is bound.
    pub(crate) link: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    Defined,
    Null,
    Primitive,
    Bool,
    Number,
    Text,
    Object,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextTest {
    StartsWith,
    EndsWith,
    Contains,
}

#[derive(Clone, Debug)]
pub(crate) enum Operand {
    Reference(Reference),
    Literal(Value),
}

#[derive(Clone, Debug)]
pub(crate) enum Expr {
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    Compare(Comparison, Operand, Operand),
    In(Operand, Vec<Value>),
    Check(Check, Operand),
    Text(TextTest, Operand, Operand),
    ArrayContains(Operand, Operand),
    OfModel { slot: Slot, model: String, exact: bool },
    Is(Operand),
}
