//! File upload: a device asks for an address in blob storage, uploads there, and says how it went.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use gantry_blobs::{BlobError, BlobName, Place, SasSigner};
use gantry_hub::feedback::FileNotification;
use gantry_hub::file_uploads::{FileUpload, FileUploadError, FileUploads};
use gantry_identity::Identity;
use parking_lot::RwLock;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::bodies;
use crate::caller::DeviceSession;
use crate::error::ApiError;
use crate::fields;
use crate::{Api, now};

/// Characters of a blob name that a URL shows as they are.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// Where devices upload files, and what is known of uploads under way.
pub struct Files {
    /// Uploads under way.
    pub uploads: FileUploads,
    /// The storage; none while there is none.
    target: RwLock<Option<Arc<UploadTarget>>>,
}

impl Files {
    /// With the storage to begin with, if there is one.
    pub fn new(uploads: FileUploads, target: Option<Arc<UploadTarget>>) -> Self {
        Self { uploads, target: RwLock::new(target) }
    }

    /// Devices upload there from now on, or nowhere. What was begun elsewhere is not told of.
    pub fn redirect(&self, target: Option<Arc<UploadTarget>>) {
        *self.target.write() = target;
    }

    fn target(&self) -> Result<Arc<UploadTarget>, ApiError> {
        let none = || ApiError::new(400_014, "DefaultStorageEndpointNotConfigured", "no storage for file uploads");
        self.target.read().clone().ok_or_else(none)
    }
}

/// The storage devices upload to.
pub struct UploadTarget {
    /// Its host name; none: the name the device used for the hub.
    pub host_name: Option<String>,
    /// The container.
    pub container: String,
    /// Signs the addresses.
    pub signer: SasSigner,
    /// The container as we see it.
    pub place: Place,
    /// How long an address is good.
    pub life: Duration,
}

impl UploadTarget {
    fn host(&self, api: &Api, headers: &HeaderMap) -> String {
        self.host_name.as_deref().unwrap_or_else(|| host_used(api, headers)).to_owned()
    }
}

impl From<FileUploadError> for ApiError {
    fn from(error: FileUploadError) -> Self {
        let message = error.to_string();
        match error {
            FileUploadError::Name => Self::invalid(message),
            FileUploadError::TooMany(_) => Self::new(403_006, "DeviceMaximumActiveFileUploadLimitExceeded", message),
            FileUploadError::Unknown => Self::new(400_015, "InvalidFileUploadCorrelationId", message),
            FileUploadError::Expired(_) => Self::new(400_016, "ExpiredFileUploadCorrelationId", message),
            FileUploadError::Store(error) => gantry_hub::HubError::from(error).into(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BeginBody {
    blob_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CompleteBody {
    correlation_id: Option<String>,
    is_success: Option<bool>,
    status_code: Option<i64>,
    status_description: Option<String>,
}

pub(crate) async fn begin(
    State(api): State<Arc<Api>>,
    DeviceSession(session): DeviceSession,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let name = bodies::parse_fields::<BeginBody>(&body, &fields::UPLOAD_BEGUN)?.blob_name;
    let (target, identity) = (api.files.target()?, &session.identity);
    let checked = BlobName::parse(&format!("{}/{name}", identity.device));
    checked.map_err(|error| ApiError::invalid(error.to_string()))?;
    let upload = api.files.uploads.begin(now(), target.life, identity, &name).await?;
    Ok(Json(json!({
        "correlationId": upload.correlation_id,
        "hostName": target.host(&api, &headers),
        "containerName": target.container,
        "blobName": upload.blob_name,
        "sasToken": target.signer.blob(&target.container, &upload.blob_name, "rw", upload.expires_at),
    })))
}

pub(crate) async fn complete(
    State(api): State<Arc<Api>>,
    DeviceSession(session): DeviceSession,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    end(&api, &headers, &session.identity, None, &body).await
}

pub(crate) async fn complete_by_path(
    State(api): State<Arc<Api>>,
    DeviceSession(session): DeviceSession,
    headers: HeaderMap,
    Path((_, correlation_id)): Path<(String, String)>,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    end(&api, &headers, &session.identity, Some(correlation_id), &body).await
}

async fn end(
    api: &Api,
    headers: &HeaderMap,
    identity: &Identity,
    by_path: Option<String>,
    body: &Bytes,
) -> Result<StatusCode, ApiError> {
    let outcome: CompleteBody = bodies::parse_fields(body, &fields::UPLOAD_ENDED)?;
    let target = api.files.target()?;
    let status = || ApiError::new(400_019, "InvalidFileUploadCompletionStatus", "isSuccess is missing");
    let is_success = outcome.is_success.ok_or_else(status)?;
    let correlation_id = by_path.or(outcome.correlation_id);
    let correlation_id = correlation_id.ok_or(FileUploadError::Unknown)?;
    let upload = api.files.uploads.complete(now(), identity, &correlation_id).await?;
    tracing::debug!(
        device = %identity.device, is_success, code = outcome.status_code,
        words = outcome.status_description, "file upload ended"
    );
    if is_success {
        notify(api, &target, headers, &upload).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Tells services of an uploaded file. One that is not there is not told of: the device may say what it likes.
async fn notify(api: &Api, target: &UploadTarget, headers: &HeaderMap, upload: &FileUpload) -> Result<(), ApiError> {
    let stat = match target.place.stat(&upload.blob_name).await {
        Ok(stat) => stat,
        Err(BlobError::NoBlob | BlobError::NoContainer) => return Ok(()),
        Err(error) => return Err(gantry_hub::HubError::Failed(error.to_string()).into()),
    };
    let notification = FileNotification {
        identity: Identity::device(upload.device.clone()),
        blob_uri: uri(&target.host(api, headers), &target.container, &upload.blob_name),
        blob_name: upload.blob_name.clone(),
        last_updated_at: stat.modified_at,
        size_bytes: stat.length,
    };
    Ok(api.hub.notify_file_uploaded(now(), &notification).await?)
}

/// The name of the hub a caller used, with its port.
pub(super) fn host_used<'a>(api: &'a Api, headers: &'a HeaderMap) -> &'a str {
    let used = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    used.filter(|host| api.hub.answers_to(host)).unwrap_or(api.hub.host_name())
}

/// The address of an uploaded blob.
fn uri(host: &str, container: &str, name: &str) -> String {
    format!("https://{host}/{container}/{}", utf8_percent_encode(name, PATH))
}
