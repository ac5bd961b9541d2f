//! A job at work: it reads all partitions, each from its place, and writes its checkpoints and rows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use gantry_analytics::Warehouse;
use gantry_hub::Hub;
use gantry_hub::event::{MessageSource, StoredEvent};
use gantry_hub::ports::{Batch, CheckpointError, Checkpoints, EventSource, LogError, Start};
use gantry_identity::Timestamp;
use gantry_streaming::time::{Ticks, from_unix_micros, to_unix_micros};
use gantry_streaming::{Event, Failure, Output, Running, Value};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{error, info, warn};

use super::checkpoint::Saved;
use super::config::{JobConfig, Target};
use super::status::Status;
use super::{events, reference, rows};
use crate::follow::Checkpoint;

/// Events read at once, and bytes, about.
const BATCH_EVENTS: usize = 256;
const BATCH_BYTES: usize = 1 << 20;
/// How often quiet partitions are told the time, and rows are written at most.
const TICK: Duration = Duration::from_secs(1);
/// Rows that are written without waiting.
const ROWS_MAX: usize = 10_000;
/// How often a job without rows notes its place: a restart reads this much again.
const SAVE_PERIOD: Duration = Duration::from_secs(5);
/// Pause after something failed; it grows to the longest.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// An event with an earlier arrival than this before now is in the log by now.
const IN_THE_LOG: Duration = Duration::from_secs(2);

/// One job.
pub(super) struct Runner {
    pub name: String,
    pub config: JobConfig,
    pub hub: Arc<Hub>,
    pub events: Arc<dyn EventSource>,
    pub checkpoints: Arc<dyn Checkpoints>,
    pub warehouse: Arc<Warehouse>,
    pub status: Arc<Status>,
}

/// Waits until told to stop.
async fn told(stopped: &mut watch::Receiver<bool>) {
    // An error says that nobody is left to tell.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// What was read of a partition, and the place behind it.
type Read = (u16, Batch, u64);

impl Runner {
    /// Runs until `stopped`, and again from the checkpoint when something fails.
    pub(super) async fn run(self, mut stopped: watch::Receiver<bool>) {
        let mut pause = PAUSE_MIN;
        loop {
            let begun = Instant::now();
            match self.attempt(&mut stopped).await {
                Ok(()) => return,
                Err(error) => {
                    let error = format!("{error:#}");
                    error!(job = %self.name, error, "the job failed and goes on from its checkpoint");
                    self.status.failed(gantry_gateway::now(), error);
                    metrics::counter!("gantry_streaming_failures_total", "job" => self.name.clone()).increment(1);
                }
            }
            if begun.elapsed() > PAUSE_MAX {
                pause = PAUSE_MIN;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = told(&mut stopped) => return,
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Goes on from the checkpoint until told to stop, or something fails.
    async fn attempt(&self, stopped: &mut watch::Receiver<bool>) -> anyhow::Result<()> {
        let checkpoint = Checkpoint::take(Arc::clone(&self.checkpoints), format!("stream-{}", self.name)).await?;
        let mut work = self.begin(checkpoint).await?;
        work.deliver().await?;
        let (sender, mut read) = mpsc::channel::<Result<Read, LogError>>(4);
        let mut readers = JoinSet::new();
        for (partition, place) in (0..self.events.partitions()).zip(&work.saved.places) {
            let Some(mut cursor) = self.events.read(partition, Start::At(*place)).await? else { continue };
            let sender = sender.clone();
            readers.spawn(async move {
                loop {
                    let read = match cursor.next(BATCH_EVENTS, BATCH_BYTES).await {
                        Ok(Some(batch)) => Ok((partition, batch, cursor.position())),
                        Ok(None) => return,
                        Err(error) => Err(error),
                    };
                    let failed = read.is_err();
                    if sender.send(read).await.is_err() || failed {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        info!(job = %self.name, "streaming job runs");
        self.status.runs(gantry_gateway::now());
        loop {
            tokio::select! {
                one = read.recv() => match one {
                    Some(one) => work.take(one.context("reading events")?)?,
                    // Every reader has ended: the log is closed.
                    None => {
                        work.commit().await?;
                        told(stopped).await;
                        return Ok(());
                    }
                },
                _ = tick.tick() => {
                    work.refresh().await;
                    work.tell_time().await?;
                    work.commit_if_due().await?;
                }
                () = told(stopped) => {
                    work.commit().await?;
                    return Ok(());
                }
            }
            if work.out.len() >= ROWS_MAX {
                work.commit().await?;
            }
        }
    }

    async fn begin(&self, checkpoint: Checkpoint) -> anyhow::Result<Work<'_>> {
        let partitions = self.events.partitions();
        let saved = match checkpoint.get().await {
            Ok(None) => None,
            Ok(Some(bytes)) => Some(Saved::from_bytes(&bytes)),
            Err(CheckpointError::Damaged) => Some(None),
            Err(error) => return Err(error.into()),
        };
        if let Some(None) = saved {
            error!(job = %self.name, "the checkpoint is damaged, the job begins anew: rows may be missing");
        }
        let mut saved = match saved.flatten() {
            Some(saved) => saved,
            // A new job begins with what comes now, and with a number that no job of its name had.
            None => {
                let number = u64::try_from(gantry_gateway::now().as_millis()).unwrap_or(0);
                let mut places = Vec::new();
                for partition in 0..partitions {
                    places.push(self.end(partition).await?);
                }
                Saved { number, places, rows: Vec::new(), state: Vec::new() }
            }
        };
        let mut end = Vec::new();
        for partition in saved.places.len() as u16..partitions {
            end.push(self.end(partition).await?);
        }
        saved.places.extend(end);
        let reference = self.reference().await?;
        let job = self.config.job(partitions, &reference)?;
        let restored = (!saved.state.is_empty()).then(|| Running::restore(&job, &saved.state));
        let running = match restored {
            Some(Ok(running)) => running,
            Some(Err(error)) => {
                warn!(job = %self.name, %error, "windows begin anew, at the place of the job");
                Running::new(&job)
            }
            None => Running::new(&job),
        };
        let mut work = Work {
            runner: self,
            checkpoint,
            running,
            saved,
            out: Vec::new(),
            saved_at: Instant::now(),
            is_new: false,
            told: Vec::new(),
            read_at: self.config.reference.keys().map(|name| (name.clone(), Instant::now())).collect(),
        };
        if work.saved.state.is_empty() {
            // Before anything is read: what comes from here on is the job's, whatever happens.
            work.commit().await?;
        }
        work.told = work.dropped();
        Ok(work)
    }

    /// Rows of all reference data.
    async fn reference(&self) -> anyhow::Result<BTreeMap<String, Vec<Value>>> {
        let mut all = BTreeMap::new();
        for name in self.config.reference.keys() {
            all.insert(name.clone(), self.rows_of(name).await?);
        }
        Ok(all)
    }

    async fn rows_of(&self, reference: &str) -> anyhow::Result<Vec<Value>> {
        let (warehouse, config) = (Arc::clone(&self.warehouse), self.config.reference[reference].clone());
        let now = ticks(gantry_gateway::now());
        let rows = tokio::task::spawn_blocking(move || reference::read(&warehouse, &config, now)).await?;
        rows.with_context(|| format!("reading reference data `{reference}`"))
    }

    /// The number of the next event of a partition.
    async fn end(&self, partition: u16) -> anyhow::Result<u64> {
        let state = self.events.partition(partition).await?;
        Ok(state.map_or(0, |state| state.last.map_or(state.begin, |(number, _)| number + 1)))
    }
}

/// A job at work.
struct Work<'r> {
    runner: &'r Runner,
    checkpoint: Checkpoint,
    running: Running,
    /// What was written last, with the places as they are now.
    saved: Saved,
    /// Rows that are not in a checkpoint yet.
    out: Vec<Output>,
    saved_at: Instant,
    /// Something changed since.
    is_new: bool,
    /// The events that were dropped so far, as they were told of.
    told: Vec<(&'static str, u64)>,
    /// When each reference data was read last.
    read_at: BTreeMap<String, Instant>,
}

impl Work<'_> {
    fn take(&mut self, (partition, batch, next): Read) -> Result<(), Failure> {
        if batch.missed > 0 {
            warn!(job = %self.runner.name, partition, missed = batch.missed, "events were gone before they were read");
            metrics::counter!("gantry_events_missed_total", "reader" => self.runner.name.clone())
                .increment(batch.missed);
        }
        let mut telemetry = 0;
        for event in batch.events.iter().filter(|event| event.source == MessageSource::Telemetry) {
            self.running.push(as_event(&self.runner.config.input, event), &mut self.out)?;
            telemetry += 1;
        }
        self.runner.status.took(telemetry);
        self.saved.places[usize::from(partition)] = next;
        self.is_new = true;
        Ok(())
    }

    /// Tells partitions that were read to their end that time passes.
    async fn tell_time(&mut self) -> anyhow::Result<()> {
        for partition in 0..self.runner.events.partitions() {
            let now = gantry_gateway::now().as_millis() - IN_THE_LOG.as_millis() as i64;
            let end = self.runner.end(partition).await?;
            if self.saved.places[usize::from(partition)] >= end {
                let now = ticks(Timestamp::from_millis(now));
                self.running.advance(&self.runner.config.input, partition.into(), now, &mut self.out)?;
            }
        }
        Ok(())
    }

    /// Reads reference data again that is due. What cannot be read stays as it was.
    async fn refresh(&mut self) {
        for (name, config) in &self.runner.config.reference {
            if self.read_at.get(name).is_some_and(|at| at.elapsed() < config.period()) {
                continue;
            }
            let read = self.runner.rows_of(name).await;
            match read.and_then(|rows| Ok(self.running.refer(name, &rows)?)) {
                Ok(()) => {}
                Err(error) => {
                    let error = format!("{error:#}");
                    warn!(job = %self.runner.name, error, "reference data stays as it was");
                }
            }
            self.read_at.insert(name.clone(), Instant::now());
        }
    }

    async fn commit_if_due(&mut self) -> anyhow::Result<()> {
        if !self.out.is_empty() || (self.is_new && self.saved_at.elapsed() >= SAVE_PERIOD) {
            self.commit().await?;
        }
        Ok(())
    }

    /// Writes the checkpoint with the rows that follow from it, then the rows.
    async fn commit(&mut self) -> anyhow::Result<()> {
        let mut outputs: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let rows = self.out.len();
        for row in self.out.drain(..) {
            let lines = outputs.entry(row.output.to_string()).or_default();
            lines.extend(rows::line(&row.row).into_bytes());
            lines.push(b'\n');
        }
        self.saved.number += 1;
        self.saved.rows = outputs.into_iter().collect();
        self.saved.state = self.running.save();
        self.checkpoint.put(self.saved.to_bytes()).await.context("writing the checkpoint")?;
        (self.saved_at, self.is_new) = (Instant::now(), false);
        self.tell_of_dropped();
        self.deliver().await?;
        let watermark = Timestamp::from_millis(to_unix_micros(self.running.watermark()).div_euclid(1000));
        self.runner.status.wrote(rows, watermark, self.running.held(), self.dropped());
        Ok(())
    }

    /// How many events were dropped, by why.
    fn dropped(&self) -> Vec<(&'static str, u64)> {
        let faults = ("not evaluated", self.running.faults().0);
        self.running.counts().dropped().into_iter().chain([faults]).collect()
    }

    /// Counts what was dropped since the last time, and says so in the log.
    fn tell_of_dropped(&mut self) {
        let now = self.dropped();
        for (at, (why, total)) in now.iter().enumerate() {
            let dropped = total - self.told.get(at).map_or(0, |(_, before)| *before).min(*total);
            if dropped > 0 {
                let fault = self.running.faults().1.filter(|_| *why == "not evaluated").unwrap_or_default();
                warn!(job = %self.runner.name, dropped, why, fault, "events were dropped");
                let labels = [("job", self.runner.name.clone()), ("why", (*why).to_owned())];
                metrics::counter!("gantry_streaming_dropped_total", &labels).increment(dropped);
            }
        }
        self.told = now;
    }

    /// Gives the rows of the checkpoint to their outputs: into tables where they are not yet, into the log again.
    async fn deliver(&mut self) -> anyhow::Result<()> {
        let (runner, number) = (self.runner, self.saved.number);
        for (output, lines) in std::mem::take(&mut self.saved.rows) {
            let config = runner.config.output(&output);
            let request = format!("stream-{}-{number}", runner.name);
            match config.to {
                Target::Table => {
                    let (warehouse, table) = (Arc::clone(&runner.warehouse), output.clone());
                    let now = ticks(gantry_gateway::now());
                    let write = move || rows::write(&warehouse, &table, &lines, request, now);
                    let written = tokio::task::spawn_blocking(write).await?.map_err(anyhow::Error::msg);
                    written.with_context(|| format!("writing into table `{output}`"))?;
                }
                Target::Events => {
                    let rows = events::Rows { job: &runner.name, output: &output, device: &config.device, request };
                    let appended = rows.append(&runner.hub, &lines).await;
                    appended.with_context(|| format!("writing events of `{output}`"))?;
                }
            }
        }
        Ok(())
    }
}

/// An instant as the engines count it.
pub(super) fn ticks(at: Timestamp) -> Ticks {
    from_unix_micros(at.as_millis().saturating_mul(1000))
}

/// A message as an event of the job, with the columns that the reference gives to one of a hub.
fn as_event<'a>(input: &'a str, event: &StoredEvent) -> Event<'a> {
    let arrival = ticks(event.enqueued_at);
    let text = |text: Option<&str>| text.map_or(Value::Null, Value::from);
    let mut of_hub = vec![
        ("MessageId".into(), text(event.system.message_id.as_deref())),
        ("CorrelationId".into(), text(event.system.correlation_id.as_deref())),
        ("ConnectionDeviceId".into(), Value::from(event.identity.device.as_str())),
        ("ConnectionDeviceGenerationId".into(), Value::from(event.generation_id.as_str())),
        ("EnqueuedTime".into(), Value::Datetime(arrival)),
        ("StreamId".into(), Value::Null),
    ];
    if let Some(module) = &event.identity.module {
        of_hub.push(("ConnectionModuleId".into(), Value::from(module.as_str())));
    }
    let user = event.properties.iter().map(|(name, value)| (name.as_str().into(), text(value.as_deref())));
    let json = serde_json::from_slice(&event.body).ok();
    Event {
        input,
        partition: event.partition.into(),
        sequence: event.sequence_number,
        arrival,
        // What is no JSON is no record, and is counted as such.
        body: json.and_then(|json| Value::from_json(&json)).unwrap_or(Value::Null),
        system: vec![
            ("EventProcessedUtcTime".into(), Value::Datetime(arrival)),
            ("PartitionId".into(), Value::Bigint(event.partition.into())),
            ("EventEnqueuedUtcTime".into(), Value::Datetime(arrival)),
            ("IoTHub".into(), Value::record(of_hub)),
        ],
        user: (!event.properties.is_empty()).then(|| Arc::new(Value::record(user.collect()))),
    }
}
