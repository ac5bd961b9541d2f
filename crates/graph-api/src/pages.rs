//! Lists in pages: `{"value", "nextLink"}`.

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use gantry_api::graph::BASE;
use gantry_graph::GraphError;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::Failure;
use crate::call::Call;

/// Bytes of a token at most: two ids.
const TOKEN_LEN_MAX: usize = 1024;

/// Behind which key a page begins.
pub(crate) fn after(call: &Call) -> Result<Option<String>, Failure> {
    let Some(token) = call.value("continuationToken") else { return Ok(None) };
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok().filter(|_| token.len() <= TOKEN_LEN_MAX);
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.map(Some).ok_or_else(|| GraphError::BadContinuation.into())
}

/// A page of the items that follow, which come with their keys. `rest` of the address goes into the link to the next.
pub(crate) fn page(
    call: &Call,
    path: &str,
    rest: &[(&str, String)],
    items: impl Iterator<Item = (String, Value)>,
) -> Result<Response, Failure> {
    let most = call.items_max()?;
    let mut items = items.peekable();
    let (mut value, mut last) = (vec![], None);
    while value.len() < most
        && let Some((key, item)) = items.next()
    {
        value.push(item);
        last = Some(key);
    }
    let mut body = json!({ "value": value });
    if let (Some(key), true) = (last, items.peek().is_some()) {
        body["nextLink"] = link(call, path, rest, &key).into();
    }
    Ok(Json(body).into_response())
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn link(call: &Call, path: &str, rest: &[(&str, String)], key: &str) -> String {
    let token = BASE64_URL_SAFE_NO_PAD.encode(key);
    let rest: String = rest.iter().map(|(name, value)| format!("&{name}={}", encoded(value))).collect();
    format!("{}?continuationToken={token}{rest}&api-version={}", address(call, path), encoded(&call.version))
}

/// The address of something of the graph.
pub(crate) fn address(call: &Call, path: &str) -> String {
    let path: String =
        path.split('/').filter(|piece| !piece.is_empty()).map(|piece| format!("/{}", encoded(piece))).collect();
    format!("https://{}{BASE}{path}", call.host)
}
