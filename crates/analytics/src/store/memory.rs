//! A store in memory: for tests, and for platforms that keep nothing.

use std::sync::{Arc, Mutex, PoisonError};

use gantry_kql::value::Type;

use super::{Extent, Rows, Snapshot, TableStore};
use crate::chunk::Chunk;
use crate::column::Column;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::operators::Flow;
use crate::pushdown::Range;

/// Tables in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    newest: Mutex<Arc<Snapshot>>,
    written: std::sync::atomic::AtomicU64,
}

impl TableStore for MemoryStore {
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.newest.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, rows: &Rows) -> Result<Arc<Extent>> {
        let number = self.written.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(Arc::new(Extent {
            id: gantry_kql::value::Guid(u128::from(number) + 1).to_string(),
            rows: rows.chunks.iter().map(|chunk| chunk.rows as u64).sum(),
            bytes: rows.chunks.iter().map(|chunk| chunk.size() as u64).sum(),
            created: rows.created,
            tags: rows.tags.clone(),
            columns: rows.columns.to_vec(),
            spans: Vec::new(),
            cold: None,
            kept: Box::new(rows.chunks.to_vec()),
        }))
    }

    fn change(&self, edit: &mut dyn FnMut(&mut Snapshot) -> Result<()>) -> Result<Arc<Snapshot>> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Snapshot::clone(&newest);
        edit(&mut next)?;
        next.version += 1;
        *newest = Arc::new(next);
        Ok(Arc::clone(&newest))
    }

    fn read(
        &self,
        extent: &Extent,
        columns: &[(u64, Type)],
        _: &[Range],
        _: &Context,
        sink: &mut dyn FnMut(Chunk) -> Result<Flow>,
    ) -> Result<Flow> {
        let missing = || Error::Table { table: extent.id.clone(), reason: "it is not of this store".into() };
        let chunks = extent.kept.downcast_ref::<Vec<Chunk>>().ok_or_else(missing)?;
        for chunk in chunks {
            let column = |(id, ty): &(u64, Type)| match extent.columns.iter().position(|known| known.0 == *id) {
                Some(at) => Arc::clone(&chunk.columns[at]),
                None => Arc::new(Column::absent(*ty, chunk.rows)),
            };
            if sink(Chunk::new(columns.iter().map(column).collect(), chunk.rows))? == Flow::Enough {
                return Ok(Flow::Enough);
            }
        }
        Ok(Flow::More)
    }
}
