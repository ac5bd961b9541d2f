//! What the blob store needs from outside, beside an object store: a catalogue with transactions.

use std::future::Future;
use std::pin::Pin;

use gantry_identity::Timestamp;

use crate::blob::{Blob, Block, Container, Draft, Metadata, ObjectId, Part, Properties, Which};
use crate::conditions::Conditions;
use crate::error::BlobError;
use crate::name::{BlobName, ContainerName};

/// What an operation of the catalogue returns.
pub type CatalogueFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, BlobError>> + Send + 'a>>;

/// A blob by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobAddress {
    /// Its container.
    pub container: ContainerName,
    /// Its name.
    pub name: BlobName,
}

/// A part of a blob's content that a range touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Where it begins in the blob.
    pub start: u64,
    /// The part.
    pub part: Part,
}

/// The blocks of a blob.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockLists {
    /// Those it is made of, in order; none for a blob put in one piece.
    pub committed: Vec<Block>,
    /// Those put since.
    pub uncommitted: Vec<Block>,
}

/// Names, properties and parts. Each method is one transaction, durable when it resolves. A part
/// that a change leaves without a blob becomes garbage in the same transaction.
///
/// Methods on blobs fail with [`BlobError::NoContainer`] when the container is missing.
pub trait Catalogue: Send + Sync {
    /// Makes a container.
    fn create_container<'a>(
        &'a self,
        name: &'a ContainerName,
        metadata: Metadata,
        now: Timestamp,
    ) -> CatalogueFuture<'a, Container>;
    /// One container.
    fn container<'a>(&'a self, name: &'a ContainerName) -> CatalogueFuture<'a, Container>;
    /// Containers whose name begins with `prefix` and is not before `from`, in order.
    fn containers<'a>(
        &'a self,
        prefix: &'a str,
        from: &'a str,
        limit: usize,
    ) -> CatalogueFuture<'a, Vec<(ContainerName, Container)>>;
    /// Replaces a container's metadata.
    fn set_container_metadata<'a>(
        &'a self,
        name: &'a ContainerName,
        metadata: Metadata,
        conditions: Conditions,
        now: Timestamp,
    ) -> CatalogueFuture<'a, Container>;
    /// Deletes a container and everything in it.
    fn delete_container<'a>(&'a self, name: &'a ContainerName, conditions: Conditions) -> CatalogueFuture<'a, ()>;

    /// One blob and those of its parts that `range` (begin, end) touches, in order.
    fn blob<'a>(&'a self, at: &'a BlobAddress, range: (u64, u64)) -> CatalogueFuture<'a, (Blob, Vec<Placed>)>;
    /// Blobs whose name begins with `prefix` and is not before `from`, in order of the names' bytes.
    fn blobs<'a>(
        &'a self,
        container: &'a ContainerName,
        prefix: &'a str,
        from: &'a str,
        limit: usize,
    ) -> CatalogueFuture<'a, Vec<(BlobName, Blob)>>;
    /// Replaces a blob by one of a single part, and drops its uncommitted blocks.
    fn put_blob<'a>(
        &'a self,
        at: &'a BlobAddress,
        draft: Draft,
        content: Option<Part>,
        conditions: Conditions,
        now: Timestamp,
    ) -> CatalogueFuture<'a, Blob>;
    /// Adds an uncommitted block, or replaces the one of the same id.
    fn put_block<'a>(&'a self, at: &'a BlobAddress, block: Block, now: Timestamp) -> CatalogueFuture<'a, ()>;
    /// Replaces a blob by one made of blocks, and drops every block it does not use.
    fn commit_blocks<'a>(
        &'a self,
        at: &'a BlobAddress,
        draft: Draft,
        list: Vec<(Which, String)>,
        conditions: Conditions,
        now: Timestamp,
    ) -> CatalogueFuture<'a, Blob>;
    /// The blocks of a blob; [`BlobError::NoBlob`] when it has none and does not exist.
    fn blocks<'a>(&'a self, at: &'a BlobAddress) -> CatalogueFuture<'a, (Option<Blob>, BlockLists)>;
    /// Replaces a blob's metadata, its properties, or both.
    fn change_blob<'a>(
        &'a self,
        at: &'a BlobAddress,
        metadata: Option<Metadata>,
        properties: Option<Properties>,
        conditions: Conditions,
        now: Timestamp,
    ) -> CatalogueFuture<'a, Blob>;
    /// Deletes a blob.
    fn delete_blob<'a>(
        &'a self,
        at: &'a BlobAddress,
        conditions: Conditions,
        now: Timestamp,
    ) -> CatalogueFuture<'a, ()>;

    /// Turns blocks uncommitted since before `before`, and some of what deleted containers held, into garbage.
    /// Says whether there may be more to do.
    fn expire(&self, before: Timestamp, now: Timestamp) -> CatalogueFuture<'_, bool>;
    /// Objects that are garbage since before `before`.
    fn garbage(&self, before: Timestamp, limit: usize) -> CatalogueFuture<'_, Vec<ObjectId>>;
    /// Forgets garbage that was deleted.
    fn forget(&self, objects: Vec<ObjectId>) -> CatalogueFuture<'_, ()>;
    /// Which of these objects are neither part of a blob nor garbage.
    fn strangers(&self, objects: Vec<ObjectId>) -> CatalogueFuture<'_, Vec<ObjectId>>;
}
