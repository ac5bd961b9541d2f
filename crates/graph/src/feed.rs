//! What a device sends or reports, as a patch of a twin.
//!
//! The rule: of a JSON object, each member that the twin's model has as a property, with a value of its schema, becomes
//! the value of that property; a member that is a component, or telemetry of a component, does the same within. Values a
//! device acknowledges (`{"value":..,"ac":..}`) count as their value. Everything else of the message is passed over: a
//! device says more than a model of its surroundings keeps.

use gantry_dtdl::{Capability, Interface};
use gantry_identity::Timestamp;
use serde_json::{Map, Value};

use crate::patch::Patch;
use crate::state::State;
use crate::twin::check_value;

/// The tag of a device that names its twin, if that has another id than the device.
pub const TAG: &str = "digitalTwin";

/// The patch that `said` is for a twin; none when there is no such twin, or nothing for it.
#[must_use]
pub fn patch_of(
    state: &State,
    twin: &str,
    component: Option<&str>,
    said: &Map<String, Value>,
    measured_at: Option<Timestamp>,
) -> Option<Patch> {
    let twin = state.get(twin)?;
    let interface = state.models.get(&twin.model)?.interface()?;
    let mut values = vec![];
    match component {
        Some(name) => gather(&interface.content(name)?.component()?, said, &[name], measured_at, &mut values),
        None => {
            gather(&interface, said, &[], measured_at, &mut values);
            for content in interface.capabilities(Capability::Component) {
                let inner = content.name().and_then(|name| Some((name, said.get(name)?.as_object()?)));
                if let (Some((name, inner)), Some(of)) = (inner, content.component()) {
                    gather(&of, inner, &[name], measured_at, &mut values);
                }
            }
        }
    }
    (!values.is_empty()).then(|| Patch::adding(values))
}

fn gather(
    interface: &Interface<'_>,
    said: &Map<String, Value>,
    place: &[&str],
    measured_at: Option<Timestamp>,
    values: &mut Vec<(Vec<String>, Value)>,
) {
    for content in interface.capabilities(Capability::Property) {
        let Some(name) = content.name() else { continue };
        let Some(value) = said.get(name).map(acknowledged) else { continue };
        if check_value(&content, name, value).is_err() {
            continue;
        }
        let path = |rest: &[&str]| place.iter().chain(rest).map(|step| (*step).to_owned()).collect::<Vec<_>>();
        values.push((path(&[name]), value.clone()));
        if let Some(at) = measured_at {
            values.push((path(&["$metadata", name, "sourceTime"]), at.to_string().into()));
        }
    }
}

/// The value that a device acknowledges.
fn acknowledged(value: &Value) -> &Value {
    match value {
        Value::Object(object) if object.contains_key("ac") && object.contains_key("av") => {
            object.get("value").unwrap_or(value)
        }
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::tests::{interface, of};
    use crate::state::Change;
    use crate::twin::{Twin, patched};
    use serde_json::json;
    use std::sync::Arc;

    fn state() -> State {
        let lamp = interface(
            "dtmi:x:Lamp;1",
            &json!({"contents": [{"@type": "Property", "name": "on", "schema": "boolean"}]}),
        );
        let contents = json!([
            {"@type": "Property", "name": "temperature", "schema": "double"},
            {"@type": "Telemetry", "name": "noise", "schema": "double"},
            {"@type": "Component", "name": "lamp", "schema": "dtmi:x:Lamp;1"},
        ]);
        let room = interface("dtmi:x:Room;1", &json!({"contents": contents}));
        let mut state = State::default();
        state.models = of(vec![lamp, room]);
        let twin = json!({"$dtId": "r", "lamp": {"$metadata": {}}, "$metadata": {"$model": "dtmi:x:Room;1"}});
        state.apply(Change::Twin("r".into(), Twin::restore(twin).map(Arc::new)));
        state
    }

    fn fed(component: Option<&str>, said: Value) -> Option<Value> {
        let state = state();
        let at = Some(Timestamp::from_millis(0));
        let patch = patch_of(&state, "r", component, said.as_object().unwrap(), at)?;
        let twin = patched(&state.models, (Timestamp::from_millis(5), 1), state.get("r").unwrap(), &patch);
        Some(twin.unwrap().document)
    }

    #[test]
    fn members_that_the_model_has_become_properties() {
        let twin =
            fed(None, json!({"temperature": 20.5, "noise": 1, "other": {}, "lamp": {"on": true, "x": 1}})).unwrap();
        assert_eq!(twin["temperature"], 20.5);
        assert_eq!(twin["lamp"]["on"], true);
        assert!(twin.get("noise").is_none() && twin.get("other").is_none());
        assert_eq!(twin["$metadata"]["temperature"]["sourceTime"], "1970-01-01T00:00:00.0000000Z");
        let twin = fed(Some("lamp"), json!({"on": {"value": false, "ac": 200, "av": 3}})).unwrap();
        assert_eq!(twin["lamp"]["on"], false);
    }

    #[test]
    fn what_fits_nothing_changes_nothing() {
        for said in [json!({}), json!({"temperature": "hot"}), json!({"noise": 1}), json!({"lamp": 1})] {
            assert_eq!(fed(None, said.clone()), None, "{said}");
        }
        assert_eq!(fed(Some("none"), json!({"on": true})), None);
        assert!(patch_of(&state(), "nobody", None, json!({"temperature": 1}).as_object().unwrap(), None).is_none());
    }
}
