//! Properties of a device as bodies show and write them.
//!
//! ```json
//! {"speed": 9, "fan": {"rate": 2, "$metadata": {"rate": {"lastUpdateTime": "..."}}},
//!  "$metadata": {"speed": {"desiredValue": 10, "desiredVersion": 4, "ackVersion": 3, "ackCode": 200, "lastUpdateTime": "..."}}}
//! ```
//!
//! A value is what the device reported; what is desired of it is beside it in `$metadata`, also where nothing was
//! reported yet. Cloud properties are values without metadata. Writes go where the template says: into the desired
//! section, or into what the application keeps. A device without a template has what its twin has, and everything
//! may be desired of it. Source: IoT Central REST API, device properties; Plug and Play conventions.

use gantry_hub::digital_twin;
use gantry_hub::ports::Record;
use gantry_hub::twin::{Object, SectionWrite, TwinWrite};
use serde_json::{Map, Value, json};

use super::{Profile, TAG};
use crate::templates::{Capabilities, Part};

/// What marks a component in a section (Plug and Play conventions).
pub(super) const MARKER: &str = "__t";
const METADATA: &str = "$metadata";

/// Why properties are not read or written.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum PropertyError {
    /// The template has no such component.
    #[error("the device has no component `{0}`")]
    UnknownComponent(String),
    /// The template has no such property.
    #[error("the device template has no property `{0}`")]
    Unknown(String),
    /// Only the device says it.
    #[error("property `{0}` is not writable")]
    ReadOnly(String),
    /// The value is not of the property's schema.
    #[error("`{0}`: {1}")]
    Unfit(String, String),
    /// Nothing that has properties.
    #[error("`{0}` is an object of properties")]
    NotObject(String),
}

/// The properties of a device, or of one of its components; with `is_unmodeled` those too that its template lacks.
///
/// # Errors
/// [`PropertyError::UnknownComponent`].
pub fn read_properties(
    record: &Record,
    profile: &Profile,
    capabilities: Option<&Capabilities>,
    component: Option<&str>,
    is_unmodeled: bool,
) -> Result<Value, PropertyError> {
    let mut all = shown(record);
    for (name, value) in &profile.properties {
        put_cloud(&mut all, name, value, capabilities);
    }
    if let (Some(capabilities), false) = (capabilities, is_unmodeled) {
        keep_modeled(&mut all, capabilities);
    }
    let Some(component) = component else { return Ok(Value::Object(all)) };
    let is_known = capabilities.is_some_and(|capabilities| capabilities.part(Some(component)).is_some());
    match all.remove(component) {
        Some(Value::Object(inner)) if is_known || inner.contains_key(METADATA) => Ok(Value::Object(inner)),
        _ if is_known => Ok(json!({ METADATA: {} })),
        _ => Err(PropertyError::UnknownComponent(component.to_owned())),
    }
}

/// What the digital twin shows, without what is desired only and without what is its own.
fn shown(record: &Record) -> Map<String, Value> {
    let Value::Object(mut all) = digital_twin::view(record) else { return Map::new() };
    all.remove("$dtId");
    let reported = &record.twin.reported.values;
    for_parts(&mut all, |component, part| {
        let said = match component {
            Some(component) => reported.get(component).and_then(Value::as_object),
            None => Some(reported),
        };
        if let Some(Value::Object(about)) = part.get_mut(METADATA) {
            about.remove("$model");
        }
        let is_said = |name: &String| said.is_some_and(|said| said.contains_key(name));
        part.retain(|name, value| name == METADATA || is_part(value) || is_said(name));
    });
    all
}

fn is_part(value: &Value) -> bool {
    value.get(METADATA).is_some()
}

/// The root, then each component.
fn for_parts(all: &mut Map<String, Value>, mut act: impl FnMut(Option<&str>, &mut Map<String, Value>)) {
    act(None, all);
    for (name, value) in all.iter_mut().filter(|(name, value)| *name != METADATA && is_part(value)) {
        if let Value::Object(part) = value {
            act(Some(name), part);
        }
    }
}

fn put_cloud(all: &mut Map<String, Value>, name: &str, value: &Value, capabilities: Option<&Capabilities>) {
    let is_component = capabilities.is_some_and(|capabilities| capabilities.part(Some(name)).is_some());
    match value {
        Value::Object(inner) if is_component => {
            let part = all.entry(name.to_owned()).or_insert_with(|| json!({ METADATA: {} }));
            if let Value::Object(part) = part {
                part.extend(inner.clone());
            }
        }
        value => drop(all.insert(name.to_owned(), value.clone())),
    }
}

fn keep_modeled(all: &mut Map<String, Value>, capabilities: &Capabilities) {
    all.retain(|name, value| !is_part(value) || name == METADATA || capabilities.part(Some(name)).is_some());
    for_parts(all, |component, part| {
        let Some(modeled) = capabilities.part(component) else { return };
        let is_modeled = |name: &String| modeled.property(name).is_some();
        part.retain(|name, value| name == METADATA || is_part(value) || is_modeled(name));
        if let Some(Value::Object(about)) = part.get_mut(METADATA) {
            about.retain(|name, _| is_modeled(name));
        }
    });
}

/// A write of properties, checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PropertyWrite {
    desired: Object,
    cloud: Object,
    /// The answer: what is desired now, under `$metadata`.
    pub said: Value,
}

impl PropertyWrite {
    /// As the twin takes it; nothing when nothing is written.
    #[must_use]
    pub fn twin(&self) -> Option<TwinWrite> {
        let merge = |patch: &Object| (!patch.is_empty()).then(|| SectionWrite::Merge(patch.clone()));
        let cloud = (!self.cloud.is_empty())
            .then(|| Object::from_iter([(TAG.to_owned(), json!({ "properties": self.cloud }))]));
        let write = TwinWrite { tags: cloud.map(SectionWrite::Merge), desired: merge(&self.desired) };
        (write.tags.is_some() || write.desired.is_some()).then_some(write)
    }
}

/// Reads a write of properties of a device, or of one of its components. Null takes a value away; with `is_replacement`
/// so does leaving a writable property out.
///
/// # Errors
/// [`PropertyError`] names the first that is wrong.
pub fn write_properties(
    record: &Record,
    profile: &Profile,
    capabilities: Option<&Capabilities>,
    component: Option<&str>,
    body: &Value,
    is_replacement: bool,
) -> Result<PropertyWrite, PropertyError> {
    let wrapped;
    let body = match component {
        Some(component) => {
            let is_known = match capabilities {
                Some(capabilities) => capabilities.part(Some(component)).is_some(),
                None => is_marked(record, component),
            };
            if !is_known {
                return Err(PropertyError::UnknownComponent(component.to_owned()));
            }
            wrapped = json!({ component: body });
            &wrapped
        }
        None => body,
    };
    let Value::Object(body) = body else { return Err(PropertyError::NotObject("the body".to_owned())) };
    let mut write = PropertyWrite::default();
    let mut said = Map::new();
    for (name, value) in body.iter().filter(|(name, _)| *name != METADATA) {
        let part = capabilities.and_then(|capabilities| capabilities.part(Some(name)));
        let is_component = part.is_some() || capabilities.is_none() && is_marked(record, name);
        if !is_component {
            put(capabilities.map(|all| &all.root), None, name, value, &mut write, &mut said)?;
            continue;
        }
        let Value::Object(inner) = value else { return Err(PropertyError::NotObject(name.clone())) };
        let mut said_inner = Map::new();
        for (inner_name, value) in inner.iter().filter(|(name, _)| *name != METADATA && *name != MARKER) {
            put(part, Some(name), inner_name, value, &mut write, &mut said_inner)?;
        }
        if !said_inner.is_empty() {
            said.insert(name.clone(), json!({ METADATA: said_inner }));
        }
    }
    if is_replacement {
        take_away_others(record, profile, capabilities, component, body, &mut write);
    }
    write.said = answer(said);
    if let Some(component) = component {
        write.said = write.said.get(component).cloned().unwrap_or_else(|| json!({ METADATA: {} }));
    }
    Ok(write)
}

fn is_marked(record: &Record, name: &str) -> bool {
    let twin = &record.twin;
    [&twin.desired.values, &twin.reported.values]
        .into_iter()
        .any(|section| section.get(name).is_some_and(|value| value.get(MARKER).is_some()))
}

/// What was written at the root goes under one `$metadata`, components stay.
fn answer(said: Map<String, Value>) -> Value {
    let (parts, root): (Map<_, _>, Map<_, _>) = said.into_iter().partition(|(_, value)| is_part(value));
    let mut all = parts;
    if !root.is_empty() {
        all.insert(METADATA.to_owned(), Value::Object(root));
    }
    Value::Object(all)
}

fn put(
    part: Option<&Part>,
    component: Option<&str>,
    name: &str,
    value: &Value,
    write: &mut PropertyWrite,
    said: &mut Map<String, Value>,
) -> Result<(), PropertyError> {
    let path = || component.map_or_else(|| name.to_owned(), |component| format!("{component}.{name}"));
    if name.starts_with('$') || name == MARKER {
        return Err(PropertyError::Unknown(path()));
    }
    let property = part.map(|part| part.property(name).ok_or_else(|| PropertyError::Unknown(path()))).transpose()?;
    if let Some(property) = property {
        if !property.is_writable && !property.is_cloud {
            return Err(PropertyError::ReadOnly(path()));
        }
        if !value.is_null() {
            property.schema.check(value).map_err(|why| PropertyError::Unfit(path(), why.to_string()))?;
        }
    }
    let is_cloud = property.is_some_and(|property| property.is_cloud);
    let section = if is_cloud { &mut write.cloud } else { &mut write.desired };
    set(section, component, name, value.clone(), !is_cloud);
    if !is_cloud {
        said.insert(name.to_owned(), json!({ "desiredValue": value }));
    }
    Ok(())
}

fn set(section: &mut Object, component: Option<&str>, name: &str, value: Value, is_marked: bool) {
    let Some(component) = component else {
        section.insert(name.to_owned(), value);
        return;
    };
    let marker = if is_marked { json!({ MARKER: "c" }) } else { json!({}) };
    if let Value::Object(part) = section.entry(component.to_owned()).or_insert(marker) {
        part.insert(name.to_owned(), value);
    }
}

/// Adds null for every value that is there, may be written and is not. What a body shows as desired in `$metadata`, as
/// it was read, is not left out.
fn take_away_others(
    record: &Record,
    profile: &Profile,
    capabilities: Option<&Capabilities>,
    only: Option<&str>,
    body: &Map<String, Value>,
    write: &mut PropertyWrite,
) {
    let is_shown = |component: Option<&str>, name: &str| {
        let part = match component {
            Some(component) => body.get(component).and_then(Value::as_object),
            None => Some(body),
        };
        let about = part.and_then(|part| part.get(METADATA)).and_then(|about| about.get(name));
        about.is_some_and(|about| about.get("desiredValue").is_some())
    };
    let is_written = |section: &Object, component: Option<&str>, name: &str| match component {
        Some(component) => section.get(component).is_some_and(|part| part.get(name).is_some()),
        None => section.contains_key(name),
    };
    let may = |component: Option<&str>, name: &str| match capabilities {
        None => true,
        Some(all) => all
            .part(component)
            .and_then(|part| part.property(name))
            .is_some_and(|property| property.is_writable || property.is_cloud),
    };
    for (values, is_cloud) in [(&record.twin.desired.values, false), (&profile.properties, true)] {
        for (component, name) in names(values, capabilities) {
            let section = if is_cloud { &mut write.cloud } else { &mut write.desired };
            let is_here = only.is_none_or(|only| component == Some(only));
            let is_left_out = !is_written(section, component, name) && (is_cloud || !is_shown(component, name));
            if is_here && may(component, name) && is_left_out {
                set(section, component, name, Value::Null, !is_cloud);
            }
        }
    }
}

/// Every property in a section, those of components with theirs.
fn names<'v>(values: &'v Object, capabilities: Option<&Capabilities>) -> Vec<(Option<&'v str>, &'v str)> {
    let mut all = vec![];
    for (name, value) in values.iter().filter(|(name, _)| !name.starts_with('$')) {
        let is_component =
            value.get(MARKER).is_some() || capabilities.is_some_and(|all| all.part(Some(name)).is_some());
        match value {
            Value::Object(inner) if is_component => {
                let inner = inner.keys().filter(|inner| *inner != MARKER);
                all.extend(inner.map(|inner| (Some(name.as_str()), inner.as_str())));
            }
            _ => all.push((None, name.as_str())),
        }
    }
    all
}

#[cfg(test)]
mod tests;
