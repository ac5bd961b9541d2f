//! Sources, and operators that look at one row at a time.

use std::sync::Arc;

use gantry_kql::bound::{Expr, Rel, Schema};
use gantry_kql::value::{Type, Value};

use super::{Flow, Sink, window};
use crate::chunk::{CHUNK_ROWS, Chunk, gather_rows, places};
use crate::column::{Builder, Cell, Column, ticks_value};
use crate::context::Context;
use crate::engine::{Frame, Session};
use crate::error::{Error, Result};
use crate::expression::{Datum, Outer, Program, compile_all};

/// Literal rows.
pub fn data_table(schema: &Schema, rows: &[Vec<Value>], sink: Sink) -> Result<Flow> {
    for part in rows.chunks(CHUNK_ROWS) {
        let columns = schema.columns.iter().enumerate().map(|(at, column)| {
            let mut builder = Builder::new(column.ty, part.len());
            part.iter().for_each(|row| builder.push(row[at].clone()));
            builder.finish()
        });
        if sink(Chunk::of(columns.collect(), part.len()))? == Flow::Enough {
            return Ok(Flow::Enough);
        }
    }
    Ok(Flow::More)
}

/// Rows that are there already.
pub fn replay(chunks: &[Chunk], sink: Sink) -> Result<Flow> {
    for chunk in chunks {
        if sink(chunk.clone())? == Flow::Enough {
            return Ok(Flow::Enough);
        }
    }
    Ok(Flow::More)
}

/// Hands rows on in pieces of the usual size.
pub fn in_pieces(chunk: &Chunk, sink: Sink) -> Result<Flow> {
    let mut from = 0;
    while from < chunk.rows {
        let rows = CHUNK_ROWS.min(chunk.rows - from);
        if sink(chunk.slice(from, rows))? == Flow::Enough {
            return Ok(Flow::Enough);
        }
        from += rows;
    }
    Ok(Flow::More)
}

/// All rows as one chunk.
pub fn whole(schema: &Schema, chunks: Vec<Chunk>) -> Chunk {
    match <[Chunk; 1]>::try_from(chunks) {
        Ok([only]) => only,
        Err(chunks) => gather_rows(schema, &chunks, &places(&chunks)),
    }
}

impl Session<'_> {
    pub(super) fn print(&self, schema: &Schema, values: &[Expr], sink: Sink) -> Result<Flow> {
        let programs = compile_all(values, self)?;
        sink(project_chunk(self.context(), schema, &programs, &Chunk::unit())?)
    }

    pub(super) fn range(&self, schema: &Schema, ends: [&Expr; 3], sink: Sink) -> Result<Flow> {
        let ty = schema.columns[0].ty;
        let [from, to, step] = [self.value(ends[0])?, self.value(ends[1])?, self.value(ends[2])?];
        let limit = self.context().limits.expanded_max.max(1 << 24);
        let ticks = |value: &Value| match Cell::from(value) {
            Cell::DateTime(ticks) | Cell::TimeSpan(ticks) | Cell::Long(ticks) => Some(ticks),
            Cell::Int(value) => Some(i64::from(value)),
            _ => None,
        };
        let (rows, value): (u64, Box<dyn Fn(u64) -> Value>) = match ty {
            Type::Real | Type::Decimal => {
                let numbers = [&from, &to, &step].map(|value| Cell::from(value).real());
                let [Some(from), Some(to), Some(step)] = numbers else { return Ok(Flow::More) };
                if step == 0.0 {
                    return Err(Error::Evaluation("range: the step must not be zero".into()));
                }
                let rows = ((to - from) / step + 1e-9).floor();
                let rows = if rows < 0.0 { 0 } else { rows as u64 + 1 };
                (rows, Box::new(move |at| Cell::Real(from + step * at as f64).cast(ty)))
            }
            _ => {
                let (Some(first), Some(last), Some(step)) = (ticks(&from), ticks(&to), ticks(&step)) else {
                    return Ok(Flow::More);
                };
                if step == 0 {
                    return Err(Error::Evaluation("range: the step must not be zero".into()));
                }
                let rows = (i128::from(last) - i128::from(first)) / i128::from(step);
                let away = (last < first) != (step < 0) && last != first;
                let rows = if away { 0 } else { rows as u64 + 1 };
                (
                    rows,
                    Box::new(move |at| match ty {
                        Type::Int => Value::Int((first + step * at as i64) as i32),
                        ty => ticks_value(ty, first + step * at as i64),
                    }),
                )
            }
        };
        if rows > limit {
            return Err(Error::TooManyRows { operator: "range", limit });
        }
        let mut at = 0;
        while at < rows {
            self.context().check()?;
            let count = (rows - at).min(CHUNK_ROWS as u64);
            let mut builder = Builder::new(ty, count as usize);
            (at..at + count).for_each(|at| builder.push(value(at)));
            if sink(Chunk::of(vec![builder.finish()], count as usize))? == Flow::Enough {
                return Ok(Flow::Enough);
            }
            at += count;
        }
        Ok(Flow::More)
    }

    pub(super) fn filter(&self, input: &Rel, predicate: &Expr, frame: &Frame, sink: Sink) -> Result<Flow> {
        if predicate.has_window() {
            let chunk = whole(&input.schema, self.collect(input, frame, "where")?);
            let wide = window::widen(self, &chunk, &[predicate])?;
            let flags = Program::compile(predicate, &wide)?.eval(&wide.chunk, self.context())?;
            return in_pieces(&chunk.take(&flags.true_rows(chunk.rows)), sink);
        }
        let program = Program::compile(predicate, self)?;
        self.run(input, frame, &mut |chunk| {
            let flags = program.eval(&chunk, self.context())?;
            let rows = flags.true_rows(chunk.rows);
            match rows.len() {
                0 => Ok(Flow::More),
                all if all == chunk.rows => sink(chunk),
                _ => sink(chunk.take(&rows)),
            }
        })
    }

    pub(super) fn project(
        &self,
        schema: &Schema,
        input: &Rel,
        values: &[Expr],
        frame: &Frame,
        sink: Sink,
    ) -> Result<Flow> {
        if values.iter().any(Expr::has_window) {
            let chunk = whole(&input.schema, self.collect(input, frame, "serialize")?);
            let all: Vec<&Expr> = values.iter().collect();
            let wide = window::widen(self, &chunk, &all)?;
            let programs = compile_all(values, &wide)?;
            return in_pieces(&project_chunk(self.context(), schema, &programs, &wide.chunk)?, sink);
        }
        let programs = compile_all(values, self)?;
        self.run(input, frame, &mut |chunk| sink(project_chunk(self.context(), schema, &programs, &chunk)?))
    }

    pub(super) fn take(&self, input: &Rel, count: &Expr, frame: &Frame, sink: Sink) -> Result<Flow> {
        let mut left = self.count(count)?;
        if left == 0 {
            return Ok(Flow::More);
        }
        let mut enough = Flow::More;
        self.run(input, frame, &mut |chunk| {
            let rows = left.min(chunk.rows as u64);
            left -= rows;
            enough = sink(chunk.slice(0, rows as usize))?;
            Ok(if left == 0 { Flow::Enough } else { enough })
        })?;
        Ok(enough)
    }

    /// So many rows by chance, each as likely as every other.
    pub(super) fn sample(&self, input: &Rel, count: &Expr, frame: &Frame, sink: Sink) -> Result<Flow> {
        let count = self.count(count)? as usize;
        let chunk = whole(&input.schema, self.collect(input, frame, "sample")?);
        let mut rows: Vec<u32> = (0..chunk.rows as u32).collect();
        for at in 0..count.min(rows.len()) {
            let other = at + (self.context().random() % (rows.len() - at) as u64) as usize;
            rows.swap(at, other);
        }
        rows.truncate(count);
        in_pieces(&chunk.take(&rows), sink)
    }

    pub(super) fn sample_distinct(
        &self,
        schema: &Schema,
        input: &Rel,
        count: &Expr,
        of: &Expr,
        frame: &Frame,
        sink: Sink,
    ) -> Result<Flow> {
        let count = self.count(count)? as usize;
        let program = Program::compile(of, self)?;
        let mut groups = crate::groups::Groups::new(vec![schema.columns[0].ty]);
        self.run(input, frame, &mut |chunk| {
            groups.of_rows(&[program.eval(&chunk, self.context())?], chunk.rows);
            Ok(if groups.len() >= count { Flow::Enough } else { Flow::More })
        })?;
        let rows = groups.len().min(count);
        let columns: Vec<Column> = groups.columns().into_iter().map(|column| column.slice(0, rows)).collect();
        in_pieces(&Chunk::of(columns, rows), sink)
    }

    /// Rows of all inputs, columns by place; those of an open schema by name.
    pub(super) fn union(&self, schema: &Schema, inputs: &[Arc<Rel>], frame: &Frame, sink: Sink) -> Result<Flow> {
        for input in inputs {
            let by_name = input.schema.columns.len() != schema.columns.len()
                || input.schema.columns.iter().zip(&schema.columns).any(|(a, b)| a.name != b.name || a.ty != b.ty);
            let places: Vec<Option<usize>> = schema
                .columns
                .iter()
                .enumerate()
                .map(|(at, column)| if by_name { input.schema.position(&column.name) } else { Some(at) })
                .collect();
            let flow = self.run(input, frame, &mut |chunk| {
                let columns = places.iter().zip(&schema.columns).map(|(place, column)| match place {
                    Some(at) if chunk.columns[*at].ty() == column.ty => Arc::clone(&chunk.columns[*at]),
                    _ => Arc::new(Column::absent(column.ty, chunk.rows)),
                });
                sink(Chunk::new(columns.collect(), chunk.rows))
            })?;
            if flow == Flow::Enough {
                return Ok(Flow::Enough);
            }
        }
        Ok(Flow::More)
    }
}

/// The values of a row for each row.
pub fn project_chunk(context: &Context, schema: &Schema, programs: &[Program], chunk: &Chunk) -> Result<Chunk> {
    let columns = programs
        .iter()
        .zip(&schema.columns)
        .map(|(program, column)| {
            let made = program.eval(chunk, context)?.into_column(column.ty, chunk.rows);
            // A value of another type than its column (what only the rows could tell) becomes one of it.
            Ok(if made.ty() == column.ty || column.ty == Type::Unknown {
                made
            } else {
                crate::expression::cast(Datum::Many(Arc::clone(&made)), made.ty(), column.ty, chunk.rows)
                    .into_column(column.ty, chunk.rows)
            })
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Chunk::new(columns, chunk.rows))
}
