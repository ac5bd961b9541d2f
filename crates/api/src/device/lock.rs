//! Locked messages over HTTP: the token in the path, what becomes of the message in method and query.

use axum::http::{HeaderName, HeaderValue, Method, Uri};
use gantry_hub::LockToken;
use gantry_hub::c2d::Settle;
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

use crate::error::ApiError;

/// What cannot be in a header value as it is.
const VALUE: &AsciiSet = &CONTROLS.add(b'%');

/// What becomes of which message.
pub(crate) struct Settlement {
    pub(crate) token: LockToken,
    pub(crate) settle: Settle,
}

impl Settlement {
    /// `DELETE {token}` completes, with the key `reject` it rejects; `POST {token}/abandon` abandons.
    pub(crate) fn read(method: &Method, uri: &Uri, segments: &[&str]) -> Result<Self, ApiError> {
        let (text, settle) = match *segments {
            [token] if *method == Method::DELETE => {
                let rejects = uri
                    .query()
                    .unwrap_or_default()
                    .split('&')
                    .any(|pair| pair.split('=').next().is_some_and(|key| key.eq_ignore_ascii_case("reject")));
                (token, if rejects { Settle::Reject } else { Settle::Complete })
            }
            [token, abandon] if abandon.eq_ignore_ascii_case("abandon") && *method == Method::POST => {
                (token, Settle::Abandon)
            }
            [_] => return Err(ApiError::method_not_allowed(method)),
            _ => return Err(ApiError::no_such_path(uri.path())),
        };
        // What is no token of ours is a lock nobody has.
        let token = LockToken::parse_str(text.trim_matches('"')).map_err(|_| gantry_hub::HubError::LockLost)?;
        Ok(Self { token, settle })
    }
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
