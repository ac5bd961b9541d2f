//! Settings of a hub over the documents of an engine, with a second hub over the same: what each reads at start and
//! keeps in memory is no reason to overwrite what the other wrote.

use std::sync::Arc;

use gantry_hub::Hub;
use gantry_hub::HubError;
use gantry_hub::configuration::{ConfigurationError, ConfigurationWrite};
use gantry_hub::device::IfMatch;
use gantry_hub::limits::CONFIGURATIONS_MAX;
use gantry_hub::routing::{Routing, Validation};
use serde_json::{Value, json};

use crate::Engine;
use crate::fixtures::{at, at_once, hub};

const URL: &str = "https://example.org/hook";

fn configuration(priority: i32) -> ConfigurationWrite {
    let content = Some(json!({ "deviceContent": { "properties.desired.rate": 1 } }));
    ConfigurationWrite { content, target_condition: "*".into(), priority, ..ConfigurationWrite::default() }
}

fn routing(value: Value) -> Routing {
    serde_json::from_value(value).unwrap()
}

fn with_webhook(url: &str) -> Routing {
    routing(json!({ "endpoints": { "webhooks": [{ "name": "hook", "url": url }] } }))
}

/// Both hubs read their settings before either writes.
async fn two(engine: &dyn Engine) -> [Arc<Hub>; 2] {
    [hub(engine).await, hub(engine).await]
}

/// As it says.
pub async fn hubs_over_one_store_do_not_undo_each_other(engine: Box<dyn Engine>) {
    let hubs = two(&*engine).await;
    // Both change the same at once, each from what it read at start.
    let made = at_once(|writer| {
        let hub = Arc::clone(&hubs[writer % 2]);
        let write = configuration(i32::try_from(writer).unwrap());
        async move {
            let mut outcomes = vec![];
            for number in 0..4 {
                let id = format!("c{writer}-{number}");
                outcomes.push(hub.put_configuration(at(1), &id, write.clone(), &IfMatch::Absent).await.map(drop));
            }
            outcomes
        }
    });
    let outcomes: Vec<_> = made.await.into_iter().flatten().collect();
    let is_full = |error: &HubError| matches!(error, HubError::Configuration(ConfigurationError::TooMany));
    assert!(outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).all(is_full), "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), CONFIGURATIONS_MAX);
    // A write is decided on what is stored, whichever hub wrote it.
    for (hub, other) in [(&hubs[0], &hubs[1]), (&hubs[1], &hubs[0])] {
        let found = other.configurations().into_iter().next().unwrap();
        let changed = other.put_configuration(at(2), &found.id, configuration(7), &IfMatch::Any).await.unwrap();
        let stale = hub.delete_configuration(&found.id, &IfMatch::tag(found.etag_text())).await;
        let is_refused = matches!(stale, Err(HubError::Configuration(ConfigurationError::PreconditionFailed(_))));
        assert!(is_refused, "{stale:?}");
        assert_eq!(hub.configuration(&found.id).unwrap(), changed, "what was written elsewhere is known from then on");
        hub.delete_configuration(&found.id, &IfMatch::tag(changed.etag_text())).await.unwrap();
    }
    // Nor is anybody refused for what one of them remembers.
    let made = hubs[1].configurations()[0].id.clone();
    hubs[0].delete_configuration(&made, &IfMatch::Any).await.unwrap();
    hubs[0].put_configuration(at(3), "new", configuration(1), &IfMatch::Absent).await.unwrap();
    hubs[1].delete_configuration("new", &IfMatch::Any).await.unwrap();
    hubs[0].put_configuration(at(4), "new", configuration(2), &IfMatch::Absent).await.unwrap();
    let routes = |name: &str| routing(json!({ "endpoints": { "eventHubs": [{ "name": name }] } }));
    let (_, etag) = hubs[0].routing();
    hubs[0].put_routing(at(1), routes("a"), &IfMatch::tag(etag.clone())).await.unwrap();
    let stale = hubs[1].put_routing(at(1), routes("b"), &IfMatch::tag(etag)).await;
    assert!(matches!(stale, Err(HubError::RoutingChanged)), "{stale:?}");
    assert_eq!(hubs[1].routing().0, routes("a"));
    let numbers: Vec<_> = hubs[1].endpoints().into_iter().map(|endpoint| endpoint.number).collect();
    assert_eq!(numbers, [1], "and so does the table");
    hubs[1].put_routing(at(1), routes("b"), &IfMatch::Any).await.unwrap();
    // Whoever begins now reads what both wrote.
    let third = hub(&*engine).await;
    assert_eq!((third.routing().0, third.endpoints()[0].number), (routes("b"), 2));
    assert_eq!(third.configurations().len(), CONFIGURATIONS_MAX - 2);
}

/// As it says.
pub async fn what_a_webhook_proved_is_kept_until_no_endpoint_has_it(engine: Box<dyn Engine>) {
    let [first, second] = two(&*engine).await;
    first.put_routing(at(1), with_webhook(URL), &IfMatch::Any).await.unwrap();
    let Validation::Code(code) = first.webhook_validation(at(1), URL) else { panic!("it has proved nothing yet") };
    assert!(first.open_webhook_link(at(2), &code).await.unwrap());
    assert!(!first.open_webhook_link(at(2), &code).await.unwrap(), "once");
    assert!(first.webhook_validation(at(2), URL) == Validation::Proved);
    // The other hub learns of it with its next write, and keeps it.
    second.put_routing(at(3), with_webhook(URL), &IfMatch::Any).await.unwrap();
    assert!(second.webhook_validation(at(3), URL) == Validation::Proved);
    assert!(hub(&*engine).await.webhook_validation(at(3), URL) == Validation::Proved);
    second.put_routing(at(4), with_webhook("https://example.org/other"), &IfMatch::Any).await.unwrap();
    first.put_routing(at(5), with_webhook(URL), &IfMatch::Any).await.unwrap();
    assert!(matches!(first.webhook_validation(at(5), URL), Validation::Code(_)));
    assert!(matches!(hub(&*engine).await.webhook_validation(at(5), URL), Validation::Code(_)));
}

/// As it says.
pub async fn a_policy_rolled_twice_at_once_is_rolled_twice(engine: Box<dyn Engine>) {
    let [first, second] = two(&*engine).await;
    let before = first.policies().find("service").unwrap().clone();
    let once = first.roll_policy("service").await.unwrap();
    let twice = second.roll_policy("service").await.unwrap();
    assert_eq!(once.keys.secondary, before.keys.primary);
    assert_eq!(twice.keys.secondary, once.keys.primary, "the second roll begins with the keys of the first");
    let read = hub(&*engine).await.policies();
    assert_eq!(read.find("service"), Some(&twice));
    assert_eq!(read.find("iothubowner"), first.policies().find("iothubowner"));
}
