//! Kusto REST: queries of versions 1 and 2, management commands, metadata.
//!
//! Clients of the reference (`azure-kusto-data` for Python and Node, Grafana's data source) aim at the platform by its
//! address alone. They bring the token of `connection.env` as `Bearer`.

mod failure;
mod frames;
mod ingest;
mod queue;
mod request;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Method, header};
use axum::response::{IntoResponse, Response};
use gantry_analytics::{By, Table, Warehouse, small_table};
use gantry_api::{Caller, Permissions, Routes, Witness, kusto};
use gantry_kql::value::{DateTime, Type, Value};
use serde_json::json;
use tokio::sync::Semaphore;

pub use failure::Failure;
use frames::{Ids, Spent};
pub use queue::{Queues, divert};
use request::Request;

/// Queries that run at once; each has a thread of its own.
const QUERIES_MAX: usize = 8;
/// Queries that wait for their turn; more are told to come again.
const WAITING_MAX: usize = 64;

#[derive(Clone)]
struct Shared {
    warehouse: Arc<Warehouse>,
    queues: Arc<Queues>,
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// The routes.
pub fn routes(warehouse: Arc<Warehouse>, queues: Arc<Queues>) -> Routes {
    let shared = Shared {
        warehouse,
        queues,
        running: Arc::new(Semaphore::new(QUERIES_MAX)),
        waiting: Arc::new(Semaphore::new(WAITING_MAX)),
    };
    Routes::new()
        .on(kusto::query_2(), query_2)
        .on(kusto::get_query_2(), query_2)
        .on(kusto::query_1(), query_1)
        .on(kusto::get_query_1(), query_1)
        .on(kusto::command(), query_1)
        .on(kusto::ingest(), ingest::ingest)
        .on(kusto::metadata(), metadata)
        .on(kusto::ping(), || async { "" })
        .with_state(shared)
}

async fn metadata() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], json!({"AzureAD": null, "dSTS": null}).to_string()).into_response()
}

/// Who asks, as the tables know them. Whoever may write rules, which change devices, may write into tables; who
/// administers the platform says who may do what.
fn by(caller: &Caller, request_id: &str, application: &str) -> By {
    By {
        principal: caller.principal(),
        application: application.to_owned(),
        request_id: request_id.to_owned(),
        may_write: caller.permissions.contains(Permissions::RULES_MANAGE),
        may_administer: caller.permissions.contains(Permissions::POLICIES_MANAGE),
    }
}

async fn query_2(
    State(shared): State<Shared>,
    Query(query): Query<Vec<(String, String)>>,
    caller: Caller,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let request = Request::read(&body, &query, &headers)?;
    let ids = ids(&request.request_id);
    let (tables, spent) = run(&shared, request, &caller, false).await?;
    Ok(answer(frames::version_2(&tables, &ids, spent), &ids))
}

async fn query_1(
    State(shared): State<Shared>,
    Query(query): Query<Vec<(String, String)>>,
    method: Method,
    (caller, witness): (Caller, Witness),
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let request = Request::read(&body, &query, &headers)?;
    let (ids, command) = (ids(&request.request_id), gantry_kql::command::is_command(&request.text));
    let changes = command && !is_shown(&request.text);
    // A link that is followed changes nothing.
    if changes && method == Method::GET {
        return Err(Failure::bad_request("a management command is posted"));
    }
    if !changes {
        witness.asks();
    }
    if let Some(table) = of_ingestion(&shared, &request, &caller, &headers)? {
        return Ok(answer(frames::command_1(&[table]), &ids));
    }
    let (tables, _) = run(&shared, request, &caller, command).await?;
    let text = if command { frames::command_1(&tables) } else { frames::version_1(&tables, &ids) };
    Ok(answer(text, &ids))
}

/// Whether a command only shows something.
fn is_shown(text: &str) -> bool {
    let first = text.split_ascii_whitespace().next().unwrap_or_default();
    [".show", ".get"].iter().any(|word| first.eq_ignore_ascii_case(word))
}

/// The commands of clients of queued ingestion, which ask for addresses of ours.
fn of_ingestion(
    shared: &Shared,
    request: &Request,
    caller: &Caller,
    headers: &HeaderMap,
) -> Result<Option<Table>, Failure> {
    let words: Vec<&str> = request.text.split_ascii_whitespace().collect();
    let text = |text: &str| Value::String(text.to_owned());
    let by = by(caller, &request.request_id, &request.application);
    let table = match words.as_slice() {
        [".get", "ingestion", "resources"] => {
            let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
            let rows = shared.queues.resources(host).into_iter().map(|(kind, root)| vec![text(kind), text(&root)]);
            small_table(&[("ResourceTypeName", Type::String), ("StorageRoot", Type::String)], rows.collect())
        }
        [".get", "kusto", "identity", "token"] => {
            let token = shared.queues.identity_token(&by);
            small_table(&[("AuthorizationContext", Type::String)], vec![vec![text(&token)]])
        }
        _ => return Ok(None),
    };
    if !by.may_write {
        return Err(
            gantry_analytics::Rejected::Forbidden(format!("{} is not authorized to ingest", by.principal)).into()
        );
    }
    Ok(Some(table))
}

fn ids(request_id: &str) -> Ids {
    let activity = uuid::Uuid::new_v4().to_string();
    let request = if request_id.is_empty() { format!("unspecified;{activity}") } else { request_id.to_owned() };
    Ids { request, activity, now: DateTime(now()).to_string() }
}

/// The wall clock in ticks.
pub(crate) fn now() -> i64 {
    gantry_analytics::calendar::UNIX_EPOCH + gantry_api::now().as_millis() * 10_000
}

/// Runs a text on a thread of its own, when it is its turn.
async fn run(
    shared: &Shared,
    request: Request,
    caller: &Caller,
    command: bool,
) -> Result<(Vec<Table>, Spent), Failure> {
    let Ok(_waits) = shared.waiting.clone().try_acquire_owned() else { return Err(Failure::busy()) };
    let Ok(turn) = shared.running.clone().acquire_owned().await else { return Err(Failure::busy()) };
    let warehouse = Arc::clone(&shared.warehouse);
    let cancel = gantry_analytics::Cancel::default();
    let mut by = by(caller, &request.request_id, &request.application);
    if request.is_read_only() {
        (by.may_write, by.may_administer) = (false, false);
    }
    // A client that hangs up drops this future, and with it the query.
    let guard = CancelOnDrop(cancel.clone());
    let watched = cancel.clone();
    let is_sql = request.is_sql();
    let begun = std::time::Instant::now();
    let work = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let run = gantry_analytics::Ask {
            database: request.database.as_deref(),
            text: &request.text,
            parameters: &request.parameters,
            now: now(),
            limits: &|set| request.limits(set),
            rows_wanted: request.rows_wanted(),
            cancel,
            by,
        };
        match (command, is_sql) {
            (true, _) => warehouse.command(&run),
            (false, true) => warehouse.tsql(&run),
            (false, false) => warehouse.query(&run),
        }
    });
    let ended = work.await;
    drop(guard);
    match ended {
        Ok(tables) => {
            let tables = tables?;
            // What failed before its first row is an error, not a result.
            match tables.first() {
                Some(Table { failure: Some(error), chunks, .. }) if chunks.iter().all(|chunk| chunk.rows == 0) => {
                    Err(error.clone().into())
                }
                _ => Ok((tables, Spent { time: begun.elapsed(), usage: watched.usage() })),
            }
        }
        Err(error) => {
            tracing::error!(%error, "a query ended without an answer");
            Err(Failure::bad_request("the query ended without an answer; the log says why"))
        }
    }
}

struct CancelOnDrop(gantry_analytics::Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

fn answer(text: String, ids: &Ids) -> Response {
    let mut response = ([(header::CONTENT_TYPE, "application/json; charset=utf-8")], text).into_response();
    let headers = response.headers_mut();
    for (name, value) in [("x-ms-client-request-id", &ids.request), ("x-ms-activity-id", &ids.activity)] {
        if let Ok(value) = value.parse() {
            headers.insert(name, value);
        }
    }
    response
}
