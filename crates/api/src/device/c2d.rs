//! The next cloud-to-device message of a device that polls.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use gantry_hub::c2d::Ack;
use gantry_hub::ports::Enqueued;
use gantry_identity::Identity;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::lock;
use crate::caller::DeviceSession;
use crate::error::ApiError;
use crate::{Api, now};

/// Header and query key with which a device asks for another time to work on a message, in seconds.
pub(super) const LOCK_TIMEOUT: &str = "iothub-messagelocktimeout";
/// Times it may ask for; others are passed over.
const LOCK_SECS: std::ops::RangeInclusive<u64> = 5..=300;

pub(super) async fn get(
    State(api): State<Arc<Api>>,
    DeviceSession(session): DeviceSession,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let identity = &session.identity;
    let asked = headers.get(LOCK_TIMEOUT).and_then(|value| value.to_str().ok()).or_else(|| {
        let mut pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| key.eq_ignore_ascii_case(LOCK_TIMEOUT)).map(|(_, value)| value)
    });
    let lock = asked.and_then(|text| text.parse().ok()).filter(|secs| LOCK_SECS.contains(secs));
    let Some(locked) = api.hub.receive_c2d(now(), identity, lock.map(Duration::from_secs)).await? else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let mut response = Response::new(Body::from(locked.message.message.body.clone()));
    write(response.headers_mut(), identity, &locked.message);
    response.headers_mut().insert(header::ETAG, lock::etag(locked.token));
    Ok(response)
}

fn write(headers: &mut HeaderMap, identity: &Identity, enqueued: &Enqueued) {
    let message = &enqueued.message;
    let mut put = |name: &'static str, text: &str| {
        headers.insert(HeaderName::from_static(name), lock::value(text));
    };
    put("iothub-to", &format!("/{}/messages/deviceBound", identity.resource()));
    put("iothub-sequencenumber", &enqueued.sequence_number.to_string());
    put("iothub-enqueuedtime", &enqueued.enqueued_at.to_string());
    put("iothub-deliverycount", &enqueued.delivery_count.to_string());
    put("iothub-ack", message.ack.as_str());
    if let Some(at) = message.expires_at {
        put("iothub-expiry", &at.to_string());
    }
    let texts = [
        ("iothub-messageid", &message.message_id),
        ("iothub-correlationid", &message.correlation_id),
        ("iothub-userid", &message.user_id),
        ("iothub-contenttype", &message.content_type),
        ("iothub-contentencoding", &message.content_encoding),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            put(name, text);
        }
    }
    if message.ack == Ack::None {
        headers.remove("iothub-ack");
    }
    for (name, value) in &message.properties {
        let plain = lock::name(&format!("iothub-app-{name}"));
        // A name that cannot be in a header is written as in a URL.
        let name = plain.or_else(|| lock::name(&format!("iothub-app-{}", utf8_percent_encode(name, NON_ALPHANUMERIC))));
        if let Some(name) = name {
            // A header cannot be null.
            headers.append(name, lock::value(value.as_deref().unwrap_or_default()));
        }
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
}
