//! Queued ingestion: data as blobs, what is to be done with it as messages of a queue.
//!
//! Clients ask where to put things (`.get ingestion resources`): a container for data, a queue for messages, two queues
//! in which they hear what became of it. Queues speak the protocol of Azure Queue Storage, as far as these clients do,
//! and are opened by signatures of our own account. A message is a blob of ours under a name that orders it: it is
//! durable before it is answered, and gone when its data is in the table; should the process end between the two, the
//! data is known by the message's id and does not come in twice.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures::TryStreamExt as _;
use gantry_analytics::{Ask, By, Cancel, Limits, Rejected, Warehouse};
use gantry_blobs::conditions::Conditions;
use gantry_blobs::ports::BlobAddress;
use gantry_blobs::{
    BlobError, BlobName, Blobs, ContainerName, Grant, ListQuery, Listed, Place, SasParameters, SasSigner, Target,
    verify_sas,
};
use gantry_kql::value::Value;
use serde_json::{Value as Json, json};
use tokio::sync::Notify;

use super::now;

/// Where clients put data.
const DATA: &str = "ingest-data";
/// What is to be done with it.
const WAITING: &str = "ingest-queue";
/// What came in.
const SUCCEEDED: &str = "ingest-succeeded";
/// What did not.
const FAILED: &str = "ingest-failed";

/// How long what clients are told holds.
const LIFE: Duration = Duration::from_secs(24 * 3600);
/// How long data and outcomes are kept that nobody takes away.
const KEPT_MILLIS: i64 = 7 * 24 * 3_600_000;
/// Bytes of a message: the service's limit.
const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// Bytes of one piece of data.
const DATA_BYTES_MAX: usize = 1 << 30;
/// Messages of one answer: the service's limit.
const MESSAGES_MAX: usize = 32;
/// Messages that wait; more are refused. Not more than one listing tells.
const WAITING_MAX: usize = 5_000;
/// How often a message is tried.
const ATTEMPTS_MAX: u32 = 5;
/// How often the queue is looked at when nobody says there is something in it.
const LOOK_PERIOD: Duration = Duration::from_secs(5);
/// What a proof of identity is signed with: nothing else that the key signs begins so.
const PROOF: &[u8] = b"ingestion identity\n";
/// How long a message that was received is nobody else's, unless the client says.
const HIDDEN: i64 = 30_000;

/// The queues of a platform.
pub struct Queues {
    blobs: Arc<Blobs>,
    wake: Notify,
    /// Messages that somebody received, until when, and under which receipt.
    hidden: Mutex<HashMap<String, (i64, String)>>,
}

impl Queues {
    /// Queues kept in a store of blobs.
    pub fn new(blobs: Arc<Blobs>) -> Arc<Queues> {
        Arc::new(Queues { blobs, wake: Notify::new(), hidden: Mutex::default() })
    }

    fn signer(&self) -> SasSigner {
        let account = self.blobs.account();
        SasSigner { account: account.name.clone(), key: account.keys.primary.clone() }
    }

    /// Makes the containers that are missing.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn prepare(&self) -> Result<(), BlobError> {
        for name in [DATA, WAITING, SUCCEEDED, FAILED] {
            match self.blobs.create_container(&ContainerName::parse(name)?, Vec::new(), gantry_api::now()).await {
                Ok(_) | Err(BlobError::ContainerExists) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Where clients put things: kinds and addresses with signatures.
    pub(super) fn resources(&self, host: &str) -> Vec<(&'static str, String)> {
        let (signer, account) = (self.signer(), &self.blobs.account().name);
        let until = gantry_api::now().plus(LIFE);
        let address = |name: &str, rights: &str| {
            format!("https://{host}/{account}/{name}{}", signer.container(name, rights, until))
        };
        vec![
            ("TempStorage", address(DATA, "rcw")),
            ("SecuredReadyForAggregationQueue", address(WAITING, "a")),
            ("SuccessfulIngestionsQueue", address(SUCCEEDED, "rp")),
            ("FailedIngestionsQueue", address(FAILED, "rp")),
            ("IngestionsStatusTable", address("ingest-status", "a")),
        ]
    }

    /// A proof of who sends a message: clients carry it along with it.
    pub(super) fn identity_token(&self, by: &By) -> String {
        let until = gantry_api::now().plus(LIFE).as_millis();
        let said = json!({"principal": by.principal, "application": by.application, "until": until}).to_string();
        let signature = self.blobs.account().keys.primary.sign(&[PROOF, said.as_bytes()].concat());
        format!("{}.{}", URL_SAFE_NO_PAD.encode(said), URL_SAFE_NO_PAD.encode(signature))
    }

    /// Who sent a message, when its proof holds. Only who may write gets one.
    fn sender(&self, token: &str) -> Option<By> {
        let (said, signature) = token.split_once('.')?;
        let (said, signature) = (URL_SAFE_NO_PAD.decode(said).ok()?, URL_SAFE_NO_PAD.decode(signature).ok()?);
        let keys = &self.blobs.account().keys;
        let matches =
            [&keys.primary, &keys.secondary].iter().any(|key| same(&key.sign(&[PROOF, &said].concat()), &signature));
        let said: Json = serde_json::from_slice(&said).ok()?;
        let text = |name: &str| said.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
        let holds = said.get("until").and_then(Json::as_i64).is_some_and(|until| until > gantry_api::now().as_millis());
        (matches && holds).then(|| By {
            principal: text("principal"),
            application: text("application"),
            request_id: String::new(),
            may_write: true,
            may_administer: false,
        })
    }

    fn place(&self, queue: &str) -> Result<(ContainerName, Place), BlobError> {
        let name = ContainerName::parse(queue)?;
        Ok((name.clone(), Place::Own(Arc::clone(&self.blobs), name)))
    }

    /// Adds a message, durably.
    async fn send(&self, queue: &str, text: &str) -> Result<String, BlobError> {
        let (_, place) = self.place(queue)?;
        let at = gantry_api::now();
        let id = format!("{:015}-{}", at.as_millis(), uuid::Uuid::new_v4());
        place.create(&id, Bytes::from(text.to_owned()), "text/plain", at).await?;
        self.wake.notify_one();
        Ok(id)
    }

    /// The first messages: names, the oldest first.
    async fn first(&self, queue: &str, count: usize) -> Result<Vec<String>, BlobError> {
        let (container, _) = self.place(queue)?;
        let query =
            ListQuery { prefix: String::new(), delimiter: String::new(), marker: String::new(), limit: count.max(1) };
        let listing = self.blobs.list(&container, &query).await?;
        let name = |line: Listed| match line {
            Listed::Blob(name, _) => Some(name.as_str().to_owned()),
            Listed::Prefix(_) => None,
        };
        Ok(listing.lines.into_iter().filter_map(name).collect())
    }

    async fn text(&self, queue: &str, id: &str) -> Result<String, BlobError> {
        let (_, place) = self.place(queue)?;
        let mut content = place.read(id).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = content.try_next().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn delete(&self, queue: &str, id: &str) -> Result<(), BlobError> {
        let at = BlobAddress { container: ContainerName::parse(queue)?, name: BlobName::parse(id)? };
        self.blobs.delete_blob(&at, Conditions::default(), gantry_api::now()).await
    }

    /// Puts what clients sent into tables, for as long as the process runs.
    pub async fn run(self: Arc<Self>, warehouse: Arc<Warehouse>) {
        let mut attempts: HashMap<String, u32> = HashMap::new();
        let mut swept = tokio::time::Instant::now();
        loop {
            let worked = self.work(&warehouse, &mut attempts).await;
            if let Err(error) = &worked {
                tracing::warn!(%error, "the queue of ingestion cannot be read");
            }
            if swept.elapsed() > Duration::from_secs(60) {
                self.sweep().await;
                swept = tokio::time::Instant::now();
            }
            if !matches!(worked, Ok(true)) {
                let _ = tokio::time::timeout(LOOK_PERIOD, self.wake.notified()).await;
            }
        }
    }

    /// Works on the messages that are there; says whether there may be more at once.
    async fn work(&self, warehouse: &Arc<Warehouse>, attempts: &mut HashMap<String, u32>) -> Result<bool, BlobError> {
        let messages = self.first(WAITING, MESSAGES_MAX).await?;
        let mut left = 0;
        for id in &messages {
            let tried = attempts.entry(id.clone()).or_default();
            *tried += 1;
            let last = *tried >= ATTEMPTS_MAX;
            let text = self.text(WAITING, id).await?;
            match self.ingest(warehouse, &text).await {
                Err(Trouble::Later(reason)) if !last => {
                    left += 1;
                    tracing::warn!(%reason, "data is not in its table yet");
                }
                done => {
                    self.report(&text, done.err()).await?;
                    self.delete(WAITING, id).await?;
                    attempts.remove(id);
                }
            }
        }
        Ok(left == 0 && messages.len() == MESSAGES_MAX)
    }

    async fn ingest(&self, warehouse: &Arc<Warehouse>, text: &str) -> Result<(), Trouble> {
        let never = |reason: &str| Trouble::Never("BadRequest_InvalidMessage".into(), reason.to_owned());
        let message: Json = BASE64
            .decode(text.trim())
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .ok_or_else(|| never("the message is no JSON in Base64"))?;
        let said = |name: &str| message.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
        let more = message.get("AdditionalProperties").cloned().unwrap_or_default();
        let token = more.get("authorizationContext").and_then(Json::as_str).unwrap_or_default();
        let by = self.sender(token).ok_or_else(|| {
            Trouble::Never("Forbidden".into(), "the message has no proof of who sent it, or one that ended".into())
        })?;
        let (database, table, address, id) = (said("DatabaseName"), said("TableName"), said("BlobPath"), said("Id"));
        if !database.eq_ignore_ascii_case(warehouse.database()) {
            let wrong = Rejected::Database(database);
            return Err(Trouble::Never("BadRequest_DatabaseNotExist".into(), wrong.to_string()));
        }
        let own = self.own_blob(&address);
        let bytes = match &own {
            Some(name) => self.data(name).await?,
            None => {
                let (warehouse, address) = (Arc::clone(warehouse), address.clone());
                let read = move || warehouse.outside().read(&address, DATA_BYTES_MAX as u64);
                let read = tokio::task::spawn_blocking(read).await;
                let read = read.map_err(|error| Trouble::Later(error.to_string()))?;
                Bytes::from(read.map_err(|reason| Trouble::Never("Download_SourceNotFound".into(), reason))?)
            }
        };
        let properties = properties_of(&more);
        let source = (!id.is_empty()).then(|| id.to_ascii_lowercase());
        let warehouse = Arc::clone(warehouse);
        let work = tokio::task::spawn_blocking(move || {
            let ask = Ask {
                database: None,
                text: "",
                parameters: &[],
                now: now(),
                limits: &|_| Limits { seconds_max: 3_600, ..Limits::default() },
                rows_wanted: None,
                cancel: Cancel::default(),
                by,
            };
            warehouse.ingest(&ask, &table, &bytes, &properties, &address, source)
        });
        match work.await {
            Err(error) => Err(Trouble::Later(error.to_string())),
            Ok(Err(Rejected::Run(error))) if !matches!(error, gantry_analytics::Error::Evaluation(_)) => {
                Err(Trouble::Later(error.to_string()))
            }
            Ok(Err(wrong)) => Err(Trouble::Never(code_of(&wrong).into(), wrong.to_string())),
            Ok(Ok(_)) => {
                if let Some(name) = own {
                    // Data in our own place was only on its way. What is left is swept up later.
                    let _ = self.delete(DATA, &name).await;
                }
                Ok(())
            }
        }
    }

    /// The name of a blob in our own place for data.
    fn own_blob(&self, address: &str) -> Option<String> {
        let path = address.split_once("://")?.1.split(['?', ';']).next()?.split_once('/')?.1;
        let path = percent_encoding::percent_decode_str(path).decode_utf8().ok()?.into_owned();
        let path = path.strip_prefix(&self.blobs.account().name)?.strip_prefix('/')?;
        Some(path.strip_prefix(DATA)?.strip_prefix('/')?.to_owned())
    }

    async fn data(&self, name: &str) -> Result<Bytes, Trouble> {
        let later = |error: BlobError| match error {
            BlobError::NoBlob | BlobError::NoContainer => {
                Trouble::Never("Download_SourceNotFound".into(), "the data is not where the message says".into())
            }
            other => Trouble::Later(other.to_string()),
        };
        let (_, place) = self.place(DATA).map_err(later)?;
        let mut content = place.read(name).await.map_err(later)?;
        let mut bytes = Vec::new();
        while let Some(piece) = content.try_next().await.map_err(later)? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > DATA_BYTES_MAX {
                let reason = format!("the data is larger than {DATA_BYTES_MAX} bytes");
                return Err(Trouble::Never("BadRequest_FileTooLarge".into(), reason));
            }
        }
        Ok(bytes.into())
    }

    /// Says what became of data, as far as the message asks for it.
    async fn report(&self, text: &str, trouble: Option<Trouble>) -> Result<(), BlobError> {
        let message: Json =
            BASE64.decode(text.trim()).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let number = |name: &str| message.get(name).and_then(Json::as_i64).unwrap_or(0);
        // Levels: 0 failures, 1 nothing, 2 everything. Methods: 0 queue, 1 table, 2 both.
        let (level, method) = (number("ReportLevel"), number("ReportMethod"));
        let wanted = method != 1 && (level == 2 || level == 0 && trouble.is_some());
        if !wanted {
            return Ok(());
        }
        let at = gantry_api::now().to_string();
        let id = uuid::Uuid::new_v4().to_string();
        let of = |name: &str| message.get(name).cloned().unwrap_or_default();
        let source = of("BlobPath").as_str().map(|path| path.split('?').next().unwrap_or_default().to_owned());
        let mut said = json!({
            "OperationId": id,
            "Database": of("DatabaseName"),
            "Table": of("TableName"),
            "IngestionSourceId": of("Id"),
            "IngestionSourcePath": source,
            "RootActivityId": uuid::Uuid::new_v4().to_string(),
        });
        let queue = match trouble {
            None => {
                said["SucceededOn"] = json!(at);
                SUCCEEDED
            }
            Some(trouble) => {
                let (code, details, permanent) = match trouble {
                    Trouble::Never(code, details) => (code, details, true),
                    Trouble::Later(details) => ("General_RetryAttemptsExceeded".to_owned(), details, false),
                };
                said["FailedOn"] = json!(at);
                said["Details"] = json!(details);
                said["ErrorCode"] = json!(code);
                said["FailureStatus"] = json!(if permanent { "Permanent" } else { "Transient" });
                said["OriginatesFromUpdatePolicy"] = json!(details.contains("update policy"));
                said["ShouldRetry"] = json!(!permanent);
                FAILED
            }
        };
        self.send(queue, &BASE64.encode(said.to_string())).await.map(drop)
    }

    /// Takes away data and outcomes that nobody came for.
    async fn sweep(&self) {
        let before = gantry_api::now().as_millis() - KEPT_MILLIS;
        for queue in [DATA, SUCCEEDED, FAILED] {
            let Ok(names) = self.first(queue, MESSAGES_MAX * 8).await else { return };
            let Ok((_, place)) = self.place(queue) else { return };
            for name in names {
                if place.stat(&name).await.is_ok_and(|stat| stat.modified_at.as_millis() < before) {
                    let _ = self.delete(queue, &name).await;
                }
            }
        }
        let now = gantry_api::now().as_millis();
        self.hidden.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, (until, _)| *until > now);
    }
}

/// Why data is not in its table.
enum Trouble {
    /// It will not be: code and reason.
    Never(String, String),
    /// Another attempt may help.
    Later(String),
}

fn code_of(wrong: &Rejected) -> &'static str {
    match wrong {
        Rejected::NotFound { kind: "Table", .. } => "BadRequest_TableNotExist",
        Rejected::NotFound { .. } => "BadRequest_MappingReferenceWasNotFound",
        Rejected::Forbidden(_) => "Forbidden",
        _ => "BadRequest",
    }
}

/// What is said of the data. Clients write lists and mappings as texts of JSON, and some as JSON.
fn properties_of(more: &Json) -> Vec<(String, Value)> {
    let Json::Object(members) = more else { return Vec::new() };
    let known = |name: &&String| {
        !name.eq_ignore_ascii_case("authorizationContext") && !name.eq_ignore_ascii_case("ValidationPolicy")
    };
    let value = |value: &Json| match value {
        Json::String(text) => Value::String(text.clone()),
        Json::Bool(value) => Value::Bool(*value),
        other => Value::String(other.to_string()),
    };
    let given = members.iter().filter(|(name, value)| known(name) && !value.is_null());
    given.map(|(name, given)| (name.clone(), value(given))).collect()
}

fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

/// Takes requests that are for a queue, and leaves the others alone. For [`axum::Router::layer`].
pub async fn divert(State(queues): State<Arc<Queues>>, request: Request, next: Next) -> Response {
    let account = queues.blobs.account().name.clone();
    let path = percent_encoding::percent_decode_str(request.uri().path()).decode_utf8_lossy().into_owned();
    let pieces: Vec<&str> = path.split('/').filter(|piece| !piece.is_empty()).collect();
    let (queue, rest) = match pieces.as_slice() {
        [first, queue, rest @ ..] if *first == account => (*queue, rest),
        _ => return next.run(request).await,
    };
    if ![WAITING, SUCCEEDED, FAILED, "ingest-status"].contains(&queue) {
        return next.run(request).await;
    }
    let (queue, rest) = (queue.to_owned(), rest.iter().map(|piece| (*piece).to_owned()).collect::<Vec<_>>());
    let answer = serve(&queues, &queue, &rest, request).await;
    let mut response = answer.unwrap_or_else(|(status, code, message)| {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>{}</Message></Error>",
            escaped(&message)
        );
        (
            status,
            [(header::CONTENT_TYPE, "application/xml"), (header::HeaderName::from_static("x-ms-error-code"), code)],
            body,
        )
            .into_response()
    });
    let headers = response.headers_mut();
    headers.insert("x-ms-version", header::HeaderValue::from_static("2021-12-02"));
    if let Ok(id) = uuid::Uuid::new_v4().to_string().parse() {
        headers.insert("x-ms-request-id", id);
    }
    response
}

type Answer = Result<Response, (StatusCode, &'static str, String)>;

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

async fn serve(queues: &Queues, queue: &str, rest: &[String], request: Request) -> Answer {
    let wrong = |status, code: &'static str, message: &str| (status, code, message.to_owned());
    if queue == "ingest-status" {
        let message = "statuses are kept in queues, not in a table";
        return Err(wrong(StatusCode::NOT_IMPLEMENTED, "NotImplemented", message));
    }
    let (parts, body) = request.into_parts();
    let query = gantry_api::blob::read_query(parts.uri.query().unwrap_or_default())
        .ok_or_else(|| wrong(StatusCode::BAD_REQUEST, "InvalidUri", "the query cannot be read"))?;
    let said = |name: &str| query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let denied = || {
        let message = "the signature is missing, ended, or not for this";
        wrong(StatusCode::FORBIDDEN, "AuthenticationFailed", message)
    };
    let target = Target::Container(ContainerName::parse(queue).map_err(|_| denied())?);
    let grant = verify_sas(queues.blobs.account(), SasParameters(&query), &target, None, gantry_api::now());
    let Ok(Grant::Service { permissions, is_blob: false }) = grant else { return Err(denied()) };
    let may = |letter: char| if permissions.contains(letter) { Ok(()) } else { Err(denied()) };
    let failed = |error: BlobError| {
        tracing::warn!(%error, "a queue cannot be used");
        wrong(StatusCode::SERVICE_UNAVAILABLE, "ServerBusy", "the queue cannot be used now")
    };
    let pieces: Vec<&str> = rest.iter().map(String::as_str).collect();
    match (&parts.method, pieces.as_slice()) {
        (&Method::POST, ["messages"]) => {
            may('a')?;
            let text = message_text(&parts.headers, body).await?;
            if queues.first(queue, WAITING_MAX).await.map_err(failed)?.len() >= WAITING_MAX {
                return Err(wrong(StatusCode::SERVICE_UNAVAILABLE, "ServerBusy", "the queue is full"));
            }
            let id = queues.send(queue, &text).await.map_err(failed)?;
            Ok(xml(StatusCode::CREATED, &list(&[(id, String::new(), None)], false)))
        }
        (&Method::GET, ["messages"]) => {
            let peek = said("peekonly").is_some_and(|value| value.eq_ignore_ascii_case("true"));
            may(if peek { 'r' } else { 'p' })?;
            let count = said("numofmessages").map_or(Ok(1), str::parse).unwrap_or(0);
            if !(1..=MESSAGES_MAX).contains(&count) {
                return Err(wrong(
                    StatusCode::BAD_REQUEST,
                    "OutOfRangeQueryParameterValue",
                    "numofmessages is 1 to 32",
                ));
            }
            let hidden_for = said("visibilitytimeout")
                .and_then(|text| text.parse::<i64>().ok())
                .map_or(HIDDEN, |s| s.clamp(0, 604_800) * 1_000);
            let now = gantry_api::now().as_millis();
            let mut found = Vec::new();
            for id in queues.first(queue, MESSAGES_MAX * 8).await.map_err(failed)? {
                if found.len() == count {
                    break;
                }
                let receipt = {
                    let mut hidden = queues.hidden.lock().unwrap_or_else(PoisonError::into_inner);
                    if hidden.get(&id).is_some_and(|(until, _)| *until > now) {
                        continue;
                    }
                    let receipt = uuid::Uuid::new_v4().to_string();
                    if !peek {
                        hidden.insert(id.clone(), (now + hidden_for, receipt.clone()));
                    }
                    receipt
                };
                match queues.text(queue, &id).await {
                    Ok(text) => found.push((id, text, Some(receipt).filter(|_| !peek))),
                    // Somebody else took it away.
                    Err(BlobError::NoBlob) => {}
                    Err(error) => return Err(failed(error)),
                }
            }
            Ok(xml(StatusCode::OK, &list(&found, true)))
        }
        (&Method::DELETE, ["messages", id]) => {
            may('p')?;
            let known = {
                let mut hidden = queues.hidden.lock().unwrap_or_else(PoisonError::into_inner);
                let held = hidden.get(*id).is_some_and(|(_, receipt)| Some(receipt.as_str()) == said("popreceipt"));
                held && hidden.remove(*id).is_some()
            };
            if !known {
                return Err(wrong(
                    StatusCode::BAD_REQUEST,
                    "PopReceiptMismatch",
                    "the receipt is not that of the message",
                ));
            }
            match queues.delete(queue, id).await {
                Ok(()) => Ok(StatusCode::NO_CONTENT.into_response()),
                Err(BlobError::NoBlob) => {
                    Err(wrong(StatusCode::NOT_FOUND, "MessageNotFound", "there is no such message"))
                }
                Err(error) => Err(failed(error)),
            }
        }
        (&Method::GET | &Method::HEAD, []) if said("comp") == Some("metadata") => {
            may('r')?;
            let count = queues.first(queue, WAITING_MAX).await.map_err(failed)?.len();
            Ok((StatusCode::OK, [("x-ms-approximate-messages-count", count.to_string())]).into_response())
        }
        _ => {
            Err(wrong(StatusCode::NOT_IMPLEMENTED, "NotImplemented", "queues of ingestion do not have this operation"))
        }
    }
}

/// `<QueueMessage><MessageText>...</MessageText></QueueMessage>`
async fn message_text(headers: &HeaderMap, body: Body) -> Result<String, (StatusCode, &'static str, String)> {
    let _ = headers;
    let wrong = |message: &str| (StatusCode::BAD_REQUEST, "InvalidXmlDocument", message.to_owned());
    let bytes = axum::body::to_bytes(body, MESSAGE_BYTES_MAX + 1_024).await;
    let bytes = bytes.map_err(|_| {
        let message = format!("a message has at most {MESSAGE_BYTES_MAX} bytes");
        (StatusCode::PAYLOAD_TOO_LARGE, "RequestBodyTooLarge", message)
    })?;
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong("the body is not UTF-8"))?;
    let inner = text.split_once("<MessageText>").and_then(|(_, rest)| rest.split_once("</MessageText>"));
    let (inner, _) = inner.ok_or_else(|| wrong("the body has no MessageText"))?;
    Ok(inner
        .trim()
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&"))
}

/// Messages: names, texts and receipts.
fn list(messages: &[(String, String, Option<String>)], with_text: bool) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><QueueMessagesList>");
    for (id, text, receipt) in messages {
        let inserted = id.split('-').next().and_then(|millis| millis.parse::<i64>().ok()).unwrap_or(0);
        let _ = write!(
            out,
            "<QueueMessage><MessageId>{id}</MessageId><InsertionTime>{}</InsertionTime><ExpirationTime>{}</ExpirationTime>",
            http_date(inserted),
            http_date(inserted + KEPT_MILLIS)
        );
        if receipt.is_some() || !with_text {
            let receipt = receipt.as_deref().unwrap_or("none");
            let next = http_date(gantry_api::now().as_millis() + HIDDEN);
            let _ = write!(out, "<PopReceipt>{receipt}</PopReceipt><TimeNextVisible>{next}</TimeNextVisible>");
        }
        if with_text {
            let _ = write!(out, "<DequeueCount>1</DequeueCount><MessageText>{}</MessageText>", escaped(text));
        }
        out.push_str("</QueueMessage>");
    }
    out.push_str("</QueueMessagesList>");
    out
}

fn http_date(millis: i64) -> String {
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
}

fn xml(status: StatusCode, body: &str) -> Response {
    (status, [(header::CONTENT_TYPE, "application/xml")], body.to_owned()).into_response()
}
