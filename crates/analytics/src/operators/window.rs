//! Functions over rows in their order: `prev`, `next`, `row_number`, `row_cumsum`, ranks, sessions.
//!
//! Their values are worked out over all rows at once and put behind the columns of the input; expressions then find
//! them there like any other column.

use std::sync::Arc;

use gantry_kql::bound::{Expr, ExprKind};
use gantry_kql::value::{Type, Value};

use crate::chunk::Chunk;
use crate::column::{Builder, Cell, Column, ticks_value};
use crate::engine::Session;
use crate::error::{Error, Result};
use crate::expression::{Datum, Outer, Program, arithmetic_one, compile_all};

/// Rows with the values of window functions behind their columns.
pub struct Wide<'a, 'b> {
    session: &'a Session<'b>,
    /// The rows.
    pub chunk: Chunk,
    /// Which function stands in which column.
    windows: Vec<(Expr, usize)>,
}

impl Outer for Wide<'_, '_> {
    fn query(&self) -> &dyn Outer {
        self.session
    }

    fn place(&self, expr: &Expr) -> Option<usize> {
        self.windows.iter().find(|(window, _)| window.kind == expr.kind).map(|(_, at)| *at)
    }
}

/// Works out every window function of some expressions, inner ones first.
pub fn widen<'a, 'b>(session: &'a Session<'b>, chunk: &Chunk, exprs: &[&Expr]) -> Result<Wide<'a, 'b>> {
    let mut wide = Wide { session, chunk: chunk.clone(), windows: Vec::new() };
    for expr in exprs {
        find(expr, &mut wide)?;
    }
    Ok(wide)
}

fn find(expr: &Expr, wide: &mut Wide) -> Result<()> {
    let mut failed = Ok(());
    expr.for_each_child(&mut |child| {
        if failed.is_ok() {
            failed = find(child, wide);
        }
    });
    failed?;
    let ExprKind::Window { function, arguments } = &expr.kind else { return Ok(()) };
    if wide.place(expr).is_some() {
        return Ok(());
    }
    let programs = compile_all(arguments, wide)?;
    let context = Arc::clone(wide.context());
    let values = programs.iter().map(|one: &Program| one.eval(&wide.chunk, &context)).collect::<Result<Vec<_>>>()?;
    let column = work(function.name, &values, expr.ty, wide.chunk.rows)?;
    let at = wide.chunk.columns.len();
    wide.chunk.columns.push(Arc::new(column));
    wide.windows.push((expr.clone(), at));
    Ok(())
}

fn work(name: &str, values: &[Datum], ty: Type, rows: usize) -> Result<Column> {
    let mut builder = Builder::new(ty, rows);
    let restarts =
        |argument: Option<&Datum>, row: usize| argument.is_some_and(|argument| argument.cell(row).bool() == Some(true));
    match name {
        "prev" | "next" => {
            let by = values.get(1).map_or(1, |by| by.cell(0).long().unwrap_or(1));
            let by = if name == "prev" { -by } else { by };
            for row in 0..rows {
                let from = (row as i64).checked_add(by).and_then(|from| usize::try_from(from).ok());
                match from.filter(|from| *from < rows) {
                    Some(from) => builder.push_cell(values[0].cell(from)),
                    None => match values.get(2) {
                        Some(default) => builder.push_cell(default.cell(row)),
                        None => builder.push_absent(),
                    },
                }
            }
        }
        "row_number" => {
            let start = values.first().map_or(1, |start| start.cell(0).long().unwrap_or(1));
            let mut number = start.wrapping_sub(1);
            for row in 0..rows {
                number = if restarts(values.get(1), row) { start } else { number.wrapping_add(1) };
                builder.push(Value::Long(number));
            }
        }
        "row_cumsum" => {
            let zero = match ty {
                Type::Real => Value::Real(0.0),
                Type::TimeSpan => ticks_value(Type::TimeSpan, 0),
                Type::Decimal => Value::Decimal(gantry_kql::value::Decimal::from(0)),
                Type::Int => Value::Int(0),
                _ => Value::Long(0),
            };
            let mut sum = zero.clone();
            for row in 0..rows {
                if restarts(values.get(1), row) {
                    sum = zero.clone();
                }
                let cell = values[0].cell(row);
                if !cell.is_null() {
                    sum = Cell::from(&arithmetic_one(
                        gantry_kql::bound::Binary::Add,
                        Cell::from(&sum),
                        cell,
                        wide_type(ty),
                    ))
                    .cast(ty);
                }
                builder.push(sum.clone());
            }
        }
        "row_rank_dense" | "row_rank_min" => {
            let (mut rank, mut since) = (0, 0);
            for row in 0..rows {
                let begins = row == 0 || restarts(values.get(1), row);
                if begins {
                    (rank, since) = (1, 1);
                } else {
                    since += 1;
                    let (before, now) = (values[0].cell(row - 1), values[0].cell(row));
                    let same = (before.is_null() && now.is_null()) || before.equals(now) == Some(true);
                    if !same {
                        rank = if name == "row_rank_dense" { rank + 1 } else { since };
                    }
                }
                builder.push(Value::Long(rank));
            }
        }
        "row_window_session" => {
            let (from_first, between) = (values[1].cell(0).timespan(), values[2].cell(0).timespan());
            let (Some(from_first), Some(between)) = (from_first, between) else {
                return Err(Error::Evaluation("row_window_session(): the distances must be timespans".into()));
            };
            let (mut first, mut last): (Option<i64>, Option<i64>) = (None, None);
            for row in 0..rows {
                let Cell::DateTime(at) = values[0].cell(row) else {
                    builder.push_absent();
                    continue;
                };
                let goes_on = !restarts(values.get(3), row)
                    && first.zip(last).is_some_and(|(first, last)| at - first <= from_first && at - last <= between);
                if !goes_on {
                    first = Some(at);
                }
                last = Some(at);
                builder.push(first.map_or(Value::Null, |first| ticks_value(Type::DateTime, first)));
            }
        }
        name => return Err(Error::NotImplemented(format!("{name}()"))),
    }
    Ok(builder.finish())
}

fn wide_type(ty: Type) -> Type {
    if ty == Type::Int { Type::Long } else { ty }
}
