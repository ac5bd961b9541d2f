//! The socket protocols, MQTT and AMQP, of devices and of services.
//!
//! Over MQTT, hub and DPS share one address and port and are told apart by the user name of CONNECT; over AMQP a link's
//! address says whose it is. [`mqtt::serve`] and [`amqp::serve`] take any byte stream, so TLS sockets and WebSockets
//! are the same to them. This crate knows no storage: it calls `hub` and `provisioning` and translates words, codes
//! and errors into those of its protocols.

pub mod amqp;
pub mod hang_up;
pub mod mqtt;
pub mod newcomers;
pub mod tls;
mod twin;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use gantry_hub::ports::Append;
use gantry_hub::throttle::Operation;
use gantry_hub::{Hub, HubError, Taken};
use gantry_identity::{CertificateChain, Timestamp};
use gantry_provisioning::{DpsError, Instances};

use newcomers::Newcomer;

/// What the device side serves.
#[derive(Clone)]
pub struct Gateway {
    /// The hub.
    pub hub: Arc<Hub>,
    /// The provisioning service, and those beside it.
    pub provisioning: Instances,
    /// Every hub of the process: one address may serve several.
    hubs: Arc<[Arc<Hub>]>,
}

impl Gateway {
    /// A hub, those beside it, and the provisioning services.
    pub fn new(hub: Arc<Hub>, hubs: &[Arc<Hub>], provisioning: Instances) -> Self {
        Self { hub, provisioning, hubs: hubs.into() }
    }

    /// Every hub of the process.
    pub fn hubs(&self) -> &[Arc<Hub>] {
        &self.hubs
    }

    /// The gateway of the hub with a name; of this one when none has it.
    fn at(&self, host: &str) -> Self {
        let named = self.hubs.iter().find(|hub| hub.answers_to(host)).unwrap_or(&self.hub);
        Self { hub: Arc::clone(named), ..self.clone() }
    }
}

/// Status of a failed twin request of a device, over MQTT and AMQP.
pub fn twin_status(error: &HubError) -> u16 {
    twin::twin_code(error).0
}

/// Reason code and status of a failure, over MQTT 5.
pub fn mqtt_5_failure(error: &HubError) -> (u8, Option<&'static str>) {
    mqtt::failure_of_version_5(error)
}

/// Condition with which a message or link is refused over AMQP.
pub fn amqp_condition(error: &HubError) -> String {
    amqp::condition::of_hub(error).condition.to_string()
}

/// Condition with which a request to the provisioning service is rejected over AMQP.
pub fn amqp_dps_condition(error: &DpsError) -> String {
    amqp::dps::of_dps(error, now()).condition.to_string()
}

/// Waits the turn of an operation of a device, whatever it speaks.
async fn take_turn(hub: &Hub, operation: Operation) -> Result<(), HubError> {
    let wait = hub.admit(now(), operation, 1)?;
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    Ok(())
}

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Address, for logs and security events.
    pub address: String,
    /// What it presented in the TLS handshake.
    pub certificate: Option<CertificateChain>,
    /// Its place among those who have not proven who they are.
    pub place: Option<Newcomer>,
}

impl Peer {
    /// It proved who it is.
    fn is_known(&self) {
        if let Some(place) = &self.place {
            place.is_known();
        }
    }
}

/// Resolves when messages are durable and their sender has had its turn.
fn acknowledged(taken: Taken) -> Append {
    let Taken { append, wait } = taken;
    if wait.is_zero() {
        return append;
    }
    Box::pin(async move {
        append.await?;
        tokio::time::sleep(wait).await;
        Ok(())
    })
}

/// The wall clock.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
