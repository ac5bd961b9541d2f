//! The two ends that are applications: everything that the API of one shows, and writing it by the API of another.

use std::collections::{BTreeSet, HashMap};

use anyhow::ensure;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use gantry_identity::encode_component;
use indicatif::ProgressBar;
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::endpoint::Endpoint;
use super::kind::{CENTRAL, Kind, waves};
use super::plan::{Inventory, Key};
use super::properties::{Cloud, cloud_of, split};

/// Of which devices more is read than what their list says.
pub(super) enum Details<'a> {
    /// Of all.
    All,
    /// Of these.
    Of(&'a BTreeSet<String>),
}

/// Reads an application.
///
/// # Errors
/// When it cannot be reached or does not know the token.
pub(super) async fn read(
    endpoint: &Endpoint,
    at_once: usize,
    details: Details<'_>,
    progress: &ProgressBar,
) -> anyhow::Result<Inventory> {
    let mut inventory = Inventory::default();
    for kind in CENTRAL {
        let Some(path) = kind.collection() else { continue };
        progress.set_message(format!("reading {} of {}", kind.name(), endpoint.name()));
        match endpoint.list(path).await? {
            Ok(documents) => {
                inventory.things.entry(kind).or_default();
                for document in documents {
                    inventory.add(kind, document)?;
                }
            }
            Err(words) => {
                check_known(endpoint, &words)?;
                inventory.unreadable.insert(kind, words);
            }
        }
    }
    read_details(endpoint, at_once, details, progress, &mut inventory).await?;
    Ok(inventory)
}

/// A token that is not known, or not any more, is no answer to what was asked.
fn check_known(endpoint: &Endpoint, words: &str) -> anyhow::Result<()> {
    ensure!(!is_status(words, StatusCode::UNAUTHORIZED), "{} does not know the token: {words}", endpoint.name());
    Ok(())
}

fn is_status(words: &str, status: StatusCode) -> bool {
    words.strip_prefix(status.as_str()).is_some_and(|rest| rest.starts_with(':'))
}

/// What is read of one device, by kind.
type Parts = [Result<Vec<Value>, String>; 3];

const PARTS: [Kind; 3] = [Kind::Attestations, Kind::Properties, Kind::Relationships];

async fn read_details(
    endpoint: &Endpoint,
    at_once: usize,
    details: Details<'_>,
    progress: &ProgressBar,
    inventory: &mut Inventory,
) -> anyhow::Result<()> {
    progress.set_message(format!("reading devices of {}", endpoint.name()));
    let templates: HashMap<String, Cloud> = inventory
        .of(Kind::DeviceTemplates)
        .map(|(id, template)| (id.clone(), cloud_of(&template["capabilityModel"])))
        .collect();
    let (none, templates) = (Cloud::new(), &templates);
    let wanted = |id: &&String| match details {
        Details::All => true,
        Details::Of(ids) => ids.contains(*id),
    };
    let devices = inventory.of(Kind::Devices).filter(|(id, _)| wanted(id));
    let devices: Vec<(String, &Cloud)> = devices
        .map(|(id, device)| {
            let template = device["template"].as_str().and_then(|template| templates.get(template));
            (id.clone(), template.unwrap_or(&none))
        })
        .collect();
    progress.set_length(devices.len() as u64);
    let reads = devices.into_iter().map(|(id, cloud)| async move {
        let parts = device(endpoint, &id, cloud).await?;
        progress.inc(1);
        anyhow::Ok((id, parts))
    });
    let all: Vec<(String, Parts)> = stream::iter(reads).buffered(at_once.max(1)).try_collect().await?;
    for kind in PARTS {
        inventory.things.entry(kind).or_default();
    }
    let mut seen = BTreeSet::new();
    for (device, parts) in all {
        for (kind, part) in PARTS.into_iter().zip(parts) {
            let documents = match part {
                Ok(documents) => documents,
                // The device is gone since the list.
                Err(words) if is_status(&words, StatusCode::NOT_FOUND) => vec![],
                Err(words) => {
                    check_known(endpoint, &words)?;
                    inventory.gaps.insert((kind, device.clone()), words);
                    vec![]
                }
            };
            for document in documents {
                // A relationship is shown with both of its devices.
                if kind != Kind::Relationships || kind.id(&document).is_none_or(|id| seen.insert(id)) {
                    inventory.add(kind, document)?;
                }
            }
        }
    }
    Ok(())
}

async fn device(endpoint: &Endpoint, id: &str, cloud: &Cloud) -> anyhow::Result<Parts> {
    let path = format!("devices/{}", encode_component(id));
    let attestation = attestation(endpoint, id, &path).await?;
    let shown = endpoint.ask(Method::GET, &format!("{path}/properties"), None).await?;
    let properties = shown.done().map(|shown| vec![split(id, &shown, cloud)]);
    let relationships = endpoint.list(&format!("{path}/relationships")).await?;
    Ok([attestation, properties, relationships])
}

/// How a device proves itself: by an attestation of its own, or by the keys that it has of a group of enrollments.
async fn attestation(endpoint: &Endpoint, id: &str, path: &str) -> anyhow::Result<Result<Vec<Value>, String>> {
    let own = endpoint.ask(Method::GET, &format!("{path}/attestation"), None).await?;
    if own.status != StatusCode::NOT_FOUND {
        return Ok(own.done().map(|shown| vec![named(id, shown)]));
    }
    let of_group = endpoint.ask(Method::GET, &format!("{path}/credentials"), None).await?;
    if of_group.status == StatusCode::NOT_FOUND {
        return Ok(Ok(vec![]));
    }
    Ok(of_group.done().map(|shown| {
        let kind = ["symmetricKey", "x509", "tpm"].into_iter().find(|kind| !shown[*kind].is_null());
        kind.map(|kind| named(id, json!({ "type": kind, kind: shown[kind] }))).into_iter().collect()
    }))
}

fn named(id: &str, mut document: Value) -> Value {
    document["id"] = id.into();
    document
}

/// The things of a kind, in groups that may be written at once.
pub(super) fn order(kind: Kind, ids: Vec<String>, source: &Inventory) -> Vec<Vec<String>> {
    if kind != Kind::Organizations {
        return vec![ids];
    }
    let above: Map<_, _> = source.of(kind).map(|(id, thing)| (id.clone(), thing["parent"].clone())).collect();
    waves(ids, &above)
}

/// Writes a thing; or says what refused it.
///
/// # Errors
/// When the application cannot be reached.
pub(super) async fn write(endpoint: &Endpoint, (kind, id): &Key, thing: &Value) -> anyhow::Result<Result<(), String>> {
    let text = |name: &str| encode_component(thing[name].as_str().unwrap_or_default());
    let (method, path) = match kind {
        Kind::Attestations => (Method::PUT, format!("devices/{}/attestation", text("id"))),
        Kind::Properties => (Method::PATCH, format!("devices/{}/properties", text("id"))),
        Kind::Relationships => (Method::PUT, format!("devices/{}/relationships/{}", text("source"), text("id"))),
        kind => match kind.collection() {
            Some(collection) => (Method::PUT, format!("{collection}/{}", encode_component(id))),
            None => return Ok(Err(format!("{} are not of an application", kind.name()))),
        },
    };
    let body = kind.written(thing);
    Ok(endpoint.ask(method, &path, Some(&body)).await?.done().map(drop))
}

/// What of an application no API gives, and what devices bring along by themselves.
pub(super) fn notes(source: &Inventory) -> Vec<String> {
    let mut notes =
        vec!["rules, views of templates, and custom roles' permissions are in no call of the API".to_owned()];
    for (kind, words) in &source.unreadable {
        notes.push(format!("{} cannot be read at the source: {words}", kind.name()));
    }
    for kind in PARTS {
        let mut gaps = source.gaps.iter().filter(|((of, _), _)| *of == kind);
        if let Some(((_, device), words)) = gaps.next() {
            let (name, more) = (kind.name(), gaps.count());
            notes.push(format!("{name} of `{device}` and {more} more cannot be read at the source: {words}"));
        }
    }
    let count = source.of(Kind::Properties).filter(|(_, thing)| thing.get("reported").is_some()).count();
    if count > 0 {
        notes.push(format!("what {count} devices reported is theirs: they report it again when they connect"));
    }
    if source.of(Kind::ScheduledJobs).any(|(_, job)| job["enabled"] != json!(false)) {
        notes.push("scheduled jobs are made disabled; enable them when the devices are here".to_owned());
    }
    if source.of(Kind::Attestations).next().is_some() {
        notes
            .push("devices keep their keys, each by an attestation of its own; the id scope is another one".to_owned());
    }
    if source.of(Kind::Devices).any(|(_, device)| device["type"].is_array()) {
        notes.push("properties of modules are not read; apply the deployment manifests to the edge devices".to_owned());
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn organizations_come_behind_those_above_them() {
        let mut source = Inventory::default();
        for (id, above) in [("a1", json!("b1")), ("b1", json!("c1")), ("c1", Value::Null)] {
            source.add(Kind::Organizations, json!({ "id": id, "parent": above })).unwrap();
        }
        let ids: Vec<String> = ["a1", "b1", "c1"].map(str::to_owned).to_vec();
        assert_eq!(order(Kind::Organizations, ids.clone(), &source), [["c1"], ["b1"], ["a1"]]);
        assert_eq!(order(Kind::Devices, ids.clone(), &source), [ids]);
    }

    #[test]
    fn what_is_not_carried_is_told_for_what_is_there_alone() {
        let mut source = Inventory::default();
        assert_eq!(notes(&source).len(), 1);
        source.add(Kind::Properties, json!({"id": "d", "properties": {}, "reported": {"a": 1}})).unwrap();
        source.add(Kind::ScheduledJobs, json!({"id": "s", "enabled": false})).unwrap();
        source.unreadable.insert(Kind::Exports, "501: not built".into());
        let told = notes(&source);
        assert!(told.iter().any(|note| note.contains("1 devices reported")), "{told:?}");
        assert!(told.iter().any(|note| note.contains("exports cannot be read at the source: 501")), "{told:?}");
        assert_eq!(told.len(), 3);
        source.gaps.insert((Kind::Attestations, "d".into()), "500: words".into());
        source.gaps.insert((Kind::Attestations, "e".into()), "403: other".into());
        let told = notes(&source);
        let gap = "attestations of `d` and 1 more cannot be read at the source: 500: words";
        assert!(told.iter().any(|note| note == gap), "{told:?}");
    }
}
