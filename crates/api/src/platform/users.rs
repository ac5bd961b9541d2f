//! People who sign in, as administrators see them.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method as M, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use gantry_directory::{Origin, PeopleError, Person, PersonId, PersonWrite, PlatformRole};
use gantry_hub::device::IfMatch;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::PlatformError;
use super::{parse, row};
use crate::caller::Permissions as P;
use crate::hub::if_match;
use crate::routes::Routes;
use crate::{Api, fields, now};

pub(super) fn routes() -> Routes<Arc<Api>> {
    let row = |method, path, id, about| row(method, path, id, P::USERS_MANAGE, about);
    Routes::new()
        .on(row(M::GET, "/users", "Users_List", "`{\"value\":[User]}`, in order of name."), list)
        .on(row(M::GET, "/users/{id}", "Users_Get", "A User."), get)
        .on(
            row(
                M::PUT,
                "/users/{id}",
                "Users_CreateOrUpdate",
                "Makes a person, or replaces what is said of them; `If-Match` with the etag keeps what others wrote. The \
                 User. Who is disabled, or loses a role, has lost it with their next call.",
            )
            .takes(&fields::PERSON),
            put,
        )
        .on(row(M::DELETE, "/users/{id}", "Users_Delete", "204; their sessions end."), delete)
        .on(
            row(
                M::POST,
                "/users/{id}/passwordLink",
                "Users_ResetPassword",
                "`{\"token\",\"until\"}`, shown once: whoever opens `https://host/#password=TOKEN` chooses the password.",
            ),
            reset_password,
        )
        .on(
            row(M::POST, "/users/{id}/unlock", "Users_Unlock", "204; they need not wait after failed attempts."),
            unlock,
        )
        .on(
            row(
                M::POST,
                "/users/{id}/totp/remove",
                "Users_RemoveTotp",
                "204; their second factor is off and their sessions end, for somebody who lost it.",
            ),
            remove_totp,
        )
}

impl From<PeopleError> for PlatformError {
    fn from(error: PeopleError) -> Self {
        let words = error.to_string();
        match error {
            PeopleError::Unknown(_) => Self::not_found(words),
            PeopleError::Invalid { .. } => Self::invalid(words),
            PeopleError::Changed(_) => Self::changed(words),
            PeopleError::TooMany | PeopleError::LastAdministrator(_) => Self::conflict(words),
            PeopleError::Foreign(_) | PeopleError::Disabled(_) => Self::conflict(words),
            PeopleError::Store(error) => {
                tracing::error!(%error, "a user was not written");
                Self::unavailable()
            }
        }
    }
}

fn document(person: &Person) -> Value {
    let issuer = match &person.origin {
        Origin::Local => None,
        Origin::OpenId { issuer, .. } => Some(issuer.as_str()),
    };
    let credentials = person.credentials.as_ref();
    json!({
        "name": person.id.as_str(),
        "displayName": person.display_name,
        "email": person.email,
        "role": person.role.name(),
        "issuer": issuer,
        "disabled": person.disabled,
        "hasPassword": credentials.is_some(),
        "hasTotp": credentials.is_some_and(|one| one.has_totp()),
        "createdAt": person.created_at.to_string(),
        "etag": format!("\"{}\"", person.revision),
    })
}

fn person(api: &Api, id: &str) -> Result<Arc<Person>, PlatformError> {
    let id = PersonId::parse(id)?;
    Ok(api.sign_in.people.find(&id).ok_or(PeopleError::Unknown(id))?)
}

async fn list(State(api): State<Arc<Api>>) -> Json<Value> {
    let all = api.sign_in.people.all();
    Json(json!({ "value": all.values().map(|person| document(person)).collect::<Vec<_>>() }))
}

async fn get(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<Response, PlatformError> {
    let person = person(&api, &id)?;
    Ok(answer(&person))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    #[serde(default)]
    display_name: String,
    email: Option<String>,
    role: String,
    #[serde(default)]
    disabled: bool,
    #[serde(default)]
    must_change_password: bool,
}

async fn put(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, PlatformError> {
    let id = PersonId::parse(&id)?;
    let written: Written = parse(&body, &fields::PERSON)?;
    let role = PlatformRole::parse(&written.role)
        .ok_or_else(|| PlatformError::invalid("`role` is `administrator`, `operator`, `viewer` or `member`"))?;
    let write = PersonWrite {
        display_name: written.display_name,
        email: written.email.filter(|email| !email.is_empty()),
        role,
        disabled: written.disabled,
        must_change: written.must_change_password,
    };
    let seen = match if_match(&headers) {
        IfMatch::Absent => None,
        expected => {
            let seen = person(&api, id.as_str())?.revision;
            if !expected.admits(&format!("\"{seen}\"")) && !expected.admits(&seen.to_string()) {
                return Err(PeopleError::Changed(id).into());
            }
            Some(seen)
        }
    };
    let person = api.sign_in.people.put(now(), &id, &write, seen).await?;
    if person.disabled || written.must_change_password {
        api.sign_in.revoke_all(&person, None);
    }
    Ok(answer(&person))
}

async fn delete(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<StatusCode, PlatformError> {
    let person = person(&api, &id)?;
    api.sign_in.people.delete(&person.id).await?;
    api.sign_in.revoke_all(&person, None);
    Ok(StatusCode::NO_CONTENT)
}

async fn reset_password(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<Response, PlatformError> {
    let person = person(&api, &id)?;
    let (secret, until) = api.sign_in.make_link(&person.id, now()).await?;
    let told = json!({ "token": secret.text(), "until": until.to_string() });
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(told)).into_response())
}

async fn unlock(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<StatusCode, PlatformError> {
    let person = person(&api, &id)?;
    api.sign_in.forgive(&person.id);
    Ok(StatusCode::NO_CONTENT)
}

async fn remove_totp(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<StatusCode, PlatformError> {
    api.sign_in.take_totp(&person(&api, &id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn answer(person: &Person) -> Response {
    let mut response = Json(document(person)).into_response();
    if let Ok(value) = HeaderValue::from_str(&format!("\"{}\"", person.revision)) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}
