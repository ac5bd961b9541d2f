//! Streaming jobs, to look at: they are made in the configuration.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Method as M;
use serde_json::{Map, Value, json};

use super::row;
use crate::Api;
use crate::caller::Permissions as P;
use crate::routes::Routes;
use crate::streaming::{JobState, StreamingJob};

pub(super) fn routes() -> Routes<Arc<Api>> {
    let about = "`{\"value\":[StreamingJob]}`, in order of name: text, outputs, how it fares, how far time has come, what it dropped and holds.";
    Routes::new().on(row(M::GET, "/streaming/jobs", "StreamingJobs_List", P::DEVICES_READ, about), list)
}

async fn list(State(api): State<Arc<Api>>) -> Json<Value> {
    Json(json!({ "value": api.streaming.all().iter().map(shape).collect::<Vec<_>>() }))
}

fn shape(job: &StreamingJob) -> Value {
    let (state, failure) = match &job.state {
        JobState::Starting => ("starting", None),
        JobState::Running => ("running", None),
        JobState::Failed(why) => ("failed", Some(why)),
    };
    let output = |(name, to): &(String, &str)| json!({ "name": name, "to": to });
    let dropped: Map<String, Value> =
        job.dropped.iter().map(|(why, count)| ((*why).to_owned(), json!(count))).collect();
    let (events, groups, bytes) = job.held;
    json!({
        "name": job.name,
        "query": job.query,
        "input": job.input,
        "outputs": job.outputs.iter().map(output).collect::<Vec<_>>(),
        "reference": job.reference,
        "state": state,
        "failure": failure,
        "since": job.since.to_string(),
        "watermark": job.watermark.map(|at| at.to_string()),
        "events": job.events,
        "rows": job.rows,
        "dropped": dropped,
        "held": { "events": events, "groups": groups, "bytes": bytes },
    })
}
