//! Streaming jobs: queries over the telemetry of a hub as it comes, whose rows go into tables or, as events, back into
//! the log, where routes and rules take them.
//!
//! A job reads all partitions, each to its own place, and carries the events through `gantry_streaming`. Rows come
//! into their tables exactly once: places, state and the rows that follow from them are one checkpoint, written before
//! the rows are; rows of a checkpoint carry its number, and a table takes those of a number once. So after a crash the
//! rows of the last checkpoint are offered again, and the job goes on from it. The log takes them again then, under the
//! same message ids.

mod checkpoint;
mod config;
mod events;
mod reference;
mod rows;
mod status;
mod work;

use std::sync::Arc;

use gantry_analytics::Warehouse;
use gantry_api::{JobState, StreamingJob, StreamingJobs};
use gantry_hub::Hub;
use gantry_hub::ports::{Checkpoints, EventSource};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use config::StreamingConfig;
use status::Status;
use work::Runner;

/// The jobs of a hub, in order of name.
pub struct Jobs(Vec<Runner>);

/// How the jobs fare.
struct Told(Vec<Arc<Status>>);

impl Jobs {
    /// Jobs that do not run yet.
    pub fn new(
        config: &StreamingConfig,
        hub: &Arc<Hub>,
        events: &Arc<dyn EventSource>,
        checkpoints: &Arc<dyn Checkpoints>,
        warehouse: &Arc<Warehouse>,
    ) -> anyhow::Result<Self> {
        config.check_outputs(warehouse)?;
        let job = |(name, config): (&String, &config::JobConfig)| {
            let status = StreamingJob {
                name: name.clone(),
                query: config.query.clone(),
                input: config.input.clone(),
                outputs: config.outputs()?.into_iter().map(|(name, to)| (name, to.as_str())).collect(),
                reference: config.reference.keys().cloned().collect(),
                state: JobState::Starting,
                since: gantry_gateway::now(),
                watermark: None,
                events: 0,
                rows: 0,
                dropped: Vec::new(),
                held: (0, 0, 0),
            };
            Ok(Runner {
                name: name.clone(),
                config: config.clone(),
                hub: Arc::clone(hub),
                events: Arc::clone(events),
                checkpoints: Arc::clone(checkpoints),
                warehouse: Arc::clone(warehouse),
                status: Arc::new(Status::new(status)),
            })
        };
        Ok(Self(config.jobs.iter().map(job).collect::<anyhow::Result<_>>()?))
    }

    /// What others are told of them.
    pub fn told(&self) -> Arc<dyn StreamingJobs> {
        Arc::new(Told(self.0.iter().map(|runner| Arc::clone(&runner.status)).collect()))
    }

    /// Runs them until `stopped`.
    pub async fn run(self, stopped: watch::Receiver<bool>) {
        let mut tasks = JoinSet::new();
        for runner in self.0 {
            tasks.spawn(runner.run(stopped.clone()));
        }
        while tasks.join_next().await.is_some() {}
    }
}

impl StreamingJobs for Told {
    fn all(&self) -> Vec<StreamingJob> {
        self.0.iter().map(|status| status.get()).collect()
    }
}
