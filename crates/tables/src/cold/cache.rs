//! What was read of the cold storage, kept here for the next question: blocks of objects in files of their own, as many
//! as a budget allows. Those go first that were not used for longest. It begins empty: after a crash nobody knows which
//! of its files are whole.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Mutex;

use bytes::Bytes;

use super::locked;

/// Bytes that are brought and kept together. The last block of an object is shorter.
pub(crate) const BLOCK: u64 = 256 << 10;

/// An object and the number of a block in it.
type Key = (String, u64);

pub(crate) struct Cache {
    folder: PathBuf,
    budget: u64,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    bytes: u64,
    /// Counts uses.
    clock: u64,
    /// When each block was last used, and its length.
    blocks: HashMap<Key, (u64, u64)>,
    by_use: BTreeMap<u64, Key>,
}

impl Held {
    fn use_now(&mut self, key: Key, length: u64) {
        self.clock += 1;
        match self.blocks.insert(key.clone(), (self.clock, length)) {
            Some((before, _)) => drop(self.by_use.remove(&before)),
            None => self.bytes += length,
        }
        self.by_use.insert(self.clock, key);
    }

    fn remove(&mut self, key: &Key) {
        if let Some((used, length)) = self.blocks.remove(key) {
            self.by_use.remove(&used);
            self.bytes -= length;
        }
    }
}

impl Cache {
    /// In a folder, which is emptied.
    pub(crate) fn new(folder: PathBuf, budget: u64) -> std::io::Result<Cache> {
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        Ok(Cache { folder, budget, held: Mutex::default() })
    }

    fn file(&self, (object, block): &Key) -> PathBuf {
        // The last part of an object's name is its alone.
        let name = object.rsplit('/').next().unwrap_or(object);
        self.folder.join(format!("{name}.{block}"))
    }

    pub(crate) fn get(&self, object: &str, block: u64) -> Option<Bytes> {
        let key = (object.to_owned(), block);
        let length = {
            let mut held = locked(&self.held);
            let length = held.blocks.get(&key)?.1;
            held.use_now(key.clone(), length);
            length
        };
        let read = std::fs::read(self.file(&key)).ok().filter(|bytes| bytes.len() as u64 == length);
        if read.is_none() {
            locked(&self.held).remove(&key);
        }
        read.map(Bytes::from)
    }

    /// Keeps a block, if the disk has room for it: it is there already for whoever asked.
    pub(crate) fn put(&self, object: &str, block: u64, bytes: &Bytes) {
        let (key, length) = ((object.to_owned(), block), bytes.len() as u64);
        if length > self.budget || std::fs::write(self.file(&key), bytes).is_err() {
            let _ = std::fs::remove_file(self.file(&key));
            return;
        }
        let mut held = locked(&self.held);
        held.use_now(key, length);
        while held.bytes > self.budget {
            let Some((_, oldest)) = held.by_use.first_key_value() else { break };
            let oldest = oldest.clone();
            held.remove(&oldest);
            let _ = std::fs::remove_file(self.file(&oldest));
        }
    }

    /// Lets all blocks of an object go.
    pub(crate) fn forget(&self, object: &str) {
        let mut held = locked(&self.held);
        let blocks: Vec<Key> = held.blocks.keys().filter(|key| key.0 == object).cloned().collect();
        for key in blocks {
            held.remove(&key);
            let _ = std::fs::remove_file(self.file(&key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_goes_first_and_the_budget_holds() {
        let place = tempfile::tempdir().unwrap();
        let files = || std::fs::read_dir(place.path().join("near")).unwrap().count();
        let cache = Cache::new(place.path().join("near"), 30).unwrap();
        let block = |n: u8| Bytes::from(vec![n; 10]);
        for n in 0..3 {
            cache.put("a/b", n, &block(n as u8));
        }
        assert_eq!(cache.get("a/b", 0), Some(block(0)), "used again");
        cache.put("a/c", 0, &block(9));
        assert_eq!((cache.get("a/b", 1), cache.get("a/b", 2)), (None, Some(block(2))));
        assert_eq!(files(), 3);
        cache.put("a/d", 0, &Bytes::from(vec![0; 31]));
        assert_eq!((cache.get("a/d", 0), files()), (None, 3), "larger than all that may be kept");
        cache.forget("a/b");
        assert_eq!((cache.get("a/b", 0), cache.get("a/c", 0), files()), (None, Some(block(9)), 1));
        let cache = Cache::new(place.path().join("near"), 30).unwrap();
        assert_eq!((cache.get("a/c", 0), files()), (None, 0), "it begins empty");
    }

    #[test]
    fn a_file_that_is_gone_or_cut_short_is_not_there() {
        let place = tempfile::tempdir().unwrap();
        let cache = Cache::new(place.path().join("near"), 100).unwrap();
        for n in 0..2 {
            cache.put("o", n, &Bytes::from_static(b"0123456789"));
        }
        std::fs::remove_file(place.path().join("near/o.0")).unwrap();
        std::fs::write(place.path().join("near/o.1"), b"0123").unwrap();
        assert_eq!((cache.get("o", 0), cache.get("o", 1)), (None, None));
    }
}
