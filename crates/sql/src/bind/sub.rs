//! Sub-queries in expressions.
//!
//! One that stands alone is worked out once ([`Bound::scalars`](gantry_kql::bound::Bound::scalars)). One that reads
//! columns of the query around is bound twice: first to find out which, then with the distinct values of those columns
//! (its *domain*) as the first table of its `from`. What it yields carries these values along, and is joined to the
//! rows of the query around by them, null matching null.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use gantry_kql::Span;
use gantry_kql::bound::{Aggregate, Binary, Column, Expr, ExprKind, In, JoinKind, List, Rel, RelKind};
use gantry_kql::value::{DateTime, Decimal, Guid, TimeSpan, Type, Value};
use sqlparser::ast;

use super::coerce::held_as;
use super::expr::member;
use super::operator::Comparison;
use super::scope::{APPLIED, Link, Scalar, Stage, Table};
use super::{Binder, QUERIES_MAX, call, choice, columns, expr, is_null, not, one_row, project, rel, types};
use crate::error::{Error, Result, state};
use crate::functions;
use crate::types::SqlType;

/// What a sub-query adds to the rows of the stage it is in.
#[derive(Debug)]
pub struct Apply {
    /// Entries kept free for the rows of the stage and for the domain.
    base: usize,
    domain: usize,
    /// The values of the domain, over the rows of the stage.
    values: Vec<Scalar>,
    /// The domain, then what is asked for: at most one row for each value of the domain.
    rel: Arc<Rel>,
}

/// A sub-query that is bound.
enum Sub {
    /// It stands alone.
    Alone(Table),
    /// It reads the query around.
    Linked { table: Table, values: Vec<Scalar>, base: usize, domain: usize },
}

fn aggregate(name: &'static str, arguments: Vec<Expr>, condition: Option<Expr>, ty: Type) -> Aggregate {
    Aggregate {
        function: functions::aggregate(name),
        arguments,
        condition,
        columns: vec![Column::new("a", ty)],
        span: Span::default(),
    }
}

impl Stage<'_> {
    /// Whether expressions over this stage need more than its rows.
    pub(super) fn needs_rows(&self) -> bool {
        !self.applies.borrow().is_empty() || !self.windows.borrow().is_empty() || !self.sets.borrow().is_empty()
    }
}

impl Binder<'_> {
    fn sub(&mut self, stage: &Stage, query: &ast::Query, also: Vec<Scalar>) -> Result<Sub> {
        self.queries += 1;
        if self.queries > QUERIES_MAX {
            return Err(Error::new(state::STATEMENT_TOO_COMPLEX, "too many sub-queries that read the query around"));
        }
        let (scalars, materialized) = (self.scalars.len(), self.materialized.len());
        let link = Link { values: Rc::new(RefCell::new(also)), domain: None };
        let table = self.query(query, Some(stage), Some(&link))?;
        let values = link.values.borrow().clone();
        if values.is_empty() {
            return Ok(Sub::Alone(table));
        }
        self.scalars.truncate(scalars);
        self.materialized.truncate(materialized);
        let base = self.materialized.len();
        let domain = base + 1;
        self.materialized.extend([one_row(), one_row()]);
        let held = values.iter().map(|value| value.expr.ty);
        let rows = rel(RelKind::Materialized(domain), held, false);
        let link = Link { values: Rc::new(RefCell::new(values.clone())), domain: Some(rows) };
        let table = self.query(query, Some(stage), Some(&link))?;
        Ok(Sub::Linked { table, values, base, domain })
    }

    /// Joins what a sub-query yields to the rows of the stage: the columns it will have there.
    fn apply(&mut self, stage: &Stage, apply: Apply) -> Vec<Expr> {
        let mut applies = stage.applies.borrow_mut();
        let before: usize = applies.iter().map(Apply::columns).sum();
        let made = types(&apply.rel).skip(apply.values.len()).enumerate();
        let made = made.map(|(at, ty)| Expr::column(APPLIED + before + at, ty, Span::default())).collect();
        applies.push(apply);
        made
    }

    /// The rows with what the sub-queries add.
    pub(super) fn attach(&mut self, rows: Arc<Rel>, stage: &Stage, settle: &dyn Fn(&Expr) -> Expr) -> Arc<Rel> {
        let applies = std::mem::take(&mut *stage.applies.borrow_mut());
        let mut rows = rows;
        for apply in applies {
            let width = rows.schema.columns.len();
            let shape: Vec<Type> = types(&rows).collect();
            let serialized = rows.serialized;
            self.materialized[apply.base] = rows;
            let shared = rel(RelKind::Materialized(apply.base), shape.iter().copied(), serialized);
            let values: Vec<Expr> = apply.values.iter().map(|value| settle(&value.expr)).collect();
            let held: Vec<Type> = values.iter().map(|value| value.ty).collect();
            self.materialized[apply.domain] = rel(
                RelKind::Summarize { input: Arc::clone(&shared), keys: values.clone(), aggregates: Vec::new() },
                held,
                false,
            );
            let made = apply.rel.schema.columns.len() - values.len();
            let skip = values.len();
            let pairs = values.into_iter().enumerate().map(|(at, value)| {
                let ty = value.ty;
                (value, Expr::column(at, ty, Span::default()))
            });
            let joined = self.join_null_safe(JoinKind::LeftOuter, shared, apply.rel, pairs);
            let mut all = columns(&joined);
            all.drain(width..width + skip);
            debug_assert_eq!(all.len(), width + made);
            rows = project(joined, all);
        }
        rows
    }

    /// A join on equality under which null equals null.
    pub(super) fn join_null_safe(
        &mut self,
        kind: JoinKind,
        left: Arc<Rel>,
        right: Arc<Rel>,
        pairs: impl Iterator<Item = (Expr, Expr)>,
    ) -> Arc<Rel> {
        let mut on = Vec::new();
        for (a, b) in pairs {
            on.push((is_null(a.clone()), is_null(b.clone())));
            on.push((filled(a), filled(b)));
        }
        join(kind, left, right, on)
    }

    /// `(select ...)` as a value.
    pub(super) fn scalar_query(&mut self, stage: &Stage, query: &ast::Query) -> Result<Scalar> {
        let one_column = |table: &Table| match table.fields.as_slice() {
            [field] => Ok(field_value(field)),
            _ => Err(Error::new(state::SYNTAX_ERROR, "subquery must return only one column")),
        };
        match self.sub(stage, query, Vec::new())? {
            Sub::Alone(table) => {
                let value = one_column(&table)?;
                let held = value.ty.held(true);
                // The second row shows that there are too many.
                let shape: Vec<Type> = types(&table.rel).collect();
                let serialized = table.rel.serialized;
                let two = rel(RelKind::Take { input: table.rel, count: super::number(2) }, shape, serialized);
                let aggregates = vec![
                    aggregate("count", Vec::new(), None, Type::Long),
                    aggregate("take_any", vec![held_as(&value, true)], None, held),
                ];
                let one =
                    rel(RelKind::Summarize { input: two, keys: Vec::new(), aggregates }, [Type::Long, held], false);
                let single = call("sql.single", columns(&one), held);
                self.scalars.push(project(one, vec![single]));
                let kind = ExprKind::Scalar(self.scalars.len() - 1);
                Ok(Scalar::new(expr(kind, held), value.ty, true))
            }
            Sub::Linked { table, values, base, domain } => {
                let value = one_column(&table)?;
                let held = value.ty.held(true);
                let aggregates = vec![
                    aggregate("count", Vec::new(), None, Type::Long),
                    aggregate("take_any", vec![held_as(&value, true)], None, held),
                ];
                let by = self.by_domain(table, aggregates);
                let mut all = columns(&by);
                let pair = all.split_off(values.len());
                all.push(call("sql.single", pair, held));
                let made = self.apply(stage, Apply { base, domain, values, rel: project(by, all) });
                Ok(Scalar::new(made.into_iter().next().expect("one"), value.ty, true))
            }
        }
    }

    /// What a sub-query yields for each value of its domain.
    fn by_domain(&mut self, table: Table, aggregates: Vec<Aggregate>) -> Arc<Rel> {
        let all = columns(&table.rel);
        let keys: Vec<Expr> = table.outer.iter().map(|at| all[*at].clone()).collect();
        let mut made: Vec<Type> = keys.iter().map(|key| key.ty).collect();
        made.extend(aggregates.iter().flat_map(|one| one.columns.iter().map(|column| column.ty)));
        rel(RelKind::Summarize { input: table.rel, keys, aggregates }, made, false)
    }

    /// `exists (select ...)`.
    pub(super) fn exists(&mut self, stage: &Stage, query: &ast::Query, negated: bool) -> Result<Scalar> {
        let found = match self.sub(stage, query, Vec::new())? {
            Sub::Alone(table) => {
                let shape: Vec<Type> = types(&table.rel).collect();
                let one = rel(RelKind::Take { input: table.rel, count: super::number(1) }, shape, false);
                let count = aggregate("count", Vec::new(), None, Type::Long);
                let counted = rel(
                    RelKind::Summarize { input: one, keys: Vec::new(), aggregates: vec![count] },
                    [Type::Long],
                    false,
                );
                self.scalars.push(counted);
                let count = expr(ExprKind::Scalar(self.scalars.len() - 1), Type::Long);
                expr(
                    ExprKind::Binary { op: Binary::Greater, left: count.into(), right: super::number(0).into() },
                    Type::Bool,
                )
            }
            Sub::Linked { table, values, base, domain } => {
                let by = self.by_domain(table, vec![aggregate("count", Vec::new(), None, Type::Long)]);
                let made = self.apply(stage, Apply { base, domain, values, rel: by });
                not(is_null(made.into_iter().next().expect("one")))
            }
        };
        Ok(Scalar::bool(if negated { not(found) } else { found }, false))
    }

    /// `value in (select ...)`.
    pub(super) fn in_query(
        &mut self,
        stage: &Stage,
        value: Scalar,
        query: &ast::Query,
        negated: bool,
    ) -> Result<Scalar> {
        let (scalars, materialized) = (self.scalars.len(), self.materialized.len());
        let found = match self.sub(stage, query, Vec::new())? {
            Sub::Alone(table) => {
                let [field] = table.fields.as_slice() else {
                    return Err(Error::new(state::SYNTAX_ERROR, "subquery has too many columns"));
                };
                let item = field_value(field);
                let (ty, mut both) = self.unify(vec![value, item], "IN")?;
                if ty.element().is_some() || ty.is_json() {
                    return Err(Error::unsupported(format!("a value of type {ty} IN a sub-query")));
                }
                let (item, value) = (both.pop().expect("two"), both.pop().expect("two"));
                let list = project(table.rel, vec![item.expr.clone()]);
                let list = if item.nullable || value.nullable { self.share(list) } else { list };
                let item_column = Expr::column(0, item.expr.ty, Span::default());
                let count = |binder: &mut Self, condition: Option<Expr>| {
                    let counted = aggregate("count", Vec::new(), condition, Type::Long);
                    let input = Arc::clone(&list);
                    let kind = RelKind::Summarize { input, keys: Vec::new(), aggregates: vec![counted] };
                    binder.scalars.push(rel(kind, [Type::Long], false));
                    let count = expr(ExprKind::Scalar(binder.scalars.len() - 1), Type::Long);
                    let kind =
                        ExprKind::Binary { op: Binary::Greater, left: count.into(), right: super::number(0).into() };
                    expr(kind, Type::Bool)
                };
                let item_null = item.nullable.then(|| count(self, Some(is_null(item_column))));
                let value_null = value.nullable.then(|| {
                    let any = count(self, None);
                    expr(ExprKind::And(Arc::new([is_null(value.expr.clone()), any])), Type::Bool)
                });
                let nullable = item_null.is_some() || value_null.is_some();
                let kind = ExprKind::In { op: In::In, value: value.expr.into(), list: List::Rel(list) };
                // Null is in no list of the engine; in one without rows nothing is.
                let found = member(expr(kind, Type::Bool), value_null, item_null);
                Scalar::bool(found, nullable)
            }
            Sub::Linked { .. } => {
                self.scalars.truncate(scalars);
                self.materialized.truncate(materialized);
                // The value is of the domain too: then it is a matter of counting.
                let value = self.cast_unknown(value)?;
                let Sub::Linked { table, values, base, domain } = self.sub(stage, query, vec![value.clone()])? else {
                    unreachable!("it reads a value")
                };
                let [field] = table.fields.as_slice() else {
                    return Err(Error::new(state::SYNTAX_ERROR, "subquery has too many columns"));
                };
                let item = field_value(field);
                let of = Expr::column(table.outer[0], value.expr.ty, Span::default());
                let of = Scalar { expr: of, ..value.clone() };
                let same = self.compare(Comparison(Binary::Equal), of, item.clone())?;
                let by = self.by_domain(
                    table,
                    vec![
                        aggregate("count", Vec::new(), None, Type::Long),
                        aggregate("count", Vec::new(), Some(same.expr), Type::Long),
                        aggregate("count", Vec::new(), Some(is_null(item.expr)), Type::Long),
                    ],
                );
                let made = self.apply(stage, Apply { base, domain, values, rel: by });
                let some = |at: usize| {
                    let zero = super::number(0);
                    expr(
                        ExprKind::Binary { op: Binary::Greater, left: made[at].clone().into(), right: zero.into() },
                        Type::Bool,
                    )
                };
                let nothing = Expr::literal(Value::Null, Type::Bool, Span::default());
                let found = choice(
                    vec![
                        (is_null(made[0].clone()), super::truth(false)),
                        (some(1), super::truth(true)),
                        (is_null(value.expr), nothing.clone()),
                        (some(2), nothing),
                    ],
                    Some(super::truth(false)),
                    Type::Bool,
                );
                Scalar::bool(found, true)
            }
        };
        Ok(if negated { Scalar::bool(not(found.expr), found.nullable) } else { found })
    }

    /// `array(select ...)`.
    pub(super) fn array_query(&mut self, stage: &Stage, query: &ast::Query) -> Result<Scalar> {
        let list = |value: &Scalar| aggregate("make_list_with_nulls", vec![value.expr.clone()], None, Type::Dynamic);
        let wrong = || Error::new(state::SYNTAX_ERROR, "subquery must return only one column");
        match self.sub(stage, query, Vec::new())? {
            Sub::Alone(table) => {
                let [field] = table.fields.as_slice() else { return Err(wrong()) };
                let value = field_value(field);
                let ty = super::aggregate::array_of(value.ty)?;
                let aggregates = vec![list(&value)];
                let kind = RelKind::Summarize { input: table.rel, keys: Vec::new(), aggregates };
                self.scalars.push(rel(kind, [Type::Dynamic], false));
                Ok(Scalar::new(expr(ExprKind::Scalar(self.scalars.len() - 1), Type::Dynamic), ty, false))
            }
            Sub::Linked { table, values, base, domain } => {
                let [field] = table.fields.as_slice() else { return Err(wrong()) };
                let value = field_value(field);
                let ty = super::aggregate::array_of(value.ty)?;
                let by = self.by_domain(table, vec![list(&value)]);
                let made = self.apply(stage, Apply { base, domain, values, rel: by });
                let made = made.into_iter().next().expect("one");
                let empty = call("sql.array", Vec::new(), Type::Dynamic);
                let some = choice(vec![(is_null(made.clone()), empty)], Some(made), Type::Dynamic);
                Ok(Scalar::new(some, ty, false))
            }
        }
    }
}

impl Apply {
    fn columns(&self) -> usize {
        self.rel.schema.columns.len() - self.values.len()
    }
}

/// The value of a column of a sub-query.
fn field_value(field: &super::scope::Field) -> Scalar {
    let value = field.scalar();
    if value.ty == SqlType::UNKNOWN { Scalar { ty: SqlType::TEXT, ..value } } else { value }
}

/// A join on equality.
pub(super) fn join(kind: JoinKind, left: Arc<Rel>, right: Arc<Rel>, on: Vec<(Expr, Expr)>) -> Arc<Rel> {
    let one_sided = matches!(kind, JoinKind::LeftAnti | JoinKind::LeftSemi);
    let mut all: Vec<Type> = types(&left).collect();
    if !one_sided {
        all.extend(types(&right));
    }
    // Without a condition every row meets every other.
    let on = if on.is_empty() { vec![(super::truth(true), super::truth(true))] } else { on };
    rel(RelKind::Join { kind, left, right, on, hints: Vec::new() }, all, false)
}

/// A value with something in the place of null.
fn filled(of: Expr) -> Expr {
    let ty = of.ty;
    let nothing = match ty {
        Type::Bool => Value::Bool(false),
        Type::Int => Value::Int(0),
        Type::Long => Value::Long(0),
        Type::Real => Value::Real(0.0),
        Type::Decimal => Value::Decimal(Decimal::from(0)),
        Type::DateTime => Value::DateTime(DateTime(0)),
        Type::TimeSpan => Value::TimeSpan(TimeSpan(0)),
        Type::Guid => Value::Guid(Guid(0)),
        Type::String => return of,
        Type::Dynamic | Type::Unknown => Value::Dynamic(gantry_kql::value::Dynamic::String(String::new())),
    };
    let nothing = Expr::literal(nothing, ty, Span::default());
    choice(vec![(is_null(of.clone()), nothing)], Some(of), ty)
}
