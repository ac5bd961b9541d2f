//! The last value of telemetry.

use axum::Json;
use gantry_central::access::permissions::Permission;
use serde_json::{Value, json};

use super::known;
use crate::Failure;
use crate::call::Call;

/// Names come as parameters: nothing that somebody writes is read as a query.
const LAST: &str = "declare query_parameters(device:string, module:string, component:string, name:string);
Telemetry
| where DeviceId == device and ModuleId == module and ComponentName == component
| extend value = Body[name]
| where isnotnull(value)
| top 1 by EnqueuedTime desc
| project value, EnqueuedTime";

pub(crate) async fn get(call: Call) -> Result<Json<Value>, Failure> {
    let known = known(&call, Permission::DevicesView).await?;
    let (component, name) = (call.piece_or_none("componentName"), call.piece("telemetryName"));
    if let Some(capabilities) = &known.capabilities {
        let part = capabilities.part(component);
        if part.and_then(|part| part.telemetry(name)).is_none() {
            return Err(Failure::not_found(format!("the device template has no telemetry `{name}`")));
        }
    }
    let identity = known.identity();
    let parameter = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let parameters = vec![
        parameter("device", identity.device.as_str()),
        parameter("module", identity.module.as_ref().map_or("", |module| module.as_str())),
        parameter("component", component.unwrap_or_default()),
        parameter("name", name),
    ];
    let rows = call.application().tables.ask(LAST.to_owned(), parameters).await;
    let rows = rows.map_err(|error| Failure::internal(&error))?;
    // A device that never sent it has no value, which is not an error.
    let last = rows.into_iter().next().map(|row| row.into_iter()).and_then(|mut row| Some((row.next()?, row.next()?)));
    Ok(Json(last.map_or_else(|| json!({}), |(value, at)| json!({ "value": value, "timestamp": at }))))
}
