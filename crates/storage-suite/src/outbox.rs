//! What writes report: stored with the write, in the log after it, for each device in the order of its writes.

use std::collections::BTreeMap;
use std::sync::Arc;

use gantry_hub::Hub;
use gantry_hub::device::{DeviceWrite, IfMatch, Status};
use gantry_hub::event::{MessageSource, StoredEvent};
use gantry_hub::ports::Start;
use gantry_hub::twin::TwinWrite;
use gantry_identity::Timestamp;
use serde_json::{Value, json};

use crate::Engine;
use crate::fixtures::{WRITERS, at, at_once, hub, id, read_to};

async fn route(hub: &Hub, now: Timestamp, routes: Value) {
    let routing = serde_json::from_value(json!({ "routes": routes })).unwrap();
    hub.put_routing(now, routing, &IfMatch::Any).await.unwrap();
}

fn tags(site: &str) -> TwinWrite {
    TwinWrite::merging(Some(json!({ "site": site })), None).unwrap()
}

/// Every event, partition after partition.
async fn events(engine: &dyn Engine) -> Vec<StoredEvent> {
    let source = engine.source();
    let mut all = vec![];
    for partition in 0..source.partitions() {
        let end = source.partition(partition).await.unwrap().unwrap().last.map_or(0, |(last, _)| last + 1);
        let mut cursor = source.read(partition, Start::Earliest).await.unwrap().unwrap();
        let (events, missed) = read_to(&mut *cursor, end).await;
        assert_eq!(missed, 0);
        all.extend(events);
    }
    all
}

fn operation(event: &StoredEvent) -> String {
    let found = event.properties.iter().find(|(name, _)| name == "opType");
    found.unwrap().1.clone().unwrap()
}

/// As it says.
pub async fn a_write_and_its_report_are_there_together_after_a_restart(engine: Box<dyn Engine>) {
    let hub = hub(&*engine).await;
    hub.put_device(at(1), &id("quiet"), DeviceWrite::default(), &IfMatch::Absent).await.unwrap();
    let routes = json!([
        { "name": "lives", "source": "DeviceLifecycleEvents", "endpointNames": ["events"] },
        { "name": "twins", "source": "TwinChangeEvents", "condition": "$twin.tags.site = 'lyon'",
          "endpointNames": ["events"] },
    ]);
    route(&hub, at(1), routes).await;
    hub.put_device(at(2), &id("new"), DeviceWrite::default(), &IfMatch::Absent).await.unwrap();
    hub.write_twin(at(3), &id("new"), &tags("paris"), &IfMatch::Any).await.unwrap();
    hub.write_twin(at(4), &id("new"), &tags("lyon"), &IfMatch::Any).await.unwrap();
    // A write that is refused reports nothing.
    let stale = IfMatch::tag("AAAAAAAAAAE=");
    assert!(hub.write_twin(at(5), &id("new"), &tags("lyon"), &stale).await.is_err());
    // Everybody who keeps something about devices must hear that one is gone, whatever is routed.
    route(&hub, at(6), json!([])).await;
    hub.delete_device(at(7), &id("quiet"), &IfMatch::Any).await.unwrap();
    drop(hub);
    // The process ends before anything was relayed.
    let engine = engine.restart().await.unwrap();
    assert!(engine.relay().await.unwrap());
    assert!(!engine.relay().await.unwrap(), "each report is relayed once");
    let told: Vec<_> = events(&*engine).await;
    let of = |device: &str| {
        let of_it = told.iter().filter(|event| event.identity == id(device));
        of_it.map(|event| (operation(event), event.enqueued_at)).collect::<Vec<_>>()
    };
    assert_eq!(of("new"), [("createDeviceIdentity".to_owned(), at(2)), ("updateTwin".to_owned(), at(4))]);
    assert_eq!(of("quiet"), [("deleteDeviceIdentity".to_owned(), at(7))]);
    let gone = told.iter().find(|event| event.identity == id("quiet")).unwrap();
    assert!(gantry_hub::reports::is_device_deleted(gone));
    assert_eq!(gone.destinations, gantry_hub::routing::Destinations::NONE, "it goes nowhere");
    let body: Value =
        serde_json::from_slice(&told.iter().find(|event| operation(event) == "updateTwin").unwrap().body).unwrap();
    assert_eq!(body["tags"]["site"], "lyon");
}

/// As it says.
pub async fn what_somebody_hears_of_is_reported_without_a_route_and_goes_nowhere(engine: Box<dyn Engine>) {
    let hub = hub(&*engine).await;
    let put = |status, if_match| {
        let write = DeviceWrite { status, ..DeviceWrite::default() };
        let hub = &hub;
        async move { hub.put_device(at(2), &id("d1"), write, &if_match).await.unwrap() }
    };
    put(Status::Enabled, IfMatch::Absent).await;
    hub.write_twin(at(2), &id("d1"), &tags("unheard"), &IfMatch::Any).await.unwrap();
    hub.hear(&[MessageSource::TwinChange, MessageSource::Lifecycle]);
    hub.put_device(at(3), &id("d2"), DeviceWrite::default(), &IfMatch::Absent).await.unwrap();
    hub.write_twin(at(4), &id("d1"), &tags("lyon"), &IfMatch::Any).await.unwrap();
    put(Status::Disabled, IfMatch::Any).await;
    put(Status::Disabled, IfMatch::Any).await;
    put(Status::Enabled, IfMatch::Any).await;
    hub.hear(&[]);
    hub.write_twin(at(5), &id("d1"), &tags("unheard"), &IfMatch::Any).await.unwrap();
    while engine.relay().await.unwrap() {}
    let told = events(&*engine).await;
    let of = |device: &str| told.iter().filter(|event| event.identity == id(device)).map(operation).collect::<Vec<_>>();
    assert_eq!(of("d1"), ["updateTwin", "disableDeviceIdentity", "enableDeviceIdentity"]);
    assert_eq!(of("d2"), ["createDeviceIdentity"]);
    assert!(told.iter().all(|event| event.destinations == gantry_hub::routing::Destinations::NONE));
}

/// As it says.
pub async fn reports_are_neither_lost_nor_out_of_order_for_a_device(engine: Box<dyn Engine>) {
    const WRITES: usize = 3;
    let hub = hub(&*engine).await;
    route(&hub, at(1), json!([{ "name": "twins", "source": "TwinChangeEvents", "endpointNames": ["events"] }])).await;
    for device in 0..4 {
        hub.put_device(at(2), &id(&format!("d{device}")), DeviceWrite::default(), &IfMatch::Absent).await.unwrap();
    }
    let writing = at_once(|writer| {
        let hub = Arc::clone(&hub);
        async move {
            let device = id(&format!("d{}", writer % 4));
            for number in 0..WRITES {
                // As often as it takes: of many writers of one twin, some are told to come again.
                while let Err(error) =
                    hub.write_twin(at(3), &device, &tags(&format!("{writer}-{number}")), &IfMatch::Any).await
                {
                    assert!(matches!(error, gantry_hub::HubError::Contended(_)), "{error}");
                }
            }
        }
    });
    // Relayed while they write.
    let mut writing = std::pin::pin!(writing);
    let mut done = false;
    while !done {
        tokio::select! {
            _ = &mut writing => done = true,
            relayed = engine.relay() => {
                relayed.unwrap();
                tokio::task::yield_now().await;
            }
        }
    }
    while engine.relay().await.unwrap() {}
    let mut versions = BTreeMap::<String, Vec<u64>>::new();
    let mut sites = BTreeMap::<String, usize>::new();
    for event in events(&*engine).await {
        let body: Value = serde_json::from_slice(&event.body).unwrap();
        versions.entry(event.identity.to_string()).or_default().push(body["version"].as_u64().unwrap());
        *sites.entry(body["tags"]["site"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    // What was being relayed when the relay was given up may come twice, in order.
    assert_eq!(sites.len(), WRITERS * WRITES, "each write is reported");
    for (device, mut versions) in versions {
        let all = u64::try_from(WRITERS / 4 * WRITES).unwrap();
        let mut last = 0;
        versions.retain(|version| {
            let is_new = *version > last;
            last = last.max(*version);
            is_new
        });
        let first = versions[0];
        assert_eq!(versions, (first..first + all).collect::<Vec<_>>(), "{device}");
    }
}
