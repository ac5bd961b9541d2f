//! What is to be done: a function of what is at the source, what is here, and what this migration has done before.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::{Map, Value};

use super::differences::{PLACES_MAX, places};
use super::kind::{Kind, take_secrets};

/// Things that one side may have; more are refused, because all are held in memory.
pub(super) const THINGS_MAX: usize = 2_000_000;

/// A thing by its kind and id.
pub(super) type Key = (Kind, String);

/// What one side has.
#[derive(Clone, Debug, Default)]
pub(super) struct Inventory {
    /// Things, by kind and id.
    pub(super) things: BTreeMap<Kind, BTreeMap<String, Value>>,
    /// Kinds that cannot be read there, and the words for why.
    pub(super) unreadable: BTreeMap<Kind, String>,
    /// Things that cannot be read there, and the words for why.
    pub(super) gaps: BTreeMap<Key, String>,
    /// Whether what opens things was left out.
    pub(super) is_keyless: bool,
}

impl Inventory {
    /// Things of a kind, in order of id.
    pub(super) fn of(&self, kind: Kind) -> impl Iterator<Item = (&String, &Value)> {
        self.things.get(&kind).into_iter().flatten()
    }

    /// One of them.
    pub(super) fn get(&self, kind: Kind, id: &str) -> Option<&Value> {
        self.things.get(&kind)?.get(id)
    }

    /// Ids of a kind.
    pub(super) fn ids(&self, kind: Kind) -> BTreeSet<String> {
        self.of(kind).map(|(id, _)| id.clone()).collect()
    }

    /// Adds a document.
    ///
    /// # Errors
    /// When it has no id, when its id is there twice, or when there are too many.
    pub(super) fn add(&mut self, kind: Kind, document: Value) -> anyhow::Result<()> {
        let thing = kind.thing(document);
        let id = kind.id(&thing).ok_or_else(|| anyhow::anyhow!("one of the {} has no id", kind.name()))?;
        let of = self.things.entry(kind).or_default();
        anyhow::ensure!(of.len() < THINGS_MAX, "there are more than {THINGS_MAX} {}", kind.name());
        anyhow::ensure!(of.insert(id.clone(), thing).is_none(), "{} has `{id}` twice", kind.name());
        Ok(())
    }
}

/// What this migration began and finished before.
#[derive(Clone, Debug, Default)]
pub(super) struct Done {
    pub(super) begun: HashSet<Key>,
    pub(super) finished: HashSet<Key>,
}

impl Done {
    /// Whether something is here because its device was made here, and was not yet given what the source says.
    fn is_ours(&self, kind: Kind, id: &str) -> bool {
        let owner = kind.owner(id).map(|(kind, id)| (kind, id.to_owned()));
        owner.is_some_and(|owner| self.begun.contains(&owner)) && !self.finished.contains(&(kind, id.to_owned()))
    }
}

/// What becomes of a thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// It is not here, and is made.
    Create,
    /// It is here already.
    Same,
    /// It is here and differs at these places; it is left as it is.
    Differs(Vec<String>),
    /// It is here, differs at these places and is overwritten.
    Overwrite(Vec<String>),
    /// It cannot be carried, for this reason.
    Leave(String),
}

/// What becomes of one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) kind: Kind,
    pub(super) id: String,
    pub(super) action: Action,
}

/// What becomes of everything that is at the source, in the order of writing.
pub(super) fn plan(source: &Inventory, here: &Inventory, done: &Done, overwrite: bool) -> Vec<Step> {
    let of_kind = |(kind, things): (&Kind, &BTreeMap<String, Value>)| {
        let kind = *kind;
        let step = |(id, thing): (&String, &Value)| Step {
            kind,
            id: id.clone(),
            action: action(&Sides { source, here, done, overwrite }, kind, id, thing),
        };
        things.iter().map(step).collect::<Vec<_>>()
    };
    source.things.iter().flat_map(of_kind).collect()
}

struct Sides<'a> {
    source: &'a Inventory,
    here: &'a Inventory,
    done: &'a Done,
    overwrite: bool,
}

fn action(sides: &Sides<'_>, kind: Kind, id: &str, thing: &Value) -> Action {
    let Sides { source, here, done, overwrite } = *sides;
    if let Some(why) = here.unreadable.get(&kind) {
        return Action::Leave(format!("the target answers {why}"));
    }
    if let Some(why) = here.gaps.get(&(kind, id.to_owned())) {
        return Action::Leave(format!("what is here cannot be read: {why}"));
    }
    if kind == Kind::ApiTokens {
        // One of the same name is another token.
        return Action::Leave(refusal(kind, thing, here).unwrap_or_default());
    }
    let found = match here.get(kind, id) {
        Some(there) => Some(compare(kind, thing, there, source.is_keyless)),
        // A device of which nothing is set has what a new one has.
        None if kind == Kind::Properties && thing["properties"] == Value::Object(Map::new()) => Some(Found::Same),
        None => None,
    };
    if matches!(found, Some(Found::Same)) {
        return Action::Same;
    }
    if let Some(why) = refusal(kind, thing, here) {
        return Action::Leave(why);
    }
    match found {
        None | Some(Found::Same | Found::Lacking) => Action::Create,
        Some(Found::Differs(_)) if done.is_ours(kind, id) => Action::Create,
        Some(Found::Differs(places)) if overwrite => Action::Overwrite(places),
        Some(Found::Differs(places)) => Action::Differs(places),
    }
}

fn refusal(kind: Kind, thing: &Value, here: &Inventory) -> Option<String> {
    if let Some(why) = kind.refusal(thing) {
        return Some(why.to_owned());
    }
    if kind != Kind::Users {
        return None;
    }
    let roles = thing["roles"].as_array().into_iter().flatten().filter_map(|role| role["role"].as_str());
    let unknown = roles.into_iter().find(|role| here.get(Kind::Roles, role).is_none())?;
    Some(format!("there is no role `{unknown}` here"))
}

/// How a thing at the source is found here.
enum Found {
    Same,
    /// It is a part of something, and of this part there is nothing yet that would be overwritten.
    Lacking,
    Differs(Vec<String>),
}

fn compare(kind: Kind, thing: &Value, there: &Value, is_keyless: bool) -> Found {
    let (one, mut other) = (kind.compared(thing), kind.compared(there));
    // What the source does not say cannot differ; where keys are all there is to a thing, nothing is known of it.
    if is_keyless && !matches!(kind, Kind::Attestations | Kind::EnrollmentGroups) {
        take_secrets(&mut other);
    }
    let mut found = places(&one, &other);
    if kind == Kind::Properties {
        // What a device has beside is its own.
        found.retain(|place| at(&one, place).is_some());
        if !found.is_empty() && found.len() < PLACES_MAX && found.iter().all(|place| at(&other, place).is_none()) {
            return Found::Lacking;
        }
    }
    if found.is_empty() { Found::Same } else { Found::Differs(found) }
}

/// What is at a place that [`places`] names; names of properties have no dots.
fn at<'v>(value: &'v Value, place: &str) -> Option<&'v Value> {
    place.split('.').try_fold(value, |value, name| value.get(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn inventory(things: &[(Kind, Value)]) -> Inventory {
        let mut all = Inventory::default();
        for (kind, document) in things {
            all.add(*kind, document.clone()).unwrap();
        }
        all
    }

    fn actions(source: &[(Kind, Value)], here: &[(Kind, Value)], done: &Done, overwrite: bool) -> Vec<Action> {
        let steps = plan(&inventory(source), &inventory(here), done, overwrite);
        steps.into_iter().map(|step| step.action).collect()
    }

    fn differs(places: &[&str]) -> Action {
        Action::Differs(places.iter().map(|place| (*place).to_owned()).collect())
    }

    #[test]
    fn what_is_missing_is_made_and_nothing_that_differs_is_touched() {
        let source = [
            (Kind::Organizations, json!({"id": "a1", "displayName": "A"})),
            (Kind::Organizations, json!({"id": "b1", "displayName": "B"})),
            (Kind::Organizations, json!({"id": "c1", "displayName": "C", "etag": "1"})),
        ];
        let here = [
            (Kind::Organizations, json!({"id": "b1", "displayName": "other"})),
            (Kind::Organizations, json!({"id": "c1", "displayName": "C", "etag": "2"})),
            (Kind::Organizations, json!({"id": "here", "displayName": "alone"})),
        ];
        let done = Done::default();
        let expected = [Action::Create, differs(&["displayName"]), Action::Same];
        assert_eq!(actions(&source, &here, &done, false), expected);
        let overwritten = Action::Overwrite(vec!["displayName".into()]);
        assert_eq!(actions(&source, &here, &done, true), [Action::Create, overwritten, Action::Same]);
        assert_eq!(actions(&source, &source, &done, false), [const { Action::Same }; 3]);
    }

    #[test]
    fn steps_are_in_the_order_in_which_things_need_each_other() {
        let source = [
            (Kind::ScheduledJobs, json!({"id": "s"})),
            (Kind::DeviceGroups, json!({"id": "g"})),
            (Kind::Properties, json!({"id": "d", "properties": {}})),
            (Kind::Devices, json!({"id": "d"})),
            (Kind::DeviceTemplates, json!({"@id": "t"})),
            (Kind::Organizations, json!({"id": "o1"})),
        ];
        let steps = plan(&inventory(&source), &Inventory::default(), &Done::default(), false);
        let order: Vec<_> = steps.iter().map(|step| step.kind).collect();
        use Kind::{DeviceGroups, DeviceTemplates, Devices, Organizations, Properties, ScheduledJobs};
        assert_eq!(order, [Organizations, DeviceTemplates, Devices, Properties, DeviceGroups, ScheduledJobs]);
    }

    #[test]
    fn a_user_needs_their_roles() {
        let source = [(Kind::Users, json!({"id": "u", "roles": [{"role": "known"}, {"role": "custom"}]}))];
        let role = |id: &str| (Kind::Roles, json!({"id": id}));
        let left = actions(&source, &[role("known")], &Done::default(), false);
        assert_eq!(left, [Action::Leave("there is no role `custom` here".into())]);
        assert_eq!(actions(&source, &[role("known"), role("custom")], &Done::default(), false), [Action::Create]);
    }

    #[test]
    fn a_token_of_the_same_name_is_another_one() {
        let token = [(Kind::ApiTokens, json!({"id": "t"}))];
        assert!(matches!(actions(&token, &token, &Done::default(), true)[..], [Action::Leave(_)]));
    }

    #[test]
    fn what_the_target_does_not_have_is_left_and_said() {
        let mut here = Inventory::default();
        here.unreadable.insert(Kind::EnrollmentGroups, "501: not built".into());
        let source = inventory(&[(Kind::EnrollmentGroups, json!({"id": "g"}))]);
        let one = |here: &Inventory| plan(&source, here, &Done::default(), true).remove(0).action;
        assert_eq!(one(&here), Action::Leave("the target answers 501: not built".into()));
        let mut here = Inventory::default();
        here.gaps.insert((Kind::EnrollmentGroups, "g".into()), "500: words".into());
        assert_eq!(one(&here), Action::Leave("what is here cannot be read: 500: words".into()));
    }

    #[test]
    fn properties_are_added_where_nothing_is_and_are_not_replaced() {
        let of = |properties: Value| [(Kind::Properties, json!({"id": "d", "properties": properties}))];
        let source = of(json!({"room": "A", "part": {"limit": 3}}));
        let one = |here: Value| actions(&source, &of(here), &Done::default(), false).remove(0);
        assert_eq!(one(json!({})), Action::Create);
        assert_eq!(one(json!({"room": "A"})), Action::Create);
        assert_eq!(one(json!({"room": "A", "part": {"limit": 3.0, "more": 1}, "more": 1})), Action::Same);
        assert_eq!(one(json!({"room": "A", "part": {"limit": 4}})), differs(&["part.limit"]));
        assert_eq!(actions(&of(json!({})), &of(json!({"a": 1})), &Done::default(), false), [Action::Same]);
        assert_eq!(actions(&of(json!({})), &[], &Done::default(), false), [Action::Same]);
        assert_eq!(actions(&source, &[], &Done::default(), false), [Action::Create]);
    }

    #[test]
    fn what_was_begun_here_is_finished_and_what_was_finished_is_not_begun_again() {
        let of = |key: &str| json!({"id": "d", "type": "symmetricKey", "symmetricKey": {"primaryKey": key}});
        let (source, here) = ([(Kind::Attestations, of("a"))], [(Kind::Attestations, of("b"))]);
        let mut done = Done::default();
        assert_eq!(actions(&source, &here, &done, false), [differs(&["symmetricKey.primaryKey"])]);
        done.begun.insert((Kind::Devices, "d".into()));
        assert_eq!(actions(&source, &here, &done, false), [Action::Create]);
        done.finished.insert((Kind::Attestations, "d".into()));
        assert_eq!(actions(&source, &here, &done, false), [differs(&["symmetricKey.primaryKey"])]);
        // What is gone from here is missing, whatever was done before.
        assert_eq!(actions(&source, &[], &done, false), [Action::Create]);
    }

    #[test]
    fn what_the_source_does_not_say_does_not_differ() {
        let of = |key: &str| json!({"id": "d", "authentication": {"type": "sas", "symmetricKey": {"primaryKey": key}}});
        let mut source = inventory(&[(Kind::Identities, json!({"id": "d", "authentication": {"type": "sas"}}))]);
        let here = inventory(&[(Kind::Identities, of("k"))]);
        let one = |source: &Inventory| plan(source, &here, &Done::default(), false).remove(0).action;
        assert_eq!(one(&source), differs(&["authentication.symmetricKey"]));
        source.is_keyless = true;
        assert_eq!(one(&source), Action::Same);
        assert_eq!(
            actions(&[(Kind::Identities, of("a"))], &[(Kind::Identities, of("k"))], &Done::default(), false),
            [differs(&["authentication.symmetricKey.primaryKey"])]
        );
    }

    #[test]
    fn an_id_is_there_once() {
        let mut all = inventory(&[(Kind::Devices, json!({"id": "d"}))]);
        assert!(all.add(Kind::Devices, json!({"id": "d"})).unwrap_err().to_string().contains("`d` twice"));
        assert!(all.add(Kind::Devices, json!({"name": "d"})).unwrap_err().to_string().contains("no id"));
    }
}
