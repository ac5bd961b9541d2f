//! Devices that are not there: what a device of a template would send, report and answer (CEN-08).
//!
//! Everything is a function of the model, a seed, the time and a small [`State`], so that a device goes on where it was
//! after a restart, and two that ask for the same moment get the same. Numbers keep to their unit, semantic type and
//! `NumberValue`, follow the day, drift, and now and then leave what is usual; choices last a while. Every value is one
//! of its schema; what has a schema nobody knows is left out.
//!
//! Writable properties are answered as IoT Plug and Play has it: reported `{"value", "ac", "av", "ad"}`, with
//! `"__t": "c"` in components. What is desired and not in the model is not answered, as by any device. Cloud properties
//! are none of a device. Source: IoT Central's telemetry, property and command payloads; IoT Plug and Play conventions.

mod additions;
mod draw;
mod fits;
mod habits;
mod numbers;
mod shapes;
#[cfg(test)]
mod tests;
mod texts;
mod values;

use std::collections::BTreeMap;
use std::sync::Arc;

use gantry_identity::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub use self::additions::{Additions, Bounds};
use self::draw::Draw;
use self::habits::Facts;
use self::numbers::HOUR;
pub use self::shapes::Place;
use self::shapes::Track;
pub use self::values::LEAVES_MAX;
use self::values::Maker;
use crate::templates::{Capabilities, DeviceTemplate, Part, Property, Telemetry, TemplateError};

/// Simulated devices of an application (IoT Central quotas and limits).
pub const SIMULATED_MAX: usize = 100;
/// Long-running commands of one device at a time; ours.
pub const RUNNING_MAX: usize = 20;
/// How likely an event is in a message.
const EVENT_CHANCE: f64 = 0.04;
/// How long a property stays as it is.
const LASTING: (i64, i64) = (HOUR, 6 * HOUR);
/// How long a long-running command takes, in milliseconds.
const RUNNING: (i64, i64) = (5_000, 30_000);

/// A device that is not there.
#[derive(Clone, Debug)]
pub struct Simulated {
    capabilities: Arc<Capabilities>,
    additions: Arc<Additions>,
    draw: Draw,
    track: Track,
}

/// What a simulated device remembers: when it last reported, on which what it reports next depends; what was written to
/// it, which a twin's desired section bounds; what it is doing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct State {
    /// When it last reported, in milliseconds since the epoch; nothing was reported without.
    reported_at: Option<i64>,
    /// Writable properties that were set, by name, with the component before a dot.
    written: BTreeMap<String, Value>,
    /// Commands that are not done, [`RUNNING_MAX`] at most.
    running: Vec<Running>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Running {
    component: Option<String>,
    command: String,
    done_at: i64,
}

/// A telemetry message.
#[derive(Clone, PartialEq, Debug)]
pub struct Message {
    /// The component it is of, for `$.sub`; the device itself without.
    pub component: Option<String>,
    /// Its body: values by name.
    pub body: Map<String, Value>,
}

/// The answer to a command.
#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    /// As of HTTP: 200 done, 202 begun, 400 the request is none, 404 no such command, 429 too many at a time.
    pub status: u16,
    /// What the command gives; of a refusal, why; else null.
    pub payload: Value,
}

impl Simulated {
    /// A device of a template's capabilities, with what its model says beyond them. It is somewhere.
    #[must_use]
    pub fn new(capabilities: Arc<Capabilities>, additions: Arc<Additions>, seed: u64) -> Self {
        let draw = Draw::new(seed);
        Self { capabilities, additions, draw, track: Track::drawn(draw.of("track")) }
    }

    /// A device of a template.
    ///
    /// # Errors
    /// When the model of the template is none.
    pub fn of(template: &DeviceTemplate, seed: u64) -> Result<Self, TemplateError> {
        let additions = Additions::of(&template.capability_model);
        Ok(Self::new(template.capabilities()?, Arc::new(additions), seed))
    }

    /// The same device in a place.
    #[must_use]
    pub fn placed(self, place: Place) -> Self {
        Self { track: Track::new(place, self.draw.of("track")), ..self }
    }

    /// What it sends at a moment: a message of the device itself and one of each component, of those that have any.
    /// Events are rare.
    #[must_use]
    pub fn telemetry(&self, now: Timestamp) -> Vec<Message> {
        let at = now.as_millis();
        let message = |part: &Part| {
            let draw = self.draw_of(part).of("telemetry");
            let mut maker = Maker::measured(at, &self.track);
            let happens = |one: &&Telemetry| {
                let chance = || draw.of(&one.name).of("happens").at(at).unit();
                one.semantic_type.as_deref() != Some("Event") || chance() < EVENT_CHANCE
            };
            let mut value = |one: &Telemetry| {
                let facts = self.facts(part, &one.name, one.unit.as_deref(), one.semantic_type.as_deref());
                Some((one.name.clone(), maker.value(&one.schema, &facts, draw.of(&one.name))?))
            };
            let body: Map<_, _> = part.telemetry.iter().filter(happens).filter_map(&mut value).collect();
            (!body.is_empty()).then(|| Message { component: part.name.clone(), body })
        };
        self.capabilities.parts().filter_map(message).collect()
    }

    /// What it reports at a moment, a patch of the reported section: everything the first time, later what changed and
    /// the results of commands that are done. Nothing if there is nothing.
    pub fn report(&self, state: &mut State, now: Timestamp) -> Option<Map<String, Value>> {
        let at = now.as_millis();
        let mut patch = Patch::default();
        for part in self.capabilities.parts() {
            for property in part.properties.iter().filter(|property| !property.is_cloud) {
                if let Some(value) = self.reported(part, property, state, at) {
                    patch.put(part, &property.name, value);
                }
            }
        }
        state.reported_at = Some(at);
        let (done, running) = std::mem::take(&mut state.running).into_iter().partition(|one| one.done_at <= at);
        state.running = running;
        let done: Vec<Running> = done;
        for one in done {
            if let Some(part) = self.capabilities.part(one.component.as_deref()) {
                let result = self.response(part, &one.command, one.done_at);
                patch.put(part, &one.command, json!({ "value": result.unwrap_or_else(|| json!({})) }));
            }
        }
        patch.finish()
    }

    /// The answer to what is desired, a patch of the reported section; nothing if nothing is the device's. `desired` is
    /// the desired section or a patch of it, with `$version`. What does not fit leaves the property as it is, and is
    /// answered with that value.
    pub fn desired(&self, state: &mut State, desired: &Map<String, Value>) -> Option<Map<String, Value>> {
        let mut patch = Patch::default();
        for part in self.capabilities.parts() {
            let section = match &part.name {
                None => Some(desired),
                Some(name) => desired.get(name).and_then(Value::as_object),
            };
            let Some(section) = section else { continue };
            let version = desired.get("$version").or_else(|| section.get("$version"));
            for property in part.properties.iter().filter(|one| one.is_writable && !one.is_cloud) {
                // Null removes what was desired; the device keeps what it has.
                if let Some(value) = section.get(&property.name).filter(|value| !value.is_null()) {
                    patch.put(part, &property.name, self.written(state, part, property, value, version));
                }
            }
        }
        patch.finish()
    }

    /// The answer to a command; `component` is none for the device itself. `request` is null when there is none.
    pub fn command(
        &self,
        state: &mut State,
        now: Timestamp,
        component: Option<&str>,
        name: &str,
        request: &Value,
    ) -> Answer {
        let refusal = |status, why: String| Answer { status, payload: json!({ "error": why }) };
        let found = self.capabilities.part(component).and_then(|part| Some((part, part.command(name)?)));
        let Some((part, command)) = found else {
            return refusal(404, format!("there is no command `{name}`"));
        };
        if let Some(wanted) = &command.request
            && let Err(misfit) = fits::check(&wanted.schema, &Bounds::default(), request)
        {
            return refusal(400, format!("the request is no `{}`: {misfit}", wanted.name));
        }
        if !self.additions.is_asynchronous(&part.interface, name) {
            return Answer { status: 200, payload: self.response(part, name, now.as_millis()).unwrap_or_default() };
        }
        if state.running.len() >= RUNNING_MAX {
            return refusal(429, format!("{RUNNING_MAX} commands are running, which is the most"));
        }
        let takes = self.draw_of(part).of(name).of("takes").at(now.as_millis()).whole(RUNNING.0, RUNNING.1);
        let done_at = now.as_millis().saturating_add(takes);
        state.running.push(Running { component: part.name.clone(), command: name.to_owned(), done_at });
        Answer { status: 202, payload: Value::Null }
    }

    /// A property as it is reported, if that is due: the first time, or when its value is another than then.
    fn reported(&self, part: &Part, property: &Property, state: &State, at: i64) -> Option<Value> {
        if property.is_writable {
            let is_told = state.reported_at.is_some() || state.written.contains_key(&path(part, property));
            let value = if is_told { None } else { self.initial(part, property) };
            return Some(acknowledgement(&value?, 203, &json!(0), "set by the device"));
        }
        let value = self.lasting(part, property, at)?;
        let was = state.reported_at.and_then(|before| self.lasting(part, property, before));
        (was.as_ref() != Some(&value)).then_some(value)
    }

    /// The answer to a value that is desired of a writable property.
    fn written(
        &self,
        state: &mut State,
        part: &Part,
        property: &Property,
        desired: &Value,
        version: Option<&Value>,
    ) -> Value {
        let bounds = self.additions.bounds(&part.interface, &property.name);
        let version = version.filter(|version| version.is_i64()).cloned().unwrap_or_else(|| json!(0));
        let has = state.written.get(&path(part, property)).cloned();
        let has = has.or_else(|| self.initial(part, property)).unwrap_or_default();
        let gets = merged(&has, desired);
        match fits::check(&property.schema, &bounds, &gets) {
            Ok(()) => {
                state.written.insert(path(part, property), gets);
                acknowledgement(desired, 200, &version, "completed")
            }
            Err(misfit) => acknowledgement(&has, 400, &version, &misfit.to_string()),
        }
    }

    /// What a writable property is before it is written.
    fn initial(&self, part: &Part, property: &Property) -> Option<Value> {
        let bounds = self.additions.bounds(&part.interface, &property.name);
        let fits = |value: &&Value| fits::check(&property.schema, &bounds, value).is_ok();
        property.initial_value.as_ref().filter(fits).cloned().or_else(|| self.lasting(part, property, 0))
    }

    /// The value a property has: that of the moment when it last may have changed.
    fn lasting(&self, part: &Part, property: &Property, at: i64) -> Option<Value> {
        let draw = self.draw_of(part).of("property").of(&property.name);
        let since = draw.stretch(at, LASTING.0, LASTING.1).since;
        let facts = self.facts(part, &property.name, property.unit.as_deref(), property.semantic_type.as_deref());
        Maker::lasting(since, &self.track).value(&property.schema, &facts, draw)
    }

    fn response(&self, part: &Part, command: &str, at: i64) -> Option<Value> {
        let response = part.command(command)?.response.as_ref()?;
        let facts = Facts { name: &response.name, ..Facts::default() };
        Maker::measured(at, &self.track).value(&response.schema, &facts, self.draw_of(part).of(command).at(at))
    }

    fn draw_of(&self, part: &Part) -> Draw {
        // A component is never called so: names begin with a letter.
        self.draw.of(part.name.as_deref().unwrap_or("$root"))
    }

    fn facts<'a>(
        &self,
        part: &Part,
        name: &'a str,
        unit: Option<&'a str>,
        semantic_type: Option<&'a str>,
    ) -> Facts<'a> {
        Facts { name, unit, semantic_type, bounds: self.additions.bounds(&part.interface, name) }
    }
}

/// The seed of a device that has none of its own.
#[must_use]
pub fn seed_of(device_id: &str) -> u64 {
    Draw::new(0).of(device_id).seed()
}

/// What is desired of a new device of a template: the initial values of its `Initialized` properties, a desired section.
#[must_use]
pub fn initial_desired(capabilities: &Capabilities) -> Option<Map<String, Value>> {
    let mut patch = Patch::default();
    for part in capabilities.parts() {
        for property in part.properties.iter().filter(|one| one.is_writable && !one.is_cloud) {
            if let Some(value) = &property.initial_value {
                patch.put(part, &property.name, value.clone());
            }
        }
    }
    patch.finish()
}

fn acknowledgement(value: &Value, code: u16, version: &Value, description: &str) -> Value {
    json!({ "value": value, "ac": code, "av": version, "ad": description })
}

fn path(part: &Part, property: &Property) -> String {
    match &part.name {
        Some(component) => format!("{component}.{}", property.name),
        None => property.name.clone(),
    }
}

/// A value after a merge patch, as twins take it.
fn merged(value: &Value, patch: &Value) -> Value {
    let Value::Object(changes) = patch else { return patch.clone() };
    let mut members = value.as_object().cloned().unwrap_or_default();
    for (name, change) in changes {
        match change {
            Value::Null => drop(members.remove(name)),
            change => {
                let before = members.get(name).cloned().unwrap_or_default();
                members.insert(name.clone(), merged(&before, change));
            }
        }
    }
    Value::Object(members)
}

/// A patch of a section of a twin, components marked.
#[derive(Default)]
struct Patch(Map<String, Value>);

impl Patch {
    fn put(&mut self, part: &Part, name: &str, value: Value) {
        let Some(component) = &part.name else {
            self.0.insert(name.to_owned(), value);
            return;
        };
        let of = self.0.entry(component.clone()).or_insert_with(|| json!({ "__t": "c" }));
        if let Value::Object(members) = of {
            members.insert(name.to_owned(), value);
        }
    }

    fn finish(self) -> Option<Map<String, Value>> {
        (!self.0.is_empty()).then_some(self.0)
    }
}
