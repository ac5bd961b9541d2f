//! A manual failover, rehearsed: there is one place and nothing to fail over to, but clients can be shown what they
//! would see. For a while REST calls are refused and telemetry is lost with its connection; then all is well again.

use std::time::Duration;

use axum::response::Response;
use gantry_api::now;
use gantry_hub::faults::{FaultPlan, RestFault, TelemetryFaults};
use serde_json::Value;

use super::KIND;
use crate::call::Call;
use crate::operations::{Outcome, accepted};
use crate::{Failure, LOCATION};

/// How long a rehearsal takes.
const REHEARSAL: Duration = Duration::from_secs(30);
/// Seconds until a refused client may try again.
const RETRY_AFTER_SECS: u32 = 2;

fn plan() -> FaultPlan {
    FaultPlan {
        duration_secs: REHEARSAL.as_secs(),
        telemetry: Some(TelemetryFaults { drop_share: 1.0, ..TelemetryFaults::default() }),
        rest: Some(RestFault { status: 503, share: 1.0, retry_after_secs: Some(RETRY_AFTER_SECS) }),
        ..FaultPlan::default()
    }
}

pub(crate) async fn begin(call: Call) -> Result<Response, Failure> {
    call.check_name(KIND)?;
    let body = call.body()?;
    match body.get("failoverRegion").and_then(Value::as_str) {
        Some(place) if place.eq_ignore_ascii_case(LOCATION) => {}
        Some(place) => return Err(Failure::location(place)),
        None => return Err(Failure::invalid("`failoverRegion` is a string")),
    }
    let now = now();
    if call.hub().fault_plan(now).is_some() {
        return Err(Failure::conflict("faults are planned already; end them first"));
    }
    call.hub().begin_faults(now, plan())?;
    let id = call.management.operations.add(KIND, Outcome::Failover(now.plus(REHEARSAL)));
    Ok(accepted(&call, KIND, &id))
}
