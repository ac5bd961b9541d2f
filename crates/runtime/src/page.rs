//! The page, embedded: files of `web/dist` with the headers that keep it self-contained.
//!
//! Scripts and style sheets are embedded compressed alone, as `NAME.br` (`web/vite.config.ts` writes them so): most of
//! the page is the editor of queries, a sixth in size then. Who does not take Brotli is given the plain bytes.

use std::io::Read;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gantry_api::ApiError;
use rust_embed::Embed;

#[derive(Embed)]
#[folder = "../../web/dist"]
struct Files;

/// Nothing from elsewhere, no inline script, no inline style, never in a frame.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; img-src 'self' data:; object-src 'none'; \
    base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Answers what no API route took: a file of the page, or that there is no such operation.
pub async fn serve(request: Request<Body>) -> Response {
    let path = request.uri().path();
    let name = if path == "/" { "index.html" } else { path.trim_start_matches('/') };
    let packed = || Files::get(&format!("{name}.br"));
    let Some((file, packed)) = Files::get(name).map(|file| (file, false)).or_else(|| Some((packed()?, true))) else {
        let is_of_application = path.strip_prefix("/api").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        return match is_of_application {
            true => gantry_api::central::no_such_path(path),
            false => ApiError::no_such_path(path).into_response(),
        };
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let as_it_is = !packed || takes_brotli(request.headers());
    let body = if as_it_is { Body::from(file.data) } else { Body::from(unpack(&file.data)) };
    let kind = mime_guess::from_path(name).first_or_octet_stream();
    // Built assets have their hash in the name; the page itself must be asked for again.
    let cache = if name.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    if let Ok(kind) = HeaderValue::from_str(kind.as_ref()) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    if packed {
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        if as_it_is {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
        }
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// Whether a client names `br` among what it takes, and not with the weight 0 (RFC 9110, 12.5.3).
fn takes_brotli(headers: &HeaderMap) -> bool {
    let offered = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    offered.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let refused = weight.trim().strip_prefix("q=").is_some_and(|weight| weight.parse::<f32>() == Ok(0.0));
        name.trim().eq_ignore_ascii_case("br") && !refused
    })
}

fn unpack(packed: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    brotli::Decompressor::new(packed, 4096).read_to_end(&mut plain).expect("the build compressed it");
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(offered: &[&'static str], taken: bool) {
        let mut headers = HeaderMap::new();
        for &one in offered {
            headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static(one));
        }
        assert_eq!(takes_brotli(&headers), taken, "{offered:?}");
    }

    #[test]
    fn brotli_goes_to_who_takes_it() {
        check(&["gzip, deflate, br, zstd"], true);
        check(&["gzip", "BR;q=0.5"], true);
        check(&[], false);
        check(&["gzip, deflate"], false);
        check(&["gzip, br;q=0"], false);
        check(&["br; q=0.000"], false);
        check(&["brotli, xbr"], false);
    }

    async fn get(name: &str, coding: &'static str) -> (HeaderMap, Vec<u8>) {
        let request = Request::get(format!("/{name}")).header(header::ACCEPT_ENCODING, coding).body(Body::empty());
        let response = serve(request.expect("a name of ours")).await;
        assert_eq!(response.status(), StatusCode::OK, "{name}");
        let headers = response.headers().clone();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("it is in memory");
        (headers, bytes.into())
    }

    /// Without a built page there is nothing compressed; `tests/page.sh` asks a whole binary.
    #[tokio::test]
    async fn compressed_files_are_one_file_to_everybody() {
        for packed in Files::iter().filter(|name| name.ends_with(".br")) {
            let name = packed.trim_end_matches(".br");
            let ((small, packed), (plain, bytes)) = (get(name, "gzip, br").await, get(name, "gzip").await);
            assert_eq!(small.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes), Some(&b"br"[..]), "{name}");
            assert_eq!(plain.get(header::CONTENT_ENCODING), None, "{name}");
            assert_eq!(small[header::CONTENT_TYPE], plain[header::CONTENT_TYPE], "{name}");
            assert_eq!(unpack(&packed), bytes, "{name}");
        }
    }
}
