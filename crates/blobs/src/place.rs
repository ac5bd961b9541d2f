//! A container as the platform itself uses it: ours, or one in an account elsewhere.

use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use gantry_identity::Timestamp;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};

use crate::blob::{Draft, Properties};
use crate::conditions::{Conditions, Tags};
use crate::content::PART_BYTES;
use crate::error::BlobError;
use crate::name::{BlobName, ContainerName, NameError};
use crate::ports::BlobAddress;
use crate::store::{Blobs, ContentStream, PUT_BLOB_BYTES_MAX};

/// A container to read from and write to.
#[derive(Clone)]
pub enum Place {
    /// One of ours.
    Own(Arc<Blobs>, ContainerName),
    /// One elsewhere.
    Elsewhere(Arc<dyn ObjectStore>),
}

/// What is known of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its length in bytes.
    pub length: u64,
    /// When it last changed.
    pub modified_at: Timestamp,
}

/// A name as it is: `Path::from` would escape some characters.
fn path(name: &str) -> Result<Path, BlobError> {
    Path::parse(name).map_err(|_| NameError::BlobCharacters.into())
}

fn missing(error: object_store::Error) -> BlobError {
    match error {
        object_store::Error::NotFound { .. } => BlobError::NoBlob,
        object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. } => BlobError::BlobExists,
        other => other.into(),
    }
}

impl Place {
    fn address(container: &ContainerName, name: &str) -> Result<BlobAddress, BlobError> {
        Ok(BlobAddress { container: container.clone(), name: BlobName::parse(name)? })
    }

    /// Length and time of a blob.
    ///
    /// # Errors
    /// [`BlobError::NoBlob`], or the store fails.
    pub async fn stat(&self, name: &str) -> Result<Stat, BlobError> {
        match self {
            Self::Own(blobs, container) => {
                let blob = blobs.blob(&Self::address(container, name)?, &Conditions::default()).await?;
                Ok(Stat { length: blob.length, modified_at: blob.modified_at })
            }
            Self::Elsewhere(objects) => {
                let meta = objects.head(&path(name)?).await.map_err(missing)?;
                let modified_at = Timestamp::from_millis(meta.last_modified.timestamp_millis());
                Ok(Stat { length: meta.size, modified_at })
            }
        }
    }

    /// The bytes of a blob.
    ///
    /// # Errors
    /// [`BlobError::NoBlob`], or the store fails.
    pub async fn read(&self, name: &str) -> Result<ContentStream, BlobError> {
        match self {
            Self::Own(blobs, container) => {
                let at = Self::address(container, name)?;
                let (_, _, content) = blobs.read(&at, None, &Conditions::default()).await?;
                Ok(content)
            }
            Self::Elsewhere(objects) => {
                let found = objects.get(&path(name)?).await.map_err(missing)?;
                Ok(found.into_stream().map_err(BlobError::from).boxed())
            }
        }
    }

    /// Writes a blob from a stream, in place of what is there. Durable when it resolves; of a stream that fails
    /// nothing is seen.
    ///
    /// # Errors
    /// When the container is missing or the store fails.
    pub async fn write<S>(&self, name: &str, content: S, content_type: &str, now: Timestamp) -> Result<(), BlobError>
    where
        S: Stream<Item = Result<Bytes, BlobError>> + Unpin + Send,
    {
        match self {
            Self::Own(blobs, container) => {
                let at = Self::address(container, name)?;
                let stored = blobs.store(content, PUT_BLOB_BYTES_MAX).await?;
                blobs.put_blob(&at, draft(content_type), stored, Conditions::default(), now).await.map(drop)
            }
            Self::Elsewhere(objects) => write_parts(&**objects, &path(name)?, content).await,
        }
    }

    /// Writes a new blob whole.
    ///
    /// # Errors
    /// [`BlobError::BlobExists`] when there is one of this name.
    pub async fn create(
        &self,
        name: &str,
        content: Bytes,
        content_type: &str,
        now: Timestamp,
    ) -> Result<(), BlobError> {
        match self {
            Self::Own(blobs, container) => {
                let at = Self::address(container, name)?;
                let conditions = Conditions { if_none_match: Some(Tags::any()), ..Conditions::default() };
                let once = futures::stream::iter([Ok::<_, BlobError>(content)]);
                let stored = blobs.store(once, PUT_BLOB_BYTES_MAX).await?;
                blobs.put_blob(&at, draft(content_type), stored, conditions, now).await.map(drop)
            }
            Self::Elsewhere(objects) => {
                let options = PutOptions::from(PutMode::Create);
                objects.put_opts(&path(name)?, content.into(), options).await.map_err(missing).map(drop)
            }
        }
    }
}

fn draft(content_type: &str) -> Draft {
    let properties = Properties { content_type: Some(content_type.to_owned()), ..Properties::default() };
    Draft { properties, metadata: Vec::new() }
}

/// Parts are gathered to a size that 50,000 of can hold anything we write.
async fn write_parts<S>(objects: &dyn ObjectStore, path: &Path, mut content: S) -> Result<(), BlobError>
where
    S: Stream<Item = Result<Bytes, BlobError>> + Unpin,
{
    let mut upload = objects.put_multipart(path).await?;
    let mut buffer = bytes::BytesMut::new();
    loop {
        let next = content.next().await.transpose();
        let (chunk, is_last) = match next {
            Ok(Some(chunk)) => (chunk, false),
            Ok(None) => (Bytes::new(), true),
            Err(error) => {
                let _ = upload.abort().await;
                return Err(error);
            }
        };
        buffer.extend_from_slice(&chunk);
        if buffer.len() >= PART_BYTES || (is_last && !buffer.is_empty()) {
            let part = PutPayload::from_bytes(buffer.split().freeze());
            upload.put_part(part).await?;
        }
        if is_last {
            upload.complete().await?;
            return Ok(());
        }
    }
}
