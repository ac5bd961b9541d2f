//! A cloud-to-device message that a service sends with one POST. SDKs send over AMQP; Azure IoT Explorer does this.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use gantry_hub::HubError;
use gantry_hub::c2d::{Ack, C2dMessage};
use gantry_identity::{DeviceId, Identity, Timestamp};
use percent_encoding::percent_decode_str;

use crate::error::ApiError;
use crate::{Api, hub, now};

/// Prefix of application properties.
const APPLICATION: &str = "iothub-app-";

pub(super) async fn post(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    let device = hub::device(&id)?;
    let message = read(&headers, body)?;
    match api.hub.send_c2d(now(), &device, message.clone()).await {
        // Azure IoT Explorer encodes the id here once more than everywhere else.
        Err(HubError::NotFound(_)) if let Some(plain) = decoded(&device) => {
            api.hub.send_c2d(now(), &plain, message).await?;
        }
        sent => sent?,
    }
    Ok(StatusCode::NO_CONTENT)
}

/// The device whose id, percent-encoded, is this one.
fn decoded(device: &Identity) -> Option<Identity> {
    let id = percent_decode_str(device.device.as_str()).decode_utf8().ok()?;
    (id != device.device.as_str()).then(|| DeviceId::parse(&id).ok().map(Identity::device))?
}

fn read(headers: &HeaderMap, body: Bytes) -> Result<C2dMessage, ApiError> {
    let mut message = C2dMessage { body, ..C2dMessage::default() };
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        match name.as_str() {
            "iothub-messageid" => message.message_id = Some(value),
            "iothub-correlationid" => message.correlation_id = Some(value),
            "iothub-userid" => message.user_id = Some(value),
            "iothub-contenttype" => message.content_type = Some(value),
            "iothub-contentencoding" => message.content_encoding = Some(value),
            "iothub-ack" => {
                let ack = Ack::parse(&value.to_ascii_lowercase());
                let expected = "iothub-ack must be none, positive, negative or full";
                message.ack = ack.ok_or_else(|| ApiError::invalid(expected))?;
            }
            "iothub-expiry" => {
                let at = Timestamp::parse(&value).ok_or_else(|| ApiError::invalid("iothub-expiry must be a time"))?;
                message.expires_at = Some(at);
            }
            other => match other.strip_prefix(APPLICATION) {
                Some(property) if !property.is_empty() => message.properties.push((property.to_owned(), Some(value))),
                None if other.starts_with("iothub-") => {
                    return Err(ApiError::invalid(format!("header {other} is not known")));
                }
                _ => {}
            },
        }
    }
    Ok(message)
}
