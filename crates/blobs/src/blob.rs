//! What is known of a container and of a blob, and how blocks become a blob.

use std::collections::HashMap;
use std::fmt;

use gantry_identity::Timestamp;

/// Blocks a blob may be committed of. Source: Put Block List reference.
pub const BLOCKS_MAX: usize = 50_000;
/// Uncommitted blocks a blob may have. Source: Put Block reference.
pub const UNCOMMITTED_MAX: usize = 100_000;
/// Longest block id in bytes before base64. Source: Put Block reference.
pub const BLOCK_ID_BYTES_MAX: usize = 64;
/// Metadata of one blob or container, names and values together, in bytes. Source: Set Blob Metadata reference.
pub const METADATA_BYTES_MAX: usize = 8 * 1024;

/// Rises with every write anywhere in the store, so that no two states of a blob share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ETag(pub u64);

impl fmt::Display for ETag {
    /// As clients see it, without quotes: `0x8D` and 13 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x8D{:013X}", self.0)
    }
}

/// Names and values in the order given.
pub type Metadata = Vec<(String, String)>;

/// What HTTP says of a blob's content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// `Content-Language`.
    pub content_language: Option<String>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// MD5 of the whole content: computed for a blob put in one piece, otherwise what the client says.
    pub content_md5: Option<[u8; 16]>,
}

/// What a writer of a blob says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// HTTP properties.
    pub properties: Properties,
    /// Metadata.
    pub metadata: Metadata,
}

/// A committed blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// HTTP properties.
    pub properties: Properties,
    /// Metadata.
    pub metadata: Metadata,
    /// Length of the content in bytes.
    pub length: u64,
    /// Its state.
    pub etag: ETag,
    /// When it was made.
    pub created_at: Timestamp,
    /// When content, properties or metadata last changed.
    pub modified_at: Timestamp,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Metadata.
    pub metadata: Metadata,
    /// Its state.
    pub etag: ETag,
    /// When it or its metadata last changed.
    pub modified_at: Timestamp,
}

/// An immutable object of the content store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectId(pub String);

/// A piece of content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Object that holds it, from its first byte.
    pub object: ObjectId,
    /// Its length in bytes, at least 1.
    pub length: u64,
}

/// A block: a piece of content with the name its writer gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Base64 text, as sent.
    pub id: String,
    /// Its content.
    pub part: Part,
}

/// Where Put Block List looks for a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Among the blocks of the blob as it is.
    Committed,
    /// Among the blocks put since.
    Uncommitted,
    /// Among the blocks put since, then among those of the blob.
    Latest,
}

/// Why a list of blocks cannot be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlockListError {
    /// A block is not where the list says.
    #[error("the list names a block that does not exist")]
    NoBlock,
    /// More blocks than a blob may have.
    #[error("a blob has at most {BLOCKS_MAX} blocks")]
    TooMany,
}

/// The blocks a list names, in its order.
///
/// # Errors
/// [`BlockListError`].
pub fn resolve(
    list: &[(Which, String)],
    committed: &[Block],
    uncommitted: &[Block],
) -> Result<Vec<Block>, BlockListError> {
    if list.len() > BLOCKS_MAX {
        return Err(BlockListError::TooMany);
    }
    let by_id = |blocks: &'_ [Block]| -> HashMap<String, Block> {
        blocks.iter().map(|block| (block.id.clone(), block.clone())).collect()
    };
    let (committed, uncommitted) = (by_id(committed), by_id(uncommitted));
    let find = |(which, id): &(Which, String)| {
        let found = match which {
            Which::Committed => committed.get(id),
            Which::Uncommitted => uncommitted.get(id),
            Which::Latest => uncommitted.get(id).or_else(|| committed.get(id)),
        };
        found.cloned().ok_or(BlockListError::NoBlock)
    };
    list.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(id: &str, object: &str) -> Block {
        Block { id: id.into(), part: Part { object: ObjectId(object.into()), length: 1 } }
    }

    #[test]
    fn the_latest_block_is_the_one_put_last() {
        let (committed, uncommitted) = ([block("a", "1"), block("b", "2")], [block("a", "3")]);
        let of = |which, id: &str| {
            let found = resolve(&[(which, id.to_owned())], &committed, &uncommitted)?;
            Ok(found[0].part.object.0.clone())
        };
        assert_eq!(of(Which::Committed, "a"), Ok("1".into()));
        assert_eq!(of(Which::Uncommitted, "a"), Ok("3".into()));
        assert_eq!(of(Which::Latest, "a"), Ok("3".into()));
        assert_eq!(of(Which::Latest, "b"), Ok("2".into()));
        assert_eq!(of(Which::Uncommitted, "b"), Err(BlockListError::NoBlock));
        assert_eq!(of(Which::Latest, "c"), Err(BlockListError::NoBlock));
    }

    #[test]
    fn a_blob_has_50_000_blocks_at_most() {
        let list = vec![(Which::Latest, "a".to_owned()); BLOCKS_MAX];
        assert_eq!(resolve(&list, &[block("a", "1")], &[]).map(|blocks| blocks.len()), Ok(BLOCKS_MAX));
        let list = vec![(Which::Latest, "a".to_owned()); BLOCKS_MAX + 1];
        assert_eq!(resolve(&list, &[block("a", "1")], &[]), Err(BlockListError::TooMany));
    }
}
