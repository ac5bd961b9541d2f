//! A tree to a bound tree: names, types, column names.
//!
//! Names are looked up first among the columns of the rows at hand, then in the scopes of the
//! statements around, then in the catalogue. What `let` and functions stand for is bound once
//! per use of a function and once per `let`, and shared from there. A function's argument that
//! depends on a row may only be used for that same row (`RowId`): within a table of the
//! function's body it would mean something else, and is refused as the service does.

mod aggregate;
mod call;
mod expr;
mod find;
mod graph;
mod group;
mod item;
mod join;
mod names;
mod operator;
mod plugin;
mod project;
mod reshape;
mod scan;
mod series;
mod types;

use crate::ast::{self, StatementKind};
use crate::bound::{Bound, Cost, Expr, Graph, Query, Rel, RelKind, Render, ResultTable, Schema};
use crate::catalog::Catalog;
use crate::diagnostic::{Code, Diagnostic, Span};
use crate::parse::literal;
use crate::value::{Type, Value};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

type Result<T> = std::result::Result<T, Box<Diagnostic>>;

/// How many functions may be under way within each other.
const CALLS_MAX: u32 = 48;

/// How many columns a table may have.
const COLUMNS_MAX: usize = 10_000;

/// How many nodes all binding of one text may make.
const WORK_MAX: u64 = 2_000_000;

/// Binds a script.
///
/// `parameters` are the values of query parameters: for each name the text of a literal
/// (`10`, `'abc'`, `datetime(2024-01-01)`), or for a string parameter any text.
pub fn bind(
    script: &ast::Script,
    catalog: &dyn Catalog,
    parameters: &HashMap<String, String>,
) -> std::result::Result<Bound, Vec<Diagnostic>> {
    let mut binder = Binder::new(catalog);
    binder.script(script, parameters, None).map_err(|fault| vec![*fault])
}

/// Binds the operators behind a management command (`.show tables | where ...`): `script` is one
/// statement whose first operator reads the rows of [`RelKind::Input`] with this schema.
pub fn bind_over(
    script: &ast::Script,
    catalog: &dyn Catalog,
    schema: Schema,
) -> std::result::Result<Bound, Vec<Diagnostic>> {
    let mut binder = Binder::new(catalog);
    let input = Arc::new(Rel::new(RelKind::Input, Arc::new(schema), true, Span::default()));
    binder.script(script, &HashMap::new(), Some(input)).map_err(|fault| vec![*fault])
}

/// What an expression turns out to be.
#[derive(Clone)]
enum Item {
    Scalar(Expr),
    Rel(Arc<Rel>),
    Graph(Arc<Graph>),
    Database(String),
    Cluster,
    Group(Rc<Vec<ast::Expr>>),
}

/// What a name of a scope stands for.
#[derive(Clone)]
enum Entity {
    /// A value, and the row its columns are of.
    Scalar(Expr, Option<RowId>),
    /// A table, and whether `union *` and `find` see it.
    Rel(Arc<Rel>, bool),
    Graph(Arc<Graph>),
    Function(Rc<UserFunction>),
    Database(String),
    Group(Rc<Vec<ast::Expr>>),
    Pattern,
}

/// A function somebody wrote, and the scope it was written in.
struct UserFunction {
    function: ast::Function,
    env: Env,
    database: String,
    /// Of the catalogue: places in its text mean nothing to who called it.
    stored: bool,
}

/// Names that are known at a place: those of a frame up to a number, then those around it.
#[derive(Clone)]
struct Env {
    frame: Rc<Frame>,
    known: usize,
    /// What `restrict access` leaves: databases and patterns of names.
    restriction: Option<Rc<Vec<(String, String)>>>,
}

struct Frame {
    names: RefCell<HashMap<String, (usize, Entity)>>,
    around: Option<Env>,
}

impl Env {
    fn root() -> Self {
        Self { frame: Rc::new(Frame { names: RefCell::default(), around: None }), known: 0, restriction: None }
    }

    /// A new scope within this one.
    fn inner(&self) -> Self {
        let frame = Rc::new(Frame { names: RefCell::default(), around: Some(self.clone()) });
        Self { frame, known: 0, restriction: self.restriction.clone() }
    }

    /// Adds a name; false when this scope has it already.
    fn add(&mut self, name: &str, entity: Entity) -> bool {
        let mut names = self.frame.names.borrow_mut();
        if names.contains_key(name) {
            return false;
        }
        names.insert(name.into(), (self.known, entity));
        self.known += 1;
        true
    }

    fn get(&self, name: &str) -> Option<Entity> {
        let mut env = self;
        loop {
            if let Some((number, entity)) = env.frame.names.borrow().get(name)
                && *number < env.known
            {
                return Some(entity.clone());
            }
            env = env.frame.around.as_ref()?;
        }
    }

    /// Names and entities, those of inner scopes first.
    fn each(&self, f: &mut dyn FnMut(&str, &Entity)) {
        let mut env = Some(self);
        while let Some(here) = env {
            let names = here.frame.names.borrow();
            let mut known: Vec<_> = names.iter().filter(|(_, (number, _))| *number < here.known).collect();
            known.sort_by_key(|(_, (number, _))| *number);
            known.iter().for_each(|(name, (_, entity))| f(name, entity));
            env = here.frame.around.as_ref();
        }
    }
}

/// Which rows a column index is of.
type RowId = u64;

/// The rows at hand.
struct Row<'r> {
    id: RowId,
    schema: &'r Schema,
    kind: RowKind<'r>,
    serialized: bool,
}

#[derive(Clone, Copy)]
enum RowKind<'r> {
    Plain,
    /// A step of `scan`: the states of these steps; the schema is the input's and the declared.
    Scan(&'r [String]),
    /// A graph pattern.
    Graph(&'r graph::Scope<'r>),
    /// A node or an edge of a graph.
    Element,
    /// `find` and `search`: a name that is no column is absent.
    Lenient,
}

/// Where an expression stands.
#[derive(Clone, Copy)]
struct Cx<'c> {
    env: &'c Env,
    row: Option<&'c Row<'c>>,
    /// The row whose columns values of functions' arguments may be of.
    row_id: Option<RowId>,
    /// The database of bare names.
    database: &'c str,
}

impl<'c> Cx<'c> {
    fn with_row(self, row: &'c Row<'c>) -> Self {
        Self { row: Some(row), row_id: Some(row.id), ..self }
    }

    fn without_row(self) -> Self {
        Self { row: None, row_id: None, ..self }
    }

    fn with_env(self, env: &'c Env) -> Self {
        Self { env, ..self }
    }
}

/// Tables under the names a text gives them.
type NamedTables = Vec<(ast::Name, Arc<Rel>)>;

/// What a pipe yields beside its rows.
#[derive(Default)]
struct Extras {
    render: Option<Render>,
    name: Option<String>,
    results: Option<Vec<ResultTable>>,
    /// Tables later statements know by name.
    named: NamedTables,
}

struct Binder<'a> {
    catalog: &'a dyn Catalog,
    bound: Bound,
    /// Aggregates found while binding an expression that may hold some.
    aggregates: Option<Vec<crate::bound::Aggregate>>,
    /// The keys of the groups whose aggregates are bound.
    keys: Vec<Expr>,
    calls: u32,
    /// How many bodies of `partition` are around.
    partitions: u32,
    work: u64,
    rows: RowId,
    /// Where faults within stored functions are reported.
    call_site: Option<Span>,
}

impl<'a> Binder<'a> {
    fn new(catalog: &'a dyn Catalog) -> Self {
        let bound = Bound { queries: Vec::new(), options: Vec::new(), materialized: Vec::new(), scalars: Vec::new() };
        Self {
            catalog,
            bound,
            aggregates: None,
            keys: Vec::new(),
            calls: 0,
            partitions: 0,
            work: 0,
            rows: 0,
            call_site: None,
        }
    }

    fn script(
        &mut self,
        script: &ast::Script,
        parameters: &HashMap<String, String>,
        input: Option<Arc<Rel>>,
    ) -> Result<Bound> {
        let database = self.catalog.default_database();
        let mut env = Env::root();
        for statement in &script.statements {
            if let StatementKind::Query(expr) = &statement.kind {
                let around = env.clone();
                let cx = Cx { env: &around, row: None, row_id: None, database: &database };
                let (query, named) = self.query(expr, statement.span, cx, input.clone())?;
                self.bound.queries.push(query);
                for (name, rel) in named {
                    self.declare(&mut env, &name, Entity::Rel(rel, false))?;
                }
            } else {
                self.statement(statement, &mut env, &database, None, Some(parameters))?;
            }
        }
        let empty = Bound { queries: Vec::new(), options: Vec::new(), materialized: Vec::new(), scalars: Vec::new() };
        Ok(std::mem::replace(&mut self.bound, empty))
    }

    fn query(
        &mut self,
        expr: &ast::Expr,
        span: Span,
        cx: Cx<'_>,
        input: Option<Arc<Rel>>,
    ) -> Result<(Query, NamedTables)> {
        let mut extras = Extras::default();
        let item = self.pipe(expr, cx, input, Some(&mut extras))?;
        let rel = match item {
            Item::Rel(rel) => rel,
            Item::Scalar(_) => {
                let message = "a query yields a table, and this is a value: put `print` before it";
                return self.fault(Code::WrongShape, span, message);
            }
            _ => return self.fault(Code::WrongShape, span, "a query yields a table"),
        };
        let results = match extras.results {
            Some(results) => results,
            None => vec![ResultTable { name: extras.name, rel }],
        };
        Ok((Query { results, render: extras.render, span }, extras.named))
    }

    /// A statement that yields no table. `row` is the row values of a function's arguments are of.
    fn statement(
        &mut self,
        statement: &ast::Statement,
        env: &mut Env,
        database: &str,
        row: Option<RowId>,
        parameters: Option<&HashMap<String, String>>,
    ) -> Result<()> {
        match &statement.kind {
            StatementKind::Let { name, value } => {
                let entity = match value {
                    ast::LetValue::Function(function) => Entity::Function(Rc::new(UserFunction {
                        function: function.clone(),
                        env: env.clone(),
                        database: database.into(),
                        stored: false,
                    })),
                    ast::LetValue::Expr(expr) => {
                        let around = env.clone();
                        let cx = Cx { env: &around, row: None, row_id: row, database };
                        match self.pipe(expr, cx, None, None)? {
                            Item::Scalar(value) => {
                                let row = if value.has_columns() { row } else { None };
                                Entity::Scalar(value, row)
                            }
                            Item::Rel(rel) => Entity::Rel(rel, false),
                            Item::Graph(graph) => Entity::Graph(graph),
                            Item::Database(name) => Entity::Database(name),
                            Item::Group(group) => Entity::Group(group),
                            Item::Cluster => return self.no_cluster(expr.span),
                        }
                    }
                };
                self.declare(env, name, entity)
            }
            StatementKind::Set { name, value } => {
                let value = match value {
                    Some(value) => self.property_value(value)?,
                    None => Value::Bool(true),
                };
                self.bound.options.push((name.text.clone(), value));
                Ok(())
            }
            StatementKind::QueryParameters(declared) => {
                let Some(parameters) = parameters else {
                    return self.fault(Code::NotSupported, statement.span, "query parameters within a function");
                };
                for parameter in declared {
                    let value = self.query_parameter(parameter, parameters, env, database)?;
                    self.declare(env, &parameter.name, Entity::Scalar(value, None))?;
                }
                Ok(())
            }
            StatementKind::Pattern { name } => self.declare(env, name, Entity::Pattern),
            StatementKind::Alias { name, target } => {
                let around = env.clone();
                let cx = Cx { env: &around, row: None, row_id: None, database };
                match self.item(target, cx)? {
                    Item::Database(target) => self.declare(env, name, Entity::Database(target)),
                    Item::Cluster => self.no_cluster(target.span),
                    _ => self.fault(Code::WrongShape, target.span, "an alias stands for a database"),
                }
            }
            StatementKind::Restrict(list) => {
                let around = env.clone();
                let cx = Cx { env: &around, row: None, row_id: None, database };
                env.restriction = Some(Rc::new(self.restriction(list, cx)?));
                Ok(())
            }
            StatementKind::Query(expr) => {
                self.fault(Code::Syntax, expr.span, "only the last expression of a body is its value")
            }
        }
    }

    fn query_parameter(
        &mut self,
        parameter: &ast::Parameter,
        given: &HashMap<String, String>,
        env: &Env,
        database: &str,
    ) -> Result<Expr> {
        let span = parameter.name.span;
        let ast::ParameterType::Scalar(ty) = parameter.ty else {
            return self.fault(Code::Parameter, span, "a query parameter is a scalar");
        };
        let name = &parameter.name.text;
        if let Some(text) = given.get(name) {
            let value = parameter_value(text, ty);
            return match value {
                Some(value) => Ok(Expr::literal(value, ty, span)),
                None => self.fault(Code::Parameter, span, format!("the value of query parameter `{name}` is no {ty}")),
            };
        }
        match &parameter.default {
            Some(default) => {
                let cx = Cx { env, row: None, row_id: None, database };
                let value = self.expr(default, cx)?;
                self.coerce(value, ty)
            }
            None => self.fault(Code::Parameter, span, format!("query parameter `{name}` has no value")),
        }
    }

    fn declare(&self, env: &mut Env, name: &ast::Name, entity: Entity) -> Result<()> {
        if env.add(&name.text, entity) {
            return Ok(());
        }
        self.fault(Code::DuplicateName, name.span, format!("`{}` is declared already", name.text))
    }

    /// The constant value of an operator's property or a `set`; a bare word is a text.
    fn property_value(&self, expr: &ast::Expr) -> Result<Value> {
        match &expr.kind {
            ast::ExprKind::Literal(value, _) => Ok(value.clone()),
            ast::ExprKind::Name(word) => Ok(Value::String(word.clone())),
            _ => self.fault(Code::NotConstant, expr.span, "expected a literal"),
        }
    }

    fn property<'p>(&self, properties: &'p [ast::Property], name: &str) -> Option<&'p ast::Expr> {
        properties.iter().find(|property| property.name.text == name).map(|property| &property.value)
    }

    /// The text of a property, of a word or a literal.
    fn property_text(&self, properties: &[ast::Property], name: &str) -> Result<Option<String>> {
        match self.property(properties, name) {
            Some(expr) => Ok(Some(self.property_value(expr)?.to_string())),
            None => Ok(None),
        }
    }

    fn property_values(&self, properties: &[ast::Property]) -> Result<Vec<(String, Value)>> {
        properties
            .iter()
            .map(|property| Ok((property.name.text.clone(), self.property_value(&property.value)?)))
            .collect()
    }

    fn fault<T>(&self, code: Code, span: Span, message: impl Into<String>) -> Result<T> {
        Err(Box::new(Diagnostic::new(code, self.call_site.unwrap_or(span), message)))
    }

    fn no_cluster<T>(&self, span: Span) -> Result<T> {
        self.fault(Code::NotSupported, span, "queries across clusters are not implemented")
    }

    /// An operator, within the limits.
    fn rel(&mut self, kind: RelKind, schema: Schema, serialized: bool, span: Span) -> Result<Arc<Rel>> {
        self.rel_of(kind, Arc::new(schema), serialized, span)
    }

    fn rel_of(&mut self, kind: RelKind, schema: Arc<Schema>, serialized: bool, span: Span) -> Result<Arc<Rel>> {
        if schema.columns.len() > COLUMNS_MAX {
            return self.fault(Code::TooComplex, span, format!("more than {COLUMNS_MAX} columns"));
        }
        self.charge(schema.columns.len() as u64, span)?;
        let rel = Rel::new(kind, schema, serialized, span);
        self.limit(rel.cost(), span)?;
        Ok(Arc::new(rel))
    }

    /// An expression, within the limits.
    fn make(&mut self, kind: crate::bound::ExprKind, ty: Type, span: Span) -> Result<Expr> {
        let expr = Expr::new(kind, ty, span);
        self.limit(expr.cost(), span)?;
        Ok(expr)
    }

    fn limit(&mut self, cost: Cost, span: Span) -> Result<()> {
        self.work += 1;
        if cost.within_limits() && self.work <= WORK_MAX {
            return Ok(());
        }
        self.fault(Code::TooComplex, span, "the query is too complex: too deep, or too large when written out")
    }

    /// Counts looking through so many columns or nodes as work.
    fn charge(&mut self, looked_at: u64, span: Span) -> Result<()> {
        self.work = self.work.saturating_add(looked_at / 16);
        self.limit(Cost::default(), span)
    }

    /// Rows of their own for the columns of a schema.
    fn row<'r>(&mut self, schema: &'r Schema, kind: RowKind<'r>, serialized: bool) -> Row<'r> {
        self.rows += 1;
        Row { id: self.rows, schema, kind, serialized }
    }
}

/// The value of a query parameter from the text a client sent.
fn parameter_value(text: &str, ty: Type) -> Option<Value> {
    let text = text.trim();
    match literal::parse_literal(text) {
        Ok((Value::Null, _)) if ty != Type::String => return Some(Value::Null),
        Ok((value, found)) if found == ty => return Some(value),
        Ok((Value::String(inner), _)) => return literal::value_of(ty, &inner),
        Ok((Value::Long(value), _)) if ty == Type::Real => return Some(Value::Real(value as f64)),
        Ok((value, _)) if ty == Type::Dynamic => return Some(Value::Dynamic(value.into_dynamic())),
        _ => {}
    }
    if ty == Type::Dynamic {
        return crate::value::Dynamic::parse_json(text).map(Value::Dynamic);
    }
    literal::value_of(ty, text)
}
