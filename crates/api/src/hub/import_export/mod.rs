//! Import and export of every identity, to and from files in a blob container
//! ("Import and export IoT Hub device identities in bulk").
//!
//! Jobs run in the background, one at a time. What a job works with is bounded: a page of records, a
//! batch of entries, a part of a file. Jobs are kept as documents; one that ran when the process ended is
//! failed at the next start, because signatures are never stored, so nothing could go on with it.

mod export;
mod import;
mod jobs;
mod lines;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use gantry_blobs::{Permission, Place};

pub use jobs::ImportExport;
use jobs::{Job, JobError, Request};

use super::bodies;
use crate::Api;
use crate::error::ApiError;
use crate::fields;

/// Opens the container a job names by an address with a signature.
pub trait Containers: Send + Sync {
    /// The container of `uri`, when its signature gives `needed` on its blobs.
    ///
    /// # Errors
    /// Words for the caller: what is wrong with the address.
    fn open<'a>(
        &'a self,
        uri: &'a str,
        needed: &'static [Permission],
    ) -> Pin<Box<dyn Future<Output = Result<Place, String>> + Send + 'a>>;
}

impl From<JobError> for ApiError {
    fn from(error: JobError) -> Self {
        let message = error.to_string();
        match error {
            JobError::Busy => Self::new(403_003, "JobQuotaExceeded", message),
            JobError::Unknown(_) => Self::new(404_002, "JobNotFound", message),
            JobError::Container(_) => Self::new(400_008, "BlobContainerValidationError", message),
            JobError::Invalid(_) => Self::invalid(message),
            JobError::NotImplemented(what) => Self::not_implemented(what),
            JobError::Store(error) => gantry_hub::HubError::from(error).into(),
        }
    }
}

pub(super) async fn create(State(api): State<Arc<Api>>, body: Bytes) -> Result<Json<Job>, ApiError> {
    let request: Request = bodies::parse_fields(&body, &fields::IMPORT_EXPORT)?;
    Ok(Json(api.import_export.create(request).await?))
}

pub(super) async fn list(State(api): State<Arc<Api>>) -> Result<Json<Vec<Job>>, ApiError> {
    Ok(Json(api.import_export.list()))
}

pub(super) async fn get(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<Json<Job>, ApiError> {
    Ok(Json(api.import_export.get(&id)?))
}

// C# sends the job id as If-Match: it is not looked at.
pub(super) async fn cancel(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    api.import_export.cancel(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}
