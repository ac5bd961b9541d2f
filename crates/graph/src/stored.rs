//! Documents of a graph, as they are kept.
//!
//! Five collections. The text of a document is `{"v":1,...}`, and then
//! - `graph-models`, by id: `model` (the definition), `at` (ms since the epoch), `decommissioned`;
//! - `graph-twins`, by id: `twin`, as it is answered;
//! - `graph-relationships`, by source, a space, and id: `relationship`, as it is answered;
//! - `graph-routes`, by id: `route`: `id` and `route`, its endpoint and filter;
//! - `graph-jobs`, by kind, a space, and id: `job`.
//!
//! A text of another format is refused.

use std::sync::Arc;

use gantry_hub::ports::{Changes, Collection, StoreError};
use gantry_identity::Timestamp;
use serde_json::{Value, json};

use crate::error::GraphError;
use crate::jobs::Job;
use crate::models::restore;
use crate::relationship::Relationship;
use crate::routes::Compiled;
use crate::state::{Change, State};
use crate::twin::Twin;

/// The collections, in the order in which they are read.
pub(crate) const COLLECTIONS: [&str; 5] =
    ["graph-models", "graph-twins", "graph-relationships", "graph-routes", "graph-jobs"];
const FORMAT: i64 = 1;

/// Which collection a change is of, the id of its document, and the text; none when it is deleted.
pub(crate) fn document(change: &Change) -> (usize, String, Option<String>) {
    let text = |member: &str, value: Value| json!({"v": FORMAT, member: value}).to_string();
    match change {
        Change::Model(id, model) => {
            let text = model.as_ref().map(|model| {
                let at = model.uploaded_at.as_millis();
                json!({"v": FORMAT, "model": model.definition, "at": at, "decommissioned": model.decommissioned})
            });
            (0, id.to_string(), text.map(|text| text.to_string()))
        }
        Change::Twin(id, twin) => (1, id.to_string(), twin.as_ref().map(|twin| text("twin", twin.document.clone()))),
        Change::Relationship(source, id, relationship) => {
            let text = relationship.as_ref().map(|one| text("relationship", one.document.clone()));
            (2, format!("{source} {id}"), text)
        }
        Change::Route(id, route) => {
            let shape = |route: &Compiled| json!({"id": id, "route": route.route});
            (3, id.clone(), route.as_ref().map(|route| text("route", shape(route))))
        }
        Change::Job(kind, id, job) => {
            let shape = |job: &Job| serde_json::to_value(job).unwrap_or_default();
            (4, format!("{} {id}", kind.name()), job.as_ref().map(|job| text("job", shape(job))))
        }
    }
}

/// What is written of the collections for some changes.
pub(crate) fn changes(changes: &[Change], versions: &[u64]) -> Vec<Changes> {
    let mut of = COLLECTIONS.map(|_| vec![]);
    for change in changes {
        let (collection, id, text) = document(change);
        if let Some(documents) = of.get_mut(collection) {
            documents.push((id, text));
        }
    }
    let all = COLLECTIONS.into_iter().zip(versions).zip(of);
    all.filter(|(_, documents)| !documents.is_empty())
        .map(|((collection, version), documents)| Changes { collection, version: *version, documents })
        .collect()
}

/// The state that documents say.
pub(crate) fn read(collections: Vec<Collection>) -> Result<State, StoreError> {
    let mut state = State::default();
    let mut models = vec![];
    for (name, collection) in COLLECTIONS.into_iter().zip(collections) {
        for (id, text) in collection.documents {
            let failed = || StoreError::Failed(format!("document `{id}` of {name} cannot be read"));
            let mut value: Value = serde_json::from_str(&text).map_err(|_| failed())?;
            if value.get("v").and_then(Value::as_i64) != Some(FORMAT) {
                return Err(failed());
            }
            if name == "graph-models" {
                let at = value.get("at").and_then(Value::as_i64).ok_or_else(failed)?;
                let decommissioned = value.get("decommissioned").and_then(Value::as_bool).ok_or_else(failed)?;
                models.push((take(&mut value, "model"), Timestamp::from_millis(at), decommissioned));
            } else {
                state.apply(change(name, value).ok_or_else(failed)?);
            }
        }
    }
    let failed = |error: GraphError| StoreError::Failed(format!("models of the graph cannot be read: {error}"));
    for (id, model) in restore(models).map_err(failed)? {
        state.apply(Change::Model(id, Some(model)));
    }
    Ok(state)
}

fn take(value: &mut Value, member: &str) -> Value {
    value.get_mut(member).map(Value::take).unwrap_or_default()
}

fn change(collection: &str, mut value: Value) -> Option<Change> {
    Some(match collection {
        "graph-twins" => {
            let twin = Twin::restore(take(&mut value, "twin"))?;
            Change::Twin(Arc::clone(&twin.id), Some(Arc::new(twin)))
        }
        "graph-relationships" => {
            let one = Relationship::restore(take(&mut value, "relationship"))?;
            Change::Relationship(Arc::clone(&one.source), Arc::clone(&one.id), Some(Arc::new(one)))
        }
        "graph-routes" => {
            let route = Compiled::new(serde_json::from_value(value.get("route")?.get("route")?.clone()).ok()?).ok()?;
            Change::Route(value.get("route")?.get("id")?.as_str()?.to_owned(), Some(route))
        }
        _ => {
            let job: Job = serde_json::from_value(take(&mut value, "job")).ok()?;
            Change::Job(job.kind, job.id.clone(), Some(job))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::{JobKind, Status};
    use crate::models::tests::{interface, of};
    use crate::routes::EventRoute;

    fn everything() -> Vec<Change> {
        let model = of(vec![interface("dtmi:x:Room;1", &json!({}))]).into_values().next();
        let twin = json!({"$dtId": "r", "$etag": "W/\"1\"", "$metadata": {"$model": "dtmi:x:Room;1"}, "a": 1});
        let link = json!({"$relationshipId": "l", "$etag": "W/\"2\"", "$sourceId": "r", "$relationshipName": "next",
            "$targetId": "s"});
        let route = EventRoute { endpoint_name: "events".into(), filter: "true".into() };
        let job = Job {
            kind: JobKind::Import,
            id: "j".into(),
            status: Status::Failed,
            created_at: 1,
            last_action_at: 2,
            finished_at: Some(3),
            input: "https://localhost/c/in".into(),
            output: "https://localhost/c/out".into(),
            error: Some(("ValidationFailed".into(), "words".into())),
        };
        vec![
            Change::Model("dtmi:x:Room;1".into(), model),
            Change::Twin("r".into(), Twin::restore(twin).map(Arc::new)),
            Change::Relationship("r".into(), "l".into(), Relationship::restore(link).map(Arc::new)),
            Change::Route("all".into(), Compiled::new(route).ok()),
            Change::Job(JobKind::Import, "j".into(), Some(job)),
        ]
    }

    #[test]
    fn documents_are_written_and_read_as_they_were() {
        let golden = gantry_golden::folder(env!("CARGO_MANIFEST_DIR")).join("documents.v1.txt");
        let lines = everything().into_iter().map(|change| {
            let (collection, id, text) = document(&change);
            format!("{} | {id} | {}\n", COLLECTIONS[collection], text.unwrap_or_default())
        });
        gantry_golden::check(&golden, lines.collect::<String>().as_bytes());
        let text = String::from_utf8(gantry_golden::read(&golden)).unwrap();
        let collections = COLLECTIONS.map(|name| {
            let rows = text.lines().filter_map(|line| line.strip_prefix(&format!("{name} | "))?.split_once(" | "));
            Collection { version: 1, documents: rows.map(|(id, text)| (id.to_owned(), text.to_owned())).collect() }
        });
        let state = read(collections.to_vec()).unwrap();
        assert!(state.models().contains_key("dtmi:x:Room;1"));
        assert_eq!(state.twin("r").unwrap().document["a"], 1);
        assert_eq!(state.leaving("r", None).count(), 1);
        assert_eq!(state.routes["all"].route.filter, "true");
        assert_eq!(state.jobs[&(JobKind::Import, "j".to_owned())].finished_at, Some(3));
    }

    #[test]
    fn other_formats_are_refused() {
        for text in ["{}", "{\"v\":2,\"twin\":{}}", "{\"v\":1}", "x"] {
            let mut collections = COLLECTIONS.map(|_| Collection::default());
            collections[1].documents.push(("t".into(), text.into()));
            assert!(read(collections.to_vec()).is_err(), "{text}");
        }
    }
}
