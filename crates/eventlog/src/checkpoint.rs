//! Checkpoints: small named states of those who read the log, such as cursors and detector state.
//!
//! Each name has two files; a write replaces the older one by way of a temporary file, so the previous
//! version stays readable until the next write, and is what `get` returns when the newest is damaged.
//!
//! Checkpoint file `<name>.0` or `<name>.1`, version 1, little-endian; bytes of the name other than
//! `A-Z a-z 0-9 _ -` are written `%XX`:
//!
//! ```text
//!  0   4  magic "GCHK"     4  1  version, 1    5  3  zeros
//!  8   8  generation, rising by one with each write of the name
//! 16   .  the bytes
//!  .   4  CRC-32 of all before
//! ```

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
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 16;

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
    /// The disk failed.
    #[error("checkpoint on disk")]
    Io(#[from] io::Error),
}

/// A store of named bytes, each replaced as a whole. Every call blocks on the disk.
pub struct Checkpoints {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    writing: Mutex<()>,
}

/// The versions of a checkpoint found on disk.
#[derive(Default)]
struct Versions {
    /// Newest intact one: generation, which of the two files, bytes.
    newest: Option<(u64, usize, Vec<u8>)>,
    damaged: usize,
}

impl Checkpoints {
    pub(crate) fn open(disk: Arc<dyn Disk>, folder: PathBuf) -> io::Result<Self> {
        disk.create_folder(&folder)?;
        for name in disk.list(&folder)?.iter().filter(|name| name.ends_with(".tmp")) {
            disk.remove(&folder.join(name))?;
        }
        Ok(Self { disk, folder, writing: Mutex::new(()) })
    }

    /// Replaces the checkpoint `name`; durable when this returns.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<(), CheckpointError> {
        let file = file_stem(name)?;
        if bytes.len() > CHECKPOINT_BYTES_MAX {
            return Err(CheckpointError::TooLarge { bytes: bytes.len() });
        }
        let _writing = self.writing.lock();
        let (generation, slot) = match self.versions(&file)?.newest {
            Some((generation, slot, _)) => (generation + 1, 1 - slot),
            None => (1, 0),
        };
        let mut header = [0; HEADER_BYTES];
        header[0..4].copy_from_slice(&MAGIC);
        header[4] = VERSION;
        header[8..16].copy_from_slice(&generation.to_le_bytes());
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
        let _writing = self.writing.lock();
        let versions = self.versions(&file)?;
        if versions.damaged > 0 {
            warn!(name, damaged = versions.damaged, "a version of a checkpoint is damaged");
        }
        match versions.newest {
            Some((_, _, bytes)) => Ok(Some(bytes)),
            None if versions.damaged > 0 => Err(CheckpointError::Damaged { name: name.into() }),
            None => Ok(None),
        }
    }

    /// Removes the checkpoint `name`, if it is there.
    pub fn remove(&self, name: &str) -> Result<(), CheckpointError> {
        let file = file_stem(name)?;
        let _writing = self.writing.lock();
        // The older version goes first: a crash in between must not bring it back.
        let newest = self.versions(&file)?.newest.map_or(0, |(_, slot, _)| slot);
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
                Some((generation, value)) if out.newest.as_ref().is_none_or(|newest| newest.0 < generation) => {
                    out.newest = Some((generation, slot, value));
                }
                Some(_) => {}
                None => out.damaged += 1,
            }
        }
        Ok(out)
    }
}

fn decode(mut bytes: Vec<u8>) -> Option<(u64, Vec<u8>)> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    let intact = body.len() >= HEADER_BYTES
        && body[0..4] == MAGIC
        && body[4] == VERSION
        && u32::from_le_bytes(*crc) == crc32fast::hash(body);
    if !intact {
        return None;
    }
    let generation = u64_at(body, 8);
    bytes.truncate(bytes.len() - 4);
    bytes.drain(..HEADER_BYTES);
    Some((generation, bytes))
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
        for n in 0..5_u8 {
            store.put("a/b", &[n; 1000]).unwrap();
            store.put("a%2Fb", b"other").unwrap();
            assert_eq!(store.get("a/b").unwrap().unwrap(), [n; 1000]);
        }
        store.remove("a/b").unwrap();
        assert_eq!(store.get("a/b").unwrap(), None);
        assert_eq!(store.get("a%2Fb").unwrap().unwrap(), b"other");
    }

    #[test]
    fn every_cut_and_flip_of_the_newest_falls_back_to_the_previous() {
        let (folder, store) = store();
        store.put("x", b"old").unwrap();
        store.put("x", b"new").unwrap();
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
        store.put("x", b"newer").unwrap();
        assert_eq!(store.get("x").unwrap().unwrap(), b"newer");
        std::fs::write(&path, b"").unwrap();
        std::fs::write(folder.path().join("x.0"), b"").unwrap();
        assert!(matches!(store.get("x"), Err(CheckpointError::Damaged { .. })));
    }

    #[test]
    fn names_are_bounded() {
        let (_folder, store) = store();
        assert!(store.put(&"é".repeat(40), b"").is_ok());
        assert!(matches!(store.put(&"n".repeat(81), b""), Err(CheckpointError::Name { bytes: 81 })));
        assert!(matches!(store.get(""), Err(CheckpointError::Name { bytes: 0 })));
    }
}
