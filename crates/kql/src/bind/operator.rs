//! Pipes and the operators that choose, name, order and group.

use super::aggregate::{AGGREGATES, Made, Output, above};
use super::{Binder, Cx, Entity, Extras, Item, Result, RowKind, types};
use crate::ast::{self, Named, OperatorKind};
use crate::bound::{
    Aggregate, Column, Expr, ExprKind, JoinKind, NestedLevel, Rel, RelKind, Render, ResultTable, Schema, SortKey,
};
use crate::diagnostic::{Code, Span};
use crate::value::{Type, Value};
use std::sync::Arc;

/// The names of join kinds.
const JOINS: [(&str, JoinKind); 12] = [
    ("innerunique", JoinKind::InnerUnique),
    ("inner", JoinKind::Inner),
    ("leftouter", JoinKind::LeftOuter),
    ("rightouter", JoinKind::RightOuter),
    ("fullouter", JoinKind::FullOuter),
    ("leftsemi", JoinKind::LeftSemi),
    ("rightsemi", JoinKind::RightSemi),
    ("leftanti", JoinKind::LeftAnti),
    ("leftantisemi", JoinKind::LeftAnti),
    ("anti", JoinKind::LeftAnti),
    ("rightanti", JoinKind::RightAnti),
    ("rightantisemi", JoinKind::RightAnti),
];

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

    /// All columns of a table as values.
    pub(super) fn all_columns(&mut self, schema: &Schema, span: Span) -> Result<Vec<Expr>> {
        let column = |(index, column): (usize, &Column)| (index, column.ty);
        let columns: Vec<(usize, Type)> = schema.columns.iter().enumerate().map(column).collect();
        columns.into_iter().map(|(index, ty)| self.make(ExprKind::Column(index), ty, span)).collect()
    }

    fn extend(&mut self, list: &[Named], input: Arc<Rel>, serialize: bool, cx: Cx<'_>, span: Span) -> Result<Arc<Rel>> {
        let serialized = serialize || input.serialized;
        let row = self.row(&input.schema, RowKind::Plain, serialized);
        let made = self.values(list, true, cx.with_row(&row))?;
        let mut columns = input.schema.columns.clone();
        let mut values = self.all_columns(&input.schema, span)?;
        let mut declared = super::names::Names::default();
        let mut unnamed = super::names::Names::default();
        for Made { name, declared: is_declared, value, span } in made {
            let name = match name {
                Some(name) if !name.is_empty() => name,
                _ => unnamed.unnamed(),
            };
            let bare = matches!(value.kind, ExprKind::Column(_));
            if is_declared && !bare && !declared.take(&name) {
                let message = format!("a column with the name `{name}` is declared already");
                return self.fault(Code::DuplicateName, span, message);
            }
            let column = Column::new(name.as_str(), value.ty);
            match columns.iter().position(|column| *column.name == *name) {
                Some(place) => {
                    columns[place] = column;
                    values[place] = value;
                }
                None => {
                    columns.push(column);
                    values.push(value);
                }
            }
        }
        let schema = Schema { columns, open: input.schema.open };
        self.rel(RelKind::Project { input, values }, schema, serialized, span)
    }

    fn project(&mut self, list: &[Named], input: Arc<Rel>, cx: Cx<'_>, span: Span) -> Result<Arc<Rel>> {
        let row = self.row(&input.schema, RowKind::Plain, input.serialized);
        let made = self.values(list, true, cx.with_row(&row))?;
        let mut output = Output::new();
        for made in made {
            output.add(self, made)?;
        }
        let serialized = input.serialized;
        self.rel(RelKind::Project { input, values: output.values }, Schema::of(output.columns), serialized, span)
    }

    /// The rows with some of their columns, in an order.
    pub(super) fn pick(&mut self, input: Arc<Rel>, picked: &[usize], span: Span) -> Result<Arc<Rel>> {
        let mut values = Vec::with_capacity(picked.len());
        for &index in picked {
            values.push(self.make(ExprKind::Column(index), input.schema.columns[index].ty, span)?);
        }
        let columns = picked.iter().map(|&index| input.schema.columns[index].clone()).collect();
        let schema = Schema { columns, open: input.schema.open };
        let serialized = input.serialized;
        self.rel(RelKind::Project { input, values }, schema, serialized, span)
    }

    /// The columns a name or wildcard stands for.
    fn picked(&self, expr: &ast::Expr, schema: &Schema) -> Result<Vec<usize>> {
        match &expr.kind {
            ast::ExprKind::Wildcard(pattern) => {
                let is = |column: &Column| super::find::matches(pattern, &column.name);
                Ok((0..schema.columns.len()).filter(|&index| is(&schema.columns[index])).collect())
            }
            ast::ExprKind::Name(name) => match schema.position(name) {
                Some(index) => Ok(vec![index]),
                None if schema.open => Ok(Vec::new()),
                None => self.fault(Code::UnknownName, expr.span, format!("failed to resolve column `{name}`")),
            },
            _ => self.fault(Code::WrongShape, expr.span, "the name of a column expected"),
        }
    }

    fn project_away(&mut self, list: &[ast::Expr], input: Arc<Rel>, keep: bool, span: Span) -> Result<Arc<Rel>> {
        let mut named = vec![false; input.schema.columns.len()];
        for expr in list {
            for index in self.picked(expr, &input.schema)? {
                named[index] = true;
            }
        }
        let picked: Vec<usize> = (0..named.len()).filter(|&index| named[index] == keep).collect();
        self.pick(input, &picked, span)
    }

    fn project_rename(&mut self, list: &[Named], input: Arc<Rel>, span: Span) -> Result<Arc<Rel>> {
        let mut columns = input.schema.columns.clone();
        for named in list {
            let [name] = &named.names[..] else {
                return self.fault(Code::Syntax, named.value.span, "`new = old` expected");
            };
            let [index] = self.picked(&named.value, &input.schema)?[..] else { continue };
            let taken = input.schema.position(&name.text).is_some_and(|taken| taken != index)
                || columns.iter().enumerate().any(|(at, column)| at != index && *column.name == *name.text);
            if taken {
                let message = format!("a column with the name `{}` is declared already", name.text);
                return self.fault(Code::DuplicateName, name.span, message);
            }
            columns[index].name = name.text.as_str().into();
        }
        let values = self.all_columns(&input.schema, span)?;
        let schema = Schema { columns, open: input.schema.open };
        let serialized = input.serialized;
        self.rel(RelKind::Project { input, values }, schema, serialized, span)
    }

    fn project_reorder(&mut self, list: &[ast::Reorder], input: Arc<Rel>, span: Span) -> Result<Arc<Rel>> {
        let mut picked: Vec<usize> = Vec::new();
        let mut taken = vec![false; input.schema.columns.len()];
        for item in list {
            let mut more = self.picked(&item.column, &input.schema)?;
            let name = |index: &usize| input.schema.columns[*index].name.clone();
            match item.order {
                None => {}
                Some(ast::Order::Ascending) => more.sort_by_key(name),
                Some(ast::Order::Descending) => {
                    more.sort_by_key(name);
                    more.reverse();
                }
                Some(ast::Order::NaturalAscending) => more.sort_by_key(|index| natural(&name(index))),
                Some(ast::Order::NaturalDescending) => {
                    more.sort_by_key(|index| natural(&name(index)));
                    more.reverse();
                }
            }
            for index in more {
                if !std::mem::replace(&mut taken[index], true) {
                    picked.push(index);
                }
            }
        }
        picked.extend((0..taken.len()).filter(|&index| !taken[index]));
        self.pick(input, &picked, span)
    }

    fn project_by_names(&mut self, list: &[ast::Expr], input: Arc<Rel>, cx: Cx<'_>, span: Span) -> Result<Arc<Rel>> {
        let mut picked: Vec<usize> = Vec::new();
        for expr in list {
            let value = self.constant(expr, cx)?;
            let names: Vec<String> = match value.as_literal() {
                Some(Value::String(name)) => vec![name.clone()],
                Some(Value::Dynamic(crate::value::Dynamic::Array(items))) => {
                    items.iter().map(ToString::to_string).collect()
                }
                Some(Value::Dynamic(item)) => vec![item.to_string()],
                _ if matches!(value.kind, ExprKind::Call { .. }) => self.column_names(&value, expr.span)?,
                _ => return self.fault(Code::NotConstant, expr.span, "names of columns must be constant texts"),
            };
            for name in names {
                for (index, column) in input.schema.columns.iter().enumerate() {
                    if super::find::matches(&name, &column.name) && !picked.contains(&index) {
                        picked.push(index);
                    }
                }
            }
        }
        self.pick(input, &picked, span)
    }

    /// The texts of a constant call that was bound to literals, as `column_names_of` is.
    fn column_names(&self, value: &Expr, span: Span) -> Result<Vec<String>> {
        if let ExprKind::Call { function, arguments } = &value.kind
            && function.name == "pack_array"
        {
            let text = |expr: &Expr| expr.as_literal().map(ToString::to_string);
            if let Some(names) = arguments.iter().map(text).collect() {
                return Ok(names);
            }
        }
        self.fault(Code::NotConstant, span, "names of columns must be constant texts")
    }

    fn keys(&mut self, by: &[Named], input: &Rel, cx: Cx<'_>) -> Result<Vec<Made>> {
        let row = self.row(&input.schema, RowKind::Plain, input.serialized);
        let keys = self.values(by, true, cx.with_row(&row))?;
        for key in &keys {
            if key.value.ty == Type::Dynamic {
                return self.no_dynamic(key.span);
            }
        }
        Ok(keys)
    }

    fn no_dynamic<T>(&self, span: Span) -> Result<T> {
        let message = "a dynamic value cannot be grouped, ordered or joined by: cast it, as with `tostring`";
        self.fault(Code::WrongType, span, message)
    }

    fn summarize(&mut self, list: &[Named], by: &[Named], input: Arc<Rel>, cx: Cx<'_>, span: Span) -> Result<Arc<Rel>> {
        let keys = self.keys(by, &input, cx)?;
        let row = self.row(&input.schema, RowKind::Plain, false);
        let summary = self.summary(list, &keys, cx.with_row(&row))?;
        let mut output = Output::new();
        let count = keys.len();
        for key in keys {
            output.add(self, key)?;
        }
        for made in summary.columns {
            output.add(self, made)?;
        }
        let keys: Vec<Expr> = output.values.drain(..count).collect();
        self.summarized(input, keys, summary.aggregates, output, count, span)
    }

    /// Groups, and above them a projection unless the columns are just keys and aggregates.
    fn summarized(
        &mut self,
        input: Arc<Rel>,
        keys: Vec<Expr>,
        aggregates: Vec<Aggregate>,
        output: Output,
        count: usize,
        span: Span,
    ) -> Result<Arc<Rel>> {
        let inner: Vec<Column> = aggregates.iter().flat_map(|aggregate| aggregate.columns.iter().cloned()).collect();
        let plain = output.values.len() == inner.len()
            && output
                .values
                .iter()
                .enumerate()
                .all(|(at, value)| matches!(value.kind, ExprKind::Column(index) if index == AGGREGATES + at));
        if plain {
            let schema = Schema::of(output.columns);
            return self.rel(RelKind::Summarize { input, keys, aggregates }, schema, false, span);
        }
        let mut columns: Vec<Column> = output.columns[..count].to_vec();
        // Within, the aggregates need names of their own only.
        let mut names = super::names::Names::default();
        columns.iter().for_each(|column| {
            names.take(&column.name);
        });
        columns.extend(inner.iter().map(|column| Column::new(names.unique(&column.name), column.ty)));
        let mut values = Vec::new();
        for (index, column) in columns[..count].iter().enumerate() {
            values.push(self.make(ExprKind::Column(index), column.ty, span)?);
        }
        values.extend(output.values.iter().map(|value| above(value, count)));
        let groups = self.rel(RelKind::Summarize { input, keys, aggregates }, Schema::of(columns), false, span)?;
        self.rel(RelKind::Project { input: groups, values }, Schema::of(output.columns), false, span)
    }

    fn distinct(&mut self, list: &[Named], input: Arc<Rel>, cx: Cx<'_>, span: Span) -> Result<Arc<Rel>> {
        let star =
            matches!(list, [Named { value: ast::Expr { kind: ast::ExprKind::Wildcard(star), .. }, .. }] if star == "*");
        let (keys, schema) = if star {
            if input.schema.columns.iter().any(|column| column.ty == Type::Dynamic) {
                return self.no_dynamic(span);
            }
            (self.all_columns(&input.schema, span)?, (*input.schema).clone())
        } else {
            let mut output = Output::new();
            for key in self.keys(list, &input, cx)? {
                output.add(self, key)?;
            }
            (output.values, Schema::of(output.columns))
        };
        self.rel(RelKind::Summarize { input, keys, aggregates: Vec::new() }, schema, false, span)
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

    fn top_hitters(
        &mut self,
        count: &ast::Expr,
        of: &ast::Expr,
        by: Option<&ast::Expr>,
        input: Arc<Rel>,
        cx: Cx<'_>,
        span: Span,
    ) -> Result<Arc<Rel>> {
        let count = self.count(count, cx)?;
        let of_name = super::names::name_of(of).unwrap_or_else(|| "Column1".into());
        let of = self.row_value(of, &input, cx)?;
        let (weight, by) = match by {
            Some(by) => {
                let name = super::names::name_of(by).unwrap_or_default();
                let by = self.row_value(by, &input, cx)?;
                if !by.ty.is_number() && by.ty != Type::Unknown {
                    return self.fault(Code::WrongType, by.span, format!("a number expected, not a {}", by.ty));
                }
                (Column::new(format!("approximate_sum_{name}"), super::call::promoted(by.ty)), Some(by))
            }
            None => (Column::new(format!("approximate_count_{of_name}"), Type::Long), None),
        };
        let schema = Schema::of(vec![Column::new(of_name, of.ty), weight]);
        self.rel(RelKind::TopHitters { input, count, of, by }, schema, true, span)
    }

    fn top_nested(&mut self, list: &[ast::NestedLevel], input: Arc<Rel>, cx: Cx<'_>, span: Span) -> Result<Arc<Rel>> {
        let row = self.row(&input.schema, RowKind::Plain, false);
        let inner = cx.with_row(&row);
        let mut output = Output::new();
        let mut levels = Vec::new();
        for level in list {
            let count = match &level.count {
                Some(count) => Some(self.count(count, cx)?),
                None => None,
            };
            let made = self.values(std::slice::from_ref(&level.of), false, inner)?.swap_remove(0);
            let of = made.value.clone();
            if of.ty == Type::Dynamic {
                return self.no_dynamic(level.of.value.span);
            }
            let others = match &level.others {
                Some(others) => {
                    let value = self.constant(others, cx)?;
                    Some(self.cast(value, of.ty)?)
                }
                None => None,
            };
            let name = made.name.clone().unwrap_or_default();
            output.add(self, made)?;
            let (mut aggregates, rank) = self.summary_value(&level.by.value.value, inner)?;
            if aggregates.len() != 1 {
                return self.fault(Code::WrongShape, level.by.value.value.span, "one aggregate expected");
            }
            let by = aggregates.swap_remove(0);
            let plain = matches!(rank.kind, ExprKind::Column(index) if index == AGGREGATES);
            let given = level.by.value.names.first().map(|name| name.text.clone());
            output.add(
                self,
                Made {
                    name: Some(given.unwrap_or_else(|| format!("aggregated_{name}"))),
                    declared: false,
                    value: rank.clone(),
                    span: level.by.value.value.span,
                },
            )?;
            let rank = (!plain).then(|| above(&rank, 0));
            levels.push(NestedLevel { count, of, others, by, rank, descending: !level.by.ascending.unwrap_or(false) });
        }
        self.rel(RelKind::TopNested { input, levels }, Schema::of(output.columns), false, span)
    }

    fn join_kind(&self, properties: &[ast::Property], default: JoinKind, span: Span) -> Result<JoinKind> {
        match self.property_text(properties, "kind")? {
            None => Ok(default),
            Some(kind) => match JOINS.iter().find(|(name, _)| *name == kind) {
                Some((_, kind)) => Ok(*kind),
                None => self.fault(Code::Syntax, span, format!("`{kind}` is no kind of join")),
            },
        }
    }

    fn join(
        &mut self,
        table: &ast::Expr,
        on: &ast::JoinOn,
        properties: &[ast::Property],
        left: Arc<Rel>,
        cx: Cx<'_>,
        span: Span,
    ) -> Result<Arc<Rel>> {
        let kind = self.join_kind(properties, JoinKind::InnerUnique, span)?;
        let right = self.table(table, cx)?;
        let on = self.join_on(on, &left, &right, cx, span)?;
        let hints = self.hints(properties)?;
        let schema = joined(kind, &left, &right);
        self.rel(RelKind::Join { kind, left, right, on, hints }, schema, false, span)
    }

    fn hints(&self, properties: &[ast::Property]) -> Result<Vec<(String, String)>> {
        let mut hints = Vec::new();
        for property in properties.iter().filter(|property| property.name.text.starts_with("hint.")) {
            hints.push((property.name.text.clone(), self.property_value(&property.value)?.to_string()));
        }
        Ok(hints)
    }

    fn lookup(
        &mut self,
        table: &ast::Expr,
        on: &ast::JoinOn,
        properties: &[ast::Property],
        left: Arc<Rel>,
        cx: Cx<'_>,
        span: Span,
    ) -> Result<Arc<Rel>> {
        let kind = self.join_kind(properties, JoinKind::LeftOuter, span)?;
        if !matches!(kind, JoinKind::LeftOuter | JoinKind::Inner) {
            return self.fault(Code::Syntax, span, "`lookup` is of kind leftouter or inner");
        }
        let right = self.table(table, cx)?;
        let on = self.join_on(on, &left, &right, cx, span)?;
        let right_keys: Vec<usize> = on.iter().filter_map(|(_, right)| key_column(right)).collect();
        // The keys of the right side go before names are compared.
        let mut names = super::names::Names::default();
        let kept = |index: &usize| !right_keys.contains(index);
        left.schema.columns.iter().for_each(|column| {
            names.take(&column.name);
        });
        let right_columns: Vec<Column> = (0..right.schema.columns.len())
            .filter(kept)
            .map(|index| &right.schema.columns[index])
            .map(|column| Column::new(names.unique(&column.name), column.ty))
            .collect();
        let inner = joined(kind, &left, &right);
        let width = left.schema.columns.len();
        let picked: Vec<usize> =
            (0..width).chain((0..right.schema.columns.len()).filter(kept).map(|index| width + index)).collect();
        let mut columns = left.schema.columns.clone();
        columns.extend(right_columns);
        let open = inner.open;
        let hints = self.hints(properties)?;
        let joined = self.rel(RelKind::Join { kind, left, right, on, hints }, inner, false, span)?;
        let mut values = Vec::new();
        for index in picked {
            values.push(self.make(ExprKind::Column(index), joined.schema.columns[index].ty, span)?);
        }
        self.rel(RelKind::Project { input: joined, values }, Schema { columns, open }, false, span)
    }

    fn join_on(
        &mut self,
        on: &ast::JoinOn,
        left: &Rel,
        right: &Rel,
        cx: Cx<'_>,
        span: Span,
    ) -> Result<Vec<(Expr, Expr)>> {
        let ast::JoinOn::On(conditions) = on else {
            return self.fault(Code::NotSupported, span, "`where` of a join is not implemented: use `on`");
        };
        let mut pairs = Vec::new();
        for condition in conditions {
            self.join_condition(condition, left, right, cx, &mut pairs)?;
        }
        Ok(pairs)
    }

    fn join_condition(
        &mut self,
        condition: &ast::Expr,
        left: &Rel,
        right: &Rel,
        cx: Cx<'_>,
        pairs: &mut Vec<(Expr, Expr)>,
    ) -> Result<()> {
        let span = condition.span;
        let (one, other) = match &condition.kind {
            ast::ExprKind::And(parts) => {
                for part in parts {
                    self.join_condition(part, left, right, cx, pairs)?;
                }
                return Ok(());
            }
            ast::ExprKind::Name(_) => (self.row_value(condition, left, cx)?, self.row_value(condition, right, cx)?),
            ast::ExprKind::Binary { op: ast::Binary::Equal, left: one, right: other } => {
                let (first, second) = (side(one), side(other));
                match (first, second) {
                    (Some(("$left", one)), Some(("$right", other))) => {
                        (self.row_value(one, left, cx)?, self.row_value(other, right, cx)?)
                    }
                    (Some(("$right", other)), Some(("$left", one))) => {
                        (self.row_value(one, left, cx)?, self.row_value(other, right, cx)?)
                    }
                    _ => return self.fault(Code::WrongShape, span, JOIN_FORM),
                }
            }
            _ => return self.fault(Code::WrongShape, span, JOIN_FORM),
        };
        if one.ty == Type::Dynamic || other.ty == Type::Dynamic {
            return self.no_dynamic(span);
        }
        let ty = types::common([one.ty, other.ty]);
        let Some(ty) = ty else {
            let message = format!("the keys of a join have the types {} and {}", one.ty, other.ty);
            return self.fault(Code::WrongType, span, message);
        };
        pairs.push((self.cast(one, ty)?, self.cast(other, ty)?));
        Ok(())
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

/// What a condition of a join may be.
const JOIN_FORM: &str =
    "a condition of a join is the name of a column of both sides, or `$left.column == $right.column`";

/// `count()` of all rows.
fn count(span: Span) -> Aggregate {
    let function = crate::functions::aggregate("count").expect("it is in the table");
    let columns = vec![Column::new("count_", Type::Long)];
    Aggregate { function, arguments: Vec::new(), condition: None, columns, span }
}

/// `$left` or `$right`, and what is asked of it.
fn side(expr: &ast::Expr) -> Option<(&str, &ast::Expr)> {
    match &expr.kind {
        ast::ExprKind::Path { of, member } => match &of.kind {
            ast::ExprKind::Name(side) => Some((side, member)),
            _ => None,
        },
        _ => None,
    }
}

/// The column a key is, below a cast.
fn key_column(key: &Expr) -> Option<usize> {
    match &key.kind {
        ExprKind::Column(index) => Some(*index),
        ExprKind::Cast(of) => key_column(of),
        _ => None,
    }
}

/// The columns of a join: those of the right get a number where the left has the name.
fn joined(kind: JoinKind, left: &Rel, right: &Rel) -> Schema {
    match kind {
        JoinKind::LeftSemi | JoinKind::LeftAnti => return (*left.schema).clone(),
        JoinKind::RightSemi | JoinKind::RightAnti => return (*right.schema).clone(),
        _ => {}
    }
    let mut names = super::names::Names::default();
    let taken: std::collections::HashSet<&str> = left.schema.columns.iter().map(|column| &*column.name).collect();
    for column in left.schema.columns.iter().chain(&right.schema.columns) {
        names.take(&column.name);
    }
    let mut columns = left.schema.columns.clone();
    for column in &right.schema.columns {
        let name = if taken.contains(&*column.name) { names.unique(&column.name) } else { column.name.to_string() };
        columns.push(Column::new(name, column.ty));
    }
    Schema { columns, open: left.schema.open || right.schema.open }
}

/// A name as it sorts when its digits count as numbers.
fn natural(name: &str) -> Vec<(String, u128)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (text, more) = rest.split_at(digits);
        let end = more.find(|c: char| !c.is_ascii_digit()).unwrap_or(more.len());
        parts.push((text.to_string(), more[..end].parse().unwrap_or(u128::MAX * u128::from(end > 0))));
        rest = &more[end..];
    }
    parts
}
