//! What names mean: values, tables, and the stage of a query an expression is in.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use gantry_kql::Span;
use gantry_kql::bound::{Aggregate, Expr, ExprKind, Rel};
use gantry_kql::value::{Type, Value};
use sqlparser::ast::Ident;

use super::Origin;
use super::sub::Apply;
use super::window::Windowed;
use crate::error::{Error, Result, state};
use crate::types::SqlType;

/// A value of the dialect.
#[derive(Debug, Clone)]
pub struct Scalar {
    /// How it is worked out. Its type is `ty.held(nullable)`, or of a null literal whatever its place needs.
    pub expr: Expr,
    /// Its type.
    pub ty: SqlType,
    /// Whether it may be null.
    pub nullable: bool,
    /// Months of an interval literal, beside the rest in `expr`.
    pub months: i64,
    /// The parameter it is, while its type is not known.
    pub parameter: Option<usize>,
    /// The column of a table it is.
    pub origin: Option<Origin>,
}

impl Scalar {
    /// A computed value.
    pub fn new(expr: Expr, ty: SqlType, nullable: bool) -> Scalar {
        Scalar { expr, ty, nullable, months: 0, parameter: None, origin: None }
    }

    /// A value that is written.
    pub fn literal(value: Value, ty: SqlType) -> Scalar {
        let nullable = value == Value::Null;
        Scalar::new(Expr::literal(value, ty.held(nullable), Span::default()), ty, nullable)
    }

    /// A text that is written.
    pub fn text(value: impl Into<String>) -> Scalar {
        Scalar::literal(Value::String(value.into()), SqlType::TEXT)
    }

    /// A truth.
    pub fn bool(expr: Expr, nullable: bool) -> Scalar {
        Scalar::new(expr, SqlType::BOOL, nullable)
    }

    /// Whether it is null whatever the row.
    pub fn is_null_literal(&self) -> bool {
        self.expr.as_literal() == Some(&Value::Null) && self.parameter.is_none()
    }
}

/// A column of a table or query.
#[derive(Debug, Clone)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: SqlType,
    /// Whether it may be null.
    pub nullable: bool,
    /// Which column of the rows it is.
    pub at: usize,
    /// The column of a table it is.
    pub origin: Option<Origin>,
}

impl Field {
    /// A column.
    pub fn new(name: impl Into<String>, ty: SqlType, nullable: bool, at: usize) -> Field {
        Field { name: name.into(), ty, nullable, at, origin: None }
    }

    /// Its value.
    pub fn scalar(&self) -> Scalar {
        let expr = Expr::column(self.at, self.ty.held(self.nullable), Span::default());
        Scalar { origin: self.origin, ..Scalar::new(expr, self.ty, self.nullable) }
    }
}

/// Rows with their columns.
#[derive(Debug, Clone)]
pub struct Table {
    /// The rows.
    pub rel: Arc<Rel>,
    /// The columns.
    pub fields: Vec<Field>,
    /// The columns of the query around, of a sub-query that reads some.
    pub outer: Vec<usize>,
}

/// A table of `from` under its name.
#[derive(Debug, Clone)]
pub struct Relation {
    /// The alias, or the name.
    pub name: String,
    /// The schema, unless there is an alias.
    pub schema: Option<String>,
    /// Its columns, numbered over all tables of the query.
    pub fields: Vec<Field>,
    /// Columns that `using` has merged into those of another table: a bare name and a star pass over them.
    pub merged: Vec<String>,
}

/// The tables that names are looked up in.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// In their order.
    pub relations: Vec<Relation>,
}

/// What a sub-query reads of the query around it.
#[derive(Debug, Clone)]
pub struct Link {
    /// The values, over the rows of the query around. They are found out by binding the sub-query once.
    pub values: Rc<RefCell<Vec<Scalar>>>,
    /// Their distinct values, which the sub-query is bound over the second time.
    pub domain: Option<Arc<Rel>>,
}

/// Groups of a stage behind `group by`.
#[derive(Debug)]
pub struct Grouping<'a> {
    /// The stage of the rows that are grouped.
    pub rows: &'a Stage<'a>,
    /// The keys, over those rows; key n is column n.
    pub keys: Vec<Scalar>,
    /// The aggregates so far.
    pub aggregates: RefCell<Vec<Aggregate>>,
}

/// A stage of a query: the rows that expressions are over, and what they need beside them.
#[derive(Debug, Default)]
pub struct Stage<'a> {
    /// The tables.
    pub scope: Scope,
    /// The stage of the query around.
    pub parent: Option<&'a Stage<'a>>,
    /// What this query reads of it.
    pub link: Option<Link>,
    /// Where these values are among the columns of this stage.
    pub outer: Vec<usize>,
    /// Behind `group by`.
    pub grouping: Option<Grouping<'a>>,
    /// Sub-queries that are joined to the rows.
    pub applies: RefCell<Vec<Apply>>,
    /// Window functions.
    pub windows: RefCell<Vec<Windowed>>,
    /// Functions that yield several rows: their arrays and the type of the elements.
    pub sets: RefCell<Vec<(Expr, SqlType)>>,
    /// Windows named in `window`.
    pub named_windows: Vec<sqlparser::ast::NamedWindowDefinition>,
    /// What may not stand here, and its name.
    pub plain: Option<&'static str>,
}

/// Columns that are not there yet have numbers from here on, a range for each kind.
pub const APPLIED: usize = 1 << 24;
/// Window functions.
pub const WINDOWED: usize = 2 << 24;
/// Functions that yield several rows.
pub const SETS: usize = 3 << 24;
/// Values of the query around, while they are being found out.
pub const OUTER: usize = 4 << 24;
/// Aggregates, while they are being found out.
pub const AGGREGATED: usize = 5 << 24;

impl Scope {
    /// The column of a name of one to four parts.
    pub fn find(&self, path: &[Ident]) -> Result<Option<&Field>> {
        let Some((column, qualifiers)) = path.split_last() else { return Ok(None) };
        // Exact names first: those of the tables have capitals, which PostgreSQL would fold unless they are quoted.
        for exact in [true, false] {
            let same = |name: &str, ident: &Ident| matches(name, ident, exact);
            let mut found: Option<&Field> = None;
            for relation in &self.relations {
                let named = match qualifiers {
                    [] => true,
                    [table] => same(&relation.name, table) || matches(&relation.name, table, false),
                    [.., schema, table] => {
                        matches(&relation.name, table, false)
                            && relation.schema.as_deref().is_some_and(|name| matches(name, schema, false))
                    }
                };
                if !named {
                    continue;
                }
                for field in &relation.fields {
                    if !same(&field.name, column) || (qualifiers.is_empty() && relation.merged.contains(&field.name)) {
                        continue;
                    }
                    if found.is_some() {
                        return Err(Error::new(
                            state::AMBIGUOUS_COLUMN,
                            format!("column reference \"{}\" is ambiguous", column.value),
                        )
                        .or_at(column.span));
                    }
                    found = Some(field);
                }
            }
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The table of a name.
    pub fn relation(&self, name: &Ident) -> Option<&Relation> {
        let find = |exact| self.relations.iter().find(|relation| matches(&relation.name, name, exact));
        find(true).or_else(|| find(false))
    }
}

/// Whether a written name means a name. A bare one is folded to lower case, and if nothing has that name it means one
/// that differs in case only: the tables are spelled as KQL has them.
pub fn matches(name: &str, ident: &Ident, exact: bool) -> bool {
    if exact {
        if ident.quote_style.is_some() { name == ident.value } else { name == ident.value.to_lowercase() }
    } else {
        ident.quote_style.is_none() && name.eq_ignore_ascii_case(&ident.value)
    }
}

/// The name as PostgreSQL would have it.
pub fn folded(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

impl Stage<'_> {
    /// The value of a name, here or in the queries around.
    pub fn resolve(&self, path: &[Ident]) -> Result<Option<Scalar>> {
        let rows = self.grouping.as_ref().map_or(self, |grouping| grouping.rows);
        if let Some(field) = rows.scope.find(path)? {
            return match &self.grouping {
                None => Ok(Some(field.scalar())),
                Some(grouping) => match grouping.key(&field.scalar().expr) {
                    Some(key) => Ok(Some(key)),
                    None => Err(Error::new(
                        state::GROUPING_ERROR,
                        format!(
                            "column \"{}\" must appear in the GROUP BY clause or be used in an aggregate function",
                            path.iter().map(|part| part.value.as_str()).collect::<Vec<_>>().join(".")
                        ),
                    )
                    .or_at(path[0].span)),
                },
            };
        }
        let Some(parent) = self.parent else { return Ok(None) };
        let Some(value) = parent.resolve(path)? else { return Ok(None) };
        Ok(Some(self.reads(value)))
    }

    /// A value of the query around.
    pub fn reads(&self, value: Scalar) -> Scalar {
        let Some(link) = &self.link else { return value };
        let mut values = link.values.borrow_mut();
        let known = values.iter().position(|known| known.expr.kind == value.expr.kind);
        let at = known.unwrap_or_else(|| {
            values.push(value.clone());
            values.len() - 1
        });
        let column = self.outer.get(at).copied().unwrap_or(OUTER + at);
        Scalar { expr: Expr::column(column, value.expr.ty, Span::default()), ..value }
    }
}

impl Grouping<'_> {
    /// The key that an expression over the rows is.
    pub fn key(&self, of: &Expr) -> Option<Scalar> {
        let at = self.keys.iter().position(|key| key.expr.kind == of.kind)?;
        let key = &self.keys[at];
        let ty: Type = key.ty.held(key.nullable);
        Some(Scalar { expr: Expr::new(ExprKind::Column(at), ty, Span::default()), ..key.clone() })
    }
}
