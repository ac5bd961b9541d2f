//! Operations that take longer than a call, and those that clients ask about though they are done.
//!
//! Their outcomes are remembered until the process ends, the last [`REMEMBERED_MAX`] of them.

use std::collections::VecDeque;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use gantry_identity::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::Failure;
use crate::call::{Call, Kind};

/// Operations that are remembered.
const REMEMBERED_MAX: usize = 1_000;
/// How long a client waits before it asks again.
const RETRY_AFTER: Duration = Duration::from_secs(2);
const ASYNC_OPERATION: &str = "azure-asyncoperation";

/// How far an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Done.
    Succeeded,
    /// A failover, rehearsed until then.
    Failover(Timestamp),
}

/// The operations that are remembered.
#[derive(Default)]
pub(crate) struct Operations(Mutex<VecDeque<(String, Kind, Outcome)>>);

impl Operations {
    /// Remembers one; its id.
    pub(crate) fn add(&self, kind: Kind, outcome: Outcome) -> String {
        let id = Uuid::new_v4().simple().to_string();
        let mut all = self.0.lock();
        while all.len() >= REMEMBERED_MAX {
            all.pop_front();
        }
        all.push_back((id.clone(), kind, outcome));
        id
    }

    fn find(&self, kind: Kind, id: &str) -> Option<Outcome> {
        self.0.lock().iter().find(|(known, of, _)| known == id && *of == kind).map(|(.., outcome)| *outcome)
    }
}

fn with_header(mut response: Response, name: &'static str, value: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
    response
}

/// The answer to a write that is done, with where its outcome can be asked for.
pub(crate) fn written(call: &Call, kind: Kind, resource: Value) -> Response {
    let id = call.management.operations.add(kind, Outcome::Succeeded);
    with_header(Json(resource).into_response(), ASYNC_OPERATION, &call.address_of(kind, &id))
}

/// The answer to an operation that goes on.
pub(crate) fn accepted(call: &Call, kind: Kind, id: &str) -> Response {
    let response = (StatusCode::ACCEPTED, Json(json!({ "status": "Running" }))).into_response();
    let response = with_header(response, header::LOCATION.as_str(), &call.address_of(kind, id));
    with_header(response, header::RETRY_AFTER.as_str(), &RETRY_AFTER.as_secs().to_string())
}

/// How the operation that the path names fares.
pub(crate) fn outcome(call: &Call, kind: Kind) -> Result<Response, Failure> {
    call.check_name(kind)?;
    let id = call.piece("operationId");
    let unknown = || Failure::not_found("there is no such operation, or it is too long ago");
    let is_running = match call.management.operations.find(kind, id).ok_or_else(unknown)? {
        Outcome::Succeeded => false,
        Outcome::Failover(until) => {
            call.hub().fault_plan(gantry_api::now()).is_some_and(|(_, planned)| planned == until)
        }
    };
    if is_running {
        return Ok(accepted(call, kind, id));
    }
    Ok(Json(json!({ "status": "Succeeded" })).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_operations_are_remembered() {
        let operations = Operations::default();
        let first = operations.add(Kind::Hub, Outcome::Succeeded);
        assert_eq!(operations.find(Kind::Hub, &first), Some(Outcome::Succeeded));
        assert_eq!(operations.find(Kind::Provisioning, &first), None);
        for _ in 1..REMEMBERED_MAX {
            operations.add(Kind::Hub, Outcome::Succeeded);
        }
        assert!(operations.find(Kind::Hub, &first).is_some());
        operations.add(Kind::Hub, Outcome::Succeeded);
        assert_eq!(operations.find(Kind::Hub, &first), None);
    }
}
