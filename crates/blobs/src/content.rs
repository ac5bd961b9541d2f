//! Content as immutable objects: written as a stream, read in pieces.
//!
//! An object is `XX/EEEEEEEEEEEEEEEE-N`: `XX` the last two hexadecimal digits of `N`, `E` the epoch (a
//! number drawn when the store is opened) and `N` a counter, all hexadecimal. Objects are written
//! once and never changed. At the next start, objects of earlier epochs that nothing names (uploads
//! that a crash cut off) are deleted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use md5::{Digest as _, Md5};
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt as _, PutPayload};
use tokio::sync::Semaphore;

use crate::blob::{ObjectId, Part};
use crate::error::BlobError;
use crate::ports::Placed;

/// Bytes gathered before they are written, and read at once: what one transfer holds in memory.
pub const PART_BYTES: usize = 1024 * 1024;
/// Uploads that hold such a buffer at a time; others wait, and their clients with them.
const UPLOADS_MAX: usize = 128;
/// How long an object stays after its blob let go of it, for readers that are under way.
pub const GARBAGE_GRACE: Duration = Duration::from_secs(10 * 60);

/// Content that is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Where it is; none when it is empty.
    pub part: Option<Part>,
    /// Its MD5.
    pub md5: [u8; 16],
}

/// The objects.
pub(crate) struct Content {
    objects: Arc<dyn ObjectStore>,
    epoch: u64,
    counter: AtomicU64,
    uploads: Semaphore,
}

impl Content {
    pub(crate) fn new(objects: Arc<dyn ObjectStore>, epoch: u64) -> Self {
        Self { objects, epoch, counter: AtomicU64::new(0), uploads: Semaphore::new(UPLOADS_MAX) }
    }

    fn draw(&self) -> ObjectId {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        ObjectId(format!("{:02x}/{:016x}-{number:x}", number % 256, self.epoch))
    }

    /// Stores a stream of at most `max` bytes; durable when it resolves.
    pub(crate) async fn write<S, E>(&self, mut body: S, max: u64) -> Result<Stored, BlobError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
    {
        let _permit = self.uploads.acquire().await.map_err(|_| BlobError::Failed("store is closed".into()))?;
        let id = self.draw();
        let path = Path::from(id.0.as_str());
        let mut writer = Writer { upload: None, buffer: BytesMut::new(), length: 0, md5: Md5::new() };
        let outcome = writer.take(&*self.objects, &path, &mut body, max).await;
        if outcome.is_err()
            && let Some(upload) = &mut writer.upload
        {
            let _ = upload.abort().await;
        }
        outcome?;
        let part = (writer.length > 0).then_some(Part { object: id, length: writer.length });
        Ok(Stored { part, md5: writer.md5.finalize().into() })
    }

    /// The bytes from `range.0` to `range.1`, given the parts that hold them.
    pub(crate) fn read(&self, parts: Vec<Placed>, range: (u64, u64)) -> BoxStream<'static, Result<Bytes, BlobError>> {
        let objects = Arc::clone(&self.objects);
        let pieces = parts.into_iter().flat_map(move |placed| {
            let end = placed.start + placed.part.length;
            let (from, to) = (range.0.max(placed.start) - placed.start, range.1.min(end).saturating_sub(placed.start));
            let path = Path::from(placed.part.object.0.as_str());
            let step = PART_BYTES as u64;
            (from..to).step_by(PART_BYTES).map(move |begin| (path.clone(), begin..(begin + step).min(to)))
        });
        futures::stream::iter(pieces)
            .then(move |(path, range)| {
                let objects = Arc::clone(&objects);
                async move { objects.get_range(&path, range).await.map_err(BlobError::from) }
            })
            .boxed()
    }

    pub(crate) async fn delete(&self, objects: &[ObjectId]) -> Result<(), BlobError> {
        for object in objects {
            match self.objects.delete(&Path::from(object.0.as_str())).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Every object of earlier epochs.
    pub(crate) fn earlier(&self) -> BoxStream<'static, Result<ObjectId, BlobError>> {
        let own = format!("/{:016x}-", self.epoch);
        let listed = self.objects.list(None).map_err(BlobError::from);
        let ids = listed.map_ok(|meta| ObjectId(meta.location.to_string()));
        ids.try_filter(move |id| std::future::ready(!id.0.contains(&own))).boxed()
    }
}

struct Writer {
    upload: Option<Box<dyn MultipartUpload>>,
    buffer: BytesMut,
    length: u64,
    md5: Md5,
}

impl Writer {
    async fn take<S, E>(
        &mut self,
        objects: &dyn ObjectStore,
        path: &Path,
        body: &mut S,
        max: u64,
    ) -> Result<(), BlobError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
    {
        loop {
            let Some(chunk) = body.next().await else { break };
            let chunk = chunk.map_err(|_| BlobError::Incomplete)?;
            self.length += chunk.len() as u64;
            if self.length > max {
                return Err(BlobError::TooLarge(max));
            }
            self.md5.update(&chunk);
            self.buffer.extend_from_slice(&chunk);
            while self.buffer.len() > PART_BYTES {
                let part = self.buffer.split_to(PART_BYTES).freeze();
                if self.upload.is_none() {
                    self.upload = Some(objects.put_multipart(path).await?);
                }
                let upload = self.upload.as_mut().expect("begun above");
                upload.put_part(PutPayload::from_bytes(part)).await?;
            }
        }
        let rest = PutPayload::from_bytes(std::mem::take(&mut self.buffer).freeze());
        match &mut self.upload {
            None if self.length == 0 => {}
            None => drop(objects.put(path, rest).await?),
            Some(upload) => {
                upload.put_part(rest).await?;
                upload.complete().await?;
            }
        }
        Ok(())
    }
}
