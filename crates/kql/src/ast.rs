//! The tree of a text: what was written, before any name is resolved.
//!
//! Every node has the span of its text. Tables and scalars are one kind of expression, as in
//! the language: which of them a name is only binding can tell.
#![expect(missing_docs, reason = "each type shows its form; fields are the words of the form")]

pub use crate::bound::{Binary, Direction, In, StepOutput};
pub use crate::diagnostic::Span;
use crate::value::{Type, Value};

/// A whole text: statements between semicolons.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    pub statements: Vec<Statement>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    pub kind: StatementKind,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub enum StatementKind {
    /// `let name = value`
    Let { name: Name, value: LetValue },
    /// `set name [= value]`
    Set { name: Name, value: Option<Expr> },
    /// `declare query_parameters (name:type = default, ...)`
    QueryParameters(Vec<Parameter>),
    /// `declare pattern name [= (parameters) [path] { cases }]`
    Pattern { name: Name },
    /// `restrict access to (entities)`
    Restrict(Vec<Expr>),
    /// `alias database name = target`
    Alias { name: Name, target: Expr },
    /// An expression: the tables of a query, or the value of a function body.
    Query(Expr),
}

/// What `let` gives a name.
#[derive(Debug, Clone, PartialEq)]
pub enum LetValue {
    Expr(Expr),
    /// `[view] (parameters) { body }`
    Function(Function),
}

/// `[view] (parameters) { body }`
#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    pub view: bool,
    pub parameters: Vec<Parameter>,
    pub body: Body,
}

/// `{ statements; expression }`
#[derive(Debug, Clone, PartialEq)]
pub struct Body {
    pub statements: Vec<Statement>,
    pub value: Option<Expr>,
    pub span: Span,
}

/// `name:type = default`
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    pub name: Name,
    pub ty: ParameterType,
    pub default: Option<Expr>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ParameterType {
    Scalar(Type),
    /// `(a:long, b:string)`, or `(*)` with nothing in it.
    Table(Vec<ColumnDeclaration>),
}

/// `name:type`
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnDeclaration {
    pub name: Name,
    pub ty: Type,
}

/// A name as it is meant: brackets and quotes are gone.
#[derive(Debug, Clone, PartialEq)]
pub struct Name {
    pub text: String,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    pub kind: ExprKind,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ExprKind {
    /// A literal and its type (a null has one too).
    Literal(Value, Type),
    /// `int(x)`: the form of a literal with something that is no value of its type.
    BadLiteral(Type),
    /// A name: a column, variable, table or function without arguments.
    Name(String),
    /// A name with `*` in it, or `*` alone.
    Wildcard(String),
    /// `-x` or `+x`
    Sign {
        negative: bool,
        of: Box<Expr>,
    },
    /// `a and b and ...`
    And(Vec<Expr>),
    /// `a or b or ...`
    Or(Vec<Expr>),
    Binary {
        op: Binary,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    /// `a in (...)`, `a has_any (...)`
    In {
        op: In,
        value: Box<Expr>,
        list: Vec<Expr>,
    },
    Between {
        negated: bool,
        value: Box<Expr>,
        low: Box<Expr>,
        high: Box<Expr>,
    },
    /// `f(a, name=b)`
    Call {
        name: Name,
        arguments: Vec<Named>,
    },
    /// `a.b`, `database("x").T`, `cluster("c").database("d").f(1)`: the member is a name, a
    /// wildcard or a call.
    Path {
        of: Box<Expr>,
        member: Box<Expr>,
    },
    /// `a[b]`
    Index {
        of: Box<Expr>,
        index: Box<Expr>,
    },
    /// `typeof(type)`, `typeof(*, a:long)`
    TypeOf(TypeOf),
    /// `source | operator | ...`; without a source the first operator is one (`print`, `range`),
    /// or the rows come from where the pipe stands (`mv-apply`).
    Pipe {
        source: Option<Box<Expr>>,
        operators: Vec<Operator>,
    },
    /// `datatable (schema) [values]`
    DataTable {
        schema: Vec<ColumnDeclaration>,
        values: Vec<Expr>,
        properties: Vec<Property>,
    },
    /// `externaldata (schema) [uris] with (properties)`
    ExternalData {
        schema: Vec<ColumnDeclaration>,
        uris: Vec<Expr>,
        properties: Vec<Property>,
    },
    /// `inline_external_table ...`: read for its form only, refused at binding.
    InlineExternalTable,
    /// `entity_group [entities]`
    EntityGroup(Vec<Expr>),
    /// `macro-expand kind=k group as name (body)`
    MacroExpand {
        group: Box<Expr>,
        name: Name,
        body: Box<Body>,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub enum TypeOf {
    Scalar(Type),
    /// With a star, the columns of the input come there.
    Schema(Vec<SchemaItem>),
}

#[derive(Debug, Clone, PartialEq)]
pub enum SchemaItem {
    Star,
    Column(ColumnDeclaration),
}

/// `value`, `name = value` or `(a, b) = value`
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    pub names: Vec<Name>,
    /// Names in parentheses take the values of a function that yields several.
    pub tuple: bool,
    pub value: Expr,
}

/// `name = value` of an operator: `kind=inner`, `hint.strategy=shuffle`
#[derive(Debug, Clone, PartialEq)]
pub struct Property {
    pub name: Name,
    pub value: Expr,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Operator {
    pub kind: OperatorKind,
    pub span: Span,
}

/// `value [asc|desc] [nulls first|last]`
#[derive(Debug, Clone, PartialEq)]
pub struct Ordered {
    pub value: Named,
    pub ascending: Option<bool>,
    pub nulls_first: Option<bool>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum OperatorKind {
    As {
        name: Name,
        properties: Vec<Property>,
    },
    AssertSchema(Vec<ColumnDeclaration>),
    Consume(Vec<Property>),
    /// `count [as name]`
    Count(Option<Name>),
    Distinct(Vec<Named>),
    Evaluate {
        call: Box<Expr>,
        schema: Option<Vec<SchemaItem>>,
        properties: Vec<Property>,
    },
    ExecuteAndCache,
    Extend(Vec<Named>),
    Facet {
        by: Vec<Expr>,
        with: Option<Vec<Operator>>,
    },
    Find(Box<Find>),
    /// `fork [name=] (operators) ...`
    Fork(Vec<(Option<Name>, Vec<Operator>)>),
    GetSchema(Vec<Property>),
    GraphMarkComponents(Vec<Property>),
    GraphMatch(Box<GraphMatch>),
    GraphShortestPaths(Box<GraphMatch>),
    GraphToTable(Vec<GraphTable>),
    GraphWhere {
        edges: bool,
        predicate: Expr,
    },
    Invoke(Expr),
    Join {
        table: Box<Expr>,
        on: JoinOn,
        properties: Vec<Property>,
    },
    Lookup {
        table: Box<Expr>,
        on: JoinOn,
        properties: Vec<Property>,
    },
    MakeGraph(Box<MakeGraph>),
    MakeSeries(Box<MakeSeries>),
    MvApply {
        items: Vec<Expand>,
        limit: Option<Expr>,
        body: Box<Expr>,
        properties: Vec<Property>,
    },
    MvExpand {
        items: Vec<Expand>,
        limit: Option<Expr>,
        properties: Vec<Property>,
    },
    Parse(Box<Parse>),
    ParseKv {
        text: Expr,
        keys: Vec<ColumnDeclaration>,
        with: Vec<Property>,
    },
    Partition {
        key: Expr,
        body: Box<Expr>,
        properties: Vec<Property>,
    },
    Print(Vec<Named>),
    Project(Vec<Named>),
    ProjectAway(Vec<Expr>),
    ProjectByNames(Vec<Expr>),
    ProjectKeep(Vec<Expr>),
    ProjectRename(Vec<Named>),
    ProjectReorder(Vec<Reorder>),
    Range {
        name: Name,
        from: Expr,
        to: Expr,
        step: Expr,
    },
    Reduce {
        of: Expr,
        properties: Vec<Property>,
        with: Vec<Property>,
    },
    Render {
        kind: Name,
        properties: Vec<Property>,
    },
    Sample(Expr),
    SampleDistinct {
        count: Expr,
        of: Expr,
    },
    Scan(Box<Scan>),
    Search {
        tables: Vec<Expr>,
        predicate: Expr,
        properties: Vec<Property>,
    },
    Serialize(Vec<Named>),
    Sort(Vec<Ordered>),
    Summarize {
        aggregates: Vec<Named>,
        by: Vec<Named>,
        bin: Option<Expr>,
        properties: Vec<Property>,
    },
    Take(Expr),
    Top {
        count: Expr,
        by: Vec<Ordered>,
        properties: Vec<Property>,
    },
    TopHitters {
        count: Expr,
        of: Expr,
        by: Option<Expr>,
    },
    TopNested(Vec<NestedLevel>),
    Union {
        tables: Vec<Expr>,
        properties: Vec<Property>,
    },
    /// The grammar has `where a = b`; binding refuses the name.
    Where(Named),
}

/// `on a, $left.b == $right.c`
#[derive(Debug, Clone, PartialEq)]
pub enum JoinOn {
    On(Vec<Expr>),
    Where(Box<Expr>),
}

/// `find [in (tables)] where predicate [project columns]`
#[derive(Debug, Clone, PartialEq)]
pub struct Find {
    pub tables: Vec<Expr>,
    pub predicate: Expr,
    pub columns: FindColumns,
    pub properties: Vec<Property>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum FindColumns {
    /// `project-smart`, or nothing.
    Smart,
    /// Columns, and whether `pack(*)` is among them.
    Project { columns: Vec<(Name, Option<Type>)>, pack: bool },
}

/// `name = value to typeof(T)`
#[derive(Debug, Clone, PartialEq)]
pub struct Expand {
    pub value: Named,
    pub to: Option<Type>,
}

/// `column [asc|desc|granny-asc|granny-desc]`
#[derive(Debug, Clone, PartialEq)]
pub struct Reorder {
    pub column: Expr,
    pub order: Option<Order>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Ascending,
    Descending,
    /// Digits within names count as numbers.
    NaturalAscending,
    NaturalDescending,
}

/// `parse kind=k flags=f text with pieces`
#[derive(Debug, Clone, PartialEq)]
pub struct Parse {
    pub text: Expr,
    pub pieces: Vec<ParsePiece>,
    pub properties: Vec<Property>,
    /// `parse-where`
    pub drop_failed: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ParsePiece {
    Star,
    Text(String),
    /// `name[:type]`
    Capture {
        name: Name,
        ty: Type,
    },
}

/// `make-series aggregates on axis [from a] [to b] step c [by keys]`
#[derive(Debug, Clone, PartialEq)]
pub struct MakeSeries {
    pub series: Vec<Series>,
    pub axis: Named,
    pub from: Option<Expr>,
    pub to: Option<Expr>,
    pub step: Option<Expr>,
    /// `in range(a, b, c)`: these three are in from, to and step.
    pub in_range: bool,
    pub by: Vec<Named>,
    pub properties: Vec<Property>,
}

/// `name = aggregate default = value`
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    pub value: Named,
    pub default: Option<Expr>,
}

/// `top-nested n of value with others = x by aggregate`
#[derive(Debug, Clone, PartialEq)]
pub struct NestedLevel {
    pub count: Option<Expr>,
    pub of: Named,
    pub others: Option<Expr>,
    pub by: Ordered,
}

/// `scan [with_match_id=m] [order by o] [partition by p] [declare (v:type=default)] with (steps)`
#[derive(Debug, Clone, PartialEq)]
pub struct Scan {
    pub properties: Vec<Property>,
    pub order: Vec<Ordered>,
    pub partition: Vec<Expr>,
    pub declared: Vec<Parameter>,
    pub steps: Vec<ScanStep>,
}

/// `step name [optional] [output=o]: condition => a = x, b = y;`
#[derive(Debug, Clone, PartialEq)]
pub struct ScanStep {
    pub name: Name,
    pub optional: bool,
    pub output: StepOutput,
    pub condition: Expr,
    pub assignments: Vec<(Name, Expr)>,
}

/// `make-graph source --> target [with nodes on id, ...] [with_node_id=name] [partitioned-by ...]`
#[derive(Debug, Clone, PartialEq)]
pub struct MakeGraph {
    pub source: Name,
    pub target: Name,
    pub nodes: Vec<(Expr, Name)>,
    pub node_id: Option<Name>,
    pub partitioned_by: Option<(Name, Box<Expr>)>,
    pub properties: Vec<Property>,
}

/// `graph-match pattern, ... [where filter] project values`
#[derive(Debug, Clone, PartialEq)]
pub struct GraphMatch {
    pub patterns: Vec<Vec<PatternPart>>,
    pub filter: Option<Expr>,
    pub values: Option<Vec<Named>>,
    pub properties: Vec<Property>,
}

/// `(node)`, `-[edge*1..3]->`
#[derive(Debug, Clone, PartialEq)]
pub enum PatternPart {
    Node(Option<Name>),
    Edge { name: Option<Name>, direction: Direction, hops: Option<(Expr, Expr)> },
}

/// `nodes [as name] [with_node_id=c]`, `edges [as name] [with_source_id=c] [with_target_id=c]`
#[derive(Debug, Clone, PartialEq)]
pub struct GraphTable {
    pub edges: bool,
    pub name: Option<Name>,
    pub properties: Vec<Property>,
}
