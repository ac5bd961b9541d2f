//! Locked messages over HTTP: the token in the path, what becomes of the message in method and query.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri};
use gantry_hub::c2d::Settle;
use gantry_hub::{HubError, LockToken};
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

use crate::caller::DeviceSession;
use crate::error::ApiError;
use crate::operation::Parameter;
use crate::{Api, now};

/// What cannot be in a header value as it is.
const VALUE: &AsciiSet = &CONTROLS.add(b'%');

/// What `DELETE` reads of its query.
pub(crate) const REJECT: &[Parameter] =
    &[Parameter { name: "reject", about: "When it is there, the message is rejected." }];

/// The token a path names.
///
/// # Errors
/// What is no token of ours is a lock nobody has.
pub(crate) fn token(text: &str) -> Result<LockToken, ApiError> {
    Ok(LockToken::parse_str(text.trim_matches('"')).map_err(|_| HubError::LockLost)?)
}

/// What `DELETE` means: with the key `reject` the message is rejected.
pub(crate) fn deleted(uri: &Uri) -> Settle {
    let mut pairs = uri.query().unwrap_or_default().split('&');
    let rejects = pairs.any(|pair| pair.split('=').next().is_some_and(|key| key.eq_ignore_ascii_case("reject")));
    if rejects { Settle::Reject } else { Settle::Complete }
}

pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    DeviceSession(session): DeviceSession,
    uri: Uri,
    Path((_, lock)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    api.hub.settle_c2d(now(), &session.identity, token(&lock)?, deleted(&uri)).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn abandon(
    State(api): State<Arc<Api>>,
    DeviceSession(session): DeviceSession,
    Path((_, lock)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    api.hub.settle_c2d(now(), &session.identity, token(&lock)?, Settle::Abandon).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The token as `ETag`: with quotes, without which one client fails.
pub(crate) fn etag(token: LockToken) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{token}\"")).expect("a token is ASCII")
}

/// A text as header value; what does not fit is percent-encoded.
pub(crate) fn value(text: &str) -> HeaderValue {
    let plain = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    let made = if plain { HeaderValue::from_str(text) } else { HeaderValue::from_str(&encoded(text)) };
    made.unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// A text as header name.
pub(crate) fn name(text: &str) -> Option<HeaderName> {
    HeaderName::from_bytes(text.as_bytes()).ok()
}

fn encoded(text: &str) -> String {
    percent_encode(text.as_bytes(), VALUE).to_string()
}
