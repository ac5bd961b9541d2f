//! Telemetry in one POST: a message with its properties in headers, or a batch as JSON.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gantry_hub::event::{Telemetry, names};
use gantry_hub::{HubError, Taken, limits};
use serde::Deserialize;

use crate::caller::DeviceSession;
use crate::error::ApiError;
use crate::{Api, now};

/// Content type of a batch.
const BATCH: &str = "application/vnd.microsoft.iothub.json";
/// Prefix of all properties.
const PREFIX: &str = "iothub-";
/// Prefix of application properties.
const APPLICATION: &str = "iothub-app-";
/// How long a call waits for room in the log.
const ROOM_TIMEOUT: Duration = Duration::from_secs(10);

/// One message of a batch.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Item {
    body: String,
    #[serde(default)]
    properties: BTreeMap<String, Option<String>>,
    #[serde(default = "yes", alias = "base64encoded")]
    base64_encoded: bool,
}

fn yes() -> bool {
    true
}

pub(super) async fn post(
    State(api): State<Arc<Api>>,
    DeviceSession(session): DeviceSession,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_batch = kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(BATCH));
    let bodies: Vec<Vec<u8>>;
    let items: Vec<Item>;
    let messages = if is_batch {
        items = gantry_hub::json::read(&body)
            .map_err(|error| ApiError::invalid(format!("a batch is an array of messages: {error}")))?;
        bodies = items.iter().map(decoded).collect::<Result<_, _>>()?;
        items.iter().zip(&bodies).map(|(item, body)| batched(item, body)).collect::<Result<_, _>>()?
    } else {
        vec![single(&headers, &body)]
    };
    if messages.is_empty() {
        return Err(ApiError::invalid("the batch is empty"));
    }
    // A batch counts as one message.
    let bytes = messages.iter().map(Telemetry::size).sum();
    if bytes > limits::D2C_BYTES_MAX {
        return Err(HubError::MessageTooLarge { bytes, max: limits::D2C_BYTES_MAX }.into());
    }
    let ready = tokio::time::timeout(ROOM_TIMEOUT, api.hub.ready()).await;
    ready.map_err(|_| ApiError::server_busy("the event log has no room"))?;
    metrics::counter!("gantry_telemetry_messages_total").increment(messages.len() as u64);
    let Taken { append, wait } = api.hub.telemetry(now(), &session, &messages)?;
    tokio::time::sleep(wait).await;
    append.await.map_err(HubError::from)?;
    Ok(StatusCode::NO_CONTENT)
}

fn decoded(item: &Item) -> Result<Vec<u8>, ApiError> {
    if !item.base64_encoded {
        return Ok(item.body.clone().into_bytes());
    }
    STANDARD.decode(&item.body).map_err(|error| ApiError::invalid(format!("the body is not base64: {error}")))
}

fn batched<'a>(item: &'a Item, body: &'a [u8]) -> Result<Telemetry<'a>, ApiError> {
    let mut message = Telemetry { body, ..Telemetry::default() };
    for (name, value) in &item.properties {
        if !name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX)) {
            return Err(ApiError::invalid(format!("property `{name}` of a batch must begin with `{APPLICATION}`")));
        }
        set(&mut message, name.into(), value.as_deref().map(Cow::from));
    }
    Ok(message)
}

fn single<'a>(headers: &'a HeaderMap, body: &'a [u8]) -> Telemetry<'a> {
    let mut message = Telemetry { body, ..Telemetry::default() };
    for name in headers.keys() {
        // Lines of one name are one list (RFC 9110, 5.3).
        let lines: Vec<_> = headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
        let value = if let [line] = &lines[..] { line.clone() } else { lines.join(", ").into() };
        set(&mut message, name.as_str().into(), Some(value));
    }
    message
}

/// Sets a property by the name of its header; other headers are not ours.
fn set<'a>(message: &mut Telemetry<'a>, name: Cow<'a, str>, value: Option<Cow<'a, str>>) {
    let system = &mut message.system;
    let slot = match name.to_ascii_lowercase().as_str() {
        "iothub-messageid" => &mut system.message_id,
        "iothub-correlationid" => &mut system.correlation_id,
        "iothub-userid" => &mut system.user_id,
        "iothub-contenttype" => &mut system.content_type,
        "iothub-contentencoding" => &mut system.content_encoding,
        "iothub-expiry" => &mut system.expiry,
        "iothub-creationtimeutc" => &mut system.creation_time,
        names::INTERFACE_ID => &mut system.interface_id,
        names::SUBJECT => &mut system.subject,
        lower if lower.starts_with(APPLICATION) => {
            let name = name[APPLICATION.len()..].to_owned();
            if !name.is_empty() && !names::is_stamped(&name) {
                message.properties.push((name.into(), value));
            }
            return;
        }
        _ => return,
    };
    *slot = value;
}
