//! Message routing's senders: from the event log to endpoints that are not views of it.
//!
//! Each endpoint has a reader of its own on every partition, with its own place in the log, so
//! a slow or dead endpoint costs nobody else anything. Places are saved after deliveries, so a
//! restart repeats some events and loses none.

mod container;
mod queue;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use container::Container;
use gantry_blobs::{Blobs, ContainerName, Place};
use gantry_endpoints::storage::StorageBatch;
use gantry_endpoints::{EventGrid, Sink};
use gantry_hub::Hub;
use gantry_hub::delivery::DeliveryError;
use gantry_hub::ports::{Batch, Checkpoints, EventSource, Start};
use gantry_hub::routing::{Destinations, EndpointKind, InUse};
use gantry_identity::Timestamp;
use queue::Queue;
use rand::Rng as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::blobs::StorageAccount;
use crate::config::Config;
use crate::follow::{Checkpoint, Consumer, Follower};

/// First and longest pause between attempts.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A new endpoint begins this much before it was made, because its first events may carry an earlier time.
const HEAD_START: Duration = Duration::from_secs(10);

/// The senders of every endpoint.
pub struct Dispatch {
    hub: Arc<Hub>,
    events: Arc<dyn EventSource>,
    checkpoints: Arc<dyn Checkpoints>,
    blobs: Arc<Blobs>,
    client: reqwest::Client,
    base: String,
}

impl Dispatch {
    /// Joins hub and log.
    ///
    /// # Errors
    /// When our own CA cannot be read.
    pub fn new(
        config: &Config,
        hub: Arc<Hub>,
        events: Arc<dyn EventSource>,
        checkpoints: Arc<dyn Checkpoints>,
        blobs: Arc<Blobs>,
    ) -> anyhow::Result<Self> {
        let ca = std::fs::read(config.ca_file())?;
        let client = gantry_endpoints::client(Some(&ca)).map_err(anyhow::Error::msg)?;
        let port = config.ports.https();
        let port = if port == 443 { String::new() } else { format!(":{port}") };
        let base = format!("https://{}{port}", hub.host_name());
        Ok(Self { hub, events, checkpoints, blobs, client, base })
    }

    /// Runs until `stopped`: starts senders of new endpoints and ends those of endpoints that are gone or changed.
    pub async fn run(self, mut stopped: watch::Receiver<bool>) {
        let mut changes = self.hub.routing_changes();
        let mut running: HashMap<String, (InUse, JoinSet<()>)> = HashMap::new();
        while !*stopped.borrow() {
            changes.borrow_and_update();
            let wanted: Vec<InUse> =
                self.hub.endpoints().into_iter().filter(|one| one.endpoint.kind != EndpointKind::OwnStream).collect();
            for (one, tasks) in running.extract_if(|_, (one, _)| !wanted.contains(one)).map(|(_, old)| old) {
                self.forget(&one, tasks).await;
            }
            for one in wanted {
                if !running.contains_key(&one.endpoint.name) {
                    let tasks = self.start(&one);
                    running.insert(one.endpoint.name.clone(), (one, tasks));
                }
            }
            tokio::select! {
                _ = changes.changed() => {}
                // Nobody is left to say so.
                still = stopped.changed() => if still.is_err() { break },
            }
        }
    }

    fn start(&self, one: &InUse) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for partition in 0..self.events.partitions() {
            let sink = match self.sink(one, partition) {
                Ok(sink) => sink,
                Err(error) => {
                    self.hub.note_delivery(gantry_gateway::now(), &one.endpoint.name, Err(format!("{error:#}")));
                    continue;
                }
            };
            let sender = Sender {
                hub: Arc::clone(&self.hub),
                name: one.endpoint.name.clone(),
                endpoint: Destinations::of(one.number),
                partition,
                sink,
                is_holding: false,
            };
            let since = one.since.as_millis().saturating_sub(i64::try_from(HEAD_START.as_millis()).unwrap_or(0));
            let follower = Follower {
                name: one.endpoint.name.clone(),
                events: Arc::clone(&self.events),
                partition,
                start: Start::After(Timestamp::from_millis(since)),
                place: Some((Arc::clone(&self.checkpoints), place_name(one, partition))),
            };
            tasks.spawn(follower.run(sender));
        }
        info!(endpoint = %one.endpoint.name, "sending to endpoint");
        tasks
    }

    fn sink(&self, one: &InUse, partition: u16) -> anyhow::Result<Box<dyn Sink>> {
        match &one.endpoint.kind {
            EndpointKind::OwnStream | EndpointKind::Elsewhere => bail!("nothing is sent to such an endpoint"),
            EndpointKind::Webhook { url } => {
                let (client, hub) = (self.client.clone(), Arc::clone(&self.hub));
                Ok(Box::new(EventGrid::new(client, url.clone(), hub, self.base.clone())))
            }
            EndpointKind::Storage(settings) => {
                let name = ContainerName::parse(&settings.container_name).context("containerName")?;
                let place = match &settings.connection_string {
                    None => Place::Own(Arc::clone(&self.blobs), name),
                    Some(text) => Place::Elsewhere(StorageAccount::parse(text)?.container(name.as_str())?),
                };
                let endpoint = Destinations::of(one.number);
                let batch = StorageBatch::new(settings, self.hub.name(), partition, endpoint)?;
                Ok(Box::new(Container::new(batch, place)))
            }
            EndpointKind::OwnQueue | EndpointKind::OwnTopic { .. } => {
                Ok(Box::new(Queue::new(Arc::clone(&self.hub), one.queues())))
            }
        }
    }

    /// Ends the senders of an endpoint; removes their places when it is gone, and not only set otherwise.
    async fn forget(&self, one: &InUse, mut tasks: JoinSet<()>) {
        tasks.shutdown().await;
        let same = |other: &&InUse| (other.number, other.since) == (one.number, one.since);
        let endpoints = self.hub.endpoints();
        let successor = endpoints.iter().find(same);
        let kept = successor.map(InUse::queues).unwrap_or_default();
        for queue in one.queues().into_iter().filter(|queue| !kept.contains(queue)) {
            if let Err(error) = self.hub.drop_routed(queue).await {
                warn!(%error, "messages of a deleted queue stay");
            }
        }
        if successor.is_some() {
            return;
        }
        for partition in 0..self.events.partitions() {
            // Taken first: a sender that was ended may still be saving it.
            let removed = match Checkpoint::take(Arc::clone(&self.checkpoints), place_name(one, partition)).await {
                Ok(place) => place.remove().await,
                Err(error) => Err(error),
            };
            if let Err(error) = removed {
                warn!(%error, "place of a deleted endpoint stays");
            }
        }
    }
}

fn place_name(one: &InUse, partition: u16) -> String {
    format!("route-{}-{}-{partition}", one.number, one.since.as_millis())
}

/// Sends one partition to one endpoint.
struct Sender {
    hub: Arc<Hub>,
    name: String,
    endpoint: Destinations,
    partition: u16,
    sink: Box<dyn Sink>,
    /// The sink has events that were not sent.
    is_holding: bool,
}

impl Consumer for Sender {
    const BATCH_EVENTS: usize = 256;

    fn has_room(&self) -> bool {
        self.sink.has_room()
    }

    fn take(&mut self, batch: Batch) {
        let now = gantry_gateway::now();
        for event in batch.events.into_iter().filter_map(|event| event.routed_to(self.endpoint)) {
            self.is_holding = true;
            self.sink.push(now, event);
        }
    }

    async fn work(&mut self) {
        if self.sink.is_due(gantry_gateway::now()) {
            self.flush().await;
            self.is_holding = false;
        }
    }

    fn is_done(&self) -> bool {
        !self.is_holding
    }
}

impl Sender {
    /// Sends until it worked.
    async fn flush(&mut self) {
        let mut pause = PAUSE_MIN;
        loop {
            let outcome = self.sink.flush(gantry_gateway::now()).await;
            let words = match &outcome {
                Ok(()) => Ok(()),
                Err(error) => Err(error.to_string()),
            };
            self.hub.note_delivery(gantry_gateway::now(), &self.name, words);
            match outcome {
                Ok(()) => return,
                Err(DeliveryError::Never(error)) => {
                    warn!(endpoint = %self.name, %error, "events dropped: the receiver will never take them");
                    metrics::counter!("gantry_routing_dropped").increment(1);
                }
                Err(DeliveryError::Again(error)) => {
                    warn!(endpoint = %self.name, partition = self.partition, %error, "events not delivered yet");
                    let jitter = rand::rng().random_range(0.8..1.2);
                    tokio::time::sleep(pause.mul_f64(jitter)).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }
}
