//! Where exports of the application send messages one after the other: webhooks, event hubs, queues and topics, tables
//! of Data Explorer. Files are the caller's.
//!
//! Event hubs, queues and topics are reached over their REST API ("Send batch events", "Send message batch"), tables
//! over streaming ingestion. What a receiver will never take is told apart from what it may take later; somebody who is
//! not let in may be let in later, so that is worth another attempt.

use std::borrow::Cow;

use gantry_central::exports::destinations::{
    Customization, Customizations, EntityAuthorization, RequestType, TableAuthorization, Target, WebhookAuthorization,
};
use gantry_central::exports::health::Fault;
use gantry_central::secrets::ConnectionString;
use gantry_hub::delivery::DeliveryError;
use gantry_identity::{Key, Signer, Timestamp};
use reqwest::header::{self, HeaderName, HeaderValue};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use url::Url;

use crate::unanswered;

/// Bytes of a batch to an event hub, queue or topic, quotes of JSON included (256 KB are allowed).
const ENTITY_BATCH_BYTES_MAX: usize = 200 << 10;
/// Bytes of a batch to a table (4 MB are allowed).
const TABLE_BATCH_BYTES_MAX: usize = 3 << 20;
/// How long a token of a policy is good.
const TOKEN_LIFE_MS: i64 = 3_600_000;
/// A token is not used so shortly before it ends.
const TOKEN_REST_MS: i64 = 60_000;
/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// A message on its way.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// JSON.
    pub body: String,
    /// Properties beside it, where the receiver has such.
    pub properties: Vec<(&'static str, String)>,
}

/// Why a batch did not arrive.
#[derive(Clone, Debug)]
pub struct NotSent {
    /// Whether another attempt may help.
    pub error: DeliveryError,
    /// In the words of an export's status.
    pub fault: Fault,
}

impl NotSent {
    fn new(error: DeliveryError, code: &'static str) -> Self {
        let message = error.to_string();
        Self { error, fault: Fault { code, message } }
    }

    /// A receiver that cannot be reached, or not as it is configured.
    pub fn unreachable(error: DeliveryError) -> Self {
        Self::new(error, "Unreachable")
    }
}

/// A receiver.
pub struct Receiver {
    client: Client,
    way: Way,
    token: Option<(HeaderValue, Timestamp)>,
}

enum Way {
    Webhook { url: Url, headers: Vec<(HeaderName, HeaderValue)>, authorization: Option<WebhookAuthorization> },
    Entity { url: Url, signer: Signer },
    Table { url: Url, cluster: Url, authorization: TableAuthorization },
}

impl Receiver {
    /// With a client of [`client`](crate::client).
    ///
    /// # Errors
    /// Says in words, without secrets, why it cannot be used; a container of blobs is none.
    pub fn new(client: Client, target: &Target) -> Result<Self, String> {
        let way = match target {
            Target::BlobStorage { .. } => return Err("files are not sent as messages".into()),
            Target::EventHubs { authorization }
            | Target::ServiceBusQueue { authorization }
            | Target::ServiceBusTopic { authorization } => entity(authorization)?,
            Target::DataExplorer { cluster_url, database, table, authorization } => {
                let cluster = Url::parse(cluster_url).map_err(|_| "`clusterUrl` is no URL")?;
                let mut url = cluster.clone();
                let mut path = url.path_segments_mut().map_err(|()| "`clusterUrl` is no URL")?;
                path.pop_if_empty().extend(["v1", "rest", "ingest", database, table]);
                drop(path);
                url.query_pairs_mut().append_pair("streamFormat", "MultiJSON");
                Way::Table { url, cluster, authorization: authorization.clone() }
            }
            Target::Webhook { url, query_customizations, header_customizations, authorization } => {
                let mut url = Url::parse(url).map_err(|_| "`url` is no URL")?;
                if !query_customizations.is_empty() {
                    url.query_pairs_mut().extend_pairs(revealed(query_customizations));
                }
                let headers = revealed(header_customizations).map(|(name, value)| {
                    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is no header"))?;
                    let mut value =
                        HeaderValue::from_str(value).map_err(|_| format!("`{name}` has a value no header has"))?;
                    value.set_sensitive(true);
                    Ok::<_, String>((name, value))
                });
                let headers = headers.collect::<Result<_, _>>()?;
                Way::Webhook { url, headers, authorization: authorization.clone() }
            }
        };
        Ok(Self { client, way, token: None })
    }

    /// How many messages of a queue, which is not empty, are sent at once.
    pub fn batch(&self, queue: &[Outgoing]) -> usize {
        let most = match &self.way {
            Way::Webhook { .. } => return 1,
            Way::Entity { .. } => ENTITY_BATCH_BYTES_MAX,
            Way::Table { .. } => TABLE_BATCH_BYTES_MAX,
        };
        let mut bytes = 0;
        let fits = |one: &&Outgoing| {
            let properties: usize = one.properties.iter().map(|(name, value)| name.len() + value.len() + 8).sum();
            // Quotes in a body are escaped.
            bytes += one.body.len() * 2 + properties + 64;
            bytes <= most
        };
        queue.iter().take_while(fits).count().max(1)
    }

    /// Sends a batch.
    ///
    /// # Errors
    /// [`NotSent`].
    pub async fn send(&mut self, now: Timestamp, batch: &[Outgoing]) -> Result<(), NotSent> {
        let authorization = self.authorization(now).await?;
        let mut request = match &self.way {
            Way::Webhook { url, headers, .. } => {
                let mut request = self.client.post(url.clone()).header(header::CONTENT_TYPE, "application/json");
                for (name, value) in headers {
                    request = request.header(name, value);
                }
                request.body(batch.first().map_or_else(String::new, |one| one.body.clone()))
            }
            Way::Entity { url, .. } => {
                let one = |one: &Outgoing| {
                    let properties: serde_json::Map<_, _> = one
                        .properties
                        .iter()
                        .map(|(name, value)| ((*name).to_owned(), value.as_str().into()))
                        .collect();
                    json!({
                        "Body": one.body,
                        "BrokerProperties": { "ContentType": "application/json" },
                        "UserProperties": properties,
                    })
                };
                let body: Value = batch.iter().map(one).collect();
                let kind = "application/vnd.microsoft.servicebus.json";
                self.client.post(url.clone()).header(header::CONTENT_TYPE, kind).body(body.to_string())
            }
            Way::Table { url, .. } => {
                let lines: Vec<_> = batch.iter().map(|one| one.body.as_str()).collect();
                self.client.post(url.clone()).header(header::CONTENT_TYPE, "application/json").body(lines.join("\n"))
            }
        };
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        // What a receiver says beside its status is nothing to us, and may never end.
        let answer = self.answered(request).await.map(drop);
        if matches!(answer, Err(Refused { status: Some(StatusCode::UNAUTHORIZED), .. })) {
            self.token = None;
        }
        answer.map_err(Refused::not_sent)
    }

    async fn authorization(&mut self, now: Timestamp) -> Result<Option<HeaderValue>, NotSent> {
        if let Some((value, until)) = &self.token
            && now.as_millis() < until.as_millis() - TOKEN_REST_MS
        {
            return Ok(Some(value.clone()));
        }
        let (text, life_ms) = match &self.way {
            Way::Webhook { authorization: None, .. } => return Ok(None),
            Way::Webhook { authorization: Some(WebhookAuthorization::Header { value }), .. } => {
                (value.reveal().to_owned(), i64::MAX)
            }
            Way::Webhook { authorization: Some(WebhookAuthorization::OAuth { .. }), .. } => self.oauth().await?,
            Way::Entity { signer, .. } => {
                let until = Timestamp::from_millis(now.as_millis() + TOKEN_LIFE_MS);
                (signer.token(until), TOKEN_LIFE_MS)
            }
            Way::Table { cluster, authorization, .. } => self.of_cluster(cluster, authorization).await?,
        };
        let wrong = || NotSent::unreachable(DeliveryError::Never("what lets it in is no header".into()));
        let mut value = HeaderValue::from_str(&text).map_err(|_| wrong())?;
        value.set_sensitive(true);
        self.token = Some((value.clone(), Timestamp::from_millis(now.as_millis().saturating_add(life_ms))));
        Ok(Some(value))
    }

    /// A token of OAuth 2.0, for client credentials.
    async fn oauth(&self) -> Result<(String, i64), NotSent> {
        let Way::Webhook {
            authorization:
                Some(WebhookAuthorization::OAuth { token_url, client_id, client_secret, audience, scope, request_type }),
            ..
        } = &self.way
        else {
            return Err(NotSent::unreachable(DeliveryError::Never("it asks for no token".into())));
        };
        let mut fields = vec![
            ("grant_type", "client_credentials"),
            ("client_id", client_id.as_str()),
            ("client_secret", client_secret.reveal()),
        ];
        fields.extend(audience.as_deref().map(|audience| ("audience", audience)));
        fields.extend(scope.as_deref().map(|scope| ("scope", scope)));
        let as_json = || {
            let body: serde_json::Map<_, _> =
                fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
            self.client.post(token_url).json(&Value::Object(body))
        };
        let as_form = || form(self.client.post(token_url), &fields);
        let answer = match request_type.unwrap_or(RequestType::Auto) {
            RequestType::Json => self.ask(as_json()).await,
            RequestType::UrlEncoded => self.ask(as_form()).await,
            RequestType::Auto => match self.ask(as_form()).await {
                Err(refused) if refused.is_about_the_request() => self.ask(as_json()).await,
                other => other,
            },
        };
        token(answer.map_err(Refused::of_token)?)
    }

    /// A token for a cluster, from the directory it names.
    async fn of_cluster(&self, cluster: &Url, authorization: &TableAuthorization) -> Result<(String, i64), NotSent> {
        let never = |words: &str| NotSent::unreachable(DeliveryError::Never(words.to_owned()));
        let TableAuthorization::ServicePrincipal { client_id, tenant_id, client_secret } = authorization else {
            return Err(never(IDENTITY));
        };
        let mut about = cluster.clone();
        about.set_path("v1/rest/auth/metadata");
        let answer = self.ask(self.client.get(about)).await.map_err(Refused::of_token)?;
        let directory = answer.get("AzureAD").filter(|directory| !directory.is_null());
        let text = |name: &str| directory.and_then(|directory| directory.get(name)).and_then(Value::as_str);
        let login = text("LoginEndpoint").and_then(|text| Url::parse(text).ok());
        let mut login = login
            .filter(|url| url.scheme() == "https" || cluster.scheme() == "http")
            .ok_or_else(|| never("the cluster names no directory, so it takes no tokens of service principals"))?;
        let resource = text("KustoServiceResourceId").unwrap_or(cluster.as_str()).trim_end_matches('/').to_owned();
        login.path_segments_mut().map_err(|()| never("the directory has no address"))?.pop_if_empty().extend([
            tenant_id.as_str(),
            "oauth2",
            "v2.0",
            "token",
        ]);
        let scope = format!("{resource}/.default");
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", client_id),
            ("client_secret", client_secret.reveal()),
            ("scope", &scope),
        ];
        let answer = self.ask(form(self.client.post(login), &fields)).await.map_err(Refused::of_token)?;
        token(answer)
    }

    /// What a server answers, as JSON where it is.
    async fn ask(&self, request: RequestBuilder) -> Result<Value, Refused> {
        let failed = |error| Refused { status: None, error: unanswered(error) };
        let mut response = self.answered(request).await?;
        let mut answer = vec![];
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if answer.len() + chunk.len() > ANSWER_BYTES_MAX {
                break;
            }
            answer.extend_from_slice(&chunk);
        }
        Ok(serde_json::from_slice(&answer).unwrap_or_default())
    }

    /// The answer of a server that takes a request.
    async fn answered(&self, request: RequestBuilder) -> Result<reqwest::Response, Refused> {
        let failed = |error| Refused { status: None, error: unanswered(error) };
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let words = format!("the receiver answered {status}");
        let is_final = matches!(status.as_u16(), 400 | 413 | 415 | 422);
        let error = if is_final { DeliveryError::Never(words) } else { DeliveryError::Again(words) };
        Err(Refused { status: Some(status), error })
    }
}

const IDENTITY: &str = "managed identities are not implemented";

struct Refused {
    status: Option<StatusCode>,
    error: DeliveryError,
}

impl Refused {
    fn is_about_the_request(&self) -> bool {
        self.status.is_some_and(|status| status.is_client_error())
    }

    fn not_sent(self) -> NotSent {
        NotSent::new(self.error, if self.status.is_some() { "InvalidResponse" } else { "Unreachable" })
    }

    /// Without a token nothing is sent, and what waits is not at fault.
    fn of_token(self) -> NotSent {
        let words = format!("no token was given: {}", self.error);
        NotSent::new(DeliveryError::Again(words), "Unauthorized")
    }
}

fn form(request: RequestBuilder, fields: &[(&str, &str)]) -> RequestBuilder {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(body)
}

fn revealed(all: &Customizations) -> impl Iterator<Item = (&str, &str)> {
    all.iter().map(|(name, one)| match one {
        Customization::Open(text) => (name.as_str(), text.as_str()),
        Customization::Secret(secret) => (name.as_str(), secret.reveal()),
    })
}

fn entity(authorization: &EntityAuthorization) -> Result<Way, String> {
    let EntityAuthorization::ConnectionString { connection_string } = authorization else {
        return Err(IDENTITY.into());
    };
    let needed = |name: &'static str| needed(connection_string, name);
    let endpoint = needed("Endpoint")?;
    let (scheme, host) = endpoint.split_once("://").unwrap_or(("sb", &endpoint));
    let host = host.trim_end_matches('/');
    // An emulator may have no certificate.
    let scheme = if scheme == "http" { "http" } else { "https" };
    let entity = needed("EntityPath")?;
    let key = Key::from_base64(&needed("SharedAccessKey")?).map_err(|error| format!("`SharedAccessKey`: {error}"))?;
    let mut url = Url::parse(&format!("{scheme}://{host}/")).map_err(|_| "`Endpoint` names no host")?;
    url.path_segments_mut()
        .map_err(|()| "`Endpoint` names no host")?
        .pop_if_empty()
        .extend(entity.split('/').chain(["messages"]));
    let policy = Some(needed("SharedAccessKeyName")?.into_owned());
    let signer = Signer { resource: format!("https://{host}/{entity}").to_lowercase(), key: key.as_text(), policy };
    Ok(Way::Entity { url, signer })
}

fn needed<'a>(connection_string: &'a ConnectionString, name: &str) -> Result<Cow<'a, str>, String> {
    let value = connection_string.value(name).filter(|value| !value.is_empty());
    value.map(Cow::Borrowed).ok_or_else(|| format!("the connection string has no `{name}`"))
}

/// The header that an answer of a token endpoint makes, and how long it is good, in milliseconds.
fn token(answer: Value) -> Result<(String, i64), NotSent> {
    let text = answer.get("access_token").and_then(Value::as_str);
    let text = text.ok_or_else(|| {
        NotSent::new(DeliveryError::Again("the token endpoint answered no `access_token`".into()), "Unauthorized")
    })?;
    let life = answer.get("expires_in").and_then(|life| life.as_i64().or_else(|| life.as_str()?.parse().ok()));
    let life = life.unwrap_or(300).clamp(0, 86_400);
    Ok((format!("Bearer {text}"), life * 1_000))
}

#[cfg(test)]
mod tests;
