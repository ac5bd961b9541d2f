//! Port 5671 and AMQP over WebSocket: the event stream and cloud-to-device messages, joined with the log and the hub.

use std::sync::Arc;

use gantry_gateway::Peer;
use gantry_gateway::amqp::{AmqpContext, Receivers};
use gantry_hub::Hub;
use gantry_hub::ports::EventSource;
use gantry_hub::ports::directory::Directory;
use gantry_provisioning::Instances;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tracing::debug;

use crate::config::Config;

/// The AMQP heads and what they share.
#[derive(Clone)]
pub struct Amqp(Arc<AmqpContext>);

impl Amqp {
    /// Joins hub and events. Connections close when `shutdown` becomes `true`.
    pub fn new(
        config: &Config,
        hub: &Arc<Hub>,
        provisioning: &Instances,
        events: Arc<dyn EventSource>,
        directory: Option<Arc<dyn Directory>>,
        shutdown: watch::Receiver<bool>,
    ) -> Self {
        let (authorizer, c2d) = (Arc::clone(hub), Arc::clone(hub));
        Self(Arc::new(AmqpContext {
            hub_name: hub.name().to_owned(),
            // The stream has the hub's name, as `EntityPath` in `connection.env` says.
            entity: hub.name().to_owned(),
            stream_host: hub.host_name().to_owned(),
            stream_port: config.ports.amqp(),
            hub: Arc::clone(hub),
            provisioning: provisioning.clone(),
            authorizer,
            directory,
            events,
            c2d,
            receivers: Receivers::default(),
            now: gantry_gateway::now,
            shutdown,
        }))
    }

    /// Serves one connection until it ends.
    pub async fn connection(self, stream: impl AsyncRead + AsyncWrite + Send + Unpin, peer: Peer) {
        let address = peer.address.clone();
        if let Err(error) = gantry_gateway::amqp::serve(stream, self.0, peer).await {
            debug!(peer = %address, %error, "amqp connection broke");
        }
    }
}
