//! `sort` and `top`.

use std::cmp::Ordering;

use gantry_kql::bound::{Rel, SortKey};
use gantry_kql::value::Value;

use super::basic::{in_pieces, whole};
use super::{Flow, Sink};
use crate::chunk::Chunk;
use crate::column::{Cell, Column, ColumnRef, Data, total_order};
use crate::engine::{Frame, Session};
use crate::error::Result;
use crate::expression::{Outer, Program};

/// `top` looks through its rows each time it holds this many more than it needs.
const TOP_SLACK_ROWS: usize = 4 * 1024;

impl Session<'_> {
    /// Sorts, stably, and keeps the first rows of a count.
    pub(super) fn sort(
        &self,
        input: &Rel,
        keys: &[SortKey],
        count: Option<u64>,
        frame: &Frame,
        sink: Sink,
    ) -> Result<Flow> {
        let programs = keys.iter().map(|key| Program::compile(&key.value, self)).collect::<Result<Vec<_>>>()?;
        let context = &**self.context();
        let order = |chunk: Chunk| -> Result<Chunk> {
            let columns = programs
                .iter()
                .map(|program| Ok(program.eval(&chunk, context)?.into_column(program.ty(), chunk.rows)))
                .collect::<Result<Vec<ColumnRef>>>()?;
            let mut rows: Vec<u32> = (0..chunk.rows as u32).collect();
            sort_rows(&mut rows, &columns, keys);
            if let Some(count) = count {
                rows.truncate(count.min(chunk.rows as u64) as usize);
            }
            Ok(chunk.take(&rows))
        };
        let Some(count) = count else {
            let chunk = whole(&input.schema, self.collect(input, frame, "sort")?);
            return in_pieces(&order(chunk)?, sink);
        };
        // What cannot be among the first any more is let go on the way.
        let better = |chunk: Chunk, worst: &Value| -> Result<Chunk> {
            let values = programs[0].eval(&chunk, context)?;
            let worst = Cell::from(worst);
            let order =
                |row: &u32| order_cells(values.cell(*row as usize), worst, keys[0].descending, keys[0].nulls_first);
            // Of rows that are alike in the only key, the first ones stay.
            let may_be = |row: &u32| if keys.len() == 1 { order(row).is_lt() } else { order(row).is_le() };
            let rows: Vec<u32> = (0..chunk.rows as u32).filter(may_be).collect();
            Ok(if rows.len() == chunk.rows { chunk } else { chunk.take(&rows) })
        };
        let feed = |best: &mut Best, chunk: Chunk| {
            let chunk = match &best.worst {
                Some(worst) => better(chunk, worst)?,
                None => chunk,
            };
            if chunk.rows == 0 {
                return Ok(());
            }
            chunk.settle();
            best.rows += chunk.rows;
            best.held.push(chunk);
            if best.rows > (count as usize).saturating_add(TOP_SLACK_ROWS) {
                let first = order(whole(&input.schema, std::mem::take(&mut best.held)))?;
                best.rows = first.rows;
                if let Some(last) = first.rows.checked_sub(1) {
                    best.worst = Some(programs[0].eval(&first, context)?.cell(last).to_value());
                }
                best.held.push(first);
            }
            Ok(())
        };
        let held = match self.beside(input, frame, || Ok(Best::default()), feed)? {
            Some(shares) => shares.into_iter().flat_map(|best| best.held).collect(),
            None => {
                let mut best = Best::default();
                self.run(input, frame, &mut |chunk| feed(&mut best, chunk).map(|()| Flow::More))?;
                best.held
            }
        };
        in_pieces(&order(whole(&input.schema, held))?, sink)
    }
}

/// The rows that may be among the first.
#[derive(Default)]
struct Best {
    held: Vec<Chunk>,
    rows: usize,
    /// The first key of the last row that is among them so far; what comes behind it is not looked at further.
    worst: Option<Value>,
}

fn sort_rows(rows: &mut [u32], columns: &[ColumnRef], keys: &[SortKey]) {
    if let ([column], [key]) = (columns, keys)
        && let (Data::Long(values), None) = (column.data(), column.nulls())
    {
        if key.descending {
            rows.sort_by_key(|row| std::cmp::Reverse(values[*row as usize]));
        } else {
            rows.sort_by_key(|row| values[*row as usize]);
        }
        return;
    }
    rows.sort_by(|a, b| {
        columns
            .iter()
            .zip(keys)
            .map(|(column, key)| compare(column, *a as usize, *b as usize, key))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    });
}

fn compare(column: &Column, a: usize, b: usize, key: &SortKey) -> Ordering {
    order_cells(column.cell(a), column.cell(b), key.descending, key.nulls_first)
}

/// The order of two cells under a key. NaN goes with the nulls.
pub fn order_cells(a: Cell, b: Cell, descending: bool, nulls_first: bool) -> Ordering {
    let is_missing = |cell: Cell| match cell {
        Cell::Null => true,
        Cell::Real(value) => value.is_nan(),
        _ => false,
    };
    match (is_missing(a), is_missing(b)) {
        (true, true) => Ordering::Equal,
        (true, false) if nulls_first => Ordering::Less,
        (true, false) => Ordering::Greater,
        (false, true) if nulls_first => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) if descending => total_order(b, a),
        (false, false) => total_order(a, b),
    }
}
