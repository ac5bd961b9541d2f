//! The IoT hub: registry, twins, cloud-to-device messages, direct methods, telemetry.
//!
//! The hub knows nothing of MQTT, AMQP or HTTP: a head turns frames into calls on [`Hub`]
//! and its answers into frames. It has no clock (`now` is an argument), no randomness
//! (see [`ports::Entropy`]) and no engine: what it needs from outside is in [`ports`].

pub mod authorities;
pub mod bulk;
pub mod c2d;
pub mod configuration;
mod configurations;
mod connect_signature;
pub mod connection;
pub mod device;
pub mod digital_twin;
mod document;
mod error;
pub mod event;
pub mod export;
pub mod faults;
pub mod feedback;
pub mod file_uploads;
mod hub;
pub mod job;
pub mod jobs;
pub mod json;
pub mod limits;
mod locks;
pub mod management;
mod messages;
mod methods;
pub mod owned;
pub mod policies;
pub mod ports;
mod registry;
pub mod rehearsal;
pub mod reports;
pub mod routing;
mod scopes;
mod search;
pub mod service_queue;
pub mod streams;
pub mod throttle;
pub mod twin;
mod twin_write;
mod twins;

pub use error::HubError;
pub use gantry_query::{Condition, Lookup, Query, QueryError, Uses};
pub use hub::{DisabledTokens, Hub, HubConfig, Ports, Presented, Principal, Session};
pub use locks::LockToken;
pub use messages::Taken;
pub use methods::MethodCall;
pub use search::{ItemType, QueryPage};
