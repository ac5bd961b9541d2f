//! A disk in memory that can fail, lose power and be damaged.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gantry_eventlog::{Disk, DiskFile};
use parking_lot::Mutex;

const SECTOR: usize = 512;

#[derive(Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// What the file held when its sync failed, which is when the power is lost.
    at_failed_sync: Option<Vec<u8>>,
}

/// What fails, until told otherwise.
#[derive(Default)]
pub(crate) struct Faults {
    pub(crate) full: AtomicBool,
    pub(crate) half_writes: AtomicBool,
    pub(crate) sync: AtomicBool,
}

#[derive(Default, Clone)]
pub(crate) struct MemoryDisk {
    files: Arc<Mutex<BTreeMap<PathBuf, Arc<Mutex<Content>>>>>,
    pub(crate) faults: Arc<Faults>,
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
    pub(crate) fn copy(&self) -> Self {
        self.copy_with(|content| content.now.clone())
    }

    /// What is left after the power fails: of the sectors not synced, those for which `kept` says so.
    pub(crate) fn after_power_loss(&self, mut kept: impl FnMut() -> bool) -> Self {
        self.copy_with(|content| {
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

    fn copy_with(&self, mut of: impl FnMut(&Content) -> Vec<u8>) -> Self {
        let files = self.files.lock();
        let copy = |(path, content): (&PathBuf, &Arc<Mutex<Content>>)| {
            let bytes = of(&content.lock());
            (path.clone(), Arc::new(Mutex::new(Content { now: bytes.clone(), durable: bytes, at_failed_sync: None })))
        };
        let files = files.iter().map(copy).collect();
        Self { files: Arc::new(Mutex::new(files)), faults: Arc::default() }
    }

    /// Changes the bytes of a file behind the log's back.
    pub(crate) fn edit(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let files = self.files.lock();
        let mut content = files.get(Path::new(path)).expect("the file exists").lock();
        change(&mut content.now);
        content.durable = content.now.clone();
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.files.lock().keys().map(|path| path.display().to_string()).collect()
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
        let files = self.files.lock();
        let inside = files.keys().filter(|path| path.parent() == Some(folder));
        Ok(inside.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect())
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let content = Arc::<Mutex<Content>>::default();
        self.files.lock().insert(path.to_owned(), content.clone());
        Ok(self.file(content))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let content = self.files.lock().get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(content))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.files.lock();
        let content = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), content);
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.files.lock().remove(path).map(drop).ok_or(io::ErrorKind::NotFound.into())
    }
    fn sync_folder(&self, _: &Path) -> io::Result<()> {
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
        content.durable = content.now.clone();
        Ok(())
    }
}
