//! The folder of tables.

mod cool;

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gantry_analytics::pushdown::Range;
use gantry_analytics::store::{ColdPlace, Extent, Rows, Snapshot, TableStore};
use gantry_analytics::{Chunk, Context, Error, Flow, Result};
use gantry_kql::value::Type;

use crate::catalog::Catalog;
use crate::cold::{Cold, ColdStore, Object};
use crate::read::{Reader, Shared};

const CATALOG: &str = "catalog.json";
const CATALOG_NEW: &str = "catalog.json.new";
const LOCK: &str = "lock";
/// What was read of the cold storage.
const NEAR: &str = "near";
/// A file on its way from one place of the cold storage to another.
const MOVING: &str = "moving.tmp";

/// Tables in a folder. It is open once at a time: who had it twice would write each catalogue over the other's.
pub struct Folder {
    path: PathBuf,
    cold: Option<Arc<Cold>>,
    /// What the names of our objects in the cold storage begin with, if there ever was one.
    owner: Option<String>,
    newest: Mutex<Arc<Snapshot>>,
    /// One change at a time; readers of the newest snapshot do not wait for it.
    changing: Mutex<()>,
    /// One move of extents at a time.
    cooling: Mutex<()>,
    /// Locked while the folder is open.
    _lock: File,
}

impl std::fmt::Debug for Folder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Folder").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The file of an extent. It goes when nobody knows of the extent any more: no catalogue, no query that still reads it.
struct FileOf {
    place: PlaceOf,
    is_in_catalog: AtomicBool,
}

enum PlaceOf {
    Here(PathBuf),
    There {
        object: String,
        /// None when the configuration has no cold storage any more.
        cold: Option<Arc<Cold>>,
        /// Who brings parts of it: others who need the same ones wait.
        bringing: Mutex<()>,
    },
}

impl FileOf {
    fn here(path: PathBuf, is_in_catalog: bool) -> FileOf {
        FileOf { place: PlaceOf::Here(path), is_in_catalog: AtomicBool::new(is_in_catalog) }
    }

    fn there(object: String, cold: Option<Arc<Cold>>, is_in_catalog: bool) -> FileOf {
        let place = PlaceOf::There { object, cold, bringing: Mutex::default() };
        FileOf { place, is_in_catalog: AtomicBool::new(is_in_catalog) }
    }
}

impl Drop for FileOf {
    fn drop(&mut self) {
        if self.is_in_catalog.load(Ordering::Acquire) {
            return;
        }
        // What cannot be deleted now is deleted when the folder is opened.
        match &mut self.place {
            PlaceOf::Here(path) => drop(fs::remove_file(path)),
            PlaceOf::There { object, cold: Some(cold), .. } => cold.discard(std::mem::take(object)),
            PlaceOf::There { cold: None, .. } => {}
        }
    }
}

impl Folder {
    /// Opens a folder, makes it if there is none, and deletes files that no catalogue names.
    ///
    /// # Errors
    /// When it is open already, cannot be read, or its catalogue is wrong or names a file that is not there.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Folder> {
        Folder::open_with(path, None)
    }

    /// Opens a folder whose extents go to a cold storage when they are not hot any more ([`cool`](Self::cool)). The
    /// storage is not asked: the folder opens while it does not answer.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(path: impl Into<PathBuf>, cold: Option<ColdStore>) -> io::Result<Folder> {
        let path = path.into();
        fs::create_dir_all(&path)?;
        let lock = File::create(path.join(LOCK))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::new(io::ErrorKind::ResourceBusy, "the folder is open already"),
            TryLockError::Error(error) => error,
        })?;
        let catalog = match fs::read(path.join(CATALOG)) {
            Ok(text) => Some(parse_catalog(&path, &text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let known = catalog.as_ref().and_then(|catalog| catalog.owner.clone());
        let owner = known.clone().or_else(|| cold.is_some().then(new_owner));
        let cold = match (cold, &owner) {
            (Some(cold), Some(owner)) => Some(Arc::new(Cold::new(cold, owner.clone(), path.join(NEAR))?)),
            _ => None,
        };
        let snapshot = match catalog {
            Some(catalog) => read_catalog(&path, catalog, cold.as_ref())?,
            None => Snapshot::default(),
        };
        let here = snapshot.extents.values().flat_map(|extents| extents.iter()).filter(|extent| extent.cold.is_none());
        let named: HashSet<String> = here.map(|extent| file_name(&extent.id)).collect();
        for entry in fs::read_dir(&path)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if name == CATALOG_NEW || name == MOVING || (name.ends_with(".parquet") && !named.contains(name)) {
                fs::remove_file(entry.path())?;
            }
        }
        let (newest, changing, cooling) = (Mutex::new(Arc::new(snapshot)), Mutex::default(), Mutex::default());
        let folder = Folder { path, cold, owner, newest, changing, cooling, _lock: lock };
        if folder.owner != known {
            // Before the first object is written: what a crash leaves behind is known by this name.
            folder.write_catalog(&folder.snapshot())?;
        }
        Ok(folder)
    }

    fn write_catalog(&self, snapshot: &Snapshot) -> io::Result<()> {
        let new = self.path.join(CATALOG_NEW);
        let mut file = BufWriter::new(File::create(&new)?);
        serde_json::to_writer(&mut file, &Catalog::of(snapshot, self.owner.as_deref()))?;
        file.flush()?;
        file.get_ref().sync_all()?;
        fs::rename(&new, self.path.join(CATALOG))?;
        sync_folder(&self.path)
    }
}

fn file_name(id: &str) -> String {
    format!("{id}.parquet")
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// What the names of a folder's objects begin with.
fn new_owner() -> String {
    let mut name = uuid::Uuid::new_v4().simple().to_string();
    name.truncate(8);
    name
}

fn wrong(path: &Path, reason: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {reason}", path.join(CATALOG).display()))
}

fn parse_catalog(path: &Path, text: &[u8]) -> io::Result<Catalog> {
    let catalog: Catalog = serde_json::from_slice(text).map_err(|error| wrong(path, error))?;
    match &catalog.owner {
        Some(owner) if owner.len() != 8 || !owner.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            Err(wrong(path, format!("`{owner}` is no name of an owner")))
        }
        _ => Ok(catalog),
    }
}

fn read_catalog(path: &Path, catalog: Catalog, cold: Option<&Arc<Cold>>) -> io::Result<Snapshot> {
    let snapshot = catalog.snapshot(|entry| {
        // The name of a file, and nothing that leads elsewhere.
        if uuid::Uuid::try_parse(&entry.id).is_err() {
            return Err(format!("`{}` is no id of an extent", entry.id));
        }
        if let Some(object) = &entry.cold {
            if let Some(cold) = cold {
                cold.know(object);
            }
            return Ok(Box::new(FileOf::there(object.clone(), cold.cloned(), true)));
        }
        let file = path.join(file_name(&entry.id));
        if !file.is_file() {
            return Err(format!("it names {}, which is not there", file.display()));
        }
        Ok(Box::new(FileOf::here(file, true)))
    });
    snapshot.map_err(|reason| wrong(path, reason))
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> Error {
    Error::Table { table: what.to_owned(), reason: error.to_string() }
}

fn file_of(extent: &Extent) -> Option<&FileOf> {
    extent.kept.downcast_ref()
}

impl TableStore for Folder {
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.newest.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, rows: &Rows) -> Result<Arc<Extent>> {
        let id = uuid::Uuid::new_v4().to_string();
        let path = self.path.join(file_name(&id));
        // From here on the file goes with the extent, also when writing fails.
        let kept = FileOf::here(path.clone(), false);
        let write = || -> std::result::Result<_, Box<dyn std::error::Error>> {
            let mut file = BufWriter::new(File::create(&path)?);
            let spans = crate::write::write(rows, &mut file)?;
            file.flush()?;
            file.get_ref().sync_all()?;
            sync_folder(&self.path)?;
            Ok((spans, file.get_ref().metadata()?.len()))
        };
        let (spans, bytes) = write().map_err(|error| failed("an extent", &error))?;
        Ok(Arc::new(Extent {
            id,
            rows: rows.chunks.iter().map(|chunk| chunk.rows as u64).sum(),
            bytes,
            created: rows.created,
            tags: rows.tags.clone(),
            columns: rows.columns.to_vec(),
            spans,
            cold: None,
            kept: Box::new(kept),
        }))
    }

    fn change(&self, edit: &mut dyn FnMut(&mut Snapshot) -> Result<()>) -> Result<Arc<Snapshot>> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.snapshot();
        let mut next = Snapshot::clone(&before);
        edit(&mut next)?;
        next.version = before.version + 1;
        let files = |snapshot: &Snapshot, is_in: bool| {
            for extent in snapshot.extents.values().flat_map(|extents| extents.iter()) {
                if let Some(file) = file_of(extent) {
                    file.is_in_catalog.store(is_in, Ordering::Release);
                }
            }
        };
        // A catalogue whose writing failed half-way may be the one on the disk: its files stay until the folder is opened.
        files(&next, true);
        self.write_catalog(&next).map_err(|error| failed("the catalogue", &error))?;
        // Files that came in stay, files that went out go with the last query that reads them.
        let next = Arc::new(next);
        files(&before, false);
        files(&next, true);
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&next);
        Ok(next)
    }

    fn read(
        &self,
        extent: &Extent,
        columns: &[(u64, Type)],
        ranges: &[Range],
        context: &Context,
        sink: &mut dyn FnMut(Chunk) -> Result<Flow>,
    ) -> Result<Flow> {
        let file = file_of(extent).ok_or_else(|| failed(&extent.id, &"it is not of this folder"))?;
        match &file.place {
            PlaceOf::Here(path) => {
                let file = File::open(path).map_err(|error| failed(&extent.id, &error))?;
                let (file, written) = (Shared::new(file), &extent.columns[..]);
                let reader = Reader { name: &extent.id, file, written, bring: &|_| Ok(()), may_wait: true };
                reader.read(columns, ranges, context, sink)
            }
            PlaceOf::There { object, cold: None, .. } => {
                Err(failed(object, &"it is in a cold storage, and the configuration has none any more (`tables.cold`)"))
            }
            PlaceOf::There { object, cold: Some(cold), bringing } => {
                let file = Object::new(Arc::clone(cold), object, extent.bytes);
                let one = || bringing.lock().unwrap_or_else(PoisonError::into_inner);
                {
                    let _one = one();
                    file.bring_end(context)?;
                }
                let bring = |ranges: &[std::ops::Range<u64>]| {
                    let _one = one();
                    file.bring(ranges, context)
                };
                let (file, written) = (file.clone(), &extent.columns[..]);
                let reader = Reader { name: object, file, written, bring: &bring, may_wait: false };
                reader.read(columns, ranges, context, sink)
            }
        }
    }

    fn cold_place(&self) -> Option<ColdPlace> {
        self.cold.as_ref().map(|cold| cold.place())
    }
}

#[cfg(test)]
mod tests;
