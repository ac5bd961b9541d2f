//! A table that is written into, as queries see it.

use std::collections::HashMap;
use std::sync::Arc;

use gantry_kql::bound::Column as SchemaColumn;
use gantry_kql::value::Type;

use super::{Extent, Snapshot, TableDefinition, TableStore};
use crate::chunk::Chunk;
use crate::column::{Column, ColumnRef};
use crate::context::Context;
use crate::engine::Part;
use crate::error::Result;
use crate::operators::Flow;
use crate::pushdown::{Need, Range};

/// One table of a snapshot.
pub struct StoredTable<'a> {
    /// Where it is kept.
    pub store: &'a dyn TableStore,
    /// When it is looked at.
    pub snapshot: &'a Snapshot,
    /// The table.
    pub definition: &'a TableDefinition,
}

impl<'a> StoredTable<'a> {
    /// The extents that a query may find something in, each a piece of its own.
    pub fn parts(&self, need: &'a Need, context: &'a Context) -> Vec<Part<'a>> {
        let (store, columns) = (self.store, self.definition.ids());
        let extents = self.snapshot.extents_of(self.definition.id).iter().rev();
        let wanted = extents.filter(|extent| !is_outside(extent, &columns, need));
        let part = |extent: &'a Arc<Extent>| -> Part<'a> {
            let columns = columns.clone();
            Box::new(move |sink| scan_extents(store, std::iter::once(extent), &columns, need, context, sink))
        };
        wanted.map(part).collect()
    }

    /// Its columns.
    pub fn columns(&self) -> Vec<SchemaColumn> {
        self.definition.schema()
    }

    /// Calls for its rows, the newest extents first: what `take` shows is what came last.
    ///
    /// # Errors
    /// When rows cannot be read, and what the sink returns.
    pub fn scan(&self, need: &Need, context: &Context, sink: &mut dyn FnMut(Chunk) -> Result<Flow>) -> Result<Flow> {
        let extents = self.snapshot.extents_of(self.definition.id);
        scan_extents(self.store, extents.iter().rev(), &self.definition.ids(), need, context, sink)
    }
}

/// Whether nothing of an extent is what a query looks for.
fn is_outside(extent: &Extent, columns: &[(u64, Type)], need: &Need) -> bool {
    need.ranges.iter().any(|range| extent.misses(columns[range.column].0, range))
}

/// Calls for the rows of extents with these columns; those that a query does not look at are absent.
pub(crate) fn scan_extents<'e>(
    store: &dyn TableStore,
    extents: impl Iterator<Item = &'e Arc<Extent>>,
    columns: &[(u64, Type)],
    need: &Need,
    context: &Context,
    sink: &mut dyn FnMut(Chunk) -> Result<Flow>,
) -> Result<Flow> {
    let used: Vec<usize> = (0..columns.len()).filter(|at| need.uses(*at)).collect();
    let wanted: Vec<(u64, Type)> = used.iter().map(|at| columns[*at]).collect();
    let ranges: Vec<Range> = need
        .ranges
        .iter()
        .filter_map(|range| {
            let column = used.iter().position(|at| *at == range.column)?;
            Some(Range { column, ..range.clone() })
        })
        .collect();
    let mut absent: HashMap<usize, ColumnRef> = HashMap::new();
    for extent in extents {
        context.check()?;
        if is_outside(extent, columns, need) {
            continue;
        }
        let flow = store.read(extent, &wanted, &ranges, context, &mut |chunk| {
            let mut found = chunk.columns.into_iter();
            let column = |(at, (_, ty)): (usize, &(u64, Type))| match need.uses(at).then(|| found.next()).flatten() {
                Some(column) => column,
                // Nobody looks at it: one of the length stands in its place in every chunk.
                None => match absent.get(&at).filter(|column| column.len() == chunk.rows) {
                    Some(column) => Arc::clone(column),
                    None => {
                        let column = Arc::new(Column::absent(*ty, chunk.rows));
                        absent.insert(at, Arc::clone(&column));
                        column
                    }
                },
            };
            let all = columns.iter().enumerate().map(column).collect();
            sink(Chunk::new(all, chunk.rows))
        })?;
        if flow == Flow::Enough {
            return Ok(Flow::Enough);
        }
    }
    Ok(Flow::More)
}
