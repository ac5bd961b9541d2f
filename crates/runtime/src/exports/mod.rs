//! Exports of the application: from the event log to destinations.
//!
//! Each destination of each export has a reader of its own on every partition, with its own place in the log, so that
//! a slow or dead one costs nobody else anything. A place is saved behind what arrived, so a restart repeats some
//! messages and loses none. What happened before an export sent there is not sent.

mod files;
mod sender;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use gantry_blobs::Blobs;
use gantry_central::Central;
use gantry_central::exports::destinations::{Destination, Target};
use gantry_central::exports::health::{Fault, Health};
use gantry_central::exports::{DestinationUse, Export, message};
use gantry_central::ids::{DestinationId, ExportId};
use gantry_central::kept::Kept;
use gantry_endpoints::export::Receiver;
use gantry_hub::Hub;
use gantry_hub::event::MessageSource;
use gantry_hub::ports::{Checkpoints, EventSource, Start};
use gantry_identity::Timestamp;
use gantry_transforms::Transforms;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use self::files::Files;
use self::sender::{Sender, Way};
use crate::follow::{Checkpoint, Follower};

/// How often it is looked what is to be sent where.
const LOOKING_PERIOD: Duration = Duration::from_millis(500);

/// What every sender works with.
pub struct Exports {
    /// The application's id.
    pub application: String,
    /// Where devices are looked up.
    pub hub: Arc<Hub>,
    /// What is exported where.
    pub central: Arc<Central>,
    /// How that fares.
    pub health: Arc<Health>,
    /// Runs transforms.
    pub transforms: Arc<Transforms>,
    /// The log.
    pub events: Arc<dyn EventSource>,
    /// Where places are kept.
    pub checkpoints: Arc<dyn Checkpoints>,
    /// Our own containers.
    pub blobs: Arc<Blobs>,
    /// Of receivers.
    pub client: reqwest::Client,
}

/// What an export sends to a destination.
#[derive(Clone)]
struct Job {
    export: Arc<Kept<Export>>,
    destination: Arc<Kept<Destination>>,
    to: DestinationUse,
}

/// Whether they send the same to the same place: a name is nothing of that.
impl PartialEq for Job {
    fn eq(&self, other: &Self) -> bool {
        let sent = |job: &Self| {
            let Export { source, filter, enrichments, .. } = &job.export.value;
            (*source, filter.clone(), enrichments.clone())
        };
        self.to == other.to
            && self.destination.value.target == other.destination.value.target
            && sent(self) == sent(other)
    }
}

/// An export, one of its destinations, and since when.
type Name = (ExportId, DestinationId, i64);

impl Exports {
    /// Runs until `stopped`: starts what is to be sent, and ends what is not any more.
    pub async fn run(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let mut running: HashMap<Name, (Job, JoinSet<()>)> = HashMap::new();
        let mut timer = tokio::time::interval(LOOKING_PERIOD);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = timer.tick() => {}
                _ = stopped.wait_for(|stop| *stop) => return,
            }
            let wanted = self.wanted();
            let sources: Vec<MessageSource> =
                wanted.values().flat_map(|job| message::heard(job.export.value.source)).copied().collect();
            self.hub.hear(&sources);
            for (name, (_, mut tasks)) in running.extract_if(|name, (job, _)| wanted.get(name) != Some(&*job)) {
                tasks.shutdown().await;
                if !wanted.contains_key(&name) {
                    self.forget(&name).await;
                }
            }
            for (name, job) in wanted {
                if let Entry::Vacant(place) = running.entry(name) {
                    let tasks = self.start(place.key(), &job);
                    place.insert((job, tasks));
                }
            }
        }
    }

    fn wanted(&self) -> HashMap<Name, Job> {
        let state = self.central.state();
        let mut all = HashMap::new();
        for (id, export) in state.exports.iter().filter(|(_, export)| export.value.enabled) {
            for to in &export.value.destinations {
                if let Some(destination) = state.destinations.get(&to.id) {
                    let job = Job { export: Arc::clone(export), destination: Arc::clone(destination), to: to.clone() };
                    all.insert((id.clone(), to.id.clone(), to.since_ms), job);
                }
            }
        }
        all
    }

    fn start(self: &Arc<Self>, name: &Name, job: &Job) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for partition in 0..self.events.partitions() {
            let way = match self.way(job, partition) {
                Ok(way) => way,
                Err(why) => {
                    let fault = Fault { code: "InvalidConfiguration", message: why };
                    self.health.note(&name.0, &name.1, gantry_gateway::now(), Err(fault));
                    return tasks;
                }
            };
            let follower = Follower {
                name: format!("export {}", name.0),
                events: Arc::clone(&self.events),
                partition,
                start: Start::After(Timestamp::from_millis(name.2)),
                place: Some((Arc::clone(&self.checkpoints), place_name(name, partition))),
            };
            tasks.spawn(follower.run(Sender::new(Arc::clone(self), name.0.clone(), job.clone(), way)));
        }
        info!(export = %name.0, destination = %name.1, "exporting");
        tasks
    }

    fn way(&self, job: &Job, partition: u16) -> Result<Way, String> {
        match &job.destination.value.target {
            Target::BlobStorage { authorization } => {
                let files = Files::new(authorization, &self.blobs, &self.application, partition);
                files.map(Way::Files).map_err(|error| format!("{error:#}"))
            }
            target => Receiver::new(self.client.clone(), target).map(Way::Receiver),
        }
    }

    /// Removes the places of what is not sent any more.
    async fn forget(&self, name: &Name) {
        self.health.forget(&name.0, &name.1);
        self.transforms.forget(name.0.as_str());
        for partition in 0..self.events.partitions() {
            let taken = Checkpoint::take(Arc::clone(&self.checkpoints), place_name(name, partition)).await;
            let removed = match taken {
                Ok(place) => place.remove().await,
                Err(error) => Err(error),
            };
            if let Err(error) = removed {
                warn!(%error, export = %name.0, "the place of an export that ended stays");
            }
        }
    }
}

/// Ids are longer than names of places may be.
fn place_name((export, destination, since_ms): &Name, partition: u16) -> String {
    let digest = Sha256::digest(format!("{export}\n{destination}"));
    let digest: String = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    format!("export-{digest}-{since_ms}-{partition}")
}

/// A client of receivers that trusts our own CA, too.
///
/// # Errors
/// When it cannot be read.
pub fn client(config: &crate::config::Config) -> anyhow::Result<reqwest::Client> {
    let ca = std::fs::read(config.ca_file()).context("reading the CA")?;
    gantry_endpoints::client(Some(&ca)).map_err(anyhow::Error::msg)
}
