//! Golden files: bytes of a format as they were written once, beside what they mean.
//!
//! A crate that owns a format keeps a file of each of its versions under `tests/golden`, with what it decodes to in
//! `….expected.txt`. Tests decode every file and compare, and encode the newest again and compare the bytes. Run with
//! `GANTRY_BLESS=1`, they write what they would have compared; the difference is reviewed like code. A file of an
//! older version is only ever read: nobody calls [`check`] with it.

use std::fs;
use std::path::{Path, PathBuf};

/// The variable that makes tests write golden files.
pub const BLESS: &str = "GANTRY_BLESS";

/// Whether files are written rather than compared.
pub fn blesses() -> bool {
    std::env::var_os(BLESS).is_some_and(|value| value == "1")
}

/// Where a crate keeps its golden files: pass `env!("CARGO_MANIFEST_DIR")`.
pub fn folder(crate_folder: &str) -> PathBuf {
    Path::new(crate_folder).join("tests/golden")
}

/// The bytes of a golden file.
///
/// # Panics
/// When there is none.
#[track_caller]
pub fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}; {BLESS}=1 writes those of today", path.display()))
}

/// Compares with a golden file, or writes it.
///
/// # Panics
/// When they differ; says where.
#[track_caller]
pub fn check(path: &Path, actual: &[u8]) {
    if blesses() {
        let folder = path.parent().expect("a golden file is in a folder");
        fs::create_dir_all(folder).and_then(|()| fs::write(path, actual)).expect("the golden file can be written");
        return;
    }
    let expected = read(path);
    let Some(at) = difference(&expected, actual) else { return };
    panic!(
        "{} is not what is written today: {} bytes, not {}; from byte {at} on\nexpected: {}\nactual:   {}",
        path.display(),
        actual.len(),
        expected.len(),
        excerpt(&expected, at),
        excerpt(actual, at),
    );
}

/// Where two texts part.
fn difference(expected: &[u8], actual: &[u8]) -> Option<usize> {
    let same = expected.iter().zip(actual).take_while(|(a, b)| a == b).count();
    (expected.len() != actual.len() || same < expected.len()).then_some(same)
}

/// The line around a place, escaped when it is no text.
fn excerpt(bytes: &[u8], at: usize) -> String {
    let from = bytes[..at]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |newline| newline + 1)
        .max(at.saturating_sub(120));
    bytes[from..bytes.len().min(at + 120)].escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_differ_in_a_byte_or_in_length_are_told_apart() {
        assert_eq!(difference(b"abc", b"abc"), None);
        assert_eq!(difference(b"abc", b"axc"), Some(1));
        assert_eq!(difference(b"abc", b"ab"), Some(2));
        assert_eq!(difference(b"", b"a"), Some(0));
        assert_eq!(excerpt(b"one\ntwo\nthree", 6), "two\\nthree");
    }
}
