//! A person's own account: password, second factor, recovery codes, sessions.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderValue, Method as M, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gantry_directory::{Origin, SecretHash, SecretText, csrf_token};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::PlatformError;
use super::parse;
use super::session::{Account, whence, with_session};
use crate::audit::Witness;
use crate::auth::PeerAddress;
use crate::operation::{Access, Head, Operation};
use crate::routes::Routes;
use crate::sign_in::AccountError;
use crate::{Api, fields, now};

fn row(method: M, path: &str, id: &'static str, about: &'static str) -> Operation {
    Operation::new(Head::Platform, method, path, id, Access::Person, about)
}

pub(super) fn routes() -> Routes<Arc<Api>> {
    let link = Access::Proof("the token of a password link, in the body");
    let chosen =
        "Gives the person of the link the password they choose, and ends their sessions; 204. Signs nobody in.";
    Routes::new()
        .on(
            Operation::new(Head::Platform, M::POST, "/sign-in/password", "SignIn_ChoosePassword", link, chosen)
                .takes(&fields::CHOOSE_PASSWORD),
            choose,
        )
        .on(row(M::GET, "/account", "Account_Get", "The Account of who is signed in."), show)
        .on(
            row(
                M::PUT,
                "/account/password",
                "Account_ChangePassword",
                "`{\"csrf\"}`: the session has a new id, the person's others ended. `current` is needed once there is one.",
            )
            .takes(&fields::CHANGE_PASSWORD)
            .before_password(),
            change_password,
        )
        .on(
            row(
                M::POST,
                "/account/totp",
                "Account_BeginTotp",
                "`{\"secret\",\"uri\"}`, shown once: the key of a second factor that waits ten minutes for its first code.",
            )
            .takes(&fields::PASSWORD),
            begin_totp,
        )
        .on(
            row(
                M::PUT,
                "/account/totp",
                "Account_ConfirmTotp",
                "`{\"recoveryCodes\":[]}`, shown once: the second factor is on, the person's other sessions ended.",
            )
            .takes(&fields::CODE),
            confirm_totp,
        )
        .on(
            row(M::POST, "/account/totp/remove", "Account_RemoveTotp", "204; the second factor is off.")
                .takes(&fields::PASSWORD),
            remove_totp,
        )
        .on(
            row(
                M::POST,
                "/account/recoveryCodes",
                "Account_DrawRecoveryCodes",
                "`{\"recoveryCodes\":[]}`, shown once, in the place of those there were.",
            )
            .takes(&fields::PASSWORD),
            draw_codes,
        )
        .on(
            row(
                M::GET,
                "/account/sessions",
                "Account_ListSessions",
                "`{\"value\":[{\"id\",\"from\",\"openedAt\",\"usedAt\",\"current\"}]}`, the one used last first.",
            ),
            sessions,
        )
        .on(
            row(M::DELETE, "/account/sessions", "Account_EndOtherSessions", "204; all but this one ended."),
            end_others,
        )
        .on(row(M::DELETE, "/account/sessions/{id}", "Account_EndSession", "204."), end_one)
}

impl From<AccountError> for PlatformError {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::NotProven(why) => Self::not_proven(why),
            AccountError::Wait(wait) => Self::wait(wait),
            AccountError::Busy => Self::wait(std::time::Duration::from_secs(1)),
            AccountError::Weak(_) | AccountError::Code => Self::invalid(error.to_string()),
            AccountError::Foreign | AccountError::NoPassword | AccountError::NoTotp | AccountError::NothingPending => {
                Self::conflict(error.to_string())
            }
            AccountError::Session(_) => Self::unauthorized(),
            AccountError::People(error) => error.into(),
        }
    }
}

#[derive(Deserialize)]
struct Choose {
    token: String,
    password: String,
}

async fn choose(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<PeerAddress>,
    witness: Witness,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, PlatformError> {
    let body: Choose = parse(&body, &fields::CHOOSE_PASSWORD)?;
    let chosen = api.sign_in.choose(&body.token, &body.password, whence(&peer, &headers), now()).await;
    let person = chosen.inspect_err(|error| {
        if matches!(error, AccountError::NotProven(_)) {
            witness.nobody("(password link)");
            witness.refuse("link");
        }
    })?;
    witness.person(&person);
    Ok(StatusCode::NO_CONTENT)
}

async fn show(account: Account) -> Json<Value> {
    let person = &account.person;
    let issuer = match &person.origin {
        Origin::Local => None,
        Origin::OpenId { issuer, .. } => Some(issuer.as_str()),
    };
    let credentials = person.credentials.as_ref();
    Json(json!({
        "name": person.id.as_str(),
        "displayName": person.display_name,
        "email": person.email,
        "role": person.role.name(),
        "issuer": issuer,
        "hasPassword": credentials.is_some(),
        "passwordChangedAt": credentials.map(|one| one.password_changed_at().to_string()),
        "hasTotp": credentials.is_some_and(|one| one.has_totp()),
        "recoveryCodesLeft": credentials.map_or(0, |one| one.recovery_left()),
    }))
}

#[derive(Deserialize)]
struct ChangePassword {
    current: Option<String>,
    new: String,
}

async fn change_password(
    State(api): State<Arc<Api>>,
    account: Account,
    Extension(peer): Extension<PeerAddress>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, PlatformError> {
    let body: ChangePassword = parse(&body, &fields::CHANGE_PASSWORD)?;
    let passwords = (body.current.as_deref(), body.new.as_str());
    let session = (account.cookie.as_str(), account.stage);
    let from = whence(&peer, &headers);
    let secret = api.sign_in.change_password(&account.person, session, passwords, from, now()).await?;
    let told = Json(json!({ "csrf": csrf_token(secret.text()) }));
    Ok(with_session(&api, secret.text(), told.into_response()))
}

#[derive(Deserialize)]
struct Password {
    password: String,
}

/// What is told once is kept by nobody on the way.
fn once(told: Value) -> Response {
    let mut response = Json(told).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn codes(texts: &[SecretText]) -> Response {
    once(json!({ "recoveryCodes": texts.iter().map(SecretText::text).collect::<Vec<_>>() }))
}

async fn begin_totp(
    State(api): State<Arc<Api>>,
    account: Account,
    Extension(peer): Extension<PeerAddress>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, PlatformError> {
    let body: Password = parse(&body, &fields::PASSWORD)?;
    let begun = api.sign_in.begin_totp(&account.person, &body.password, whence(&peer, &headers), now()).await?;
    Ok(once(json!({ "secret": begun.0.text(), "uri": begun.1.text() })))
}

#[derive(Deserialize)]
struct Code {
    code: String,
}

async fn confirm_totp(
    State(api): State<Arc<Api>>,
    account: Account,
    Extension(peer): Extension<PeerAddress>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, PlatformError> {
    let body: Code = parse(&body, &fields::CODE)?;
    let from = whence(&peer, &headers);
    let texts = api.sign_in.confirm_totp(&account.person, &account.cookie, &body.code, from, now()).await?;
    Ok(codes(&texts))
}

async fn remove_totp(
    State(api): State<Arc<Api>>,
    account: Account,
    Extension(peer): Extension<PeerAddress>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, PlatformError> {
    let body: Password = parse(&body, &fields::PASSWORD)?;
    api.sign_in.remove_totp(&account.person, &body.password, whence(&peer, &headers), now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn draw_codes(
    State(api): State<Arc<Api>>,
    account: Account,
    Extension(peer): Extension<PeerAddress>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, PlatformError> {
    let body: Password = parse(&body, &fields::PASSWORD)?;
    let texts = api.sign_in.draw_codes(&account.person, &body.password, whence(&peer, &headers), now()).await?;
    Ok(codes(&texts))
}

/// The name of a session in lists and paths, which opens nothing.
fn name(id: &SecretHash) -> String {
    URL_SAFE_NO_PAD.encode(id.as_bytes())
}

async fn sessions(State(api): State<Arc<Api>>, account: Account) -> Json<Value> {
    let own = SecretHash::of(&account.cookie);
    let all = api.sign_in.sessions_of(&account.person, now());
    let value: Vec<_> = all
        .iter()
        .map(|session| {
            json!({
                "id": name(&session.id),
                "from": session.from,
                "openedAt": session.opened_at.to_string(),
                "usedAt": session.used_at.to_string(),
                "current": session.id == own,
            })
        })
        .collect();
    Json(json!({ "value": value }))
}

async fn end_one(
    State(api): State<Arc<Api>>,
    account: Account,
    Path(id): Path<String>,
) -> Result<StatusCode, PlatformError> {
    let all = api.sign_in.sessions_of(&account.person, now());
    let found = all.iter().find(|session| name(&session.id) == id);
    let ended = found.is_some_and(|session| api.sign_in.revoke(&account.person, session));
    if ended { Ok(StatusCode::NO_CONTENT) } else { Err(PlatformError::not_found("session")) }
}

async fn end_others(State(api): State<Arc<Api>>, account: Account) -> StatusCode {
    api.sign_in.revoke_all(&account.person, Some(&account.cookie));
    StatusCode::NO_CONTENT
}
