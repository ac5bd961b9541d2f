//! Commands: direct methods, or messages that wait for the device when the template says that the command is durable.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use gantry_api::{WallClock, now};
use gantry_central::access::permissions::Permission;
use gantry_central::devices::{method_name, request_of};
use gantry_central::templates::Capabilities;
use gantry_hub::c2d::C2dMessage;
use gantry_hub::{MethodCall, MethodTimeouts};
use gantry_identity::Identity;
use serde_json::{Value, json};

use super::history::Run;
use super::known;
use crate::call::Call;
use crate::{Application, Failure};

/// How long a command waits for its device (IoT Central, offline commands).
const WAITS_MAX: Duration = Duration::from_secs(24 * 3600);
/// The property of the message that names the command.
const METHOD_NAME: &str = "method-name";

/// A command that somebody asks for.
pub(crate) struct Asked<'a> {
    /// Of this component; of the device itself without.
    pub(crate) component: Option<&'a str>,
    /// Its name.
    pub(crate) name: &'a str,
    /// What it is given.
    pub(crate) request: Option<Value>,
    /// How long it may take.
    pub(crate) timeouts: MethodTimeouts,
}

pub(crate) async fn run(call: Call) -> Result<Response, Failure> {
    let known = known(&call, Permission::DevicesExecute).await?;
    let (component, name) = (call.piece_or_none("componentName"), call.piece("commandName"));
    let body = if call.bytes.trim_ascii().is_empty() { json!({}) } else { call.body()? };
    let asked = Asked { component, name, request: body.get("request").cloned(), timeouts: timeouts(&body)? };
    let run = execute(call.application(), known.identity(), known.capabilities.as_deref(), asked).await?;
    let shown = run.document();
    call.shared.runs.note(known.identity(), &method_name(component, name), run);
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

/// Runs a command of a device whose template offers this.
pub(crate) async fn execute(
    application: &Application,
    identity: &Identity,
    capabilities: Option<&Capabilities>,
    asked: Asked<'_>,
) -> Result<Run, Failure> {
    let hub = &application.api.hub;
    let command = request_of(capabilities, asked.component, asked.name, asked.request.as_ref())?;
    let wire = method_name(asked.component, asked.name);
    let payload: Bytes = asked.request.as_ref().map_or_else(Bytes::new, |request| request.to_string().into());
    let mut run = Run { id: uuid::Uuid::new_v4().to_string(), request: asked.request, ..Run::default() };
    if command.is_some_and(|command| command.is_durable) {
        hub.send_c2d(now(), identity, message(wire, payload)).await?;
        return Ok(run);
    }
    let answer = hub.call_method(&WallClock, identity, &MethodCall::new(&wire, payload)?, asked.timeouts).await?;
    (run.response, run.response_code) = (Some(answer.value()), Some(answer.status));
    Ok(run)
}

/// A command that waits for its device.
fn message(wire: String, body: Bytes) -> C2dMessage {
    C2dMessage {
        body,
        content_type: Some("application/json".to_owned()),
        content_encoding: Some("utf-8".to_owned()),
        expires_at: Some(now().plus(WAITS_MAX)),
        properties: vec![(METHOD_NAME.to_owned(), Some(wire))],
        ..C2dMessage::default()
    }
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

pub(crate) async fn history(call: Call) -> Result<Json<Value>, Failure> {
    let known = known(&call, Permission::DevicesView).await?;
    let (component, name) = (call.piece_or_none("componentName"), call.piece("commandName"));
    request_of(known.capabilities.as_deref(), component, name, None)?;
    let last = call.shared.runs.last(known.identity(), &method_name(component, name));
    let shown: Vec<Value> = last.iter().map(Run::document).collect();
    Ok(Json(json!({ "value": shown })))
}
