//! The token server's head: `GET /sts/azure/token/operations?sr={resource}`.
//!
//! The answer is the token as plain text, as the clients of the reference's article read it;
//! refusals are `{"error":{"code","message"}}`. What a peer reads of a refused credential does not
//! say what was wrong with it: that is in the audit log. Nothing here needs the rest of the API,
//! so that a token server can run without a hub.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gantry_tokens::{Denied, Presented, Request, Token, TokenServer};
use parking_lot::RwLock;
use serde_json::json;

use crate::auth::{PeerAddress, PeerCertificate};
use crate::now;
use crate::operation::{Access, Head, Operation, Parameter};
use crate::routes::Routes;

/// Path of the one operation.
pub const PATH: &str = "/sts/azure/token/operations";
/// Header with an API key.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What the routes work with; another one can take its place while requests come in.
#[derive(Clone)]
pub struct Tokens(Arc<RwLock<Arc<Role>>>);

/// A token server and what the head must know of its configuration.
pub struct Role {
    /// The server.
    pub server: TokenServer,
    /// Header in which a proxy names devices.
    pub forwarded_header: Option<HeaderName>,
}

impl Tokens {
    /// Routes over this server.
    pub fn new(role: Role) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(role))))
    }

    /// Puts another server in its place; requests under way end with the one they began with.
    pub fn replace(&self, role: Role) {
        *self.0.write() = Arc::new(role);
    }

    fn current(&self) -> Arc<Role> {
        Arc::clone(&self.0.read())
    }
}

const QUERY: &[Parameter] = &[
    Parameter { name: "sr", about: "The resource the token is for: `HUB/devices/ID`; must be there." },
    Parameter { name: "ttl", about: "Its life in seconds." },
    Parameter { name: "se", about: "Its end, in seconds since 1970." },
];

/// The row of the one operation.
pub fn operation() -> Operation {
    let proof = Access::Proof("an identity's own proof: API key, certificate, JSON Web Token, proxy or webhook");
    let about = "A token for the identity, as text; `{\"error\":{\"code\",\"message\"}}` when it is refused.";
    Operation::new(Head::Tokens, Method::GET, PATH, "Tokens_Issue", proof, about).query(QUERY)
}

/// The route. Requests must carry a [`PeerAddress`] extension.
pub fn routes(tokens: Tokens) -> Routes {
    Routes::new().on(operation(), issue).with_state(tokens)
}

async fn issue(
    State(tokens): State<Tokens>,
    Extension(peer): Extension<PeerAddress>,
    certificate: Option<Extension<PeerCertificate>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let role = tokens.current();
    let result = match request(&role, &headers, query.as_deref().unwrap_or_default()) {
        Ok(request) => {
            let certificate = certificate.as_ref().map(|Extension(certificate)| &certificate.0);
            let presented = Presented { certificate, ..request.presented };
            role.server.issue(now(), Request { peer: &peer.0, presented, ..request }).await
        }
        Err(name) => return answer(StatusCode::BAD_REQUEST, "Malformed", &format!("`{name}` is given twice")),
    };
    match result {
        Ok(token) => {
            peer.is_known();
            issued(&token)
        }
        Err(denied) => refused(&denied),
    }
}

/// The parts of a request but for the connection's; the name of a parameter that is given twice.
fn request<'a>(role: &Role, headers: &'a HeaderMap, query: &'a str) -> Result<Request<'a>, &'static str> {
    let (mut sr, mut ttl, mut se) = (None, None, None);
    for field in query.split('&') {
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        let (slot, name) = match name {
            "sr" => (&mut sr, "sr"),
            "ttl" => (&mut ttl, "ttl"),
            "se" => (&mut se, "se"),
            _ => continue,
        };
        if slot.replace(value).is_some() {
            return Err(name);
        }
    }
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let presented = Presented {
        authorization: text(&header::AUTHORIZATION),
        api_key: text(&API_KEY),
        forwarded: role.forwarded_header.as_ref().and_then(text),
        certificate: None,
    };
    Ok(Request { resource: sr.unwrap_or_default(), ttl_secs: ttl, expiry_secs: se, peer: "", presented })
}

fn issued(token: &Token) -> Response {
    metrics::counter!("gantry_tokens_issued_total", "by" => token.by.kind()).increment(1);
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, token.text.clone()).into_response()
}

fn refused(denied: &Denied) -> Response {
    metrics::counter!("gantry_tokens_refused_total", "kind" => denied.kind()).increment(1);
    let own_words = denied.to_string();
    let (status, code, message) = match denied {
        Denied::Subject(_) | Denied::Life(_) | Denied::Place(_) => {
            (StatusCode::BAD_REQUEST, "Malformed", own_words.as_str())
        }
        Denied::Unproven(_) => (StatusCode::UNAUTHORIZED, "Unauthorized", "the credentials are missing or not good"),
        Denied::NotOwn { .. } => {
            (StatusCode::FORBIDDEN, "Forbidden", "the credentials are not for the identity the token is asked for")
        }
        Denied::Throttled { .. } => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", own_words.as_str()),
        Denied::Unavailable(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, "Unavailable", "the credentials cannot be checked now; try again")
        }
    };
    let mut response = answer(status, code, message);
    if let Denied::Throttled { retry_after, .. } = denied {
        // Whole seconds, and never too early.
        let secs = retry_after.as_millis().div_ceil(1000).max(1);
        response.headers_mut().insert(header::RETRY_AFTER, u64::try_from(secs).unwrap_or(u64::MAX).into());
    }
    response
}

fn answer(status: StatusCode, code: &str, message: &str) -> Response {
    let body = Json(json!({ "error": { "code": code, "message": message } }));
    (status, [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], body).into_response()
}
