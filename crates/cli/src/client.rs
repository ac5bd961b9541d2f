//! A client of the platform's public API, from its `connection.env`.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use gantry_identity::{Key, Signer, encode_component};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;
use tokio::sync::Mutex;

/// How long one call may take; methods may take longer.
const TIMEOUT: Duration = Duration::from_secs(320);
/// How long a token is good.
const TOKEN_LIFE: Duration = Duration::from_secs(3600);
const API_VERSION: &str = "2021-04-12";
/// That of the provisioning service.
const DPS_API_VERSION: &str = "2021-10-01";

/// What `connection.env` says.
#[derive(Clone, Debug)]
pub struct Connection {
    values: HashMap<String, String>,
}

/// One of the connection strings, in parts.
pub struct Credentials {
    /// Host of the resource a token covers.
    pub host: String,
    /// Policy name.
    pub policy: String,
    /// Its key.
    pub key: Key,
}

impl Credentials {
    /// Reads a connection string that is called `name`.
    ///
    /// # Errors
    /// When a part is missing; names it.
    pub fn parse(name: &str, text: &str) -> anyhow::Result<Self> {
        let parts: HashMap<_, _> = text.trim().split(';').filter_map(|part| part.split_once('=')).collect();
        let part = |key: &str| parts.get(key).with_context(|| format!("{name} has no {key}"));
        Ok(Self {
            host: (*part("HostName")?).to_owned(),
            policy: (*part("SharedAccessKeyName")?).to_owned(),
            key: Key::from_base64(part("SharedAccessKey")?)?,
        })
    }
}

impl Connection {
    /// Reads the file in a data folder.
    ///
    /// # Errors
    /// When it is not there: the platform never ran with this folder.
    pub fn read(data_folder: &Path) -> anyhow::Result<Self> {
        let path = data_folder.join("connection.env");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}; has `gantry serve` run with this --data?", path.display()))?;
        let assignment = |line: &str| {
            let (name, value) = line.split_once('=')?;
            Some((name.to_owned(), value.trim_matches('\'').replace(r"'\''", "'")))
        };
        Ok(Self { values: text.lines().filter(|line| !line.starts_with('#')).filter_map(assignment).collect() })
    }

    /// The same from variables of the environment, where they name an application or a hub.
    pub fn of_environment() -> Option<Self> {
        let names =
            ["IOTCENTRAL_URL", "IOTCENTRAL_API_TOKEN", "IOTHUB_CONNECTION_STRING", "GANTRY_URL", "GANTRY_CA_FILE"];
        let variable = |name: &str| Some((name.to_owned(), std::env::var(name).ok().filter(|text| !text.is_empty())?));
        let values: HashMap<_, _> = names.into_iter().filter_map(variable).collect();
        let is_named = ["IOTCENTRAL_URL", "IOTHUB_CONNECTION_STRING"].iter().any(|name| values.contains_key(*name));
        is_named.then_some(Self { values })
    }

    /// One variable.
    ///
    /// # Errors
    /// Names it when it is missing.
    pub fn get(&self, name: &str) -> anyhow::Result<&str> {
        self.values.get(name).map(String::as_str).with_context(|| format!("connection.env has no {name}"))
    }

    /// The parts of a connection string.
    ///
    /// # Errors
    /// When a part is missing.
    pub fn credentials(&self, name: &str) -> anyhow::Result<Credentials> {
        Credentials::parse(name, self.get(name)?)
    }

    /// The certificate of the private CA, PEM.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn ca(&self) -> anyhow::Result<Vec<u8>> {
        let path = self.get("GANTRY_CA_FILE")?;
        std::fs::read(path).with_context(|| format!("reading {path}"))
    }
}

/// Calls the API.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    connection: Connection,
    /// Tokens of the directory by resource, and since when.
    tokens: Arc<Mutex<HashMap<&'static str, (String, Instant)>>>,
}

/// How long a token of the directory is used, which lives an hour.
const DIRECTORY_TOKEN_KEPT: Duration = Duration::from_secs(3000);

/// What a token for a call is for.
fn resource(path: &str, credentials: &str) -> &'static str {
    if credentials == "PROVISIONING_CONNECTION_STRING" {
        "https://azure-devices-provisioning.net"
    } else if path.starts_with("/platform/") || path.starts_with("/subscriptions/") {
        "https://management.azure.com"
    } else if path.starts_with("/v1/rest/") || path.starts_with("/v2/rest/") {
        "https://kusto.kusto.windows.net"
    } else {
        "https://iothubs.azure.net"
    }
}

impl Client {
    /// A client for the platform of a data folder.
    ///
    /// # Errors
    /// When the folder does not say how to connect.
    pub fn new(data_folder: &Path) -> anyhow::Result<Self> {
        let connection = Connection::read(data_folder)?;
        let ca = reqwest::Certificate::from_pem(&connection.ca()?)?;
        let http = reqwest::Client::builder().tls_certs_only([ca]).connect_timeout(Duration::from_secs(10)).build()?;
        Ok(Self { http, url: connection.get("GANTRY_URL")?.to_owned(), connection, tokens: Arc::default() })
    }

    /// What `connection.env` says.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    async fn request(&self, method: Method, path: &str, credentials: &str) -> anyhow::Result<RequestBuilder> {
        let api_version = match credentials {
            "PROVISIONING_CONNECTION_STRING" => DPS_API_VERSION,
            _ => API_VERSION,
        };
        let separator = if path.contains('?') { '&' } else { '?' };
        let url = format!("{}{path}{separator}api-version={api_version}", self.url);
        let token = match self.directory_token(resource(path, credentials)).await {
            Some(token) => format!("Bearer {token}"),
            None => {
                let Credentials { host, policy, key } = self.connection.credentials(credentials)?;
                let signer = Signer { resource: host, key, policy: Some(policy) };
                signer.token(gantry_gateway::now().plus(TOKEN_LIFE))
            }
        };
        Ok(self.http.request(method, url).header("Authorization", token))
    }

    /// A token of the platform's directory, when `connection.env` has a program that gets one.
    async fn directory_token(&self, resource: &'static str) -> Option<String> {
        let value = |name| self.connection.get(name).ok().filter(|value| !value.is_empty());
        let (authority, tenant) = (value("AZURE_AUTHORITY_HOST")?, value("AZURE_TENANT_ID")?);
        let (id, secret) = (value("AZURE_CLIENT_ID")?, value("AZURE_CLIENT_SECRET")?);
        let mut tokens = self.tokens.lock().await;
        if let Some((token, at)) = tokens.get(resource)
            && at.elapsed() < DIRECTORY_TOKEN_KEPT
        {
            return Some(token.clone());
        }
        let scope = format!("{resource}/.default");
        let form =
            [("grant_type", "client_credentials"), ("client_id", id), ("client_secret", secret), ("scope", &scope)];
        let form: Vec<_> = form.iter().map(|(name, value)| format!("{name}={}", encode_component(value))).collect();
        let request = self.http.post(format!("{authority}/{tenant}/oauth2/v2.0/token")).timeout(TIMEOUT);
        let request = request.header("Content-Type", "application/x-www-form-urlencoded").body(form.join("&"));
        let answer: Value = request.send().await.ok()?.json().await.ok()?;
        let token = answer["access_token"].as_str()?.to_owned();
        tokens.insert(resource, (token.clone(), Instant::now()));
        Some(token)
    }

    /// A call to the hub or the platform API.
    ///
    /// # Errors
    /// The server's own words, or what kept it from being reached.
    pub async fn hub(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        self.call(self.request(method, path, "IOTHUB_CONNECTION_STRING").await?, body).await
    }

    /// A call to the provisioning service.
    ///
    /// # Errors
    /// As [`hub`](Self::hub).
    pub async fn dps(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        self.call(self.request(method, path, "PROVISIONING_CONNECTION_STRING").await?, body).await
    }

    /// A call with `If-Match: *`.
    ///
    /// # Errors
    /// As [`hub`](Self::hub).
    pub async fn hub_any(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        self.hub_if(method, path, body, "*").await
    }

    /// A call with an `If-Match`.
    ///
    /// # Errors
    /// As [`hub`](Self::hub).
    pub async fn hub_if(&self, method: Method, path: &str, body: Option<&Value>, tag: &str) -> anyhow::Result<Value> {
        let request = self.request(method, path, "IOTHUB_CONNECTION_STRING").await?.header("If-Match", tag);
        self.call(request, body).await
    }

    async fn call(&self, request: RequestBuilder, body: Option<&Value>) -> anyhow::Result<Value> {
        let request = request.timeout(TIMEOUT);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let response = check(request.send().await.map_err(explain)?).await?;
        let bytes = response.bytes().await?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        // A device may answer a method with anything.
        let what = || format!("the answer is not JSON: {}", String::from_utf8_lossy(&bytes));
        serde_json::from_slice(&bytes).with_context(what)
    }

    /// Opens a stream of server-sent events.
    ///
    /// # Errors
    /// As [`hub`](Self::hub).
    pub async fn events(&self, path: &str) -> anyhow::Result<EventStream> {
        let request = self.request(Method::GET, path, "IOTHUB_CONNECTION_STRING").await?;
        let response = check(request.header("Accept", "text/event-stream").send().await.map_err(explain)?).await?;
        Ok(EventStream { response, buffer: String::new() })
    }
}

fn explain(error: reqwest::Error) -> anyhow::Error {
    if error.is_connect() {
        return anyhow!(error).context("cannot reach the platform; is `gantry serve` running?");
    }
    error.into()
}

/// What a body says of why something is refused.
pub fn words(body: &Value) -> Option<&str> {
    // Kusto says what is wrong in a member of its own.
    let told = body["error"]["@message"].as_str().or(body["error"]["message"].as_str());
    ["Message", "message"].iter().find_map(|key| body[*key].as_str()).or(told)
}

/// The answer, or the server's own words for why not.
async fn check(response: Response) -> anyhow::Result<Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let text = response.text().await.unwrap_or_default();
    let body: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    let words = words(&body).unwrap_or(&text);
    // Direct methods put a JSON text into `Message`.
    let inner: Value = serde_json::from_str(words).unwrap_or(Value::Null);
    bail!("{status}: {}", inner["message"].as_str().unwrap_or(words));
}

/// Server-sent events as they arrive.
pub struct EventStream {
    response: Response,
    buffer: String,
}

impl EventStream {
    /// The next event: its name and data. `None` when the server ends the stream.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn next(&mut self) -> anyhow::Result<Option<(String, Value)>> {
        loop {
            if let Some(end) = self.buffer.find("\n\n") {
                let block: String = self.buffer.drain(..end + 2).collect();
                let field = |name: &str| {
                    let lines = block.lines().filter_map(move |line| line.strip_prefix(name)?.strip_prefix(':'));
                    lines.map(str::trim_start).collect::<Vec<_>>().join("\n")
                };
                let (name, data) = (field("event"), field("data"));
                if !data.is_empty() {
                    return Ok(Some((name, serde_json::from_str(&data)?)));
                }
                continue;
            }
            match self.response.chunk().await? {
                Some(chunk) => self.buffer.push_str(&String::from_utf8_lossy(&chunk)),
                None => return Ok(None),
            }
        }
    }
}
