//! What the graph tells of its changes, in the shape of CloudEvents 1.0.
//!
//! Source: the reference's page on event notifications.

use gantry_hub::ports::PortFuture;
use gantry_identity::Timestamp;
use serde_json::{Value, json};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotificationKind {
    /// A twin was made.
    TwinCreate,
    /// A twin was changed.
    TwinUpdate,
    /// A twin was deleted.
    TwinDelete,
    /// A relationship was made.
    RelationshipCreate,
    /// A relationship was changed.
    RelationshipUpdate,
    /// A relationship was deleted.
    RelationshipDelete,
    /// Telemetry was sent on behalf of a twin.
    Telemetry,
}

impl NotificationKind {
    /// The type of the event.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TwinCreate => "Microsoft.DigitalTwins.Twin.Create",
            Self::TwinUpdate => "Microsoft.DigitalTwins.Twin.Update",
            Self::TwinDelete => "Microsoft.DigitalTwins.Twin.Delete",
            Self::RelationshipCreate => "Microsoft.DigitalTwins.Relationship.Create",
            Self::RelationshipUpdate => "Microsoft.DigitalTwins.Relationship.Update",
            Self::RelationshipDelete => "Microsoft.DigitalTwins.Relationship.Delete",
            Self::Telemetry => "microsoft.iot.telemetry",
        }
    }
}

/// An event of the graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Notification {
    /// What happened.
    pub kind: NotificationKind,
    /// Unique, but of telemetry, whose id its sender says.
    pub id: String,
    /// The twin it is about, or the source of the relationship.
    pub twin: String,
    /// The twin, `twin/relationships/id`, or nothing for telemetry.
    pub subject: String,
    /// When.
    pub time: Timestamp,
    /// What it says.
    pub data: Value,
    /// Of telemetry, the model that has it.
    pub dataschema: Option<String>,
}

/// Whoever takes events to where the event routes say.
pub trait Tell: Send + Sync {
    /// Whether there is an endpoint of a name.
    fn has_endpoint(&self, name: &str) -> bool;
    /// Takes events to the endpoints of the routes they fit, in order. An error says in words why not.
    fn tell(&self, events: Vec<Notification>) -> PortFuture<'_, (), String>;
}

impl Notification {
    /// The attributes of the event beside its data, as messages have them.
    #[must_use]
    pub fn attributes(&self, host: &str) -> Vec<(String, String)> {
        let Value::Object(event) = self.cloud_event(host) else { return vec![] };
        let texts = event.into_iter().filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())));
        texts.filter(|(name, _)| name != "data").map(|(name, value)| (format!("cloudEvents:{name}"), value)).collect()
    }

    /// The event as it is sent. `host` is where the graph is, without a scheme.
    #[must_use]
    pub fn cloud_event(&self, host: &str) -> Value {
        let mut event = json!({
            "specversion": "1.0",
            "id": self.id,
            "type": self.kind.name(),
            "source": self.source(host),
            "data": self.data,
            "time": self.time.to_string(),
            "datacontenttype": "application/json",
        });
        if self.kind != NotificationKind::Telemetry {
            event["subject"] = self.subject.clone().into();
        }
        if let Some(model) = &self.dataschema {
            event["dataschema"] = model.clone().into();
        }
        event
    }

    /// The `source` of the event: the graph, or the twin that sends telemetry.
    #[must_use]
    pub fn source(&self, host: &str) -> String {
        match self.kind {
            NotificationKind::Telemetry => format!("{host}/digitaltwins/{}", self.subject),
            _ => host.to_owned(),
        }
    }
}
