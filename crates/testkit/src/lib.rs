//! A platform of its own for each test, and client drivers that may misbehave.
//!
//! [`Platform`] runs the real binary; [`Device`] speaks MQTT over TLS packet by packet or byte
//! by byte; [`Service`] calls the REST API and [`C2dSender`] sends over AMQP; [`TokenServer`] runs apart from it; [`stored_events`]
//! reads the event log of a platform that has stopped; [`sim`] plays hub and storage under a seed. Only tests depend on this crate, so it
//! has a client of its own: the one of the command line must not be bent into sending nonsense.

mod c2d;
mod device;
mod events;
mod platform;
mod service;
pub mod sim;
mod token_server;

use std::time::Duration;

pub use c2d::C2dSender;
pub use device::{Device, Login, Received, TlsSocket, device_token};
pub use events::stored_events;
pub use platform::Platform;
pub use service::{Answer, Service};
pub use token_server::TokenServer;

/// How long anything that must come may take.
pub const PATIENCE: Duration = Duration::from_secs(40);
