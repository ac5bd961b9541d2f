//! Checkpoints: small named states of those who read the log, such as cursors and detector state.
//!
//! Each name has two files; a write replaces the older one by way of a temporary file, so the previous
//! version stays readable until the next write, and is what `get` returns when the newest is damaged.
//!
//! Who writes a checkpoint holds it, under an epoch: [`Checkpoints::take`] gives a higher one to the next holder, and
//! from then on refuses writes under those before. An epoch that was taken is kept in memory, and on disk with the
//! first write under it: one process has the folder, so that those who held an epoch it forgot are gone.
//!
//! Checkpoint file `<name>.0` or `<name>.1`, version 2, little-endian; bytes of the name other than
//! `A-Z a-z 0-9 _ -` are written `%XX`:
//!
//! ```text
//!  0   4  magic "GCHK"     4  1  version, 2    5  3  zeros
//!  8   8  generation, rising by one with each write of the name
//! 16   8  epoch it was written under
//! 24   .  the bytes
//!  .   4  CRC-32 of all before
//! ```
//!
//! Version 1 has no epoch, which is 0, and its bytes at 16.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::warn;

use crate::block::u64_at;
use crate::disk::{self, Disk};

/// Largest checkpoint.
pub const CHECKPOINT_BYTES_MAX: usize = 64 << 20;
/// Longest name, in bytes.
pub const CHECKPOINT_NAME_BYTES_MAX: usize = 80;

const MAGIC: [u8; 4] = *b"GCHK";
const VERSION: u8 = 2;
const HEADER_BYTES: usize = 24;
const HEADER_BYTES_V1: usize = 16;

/// Why a checkpoint was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The name is empty or too long.
    #[error("name of a checkpoint has {bytes} bytes, not 1 to {CHECKPOINT_NAME_BYTES_MAX}")]
    Name {
        /// Its length.
        bytes: usize,
    },
    /// The value is too large.
    #[error("checkpoint of {bytes} bytes exceeds {CHECKPOINT_BYTES_MAX}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// There are files of that name, and none is intact.
    #[error("every version of checkpoint `{name}` is damaged")]
    Damaged {
        /// The name.
        name: String,
    },
    /// Somebody took it since.
    #[error("checkpoint is held under epoch {held}, not {epoch}")]
    Taken {
        /// The epoch of the write.
        epoch: u64,
        /// The epoch it is held under.
        held: u64,
    },
    /// The disk failed.
    #[error("checkpoint on disk")]
    Io(#[from] io::Error),
}

/// A store of named bytes, each replaced as a whole. Every call blocks on the disk.
pub struct Checkpoints {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    /// Epochs taken of each file. Names that were removed stay: who held them may still be writing.
    held: Mutex<HashMap<String, u64>>,
}

/// An intact file.
struct Version {
    generation: u64,
    epoch: u64,
    bytes: Vec<u8>,
}

/// The versions of a checkpoint found on disk.
#[derive(Default)]
struct Versions {
    /// Newest intact one, and which of the two files it is.
    newest: Option<(Version, usize)>,
    damaged: usize,
}

impl Checkpoints {
    pub(crate) fn open(disk: Arc<dyn Disk>, folder: PathBuf) -> io::Result<Self> {
        disk.create_folder(&folder)?;
        for name in disk.list(&folder)?.iter().filter(|name| name.ends_with(".tmp")) {
            disk.remove(&folder.join(name))?;
        }
        Ok(Self { disk, folder, held: Mutex::default() })
    }

    /// Takes the checkpoint `name`: gives an epoch that is higher than all before, under which alone it is written now.
    pub fn take(&self, name: &str) -> Result<u64, CheckpointError> {
        let file = file_stem(name)?;
        let mut held = self.held.lock();
        let epoch = self.versions(&file)?.epoch(&held, &file) + 1;
        held.insert(file, epoch);
        Ok(epoch)
    }

    /// Replaces the checkpoint `name`, held under `epoch`; durable when this returns.
    pub fn put(&self, name: &str, epoch: u64, bytes: &[u8]) -> Result<(), CheckpointError> {
        let file = file_stem(name)?;
        if bytes.len() > CHECKPOINT_BYTES_MAX {
            return Err(CheckpointError::TooLarge { bytes: bytes.len() });
        }
        let held = self.held.lock();
        let versions = self.versions(&file)?;
        versions.check(&held, &file, epoch)?;
        let (generation, slot) = match versions.newest {
            Some((newest, slot)) => (newest.generation + 1, 1 - slot),
            None => (1, 0),
        };
        let mut header = [0; HEADER_BYTES];
        header[0..4].copy_from_slice(&MAGIC);
        header[4] = VERSION;
        header[8..16].copy_from_slice(&generation.to_le_bytes());
        header[16..24].copy_from_slice(&epoch.to_le_bytes());
        let mut crc = crc32fast::Hasher::new();
        crc.update(&header);
        crc.update(bytes);
        let crc = crc.finalize().to_le_bytes();
        disk::replace(&*self.disk, &self.folder, &format!("{file}.{slot}"), &[&header, bytes, &crc])?;
        Ok(())
    }

    /// The newest intact version of the checkpoint `name`; `None` when there never was one.
    pub fn get(&self, name: &str) -> Result<Option<Vec<u8>>, CheckpointError> {
        let file = file_stem(name)?;
        let _held = self.held.lock();
        let versions = self.versions(&file)?;
        if versions.damaged > 0 {
            warn!(name, damaged = versions.damaged, "a version of a checkpoint is damaged");
        }
        match versions.newest {
            Some((newest, _)) => Ok(Some(newest.bytes)),
            None if versions.damaged > 0 => Err(CheckpointError::Damaged { name: name.into() }),
            None => Ok(None),
        }
    }

    /// Removes the checkpoint `name`, held under `epoch`, if it is there.
    pub fn remove(&self, name: &str, epoch: u64) -> Result<(), CheckpointError> {
        let file = file_stem(name)?;
        let held = self.held.lock();
        let versions = self.versions(&file)?;
        versions.check(&held, &file, epoch)?;
        // The older version goes first: a crash in between must not bring it back.
        let newest = versions.newest.map_or(0, |(_, slot)| slot);
        for slot in [1 - newest, newest] {
            match self.disk.remove(&self.folder.join(format!("{file}.{slot}"))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
            self.disk.sync_folder(&self.folder)?;
        }
        Ok(())
    }

    fn versions(&self, file: &str) -> io::Result<Versions> {
        let mut out = Versions::default();
        for slot in 0..2 {
            let opened = match self.disk.open(&self.folder.join(format!("{file}.{slot}"))) {
                Ok(opened) => opened,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let bytes = match disk::read_small(&*opened, (CHECKPOINT_BYTES_MAX + HEADER_BYTES + 4) as u64) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => Vec::new(),
                Err(error) => return Err(error),
            };
            match decode(bytes) {
                Some(version)
                    if out.newest.as_ref().is_none_or(|(newest, _)| newest.generation < version.generation) =>
                {
                    out.newest = Some((version, slot));
                }
                Some(_) => {}
                None => out.damaged += 1,
            }
        }
        Ok(out)
    }
}

impl Versions {
    /// The epoch a file is held under.
    fn epoch(&self, held: &HashMap<String, u64>, file: &str) -> u64 {
        let written = self.newest.as_ref().map_or(0, |(newest, _)| newest.epoch);
        held.get(file).map_or(written, |taken| written.max(*taken))
    }

    fn check(&self, held: &HashMap<String, u64>, file: &str, epoch: u64) -> Result<(), CheckpointError> {
        let held = self.epoch(held, file);
        if epoch < held { Err(CheckpointError::Taken { epoch, held }) } else { Ok(()) }
    }
}

fn decode(mut bytes: Vec<u8>) -> Option<Version> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    let header_bytes = match body.get(4)? {
        1 => HEADER_BYTES_V1,
        &VERSION => HEADER_BYTES,
        _ => return None,
    };
    let intact = body.len() >= header_bytes && body[0..4] == MAGIC && u32::from_le_bytes(*crc) == crc32fast::hash(body);
    if !intact {
        return None;
    }
    let generation = u64_at(body, 8);
    let epoch = if header_bytes == HEADER_BYTES { u64_at(body, 16) } else { 0 };
    bytes.truncate(bytes.len() - 4);
    bytes.drain(..header_bytes);
    Some(Version { generation, epoch, bytes })
}

fn file_stem(name: &str) -> Result<String, CheckpointError> {
    if name.is_empty() || name.len() > CHECKPOINT_NAME_BYTES_MAX {
        return Err(CheckpointError::Name { bytes: name.len() });
    }
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    fn store() -> (tempfile::TempDir, Checkpoints) {
        let folder = tempfile::tempdir().unwrap();
        let store = Checkpoints::open(Arc::new(RealDisk), folder.path().to_path_buf()).unwrap();
        (folder, store)
    }

    #[test]
    fn the_last_put_is_what_get_returns() {
        let (_folder, store) = store();
        assert_eq!(store.get("a/b").unwrap(), None);
        let (epoch, other) = (store.take("a/b").unwrap(), store.take("a%2Fb").unwrap());
        for n in 0..5_u8 {
            store.put("a/b", epoch, &[n; 1000]).unwrap();
            store.put("a%2Fb", other, b"other").unwrap();
            assert_eq!(store.get("a/b").unwrap().unwrap(), [n; 1000]);
        }
        store.remove("a/b", epoch).unwrap();
        assert_eq!(store.get("a/b").unwrap(), None);
        assert_eq!(store.get("a%2Fb").unwrap().unwrap(), b"other");
    }

    #[test]
    fn every_cut_and_flip_of_the_newest_falls_back_to_the_previous() {
        let (folder, store) = store();
        store.put("x", 1, b"old").unwrap();
        store.put("x", 1, b"new").unwrap();
        let path = folder.path().join("x.1");
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            std::fs::write(&path, &good[..at]).unwrap();
            assert_eq!(store.get("x").unwrap().unwrap(), b"old", "cut at {at}");
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, bad).unwrap();
            assert_eq!(store.get("x").unwrap().unwrap(), b"old", "byte {at}");
        }
        store.put("x", 1, b"newer").unwrap();
        assert_eq!(store.get("x").unwrap().unwrap(), b"newer");
        std::fs::write(&path, b"").unwrap();
        std::fs::write(folder.path().join("x.0"), b"").unwrap();
        assert!(matches!(store.get("x"), Err(CheckpointError::Damaged { .. })));
    }

    #[test]
    fn names_are_bounded() {
        let (_folder, store) = store();
        assert!(store.put(&"é".repeat(40), 1, b"").is_ok());
        assert!(matches!(store.put(&"n".repeat(81), 1, b""), Err(CheckpointError::Name { bytes: 81 })));
        assert!(matches!(store.take(&"n".repeat(81)), Err(CheckpointError::Name { bytes: 81 })));
        assert!(matches!(store.get(""), Err(CheckpointError::Name { bytes: 0 })));
    }

    #[test]
    fn who_takes_a_checkpoint_fences_those_who_held_it() {
        let (folder, store) = store();
        let first = store.take("x").unwrap();
        store.put("x", first, b"first").unwrap();
        let second = store.take("x").unwrap();
        assert!(second > first);
        // Before the second wrote anything, and after.
        let refused = |store: &Checkpoints, epoch: u64| {
            let put = store.put("x", epoch, b"late").unwrap_err();
            assert!(matches!(put, CheckpointError::Taken { .. }), "{put}");
            let removed = store.remove("x", epoch).unwrap_err();
            assert!(matches!(removed, CheckpointError::Taken { .. }), "{removed}");
        };
        refused(&store, first);
        assert_eq!(store.get("x").unwrap().unwrap(), b"first", "what was put before is the second's");
        store.put("x", second, b"second").unwrap();
        refused(&store, first);
        // What the process forgot, the file says.
        let store = Checkpoints::open(Arc::new(RealDisk), folder.path().to_path_buf()).unwrap();
        refused(&store, first);
        let third = store.take("x").unwrap();
        assert!(third > second);
        refused(&store, second);
        assert_eq!(store.get("x").unwrap().unwrap(), b"second");
        // A removed one does not come back by a write that was under way.
        store.remove("x", third).unwrap();
        refused(&store, second);
        assert_eq!(store.get("x").unwrap(), None);
        // Other names are nobody's business.
        store.put("y", first, b"y").unwrap();
    }

    #[test]
    fn files_of_version_1_are_read_and_taken() {
        let (folder, store) = store();
        let file = |generation: u64, bytes: &[u8]| {
            let mut file = [b"GCHK\x01\0\0\0", &generation.to_le_bytes()[..], bytes].concat();
            file.extend(crc32fast::hash(&file).to_le_bytes());
            file
        };
        std::fs::write(folder.path().join("x.0"), file(7, b"newest")).unwrap();
        std::fs::write(folder.path().join("x.1"), file(6, b"older")).unwrap();
        std::fs::write(folder.path().join("empty.0"), file(1, b"")).unwrap();
        assert_eq!(store.get("x").unwrap().unwrap(), b"newest");
        assert_eq!(store.get("empty").unwrap().unwrap(), b"");
        assert_eq!(store.take("x").unwrap(), 1, "theirs is epoch 0");
        store.put("x", 1, b"new").unwrap();
        assert_eq!(store.get("x").unwrap().unwrap(), b"new");
        let mut expected = [b"GCHK\x02\0\0\0\x08\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0", &b"new"[..]].concat();
        expected.extend(crc32fast::hash(&expected).to_le_bytes());
        assert_eq!(std::fs::read(folder.path().join("x.1")).unwrap(), expected, "as the head of this file says");
    }
}
