//! Automatic device management: what one record should look like under all configurations.
//!
//! Plain functions of their arguments. Configurations come strongest first: the highest
//! priority, of equal ones the newest. For each place under desired the strongest
//! configuration that targets the record wins; what no configuration holds any more is
//! removed. An edge device takes its strongest base deployment and the layers above it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gantry_query::{Document, Source};

use crate::configurations::configuration::{Configuration, Content, Nulls, Setting, Target, put};
use crate::twins::twin::Object;

/// What automatic management knows of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Managed {
    /// Configurations that target it; true for those with something in force on it.
    pub configurations: BTreeMap<String, bool>,
    /// Places under desired that configurations hold, names joined by dots.
    pub places: Vec<String>,
}

/// What kind of record is managed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Device,
    EdgeDevice,
    Module,
}

/// What a record should look like.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settled {
    pub(crate) desired: Object,
    pub(crate) managed: Managed,
    /// Desired properties by module, when an edge deployment is in force.
    pub(crate) deployment: Option<BTreeMap<String, Object>>,
}

/// Strongest first.
pub(crate) fn sort(configurations: &mut [Arc<Configuration>]) {
    configurations.sort_by(|a, b| {
        let key = |c: &Configuration| (c.write.priority, c.created_at, c.id.clone());
        key(b).cmp(&key(a))
    });
}

/// The configurations that target a record, strongest first.
fn targeting<'c>(all: &'c [Arc<Configuration>], kind: Kind, document: &impl Document) -> Vec<&'c Configuration> {
    let fits = |configuration: &&Configuration| match (&configuration.content, &configuration.target) {
        (_, Target::Nobody) => false,
        (Content::Device(_), _) if kind == Kind::Module => false,
        (Content::Edge(_), _) if kind != Kind::EdgeDevice => false,
        (Content::Module(_), _) if kind != Kind::Module => false,
        (_, Target::Query(query)) => {
            (query.source() == Source::Modules) == (kind == Kind::Module) && query.matches(document)
        }
    };
    all.iter().map(Arc::as_ref).filter(fits).collect()
}

/// What a record should look like.
pub(crate) fn settle(
    all: &[Arc<Configuration>],
    kind: Kind,
    document: &impl Document,
    desired: &Object,
    old: &Managed,
) -> Settled {
    let targeting = targeting(all, kind, document);
    let mut managed = Managed::default();
    let (mut winners, mut taken) = (vec![], BTreeSet::new());
    for configuration in &targeting {
        let (Content::Device(settings) | Content::Module(settings)) = &configuration.content else { continue };
        let won: Vec<_> = settings.iter().filter(|setting| !taken.contains(&setting.path)).collect();
        taken.extend(won.iter().map(|setting| setting.path.clone()));
        managed.configurations.insert(configuration.id.clone(), !won.is_empty());
        winners.push(won);
    }
    managed.places = taken.iter().map(|path| path.join(".")).collect();
    let mut desired = desired.clone();
    for gone in old.places.iter().filter(|place| !managed.places.contains(place)) {
        remove(&mut desired, &gone.split('.').collect::<Vec<_>>());
    }
    // Where places lie within each other the stronger one is put last.
    winners.iter().rev().flatten().for_each(|setting| put(&mut desired, &setting.path, &setting.value, Nulls::Remove));
    let deployment = deployment(&targeting, &mut managed);
    Settled { desired, managed, deployment }
}

fn deployment(targeting: &[&Configuration], managed: &mut Managed) -> Option<BTreeMap<String, Object>> {
    let edge: Vec<_> = targeting.iter().filter(|c| matches!(c.content, Content::Edge(_))).collect();
    let base = edge.iter().find(|configuration| configuration.is_base());
    let stands = |configuration: &Configuration| {
        base.is_some_and(|base| {
            configuration.id == base.id
                || !configuration.is_base() && configuration.write.priority > base.write.priority
        })
    };
    managed.configurations.extend(edge.iter().map(|c| (c.id.clone(), stands(c))));
    base?;
    let mut modules = BTreeMap::new();
    // The base is the weakest of those that stand.
    for configuration in edge.iter().rev().filter(|configuration| stands(configuration)) {
        if let Content::Edge(parts) = &configuration.content {
            for (id, settings) in parts {
                let desired: &mut Object = modules.entry(id.clone()).or_default();
                settings.iter().for_each(|Setting { path, value }| put(desired, path, value, Nulls::Remove));
            }
        }
    }
    Some(modules)
}

fn remove(values: &mut Object, path: &[&str]) {
    match path {
        [] => {}
        [name] => drop(values.remove(*name)),
        [name, rest @ ..] => {
            if let Some(inner) = values.get_mut(*name).and_then(|value| value.as_object_mut()) {
                remove(inner, rest);
                if inner.is_empty() {
                    values.remove(*name);
                }
            }
        }
    }
}

/// The merge patch (RFC 7396) that makes `new` of `old`.
pub(crate) fn difference(old: &Object, new: &Object) -> Object {
    let mut patch = Object::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), serde_json::Value::Null);
    }
    for (key, value) in new {
        match (old.get(key), value) {
            (Some(before), value) if before == value => {}
            (Some(serde_json::Value::Object(before)), serde_json::Value::Object(after)) => {
                patch.insert(key.clone(), difference(before, after).into());
            }
            _ => drop(patch.insert(key.clone(), value.clone())),
        }
    }
    patch
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configurations::configuration::ConfigurationWrite;
    use gantry_identity::Timestamp;
    use serde_json::{Value, json};

    fn object(value: Value) -> Object {
        value.as_object().unwrap().clone()
    }

    fn make(id: &str, priority: i32, created: i64, target: &str, content: Value) -> Arc<Configuration> {
        let write = ConfigurationWrite {
            priority,
            content: Some(content),
            target_condition: target.into(),
            ..ConfigurationWrite::default()
        };
        Arc::new(Configuration::new(id, write, Timestamp::from_millis(created), 1).unwrap())
    }

    fn device(id: &str, priority: i32, created: i64, target: &str, settings: Value) -> Arc<Configuration> {
        make(id, priority, created, target, json!({ "deviceContent": settings }))
    }

    #[track_caller]
    fn check(all: &[Arc<Configuration>], twin: &Value, desired: Value, old: &Managed, expected: Value) -> Managed {
        let mut all = all.to_vec();
        sort(&mut all);
        let settled = settle(&all, Kind::Device, twin, &object(desired), old);
        assert_eq!(Value::Object(settled.desired), expected);
        settled.managed
    }

    #[test]
    fn the_highest_priority_wins_each_place_and_the_newest_breaks_ties() {
        let low = device("low", 1, 5, "*", json!({ "properties.desired.a": 1, "properties.desired.b": 1 }));
        let high = device("high", 9, 1, "*", json!({ "properties.desired.a": 9 }));
        let newer = device("newer", 9, 2, "*", json!({ "properties.desired.a": 10 }));
        let twin = json!({ "tags": {} });
        let none = Managed::default();
        let managed = check(&[low.clone(), high.clone()], &twin, json!({}), &none, json!({ "a": 9, "b": 1 }));
        assert_eq!(managed.configurations, BTreeMap::from([("high".into(), true), ("low".into(), true)]));
        let managed = check(&[low.clone(), high, newer], &twin, json!({}), &none, json!({ "a": 10, "b": 1 }));
        assert!(!managed.configurations["high"], "it holds nothing");
        // Removal restores the next priority, and what nobody holds goes.
        let managed =
            check(std::slice::from_ref(&low), &twin, json!({ "a": 10, "b": 1 }), &managed, json!({ "a": 1, "b": 1 }));
        check(&[], &twin, json!({ "a": 1, "b": 1, "own": 3 }), &managed, json!({ "own": 3 }));
    }

    #[test]
    fn only_what_matches_is_targeted() {
        let north = device("north", 1, 1, "tags.site = 'north'", json!({ "properties.desired.mode": "cold" }));
        let none = Managed::default();
        let managed = check(
            std::slice::from_ref(&north),
            &json!({"tags": {"site": "north"}}),
            json!({}),
            &none,
            json!({"mode": "cold"}),
        );
        assert_eq!(managed.places, ["mode"]);
        let managed =
            check(&[north], &json!({"tags": {"site": "south"}}), json!({"mode": "cold"}), &managed, json!({}));
        assert_eq!(managed, Managed::default());
    }

    #[test]
    fn places_within_each_other_give_the_stronger_its_part() {
        let whole = device("whole", 1, 1, "*", json!({ "properties.desired.a": {"x": 1, "y": 1} }));
        let part = device("part", 2, 1, "*", json!({ "properties.desired.a.y": 2 }));
        check(&[whole, part], &json!({}), json!({}), &Managed::default(), json!({ "a": {"x": 1, "y": 2} }));
    }

    #[test]
    fn layers_stand_on_the_strongest_base() {
        let edge = |id: &str, priority, content| make(id, priority, 1, "*", json!({ "modulesContent": content }));
        let base = |id: &str, priority, version: i64| {
            edge(
                id,
                priority,
                json!({ "$edgeAgent": {"properties.desired": {"v": version, "modules": {"m": {"image": "a"}}}} }),
            )
        };
        let layer = |id: &str, priority| {
            edge(
                id,
                priority,
                json!({ "$edgeAgent": {"properties.desired.modules.n": {"image": "b"}},
                                       "n": {"properties.desired.rate": 1} }),
            )
        };
        let mut all = vec![base("weak", 1, 1), base("strong", 5, 5), layer("below", 4), layer("above", 6)];
        sort(&mut all);
        let twin = json!({});
        let settled = settle(&all, Kind::EdgeDevice, &twin, &Object::new(), &Managed::default());
        let expected = [("above", true), ("below", false), ("strong", true), ("weak", false)];
        assert_eq!(settled.managed.configurations, expected.map(|(id, on)| (id.to_owned(), on)).into());
        let modules = settled.deployment.unwrap();
        assert_eq!(modules["$edgeAgent"]["v"], 5);
        assert_eq!(modules["$edgeAgent"]["modules"], json!({ "m": {"image": "a"}, "n": {"image": "b"} }));
        assert_eq!(modules["n"]["rate"], 1);
        let lone = settle(&[layer("above", 6)], Kind::EdgeDevice, &twin, &Object::new(), &Managed::default());
        assert_eq!((lone.deployment, lone.managed.configurations["above"]), (None, false));
        assert!(
            settle(&all, Kind::Device, &twin, &Object::new(), &Managed::default()).managed.configurations.is_empty()
        );
    }

    #[test]
    fn a_difference_makes_the_new_of_the_old() {
        let (old, new) =
            (object(json!({"a": 1, "b": {"c": 1, "d": 2}, "e": [1]})), object(json!({"b": {"c": 3}, "e": [2]})));
        assert_eq!(difference(&old, &new), object(json!({"a": null, "b": {"d": null, "c": 3}, "e": [2]})));
        assert!(difference(&old, &old).is_empty());
    }
}
