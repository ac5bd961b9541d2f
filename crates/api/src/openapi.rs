//! OpenAPI 3.0 of a table of routes: what clients and tools read.
//!
//! Made from the rows and nothing else, so it says of every operation of this process how it is called, what opens it
//! and which fields its body may have. Answers are described in words; their shapes are the reference's, and those of
//! the platform are in `docs/platform-api.md`.

use std::sync::{Arc, OnceLock};

use axum::Extension;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde_json::{Map, Value, json};

use crate::fields::Fields;
use crate::operation::{Access, Body, Head, Operation};
use crate::routes::Table;

/// The document of a table, made when it is first asked for: anybody may ask, as often as they like.
#[derive(Clone)]
pub(crate) struct Document(Arc<(Table, OnceLock<Bytes>)>);

impl Document {
    pub(crate) fn of(table: Table) -> Self {
        Self(Arc::new((table, OnceLock::new())))
    }
}

pub(crate) async fn get(Extension(Document(held)): Extension<Document>) -> impl IntoResponse {
    let (table, text) = &*held;
    let text = text.get_or_init(|| document(table.iter().map(|row| &**row)).to_string().into());
    ([(CONTENT_TYPE, "application/json")], text.clone())
}

/// The document of these operations.
fn document<'a>(table: impl Iterator<Item = &'a Operation>) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for row in table {
        let path = row.path.replace("{*", "{");
        // A WebSocket begins as a GET.
        let method = row.method.as_ref().map_or("get".to_owned(), |method| method.as_str().to_ascii_lowercase());
        paths.entry(path).or_insert_with(|| json!({}))[method] = operation(row);
    }
    json!({
        "openapi": "3.0.3",
        "info": {
            "title": "Gantry",
            "description": "Every operation of this platform: the Azure IoT Hub, Device Provisioning Service and token \
                            server APIs it speaks, and its own. Names of fields are read without regard to case.",
            "license": { "name": "Apache-2.0" },
            "version": env!("CARGO_PKG_VERSION"),
        },
        "tags": Head::ALL.map(|head| json!({ "name": head.name() })),
        "paths": paths,
        "components": { "securitySchemes": security_schemes(), "schemas": errors() },
    })
}

fn operation(row: &Operation) -> Value {
    let mut operation = json!({
        "operationId": row.id,
        "tags": [row.head.name()],
        "description": format!("{}\n\nWho may: {}.", row.about, row.access),
        "parameters": parameters(row),
        "security": security(row.access),
        "responses": { "2XX": { "description": row.about }, "default": failure(row.head) },
    });
    if let Access::Platform(permissions) = row.access {
        operation["x-gantry-permissions"] = permissions.names().collect();
    }
    if let Access::Application(one_of) = row.access {
        operation["x-gantry-permissions"] = one_of.iter().copied().collect();
    }
    if let Some(class) = row.throttle {
        operation["x-gantry-throttle"] = format!("{class:?}").into();
    }
    if let Some(body) = body(row.body) {
        operation["requestBody"] = body;
    }
    operation
}

fn parameters(row: &Operation) -> Vec<Value> {
    let text = json!({ "type": "string" });
    let in_path = row.parameters().map(|name| json!({ "name": name, "in": "path", "required": true, "schema": text }));
    let version = json!({
        "name": "api-version", "in": "query", "required": true, "schema": text,
        "description": "A published version of the reference's API.",
    });
    let in_query = row.query.iter().map(
        |one| json!({ "name": one.name, "in": "query", "required": false, "schema": text, "description": one.about }),
    );
    in_path.chain(row.head.is_versioned().then_some(version)).chain(in_query).collect()
}

fn body(body: Body) -> Option<Value> {
    let of_json = |schema| json!({ "required": true, "content": { "application/json": { "schema": schema } } });
    Some(match body {
        Body::Nothing => return None,
        Body::Object(fields) => of_json(schema(fields)),
        Body::Array(fields) => of_json(json!({ "type": "array", "items": schema(fields) })),
        Body::Json(words) => json!({
            "required": false,
            "content": { "application/json": { "schema": { "description": words } } },
        }),
        Body::Bytes => json!({
            "required": false,
            "content": { "*/*": { "schema": { "type": "string", "format": "binary" } } },
        }),
    })
}

fn schema(fields: &Fields) -> Value {
    let mut properties = Map::new();
    for name in fields.taken() {
        properties.insert((*name).to_owned(), json!({}));
    }
    for (name, inner) in fields.inner() {
        // The list does not tell an object from an array of such.
        let one = schema(inner);
        let any = json!({ "anyOf": [one, { "type": "array", "items": one }] });
        properties.insert((*name).to_owned(), any);
    }
    for name in fields.shown() {
        properties.insert((*name).to_owned(), json!({ "description": "Taken and ignored." }));
    }
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

fn security(access: Access) -> Value {
    match access {
        Access::Hub(_) => json!([{ "hubPolicy": [] }]),
        Access::Provisioning(_) => json!([{ "provisioningPolicy": [] }]),
        Access::Device => json!([{ "device": [] }]),
        Access::Person => json!([{ "session": [] }]),
        Access::Platform(_) => json!([{ "session": [] }, { "hubPolicy": [] }]),
        Access::Application(_) => json!([{ "apiToken": [] }, { "session": [] }]),
        Access::Blob(_) | Access::Proof(_) | Access::Anyone => json!([]),
    }
}

fn security_schemes() -> Value {
    let token = |what: &str| json!({ "type": "apiKey", "in": "header", "name": "Authorization", "description": what });
    json!({
        "hubPolicy": token("A shared access signature of a policy of the hub."),
        "provisioningPolicy": token("A shared access signature of a policy of the provisioning service."),
        "device": token("A shared access signature of the device; or its certificate in the TLS handshake."),
        "apiToken": token("The text of an API token of the application."),
        "session": {
            "type": "apiKey", "in": "cookie", "name": "__Host-gantry_session",
            "description": "Calls that change something carry the header `x-gantry-csrf` beside it: `csrf` of `GET /session`.",
        },
    })
}

fn failure(head: Head) -> Value {
    let name = match head {
        Head::Service | Head::Device => "HubError",
        Head::DpsService | Head::DpsDevice => "DpsError",
        Head::Platform
        | Head::Tokens
        | Head::Kusto
        | Head::OData
        | Head::Application
        | Head::Management
        | Head::Graph => "Error",
        Head::Blob | Head::Directory | Head::Models | Head::Process => return json!({ "description": "It failed." }),
    };
    let schema = json!({ "$ref": format!("#/components/schemas/{name}") });
    json!({ "description": "It failed; the body says why.", "content": { "application/json": { "schema": schema } } })
}

/// The shapes of errors.
fn errors() -> Value {
    let object = |names: &[&str]| {
        let properties: Map<_, _> = names.iter().map(|name| ((*name).to_owned(), json!({}))).collect();
        json!({ "type": "object", "properties": properties, "required": names })
    };
    json!({
        "HubError": object(&["Message", "ExceptionMessage"]),
        "DpsError": object(&["errorCode", "trackingId", "message", "timestampUtc"]),
        "Error": { "type": "object", "properties": { "error": object(&["code", "message"]) }, "required": ["error"] },
    })
}
