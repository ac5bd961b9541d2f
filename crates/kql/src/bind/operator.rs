//! Pipes: which operator reads what, and those that need little.

use super::aggregate::Output;
use super::{Binder, Cx, Entity, Extras, Item, Result, RowKind, types};
use crate::ast::{self, Named, OperatorKind};
use crate::bound::{Aggregate, Column, Expr, ExprKind, Rel, RelKind, Render, ResultTable, Schema, SortKey};
use crate::diagnostic::{Code, Span};
use crate::value::{Type, Value};
use std::sync::Arc;

impl Binder<'_> {
    /// An expression with the operators behind it. `input` is what an operator without a source
    /// reads; what is no rows (`render`, names, several results) goes to `extras`.
    pub(super) fn pipe(
        &mut self,
        expr: &ast::Expr,
        cx: Cx<'_>,
        input: Option<Arc<Rel>>,
        extras: Option<&mut Extras>,
    ) -> Result<Item> {
        let ast::ExprKind::Pipe { source, operators } = &expr.kind else { return self.item(expr, cx) };
        let mut own = Extras::default();
        let several = extras.is_some();
        let extras = extras.unwrap_or(&mut own);
        let mut current: Option<Item> = match source {
            Some(source) => Some(match self.item(source, cx)? {
                // The service takes a bare value for a table of one row.
                Item::Scalar(value) => {
                    return self.fault(
                        Code::WrongShape,
                        source.span,
                        format!("tabular value expected, not a {}", value.ty),
                    );
                }
                item => item,
            }),
            None => input.map(Item::Rel),
        };
        let mut env = cx.env.clone();
        for operator in operators {
            let inner = cx.without_row().with_env(&env);
            let span = operator.span;
            if extras.results.is_some() && !matches!(operator.kind, OperatorKind::Render { .. }) {
                return self.fault(Code::NotSupported, span, "operators behind several results are not implemented");
            }
            match &operator.kind {
                OperatorKind::As { name, properties } => {
                    let Some(Item::Rel(rel)) = current else { return self.no_rows(span) };
                    let keep = self.property_text(properties, "hint.materialized")?.is_some_and(|text| text == "true");
                    let rel = if keep { self.materialized(rel, span)? } else { rel };
                    extras.name = Some(name.text.clone());
                    let mut named = env.inner();
                    self.declare(&mut named, name, Entity::Rel(rel.clone(), true))?;
                    env = named;
                    current = Some(Item::Rel(rel));
                }
                OperatorKind::Render { kind, properties } => {
                    let properties = self.property_values(properties)?;
                    extras.render = Some(Render { kind: kind.text.clone(), properties });
                }
                OperatorKind::Fork(branches) => {
                    let Some(Item::Rel(rel)) = current else { return self.no_rows(span) };
                    if !several {
                        return self.fault(
                            Code::WrongShape,
                            span,
                            "`fork` yields several tables: it cannot be used here",
                        );
                    }
                    current = Some(Item::Rel(rel.clone()));
                    extras.results = Some(self.fork(branches, rel, inner, span)?);
                }
                OperatorKind::Facet { by, with } => {
                    let Some(Item::Rel(rel)) = current else { return self.no_rows(span) };
                    if !several {
                        return self.fault(
                            Code::WrongShape,
                            span,
                            "`facet` yields several tables: it cannot be used here",
                        );
                    }
                    current = Some(Item::Rel(rel.clone()));
                    extras.results = Some(self.facet(by, with.as_deref(), rel, inner, span)?);
                }
                OperatorKind::GraphToTable(tables) if tables.len() > 1 => {
                    let Some(Item::Graph(graph)) = current.take() else { return self.no_rows(span) };
                    if !several {
                        return self.fault(
                            Code::WrongShape,
                            span,
                            "two tables are asked for: they cannot be used here",
                        );
                    }
                    let mut results = Vec::new();
                    for table in tables {
                        let rel = self.graph_table(table, graph.clone(), span)?;
                        results.push(ResultTable {
                            name: table.name.as_ref().map(|name| name.text.clone()),
                            rel: rel.clone(),
                        });
                        extras.named.extend(table.name.clone().map(|name| (name, rel.clone())));
                        current = Some(Item::Rel(rel));
                    }
                    extras.results = Some(results);
                }
                kind => {
                    let input = current.take();
                    extras.name = None;
                    current = Some(self.operator(kind, input, inner, span)?);
                }
            }
        }
        match current {
            Some(item) => Ok(item),
            None => self.no_rows(expr.span),
        }
    }

    fn no_rows<T>(&self, span: Span) -> Result<T> {
        self.fault(Code::WrongShape, span, "the operator needs rows: it cannot be the first")
    }

    /// One operator.
    fn operator(&mut self, kind: &OperatorKind, input: Option<Item>, cx: Cx<'_>, span: Span) -> Result<Item> {
        // Operators that are a source, or may be one.
        match kind {
            OperatorKind::Print(values) => return self.print(values, cx, span).map(Item::Rel),
            OperatorKind::Range { name, from, to, step } => {
                return self.range(name, [from, to, step], cx, span).map(Item::Rel);
            }
            OperatorKind::Find(find) => return self.find(find, cx, span).map(Item::Rel),
            _ => {}
        }
        let input = match input {
            Some(Item::Graph(graph)) => return self.graph_operator(kind, graph, cx, span),
            Some(Item::Rel(rel)) => Some(rel),
            Some(_) => return self.fault(Code::WrongShape, span, "tabular value expected"),
            None => None,
        };
        match kind {
            OperatorKind::Union { tables, properties } => {
                return self.union(tables, properties, input, cx, span).map(Item::Rel);
            }
            OperatorKind::Search { tables, predicate, properties } => {
                return self.search(tables, predicate, properties, input, cx, span).map(Item::Rel);
            }
            OperatorKind::Evaluate { call, schema, properties: _ } => {
                return self.evaluate(call, schema.as_deref(), input, cx, span).map(Item::Rel);
            }
            _ => {}
        }
        let Some(input) = input else { return self.no_rows(span) };
        self.over(kind, input, cx, span)
    }

    /// An operator over rows.
    fn over(&mut self, kind: &OperatorKind, input: Arc<Rel>, cx: Cx<'_>, span: Span) -> Result<Item> {
        let rel = match kind {
            OperatorKind::Where(predicate) => self.filter(predicate, input, cx, span)?,
            OperatorKind::Extend(list) | OperatorKind::Serialize(list) => {
                let serialize = matches!(kind, OperatorKind::Serialize(_));
                self.extend(list, input, serialize, cx, span)?
            }
            OperatorKind::Project(list) => self.project(list, input, cx, span)?,
            OperatorKind::ProjectAway(list) => self.project_away(list, input, false, span)?,
            OperatorKind::ProjectKeep(list) => self.project_away(list, input, true, span)?,
            OperatorKind::ProjectRename(list) => self.project_rename(list, input, span)?,
            OperatorKind::ProjectReorder(list) => self.project_reorder(list, input, span)?,
            OperatorKind::ProjectByNames(list) => self.project_by_names(list, input, cx, span)?,
            OperatorKind::Summarize { aggregates, by, bin, properties: _ } => {
                if let Some(bin) = bin {
                    return self.fault(Code::NotSupported, bin.span, "`bin=` behind the keys: write `bin(key, size)`");
                }
                self.summarize(aggregates, by, input, cx, span)?
            }
            OperatorKind::Distinct(list) => self.distinct(list, input, cx, span)?,
            OperatorKind::Count(name) => {
                let aggregate = count(span);
                let name = name.as_ref().map_or("Count", |name| name.text.as_str());
                let schema = Schema::of(vec![Column::new(name, Type::Long)]);
                let kind = RelKind::Summarize { input, keys: Vec::new(), aggregates: vec![aggregate] };
                self.rel(kind, schema, false, span)?
            }
            OperatorKind::Sort(by) => {
                let keys = self.sort_keys(by, &input, cx)?;
                let schema = input.schema.clone();
                self.rel_of(RelKind::Sort { input, keys }, schema, true, span)?
            }
            OperatorKind::Top { count, by, properties: _ } => {
                let count = self.count(count, cx)?;
                let keys = self.sort_keys(by, &input, cx)?;
                let schema = input.schema.clone();
                self.rel_of(RelKind::Top { input, count, keys }, schema, true, span)?
            }
            OperatorKind::Take(count) => {
                let count = self.count(count, cx)?;
                let (schema, serialized) = (input.schema.clone(), input.serialized);
                self.rel_of(RelKind::Take { input, count }, schema, serialized, span)?
            }
            OperatorKind::Sample(count) => {
                let count = self.count(count, cx)?;
                let schema = input.schema.clone();
                self.rel_of(RelKind::Sample { input, count }, schema, false, span)?
            }
            OperatorKind::SampleDistinct { count, of } => {
                let count = self.count(count, cx)?;
                let of_name = super::names::name_of(of).unwrap_or_else(|| "Column1".into());
                let of = self.row_value(of, &input, cx)?;
                let schema = Schema::of(vec![Column::new(of_name, of.ty)]);
                self.rel(RelKind::SampleDistinct { input, count, of }, schema, false, span)?
            }
            OperatorKind::TopHitters { count, of, by } => self.top_hitters(count, of, by.as_ref(), input, cx, span)?,
            OperatorKind::TopNested(levels) => self.top_nested(levels, input, cx, span)?,
            OperatorKind::Join { table, on, properties } => self.join(table, on, properties, input, cx, span)?,
            OperatorKind::Lookup { table, on, properties } => self.lookup(table, on, properties, input, cx, span)?,
            OperatorKind::MvExpand { items, limit, properties } => {
                let (expand, schema) = self.mv_expand(items, limit.as_ref(), properties, input, cx)?;
                self.rel(RelKind::MvExpand(expand), schema, false, span)?
            }
            OperatorKind::MvApply { items, limit, body, properties } => {
                self.mv_apply(items, limit.as_ref(), body, properties, input, cx, span)?
            }
            OperatorKind::Parse(parse) => self.parse_rows(parse, input, cx, span)?,
            OperatorKind::ParseKv { text, keys, with } => self.parse_kv(text, keys, with, input, cx, span)?,
            OperatorKind::MakeSeries(series) => self.make_series(series, input, cx, span)?,
            OperatorKind::Scan(scan) => self.scan(scan, input, cx, span)?,
            OperatorKind::Reduce { of, properties, with } => self.reduce(of, properties, with, input, cx, span)?,
            OperatorKind::Partition { key, body, properties: _ } => {
                let name = super::names::name_of(key);
                let key = self.row_value(key, &input, cx)?;
                let inside = self.rel_of(RelKind::Input, input.schema.clone(), input.serialized, span)?;
                // The key is a constant of the body under its name.
                let mut env = cx.env.inner();
                if let Some(name) = name {
                    let value = self.make(ExprKind::PartitionKey, key.ty, key.span)?;
                    env.add(&name, Entity::Scalar(value, None));
                }
                self.partitions += 1;
                let body_item = self.pipe(body, cx.with_env(&env), Some(inside), None);
                self.partitions -= 1;
                let body = match body_item? {
                    Item::Rel(body) => body,
                    _ => return self.fault(Code::WrongShape, span, "tabular value expected"),
                };
                let schema = body.schema.clone();
                self.rel_of(RelKind::Partition { input, key, body }, schema, false, span)?
            }
            OperatorKind::GetSchema(_) => self.get_schema(&input, span)?,
            OperatorKind::AssertSchema(wanted) => {
                let columns = self.columns(wanted)?;
                let found = &input.schema.columns;
                if columns.len() != found.len() || columns.iter().zip(found).any(|(wanted, found)| wanted != found) {
                    return self.fault(Code::WrongType, span, "the rows do not have the asserted columns");
                }
                input
            }
            OperatorKind::Consume(_) => {
                let schema = Schema::default();
                self.rel(RelKind::Consume { input }, schema, false, span)?
            }
            OperatorKind::ExecuteAndCache => input,
            OperatorKind::Invoke(call) => return self.invoke(call, input, cx, span),
            OperatorKind::MakeGraph(make) => return self.make_graph(make, input, cx, span),
            OperatorKind::GraphMarkComponents(_)
            | OperatorKind::GraphMatch(_)
            | OperatorKind::GraphShortestPaths(_)
            | OperatorKind::GraphToTable(_)
            | OperatorKind::GraphWhere { .. } => {
                return self.fault(Code::WrongShape, span, "the operator needs a graph: put `make-graph` before it");
            }
            OperatorKind::As { .. }
            | OperatorKind::Render { .. }
            | OperatorKind::Fork(_)
            | OperatorKind::Facet { .. }
            | OperatorKind::Print(_)
            | OperatorKind::Range { .. }
            | OperatorKind::Find(_)
            | OperatorKind::Union { .. }
            | OperatorKind::Search { .. }
            | OperatorKind::Evaluate { .. } => unreachable!("handled by the callers"),
        };
        Ok(Item::Rel(rel))
    }

    /// A value over the rows of a table.
    pub(super) fn row_value(&mut self, expr: &ast::Expr, input: &Rel, cx: Cx<'_>) -> Result<Expr> {
        let row = self.row(&input.schema, RowKind::Plain, input.serialized);
        self.expr(expr, cx.with_row(&row))
    }

    fn print(&mut self, list: &[Named], cx: Cx<'_>, span: Span) -> Result<Arc<Rel>> {
        let made = self.values(list, false, cx)?;
        let mut output = Output::new();
        for (at, mut made) in made.into_iter().enumerate() {
            let tuple = matches!(made.value.kind, ExprKind::Field { .. });
            if !tuple && list.get(at).is_none_or(|named| named.names.is_empty()) {
                made.name = Some(format!("print_{at}"));
                made.declared = false;
            }
            output.add(self, made)?;
        }
        self.rel(RelKind::Print { values: output.values }, Schema::of(output.columns), true, span)
    }

    fn range(&mut self, name: &ast::Name, parts: [&ast::Expr; 3], cx: Cx<'_>, span: Span) -> Result<Arc<Rel>> {
        let mut values = Vec::new();
        for part in parts {
            values.push(self.constant(part, cx)?);
        }
        let [from, to, step] = <[Expr; 3]>::try_from(values).expect("three in, three out");
        let (ty, step_ty) = match (from.ty, to.ty, step.ty) {
            (Type::DateTime, Type::DateTime | Type::Unknown | Type::Dynamic, _) => (Type::DateTime, Type::TimeSpan),
            (from, to, step) => match types::common([from, to, step]) {
                Some(ty) => (ty, ty),
                None => (Type::Dynamic, Type::Dynamic),
            },
        };
        let fits = step.ty == step_ty
            || step.ty.is_number() && step_ty.is_number()
            || matches!(step.ty, Type::Dynamic | Type::Unknown);
        if !(ty.is_summable() || ty == Type::Unknown) || !fits {
            let message = format!("`range` from a {} to a {} by a {}", from.ty, to.ty, step.ty);
            return self.fault(Code::WrongType, span, message);
        }
        let (from, to, step) = (self.cast(from, ty)?, self.cast(to, ty)?, self.cast(step, step_ty)?);
        let schema = Schema::of(vec![Column::new(name.text.as_str(), ty)]);
        self.rel(RelKind::Range { from, to, step }, schema, true, span)
    }

    fn filter(&mut self, predicate: &Named, input: Arc<Rel>, cx: Cx<'_>, span: Span) -> Result<Arc<Rel>> {
        if !predicate.names.is_empty() {
            return self.fault(Code::Syntax, span, "`=` gives a name, and `where` needs none: compare with `==`");
        }
        let value = self.row_value(&predicate.value, &input, cx)?;
        let predicate = self.predicate(value)?;
        let (schema, serialized) = (input.schema.clone(), input.serialized);
        self.rel_of(RelKind::Where { input, predicate }, schema, serialized, span)
    }

    pub(super) fn sort_keys(&mut self, by: &[ast::Ordered], input: &Rel, cx: Cx<'_>) -> Result<Vec<SortKey>> {
        let mut keys = Vec::new();
        for ordered in by {
            let value = self.row_value(&ordered.value.value, input, cx)?;
            if value.ty == Type::Dynamic {
                return self.no_dynamic(ordered.value.value.span);
            }
            let descending = !ordered.ascending.unwrap_or(false);
            keys.push(SortKey { value, descending, nulls_first: ordered.nulls_first.unwrap_or(!descending) });
        }
        Ok(keys)
    }

    fn get_schema(&mut self, input: &Rel, span: Span) -> Result<Arc<Rel>> {
        let mut rows = Vec::new();
        for (at, column) in input.schema.columns.iter().enumerate() {
            rows.push(vec![
                Value::String(column.name.to_string()),
                Value::Long(at as i64),
                Value::String(column.ty.system_name().into()),
                Value::String(column.ty.name().into()),
            ]);
        }
        let columns = [
            ("ColumnName", Type::String),
            ("ColumnOrdinal", Type::Long),
            ("DataType", Type::String),
            ("ColumnType", Type::String),
        ];
        let columns = columns.into_iter().map(|(name, ty)| Column::new(name, ty)).collect();
        self.rel(RelKind::DataTable { rows }, Schema::of(columns), true, span)
    }

    fn invoke(&mut self, call: &ast::Expr, input: Arc<Rel>, cx: Cx<'_>, span: Span) -> Result<Item> {
        let (database, call) = match &call.kind {
            ast::ExprKind::Path { of, member } => match self.item(of, cx)? {
                Item::Database(database) => (database, &**member),
                _ => return self.fault(Code::WrongShape, of.span, "a database expected"),
            },
            _ => (cx.database.to_string(), call),
        };
        let ast::ExprKind::Call { name, arguments } = &call.kind else {
            return self.fault(Code::WrongShape, call.span, "a call of a function expected");
        };
        if let Some(Entity::Function(function)) = cx.env.get(&name.text) {
            return self.user_call(&function, arguments, Some(input), span, cx);
        }
        match self.stored_function(&database, &name.text, span)? {
            Some(function) => self.user_call(&function, arguments, Some(input), span, cx),
            None => self.fault(Code::UnknownFunction, name.span, format!("no function has the name `{}`", name.text)),
        }
    }

    fn fork(
        &mut self,
        branches: &[(Option<ast::Name>, Vec<ast::Operator>)],
        input: Arc<Rel>,
        cx: Cx<'_>,
        span: Span,
    ) -> Result<Vec<ResultTable>> {
        let shared = self.materialized(input, span)?;
        let mut results = Vec::new();
        for (name, operators) in branches {
            let rel = self.branch(operators, shared.clone(), cx, span)?;
            results.push(ResultTable { name: name.as_ref().map(|name| name.text.clone()), rel });
        }
        Ok(results)
    }

    /// Operators over given rows.
    fn branch(&mut self, operators: &[ast::Operator], input: Arc<Rel>, cx: Cx<'_>, span: Span) -> Result<Arc<Rel>> {
        let kind = ast::ExprKind::Pipe { source: None, operators: operators.to_vec() };
        match self.pipe(&ast::Expr { kind, span }, cx, Some(input), None)? {
            Item::Rel(rel) => Ok(rel),
            _ => self.fault(Code::WrongShape, span, "tabular value expected"),
        }
    }

    fn facet(
        &mut self,
        by: &[ast::Expr],
        with: Option<&[ast::Operator]>,
        input: Arc<Rel>,
        cx: Cx<'_>,
        span: Span,
    ) -> Result<Vec<ResultTable>> {
        let shared = self.materialized(input, span)?;
        let mut results = Vec::new();
        for column in by {
            let named = Named { names: Vec::new(), tuple: false, value: column.clone() };
            let mut output = Output::new();
            for key in self.keys(std::slice::from_ref(&named), &shared, cx)? {
                output.add(self, key)?;
            }
            output.columns.push(Column::new(format!("count_{}", output.columns[0].name), Type::Long));
            let kind = RelKind::Summarize { input: shared.clone(), keys: output.values, aggregates: vec![count(span)] };
            let rel = self.rel(kind, Schema::of(output.columns), false, span)?;
            results.push(ResultTable { name: None, rel });
        }
        if let Some(operators) = with {
            results.push(ResultTable { name: None, rel: self.branch(operators, shared, cx, span)? });
        }
        Ok(results)
    }
}

/// `count()` of all rows.
fn count(span: Span) -> Aggregate {
    let function = crate::functions::aggregate("count").expect("it is in the table");
    let columns = vec![Column::new("count_", Type::Long)];
    Aggregate { function, arguments: Vec::new(), condition: None, columns, span }
}
