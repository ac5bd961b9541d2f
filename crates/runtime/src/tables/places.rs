//! Files outside that texts may name: those that the configuration allows, by the beginnings of their addresses.
//!
//! `file:///folder/` allows the files below a folder, whatever a name in it says; `https://host/path/` what is below
//! an address. Nothing is followed elsewhere: an answer that sends on to another address is an error.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gantry_analytics::outside::{Found, Outside, without_secrets};

use super::Waiter;
use crate::config::ExternalData;

/// How long a file elsewhere may take.
const TIMEOUT: Duration = Duration::from_secs(300);
/// Files of one folder.
const FILES_MAX: usize = 20_000;

/// The places that are allowed.
pub struct Places {
    waiter: Waiter,
    allowed: Vec<String>,
    client: Option<reqwest::Client>,
}

impl Places {
    /// Those of a configuration.
    pub fn new(waiter: Waiter, config: &ExternalData) -> Places {
        let remote = config.allow.iter().any(|allowed| allowed.starts_with("http"));
        let build = || {
            let client = gantry_endpoints::client(None);
            client.map_err(|error| tracing::warn!(%error, "external data over HTTP is not available")).ok()
        };
        Places { waiter, allowed: config.allow.clone(), client: remote.then(build).flatten() }
    }

    fn refused(&self, uri: &str) -> String {
        let shown = without_secrets(uri);
        format!("`{shown}` may not be named: `external_data.allow` of the configuration does not have it")
    }

    /// The folder or file of an address, within a folder that is allowed.
    fn path(&self, uri: &str) -> Result<PathBuf, String> {
        let named = without_secrets(uri).strip_prefix("file://").ok_or_else(|| self.refused(uri))?;
        let real = |path: &Path| path.canonicalize().map_err(|error| format!("`{}`: {error}", path.display()));
        let folders = self.allowed.iter().filter_map(|allowed| allowed.strip_prefix("file://"));
        // Whether it is there is nobody's business before it is known to be within.
        let within = |path: &Path| {
            folders.clone().any(|folder| Path::new(folder).canonicalize().is_ok_and(|folder| path.starts_with(folder)))
        };
        let path = real(Path::new(named)).map_err(|error| match lexically_within(&self.allowed, named) {
            true => error,
            false => self.refused(uri),
        })?;
        if within(&path) { Ok(path) } else { Err(self.refused(uri)) }
    }

    fn is_remote(uri: &str) -> bool {
        uri.starts_with("http://") || uri.starts_with("https://")
    }

    fn client(&self, uri: &str) -> Result<&reqwest::Client, String> {
        self.check(uri)?;
        self.client.as_ref().ok_or_else(|| self.refused(uri))
    }
}

/// Whether a path is below an allowed folder by its words alone.
fn lexically_within(allowed: &[String], named: &str) -> bool {
    let plain = !named.split('/').any(|piece| piece == "..");
    plain
        && allowed
            .iter()
            .filter_map(|allowed| allowed.strip_prefix("file://"))
            .any(|folder| Path::new(named).starts_with(folder))
}

impl Outside for Places {
    fn check(&self, uri: &str) -> Result<(), String> {
        if Self::is_remote(uri) {
            let plain = without_secrets(uri);
            // `https://host` allows `https://host/x` and not `https://hostile/x`.
            let below = |allowed: &String| {
                plain
                    .strip_prefix(allowed.as_str())
                    .is_some_and(|rest| allowed.ends_with('/') || rest.is_empty() || rest.starts_with('/'))
            };
            let climbs = plain.split('/').any(|piece| piece == ".." || piece.eq_ignore_ascii_case("%2e%2e"));
            return if self.allowed.iter().any(below) && !climbs { Ok(()) } else { Err(self.refused(uri)) };
        }
        let named = without_secrets(uri).strip_prefix("file://").ok_or_else(|| self.refused(uri))?;
        if lexically_within(&self.allowed, named) { Ok(()) } else { Err(self.refused(uri)) }
    }

    fn read(&self, uri: &str, bytes_max: u64) -> Result<Vec<u8>, String> {
        let shown = without_secrets(uri);
        let too_large = || format!("`{shown}` is larger than {bytes_max} bytes");
        if !Self::is_remote(uri) {
            let path = self.path(uri)?;
            let meta = std::fs::metadata(&path).map_err(|error| format!("`{shown}`: {error}"))?;
            if !meta.is_file() {
                return Err(format!("`{shown}` is no file"));
            }
            if meta.len() > bytes_max {
                return Err(too_large());
            }
            return std::fs::read(&path).map_err(|error| format!("`{shown}`: {error}"));
        }
        let client = self.client(uri)?;
        // Options of the reference behind the address (`;managed_identity=...`) are not part of it.
        let address = uri.split(';').next().unwrap_or_default();
        self.waiter.wait(async {
            let failed = |error: reqwest::Error| format!("`{shown}`: {}", error.without_url());
            let mut response = client.get(address).timeout(TIMEOUT).send().await.map_err(failed)?;
            if !response.status().is_success() {
                return Err(format!("`{shown}` answers {}", response.status()));
            }
            let mut bytes = Vec::new();
            while let Some(piece) = response.chunk().await.map_err(failed)? {
                bytes.extend_from_slice(&piece);
                if bytes.len() as u64 > bytes_max {
                    return Err(too_large());
                }
            }
            Ok(bytes)
        })
    }

    fn list(&self, uri: &str) -> Result<Vec<Found>, String> {
        self.check(uri)?;
        if Self::is_remote(uri) {
            return Ok(vec![Found { uri: uri.to_owned(), size: 0 }]);
        }
        let path = self.path(uri)?;
        let mut found = Vec::new();
        gather(&path, &mut found).map_err(|error| format!("`{}`: {error}", without_secrets(uri)))?;
        found.sort_by(|a, b| a.uri.cmp(&b.uri));
        Ok(found)
    }

    fn write(&self, folder: &str, name: &str, bytes: &[u8]) -> Result<String, String> {
        self.check(folder)?;
        let shown = without_secrets(folder);
        if Self::is_remote(folder) {
            return Err(format!("`{shown}`: writing over HTTP is not implemented; a folder (`file://`) is"));
        }
        let path = self.path(folder)?.join(name);
        let failed = |error: std::io::Error| format!("`{}`: {error}", path.display());
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path).map_err(failed)?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
        // The name is durable when its folder is.
        let folder = path.parent().unwrap_or(&path);
        std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        Ok(format!("file://{}", path.display()))
    }
}

/// The files below a folder. Links out of it are not followed.
fn gather(path: &Path, found: &mut Vec<Found>) -> std::io::Result<()> {
    let meta = std::fs::symlink_metadata(path)?;
    if meta.is_file() {
        found.push(Found { uri: format!("file://{}", path.display()), size: meta.len() });
    } else if meta.is_dir() {
        for entry in std::fs::read_dir(path)? {
            if found.len() > FILES_MAX {
                return Err(std::io::Error::other(format!("more than {FILES_MAX} files are there")));
            }
            gather(&entry?.path(), found)?;
        }
    }
    Ok(())
}
