//! What jobs need from outside.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use gantry_identity::Timestamp;

use crate::configurations::configuration::{Configuration, ConfigurationWrite};
use crate::error::HubError;
use crate::ports::{PortFuture, Record};
use crate::registry::bulk::BulkEntry;
use crate::registry::device::IfMatch;

/// A file in pieces, or words why it broke off.
pub type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, String>> + Send>>;

/// What a job does in a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Reads files.
    Read,
    /// Writes files.
    Write,
}

/// Opens the container a job names by an address with a signature.
pub trait Containers: Send + Sync {
    /// The container of `uri`, when its signature is good for `purpose`. Errors are words for the caller.
    fn open<'a>(&'a self, uri: &'a str, purpose: Purpose) -> PortFuture<'a, Arc<dyn Container>, String>;
}

/// A container of files, whoever's it is.
pub trait Container: Send + Sync {
    /// Length of a file in bytes.
    fn length<'a>(&'a self, name: &'a str) -> PortFuture<'a, u64, String>;
    /// A file.
    fn read<'a>(&'a self, name: &'a str) -> PortFuture<'a, Pieces, String>;
    /// Writes a file of text in place of what is there; of pieces that break off nothing is seen.
    fn write<'a>(&'a self, now: Timestamp, name: &'a str, pieces: Pieces) -> PortFuture<'a, (), String>;
}

/// Lines of files are documents of the service API: its head reads and writes them.
pub trait Lines: Send + Sync {
    /// The line of an identity.
    fn identity(&self, record: &Record, exclude_keys: bool) -> String;
    /// The line of a configuration.
    fn configuration(&self, configuration: &Configuration) -> String;
    /// What a line says of an identity.
    fn read_identity(&self, line: &[u8]) -> Result<BulkEntry, LineError>;
    /// What a line says of a configuration.
    fn read_configuration(&self, line: &[u8]) -> Result<ConfigurationEntry, LineError>;
    /// What is told of a line that was not carried out.
    fn refusal(&self, error: HubError) -> LineError;
}

/// A configuration to create, or to replace when `if_match` admits it.
#[derive(Clone, Debug)]
pub struct ConfigurationEntry {
    /// Its id.
    pub id: String,
    /// What it says.
    pub write: ConfigurationWrite,
    /// Which one may be replaced.
    pub if_match: IfMatch,
}

/// Why a line was not carried out, in the words of the service API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineError {
    /// Name of the error.
    pub code: &'static str,
    /// For people.
    pub words: String,
}
