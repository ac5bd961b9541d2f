//! Device streams: a service asks for one, the device answers, both are told where to come.
//!
//! `POST /twins/{D}[/modules/{M}]/streams/{name}`, with the time-outs in headers. The answer has no body: its headers
//! say whether the device accepted, and if so where the service comes to and with which token. Source: service client
//! of the C# SDK, branch `previews/deviceStreaming`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use gantry_hub::streams::{STREAM_NAME_LEN_MAX, StreamOffer};
use gantry_hub::{HubError, limits};
use gantry_identity::Identity;

use super::files::host_used;
use super::{device, module};
use crate::error::ApiError;
use crate::{Api, now};

const CONNECT_TIMEOUT: &str = "iothub-streaming-connect-timeout-in-seconds";
const RESPONSE_TIMEOUT: &str = "iothub-streaming-response-timeout-in-seconds";
const IS_ACCEPTED: HeaderName = HeaderName::from_static("iothub-streaming-is-accepted");
const URL: HeaderName = HeaderName::from_static("iothub-streaming-url");
const AUTH_TOKEN: HeaderName = HeaderName::from_static("iothub-streaming-auth-token");

pub(super) async fn create(
    State(api): State<Arc<Api>>,
    Path((id, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<HeaderMap, ApiError> {
    create_on(&api, &device(&id)?, name, &headers).await
}

pub(super) async fn create_for_module(
    State(api): State<Arc<Api>>,
    Path((id, mid, name)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<HeaderMap, ApiError> {
    create_on(&api, &module(&id, &mid)?, name, &headers).await
}

async fn create_on(api: &Api, identity: &Identity, name: String, headers: &HeaderMap) -> Result<HeaderMap, ApiError> {
    if name.is_empty() || name.chars().count() > STREAM_NAME_LEN_MAX {
        return Err(ApiError::invalid(format!("name of the stream must have 1 to {STREAM_NAME_LEN_MAX} characters")));
    }
    let connect = timeout(headers, CONNECT_TIMEOUT)?.unwrap_or_default();
    let response = timeout(headers, RESPONSE_TIMEOUT)?.filter(|given| !given.is_zero());
    let response = response.unwrap_or(limits::METHOD_TIMEOUT_DEFAULT);
    api.hub.check_callable(identity).await?;
    if !connect.is_zero() && tokio::time::timeout(connect, api.hub.stream_listener(identity)).await.is_err() {
        return Err(HubError::NotOnline(identity.clone()).into());
    }
    let invitation = api.hub.open_stream(now(), identity, response)?;
    let mut place = Place { api, id: invitation.id, is_accepted: false };
    let url = |host: &str| format!("wss://{host}/bridges/{:016x}", invitation.id);
    // The device comes to the name in its connection string, at the port the service used.
    let used = host_used(api, headers);
    let port = used.rsplit_once(':').map_or(String::new(), |(_, port)| format!(":{port}"));
    let device_url = url(&format!("{}{port}", api.hub.host_name()));
    let offer = StreamOffer { name, url: device_url, token: invitation.device_token };
    let answer = tokio::time::timeout(response, api.hub.offer_stream(identity, offer)).await;
    let is_accepted = answer.map_err(|_| HubError::Timeout(identity.clone()))??;
    let mut answer = HeaderMap::new();
    // Node compares the word.
    answer.insert(IS_ACCEPTED, HeaderValue::from_static(if is_accepted { "True" } else { "False" }));
    if is_accepted {
        place.is_accepted = true;
        api.hub.stream_accepted(now(), place.id);
        let text = |text: &str| HeaderValue::from_str(text).map_err(|_| ApiError::invalid("the host has no text"));
        answer.insert(URL, text(&url(used))?);
        answer.insert(AUTH_TOKEN, text(&invitation.service_token)?);
    }
    Ok(answer)
}

/// The place of a stream: it is given back when the device does not accept, for whatever reason.
struct Place<'a> {
    api: &'a Api,
    id: u64,
    is_accepted: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.is_accepted {
            self.api.hub.close_stream(self.id);
        }
    }
}

/// A time-out in seconds, with a fraction as C# may write one.
fn timeout(headers: &HeaderMap, name: &str) -> Result<Option<Duration>, ApiError> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let secs = value.to_str().ok().and_then(|text| text.trim().parse::<f64>().ok());
    let max = *limits::METHOD_TIMEOUT_SECS.end();
    match secs.map(Duration::try_from_secs_f64) {
        Some(Ok(timeout)) if timeout <= Duration::from_secs(max) => Ok(Some(timeout)),
        _ => Err(ApiError::invalid(format!("{name} must be 0 to {max}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_outs_are_seconds_within_bounds() {
        let read = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONNECT_TIMEOUT, HeaderValue::from_static(text));
            timeout(&headers, CONNECT_TIMEOUT).ok().flatten()
        };
        assert_eq!(read("30"), Some(Duration::from_secs(30)));
        assert_eq!(read("1.5"), Some(Duration::from_millis(1500)));
        assert_eq!(read("300"), Some(Duration::from_secs(300)));
        for text in ["301", "-1", "NaN", "inf", "soon", ""] {
            assert_eq!(read(text), None, "{text}");
        }
        assert!(timeout(&HeaderMap::new(), CONNECT_TIMEOUT).is_ok_and(|none| none.is_none()));
    }
}
