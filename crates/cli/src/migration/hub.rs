//! The two ends that are hubs: identities with keys and twins, and configurations, by the registry's API.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context as _, bail};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use gantry_identity::encode_component;
use indicatif::ProgressBar;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::central::Details;
use super::endpoint::{Answer, Endpoint};
use super::identity::{How, configuration, document, entry, is_system, owner, scope_above};
use super::kind::{Kind, waves};
use super::plan::{Inventory, Key};

/// Twins of a page of a query; the most there may be.
const PAGE: &str = "1000";
/// Pages of a query.
const PAGES_MAX: usize = 100_000;
/// Identities of a bulk call; the most there may be.
pub(super) const BULK_LEN_MAX: usize = 100;

/// Reads a hub.
///
/// # Errors
/// When it cannot be reached, or refuses what every policy with the rights `RegistryRead` and `ServiceConnect` may.
pub(super) async fn read(
    endpoint: &Endpoint,
    at_once: usize,
    details: Details<'_>,
    progress: &ProgressBar,
) -> anyhow::Result<Inventory> {
    progress.set_message(format!("reading twins of {}", endpoint.name()));
    let wanted = |twin: &Value| match (&details, twin["deviceId"].as_str()) {
        (Details::All, _) => true,
        (Details::Of(ids), Some(id)) => ids.contains(id),
        (Details::Of(_), None) => false,
    };
    let mut twins = query(endpoint, "SELECT * FROM devices").await?;
    let mut modules = query(endpoint, "SELECT * FROM devices.modules").await?;
    twins.retain(wanted);
    modules.retain(wanted);
    let devices = devices_of(&modules);
    progress.set_message(format!("reading identities of {}", endpoint.name()));
    progress.set_length((twins.len() + devices.len()) as u64);
    let mut identities = HashMap::new();
    let singles = twins.iter().filter_map(|twin| twin["deviceId"].as_str().map(|id| (id.to_owned(), "")));
    let lists = devices.into_iter().map(|id| (id, "/modules"));
    let reads = singles.chain(lists).map(|(id, rest)| async move {
        let path = format!("devices/{}{rest}", encode_component(&id));
        let answer = endpoint.ask(Method::GET, &path, None).await;
        progress.inc(1);
        answer
    });
    let mut answers = stream::iter(reads.collect::<Vec<_>>()).buffer_unordered(at_once.max(1));
    while let Some(answer) = answers.try_next().await? {
        // A device may be gone since the query.
        if answer.status == StatusCode::NOT_FOUND {
            continue;
        }
        let body = refused(endpoint, answer)?;
        for one in if let Value::Array(all) = body { all } else { vec![body] } {
            identities.insert(key(&one["deviceId"], &one["moduleId"]), one);
        }
    }
    drop(answers);
    let mut inventory = Inventory::default();
    for (kind, twins) in [(Kind::Identities, twins), (Kind::Modules, modules)] {
        inventory.things.entry(kind).or_default();
        for twin in twins {
            if let Some(identity) = identities.get(&key(&twin["deviceId"], &twin["moduleId"])) {
                inventory.add(kind, document(identity, &twin))?;
            }
        }
    }
    let answer = endpoint.ask(Method::GET, "configurations?top=100", None).await?;
    let Value::Array(configurations) = refused(endpoint, answer)? else { bail!("the configurations are no list") };
    inventory.things.entry(Kind::Configurations).or_default();
    for one in &configurations {
        inventory.add(Kind::Configurations, configuration(one))?;
    }
    Ok(inventory)
}

fn refused(endpoint: &Endpoint, answer: Answer) -> anyhow::Result<Value> {
    answer.done().map_err(|words| anyhow::anyhow!("{} answers {words}", endpoint.name()))
}

fn devices_of(modules: &[Value]) -> BTreeSet<String> {
    modules.iter().filter_map(|twin| twin["deviceId"].as_str().map(str::to_owned)).collect()
}

fn key(device: &Value, module: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(device), text(module))
}

async fn query(endpoint: &Endpoint, text: &str) -> anyhow::Result<Vec<Value>> {
    let (body, mut all, mut token) = (json!({ "query": text }), vec![], String::new());
    for _ in 0..PAGES_MAX {
        let mut headers = vec![("x-ms-max-item-count", PAGE)];
        if !token.is_empty() {
            headers.push(("x-ms-continuation", &token));
        }
        let answer = endpoint.ask_with(Method::POST, "devices/query", Some(&body), &headers).await?;
        let next =
            answer.headers.get("x-ms-continuation").map(|value| value.to_str().map(str::to_owned)).transpose()?;
        let Value::Array(page) = refused(endpoint, answer)? else { bail!("the answer to a query is no list") };
        all.extend(page);
        match next {
            Some(next) if !next.is_empty() => token = next,
            _ => return Ok(all),
        }
    }
    bail!("a query of {} has more than {PAGES_MAX} pages", endpoint.name())
}

/// The things of a kind, in groups that may be written at once: edge devices before what is below them.
pub(super) fn order(kind: Kind, ids: Vec<String>, source: &Inventory) -> Vec<Vec<String>> {
    if kind != Kind::Identities {
        return vec![ids];
    }
    let of = |(id, thing): (&String, &Value)| Some((id.clone(), owner(scope_above(thing)?)?.into()));
    waves(ids, &source.of(kind).filter_map(of).collect())
}

/// Writes identities, up to [`BULK_LEN_MAX`]; says of each what refused it.
///
/// # Errors
/// When the hub cannot be reached.
pub(super) async fn write(
    endpoint: &Endpoint,
    things: &[(&Key, &Value)],
    how: How,
    here: &Inventory,
) -> anyhow::Result<Vec<Result<(), String>>> {
    let entries: Vec<Value> = things.iter().map(|(_, thing)| entry(thing, how, here)).collect();
    let answer = endpoint.ask(Method::POST, "devices", Some(&Value::Array(entries))).await?;
    let mut outcomes = match (answer.body["errors"].as_array(), answer.status.is_success()) {
        (_, true) => vec![Ok(()); things.len()],
        (Some(errors), false) => of_bulk(things, errors),
        // One entry that cannot be read refuses them all: each for itself.
        (None, false) if things.len() > 1 => {
            let mut outcomes = vec![];
            for thing in things {
                outcomes.extend(Box::pin(write(endpoint, std::slice::from_ref(thing), how, here)).await?);
            }
            return Ok(outcomes);
        }
        (None, false) => vec![Err(answer.words())],
    };
    if how == How::Replace {
        for (outcome, (_, thing)) in outcomes.iter_mut().zip(things) {
            if outcome.is_ok() && !is_system(thing["moduleId"].as_str().unwrap_or_default()) {
                *outcome = replace_twin(endpoint, thing).await?;
            }
        }
    }
    Ok(outcomes)
}

fn of_bulk(things: &[(&Key, &Value)], errors: &[Value]) -> Vec<Result<(), String>> {
    let refused: BTreeMap<_, String> = errors
        .iter()
        .map(|error| {
            let words = format!("{}: {}", error["errorCode"], error["errorStatus"].as_str().unwrap_or_default());
            (key(&error["deviceId"], &error["moduleId"]), words)
        })
        .collect();
    let of = |(_, thing): &(&Key, &Value)| match refused.get(&key(&thing["id"], &thing["moduleId"])) {
        Some(words) => Err(words.clone()),
        None => Ok(()),
    };
    things.iter().map(of).collect()
}

async fn replace_twin(endpoint: &Endpoint, thing: &Value) -> anyhow::Result<Result<(), String>> {
    let text = |name: &str| thing[name].as_str().map(encode_component);
    let mut path = format!("twins/{}", text("id").context("an identity without its id")?);
    if let Some(module) = text("moduleId") {
        path = format!("{path}/modules/{module}");
    }
    let body = json!({ "tags": thing["tags"], "properties": { "desired": thing["properties"]["desired"] } });
    let answer = endpoint.ask_with(Method::PUT, &path, Some(&body), &[("If-Match", "*")]).await?;
    Ok(answer.done().map(drop))
}

/// Writes a configuration.
///
/// # Errors
/// When the hub cannot be reached.
pub(super) async fn write_configuration(
    endpoint: &Endpoint,
    (_, id): &Key,
    thing: &Value,
    how: How,
) -> anyhow::Result<Result<(), String>> {
    let path = format!("configurations/{}", encode_component(id));
    let headers: &[(&str, &str)] = if how == How::Replace { &[("If-Match", "*")] } else { &[] };
    Ok(endpoint.ask_with(Method::PUT, &path, Some(thing), headers).await?.done().map(drop))
}

/// What of a hub is not carried.
pub(super) fn notes(source: &Inventory) -> Vec<String> {
    let mut notes = vec![
        "policies, routing, enrollments, jobs, files and waiting messages are not identities and are not read"
            .to_owned(),
    ];
    let things = || source.of(Kind::Identities).chain(source.of(Kind::Modules));
    let reported = things().filter(|(_, thing)| thing["properties"].get("reported").is_some()).count();
    if reported > 0 {
        notes.push(format!("what {reported} devices and modules reported is theirs: they report it again here"));
    }
    let keyless = things().filter(|(_, thing)| {
        let of = &thing["authentication"];
        of["type"] == "sas" && of["symmetricKey"].is_null()
    });
    let keyless = keyless.count();
    if keyless > 0 {
        notes.push(format!("the export was made without --keys: {keyless} devices and modules get new keys"));
    }
    if source.of(Kind::Modules).any(|(_, module)| is_system(module["moduleId"].as_str().unwrap_or_default())) {
        notes.push("system modules of edge devices get new keys; their twins are carried".to_owned());
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edge_devices_are_written_before_what_is_below_them() {
        let scope = |id: &str| format!("ms-azure-iot-edge://{id}-1");
        let edge = |id: &str, above: Vec<String>| {
            json!({"id": id, "capabilities": {"iotEdge": true},
            "deviceScope": scope(id), "parentScopes": above})
        };
        let (top, low) = (edge("z-top", vec![]), edge("m-low", vec![scope("z-top")]));
        let leaf = json!({"id": "a-leaf", "deviceScope": "ms-azure-iot-edge://m-low-1"});
        let mut source = Inventory::default();
        for thing in [top, low, leaf] {
            source.add(Kind::Identities, thing).unwrap();
        }
        let ids = source.ids(Kind::Identities).into_iter().collect();
        assert_eq!(order(Kind::Identities, ids, &source), [["z-top"], ["m-low"], ["a-leaf"]]);
    }

    #[test]
    fn each_thing_of_a_bulk_call_has_its_own_outcome() {
        let (one, other) = (json!({"id": "a"}), json!({"id": "b", "moduleId": "m"}));
        let keys = [(Kind::Identities, "a".to_owned()), (Kind::Modules, "b/m".to_owned())];
        let errors = [json!({"deviceId": "b", "moduleId": "m", "errorCode": "X", "errorStatus": "words"})];
        let outcomes = of_bulk(&[(&keys[0], &one), (&keys[1], &other)], &errors);
        assert_eq!(outcomes, [Ok(()), Err("\"X\": words".into())]);
    }

    #[test]
    fn what_is_not_carried_is_told_for_what_is_there_alone() {
        let mut source = Inventory::default();
        assert_eq!(notes(&source).len(), 1);
        let keyless = json!({"id": "d", "authentication": {"type": "sas"}, "properties": {"reported": {"a": 1}}});
        source.add(Kind::Identities, keyless).unwrap();
        source.add(Kind::Modules, json!({"id": "d", "moduleId": "$edgeHub"})).unwrap();
        let told = notes(&source);
        for part in ["1 devices and modules get new keys", "1 devices and modules reported", "system modules"] {
            assert!(told.iter().any(|note| note.contains(part)), "{part}: {told:?}");
        }
    }
}
