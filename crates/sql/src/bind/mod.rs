//! Trees of the parser to the bound tree.
//!
//! A query is bound stage by stage, as it is worked out: its tables and joins (`from.rs`), conditions, groups
//! (`aggregate.rs`), window functions, the select list, order and bounds (`select.rs`). A sub-query that reads columns
//! of the query around it is bound over the distinct values of those columns and joined to them (`sub.rs`), so nothing
//! is run once for every row.

mod aggregate;
mod call;
mod coerce;
mod expr;
mod from;
mod join;
mod operator;
mod scope;
mod select;
mod sub;
mod tsql;
mod window;
mod written;

use std::collections::BTreeMap;
use std::sync::Arc;

use gantry_kql::Catalog;
use gantry_kql::Span;
use gantry_kql::bound::{Bound, Column, Expr, ExprKind, Query, Rel, RelKind, ResultTable, Schema};
use gantry_kql::value::{Type, Value};
use sqlparser::ast;

use crate::error::{Error, Result, state};
use crate::types::{Base, SqlType};
use expr::choice;
use scope::{Field, Scalar, Table};

/// A value for `$n`.
#[derive(Debug, Clone, Default)]
pub struct Parameter {
    /// Its type; where it stands says so without.
    pub ty: Option<SqlType>,
    /// Its value; not known yet without, as when a statement is described.
    pub value: Option<Value>,
}

/// Which SQL is meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Dialect {
    /// That of PostgreSQL.
    #[default]
    PostgreSql,
    /// T-SQL, read by [`crate::tsql::query`].
    TSql,
}

/// What is the same for a whole session: the dialect, and what functions about the session answer.
#[derive(Clone, Copy)]
pub struct Environment<'a> {
    /// The dialect.
    pub dialect: Dialect,
    /// Who asks.
    pub user: &'a str,
    /// The number of the connection.
    pub pid: i32,
    /// What `SHOW` says of a setting, in lower case.
    pub setting: &'a dyn Fn(&str) -> Option<String>,
}

impl Environment<'_> {
    /// Nobody in particular.
    pub const NONE: Environment<'static> =
        Environment { dialect: Dialect::PostgreSql, user: "gantry", pid: 0, setting: &|_| None };
}

/// Where a column of a result comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The number of the table.
    pub table: u32,
    /// The number of its column, from 1.
    pub column: i16,
}

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultColumn {
    /// Its name; several may have the same.
    pub name: String,
    /// Its type.
    pub ty: SqlType,
    /// The column of a table it is, if it is one.
    pub origin: Option<Origin>,
}

/// A statement ready to be run.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// What the engine runs: one query with one result.
    pub bound: Bound,
    /// The columns of the result.
    pub columns: Vec<ResultColumn>,
    /// The types of the parameters.
    pub parameters: Vec<SqlType>,
}

/// Binds the text of one query.
///
/// # Errors
/// When it is none, or means nothing here.
pub fn bind(
    text: &str,
    catalog: &dyn Catalog,
    parameters: &[Parameter],
    environment: &Environment,
) -> Result<Prepared> {
    bind_query(&crate::parse::query(text)?, catalog, parameters, environment)
}

/// Binds a query that is parsed.
///
/// # Errors
/// When it means nothing here.
pub fn bind_query(
    query: &ast::Query,
    catalog: &dyn Catalog,
    parameters: &[Parameter],
    environment: &Environment,
) -> Result<Prepared> {
    let mut binder = Binder {
        catalog,
        environment,
        given: parameters,
        parameters: parameters.iter().map(|parameter| parameter.ty).collect(),
        materialized: Vec::new(),
        scalars: Vec::new(),
        ctes: Vec::new(),
        tables: BTreeMap::new(),
        depth: 0,
        queries: 0,
    };
    let table = binder.query(query, None, None)?;
    let (rel, columns) = binder.result(&table)?;
    if !rel.is_within_limits() || !binder.materialized.iter().chain(&binder.scalars).all(|rel| rel.is_within_limits()) {
        return Err(Error::new(state::STATEMENT_TOO_COMPLEX, "the statement is too large or too deep"));
    }
    let bound = Bound {
        queries: vec![Query { results: vec![ResultTable { name: None, rel }], render: None, span: Span::default() }],
        options: Vec::new(),
        materialized: binder.materialized,
        scalars: binder.scalars,
    };
    // What nothing has told is a text, as it is there.
    let parameters = binder.parameters.iter().map(|ty| ty.unwrap_or(SqlType::TEXT)).collect();
    Ok(Prepared { bound, columns, parameters })
}

/// Parameters of a statement: as many as the protocol can count.
const PARAMETERS_MAX: usize = 65_535;
/// Expressions within each other.
const DEPTH_MAX: usize = 400;
/// Queries that are bound for one statement, those counted that are bound again.
const QUERIES_MAX: usize = 2_000;

/// A statement while it is bound.
struct Binder<'a> {
    catalog: &'a dyn Catalog,
    environment: &'a Environment<'a>,
    given: &'a [Parameter],
    parameters: Vec<Option<SqlType>>,
    materialized: Vec<Arc<Rel>>,
    scalars: Vec<Arc<Rel>>,
    /// The names of `with`, the nearest last.
    ctes: Vec<(String, Table)>,
    /// Tables of the catalogue of PostgreSQL that were asked for.
    tables: BTreeMap<&'static str, Table>,
    depth: usize,
    queries: usize,
}

impl Binder<'_> {
    /// One level deeper.
    fn deeper<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= DEPTH_MAX {
            return Err(Error::new(
                state::STATEMENT_TOO_COMPLEX,
                format!("expressions nest at most {DEPTH_MAX} levels"),
            ));
        }
        self.depth += 1;
        let worked = work(self);
        self.depth -= 1;
        worked
    }

    /// The value of `$n`.
    fn parameter(&mut self, name: &str) -> Result<Scalar> {
        let wrong = || Error::new(state::UNDEFINED_PARAMETER, format!("there is no parameter {name}"));
        let number: usize = name.strip_prefix('$').and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?;
        if number == 0 || number > PARAMETERS_MAX {
            return Err(wrong());
        }
        if self.parameters.len() < number {
            self.parameters.resize(number, None);
        }
        let at = number - 1;
        let value = self.given.get(at).and_then(|given| given.value.clone());
        Ok(match self.parameters[at] {
            Some(ty) => {
                let null = value.as_ref().is_none_or(|value| *value == Value::Null);
                let mut scalar = Scalar::literal(value.unwrap_or(Value::Null), ty);
                scalar.nullable = null;
                scalar
            }
            None => Scalar { parameter: Some(at), ..Scalar::literal(value.unwrap_or(Value::Null), SqlType::UNKNOWN) },
        })
    }

    /// A column of what an earlier part of the tree makes, by number.
    fn share(&mut self, rel: Arc<Rel>) -> Arc<Rel> {
        let (schema, serialized) = (Arc::clone(&rel.schema), rel.serialized);
        self.materialized.push(rel);
        let kind = RelKind::Materialized(self.materialized.len() - 1);
        Arc::new(Rel::new(kind, schema, serialized, Span::default()))
    }

    /// The rows of the whole statement, with names that a schema may have.
    fn result(&mut self, table: &Table) -> Result<(Arc<Rel>, Vec<ResultColumn>)> {
        let mut values = Vec::new();
        let mut columns = Vec::new();
        let mut names: Vec<Arc<str>> = Vec::new();
        for field in &table.fields {
            let mut scalar = field.scalar();
            let registered =
                matches!(scalar.ty.base, Base::Regclass | Base::Regtype | Base::Regproc | Base::Regnamespace);
            if scalar.ty == SqlType::UNKNOWN || (registered && !scalar.ty.array) {
                // What is printed is a name.
                scalar = self.cast(scalar, SqlType::TEXT)?;
            }
            let mut name: Arc<str> = field.name.as_str().into();
            let mut count = 1;
            while names.contains(&name) {
                name = format!("{}_{count}", field.name).into();
                count += 1;
                if count > 2_000 {
                    return Err(Error::new(state::STATEMENT_TOO_COMPLEX, "too many columns of one name"));
                }
            }
            names.push(name);
            columns.push(ResultColumn { name: field.name.clone(), ty: scalar.ty, origin: field.origin });
            values.push(scalar.expr);
        }
        if values.len() > COLUMNS_MAX {
            return Err(Error::new(state::STATEMENT_TOO_COMPLEX, format!("at most {COLUMNS_MAX} columns")));
        }
        let schema = names.into_iter().zip(&values).map(|(name, value)| Column::new(name, value.ty)).collect();
        let kind = RelKind::Project { input: Arc::clone(&table.rel), values };
        let rel = Rel::new(kind, Arc::new(Schema::of(schema)), table.rel.serialized, Span::default());
        Ok((Arc::new(rel), columns))
    }
}

/// Columns of a result, as at PostgreSQL.
const COLUMNS_MAX: usize = 1_664;

/// An operator whose columns are known by their places.
fn rel(kind: RelKind, types: impl IntoIterator<Item = Type>, serialized: bool) -> Arc<Rel> {
    let columns = types.into_iter().enumerate().map(|(at, ty)| Column::new(format!("c{at}"), ty)).collect();
    Arc::new(Rel::new(kind, Arc::new(Schema::of(columns)), serialized, Span::default()))
}

/// The types of an operator's columns.
fn types(of: &Rel) -> impl Iterator<Item = Type> + '_ {
    of.schema.columns.iter().map(|column| column.ty)
}

/// These values for every row.
fn project(input: Arc<Rel>, values: Vec<Expr>) -> Arc<Rel> {
    let serialized = input.serialized;
    let types: Vec<Type> = values.iter().map(|value| value.ty).collect();
    rel(RelKind::Project { input, values }, types, serialized)
}

/// The rows for which it is true.
fn filter(input: Arc<Rel>, predicate: Expr) -> Arc<Rel> {
    let serialized = input.serialized;
    let types: Vec<Type> = types(&input).collect();
    rel(RelKind::Where { input, predicate }, types, serialized)
}

/// All columns of an operator as expressions.
fn columns(of: &Rel) -> Vec<Expr> {
    types(of).enumerate().map(|(at, ty)| Expr::column(at, ty, Span::default())).collect()
}

/// An expression.
fn expr(kind: ExprKind, ty: Type) -> Expr {
    Expr::new(kind, ty, Span::default())
}

/// A whole number without columns.
fn number(value: i64) -> Expr {
    Expr::literal(Value::Long(value), Type::Long, Span::default())
}

/// True or false.
fn truth(value: bool) -> Expr {
    Expr::literal(Value::Bool(value), Type::Bool, Span::default())
}

/// A call of a function of the engine.
fn call(name: &'static str, arguments: Vec<Expr>, ty: Type) -> Expr {
    expr(ExprKind::Call { function: crate::functions::engine(name), arguments: arguments.into() }, ty)
}

/// Whether a value is null.
fn is_null(of: Expr) -> Expr {
    call("isnull", vec![of], Type::Bool)
}

/// The other truth.
fn not(of: Expr) -> Expr {
    call("not", vec![of], Type::Bool)
}

/// The same expression over other columns.
fn remap(of: &Expr, to: &dyn Fn(usize, Type) -> Expr) -> Expr {
    let again = |part: &Expr| Arc::new(remap(part, to));
    let all = |parts: &[Expr]| parts.iter().map(|part| remap(part, to)).collect::<Arc<[Expr]>>();
    let kind = match &of.kind {
        ExprKind::Column(at) => return to(*at, of.ty),
        ExprKind::Negate(part) => ExprKind::Negate(again(part)),
        ExprKind::And(parts) => ExprKind::And(all(parts)),
        ExprKind::Or(parts) => ExprKind::Or(all(parts)),
        ExprKind::Binary { op, left, right } => ExprKind::Binary { op: *op, left: again(left), right: again(right) },
        ExprKind::In { op, value, list } => ExprKind::In {
            op: *op,
            value: again(value),
            list: match list {
                gantry_kql::bound::List::Values(values) => gantry_kql::bound::List::Values(all(values)),
                table => table.clone(),
            },
        },
        ExprKind::Call { function, arguments } => ExprKind::Call { function, arguments: all(arguments) },
        ExprKind::Cast(part) => ExprKind::Cast(again(part)),
        ExprKind::Member { of, name } => ExprKind::Member { of: again(of), name: Arc::clone(name) },
        ExprKind::Index { of, index } => ExprKind::Index { of: again(of), index: again(index) },
        // Nothing else is made here that has columns.
        other => other.clone(),
    };
    expr(kind, of.ty)
}

/// Calls for every column of an expression.
fn each_column(of: &Expr, f: &mut dyn FnMut(usize)) {
    if let ExprKind::Column(at) = of.kind {
        f(at);
    }
    of.for_each_child(&mut |child| each_column(child, f));
}

/// A row without columns.
fn one_row() -> Arc<Rel> {
    rel(RelKind::Print { values: Vec::new() }, [], true)
}

impl Table {
    /// Rows of a literal table.
    fn literal(fields: Vec<Field>, rows: Vec<Vec<Value>>) -> Table {
        let types: Vec<Type> = fields.iter().map(|field| field.ty.held(field.nullable)).collect();
        Table { rel: rel(RelKind::DataTable { rows }, types, false), fields, outer: Vec::new() }
    }
}
