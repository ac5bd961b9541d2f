//! Roles, who has them, and what the directory is, for whoever manages it.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use gantry_api::{Row, Witness, now};
use gantry_directory::{BUILT_IN_ROLES, Guid, RoleAssignment, RoleDefinition, Scope};
use gantry_identity::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::kept::{Change, DirectoryError, Kept};
use crate::principals::read;
use crate::service::draw_guid;
use crate::{Failure, Shared};

type Context = State<Arc<Shared>>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AssignmentBody {
    principal_id: String,
    tenant_id: Option<String>,
    role: Option<String>,
    role_definition_id: Option<String>,
    scope: Option<String>,
}

pub(crate) async fn show(State(shared): Context) -> Json<Value> {
    let (authority, tenant) = shared.service.authority();
    let issuers = shared.service.issuers();
    let issuer = |one: &crate::service::Trusted| {
        json!({
            "issuer": one.issuer.names,
            "tenantId": one.issuer.tenant_id,
            "keys": one.issuer.keys.as_ref().map_or(0, |keys| keys.iter().count()),
        })
    };
    Json(json!({
        "tenantId": tenant,
        "authority": format!("{authority}/{tenant}"),
        "scope": shared.group,
        "issuers": issuers.iter().map(issuer).collect::<Vec<_>>(),
    }))
}

pub(crate) async fn signing_keys(State(shared): Context) -> Json<Value> {
    let kept = shared.service.kept.current();
    let document = |(id, since): (&str, Timestamp)| json!({ "id": id, "signsFrom": since.to_string() });
    Json(json!({ "value": kept.keys.ids().map(document).collect::<Vec<_>>() }))
}

pub(crate) async fn revoke_key(State(shared): Context, Path(id): Path<String>) -> Result<StatusCode, Failure> {
    shared.service.revoke_key(&id, now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn definitions() -> Json<Value> {
    let document = |role: &RoleDefinition| {
        json!({
            "id": role.id,
            "roleName": role.name,
            "actions": role.actions,
            "notActions": role.not_actions,
            "dataActions": role.data_actions,
        })
    };
    Json(json!({ "value": BUILT_IN_ROLES.iter().map(document).collect::<Vec<_>>() }))
}

fn document(kept: &Kept, one: &RoleAssignment) -> Value {
    let is_own = one.tenant_id == kept.own.tenant_id;
    let principal = kept.principals.get(&one.principal_id).filter(|_| is_own);
    json!({
        "id": one.id,
        "principalId": one.principal_id,
        "tenantId": one.tenant_id,
        "principalName": principal.map(|one| &one.display_name),
        "roleDefinitionId": one.role_definition_id,
        "role": RoleDefinition::find(one.role_definition_id).map(|role| role.name),
        "scope": one.scope.to_string(),
    })
}

pub(crate) async fn list(State(shared): Context) -> Json<Value> {
    let kept = shared.service.kept.current();
    Json(json!({ "value": kept.roles.iter().map(|one| document(&kept, one)).collect::<Vec<_>>() }))
}

fn role(body: &AssignmentBody) -> Result<Guid, Failure> {
    let (name, id) = (body.role.as_deref(), body.role_definition_id.as_deref());
    let text = match (name, id) {
        (Some(text), None) | (None, Some(text)) => text,
        _ => return Err(Failure::invalid("one of `role` and `roleDefinitionId` is needed")),
    };
    // Clients write the id alone, or behind the path of the definition.
    let last = text.rsplit('/').next().unwrap_or_default();
    let found = Guid::parse(last).ok().and_then(RoleDefinition::find).or_else(|| RoleDefinition::named(text));
    let shown: String = text.chars().take(64).collect();
    found.map(|role| role.id).ok_or_else(|| Failure::invalid(format!("there is no role `{shown}`")))
}

fn guid(field: &str, text: &str) -> Result<Guid, Failure> {
    Guid::parse(text).map_err(|error| Failure::invalid(format!("`{field}` is {error}")))
}

pub(crate) async fn create(
    State(shared): Context,
    Extension(row): Extension<Row>,
    witness: Witness,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let body: AssignmentBody = read(&row, &body)?;
    let role_definition_id = role(&body)?;
    let scope = Scope::parse(body.scope.as_deref().unwrap_or(&shared.group));
    let scope = scope.map_err(|error| Failure::invalid(format!("`scope`: {error}")))?;
    let named = guid("principalId", &body.principal_id)?;
    let own = shared.service.own().tenant_id;
    let tenant_id = body.tenant_id.as_deref().map_or(Ok(own), |text| guid("tenantId", text))?;
    let issuers = shared.service.issuers();
    if tenant_id != own && !issuers.iter().any(|one| one.issuer.tenant_id == tenant_id) {
        return Err(Failure::invalid("`tenantId` is neither our directory nor that of an issuer we trust"));
    }
    let id = draw_guid();
    let made = shared.service.change(|kept| {
        // Of ours it must be somebody, by either id; of others we cannot know.
        let principal_id = if tenant_id == own { kept.named(&named.to_string())?.object_id } else { named };
        let one = RoleAssignment { id, tenant_id, principal_id, role_definition_id, scope: scope.clone() };
        let said = document(kept, &one);
        Ok((Change { given: vec![one], ..Change::default() }, said))
    });
    let made = made.await?;
    witness.target(&in_words(&made));
    Ok((StatusCode::CREATED, Json(made)))
}

/// An assignment as the audit log has it.
fn in_words(one: &Value) -> String {
    let text = |name: &str| one[name].as_str().unwrap_or_default();
    let [id, role, principal, tenant, scope] = ["id", "role", "principalId", "tenantId", "scope"].map(text);
    format!("role assignment {id}: {role} to {principal} of {tenant} at {scope}")
}

pub(crate) async fn delete(
    State(shared): Context,
    witness: Witness,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure> {
    let unknown = || DirectoryError::Unknown("role assignment", id.chars().take(64).collect());
    let taken = Guid::parse(&id).map_err(|_| unknown())?;
    let deleted = shared.service.change(|kept| {
        let one = kept.roles.iter().find(|one| one.id == taken).ok_or_else(unknown)?;
        Ok((Change { taken: vec![taken], ..Change::default() }, document(kept, one)))
    });
    witness.target(&in_words(&deleted.await?));
    Ok(StatusCode::NO_CONTENT)
}
