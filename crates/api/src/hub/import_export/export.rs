//! Export: devices, then modules, one JSON document a line (`ExportImportDevice`); configurations in a file of their own.

use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use gantry_blobs::{BlobError, Place};
use gantry_hub::Hub;
use gantry_hub::device::Authentication;
use gantry_hub::export::EXPORT_PAGE;
use gantry_hub::ports::Record;
use gantry_identity::{Identity, Timestamp};
use serde_json::{Map, Value, json};

use super::jobs::{Files, Progress};
use crate::hub::{bodies, configurations};

pub(super) async fn run(
    hub: &Arc<Hub>,
    output: &Place,
    files: &Files,
    exclude_keys: bool,
    progress: Arc<Progress>,
    now: Timestamp,
) -> Result<(), String> {
    let counts = hub.counts().await.map_err(|error| error.to_string())?;
    progress.expect(counts.enabled + counts.disabled);
    let lines = Box::pin(lines(Arc::clone(hub), exclude_keys, progress));
    output.write(&files.devices, lines, "text/plain", now).await.map_err(|error| error.to_string())?;
    let Some(name) = &files.configurations else { return Ok(()) };
    let line = |configuration: &Arc<_>| Ok(Bytes::from(format!("{}\r\n", configurations::exported(configuration))));
    let lines: Vec<_> = hub.configurations().iter().map(line).collect();
    output.write(name, futures::stream::iter(lines), "text/plain", now).await.map_err(|error| error.to_string())
}

struct State {
    modules: bool,
    after: Option<Identity>,
    ended: bool,
}

/// The lines of a page at a time.
fn lines(
    hub: Arc<Hub>,
    exclude_keys: bool,
    progress: Arc<Progress>,
) -> impl Stream<Item = Result<Bytes, BlobError>> + Send {
    let start = State { modules: false, after: None, ended: false };
    futures::stream::try_unfold(start, move |mut state| {
        let (hub, progress) = (Arc::clone(&hub), Arc::clone(&progress));
        async move {
            let failed = |error: String| BlobError::Failed(error);
            if progress.is_cancelled() {
                return Err(failed("cancelled".into()));
            }
            if state.ended {
                return Ok(None);
            }
            let page = hub.identities_after(state.modules, state.after.as_ref()).await;
            let page = page.map_err(|error| failed(error.to_string()))?;
            let mut text = String::new();
            for record in &page {
                text.push_str(&line(record, exclude_keys).to_string());
                text.push_str("\r\n");
            }
            if !state.modules {
                progress.add(page.len() as u64);
            }
            if page.len() < EXPORT_PAGE {
                state = State { ended: state.modules, modules: true, after: None };
            } else {
                state.after = page.last().map(|record| record.device.identity.clone());
            }
            Ok(Some((Bytes::from(text), state)))
        }
    })
}

fn line(record: &Record, exclude_keys: bool) -> Value {
    let (device, twin) = (&record.device, &record.twin);
    let mut all = Map::new();
    let mut put = |key: &str, value: Value| all.insert(key.to_owned(), value);
    put("id", device.identity.device.as_str().into());
    if let Some(module) = &device.identity.module {
        put("moduleId", module.as_str().into());
        put("managedBy", device.managed_by.clone().into());
    }
    put("eTag", device.etag_text().into());
    put("importMode", "createOrUpdate".into());
    put("status", device.status.as_str().into());
    put("statusReason", device.status_reason.clone().into());
    let hidden = exclude_keys && matches!(device.authentication, Authentication::Sas(_));
    let authentication = if hidden {
        json!({ "symmetricKey": { "primaryKey": null, "secondaryKey": null }, "type": "sas" })
    } else {
        bodies::authentication(&device.authentication)
    };
    put("authentication", authentication);
    put("capabilities", json!({ "iotEdge": device.iot_edge }));
    if let Some(scope) = &device.device_scope {
        put("deviceScope", scope.as_str().into());
    }
    if !device.parent_scopes.is_empty() {
        put("parentScopes", device.parent_scopes.clone().into());
    }
    put("twinETag", twin.etag_text().into());
    put("tags", Value::Object(twin.tags.clone()));
    put("properties", json!({ "desired": twin.desired.with_metadata(), "reported": twin.reported.with_metadata() }));
    Value::Object(all)
}
