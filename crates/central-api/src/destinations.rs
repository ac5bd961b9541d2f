//! Destinations of exports. Secrets are taken and never shown.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use gantry_central::CentralError;
use gantry_central::exports;
use gantry_central::exports::destinations::{
    BlobAuthorization, Customization, Customizations, Destination, DestinationError, EntityAuthorization, RequestType,
    TableAuthorization, Target, WebhookAuthorization,
};
use gantry_central::exports::health::Said;
use gantry_central::ids::{DestinationId, DisplayName};
use gantry_central::kept::Kept;
use gantry_central::secrets::{ConnectionString, HIDDEN, Secret};
use gantry_hub::device::IfMatch;
use serde_json::{Map, Value, json};

use crate::call::Call;
use crate::kind::Kind;
use crate::{Failure, body, list};

/// Kinds of destinations that are entities of a namespace, and how their entity is called.
const ENTITIES: [(&str, &str); 3] =
    [("eventhubs@v1", "eventHubName"), ("servicebusqueue@v1", "queueName"), ("servicebustopic@v1", "topicName")];

/// A destination as bodies show it, with how it fares.
pub(crate) fn shown(call: &Call, id: &DestinationId, one: &Destination) -> Value {
    let mut all = show(id.as_str(), one);
    put_status(&mut all, call.application().exporting.health.of_destination(id));
    all
}

/// How an export or destination fares.
pub(crate) fn put_status(all: &mut Value, said: Said) {
    all["status"] = said.status.word().into();
    if !said.faults.is_empty() {
        all["errors"] = said.faults.iter().map(|one| json!({ "code": one.code, "message": one.message })).collect();
    }
    if let Some(at) = said.arrived {
        all["lastExportTime"] = at.to_string().into();
    }
}

fn show(id: &str, one: &Destination) -> Value {
    let mut all = json!({ "id": id, "displayName": one.display_name.as_str() });
    let mut put = |name: &str, value: Value| all[name] = value;
    match &one.target {
        Target::BlobStorage { authorization } => {
            put("type", "blobstorage@v1".into());
            put(
                "authorization",
                match authorization {
                    BlobAuthorization::ConnectionString { connection_string, container_name } => json!({
                        "type": "connectionString",
                        "connectionString": connection_string.masked(),
                        "containerName": container_name,
                    }),
                    BlobAuthorization::SystemAssignedManagedIdentity { endpoint_uri, container_name } => json!({
                        "type": "systemAssignedManagedIdentity",
                        "endpointUri": endpoint_uri,
                        "containerName": container_name,
                    }),
                },
            );
        }
        Target::EventHubs { authorization } => show_entity(&mut all, 0, authorization),
        Target::ServiceBusQueue { authorization } => show_entity(&mut all, 1, authorization),
        Target::ServiceBusTopic { authorization } => show_entity(&mut all, 2, authorization),
        Target::DataExplorer { cluster_url, database, table, authorization } => {
            put("type", "dataexplorer@v1".into());
            put("clusterUrl", cluster_url.as_str().into());
            put("database", database.as_str().into());
            put("table", table.as_str().into());
            put(
                "authorization",
                match authorization {
                    TableAuthorization::ServicePrincipal { client_id, tenant_id, .. } => json!({
                        "type": "servicePrincipal",
                        "clientId": client_id,
                        "tenantId": tenant_id,
                        "clientSecret": HIDDEN,
                    }),
                    TableAuthorization::SystemAssignedManagedIdentity => {
                        json!({ "type": "systemAssignedManagedIdentity" })
                    }
                },
            );
        }
        Target::Webhook { url, query_customizations, header_customizations, authorization } => {
            put("type", "webhook@v1".into());
            put("url", url.as_str().into());
            if !query_customizations.is_empty() {
                put("queryCustomizations", show_customizations(query_customizations));
            }
            put("headerCustomizations", show_customizations(header_customizations));
            if let Some(authorization) = authorization {
                put("authorization", show_webhook(authorization));
            }
        }
    }
    all
}

fn show_entity(all: &mut Value, at: usize, authorization: &EntityAuthorization) {
    let Some((kind, named)) = ENTITIES.get(at) else { return };
    all["type"] = (*kind).into();
    all["authorization"] = match authorization {
        EntityAuthorization::ConnectionString { connection_string } => {
            json!({ "type": "connectionString", "connectionString": connection_string.masked() })
        }
        EntityAuthorization::SystemAssignedManagedIdentity { host_name, entity } => {
            json!({ "type": "systemAssignedManagedIdentity", "hostName": host_name, *named: entity })
        }
    };
}

fn show_customizations(all: &Customizations) -> Value {
    let one = |(name, one): (&String, &Customization)| {
        let shown = match one {
            Customization::Open(text) => json!({ "value": text, "secret": false }),
            Customization::Secret(_) => json!({ "value": HIDDEN, "secret": true }),
        };
        (name.clone(), shown)
    };
    Value::Object(all.iter().map(one).collect())
}

fn show_webhook(authorization: &WebhookAuthorization) -> Value {
    match authorization {
        WebhookAuthorization::Header { .. } => json!({ "type": "header", "value": HIDDEN }),
        WebhookAuthorization::OAuth { token_url, client_id, audience, scope, request_type, .. } => {
            let mut all =
                json!({ "type": "oauth", "tokenUrl": token_url, "clientId": client_id, "clientSecret": HIDDEN });
            for (name, value) in [("audience", audience), ("scope", scope)] {
                if let Some(value) = value {
                    all[name] = value.as_str().into();
                }
            }
            let words = [RequestType::Auto, RequestType::Json, RequestType::UrlEncoded].map(Some).into_iter();
            if let Some((_, word)) = words.zip(REQUEST_TYPES).find(|(of, _)| of == request_type) {
                all["requestType"] = word.into();
            }
            all
        }
    }
}

const REQUEST_TYPES: [&str; 3] = ["auto", "json", "urlencoded"];

fn read(body: &Value) -> Result<Destination, Failure> {
    let display_name = DisplayName::parse(body::needed(body, "displayName")?)?;
    let kind = body::needed(body, "type")?;
    let own: &[&str] = match kind {
        "dataexplorer@v1" => &["authorization", "clusterUrl", "database", "table"],
        "webhook@v1" => &["authorization", "url", "queryCustomizations", "headerCustomizations"],
        _ => &["authorization"],
    };
    let others =
        ["authorization", "clusterUrl", "database", "table", "url", "queryCustomizations", "headerCustomizations"];
    let is_said = |name: &&str| body.get(*name).is_some_and(|value| !value.is_null());
    if let Some(name) = others.into_iter().filter(|name| !own.contains(name)).find(|name| is_said(name)) {
        return Err(Failure::invalid(format!("`{name}` is nothing of a destination of type `{kind}`")));
    }
    let authorization = body.get("authorization").filter(|value| !value.is_null());
    let needed = || authorization.ok_or_else(|| Failure::invalid("`authorization` is missing"));
    let target = match kind {
        "blobstorage@v1" => Target::BlobStorage { authorization: read_blobs(needed()?)? },
        "eventhubs@v1" => Target::EventHubs { authorization: read_entity(needed()?, "eventHubName")? },
        "servicebusqueue@v1" => Target::ServiceBusQueue { authorization: read_entity(needed()?, "queueName")? },
        "servicebustopic@v1" => Target::ServiceBusTopic { authorization: read_entity(needed()?, "topicName")? },
        "dataexplorer@v1" => Target::DataExplorer {
            cluster_url: body::needed(body, "clusterUrl")?.to_owned(),
            database: body::needed(body, "database")?.to_owned(),
            table: body::needed(body, "table")?.to_owned(),
            authorization: read_table(needed()?)?,
        },
        "webhook@v1" => Target::Webhook {
            url: body::needed(body, "url")?.to_owned(),
            query_customizations: read_customizations(body, "queryCustomizations")?,
            header_customizations: read_customizations(body, "headerCustomizations")?,
            authorization: authorization.map(read_webhook).transpose()?,
        },
        other => {
            let known = "`blobstorage@v1`, `eventhubs@v1`, `servicebusqueue@v1`, `servicebustopic@v1`, \
                         `dataexplorer@v1` or `webhook@v1`";
            return Err(Failure::invalid(format!("`type`: `{other}` is none of {known}")));
        }
    };
    Ok(Destination { display_name, target })
}

/// The members of an authorization, which are these and no others.
fn members<'b>(body: &'b Value, kind: &str, known: &[&str]) -> Result<&'b Map<String, Value>, Failure> {
    let all = body.as_object().ok_or_else(|| Failure::invalid("`authorization` is an object"))?;
    match all.keys().find(|name| *name != "type" && !known.contains(&name.as_str())) {
        Some(name) => Err(Failure::invalid(format!("`{name}` is nothing of an authorization of type `{kind}`"))),
        None => Ok(all),
    }
}

const IDENTITY: &str = "systemAssignedManagedIdentity";

/// Who the platform is cannot be proven to a cloud.
fn no_identity() -> Failure {
    Failure::not_implemented("`systemAssignedManagedIdentity` as the authorization of a destination")
}

fn other(kind: &str, known: &str) -> Failure {
    Failure::invalid(format!("`authorization`: type `{kind}` is not {known}"))
}

fn secret(body: &Value, name: &'static str) -> Result<Secret, Failure> {
    match body::text(body, name)? {
        Some(text) => Ok(Secret::parse(name, text).map_err(DestinationError::from).map_err(CentralError::from)?),
        None => Ok(Secret::hidden()),
    }
}

fn connection(body: &Value) -> Result<ConnectionString, Failure> {
    let text = body::needed(body, "connectionString")?;
    Ok(ConnectionString::parse(text).map_err(DestinationError::from).map_err(CentralError::from)?)
}

fn read_blobs(body: &Value) -> Result<BlobAuthorization, Failure> {
    match body::needed(body, "type")? {
        kind @ "connectionString" => {
            members(body, kind, &["connectionString", "containerName"])?;
            let container_name = body::needed(body, "containerName")?.to_owned();
            Ok(BlobAuthorization::ConnectionString { connection_string: connection(body)?, container_name })
        }
        IDENTITY => Err(no_identity()),
        kind => Err(other(kind, "`connectionString` or `systemAssignedManagedIdentity`")),
    }
}

fn read_entity(body: &Value, named: &str) -> Result<EntityAuthorization, Failure> {
    match body::needed(body, "type")? {
        kind @ "connectionString" => {
            members(body, kind, &["connectionString"])?;
            Ok(EntityAuthorization::ConnectionString { connection_string: connection(body)? })
        }
        kind @ IDENTITY => {
            members(body, kind, &["hostName", named])?;
            Err(no_identity())
        }
        kind => Err(other(kind, "`connectionString` or `systemAssignedManagedIdentity`")),
    }
}

fn read_table(body: &Value) -> Result<TableAuthorization, Failure> {
    match body::needed(body, "type")? {
        kind @ "servicePrincipal" => {
            members(body, kind, &["clientId", "tenantId", "clientSecret"])?;
            Ok(TableAuthorization::ServicePrincipal {
                client_id: body::needed(body, "clientId")?.to_owned(),
                tenant_id: body::needed(body, "tenantId")?.to_owned(),
                client_secret: secret(body, "clientSecret")?,
            })
        }
        IDENTITY => Err(no_identity()),
        kind => Err(other(kind, "`servicePrincipal` or `systemAssignedManagedIdentity`")),
    }
}

fn read_webhook(body: &Value) -> Result<WebhookAuthorization, Failure> {
    match body::needed(body, "type")? {
        kind @ "header" => {
            members(body, kind, &["value"])?;
            Ok(WebhookAuthorization::Header { value: secret(body, "value")? })
        }
        kind @ "oauth" => {
            members(body, kind, &["tokenUrl", "clientId", "clientSecret", "audience", "scope", "requestType"])?;
            let request_type = match body::text(body, "requestType")? {
                None => None,
                Some("auto") => Some(RequestType::Auto),
                Some("json") => Some(RequestType::Json),
                Some("urlencoded") => Some(RequestType::UrlEncoded),
                Some(_) => return Err(Failure::invalid("`requestType` is `auto`, `json` or `urlencoded`")),
            };
            Ok(WebhookAuthorization::OAuth {
                token_url: body::needed(body, "tokenUrl")?.to_owned(),
                client_id: body::needed(body, "clientId")?.to_owned(),
                client_secret: secret(body, "clientSecret")?,
                audience: body::text(body, "audience")?.map(str::to_owned),
                scope: body::text(body, "scope")?.map(str::to_owned),
                request_type,
            })
        }
        kind => Err(other(kind, "`header` or `oauth`")),
    }
}

fn read_customizations(body: &Value, field: &'static str) -> Result<Customizations, Failure> {
    let wrong = || Failure::invalid(format!("`{field}` is an object of objects with `value` and perhaps `secret`"));
    let all = match body.get(field) {
        None | Some(Value::Null) => return Ok(Customizations::new()),
        Some(Value::Object(all)) => all,
        Some(_) => return Err(wrong()),
    };
    let one = |(name, one): (&String, &Value)| {
        let members = one.as_object().ok_or_else(wrong)?;
        if members.keys().any(|name| name != "value" && name != "secret") {
            return Err(wrong());
        }
        let is_secret = body::flag(one, "secret")?.unwrap_or(false);
        let read = if is_secret {
            Customization::Secret(secret(one, "value")?)
        } else {
            let value = body::needed(one, "value")?;
            if value == HIDDEN {
                let words = format!("`{field}`: a secret that is hidden does not become open; write its value");
                return Err(Failure::invalid(words));
            }
            Customization::Open(value.to_owned())
        };
        Ok((name.clone(), read))
    };
    all.iter().map(one).collect()
}

pub(crate) async fn list(call: Call) -> Result<Response, Failure> {
    let all = call.who.state.destinations.iter();
    list::answer(&call, all.map(|(id, kept)| (id.to_string(), (id, kept))), |_, (id, kept)| {
        shown(&call, id, &kept.value)
    })
}

fn known(call: &Call) -> Result<(DestinationId, &Kept<Destination>), Failure> {
    let id = call.id("destinationId", DestinationId::parse)?;
    match call.who.state.destinations.get(&id) {
        Some(kept) => Ok((id, kept)),
        None => Err(CentralError::from(DestinationError::Unknown(id)).into()),
    }
}

pub(crate) async fn get(call: Call) -> Result<Json<Value>, Failure> {
    let (id, kept) = known(&call)?;
    Ok(Json(shown(&call, &id, &kept.value)))
}

/// Destinations, as a kind.
pub(crate) struct Destinations;

impl Kind for Destinations {
    type Id = DestinationId;
    type Object = Destination;
    const WHOLE: &'static [&'static str] = &["authorization"];

    fn known(call: &Call) -> Result<(DestinationId, &Kept<Destination>), Failure> {
        known(call)
    }

    fn show(id: &str, kept: &Kept<Destination>) -> Value {
        show(id, &kept.value)
    }

    async fn write(call: &Call, body: &Value, if_match: &IfMatch) -> Result<Json<Value>, Failure> {
        let id = call.id("destinationId", DestinationId::parse)?;
        let kept = call.central().put_destination(call.write(if_match), &id, &read(body)?).await?;
        Ok(Json(shown(call, &id, &kept.value)))
    }
}

pub(crate) async fn remove(call: Call) -> Result<Response, Failure> {
    let (id, _) = known(&call)?;
    call.central().delete_destination(&id, &call.if_match(&Value::Null)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The exports that send there; of their destinations nothing is said.
pub(crate) async fn exports(call: Call) -> Result<Response, Failure> {
    let (id, _) = known(&call)?;
    let all = exports::of_destination(&call.who.state.exports, &id);
    list::answer(&call, all.map(|(export, kept)| (export.to_string(), (export, kept))), |_, (export, kept)| {
        let mut shown = crate::exports::shown(&call, export, &kept.value);
        shown["destinations"] = json!([]);
        if let Some(transform) =
            kept.value.destinations.iter().find(|one| one.id == id).and_then(|one| one.transform.as_ref())
        {
            shown["transform"] = transform.as_str().into();
        }
        shown
    })
}
