//! Operations on the account: listing containers.

use axum::http::header;
use axum::response::IntoResponse as _;
use gantry_blobs::{LIST_MAX, ListQuery};

use super::error::Failure;
use super::request::Call;
use super::{Answer, BlobService, xml};

/// Prefix, marker, delimiter and page size of a list call.
pub(super) fn list_query(call: &Call) -> Result<ListQuery, Failure> {
    let limit = match call.query("maxresults") {
        "" => LIST_MAX,
        text => match text.parse::<usize>() {
            Ok(0) => return Err(Failure::bad("OutOfRangeQueryParameterValue", "maxresults must be 1 or more")),
            Ok(limit) => limit.min(LIST_MAX),
            Err(_) => return Err(Failure::bad("InvalidQueryParameterValue", "maxresults must be a number")),
        },
    };
    let text = |name: &str| call.query(name).to_owned();
    Ok(ListQuery { prefix: text("prefix"), delimiter: text("delimiter"), marker: text("marker"), limit })
}

/// The address of the account as the caller wrote it.
pub(super) fn endpoint(service: &BlobService, call: &Call) -> String {
    let host = call.header("host").unwrap_or(service.hub.host_name());
    format!("https://{host}/{}/", service.blobs.account().name)
}

pub(super) fn includes(call: &Call, what: &str) -> bool {
    call.query("include").split(',').any(|word| word == what)
}

pub(super) fn document(body: std::io::Result<Vec<u8>>) -> Answer {
    let body = body.map_err(|error| Failure::internal(&error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/xml")], body).into_response())
}

pub(super) async fn list(service: &BlobService, call: &Call) -> Answer {
    let query = list_query(call)?;
    let (found, next) = service.blobs.containers(&query.prefix, &query.marker, query.limit).await?;
    let endpoint = endpoint(service, call);
    let with_metadata = includes(call, "metadata");
    let echo = xml::Echo { endpoint: &endpoint, container: None, query: &query, with_metadata };
    document(xml::containers(&echo, &found, next.as_deref()))
}
