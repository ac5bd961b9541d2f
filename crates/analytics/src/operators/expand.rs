//! `mv-expand` and `mv-apply`.

use std::sync::Arc;

use gantry_kql::bound::{MvExpand, Rel, Schema, Slot};
use gantry_kql::value::{Bag, Dynamic, Type, Value};

use super::{Flow, Sink};
use crate::chunk::{CHUNK_ROWS, Chunk};
use crate::column::{Builder, Cell, Column, ColumnRef};
use crate::engine::{Frame, Session};
use crate::error::{Error, Result};
use crate::expression::{Datum, Outer, Program};

/// Rows that all rows of a chunk may expand to together, before they are handed on.
const EXPANDED_ROWS: usize = 4 * CHUNK_ROWS;

/// What a chunk expands to: which row each new row came from, and the columns that were made.
struct Expanded {
    from: Vec<u32>,
    made: Vec<Column>,
}

impl Session<'_> {
    pub(super) fn mv_expand(&self, schema: &Schema, expand: &MvExpand, frame: &Frame, sink: Sink) -> Result<Flow> {
        let programs = self.expand_programs(expand)?;
        let limit = self.expand_limit(expand)?;
        self.run(&expand.input, frame, &mut |chunk| {
            for part in pieces(&chunk) {
                let expanded = self.expand(expand, &programs, limit, &part)?;
                if expanded.from.is_empty() {
                    continue;
                }
                if sink(assemble(schema, &expand.outputs, &part, expanded))? == Flow::Enough {
                    return Ok(Flow::Enough);
                }
            }
            Ok(Flow::More)
        })
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of the operator")]
    pub(super) fn mv_apply(
        &self,
        schema: &Schema,
        expand: &MvExpand,
        expanded_schema: &Schema,
        body: &Arc<Rel>,
        outputs: &[Slot],
        frame: &Frame,
        sink: Sink,
    ) -> Result<Flow> {
        let programs = self.expand_programs(expand)?;
        let limit = self.expand_limit(expand)?;
        self.run(&expand.input, frame, &mut |chunk| {
            for row in 0..chunk.rows {
                let one = chunk.slice(row, 1);
                let expanded = self.expand(expand, &programs, limit, &one)?;
                let rows = assemble(expanded_schema, &expand.outputs, &one, expanded);
                let inner = Frame { input: Some(Arc::new(vec![rows])) };
                let flow = self.run(body, &inner, &mut |made| {
                    let columns = outputs.iter().map(|slot| match slot {
                        Slot::Input(at) => Arc::new(one.columns[*at].take(&vec![0; made.rows])),
                        Slot::Made(at) => Arc::clone(&made.columns[*at]),
                    });
                    debug_assert_eq!(outputs.len(), schema.columns.len());
                    sink(Chunk::new(columns.collect(), made.rows))
                })?;
                if flow == Flow::Enough {
                    // A `take` within the body ends the body, not the operator: it stopped its own input.
                    continue;
                }
            }
            Ok(Flow::More)
        })
    }

    fn expand_programs(&self, expand: &MvExpand) -> Result<Vec<Program>> {
        expand.items.iter().map(|item| Program::compile(&item.value, self)).collect()
    }

    fn expand_limit(&self, expand: &MvExpand) -> Result<usize> {
        match &expand.limit {
            Some(limit) => Ok(self.count(limit)?.min(1 << 31) as usize),
            None => Ok(usize::MAX),
        }
    }

    fn expand(&self, expand: &MvExpand, programs: &[Program], limit: usize, chunk: &Chunk) -> Result<Expanded> {
        let values =
            programs.iter().map(|program| program.eval(chunk, self.context())).collect::<Result<Vec<Datum>>>()?;
        let types: Vec<Type> = expand.items.iter().map(|item| item.to.unwrap_or(Type::Dynamic)).collect();
        let mut builders: Vec<Builder> = types.iter().map(|ty| Builder::new(*ty, chunk.rows)).collect();
        let (mut from, mut index) = (Vec::new(), Builder::new(Type::Long, chunk.rows));
        let most = self.context().limits.expanded_max as usize;
        for row in 0..chunk.rows {
            let cells: Vec<Cell> = values.iter().map(|value| value.cell(row)).collect();
            let rows = cells.iter().map(|cell| length(*cell)).max().unwrap_or(0).min(limit);
            if from.len() + rows > most.max(EXPANDED_ROWS) * 16 {
                return Err(Error::TooManyRows { operator: "mv-expand", limit: most as u64 });
            }
            for at in 0..rows {
                from.push(row as u32);
                index.push(Value::Long(at as i64));
                for ((cell, builder), ty) in cells.iter().zip(&mut builders).zip(&types) {
                    let element = element(*cell, at, expand.entries_as_arrays);
                    match ty {
                        Type::Dynamic => builder.push(Value::Dynamic(element)),
                        ty => builder.push(conforming(&element, *ty)),
                    }
                }
            }
        }
        let mut made: Vec<Column> = builders.into_iter().map(Builder::finish).collect();
        made.push(index.finish());
        Ok(Expanded { from, made })
    }
}

/// Small pieces of a chunk: each row may become very many.
fn pieces(chunk: &Chunk) -> Vec<Chunk> {
    const PIECE: usize = 1_024;
    (0..chunk.rows.div_ceil(PIECE)).map(|at| chunk.slice(at * PIECE, PIECE.min(chunk.rows - at * PIECE))).collect()
}

fn assemble(schema: &Schema, outputs: &[Slot], chunk: &Chunk, expanded: Expanded) -> Chunk {
    let rows = expanded.from.len();
    let made: Vec<ColumnRef> = expanded.made.into_iter().map(Arc::new).collect();
    let columns = outputs.iter().map(|slot| match slot {
        Slot::Input(at) => Arc::new(chunk.columns[*at].take(&expanded.from)),
        Slot::Made(at) => Arc::clone(&made[*at]),
    });
    debug_assert_eq!(outputs.len(), schema.columns.len());
    Chunk::new(columns.collect(), rows)
}

/// Rows that a value expands to: null is one row, an empty array or bag none, a scalar one.
fn length(cell: Cell) -> usize {
    match cell {
        Cell::Dynamic(Dynamic::Array(items)) => items.len(),
        Cell::Dynamic(Dynamic::Bag(bag)) => bag.len(),
        _ => 1,
    }
}

fn element(cell: Cell, at: usize, entries_as_arrays: bool) -> Dynamic {
    match cell {
        Cell::Dynamic(Dynamic::Array(items)) => items.get(at).cloned().unwrap_or(Dynamic::Null),
        Cell::Dynamic(Dynamic::Bag(bag)) => match bag.iter().nth(at) {
            Some((name, value)) if entries_as_arrays => {
                Dynamic::Array(vec![Dynamic::String(name.to_owned()), value.clone()])
            }
            Some((name, value)) => Dynamic::Bag(Bag::from_entries(vec![(name.to_owned(), value.clone())])),
            None => Dynamic::Null,
        },
        cell if at == 0 => cell.to_dynamic(),
        _ => Dynamic::Null,
    }
}

/// An element as a value of a type: cast, not read from text.
fn conforming(element: &Dynamic, ty: Type) -> Value {
    let cell = Cell::from(element);
    match (ty, cell) {
        (Type::String, cell) => Value::String(cell.text().into_owned()),
        (_, Cell::Null) => Value::Null,
        (ty, cell) => cell.cast(ty),
    }
}
