//! Operations on containers.

use axum::http::StatusCode;
use gantry_blobs::blob::Container;

use super::account::{document, endpoint, includes, list_query};
use super::request::Call;
use super::{Answer, BlobService, empty, headers, xml};
use crate::now;

pub(super) async fn create(service: &BlobService, call: &Call) -> Answer {
    let made = service.blobs.create_container(call.container()?, call.metadata()?, now()).await?;
    state(StatusCode::CREATED, &made)
}

pub(super) async fn delete(service: &BlobService, call: &Call) -> Answer {
    service.blobs.delete_container(call.container()?, call.conditions()?).await?;
    Ok(empty(StatusCode::ACCEPTED))
}

pub(super) async fn show(service: &BlobService, call: &Call) -> Answer {
    let container = service.blobs.container(call.container()?).await?;
    let mut response = state(StatusCode::OK, &container)?;
    let map = response.headers_mut();
    headers::put_metadata(map, &container.metadata);
    for (name, value) in [
        ("x-ms-lease-status", "unlocked"),
        ("x-ms-lease-state", "available"),
        ("x-ms-has-immutability-policy", "false"),
        ("x-ms-has-legal-hold", "false"),
    ] {
        headers::put(map, name, value);
    }
    Ok(response)
}

pub(super) async fn set_metadata(service: &BlobService, call: &Call) -> Answer {
    let (metadata, conditions) = (call.metadata()?, call.conditions()?);
    let changed = service.blobs.set_container_metadata(call.container()?, metadata, conditions, now()).await?;
    state(StatusCode::OK, &changed)
}

fn state(status: StatusCode, container: &Container) -> Answer {
    let mut response = empty(status);
    headers::put_state(response.headers_mut(), container.etag, container.modified_at);
    Ok(response)
}

pub(super) async fn list(service: &BlobService, call: &Call) -> Answer {
    let (name, query) = (call.container()?, list_query(call)?);
    let listing = service.blobs.list(name, &query).await?;
    let endpoint = endpoint(service, call);
    let with_metadata = includes(call, "metadata");
    let echo = xml::Echo { endpoint: &endpoint, container: Some(name), query: &query, with_metadata };
    document(xml::blobs(&echo, &listing))
}
