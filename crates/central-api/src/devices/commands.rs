//! Commands: direct methods, or messages that wait for the device when the template says that the command is durable.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use gantry_api::{WallClock, now};
use gantry_central::access::permissions::Permission;
use gantry_central::devices::{method_name, request_of};
use gantry_hub::c2d::C2dMessage;
use gantry_hub::{HubError, MethodCall, MethodTimeouts};
use gantry_identity::Identity;
use serde_json::{Value, json};

use super::history::Run;
use super::{hub, known};
use crate::Failure;
use crate::call::Call;

/// How long a command waits for its device (IoT Central, offline commands).
const WAITS_MAX: Duration = Duration::from_secs(24 * 3600);
/// The property of the message that names the command.
const METHOD_NAME: &str = "method-name";

pub(crate) async fn run(call: Call) -> Result<Response, Failure> {
    let known = known(&call, Permission::DevicesExecute).await?;
    let (component, name) = (call.piece_or_none("componentName"), call.piece("commandName"));
    let body = if call.bytes.trim_ascii().is_empty() { json!({}) } else { call.body()? };
    let request = body.get("request").cloned();
    let command = request_of(known.capabilities.as_deref(), component, name, request.as_ref())?;
    let (identity, wire) = (known.identity().clone(), method_name(component, name));
    let mut run = Run { id: uuid::Uuid::new_v4().to_string(), request: request.clone(), ..Run::default() };
    if command.is_some_and(|command| command.is_durable) {
        queue(&call, &identity, &wire, request.as_ref()).await?;
    } else {
        let payload = request.map_or_else(Bytes::new, |request| request.to_string().into());
        let method = MethodCall::new(&wire, payload)?;
        let answer = hub(&call).call_method(&WallClock, &identity, &method, timeouts(&body)?).await?;
        run.response = Some(answer.value());
        run.response_code = Some(answer.status);
    }
    let shown = run.document();
    call.shared.runs.note(&identity, &wire, run);
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

/// `connectionTimeout` of 0 to 30 and `responseTimeout` of 5 to 30 seconds.
fn timeouts(body: &Value) -> Result<MethodTimeouts, Failure> {
    let seconds = |name: &str, least: u64, otherwise: u64| match body.get(name) {
        None | Some(Value::Null) => Ok(otherwise),
        Some(value) => {
            let seconds = value.as_u64().filter(|seconds| (least..=30).contains(seconds));
            seconds.ok_or_else(|| Failure::invalid(format!("`{name}` is a number of seconds from {least} to 30")))
        }
    };
    let (connect, response) = (seconds("connectionTimeout", 0, 0)?, seconds("responseTimeout", 5, 30)?);
    Ok(MethodTimeouts { connect: Duration::from_secs(connect), response: Duration::from_secs(response) })
}

async fn queue(call: &Call, identity: &Identity, wire: &str, request: Option<&Value>) -> Result<(), HubError> {
    let mut message = C2dMessage {
        body: request.map_or_else(Bytes::new, |request| request.to_string().into()),
        content_type: Some("application/json".to_owned()),
        content_encoding: Some("utf-8".to_owned()),
        expires_at: Some(now().plus(WAITS_MAX)),
        ..C2dMessage::default()
    };
    message.properties.push((METHOD_NAME.to_owned(), Some(wire.to_owned())));
    hub(call).send_c2d(now(), identity, message).await.map(drop)
}

pub(crate) async fn history(call: Call) -> Result<Json<Value>, Failure> {
    let known = known(&call, Permission::DevicesView).await?;
    let (component, name) = (call.piece_or_none("componentName"), call.piece("commandName"));
    request_of(known.capabilities.as_deref(), component, name, None)?;
    let last = call.shared.runs.last(known.identity(), &method_name(component, name));
    let shown: Vec<Value> = last.iter().map(Run::document).collect();
    Ok(Json(json!({ "value": shown })))
}
