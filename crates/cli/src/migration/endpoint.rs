//! Calls of a migration: one side of it over HTTPS, patient with a service that asks for patience.
//!
//! What a service refuses is an answer like any other; an error is what kept it from being asked. A call that is
//! answered with 429 or 503 is made again, after the time the service names or one that doubles. A page is asked of
//! the endpoint alone, whatever address a link has, so that nobody else is shown its token.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use gantry_identity::Signer;
use rand::Rng as _;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;

use crate::client::{Credentials, words};

/// How long one call may take.
const TIMEOUT: Duration = Duration::from_secs(120);
/// How long a signed token is good.
const TOKEN_LIFE: Duration = Duration::from_secs(3600);
/// How often a call is made that is answered with 429 or 503.
const ATTEMPTS_MAX: u32 = 12;
/// The longest wait between two attempts.
const WAIT_MAX: Duration = Duration::from_secs(120);
/// Bytes of one answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Pages of one list.
const PAGES_MAX: usize = 100_000;
/// Version of the hub's API.
const HUB_VERSION: &str = "2021-04-12";
/// Version of the application's API: the last, which has dashboards, deployment manifests and types of devices.
const CENTRAL_VERSION: &str = "2022-10-31-preview";

/// How calls prove themselves. Never printed.
enum Proof {
    /// A token of an application.
    Token(String),
    /// A policy of a hub.
    Policy(Credentials),
}

/// One side of a migration.
pub(super) struct Endpoint {
    http: reqwest::Client,
    url: String,
    proof: Proof,
}

/// What a service answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl Answer {
    /// The body, or the service's words for why not.
    pub(super) fn done(self) -> Result<Value, String> {
        if self.status.is_success() { Ok(self.body) } else { Err(self.words()) }
    }

    /// The status, and what a service says of it.
    pub(super) fn words(&self) -> String {
        format!("{}: {}", self.status.as_u16(), words(&self.body).unwrap_or("no more was said"))
    }
}

impl Endpoint {
    /// An application.
    ///
    /// # Errors
    /// When the address is not one of HTTPS.
    pub(super) fn central(url: &str, token: String, trust: &Trust) -> anyhow::Result<Self> {
        ensure!(url.starts_with("https://"), "{url} does not begin with https://");
        let token = token.trim().to_owned();
        ensure!(!token.is_empty(), "the token is empty");
        Ok(Self { http: trust.http()?, url: url.trim_end_matches('/').to_owned(), proof: Proof::Token(token) })
    }

    /// A hub.
    ///
    /// # Errors
    /// When there can be no client.
    pub(super) fn hub(url: Option<&str>, credentials: Credentials, trust: &Trust) -> anyhow::Result<Self> {
        let url = url.map_or_else(|| format!("https://{}", credentials.host), str::to_owned);
        Ok(Self { http: trust.http()?, url, proof: Proof::Policy(credentials) })
    }

    /// What it is called in reports: its address.
    pub(super) fn name(&self) -> &str {
        &self.url
    }

    fn authorization(&self) -> String {
        match &self.proof {
            Proof::Token(token) if token.starts_with("SharedAccessSignature ") || token.starts_with("Bearer ") => {
                token.clone()
            }
            Proof::Token(token) => format!("Bearer {token}"),
            Proof::Policy(Credentials { host, policy, key }) => {
                let signer = Signer { resource: host.clone(), key: key.clone(), policy: Some(policy.clone()) };
                signer.token(gantry_gateway::now().plus(TOKEN_LIFE))
            }
        }
    }

    /// The address of a path, of which the version is not yet said.
    fn address(&self, path: &str) -> String {
        let (base, version) = match self.proof {
            Proof::Token(_) => ("/api/", CENTRAL_VERSION),
            Proof::Policy(_) => ("/", HUB_VERSION),
        };
        let separator = if path.contains('?') { '&' } else { '?' };
        format!("{}{base}{path}{separator}api-version={version}", self.url)
    }

    /// One call.
    ///
    /// # Errors
    /// When the service cannot be reached, asks for patience too often, or answers no JSON.
    pub(super) async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Answer> {
        self.ask_with(method, path, body, &[]).await
    }

    /// The same with headers.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub(super) async fn ask_with(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> anyhow::Result<Answer> {
        self.send(method, &self.address(path), body, headers).await
    }

    async fn send(
        &self,
        method: Method,
        address: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> anyhow::Result<Answer> {
        let mut attempt = 0;
        loop {
            let mut request = self.http.request(method.clone(), address).timeout(TIMEOUT);
            request = request.header("Authorization", self.authorization());
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            if let Some(body) = body {
                request = request.json(body);
            }
            // The address may hold what was asked for, and is not part of the words.
            let response = request.send().await.map_err(reqwest::Error::without_url);
            let response = response.with_context(|| format!("asking {}", self.name()))?;
            let status = response.status();
            attempt += 1;
            let is_busy = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
            if is_busy && attempt < ATTEMPTS_MAX {
                tokio::time::sleep(wait(response.headers(), attempt, rand::rng().random())).await;
                continue;
            }
            if is_busy {
                bail!("{} asked for patience {attempt} times ({status}); run the command again later", self.name());
            }
            return read(response).await.with_context(|| format!("reading what {} answered", self.name()));
        }
    }

    /// Every item of a list of an application, page by page; or the words that refuse it.
    ///
    /// # Errors
    /// As [`ask`](Self::ask), and when a page is no list or a link leads elsewhere.
    pub(super) async fn list(&self, path: &str) -> anyhow::Result<Result<Vec<Value>, String>> {
        let mut address = self.address(&format!("{path}?maxpagesize=100"));
        let mut all = vec![];
        for _ in 0..PAGES_MAX {
            let body = match self.send(Method::GET, &address, None, &[]).await?.done() {
                Ok(body) => body,
                Err(words) => return Ok(Err(words)),
            };
            let Some(items) = body["value"].as_array() else { bail!("`{path}` of {} is no list", self.name()) };
            all.extend(items.iter().cloned());
            match body["nextLink"].as_str() {
                None => return Ok(Ok(all)),
                Some(link) => address = next_page(&self.url, link)?,
            }
        }
        bail!("`{path}` of {} has more than {PAGES_MAX} pages", self.name())
    }
}

/// The address of a next page, which is of the same service.
fn next_page(url: &str, link: &str) -> anyhow::Result<String> {
    let is_here = link.strip_prefix(url).is_some_and(|rest| rest.starts_with('/'));
    ensure!(is_here, "a list goes on outside of {url}, where its token is not shown");
    Ok(link.to_owned())
}

/// How long to wait before another attempt; `drawn` spreads callers.
fn wait(headers: &HeaderMap, attempt: u32, drawn: f64) -> Duration {
    let named = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    let wait = match named {
        Some(seconds) => Duration::from_secs(seconds),
        None => Duration::from_millis(500) * 2_u32.saturating_pow(attempt.min(10)),
    };
    wait.min(WAIT_MAX).mul_f64(1.0 + drawn / 4.0)
}

async fn read(mut response: Response) -> anyhow::Result<Answer> {
    let (status, headers) = (response.status(), response.headers().clone());
    let mut bytes = vec![];
    while let Some(chunk) = response.chunk().await? {
        ensure!(bytes.len() + chunk.len() <= ANSWER_BYTES_MAX, "it has more than {ANSWER_BYTES_MAX} bytes");
        bytes.extend_from_slice(&chunk);
    }
    let body = match serde_json::from_slice(&bytes) {
        _ if bytes.is_empty() => Value::Null,
        Ok(body) => body,
        // A refusal may be a page for people.
        Err(_) if !status.is_success() => Value::Null,
        Err(error) => return Err(error.into()),
    };
    Ok(Answer { status, headers, body })
}

/// Whose certificates are believed.
pub(super) enum Trust {
    /// Those of the system's authorities, and of one more.
    System(Option<Vec<u8>>),
    /// Those of one authority.
    Only(Vec<u8>),
}

impl Trust {
    /// The system's, and what is in a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn system_and(file: Option<&Path>) -> anyhow::Result<Self> {
        let read = |path: &Path| std::fs::read(path).with_context(|| format!("reading {}", path.display()));
        Ok(Self::System(file.map(read).transpose()?))
    }

    fn http(&self) -> anyhow::Result<reqwest::Client> {
        let mut builder = reqwest::Client::builder().connect_timeout(Duration::from_secs(10)).redirect(Policy::none());
        builder = match self {
            Self::System(None) => builder,
            Self::System(Some(pem)) => builder.tls_certs_merge(reqwest::Certificate::from_pem_bundle(pem)?),
            Self::Only(pem) => builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(pem)?),
        };
        Ok(builder.build()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_goes_on_at_its_service_alone() {
        let url = "https://app.example.com";
        assert_eq!(next_page(url, "https://app.example.com/api/x").unwrap(), "https://app.example.com/api/x");
        for link in ["https://app.example.com.evil.org/api", "https://evil.org/", "http://app.example.com/api", "/api"]
        {
            assert!(next_page(url, link).is_err(), "{link}");
        }
    }

    #[test]
    fn a_wait_is_what_the_service_names_or_doubles() {
        let mut headers = HeaderMap::new();
        assert_eq!(wait(&headers, 1, 0.0), Duration::from_secs(1));
        assert_eq!(wait(&headers, 3, 0.0), Duration::from_secs(4));
        assert_eq!(wait(&headers, 40, 0.0), WAIT_MAX);
        headers.insert(RETRY_AFTER, "7".parse().unwrap());
        assert_eq!(wait(&headers, 3, 0.0), Duration::from_secs(7));
        assert_eq!(wait(&headers, 3, 1.0), Duration::from_millis(8750));
        headers.insert(RETRY_AFTER, "86400".parse().unwrap());
        assert_eq!(wait(&headers, 3, 0.0), WAIT_MAX);
        headers.insert(RETRY_AFTER, "Fri, 31 Dec 1999 23:59:59 GMT".parse().unwrap());
        assert_eq!(wait(&headers, 1, 0.0), Duration::from_secs(1));
    }

    #[test]
    fn an_application_is_asked_over_https_alone() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let of = |url: &str, token: &str| Endpoint::central(url, token.to_owned(), &Trust::System(None)).err();
        assert!(of("http://app.example.com", "t").unwrap().to_string().contains("https://"));
        assert!(of("https://app.example.com", " \n").unwrap().to_string().contains("empty"));
    }
}
