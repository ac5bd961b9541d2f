//! The cold storage: an object store that keeps the files of extents which are not hot any more.
//!
//! An object is `ROOT/DATABASE/TABLE/OWNER-GUID.parquet`, so that others read the folder of a table as they are. `OWNER`
//! is drawn once for a folder of tables: what begins with it is ours, and nothing else is ever deleted. A name is used
//! once, so that a request that is carried out late cannot meet another file.
//!
//! An object counts when the catalogue names it. One that no catalogue names is what a crash has left behind, and goes
//! when the store is first asked after the start ([`Cold::tidy`]).

mod cache;
mod object;

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Write};
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use gantry_analytics::store::ColdPlace;
use gantry_analytics::{Context, Error, Result};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use tokio::runtime::Handle;

use cache::Cache;
pub(crate) use object::Object;

/// Bytes that are sent, or compared, at once.
const PIECE: usize = 8 << 20;
/// How often it is looked whether somebody still waits for an answer of the store.
const PATIENCE: Duration = Duration::from_millis(100);
/// Requests for parts of one object at a time.
const REQUESTS_AT_ONCE: usize = 4;

/// An object store for extents that are not hot.
#[derive(Clone)]
pub struct ColdStore {
    /// The store.
    pub objects: Arc<dyn ObjectStore>,
    /// What people call it: `s3://bucket/prefix`. Without secrets.
    pub name: String,
    /// The folder in it under which everything of ours is.
    pub root: String,
    /// The same folder on this machine, when the store is one: half-written files are found there.
    pub folder: Option<PathBuf>,
    /// How long extents are hot of tables without a caching policy, in ticks.
    pub hot_span: i64,
    /// Bytes of cold extents that are kept here for the next question.
    pub cache_bytes: u64,
    /// What drives its requests. Who reads or writes must not be one of its threads.
    pub runtime: Handle,
}

impl std::fmt::Debug for ColdStore {
    /// Without what the client of the store knows: secrets are part of it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ColdStore").field("name", &self.name).field("root", &self.root).finish_non_exhaustive()
    }
}

/// An object store while it is used.
pub(crate) struct Cold {
    store: ColdStore,
    owner: String,
    cache: Cache,
    /// Objects that somebody knows of: the catalogue, a query that still reads, or whoever is about to write one down.
    known: Mutex<HashSet<String>>,
    /// Objects that nobody needs any more.
    garbage: Mutex<Vec<String>>,
    trouble: Mutex<Option<String>>,
    is_swept: AtomicBool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cold {
    /// Uses a store; `near` is a folder for what is kept of it, emptied here.
    pub(crate) fn new(store: ColdStore, owner: String, near: PathBuf) -> std::io::Result<Cold> {
        let cache = Cache::new(near, store.cache_bytes)?;
        let (known, garbage, trouble) = (Mutex::default(), Mutex::default(), Mutex::default());
        Ok(Cold { store, owner, cache, known, garbage, trouble, is_swept: AtomicBool::new(false) })
    }

    /// What commands say of it.
    pub(crate) fn place(&self) -> ColdPlace {
        ColdPlace { hot_span: self.store.hot_span, trouble: locked(&self.trouble).clone() }
    }

    /// The folder of a table.
    pub(crate) fn folder_of(&self, database: &str, table: &str) -> String {
        [self.store.root.as_str(), database, table].into_iter().collect::<Path>().to_string()
    }

    /// A name in a folder that nothing had before.
    fn name_in(&self, folder: &str) -> String {
        format!("{folder}/{}-{}.parquet", self.owner, uuid::Uuid::new_v4())
    }

    /// Notes that an object may be there, and is no orphan.
    pub(crate) fn know(&self, object: &str) {
        locked(&self.known).insert(object.to_owned());
    }

    /// Notes that nobody needs an object any more: it goes with the next [`tidy`](Self::tidy).
    pub(crate) fn discard(&self, object: String) {
        locked(&self.garbage).push(object);
    }

    /// Copies a file into a folder of the store and compares what arrived with it. Answers the object's name.
    pub(crate) fn put(&self, file: &FilePath, folder: &str, context: &Context) -> Result<String> {
        let object = self.name_in(folder);
        // Before it is there, so that it is never taken for an orphan.
        self.know(&object);
        let sent = self.send(file, &object, context).and_then(|()| self.compare(file, &object, context));
        if sent.is_err() {
            self.discard(object.clone());
        }
        sent.map(|()| object)
    }

    fn send(&self, file: &FilePath, object: &str, context: &Context) -> Result<()> {
        let (path, local) = (path_of(object)?, |error: std::io::Error| self.failed(object, &error));
        let mut file = File::open(file).map_err(local)?;
        let first = piece(&mut file).map_err(local)?;
        if first.len() < PIECE {
            return self.ask(object, context, self.store.objects.put(&path, first.into())).map(drop);
        }
        let mut upload = self.ask(object, context, self.store.objects.put_multipart(&path))?;
        let mut next = first;
        let sent = loop {
            if next.is_empty() {
                break self.ask(object, context, upload.complete()).map(drop);
            }
            if let Err(error) = self.ask(object, context, upload.put_part(next.into())) {
                break Err(error);
            }
            next = match piece(&mut file) {
                Ok(piece) => piece,
                Err(error) => break Err(self.failed(object, &error)),
            };
        };
        if sent.is_err() {
            // What is left of it then is the store's to forget.
            let _ = self.ask(object, context, upload.abort());
        }
        sent
    }

    fn compare(&self, file: &FilePath, object: &str, context: &Context) -> Result<()> {
        let (path, local) = (path_of(object)?, |error: std::io::Error| self.failed(object, &error));
        let mut file = File::open(file).map_err(local)?;
        let arrived = self.ask(object, context, self.store.objects.head(&path))?.size;
        let differs = || self.failed(object, &"what is read back is not what was written");
        let mut at = 0;
        loop {
            let here = piece(&mut file).map_err(local)?;
            if here.is_empty() {
                return if at == arrived { Ok(()) } else { Err(differs()) };
            }
            let range = at..at + here.len() as u64;
            if range.end > arrived {
                return Err(differs());
            }
            let there = self.ask(object, context, self.store.objects.get_range(&path, range.clone()))?;
            if there != here {
                return Err(differs());
            }
            at = range.end;
        }
    }

    /// Copies an object of a size into a file, durably.
    pub(crate) fn fetch(&self, object: &str, size: u64, file: &FilePath, context: &Context) -> Result<()> {
        let (path, local) = (path_of(object)?, |error: std::io::Error| self.failed(object, &error));
        let mut file = File::create(file).map_err(local)?;
        let mut at = 0;
        while at < size {
            let range = at..size.min(at + PIECE as u64);
            let piece = self.ask(object, context, self.store.objects.get_range(&path, range.clone()))?;
            if piece.len() as u64 != range.end - range.start {
                return Err(self.failed(object, &"it is shorter than it was"));
            }
            file.write_all(&piece).map_err(local)?;
            at = range.end;
        }
        file.sync_all().map_err(local)
    }

    /// Parts of an object; without a context nobody can stop it.
    fn parts(&self, object: &str, ranges: &[Range<u64>], context: Option<&Context>) -> Result<Vec<Bytes>> {
        let path = path_of(object)?;
        let requests = ranges.iter().cloned().map(|range| {
            let path = &path;
            async move {
                let part = self.store.objects.get_range(path, range.clone()).await?;
                let whole = part.len() as u64 == range.end - range.start;
                let short =
                    || object_store::Error::Generic { store: "cold", source: "it is shorter than it was".into() };
                if whole { Ok(part) } else { Err(short()) }
            }
        });
        let all = futures::stream::iter(requests).buffered(REQUESTS_AT_ONCE).try_collect::<Vec<Bytes>>();
        match context {
            Some(context) => self.ask(object, context, all),
            None => self.note(object, self.store.runtime.block_on(all)),
        }
    }

    /// Asks a store that did not answer whether it does now. One that did is not asked.
    pub(crate) fn look(&self, context: &Context) -> Result<()> {
        if locked(&self.trouble).is_none() {
            return Ok(());
        }
        let root: Path = [self.store.root.as_str()].into_iter().collect();
        self.ask(&self.store.root, context, self.store.objects.list_with_delimiter(Some(&root))).map(drop)
    }

    /// Deletes what nobody needs, and once after the start what a crash has left behind.
    pub(crate) fn tidy(&self, context: &Context) -> Result<()> {
        loop {
            let Some(object) = locked(&self.garbage).last().cloned() else { break };
            self.delete(&object, context)?;
            locked(&self.garbage).retain(|one| *one != object);
            locked(&self.known).remove(&object);
            self.cache.forget(&object);
        }
        if self.is_swept.load(Ordering::Acquire) {
            return Ok(());
        }
        let root: Path = [self.store.root.as_str()].into_iter().collect();
        let listed = self.store.objects.list(Some(&root)).try_collect::<Vec<ObjectMeta>>();
        for found in self.ask(&self.store.root, context, listed)? {
            let is_ours =
                found.location.filename().is_some_and(|name| self.is_ours(name) && name.ends_with(".parquet"));
            let object: &str = found.location.as_ref();
            if is_ours && !locked(&self.known).contains(object) {
                self.delete(object, context)?;
            }
        }
        if let Some(folder) = &self.store.folder {
            self.sweep_half_written(folder);
        }
        self.is_swept.store(true, Ordering::Release);
        Ok(())
    }

    fn is_ours(&self, name: &str) -> bool {
        name.strip_prefix(&self.owner).is_some_and(|rest| rest.starts_with('-'))
    }

    /// A store in a folder writes files beside their names first (`NAME#1`) and does not list what a crash has left.
    fn sweep_half_written(&self, folder: &FilePath) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let name = entry.file_name();
            match name.to_str() {
                _ if is_folder => self.sweep_half_written(&entry.path()),
                Some(name) if self.is_ours(name) && name.contains(".parquet#") => {
                    let _ = std::fs::remove_file(entry.path());
                }
                _ => {}
            }
        }
    }

    fn delete(&self, object: &str, context: &Context) -> Result<()> {
        let path = path_of(object)?;
        let gone = async {
            match self.store.objects.delete(&path).await {
                Err(object_store::Error::NotFound { .. }) => Ok(()),
                other => other,
            }
        };
        self.ask(object, context, gone)
    }

    /// Waits for an answer, as long as whoever asked has not given up.
    fn ask<T>(
        &self,
        object: &str,
        context: &Context,
        answer: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T> {
        let answer = async {
            let mut answer = std::pin::pin!(answer);
            loop {
                match tokio::time::timeout(PATIENCE, &mut answer).await {
                    Ok(answer) => return Ok::<_, Error>(answer),
                    Err(_) => context.check()?,
                }
            }
        };
        self.note(object, self.store.runtime.block_on(answer)?)
    }

    /// Notes whether the store answers.
    fn note<T>(&self, object: &str, answer: object_store::Result<T>) -> Result<T> {
        let error = match answer {
            Ok(value) => {
                *locked(&self.trouble) = None;
                return Ok(value);
            }
            Err(error) => error,
        };
        let name = &self.store.name;
        if let object_store::Error::NotFound { .. } = error {
            return Err(self.failed(object, &"it is not there"));
        }
        *locked(&self.trouble) = Some(format!("the cold storage `{name}` does not do what it is asked: {error}"));
        Err(self.failed(object, &error))
    }

    fn failed(&self, object: &str, error: &dyn std::fmt::Display) -> Error {
        let reason = format!("in the cold storage `{}`: {error}", self.store.name);
        Error::Table { table: object.to_owned(), reason }
    }
}

fn path_of(object: &str) -> Result<Path> {
    let wrong = |error: object_store::path::Error| Error::Table { table: object.to_owned(), reason: error.to_string() };
    Path::parse(object).map_err(wrong)
}

/// The next piece of a file; shorter only at its end.
fn piece(file: &mut File) -> std::io::Result<Bytes> {
    let mut piece = Vec::new();
    file.take(PIECE as u64).read_to_end(&mut piece)?;
    Ok(piece.into())
}
