//! Queries: select lists, set operations, order, bounds.

use std::sync::Arc;

use gantry_kql::Span;
use gantry_kql::bound::{Binary, Expand, Expr, ExprKind, JoinKind, MvExpand, Rel, RelKind, Slot, SortKey};
use gantry_kql::value::{Type, Value};
use sqlparser::ast::{
    self, Distinct, GroupByExpr, OrderByKind, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, SetOperator,
    SetQuantifier,
};

use super::aggregate::aggregated;
use super::coerce::held_as;
use super::from::{From, inner};
use super::join::build;
use super::scope::{APPLIED, Field, Grouping, Link, OUTER, SETS, Scalar, Stage, Table, WINDOWED, folded};
use super::written::{has_aggregate, name_of, no_options, refuse};
use super::{Binder, columns, expr, filter, one_row, project, rel, types};
use crate::error::{Error, Result, state};
use crate::types::SqlType;

/// What stands behind a query: order and bounds.
struct Tail<'q> {
    order: &'q [ast::OrderByExpr],
    limit: Option<&'q ast::Expr>,
    offset: Option<&'q ast::Expr>,
}

impl Binder<'_> {
    /// A query, whose rows carry what it reads of the query around behind its own columns.
    pub(super) fn query(&mut self, query: &ast::Query, parent: Option<&Stage>, link: Option<&Link>) -> Result<Table> {
        self.deeper(|binder| {
            let known = binder.ctes.len();
            let made = binder.query_here(query, parent, link);
            binder.ctes.truncate(known);
            made
        })
    }

    fn query_here(&mut self, query: &ast::Query, parent: Option<&Stage>, link: Option<&Link>) -> Result<Table> {
        if let Some(with) = &query.with {
            for cte in &with.cte_tables {
                let name = folded(&cte.alias.name);
                let made = self.query(&cte.query, None, None);
                let mut table = match made {
                    Err(wrong)
                        if with.recursive && wrong.state == state::UNDEFINED_TABLE && wrong.message.contains(&name) =>
                    {
                        return Err(Error::unsupported("WITH RECURSIVE"));
                    }
                    made => made?,
                };
                for (field, column) in table.fields.iter_mut().zip(&cte.alias.columns) {
                    field.name = folded(&column.name);
                }
                if cte.materialized == Some(ast::CteAsMaterialized::Materialized) {
                    table.rel = self.share(table.rel);
                }
                self.ctes.push((name, table));
            }
        }
        if !query.locks.is_empty() || query.for_clause.is_some() || !query.pipe_operators.is_empty() {
            return Err(Error::unsupported("FOR UPDATE and its like"));
        }
        let order: &[ast::OrderByExpr] = match &query.order_by {
            None => &[],
            Some(order) => match &order.kind {
                OrderByKind::Expressions(keys) => keys,
                OrderByKind::All(_) => return Err(Error::unsupported("ORDER BY ALL")),
            },
        };
        let (mut limit, mut offset) = (None, None);
        match &query.limit_clause {
            Some(ast::LimitClause::LimitOffset { limit: count, offset: skip, .. }) => {
                limit = count.as_ref();
                offset = skip.as_ref().map(|skip| &skip.value);
            }
            Some(ast::LimitClause::OffsetCommaLimit { .. }) => return Err(Error::unsupported("LIMIT a, b")),
            None => {}
        }
        if let Some(fetch) = &query.fetch {
            if fetch.with_ties || fetch.percent {
                return Err(Error::unsupported("FETCH ... WITH TIES"));
            }
            limit = fetch.quantity.as_ref();
        }
        let tail = Tail { order, limit, offset };
        match &*query.body {
            SetExpr::Select(select) => self.select(select, &tail, parent, link),
            body => {
                let table = self.body(body, parent, link)?;
                self.ordered(table, &tail, link)
            }
        }
    }

    fn body(&mut self, body: &SetExpr, parent: Option<&Stage>, link: Option<&Link>) -> Result<Table> {
        self.deeper(|binder| match body {
            SetExpr::Select(select) => {
                binder.select(select, &Tail { order: &[], limit: None, offset: None }, parent, link)
            }
            SetExpr::Query(query) => binder.query(query, parent, link),
            SetExpr::SetOperation { left, op, set_quantifier, right } => {
                let (left, right) = (binder.body(left, parent, link)?, binder.body(right, parent, link)?);
                binder.set_operation(left, *op, *set_quantifier, right)
            }
            SetExpr::Values(values) => binder.values(values, parent, link),
            SetExpr::Table(table) => {
                let text = format!(
                    "SELECT * FROM {}{}",
                    table.schema_name.as_ref().map(|schema| format!("{schema}.")).unwrap_or_default(),
                    table.table_name.as_ref().map(ToString::to_string).unwrap_or_default()
                );
                let query = crate::parse::query(&text)?;
                binder.query(&query, parent, link)
            }
            other => Err(Error::new(
                state::READ_ONLY_SQL_TRANSACTION,
                format!("cannot execute {} in a read-only transaction", crate::parse::first_word(&other.to_string())),
            )),
        })
    }

    fn values(&mut self, values: &ast::Values, parent: Option<&Stage>, link: Option<&Link>) -> Result<Table> {
        let (from, nodes) = From::new(parent, link);
        let stage =
            Stage { parent, link: link.cloned(), outer: from.outer.clone(), plain: Some("VALUES"), ..Stage::default() };
        let width = values.rows.first().map_or(0, |row| row.content.len());
        let mut by_column: Vec<Vec<Scalar>> = vec![Vec::new(); width];
        for row in &values.rows {
            if row.content.len() != width {
                return Err(Error::new(state::SYNTAX_ERROR, "VALUES lists must all be the same length"));
            }
            for (column, of) in by_column.iter_mut().zip(&row.content) {
                column.push(self.expr(&stage, of)?);
            }
        }
        let mut fields = Vec::new();
        let mut held: Vec<Vec<Expr>> = vec![Vec::new(); values.rows.len()];
        for (at, column) in by_column.into_iter().enumerate() {
            let (ty, column) = self.unify(column, "VALUES")?;
            let nullable = column.iter().any(|value| value.nullable);
            fields.push(Field::new(format!("column{}", at + 1), ty, nullable, at));
            for (row, value) in held.iter_mut().zip(&column) {
                row.push(held_as(value, nullable));
            }
        }
        let base = build(inner(nodes), Vec::new());
        let outer = self.outer_columns(&stage);
        let shape: Vec<Type> = fields.iter().map(|field| field.ty.held(field.nullable)).collect();
        let inputs: Vec<Arc<Rel>> = held
            .into_iter()
            .map(|row| project(Arc::clone(&base), row.into_iter().chain(outer.iter().cloned()).collect()))
            .collect();
        let shape: Vec<Type> = shape.into_iter().chain(outer.iter().map(|of| of.ty)).collect();
        let rel = union(inputs, shape);
        let first = fields.len();
        Ok(Table { rel, fields, outer: (first..first + outer.len()).collect() })
    }

    fn set_operation(
        &mut self,
        left: Table,
        op: SetOperator,
        quantifier: SetQuantifier,
        right: Table,
    ) -> Result<Table> {
        if left.fields.len() != right.fields.len() {
            return Err(Error::new(
                state::SYNTAX_ERROR,
                format!("each {op} query must have the same number of columns"),
            ));
        }
        let all = match quantifier {
            SetQuantifier::All => true,
            SetQuantifier::Distinct | SetQuantifier::None => false,
            _ => return Err(Error::unsupported("BY NAME")),
        };
        let mut fields = Vec::new();
        let (mut lefts, mut rights) = (Vec::new(), Vec::new());
        for (a, b) in left.fields.iter().zip(&right.fields) {
            let (ty, both) = self.unify(vec![a.scalar(), b.scalar()], &op.to_string())?;
            let nullable = both.iter().any(|one| one.nullable);
            fields.push(Field::new(a.name.clone(), ty, nullable, fields.len()));
            lefts.push(held_as(&both[0], nullable));
            rights.push(held_as(&both[1], nullable));
        }
        let (of_left, of_right) = (columns(&left.rel), columns(&right.rel));
        lefts.extend(left.outer.iter().map(|at| of_left[*at].clone()));
        rights.extend(right.outer.iter().map(|at| of_right[*at].clone()));
        let first = fields.len();
        let outer: Vec<usize> = (first..lefts.len()).collect();
        let (left, right) = (project(left.rel, lefts), project(right.rel, rights));
        let shape: Vec<Type> = types(&left).collect();
        let rel = match (op, all) {
            (SetOperator::Union, true) => union(vec![left, right], shape),
            (SetOperator::Union, false) => distinct(union(vec![left, right], shape)),
            (SetOperator::Except | SetOperator::Intersect, false) => {
                let kind = if op == SetOperator::Except { JoinKind::LeftAnti } else { JoinKind::LeftSemi };
                let pairs: Vec<(Expr, Expr)> = columns(&left).into_iter().zip(columns(&right)).collect();
                self.join_null_safe(kind, distinct(left), right, pairs.into_iter())
            }
            _ => return Err(Error::unsupported(format!("{op} ALL"))),
        };
        Ok(Table { rel, fields, outer })
    }

    fn select(
        &mut self,
        select: &ast::Select,
        tail: &Tail,
        parent: Option<&Stage>,
        link: Option<&Link>,
    ) -> Result<Table> {
        refuse(select)?;
        let top = select.top.as_ref().map(super::tsql::top).transpose()?.flatten();
        let tail = &Tail { limit: top.as_ref().or(tail.limit), ..*tail };
        let (mut from, mut nodes) = From::new(parent, link);
        for table in &select.from {
            nodes = self.table_with_joins(&mut from, table, nodes)?;
        }
        let mut rows_stage = Stage {
            scope: std::mem::take(&mut from.scope),
            parent,
            link: link.cloned(),
            outer: from.outer.clone(),
            plain: Some("WHERE"),
            named_windows: select.named_window.clone(),
            ..Stage::default()
        };
        // Conditions that need nothing but the rows are tested where they are read.
        let (mut early, mut late) = (Vec::new(), Vec::new());
        if let Some(of) = &select.selection {
            let mut parts = Vec::new();
            super::expr::chain(of, &ast::BinaryOperator::And, &mut parts);
            for part in parts {
                let condition = self.condition(&rows_stage, part)?.expr;
                let needs = condition
                    .any(&mut |part| matches!(part.kind, ExprKind::Column(at) if (APPLIED..OUTER).contains(&at)));
                if needs { late.push(condition) } else { early.push(condition) }
            }
        }
        let mut rows = build(inner(nodes), early);
        let width = rows.schema.columns.len();
        if !late.is_empty() {
            rows = self.attach(rows, &rows_stage, &Expr::clone);
            for condition in late {
                rows = filter(rows, placed(&condition, width, &[], &[]));
            }
            let mut all = columns(&rows);
            all.truncate(width);
            rows = project(rows, all);
        }
        rows_stage.plain = None;
        let items = self.items(&rows_stage, &select.projection)?;
        let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if keys.is_empty())
            || select.having.is_some()
            || items.iter().any(|item| item.has_aggregate())
            || tail.order.iter().any(|key| has_aggregate(&key.expr));
        if grouped {
            let keys = self.group_keys(&rows_stage, &select.group_by, &items)?;
            let explicit = keys.len();
            let outer: Vec<Scalar> = self
                .outer_columns(&rows_stage)
                .into_iter()
                .zip(link.iter().flat_map(|link| link.values.borrow().clone()).collect::<Vec<_>>())
                .map(|(expr, value)| Scalar { expr, ..value })
                .collect();
            let mut all = outer.clone();
            all.extend(keys);
            let keys = all.len();
            let grouping = Grouping { rows: &rows_stage, keys: all, aggregates: std::cell::RefCell::default() };
            let stage = Stage {
                parent,
                link: link.cloned(),
                outer: (0..outer.len()).collect(),
                grouping: Some(grouping),
                named_windows: select.named_window.clone(),
                ..Stage::default()
            };
            let having = match &select.having {
                Some(having) => Some(self.condition(&stage, having)?.expr),
                None => None,
            };
            let list = self.list(&stage, &items, select, tail)?;
            let grouping = stage.grouping.as_ref().expect("it is grouped");
            let summary = self.summarize(rows, grouping, explicit);
            let settle = move |of: &Expr| aggregated(of, keys);
            return self.finish(summary, &stage, having, list, select, tail, &settle);
        }
        let list = self.list(&rows_stage, &items, select, tail)?;
        self.finish(rows, &rows_stage, None, list, select, tail, &Expr::clone)
    }

    /// The columns of a stage that hold what it reads of the query around.
    pub(super) fn outer_columns(&self, stage: &Stage) -> Vec<Expr> {
        let Some(link) = &stage.link else { return Vec::new() };
        let values = link.values.borrow();
        stage
            .outer
            .iter()
            .zip(values.iter())
            .map(|(at, value)| Expr::column(*at, value.expr.ty, Span::default()))
            .collect()
    }

    /// The select list with its stars written out.
    fn items<'s>(&mut self, stage: &Stage, projection: &'s [SelectItem]) -> Result<Vec<Item<'s>>> {
        let mut items = Vec::new();
        for item in projection {
            match item {
                SelectItem::UnnamedExpr(of) => {
                    let name = self.spelled(stage, of)?.unwrap_or_else(|| name_of(of));
                    items.push(Item::Expr(name, of));
                }
                SelectItem::ExprWithAlias { expr, alias } => items.push(Item::Expr(folded(alias), expr)),
                SelectItem::Wildcard(options) => {
                    no_options(options)?;
                    if stage.scope.relations.is_empty() {
                        return Err(Error::new(state::SYNTAX_ERROR, "SELECT * with no tables specified is not valid"));
                    }
                    for relation in &stage.scope.relations {
                        let shown = relation.fields.iter().filter(|field| !relation.merged.contains(&field.name));
                        items.extend(shown.map(|field| Item::Field(field.clone())));
                    }
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
                    no_options(options)?;
                    let last = match name.0.last() {
                        Some(ast::ObjectNamePart::Identifier(ident)) => ident,
                        _ => return Err(Error::unsupported("such a star")),
                    };
                    let relation = stage.scope.relation(last).ok_or_else(|| {
                        Error::new(
                            state::UNDEFINED_TABLE,
                            format!("missing FROM-clause entry for table \"{}\"", last.value),
                        )
                        .or_at(last.span)
                    })?;
                    items.extend(relation.fields.iter().map(|field| Item::Field(field.clone())));
                }
                other => return Err(Error::unsupported(format!("`{other}` in a select list"))),
            }
        }
        Ok(items)
    }

    fn group_keys(&mut self, stage: &Stage, group_by: &GroupByExpr, items: &[Item]) -> Result<Vec<Scalar>> {
        let GroupByExpr::Expressions(written, modifiers) = group_by else {
            return Err(Error::unsupported("GROUP BY ALL"));
        };
        if !modifiers.is_empty() {
            return Err(Error::unsupported("GROUP BY ... WITH"));
        }
        let stage = Stage {
            scope: stage.scope.clone(),
            parent: stage.parent,
            link: stage.link.clone(),
            outer: stage.outer.clone(),
            plain: Some("GROUP BY"),
            ..Stage::default()
        };
        let mut keys: Vec<Scalar> = Vec::new();
        for of in written {
            let mut of = of;
            if matches!(of, ast::Expr::Rollup(_) | ast::Expr::Cube(_) | ast::Expr::GroupingSets(_)) {
                return Err(Error::unsupported("GROUPING SETS, ROLLUP and CUBE"));
            }
            if let ast::Expr::Tuple(parts) = of
                && parts.is_empty()
            {
                continue;
            }
            let mut field = None;
            if let Some(at) = ordinal(of) {
                match items.get(at.wrapping_sub(1)) {
                    Some(Item::Expr(_, item)) => of = item,
                    Some(Item::Field(known)) => field = Some(known.clone()),
                    None => {
                        return Err(Error::new(
                            state::INVALID_COLUMN_REFERENCE,
                            format!("GROUP BY position {at} is not in select list"),
                        ));
                    }
                }
            } else if let ast::Expr::Identifier(name) = of
                && stage.scope.find(std::slice::from_ref(name))?.is_none()
                && let Some(Item::Expr(_, item)) = items.iter().find(|item| item.name() == folded(name))
            {
                // A name of the select list, if no table has it.
                of = item;
            }
            let key = match field {
                Some(field) => field.scalar(),
                None => self.expr(&stage, of)?,
            };
            let key = self.cast_unknown(key)?;
            if keys.iter().all(|known| known.expr.kind != key.expr.kind) {
                keys.push(key);
            }
        }
        if stage.needs_rows() {
            return Err(Error::unsupported("a sub-query that reads the query around in GROUP BY"));
        }
        Ok(keys)
    }

    /// The values of a select list, of its order and of `distinct on`.
    fn list(&mut self, stage: &Stage, items: &[Item], select: &ast::Select, tail: &Tail) -> Result<List> {
        let mut fields = Vec::new();
        let mut values = Vec::new();
        for item in items {
            let value = match item {
                Item::Expr(_, of) => self.expr(stage, of)?,
                Item::Field(field) => match &stage.grouping {
                    None => field.scalar(),
                    Some(grouping) => grouping.key(&field.scalar().expr).ok_or_else(|| {
                        Error::new(
                            state::GROUPING_ERROR,
                            format!(
                                "column \"{}\" must appear in the GROUP BY clause or be used in an aggregate function",
                                field.name
                            ),
                        )
                    })?,
                },
            };
            // A bare null is of whatever type the other queries of a union say.
            let value = if value.is_null_literal() { value } else { self.cast_unknown(value)? };
            let mut field = Field::new(item.name(), value.ty, value.nullable, values.len());
            field.origin = value.origin;
            fields.push(field);
            values.push(super::operator::whole_interval(&value));
        }
        let mut hidden: Vec<Expr> = Vec::new();
        let shown = values.len();
        let mut place = |of: Expr, values: &[Expr]| match values.iter().position(|known| known.kind == of.kind) {
            Some(at) => at,
            None => match hidden.iter().position(|known| known.kind == of.kind) {
                Some(at) => shown + at,
                None => {
                    hidden.push(of);
                    shown + hidden.len() - 1
                }
            },
        };
        let mut order = Vec::new();
        for key in tail.order {
            let at = match self.output(&key.expr, items, "ORDER BY")? {
                Some(at) => at,
                None => {
                    let value = self.expr(stage, &key.expr)?;
                    let value = self.cast_unknown(value)?;
                    place(value.expr, &values)
                }
            };
            order.push((at, self.sorting(key)));
        }
        let mut on = Vec::new();
        if let Some(Distinct::On(written)) = &select.distinct {
            for of in written {
                let at = match self.output(of, items, "DISTINCT ON")? {
                    Some(at) => at,
                    None => {
                        let value = self.expr(stage, of)?;
                        place(value.expr, &values)
                    }
                };
                on.push(at);
            }
        }
        if matches!(select.distinct, Some(Distinct::Distinct)) && !hidden.is_empty() {
            return Err(Error::new(
                state::INVALID_COLUMN_REFERENCE,
                "for SELECT DISTINCT, ORDER BY expressions must appear in select list",
            ));
        }
        Ok(List { fields, values, hidden, order, on })
    }

    /// The item of the select list that a number or a name in `order by` means.
    fn output(&self, of: &ast::Expr, items: &[Item], what: &str) -> Result<Option<usize>> {
        if let Some(at) = ordinal(of) {
            return match at.checked_sub(1).filter(|at| *at < items.len()) {
                Some(at) => Ok(Some(at)),
                None => Err(Error::new(
                    state::INVALID_COLUMN_REFERENCE,
                    format!("{what} position {at} is not in select list"),
                )),
            };
        }
        let ast::Expr::Identifier(name) = of else { return Ok(None) };
        let mut same = items.iter().enumerate().filter(|(_, item)| item.name() == folded(name));
        match (same.next(), same.next()) {
            // Several of one name are the tables' to tell apart.
            (Some((at, _)), None) => Ok(Some(at)),
            _ => Ok(None),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "everything a select consists of comes together here")]
    fn finish(
        &mut self,
        rows: Arc<Rel>,
        stage: &Stage,
        having: Option<Expr>,
        list: List,
        select: &ast::Select,
        tail: &Tail,
        settle: &dyn Fn(&Expr) -> Expr,
    ) -> Result<Table> {
        let link = stage.link.as_ref();
        let width = rows.schema.columns.len();
        let mut rows = self.attach(rows, stage, settle);
        let applied = |of: &Expr| placed(&settle(of), width, &[], &[]);
        if let Some(having) = having {
            rows = filter(rows, applied(&having));
        }
        let (with_windows, windows) = self.over(rows, stage, &applied);
        rows = with_windows;
        let windowed = |of: &Expr| placed(&settle(of), width, &windows, &[]);
        let sets = std::mem::take(&mut *stage.sets.borrow_mut());
        let mut set_places = Vec::new();
        if !sets.is_empty() {
            let mut shape: Vec<Type> = types(&rows).collect();
            let mut outputs: Vec<Slot> = (0..shape.len()).map(Slot::Input).collect();
            let mut expands = Vec::new();
            for (at, (array, element)) in sets.iter().enumerate() {
                let ty = element.held(true);
                set_places.push(shape.len());
                shape.push(ty);
                outputs.push(Slot::Made(at));
                expands.push(Expand { value: windowed(array), to: (ty != Type::Dynamic).then_some(ty) });
            }
            let serialized = rows.serialized;
            let expand = MvExpand { input: rows, items: expands, outputs, entries_as_arrays: false, limit: None };
            rows = rel(RelKind::MvExpand(expand), shape, serialized);
        }
        let all = |of: &Expr| placed(&settle(of), width, &windows, &set_places);
        let List { fields, values, hidden, order, on } = list;
        let (shown, extra) = (values.len(), hidden.len());
        let mut made: Vec<Expr> = values.iter().chain(&hidden).map(all).collect();
        made.extend(self.outer_columns(stage));
        let mut rows = project(rows, made);
        let outer: Vec<usize> = (shown + extra..rows.schema.columns.len()).collect();
        let key = |rows: &Arc<Rel>, at: usize| columns(rows)[at].clone();
        let keys = |rows: &Arc<Rel>| -> Vec<SortKey> {
            order
                .iter()
                .map(|(at, (descending, nulls_first))| SortKey {
                    value: key(rows, *at),
                    descending: *descending,
                    nulls_first: *nulls_first,
                })
                .collect()
        };
        match &select.distinct {
            Some(Distinct::Distinct) => rows = distinct(rows),
            Some(Distinct::On(_)) => {
                let mut partition: Vec<Expr> = on.iter().map(|at| key(&rows, *at)).collect();
                partition.extend(outer.iter().map(|at| key(&rows, *at)));
                let order = keys(&rows);
                let before = rows.schema.columns.len();
                rows = self.numbered(rows, partition, order);
                let first = compare(Binary::Equal, Expr::column(before, Type::Long, Span::default()), super::number(1));
                rows = filter(rows, first);
                let mut all = columns(&rows);
                all.pop();
                rows = project(rows, all);
            }
            _ => {}
        }
        let order = keys(&rows);
        rows = self.bounded(rows, order, tail, &outer, link)?;
        if extra > 0 {
            let mut all = columns(&rows);
            all.drain(shown..shown + extra);
            rows = project(rows, all);
        }
        let outer = (shown..shown + outer.len()).collect();
        Ok(Table { rel: rows, fields, outer })
    }

    /// Order and bounds of rows whose columns have names.
    fn ordered(&mut self, table: Table, tail: &Tail, link: Option<&Link>) -> Result<Table> {
        let fields: Vec<Field> = table.fields.clone();
        let items: Vec<Item> = fields.iter().map(|field| Item::Field(field.clone())).collect();
        let mut scope = super::scope::Scope::default();
        scope.relations.push(super::scope::Relation {
            name: String::new(),
            schema: None,
            fields: fields.clone(),
            merged: Vec::new(),
        });
        let stage = Stage { scope, plain: Some("ORDER BY"), ..Stage::default() };
        let mut order = Vec::new();
        for key in tail.order {
            let value = match self.output(&key.expr, &items, "ORDER BY")? {
                Some(at) => fields[at].scalar(),
                None => self.expr(&stage, &key.expr)?,
            };
            let (descending, nulls_first) = self.sorting(key);
            order.push(SortKey { value: value.expr, descending, nulls_first });
        }
        let rel = self.bounded(table.rel, order, tail, &table.outer, link)?;
        Ok(Table { rel, ..table })
    }

    fn bounded(
        &mut self,
        rows: Arc<Rel>,
        order: Vec<SortKey>,
        tail: &Tail,
        outer: &[usize],
        link: Option<&Link>,
    ) -> Result<Arc<Rel>> {
        let limit = tail.limit.map(|of| self.count(of, "LIMIT")).transpose()?.flatten();
        let offset = tail.offset.map(|of| self.count(of, "OFFSET")).transpose()?.flatten().filter(|count| *count > 0);
        let shape: Vec<Type> = types(&rows).collect();
        if link.is_some() && !outer.is_empty() && (limit.is_some() || offset.is_some()) {
            // So many rows for each value of the query around.
            let all = columns(&rows);
            let partition = outer.iter().map(|at| all[*at].clone()).collect();
            let sorted = if order.is_empty() {
                rows
            } else {
                rel(RelKind::Sort { input: rows, keys: order.clone() }, shape.iter().copied(), true)
            };
            let mut rows = self.numbered(sorted, partition, order);
            let number = Expr::column(shape.len(), Type::Long, Span::default());
            if let Some(limit) = limit {
                let last = super::number(limit.saturating_add(offset.unwrap_or(0)));
                rows = filter(rows, compare(Binary::LessOrEqual, number.clone(), last));
            }
            if let Some(offset) = offset {
                rows = filter(rows, compare(Binary::Greater, number, super::number(offset)));
            }
            let mut all = columns(&rows);
            all.pop();
            return Ok(project(rows, all));
        }
        let count = limit.map(|limit| super::number(limit.saturating_add(offset.unwrap_or(0))));
        let mut rows = match (order.is_empty(), count) {
            (true, None) => rows,
            (true, Some(count)) => {
                let serialized = rows.serialized;
                rel(RelKind::Take { input: rows, count }, shape.iter().copied(), serialized)
            }
            (false, None) => rel(RelKind::Sort { input: rows, keys: order }, shape.iter().copied(), true),
            (false, Some(count)) => rel(RelKind::Top { input: rows, count, keys: order }, shape.iter().copied(), true),
        };
        if let Some(offset) = offset {
            let function = gantry_kql::functions::scalar("row_number").expect("a function of the language");
            let number = expr(ExprKind::Window { function, arguments: Vec::new().into() }, Type::Long);
            rows = filter(rows, compare(Binary::Greater, number, super::number(offset)));
        }
        Ok(rows)
    }

    /// A number of rows; all of them without.
    fn count(&mut self, of: &ast::Expr, what: &str) -> Result<Option<i64>> {
        if matches!(of, ast::Expr::Identifier(name) if name.value.eq_ignore_ascii_case("all")) {
            return Ok(None);
        }
        let stage = Stage { plain: Some("LIMIT"), ..Stage::default() };
        let value = self.expr(&stage, of)?;
        let value = self.cast(value, SqlType::INT8)?;
        let count = match value.expr.as_literal() {
            Some(Value::Null) => return Ok(None),
            Some(Value::Long(count)) => *count,
            _ => match &value.expr.kind {
                ExprKind::Cast(of) => match of.as_literal() {
                    Some(Value::Int(count)) => i64::from(*count),
                    _ => return Err(Error::unsupported(format!("{what} of an expression"))),
                },
                _ => return Err(Error::unsupported(format!("{what} of an expression"))),
            },
        };
        if count < 0 {
            let state = if what == "LIMIT" { "2201W" } else { "2201X" };
            return Err(Error::new(state, format!("{what} must not be negative")));
        }
        Ok(Some(count))
    }

    /// The keys of an order over the rows of a stage.
    pub(super) fn sort_keys(&mut self, stage: &Stage, keys: &[ast::OrderByExpr]) -> Result<Vec<SortKey>> {
        keys.iter()
            .map(|key| {
                let value = self.expr(stage, &key.expr)?;
                let value = self.cast_unknown(value)?;
                let (descending, nulls_first) = self.sorting(key);
                Ok(SortKey { value: value.expr, descending, nulls_first })
            })
            .collect()
    }

    /// Descending, and nulls first. Nulls are the largest values of PostgreSQL and the smallest of T-SQL.
    fn sorting(&self, key: &ast::OrderByExpr) -> (bool, bool) {
        let descending = matches!(key.options.sort, Some(ast::OrderBySort::Desc));
        (descending, key.options.nulls_first.unwrap_or(descending != self.is_tsql()))
    }
}

/// A select list with everything that is sorted by.
struct List {
    fields: Vec<Field>,
    values: Vec<Expr>,
    /// What is sorted by and not shown.
    hidden: Vec<Expr>,
    /// Columns, hidden ones behind those shown.
    order: Vec<(usize, (bool, bool))>,
    on: Vec<usize>,
}

/// An item of a select list.
enum Item<'s> {
    Expr(String, &'s ast::Expr),
    Field(Field),
}

impl Item<'_> {
    fn name(&self) -> &str {
        match self {
            Item::Expr(name, _) => name,
            Item::Field(field) => &field.name,
        }
    }

    fn has_aggregate(&self) -> bool {
        matches!(self, Item::Expr(_, of) if has_aggregate(of))
    }
}

fn compare(op: Binary, left: Expr, right: Expr) -> Expr {
    expr(ExprKind::Binary { op, left: left.into(), right: right.into() }, Type::Bool)
}

fn ordinal(of: &ast::Expr) -> Option<usize> {
    match of {
        ast::Expr::Value(ast::ValueWithSpan { value: ast::Value::Number(digits, _), .. }) => digits.parse().ok(),
        _ => None,
    }
}

/// Columns that were promised in their places.
fn placed(of: &Expr, width: usize, windows: &[usize], sets: &[usize]) -> Expr {
    super::remap(of, &|at, ty| {
        let at = match at {
            at if (APPLIED..WINDOWED).contains(&at) => width + at - APPLIED,
            at if (WINDOWED..SETS).contains(&at) => windows.get(at - WINDOWED).copied().unwrap_or(0),
            at if (SETS..OUTER).contains(&at) => sets.get(at - SETS).copied().unwrap_or(0),
            at => at,
        };
        Expr::column(at, ty, Span::default())
    })
}

fn union(inputs: Vec<Arc<Rel>>, shape: Vec<Type>) -> Arc<Rel> {
    match <[Arc<Rel>; 1]>::try_from(inputs) {
        Ok([only]) => only,
        Err(inputs) if inputs.is_empty() => one_row(),
        Err(inputs) => rel(RelKind::Union { inputs }, shape, false),
    }
}

fn distinct(rows: Arc<Rel>) -> Arc<Rel> {
    let keys = columns(&rows);
    let shape: Vec<Type> = types(&rows).collect();
    if keys.is_empty() {
        return rel(RelKind::Take { input: rows, count: super::number(1) }, shape, false);
    }
    rel(RelKind::Summarize { input: rows, keys, aggregates: Vec::new() }, shape, false)
}
