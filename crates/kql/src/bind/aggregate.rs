//! Aggregates, and lists of columns with their names.
//!
//! While an expression that may hold aggregates is bound, each one found is put aside and stands
//! as a column counted from [`AGGREGATES`]; the rest of the expression is computed above the
//! groups.

use super::names::{self, Names};
use super::{Binder, COLUMNS_MAX, Cx, Result, call, types};
use crate::ast::{self, Named};
use crate::bound::{Aggregate, Column, Expr, ExprKind, List};
use crate::diagnostic::{Code, Span};
use crate::functions::{self, Aggregation, Kind, Returns};
use crate::value::Type;
use std::sync::Arc;

/// Columns from here on are those of aggregates.
pub(super) const AGGREGATES: usize = usize::MAX / 2;

/// A column that is being made.
#[derive(Clone)]
pub(super) struct Made {
    /// The name it is given or gives itself.
    pub name: Option<String>,
    /// Somebody wrote the name, or it is a bare column: it may not appear twice.
    pub declared: bool,
    pub value: Expr,
    pub span: Span,
}

/// What a summary is made of.
pub(super) struct Summary {
    pub aggregates: Vec<Aggregate>,
    /// The columns above the groups; values count aggregates from [`AGGREGATES`].
    pub columns: Vec<Made>,
}

impl Binder<'_> {
    /// A list of values; functions and aggregates that yield several make several columns. With
    /// `rest`, those behind a name that was given to the first are columns too.
    pub(super) fn values(&mut self, list: &[Named], rest: bool, cx: Cx<'_>) -> Result<Vec<Made>> {
        let mut values = Vec::new();
        for named in list {
            self.value(named, rest, cx, &mut values)?;
            if values.len() > COLUMNS_MAX {
                return self.fault(Code::TooComplex, named.value.span, format!("more than {COLUMNS_MAX} columns"));
            }
        }
        Ok(values)
    }

    fn value(&mut self, named: &Named, rest: bool, cx: Cx<'_>, values: &mut Vec<Made>) -> Result<()> {
        let span = named.value.span;
        let before = self.aggregates.as_ref().map(Vec::len);
        let value = self.expr(&named.value, cx)?;
        let fields = self.fields(&named.value, &value, before);
        if fields.is_empty() {
            if named.names.len() > 1 {
                return self.fault(Code::WrongType, span, "the expression yields one value only");
            }
            let bare = matches!(named.value.kind, ast::ExprKind::Name(_));
            let name = named.names.first().map(|name| name.text.clone()).or_else(|| names::name_of(&named.value));
            values.push(Made { declared: !named.names.is_empty() || bare, name, value, span });
            return Ok(());
        }
        if named.names.len() > fields.len() {
            return self.fault(Code::WrongType, span, format!("the expression yields {} values only", fields.len()));
        }
        let shared: Arc<Expr> = value.clone().into();
        let aggregate = matches!(value.kind, ExprKind::Column(index) if index >= AGGREGATES);
        let only_named = !named.names.is_empty() && !rest;
        for (field, (auto, ty, declared)) in fields.into_iter().enumerate() {
            let given = named.names.get(field).map(|name| name.text.clone());
            if given.is_none() && only_named {
                break;
            }
            let value = match value.kind {
                ExprKind::Column(index) if aggregate => self.make(ExprKind::Column(index + field), ty, span)?,
                _ => self.make(ExprKind::Field { of: shared.clone(), field }, ty, span)?,
            };
            values.push(Made { declared: given.is_some() || declared, name: given.or(Some(auto)), value, span });
        }
        Ok(())
    }

    /// Names and types of the values of a call that yields several; nothing for one value.
    fn fields(&self, expr: &ast::Expr, value: &Expr, before: Option<usize>) -> Vec<(String, Type, bool)> {
        let ast::ExprKind::Call { name, arguments } = &expr.kind else { return Vec::new() };
        let argument = |at: usize| arguments.get(at).and_then(|argument| names::name_of(&argument.value));
        match &value.kind {
            ExprKind::Column(index) if *index >= AGGREGATES => {
                let made = self.aggregates.as_ref().zip(before).and_then(|(list, before)| list.get(before));
                match made {
                    Some(aggregate) if aggregate.function.naming == functions::Naming::Special => {
                        aggregate.columns.iter().map(|column| (column.name.to_string(), column.ty, false)).collect()
                    }
                    _ => Vec::new(),
                }
            }
            ExprKind::Call { function, .. } if !function.fields.is_empty() => {
                let argument = argument(0).unwrap_or_default();
                let field = |(field, ty): &(&str, Type)| (format!("{}_{argument}_{field}", name.text), *ty, false);
                function.fields.iter().map(field).collect()
            }
            ExprKind::Call { function, arguments } if function.name.starts_with("array_sort_") => {
                let arrays = arguments.iter().filter(|argument| argument.ty != Type::Bool).count();
                (0..arrays)
                    .map(|at| (format!("{}_sorted", argument(at).unwrap_or_default()), Type::Dynamic, false))
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    /// A list of aggregates and expressions over them.
    pub(super) fn summary(&mut self, list: &[Named], keys: &[Made], cx: Cx<'_>) -> Result<Summary> {
        let outer = self.aggregates.replace(Vec::new());
        let outer_keys = std::mem::replace(&mut self.keys, keys.iter().map(|key| key.value.clone()).collect());
        let columns = self.values(list, true, cx);
        let aggregates = std::mem::replace(&mut self.aggregates, outer).unwrap_or_default();
        self.keys = outer_keys;
        let columns = columns?;
        for made in &columns {
            if !made.value.has_columns() {
                continue;
            }
            self.charge(made.value.cost().nodes, made.span)?;
            if made.value.any(&mut |part| matches!(part.kind, ExprKind::Column(index) if index < AGGREGATES)) {
                let message = "a column outside of aggregates: aggregate it, or put it behind `by`";
                return self.fault(Code::WrongShape, made.span, message);
            }
        }
        Ok(Summary { aggregates, columns })
    }

    /// One expression over aggregates.
    pub(super) fn summary_value(&mut self, expr: &ast::Expr, cx: Cx<'_>) -> Result<(Vec<Aggregate>, Expr)> {
        let named = Named { names: Vec::new(), tuple: false, value: expr.clone() };
        let mut summary = self.summary(std::slice::from_ref(&named), &[], cx)?;
        let value = summary.columns.swap_remove(0).value;
        Ok((summary.aggregates, value))
    }

    /// An aggregate within an expression: the column it will be.
    pub(super) fn aggregate_call(
        &mut self,
        name: &ast::Name,
        arguments: &[Named],
        span: Span,
        cx: Cx<'_>,
    ) -> Result<Expr> {
        let made = self.aggregates.take();
        let aggregate = self.aggregate(name, arguments, span, cx);
        self.aggregates = made;
        let aggregate = aggregate?;
        let made = self.aggregates.as_mut().expect("somebody collects aggregates");
        let index = AGGREGATES + made.iter().map(|aggregate| aggregate.columns.len()).sum::<usize>();
        let ty = aggregate.columns.first().map_or(Type::Unknown, |column| column.ty);
        made.push(aggregate);
        self.make(ExprKind::Column(index), ty, span)
    }

    fn aggregate(&mut self, name: &ast::Name, arguments: &[Named], span: Span, cx: Cx<'_>) -> Result<Aggregate> {
        let function = functions::aggregate(&name.text).expect("it was looked up");
        match function.name {
            "arg_max" | "arg_min" => return self.arg_best(function, arguments, span, cx),
            "take_any" => return self.take_any(name, function, arguments, span, cx),
            _ => {}
        }
        let mut values = Vec::new();
        for argument in arguments {
            if matches!(argument.value.kind, ast::ExprKind::Wildcard(_)) {
                // `count(*)`
                continue;
            }
            values.push(self.expr(&argument.value, cx)?);
        }
        let kinds: Vec<Option<Type>> = values.iter().map(|value| Some(value.ty)).collect();
        let Some((signature, places)) = call::resolve(&function.signatures, &kinds) else {
            return self.no_signature(&name.text, &function.signatures, &kinds, span);
        };
        let mut ty = match signature.returns {
            Returns::Of(ty) => ty,
            Returns::Argument(at) => kinds.get(at).copied().flatten().unwrap_or(Type::Unknown),
            Returns::Promoted(at) => call::promoted(kinds.get(at).copied().flatten().unwrap_or(Type::Unknown)),
            _ => Type::Dynamic,
        };
        if values.first().is_some_and(|value| value.ty == Type::Unknown)
            && !matches!(signature.returns, Returns::Of(ty) if !ty.is_number())
        {
            let counts = matches!(function.plain, "count" | "dcount" | "count_distinct");
            ty = if counts { Type::Long } else { Type::Unknown };
        }
        for (value, place) in values.iter_mut().zip(&places) {
            if let Kind::Of(wanted) = signature.parameters[*place].kind {
                *value = self.cast(value.clone(), wanted)?;
            }
        }
        let first = arguments.first().and_then(|argument| names::name_of(&argument.value)).unwrap_or_default();
        let auto = names::name_of(&ast::Expr {
            kind: ast::ExprKind::Call { name: name.clone(), arguments: arguments.to_vec() },
            span,
        });
        let columns = match function.name {
            "percentiles" | "percentilesw" => {
                let weighted = usize::from(function.name == "percentilesw");
                let ty = percentile_type(values[0].ty);
                let mut columns = Vec::new();
                for value in &values[1 + weighted..] {
                    let text = match value.as_literal() {
                        Some(value) => names::number_in_name(value),
                        None => (columns.len()).to_string(),
                    };
                    columns.push(Column::new(format!("percentile_{first}_{text}"), ty));
                }
                columns
            }
            "percentiles_array" | "percentilesw_array" => {
                vec![Column::new(format!("percentiles_{first}"), Type::Dynamic)]
            }
            _ => vec![Column::new(auto.unwrap_or_default(), ty)],
        };
        let condition = match function.condition {
            Some(at) => {
                let condition = values.remove(at);
                Some(self.predicate(condition)?)
            }
            // `count(condition)`
            None if function.plain == "count" && !values.is_empty() => {
                let condition = values.remove(0);
                Some(self.predicate(condition)?)
            }
            None => None,
        };
        let function = functions::aggregate(function.plain).expect("the plain function is in the table");
        Ok(Aggregate { function, arguments: values, condition, columns, span })
    }

    /// The columns `*` stands for: all that are no keys.
    fn other_columns(&mut self, besides: &[&Expr], span: Span, cx: Cx<'_>) -> Result<Vec<(Expr, String)>> {
        let Some(row) = cx.row else { return self.fault(Code::WrongShape, span, "`*` without rows") };
        let mut columns = Vec::new();
        for (index, column) in row.schema.columns.iter().enumerate() {
            let is = |expr: &Expr| matches!(expr.kind, ExprKind::Column(at) if at == index);
            if self.keys.iter().any(is) || besides.iter().any(|expr| is(expr)) {
                continue;
            }
            columns.push((self.make(ExprKind::Column(index), column.ty, span)?, column.name.to_string()));
        }
        Ok(columns)
    }

    fn arg_best(
        &mut self,
        function: &'static Aggregation,
        arguments: &[Named],
        span: Span,
        cx: Cx<'_>,
    ) -> Result<Aggregate> {
        let Some((first, rest)) = arguments.split_first() else {
            return self.fault(Code::WrongType, span, format!("`{}` expects an argument", function.name));
        };
        let best = self.expr(&first.value, cx)?;
        if !types::fits(Kind::Orderable, best.ty) {
            let message = format!("a value of type {} has no order", best.ty);
            return self.fault(Code::WrongType, first.value.span, message);
        }
        let short = function.name.trim_start_matches("arg_");
        let name =
            |named: &Named| named.names.first().map(|name| name.text.clone()).or_else(|| names::name_of(&named.value));
        let mut columns = vec![Column::new(name(first).unwrap_or_else(|| format!("{short}_")), best.ty)];
        let mut values = vec![best];
        for argument in rest {
            if matches!(argument.value.kind, ast::ExprKind::Wildcard(_)) {
                for (value, name) in self.other_columns(&[&values[0].clone()], span, cx)? {
                    columns.push(Column::new(name, value.ty));
                    values.push(value);
                }
                continue;
            }
            let value = self.expr(&argument.value, cx)?;
            columns.push(Column::new(name(argument).unwrap_or_else(|| format!("{short}_")), value.ty));
            values.push(value);
        }
        Ok(Aggregate { function, arguments: values, condition: None, columns, span })
    }

    fn take_any(
        &mut self,
        called: &ast::Name,
        function: &'static Aggregation,
        arguments: &[Named],
        span: Span,
        cx: Cx<'_>,
    ) -> Result<Aggregate> {
        let prefix = if called.text == "any" { "any_" } else { "" };
        let (mut columns, mut values) = (Vec::new(), Vec::new());
        for argument in arguments {
            if matches!(argument.value.kind, ast::ExprKind::Wildcard(_)) {
                for (value, name) in self.other_columns(&[], span, cx)? {
                    columns.push(Column::new(format!("{prefix}{name}"), value.ty));
                    values.push(value);
                }
                continue;
            }
            let value = self.expr(&argument.value, cx)?;
            let name = names::name_of(&argument.value).unwrap_or_default();
            columns.push(Column::new(format!("{prefix}{name}"), value.ty));
            values.push(value);
        }
        if values.is_empty() {
            return self.fault(Code::WrongType, span, "an argument expected");
        }
        Ok(Aggregate { function, arguments: values, condition: None, columns, span })
    }
}

/// Percentiles of whole numbers are longs, of decimals reals.
fn percentile_type(ty: Type) -> Type {
    match ty {
        Type::Int => Type::Long,
        Type::Decimal => Type::Real,
        ty => ty,
    }
}

/// The columns of an output, named: a declared name twice is a fault; others get a number.
pub(super) struct Output {
    names: Names,
    declared: Names,
    pub columns: Vec<Column>,
    pub values: Vec<Expr>,
}

impl Output {
    pub fn new() -> Self {
        Self { names: Names::default(), declared: Names::default(), columns: Vec::new(), values: Vec::new() }
    }

    pub fn add(&mut self, binder: &Binder<'_>, made: Made) -> Result<()> {
        let name = match made.name {
            Some(name) if made.declared && !name.is_empty() => {
                if !self.declared.take(&name) {
                    let message = format!("a column with the name `{name}` is declared already");
                    return binder.fault(Code::DuplicateName, made.span, message);
                }
                self.names.unique(&name)
            }
            Some(name) if !name.is_empty() => self.names.unique(&name),
            _ => {
                let name = self.names.unnamed();
                self.names.unique(&name)
            }
        };
        self.columns.push(Column::new(name, made.value.ty));
        self.values.push(made.value);
        Ok(())
    }
}

/// The expression with aggregates counted from a place.
pub(super) fn above(expr: &Expr, first: usize) -> Expr {
    if !expr.has_columns() {
        return expr.clone();
    }
    let child = |expr: &Arc<Expr>| Arc::new(above(expr, first));
    let list = |list: &Arc<[Expr]>| list.iter().map(|expr| above(expr, first)).collect::<Arc<[Expr]>>();
    let kind = match &expr.kind {
        ExprKind::Column(index) if *index >= AGGREGATES => ExprKind::Column(index - AGGREGATES + first),
        ExprKind::Negate(of) => ExprKind::Negate(child(of)),
        ExprKind::Cast(of) => ExprKind::Cast(child(of)),
        ExprKind::Member { of, name } => ExprKind::Member { of: child(of), name: name.clone() },
        ExprKind::Field { of, field } => ExprKind::Field { of: child(of), field: *field },
        ExprKind::Index { of, index } => ExprKind::Index { of: child(of), index: child(index) },
        ExprKind::And(parts) => ExprKind::And(list(parts)),
        ExprKind::Or(parts) => ExprKind::Or(list(parts)),
        ExprKind::Call { function, arguments } => ExprKind::Call { function, arguments: list(arguments) },
        ExprKind::Window { function, arguments } => ExprKind::Window { function, arguments: list(arguments) },
        ExprKind::Binary { op, left, right } => ExprKind::Binary { op: *op, left: child(left), right: child(right) },
        ExprKind::Between { negated, value, low, high } => {
            ExprKind::Between { negated: *negated, value: child(value), low: child(low), high: child(high) }
        }
        ExprKind::In { op, value, list: List::Values(values) } => {
            ExprKind::In { op: *op, value: child(value), list: List::Values(list(values)) }
        }
        ExprKind::In { op, value, list: List::Rel(rel) } => {
            ExprKind::In { op: *op, value: child(value), list: List::Rel(rel.clone()) }
        }
        other => other.clone(),
    };
    Expr::new(kind, expr.ty, expr.span)
}
