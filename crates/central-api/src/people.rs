//! Users, roles and API tokens.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use gantry_central::CentralError;
use gantry_central::access::permissions::Permission;
use gantry_central::access::roles::{self, RoleError};
use gantry_central::access::tokens::{ApiToken, NewToken, TokenError};
use gantry_central::access::users::{Identity, RoleAssignment, User, UserError};
use gantry_central::ids::{RoleId, TokenId, UserId};
use gantry_central::kept::Kept;
use gantry_hub::device::IfMatch;
use gantry_identity::Timestamp;
use rand::RngCore as _;
use serde_json::{Value, json};

use crate::call::Call;
use crate::{Failure, body, list};

/// Whether the caller may do something with whoever has these roles: wherever they are given.
fn may_all(call: &Call, one: Permission, roles: &[RoleAssignment]) -> Result<(), Failure> {
    roles.iter().try_for_each(|role| call.may_in(one, role.organization.as_ref()))
}

/// Whether the caller sees somebody: where one of their roles is given.
fn sees_any(call: &Call, one: Permission, roles: &[RoleAssignment]) -> bool {
    roles.iter().any(|role| call.sees(one, role.organization.as_ref()))
}

fn show_user(id: &str, user: &User) -> Value {
    let mut shown = json!({ "id": id, "roles": body::show_roles(&user.roles) });
    match &user.identity {
        Identity::Email { email } => {
            shown["type"] = "email".into();
            shown["email"] = email.as_str().into();
        }
        Identity::ServicePrincipal { tenant_id, object_id } | Identity::AdGroup { tenant_id, object_id } => {
            let is_group = matches!(user.identity, Identity::AdGroup { .. });
            shown["type"] = if is_group { "adGroup" } else { "servicePrincipal" }.into();
            shown["tenantId"] = tenant_id.as_str().into();
            shown["objectId"] = object_id.as_str().into();
        }
    }
    shown
}

fn read_user(body: &Value) -> Result<User, Failure> {
    let of = |name: &str| body::needed(body, name).map(str::to_owned);
    let kind = body::needed(body, "type")?;
    let identity = match kind {
        "email" => Identity::Email { email: of("email")? },
        "servicePrincipal" => Identity::ServicePrincipal { tenant_id: of("tenantId")?, object_id: of("objectId")? },
        "adGroup" | "ADGroup" => Identity::AdGroup { tenant_id: of("tenantId")?, object_id: of("objectId")? },
        _ => return Err(Failure::invalid("`type` is `email`, `servicePrincipal` or `adGroup`")),
    };
    let others: &[&str] = if kind == "email" { &["tenantId", "objectId"] } else { &["email"] };
    if let Some(other) = others.iter().find(|name| body.get(**name).is_some_and(|value| !value.is_null())) {
        return Err(Failure::invalid(format!("a user of type `{kind}` has no `{other}`")));
    }
    Ok(User { identity, roles: body::roles(body)? })
}

pub(crate) async fn list_users(call: Call) -> Result<Response, Failure> {
    let users = call.who.state.users.iter();
    let seen = users.filter(|(_, kept)| sees_any(&call, Permission::UsersView, &kept.value.roles));
    list::answer(&call, seen.map(|(id, kept)| (id.to_string(), kept)), |id, kept| show_user(id, &kept.value))
}

fn user(call: &Call) -> Result<(UserId, &Kept<User>), Failure> {
    let id = call.id("userId", UserId::parse)?;
    let kept = call.who.state.users.get(&id).filter(|kept| sees_any(call, Permission::UsersView, &kept.value.roles));
    match kept {
        Some(kept) => Ok((id, kept)),
        None => Err(CentralError::from(UserError::Unknown(id)).into()),
    }
}

pub(crate) async fn get_user(call: Call) -> Result<Json<Value>, Failure> {
    let (id, kept) = user(&call)?;
    Ok(Json(show_user(id.as_str(), &kept.value)))
}

pub(crate) async fn put_user(call: Call) -> Result<Json<Value>, Failure> {
    let (body, if_match) = (call.body()?, call.if_match(&Value::Null)?);
    write_user(&call, &body, &if_match).await
}

pub(crate) async fn patch_user(mut call: Call) -> Result<Json<Value>, Failure> {
    let patch = call.body()?;
    loop {
        let (id, kept) = user(&call)?;
        let if_match = call.expecting(&Value::Null, &kept.etag.text(), id.as_str())?;
        let body = body::patched(&show_user(id.as_str(), &kept.value), &patch);
        match write_user(&call, &body, &if_match).await {
            Err(failure) if call.again(&failure) => {}
            other => return other,
        }
    }
}

async fn write_user(call: &Call, body: &Value, if_match: &IfMatch) -> Result<Json<Value>, Failure> {
    let id = call.id("userId", UserId::parse)?;
    let new = read_user(body)?;
    may_all(call, Permission::UsersAdd, &new.roles)?;
    let kept = call.central().put_user(call.write(if_match), &id, &new, &call.who.roles).await?;
    Ok(Json(show_user(id.as_str(), &kept.value)))
}

pub(crate) async fn remove_user(call: Call) -> Result<Response, Failure> {
    let (id, kept) = user(&call)?;
    may_all(&call, Permission::UsersDelete, &kept.value.roles)?;
    call.central().delete_user(&id, &call.if_match(&Value::Null)?, &call.who.roles).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(crate) async fn list_roles(call: Call) -> Result<Response, Failure> {
    let published = roles::built_in().iter().map(|role| (role.id.to_owned(), role.display_name.to_owned()));
    let custom =
        call.who.state.roles.iter().map(|(id, kept)| (id.to_string(), kept.value.display_name.as_str().to_owned()));
    let mut all: Vec<(String, String)> = published.chain(custom).collect();
    all.sort();
    list::answer(&call, all.into_iter(), |id, name| json!({ "id": id, "displayName": name }))
}

pub(crate) async fn get_role(call: Call) -> Result<Json<Value>, Failure> {
    let id = call.id("roleId", RoleId::parse)?;
    let published = roles::built_in().iter().find(|role| role.id == id.as_str());
    let custom = || call.who.state.roles.get(&id).map(|kept| kept.value.display_name.as_str().to_owned());
    let name = published.map(|role| role.display_name.to_owned()).or_else(custom);
    let name = name.ok_or_else(|| CentralError::from(RoleError::Unknown(id.clone())))?;
    Ok(Json(json!({ "id": id.as_str(), "displayName": name })))
}

fn show_token(id: &str, token: &ApiToken) -> Value {
    json!({ "id": id, "roles": body::show_roles(&token.roles), "expiry": token.expiry.to_string() })
}

pub(crate) async fn list_tokens(call: Call) -> Result<Response, Failure> {
    let tokens = call.who.state.tokens.iter();
    let seen = tokens.filter(|(_, kept)| sees_any(&call, Permission::TokensView, &kept.value.roles));
    list::answer(&call, seen.map(|(id, kept)| (id.to_string(), kept)), |id, kept| show_token(id, &kept.value))
}

fn token(call: &Call) -> Result<(TokenId, &ApiToken), Failure> {
    let id = call.id("tokenId", TokenId::parse)?;
    let kept = call.who.state.tokens.get(&id).filter(|kept| sees_any(call, Permission::TokensView, &kept.value.roles));
    match kept {
        Some(kept) => Ok((id, &kept.value)),
        None => Err(CentralError::from(TokenError::Unknown(id)).into()),
    }
}

pub(crate) async fn get_token(call: Call) -> Result<Json<Value>, Failure> {
    let (id, token) = token(&call)?;
    Ok(Json(show_token(id.as_str(), token)))
}

pub(crate) async fn create_token(call: Call) -> Result<Json<Value>, Failure> {
    let id = call.id("tokenId", TokenId::parse)?;
    let body = call.body()?;
    let expiry = body::text(&body, "expiry")?.map(|text| {
        Timestamp::parse(text).ok_or_else(|| Failure::invalid("`expiry` is a time as `2027-01-01T00:00:00Z`"))
    });
    let mut secret = [0; 32];
    rand::rng().fill_bytes(&mut secret);
    let new = NewToken { roles: body::roles(&body)?, expiry: expiry.transpose()?, secret };
    may_all(&call, Permission::TokensCreate, &new.roles)?;
    let if_match = call.if_match(&Value::Null)?;
    let application = &call.application().id;
    let made = call.central().create_token(call.write(&if_match), application, &id, new, &call.who.roles).await?;
    let (kept, text) = made;
    let mut shown = show_token(id.as_str(), &kept.value);
    shown["token"] = text.into();
    Ok(Json(shown))
}

pub(crate) async fn remove_token(call: Call) -> Result<Response, Failure> {
    let (id, token) = token(&call)?;
    may_all(&call, Permission::TokensDelete, &token.roles)?;
    call.central().delete_token(&id, &call.who.roles).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
