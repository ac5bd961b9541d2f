//! `from`: tables, joins, functions that yield rows.
//!
//! Columns of all tables are numbered one after the other, as they are written; [`join`](super::join) makes rows of
//! them when the conditions are known.

use std::collections::BTreeSet;
use std::sync::Arc;

use gantry_kql::Span;
use gantry_kql::bound::{Binary, Expr, JoinKind, Rel, RelKind};
use gantry_kql::value::Type;
use sqlparser::ast::{self, FunctionArg, FunctionArgExpr, JoinConstraint, JoinOperator, ObjectNamePart, TableFactor};

use super::operator::Comparison;
use super::scope::{Field, Relation, SETS, Scalar, Scope, Stage, Table, folded, matches};
use super::{Binder, call, choice, is_null, one_row};
use crate::catalog;
use crate::error::{Error, Result, state};
use crate::types::{Base, SqlType};

/// What is joined to what.
#[derive(Debug)]
pub(super) enum Node {
    /// Rows, and the number of their first column.
    Leaf { rel: Arc<Rel>, first: usize },
    /// All of them, where all conditions hold.
    Inner { parts: Vec<Node>, on: Vec<Expr> },
    /// An outer join.
    Outer { kind: JoinKind, left: Box<Node>, right: Box<Node>, on: Vec<Expr>, retyped: Vec<(usize, Type)> },
    /// Rows times the elements of their arrays.
    Expand { input: Box<Node>, value: Expr, first: usize, ty: Type, ordinality: bool },
}

impl Node {
    pub(super) fn width(&self) -> usize {
        match self {
            Node::Leaf { rel, .. } => rel.schema.columns.len(),
            Node::Inner { parts, .. } => parts.iter().map(Node::width).sum(),
            Node::Outer { left, right, .. } => left.width() + right.width(),
            Node::Expand { input, ordinality, .. } => input.width() + 1 + usize::from(*ordinality),
        }
    }
}

/// `from` while it is read.
pub(super) struct From<'a> {
    pub scope: Scope,
    pub parent: Option<&'a Stage<'a>>,
    pub link: Option<super::scope::Link>,
    pub outer: Vec<usize>,
    width: usize,
}

impl<'a> From<'a> {
    /// No table yet, but for the values of the query around.
    pub(super) fn new(parent: Option<&'a Stage<'a>>, link: Option<&super::scope::Link>) -> (From<'a>, Vec<Node>) {
        let domain = link.and_then(|link| link.domain.clone());
        let width = domain.as_ref().map_or(0, |domain| domain.schema.columns.len());
        let nodes = domain.map(|rel| Node::Leaf { rel, first: 0 }).into_iter().collect();
        let from = From { scope: Scope::default(), parent, link: link.cloned(), outer: (0..width).collect(), width };
        (from, nodes)
    }

    fn stage(&self, place: &'static str) -> Stage<'a> {
        Stage {
            scope: self.scope.clone(),
            parent: self.parent,
            link: self.link.clone(),
            outer: self.outer.clone(),
            plain: Some(place),
            ..Stage::default()
        }
    }
}

/// Whether a function yields several rows.
pub(super) fn is_set_function(name: &str) -> bool {
    matches!(
        name,
        "generate_series"
            | "unnest"
            | "generate_subscripts"
            | "jsonb_array_elements"
            | "json_array_elements"
            | "jsonb_array_elements_text"
            | "json_array_elements_text"
            | "jsonb_object_keys"
            | "json_object_keys"
            | "regexp_split_to_table"
            | "string_to_table"
            | "_pg_expandarray"
    )
}

impl Binder<'_> {
    /// A table of the list, with what is joined to it.
    pub(super) fn table_with_joins(
        &mut self,
        from: &mut From,
        of: &ast::TableWithJoins,
        before: Vec<Node>,
    ) -> Result<Vec<Node>> {
        let lateral = before.len();
        let mut nodes = self.factor(from, &of.relation, before)?;
        for one in &of.joins {
            self.deeper(|binder| {
                // What stands before the comma is no part of an outer join.
                let own = nodes.split_off(lateral.min(nodes.len().saturating_sub(1)));
                let joined = binder.join_one(from, inner(own), one)?;
                nodes.push(joined);
                Ok(())
            })?;
        }
        Ok(nodes)
    }

    fn join_one(&mut self, from: &mut From, left: Node, of: &ast::Join) -> Result<Node> {
        let (kind, constraint) = match &of.join_operator {
            JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => (JoinKind::Inner, constraint),
            JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => (JoinKind::LeftOuter, constraint),
            JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => {
                (JoinKind::RightOuter, constraint)
            }
            JoinOperator::FullOuter(constraint) => (JoinKind::FullOuter, constraint),
            JoinOperator::CrossJoin(_) => (JoinKind::Inner, &JoinConstraint::None),
            other => return Err(Error::unsupported(format!("join {other:?}").chars().take(40).collect::<String>())),
        };
        let left_relations = from.scope.relations.len();
        let mut nodes = self.factor(from, &of.relation, vec![left])?;
        let right = nodes.pop().expect("one at least");
        let Some(left) = nodes.pop() else {
            // A function over the rows so far is joined to them already.
            if kind != JoinKind::Inner && !matches!(constraint, JoinConstraint::On(ast::Expr::Value(_))) {
                return Err(Error::unsupported("an outer join of a function over the rows before it"));
            }
            let on = match constraint {
                JoinConstraint::On(of) => self.on(from, of)?,
                _ => Vec::new(),
            };
            return Ok(if on.is_empty() { right } else { Node::Inner { parts: vec![right], on } });
        };
        let on = match constraint {
            JoinConstraint::On(of) => self.on(from, of)?,
            JoinConstraint::Using(names) => {
                let mut wanted = Vec::new();
                for name in names {
                    match name.0.last() {
                        Some(ObjectNamePart::Identifier(ident)) => wanted.push(ident.clone()),
                        _ => return Err(Error::unsupported("USING of such a name")),
                    }
                }
                self.using(from, left_relations, kind, &wanted)?
            }
            JoinConstraint::Natural => {
                let (lefts, rights) = from.scope.relations.split_at(left_relations);
                let known: BTreeSet<&str> =
                    lefts.iter().flat_map(|relation| &relation.fields).map(|field| field.name.as_str()).collect();
                let wanted: Vec<ast::Ident> = rights
                    .iter()
                    .flat_map(|relation| &relation.fields)
                    .filter(|field| known.contains(field.name.as_str()))
                    .map(|field| ast::Ident::with_quote('"', &field.name))
                    .collect();
                self.using(from, left_relations, kind, &wanted)?
            }
            JoinConstraint::None => Vec::new(),
            other => return Err(Error::unsupported(format!("{other:?}").chars().take(40).collect::<String>())),
        };
        if kind == JoinKind::Inner {
            return Ok(Node::Inner { parts: vec![left, right], on });
        }
        // Columns of the side that may be missing may be null from here on, and texts are then held otherwise.
        let mut retyped = Vec::new();
        for (at, relation) in from.scope.relations.iter_mut().enumerate() {
            let missing = match kind {
                JoinKind::LeftOuter => at >= left_relations,
                JoinKind::RightOuter => at < left_relations,
                _ => true,
            };
            for field in relation.fields.iter_mut().filter(|field| missing && !field.nullable) {
                let (before, after) = (field.ty.held(false), field.ty.held(true));
                field.nullable = true;
                if before != after {
                    retyped.push((field.at, after));
                }
            }
        }
        Ok(Node::Outer { kind, left: Box::new(left), right: Box::new(right), on, retyped })
    }

    fn on(&mut self, from: &From, of: &ast::Expr) -> Result<Vec<Expr>> {
        let stage = from.stage("JOIN conditions");
        let mut parts = Vec::new();
        super::expr::chain(of, &ast::BinaryOperator::And, &mut parts);
        let mut on = Vec::new();
        for part in parts {
            on.push(self.condition(&stage, part)?.expr);
        }
        if stage.needs_rows() {
            return Err(Error::unsupported("a sub-query that reads the tables of its join"));
        }
        Ok(on)
    }

    fn using(&mut self, from: &mut From, left: usize, kind: JoinKind, names: &[ast::Ident]) -> Result<Vec<Expr>> {
        let mut on = Vec::new();
        for name in names {
            let (lefts, rights) = from.scope.relations.split_at(left);
            let missing = || {
                Error::new(
                    state::UNDEFINED_COLUMN,
                    format!("column \"{}\" specified in USING clause does not exist in both tables", name.value),
                )
                .or_at(name.span)
            };
            let find = |relations: &[Relation]| {
                let scope = Scope { relations: relations.to_vec() };
                scope.find(std::slice::from_ref(name)).map(|found| found.cloned())
            };
            let a = find(lefts)?.ok_or_else(missing)?;
            let b = find(rights)?.ok_or_else(missing)?;
            on.push(self.compare(Comparison(Binary::Equal), a.scalar(), b.scalar())?.expr);
            if kind == JoinKind::FullOuter {
                return Err(Error::unsupported("FULL JOIN with USING"));
            }
            // A bare name means the side whose rows are all there.
            let (hidden, of) =
                if kind == JoinKind::RightOuter { (0..left, &a) } else { (left..from.scope.relations.len(), &b) };
            for relation in &mut from.scope.relations[hidden] {
                if relation.fields.iter().any(|field| field.at == of.at) {
                    relation.merged.push(of.name.clone());
                }
            }
        }
        Ok(on)
    }

    fn factor(&mut self, from: &mut From, of: &TableFactor, before: Vec<Node>) -> Result<Vec<Node>> {
        let mut nodes = before;
        match of {
            TableFactor::Table { name, alias, args, with_ordinality, sample, json_path, .. } => {
                if sample.is_some() || json_path.is_some() {
                    return Err(Error::unsupported("TABLESAMPLE"));
                }
                if let Some(args) = args {
                    return self.function_factor(from, name, &args.args, *with_ordinality, alias.as_ref(), nodes);
                }
                let (table, schema, named) = self.table(name)?;
                let relation_name = alias.as_ref().map_or(named, |alias| folded(&alias.name));
                let schema = if alias.is_some() { None } else { schema };
                nodes.push(put(from, table, relation_name, schema, alias.as_ref())?);
            }
            TableFactor::Derived { lateral, subquery, alias, .. } => {
                if *lateral {
                    return Err(Error::unsupported("LATERAL sub-query"));
                }
                // Of the query around it sees what its own query sees, by the same link.
                let table = self.deeper(|binder| binder.query(subquery, None, None))?;
                let name = alias.as_ref().map_or_else(|| "unnamed_subquery".into(), |alias| folded(&alias.name));
                nodes.push(put(from, table, name, None, alias.as_ref())?);
            }
            TableFactor::Function { name, args, with_ordinality, alias, .. } => {
                return self.function_factor(from, name, args, *with_ordinality, alias.as_ref(), nodes);
            }
            TableFactor::UNNEST { alias, array_exprs, with_offset: false, with_ordinality, .. } => {
                let [array] = array_exprs.as_slice() else {
                    return Err(Error::unsupported("unnest of several arrays"));
                };
                let stage = from.stage("FROM functions");
                let array = self.expr(&stage, array)?;
                let (value, element) = self.elements("unnest", vec![array])?;
                return self.expanded(from, nodes, value, element, "unnest", *with_ordinality, alias.as_ref(), &stage);
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                let nested = self.deeper(|binder| binder.table_with_joins(from, table_with_joins, Vec::new()))?;
                nodes.push(inner(nested));
            }
            other => {
                let text: String = other.to_string().chars().take(40).collect();
                return Err(Error::unsupported(format!("`{text}` in FROM")));
            }
        }
        Ok(nodes)
    }

    /// A function that yields rows, over the rows so far.
    fn function_factor(
        &mut self,
        from: &mut From,
        name: &ast::ObjectName,
        args: &[FunctionArg],
        ordinality: bool,
        alias: Option<&ast::TableAlias>,
        nodes: Vec<Node>,
    ) -> Result<Vec<Node>> {
        let function = super::call::function_name(name);
        let stage = from.stage("FROM functions");
        let mut arguments = Vec::new();
        for argument in args {
            let FunctionArg::Unnamed(FunctionArgExpr::Expr(of)) = argument else {
                return Err(Error::unsupported("arguments by name"));
            };
            arguments.push(self.expr(&stage, of)?);
        }
        if let Some((fields, rows)) = catalog::function_rows(&function) {
            let fields = fields.iter().enumerate().map(|(at, (name, ty))| Field::new(*name, *ty, false, at)).collect();
            let table = Table::literal(fields, rows);
            let named = alias.map_or(function, |alias| folded(&alias.name));
            let mut nodes = nodes;
            nodes.push(put(from, table, named, None, alias)?);
            return Ok(nodes);
        }
        if is_set_function(&function) {
            let (value, element) = self.elements(&function, arguments)?;
            return self.expanded(from, nodes, value, element, &function, ordinality, alias, &stage);
        }
        // Any function is a table of one row.
        let value = self.call_named(&function, arguments)?;
        let ty = super::aggregate::array_of(value.ty)?;
        let array = Scalar::new(call("sql.array", vec![value.expr], Type::Dynamic), ty, false);
        let element = ty.element().expect("an array");
        self.expanded(from, nodes, array, element, &function, ordinality, alias, &stage)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of the clause")]
    fn expanded(
        &mut self,
        from: &mut From,
        nodes: Vec<Node>,
        value: Scalar,
        element: SqlType,
        function: &str,
        ordinality: bool,
        alias: Option<&ast::TableAlias>,
        stage: &Stage,
    ) -> Result<Vec<Node>> {
        if stage.needs_rows() {
            return Err(Error::unsupported("a sub-query that reads the query around within a function of FROM"));
        }
        let first = from.width;
        let name = alias.map_or_else(|| function.to_owned(), |alias| folded(&alias.name));
        // The one column of a function has the name of its table.
        let mut fields = vec![Field::new(name.clone(), element, true, first)];
        if ordinality {
            fields.push(Field::new("ordinality", SqlType::INT8, false, first + 1));
        }
        let mut relation = Relation { name, schema: None, fields, merged: Vec::new() };
        rename(&mut relation.fields, alias)?;
        from.width += relation.fields.len();
        from.scope.relations.push(relation);
        // The function may look at every table before it.
        let ty = element.held(true);
        let node =
            |input: Node| Node::Expand { input: Box::new(input), value: value.expr.clone(), first, ty, ordinality };
        if value.expr.has_columns() {
            return Ok(vec![node(inner(nodes))]);
        }
        let mut nodes = nodes;
        nodes.push(node(Node::Leaf { rel: one_row(), first }));
        Ok(nodes)
    }

    /// The array whose elements a function yields, and their type.
    fn elements(&mut self, name: &str, arguments: Vec<Scalar>) -> Result<(Scalar, SqlType)> {
        let types = arguments.iter().map(|value| value.ty.to_string()).collect::<Vec<_>>().join(", ");
        let unknown = || Error::new(state::UNDEFINED_FUNCTION, format!("function {name}({types}) does not exist"));
        let array = |expr: Expr, element: SqlType| {
            // Null is no row at all.
            let empty = call("sql.array", Vec::new(), Type::Dynamic);
            let some = choice(vec![(is_null(expr.clone()), empty)], Some(expr), Type::Dynamic);
            Ok((Scalar::new(some, SqlType::array_of(element.base), false), element))
        };
        match (name, arguments.as_slice()) {
            ("unnest", [of]) => {
                let of = if of.ty == SqlType::UNKNOWN {
                    self.cast(of.clone(), SqlType::array_of(Base::Text))?
                } else {
                    of.clone()
                };
                let element = of.ty.element().ok_or_else(unknown)?;
                array(of.expr, element)
            }
            ("generate_subscripts", [of, _]) => {
                let first = super::number(i64::from(of.ty.array));
                of.ty.element().ok_or_else(unknown)?;
                array(call("sql.subscripts", vec![of.expr.clone(), first], Type::Dynamic), SqlType::INT4)
            }
            ("generate_series", [from, to, step @ ..]) if step.len() <= 1 => {
                let ty = from.ty.common(to.ty).unwrap_or(SqlType::UNKNOWN);
                let ty = if ty == SqlType::UNKNOWN || ty == SqlType::DATE { SqlType::TIMESTAMPTZ } else { ty };
                let (from, to) = (self.cast(from.clone(), ty)?, self.cast(to.clone(), ty)?);
                let mut parts = vec![from.expr, to.expr];
                match step.first() {
                    Some(step) if ty.is_instant() => {
                        let step = self.cast(step.clone(), SqlType::INTERVAL)?;
                        parts.push(step.expr.clone());
                        parts.push(super::number(step.months));
                    }
                    Some(step) => parts.push(self.cast(step.clone(), ty)?.expr),
                    None if ty.is_number() => {}
                    None => return Err(unknown()),
                }
                array(call("sql.series", parts, Type::Dynamic), ty)
            }
            (
                "jsonb_array_elements"
                | "json_array_elements"
                | "jsonb_array_elements_text"
                | "json_array_elements_text",
                [of],
            ) => {
                let of = self.coerce(of.clone(), SqlType::JSONB)?;
                let texts = name.ends_with("_text");
                let made = call(if texts { "sql.json_texts" } else { "sql.json_items" }, vec![of.expr], Type::Dynamic);
                array(made, if texts { SqlType::TEXT } else { SqlType::JSONB })
            }
            ("jsonb_object_keys" | "json_object_keys", [of]) => {
                let of = self.coerce(of.clone(), SqlType::JSONB)?;
                array(call("sql.json_keys", vec![of.expr], Type::Dynamic), SqlType::TEXT)
            }
            ("string_to_table", [text, separator]) => {
                let value = self.call_named("string_to_array", vec![text.clone(), separator.clone()])?;
                array(value.expr, SqlType::TEXT)
            }
            _ => Err(unknown()),
        }
    }

    /// A function that yields rows in a select list.
    pub(super) fn set_call(&mut self, stage: &Stage, name: &str, arguments: &[&ast::Expr]) -> Result<Scalar> {
        if let Some(place) = stage.plain {
            return Err(Error::new(
                state::FEATURE_NOT_SUPPORTED,
                format!("set-returning functions are not allowed in {place}"),
            ));
        }
        let arguments = arguments.iter().map(|of| self.expr(stage, of)).collect::<Result<Vec<_>>>()?;
        let (array, element) = self.elements(name, arguments)?;
        let mut sets = stage.sets.borrow_mut();
        sets.push((array.expr, element));
        let column = Expr::column(SETS + sets.len() - 1, element.held(true), Span::default());
        Ok(Scalar::new(column, element, true))
    }

    /// The table of a name: its rows, its schema, its name.
    fn table(&mut self, name: &ast::ObjectName) -> Result<(Table, Option<String>, String)> {
        let mut path = Vec::new();
        for part in &name.0 {
            match part {
                ObjectNamePart::Identifier(ident) => path.push(ident),
                ObjectNamePart::Function(_) => return Err(Error::unsupported("such a name of a table")),
            }
        }
        let missing = || {
            let written = path.iter().map(|part| part.value.as_str()).collect::<Vec<_>>().join(".");
            let at = path.first().map_or(sqlparser::tokenizer::Span::empty(), |part| part.span);
            Error::new(state::UNDEFINED_TABLE, format!("relation \"{written}\" does not exist")).or_at(at)
        };
        let (ident, schema) = match path.as_slice() {
            [ident] => (*ident, None),
            [schema, ident] => (*ident, Some(folded(schema))),
            [database, schema, ident] => {
                if self.catalog.database(&folded(database)).is_none() {
                    return Err(Error::unsupported("a table of another database"));
                }
                (*ident, Some(folded(schema)))
            }
            _ => return Err(missing()),
        };
        if schema.is_none()
            && let Some((name, table)) = self.ctes.iter().rev().find(|(name, _)| *name == folded(ident))
        {
            return Ok((table.clone(), None, name.clone()));
        }
        let system = schema.as_deref().is_none_or(|schema| schema == "pg_catalog" || schema == "information_schema");
        if system && let Some((schema, name)) = catalog::named(schema.as_deref(), &folded(ident)) {
            let table = match self.tables.get(name) {
                Some(known) => known.clone(),
                None => {
                    let (fields, rows) = catalog::rows(schema, name, self.catalog, self.environment.user);
                    let fields = fields
                        .iter()
                        .enumerate()
                        .map(|(at, field)| Field {
                            origin: None,
                            ..Field::new(field.name, field.ty, field.nullable, at)
                        })
                        .collect();
                    let table = Table::literal(fields, rows);
                    self.tables.insert(name, table.clone());
                    table
                }
            };
            return Ok((table, Some(schema.to_owned()), name.to_owned()));
        }
        let own = if self.is_tsql() { "dbo" } else { "public" };
        if schema.as_deref().is_some_and(|schema| schema != own) {
            return Err(missing());
        }
        let database = self.catalog.default_database();
        let names = self.catalog.tables(&database);
        let found = [true, false]
            .into_iter()
            .find_map(|exact| names.iter().find(|name| matches(name, ident, exact)))
            .ok_or_else(missing)?;
        let known = self.catalog.table(&database, found).ok_or_else(missing)?;
        let number = catalog::table_number(&names, found);
        let fields = known
            .iter()
            .enumerate()
            .map(|(at, column)| Field {
                origin: Some(super::Origin { table: number, column: at as i16 + 1 }),
                ..Field::new(&*column.name, SqlType::of_engine(column.ty), column.ty != Type::String, at)
            })
            .collect();
        let kind = RelKind::Table { database, name: found.clone() };
        let rows = Rel::new(kind, Arc::new(gantry_kql::bound::Schema::of(known)), false, Span::default());
        Ok((Table { rel: Arc::new(rows), fields, outer: Vec::new() }, Some("public".into()), found.clone()))
    }

    /// The number of the table, type or schema of a name.
    pub(super) fn number_of_name(&mut self, base: Base, name: &str) -> Result<Option<u32>> {
        let (schema, last) = match name.trim().rsplit_once('.') {
            Some((schema, last)) => (Some(schema.trim_matches('"').to_lowercase()), last),
            None => (None, name.trim()),
        };
        let exact = last.trim_matches('"');
        let known = catalog::names(base, self.catalog);
        let schema_fits = |known: &str| schema.as_deref().is_none_or(|schema| schema == known);
        let find = |exactly: bool| {
            known.iter().find(|(_, in_schema, name)| {
                schema_fits(in_schema) && (name == exact || (!exactly && name.eq_ignore_ascii_case(exact)))
            })
        };
        Ok(find(true).or_else(|| if last.starts_with('"') { None } else { find(false) }).map(|(number, ..)| *number))
    }

    /// The names of numbers, as a bag.
    pub(super) fn names_of_numbers(&mut self, base: Base) -> Result<Expr> {
        let known = catalog::names(base, self.catalog);
        Ok(super::coerce::bag(known.into_iter().map(|(number, schema, name)| {
            let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            let name = if plain { name } else { format!("\"{name}\"") };
            let name = if schema == "information_schema" { format!("{schema}.{name}") } else { name };
            (number.to_string(), gantry_kql::value::Dynamic::String(name))
        })))
    }

    /// The numbers of names, as a bag.
    pub(super) fn numbers_of_names(&mut self, base: Base) -> Result<Expr> {
        let known = catalog::names(base, self.catalog);
        Ok(super::coerce::bag(
            known.into_iter().map(|(number, _, name)| (name, gantry_kql::value::Dynamic::Long(number.into()))),
        ))
    }
}

/// A table under a name, its columns numbered on.
fn put(
    from: &mut From,
    table: Table,
    name: String,
    schema: Option<String>,
    alias: Option<&ast::TableAlias>,
) -> Result<Node> {
    let first = from.width;
    // Only the columns that have names are of the table.
    let (rel, mut fields) = (table.rel, table.fields);
    for field in &mut fields {
        field.at += first;
    }
    rename(&mut fields, alias)?;
    if from.scope.relations.iter().any(|known| known.name == name && known.schema == schema) {
        return Err(Error::new(state::DUPLICATE_ALIAS, format!("table name \"{name}\" specified more than once")));
    }
    from.width += rel.schema.columns.len();
    from.scope.relations.push(Relation { name, schema, fields, merged: Vec::new() });
    Ok(Node::Leaf { rel, first })
}

fn rename(fields: &mut [Field], alias: Option<&ast::TableAlias>) -> Result<()> {
    let Some(alias) = alias else { return Ok(()) };
    if alias.columns.len() > fields.len() {
        return Err(Error::new(
            state::INVALID_COLUMN_REFERENCE,
            format!(
                "table \"{}\" has {} columns available but {} specified",
                alias.name.value,
                fields.len(),
                alias.columns.len()
            ),
        ));
    }
    for (field, column) in fields.iter_mut().zip(&alias.columns) {
        field.name = folded(&column.name);
    }
    Ok(())
}

/// Several tables as one.
pub(super) fn inner(mut nodes: Vec<Node>) -> Node {
    match nodes.len() {
        0 => Node::Leaf { rel: one_row(), first: 0 },
        1 => nodes.pop().expect("one"),
        _ => Node::Inner { parts: nodes, on: Vec::new() },
    }
}
