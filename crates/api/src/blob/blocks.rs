//! Blocks: a blob uploaded in pieces.

use std::time::Duration;

use axum::body::BodyDataStream;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::StreamExt as _;
use gantry_blobs::blob::{BLOCK_ID_BYTES_MAX, Draft};
use gantry_blobs::{BLOCK_BYTES_MAX, BlobError, Permission};

use super::account::document;
use super::error::Failure;
use super::request::Call;
use super::{Answer, BlobService, blobs, empty, headers, xml};
use crate::now;

/// Largest block list in bytes: 50,000 blocks with the longest ids, and room for markup.
const BLOCK_LIST_BYTES_MAX: usize = 8 << 20;
/// How long a client may take to send it.
const BLOCK_LIST_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) async fn put(service: &BlobService, call: &Call, body: &mut BodyDataStream) -> Answer {
    if call.header("x-ms-copy-source").is_some() {
        return Err(Failure::not_implemented("Put Block From URL"));
    }
    let id = call.query("blockid");
    let bytes = BASE64.decode(id).ok().filter(|bytes| (1..=BLOCK_ID_BYTES_MAX).contains(&bytes.len()));
    if bytes.is_none() {
        let words = format!("blockid must be base64 of 1 to {BLOCK_ID_BYTES_MAX} bytes");
        return Err(Failure::bad("InvalidQueryParameterValue", words));
    }
    let at = call.address()?;
    service.blobs.container(&at.container).await?;
    let stored = blobs::receive(service, call, body, BLOCK_BYTES_MAX).await?;
    if stored.part.is_none() {
        return Err(Failure::header("Content-Length"));
    }
    let md5 = stored.md5;
    service.blobs.put_block(&at, id.to_owned(), stored, now()).await?;
    let mut response = empty(StatusCode::CREATED);
    headers::put(response.headers_mut(), "content-md5", &headers::write_md5(md5));
    headers::put(response.headers_mut(), "x-ms-request-server-encrypted", "false");
    Ok(response)
}

pub(super) async fn commit(
    service: &BlobService,
    call: &Call,
    granted: Permission,
    body: &mut BodyDataStream,
) -> Answer {
    let (at, mut conditions) = (call.address()?, call.conditions()?);
    conditions.only_new = granted == Permission::Create;
    let draft = Draft { properties: call.properties(false)?, metadata: call.metadata()? };
    let list = tokio::time::timeout(BLOCK_LIST_TIMEOUT, gather(body, BLOCK_LIST_BYTES_MAX)).await;
    let list = xml::read_block_list(&list.map_err(|_| BlobError::Incomplete)??)
        .ok_or_else(|| Failure::bad("InvalidXmlDocument", "the body is not a block list"))?;
    let blob = service.blobs.commit_blocks(&at, draft, list, conditions, now()).await?;
    Ok(blobs::written(StatusCode::CREATED, &blob))
}

/// A whole body of at most so many bytes.
pub(super) async fn gather(body: &mut BodyDataStream, max: usize) -> Result<Vec<u8>, BlobError> {
    let mut whole = Vec::new();
    while let Some(chunk) = body.next().await {
        whole.extend_from_slice(&chunk.map_err(|_| BlobError::Incomplete)?);
        if whole.len() > max {
            return Err(BlobError::TooLarge(max as u64));
        }
    }
    Ok(whole)
}

pub(super) async fn list(service: &BlobService, call: &Call) -> Answer {
    let (committed, uncommitted) = match call.query("blocklisttype") {
        "" | "committed" => (true, false),
        "uncommitted" => (false, true),
        "all" => (true, true),
        _ => return Err(Failure::bad("InvalidQueryParameterValue", "blocklisttype")),
    };
    let (blob, lists) = service.blobs.blocks(&call.address()?).await?;
    let mut response = document(xml::blocks(&lists, committed, uncommitted))?;
    if let Some(blob) = blob {
        headers::put_state(response.headers_mut(), blob.etag, blob.modified_at);
        headers::put(response.headers_mut(), "x-ms-blob-content-length", &blob.length.to_string());
    }
    Ok(response)
}
