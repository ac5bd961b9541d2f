//! What is counted: devices, messages, and how endpoints fare.

use axum::Json;
use gantry_api::now;
use gantry_identity::Timestamp;
use serde_json::{Value, json};

use super::document::sku;
use super::{KIND, rfc1123};
use crate::Failure;
use crate::call::Call;

type Answer = Result<Json<Value>, Failure>;

/// Times of an endpoint's health.
const TIMES: [&str; 3] = ["lastKnownErrorTime", "lastSuccessfulSendAttemptTime", "lastSendAttemptTime"];

pub(crate) async fn stats(call: Call) -> Answer {
    call.check_name(KIND)?;
    let counts = call.hub().counts().await?;
    Ok(Json(json!({
        "totalDeviceCount": counts.enabled + counts.disabled,
        "enabledDeviceCount": counts.enabled,
        "disabledDeviceCount": counts.disabled,
    })))
}

/// The edition there is: it cannot be another while the platform runs.
pub(crate) async fn skus(call: Call) -> Answer {
    call.check_name(KIND)?;
    let sku = sku(call.hub().config().edition);
    let units = &sku["capacity"];
    let capacity = json!({ "minimum": units, "maximum": units, "default": units, "scaleType": "None" });
    Ok(Json(json!({ "value": [{ "resourceType": KIND.name(), "sku": sku, "capacity": capacity }] })))
}

/// A hub without an edition counts no messages, and has no bound on either.
pub(crate) async fn quotas(call: Call) -> Answer {
    call.check_name(KIND)?;
    let counts = call.hub().counts().await?;
    let messages = call.hub().message_quota(now());
    let messages =
        messages.map(|(used, max)| json!({ "name": "TotalMessages", "currentValue": used, "maxValue": max }));
    let devices = json!({ "name": "TotalDeviceCount", "currentValue": counts.enabled + counts.disabled });
    Ok(Json(json!({ "value": messages.into_iter().chain([devices]).collect::<Vec<_>>() })))
}

pub(crate) async fn health(call: Call) -> Answer {
    call.check_name(KIND)?;
    let all = call.hub().endpoint_health(now()).into_iter().map(|mut one| {
        for name in TIMES {
            let at = one[name].as_str().and_then(Timestamp::parse);
            one[name] = at.map(rfc1123).into();
        }
        one
    });
    Ok(Json(json!({ "value": all.collect::<Vec<_>>() })))
}
