//! What operators call: enrollments and registrations.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use gantry_hub::device::IfMatch;
use gantry_hub::json;
use gantry_provisioning::{
    DpsError, Enrollment, EnrollmentKey, EnrollmentKind, GroupId, Keys, Registration, RegistrationId,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::enrollment::EnrollmentBody;
use super::{DpsFailure, with_header};
use crate::hub::if_match;
use crate::{Api, fields, now};

/// Records of one bulk operation (DPS service API).
const BULK_MAX: usize = 10;

type Answer = Result<Response, DpsFailure>;
pub(crate) fn individual(id: &str) -> Result<EnrollmentKey, DpsError> {
    registration_id(id).map(EnrollmentKey::Individual)
}

pub(crate) fn group(id: &str) -> Result<EnrollmentKey, DpsError> {
    group_id(id).map(EnrollmentKey::Group)
}

fn registration_id(id: &str) -> Result<RegistrationId, DpsError> {
    RegistrationId::parse(id).map_err(|error| DpsError::Invalid(format!("registration id: {error}")))
}

fn group_id(id: &str) -> Result<GroupId, DpsError> {
    GroupId::parse(id).map_err(|error| DpsError::Invalid(format!("enrollment group id: {error}")))
}

macro_rules! operations {
    ($key:ident, $get:ident, $put:ident, $delete:ident, $keys:ident, $query:ident, $kind:expr) => {
        pub(super) async fn $get(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer {
            let found = api.provisioning.enrollment(&$key(&id)?).await?;
            Ok(Json(document(&api, &found, Keys::Hidden).await?).into_response())
        }

        pub(super) async fn $put(
            State(api): State<Arc<Api>>,
            headers: HeaderMap,
            Path(id): Path<String>,
            body: Bytes,
        ) -> Answer {
            let key = $key(&id)?;
            let write = EnrollmentBody::read(&body)?.write(&key)?;
            let stored = api.provisioning.put_enrollment(now(), key, write, &if_match(&headers)).await?;
            Ok(Json(document(&api, &stored, Keys::Shown).await?).into_response())
        }

        pub(super) async fn $delete(State(api): State<Arc<Api>>, headers: HeaderMap, Path(id): Path<String>) -> Answer {
            api.provisioning.delete_enrollment(&$key(&id)?, &if_match(&headers)).await?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }

        pub(super) async fn $keys(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer {
            let stored = api.provisioning.enrollment(&$key(&id)?).await?;
            Ok(Json(stored.attestation.document(Keys::Shown)).into_response())
        }

        pub(super) async fn $query(State(api): State<Arc<Api>>, headers: HeaderMap, body: Bytes) -> Answer {
            query(&api, &headers, &body, $kind).await
        }
    };
}

operations!(
    individual,
    get_individual,
    put_individual,
    delete_individual,
    keys_of_individual,
    query_individual,
    EnrollmentKind::Individual
);
operations!(group, get_group, put_group, delete_group, keys_of_group, query_group, EnrollmentKind::Group);

/// The enrollment, with the state of its registration if it is an individual one and its device came.
pub(crate) async fn document(api: &Api, enrollment: &Enrollment, keys: Keys) -> Result<Value, DpsError> {
    let mut document = enrollment.document(keys);
    if let EnrollmentKey::Individual(id) = &enrollment.key {
        match api.provisioning.registration(id).await {
            Ok(registration) => document["registrationState"] = registration.document(),
            Err(DpsError::NotFound(..)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(document)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BulkBody {
    mode: String,
    enrollments: Option<Vec<Value>>,
    enrollment_groups: Option<Vec<Value>>,
}

/// How the records of a bulk call are written.
#[derive(Clone, Copy)]
enum BulkMode {
    Create,
    Update,
    UpdateIfMatch,
    Delete,
}

impl BulkMode {
    fn parse(word: &str) -> Result<Self, DpsError> {
        match word.to_ascii_lowercase().as_str() {
            "create" => Ok(Self::Create),
            "update" => Ok(Self::Update),
            "updateifmatchetag" => Ok(Self::UpdateIfMatch),
            "delete" => Ok(Self::Delete),
            _ => Err(DpsError::Invalid("mode must be create, update, updateIfMatchETag or delete".into())),
        }
    }
}

pub(super) async fn bulk_individual(State(api): State<Arc<Api>>, body: Bytes) -> Answer {
    bulk(&api, &body, EnrollmentKind::Individual).await
}

pub(super) async fn bulk_group(State(api): State<Arc<Api>>, body: Bytes) -> Answer {
    bulk(&api, &body, EnrollmentKind::Group).await
}

async fn bulk(api: &Api, body: &Bytes, kind: EnrollmentKind) -> Answer {
    let malformed = |error: serde_json::Error| DpsError::Malformed(error.to_string());
    let body = fields::BULK_ENROLLMENTS.read(json::parse(body).map_err(malformed)?).map_err(DpsError::Malformed)?;
    let body: BulkBody = json::read_value(body).map_err(malformed)?;
    let mode = BulkMode::parse(&body.mode)?;
    let (all, others, name) = match kind {
        EnrollmentKind::Individual => (body.enrollments, body.enrollment_groups, "registrationId"),
        EnrollmentKind::Group => (body.enrollment_groups, body.enrollments, "enrollmentGroupId"),
    };
    let all = all.unwrap_or_default();
    if others.is_some_and(|others| !others.is_empty()) {
        return Err(DpsError::Invalid("enrollments and enrollmentGroups have a bulk operation each".into()).into());
    }
    if all.is_empty() || all.len() > BULK_MAX {
        return Err(DpsError::Invalid(format!("a bulk operation takes 1 to {BULK_MAX} records")).into());
    }
    let mut errors = vec![];
    for one in all {
        let id = one.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        if let Err(error) = bulk_one(api, kind, mode, &id, one).await {
            errors.push(json!({ name: id, "errorCode": error.code(), "errorStatus": error.to_string() }));
        }
    }
    Ok(Json(json!({ "isSuccessful": errors.is_empty(), "errors": errors })).into_response())
}

async fn bulk_one(api: &Api, kind: EnrollmentKind, mode: BulkMode, id: &str, body: Value) -> Result<(), DpsError> {
    let body = EnrollmentBody::of(body)?;
    let key = if kind == EnrollmentKind::Individual { individual(id)? } else { group(id)? };
    let etag = body.etag.clone().filter(|etag| !etag.is_empty());
    let of_body = || etag.as_deref().map_or(IfMatch::Any, |etag| IfMatch::parse(Some(etag)));
    let if_match = match mode {
        BulkMode::Create => IfMatch::Absent,
        BulkMode::Update => IfMatch::Any,
        BulkMode::UpdateIfMatch if etag.is_none() => return Err(DpsError::Invalid("etag is missing".into())),
        BulkMode::UpdateIfMatch => of_body(),
        BulkMode::Delete => return api.provisioning.delete_enrollment(&key, &of_body()).await,
    };
    if !matches!(mode, BulkMode::Create) {
        api.provisioning.enrollment(&key).await?;
    }
    let write = body.write(&key)?;
    api.provisioning.put_enrollment(now(), key, write, &if_match).await.map(drop)
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).filter(|value| !value.is_empty())
}

fn page_size(headers: &HeaderMap) -> usize {
    header(headers, "x-ms-max-item-count").and_then(|n| n.parse().ok()).unwrap_or(100).clamp(1, 1000)
}

/// A page of items with the headers SDKs continue by.
fn page(items: Vec<Value>, limit: usize, last: Option<String>, item_type: &'static str) -> Response {
    let is_full = items.len() == limit;
    let answer = Json(items).into_response();
    let answer = with_header(answer, HeaderName::from_static("x-ms-item-type"), item_type);
    match last.filter(|_| is_full) {
        Some(last) => with_header(answer, HeaderName::from_static("x-ms-continuation"), &last),
        None => answer,
    }
}

/// Checks that a body is a query. The reference passes its text over, whatever it says, and gives every enrollment; SDKs
/// and the command line's IoT extension leave it empty.
fn check_query(body: &[u8]) -> Result<(), DpsError> {
    let body: Map<String, Value> = json::read(body).map_err(|error| DpsError::Malformed(error.to_string()))?;
    match body
        .iter()
        .find(|(name, value)| !name.eq_ignore_ascii_case("query") || !(value.is_string() || value.is_null()))
    {
        Some((name, _)) => Err(DpsError::Malformed(format!("`{name}`: a query is text in `query`"))),
        None => Ok(()),
    }
}

async fn query(api: &Api, headers: &HeaderMap, body: &Bytes, kind: EnrollmentKind) -> Answer {
    check_query(body)?;
    let limit = page_size(headers);
    let found = api.provisioning.enrollments(kind, header(headers, "x-ms-continuation"), limit).await?;
    let last = found.last().map(|e| e.key.as_str().to_owned());
    let item_type = if kind == EnrollmentKind::Group { "EnrollmentGroup" } else { "Enrollment" };
    let mut documents = Vec::with_capacity(found.len());
    for one in &found {
        documents.push(document(api, one, Keys::Hidden).await?);
    }
    Ok(page(documents, limit, last, item_type))
}

pub(super) async fn get_registration(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer {
    Ok(Json(api.provisioning.registration(&registration_id(&id)?).await?.document()).into_response())
}

pub(super) async fn delete_registration(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer {
    api.provisioning.delete_registration(&registration_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn query_registrations(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Answer {
    let limit = page_size(&headers);
    let found = api.provisioning.registrations(&group_id(&id)?, header(&headers, "x-ms-continuation"), limit).await?;
    let last = found.last().map(|r| r.id.folded());
    Ok(page(found.iter().map(Registration::document).collect(), limit, last, "DeviceRegistration"))
}
