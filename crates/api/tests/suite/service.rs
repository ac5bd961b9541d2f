//! Calls of the service API by its owner, without sockets.

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use gantry_api::{Api, PeerAddress};
use gantry_hub::connection::{Mailbox, Subscriptions};
use gantry_hub::{Hub, HubError, Presented};
use gantry_identity::{Identity, Key, Signer, Timestamp};
use serde_json::Value;
use tower::ServiceExt as _;

use crate::authorization::{router, token};

/// The key of the devices these tests connect.
pub(crate) const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Status and name of the error.
    pub(crate) fn error(&self) -> (u16, &str) {
        (self.status.as_u16(), self.header("iothub-errorcode").unwrap_or_default())
    }
}

/// Calls with a header or two.
pub(crate) async fn call_with(api: &Api, method: &str, path: &str, body: &Value, headers: &[(&str, &str)]) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    call_text(api, method, path, &body, headers).await
}

/// Calls with a body that need not be JSON; an answer that is not JSON is a text.
pub(crate) async fn call_text(api: &Api, method: &str, path: &str, body: &str, headers: &[(&str, &str)]) -> Answer {
    let token = token("iothubowner", Key::from_bytes([1; 32]));
    let mut request = Request::builder().method(method).uri(path).extension(PeerAddress::from("127.0.0.1:1"));
    request = request.header("authorization", token);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = Body::from(body.to_owned());
    let response = router(api.clone()).oneshot(request.body(body).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap();
    let text = String::from_utf8_lossy(&bytes);
    let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or_else(|_| text.into()) };
    Answer { status: parts.status, headers: parts.headers, body }
}

pub(crate) async fn call(api: &Api, method: &str, path: &str, body: Value) -> Answer {
    call_with(api, method, path, &body, &[]).await
}

/// Calls and expects success; returns the body.
#[track_caller]
pub(crate) fn ok(answer: Answer) -> Value {
    assert!(answer.status.is_success(), "{answer:?}");
    answer.body
}

/// Connects a device that has [`KEY`], listening for methods.
pub(crate) async fn connect(hub: &Hub, id: &str) -> Mailbox {
    try_connect(hub, id).await.unwrap()
}

/// Connects a device or `device/module`, if it is let in.
pub(crate) async fn try_connect(hub: &Hub, id: &str) -> Result<Mailbox, HubError> {
    let identity = Identity::parse(id).unwrap();
    let signer = Signer {
        resource: format!("localhost/{}", identity.resource()),
        key: Key::from_base64(KEY).unwrap(),
        policy: None,
    };
    let token = signer.token(Timestamp::from_millis(4_000_000_000_000));
    let presented = Presented { token: Some(&token), certificate: None };
    let now = Timestamp::from_millis(1_767_225_600_000);
    let session = hub.authenticate_device(now, &identity, presented).await?;
    let mailbox = hub.connect(now, &session, false).await?;
    mailbox.subscribe(Subscriptions::METHODS);
    Ok(mailbox)
}
