//! Routing in the words of the control plane, and trying routes out.
//!
//! The platform's own words are more: webhooks, and subscriptions of its topics. Models of the SDKs do not know them, so
//! a client that reads a hub and writes it back leaves them out. What is left out so stays as it is: an absent
//! `webhooks`, and an absent `subscriptions` of a topic that is there.

use axum::Json;
use gantry_hub::routing::{FallbackRoute, Route, Routing, Source, TestMessage};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::KIND;
use crate::call::Call;
use crate::{Failure, RESOURCE_GROUP};

/// Lists of endpoints that have settings of their own in both words.
const KINDS: [&str; 4] = ["serviceBusQueues", "serviceBusTopics", "eventHubs", "storageContainers"];
/// What an endpoint may have at the reference and not here.
const NOT_HERE: [&str; 3] = ["endpointUri", "entityPath", "identity"];

/// Routing as it is shown.
pub(super) fn show(routing: Routing) -> Value {
    // Texts, numbers and lists of ours are JSON.
    serde_json::to_value(routing.without_secrets()).unwrap_or_default()
}

/// Routing as a client writes it.
pub(super) fn read(mut asked: Value, before: &Routing, subscription: &str) -> Result<Routing, Failure> {
    drop_nulls(&mut asked);
    let Value::Object(all) = &mut asked else {
        return Err(Failure::invalid("`properties.routing` is an object"));
    };
    // The reference disables what is not set.
    let has_fallback = all.contains_key("fallbackRoute");
    if let Some(Value::Object(endpoints)) = all.get_mut("endpoints") {
        read_endpoints(endpoints, before, subscription)?;
    }
    let keeps_webhooks = all.get("endpoints").is_none_or(|endpoints| endpoints.get("webhooks").is_none());
    let mut routing: Routing =
        serde_json::from_value(asked).map_err(|error| Failure::invalid(format!("`properties.routing`: {error}")))?;
    if !has_fallback {
        routing.fallback_route = FallbackRoute { is_enabled: false, ..FallbackRoute::default() };
    }
    if keeps_webhooks {
        routing.endpoints.webhooks.clone_from(&before.endpoints.webhooks);
    }
    Ok(routing)
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(all) => {
            all.retain(|_, value| !value.is_null());
            all.values_mut().for_each(drop_nulls);
        }
        Value::Array(all) => all.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

fn read_endpoints(endpoints: &mut Map<String, Value>, before: &Routing, subscription: &str) -> Result<(), Failure> {
    match endpoints.shift_remove("cosmosDBSqlContainers") {
        None => {}
        Some(Value::Array(none)) if none.is_empty() => {}
        Some(_) => return Err(Failure::not_implemented("an endpoint of Cosmos DB")),
    }
    for kind in KINDS {
        let Some(Value::Array(all)) = endpoints.get_mut(kind) else { continue };
        for endpoint in all.iter_mut().filter_map(Value::as_object_mut) {
            read_endpoint(kind, endpoint, subscription)?;
            if kind == "serviceBusTopics" {
                keep_subscriptions(endpoint, before);
            }
        }
    }
    Ok(())
}

/// Takes away what only the control plane says of an endpoint, where it says what is so.
fn read_endpoint(kind: &str, endpoint: &mut Map<String, Value>, subscription: &str) -> Result<(), Failure> {
    let named = |what: &str| format!("properties.routing.endpoints.{kind}.{what}");
    // Drawn by the reference, and sent back by clients.
    endpoint.shift_remove("id");
    for (what, own) in
        [("subscriptionId", subscription), ("resourceGroup", RESOURCE_GROUP), ("authenticationType", "keyBased")]
    {
        if let Some(value) = endpoint.shift_remove(what)
            && !value.as_str().is_some_and(|text| text.eq_ignore_ascii_case(own))
        {
            return Err(Failure::unchangeable(&named(what)));
        }
    }
    match NOT_HERE.iter().find(|what| endpoint.contains_key(**what)) {
        Some(what) => Err(Failure::unchangeable(&named(what))),
        None => Ok(()),
    }
}

fn keep_subscriptions(topic: &mut Map<String, Value>, before: &Routing) {
    if topic.contains_key("subscriptions") {
        return;
    }
    let name = topic.get("name").and_then(Value::as_str);
    let known = before.endpoints.service_bus_topics.iter().find(|known| Some(known.name.as_str()) == name);
    if let Some(known) = known.filter(|known| !known.subscriptions.is_empty()) {
        topic.insert("subscriptions".to_owned(), known.subscriptions.clone().into());
    }
}

#[derive(Deserialize)]
struct TestNew {
    #[serde(default)]
    message: TestMessage,
    route: Route,
    twin: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TestAll {
    #[serde(default)]
    message: TestMessage,
    /// All when it is not said.
    routing_source: Option<Source>,
    twin: Option<Value>,
}

fn parse<T: DeserializeOwned>(call: &Call) -> Result<T, Failure> {
    let mut body = Value::Object(call.body()?);
    drop_nulls(&mut body);
    serde_json::from_value(body).map_err(|error| Failure::invalid(format!("malformed body: {error}")))
}

pub(crate) async fn test_new(call: Call) -> Result<Json<Value>, Failure> {
    call.check_name(KIND)?;
    let input: TestNew = parse(&call)?;
    Ok(Json(input.message.try_route(&input.route, input.twin.as_ref()).document()))
}

pub(crate) async fn test_all(call: Call) -> Result<Json<Value>, Failure> {
    call.check_name(KIND)?;
    let input: TestAll = parse(&call)?;
    let source = input.routing_source.unwrap_or(Source::DeviceMessages);
    let matched = call.hub().try_routes(source, &input.message, input.twin.as_ref());
    let routes: Vec<_> = matched.into_iter().map(|(route, _)| json!({ "properties": route })).collect();
    Ok(Json(json!({ "routes": routes })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::StatusCode;
    use axum::response::IntoResponse as _;

    const OWN: &str = "0000";

    fn before() -> Routing {
        serde_json::from_value(json!({ "endpoints": {
            "webhooks": [{ "name": "w", "url": "https://h/" }],
            "serviceBusTopics": [{ "name": "t", "subscriptions": ["a", "b"] }],
        } }))
        .unwrap()
    }

    #[test]
    fn what_an_sdk_does_not_know_stays() {
        let asked = json!({
            "endpoints": { "serviceBusTopics": [{ "name": "t", "id": "x", "connectionString": null }] },
            "fallbackRoute": { "source": "DeviceMessages", "endpointNames": ["events"], "isEnabled": true },
            "enrichments": null,
        });
        let read = read(asked, &before(), OWN).unwrap();
        assert_eq!(read.endpoints, before().endpoints);
        assert!(read.fallback_route.is_enabled);
    }

    #[test]
    fn what_is_there_as_it_is_replaces_what_was() {
        let asked = json!({ "endpoints": {
            "webhooks": [],
            "serviceBusTopics": [{ "name": "t", "subscriptions": ["c"] }],
            "eventHubs": [{ "name": "e", "subscriptionId": OWN, "resourceGroup": "Gantry", "authenticationType": "KeyBased" }],
            "cosmosDBSqlContainers": [],
        } });
        let read = read(asked, &before(), OWN).unwrap();
        assert!(read.endpoints.webhooks.is_empty());
        assert_eq!(read.endpoints.service_bus_topics[0].subscriptions, ["c"]);
        assert_eq!(read.endpoints.event_hubs[0].name, "e");
        assert!(!read.fallback_route.is_enabled, "not set is disabled");
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        let status = |endpoints: Value| {
            let failure = read(json!({ "endpoints": endpoints }), &before(), OWN).unwrap_err();
            (format!("{failure:?}"), failure.into_response().status())
        };
        for (endpoints, name) in [
            (json!({ "eventHubs": [{ "name": "e", "entityPath": "x" }] }), "eventHubs.entityPath"),
            (json!({ "eventHubs": [{ "name": "e", "subscriptionId": "other" }] }), "eventHubs.subscriptionId"),
            (
                json!({ "serviceBusQueues": [{ "name": "e", "authenticationType": "identityBased" }] }),
                "serviceBusQueues.authenticationType",
            ),
            (json!({ "cosmosDBSqlContainers": [{ "name": "c" }] }), "Cosmos DB"),
        ] {
            let (words, status) = status(endpoints);
            assert!(words.contains(name) && status == StatusCode::NOT_IMPLEMENTED, "{words}");
        }
        let (words, status) = status(json!({ "eventHubs": [{ "name": "e", "colour": 1 }] }));
        assert!(words.contains("colour") && status == StatusCode::BAD_REQUEST, "{words}");
        assert!(read(json!([]), &before(), OWN).is_err());
    }
}
