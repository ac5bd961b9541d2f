//! Signing in with a foreign OpenID provider.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, Method as M, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use gantry_directory::FLOW_LIFE;
use gantry_identity::Refusal;
use serde_json::{Value, json};

use super::error::PlatformError;
use super::session::{cookie, opened, set_cookie, whence};
use crate::audit::Witness;
use crate::auth::PeerAddress;
use crate::operation::{Access, Head, Operation, Parameter};
use crate::routes::Routes;
use crate::sign_in::{CallbackFailure, STATE_COOKIE, StartFailure};
use crate::{Api, now};

/// Where whoever was refused is told so; why is in the audit log.
const REFUSED: &str = "/#refused";
const CALLBACK: &[Parameter] = &[
    Parameter { name: "code", about: "What the provider gave for the person." },
    Parameter { name: "state", about: "That of the browser's cookie." },
    Parameter { name: "iss", about: "Who the provider says it is." },
    Parameter { name: "error", about: "Why the provider refuses." },
];

pub(super) fn routes() -> Routes<Arc<Api>> {
    let ways = "`{\"openId\":[{\"id\",\"name\"}]}`: what one may sign in with, beside a password.";
    let start = "303 to the provider, with a cookie for the way back; 404 where there is none.";
    let back = "303 to the page: signed in, or `/#refused`; the audit log says why.";
    let proof = Access::Proof("the provider's code, with the state of the browser's cookie");
    let row = |path, id, access, about| Operation::new(Head::Platform, M::GET, path, id, access, about);
    Routes::new()
        .on(row("/sign-in", "SignIn_Get", Access::Anyone, ways), ways_in)
        .on(row("/sign-in/openid/{provider}", "SignIn_BeginOpenId", Access::Anyone, start), begin)
        .on(
            row("/sign-in/openid/{provider}/callback", "SignIn_OpenIdCallback", proof, back).query(CALLBACK).changes(),
            callback,
        )
}

async fn ways_in(State(api): State<Arc<Api>>) -> Json<Value> {
    let all: Vec<_> = api.sign_in.providers().map(|(id, name)| json!({ "id": id, "name": name })).collect();
    Json(json!({ "openId": all }))
}

impl From<StartFailure> for PlatformError {
    fn from(error: StartFailure) -> Self {
        match error {
            StartFailure::Unknown => Self::not_found(error.to_string()),
            StartFailure::TooMany => Self::too_many(),
            StartFailure::Unreachable(_) | StartFailure::Document(_) => {
                tracing::warn!(%error, "nobody can sign in with a provider");
                Self::unavailable()
            }
        }
    }
}

fn go(to: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    if let Ok(value) = HeaderValue::from_str(to) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

async fn begin(
    State(api): State<Arc<Api>>,
    Path(provider): Path<String>,
    Extension(peer): Extension<PeerAddress>,
    headers: HeaderMap,
) -> Result<Response, PlatformError> {
    let start = api.sign_in.begin(&provider, whence(&peer, &headers), now()).await?;
    let mut response = go(start.url.text());
    // Lax: the provider's site sends the browser back.
    if let Some(value) = set_cookie(STATE_COOKIE, start.state.text(), FLOW_LIFE, "Lax") {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    Ok(response)
}

async fn callback(
    State(api): State<Arc<Api>>,
    Path(provider): Path<String>,
    RawQuery(query): RawQuery,
    Extension(peer): Extension<PeerAddress>,
    witness: Witness,
    headers: HeaderMap,
) -> Response {
    let state = cookie(&headers, STATE_COOKIE).unwrap_or_default();
    let from = whence(&peer, &headers);
    witness.target(&provider);
    let query = query.unwrap_or_default();
    let mut response = match api.sign_in.come_back(&provider, &query, state, from, now()).await {
        Ok(one) => {
            peer.is_known();
            witness.person(&one.person);
            opened(&api, &headers, &one, go("/"))
        }
        Err(failure) => {
            refused(&api, &peer, &witness, &provider, &failure);
            go(REFUSED)
        }
    };
    if let Some(value) = set_cookie(STATE_COOKIE, "", Duration::ZERO, "Lax") {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    response
}

fn refused(api: &Api, peer: &PeerAddress, witness: &Witness, provider: &str, failure: &CallbackFailure) {
    let why = failure.to_string();
    // What nobody began could be sent by anybody, again and again: it is a security event alone.
    if !matches!(failure, CallbackFailure::Unknown) {
        witness.nobody(&format!("(by {provider})"));
    }
    witness.refuse(&why);
    api.hub.report_refusal(now(), "(foreign provider)", &peer.0, "page sign-in", &Refusal::NotProven(why));
}
