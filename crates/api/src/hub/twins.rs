//! Twins: read, merge, replace.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use gantry_hub::ports::Record;
use gantry_identity::Identity;

use super::bodies::{self, TwinBody};
use super::{device, if_match, module};
use crate::error::ApiError;
use crate::fields;
use crate::{Api, now};

type Answer = Result<Response, ApiError>;
type Device = Path<String>;
type Module = Path<(String, String)>;

/// Whether a write merges or replaces.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Merge,
    Replace,
}

pub(super) async fn get(State(api): State<Arc<Api>>, Path(id): Device) -> Answer {
    read(&api, &device(&id)?).await
}

pub(super) async fn get_module(State(api): State<Arc<Api>>, Path((id, mid)): Module) -> Answer {
    read(&api, &module(&id, &mid)?).await
}

pub(super) async fn patch(State(api): State<Arc<Api>>, headers: HeaderMap, Path(id): Device, body: Bytes) -> Answer {
    write(&api, &headers, &device(&id)?, &body, How::Merge).await
}

pub(super) async fn patch_module(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path((id, mid)): Module,
    body: Bytes,
) -> Answer {
    write(&api, &headers, &module(&id, &mid)?, &body, How::Merge).await
}

pub(super) async fn put(State(api): State<Arc<Api>>, headers: HeaderMap, Path(id): Device, body: Bytes) -> Answer {
    write(&api, &headers, &device(&id)?, &body, How::Replace).await
}

pub(super) async fn put_module(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path((id, mid)): Module,
    body: Bytes,
) -> Answer {
    write(&api, &headers, &module(&id, &mid)?, &body, How::Replace).await
}

fn answer(api: &Api, record: &Record) -> Response {
    let document = record.twin_document(api.hub.is_connected(&record.device.identity));
    bodies::with_etag(document, &record.twin.etag_text())
}

async fn read(api: &Api, identity: &Identity) -> Answer {
    Ok(answer(api, &api.hub.record(identity).await?))
}

async fn write(api: &Api, headers: &HeaderMap, identity: &Identity, body: &Bytes, how: How) -> Answer {
    let body = bodies::parse_fields::<TwinBody>(body, &fields::TWIN)?.of(identity)?;
    let write = match how {
        How::Merge => body.merge()?,
        How::Replace => body.replacement()?,
    };
    Ok(answer(api, &api.hub.write_twin(now(), identity, &write, &if_match(headers)).await?))
}
