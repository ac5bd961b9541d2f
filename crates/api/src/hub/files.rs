//! File upload: a device asks for an address in blob storage, uploads there, and says how it went.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::{Extension, Json};
use gantry_blobs::{BlobError, BlobName, Place, SasSigner};
use gantry_hub::feedback::FileNotification;
use gantry_hub::file_uploads::{FileUpload, FileUploadError, FileUploads};
use gantry_identity::Identity;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::bodies;
use super::device;
use crate::auth::{self, PeerAddress, PeerCertificate};
use crate::error::ApiError;
use crate::fields;
use crate::{Api, now};

/// Characters of a blob name that a URL shows as they are.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// Where devices upload files, and what is known of uploads under way.
pub struct Files {
    /// Uploads under way.
    pub uploads: FileUploads,
    /// The storage.
    pub target: UploadTarget,
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

type Peer = Extension<PeerAddress>;
type Certificate = Option<Extension<PeerCertificate>>;

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

async fn uploader<'a>(
    api: &'a Api,
    headers: &HeaderMap,
    peer: &PeerAddress,
    certificate: Option<&PeerCertificate>,
    identity: &Identity,
) -> Result<&'a Files, ApiError> {
    auth::device(api, headers, peer, certificate, identity).await?;
    let none = || ApiError::new(400_014, "DefaultStorageEndpointNotConfigured", "no storage for file uploads");
    api.files.as_deref().ok_or_else(none)
}

pub(super) async fn begin(
    State(api): State<Arc<Api>>,
    Extension(peer): Peer,
    certificate: Certificate,
    headers: HeaderMap,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let identity = device(&id)?;
    let files = uploader(&api, &headers, &peer, certificate.as_deref(), &identity).await?;
    let name = bodies::parse_fields::<BeginBody>(&body, &fields::UPLOAD_BEGUN)?.blob_name;
    let checked = BlobName::parse(&format!("{}/{name}", identity.device));
    checked.map_err(|error| ApiError::invalid(error.to_string()))?;
    let upload = files.uploads.begin(now(), &identity, &name).await?;
    let target = &files.target;
    Ok(Json(json!({
        "correlationId": upload.correlation_id,
        "hostName": target.host(&api, &headers),
        "containerName": target.container,
        "blobName": upload.blob_name,
        "sasToken": target.signer.blob(&target.container, &upload.blob_name, "rw", upload.expires_at),
    })))
}

pub(super) async fn complete(
    State(api): State<Arc<Api>>,
    Extension(peer): Peer,
    certificate: Certificate,
    headers: HeaderMap,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    let identity = device(&id)?;
    let files = uploader(&api, &headers, &peer, certificate.as_deref(), &identity).await?;
    end(&api, files, &headers, &identity, None, &body).await
}

pub(super) async fn complete_by_path(
    State(api): State<Arc<Api>>,
    Extension(peer): Peer,
    certificate: Certificate,
    headers: HeaderMap,
    Path((id, correlation_id)): Path<(String, String)>,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    let identity = device(&id)?;
    let files = uploader(&api, &headers, &peer, certificate.as_deref(), &identity).await?;
    end(&api, files, &headers, &identity, Some(correlation_id), &body).await
}

async fn end(
    api: &Api,
    files: &Files,
    headers: &HeaderMap,
    identity: &Identity,
    by_path: Option<String>,
    body: &Bytes,
) -> Result<StatusCode, ApiError> {
    let outcome: CompleteBody = bodies::parse_fields(body, &fields::UPLOAD_ENDED)?;
    let status = || ApiError::new(400_019, "InvalidFileUploadCompletionStatus", "isSuccess is missing");
    let is_success = outcome.is_success.ok_or_else(status)?;
    let correlation_id = by_path.or(outcome.correlation_id);
    let correlation_id = correlation_id.ok_or(FileUploadError::Unknown)?;
    let upload = files.uploads.complete(now(), identity, &correlation_id).await?;
    tracing::debug!(
        device = %identity.device, is_success, code = outcome.status_code,
        words = outcome.status_description, "file upload ended"
    );
    if is_success {
        notify(api, files, headers, &upload).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Tells services of an uploaded file. One that is not there is not told of: the device may say what it likes.
async fn notify(api: &Api, files: &Files, headers: &HeaderMap, upload: &FileUpload) -> Result<(), ApiError> {
    let target = &files.target;
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

/// The address of an uploaded blob.
/// The name of the hub a caller used, with its port.
pub(super) fn host_used<'a>(api: &'a Api, headers: &'a HeaderMap) -> &'a str {
    let used = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    used.filter(|host| api.hub.answers_to(host)).unwrap_or(api.hub.host_name())
}

fn uri(host: &str, container: &str, name: &str) -> String {
    format!("https://{host}/{container}/{}", utf8_percent_encode(name, PATH))
}
