//! Messages of exports: what events of the log become, in the published formats.
//!
//! An event may say several things ([`Happened`]): a twin that is replaced changes properties of three kinds. Each is a
//! message of its own. Without a transform it is sent as [`Message::document`] shows it; a transform reads
//! [`Message::input`], where the device and its properties are beside it.
//!
//! ```json
//! {"applicationId": "...", "messageSource": "telemetry", "deviceId": "motor-1", "schema": "default@v1",
//!  "templateId": "dtmi:contoso:motor;1", "enqueuedTime": "...", "telemetry": {"temperature": 21.5},
//!  "component": "thermostat1", "messageProperties": {}, "enrichments": {"site": "north"}}
//! ```
//!
//! Telemetry is what the body says when it is one JSON object, of a template or not; a body that is none has no
//! telemetry, and no message is made of it. Of a property that was acknowledged the value is sent. A device that is gone
//! has an id only. Source: "Export IoT data to cloud destinations" and the preview's data exports.

use gantry_hub::event::{MessageSource, StoredEvent};
use gantry_hub::reports;
use serde_json::{Map, Value, json};

use super::filter::{From, Name};
use super::{Enrichment, Export, Source, SystemProperty};
use crate::devices::{self, Device, TAG};
use crate::groups;
use crate::templates::{Capabilities, DeviceTemplate, Part};

/// The name of the published format.
const SCHEMA: &str = "default@v1";
/// What marks a component in a section (Plug and Play conventions).
const MARKER: &str = "__t";

/// Something an event says.
#[derive(Clone, Debug, PartialEq)]
pub enum Happened {
    /// A device sent values.
    Telemetry {
        /// Values by name.
        values: Map<String, Value>,
        /// The component they are of.
        component: Option<String>,
    },
    /// Properties changed.
    Properties {
        /// `messageType`.
        kind: &'static str,
        /// What they are now.
        changes: Vec<Change>,
    },
    /// A device came, went, was made or changed: `messageType`.
    Device(&'static str),
}

/// A property that changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Its name.
    pub name: String,
    /// Its value; null when it is gone.
    pub value: Value,
    /// The component it is of.
    pub component: Option<String>,
}

/// The sources of the hub that an export needs to hear of, beside telemetry.
#[must_use]
pub fn heard(source: Source) -> &'static [MessageSource] {
    match source {
        Source::Telemetry | Source::DeviceTemplateLifecycle | Source::Audit => &[],
        Source::Properties => &[MessageSource::TwinChange],
        Source::DeviceLifecycle => &[MessageSource::Lifecycle, MessageSource::TwinChange],
        Source::DeviceConnectivity => &[MessageSource::ConnectionState],
    }
}

/// What an event says to exports of a source. Nothing for most.
#[must_use]
pub fn read(source: Source, event: &StoredEvent) -> Vec<Happened> {
    match (source, event.source) {
        (Source::Telemetry, MessageSource::Telemetry) => telemetry(event).into_iter().collect(),
        (Source::Properties, MessageSource::TwinChange) => properties(event),
        (Source::DeviceLifecycle, MessageSource::TwinChange) => renamed(event),
        (Source::DeviceLifecycle, MessageSource::Lifecycle) => of_operation(
            event,
            &[
                ("createDeviceIdentity", "registered"),
                ("deleteDeviceIdentity", "deleted"),
                ("enableDeviceIdentity", "enabled"),
                ("disableDeviceIdentity", "disabled"),
            ],
        ),
        (Source::DeviceConnectivity, MessageSource::ConnectionState) => {
            of_operation(event, &[("deviceConnected", "connected"), ("deviceDisconnected", "disconnected")])
        }
        _ => vec![],
    }
}

fn of_operation(event: &StoredEvent, words: &[(&str, &'static str)]) -> Vec<Happened> {
    let operation = reports::operation_of(event);
    let word = words.iter().find(|(name, _)| operation == Some(*name));
    word.map(|(_, word)| Happened::Device(word)).into_iter().collect()
}

fn body(event: &StoredEvent) -> Option<Map<String, Value>> {
    serde_json::from_slice(&event.body).ok()
}

fn telemetry(event: &StoredEvent) -> Option<Happened> {
    let component = event.system.subject.as_deref().map(str::to_owned);
    body(event).map(|values| Happened::Telemetry { values, component })
}

fn properties(event: &StoredEvent) -> Vec<Happened> {
    let Some(body) = body(event) else { return vec![] };
    let section = |name: &str| body.get("properties").and_then(|all| all.get(name));
    let cloud = body.get("tags").and_then(|tags| tags.get(TAG)).and_then(|tag| tag.get("properties"));
    let kinds = [
        ("cloudPropertyChange", cloud),
        ("devicePropertyDesiredChange", section("desired")),
        ("devicePropertyReportedChange", section("reported")),
    ];
    let of = |(kind, section): (&'static str, Option<&Value>)| {
        let changes = changes(section?.as_object()?);
        (!changes.is_empty()).then_some(Happened::Properties { kind, changes })
    };
    kinds.into_iter().filter_map(of).collect()
}

fn changes(section: &Map<String, Value>) -> Vec<Change> {
    let one = |name: &str, value: &Value, component: Option<&str>| {
        let (name, component) = (name.to_owned(), component.map(str::to_owned));
        Change { name, value: devices::value_of(value).clone(), component }
    };
    let is_shown = |name: &&String| !name.starts_with('$') && *name != MARKER;
    let mut all = vec![];
    for (name, value) in section.iter().filter(|(name, _)| is_shown(name)) {
        match value.as_object().filter(|part| part.contains_key(MARKER)) {
            Some(part) => {
                let inner = part.iter().filter(|(name, _)| is_shown(name));
                all.extend(inner.map(|(inner, value)| one(inner, value, Some(name))));
            }
            None => all.push(one(name, value, None)),
        }
    }
    all
}

/// Names and templates are in tags.
fn renamed(event: &StoredEvent) -> Vec<Happened> {
    let body = body(event);
    let tag = body.as_ref().and_then(|body| body.get("tags")).and_then(|tags| tags.get(TAG));
    let words = [("displayName", "displayNameChanged"), ("template", "deviceTemplateChanged")];
    let said = words.into_iter().filter(|(name, _)| tag.is_some_and(|tag| tag.get(name).is_some()));
    said.map(|(_, word)| Happened::Device(word)).collect()
}

/// A device as messages show it.
#[derive(Clone, Copy)]
pub struct About<'a> {
    /// It.
    pub device: &'a Device<'a>,
    /// Its properties ([`Device::properties`]).
    pub properties: &'a Map<String, Value>,
    /// Its template.
    pub template: Option<&'a DeviceTemplate>,
    /// What that offers.
    pub capabilities: Option<&'a Capabilities>,
}

/// A message of an export.
pub struct Message<'a> {
    /// The application.
    pub application: &'a str,
    /// What is exported.
    pub export: &'a Export,
    /// The event.
    pub event: &'a StoredEvent,
    /// What it says.
    pub happened: &'a Happened,
    /// Its device, unless it is gone.
    pub about: Option<About<'a>>,
}

impl Message<'_> {
    /// Whether it is one that the export sends.
    #[must_use]
    pub fn passes(&self) -> bool {
        let Some(filter) = &self.export.filter else { return true };
        let template = self.about.and_then(|about| about.device.template.as_ref());
        let is_one = match filter.from() {
            From::Devices => true,
            From::Templates(all) => all.iter().any(|(id, _)| template == Some(id)),
        };
        is_one && filter.holds(|name| self.value(filter.from(), name))
    }

    /// What a filter tests: what the message says, else what the device has, else what else the message brings.
    fn value(&self, from: &From, name: &Name) -> Value {
        let Name::Value { template, component, name } = name else {
            return self.fact(name);
        };
        if let (Some(at), From::Templates(all)) = (template, from) {
            let wanted = all.get(*at).map(|(id, _)| id);
            if self.about.and_then(|about| about.device.template.as_ref()) != wanted {
                return Value::Null;
            }
        }
        let said = match self.happened {
            Happened::Telemetry { values, component: of } if of == component => values.get(name).cloned(),
            Happened::Properties { changes, .. } => {
                let is_it = |change: &&Change| change.name == *name && change.component == *component;
                changes.iter().find(is_it).map(|change| change.value.clone())
            }
            _ => None,
        };
        let had = || {
            let about = self.about?;
            let property = groups::Name::Property { component: component.clone(), name: name.clone() };
            Some(about.device.facts(about.properties).value(&property)).filter(|value| !value.is_null())
        };
        let brought = || {
            let is_it = |(key, _): &&(String, Option<String>)| component.is_none() && key == name;
            self.event.properties.iter().find(is_it).map(|(_, value)| value.clone().into())
        };
        said.or_else(had).or_else(brought).unwrap_or_default()
    }

    fn fact(&self, name: &Name) -> Value {
        let (Name::Fact(fact), Some(about)) = (name, self.about) else {
            let is_id = *name == Name::Fact(groups::Fact::Id);
            return if is_id { self.event.identity.device.as_str().into() } else { Value::Null };
        };
        about.device.facts(about.properties).value(&groups::Name::Fact(*fact))
    }

    /// What is added to it.
    fn enrichments(&self) -> Map<String, Value> {
        let mut all = Map::new();
        for (name, enrichment) in &self.export.enrichments {
            // What a device does not have is left out.
            if let Some(value) = self.enrichment(enrichment).filter(|value| !value.is_null()) {
                all.insert(name.clone(), value);
            }
        }
        all
    }

    fn enrichment(&self, enrichment: &Enrichment) -> Option<Value> {
        if let Enrichment::Value { value } = enrichment {
            return Some(value.clone());
        }
        let about = self.about?;
        let facts = about.device.facts(about.properties);
        match enrichment {
            Enrichment::Value { .. } => None,
            Enrichment::System { property, .. } => Some(match property {
                SystemProperty::Enabled => facts.is_enabled.into(),
                SystemProperty::DisplayName => facts.display_name.into(),
                SystemProperty::TemplateDisplayName => about.template?.display_name.as_ref()?.as_str().into(),
                SystemProperty::Organizations => json!(facts.organization.into_iter().collect::<Vec<_>>()),
                SystemProperty::Provisioned => facts.is_provisioned.into(),
                SystemProperty::Simulated => facts.is_simulated.into(),
            }),
            Enrichment::Property { target, path } => {
                let (component, name) = match path.split_once('.') {
                    Some((component, name)) => (Some(component.to_owned()), name.to_owned()),
                    None => (None, path.clone()),
                };
                let has = |part: &Part| part.name == component && part.interface == *target;
                let is_target = about.device.template.as_ref().is_some_and(|id| id.as_str() == target)
                    || about.capabilities.is_some_and(|all| all.parts().any(has));
                is_target.then(|| facts.value(&groups::Name::Property { component, name }))
            }
        }
    }

    /// What all formats have.
    fn common(&self) -> Map<String, Value> {
        let mut all = Map::new();
        let mut put = |name: &str, value: Value| all.insert(name.to_owned(), value);
        put("applicationId", self.application.into());
        put("messageSource", self.export.source.word().into());
        match self.happened {
            Happened::Telemetry { .. } => {
                let texts = self.event.properties.iter();
                let texts = texts.map(|(name, value)| (name.clone(), value.clone().into()));
                put("messageProperties", Value::Object(texts.collect()));
            }
            Happened::Properties { kind, .. } | Happened::Device(kind) => drop(put("messageType", (*kind).into())),
        }
        put("enqueuedTime", self.event.enqueued_at.to_string().into());
        put("enrichments", Value::Object(self.enrichments()));
        if let Some(module) = &self.event.identity.module {
            put("module", module.as_str().into());
        }
        if let Happened::Telemetry { component: Some(component), .. } = self.happened {
            put("component", component.as_str().into());
        }
        all
    }

    /// As it is sent without a transform.
    #[must_use]
    pub fn document(&self) -> Value {
        let mut all = self.common();
        all.insert("schema".to_owned(), SCHEMA.into());
        all.insert("deviceId".to_owned(), self.event.identity.device.as_str().into());
        if let Some(template) = self.about.and_then(|about| about.device.template.as_ref()) {
            all.insert("templateId".to_owned(), template.as_str().into());
        }
        match self.happened {
            Happened::Telemetry { values, .. } => {
                all.insert("telemetry".to_owned(), Value::Object(values.clone()));
            }
            Happened::Properties { changes, .. } => {
                all.insert("properties".to_owned(), changes.iter().map(|change| change.document(None)).collect());
            }
            Happened::Device(_) => {}
        }
        Value::Object(all)
    }

    /// As a transform reads it.
    #[must_use]
    pub fn input(&self) -> Value {
        let mut all = self.common();
        all.insert("device".to_owned(), self.device());
        let capabilities = self.about.and_then(|about| about.capabilities);
        match self.happened {
            Happened::Telemetry { values, component } => {
                let part = capabilities.and_then(|all| all.part(component.as_deref()));
                let one = |(name, value): (&String, &Value)| {
                    let id = part.and_then(|part| part.telemetry(name)).map(|one| one.id.as_str());
                    named(id, name, value)
                };
                all.insert("telemetry".to_owned(), values.iter().map(one).collect());
            }
            Happened::Properties { changes, .. } => {
                let shown = changes.iter().map(|change| change.document(capabilities));
                all.insert("properties".to_owned(), shown.collect());
            }
            Happened::Device(_) => {}
        }
        Value::Object(all)
    }

    fn device(&self) -> Value {
        let id = self.event.identity.device.as_str();
        let Some(about) = self.about else { return json!({ "id": id }) };
        let facts = about.device.facts(about.properties);
        let listed = |section: &Map<String, Value>| -> Value {
            changes(section).iter().map(|change| change.document(about.capabilities)).collect()
        };
        let mut all = json!({
            "id": id,
            "name": facts.display_name,
            "properties": { "reported": listed(&about.device.record.twin.reported.values) },
            "cloudProperties": listed(&about.device.profile.properties),
            "simulated": facts.is_simulated,
            "approved": true,
            "blocked": !facts.is_enabled,
            "provisioned": facts.is_provisioned,
            "organizations": facts.organization.into_iter().collect::<Vec<_>>(),
        });
        if let Some(template) = facts.template {
            all["templateId"] = template.into();
        }
        if let Some(name) = about.template.and_then(|template| template.display_name.as_ref()) {
            all["templateName"] = name.as_str().into();
        }
        all
    }
}

impl Change {
    fn document(&self, capabilities: Option<&Capabilities>) -> Value {
        let part = capabilities.and_then(|all| all.part(self.component.as_deref()));
        let id = part.and_then(|part| part.property(&self.name)).map(|one| one.id.as_str());
        let mut shown = named(id, &self.name, &self.value);
        if let Some(component) = &self.component {
            shown["component"] = component.as_str().into();
        }
        shown
    }
}

fn named(id: Option<&str>, name: &str, value: &Value) -> Value {
    let mut shown = json!({ "name": name, "value": value });
    if let Some(id) = id {
        shown["id"] = id.into();
    }
    shown
}

#[cfg(test)]
mod tests;
