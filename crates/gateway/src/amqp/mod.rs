//! AMQP 1.0: devices, services, and the Event Hubs compatible stream, all on one port and one kind of connection.
//!
//! [`serve`] takes any byte stream: TLS sockets and WebSockets are the same to it. It knows no storage; what it
//! needs is in [`ports`] and in the [`hub`](gantry_hub::Hub).
//!
//! One task serves a connection. `connection.rs` moves bytes, time and futures; `links.rs` decides what a link is
//! and who may have it; `requests.rs` answers `$cbs` and `$management`; `device/` has the identities of a connection
//! and their links; `dps.rs` has a device at the provisioning service; `c2d.rs`, `service_queue.rs` and `partition.rs` those of services. Whatever reads for a client is
//! asked only when its link has credit and the output is not piled up, so a slow client costs nobody else anything.
//!
//! Left out: publishing to the stream.

mod address;
mod c2d;
pub(crate) mod condition;
mod connection;
mod device;
pub(crate) mod dps;
mod event;
mod filter;
mod grants;
mod hub;
mod links;
mod management;
mod partition;
pub mod ports;
mod receivers;
mod requests;
mod routed;
mod service_queue;
mod tpm;

use std::io;
use std::sync::Arc;

use gantry_hub::Hub;
use gantry_hub::ports::EventSource;
use gantry_hub::ports::directory::Directory;
use gantry_hub::routing::{Destinations, EndpointKind};
use gantry_identity::Timestamp;
use gantry_provisioning::Instances;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use ports::{Authorizer, C2dSender};
pub use receivers::Receivers;

use crate::Peer;

/// What the AMQP heads of one hub share.
#[derive(Clone)]
pub struct AmqpContext {
    /// The hub's short name: the last part of user names in SASL PLAIN, `{policy}@sas.root.{hub}`.
    pub hub_name: String,
    /// Name of the stream: the first segment of its link addresses, `EntityPath` in connection strings.
    pub entity: String,
    /// Host that links to `/messages/events` are sent to.
    pub stream_host: String,
    /// And its port.
    pub stream_port: u16,
    /// The hub: devices, and the queues of services.
    pub hub: Arc<Hub>,
    /// The provisioning service: devices that do not know their hub yet.
    pub provisioning: Instances,
    /// Which services may come in.
    pub authorizer: Arc<dyn Authorizer>,
    /// Who takes tokens of directories; none when that is switched off.
    pub directory: Option<Arc<dyn Directory>>,
    /// The events.
    pub events: Arc<dyn EventSource>,
    /// Where cloud-to-device messages go.
    pub c2d: Arc<dyn C2dSender>,
    /// The receivers of all connections to this stream.
    pub receivers: Receivers,
    /// The wall clock.
    pub now: fn() -> Timestamp,
    /// Becomes `true` when connections shall close.
    pub shutdown: watch::Receiver<bool>,
}

impl AmqpContext {
    /// The streams that can be read, the built-in one first, and which events are theirs. They share partitions and
    /// numbers; each has the events that were routed to it.
    fn streams(&self) -> Vec<(String, Destinations)> {
        let own = self.hub.endpoints().into_iter().filter(|one| one.endpoint.kind == EndpointKind::OwnStream);
        let own = own.map(|one| (one.endpoint.name, Destinations::of(one.number)));
        std::iter::once((self.entity.clone(), Destinations::BUILT_IN)).chain(own).collect()
    }
}

/// Serves one connection until either end closes it.
///
/// # Errors
/// When the stream fails, or the peer does not read what is sent to it.
pub async fn serve<S>(stream: S, context: Arc<AmqpContext>, peer: Peer) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    // Boxed, because a future keeps room for what it passes on.
    Box::new(connection::Head::new(context, peer)).run(stream).await
}
