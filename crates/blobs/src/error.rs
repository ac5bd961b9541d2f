//! Why a blob operation was refused.

use crate::blob::BlockListError;
use crate::name::NameError;

/// Why a blob operation was refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BlobError {
    /// A container or blob name cannot be used.
    #[error(transparent)]
    Name(#[from] NameError),
    /// No such container.
    #[error("the container does not exist")]
    NoContainer,
    /// The container is there already.
    #[error("the container exists already")]
    ContainerExists,
    /// No such blob.
    #[error("the blob does not exist")]
    NoBlob,
    /// The blob is there already and the caller asked for a new one.
    #[error("the blob exists already")]
    BlobExists,
    /// `If-Match`, `If-None-Match`, `If-Modified-Since` or `If-Unmodified-Since` is not met.
    #[error("a condition is not met")]
    ConditionNotMet,
    /// A write with more than one condition, or with more than one ETag in it.
    #[error("multiple condition headers are not supported")]
    ManyConditions,
    /// A read that may only go ahead when there is nothing to read.
    #[error("the request includes a condition that cannot be satisfied for this operation")]
    Unsatisfiable,
    /// A read whose `If-None-Match` or `If-Modified-Since` says the caller has it already.
    #[error("not modified")]
    NotModified,
    /// A list of blocks cannot be committed.
    #[error(transparent)]
    BlockList(#[from] BlockListError),
    /// The blob has as many uncommitted blocks as may be.
    #[error("the blob has too many uncommitted blocks")]
    TooManyBlocks,
    /// The content is larger than may be, in bytes.
    #[error("the content is larger than the {0} bytes allowed")]
    TooLarge(u64),
    /// Fewer or more bytes came than were announced, or the connection broke off.
    #[error("the content broke off or differs from its announced length")]
    Incomplete,
    /// The content does not have the MD5 it came with.
    #[error("the MD5 of the content differs from the one sent")]
    Md5Mismatch,
    /// The range begins behind the end of the blob.
    #[error("the range is outside of the blob of {length} bytes")]
    RangeOutside {
        /// Length of the blob.
        length: u64,
    },
    /// No space left: nothing was stored.
    #[error("no space left on the disk")]
    NoSpace,
    /// The catalogue or the object store failed.
    #[error("{0}")]
    Failed(String),
}

impl From<object_store::Error> for BlobError {
    fn from(error: object_store::Error) -> Self {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(cause) = source {
            let full = |io: &std::io::Error| {
                matches!(io.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
            };
            if cause.downcast_ref::<std::io::Error>().is_some_and(full) {
                return Self::NoSpace;
            }
            source = cause.source();
        }
        Self::Failed(error.to_string())
    }
}
