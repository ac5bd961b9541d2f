//! The bound tree: what an engine executes.
//!
//! Every name is resolved: a column is an index into the columns of the operator's input, a
//! function is a row of the table of functions under its main name, user functions and `let`
//! are expanded where they were called, and every expression has its type. Operators that are
//! only other spellings are lowered, so an engine is one match over [`RelKind`] and one over
//! [`ExprKind`]:
//!
//! * `extend`, all of `project*` and `serialize` with columns are [`RelKind::Project`];
//! * `distinct` and `count` are [`RelKind::Summarize`]; arithmetic over aggregates is a
//!   `Project` above it; `lookup` is a join and a `Project`;
//! * `union`, `find` and `search` are [`RelKind::Union`] of inputs that have the same columns;
//! * `getschema` is [`RelKind::DataTable`]; `as`, `invoke` and hints leave nothing.
//!
//! Literals stay literals and constant expressions stay expressions: the engine folds. Where
//! a number of one type meets another, the binder puts an [`ExprKind::Cast`] in, so both sides
//! of arithmetic and comparison have one type, except for dynamic operands of comparisons.
//!
//! Sub-trees are shared by `Arc`: the same `let` used twice is the same tree. `Cost` bounds how
//! large the tree is when written out and how deep, so that walking it by recursion is safe.

mod expr;
mod graph;
mod over;
mod walk;

pub use expr::{Binary, Expr, ExprKind, In, List, Quantifier};
pub use over::{Frame, FrameEnd, Over, OverFunction, OverKind};

pub use graph::{Direction, Element, ElementKind, Graph, GraphId, GraphKind, GraphMatch};

use crate::diagnostic::Span;
use crate::functions::{Aggregation, Plugin};
use crate::value::{Type, Value};
use std::fmt;
use std::sync::Arc;

/// How deep a bound tree may be: recursion over it needs no more frames.
pub const DEPTH_MAX: u32 = 600;

/// How many nodes a bound tree may have, counted as if nothing were shared.
pub const NODES_MAX: u64 = 500_000;

/// A column: name and type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Column {
    /// The name, case as written.
    pub name: Arc<str>,
    /// The type.
    pub ty: Type,
}

impl Column {
    /// A column.
    pub fn new(name: impl Into<Arc<str>>, ty: Type) -> Self {
        Self { name: name.into(), ty }
    }
}

/// `name:type`.
impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.ty)
    }
}

/// The columns of a table or of an operator's result, in order; names are unique.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Schema {
    /// The columns.
    pub columns: Vec<Column>,
    /// More columns may appear that are known only when the query runs (`evaluate bag_unpack`
    /// or `pivot` without a schema, unless the catalogue resolved it, see
    /// [`Catalog::resolve_open`](crate::Catalog::resolve_open)).
    pub open: bool,
}

impl Schema {
    /// A closed schema.
    pub fn of(columns: Vec<Column>) -> Self {
        Self { columns, open: false }
    }

    /// Where a column is.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| &*column.name == name)
    }
}

/// What a text is bound to.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    /// The tabular statements, in order: each yields one or more result tables.
    pub queries: Vec<Query>,
    /// `set name = value`, in order; a bare `set name` is true.
    pub options: Vec<(String, Value)>,
    /// What `materialize` and `fork` share: [`RelKind::Materialized`] n refers to entry n. Each
    /// is evaluated at most once, refers only to entries before it.
    pub materialized: Vec<Arc<Rel>>,
    /// What `toscalar` asks for: [`ExprKind::Scalar`] n refers to entry n. The value is the
    /// first cell of the first row, null when there is none; evaluated at most once. May refer
    /// to `materialized` and to entries before it; an entry of `materialized` may refer here,
    /// never in a circle.
    pub scalars: Vec<Arc<Rel>>,
}

/// One tabular statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// The result tables: one, but for `fork` and `facet`.
    pub results: Vec<ResultTable>,
    /// What `render` said. It changes nothing in the rows.
    pub render: Option<Render>,
    /// The text of the statement.
    pub span: Span,
}

/// One result table.
#[derive(Debug, Clone, PartialEq)]
pub struct ResultTable {
    /// The name that `as` or `fork` gave.
    pub name: Option<String>,
    /// The rows.
    pub rel: Arc<Rel>,
}

/// `render kind with (properties)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Render {
    /// `timechart`, `table`...
    pub kind: String,
    /// `title`, `xcolumn`, `ycolumns`...; column lists are one text joined by commas.
    pub properties: Vec<(String, Value)>,
}

/// A tabular expression: an operator, its inputs within it, and the columns it yields.
#[derive(Debug, Clone, PartialEq)]
pub struct Rel {
    /// The operator.
    pub kind: RelKind,
    /// The columns of its result.
    pub schema: Arc<Schema>,
    /// Whether the order of its rows means something (after `sort`, `serialize`, `range`...):
    /// the engine must then keep it. Otherwise rows may come in any order.
    pub serialized: bool,
    /// The text of the operator.
    pub span: Span,
    cost: Cost,
}

/// A column of an operator's output that copies an input column or takes a computed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// Column n of the input.
    Input(usize),
    /// The n-th thing the operator makes; each operator says what these are.
    Made(usize),
}

/// The operators. `input` is the table the operator reads; column indices in expressions count
/// its columns unless the variant says otherwise.
#[derive(Debug, Clone, PartialEq)]
pub enum RelKind {
    /// All rows of a stored table.
    Table {
        /// The database, as the catalogue spells it.
        database: String,
        /// The table.
        name: String,
    },
    /// All rows of an external table.
    ExternalTable {
        /// The database.
        database: String,
        /// The table.
        name: String,
    },
    /// A materialized view.
    MaterializedView {
        /// The database.
        database: String,
        /// The view.
        name: String,
        /// How old the answer may be; always fresh without.
        max_age: Option<Expr>,
    },
    /// Literal rows: `datatable`, `getschema`.
    DataTable {
        /// The rows, each as long as the schema, values of the columns' types or null.
        rows: Vec<Vec<Value>>,
    },
    /// `externaldata (schema) [uris] with (properties)`.
    ExternalData {
        /// Where the artefacts are, secrets included.
        uris: Vec<String>,
        /// `format`, `ignoreFirstRecord`...
        properties: Vec<(String, Value)>,
    },
    /// `range name from a to b step c`: both ends included; no rows when the step goes away from
    /// the end. The one column has the type of the schema; the expressions have no columns.
    Range {
        /// First value.
        from: Expr,
        /// Last value that may appear.
        to: Expr,
        /// Difference; added to a datetime it is a timespan.
        step: Expr,
    },
    /// One row: `print`. The expressions have no columns.
    Print {
        /// A value for each column.
        values: Vec<Expr>,
    },
    /// Entry n of [`Bound::materialized`].
    Materialized(usize),
    /// The rows the nearest enclosing operator with a body (`MvApply`, `Partition`) feeds in.
    Input,
    /// Rows whose predicate is true, neither false nor null; order is kept.
    Where {
        /// The rows.
        input: Arc<Rel>,
        /// A bool.
        predicate: Expr,
    },
    /// One row for each row of the input, in its order, with these values. Expressions may hold
    /// [`ExprKind::Window`].
    Project {
        /// The rows.
        input: Arc<Rel>,
        /// A value for each column of the schema.
        values: Vec<Expr>,
    },
    /// Sorted by the keys, the first first. The sort is stable.
    Sort {
        /// The rows.
        input: Arc<Rel>,
        /// The keys.
        keys: Vec<SortKey>,
    },
    /// The first rows of the input sorted by the keys.
    Top {
        /// The rows.
        input: Arc<Rel>,
        /// How many: a long without columns.
        count: Expr,
        /// The keys.
        keys: Vec<SortKey>,
    },
    /// `take`: any so many rows, the first where the input is serialized.
    Take {
        /// The rows.
        input: Arc<Rel>,
        /// How many: a long without columns.
        count: Expr,
    },
    /// So many rows at random.
    Sample {
        /// The rows.
        input: Arc<Rel>,
        /// How many: a long without columns.
        count: Expr,
    },
    /// So many of the distinct values of an expression, any.
    SampleDistinct {
        /// The rows.
        input: Arc<Rel>,
        /// How many: a long without columns.
        count: Expr,
        /// The values.
        of: Expr,
    },
    /// `top-hitters n of value [by weight]`: the values that occur most (or whose weights sum up
    /// to most), largest first, and an approximate count or sum.
    TopHitters {
        /// The rows.
        input: Arc<Rel>,
        /// How many: a long without columns.
        count: Expr,
        /// The values.
        of: Expr,
        /// What to sum up instead of counting.
        by: Option<Expr>,
    },
    /// `top-nested`: levels, each within the one before. The schema is, per level, the value and
    /// then the aggregate.
    TopNested {
        /// The rows.
        input: Arc<Rel>,
        /// The levels.
        levels: Vec<NestedLevel>,
    },
    /// Groups. The schema is the keys, then the columns of each aggregate in order. Null and ""
    /// are keys as any others. Without keys there is exactly one row, also over no rows; with
    /// keys and no rows there is none. Without aggregates: the distinct keys.
    Summarize {
        /// The rows.
        input: Arc<Rel>,
        /// The keys, none of them dynamic.
        keys: Vec<Expr>,
        /// The aggregates.
        aggregates: Vec<Aggregate>,
    },
    /// A join on equality. The schema is the columns of both sides, left first, or those of one
    /// side for semi and anti joins. Null keys match nothing.
    Join {
        /// Which rows are kept.
        kind: JoinKind,
        /// The left rows.
        left: Arc<Rel>,
        /// The right rows.
        right: Arc<Rel>,
        /// Pairs of keys of one type: over the columns of the left, and of the right.
        on: Vec<(Expr, Expr)>,
        /// `hint.*` as written.
        hints: Vec<(String, String)>,
    },
    /// All rows of all inputs, which have the same columns as the schema; any order. An input of
    /// an open schema is matched by name when the query runs, with absent cells.
    Union {
        /// The inputs.
        inputs: Vec<Arc<Rel>>,
    },
    /// `mv-expand`.
    MvExpand(MvExpand),
    /// `mv-apply`: for each row of the expansion's input, `body` runs over the rows it expands to.
    MvApply {
        /// The rows and how each expands; its outputs are what [`RelKind::Input`] yields in the
        /// body.
        expand: MvExpand,
        /// The columns of [`RelKind::Input`] within the body.
        expanded: Arc<Schema>,
        /// The sub-query.
        body: Arc<Rel>,
        /// The columns of the result: of the row that was expanded, or (`Made`) of the body.
        outputs: Vec<Slot>,
    },
    /// `partition by key (body)`: `body` runs over the rows of each key; the results follow each
    /// other in any order.
    Partition {
        /// The rows.
        input: Arc<Rel>,
        /// The key.
        key: Expr,
        /// The sub-query; its columns are those of the result.
        body: Arc<Rel>,
    },
    /// `parse` and `parse-where`.
    Parse(Parse),
    /// `parse-kv`.
    ParseKv(ParseKv),
    /// `make-series`.
    MakeSeries(Box<MakeSeries>),
    /// `scan`.
    Scan(Scan),
    /// `reduce by`: columns Pattern, Count, Representative (and LogReduce parameters of the
    /// schema, if asked for).
    Reduce {
        /// The rows.
        input: Arc<Rel>,
        /// The texts.
        of: Expr,
        /// `threshold`, `characters`... with constant values.
        properties: Vec<(String, Value)>,
    },
    /// `evaluate plugin(arguments)`.
    Evaluate {
        /// The rows; none for plugins that are a source.
        input: Option<Arc<Rel>>,
        /// The plugin.
        plugin: &'static Plugin,
        /// The arguments in order, named ones at the place of their parameter.
        arguments: Vec<Argument>,
    },
    /// `graph-match`: a row for each match of the pattern.
    GraphMatch(Box<GraphMatch>),
    /// `graph-shortest-paths`, with the same parts.
    GraphShortestPaths {
        /// The pattern, with one edge of variable length.
        search: Box<GraphMatch>,
        /// All shortest paths of a pair of ends, or any one.
        all: bool,
    },
    /// `graph-to-table nodes|edges`: the nodes or edges of a graph with their columns.
    GraphToTable {
        /// The graph.
        graph: Arc<Graph>,
        /// The edges, else the nodes.
        edges: bool,
        /// The first columns of the result: ids that were asked for, longs of the engine's
        /// choice that are the same in both tables of one graph.
        ids: Vec<GraphId>,
    },
    /// Window functions of SQL. KQL has no word for it.
    Over(Box<Over>),
    /// `consume`: reads everything, yields no rows.
    Consume {
        /// The rows.
        input: Arc<Rel>,
    },
}

/// One key of a sort.
#[derive(Debug, Clone, PartialEq)]
pub struct SortKey {
    /// The value; strings by their bytes; NaN counts as null.
    pub value: Expr,
    /// Largest first: the default of the language.
    pub descending: bool,
    /// Nulls before all others.
    pub nulls_first: bool,
}

/// One level of `top-nested`.
#[derive(Debug, Clone, PartialEq)]
pub struct NestedLevel {
    /// How many values are kept; all without.
    pub count: Option<Expr>,
    /// The value.
    pub of: Expr,
    /// `with others`: the value of a row for all that were left out, whose aggregate covers them.
    pub others: Option<Expr>,
    /// What ranks the values.
    pub by: Aggregate,
    /// A value computed of the aggregate, whose columns it counts; the aggregate itself without.
    pub rank: Option<Expr>,
    /// Largest first: the default.
    pub descending: bool,
}

/// Which rows of a join are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinKind {
    /// The left is first reduced to one row per key (ours: the first), then as `Inner`. Default.
    InnerUnique,
    /// Pairs that match.
    Inner,
    /// And left rows without match.
    LeftOuter,
    /// And right rows without match.
    RightOuter,
    /// And both.
    FullOuter,
    /// Left rows that have a match.
    LeftSemi,
    /// Right rows that have a match.
    RightSemi,
    /// Left rows without match.
    LeftAnti,
    /// Right rows without match.
    RightAnti,
}

/// `mv-expand`: a row for each element of the arrays or bags of a row; several columns expand in
/// parallel, shorter ones padded with null. Null makes one row with null, an empty array or bag
/// no row of its own (none at all, if all are empty).
#[derive(Debug, Clone, PartialEq)]
pub struct MvExpand {
    /// The rows.
    pub input: Arc<Rel>,
    /// What is expanded.
    pub items: Vec<Expand>,
    /// The columns of the result: of the input, or (`Made`) of item n; `Made(items.len())` is
    /// the index of the element, a long from 0.
    pub outputs: Vec<Slot>,
    /// `kind=array` (`bagexpansion=array`): an entry of a bag expands to `[name, value]` instead
    /// of a bag of one entry.
    pub entries_as_arrays: bool,
    /// At most so many rows of each row: a long without columns.
    pub limit: Option<Expr>,
}

/// One column that expands.
#[derive(Debug, Clone, PartialEq)]
pub struct Expand {
    /// The arrays or bags.
    pub value: Expr,
    /// `to typeof(T)`: the elements are cast; those that do not conform become null.
    pub to: Option<Type>,
}

/// `parse` and `parse-where`: texts are taken apart by a pattern, left to right.
#[derive(Debug, Clone, PartialEq)]
pub struct Parse {
    /// The rows.
    pub input: Arc<Rel>,
    /// The text.
    pub text: Expr,
    /// How pieces match.
    pub kind: ParseKind,
    /// `flags=` of the regex kind: letters such as `Ui`.
    pub flags: String,
    /// The pattern.
    pub pieces: Vec<ParsePiece>,
    /// The columns of the result: of the input, or (`Made`) capture n of the pattern.
    pub outputs: Vec<Slot>,
    /// `parse-where`: rows that do not match are dropped.
    pub drop_failed: bool,
}

/// How the pieces of `parse` match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseKind {
    /// Literal texts; when one piece or conversion fails all captures are null.
    Simple,
    /// Texts are regular expressions.
    Regex,
    /// As simple, but a capture that cannot be converted is null alone.
    Relaxed,
}

/// One piece of a `parse` pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParsePiece {
    /// `*`: skips until the next text.
    Star,
    /// A text, or a regular expression.
    Text(String),
    /// A capture of a type: up to the next text, or of the form of its type.
    Capture(Type),
}

/// `parse-kv`: names and values in a text. The first occurrence of a name counts.
#[derive(Debug, Clone, PartialEq)]
pub struct ParseKv {
    /// The rows.
    pub input: Arc<Rel>,
    /// The text.
    pub text: Expr,
    /// The names looked for, with their types.
    pub keys: Vec<Column>,
    /// `pair_delimiter`, `kv_delimiter`, `quote`, `escape`, `greedy`, `regex`, in lower case.
    pub properties: Vec<(String, Value)>,
    /// The columns of the result: of the input, or (`Made`) key n.
    pub outputs: Vec<Slot>,
}

/// `make-series`: the schema is the keys, then a dynamic array for each series, then the array
/// of the axis (place as in `outputs`).
#[derive(Debug, Clone, PartialEq)]
pub struct MakeSeries {
    /// The rows.
    pub input: Arc<Rel>,
    /// The aggregates of each bin.
    pub aggregates: Vec<Aggregate>,
    /// The series.
    pub series: Vec<Series>,
    /// The value whose bins are the points: datetime, timespan or number.
    pub axis: Expr,
    /// First bin; the smallest value without.
    pub from: Option<Expr>,
    /// Where bins end: excluded, or with `inclusive` included; the largest value without
    /// (its bin included).
    pub to: Option<Expr>,
    /// The size of a bin.
    pub step: Expr,
    /// `on t in range(a, b, step)`: the end is included and bins are aligned as `bin` does.
    pub inclusive: bool,
    /// `kind=nonempty`: one series of defaults when there are no rows and no keys.
    pub nonempty: bool,
    /// The keys.
    pub keys: Vec<Expr>,
    /// The columns of the result: `Input(n)` is key n; `Made(n)` is series n, and
    /// `Made(series.len())` the axis.
    pub outputs: Vec<Slot>,
}

/// One series of `make-series`.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The value of a bin; columns count those of all aggregates.
    pub value: Expr,
    /// The value of a bin without rows, of the type of the value; 0 (or null where there is no 0)
    /// without.
    pub default: Option<Expr>,
}

/// `scan`: matches rows, in order, with steps, and yields rows with what the steps noted.
///
/// For every row the steps are tried from the last to the first; step k can match when step
/// k−1 (or k itself, or a step before whose following steps are optional) holds a state. The
/// schema is the input's columns, the declared ones, then the match id if there is one.
#[derive(Debug, Clone, PartialEq)]
pub struct Scan {
    /// The rows, which must be serialized.
    pub input: Arc<Rel>,
    /// The last column is the id of the match, a long.
    pub match_id: bool,
    /// The declared columns with their default values.
    pub declared: Vec<(Column, Expr)>,
    /// The steps.
    pub steps: Vec<ScanStep>,
}

/// One step of `scan`. In its expressions, column n is of the current row, and beyond the
/// input's columns of this step's declared ones; [`ExprKind::StepColumn`] is of a step's state.
#[derive(Debug, Clone, PartialEq)]
pub struct ScanStep {
    /// Its name.
    pub name: String,
    /// The step may be passed over.
    pub optional: bool,
    /// Which of its rows are put out.
    pub output: StepOutput,
    /// Whether the row belongs to the step: a bool.
    pub condition: Expr,
    /// New values of columns of the state: of the input's, or beyond them of the declared.
    pub assignments: Vec<(usize, Expr)>,
}

/// Which rows of a step are put out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepOutput {
    /// All: the default.
    All,
    /// The last, when the match goes on or ends.
    Last,
    /// None.
    None,
}

/// An aggregate with its arguments, and the columns it yields (several for `arg_max`,
/// `take_any` and `percentiles`).
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    /// The function, under its main name.
    pub function: &'static Aggregation,
    /// The arguments over the columns of the input. `*` is written out: `arg_max(t, *)` has `t`
    /// and then all columns that are no keys.
    pub arguments: Vec<Expr>,
    /// Only rows for which this is true count (`countif`, `sumif`...: they appear as their
    /// plain function with a condition).
    pub condition: Option<Expr>,
    /// What it yields. `arg_max(e, a, b)` yields the values of e, a and b of the row where e is
    /// largest; `take_any(a, b)` of any one row; `percentiles(x, p, q)` one column for each.
    pub columns: Vec<Column>,
    /// The text.
    pub span: Span,
}

/// An argument of a plugin. Of `ipv4_lookup`, `geo_polygon_lookup` and their relatives, the key of
/// the table to look up in is a column of that table, counted in its schema.
#[derive(Debug, Clone, PartialEq)]
pub enum Argument {
    /// A value over the columns of the input, or a constant.
    Scalar(Expr),
    /// A table.
    Rel(Arc<Rel>),
    /// An aggregate (`pivot`).
    Aggregate(Aggregate),
    /// A schema: `typeof(*, a:long)`; the star puts the columns of the input in its place.
    Schema(Schema),
    /// Left out, and a later one is there.
    Absent,
}

/// How large a tree is, counted as if nothing were shared, and how deep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cost {
    pub nodes: u64,
    pub depth: u32,
    /// Something in it depends on a row.
    pub columns: bool,
}
