//! Streaming ingestion: data in the body of a request, in its table when it is answered.
//!
//! Clients try again when an answer is lost, under the same id with the number of the attempt behind it, and in the end
//! through the queue: data of one id comes in once ([`source_of`]). `Content-Encoding` is not looked at: the Python
//! client says gzip of Parquet and Avro, which it sends as they are; bytes tell what they are.

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use gantry_analytics::ingest::inflated_within;
use gantry_analytics::{Ask, Cancel, Ingested, Limits};
use gantry_api::Caller;
use gantry_kql::value::Value;
use serde_json::json;

use super::{Failure, Shared, answer, by, ids, now};

/// Bytes that one request may inflate to: the reference's bound is on what is sent, and a client may send as much
/// again as it likes.
const INFLATED_BYTES_MAX: u64 = 256 << 20;

/// The name of data in the id of a request: `KPC.executeManagedStreamingIngest;{source};{attempt}`.
pub(super) fn source_of(request_id: &str) -> Option<String> {
    let mut parts = request_id.split(';').skip(1);
    let source = parts.next()?.trim().to_ascii_lowercase();
    uuid::Uuid::parse_str(&source).is_ok().then_some(source)
}

pub(super) async fn ingest(
    State(shared): State<Shared>,
    Path((database, table)): Path<(String, String)>,
    Query(query): Query<Vec<(String, String)>>,
    caller: Caller,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let said = |name: &str| {
        let found = query.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str());
        found.filter(|value| !value.is_empty())
    };
    if !database.eq_ignore_ascii_case(shared.warehouse.database()) && database != "NetDefaultDB" {
        return Err(gantry_analytics::Rejected::Database(database).into());
    }
    let request_id = header("x-ms-client-request-id").to_owned();
    let by = by(&caller, &request_id, header("x-ms-app"));
    let mut properties = vec![("format".to_owned(), Value::String(said("streamFormat").unwrap_or("csv").to_owned()))];
    if let Some(name) = said("mappingName") {
        properties.push(("ingestionMappingReference".to_owned(), Value::String(name.to_owned())));
    }
    let is_uri = said("sourceKind").is_some_and(|kind| kind.eq_ignore_ascii_case("uri"));
    if body.is_empty() {
        return Err(Failure::bad_request("the body is empty: there is no data in it"));
    }
    let Ok(turn) = shared.running.clone().acquire_owned().await else { return Err(Failure::busy()) };
    let warehouse = std::sync::Arc::clone(&shared.warehouse);
    let source = source_of(&request_id);
    let work = tokio::task::spawn_blocking(move || -> Result<Ingested, Failure> {
        let _turn = turn;
        let ask = Ask {
            database: Some(&database),
            text: "",
            parameters: &[],
            now: now(),
            limits: &|_| Limits::default(),
            rows_wanted: None,
            cancel: Cancel::default(),
            by,
        };
        let plain = inflated_within(&body, INFLATED_BYTES_MAX).map_err(|fault| match fault.code {
            "BadRequest_DataTooLarge" => Failure::too_large(fault.message),
            _ => Failure::bad_request(fault.to_string()),
        })?;
        if !is_uri {
            return Ok(warehouse.ingest(&ask, &table, &plain, &properties, "", source)?);
        }
        let named: serde_json::Value = serde_json::from_slice(&plain).unwrap_or_default();
        let uri = ["sourceUri", "SourceUri"].iter().find_map(|name| named.get(name)).and_then(|uri| uri.as_str());
        let Some(uri) = uri else { return Err(Failure::bad_request("the body must name a `sourceUri`")) };
        let bytes = warehouse.outside().read(uri, INFLATED_BYTES_MAX).map_err(Failure::bad_request)?;
        Ok(warehouse.ingest(&ask, &table, &bytes, &properties, uri, source)?)
    });
    let done = work.await.map_err(|error| {
        tracing::error!(%error, "an ingestion ended without an answer");
        Failure::bad_request("the ingestion ended without an answer; the log says why")
    })??;
    let failed = done.failed_policies.first();
    let columns =
        ["ConsumedRecordsCount", "UpdatePolicyStatus", "UpdatePolicyFailureCode", "UpdatePolicyFailureReason"];
    let columns: Vec<_> = columns
        .iter()
        .enumerate()
        .map(|(at, name)| {
            let (data, kind) = if at == 0 { ("Int64", "long") } else { ("String", "string") };
            json!({"ColumnName": name, "DataType": data, "ColumnType": kind})
        })
        .collect();
    let row = json!([
        done.rows,
        if failed.is_some() { "Failure" } else { "Inactive" },
        failed.map_or("", |_| "UpdatePolicy_QueryFailure"),
        failed.map_or("", String::as_str)
    ]);
    let text = json!({"Tables": [{"TableName": "Table_0", "Columns": columns, "Rows": [row]}]}).to_string();
    Ok(answer(text, &ids(&request_id)))
}

#[cfg(test)]
mod tests {
    use super::source_of;

    #[test]
    fn attempts_of_one_source_have_one_name() {
        let id = "5f0a2b6e-6f0c-4a35-9c3c-0d8f3f9f2a11";
        let first = source_of(&format!("KPC.executeManagedStreamingIngest;{id};0"));
        assert_eq!(first.as_deref(), Some(id));
        assert_eq!(first, source_of(&format!("KPC.executeManagedStreamingIngest;{id};2")));
        for none in ["", "x", "KPC.execute", "KPC.execute;nonsense;1"] {
            assert_eq!(source_of(none), None, "{none}");
        }
    }
}
