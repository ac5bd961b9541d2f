//! Window functions.

use std::sync::Arc;

use gantry_kql::Span;
use gantry_kql::bound::{Expr, ExprKind, Frame, FrameEnd, Over, OverFunction, OverKind, Rel, RelKind, SortKey};
use gantry_kql::value::{Type, Value};
use sqlparser::ast::{self, WindowFrameBound, WindowFrameUnits, WindowType};

use super::coerce::held_as;
use super::scope::{Scalar, Stage, WINDOWED};
use super::{Binder, rel, types};
use crate::error::{Error, Result, state};
use crate::types::SqlType;

/// A window function and its window.
#[derive(Debug, Clone)]
pub struct Windowed {
    partition: Vec<Expr>,
    order: Vec<SortKey>,
    function: OverFunction,
    ty: Type,
}

/// From the first row to the current one and its equals: the frame when none is written.
const RUNNING: Frame = Frame { rows: false, start: FrameEnd::Unbounded, end: FrameEnd::Offset(0) };
/// All rows.
const WHOLE: Frame = Frame { rows: false, start: FrameEnd::Unbounded, end: FrameEnd::Unbounded };

impl Binder<'_> {
    /// A call with `over`.
    pub(super) fn window_call(&mut self, stage: &Stage, function: &ast::Function, name: &str) -> Result<Scalar> {
        if let Some(place) = stage.plain {
            return Err(Error::new(state::WINDOWING_ERROR, format!("window functions are not allowed in {place}")));
        }
        let spec = match &function.over {
            Some(WindowType::WindowSpec(spec)) => spec,
            Some(WindowType::NamedWindow(name)) => named(stage, name)?,
            None => return Err(Error::new(state::WINDOWING_ERROR, "a window function needs OVER")),
        };
        let mut base: Option<&ast::WindowSpec> = None;
        if let Some(name) = &spec.window_name {
            base = Some(named(stage, name)?);
        }
        let partition_by = if spec.partition_by.is_empty() {
            base.map_or(&[][..], |base| &base.partition_by)
        } else {
            &spec.partition_by
        };
        let order_by =
            if spec.order_by.is_empty() { base.map_or(&[][..], |base| &base.order_by) } else { &spec.order_by };
        // A query within another is one window for each of its values.
        let mut partition: Vec<Expr> = self.outer_columns(stage);
        for of in partition_by {
            let value = self.expr(stage, of)?;
            partition.push(self.cast_unknown(value)?.expr);
        }
        let order = self.sort_keys(stage, order_by)?;
        let frame = match &spec.window_frame {
            Some(frame) => self.frame(frame)?,
            None if order.is_empty() => WHOLE,
            None => RUNNING,
        };
        if super::aggregate::is_aggregate(name) {
            return self.window_aggregate(stage, function, name, partition, order, frame);
        }
        let mut arguments = Vec::new();
        for argument in super::call::plain_arguments(function)? {
            let value = self.expr(stage, argument)?;
            arguments.push(self.cast_unknown(value)?);
        }
        let long = |binder: &mut Self, value: &Scalar| binder.coerce(value.clone(), SqlType::INT8).map(|v| v.expr);
        let one = || super::number(1);
        let (kind, ty, nullable) = match (name, arguments.as_slice()) {
            ("row_number", []) => (OverKind::RowNumber, SqlType::INT8, false),
            ("rank", []) => (OverKind::Rank, SqlType::INT8, false),
            ("dense_rank", []) => (OverKind::DenseRank, SqlType::INT8, false),
            ("percent_rank", []) => (OverKind::PercentRank, SqlType::FLOAT8, false),
            ("cume_dist", []) => (OverKind::CumeDist, SqlType::FLOAT8, false),
            ("ntile", [count]) => (OverKind::Ntile(long(self, count)?), SqlType::INT8, false),
            ("lag" | "lead", [value, rest @ ..]) if rest.len() <= 2 => {
                let mut by = match rest.first() {
                    Some(by) => long(self, by)?,
                    None => one(),
                };
                if name == "lead" {
                    by = super::expr(ExprKind::Negate(by.into()), Type::Long);
                }
                let mut value = value.clone();
                let mut other = None;
                if let Some(default) = rest.get(1) {
                    let (_, mut both) = self.unify(vec![value, default.clone()], "lag")?;
                    other = both.pop().map(|other| held_as(&other, true));
                    value = both.pop().expect("two");
                }
                let ty = value.ty;
                (OverKind::Lag { value: held_as(&value, true), by, other }, ty, true)
            }
            ("first_value", [value]) => (OverKind::FirstValue(held_as(value, true)), value.ty, true),
            ("last_value", [value]) => (OverKind::LastValue(held_as(value, true)), value.ty, true),
            ("nth_value", [value, n]) => (OverKind::NthValue(held_as(value, true), long(self, n)?), value.ty, true),
            _ => {
                return Err(Error::new(
                    state::UNDEFINED_FUNCTION,
                    format!("window function {name} with {} arguments does not exist", arguments.len()),
                ));
            }
        };
        let held = ty.held(nullable);
        let at = put(stage, Windowed { partition, order, function: OverFunction { kind, frame }, ty: held });
        Ok(Scalar::new(Expr::column(WINDOWED + at, held, Span::default()), ty, nullable))
    }

    fn window_aggregate(
        &mut self,
        stage: &Stage,
        function: &ast::Function,
        name: &str,
        partition: Vec<Expr>,
        order: Vec<SortKey>,
        frame: Frame,
    ) -> Result<Scalar> {
        let plan = match &stage.grouping {
            None => self.plan_aggregate(stage, function, name)?,
            // Over groups the arguments are themselves behind `group by`.
            Some(_) => self.plan_over_groups(stage, function, name)?,
        };
        let places: Vec<usize> = plan
            .parts
            .into_iter()
            .map(|part| {
                let ty = part.columns.last().expect("one").ty;
                let function = OverFunction { kind: OverKind::Aggregate(part), frame };
                put(stage, Windowed { partition: partition.clone(), order: order.clone(), function, ty })
            })
            .collect();
        let value = super::remap(&plan.value.expr, &|at, ty| Expr::column(WINDOWED + places[at], ty, Span::default()));
        Ok(Scalar { expr: value, ..plan.value })
    }

    fn plan_over_groups(
        &mut self,
        stage: &Stage,
        function: &ast::Function,
        name: &str,
    ) -> Result<super::aggregate::Plan> {
        // The arguments become columns that the plan can name.
        let arguments = super::call::plain_arguments_or_star(function)?;
        let mut scope = super::scope::Scope::default();
        let mut fields = Vec::new();
        let mut values = Vec::new();
        let mut rewritten = function.clone();
        for (at, argument) in arguments.iter().enumerate() {
            let value = self.expr(stage, argument)?;
            let value = self.cast_unknown(value)?;
            fields.push(super::scope::Field::new(format!("a{at}"), value.ty, value.nullable, at));
            values.push(value.expr);
            super::call::replace_argument(&mut rewritten, at, &format!("a{at}"));
        }
        scope.relations.push(super::scope::Relation { name: "w".into(), schema: None, fields, merged: Vec::new() });
        let rows = Stage { scope, ..Stage::default() };
        let mut plan = self.plan_aggregate(&rows, &rewritten, name)?;
        for part in &mut plan.parts {
            let settle = |of: &Expr| super::remap(of, &|at, _| values[at].clone());
            part.arguments = part.arguments.iter().map(settle).collect();
            part.condition = part.condition.as_ref().map(settle);
        }
        Ok(plan)
    }

    fn frame(&mut self, frame: &ast::WindowFrame) -> Result<Frame> {
        let rows = match frame.units {
            WindowFrameUnits::Rows => true,
            WindowFrameUnits::Range => false,
            WindowFrameUnits::Groups => return Err(Error::unsupported("GROUPS of a window")),
        };
        let mut end = |bound: &WindowFrameBound, first: bool| -> Result<FrameEnd> {
            let (offset, sign) = match bound {
                WindowFrameBound::CurrentRow => return Ok(FrameEnd::Offset(0)),
                WindowFrameBound::Preceding(None) if first => return Ok(FrameEnd::Unbounded),
                WindowFrameBound::Following(None) if !first => return Ok(FrameEnd::Unbounded),
                WindowFrameBound::Preceding(Some(offset)) => (offset, -1),
                WindowFrameBound::Following(Some(offset)) => (offset, 1),
                _ => return Err(Error::new(state::WINDOWING_ERROR, "the frame begins or ends on the wrong side")),
            };
            if !rows {
                return Err(Error::unsupported("RANGE with an offset"));
            }
            let value = self.expr(&Stage::default(), offset)?;
            match value.expr.as_literal() {
                Some(Value::Int(n)) if *n >= 0 => Ok(FrameEnd::Offset(sign * i64::from(*n))),
                Some(Value::Long(n)) if *n >= 0 => Ok(FrameEnd::Offset(sign * n)),
                _ => Err(Error::unsupported("an offset of a frame that is no literal")),
            }
        };
        let start = end(&frame.start_bound, true)?;
        let stop = match &frame.end_bound {
            Some(bound) => end(bound, false)?,
            None => FrameEnd::Offset(0),
        };
        Ok(Frame { rows, start, end: stop })
    }

    /// The rows with a column for each window function, and where each is.
    pub(super) fn over(
        &mut self,
        rows: Arc<Rel>,
        stage: &Stage,
        settle: &dyn Fn(&Expr) -> Expr,
    ) -> (Arc<Rel>, Vec<usize>) {
        let windows = std::mem::take(&mut *stage.windows.borrow_mut());
        let mut places = vec![0; windows.len()];
        let mut rows = rows;
        let mut done = vec![false; windows.len()];
        for at in 0..windows.len() {
            if done[at] {
                continue;
            }
            let (partition, order) = (&windows[at].partition, &windows[at].order);
            let mut functions = Vec::new();
            let mut shape: Vec<Type> = types(&rows).collect();
            for (other, window) in windows.iter().enumerate().skip(at) {
                if done[other] || window.partition != *partition || window.order != *order {
                    continue;
                }
                done[other] = true;
                places[other] = shape.len();
                shape.push(window.ty);
                functions.push(settled(&window.function, settle));
            }
            let over = Over {
                input: rows,
                partition: partition.iter().map(settle).collect(),
                order: order.iter().map(|key| SortKey { value: settle(&key.value), ..*key }).collect(),
                functions,
            };
            let serialized = over.input.serialized;
            rows = rel(RelKind::Over(Box::new(over)), shape, serialized);
        }
        (rows, places)
    }

    /// The row numbers of the rows, in a last column.
    pub(super) fn numbered(&mut self, rows: Arc<Rel>, partition: Vec<Expr>, order: Vec<SortKey>) -> Arc<Rel> {
        let mut shape: Vec<Type> = types(&rows).collect();
        shape.push(Type::Long);
        let serialized = rows.serialized;
        let functions = vec![OverFunction { kind: OverKind::RowNumber, frame: WHOLE }];
        rel(RelKind::Over(Box::new(Over { input: rows, partition, order, functions })), shape, serialized)
    }
}

fn named<'s>(stage: &'s Stage, name: &ast::Ident) -> Result<&'s ast::WindowSpec> {
    let found = stage.named_windows.iter().find(|window| super::scope::folded(&window.0) == super::scope::folded(name));
    match found.map(|window| &window.1) {
        Some(ast::NamedWindowExpr::WindowSpec(spec)) => Ok(spec),
        Some(ast::NamedWindowExpr::NamedWindow(_)) => Err(Error::unsupported("a window named after another")),
        None => {
            Err(Error::new(state::UNDEFINED_OBJECT, format!("window \"{}\" does not exist", name.value))
                .or_at(name.span))
        }
    }
}

fn put(stage: &Stage, window: Windowed) -> usize {
    let mut windows = stage.windows.borrow_mut();
    windows.push(window);
    windows.len() - 1
}

fn settled(function: &OverFunction, settle: &dyn Fn(&Expr) -> Expr) -> OverFunction {
    let kind = match &function.kind {
        OverKind::Ntile(of) => OverKind::Ntile(settle(of)),
        OverKind::Lag { value, by, other } => {
            OverKind::Lag { value: settle(value), by: settle(by), other: other.as_ref().map(settle) }
        }
        OverKind::FirstValue(of) => OverKind::FirstValue(settle(of)),
        OverKind::LastValue(of) => OverKind::LastValue(settle(of)),
        OverKind::NthValue(of, n) => OverKind::NthValue(settle(of), settle(n)),
        OverKind::Aggregate(part) => {
            let mut part = part.clone();
            part.arguments = part.arguments.iter().map(settle).collect();
            part.condition = part.condition.as_ref().map(settle);
            OverKind::Aggregate(part)
        }
        other => other.clone(),
    };
    OverFunction { kind, ..function.clone() }
}
