//! Who is signed in to the page: a one-time token becomes a session cookie. Programs bring a hub token instead.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gantry_identity::{Refusal, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;
use tokio::sync::Mutex;

use super::error::PlatformError;
use super::parse;
use crate::auth::PeerAddress;
use crate::caller::Caller;
use crate::fields;
use crate::{Api, now};

const COOKIE: &str = "gantry_session";
const CSRF_HEADER: &str = "x-gantry-csrf";
/// How long a session lasts.
const SESSION_LIFE: Duration = Duration::from_secs(12 * 3600);
/// How long a sign-in link works.
const LINK_LIFE: Duration = Duration::from_secs(24 * 3600);
const SESSIONS_MAX: usize = 1_000;
const LINKS_MAX: usize = 16;
/// Failed sign-ins remembered.
const FAILURES_KEPT: usize = 10_000;
/// Failed sign-ins from one address within a minute after which it waits.
const FAILURES_MAX: usize = 10;

/// Sign-in links and sessions, in memory: a restart signs everybody out.
#[derive(Default)]
pub struct Sessions {
    state: Mutex<SessionState>,
}

#[derive(Default)]
struct SessionState {
    /// Each with its end, and whom it signs in.
    links: Vec<(String, Timestamp, Caller)>,
    sessions: HashMap<String, (Timestamp, Caller)>,
    failures: VecDeque<(Timestamp, String)>,
}

impl Sessions {
    /// Lets `token` sign the administrator in once.
    pub async fn add_link(&self, token: String, now: Timestamp) {
        let mut state = self.state.lock().await;
        if state.links.len() >= LINKS_MAX {
            state.links.remove(0);
        }
        state.links.push((token, now.plus(LINK_LIFE), Caller::administrator()));
    }

    async fn caller(&self, session: &str, now: Timestamp) -> Option<Caller> {
        let mut state = self.state.lock().await;
        state.sessions.retain(|_, (until, _)| *until > now);
        // Every key is compared, in constant time each.
        let found = state.sessions.iter().fold(None, |found, (key, (_, caller))| {
            if key.as_bytes().ct_eq(session.as_bytes()).into() { Some(caller) } else { found }
        });
        found.cloned()
    }

    async fn redeem(&self, token: &str, session: String, peer: &str, now: Timestamp) -> Result<Caller, PlatformError> {
        let mut state = self.state.lock().await;
        while state.failures.front().is_some_and(|(at, _)| now.since(*at) > Duration::from_secs(60))
            || state.failures.len() >= FAILURES_KEPT
        {
            state.failures.pop_front();
        }
        let peer = peer.rsplit_once(':').map_or(peer, |(host, _)| host).to_owned();
        let failed = state.failures.iter().filter(|(_, from)| *from == peer).count();
        if failed >= FAILURES_MAX || state.sessions.len() >= SESSIONS_MAX {
            return Err(PlatformError::too_many());
        }
        state.links.retain(|(_, until, _)| *until > now);
        let found = state.links.iter().enumerate().fold(None, |found, (n, (link, ..))| {
            if link.as_bytes().ct_eq(token.as_bytes()).into() { Some(n) } else { found }
        });
        let Some(index) = found else {
            state.failures.push_back((now, peer));
            return Err(PlatformError::unauthorized());
        };
        let (_, _, caller) = state.links.remove(index);
        state.sessions.insert(session, (now.plus(SESSION_LIFE), caller.clone()));
        Ok(caller)
    }

    async fn end(&self, session: &str) {
        self.state.lock().await.sessions.remove(session);
    }
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|line| line.split(';')).find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

fn set_cookie(session: &str, life: Duration) -> String {
    format!("{COOKIE}={session}; Path=/; Max-Age={}; HttpOnly; Secure; SameSite=Strict", life.as_secs())
}

/// Whose session the cookie of a request is.
pub(crate) async fn caller(api: &Api, parts: &Parts) -> Result<Caller, PlatformError> {
    let session = cookie(&parts.headers).ok_or_else(PlatformError::unauthorized)?;
    let caller = api.sessions.caller(session, now()).await.ok_or_else(PlatformError::unauthorized)?;
    // A cookie is sent by the browser on its own; the header is not.
    if parts.method != Method::GET && !parts.headers.contains_key(CSRF_HEADER) {
        return Err(PlatformError::forbidden("header x-gantry-csrf is missing"));
    }
    Ok(caller)
}

#[derive(Deserialize)]
struct SignIn {
    token: String,
}

pub(super) async fn sign_in(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<PeerAddress>,
    body: Bytes,
) -> Result<Response, PlatformError> {
    let body: SignIn = parse(&body, &fields::SIGN_IN)?;
    let session = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
    let redeemed = api.sessions.redeem(&body.token, session.clone(), &peer.0, now()).await;
    let caller = redeemed.inspect_err(|_| {
        api.hub.report_refusal(now(), "(sign-in link)", &peer.0, "page sign-in", &Refusal::Signature);
    })?;
    let mut response = Json(document(&api, &caller)).into_response();
    if let Ok(value) = HeaderValue::from_str(&set_cookie(&session, SESSION_LIFE)) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    Ok(response)
}

fn document(api: &Api, caller: &Caller) -> Value {
    let permissions: Vec<_> = caller.permissions.names().collect();
    json!({ "user": caller.name(), "hub": api.hub.name(), "permissions": permissions })
}

pub(super) async fn show(State(api): State<Arc<Api>>, caller: Caller) -> Json<Value> {
    Json(document(&api, &caller))
}

pub(super) async fn sign_out(State(api): State<Arc<Api>>, headers: HeaderMap) -> Response {
    if let Some(session) = cookie(&headers) {
        api.sessions.end(session).await;
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Ok(value) = HeaderValue::from_str(&set_cookie("", Duration::ZERO)) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    response
}
