//! The IoT hub: registry, twins, cloud-to-device messages, direct methods, telemetry.
//!
//! The hub knows nothing of MQTT, AMQP or HTTP: a head turns frames into calls on [`Hub`]
//! and its answers into frames. It has no clock (`now` is an argument), no randomness
//! (see [`ports::Entropy`]) and no engine: what it needs from outside is in [`ports`].

mod access;
mod configurations;
mod connections;
pub mod delivery;
mod error;
mod events;
pub mod faults;
pub mod file_uploads;
mod hub;
pub mod import_export;
pub mod jobs;
pub mod json;
pub mod limits;
pub mod owned;
pub mod ports;
mod queues;
mod registry;
pub mod routing;
pub mod throttle;
mod twins;

pub use access::{DisabledTokens, Presented, Principal, Session, authorities, policies};
pub use configurations::{configuration, management};
pub use connections::methods::{MethodCall, MethodTimeouts};
pub use connections::{connection, streams};
pub use error::HubError;
pub use events::telemetry::Taken;
pub use events::{consumer_groups, directed, event, reports, rows};
pub use gantry_query::{Condition, Lookup, Query, QueryError, Uses};
pub use hub::{Hub, HubConfig, Ports};
pub use jobs::job;
pub use queues::locks::LockToken;
pub use queues::{c2d, feedback, service_queue};
pub use registry::search::{ItemType, QueryPage};
pub use registry::{bulk, device, export};
pub use twins::{digital_twin, twin};
