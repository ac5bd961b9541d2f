//! The blob service's REST API, for unmodified Azure Blob clients.
//!
//! Two forms of address, as at Azure's own emulator and at Azure: `https://host/{account}/{container}/{blob}`
//! for clients with an account URL, and `https://host/{container}/{blob}?{signature}` for devices that
//! upload files. Neither can be taken for an operation of the hub: a request is for the blob service
//! when its path begins with the account's name, when its query holds a signature (`sig`), or when it is
//! signed with a shared key; the hub's own API has none of these.
//!
//! What is not built answers 501 `NotImplemented` in the service's own shape.

mod account;
mod batch;
mod blobs;
mod blocks;
mod containers;
mod error;
mod headers;
mod operations;
mod request;
mod xml;

use std::sync::Arc;
use std::time::Duration;

use axum::body::BodyDataStream;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use gantry_blobs::Blobs;
use gantry_hub::Hub;
use gantry_hub::ports::directory::Directory;

use error::Failure;
use operations::What;
pub use operations::operations;
use request::Call;

use crate::PeerAddress;

/// The blob service.
#[derive(Clone)]
pub struct BlobService {
    /// The store.
    pub blobs: Arc<Blobs>,
    /// Hears of refused access.
    pub hub: Arc<Hub>,
    /// Who takes tokens of directories; none when that is switched off.
    pub directory: Option<Arc<dyn Directory>>,
}

/// The parameters of a query, decoded; none when they are not UTF-8 or too long.
pub fn read_query(text: &str) -> Option<Vec<(String, String)>> {
    request::query(text).ok()
}

/// Reads a request and its body as the service does, but for the credential: what is fuzzed. It is written as HTTP/1.1
/// writes it, with bare line feeds and without a version.
#[doc(hidden)]
pub fn survive_request(bytes: &[u8]) {
    let split = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap_or(bytes.len());
    let (head, body) = (&bytes[..split], bytes.get(split + 2..).unwrap_or_default());
    let _ = xml::read_block_list(body);
    batch::survive(body);
    let mut lines = head.split(|byte| *byte == b'\n');
    let first = String::from_utf8_lossy(lines.next().unwrap_or_default());
    let (method, uri) = first.split_once(' ').unwrap_or(("GET", &first));
    let mut request = axum::http::Request::builder().method(method).uri(uri);
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        request = request.header(&line[..colon], line.get(colon + 1..).unwrap_or_default().trim_ascii());
    }
    let Ok((parts, ())) = request.body(()).map(axum::http::Request::into_parts) else { return };
    let Ok(head) = request::Head::read("gantry", &parts) else { return };
    let _ = (head.address(), head.conditions(), head.metadata(), head.properties(true), head.properties(false));
    let _ = (headers::check_conditions(&head), headers::range(&head));
}

/// Bytes read of a request that was refused.
const DRAIN_BYTES_MAX: usize = 16 << 20;
/// How long they may take.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

type Answer = Result<Response, Failure>;

/// Takes requests that are for the blob service, and leaves the others alone. For [`axum::Router::layer`].
pub async fn divert(State(service): State<BlobService>, request: Request, next: Next) -> Response {
    if !request::is_meant(&service, &request) {
        return next.run(request).await;
    }
    let version = request.headers().get("x-ms-version").cloned();
    let client_id = request.headers().get("x-ms-client-request-id").cloned();
    let is_head = request.method() == Method::HEAD;
    let peer = request.extensions().get::<PeerAddress>().cloned();
    let challenge = service.directory.as_deref().and_then(challenge);
    let answer = serve(service, request, peer).await;
    let mut response = answer.unwrap_or_else(|failure| failure.answer(is_head));
    let is_unauthorized = response.status() == StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    if let Some(challenge) = challenge.filter(|_| is_unauthorized) {
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    let version = version.unwrap_or_else(|| HeaderValue::from_static("2021-12-02"));
    headers.insert("x-ms-version", version);
    if let Some(id) = client_id {
        headers.insert("x-ms-client-request-id", id);
    }
    let id = uuid::Uuid::new_v4().to_string();
    if let (false, Ok(id)) = (headers.contains_key("x-ms-request-id"), HeaderValue::from_str(&id)) {
        headers.insert(HeaderName::from_static("x-ms-request-id"), id);
    }
    response
}

/// Where tokens come from, for clients that ask without one.
fn challenge(directory: &dyn Directory) -> Option<HeaderValue> {
    let (origin, tenant) = directory.authority();
    let authority = format!("{origin}/{tenant}/oauth2/authorize");
    HeaderValue::from_str(&format!("Bearer authorization_uri={authority} resource_id=https://storage.azure.com")).ok()
}

async fn serve(service: BlobService, request: Request, peer: Option<PeerAddress>) -> Answer {
    let (parts, body) = request.into_parts();
    // On a task of its own: when the client goes away, what it began is brought to an end or undone.
    let task = tokio::spawn(async move {
        let mut body = body.into_data_stream();
        let answer = match Call::read(&service, &parts, peer, None) {
            Ok(call) => operate(&service, &call, &mut body).await,
            Err(failure) => Err(failure),
        };
        if answer.is_err() {
            drain(&mut body).await;
        }
        answer
    });
    task.await.unwrap_or_else(|_| Err(Failure::internal("operation panicked")))
}

async fn operate(service: &BlobService, call: &Call, body: &mut BodyDataStream) -> Answer {
    headers::check_conditions(call)?;
    let row = operations::find(call)?;
    let granted = call.require(row)?;
    match row.what {
        What::Batch => batch::run(service, call, body).await,
        What::ListContainers => account::list(service, call).await,
        What::CreateContainer => containers::create(service, call).await,
        What::ShowContainer => containers::show(service, call).await,
        What::DeleteContainer => containers::delete(service, call).await,
        What::SetContainerMetadata => containers::set_metadata(service, call).await,
        What::ListBlobs => containers::list(service, call).await,
        What::ReadBlob => blobs::get(service, call).await,
        What::ShowBlob => blobs::head(service, call).await,
        What::PutBlob => blobs::put(service, call, granted, body).await,
        What::DeleteBlob => blobs::delete(service, call).await,
        What::SetBlobMetadata => blobs::set_metadata(service, call).await,
        What::SetBlobProperties => blobs::set_properties(service, call).await,
        What::PutBlock => blocks::put(service, call, body).await,
        What::CommitBlocks => blocks::commit(service, call, granted, body).await,
        What::ListBlocks => blocks::list(service, call).await,
    }
}

/// Reads on after a refusal, within bounds: clients that are still sending when the connection closes take it for a
/// broken one, and never see the answer.
async fn drain(body: &mut BodyDataStream) {
    let read = async {
        let mut left = DRAIN_BYTES_MAX;
        while let Some(Ok(chunk)) = body.next().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, read).await;
}

fn empty(status: axum::http::StatusCode) -> Response {
    status.into_response()
}
