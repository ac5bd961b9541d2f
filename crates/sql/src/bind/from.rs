//! `from`: tables, joins, functions that yield rows.
//!
//! Columns of all tables are numbered one after the other, as they are written. Joins are planned when the conditions
//! are known: what looks at one table alone is tested there, equalities become keys of joins, and inner joins are
//! taken in an order that finds keys, which comma lists with conditions in `where` need.

use std::collections::BTreeSet;
use std::sync::Arc;

use gantry_kql::Span;
use gantry_kql::bound::{Binary, Expand, Expr, ExprKind, JoinKind, MvExpand, Rel, RelKind, Slot};
use gantry_kql::value::{Type, Value};
use sqlparser::ast::{self, FunctionArg, FunctionArgExpr, JoinConstraint, JoinOperator, ObjectNamePart, TableFactor};

use super::operator::{Comparison, comparison_of};
use super::scope::{Field, Relation, SETS, Scalar, Scope, Stage, Table, folded, matches};
use super::sub::join;
use super::{Binder, call, choice, columns, each_column, expr, filter, is_null, one_row, project, rel, types};
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
    fn width(&self) -> usize {
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
        if schema.as_deref().is_some_and(|schema| schema != "public") {
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

/// Rows, and which of the numbered columns each of theirs is.
struct Built {
    rel: Arc<Rel>,
    columns: Vec<usize>,
}

impl Built {
    fn has(&self, of: &Expr) -> bool {
        let mut all = true;
        each_column(of, &mut |at| all = all && self.columns.contains(&at));
        all
    }

    /// An expression over the numbered columns as one over these rows.
    fn here(&self, of: &Expr) -> Expr {
        super::remap(of, &|at, ty| match self.columns.iter().position(|column| *column == at) {
            Some(place) => Expr::column(place, self.rel.schema.columns[place].ty, Span::default()),
            // A value of the query around, while these are being found out: what is built then is thrown away.
            None => Expr::literal(Value::absent(ty), ty, Span::default()),
        })
    }

    fn filtered(self, conditions: Vec<Expr>) -> Built {
        if conditions.is_empty() {
            return self;
        }
        let all: Vec<Expr> = conditions.iter().map(|one| plain(self.here(one))).collect();
        let predicate = match <[Expr; 1]>::try_from(all) {
            Ok([one]) => one,
            Err(all) => expr(ExprKind::And(all.into()), Type::Bool),
        };
        Built { rel: filter(self.rel, predicate), columns: self.columns }
    }
}

/// A condition whose rows are kept when it is true: there a comparison with null may as well be false, and the engine
/// knows the plain one.
fn plain(of: Expr) -> Expr {
    match &of.kind {
        ExprKind::Call { function, arguments } => match (comparison_of(function.name), &arguments[..]) {
            (Some(op), [left, right]) if left.ty == right.ty && !matches!(left.ty, Type::Dynamic) => {
                expr(ExprKind::Binary { op, left: left.clone().into(), right: right.clone().into() }, Type::Bool)
            }
            _ => of,
        },
        ExprKind::And(parts) => expr(ExprKind::And(parts.iter().cloned().map(plain).collect()), Type::Bool),
        ExprKind::Or(parts) => expr(ExprKind::Or(parts.iter().cloned().map(plain).collect()), Type::Bool),
        _ => of,
    }
}

/// The rows of all tables where all conditions hold, with their columns in their order.
pub(super) fn build(node: Node, conditions: Vec<Expr>) -> Arc<Rel> {
    let width = node.width();
    let built = assemble(node, conditions);
    let in_order = built.columns.iter().copied().eq(0..width);
    if in_order {
        return built.rel;
    }
    let place = |at: usize| built.columns.iter().position(|column| *column == at).expect("every column is there");
    let all = columns(&built.rel);
    project(built.rel, (0..width).map(|at| all[place(at)].clone()).collect())
}

fn assemble(node: Node, conditions: Vec<Expr>) -> Built {
    match node {
        Node::Leaf { rel, first } => {
            let columns = (first..first + rel.schema.columns.len()).collect();
            Built { rel, columns }.filtered(conditions)
        }
        Node::Inner { .. } => {
            let (mut parts, mut all) = (Vec::new(), conditions);
            flatten(node, &mut parts, &mut all);
            assemble_inner(parts, all)
        }
        Node::Outer { kind, left, right, on, retyped } => assemble_outer(kind, *left, *right, on, retyped, conditions),
        Node::Expand { input, value, first, ty, ordinality } => {
            let mut own = Vec::new();
            let (mut below, made) = (Vec::new(), first..first + 1 + usize::from(ordinality));
            for one in conditions {
                let mut here = true;
                each_column(&one, &mut |at| here = here && !made.contains(&at));
                if here { below.push(one) } else { own.push(one) }
            }
            let input = assemble(*input, below);
            let mut shape: Vec<Type> = types(&input.rel).collect();
            let mut outputs: Vec<Slot> = (0..shape.len()).map(Slot::Input).collect();
            let mut columns = input.columns.clone();
            outputs.push(Slot::Made(0));
            shape.push(ty);
            columns.push(first);
            if ordinality {
                outputs.push(Slot::Made(1));
                shape.push(Type::Long);
                columns.push(first + 1);
            }
            let to = (ty != Type::Dynamic).then_some(ty);
            let serialized = input.rel.serialized;
            let expand = MvExpand {
                items: vec![Expand { value: input.here(&value), to }],
                input: input.rel,
                outputs,
                entries_as_arrays: false,
                limit: None,
            };
            let mut rows = rel(RelKind::MvExpand(expand), shape.iter().copied(), serialized);
            if ordinality {
                // Elements count from one.
                let mut all = self::columns(&rows);
                let last = all.pop().expect("the ordinality");
                let kind = ExprKind::Binary { op: Binary::Add, left: last.into(), right: super::number(1).into() };
                all.push(expr(kind, Type::Long));
                rows = project(rows, all);
            }
            Built { rel: rows, columns }.filtered(own)
        }
    }
}

fn flatten(node: Node, parts: &mut Vec<Node>, all: &mut Vec<Expr>) {
    match node {
        Node::Inner { parts: inner, on } => {
            all.extend(on);
            inner.into_iter().for_each(|one| flatten(one, parts, all));
        }
        other => parts.push(other),
    }
}

/// Conditions of `and` one by one.
fn split(conditions: Vec<Expr>) -> Vec<Expr> {
    let mut all = Vec::new();
    for one in conditions {
        match &one.kind {
            ExprKind::And(parts) => all.extend(split(parts.iter().cloned().collect())),
            _ => all.push(one),
        }
    }
    all
}

/// The sides of an equality.
fn equality(of: &Expr) -> Option<(&Expr, &Expr)> {
    match &of.kind {
        ExprKind::Binary { op: Binary::Equal, left, right } => Some((left, right)),
        ExprKind::Call { function, arguments } if function.name == "sql.eq" => match &arguments[..] {
            [left, right] => Some((left, right)),
            _ => None,
        },
        _ => None,
    }
}

/// Keys that an equality gives for a join of two sides.
fn key(of: &Expr, left: &Built, right: &Built) -> Option<(Expr, Expr)> {
    let (a, b) = equality(of)?;
    let (a, b) = if left.has(a) && right.has(b) {
        (left.here(a), right.here(b))
    } else if left.has(b) && right.has(a) {
        (left.here(b), right.here(a))
    } else {
        return None;
    };
    if !a.has_columns() || !b.has_columns() {
        return None;
    }
    // Texts of both forms are compared as the form that has null.
    let dynamic = |of: Expr| if of.ty == Type::Dynamic { of } else { expr(ExprKind::Cast(of.into()), Type::Dynamic) };
    Some(if a.ty == b.ty { (a, b) } else { (dynamic(a), dynamic(b)) })
}

fn assemble_inner(parts: Vec<Node>, conditions: Vec<Expr>) -> Built {
    let mut rest = split(conditions);
    let mut built: Vec<Built> = Vec::new();
    for part in parts {
        let mut numbers = BTreeSet::new();
        own_columns(&part, &mut numbers);
        let (mut own, mut other) = (Vec::new(), Vec::new());
        for one in rest {
            let (mut some, mut all) = (false, true);
            each_column(&one, &mut |at| {
                some = true;
                all = all && numbers.contains(&at);
            });
            if some && all { own.push(one) } else { other.push(one) }
        }
        rest = other;
        built.push(assemble(part, own));
    }
    let mut built = built.into_iter();
    let mut joined = built.next().expect("one at least");
    let mut waiting: Vec<Built> = built.collect();
    while !waiting.is_empty() {
        let linked = waiting.iter().position(|next| rest.iter().any(|one| key(one, &joined, next).is_some()));
        let next = waiting.remove(linked.unwrap_or(0));
        let mut on = Vec::new();
        rest.retain(|one| match key(one, &joined, &next) {
            Some(pair) => {
                on.push(pair);
                false
            }
            None => true,
        });
        let mut columns = joined.columns;
        columns.extend(&next.columns);
        joined = Built { rel: join(JoinKind::Inner, joined.rel, next.rel, on), columns };
        let (now, later): (Vec<Expr>, Vec<Expr>) =
            rest.into_iter().partition(|one| joined.has(one) && one.has_columns());
        joined = joined.filtered(now);
        rest = later;
    }
    joined.filtered(rest)
}

fn own_columns(node: &Node, numbers: &mut BTreeSet<usize>) {
    match node {
        Node::Leaf { rel, first } => numbers.extend(*first..first + rel.schema.columns.len()),
        Node::Inner { parts, .. } => parts.iter().for_each(|part| own_columns(part, numbers)),
        Node::Outer { left, right, .. } => {
            own_columns(left, numbers);
            own_columns(right, numbers);
        }
        Node::Expand { input, first, ordinality, .. } => {
            own_columns(input, numbers);
            numbers.extend(*first..first + 1 + usize::from(*ordinality));
        }
    }
}

fn assemble_outer(
    kind: JoinKind,
    left: Node,
    right: Node,
    on: Vec<Expr>,
    retyped: Vec<(usize, Type)>,
    conditions: Vec<Expr>,
) -> Built {
    let (mut left_columns, mut right_columns) = (BTreeSet::new(), BTreeSet::new());
    own_columns(&left, &mut left_columns);
    own_columns(&right, &mut right_columns);
    let within = |of: &Expr, side: &BTreeSet<usize>| {
        let mut all = true;
        each_column(of, &mut |at| all = all && side.contains(&at));
        all
    };
    // What looks at rows that are all kept can be tested before.
    let (mut lefts, mut rights, mut above) = (Vec::new(), Vec::new(), Vec::new());
    for one in split(conditions) {
        match kind {
            JoinKind::LeftOuter if within(&one, &left_columns) => lefts.push(one),
            JoinKind::RightOuter if within(&one, &right_columns) => rights.push(one),
            _ => above.push(one),
        }
    }
    let mut on = split(on);
    // A condition on the side that may be missing only decides which of its rows match.
    let (missing, wanted) = match kind {
        JoinKind::LeftOuter => (Some(&right_columns), &mut rights),
        JoinKind::RightOuter => (Some(&left_columns), &mut lefts),
        _ => (None, &mut rights),
    };
    if let Some(missing) = missing {
        on.retain(|one| {
            let own = one.has_columns() && within(one, missing);
            if own {
                wanted.push(one.clone());
            }
            !own
        });
    }
    let (left, right) = (assemble(left, lefts), assemble(right, rights));
    let mut keys = Vec::new();
    let mut rest = Vec::new();
    for one in on {
        if let Some(pair) = key(&one, &left, &right) {
            keys.push(pair);
        } else if left.has(&one) {
            keys.push((left.here(&one), super::truth(true)));
        } else if right.has(&one) {
            keys.push((super::truth(true), right.here(&one)));
        } else {
            rest.push(one);
        }
    }
    let (on_left, on_right): (Vec<Expr>, Vec<Expr>) = keys.into_iter().unzip();
    let (left, on_left) = prepared(left, on_left, &retyped, 1 << 40);
    let (right, on_right) = prepared(right, on_right, &retyped, 1 << 41);
    let keys = on_left.into_iter().zip(on_right).collect();
    let mut columns_of = left.columns.clone();
    columns_of.extend(&right.columns);
    let rows = if rest.is_empty() {
        join(kind, left.rel, right.rel, keys)
    } else {
        with_conditions(kind, &left, &right, keys, &rest)
    };
    let kept: Vec<(Expr, usize)> =
        columns(&rows).into_iter().zip(columns_of).filter(|(_, number)| *number < 1 << 40).collect();
    let (values, columns_of) = kept.into_iter().unzip();
    Built { rel: project(rows, values), columns: columns_of }.filtered(above)
}

/// A side of an outer join: texts in the form that has null, so that those of a missing row are null; and the keys,
/// which are of the values before, in columns of their own.
fn prepared(side: Built, keys: Vec<Expr>, retyped: &[(usize, Type)], from: usize) -> (Built, Vec<Expr>) {
    let mut values = columns(&side.rel);
    let mut numbers = side.columns;
    for (value, number) in values.iter_mut().zip(&numbers) {
        if let Some((_, ty)) = retyped.iter().find(|(at, ty)| at == number && value.ty != *ty) {
            *value = expr(ExprKind::Cast(value.clone().into()), *ty);
        }
    }
    let mut on = Vec::with_capacity(keys.len());
    for (at, key) in keys.into_iter().enumerate() {
        on.push(Expr::column(values.len(), key.ty, Span::default()));
        values.push(key);
        numbers.push(from + at);
    }
    (Built { rel: project(side.rel, values), columns: numbers }, on)
}

/// An outer join with conditions that are no equalities: the pairs that match, and the rows that are in none.
fn with_conditions(kind: JoinKind, left: &Built, right: &Built, keys: Vec<(Expr, Expr)>, rest: &[Expr]) -> Arc<Rel> {
    let numbered = |of: &Arc<Rel>| {
        let mut all = columns(of);
        let function = gantry_kql::functions::scalar("row_number").expect("a function of the language");
        all.push(expr(ExprKind::Window { function, arguments: Vec::new().into() }, Type::Long));
        project(Arc::clone(of), all)
    };
    let (lefts, rights) = (numbered(&left.rel), numbered(&right.rel));
    let (a, b) = (left.columns.len(), right.columns.len());
    let pairs = join(JoinKind::Inner, Arc::clone(&lefts), Arc::clone(&rights), keys);
    let mut columns_of = left.columns.clone();
    columns_of.push(usize::MAX);
    columns_of.extend(&right.columns);
    columns_of.push(usize::MAX - 1);
    let pairs = Built { rel: pairs, columns: columns_of }.filtered(rest.to_vec()).rel;
    let visible = |of: &Arc<Rel>| {
        let mut all = columns(of);
        all.remove(a + 1 + b);
        all.remove(a);
        all
    };
    let matched = project(Arc::clone(&pairs), visible(&pairs));
    let shape: Vec<Type> = types(&matched).collect();
    let mut inputs = vec![matched];
    let long = |at: usize| Expr::column(at, Type::Long, Span::default());
    let absent = |ty: Type| Expr::literal(Value::absent(ty), ty, Span::default());
    if matches!(kind, JoinKind::LeftOuter | JoinKind::FullOuter) {
        let alone = join(JoinKind::LeftAnti, lefts, Arc::clone(&pairs), vec![(long(a), long(a))]);
        let mut values = columns(&alone);
        values.truncate(a);
        values.extend(shape[a..].iter().map(|ty| absent(*ty)));
        inputs.push(project(alone, values));
    }
    if matches!(kind, JoinKind::RightOuter | JoinKind::FullOuter) {
        let alone = join(JoinKind::LeftAnti, rights, pairs, vec![(long(b), long(a + 1 + b))]);
        let mut values: Vec<Expr> = shape[..a].iter().map(|ty| absent(*ty)).collect();
        values.extend(columns(&alone).into_iter().take(b));
        inputs.push(project(alone, values));
    }
    rel(RelKind::Union { inputs }, shape, false)
}
