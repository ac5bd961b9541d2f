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
    if method == Method::GET { row.query(QUERY) } else { row.takes_bytes() }
}

const V2: &str = "A query in KQL; answers frames of version 2.";
const V1: &str = "A query in KQL, or a management command; answers tables of version 1.";

/// A query, answered in version 2.
pub fn query_2() -> Operation {
    asks(Method::POST, "/v2/rest/query", "Kusto_QueryV2", V2)
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
pub fn operations() -> [Operation; 7] {
    [query_2(), get_query_2(), query_1(), get_query_1(), command(), metadata(), ping()]
}
