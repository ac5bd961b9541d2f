//! Queries.

use std::time::{Duration, Instant};

use axum::http::{HeaderName, header};
use axum::response::{IntoResponse as _, Response};
use gantry_graph::query::page_while;
use serde_json::Value;

use crate::Failure;
use crate::call::Call;

/// The header that says what a query took.
const CHARGE: HeaderName = HeaderName::from_static("query-charge");

/// How long one query may look.
const TIME_MAX: Duration = Duration::from_secs(5);

pub(crate) async fn run(call: Call) -> Result<Response, Failure> {
    let most = call.items_max()?;
    let mut body = call.fields()?;
    let mut text = |name: &str| match body.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Failure::invalid(format!("`{name}` is a string"))),
    };
    let (query, token) = (text("query")?, text("continuationToken")?);
    if query.is_none() && token.is_none() {
        return Err(Failure::invalid("the body has `query`, or `continuationToken`"));
    }
    let graph = std::sync::Arc::clone(&call.service.graph);
    // It looks at as much as it may: not on a thread that others wait for.
    let turn = graph.turn().await;
    let run = move || {
        let (_turn, begun) = (turn, Instant::now());
        let is_wanted = || begun.elapsed() < TIME_MAX;
        page_while(&graph.read(), &query.unwrap_or_default(), token.as_deref(), most, &is_wanted)
    };
    let found = tokio::task::spawn_blocking(run).await.map_err(|error| Failure::unavailable(&error))??;
    let mut answer = format!("{{\"value\":[{}]", found.rows.join(","));
    if let Some(token) = &found.token {
        answer.push_str(&format!(",\"continuationToken\":{}", Value::from(token.as_str())));
    }
    answer.push('}');
    let headers = [(header::CONTENT_TYPE, "application/json".to_owned()), (CHARGE, format!("{:.2}", found.charge))];
    Ok((headers, answer).into_response())
}
