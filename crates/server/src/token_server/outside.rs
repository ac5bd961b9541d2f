//! What the token server asks others: an operator's webhook, an authorization server's keys.
//!
//! Every call is bounded in time, in size, and in how many run at once; redirects are not followed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::future::BoxFuture;
use gantry_tokens::Subject;
use gantry_tokens::ports::{self, Facts, KeySource};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tracing::warn;

use super::config::WebhookConfig;
use super::read_secret;

/// How long fetching keys may take.
const KEYS_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest key set, bytes.
const KEYS_BYTES_MAX: usize = 256 * 1024;
/// Questions to the webhook at once; more wait, within the time each may take.
const QUESTIONS_MAX: usize = 64;

/// A client that trusts the system's authorities and this one.
fn client(ca_file: &Path) -> anyhow::Result<reqwest::Client> {
    let ca = match ca_file.as_os_str().is_empty() {
        true => None,
        false => Some(std::fs::read(ca_file).with_context(|| format!("reading {}", ca_file.display()))?),
    };
    gantry_endpoints::client(ca.as_deref()).map_err(anyhow::Error::msg)
}

/// https, or http to this machine: what we ask about must not be read on the way.
fn check_url(text: &str) -> anyhow::Result<()> {
    let url = url::Url::parse(text).with_context(|| format!("URL `{text}`"))?;
    let is_local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    ensure!(url.scheme() == "https" || (url.scheme() == "http" && is_local), "URL `{text}` is not https");
    Ok(())
}

/// Bytes of hex digits.
///
/// # Errors
/// When there are not exactly as many.
pub fn from_hex<const N: usize>(text: &str) -> anyhow::Result<[u8; N]> {
    let digits = text.as_bytes();
    ensure!(digits.len() == 2 * N && digits.iter().all(u8::is_ascii_hexdigit), "must be {} hex digits", 2 * N);
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair)?, 16)?;
    }
    Ok(bytes)
}

/// Asks an operator's URL.
pub struct Webhook {
    client: reqwest::Client,
    url: String,
    secret: Option<String>,
    timeout: Duration,
    questions: Semaphore,
}

impl Webhook {
    /// From its section.
    ///
    /// # Errors
    /// When the URL or a file cannot be used.
    pub fn new(config: &WebhookConfig) -> anyhow::Result<Self> {
        check_url(&config.url)?;
        let secret = match config.secret_file.as_os_str().is_empty() {
            true => None,
            false => Some(read_secret(&config.secret_file)?),
        };
        Ok(Self {
            client: client(&config.ca_file)?,
            url: config.url.clone(),
            secret,
            timeout: Duration::from_secs(config.timeout_secs),
            questions: Semaphore::new(QUESTIONS_MAX),
        })
    }

    async fn ask(&self, facts: &Facts<'_>) -> Result<bool, String> {
        let _permit = self.questions.acquire().await.map_err(|error| error.to_string())?;
        let mut request = self.client.post(&self.url).json(&document(facts));
        if let Some(secret) = &self.secret {
            request = request.header("Authorization", secret);
        }
        // The body is not read: the status is the answer.
        let answer = request.send().await.map_err(|error| error.without_url().to_string())?;
        match answer.status() {
            StatusCode::OK => Ok(true),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => Ok(false),
            other => Err(format!("answered {other}")),
        }
    }
}

impl ports::Webhook for Webhook {
    fn judge<'a>(&'a self, facts: &'a Facts<'a>) -> BoxFuture<'a, Result<bool, String>> {
        Box::pin(async move {
            let answer = tokio::time::timeout(self.timeout, self.ask(facts)).await;
            answer.unwrap_or_else(|_| Err(format!("no answer within {} s", self.timeout.as_secs())))
        })
    }
}

fn document(facts: &Facts<'_>) -> Value {
    let mut document = json!({
        "resource": facts.subject.to_string(),
        "peer": facts.peer,
        "authorization": facts.authorization,
        "apiKey": facts.api_key,
        "certificate": facts.certificate.map(|der| BASE64.encode(der)),
    });
    let mut put = |name: &str, value: Value| document[name] = value;
    match facts.subject {
        Subject::Identity { host, identity } => {
            put("host", json!(host));
            put("deviceId", json!(identity.device.as_str()));
            put("moduleId", json!(identity.module.as_ref().map(|module| module.as_str())));
        }
        Subject::Registration { scope, id } => {
            put("idScope", json!(scope));
            put("registrationId", json!(id.as_str()));
        }
    }
    document
}

/// The public keys of an authorization server.
pub enum JsonWebKeys {
    /// Behind a URL.
    Url(reqwest::Client, String),
    /// In a file.
    File(PathBuf),
}

impl JsonWebKeys {
    /// A URL or a file.
    ///
    /// # Errors
    /// When it is a URL that cannot be used, or no file.
    pub fn new(keys: &str, ca_file: &Path) -> anyhow::Result<Self> {
        if keys.contains("://") {
            check_url(keys)?;
            return Ok(Self::Url(client(ca_file)?, keys.to_owned()));
        }
        let path = PathBuf::from(keys);
        if !path.is_file() {
            bail!("keys: `{keys}` is neither a URL nor a file");
        }
        Ok(Self::File(path))
    }

    async fn get(&self) -> Result<Vec<u8>, String> {
        match self {
            Self::File(path) => tokio::fs::read(path).await.map_err(|error| format!("{}: {error}", path.display())),
            Self::Url(client, url) => {
                let answer = client.get(url).timeout(KEYS_TIMEOUT).send().await;
                let answer = answer.map_err(|error| error.without_url().to_string())?;
                if answer.status() != StatusCode::OK {
                    return Err(format!("answered {}", answer.status()));
                }
                body(answer).await
            }
        }
    }
}

/// The body, as long as it is not too large.
async fn body(mut answer: Response) -> Result<Vec<u8>, String> {
    let mut bytes = vec![];
    while let Some(part) = answer.chunk().await.map_err(|error| error.without_url().to_string())? {
        if bytes.len() + part.len() > KEYS_BYTES_MAX {
            return Err(format!("more than {KEYS_BYTES_MAX} bytes"));
        }
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

impl KeySource for JsonWebKeys {
    fn fetch(&self) -> BoxFuture<'_, Result<Vec<u8>, String>> {
        Box::pin(self.get())
    }

    fn failed(&self, reason: &str) {
        metrics::counter!("gantry_token_keys_failed_total").increment(1);
        warn!(reason, "the authorization server's keys could not be renewed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_read_whole_or_not_at_all() {
        assert_eq!(from_hex::<2>("00fF").unwrap(), [0, 255]);
        for wrong in ["", "00f", "00f00", "00fg", "+0ff", "é00"] {
            assert!(from_hex::<2>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn secrets_go_over_tls_or_stay_here() {
        for (url, good) in [
            ("https://example.com/x", true),
            ("http://localhost:80/x", true),
            ("http://[::1]/x", true),
            ("http://example.com/x", false),
            ("http://localhost.example.com/x", false),
            ("ftp://localhost/x", false),
            ("nonsense", false),
        ] {
            assert_eq!(check_url(url).is_ok(), good, "{url}");
        }
    }
}
