//! Files outside of the platform that a text may name: of external tables, `externaldata`, `.ingest into`, `.export`.
//!
//! The port says which places may be named at all; by itself a warehouse may name none.

/// A file that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its address, without what is secret in it.
    pub uri: String,
    /// Its length in bytes.
    pub size: u64,
}

/// Places outside.
pub trait Outside: Send + Sync {
    /// The bytes of a file, no more than so many.
    ///
    /// # Errors
    /// In words, when the place may not be named, or the file cannot be read, or is longer.
    fn read(&self, uri: &str, bytes_max: u64) -> Result<Vec<u8>, String>;

    /// The files at an address: itself when it is one, those below it when it is a folder.
    ///
    /// # Errors
    /// In words, as of [`read`](Self::read).
    fn list(&self, uri: &str) -> Result<Vec<Found>, String>;

    /// Writes a new file into a folder, durably, and says where it is.
    ///
    /// # Errors
    /// In words, as of [`read`](Self::read).
    fn write(&self, folder: &str, name: &str, bytes: &[u8]) -> Result<String, String>;

    /// Whether a place may be named at all.
    ///
    /// # Errors
    /// In words, with the option that would allow it.
    fn check(&self, uri: &str) -> Result<(), String>;
}

/// No place may be named.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoOutside;

impl NoOutside {
    fn refused<T>(uri: &str) -> Result<T, String> {
        Err(format!("`{}` may not be named: this platform allows no places outside", without_secrets(uri)))
    }
}

impl Outside for NoOutside {
    fn read(&self, uri: &str, _: u64) -> Result<Vec<u8>, String> {
        Self::refused(uri)
    }

    fn list(&self, uri: &str) -> Result<Vec<Found>, String> {
        Self::refused(uri)
    }

    fn write(&self, folder: &str, _: &str, _: &[u8]) -> Result<String, String> {
        Self::refused(folder)
    }

    fn check(&self, uri: &str) -> Result<(), String> {
        Self::refused(uri)
    }
}

/// An address without the key or signature that stands behind its path.
pub fn without_secrets(uri: &str) -> &str {
    uri.split(['?', ';']).next().unwrap_or_default()
}
