//! Groups and aggregates.

use std::sync::Arc;

use gantry_kql::Span;
use gantry_kql::bound::{Aggregate, Column, Expr, ExprKind, JoinKind, Rel, RelKind};
use gantry_kql::value::{Type, Value};
use sqlparser::ast::{
    self, DuplicateTreatment, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments,
};

use super::coerce::held_as;
use super::scope::{AGGREGATED, Grouping, Scalar, Stage};
use super::{Binder, call, choice, expr, is_null, not, project, rel};
use crate::error::{Error, Result, state};
use crate::functions;
use crate::types::{Base, SqlType};

/// Whether a name is that of an aggregate.
pub(super) fn is_aggregate(name: &str) -> bool {
    matches!(
        name,
        "count"
            | "sum"
            | "avg"
            | "min"
            | "max"
            | "bool_and"
            | "every"
            | "bool_or"
            | "array_agg"
            | "string_agg"
            | "json_agg"
            | "jsonb_agg"
            | "stddev"
            | "stddev_samp"
            | "stddev_pop"
            | "variance"
            | "var_samp"
            | "var_pop"
            | "covar_samp"
            | "covar_pop"
            | "percentile_cont"
            | "percentile_disc"
            | "mode"
            | "first"
            | "last"
            | "any_value"
    )
}

/// An aggregate of the engine, and what its value means when there were no rows.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// What the engine works out, a column each.
    pub parts: Vec<Aggregate>,
    /// The value, over the columns of the parts.
    pub value: Scalar,
}

impl Binder<'_> {
    /// The column that an expression is grouped by.
    pub(super) fn group_key(&mut self, stage: &Stage, of: &ast::Expr) -> Result<Option<Scalar>> {
        let Some(grouping) = &stage.grouping else { return Ok(None) };
        let computed = |key: &Scalar| !matches!(key.expr.kind, ExprKind::Column(_));
        if matches!(
            of,
            ast::Expr::Identifier(_) | ast::Expr::CompoundIdentifier(_) | ast::Expr::Value(_) | ast::Expr::Nested(_)
        ) || !grouping.keys.iter().any(computed)
        {
            return Ok(None);
        }
        // What is no expression over single rows (it has aggregates) is no key.
        let (scalars, materialized) = (self.scalars.len(), self.materialized.len());
        let probe = Stage {
            scope: grouping.rows.scope.clone(),
            parent: stage.parent,
            link: stage.link.clone(),
            outer: grouping.rows.outer.clone(),
            plain: Some("GROUP BY"),
            ..Stage::default()
        };
        let found = self.expr(&probe, of).ok().and_then(|value| grouping.key(&value.expr));
        self.scalars.truncate(scalars);
        self.materialized.truncate(materialized);
        Ok(found)
    }

    /// An aggregate in an expression behind `group by`.
    pub(super) fn aggregate_call(&mut self, stage: &Stage, function: &ast::Function, name: &str) -> Result<Scalar> {
        let Some(grouping) = &stage.grouping else {
            let place = stage.plain.unwrap_or("WHERE");
            return Err(Error::new(state::GROUPING_ERROR, format!("aggregate functions are not allowed in {place}")));
        };
        let plan = self.plan_aggregate(grouping.rows, function, name)?;
        let mut aggregates = grouping.aggregates.borrow_mut();
        let places: Vec<usize> = plan
            .parts
            .into_iter()
            .map(|part| {
                let known = aggregates.iter().position(|known| {
                    known.function == part.function
                        && known.arguments == part.arguments
                        && known.condition == part.condition
                        && known.columns[0].ty == part.columns[0].ty
                });
                known.unwrap_or_else(|| {
                    aggregates.push(part);
                    aggregates.len() - 1
                })
            })
            .collect();
        let base = AGGREGATED;
        let value = super::remap(&plan.value.expr, &|at, ty| Expr::column(base + places[at], ty, Span::default()));
        Ok(Scalar { expr: value, ..plan.value })
    }

    /// What the engine has to work out for an aggregate over the rows of a stage.
    pub(super) fn plan_aggregate(&mut self, rows: &Stage, function: &ast::Function, name: &str) -> Result<Plan> {
        let FunctionArguments::List(list) = &function.args else {
            return Err(Error::new(state::UNDEFINED_FUNCTION, format!("function {name}() does not exist")));
        };
        let distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
        let rows = Stage {
            scope: rows.scope.clone(),
            parent: rows.parent,
            link: rows.link.clone(),
            outer: rows.outer.clone(),
            plain: Some("an aggregate function"),
            ..Stage::default()
        };
        let mut condition = match &function.filter {
            Some(filter) => Some(self.condition(&rows, filter)?.expr),
            None => None,
        };
        let star = matches!(list.args.as_slice(), [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)]);
        let mut arguments = Vec::new();
        if !star {
            for argument in super::call::plain_arguments(function)? {
                let value = self.expr(&rows, argument)?;
                arguments.push(self.cast_unknown(value)?);
            }
        }
        let mut sorted = Vec::new();
        for clause in &list.clauses {
            match clause {
                FunctionArgumentClause::OrderBy(keys) => sorted = self.sort_keys(&rows, keys)?,
                other => return Err(Error::unsupported(format!("`{other}` in an aggregate"))),
            }
        }
        let within = self.sort_keys(&rows, &function.within_group)?;
        if rows.needs_rows() {
            return Err(Error::unsupported("a sub-query that reads the query around within an aggregate"));
        }
        let no_such = |arguments: &[Scalar]| {
            let types: Vec<String> = arguments.iter().map(|value| value.ty.to_string()).collect();
            Error::new(state::UNDEFINED_FUNCTION, format!("function {name}({}) does not exist", types.join(", ")))
        };
        let part = |name: &'static str, arguments: Vec<Expr>, condition: Option<Expr>, ty: Type| Aggregate {
            function: functions::aggregate(name),
            arguments,
            condition,
            columns: vec![Column::new("a", ty)],
            span: Span::default(),
        };
        let column = |at: usize, ty: Type| Expr::column(at, ty, Span::default());
        let there = |value: &Scalar, condition: &Option<Expr>| {
            let known = value.nullable.then(|| not(is_null(value.expr.clone())));
            match (known, condition.clone()) {
                (Some(a), Some(b)) => Some(expr(ExprKind::And(Arc::new([a, b])), Type::Bool)),
                (known, condition) => known.or(condition),
            }
        };
        // A value that is null when no row counted.
        let unless_none = |value: Expr, count: usize, least: i64| {
            let few = expr(
                ExprKind::Binary {
                    op: gantry_kql::bound::Binary::Less,
                    left: column(count, Type::Long).into(),
                    right: super::number(least).into(),
                },
                Type::Bool,
            );
            let ty = value.ty;
            choice(vec![(few, Expr::literal(Value::Null, ty, Span::default()))], Some(value), ty)
        };
        let plain = |name: &'static str, value: &Scalar, ty: SqlType, condition: &Option<Expr>| {
            let held = ty.held(true);
            let of = held_as(value, value.nullable);
            let counted = there(value, condition);
            Plan {
                parts: vec![
                    part(name, vec![of], counted.clone(), held),
                    part("count", Vec::new(), counted, Type::Long),
                ],
                value: Scalar::new(unless_none(column(0, held), 1, 1), ty, true),
            }
        };
        if distinct && !matches!(name, "count" | "min" | "max" | "array_agg" | "bool_and" | "bool_or" | "string_agg") {
            return Err(Error::unsupported(format!("{name}(DISTINCT ...)")));
        }
        // A list in an order has its keys beside its values; of other aggregates an order changes nothing.
        let list = |unordered: &'static str, value: Expr, condition: Option<Expr>| {
            if sorted.is_empty() {
                return part(unordered, vec![value], condition, Type::Dynamic);
            }
            let mut arguments = vec![value, super::truth(distinct)];
            for key in &sorted {
                arguments.extend([key.value.clone(), super::truth(key.descending), super::truth(key.nulls_first)]);
            }
            part("sql.ordered_list", arguments, condition, Type::Dynamic)
        };
        Ok(match (name, arguments.as_slice()) {
            ("count", []) => Plan {
                parts: vec![part("count", Vec::new(), condition.take(), Type::Long)],
                value: Scalar::new(column(0, Type::Long), SqlType::INT8, false),
            },
            ("count", [value]) if distinct => {
                let counted = there(value, &condition);
                Plan {
                    parts: vec![part("count_distinct", vec![value.expr.clone()], counted, Type::Long)],
                    value: Scalar::new(column(0, Type::Long), SqlType::INT8, false),
                }
            }
            ("count", [value]) => Plan {
                parts: vec![part("count", Vec::new(), there(value, &condition), Type::Long)],
                value: Scalar::new(column(0, Type::Long), SqlType::INT8, false),
            },
            ("sum", [value]) => {
                let ty = match value.ty {
                    ty if ty.is_whole() => SqlType::INT8,
                    ty if ty.is_number() || ty == SqlType::INTERVAL => ty,
                    _ => return Err(no_such(&arguments)),
                };
                let value = if ty == SqlType::INT8 { self.cast(value.clone(), ty)? } else { value.clone() };
                plain("sum", &value, ty, &condition)
            }
            ("avg", [value]) => {
                let ty = match value.ty {
                    ty if ty.is_whole() => SqlType::FLOAT8,
                    ty if ty.is_number() || ty == SqlType::INTERVAL => ty,
                    _ => return Err(no_such(&arguments)),
                };
                plain("avg", value, ty, &condition)
            }
            ("min" | "max", [value]) => {
                let name = if name == "min" { "min" } else { "max" };
                if value.ty.array || value.ty.is_json() || value.ty == SqlType::BOOL {
                    return Err(no_such(&arguments));
                }
                plain(name, value, value.ty, &condition)
            }
            ("any_value", [value]) => plain("take_any", value, value.ty, &condition),
            ("first" | "last", [value, at]) => {
                let name = if name == "first" { "arg_min" } else { "arg_max" };
                let held = value.ty.held(true);
                let counted = there(at, &condition);
                let mut both = part(name, vec![at.expr.clone(), held_as(value, true)], counted, at.expr.ty);
                both.columns.push(Column::new("b", held));
                // The second column of the aggregate is what is asked for.
                Plan { parts: vec![both], value: Scalar::new(column(0, held), value.ty, true) }
            }
            ("bool_and" | "every" | "bool_or", [value]) => {
                let value = self.coerce(value.clone(), SqlType::BOOL)?;
                let name = if name == "bool_or" { "sql.bool_or" } else { "sql.bool_and" };
                plain(name, &value, SqlType::BOOL, &condition)
            }
            ("array_agg", [value]) => {
                let array = array_of(value.ty)?;
                let name = if distinct { "make_set" } else { "make_list_with_nulls" };
                Plan {
                    parts: vec![
                        list(name, value.expr.clone(), condition.clone()),
                        part("count", Vec::new(), condition.take(), Type::Long),
                    ],
                    value: Scalar::new(unless_none(column(0, Type::Dynamic), 1, 1), array, true),
                }
            }
            ("json_agg" | "jsonb_agg", [value]) => {
                let ty = if name == "json_agg" { SqlType::JSON } else { SqlType::JSONB };
                Plan {
                    parts: vec![
                        list("make_list_with_nulls", value.expr.clone(), condition.clone()),
                        part("count", Vec::new(), condition.take(), Type::Long),
                    ],
                    value: Scalar::new(unless_none(column(0, Type::Dynamic), 1, 1), ty, true),
                }
            }
            ("string_agg", [value, separator]) => {
                let value = self.coerce(value.clone(), SqlType::TEXT)?;
                let separator = self.coerce(separator.clone(), SqlType::TEXT)?;
                let counted = there(&value, &condition);
                let name = if distinct { "make_set" } else { "make_list" };
                let joined = call("sql.join_texts", vec![column(0, Type::Dynamic), separator.expr], Type::Dynamic);
                if joined.any(&mut |part| matches!(part.kind, ExprKind::Column(at) if at != 0)) {
                    return Err(Error::unsupported("a separator that differs from row to row"));
                }
                Plan {
                    parts: vec![
                        list(name, value.expr, counted.clone()),
                        part("count", Vec::new(), counted, Type::Long),
                    ],
                    value: Scalar::new(unless_none(joined, 1, 1), SqlType::TEXT, true),
                }
            }
            ("stddev" | "stddev_samp" | "stddev_pop" | "variance" | "var_samp" | "var_pop", [value]) => {
                let value = self.coerce(value.clone(), SqlType::FLOAT8)?;
                let (engine, least) = match name {
                    "stddev" | "stddev_samp" => ("stdev", 2),
                    "stddev_pop" => ("stdevp", 1),
                    "variance" | "var_samp" => ("variance", 2),
                    _ => ("variancep", 1),
                };
                let counted = there(&value, &condition);
                Plan {
                    parts: vec![
                        part(engine, vec![value.expr], counted.clone(), Type::Real),
                        part("count", Vec::new(), counted, Type::Long),
                    ],
                    value: Scalar::new(unless_none(column(0, Type::Real), 1, least), SqlType::FLOAT8, true),
                }
            }
            ("covar_samp" | "covar_pop", [a, b]) => {
                let (a, b) = (self.coerce(a.clone(), SqlType::FLOAT8)?, self.coerce(b.clone(), SqlType::FLOAT8)?);
                let (engine, least) = if name == "covar_samp" { ("covariance", 2) } else { ("covariancep", 1) };
                let counted = there(&a, &there(&b, &condition));
                Plan {
                    parts: vec![
                        part(engine, vec![a.expr, b.expr], counted.clone(), Type::Real),
                        part("count", Vec::new(), counted, Type::Long),
                    ],
                    value: Scalar::new(unless_none(column(0, Type::Real), 1, least), SqlType::FLOAT8, true),
                }
            }
            ("percentile_cont" | "percentile_disc", [fraction]) if within.len() == 1 => {
                let key = &within[0];
                let of = function.within_group.first().expect("one").expr.clone();
                let value = self.expr(&rows, &of)?;
                let (engine, ty) = if name == "percentile_cont" {
                    let ty = if value.ty == SqlType::INTERVAL { value.ty } else { SqlType::FLOAT8 };
                    ("sql.percentile_cont", ty)
                } else {
                    ("sql.percentile_disc", value.ty)
                };
                let value = self.coerce(value, ty)?;
                if fraction.ty.element().is_some() {
                    return Err(Error::unsupported("an array of fractions"));
                }
                let fraction = self.coerce(fraction.clone(), SqlType::FLOAT8)?;
                if fraction.expr.has_columns() {
                    return Err(Error::unsupported("a fraction that differs from row to row"));
                }
                let counted = there(&value, &condition);
                let descending = super::truth(key.descending);
                let held = ty.held(true);
                Plan {
                    parts: vec![part(engine, vec![value.expr, fraction.expr, descending], counted, held)],
                    value: Scalar::new(column(0, held), ty, true),
                }
            }
            ("mode", []) if within.len() == 1 => {
                let of = function.within_group.first().expect("one").expr.clone();
                let value = self.expr(&rows, &of)?;
                let (held, counted) = (value.ty.held(true), there(&value, &condition));
                Plan {
                    parts: vec![part("sql.mode", vec![value.expr], counted, held)],
                    value: Scalar::new(column(0, held), value.ty, true),
                }
            }
            _ => return Err(no_such(&arguments)),
        })
    }

    /// The rows of a stage in groups, with a column for each key and aggregate. Columns that aggregates were promised
    /// are put in their places by [`aggregated`].
    pub(super) fn summarize(&mut self, input: Arc<Rel>, grouping: &Grouping, keys: usize) -> Arc<Rel> {
        let aggregates = grouping.aggregates.borrow().clone();
        let key_exprs: Vec<Expr> = grouping.keys.iter().map(|key| key.expr.clone()).collect();
        let mut made: Vec<Type> = key_exprs.iter().map(|key| key.ty).collect();
        made.extend(aggregates.iter().flat_map(|one| one.columns.iter().map(|column| column.ty)));
        let implicit = keys == 0 && !grouping.keys.is_empty();
        let summary = rel(
            RelKind::Summarize { input, keys: key_exprs.clone(), aggregates: aggregates.clone() },
            made.clone(),
            false,
        );
        // Of `arg_max` only the second column is wanted.
        let mut values = Vec::new();
        let mut at = key_exprs.len();
        values.extend(key_exprs.iter().enumerate().map(|(at, key)| Expr::column(at, key.ty, Span::default())));
        for one in &aggregates {
            let last = at + one.columns.len() - 1;
            values.push(Expr::column(last, one.columns.last().expect("one").ty, Span::default()));
            at += one.columns.len();
        }
        let summary = project(summary, values);
        match (implicit, grouping.rows.link.as_ref().and_then(|link| link.domain.clone())) {
            // The values of the query around that no row belongs to are a group without rows.
            (true, Some(domain)) => self.with_empty_groups(domain, summary, &aggregates, key_exprs.len()),
            _ => summary,
        }
    }

    fn with_empty_groups(
        &mut self,
        domain: Arc<Rel>,
        summary: Arc<Rel>,
        aggregates: &[Aggregate],
        keys: usize,
    ) -> Arc<Rel> {
        let domain_columns = super::columns(&domain);
        let joined = self.join_null_safe(
            JoinKind::LeftOuter,
            domain,
            summary,
            domain_columns.iter().cloned().enumerate().map(|(at, column)| {
                let ty = column.ty;
                (column, Expr::column(at, ty, Span::default()))
            }),
        );
        let mut values = domain_columns;
        for (at, one) in aggregates.iter().enumerate() {
            let ty = one.columns.last().expect("one").ty;
            let value = Expr::column(keys + keys + at, ty, Span::default());
            values.push(if one.function.name == "count" || one.function.name == "count_distinct" {
                choice(vec![(is_null(value.clone()), super::number(0))], Some(value), Type::Long)
            } else {
                value
            });
        }
        project(joined, values)
    }
}

/// Columns of aggregates in their places behind the keys.
pub(super) fn aggregated(of: &Expr, keys: usize) -> Expr {
    super::remap(of, &|at, ty| {
        let at = if (AGGREGATED..AGGREGATED + (1 << 24)).contains(&at) { keys + at - AGGREGATED } else { at };
        Expr::column(at, ty, Span::default())
    })
}

/// Arrays of a type.
pub(super) fn array_of(ty: SqlType) -> Result<SqlType> {
    if ty.element().is_some() || ty.base.row().array_oid == 0 {
        return Err(Error::unsupported(format!("an array of {ty}")));
    }
    let base = if ty.base == Base::Unknown { Base::Text } else { ty.base };
    Ok(SqlType::array_of(base))
}
