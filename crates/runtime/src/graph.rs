//! The digital-twin graph of a hub: where it is kept, where its events go, the files its jobs read, and what devices say.
//!
//! Events of the graph go into the hub's log with the endpoints its event routes chose. A [`Feeder`] follows each
//! partition of the log and turns what a device sends and reports into the properties of its twin; it writes batches, so
//! that many messages cost one write.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gantry_api::{Api, Routes, WallClock};
use gantry_graph::feed::{TAG, patch_of};
use gantry_graph::{Files, Graph, Item, Jobs, Many, Notification, Patch, Tell};
use gantry_graph_api::Service;
use gantry_hub::Hub;
use gantry_hub::directed::Directed;
use gantry_hub::event::{MessageSource, StoredEvent};
use gantry_hub::import_export::{Containers, Pieces, Purpose};
use gantry_hub::ports::{Batch, Checkpoints, Documents, EventSource, PortFuture, Start};
use gantry_identity::Timestamp;
use gantry_storage::{Database, Events};
use rand::Rng as _;
use serde_json::{Map, Value};
use tokio::sync::watch;
use tracing::{error, warn};

use crate::blobs::SignedContainers;
use crate::config::Config;
use crate::follow::{Consumer, Follower};
use crate::unit::SystemEntropy;

/// Events of one device stay in order whatever their twin is called.
const BATCH_EVENTS: usize = 500;
/// Pause after a batch could not be written.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// A graph with what is around it.
pub struct OfHub {
    /// What there is.
    pub graph: Arc<Graph>,
    jobs: Arc<Jobs>,
    tell: Arc<Told>,
    hub: Arc<Hub>,
}

impl OfHub {
    /// Reads the graph of a hub, and ends jobs of the last run.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub async fn open(
        config: &Config,
        hub: &Arc<Hub>,
        database: &Arc<Database>,
        containers: SignedContainers,
    ) -> anyhow::Result<Self> {
        let documents: Arc<dyn Documents> = Arc::<Database>::clone(database);
        let (twins_max, relationships_max) = (config.graph.twins_max, config.graph.relationships_max);
        let graph = Arc::new(Graph::load(documents, twins_max, relationships_max).await?);
        let tell = Arc::new(Told { hub: Arc::clone(hub), graph: Arc::clone(&graph) });
        let files = Arc::new(OwnFiles { hub: Arc::clone(hub), containers });
        let jobs = Jobs::new(
            Arc::clone(&graph),
            files,
            Arc::<Told>::clone(&tell),
            Arc::new(WallClock),
            Arc::new(SystemEntropy),
        );
        jobs.settle().await?;
        Ok(Self { graph, jobs: Arc::new(jobs), tell, hub: Arc::clone(hub) })
    }

    /// The routes of its API.
    pub fn routes(&self, api: Arc<Api>) -> Routes {
        let (graph, jobs) = (Arc::clone(&self.graph), Arc::clone(&self.jobs));
        let tell: Arc<dyn Tell> = Arc::<Told>::clone(&self.tell);
        gantry_graph_api::routes(Arc::new(Service { api, graph, jobs, tell }))
    }

    /// Follows what devices say, until `stopped` changes.
    pub async fn follow(self: Arc<Self>, events: Arc<Events>, mut stopped: watch::Receiver<bool>) {
        let started = gantry_gateway::now();
        let mut followers = tokio::task::JoinSet::new();
        for partition in 0..EventSource::partitions(&*events) {
            let source: Arc<dyn EventSource> = Arc::<Events>::clone(&events);
            let places: Arc<dyn Checkpoints> = Arc::<Events>::clone(&events);
            let follower = Follower {
                name: "digital twins".into(),
                events: source,
                partition,
                start: Start::After(started),
                place: Some((places, format!("digital-twins-{partition}"))),
            };
            followers.spawn(follower.run(Feeder { of: Arc::clone(&self), waiting: vec![] }));
        }
        let _ = stopped.changed().await;
        followers.shutdown().await;
    }
}

/// Takes events of the graph into the hub's log.
struct Told {
    hub: Arc<Hub>,
    graph: Arc<Graph>,
}

impl Tell for Told {
    fn has_endpoint(&self, name: &str) -> bool {
        self.hub.has_endpoint(name)
    }

    fn tell(&self, events: Vec<Notification>) -> PortFuture<'_, (), String> {
        Box::pin(async move {
            let host = self.hub.host_name();
            let directed = events.iter().filter_map(|event| {
                let endpoints = self.graph.endpoints_of(event, host);
                (!endpoints.is_empty()).then(|| Directed {
                    about: event.twin.clone(),
                    id: event.id.clone(),
                    properties: event.attributes(host),
                    body: event.data.to_string().into_bytes(),
                    endpoints,
                })
            });
            let directed: Vec<Directed> = directed.collect();
            let outcome = self.hub.append_directed(gantry_gateway::now(), &directed).await;
            match outcome {
                Ok(0) => Ok(()),
                Ok(too_large) => Err(format!("{too_large} events are larger than a message may be")),
                Err(error) => Err(error.to_string()),
            }
        })
    }
}

/// Blobs of ours that jobs name by addresses with a signature for their container.
struct OwnFiles {
    hub: Arc<Hub>,
    containers: SignedContainers,
}

impl OwnFiles {
    /// The address of the container, and the name of the blob.
    fn split(&self, uri: &str) -> Result<(String, String), String> {
        let url = url::Url::parse(uri).map_err(|_| "the address of the file is not a URL".to_owned())?;
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        if !self.hub.answers_to(&host) {
            return Err("the file must be in the blob store of this platform".into());
        }
        let path = url.path().trim_start_matches('/');
        let own = format!("{}/", self.containers.blobs.account().name);
        let (account, rest) = match path.strip_prefix(&own) {
            Some(rest) => (own.as_str(), rest),
            None => ("", path),
        };
        let (container, name) = rest.split_once('/').ok_or("the address names a container and a file in it")?;
        let name = percent_encoding_decoded(name)?;
        let mut of_container = url.clone();
        of_container.set_path(&format!("{account}{container}"));
        Ok((of_container.to_string(), name))
    }

    async fn open(
        &self,
        uri: &str,
        purpose: Purpose,
    ) -> Result<(Arc<dyn gantry_hub::import_export::Container>, String), String> {
        let (container, name) = self.split(uri)?;
        Ok((self.containers.open(&container, purpose).await?, name))
    }
}

fn percent_encoding_decoded(text: &str) -> Result<String, String> {
    let decoded = url::form_urlencoded::parse(format!("x={}", text.replace('+', "%2B").replace('&', "%26")).as_bytes())
        .next()
        .map(|(_, value)| value.into_owned());
    decoded.filter(|name| !name.is_empty()).ok_or_else(|| "the address names no file".to_owned())
}

impl Files for OwnFiles {
    fn check<'a>(&'a self, input: &'a str, output: &'a str) -> PortFuture<'a, (), String> {
        Box::pin(async move {
            let (container, name) =
                self.open(input, Purpose::Read).await.map_err(|error| format!("inputBlobUri: {error}"))?;
            container.length(&name).await.map_err(|error| format!("inputBlobUri: {error}"))?;
            self.open(output, Purpose::Write).await.map_err(|error| format!("outputBlobUri: {error}"))?;
            Ok(())
        })
    }

    fn read<'a>(&'a self, uri: &'a str) -> PortFuture<'a, Pieces, String> {
        Box::pin(async move {
            let (container, name) = self.open(uri, Purpose::Read).await?;
            container.read(&name).await
        })
    }

    fn write<'a>(&'a self, now: Timestamp, uri: &'a str, text: Vec<u8>) -> PortFuture<'a, (), String> {
        Box::pin(async move {
            let (container, name) = self.open(uri, Purpose::Write).await?;
            let piece: Result<bytes::Bytes, String> = Ok(text.into());
            container.write(now, &name, Box::pin(futures::stream::iter([piece]))).await
        })
    }
}

/// Turns what devices of a partition say into properties of twins.
struct Feeder {
    of: Arc<OfHub>,
    waiting: Vec<StoredEvent>,
}

/// What a device says in an event, and which component says it.
fn said(event: &StoredEvent) -> Option<Map<String, Value>> {
    if event.identity.module.is_some() {
        return None;
    }
    let body = || serde_json::from_slice::<Value>(&event.body).ok();
    match event.source {
        MessageSource::Telemetry => match body()? {
            Value::Object(said) => Some(said),
            _ => None,
        },
        MessageSource::TwinChange => match body()?.get_mut("properties")?.get_mut("reported")?.take() {
            Value::Object(mut said) => {
                said.retain(|name, _| !name.starts_with('$'));
                Some(said)
            }
            _ => None,
        },
        _ => None,
    }
}

impl Feeder {
    /// The twin of a device: the one its tag names, or of its id.
    async fn twin_of(&self, event: &StoredEvent) -> String {
        let id = event.identity.device.as_str();
        match self.of.hub.record(&event.identity).await {
            Ok(record) => record.twin.tags.get(TAG).and_then(Value::as_str).unwrap_or(id).to_owned(),
            Err(_) => id.to_owned(),
        }
    }

    async fn write(&self) -> Result<(), String> {
        let mut twins: BTreeMap<&str, String> = BTreeMap::new();
        let mut patches: BTreeMap<String, Vec<Patch>> = BTreeMap::new();
        for event in &self.waiting {
            let Some(said) = said(event) else { continue };
            let device = event.identity.device.as_str();
            if !twins.contains_key(device) {
                twins.insert(device, self.twin_of(event).await);
            }
            let Some(twin) = twins.get(device) else { continue };
            let component = event.system.subject.as_deref();
            let patch = patch_of(&self.of.graph.read(), twin, component, &said, Some(event.enqueued_at));
            if let Some(patch) = patch {
                patches.entry(twin.clone()).or_default().push(patch);
            }
        }
        if patches.is_empty() {
            return Ok(());
        }
        let together = |(twin, patches): (&String, &Vec<Patch>)| {
            let mut all = Patch::default();
            patches.iter().for_each(|patch| all.extend(patch.clone()));
            Item::Patch(twin.clone(), all)
        };
        let items: Vec<Item> = patches.iter().map(together).collect();
        let (outcomes, mut events) = self.put(&items).await?;
        for ((twin, patches), outcome) in patches.into_iter().zip(outcomes) {
            if outcome.is_ok() {
                continue;
            }
            // One of them is refused, and the others are not to be lost with it.
            for patch in patches {
                let (outcomes, more) = self.put(&[Item::Patch(twin.clone(), patch)]).await?;
                events.extend(more);
                // A twin may be gone, or of another model, since the patch was made.
                for refused in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
                    warn!(twin, %refused, "what a device said is not in its twin");
                }
            }
        }
        if self.of.graph.has_routes()
            && let Err(error) = self.of.tell.tell(events).await
        {
            warn!(%error, "events of the digital-twin graph are not told");
        }
        Ok(())
    }
}

impl Feeder {
    async fn put(&self, items: &[Item]) -> Result<Many, String> {
        let drawn = rand::rng().random();
        let written = self.of.graph.put_many(gantry_gateway::now(), drawn, items).await;
        written.map_err(|error| error.to_string())
    }
}

impl Consumer for Feeder {
    const BATCH_EVENTS: usize = BATCH_EVENTS;

    fn has_room(&self) -> bool {
        self.waiting.is_empty()
    }

    fn take(&mut self, batch: Batch) {
        let is_wanted =
            |event: &StoredEvent| matches!(event.source, MessageSource::Telemetry | MessageSource::TwinChange);
        self.waiting.extend(batch.events.into_iter().filter(is_wanted));
    }

    async fn work(&mut self) {
        let has_twins = self.of.graph.read().twins_len() > 0;
        self.of.hub.log_reported(has_twins);
        if !has_twins {
            self.waiting.clear();
        }
        if self.waiting.is_empty() {
            return;
        }
        match self.write().await {
            Ok(()) => self.waiting.clear(),
            Err(error) => {
                error!(%error, "what devices say is not in their twins yet");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }

    fn is_done(&self) -> bool {
        self.waiting.is_empty()
    }
}
