//! Window functions of SQL: rows are sorted by partition and order, every function is worked out over the frames of
//! its rows, and the values go back to the rows in the order they came.

use std::cmp::Ordering;

use gantry_kql::bound::{Aggregate, Binary, Frame as Bounds, FrameEnd, Over, OverFunction, OverKind, Schema};
use gantry_kql::value::{Type, Value};

use super::basic::{in_pieces, whole};
use super::sort::order_cells;
use super::{Flow, Sink};
use crate::aggregates::Prepared;
use crate::chunk::Chunk;
use crate::column::{Builder, Cell, Column, total_order};
use crate::engine::{Frame, Session};
use crate::error::{Error, Result};
use crate::expression::{Datum, Outer, Program, arithmetic_one, compile_all};

/// Rows that the frames of one function may have together, where it looks at each of them anew.
const FRAME_ROWS_MAX: usize = 50_000_000;

/// The rows in order: where each stands, where partitions and equals begin and end.
struct Sorted {
    /// The row at each place.
    rows: Vec<u32>,
    /// The places of the partition of each place.
    partition: Vec<(u32, u32)>,
    /// The places of its equals.
    peers: Vec<(u32, u32)>,
}

impl Session<'_> {
    pub(super) fn over(&self, schema: &Schema, over: &Over, frame: &Frame, sink: Sink) -> Result<Flow> {
        let chunk = whole(&over.input.schema, self.collect(&over.input, frame, "window")?);
        let context = self.context();
        context.hold("window", chunk.rows * 24)?;
        let evaluate = |programs: Vec<Program>| -> Result<Vec<Datum>> {
            programs.iter().map(|program| program.eval(&chunk, context)).collect()
        };
        let partition = evaluate(compile_all(&over.partition, self)?)?;
        let keys: Vec<_> = over.order.iter().map(|key| key.value.clone()).collect();
        let order = evaluate(compile_all(&keys, self)?)?;
        let sorted = sort(chunk.rows, &partition, &order, over);
        context.check()?;
        let mut columns = chunk.columns.clone();
        let first = columns.len();
        for (at, function) in over.functions.iter().enumerate() {
            let ty = schema.columns[first + at].ty;
            let values = self.over_one(function, ty, &chunk, &sorted)?;
            // From places back to rows.
            let mut places = vec![0_u32; chunk.rows];
            sorted.rows.iter().enumerate().for_each(|(place, row)| places[*row as usize] = place as u32);
            columns.push(std::sync::Arc::new(values.take(&places)));
        }
        in_pieces(&Chunk::new(columns, chunk.rows), sink)
    }

    /// The values of a function, by place.
    fn over_one(&self, function: &OverFunction, ty: Type, chunk: &Chunk, sorted: &Sorted) -> Result<Column> {
        let context = self.context();
        let eval = |expr| -> Result<Datum> { Program::compile(expr, self)?.eval(chunk, context) };
        let count = chunk.rows;
        let mut builder = Builder::new(ty, count);
        let long = |value: u32| Value::Long(i64::from(value));
        let at_row = |datum: &Datum, place: usize, builder: &mut Builder| match datum.cell(sorted.rows[place] as usize)
        {
            Cell::Null => builder.push_absent(),
            cell => builder.push_cell(cell),
        };
        match &function.kind {
            OverKind::RowNumber => {
                (0..count).for_each(|place| builder.push(long(place as u32 - sorted.partition[place].0 + 1)));
            }
            OverKind::Rank => {
                (0..count).for_each(|place| builder.push(long(sorted.peers[place].0 - sorted.partition[place].0 + 1)));
            }
            OverKind::DenseRank => {
                let mut rank = 0;
                for place in 0..count {
                    let place_ = place as u32;
                    if sorted.partition[place].0 == place_ {
                        rank = 1;
                    } else if sorted.peers[place].0 == place_ {
                        rank += 1;
                    }
                    builder.push(long(rank));
                }
            }
            OverKind::PercentRank => {
                for place in 0..count {
                    let (from, to) = sorted.partition[place];
                    let rank = f64::from(sorted.peers[place].0 - from);
                    builder.push(Value::Real(if to - from > 1 { rank / f64::from(to - from - 1) } else { 0.0 }));
                }
            }
            OverKind::CumeDist => {
                for place in 0..count {
                    let (from, to) = sorted.partition[place];
                    builder.push(Value::Real(f64::from(sorted.peers[place].1 - from) / f64::from(to - from)));
                }
            }
            OverKind::Ntile(buckets) => {
                let buckets = eval(buckets)?;
                for place in 0..count {
                    let (from, to) = sorted.partition[place];
                    let wanted = buckets.cell(sorted.rows[place] as usize).long().unwrap_or(1);
                    if wanted <= 0 {
                        return Err(Error::Sql {
                            state: "22014",
                            message: "argument of ntile must be greater than zero".into(),
                        });
                    }
                    let (rows, at) = (i64::from(to - from), place as i64 - i64::from(from));
                    let (small, larger) = (rows / wanted, rows % wanted);
                    // The first buckets have one row more.
                    let bucket = if at < larger * (small + 1) {
                        at / (small + 1)
                    } else {
                        larger + (at - larger * (small + 1)) / small.max(1)
                    };
                    builder.push(Value::Long(bucket + 1));
                }
            }
            OverKind::Lag { value, by, other } => {
                let (value, by) = (eval(value)?, eval(by)?);
                let other = other.as_ref().map(eval).transpose()?;
                for place in 0..count {
                    let (from, to) = sorted.partition[place];
                    let by = by.cell(sorted.rows[place] as usize).long();
                    let found = by
                        .and_then(|by| (place as i64).checked_sub(by))
                        .filter(|place| (i64::from(from)..i64::from(to)).contains(place));
                    match (found, by, &other) {
                        (Some(found), ..) => at_row(&value, found as usize, &mut builder),
                        (None, Some(_), Some(other)) => at_row(other, place, &mut builder),
                        _ => builder.push_absent(),
                    }
                }
            }
            OverKind::FirstValue(of) | OverKind::LastValue(of) => {
                let values = eval(of)?;
                let first = matches!(function.kind, OverKind::FirstValue(_));
                for place in 0..count {
                    match bounds(&function.frame, sorted, place) {
                        (from, to) if from >= to => builder.push_absent(),
                        (from, to) => at_row(&values, if first { from } else { to - 1 }, &mut builder),
                    }
                }
            }
            OverKind::NthValue(of, n) => {
                let (values, n) = (eval(of)?, eval(n)?);
                for place in 0..count {
                    let (from, to) = bounds(&function.frame, sorted, place);
                    let n = n.cell(sorted.rows[place] as usize).long().unwrap_or(0);
                    match usize::try_from(n - 1).ok().map(|n| from + n).filter(|at| *at < to) {
                        Some(at) => at_row(&values, at, &mut builder),
                        None => builder.push_absent(),
                    }
                }
            }
            OverKind::Aggregate(aggregate) => {
                return self.over_frames(aggregate, &function.frame, ty, chunk, sorted);
            }
        }
        Ok(builder.finish())
    }

    /// An aggregate over the frame of every place.
    fn over_frames(
        &self,
        aggregate: &Aggregate,
        frame: &Bounds,
        ty: Type,
        chunk: &Chunk,
        sorted: &Sorted,
    ) -> Result<Column> {
        let context = self.context();
        // Rows with one frame share its value.
        let mut frames: Vec<(usize, usize)> = Vec::new();
        let mut frame_of: Vec<u32> = Vec::with_capacity(chunk.rows);
        for place in 0..chunk.rows {
            let (from, to) = bounds(frame, sorted, place);
            let bounds = (from, to.max(from));
            if frames.last() != Some(&bounds) {
                frames.push(bounds);
            }
            frame_of.push(frames.len() as u32 - 1);
        }
        let condition = match &aggregate.condition {
            Some(condition) => Some(Program::compile(condition, self)?.eval(chunk, context)?),
            None => None,
        };
        let counts = |place: usize| {
            condition.as_ref().is_none_or(|flags| flags.cell(sorted.rows[place] as usize).bool() == Some(true))
        };
        if let Some(mut running) = Running::of(aggregate.function.name, ty) {
            let value = match aggregate.arguments.first() {
                Some(of) => Some(Program::compile(of, self)?.eval(chunk, context)?),
                None => None,
            };
            let mut builder = Builder::new(ty, frames.len());
            let (mut from, mut to) = (0, 0);
            for (at, bounds) in frames.iter().enumerate() {
                if at % 4_096 == 0 {
                    context.check()?;
                }
                // What the frame before had is kept, if this one begins there and goes on.
                if bounds.0 != from || bounds.1 < to || at == 0 {
                    running.clear();
                    (from, to) = (bounds.0, bounds.0);
                }
                for place in (to..bounds.1).filter(|place| counts(*place)) {
                    match &value {
                        Some(value) => running.add(value.cell(sorted.rows[place] as usize)),
                        None => running.add(Cell::Bool(true)),
                    }
                }
                to = bounds.1;
                builder.push(running.value());
            }
            return Ok(builder.finish().take(&frame_of));
        }
        let total: usize = frames.iter().map(|(from, to)| to - from).sum();
        if total > FRAME_ROWS_MAX {
            return Err(Error::TooManyRows { operator: "window", limit: FRAME_ROWS_MAX as u64 });
        }
        let prepared = Prepared::new(aggregate, self)?;
        let mut states = prepared.accumulator()?;
        states.grow(frames.len());
        let (mut rows, mut groups) = (Vec::new(), Vec::new());
        for (group, (from, to)) in frames.iter().enumerate() {
            rows.extend(&sorted.rows[*from..*to]);
            groups.resize(rows.len(), group as u32);
            if rows.len() >= crate::CHUNK_ROWS || group + 1 == frames.len() {
                context.check()?;
                prepared.feed(&mut *states, &chunk.take(&rows), &groups, context)?;
                rows.clear();
                groups.clear();
            }
        }
        let made = states.finish(prepared.columns());
        Ok(made.last().map(|column| column.take(&frame_of)).unwrap_or_else(|| Column::absent(ty, chunk.rows)))
    }
}

/// The places of a frame: from one, up to before the other.
fn bounds(frame: &Bounds, sorted: &Sorted, place: usize) -> (usize, usize) {
    let (from, to) = sorted.partition[place];
    let within = |at: i64| at.clamp(i64::from(from), i64::from(to)) as usize;
    let start = match frame.start {
        FrameEnd::Unbounded => from as usize,
        FrameEnd::Offset(by) if frame.rows => within((place as i64).saturating_add(by)),
        FrameEnd::Offset(_) => sorted.peers[place].0 as usize,
    };
    let end = match frame.end {
        FrameEnd::Unbounded => to as usize,
        FrameEnd::Offset(by) if frame.rows => within((place as i64).saturating_add(by).saturating_add(1)),
        FrameEnd::Offset(_) => sorted.peers[place].1 as usize,
    };
    (start, end)
}

fn sort(rows: usize, partition: &[Datum], order: &[Datum], over: &Over) -> Sorted {
    let by_partition = |a: u32, b: u32| -> Ordering {
        let each = partition.iter().map(|key| total_order(key.cell(a as usize), key.cell(b as usize)));
        each.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    };
    let by_order = |a: u32, b: u32| -> Ordering {
        let each = order
            .iter()
            .zip(&over.order)
            .map(|(key, how)| order_cells(key.cell(a as usize), key.cell(b as usize), how.descending, how.nulls_first));
        each.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    };
    let mut sorted: Vec<u32> = (0..rows as u32).collect();
    if !partition.is_empty() || !order.is_empty() {
        sorted.sort_by(|a, b| by_partition(*a, *b).then_with(|| by_order(*a, *b)));
    }
    let runs = |same: &dyn Fn(u32, u32) -> bool| -> Vec<(u32, u32)> {
        let mut runs = vec![(0, 0); rows];
        let mut from = 0;
        for place in 0..rows {
            if place + 1 == rows || !same(sorted[place], sorted[place + 1]) {
                runs[from..=place].fill((from as u32, place as u32 + 1));
                from = place + 1;
            }
        }
        runs
    };
    let partitions = runs(&|a, b| by_partition(a, b).is_eq());
    let peers = runs(&|a, b| by_partition(a, b).is_eq() && by_order(a, b).is_eq());
    Sorted { partition: partitions, peers, rows: sorted }
}

/// An aggregate that goes on from frame to frame.
struct Running {
    kind: Kind,
    ty: Type,
    count: i64,
    held: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Count,
    Sum,
    Mean,
    Min,
    Max,
}

impl Running {
    fn of(name: &str, ty: Type) -> Option<Running> {
        let kind = match (name, ty) {
            ("count", _) => Kind::Count,
            ("sum", _) => Kind::Sum,
            ("avg", Type::Real) => Kind::Mean,
            ("min", _) => Kind::Min,
            ("max", _) => Kind::Max,
            _ => return None,
        };
        Some(Running { kind, ty, count: 0, held: Value::Null })
    }

    fn clear(&mut self) {
        self.count = 0;
        self.held = Value::Null;
    }

    fn add(&mut self, cell: Cell) {
        if cell.is_null() {
            return;
        }
        self.count += 1;
        let held = Cell::from(&self.held);
        let next = match self.kind {
            Kind::Count => return,
            Kind::Sum if held.is_null() => cell.to_value(),
            Kind::Sum => arithmetic_one(Binary::Add, held, cell, self.ty),
            Kind::Mean => Value::Real(held.real().unwrap_or(0.0) + cell.real().unwrap_or(0.0)),
            Kind::Min if held.is_null() || cell.compare(held) == Some(Ordering::Less) => cell.to_value(),
            Kind::Max if held.is_null() || cell.compare(held) == Some(Ordering::Greater) => cell.to_value(),
            _ => return,
        };
        self.held = next;
    }

    fn value(&self) -> Value {
        match (self.kind, self.count) {
            (Kind::Count, count) => Value::Long(count),
            (_, 0) => Value::absent(self.ty),
            (Kind::Mean, count) => Value::Real(Cell::from(&self.held).real().unwrap_or(0.0) / count as f64),
            _ => self.held.clone(),
        }
    }
}
