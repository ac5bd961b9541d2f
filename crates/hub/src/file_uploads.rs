//! Files that devices upload: the hub hands out an address in blob storage and hears of the outcome.
//!
//! An upload is pending from its begin until it is completed or its address expires. Its correlation
//! id is good for one completion. Which storage it is, and its signature, are the head's business.

use std::sync::Arc;
use std::time::Duration;

use gantry_identity::{DeviceId, Identity, Timestamp};

use crate::limits;
use crate::ports::{Entropy, PortFuture, StoreError};

/// Longest life of an upload address. Source: configure file uploads (`sasTtlAsIso8601`, 24 h).
pub const UPLOAD_LIFE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest blob name in characters, device id included. Source: blob service, naming.
const BLOB_NAME_LEN_MAX: usize = 1024;
/// Longest correlation id looked up, in bytes.
const CORRELATION_ID_LEN_MAX: usize = 128;

/// An upload under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileUpload {
    /// Who uploads.
    pub device: DeviceId,
    /// What the device names the upload by when it is done.
    pub correlation_id: String,
    /// Name of the blob: `{device}/{name}`.
    pub blob_name: String,
    /// When the address ends.
    pub expires_at: Timestamp,
}

/// Why an upload was refused.
#[derive(Debug, thiserror::Error)]
pub enum FileUploadError {
    /// The name cannot be used.
    #[error("blobName must have 1 to {BLOB_NAME_LEN_MAX} characters, with the device id before it")]
    Name,
    /// The device has as many uploads pending as it may.
    #[error("`{0}` has {max} file uploads pending already", max = limits::FILE_UPLOADS_PENDING_MAX)]
    TooMany(DeviceId),
    /// The correlation id is unknown, or was used.
    #[error("correlation id is unknown or was used")]
    Unknown,
    /// The upload's address expired before it was completed.
    #[error("the file upload expired at {0}")]
    Expired(Timestamp),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where pending uploads are kept. Each method is one transaction, durable when it resolves.
pub trait UploadStore: Send + Sync {
    /// Keeps an upload when its device has fewer than `pending_max` that have not expired;
    /// [`StoreError::Full`] otherwise.
    fn begin(&self, upload: FileUpload, now: Timestamp, pending_max: usize) -> PortFuture<'_, (), StoreError>;
    /// Removes an upload and returns it.
    fn take<'a>(
        &'a self,
        device: &'a DeviceId,
        correlation_id: &'a str,
    ) -> PortFuture<'a, Option<FileUpload>, StoreError>;
}

/// The uploads of a hub.
pub struct FileUploads {
    store: Arc<dyn UploadStore>,
    entropy: Arc<dyn Entropy>,
}

impl FileUploads {
    /// Uploads kept in a store.
    pub fn new(store: Arc<dyn UploadStore>, entropy: Arc<dyn Entropy>) -> Self {
        Self { store, entropy }
    }

    /// Begins an upload of a device, whose address lives for `life`, but not longer than [`UPLOAD_LIFE_MAX`].
    ///
    /// # Errors
    /// [`FileUploadError::Name`] or [`FileUploadError::TooMany`].
    pub async fn begin(
        &self,
        now: Timestamp,
        life: Duration,
        device: &Identity,
        name: &str,
    ) -> Result<FileUpload, FileUploadError> {
        let device = device.device.clone();
        let blob_name = format!("{device}/{name}");
        if name.is_empty() || blob_name.chars().count() > BLOB_NAME_LEN_MAX {
            return Err(FileUploadError::Name);
        }
        let mut bytes = [0; 16];
        self.entropy.fill(&mut bytes);
        let correlation_id = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let expires_at = now.plus(life.min(UPLOAD_LIFE_MAX));
        let upload = FileUpload { device: device.clone(), correlation_id, blob_name, expires_at };
        match self.store.begin(upload.clone(), now, limits::FILE_UPLOADS_PENDING_MAX).await {
            Ok(()) => Ok(upload),
            Err(StoreError::Full) => Err(FileUploadError::TooMany(device)),
            Err(error) => Err(error.into()),
        }
    }

    /// Ends an upload, whatever its outcome.
    ///
    /// # Errors
    /// [`FileUploadError::Unknown`] or [`FileUploadError::Expired`].
    pub async fn complete(
        &self,
        now: Timestamp,
        device: &Identity,
        correlation_id: &str,
    ) -> Result<FileUpload, FileUploadError> {
        if correlation_id.len() > CORRELATION_ID_LEN_MAX {
            return Err(FileUploadError::Unknown);
        }
        let taken = self.store.take(&device.device, correlation_id).await?;
        let upload = taken.ok_or(FileUploadError::Unknown)?;
        if now >= upload.expires_at { Err(FileUploadError::Expired(upload.expires_at)) } else { Ok(upload) }
    }
}
