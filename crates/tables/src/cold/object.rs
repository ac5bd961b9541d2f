//! A Parquet file in the cold storage, read in blocks: those that are needed, out of the [`Cache`](super::Cache) or the
//! store.

use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::{Buf, Bytes, BytesMut};
use gantry_analytics::{Context, Result};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use super::cache::BLOCK;
use super::{Cold, locked};

/// Blocks of one object that are held in memory while it is read.
const HELD_MAX: usize = 256;
/// Blocks that are asked for with one request.
const BLOCKS_OF_REQUEST: u64 = 16;

/// An object that is read.
#[derive(Clone)]
pub(crate) struct Object(Arc<Inner>);

struct Inner {
    cold: Arc<Cold>,
    name: String,
    size: u64,
    held: Mutex<HashMap<u64, Bytes>>,
}

impl Object {
    /// One of a size.
    pub(crate) fn new(cold: Arc<Cold>, name: &str, size: u64) -> Object {
        Object(Arc::new(Inner { cold, name: name.to_owned(), size, held: Mutex::default() }))
    }

    /// Brings the end of the file, which says what is in it.
    pub(crate) fn bring_end(&self, context: &Context) -> Result<()> {
        let size = self.0.size;
        self.bring(std::slice::from_ref(&(size.saturating_sub(BLOCK)..size)), context)
    }

    /// Holds what is about to be read, and lets the rest go.
    pub(crate) fn bring(&self, ranges: &[Range<u64>], context: &Context) -> Result<()> {
        let Inner { cold, name, size, held } = &*self.0;
        let blocks = ranges.iter().filter(|range| range.start < range.end.min(*size)).flat_map(|range| {
            let last = range.end.min(*size) - 1;
            range.start / BLOCK..=last / BLOCK
        });
        // More than that is brought when it is read.
        let wanted: BTreeSet<u64> = blocks.collect::<BTreeSet<_>>().into_iter().take(HELD_MAX).collect();
        let mut missing = Vec::new();
        {
            let mut held = locked(held);
            held.retain(|block, _| wanted.contains(block));
            for block in &wanted {
                if held.contains_key(block) {
                    continue;
                }
                match cold.cache.get(name, *block) {
                    Some(bytes) => drop(held.insert(*block, bytes)),
                    None => missing.push(*block),
                }
            }
        }
        self.take(&missing, Some(context))
    }

    /// Asks the store for blocks, neighbours with one request.
    fn take(&self, missing: &[u64], context: Option<&Context>) -> Result<()> {
        let Inner { cold, name, size, held } = &*self.0;
        let mut runs: Vec<Range<u64>> = Vec::new();
        for block in missing {
            match runs.last_mut() {
                Some(run) if run.end == *block && run.end - run.start < BLOCKS_OF_REQUEST => run.end += 1,
                _ => runs.push(*block..block + 1),
            }
        }
        if runs.is_empty() {
            return Ok(());
        }
        let ranges: Vec<_> = runs.iter().map(|run| run.start * BLOCK..(run.end * BLOCK).min(*size)).collect();
        for (run, mut bytes) in runs.into_iter().zip(cold.parts(name, &ranges, context)?) {
            for block in run {
                let one = bytes.split_to(bytes.len().min(BLOCK as usize));
                cold.cache.put(name, block, &one);
                locked(held).insert(block, one);
            }
        }
        Ok(())
    }

    /// A block, whether it was brought or not.
    fn block(&self, block: u64) -> std::result::Result<Bytes, String> {
        let Inner { cold, name, held, .. } = &*self.0;
        if let Some(bytes) = locked(held).get(&block) {
            return Ok(bytes.clone());
        }
        if locked(held).len() >= HELD_MAX {
            locked(held).clear();
        }
        if let Some(bytes) = cold.cache.get(name, block) {
            locked(held).insert(block, bytes.clone());
            return Ok(bytes);
        }
        self.take(&[block], None).map_err(|error| error.to_string())?;
        locked(held).get(&block).cloned().ok_or_else(|| "a block is missing".to_owned())
    }

    /// What there is from an offset to the end of its block; nothing at the end of the file.
    fn rest(&self, at: u64) -> std::result::Result<Bytes, String> {
        if at >= self.0.size {
            return Ok(Bytes::new());
        }
        let mut block = self.block(at / BLOCK)?;
        let skipped = (at % BLOCK) as usize;
        if skipped >= block.len() {
            return Err("a block is shorter than it was".to_owned());
        }
        block.advance(skipped);
        Ok(block)
    }
}

impl Length for Object {
    fn len(&self) -> u64 {
        self.0.size
    }
}

impl ChunkReader for Object {
    type T = Piece;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Piece> {
        Ok(Piece { object: self.clone(), at: start, rest: Bytes::new() })
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let mut at = start;
        let mut all = BytesMut::new();
        while all.len() < length {
            let mut piece = self.rest(at).map_err(ParquetError::General)?;
            piece.truncate(length - all.len());
            if piece.is_empty() {
                return Err(ParquetError::EOF(format!(
                    "{length} bytes are wanted from {start}, there are {}",
                    all.len()
                )));
            }
            if all.is_empty() && piece.len() == length {
                return Ok(piece);
            }
            at += piece.len() as u64;
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }
}

/// An object from an offset on.
pub(crate) struct Piece {
    object: Object,
    at: u64,
    rest: Bytes,
}

impl Read for Piece {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.rest.is_empty() {
            self.rest = self.object.rest(self.at).map_err(std::io::Error::other)?;
        }
        let count = buffer.len().min(self.rest.len());
        self.rest.copy_to_slice(&mut buffer[..count]);
        self.at += count as u64;
        Ok(count)
    }
}
