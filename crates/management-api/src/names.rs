//! What is asked of the providers: whether a name is taken, how many hubs there may be, which operations there are.

use std::collections::BTreeSet;

use axum::Json;
use axum::http::Method;
use gantry_api::management;
use serde_json::{Value, json};

use crate::Failure;
use crate::call::Call;

/// Lengths a hub's name may have.
const NAME_LEN: std::ops::RangeInclusive<usize> = 3..=50;

/// Whether a resource has the name. Provisioning services and applications have the names of hubs.
pub(crate) async fn check(call: Call) -> Result<Json<Value>, Failure> {
    let body = call.body()?;
    let name = body.get("name").and_then(Value::as_str).ok_or_else(|| Failure::invalid("`name` is a string"))?;
    let is_name = NAME_LEN.contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let is_taken = call.management.facts.hubs.iter().any(|one| one.eq_ignore_ascii_case(name));
    Ok(Json(match (is_name, is_taken) {
        (false, _) => json!({
            "nameAvailable": false, "reason": "Invalid",
            "message": format!("a name has {} to {} letters, digits or dashes", NAME_LEN.start(), NAME_LEN.end()),
        }),
        (true, true) => json!({
            "nameAvailable": false, "reason": "AlreadyExists", "message": "a hub of this platform has the name",
        }),
        (true, false) => json!({ "nameAvailable": true }),
    }))
}

/// How many hubs there are: as many as there can be while the platform runs.
pub(crate) async fn usages(call: Call) -> Json<Value> {
    let facts = &call.management.facts;
    let hubs = facts.hubs.len();
    Json(json!({ "value": [{
        "id": format!("/subscriptions/{}/providers/Microsoft.Devices/usages/IotHubCount", facts.subscription),
        "type": "Microsoft.Devices/IotHubs",
        "unit": "Count",
        "currentValue": hubs,
        "limit": hubs,
        "name": { "value": "IotHubCount", "localizedValue": "Hubs of the process" },
    }] }))
}

/// Operations of hub and provisioning service.
pub(crate) async fn operations_of_devices(_: Call) -> Json<Value> {
    operations_of("Microsoft.Devices")
}

/// Operations of the application.
pub(crate) async fn operations_of_central(_: Call) -> Json<Value> {
    operations_of("Microsoft.IoTCentral")
}

fn operations_of(provider: &'static str) -> Json<Value> {
    let mut seen = BTreeSet::new();
    let mut all = vec![];
    for row in management::operations() {
        let Some((_, rest)) = row.path.split_once(&format!("/providers/{provider}/")) else { continue };
        let words: Vec<_> = rest.split('/').filter(|word| !word.starts_with('{')).collect();
        let verb = match row.method {
            Some(Method::GET) => "read",
            Some(Method::DELETE) => "delete",
            Some(Method::POST) => "action",
            _ => "write",
        };
        let name = format!("{provider}/{}/{verb}", words.join("/"));
        if seen.insert(name.clone()) {
            let resource = words.first().copied().unwrap_or_default();
            let display =
                json!({ "provider": provider, "resource": resource, "operation": row.id, "description": row.about });
            all.push(json!({ "name": name, "display": display }));
        }
    }
    Json(json!({ "value": all }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_named_once_by_provider() {
        let Json(all) = operations_of("Microsoft.Devices");
        let names: Vec<_> = all["value"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        for expected in [
            "Microsoft.Devices/IotHubs/read",
            "Microsoft.Devices/IotHubs/listkeys/action",
            "Microsoft.Devices/provisioningServices/certificates/write",
        ] {
            assert_eq!(names.iter().filter(|name| **name == expected).count(), 1, "{expected}");
        }
        assert!(names.iter().all(|name| !name.contains("IoTCentral")));
    }
}
