//! The folder of tables.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gantry_analytics::pushdown::Range;
use gantry_analytics::store::{Extent, Rows, Snapshot, TableStore};
use gantry_analytics::{Chunk, Context, Error, Flow, Result};
use gantry_kql::value::Type;

use crate::catalog::Catalog;
use crate::read::Reader;

const CATALOG: &str = "catalog.json";
const CATALOG_NEW: &str = "catalog.json.new";
const LOCK: &str = "lock";

/// Tables in a folder. It is open once at a time: who had it twice would write each catalogue over the other's.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    newest: Mutex<Arc<Snapshot>>,
    /// One change at a time; readers of the newest snapshot do not wait for it.
    changing: Mutex<()>,
    /// Locked while the folder is open.
    _lock: File,
}

/// The file of an extent. It goes when nobody knows of the extent any more: no catalogue, no query that still reads it.
struct FileOf {
    path: PathBuf,
    is_in_catalog: AtomicBool,
}

impl Drop for FileOf {
    fn drop(&mut self) {
        if !self.is_in_catalog.load(Ordering::Acquire) {
            // What cannot be deleted now is deleted when the folder is opened.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Folder {
    /// Opens a folder, makes it if there is none, and deletes files that no catalogue names.
    ///
    /// # Errors
    /// When it is open already, cannot be read, or its catalogue is wrong or names a file that is not there.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Folder> {
        let path = path.into();
        fs::create_dir_all(&path)?;
        let lock = File::create(path.join(LOCK))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::new(io::ErrorKind::ResourceBusy, "the folder is open already"),
            TryLockError::Error(error) => error,
        })?;
        let snapshot = match fs::read(path.join(CATALOG)) {
            Ok(text) => read_catalog(&path, &text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Snapshot::default(),
            Err(error) => return Err(error),
        };
        let named: HashSet<String> =
            snapshot.extents.values().flat_map(|extents| extents.iter()).map(|extent| file_name(&extent.id)).collect();
        for entry in fs::read_dir(&path)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if name == CATALOG_NEW || (name.ends_with(".parquet") && !named.contains(name)) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Folder { path, newest: Mutex::new(Arc::new(snapshot)), changing: Mutex::default(), _lock: lock })
    }

    fn write_catalog(&self, snapshot: &Snapshot) -> io::Result<()> {
        let new = self.path.join(CATALOG_NEW);
        let mut file = BufWriter::new(File::create(&new)?);
        serde_json::to_writer(&mut file, &Catalog::of(snapshot))?;
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

fn read_catalog(path: &Path, text: &[u8]) -> io::Result<Snapshot> {
    let wrong = |reason: String| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}: {reason}", path.join(CATALOG).display()))
    };
    let catalog: Catalog = serde_json::from_slice(text).map_err(|error| wrong(error.to_string()))?;
    let snapshot = catalog.snapshot(|entry| {
        // The name of a file, and nothing that leads elsewhere.
        if uuid::Uuid::try_parse(&entry.id).is_err() {
            return Err(format!("`{}` is no id of an extent", entry.id));
        }
        let file = path.join(file_name(&entry.id));
        if !file.is_file() {
            return Err(format!("it names {}, which is not there", file.display()));
        }
        Ok(Box::new(FileOf { path: file, is_in_catalog: AtomicBool::new(true) }))
    });
    snapshot.map_err(wrong)
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
        let kept = FileOf { path, is_in_catalog: AtomicBool::new(false) };
        let write = || -> std::result::Result<_, Box<dyn std::error::Error>> {
            let mut file = BufWriter::new(File::create(&kept.path)?);
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
        let file = File::open(&file.path).map_err(|error| failed(&extent.id, &error))?;
        Reader { name: &extent.id, file, written: &extent.columns }.read(columns, ranges, context, sink)
    }
}

#[cfg(test)]
mod tests;
