//! Conditions over single attributes, so that a store need not read records whole to find those that match.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

use super::Record;
use crate::device::Status;

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

    /// What it looks at, beside the device's id and status.
    pub fn attributes(&self) -> &[Attribute] {
        &self.attributes
    }

    /// Whether it accepts a record.
    pub fn accepts(&self, glance: &Glance<'_>) -> bool {
        (self.accepts)(glance)
    }
}
