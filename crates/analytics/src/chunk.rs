//! Rows on their way between operators: columns of one length.

use std::sync::Arc;

use gantry_kql::bound::Schema;

use crate::column::{Column, ColumnRef, Place, gather, total_order};

/// How many rows operators hand on at once, about: enough to pay for the call, few enough for the caches.
pub const CHUNK_ROWS: usize = 16 * 1024;

/// Rows.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// The columns, each of `rows` values.
    pub columns: Vec<ColumnRef>,
    /// How many rows. There may be rows without columns.
    pub rows: usize,
}

impl Chunk {
    /// Rows of columns.
    pub fn new(columns: Vec<ColumnRef>, rows: usize) -> Chunk {
        debug_assert!(columns.iter().all(|column| column.len() == rows));
        Chunk { columns, rows }
    }

    /// Rows of columns that nobody shares yet.
    pub fn of(columns: Vec<Column>, rows: usize) -> Chunk {
        Chunk::new(columns.into_iter().map(Arc::new).collect(), rows)
    }

    /// One row without columns: what expressions without columns are evaluated over.
    pub fn unit() -> Chunk {
        Chunk { columns: Vec::new(), rows: 1 }
    }

    /// The rows at some places, in their order.
    pub fn take(&self, rows: &[u32]) -> Chunk {
        Chunk { columns: self.columns.iter().map(|column| Arc::new(column.take(rows))).collect(), rows: rows.len() }
    }

    /// A run of rows.
    pub fn slice(&self, from: usize, rows: usize) -> Chunk {
        if from == 0 && rows == self.rows {
            return self.clone();
        }
        Chunk { columns: self.columns.iter().map(|column| Arc::new(column.slice(from, rows))).collect(), rows }
    }

    /// Reads the columns that are not read yet: what holds rows holds no way to read them.
    pub fn settle(&self) {
        self.columns.iter().for_each(|column| column.settle());
    }

    /// About how many bytes it holds.
    pub fn size(&self) -> usize {
        self.columns.iter().map(|column| column.size()).sum()
    }
}

/// Gathers rows out of several chunks of one schema.
pub fn gather_rows(schema: &Schema, chunks: &[Chunk], places: &[Place]) -> Chunk {
    let columns = (0..schema.columns.len()).map(|at| gather_column(schema, chunks, at, places)).collect();
    Chunk::of(columns, places.len())
}

fn gather_column(schema: &Schema, chunks: &[Chunk], at: usize, places: &[Place]) -> Column {
    let parts: Vec<&Column> = chunks.iter().map(|chunk| &*chunk.columns[at]).collect();
    gather(schema.columns[at].ty, &parts, places)
}

/// Rows of several chunks as one, sorted by some of the columns: nulls first, stably.
pub fn sorted_rows(columns: &[gantry_kql::bound::Column], chunks: &[Chunk], by: &[usize]) -> Chunk {
    let chunk = gather_rows(&Schema::of(columns.to_vec()), chunks, &places(chunks));
    let mut rows: Vec<u32> = (0..chunk.rows as u32).collect();
    rows.sort_by(|a, b| {
        let order = |at: &usize| {
            let column = &chunk.columns[*at];
            total_order(column.cell(*a as usize), column.cell(*b as usize))
        };
        by.iter().map(order).find(|order| order.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
    });
    chunk.take(&rows)
}

/// Every place of some chunks, in order.
pub fn places(chunks: &[Chunk]) -> Vec<Place> {
    let rows = chunks.iter().map(|chunk| chunk.rows).sum();
    let mut places = Vec::with_capacity(rows);
    for (part, chunk) in chunks.iter().enumerate() {
        places.extend((0..chunk.rows as u32).map(|row| Place { part: part as u32, row }));
    }
    places
}
