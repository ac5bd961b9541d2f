//! Devices over HTTPS: telemetry in, cloud-to-device messages out; and services that send those.
//!
//! A call proves itself like a connection does, by token or certificate. Paths are those of the reference; their
//! words are compared without case, because SDKs differ.

mod c2d;
pub(crate) mod lock;
mod send;
mod telemetry;

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use gantry_identity::{DeviceId, Identity, Rights};

use crate::auth::{self, PeerAddress, PeerCertificate};
use crate::error::ApiError;
use crate::routes::Routes;
use crate::{Api, now};
use lock::Settlement;

pub(crate) fn routes() -> Routes<Arc<Api>> {
    Routes::new().any("/devices/{id}/messages/{*rest}", messages)
}

/// A call about messages of a device.
async fn messages(
    State(api): State<Arc<Api>>,
    Path((id, rest)): Path<(String, String)>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let device = DeviceId::parse(&id).map_err(|error| ApiError::invalid(format!("device id: {error}")))?;
    let identity = Identity::device(device);
    let segments: Vec<String> = rest.split('/').filter(|s| !s.is_empty()).map(str::to_owned).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let Some(peer) = parts.extensions.get::<PeerAddress>() else {
        return Err(ApiError::unauthorized());
    };
    // The one call here that a service makes.
    if parts.method == Method::POST && matches!(segments[..], [bound] if bound.eq_ignore_ascii_case("devicebound")) {
        auth::hub(&api, &parts.headers, peer, Rights::SERVICE_CONNECT)?;
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
        return send::post(&api, &identity, &parts.headers, body).await;
    }
    let certificate = parts.extensions.get::<PeerCertificate>();
    let session = auth::device(&api, &parts.headers, peer, certificate, &identity).await?;
    match Call::read(&parts.method, &parts.uri, &segments)? {
        Call::Send => {
            // The middleware has read it, within its bound.
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
            telemetry::post(&api, &session, &parts.headers, &body).await
        }
        Call::Receive => c2d::get(&api, &identity, &parts.uri, &parts.headers).await,
        Call::Settle(Settlement { token, settle }) => {
            api.hub.settle_c2d(now(), &identity, token, settle).await?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
    }
}

/// What a call asks for.
enum Call {
    Send,
    Receive,
    Settle(Settlement),
}

impl Call {
    fn read(method: &Method, uri: &Uri, segments: &[&str]) -> Result<Self, ApiError> {
        let is = |segment: &str, word: &str| segment.eq_ignore_ascii_case(word);
        match segments {
            [events] if is(events, "events") => match *method {
                Method::POST => Ok(Self::Send),
                _ => Err(ApiError::method_not_allowed(method)),
            },
            [bound] if is(bound, "devicebound") => match *method {
                Method::GET => Ok(Self::Receive),
                _ => Err(ApiError::method_not_allowed(method)),
            },
            [bound, rest @ ..] if is(bound, "devicebound") => Settlement::read(method, uri, rest).map(Self::Settle),
            _ => Err(ApiError::no_such_path(uri.path())),
        }
    }
}
