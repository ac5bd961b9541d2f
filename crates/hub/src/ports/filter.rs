//! Conditions over single attributes, so that a store need not read records whole to find those that match.

use std::borrow::Cow;
use std::sync::Arc;

use gantry_query::{Document, Operand, Query, Step, find};
use serde_json::Value;

use super::Record;
use crate::registry::device::Status;

/// A part of a twin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `tags`.
    Tags,
    /// The values of `properties.desired`.
    Desired,
    /// The values of `properties.reported`.
    Reported,
}

/// An attribute that can be read by itself: a member of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Of which.
    pub part: Part,
    /// Its name there.
    pub name: String,
}

/// What a filter looks at of one record.
#[derive(Debug)]
pub struct Glance<'r> {
    /// Device id.
    pub device_id: &'r str,
    /// Whether the identity may connect.
    pub is_enabled: bool,
    /// The filter's attributes, in their order, as far as they are there.
    pub values: Vec<Option<Cow<'r, Value>>>,
}

impl<'r> Glance<'r> {
    /// At a record that was read whole.
    pub fn at(record: &'r Record, attributes: &[Attribute]) -> Self {
        let twin = &record.twin;
        let value = |Attribute { part, name }: &Attribute| match part {
            Part::Tags => twin.tags.get(name),
            Part::Desired => twin.desired.values.get(name),
            Part::Reported => twin.reported.values.get(name),
        };
        Self {
            device_id: record.device.identity.device.as_str(),
            is_enabled: record.device.status == Status::Enabled,
            values: attributes.iter().map(|attribute| value(attribute).map(Cow::Borrowed)).collect(),
        }
    }
}

type Accepts = dyn Fn(&Glance<'_>) -> bool + Send + Sync;

/// A condition over attributes.
#[derive(Clone)]
pub struct Filter {
    attributes: Arc<[Attribute]>,
    accepts: Arc<Accepts>,
}

impl Filter {
    /// A filter that looks at these attributes.
    pub fn new(attributes: Vec<Attribute>, accepts: impl Fn(&Glance<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self { attributes: attributes.into(), accepts: Arc::new(accepts) }
    }

    /// The condition of a query, when single attributes are all it looks at.
    pub fn of(query: &Query) -> Option<Self> {
        let mut attributes = vec![];
        for path in query.looks_at() {
            if is_field(path, "deviceId") || is_field(path, "status") {
                continue;
            }
            let (part, name, _) = attribute(path)?;
            let attribute = Attribute { part, name: name.to_owned() };
            if !attributes.contains(&attribute) {
                attributes.push(attribute);
            }
        }
        let (query, known) = (query.clone(), attributes.clone());
        Some(Self::new(attributes, move |glance| query.matches(&Glanced { attributes: &known, glance })))
    }

    /// What it looks at, beside the device's id and status.
    pub fn attributes(&self) -> &[Attribute] {
        &self.attributes
    }

    /// Whether it accepts a record.
    pub fn accepts(&self, glance: &Glance<'_>) -> bool {
        (self.accepts)(glance)
    }
}

/// The attribute a place begins with, when it can be read by itself; the place's further steps lead on from there.
fn attribute(path: &[Step]) -> Option<(Part, &str, &[Step])> {
    match path {
        [Step::Name(tags), Step::Name(name), rest @ ..] if tags == "tags" => Some((Part::Tags, name, rest)),
        [Step::Name(properties), Step::Name(section), Step::Name(name), rest @ ..]
            if properties == "properties" && !name.starts_with('$') =>
        {
            match section.as_str() {
                "desired" => Some((Part::Desired, name, rest)),
                "reported" => Some((Part::Reported, name, rest)),
                _ => None,
            }
        }
        _ => None,
    }
}

fn is_field(path: &[Step], field: &str) -> bool {
    matches!(path, [Step::Name(name)] if name == field)
}

/// A record as a filter sees it; answers the places the filter was made for.
struct Glanced<'g> {
    attributes: &'g [Attribute],
    glance: &'g Glance<'g>,
}

impl Document for Glanced<'_> {
    fn value(&self, path: &[Step]) -> Operand<'_> {
        if is_field(path, "deviceId") {
            return self.glance.device_id.into();
        }
        if is_field(path, "status") {
            return if self.glance.is_enabled { Status::Enabled } else { Status::Disabled }.as_str().into();
        }
        let Some((part, name, rest)) = attribute(path) else { return Operand::Undefined };
        let at = self.attributes.iter().position(|attribute| attribute.part == part && attribute.name == name);
        let value = at.and_then(|at| self.glance.values[at].as_deref());
        value.and_then(|value| find(value, rest)).into()
    }

    fn whole(&self) -> Value {
        Value::Null
    }
}
