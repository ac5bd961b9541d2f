//! Rows of what clients of OData ask. The handlers are those of the room that answers them.

use axum::http::Method;

use crate::caller::Permissions;
use crate::operation::{Access, Head, Operation, Parameter};

const OPTIONS: &[Parameter] = &[
    Parameter { name: "$filter", about: "A condition." },
    Parameter { name: "$select", about: "Properties, with commas between them." },
    Parameter { name: "$orderby", about: "Expressions, each with `asc` or `desc` behind it." },
    Parameter { name: "$top", about: "How many rows." },
    Parameter { name: "$skip", about: "How many rows are left out first." },
    Parameter { name: "$count", about: "`true`: how many rows there are, beside them." },
    Parameter { name: "$expand", about: "Navigations, one level." },
    Parameter { name: "$apply", about: "`filter`, `groupby` and `aggregate`." },
    Parameter { name: "$format", about: "`json`, or `xml` of the metadata." },
    Parameter { name: "$skiptoken", about: "Where a page begins; from a link to it." },
];

fn asks(path: &str, id: &'static str, about: &'static str) -> Operation {
    Operation::new(Head::OData, Method::GET, path, id, Access::Platform(Permissions::DEVICES_READ), about)
}

/// The list of sets.
pub fn service() -> Operation {
    asks("/odata", "OData_Service", "The entity sets: every table that has a key.")
}

/// Metadata, sets, entities, properties.
pub fn resource() -> Operation {
    let about = "Metadata, a set, an entity, its properties and what it leads to, counts.";
    asks("/odata/{*resource}", "OData_Resource", about).query(OPTIONS)
}

/// All of them.
pub fn operations() -> [Operation; 2] {
    [service(), resource()]
}
