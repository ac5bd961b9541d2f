//! Streaming jobs: queries over the telemetry of a hub as it comes, whose rows go into tables.
//!
//! A job reads all partitions, each to its own place, and carries the events through `gantry_streaming`. Rows come
//! into their tables exactly once: places, state and the rows that follow from them are one checkpoint, written before
//! the rows are; rows of a checkpoint carry its number, and a table takes those of a number once. So after a crash the
//! rows of the last checkpoint are offered again, and the job goes on from it.
//!
//! Checkpoint `stream-NAME`, version 1, little-endian: version (1 byte), number (8), count of places (2), each place
//! (8), count of tables with rows (4), of each its name and its rows as JSON lines, each behind its length (4); the
//! state of the engine to the end.

mod rows;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use gantry_analytics::Warehouse;
use gantry_hub::event::{MessageSource, StoredEvent};
use gantry_hub::ports::{Batch, CheckpointError, Checkpoints, EventSource, LogError, Start};
use gantry_identity::Timestamp;
use gantry_streaming::time::{Ticks, from_unix_micros};
use gantry_streaming::{
    Beyond, Event, Failure, Input, Job, Limits, OnError, Output, Running, Settings, Tolerance, Value,
};
use serde::Deserialize;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{error, info, warn};

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
/// What the state of a job may hold: less than a checkpoint may have bytes.
const LIMITS: Limits = Limits { events: 200_000, groups: 200_000, bytes: 24 << 20 };
const VERSION: u8 = 1;

/// Streaming jobs, by name.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamingConfig {
    /// By name.
    #[serde(default)]
    pub jobs: BTreeMap<String, JobConfig>,
}

/// A streaming job.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobConfig {
    /// The text; an output is a table of its name.
    query: String,
    /// What the text calls the telemetry.
    #[serde(default = "input")]
    input: String,
    /// Events older than their arrival by more than this are late.
    #[serde(default = "late_seconds")]
    late_seconds: u64,
    /// Events older by more than this than the newest before them are out of order.
    #[serde(default)]
    out_of_order_seconds: u64,
    /// What becomes of events late or out of order: `adjust` or `drop`.
    #[serde(default)]
    late: Policy,
    #[serde(default)]
    out_of_order: Policy,
    /// What becomes of an event that cannot be evaluated: `drop` or `stop`.
    #[serde(default)]
    on_error: ErrorPolicy,
}

fn input() -> String {
    "input".into()
}

const fn late_seconds() -> u64 {
    5
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Policy {
    #[default]
    Adjust,
    Drop,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ErrorPolicy {
    #[default]
    Drop,
    Stop,
}

impl StreamingConfig {
    /// Checks names and texts.
    ///
    /// # Errors
    /// When one is wrong; says which and where.
    pub fn check(&self) -> anyhow::Result<()> {
        for (name, job) in &self.jobs {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            if name.is_empty() || name.len() > 40 || !name.bytes().all(fits) {
                bail!("streaming.jobs: `{name}` must be 1 to 40 letters, digits, `-` and `_`");
            }
            job.job(1).with_context(|| format!("streaming.jobs.{name}.query"))?;
        }
        Ok(())
    }

    /// Checks that no job writes into a table that the platform makes itself.
    ///
    /// # Errors
    /// Says which does.
    pub fn check_outputs(&self, warehouse: &Warehouse) -> anyhow::Result<()> {
        for (name, job) in &self.jobs {
            let parsed = job.job(1).with_context(|| format!("streaming.jobs.{name}.query"))?;
            for output in parsed.outputs() {
                if warehouse.sources().any(|(table, _)| table == output) {
                    bail!(
                        "streaming.jobs.{name}.query: `{output}` is a table of the platform, which no job writes into"
                    );
                }
            }
        }
        Ok(())
    }
}

impl JobConfig {
    fn job(&self, partitions: u16) -> anyhow::Result<Arc<Job>> {
        let tolerance = |seconds, policy| Tolerance {
            within: Duration::from_secs(seconds),
            beyond: match policy {
                Policy::Adjust => Beyond::Adjust,
                Policy::Drop => Beyond::Drop,
            },
        };
        let mut settings = Settings::new(vec![Input::stream(&self.input, partitions.into())]);
        settings.late = tolerance(self.late_seconds, self.late);
        settings.out_of_order = tolerance(self.out_of_order_seconds, self.out_of_order);
        settings.limits = LIMITS;
        settings.on_error = match self.on_error {
            ErrorPolicy::Drop => OnError::Drop,
            ErrorPolicy::Stop => OnError::Stop,
        };
        Ok(Job::parse(&self.query, &settings)?)
    }
}

/// Runs the jobs until `stopped`.
pub async fn run(
    config: StreamingConfig,
    events: Arc<dyn EventSource>,
    checkpoints: Arc<dyn Checkpoints>,
    warehouse: Arc<Warehouse>,
    stopped: watch::Receiver<bool>,
) {
    let mut tasks = JoinSet::new();
    for (name, job) in config.jobs {
        let runner = Runner {
            input: job.input.clone(),
            // Parsed before, when the configuration was checked.
            job: match job.job(events.partitions()) {
                Ok(job) => job,
                Err(error) => {
                    error!(job = %name, error = format!("{error:#}"), "the job is not run");
                    continue;
                }
            },
            name,
            events: Arc::clone(&events),
            checkpoints: Arc::clone(&checkpoints),
            warehouse: Arc::clone(&warehouse),
        };
        tasks.spawn(runner.run(stopped.clone()));
    }
    while tasks.join_next().await.is_some() {}
}

/// One job.
struct Runner {
    name: String,
    input: String,
    job: Arc<Job>,
    events: Arc<dyn EventSource>,
    checkpoints: Arc<dyn Checkpoints>,
    warehouse: Arc<Warehouse>,
}

/// What a checkpoint holds.
#[derive(Debug, PartialEq)]
struct Saved {
    number: u64,
    places: Vec<u64>,
    rows: Vec<(String, Vec<u8>)>,
    state: Vec<u8>,
}

impl Saved {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(self.number.to_le_bytes());
        bytes.extend(u16::try_from(self.places.len()).unwrap_or(u16::MAX).to_le_bytes());
        self.places.iter().for_each(|place| bytes.extend(place.to_le_bytes()));
        let length = |bytes: &mut Vec<u8>, of: usize| bytes.extend((of as u32).to_le_bytes());
        length(&mut bytes, self.rows.len());
        for (table, rows) in &self.rows {
            for part in [table.as_bytes(), rows] {
                length(&mut bytes, part.len());
                bytes.extend(part);
            }
        }
        bytes.extend(&self.state);
        bytes
    }

    fn from_bytes(mut bytes: &[u8]) -> Option<Saved> {
        fn take<'b>(bytes: &mut &'b [u8], count: usize) -> Option<&'b [u8]> {
            let (taken, rest) = bytes.split_at_checked(count)?;
            *bytes = rest;
            Some(taken)
        }
        fn number(bytes: &mut &[u8]) -> Option<u64> {
            Some(u64::from_le_bytes(take(bytes, 8)?.try_into().ok()?))
        }
        fn length(bytes: &mut &[u8]) -> Option<usize> {
            Some(u32::from_le_bytes(take(bytes, 4)?.try_into().ok()?) as usize)
        }
        if take(&mut bytes, 1)? != [VERSION] {
            return None;
        }
        let own = number(&mut bytes)?;
        let places = u16::from_le_bytes(take(&mut bytes, 2)?.try_into().ok()?);
        let places = (0..places).map(|_| number(&mut bytes)).collect::<Option<_>>()?;
        let mut rows = Vec::new();
        for _ in 0..length(&mut bytes)? {
            let of_name = length(&mut bytes)?;
            let name = String::from_utf8(take(&mut bytes, of_name)?.to_vec()).ok()?;
            let of_rows = length(&mut bytes)?;
            rows.push((name, take(&mut bytes, of_rows)?.to_vec()));
        }
        Some(Saved { number: own, places, rows, state: bytes.to_vec() })
    }
}

/// Waits until told to stop.
async fn told(stopped: &mut watch::Receiver<bool>) {
    // An error says that nobody is left to tell.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// What was read of a partition, and the place behind it.
type Read = (u16, Batch, u64);

impl Runner {
    async fn run(self, mut stopped: watch::Receiver<bool>) {
        let mut pause = PAUSE_MIN;
        loop {
            let begun = Instant::now();
            match self.attempt(&mut stopped).await {
                Ok(()) => return,
                Err(error) => {
                    error!(job = %self.name, error = format!("{error:#}"), "the job failed and goes on from its checkpoint");
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
        let restored = (!saved.state.is_empty()).then(|| Running::restore(&self.job, &saved.state));
        let running = match restored {
            Some(Ok(running)) => running,
            Some(Err(error)) => {
                warn!(job = %self.name, %error, "windows begin anew, at the place of the job");
                Running::new(&self.job)
            }
            None => Running::new(&self.job),
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
        };
        if work.saved.state.is_empty() {
            // Before anything is read: what comes from here on is the job's, whatever happens.
            work.commit().await?;
        }
        work.told = work.dropped();
        Ok(work)
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
}

impl Work<'_> {
    fn take(&mut self, (partition, batch, next): Read) -> Result<(), Failure> {
        if batch.missed > 0 {
            warn!(job = %self.runner.name, partition, missed = batch.missed, "events were gone before they were read");
            metrics::counter!("gantry_events_missed_total", "reader" => self.runner.name.clone())
                .increment(batch.missed);
        }
        for event in batch.events.iter().filter(|event| event.source == MessageSource::Telemetry) {
            self.running.push(as_event(&self.runner.input, event), &mut self.out)?;
        }
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
                self.running.advance(&self.runner.input, partition.into(), now, &mut self.out)?;
            }
        }
        Ok(())
    }

    async fn commit_if_due(&mut self) -> anyhow::Result<()> {
        if !self.out.is_empty() || (self.is_new && self.saved_at.elapsed() >= SAVE_PERIOD) {
            self.commit().await?;
        }
        Ok(())
    }

    /// Writes the checkpoint with the rows that follow from it, then the rows.
    async fn commit(&mut self) -> anyhow::Result<()> {
        let mut tables: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for row in self.out.drain(..) {
            let lines = tables.entry(row.output.to_string()).or_default();
            lines.extend(rows::line(&row.row).into_bytes());
            lines.push(b'\n');
        }
        self.saved.number += 1;
        self.saved.rows = tables.into_iter().collect();
        self.saved.state = self.running.save();
        self.checkpoint.put(self.saved.to_bytes()).await.context("writing the checkpoint")?;
        (self.saved_at, self.is_new) = (Instant::now(), false);
        self.tell_of_dropped();
        self.deliver().await
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

    /// Writes the rows of the checkpoint into their tables, where they are not yet.
    async fn deliver(&mut self) -> anyhow::Result<()> {
        for (table, lines) in std::mem::take(&mut self.saved.rows) {
            let warehouse = Arc::clone(&self.runner.warehouse);
            let request = format!("stream-{}-{}", self.runner.name, self.saved.number);
            let name = table.clone();
            let now = ticks(gantry_gateway::now());
            let written = tokio::task::spawn_blocking(move || rows::write(&warehouse, &name, &lines, request, now));
            written.await?.map_err(anyhow::Error::msg).with_context(|| format!("writing into table `{table}`"))?;
        }
        Ok(())
    }
}

fn ticks(at: Timestamp) -> Ticks {
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

#[cfg(test)]
mod tests {
    use gantry_analytics::pushdown::Need;
    use gantry_analytics::{Chunk, Context, Flow, Source};
    use gantry_kql::bound::Column;

    use super::*;

    #[test]
    fn a_checkpoint_is_read_as_it_was_written_and_damage_is_seen() {
        let saved = Saved {
            number: 7,
            places: vec![1, u64::MAX],
            rows: vec![("T".into(), b"{}\n".to_vec()), ("\u{e4}".into(), Vec::new())],
            state: vec![1, 2, 3],
        };
        let bytes = saved.to_bytes();
        assert_eq!(Saved::from_bytes(&bytes), Some(saved));
        // The state is what is left; what is before it is needed whole.
        for end in 0..bytes.len() - 3 {
            assert_eq!(Saved::from_bytes(&bytes[..end]), None, "{end}");
        }
        assert_eq!(Saved::from_bytes(&[9]), None);
    }

    #[test]
    fn a_job_is_checked_before_it_runs() {
        let check = |text: &str| toml::from_str::<StreamingConfig>(text).unwrap().check();
        check("[jobs.a]\nquery = 'SELECT x INTO T FROM input'").unwrap();
        check("[jobs.a]\nquery = 'SELECT x INTO T FROM hub'\ninput = 'hub'\nlate = 'drop'\non_error = 'stop'").unwrap();
        let wrong = check("[jobs.a]\nquery = '''SELECT x\nINTO T FROM elsewhere'''").unwrap_err();
        assert_eq!(
            format!("{wrong:#}"),
            "streaming.jobs.a.query: line 2, column 13: there is no input and no step called `elsewhere`"
        );
        assert!(check("[jobs.'a b']\nquery = 'SELECT x FROM input'").is_err());
        assert!(check("[jobs.a]\nquery = 'SELECT x FROM input'\nlate_seconds = 99999999").is_err());
        assert!(toml::from_str::<StreamingConfig>("[jobs.a]\nquery = ''\nunknown = 1").is_err());
        let into = |table: &str| format!("[jobs.a]\nquery = 'SELECT x INTO {table} FROM input'");
        let source = Arc::new(Nothing);
        let warehouse = Warehouse::new("telemetry", [("Telemetry".to_owned(), source as Arc<dyn Source>)]);
        let check = |text: &str| toml::from_str::<StreamingConfig>(text).unwrap().check_outputs(&warehouse);
        check(&into("Mine")).unwrap();
        assert!(check(&into("Telemetry")).unwrap_err().to_string().contains("`Telemetry` is a table of the platform"));
    }

    struct Nothing;

    impl Source for Nothing {
        fn about(&self) -> &'static str {
            "Nothing."
        }

        fn columns(&self) -> gantry_analytics::Result<Vec<Column>> {
            Ok(Vec::new())
        }

        fn scan(
            &self,
            _: &[Column],
            _: &Need,
            _: &Context,
            _: &mut dyn FnMut(Chunk) -> gantry_analytics::Result<Flow>,
        ) -> gantry_analytics::Result<Flow> {
            Ok(Flow::More)
        }
    }
}
