//! Where clients find the directory and get tokens: OpenID discovery, keys, and client credentials.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, extract::Query};
use gantry_api::{PeerAddress, now};
use gantry_directory::{Endpoint, Guid};
use gantry_identity::Refusal;
use serde_json::{Value, json};

use crate::Shared;
use crate::service::{NoToken, draw_guid, retry_after};

type Context = State<Arc<Shared>>;

/// An error in the shape of the token endpoint.
fn refusal(status: StatusCode, error: &str, number: u32, words: &str) -> Response {
    let body = json!({
        "error": error,
        "error_description": format!("AADSTS{number}: {words}"),
        "error_codes": [number],
        "timestamp": now().to_string(),
        "trace_id": draw_guid(),
        "correlation_id": draw_guid(),
    });
    uncached((status, Json(body)).into_response())
}

fn uncached(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The answer when a path does not name our tenant.
fn other_tenant(shared: &Shared, tenant: &str) -> Option<Response> {
    let is_ours = Guid::parse(tenant).is_ok_and(|id| id == shared.service.own().tenant_id);
    let words = "The tenant was not found in this directory.";
    (!is_ours).then(|| refusal(StatusCode::BAD_REQUEST, "invalid_tenant", 90_002, words))
}

fn configuration(shared: &Shared, tenant: &str, version: Endpoint) -> Response {
    let document = || Json(shared.service.own().discovery_document(version)).into_response();
    other_tenant(shared, tenant).unwrap_or_else(document)
}

pub(crate) async fn configuration_2(State(shared): Context, Path(tenant): Path<String>) -> Response {
    configuration(&shared, &tenant, Endpoint::V2)
}

pub(crate) async fn configuration_1(State(shared): Context, Path(tenant): Path<String>) -> Response {
    configuration(&shared, &tenant, Endpoint::V1)
}

pub(crate) async fn keys(State(shared): Context, Path(tenant): Path<String>) -> Response {
    let document = || Json(shared.service.kept.current().keys.document()).into_response();
    other_tenant(&shared, &tenant).unwrap_or_else(document)
}

/// Clients ask this before they trust an authority they do not know.
pub(crate) async fn instance(State(shared): Context, Query(query): Query<Vec<(String, String)>>) -> Json<Value> {
    let (origin, tenant) = shared.service.authority();
    let host = origin.trim_start_matches("https://");
    let asked = query.iter().find(|(name, _)| name == "api-version").map_or("1.0", |(_, version)| version);
    let version = if asked == "1.1" { "1.1" } else { "1.0" };
    Json(json!({
        "tenant_discovery_endpoint": format!("{origin}/{tenant}/v2.0/.well-known/openid-configuration"),
        "api-version": version,
        "metadata": [{ "preferred_network": host, "preferred_cache": host, "aliases": [host] }],
    }))
}

pub(crate) async fn token_2(
    state: Context,
    tenant: Path<String>,
    peer: Extension<PeerAddress>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    token(&state.0, &tenant, &peer, &headers, &body, Endpoint::V2)
}

pub(crate) async fn token_1(
    state: Context,
    tenant: Path<String>,
    peer: Extension<PeerAddress>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    token(&state.0, &tenant, &peer, &headers, &body, Endpoint::V1)
}

fn token(
    shared: &Shared,
    tenant: &str,
    peer: &PeerAddress,
    headers: &HeaderMap,
    body: &[u8],
    version: Endpoint,
) -> Response {
    if let Some(refused) = other_tenant(shared, tenant) {
        return refused;
    }
    let authorization = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
    let Ok(body) = std::str::from_utf8(body) else {
        return refusal(StatusCode::BAD_REQUEST, "invalid_request", 90_014, "The request body is not UTF-8.");
    };
    let granted = shared.service.grant(version, body, authorization, &peer.0, now());
    let (name, refused) = match granted {
        Ok(granted) => {
            peer.is_known();
            return uncached(Json(granted.document()).into_response());
        }
        Err(refused) => refused,
    };
    let reason = Refusal::NotProven(refused.to_string());
    shared.api.hub.report_refusal(now(), &name, &peer.0, "token endpoint", &reason);
    match refused {
        NoToken::Wait(wait) => {
            let words = "Too many requests with a wrong secret; come again later.";
            let mut response = refusal(StatusCode::TOO_MANY_REQUESTS, "temporarily_unavailable", 50_053, words);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after(&wait)));
            response
        }
        NoToken::Grant(error) => {
            let status = StatusCode::from_u16(error.code().0).unwrap_or(StatusCode::BAD_REQUEST);
            let document = error.document(draw_guid(), draw_guid(), now());
            let mut response = uncached((status, Json(document)).into_response());
            if status == StatusCode::UNAUTHORIZED {
                // RFC 6749, 5.2: whoever came with the header is told of it.
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
            }
            response
        }
    }
}
