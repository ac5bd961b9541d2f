//! Settings, and state that is read at start, as JSON documents in collections.
//!
//! A collection is read as a whole and has one version, which every write raises by one. A write says at which version
//! the collection was read. So whoever decided on what they read also decided on what is missing there, such as the
//! hundredth configuration; and whoever keeps a collection in memory learns from one number that it is old.

use super::{PortFuture, StoreError};

/// The documents of a collection with their ids, in order of id, and its version: 0 until it is first written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collection {
    /// Rises by one with every write.
    pub version: u64,
    /// Ids and texts.
    pub documents: Vec<(String, String)>,
}

/// What is written of a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Which.
    pub collection: &'static str,
    /// The version it was read at.
    pub version: u64,
    /// Ids and new texts, or `None` for those that are deleted. May be empty: then the collection only has to be as
    /// it was read.
    pub documents: Vec<(String, Option<String>)>,
}

/// JSON documents by collection and id. The owner of a collection owns the shape of its documents.
pub trait Documents: Send + Sync {
    /// A collection as it is now.
    fn all(&self, collection: &'static str) -> PortFuture<'_, Collection, StoreError>;
    /// Writes collections, each once, all or none, and raises the version of each. Durable when it resolves.
    /// [`StoreError::Conflict`] when one of them is at another version than the one it was read at.
    fn put(&self, changes: Vec<Changes>) -> PortFuture<'_, (), StoreError>;
}
