//! The twin document: what queries are evaluated over and services read.
//!
//! Its shape belongs to the query language (device twins guide, "device twin JSON"), so it
//! is built here and not in a head.

use serde_json::{Map, Value, json};

use crate::ports::Record;
use crate::registry::device::Authentication;

impl Record {
    /// The twin document. `connected` comes from the table of connections.
    pub fn twin_document(&self, connected: bool) -> Value {
        let (device, twin) = (&self.device, &self.twin);
        let mut all = Map::new();
        let mut put = |key: &str, value: Value| all.insert(key.to_owned(), value);
        put("deviceId", device.identity.device.as_str().into());
        if let Some(module) = &device.identity.module {
            put("moduleId", module.as_str().into());
        }
        put("etag", twin.etag_text().into());
        put("deviceEtag", device.etag_text().into());
        put("status", device.status.as_str().into());
        if let Some(reason) = &device.status_reason {
            put("statusReason", reason.as_str().into());
        }
        put("statusUpdateTime", device.status_updated_at.to_string().into());
        put("connectionState", connection_state(connected).into());
        put("lastActivityTime", self.presence.last_activity_at.to_string().into());
        put("cloudToDeviceMessageCount", self.presence.c2d_count.into());
        put("authenticationType", device.authentication.kind().into());
        let (primary, secondary) = match &device.authentication {
            Authentication::SelfSigned { primary, secondary } => (primary.clone(), secondary.clone()),
            _ => (None, None),
        };
        put("x509Thumbprint", json!({ "primaryThumbprint": primary, "secondaryThumbprint": secondary }));
        put("modelId", twin.model_id.as_deref().unwrap_or_default().into());
        put("version", twin.version.into());
        put("tags", Value::Object(twin.tags.clone()));
        put(
            "properties",
            json!({ "desired": twin.desired.with_metadata(), "reported": twin.reported.with_metadata() }),
        );
        if !twin.managed.configurations.is_empty() {
            let word = |on: &bool| if *on { "Applied" } else { "Targeted" };
            let status = twin.managed.configurations.iter().map(|(id, on)| (id.clone(), json!({ "status": word(on) })));
            put("configurations", Value::Object(status.collect()));
        }
        put("capabilities", json!({ "iotEdge": device.iot_edge }));
        if let Some(scope) = &device.device_scope {
            put("deviceScope", scope.as_str().into());
        }
        if !device.parent_scopes.is_empty() {
            put("parentScopes", device.parent_scopes.clone().into());
        }
        Value::Object(all)
    }
}

/// The word for a state of connection.
pub(crate) fn connection_state(connected: bool) -> &'static str {
    if connected { "Connected" } else { "Disconnected" }
}
