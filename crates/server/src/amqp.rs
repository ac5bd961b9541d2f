//! Port 5671 and AMQP over WebSocket: the event stream and cloud-to-device messages, joined with the log and the hub.

use std::sync::Arc;

use gantry_gateway::Peer;
use gantry_gateway::amqp::ports::{EventReader, EventStream, PartitionProperties, StartPosition, StreamError};
use gantry_gateway::amqp::{AmqpContext, Receivers};
use gantry_hub::Hub;
use gantry_hub::event::StoredEvent;
use gantry_hub::ports::{EventCursor, EventSource as _, PortFuture, Start};
use gantry_hub::routing::{Destinations, Endpoint, EndpointKind};
use gantry_identity::Timestamp;
use gantry_provisioning::Instances;
use gantry_storage::Events;
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
        events: Events,
        shutdown: watch::Receiver<bool>,
    ) -> Self {
        let (authorizer, c2d) = (Arc::clone(hub), Arc::clone(hub));
        Self(Arc::new(AmqpContext {
            hub_name: hub.name().to_owned(),
            // The stream has the hub's name, as `EntityPath` in `connection.env` says.
            entity: hub.name().to_owned(),
            stream_host: hub.host_name().to_owned(),
            stream_port: config.ports.amqp(),
            consumer_groups: config.hub.consumer_groups.clone(),
            hub: Arc::clone(hub),
            provisioning: provisioning.clone(),
            authorizer,
            stream: Arc::new(LogStream { events, hub: Arc::clone(hub) }),
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

/// An event with what routing added for an endpoint.
pub fn enriched(mut event: StoredEvent, endpoint: Destinations) -> StoredEvent {
    for added in std::mem::take(&mut event.added) {
        if added.destinations.meets(endpoint) {
            event.properties.push((added.name, Some(added.value)));
        }
    }
    event
}

/// The event log behind the port.
struct LogStream {
    events: Events,
    hub: Arc<Hub>,
}

impl LogStream {
    /// The endpoint of a name.
    fn endpoint(&self, entity: &str) -> Option<Destinations> {
        if entity.eq_ignore_ascii_case(self.hub.name()) {
            return Some(Destinations::BUILT_IN);
        }
        let is_it = |endpoint: &Endpoint| {
            endpoint.kind == EndpointKind::OwnStream && endpoint.name.eq_ignore_ascii_case(entity)
        };
        self.hub.endpoints().iter().find(|one| is_it(&one.endpoint)).map(|one| Destinations::of(one.number))
    }
}

impl EventStream for LogStream {
    fn entities(&self) -> Vec<String> {
        let own = self.hub.endpoints().into_iter().map(|one| one.endpoint);
        let own = own.filter(|endpoint| endpoint.kind == EndpointKind::OwnStream);
        std::iter::once(self.hub.name().to_owned()).chain(own.map(|endpoint| endpoint.name)).collect()
    }

    fn partitions(&self) -> u16 {
        self.events.partitions()
    }

    fn created_at(&self) -> Timestamp {
        self.events.created_at()
    }

    fn partition_properties(&self, partition: u16) -> Option<PartitionProperties> {
        let state = self.events.state(partition)?;
        Some(PartitionProperties {
            begin_sequence_number: state.begin,
            last_enqueued: state.last,
            is_empty: state.is_empty,
        })
    }

    fn reader(&self, entity: &str, partition: u16, start: StartPosition) -> Option<Box<dyn EventReader>> {
        let start = match start {
            StartPosition::Earliest => Start::Earliest,
            StartPosition::Latest => Start::Latest,
            StartPosition::Sequence { number, inclusive } => Start::At(number.saturating_add(u64::from(!inclusive))),
            StartPosition::EnqueuedAfter(at) => Start::After(at),
        };
        let endpoint = self.endpoint(entity)?;
        Some(Box::new(PartitionReader { cursor: self.events.cursor(partition, start)?, endpoint }))
    }
}

/// What was routed to one endpoint, in order.
struct PartitionReader {
    cursor: Box<dyn EventCursor>,
    endpoint: Destinations,
}

impl EventReader for PartitionReader {
    fn next_batch(&mut self, events_max: usize, bytes_max: usize) -> PortFuture<'_, Vec<StoredEvent>, StreamError> {
        Box::pin(async move {
            loop {
                match self.cursor.next(events_max, bytes_max).await {
                    Ok(Some(batch)) => {
                        let routed = batch.events.into_iter().filter(|event| event.destinations.meets(self.endpoint));
                        let events: Vec<_> = routed.map(|event| enriched(event, self.endpoint)).collect();
                        // None when all went elsewhere, or were lost to retention or damage, as the log says there.
                        if !events.is_empty() {
                            return Ok(events);
                        }
                        // Far behind, with little for this endpoint: others want the thread too.
                        tokio::task::yield_now().await;
                    }
                    Ok(None) => return Err(StreamError::Closed),
                    Err(error) => return Err(StreamError::Failed(error.to_string())),
                }
            }
        })
    }
}
