//! Enrollments and registrations for the page and the command line, in the shapes of the DPS service API.
//!
//! Keys are part of an answer only where they are asked for by name: `attestationmechanism` and `deviceKey`.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode};
use gantry_identity::KeyPair;
use gantry_provisioning::{
    Attestation, DpsError, EnrollmentKey, EnrollmentKind, GroupId, Keys, Registration, RegistrationId,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::PlatformError;
use super::parse;
use crate::caller::Permissions;
use crate::dps::enrollment::EnrollmentBody;
use crate::dps::service::{document, group, individual};
use crate::fields;
use crate::hub::if_match;
use crate::operation::{Operation, Parameter};
use crate::query::Query;
use crate::routes::Routes;
use crate::{Api, now};

/// Items of a page where the caller does not say.
const PAGE: usize = 100;
/// Items of a page at most.
const PAGE_MAX: usize = 1_000;

type Answer = Result<Json<Value>, PlatformError>;

/// Which of the two kinds of enrollment a route is about.
trait Kind: Send + 'static {
    /// Where its routes begin.
    const BASE: &'static str;
    /// What the names of its operations begin with.
    const GROUP: &'static str;
    const KIND: EnrollmentKind;
    fn key(id: &str) -> Result<EnrollmentKey, DpsError>;
}

struct Individual;

impl Kind for Individual {
    const BASE: &'static str = "/enrollments";
    const GROUP: &'static str = "Enrollments";
    const KIND: EnrollmentKind = EnrollmentKind::Individual;

    fn key(id: &str) -> Result<EnrollmentKey, DpsError> {
        individual(id)
    }
}

struct Group;

impl Kind for Group {
    const BASE: &'static str = "/enrollmentGroups";
    const GROUP: &'static str = "EnrollmentGroups";
    const KIND: EnrollmentKind = EnrollmentKind::Group;

    fn key(id: &str) -> Result<EnrollmentKey, DpsError> {
        group(id)
    }
}

const PAGES: &[Parameter] = &[
    Parameter { name: "limit", about: "The most on a page: 100 unless said, at most 1,000." },
    Parameter { name: "after", about: "`next` of the page before." },
];

fn row(method: Method, path: &str, id: impl Into<Cow<'static, str>>, about: &'static str) -> Operation {
    let path = format!("/provisioning{path}");
    super::row(method, &path, id, Permissions::PROVISIONING_MANAGE, about)
}

pub(super) fn routes() -> Routes<Arc<Api>> {
    const NEW_DEVICE: &str = "What a new device is told: `{\"provisioningHost\",\"idScope\",\"registrationId\",\
                              \"primaryKey\",\"secondaryKey\"}`.";
    Routes::new()
        .on(row(Method::GET, "/instance", "DpsInstance_Get", "`{\"hostName\",\"idScope\"}`."), instance)
        .merge(of_kind::<Individual>())
        .merge(of_kind::<Group>())
        .on(row(Method::POST, "/enrollments/{id}/deviceKey", "Enrollments_GetDeviceKey", NEW_DEVICE), key_of_device)
        .on(
            row(Method::POST, "/enrollmentGroups/{id}/deviceKey", "EnrollmentGroups_DeriveDeviceKey", NEW_DEVICE)
                .takes(&fields::NEW_DEVICE),
            derive_key,
        )
        .on(
            row(
                Method::GET,
                "/enrollmentGroups/{id}/registrations",
                "EnrollmentGroups_ListRegistrations",
                "`{\"value\":[Registration],\"next\":id|null}`, in order of id.",
            )
            .query(PAGES),
            registrations,
        )
        .on(row(Method::GET, "/registrations/{id}", "Registrations_Get", "The registration."), registration)
        .on(
            row(Method::DELETE, "/registrations/{id}", "Registrations_Delete", "204; the device at the hub stays."),
            delete_registration,
        )
}

fn of_kind<K: Kind>() -> Routes<Arc<Api>> {
    let row = |method, rest: &str, verb, about| {
        row(method, &format!("{}{rest}", K::BASE), format!("{}_{verb}", K::GROUP), about)
    };
    Routes::new()
        .on(
            row(Method::GET, "", "List", "`{\"value\":[Enrollment],\"next\":id|null}`, in order of id.").query(PAGES),
            list::<K>,
        )
        .on(row(Method::GET, "/{id}", "Get", "The enrollment as the service API has it, never with keys."), show::<K>)
        .on(
            row(
                Method::PUT,
                "/{id}",
                "CreateOrUpdate",
                "Creates, with `If-Match` replaces; what was read may be written back and keeps keys.",
            )
            .takes(&fields::ENROLLMENT),
            put::<K>,
        )
        .on(row(Method::DELETE, "/{id}", "Delete", "204; `If-Match` is optional."), delete::<K>)
        .on(
            row(
                Method::POST,
                "/{id}/attestationmechanism",
                "GetAttestationMechanism",
                "The attestation, with its keys.",
            ),
            keys::<K>,
        )
}

async fn instance(State(api): State<Arc<Api>>) -> Json<Value> {
    Json(json!({ "hostName": api.provisioning.host_name(), "idScope": api.provisioning.id_scope().as_str() }))
}

#[derive(Deserialize)]
struct PageQuery {
    limit: Option<usize>,
    after: Option<String>,
}

impl PageQuery {
    fn limit(&self) -> usize {
        self.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX)
    }

    /// A page, and where the next one begins when this one is full.
    fn answer(&self, items: Vec<Value>, last: Option<String>) -> Json<Value> {
        let next = last.filter(|_| items.len() == self.limit());
        Json(json!({ "value": items, "next": next }))
    }
}

async fn list<K: Kind>(State(api): State<Arc<Api>>, Query(page): Query<PageQuery>) -> Answer {
    let found = api.provisioning.enrollments(K::KIND, page.after.as_deref(), page.limit()).await?;
    let mut items = Vec::with_capacity(found.len());
    for one in &found {
        items.push(document(&api, one, Keys::Hidden).await?);
    }
    Ok(page.answer(items, found.last().map(|last| last.key.as_str().to_owned())))
}

async fn show<K: Kind>(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer {
    let found = api.provisioning.enrollment(&K::key(&id)?).await?;
    Ok(Json(document(&api, &found, Keys::Hidden).await?))
}

async fn put<K: Kind>(State(api): State<Arc<Api>>, Path(id): Path<String>, headers: HeaderMap, body: Bytes) -> Answer {
    let key = K::key(&id)?;
    let write = EnrollmentBody::read(&body)?.write(&key)?;
    let stored = api.provisioning.put_enrollment(now(), key, write, &if_match(&headers)).await?;
    Ok(Json(document(&api, &stored, Keys::Hidden).await?))
}

async fn delete<K: Kind>(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, PlatformError> {
    api.provisioning.delete_enrollment(&K::key(&id)?, &if_match(&headers)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn keys<K: Kind>(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer {
    let stored = api.provisioning.enrollment(&K::key(&id)?).await?;
    Ok(Json(stored.attestation.document(Keys::Shown)))
}

/// The symmetric keys of an enrollment, if that is how its devices prove themselves.
async fn symmetric(api: &Api, key: &EnrollmentKey) -> Result<KeyPair, PlatformError> {
    match api.provisioning.enrollment(key).await?.attestation {
        Attestation::SymmetricKey(keys) => Ok(keys),
        other => Err(PlatformError::invalid(format!("devices of `{}` have no key but {}", key.as_str(), other.kind()))),
    }
}

/// All a new device must be told.
fn device_document(api: &Api, id: &str, keys: &KeyPair) -> Json<Value> {
    Json(json!({
        "provisioningHost": api.provisioning.host_name(),
        "idScope": api.provisioning.id_scope().as_str(),
        "registrationId": id,
        "primaryKey": keys.primary.to_base64(),
        "secondaryKey": keys.secondary.to_base64(),
    }))
}

async fn key_of_device(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer {
    Ok(device_document(&api, &id, &symmetric(&api, &individual(&id)?).await?))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewDevice {
    registration_id: String,
}

async fn derive_key(State(api): State<Arc<Api>>, Path(id): Path<String>, body: Bytes) -> Answer {
    let body: NewDevice = parse(&body, &fields::NEW_DEVICE)?;
    let device = registration_id(&body.registration_id)?;
    let keys = symmetric(&api, &group(&id)?).await?.derive(device.as_str());
    Ok(device_document(&api, device.as_str(), &keys))
}

fn registration_id(id: &str) -> Result<RegistrationId, PlatformError> {
    RegistrationId::parse(id).map_err(|error| PlatformError::invalid(format!("registration id: {error}")))
}

async fn registrations(State(api): State<Arc<Api>>, Path(id): Path<String>, Query(page): Query<PageQuery>) -> Answer {
    let group = GroupId::parse(&id).map_err(|error| PlatformError::invalid(format!("enrollment group id: {error}")))?;
    let found = api.provisioning.registrations(&group, page.after.as_deref(), page.limit()).await?;
    let last = found.last().map(|last| last.id.folded());
    Ok(page.answer(found.iter().map(Registration::document).collect(), last))
}

async fn registration(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer {
    Ok(Json(api.provisioning.registration(&registration_id(&id)?).await?.document()))
}

async fn delete_registration(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<StatusCode, PlatformError> {
    api.provisioning.delete_registration(&registration_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
