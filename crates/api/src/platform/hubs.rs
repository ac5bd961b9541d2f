//! Hubs the provisioning service allocates devices to.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode};
use gantry_provisioning::{DpsError, HubLink, HubView};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::PlatformError;
use super::{parse, row};
use crate::Api;
use crate::caller::Permissions;
use crate::fields;
use crate::routes::Routes;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LinkBody {
    connection_string: String,
    certificate_authority: Option<String>,
    #[serde(default = "one")]
    allocation_weight: u32,
    #[serde(default = "yes")]
    apply_allocation_policy: bool,
}

fn one() -> u32 {
    1
}

fn yes() -> bool {
    true
}

fn document(view: &HubView) -> Value {
    json!({
        "name": view.host_name,
        "allocationWeight": view.weight,
        "applyAllocationPolicy": view.takes_part,
        "own": view.is_own,
        "latencyMs": view.latency.map(|latency| latency.as_secs_f64() * 1000.0),
    })
}

impl From<DpsError> for PlatformError {
    fn from(error: DpsError) -> Self {
        match error {
            DpsError::NotFound(..) => Self::not_found(error.to_string()),
            DpsError::Conflict(_) => Self::conflict(error.to_string()),
            DpsError::PreconditionFailed => Self::changed(error.to_string()),
            DpsError::Throttled { .. } => Self::too_many(),
            DpsError::Failed(reason) => {
                tracing::error!(%reason, "provisioning operation failed");
                Self::unavailable()
            }
            other => Self::invalid(other.to_string()),
        }
    }
}

pub(super) fn routes() -> Routes<Arc<Api>> {
    let row = |method, path, id, about| row(method, path, id, Permissions::PROVISIONING_MANAGE, about);
    Routes::new()
        .on(row(Method::GET, "/provisioning/hubs", "LinkedHubs_List", "`{\"value\":[LinkedHub]}`."), list)
        .on(
            row(
                Method::POST,
                "/provisioning/hubs",
                "LinkedHubs_CreateOrUpdate",
                "Links a hub elsewhere, or changes how it is linked; the LinkedHub.",
            )
            .takes(&fields::LINKED_HUB),
            link,
        )
        .on(
            row(Method::DELETE, "/provisioning/hubs/{name}", "LinkedHubs_Delete", "204; its devices stay there."),
            unlink,
        )
}

async fn list(State(api): State<Arc<Api>>) -> Json<Value> {
    Json(json!({ "value": api.provisioning.hub_views().iter().map(document).collect::<Vec<_>>() }))
}

async fn link(State(api): State<Arc<Api>>, body: Bytes) -> Result<Json<Value>, PlatformError> {
    let body: LinkBody = parse(&body, &fields::LINKED_HUB)?;
    let hub = HubLink {
        connection_string: body.connection_string,
        authority: body.certificate_authority,
        weight: body.allocation_weight,
        takes_part: body.apply_allocation_policy,
    };
    Ok(Json(document(&api.provisioning.link_hub(hub).await?)))
}

async fn unlink(State(api): State<Arc<Api>>, Path(name): Path<String>) -> Result<StatusCode, PlatformError> {
    api.provisioning.unlink_hub(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}
