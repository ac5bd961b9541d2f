//! Operations on blobs.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use gantry_blobs::blob::{Blob, Draft};
use gantry_blobs::{BlobError, PUT_BLOB_BYTES_MAX, Permission, Stored};

use super::error::Failure;
use super::request::Call;
use super::{Answer, BlobService, empty, headers};
use crate::now;

/// How long a client may pause while it sends content.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Response headers a signature may override.
const OVERRIDES: [(&str, &str); 5] = [
    ("rscc", "cache-control"),
    ("rscd", "content-disposition"),
    ("rsce", "content-encoding"),
    ("rscl", "content-language"),
    ("rsct", "content-type"),
];

pub(super) async fn head(service: &BlobService, call: &Call) -> Answer {
    let blob = service.blobs.blob(&call.address()?, &call.conditions()?).await?;
    let mut response = empty(StatusCode::OK);
    let map = response.headers_mut();
    headers::put_blob(map, &blob);
    if call.method == Method::HEAD {
        headers::put(map, "content-length", &blob.length.to_string());
    }
    if let Some(md5) = blob.properties.content_md5 {
        headers::put(map, "content-md5", &headers::write_md5(md5));
    }
    override_headers(call, &mut response);
    Ok(response)
}

pub(super) async fn get(service: &BlobService, call: &Call) -> Answer {
    let range = headers::range(call)?;
    let (blob, (from, to), content) = service.blobs.read(&call.address()?, range, &call.conditions()?).await?;
    let mut response = Response::new(Body::from_stream(content));
    let map = response.headers_mut();
    headers::put_blob(map, &blob);
    headers::put(map, "content-length", &(to - from).to_string());
    let md5 = blob.properties.content_md5.map(headers::write_md5);
    if let Some(md5) = md5 {
        headers::put(map, if range.is_some() { "x-ms-blob-content-md5" } else { "content-md5" }, &md5);
    }
    if range.is_some() {
        headers::put(map, "content-range", &format!("bytes {from}-{}/{}", to - 1, blob.length));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    override_headers(call, &mut response);
    Ok(response)
}

fn override_headers(call: &Call, response: &mut Response) {
    for (parameter, name) in OVERRIDES {
        if !call.query(parameter).is_empty() {
            headers::put(response.headers_mut(), name, call.query(parameter));
        }
    }
}

/// What a write answers: the blob's new state.
pub(super) fn written(status: StatusCode, blob: &Blob) -> Response {
    let mut response = empty(status);
    headers::put_state(response.headers_mut(), blob.etag, blob.modified_at);
    headers::put(response.headers_mut(), "x-ms-request-server-encrypted", "false");
    response
}

pub(super) async fn put(service: &BlobService, call: &Call, granted: Permission, body: &mut BodyDataStream) -> Answer {
    if call.header("x-ms-copy-source").is_some() {
        return Err(Failure::not_implemented("Copy Blob"));
    }
    match call.header("x-ms-blob-type") {
        Some("BlockBlob") => {}
        Some("AppendBlob" | "PageBlob") => return Err(Failure::not_implemented("append and page blobs")),
        _ => return Err(Failure::header("x-ms-blob-type")),
    }
    let at = call.address()?;
    let mut conditions = call.conditions()?;
    conditions.only_new = granted == Permission::Create;
    let draft = Draft { properties: call.properties(true)?, metadata: call.metadata()? };
    service.blobs.container(&at.container).await?;
    let stored = receive(service, call, body, PUT_BLOB_BYTES_MAX).await?;
    let md5 = stored.md5;
    let blob = service.blobs.put_blob(&at, draft, stored, conditions, now()).await?;
    let mut response = written(StatusCode::CREATED, &blob);
    headers::put(response.headers_mut(), "content-md5", &headers::write_md5(md5));
    Ok(response)
}

/// The body, given up when the client pauses for too long.
fn patient(body: &mut BodyDataStream) -> impl Stream<Item = Result<Bytes, BlobError>> {
    futures::stream::unfold(body, |body| async move {
        let next = tokio::time::timeout(PAUSE_MAX, body.next()).await;
        let chunk = next.map_err(|_| BlobError::Incomplete).transpose()?;
        Some((chunk.and_then(|chunk| chunk.map_err(|_| BlobError::Incomplete)), body))
    })
}

/// Stores the body and compares it with the MD5 it came with.
pub(super) async fn receive(
    service: &BlobService,
    call: &Call,
    body: &mut BodyDataStream,
    max: u64,
) -> Result<Stored, Failure> {
    if call.header("x-ms-structured-body").is_some() {
        return Err(Failure::not_implemented("structured bodies"));
    }
    let expected = match call.header("content-md5") {
        None => None,
        Some(text) => Some(headers::read_md5(text).ok_or_else(|| Failure::bad("InvalidMd5", "not an MD5"))?),
    };
    if call.header("content-length").and_then(|text| text.parse().ok()).is_some_and(|length: u64| length > max) {
        return Err(BlobError::TooLarge(max).into());
    }
    let stored = service.blobs.store(Box::pin(patient(body)), max).await?;
    if expected.is_some_and(|expected| expected != stored.md5) {
        service.blobs.discard(stored).await;
        return Err(BlobError::Md5Mismatch.into());
    }
    Ok(stored)
}

pub(super) async fn delete(service: &BlobService, call: &Call) -> Answer {
    service.blobs.delete_blob(&call.address()?, call.conditions()?, now()).await?;
    let mut response = empty(StatusCode::ACCEPTED);
    headers::put(response.headers_mut(), "x-ms-delete-type-permanent", "true");
    Ok(response)
}

pub(super) async fn set_metadata(service: &BlobService, call: &Call) -> Answer {
    let (at, metadata, conditions) = (call.address()?, call.metadata()?, call.conditions()?);
    let blob = service.blobs.change_blob(&at, Some(metadata), None, conditions, now()).await?;
    Ok(written(StatusCode::OK, &blob))
}

pub(super) async fn set_properties(service: &BlobService, call: &Call) -> Answer {
    let (at, properties, conditions) = (call.address()?, call.properties(false)?, call.conditions()?);
    let blob = service.blobs.change_blob(&at, None, Some(properties), conditions, now()).await?;
    Ok(written(StatusCode::OK, &blob))
}
