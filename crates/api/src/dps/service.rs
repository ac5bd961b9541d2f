//! What operators call: enrollments and registrations.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use gantry_identity::{DeviceId, Refusal, Rights};
use gantry_provisioning::{
    AllocationPolicy, DpsError, Enrollment, EnrollmentKey, EnrollmentKind, EnrollmentWrite, GroupId, InitialTwin,
    ProvisioningStatus, RegistrationId, ReprovisionPolicy,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::attestation::{self, AttestationBody, Keys};
use super::{DpsFailure, if_match, with_header};
use crate::auth::{self, PeerAddress};
use crate::{Api, now};

type Answer = Result<Response, DpsFailure>;
type Peer = Extension<PeerAddress>;

fn allow(api: &Api, headers: &HeaderMap, peer: &PeerAddress, needed: Rights) -> Result<(), DpsError> {
    auth::dps(api, headers, peer, needed).map_err(|refusal: Refusal| DpsError::Unauthorized(refusal))
}

fn individual(id: &str) -> Result<EnrollmentKey, DpsError> {
    registration_id(id).map(EnrollmentKey::Individual)
}

fn group(id: &str) -> Result<EnrollmentKey, DpsError> {
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
        pub(super) async fn $get(
            State(api): State<Arc<Api>>,
            Extension(peer): Peer,
            headers: HeaderMap,
            Path(id): Path<String>,
        ) -> Answer {
            allow(&api, &headers, &peer, Rights::ENROLLMENT_READ)?;
            Ok(Json(document(&api.provisioning.enrollment(&$key(&id)?).await?, Keys::Hidden)).into_response())
        }

        pub(super) async fn $put(
            State(api): State<Arc<Api>>,
            Extension(peer): Peer,
            headers: HeaderMap,
            Path(id): Path<String>,
            body: Bytes,
        ) -> Answer {
            allow(&api, &headers, &peer, Rights::ENROLLMENT_WRITE)?;
            let (key, write) = ($key(&id)?, parse(&body)?);
            let stored = api.provisioning.put_enrollment(now(), key, write, &if_match(&headers)).await?;
            Ok(Json(document(&stored, Keys::Shown)).into_response())
        }

        pub(super) async fn $delete(
            State(api): State<Arc<Api>>,
            Extension(peer): Peer,
            headers: HeaderMap,
            Path(id): Path<String>,
        ) -> Answer {
            allow(&api, &headers, &peer, Rights::ENROLLMENT_WRITE)?;
            api.provisioning.delete_enrollment(&$key(&id)?, &if_match(&headers)).await?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }

        pub(super) async fn $keys(
            State(api): State<Arc<Api>>,
            Extension(peer): Peer,
            headers: HeaderMap,
            Path(id): Path<String>,
        ) -> Answer {
            allow(&api, &headers, &peer, Rights::ENROLLMENT_WRITE)?;
            let stored = api.provisioning.enrollment(&$key(&id)?).await?;
            Ok(Json(attestation::document(&stored.attestation, Keys::Shown)).into_response())
        }

        pub(super) async fn $query(
            State(api): State<Arc<Api>>,
            Extension(peer): Peer,
            headers: HeaderMap,
            body: Bytes,
        ) -> Answer {
            allow(&api, &headers, &peer, Rights::ENROLLMENT_READ)?;
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

pub(super) async fn bulk(State(api): State<Arc<Api>>, Extension(peer): Peer, headers: HeaderMap) -> Answer {
    allow(&api, &headers, &peer, Rights::ENROLLMENT_WRITE)?;
    Err(DpsError::NotImplemented("bulk enrollment operations").into())
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

#[derive(Deserialize)]
struct QueryBody {
    query: String,
}

async fn query(api: &Api, headers: &HeaderMap, body: &Bytes, kind: EnrollmentKind) -> Answer {
    let body: QueryBody =
        serde_json::from_slice(body).map_err(|error| DpsError::Invalid(format!("malformed body: {error}")))?;
    let words: Vec<_> = body.query.split_whitespace().map(str::to_ascii_lowercase).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    if !matches!(words[..], ["select", "*"] | ["select", "*", "from", _]) {
        return Err(DpsError::NotImplemented("enrollment queries other than SELECT *").into());
    }
    let limit = page_size(headers);
    let found = api.provisioning.enrollments(kind, header(headers, "x-ms-continuation"), limit).await?;
    let last = found.last().map(|e| e.key.as_str().to_owned());
    let item_type = if kind == EnrollmentKind::Group { "EnrollmentGroup" } else { "Enrollment" };
    Ok(page(found.iter().map(|e| document(e, Keys::Hidden)).collect(), limit, last, item_type))
}

pub(super) async fn get_registration(
    State(api): State<Arc<Api>>,
    Extension(peer): Peer,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Answer {
    allow(&api, &headers, &peer, Rights::REGISTRATION_STATUS_READ)?;
    Ok(Json(api.provisioning.registration(&registration_id(&id)?).await?.document()).into_response())
}

pub(super) async fn delete_registration(
    State(api): State<Arc<Api>>,
    Extension(peer): Peer,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Answer {
    allow(&api, &headers, &peer, Rights::REGISTRATION_STATUS_WRITE)?;
    api.provisioning.delete_registration(&registration_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn query_registrations(
    State(api): State<Arc<Api>>,
    Extension(peer): Peer,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Answer {
    allow(&api, &headers, &peer, Rights::REGISTRATION_STATUS_READ)?;
    let limit = page_size(&headers);
    let found = api.provisioning.registrations(&group_id(&id)?, header(&headers, "x-ms-continuation"), limit).await?;
    let last = found.last().map(|r| r.id.folded());
    Ok(page(found.iter().map(gantry_provisioning::Registration::document).collect(), limit, last, "DeviceRegistration"))
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct EnrollmentBody {
    device_id: Option<String>,
    attestation: Option<AttestationBody>,
    capabilities: Option<Value>,
    iot_hub_host_name: Option<String>,
    iot_hubs: Option<Vec<String>>,
    initial_twin: Option<Value>,
    provisioning_status: Option<String>,
    reprovision_policy: Option<ReprovisionBody>,
    allocation_policy: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ReprovisionBody {
    update_hub_assignment: bool,
    migrate_device_data: bool,
}

impl Default for ReprovisionBody {
    fn default() -> Self {
        Self { update_hub_assignment: true, migrate_device_data: true }
    }
}

fn parse(body: &Bytes) -> Result<EnrollmentWrite, DpsError> {
    let invalid = |what: String| DpsError::Invalid(what);
    let body: EnrollmentBody =
        serde_json::from_slice(body).map_err(|error| invalid(format!("malformed body: {error}")))?;
    let attestation = body.attestation.map(AttestationBody::write).transpose()?.unwrap_or_default();
    let allocation = match body.allocation_policy.as_deref().map(str::to_ascii_lowercase).as_deref() {
        None => None,
        Some("hashed") => Some(AllocationPolicy::Hashed),
        Some("geolatency") => Some(AllocationPolicy::GeoLatency),
        Some("static") => Some(AllocationPolicy::Static),
        Some("custom") => return Err(DpsError::NotImplemented("custom allocation")),
        Some(_) => return Err(invalid("allocationPolicy must be hashed, geoLatency, static or custom".into())),
    };
    let status = match body.provisioning_status.as_deref().map(str::to_ascii_lowercase).as_deref() {
        None | Some("enabled") => ProvisioningStatus::Enabled,
        Some("disabled") => ProvisioningStatus::Disabled,
        Some(_) => return Err(invalid("provisioningStatus must be enabled or disabled".into())),
    };
    let device_id = body.device_id.filter(|id| !id.is_empty());
    Ok(EnrollmentWrite {
        attestation,
        device_id: device_id
            .map(|id| DeviceId::parse(&id).map_err(|error| invalid(format!("deviceId: {error}"))))
            .transpose()?,
        iot_hub_host_name: body.iot_hub_host_name.filter(|name| !name.is_empty()),
        iot_hubs: body.iot_hubs.unwrap_or_default(),
        initial_twin: body.initial_twin.filter(|twin| !twin.is_null()).map(|twin| initial_twin(&twin)).transpose()?,
        iot_edge: body.capabilities.is_some_and(|c| c.get("iotEdge") == Some(&Value::Bool(true))),
        status,
        reprovision: body.reprovision_policy.map(|r| ReprovisionPolicy {
            update_hub_assignment: r.update_hub_assignment,
            migrate_device_data: r.migrate_device_data,
        }),
        allocation,
    })
}

/// `{"tags": {}, "properties": {"desired": {}}}`; Node writes metadata beside the values, which is dropped.
fn initial_twin(twin: &Value) -> Result<InitialTwin, DpsError> {
    let object = |value: Option<&Value>, name: &str| match value {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(object)) => {
            Ok(object.iter().filter(|(k, _)| !k.starts_with('$')).map(|(k, v)| (k.clone(), v.clone())).collect())
        }
        Some(_) => Err(DpsError::Invalid(format!("initialTwin.{name} must be a JSON object"))),
    };
    Ok(InitialTwin {
        tags: object(twin.get("tags"), "tags")?,
        desired: object(twin.get("properties").and_then(|p| p.get("desired")), "properties.desired")?,
    })
}

fn document(enrollment: &Enrollment, keys: Keys) -> Value {
    let settings = &enrollment.settings;
    let mut all = Map::new();
    let mut put = |key: &str, value: Value| all.insert(key.to_owned(), value);
    match &enrollment.key {
        EnrollmentKey::Individual(id) => {
            put("registrationId", id.as_str().into());
            if let Some(device_id) = &settings.device_id {
                put("deviceId", device_id.as_str().into());
            }
        }
        EnrollmentKey::Group(id) => {
            put("enrollmentGroupId", id.as_str().into());
        }
    }
    put("attestation", attestation::document(&enrollment.attestation, keys));
    put("capabilities", json!({ "iotEdge": settings.iot_edge }));
    if let Some(name) = &settings.iot_hub_host_name {
        put("iotHubHostName", name.as_str().into());
    }
    if !settings.iot_hubs.is_empty() {
        put("iotHubs", json!(settings.iot_hubs));
    }
    if let Some(twin) = &settings.initial_twin {
        put("initialTwin", json!({ "tags": twin.tags, "properties": { "desired": twin.desired } }));
    }
    // The tag in a body holds its own quotes.
    put("etag", format!("\"{}\"", enrollment.etag_text()).into());
    put("provisioningStatus", settings.status.as_str().into());
    if let Some(policy) = settings.reprovision {
        put(
            "reprovisionPolicy",
            json!({
                "updateHubAssignment": policy.update_hub_assignment,
                "migrateDeviceData": policy.migrate_device_data,
            }),
        );
    }
    if let Some(policy) = settings.allocation {
        put("allocationPolicy", policy.as_str().into());
    }
    put("createdDateTimeUtc", enrollment.created_at.to_string().into());
    put("lastUpdatedDateTimeUtc", enrollment.updated_at.to_string().into());
    Value::Object(all)
}
