//! Operators that group: `summarize`, `distinct`, `top-hitters`, `top-nested`.

use super::aggregate::{AGGREGATES, Made, Output, above};
use super::{Binder, Cx, Result, RowKind};
use crate::ast::{self, Named};
use crate::bound::{Aggregate, Column, Expr, ExprKind, NestedLevel, Rel, RelKind, Schema};
use crate::diagnostic::{Code, Span};
use crate::value::Type;
use std::sync::Arc;

impl Binder<'_> {
    pub(super) fn keys(&mut self, by: &[Named], input: &Rel, cx: Cx<'_>) -> Result<Vec<Made>> {
        let row = self.row(&input.schema, RowKind::Plain, input.serialized);
        let keys = self.values(by, true, cx.with_row(&row))?;
        for key in &keys {
            if key.value.ty == Type::Dynamic {
                return self.no_dynamic(key.span);
            }
        }
        Ok(keys)
    }

    pub(super) fn no_dynamic<T>(&self, span: Span) -> Result<T> {
        let message = "a dynamic value cannot be grouped, ordered or joined by: cast it, as with `tostring`";
        self.fault(Code::WrongType, span, message)
    }

    pub(super) fn summarize(
        &mut self,
        list: &[Named],
        by: &[Named],
        input: Arc<Rel>,
        cx: Cx<'_>,
        span: Span,
    ) -> Result<Arc<Rel>> {
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
    pub(super) fn summarized(
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

    pub(super) fn distinct(&mut self, list: &[Named], input: Arc<Rel>, cx: Cx<'_>, span: Span) -> Result<Arc<Rel>> {
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

    pub(super) fn top_hitters(
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

    pub(super) fn top_nested(
        &mut self,
        list: &[ast::NestedLevel],
        input: Arc<Rel>,
        cx: Cx<'_>,
        span: Span,
    ) -> Result<Arc<Rel>> {
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
}
