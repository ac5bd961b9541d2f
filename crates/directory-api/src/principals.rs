//! Service principals and their secrets, for whoever manages the directory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use gantry_api::{Row, Witness, now};
use gantry_directory::{Guid, Secret, ServicePrincipal};
use rand::Rng as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::kept::{Change, DirectoryError};
use crate::service::draw_guid;
use crate::{Failure, Shared};

type Context = State<Arc<Shared>>;

/// Longest name in characters.
const NAME_LEN_MAX: usize = 256;
/// How long a secret lives when nobody says, in days.
const DAYS: u64 = 180;
/// Seconds of a day.
const DAY_SECS: u64 = 86_400;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PrincipalBody {
    display_name: Option<String>,
    enabled: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SecretBody {
    #[serde(default)]
    display_name: String,
    days: Option<u64>,
}

/// The body of a request, with the fields of its row.
pub(crate) fn read<T: DeserializeOwned>(row: &Row, body: &[u8]) -> Result<T, Failure> {
    let body = gantry_hub::json::parse(body).map_err(|error| Failure::invalid(format!("malformed body: {error}")))?;
    let body = row.read(body).map_err(Failure::invalid)?;
    gantry_hub::json::read_value(body).map_err(|error| Failure::invalid(format!("malformed body: {error}")))
}

fn check_name(name: &str) -> Result<(), Failure> {
    let is_good = (1..=NAME_LEN_MAX).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    let wrong = || Failure::invalid(format!("`displayName` has 1 to {NAME_LEN_MAX} characters"));
    if is_good { Ok(()) } else { Err(wrong()) }
}

fn document(one: &ServicePrincipal) -> Value {
    let secret = |secret: &gantry_directory::ClientSecret| {
        json!({
            "keyId": secret.key_id,
            "displayName": secret.display_name,
            "hint": secret.hint,
            "createdAt": secret.created_at.to_string(),
            "expiresAt": secret.expires_at.to_string(),
        })
    };
    json!({
        "appId": one.app_id,
        "objectId": one.object_id,
        "displayName": one.display_name,
        "enabled": one.enabled,
        "secrets": one.secrets().iter().map(secret).collect::<Vec<_>>(),
    })
}

pub(crate) async fn list(State(shared): Context) -> Json<Value> {
    let kept = shared.service.kept.current();
    Json(json!({ "value": kept.principals.values().map(document).collect::<Vec<_>>() }))
}

pub(crate) async fn get(State(shared): Context, Path(id): Path<String>) -> Result<Json<Value>, Failure> {
    Ok(Json(document(shared.service.kept.current().named(&id)?)))
}

pub(crate) async fn create(
    State(shared): Context,
    Extension(row): Extension<Row>,
    witness: Witness,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let body: PrincipalBody = read(&row, &body)?;
    let name = body.display_name.ok_or_else(|| Failure::invalid("`displayName` is missing"))?;
    check_name(&name)?;
    let mut one = ServicePrincipal::new(draw_guid(), draw_guid(), &name);
    one.enabled = body.enabled.unwrap_or(true);
    let put = |_: &_| Ok((put(&one), ()));
    shared.service.change(put).await?;
    witness.target(&format!("service principal {}", one.object_id));
    Ok((StatusCode::CREATED, Json(document(&one))))
}

/// A change that writes one.
fn put(one: &ServicePrincipal) -> Change {
    Change { principals: vec![(one.object_id, Some(one.clone()))], ..Change::default() }
}

/// Changes one that somebody calls by either of its ids.
async fn change<R>(
    shared: &Shared,
    id: &str,
    change: impl Fn(&mut ServicePrincipal) -> Result<R, DirectoryError>,
) -> Result<R, Failure> {
    let changed = shared.service.change(|kept| {
        let mut one = kept.named(id)?.clone();
        let said = change(&mut one)?;
        Ok((put(&one), said))
    });
    Ok(changed.await?)
}

pub(crate) async fn update(
    State(shared): Context,
    Path(id): Path<String>,
    Extension(row): Extension<Row>,
    body: Bytes,
) -> Result<Json<Value>, Failure> {
    let body: PrincipalBody = read(&row, &body)?;
    if let Some(name) = &body.display_name {
        check_name(name)?;
    }
    let changed = change(&shared, &id, |one| {
        one.enabled = body.enabled.unwrap_or(one.enabled);
        if let Some(name) = &body.display_name {
            one.display_name.clone_from(name);
        }
        Ok(document(one))
    });
    Ok(Json(changed.await?))
}

pub(crate) async fn delete(State(shared): Context, Path(id): Path<String>) -> Result<StatusCode, Failure> {
    let deleted = shared.service.change(|kept| {
        let one = kept.named(&id)?.object_id;
        let is_theirs = |given: &&gantry_directory::RoleAssignment| {
            given.principal_id == one && given.tenant_id == kept.own.tenant_id
        };
        let taken = kept.roles.iter().filter(is_theirs).map(|given| given.id).collect();
        Ok((Change { principals: vec![(one, None)], taken, ..Change::default() }, ()))
    });
    deleted.await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn add_secret(
    State(shared): Context,
    Path(id): Path<String>,
    Extension(row): Extension<Row>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let body: SecretBody = if body.is_empty() { SecretBody::default() } else { read(&row, &body)? };
    if !body.display_name.is_empty() {
        check_name(&body.display_name)?;
    }
    let life = Duration::from_secs(body.days.unwrap_or(DAYS).saturating_mul(DAY_SECS));
    let (secret, key_id, at) = (Secret::from_random(rand::rng().random()), draw_guid(), now());
    change(&shared, &id, |one| Ok(one.add_secret(key_id, &body.display_name, &secret, life, at)?)).await?;
    let told = json!({ "keyId": key_id, "secret": secret.text(), "expiresAt": at.plus(life).to_string() });
    Ok((StatusCode::CREATED, Json(told)))
}

pub(crate) async fn remove_secret(
    State(shared): Context,
    Path((id, key)): Path<(String, String)>,
) -> Result<StatusCode, Failure> {
    let unknown = || DirectoryError::Unknown("secret", key.chars().take(64).collect());
    let key_id = Guid::parse(&key).map_err(|_| unknown())?;
    change(&shared, &id, |one| if one.remove_secret(key_id) { Ok(()) } else { Err(unknown()) }).await?;
    Ok(StatusCode::NO_CONTENT)
}
