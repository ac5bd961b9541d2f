//! Operations on containers.

use axum::http::{Method, StatusCode};
use gantry_blobs::blob::Container;
use gantry_blobs::{ContainerName, Permission};

use super::account::{document, endpoint, includes, list_query};
use super::error::Failure;
use super::request::Call;
use super::{Answer, BlobService, empty, headers, xml};
use crate::now;

pub(super) async fn serve(service: &BlobService, call: &Call, name: &ContainerName) -> Answer {
    if call.query("restype") != "container" {
        return Err(Failure::bad("InvalidUri", "an operation on a container has restype=container"));
    }
    match (&call.method, call.query("comp")) {
        (&Method::PUT, "") => {
            call.require(&[Permission::Create, Permission::Write])?;
            let made = service.blobs.create_container(name, call.metadata()?, now()).await?;
            state(StatusCode::CREATED, &made)
        }
        (&Method::DELETE, "") => {
            call.require(&[Permission::Delete])?;
            service.blobs.delete_container(name, call.conditions()?).await?;
            Ok(empty(StatusCode::ACCEPTED))
        }
        (&Method::GET | &Method::HEAD, "" | "metadata") => {
            call.require(&[Permission::Read])?;
            let container = service.blobs.container(name).await?;
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
        (&Method::PUT, "metadata") => {
            call.require(&[Permission::Write])?;
            let (metadata, conditions) = (call.metadata()?, call.conditions()?);
            let changed = service.blobs.set_container_metadata(name, metadata, conditions, now()).await?;
            state(StatusCode::OK, &changed)
        }
        (&Method::GET, "list") => list(service, call, name).await,
        (_, comp) => Err(Failure::not_implemented(&format!("{} container comp={comp}", call.method))),
    }
}

fn state(status: StatusCode, container: &Container) -> Answer {
    let mut response = empty(status);
    headers::put_state(response.headers_mut(), container.etag, container.modified_at);
    Ok(response)
}

async fn list(service: &BlobService, call: &Call, name: &ContainerName) -> Answer {
    call.require(&[Permission::List])?;
    let query = list_query(call)?;
    let listing = service.blobs.list(name, &query).await?;
    let endpoint = endpoint(service, call);
    let with_metadata = includes(call, "metadata");
    let echo = xml::Echo { endpoint: &endpoint, container: Some(name), query: &query, with_metadata };
    document(xml::blobs(&echo, &listing))
}
