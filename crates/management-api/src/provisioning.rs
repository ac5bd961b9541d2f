//! The provisioning service as a resource, with the hubs that are linked to it.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use axum::Json;
use axum::response::Response;
use gantry_identity::Policy;
use gantry_provisioning::{AllocationPolicy, HubView};
use serde_json::{Map, Value, json};

use crate::call::{Call, Kind};
use crate::hubs::with_keys;
use crate::kept::{Texts, read_location, read_tags};
use crate::{Failure, LOCATION, changes, operations};

const KIND: Kind = Kind::Provisioning;
/// What stands where a key is.
const HIDDEN: &str = "****";

fn linked(view: &HubView, locations: &Texts) -> Value {
    let host = &view.host_name;
    json!({
        "name": host,
        "connectionString": format!("HostName={host};SharedAccessKey={HIDDEN}"),
        "location": locations.get(host).map_or(LOCATION, String::as_str),
        "allocationWeight": view.weight,
        "applyAllocationPolicy": view.takes_part,
    })
}

fn document(call: &Call, with: fn(&Policy) -> Value) -> Value {
    let (service, locations) = (call.provisioning(), call.management.kept.locations());
    let hubs: Vec<_> = service.hub_views().iter().map(|view| linked(view, &locations)).collect();
    let allocation = match service.allocation() {
        AllocationPolicy::GeoLatency => "GeoLatency",
        AllocationPolicy::Static => "Static",
        AllocationPolicy::Hashed | AllocationPolicy::Custom => "Hashed",
    };
    let mut document = call.resource(KIND);
    let mut hasher = DefaultHasher::new();
    (Value::from(hubs.clone()).to_string(), document["tags"].to_string()).hash(&mut hasher);
    document["etag"] = format!("{:016x}", hasher.finish()).into();
    document["sku"] = json!({ "name": "S1", "tier": "Standard", "capacity": 1 });
    document["properties"] = json!({
        "state": "Active",
        "provisioningState": "Succeeded",
        "publicNetworkAccess": "Enabled",
        "ipFilterRules": [],
        "privateEndpointConnections": [],
        "iotHubs": hubs,
        "allocationPolicy": allocation,
        "serviceOperationsHostName": service.host_name(),
        "deviceProvisioningHostName": service.host_name(),
        "idScope": service.id_scope().as_str(),
        "authorizationPolicies": service.policies().iter().map(with).collect::<Vec<_>>(),
        "enableDataResidency": true,
        "disableLocalAuth": false,
    });
    document
}

fn without_keys(policy: &Policy) -> Value {
    json!({ "keyName": policy.name, "rights": policy.rights.to_string() })
}

pub(crate) async fn list(call: Call) -> Json<Value> {
    Json(json!({ "value": [document(&call, without_keys)] }))
}

pub(crate) async fn get(call: Call) -> Result<Json<Value>, Failure> {
    call.check_name(KIND)?;
    Ok(Json(document(&call, without_keys)))
}

pub(crate) async fn skus(call: Call) -> Result<Json<Value>, Failure> {
    call.check_name(KIND)?;
    Ok(Json(json!({ "value": [{ "name": "S1" }] })))
}

pub(crate) async fn operation(call: Call) -> Result<Response, Failure> {
    operations::outcome(&call, KIND)
}

pub(crate) async fn keys(call: Call) -> Result<Json<Value>, Failure> {
    call.check_name(KIND)?;
    Ok(Json(json!({ "value": call.provisioning().policies().iter().map(with_keys).collect::<Vec<_>>() })))
}

pub(crate) async fn key(call: Call) -> Result<Json<Value>, Failure> {
    call.check_name(KIND)?;
    let name = call.piece("keyName");
    let found = call.provisioning().policies().iter().find(|policy| policy.name.eq_ignore_ascii_case(name));
    Ok(Json(with_keys(found.ok_or_else(|| Failure::not_found("the service has no policy of this name"))?)))
}

pub(crate) async fn patch(call: Call) -> Result<Response, Failure> {
    call.check_name(KIND)?;
    if let Some(tags) = call.body()?.get("tags").filter(|tags| !tags.is_null()) {
        call.management.kept.put_tags(KIND, read_tags(tags)?).await?;
    }
    Ok(operations::written(&call, KIND, document(&call, without_keys)))
}

/// Linked hubs and tags are written; everything else must be as it is.
pub(crate) async fn put(call: Call) -> Result<Response, Failure> {
    call.check_name_to_write(KIND)?;
    call.check_is_new(true)?;
    let mut body = call.body()?;
    let shown = document(&call, with_keys);
    if !call.if_match(Some(&body)).admits(shown["etag"].as_str().unwrap_or_default()) {
        return Err(Failure::precondition("etag of the provisioning service does not match"));
    }
    let asked = body.get_mut("properties").and_then(Value::as_object_mut).and_then(|all| all.shift_remove("iotHubs"));
    changes::check_resource(&body, &shown, &["sku", "properties", "identity"])?;
    let tags = body.get("tags").filter(|tags| !tags.is_null()).map(read_tags).transpose()?;
    match asked {
        None | Some(Value::Null) => {}
        Some(Value::Array(asked)) => write_hubs(&call, &asked).await?,
        Some(_) => return Err(Failure::invalid("`properties.iotHubs` is an array")),
    }
    if let Some(tags) = tags {
        call.management.kept.put_tags(KIND, tags).await?;
    }
    Ok(operations::written(&call, KIND, document(&call, without_keys)))
}

/// A hub as a client wants it linked.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    host_name: String,
    /// None when it is as it was shown, without its key.
    connection_string: Option<String>,
    location: String,
    weight: Option<u32>,
    takes_part: Option<bool>,
}

fn at(name: &str) -> String {
    format!("properties.iotHubs.{name}")
}

/// Hubs are known by their names alone.
fn without_port(host: &str) -> String {
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    name.map_or(host, |(name, _)| name).to_owned()
}

fn read_wanted(value: &Value) -> Result<Wanted, Failure> {
    let wrong = |name: &str, is: &str| Failure::invalid(format!("`{}` is {is}", at(name)));
    let all = value.as_object().ok_or_else(|| Failure::invalid("`properties.iotHubs` has objects"))?;
    let mut fields: Map<String, Value> = all.clone();
    let mut take = |name: &str| fields.shift_remove(name).filter(|value| !value.is_null());
    let text = |name: &str, value: Option<Value>| match value {
        Some(Value::String(text)) => Ok(Some(text)),
        None => Ok(None),
        Some(_) => Err(wrong(name, "a string")),
    };
    let connection = text("connectionString", take("connectionString"))?;
    let connection = connection.ok_or_else(|| wrong("connectionString", "missing"))?;
    let location = text("location", take("location"))?.ok_or_else(|| wrong("location", "missing"))?;
    let pairs = connection.split(';').filter_map(|field| field.split_once('='));
    let mut named = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("HostName"));
    let host = named.next().map(|(_, host)| without_port(host.trim()));
    let host_name = host.ok_or_else(|| wrong("connectionString", "without a HostName"))?;
    for name in ["name", "hostName"] {
        let same =
            take(name).is_none_or(|value| value.as_str().is_some_and(|one| one.eq_ignore_ascii_case(&host_name)));
        if !same {
            return Err(wrong(name, "the HostName of `connectionString`"));
        }
    }
    let is_key_based = |value: Value| value.as_str().is_some_and(|text| text.eq_ignore_ascii_case("KeyBased"));
    if !take("authenticationType").is_none_or(is_key_based) {
        return Err(Failure::unchangeable(&at("authenticationType")));
    }
    let number = |value: Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
    let weight = take("allocationWeight")
        .map(|value| number(value).ok_or_else(|| wrong("allocationWeight", "a number from 1 to 1000")));
    let takes_part = take("applyAllocationPolicy")
        .map(|value| value.as_bool().ok_or_else(|| wrong("applyAllocationPolicy", "true or false")));
    let (weight, takes_part) = (weight.transpose()?, takes_part.transpose()?);
    if let Some(name) = fields.iter().find(|(_, value)| !value.is_null()).map(|(name, _)| name) {
        return Err(Failure::unchangeable(&at(name)));
    }
    let is_shown = connection.split(';').any(|field| field == format!("SharedAccessKey={HIDDEN}"));
    let connection_string = (!is_shown).then_some(connection);
    Ok(Wanted { host_name, connection_string, location: read_location(&location)?, weight, takes_part })
}

/// Links, links anew and unlinks hubs, after all of them were looked at.
async fn write_hubs(call: &Call, asked: &[Value]) -> Result<(), Failure> {
    let service = call.provisioning();
    let (views, mut locations) = (service.hub_views(), call.management.kept.locations());
    let wanted = asked.iter().map(read_wanted).collect::<Result<Vec<_>, _>>()?;
    let find = |host: &str| views.iter().find(|view| view.host_name.eq_ignore_ascii_case(host));
    let is_wanted = |view: &HubView| wanted.iter().any(|one| one.host_name.eq_ignore_ascii_case(&view.host_name));
    if let Some(gone) = views.iter().find(|view| view.is_own && !is_wanted(view)) {
        return Err(Failure::unchangeable(&at(&gone.host_name)));
    }
    let mut links = vec![];
    for (place, one) in wanted.iter().enumerate() {
        if wanted.iter().take(place).any(|other| other.host_name.eq_ignore_ascii_case(&one.host_name)) {
            return Err(Failure::invalid(format!("hub `{}` is there twice", one.host_name)));
        }
        let view = find(&one.host_name);
        let weight = one.weight.or(view.map(|view| view.weight)).unwrap_or(1);
        let takes_part = one.takes_part.or(view.map(|view| view.takes_part)).unwrap_or(true);
        let is_as_it_is = view.is_some_and(|view| (view.weight, view.takes_part) == (weight, takes_part));
        match view {
            Some(view) if view.is_own && !is_as_it_is => {
                return Err(Failure::unchangeable(&at(&format!("{}.allocationWeight", view.host_name))));
            }
            Some(view) if view.is_own && !one.location.eq_ignore_ascii_case(LOCATION) => {
                return Err(Failure::unchangeable(&at(&format!("{}.location", view.host_name))));
            }
            Some(view) if view.is_own => continue,
            None if one.connection_string.is_none() => {
                return Err(Failure::invalid(format!(
                    "hub `{}` needs a connection string with its key",
                    one.host_name
                )));
            }
            _ => {}
        }
        if one.connection_string.is_some() || !is_as_it_is {
            links.push((one, weight, takes_part));
        }
        let host = view.map_or(&one.host_name, |view| &view.host_name);
        locations.insert(host.clone(), one.location.clone());
    }
    for (one, weight, takes_part) in links {
        service.relink_hub(&one.host_name, one.connection_string.clone(), weight, takes_part).await?;
    }
    for gone in views.iter().filter(|view| !view.is_own && !is_wanted(view)) {
        service.unlink_hub(&gone.host_name).await?;
        locations.remove(&gone.host_name);
    }
    Ok(call.management.kept.put_locations(locations).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linked_hub_is_read_as_it_was_shown_and_with_its_key() {
        let view = HubView { host_name: "h".into(), weight: 3, takes_part: false, is_own: false, latency: None };
        let shown = read_wanted(&linked(&view, &Texts::default())).unwrap();
        let expected = Wanted {
            host_name: "h".into(),
            connection_string: None,
            location: LOCATION.into(),
            weight: Some(3),
            takes_part: Some(false),
        };
        assert_eq!(shown, expected);
        let text = "HostName=h:8443;SharedAccessKeyName=p;SharedAccessKey=AAAA";
        let with_key = read_wanted(&json!({ "connectionString": text, "location": "west" })).unwrap();
        assert_eq!(with_key.connection_string.as_deref(), Some(text));
        assert_eq!((with_key.host_name.as_str(), with_key.weight), ("h", None));
    }

    #[test]
    fn what_a_link_cannot_be_is_named() {
        let text = "HostName=h;SharedAccessKey=AAAA";
        for (hub, name) in [
            (json!({ "location": "west" }), "connectionString"),
            (json!({ "connectionString": text }), "location"),
            (json!({ "connectionString": "SharedAccessKey=A", "location": "west" }), "HostName"),
            (json!({ "connectionString": text, "location": "west", "name": "other" }), "name"),
            (json!({ "connectionString": text, "location": "west", "allocationWeight": -1 }), "allocationWeight"),
            (
                json!({ "connectionString": text, "location": "west", "authenticationType": "SystemAssigned" }),
                "authenticationType",
            ),
            (json!({ "connectionString": text, "location": "west", "colour": 1 }), "colour"),
        ] {
            let words = format!("{:?}", read_wanted(&hub).unwrap_err());
            assert!(words.contains(name), "{words} should name {name}");
        }
    }
}
