//! What a migration did, in a file beside its report, so that it can be cut short and go on.
//!
//! The first line says from where and to where, each other one a thing that was begun,
//! and finished or refused:
//!
//! ```text
//! {"from": "https://a", "to": "https://b"}
//! {"begun": "devices", "id": "pump-1"}
//! {"finished": "devices", "id": "pump-1"}
//! {"refused": "devices", "id": "pump-2"}
//! ```
//!
//! What is here and what is not is read anew each time; the file says which devices are ours to finish. A last line
//! that was cut short counts as not written.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::folder;
use super::kind::Kind;
use super::plan::{Done, Key};

const FILE: &str = "state.jsonl";

/// The file, open for more.
pub(super) struct State {
    file: File,
}

/// What the file of a folder says of a migration.
///
/// # Errors
/// When it is of another migration, or cannot be read.
pub(super) fn read(folder: &Path, from: &str, to: &str, kinds: &[Kind]) -> anyhow::Result<Done> {
    let path = folder.join(FILE);
    let mut done = Done::default();
    if !path.exists() {
        return Ok(done);
    }
    let file = File::open(&path).with_context(|| format!("reading {}", path.display()))?;
    let kinds: HashMap<&str, Kind> = kinds.iter().map(|kind| (kind.name(), *kind)).collect();
    for (at, line) in BufReader::new(file).lines().enumerate() {
        let line = line.with_context(|| format!("reading {}", path.display()))?;
        let Ok(line) = serde_json::from_str::<Value>(&line) else { continue };
        if at == 0 {
            let is_this = line["from"] == from && line["to"] == to;
            let (other, there) = (&line["from"], &line["to"]);
            ensure!(is_this, "{} is of a migration from {other} to {there}; give another --report", path.display());
        }
        for (word, into) in [("begun", &mut done.begun), ("finished", &mut done.finished)] {
            let kind = line[word].as_str().and_then(|name| kinds.get(name));
            if let (Some(kind), Some(id)) = (kind, line["id"].as_str()) {
                into.insert((*kind, id.to_owned()));
            }
        }
        let refused = line["refused"].as_str().and_then(|name| kinds.get(name));
        if let (Some(kind), Some(id)) = (refused, line["id"].as_str()) {
            done.begun.remove(&(*kind, id.to_owned()));
        }
    }
    Ok(done)
}

impl State {
    /// Opens the file of a folder for more.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn open(folder: &Path, from: &str, to: &str) -> anyhow::Result<Self> {
        let file = folder::open(&folder.join(FILE), false)?;
        let mut state = Self { file };
        if state.file.metadata()?.len() == 0 {
            state.write(&json!({ "from": from, "to": to }))?;
        } else {
            // Behind a line that was cut short.
            state.file.write_all(b"\n")?;
        }
        Ok(state)
    }

    /// Notes that things are about to be made.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn begin<'k>(&mut self, keys: impl IntoIterator<Item = &'k Key>) -> anyhow::Result<()> {
        self.note("begun", keys)
    }

    /// Notes that things are made.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn finish<'k>(&mut self, keys: impl IntoIterator<Item = &'k Key>) -> anyhow::Result<()> {
        self.note("finished", keys)
    }

    /// Notes that things were refused: what is there of them is somebody else's.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn refuse<'k>(&mut self, keys: impl IntoIterator<Item = &'k Key>) -> anyhow::Result<()> {
        self.note("refused", keys)
    }

    fn note<'k>(&mut self, word: &str, keys: impl IntoIterator<Item = &'k Key>) -> anyhow::Result<()> {
        keys.into_iter().try_for_each(|(kind, id)| self.write(&json!({ word: kind.name(), "id": id })))
    }

    fn write(&mut self, line: &Value) -> anyhow::Result<()> {
        self.file.write_all(format!("{line}\n").as_bytes()).context("writing the state of the migration")
    }
}

#[cfg(test)]
mod tests {
    use super::super::kind::CENTRAL;
    use super::*;

    #[test]
    fn what_is_noted_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let key = |id: &str| (Kind::Devices, id.to_owned());
        let mut state = State::open(folder.path(), "a", "b").unwrap();
        state.begin([&key("1"), &key("2")]).unwrap();
        state.finish([&key("1")]).unwrap();
        state.file.write_all(b"{\"finished\": \"devi").unwrap();
        drop(state);
        let mut state = State::open(folder.path(), "a", "b").unwrap();
        state.begin([&key("3"), &key("4")]).unwrap();
        state.refuse([&key("4")]).unwrap();
        let done = read(folder.path(), "a", "b", &CENTRAL).unwrap();
        assert_eq!(done.begun, [key("1"), key("2"), key("3")].into());
        assert_eq!(done.finished, [key("1")].into());
    }

    #[test]
    fn a_state_is_of_one_migration() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path(), "a", "b", &CENTRAL).unwrap().begun.is_empty());
        drop(State::open(folder.path(), "a", "b").unwrap());
        assert!(read(folder.path(), "a", "b", &CENTRAL).is_ok());
        let error = read(folder.path(), "x", "b", &CENTRAL).err().unwrap().to_string();
        assert!(error.contains("another --report") && error.contains("\"a\""), "{error}");
    }
}
