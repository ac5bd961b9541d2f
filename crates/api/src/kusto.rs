//! Rows of what clients of Kusto ask. The handlers are those of the room that answers them.

use axum::http::Method;

use crate::caller::Permissions;
use crate::operation::{Access, Head, Operation, Parameter};

const QUERY: &[Parameter] = &[
    Parameter { name: "db", about: "The database, of a GET." },
    Parameter { name: "csl", about: "The text, of a GET." },
    Parameter { name: "properties", about: "Options and parameters as JSON, of a GET." },
];

fn asks(method: Method, path: &str, id: &'static str, about: &'static str) -> Operation {
    let access = Access::Platform(Permissions::DEVICES_READ);
    let row = Operation::new(Head::Kusto, method.clone(), path, id, access, about);
    if method == Method::GET { row.query(QUERY) } else { row.takes_bytes().up_to(TEXT_BYTES_MAX) }
}

/// Largest body with a text: data within commands is in it.
const TEXT_BYTES_MAX: usize = 4 << 20;

const V2: &str = "A query in KQL; answers frames of version 2.";
const V1: &str = "A query in KQL, or a management command; answers tables of version 1.";

/// A query, answered in version 2.
pub fn query_2() -> Operation {
    asks(Method::POST, "/v2/rest/query", "Kusto_QueryV2", V2).asks()
}

/// The same in a link.
pub fn get_query_2() -> Operation {
    asks(Method::GET, "/v2/rest/query", "Kusto_GetQueryV2", V2)
}

/// A query, answered in version 1.
pub fn query_1() -> Operation {
    asks(Method::POST, "/v1/rest/query", "Kusto_QueryV1", V1)
}

/// The same in a link.
pub fn get_query_1() -> Operation {
    asks(Method::GET, "/v1/rest/query", "Kusto_GetQueryV1", V1)
}

/// A management command.
pub fn command() -> Operation {
    asks(Method::POST, "/v1/rest/mgmt", "Kusto_Command", "A management command; answers tables of version 1.")
}

const INGEST: &[Parameter] = &[
    Parameter { name: "streamFormat", about: "The format of the data: csv, json..." },
    Parameter { name: "mappingName", about: "A mapping of the table." },
    Parameter { name: "sourceKind", about: "`uri`: the body names where the data is." },
];

/// Largest body of one piece of data: the reference's limit.
const INGEST_BYTES_MAX: usize = 10 << 20;

/// Data into a table.
pub fn ingest() -> Operation {
    let about = "Data into a table, at once: bytes of a format, gzip or not. Data of one request id comes in once.";
    let access = Access::Platform(Permissions::DEVICES_READ | Permissions::RULES_MANAGE);
    Operation::new(Head::Kusto, Method::POST, "/v1/rest/ingest/{database}/{table}", "Kusto_Ingest", access, about)
        .query(INGEST)
        .takes_bytes()
        .up_to(INGEST_BYTES_MAX)
        // Data, which comes as often as telemetry.
        .asks()
}

fn open(path: &str, id: &'static str, about: &'static str) -> Operation {
    Operation::new(Head::Kusto, Method::GET, path, id, Access::Anyone, about)
}

/// Where tokens come from.
pub fn metadata() -> Operation {
    let about = "Where tokens come from: nowhere else, so that clients keep to the one they have.";
    open("/v1/rest/auth/metadata", "Kusto_AuthMetadata", about)
}

/// Whether somebody is there.
pub fn ping() -> Operation {
    open("/v1/rest/ping", "Kusto_Ping", "200 and nothing else.")
}

/// All of them.
pub fn operations() -> [Operation; 8] {
    [query_2(), get_query_2(), query_1(), get_query_1(), command(), ingest(), metadata(), ping()]
}
