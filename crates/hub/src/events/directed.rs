//! Events of others that go to endpoints by name, past the routes: those of the digital-twin graph, which has event routes
//! of its own.
//!
//! They are written into the log with their endpoints, as every event is, so whatever an endpoint promises holds for them.

use gantry_identity::{DeviceId, Identity, Timestamp};

use crate::error::HubError;
use crate::events::event::{Event, MessageSource, SystemProperties, Telemetry};
use crate::hub::Hub;
use crate::limits;
use crate::routing::{BUILT_IN, Destinations};

/// An event with the endpoints it goes to.
#[derive(Clone, Debug)]
pub struct Directed {
    /// Whose place in the log it takes: events of one stay in their order.
    pub about: String,
    /// The message id.
    pub id: String,
    /// Application properties.
    pub properties: Vec<(String, String)>,
    /// JSON.
    pub body: Vec<u8>,
    /// Names of endpoints; those that are not there any more are passed over.
    pub endpoints: Vec<String>,
}

/// Whose place events take that are about nothing a device could be called.
const NOBODY: &str = "digital-twins";

impl Hub {
    /// Whether there is an endpoint of a name.
    pub fn has_endpoint(&self, name: &str) -> bool {
        self.destination(name) != Destinations::NONE
    }

    fn destination(&self, name: &str) -> Destinations {
        if name == BUILT_IN {
            return Destinations::BUILT_IN;
        }
        let found = self.endpoints().into_iter().find(|one| one.endpoint.name == name);
        found.map_or(Destinations::NONE, |one| Destinations::of(one.number))
    }

    /// Appends events to the log, in order, and waits until they are durable. How many were larger than a message may be
    /// and are left out.
    ///
    /// # Errors
    /// When the log fails; events may be there then.
    pub async fn append_directed(&self, now: Timestamp, all: &[Directed]) -> Result<usize, HubError> {
        let nobody = DeviceId::parse(NOBODY)?;
        let mut made = Vec::with_capacity(all.len());
        let mut too_large = 0;
        for one in all {
            let destinations = one.endpoints.iter().map(|name| self.destination(name));
            let destinations = destinations.fold(Destinations::NONE, |all, one| all | one);
            if destinations == Destinations::NONE {
                continue;
            }
            let system = SystemProperties {
                message_id: Some(one.id.as_str().into()),
                content_type: Some("application/json".into()),
                content_encoding: Some("utf-8".into()),
                ..SystemProperties::default()
            };
            let properties = one.properties.iter().map(|(name, value)| (name.into(), Some(value.into()))).collect();
            let message = Telemetry { system, properties, body: &one.body };
            if message.size() > limits::D2C_BYTES_MAX {
                too_large += 1;
                continue;
            }
            let device = DeviceId::parse(&one.about).unwrap_or_else(|_| nobody.clone());
            made.push((Identity { device, module: None }, message, destinations));
        }
        let event = made.iter().map(|(identity, message, destinations)| Event {
            source: MessageSource::DigitalTwinChange,
            identity,
            generation_id: "",
            auth_method: "",
            model_id: None,
            enqueued_at: now,
            message,
            destinations: *destinations,
            added: vec![].into(),
        });
        let events: Vec<Event<'_>> = event.collect();
        if !events.is_empty() {
            self.log.ready().await;
            self.log.append(&events).await?;
        }
        Ok(too_large)
    }
}
