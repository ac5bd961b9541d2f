//! `make-series`: rows in bins along an axis become arrays.

use std::sync::Arc;

use gantry_kql::bound::{MakeSeries, Schema, Slot};
use gantry_kql::value::{Dynamic, Type, Value};

use super::basic::in_pieces;
use super::{Flow, Sink};
use crate::aggregates::{Accumulator, Prepared};
use crate::chunk::Chunk;
use crate::column::{Cell, Column, ColumnRef, ticks_value};
use crate::context::Context;
use crate::engine::{Frame, Session};
use crate::error::{Error, Result};
use crate::expression::{Datum, Outer, Program, compile_all};
use crate::groups::Groups;

/// Where bins begin, how wide they are and how many there are. Numbers count from the first bin.
struct Axis {
    ty: Type,
    start: f64,
    step: f64,
    start_ticks: i64,
    step_ticks: i64,
    bins: usize,
}

impl Axis {
    /// The bin of a value; none when it lies outside.
    fn bin(&self, cell: Cell) -> Option<usize> {
        let at = match cell {
            Cell::DateTime(value) | Cell::TimeSpan(value) | Cell::Long(value) if self.ty != Type::Real => {
                value.checked_sub(self.start_ticks)?.div_euclid(self.step_ticks)
            }
            Cell::Int(value) if self.ty != Type::Real => {
                i64::from(value).checked_sub(self.start_ticks)?.div_euclid(self.step_ticks)
            }
            cell => ((cell.number()? - self.start) / self.step + 1e-9).floor() as i64,
        };
        usize::try_from(at).ok().filter(|at| *at < self.bins)
    }

    fn values(&self) -> Vec<Dynamic> {
        (0..self.bins)
            .map(|at| match self.ty {
                Type::Real | Type::Decimal => Dynamic::Real(self.start + self.step * at as f64),
                ty => ticks_value(ty, self.start_ticks + self.step_ticks * at as i64).into_dynamic(),
            })
            .collect()
    }
}

/// Rows in their bins. A group is a key and a bin: its number tells both.
struct Bins<'a> {
    keys: &'a [Program],
    aggregates: &'a [Prepared],
    groups: Groups,
    cells: Groups,
    states: Vec<Box<dyn Accumulator>>,
    /// The key and the bin of each cell.
    series_of_cell: Vec<(usize, usize)>,
    any_rows: bool,
    held: usize,
}

impl<'a> Bins<'a> {
    fn new(keys: &'a [Program], aggregates: &'a [Prepared]) -> Result<Bins<'a>> {
        Ok(Bins {
            keys,
            aggregates,
            groups: Groups::new(keys.iter().map(Program::ty).collect()),
            cells: Groups::new(vec![Type::Long]),
            states: aggregates.iter().map(Prepared::accumulator).collect::<Result<_>>()?,
            series_of_cell: Vec::new(),
            any_rows: false,
            held: 0,
        })
    }

    /// Takes the rows of a chunk, whose values on the axis are given.
    fn feed(&mut self, axis: &Axis, chunk: &Chunk, column: &Column, context: &Context) -> Result<()> {
        self.any_rows |= chunk.rows > 0;
        let bins: Vec<Option<usize>> = (0..chunk.rows).map(|row| axis.bin(column.cell(row))).collect();
        let rows: Vec<u32> = (0..chunk.rows as u32).filter(|row| bins[*row as usize].is_some()).collect();
        let chunk = chunk.take(&rows);
        let keys = self.keys.iter().map(|key| key.eval(&chunk, context)).collect::<Result<Vec<_>>>()?;
        let of_key = if keys.is_empty() { vec![0; chunk.rows] } else { self.groups.of_rows(&keys, chunk.rows) };
        let number = |(row, key): (&u32, &u32)| (*key as usize, bins[*row as usize].unwrap_or(0));
        let of_cell = self.find_cells(axis, rows.iter().zip(&of_key).map(number).collect());
        for (aggregate, state) in self.aggregates.iter().zip(&mut self.states) {
            state.grow(self.series_of_cell.len());
            aggregate.feed(&mut **state, &chunk, &of_cell, context)?;
        }
        self.hold(context)
    }

    /// The cell of each key and bin; new ones are made.
    fn find_cells(&mut self, axis: &Axis, wanted: Vec<(usize, usize)>) -> Vec<u32> {
        let numbers: Vec<i64> = wanted.iter().map(|(key, bin)| (key * axis.bins + bin) as i64).collect();
        let found = self.cells.of_rows(&[Datum::Many(Arc::new(Column::from(numbers)))], wanted.len());
        for (cell, one) in found.iter().zip(wanted) {
            if *cell as usize == self.series_of_cell.len() {
                self.series_of_cell.push(one);
            }
        }
        found
    }

    /// Takes what another thread has put into bins.
    fn absorb(&mut self, axis: &Axis, other: Bins, context: &Context) -> Result<()> {
        self.any_rows |= other.any_rows;
        let keys: Vec<Datum> = other.groups.columns().into_iter().map(|key| Datum::Many(Arc::new(key))).collect();
        let of_key = if keys.is_empty() { vec![0] } else { self.groups.of_rows(&keys, other.groups.len()) };
        let wanted = other.series_of_cell.iter().map(|(key, bin)| (of_key[*key] as usize, *bin)).collect();
        let map = self.find_cells(axis, wanted);
        for (state, mut theirs) in self.states.iter_mut().zip(other.states) {
            state.grow(self.series_of_cell.len());
            theirs.grow(map.len());
            state.merge(theirs, &map);
        }
        context.release(other.held);
        self.hold(context)
    }

    fn hold(&mut self, context: &Context) -> Result<()> {
        let states = self.states.iter().map(|state| state.size()).sum::<usize>();
        let size = self.groups.size() + self.cells.size() + states + self.series_of_cell.len() * 16;
        context.hold("make-series", size.saturating_sub(self.held))?;
        self.held = self.held.max(size);
        Ok(())
    }
}

impl Session<'_> {
    pub(super) fn make_series(&self, schema: &Schema, series: &MakeSeries, frame: &Frame, sink: Sink) -> Result<Flow> {
        let axis_program = Program::compile(&series.axis, self)?;
        let keys = compile_all(&series.keys, self)?;
        let aggregates = series.aggregates.iter().map(|one| Prepared::new(one, self)).collect::<Result<Vec<_>>>()?;
        let context = &**self.context();
        let on_axis = |chunk: &Chunk| -> Result<ColumnRef> {
            Ok(axis_program.eval(chunk, context)?.into_column(axis_program.ty(), chunk.rows))
        };
        let (axis, bins) = if series.from.is_some() && series.to.is_some() {
            // Where the axis is known, rows are let go as they come.
            let Some(axis) = self.axis(series, axis_program.ty(), &[])? else { return Ok(Flow::More) };
            let begin = || Bins::new(&keys, &aggregates);
            let feed = |bins: &mut Bins, chunk: Chunk| {
                let column = on_axis(&chunk)?;
                bins.feed(&axis, &chunk, &column, context)
            };
            let mut shares = self.beside(&series.input, frame, begin, feed)?.unwrap_or_default().into_iter();
            let bins = if let Some(mut bins) = shares.next() {
                shares.try_for_each(|share| bins.absorb(&axis, share, context))?;
                bins
            } else {
                let mut bins = begin()?;
                self.run(&series.input, frame, &mut |chunk| feed(&mut bins, chunk).map(|()| Flow::More))?;
                bins
            };
            (axis, bins)
        } else {
            let chunks = self.collect(&series.input, frame, "make-series")?;
            let axes = chunks.iter().map(on_axis).collect::<Result<Vec<ColumnRef>>>()?;
            let Some(axis) = self.axis(series, axis_program.ty(), &axes)? else { return Ok(Flow::More) };
            let mut bins = Bins::new(&keys, &aggregates)?;
            for (chunk, column) in chunks.iter().zip(&axes) {
                context.check()?;
                bins.feed(&axis, chunk, column, context)?;
            }
            (axis, bins)
        };
        let Bins { groups, states, series_of_cell, any_rows, held, .. } = bins;
        let count = if keys.is_empty() { usize::from(any_rows || series.nonempty) } else { groups.len() };
        if count.saturating_mul(axis.bins).saturating_mul(series.series.len().max(1)) > 1 << 28 {
            return Err(Error::TooManyRows { operator: "make-series", limit: 1 << 28 });
        }

        let mut columns: Vec<Column> = Vec::new();
        for (aggregate, mut state) in aggregates.iter().zip(states) {
            state.grow(series_of_cell.len());
            columns.extend(state.finish(aggregate.columns()));
        }
        let binned = Chunk::of(columns, series_of_cell.len());
        let mut made: Vec<ColumnRef> = Vec::new();
        for one in &series.series {
            let program = Program::compile(&one.value, self)?;
            let values = program.eval(&binned, self.context())?;
            let default = match &one.default {
                Some(default) => self.value(default)?.into_dynamic(),
                None => zero(one.value.ty),
            };
            let mut arrays = vec![vec![default; axis.bins]; count];
            for (cell, (key, bin)) in series_of_cell.iter().enumerate() {
                arrays[*key][*bin] = values.cell(cell).to_dynamic();
            }
            let arrays: Vec<Dynamic> = arrays.into_iter().map(Dynamic::Array).collect();
            made.push(Arc::new(Column::from(arrays)));
        }
        made.push(Arc::new(Column::from(vec![Dynamic::Array(axis.values()); count])));
        let key_columns: Vec<ColumnRef> =
            if keys.is_empty() { Vec::new() } else { groups.columns().into_iter().map(Arc::new).collect() };
        let outputs = series.outputs.iter().map(|slot| match slot {
            Slot::Input(at) => Arc::clone(&key_columns[*at]),
            Slot::Made(at) => Arc::clone(&made[*at]),
        });
        debug_assert_eq!(series.outputs.len(), schema.columns.len());
        context.release(held);
        in_pieces(&Chunk::new(outputs.collect(), count), sink)
    }

    /// The axis: given, or from the values of the rows. None when there is nothing to take it from.
    fn axis(&self, series: &MakeSeries, ty: Type, axes: &[ColumnRef]) -> Result<Option<Axis>> {
        let end = |expr: &Option<gantry_kql::bound::Expr>| expr.as_ref().map(|expr| self.value(expr)).transpose();
        let (from, to, step) = (end(&series.from)?, end(&series.to)?, self.value(&series.step)?);
        let extreme = |wanted: std::cmp::Ordering| -> Option<Value> {
            let mut best: Option<Value> = None;
            for column in axes {
                for row in 0..column.len() {
                    let cell = column.cell(row);
                    let better = match &best {
                        _ if cell.is_null() => false,
                        None => true,
                        Some(held) => cell.compare(Cell::from(held)) == Some(wanted),
                    };
                    if better {
                        best = Some(cell.to_value());
                    }
                }
            }
            best
        };
        let real = matches!(ty, Type::Real | Type::Decimal) || matches!(step, Value::Real(_)) && ty == Type::Real;
        let number = |value: &Value| match Cell::from(value) {
            Cell::DateTime(ticks) | Cell::TimeSpan(ticks) => Some(ticks as f64),
            cell => cell.number(),
        };
        let ticks = |value: &Value| match Cell::from(value) {
            Cell::DateTime(ticks) | Cell::TimeSpan(ticks) | Cell::Long(ticks) => Some(ticks),
            cell => cell.number().map(|value| value as i64),
        };
        let wrong = |what: &str| Error::Evaluation(format!("make-series: {what}"));
        let size = number(&step).filter(|size| *size > 0.0).ok_or_else(|| wrong("the step must be positive"))?;
        let open_end = to.is_none();
        let Some(low) = from.clone().or_else(|| extreme(std::cmp::Ordering::Less)) else { return Ok(None) };
        let Some(high) = to.or_else(|| extreme(std::cmp::Ordering::Greater)) else { return Ok(None) };
        let aligned = series.inclusive || from.is_none();
        let bins;
        let axis = if real {
            let (Some(mut low), Some(high)) = (number(&low), number(&high)) else { return Ok(None) };
            if aligned {
                low = (low / size).floor() * size;
            }
            let width = (high - low) / size;
            bins = if open_end || series.inclusive { (width + 1e-9).floor() + 1.0 } else { (width - 1e-9).ceil() };
            Axis { ty: Type::Real, start: low, step: size, start_ticks: 0, step_ticks: 1, bins: 0 }
        } else {
            let (Some(mut low), Some(high), Some(step)) = (ticks(&low), ticks(&high), ticks(&step)) else {
                return Ok(None);
            };
            if step <= 0 {
                return Err(wrong("the step must be positive"));
            }
            if aligned {
                low = low.div_euclid(step).wrapping_mul(step);
            }
            let width = (i128::from(high) - i128::from(low)) as f64;
            let whole = (i128::from(high) - i128::from(low)).div_euclid(i128::from(step));
            let exact = (i128::from(high) - i128::from(low)).rem_euclid(i128::from(step)) == 0;
            bins = if open_end || series.inclusive {
                whole as f64 + 1.0
            } else {
                whole as f64 + f64::from(u8::from(!exact))
            };
            debug_assert!(width.is_finite());
            Axis { ty, start: low as f64, step: size, start_ticks: low, step_ticks: step, bins: 0 }
        };
        if bins <= 0.0 {
            return Err(wrong("the end lies before the start"));
        }
        let most = self.context().limits.expanded_max;
        if bins > most as f64 {
            return Err(Error::TooManyRows { operator: "make-series", limit: most });
        }
        Ok(Some(Axis { bins: bins as usize, ..axis }))
    }
}

/// What a bin without rows has when nothing is said: zero, or null where there is none.
fn zero(ty: Type) -> Dynamic {
    match ty {
        Type::Real => Dynamic::Real(0.0),
        Type::Int | Type::Long => Dynamic::Long(0),
        Type::Decimal => Dynamic::Decimal(gantry_kql::value::Decimal::from(0)),
        Type::Bool => Dynamic::Bool(false),
        Type::String => Dynamic::String(String::new()),
        Type::TimeSpan => Dynamic::TimeSpan(gantry_kql::value::TimeSpan(0)),
        _ => Dynamic::Null,
    }
}
