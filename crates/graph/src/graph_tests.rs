use gantry_storage_suite::Memory;
use serde_json::json;

use super::*;
use crate::limits::ROUTES_MAX;

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => unreachable!(),
    }
}

fn write(ms: i64, if_match: &IfMatch) -> Write<'_> {
    let drawn = u128::try_from(ms).unwrap() << 32;
    Write { now: Timestamp::from_millis(ms), drawn, if_match, is_new: false }
}

const ANY: &IfMatch = &IfMatch::Absent;

fn definitions() -> Vec<Value> {
    vec![
        json!({"@context": "dtmi:dtdl:context;2", "@id": "dtmi:x:Floor;1", "@type": "Interface", "contents": [
            {"@type": "Relationship", "name": "contains"}, {"@type": "Property", "name": "level", "schema": "integer"}]}),
        json!({"@context": "dtmi:dtdl:context;2", "@id": "dtmi:x:Room;1", "@type": "Interface"}),
    ]
}

async fn graph() -> (Arc<Memory>, Graph) {
    let store = Arc::new(Memory::default());
    let graph = Graph::load(Arc::<Memory>::clone(&store), 4, 3).await.unwrap();
    graph.add_models(Timestamp::from_millis(1), definitions()).await.unwrap();
    (store, graph)
}

async fn put(graph: &Graph, id: &str, model: &str) -> Result<Arc<Twin>, GraphError> {
    let body = object(json!({"$metadata": {"$model": model}}));
    graph.put_twin(write(2, ANY), id, &body).await.map(|(twin, _)| twin)
}

async fn link(graph: &Graph, source: &str, id: &str, target: &str) -> Result<Arc<Relationship>, GraphError> {
    let body = object(json!({"$targetId": target, "$relationshipName": "contains"}));
    graph.put_relationship(write(3, ANY), source, id, &body).await.map(|(one, _)| one)
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let (store, graph) = graph().await;
    put(&graph, "f", "dtmi:x:Floor;1").await.unwrap();
    put(&graph, "r", "dtmi:x:Room;1").await.unwrap();
    link(&graph, "f", "l", "r").await.unwrap();
    let route = EventRoute { endpoint_name: "events".into(), filter: "true".into() };
    graph.put_route("all", &route).await.unwrap();
    let again = Graph::load(store, 4, 3).await.unwrap();
    assert_eq!(again.read().twin("f").unwrap().document, graph.read().twin("f").unwrap().document);
    assert_eq!(again.read().relationship("f", "l").unwrap().document["$targetId"], "r");
    assert_eq!(again.routes(), [("all".to_owned(), route)]);
    assert!(again.read().models()["dtmi:x:Floor;1"].interface().is_some());
}

#[tokio::test]
async fn another_owner_of_the_documents_is_heard_of() {
    let (store, graph) = graph().await;
    let other = Graph::load(store, 4, 3).await.unwrap();
    put(&other, "f", "dtmi:x:Floor;1").await.unwrap();
    put(&graph, "r", "dtmi:x:Room;1").await.unwrap();
    // What the other wrote was read before the second write was decided anew.
    link(&graph, "f", "l", "r").await.unwrap();
    assert_eq!(graph.read().twins_len(), 2);
}

#[tokio::test]
async fn etags_let_one_of_two_write() {
    let (_, graph) = graph().await;
    let first = put(&graph, "f", "dtmi:x:Floor;1").await.unwrap();
    let patch = Patch::read(&json!([{"op": "add", "path": "/level", "value": 1}])).unwrap();
    let etag = IfMatch::parse(Some(first.etag()));
    graph.update_twin(write(5, &etag), "f", None, &patch).await.unwrap();
    let second = graph.update_twin(write(6, &etag), "f", None, &patch).await;
    assert!(matches!(second, Err(GraphError::PreconditionFailed(_))));
    assert!(matches!(graph.delete_twin(write(7, &etag), "f").await, Err(GraphError::PreconditionFailed(_))));
    let new = Write { is_new: true, ..write(8, ANY) };
    let body = object(json!({"$metadata": {"$model": "dtmi:x:Floor;1"}}));
    assert!(matches!(graph.put_twin(new, "f", &body).await, Err(GraphError::PreconditionFailed(_))));
    assert!(graph.put_twin(new, "g", &body).await.is_ok());
    assert!(graph.delete_twin(write(9, &IfMatch::Any), "f").await.is_ok());
}

#[tokio::test]
async fn a_twin_with_relationships_stays() {
    let (_, graph) = graph().await;
    put(&graph, "f", "dtmi:x:Floor;1").await.unwrap();
    put(&graph, "r", "dtmi:x:Room;1").await.unwrap();
    link(&graph, "f", "l", "r").await.unwrap();
    for id in ["f", "r"] {
        assert!(matches!(graph.delete_twin(write(4, ANY), id).await, Err(GraphError::RelationshipsNotDeleted(_))));
    }
    graph.delete_relationship(write(5, ANY), "f", "l").await.unwrap();
    assert!(matches!(
        graph.delete_relationship(write(5, ANY), "f", "l").await,
        Err(GraphError::RelationshipNotFound { .. })
    ));
    graph.delete_twin(write(6, ANY), "f").await.unwrap();
    assert!(matches!(graph.delete_twin(write(6, ANY), "f").await, Err(GraphError::DigitalTwinNotFound(_))));
}

#[tokio::test]
async fn there_are_as_many_as_there_may_be() {
    let (_, graph) = graph().await;
    for id in ["f", "a", "b", "c"] {
        put(&graph, id, "dtmi:x:Floor;1").await.unwrap();
    }
    assert!(matches!(put(&graph, "d", "dtmi:x:Floor;1").await, Err(GraphError::TwinLimitReached(4))));
    put(&graph, "a", "dtmi:x:Floor;1").await.unwrap();
    for (id, target) in [("1", "a"), ("2", "b"), ("3", "c")] {
        link(&graph, "f", id, target).await.unwrap();
    }
    assert!(matches!(link(&graph, "f", "4", "a").await, Err(GraphError::LimitExceeded(_))));
    link(&graph, "f", "3", "a").await.unwrap();
    let route = EventRoute { endpoint_name: "events".into(), filter: "true".into() };
    for number in 0..ROUTES_MAX {
        graph.put_route(&number.to_string(), &route).await.unwrap();
    }
    assert!(matches!(graph.put_route("more", &route).await, Err(GraphError::LimitExceeded(_))));
    graph.put_route("0", &route).await.unwrap();
    assert!(matches!(graph.put_route("a/b", &route).await, Err(GraphError::EventRouteIdInvalid)));
}

#[tokio::test]
async fn a_twin_outlives_its_model_and_is_not_changed_then() {
    let (store, graph) = graph().await;
    put(&graph, "f", "dtmi:x:Floor;1").await.unwrap();
    graph.delete_model("dtmi:x:Floor;1").await.unwrap();
    let patch = Patch::read(&json!([{"op": "add", "path": "/level", "value": 1}])).unwrap();
    let changed = graph.update_twin(write(4, ANY), "f", None, &patch).await;
    assert!(matches!(changed, Err(GraphError::ValidationFailed(_))));
    let again = Graph::load(store, 4, 3).await.unwrap();
    assert!(again.read().twin("f").is_ok());
    graph.delete_twin(write(5, ANY), "f").await.unwrap();
}

#[tokio::test]
async fn of_many_each_stands_by_itself() {
    let (_, graph) = graph().await;
    let items = [
        Item::Twin(object(json!({"$dtId": "f", "$metadata": {"$model": "dtmi:x:Floor;1"}}))),
        Item::Twin(object(json!({"$dtId": "x", "$metadata": {"$model": "dtmi:x:None;1"}}))),
        Item::Twin(object(json!({"$metadata": {"$model": "dtmi:x:Floor;1"}}))),
        Item::Twin(object(json!({"$dtId": "r", "$metadata": {"$model": "dtmi:x:Room;1"}}))),
    ];
    let (outcomes, events) = graph.put_many(Timestamp::from_millis(4), 9, &items).await.unwrap();
    let good: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!((good, events.len()), (vec![true, false, false, true], 2));
    assert_ne!(graph.read().twin("f").unwrap().etag(), graph.read().twin("r").unwrap().etag());
    let link = object(json!({"$dtId": "f", "$relationshipId": "l", "$targetId": "r", "$relationshipName": "contains"}));
    let (outcomes, _) = graph.put_many(Timestamp::from_millis(5), 9, &[Item::Relationship(link)]).await.unwrap();
    assert!(outcomes[0].is_ok(), "{outcomes:?}");
}

#[tokio::test]
async fn events_go_where_routes_say() {
    let (_, graph) = graph().await;
    let route = |name: &str, filter: &str| EventRoute { endpoint_name: name.into(), filter: filter.into() };
    graph.put_route("1", &route("a", "type = 'Microsoft.DigitalTwins.Twin.Create'")).await.unwrap();
    graph.put_route("2", &route("b", "subject = 'f'")).await.unwrap();
    graph.put_route("3", &route("a", "true")).await.unwrap();
    let body = object(json!({"$metadata": {"$model": "dtmi:x:Floor;1"}}));
    let (_, events) = graph.put_twin(write(2, ANY), "f", &body).await.unwrap();
    assert_eq!(graph.endpoints_of(&events[0], "host"), ["a", "b"]);
    let event = events[0].cloud_event("host");
    assert_eq!((&event["subject"], &event["source"]), (&json!("f"), &json!("host")));
    assert_eq!(event["data"]["$dtId"], "f");
    let told = graph.telemetry(Timestamp::from_millis(3), ("f", None), "m1", None, json!({"x": 1})).unwrap();
    let event = told.cloud_event("host");
    assert_eq!((&event["type"], &event["id"]), (&json!("microsoft.iot.telemetry"), &json!("m1")));
    assert_eq!(event["dataschema"], "dtmi:x:Floor;1");
    assert!(graph.telemetry(Timestamp::default(), ("none", None), "m", None, json!({})).is_err());
    assert!(graph.telemetry(Timestamp::default(), ("f", Some("x")), "m", None, json!({})).is_err());
    assert!(graph.telemetry(Timestamp::default(), ("f", None), "", None, json!({})).is_err());
    assert!(graph.telemetry(Timestamp::default(), ("f", None), "m", None, json!(1)).is_err());
}

#[tokio::test]
async fn deleting_everything_takes_rounds() {
    let (_, graph) = graph().await;
    put(&graph, "f", "dtmi:x:Floor;1").await.unwrap();
    put(&graph, "r", "dtmi:x:Room;1").await.unwrap();
    link(&graph, "f", "l", "r").await.unwrap();
    let mut rounds = vec![];
    loop {
        rounds.push(graph.delete_some(1).await.unwrap());
        if rounds.last() == Some(&0) {
            break;
        }
    }
    assert_eq!(rounds, [1, 1, 1, 2, 0]);
    assert!(graph.read().models().is_empty());
}
