//! Import and export jobs: their bodies, and the lines of their files (`ExportImportDevice`).

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use gantry_hub::HubError;
use gantry_hub::bulk::BulkEntry;
use gantry_hub::configuration::Configuration;
use gantry_hub::device::Authentication;
use gantry_hub::import_export::{ConfigurationEntry, Job, JobError, Kind, LineError, Lines, Request};
use gantry_hub::ports::Record;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::bulk::ImportBody;
use super::{bodies, configurations};
use crate::Api;
use crate::error::ApiError;
use crate::fields;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestBody {
    r#type: KindBody,
    #[serde(default)]
    input_blob_container_uri: Option<String>,
    #[serde(default)]
    input_blob_name: Option<String>,
    #[serde(default)]
    output_blob_container_uri: Option<String>,
    #[serde(default)]
    output_blob_name: Option<String>,
    #[serde(default)]
    exclude_keys_in_export: Option<bool>,
    #[serde(default)]
    storage_authentication_type: Option<String>,
    #[serde(default)]
    include_configurations: Option<bool>,
    #[serde(default)]
    configurations_blob_name: Option<String>,
    /// The identity of `identityBased` authentication.
    #[serde(default)]
    identity: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindBody {
    #[serde(alias = "Import")]
    Import,
    #[serde(alias = "Export")]
    Export,
}

impl RequestBody {
    fn request(self) -> Request {
        let authentication = self.storage_authentication_type.as_deref().unwrap_or("keyBased");
        Request {
            kind: match self.r#type {
                KindBody::Import => Kind::Import,
                KindBody::Export => Kind::Export,
            },
            is_identity_based: !authentication.eq_ignore_ascii_case("keyBased") || self.identity.is_some(),
            input_uri: self.input_blob_container_uri,
            input_blob_name: self.input_blob_name,
            output_uri: self.output_blob_container_uri,
            output_blob_name: self.output_blob_name,
            exclude_keys: self.exclude_keys_in_export.unwrap_or(false),
            include_configurations: self.include_configurations.unwrap_or(false),
            configurations_blob_name: self.configurations_blob_name,
        }
    }
}

/// A job as services see it (`JobProperties`).
fn body(job: &Job) -> Value {
    let mut all = Map::new();
    let mut put = |key: &str, value: Value| all.insert(key.to_owned(), value);
    put("jobId", job.id.as_str().into());
    put("type", job.kind.as_str().into());
    put("status", job.status.as_str().into());
    put("progress", job.progress.into());
    put("startTimeUtc", job.started_at.to_string().into());
    put("outputBlobContainerUri", job.output_uri.as_str().into());
    put("excludeKeysInExport", job.exclude_keys.into());
    put("includeConfigurations", job.configurations_blob_name.is_some().into());
    put("storageAuthenticationType", "keyBased".into());
    let texts = [
        ("endTimeUtc", job.ended_at.map(|at| at.to_string())),
        ("inputBlobContainerUri", job.input_uri.clone()),
        ("inputBlobName", job.input_blob_name.clone()),
        ("outputBlobName", job.output_blob_name.clone()),
        ("configurationsBlobName", job.configurations_blob_name.clone()),
        ("failureReason", job.failure_reason.clone()),
    ];
    for (key, text) in texts {
        if let Some(text) = text {
            put(key, text.into());
        }
    }
    Value::Object(all)
}

impl From<JobError> for ApiError {
    fn from(error: JobError) -> Self {
        let message = error.to_string();
        match error {
            JobError::Busy => Self::new(403_003, "JobQuotaExceeded", message),
            JobError::Unknown(_) => Self::new(404_002, "JobNotFound", message),
            JobError::Container(_) => Self::new(400_008, "BlobContainerValidationError", message),
            JobError::Invalid(_) => Self::invalid(message),
            JobError::IdentityBased => Self::not_implemented(&message),
            JobError::Store(error) => HubError::from(error).into(),
        }
    }
}

pub(super) async fn create(State(api): State<Arc<Api>>, body_text: Bytes) -> Result<Json<Value>, ApiError> {
    let request: RequestBody = bodies::parse_fields(&body_text, &fields::IMPORT_EXPORT)?;
    Ok(Json(body(&api.import_export.create(request.request()).await?)))
}

pub(super) async fn list(State(api): State<Arc<Api>>) -> Result<Json<Vec<Value>>, ApiError> {
    Ok(Json(api.import_export.list().iter().map(body).collect()))
}

pub(super) async fn get(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    Ok(Json(body(&api.import_export.get(&id)?)))
}

// C# sends the job id as If-Match: it is not looked at.
pub(super) async fn cancel(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    api.import_export.cancel(&id)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lines of import and export files: bodies of the service API.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServiceLines;

impl Lines for ServiceLines {
    fn identity(&self, record: &Record, exclude_keys: bool) -> String {
        identity(record, exclude_keys).to_string()
    }

    fn configuration(&self, configuration: &Configuration) -> String {
        configurations::exported(configuration).to_string()
    }

    fn read_identity(&self, line: &[u8]) -> Result<BulkEntry, LineError> {
        Ok(bodies::parse(line).and_then(ImportBody::read).and_then(ImportBody::entry)?)
    }

    fn read_configuration(&self, line: &[u8]) -> Result<ConfigurationEntry, LineError> {
        Ok(configurations::read_line(line)?)
    }

    fn refusal(&self, error: HubError) -> LineError {
        ApiError::from(error).into()
    }
}

impl From<ApiError> for LineError {
    fn from(error: ApiError) -> Self {
        Self { code: error.name(), words: error.words().to_owned() }
    }
}

fn identity(record: &Record, exclude_keys: bool) -> Value {
    let (device, twin) = (&record.device, &record.twin);
    let mut all = Map::new();
    let mut put = |key: &str, value: Value| all.insert(key.to_owned(), value);
    put("id", device.identity.device.as_str().into());
    if let Some(module) = &device.identity.module {
        put("moduleId", module.as_str().into());
        put("managedBy", device.managed_by.clone().into());
    }
    put("eTag", device.etag_text().into());
    put("importMode", "createOrUpdate".into());
    put("status", device.status.as_str().into());
    put("statusReason", device.status_reason.clone().into());
    let hidden = exclude_keys && matches!(device.authentication, Authentication::Sas(_));
    let authentication = if hidden {
        json!({ "symmetricKey": { "primaryKey": null, "secondaryKey": null }, "type": "sas" })
    } else {
        bodies::authentication(&device.authentication)
    };
    put("authentication", authentication);
    put("capabilities", json!({ "iotEdge": device.iot_edge }));
    if let Some(scope) = &device.device_scope {
        put("deviceScope", scope.as_str().into());
    }
    if !device.parent_scopes.is_empty() {
        put("parentScopes", device.parent_scopes.clone().into());
    }
    put("twinETag", twin.etag_text().into());
    put("tags", Value::Object(twin.tags.clone()));
    put("properties", json!({ "desired": twin.desired.with_metadata(), "reported": twin.reported.with_metadata() }));
    Value::Object(all)
}
