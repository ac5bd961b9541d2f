//! The store: content first, then the catalogue.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use gantry_identity::{KeyPair, Timestamp};
use object_store::ObjectStore;

use crate::blob::{Blob, Block, Container, Draft, Metadata, Properties, Which};
use crate::conditions::{Conditions, Current};
use crate::content::{Content, GARBAGE_GRACE, Stored};
use crate::error::BlobError;
use crate::list::{ListQuery, Listing, list};
use crate::name::ContainerName;
use crate::ports::{BlobAddress, BlockLists, Catalogue};

/// Largest content of one Put Blob in bytes. Source: Put Blob reference (5000 MiB).
pub const PUT_BLOB_BYTES_MAX: u64 = 5000 << 20;
/// Largest block in bytes. Source: Put Block reference (4000 MiB).
pub const BLOCK_BYTES_MAX: u64 = 4000 << 20;
/// How long a block waits to be committed. Source: Put Block reference (one week).
const UNCOMMITTED_LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Objects looked at together when garbage is collected.
const SWEEP_PAGE: usize = 500;

/// The account clients sign for.
#[derive(Clone, Debug)]
pub struct Account {
    /// 3 to 24 lower-case letters and digits; first segment of every path-style address.
    pub name: String,
    /// Its keys.
    pub keys: KeyPair,
}

/// The blob store.
pub struct Blobs {
    account: Account,
    catalogue: Arc<dyn Catalogue>,
    content: Content,
}

/// Bytes of a blob as they are read.
pub type ContentStream = BoxStream<'static, Result<Bytes, BlobError>>;

impl Blobs {
    /// A store over its catalogue and objects. `epoch` must differ from start to start.
    pub fn new(account: Account, catalogue: Arc<dyn Catalogue>, objects: Arc<dyn ObjectStore>, epoch: u64) -> Self {
        Self { account, catalogue, content: Content::new(objects, epoch) }
    }

    /// The account.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Makes a container.
    ///
    /// # Errors
    /// [`BlobError::ContainerExists`].
    pub async fn create_container(
        &self,
        name: &ContainerName,
        metadata: Metadata,
        now: Timestamp,
    ) -> Result<Container, BlobError> {
        self.catalogue.create_container(name, metadata, now).await
    }

    /// One container.
    ///
    /// # Errors
    /// [`BlobError::NoContainer`].
    pub async fn container(&self, name: &ContainerName) -> Result<Container, BlobError> {
        self.catalogue.container(name).await
    }

    /// Containers in order of name, and where the next page begins.
    ///
    /// # Errors
    /// When the catalogue fails.
    pub async fn containers(
        &self,
        prefix: &str,
        marker: &str,
        limit: usize,
    ) -> Result<(Vec<(ContainerName, Container)>, Option<String>), BlobError> {
        let mut found = self.catalogue.containers(prefix, marker, limit + 1).await?;
        let next = found.get(limit).map(|(name, _)| name.as_str().to_owned());
        found.truncate(limit);
        Ok((found, next))
    }

    /// Replaces a container's metadata.
    ///
    /// # Errors
    /// [`BlobError::NoContainer`] or [`BlobError::ConditionNotMet`].
    pub async fn set_container_metadata(
        &self,
        name: &ContainerName,
        metadata: Metadata,
        conditions: Conditions,
        now: Timestamp,
    ) -> Result<Container, BlobError> {
        self.catalogue.set_container_metadata(name, metadata, conditions, now).await
    }

    /// Deletes a container and everything in it.
    ///
    /// # Errors
    /// [`BlobError::NoContainer`] or [`BlobError::ConditionNotMet`].
    pub async fn delete_container(&self, name: &ContainerName, conditions: Conditions) -> Result<(), BlobError> {
        self.catalogue.delete_container(name, conditions).await
    }

    /// A page of a container's blobs.
    ///
    /// # Errors
    /// [`BlobError::NoContainer`].
    pub async fn list(&self, container: &ContainerName, query: &ListQuery) -> Result<Listing, BlobError> {
        query.check()?;
        list(&*self.catalogue, container, query).await
    }

    /// What is known of a blob.
    ///
    /// # Errors
    /// [`BlobError::NoBlob`], or a condition that is not met.
    pub async fn blob(&self, at: &BlobAddress, conditions: &Conditions) -> Result<Blob, BlobError> {
        let (blob, _) = self.catalogue.blob(at, (0, 0)).await?;
        conditions.check_read(Current { etag: blob.etag, modified_at: blob.modified_at })?;
        Ok(blob)
    }

    /// A blob and its bytes: all, or `range` (first, and one behind the last where given).
    /// Says which range it really is.
    ///
    /// # Errors
    /// [`BlobError::NoBlob`], [`BlobError::RangeOutside`], or a condition that is not met.
    pub async fn read(
        &self,
        at: &BlobAddress,
        range: Option<(u64, Option<u64>)>,
        conditions: &Conditions,
    ) -> Result<(Blob, (u64, u64), ContentStream), BlobError> {
        let (from, to) = range.map_or((0, u64::MAX), |(from, to)| (from, to.unwrap_or(u64::MAX)));
        let (blob, parts) = self.catalogue.blob(at, (from, to)).await?;
        conditions.check_read(Current { etag: blob.etag, modified_at: blob.modified_at })?;
        if range.is_some() && from >= blob.length {
            return Err(BlobError::RangeOutside { length: blob.length });
        }
        let to = to.min(blob.length);
        let content = self.content.read(parts, (from, to));
        Ok((blob, (from, to), content))
    }

    /// Stores content that a blob or block will be made of.
    ///
    /// # Errors
    /// [`BlobError::TooLarge`], [`BlobError::Incomplete`] or a disk that is full.
    pub async fn store<S, E>(&self, body: S, max: u64) -> Result<Stored, BlobError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
    {
        self.content.write(body, max).await
    }

    /// Gives up content that will not be used.
    pub async fn discard(&self, stored: Stored) {
        if let Some(part) = stored.part {
            // What cannot be deleted now is found at the next start.
            let _ = self.content.delete(&[part.object]).await;
        }
    }

    /// Replaces a blob by `content`.
    ///
    /// # Errors
    /// [`BlobError::NoContainer`] or a condition that is not met; the content is given up then.
    pub async fn put_blob(
        &self,
        at: &BlobAddress,
        mut draft: Draft,
        content: Stored,
        conditions: Conditions,
        now: Timestamp,
    ) -> Result<Blob, BlobError> {
        draft.properties.content_md5.get_or_insert(content.md5);
        let put = self.catalogue.put_blob(at, draft, content.part.clone(), conditions, now).await;
        if put.is_err() {
            self.discard(content).await;
        }
        put
    }

    /// Adds an uncommitted block.
    ///
    /// # Errors
    /// [`BlobError::NoContainer`] or [`BlobError::TooManyBlocks`]; the content is given up then.
    pub async fn put_block(
        &self,
        at: &BlobAddress,
        id: String,
        content: Stored,
        now: Timestamp,
    ) -> Result<(), BlobError> {
        let part = content.part.clone().ok_or(BlobError::Incomplete)?;
        let put = self.catalogue.put_block(at, Block { id, part }, now).await;
        if put.is_err() {
            self.discard(content).await;
        }
        put
    }

    /// Replaces a blob by one made of blocks.
    ///
    /// # Errors
    /// [`BlobError::BlockList`], [`BlobError::NoContainer`] or a condition that is not met.
    pub async fn commit_blocks(
        &self,
        at: &BlobAddress,
        draft: Draft,
        list: Vec<(Which, String)>,
        conditions: Conditions,
        now: Timestamp,
    ) -> Result<Blob, BlobError> {
        self.catalogue.commit_blocks(at, draft, list, conditions, now).await
    }

    /// The blocks of a blob.
    ///
    /// # Errors
    /// [`BlobError::NoBlob`] when there is neither blob nor block.
    pub async fn blocks(&self, at: &BlobAddress) -> Result<(Option<Blob>, BlockLists), BlobError> {
        self.catalogue.blocks(at).await
    }

    /// Replaces a blob's metadata, its properties, or both.
    ///
    /// # Errors
    /// [`BlobError::NoBlob`] or [`BlobError::ConditionNotMet`].
    pub async fn change_blob(
        &self,
        at: &BlobAddress,
        metadata: Option<Metadata>,
        properties: Option<Properties>,
        conditions: Conditions,
        now: Timestamp,
    ) -> Result<Blob, BlobError> {
        self.catalogue.change_blob(at, metadata, properties, conditions, now).await
    }

    /// Deletes a blob.
    ///
    /// # Errors
    /// [`BlobError::NoBlob`] or [`BlobError::ConditionNotMet`].
    pub async fn delete_blob(&self, at: &BlobAddress, conditions: Conditions, now: Timestamp) -> Result<(), BlobError> {
        self.catalogue.delete_blob(at, conditions, now).await
    }

    /// Deletes what nothing needs: blocks never committed, contents of deleted containers, objects let go
    /// of a while ago. To be called now and then.
    ///
    /// # Errors
    /// When catalogue or object store fail; the rest is done the next time.
    pub async fn collect_garbage(&self, now: Timestamp) -> Result<usize, BlobError> {
        let before = |life: Duration| Timestamp::from_millis(now.as_millis() - life.as_millis() as i64);
        while self.catalogue.expire(before(UNCOMMITTED_LIFE), now).await? {}
        let mut collected = 0;
        loop {
            let objects = self.catalogue.garbage(before(GARBAGE_GRACE), SWEEP_PAGE).await?;
            if objects.is_empty() {
                return Ok(collected);
            }
            self.content.delete(&objects).await?;
            collected += objects.len();
            self.catalogue.forget(objects).await?;
        }
    }

    /// Deletes objects of earlier starts that nothing names: uploads that a crash cut off.
    ///
    /// # Errors
    /// When catalogue or object store fail; the rest is done at the next start.
    pub async fn sweep(&self) -> Result<usize, BlobError> {
        let mut pages = self.content.earlier().chunks(SWEEP_PAGE);
        let mut swept = 0;
        while let Some(page) = pages.next().await {
            let objects = page.into_iter().collect::<Result<Vec<_>, _>>()?;
            let strangers = self.catalogue.strangers(objects).await?;
            self.content.delete(&strangers).await?;
            swept += strangers.len();
        }
        Ok(swept)
    }
}
