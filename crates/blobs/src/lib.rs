//! Blob storage that Azure Blob clients can use: containers, block blobs, blocks, conditions, signatures.
//!
//! Two parts. The *catalogue* ([`ports::Catalogue`]) knows names, properties, metadata, ETags and
//! of which objects a blob is made; every change to it is one transaction. The *content* is
//! immutable objects in an [`object_store`], under names of our own: what a client calls its blob
//! never reaches a file system, so no name can climb out of a folder or collide with another one
//! that differs in case only. A blob is durable before it is answered: first its objects are
//! synced, then the catalogue commits. An object no blob has any more becomes garbage in the same
//! transaction and is deleted after readers had time to finish.
//!
//! No HTTP here, no clock (`now` is an argument) and no randomness. Snapshots, versions, leases,
//! append and page blobs, tags and tiers are left out.

pub mod blob;
pub mod conditions;
mod content;
mod error;
mod grant;
mod list;
mod name;
mod place;
pub mod ports;
mod sas;
mod shared_key;
mod store;

pub use content::{GARBAGE_GRACE, PART_BYTES, Stored};
pub use error::BlobError;
pub use grant::{Denied, Grant, Permission, Target};
pub use list::{LIST_MAX, ListQuery, Listed, Listing};
pub use name::{BlobName, ContainerName, NameError};
pub use place::{Place, Stat};
pub use sas::{SasParameters, SasSigner, verify_sas};
pub use shared_key::{SignedRequest, verify_shared_key};
pub use store::{Account, BLOCK_BYTES_MAX, Blobs, ContentStream, PUT_BLOB_BYTES_MAX};
