//! The runner of monitoring: from the event log into [`Monitoring`], and from there into the
//! store and out to endpoints.
//!
//! It reads the log like any other reader, so it can never hold up a device. One task for
//! each partition feeds the application; one task stores what changed, publishes the
//! maintenance list and saves checkpoints; one task carries out actions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use gantry_api::WallClock;
use gantry_endpoints::{Mail, Webhook};
use gantry_hub::delivery::DeliveryError;
use gantry_hub::device::IfMatch;
use gantry_hub::ports::{Batch, CheckpointError, Checkpoints, EventSource, Start};
use gantry_hub::twin::TwinWrite;
use gantry_hub::{Hub, HubError, MethodCall, MethodTimeouts};
use gantry_identity::{DeviceId, Identity};
use gantry_monitoring::Monitoring;
use gantry_monitoring::actions::Action;
use gantry_monitoring::alerts::Due;
use gantry_monitoring::pipeline::Pipeline;
use gantry_monitoring::ports::Endpoint;
use gantry_storage::Database;
use rand::Rng as _;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tracing::warn;

use crate::config::Config;
use crate::follow::{Checkpoint, Consumer, Follower};

/// How often changes are stored and the maintenance list is published.
const FLUSH_PERIOD: Duration = Duration::from_millis(250);
/// How often pipelines are saved: a restart replays at most this much.
const CHECKPOINT_PERIOD: Duration = Duration::from_secs(10);
/// Checkpoints larger than this are saved six times less often.
const CHECKPOINT_BYTES_LARGE: usize = 4 << 20;
/// Actions under way at once.
const ACTIONS_MAX: usize = 16;
const METHOD_TIMEOUTS: MethodTimeouts =
    MethodTimeouts { connect: Duration::from_secs(5), response: Duration::from_secs(30) };

/// The application as stored, at the sequence numbers its checkpoints stand at; and those, one for each partition.
///
/// # Errors
/// When documents cannot be read, or checkpoints taken.
pub async fn restore(
    database: &Database,
    partitions: u16,
    store: Arc<dyn Checkpoints>,
    points_max: usize,
) -> anyhow::Result<(Arc<Monitoring>, Vec<Checkpoint>)> {
    let (mut pipelines, mut checkpoints) = (vec![], vec![]);
    for partition in 0..partitions {
        let name = format!("central-{partition}");
        let checkpoint = Checkpoint::take(Arc::clone(&store), name).await.context("taking a checkpoint")?;
        let pipeline = match checkpoint.get().await {
            Ok(Some(bytes)) => Pipeline::from_bytes(&bytes).map_err(|error| error.to_string()),
            Ok(None) => Ok(Pipeline::default()),
            Err(error @ CheckpointError::Damaged) => Err(error.to_string()),
            Err(error) => return Err(error).context("reading a checkpoint"),
        };
        let pipeline = pipeline.unwrap_or_else(|error| {
            warn!(partition, %error, "analysis begins anew");
            Pipeline::default()
        });
        pipelines.push(pipeline.keeping(points_max));
        checkpoints.push(checkpoint);
    }
    let monitoring = Monitoring::restore(database, pipelines).await.context("reading the application's documents")?;
    Ok((Arc::new(monitoring), checkpoints))
}

/// What the runner works with.
pub struct Processing {
    monitoring: Arc<Monitoring>,
    checkpoints: Vec<Checkpoint>,
    database: Arc<Database>,
    events: Arc<dyn EventSource>,
    hub: Arc<Hub>,
    webhook: Webhook,
    mail: Mail,
    work: Notify,
}

impl Processing {
    /// Joins the application with its surroundings.
    ///
    /// # Errors
    /// When mail settings cannot be used.
    pub fn new(
        config: &Config,
        monitoring: Arc<Monitoring>,
        checkpoints: Vec<Checkpoint>,
        database: Arc<Database>,
        events: Arc<dyn EventSource>,
        hub: Arc<Hub>,
    ) -> anyhow::Result<Arc<Self>> {
        let mail = Mail::new(&config.mail.server, &config.mail.from).map_err(anyhow::Error::msg)?;
        // Our own CA is trusted too, so that a webhook may be served by this platform.
        let ca = std::fs::read(config.ca_file())?;
        let webhook = Webhook::new(gantry_endpoints::client(Some(&ca)).map_err(anyhow::Error::msg)?);
        Ok(Arc::new(Self { monitoring, checkpoints, database, events, hub, webhook, mail, work: Notify::new() }))
    }

    /// Runs until `stopped`, then stores everything.
    pub async fn run(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let mut tasks = JoinSet::new();
        for partition in 0..self.events.partitions() {
            tasks.spawn(Arc::clone(&self).follow(partition));
        }
        tasks.spawn(Arc::clone(&self).act());
        tasks.spawn(Arc::clone(&self).forget_unregistered());
        let mut timer = tokio::time::interval(FLUSH_PERIOD);
        let (mut saved_at, mut saved_bytes) = (Instant::now(), 0);
        while !*stopped.borrow() {
            tokio::select! {
                _ = timer.tick() => {}
                _ = stopped.changed() => break,
            }
            self.flush().await;
            if let Some((used, allowed)) = self.hub.message_quota(gantry_gateway::now()) {
                metrics::gauge!("gantry_daily_messages_used").set(used as f64);
                metrics::gauge!("gantry_daily_messages_allowed").set(allowed as f64);
            }
            metrics::gauge!("gantry_values_not_analysed").set(self.monitoring.not_analysed() as f64);
            let period = if saved_bytes > CHECKPOINT_BYTES_LARGE { CHECKPOINT_PERIOD * 6 } else { CHECKPOINT_PERIOD };
            if saved_at.elapsed() >= period {
                saved_bytes = self.checkpoint().await;
                saved_at = Instant::now();
            }
        }
        tasks.shutdown().await;
        self.flush().await;
        self.checkpoint().await;
    }

    fn follow(self: Arc<Self>, partition: u16) -> impl Future<Output = ()> {
        let follower = Follower {
            name: "analysis".into(),
            events: Arc::clone(&self.events),
            partition,
            start: Start::At(self.monitoring.next_sequence_number(partition)),
            // It is in the checkpoint of the pipeline.
            place: None,
        };
        follower.run(Analysis { processing: self, partition })
    }

    async fn flush(&self) {
        self.monitoring.publish_maintenance();
        if let Err(error) = self.monitoring.store(&*self.database).await {
            warn!(%error, "changes are not stored yet");
        }
    }

    /// Forgets devices that are not registered any more, as data of older versions has them: those heard of
    /// deletions from some callers only.
    async fn forget_unregistered(self: Arc<Self>) {
        for device in self.monitoring.devices() {
            let Ok(id) = DeviceId::parse(&device) else { continue };
            if let Err(HubError::NotFound(_)) = self.hub.record(&Identity::device(id)).await {
                self.monitoring.remove(&device);
            }
        }
    }

    /// Saves all pipelines; says how large they are.
    async fn checkpoint(&self) -> usize {
        let mut bytes = 0;
        for (partition, checkpoint) in (0..).zip(&self.checkpoints) {
            let Some(state) = self.monitoring.checkpoint(partition) else { continue };
            bytes += state.len();
            if let Err(error) = checkpoint.put(state).await {
                warn!(partition, %error, "checkpoint not saved");
            }
        }
        bytes
    }

    /// Hands due tasks out, each to a task of its own, so that a slow one holds up nobody else.
    async fn act(self: Arc<Self>) {
        let gate = Arc::new(Semaphore::new(ACTIONS_MAX));
        loop {
            for due in self.monitoring.take_due(gantry_gateway::now()) {
                let Ok(permit) = Arc::clone(&gate).acquire_owned().await else { return };
                let this = Arc::clone(&self);
                tokio::spawn(async move {
                    this.attempt(due).await;
                    drop(permit);
                });
            }
            // Retries come due without new events.
            let _ = tokio::time::timeout(Duration::from_millis(500), self.work.notified()).await;
        }
    }

    async fn attempt(&self, due: Due) {
        let Some(task) = due.alert.actions.get(due.index) else { return };
        let outcome = match &task.action {
            Action::Webhook { .. } => self.webhook.deliver(&task.action, &due.alert).await,
            Action::Email { .. } => self.mail.deliver(&task.action, &due.alert).await,
            Action::Method { name, payload } => {
                let payload = payload.as_ref().map(ToString::to_string).unwrap_or_default();
                self.invoke(&due, name, payload).await
            }
            Action::Desired { patch } => self.patch(&due, patch).await,
        };
        if let Err(error) = &outcome {
            warn!(alert = %due.alert.id, attempt = task.attempts + 1, %error, "action failed");
        }
        let jitter = rand::rng().random();
        self.monitoring.finish(gantry_gateway::now(), &due, outcome, jitter);
    }

    async fn invoke(&self, due: &Due, name: &str, payload: String) -> Result<(), DeliveryError> {
        let identity = device_of(due)?;
        let call = MethodCall::new(name, payload.into()).map_err(|error| DeliveryError::Never(error.to_string()))?;
        match self.hub.call_method(&WallClock, &identity, &call, METHOD_TIMEOUTS).await {
            Ok(answer) if (200..300).contains(&answer.status) => Ok(()),
            Ok(answer) => Err(DeliveryError::Again(format!("device answered {}", answer.status))),
            Err(error) => Err(error.into()),
        }
    }

    async fn patch(&self, due: &Due, patch: &serde_json::Value) -> Result<(), DeliveryError> {
        let identity = device_of(due)?;
        let write =
            TwinWrite::merging(None, Some(patch.clone())).map_err(|error| DeliveryError::Never(error.to_string()))?;
        let written = self.hub.write_twin(gantry_gateway::now(), &identity, &write, &IfMatch::Absent).await;
        Ok(written.map(drop)?)
    }
}

/// The application, for the events of one partition.
struct Analysis {
    processing: Arc<Processing>,
    partition: u16,
}

impl Consumer for Analysis {
    const BATCH_EVENTS: usize = 512;

    fn take(&mut self, batch: Batch) {
        self.processing.monitoring.observe(gantry_gateway::now(), self.partition, &batch.events);
        self.processing.work.notify_one();
    }
}

fn device_of(due: &Due) -> Result<Identity, DeliveryError> {
    let id = due.alert.device_id.as_deref().ok_or_else(|| DeliveryError::Never("alert is about no device".into()))?;
    let id = DeviceId::parse(id).map_err(|error| DeliveryError::Never(error.to_string()))?;
    Ok(Identity::device(id))
}
