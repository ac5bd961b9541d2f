//! Folders with what was exported, and files that nobody else reads.
//!
//! ```text
//! export.json            {"format": 1, "of": "iotcentral", "from": "https://...", "keys": false}
//! organizations.json     an array of documents, in order of id; so for every kind that is no part of a device
//! devices.jsonl          a document a line, in order of id; so for devices, modules and their parts
//! ```
//!
//! Documents are those of the API they were read from, without what the service says of them (etags, times, states).
//! A kind that could not be read has no file. Only the owner may read any of them.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use super::kind::{Kind, take_secrets};
use super::plan::Inventory;

const ABOUT: &str = "export.json";
const FORMAT: u64 = 1;

/// Makes a folder for its owner alone, unless it is there.
///
/// # Errors
/// When it cannot be made.
pub(super) fn make(folder: &Path) -> anyhow::Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("making {}", folder.display()))
}

/// Opens a file for its owner alone, as it was or emptied.
///
/// # Errors
/// When it cannot be opened.
pub(super) fn open(path: &Path, is_emptied: bool) -> anyhow::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).mode(0o600);
    if is_emptied {
        options.write(true).truncate(true);
    } else {
        options.append(true);
    }
    let file = options.open(path).with_context(|| format!("opening {}", path.display()))?;
    // A file that was there keeps its mode otherwise.
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(file)
}

/// Writes a document for people.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write(path: &Path, document: &Value) -> anyhow::Result<()> {
    let mut file = BufWriter::new(open(path, true)?);
    writeln!(file, "{document:#}").and_then(|()| file.flush()).with_context(|| format!("writing {}", path.display()))
}

fn path(folder: &Path, kind: Kind) -> PathBuf {
    let extension = if kind.is_lines() { "jsonl" } else { "json" };
    folder.join(format!("{}.{extension}", kind.name()))
}

/// Makes the folder of an export, unless it is there and empty.
///
/// # Errors
/// When something is in it, or it cannot be made.
pub(super) fn make_empty(folder: &Path) -> anyhow::Result<()> {
    make(folder)?;
    ensure!(fs::read_dir(folder)?.next().is_none(), "{} is not empty", folder.display());
    Ok(())
}

/// Writes an inventory into a folder that [`make_empty`] made.
///
/// # Errors
/// When it cannot be written.
pub(super) fn export(
    folder: &Path,
    of: &str,
    from: &str,
    kinds: &[Kind],
    inventory: &Inventory,
    with_keys: bool,
) -> anyhow::Result<()> {
    for kind in kinds.iter().filter(|kind| !inventory.unreadable.contains_key(kind)) {
        let things = inventory.of(*kind).map(|(_, thing)| {
            let mut thing = thing.clone();
            if !with_keys {
                take_secrets(&mut thing);
            }
            thing
        });
        let path = path(folder, *kind);
        if !kind.is_lines() {
            write(&path, &things.collect())?;
            continue;
        }
        let mut file = BufWriter::new(open(&path, true)?);
        for thing in things {
            writeln!(file, "{thing}").with_context(|| format!("writing {}", path.display()))?;
        }
        file.flush().with_context(|| format!("writing {}", path.display()))?;
    }
    // Last, so that an export that was cut short is none.
    let about = json!({ "format": FORMAT, "of": of, "from": from, "keys": with_keys });
    write(&folder.join(ABOUT), &about)
}

/// Reads a folder that [`export`] wrote.
///
/// # Errors
/// When it is another one, or a file cannot be read; names file and place.
pub(super) fn read(folder: &Path, of: &str, kinds: &[Kind]) -> anyhow::Result<Inventory> {
    let about: Value = json(&folder.join(ABOUT))?;
    ensure!(about["of"] == of, "{} holds an export of {}, not of {of}", folder.display(), about["of"]);
    ensure!(about["format"] == FORMAT, "the format of {} is not known: {}", folder.display(), about["format"]);
    let mut inventory = Inventory { is_keyless: about["keys"] == false, ..Inventory::default() };
    for kind in kinds {
        let path = path(folder, *kind);
        if !path.exists() {
            continue;
        }
        let documents = if kind.is_lines() {
            lines(&path)?
        } else {
            let Value::Array(documents) = json(&path)? else { bail!("{} is no array", path.display()) };
            documents
        };
        for (at, document) in documents.into_iter().enumerate() {
            let where_it_is = || format!("{}, document {}", path.display(), at + 1);
            ensure!(document.is_object(), "{}: it is no object", where_it_is());
            inventory.add(*kind, document).with_context(where_it_is)?;
        }
    }
    Ok(inventory)
}

fn json(path: &Path) -> anyhow::Result<Value> {
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is not JSON", path.display()))
}

fn lines(path: &Path) -> anyhow::Result<Vec<Value>> {
    let file = File::open(path).with_context(|| format!("reading {}", path.display()))?;
    let mut documents = vec![];
    for (at, line) in BufReader::new(file).lines().enumerate() {
        let line = line.with_context(|| format!("reading {}", path.display()))?;
        if !line.trim().is_empty() {
            let what = || format!("{}, line {} is not JSON", path.display(), at + 1);
            documents.push(serde_json::from_str(&line).with_context(what)?);
        }
    }
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::kind::CENTRAL;
    use super::*;

    fn some() -> Inventory {
        let mut all = Inventory::default();
        all.add(Kind::Organizations, json!({"id": "us"})).unwrap();
        all.things.insert(Kind::Dashboards, Default::default());
        for id in ["b", "a"] {
            let key = json!({"id": id, "type": "symmetricKey", "symmetricKey": {"primaryKey": "k"}});
            all.add(Kind::Attestations, key).unwrap();
        }
        all.unreadable.insert(Kind::Exports, "501".into());
        all
    }

    #[test]
    fn what_is_written_is_read_and_is_the_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let into = folder.path().join("deep/export");
        make_empty(&into).unwrap();
        export(&into, "iotcentral", "https://a", &CENTRAL, &some(), true).unwrap();
        let read = read(&into, "iotcentral", &CENTRAL).unwrap();
        for kind in CENTRAL {
            assert!(read.of(kind).eq(some().of(kind)), "{kind:?}");
        }
        assert_eq!(fs::metadata(&into).unwrap().permissions().mode() & 0o777, 0o700);
        let mut names = vec![];
        for entry in fs::read_dir(&into).unwrap().map(Result::unwrap) {
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
            names.push(entry.file_name().into_string().unwrap());
        }
        assert!(names.contains(&"attestations.jsonl".to_owned()) && !names.contains(&"exports.json".to_owned()));
        assert_eq!(fs::read_to_string(into.join("attestations.jsonl")).unwrap().lines().count(), 2);
        // It is not written over.
        assert!(make_empty(&into).unwrap_err().to_string().contains("not empty"));
    }

    #[test]
    fn keys_are_written_when_they_are_asked_for_alone() {
        let folder = tempfile::tempdir().unwrap();
        export(folder.path(), "iotcentral", "https://a", &CENTRAL, &some(), false).unwrap();
        let text = fs::read_to_string(folder.path().join("attestations.jsonl")).unwrap();
        assert!(text.contains("symmetricKey") && !text.contains("primaryKey"), "{text}");
    }

    #[test]
    fn what_is_wrong_in_a_folder_is_named() {
        #[track_caller]
        fn check(file: &str, text: &str, said: &str) {
            let folder = tempfile::tempdir().unwrap();
            export(folder.path(), "iotcentral", "https://a", &CENTRAL, &some(), true).unwrap();
            fs::write(folder.path().join(file), text).unwrap();
            let error = read(folder.path(), "iotcentral", &CENTRAL).unwrap_err();
            assert!(format!("{error:#}").contains(said), "{error:#}");
        }
        check("export.json", r#"{"format": 2, "of": "iotcentral"}"#, "format");
        check("export.json", r#"{"format": 1, "of": "iothub"}"#, "iothub");
        check("organizations.json", "{}", "organizations.json is no array");
        check("organizations.json", "[1]", "organizations.json, document 1: it is no object");
        check("organizations.json", "[{\"x\": 1}]", "document 1");
        check("attestations.jsonl", "{\"id\": \"a\"}\n{", "attestations.jsonl, line 2 is not JSON");
        check("attestations.jsonl", "{\"id\": \"a\"}\n\n{\"id\": \"a\"}", "`a` twice");
        assert!(read(Path::new("/nowhere"), "iotcentral", &CENTRAL).is_err());
    }
}
