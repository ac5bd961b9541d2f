//! The REST API as a service uses it; every answer is returned, also refusals.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use gantry_identity::{Key, Signer, Timestamp};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::{PATIENCE, Platform};

/// The wall clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Status and body of an answer.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Header `iothub-errorcode`.
    pub error_code: Option<String>,
    /// The body: JSON, or its text.
    pub body: Value,
}

/// Calls with the owner's policy.
#[derive(Clone)]
pub struct Service {
    http: reqwest::Client,
    url: String,
    signer: Signer,
}

impl Service {
    pub(crate) fn new(platform: &Platform) -> anyhow::Result<Self> {
        // reqwest takes the provider of the process; a second test installs it in vain.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let connection = platform.connection()?;
        let text = connection.get("IOTHUB_CONNECTION_STRING").context("IOTHUB_CONNECTION_STRING")?;
        let parts: HashMap<_, _> = text.split(';').filter_map(|part| part.split_once('=')).collect();
        let part = |name: &str| parts.get(name).copied().with_context(|| format!("no {name}"));
        let signer = Signer {
            resource: part("HostName")?.to_owned(),
            key: Key::from_base64(part("SharedAccessKey")?)?,
            policy: Some(part("SharedAccessKeyName")?.to_owned()),
        };
        let ca = reqwest::Certificate::from_pem(&platform.ca()?)?;
        let http = reqwest::Client::builder().tls_certs_only([ca]).timeout(PATIENCE).build()?;
        Ok(Self { http, url: format!("https://localhost:{}", platform.https_port()), signer })
    }

    /// A token for the whole hub.
    pub fn token(&self) -> String {
        self.signer.token(now().plus(Duration::from_secs(3600)))
    }

    /// Calls and returns whatever is answered. `If-Match: *` is sent along.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn call(&self, method: Method, path: &str, body: impl Into<reqwest::Body>) -> anyhow::Result<Answer> {
        self.send(self.request(method, path).header("If-Match", "*").body(body)).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let separator = if path.contains('?') { '&' } else { '?' };
        let request = self.http.request(method, format!("{}{path}{separator}api-version=2021-04-12", self.url));
        request.header("Authorization", self.token()).header("Content-Type", "application/json")
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Answer> {
        let response = request.send().await?;
        let status = response.status().as_u16();
        let error_code = response.headers().get("iothub-errorcode").and_then(|v| v.to_str().ok()).map(str::to_owned);
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { status, error_code, body })
    }

    /// Creates a device with a key.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn create_device(&self, id: &str, key: &Key) -> anyhow::Result<Answer> {
        let body = device_body(id, key, "enabled");
        self.send(self.request(Method::PUT, &format!("/devices/{id}")).body(body)).await
    }

    /// Replaces key and status of a device.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn update_device(&self, id: &str, key: &Key, status: &str) -> anyhow::Result<Answer> {
        self.call(Method::PUT, &format!("/devices/{id}"), device_body(id, key, status)).await
    }

    /// The twin of a device.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn twin(&self, id: &str) -> anyhow::Result<Answer> {
        self.call(Method::GET, &format!("/twins/{id}"), "").await
    }
}

fn device_body(id: &str, key: &Key, status: &str) -> String {
    let keys = json!({ "primaryKey": key.to_base64(), "secondaryKey": key.to_base64() });
    let authentication = json!({ "type": "sas", "symmetricKey": keys });
    json!({ "deviceId": id, "status": status, "authentication": authentication }).to_string()
}
