//! Scheduled jobs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use gantry_hub::job::{Job, JobStatus, Work};
use gantry_hub::ports::JobFilter;
use gantry_hub::{HubError, limits};
use gantry_identity::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::bodies::{self, TwinBody};
use super::methods::MethodBody;
use super::query::{CONTINUATION, ITEM_TYPE, MAX_ITEM_COUNT};
use crate::error::ApiError;
use crate::fields;
use crate::query::Query;
use crate::{Api, now};

/// Jobs on a page when the caller does not say.
const PAGE_DEFAULT: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JobBody {
    #[serde(alias = "JobId")]
    job_id: Option<String>,
    #[serde(alias = "Type")]
    r#type: String,
    #[serde(alias = "QueryCondition")]
    query_condition: Option<String>,
    #[serde(alias = "DeviceIds")]
    device_ids: Option<Vec<String>>,
    #[serde(alias = "StartTime")]
    start_time: Option<String>,
    #[serde(alias = "MaxExecutionTimeInSeconds")]
    max_execution_time_in_seconds: Option<u64>,
    #[serde(alias = "UpdateTwin")]
    update_twin: Option<Box<RawValue>>,
    #[serde(alias = "CloudToDeviceMethod")]
    cloud_to_device_method: Option<Box<RawValue>>,
}

impl JobBody {
    /// Reads a body. Its text is read at once, so that a method's payload stays what its sender wrote.
    fn read(text: &[u8]) -> Result<Self, ApiError> {
        if text.trim_ascii_start().first() != Some(&b'{') {
            return Err(ApiError::invalid("malformed body: a JSON object is needed"));
        }
        serde_json::from_slice(text).map_err(bodies::malformed)
    }

    fn job(self, id: &str, now: Timestamp) -> Result<Job, ApiError> {
        if self.job_id.as_ref().is_some_and(|given| given != id) {
            return Err(ApiError::invalid("jobId in the body differs from the id in the path"));
        }
        let condition = match (self.query_condition.filter(|text| !text.trim().is_empty()), self.device_ids) {
            (Some(condition), None) => condition,
            (None, Some(ids)) => format!("deviceId IN {}", Value::from(ids)),
            _ => return Err(ApiError::invalid("queryCondition is missing; `*` means all devices")),
        };
        let work = match self.r#type.to_ascii_lowercase().as_str() {
            "scheduleupdatetwin" if self.cloud_to_device_method.is_none() => twin_work(self.update_twin)?,
            "scheduledevicemethod" if self.update_twin.is_none() => method_work(self.cloud_to_device_method)?,
            "scheduleupdatetwin" | "scheduledevicemethod" => {
                return Err(ApiError::invalid("updateTwin and cloudToDeviceMethod belong to one type of job each"));
            }
            _ => return Err(ApiError::invalid("type must be scheduleUpdateTwin or scheduleDeviceMethod")),
        };
        let start = self.start_time.filter(|text| !text.is_empty());
        let start =
            start.map(|text| Timestamp::parse(&text).ok_or_else(|| ApiError::invalid("startTime is malformed")));
        let execution_max = self.max_execution_time_in_seconds.map(Duration::from_secs);
        Ok(Job::new(id, &condition, work, now, start.transpose()?, execution_max).map_err(HubError::from)?)
    }
}

fn twin_work(twin: Option<Box<RawValue>>) -> Result<Work, ApiError> {
    let shown = twin.ok_or_else(|| ApiError::invalid("updateTwin is missing"))?;
    let shown: Value = bodies::parse(shown.get().as_bytes())?;
    let body: TwinBody = bodies::read_fields(shown.clone(), &fields::TWIN)?;
    // A job is an unconditional update: of many twins no one version can be meant.
    if body.particular_etag().is_some() {
        return Err(ApiError::invalid("updateTwin.etag must be `*`"));
    }
    Ok(Work::UpdateTwin { write: body.merge()?, shown })
}

fn method_work(method: Option<Box<RawValue>>) -> Result<Work, ApiError> {
    let method = method.ok_or_else(|| ApiError::invalid("cloudToDeviceMethod is missing"))?;
    let (call, timeouts) = MethodBody::read(method.get().as_bytes())?.call()?;
    Ok(Work::CallMethod { call, response: timeouts.response, connect: timeouts.connect })
}

fn body(api: &Api, job: &Job) -> Value {
    let mut all = Map::new();
    let mut put = |key: &str, value: Value| all.insert(key.to_owned(), value);
    put("jobId", job.id.as_str().into());
    put("queryCondition", job.condition.as_str().into());
    put("createdTime", job.created_at.to_string().into());
    put("startTime", job.start_at.to_string().into());
    if let Some(ended_at) = job.ended_at {
        put("endTime", ended_at.to_string().into());
    }
    put("maxExecutionTimeInSeconds", job.execution_max.as_secs().into());
    put("type", job.work.kind().into());
    match &job.work {
        Work::UpdateTwin { shown, .. } => put("updateTwin", shown.clone()),
        Work::CallMethod { call, response, connect } => {
            let mut method = json!({
                "methodName": call.name,
                "responseTimeoutInSeconds": response.as_secs(),
                "connectTimeoutInSeconds": connect.as_secs(),
            });
            if !call.payload.is_empty() {
                method["payload"] = serde_json::from_slice(&call.payload).unwrap_or_default();
            }
            put("cloudToDeviceMethod", method)
        }
    };
    put("status", job.status.as_str().into());
    if let Some(failure) = &job.failure {
        put("failureReason", failure.as_str().into());
    }
    let counts = &job.statistics;
    let left = counts.devices.saturating_sub(counts.succeeded + counts.failed);
    let running = if job.status.has_ended() { 0 } else { api.hub.job_devices_at_work(&job.id).min(left) };
    let pending = if job.status.has_ended() { 0 } else { left - running };
    put(
        "deviceJobStatistics",
        json!({
            "deviceCount": counts.devices, "failedCount": counts.failed, "succeededCount": counts.succeeded,
            "runningCount": running, "pendingCount": pending,
        }),
    );
    Value::Object(all)
}

pub(super) async fn create(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    bytes: Bytes,
) -> Result<Json<Value>, ApiError> {
    let job = JobBody::read(&bytes)?.job(&id, now())?;
    let mut answer = body(&api, &api.hub.create_job(job).await?);
    // The reference has only queued the job by now, also one for later; whoever asks again hears `scheduled`.
    answer["status"] = JobStatus::Queued.as_str().into();
    Ok(Json(answer))
}

pub(super) async fn get(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    Ok(Json(body(&api, &api.hub.job(&id).await?)))
}

pub(super) async fn cancel(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    Ok(Json(body(&api, &api.hub.cancel_job(now(), &id).await?)))
}

/// Paging comes in headers from the SDKs, in the query string in the reference's own text.
pub(super) async fn query(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, ApiError> {
    let given = |header: &str, parameter: &str| {
        let header = headers.get(header).and_then(|value| value.to_str().ok());
        header.or_else(|| query.get(parameter).map(String::as_str)).filter(|text| !text.is_empty())
    };
    let page = match given(MAX_ITEM_COUNT, "pageSize") {
        None => PAGE_DEFAULT,
        Some(text) => text.parse().map_err(|_| ApiError::invalid("the size of a page must be a number"))?,
    };
    let word = |name: &str| query.get(name).filter(|word| !word.is_empty());
    let kind = match word("jobType").map(|word| word.to_ascii_lowercase()) {
        None => None,
        Some(word) if word == "scheduleupdatetwin" => Some("scheduleUpdateTwin".to_owned()),
        Some(word) if word == "scheduledevicemethod" => Some("scheduleDeviceMethod".to_owned()),
        Some(_) => return Err(ApiError::invalid("jobType must be scheduleUpdateTwin or scheduleDeviceMethod")),
    };
    let status = word("jobStatus")
        .map(|word| JobStatus::parse(word).ok_or_else(|| ApiError::invalid("jobStatus is not known")))
        .transpose()?;
    let page = page.clamp(1, limits::QUERY_PAGE_MAX);
    let page = api.hub.jobs(JobFilter { kind, status }, page, given(CONTINUATION, "continuationToken")).await?;
    let items: Vec<Value> = page.items.iter().map(|job| body(&api, job)).collect();
    let mut response = Json(items).into_response();
    response.headers_mut().insert(ITEM_TYPE, HeaderValue::from_static("JobResponse"));
    if let Some(token) = page.continuation.and_then(|token| HeaderValue::from_str(&token).ok()) {
        response.headers_mut().insert(CONTINUATION, token);
    }
    Ok(response)
}
