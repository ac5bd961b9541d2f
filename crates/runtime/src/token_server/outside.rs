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

    /// Answers every request with these bytes, or with silence; gives the first request to whoever asks.
    async fn receiver(answer: Option<String>) -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (sender, requests) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let (answer, sender) = (answer.clone(), sender.clone());
                tokio::spawn(async move {
                    let mut request = vec![];
                    while !String::from_utf8_lossy(&request).contains("\r\n\r\n") {
                        if socket.read_buf(&mut request).await.unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    // The body comes with the head or right after it.
                    if request.starts_with(b"POST") {
                        while !request.ends_with(b"}") {
                            socket.read_buf(&mut request).await.unwrap();
                        }
                    }
                    let _ = sender.send(String::from_utf8(request).unwrap());
                    match answer {
                        Some(answer) => drop(socket.write_all(answer.as_bytes()).await),
                        None => std::future::pending().await,
                    }
                });
            }
        });
        (url, requests)
    }

    fn answer(head: &str, body: &str) -> Option<String> {
        Some(format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()))
    }

    fn webhook(url: &str, secret: Option<&str>) -> Webhook {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), secret.unwrap_or_default()).unwrap();
        let secret_file = if secret.is_some() { file.path().to_owned() } else { PathBuf::new() };
        let config = WebhookConfig { url: url.into(), secret_file, ca_file: PathBuf::new(), timeout_secs: 1 };
        Webhook::new(&config).unwrap()
    }

    async fn judge(webhook: &Webhook) -> Result<bool, String> {
        let subject = Subject::parse("hub/devices/d1").unwrap();
        let facts = Facts {
            subject: &subject,
            peer: "10.0.0.7:1",
            authorization: Some("Basic abc"),
            api_key: None,
            certificate: Some(b"der"),
        };
        ports::Webhook::judge(webhook, &facts).await
    }

    #[tokio::test]
    async fn the_webhook_is_told_the_facts_and_its_status_is_the_answer() {
        for (head, expected) in [("200 OK", true), ("401 No", false), ("403 No", false), ("404 No", false)] {
            let (url, mut requests) = receiver(answer(head, "")).await;
            assert_eq!(judge(&webhook(&url, Some("Bearer ours\n"))).await, Ok(expected), "{head}");
            let request = requests.recv().await.unwrap();
            assert!(request.to_lowercase().contains("\r\nauthorization: bearer ours\r\n"), "{request}");
            let body: Value = serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap();
            assert_eq!((&body["deviceId"], &body["moduleId"]), (&json!("d1"), &Value::Null));
            assert_eq!((&body["authorization"], &body["certificate"]), (&json!("Basic abc"), &json!("ZGVy")));
        }
    }

    #[tokio::test]
    async fn a_webhook_that_hangs_lies_or_is_gone_is_no_answer() {
        let (silent, _requests) = receiver(None).await;
        assert_eq!(judge(&webhook(&silent, None)).await, Err("no answer within 1 s".into()));
        for head in ["204 Nothing", "302 Moved", "500 Broken", "201 Made"] {
            let (url, _requests) = receiver(answer(head, "")).await;
            assert!(judge(&webhook(&url, None)).await.unwrap_err().contains("answered"), "{head}");
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/secret-path", listener.local_addr().unwrap());
        drop(listener);
        let error = judge(&webhook(&url, None)).await.unwrap_err();
        assert!(!error.contains("secret-path"), "{error}");
    }

    #[tokio::test]
    async fn keys_come_from_a_url_or_a_file_and_are_not_too_large() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let fetch = async |keys: &str| JsonWebKeys::new(keys, Path::new("")).unwrap().fetch().await;
        let (url, _requests) = receiver(answer("200 OK", "{}")).await;
        assert_eq!(fetch(&url).await, Ok(b"{}".to_vec()));
        let (url, _requests) = receiver(answer("404 No", "{}")).await;
        assert!(fetch(&url).await.unwrap_err().contains("404"));
        let (url, _requests) = receiver(answer("200 OK", &"x".repeat(KEYS_BYTES_MAX + 1))).await;
        assert!(fetch(&url).await.unwrap_err().contains("more than"));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{}").unwrap();
        assert_eq!(fetch(file.path().to_str().unwrap()).await, Ok(b"{}".to_vec()));
        assert!(JsonWebKeys::new("no such file", Path::new("")).is_err());
    }
}
