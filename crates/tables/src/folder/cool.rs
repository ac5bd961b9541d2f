//! Extents on their way between the folder and the cold storage.
//!
//! An extent moves in one change of the catalogue, after its file is in the new place as a whole; its file in the old
//! place goes with the last query that reads it. Whatever ends the process, a catalogue names one place, and the file is
//! there.

use std::sync::{Arc, PoisonError};

use gantry_analytics::store::{Caching, Extent, TableStore};
use gantry_analytics::{Context, Error, Result};

use super::{FileOf, Folder, MOVING, PlaceOf, failed, file_name, file_of, sync_folder};
use crate::cold::Cold;

/// Extents whose moves are one change of the catalogue, at most.
const MOVED_AT_ONCE: usize = 16;

impl Folder {
    /// Moves a few extents to the cold storage that are past the hot span of their table, or back when they are hot
    /// again, and deletes what is in the cold storage and counts no more. Answers how many were moved: none when there is
    /// nothing left to do.
    ///
    /// # Errors
    /// When nothing could be moved, because the cold storage does not answer or somebody stopped it. Extents stay where
    /// they are, and the next call goes on.
    pub fn cool(&self, database: &str, context: &Context) -> Result<usize> {
        let Some(cold) = &self.cold else { return Ok(0) };
        let _one = self.cooling.lock().unwrap_or_else(PoisonError::into_inner);
        cold.look(context)?;
        // A storage that lets nothing be deleted still takes what is new.
        let mut trouble = cold.tidy(context).err();
        let (moved, wrong) = self.copies(cold, database, context);
        trouble = trouble.or(wrong);
        if !moved.is_empty() {
            self.change(&mut |snapshot| {
                for (table, copy) in &moved {
                    snapshot.replace(*table, copy);
                }
                Ok(())
            })?;
        }
        let count = moved.len();
        drop(moved);
        match trouble {
            Some(error) if count == 0 => Err(error),
            Some(_) => Ok(count),
            None => cold.tidy(context).map(|()| count),
        }
    }

    /// Copies of extents in the place where they should be, and what went wrong first.
    fn copies(&self, cold: &Arc<Cold>, database: &str, context: &Context) -> (Vec<(u64, Arc<Extent>)>, Option<Error>) {
        let (mut copies, mut failed) = (Vec::new(), None);
        let snapshot = self.snapshot();
        let hot_span = cold.place().hot_span;
        for (name, table) in snapshot.definitions.all_kept() {
            let caching = Caching::of(&snapshot, name, hot_span);
            let folder = cold.folder_of(database, name);
            for extent in snapshot.extents_of(table.id) {
                let copied = match caching.is_hot(extent.created, context.now) {
                    true => self.warm(cold, extent, context),
                    false => self.chill(cold, extent, &folder, context),
                };
                match copied {
                    Ok(None) => {}
                    Ok(Some(copy)) => copies.push((table.id, Arc::new(copy))),
                    // What is wrong with one extent does not keep the others.
                    Err(error) => {
                        failed.get_or_insert(error);
                        if cold.place().trouble.is_some() || context.check().is_err() {
                            return (copies, failed);
                        }
                    }
                }
                if copies.len() >= MOVED_AT_ONCE {
                    return (copies, failed);
                }
            }
        }
        (copies, failed)
    }

    /// A copy in the folder of its table in the cold storage; nothing when it is there.
    fn chill(&self, cold: &Arc<Cold>, extent: &Extent, folder: &str, context: &Context) -> Result<Option<Extent>> {
        let Some(file) = file_of(extent) else { return Ok(None) };
        let moving = self.path.join(MOVING);
        let from = match &file.place {
            PlaceOf::Here(path) => path,
            PlaceOf::There { object, .. } if object.rsplit_once('/').is_some_and(|(of, _)| of == folder) => {
                return Ok(None);
            }
            // The table got another name, or the hub.
            PlaceOf::There { object, .. } => {
                cold.fetch(object, extent.bytes, &moving, context)?;
                &moving
            }
        };
        let object = cold.put(from, folder, context);
        if *from == moving {
            let _ = std::fs::remove_file(&moving);
        }
        let object = object?;
        let kept = FileOf::there(object.clone(), Some(Arc::clone(cold)), false);
        Ok(Some(extent.moved(Some(object), Box::new(kept))))
    }

    /// A copy in this folder; nothing when it is here.
    fn warm(&self, cold: &Cold, extent: &Extent, context: &Context) -> Result<Option<Extent>> {
        let Some(PlaceOf::There { object, .. }) = file_of(extent).map(|file| &file.place) else { return Ok(None) };
        let path = self.path.join(file_name(&extent.id));
        if path.exists() {
            // A query still reads it from when it was here last, and deletes it then.
            return Ok(None);
        }
        let kept = FileOf::here(path.clone(), false);
        cold.fetch(object, extent.bytes, &path, context)?;
        sync_folder(&self.path).map_err(|error| failed(&extent.id, &error))?;
        Ok(Some(extent.moved(None, Box::new(kept))))
    }
}

#[cfg(test)]
mod tests;
