//! Headers: conditions, properties, metadata, dates and ranges.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use gantry_blobs::blob::{Blob, ETag, METADATA_BYTES_MAX, Metadata, Properties};
use gantry_blobs::conditions::{Conditions, Tags};
use gantry_identity::Timestamp;

use super::error::Failure;
use super::request::Head;

const META: &str = "x-ms-meta-";

/// An HTTP date.
pub(super) fn date(text: &str) -> Option<Timestamp> {
    let at = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp::from_millis(i64::try_from(at.as_millis()).ok()?))
}

/// An instant as an HTTP date.
pub(super) fn http_date(at: Timestamp) -> String {
    let since = Duration::from_millis(u64::try_from(at.as_millis()).unwrap_or(0));
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + since)
}

/// Refuses conditions that are not built, on every operation.
pub(super) fn check_conditions(head: &Head) -> Result<(), Failure> {
    for (name, what) in [("x-ms-if-tags", "conditions on tags"), ("x-ms-lease-id", "leases")] {
        if head.header(name).is_some() {
            return Err(Failure::not_implemented(what));
        }
    }
    Ok(())
}

/// The conditions of an operation that takes some, by the rules of its method.
pub(super) fn conditions(head: &Head) -> Result<Conditions, Failure> {
    // A date that is empty is none: clients of the service send such.
    let instant = |name: &str| match head.header(name) {
        None | Some("") => Ok(None),
        Some(text) => date(text).map(Some).ok_or_else(|| Failure::header(name)),
    };
    let all = Conditions {
        if_match: head.header("if-match").map(Tags::parse),
        if_none_match: head.header("if-none-match").map(Tags::parse),
        if_modified_since: instant("if-modified-since")?,
        if_unmodified_since: instant("if-unmodified-since")?,
        only_new: false,
    };
    let is_read = matches!(head.method, Method::GET | Method::HEAD);
    Ok(if is_read { all.of_read()? } else { all.of_write()? })
}

/// Names and values of `x-ms-meta-…`.
pub(super) fn metadata(headers: &[(String, String)]) -> Result<Metadata, Failure> {
    let mut metadata = Metadata::new();
    for (name, value) in headers {
        let Some(name) = name.strip_prefix(META) else { continue };
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(word) {
            return Err(Failure::bad("InvalidMetadata", "a metadata name has letters, digits and underscores"));
        }
        metadata.push((name.to_owned(), value.clone()));
    }
    let bytes: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > METADATA_BYTES_MAX {
        return Err(Failure::bad("MetadataTooLarge", format!("metadata exceeds {METADATA_BYTES_MAX} bytes")));
    }
    Ok(metadata)
}

/// `x-ms-blob-…` headers; the plain ones stand in for them when a blob is put in one piece.
pub(super) fn properties(head: &Head, with_plain: bool) -> Result<Properties, Failure> {
    let given = |name: &str| {
        let own = head.header(&format!("x-ms-blob-{name}"));
        let plain = if with_plain { head.header(name) } else { None };
        own.or(plain).filter(|value| !value.is_empty()).map(str::to_owned)
    };
    let md5 = match head.header("x-ms-blob-content-md5") {
        None | Some("") => None,
        Some(text) => Some(read_md5(text).ok_or_else(|| Failure::header("x-ms-blob-content-md5"))?),
    };
    Ok(Properties {
        content_type: given("content-type"),
        content_encoding: given("content-encoding"),
        content_language: given("content-language"),
        content_disposition: head.header("x-ms-blob-content-disposition").map(str::to_owned),
        cache_control: given("cache-control"),
        content_md5: md5,
    })
}

pub(super) fn read_md5(text: &str) -> Option<[u8; 16]> {
    BASE64.decode(text).ok()?.try_into().ok()
}

pub(super) fn write_md5(md5: [u8; 16]) -> String {
    BASE64.encode(md5)
}

/// First byte and, where given, one behind the last, of `bytes=first-last`.
pub(super) fn range(head: &Head) -> Result<Option<(u64, Option<u64>)>, Failure> {
    let Some(text) = head.header("x-ms-range").or_else(|| head.header("range")) else { return Ok(None) };
    let read = || {
        let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
        let first: u64 = first.parse().ok()?;
        if last.is_empty() {
            return Some((first, None));
        }
        let last: u64 = last.parse().ok()?;
        (first <= last).then_some((first, Some(last.saturating_add(1))))
    };
    read().map(Some).ok_or_else(|| Failure::header("Range"))
}

/// Puts a header whose value came from a client; one that HTTP cannot carry is left out.
pub(super) fn put(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
        headers.insert(name, value);
    }
}

pub(super) fn put_state(headers: &mut HeaderMap, etag: ETag, modified_at: Timestamp) {
    put(headers, "etag", &format!("\"{etag}\""));
    put(headers, "last-modified", &http_date(modified_at));
}

pub(super) fn put_metadata(headers: &mut HeaderMap, metadata: &Metadata) {
    for (name, value) in metadata {
        put(headers, &format!("{META}{name}"), value);
    }
}

/// Everything of a blob but its length and MD5.
pub(super) fn put_blob(headers: &mut HeaderMap, blob: &Blob) {
    put_state(headers, blob.etag, blob.modified_at);
    put_metadata(headers, &blob.metadata);
    let properties = &blob.properties;
    let content_type = properties.content_type.as_deref().or(Some("application/octet-stream"));
    for (name, value) in [
        ("content-type", content_type),
        ("content-encoding", properties.content_encoding.as_deref()),
        ("content-language", properties.content_language.as_deref()),
        ("content-disposition", properties.content_disposition.as_deref()),
        ("cache-control", properties.cache_control.as_deref()),
        ("accept-ranges", Some("bytes")),
        ("x-ms-creation-time", Some(http_date(blob.created_at).as_str())),
        ("x-ms-blob-type", Some("BlockBlob")),
        ("x-ms-lease-status", Some("unlocked")),
        ("x-ms-lease-state", Some("available")),
        ("x-ms-server-encrypted", Some("false")),
    ] {
        if let Some(value) = value {
            put(headers, name, value);
        }
    }
}
