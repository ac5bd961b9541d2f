//! What changes between two states of a published device template.
//!
//! Additions, names for people, units, and everything about cloud properties, which no device knows, may change while
//! devices use a template. What a device may rely on may not: that needs a template of a new version.

use std::fmt;

use super::capabilities::{Capabilities, Command, Field, Part, Property, Schema, Telemetry};

/// Changes listed; a caller who sees so many knows enough.
pub const CHANGES_MAX: usize = 100;

/// A change that devices would not survive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Breaking {
    /// The capability, with its component before a dot; empty for the whole.
    pub path: String,
    /// What happens to it.
    pub what: &'static str,
}

impl fmt::Display for Breaking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(self.what),
            path => write!(f, "`{path}` {}", self.what),
        }
    }
}

/// Changes from `old` to `new` that break, at most [`CHANGES_MAX`].
#[must_use]
pub fn breaking(old: &Capabilities, new: &Capabilities) -> Vec<Breaking> {
    let mut found = Found(vec![]);
    if old.model_id != new.model_id {
        found.add("", "the id of the model changes");
    }
    for part in old.parts() {
        match new.part(part.name.as_deref()) {
            Some(after) => found.part(part, after),
            None => found.add(part.name.as_deref().unwrap_or_default(), "is no component any more"),
        }
    }
    found.0
}

struct Found(Vec<Breaking>);

impl Found {
    fn add(&mut self, path: &str, what: &'static str) {
        if self.0.len() < CHANGES_MAX {
            self.0.push(Breaking { path: path.to_owned(), what });
        }
    }

    fn note(&mut self, part: &Part, name: &str, what: Option<&'static str>) {
        let Some(what) = what else { return };
        match &part.name {
            Some(component) => self.add(&format!("{component}.{name}"), what),
            None => self.add(name, what),
        }
    }

    fn part(&mut self, old: &Part, new: &Part) {
        for one in &old.telemetry {
            self.note(old, &one.name, telemetry(one, new.telemetry(&one.name)));
        }
        for one in old.properties.iter().filter(|one| !one.is_cloud) {
            self.note(old, &one.name, property(one, new.property(&one.name)));
        }
        for one in &old.commands {
            self.note(old, &one.name, command(one, new.command(&one.name)));
        }
        for one in &old.relationships {
            let after = new.relationships.iter().find(|other| other.name == one.name);
            let is_same = after.is_some_and(|after| after.target == one.target);
            self.note(old, &one.name, (!is_same).then_some("is not that relationship any more"));
        }
    }
}

fn telemetry(old: &Telemetry, new: Option<&Telemetry>) -> Option<&'static str> {
    let Some(new) = new else { return Some("is no telemetry any more") };
    (!fits(&old.schema, &new.schema)).then_some("gets another schema")
}

fn property(old: &Property, new: Option<&Property>) -> Option<&'static str> {
    match new {
        None => Some("is no property any more"),
        Some(new) if new.is_cloud => Some("becomes a cloud property"),
        Some(new) if new.is_writable != old.is_writable => Some("changes whether it can be written"),
        Some(new) => (!fits(&old.schema, &new.schema)).then_some("gets another schema"),
    }
}

fn command(old: &Command, new: Option<&Command>) -> Option<&'static str> {
    match new {
        None => Some("is no command any more"),
        Some(new) if new.is_durable != old.is_durable => Some("changes whether it is queued"),
        Some(new) if !same_payload(old.request.as_ref(), new.request.as_ref()) => Some("gets another request"),
        Some(new) => (!same_payload(old.response.as_ref(), new.response.as_ref())).then_some("gets another response"),
    }
}

fn same_payload(old: Option<&Field>, new: Option<&Field>) -> bool {
    match (old, new) {
        (None, None) => true,
        (Some(old), Some(new)) => fits(&old.schema, &new.schema),
        _ => false,
    }
}

/// Whether values of the old schema are ones of the new: values of an enumeration and fields may be added.
fn fits(old: &Schema, new: &Schema) -> bool {
    match (old, new) {
        (Schema::Enum(old), Schema::Enum(new)) => {
            old.iter().all(|one| new.iter().any(|other| other.value == one.value && other.name == one.name))
        }
        (Schema::Object(old), Schema::Object(new)) => {
            old.iter().all(|one| new.iter().any(|other| other.name == one.name && fits(&one.schema, &other.schema)))
        }
        (Schema::Map(old), Schema::Map(new)) | (Schema::Array(old), Schema::Array(new)) => fits(old, new),
        (old, new) => old == new,
    }
}
