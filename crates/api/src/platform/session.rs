//! Signing in to the page and out again. A session is a cookie; calls that change something with it carry the session's
//! CSRF token, which `GET /session` tells the page. Programs bring a hub token instead.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gantry_directory::{Person, Stage, csrf_token};
use gantry_identity::Refusal;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::PlatformError;
use super::parse;
use crate::audit::Witness;
use crate::auth::PeerAddress;
use crate::caller::{Caller, Permissions, Who};
use crate::fields;
use crate::sign_in::{NotSignedIn, Opened, Whence, address};
use crate::{Api, now};

/// No other host of the domain can set it (`__Host-`), no script reads it, no other site sends it.
const COOKIE: &str = "__Host-gantry_session";
const CSRF_HEADER: &str = "x-gantry-csrf";
/// Longest name of a program that is kept with a session, bytes.
const PROGRAM_LEN_MAX: usize = 256;

/// The value of a cookie.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|line| line.split(';')).find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

/// A header that sets or forgets a cookie.
pub(super) fn set_cookie(name: &str, value: &str, life: Duration, same_site: &str) -> Option<HeaderValue> {
    let life = life.as_secs();
    let text = format!("{name}={value}; Path=/; Max-Age={life}; HttpOnly; Secure; SameSite={same_site}");
    HeaderValue::from_str(&text).ok().map(|mut value| {
        value.set_sensitive(true);
        value
    })
}

/// Where a request comes from.
pub(super) fn whence<'a>(peer: &PeerAddress, headers: &'a HeaderMap) -> Whence<'a> {
    let program = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Whence { address: address(&peer.0), program: program.get(..PROGRAM_LEN_MAX).unwrap_or(program) }
}

/// Whose session the cookie of a request is; `before_password` also of those who must choose another password first.
pub(crate) fn caller(api: &Api, parts: &Parts, before_password: bool) -> Result<Caller, PlatformError> {
    let cookie = cookie(&parts.headers, COOKIE).ok_or_else(PlatformError::unauthorized)?;
    let (person, stage) = api.sign_in.session(cookie, now()).ok_or_else(PlatformError::unauthorized)?;
    let witness = Witness::of(&parts.extensions);
    witness.person(&person);
    // A cookie is sent by the browser on its own; the header is not.
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        let token = parts.headers.get(CSRF_HEADER).and_then(|value| value.to_str().ok());
        if !token.is_some_and(|token| api.sign_in.is_own(cookie, token)) {
            witness.refuse("csrf");
            return Err(PlatformError::forbidden("header x-gantry-csrf is not the session's `csrf`"));
        }
    }
    if stage != Stage::Full && !before_password {
        witness.refuse("password must be changed");
        return Err(PlatformError::forbidden("choose another password first"));
    }
    Ok(Caller::person(person))
}

/// A person with their session: for operations about their own account, which programs have not.
pub(super) struct Account {
    pub(super) person: Arc<Person>,
    pub(super) cookie: String,
    pub(super) stage: Stage,
}

impl FromRequestParts<Arc<Api>> for Account {
    type Rejection = PlatformError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, PlatformError> {
        let caller = parts.extensions.get::<Caller>().map(|caller| &caller.who);
        let (Some(Who::User(_)), Some(cookie)) = (caller, cookie(&parts.headers, COOKIE)) else {
            return Err(PlatformError::forbidden("this is about the account of a person who is signed in"));
        };
        let (person, stage) = api.sign_in.session(cookie, now()).ok_or_else(PlatformError::unauthorized)?;
        Ok(Self { person, stage, cookie: cookie.to_owned() })
    }
}

#[derive(Deserialize)]
struct SignIn {
    token: Option<String>,
    name: Option<String>,
    password: Option<String>,
    code: Option<String>,
}

/// Who signs in says so without being known yet: it is told to the log, and to security events.
fn refused(api: &Api, peer: &PeerAddress, witness: &Witness, by_link: bool, error: NotSignedIn) -> PlatformError {
    let why = error.to_string();
    let known = match &error {
        NotSignedIn::Wrong { known, .. } => known.as_ref(),
        NotSignedIn::CodeMissing(person) => Some(person),
        _ => None,
    };
    // A name nobody has may be a password in the wrong field.
    let claimed = if by_link { "(sign-in link)" } else { known.map_or("(unknown user)", |person| person.id.as_str()) };
    let claimed = claimed.to_owned();
    match error {
        NotSignedIn::Wrong { .. } => {
            witness.nobody(&claimed);
            witness.refuse(&why);
            api.hub.report_refusal(now(), &claimed, &peer.0, "page sign-in", &Refusal::NotProven(why));
            PlatformError::not_signed_in(if by_link {
                "the link is unknown, was used or is too old"
            } else {
                "name, password or code is wrong"
            })
        }
        NotSignedIn::CodeMissing(_) => {
            // Whoever tries stolen passwords learns that one is right.
            witness.nobody(&claimed);
            witness.refuse(&why);
            PlatformError::code_missing()
        }
        NotSignedIn::Wait(wait) => PlatformError::wait(wait),
        NotSignedIn::Busy => PlatformError::wait(Duration::from_secs(1)),
        NotSignedIn::Failed(error) => error.into(),
    }
}

pub(super) async fn sign_in(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<PeerAddress>,
    witness: Witness,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, PlatformError> {
    if headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
        return Err(PlatformError::invalid("another site's page signs nobody in"));
    }
    let body: SignIn = parse(&body, &fields::SIGN_IN)?;
    let from = whence(&peer, &headers);
    let by_link = body.token.is_some();
    let signed_in = match (body.token, body.name, body.password) {
        (Some(token), None, None) => api.sign_in.by_link(&token, from, now()),
        (None, Some(name), Some(password)) => {
            api.sign_in.by_password(&name, &password, body.code.as_deref(), from, now()).await
        }
        _ => return Err(PlatformError::invalid("the body has `token`, or `name` and `password`")),
    };
    let opened = signed_in.map_err(|error| refused(&api, &peer, &witness, by_link, error))?;
    peer.is_known();
    witness.person(&opened.person);
    witness.target(if by_link { "sign-in link" } else { "password" });
    if let Some(old) = cookie(&headers, COOKIE) {
        api.sign_in.end(old);
    }
    let mut told = document(&api, &Caller::person(Arc::clone(&opened.person)));
    told["csrf"] = csrf_token(opened.secret.text()).into();
    told["mustChangePassword"] = (opened.stage == Stage::Change).into();
    if opened.stage == Stage::Change {
        told["permissions"] = json!(Permissions::NONE.names().collect::<Vec<_>>());
    }
    told["recoveryCodesLeft"] = json!(opened.recovery_left);
    Ok(with_session(&api, opened.secret.text(), Json(told).into_response()))
}

/// An answer that gives the browser a session.
pub(super) fn with_session(api: &Api, session: &str, mut response: Response) -> Response {
    if let Some(value) = set_cookie(COOKIE, session, api.sign_in.absolute_life(), "Strict") {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The same for somebody who came back from a provider; a session they had ends.
pub(super) fn opened(api: &Api, headers: &HeaderMap, opened: &Opened, response: Response) -> Response {
    if let Some(old) = cookie(headers, COOKIE) {
        api.sign_in.end(old);
    }
    with_session(api, opened.secret.text(), response)
}

fn document(api: &Api, caller: &Caller) -> Value {
    let permissions: Vec<_> = caller.permissions.names().collect();
    let mut told = json!({ "user": caller.name(), "hub": api.hub.name(), "permissions": permissions });
    if let Who::User(person) = &caller.who {
        told["displayName"] = person.display_name.as_str().into();
        told["hasPassword"] = person.credentials.is_some().into();
    }
    told
}

pub(super) async fn show(State(api): State<Arc<Api>>, headers: HeaderMap, caller: Caller) -> Response {
    let mut told = document(&api, &caller);
    if matches!(caller.who, Who::User(_))
        && let Some(cookie) = cookie(&headers, COOKIE)
    {
        let stage = api.sign_in.session(cookie, now()).map(|(_, stage)| stage);
        told["csrf"] = csrf_token(cookie).into();
        told["mustChangePassword"] = (stage == Some(Stage::Change)).into();
        if stage == Some(Stage::Change) {
            told["permissions"] = json!(Permissions::NONE.names().collect::<Vec<_>>());
        }
    }
    ([(header::CACHE_CONTROL, "no-store")], Json(told)).into_response()
}

pub(super) async fn sign_out(State(api): State<Arc<Api>>, headers: HeaderMap) -> Response {
    if let Some(session) = cookie(&headers, COOKIE) {
        api.sign_in.end(session);
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Some(value) = set_cookie(COOKIE, "", Duration::ZERO, "Strict") {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    response
}

/// Whether a session that a stream of events was opened with is still one; programs have none.
pub(super) fn is_live(api: &Api, cookie: Option<&str>) -> bool {
    cookie.is_none_or(|cookie| api.sign_in.is_live(cookie, now()))
}

/// The cookie of a call, if it is a person's.
pub(super) fn session_of(caller: &Caller, headers: &HeaderMap) -> Option<String> {
    matches!(caller.who, Who::User(_)).then(|| cookie(headers, COOKIE).map(str::to_owned)).flatten()
}
