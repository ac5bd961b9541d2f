//! A disk in memory that can fail, lose power and be damaged: what logs are tested on.
//!
//! What a file holds is durable once it is synced, and that it is there, under its name, once its folder is. When the
//! power fails, any of the sectors not synced may be there, and the first few of the changes of names not synced,
//! because file systems keep their order.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::disk::{Disk, DiskFile};

const SECTOR: usize = 512;

#[derive(Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// What the file held when its sync failed, which is when the power is lost.
    at_failed_sync: Option<Vec<u8>>,
}

type Files = BTreeMap<PathBuf, Arc<Mutex<Content>>>;

/// A change of names.
enum Change {
    Create(PathBuf, Arc<Mutex<Content>>),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl Change {
    fn folder(&self) -> Option<&Path> {
        match self {
            Self::Create(path, _) | Self::Rename(_, path) | Self::Remove(path) => path.parent(),
        }
    }

    fn apply(&self, files: &mut Files) {
        match self {
            Self::Create(path, content) => drop(files.insert(path.clone(), content.clone())),
            Self::Rename(from, to) => {
                if let Some(content) = files.remove(from) {
                    files.insert(to.clone(), content);
                }
            }
            Self::Remove(path) => drop(files.remove(path)),
        }
    }
}

#[derive(Default)]
struct Names {
    now: Files,
    durable: Files,
    /// Those since, in order.
    changes: Vec<Change>,
}

impl Names {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.now);
        self.changes.push(change);
    }
}

/// What fails, until told otherwise.
#[derive(Debug, Default)]
pub struct Faults {
    /// Writes find no space.
    pub full: AtomicBool,
    /// Writes that find no space write half of what they should.
    pub half_writes: AtomicBool,
    /// Syncs fail.
    pub sync: AtomicBool,
    /// Syncs do nothing and say that they did.
    pub lies: AtomicBool,
}

/// The disk. Clones are the same disk.
#[derive(Default, Clone)]
pub struct MemoryDisk {
    names: Arc<Mutex<Names>>,
    /// What fails.
    pub faults: Arc<Faults>,
}

struct MemoryFile {
    content: Arc<Mutex<Content>>,
    faults: Arc<Faults>,
}

fn full() -> io::Error {
    io::Error::from_raw_os_error(28)
}

fn broken() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl MemoryDisk {
    /// An independent copy of what the files hold now.
    pub fn copy(&self) -> Self {
        Self::of(&self.names.lock().now, |content| content.now.clone())
    }

    /// What is left after the power fails: asks for each sector and each change of a name that is not synced.
    pub fn after_power_loss(&self, mut kept: impl FnMut() -> bool) -> Self {
        let names = self.names.lock();
        let mut files = names.durable.clone();
        names.changes.iter().take_while(|_| kept()).for_each(|change| change.apply(&mut files));
        Self::of(&files, |content| {
            let now = content.at_failed_sync.as_ref().unwrap_or(&content.now);
            let mut left = content.durable.clone();
            left.resize(now.len(), 0);
            for (old, new) in left.chunks_mut(SECTOR).zip(now.chunks(SECTOR)) {
                if old != new && kept() {
                    old.copy_from_slice(new);
                }
            }
            left
        })
    }

    fn of(files: &Files, mut bytes: impl FnMut(&Content) -> Vec<u8>) -> Self {
        let copy = |(path, content): (&PathBuf, &Arc<Mutex<Content>>)| {
            let bytes = bytes(&content.lock());
            (path.clone(), Arc::new(Mutex::new(Content { now: bytes.clone(), durable: bytes, at_failed_sync: None })))
        };
        let now: Files = files.iter().map(copy).collect();
        let names = Names { durable: now.clone(), now, changes: vec![] };
        Self { names: Arc::new(Mutex::new(names)), faults: Arc::default() }
    }

    /// Changes the bytes of a file behind the log's back.
    ///
    /// # Panics
    /// When it is not there.
    pub fn edit(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let names = self.names.lock();
        let mut content = names.now.get(Path::new(path)).expect("the file exists").lock();
        change(&mut content.now);
        content.durable = content.now.clone();
    }

    /// The paths of the files.
    pub fn names(&self) -> Vec<String> {
        self.names.lock().now.keys().map(|path| path.display().to_string()).collect()
    }

    fn file(&self, content: Arc<Mutex<Content>>) -> Arc<dyn DiskFile> {
        Arc::new(MemoryFile { content, faults: self.faults.clone() })
    }
}

impl Disk for MemoryDisk {
    fn create_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn lock(&self, _: &Path) -> io::Result<Box<dyn Send + Sync>> {
        Ok(Box::new(()))
    }
    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let names = self.names.lock();
        let inside = names.now.keys().filter(|path| path.parent() == Some(folder));
        Ok(inside.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let content = Arc::<Mutex<Content>>::default();
        self.names.lock().change(Change::Create(path.to_owned(), content.clone()));
        Ok(self.file(content))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let content = self.names.lock().now.get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(content))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut names = self.names.lock();
        if !names.now.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        names.change(Change::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut names = self.names.lock();
        if !names.now.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        names.change(Change::Remove(path.to_owned()));
        Ok(())
    }
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        if self.faults.sync.load(Ordering::SeqCst) {
            return Err(broken());
        }
        if self.faults.lies.load(Ordering::SeqCst) {
            return Ok(());
        }
        let mut names = self.names.lock();
        let Names { durable, changes, .. } = &mut *names;
        changes.retain(|change| {
            let is_synced = change.folder() == Some(folder);
            if is_synced {
                change.apply(durable);
            }
            !is_synced
        });
        Ok(())
    }
}

impl DiskFile for MemoryFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.content.lock().now.len() as u64)
    }
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let content = self.content.lock();
        let from = (position as usize).min(content.now.len());
        let count = buffer.len().min(content.now.len() - from);
        buffer[..count].copy_from_slice(&content.now[from..from + count]);
        Ok(count)
    }
    fn write_at(&self, slices: &mut [IoSlice<'_>], position: u64) -> io::Result<()> {
        let mut bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        let fails = self.faults.full.load(Ordering::SeqCst);
        if fails {
            let written = if self.faults.half_writes.load(Ordering::SeqCst) { bytes.len() / 2 } else { 0 };
            bytes.truncate(written);
        }
        let mut content = self.content.lock();
        let from = position as usize;
        if content.now.len() < from + bytes.len() {
            content.now.resize(from + bytes.len(), 0);
        }
        content.now[from..from + bytes.len()].copy_from_slice(&bytes);
        if fails { Err(full()) } else { Ok(()) }
    }
    fn allocate(&self, size: u64) -> io::Result<()> {
        let mut content = self.content.lock();
        if content.now.len() < size as usize {
            if self.faults.full.load(Ordering::SeqCst) {
                return Err(full());
            }
            content.now.resize(size as usize, 0);
        }
        Ok(())
    }
    fn set_size(&self, size: u64) -> io::Result<()> {
        self.content.lock().now.resize(size as usize, 0);
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        let mut content = self.content.lock();
        if self.faults.sync.load(Ordering::SeqCst) {
            content.at_failed_sync = Some(content.now.clone());
            return Err(broken());
        }
        if !self.faults.lies.load(Ordering::SeqCst) {
            content.durable = content.now.clone();
        }
        Ok(())
    }
}
