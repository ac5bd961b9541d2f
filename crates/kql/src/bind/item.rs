//! What expressions stand for where a table may stand: names of tables, calls that yield one,
//! `database("x").T`.

use super::{Binder, COLUMNS_MAX, Cx, Entity, Item, Result, find};
use crate::ast::{self, Named};
use crate::bound::{Column, Expr, ExprKind, Graph, GraphKind, Rel, RelKind, Schema};
use crate::diagnostic::{Code, Span};
use crate::value::{Type, Value};
use std::rc::Rc;
use std::sync::Arc;

/// A table that a wildcard or list of tables stands for, under its name.
pub(super) struct Source {
    pub name: String,
    pub rel: Arc<Rel>,
}

impl Binder<'_> {
    /// What an expression stands for, a table before a scalar.
    pub(super) fn item(&mut self, expr: &ast::Expr, cx: Cx<'_>) -> Result<Item> {
        let span = expr.span;
        match &expr.kind {
            ast::ExprKind::Name(name) => self.named_item(name, span, cx),
            ast::ExprKind::Call { name, arguments } => self.call(name, arguments, span, cx),
            ast::ExprKind::Path { of, member } => self.path_item(of, member, expr, cx),
            ast::ExprKind::Pipe { .. } => self.pipe(expr, cx, None, None),
            ast::ExprKind::DataTable { schema, values, .. } => self.data_table(schema, values, span).map(Item::Rel),
            ast::ExprKind::ExternalData { schema, uris, properties } => {
                self.external_data(schema, uris, properties, span, cx).map(Item::Rel)
            }
            ast::ExprKind::InlineExternalTable => {
                self.fault(Code::NotSupported, span, "`inline_external_table` is not implemented")
            }
            ast::ExprKind::EntityGroup(entities) => Ok(Item::Group(Rc::new(entities.clone()))),
            ast::ExprKind::MacroExpand { group, name, body } => self.macro_expand(group, name, body, span, cx),
            _ => self.expr(expr, cx).map(Item::Scalar),
        }
    }

    /// An element of a list: a column or variable before a table of the same name.
    pub(super) fn item_or_scalar(&mut self, expr: &ast::Expr, cx: Cx<'_>) -> Result<Item> {
        if let ast::ExprKind::Name(name) = &expr.kind {
            let column = cx.row.is_some_and(|row| row.schema.position(name).is_some());
            let table = !column
                && match cx.env.get(name) {
                    Some(entity) => !matches!(entity, Entity::Scalar(..)),
                    None => self.catalog.table(cx.database, name).is_some(),
                };
            if !table {
                return self.expr(expr, cx).map(Item::Scalar);
            }
        }
        if matches!(expr.kind, ast::ExprKind::Path { .. }) && !starts_with_call(expr) {
            return self.expr(expr, cx).map(Item::Scalar);
        }
        match &expr.kind {
            ast::ExprKind::Pipe { .. } | ast::ExprKind::Name(_) | ast::ExprKind::DataTable { .. } => {
                self.item(expr, cx.without_row())
            }
            _ => self.item(expr, cx),
        }
    }

    /// A table.
    pub(super) fn table(&mut self, expr: &ast::Expr, cx: Cx<'_>) -> Result<Arc<Rel>> {
        match self.item(expr, cx.without_row())? {
            Item::Rel(rel) => Ok(rel),
            _ => self.fault(Code::WrongShape, expr.span, "tabular value expected"),
        }
    }

    fn named_item(&mut self, name: &str, span: Span, cx: Cx<'_>) -> Result<Item> {
        let entity = cx.env.get(name);
        if !matches!(entity, Some(Entity::Scalar(..))) {
            self.allowed(cx.env, cx.database, name, span)?;
        }
        match entity {
            Some(Entity::Rel(rel, _)) => return Ok(Item::Rel(rel)),
            Some(Entity::Graph(graph)) => return Ok(Item::Graph(graph)),
            Some(Entity::Database(database)) => return Ok(Item::Database(database)),
            Some(Entity::Group(group)) => return Ok(Item::Group(group)),
            Some(Entity::Function(function)) => return self.user_call(&function, &[], None, span, cx),
            Some(Entity::Pattern) => return self.fault(Code::NotSupported, span, "patterns are not implemented"),
            Some(Entity::Scalar(..)) => {
                let expr = ast::Expr { kind: ast::ExprKind::Name(name.into()), span };
                return self.expr(&expr, cx).map(Item::Scalar);
            }
            None => {}
        }
        match self.catalog_item(cx.database, name, &[], span, cx)? {
            Some(item) => Ok(item),
            None => self.fault(
                Code::UnknownName,
                span,
                format!("failed to resolve table, variable or function named `{name}`"),
            ),
        }
    }

    /// Whether `restrict access` leaves a table, view or function within reach.
    pub(super) fn allowed(&self, env: &super::Env, database: &str, name: &str, span: Span) -> Result<()> {
        match &env.restriction {
            Some(allowed) if !allowed.iter().any(|(db, pattern)| db == database && find::matches(pattern, name)) => {
                self.fault(Code::UnknownName, span, format!("access to `{name}` is restricted"))
            }
            _ => Ok(()),
        }
    }

    /// The databases and patterns of names that `restrict access to (...)` lists.
    pub(super) fn restriction(&mut self, list: &[ast::Expr], cx: Cx<'_>) -> Result<Vec<(String, String)>> {
        let mut allowed = Vec::new();
        for expr in list {
            let (database, last) = match &expr.kind {
                ast::ExprKind::Path { of, member } => match self.item(of, cx)? {
                    Item::Database(database) => (database, &**member),
                    _ => return self.fault(Code::WrongShape, of.span, "a database expected"),
                },
                _ => (cx.database.to_string(), expr),
            };
            match &last.kind {
                ast::ExprKind::Name(name) | ast::ExprKind::Wildcard(name) => allowed.push((database, name.clone())),
                _ => return self.fault(Code::WrongShape, expr.span, "the name of a table, view or function expected"),
            }
        }
        Ok(allowed)
    }

    /// A table, view or function of a database.
    fn catalog_item(
        &mut self,
        database: &str,
        name: &str,
        arguments: &[Named],
        span: Span,
        cx: Cx<'_>,
    ) -> Result<Option<Item>> {
        self.allowed(cx.env, database, name, span)?;
        if arguments.is_empty() {
            if let Some(columns) = self.catalog.table(database, name) {
                let kind = RelKind::Table { database: database.into(), name: name.into() };
                return self.rel(kind, Schema::of(columns), false, span).map(|rel| Some(Item::Rel(rel)));
            }
            if let Some(columns) = self.catalog.materialized_view(database, name) {
                let kind = RelKind::MaterializedView { database: database.into(), name: name.into(), max_age: None };
                return self.rel(kind, Schema::of(columns), false, span).map(|rel| Some(Item::Rel(rel)));
            }
        }
        match self.stored_function(database, name, span)? {
            Some(function) => self.user_call(&function, arguments, None, span, cx).map(Some),
            None => Ok(None),
        }
    }

    /// The functions that yield tables, databases and clusters.
    pub(super) fn table_call(
        &mut self,
        name: &ast::Name,
        arguments: &[Named],
        span: Span,
        cx: Cx<'_>,
    ) -> Result<Option<Item>> {
        let first = arguments.first().map(|argument| &argument.value);
        let text = |binder: &mut Self| -> Result<String> {
            let Some(first) = first else {
                return binder.fault(Code::WrongType, span, format!("`{}` expects a name", name.text));
            };
            let value = binder.constant(first, cx)?;
            match value.as_literal() {
                Some(Value::String(text)) => Ok(text.clone()),
                _ => binder.fault(Code::NotConstant, first.span, "the name must be a constant text"),
            }
        };
        Ok(Some(match name.text.as_str() {
            "cluster" => {
                let cluster = text(self)?;
                if self.catalog.is_this_cluster(&cluster) {
                    return Ok(Some(Item::Cluster));
                }
                return self.no_cluster(span);
            }
            "database" => {
                if arguments.is_empty() {
                    return Ok(Some(Item::Database(cx.database.into())));
                }
                let wanted = text(self)?;
                if let Some(Entity::Database(target)) = cx.env.get(&wanted) {
                    return Ok(Some(Item::Database(target)));
                }
                match self.catalog.database(&wanted) {
                    Some(database) => Item::Database(database),
                    None => {
                        return self.fault(Code::UnknownName, span, format!("failed to resolve database `{wanted}`"));
                    }
                }
            }
            "table" => {
                let wanted = text(self)?;
                self.allowed(cx.env, cx.database, &wanted, span)?;
                match self.catalog.table(cx.database, &wanted) {
                    Some(columns) => {
                        let kind = RelKind::Table { database: cx.database.into(), name: wanted };
                        Item::Rel(self.rel(kind, Schema::of(columns), false, span)?)
                    }
                    None => match cx.env.get(&wanted) {
                        Some(Entity::Rel(rel, _)) => Item::Rel(rel),
                        _ => return self.fault(Code::UnknownName, span, format!("failed to resolve table `{wanted}`")),
                    },
                }
            }
            "external_table" => {
                let wanted = text(self)?;
                self.allowed(cx.env, cx.database, &wanted, span)?;
                let Some(columns) = self.catalog.external_table(cx.database, &wanted) else {
                    return self.fault(Code::UnknownName, span, format!("failed to resolve external table `{wanted}`"));
                };
                let kind = RelKind::ExternalTable { database: cx.database.into(), name: wanted };
                Item::Rel(self.rel(kind, Schema::of(columns), false, span)?)
            }
            "materialized_view" => {
                let wanted = text(self)?;
                self.allowed(cx.env, cx.database, &wanted, span)?;
                let Some(columns) = self.catalog.materialized_view(cx.database, &wanted) else {
                    let message = format!("failed to resolve materialized view `{wanted}`");
                    return self.fault(Code::UnknownName, span, message);
                };
                let max_age = match arguments.get(1) {
                    Some(age) => Some(self.constant(&age.value, cx)?),
                    None => None,
                };
                let kind = RelKind::MaterializedView { database: cx.database.into(), name: wanted, max_age };
                Item::Rel(self.rel(kind, Schema::of(columns), false, span)?)
            }
            "graph" => {
                let wanted = text(self)?;
                let Some((nodes, edges)) = self.catalog.graph(cx.database, &wanted) else {
                    return self.fault(Code::UnknownName, span, format!("failed to resolve graph `{wanted}`"));
                };
                let kind = GraphKind::Stored { database: cx.database.into(), name: wanted };
                let (nodes, edges) = (Arc::new(Schema::of(nodes)), Arc::new(Schema::of(edges)));
                Item::Graph(Arc::new(Graph { kind, nodes, edges }))
            }
            "stored_query_result" | "entity_group" => {
                return self.fault(Code::NotSupported, span, format!("`{}` is not implemented", name.text));
            }
            "materialize" => {
                let Some(first) = first else {
                    return self.fault(Code::WrongType, span, "`materialize` expects a table");
                };
                match self.pipe(first, cx.without_row(), None, None)? {
                    Item::Rel(rel) => Item::Rel(self.materialized(rel, span)?),
                    Item::Scalar(value) => Item::Scalar(value),
                    _ => return self.fault(Code::WrongShape, span, "tabular value expected"),
                }
            }
            _ => return Ok(None),
        }))
    }

    /// A table that is evaluated once, wherever it is used.
    pub(super) fn materialized(&mut self, rel: Arc<Rel>, span: Span) -> Result<Arc<Rel>> {
        if let RelKind::Materialized(_) = rel.kind {
            return Ok(rel);
        }
        let (schema, serialized) = (rel.schema.clone(), rel.serialized);
        self.once(&rel, span)?;
        self.bound.materialized.push(rel);
        self.rel_of(RelKind::Materialized(self.bound.materialized.len() - 1), schema, serialized, span)
    }

    /// What is evaluated once cannot depend on the partition it stands in.
    pub(super) fn once(&mut self, rel: &Rel, span: Span) -> Result<()> {
        if self.partitions > 0 {
            self.charge(rel.cost().nodes, span)?;
        }
        if self.partitions > 0 && rel.any_expr(&mut |expr| matches!(expr.kind, ExprKind::PartitionKey)) {
            return self.fault(Code::NotSupported, span, "the key of a partition within `toscalar` or `materialize`");
        }
        Ok(())
    }

    fn path_item(&mut self, of: &ast::Expr, member: &ast::Expr, whole: &ast::Expr, cx: Cx<'_>) -> Result<Item> {
        let database = match &of.kind {
            ast::ExprKind::Call { .. } | ast::ExprKind::Path { .. } | ast::ExprKind::Name(_)
                if may_be_database(of, cx) =>
            {
                match self.item(of, cx)? {
                    Item::Database(database) => database,
                    Item::Cluster => match self.item(member, cx)? {
                        Item::Database(database) => return Ok(Item::Database(database)),
                        _ => return self.fault(Code::WrongShape, member.span, "a database expected"),
                    },
                    _ => return self.expr(whole, cx).map(Item::Scalar),
                }
            }
            _ => return self.expr(whole, cx).map(Item::Scalar),
        };
        let (name, arguments): (&str, &[Named]) = match &member.kind {
            ast::ExprKind::Name(name) => (name, &[]),
            ast::ExprKind::Call { name, arguments } => {
                let inner = Cx { database: &database, ..cx };
                if let Some(item) = self.table_call(name, arguments, whole.span, inner)? {
                    return Ok(item);
                }
                (&name.text, arguments)
            }
            _ => return self.fault(Code::WrongShape, member.span, "the name of a table expected"),
        };
        match self.catalog_item(&database, name, arguments, whole.span, cx)? {
            Some(item) => Ok(item),
            None => self.fault(
                Code::UnknownName,
                member.span,
                format!("failed to resolve table or function `{name}` in database `{database}`"),
            ),
        }
    }

    /// The tables an operand of `union`, `find` or `search` stands for: several for a wildcard.
    pub(super) fn sources(&mut self, expr: &ast::Expr, cx: Cx<'_>) -> Result<Vec<Source>> {
        let cx = cx.without_row();
        match &expr.kind {
            ast::ExprKind::Wildcard(pattern) => {
                let mut sources = self.tables_like(cx.database, pattern, expr.span, cx)?;
                let mut views = Vec::new();
                cx.env.each(&mut |name, entity| {
                    if find::matches(pattern, name) && self.allowed(cx.env, cx.database, name, expr.span).is_ok() {
                        views.push((name.to_string(), entity.clone()));
                    }
                });
                for (name, entity) in views {
                    let rel = match entity {
                        Entity::Rel(rel, true) => rel,
                        Entity::Function(function) if function.function.view => {
                            match self.user_call(&function, &[], None, expr.span, cx)? {
                                Item::Rel(rel) => rel,
                                _ => continue,
                            }
                        }
                        _ => continue,
                    };
                    sources.push(Source { name, rel });
                }
                Ok(sources)
            }
            ast::ExprKind::Path { of, member } => match &member.kind {
                ast::ExprKind::Wildcard(pattern) => match self.item(of, cx)? {
                    Item::Database(database) => self.tables_like(&database, pattern, expr.span, cx),
                    _ => self.fault(Code::WrongShape, of.span, "a database expected"),
                },
                ast::ExprKind::Name(name) => Ok(vec![Source { name: name.clone(), rel: self.table(expr, cx)? }]),
                _ => Ok(vec![Source { name: String::new(), rel: self.table(expr, cx)? }]),
            },
            ast::ExprKind::Name(name) => Ok(vec![Source { name: name.clone(), rel: self.table(expr, cx)? }]),
            _ => {
                let mut extras = super::Extras::default();
                match self.pipe(expr, cx, None, Some(&mut extras))? {
                    Item::Rel(rel) => Ok(vec![Source { name: extras.name.unwrap_or_default(), rel }]),
                    _ => self.fault(Code::WrongShape, expr.span, "tabular value expected"),
                }
            }
        }
    }

    fn tables_like(&mut self, database: &str, pattern: &str, span: Span, cx: Cx<'_>) -> Result<Vec<Source>> {
        let mut sources = Vec::new();
        for name in self.catalog.tables(database) {
            if find::matches(pattern, &name)
                && self.allowed(cx.env, database, &name, span).is_ok()
                && let Some(columns) = self.catalog.table(database, &name)
            {
                let kind = RelKind::Table { database: database.into(), name: name.clone() };
                let rel = self.rel(kind, Schema::of(columns), false, span)?;
                sources.push(Source { name, rel });
            }
        }
        Ok(sources)
    }

    /// The columns of a declared schema.
    pub(super) fn columns(&self, declared: &[ast::ColumnDeclaration]) -> Result<Vec<Column>> {
        if declared.len() > COLUMNS_MAX {
            return self.fault(Code::TooComplex, declared[0].name.span, format!("more than {COLUMNS_MAX} columns"));
        }
        let mut columns: Vec<Column> = Vec::with_capacity(declared.len());
        let mut names = super::names::Names::default();
        for column in declared {
            if !names.take(&column.name.text) {
                let message = format!("a column with the name `{}` is declared already", column.name.text);
                return self.fault(Code::DuplicateName, column.name.span, message);
            }
            columns.push(Column::new(column.name.text.as_str(), self.declared(column.ty, column.name.span)?));
        }
        Ok(columns)
    }

    fn data_table(&mut self, schema: &[ast::ColumnDeclaration], values: &[ast::Expr], span: Span) -> Result<Arc<Rel>> {
        let columns = self.columns(schema)?;
        if columns.is_empty() && !values.is_empty()
            || !columns.is_empty() && !values.len().is_multiple_of(columns.len())
        {
            let message = format!("{} values do not fill rows of {} columns", values.len(), columns.len());
            return self.fault(Code::WrongType, span, message);
        }
        self.work += values.len() as u64;
        let mut rows = Vec::new();
        for row in values.chunks(columns.len().max(1)) {
            let mut cells = Vec::with_capacity(row.len());
            for (value, column) in row.iter().zip(&columns) {
                cells.push(self.cell(value, column.ty)?);
            }
            rows.push(cells);
        }
        self.rel(RelKind::DataTable { rows }, Schema::of(columns), true, span)
    }

    /// A literal of `datatable`, as a value of its column's type.
    fn cell(&mut self, expr: &ast::Expr, ty: Type) -> Result<Value> {
        let env = super::Env::root();
        let cx = Cx { env: &env, row: None, row_id: None, database: "" };
        let value = self.expr(expr, cx)?;
        let from = value.ty;
        let cast = self.cast(value, ty)?;
        match cast.as_literal() {
            Some(Value::Null) => Ok(Value::absent(ty)),
            Some(value) => Ok(value.clone()),
            None => match converted(expr, ty) {
                Some(value) => Ok(value),
                None => {
                    self.fault(Code::WrongType, expr.span, format!("a literal of type {from} in a column of type {ty}"))
                }
            },
        }
    }

    fn external_data(
        &mut self,
        schema: &[ast::ColumnDeclaration],
        uris: &[ast::Expr],
        properties: &[ast::Property],
        span: Span,
        cx: Cx<'_>,
    ) -> Result<Arc<Rel>> {
        let columns = self.columns(schema)?;
        let mut texts = Vec::new();
        for uri in uris {
            let value: Expr = self.constant(uri, cx)?;
            match value.as_literal() {
                Some(Value::String(text)) => texts.push(text.clone()),
                _ => return self.fault(Code::NotConstant, uri.span, "the address must be a constant text"),
            }
        }
        let properties = self.property_values(properties)?;
        self.rel(RelKind::ExternalData { uris: texts, properties }, Schema::of(columns), false, span)
    }

    /// `macro-expand`: the union of the body for each entity.
    fn macro_expand(
        &mut self,
        group: &ast::Expr,
        name: &ast::Name,
        body: &ast::Body,
        span: Span,
        cx: Cx<'_>,
    ) -> Result<Item> {
        let Item::Group(entities) = self.item(group, cx)? else {
            return self.fault(Code::WrongShape, group.span, "an entity group expected");
        };
        let mut sources = Vec::new();
        for entity in entities.iter() {
            let entity = match self.item(entity, cx)? {
                Item::Database(database) => Entity::Database(database),
                Item::Rel(rel) => Entity::Rel(rel, false),
                _ => return self.fault(Code::WrongShape, entity.span, "a database or table expected"),
            };
            let mut env = cx.env.inner();
            self.declare(&mut env, name, entity)?;
            match self.body(body, &mut env, cx.database, cx, span)? {
                Item::Rel(rel) => sources.push(Source { name: String::new(), rel }),
                _ => return self.fault(Code::WrongShape, body.span, "tabular value expected"),
            }
        }
        self.union_of(sources, false, None, span).map(Item::Rel)
    }
}

/// Whether a path may start with a database, not with a column.
fn may_be_database(expr: &ast::Expr, cx: Cx<'_>) -> bool {
    match &expr.kind {
        ast::ExprKind::Call { name, .. } => matches!(name.text.as_str(), "database" | "cluster"),
        ast::ExprKind::Path { of, .. } => may_be_database(of, cx),
        ast::ExprKind::Name(name) => matches!(cx.env.get(name), Some(Entity::Database(_))),
        _ => false,
    }
}

fn starts_with_call(expr: &ast::Expr) -> bool {
    match &expr.kind {
        ast::ExprKind::Path { of, .. } => starts_with_call(of),
        ast::ExprKind::Call { .. } => true,
        _ => false,
    }
}

/// A literal of another type whose text is a value of the column's type (`"1"` for a long).
fn converted(expr: &ast::Expr, ty: Type) -> Option<Value> {
    match &expr.kind {
        ast::ExprKind::Literal(Value::String(text), _) if text.is_empty() => Some(Value::absent(ty)),
        ast::ExprKind::Literal(value, _) if ty == Type::String => Some(Value::String(value.to_string())),
        ast::ExprKind::Literal(Value::Real(real), _) if ty.is_integer() => {
            let long = *real as i64;
            Some(if ty == Type::Int { i32::try_from(long).map_or(Value::Null, Value::Int) } else { Value::Long(long) })
        }
        ast::ExprKind::Literal(Value::Long(long), _) if ty == Type::Bool => Some(Value::Bool(*long != 0)),
        ast::ExprKind::Literal(value, _) => {
            Some(crate::parse::literal::value_of(ty, &value.to_string()).unwrap_or(Value::Null))
        }
        ast::ExprKind::Sign { negative: true, of } => {
            let value = converted(of, ty)?;
            crate::parse::literal::negated(&value)
        }
        _ => None,
    }
}
