//! Operators that choose, compute and name columns: `extend` and all of `project`.

use super::aggregate::{Made, Output};
use super::{Binder, Cx, Result, RowKind};
use crate::ast::{self, Named};
use crate::bound::{Column, Expr, ExprKind, Rel, RelKind, Schema};
use crate::diagnostic::{Code, Span};
use crate::value::{Type, Value};
use std::sync::Arc;

impl Binder<'_> {
    /// All columns of a table as values.
    pub(super) fn all_columns(&mut self, schema: &Schema, span: Span) -> Result<Vec<Expr>> {
        let column = |(index, column): (usize, &Column)| (index, column.ty);
        let columns: Vec<(usize, Type)> = schema.columns.iter().enumerate().map(column).collect();
        columns.into_iter().map(|(index, ty)| self.make(ExprKind::Column(index), ty, span)).collect()
    }

    pub(super) fn extend(
        &mut self,
        list: &[Named],
        input: Arc<Rel>,
        serialize: bool,
        cx: Cx<'_>,
        span: Span,
    ) -> Result<Arc<Rel>> {
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
            self.charge(columns.len() as u64, span)?;
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

    pub(super) fn project(&mut self, list: &[Named], input: Arc<Rel>, cx: Cx<'_>, span: Span) -> Result<Arc<Rel>> {
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
    pub(super) fn picked(&mut self, expr: &ast::Expr, schema: &Schema) -> Result<Vec<usize>> {
        self.charge(schema.columns.len() as u64, expr.span)?;
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

    pub(super) fn project_away(
        &mut self,
        list: &[ast::Expr],
        input: Arc<Rel>,
        keep: bool,
        span: Span,
    ) -> Result<Arc<Rel>> {
        let mut named = vec![false; input.schema.columns.len()];
        for expr in list {
            for index in self.picked(expr, &input.schema)? {
                named[index] = true;
            }
        }
        let picked: Vec<usize> = (0..named.len()).filter(|&index| named[index] == keep).collect();
        self.pick(input, &picked, span)
    }

    pub(super) fn project_rename(&mut self, list: &[Named], input: Arc<Rel>, span: Span) -> Result<Arc<Rel>> {
        let mut columns = input.schema.columns.clone();
        for named in list {
            let [name] = &named.names[..] else {
                return self.fault(Code::Syntax, named.value.span, "`new = old` expected");
            };
            let [index] = self.picked(&named.value, &input.schema)?[..] else { continue };
            self.charge(columns.len() as u64, name.span)?;
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

    pub(super) fn project_reorder(&mut self, list: &[ast::Reorder], input: Arc<Rel>, span: Span) -> Result<Arc<Rel>> {
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

    pub(super) fn project_by_names(
        &mut self,
        list: &[ast::Expr],
        input: Arc<Rel>,
        cx: Cx<'_>,
        span: Span,
    ) -> Result<Arc<Rel>> {
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
    pub(super) fn column_names(&self, value: &Expr, span: Span) -> Result<Vec<String>> {
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
