//! Scalar expressions of the bound tree.

use std::sync::Arc;

use super::{Cost, Rel};
use crate::diagnostic::Span;
use crate::functions::Function;
use crate::value::{Type, Value};

/// A scalar expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// The type of its value.
    pub ty: Type,
    /// The text.
    pub span: Span,
    pub(super) cost: Cost,
}

/// The scalar expressions.
#[derive(Debug, Clone, PartialEq)]
pub enum ExprKind {
    /// A value.
    Literal(Value),
    /// Column n of the input.
    Column(usize),
    /// A column of an open schema, by name; its type is `Unknown`.
    Late(Arc<str>),
    /// The value of entry n of [`Bound::scalars`].
    Scalar(usize),
    /// `-x`.
    Negate(Arc<Expr>),
    /// All of them (`and`) under three-valued logic.
    And(Arc<[Expr]>),
    /// Any of them (`or`) under three-valued logic.
    Or(Arc<[Expr]>),
    /// Arithmetic, comparison or a test of strings.
    Binary {
        /// The operator.
        op: Binary,
        /// The left side.
        left: Arc<Expr>,
        /// The right side.
        right: Arc<Expr>,
    },
    /// `in`, `!in`, `in~`, `!in~`, `has_any`, `has_all`: the left side against a list.
    In {
        /// The operator.
        op: In,
        /// The left side.
        value: Arc<Expr>,
        /// What it is held against.
        list: List,
    },
    /// `between (low .. high)`, both ends included. With a timespan as the high end of a
    /// datetime the binder wrote `low + high`.
    Between {
        /// `!between`.
        negated: bool,
        /// The value.
        value: Arc<Expr>,
        /// The low end.
        low: Arc<Expr>,
        /// The high end.
        high: Arc<Expr>,
    },
    /// A function of the table of functions. `pack_all(true)` has, behind its condition, the
    /// names and values it packs, as `bag_pack` has; without a condition it is `bag_pack`.
    Call {
        /// The function, under its main name.
        function: &'static Function,
        /// The arguments. Those whose parameter has one scalar type have that type.
        arguments: Arc<[Expr]>,
    },
    /// `prev`, `next`, `row_number`, `row_cumsum`...: over the rows in order. Only within the
    /// values of [`RelKind::Project`] and the predicate of [`RelKind::Where`].
    Window {
        /// The function.
        function: &'static Function,
        /// The arguments.
        arguments: Arc<[Expr]>,
    },
    /// The value as another type, as the conversion function of that type gives it
    /// (`tolong`...): null where it cannot be. Put in by the binder where types meet, or a
    /// conversion that was written.
    Cast(Arc<Expr>),
    /// `d.name`: null where there is none. The result is dynamic.
    Member {
        /// The dynamic.
        of: Arc<Expr>,
        /// The name.
        name: Arc<str>,
    },
    /// `d[index]`: an element by number, from the end when negative, or an entry by name.
    Index {
        /// The dynamic.
        of: Arc<Expr>,
        /// A whole number or a string; unknown when dynamic.
        index: Arc<Expr>,
    },
    /// Value n of a function that yields several (`series_fit_line`, `array_sort_asc`...; see
    /// [`Function::fields`]). The call itself is shared by all its fields.
    Field {
        /// The call.
        of: Arc<Expr>,
        /// Which.
        field: usize,
    },
    /// In the body of `partition`: the key of the partition, wherever in the body it stands.
    PartitionKey,
    /// In `scan`: a column of the state of a step, null while it has none. Beyond the input's
    /// columns are the declared ones.
    StepColumn {
        /// The step.
        step: usize,
        /// The column.
        column: usize,
    },
    /// In a graph pattern: a column of an element. Of an edge of variable length it is the array
    /// of all its edges' values.
    Property {
        /// The element.
        element: usize,
        /// The column of the node or edge.
        column: usize,
    },
    /// In a graph pattern: an element itself, as a bag of its columns (an array of bags for an
    /// edge of variable length).
    Element(usize),
    /// In a graph pattern: `all`, `any` or `map` over the edges of an edge of variable length, or
    /// over the nodes within it.
    Over {
        /// Which.
        quantifier: Quantifier,
        /// The edge.
        element: usize,
        /// `inner_nodes(e)`: the nodes between, else the edges.
        inner_nodes: bool,
        /// The value of each; columns are those of the node or edge.
        body: Arc<Expr>,
    },
    /// In a graph pattern: `node_id`, `node_degree_in`, `node_degree_out`, `labels` of an element;
    /// within [`ExprKind::Over`] or `graph-where` of the current one (`None`).
    Graph {
        /// The function.
        function: &'static Function,
        /// The element.
        element: Option<usize>,
    },
}

/// What is asked of the elements of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantifier {
    /// True of all of them.
    All,
    /// True of one at least.
    Any,
    /// The array of the values.
    Map,
}

/// What `in` and its relatives hold the left side against.
#[derive(Debug, Clone, PartialEq)]
pub enum List {
    /// Values; a dynamic one stands for its elements.
    Values(Arc<[Expr]>),
    /// The first column of a table; a dynamic cell stands for its elements.
    Rel(Arc<Rel>),
}

/// The operators of two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the operator of its name, see symbol()")]
pub enum Binary {
    Add,
    Subtract,
    Multiply,
    /// Of whole numbers a whole number, rounded toward zero; null when divided by zero.
    Divide,
    /// Never negative.
    Modulo,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    EqualNoCase,
    NotEqualNoCase,
    Has,
    NotHas,
    HasCs,
    NotHasCs,
    HasPrefix,
    NotHasPrefix,
    HasPrefixCs,
    NotHasPrefixCs,
    HasSuffix,
    NotHasSuffix,
    HasSuffixCs,
    NotHasSuffixCs,
    Contains,
    NotContains,
    ContainsCs,
    NotContainsCs,
    StartsWith,
    NotStartsWith,
    StartsWithCs,
    NotStartsWithCs,
    EndsWith,
    NotEndsWith,
    EndsWithCs,
    NotEndsWithCs,
    MatchesRegex,
}

impl Binary {
    /// As it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Modulo => "%",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::EqualNoCase => "=~",
            Self::NotEqualNoCase => "!~",
            Self::Has => "has",
            Self::NotHas => "!has",
            Self::HasCs => "has_cs",
            Self::NotHasCs => "!has_cs",
            Self::HasPrefix => "hasprefix",
            Self::NotHasPrefix => "!hasprefix",
            Self::HasPrefixCs => "hasprefix_cs",
            Self::NotHasPrefixCs => "!hasprefix_cs",
            Self::HasSuffix => "hassuffix",
            Self::NotHasSuffix => "!hassuffix",
            Self::HasSuffixCs => "hassuffix_cs",
            Self::NotHasSuffixCs => "!hassuffix_cs",
            Self::Contains => "contains",
            Self::NotContains => "!contains",
            Self::ContainsCs => "contains_cs",
            Self::NotContainsCs => "!contains_cs",
            Self::StartsWith => "startswith",
            Self::NotStartsWith => "!startswith",
            Self::StartsWithCs => "startswith_cs",
            Self::NotStartsWithCs => "!startswith_cs",
            Self::EndsWith => "endswith",
            Self::NotEndsWith => "!endswith",
            Self::EndsWithCs => "endswith_cs",
            Self::NotEndsWithCs => "!endswith_cs",
            Self::MatchesRegex => "matches regex",
        }
    }

    /// `+ - * / %`.
    pub fn is_arithmetic(self) -> bool {
        matches!(self, Self::Add | Self::Subtract | Self::Multiply | Self::Divide | Self::Modulo)
    }

    /// `== != < <= > >=`.
    pub fn is_comparison(self) -> bool {
        matches!(
            self,
            Self::Equal | Self::NotEqual | Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual
        )
    }
}

/// The operators against a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::enum_variant_names, reason = "they are the words of the language")]
pub enum In {
    /// `in`.
    In,
    /// `!in`.
    NotIn,
    /// `in~`.
    InNoCase,
    /// `!in~`.
    NotInNoCase,
    /// `has_any`.
    HasAny,
    /// `has_all`.
    HasAll,
}
