//! `make-series`.

use super::aggregate::{Made, Output, above};
use super::{Binder, Cx, Result, RowKind, names, types};
use crate::ast;
use crate::bound::{Column, MakeSeries, Rel, RelKind, Schema, Series, Slot};
use crate::diagnostic::{Code, Span};
use crate::value::Type;
use std::sync::Arc;

impl Binder<'_> {
    pub(super) fn make_series(
        &mut self,
        make: &ast::MakeSeries,
        input: Arc<Rel>,
        cx: Cx<'_>,
        span: Span,
    ) -> Result<Arc<Rel>> {
        let row = self.row(&input.schema, RowKind::Plain, false);
        let inner = cx.with_row(&row);
        let by = self.values(&make.by, false, inner)?;
        if let Some(key) = by.iter().find(|key| key.value.ty == Type::Dynamic) {
            return self.fault(Code::WrongType, key.span, "a dynamic value cannot be grouped by: cast it");
        }
        let mut output = Output::new();
        let mut keys = Vec::new();
        let mut outputs = Vec::new();
        for key in by.iter().cloned() {
            outputs.push(Slot::Input(keys.len()));
            keys.push(key.value.clone());
            output.add(self, key)?;
        }
        let mut aggregates = Vec::new();
        let mut series = Vec::new();
        for one in &make.series {
            let default = match &one.default {
                Some(default) => Some(self.constant(default, cx)?),
                None => None,
            };
            let summary = self.summary(std::slice::from_ref(&one.value), &by, inner)?;
            let first = aggregates.iter().map(|made: &crate::bound::Aggregate| made.columns.len()).sum();
            for made in summary.columns {
                let value = above(&made.value, first);
                let default = match &default {
                    Some(default) => Some(self.cast(default.clone(), value.ty)?),
                    None => None,
                };
                outputs.push(Slot::Made(series.len()));
                series.push(Series { value, default });
                output.add(self, made)?;
                output.columns.last_mut().expect("one was added").ty = Type::Dynamic;
            }
            aggregates.extend(summary.aggregates);
        }
        let axis = self.expr(&make.axis.value, inner)?;
        if !axis.ty.is_summable() && axis.ty != Type::Unknown {
            let message = format!("an axis is a datetime, timespan or number, not a {}", axis.ty);
            return self.fault(Code::WrongType, make.axis.value.span, message);
        }
        let mut ends = [None, None];
        for (end, given) in ends.iter_mut().zip([&make.from, &make.to]) {
            if let Some(given) = given {
                let value = self.constant(given, cx)?;
                *end = Some(self.coerce(value, axis.ty)?);
            }
        }
        let [from, to] = ends;
        let Some(step) = &make.step else { return self.fault(Code::Syntax, span, "`make-series` needs a `step`") };
        let step = self.constant(step, cx)?;
        let wanted = if axis.ty == Type::DateTime { Type::TimeSpan } else { axis.ty };
        let fits = step.ty == wanted
            || types::common([step.ty, wanted]).is_some_and(Type::is_number)
            || matches!(step.ty, Type::Unknown | Type::Dynamic)
            || wanted == Type::Unknown;
        if !fits {
            let message = format!("a {} is no step of an axis of type {}", step.ty, axis.ty);
            return self.fault(Code::WrongType, step.span, message);
        }
        let step = self.cast(step, wanted)?;
        let name = match make.axis.names.first() {
            Some(name) => Some(name.text.clone()),
            None => names::name_of(&make.axis.value),
        };
        outputs.push(Slot::Made(series.len()));
        output.add(self, Made { name, declared: false, value: axis.clone(), span })?;
        output.columns.last_mut().expect("one was added").ty = Type::Dynamic;
        let nonempty = self.property_text(&make.properties, "kind")?.as_deref() == Some("nonempty");
        let columns: Vec<Column> = output.columns;
        let kind = RelKind::MakeSeries(Box::new(MakeSeries {
            input,
            aggregates,
            series,
            axis,
            from,
            to,
            step,
            inclusive: make.in_range,
            nonempty,
            keys,
            outputs,
        }));
        self.rel(kind, Schema::of(columns), false, span)
    }
}
