//! Configurations and deployments.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use gantry_hub::configuration::{Configuration, ConfigurationWrite, check_metric, check_target};
use gantry_hub::device::IfMatch;
use gantry_hub::import_export::ConfigurationEntry;
use gantry_hub::limits::CONFIGURATIONS_MAX;
use gantry_hub::twin::Object;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::bodies;
use super::{device, if_match};
use crate::error::ApiError;
use crate::fields;
use crate::query::Query;
use crate::{Api, now};

type Answer = Result<Response, ApiError>;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ConfigurationBody {
    id: Option<String>,
    schema_version: Option<String>,
    labels: Option<Object>,
    content: Option<Value>,
    target_condition: Option<String>,
    priority: Option<i32>,
    metrics: Option<MetricsBody>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct MetricsBody {
    queries: Option<Map<String, Value>>,
}

impl ConfigurationBody {
    fn write(self, id: &str) -> Result<ConfigurationWrite, ApiError> {
        if self.id.is_some_and(|given| given != id) {
            return Err(ApiError::invalid("id in the body differs from the id in the path"));
        }
        let queries = self.metrics.and_then(|metrics| metrics.queries).unwrap_or_default();
        Ok(ConfigurationWrite {
            schema_version: self.schema_version,
            labels: self.labels.unwrap_or_default(),
            content: self.content.filter(|content| !is_empty(content)),
            target_condition: self.target_condition.unwrap_or_default(),
            priority: self.priority.unwrap_or_default(),
            metrics: queries
                .into_iter()
                .map(|(name, query)| Ok((name, text(query)?)))
                .collect::<Result<_, ApiError>>()?,
        })
    }
}

/// Clients send `content` with nothing in it when they leave it alone.
fn is_empty(content: &Value) -> bool {
    content.is_null()
        || content.as_object().is_some_and(|parts| {
            parts.values().all(|part| part.is_null() || part.as_object().is_some_and(Map::is_empty))
        })
}

fn text(value: Value) -> Result<String, ApiError> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(ApiError::invalid("a metric is the text of a query")),
    }
}

/// A configuration as it is sent, or a line of an import file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ImportBody {
    #[serde(default)]
    import_mode: Option<String>,
    #[serde(default)]
    etag: Option<String>,
    #[serde(flatten)]
    body: ConfigurationBody,
}

/// A configuration as a line of an export file.
pub(crate) fn exported(configuration: &Configuration) -> Value {
    let write = &configuration.write;
    let queries: Map<_, _> = write.metrics.iter().map(|(name, query)| (name.clone(), query.as_str().into())).collect();
    json!({
        "id": configuration.id,
        "schemaVersion": write.schema_version.as_deref().unwrap_or("1.0"),
        "labels": write.labels,
        "content": write.content,
        "targetCondition": write.target_condition,
        "priority": write.priority,
        "metrics": { "queries": queries },
        "etag": configuration.etag_text(),
        "importMode": "createOrUpdate",
    })
}

/// What a line of an import file says.
pub(crate) fn read_line(line: &[u8]) -> Result<ConfigurationEntry, ApiError> {
    let line: ImportBody = bodies::parse_fields(line, &fields::CONFIGURATION)?;
    let id = line.body.id.clone().ok_or_else(|| ApiError::invalid("id is missing"))?;
    let if_match = match line.import_mode.as_deref().map(str::to_ascii_lowercase).as_deref() {
        None | Some("" | "createorupdate") => IfMatch::Any,
        Some("createorupdateifmatchetag") => IfMatch::parse(line.etag.as_deref()),
        Some(_) => return Err(ApiError::invalid("importMode must be createOrUpdate or createOrUpdateIfMatchETag")),
    };
    Ok(ConfigurationEntry { write: line.body.write(&id)?, id, if_match })
}

async fn body(api: &Api, configuration: &Configuration) -> Result<Value, ApiError> {
    let system = configuration.system_metrics();
    let results = api.hub.system_metric_results(configuration).await?;
    let mut system_results = Map::new();
    for ((name, _), result) in system.iter().zip(results) {
        system_results.insert((*name).to_owned(), result.into());
    }
    let system_queries: Map<_, _> = system.into_iter().map(|(name, query)| (name.to_owned(), query.into())).collect();
    let (mut results, mut queries) = (Map::new(), Map::new());
    for (name, query) in &configuration.write.metrics {
        results.insert(name.clone(), api.hub.count_rows(query).await?.into());
        queries.insert(name.clone(), query.as_str().into());
    }
    let write = &configuration.write;
    Ok(json!({
        "id": configuration.id,
        "schemaVersion": write.schema_version.as_deref().unwrap_or("1.0"),
        "labels": write.labels,
        "content": write.content,
        "targetCondition": write.target_condition,
        "createdTimeUtc": configuration.created_at.to_string(),
        "lastUpdatedTimeUtc": configuration.updated_at.to_string(),
        "priority": write.priority,
        "systemMetrics": { "results": system_results, "queries": system_queries },
        "metrics": { "results": results, "queries": queries },
        "etag": configuration.etag_text(),
    }))
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Vec<Value>>, ApiError> {
    let top = match query.get("top") {
        None => CONFIGURATIONS_MAX,
        Some(text) => text.parse().map_err(|_| ApiError::invalid("top must be a number"))?,
    };
    let mut all = vec![];
    for configuration in api.hub.configurations().iter().take(top) {
        all.push(body(&api, configuration).await?);
    }
    Ok(Json(all))
}

pub(super) async fn get(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer {
    let configuration = api.hub.configuration(&id)?;
    Ok(bodies::with_etag(body(&api, &configuration).await?, &configuration.etag_text()))
}

pub(super) async fn put(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(id): Path<String>,
    bytes: Bytes,
) -> Answer {
    let sent: ImportBody = bodies::parse_fields(&bytes, &fields::CONFIGURATION)?;
    if sent.import_mode.is_some() {
        return Err(ApiError::invalid("importMode belongs to import files"));
    }
    let write = sent.body.write(&id)?;
    let if_match = if_match(&headers);
    let configuration = api.hub.put_configuration(now(), &id, write, &if_match).await?;
    let mut response = bodies::with_etag(body(&api, &configuration).await?, &configuration.etag_text());
    if matches!(if_match, IfMatch::Absent) {
        *response.status_mut() = StatusCode::CREATED;
    }
    Ok(response)
}

pub(super) async fn delete(State(api): State<Arc<Api>>, headers: HeaderMap, Path(id): Path<String>) -> Answer {
    api.hub.delete_configuration(&id, &if_match(&headers)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct TestBody {
    target_condition: Option<String>,
    custom_metric_queries: Option<Map<String, Value>>,
}

pub(super) async fn test_queries(bytes: Bytes) -> Answer {
    let body: TestBody = bodies::parse_fields(&bytes, &fields::TEST_QUERIES)?;
    let target_error = check_target(body.target_condition.as_deref().unwrap_or_default()).err();
    let mut errors = Map::new();
    for (name, query) in body.custom_metric_queries.unwrap_or_default() {
        if let Err(why) = check_metric(&text(query)?) {
            errors.insert(name, why.into());
        }
    }
    Ok(Json(json!({ "targetConditionError": target_error, "customMetricQueryErrors": errors })).into_response())
}

pub(super) async fn apply(State(api): State<Arc<Api>>, Path(id): Path<String>, bytes: Bytes) -> Answer {
    let content: Value = bodies::parse_fields(&bytes, &fields::CONTENT)?;
    api.hub.apply_content(now(), &device(&id)?, &content).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
