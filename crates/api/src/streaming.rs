//! Streaming jobs and how they fare: a port, as others run them.

use gantry_identity::Timestamp;

/// A streaming job, as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamingJob {
    /// Its name.
    pub name: String,
    /// Its text.
    pub query: String,
    /// What the text calls the telemetry.
    pub input: String,
    /// Its outputs, and where their rows go: `table` or `events`.
    pub outputs: Vec<(String, &'static str)>,
    /// What the text calls its reference data.
    pub reference: Vec<String>,
    /// How it fares.
    pub state: JobState,
    /// Since when.
    pub since: Timestamp,
    /// How far time has come in it, at its last checkpoint.
    pub watermark: Option<Timestamp>,
    /// Events read since the start of the platform.
    pub events: u64,
    /// Rows given since the start of the platform.
    pub rows: u64,
    /// Events that were dropped since the job began, by why.
    pub dropped: Vec<(&'static str, u64)>,
    /// Events, groups and bytes that it holds.
    pub held: (usize, usize, usize),
}

/// How a streaming job fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    /// It has not read anything yet.
    Starting,
    /// It runs.
    Running,
    /// It failed, why, and is tried again.
    Failed(String),
}

/// The streaming jobs of a hub.
pub trait StreamingJobs: Send + Sync {
    /// All, in order of name.
    fn all(&self) -> Vec<StreamingJob>;
}
