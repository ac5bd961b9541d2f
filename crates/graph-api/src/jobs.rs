//! Imports and deletions. A job is made when it is asked for, and carried out by a task of its own.

use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use gantry_graph::{Job, JobKind, limits};
use gantry_identity::Timestamp;
use rand::Rng as _;
use serde_json::{Value, json};

use crate::Failure;
use crate::call::Call;
use crate::pages::{address, after, page};

/// The header that says where the outcome of a deletion is.
const OPERATION_LOCATION: HeaderName = HeaderName::from_static("operation-location");

fn shown(job: &Job) -> Value {
    let at = |ms: i64| Timestamp::from_millis(ms).to_string();
    let mut shown = json!({ "id": job.id, "status": job.status.name(), "createdDateTime": at(job.created_at) });
    if job.kind == JobKind::Import {
        shown["inputBlobUri"] = job.input.clone().into();
        shown["outputBlobUri"] = job.output.clone().into();
        shown["lastActionDateTime"] = at(job.last_action_at).into();
    }
    if let Some(finished) = job.finished_at {
        shown["finishedDateTime"] = at(finished).into();
    }
    if let Some(purge) = job.purge_at() {
        shown["purgeDateTime"] = purge.to_string().into();
    }
    if let Some((code, message)) = &job.error {
        shown["error"] = json!({ "code": code, "message": message });
    }
    shown
}

fn list(call: &Call, kind: JobKind, path: &str) -> Result<Response, Failure> {
    let after = after(call)?;
    let all = call.service.jobs.list(kind);
    let rest = all.iter().filter(|job| after.as_ref().is_none_or(|after| job.id > *after));
    page(call, path, &[], rest.map(|job| (job.id.clone(), shown(job))))
}

pub(crate) async fn list_imports(call: Call) -> Result<Response, Failure> {
    list(&call, JobKind::Import, "/jobs/imports")
}

pub(crate) async fn list_deletions(call: Call) -> Result<Response, Failure> {
    list(&call, JobKind::Delete, "/jobs/deletions")
}

pub(crate) async fn get_import(call: Call) -> Result<Response, Failure> {
    Ok(Json(shown(&call.service.jobs.get(JobKind::Import, call.id())?)).into_response())
}

pub(crate) async fn get_deletion(call: Call) -> Result<Response, Failure> {
    Ok(Json(shown(&call.service.jobs.get(JobKind::Delete, call.id())?)).into_response())
}

pub(crate) async fn put_import(call: Call) -> Result<Response, Failure> {
    let body = call.fields()?;
    let text = |name: &str| match body.get(name) {
        Some(Value::String(text)) => Ok(text.clone()),
        _ => Err(Failure::invalid(format!("`{name}` is missing, or not a string"))),
    };
    let (input, output) = (text("inputBlobUri")?, text("outputBlobUri")?);
    let job = call.service.jobs.create_import(call.id(), &input, &output).await?;
    let answer = (StatusCode::CREATED, Json(shown(&job))).into_response();
    let jobs = Arc::clone(&call.service.jobs);
    tokio::spawn(async move {
        let id = job.id.clone();
        if let Err(error) = jobs.run_import(job, &input, &output).await {
            tracing::error!(%error, job = %id, "how an import of the digital-twin graph fares is not written");
        }
    });
    Ok(answer)
}

pub(crate) async fn delete_import(call: Call) -> Result<Response, Failure> {
    call.service.jobs.delete(call.id()).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(crate) async fn cancel_import(call: Call) -> Result<Response, Failure> {
    Ok(Json(shown(&call.service.jobs.cancel(call.id()).await?)).into_response())
}

pub(crate) async fn add_deletion(call: Call) -> Result<Response, Failure> {
    let minutes = match call.value("timeoutInMinutes") {
        None => limits::DELETION_MINUTES,
        Some(text) => match text.parse::<u64>() {
            Ok(minutes) if minutes > 0 => minutes,
            _ => return Err(Failure::invalid("`timeoutInMinutes` is a whole number from 1 on")),
        },
    };
    let id = match call.header("operation-id")? {
        Some(id) => id.to_owned(),
        None => format!("{:032x}", rand::rng().random::<u128>()),
    };
    let job = call.service.jobs.create_deletion(&id).await?;
    let place = format!("{}?api-version={}", address(&call, &format!("/jobs/deletions/{id}")), call.version);
    let mut answer = (StatusCode::ACCEPTED, Json(shown(&job))).into_response();
    if let Ok(place) = HeaderValue::from_str(&place) {
        answer.headers_mut().insert(OPERATION_LOCATION, place);
    }
    let jobs = Arc::clone(&call.service.jobs);
    tokio::spawn(async move {
        if let Err(error) = jobs.run_deletion(job, minutes).await {
            tracing::error!(%error, job = %id, "how a deletion of the digital-twin graph fares is not written");
        }
    });
    Ok(answer)
}
