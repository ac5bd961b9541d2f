//! Tables that are written into: what is known of them, and the port behind which their rows are kept.
//!
//! A [`Snapshot`] is everything at one instant: the [`Definitions`] (tables, functions, views, policies...), the
//! [`Extent`]s that hold the rows of each table, and how far tables that are fed from a log have been fed. It changes
//! as a whole or not at all ([`TableStore::change`]): rows, their tags and the place they were read up to are committed
//! together, so that after a crash nothing is lost and nothing is there twice.

pub(crate) mod caching;
mod definitions;
pub mod maintenance;
mod memory;
mod stored;

use std::collections::BTreeMap;
use std::sync::Arc;

use gantry_kql::value::Type;

use crate::chunk::Chunk;
use crate::context::Context;
use crate::error::Result;
use crate::operators::Flow;
use crate::pushdown::Range;

pub use caching::{Caching, ColdPlace};
pub use definitions::{
    Artifact, ColumnDefinition, Definitions, ExportDefinition, ExportFailure, ExternalTableDefinition,
    FunctionDefinition, Mapping, Role, TableDefinition, ViewDefinition,
};
pub use memory::MemoryStore;
pub use stored::StoredTable;
pub(crate) use stored::scan_extents;

/// Begins a tag that only we see: the name of a request whose data came in.
pub(crate) const REQUEST_TAG: &str = "request-id:";

/// Everything at one instant.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Grows by one with every change.
    pub version: u64,
    /// What there is.
    pub definitions: Definitions,
    /// The rows of tables, by the id of the table.
    pub extents: BTreeMap<u64, Arc<Vec<Arc<Extent>>>>,
    /// How far tables that are fed from a log were fed: the next event of each partition, by the id of the table.
    pub cursors: BTreeMap<u64, Vec<u64>>,
}

impl Snapshot {
    /// The extents of a table.
    pub fn extents_of(&self, table: u64) -> &[Arc<Extent>] {
        self.extents.get(&table).map_or(&[], |extents| extents)
    }

    /// Adds an extent to a table.
    pub fn add(&mut self, table: u64, extent: Arc<Extent>) {
        Arc::make_mut(self.extents.entry(table).or_default()).push(extent);
    }

    /// Puts a copy of an extent that is kept elsewhere in the extent's place; answers whether the table still has it.
    pub fn replace(&mut self, table: u64, copy: &Arc<Extent>) -> bool {
        let at = self.extents_of(table).iter().position(|extent| extent.id == copy.id);
        if let (Some(at), Some(extents)) = (at, self.extents.get_mut(&table)) {
            Arc::make_mut(extents)[at] = Arc::clone(copy);
        }
        at.is_some()
    }

    /// Keeps the extents of a table for which a function answers true.
    pub fn retain(&mut self, table: u64, keep: impl FnMut(&Arc<Extent>) -> bool) {
        if let Some(extents) = self.extents.get_mut(&table) {
            Arc::make_mut(extents).retain(keep);
            if extents.is_empty() {
                self.extents.remove(&table);
            }
        }
    }
}

/// The smallest and the largest value of a column in an extent, nulls left out: ticks, whole numbers, reals or texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The column.
    pub column: u64,
    /// The smallest.
    pub low: gantry_kql::value::Value,
    /// The largest.
    pub high: gantry_kql::value::Value,
}

/// Rows of one table that were written together and never change.
pub struct Extent {
    /// Its name, a guid.
    pub id: String,
    /// How many rows.
    pub rows: u64,
    /// Bytes at rest.
    pub bytes: u64,
    /// When its rows came, in ticks (`ingestion_time()`; retention counts from here).
    pub created: i64,
    /// What was given with them (`drop-by:...`, `ingest-by:...`).
    pub tags: Vec<String>,
    /// The columns that it has. A column of the table that is not among them is absent in its rows.
    pub columns: Vec<(u64, Type)>,
    /// Values that are in it, for the columns they are known of.
    pub spans: Vec<Span>,
    /// Where its file is in the [`ColdPlace`]; nothing when it is hot, that is: here.
    pub cold: Option<String>,
    /// What the store needs to find it, and what happens when nobody knows of it any more.
    pub kept: Box<dyn std::any::Any + Send + Sync>,
}

impl Extent {
    /// The same rows, kept elsewhere.
    pub fn moved(&self, cold: Option<String>, kept: Box<dyn std::any::Any + Send + Sync>) -> Extent {
        Extent {
            id: self.id.clone(),
            rows: self.rows,
            bytes: self.bytes,
            created: self.created,
            tags: self.tags.clone(),
            columns: self.columns.clone(),
            spans: self.spans.clone(),
            cold,
            kept,
        }
    }

    /// Whether none of its rows has a value of a column within a range, as far as is known.
    pub fn misses(&self, column: u64, range: &Range) -> bool {
        self.spans.iter().any(|span| span.column == column && range.misses(&span.low, &span.high))
    }
}

impl std::fmt::Debug for Extent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Extent").field("id", &self.id).field("rows", &self.rows).finish_non_exhaustive()
    }
}

/// Rows on their way into an extent.
#[derive(Debug, Clone)]
pub struct Rows<'a> {
    /// Ids and types of the columns of the chunks.
    pub columns: &'a [(u64, Type)],
    /// Names for the columns in files that others may read.
    pub names: &'a [&'a str],
    /// The rows.
    pub chunks: &'a [Chunk],
    /// When they came, in ticks.
    pub created: i64,
    /// What is given with them.
    pub tags: Vec<String>,
}

/// Where tables that are written into are kept.
pub trait TableStore: Send + Sync {
    /// Everything as it is now.
    fn snapshot(&self) -> Arc<Snapshot>;

    /// Writes rows down, durably. They belong to no table until a [`change`](Self::change) adds the extent to one; an
    /// extent that no snapshot has goes.
    ///
    /// # Errors
    /// When they cannot be written.
    fn write(&self, rows: &Rows) -> Result<Arc<Extent>>;

    /// Changes everything at once: a function edits a copy of the newest snapshot, which then takes its place,
    /// durably. Nothing is changed when it fails. Changes come one after the other.
    ///
    /// # Errors
    /// What the function returns, and when the change cannot be written.
    fn change(&self, edit: &mut dyn FnMut(&mut Snapshot) -> Result<()>) -> Result<Arc<Snapshot>>;

    /// Where extents are kept that nobody asked for lately; nothing when all of them are kept here.
    fn cold_place(&self) -> Option<ColdPlace> {
        None
    }

    /// Calls for the rows of an extent with these columns, in order, until it is answered that it has enough. Columns
    /// it does not have are absent. Rows may be left out that lie outside of a range (column n of `columns`).
    ///
    /// # Errors
    /// When it cannot be read, and what the sink returns.
    fn read(
        &self,
        extent: &Extent,
        columns: &[(u64, Type)],
        ranges: &[Range],
        context: &Context,
        sink: &mut dyn FnMut(Chunk) -> Result<Flow>,
    ) -> Result<Flow>;
}
