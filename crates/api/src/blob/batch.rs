//! Blob Batch: many deletions in one request, each answered for itself.
//!
//! The body is `multipart/mixed`; each part holds a request as HTTP/1.1 writes it, with a credential of its own
//! ("Blob Batch", versions from 2018-11-09). Deleting is built; setting tiers answers 501 within its part.

use std::time::Duration;

use axum::body::BodyDataStream;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use gantry_blobs::{BlobError, Target};

use super::blocks::gather;
use super::error::Failure;
use super::operations::{self, What};
use super::request::Call;
use super::{Answer, BlobService, blobs, headers};
use crate::PeerAddress;

/// Requests of one batch ("Blob Batch").
const REQUESTS_MAX: usize = 256;
/// Bytes of a batch ("Blob Batch").
const BODY_BYTES_MAX: usize = 4 << 20;
/// How long the body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Headers of a request within.
const HEADERS_MAX: usize = 64;
/// Bytes of a boundary (RFC 2046, 5.1.1).
const BOUNDARY_LEN_MAX: usize = 70;

/// A request within a batch.
struct Part {
    /// What the client calls it.
    id: String,
    head: axum::http::request::Parts,
}

pub(super) async fn run(service: &BlobService, call: &Call, body: &mut BodyDataStream) -> Answer {
    let boundary = boundary(call.header("content-type").unwrap_or_default())?;
    let body = tokio::time::timeout(BODY_TIMEOUT, gather(body, BODY_BYTES_MAX)).await;
    let body = body.map_err(|_| BlobError::Incomplete)??;
    let parts = read(&body, &boundary)?;
    let line = format!("batchresponse_{}", uuid::Uuid::new_v4());
    let mut answer = Vec::new();
    for part in &parts {
        let told = one(service, call, part).await.unwrap_or_else(|failure| failure.answer(false));
        answer.extend_from_slice(format!("--{line}\r\n").as_bytes());
        write(&mut answer, &part.id, told).await?;
    }
    answer.extend_from_slice(format!("--{line}--\r\n").as_bytes());
    let kind = format!("multipart/mixed; boundary={line}");
    Ok((StatusCode::ACCEPTED, [(header::CONTENT_TYPE, kind)], answer).into_response())
}

async fn one(service: &BlobService, batch: &Call, part: &Part) -> Answer {
    let peer = Some(PeerAddress::from(batch.peer()));
    let call = Call::read(service, &part.head, peer, batch.header("x-ms-version"))?;
    if let (Target::Container(within), Target::Blob(container, _)) = (&batch.target, &call.target)
        && within != container
    {
        return Err(Failure::bad("InvalidInput", "the batch is about another container"));
    }
    headers::check_conditions(&call)?;
    let row = operations::find(&call)?;
    call.require(row)?;
    if row.what != What::DeleteBlob {
        return Err(Failure::bad("InvalidInput", "a batch deletes blobs"));
    }
    let mut response = blobs::delete(service, &call).await?;
    let id = uuid::Uuid::new_v4().to_string();
    headers::put(response.headers_mut(), "x-ms-request-id", &id);
    if let Some(version) = batch.header("x-ms-version") {
        headers::put(response.headers_mut(), "x-ms-version", version);
    }
    Ok(response)
}

/// An answer as HTTP/1.1 writes it, in a part.
async fn write(into: &mut Vec<u8>, id: &str, answer: Response) -> Result<(), Failure> {
    let (head, body) = answer.into_parts();
    let body =
        axum::body::to_bytes(body, BODY_BYTES_MAX).await.map_err(|error| Failure::internal(&error.to_string()))?;
    let reason = head.status.canonical_reason().unwrap_or_default();
    let mut lines = format!(
        "Content-Type: application/http\r\nContent-ID: {id}\r\n\r\nHTTP/1.1 {} {reason}\r\n",
        head.status.as_u16()
    );
    for (name, value) in &head.headers {
        lines.push_str(&format!("{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes())));
    }
    if !body.is_empty() {
        lines.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    lines.push_str("\r\n");
    into.extend_from_slice(lines.as_bytes());
    into.extend_from_slice(&body);
    into.extend_from_slice(b"\r\n");
    Ok(())
}

/// What parts the body.
fn boundary(content_type: &str) -> Result<String, Failure> {
    let mut parts = content_type.split(';').map(str::trim);
    let is_mixed = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("multipart/mixed"));
    let named = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"').to_owned())
    });
    match named {
        Some(boundary) if is_mixed && (1..=BOUNDARY_LEN_MAX).contains(&boundary.len()) => Ok(boundary),
        _ => Err(Failure::header("Content-Type")),
    }
}

/// The requests of a body.
fn read(body: &[u8], boundary: &str) -> Result<Vec<Part>, Failure> {
    let wrong = |words: &str| Failure::bad("InvalidInput", format!("the body is not a batch: {words}"));
    let mut pieces = split(body, format!("--{boundary}").as_bytes());
    if pieces.len() < 3 {
        return Err(wrong("it has no part"));
    }
    // What stands before the first line is no part, and nothing follows the last.
    let last = pieces.pop().unwrap_or_default();
    if !last.starts_with(b"--") {
        return Err(wrong("its end is missing"));
    }
    pieces.remove(0);
    if pieces.len() > REQUESTS_MAX {
        let words = format!("The batch has more than {REQUESTS_MAX} requests.");
        return Err(Failure::bad("ExceedsMaxBatchRequestCount", words));
    }
    let parts: Vec<Part> = pieces
        .into_iter()
        .map(|piece| part(piece).ok_or_else(|| wrong("a part is no request")))
        .collect::<Result<_, _>>()?;
    let is_known = |part: &Part| {
        let tier = part.head.uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "comp=tier"));
        part.head.method == Method::DELETE || part.head.method == Method::PUT && tier
    };
    match parts.iter().all(is_known) {
        true => Ok(parts),
        false => Err(Failure::bad("InvalidInput", "a batch deletes blobs or sets their tiers, and nothing else")),
    }
}

/// The pieces between the lines of a boundary, which stand at the beginning of a line.
fn split<'b>(body: &'b [u8], boundary: &[u8]) -> Vec<&'b [u8]> {
    let mut pieces = Vec::new();
    let (mut from, mut at) = (0, 0);
    while let Some(rest) = body.get(at..) {
        if rest.starts_with(boundary) && (at == 0 || body[at - 1] == b'\n') {
            pieces.push(&body[from..at]);
            at += boundary.len();
            from = at;
        } else {
            match rest.iter().position(|byte| *byte == b'\n') {
                Some(line) => at += line + 1,
                None => break,
            }
        }
    }
    pieces.push(&body[from..]);
    pieces
}

/// A part: its own headers, a blank line, a request.
fn part(piece: &[u8]) -> Option<Part> {
    let mut own = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let piece = piece.trim_ascii_start();
    let httparse::Status::Complete((read, own)) = httparse::parse_headers(piece, &mut own).ok()? else { return None };
    let named =
        |name: &str| own.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value);
    if !named("content-type").is_some_and(|kind| kind.eq_ignore_ascii_case(b"application/http")) {
        return None;
    }
    let id = String::from_utf8(named("content-id").unwrap_or_default().to_vec()).ok()?;
    let mut lines = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut lines);
    // The blank line behind the last header may be that of the boundary.
    let mut text = piece.get(read..)?.trim_ascii().to_vec();
    text.extend_from_slice(b"\r\n\r\n");
    if !request.parse(&text).ok()?.is_complete() {
        return None;
    }
    let made = axum::http::Request::builder().method(request.method?).uri(request.path?);
    let made =
        request.headers.iter().try_fold(made, |made, header| {
            Some(made.header(
                HeaderName::from_bytes(header.name.as_bytes()).ok()?,
                HeaderValue::from_bytes(header.value).ok()?,
            ))
        })?;
    let (head, ()) = made.body(()).ok()?.into_parts();
    Some(Part { id, head })
}

/// Reads a body as a batch: what is fuzzed.
pub(super) fn survive(body: &[u8]) {
    let line = body.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let boundary = String::from_utf8_lossy(line.trim_ascii()).trim_start_matches('-').to_owned();
    let _ = read(body, &boundary);
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "--b\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\nContent-ID: 0\r\n\r\n\
        DELETE /c/a%20b?x=1 HTTP/1.1\r\nx-ms-date: now\r\nContent-Length: 0\r\n\r\n";

    fn shown(body: &str) -> Result<Vec<String>, &'static str> {
        let parts = read(body.as_bytes(), "b").map_err(|_| "refused")?;
        Ok(parts.iter().map(|part| format!("{} {} {}", part.id, part.head.method, part.head.uri)).collect())
    }

    #[test]
    fn parts_are_requests() {
        let once = format!("{ONE}--b--\r\n");
        assert_eq!(shown(&once), Ok(vec!["0 DELETE /c/a%20b?x=1".into()]));
        // Clients of other makers leave out blank lines and write bare line feeds.
        assert_eq!(shown(&once.replace("\r\n", "\n")), Ok(vec!["0 DELETE /c/a%20b?x=1".into()]));
        assert_eq!(
            shown(&format!("{}--b--", ONE.trim_end().to_owned() + "\r\n")),
            Ok(vec!["0 DELETE /c/a%20b?x=1".into()])
        );
        assert_eq!(shown(&format!("{ONE}{ONE}--b--")).map(|parts| parts.len()), Ok(2));
    }

    #[test]
    fn what_is_no_batch_is_refused() {
        for body in [
            String::new(),
            "--b--".into(),
            ONE.into(),
            format!("{ONE}--c--"),
            format!("{}--b--", ONE.replace("DELETE", "GET")),
            format!("{}--b--", ONE.replace("application/http", "text/plain")),
            format!("{}--b--", ONE.replace("DELETE /c", "DELETE c d")),
            format!("{}--b--", ONE.repeat(257)),
        ] {
            assert_eq!(shown(&body), Err("refused"), "{body}");
        }
        assert_eq!(shown(&format!("{}--b--", ONE.repeat(256))).map(|parts| parts.len()), Ok(256));
    }

    #[test]
    fn boundaries_are_told() {
        for text in
            ["multipart/mixed; boundary=b", "Multipart/Mixed;boundary=\"b\"", "multipart/mixed; a=1; Boundary=b"]
        {
            assert_eq!(boundary(text).unwrap(), "b");
        }
        let long = format!("multipart/mixed; boundary={}", "b".repeat(71));
        for text in ["", "text/plain; boundary=b", "multipart/mixed", "multipart/mixed; boundary=", &long] {
            assert!(boundary(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_body_is_survived(body in "(--b|\r\n|Content-ID: 1|DELETE / HTTP/1.1|.){0,40}", bytes: Vec<u8>) {
            survive(body.as_bytes());
            survive(&bytes);
        }
    }
}
