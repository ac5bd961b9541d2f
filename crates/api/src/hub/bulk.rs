//! Many registry operations in one call, and new keys for many devices.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use gantry_hub::bulk::{BulkEntry, BulkFailure, ImportMode, PolicyKey};
use gantry_hub::limits::BULK_LEN_MAX;
use gantry_identity::Identity;
use serde::Deserialize;
use serde_json::{Value, json};

use super::bodies::{self, DeviceBody, TwinBody};
use super::{device, module};
use crate::error::ApiError;
use crate::fields;
use crate::operation::Row;
use crate::throttle::take_more;
use crate::{Api, now};

/// An entry of a bulk call or a line of an import file (`ExportImportDevice`).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ImportBody {
    id: String,
    #[serde(default)]
    module_id: Option<String>,
    #[serde(default)]
    e_tag: Option<String>,
    #[serde(default, rename = "twinETag")]
    twin_etag: Option<String>,
    #[serde(default)]
    import_mode: Option<String>,
    #[serde(flatten)]
    device: DeviceBody,
    #[serde(flatten)]
    twin: TwinBody,
}

impl ImportBody {
    /// Reads an entry.
    ///
    /// # Errors
    /// When a field is not known or cannot be read.
    pub(crate) fn read(entry: Value) -> Result<Self, ApiError> {
        bodies::read_fields(entry, &fields::BULK_ENTRY)
    }

    /// The domain's entry.
    ///
    /// # Errors
    /// When an id, the mode or a value cannot be used.
    pub(crate) fn entry(self) -> Result<BulkEntry, ApiError> {
        let identity = identity(&self.id, self.module_id.as_deref())?;
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let mode = match given(self.import_mode) {
            None => ImportMode::default(),
            Some(word) => ImportMode::parse(&word)
                .ok_or_else(|| ApiError::invalid(format!("importMode `{word}` is not known")))?,
        };
        let device = self.device.named_elsewhere().write(&identity)?;
        let (etag, twin_etag) = (given(self.e_tag), given(self.twin_etag));
        Ok(BulkEntry { identity, mode, etag, twin_etag, device, twin: self.twin.merge()? })
    }
}

fn identity(id: &str, module_id: Option<&str>) -> Result<Identity, ApiError> {
    match module_id.filter(|id| !id.is_empty()) {
        Some(module_id) => module(id, module_id),
        None => device(id),
    }
}

pub(super) async fn registry(
    State(api): State<Arc<Api>>,
    Extension(row): Extension<Row>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let bodies: Vec<Value> = bodies::parse(&body)?;
    check_len(bodies.len())?;
    take_more(&api, &row, bodies.len().saturating_sub(1)).await?;
    let entry = |body| ImportBody::read(body).and_then(ImportBody::entry);
    let entries = bodies.into_iter().map(entry).collect::<Result<Vec<_>, _>>()?;
    let failures = api.hub.bulk(now(), entries).await?;
    let errors: Vec<Value> = failures.into_iter().map(failure).collect();
    let is_successful = errors.is_empty();
    let body = Json(json!({ "isSuccessful": is_successful, "errors": errors, "warnings": [] }));
    if is_successful {
        return Ok(body.into_response());
    }
    let name = HeaderValue::from_static("BulkRegistryOperationFailure");
    Ok((StatusCode::BAD_REQUEST, [("iothub-errorcode", name)], body).into_response())
}

fn check_len(len: usize) -> Result<(), ApiError> {
    match len {
        0 => Err(ApiError::invalid("the list of devices is empty")),
        len if len > BULK_LEN_MAX => Err(ApiError::too_many_devices(BULK_LEN_MAX)),
        _ => Ok(()),
    }
}

fn failure(failure: BulkFailure) -> Value {
    let BulkFailure { identity, mode, error } = failure;
    let error = ApiError::from(error);
    json!({
        "deviceId": identity.device.as_str(),
        "moduleId": identity.module.as_ref().map(|module| module.as_str()),
        "errorCode": error.name(),
        "errorStatus": error.words(),
        "operation": mode.as_str(),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RegenerateBody {
    policy_key: String,
    devices: Vec<NameBody>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NameBody {
    id: String,
    module_id: Option<String>,
}

pub(super) async fn regenerate_keys(State(api): State<Arc<Api>>, body: Bytes) -> Result<Response, ApiError> {
    let body: RegenerateBody = bodies::parse_fields(&body, &fields::REGENERATE_KEYS)?;
    let which = match body.policy_key.to_ascii_lowercase().as_str() {
        "primarykey" | "primary" => PolicyKey::Primary,
        "secondarykey" | "secondary" => PolicyKey::Secondary,
        "both" => PolicyKey::Both,
        _ => return Err(ApiError::invalid_policy_key()),
    };
    check_len(body.devices.len())?;
    let named = body.devices.iter().map(|name| identity(&name.id, name.module_id.as_deref()));
    let identities = named.collect::<Result<Vec<_>, _>>()?;
    let (mut rotated, mut errors) = (vec![], vec![]);
    for identity in identities {
        let mut name = json!({ "id": identity.device.as_str() });
        if let Some(module) = &identity.module {
            name["moduleId"] = module.as_str().into();
        }
        match api.hub.regenerate_keys(now(), &identity, which).await {
            Ok(record) => {
                name["authentication"] = bodies::authentication(&record.device.authentication);
                rotated.push(name);
            }
            Err(error) => {
                let error = ApiError::from(error);
                name["errorCode"] = error.name().into();
                name["errorStatus"] = error.words().into();
                errors.push(name);
            }
        }
    }
    let status = match (rotated.is_empty(), errors.is_empty()) {
        (_, true) => StatusCode::OK,
        (false, false) => StatusCode::MULTI_STATUS,
        (true, false) => StatusCode::BAD_REQUEST,
    };
    let body = json!({ "policyKey": body.policy_key, "rotatedKeys": rotated, "errors": errors });
    let mut response = (status, Json(body)).into_response();
    if status == StatusCode::BAD_REQUEST {
        let name = HeaderValue::from_static("BulkRegenerateDeviceKeyOperationFailure");
        response.headers_mut().insert("iothub-errorcode", name);
    }
    Ok(response)
}
