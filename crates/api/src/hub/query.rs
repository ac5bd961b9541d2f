//! Twin queries.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use gantry_hub::ItemType;
use serde::Deserialize;

use super::bodies;
use crate::Api;
use crate::error::ApiError;
use crate::fields;

/// Header with the size of a page.
pub(crate) const MAX_ITEM_COUNT: &str = "x-ms-max-item-count";
/// Header that continues a query; absent on the last page.
pub(crate) const CONTINUATION: &str = "x-ms-continuation";
/// Header that names what the items are.
pub(crate) const ITEM_TYPE: &str = "x-ms-item-type";

#[derive(Deserialize)]
struct QueryBody {
    query: String,
}

pub(super) async fn query(State(api): State<Arc<Api>>, headers: HeaderMap, body: Bytes) -> Result<Response, ApiError> {
    let body: QueryBody = bodies::parse_fields(&body, &fields::QUERY)?;
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).filter(|v| !v.is_empty());
    let page = text(MAX_ITEM_COUNT)
        .map(|count| count.parse().map_err(|_| ApiError::invalid(format!("{MAX_ITEM_COUNT} must be a number"))))
        .transpose()?;
    let page = api.hub.query(&body.query, page, text(CONTINUATION)).await?;
    let item_type = match page.item_type {
        ItemType::Twin => "Twin",
        ItemType::DeviceJob => "DeviceJob",
        ItemType::Raw => "Raw",
    };
    let mut response = Json(page.items).into_response();
    response.headers_mut().insert(ITEM_TYPE, HeaderValue::from_static(item_type));
    if let Some(token) = page.continuation.and_then(|token| HeaderValue::from_str(&token).ok()) {
        response.headers_mut().insert(CONTINUATION, token);
    }
    Ok(response)
}
